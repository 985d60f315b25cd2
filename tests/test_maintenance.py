"""Maintenance that nobody asks for: logs that are synced when they rest, moments for what is due, failures."""

from __future__ import annotations

import asyncio
import errno
import functools
import logging
import math
import os
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio
import pytest

import aiostoolap
from aiostoolap import Engine, TaskState, directory, logs, maintenance
from aiostoolap.logs import Logs
from aiostoolap.maintenance import Maintenance
from tests import commits


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks at the logs in short intervals."""
    monkeypatch.setattr(maintenance, "_LOOK_EVERY", 0.02)


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the logs that Python has synced."""
    sizes = []
    sync = directory.sync

    def counting(file: Path) -> None:
        sync(file)
        sizes.append(file.stat().st_size)

    monkeypatch.setattr(logs, "sync", counting)
    return sizes


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    with anyio.fail_after(60):
        while not await condition():
            await anyio.sleep(0.005)


async def state(db: aiostoolap.DB, task: str) -> TaskState:
    return (await db.stats()).maintenance[task]


def log_size(folder: Path) -> int:
    return sum(file.stat().st_size for file in (folder / "wal").glob("*.log"))


async def test_commits_are_synced_when_the_log_rests(folder: Path, synced: list[int]) -> None:
    async with aiostoolap.connect(folder, checkpoint_every=None) as db:
        await db.execute("CREATE TABLE t (a INTEGER)")
        for n in range(3):
            await db.execute("INSERT INTO t VALUES ($1)", (n,))
            size = log_size(folder)
            await until(functools.partial(_reached, synced, size))
        assert (await state(db, "sync")).runs >= 3
        assert (await state(db, "sync")).last_error is None


async def _reached(synced: list[int], size: int) -> bool:
    return size in synced


@pytest.mark.parametrize("mode", ["full", "none"])
async def test_other_modes_are_left_alone(folder: Path, synced: list[int], mode: str) -> None:
    async with aiostoolap.connect(folder, options={"sync_mode": mode}, checkpoint_every=None) as db:
        await db.execute("CREATE TABLE t (a INTEGER)")
        await several_looks(db)
        assert synced == []


async def several_looks(db: aiostoolap.DB, count: int = 5) -> None:
    """Lets the engine look at its logs so often, and writes nothing meanwhile."""
    looks = 0
    look = Logs.look

    def counting(self: Logs) -> list[Path]:
        nonlocal looks
        looks += 1
        return look(self)

    async def looked() -> bool:
        await db.query("SELECT 1")
        return looks >= count

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Logs, "look", counting)
        await until(looked)


async def test_reads_sync_nothing(folder: Path, synced: list[int]) -> None:
    async with aiostoolap.connect(folder, checkpoint_every=None) as db:
        await db.execute("CREATE TABLE t (a INTEGER)")
        await until(functools.partial(_reached, synced, log_size(folder)))
        before = len(synced)
        await several_looks(db)
        assert len(synced) == before


def test_an_idle_engine_sleeps_without_a_limit(tmp_path: Path) -> None:
    log = tmp_path / "wal" / "wal_1.log"
    log.parent.mkdir()
    log.write_bytes(b"1")
    tasks = Maintenance(None, None, Logs(lambda: {tmp_path: "normal"}))
    written = time.monotonic()
    runs = 0
    while (due := tasks.due(written)) is not None:
        time.sleep(max(0.0, due - time.monotonic()))
        tasks.run(lambda request: pytest.fail("there is no task"), written)
        runs += 1
    assert runs == 2, "one look sees the change, the other that it rests"
    assert tasks.states()["sync"].runs == 1
    assert tasks.due(math.inf) is not None


def test_what_is_due_waits_for_a_quiet_moment() -> None:
    tasks = Maintenance(None, 60.0)
    due = tasks.due(0.0)
    assert due is not None
    just_before = due - maintenance._QUIET / 2
    assert tasks.due(just_before) == just_before + maintenance._QUIET
    assert tasks.due(math.inf) == pytest.approx(due + maintenance._PATIENCE), "but not for ever"


async def test_a_sync_that_fails_is_reported_and_tried_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "aiostoolap")

    def fail(path: Path) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    async with aiostoolap.connect(folder, checkpoint_every=None) as db:
        with monkeypatch.context() as patch:
            patch.setattr(logs, "sync", fail)
            await db.execute("CREATE TABLE t (a INTEGER)")
            await until(lambda: failed(db, "sync", 2))
            assert "Input/output error" in str((await state(db, "sync")).last_error)
            assert "maintenance: sync failed" in caplog.text
            assert await db.execute("INSERT INTO t VALUES (1)") == 1
        await until(lambda: failed(db, "sync", 0))
        assert (await state(db, "sync")).last_error is None


async def failed(db: aiostoolap.DB, task: str, times: int) -> bool:
    failures = (await state(db, task)).failures
    return failures >= times if times else not failures


async def test_what_could_not_be_synced_is_written_to_the_tables_files(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system may have forgotten it, and a second fsync of the log then says that all is well."""
    failures = iter([errno.EIO])

    def failing(file: Path) -> None:
        for code in failures:
            raise OSError(code, os.strerror(code))
        directory.sync(file)

    monkeypatch.setattr(logs, "sync", failing)
    async with aiostoolap.connect(folder, checkpoint_every=3600) as db:
        await db.execute("CREATE TABLE t (a INTEGER)")
        await db.execute("INSERT INTO t VALUES (1)")
        async with asyncio.timeout(20):
            while not (await state(db, "checkpoint")).runs:
                await asyncio.sleep(0.01)
        assert list(folder.glob("volumes/t/*.vol"))


async def test_a_log_that_cannot_be_looked_at_is_reported(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Logs) -> list[Path]:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    async with aiostoolap.connect(folder, checkpoint_every=0.02) as db:
        await db.execute("CREATE TABLE t (a INTEGER)")
        with monkeypatch.context() as patch:
            patch.setattr(Logs, "look", fail)
            patch.setattr(Logs, "is_stored", fail)
            await until(lambda: failed(db, "sync", 1))
            await until(lambda: failed(db, "checkpoint", 1))
            patch.setattr(Logs, "size", fail)
            with pytest.raises(aiostoolap.OperationalError, match="Permission denied"):
                await db.stats()
        await until(lambda: failed(db, "sync", 0))
        await until(lambda: failed(db, "checkpoint", 0))


async def test_nothing_new_needs_no_checkpoint(folder: Path) -> None:
    async with aiostoolap.connect(folder, checkpoint_every=0.02) as db:
        await db.execute("CREATE TABLE t (a INTEGER)")
        await until(lambda: ran(db, "checkpoint", 2))
        names = sorted(file.name for file in (folder / "wal").iterdir())
        runs = (await state(db, "checkpoint")).runs
        await until(lambda: ran(db, "checkpoint", runs + 3))
        assert sorted(file.name for file in (folder / "wal").iterdir()) == names
        await db.execute("INSERT INTO t VALUES (1)")
        runs = (await state(db, "checkpoint")).runs
        await until(lambda: ran(db, "checkpoint", runs + 2))
        assert sorted(file.name for file in (folder / "wal").iterdir()) != names


async def ran(db: aiostoolap.DB, task: str, times: int) -> bool:
    return (await state(db, task)).runs >= times


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_it_runs_beside_any_loop(tmp_path: Path, backend: str) -> None:
    async def main() -> None:
        async with Engine(tmp_path, checkpoint_every=0.02, vacuum_every=0.02) as engine:
            db = await engine.open("file:///data/db")
            await db.execute("CREATE TABLE t (a INTEGER)")
            for task in ("checkpoint", "vacuum", "sync"):
                await until(functools.partial(ran, db, task, 1))
            if backend == "asyncio":
                assert asyncio.all_tasks() == {asyncio.current_task()}
            await db.close()

    anyio.run(main, backend=backend)


async def test_it_runs_once_for_several_loops(tmp_path: Path) -> None:
    async with Engine(tmp_path, checkpoint_every=0.02) as engine, await engine.open("file:///data/db") as db:
        await db.execute("CREATE TABLE t (a INTEGER)")

        def other(backend: str) -> None:
            async def write() -> None:
                mine = await engine.open("file:///data/db")
                await mine.execute("INSERT INTO t VALUES (1)")
                runs = (await state(mine, "checkpoint")).runs
                await until(functools.partial(ran, mine, "checkpoint", runs + 2))
                await mine.close()

            anyio.run(write, backend=backend)

        threads = [threading.Thread(target=other, args=(backend,)) for backend in ("asyncio", "trio")]
        for thread in threads:
            thread.start()
        for thread in threads:
            await asyncio.to_thread(thread.join)
        runs = (await state(db, "checkpoint")).runs
        await until(functools.partial(ran, db, "checkpoint", runs + 1))
        assert await db.query_value("SELECT COUNT(*) FROM t") == 2


async def test_the_close_checkpoints(folder: Path) -> None:
    async with aiostoolap.connect(folder, checkpoint_every=None) as db:
        await db.execute("CREATE TABLE t (a INTEGER)")
        await db.execute_many("INSERT INTO t VALUES ($1)", ((n,) for n in range(1_000)))
        assert not list((folder / "volumes").glob("t/*.vol"))
    assert list((folder / "volumes").glob("t/*.vol"))


async def test_the_figures_by_a_connection(folder: Path) -> None:
    async with aiostoolap.connect(folder) as db:
        assert set((await db.stats()).maintenance) == {"sync", "checkpoint"}
        async with await db.clone() as other:
            assert (await other.stats()).connections == 2
    with pytest.raises(aiostoolap.ClosedError):
        await db.stats()
    async with aiostoolap.connect() as db:
        assert (await db.stats()).maintenance == {}
        assert (await db.stats()).log_bytes == 0


@pytest.mark.timeout(300)
async def test_small_commits_grow_neither_log_nor_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A short version of `python -m tests.commits`, with a limit to fit."""
    monkeypatch.setattr(maintenance, "LOG_LIMIT", 200_000)
    report = await commits.run(20_000, tmp_path / "db")
    assert report.checkpoints > 1
    assert report.largest_log < 2_000_000
    await commits.open_after_kill(tmp_path / "killed", 300_000, report)


async def test_an_open_transaction_delays_the_cut(folder: Path) -> None:
    """What it may still read stays out of the files; after its end the next checkpoint cuts the log, unasked."""
    async with aiostoolap.connect(folder, checkpoint_every=0.02) as db:
        await db.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b INTEGER)")
        await db.execute("INSERT INTO t VALUES (1, 1)")
        tx = await db.begin("snapshot")
        assert await tx.query("SELECT b FROM t") == [(1,)]
        await db.execute("UPDATE t SET b = 2")
        await several_runs(db)
        assert (await db.stats()).hot_rows > 0
        assert await tx.query("SELECT b FROM t") == [(1,)]
        await tx.rollback()

        async def cut() -> bool:
            return (await db.stats()).hot_rows == 0

        await until(cut)


async def several_runs(db: aiostoolap.DB) -> None:
    """Lets the timer come to its checkpoint a few times."""
    runs = (await state(db, "checkpoint")).runs
    await until(functools.partial(ran, db, "checkpoint", runs + 3))


async def grow(db: aiostoolap.DB) -> None:
    """Makes the log longer than the limit of the tests below."""
    await db.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT)")
    await db.execute_many("INSERT INTO t VALUES ($1, $2)", ((n, os.urandom(50).hex()) for n in range(500)))


async def test_a_long_log_makes_transactions_wait_for_each_other(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The checkpoint comes when none is open, for one would keep the log from being cut; so no new ones begin."""
    monkeypatch.setattr(maintenance, "LOG_LIMIT", 30_000)
    monkeypatch.setattr(maintenance, "_GATE", 50.0)
    async with aiostoolap.connect(folder, checkpoint_every=3600) as db:
        first = await db.begin("snapshot")
        await grow(db)
        waits = False
        with anyio.fail_after(60):
            while not waits:
                with anyio.move_on_after(0.2) as scope:
                    await (await db.begin()).rollback()
                waits = scope.cancelled_caught
        assert (await state(db, "checkpoint")).runs == 0
        assert await db.execute("INSERT INTO t VALUES (-1, 'not in a transaction')") == 1
        await first.rollback()
        async with db.transaction() as tx:
            assert await tx.query_value("SELECT COUNT(*) FROM t") == 501
        await until(functools.partial(ran, db, "checkpoint", 1))
        assert (await db.stats()).hot_rows == 0


async def test_transactions_wait_as_long_as_others_end(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands that are open take longer than a moment to come to their ends, and the log grows meanwhile."""
    monkeypatch.setattr(maintenance, "LOG_LIMIT", 30_000)
    monkeypatch.setattr(maintenance, "_GATE", 2.0)
    async with aiostoolap.connect(folder, checkpoint_every=3600) as db:
        transactions = [await db.begin("snapshot") for _ in range(8)]
        await grow(db)
        for transaction in transactions:
            assert (await state(db, "checkpoint")).runs == 0
            await anyio.sleep(0.7)
            await transaction.rollback()
        await until(functools.partial(ran, db, "checkpoint", 1))
        assert (await db.stats()).hot_rows == 0


async def test_a_transaction_that_stays_open_holds_others_up_for_a_moment(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maintenance, "LOG_LIMIT", 30_000)
    monkeypatch.setattr(maintenance, "_GATE", 0.05)
    async with aiostoolap.connect(folder, checkpoint_every=3600) as db, db.transaction("snapshot") as first:
        assert await first.query("SELECT 1") == [(1,)]
        await grow(db)
        await until(functools.partial(ran, db, "checkpoint", 1))
        async with db.transaction() as tx:
            assert await tx.query_value("SELECT COUNT(*) FROM t") == 500
