"""`Case`, the statements of one database, and `Outcome`, what a statement did."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, TypeAlias

Parameters: TypeAlias = tuple[Any, ...]
Verb: TypeAlias = Literal["run", "begin", "commit", "rollback", "reopen"]

MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
"""Where databases of files are made, for fsync costs nothing there; None for where temporary files are."""

_ANSWERS = re.compile(r"\s*\(*\s*(SELECT|SHOW|DESCRIBE|DESC|EXPLAIN|PRAGMA|VALUES)\b", re.IGNORECASE)
_READS = re.compile(r"\s*\(*\s*(SELECT|SHOW|DESCRIBE|DESC|EXPLAIN|VALUES|WITH)\b", re.IGNORECASE)
_CHANGES = re.compile(r"\b(INSERT|UPDATE|DELETE)\b", re.IGNORECASE)
_NAMES = re.compile(
    r"(?<=failed for index ).*|(?<=expected AS after )\S+|(?<=Failed to parse view query: ).*"
    r"|'[^']*'|\"[^\"]*\"|`[^`]*`|-?\d[\d.]*(?:[eE][+-]?\d+)?"
)
_AT_TIMES = re.compile(
    r"^statement … of the script: |parse error: | or view\b| provided$|CHECK constraint on column … failed to compile: "
)


@dataclass(frozen=True)
class Step:
    """A statement, the beginning or end of a transaction object, or a database that is closed and opened again.

    Attributes:
        sql: the statement.
        parameters: positional ones.
        literal: the same statement without parameters, which the native engine loses in many places.
        on: the transaction it runs in; empty for the database itself.
        verb: what is done.
        expected: the rows as an slt file has them, or whether it names an error.
    """

    sql: str = ""
    parameters: Parameters = ()
    literal: str = ""
    on: str = ""
    verb: Verb = "run"
    expected: Expected | None = None

    @property
    def answers(self) -> bool:
        """Whether it has rows for an answer, rather than a number of rows changed."""
        if re.match(r"\s*WITH\b", self.sql, re.IGNORECASE):
            return not _CHANGES.search(self.sql) or "RETURNING" in self.sql.upper()
        return bool(_ANSWERS.match(self.sql)) or bool(re.search(r"\bRETURNING\b", self.sql, re.IGNORECASE))

    @property
    def reads(self) -> bool:
        """Whether the database is the same after it."""
        return self.verb == "run" and bool(_READS.match(self.sql)) and not _CHANGES.search(self.sql)

    @property
    def ordered(self) -> bool:
        """Whether the order of its rows is part of the answer."""
        return bool(re.search(r"\bORDER\s+BY\b", outermost(self.sql), re.IGNORECASE))

    def __str__(self) -> str:
        where = f"[{self.on}] " if self.on else ""
        given = f" -- {list(self.parameters)!r}" if self.parameters else ""
        return f"{where}{self.sql if self.verb == 'run' else self.verb.upper()}{given}"


@dataclass(frozen=True)
class Case:
    """Statements for one new database, in order.

    Attributes:
        name: where they come from.
        steps: the statements.
        file: whether the database is one of files.
    """

    name: str
    steps: tuple[Step, ...]
    file: bool = False

    def without(self, first: int, last: int) -> Case:
        """The same with some statements left out."""
        return replace(self, steps=self.steps[:first] + self.steps[last:])

    def __str__(self) -> str:
        return "\n".join(f"{step};" for step in self.steps)


@dataclass(frozen=True)
class Outcome:
    """What a statement did.

    Attributes:
        columns: the names of the result's columns.
        rows: the result.
        affected: how many rows it changed, if it has no result.
        code: our code of the error, "error", "panic" or "died" of the native one; empty if there is none.
        message: its sentence.
        script: whether it is several statements, run as a script.
    """

    columns: tuple[str, ...] = ()
    rows: tuple[tuple[Any, ...], ...] = ()
    affected: int | None = None
    code: str = ""
    message: str = ""
    script: bool = False

    @property
    def kind(self) -> str:
        """The kind of the error: its sentence without names and numbers, and without what both say at times."""
        return _AT_TIMES.sub("", _NAMES.sub("…", self.message))

    def __str__(self) -> str:
        if self.code:
            return f"{self.code}: {self.message}"
        if self.affected is not None:
            return f"{self.affected} rows affected"
        rows = ", ".join(map(repr, self.rows[:8])) + (f" … of {len(self.rows)}" if len(self.rows) > 8 else "")
        return f"({', '.join(self.columns)}): {rows or 'no rows'}"


@dataclass(frozen=True)
class Expected:
    """What an slt file says of a statement: that it fails, or its rows, perhaps sorted."""

    error: bool = False
    rows: tuple[str, ...] | None = None
    sort: bool = False

    def is_met(self, outcome: Outcome) -> bool:
        """Whether the outcome is as the file says."""
        if self.error or outcome.code:
            return self.error == bool(outcome.code)
        if self.rows is None:
            return True
        lines = [" ".join(" ".join(map(_shown, row)).split()) for row in outcome.rows]
        # Patch 067: sums that the crate has as floats are integers.
        right = [re.sub(r"\.000(?= |$)", "", row) for row in self.rows] if "." not in "".join(lines) else self.rows
        return (sorted(lines) == sorted(right)) if self.sort else lines == list(right)


def _shown(value: Any) -> str:
    """A value as slt files have it."""
    match value:
        case None:
            return "NULL"
        case "":
            return "(empty)"
        case bool():
            return str(value).lower()
        case float():
            return f"{value:.3f}"
        case datetime():
            return value.isoformat()
    return str(value)


def outermost(sql: str) -> str:
    """The statement without what stands in parentheses and quotes."""
    text = re.sub(r"'(?:[^'\\]|''|\\.)*'", "''", sql)
    while True:
        shorter = re.sub(r"\([^()]*\)", " ", text)
        if shorter == text:
            return text
        text = shorter
