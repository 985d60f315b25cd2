"""Cancels calls at random moments, on all event loops: `./dev python -m tests.cancellations --count 100000`.

After each cancellation the next statement is right, and what was written is there as a whole or not at all. In the end
nothing is left over: no handle of the engine, no thread, no call, no future. `tests/test_cancellation.py` runs a few.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import random
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import anyio
import anyio.lowlevel

import aiostoolap
from aiostoolap import DB, Engine
from aiostoolap.core.call import Call
from aiostoolap.core.exchange import Exchange

LOOPS: dict[str, dict[str, Any]] = {
    "asyncio": {"backend": "asyncio"},
    "uvloop": {"backend": "asyncio", "backend_options": {"use_uvloop": True}},
    "trio": {"backend": "trio"},
}
POINTS = ("queued", "running", "result on its way", "in __aexit__")
CLIENTS = 6
ROWS = 300
"""So many rows are two requests of `execute_many`."""
STALL = 600.0
"""Seconds after which a call counts as lost: more than a machine, or its tests, are made to stand still."""


@dataclass
class Victim:
    """A task that is to be cancelled, and whose rows have this number."""

    number: int
    ready: bool = False
    """What comes now is to be cancelled."""
    leaving: bool = False
    """It leaves an `async with`."""
    point: str | None = None
    """Where its call was."""
    ended: bool = False
    done: bool = False
    """It ended before it could be cancelled."""


victim_here: ContextVar[Victim] = ContextVar("victim_here")


# What is cancelled.


async def read(db: DB, victim: Victim) -> None:
    victim.ready = True
    assert await db.query_value("SELECT $1", (victim.number,)) == victim.number


async def compute(db: DB, victim: Victim) -> None:
    victim.ready = True
    await db.query_value("SELECT COUNT(*) FROM numbers a, numbers b WHERE a.n * b.n < $1", (victim.number,))


async def write(db: DB, victim: Victim) -> None:
    victim.ready = True
    await db.execute("INSERT INTO t SELECT $1, n FROM numbers", (victim.number,))


async def write_many(db: DB, victim: Victim) -> None:
    victim.ready = True
    await db.execute_many("INSERT INTO t VALUES (?, ?)", ((victim.number, n) for n in range(ROWS)))


async def write_in_steps(db: DB, victim: Victim) -> None:
    victim.ready = True
    async with db.transaction() as tx:
        for some in ("n < 100", "n >= 200", "n >= 100 AND n < 200"):
            await tx.execute(f"INSERT INTO t SELECT $1, n FROM numbers WHERE {some}", (victim.number,))


async def stream(db: DB, victim: Victim) -> None:
    victim.ready = True
    async for _ in db.query("SELECT a.n, b.n FROM numbers a JOIN numbers b ON a.n < b.n LIMIT 20000"):
        pass


async def leave_a_cursor(db: DB, victim: Victim) -> None:
    async with db.query("SELECT a.n, 'a text that has some length' FROM numbers a JOIN numbers b ON b.n < 9") as rows:
        assert await rows.fetchone() is not None
        victim.ready = victim.leaving = True


async def leave_a_transaction(db: DB, victim: Victim) -> None:
    async with db.transaction() as tx:
        async with tx.savepoint():
            await tx.execute("INSERT INTO t SELECT $1, n FROM numbers", (victim.number,))
            victim.ready = victim.leaving = victim.number % 2 == 0
        victim.ready = victim.leaving = True


async def leave_a_statement(db: DB, victim: Victim) -> None:
    async with await db.prepare("SELECT n FROM numbers WHERE n = $1") as statement:
        assert await statement.query_value((7,)) == 7
        victim.ready = victim.leaving = True


async def leave_a_connection(db: DB, victim: Victim) -> None:
    victim.ready = victim.number % 2 == 0
    async with await db.clone() as other:
        assert await other.query_value("SELECT $1", (victim.number,)) == victim.number
        victim.ready = victim.leaving = True


WRITES = (write, write_many, write_in_steps, leave_a_transaction)
ACTIONS = (*WRITES, read, compute, stream, leave_a_cursor, leave_a_statement, leave_a_connection)


# How.


@contextlib.contextmanager
def witness() -> Iterator[None]:
    """Notes where calls are when their tasks are cancelled."""
    withdraw = Exchange.withdraw

    def noted(exchange: Exchange, call: Call) -> bool:
        done = call.is_done()
        withdrawn = withdraw(exchange, call)
        victim = victim_here.get(None)
        if victim is not None and victim.point is None:
            point = "queued" if withdrawn else "result on its way" if done else "running"
            victim.point = "in __aexit__" if victim.leaving else point
        return withdrawn

    Exchange.withdraw = noted  # type: ignore[method-assign, assignment]  # to look on
    try:
        yield
    finally:
        Exchange.withdraw = withdraw  # type: ignore[method-assign]  # as it was


async def cancel(
    db: DB, victim: Victim, action: Callable[[DB, Victim], Awaitable[None]], rng: random.Random, native: bool
) -> None:
    """Runs an action and cancels it at some moment: natively, or by a scope of anyio."""
    turns = rng.choice((0, 1, 2, 3, rng.randrange(40)))
    seconds = rng.choice((0, 0, rng.random() * 0.004, rng.random() * 0.02))
    # While the loop is kept from its work, results come that no task has seen.
    blocked = rng.choice((0, 0, 0, rng.random() * 0.004))

    async def act() -> None:
        victim_here.set(victim)
        try:
            await action(db, victim)
            victim.done = True
        finally:
            victim.ended = True

    async def moment() -> None:
        while not (victim.ready or victim.ended):
            await anyio.lowlevel.checkpoint()
        for _ in range(turns):
            await anyio.lowlevel.checkpoint()
        if seconds:
            await anyio.sleep(seconds)
        if blocked:
            time.sleep(blocked)

    if native:
        task = asyncio.ensure_future(act())
        await moment()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    else:
        async with anyio.create_task_group() as group:
            group.start_soon(act)
            await moment()
            group.cancel_scope.cancel()


async def client(db: DB, tally: Counter[str], numbers: list[int], rng: random.Random, natively: bool) -> None:
    """Cancels one action after another, each with its number, until none are left."""
    while numbers:
        victim, action = Victim(numbers.pop()), rng.choice(ACTIONS)
        with anyio.fail_after(STALL):
            await cancel(db, victim, action, rng, natively and rng.random() < 0.5)
            tally["done before" if victim.done else victim.point or "between two calls"] += 1
            assert await db.query_value("SELECT $1 + 1", (victim.number,)) == victim.number + 1, "a wrong reply"
            if action in WRITES:
                there = await db.query_value("SELECT COUNT(*) FROM t WHERE victim = $1", (victim.number,))
                assert there == ROWS or (there == 0 and not victim.done), f"{there} of {ROWS} rows by {action.__name__}"
                assert await db.execute("DELETE FROM t WHERE victim = $1", (victim.number,)) == there


def left_over() -> Counter[str]:
    """What there is of what a call makes on the side of the host."""
    gc.collect()
    kinds = (Call, aiostoolap.Tx, aiostoolap.Rows, aiostoolap.Statement, aiostoolap.DB, asyncio.Future)
    return Counter(type(item).__name__ for item in gc.get_objects() if isinstance(item, kinds))


async def run(count: int, seed: int, natively: bool) -> Counter[str]:
    """Cancels so many calls on the loop that runs; how many were where.

    Raises:
        AssertionError: something was wrong, or left over.
        TimeoutError: a call stalled.
    """
    tally: Counter[str] = Counter()
    numbers = list(range(count))
    async with Engine() as engine, await engine.open_memory() as db:
        await db.execute("CREATE TABLE numbers (n INTEGER PRIMARY KEY)")
        await db.execute_many("INSERT INTO numbers VALUES ($1)", ((n,) for n in range(ROWS)))
        await db.execute_script("CREATE TABLE t (victim INTEGER, n INTEGER); CREATE INDEX by_victim ON t (victim)")
        before = left_over()
        with witness():
            async with anyio.create_task_group() as group:
                for number in range(CLIENTS):
                    group.start_soon(client, db, tally, numbers, random.Random(f"{seed} {number}"), natively)
        deadline = time.monotonic() + STALL
        while more := left_over() - before:  # The thread takes what tasks have given up, when it comes to it.
            assert time.monotonic() < deadline, f"left over: {more}"
            await anyio.sleep(0.01)
        stats = await engine.stats()
        assert (stats.queued, stats.connections) == (0, 1), stats
        assert (stats.transactions, stats.statements, stats.cursors) == (0, 0, 0), stats
        assert await db.query_value("SELECT COUNT(*) FROM t") == 0
    return tally


def threads() -> int:
    return sum(thread.name == "aiostoolap" for thread in threading.enumerate())


def cancellations(loop: str, count: int, seed: int = 1) -> Counter[str]:
    """Cancels so many calls on a loop of that kind; how many were where, after all threads have ended."""
    before = threads()
    tally: Counter[str] = anyio.run(run, count, seed, loop != "trio", **LOOPS[loop])
    deadline = time.monotonic() + STALL
    while threads() > before:
        assert time.monotonic() < deadline, f"threads are left: {threading.enumerate()}"
        time.sleep(0.01)
    return tally


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=100_000, help="on all loops together")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    for loop in LOOPS:
        begun = time.perf_counter()
        tally = cancellations(loop, given.count // len(LOOPS), given.seed)
        seconds = time.perf_counter() - begun
        print(
            f"{loop}: {', '.join(f'{n} {what}' for what, n in tally.most_common())}; in {seconds:.0f} s, nothing left"
        )


if __name__ == "__main__":
    main()
