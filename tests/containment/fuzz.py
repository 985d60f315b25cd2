"""`./dev python -m tests.containment.fuzz`: input of all kinds is answered, or is an error; the engine lives on."""

from __future__ import annotations

import argparse
import ast
import asyncio
import functools
import math
import random
import re
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import aiostoolap
from aiostoolap import DB, Engine, InternalError, Json, Vector
from aiostoolap.core import protocol
from tests.containment.grammar import SCHEMA, Grammar, mutated, tokens
from tests.test_protocol import Host, mutable_requests

LIMIT = 0.1
"""Seconds for each statement."""
STALL = 600.0
"""Seconds after which one counts as hanging."""
MEMORY = 256 << 20
FRESH = 300
"""Inputs for one database; then comes a new one."""
PROBES = (
    "SELECT 1",
    "CREATE TABLE alive (id INTEGER PRIMARY KEY, n INTEGER)",
    "CREATE INDEX alive_n ON alive(n)",
    "INSERT INTO alive VALUES (1, 2), (2, 3)",
    "UPDATE alive SET n = n + 1 WHERE n > 2",
    "SELECT a.id FROM alive a JOIN alive b ON a.n = b.n ORDER BY a.id",
    "DELETE FROM alive WHERE n = 4",
    "DROP TABLE alive",
    *(f"SELECT COUNT(*), MAX(id) FROM {table}" for table in ("a", "c", "v")),
    *(f"UPDATE {table} SET id = id WHERE id < 0" for table in ("a", "c", "v")),
)
"""What every database can do, whatever was done to it."""


PANICS = (
    "`DateTime + TimeDelta` overflowed",
    "`DateTime - TimeDelta` overflowed",
    "TimeDelta::days out of bounds",
    "capacity overflow",
    "slice index starts at ~ but ends at ~",
    "index must have at least one column",  # CREATE INDEX i ON c(63) USING HNSW
)
"""Faults of the engine that are known: each costs its caller an error, and nobody else anything."""


_ODD: tuple[Any, ...] = (
    *(None, True, 0, -1, 2**63 - 1, -(2**63), 2**63, 2**64, 10**30, 0.0, -0.0, 1e308, math.nan, math.inf),
    *("", "x", "a\0b", "\ud800", "%" * 50, "x" * 70_000, "[1, 2, 3]", "9999-12-31", b"bytes", bytearray(3), (), []),
    *([1.0, 2.0, 3.0], [None], {}, {"k": [1, {}]}, {1: 2}, Json("text"), Json(None), Vector([1, 2, 3]), Vector([])),
    *(Vector([math.nan] * 3), datetime(2024, 2, 29, tzinfo=UTC), datetime(1, 1, 1, tzinfo=UTC), datetime.max),
    *(date.min, timedelta(1), Decimal("1e400"), Decimal("0.5"), UUID(int=7), object(), int, {1, 2}, range(3), 3j),
)


class HarmError(AssertionError):
    """An input has harmed the engine."""


@dataclass
class Findings:
    """What the inputs came to."""

    outcomes: Counter[str] = field(default_factory=Counter)
    """By the class of the error, or "answered"."""
    internal: dict[str, str] = field(default_factory=dict)
    """For each text of an InternalError, without its numbers and names, the first statement."""

    def unknown(self) -> dict[str, str]:
        """Those of `internal` that nobody has looked at."""
        known = re.compile("|".join(map(re.escape, PANICS)))
        return {text: sql for text, sql in self.internal.items() if not known.search(text)}


@functools.cache
def corpus() -> tuple[str, ...]:
    """The statements that stand in our tests."""
    found: set[str] = set()
    verbs = re.compile(r"(SELECT|INSERT|UPDATE|DELETE|CREATE|ALTER|DROP|WITH|PRAGMA|SHOW|EXPLAIN|VALUES)\b")
    for file in sorted(Path(__file__).parent.parent.glob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and verbs.match(node.value):
                found.add(node.value)
    return tuple(sorted(found))


def shape(error: aiostoolap.Error) -> str:
    """An error's text without what differs each time."""
    text = re.sub(r"^statement \d+ of the script: ", "", str(error))
    return f"{error.code}: " + re.sub(r"'[^']*'|\"[^\"]*\"|-?\d+(\.\d+)?", "~", text)[:160]


def odd_value(rng: random.Random) -> Any:
    """A parameter that nobody expects."""
    return rng.choice(_ODD)


class Fuzz:
    """Runs inputs one after another, on databases that are replaced now and then.

    Args:
        seed: of all that is random.
    """

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.findings = Findings()
        self._grammar = Grammar(self.rng)
        self._engine: Engine
        self._db: DB

    async def run(self, inputs: int) -> None:
        """
        Raises:
            HarmError: with the input that did it.
        """
        async with Engine(memory_limit=MEMORY) as engine:
            self._engine = engine
            for first in range(0, inputs, FRESH):
                async with await engine.open_memory() as db:
                    self._db = db
                    for sql in SCHEMA:
                        await db.execute(sql)
                    for _ in range(min(FRESH, inputs - first)):
                        await self.one(*self.random_input())
                    await self._probe("all of the last statements")

    def random_input(self) -> tuple[str, Any]:
        rng = self.rng
        kind = rng.random()
        if kind < 0.5:
            return self._grammar.statement(), None
        if kind < 0.9:
            texts = [rng.choice(corpus()) if rng.random() < 0.7 else self._grammar.statement() for _ in range(2)]
            return mutated(rng, *texts), self._parameters() if rng.random() < 0.3 else None
        sql = self._grammar.statement()
        literals = re.compile(r"'(?:[^']|'')*'|\b\d[\d.e]*")
        return literals.sub(lambda found: "?" if rng.random() < 0.5 else found[0], sql), self._parameters()

    def _parameters(self) -> Any:
        values = [odd_value(self.rng) for _ in range(self.rng.randrange(5))]
        return (
            {f"{name}": value for name, value in zip("nabcd", values, strict=False)}
            if self.rng.random() < 0.1
            else values
        )

    async def one(self, sql: str, parameters: Any) -> None:
        """Runs one input; a panic must not be felt by what comes later."""
        outcome = "answered"
        try:
            async with asyncio.timeout(STALL):
                if self.rng.random() < 0.1:
                    await self._db.execute_script(sql, timeout=LIMIT)
                else:
                    await self._db.query(sql, parameters, timeout=LIMIT)
        except InternalError as error:
            outcome = "InternalError"
            self.findings.internal.setdefault(shape(error), sql)
            if error.code == "engine_panic":
                outcome = "panic"
                await self._probe(sql)
        except aiostoolap.EngineLostError as error:
            raise HarmError(f"{error}: {sql!r} with {parameters!r}") from error
        except aiostoolap.TransactionAbortedError:
            outcome = "TransactionAbortedError"
            await self._db.execute("ROLLBACK")
        except aiostoolap.Error as error:
            outcome = type(error).__name__
        except TimeoutError as error:
            if "stopped" not in str(error):
                raise HarmError(f"it hangs: {sql!r} with {parameters!r}") from error
            outcome = "TimeoutError"
        self.findings.outcomes[outcome] += 1

    async def _probe(self, culprit: str) -> None:
        """What must work after anything; a transaction that was left open is ended first."""
        for sql in ("ROLLBACK", *PROBES):
            try:
                await self._db.query(sql, timeout=STALL)
            except (aiostoolap.ProgrammingError, aiostoolap.NotSupportedError) as error:
                if sql != "ROLLBACK" and error.code not in ("table_not_found", "column_not_found", "invalid_argument"):
                    raise HarmError(f"{sql} fails after {culprit!r}: {error!r}") from error
            except Exception as error:
                raise HarmError(f"{sql} fails after {culprit!r}: {error!r}") from error


def fuzz_protocol(inputs: int, rng: random.Random) -> Counter[str]:
    """Runs requests with changed bytes, past the driver; how often each code came back.

    Raises:
        EngineLostError: one has harmed the engine.
    """
    host = Host()
    codes: Counter[str] = Counter()
    try:
        for first in range(0, inputs, 50):
            db = host.open()
            for sql in ("CREATE TABLE t (a INTEGER, b TEXT)", "INSERT INTO t VALUES (1, 'x'), (2, 'y')"):
                host.one(protocol.execute(db, sql, None))
            requests = [
                *mutable_requests(db),
                protocol.execute(db, "INSERT INTO t VALUES ($1, $2)", (1, "x")).body,
                protocol.query(db, "SELECT * FROM t", None, 1, 1, nanoseconds=False, maps=False).body,
                protocol.prepare(db, "SELECT a FROM t WHERE a = $1").body,
                *(protocol.fetch(handle, 10, 100).body for handle in range(db, db + 3)),
                *(protocol.savepoint(handle, "create", "p").body for handle in range(db, db + 3)),
                *(protocol.commit(handle).body for handle in range(db, db + 3)),
                protocol.statistics().body,
            ]
            for _ in range(min(50, inputs - first)):
                (reply,) = host.batch(protocol.Request(changed(rng, rng.choice(requests))))
                codes["answered" if reply.ok else protocol.failure(reply.body).code] += 1
            host.one(protocol.set_memory_limit(MEMORY))  # It may have become one of the requests.
            host.one(protocol.close_all())
    finally:
        host.on_thread(host.runtime.close)
        host.thread.shutdown()
    return codes


def changed(rng: random.Random, body: bytes) -> bytes:
    """The bytes of a request with some of them changed, doubled or taken out."""
    changed = bytearray(body)
    for _ in range(rng.randint(1, 5)):
        place = rng.randrange(len(changed) + 1)
        kind = rng.random()
        if kind < 0.5 and place < len(changed):
            changed[place] = rng.choice((rng.randrange(256), 0, 0xC0, 0xC1, 0xD3, 0xDB, 0xDD, 0xDF, 0xFF))
        elif kind < 0.7:
            changed[place:place] = rng.randbytes(rng.randrange(1, 9))
        elif kind < 0.9:
            del changed[place : place + rng.randrange(1, 9)]
        else:
            changed[place:place] = changed[:place]
    return bytes(changed)


async def smallest(sql: str, wanted: str) -> str:
    """The statement without the words that its InternalError does not need."""

    async def fails(text: str) -> bool:
        async with aiostoolap.connect(memory_limit=MEMORY) as db:
            for definition in SCHEMA:
                await db.execute(definition)
            try:
                await db.query(text, timeout=LIMIT)
            except InternalError as error:
                return shape(error) == wanted
            except (aiostoolap.Error, TimeoutError):
                return False
        return False

    words = tokens(sql)
    if not await fails(sql):
        return sql
    size = len(words) // 2
    while size:
        place = 0
        while place < len(words):
            fewer = words[:place] + words[place + size :]
            if await fails("".join(fewer)):
                words = fewer
            else:
                place += size
        size //= 2
    return "".join(words)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--known", action="store_true", help="show the InternalErrors that are known too")
    given = parser.parse_args()
    print(f"seed {given.seed}", flush=True)
    begun = time.perf_counter()
    fuzz = Fuzz(given.seed)
    asyncio.run(fuzz.run(given.inputs - given.inputs // 5))
    codes = fuzz_protocol(given.inputs // 5, fuzz.rng)
    print(f"requests with changed bytes: {dict(codes.most_common())}")
    for name, count in fuzz.findings.outcomes.most_common():
        print(f"{count:8} {name}")
    print(f"{given.inputs} inputs in {time.perf_counter() - begun:.0f} s")
    shown = fuzz.findings.internal if given.known else fuzz.findings.unknown()
    for text, sql in sorted(shown.items()):
        print(f"{text}\n    {asyncio.run(smallest(sql, text))}")
    if fuzz.findings.unknown():
        raise SystemExit("some of these are new")


if __name__ == "__main__":
    main()
