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
INTEGERS = ("CREATE TABLE n (id INTEGER PRIMARY KEY, a INTEGER)", "INSERT INTO n VALUES (1, 11), (2, 21)")


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
        "IN with a correlated subquery is an error in the ON of an outer join",
        TABLES,
        "SELECT t.id, u.id FROM t LEFT JOIN u ON t.id = u.id AND t.id IN (SELECT w.c FROM u AS w WHERE w.id = t.id)",
        [(1, 1), (2, None), (3, None)],
        seen=r" ON .*IN \(SELECT|FROM v\d",
        code="expression",
    ),
    Wrong(
        "IN with a subquery is an error in the result of a query on a view",
        (*TABLES, "CREATE VIEW v AS SELECT id FROM u"),
        "SELECT CASE WHEN 1 IN (SELECT c FROM u) THEN 'k' END FROM v",
        [("k",), ("k",)],
        seen=r"SELECT .*IN \(SELECT .* FROM v\d",
        code="expression",
    ),
    Wrong(
        "EXISTS with a correlated subquery is an error in the ON of a join",
        TABLES,
        "SELECT t.id, u.id FROM t LEFT JOIN u ON t.id = u.id AND EXISTS (SELECT 1 FROM u AS w WHERE w.c = t.id)",
        [(1, 1), (2, None), (3, None)],
        seen=r" ON .*(EXISTS|\(SELECT)",
        code="not_supported",
    ),
    Wrong(
        "a column of the result that has the name of another one of the table takes its place in GROUP BY",
        TABLES,
        "SELECT a AS id, MIN(id) AS a FROM t GROUP BY id, a",
        [(10, 1), (20, 2), (None, 3)],
    ),
    Wrong(
        "a table that is not there is no error in a join whose condition is constant",
        (),
        "SELECT * FROM a JOIN b ON a.x = b.x WHERE FALSE",
        None,
    ),
    Wrong(
        "a correlated subquery beside a condition on an indexed column does not know a column that is not selected",
        TABLES,
        "SELECT 'k' FROM t AS p WHERE p.id IN (1, 2) AND NOT EXISTS (SELECT 1 FROM u AS q WHERE p.a = q.id)",
        [("k",), ("k",)],
        seen=r"\(SELECT",
        code="column_not_found",
    ),
    Wrong(
        "a join with a derived table does not know a column that only the WHERE compares with another one",
        TABLES,
        "SELECT q.m FROM t AS p JOIN (SELECT id AS m FROM t) AS q ON p.id = q.m WHERE p.a >= p.id",
        [(1,), (2,)],
        seen=r"JOIN",
        code="column_not_found",
    ),
    Wrong(
        "a duplicate within one statement of a transaction is found by its commit",
        ("CREATE TABLE n (a INTEGER UNIQUE)", "BEGIN"),
        "INSERT INTO n VALUES (1), (1)",
        None,
        seen=r"^(INSERT|UPDATE)",
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
