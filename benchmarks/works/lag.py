"""How long the event loop is kept waiting while the engine works."""

from __future__ import annotations

import asyncio
import functools
import statistics
import time
from collections.abc import Mapping

from benchmarks import table
from benchmarks.peer import Peer
from benchmarks.peers import PEERS
from benchmarks.plan import Plan
from benchmarks.race import field
from benchmarks.report import Line, Section, Unit

NAP = 0.001
HEAVY = "SELECT a.age, COUNT(*), SUM(b.score) FROM t a JOIN t b ON b.age = a.age WHERE a.id < 800 GROUP BY a.age"
BIG = "SELECT * FROM t"


async def overshoots(stop: asyncio.Event) -> list[float]:
    """By how much each short sleep was too long, until the event."""
    found = []
    while not stop.is_set():
        begun = time.perf_counter()
        await asyncio.sleep(NAP)
        found.append(time.perf_counter() - begun - NAP)
    return found


async def lag(peer: Peer | None, repeats: int) -> Mapping[str, float]:
    """The lag while a peer does heavy work, or while nobody does."""
    stop = asyncio.Event()
    watch = asyncio.create_task(overshoots(stop))
    if peer is None:
        await asyncio.sleep(repeats / 4)
    else:
        for _ in range(repeats):
            await peer.rows(HEAVY)
            await peer.rows(BIG)
    stop.set()
    found = await watch
    percentiles = statistics.quantiles(found, n=100, method="inclusive")
    return {"p50": percentiles[49], "p99": percentiles[98], "max": max(found)}


async def measure(plan: Plan, loop: str) -> list[Line]:
    """All lines on one event loop."""
    async with field([kind for kind in PEERS if kind.waits]) as found:
        await table.fill(found)
        turn = functools.partial(lag, repeats=plan.size(3, 1))
        return await found.race(turn, plan.rounds, Unit.SECONDS, loop, beside={"loop alone": None})


def run(plan: Plan) -> Section:
    """Makes the section."""
    return Section(
        "lag",
        "The event loop's lag under load",
        f"A task sleeps {NAP * 1e3:.0f} ms again and again and notes by how much it was too long, while another has "
        f"the driver join, aggregate, and fetch {table.ROWS:,} rows. `loop alone`: nobody works.",
        [line for loop in plan.loops for line in plan.on(loop, functools.partial(measure, plan, loop))],
    )
