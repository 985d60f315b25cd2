"""Point queries, awaited one after another."""

from __future__ import annotations

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

HANDLERS = (0, 1, 10, 50)
"""Microseconds of Python between two queries."""

ENOUGH = 200_000_000
"""Nanoseconds."""


async def one_after_another(asker: Asker, count: int) -> Mapping[str, float]:
    """Seconds for a query, with each handler between; the handler's own time does not count."""
    return {name(handler): await ask(asker, count, handler * 1_000) for handler in HANDLERS}


async def ask(asker: Asker, count: int, handler: int) -> float:
    """Seconds for a query; of the slow, fewer are asked."""
    spent = asked = 0
    for n in range(count):
        begun = time.perf_counter_ns()
        await asker.one(table.POINT, (n * 7 % table.ROWS,))
        ended = time.perf_counter_ns()
        spent += ended - begun
        asked += 1
        if spent > ENOUGH:
            break
        while time.perf_counter_ns() - ended < handler:
            pass
    return spent / asked / 1e9


def name(handler: int) -> str:
    """The name of a line."""
    return f"{handler} µs of Python between queries" if handler else "one after another"


async def measure(plan: Plan, loop: str) -> list[Line]:
    """All lines on one event loop."""
    async with field(PEERS) as found:
        await table.fill(found)
        turn = functools.partial(one_after_another, count=plan.size(2_000, 500))
        return await found.race(turn, plan.rounds, Unit.SECONDS, loop, beside={"loop alone": Loop()})


def run(plan: Plan) -> Section:
    """Makes the section."""
    return Section(
        "point",
        "Point queries, one after another",
        f"`{table.POINT}` on {table.ROWS:,} rows, awaited before the next is asked; time for one. Between two queries "
        "a handler keeps the loop's thread busy, whose own time is not counted. "
        "`loop alone` awaits a future that `call_soon` resolves: no driver can take less, unless it blocks.",
        [line for loop in plan.loops for line in plan.on(loop, functools.partial(measure, plan, loop))],
    )
