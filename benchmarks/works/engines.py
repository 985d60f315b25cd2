"""More and more databases side by side."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack

from benchmarks import table
from benchmarks.peer import Kind, Peer, plain
from benchmarks.peers import PEERS
from benchmarks.plan import Plan
from benchmarks.race import race
from benchmarks.report import OURS, Line, Section, Unit

ENGINES = (1, 2, 4, 8, 16, 32, 64)
SHORT, LONG = 5_000, 100_000
"""How many rows queries go through: of the short ones a third is the way to the engine and back."""


async def aggregate(kind: Kind, engines: int, rows: int, queries: int) -> Mapping[str, float]:
    """Queries per second, of all engines."""
    content = table.rows(rows)

    async def ask(peer: Peer) -> None:
        for _ in range(max(1, queries // engines)):
            await peer.rows(table.GROUP)

    async with AsyncExitStack() as stack:
        peers = [await stack.enter_async_context(kind.open(None)) for _ in range(engines)]
        for peer in peers:
            await peer.execute(table.CREATE)
            await peer.load("t", content)
            (count,) = await peer.rows("SELECT COUNT(*) FROM t")
            if plain(count) != (rows,):
                raise RuntimeError(f"{count} rows are there, not {rows}: the databases are not separate")
        begun = time.perf_counter()
        await asyncio.gather(*map(ask, peers))
        return {_name(rows): engines * max(1, queries // engines) / (time.perf_counter() - begun)}


def _name(rows: int) -> str:
    return f"groups of {rows:,} rows"


async def measure(plan: Plan) -> list[Line]:
    """A line for each number of engines."""
    kinds = [kind for kind in PEERS if kind.waits]
    out = {kind.name: "not installed" for kind in kinds if kind.version is None}
    lines = []
    sizes = [(SHORT, engines) for engines in (ENGINES if not plan.quick else ENGINES[:2])]
    for rows, engines in [*sizes, (LONG, 1), (LONG, 2)]:
        queries = plan.size(1_024, 128) if rows == SHORT else plan.size(256, 32)
        turns = {
            kind.name: functools.partial(aggregate, kind, engines, rows, queries)
            for kind in kinds
            if kind.name not in out
        }
        lines += await race(turns, min(plan.rounds, 3), Unit.RATE, notes=out, warm=False, at=engines)
    return lines


def remarks(lines: Sequence[Line]) -> list[str]:
    """What a second core brings."""
    rates = {(line.name, line.at): line.spread(OURS).median for line in lines if OURS in line.figures}
    return [
        f"aiostoolap, {name}: two engines do {rates[name, 2] / rates[name, 1]:.2f} times what one does."
        for name in dict.fromkeys(name for name, _ in rates)
        if {(name, 1), (name, 2)} <= set(rates)
    ]


def run(plan: Plan) -> Section:
    """Makes the section."""
    lines = plan.on("asyncio", functools.partial(measure, plan))
    return Section(
        "engines",
        "Scaling: engines",
        f"So many databases in memory, each with {SHORT:,} or {LONG:,} rows and one task that asks `{table.GROUP}` one "
        "after another; queries per second of all. aiostoolap's databases have an engine and a thread each.",
        lines,
        remarks(lines),
        axis="engines",
    )
