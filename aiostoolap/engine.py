"""`Engine`, one instance of the SQL engine on a thread of its own."""

from __future__ import annotations

import functools
import logging
import math
import os
import time
import warnings
from collections.abc import Callable, Generator, Iterable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, NoReturn, Self

import anyio

from aiostoolap import dsn, stats
from aiostoolap.core import loops, protocol
from aiostoolap.core.caller import Caller
from aiostoolap.core.executor import Executor
from aiostoolap.core.pace import Latency, Pace
from aiostoolap.db import DB
from aiostoolap.directory import find_folder
from aiostoolap.errors import ClosedError, DatabaseLockedError, InterfaceError, RecoveryWarning
from aiostoolap.lease import Lease
from aiostoolap.locks import Locks, check_timeout
from aiostoolap.logs import Logs
from aiostoolap.maintenance import Maintenance
from aiostoolap.observe import StatementEvent
from aiostoolap.seconds import is_time
from aiostoolap.stats import Stats
from aiostoolap.verbs import settings

if TYPE_CHECKING:
    from aiostoolap.core.runtime import Runtime

__all__ = ["Engine"]

_log = logging.getLogger("aiostoolap")
MEMORY_LIMIT = 3 << 30
CHECKPOINT_EVERY = 60.0
_SMALLEST_LIMIT = 64 << 20
_LARGEST_LIMIT = 4 << 30
_LOCK_PAUSE = 0.05
"""Seconds between two attempts at a lock."""


class Engine:
    """One instance of the engine, on one thread that its databases share. Use it in `async with`, or `await` it.

    Args:
        root: a directory of this machine, which databases see as /data; None for in-memory databases alone.
        wasm: another build of the engine; None for the bundled one.
        memory_limit: bytes that the engine may allocate, from 64 MiB to 4 GiB.
        timeout: seconds for each call that takes `timeout` and gives none; None for no limit.
        timestamps: "datetime", aware and in UTC, or "nanoseconds" since 1970.
        json: "object", decoded, or "text".
        checkpoint_every: seconds between checkpoints on the engine's own timer; None for never. A log of more than
            8 MiB does not wait for it. Only with `root`.
        vacuum_every: seconds between VACUUMs; None for never.
        copy_from: a directory of this machine whose files COPY may read, by their names below it; None for none, so
            that COPY is refused.
        latency: how long the engine's thread waits awake for the next call: "low" 2 ms, "balanced" 0.2 ms, "power" not
            at all. Only if the call before came within a millisecond; an idle engine always sleeps.
        on_statement: called for each statement that has ended, in the task that ran it; what it raises is logged.
        slow_statement: seconds from which on a statement is logged as a warning; None for never.

    Raises:
        InterfaceError: `root` or `copy_from` is not a directory, or an argument is out of range.
    """

    def __init__(
        self,
        root: str | os.PathLike[str] | None = None,
        *,
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
    ) -> None:
        self._root = find_folder(root)
        self._imports = find_folder(copy_from)
        if not (type(memory_limit) is int and _SMALLEST_LIMIT <= memory_limit <= _LARGEST_LIMIT):
            raise InterfaceError(
                f"memory_limit is a number of bytes from {_SMALLEST_LIMIT} to {_LARGEST_LIMIT}, not {memory_limit!r}"
            )
        for name, every in (("checkpoint_every", checkpoint_every), ("vacuum_every", vacuum_every)):
            if every is not None and not (is_time(every) and 0 < every < math.inf):
                raise InterfaceError(f"{name} is a number of seconds above 0 or None, not {every!r}")
        if latency not in ("low", "balanced", "power"):
            raise InterfaceError(f"latency is 'low', 'balanced' or 'power', not {latency!r}")
        self._latency = latency
        self._wasm = None if wasm is None else Path(wasm).absolute()
        self._memory_limit = memory_limit
        self._settings = settings(timeout, timestamps, json, on_statement, slow_statement)
        self._executor: Executor | None = None
        self._locks = Locks(self._root)
        logs = None if root is None else Logs(self._locks.modes)
        self._maintenance = Maintenance(checkpoint_every, vacuum_every, logs)
        self._starters = 0

    @property
    def version(self) -> str:
        """The engine's version, such as "0.4.2".

        Raises:
            ClosedError: the engine has not been started.
        """
        return self._running().version

    async def open(self, name: str, *, lock_timeout: float = 0) -> DB:
        """Opens a database, or joins it if this engine has it open.

        Args:
            name: `memory://` for one of its own, `memory://name` for one shared within the engine, or
                `file:///data/path?option=value` for a directory below the engine's root.
            lock_timeout: seconds to wait for another process or engine that has it open; `math.inf` for ever.

        Raises:
            InterfaceError: the name is none of these, an option is unknown, or `lock_timeout` is no time.
            DatabaseLockedError: another process or engine has it open.
            OperationalError: it cannot be read or made, is open with other options, or a newer engine has written it.
            CorruptDatabaseError: files of it are missing or damaged, and rows with them.
            ClosedError: the engine has not been started, or is closed.

        Warns:
            RecoveryWarning: the engine had to repair something, or to leave something out.
        """
        check_timeout(lock_timeout)
        return await self.open_dsn(dsn.parse(name), lock_timeout)

    async def open_memory(self) -> DB:
        """Opens an in-memory database of its own.

        Raises:
            ClosedError: the engine has not been started, or is closed.
        """
        return await self.open("memory://")

    async def stats(self) -> Stats:
        """The engine's figures, now.

        Raises:
            ClosedError: the engine has not been started, or is closed.
            OperationalError: the directory of a log cannot be read.
        """
        return await stats.read(Caller(self._running()), self._maintenance)

    async def start(self) -> Self:
        """Starts the thread and loads the engine; `async with` and `await` do it. May be called again.

        Raises:
            InterfaceError: the engine's module cannot be used.
            ClosedError: the engine has been closed; make another one.
        """
        loops.running()  # Without an event loop, there is to be no thread.
        executor = self._executor
        if executor is None:
            # Nothing of it refers to the engine, which can so be collected, and warn, while its thread runs.
            limit = min(self._memory_limit, 2**32 - 1)
            start = functools.partial(_start_runtime, self._wasm, self._root, self._imports, limit, self._locks.modes)
            executor = Executor(start, Pace(self._latency), self._maintenance, _print, self._locks.release_all)
            self._executor = executor
        self._starters += 1
        try:
            await executor.start()
        except BaseException:
            if self._starters == 1 and not executor.version:  # Nobody else waits for it, and it never ran.
                executor.stop()
                self._executor = None
            raise
        finally:
            self._starters -= 1
        return self

    async def close(self) -> None:
        """Closes all databases and ends the thread; calls that are queued run first. May be called again.

        Raises:
            OperationalError: a database could not be closed cleanly; it is closed nevertheless.
        """
        if self._executor is not None:
            await self._executor.close()

    def __await__(self) -> Generator[Any, Any, Self]:
        return self.start().__await__()

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    def __reduce__(self) -> NoReturn:
        raise TypeError("an Engine can be neither copied nor pickled")

    def __del__(self) -> None:
        executor = getattr(self, "_executor", None)
        if executor is not None and executor.is_open:
            executor.stop()
            warnings.warn("an engine was not closed", ResourceWarning, stacklevel=2, source=self)

    def _running(self) -> Executor:
        if self._executor is None or not self._executor.version:
            raise ClosedError("the engine has not been started: use `async with Engine(...) as engine`")
        return self._executor

    async def open_dsn(self, name: dsn.Dsn, lock_timeout: float, lease: Lease | None = None) -> DB:
        """Opens a database by its parsed name, for a connection that gives `lease` back when it closes."""
        executor = self._running()
        caller = Caller(executor)
        hold = None
        if name.folder is not None:
            hold = self._locks.hold(name.folder, executor.version, name.sync_mode)
        give_up = time.monotonic() + lock_timeout
        while True:
            try:
                body = await caller.submit(caller.inheritance.open_database(name.text, hold))
                break
            except DatabaseLockedError:
                left = give_up - time.monotonic()
                if left <= 0:
                    raise
                await anyio.sleep(min(left, _LOCK_PAUSE))
        handle, printed = protocol.opened(body)
        db = DB(caller, self._settings, handle, hold, self._maintenance, lease)
        if lease is not None:
            lease.take()
        try:
            _report(printed)
        except BaseException:  # Warnings are errors here.
            await db.close()
            raise
        return db


def _start_runtime(
    wasm: Path | None, root: Path | None, imports: Path | None, memory_limit: int, folders: Callable[[], Iterable[Path]]
) -> Runtime:
    # Imported here, on the thread: wasmtime takes longer to import than all the rest.
    from aiostoolap.core.runtime import Runtime

    return Runtime(wasm, root, imports, memory_limit, folders)


def _print(text: str) -> None:
    for line in text.splitlines():
        if not any(expected in line for expected in _EXPECTED):
            _log.warning("engine: %s", line)


_EXPECTED = (
    "File locking not supported on this platform",  # The host has taken the lock.
    "Removing incomplete truncation temp file",  # A crash has left it, and nothing was in it that is not elsewhere.
)


def _report(printed: str) -> None:
    """Makes what the engine printed while it opened a database into warnings or log entries."""
    for line in printed.splitlines():
        if line.startswith(("Warning:", "Critical:")) and not any(expected in line for expected in _EXPECTED):
            warnings.warn(line, RecoveryWarning, stacklevel=4)
        else:
            _log.info("engine: %s", line)
