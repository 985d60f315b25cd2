"""What the engine's thread does: it serves inside of the module as long as requests come, and sleeps until one does."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from aiostoolap import errors
from aiostoolap.core import protocol, ring
from aiostoolap.core.exchange import Exchange
from aiostoolap.core.pace import Pace

if TYPE_CHECKING:
    from aiostoolap.core.runtime import Runtime

_LONGEST_WAIT = 3600.0
"""Seconds that the thread waits at a time: its clocks have a range."""
_CLOSE = protocol.close_all()


class Chores(Protocol):
    """What the thread does on its own between the requests."""

    def due(self, last: float) -> float | None:
        """When there is something to do, on the clock of `time.monotonic`; None for never.

        Args:
            last: when the last request was served; infinite while requests may come without a notice.
        """

    def run(self, submit: Callable[[protocol.Request], ring.Reply], last: float) -> None:
        """Does what is due."""


class Server:
    """The thread's side of an exchange; all of it runs on the thread.

    Args:
        runtime: the instance.
        exchange: where calls come from.
        pace: how long to wait awake for requests.
        chores: what to do between requests.
        on_warning: what to do with what the engine prints.
    """

    def __init__(
        self,
        runtime: Runtime,
        exchange: Exchange,
        pace: Pace,
        chores: Chores | None,
        on_warning: Callable[[str], None],
    ) -> None:
        self._runtime = runtime
        self._ring = runtime.ring
        self._exchange = exchange
        self._pace = pace
        self._chores = chores
        self._last = 0.0
        """When the last request was served."""
        self._on_warning = on_warning

    def serve(self) -> ring.Reply:
        """Serves until the end begins and all that was placed has run; returns the reply to the closing of all."""
        exchange, place = self._exchange, self._ring
        while True:
            before = place.served
            left = self._serve_ring()
            if place.served != before or left.attends is not None:
                self._last = time.monotonic()
            expected = place.expected()
            exchange.deliver(expected if exchange.ordered else place.done_since(before, left))
            if left.attends is not None:
                self._attend(left.attends)
            pause = self._time_to_chores(self._last)
            if self._chores is not None and pause == 0:
                self._chores.run(self._run, self._last)
            elif left.idle and exchange.sleep(pause):
                return self._run(_CLOSE)

    def _serve_ring(self) -> ring.Left:
        time_left = self._time_to_chores(math.inf)
        with self._exchange.lock:
            posts, self._exchange.posts = self._exchange.posts, []
            orphans, self._exchange.orphans = self._exchange.orphans, []
            self._exchange.polls = self._exchange.ordered and self._pace.waits
            patience, doze = self._pace.begin(self._ring)
            self._ring.order(
                follow=self._exchange.ordered,
                patience=patience,
                doze=doze,
                time=None if time_left is None else int(time_left * 1e6),
            )
        before = self._ring.served
        for call in orphans:
            self._exchange.abandon(call)
        try:
            while posts:
                with contextlib.suppress(errors.MemoryLimitError):
                    self._run(posts.pop(0))
            left = self._runtime.serve()
            if left.disturbed:
                self._pace.disturbed()
            return left
        finally:
            with self._exchange.lock:  # What is left, if the instance was lost.
                self._exchange.posts[:0] = posts
            self._pace.end(self._ring, self._ring.served_since(before))

    def _attend(self, slot: int) -> None:
        """Runs a request that takes more than to run it in the module."""
        call = self._exchange.attended(slot)
        if call.answer is None:
            try:
                self._run_in(slot, call.request)
            except errors.EngineLostError:
                raise
            except errors.Error as error:
                call.answer = error
        self._ring.publish(slot, call.number)
        self._exchange.deliver([slot])

    def _run(self, request: protocol.Request) -> ring.Reply:
        """Runs a request of the thread's own."""
        self._run_in(self._ring.own, request)
        reply = self._ring.read(self._ring.own)
        if isinstance(reply, bytes):
            return ring.Reply(True, reply, "")
        if reply.printed:
            self._on_warning(reply.printed.strip())
        return reply

    def _run_in(self, slot: int, request: protocol.Request) -> None:
        if request.before is not None:
            request.before()
        ok = False
        try:
            ok = self._runtime.run(slot, request.body)
        finally:
            if request.after is not None:
                reply = self._ring.read(slot) if ok else None
                request.after(reply.body if isinstance(reply, ring.Reply) else reply)

    def _time_to_chores(self, last: float) -> float | None:
        due = self._chores.due(last) if self._chores is not None else None
        return None if due is None else min(max(0.0, due - time.monotonic()), _LONGEST_WAIT)
