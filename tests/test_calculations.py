"""What is calculated and compared, beside sqlite3: the engine has a function of its own for programs of numbers."""

from __future__ import annotations

import sqlite3

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiostoolap import DB, DataError
from tests.conftest import Settle

COLUMNS = "id INTEGER PRIMARY KEY, i INTEGER, j INTEGER, f FLOAT, g BOOLEAN, s TEXT"
ROWS = [
    (1, 0, 3, 0.5, True, "x"),
    (2, 7, -2, -1.5, False, "X"),
    (3, -7, 2, 2.0, True, "long enough for a place of its own"),
    (4, None, 1, 3.25, None, "y"),
    (5, 4, None, None, False, None),
    (6, 2**40, 5, 1e300, True, ""),
    (7, None, None, None, None, None),
    (8, 1, 0, -0.0, False, "long enough for a place of its owner"),
]


@pytest.fixture
async def table(stored: DB, settle: Settle) -> DB:
    await stored.execute(f"CREATE TABLE t ({COLUMNS})")
    await stored.execute_many("INSERT INTO t VALUES ($1, $2, $3, $4, $5, $6)", ROWS)
    await settle()
    return stored


@pytest.fixture
def judge() -> sqlite3.Connection:
    judge = sqlite3.connect(":memory:")
    judge.execute(f"CREATE TABLE t ({COLUMNS})")
    judge.executemany("INSERT INTO t VALUES (?, ?, ?, ?, ?, ?)", ROWS)
    return judge


def _case(when: st.SearchStrategy[str], then: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.builds("CASE WHEN {} THEN {}{} END".format, when, then, st.just("") | then.map(" ELSE {}".format))


def _joined(operators: str, left: st.SearchStrategy[str], right: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.builds("({} {} {})".format, left, st.sampled_from(operators.split()), right)


def _expressions() -> tuple[st.SearchStrategy[str], st.SearchStrategy[str]]:
    integers = st.sampled_from(["i", "j", "0", "1", "3", "(-2)"])
    numbers = integers | st.sampled_from(["f", "0.5", "2.0"])
    factors = st.sampled_from(["j", "3", "(-2)", "f", "0.5", "2.0"])  # With larger ones, integers are too large.
    texts = st.sampled_from(["s", "'x'", "'long enough for a place of its own'"])
    ranges = st.builds("({} BETWEEN {} AND {})".format, st.sampled_from("ijf"), numbers, numbers)
    unknown = st.builds("({} IS {}NULL)".format, st.sampled_from("ijfgs"), st.sampled_from(["", "NOT "]))
    truths = st.just("g") | ranges | unknown | _joined("= <> < <= > >=", texts, texts)
    for _ in range(3):
        integers |= _joined("+ - %", integers, integers) | _case(truths, integers)
        numbers |= (
            _joined("+ - /", numbers, numbers) | _joined("*", numbers, factors) | _case(truths, numbers) | integers
        )
        truths |= (
            _joined("= <> < <= > >=", numbers, numbers)
            | _joined("AND OR", truths, truths)
            | truths.map("(NOT {})".format)
        )
    return numbers, truths


NUMBERS, TRUTHS = _expressions()


@settings(max_examples=150)
@given(st.lists(NUMBERS | TRUTHS | _case(TRUTHS, st.sampled_from(["s", "'none'"])), min_size=1, max_size=4), TRUTHS)
async def test_calculations(table: DB, judge: sqlite3.Connection, results: list[str], condition: str) -> None:
    for sql in (
        f"SELECT id, {', '.join(results)} FROM t ORDER BY id",
        f"SELECT id FROM t WHERE {condition} ORDER BY id",
        f"SELECT COUNT({results[0]}), COUNT(CASE WHEN {condition} THEN 1 END) FROM t",
    ):
        assert await table.query(sql, into=tuple) == judge.execute(sql).fetchall(), sql


@pytest.mark.parametrize("calculation", ["i + 9223372036854775807", "i * i * 1", "j - 9223372036854775807 - 9"])
@pytest.mark.parametrize(
    "statement",
    [
        "SELECT {} FROM t",
        "SELECT id FROM t WHERE {} > 0",
        "SELECT SUM({}) FROM t",
        "SELECT COUNT(*) FROM (SELECT {} AS x FROM t) AS q",
        "WITH q AS (SELECT {} AS x FROM t) SELECT * FROM q",
        "SELECT 3 UNION SELECT {} FROM t",
        "INSERT INTO u SELECT {} FROM t",
        "CREATE TABLE v AS SELECT {} AS x FROM t",
        "DELETE FROM u WHERE a NOT IN (SELECT {} FROM t)",
    ],
)
async def test_calculations_that_are_too_large(table: DB, calculation: str, statement: str) -> None:
    await table.execute("CREATE TABLE u (a INTEGER)")
    await table.execute("INSERT INTO u VALUES (1)")
    with pytest.raises(DataError, match="overflow"):
        await table.query(statement.format(calculation))
    assert await table.query("SELECT a FROM u", into=int) == [1]


async def test_calculations_with_what_is_no_number(table: DB) -> None:
    assert await table.query("SELECT s + 1, g + 1 FROM t WHERE id = 1", into=tuple) == [(None, None)]
    assert await table.query_value("SELECT (-9223372036854775807 - j) % -1 FROM t WHERE j = 1") == 0
