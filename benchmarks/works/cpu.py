"""What the processor does, while the engine works and while it idles."""

from __future__ import annotations

import asyncio
import functools
import inspect
import time
from collections.abc import Mapping

import aiostoolap
from benchmarks import table
from benchmarks.peer import Kind
from benchmarks.peers import PEERS
from benchmarks.peers.aiostoolap import kind as stoolap
from benchmarks.plan import Plan
from benchmarks.race import race
from benchmarks.report import Line, Section, Unit

LATENCIES = ("low", "balanced", "power")
IDLE = 2.0
ROWS = 1_000


async def spend(kind: Kind, queries: int) -> Mapping[str, float]:
    """Seconds of the processor, on all cores."""
    async with kind.open(None) as peer:
        await peer.execute(table.CREATE)
        await peer.load("t", table.rows(ROWS))
        used, begun = time.process_time(), time.perf_counter()
        for n in range(queries):
            await peer.one(table.POINT, (n % ROWS,))
        busy, wall = time.process_time(), time.perf_counter()
        await asyncio.sleep(IDLE)
        idle = time.process_time()
    return {
        "point query: time": (wall - begun) / queries,
        "point query: processor": (busy - used) / queries,
        f"idle for {IDLE:.0f} s: processor": idle - busy,
    }


async def measure(plan: Plan) -> list[Line]:
    """All lines."""
    kinds = [kind for kind in PEERS if kind.waits]
    if "latency" in inspect.signature(aiostoolap.connect).parameters:
        kinds[1:1] = [stoolap(f"aiostoolap, {latency}", latency=latency) for latency in LATENCIES]
    out = {kind.name: "not installed" for kind in kinds if kind.version is None}
    queries = plan.size(5_000, 2_000)
    turns = {kind.name: functools.partial(spend, kind, queries) for kind in kinds if kind.name not in out}
    return await race(turns, plan.size(3, 1), Unit.SECONDS, notes=out, warm=False)


def run(plan: Plan) -> Section:
    """Makes the section."""
    return Section(
        "cpu",
        "The processor",
        "Point queries one after another: how long each takes, and how long the cores work for it, in sum; then what a "
        f"database uses that is open but idle, {IDLE:.0f} s from the last query on. The driver's setting `latency` "
        "trades one for the other.",
        plan.on("asyncio", functools.partial(measure, plan)),
    )
