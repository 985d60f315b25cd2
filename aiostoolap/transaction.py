"""`Tx`, a transaction."""

from __future__ import annotations

import warnings
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias

import anyio

from aiostoolap.core import protocol
from aiostoolap.core.caller import Caller
from aiostoolap.errors import ClosedError, EngineLostError, Error, InterfaceError, TransactionAbortedError
from aiostoolap.session import Session
from aiostoolap.verbs import Settings

__all__ = ["Isolation", "Tx"]

Isolation: TypeAlias = Literal["read committed", "snapshot"]
"""What a transaction sees.

That is what others commit meanwhile, or the database as it was when the transaction began.
"""

ISOLATIONS = ("read committed", "snapshot")


class Tx(Session):
    """A transaction. Many may be open at once; tasks may share one, whose statements run one after another.

    A statement that is cancelled or runs out of memory leaves it aborted: only rollback is possible then. In
    `async with` it is committed at the end, or rolled back if an exception leaves the block.
    """

    def __init__(self, caller: Caller, settings: Settings, handle: protocol.Handle) -> None:
        self._caller = caller
        self._settings = settings
        self._handle: protocol.Handle | None = handle
        self._savepoints = 0

    async def commit(self) -> None:
        """Makes the changes permanent and visible to others.

        Raises:
            TransactionConflictError: another transaction changed the same rows first; nothing was changed.
            IntegrityError: another transaction committed the same unique value first, or two rows of this one have it;
                nothing was changed.
            TransactionAbortedError: a statement of it was stopped; roll it back.
            OperationalError: the log could not be written; nothing was changed.
            ClosedError: it has ended already.
        """
        try:
            await self._caller.submit(protocol.commit(self._connection(), self._ended))
        except TransactionAbortedError:
            raise  # It can still be rolled back.
        except Error:
            self._release()  # It failed to commit, or COMMIT as SQL or its connection's end was before.
            raise
        self._ended()

    async def rollback(self) -> None:
        """Undoes the changes, also if the task is cancelled meanwhile.

        Raises:
            ClosedError: it has ended already.
        """
        request = protocol.rollback(self._connection())
        try:
            with anyio.CancelScope(shield=True):
                await self._caller.submit(request)
        except BaseException:
            self._release()  # A native cancellation, which heeds no shields, or it had ended as SQL.
            raise
        self._ended()

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """A part of the transaction as a block, which alone is undone if an exception leaves it.

        All that happens in the transaction meanwhile is part of it, also what other tasks do.

        Raises:
            TransactionAbortedError: a statement of the transaction was stopped.
            ClosedError: the transaction has ended.
        """
        self._savepoints += 1
        name = f"aiostoolap_{self._savepoints}"
        await self._caller.submit(protocol.savepoint(self._connection(), "create", name))
        try:
            yield
        except BaseException:
            # An aborted transaction has lost its savepoints with all the rest.
            with anyio.CancelScope(shield=True), suppress(TransactionAbortedError, ClosedError):
                await self._caller.submit(protocol.savepoint(self._connection(), "rollback", name))
                await self._caller.submit(protocol.savepoint(self._connection(), "release", name))
            raise
        await self._caller.submit(protocol.savepoint(self._connection(), "release", name))

    @property
    def is_open(self) -> bool:
        """Whether it has neither been committed nor rolled back."""
        return self._handle is not None

    def _connection(self) -> protocol.Handle:
        if self._handle is None:
            raise ClosedError("the transaction has ended")
        return self._handle

    def _ended(self, _: bytes = b"") -> None:
        self._handle = None  # The engine has given it back.

    def _release(self) -> None:
        handle, self._handle = self._handle, None
        if handle is not None:
            self._caller.post(protocol.close(handle))

    @asynccontextmanager
    async def _atomic(self) -> AsyncIterator[protocol.Handle]:
        async with self.savepoint():
            yield self._connection()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._handle is None:
            return
        try:
            if error is not None:
                with suppress(ClosedError, EngineLostError):  # It is rolled back by that.
                    await self.rollback()
            else:
                await self.commit()
        except ClosedError as failure:
            if failure.code != "transaction_ended":  # By COMMIT or ROLLBACK as SQL.
                raise
        finally:
            self._release()

    def __del__(self) -> None:
        handle = getattr(self, "_handle", None)
        if handle is not None and self._caller.is_open:
            self._caller.post(protocol.close(handle))
            message = "a transaction was neither committed nor rolled back"
            warnings.warn(message, ResourceWarning, stacklevel=2, source=self)


class Block:
    """A transaction as a block: committed at its end, rolled back if an exception or a cancellation leaves it.

    Args:
        begin: begins it.
    """

    def __init__(self, begin: Callable[[], Awaitable[Tx]]) -> None:
        self._begin = begin
        self._tx: Tx | None = None

    if not TYPE_CHECKING:  # Type checkers know it.

        def __getattr__(self, name: str) -> Any:
            raise AttributeError(
                f"{name!r}: the transaction has not begun yet; write `async with db.transaction() as tx:` or "
                "`tx = await db.begin()`"
            )

    async def __aenter__(self) -> Tx:
        if self._tx is not None:
            raise InterfaceError("a block is one transaction: call transaction() again for another")
        self._tx = await self._begin()
        return self._tx

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._tx is not None
        await self._tx.__aexit__(kind, error, traceback)
