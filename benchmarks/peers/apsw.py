"""apsw, in its asynchronous mode: SQLite on a thread, without the standard library's module."""

from __future__ import annotations

import importlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from benchmarks.peer import Kind, marks

T = TypeVar("T")


class Apsw:
    """A connection, which is in autocommit mode outside `async with`."""

    def __init__(self, db: Any) -> None:
        self._db = db

    async def execute(self, sql: str, parameters: Sequence[Any] = ()) -> None:
        await self._db.execute(sql, parameters)

    async def load(self, table: str, rows: Sequence[Sequence[Any]]) -> None:
        async with self._db:
            await self._db.executemany(f"INSERT INTO {table} VALUES ({marks(rows[0])})", rows)

    async def one(self, sql: str, parameters: Sequence[Any] = ()) -> Any:
        cursor = await self._db.execute(sql, parameters)
        return await cursor.fetchone()

    async def rows(self, sql: str) -> Sequence[Any]:
        cursor = await self._db.execute(sql)
        found: Sequence[Any] = await cursor.fetchall()
        return found

    async def structs(self, sql: str, into: type[T]) -> list[T]:
        return [into(*row) for row in await self.rows(sql)]

    async def stream(self, sql: str) -> AsyncIterator[Any]:
        async for row in await self._db.execute(sql):
            yield row


@asynccontextmanager
async def opened(folder: Path | None) -> AsyncIterator[Apsw]:
    apsw = importlib.import_module("apsw")
    controller = importlib.import_module("apsw.aio").AsyncIO
    target = ":memory:" if folder is None else str(folder / "database")
    chosen = apsw.async_controller.set(controller)
    prefetch = apsw.async_cursor_prefetch.set(1024)
    try:
        db = await apsw.Connection.as_async(target)
        try:
            if folder is not None:
                await db.execute("PRAGMA journal_mode = WAL")
                await db.execute("PRAGMA synchronous = FULL")
            yield Apsw(db)
        finally:
            await db.aclose()
    finally:
        apsw.async_cursor_prefetch.reset(prefetch)
        apsw.async_controller.reset(chosen)


KIND = Kind(
    "apsw",
    "apsw.aio",
    "apsw",
    opened,
    "`Connection.as_async`, 1,024 rows prefetched; files with WAL and `synchronous = FULL`",
)
