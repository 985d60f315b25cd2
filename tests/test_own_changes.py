"""A transaction sees what it has done, by whatever way a query takes: random statements beside sqlite3."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

import aiostoolap
from aiostoolap import DB, Tx

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
                await changed(tx, judge, write(rng))
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
