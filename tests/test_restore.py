"""`DB.restore`: a snapshot takes the place of what is there. See tests/faults/test_restore.py for what can end it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import aiostoolap

PAIRS = "SELECT x.a FROM t x CROSS JOIN t y"
"""More rows than come at once."""


async def fill(db: aiostoolap.DB) -> None:
    await db.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT)")
    await db.execute_many("INSERT INTO t VALUES (?, ?)", ((n, f"b{n}") for n in range(1_000)))


async def test_a_restore_that_is_refused_changes_nothing(folder: Path) -> None:
    async with aiostoolap.connect(folder) as db:
        await fill(db)
        with pytest.raises(aiostoolap.OperationalError, match="there is no snapshot"):
            await db.restore()
        await db.snapshot()
        await db.execute("DELETE FROM t WHERE a >= 10")
        with pytest.raises(aiostoolap.NotSupportedError, match=r"use restore\(\)"):
            await db.execute("PRAGMA RESTORE")
        async with db.transaction() as tx:
            await tx.execute("INSERT INTO t (a) VALUES (-1)")
            with pytest.raises(aiostoolap.OperationalError, match="a transaction is open"):
                await db.restore()
        (rows,) = (folder / "snapshots" / "t").glob("*.bin")
        rows.write_bytes(rows.read_bytes()[:-1])
        with pytest.raises(aiostoolap.CorruptDatabaseError, match="nothing was changed"):
            await db.restore()
        assert await db.query_value("SELECT COUNT(*) FROM t") == 11
    async with aiostoolap.connect() as memory:
        with pytest.raises(aiostoolap.ProgrammingError):
            await memory.restore()


async def test_what_goes_on_after_a_restore(folder: Path) -> None:
    async with aiostoolap.connect(folder) as db:
        await fill(db)
        await db.snapshot()
        other = await db.clone()
        async with await db.prepare("SELECT COUNT(*) FROM t") as count, db.query(PAIRS) as rows:
            await rows.fetchone()
            await db.execute("DELETE FROM t WHERE a >= 10")
            assert await count.query_value() == 10
            await other.restore()
            assert await count.query_value() == 1_000
            with pytest.raises(aiostoolap.EngineLostError, match="by a restore"):
                await rows.fetchall()
        assert await other.execute("DELETE FROM t") == 1_000
        await other.close()


async def test_a_large_snapshot_is_restored_more_than_once(folder: Path) -> None:
    """The engine keeps the volume that it makes of one, and took it for that of the restored database ever after."""
    async with aiostoolap.connect(folder) as db:
        await db.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT)")
        await db.execute_many("INSERT INTO t VALUES ($1, $2)", ((n, os.urandom(500_000).hex()) for n in range(40)))
        await db.snapshot()
        for _ in range(3):
            await db.execute("DELETE FROM t WHERE a > 1")
            await db.restore()
            assert await db.query_value("SELECT COUNT(*) FROM t") == 40
    async with aiostoolap.connect(folder) as db:
        assert await db.query_value("SELECT COUNT(*) FROM t WHERE b IS NOT NULL") == 40


async def test_a_link_in_the_place_of_what_was_restored_is_refused(folder: Path, tmp_path: Path) -> None:
    for name in (folder, tmp_path / "other"):
        async with aiostoolap.connect(name) as db:
            await fill(db)
    (folder / ".restored").symlink_to(tmp_path / "other")
    with pytest.raises(aiostoolap.OperationalError, match="is a link"):
        await aiostoolap.connect(folder)
