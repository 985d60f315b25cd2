"""The thread that owns an instance, and the queue that leads to it.

A coroutine submits a request and waits; the thread takes what is queued as one batch, runs it, and wakes the tasks of
each event loop with one call. A call that is cancelled while it is queued never runs; one that runs is stopped and
waited for, so that nothing goes on after the cancellation, and what its reply would have left open is closed.
"""

from __future__ import annotations

import contextlib
import copy
import itertools
import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Protocol

import anyio.lowlevel

from aiostoolap import errors
from aiostoolap.core import lifetime, loops, protocol
from aiostoolap.core.calls import CANCELLED, CLOSE, Call, wake

if TYPE_CHECKING:
    from aiostoolap.core.runtime import Runtime

_log = logging.getLogger("aiostoolap")

# The engine's stack lies on the thread's, see core/runtime.py.
_THREAD_STACK = 256 << 20
_BATCH_BYTES = 16 << 20
_LONGEST_WAIT = 3600.0
"""Seconds that the thread waits at a time: its clock has a range."""


class Chores(Protocol):
    """What the thread does on its own between the requests."""

    def due(self) -> float | None:
        """When there is something to do, on the clock of `time.monotonic`; None for never."""

    def run(self, submit: Callable[[protocol.Request], protocol.Reply]) -> None:
        """Does what is due."""


class Executor:
    """Runs requests on a thread of its own.

    Args:
        start: makes the runtime; called on the thread.
        chores: what the thread does between requests.
        on_warning: what to do with what the engine prints.
        on_end: called on the thread when the runtime is gone.
    """

    def __init__(
        self,
        start: Callable[[], Runtime],
        chores: Chores | None = None,
        on_warning: Callable[[str], None] = _log.warning,
        on_end: Callable[[], None] = lambda: None,
    ) -> None:
        self._start = start
        self._chores = chores
        self._on_warning = on_warning
        self._on_end = on_end
        self._queue: queue.SimpleQueue[Call] = queue.SimpleQueue()
        self._count = itertools.count()
        # Reentrant: a collection of garbage may begin while it is held, and release what it finds.
        self._lock = threading.RLock()
        """Held to queue a call, to choose whether it runs or is withdrawn, and to reach the runtime from elsewhere."""
        self._runtime: Runtime | None = None
        self._running: list[Call] = []
        self._pending: deque[Call] = deque()
        """Taken from the queue, by the thread alone."""
        self._closing: errors.Error | None = None
        """What calls from now on are answered."""
        self._closers: list[Call] = []
        """Further calls that wait for the end."""
        self._ended = False
        self._dropping = False
        self._thread = threading.Thread(target=self._main, name="aiostoolap", daemon=True)
        with lifetime.thread_stack(_THREAD_STACK):
            self._thread.start()
        lifetime.register(self)

    async def submit(self, request: protocol.Request, timeout: float | None = None) -> memoryview:
        """Runs a request and returns the body of its reply.

        Args:
            request: what to run.
            timeout: seconds; it is stopped then.

        Raises:
            Error: the engine reported a failure, is closed, or is gone.
            TimeoutError: it was stopped; one that succeeded all the same returns its reply.
        """
        # A child of a fork must hear of that, not that it has no event loop.
        self._check()
        await anyio.lowlevel.checkpoint_if_cancelled()
        return await self._reply(self._enqueue(request, loops.waiter()), timeout)

    def post(self, request: protocol.Request) -> None:
        """Has a request run whose reply nobody wants; one that comes too late is dropped."""
        with contextlib.suppress(errors.Error):
            self._enqueue(request, None)

    async def close(self) -> None:
        """Runs what is queued, closes all databases, and ends the thread. May be called again.

        Raises:
            Error: a database could not be closed cleanly.
        """
        call = self._end(loops.waiter())
        if call is not None:
            await self._reply(call)

    def stop(self, timeout: float = 0) -> None:
        """Ends as `close` does, without an event loop: what runs is stopped, what is queued is dropped.

        Args:
            timeout: seconds to wait for the end.
        """
        if self._closing is None:
            with self._lock:
                self._dropping = True
                for call in self._running:
                    self._stop(call)
            self._end(None)
        if timeout > 0 and self._thread is not threading.current_thread():
            self._thread.join(timeout)

    @property
    def is_open(self) -> bool:
        """Whether requests are taken."""
        return self._closing is None

    @property
    def queued(self) -> int:
        """How many calls wait for the thread."""
        return self._queue.qsize()

    def forget_parent(self) -> None:
        """After a fork, in the child: there is no thread here, but perhaps a lock that it held."""
        self._lock = threading.RLock()
        self._ended = True
        self._closing = errors.InterfaceError("the engine was made before the fork; make another one in this process")

    def _next_number(self) -> int:
        """From 1 to 2^32 - 1, and again: a stop slot that is not in use holds 0."""
        return 1 + next(self._count) % (2**32 - 1)

    # The caller's side.

    def _check(self) -> None:
        if self._closing is not None:
            raise copy.copy(self._closing)

    def _enqueue(self, request: protocol.Request, waiter: loops.Waiter | None) -> Call:
        call = Call(self._next_number(), request, waiter)
        with self._lock:
            self._check()
            self._queue.put(call)
        return call

    def _end(self, waiter: loops.Waiter | None) -> Call | None:
        """Has the thread end, and returns a call that is answered then; None if it has ended already."""
        call = Call(self._next_number(), CLOSE, waiter)
        with self._lock:
            if self._ended:
                return None
            if self._closing is None:
                self._closing = errors.ClosedError("the engine is closed")
                self._queue.put(call)
            else:
                self._closers.append(call)
        return call

    async def _reply(self, call: Call, timeout: float | None = None) -> memoryview:
        waiter = call.waiter
        assert waiter is not None
        timed_out = False
        try:
            if timeout is None:
                await waiter.wait()
            else:
                with anyio.move_on_after(timeout):
                    await waiter.wait()
                if timed_out := not call.is_done():
                    self._withdraw_or_stop(call)
                    while not call.is_done():
                        await waiter.wait()
        except GeneratorExit:
            # The loop is gone, and nobody can wait any more.
            self._abandon(call)
            raise
        except BaseException:
            if self._abandon(call):
                await loops.wait_through(waiter, call.is_done)
            raise
        reply = call.reply
        if isinstance(reply, protocol.Reply):
            if reply.ok:
                return reply.body
            error = errors.from_reply(*protocol.failure(reply.body))
        else:
            assert reply is not None
            error = copy.copy(reply)
        if timed_out and isinstance(error, errors.StatementCancelledError):
            raise TimeoutError(f"the statement was stopped after {timeout} s")
        raise error

    def _withdraw_or_stop(self, call: Call) -> None:
        with self._lock:
            call.stopped = True
            self._stop(call)
            if call.place is None and not call.is_done():
                call.reply = CANCELLED

    def _abandon(self, call: Call) -> bool:
        """Withdraws a call that is queued, or stops it; true if it runs and its end is to be waited for."""
        with self._lock:
            call.abandoned = True
            self._stop(call)
            runs = call.place is not None or call.request.keep
        if call.is_done():
            self._undo(call)
            return False
        return runs

    def _stop(self, call: Call) -> None:
        if self._runtime is not None and call.place is not None and not call.request.keep:
            self._runtime.stop(call.place, call.number)

    def _undo(self, call: Call) -> None:
        """Closes what the reply to an abandoned call has opened."""
        reply, call.reply = call.reply, CANCELLED
        if isinstance(reply, protocol.Reply) and reply.ok and call.request.undo is not None:
            undo = call.request.undo(reply.body)
            if undo is not None:
                self.post(undo)

    # The thread's side.

    def _main(self) -> None:
        end: errors.Error = errors.ClosedError("the engine is closed")
        closed: protocol.Reply | None = None
        try:
            runtime = self._start()
            with self._lock:
                self._runtime = runtime
            closed = self._serve(runtime)
        except errors.Error as error:
            end = error
        except BaseException as error:
            _log.exception("the engine's thread failed")
            end = errors.InternalError(f"the engine's thread failed: {error!r}")
        finally:
            self._finish(end, closed)

    def _serve(self, runtime: Runtime) -> protocol.Reply:
        """Runs batches until the one that closes; returns its reply, which is delivered when all is freed."""
        while True:
            batch = self._next_batch()
            if batch and batch[0].request is CLOSE:
                return self._run_now(runtime, CLOSE)
            if batch:
                self._run_batch(runtime, batch)
            self._do_chores(runtime)

    def _next_batch(self) -> list[Call]:
        """Waits for calls, and takes all that are there, up to a batch; none if chores are due first.

        The call that closes comes alone.
        """
        pending = self._pending
        with contextlib.suppress(queue.Empty):
            if not pending:
                pending.append(self._queue.get(timeout=self._time_to_chores()))
            while len(pending) < protocol.BATCH_SIZE:
                pending.append(self._queue.get_nowait())
        batch: list[Call] = []
        withdrawn: list[tuple[Call, errors.Error]] = []
        size = 0
        with self._lock:
            while pending:
                call = pending[0]
                closes = call.request is CLOSE
                size += len(call.request.body)
                if batch and (closes or size > _BATCH_BYTES):
                    break
                pending.popleft()
                if (call.abandoned or call.stopped or self._dropping) and not call.request.keep:
                    if call.prepared:
                        call.conclude(False)
                    withdrawn.append((call, CANCELLED))
                elif (refusal := self._prepare(call)) is not None:
                    withdrawn.append((call, refusal))
                else:
                    call.place = len(batch)
                    batch.append(call)
                if closes:
                    break
            self._running = batch
        self._deliver(withdrawn)
        return batch

    def _prepare(self, call: Call) -> errors.Error | None:
        try:
            if call.request.before is not None and not call.prepared:
                call.request.before()
                call.prepared = True
        except errors.Error as error:
            return error
        return None

    def _run_batch(self, runtime: Runtime, batch: list[Call]) -> None:
        """Runs a batch and delivers the replies; calls that were not reached wait for the next one."""
        try:
            replies = protocol.decode_batch(
                runtime.run(protocol.encode_batch((call.number, call.request.body) for call in batch))
            )
        except errors.MemoryLimitError as error:
            for call in batch:
                call.conclude(False)
            self._deliver((call, error) for call in batch)
            return
        left = batch[len(replies) :]
        with self._lock:
            for call in left:
                call.place = None
            self._running = []
        self._pending.extendleft(reversed(left))
        for call, reply in zip(batch, replies, strict=False):
            call.conclude(reply.ok)
        self._deliver(zip(batch, replies, strict=False))
        for reply in replies:
            if reply.warnings:
                self._on_warning(reply.warnings.strip())

    def _deliver(self, finished: Iterable[tuple[Call, protocol.Reply | errors.Error]]) -> None:
        """Wakes the tasks that wait, each loop's with one call."""
        waiting: dict[loops.Loop, list[Call]] = {}
        for call, reply in finished:
            with self._lock:
                call.reply = reply
                abandoned = call.abandoned
            if abandoned:
                self._undo(call)
            if call.waiter is not None:
                waiting.setdefault(call.waiter.loop, []).append(call)
        for loop, calls in waiting.items():
            try:
                loop.post(wake, calls)
            except RuntimeError:
                # The loop is closed: nobody takes these replies.
                for call in calls:
                    self._undo(call)

    def _time_to_chores(self) -> float | None:
        due = self._chores.due() if self._chores is not None else None
        return None if due is None else min(max(0.0, due - time.monotonic()), _LONGEST_WAIT)

    def _do_chores(self, runtime: Runtime) -> None:
        if self._chores is not None and self._time_to_chores() == 0:
            self._chores.run(lambda request: self._run_now(runtime, request))

    def _run_now(self, runtime: Runtime, request: protocol.Request) -> protocol.Reply:
        return protocol.decode_batch(runtime.run(protocol.encode_batch([(self._next_number(), request.body)])))[0]

    def _finish(self, end: errors.Error, closed: protocol.Reply | None) -> None:
        """Frees the instance, and answers whoever still waits."""
        with self._lock:
            if self._closing is None:
                self._closing = end
            runtime, self._runtime = self._runtime, None
            waiting, self._running = [*self._running, *self._pending], []
        try:
            if runtime is not None:
                runtime.close()
            self._on_end()
        finally:
            with self._lock:
                self._ended = True
                waiting += self._closers
            with contextlib.suppress(queue.Empty):
                while True:
                    waiting.append(self._queue.get_nowait())
            answers = ((call, closed if closed and call.request is CLOSE else end) for call in waiting)
            self._deliver((call, answer) for call, answer in answers if not call.is_done())
