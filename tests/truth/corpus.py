"""The SQL of the crate's own tests: its slt files, and the literals in its tests' Rust. Read from where cargo keeps the
crate's source; nothing of it is kept here."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.truth.case import Case, Expected, Step
from tests.truth.native import VERSION

ENGINE = Path(__file__).parent.parent.parent / "engine"
PLACES = (
    (ENGINE / "target", f"stoolap-{VERSION}"),
    (ENGINE / "target/cargo/registry/src", f"*/stoolap-{VERSION}"),
    (Path(os.environ.get("CARGO_HOME", Path.home() / ".cargo")) / "registry/src", f"*/stoolap-{VERSION}"),
)


def missing() -> str:
    """Why there is nothing to read; empty if there is."""
    return "" if _source() else f"the source of stoolap {VERSION} is not here: ./dev oracle fetches it"


def _source() -> Path | None:
    found = (path / "tests" for root, pattern in PLACES for path in sorted(root.glob(pattern)))
    return next((path for path in found if (path / "slt").is_dir()), None)


def _files(pattern: str) -> list[Path]:
    tests = _source()
    return [] if tests is None else sorted(tests.glob(pattern))


def cases() -> Iterator[Case]:
    """All cases of the crate."""
    yield from slt_cases()
    yield from rust_cases()


def slt_cases() -> Iterator[Case]:
    """A case for each slt file."""
    for file in _files("slt/**/*.slt"):
        blocks = re.split(r"\n\s*\n", file.read_text())
        steps = (_slt_step(block) for block in blocks)
        yield Case(f"{file.parent.name}/{file.name}", tuple(step for step in steps if step is not None))


def _slt_step(block: str) -> Step | None:
    lines = [line for line in block.splitlines() if not line.startswith("#")]
    if not lines:
        return None
    head, body = lines[0].split(), "\n".join(lines[1:])
    match head:
        case ["statement", "ok"]:
            return Step(body, expected=Expected())
        case ["statement", "error", *_]:
            return Step(body, expected=Expected(error=True))
        case ["query", _, *modes]:
            sql, _, answer = body.partition("\n----")
            rows = tuple(" ".join(line.split()) for line in answer.splitlines() if line.strip())
            return Step(sql, expected=Expected(rows=rows, sort="rowsort" in modes))
    raise ValueError(f"an slt block that is not known: {lines[0]}")


SQL = re.compile(
    r"\s*\(*(SELECT|INSERT|UPDATE|DELETE|CREATE|DROP|ALTER|WITH|TRUNCATE|BEGIN|COMMIT|ROLLBACK|SAVEPOINT|RELEASE|SHOW|"
    r"DESCRIBE|EXPLAIN|ANALYZE|VACUUM|PRAGMA|SET|VALUES|COPY)\b"
)
TOKEN = re.compile(
    r"""//[^\n]*|/\*.*?\*/|b?r(?P<hashes>\#*)"(?P<raw>.*?)"(?P=hashes)|b?"(?P<text>(?:\\.|[^"\\])*)"|'(?:\\[^']+|[^\\'])'
    |(?P<number>\d[\d_]*(?:\.\d+)?(?:_?[iuf]\d+)?)|(?P<word>\w+!?)|(?P<mark>\S)""",
    re.DOTALL | re.VERBOSE,
)
NO_SQL = {"expect", "expect_err", "contains", "starts_with", "ends_with", "panic", "cstr", "unwrap_or"}
ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "0": "\0"}


@dataclass(frozen=True)
class Token:
    """A word, a number, a mark or a string of Rust."""

    kind: str
    text: str


def rust_cases() -> Iterator[Case]:
    """A case for each test function of the crate that has SQL in plain literals."""
    for file in _files("*.rs"):
        functions = _functions(list(_tokens(file.read_text())))
        for name, function in functions.items():
            if function.is_test:
                steps = tuple(_Reader(functions).steps(name))
                if steps:
                    yield Case(f"{file.name} {name}", steps)


def _tokens(text: str) -> Iterator[Token]:
    for found in TOKEN.finditer(text):
        if found["raw"] is not None:
            yield Token("string", found["raw"])
        elif found["text"] is not None:
            yield Token("string", _unescaped(found["text"]))
        elif found.lastgroup in ("number", "word", "mark"):
            yield Token(found.lastgroup, found[0])


def _unescaped(text: str) -> str:
    text = re.sub(r"\\\n\s*", "", text)
    text = re.sub(r"\\u\{([0-9a-fA-F_]+)\}", lambda found: chr(int(found[1].replace("_", ""), 16)), text)
    return re.sub(r"\\(.)", lambda found: ESCAPES.get(found[1], found[1]), text)


@dataclass(frozen=True)
class Function:
    """The body of a function."""

    body: list[Token]
    is_test: bool


def _functions(tokens: list[Token]) -> dict[str, Function]:
    functions = {}
    for place, token in enumerate(tokens):
        if token == Token("word", "fn") and tokens[place + 1].kind == "word":
            start = next((at for at in range(place, len(tokens)) if tokens[at].text in "{;"), len(tokens))
            attributes = " ".join(token.text for token in tokens[max(0, place - 12) : place])
            attributes = re.split(r"[};]", attributes)[-1]
            is_test = bool(re.search(r"\[ test \]", attributes))
            functions[tokens[place + 1].text] = Function(tokens[start : _end(tokens, start)], is_test)
    return functions


def _end(tokens: list[Token], start: int) -> int:
    """Where the bracket that stands at `start` is closed."""
    depth = 0
    for place in range(start, len(tokens)):
        if tokens[place].kind == "mark":
            depth += {"(": 1, "[": 1, "{": 1, ")": -1, "]": -1, "}": -1}.get(tokens[place].text, 0)
            if depth <= 0:
                return place
    return len(tokens)


@dataclass
class _Reader:
    """Follows a test function, and the functions of its file that it calls, for the SQL in them."""

    functions: dict[str, Function]
    transactions: set[str] = field(default_factory=set)
    depth: int = 0

    def steps(self, name: str) -> Iterator[Step]:
        tokens = self.functions[name].body
        calls: list[Call] = []
        bound = ""
        for place, token in enumerate(tokens):
            before = tokens[place - 1] if place else Token("mark", "{")
            if token.kind == "mark":
                if token.text in "([":
                    calls.append(_call(tokens, place))
                    yield from self._called(calls[-1], bound)
                elif token.text in ")]" and calls:
                    calls.pop()
            elif token.text == "let" and token.kind == "word":
                after = [token.text for token in tokens[place + 1 : place + 3]]
                bound = after[1] if after[0] == "mut" else after[0]
            elif token.kind == "string" and SQL.match(token.text) and before.text in "(,[=&":
                call = calls[-1] if calls else Call()
                if call.name not in NO_SQL and (not call.name.endswith("!") or call.name == "vec!"):
                    yield from self._step(tokens, place, call.receiver)

    def _called(self, call: Call, bound: str) -> Iterator[Step]:
        if call.name == "begin" and bound:
            self.transactions.add(bound)
            yield Step(on=bound, verb="begin")
        elif call.name in ("commit", "rollback") and call.receiver in self.transactions:
            self.transactions.discard(call.receiver)
            yield Step(on=call.receiver, verb="commit" if call.name == "commit" else "rollback")
        elif call.name in self.functions and not call.is_method and self.depth < 4:
            self.depth += 1
            yield from self.steps(call.name)
            self.depth -= 1

    def _step(self, tokens: list[Token], place: int, receiver: str) -> Iterator[Step]:
        sql = tokens[place].text
        on = receiver if receiver in self.transactions else ""
        parameters = _parameters(tokens, place + 1)
        if parameters is not None or not re.search(r"[?$]|(?<!:):[a-z]", re.sub(r"'[^']*'", "", sql)):
            yield Step(sql, parameters or (), on=on)


@dataclass(frozen=True)
class Call:
    """A call of a function, with what it is called on, or its first argument."""

    name: str = ""
    receiver: str = ""
    is_method: bool = False


def _call(tokens: list[Token], place: int) -> Call:
    """The call whose arguments begin here."""
    at = place - 1
    if tokens[at].text == ">":
        while at > 0 and tokens[at].text != "<":
            at -= 1
        at -= 3
    if tokens[at].kind != "word":
        return Call()
    if tokens[at - 1].text == ".":
        return Call(tokens[at].text, tokens[at - 2].text, is_method=True)
    first = [token.text for token in tokens[place + 1 : place + 4] if token.text not in ("&", "mut")]
    return Call(tokens[at].text, first[0])


def _parameters(tokens: list[Token], place: int) -> tuple[Any, ...] | None:
    """The parameters that follow a statement, if all of them are literals."""
    if place + 1 >= len(tokens) or tokens[place].text != ",":
        return None
    start = place + 1
    if tokens[start].text == "params!":
        start += 1
    if tokens[start].text not in "([":
        return None
    values: list[Any] = []
    inner = tokens[start + 1 : _end(tokens, start)]
    sign = 1
    for token in inner:
        match token:
            case Token("mark", ","):
                continue
            case Token("mark", "-"):
                sign = -1
            case Token("number", text):
                digits = re.sub(r"_?[iuf]\d+$", "", text).replace("_", "")
                values.append(sign * (float(digits) if "." in digits or re.search(r"f\d+$", text) else int(digits)))
                sign = 1
            case Token("string", text):
                values.append(text)
            case Token("word", "true" | "false" as word):
                values.append(word == "true")
            case _:
                return None
    return tuple(values)
