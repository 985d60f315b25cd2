"""`DB`, a connection to a database."""

from __future__ import annotations

import functools
import os
import random
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from types import TracebackType
from typing import Self, TypeVar

import anyio
import anyio.to_thread

from aiostoolap import stats
from aiostoolap.backup import Backup
from aiostoolap.core import loops, protocol
from aiostoolap.core.caller import Caller
from aiostoolap.core.inheritance import Hold
from aiostoolap.errors import (
    ClosedError,
    NotSupportedError,
    ProgrammingError,
    TransactionConflictError,
)
from aiostoolap.lease import Lease
from aiostoolap.maintenance import Maintenance
from aiostoolap.session import Session
from aiostoolap.stats import Stats
from aiostoolap.transaction import ISOLATIONS, Block, Isolation, Tx
from aiostoolap.verbs import Settings

__all__ = ["DB"]

T = TypeVar("T")

_LONGEST_PAUSE = 0.1
"""Seconds between two attempts at a transaction."""


class DB(Session):
    """A connection to a database, made by `connect`, `Engine.open` or `clone`.

    Tasks may share it: each statement commits by itself, and transactions are objects of their own. Close it, or use
    it in `async with`.
    """

    def __init__(
        self,
        caller: Caller,
        settings: Settings,
        handle: protocol.Handle,
        hold: Hold | None,
        maintenance: Maintenance,
        lease: Lease | None,
    ) -> None:
        self._caller = caller
        self._settings = settings
        self._handle: protocol.Handle | None = handle
        self._hold = hold
        self._maintenance = maintenance
        self._lease = lease

    async def begin(self, isolation: Isolation | None = None) -> Tx:
        """Begins a transaction; end it with `commit` or `rollback`. `transaction` does that by itself.

        Args:
            isolation: "read committed", the default, or "snapshot".

        Raises:
            ProgrammingError: the isolation is unknown.
            ClosedError: the connection is closed.
        """
        if isolation is not None and isolation not in ISOLATIONS:
            raise ProgrammingError(f"isolation is one of {', '.join(ISOLATIONS)}, not {isolation!r}")
        await self._maintenance.may_begin()
        body = await self._caller.submit(protocol.begin(self._connection(), isolation))
        return Tx(self._caller, self._settings, protocol.handle(body))

    def transaction(self, isolation: Isolation | None = None) -> Block:
        """A transaction as a block: committed at its end, rolled back if an exception or a cancellation leaves it.

        Args:
            isolation: as for `begin`.

        Raises:
            TransactionConflictError: another transaction changed the same rows first; `run_transaction` tries again.
            Error: as `begin`, the statements of the block, and `Tx.commit` raise it.
        """
        return Block(functools.partial(self.begin, isolation))

    async def run_transaction(
        self, body: Callable[[Tx], Awaitable[T]], *, isolation: Isolation = "snapshot", attempts: int = 10
    ) -> T:
        """Runs a function in a transaction and commits it; after a conflict, from the start, in another transaction.

        Args:
            body: an async function of the transaction; it may run several times, so it has no other effects.
            isolation: as for `begin`. With "read committed", what others change between a read and a write of the
                function is no conflict, and is lost.
            attempts: how often to run it, at most. Between two of them is a short random pause.

        Returns:
            What the function returned when its transaction was committed.

        Raises:
            TransactionConflictError: the last attempt met a conflict, too.
            ProgrammingError: `attempts` is less than 1.
        """
        if attempts < 1:
            raise ProgrammingError(f"attempts is at least 1, not {attempts}")
        pause = 0.001
        while True:
            try:
                async with self.transaction(isolation) as tx:
                    return await body(tx)
            except TransactionConflictError:
                attempts -= 1
                if not attempts:
                    raise
            await anyio.sleep(random.uniform(0, pause))
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def clone(self) -> DB:
        """Another connection to the same database, closed on its own; the database closes with the last one.

        Raises:
            ClosedError: the connection is closed.
        """
        if self._lease is not None:
            self._lease.take()
        try:
            body = await self._caller.submit(self._caller.inheritance.clone(self._connection(), self._hold))
        except BaseException:
            if self._lease is not None:
                await self._lease.give()
            raise
        return DB(
            self._caller.another(),
            self._settings,
            protocol.handle(body),
            self._hold,
            self._maintenance,
            self._lease,
        )

    async def close(self) -> None:
        """Closes the connection, and what was made from it: open transactions roll back. May be called again.

        Raises:
            OperationalError: it was the last one, and the database was not closed cleanly; it is closed nevertheless.
        """
        handle, self._handle = self._handle, None
        if handle is None:
            return
        try:
            with suppress(ClosedError):  # The engine has ended before it.
                await self._caller.submit(self._caller.inheritance.close(handle, self._hold))
        finally:
            if self._lease is not None:
                await self._lease.give()

    async def stats(self) -> Stats:
        """The figures of the engine, which all its databases share.

        Raises:
            ClosedError: the connection is closed.
            OperationalError: the directory of a log cannot be read.
        """
        self._connection()
        return await stats.read(self._caller, self._maintenance)

    async def checkpoint(self) -> None:
        """Moves what is in the log to the tables' files, and cuts the log (PRAGMA CHECKPOINT).

        Raises:
            OperationalError: a step of it failed.
            ClosedError: the connection is closed.
        """
        await self._maintain("checkpoint")

    async def vacuum(self, table: str | None = None) -> None:
        """Frees the space of deleted rows and old versions, which ends the history of AS OF queries.

        Args:
            table: one table; None for all.

        Raises:
            ProgrammingError: there is no such table.
            OperationalError: a step of it failed.
            ClosedError: the connection is closed.
        """
        await self._maintain("vacuum", table)

    async def analyze(self, table: str) -> None:
        """Gathers statistics about a table, for better plans.

        Raises:
            ProgrammingError: there is no such table.
            ClosedError: the connection is closed.
        """
        await self._maintain("analyze", table)

    async def snapshot(self) -> None:
        """Writes a snapshot of all tables into the database's directory; the latest few are kept.

        Raises:
            NotSupportedError: the database is in memory.
            OperationalError: a step of it failed.
            ClosedError: the connection is closed.
        """
        if self._hold is None:
            raise NotSupportedError("an in-memory database has no directory for snapshots")
        await self._maintain("checkpoint")
        await self._maintain("snapshot")

    async def backup(self, path: str | os.PathLike[str]) -> None:
        """Makes a copy of a file database, which is one itself, as it is at the end of this call.

        Other calls go on while most of it is copied. While the rest is, which is what has changed in the last seconds,
        they wait.

        Args:
            path: the copy's directory, which must not exist yet; it appears when it is complete.

        Raises:
            NotSupportedError: the database is in memory.
            InterfaceError: the directory exists, lies within the database, or has a name that no database can have.
            OperationalError: the copy cannot be written, or a step of the checkpoint before it failed.
            ClosedError: the connection is closed.
        """
        connection = self._connection()
        if self._hold is None:
            raise NotSupportedError("an in-memory database has no files to copy")
        backup = Backup(self._hold.folder, path)
        try:
            await anyio.to_thread.run_sync(backup.prepare, abandon_on_cancel=True)
            await self._caller.submit(protocol.maintain(connection, "checkpoint", after=backup.finish))
        except BaseException:
            await loops.wait_through(lambda: anyio.to_thread.run_sync(backup.discard), lambda: backup.is_discarded)
            raise

    async def restore(self, timestamp: str | None = None) -> str:
        """Replaces the database's content by that of a snapshot: all of it, or nothing. Open cursors are lost.

        Args:
            timestamp: the snapshot's, as "YYYYMMDD-HHMMSS.fff"; None for the latest.

        Returns:
            What the engine says of what it restored.

        Raises:
            OperationalError: there is no such snapshot, a transaction is open, or a step of it failed. If the database
                "cannot be opened again" yet, it has the snapshot's content once it can.
            CorruptDatabaseError: the snapshot is damaged.
            ProgrammingError: the database is in memory.
            ClosedError: the connection is closed.
        """
        return await self._maintain("restore", timestamp)

    async def _maintain(self, task: str, argument: str | None = None) -> str:
        if not isinstance(argument, str | None):
            raise ProgrammingError(f"what to {task} is named by a text, not {type(argument).__name__}")
        return protocol.text(await self._caller.submit(protocol.maintain(self._connection(), task, argument)))

    def _connection(self) -> protocol.Handle:
        if self._handle is None:
            raise ClosedError("the connection is closed")
        return self._handle

    @asynccontextmanager
    async def _atomic(self) -> AsyncIterator[protocol.Handle]:
        async with self.transaction() as tx:
            yield tx._connection()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    def __del__(self) -> None:
        handle = getattr(self, "_handle", None)
        if handle is not None and self._caller.is_open:
            self._caller.post(self._caller.inheritance.close(handle, self._hold))
            if self._lease is not None:
                self._lease.drop()
            warnings.warn("a connection was not closed", ResourceWarning, stacklevel=2, source=self)
