"""A web service over the table, on one of the drivers: `python -m benchmarks.service DRIVER LOOP THRESHOLD`.

The threshold is that of Python's collections of garbage. It prints its port, and serves until its standard input is
closed.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from benchmarks import table
from benchmarks.peer import plain
from benchmarks.peers import PEERS

Lookup = Callable[[list[int]], Awaitable[list[dict[str, Any]]]]
"""Finds rows by their numbers, with a query for each."""

ROWS = 10_000
POOL = 10
COLUMNS = table.Item.__struct_fields__
SQLALCHEMY = "SQLAlchemy, aiosqlite"
NOTHING = "no database"
DRIVERS = ("aiostoolap", "aiosqlite", "apsw", "stoolap-python", SQLALCHEMY, NOTHING)


@asynccontextmanager
async def from_a_list() -> AsyncIterator[Lookup]:
    """What the service takes by itself: its rows are in a list."""
    rows = [dict(zip(COLUMNS, row, strict=True)) for row in table.rows(ROWS)]

    async def find(numbers: list[int]) -> list[dict[str, Any]]:
        return [rows[number] for number in numbers]

    yield find


@asynccontextmanager
async def plainly(name: str) -> AsyncIterator[Lookup]:
    """The driver by itself, with a database in memory."""
    kind = next(kind for kind in PEERS if kind.name == name)
    async with kind.open(None) as peer:
        await peer.execute(table.CREATE)
        await peer.load("t", table.rows(ROWS))

        async def find(numbers: list[int]) -> list[dict[str, Any]]:
            return [
                dict(zip(COLUMNS, plain(await peer.one(table.POINT, (number,))), strict=True)) for number in numbers
            ]

        yield find


@asynccontextmanager
async def by_sqlalchemy() -> AsyncIterator[Lookup]:
    """SQLAlchemy's Core on aiosqlite: a connection from its pool for each request. Several can only share a file."""
    sqlalchemy = importlib.import_module("sqlalchemy")
    create_engine = importlib.import_module("sqlalchemy.ext.asyncio").create_async_engine
    with tempfile.TemporaryDirectory() as folder:
        engine = create_engine(f"sqlite+aiosqlite:///{Path(folder, 'database')}", pool_size=POOL, max_overflow=0)
        items = sqlalchemy.Table(
            "t",
            sqlalchemy.MetaData(),
            sqlalchemy.Column("id", sqlalchemy.Integer, primary_key=True),
            sqlalchemy.Column("name", sqlalchemy.Text),
            sqlalchemy.Column("age", sqlalchemy.Integer),
            sqlalchemy.Column("score", sqlalchemy.Float),
        )
        query = sqlalchemy.select(items).where(items.c.id == sqlalchemy.bindparam("number"))
        async with engine.begin() as connection:
            await connection.run_sync(items.metadata.create_all)
            await connection.execute(items.insert(), [dict(zip(COLUMNS, row, strict=True)) for row in table.rows(ROWS)])

        async def find(numbers: list[int]) -> list[dict[str, Any]]:
            async with engine.connect() as connection:
                found = [await connection.execute(query, {"number": number}) for number in numbers]
                return [dict(result.mappings().one()) for result in found]

        yield find
        await engine.dispose()


async def serve(name: str, loop: str) -> None:
    """Serves until the parent goes."""
    fastapi = importlib.import_module("fastapi")
    uvicorn = importlib.import_module("uvicorn")
    opened = by_sqlalchemy() if name == SQLALCHEMY else from_a_list() if name == NOTHING else plainly(name)
    async with opened as find:
        app = fastapi.FastAPI()

        @app.get("/items/{number}")  # type: ignore[untyped-decorator]  # fastapi may be missing
        async def items(number: int) -> list[dict[str, Any]]:
            return await find([(number + step) % ROWS for step in range(3)])

        # asyncio turns Nagle's algorithm off only where the protocol is named.
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.bind(("127.0.0.1", 0))
        listener.listen(128)
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False, loop=loop))
        serving = asyncio.create_task(server.serve([listener]))
        print(listener.getsockname()[1], flush=True)
        await asyncio.to_thread(sys.stdin.read)
        server.should_exit = True
        await serving


if __name__ == "__main__":
    driver, chosen, threshold = sys.argv[1:]
    gc.set_threshold(int(threshold))
    factory = importlib.import_module("uvloop").new_event_loop if chosen == "uvloop" else None
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(serve(driver, chosen))
