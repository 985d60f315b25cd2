"""The thread that owns an instance, and what leads to it.

A coroutine places a request in the ring and looks for the reply, for some turns of its event loop; then it sleeps until
the thread wakes it. A call that is cancelled before its turn never runs; one that runs is stopped and waited for, so
that nothing goes on after the cancellation, and what its reply would have left open is closed.
"""

from __future__ import annotations

import copy
import logging
import threading
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import anyio

from aiostoolap import errors
from aiostoolap.core import lifetime, loops, protocol, ring
from aiostoolap.core.call import Call
from aiostoolap.core.exchange import Exchange
from aiostoolap.core.inheritance import Inheritance
from aiostoolap.core.instances import Instances
from aiostoolap.core.pace import Pace
from aiostoolap.core.server import Chores, Server
from aiostoolap.core.watch import Watch

if TYPE_CHECKING:
    from aiostoolap.core.runtime import Runtime

_log = logging.getLogger("aiostoolap")

# The engine's stack lies on the thread's, see core/runtime.py.
_THREAD_STACK = 256 << 20


class Figures(NamedTuple):
    """See `aiostoolap.Stats`."""

    queued: int
    calls: int
    failures: int
    waited_seconds: float
    awake_seconds: float
    lost_instances: int


class Executor:
    """Runs requests on a thread of its own.

    Args:
        start: makes the runtime; called on the thread.
        pace: how long the thread waits awake for requests.
        chores: what the thread does between requests.
        on_warning: what to do with what the engine prints.
        on_end: called on the thread when the runtime is gone.
    """

    def __init__(
        self,
        start: Callable[[], Runtime],
        pace: Pace,
        chores: Chores | None = None,
        on_warning: Callable[[str], None] = _log.warning,
        on_end: Callable[[], None] = lambda: None,
    ) -> None:
        self._start = start
        self.inheritance = Inheritance()
        """The requests for what outlives the engine's instance."""
        self._lost = 0
        self._pace = pace
        self._chores = chores
        self._on_warning = on_warning
        self._on_end = on_end
        self._exchange = Exchange()
        self.version = ""
        """The engine's, once it has started."""
        self._here = threading.local()
        """The watch of each thread's loop."""
        self._watches = weakref.WeakSet[Watch]()
        self._starters: list[loops.Waiter] = []
        self._closers: list[loops.Waiter] = []
        self._failure: errors.Error | None = None
        """Why the databases could not be closed cleanly."""
        self._thread = threading.Thread(target=self._main, name="aiostoolap", daemon=True)
        with lifetime.thread_stack(_THREAD_STACK):
            self._thread.start()
        lifetime.register(self)

    async def start(self) -> None:
        """Waits until requests can be submitted.

        Raises:
            InterfaceError: the engine's module cannot be used.
        """
        waiter = loops.running().waiter()
        with self._exchange.lock:
            started = bool(self.version) or self._exchange.ended
            if not started:
                self._starters.append(waiter)
        if not started:
            await waiter.wait()
        self._exchange.check()

    async def _finish(self, call: Call, loop: loops.Loop, timeout: float | None) -> bytes:
        exchange = self._exchange
        in_time = True
        try:
            if not (call.polled and exchange.is_quick and loop.may_skip_turn() and call.is_done_soon()):
                done = False
                if call.polled or call.is_done():
                    await loop.turn  # For the others on this loop, too.
                    done = call.is_done()
                    exchange.is_quick = done and len(exchange.placed) == 1
                if not done:
                    in_time = await self._sleep(call, loop, timeout)
        except GeneratorExit:
            # The loop is gone, and nobody can wait any more.
            exchange.orphan(call)
            raise
        except BaseException:
            if not exchange.withdraw(call):
                await self._sleep_through(call, loop)
                exchange.settle(call)
            raise
        answer = exchange.take(call)
        if isinstance(answer, bytes):
            return answer
        try:
            return self._read(answer)
        except errors.StatementCancelledError:
            if in_time:
                raise
            raise TimeoutError(f"the statement was stopped after {timeout} s") from None

    def _read(self, answer: ring.Reply | errors.Error) -> bytes:
        if isinstance(answer, errors.Error):
            raise copy.copy(answer)
        if answer.printed:
            self._on_warning(answer.printed.strip())
        if answer.ok:
            return answer.body
        raise errors.from_reply(*protocol.failure(answer.body))

    async def _sleep(self, call: Call, loop: loops.Loop, timeout: float | None) -> bool:
        """Sleeps until a call is done; false if it was stopped because its time was up."""
        watch = self._watch(loop)
        if timeout is None:
            await watch.sleep(call)
            return True
        with anyio.move_on_after(timeout):
            await watch.sleep(call)
        if call.is_done():
            return True
        if not self._exchange.withdraw(call):
            await watch.sleep(call)
        return False

    async def _sleep_through(self, call: Call, loop: loops.Loop) -> None:
        watch = self._watch(loop)
        await loops.wait_through(lambda: watch.sleep(call), call.is_done)

    def _watch(self, loop: loops.Loop) -> Watch:
        watch: Watch | None = getattr(self._here, "watch", None)
        if watch is None or watch.loop is not loop:
            watch = self._here.watch = Watch(self._exchange, loop, self._watches)
        return watch

    async def close(self) -> None:
        """Runs what is placed, closes all databases, and ends the thread. May be called again.

        Raises:
            Error: a database could not be closed cleanly.
        """
        waiter = loops.running().waiter()
        with self._exchange.lock:
            if self._exchange.ended:
                return
            self._exchange.begin_to_end(stop=False)
            self._closers.append(waiter)
        try:
            await waiter.wait()
        except GeneratorExit:
            raise
        except BaseException:
            await loops.wait_through(waiter.wait, lambda: self._exchange.ended)
            raise
        if self._failure is not None:
            raise copy.copy(self._failure)

    def stop(self, timeout: float = 0) -> None:
        """Ends as `close` does, without an event loop: what runs is stopped, what is placed is dropped.

        Args:
            timeout: seconds to wait for the end.
        """
        self._exchange.begin_to_end(stop=True)
        if timeout > 0 and self._thread is not threading.current_thread():
            self._thread.join(timeout)

    @property
    def is_open(self) -> bool:
        """Whether requests are taken."""
        return self._exchange.closing is None

    def figures(self) -> Figures:
        """What its calls have come to so far.

        Raises:
            Error: the engine is closed, or is gone.
        """
        exchange = self._exchange
        exchange.check()  # A child of a fork must not wait for a lock that the parent's thread had.
        return Figures(
            exchange.queued, exchange.calls, exchange.failures, exchange.waited, exchange.awake_seconds, self._lost
        )

    def forget_parent(self) -> None:
        """After a fork, in the child: there is no thread here."""
        self._exchange.forget_parent()

    def _main(self) -> None:
        end: errors.Error = errors.ClosedError("the engine is closed")
        instances: Instances | None = None
        try:
            instances = Instances(self._start, self._exchange, self.inheritance)
            with self._exchange.lock:
                self.version = instances.current.version
                loops.wake_all(self._starters)
            while not self._serve(instances):
                self._lost = instances.lost
        except errors.Error as error:
            end = error
        except BaseException as error:
            _log.exception("the engine's thread failed")
            end = errors.InternalError(f"the engine's thread failed: {error!r}")
        finally:
            self._exchange.end(end)
            try:
                if instances is not None:
                    instances.current.close()
                self._on_end()
            finally:
                with self._exchange.lock:
                    self._exchange.ended = True
                    loops.wake_all(self._starters)
                    loops.wake_all(self._closers)

    def _serve(self, instances: Instances) -> bool:
        """Serves with one instance; false if it is gone, and another one has taken its place."""
        server = Server(instances.current, self._exchange, self._pace, self._chores, self._on_warning)
        try:
            self._exchange.open(instances.current.ring)
            reply = server.serve()
        except errors.EngineLostError as loss:
            if instances.replace(loss):
                return False
            self._failure = loss
        else:
            if not reply.ok:
                self._failure = errors.from_reply(*protocol.failure(reply.body))
        return True
