"""Aggregates that differ in anything have values of their own, and sums of integers are integers."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Sequence
from typing import Any

import pytest

import aiostoolap
from aiostoolap import DB
from aiostoolap.session import Session
from tests.conftest import Settle

SETUP = """
    CREATE TABLE t (id INTEGER PRIMARY KEY, a INTEGER, b TEXT, c BOOLEAN, d FLOAT);
    INSERT INTO t VALUES (1, 10, 'x', TRUE, 0.5), (2, 20, 'Y', TRUE, 2.5);
    INSERT INTO t VALUES (3, 20, 'y', FALSE, 4.0), (4, NULL, 'z', NULL, 1)
"""

APART = [
    ("SUM(CASE WHEN b = 'x' THEN 1 END), SUM(CASE WHEN b = 'X' THEN 1 END)", (1, None)),
    ("SUM(CASE WHEN b = 'X' THEN 1 END) AS p, SUM(CASE WHEN b = 'x' THEN 1 END) AS q", (None, 1)),
    ("MIN('a'), MIN('A'), MIN('a') || MIN('A')", ("a", "A", "aA")),
    ("SUM(a), SUM(DISTINCT a)", (50, 30)),
    ("SUM(a) + 1, SUM(DISTINCT a) + 1, SUM(a) + 2", (51, 31, 52)),
    ("COUNT(a) * 10, COUNT(DISTINCT a) * 10", (30, 20)),
    ("COUNT(*), COUNT(*) FILTER (WHERE a > 10), COUNT(*) FILTER (WHERE a > 90)", (4, 2, 0)),
    ("COUNT(*) FILTER (WHERE a > 10) * 10, COUNT(*) * 10", (20, 40)),
    ("SUM(a) FILTER (WHERE b = 'Y') + 1, SUM(a) FILTER (WHERE b = 'y') + 2", (21, 22)),
    ("STRING_AGG(b, ','), STRING_AGG(b, ';')", ("x,Y,y,z", "x;Y;y;z")),
    ("STRING_AGG(b, 'x'), STRING_AGG(b, 'X')", ("xxYxyxz", "xXYXyXz")),
    ("STRING_AGG(b, ',' ORDER BY id), STRING_AGG(b, ',' ORDER BY id DESC)", ("x,Y,y,z", "z,y,Y,x")),
    ("COALESCE(STRING_AGG(b, ','), '-'), COALESCE(STRING_AGG(b, ';'), '-')", ("x,Y,y,z", "x;Y;y;z")),
    ("SUM(a / 4), SUM(a / 4.0)", (12, 12.5)),
    ("SUM(a), (SELECT SUM(DISTINCT a) FROM t)", (50, 30)),
]


BY_CASE = [("x", 2), (None, 2)]


@pytest.fixture
async def filled(db: DB) -> DB:
    await db.execute_script(SETUP)
    return db


@pytest.mark.parametrize(("columns", "expected"), APART)
async def test_aggregates_are_told_apart(filled: DB, columns: str, expected: tuple[Any, ...]) -> None:
    for source in ("t", "t GROUP BY a - a = 7", "(SELECT * FROM t) AS s"):
        found = await filled.query(f"SELECT {columns} FROM {source} LIMIT 9", into=tuple)
        if "GROUP BY" not in source:
            assert found == [expected], source
    await filled.execute(f"CREATE VIEW v AS SELECT {columns} FROM t")
    if " AS p" in columns:
        assert await filled.query("SELECT p, q FROM v", into=tuple) == [expected]


async def test_aggregates_are_told_apart_in_all_clauses(filled: DB) -> None:
    sql = """
        SELECT a FROM t GROUP BY a
        HAVING COUNT(*) FILTER (WHERE b = 'Y') < COUNT(*) FILTER (WHERE b <> 'Y')
        ORDER BY COUNT(*) FILTER (WHERE b = 'y'), COUNT(*) FILTER (WHERE b = 'z')
    """
    assert await filled.query(sql, into=tuple) == [(10,), (None,)]
    sql = "SELECT a, MAX(b || 'a'), MAX(b || 'A') FROM t GROUP BY a HAVING MAX(b || 'A') > MIN(b || 'A') ORDER BY a"
    assert await filled.query(sql, into=tuple) == [(20, "ya", "yA")]
    sql = "SELECT SUM(CASE WHEN b = $1 THEN 1 END), SUM(CASE WHEN b = $2 THEN 1 END) FROM t"
    assert await filled.query_one(sql, ("X", "x"), into=tuple) == (None, 1)
    sql = "SELECT MIN('a'), MIN('A') FROM t UNION ALL SELECT MIN('A'), MIN('a') FROM t"
    assert await filled.query(sql, into=tuple) == [("a", "A"), ("A", "a")]


@pytest.mark.parametrize(
    ("sql", "rows"),
    [
        ("SELECT a FROM t GROUP BY a ORDER BY SUM(id + 0) DESC", [(20,), (None,), (10,)]),
        ("SELECT a, SUM(id * 1) AS s FROM t GROUP BY a ORDER BY SUM(0 - id)", [(20, 5), (None, 4), (10, 1)]),
        ("SELECT a, COUNT(1) FROM t GROUP BY a ORDER BY COUNT(1) DESC, MAX(id + 1)", [(20, 2), (10, 1), (None, 1)]),
        ("SELECT a, SUM(id) FROM t GROUP BY a ORDER BY COUNT(b) DESC, MIN(b)", [(20, 5), (10, 1), (None, 4)]),
        ("SELECT a, COUNT(*) FROM t GROUP BY a ORDER BY SUM(id) DESC LIMIT 1", [(20, 2)]),
        ("SELECT a, COUNT(*) AS n FROM t GROUP BY a ORDER BY SUM(id) / COUNT(*), a", [(10, 1), (20, 2), (None, 1)]),
        (
            "SELECT c, COUNT(*) FROM t GROUP BY c ORDER BY COUNT(*) FILTER (WHERE id > 2), c",
            [(True, 2), (False, 1), (None, 1)],
        ),
        ("SELECT t.a + 1 FROM t GROUP BY a + 1 ORDER BY a + 1 DESC", [(None,), (21,), (11,)]),
        ("SELECT a + 1 AS n FROM t GROUP BY t.a + 1 ORDER BY t.a + 1 DESC, n LIMIT 2", [(None,), (21,)]),
        ("SELECT UPPER(t.b) FROM t GROUP BY UPPER(b) ORDER BY UPPER(b)", [("X",), ("Y",), ("Z",)]),
        ("SELECT s.a + 1 FROM (SELECT a FROM t) AS s GROUP BY a + 1 ORDER BY a + 1", [(11,), (21,), (None,)]),
        ("SELECT COUNT(*), MIN(id) FROM t GROUP BY a + 1 ORDER BY a + 1 DESC", [(1, 4), (2, 2), (1, 1)]),
        ("SELECT MIN(id) AS m FROM t GROUP BY UPPER(b) ORDER BY UPPER(t.b) DESC LIMIT 2", [(4,), (2,)]),
        ("SELECT MIN(id) AS m FROM t GROUP BY b ORDER BY UPPER(t.b) DESC, b LIMIT 2", [(4,), (2,)]),
        ("SELECT COUNT(*), MIN(id) FROM t GROUP BY t.a ORDER BY a * -1", [(2, 2), (1, 1), (1, 4)]),
        ("SELECT COUNT(*) FROM t GROUP BY UPPER(b) ORDER BY CASE WHEN COUNT(*) > 1 THEN 1 END", [(2,), (1,), (1,)]),
        ("SELECT id, ABS(id - 5) AS x FROM t ORDER BY ABS(id * 2)", [(1, 4), (2, 3), (3, 2), (4, 1)]),
        (
            "SELECT id, ROUND(id / 4.0, 0) AS x FROM t ORDER BY ROUND(id / 4.0, 2) DESC",
            [(4, 1), (3, 1), (2, 1), (1, 0)],
        ),
    ],
)
async def test_results_are_ordered_by_just_what_is_said(filled: DB, sql: str, rows: list[Any]) -> None:
    assert await filled.query(sql, into=tuple) == rows


@pytest.mark.parametrize("condition", ["", "WHERE id > 0"])
@pytest.mark.parametrize("columns", ["g, SUM(a)", "g, COUNT(*) AS n", "g", "g, SUM(a) AS s, COUNT(a)"])
@pytest.mark.parametrize(
    ("order", "groups"),
    [
        ("SUM(a) / COUNT(*)", [3, 2, 1, 4]),
        ("SUM(a) * 1.0 / COUNT(a) DESC", [4, 1, 2, 3]),
        ("SUM(a) + g", [3, 2, 4, 1]),
        ("0 - SUM(a)", [1, 4, 2, 3]),
        ("ABS(SUM(a))", [3, 2, 4, 1]),
        ("COUNT(a) DESC, MIN(a)", [1, 2, 3, 4]),
        ("CASE WHEN SUM(a) > 5 THEN 0 ELSE 1 END, g DESC", [4, 1, 3, 2]),
    ],
)
async def test_results_are_ordered_by_calculations_with_aggregates(
    db: DB, order: str, groups: list[int], columns: str, condition: str
) -> None:
    await db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, g INTEGER, a INTEGER)")
    await db.execute("INSERT INTO t VALUES (1,1,5), (2,1,5), (3,1,5), (4,1,5), (5,2,2), (6,2,3), (7,3,1), (8,4,9)")
    rows = await db.query(f"SELECT {columns} FROM t {condition} GROUP BY g ORDER BY {order}", into=tuple)
    assert [row[0] for row in rows] == groups


async def test_what_tells_them_apart_is_not_seen(filled: DB) -> None:
    sql = "SELECT MIN('a'), MIN('A)') || '(', COUNT(*) FILTER (WHERE a = 1), COUNT(*), COALESCE(MIN(b), 'q') FROM t"
    columns = (await filled.query(sql)).columns
    assert columns == ("MIN('a')", "MIN('A)') || '('", "COUNT(*)", "COUNT(*)", "COALESCE(...)")
    columns = (await filled.query("SELECT a AS \"coalesce(a)\", MIN('A'), MIN('a') FROM t GROUP BY a")).columns
    assert columns == ("coalesce(a)", "MIN('A')", "MIN('a')")


GROUPED = [
    "SELECT a, SUM(id) FROM t GROUP BY a",
    "SELECT b, SUM(id) FROM t GROUP BY b",
    "SELECT c, SUM(id) FROM t GROUP BY c",
    "SELECT d, SUM(id) FROM t GROUP BY d",
    "SELECT a, b, SUM(id) FROM t GROUP BY a, b",
    "SELECT a, SUM(id), AVG(id) FROM t GROUP BY a HAVING SUM(id) > 0",
    "SELECT b, SUM(id) FROM t WHERE id > 0 GROUP BY b",
    "SELECT b, SUM(id) FROM (SELECT LOWER(b) AS b, id FROM t) AS s GROUP BY b",
    "SELECT x.a, SUM(y.id) FROM t AS x JOIN t AS y ON x.id >= y.id GROUP BY x.a",
    "SELECT a, SUM(id) FROM t GROUP BY a LIMIT 9",
    "SELECT a, SUM(c) FROM t GROUP BY a",
    "SELECT a, b, SUM(c) FROM t GROUP BY a, b",
]


@pytest.mark.parametrize("indexed", [False, True])
async def test_grouped_sums_of_integers_are_integers(stored: DB, settle: Settle, indexed: bool) -> None:
    await stored.execute_script(SETUP)
    if indexed:
        await stored.execute("CREATE INDEX t_a ON t(a)")
        await stored.execute("CREATE INDEX t_b ON t(b)")
    await settle()
    for sql in GROUPED:
        for row in await stored.query(sql, into=tuple):
            assert isinstance(row[-1 if "AVG" not in sql else 1], int) or row[-1] is None, (sql, row)
    assert await stored.query("SELECT a, b, SUM(c) FROM t WHERE c GROUP BY a, b ORDER BY a", into=tuple) == [
        (10, "x", 1),
        (20, "Y", 1),
    ]
    for sql in ("SELECT a, SUM(d) FROM t GROUP BY a ORDER BY a", "SELECT a, b, SUM(d) FROM t GROUP BY a, b"):
        assert all(isinstance(row[-1], float) for row in await stored.query(sql, into=tuple)), sql


async def test_grouped_sums_are_exact(stored: DB, settle: Settle) -> None:
    await stored.execute("CREATE TABLE t (g INTEGER, h TEXT, v INTEGER)")
    await stored.execute_many("INSERT INTO t VALUES (1, 'h', $1)", [(2**53,), (1,), (1,), (1,)])
    await stored.execute_many("INSERT INTO t VALUES (2, 'i', $1)", [(2**62,), (2**62,)])
    await stored.execute_many("INSERT INTO t VALUES (3, 'j', $1)", [(2**62,), (2**62,), (1 - 2**62,)])
    await settle()
    for columns in ("g", "h", "g, h", "g + 1", "g, UPPER(h)"):
        sql = f"SELECT SUM(v) FROM t GROUP BY {columns} ORDER BY 1"
        assert await stored.query(sql, into=tuple) == [(2**53 + 3,), (2**62 + 1,), (2.0**63,)]


async def test_groups_of_calculations(db: DB) -> None:
    await db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, a INTEGER, b TEXT, c FLOAT)")
    rows = [(n, n % 3 or None, f"b{n % 4}", n / 8 if n % 5 else None) for n in range(100)]
    await db.execute_many("INSERT INTO t VALUES ($1, $2, $3, $4)", rows)
    groups: dict[tuple[Any, ...], list[tuple[Any, ...]]] = {}
    for row in rows:
        groups.setdefault((row[0] % 7, row[1], row[2].upper()), []).append(row)
    expected = [
        (*key, len(group), sum(row[0] for row in group), min(numbers, default=None), max(numbers, default=None))
        for key, group in groups.items()
        for numbers in ([row[3] for row in group if row[3] is not None],)
    ]
    found = "COUNT(*), SUM(id), MIN(c), MAX(c)"
    sql = f"SELECT id % $1 AS d, a, UPPER(b) AS u, {found} FROM t GROUP BY id % $1, a, UPPER(b)"
    assert sorted(await db.query(sql, (7,), into=tuple), key=repr) == sorted(expected, key=repr)
    assert len(await db.query(f"{sql} LIMIT 5", (7,))) == 5
    assert await db.query(f"SELECT COUNT(*) FROM ({sql} HAVING COUNT(*) > 1) AS s", (7,), into=tuple) == [
        (sum(len(group) > 1 for group in groups.values()),)
    ]


async def test_equal_calculations_are_one_group(filled: DB) -> None:
    for calculation in ("CASE WHEN id < 3 THEN 1 ELSE 1.0 END", "CASE WHEN id < 3 THEN 0.0 ELSE 0.0 * -1 END"):
        sql = f"SELECT COUNT(*), SUM(id) FROM t GROUP BY {calculation}"
        assert await filled.query(sql, into=tuple) == [(4, 10)]


@pytest.mark.parametrize(
    ("sql", "rows"),
    [
        ("SELECT LOWER(b) AS b, COUNT(*) FROM t GROUP BY b", [("x", 1), ("y", 2), ("z", 1)]),
        ("SELECT LOWER(b) AS c2, COUNT(*) FROM t GROUP BY c2", [("x", 1), ("y", 2), ("z", 1)]),
        ("SELECT a AS a, COUNT(*) FROM t GROUP BY a", [(10, 1), (20, 2), (None, 1)]),
    ],
)
async def test_names_of_results_come_before_columns(filled: DB, sql: str, rows: list[Any]) -> None:
    assert sorted(await filled.query(sql, into=tuple), key=repr) == rows


@pytest.mark.parametrize(
    ("sql", "rows"),
    [
        ("SELECT COALESCE(t.a, 0) AS a, COUNT(*) FROM t GROUP BY t.a", [(0, 1), (10, 1), (20, 2)]),
        (
            "SELECT COALESCE(p.a, 0) AS a, SUM(q.id) FROM t AS p JOIN t AS q ON p.id = q.id GROUP BY p.a",
            [(0, 4), (10, 1), (20, 5)],
        ),
        ("SELECT a AS id FROM t GROUP BY t.id, a", [(10,), (20,), (20,), (None,)]),
        ("SELECT t.a AS id, MIN(t.id) AS m FROM t GROUP BY t.id, t.a", [(10, 1), (20, 2), (20, 3), (None, 4)]),
        ("SELECT t.a + 1 AS id, SUM(t.id) FROM t GROUP BY t.a, t.id", [(11, 1), (21, 2), (21, 3), (None, 4)]),
        ("SELECT SUM(t.a) AS a FROM t GROUP BY t.a", [(10,), (40,), (None,)]),
        ("SELECT UPPER(b) AS u, UPPER(b) || '!' FROM t GROUP BY UPPER(b)", [("X", "X!"), ("Y", "Y!"), ("Z", "Z!")]),
        ("SELECT LENGTH(UPPER(t.b)) + COUNT(*) FROM t GROUP BY UPPER(t.b)", [(2,), (2,), (3,)]),
        ("SELECT t.a + 1, COUNT(*) FROM t GROUP BY a + 1", [(11, 1), (21, 2), (None, 1)]),
        ("SELECT UPPER(s.b), COUNT(*) FROM t AS s GROUP BY UPPER(b)", [("X", 1), ("Y", 2), ("Z", 1)]),
        ("SELECT UPPER(b) || '!', COUNT(*) FROM t GROUP BY UPPER(t.b)", [("X!", 1), ("Y!", 2), ("Z!", 1)]),
        ("SELECT CASE WHEN t.a > 15 THEN 'x' END, COUNT(*) FROM t GROUP BY CASE WHEN a > 15 THEN 'x' END", BY_CASE),
        ("SELECT CASE WHEN a > 15 THEN 'x' END, COUNT(*) FROM t GROUP BY CASE WHEN t.a > 15 THEN 'x' END", BY_CASE),
        (
            "SELECT CASE WHEN s.a > 15 THEN 'x' END AS c, COUNT(*) FROM t AS s GROUP BY CASE WHEN a > 15 THEN 'x' END",
            BY_CASE,
        ),
        (
            "SELECT CASE WHEN s.a > 15 THEN 'x' END AS c, COUNT(*) FROM (SELECT a FROM t) AS s "
            "GROUP BY CASE WHEN a > 15 THEN 'x' END",
            BY_CASE,
        ),
        (
            "SELECT CAST(t.a AS TEXT) || '!', COUNT(*) FROM t GROUP BY CAST(a AS TEXT)",
            [("10!", 1), ("20!", 2), (None, 1)],
        ),
        ("SELECT t.a IN (10), COUNT(*) FROM t GROUP BY a IN (10)", [(False, 2), (None, 1), (True, 1)]),
        (
            "SELECT t.a BETWEEN 1 AND 15, SUM(1) FROM t GROUP BY a BETWEEN 1 AND 15",
            [(False, 2), (None, 1), (True, 1)],
        ),
        ("SELECT t.b LIKE 'x%', COUNT(*) FROM t GROUP BY b LIKE 'x%'", [(False, 3), (True, 1)]),
        ("SELECT t.a IS NULL, COUNT(*) FROM t GROUP BY a IS NULL", [(False, 3), (True, 1)]),
        ("SELECT t.a + id, COUNT(*) FROM t GROUP BY a + id", [(11, 1), (22, 1), (23, 1), (None, 1)]),
        ("SELECT COUNT(*) FROM t GROUP BY a + 1 HAVING t.a + 1 > 0", [(1,), (2,)]),
        ("SELECT COUNT(*) FROM t GROUP BY t.a + 1 HAVING a + 1 > 11", [(2,)]),
        (
            "SELECT CASE WHEN a % 3 = 1 THEN 'one' ELSE 'other' END, SUM(id) FROM t GROUP BY a % 3",
            [("one", 1), ("other", 4), ("other", 5)],
        ),
        ("SELECT (a % 3) * 2 AS w, id FROM t GROUP BY a % 3, id", [(2, 1), (4, 2), (4, 3), (None, 4)]),
    ],
)
async def test_calculations_with_what_is_grouped_by(filled: DB, sql: str, rows: list[Any]) -> None:
    assert sorted(await filled.query(sql, into=tuple), key=repr) == rows


async def test_what_no_group_has_is_an_error(filled: DB) -> None:
    with pytest.raises(aiostoolap.Error, match="'id' not found"):
        await filled.query("SELECT id + 1 FROM t GROUP BY a")


async def test_an_aggregate_that_is_asked_for_twice_has_two_columns(stored: DB, settle: Settle) -> None:
    await stored.execute_script(SETUP)
    await settle()
    for sql, expected in (
        ("SELECT COUNT(*) AS p, COUNT(*) AS q FROM t", (4, 4)),
        ("SELECT COUNT(*), MAX(a), COUNT(*) FROM t", (4, 20, 4)),
        ("SELECT SUM(a) AS p, SUM(a) AS q FROM t WHERE id > 1", (40, 40)),
        ("SELECT SUM(a), SUM(a) FROM t ORDER BY MAX(a)", (50, 50)),
        ("SELECT q FROM (SELECT COUNT(*) AS p, COUNT(*) AS q FROM t) AS s WHERE q > 3", (4,)),
        ("WITH s AS (SELECT MIN(a) AS p, MIN(a) AS q FROM t WHERE id > 1) SELECT q, p FROM s", (20, 20)),
    ):
        assert await stored.query(sql, into=tuple) == [expected], sql


async def test_least_and_greatest_of_all_types(stored: DB, settle: Settle) -> None:
    await stored.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, a INTEGER, b TEXT, c BOOLEAN, d FLOAT)")
    await stored.execute("INSERT INTO t VALUES (1, 2, 'x', true, 0.5), (2, 2, 'y', false, -1.5)")
    await settle()
    await stored.execute("INSERT INTO t VALUES (3, 2, 'w', NULL, NULL), (4, 3, NULL, NULL, NULL)")
    columns = "MIN(b), MAX(b), MIN(c), MAX(c), MIN(d), MAX(id)"
    two, three = ("w", "y", False, True, -1.5, 3), (None, None, None, None, None, 4)
    assert await stored.query(f"SELECT {columns} FROM t WHERE a = 2", into=tuple) == [two]
    grouped = await stored.query(f"SELECT a, {columns} FROM t GROUP BY a", into=tuple)
    assert sorted(grouped) == [(2, *two), (3, *three)]


@pytest.mark.parametrize(
    ("frame", "counts"),
    [
        ("1 FOLLOWING AND 2 FOLLOWING", [2, 2, 1, 0]),
        ("5 FOLLOWING AND 6 FOLLOWING", [0, 0, 0, 0]),
        ("1 FOLLOWING AND UNBOUNDED FOLLOWING", [3, 2, 1, 0]),
        ("2 FOLLOWING AND 1 FOLLOWING", [0, 0, 0, 0]),
        ("2 PRECEDING AND 1 PRECEDING", [0, 1, 2, 2]),
        ("4294967296 PRECEDING AND CURRENT ROW", [1, 2, 3, 4]),
        ("CURRENT ROW AND 4294967296 FOLLOWING", [4, 3, 2, 1]),
        ("4294967297 FOLLOWING AND UNBOUNDED FOLLOWING", [0, 0, 0, 0]),
    ],
)
async def test_frames_at_the_ends_of_a_partition(filled: DB, frame: str, counts: list[int]) -> None:
    window = f"OVER (ORDER BY id ROWS BETWEEN {frame})"
    sql = f"SELECT COUNT(*) {window}, SUM(id) {window} IS NULL, LAST_VALUE(id) {window} IS NULL FROM t ORDER BY id"
    assert await filled.query(sql, into=tuple) == [(count, not count, not count) for count in counts]


async def test_windows_of_more_rows_than_32_bits_count(filled: DB) -> None:
    sql = "SELECT NTILE(4294967296) OVER (ORDER BY id), LAG(id, 4294967297, 0) OVER (ORDER BY id) FROM t ORDER BY id"
    assert await filled.query(sql, into=tuple) == [(1, 0), (2, 0), (3, 0), (4, 0)]


async def test_aggregates_keep_all_conditions(stored: DB) -> None:
    await stored.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, a INTEGER, e INTEGER)")
    await stored.execute("INSERT INTO t VALUES (1, 10, 1), (2, 80, 2), (3, 90, 3), (4, 200, 4)")
    await stored.checkpoint()
    for condition, expected in (
        ("a NOT BETWEEN 76 AND 108 AND e > 0", (2, 5)),
        ("e > 1 AND NOT (a BETWEEN 76 AND 108)", (1, 4)),
        ("a BETWEEN 76 AND 108 AND e > 2", (1, 3)),
        ("a NOT IN (10, 80) AND e > 0", (2, 7)),
        ("a IS NOT NULL AND e <> 4", (3, 6)),
    ):
        assert await stored.query(f"SELECT COUNT(*), SUM(id) FROM t WHERE {condition}", into=tuple) == [expected]


@pytest.mark.parametrize(
    "window",
    [
        "SUM(id) OVER (ORDER BY id ROWS BETWEEN 1 + 0 PRECEDING AND CURRENT ROW)",
        "SUM(id) OVER (ORDER BY id RANGE BETWEEN 0.5 PRECEDING AND CURRENT ROW)",
        "SUM(id) OVER (ORDER BY a DESC RANGE BETWEEN 10 PRECEDING AND CURRENT ROW)",
        "FIRST_VALUE(id) OVER (ORDER BY a RANGE BETWEEN 10 PRECEDING AND CURRENT ROW)",
        "LAST_VALUE(id) OVER (ORDER BY a RANGE BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING)",
    ],
)
async def test_frames_that_would_be_taken_for_others_are_refused(filled: DB, window: str) -> None:
    with pytest.raises(aiostoolap.NotSupportedError):
        await filled.query(f"SELECT {window} FROM t")
    name = window.partition("(")[0]
    named = f"SELECT {name}(id) OVER w FROM t WINDOW w AS ({window.partition('OVER (')[2]}"
    with pytest.raises(aiostoolap.NotSupportedError):
        await filled.query(named)


async def test_frames_by_values_include_those_that_are_equal(filled: DB) -> None:
    frame = "ORDER BY a RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW"
    sql = f"SELECT id, LAST_VALUE(a) OVER ({frame}), COUNT(*) OVER ({frame}) FROM t WHERE a IS NOT NULL ORDER BY id"
    assert await filled.query(sql, into=tuple) == [(1, 10, 1), (2, 20, 3), (3, 20, 3)]
    assert await filled.query("SELECT SUM(id) OVER (ORDER BY id ROWS ? PRECEDING) FROM t", (1,), into=int) == [
        1,
        3,
        5,
        7,
    ]


async def test_groups_by_an_index_give_what_is_asked_for(stored: DB, settle: Settle) -> None:
    await stored.execute_script("CREATE TABLE t (id INTEGER PRIMARY KEY, a INTEGER); CREATE INDEX t_a ON t(a)")
    await stored.execute("INSERT INTO t VALUES (1, 10), (2, NULL), (7, 40), (8, 10)")
    await settle()
    for sql, rows in (
        ("SELECT COUNT(*) FROM t GROUP BY a", [(1,), (1,), (2,)]),
        ("SELECT COUNT(*), a FROM t GROUP BY a", [(1, 40), (1, None), (2, 10)]),
        ("SELECT a + 1, COUNT(*) FROM t GROUP BY a", [(11, 2), (41, 1), (None, 1)]),
        ("SELECT 'k', COUNT(*) FROM t GROUP BY a", [("k", 1), ("k", 1), ("k", 2)]),
        ("SELECT a, a, COUNT(*) FROM t GROUP BY a", [(10, 10, 2), (40, 40, 1), (None, None, 1)]),
        ("SELECT COUNT(*) FROM t GROUP BY id", [(1,)] * 4),
        ("SELECT COUNT(*) AS n FROM t GROUP BY a HAVING COUNT(*) > 1", [(2,)]),
        ("SELECT SUM(id) FROM t GROUP BY a LIMIT 9", [(2,), (7,), (9,)]),
        ("SELECT a, COUNT(*) FROM t GROUP BY a", [(10, 2), (40, 1), (None, 1)]),
        ("SELECT n FROM (SELECT COUNT(*) AS n FROM t GROUP BY a) AS q WHERE n > 1", [(2,)]),
    ):
        assert sorted(await stored.query(sql, into=tuple), key=repr) == rows, sql


async def test_values_of_all_types_are_counted(db: DB) -> None:
    await db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, d TIMESTAMP, j JSON)")
    await db.execute("INSERT INTO t VALUES (1, '2024-01-01', '[1]'), (2, '2024-01-02', '[1]'), (3, '2024-01-01', NULL)")
    assert await db.query("SELECT COUNT(DISTINCT d) FROM t", into=int) == [2]
    assert await db.query("SELECT COUNT(DISTINCT j), COUNT(DISTINCT d) FROM t", into=tuple) == [(1, 2)]


async def test_a_filter_is_kept_also_by_an_index(stored: DB, settle: Settle) -> None:
    await stored.execute_script("CREATE TABLE t (id INTEGER PRIMARY KEY, a INTEGER); CREATE INDEX t_a ON t(a)")
    await stored.execute("INSERT INTO t VALUES (1, 1), (2, 2), (3, NULL), (4, 2), (5, 1)")
    await settle()
    for aggregate, value in (
        ("MAX(id) FILTER (WHERE id < 3)", 2),
        ("MIN(a) FILTER (WHERE id = 2)", 2),
        ("COUNT(DISTINCT a) FILTER (WHERE id > 4)", 1),
        ("COUNT(DISTINCT a) FILTER (WHERE id > 9)", 0),
    ):
        assert await stored.query(f"SELECT {aggregate} FROM t", into=int) == [value], aggregate
        assert await stored.query(f"SELECT {aggregate} AS n FROM t", into=int) == [value], aggregate


@pytest.mark.parametrize(
    ("series", "condition", "values"),
    [
        ("1, 2", "3 < value", []),
        ("-1, 5", "value > 5", []),
        ("9, 9", "value <= 2", []),
        ("1, 2", "value = 7", []),
        ("1, 9", "value > 7", [8, 9]),
        ("9, 1", "value > 7", [8, 9]),
        ("9, 1, -1", "value < 2", [1]),
        ("1, 9, 4", "value > 4", [5, 9]),
    ],
)
async def test_a_condition_on_a_series_adds_nothing(db: DB, series: str, condition: str, values: list[int]) -> None:
    sql = f"SELECT value FROM generate_series({series}) WHERE {condition}"
    assert sorted(await db.query(sql, into=int)) == values


@pytest.mark.parametrize("index", ["", "CREATE INDEX by_a ON t (a)"], ids=["plain", "indexed"])
@pytest.mark.parametrize("kind", ["INTEGER", "TEXT"])
async def test_null_is_one_of_the_distinct_values(stored: DB, kind: str, index: str) -> None:
    await stored.execute_script(f"CREATE TABLE t (id INTEGER PRIMARY KEY, a {kind}); {index}")
    await stored.execute("INSERT INTO t VALUES (1, '1'), (2, NULL), (3, '3'), (4, '1')")

    async def distinct(column: str) -> list[str]:
        return sorted(str(value) for (value,) in await stored.query(f"SELECT DISTINCT {column} FROM t"))

    assert await distinct("a") == ["1", "3", "None"]
    await stored.checkpoint()
    assert await distinct("a") == ["1", "3", "None"]
    await stored.execute("INSERT INTO t VALUES (5, '5'), (6, NULL)")
    assert await distinct("a") == ["1", "3", "5", "None"]
    await stored.execute(f"ALTER TABLE t ADD COLUMN b {kind}")
    assert await distinct("a") == ["1", "3", "5", "None"]
    assert await distinct("b") == ["None"]
    await stored.execute("INSERT INTO t VALUES (7, '7', '7')")
    assert await distinct("a") == ["1", "3", "5", "7", "None"]
    assert await distinct("b") == ["7", "None"]
    await stored.execute("DELETE FROM t WHERE a IS NULL")
    assert await distinct("a") == ["1", "3", "5", "7"]
    await stored.checkpoint()
    assert await distinct("a") == ["1", "3", "5", "7"]
    assert await distinct("b") == ["7", "None"]


async def test_zero_is_one_group_whatever_its_sign(stored: DB, settle: Settle) -> None:
    await stored.execute("CREATE TABLE f (id INTEGER PRIMARY KEY, x FLOAT)")
    await stored.execute("INSERT INTO f VALUES (1, 0.0), (2, -0.0), (3, 1.5), (4, NULL)")
    await settle()
    for sql in (
        "SELECT x, COUNT(*) FROM f GROUP BY x ORDER BY x",
        "SELECT x, COUNT(*) FROM f WHERE id < 9 GROUP BY x ORDER BY x",
        "SELECT x, COUNT(*) FROM (SELECT x FROM f) AS q GROUP BY x ORDER BY x",
        "SELECT x * 1, COUNT(*) FROM f GROUP BY x * 1 ORDER BY 1",
    ):
        assert await stored.query(sql, into=tuple) == [(0.0, 2), (1.5, 1), (None, 1)], sql
    assert await stored.query("SELECT COUNT(DISTINCT x) FROM f", into=tuple) == [(2,)]


@pytest.mark.parametrize("first", ["0.0", "-0.0"])
async def test_zeros_are_found_in_volumes_whatever_their_sign(stored: DB, first: str) -> None:
    await stored.execute("CREATE TABLE f (id INTEGER PRIMARY KEY, x FLOAT)")
    await stored.execute(f"INSERT INTO f VALUES (1, {first}), (2, 1.5)")
    await stored.execute_many("INSERT INTO f VALUES ($1, $1)", [(n,) for n in range(3, 40)])
    await stored.checkpoint()
    for zero in ("0", "0.0", "-0.0"):
        assert await stored.query_value(f"SELECT COUNT(*) FROM f WHERE x = {zero}") == 1
    assert await stored.query("SELECT id FROM f WHERE x = $1", [0.0], into=tuple) == [(1,)]
    assert await stored.query("SELECT id FROM f WHERE x = $1", [-0.0], into=tuple) == [(1,)]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT a = (SELECT MIN(a) FROM t) AS k, COUNT(*) FROM t GROUP BY a = (SELECT MIN(a) FROM t)",
        "SELECT (SELECT COUNT(*) FROM t AS p WHERE p.a = t.a) AS n, COUNT(*) FROM t GROUP BY n",
        "SELECT (SELECT COUNT(*) FROM t AS p WHERE p.a = t.a) AS n, COUNT(*) FROM t GROUP BY 1",
        "SELECT COUNT(*) FROM t GROUP BY EXISTS (SELECT 1 FROM t AS p WHERE p.id > t.a)",
    ],
)
async def test_subqueries_in_group_by_are_refused(filled: DB, sql: str) -> None:
    with pytest.raises(aiostoolap.NotSupportedError, match="a subquery in GROUP BY"):
        await filled.query(sql)


MIXED = [
    ("SELECT 1 AS x UNION ALL SELECT 1.5", {(1, 1), (1.5, 1)}),
    ("SELECT 1 AS x UNION ALL SELECT 1.0 UNION ALL SELECT 2", {(1, 2), (2, 1)}),
    ("SELECT 1 AS x UNION ALL SELECT 'a' UNION ALL SELECT NULL", {(1, 1), ("a", 1), (None, 1)}),
    ("SELECT 'a' AS x UNION ALL SELECT 1 UNION ALL SELECT 'a' UNION ALL SELECT NULL", {("a", 2), (1, 1), (None, 1)}),
    ("SELECT COALESCE(a, 1.5) AS x FROM t", {(10, 1), (20, 2), (1.5, 1)}),
    ("SELECT CASE WHEN id < 3 THEN 1 ELSE 1.0 END AS x FROM t", {(1, 4)}),
]


@pytest.mark.parametrize(("source", "expected"), MIXED)
@pytest.mark.parametrize("condition", ["", "WHERE x IS NULL OR x IS NOT NULL"])
async def test_groups_of_several_types(filled: DB, source: str, expected: set[Any], condition: str) -> None:
    for sql in (
        f"SELECT x, COUNT(*) FROM ({source}) AS q {condition} GROUP BY x",
        f"WITH q AS ({source}) SELECT x, COUNT(*) FROM q {condition} GROUP BY x",
        f"SELECT x, COUNT(*) FROM ({source}) AS q {condition} GROUP BY x HAVING COUNT(*) > 0 LIMIT 9",
    ):
        rows = await filled.query(sql, into=tuple)
        assert len(rows) == len(expected), sql
        assert set(rows) == expected, sql


@pytest.mark.parametrize("end", ["", " LIMIT 4", " LIMIT 2"])
@pytest.mark.parametrize("window", ["ORDER BY id", "PARTITION BY a IS NULL ORDER BY id"])
@pytest.mark.parametrize(
    "call",
    [
        "LAG(a + 1)",
        "LAG(a + 1, 1, 0)",
        "LEAD(a * 2)",
        "LEAD(COALESCE(a, 0), 2)",
        "LAG(UPPER(b))",
        "LAG(CASE WHEN a > 10 THEN 'k' END)",
        "LAG(7)",
        "FIRST_VALUE(-a)",
        "LAST_VALUE(a + id)",
        "NTH_VALUE(a + 1, 2)",
        "ROW_NUMBER() IN",
        "LAG(id) NOT IN",
    ],
)
async def test_windows_over_calculations(filled: DB, call: str, window: str, end: str) -> None:
    judge = sqlite3.connect(":memory:")
    judge.executescript(SETUP)
    name, operator, _ = call.partition(" NOT IN" if "NOT IN" in call else " IN")
    found = f"{operator} (SELECT id FROM t WHERE id <> 2)" if operator else ""
    sql = f"SELECT id, {name} OVER ({window}){found} FROM t"
    right = judge.execute(sql).fetchall()
    judge.close()
    rows = await filled.query(sql + end, into=tuple)
    assert len(rows) == (2 if end.endswith("2") else 4)
    assert set(rows) <= set(right)


@pytest.mark.parametrize("columns", ["*, -id AS id", "DISTINCT -id AS id", "1 - RANK() OVER (ORDER BY a) AS id"])
async def test_orders_that_a_result_hides_are_refused(filled: DB, columns: str) -> None:
    with pytest.raises(aiostoolap.NotSupportedError, match=r"ORDER BY t\.id beside another column of that name"):
        await filled.query(f"SELECT {columns} FROM t ORDER BY t.id")


@pytest.mark.parametrize("tables", ["t", "t JOIN (SELECT 1 AS one) AS q ON q.one < t.id + 1"])
async def test_groups_by_a_column_that_has_the_name_of_an_aggregate(filled: DB, tables: str) -> None:
    for columns, expected in (
        ("c AS b, COUNT(*) AS c", {(True, 2), (False, 1), (None, 1)}),
        ("COALESCE(c, FALSE) AS k, 1 + MAX(id) AS c", {(True, 3), (False, 4), (False, 5)}),
        ("COUNT(*) AS c, MIN(c) AS k", {(2, True), (1, False), (1, None)}),
    ):
        rows = await filled.query(f"SELECT {columns} FROM {tables} GROUP BY t.c", into=tuple)
        assert len(rows) == 3, columns
        assert set(rows) == expected, columns


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT COUNT(DISTINCT b) FROM t", [2]),
        ("SELECT COUNT(DISTINCT b) FROM t GROUP BY a ORDER BY a", [1, 1]),
        ("SELECT COUNT(DISTINCT b) FILTER (WHERE a = 1) FROM t", [1]),
        ("SELECT COUNT(DISTINCT b || '') FROM t", [2]),
        ("SELECT COUNT(DISTINCT t.b) FROM t JOIN t AS u ON t.a = u.a", [2]),
        ("SELECT COUNT(b) FROM t GROUP BY a ORDER BY a", [2, 1]),
    ],
)
async def test_a_star_is_a_text(db: DB, sql: str, expected: list[int]) -> None:
    await db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, a INTEGER, b TEXT)")
    await db.execute("INSERT INTO t VALUES (1, 1, '*'), (2, 1, '*'), (3, 2, 'x'), (4, 2, NULL)")
    assert await db.query(sql, into=int) == expected


@pytest.mark.parametrize(
    ("change", "least", "greatest"),
    [
        ("INSERT INTO t (id, a) VALUES (4, 0), (5, 9)", 0, 9),
        ("UPDATE t SET a = 9 WHERE id = 1", 2, 9),
        ("DELETE FROM t WHERE id <> 2", 2, 2),
        ("INSERT INTO t (id, a) VALUES (3, 2) ON CONFLICT (id) DO UPDATE SET a = excluded.a", 1, 2),
    ],
)
async def test_extremes_of_what_has_changed_since_it_was_sealed(
    stored: DB, settle: Settle, change: str, least: int, greatest: int
) -> None:
    await stored.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, a INTEGER)")
    await stored.execute("INSERT INTO t VALUES (1, 1), (2, 2), (3, 3)")
    await settle()
    await stored.execute(change)
    for table, column in (("t", "a"), ("t AS q", "q.a"), ("(SELECT a FROM t) AS q", "q.a")):
        for order in ("", " ORDER BY 1", " ORDER BY m"):
            for function, expected in (("MIN", least), ("MAX", greatest)):
                sql = f"SELECT {function}({column}) AS m FROM {table}{order}"
                assert await stored.query_value(sql) == expected, sql


async def test_aggregates_in_lists_have_a_limit(db: DB) -> None:
    await db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, a INTEGER)")
    await db.execute("INSERT INTO t VALUES (1, 1), (2, 999)")
    most = ", ".join(map(str, range(1_000)))
    assert await db.query_value(f"SELECT MAX(a) FROM t HAVING MAX(a) IN ({most})") == 999
    for sql in ("SELECT MAX(a) FROM t HAVING MAX(a) IN ({})", "SELECT MAX(a) NOT IN ({}) FROM t"):
        with pytest.raises(aiostoolap.NotSupportedError, match="at most 1000 values: ask it of a derived table"):
            await db.query(sql.format(most + ", 1000"))


WHOLE = [
    "SELECT a, b, COUNT(*), COUNT(d), SUM(d), MIN(b), MAX(d) FROM t GROUP BY a, b",
    "SELECT b, a, COUNT(*) FROM t GROUP BY a, b",
    "SELECT COUNT(*), a FROM t GROUP BY b, a",
    "SELECT a AS p, b AS q, AVG(d) AS m FROM t AS x GROUP BY x.a, x.b",
    "SELECT a, b FROM t GROUP BY a, b",
    "SELECT a, b, COUNT(*) FROM t GROUP BY 1, 2",
    "SELECT a, COUNT(*) - COUNT(d) AS missing, SUM(a) + MAX(id) FROM t GROUP BY a",
    "SELECT a + 1, LOWER(b) || '!', COUNT(*) FROM t GROUP BY a, b",
    "SELECT a, b, COUNT(*) FROM t GROUP BY a, b HAVING COUNT(*) > 1 AND MAX(d) > 1",
    "SELECT a, AVG(d) FROM t GROUP BY a HAVING SUM(d) > (SELECT MIN(d) FROM t)",
    "SELECT b FROM t GROUP BY b HAVING COUNT(d) = COUNT(*)",
    "SELECT a FROM t GROUP BY a HAVING MAX(c) = 1",
    "SELECT a, b FROM t GROUP BY a, b HAVING MIN(c) < 1",
    "SELECT a, MAX(b) FROM t GROUP BY a HAVING MAX(b) > 'x'",
    "SELECT COUNT(*) FROM t GROUP BY a, b LIMIT 0",
    "SELECT DISTINCT COUNT(*) FROM t GROUP BY a, b",
    "SELECT c, d, b, a, COUNT(*), SUM(id) FROM t GROUP BY a, b, c, d",
    "SELECT a, late, COUNT(*), MAX(late) FROM t GROUP BY a, late",
    "SELECT s.n, COUNT(*) FROM (SELECT a, b, COUNT(*) AS n FROM t GROUP BY a, b) AS s GROUP BY s.n",
    "SELECT id, (SELECT COUNT(*) FROM t GROUP BY a, b HAVING COUNT(*) > 90) FROM t GROUP BY id, a",
]


@pytest.mark.parametrize("seed", range(3))
async def test_groups_of_whole_tables(stored: DB, settle: Settle, seed: int) -> None:
    """Beside sqlite3: of tables that change, in and outside of transactions."""
    choose, judge = random.Random(seed), sqlite3.connect(":memory:")

    async def both(sql: str) -> None:
        await stored.execute(sql)
        judge.execute(sql)

    async def compare(runs: Session, queries: Sequence[str] = WHOLE) -> None:
        for sql in queries:
            found = await runs.query(sql, into=tuple)
            assert sorted(map(plain, found)) == sorted(map(plain, judge.execute(sql))), sql

    def plain(row: tuple[Any, ...]) -> list[str]:
        # -0.0 and 0.0 are one group, named by either; sqlite3's booleans are numbers.
        return [repr(value + 0.0 if isinstance(value, int | float) else value) for value in row]

    def row(number: int) -> str:
        values = "NULL 1 2 3", "NULL '' 'x' 'y'", "NULL TRUE FALSE", "NULL 0.0 -0.0 0.25 2.5"
        return f"({number}, {', '.join(choose.choice(kind.split()) for kind in values)})"

    await both("CREATE TABLE t (id INTEGER PRIMARY KEY, a INTEGER, b TEXT, c BOOLEAN, d FLOAT)")
    await both(f"INSERT INTO t VALUES {', '.join(map(row, range(80)))}")
    await settle()
    for change in (
        "UPDATE t SET a = 2, d = 0.25 WHERE id % 7 = 0",
        "DELETE FROM t WHERE id % 5 = 1",
        "ALTER TABLE t ADD COLUMN late INTEGER",
        "UPDATE t SET late = a WHERE id % 3 = 0",
    ):
        await both(change)
        await compare(stored, [sql for sql in WHOLE if "late" not in sql or "late" in change])
    async with stored.transaction("snapshot") as before:
        await before.query("SELECT COUNT(*) FROM t")
        await stored.execute("DELETE FROM t WHERE a = 1")
        await compare(before)
    judge.execute("DELETE FROM t WHERE a = 1")
    await compare(stored)
    async with stored.transaction() as during:
        await during.execute("UPDATE t SET b = 'z' WHERE id % 2 = 0")
        judge.execute("UPDATE t SET b = 'z' WHERE id % 2 = 0")
        await compare(during)
