"""Integers of 2^32 and more, as primary keys above all, which the 32-bit engine could mix up: sqlite3 is the judge."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

import aiostoolap
from aiostoolap import DB

BASES = (0, 2**31, 2**32, 2**32 + 2**31, 2**33, 2**40, 175928847299117063, 2**62, 2**63 - 100)
"""Keys that are equal in their lower 32 bits, keys around the limits of a sign, and those of a snowflake."""
SCHEMA = (
    "CREATE TABLE t (id INTEGER PRIMARY KEY, a INTEGER, v TEXT, n INTEGER)",
    "CREATE INDEX by_a ON t (a)",
    "CREATE INDEX by_v ON t (v)",
    "CREATE INDEX by_both ON t (a, v)",
    "CREATE TABLE c (id INTEGER PRIMARY KEY, t INTEGER)",
    "CREATE INDEX by_t ON c (t)",
)
CHANGES = (
    "UPDATE t SET a = a + 10 WHERE id > 4294967290 AND a = 1",
    "DELETE FROM t WHERE id IN (4294967297, 8589934593)",
    "DELETE FROM t WHERE a = 2 AND v = 'v1'",
    "UPDATE t SET v = 'w' WHERE id BETWEEN 4294967296 AND 4294967300 OR a = 0 AND v = 'v0'",
    "DELETE FROM c WHERE t = 4611686018427387904",
)
QUERIES = (
    "SELECT id FROM t WHERE id = 4294967301 OR id = 5 ORDER BY id",
    "SELECT id FROM t WHERE a = 1 AND v = 'v1' ORDER BY id",
    "SELECT id FROM t WHERE a = 1 OR v = 'v1' ORDER BY id",
    "SELECT id FROM t WHERE a = 11 AND n > 3 ORDER BY id",
    "SELECT id FROM t WHERE a IN (0, 2) AND v IN ('v0', 'w') ORDER BY id",
    "SELECT id FROM t WHERE id IN (3, 4294967299, 175928847299117066, 9223372036854775710) ORDER BY id",
    "SELECT id FROM t WHERE id > 4294967295 AND id < 8589934600 ORDER BY id",
    "SELECT id FROM t WHERE id BETWEEN 2147483647 AND 4294967297 ORDER BY id DESC",
    "SELECT id FROM t WHERE id >= 9223372036854775707 ORDER BY id LIMIT 3",
    "SELECT id FROM t WHERE NOT (a = 1 AND v = 'v1') AND id < 9000000000 ORDER BY id",
    "SELECT id FROM t ORDER BY id LIMIT 5 OFFSET 20",
    "SELECT COUNT(*), MIN(id), MAX(id), COUNT(DISTINCT a) FROM t",
    "SELECT a, COUNT(*), MAX(id) FROM t GROUP BY a ORDER BY a",
    "SELECT t.id, c.id FROM t JOIN c ON c.t = t.id ORDER BY c.id",
    "SELECT c.id, t.v FROM c LEFT JOIN t ON t.id = c.t ORDER BY c.id",
    "SELECT c.id FROM c WHERE EXISTS (SELECT 1 FROM t WHERE t.id = c.t AND t.v = 'v0') ORDER BY c.id",
    "SELECT id FROM t WHERE id IN (SELECT t FROM c WHERE id > 4294967296) ORDER BY id",
    "SELECT id FROM t WHERE id NOT IN (SELECT t FROM c) AND a = 0 ORDER BY id",
    "SELECT id, ROW_NUMBER() OVER (ORDER BY id) FROM t WHERE v = 'v1' ORDER BY id",
)


@pytest.fixture
def oracle() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:")
    yield connection
    connection.close()


@pytest.fixture(params=["memory", "hot", "sealed", "sealed twice"])
async def db(request: pytest.FixtureRequest, folder: Path, oracle: sqlite3.Connection) -> AsyncIterator[DB]:
    """The same rows in both, in memory, in a file's log, or in volumes."""
    source = random.Random(1)
    keys = [base + n for base in BASES for n in range(10)]
    source.shuffle(keys)
    rows = [(key, key % 3, f"v{key % 2}", n) for n, key in enumerate(keys)]
    children = [(key, source.choice(keys)) for key in source.sample(keys, 60)]
    target = "memory://" if request.param == "memory" else folder
    async with aiostoolap.connect(target, checkpoint_every=None) as db:
        for sql in SCHEMA:
            await db.execute(sql)
            oracle.execute(sql)
        half = len(rows) // 2
        for part in (rows[:half], rows[half:]):
            await db.execute_many("INSERT INTO t VALUES (?, ?, ?, ?)", part)
            if request.param == "sealed twice":
                await db.checkpoint()
        await db.execute_many("INSERT INTO c VALUES (?, ?)", children)
        oracle.executemany("INSERT INTO t VALUES (?, ?, ?, ?)", rows)
        oracle.executemany("INSERT INTO c VALUES (?, ?)", children)
        if request.param == "sealed":
            await db.checkpoint()
        yield db


async def test_large_keys(db: DB, oracle: sqlite3.Connection) -> None:
    async def compare() -> None:
        for sql in QUERIES:
            found: list[Any] = [tuple(row) for row in await db.query(sql)]
            assert found == oracle.execute(sql).fetchall(), sql

    await compare()
    for sql in CHANGES:
        assert await db.execute(sql) == oracle.execute(sql).rowcount, sql
    await compare()
    for (key,) in oracle.execute("SELECT id FROM t").fetchall():
        with pytest.raises(aiostoolap.UniqueViolationError):
            await db.execute("INSERT INTO t VALUES ($1, 0, '', 0)", (key,))
    async with db.transaction() as tx:
        await tx.execute("INSERT INTO t VALUES ($1, 1, 'v1', 0)", (2**34,))
        await tx.execute("DELETE FROM t WHERE id = $1", (2**33,))
    oracle.execute("INSERT INTO t VALUES (?, 1, 'v1', 0)", (2**34,))
    oracle.execute("DELETE FROM t WHERE id = ?", (2**33,))
    await compare()


async def test_the_smallest_integer_is_divided(db: DB) -> None:
    await db.execute("CREATE TABLE s (a INTEGER)")
    await db.execute("INSERT INTO s VALUES ($1)", (-(2**63),))
    assert await db.query_one("SELECT a / -1, a % -1, MOD(a, -1), a / 2 FROM s", into=tuple) == (None, 0, 0, -(2**62))
    assert await db.query_one("SELECT a / 0, a % 0 FROM s", into=tuple) == (None, None)


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ("LEFT('abc', 4294967297)", "abc"),
        ("RIGHT('abc', 4294967297)", "abc"),
        ("SUBSTRING('abc', 2, 4294967297)", "bc"),
        ("SUBSTRING('abc', 4294967297)", ""),
        ("SPLIT_PART('a,b', ',', 4294967297)", ""),
        ("LOCATE('c', 'abc', 4294967297)", 0),
        ("REPEAT('a', 4294967297)", None),
        ("CAST('[1, 2]' AS JSON) -> 4294967296", None),
        ("CAST('[1, 2]' AS JSON) ->> 4294967297", None),
    ],
)
async def test_places_in_texts_and_json(call: str, expected: Any) -> None:
    async with aiostoolap.connect() as db:
        assert await db.query_value(f"SELECT {call}") == expected


@pytest.mark.parametrize("call", ["LPAD('a', 4294967297)", "RPAD('a', 4294967297, 'bc')"])
async def test_texts_of_such_a_length_need_more_memory_than_there_is(call: str) -> None:
    async with aiostoolap.connect(memory_limit=256 << 20) as db:
        with pytest.raises(aiostoolap.MemoryLimitError):
            await db.query_value(f"SELECT {call}")
