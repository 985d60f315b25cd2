"""What is tried with each name."""

from __future__ import annotations

import random
import shutil
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiostoolap
from aiostoolap import DB, Engine
from tests.sandbox.ground import SECRET, Ground
from tests.sandbox.names import hostile

_CHECK_EVERY = 50


class Attempts:
    """An engine and a database of it, and what takes names there.

    Args:
        ground: where it is.
        engine: the engine, with the ground's root and imports.
        db: a database of it, with the table t.
    """

    def __init__(self, ground: Ground, engine: Engine, db: DB) -> None:
        self._ground = ground
        self._engine = engine
        self._db = db
        self.all: dict[str, Callable[[str], Awaitable[object]]] = {
            "open": self.open,
            "open below": lambda name: self.open(f"/data/{name}"),
            "copy": self.copy,
            "restore": db.restore,
            "create": self.create,
        }

    async def attempt(self, what: str, name: str) -> str:
        """Tries a name, and says what came of it: the class of an error that the driver may raise, or "within"."""
        try:
            await self.all[what](name)
        except aiostoolap.Error as caught:
            error = caught
        else:
            return "within"
        assert not isinstance(error, aiostoolap.InternalError | aiostoolap.EngineLostError), error
        assert SECRET not in str(error), error
        return type(error).__name__

    async def open(self, name: str) -> None:
        """Opens it as a database, and writes there."""
        async with await self._engine.open(f"file://{name}") as db:
            await db.execute("CREATE TABLE IF NOT EXISTS t (a INTEGER PRIMARY KEY)")
            await db.execute("INSERT INTO t VALUES (1) ON CONFLICT DO NOTHING")

    async def copy(self, name: str) -> None:
        """Copies it into the table."""
        await self._db.execute("DELETE FROM t")
        try:
            await self._db.execute(
                f"COPY t FROM '{name.replace(chr(39), chr(39) * 2)}' WITH (FORMAT CSV, HEADER FALSE)"
            )
        finally:
            there = await self._db.query("SELECT b FROM t", into=str)
            assert SECRET not in there
        assert set(there) == {"good"}

    async def create(self, name: str) -> None:
        """Makes a table of that name, whose rows go to a directory of that name."""
        table = '"' + name.replace('"', '""') + '"'
        try:
            async with await self._engine.open("file:///data/tables") as db:
                await db.execute(f"CREATE TABLE {table} (a INTEGER)")
                await db.execute(f"INSERT INTO {table} VALUES (1)")
                await db.checkpoint()
                assert await db.query_value(f"SELECT COUNT(*) FROM {table}") == 1
                await db.execute(f"DROP TABLE {table}")
        finally:
            # A dropped table leaves its directory, and a checkpoint syncs them all.
            shutil.rmtree(self._ground.root / "tables")


async def run(count: int, seed: int, folder: Path, *, wasm: Path | None = None) -> Counter[str]:
    """Tries so many names, and counts what came of it.

    Raises:
        AssertionError: something outside was read or changed, or an error was none of the driver's.
    """
    ground = Ground(folder)
    source = random.Random(seed)
    tally: Counter[str] = Counter()
    async with (
        Engine(ground.root, copy_from=ground.imports, wasm=wasm, checkpoint_every=None) as engine,
        await engine.open("file:///data/the-database") as db,
    ):
        await db.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT)")
        await db.snapshot()
        attempts = Attempts(ground, engine, db)
        for number in range(count):
            name = hostile(source, folder)
            what = source.choice(list(attempts.all))
            try:
                came = await attempts.attempt(what, name)
            except Exception as error:
                raise AssertionError(f"seed {seed}, {number}: {what} {name!r}: {error!r}") from error
            tally[f"{what}: {came}"] += 1
            if number % _CHECK_EVERY == 0:
                ground.check()
    ground.check()
    return tally
