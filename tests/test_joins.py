"""Products whose WHERE says how their tables belong together, and names without their tables."""

from __future__ import annotations

import itertools
import random
import sqlite3
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

import aiostoolap
from aiostoolap import DB, DataError

ROWS = 3_000
LIMIT = 64 << 20
"""Bytes: enough for the tables, and for nothing that has as many rows as there are pairs."""


@pytest_asyncio.fixture
async def shop() -> AsyncIterator[DB]:
    async with aiostoolap.connect(memory_limit=LIMIT) as db:
        await db.execute("CREATE TABLE customer (c_id INTEGER PRIMARY KEY, c_name TEXT, c_city INTEGER)")
        await db.execute(
            "CREATE TABLE orders (o_id INTEGER PRIMARY KEY, o_customer INTEGER, o_total FLOAT, o_code TEXT)"
        )
        await db.execute("CREATE TABLE item (i_id INTEGER PRIMARY KEY, i_order INTEGER, i_price FLOAT)")
        await db.execute("CREATE TABLE city (id INTEGER PRIMARY KEY, name TEXT)")
        customers = [(n, f"c{n}", n % 7 if n % 5 else None) for n in range(ROWS)]
        await db.execute_many("INSERT INTO customer VALUES (?, ?, ?)", customers)
        await db.execute_many(
            "INSERT INTO orders VALUES (?, ?, ?, ?)", [(n, n * 7 % ROWS, n / 2, f"c{n % 9}") for n in range(ROWS)]
        )
        await db.execute_many("INSERT INTO item VALUES (?, ?, ?)", [(n, n // 2, n / 4) for n in range(ROWS)])
        await db.execute_many("INSERT INTO city VALUES (?, ?)", [(n, f"city{n}") for n in range(7)])
        yield db


SAME = {
    "two": (
        "SELECT c_name, o_id FROM customer, orders WHERE c_id = o_customer AND o_total < 100.0",
        "SELECT c.c_name, o.o_id FROM customer c JOIN orders o ON c.c_id = o.o_customer WHERE o.o_total < 100.0",
    ),
    "the first and the last": (
        "SELECT COUNT(*), SUM(i_price) FROM customer, item, orders"
        " WHERE c_id = o_customer AND i_order = o_id AND c_city = 3",
        "SELECT COUNT(*), SUM(i.i_price) FROM customer c JOIN orders o ON c.c_id = o.o_customer"
        " JOIN item i ON i.i_order = o.o_id WHERE c.c_city = 3",
    ),
    "aliases": (
        "SELECT a.c_id, b.c_id FROM customer a, customer b WHERE a.c_id = b.c_city AND b.c_id < 50",
        "SELECT a.c_id, b.c_id FROM customer a JOIN customer b ON a.c_id = b.c_city WHERE b.c_id < 50",
    ),
    "CROSS JOIN": (
        "SELECT c_name, o_id FROM customer CROSS JOIN orders WHERE o_customer = c_id",
        "SELECT c.c_name, o.o_id FROM customer c JOIN orders o ON c.c_id = o.o_customer",
    ),
    "beside LEFT JOIN": (
        "SELECT c_name, o_id, city.name FROM customer, orders LEFT JOIN city ON c_city = city.id"
        " WHERE c_id = o_customer AND o_id < 40",
        "SELECT c.c_name, o.o_id, t.name FROM customer c JOIN orders o ON c.c_id = o.o_customer"
        " LEFT JOIN city t ON c.c_city = t.id WHERE o.o_id < 40",
    ),
    "a correlated EXISTS": (
        "SELECT o_id FROM orders WHERE EXISTS (SELECT 1 FROM item WHERE i_order = o_id AND i_price > 700.0)",
        "SELECT DISTINCT o.o_id FROM orders o JOIN item i ON i.i_order = o.o_id WHERE i.i_price > 700.0",
    ),
    "a correlated aggregate": (
        "SELECT o_id FROM orders WHERE o_total < (SELECT SUM(i_price) FROM item WHERE i_order = o_id)",
        "SELECT o.o_id FROM orders o JOIN (SELECT i_order AS k, SUM(i_price) AS s FROM item GROUP BY i_order) q"
        " ON q.k = o.o_id WHERE o.o_total < q.s",
    ),
    "EXISTS in ON": (
        "SELECT o_id, i_id FROM orders JOIN item ON i_order = o_id"
        " AND EXISTS (SELECT 1 FROM customer WHERE c_id = o_customer AND c_city = 3)",
        "SELECT o.o_id, i.i_id FROM orders o JOIN item i ON i.i_order = o.o_id"
        " JOIN customer c ON c.c_id = o.o_customer WHERE c.c_city = 3",
    ),
    "EXISTS in ON alone": (
        "SELECT a.id, b.id FROM city a JOIN city b ON EXISTS (SELECT 1 FROM item WHERE i_id = a.id AND i_order = b.id)",
        "SELECT i_id, i_order FROM item WHERE i_id < 7",
    ),
    "NOT IN in ON of a third table": (
        "SELECT c_id, i_id FROM customer JOIN orders ON c_id = o_customer JOIN item ON i_order = o_id"
        " AND i_id NOT IN (SELECT j.i_id FROM item j WHERE j.i_order = o_id AND j.i_price > 100.0)",
        "SELECT o.o_customer, i.i_id FROM orders o JOIN item i ON i.i_order = o.o_id WHERE i.i_price <= 100.0",
    ),
    "EXISTS in ON before LEFT JOIN": (
        "SELECT o_id, city.name FROM orders JOIN item ON i_order = o_id AND EXISTS (SELECT 1 FROM item j"
        " WHERE j.i_order = o_id AND j.i_id > 2900) LEFT JOIN city ON city.id = o_id - 1455",
        "SELECT o.o_id, t.name FROM orders o JOIN item i ON i.i_order = o.o_id LEFT JOIN city t ON t.id = o.o_id - 1455"
        " WHERE o.o_id >= 1450",
    ),
    "a subquery with a product": (
        "SELECT c_id FROM customer WHERE c_id IN (SELECT o_customer FROM orders, item WHERE i_order = o_id)",
        "SELECT DISTINCT o.o_customer FROM orders o JOIN item i ON i.i_order = o.o_id",
    ),
    "a common table": (
        "WITH q AS (SELECT o_customer AS k, i_price AS p FROM orders, item WHERE i_order = o_id)"
        " SELECT SUM(p), COUNT(k) FROM q",
        "SELECT SUM(i.i_price), COUNT(o.o_customer) FROM orders o JOIN item i ON i.i_order = o.o_id",
    ),
    "UNION": (
        "SELECT c_id FROM customer, orders WHERE c_id = o_customer AND o_id < 5"
        " UNION ALL SELECT c_id FROM customer, orders WHERE c_id = o_customer AND o_id > 2990",
        "SELECT o_customer FROM orders WHERE o_id < 5 OR o_id > 2990",
    ),
}


@pytest.mark.parametrize("name", SAME)
async def test_a_product_with_conditions_is_a_join(shop: DB, name: str) -> None:
    product, join = SAME[name]
    found = sorted(map(repr, await shop.query(product, into=tuple)))
    assert found
    assert found == sorted(map(repr, await shop.query(join, into=tuple)))


LAST = "(SELECT MAX(o_id) FROM orders, item WHERE i_order = o_id)"
BOUGHT = "IN (SELECT o_customer FROM orders, item WHERE i_order = o_id)"
WITHIN: dict[str, list[Any]] = {
    f"SELECT COUNT(*) FILTER (WHERE o_id < {LAST}) FROM orders": [1_499],
    f"SELECT COUNT(*) FILTER (WHERE c_id {BOUGHT}) FROM customer": [1_500],
    f"SELECT COUNT(DISTINCT id + {LAST}) FROM city": [7],
    f"SELECT STRING_AGG(id, '' ORDER BY {LAST} - id) FROM city": ["6543210"],
    f"SELECT STRING_AGG(id, '' ORDER BY id {BOUGHT}, id) FROM city": ["1450236"],
    f"SELECT id FROM city ORDER BY {LAST} - id": [6, 5, 4, 3, 2, 1, 0],
    f"SELECT id FROM city GROUP BY id HAVING id + 1496 > {LAST} ORDER BY 1": [4, 5, 6],
    "SELECT id FROM city WHERE name LIKE 'city1' ESCAPE (SELECT MIN('!') FROM orders, item WHERE i_order = o_id)": [1],
    f"SELECT SUM(id + {LAST}) OVER (ORDER BY id) FROM city WHERE id < 2": [1_499, 2_999],
    f"SELECT ROW_NUMBER() OVER (ORDER BY {LAST} - id) FROM city ORDER BY id": [7, 6, 5, 4, 3, 2, 1],
}


@pytest.mark.parametrize("sql", WITHIN)
async def test_a_product_wherever_a_subquery_may_stand(shop: DB, sql: str) -> None:
    assert await shop.query(sql, into=type(WITHIN[sql][0])) == WITHIN[sql]


async def test_columns_keep_their_order(shop: DB) -> None:
    """With `*`, the tables stay in theirs: here the first two have nothing in common."""
    rows = await shop.query("SELECT * FROM city, item, orders WHERE i_order = o_id AND city.id = o_id", into=tuple)
    assert rows.columns == (
        *("city.id", "city.name", "item.i_id", "item.i_order", "item.i_price"),
        *("orders.o_id", "orders.o_customer", "orders.o_total", "orders.o_code"),
    )
    assert len(rows) == 14
    assert all(row[0] == row[3] == row[5] for row in rows)


@pytest.mark.parametrize("end", ["", " ORDER BY c_name", " LIMIT 1"])
async def test_columns_keep_their_order_beside_a_derived_table(db: DB, end: str) -> None:
    """The engine looks up the left table's rows by their key, one for each of the right."""
    await db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, a INTEGER)")
    await db.execute("CREATE TABLE u (c_id INTEGER PRIMARY KEY, c_name TEXT)")
    await db.execute("INSERT INTO t VALUES (8, 1), (9, 2)")
    await db.execute("INSERT INTO u VALUES (1, 'a'), (2, 'b')")
    for table, condition in (
        ("(SELECT a, id AS b FROM t)", "s.a = u.c_id"),
        ("(SELECT a, MAX(id) AS b FROM t GROUP BY a)", "u.c_id = s.a"),
    ):
        expected = [(1, "a", 1, 8), (2, "b", 2, 9)]
        rows = await db.query(f"SELECT * FROM u JOIN {table} AS s ON {condition}{end}", into=tuple)
        assert [name.rpartition(".")[2] for name in rows.columns] == ["c_id", "c_name", "a", "b"]
        assert set(rows) <= set(expected)
        assert len(rows) == (1 if "LIMIT" in end else 2)
        more = await db.query(f"SELECT *, b + 1 FROM u JOIN {table} AS s ON {condition}{end}", into=tuple)
        assert sorted(more) == [(*row, row[3] + 1) for row in sorted(rows)]
        common = await db.query(f"WITH s AS {table} SELECT * FROM u JOIN s ON {condition}{end}", into=tuple)
        assert set(common) <= set(expected)
        assert len(common) == len(rows)


async def test_parameters_beside_it(shop: DB) -> None:
    sql = "SELECT o_id FROM customer, orders WHERE c_id = o_customer AND c_name = $1 AND o_total >= $2"
    assert await shop.query(sql, ("c7", 0.0), into=int) == [1]
    assert await shop.query(sql, ("c7", 1.0), into=int) == []


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT COUNT(*) FROM customer WHERE c_id IN"
        " (SELECT o_customer FROM orders, item WHERE i_order = o_id AND i_price < $1)",
        "WITH q AS (SELECT DISTINCT o_id FROM orders, item WHERE i_order = o_id AND i_price < $1)"
        " SELECT COUNT(*) FROM q",
    ],
)
async def test_parameters_that_the_engine_takes_as_literals(shop: DB, sql: str) -> None:
    for limit, count in ((20.0, 40), (0.5, 1)):
        assert await shop.query_value(sql, (limit,)) == count


async def test_a_product_alone_is_one(shop: DB) -> None:
    assert await shop.query_value("SELECT COUNT(*) FROM city a, city b") == 49
    assert await shop.query_value("SELECT COUNT(*) FROM city a, city b WHERE a.id < b.id") == 21
    assert await shop.query_value("SELECT COUNT(*) FROM city a, city b WHERE a.id = b.id OR a.id = 0") == 13


async def test_values_of_two_types_are_compared_by_where(shop: DB) -> None:
    assert await shop.query_value("SELECT COUNT(*) FROM city, orders WHERE id = o_total AND o_id < 100") == 7


async def test_a_view_and_a_derived_table(shop: DB) -> None:
    await shop.execute("CREATE VIEW sums AS SELECT i_order AS k, SUM(i_price) AS s FROM item GROUP BY i_order")
    for source in ("sums", "(SELECT i_order AS k, SUM(i_price) AS s FROM item GROUP BY i_order) AS sums"):
        sql = f"SELECT o_id, s FROM {source}, orders WHERE k = o_id AND o_id = 3"
        assert await shop.query(sql, into=tuple) == [(3, 3.25)]


PRODUCT = (
    "SELECT c_name, o_id, name FROM customer, item, orders, city"
    " WHERE c_id = o_customer AND i_order = o_id AND c_city = id"
)


async def test_a_product_in_a_view(shop: DB) -> None:
    await shop.execute(f"CREATE VIEW sold AS {PRODUCT}")
    await shop.execute("CREATE VIEW here AS SELECT o_id, id FROM sold, city WHERE sold.name = city.name")
    expected = await shop.query(PRODUCT, into=tuple)
    assert len(expected) == 2_400
    assert sorted(await shop.query("SELECT * FROM sold", into=tuple)) == sorted(expected)
    assert await shop.query_value("SELECT COUNT(*) FROM sold JOIN city ON sold.name = city.name") == 2_400
    assert await shop.query_value("SELECT COUNT(*) FROM city WHERE name IN (SELECT name FROM sold)") == 4
    assert await shop.query_value("SELECT COUNT(*) FROM here") == 2_400


async def test_a_view_follows_its_tables(shop: DB) -> None:
    await shop.execute("CREATE VIEW cities AS SELECT o_id FROM city, orders WHERE id = o_customer")
    assert await shop.query_value("SELECT COUNT(*) FROM cities") == 7
    await shop.execute("ALTER TABLE city RENAME COLUMN id TO c_id")
    with pytest.raises(aiostoolap.ProgrammingError, match="id"):
        await shop.query_value("SELECT COUNT(*) FROM cities")
    await shop.execute("ALTER TABLE city RENAME COLUMN c_id TO id")
    assert await shop.query_value("SELECT COUNT(*) FROM cities") == 7


async def test_a_product_in_a_table_that_is_made(shop: DB) -> None:
    await shop.execute(f"CREATE TABLE sold AS {PRODUCT}")
    assert sorted(await shop.query("SELECT * FROM sold", into=tuple)) == sorted(await shop.query(PRODUCT, into=tuple))
    with pytest.raises(aiostoolap.ProgrammingError, match="nosuch"):
        await shop.execute("CREATE TABLE other AS SELECT nosuch FROM city")


async def test_a_table_that_is_altered(shop: DB) -> None:
    sql = "SELECT COUNT(*) FROM city, orders WHERE city.id = o_customer"
    assert await shop.query_value(sql) == 7
    await shop.execute("ALTER TABLE orders ADD COLUMN id INTEGER DEFAULT 1")
    assert await shop.query_value(sql) == 7
    await shop.execute("ALTER TABLE city RENAME COLUMN id TO o_customer")
    with pytest.raises(aiostoolap.ProgrammingError, match="id"):
        await shop.query_value(sql)


async def test_writes_with_correlated_names(shop: DB) -> None:
    assert await shop.execute("DELETE FROM orders WHERE NOT EXISTS (SELECT 1 FROM item WHERE i_order = o_id)") == 1_500
    sql = "UPDATE item SET i_price = 0.0 WHERE EXISTS (SELECT 1 FROM orders WHERE o_id = i_order AND o_customer = 7)"
    assert await shop.execute(sql) == 2
    assert await shop.query_value("SELECT COUNT(*) FROM item WHERE i_price = 0.0") == 3
    await shop.execute("CREATE TABLE copy (a INTEGER, b TEXT)")
    count = await shop.execute("INSERT INTO copy SELECT o_id, c_name FROM orders, customer WHERE c_id = o_customer")
    assert count == 1_500


async def test_writes_with_common_tables(shop: DB) -> None:
    some = "WITH q AS (SELECT o_customer AS k FROM orders, item WHERE i_order = o_id)"
    assert await shop.execute(f"{some} UPDATE city SET name = '' WHERE EXISTS (SELECT 1 FROM q WHERE k = id)") == 4
    assert await shop.execute(f"{some} DELETE FROM city WHERE id IN (SELECT k FROM q)") == 4
    assert await shop.query("SELECT id FROM city WHERE name > '' ORDER BY id", into=int) == [1, 4, 5]


async def test_a_common_table_that_is_called_like_the_table_that_is_changed(shop: DB) -> None:
    some = "WITH city AS (SELECT MAX(o_id) AS last FROM orders)"
    assert await shop.execute(f"{some} UPDATE city SET name = 'x' WHERE id < (SELECT last FROM city)") == 7
    assert await shop.execute(f"{some} DELETE FROM city WHERE name = 'x' AND id + 2995 > (SELECT last FROM city)") == 2


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("k.n >= k.id AND j.n >= 0", [1, 3]),
        ("k.n >= k.id", [1, 3]),
        ("k.id IN (k.n, 1) AND j.n >= 0", [1]),
        ("k.id BETWEEN 0 AND k.n AND j.n >= 0", [1, 3]),
        ("k.id IN (1, 3) AND j.n >= 0", [1, 3]),
        ("k.id = k.id", [1, 2, 3]),
        ("k.id IN (k.id, 9)", [1, 2, 3]),
        ("k.id BETWEEN k.id AND 2", [1, 2]),
    ],
)
@pytest.mark.parametrize("join", ["JOIN", "LEFT JOIN"])
async def test_conditions_on_a_key_and_another_column(db: DB, condition: str, expected: list[int], join: str) -> None:
    for name, rows in (("j", "(1, 0), (2, 5), (3, 9)"), ("k", "(1, 5), (2, 0), (3, 9)")):
        await db.execute(f"CREATE TABLE {name} (id INTEGER PRIMARY KEY, n INTEGER)")
        await db.execute(f"INSERT INTO {name} VALUES {rows}")
    sql = f"SELECT j.id FROM j {join} k ON j.id = k.id WHERE {condition} ORDER BY 1"
    assert await db.query(sql, into=int) == expected


@pytest.mark.parametrize(
    "condition", ["k.id = k.id", "k.id IN (k.id, 9)", "k.id BETWEEN k.id AND 5", "ABS(k.id) = k.id"]
)
@pytest.mark.parametrize("source", ["j", "(SELECT n AS id, id AS n FROM i) AS j"])
async def test_conditions_on_a_key_and_itself(db: DB, condition: str, source: str) -> None:
    for name, rows in (("j", "(1, 2), (2, 3), (3, 4)"), ("i", "(2, 1), (3, 2), (4, 3)"), ("k", "(2, 0), (3, 0)")):
        await db.execute(f"CREATE TABLE {name} (id INTEGER PRIMARY KEY, n INTEGER)")
        await db.execute(f"INSERT INTO {name} VALUES {rows}")
    sql = f"SELECT j.id FROM {source} JOIN k ON j.n = k.id WHERE {condition} ORDER BY 1"
    assert await db.query(sql, into=int) == [1, 2]


async def test_a_derived_table_beside_a_condition_on_two_columns(shop: DB) -> None:
    sql = (
        "SELECT q.m FROM customer AS p JOIN (SELECT c_id AS m FROM customer) AS q ON p.c_id = q.m"
        " WHERE p.c_city >= p.c_id ORDER BY 1"
    )
    assert await shop.query(sql, into=int) == [1, 2, 3, 4, 6]


async def test_a_subquery_among_what_an_update_sets(shop: DB) -> None:
    sql = "UPDATE city SET name = (SELECT MAX(o_code) FROM orders WHERE o_customer = id) WHERE id < 2"
    assert await shop.execute(sql) == 2
    wanted = [
        (n, await shop.query_value("SELECT MAX(o_code) FROM orders WHERE o_customer = $1", (n,))) for n in range(2)
    ]
    assert await shop.query("SELECT id, name FROM city WHERE id < 2 ORDER BY id", into=tuple) == wanted


@pytest.mark.parametrize("change", ["UPDATE u SET d = d + 1", "DELETE FROM u"])
@pytest.mark.parametrize("condition", ["c IN (SELECT a FROM t)", "c NOT IN (SELECT a FROM t)"])
async def test_a_change_looks_through_what_a_subquery_has_found_once(db: DB, change: str, condition: str) -> None:
    await db.execute("CREATE TABLE t (a INTEGER)")
    await db.execute_many("INSERT INTO t VALUES ($1)", [(n,) for n in range(10_000)])
    await db.execute("CREATE TABLE u (c INTEGER, d INTEGER)")
    await db.execute_many("INSERT INTO u VALUES ($1, 0)", [(n // 2 * 2,) for n in range(5_000, 15_000)])
    await db.execute("INSERT INTO u VALUES (NULL, 0)")
    # Beyond ten seconds, if each row looks through it
    assert await db.execute(f"{change} WHERE {condition}", timeout=5) == 5_000
    await db.execute("INSERT INTO t VALUES (NULL)")
    assert await db.execute(f"DELETE FROM u WHERE {condition}", timeout=5) == (
        5_000 if "UPDATE" in change and "NOT" not in condition else 0
    )


async def test_a_change_to_what_a_subquery_finds_looks_at_its_rows_alone(db: DB) -> None:
    await db.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b INTEGER)")
    await db.execute_many("INSERT INTO t VALUES ($1, $2)", [(n, n * 2) for n in range(10_000)])
    await db.execute("CREATE TABLE u (c INTEGER, d INTEGER)")
    await db.execute_many("INSERT INTO u VALUES ($1, 0)", [(n,) for n in range(5_000, 15_000)])
    change = "UPDATE u SET d = (SELECT b FROM t WHERE a = u.c)"
    async with db.transaction() as tx:
        # Beyond ten seconds, if each row looks through the set
        assert await tx.execute(f"{change} WHERE c IN (SELECT a FROM t)", timeout=5) == 5_000
        assert await tx.query_value("SELECT SUM(d) FROM u") == sum(range(10_000, 20_000, 2))
    await db.execute("UPDATE u SET d = 0")
    assert await db.execute(f"{change} WHERE c NOT IN (SELECT a FROM t)", timeout=5) == 5_000
    assert await db.query_value("SELECT COUNT(d) FROM u") == 5_000
    # Other rows are not asked: one of them is an error.
    await db.execute("UPDATE t SET b = 9223372036854775807 WHERE a = 6000")
    sets = "UPDATE u SET d = (SELECT b + 1 FROM t WHERE a = u.c)"
    assert await db.execute(f"{sets} WHERE c = 7000") == 1
    with pytest.raises(aiostoolap.Error):
        await db.execute(f"{sets} WHERE c = 6000")


async def test_it_shows_in_the_plan(shop: DB) -> None:
    plan = "\n".join(await shop.query("EXPLAIN SELECT c_id FROM customer, orders WHERE c_id = o_customer", into=str))
    assert "Join" in plan
    assert "customer.c_id = orders.o_customer" in plan


@pytest.mark.parametrize("end", ["WHERE nosuch(t.a) > 1", "AND nosuch(t.a) > 1", "AND t.a = MAX(t.a)"])
@pytest.mark.parametrize("selected", ["u.id", "u.id, COUNT(*)"], ids=["rows", "groups"])
async def test_a_condition_that_is_none_is_an_error(db: DB, selected: str, end: str) -> None:
    await db.execute_script("""
        CREATE TABLE t (id INTEGER PRIMARY KEY, a INTEGER);
        INSERT INTO t VALUES (1, 10), (2, 20);
        CREATE TABLE u (id INTEGER PRIMARY KEY, c INTEGER);
        INSERT INTO u VALUES (1, 1), (2, 2)
    """)
    groups = "GROUP BY u.id LIMIT 9" if "COUNT" in selected else ""
    with pytest.raises(aiostoolap.Error):
        await db.query(f"SELECT {selected} FROM u JOIN t ON u.c = t.id {end} {groups}")


@pytest.mark.parametrize("limit", ["", "LIMIT 9"])
@pytest.mark.parametrize("join", ["JOIN", "LEFT JOIN"])
async def test_groups_of_a_join_keep_all_of_its_conditions(db: DB, join: str, limit: str) -> None:
    await db.execute_script("""
        CREATE TABLE t (id INTEGER PRIMARY KEY, a INTEGER);
        INSERT INTO t VALUES (1, 10), (2, 20), (3, 30);
        CREATE TABLE u (id INTEGER PRIMARY KEY, c INTEGER);
        INSERT INTO u VALUES (1, 1), (2, 2), (3, 3)
    """)
    for condition in (
        "t.a > 15",
        "t.a + u.id > 15",
        "ABS(t.a) > 15",
        "u.id > 1",
        "u.id = u.c AND u.id > 1",
        "t.id = u.id AND t.a <> 10",
        "t.a > (SELECT MIN(a) FROM t)",
    ):
        sql = f"SELECT u.id, COUNT(t.id) FROM u {join} t ON u.c = t.id AND {condition} GROUP BY u.id {limit}"
        expected = [*([(1, 0)] if join == "LEFT JOIN" else []), (2, 1), (3, 1)]
        assert sorted(await db.query(sql, into=tuple)) == expected, sql


async def test_a_view_that_is_made_anew(db: DB) -> None:
    await db.execute_script("""
        CREATE TABLE t (id INTEGER PRIMARY KEY, f INTEGER);
        INSERT INTO t VALUES (1, 1), (2, 2), (3, 30);
        CREATE TABLE u (id INTEGER PRIMARY KEY, c INTEGER);
        INSERT INTO u VALUES (1, 1), (2, 20), (3, 3);
        CREATE VIEW v AS SELECT id, c FROM u
    """)
    sql = "SELECT t.id FROM t WHERE EXISTS (SELECT 1 FROM v WHERE c = f) ORDER BY t.id"
    assert await db.query(sql, into=int) == [1]
    await db.execute("DROP VIEW v")
    await db.execute("CREATE VIEW v AS SELECT c, c AS f, id FROM u")
    assert await db.query(sql, into=int) == [1, 2, 3]


async def test_views_upon_views(db: DB) -> None:
    """Each is looked at once: by twice as many looks for each, this would take years."""
    await db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY)")
    await db.execute("CREATE VIEW v0 AS SELECT p.id FROM t AS p JOIN t AS q ON p.id = q.id")
    for n in range(60):
        await db.execute(f"CREATE VIEW v{n + 1} AS SELECT p.id FROM v{n} AS p JOIN v{n} AS q ON p.id = q.id")
    with pytest.raises(aiostoolap.ProgrammingError, match="nosuch"):
        await db.query("EXPLAIN SELECT nosuch FROM v20")
    assert await db.query("EXPLAIN SELECT id FROM v60")


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("(t.id, t.a) IN ((u.id, u.a))", [(2, 2)]),
        ("(u.id, u.a) IN ((9, 9), (t.id, t.a))", [(2, 2)]),
        ("(t.id, t.a) NOT IN ((u.id, u.a), (3, 3))", [(1, 1), (1, 2), (2, 1)]),
        ("(u.id, u.a) IN ((1, 2))", [(1, 1), (2, 1), (3, 1)]),
        ("(u.id, u.a) IN (SELECT id, a FROM t)", [(1, 2), (2, 2), (3, 2)]),
        ("u.a > ALL (SELECT 1)", [(1, 1), (2, 1), (3, 1)]),
    ],
)
async def test_conditions_with_rows_are_on_the_tables_that_they_name(
    db: DB, condition: str, expected: list[tuple[int, int]]
) -> None:
    await db.execute_script("""
        CREATE TABLE t (id INTEGER, a INTEGER);
        INSERT INTO t VALUES (1, 1), (2, 0), (3, 3);
        CREATE TABLE u (id INTEGER, a INTEGER, c INTEGER);
        INSERT INTO u VALUES (1, 2, 1), (2, 0, 2)
    """)
    assert sorted(await db.query(f"SELECT t.id, u.id FROM t, u WHERE {condition}", into=tuple)) == expected


async def test_a_limit_counts_what_is_distinct(db: DB) -> None:
    await db.execute("CREATE TABLE s (a INTEGER)")
    await db.execute("INSERT INTO s VALUES (1), (2), (3)")
    for join in ("CROSS JOIN s AS u", "JOIN s AS u ON u.a > 0", "LEFT JOIN s AS u ON u.a < 9"):
        assert len(await db.query(f"SELECT DISTINCT s.a FROM s {join} LIMIT 2")) == 2
        assert len(await db.query(f"SELECT DISTINCT s.a FROM s {join} LIMIT 2 OFFSET 1")) == 2
        assert len(await db.query(f"SELECT COUNT(*) OVER () AS n FROM s {join} LIMIT 2")) == 2
        assert await db.query(f"SELECT COUNT(*) OVER () AS n FROM s {join} LIMIT 1", into=int) == [9]


@pytest.mark.parametrize("join", ["JOIN", "LEFT JOIN"])
async def test_a_derived_table_has_the_columns_that_it_selects(db: DB, join: str) -> None:
    await db.execute_script("""
        CREATE TABLE s (id INTEGER PRIMARY KEY, k INTEGER, b TEXT);
        INSERT INTO s VALUES (1, 1, 'x'), (2, 3, 'y'), (3, 2, 'z');
        CREATE TABLE u (id INTEGER PRIMARY KEY, a INTEGER);
        INSERT INTO u VALUES (1, 10), (2, 20), (3, NULL);
        CREATE INDEX u_a ON u(a)
    """)
    inner = join == "JOIN"
    for derived, condition, rows in (
        ("(SELECT id, a + 1 AS a FROM u)", "q.id = s.k", [("x", 11), ("y", None), ("z", 21)]),
        (
            "(SELECT id + 1 AS id, a FROM u)",
            "q.id = s.k",
            [("y", 20), ("z", 10)] if inner else [("x", None), ("y", 20), ("z", 10)],
        ),
        ("(SELECT a AS id, id AS a FROM u)", "q.id = s.k", [] if inner else [("x", None), ("y", None), ("z", None)]),
        ("(SELECT id, COALESCE(a, 0) AS a FROM u)", "q.id = s.k", [("x", 10), ("y", 0), ("z", 20)]),
        (
            "(SELECT MAX(id) AS id, 7 AS a FROM s)",
            "q.id = s.id",
            [("z", 7)] if inner else [("x", None), ("y", None), ("z", 7)],
        ),
        ("(SELECT * FROM u)", "q.id = s.k", [("x", 10), ("y", None), ("z", 20)]),
        ("(SELECT id, a FROM u)", "q.id = s.k", [("x", 10), ("y", None), ("z", 20)]),
    ):
        found = await db.query(f"SELECT s.b, q.a FROM s {join} {derived} AS q ON {condition} ORDER BY s.b", into=tuple)
        assert found == rows, derived
        common = f"WITH q AS {derived} SELECT s.b, q.a FROM s {join} q ON {condition} ORDER BY s.b"
        assert await db.query(common, into=tuple) == rows, derived
    star = f"SELECT q.*, s.b FROM s {join} (SELECT a, id FROM u) AS q ON q.id = s.k"
    assert sorted(await db.query(star, into=tuple), key=repr) == [(10, 1, "x"), (20, 2, "z"), (None, 3, "y")]


async def test_the_first_groups_of_a_join_are_made_of_the_first_rows(shop: DB) -> None:
    """And no others, whatever ON says: for later ones, the key would be too large."""
    await shop.execute("CREATE INDEX by_order ON item (i_order)")
    for join, more in itertools.product(("JOIN", "LEFT JOIN"), ("", " AND i.i_price >= 0", " AND o.o_total >= 0")):
        groups = f"FROM orders o {join} item i ON i.i_order = o.o_id{more} GROUP BY o.o_id"
        everything = await shop.query(f"SELECT o.o_id, COUNT(i.i_id) {groups}", into=tuple)
        large = f"SELECT o.o_id, COUNT(i.i_id), MAX(o.o_id + {2**63 - 1 - 100}) {groups}"
        with pytest.raises(DataError, match="overflow"):
            await shop.query(large)
        first = await shop.query(f"{large} LIMIT 9", into=tuple)
        assert {row[:2] for row in first} <= set(everything), (join, more)
        assert len(first) == 9


async def test_subqueries_with_joins_are_asked_of_few_rows(shop: DB) -> None:
    """The second and the twenty-first query of TPC-H, in small."""
    await shop.execute("CREATE INDEX by_customer ON orders (o_customer)")
    dearest = (
        "SELECT c_name, o_id FROM customer, orders, item, city WHERE c_id = o_customer AND i_order = o_id"
        " AND c_city = id AND name = 'city3' AND i_price = (SELECT MAX(i_price) FROM orders, item, city"
        " WHERE c_id = o_customer AND i_order = o_id AND name = 'city3')"
    )
    alone = (
        "SELECT COUNT(*) FROM city, customer, orders o, item i"
        " WHERE c_city = id AND c_id = o_customer AND i_order = o_id"
        " AND name = 'city3' AND EXISTS (SELECT 1 FROM item j WHERE j.i_order = o_id AND j.i_id <> i.i_id)"
        " AND NOT EXISTS (SELECT 1 FROM orders p WHERE p.o_customer = c_id AND p.o_id <> o.o_id)"
    )
    rows = await shop.query(dearest, into=tuple, timeout=10)
    assert len(rows) == await shop.query_value(alone, timeout=10) / 2 > 100


def condition(rng: random.Random, tables: str) -> str:
    one, other = (f"{rng.choice(tables)}.{rng.choice(['id', 'x', 'y'])}" for _ in range(2))
    return rng.choice(
        [
            f"{one} = {rng.randrange(5)}",
            f"{one} > {rng.randrange(5)} - 1",
            f"NOT {one} = {rng.randrange(5)}",
            f"({one} < 3 OR {one} IS NULL)",
            f"({one} = 2 OR {other} = 1)",
            f"{one} IN (1, 2, NULL)",
            f"{one} IN (SELECT x FROM a WHERE y > 1)",
            f"{one} BETWEEN {other} AND 4",
            f"{one} IS NOT NULL",
            f"{one} <= {other}",
            f"{one} <= {one}",
            f"COALESCE({one}, 2) = 2",
            f"EXISTS (SELECT 1 FROM a AS e JOIN b AS f ON e.x = f.x JOIN c AS g ON g.id = f.y WHERE e.y = {one})",
            f"{one} = (SELECT MIN(e.x) FROM a AS e JOIN b AS f ON e.id = f.id JOIN c AS g ON g.id = f.id"
            f" WHERE e.x >= {other})",
        ]
    )


@pytest.mark.parametrize("seed", range(30))
async def test_conditions_of_joins_of_many_tables(db: DB, seed: int) -> None:
    rng = random.Random(seed)
    judge = sqlite3.connect(":memory:")
    for table in "abcd":
        rows = [(n, rng.choice([1, 2, 3, None]), rng.randrange(5)) for n in range(rng.randrange(1, 9))]
        for sql in (
            f"CREATE TABLE {table} (id INTEGER PRIMARY KEY, x INTEGER, y INTEGER)",
            f"CREATE INDEX by_{table} ON {table} ({rng.choice('xy')})",
        ):
            await db.execute(sql)
            judge.execute(sql)
        await db.execute_many(f"INSERT INTO {table} VALUES (?, ?, ?)", rows)
        judge.executemany(f"INSERT INTO {table} VALUES (?, ?, ?)", rows)
    for _ in range(25):
        tables = "".join(rng.sample("abcd", rng.randrange(3, 5)))
        source = tables[0]
        for before, table in itertools.pairwise(tables):
            kind = rng.choice(["JOIN", "JOIN", "JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN"])
            source += f" {kind} {table} ON {table}.{rng.choice(['id', 'x'])} = {before}.{rng.choice('xy')}"
        where = " AND ".join(condition(rng, tables) for _ in range(rng.randrange(1, 4)))
        sql = f"SELECT {rng.choice(['*', ', '.join(f'{table}.id' for table in tables)])} FROM {source} WHERE {where}"
        found = [list(row) for row in await db.query(sql, into=tuple)]
        assert sorted(map(repr, found)) == sorted(repr(list(row)) for row in judge.execute(sql)), sql


JOINED_JOINS = [
    "SELECT t.id, u.id, v.id FROM t LEFT JOIN (u JOIN v ON u.a = v.a) ON t.id = u.id",
    "SELECT t.id, u.id, v.id FROM t JOIN (u LEFT JOIN v ON u.id = v.a) ON t.a = u.a WHERE v.id IS NULL",
    "SELECT * FROM (t CROSS JOIN u) JOIN (v AS x JOIN v AS y ON x.a = y.id) ON u.id = x.id",
    "SELECT COUNT(*), SUM(x.id) FROM (t LEFT JOIN (u JOIN (v AS x JOIN v ON x.id = v.a) ON u.a = x.a) ON t.a = v.id)",
    "SELECT id FROM (t)",
]


async def make(db: DB, judge: sqlite3.Connection, table: str, columns: str, rows: list[tuple[Any, Any]]) -> None:
    """Makes a table of two columns in both."""
    create, fill = f"CREATE TABLE {table} ({columns})", f"INSERT INTO {table} VALUES (?, ?)"
    await db.execute(create)
    await db.execute_many(fill, rows)
    judge.execute(create)
    judge.executemany(fill, rows)


@pytest.mark.parametrize("sql", JOINED_JOINS)
async def test_joins_are_joined_as_a_whole(db: DB, sql: str) -> None:
    judge = sqlite3.connect(":memory:")
    for name in "tuv":
        rows = [(n, n * ord(name) % 5 or None) for n in range(1, 8)]
        await make(db, judge, name, "id INTEGER PRIMARY KEY, a INTEGER", rows)
    right = sorted(judge.execute(sql).fetchall(), key=repr)
    judge.close()
    assert right
    assert sorted(await db.query(sql, into=tuple), key=repr) == right
    if "*" not in sql.split(" FROM ")[0]:
        await db.execute(f"CREATE VIEW w AS {sql.replace('t.id, u.id, v.id', 't.id AS i, u.id AS j, v.id AS k')}")
        assert sorted(await db.query("SELECT * FROM w", into=tuple), key=repr) == right


@pytest.mark.parametrize("join", ["RIGHT JOIN city USING (id)", "FULL JOIN city USING (id)", "NATURAL RIGHT JOIN city"])
async def test_columns_that_an_outer_join_would_take_from_the_left_are_refused(shop: DB, join: str) -> None:
    await shop.execute("CREATE TABLE mayor (id INTEGER PRIMARY KEY, mayor TEXT)")
    with pytest.raises(aiostoolap.NotSupportedError, match="COALESCE"):
        await shop.query(f"SELECT id, name FROM mayor {join}")
    assert await shop.query("SELECT id, name FROM city LEFT JOIN mayor USING (id) WHERE id = 2", into=tuple) == [
        (2, "city2")
    ]


@pytest.mark.parametrize("join", ["JOIN", "LEFT JOIN"])
async def test_a_common_table_is_joined_by_all_that_is_said(db: DB, join: str) -> None:
    await db.execute_script("""
        CREATE TABLE s (id INTEGER PRIMARY KEY, a INTEGER);
        CREATE TABLE u (id INTEGER PRIMARY KEY, a INTEGER, z INTEGER);
        INSERT INTO s VALUES (1, 3), (5, 1), (2, 2);
        INSERT INTO u VALUES (1, 0, 0), (2, 3, 2), (3, NULL, 3);
        CREATE INDEX u_z ON u(z)
    """)
    common = "WITH p AS (SELECT id, a FROM s WHERE a > 0) SELECT p.a, u.id FROM"
    for condition in (
        "u.id = p.a AND u.a + p.a > 2",
        "u.z = p.a AND p.a + u.a > 2",
        "p.a = u.id AND p.a = u.z AND u.a > 0",
    ):
        rows = [(2, 2)] if join == "JOIN" else [(1, None), (2, 2), (3, None)]
        assert sorted(await db.query(f"{common} p {join} u ON {condition}", into=tuple)) == rows, condition
        if join == "JOIN":
            assert await db.query(f"{common} u JOIN p ON {condition}", into=tuple) == rows, condition
    for condition in ("u.id = p.a", "u.z = p.a"):
        rows = [(2, 2), (3, 3)] if condition == "u.z = p.a" else [(1, 1), (2, 2), (3, 3)]
        assert sorted(await db.query(f"{common} p JOIN u ON {condition}", into=tuple)) == rows, condition


@pytest.mark.parametrize("join", ["JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN"])
@pytest.mark.parametrize("kinds", ["INTEGER INTEGER", "INTEGER FLOAT", "FLOAT FLOAT", "TEXT TEXT"])
@pytest.mark.parametrize("ordered", [True, False])
async def test_rows_are_joined_by_equal_keys(db: DB, join: str, kinds: str, ordered: bool) -> None:
    """Tables that lie in the order of their keys are merged, others hashed."""
    rng = random.Random(1)
    judge = sqlite3.connect(":memory:")
    values = [None, 2**53 + 1, -(2**60), *range(-9, 120)]
    for table, kind in zip("tu", kinds.split(), strict=True):
        chosen = rng.choices(values, k=400)
        keys: list[Any] = [None if n is None else {"INTEGER": n, "FLOAT": n / 2, "TEXT": f"k{n}"}[kind] for n in chosen]
        if ordered:
            keys.sort(key=lambda key: (key is None, key))
        await make(db, judge, table, f"id INTEGER PRIMARY KEY, k {kind}", list(enumerate(keys)))
    for condition in ("t.k = u.k", "t.k = u.k AND t.id <> u.id", "t.id = u.id", "t.id = u.id AND t.k = u.k"):
        sql = f"SELECT t.id, t.k, u.id, u.k FROM t {join} u ON {condition}"
        expected = sorted(judge.execute(sql).fetchall(), key=repr)
        assert sorted(await db.query(sql, into=tuple), key=repr) == expected, condition
        few = await db.query(f"{sql} LIMIT 7", into=tuple)
        assert len(few) == min(7, len(expected))
        assert set(few) <= set(expected)
    judge.close()


async def test_joins_of_no_rows_have_columns(db: DB) -> None:
    await db.execute("CREATE TABLE t (a TEXT, b FLOAT)")
    await db.execute("CREATE TABLE u (id INTEGER PRIMARY KEY, c TEXT)")
    await db.execute("INSERT INTO t VALUES ('x', 1)")
    await db.execute("INSERT INTO u VALUES (1, 'x')")
    joined = "t AS p JOIN t AS q ON p.b = q.b JOIN u AS r ON q.a = r.c"
    for condition in ("(p.b, q.b) IN (SELECT b, b FROM t WHERE b > 1)", "1 = 2"):
        assert await db.query(f"SELECT p.a FROM {joined} WHERE {condition}") == []
        async with db.query(f"SELECT * FROM {joined} WHERE {condition}") as rows:
            assert rows.columns == ("p.a", "p.b", "q.a", "q.b", "r.id", "r.c")
