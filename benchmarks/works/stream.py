"""A stream of ten million rows, and the memory that it takes."""

from __future__ import annotations

import asyncio
import functools
import multiprocessing
import time
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor

from benchmarks.machine import resident
from benchmarks.peers import PEERS
from benchmarks.plan import Plan
from benchmarks.race import race
from benchmarks.report import Line, Section, Unit

CROSS = "SELECT a.n AS a, b.n AS b FROM k a CROSS JOIN k b"
TIME = "each row"
MEMORY = "memory that it adds"


async def stream(number: int, side: int) -> Mapping[str, float]:
    """Seconds for a row, and how much the process grew meanwhile."""
    async with PEERS[number].open(None) as peer:
        await peer.execute("CREATE TABLE k (n INTEGER PRIMARY KEY)")
        await peer.load("k", [(n,) for n in range(side)])
        before = most = resident()
        count = 0
        begun = time.perf_counter()
        async for _ in peer.stream(CROSS):
            count += 1
            if count % 100_000 == 1:
                most = max(most, resident())
        seconds = time.perf_counter() - begun
    if count != side * side:
        raise RuntimeError(f"{count} rows came, not {side * side}")
    return {TIME: seconds / count, MEMORY: float(most - before)}


def in_process(number: int, side: int) -> Mapping[str, float]:
    """Streams with one of the peers; what a new process calls."""
    return asyncio.run(stream(number, side))


async def apart(number: int, side: int) -> Mapping[str, float]:
    """Streams in a process of its own, whose memory nobody else has used."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return await asyncio.get_running_loop().run_in_executor(pool, in_process, number, side)


async def measure(plan: Plan, side: int) -> list[Line]:
    """Both lines."""
    out = {kind.name: "not installed" for kind in PEERS if kind.version is None}
    turns = {kind.name: functools.partial(apart, n, side) for n, kind in enumerate(PEERS) if kind.name not in out}
    units = {TIME: Unit.SECONDS, MEMORY: Unit.BYTES}
    return await race(turns, 1, units, notes=out, warm=False)


def run(plan: Plan) -> Section:
    """Makes the section."""
    side = plan.size(3_163, 1_000)
    return Section(
        "stream",
        "Scaling: a stream",
        f"`{CROSS}` with {side:,} rows in `k`, by `async for`: {side * side:,} rows, in a new process. Most memory "
        "while it streams, less that before. stoolap-python has no cursor.",
        plan.on("asyncio", functools.partial(measure, plan, side)),
    )
