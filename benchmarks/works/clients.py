"""Point queries by more and more clients."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Mapping

from benchmarks import table
from benchmarks.peer import Peer
from benchmarks.peers import PEERS
from benchmarks.plan import Plan
from benchmarks.race import field
from benchmarks.report import Line, Section, Unit
from benchmarks.works.gather import client

CLIENTS = (1, 10, 100, 1_000, 10_000)
ROWS = 10_000


async def serve(peer: Peer, clients: int, queries: int) -> Mapping[str, float]:
    """Queries per second for so many clients."""
    each = max(1, queries // clients)
    begun = time.perf_counter()
    await asyncio.gather(*(client(peer, number % (ROWS // each), each) for number in range(clients)))
    return {"point queries": clients * each / (time.perf_counter() - begun)}


async def measure(plan: Plan) -> list[Line]:
    """A line for each number of clients."""
    lines = []
    async with field([kind for kind in PEERS if kind.waits]) as found:
        await table.fill(found, ROWS)
        for clients in CLIENTS if not plan.quick else CLIENTS[:4]:
            turn = functools.partial(serve, clients=clients, queries=plan.size(2_000, 1_000))
            lines += await found.race(turn, min(plan.rounds, 3), Unit.RATE, at=clients)
    return lines


def run(plan: Plan) -> Section:
    """Makes the section."""
    return Section(
        "clients",
        "Scaling: clients",
        f"Point queries on {ROWS:,} rows by so many tasks at once, each awaiting one after another; queries per second "
        "of all.",
        plan.on("asyncio", functools.partial(measure, plan)),
        axis="clients",
    )
