"""aiosqlite, which runs the standard library's sqlite3 on a thread."""

from __future__ import annotations

import importlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from benchmarks.peer import Kind, marks

T = TypeVar("T")


class Sqlite:
    """A connection in autocommit mode: tasks that share one would commit each other's changes otherwise."""

    def __init__(self, db: Any) -> None:
        self._db = db

    async def execute(self, sql: str, parameters: Sequence[Any] = ()) -> None:
        await self._db.execute(sql, parameters)

    async def load(self, table: str, rows: Sequence[Sequence[Any]]) -> None:
        await self._db.execute("BEGIN")
        await self._db.executemany(f"INSERT INTO {table} VALUES ({marks(rows[0])})", rows)
        await self._db.commit()

    async def one(self, sql: str, parameters: Sequence[Any] = ()) -> Any:
        # One trip to the thread; execute() and fetchone() are two.
        found = await self._db.execute_fetchall(sql, parameters)
        return found[0] if found else None

    async def rows(self, sql: str) -> Sequence[Any]:
        found: Sequence[Any] = await self._db.execute_fetchall(sql)
        return found

    async def structs(self, sql: str, into: type[T]) -> list[T]:
        return [into(*row) for row in await self._db.execute_fetchall(sql)]

    async def stream(self, sql: str) -> AsyncIterator[Any]:
        async with self._db.execute(sql) as cursor:
            async for row in cursor:
                yield row


def kind(name: str, chunk: int, said: str) -> Kind:
    """aiosqlite, whose rows come from its thread in chunks of so many."""

    @asynccontextmanager
    async def opened(folder: Path | None) -> AsyncIterator[Sqlite]:
        target = ":memory:" if folder is None else folder / "database"
        options = {"isolation_level": None, "iter_chunk_size": chunk, "cached_statements": 256}
        async with importlib.import_module("aiosqlite").connect(target, **options) as db:
            if folder is not None:
                await db.execute("PRAGMA journal_mode = WAL")
                await db.execute("PRAGMA synchronous = FULL")
            yield Sqlite(db)

    return Kind(name, "aiosqlite", "aiosqlite", opened, said)


KIND = kind(
    "aiosqlite",
    1_024,
    "`execute_fetchall`, autocommit, chunks of 1,024 rows; files with WAL and `synchronous = FULL`",
)
AS_IT_COMES = kind("aiosqlite, as it comes", 64, "chunks of 64 rows, its default")
