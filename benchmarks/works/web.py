"""A web service: FastAPI on uvicorn, one process."""

from __future__ import annotations

import asyncio
import functools
import gc
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

from benchmarks.load import load
from benchmarks.plan import Plan
from benchmarks.race import Turn, excused, race
from benchmarks.report import Line, Section, Unit
from benchmarks.service import DRIVERS, ROWS

CONNECTIONS = 32
FEWER = 5_000
"""The other threshold of collections: so many new objects more than have gone set one off. Python's is 700 to 2,000."""


@asynccontextmanager
async def service(driver: str, loop: str, threshold: int) -> AsyncIterator[int]:
    """A process that serves; its port."""
    command = [sys.executable, "-m", "benchmarks.service", driver, loop, str(threshold)]
    pipe = subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, stderr=pipe)
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        if not (port := await process.stdout.readline()):
            errors = (await process.stderr.read()).decode().strip().splitlines()
            raise RuntimeError(errors[-1] if errors else "the service did not start")
        yield int(port)
    finally:
        process.stdin.close()
        await process.wait()


async def answer(name: str, port: int, seconds: float) -> Mapping[str, float]:
    """Requests per second."""
    return {name: await load(port, CONNECTIONS, seconds, ROWS)}


async def measure(plan: Plan, loop: str, threshold: int) -> list[Line]:
    """The line of one event loop of the service, and one threshold."""
    name = f"{CONNECTIONS} connections" + (", fewer collections" if threshold == FEWER else "")
    turns: dict[str, Turn] = {}
    out: dict[str, str] = {}
    async with AsyncExitStack() as stack:
        for driver in DRIVERS:
            with excused(driver, out):
                port = await stack.enter_async_context(service(driver, loop, threshold))
                turns[driver] = functools.partial(answer, name, port, plan.size(3, 1) / 2)
        return await race(turns, plan.rounds, Unit.RATE, loop, out)


def run(plan: Plan) -> Section:
    """Makes the section."""
    return Section(
        "web",
        "A web service",
        "One endpoint of FastAPI on uvicorn, in one process, that makes three point queries one after another and "
        f"answers with the rows as JSON; requests per second over {CONNECTIONS} connections that stay open. The client "
        "is another process on the same machine, so that they share its cores. The loop is the service's. SQLAlchemy "
        "is used by its Core, with a connection from its pool for each request, on a file. `no database` takes the "
        "rows from a list: no driver can be faster than that. Fewer collections: with `gc.set_threshold("
        f"{FEWER})`, since the objects of ten requests that wait at the same time are enough to set off a collection "
        "of garbage otherwise, again and again.",
        [
            line
            for loop in plan.loops
            for threshold in (gc.get_threshold()[0], FEWER)
            for line in plan.on("asyncio", functools.partial(measure, plan, loop, threshold))
        ],
    )
