"""A process that races for directories: `python -m tests.locking.racer ours|native ROOT`.

It reads one order a line, and answers each with a line: JSON both.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any, Protocol

import aiostoolap


class LockedError(Exception):
    """Another one has the directory."""


class Racer(Protocol):
    def open(self, name: str, lock_timeout: float) -> None: ...

    def count(self) -> int:
        """Adds one to what the database has counted."""

    def close(self) -> None: ...


class Ours:
    """Keeps its engine, so that a race costs no more than opening."""

    def __init__(self, root: Path) -> None:
        self._loop = asyncio.Runner()
        self._engine = self._loop.run(aiostoolap.Engine(root, checkpoint_every=None).start())
        self._db: aiostoolap.DB | None = None

    def open(self, name: str, lock_timeout: float) -> None:
        try:
            self._db = self._loop.run(self._engine.open(f"file:///data/{name}", lock_timeout=lock_timeout))
        except aiostoolap.DatabaseLockedError as error:
            raise LockedError(str(error)) from None

    def count(self) -> int:
        return self._loop.run(self._count())

    async def _count(self) -> int:
        assert self._db is not None
        await self._db.execute("CREATE TABLE IF NOT EXISTS t (n INTEGER PRIMARY KEY)")
        counted = 1 + int(await self._db.query_value("SELECT MAX(n) FROM t") or 0)
        await self._db.execute("INSERT INTO t VALUES ($1)", (counted,))
        return counted

    def close(self) -> None:
        assert self._db is not None
        self._loop.run(self._db.close())


class Native:
    """The native engine, which knows no lock_timeout."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._db: Any = None

    def open(self, name: str, lock_timeout: float) -> None:
        stoolap: Any = importlib.import_module("stoolap")  # May be missing, also when types are checked.

        give_up = time.monotonic() + lock_timeout
        while True:
            try:
                self._db = stoolap.Database.open(f"file://{self._root / name}")
                return
            except stoolap.StoolapError as error:
                if "locked" not in str(error).lower():
                    raise
                if time.monotonic() > give_up:
                    raise LockedError(str(error)) from None
            time.sleep(0.01)

    def count(self) -> int:
        self._db.execute("CREATE TABLE IF NOT EXISTS t (n INTEGER PRIMARY KEY)")
        ((highest,),) = self._db.query_raw("SELECT MAX(n) FROM t")["rows"]
        self._db.execute(f"INSERT INTO t VALUES ({(highest or 0) + 1})")
        return int(highest or 0) + 1

    def close(self) -> None:
        self._db.close()
        self._db = None
        gc.collect()  # It keeps its lock until it is collected.


def run(racer: Racer, root: Path, order: dict[str, Any]) -> dict[str, Any]:
    """Runs one order, and returns its answer."""
    if order.get("close"):
        racer.close()
        return {"closed": True}
    name, lock_timeout = order["name"], order["lock_timeout"]
    time.sleep(max(0.0, order["at"] - time.monotonic()))
    try:
        racer.open(name, lock_timeout)
    except LockedError as locked:
        return {"locked": str(locked)}
    if not lock_timeout:
        return {"open": True}
    # Nobody else may be where this one is.
    mark = root / f"{order['directory']}.mark"
    descriptor = os.open(mark, os.O_CREAT | os.O_EXCL)
    counted = racer.count()
    os.close(descriptor)
    mark.unlink()
    racer.close()
    return {"counted": counted}


def main() -> None:
    kind, root = sys.argv[1], Path(sys.argv[2])
    racer: Racer = Ours(root) if kind == "ours" else Native(root)
    print(json.dumps({"pid": os.getpid()}), flush=True)
    for line in sys.stdin:
        try:
            answer = run(racer, root, json.loads(line))
        except Exception as error:
            answer = {"failed": repr(error)}
        print(json.dumps(answer), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
