"""The process that is killed: it tells of each thing that it does before it begins and when it is done."""

from __future__ import annotations

import asyncio
import random
import traceback
import warnings
from collections.abc import Awaitable, Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

import aiostoolap
from aiostoolap import DB
from aiostoolap.core import modules
from tests.crash import tables
from tests.crash.operations import random_operation
from tests.crash.tables import TASKS, Part

# Whoever forks this process gets it with the engine loaded.
modules.load(modules.BUNDLED)

KEEPER = -1
"""The task that maintains the database, among the others by their numbers."""
MOMENTS = ("opening", "checkpoint", "vacuum", "snapshot", "backup", "restore", "close")
"""What else than a write it may be killed in."""


class Message(NamedTuple):
    """What the process tells.

    Attributes:
        event: "opening" the database; "found" something there; an operation has "begun" or is "done"; it has "failed".
            A "restore" that has begun makes everything what was "found" then.
        task: whose operation it is.
        name: of the operation; or what failed.
        after: the task's part when the operation is done.
        found: all parts.
        warned: what the engine warned of.
    """

    event: str
    task: int = KEEPER
    name: str = ""
    after: Part | None = None
    found: Sequence[Part] = ()
    warned: Sequence[str] = ()


class Orders(NamedTuple):
    """What the process is to do.

    Attributes:
        folder: where the database is, in `db`, and its backups.
        seed: of all that it chooses.
        sync_mode: the database's.
        favourite: the maintenance that it begins with, if it is one.
    """

    folder: Path
    seed: str
    sync_mode: str
    favourite: str


def main(orders: Orders, pipe: Connection) -> None:
    """Works until it is killed."""
    try:
        asyncio.run(_Worker(orders, pipe.send).run())
    except BaseException:
        pipe.send(Message("failed", name=traceback.format_exc()))


class _Worker:
    def __init__(self, orders: Orders, send: Callable[[Message], None]) -> None:
        self._orders = orders
        self._send = send
        self._rng = random.Random(orders.seed)
        self._parts: list[Part] = []
        self._writing = 0

    async def run(self) -> None:
        few = self._orders.favourite in ("close", "restore")
        while True:
            db = await self._open()
            await self._work(db, 5 if few else 100)
            if self._orders.favourite == "restore" or self._rng.random() < 0.2:
                await self._restore(db)
            self._send(Message("begun", name="close"))
            await db.close()
            self._send(Message("done", name="close"))

    async def _work(self, db: DB, most: int) -> None:
        async with asyncio.TaskGroup() as group:
            self._writing = TASKS
            for task in range(TASKS):
                group.create_task(self._write(db, task, self._rng.randint(5, most)))
            group.create_task(self._keep(db))

    async def _restore(self, db: DB) -> None:
        """Goes back to a snapshot, which other snapshots may follow."""
        before = set(_snapshots(self._orders.folder))
        await db.snapshot()
        (saved,) = set(_snapshots(self._orders.folder)) - before
        found = list(self._parts)
        await self._work(db, 5)
        self._send(Message("begun", name="restore", found=found))
        await db.restore(saved)
        self._parts = found
        self._send(Message("done", name="restore"))

    async def _open(self) -> DB:
        options: dict[str, str | int | bool] = {
            "sync_mode": self._orders.sync_mode,
            "wal_max_size": self._rng.choice((4_096, 65_536, 1 << 26)),
            "keep_snapshots": 5,
        }
        every = self._rng.choice((None, 0.5))
        self._send(Message("opening"))
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            db = await aiostoolap.connect(self._orders.folder / "db", options=options, checkpoint_every=every)
        await tables.prepare(db)
        self._parts = await tables.read(db)
        self._send(Message("found", found=self._parts, warned=[str(warning.message) for warning in warned]))
        return db

    async def _write(self, db: DB, task: int, operations: int) -> None:
        for _ in range(operations):
            operation = random_operation(self._rng, task, self._parts[task])
            self._send(Message("begun", task, operation.name, operation.after))
            await operation.run(db)
            self._parts[task] = operation.after
            self._send(Message("done", task, operation.name))
        self._writing -= 1

    async def _keep(self, db: DB) -> None:
        backup = self._orders.folder / "backup"
        tasks: dict[str, Callable[[], Awaitable[None]]] = {
            "checkpoint": db.checkpoint,
            "vacuum": db.vacuum,
            "analyze": lambda: db.analyze("item"),
            "snapshot": db.snapshot,
            "backup": lambda: db.backup(backup),
        }
        name = self._orders.favourite
        while self._writing:
            if name in tasks and not (name == "backup" and backup.exists()):
                self._send(Message("begun", name=name))
                await tasks[name]()
                self._send(Message("done", name=name))
            await asyncio.sleep(self._rng.random() * 0.1)
            name = self._rng.choice(list(tasks))


def _snapshots(folder: Path) -> list[str]:
    """When the snapshots were made that there are."""
    return [file.stem.removeprefix("manifest-") for file in (folder / "db" / "snapshots").glob("manifest-*.json")]
