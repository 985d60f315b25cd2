"""`connect`, which opens one database on an engine of its own."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Generator, Mapping
from pathlib import PurePosixPath
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

import anyio

from aiostoolap import dsn
from aiostoolap.core import loops
from aiostoolap.core.pace import Latency
from aiostoolap.db import DB
from aiostoolap.directory import make_folder
from aiostoolap.engine import CHECKPOINT_EVERY, MEMORY_LIMIT, Engine
from aiostoolap.errors import InterfaceError
from aiostoolap.lease import Lease
from aiostoolap.locks import check_timeout
from aiostoolap.observe import StatementEvent

__all__ = ["connect"]


class _Connecting:
    """What `connect` returns: await it, or use it in `async with`."""

    def __init__(self, engine: Engine, name: dsn.Dsn, lock_timeout: float) -> None:
        self._engine = engine
        self._name = name
        self._lock_timeout = lock_timeout
        self._db: DB | None = None
        self._used = False

    if not TYPE_CHECKING:  # Type checkers know it.

        def __getattr__(self, name: str) -> Any:
            raise AttributeError(
                f"{name!r}: connect() has not opened the database yet; write `db = await connect(...)` or "
                "`async with connect(...) as db:`"
            )

    def __await__(self) -> Generator[Any, Any, DB]:
        return self._open().__await__()

    async def __aenter__(self) -> DB:
        self._db = await self._open()
        return self._db

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._db is not None:
            await self._db.close()

    def __del__(self) -> None:
        if not self._used:
            warnings.warn("connect() was called but never awaited", RuntimeWarning, stacklevel=2, source=self)

    async def _open(self) -> DB:
        if self._used:
            raise InterfaceError("connect() makes one connection: call it again, or clone() that")
        self._used = True
        loops.running()  # Where there is none, nothing below can wait.
        engine = self._engine
        try:
            await engine.start()
            return await engine.open_dsn(self._name, self._lock_timeout, Lease(engine.close))
        except BaseException:
            with anyio.CancelScope(shield=True):
                await engine.close()
            raise


def connect(
    target: str | os.PathLike[str] = "memory://",
    *,
    options: Mapping[str, str | int | bool] | None = None,
    lock_timeout: float = 0,
    wasm: str | os.PathLike[str] | None = None,
    memory_limit: int = MEMORY_LIMIT,
    timeout: float | None = None,
    timestamps: Literal["datetime", "nanoseconds"] = "datetime",
    json: Literal["object", "text"] = "object",
    checkpoint_every: float | None = CHECKPOINT_EVERY,
    vacuum_every: float | None = None,
    copy_from: str | os.PathLike[str] | None = None,
    latency: Latency = "balanced",
    on_statement: Callable[[StatementEvent], object] | None = None,
    slow_statement: float | None = None,
) -> _Connecting:
    """Opens a database on an engine of its own: `async with connect("app.db") as db:`, or `await connect("app.db")`.

    Args:
        target: the path of the database's directory, made if it is missing; a `file:` URL of it, whose query may hold
            options; or `memory://` for a database in memory.
        options: the engine's options for a file database, such as `{"sync_mode": "full"}`; see
            `aiostoolap.dsn.OPTIONS`.
        lock_timeout: seconds to wait for another process or engine that has the database open; `math.inf` for ever.
        wasm, memory_limit, timeout, timestamps, json, checkpoint_every, vacuum_every, copy_from, latency,
            on_statement, slow_statement: as for `Engine`.

    Raises:
        InterfaceError: the target or an option is none of these, or a second connection is wanted of the same call.
        DatabaseLockedError: another process or engine has the database open (when it is awaited).
        OperationalError: it cannot be read or made, or a newer engine has written it (when it is awaited).
        CorruptDatabaseError: files of it are missing or damaged, and rows with them (when it is awaited).

    Warns:
        RecoveryWarning: the engine had to repair something, or to leave something out.
    """
    check_timeout(lock_timeout)
    parsed = dsn.parse_target(target)
    if parsed.root is None:
        if options:
            raise InterfaceError("an in-memory database takes no options")
        name = dsn.parse("memory://")
    else:
        name = dsn.file_dsn(PurePosixPath(), {**parsed.options, **(options or {})})
        make_folder(parsed.root)
    engine = Engine(
        parsed.root,
        wasm=wasm,
        memory_limit=memory_limit,
        timeout=timeout,
        timestamps=timestamps,
        json=json,
        checkpoint_every=checkpoint_every,
        vacuum_every=vacuum_every,
        copy_from=copy_from,
        latency=latency,
        on_statement=on_statement,
        slow_statement=slow_statement,
    )
    return _Connecting(engine, name, lock_timeout)
