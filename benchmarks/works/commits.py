"""Commits that are on the disk when they return."""

from __future__ import annotations

import asyncio
import functools
import tempfile
import time
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path

from benchmarks import table
from benchmarks.peer import Peer
from benchmarks.peers import PEERS
from benchmarks.plan import Plan
from benchmarks.race import field
from benchmarks.report import Line, Section, Unit

TASKS = 100
INSERT = "INSERT INTO t VALUES (?, 'name', 42, 0.5)"


async def commits(peer: Peer, numbers: Iterator[int], each: int) -> Mapping[str, float]:
    """Commits per second, of one task and of many."""

    async def task(inserts: int) -> None:
        for _ in range(inserts):
            await peer.execute(INSERT, (next(numbers),))

    begun = time.perf_counter()
    await task(10 * each)
    alone = time.perf_counter()
    await asyncio.gather(*(task(each) for _ in range(TASKS)))
    together = time.perf_counter() - alone
    return {"one task": 10 * each / (alone - begun), f"{TASKS} tasks": TASKS * each / together}


async def measure(plan: Plan, loop: str) -> list[Line]:
    """All lines on one event loop."""
    with tempfile.TemporaryDirectory() as folder:
        async with field(PEERS, Path(folder)) as found:
            await found.each(lambda peer: peer.execute(table.CREATE))
            turn = functools.partial(commits, numbers=count(), each=plan.size(10, 5))
            return await found.race(turn, plan.rounds, Unit.RATE, loop)


def run(plan: Plan) -> Section:
    """Makes the section."""
    return Section(
        "commits",
        "Durable commits",
        f"Single inserts into a database in files, each a transaction that is on the disk when it returns, by one task "
        f"and by {TASKS} tasks at once; commits per second. They depend on the disk most of all.",
        [line for loop in plan.loops for line in plan.on(loop, functools.partial(measure, plan, loop))],
    )
