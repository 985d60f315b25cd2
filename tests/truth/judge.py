"""The judge: sqlite3 answers SQL that both know, and our engine has to agree, but for what `known.py` lists."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime
from typing import Any

from tests.truth import known, ours, rules
from tests.truth.case import Case, Outcome, Step
from tests.truth.comparison import Difference, Tally
from tests.truth.ours import Ours

# What sqlite3 writes otherwise; what stands in comments is for it alone.
DIALECT = (
    (re.compile(r"/\*(.*?)\*/"), r"\1"),
    (re.compile(r"CAST\(('[^']*') AS TIMESTAMP\)"), r"\1"),
    (re.compile("^TRUNCATE TABLE"), "DELETE FROM"),
)

UNASKED = ("interrupted", "ON clause references tables to its right")
"""Errors that are no answers; the latter one, sqlite3 makes itself when it flattens a UNION ALL with outer joins."""

PATIENCE = 3_000_000
"""How many of its instructions sqlite3 may need for a statement."""


class Judge:
    """Our engine before sqlite3.

    Args:
        mine: ours.
    """

    def __init__(self, mine: Ours) -> None:
        self._ours = mine
        self.tally = Tally()

    async def compare(self, case: Case) -> Difference | None:
        """Runs a case on both; the difference has the statements up to the one that differs."""
        answers = await self._ours.run(case)
        # What our layer refuses on purpose, sqlite3 is not asked, nor for definitions that fail.
        asked = [
            place
            for place, (step, answer) in enumerate(zip(case.steps, answers, strict=False))
            if rules.guard(answer) is None and not (answer.code and re.match("CREATE|ALTER|DROP", step.sql))
        ]
        case, answers = replace(case, steps=tuple(case.steps[n] for n in asked)), [answers[n] for n in asked]
        for number, (step, mine, theirs) in enumerate(zip(case.steps, answers, verdicts(case), strict=True), 1):
            if theirs.message in UNASKED:
                self.tally.unseen += len(case.steps) - number + 1
                break
            self.tally.statements += 1
            self.tally.errors += bool(mine.code)
            if agree(step, mine, theirs):
                continue
            wrong = known.like(step, mine, theirs)
            if wrong is None:
                return Difference(replace(case, steps=case.steps[:number]), mine, theirs)
            self.tally.excuse(wrong.name, step)
            if not step.reads:
                self.tally.unseen += len(case.steps) - number
                break
        return None


def verdicts(case: Case) -> list[Outcome]:
    """What sqlite3 says of each statement."""
    db = sqlite3.connect(":memory:", isolation_level=None)
    try:
        db.execute("PRAGMA case_sensitive_like = ON")
        db.set_progress_handler(lambda: 1, PATIENCE)
        for name, function in (("UPPER", str.upper), ("LOWER", str.lower)):
            db.create_function(name, 1, _of_text(function), deterministic=True)
        return [_verdict(db, step) for step in case.steps]
    finally:
        db.close()


def _of_text(function: Callable[[str], str]) -> Callable[[str | None], str | None]:
    """The function as SQL has it."""
    return lambda text: None if text is None else function(str(text))


def _verdict(db: sqlite3.Connection, step: Step) -> Outcome:
    if step.verb == "reopen":
        db.rollback()
    sql = step.literal or step.sql
    for pattern, other in DIALECT:
        sql = pattern.sub(other, sql)
    try:
        cursor = db.execute(sql)
        rows = tuple(cursor.fetchall())
    except sqlite3.Error as error:
        return Outcome(code="error", message=str(error))
    if cursor.description is None:
        return Outcome(affected=max(cursor.rowcount, 0))
    return Outcome(rows=rows)


def agree(step: Step, mine: Outcome, theirs: Outcome) -> bool:
    """Whether the answers are the same, but for the names of columns, types of numbers, and the sentences of errors."""
    if not re.match(r"INSERT|UPDATE|DELETE|SELECT|WITH", step.sql):
        return True  # A second index on the same columns, for one, is refused.
    if step.sql.startswith("WITH") and mine.message.startswith("no column is named"):
        return True  # sqlite3 does not look into common tables that nothing reads.
    if mine.code or theirs.code:
        return bool(mine.code) == bool(theirs.code)
    return rules.same(step, _plain(mine), _plain(theirs))


def _plain(outcome: Outcome) -> Outcome:
    return replace(outcome, columns=(), rows=tuple(tuple(map(_plain_value, row)) for row in outcome.rows))


def _plain_value(value: Any) -> Any:
    match value:
        case int() | float():
            return float(value) + 0.0  # There is one zero.
        case datetime():
            return f"{value:%Y-%m-%d %H:%M:%S}"
    return value


@asynccontextmanager
async def opened() -> AsyncIterator[Judge]:
    """Our engine, and the judge."""
    async with ours.opened() as mine:
        yield Judge(mine)
