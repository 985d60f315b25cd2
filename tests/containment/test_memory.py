"""The memory limit: what would pass it ends with an error, undoes what it did, and keeps nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from aiostoolap import DB, Engine, MemoryLimitError

LIMIT = 64 << 20
ROWS = 20_000
TIMES = 100

LARGE = {
    "join": "SELECT a.n, b.s FROM big a JOIN big b ON a.g = b.g",
    "sort": "SELECT a.s || b.s AS t FROM big a JOIN big b ON a.g = b.g ORDER BY t",
    "distinct": "SELECT DISTINCT a.s || b.s FROM big a JOIN big b ON a.g = b.g",
    "group": "SELECT a.n * 100000 + b.n AS k, COUNT(*) FROM big a JOIN big b ON a.g = b.g GROUP BY k",
    "window": "SELECT SUM(g) OVER (ORDER BY n), REPEAT(s, 500) FROM big",
    "insert from select": "INSERT INTO copy SELECT a.n * 1000000 + b.n, a.g, b.s FROM big a JOIN big b ON a.g = b.g",
    "upsert": "INSERT INTO copy SELECT n, g, REPEAT(s, 500) FROM big ON CONFLICT (n) DO UPDATE SET s = REPEAT(s, 9)",
    "update": "UPDATE big SET s = REPEAT(s, 500)",
    "update returning": "UPDATE big SET g = g + 1 RETURNING REPEAT(s, 500)",
    "delete returning": "DELETE FROM big RETURNING REPEAT(s, 500)",
    "vectors": "INSERT INTO point SELECT n, '[' || REPEAT('1.5, ', 511) || '1.5]' FROM big",
}
"""Of these, each ends by the limit."""

DEFINITIONS = (
    ("CREATE INDEX big_s ON big(s)", "DROP INDEX big_s ON big"),
    ("ALTER TABLE big ADD COLUMN k TEXT DEFAULT 'some text'", "ALTER TABLE big DROP COLUMN k"),
    ("CREATE TABLE twin AS SELECT * FROM big", "DROP TABLE twin"),
)
"""These run to their end, whatever they take."""


@pytest.fixture
async def small() -> AsyncIterator[Engine]:
    async with Engine(memory_limit=LIMIT) as engine:
        yield engine


async def filled(engine: Engine, name: str = "memory://") -> DB:
    db = await engine.open(name)
    await db.execute("CREATE TABLE big (n INTEGER PRIMARY KEY, g INTEGER, s TEXT)")
    await db.execute("CREATE INDEX big_g ON big(g)")
    await db.execute("CREATE TABLE copy (n INTEGER PRIMARY KEY, g INTEGER, s TEXT)")
    await db.execute("CREATE TABLE point (id INTEGER PRIMARY KEY, p VECTOR(512))")
    await db.execute("CREATE INDEX point_p ON point(p) USING HNSW")
    await db.execute_many("INSERT INTO big VALUES (?, ?, ?)", ((n, n % 20, f"text number {n}") for n in range(ROWS)))
    return db


async def check(db: DB) -> None:
    """All is as it was, and writes work."""
    assert await db.query_one("SELECT COUNT(*), SUM(g), MAX(LENGTH(s)) FROM big") == (ROWS, ROWS * 19 // 2, 17)
    assert await db.query_value("SELECT COUNT(*) FROM big WHERE g = 7") == ROWS // 20
    assert await db.query_value("SELECT COUNT(*) FROM copy") == 0
    assert await db.query_value("SELECT COUNT(*) FROM point") == 0
    assert await db.execute("UPDATE big SET g = g WHERE n = 7") == 1


@pytest.mark.parametrize("name", LARGE)
async def test_statement_after_statement_beyond_the_limit(small: Engine, name: str) -> None:
    async with await filled(small) as db:
        live = []
        for time in range(TIMES):
            with pytest.raises(MemoryLimitError):
                await db.execute(LARGE[name])
            if time % 10 == 0:
                await check(db)
                live.append((await small.stats()).live_bytes)
        assert live[-1] - live[1] < 1 << 20, live
        assert max(live) < LIMIT


async def test_in_files_too(small: Engine) -> None: ...
