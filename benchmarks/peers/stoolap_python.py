"""stoolap-python's AsyncDatabase: the native engine, each call on a thread of asyncio's pool."""

from __future__ import annotations

import importlib
import itertools
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from benchmarks.peer import Kind, marks

T = TypeVar("T")


class WholeResults(ABC):
    """What either interface has: no cursor, and no rows but tuples."""

    @abstractmethod
    async def rows(self, sql: str) -> Sequence[Any]:
        """All rows."""

    async def structs(self, sql: str, into: type[T]) -> list[T]:
        return [into(*row) for row in await self.rows(sql)]

    async def stream(self, sql: str) -> AsyncIterator[Any]:
        for row in await self.rows(sql):
            yield row


class AsyncNative(WholeResults):
    """An `AsyncDatabase`."""

    def __init__(self, db: Any) -> None:
        self._db = db
        self.one = db.query_one

    async def execute(self, sql: str, parameters: Sequence[Any] = ()) -> None:
        await self._db.execute(sql, list(parameters))

    async def load(self, table: str, rows: Sequence[Sequence[Any]]) -> None:
        await self._db.execute_batch(f"INSERT INTO {table} VALUES ({marks(rows[0])})", rows)

    async def rows(self, sql: str) -> Sequence[Any]:
        # Faster than query(), which makes dicts.
        found: Sequence[Any] = (await self._db.query_raw(sql))["rows"]
        return found


_numbers = itertools.count()


def dsn(folder: Path | None) -> str:
    """The name of the database; those in memory that have the same are one."""
    return f"memory://benchmark{next(_numbers)}" if folder is None else f"file://{folder / 'database'}?sync_mode=full"


@asynccontextmanager
async def opened(folder: Path | None) -> AsyncIterator[AsyncNative]:
    db = await importlib.import_module("stoolap").AsyncDatabase.open(dsn(folder))
    try:
        yield AsyncNative(db)
    finally:
        await db.close()


KIND = Kind(
    "stoolap-python",
    "stoolap",
    "stoolap-python",
    opened,
    "`AsyncDatabase`: `query_one`, `query_raw`, `execute_batch`; files with `sync_mode=full`",
)
