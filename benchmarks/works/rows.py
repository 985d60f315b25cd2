"""Tables of more and more rows."""

from __future__ import annotations

import functools
import itertools
import time
from collections.abc import Mapping

from benchmarks import table
from benchmarks.peer import Kind
from benchmarks.peers import AIOSTOOLAP, NATIVE, PEERS
from benchmarks.plan import Plan
from benchmarks.race import race
from benchmarks.report import Line, Section, Unit

SIZES = (1_000, 10_000, 100_000, 1_000_000, 10_000_000)
KINDS = tuple(kind for kind in PEERS if kind in (AIOSTOOLAP, NATIVE) or kind.name == "aiosqlite")
POINTS = 500


async def grow(kind: Kind, content: list[tuple[int, str, int, float]]) -> Mapping[str, float]:
    """Seconds for a row, or for a point query, with a table of these rows."""
    size = len(content)
    async with kind.open(None) as peer:
        await peer.execute(table.CREATE)
        moments = [time.perf_counter()]
        await peer.load("t", content)
        moments.append(time.perf_counter())
        for n in range(POINTS):
            await peer.one(table.POINT, (n * 7919 % size,))
        moments.append(time.perf_counter())
        groups = await peer.rows(table.GROUP)
        moments.append(time.perf_counter())
        found = await peer.rows("SELECT * FROM t")
        moments.append(time.perf_counter())
        if len(found) != size or len(groups) != min(80, size):
            raise RuntimeError(f"{len(found)} rows came, not {size}")
    insert, point, group, fetch = (after - before for before, after in itertools.pairwise(moments))
    return {
        "insert, each row": insert / size,
        "point query": point / POINTS,
        "group, each row": group / size,
        "fetch, each row": fetch / size,
    }


async def measure(plan: Plan) -> tuple[list[Line], list[str]]:
    """Lines for each size, as long as there is time for the next."""
    out = {kind.name: "not installed" for kind in KINDS if kind.version is None}
    lines: list[Line] = []
    remarks = []
    spent = 0.0
    for size in SIZES:
        if 10 * spent > plan.size(150, 5):
            remarks.append(f"{size:,} rows were left out: {size // 10:,} rows took {spent:.0f} s.")
            break
        begun = time.perf_counter()
        content = table.rows(size)
        turns = {kind.name: functools.partial(grow, kind, content) for kind in KINDS if kind.name not in out}
        rounds = 3 if size <= 100_000 else 1
        lines += await race(turns, rounds, Unit.SECONDS, notes=out, warm=size <= 100_000, at=size)
        spent = (time.perf_counter() - begun) / (rounds if rounds == 1 else rounds + 1)
    return sorted(lines, key=lambda line: line.name), remarks


def run(plan: Plan) -> Section:
    """Makes the section."""
    lines, remarks = plan.on("asyncio", functools.partial(measure, plan))
    return Section(
        "rows",
        "Scaling: rows",
        "The same works on tables of so many rows: the time for each row that is inserted, fetched or grouped, and for "
        f"a point query. Above 100,000 rows there is one round. At most {SIZES[-1]:,} rows, as far as time allows.",
        lines,
        remarks,
        axis="rows",
    )
