"""All rows of a table: at once, as structs, and one by one."""

from __future__ import annotations

import functools
import itertools
import time
from collections.abc import Mapping

from benchmarks import table
from benchmarks.peer import Peer
from benchmarks.peers import PEERS
from benchmarks.peers.aiosqlite import AS_IT_COMES
from benchmarks.plan import Plan
from benchmarks.race import field
from benchmarks.report import Line, Section, Unit

ALL = "SELECT * FROM t"


async def fetch(peer: Peer) -> Mapping[str, float]:
    """Seconds for all rows, in each form."""
    moments = [time.perf_counter()]
    found = len(await peer.rows(ALL))
    moments.append(time.perf_counter())
    found += len(await peer.structs(ALL, table.Item))
    moments.append(time.perf_counter())
    async for _ in peer.stream(ALL):
        found += 1
    moments.append(time.perf_counter())
    if found != 3 * table.ROWS:
        raise RuntimeError(f"{found} rows came, not {3 * table.ROWS}")
    names = ("all rows", "all rows as msgspec.Struct", "async for")
    return {name: after - before for name, (before, after) in zip(names, itertools.pairwise(moments), strict=True)}


async def measure(plan: Plan, loop: str) -> list[Line]:
    """All lines on one event loop."""
    async with field([*PEERS, AS_IT_COMES]) as found:
        await table.fill(found)
        return await found.race(fetch, plan.rounds, Unit.SECONDS, loop)


def run(plan: Plan) -> Section:
    """Makes the section."""
    return Section(
        "fetch",
        f"Fetching {table.ROWS:,} rows",
        f"`{ALL}`, four columns: as a list of the driver's own rows, as structs (by `into=`, or from the driver's "
        "rows), and by `async for`. stoolap-python has no cursor: what it iterates over has come at once. aiosqlite's "
        "rows come in chunks of 1,024, and of 64 as it comes.",
        [line for loop in plan.loops for line in plan.on(loop, functools.partial(measure, plan, loop))],
    )
