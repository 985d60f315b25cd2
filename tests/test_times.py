"""Timestamps, intervals and the texts that say them: where they are compared, calculated with and ordered."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from aiostoolap import DB, DataError, Error
from tests.conftest import Settle


@pytest.fixture
async def spans(stored: DB, settle: Settle) -> DB:
    await stored.execute("CREATE TABLE s (id INTEGER PRIMARY KEY, a TIMESTAMP, b TIMESTAMP)")
    await stored.execute(
        "INSERT INTO s VALUES (1, '2024-01-01', '2024-01-06 01:00:00'), (2, '2024-01-01', '2024-02-10'), "
        "(3, '2024-01-01', NULL)"
    )
    await settle()
    return stored


@pytest.mark.parametrize(
    ("condition", "rows"),
    [
        ("b - a > INTERVAL '30 days'", [2]),
        ("NOT (b - a > INTERVAL '30 days')", [1]),
        ("INTERVAL '30 days' > b - a", [1]),
        ("b - a = '5 days 01:00:00'", [1]),
        ("b - a BETWEEN INTERVAL '1 day' AND '6 days'", [1]),
        ("b - '2024-01-01' > INTERVAL '30 days'", [2]),
        ("b - a >= INTERVAL '5 days 1 hour'", [1, 2]),
        ("b > a + INTERVAL '30 days' AND id > 0", [2]),
        ("a + INTERVAL '5 days 1 hour' = b", [1]),
        ("a + '5 days 1 hour' = b", [1]),
    ],
)
async def test_differences_beside_intervals(spans: DB, condition: str, rows: list[int]) -> None:
    assert await spans.query(f"SELECT id FROM s WHERE {condition} ORDER BY id", into=int) == rows
    assert await spans.query_value(f"SELECT COUNT(*) FROM s WHERE {condition}") == len(rows)
    assert await spans.execute(f"DELETE FROM s WHERE {condition}") == len(rows)


async def test_what_has_expired_is_deleted(spans: DB) -> None:
    now = datetime.now(UTC)
    ages = [timedelta(days=5), timedelta(days=45), timedelta(hours=2), timedelta(days=1200)]
    await spans.execute("DELETE FROM s")
    await spans.execute_many("INSERT INTO s (id, a) VALUES ($1, $2)", ((n, now - age) for n, age in enumerate(ages)))
    assert await spans.query("DELETE FROM s WHERE NOW() - a > INTERVAL '30 days' RETURNING id", into=int) == [1, 3]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT id FROM s ORDER BY b - a",
        "SELECT b - a AS d FROM s ORDER BY d",
        "SELECT b - a FROM s ORDER BY 1",
        "SELECT MAX(b - a) FROM s",
        "SELECT SUM(DISTINCT b - a) FROM s",
        "SELECT EXTRACT(EPOCH FROM (b - a)) FROM s",
        "SELECT (b - a) / 2 FROM s",
        "SELECT MAX(d) FROM (SELECT b - a AS d FROM s) AS x",
        "WITH x AS (SELECT b - a AS d FROM s) SELECT d FROM x ORDER BY d",
        "WITH x (d) AS (SELECT b - a FROM s) SELECT d FROM x ORDER BY d",
        "WITH x (i, d, e) AS (SELECT * FROM s) SELECT MAX(e - d) FROM x",
        "SELECT RANK() OVER (ORDER BY b - a) FROM s",
        "SELECT id FROM s ORDER BY CASE WHEN id > 1 THEN b - a END",
        "SELECT MAX(CASE id WHEN 1 THEN NULL ELSE b - a END) FROM s",
        "SELECT id FROM s WHERE b - a > $1",
    ],
)
async def test_differences_are_not_calculated_with(spans: DB, sql: str) -> None:
    with pytest.raises(Error, match="difference of timestamps"):
        await spans.query(sql, ("1 day",) * sql.count("$1"))


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("SELECT id FROM s WHERE b - a IN (INTERVAL '1 day')", "an INTERVAL cannot be"),
        ("SELECT a + INTERVAL '1 day' * 2 FROM s", "an INTERVAL cannot be"),
        ("SELECT id FROM s WHERE b > INTERVAL '1 day'", "an INTERVAL cannot be"),
        ("SELECT INTERVAL '1 fortnight'", "invalid interval"),
        ("SELECT a + 'rubbish' FROM s", "no interval"),
        ("SELECT TIMESTAMP 'garbage'", "no TIMESTAMP"),
    ],
)
async def test_what_is_no_interval_and_no_timestamp(spans: DB, sql: str, message: str) -> None:
    with pytest.raises(Error, match=message):
        await spans.query(sql)


async def test_intervals_of_several_parts(db: DB) -> None:
    for interval, expected in (
        ("1 day 2 hours", datetime(2024, 2, 1, 2, tzinfo=UTC)),
        ("1 hour 30 minutes", datetime(2024, 1, 31, 1, 30, tzinfo=UTC)),
        ("1 month 1 day", datetime(2024, 3, 1, tzinfo=UTC)),
        ("1 day 02:30:00", datetime(2024, 2, 1, 2, 30, tzinfo=UTC)),
        ("2 days", datetime(2024, 2, 2, tzinfo=UTC)),
    ):
        for sum_ in (f"INTERVAL '{interval}'", f"'{interval}'"):
            assert await db.query_value(f"SELECT TIMESTAMP '2024-01-31' + {sum_}") == expected, sum_


@pytest.mark.parametrize(
    "text",
    [
        "2024-01-06 01:00:00",
        "2024-01-06 01:00:00+00:00",
        "2024-01-06 01:00",
        "2024-01-06T01:00",
        "2024-01-06 03:00:00.000+02:00",
        "2024-01-06T01:00:00Z",
    ],
)
async def test_texts_that_say_a_timestamp(spans: DB, text: str) -> None:
    moment = datetime(2024, 1, 6, 1, tzinfo=UTC)
    for condition, rows in (("b = {}", [1]), ("b > {}", [2]), ("b <= {} AND id > 0", [1]), ("NOT b < {}", [1, 2])):
        sql = f"SELECT id FROM s WHERE {condition} ORDER BY id"
        for value, parameters in ((f"'{text}'", ()), ("$1", (text,)), (f"TIMESTAMP '{text}'", ()), ("$1", (moment,))):
            given: tuple[Any, ...] = parameters
            assert await spans.query(sql.format(value), given, into=int) == rows, (condition, value)
    await spans.execute("INSERT INTO s VALUES (4, $1, NULL)", (text,))
    assert await spans.query_value("SELECT a FROM s WHERE id = 4") == moment
    assert await spans.query_value(f"SELECT CAST('{text}' AS TIMESTAMP)") == moment


async def test_what_python_writes_of_a_datetime_is_a_timestamp(db: DB) -> None:
    moment = datetime(2024, 3, 4, 5, 6, 7, 890123, tzinfo=UTC)
    for text in (str(moment), moment.isoformat()):
        assert await db.query_value("SELECT CAST($1 AS TIMESTAMP)", (text,)) == moment


async def test_literals_of_a_type_keep_it(spans: DB) -> None:
    moment = datetime(2024, 2, 1, tzinfo=UTC)
    literal = "TIMESTAMP '2024-02-01'"
    for sql in (
        f"SELECT COALESCE(b, {literal}) FROM s WHERE id = 3",
        f"SELECT CASE WHEN b IS NULL THEN {literal} ELSE b END FROM s WHERE id = 3",
        f"SELECT {literal}",
        f"SELECT MIN(COALESCE(b, {literal})) FROM s WHERE id > 1",
    ):
        assert await spans.query_value(sql) == moment, sql
    assert await spans.query(f"SELECT id FROM s WHERE COALESCE(b, {literal}) = {literal}", into=int) == [3]


@pytest.mark.parametrize(
    "condition",
    [
        "a >= {}",
        "{} = a",
        "a <> {}",
        "s.a IS DISTINCT FROM {}",
        "a BETWEEN '2024-01-01' AND {}",
        "a NOT IN ('2024-01-01', {})",
        "(id, a) < (2, {})",
        "COALESCE(b, a) = {}",
        "CASE WHEN id > 0 THEN b ELSE NOW() END > {}",
        "a + INTERVAL '1 day' < {}",
        "id IN (SELECT id FROM s WHERE DATE_TRUNC('month', b) = {})",
    ],
)
async def test_texts_that_say_no_timestamp(spans: DB, condition: str) -> None:
    sql = f"SELECT id FROM s WHERE {condition}"
    for text in ("2024-01", "x", ""):
        for value, parameters in ((f"'{text}'", ()), ("$1", (text,)), (":at", {"at": text})):
            given: Any = parameters
            with pytest.raises(DataError, match=rf"'{text}' is no TIMESTAMP .* compared with .*\b[ab]\b") as failure:
                await spans.query(sql.format(value), given)
            assert failure.value.code == "type_conversion"
            with pytest.raises(DataError, match="is no TIMESTAMP"):
                await spans.execute(f"DELETE FROM s WHERE {condition}".format(value), given)
    assert await spans.query_value("SELECT COUNT(*) FROM s") == 3


async def test_a_parameter_beside_a_timestamp_is_looked_at_each_time(spans: DB) -> None:
    async with await spans.prepare("SELECT id FROM s WHERE b > $1") as statement:
        for moment in ("2024-02-01", datetime(2024, 2, 1, tzinfo=UTC)):
            assert await statement.query((moment,), into=int) == [2]
            with pytest.raises(DataError, match="'soon' is no TIMESTAMP"):
                await statement.query(("soon",))
        assert await statement.query((None,)) == []


async def test_texts_beside_what_may_be_one(spans: DB) -> None:
    nested = "GREATEST(" * 200 + "b" + ", a)" * 200
    assert await spans.query(f"EXPLAIN SELECT id FROM s WHERE {nested} > '2024-02-01'")
    for condition, rows in (("COALESCE(b, 'never') = 'never'", [3]), ("b - '2024-01-01' = '40 days 00:00:00'", [2])):
        assert await spans.query(f"SELECT id FROM s WHERE {condition}", into=int) == rows, condition


async def test_timestamps_are_distinct_from_texts_that_do_not_say_them(spans: DB) -> None:
    for value, given in (("'2024-02-10'", ()), ("$1", ("2024-02-10",)), ("$1", (datetime(2024, 2, 10, tzinfo=UTC),))):
        parameters: tuple[Any, ...] = given
        for condition, rows in (
            ("b IS NOT DISTINCT FROM {}", [2]),
            ("{} IS DISTINCT FROM b", [1, 3]),
            ("(id, b) IS NOT DISTINCT FROM (2, {})", [2]),
        ):
            sql = f"SELECT id FROM s WHERE {condition.format(value)} ORDER BY id"
            assert await spans.query(sql, parameters, into=int) == rows, sql


TEXTS = ("1999-12-31 23:30:15", "1969-05-06 07:30:15")


@pytest.fixture
async def moments(stored: DB, settle: Settle) -> DB:
    await stored.execute("CREATE TABLE m (id INTEGER PRIMARY KEY, d TIMESTAMP, b BOOLEAN)")
    await stored.execute(
        "INSERT INTO m VALUES (1, '2024-05-06 07:30:15', TRUE), (2, '1999-12-31 23:30:15', FALSE), (3, NULL, NULL)"
    )
    await stored.execute("CREATE TABLE k (x TEXT)")
    await stored.execute("INSERT INTO k VALUES ('1999-12-31 23:30:15'), ('a'), ('77')")
    await settle()
    return stored


@pytest.mark.parametrize("index", ["", "CREATE INDEX m_d ON m(d)"])
@pytest.mark.parametrize(
    ("condition", "rows"),
    [
        ("d IN ($1, $2)", [2]),
        ("d IN ($1, $2) AND id * 2 > 0", [2]),
        ("d NOT IN ($1, $2) AND id * 2 > 0", [1]),
        ("d IN ('1999-12-31 23:30:15', '2020-01-01')", [2]),
        ("d IN (SELECT x FROM k)", [2]),
        ("d NOT IN (SELECT x FROM k)", [1]),
        ("CASE d WHEN $1 THEN 1 ELSE 0 END = 1", [2]),
        ("NULLIF(d, $1) IS NULL", [2, 3]),
        ("(id, d) IN (SELECT id, d FROM m)", [1, 2]),
        ("(id, d) NOT IN (SELECT id, d FROM m)", []),
        ("(id, d) IN ((1, $1), (2, $1))", [2]),
    ],
)
async def test_times_among_texts(moments: DB, index: str, condition: str, rows: list[int]) -> None:
    if index:
        await moments.execute(index)
    given = TEXTS[: len(set(re.findall(r"\$\d", condition)))]
    assert await moments.query(f"SELECT id FROM m WHERE {condition} ORDER BY id", given, into=int) == rows
    assert await moments.execute(f"DELETE FROM m WHERE {condition}", given) == len(rows)


@pytest.mark.parametrize("join", ["JOIN", "LEFT JOIN"])
@pytest.mark.parametrize(
    ("condition", "rows"),
    [("q.d IN ($1, $2)", [2]), ("q.d NOT IN ($1, $2)", [1]), ("q.d IN ($1, $2) OR m.d IN ($2, $1)", [2])],
)
async def test_times_among_texts_in_joins(moments: DB, join: str, condition: str, rows: list[int]) -> None:
    sql = f"SELECT m.id FROM m {join} m AS q ON m.id = q.id WHERE {condition}"
    assert await moments.query(sql, TEXTS, into=int) == rows


async def test_times_of_subqueries_and_common_tables(moments: DB) -> None:
    least = datetime(1999, 12, 31, 23, 30, 15, tzinfo=UTC)
    for sql in (
        "SELECT COALESCE(d, (SELECT MIN(d) FROM m)) FROM m WHERE id = 3",
        "SELECT CASE WHEN d IS NULL THEN (SELECT MIN(d) FROM m) ELSE d END FROM m WHERE id = 3",
        "SELECT (SELECT MIN(d) FROM m)",
    ):
        assert await moments.query_value(sql) == least, sql
    joined = (
        "WITH w AS (SELECT d AS r FROM m), x AS (SELECT m.id FROM w JOIN m ON w.r = m.d) SELECT id FROM x ORDER BY id"
    )
    assert await moments.query(joined, into=int) == [1, 2]


@pytest.mark.parametrize(
    ("condition", "rows"),
    [("($1 <> $2) = b", [1]), ("b = ($1 = $2)", [2]), ("b = NOT ($1 = $2)", [1]), ("b IN (TRUE, $1 <> $2)", [1])],
)
async def test_comparisons_of_parameters(moments: DB, condition: str, rows: list[int]) -> None:
    assert await moments.query(f"SELECT id FROM m WHERE {condition} ORDER BY id", (1, 2), into=int) == rows
    assert await moments.execute(f"DELETE FROM m WHERE {condition}", (1, 2)) == len(rows)


async def test_like_of_what_is_no_text_does_not_hold(stored: DB, settle: Settle) -> None:
    await stored.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER, d TIMESTAMP, f FLOAT, g BOOLEAN)")
    await stored.execute("INSERT INTO t VALUES (1, 12, '2024-01-01', 1.5, TRUE), (2, 21, '2025-01-01', 2.5, FALSE)")
    await stored.execute("INSERT INTO t (id) VALUES (3)")
    await settle()
    for column, pattern in (("n", "1%"), ("d", "2024%"), ("f", "1%"), ("g", "t%")):
        for more in ("", " AND id > 0", " OR id > 9"):
            for negation, rows in (("", []), ("NOT ", [1, 2])):
                like = f"{column} {negation}LIKE '{pattern}'{more}"
                assert await stored.query(f"SELECT id FROM t WHERE {like} ORDER BY id", into=int) == rows, like
    assert await stored.execute("DELETE FROM t WHERE n LIKE '1%'") == 0


async def test_numbers_are_not_cut(db: DB) -> None:
    assert await db.query_one("SELECT MOD(7.5, 2), MOD(7, 2.5), MOD(7, 2)", into=tuple) == (1.5, 2.0, 1)
    for value in ("9.3e18", "1e20", "-1e300"):
        with pytest.raises(Error, match="64 bits"):
            await db.query(f"SELECT CAST({value} AS INTEGER)")


async def test_days_are_written(db: DB) -> None:
    assert await db.query_value("SELECT TO_CHAR(TIMESTAMP '2024-01-08', 'Day DDD Mon')") == "Monday 008 Jan"
