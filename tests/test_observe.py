"""Hooks of statements, and the log of slow ones."""

from __future__ import annotations

import asyncio
import logging
import time

import pytest

import aiostoolap
from aiostoolap import StatementEvent

SLOW = "SELECT COUNT(*) FROM t a CROSS JOIN t b CROSS JOIN t c WHERE a.n + b.n + c.n < 0"


async def test_every_verb_is_told() -> None:
    events: list[StatementEvent] = []
    async with aiostoolap.connect(on_statement=events.append) as db:
        await db.execute_script("CREATE TABLE t (n INTEGER PRIMARY KEY); INSERT INTO t VALUES (0)")
        await db.execute("INSERT INTO t VALUES ($1)", (1,))
        await db.execute_many("INSERT INTO t VALUES ($1)", [(n,) for n in range(2, 1_000)])
        assert len(await db.query("SELECT n FROM t")) == 1_000
        assert [row.n async for row in db.query("SELECT n AS n FROM t WHERE n < 2")] == [0, 1]
        await db.query_value("SELECT 1")
        async with await db.prepare("SELECT n FROM t WHERE n = $1") as statement:
            await statement.query_one((5,))
        async with db.transaction() as tx:
            await tx.execute("DELETE FROM t WHERE n = 9")
    assert [event.sql.split(" ")[0] for event in events] == [
        "CREATE", "INSERT", "INSERT", "SELECT", "SELECT", "SELECT", "SELECT", "DELETE"
    ]  # fmt: skip
    assert events[6].sql == "SELECT n FROM t WHERE n = $1"
    assert all(event.error is None and 0 <= event.seconds < 60 for event in events)


async def test_errors_and_cancellations_are_told() -> None:
    events: list[StatementEvent] = []
    async with aiostoolap.connect(on_statement=events.append) as db:
        with pytest.raises(aiostoolap.ProgrammingError):
            await db.execute("SELEC 1")
        await db.execute("CREATE TABLE t (n INTEGER)")
        await db.execute_many("INSERT INTO t VALUES (?)", ((n,) for n in range(1_000)))
        with pytest.raises(TimeoutError):
            await db.query_one(SLOW, timeout=0.05)
        task = asyncio.ensure_future(db.query_one(SLOW))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    kinds = [type(event.error) for event in events]
    assert kinds == [aiostoolap.ProgrammingError, type(None), type(None), TimeoutError, asyncio.CancelledError]


async def test_slow_statements_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    async with aiostoolap.connect(slow_statement=0.04) as db:
        await db.execute("CREATE TABLE t (n INTEGER)")
        await db.execute_many("INSERT INTO t VALUES (?)", ((n,) for n in range(1_000)))
        caplog.clear()
        with pytest.raises(TimeoutError):
            await db.query_one(SLOW, timeout=0.05)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert caplog.messages[0].endswith(SLOW)


async def test_a_hook_that_fails_harms_no_statement(caplog: pytest.LogCaptureFixture) -> None:
    def fail(event: StatementEvent) -> None:
        raise LookupError(event.sql)

    async with aiostoolap.connect(on_statement=fail) as db:
        assert await db.query_value("SELECT 5") == 5
    assert caplog.messages == ["the hook on_statement failed"]
    with pytest.raises(aiostoolap.InterfaceError, match="slow_statement"):
        aiostoolap.Engine(slow_statement=-1)


async def test_calls_and_their_time_are_counted(engine: aiostoolap.Engine) -> None:
    async with await engine.open_memory() as db:
        await db.execute("CREATE TABLE t (n INTEGER)")
        await db.execute_many("INSERT INTO t VALUES (?)", [(n,) for n in range(1_000)])
        before = await engine.stats()
        for n in range(10):
            assert await db.query_value("SELECT $1", (n,)) == n
        with pytest.raises(aiostoolap.ProgrammingError):
            await db.query("SELEC 1")
        for _ in range(2):
            with pytest.raises(TimeoutError):
                await db.query_one(SLOW, timeout=0.2)
        after = await engine.stats()
    assert after.calls - before.calls == 10 + 1 + 2 + 1  # The figures themselves are a call.
    assert after.failures - before.failures == 1 + 2
    # No benchmark: a timeout counts from when its task sleeps, and the thread is awake until it has stopped.
    assert after.waited_seconds - before.waited_seconds > 0.3
    assert after.awake_seconds - before.awake_seconds > 0.3


async def test_what_is_fetched_ahead_in_vain_is_no_failure(engine: aiostoolap.Engine) -> None:
    async with await engine.open_memory() as db:
        await db.execute("CREATE TABLE t (n INTEGER)")
        await db.execute_many("INSERT INTO t VALUES (?)", [(n,) for n in range(30_000)])
        assert len(await db.query("SELECT n FROM t")) == 30_000
        assert [n async for (n,) in db.query("SELECT n FROM t WHERE n < 9000 ORDER BY n")] == [*range(9_000)]
        async for _ in db.query("SELECT n FROM t"):
            break
        figures = await engine.stats()
    assert (figures.failures, figures.cursors) == (0, 0)


async def test_what_a_stop_has_closed_already_is_no_failure(engine: aiostoolap.Engine) -> None:
    async with await engine.open_memory() as db:
        await db.execute("CREATE TABLE t (n INTEGER)")
        await db.execute_many("INSERT INTO t VALUES (?)", [(n,) for n in range(30_000)])
        for _ in range(5):
            async with db.query("SELECT n, MD5(REPEAT('x', 30000 + n)) FROM t") as rows:
                async for n, _ in rows:
                    if n == 5_000:
                        break  # What is fetched ahead, slowly, is stopped.
        figures = await engine.stats()
    assert (figures.failures, figures.cursors) == (0, 0)


async def test_many_that_wait_add_up(engine: aiostoolap.Engine) -> None:
    async with await engine.open_memory() as db:
        await db.execute("CREATE TABLE t (n INTEGER)")
        await db.execute_many("INSERT INTO t VALUES (?)", [(n,) for n in range(1_000)])
        before = await engine.stats()
        slow = [asyncio.create_task(db.query_one(SLOW)) for _ in range(10)]
        await asyncio.wait(slow, timeout=0.3)
        for task in slow:
            task.cancel()
        await asyncio.wait(slow)
        after = await engine.stats()
    assert after.waited_seconds - before.waited_seconds > 5 * (after.awake_seconds - before.awake_seconds)


async def test_a_thread_that_sleeps_is_not_awake(engine: aiostoolap.Engine) -> None:
    begun = time.monotonic()
    before = await engine.stats()
    for _ in range(4):
        await asyncio.sleep(0.1)
        after = await engine.stats()
    # A sleep inside of the module, of 20 ms at most, is not noted before its end.
    assert -0.02 < after.awake_seconds - before.awake_seconds < time.monotonic() - begun - 0.1
