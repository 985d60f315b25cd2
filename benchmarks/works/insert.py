"""Many rows in one call."""

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


async def insert(peer: Peer, content: list[tuple[int, str, int, float]]) -> Mapping[str, float]:
    """Seconds for all rows, into a new table."""
    await peer.execute("DROP TABLE IF EXISTS t")
    await peer.execute(table.CREATE)
    begun = time.perf_counter()
    await peer.load("t", content)
    seconds = time.perf_counter() - begun
    (count,) = await peer.rows("SELECT COUNT(*) FROM t")
    if tuple(count) != (len(content),):
        raise RuntimeError(f"{count} rows are there, not {len(content)}")
    return {f"{len(content):,} rows in one call": seconds}


async def measure(plan: Plan) -> list[Line]:
    """The line."""
    content = table.rows()
    async with field(PEERS) as found:
        return await found.race(functools.partial(insert, content=content), plan.rounds, Unit.SECONDS, "asyncio")


def run(plan: Plan) -> Section:
    """Makes the section."""
    return Section(
        "insert",
        "Inserting many rows",
        f"{table.ROWS:,} rows of four columns into a table in memory, in one transaction, by the call that each driver "
        "has for it: `execute_many`, `executemany`, `execute_batch`.",
        plan.on("asyncio", functools.partial(measure, plan)),
    )
