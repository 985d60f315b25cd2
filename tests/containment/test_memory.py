"""The memory limit: what would pass it ends with an error, undoes what it did, and keeps nothing."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

import aiostoolap
from aiostoolap import DB, Engine, MemoryLimitError

LIMIT = 64 << 20
ROWS = 8_000
LARGE = (
    "SELECT a.n, REPEAT(b.s, 99) FROM big a JOIN big b ON a.g = b.g",
    "SELECT REPEAT(a.s, 50) || b.s AS t FROM big a JOIN big b ON a.g = b.g ORDER BY t",
    "SELECT DISTINCT REPEAT(a.s, 50) || b.s FROM big a JOIN big b ON a.g = b.g",
    "SELECT REPEAT(a.s, 50) || b.s AS k, COUNT(*) FROM big a JOIN big b ON a.g = b.g GROUP BY k",
    "SELECT SUM(g) OVER (ORDER BY n), REPEAT(s, 999) FROM big",
    "INSERT INTO copy SELECT a.n * 1000000 + b.n, a.g, REPEAT(b.s, 99) FROM big a JOIN big b ON a.g = b.g",
    "INSERT INTO copy SELECT n, g, REPEAT(s, 999) FROM big ON CONFLICT (n) DO UPDATE SET s = REPEAT(s, 9)",
    "UPDATE big SET s = REPEAT(s, 999)",
    "UPDATE big SET g = g + 1 RETURNING REPEAT(s, 999)",
    "DELETE FROM big RETURNING REPEAT(s, 999)",
    "INSERT INTO point SELECT n, '[' || REPEAT('1.5, ', 4095) || '1.5]' FROM big",
)
"""Of these, each ends by the limit."""


async def fill(db: DB) -> None:
    await db.execute("CREATE TABLE big (n INTEGER PRIMARY KEY, g INTEGER, s TEXT)")
    await db.execute("CREATE INDEX big_g ON big(g)")
    await db.execute("CREATE TABLE copy (n INTEGER PRIMARY KEY, g INTEGER, s TEXT)")
    await db.execute("CREATE TABLE point (id INTEGER PRIMARY KEY, p VECTOR(4096))")
    await db.execute("CREATE INDEX point_p ON point(p) USING HNSW")
    await db.execute_many("INSERT INTO big VALUES (?, ?, ?)", ((n, n % 20, f"text number {n}") for n in range(ROWS)))


async def check(db: DB) -> None:
    """All is as it was, and writes work."""
    assert await db.query_one("SELECT COUNT(*), SUM(g), MAX(LENGTH(s)) FROM big") == (ROWS, ROWS * 19 // 2, 16)
    assert await db.query_value("SELECT COUNT(*) FROM big WHERE g = 7") == ROWS // 20
    assert await db.query_value("SELECT COUNT(*) FROM copy") == 0
    assert await db.query_value("SELECT COUNT(*) FROM point") == 0
    assert await db.execute("UPDATE big SET g = g WHERE n = 7") == 1


async def at_rest(engine: Engine) -> int:
    """What the engine has allocated, once it has dropped what the statements had made."""
    live, before = (await engine.stats()).live_bytes, 0
    while live != before:
        await anyio.sleep(0.05)
        live, before = (await engine.stats()).live_bytes, live
    return live


@pytest.mark.parametrize(("name", "times"), [("memory://", 10), ("file:///data/db", 4)])
async def test_statement_after_statement_beyond_the_limit(tmp_path: Path, name: str, times: int) -> None:
    async with Engine(tmp_path, memory_limit=LIMIT, checkpoint_every=None) as engine, await engine.open(name) as db:
        await fill(db)
        live = []
        for _ in range(times):
            for sql in LARGE:
                with pytest.raises(MemoryLimitError):
                    await db.execute(sql)
            await check(db)
            await db.checkpoint()
            live.append(await at_rest(engine))
        assert live[-1] - live[1] < 1 << 20, live
        assert max(live) < LIMIT


async def test_a_transaction_beyond_the_limit_can_only_be_rolled_back() -> None:
    async with aiostoolap.connect(memory_limit=LIMIT) as db:
        await fill(db)
        for sql in LARGE:
            async with await db.begin() as tx:
                await tx.execute("DELETE FROM big WHERE n < 100")
                with pytest.raises(MemoryLimitError):
                    await tx.execute(sql)
                with pytest.raises(aiostoolap.TransactionAbortedError):
                    await tx.commit()
                await tx.rollback()
        await check(db)
