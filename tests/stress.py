"""Finds lost, doubled and swapped replies, and stalls: `./dev python -m tests.stress --requests 1000000`.

Event loops on threads of their own share one engine; their tasks mix short and long statements, writes, cursors and
cancellations at random moments, while pauses are put between the steps of both sides of the ring. `tests/test_ring.py`
runs a short one.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio

import aiostoolap
from aiostoolap.core.call import Call
from aiostoolap.core.exchange import Exchange
from aiostoolap.core.pace import Latency
from aiostoolap.core.ring import Ring
from aiostoolap.core.runtime import Runtime
from aiostoolap.core.watch import Watch

STALL = 600.0
"""Seconds after which a call counts as lost: more than a machine, or its tests, are made to stand still."""
LONG = "SELECT COUNT(*) FROM numbers a, numbers b WHERE a.n < b.n"


@dataclass
class Tally:
    """What the tasks know of what they did."""

    done: int = 0
    cancelled: int = 0
    inserted: set[int] = field(default_factory=set)
    perhaps: set[int] = field(default_factory=set)
    """Cancelled inserts: there or not."""


@contextmanager
def pauses(chance: float, rng: random.Random) -> Iterator[None]:
    """Delays steps of both sides now and then, to widen every window between them."""
    steps: list[tuple[type, str]] = [
        (Exchange, "expect"),
        (Exchange, "sleep"),
        (Exchange, "deliver"),
        (Exchange, "withdraw"),
        (Exchange, "abandon"),
        (Exchange, "settle"),
        (Call, "is_done"),
        (Ring, "release"),
        (Ring, "order"),
        (Runtime, "serve"),
        (Watch, "_ask"),
        (Watch, "_look"),
        (Watch, "_look_again"),
    ]

    def delayed(step: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **keywords: Any) -> Any:
            if rng.random() < chance:
                time.sleep(rng.random() * 1e-4)
            result = step(*args, **keywords)
            if rng.random() < chance:
                time.sleep(rng.random() * 1e-4)
            return result

        return run

    originals = [(owner, name, getattr(owner, name)) for owner, name in steps]
    for owner, name, step in originals:
        setattr(owner, name, delayed(step))
    try:
        yield
    finally:
        for owner, name, step in originals:
            setattr(owner, name, step)


async def client(db: aiostoolap.DB, tally: Tally, requests: int, rng: random.Random, ids: Iterator[int]) -> None:
    """One task's share of the work."""
    for _ in range(requests):
        kind = rng.random()
        with anyio.fail_after(STALL):
            if kind < 0.6:
                nonce = rng.getrandbits(60)
                row = await db.query_one("SELECT $1, $2", (nonce, str(nonce)))
                assert row == (nonce, str(nonce)), f"swapped: {row} for {nonce}"
            elif kind < 0.75:
                n = next(ids)
                assert await db.execute("INSERT INTO t VALUES ($1)", (n,)) == 1
                tally.inserted.add(n)
            elif kind < 0.85:
                n = next(ids)
                with anyio.move_on_after(rng.random() * 0.002) as scope:
                    await db.execute("INSERT INTO t VALUES ($1)", (n,))
                (tally.perhaps if scope.cancelled_caught else tally.inserted).add(n)
                tally.cancelled += scope.cancelled_caught
            elif kind < 0.88:
                with anyio.move_on_after(rng.random() * 0.01) as scope:
                    await db.query_value(LONG)
                tally.cancelled += scope.cancelled_caught
            elif kind < 0.9:
                try:
                    await db.query_value(LONG, timeout=0.001)
                except TimeoutError:
                    tally.cancelled += 1
            elif kind < 0.94:
                assert [row[0] async for row in db.query("SELECT n FROM numbers ORDER BY n LIMIT 50")] == list(
                    range(50)
                )
            elif kind < 0.97:
                text = "x" * rng.randrange(5_000)  # Some do not fit into a slot.
                assert await db.query_value("SELECT $1", (text,)) == text
            else:
                await anyio.sleep(rng.random() * 0.001)
        tally.done += 1


async def clients(db: aiostoolap.DB, tally: Tally, requests: int, tasks: int, seed: int, ids: Iterator[int]) -> None:
    """What runs on one event loop."""
    async with anyio.create_task_group() as group:
        for task in range(tasks):
            group.start_soon(client, db, tally, requests // tasks, random.Random(seed * 1_000 + task), ids)


def run(loop: str, work: Callable[[], Awaitable[None]]) -> None:
    options = {"use_uvloop": True} if loop == "uvloop" else {}
    anyio.run(work, backend="trio" if loop == "trio" else "asyncio", backend_options=options)


async def stress(requests: int, seed: int, *, chance: float = 0.01, latency: Latency = "balanced") -> list[Tally]:
    """Runs so many requests on three loops, and checks what is there at the end.

    Raises:
        AssertionError: something was lost, doubled or swapped.
        TimeoutError: a call stalled.
    """
    rng = random.Random(seed)
    tallies = [Tally() for _ in range(4)]
    failures: list[BaseException] = []
    async with await aiostoolap.Engine(latency=latency) as engine, await engine.open_memory() as db:
        await db.execute("CREATE TABLE numbers (n INTEGER PRIMARY KEY)")
        await db.execute_many("INSERT INTO numbers VALUES ($1)", ((n,) for n in range(3_000)))
        await db.execute("CREATE TABLE t (n INTEGER PRIMARY KEY)")

        def on_thread(loop: str, number: int) -> None:
            ids = iter(range(number, sys.maxsize, len(tallies)))
            try:
                run(loop, lambda: clients(db, tallies[number], requests // len(tallies), 8, seed + number, ids))
            except BaseException as error:
                failures.append(error)

        with pauses(chance, rng):
            threads = [
                threading.Thread(target=on_thread, args=(loop, number))
                for number, loop in enumerate(("asyncio", "uvloop", "trio", "asyncio"))
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                await asyncio.to_thread(thread.join)
        if failures:
            raise failures[0]
        there = await db.query("SELECT n FROM t", into=int)
        sure = set[int]().union(*(tally.inserted for tally in tallies))
        perhaps = set[int]().union(*(tally.perhaps for tally in tallies))
        assert len(there) == len(set(there)), "doubled"
        assert sure <= set(there) <= sure | perhaps, "lost"
        stats = await engine.stats()
        assert (stats.cursors, stats.transactions, stats.queued) == (0, 0, 0), stats
    return tallies


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--chance", type=float, default=0.01, help="of a pause at each step")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--latency", choices=("low", "balanced", "power"), default="balanced")
    given = parser.parse_args()
    begun = time.perf_counter()
    tallies = asyncio.run(stress(given.requests, given.seed, chance=given.chance, latency=given.latency))
    done, cancelled = sum(tally.done for tally in tallies), sum(tally.cancelled for tally in tallies)
    print(f"{done} requests, {cancelled} of them cancelled, in {time.perf_counter() - begun:.0f} s: nothing lost")


if __name__ == "__main__":
    main()
