"""`Call`, a request on its way between a task and the executor's thread."""

from __future__ import annotations

from aiostoolap import errors
from aiostoolap.core import loops, protocol


class Call:
    """A request on its way."""

    __slots__ = ("abandoned", "number", "place", "prepared", "reply", "request", "stopped", "waiter")

    def __init__(self, number: int, request: protocol.Request, waiter: loops.Waiter | None) -> None:
        self.number = number
        self.request = request
        self.waiter = waiter
        self.place: int | None = None
        """Its place in the batch that runs; None while it is queued."""
        self.abandoned = False
        """Nobody wants the reply any more."""
        self.stopped = False
        """Its time is up."""
        self.prepared = False
        """What is to be done before it runs is done."""
        self.reply: protocol.Reply | errors.Error | None = None

    def is_done(self) -> bool:
        return self.reply is not None

    def conclude(self, ok: bool) -> None:
        """Does what is to be done when it has run."""
        if self.request.after is not None:
            self.request.after(ok)


def wake(calls: list[Call]) -> None:
    """Wakes the tasks that wait for these calls; on their loop."""
    for call in calls:
        if call.waiter is not None:
            call.waiter.wake()


CLOSE = protocol.close_all()
"""The request after which the thread ends."""
CANCELLED = errors.StatementCancelledError("the statement was cancelled before it began")
