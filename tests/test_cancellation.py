"""Cancellation: a queued call never runs, a running one is stopped and leaves nothing behind."""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import time
from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest

import aiostoolap
from aiostoolap import DB, Engine, Tx
from tests import cancellations

ROWS = 60_000

LONG = {
    "cross join": "SELECT COUNT(*) FROM t a, t b WHERE a.b < b.b",
    "hash join": "SELECT COUNT(*) FROM t a JOIN t b ON a.g = b.g JOIN t c ON b.g = c.g",
    "sort": "SELECT a.a FROM t a JOIN t b ON a.g = b.g ORDER BY a.b, b.b DESC",
    "group": "SELECT a.b, COUNT(*) FROM t a JOIN t b ON a.g = b.g GROUP BY a.b",
    "insert from select": "INSERT INTO copy SELECT a.a * 100000 + b.a, b.b FROM t a JOIN t b ON a.g = b.g",
}


@pytest.fixture
async def big(db: DB) -> DB:
    await db.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT, g INTEGER)")
    await db.execute("CREATE TABLE copy (a INTEGER PRIMARY KEY, b TEXT)")
    await db.execute_many("INSERT INTO t VALUES (?, ?, ?)", ((n, f"text {n}", n % 50) for n in range(ROWS)))
    return db


@pytest.mark.parametrize("name", LONG)
async def test_a_running_query_is_stopped(big: DB, name: str) -> None:
    task = asyncio.create_task(big.execute(LONG[name]))
    await asyncio.sleep(0.1)
    assert not task.done(), "the statement is to run longer than this"
    task.cancel()
    begun = time.monotonic()
    with pytest.raises(asyncio.CancelledError):
        await task
    # Not a benchmark: left to itself, each of these runs for many seconds.
    assert time.monotonic() - begun < 5
    assert await big.query_value("SELECT COUNT(*) FROM t") == ROWS
    assert await big.query_value("SELECT COUNT(*) FROM copy") == 0


BUILDS = {
    "index": ("CREATE INDEX by_text ON t (b)", "DROP INDEX by_text ON t"),
    "unique index": ("CREATE UNIQUE INDEX by_two ON t (b, g)", "DROP INDEX by_two ON t"),
    "table from select": (
        "CREATE TABLE more AS SELECT a.a, b.b FROM t a JOIN t b ON a.g = b.g WHERE a.a < 200",
        "DROP TABLE more",
    ),
}


@pytest.mark.parametrize("name", BUILDS)
async def test_a_definition_is_stopped_or_done(big: DB, name: str) -> None:
    """Whenever it is stopped, what it makes is there in full, or not at all; then it can be made."""
    define, undo = BUILDS[name]
    before = await big.query("SHOW INDEXES FROM t")
    stopped = 0
    for step in range(12):
        task = asyncio.create_task(big.execute(define))
        await asyncio.sleep(step / 50)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        try:
            await big.execute(define)
        except aiostoolap.ProgrammingError:
            assert step > 0  # It was done before it could be stopped.
        else:
            stopped += 1
        assert await big.query("SELECT a FROM t WHERE b = 'text 777'", into=int) == [777]
        await big.execute(undo)
        assert await big.query("SHOW INDEXES FROM t") == before
        assert await big.execute("UPDATE t SET b = b WHERE a < 100") == 100
    assert stopped > 0


async def test_a_table_from_a_query_keeps_to_the_memory_limit() -> None:
    async with aiostoolap.connect(memory_limit=64 << 20) as db:
        await db.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT, g INTEGER)")
        await db.execute_many("INSERT INTO t VALUES (?, ?, ?)", ((n, f"text {n}", n % 5) for n in range(5_000)))
        for _ in range(3):
            with pytest.raises(aiostoolap.MemoryLimitError):
                await db.execute("CREATE TABLE more AS SELECT a.a, b.b FROM t a JOIN t b ON a.g = b.g")
            assert await db.query("SHOW TABLES", into=str) == ["t"]
        await db.execute("CREATE TABLE more AS SELECT a, b FROM t")
        assert await db.query_value("SELECT COUNT(*) FROM more") == 5_000


async def test_what_a_write_returns_comes_at_once(engine: Engine) -> None:
    """So no timeout comes between the commit and the last of its rows."""
    async with await engine.open_memory() as db:
        await db.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT)")
        await db.execute_many("INSERT INTO t VALUES (?, ?)", ((n, "x" * 200) for n in range(5_000)))
        writing = asyncio.ensure_future(db.query("UPDATE t SET b = b RETURNING *", timeout=30))
        long = asyncio.create_task(db.query_value("SELECT COUNT(*) FROM t a, t b, t c WHERE a.b < b.b", timeout=0.5))
        found = await writing
        assert (len(found), found.rows_affected) == (5_000, 5_000)
        with pytest.raises(TimeoutError):
            await long
        async with db.query("DELETE FROM t RETURNING a") as rows:
            assert await rows.fetchone() is not None
            assert (await engine.stats()).cursors == 0
            assert rows.rows_affected == 5_000
        assert await db.query_one("INSERT INTO t VALUES (1, 'x'), (2, 'y') RETURNING a") == (1,)


async def test_a_queued_call_never_runs(big: DB) -> None:
    running = asyncio.create_task(big.query_value(LONG["cross join"]))
    await asyncio.sleep(0.05)
    queued = [asyncio.create_task(big.execute("DELETE FROM t")) for _ in range(3)]
    await asyncio.sleep(0.05)
    for task in queued:
        task.cancel()
    for task in queued:
        with pytest.raises(asyncio.CancelledError):
            await task
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert await big.query_value("SELECT COUNT(*) FROM t") == ROWS


async def test_a_cancelled_batch_mate_never_runs(big: DB) -> None:
    """Calls of one batch with a long one: cancelled before their turn, by their places in the batch."""
    async with asyncio.timeout(10):
        tasks = [asyncio.create_task(big.query_value("SELECT 1")) for _ in range(3)]
        tasks.append(asyncio.create_task(big.query_value(LONG["cross join"])))
        late = [asyncio.create_task(big.execute("DELETE FROM t WHERE a = $1", (n,))) for n in range(50)]
        await asyncio.sleep(0.05)
        for task in late:
            task.cancel()
        tasks[-1].cancel()
        results = await asyncio.gather(*tasks, *late, return_exceptions=True)
    assert results[:3] == [1, 1, 1]
    assert all(isinstance(result, asyncio.CancelledError) for result in results[3:])
    assert await big.query_value("SELECT COUNT(*) FROM t") == ROWS


async def test_cancelling_again_while_it_stops(big: DB) -> None:
    task = asyncio.create_task(big.query_value(LONG["cross join"]))
    await asyncio.sleep(0.05)
    for _ in range(5):
        task.cancel()
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await big.query_value("SELECT COUNT(*) FROM t") == ROWS


async def test_a_stopped_write_changes_nothing(big: DB) -> None:
    await big.execute("CREATE INDEX by_g ON t(g)")
    state = "SELECT COUNT(*), SUM(g), SUM(a) FROM t"
    before = await big.query(state)
    writes = (
        "UPDATE t SET g = g + 1",
        "DELETE FROM t WHERE g < 40",
        "INSERT INTO t SELECT a + {next}, b, g FROM t",
        "UPDATE t SET g = g + 1 WHERE a % 3 = 0 RETURNING a, b",
    )
    stopped = 0
    chance = random.Random(1)
    for step, write in enumerate(writes * 8):
        task = asyncio.create_task(big.execute(write.replace("{next}", str(10**9 * 2**step))))
        await asyncio.sleep(chance.random() * 0.05)
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            stopped += 1
        else:  # It was faster, so the model starts again from there.
            before = await big.query(state)
            continue
        after = await big.query(state)
        if after != before:
            # The reply was on its way when the task was cancelled: the write is whole.
            before = after
            continue
        for g in (0, 17, 39):
            by_index = await big.query_value("SELECT COUNT(*) FROM t WHERE g = $1", (g,))
            assert by_index == await big.query_value("SELECT COUNT(*) FROM t WHERE g + 0 = $1", (g,))
    assert stopped > 3
    assert await big.execute("UPDATE t SET g = 1") == (await big.query(state))[0][0]


async def test_a_transaction_that_was_hit_allows_only_rollback(big: DB) -> None:
    tx = await big.begin()
    await tx.execute("DELETE FROM t WHERE a = 1")
    with pytest.raises(TimeoutError):
        await tx.query_value(LONG["cross join"], timeout=0.05)
    for use in (tx.execute("SELECT 1"), tx.commit(), tx.execute_many("DELETE FROM t WHERE a = ?", [(1,)])):
        with pytest.raises(aiostoolap.TransactionAbortedError):
            await use
    await tx.rollback()
    assert await big.query_value("SELECT COUNT(*) FROM t") == ROWS


async def test_a_savepoint_block_that_was_hit(big: DB) -> None:
    with pytest.raises(TimeoutError):
        async with big.transaction() as tx:
            await tx.execute("DELETE FROM t WHERE a = 1")
            async with tx.savepoint():
                await tx.query_value(LONG["cross join"], timeout=0.05)
    assert await big.query_value("SELECT COUNT(*) FROM t") == ROWS


@contextlib.asynccontextmanager
async def busy(db: DB) -> AsyncIterator[None]:
    """The engine runs a statement all the time, so that further calls wait for their turns."""
    async with await db.clone() as other:
        task = asyncio.create_task(other.query_value(LONG["cross join"]))
        await asyncio.sleep(0.05)
        yield
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()


async def cancel_once_it_waits(task: asyncio.Task[None]) -> None:
    """Cancels a task whose next call cannot run yet: natively, which heeds no shields."""
    for _ in range(10):
        await asyncio.sleep(0)
    assert not task.done()
    task.cancel()
    for _ in range(10):
        await asyncio.sleep(0)


async def test_a_rollback_that_is_cancelled_is_done(big: DB) -> None:
    tx = await big.begin()
    await tx.execute("DELETE FROM t WHERE a = 1")
    async with busy(big):
        task = asyncio.create_task(tx.rollback())
        await cancel_once_it_waits(task)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not tx.is_open
    assert (await big.stats()).transactions == 0
    assert await big.query_value("SELECT COUNT(*) FROM t") == ROWS


async def test_a_commit_that_is_cancelled_when_it_is_done(db: DB) -> None:
    await db.execute("CREATE TABLE t (a INTEGER)")
    exchange = db._caller._exchange
    cancelled = committed = 0
    while not cancelled:  # A call that is answered at once has no moment for it.
        tx = await db.begin()
        await tx.execute("INSERT INTO t VALUES (1)")
        task = asyncio.create_task(tx.commit())
        await asyncio.sleep(0)
        exchange.rouse()  # As the loop does at the end of this turn.
        while exchange.queued:
            time.sleep(0.001)
        time.sleep(0.02)  # The loop is not to see the answer.
        task.cancel()
        await asyncio.wait([task])
        cancelled += task.cancelled()
        committed += 1
        assert not tx.is_open
    assert await db.query_value("SELECT COUNT(*) FROM t") == committed


async def test_a_savepoint_whose_rollback_is_cancelled_is_undone(big: DB) -> None:
    """A timeout within the transaction may come just then, and the transaction goes on."""

    async def fail(tx: Tx, deleted: asyncio.Event) -> None:
        async with tx.savepoint():
            await tx.execute("DELETE FROM t WHERE a = 1")
            deleted.set()
            await asyncio.sleep(0.1)
            raise ValueError

    async with big.transaction() as tx:
        await tx.execute("DELETE FROM t WHERE a = 2")
        deleted = asyncio.Event()
        task = asyncio.create_task(fail(tx, deleted))
        await deleted.wait()
        async with busy(big):
            await asyncio.sleep(0.1)
            await cancel_once_it_waits(task)
        with pytest.raises(asyncio.CancelledError):
            await task
    assert await big.query("SELECT a FROM t WHERE a < 3 ORDER BY a", into=int) == [0, 1]


async def test_a_fetch_that_is_stopped_closes_the_cursor(big: DB) -> None:
    async with big.query("SELECT * FROM t") as rows:
        await rows.fetchone()
        task = asyncio.create_task(rows.fetchall())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with pytest.raises(aiostoolap.ClosedError):
            await rows.fetchall()


async def test_execute_many_is_stopped(big: DB) -> None:
    task = asyncio.create_task(big.execute_many("INSERT INTO copy VALUES (?, 'x')", ((n,) for n in range(3_000_000))))
    await asyncio.sleep(0.2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await big.query_value("SELECT COUNT(*) FROM copy") == 0


async def test_an_open_cursor_is_stopped(engine: Engine) -> None:
    async with await engine.open_memory() as db:
        await db.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT)")
        await db.execute_many("INSERT INTO t VALUES (?, ?)", ((n, "x" * 500) for n in range(20_000)))

        async def read() -> None:
            while True:
                async for _ in db.query("SELECT * FROM t"):
                    pass

        for pause in range(10):
            task = asyncio.create_task(read())
            await asyncio.sleep(pause / 200)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        del task
        stats = await engine.stats()
        assert (stats.cursors, stats.transactions) == (0, 0)


async def test_cancellations_at_random_points_leak_nothing(engine: Engine) -> None:
    """Calls that open something, cancelled before, while and after they run."""
    async with await engine.open_memory() as db:
        await db.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, n INTEGER)")
        await db.execute_many("INSERT INTO t VALUES (?, 0)", ((n,) for n in range(100)))
        chance = random.Random(7)

        async def transfer() -> None:
            async with db.transaction() as tx:
                await tx.execute("UPDATE t SET n = n - 1 WHERE a = $1", (chance.randrange(50),))
                async with await tx.prepare("UPDATE t SET n = n + 1 WHERE a = $1") as statement:
                    await statement.execute((50 + chance.randrange(50),))
                async for _ in tx.query("SELECT * FROM t"):
                    pass

        done = cancelled = 0
        for _ in range(1_000):
            task = asyncio.create_task(transfer())
            for _ in range(chance.randrange(40)):
                await asyncio.sleep(0)
            if chance.random() < 0.5:
                await asyncio.sleep(chance.random() / 500)
            task.cancel()
            try:
                await task
                done += 1
            except asyncio.CancelledError:
                cancelled += 1
        del task
        assert cancelled > 200
        assert await db.query_value("SELECT SUM(n) FROM t") == 0
        stats = await engine.stats()
        assert (stats.transactions, stats.statements, stats.cursors) == (0, 0, 0)


@pytest.mark.parametrize("loop", cancellations.LOOPS)
def test_cancellations_at_each_point_leave_nothing(loop: str) -> None:
    """`python -m tests.cancellations` has more of them, and says what is checked."""
    tally = cancellations.cancellations(loop, 1_700, seed=2)
    assert tally.total() == 1_700
    assert all(tally[point] > 0 for point in cancellations.POINTS), tally


async def test_closing_within_a_cancelled_scope_closes(engine: Engine) -> None:
    async with await engine.open_memory() as db:
        await db.execute("CREATE TABLE t (a INTEGER, b TEXT)")
        await db.execute_many("INSERT INTO t VALUES (?, ?)", ((n, "x" * 1_000) for n in range(200)))
        with anyio.CancelScope() as scope:
            async with db.query("SELECT * FROM t") as rows, await db.prepare("SELECT 1"), await engine.open_memory():
                assert await rows.fetchone() is not None
                scope.cancel()
                await anyio.sleep(1)
        stats = await engine.stats()
        assert (stats.cursors, stats.statements, stats.connections) == (0, 0, 1)


@pytest.mark.parametrize("wrong", [0, -1, math.nan, "1"])
async def test_a_timeout_is_a_time(db: DB, wrong: Any) -> None:
    with pytest.raises(aiostoolap.InterfaceError, match="timeout is a number of seconds above 0"):
        await db.query_value("SELECT 1", timeout=wrong)
    with pytest.raises(aiostoolap.InterfaceError, match="timeout is a number of seconds above 0"):
        await db.execute_many("SELECT $1", [(1,)], timeout=wrong)


async def test_an_infinite_timeout_is_none() -> None:
    async with aiostoolap.connect(timeout=1e-9) as db:
        assert await db.query_value("SELECT 1", timeout=math.inf) == 1
