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
TIMES = (
    "CREATE TABLE m (id INTEGER PRIMARY KEY, at TIMESTAMP)",
    "INSERT INTO m VALUES (1, '2024-05-06 07:30:15'), (2, '1999-12-31 23:30:15')",
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
        "ORDER BY t.b with a LIMIT, where all columns of the result are written like that, orders by another column",
        TABLES,
        "SELECT t.a, t.b FROM t ORDER BY t.b LIMIT 1",
        [(20, "Y")],
        seen=r"ORDER BY q\d+\.\w+[^()]* LIMIT",
    ),
    Wrong(
        "of a row in a correlated IN, the first value alone is compared",
        TABLES,
        "SELECT id FROM t WHERE (id, 5) IN (SELECT u.id, u.c FROM u WHERE u.id = t.id)",
        [(2,)],
        seen=r"IN \(SELECT [^, ]+, ",
    ),
    Wrong(
        "a row in a subquery that finds nothing is an error",
        TABLES,
        "SELECT id FROM t WHERE (a, 5) NOT IN (SELECT id, c FROM u WHERE c > 5)",
        [(1,), (2,), (3,)],
        seen=r"IN \(SELECT [^, ]+, |\bv\d",
        code="expression",
    ),
    Wrong(
        "an UPDATE leaves out what it cannot compute",
        TABLES,
        "UPDATE t SET b = 'y', a = SUM(id)",
        None,
    ),
    Wrong(
        "a subquery in a column of a common table knows no other common tables",
        TABLES,
        "WITH x AS (SELECT id FROM t), y AS (SELECT (SELECT MAX(id) FROM x) AS m FROM u) SELECT m FROM y",
        [(3,), (3,)],
        seen="^WITH",
        code="table_not_found",
    ),
    Wrong(
        "an IN beside a correlated subquery is an error in SET",
        TABLES,
        "UPDATE t SET a = (SELECT MAX(c) FROM u WHERE u.id = t.id), b = id IN (SELECT u.id FROM u) RETURNING id",
        [(1,), (2,), (3,)],
        seen=r"^UPDATE .*IN \(SELECT",
        code="expression",
    ),
    Wrong(
        "a time of a row is not found in a subquery",
        TIMES,
        "SELECT id FROM m WHERE (id, at) NOT IN (SELECT id, at FROM m)",
        [],
    ),
    Wrong(
        "texts for times in a list, as parameters, are none of them beside a calculation",
        TIMES,
        "SELECT id FROM m WHERE at IN ($1, $2) AND id * 2 > 0",
        [(1,), (2,)],
        parameters=("2024-05-06 07:30:15", "1999-12-31 23:30:15"),
    ),
    Wrong(
        "a common table that joins another one by times has no rows",
        TIMES,
        "WITH x AS (SELECT at FROM m), y AS (SELECT m.id FROM x JOIN m ON x.at = m.at) SELECT id FROM y",
        [(1,), (2,)],
    ),
    Wrong(
        "a comparison of parameters, compared with a column, holds for no row",
        ("CREATE TABLE f (id INTEGER PRIMARY KEY, a BOOLEAN)", "INSERT INTO f VALUES (1, TRUE), (2, FALSE)"),
        "SELECT id FROM f WHERE ($1 <> $2) = a",
        [(1,)],
        parameters=(1, 2),
    ),
    Wrong(
        "an index of booleans loses keys below 0",
        (
            "CREATE TABLE f (id INTEGER PRIMARY KEY, a BOOLEAN)",
            "CREATE INDEX fa ON f (a)",
            "INSERT INTO f VALUES (-1, TRUE), (2, TRUE)",
        ),
        "SELECT id FROM f WHERE a IN (TRUE)",
        [(-1,), (2,)],
    ),
    Wrong(
        "NOT binds closer than NOT IN, NOT BETWEEN and NOT LIKE behind it",
        TABLES,
        "SELECT id FROM t WHERE NOT a NOT IN (10)",
        [(1,)],
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
