"""Subqueries wherever they may stand: sqlite3 is the judge."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Iterator
from typing import Any

import pytest

import aiostoolap
from aiostoolap import DB, ProgrammingError

SETUP = [
    "CREATE TABLE t (id INTEGER PRIMARY KEY, a INTEGER, b TEXT)",
    "INSERT INTO t VALUES (1, 10, 'x'), (2, 20, 'Y'), (3, NULL, 'z'), (4, 5, NULL), (5, 2, 'x')",
    "CREATE TABLE u (id INTEGER PRIMARY KEY, c INTEGER)",
    "INSERT INTO u VALUES (1, 1), (2, 5), (3, 2), (7, NULL), (8, 4)",
    "CREATE INDEX by_a ON t (a)",
    "CREATE VIEW v AS SELECT id, c FROM u",
    "CREATE VIEW w AS SELECT t.id AS z FROM t WHERE t.a > t.id * 3",
]

CONDITIONS = [
    "t.id = u.id AND EXISTS (SELECT 1 FROM u AS w WHERE w.c = t.id)",
    "t.id = u.c AND EXISTS (SELECT 1 FROM u AS w WHERE w.c = t.id)",
    "t.id = u.id AND NOT EXISTS (SELECT 1 FROM u AS w WHERE w.c = t.id)",
    "t.id = u.id AND t.id IN (SELECT w.c FROM u AS w WHERE w.id = t.id)",
    "t.id = u.id AND t.id NOT IN (SELECT w.c FROM u AS w WHERE w.id = t.id)",
    "t.id = u.id AND t.id < (SELECT w.c FROM u AS w WHERE w.id = t.id)",
    "t.id > u.id AND u.c <= (SELECT MAX(w.a) FROM t AS w WHERE w.id = u.id)",
    "EXISTS (SELECT 1 FROM t AS w WHERE w.id = t.id AND w.a = u.c)",
    "t.id = u.id AND (SELECT COUNT(*) FROM u AS w WHERE c > t.id) > 1",
    "t.id = u.id AND t.id IN (SELECT c FROM u)",
    "t.id = u.id AND t.id IN (SELECT c FROM u) AND EXISTS (SELECT 1 FROM u AS w WHERE w.c = t.id)",
]
JOINS = [
    f"SELECT t.id, u.id FROM t {join} u ON {condition}"
    for condition in CONDITIONS
    for join in ("JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN")
]
QUERIES = [
    "SELECT COUNT(*), SUM(u.id) FROM t LEFT JOIN u ON t.id = u.id AND EXISTS (SELECT 1 FROM u AS w WHERE w.c = t.id)",
    "SELECT t.b, COUNT(u.id) FROM t LEFT JOIN u ON t.id = u.id AND t.a > (SELECT MIN(c) FROM u AS w WHERE w.id >= t.id)"
    " GROUP BY t.b",
    "SELECT t.id, u.c, w.id FROM t LEFT JOIN u ON t.id = u.id AND EXISTS (SELECT 1 FROM u AS w WHERE w.c = t.id)"
    " LEFT JOIN u AS w ON w.c = u.id AND t.a > (SELECT MIN(x.a) FROM t AS x WHERE x.id <= w.id)",
    "SELECT t.id FROM t JOIN u ON t.id = u.id AND EXISTS (SELECT 1 FROM u AS w WHERE w.c = t.id) WHERE t.a > 3 LIMIT 9",
    "SELECT id FROM t AS o WHERE EXISTS (SELECT 1 FROM t JOIN u ON t.id = u.id"
    " AND EXISTS (SELECT 1 FROM u AS w WHERE w.c = t.id) WHERE t.id = o.id)",
    "WITH k AS (SELECT id, c FROM u) SELECT t.id, k.c FROM t LEFT JOIN k ON t.id = k.id AND t.id IN (SELECT c FROM u)",
    "WITH k AS (SELECT id, c FROM u) SELECT t.id, k.c FROM t LEFT JOIN k ON t.id = k.id"
    " AND EXISTS (SELECT 1 FROM u AS w WHERE w.c = t.id)",
    # In columns of a query on a view.
    "SELECT id, (SELECT MAX(a) FROM t) FROM v",
    "SELECT (SELECT MAX(a) FROM t) + id FROM v WHERE id > 1",
    "SELECT id, EXISTS (SELECT 1 FROM t WHERE a = 5) FROM v",
    "SELECT id, NOT EXISTS (SELECT 1 FROM t WHERE a = 5) FROM v",
    "SELECT CASE WHEN 1 IN (SELECT c FROM u) THEN 'k' END FROM v",
    "SELECT id IN (SELECT a FROM t) FROM v",
    "SELECT id, (SELECT MAX(a) FROM t WHERE t.id = v.id) FROM v",
    "SELECT COUNT(*), (SELECT MAX(a) FROM t) FROM v",
    "SELECT id, (SELECT MAX(a) FROM t) AS m FROM v ORDER BY id LIMIT 2",
    # In a join of common tables.
    *(
        "WITH k AS (SELECT id, c FROM u) SELECT p.id, q.c FROM k AS p JOIN k AS q ON p.id = q.id WHERE " + condition
        for condition in (
            "q.c IN (SELECT w.a FROM t AS w WHERE w.id > p.id)",
            "q.c NOT IN (SELECT w.a FROM t AS w WHERE w.id < p.id)",
            "-1 NOT IN (SELECT w.a FROM t AS w WHERE w.id = q.id)",
            "q.c > 1 AND EXISTS (SELECT 1 FROM t AS w WHERE w.id = p.id AND w.a > q.c)",
            "q.c < (SELECT MAX(w.a) FROM t AS w WHERE w.id = p.id)",
        )
    ),
    "WITH k AS (SELECT id, c FROM u) SELECT t.id, k.c FROM k CROSS JOIN t CROSS JOIN k AS m"
    " WHERE t.id NOT IN (SELECT w.c FROM u AS w WHERE w.id = t.id)",
    # The condition of a join alone names the other one.
    *(
        f"WITH k AS (SELECT id, c FROM u), m AS (SELECT MAX(a) AS a FROM t) SELECT t.id, k.c FROM k {kind} JOIN t"
        f" ON k.c = t.id AND {condition}"
        for kind in ("", "LEFT")
        for condition in (
            "EXISTS (SELECT 1 FROM m)",
            "k.c < (SELECT a FROM m)",
            "t.a IN (SELECT a FROM m)",
            "EXISTS (SELECT 1 FROM m WHERE m.a = t.a)",
        )
    ),
    # What one row finds is not what another one does: NULL, and 1.
    "SELECT id FROM u WHERE 1 IN (SELECT w.c FROM u AS w WHERE w.id = u.id)",
    "SELECT id, 1 NOT IN (SELECT w.c FROM u AS w WHERE w.id = u.id) FROM u",
    # Beside an IN that an index answers.
    "SELECT 'k' FROM t AS p WHERE p.id IN (1, 2) AND NOT EXISTS (SELECT 1 FROM u AS q WHERE p.a = q.id)",
    "SELECT id FROM t WHERE id IN (1, 2, 3) AND EXISTS (SELECT 1 FROM u WHERE u.c = t.id)",
    "SELECT id FROM t WHERE id IN (1, 2, 3) AND id < (SELECT c FROM u WHERE u.id = t.id)",
    "SELECT id FROM t WHERE a IN (2, 10, 20) AND b IN (SELECT w.b FROM t AS w WHERE w.id > t.id)",
    "SELECT id FROM t WHERE id IN (SELECT c FROM u) AND EXISTS (SELECT 1 FROM u AS w WHERE w.id = t.a)",
    *(
        f"SELECT id FROM t WHERE {' AND '.join(conditions)}"
        for found in ("id IN (SELECT c FROM u)", "id NOT IN (SELECT id FROM u)", "a IN (SELECT c FROM u)")
        for conditions in itertools.permutations((found, "b = 'x'", "a < 9", "id <> 3"))
    ),
    # A table of the query around once more, beside a further condition on what is around.
    "SELECT t.id, u.id FROM t JOIN u ON t.id = u.id WHERE EXISTS (SELECT 1 FROM u WHERE u.c = t.id AND t.a > 5)",
    "SELECT t.id, u.id FROM t, u WHERE NOT EXISTS (SELECT 1 FROM u WHERE u.c = t.id AND t.a > 5)",
    "SELECT t.id, u.id, EXISTS (SELECT 1 FROM u WHERE u.c = t.id AND t.a > 5) FROM t JOIN u ON t.id = u.id",
    "SELECT t.id, p.id FROM t JOIN t AS p ON t.b = p.b WHERE EXISTS (SELECT 1 FROM t WHERE t.a > p.a AND p.id > 1)",
    # What IN (SELECT ..) selects is of the query around.
    "SELECT id FROM t WHERE t.a NOT IN (SELECT t.a FROM u)",
    "SELECT id FROM t WHERE 20 IN (SELECT t.a FROM u)",
    "SELECT id FROM t WHERE t.id IN (SELECT t.id FROM u WHERE u.c = 2)",
    "SELECT id FROM t WHERE t.id NOT IN (SELECT t.id + c FROM u WHERE c < 3)",
    "SELECT id FROM t WHERE t.id IN (SELECT t.a FROM u WHERE u.c = t.id)",
    "SELECT id, t.a IN (SELECT t.id * 5 FROM u) FROM t",
    "SELECT id FROM t WHERE (t.id, 5) IN (SELECT t.id, c FROM u)",
    # Rows of values, all of which count.
    *(
        f"SELECT id FROM t WHERE {row} {operator} (SELECT id, c FROM u WHERE {condition})"
        for row in ("(id, 5)", "(t.id, t.a)", "(a, a)", "(id - 1, id)")
        for operator in ("IN", "NOT IN")
        for condition in ("u.id = t.id", "u.c > 99", "u.id > 0", "u.c = t.id AND u.id > 1")
    ),
    # Common tables that know those before them.
    "WITH k AS (SELECT id FROM t), m AS (SELECT (SELECT MAX(id) FROM k) AS z FROM u) SELECT z FROM m",
    "WITH k AS (SELECT id FROM t), m AS (SELECT u.id FROM u JOIN t ON u.id = t.id AND t.id IN (SELECT id FROM k))"
    " SELECT id FROM m",
    "WITH k AS (SELECT id FROM t) SELECT id FROM k WHERE id IN (1, (SELECT MAX(k.id) FROM k))",
    "SELECT id FROM t WHERE (SELECT MAX(u.c) FROM u WHERE u.c = t.id) IN (SELECT c FROM u WHERE c > 1)",
    "SELECT id, (SELECT MAX(u.c) FROM u WHERE u.c = t.id) NOT IN (SELECT c FROM u WHERE c > 1) FROM t",
    # What a UNION adds.
    *(
        f"SELECT id FROM t WHERE {condition} (SELECT c FROM u WHERE c > 99 {union} SELECT c FROM u WHERE u.id = t.id)"
        for condition in ("EXISTS", "NOT EXISTS", "id IN", "id NOT IN")
        for union in ("UNION", "UNION ALL")
    ),
    "SELECT id, (SELECT c FROM u WHERE c > 99 UNION ALL SELECT t.a FROM u WHERE id = 8) FROM t",
    "SELECT id FROM t WHERE t.a IN (SELECT t.id FROM u UNION ALL SELECT t.a FROM u WHERE id = t.id)",
    # Names in double quotes.
    'SELECT t.id FROM t JOIN u ON t.id = u.id WHERE "c" > 1',
    'SELECT t.id FROM t JOIN u ON t.id = "c"',
    'SELECT id FROM t WHERE EXISTS (SELECT 1 FROM u WHERE c = "a")',
    'SELECT t.id FROM t JOIN u ON t.id = u.id WHERE b = "x"',
    "SELECT p.id FROM t AS p JOIN (SELECT z.c FROM u AS z) AS q ON p.id = q.c WHERE c > 1",
    # A table further out has the same name.
    *(
        f"SELECT id FROM t WHERE {condition}"
        for source in ("(SELECT t.id AS z FROM t WHERE t.a > t.id * 3) AS q", "w AS q")
        for condition in (
            f"EXISTS (SELECT 1 FROM {source} WHERE z > t.id)",
            f"id IN (SELECT z - 1 FROM {source} WHERE z > t.id)",
            f"id < (SELECT MAX(z) FROM {source} WHERE z > t.id)",
            f"EXISTS (SELECT 1 FROM u JOIN {source} ON q.z = u.id WHERE z > t.id)",
        )
    ),
    "SELECT id FROM t WHERE EXISTS (SELECT 1 FROM (SELECT t.* FROM t WHERE t.a > t.id * 3) AS q WHERE q.id > t.id)",
    "SELECT id FROM t WHERE EXISTS (SELECT 1 FROM (SELECT t.id + 1 AS z FROM t WHERE t.a + 0 > 7 + t.id) AS q"
    " WHERE z > t.id)",
    "SELECT id, (SELECT MAX(z) FROM (SELECT t.id AS z FROM t WHERE t.a > (SELECT MIN(t.a) FROM t WHERE t.a > t.id))"
    " AS q WHERE z > t.id) FROM t",
    "SELECT id FROM t WHERE EXISTS (SELECT 1 FROM u WHERE u.id <= t.id"
    " AND EXISTS (SELECT 1 FROM t WHERE t.a < t.id + u.c * 2))",
    "SELECT q.id FROM v AS q WHERE EXISTS (SELECT 1 FROM t WHERE t.id = q.id"
    " AND EXISTS (SELECT 1 FROM v AS q WHERE q.c > q.id + t.id))",
    # Aggregates of one column, and of other rows.
    "SELECT t.id, (SELECT COUNT(*) FROM u WHERE u.id = t.id AND u.c > 0), (SELECT COUNT(*) FROM u WHERE u.id = t.id"
    " AND u.c > 3), (SELECT COUNT(*) FROM u WHERE u.id = t.id) FROM t",
    "SELECT id FROM t WHERE (SELECT MAX(u.c) FROM u WHERE u.id = t.id AND u.c > 0) > 1"
    " AND (SELECT MAX(u.c) FROM u WHERE u.id = t.id AND u.c > 3) > 0",
    "SELECT id, (SELECT MAX(u.c) AS id FROM u WHERE u.id = t.id) FROM t",
    "SELECT id FROM t WHERE a > (SELECT SUM(u.c) AS id FROM u WHERE u.id = t.id)",
    # All columns of what is no table.
    "SELECT q.* FROM (SELECT id, c FROM u) AS q",
    "SELECT 1 AS k, Q.* FROM (SELECT id, c FROM u) AS q ORDER BY q.id LIMIT 2",
    "SELECT q.*, (SELECT MAX(a) FROM t WHERE t.id = q.id) AS m FROM (SELECT id, c FROM u) AS q",
    "SELECT q.*, 1 AS k FROM v AS q",
    "SELECT q.* FROM (SELECT id FROM u WHERE id < 3 UNION SELECT a FROM t) AS q",
    "WITH q AS (SELECT id, c FROM u) SELECT q.* FROM q WHERE q.c > 1",
    "SELECT k.id FROM (SELECT q.* FROM (SELECT id, c FROM u) AS q) AS k JOIN t ON t.id = k.id",
    # A derived table is not the table within.
    *(
        f"SELECT q.*, t.a FROM {product} WHERE {condition}"
        for derived in (
            "id * 2 AS id, id AS k",
            "c AS id, id AS k",
            "MAX(id) AS id, 1 AS k",
            "c AS k, id",
            "id + 1 AS id, COUNT(*) OVER () AS k",
        )
        for product in (
            f"(SELECT {derived} FROM u) AS q JOIN t ON q.id = t.id",
            f"t JOIN (SELECT {derived} FROM u) AS q ON q.id = t.id",
            f"t LEFT JOIN (SELECT {derived} FROM u) AS q ON q.id = t.id",
        )
        for condition in ("t.id < 5", "q.k > 0", "q.k < t.id", "TRUE")
    ),
    # A common table is not the table of that name.
    *(
        f"WITH u AS (SELECT id + 1 AS id, a AS c FROM t WHERE id > 1) {query}"
        for query in (
            "SELECT t.id, u.id, u.c FROM t JOIN u ON t.id = u.id",
            "SELECT t.id, u.* FROM t LEFT JOIN u ON t.id = u.id AND u.id > 3",
            "SELECT p.id, q.c FROM u AS p JOIN u AS q ON p.id = q.id JOIN t ON q.c = t.a WHERE p.c = q.c",
            "SELECT k.x FROM (SELECT q.id + 1 AS x FROM u AS p JOIN u AS q ON p.id = q.id) AS k",
            "SELECT id FROM t WHERE EXISTS (SELECT 1 FROM u WHERE u.id = t.id)",
            "SELECT id FROM t WHERE id NOT IN (SELECT id FROM u WHERE u.c > t.a)",
            "SELECT id, (SELECT COUNT(*) FROM u WHERE u.id < t.id) FROM t",
            "SELECT id FROM u UNION SELECT c FROM u",
        )
    ),
    "WITH RECURSIVE t AS (SELECT 1 AS id UNION ALL SELECT t.id + 1 FROM t WHERE t.id < 4)"
    " SELECT u.id, t.id FROM t JOIN u ON t.id = u.id",
    "WITH t (x, y) AS (SELECT id, c FROM u), v AS (SELECT x FROM t WHERE y > 2)"
    " SELECT t.x, t.y FROM t JOIN v ON t.x = v.x",
    # The names in a view are not those of the statement.
    "WITH u AS (SELECT 7 AS id, 5 AS c) SELECT * FROM v",
    "WITH u AS (SELECT 7 AS id, 5 AS c) SELECT v.c, u.c FROM v JOIN u ON v.id = u.id",
    "WITH u AS (SELECT 7 AS id, 5 AS c) SELECT id FROM t WHERE id IN (SELECT c FROM v)",
]


@pytest.fixture
def judge() -> Iterator[sqlite3.Connection]:
    judge = sqlite3.connect(":memory:")
    for statement in SETUP:
        judge.execute(statement)
    yield judge
    judge.close()


@pytest.fixture
async def filled(db: DB) -> DB:
    for statement in SETUP:
        await db.execute(statement)
    return db


def bag(rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    return sorted(rows, key=repr)


@pytest.mark.parametrize("sql", [*JOINS, *QUERIES])
async def test_subqueries_are_evaluated(filled: DB, judge: sqlite3.Connection, sql: str) -> None:
    right = judge.execute(sql).fetchall()
    # Where sqlite3 has integers, there may be booleans.
    rows = [
        tuple(int(item) if isinstance(item, bool) else item for item in row)
        for row in await filled.query(sql, into=tuple)
    ]
    assert bag(rows) == bag(right)


async def test_a_table_that_is_not_there_is_an_error_everywhere(filled: DB) -> None:
    for sql in (
        "SELECT * FROM nosuch JOIN u ON nosuch.x = u.id WHERE FALSE",
        "SELECT id FROM t WHERE FALSE AND EXISTS (SELECT 1 FROM nosuch)",
        "SELECT id FROM (SELECT id FROM nosuch) AS q WHERE FALSE",
        "WITH k AS (SELECT id FROM nosuch) SELECT 1 FROM t WHERE FALSE",
    ):
        with pytest.raises(aiostoolap.ProgrammingError, match="'nosuch' not found") as caught:
            await filled.query(sql)
        assert caught.value.code == "table_not_found"


@pytest.mark.parametrize("join", ["JOIN", "LEFT JOIN"])
async def test_a_column_of_the_query_around_is_refused_in_on(filled: DB, join: str) -> None:
    """The engine would take another one of that name, if there is one."""
    sql = f"SELECT id FROM t WHERE EXISTS (SELECT 1 FROM u {join} t AS p ON t.a = p.a AND u.id = p.id)"
    with pytest.raises(aiostoolap.NotSupportedError, match=r"t\.a is a column of the query around"):
        await filled.query(sql)


@pytest.mark.parametrize("index", ["", "CREATE INDEX s_a ON s(a)", "CREATE INDEX s_a ON s(a, id)"])
async def test_duplicates_are_found_beside_their_own_table(db: DB, index: str) -> None:
    await db.execute_script(f"CREATE TABLE s (id INTEGER PRIMARY KEY, a INTEGER, up INTEGER); {index}")
    await db.execute("INSERT INTO s VALUES (1, 1, 2), (2, 2, 4), (3, NULL, 5), (4, 2, 4), (5, 1, NULL)")
    for condition, rows in (
        ("EXISTS (SELECT 1 FROM s AS y WHERE y.a = s.a AND y.id <> s.id)", [1, 2, 4, 5]),
        ("NOT EXISTS (SELECT 1 FROM s AS y WHERE y.a = s.a AND y.id > s.id)", [3, 4, 5]),
        ("EXISTS (SELECT 1 FROM s AS y WHERE y.id = s.up AND y.a <> s.a)", [1]),
        ("EXISTS (SELECT 1 FROM s AS y WHERE y.a = s.a AND y.id > 3 AND s.id < 3)", [1, 2]),
    ):
        assert await db.query(f"SELECT id FROM s WHERE {condition} ORDER BY id", into=int) == rows, condition
    assert await db.execute("DELETE FROM s WHERE EXISTS (SELECT 1 FROM s AS y WHERE y.a = s.a AND y.id < s.id)") == 2
    assert await db.query("SELECT id FROM s ORDER BY id", into=int) == [1, 2, 3]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT id FROM t ORDER BY (SELECT MAX(w.a) FROM t AS w) - COALESCE(a, 99), id",
        "SELECT id FROM t WHERE a > 1 ORDER BY (SELECT MAX(w.a) FROM t AS w) - a DESC LIMIT 2",
        "SELECT t.id FROM t JOIN u ON t.id = u.id WHERE a > 0 ORDER BY (SELECT MAX(w.a) FROM t AS w) - t.a LIMIT 1",
    ],
)
async def test_what_is_ordered_by_subqueries(filled: DB, judge: sqlite3.Connection, sql: str) -> None:
    assert await filled.query(sql, into=tuple) == judge.execute(sql).fetchall()


@pytest.mark.parametrize(
    ("sql", "rows"),
    [
        ("DELETE FROM t WHERE (a, a) NOT IN (SELECT id, c FROM u WHERE c > 99)", 5),
        ("DELETE FROM t WHERE (a, a) IN (SELECT id, c FROM u WHERE c > 99)", 0),
        ("DELETE FROM t WHERE (id, 5) IN (SELECT u.id, u.c FROM u WHERE u.id = t.id)", 1),
        ("UPDATE t SET a = (SELECT MAX(c) FROM u WHERE u.id = t.id), b = (SELECT MAX(c) FROM u) > 3", 5),
        ("UPDATE t SET a = (SELECT MAX(c) FROM u WHERE u.id = t.id), b = id IN (SELECT u.id FROM u)", 5),
    ],
)
async def test_changes_by_rows_and_subqueries(filled: DB, judge: sqlite3.Connection, sql: str, rows: int) -> None:
    assert await filled.execute(sql) == judge.execute(sql).rowcount == rows
    columns = "id, a" if "SET" in sql else "*"
    assert (
        await filled.query(f"SELECT {columns} FROM t ORDER BY id", into=tuple)
        == judge.execute(f"SELECT {columns} FROM t ORDER BY id").fetchall()
    )


async def test_a_row_as_wide_as_what_is_asked_for(filled: DB) -> None:
    with pytest.raises(aiostoolap.Error):
        await filled.query("SELECT id FROM t WHERE (a, 5, 6) NOT IN (SELECT id, c FROM u)")


@pytest.mark.parametrize("order", ["", "ORDER BY id DESC LIMIT 7", "ORDER BY id LIMIT 7", "ORDER BY a LIMIT 7"])
@pytest.mark.parametrize(
    "column",
    [
        "EXISTS (SELECT 1 FROM t AS q WHERE t.f < q.f)",
        "(SELECT COUNT(*) FROM t AS q WHERE t.id > 1)",
        "(SELECT COUNT(*) FROM t AS q WHERE q.id + t.id > 2)",
        "(SELECT MAX(q.id) FROM t AS q WHERE q.f OR t.f)",
    ],
)
async def test_subqueries_in_the_result_know_the_outer_row(db: DB, column: str, order: str) -> None:
    judge = sqlite3.connect(":memory:")
    for sql in (
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a INTEGER, f BOOLEAN)",
        "INSERT INTO t VALUES (1, 3, FALSE), (2, 1, TRUE), (3, 2, FALSE)",
        "CREATE INDEX t_a ON t (a)",
    ):
        await db.execute(sql)
        judge.execute(sql)
    sql = f"SELECT id, {column} FROM t {order or 'ORDER BY id'}"
    assert await db.query(sql, into=tuple) == judge.execute(sql).fetchall()


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT id FROM t WHERE a = (SELECT a, b FROM t WHERE id = 1)",
        "SELECT (SELECT a, b FROM t WHERE id = 1)",
        "SELECT (SELECT * FROM t WHERE id = 1) FROM u",
        "SELECT id FROM t WHERE a IN (SELECT a, b FROM t)",
        "SELECT id FROM t WHERE a NOT IN (1, (SELECT id, c FROM u WHERE id = 1))",
        "SELECT id FROM t WHERE a > ALL (SELECT id, c FROM u)",
        "SELECT id FROM t ORDER BY (SELECT id, c FROM u WHERE id = t.id)",
        "UPDATE t SET a = (SELECT id, c FROM u WHERE id = 1)",
        "DELETE FROM t WHERE a = (SELECT id, c FROM u WHERE id = 1)",
    ],
)
async def test_one_value_is_not_of_several_columns(filled: DB, sql: str) -> None:
    with pytest.raises(ProgrammingError, match=r"gives [23] columns where one value is needed") as failure:
        await filled.query(sql)
    assert failure.value.code == "column_count"
    assert await filled.query_value("SELECT COUNT(*) FROM t WHERE (a, b) IN (SELECT a, b FROM t)") == 3
    assert await filled.query_value("SELECT EXISTS (SELECT * FROM t)") is True
