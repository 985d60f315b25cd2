"""What is lost is put right: an instance that trapped, a log that could not be written, and what goes on afterwards."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from wasmtime import _func

import aiostoolap
from aiostoolap import DB, Engine, EngineLostError, InterfaceError
from aiostoolap.core import instances, ring
from aiostoolap.core.runtime import Runtime
from aiostoolap.locks import DirectoryLock

Trap = Callable[..., None]


@pytest.fixture
def trap(monkeypatch: pytest.MonkeyPatch) -> Iterator[Trap]:
    """Has the next calls of the one import of our own trap. A checkpoint makes one, and so does opening a database."""
    left = 0
    sync = Runtime.sync_directories

    class TrapError(BaseException):
        """What `_sync_directories` does not catch, wasmtime makes a trap of."""

    def sync_or_trap(runtime: Runtime) -> int:
        nonlocal left
        if left:
            left -= 1
            raise TrapError
        return sync(runtime)

    def arm(times: int = 1) -> None:
        nonlocal left
        left = times

    monkeypatch.setattr(Runtime, "sync_directories", sync_or_trap)
    yield arm
    _func.LAST_EXCEPTION = None  # wasmtime would raise it where anything else traps.


async def lose(db: DB, trap: Trap) -> None:
    """Has the instance trap."""
    trap()
    with pytest.raises(EngineLostError, match="may have happened or not"):
        await db.checkpoint()


async def filled(engine: Engine, name: str) -> DB:
    db = await engine.open(name)
    await db.execute("CREATE TABLE IF NOT EXISTS t (a INTEGER PRIMARY KEY, b TEXT)")
    await db.execute_many("INSERT INTO t VALUES (?, ?)", ((n, f"text {n}") for n in range(1_000)))
    return db


COUNT = "SELECT COUNT(*) FROM t"


async def test_the_log_tells_where_an_instance_trapped(
    tmp_path: Path, trap: Trap, caplog: pytest.LogCaptureFixture
) -> None:
    async with Engine(tmp_path) as engine, await filled(engine, "file:///data/a") as db:
        await lose(db, trap)
    [record] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.name == "aiostoolap"
    assert "the engine's instance is gone: " in record.message
    assert record.exc_info is not None
    [trace] = getattr(record.exc_info[1], "__notes__", [""])
    assert len(re.findall(r"^ *\d+: 0x\w+ - .*wasm function \d+", trace, re.MULTILINE)) > 3, trace


async def test_file_databases_open_again_by_themselves(tmp_path: Path, trap: Trap) -> None:
    async with Engine(tmp_path) as engine:
        db, other = await filled(engine, "file:///data/a"), await filled(engine, "file:///data/b?sync_mode=full")
        clone = await other.clone()
        prepared = await db.prepare("SELECT b FROM t WHERE a = $1")
        insert = await other.prepare("INSERT INTO t VALUES ($1, $2)")
        for times in range(1, 4):
            await lose(db, trap)
            assert await db.query_value(COUNT) == 1_000
            assert await prepared.query_value((7,)) == "text 7"
            assert await insert.execute((1_000 + times, "later")) == 1
            assert await clone.query_value(COUNT) == 1_000 + times
            stats = await engine.stats()
            assert (stats.lost_instances, stats.databases, stats.connections, stats.statements) == (times, 2, 3, 2)
        for item in (prepared, insert, clone, db, other):
            await item.close()
        stats = await engine.stats()
        assert (stats.databases, stats.connections, stats.statements) == (0, 0, 0)
        async with await engine.open("file:///data/b") as db:
            assert await db.query_value(COUNT) == 1_003


async def test_what_was_open_is_lost_and_says_so(tmp_path: Path, trap: Trap) -> None:
    async with Engine(tmp_path) as engine, await filled(engine, "file:///data/a") as db:
        tx, idle, again = await db.begin(), await db.begin("snapshot"), await db.begin()
        await tx.execute("DELETE FROM t")
        of_tx = await tx.prepare("SELECT COUNT(*) FROM t")
        rows = aiter(db.query("SELECT a, b, REPEAT(b, 20) FROM t ORDER BY a"))
        first = await anext(rows)
        await lose(db, trap)
        for _ in range(2):
            with pytest.raises(EngineLostError, match="transaction was lost when the engine failed; begin it again"):
                await tx.query(COUNT)
        with pytest.raises(EngineLostError, match="transaction was lost"):
            await of_tx.query()
        with pytest.raises(EngineLostError, match="transaction was lost"):
            async with idle.savepoint():
                pass
        with pytest.raises(EngineLostError, match="transaction was lost"):
            await tx.commit()
        await idle.rollback()
        with pytest.raises(LookupError):
            async with again:
                raise LookupError
        assert first[:2] == (0, "text 0")
        with pytest.raises(EngineLostError, match="cursor was lost"):
            while True:
                await anext(rows)
        await of_tx.close()
        assert await db.query_value(COUNT) == 1_000
        async with db.transaction() as tx:
            assert await tx.execute("DELETE FROM t WHERE a < 10") == 10
        stats = await engine.stats()
        assert (stats.transactions, stats.cursors, stats.statements) == (0, 0, 0)


async def test_a_transaction_begun_by_sql_does_not_go_on_without_its_beginning(tmp_path: Path, trap: Trap) -> None:
    async with Engine(tmp_path) as engine, await filled(engine, "file:///data/a") as db:
        other, third = await db.clone(), await db.clone()
        for a, connection in enumerate((db, other)):
            await connection.execute("BEGIN")
            await connection.execute("DELETE FROM t WHERE a = $1", (a,))
        await third.execute("BEGIN")
        await third.execute("ROLLBACK")
        for _ in range(2):  # Lost twice, they are lost.
            await lose(third, trap)
            for _ in range(2):
                with pytest.raises(EngineLostError, match="transaction was lost"):
                    await db.execute("INSERT INTO t VALUES (-1, '')")
        with pytest.raises(EngineLostError, match="transaction was lost"):
            await other.execute("COMMIT")
        await db.execute("ROLLBACK")
        for connection in (db, other, third):
            assert await connection.query_value(COUNT) == 1_000
        await other.close()
        await third.close()


async def test_databases_in_memory_are_gone_and_say_so(tmp_path: Path, trap: Trap) -> None:
    async with Engine(tmp_path) as engine, await filled(engine, "file:///data/a") as db:
        alone, shared = await filled(engine, "memory://"), await filled(engine, "memory://shared")
        tx = await alone.begin()
        await lose(db, trap)
        for gone in (alone, shared):
            for _ in range(3):
                with pytest.raises(EngineLostError, match="in-memory database is gone"):
                    await gone.execute("INSERT INTO t VALUES (-1, '')")
        with pytest.raises(EngineLostError, match="lost"):
            await tx.query(COUNT)
        await tx.rollback()
        async with await filled(engine, "memory://shared") as again:
            assert await again.query_value(COUNT) == 1_000
            with pytest.raises(EngineLostError, match="in-memory database is gone"):
                await shared.query(COUNT)
        await alone.close()
        await shared.close()
        assert (await engine.stats()).connections == 1


async def test_what_had_not_begun_runs_once(tmp_path: Path, trap: Trap) -> None:
    async with Engine(tmp_path) as engine, await filled(engine, "file:///data/a") as db:
        trap()
        lost = asyncio.create_task(db.checkpoint())
        writes = [asyncio.create_task(db.execute("INSERT INTO t VALUES ($1, '')", (-n,))) for n in range(1, 301)]
        reads = [asyncio.create_task(db.query_value("SELECT b FROM t WHERE a = $1", (n,))) for n in range(300)]
        large = asyncio.create_task(db.query_value("SELECT LENGTH($1)", ("x" * 200_000,)))
        late = asyncio.create_task(db.query_value("SELECT 1"))
        await asyncio.sleep(0)
        late.cancel()
        with pytest.raises(EngineLostError):
            await lost
        assert await asyncio.gather(*writes) == [1] * 300
        assert await asyncio.gather(*reads) == [f"text {n}" for n in range(300)]
        assert await large == 200_000
        with pytest.raises(asyncio.CancelledError):
            await late
        assert await db.query_value("SELECT COUNT(*) FROM t WHERE a < 0") == 300


async def test_what_the_log_has_is_stored_when_it_is_read(tmp_path: Path, trap: Trap) -> None:
    """So checkpoints may pass over a database that is still to be opened again, and call the logs stored."""
    async with Engine(tmp_path, checkpoint_every=3600) as engine, await filled(engine, "file:///data/a") as db:
        assert (await engine.stats()).hot_rows == 1_000
        trap()
        with pytest.raises(EngineLostError):
            await engine.open("file:///data/b")
        assert not list(tmp_path.glob("a/volumes/t/*.vol"))
        assert await db.query_value(COUNT) == 1_000
        assert list(tmp_path.glob("a/volumes/t/*.vol"))
        assert (await engine.stats()).hot_rows == 0


async def test_tasks_of_other_loops_hear_of_it(tmp_path: Path, trap: Trap) -> None:
    async with Engine(tmp_path) as engine, await filled(engine, "file:///data/a") as db:

        def elsewhere(n: int) -> list[Any]:
            async def ask() -> list[Any]:
                return [await db.query_value("SELECT b FROM t WHERE a = $1", (n,)) for _ in range(100)]

            return asyncio.run(ask())

        others = [asyncio.create_task(asyncio.to_thread(elsewhere, n)) for n in range(3)]
        trap()
        with pytest.raises(EngineLostError):
            await db.checkpoint()
        for n, found in enumerate(await asyncio.gather(*others, return_exceptions=True)):
            # One of their calls may have been the one that was running, or not acknowledged.
            assert isinstance(found, EngineLostError) or found == [f"text {n}"] * 100


async def test_a_loss_while_a_connection_closes(tmp_path: Path, trap: Trap) -> None:
    async with Engine(tmp_path) as engine:
        db, other = await filled(engine, "file:///data/a"), await filled(engine, "file:///data/b")
        trap()
        with pytest.raises(EngineLostError):
            await db.close()
        await db.close()
        assert await other.query_value(COUNT) == 1_000
        stats = await engine.stats()
        assert (stats.databases, stats.connections) == (1, 1)
        DirectoryLock(tmp_path / "a").release()
        async with await engine.open("file:///data/a") as db:
            assert await db.query_value(COUNT) == 1_000
        await other.close()


async def test_a_loss_while_the_engine_closes(tmp_path: Path, trap: Trap) -> None:
    engine = await Engine(tmp_path)
    db = await filled(engine, "file:///data/a")
    trap()
    with pytest.raises(EngineLostError):
        await engine.close()
    with pytest.raises(aiostoolap.ClosedError):
        await db.query(COUNT)
    await db.close()
    async with Engine(tmp_path) as engine, await engine.open("file:///data/a") as db:
        assert await db.query_value(COUNT) == 1_000


async def test_the_lock_is_held_all_the_time(tmp_path: Path, trap: Trap) -> None:
    async with Engine(tmp_path) as engine, await filled(engine, "file:///data/a") as db:
        other = await filled(engine, "file:///data/b")
        await lose(other, trap)
        for _ in range(2):
            with pytest.raises(aiostoolap.DatabaseLockedError):
                DirectoryLock(tmp_path / "a")
            assert await db.query_value(COUNT) == 1_000
        await other.close()


async def test_a_database_that_cannot_be_opened_again(tmp_path: Path, trap: Trap) -> None:
    async with Engine(tmp_path) as engine, await filled(engine, "file:///data/a") as db:
        other = await filled(engine, "file:///data/b")
        await lose(other, trap)
        (tmp_path / "a" / "wal").rename(tmp_path / "kept")
        (tmp_path / "a" / "wal").write_text("not a directory")
        for _ in range(20):
            with pytest.raises(aiostoolap.OperationalError, match="cannot be opened again"):
                await db.query(COUNT)
            assert await other.query_value(COUNT) == 1_000
        (tmp_path / "a" / "wal").unlink()
        (tmp_path / "kept").rename(tmp_path / "a" / "wal")
        async with asyncio.timeout(20):
            while True:
                try:
                    assert await db.query_value(COUNT) == 1_000
                    break
                except aiostoolap.OperationalError as error:
                    assert "cannot be opened again" in str(error)  # noqa: PT017  # it has not been tried again yet
                    await asyncio.sleep(0.01)
        assert await db.execute("INSERT INTO t VALUES (-1, '')") == 1
        await other.close()


async def test_opening_again_that_traps_costs_its_caller_alone(tmp_path: Path, trap: Trap) -> None:
    async with Engine(tmp_path) as engine, await filled(engine, "file:///data/a") as db:
        trap(3)
        for _ in range(3):
            with pytest.raises(EngineLostError):
                await db.checkpoint()
        assert await db.query_value(COUNT) == 1_000
        assert (await engine.stats()).lost_instances == 3


async def answers_again(db: DB) -> None:
    """Asks until there is an instance again, which has all the rows."""
    async with asyncio.timeout(20):
        while True:
            try:
                assert await db.query_value(COUNT) == 1_000
                break
            except EngineLostError:
                await asyncio.sleep(0.01)


async def test_an_engine_that_cannot_be_started_again(
    tmp_path: Path, trap: Trap, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(instances, "_SHORTEST_PAUSE", 0.01)
    starts = 0

    class Refusing(Runtime):
        def __init__(self, *_: object) -> None:
            nonlocal starts
            starts += 1
            raise InterfaceError("no memory")

    async with Engine(tmp_path) as engine, await filled(engine, "file:///data/a") as db:
        monkeypatch.setattr("aiostoolap.core.runtime.Runtime", Refusing)
        await lose(db, trap)
        for _ in range(100):
            with pytest.raises(EngineLostError, match="no other can be had: no memory"):
                await db.query(COUNT)
        assert starts <= 101
        monkeypatch.undo()
        await answers_again(db)


async def test_what_gives_something_back_runs_once_there_is_an_instance_again(
    tmp_path: Path, trap: Trap, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its caller hears that none could be had; the lock of the directory is released all the same, later."""
    monkeypatch.setattr(instances, "_SHORTEST_PAUSE", 1.0)

    class Refusing(Runtime):
        def __init__(self, *_: object) -> None:
            raise InterfaceError("no memory")

    async with Engine(tmp_path) as engine, await filled(engine, "file:///data/a") as db:
        closing = await filled(engine, "file:///data/b")
        with monkeypatch.context() as patch:
            patch.setattr("aiostoolap.core.runtime.Runtime", Refusing)
            await lose(db, trap)
            with pytest.raises(EngineLostError, match="no other can be had"):
                await db.query(COUNT)
            with pytest.raises(EngineLostError, match="no other can be had"):
                await closing.close()
        await answers_again(db)
        assert (await engine.stats()).connections == 1
        DirectoryLock(tmp_path / "b").release()


async def test_an_engine_that_cannot_be_started_again_can_be_closed(
    tmp_path: Path, trap: Trap, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Refusing(Runtime):
        def __init__(self, *_: object) -> None:
            raise MemoryError("no addresses")

    engine = await Engine(tmp_path)
    db = await filled(engine, "file:///data/a")
    with monkeypatch.context() as patch:
        patch.setattr("aiostoolap.core.runtime.Runtime", Refusing)
        await lose(db, trap)
        with pytest.raises(EngineLostError, match="no addresses"):
            await db.query(COUNT)
        with pytest.raises(EngineLostError):
            await engine.close()
    async with Engine(tmp_path) as engine, await engine.open("file:///data/a") as db:
        assert await db.query_value(COUNT) == 1_000


async def test_instances_that_are_lost_before_they_do_anything_are_not_made_for_ever(
    db: DB, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts = 0

    def trap(_: Runtime) -> ring.Left:
        nonlocal starts
        starts += 1
        raise EngineLostError("the engine's instance is gone: wasm trap")

    await db.execute("CREATE TABLE t (a INTEGER)")
    with monkeypatch.context() as patch:
        patch.setattr(Runtime, "serve", trap)
        waiting = [asyncio.create_task(db.query_value(COUNT)) for _ in range(100)]
        with pytest.raises(EngineLostError):
            while True:
                await db.query(COUNT)  # Until the thread has left the `serve` that it may be in.
        for _ in range(100):
            with pytest.raises(EngineLostError, match="did not run"):
                await db.query(COUNT)
        await asyncio.gather(*waiting, return_exceptions=True)
        assert starts < 110
    async with asyncio.timeout(20):
        while True:
            with pytest.raises(EngineLostError) as caught:
                await db.query(COUNT)
            if "in-memory database is gone" in str(caught.value):
                break
            await asyncio.sleep(0.01)
    await db.close()


async def test_maintenance_that_traps_backs_off(tmp_path: Path, trap: Trap) -> None:
    async with Engine(tmp_path, checkpoint_every=0.05) as engine:
        db = await filled(engine, "file:///data/a")
        trap()
        async with asyncio.timeout(20):
            while not (stats := await engine.stats()).lost_instances:
                await asyncio.sleep(0.01)
        assert stats.lost_instances == 1
        assert await db.query_value(COUNT) == 1_000
        await db.close()
