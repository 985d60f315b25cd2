"""What the engine, native or not, answers wrongly, each with its smallest case.

A test fails when one is answered rightly: then its entry goes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.truth.case import Case, Outcome, Step

TABLES = (
    "CREATE TABLE t (id INTEGER PRIMARY KEY, a INTEGER, b TEXT)",
    "INSERT INTO t VALUES (1, 10, 'x'), (2, 20, 'Y'), (3, NULL, 'z')",
    "CREATE TABLE u (id INTEGER PRIMARY KEY, c INTEGER)",
    "INSERT INTO u VALUES (1, 1), (2, 5)",
)


@dataclass(frozen=True)
class Wrong:
    """A wrong answer.

    Attributes:
        name: what is wrong.
        setup: what comes before.
        sql: the statement.
        right: the rows that are right; None for an error.
        parameters: for the statement.
        seen: a pattern by which the judge knows such statements, and leaves them.
        code: of the error that is wrongly given.
        rows: how many the wrong answer has, where that is always so.
    """

    name: str
    setup: Sequence[str]
    sql: str
    right: list[tuple[Any, ...]] | None
    parameters: tuple[Any, ...] = ()
    seen: str = ""
    code: str = ""
    rows: int | None = None

    @property
    def case(self) -> Case:
        """The statements."""
        return Case(self.name, (*map(Step, self.setup), Step(self.sql, self.parameters)))

    def is_right(self, outcome: Outcome) -> bool:
        """Whether the answer to the last statement is right."""
        if self.right is None or outcome.code:
            return self.right is None and bool(outcome.code)
        return sorted(outcome.rows, key=repr) == self.right


WRONG = (
    Wrong(
        "IN (SELECT ..) in a subquery of a common table, which asks for a column two levels further out, is an error",
        TABLES,
        "WITH w AS (SELECT 1 AS a) SELECT id FROM t"
        " WHERE 1 < (SELECT MAX(2) FROM w WHERE 1 IN (SELECT a FROM w AS z WHERE t.id = 1))",
        [(1,)],
        seen=r"IN \(SELECT ",
        code="expression",
    ),
    Wrong(
        "a column of the result that has the name of another one of the table takes its place in GROUP BY",
        TABLES,
        "SELECT a AS id, MIN(id) AS a FROM t GROUP BY id, a",
        [(10, 1), (20, 2), (None, 3)],
    ),
    Wrong(
        "a derived table that is called like a table further out takes that one's columns for its own",
        TABLES,
        "SELECT id FROM t AS q WHERE EXISTS (SELECT 1 FROM (SELECT u.id FROM u WHERE u.id = q.id) AS q WHERE q.id > 1)",
        [(2,)],
    ),
    Wrong(
        "a duplicate that an UPDATE makes or leaves within a transaction is found by its commit",
        (
            "CREATE TABLE n (id INTEGER PRIMARY KEY, a INTEGER UNIQUE)",
            "INSERT INTO n VALUES (1, 1), (2, 2)",
            "BEGIN",
        ),
        "UPDATE n SET a = 1",
        None,
        seen=r"^UPDATE|^INSERT",
    ),
)


def like(step: Step, ours: Outcome, right: Outcome) -> Wrong | None:
    """The entry that a wrong answer is like."""
    found = (
        each
        for each in WRONG
        if each.seen and re.search(each.seen, step.sql) and each.code == ours.code
        if (each.right is None) == bool(right.code) and each.rows in (None, len(ours.rows))
    )
    return next(found, None)
