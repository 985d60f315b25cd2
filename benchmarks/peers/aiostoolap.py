"""aiostoolap itself."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from aiostoolap import DB, connect
from benchmarks.peer import Kind, marks
from benchmarks.report import OURS

T = TypeVar("T")


class Stoolap:
    """A database of aiostoolap."""

    def __init__(self, db: DB) -> None:
        self.db = db
        self.one = db.query_one

    async def execute(self, sql: str, parameters: Sequence[Any] = ()) -> None:
        await self.db.execute(sql, parameters)

    async def load(self, table: str, rows: Sequence[Sequence[Any]]) -> None:
        await self.db.execute_many(f"INSERT INTO {table} VALUES ({marks(rows[0])})", rows)

    async def rows(self, sql: str) -> Sequence[Any]:
        return await self.db.query(sql, into=tuple)

    async def structs(self, sql: str, into: type[T]) -> list[T]:
        return await self.db.query(sql, into=into)

    def stream(self, sql: str) -> AsyncIterator[Any]:
        return aiter(self.db.query(sql))


def kind(name: str = OURS, **settings: Any) -> Kind:
    """aiostoolap with arguments for `connect`."""

    @asynccontextmanager
    async def opened(folder: Path | None) -> AsyncIterator[Stoolap]:
        if folder is None:
            async with connect(memory_limit=4 << 30, **settings) as db:
                yield Stoolap(db)
        else:
            async with connect(folder / "database", options={"sync_mode": "full"}, **settings) as db:
                yield Stoolap(db)

    said = "`query_one`, `query`, `execute_many`; `into=` for structs; files with `sync_mode=full`"
    return Kind(name, "aiostoolap", "aiostoolap", opened, said)


KIND = kind()
