"""DuckDB, on the threads of asyncio's pool, each with a cursor of its own."""

from __future__ import annotations

import asyncio
import importlib
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from benchmarks.peer import Kind

T = TypeVar("T")
_CHUNK = 10_000


class Duck:
    """A connection."""

    def __init__(self, db: Any) -> None:
        self._db = db
        self._local = threading.local()

    def _cursor(self) -> Any:
        # A connection has one result at a time, so threads cannot share it.
        if not hasattr(self._local, "cursor"):
            self._local.cursor = self._db.cursor()
        return self._local.cursor

    async def execute(self, sql: str, parameters: Sequence[Any] = ()) -> None:
        sql = sql.replace(" FLOAT", " DOUBLE")  # Its FLOAT has 32 bits.
        await asyncio.to_thread(lambda: self._cursor().execute(sql, parameters))

    async def load(self, table: str, rows: Sequence[Sequence[Any]]) -> None:
        await asyncio.to_thread(self._load, table, rows)

    def _load(self, table: str, rows: Sequence[Sequence[Any]]) -> None:
        # Columns as lists: executemany() takes a hundred times as long.
        sql = f"INSERT INTO {table} SELECT {', '.join(['unnest(?)'] * len(rows[0]))}"
        cursor = self._cursor()
        cursor.begin()
        for start in range(0, len(rows), _CHUNK):
            cursor.execute(sql, list(map(_column, zip(*rows[start : start + _CHUNK], strict=True))))
        cursor.commit()

    async def one(self, sql: str, parameters: Sequence[Any] = ()) -> Any:
        return await asyncio.to_thread(lambda: self._cursor().execute(sql, parameters).fetchone())

    async def rows(self, sql: str) -> Sequence[Any]:
        found: Sequence[Any] = await asyncio.to_thread(lambda: self._cursor().execute(sql).fetchall())
        return found

    async def structs(self, sql: str, into: type[T]) -> list[T]:
        return [into(*row) for row in await self.rows(sql)]

    async def stream(self, sql: str) -> AsyncIterator[Any]:
        cursor = self._db.cursor()
        await asyncio.to_thread(cursor.execute, sql)
        while chunk := await asyncio.to_thread(cursor.fetchmany, _CHUNK):
            for row in chunk:
                yield row


def _column(values: Sequence[Any]) -> list[Any]:
    """The values, without the time zones that its TIMESTAMP does not have."""
    if any(isinstance(value, datetime) for value in values):
        return [value and value.replace(tzinfo=None) for value in values]
    return list(values)


@asynccontextmanager
async def opened(folder: Path | None) -> AsyncIterator[Duck]:
    target = ":memory:" if folder is None else str(folder / "database")
    db = importlib.import_module("duckdb").connect(target)
    try:
        yield Duck(db)
    finally:
        db.close()


KIND = Kind(
    "duckdb",
    "duckdb",
    "duckdb",
    opened,
    "`asyncio.to_thread`, a cursor for each thread; many rows are inserted as lists of columns",
)
