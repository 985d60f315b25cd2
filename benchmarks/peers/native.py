"""stoolap-python's synchronous calls: the native engine alone, as the limit. They block the event loop."""

from __future__ import annotations

import importlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from benchmarks.peer import Kind, marks
from benchmarks.peers.stoolap_python import WholeResults, dsn


class Native(WholeResults):
    """A `Database`, called on the loop's own thread."""

    def __init__(self, db: Any) -> None:
        self._db = db

    async def execute(self, sql: str, parameters: Sequence[Any] = ()) -> None:
        self._db.execute(sql, list(parameters))

    async def load(self, table: str, rows: Sequence[Sequence[Any]]) -> None:
        self._db.execute_batch(f"INSERT INTO {table} VALUES ({marks(rows[0])})", rows)

    async def one(self, sql: str, parameters: Sequence[Any] = ()) -> Any:
        return self._db.query_one(sql, parameters)

    async def rows(self, sql: str) -> Sequence[Any]:
        found: Sequence[Any] = self._db.query_raw(sql)["rows"]
        return found


@asynccontextmanager
async def opened(folder: Path | None) -> AsyncIterator[Native]:
    db = importlib.import_module("stoolap").Database.open(dsn(folder))
    try:
        yield Native(db)
    finally:
        db.close()


KIND = Kind(
    "native, blocking",
    "stoolap",
    "stoolap-python",
    opened,
    "stoolap-python's synchronous `Database`, which blocks the event loop: the engine's own limit",
    waits=False,
)
