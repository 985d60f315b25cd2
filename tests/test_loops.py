"""The core of the interface on each kind of event loop."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
import pytest

import aiostoolap
from aiostoolap import DB
from aiostoolap.core import loops

CROSS_JOIN = "SELECT COUNT(*) FROM t a, t b WHERE a.b < b.b"
LOOPS: dict[str, dict[str, Any]] = {
    "asyncio": {"backend": "asyncio"},
    "uvloop": {"backend": "asyncio", "backend_options": {"use_uvloop": True}},
    "trio": {"backend": "trio"},
}


async def statements(db: DB) -> None:
    assert await db.query_value("SELECT COUNT(*) FROM t") == 5_000
    assert [row.a async for row in db.query("SELECT a FROM t ORDER BY a")] == list(range(5_000))
    async with db.query("SELECT a FROM t ORDER BY a") as rows:
        assert await rows.fetchmany(2) == [(0,), (1,)]
    async with await db.prepare("SELECT b FROM t WHERE a = ?") as statement:
        assert await statement.query_value((7,)) == "b7"
    with pytest.raises(aiostoolap.ProgrammingError):
        await db.query("SELECT nothing")


async def transactions(db: DB) -> None:
    async with db.transaction() as tx:
        await tx.execute("DELETE FROM t WHERE a < 10")
        async with tx.savepoint():
            await tx.execute("DELETE FROM t WHERE a < 20")
    assert await db.query_value("SELECT COUNT(*) FROM t") == 4_980
    with pytest.raises(ZeroDivisionError):
        async with db.transaction() as tx:
            await tx.execute("DELETE FROM t")
            raise ZeroDivisionError
    assert await db.query_value("SELECT COUNT(*) FROM t") == 4_980


@asynccontextmanager
async def others() -> AsyncIterator[list[int]]:
    """Another task that takes its turns; how many it has had."""
    turns = [0]

    async def count() -> None:
        while True:
            turns[0] += 1
            await anyio.lowlevel.checkpoint()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(count)
        yield turns
        tasks.cancel_scope.cancel()


async def one_after_another(db: DB) -> None:
    # Replies that come at once must not keep the other tasks from their turns.
    async with others() as turns:
        for _ in range(2):
            before = turns[0]
            for key in range(1_000):
                assert await db.query_value("SELECT b FROM t WHERE a = $1", (key,)) == f"b{key}"
            assert turns[0] - before > 20


async def pieces_that_have_come(db: DB) -> None:
    async with aiostoolap.connect(latency="power") as asleep:
        # Its thread is not expected to answer at once, so that nobody looks for that.
        await asleep.execute("CREATE TABLE t (a TEXT)")
        await asleep.execute_many("INSERT INTO t VALUES (?)", (("x" * 1_000,) for _ in range(1_000)))
        found = []
        async with others() as turns, asleep.query("SELECT a FROM t") as rows:
            for _ in range(10):
                time.sleep(0.02)  # What is fetched ahead comes meanwhile.
                before = turns[0]
                for _ in range(100):  # More than a piece has.
                    assert await rows.fetchone()
                found.append(turns[0] - before)
        assert sum(map(bool, found)) >= 3  # trio lets tasks run in a random order: now and then, none of the others.


async def many_tasks(db: DB) -> None:
    found: dict[int, str] = {}

    async def look(key: int) -> None:
        found[key] = await db.query_value("SELECT b FROM t WHERE a = $1", (key,))

    async with anyio.create_task_group() as tasks:
        for key in range(500):
            tasks.start_soon(look, key)
    assert found == {key: f"b{key}" for key in range(500)}


async def timeout(db: DB) -> None:
    with pytest.raises(TimeoutError):
        await db.query(CROSS_JOIN, timeout=0.05)
    await statements(db)


async def cancelled_while_running(db: DB) -> None:
    with anyio.move_on_after(0.05) as scope:
        await db.query(CROSS_JOIN)
    assert scope.cancelled_caught
    await statements(db)


async def cancelled_while_queued(db: DB) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(db.query_value, CROSS_JOIN)
        await anyio.sleep(0.02)
        tasks.start_soon(db.execute, "DELETE FROM t")
        await anyio.sleep(0.02)
        tasks.cancel_scope.cancel()
    await statements(db)


async def cancelled_in_a_transaction(db: DB) -> None:
    with anyio.move_on_after(0.05):
        async with db.transaction() as tx:
            await tx.execute("DELETE FROM t WHERE a < 10")
            await tx.query_value(CROSS_JOIN)
    await statements(db)


async def cancelled_before(db: DB) -> None:
    with anyio.CancelScope() as scope:
        scope.cancel()
        await db.execute("DELETE FROM t")
    assert scope.cancelled_caught
    await statements(db)


async def shielded(db: DB) -> None:
    with anyio.CancelScope() as outer:
        outer.cancel()
        with anyio.CancelScope(shield=True):
            await statements(db)
    assert not math.isnan(await db.query_value("SELECT 1.5"))


SCENARIOS: list[Callable[[DB], Awaitable[None]]] = [
    statements,
    transactions,
    one_after_another,
    pieces_that_have_come,
    many_tasks,
    timeout,
    cancelled_while_running,
    cancelled_while_queued,
    cancelled_in_a_transaction,
    cancelled_before,
    shielded,
]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
@pytest.mark.parametrize("loop", LOOPS)
def test_loop(loop: str, scenario: Callable[[DB], Awaitable[None]]) -> None:
    async def main() -> None:
        async with aiostoolap.connect() as db:
            await db.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT)")
            await db.execute_many("INSERT INTO t VALUES (?, ?)", ((n, f"b{n}") for n in range(5_000)))
            await scenario(db)

    anyio.run(main, **LOOPS[loop])


async def test_a_task_that_is_collected_leaves_none_asleep(db: DB) -> None:
    """The loop has asked to be woken for the first of those that sleep, and that one is gone."""
    await db.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT)")
    await db.execute_many("INSERT INTO t VALUES (?, ?)", ((n, f"b{n}") for n in range(5_000)))
    gone = db.query_value(CROSS_JOIN).__await__()
    waits_for = gone.send(None)  # As a task does.
    while waits_for is None:
        waits_for = gone.send(None)
    asleep = asyncio.create_task(db.query_value("SELECT 5"))
    await asyncio.sleep(0.1)
    gone.close()
    async with asyncio.timeout(20):
        assert await asleep == 5


async def test_what_an_interrupt_came_for_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    loop, ran = loops.running(), list[int]()

    def due() -> None:
        ran.append(1)

    with monkeypatch.context() as patch:
        patch.setattr(asyncio.get_running_loop(), "call_soon", lambda *_: None)
        loop.at_end_of_turn(due)
    while not ran:
        loop.at_end_of_turn(due)
        loop.at_end_of_turn(due)
        await asyncio.sleep(0)
    assert len(ran) == 1
