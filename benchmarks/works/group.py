"""An aggregate over a table."""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping

from benchmarks import table
from benchmarks.peer import Peer
from benchmarks.peers import PEERS
from benchmarks.plan import Plan
from benchmarks.race import field
from benchmarks.report import Line, Section, Unit


async def group(peer: Peer) -> Mapping[str, float]:
    """Seconds for the groups."""
    begun = time.perf_counter()
    await peer.rows(table.GROUP)
    return {f"GROUP BY over {table.ROWS:,} rows": time.perf_counter() - begun}


async def measure(plan: Plan) -> list[Line]:
    """The line."""
    async with field(PEERS) as found:
        await table.fill(found)
        return await found.race(group, 2 * plan.rounds, Unit.SECONDS, "asyncio")


def run(plan: Plan) -> Section:
    """Makes the section."""
    return Section(
        "group",
        "Groups",
        f"`{table.GROUP}`: 80 groups of {table.ROWS:,} rows.",
        plan.on("asyncio", functools.partial(measure, plan)),
    )
