"""`Caller`: the way of one connection's calls to the engine's thread."""

from __future__ import annotations

from collections.abc import Awaitable, Coroutine
from typing import Any

from aiostoolap.core import loops, protocol
from aiostoolap.core.call import Call
from aiostoolap.core.executor import Executor, Figures
from aiostoolap.core.lanes import Lane


class Caller(Lane):
    """Where a connection submits its calls: they keep their order, and take turns with those of other callers.

    Args:
        executor: what runs them.
    """

    __slots__ = ("_exchange", "_executor", "inheritance")

    def __init__(self, executor: Executor) -> None:
        super().__init__()
        self._executor = executor
        self._exchange = executor._exchange
        self.inheritance = executor.inheritance
        """The requests for what outlives the engine's instance."""

    def figures(self) -> Figures:
        """What the calls of all have come to so far."""
        return self._executor.figures()

    def another(self) -> Caller:
        """One for another connection."""
        return Caller(self._executor)

    def submit(self, request: protocol.Request, timeout: float | None = None) -> Coroutine[Any, Any, bytes]:
        """Runs a request and returns the body of its reply. To be awaited at once: it is on its way already.

        Args:
            request: what to run.
            timeout: seconds; it is stopped then.

        Raises:
            Error: the engine reported a failure, is closed, or is gone.
            TimeoutError: it was stopped; one that succeeded all the same returns its reply.
        """
        exchange = self._exchange
        if exchange.closing is not None:
            exchange.check()  # A child of a fork must hear of that, not that it has no event loop.
        loop = loops.running()
        checkpoint = None if request.keep else loop.checkpoint()
        if checkpoint is None:
            return self._executor._finish(exchange.place(request, self, loop), loop, timeout)
        return self._submit_later(request, loop, timeout, checkpoint)

    async def _submit_later(
        self, request: protocol.Request, loop: loops.Loop, timeout: float | None, checkpoint: Awaitable[None]
    ) -> bytes:
        await checkpoint
        return await self._executor._finish(self._exchange.place(request, self, loop), loop, timeout)

    def begin(self, request: protocol.Request) -> Call | None:
        """Places a request that is not urgent, for `finish` or `forget`; None if there is not much room.

        Raises:
            Error: the engine is closed, or is gone.
        """
        # Woken at once: its task may work for long before the turn ends.
        return self._exchange.place(request, self, None) if self._exchange.has_much_room() else None

    def forget(self, call: Call) -> None:
        """Stops a request; what its reply would have left open is closed."""
        self._exchange.abandon(call)

    def drop(self, call: Call) -> None:
        """As `forget`, from anywhere: this may be a collection of garbage in the middle of another call."""
        self._exchange.orphan(call)

    def finish(self, call: Call, timeout: float | None = None) -> Coroutine[Any, Any, bytes]:
        """Waits for the reply to a request that was placed; see `submit`."""
        return self._executor._finish(call, loops.running(), timeout)

    def post(self, request: protocol.Request) -> None:
        """Has a request run whose reply nobody wants; one that comes too late is dropped."""
        self._exchange.post(request)

    @property
    def is_open(self) -> bool:
        """Whether requests are taken."""
        return self._executor.is_open
