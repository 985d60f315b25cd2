"""A transaction sees what it has done, by whatever way a query takes: random statements beside sqlite3."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

import aiostoolap
from aiostoolap import DB, DataError, Tx
from tests.conftest import Settle

SETUP = [
    "CREATE TABLE t (id INTEGER PRIMARY KEY, a INTEGER, g TEXT)",
    "CREATE TABLE u (id INTEGER PRIMARY KEY, t INTEGER, a INTEGER)",
    "CREATE VIEW v AS SELECT id, a FROM t WHERE g = 'x'",
    *(f"INSERT INTO t VALUES ({n}, {n % 6}, '{'xyz'[n % 3]}')" for n in range(1, 20)),
    *(f"INSERT INTO u VALUES ({n}, {n * 3 % 25}, {n % 4})" for n in range(1, 15)),
]
INDEXES = ["CREATE INDEX by_a ON t (a)", "CREATE INDEX by_g ON t (g)", "CREATE INDEX by_both ON t (g, a)"]
QUERIES = [
    "SELECT COUNT(*) FROM t",
    "SELECT SUM(a) FROM t",
    "SELECT MIN(a), MAX(a), AVG(a) FROM t",
    "SELECT MIN(id), MAX(id) FROM t",
    "SELECT COUNT(DISTINCT a) FROM t",
    "SELECT COUNT(a) FROM t",
    "SELECT a, COUNT(*) FROM t GROUP BY a",
    "SELECT g, SUM(a) FROM t GROUP BY g",
    "SELECT id FROM t WHERE a IS NOT NULL ORDER BY a, id LIMIT 3",
    "SELECT id FROM t ORDER BY id DESC LIMIT 3",
    "SELECT id FROM t WHERE a = 3",
    "SELECT id FROM t WHERE a BETWEEN 2 AND 4",
    "SELECT id FROM t WHERE a IN (1, 2, 2)",
    "SELECT id FROM t WHERE g = 'x' AND a = 3",
    "SELECT id FROM t WHERE g = 'x' OR a = 3",
    "SELECT id FROM t WHERE id IN (3, 4, 30)",
    "SELECT COUNT(*) FROM t WHERE g = 'x'",
    "SELECT SUM(a), MAX(a) FROM t WHERE g = 'y'",
    "SELECT p.id, q.id FROM t p JOIN t q ON p.a = q.id",
    "SELECT p.id, q.id FROM t p LEFT JOIN t q ON p.a = q.id AND q.g = 'x'",
    "SELECT p.id, (SELECT COUNT(*) FROM u WHERE u.t = p.id) FROM t p",
    "SELECT p.id, (SELECT MAX(a) FROM t q WHERE q.g = p.g) FROM t p",
    "SELECT id FROM t WHERE EXISTS (SELECT 1 FROM u WHERE u.t = t.id AND u.a > 1)",
    "SELECT id FROM t WHERE NOT EXISTS (SELECT 1 FROM u WHERE u.t = t.id)",
    "SELECT id FROM t WHERE NOT EXISTS (SELECT 1 FROM u WHERE u.t = t.id AND u.a + 0 = 1)",
    "SELECT id FROM t WHERE id IN (SELECT t FROM u WHERE a > 1)",
    "SELECT id FROM t WHERE id NOT IN (SELECT t FROM u)",
    "SELECT id FROM t WHERE a = (SELECT MAX(a) FROM t)",
    "SELECT id FROM t WHERE a IN (SELECT a FROM u)",
    "SELECT id FROM t WHERE a IN (SELECT a FROM u WHERE a > 1) AND id < 12",
    "SELECT id FROM t WHERE a IN (SELECT a FROM u) ORDER BY a, id LIMIT 3",
    "SELECT DISTINCT g FROM t WHERE a IN (SELECT a FROM u)",
    "SELECT COUNT(*) FROM t WHERE a IN (1, 3, NULL) AND id + 0 > 2",
    "SELECT id FROM t WHERE a IN (1, 2.0, 7) AND EXISTS (SELECT 1 FROM u WHERE u.t = t.id)",
    "SELECT id FROM t WHERE EXISTS (SELECT 1 FROM u WHERE u.a = t.a)",
    "SELECT DISTINCT g FROM t",
    "SELECT DISTINCT a FROM t",
    "SELECT a FROM t EXCEPT SELECT a FROM u",
    "WITH w AS (SELECT g, COUNT(*) AS n FROM t GROUP BY g) SELECT * FROM w WHERE n > 1",
    "SELECT id, ROW_NUMBER() OVER (PARTITION BY g ORDER BY id) FROM t",
    "SELECT id, COUNT(*) OVER (PARTITION BY a) FROM t",
    "SELECT id, SUM(a) OVER (ORDER BY id) FROM t",
    "SELECT * FROM v",
    "SELECT id FROM t WHERE g LIKE 'x%'",
    "SELECT id FROM t WHERE a IS NULL",
]


def write(rng: random.Random) -> str:
    """A statement that changes something, or is refused by both."""
    key, a, g = rng.randrange(1, 40), rng.choice([1, 2, 3, 4, 5, "NULL"]), rng.choice("xyz")
    few = rng.randrange(1, 6)
    return rng.choice(
        [
            f"INSERT INTO t VALUES ({key}, {a}, '{g}')",
            f"INSERT INTO t VALUES ({key}, {a}, '{g}') ON CONFLICT (id) DO UPDATE SET a = {a}",
            f"UPDATE t SET a = {a} WHERE id = {key}",
            f"UPDATE t SET g = '{g}' WHERE a = {few}",
            f"UPDATE t SET g = '{g}' WHERE a > {few} AND id < {key}",
            f"UPDATE t SET a = a + 1 WHERE g = '{g}'",
            f"UPDATE t SET a = (SELECT COUNT(*) FROM u WHERE u.t = t.id) WHERE id < {key}",
            f"UPDATE t SET a = (SELECT COUNT(*) FROM u WHERE u.t = t.id) WHERE a = {few} AND id + 0 < {key}",
            f"UPDATE t SET a = (SELECT MAX(a) FROM u WHERE u.t = t.id) WHERE a IN (SELECT a FROM u) AND id < {key}",
            f"INSERT INTO t SELECT id + 40, a, g FROM t WHERE a IN (SELECT a FROM u) AND id < {key}",
            f"INSERT INTO u SELECT id + 40, t, a FROM u WHERE (SELECT COUNT(*) FROM t WHERE t.a = u.a) > {few}",
            f"DELETE FROM t WHERE id = {key}",
            f"DELETE FROM t WHERE a = {few} AND id > 5",
            f"INSERT INTO u VALUES ({key}, {rng.randrange(1, 40)}, {a})",
            f"UPDATE u SET t = {rng.randrange(1, 40)} WHERE id = {key}",
            f"DELETE FROM u WHERE t = {key}",
        ]
    )


def plain(rows: Iterable[Iterable[Any]]) -> list[str]:
    """The rows, whatever their order and the types of their numbers."""
    return sorted(repr([float(item) if isinstance(item, int | float) else item for item in row]) for row in rows)


async def changed(session: DB | Tx, judge: sqlite3.Connection, sql: str) -> None:
    """Runs a write on both; they agree."""
    try:
        count = await session.execute(sql)
    except aiostoolap.IntegrityError:
        with pytest.raises(sqlite3.IntegrityError):
            judge.execute(sql)
    else:
        assert count == max(judge.execute(sql).rowcount, 0), sql


@pytest.mark.parametrize("seed", range(12))
async def test_a_transaction_sees_what_it_has_done(folder: Path, seed: int) -> None:
    rng = random.Random(seed)
    judge = sqlite3.connect(":memory:", isolation_level=None)
    target = folder if seed % 2 else "memory://"
    async with aiostoolap.connect(target, checkpoint_every=None) as db:
        for sql in [*SETUP, *(INDEXES if seed % 4 < 2 else [])]:
            await db.execute(sql)
            judge.execute(sql)
        for _ in range(3):
            if seed % 2 and rng.random() < 0.6:
                await db.checkpoint()
            judge.execute("BEGIN")
            tx = await db.begin(rng.choice(["read committed", "snapshot"]))
            for _ in range(rng.randrange(2, 7)):
                if is_savepoint := rng.random() < 0.3:
                    await changed(tx, judge, "SAVEPOINT s")
                await changed(tx, judge, write(rng))
                if is_savepoint and rng.random() < 0.5:
                    await changed(tx, judge, "ROLLBACK TO SAVEPOINT s")
                for sql in rng.sample(QUERIES, 12):
                    assert plain(await tx.query(sql)) == plain(judge.execute(sql)), sql
            if rng.random() < 0.7:
                await tx.commit()
                judge.execute("COMMIT")
            else:
                await tx.rollback()
                judge.execute("ROLLBACK")
            for sql in QUERIES:
                assert plain(await db.query(sql)) == plain(judge.execute(sql)), sql


async def test_an_index_is_used_beside_what_a_transaction_has_done(db: DB) -> None:
    await db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, a INTEGER)")
    await db.execute_many("INSERT INTO t VALUES (?, ?)", [(n, n) for n in range(30_000)])
    await db.execute("CREATE INDEX by_a ON t (a)")
    await db.execute("CREATE TABLE u (a INTEGER)")
    await db.execute("INSERT INTO u VALUES (10), (20), (30), (NULL)")
    conditions = [
        "a IN (SELECT a FROM u)",
        "a IN (SELECT a FROM u) AND id <> 30",
        "EXISTS (SELECT 1 FROM u WHERE a = t.a)",
    ]

    async def found(session: DB | Tx, limit: str = "") -> list[list[int]]:
        return [
            await session.query(f"SELECT id FROM t WHERE {each} ORDER BY id {limit}", into=int) for each in conditions
        ]

    tx = await db.begin()
    await tx.execute("UPDATE t SET a = 20 WHERE id IN (7, 8)")
    await tx.execute("SAVEPOINT s")
    await tx.execute("DELETE FROM t WHERE id = 10")
    await tx.execute("UPDATE t SET a = NULL WHERE id = 8")
    await tx.execute("INSERT INTO t VALUES (50000, 30), (50001, 31)")
    assert await found(tx) == [[7, 20, 30, 50_000], [7, 20, 50_000], [7, 20, 30, 50_000]]
    assert await found(tx, "LIMIT 1 OFFSET 1") == [[20], [20], [20]]
    assert len(await tx.query(f"SELECT id FROM t WHERE {conditions[2]} LIMIT 4")) == 4
    # A row that no index finds, and for which the sum is too large.
    await tx.execute("INSERT INTO t VALUES (60000, 31)")
    small = f"id + {2**63 - 1 - 55_000} > 0"
    with pytest.raises(DataError, match="overflow"):
        await tx.query(f"SELECT id FROM t WHERE {small}")
    for condition in conditions:
        assert await tx.query(f"SELECT id FROM t WHERE {small} AND {condition}", into=int), condition
    await tx.execute("ROLLBACK TO SAVEPOINT s")
    assert await found(tx) == [[7, 8, 10, 20, 30], [7, 8, 10, 20], [7, 8, 10, 20, 30]]
    await tx.rollback()
    assert await found(db) == [[10, 20, 30], [10, 20], [10, 20, 30]]


CONDITIONS = [
    "EXISTS (SELECT 1 FROM n AS q WHERE q.a = n.b)",
    "EXISTS (SELECT 1 FROM n AS q WHERE q.a = n.b) OR FALSE",
    "EXISTS (SELECT 1 FROM n AS q WHERE q.a > n.b AND q.b <> n.a)",
    "NOT EXISTS (SELECT 1 FROM n AS q WHERE q.a = n.b)",
    "b IN (SELECT a FROM n)",
    "b IN (SELECT q.a FROM n AS q WHERE q.b > n.a)",
    "b NOT IN (SELECT q.a FROM n AS q WHERE q.b > n.a)",
    "k IN (SELECT q.b FROM n AS q WHERE q.a = n.a)",
    "a < (SELECT AVG(b) FROM n)",
    "a > (SELECT AVG(q.a) FROM n AS q WHERE q.b = n.b)",
    "(SELECT COUNT(*) FROM n AS q WHERE q.b = n.b) > 1",
]
VALUES = ["b", "a + 1", "(SELECT MAX(a) FROM n) + 1", "(SELECT COUNT(*) FROM n AS q WHERE q.a = n.a)"]


@pytest.mark.parametrize("key", ["INTEGER PRIMARY KEY", "INTEGER"])
async def test_a_statement_sees_the_table_as_it_was_before(stored: DB, key: str, settle: Settle) -> None:
    rng = random.Random(1)
    rows = [(rng.randrange(1, 7), rng.choice([1, 2, 3, 4, 5, 6, None]), k) for k in range(1, 25)]
    await stored.execute(f"CREATE TABLE n (a INTEGER, b INTEGER, k {key})")
    await stored.execute_many("INSERT INTO n VALUES (?, ?, ?)", rows[:12])
    await settle()
    await stored.execute_many("INSERT INTO n VALUES (?, ?, ?)", rows[12:])
    judge = sqlite3.connect(":memory:", isolation_level=None)
    judge.execute("CREATE TABLE n (a INTEGER, b INTEGER, k INTEGER)")
    judge.executemany("INSERT INTO n VALUES (?, ?, ?)", rows)
    for condition in CONDITIONS:
        # sqlite3 itself sees what it has changed, unless it is asked for the rows first.
        picked = {k: values for k, *values in judge.execute(f"SELECT k, {', '.join(VALUES)} FROM n WHERE {condition}")}
        for sql, after in (
            (f"DELETE FROM n WHERE {condition}", [row for row in rows if row[2] not in picked]),
            (
                f"INSERT INTO n SELECT a, b, k + 100 FROM n WHERE {condition}",
                [*rows, *((a, b, k + 100) for a, b, k in rows if k in picked)],
            ),
            *(
                (
                    f"UPDATE n SET a = {value} WHERE {condition}",
                    [(picked[k][place] if k in picked else a, b, k) for a, b, k in rows],
                )
                for place, value in enumerate(VALUES)
            ),
        ):
            tx = await stored.begin()
            assert await tx.execute(sql) == len(picked), sql
            assert plain(await tx.query("SELECT * FROM n")) == plain(after), sql
            await tx.rollback()


UNIQUE = [
    ("INSERT INTO n VALUES (1, 'a', 1), (2, 'a', 2)", 1),
    ("INSERT INTO n VALUES (1, 'a', 1); INSERT INTO n VALUES (2, 'a', 2)", 1),
    ("INSERT INTO n VALUES (1, 'a', 1); INSERT INTO n VALUES (2, 'b', 1), (3, 'c', 3)", 0),
    ("INSERT INTO n VALUES (1, 'a', 1); INSERT INTO n VALUES (2, NULL, 1), (3, NULL, 1)", 0),
    ("INSERT INTO n VALUES (1, 'a', 1); DELETE FROM n WHERE id = 1; INSERT INTO n VALUES (2, 'a', 2)", 0),
    ("INSERT INTO n VALUES (1, 'a', 1); UPDATE n SET name = 'b' WHERE id = 1; INSERT INTO n VALUES (2, 'a', 2)", 0),
    ("INSERT INTO n VALUES (1, 'a', 1), (2, 'b', 1) ON CONFLICT (name) DO NOTHING", 0),
    ("INSERT INTO n VALUES (1, 'a', 1), (2, 'a', 2), (3, 'b', 3) ON CONFLICT (name) DO NOTHING", 0),
    ("INSERT INTO n VALUES (1, 'a', 1), (2, 'a', 2), (3, 'a', 3) ON CONFLICT (name) DO UPDATE SET n = excluded.n", 0),
    ("INSERT INTO n VALUES (1, 'a', 1), (2, 'a', 2) ON CONFLICT (name) DO UPDATE SET n = n.n + excluded.n", 0),
    ("INSERT INTO n SELECT id, b, id FROM two", 1),
    ("INSERT INTO n SELECT id, b, id FROM two WHERE TRUE ON CONFLICT (name) DO NOTHING", 0),
    ("SAVEPOINT s; INSERT INTO n VALUES (1, 'a', 1); ROLLBACK TO SAVEPOINT s; INSERT INTO n VALUES (2, 'a', 2)", 0),
    ("DELETE FROM n WHERE name = 'old'; INSERT INTO n VALUES (1, 'old', 1), (2, 'old', 2)", 1),
    ("UPDATE n SET name = 'new'; INSERT INTO n VALUES (1, 'old', 1)", 0),
]


async def test_targets_of_conflicts_have_no_case(stored: DB, settle: Settle) -> None:
    await stored.execute("CREATE TABLE n (id INTEGER PRIMARY KEY, K INTEGER UNIQUE, Name TEXT, v INTEGER)")
    await stored.execute("CREATE UNIQUE INDEX both ON n (Name, V)")
    await stored.execute("INSERT INTO n VALUES (1, 1, 'a', 1)")
    await settle()
    assert await stored.execute("INSERT INTO n VALUES (2, 1, 'b', 2) ON CONFLICT (k) DO NOTHING") == 0
    assert await stored.execute("INSERT INTO n VALUES (2, 1, 'b', 2) ON CONFLICT (K) DO UPDATE SET v = EXCLUDED.v") == 1
    assert await stored.execute("INSERT INTO n VALUES (2, 2, 'a', 2) ON CONFLICT (name, V) DO UPDATE SET v = 3") == 1
    with pytest.raises(aiostoolap.UniqueViolationError):
        await stored.execute("INSERT INTO n VALUES (2, 1, 'b', 2) ON CONFLICT (name, v) DO NOTHING")
    assert await stored.query("SELECT * FROM n", into=tuple) == [(1, 1, "a", 3)]


@pytest.mark.parametrize("values", ["VALUES ({})", "SELECT {}"])
async def test_the_conflict_that_is_named_comes_first(stored: DB, values: str, settle: Settle) -> None:
    await stored.execute("CREATE TABLE p (name TEXT UNIQUE)")
    await stored.execute("CREATE TABLE n (id INTEGER PRIMARY KEY, a INTEGER UNIQUE, b INTEGER UNIQUE)")
    await stored.execute("CREATE TABLE c (id INTEGER PRIMARY KEY, name TEXT REFERENCES p(name))")
    await stored.execute("INSERT INTO p VALUES ('x')")
    await stored.execute("INSERT INTO n VALUES (1, 2, 3), (4, 5, 6)")
    await stored.execute("INSERT INTO c VALUES (1, 'x')")
    await settle()

    async def insert(table: str, row: str, conflict: str) -> int:
        return await stored.execute(f"INSERT INTO {table} {values.format(row)} ON CONFLICT {conflict}")

    assert await insert("n", "1, 2, 9", "(a) DO NOTHING") == 0
    assert await insert("n", "4, 2, 6", "(a) DO UPDATE SET b = EXCLUDED.b + 10") == 1
    assert await insert("n", "4, 0, 16", "(id) DO UPDATE SET a = n.a + 10") == 1
    assert await insert("c", "1, 'nosuch'", "(id) DO NOTHING") == 0
    assert await insert("c", "1, 'nosuch'", "DO NOTHING") == 0
    for table, row, target in (("n", "1, 7, 8", "(a)"), ("n", "7, NULL, 6", "(a)"), ("c", "2, 'nosuch'", "(id)")):
        with pytest.raises(aiostoolap.IntegrityError):
            await insert(table, row, f"{target} DO NOTHING")
    async with stored.transaction() as tx:
        await tx.execute("DELETE FROM n WHERE id = 4")
        with pytest.raises(aiostoolap.IntegrityError):
            await tx.execute("INSERT INTO n VALUES (1, 15, 9) ON CONFLICT (a) DO NOTHING")
    assert await stored.query("SELECT * FROM n", into=tuple) == [(1, 2, 16)]


@pytest.mark.parametrize(("script", "refused"), UNIQUE)
async def test_unique_values_of_one_transaction(stored: DB, script: str, refused: int, settle: Settle) -> None:
    judge = sqlite3.connect(":memory:", isolation_level=None)
    for sql in (
        "CREATE TABLE n (id INTEGER PRIMARY KEY, name TEXT UNIQUE, n INTEGER)",
        "INSERT INTO n VALUES (90, 'old', 0)",
        "CREATE TABLE two (id INTEGER PRIMARY KEY, b TEXT)",
        "INSERT INTO two VALUES (1, 'x'), (2, 'x'), (3, 'y')",
    ):
        await stored.execute(sql)
        judge.execute(sql)
    await settle()
    judge.execute("BEGIN")
    tx = await stored.begin()
    for sql in script.split("; "):
        try:
            await tx.execute(sql)
        except aiostoolap.UniqueViolationError:
            refused -= 1
            with pytest.raises(sqlite3.IntegrityError):
                judge.execute(sql)
        else:
            judge.execute(sql)
    assert refused == 0
    await tx.commit()
    rows = await stored.query("SELECT * FROM n ORDER BY id", into=tuple)
    assert rows == judge.execute("SELECT * FROM n ORDER BY id").fetchall()


async def test_unique_values_of_many_rows(db: DB) -> None:
    await db.execute("CREATE TABLE n (a INTEGER, b INTEGER, c INTEGER)")
    await db.execute("CREATE UNIQUE INDEX both ON n (a, b)")
    rows = [(n % 100, n // 200, n) for n in range(1_000)]
    with pytest.raises(aiostoolap.UniqueViolationError):
        await db.execute_many("INSERT INTO n VALUES (?, ?, ?)", rows)
    assert await db.query("SELECT * FROM n") == []
    upsert = "INSERT INTO n VALUES (?, ?, ?) ON CONFLICT (a, b) DO UPDATE SET c = excluded.c"
    await db.execute_many(upsert, rows)
    latest = {(a, b): c for a, b, c in rows}
    expected = sorted((a, b, c) for (a, b), c in latest.items())
    assert await db.query("SELECT * FROM n ORDER BY a, b", into=tuple) == expected


HELD = [
    ("INSERT INTO n VALUES (11, 1, 'x')", True),
    ("UPDATE n SET k = 1 WHERE id = 10", True),
    ("UPDATE n SET k = 1 WHERE k = 10", True),
    ("UPDATE n SET k = k - 9 WHERE id + 0 = 10", True),
    ("INSERT INTO n VALUES (10, 0, 'y') ON CONFLICT (id) DO UPDATE SET k = 1", True),
    ("UPDATE n SET g = 'x'; UPDATE n SET k = 1 WHERE id = 10", True),
    ("INSERT INTO n VALUES (11, 11, 'x'); UPDATE n SET k = 1 WHERE id = 11", True),
    ("UPDATE n SET k = 30 WHERE id = 1; UPDATE n SET k = 2 WHERE id = 1", True),
    ("UPDATE n SET k = NULL WHERE id IN (3, 10)", False),
    ("UPDATE n SET k = 11 - k WHERE id IN (1, 10)", False),
    ("UPDATE n SET k = 30 WHERE id = 1; UPDATE n SET k = 1 WHERE id = 10", False),
    ("DELETE FROM n WHERE id = 1; UPDATE n SET k = 1 WHERE id = 10", False),
    ("UPDATE n SET k = 1 WHERE id = 10; DELETE FROM n WHERE id = 1", False),
    ("UPDATE n SET k = 1 WHERE id = 10; UPDATE n SET k = 10 WHERE id = 1", False),
    ("UPDATE n SET k = 10 WHERE id = 10", False),
    ("SAVEPOINT s; UPDATE n SET k = 1 WHERE id = 10; ROLLBACK TO SAVEPOINT s; UPDATE n SET k = 4 WHERE id = 10", False),
    ("INSERT INTO n VALUES (1, 5, 'y') ON CONFLICT (id) DO UPDATE SET k = 5; UPDATE n SET k = 1 WHERE id = 10", False),
]


@pytest.mark.parametrize(("index", "name"), [("k", "k"), ("k, g", "k"), ("k", "K")])
@pytest.mark.parametrize(("script", "refused"), HELD)
async def test_unique_values_in_volumes(stored: DB, script: str, refused: bool, index: str, name: str) -> None:
    """A row in memory takes no value that one in a volume holds, and any that it holds no longer."""
    await stored.execute(f"CREATE TABLE n (id INTEGER PRIMARY KEY, {name} INTEGER, g TEXT)")
    await stored.execute(f"CREATE UNIQUE INDEX held ON n ({index})")
    await stored.execute("INSERT INTO n VALUES (1, 1, 'x'), (2, 2, 'x'), (3, NULL, 'x')")
    await stored.checkpoint()
    await stored.execute("INSERT INTO n VALUES (10, 10, 'x')")
    before = await stored.query("SELECT * FROM n ORDER BY id", into=tuple)
    statements = script.split("; ")
    if refused:
        with pytest.raises(aiostoolap.UniqueViolationError) as caught:
            if len(statements) == 1:
                await stored.execute(script)
            else:
                async with stored.transaction() as tx:
                    for sql in statements:
                        await tx.execute(sql)
        # The crate names the columns of an inserted row that is changed, in place of the index.
        assert "; UPDATE" in script or caught.value.fields["index"] == "held"
        assert await stored.query("SELECT * FROM n ORDER BY id", into=tuple) == before
    else:
        async with stored.transaction() as tx:
            for sql in statements:
                await tx.execute(sql)
    keys = await stored.query("SELECT k FROM n WHERE k IS NOT NULL", into=int)
    assert len(keys) == len(set(keys))
    await stored.checkpoint()
    assert sorted(await stored.query("SELECT k FROM n WHERE k IS NOT NULL", into=int)) == sorted(keys)


async def test_an_analysed_table_hides_nothing(stored: DB, settle: Settle) -> None:
    await stored.execute_script("CREATE TABLE p (id INTEGER PRIMARY KEY, a INTEGER); CREATE INDEX p_a ON p(a)")
    await stored.execute("INSERT INTO p VALUES (10, 10), (11, 11)")
    await settle()
    await stored.execute("ANALYZE p")
    async with stored.transaction() as tx:
        await tx.execute("INSERT INTO p VALUES (7, 12)")
        for condition in ("a = 12", "a > 11", "id = 7", "id < 8", "a >= 12 AND id > 0"):
            assert await tx.query(f"SELECT id FROM p WHERE {condition}", into=int) == [7], condition
        assert await tx.execute("INSERT INTO p SELECT id + 1, a FROM p WHERE a = 12") == 1
        await tx.execute("UPDATE p SET a = 99 WHERE id = 10")
        assert await tx.query("SELECT id FROM p WHERE a = 99", into=int) == [10]
    assert await stored.query("SELECT id, a FROM p ORDER BY id", into=tuple) == [(7, 12), (8, 12), (10, 99), (11, 11)]
    async with stored.transaction("snapshot") as tx:
        await tx.query("SELECT 1 FROM p")
        await stored.execute("UPDATE p SET a = a + 1000")
        await stored.execute("ANALYZE p")
        assert await tx.query("SELECT id FROM p WHERE a = 99", into=int) == [10]
        assert await tx.query("SELECT id FROM p WHERE a < 13 ORDER BY id", into=int) == [7, 8, 11]


async def test_a_key_again_meets_unique_values(stored: DB, settle: Settle) -> None:
    await stored.execute("CREATE TABLE w (id INTEGER PRIMARY KEY, a INTEGER UNIQUE, c INTEGER)")
    await stored.execute("INSERT INTO w VALUES (1, 10, 1), (2, 20, 2)")
    await settle()
    async with stored.transaction() as tx:
        await tx.execute("DELETE FROM w WHERE id = 1")
        assert await tx.execute("INSERT INTO w VALUES (1, 20, 0) ON CONFLICT DO NOTHING") == 0
        await tx.execute("INSERT INTO w VALUES (1, 20, 0) ON CONFLICT (a) DO UPDATE SET c = w.c + 1")
        with pytest.raises(aiostoolap.UniqueViolationError):
            await tx.execute("INSERT INTO w VALUES (1, 20, 0)")
        await tx.execute("INSERT INTO w VALUES (1, 10, 5)")
    assert await stored.query("SELECT * FROM w ORDER BY id", into=tuple) == [(1, 10, 5), (2, 20, 3)]
