"""Some kills; `python -m tests.crash` makes thousands."""

from __future__ import annotations

import asyncio
import random
import shutil
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

import aiostoolap
from aiostoolap.core.runtime import Runtime
from tests.crash import cycles
from tests.crash.child import KEEPER, Message
from tests.crash.tables import TASKS, BrokenError, Item, Part


@pytest.mark.timeout(900)
def test_a_kill_loses_nothing(tmp_path: Path) -> None:
    tally = cycles.run(200, random.randrange(1_000_000), tmp_path)
    assert tally["kills"] == 200
    assert tally["commits"] > 500


@pytest.mark.timeout(900)
def test_a_kill_loses_nothing_with_either_mode(tmp_path: Path) -> None:
    tally = cycles.run(40, random.randrange(1_000_000), tmp_path, ("normal", "full"))
    assert tally["kills"] == 40


async def test_a_checkpoint_may_end_at_any_step(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the directory holds at each of its syncs is what a kill would leave there."""
    images: list[Path] = []
    sync = Runtime.sync_directories

    def keeping(self: Runtime) -> int:
        images.append(tmp_path / f"image{len(images)}")
        shutil.copytree(folder, images[-1])
        return sync(self)

    async with aiostoolap.connect(folder, checkpoint_every=None) as db:
        for table in "abc":
            await db.execute(f"CREATE TABLE {table} (id INTEGER PRIMARY KEY, n INTEGER)")
            await db.execute(f"INSERT INTO {table} VALUES (1, 1), (2, 2)")
        await db.checkpoint()
        for table in "abc":
            await db.execute(f"INSERT INTO {table} VALUES (3, 3)")
            await db.execute(f"UPDATE {table} SET n = 20 WHERE id = 2")
            await db.execute(f"DELETE FROM {table} WHERE id = 1")
        await db.execute("DROP TABLE b")
        for table in "bd":
            await db.execute(f"CREATE TABLE {table} (id INTEGER PRIMARY KEY, n INTEGER)")
            await db.execute(f"INSERT INTO {table} VALUES (2, 20), (3, 3)")
        with monkeypatch.context() as patch:
            patch.setattr(Runtime, "sync_directories", keeping)
            await db.checkpoint()
    assert len(images) > 5
    for image in images:
        async with aiostoolap.connect(image) as db:
            for table in "abcd":
                rows = await db.query(f"SELECT id, n FROM {table} ORDER BY id", into=tuple)
                assert rows == [(2, 20), (3, 3)], f"{table} in {image.name}"


LOSER = """
import asyncio, os, signal, sys, aiostoolap

async def main():
    db = await aiostoolap.connect(sys.argv[1], options={"sync_mode": "none"})
    await db.execute("CREATE TABLE t (n INTEGER PRIMARY KEY, note TEXT)")
    await db.checkpoint()
    for n in range(3_000):
        await db.execute("INSERT INTO t VALUES ($1, $2)", (n, f"note {n}"))
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


async def test_a_kill_loses_a_buffer_without_syncs(folder: Path) -> None:
    """With sync_mode=none: at most the 32 KiB of `wal_flush_trigger`, where a commit takes more than 80 bytes."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", LOSER, str(folder))
    assert await process.wait() == -signal.SIGKILL
    async with aiostoolap.connect(folder) as db:
        there = await db.query("SELECT n FROM t ORDER BY n", into=int)
    assert there == list(range(len(there)))
    assert 3_000 - 32_768 // 80 <= len(there) < 3_000


@pytest.mark.parametrize("sql", ["TRUNCATE TABLE t", "DROP TABLE t"])
async def test_a_kill_after_files_were_removed(folder: Path, sql: str) -> None:
    """With sync_mode=none: the definition that removed them is not lost with the buffer."""
    async with aiostoolap.connect(folder) as db:
        await db.execute("CREATE TABLE t (n INTEGER PRIMARY KEY)")
        await db.execute("CREATE TABLE u (n INTEGER PRIMARY KEY)")
        await db.execute("INSERT INTO t VALUES (1)")
        await db.execute("INSERT INTO u VALUES (1)")
    code = f"""
import asyncio, os, signal, sys, aiostoolap

async def main():
    db = await aiostoolap.connect(sys.argv[1], options={{"sync_mode": "none"}})
    await db.execute("{sql}")
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, str(folder))
    assert await process.wait() == -signal.SIGKILL
    for _ in range(3):
        async with aiostoolap.connect(folder) as db:
            assert await db.query("SELECT n FROM u", into=int) == [1]
            await db.execute("CREATE TABLE IF NOT EXISTS t (n INTEGER PRIMARY KEY)")
            assert await db.query("SELECT n FROM t", into=int) == []


def part(**items: int) -> Part:
    return Part({int(key[1:]): Item(n, key, "") for key, n in items.items()})


def account_of(*messages: Message) -> cycles.Account:
    account = cycles.Account()
    for message in messages:
        account.hear(message)
    return account


def found(parts: Mapping[int, Part]) -> list[Part]:
    return [parts.get(task, Part()) for task in range(TASKS)]


def test_what_would_be_a_loss() -> None:
    """The tests above could fail."""
    one, two, three = part(k1=1), part(k1=1, k2=2), part(k1=1, k2=2, k3=3)
    told = (
        Message("begun", 0, "insert", one),
        Message("done", 0, "insert"),
        Message("begun", 0, "insert", two),
        Message("done", 0, "insert"),
        Message("begun", 0, "insert", three),
    )
    account_of(*told).find(found({0: two}))
    account_of(*told).find(found({0: three}))
    for lost in (one, part(k1=1, k3=3), Part(two.items, writes=1), Part()):
        with pytest.raises(BrokenError, match="task 0"):
            account_of(*told).find(found({0: lost}))
    with pytest.raises(BrokenError, match="task 1"):
        account_of(*told).find(found({0: two, 1: one}))


def test_what_would_be_a_bad_backup() -> None:
    one, two = part(k1=1), part(k1=1, k2=2)
    account = account_of(
        Message("begun", 0, "insert", one),
        Message("done", 0, "insert"),
        Message("begun", KEEPER, "backup"),
        Message("begun", 0, "insert", two),
    )
    account.find_backup(found({0: one}))
    account.find_backup(found({0: two}))
    with pytest.raises(BrokenError, match="task 0"):
        account.find_backup(found({}))
    account.forget_backup()
    with pytest.raises(BrokenError, match="not begun"):
        account.find_backup(found({0: one}))


def test_what_would_be_a_bad_restore() -> None:
    one, two = part(k1=1), part(k1=1, k2=2)
    told = (Message("begun", 0, "insert", two), Message("done", 0, "insert"))
    begun = (*told, Message("begun", name="restore", found=found({0: one, 1: one})))
    account_of(*begun).find(found({0: two}))
    account_of(*begun).find(found({0: one, 1: one}))
    for mixed in ({0: one}, {0: two, 1: one}, {1: one}):
        with pytest.raises(BrokenError, match="task"):
            account_of(*begun).find(found(mixed))
    done = (*begun, Message("done", name="restore"))
    account_of(*done).find(found({0: one, 1: one}))
    with pytest.raises(BrokenError, match="task"):
        account_of(*done).find(found({0: two}))
