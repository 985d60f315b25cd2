"""Point queries at once."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Mapping

from benchmarks import table
from benchmarks.peer import Asker
from benchmarks.peers import PEERS
from benchmarks.peers.loop import Loop
from benchmarks.plan import Plan
from benchmarks.race import field
from benchmarks.report import Line, Section, Unit

CLIENTS = 100


async def at_once(asker: Asker, count: int) -> Mapping[str, float]:
    """Seconds for a query when all are gathered, and when clients each ask one after another."""
    begun = time.perf_counter()
    await asyncio.gather(*(asker.one(table.POINT, (n * 7 % table.ROWS,)) for n in range(count)))
    gathered = time.perf_counter()
    await asyncio.gather(*(client(asker, number, count // CLIENTS) for number in range(CLIENTS)))
    return {
        f"{count:,} gathered": (gathered - begun) / count,
        f"{CLIENTS} clients": (time.perf_counter() - gathered) / count,
    }


async def client(asker: Asker, number: int, count: int) -> None:
    """Asks one after another."""
    for n in range(count):
        await asker.one(table.POINT, (number * count + n,))


async def measure(plan: Plan, loop: str) -> list[Line]:
    """All lines on one event loop."""
    async with field(PEERS) as found:
        await table.fill(found)
        turn = functools.partial(at_once, count=plan.size(5_000, 1_000))
        return await found.race(turn, plan.rounds, Unit.SECONDS, loop, beside={"loop alone": Loop()})


def run(plan: Plan) -> Section:
    """Makes the section."""
    return Section(
        "gather",
        "Point queries at once",
        f"The same query, many at once: in one `asyncio.gather`, or by {CLIENTS} clients that each await one after "
        "another. Time for one: all of it through the number of queries.",
        [line for loop in plan.loops for line in plan.on(loop, functools.partial(measure, plan, loop))],
    )
