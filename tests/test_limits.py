"""What ORDER BY, LIMIT and DISTINCT leave of a result: the engine has several plans for them."""

from __future__ import annotations

import sqlite3
from typing import Any

import pytest

from aiostoolap import DB, NotSupportedError, ProgrammingError
from tests.conftest import Settle

CREATE = "CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER, s TEXT)"
INDEX = "CREATE INDEX t_{0} ON t({0})"
ROWS = [(-9, 5, "b"), (-4, 5, "a"), (-3, None, None), (1, 7, "c"), (4, 1, "a"), (12, None, "x"), (15, -2, None)]


@pytest.fixture(params=[(), ("n",), ("n", "s")], ids="-".join)
async def table(stored: DB, settle: Settle, request: pytest.FixtureRequest) -> DB:
    await stored.execute(CREATE)
    for column in request.param:
        await stored.execute(INDEX.format(column))
    await stored.execute_many("INSERT INTO t VALUES ($1, $2, $3)", ROWS)
    await settle()
    return stored


@pytest.fixture
def judge() -> sqlite3.Connection:
    judge = sqlite3.connect(":memory:")
    judge.execute(CREATE)
    judge.executemany("INSERT INTO t VALUES (?, ?, ?)", ROWS)
    return judge


async def check(db: DB, judge: sqlite3.Connection, sql: str, parameters: tuple[Any, ...] = ()) -> None:
    found = await db.query(sql, parameters, into=tuple)
    assert found == judge.execute(sql.replace("$", "?"), parameters).fetchall(), (sql, parameters)


@pytest.mark.parametrize("column", ["n", "s"])
@pytest.mark.parametrize("limit", ["", "LIMIT 0", "LIMIT 1", "LIMIT 3", "LIMIT 2 OFFSET 2", "LIMIT 9 OFFSET 5"])
async def test_nulls_come_where_they_belong(table: DB, judge: sqlite3.Connection, column: str, limit: str) -> None:
    # Where nothing is said, they come last, and sqlite3 has them first.
    for order, full in (
        ("", "ASC NULLS LAST"),
        ("DESC", "DESC NULLS FIRST"),
        ("NULLS FIRST", "NULLS FIRST"),
        ("DESC NULLS LAST", "DESC NULLS LAST"),
    ):
        found = await table.query(f"SELECT {column} FROM t ORDER BY {column} {order} {limit}", into=tuple)
        assert found == judge.execute(f"SELECT {column} FROM t ORDER BY {column} {full} {limit}").fetchall(), order


@pytest.mark.parametrize("order", ["", "ORDER BY n", "ORDER BY n DESC", "ORDER BY id"])
@pytest.mark.parametrize("writes", [False, True], ids=["reads", "writes"])
async def test_limit_0_is_no_row(table: DB, order: str, writes: bool) -> None:
    async with table.transaction() as tx:
        if writes:
            await tx.execute("INSERT INTO t VALUES (20, 20, 'own')")
        assert await tx.query(f"SELECT id FROM t {order} LIMIT 0") == []
        assert await tx.query(f"SELECT id FROM t {order} LIMIT $1 OFFSET 1", (0,)) == []
        assert await tx.execute(f"DELETE FROM t WHERE id IN (SELECT id FROM t {order} LIMIT $1)", (0,)) == 0
        assert await tx.execute(f"INSERT INTO t SELECT id + 100, n, s FROM t {order} LIMIT 0") == 0


@pytest.mark.parametrize(
    "condition",
    [
        "id > ?1 AND id > ?2",
        "id >= ?1 AND id > ?2",
        "id > ?1 AND id >= ?2",
        "?1 < id AND id >= ?2",
        "id >= ?1 AND id >= ?2",
    ],
)
@pytest.mark.parametrize("order", ["id", "id DESC"])
async def test_pages_begin_behind_the_greater_key(
    table: DB, judge: sqlite3.Connection, condition: str, order: str
) -> None:
    for low in (-9, -4, 3, 4, 12, -3.5, 3.5):
        for high in (-4, 4, 4.5):
            sql = f"SELECT id FROM t WHERE {condition} ORDER BY {order} LIMIT 2"
            await check(table, judge, sql.replace("?", "$"), (low, high))
            await check(table, judge, sql.replace("?1", str(low)).replace("?2", str(high)))


async def test_an_alias_is_what_is_ordered_by(table: DB, judge: sqlite3.Connection) -> None:
    for sql in (
        "SELECT -id AS id FROM t ORDER BY id LIMIT 3",
        "SELECT -id AS id FROM t WHERE id > 1 ORDER BY id LIMIT 2",
        "SELECT COALESCE(n, 99) AS n FROM t ORDER BY n LIMIT 3",
        "SELECT COALESCE(n, 99) AS n FROM t ORDER BY n DESC LIMIT 3",
        "SELECT s AS n, n AS s FROM t WHERE n > 0 ORDER BY n, s LIMIT 3",
        "SELECT n AS s, id FROM t WHERE n IS NOT NULL ORDER BY s, id LIMIT 3",
        "SELECT -t.n AS n, t.id FROM t JOIN t AS u ON t.id = u.id WHERE t.n IS NOT NULL ORDER BY n, t.id",
        "SELECT t.s AS n FROM t JOIN t AS u ON t.id = u.n WHERE t.s IS NOT NULL ORDER BY n LIMIT 2",
        "SELECT DISTINCT -n AS n FROM t WHERE n IS NOT NULL ORDER BY n LIMIT 2",
        "SELECT id AS n, ROW_NUMBER() OVER (ORDER BY id) FROM t ORDER BY n DESC LIMIT 2",
        "SELECT * FROM (SELECT -id AS id FROM t ORDER BY id LIMIT 2) AS q ORDER BY id",
        "SELECT id AS n FROM t WHERE n = 5 ORDER BY n DESC",
    ):
        await check(table, judge, sql)


@pytest.mark.parametrize("results", ["t.n", "t.s, t.n", "t.n AS s", "t.s AS n, t.n AS m", "t.n, t.id, t.s"])
@pytest.mark.parametrize("order", ["t.n, t.id", "t.n DESC, t.id", "t.s, t.n"])
async def test_qualified_columns_are_ordered_by(table: DB, judge: sqlite3.Connection, results: str, order: str) -> None:
    for limit in ("LIMIT 2", "LIMIT 2 OFFSET 1", ""):
        sql = f"SELECT {results} FROM t WHERE t.n > 0 AND s <> 'x' ORDER BY {order} {limit}"
        await check(table, judge, sql)
        await check(table, judge, sql.replace("t.", "q.").replace("FROM t", "FROM t AS q"))


async def test_what_is_distinct_comes_before_the_limit(table: DB, judge: sqlite3.Connection) -> None:
    for sql in (
        "CREATE TABLE u (id INTEGER PRIMARY KEY, r INTEGER)",
        "INSERT INTO u VALUES (1, 1), (2, 1), (3, 4), (4, 4), (5, 12)",
    ):
        await table.execute(sql)
        judge.execute(sql)
    for join in ("u JOIN t ON t.id = u.r", "u LEFT JOIN t ON u.r = t.id", "u, t WHERE t.id = u.r"):
        for limit in ("LIMIT 2", "LIMIT 1 OFFSET 1", "LIMIT 9", ""):
            await check(table, judge, f"SELECT DISTINCT t.id FROM {join} ORDER BY t.id {limit}")


async def test_distinct_on_what_the_result_has(table: DB) -> None:
    assert await table.query("SELECT DISTINCT ON (n) n, id FROM t WHERE n > 0 ORDER BY n, id", into=tuple) == [
        (1, 4),
        (5, -9),
        (7, 1),
    ]
    with pytest.raises(NotSupportedError, match="DISTINCT ON"):
        await table.query("SELECT DISTINCT ON (n) COUNT(*) FROM t GROUP BY n")


@pytest.mark.parametrize(
    "window",
    [
        "RANK() OVER (ORDER BY UPPER(s))",
        "LAG(COUNT(*)) OVER (ORDER BY UPPER(s) DESC)",
        "SUM(SUM(n)) OVER (ORDER BY UPPER(s))",
        "COUNT(*) OVER (PARTITION BY UPPER(s))",
        "RANK() OVER (ORDER BY UPPER(s) || 'x')",
        "FIRST_VALUE(UPPER(s)) OVER (ORDER BY UPPER(s))",
        "RANK() OVER w",
    ],
)
@pytest.mark.parametrize("group", ["UPPER(s)", "b"])
async def test_windows_over_groups_know_functions_that_are_grouped_by(
    table: DB, judge: sqlite3.Connection, window: str, group: str
) -> None:
    named = " WINDOW w AS (ORDER BY UPPER(s))" * window.endswith("w")
    sql = f"SELECT UPPER(s) AS b, {window} FROM t WHERE s > '' GROUP BY {group}{named} ORDER BY 1"
    await check(table, judge, sql)


@pytest.mark.parametrize("order", ["", "ORDER BY n", "ORDER BY id DESC"])
async def test_there_are_no_parts_of_rows(table: DB, order: str) -> None:
    for limit, given in (("2.7", 2.7), ("'x'", "x"), ("-1", -1), ("TRUE", True), ("0.5 + 0.1", 0.6)):
        for clause in ("LIMIT {}", "LIMIT 1 OFFSET {}"):
            for text, parameters in ((limit, ()), ("$1", (given,))):
                values: tuple[Any, ...] = parameters
                rows = f"SELECT id FROM t {order} {clause.format(text)}"
                for sql in (rows, f"SELECT * FROM ({rows}) AS q", f"SELECT 1 FROM t WHERE id IN ({rows})"):
                    with pytest.raises(ProgrammingError, match=r"must be (an integer|non-negative)"):
                        await table.query(sql, values)
    assert await table.query(f"SELECT id FROM t {order} LIMIT 2.0", into=int) == await table.query(
        f"SELECT id FROM t {order} LIMIT 2", into=int
    )
