"""Conditions that are unknown because of a NULL hold for no row, also under NOT: sqlite3 is the judge."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime
from typing import Any

import pytest

import aiostoolap
from aiostoolap import DB, Json, NotSupportedError, UniqueViolationError
from tests.conftest import Settle

ROWS = [(1, 10, "x"), (2, 20, "Y"), (3, None, "z"), (4, 5, None), (5, None, None)]

CONDITIONS = [
    "ABS(a) = 10",
    "ABS(a) <> 10",
    "ABS(a) < 100",
    "10 <> ABS(a)",
    "ROUND(a) = 10",
    "ABS(a) = NULL",
    "NULL <> ABS(id)",
    "LENGTH(b) = 3",
    "LENGTH(b) <> 1",
    "UPPER(b) = 'X'",
    "UPPER(b) = 'x'",
    "UPPER(b) <> 'X'",
    "LOWER(b) = 'Y'",
    "SUBSTR(b, 1, 1) = 'x'",
    "REPLACE(b, 'x', 'y') = 'y'",
    "COALESCE(a, 0) = 0",
    "b LIKE 'x%'",
    "b NOT LIKE 'x%'",
    "UPPER(b) LIKE 'x%'",
    "UPPER(b) LIKE 'X%'",
    "LOWER(b) NOT LIKE 'Y%'",
    "a IN (10, 20)",
    "a IN (10, NULL)",
    "a NOT IN (10, NULL)",
    "b IN ('x', 'q')",
    "a BETWEEN 8 AND 15",
    "a BETWEEN 8 AND NULL",
    "a BETWEEN 8 AND NULL + 1",
    "a NOT BETWEEN (NULL + 1) AND 15",
    "a NOT BETWEEN 15 AND -NULL",
    "id NOT BETWEEN 2 AND ABS(NULL)",
    "b NOT BETWEEN UPPER(NULL) AND 'y'",
    "(a BETWEEN (NULL + 1) AND 15) IS NULL",
    "a > NULL + 1 OR id = 1",
    "a NOT IN (10, NULL + 1)",
    "CASE WHEN a IN (10, NULL + 1) THEN id ELSE 3 END = 3",
    "b NOT LIKE ('x' || NULL)",
    "a NOT BETWEEN 8 AND 15",
    "a IS NULL",
    "a + 1 = 11",
    "b || 'q' = 'xq'",
    "ABS(a) IS NULL",
    "CASE WHEN a > 5 THEN NULL ELSE 1 END = 1",
    "a = 10 AND ABS(a) = 10",
    "b = 'x' AND ABS(a) = NULL",
    "a = 10 OR LENGTH(b) = 1",
    "(a, b) IN ((10, 'x'), (20, 'q'))",
    "(a, b) IN ((10, 'q'), (NULL, 'Y'))",
    "(a, b) NOT IN ((10, 'x'), (NULL, 'Y'), (NULL, NULL))",
    "(id, a) NOT IN ((3, 7), (4, NULL))",
    "(id, b) IN ((id, 'x'), (2, b))",
    "(id, a) IN ((a, id), (id, a))",
    "(id, a) NOT IN ((id, 10), (3, a), (4, a + 1))",
    "(id, a) NOT IN ((1, NULL), (id, 20))",
    "(id + 1, a) IN ((2, a), (5, LENGTH('12345')))",
    "EXISTS (SELECT 1 FROM t AS u WHERE u.id = t.id AND (u.a, u.b) IN ((u.a, 'x'), (20, u.b)))",
]
FORMS = [
    "{}",
    "NOT ({})",
    "NOT (NOT ({}))",
    "NOT (({}) AND id > 0)",
    "NOT (({}) OR id < 0)",
    "id > 0 AND NOT ({})",
    "id > 9 OR NOT ({})",
]
INDEXED = ["CREATE INDEX by_a ON t (a)", "CREATE INDEX by_b ON t (b)"]


@pytest.fixture(scope="module")
def judge() -> sqlite3.Connection:
    judge = sqlite3.connect(":memory:")
    judge.execute("PRAGMA case_sensitive_like = ON")
    judge.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, a INTEGER, b TEXT)")
    judge.executemany("INSERT INTO t VALUES (?, ?, ?)", ROWS)
    return judge


async def wrong(db: DB, judge: sqlite3.Connection, conditions: list[str], params: tuple[Any, ...] = ()) -> list[Any]:
    found = []
    for condition in conditions:
        for form in FORMS:
            where = form.format(condition)
            ours = await db.query(f"SELECT id FROM t WHERE {where} ORDER BY id", params, into=int)
            sql = f"SELECT id FROM t WHERE {where.replace('$', '?').replace('IN ((', 'IN (VALUES (')} ORDER BY id"
            theirs = [row[0] for row in judge.execute(sql, params)]
            if ours != theirs:
                found.append((where, ours, theirs))
    return found


@pytest.mark.parametrize("definitions", [[], INDEXED], ids=["scan", "indexes"])
async def test_conditions_with_nulls(db: DB, judge: sqlite3.Connection, definitions: list[str]) -> None:
    await db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, a INTEGER, b TEXT)")
    for definition in definitions:
        await db.execute(definition)
    await db.execute_many("INSERT INTO t VALUES ($1, $2, $3)", ROWS)
    assert await wrong(db, judge, CONDITIONS) == []


async def test_conditions_with_nulls_on_sealed_rows(stored: DB, judge: sqlite3.Connection) -> None:
    await stored.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, a INTEGER, b TEXT)")
    await stored.execute_many("INSERT INTO t VALUES ($1, $2, $3)", ROWS)
    await stored.checkpoint()
    assert await wrong(stored, judge, CONDITIONS) == []


@pytest.mark.parametrize("value", [None, 10, "x"])
async def test_conditions_with_null_parameters(db: DB, judge: sqlite3.Connection, value: Any) -> None:
    await db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, a INTEGER, b TEXT)")
    await db.execute_many("INSERT INTO t VALUES ($1, $2, $3)", ROWS)
    numbers = ["a = $1", "$1 <> a", "ABS(a) = $1", "ABS(a) <> $1", "a IN (5, $1)", "a NOT IN (5, $1)"]
    numbers += ["a BETWEEN $1 AND 100", "a BETWEEN 15 AND $1", "LENGTH(b) >= $1"]
    texts = ["b = $1", "UPPER(b) <> $1", "b LIKE $1", "b IN ($1, 'q')"]
    conditions = texts if isinstance(value, str) else numbers if value is not None else numbers + texts
    assert await wrong(db, judge, conditions, (value,)) == []


async def test_a_delete_keeps_what_is_unknown(db: DB) -> None:
    await db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, a INTEGER, b TEXT)")
    await db.execute_many("INSERT INTO t VALUES ($1, $2, $3)", ROWS)
    assert await db.execute("DELETE FROM t WHERE NOT (LENGTH(b) = $1)", (None,)) == 0
    assert await db.execute("UPDATE t SET a = 0 WHERE UPPER(b) <> 'X'") == 2
    assert await db.execute("DELETE FROM t WHERE id > 0 AND NOT (b LIKE 'x%')") == 2
    assert await db.query("SELECT id FROM t ORDER BY id", into=int) == [1, 4, 5]


@pytest.mark.parametrize(
    ("condition", "rows"),
    [
        ("flag BETWEEN FALSE AND TRUE", [1, 2]),
        ("flag BETWEEN TRUE AND TRUE", [1]),
        ("flag NOT BETWEEN FALSE AND FALSE", [1]),
        ("flag NOT BETWEEN FALSE AND TRUE", []),
        ("NOT (flag BETWEEN NULL AND FALSE)", [1]),
        ("flag > FALSE", [1]),
        ("flag <= FALSE", [2]),
        ("TRUE > flag", [2]),
        ("NOT (flag >= TRUE)", [2]),
        ("flag < NULL OR flag > FALSE", [1]),
        ("j = '1'", [1]),
        ("j <> '1'", [2]),
        ("NOT (j = '1')", [2]),
        ("j > '1'", [2]),
        ("e = '[1.0, 2.0]'", [1]),
        ("NOT (e = '[1.0, 2.0]')", [2]),
        ("j NOT BETWEEN '1' AND '1'", [2]),
        ("j BETWEEN '1' AND '2'", [1, 2]),
    ],
)
async def test_conditions_on_other_types(db: DB, condition: str, rows: list[int]) -> None:
    await db.execute("CREATE TABLE f (id INTEGER PRIMARY KEY, flag BOOLEAN, j JSON, e VECTOR(2))")
    await db.execute("INSERT INTO f VALUES (1, TRUE, '1', '[1, 2]'), (2, FALSE, '2', '[3, 4]'), (3, NULL, NULL, NULL)")
    assert await db.query(f"SELECT id FROM f WHERE {condition} ORDER BY id", into=int) == rows
    assert await db.execute(f"UPDATE f SET flag = flag WHERE {condition}") == len(rows)
    assert await db.execute(f"DELETE FROM f WHERE {condition}") == len(rows)


@pytest.mark.parametrize("definitions", [[], ["CREATE INDEX by_time ON f (createdAt)"]], ids=["scan", "index"])
@pytest.mark.parametrize(
    ("condition", "rows"),
    [
        ("createdAt > '2024-01-02'", [2]),
        ("NOT (createdAt > '2024-01-02')", [1]),
        ("createdat = '2024-01-01'", [1]),
        ("createdAt BETWEEN '2024-01-01' AND '2024-01-02'", [1]),
        ("createdAt IN ('2024-01-01', '2024-01-02')", [1]),
        ("createdat NOT IN ('2024-01-01', '2024-01-02')", [2]),
        ("createdAt NOT IN ('2024-01-01', NULL)", []),
        ("NOT (createdAt IN ('2024-01-01', NULL))", []),
        ("N = '10'", [1]),
        ("F IN (2)", [2]),
        ("F NOT IN (2)", [1]),
    ],
)
async def test_literals_of_other_types(db: DB, condition: str, rows: list[int], definitions: list[str]) -> None:
    await db.execute("CREATE TABLE f (id INTEGER PRIMARY KEY, createdAt TIMESTAMP, N INTEGER, F FLOAT)")
    await db.execute("INSERT INTO f VALUES (1, '2024-01-01', 10, 1.5), (2, '2024-01-05', 20, 2), (3, NULL, NULL, NULL)")
    for definition in definitions:
        await db.execute(definition)
    assert await db.query(f"SELECT id FROM f WHERE {condition} ORDER BY id", into=int) == rows
    assert await db.execute(f"DELETE FROM f WHERE {condition}") == len(rows)


@pytest.mark.parametrize(
    ("condition", "rows"),
    [
        ("NOT a NOT IN (10)", [1]),
        ("NOT a NOT BETWEEN 50 AND 4", []),
        ("NOT b NOT LIKE 'x%'", [1]),
        ("NOT a IN (10)", [2, 4]),
        ("NOT a = 10 AND NOT id NOT IN (2, 3)", [2]),
        ("NOT a + 1 NOT IN (11)", [1]),
    ],
)
async def test_not_before_not(db: DB, condition: str, rows: list[int]) -> None:
    await db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, a INTEGER, b TEXT)")
    await db.execute_many("INSERT INTO t VALUES ($1, $2, $3)", ROWS)
    assert await db.query(f"SELECT id FROM t WHERE {condition} ORDER BY id", into=int) == rows
    assert await db.execute(f"DELETE FROM t WHERE {condition}") == len(rows)


async def test_a_list_of_rows_that_is_too_long_is_an_error(db: DB) -> None:
    await db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, a INTEGER)")
    await db.execute("INSERT INTO t VALUES (1, 10), (2, 20)")
    for count, rows in ((3_000, [1, 2]), (9_000, None)):
        sql = f"SELECT id FROM t WHERE (id, a) IN ({', '.join(f'(id, {n * 10})' for n in range(count))}) ORDER BY id"
        if rows is None:
            with pytest.raises(aiostoolap.DataError, match="more than an expression can hold"):
                await db.query(sql)
        else:
            assert await db.query(sql, into=int) == rows


@pytest.mark.parametrize(
    "column",
    [
        "CASE WHEN a <> 5 THEN 'k' ELSE b END",
        "CASE WHEN a = NULL THEN 1 WHEN NULL <> a THEN 2 WHEN a IS NULL THEN 3 ELSE 4 END",
        "CASE WHEN 10 >= a THEN a WHEN b <> 'Y' THEN id END",
        "CASE WHEN b = 7 THEN 1 WHEN a = '10' THEN 2 ELSE 0 END",
        "a || b",
        "b || a || 'x'",
        "f || b",
        "f || 'x'",
    ],
)
async def test_ordered_results_are_computed_as_others_are(db: DB, column: str) -> None:
    await db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, a INTEGER, b TEXT, f FLOAT)")
    rows = [(*row, number) for row, number in zip([*ROWS, (6, 5, "7")], [0.5, 2.0, 1e20, None, 1.0, -0.0], strict=True)]
    await db.execute_many("INSERT INTO t VALUES ($1, $2, $3, $4)", rows)
    unordered = await db.query(f"SELECT id, {column} FROM t", into=tuple)
    assert await db.query(f"SELECT id, {column} FROM t ORDER BY id", into=tuple) == sorted(unordered)


async def test_values_that_are_null_are_not_outside_of_a_list(db: DB, judge: sqlite3.Connection) -> None:
    await db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, a INTEGER, b TEXT)")
    await db.execute_many("INSERT INTO t VALUES ($1, $2, $3)", ROWS)
    conditions = [
        f"{beside} (a {negated} (SELECT q.id FROM t AS q WHERE q.a > {least}))"
        for beside in (
            "t.id < (SELECT q.id FROM t AS q WHERE q.id = t.a) OR",
            "EXISTS (SELECT 1 FROM t AS q WHERE q.id = t.id) AND",
        )
        for negated in ("IN", "NOT IN")
        for least in (4, 90)
    ]
    assert await wrong(db, judge, conditions) == []


async def test_what_is_said_of_booleans_is_never_unknown(stored: DB, settle: Settle) -> None:
    await stored.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, d BOOLEAN)")
    await stored.execute("INSERT INTO t VALUES (1, true), (2, false), (3, NULL)")
    await settle()
    for condition, rows in (
        ("d IS TRUE", [1]),
        ("NOT (d IS TRUE)", [2, 3]),
        ("NOT (d IS FALSE)", [1, 3]),
        ("NOT (d IS NOT TRUE)", [1]),
        ("NOT (id = 3 AND d IS TRUE)", [1, 2, 3]),
        ("NOT (id = 1 OR d IS FALSE)", [3]),
    ):
        found = await stored.query(f"SELECT id FROM t WHERE {condition} ORDER BY id", into=int)
        assert found == rows, condition
    assert await stored.execute("DELETE FROM t WHERE NOT (d IS TRUE)") == 2


async def test_an_index_of_booleans_has_keys_below_zero(stored: DB, settle: Settle) -> None:
    await stored.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, d BOOLEAN)")
    await stored.execute("CREATE INDEX t_d ON t(d)")
    for row in ((-1, True), (2, False), (-5, True), (7, True), (-9, None)):
        await stored.execute("INSERT INTO t VALUES ($1, $2)", row)
    await settle()
    found = "SELECT id FROM t WHERE d = TRUE"
    assert await stored.query(f"{found} ORDER BY id", into=int) == [-5, -1, 7]
    assert await stored.query(f"{found} AND id > -3 ORDER BY id", into=int) == [-1, 7]
    assert await stored.query(f"{found} ORDER BY id LIMIT 1", into=int) == [-5]
    assert await stored.query("SELECT id FROM t WHERE d IN (TRUE, FALSE) ORDER BY id", into=int) == [-5, -1, 2, 7]
    assert await stored.query_value("SELECT COUNT(*) FROM t JOIN t AS u ON t.d = u.d") == 10
    assert await stored.execute("UPDATE t SET d = FALSE WHERE d = TRUE AND id < 0") == 2
    assert await stored.query(found, into=int) == [7]
    assert await stored.execute("DELETE FROM t WHERE d = FALSE") == 3


async def test_a_unique_boolean_has_keys_below_zero(stored: DB, settle: Settle) -> None:
    await stored.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, d BOOLEAN UNIQUE)")
    await stored.execute("INSERT INTO t VALUES (-1, TRUE)")
    await settle()
    with pytest.raises(UniqueViolationError):
        await stored.execute("INSERT INTO t VALUES (-2, TRUE)")
    async with stored.transaction() as tx:
        await tx.execute("DELETE FROM t WHERE id = -1")
        await tx.execute("INSERT INTO t VALUES (36, TRUE)")
    assert await stored.query("SELECT * FROM t", into=tuple) == [(36, True)]


@pytest.mark.parametrize("method", ["BITMAP", "HASH", "BTREE"])
async def test_ranges_beside_indexes_of_all_kinds(db: DB, method: str) -> None:
    await db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, b TEXT)")
    await db.execute(f"CREATE INDEX t_b ON t(b) USING {method}")
    await db.execute("INSERT INTO t VALUES (1, 'a'), (2, 'b'), (3, 'c'), (4, NULL)")
    for condition, rows in (
        ("b BETWEEN 'a' AND 'b'", [1, 2]),
        ("b > 'a'", [2, 3]),
        ("b >= 'b' AND id < 3", [2]),
        ("b > 'a' AND b < 'c'", [2]),
        ("b NOT BETWEEN 'a' AND 'b'", [3]),
    ):
        assert await db.query(f"SELECT id FROM t WHERE {condition} ORDER BY id", into=int) == rows, condition
    assert await db.execute("DELETE FROM t WHERE b BETWEEN 'b' AND 'z'") == 2


async def test_timestamps_in_lists(stored: DB, settle: Settle) -> None:
    await stored.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, d TIMESTAMP)")
    await stored.execute("INSERT INTO t VALUES (1, '2024-01-01'), (2, '2024-01-02 12:00:00'), (3, NULL)")
    await settle()
    day, noon = datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 1, 2, 12, tzinfo=UTC)
    for condition, parameters, rows in (
        ("d IN ('2024-01-01')", (), [1]),
        ("d IN ('2024-01-01', '2024-01-02 12:00:00')", (), [1, 2]),
        ("d NOT IN ('2024-01-01')", (), [2]),
        ("d IN ($1)", (day,), [1]),
        ("d NOT IN ($1, $2)", (day, day), [2]),
        ("d IN ($1, $2)", (day, noon), [1, 2]),
        ("d NOT IN ($1, $2)", (noon, datetime(2024, 1, 3, tzinfo=UTC)), [1]),
        ("d IN (TIMESTAMP '2024-01-01')", (), [1]),
        ("d NOT IN ('2024-01-01', NULL)", (), []),
        ("NOT (d IN ('2024-01-01'))", (), [2]),
        ("id > 0 AND (d IN ('2024-01-01') OR id = 2)", (), [1, 2]),
    ):
        found = await stored.query(f"SELECT id FROM t WHERE {condition} ORDER BY id", parameters, into=int)
        assert found == rows, condition
    listed = "SELECT d IN ('2024-01-01'), d NOT IN ('2024-01-01') FROM t ORDER BY id"
    assert await stored.query(listed, into=tuple) == [(True, False), (False, True), (None, None)]
    assert await stored.execute("DELETE FROM t WHERE d NOT IN ('2024-01-01')") == 1


@pytest.mark.parametrize("index", ["", "CREATE INDEX t_b ON t(b)"], ids=["plain", "indexed"])
async def test_booleans_are_ordered(db: DB, index: str) -> None:
    await db.execute_script(f"CREATE TABLE t (id INTEGER PRIMARY KEY, b BOOLEAN); {index}")
    await db.execute("INSERT INTO t VALUES (1, true), (2, false), (3, NULL)")
    for condition, rows in (
        ("b > FALSE", [1]),
        ("b >= FALSE", [1, 2]),
        ("TRUE > b", [2]),
        ("b <= TRUE", [1, 2]),
        ("b BETWEEN FALSE AND TRUE", [1, 2]),
        ("b NOT BETWEEN FALSE AND FALSE", [1]),
        ("NOT (b < TRUE)", [1]),
        ("b <> FALSE", [1]),
        ("id < 3 AND b < TRUE", [2]),
    ):
        assert await db.query(f"SELECT id FROM t WHERE {condition} ORDER BY id", into=int) == rows, condition
    assert await db.execute("DELETE FROM t WHERE b < TRUE") == 1


@pytest.mark.parametrize("operator", ["=", "<>", "<", "<=", ">", ">="])
async def test_rows_are_compared_as_a_whole(db: DB, judge: sqlite3.Connection, operator: str) -> None:
    await db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, a INTEGER, b TEXT)")
    await db.execute_many("INSERT INTO t VALUES ($1, $2, $3)", ROWS)
    conditions = [
        f"{negated}(({columns}) {operator} ({values}))"
        for negated in ("", "NOT ")
        for columns, values in (
            ("a, b", "10, 'x'"),
            ("a, b", "20, 'A'"),
            ("a, id", "10, NULL"),
            ("a, id", "20, 2"),
            ("b, a, id", "'Y', 20, 3"),
            ("id, a", "4, a"),
        )
    ]
    assert await wrong(db, judge, conditions) == []
    paged = f"SELECT id FROM t WHERE (a, id) {operator} (?, ?) ORDER BY id"
    assert await db.query(paged, (10, 1), into=int) == [row[0] for row in judge.execute(paged, (10, 1)).fetchall()]


async def test_rows_are_equal_also_in_joins(db: DB) -> None:
    await db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, a INTEGER)")
    await db.execute("INSERT INTO t VALUES (1, 1), (2, 1), (3, NULL)")
    joined = "SELECT t.id, q.id FROM t JOIN t AS q ON (t.a, t.id) = (q.a, q.id) ORDER BY t.id"
    assert await db.query(joined, into=tuple) == [(1, 1), (2, 2)]
    same = "SELECT id FROM t WHERE (a, id) IS NOT DISTINCT FROM (NULL, 3)"
    assert await db.query(same, into=int) == [3]
    for refused in ("(a, id) = (1, 2, 3)", "(a, id) = 1", "(a, id) = (SELECT 1, 2)"):
        with pytest.raises(aiostoolap.NotSupportedError, match="as many values"):
            await db.query(f"SELECT id FROM t WHERE {refused}")


async def test_aggregates_are_compared_with_lists_and_bounds(db: DB) -> None:
    await db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, a INTEGER, b TEXT)")
    await db.execute("INSERT INTO t VALUES (1, 1, 'x'), (2, 1, 'x'), (3, 5, 'y'), (4, NULL, 'z')")
    columns = "b, SUM(a) IN (2, 3), SUM(a) NOT IN (2, 3), SUM(a) BETWEEN 2 AND 3, MAX(id) NOT BETWEEN 2 AND 3"
    rows = [("x", True, False, True, False), ("y", False, True, False, False), ("z", None, None, None, True)]
    assert sorted(await db.query(f"SELECT {columns} FROM t GROUP BY b", into=tuple)) == rows
    assert await db.query("SELECT b FROM t GROUP BY b HAVING SUM(a) IN (2, 5) ORDER BY b", into=str) == ["x", "y"]
    assert await db.query("SELECT b FROM t GROUP BY b HAVING COUNT(*) NOT IN (?, 7) ORDER BY b", (2,), into=str) == [
        "y",
        "z",
    ]
    with pytest.raises(aiostoolap.NotSupportedError, match="derived table"):
        await db.query("SELECT MAX(b) LIKE 'x%' FROM t")


@pytest.mark.parametrize("call", ["BOOL_AND(a > 0)", "BIT_OR(a)", "ANY_VALUE(a)", "MODE(a)", "NOSUCH(a)"])
@pytest.mark.parametrize(
    "statement", ["SELECT {} FROM t", "SELECT {} FROM t GROUP BY b", "SELECT b FROM t WHERE {} > 1"]
)
async def test_a_function_that_is_not_there_is_an_error(db: DB, call: str, statement: str) -> None:
    await db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, a INTEGER, b TEXT)")
    await db.execute("INSERT INTO t VALUES (1, 1, 'x')")
    with pytest.raises(aiostoolap.ProgrammingError, match=f"Function not found: {call.partition('(')[0]}"):
        await db.query(statement.format(call))


@pytest.mark.parametrize("month", ["'2024-01-01'", "TIMESTAMP '2024-01-01'", "'2024-01-01T00:00:00Z'"])
async def test_calculated_times_are_compared_with_texts(db: DB, month: str) -> None:
    await db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, at TIMESTAMP)")
    await db.execute("INSERT INTO t VALUES (1, '2024-01-01'), (2, '2024-01-05 12:30:00'), (3, '2024-02-01'), (4, NULL)")
    for condition, ids in (
        (f"DATE_TRUNC('month', at) = {month}", [1, 2]),
        (f"{month} = DATE_TRUNC('month', at)", [1, 2]),
        (f"DATE_TRUNC('month', at) <> {month}", [3]),
        (f"NOT (DATE_TRUNC('month', at) = {month})", [3]),
        (f"COALESCE(at, at) = {month} OR id = 4", [1, 4]),
        (f"at - INTERVAL '1 month' = {month}", [3]),
        (f"CASE WHEN id < 9 THEN at END <> {month}", [2, 3]),
    ):
        assert sorted(await db.query(f"SELECT id FROM t WHERE {condition}", into=int)) == ids, condition
    columns = f"MIN(at) = {month}, MAX(at) <> {month}, COUNT(*) FILTER (WHERE DATE_TRUNC('month', at) = {month})"
    assert await db.query(f"SELECT {columns} FROM t", into=tuple) == [(True, True, 2)]
    assert await db.query(f"SELECT id FROM t GROUP BY id HAVING MAX(at) = {month}", into=int) == [1]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT id FROM t WHERE s = n",
        "DELETE FROM t WHERE s <> n",
        "SELECT t.id FROM t JOIN k ON k.x = t.d",
        "SELECT t.id FROM t, k WHERE k.x = t.n",
        "DELETE FROM t WHERE NOT EXISTS (SELECT 1 FROM k WHERE k.x = t.d)",
        "SELECT id FROM t WHERE n < (SELECT COUNT(*) FROM k WHERE x = t.n)",
        "SELECT s = g FROM t",
        "UPDATE t SET n = 0 WHERE f > s",
        "SELECT id FROM t WHERE s IN (n, 'x')",
        "SELECT id FROM t WHERE s BETWEEN 'a' AND n",
        "SELECT id FROM t WHERE (id, s) = (1, n)",
        "SELECT 1 FROM v WHERE vs = vn",
        "SELECT 1 FROM v JOIN t ON v.vs = t.n",
        "SELECT 1 FROM v, k WHERE k.x = v.vd",
        "SELECT 1 FROM (SELECT MAX(id) AS i, s FROM t GROUP BY s) AS q JOIN t ON q.s = t.d",
        "SELECT 1 FROM (SELECT * FROM t) AS q WHERE q.s < q.f",
        "WITH c (a, b) AS (SELECT s, n FROM t) SELECT 1 FROM c WHERE a = b",
        "WITH c AS (SELECT s FROM t UNION SELECT x FROM k) SELECT 1 FROM c WHERE s IN (SELECT n FROM t)",
        "SELECT id FROM t WHERE s IN (SELECT d FROM t)",
        "SELECT t.id FROM t JOIN l ON t.s = l.j",
        "SELECT id FROM t WHERE s IN (SELECT j FROM l)",
        "SELECT id FROM t WHERE s IN (SELECT vd FROM v)",
        "SELECT id FROM t WHERE (id, s) NOT IN (SELECT id, n FROM t)",
        "SELECT id FROM t WHERE n = ANY (SELECT x FROM k)",
        "SELECT 1 FROM t JOIN (SELECT x AS n FROM k) AS q USING (n)",
        "SELECT 1 FROM t NATURAL JOIN (SELECT x AS d FROM k) AS q",
    ],
)
async def test_columns_of_texts_are_not_compared_with_numbers_and_times(db: DB, sql: str) -> None:
    await db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, s TEXT, n INTEGER, f FLOAT, g BOOLEAN, d TIMESTAMP)")
    await db.execute("CREATE TABLE k (x TEXT)")
    await db.execute("CREATE TABLE l (id INTEGER PRIMARY KEY, j JSON)")
    await db.execute("CREATE VIEW v AS SELECT s AS vs, n AS vn, d AS vd FROM t")
    with pytest.raises(NotSupportedError, match=r"compares TEXT with \w+: write CAST"):
        await db.query(sql)


async def test_columns_of_texts_are_cast(db: DB) -> None:
    await db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, s TEXT, n INTEGER, d TIMESTAMP)")
    await db.execute("INSERT INTO t VALUES (1, '7', 7, '2024-01-01'), (2, '2024-01-01', 7, '2024-01-01')")
    await db.execute("CREATE TABLE k (x TEXT)")
    await db.execute("INSERT INTO k VALUES ('2024-01-01 00:00:00')")
    for condition, rows in (
        ("CAST(s AS INTEGER) = n", [1]),
        ("s = CAST(n AS TEXT)", [1]),
        ("s = d", [2]),
        ("s = '7'", [1]),
        ("EXISTS (SELECT 1 FROM k WHERE CAST(k.x AS TIMESTAMP) = t.d)", [1, 2]),
        ("d IN (SELECT x FROM k)", [1, 2]),
        ("s IN (SELECT CAST(n AS TEXT) FROM t)", [1]),
        ("s IN (SELECT q.v FROM (SELECT n AS v FROM t UNION SELECT x FROM k UNION SELECT s FROM t) AS q)", [1, 2]),
    ):
        assert await db.query(f"SELECT id FROM t WHERE {condition}", into=int) == rows, condition


async def test_limits_count_the_rows_that_meet_a_condition(db: DB) -> None:
    await db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, a INTEGER, f FLOAT)")
    await db.execute_many("INSERT INTO t VALUES (?, ?, ?)", [(n, n % 10 or None, n / 4) for n in range(1_000)])
    await db.execute("DELETE FROM t WHERE id % 3 = 0")
    await db.execute("UPDATE t SET a = 3 WHERE id % 7 = 0")
    rows = {n: (3 if n % 7 == 0 else n % 10 or None) for n in range(1_000) if n % 3}
    for condition, expected in (
        ("id >= 0", list(rows)),
        ("a >= 3", [n for n, a in rows.items() if a is not None and a >= 3]),
        ("a BETWEEN 2 AND 5", [n for n, a in rows.items() if a in range(2, 6)]),
        ("a IN (1, 9)", [n for n, a in rows.items() if a in (1, 9)]),
        ("f BETWEEN 10.0 AND 200", [n for n in rows if 40 <= n <= 800]),
        ("a NOT BETWEEN 2 AND 5", [n for n, a in rows.items() if a in (1, 6, 7, 8, 9)]),
    ):
        for limit, offset in ((1, 0), (10, 0), (10, 63), (100, 64), (1_000, 200), (5, 2_000)):
            sql = f"SELECT id FROM t WHERE {condition} LIMIT {limit} OFFSET {offset}"
            assert await db.query(sql, into=int) == expected[offset : offset + limit], sql
    for limit, offset in ((1, 0), (100, 500), (9, 660)):
        sql = f"SELECT id FROM t LIMIT {limit} OFFSET {offset}"
        assert await db.query(sql, into=int) == list(rows)[offset : offset + limit], sql


@pytest.mark.parametrize("index", ["", "CREATE INDEX t_j ON t (j)"])
@pytest.mark.parametrize("more", ["", " AND id + 1 > 0", " OR id > 9"])
async def test_json_beside_texts(stored: DB, settle: Settle, more: str, index: str) -> None:
    await stored.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, j JSON)")
    if index:
        await stored.execute(index)
    await stored.execute("CREATE TABLE k (x TEXT)")
    await stored.execute("INSERT INTO k VALUES ('1'), ('x')")
    await stored.execute("INSERT INTO t VALUES (1, '1'), (2, '{\"a\": 1}'), (3, '[1, 2]'), (4, NULL)")
    await settle()
    for value, given in (("'1'", ()), ("$1", ("1",)), ("$1", (Json(1),))):
        parameters: tuple[Any, ...] = given
        for condition, rows in (
            (f"j IN ({value}, '2')", [1]),
            (f"j NOT IN ({value}, '2')", [2, 3]),
            (f"j IN ('[1, 2]', {value}, NULL)", [1, 3]),
            (f"j NOT IN ({value}, NULL)", []),
            (f"j IN ({value})", [1]),
            (f"j IN (1, {value})", [1]),
            (f"j NOT IN ({value}, 1, id)", [2, 3]),
            (f"j = {value}", [1]),
            (f"j <> {value}", [2, 3]),
            (f"CASE j WHEN {value} THEN TRUE END", [1]),
        ):
            sql = f"SELECT id FROM t WHERE {condition}{more} ORDER BY id"
            assert await stored.query(sql, parameters, into=int) == rows, sql
    many = ", ".join(f"'{n}'" for n in range(30_000))
    for condition, rows in (
        (f"j IN ({many})", [1]),
        ("j IN (1, 2)", []),
        ("j IN (SELECT x FROM k)", [1]),
        ("j NOT IN (SELECT x FROM k)", [2, 3]),
        ("NULLIF(j, '1') IS NULL", [1, 4]),
        ("j = CAST(j AS TEXT)", [1, 2, 3]),
    ):
        sql = f"SELECT id FROM t WHERE ({condition}){more} ORDER BY id"
        assert await stored.query(sql, into=int) == rows, condition
    assert await stored.query("SELECT j IN ('1', '2') FROM t WHERE id < 3 ORDER BY id", into=bool) == [True, False]


@pytest.mark.parametrize(
    ("condition", "rows"),
    [
        ("ABS(ABS(n)) = 2", [1, 2]),
        ("NOT ABS(ABS(n)) = 2", [4]),
        ("UPPER(TRIM(b)) = 'A'", [1]),
        ("'A' = UPPER(TRIM(b))", [1]),
        ("UPPER(TRIM(b)) <> 'A'", [2, 4]),
        ("UPPER(TRIM(b)) = $1", [1]),
        ("LENGTH(CONCAT(b, UPPER(b))) > 3", [1, 4]),
        ("COALESCE(COALESCE(n, 0), 0) < 1", [1, 3]),
        ("UPPER(TRIM(b)) = 'A' OR ABS(ABS(n)) = 7", [1, 4]),
        ("LOWER(UPPER('X')) = 'x' AND n IS NULL", [3]),
    ],
)
async def test_functions_of_functions(stored: DB, settle: Settle, condition: str, rows: list[int]) -> None:
    await stored.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER, b TEXT)")
    await stored.execute("INSERT INTO t VALUES (1, -2, ' a '), (2, 2, 'b'), (3, NULL, NULL), (4, 7, 'cde')")
    await settle()
    parameters = ("A",) if "$1" in condition else ()
    assert await stored.query(f"SELECT id FROM t WHERE {condition} ORDER BY id", parameters, into=int) == rows
    assert await stored.execute(f"UPDATE t SET n = 1 WHERE {condition}", parameters) == len(rows)
