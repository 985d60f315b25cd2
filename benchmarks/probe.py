"""A new process that uses one driver once: `python -m benchmarks.probe NAME` prints what that took as JSON."""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

from benchmarks.machine import resident

SELECT = "SELECT 1"


async def aiostoolap(module: Any) -> None:
    async with module.connect() as db:
        await db.query(SELECT)
        report()


async def aiosqlite(module: Any) -> None:
    async with module.connect(":memory:") as db:
        await db.execute_fetchall(SELECT)
        report()


async def apsw(module: Any) -> None:
    controller = importlib.import_module("apsw.aio").AsyncIO
    module.async_controller.set(controller)
    db = await module.Connection.as_async(":memory:")
    cursor = await db.execute(SELECT)
    await cursor.fetchone()
    report()
    await db.aclose()


async def stoolap(module: Any) -> None:
    db = await module.AsyncDatabase.open(":memory:")
    await db.query_raw(SELECT)
    report()
    await db.close()


async def duckdb(module: Any) -> None:
    db = await asyncio.to_thread(module.connect, ":memory:")
    await asyncio.to_thread(lambda: db.execute(SELECT).fetchall())
    report()
    db.close()


PROGRAMS: dict[str, tuple[str, Callable[[Any], Awaitable[None]]]] = {
    "aiostoolap": ("aiostoolap", aiostoolap),
    "aiosqlite": ("aiosqlite", aiosqlite),
    "apsw": ("apsw", apsw),
    "stoolap-python": ("stoolap", stoolap),
    "duckdb": ("duckdb", duckdb),
}
"""The modules of the drivers, and how each opens a database and gets a row."""

moments: list[float] = []
sizes: list[int] = []


def report() -> None:
    """Notes the moment and the memory."""
    moments.append(time.perf_counter())
    sizes.append(resident())


async def main(name: str) -> None:
    """Imports the driver, opens, gets a row, and prints what each step took."""
    module, program = PROGRAMS[name]
    report()
    imported = importlib.import_module(module)
    report()
    await program(imported)
    print(json.dumps({"moments": moments, "sizes": sizes}))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
