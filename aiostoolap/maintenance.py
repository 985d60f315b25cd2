"""The maintenance that the native engine does on a thread of its own, and a WebAssembly one cannot: on a timer.

It runs on the engine's thread between the requests, so it needs no task and belongs to no event loop.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import anyio

from aiostoolap import errors
from aiostoolap.core import loops, protocol, ring
from aiostoolap.logs import Logs

__all__ = ["TaskState"]

_log = logging.getLogger("aiostoolap")
_LONGEST_BACKOFF = 3600.0
LOG_LIMIT = 8 << 20
"""Bytes of a log from which on a checkpoint does not wait for its time; the longer the log, the longer it takes."""
_LEFT_LOG = 1 << 20
"""Bytes of a log that are not worth a second checkpoint."""
_LOOK_EVERY = 0.5
"""Seconds between two looks at the logs: what was written before the one is synced at the other, if all is quiet."""
_LONGEST_LOOK = 60.0
_QUIET = 0.05
"""Seconds without a request that make a good moment for a task that is due."""
_PATIENCE = 10.0
"""Seconds that a task waits for such a moment."""
_GATE = 0.5
"""Seconds for which no transaction begins, so that those that are open come to their end; it goes on while some do."""
_GATE_STEP = 0.002
"""Seconds between two looks whether they have."""

_Submit = Callable[[protocol.Request], ring.Reply]


@dataclass(frozen=True, slots=True)
class TaskState:
    """How a maintenance task is doing.

    Attributes:
        every: seconds between two runs.
        runs: how often it succeeded.
        failures: how often it failed in a row; the pause doubles with each.
        last_seconds: how long the last run took, in seconds.
        last_error: what the last failure said; None after a success.
    """

    every: float
    runs: int = 0
    failures: int = 0
    last_seconds: float = 0.0
    last_error: str | None = None


class _FailedError(Exception):
    """The engine has reported a failure."""


class _Task:
    def __init__(self, name: str, every: float) -> None:
        self.name = name
        self.state = TaskState(every)
        self._plan(every)

    def _plan(self, pause: float) -> None:
        self.due = time.monotonic() + pause
        self._latest = self.due + min(pause, _PATIENCE)

    def when(self, last: float) -> float:
        """When to run it: once no request has come for a moment, if that is soon enough."""
        return min(max(self.due, last + _QUIET), self._latest)

    def hurry(self) -> None:
        """Has it run at once, unless it has failed."""
        if not self.state.failures:
            self._plan(0.0)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Notes how the block goes, and plans the next one."""
        begun, error = time.monotonic(), None
        try:
            yield
        except (OSError, errors.MemoryLimitError, _FailedError) as failure:
            error = str(failure)
            _log.warning("maintenance: %s failed: %s", self.name, error)
        except errors.EngineLostError as failure:
            self._note(str(failure), time.monotonic() - begun)
            raise
        self._note(error, time.monotonic() - begun)

    def _note(self, error: str | None, seconds: float) -> None:
        state = replace(self.state, last_seconds=seconds, last_error=error)
        if error is None:
            self.state = replace(state, runs=state.runs + 1, failures=0)
        else:
            self.state = replace(state, failures=state.failures + 1)
        self._plan(min(state.every * 2 ** min(self.state.failures, 20), max(state.every, _LONGEST_BACKOFF)))


class Maintenance:
    """Syncs logs that the engine leaves unsynced, and issues PRAGMA CHECKPOINT, the engine's cleanup calls, and VACUUM.

    Args:
        checkpoint_every: seconds between checkpoints, with which the cleanup calls go; None for never.
        vacuum_every: seconds between VACUUMs, which end the history of AS OF queries; None for never.
        logs: the logs of the file databases; None if there can be none.
    """

    def __init__(self, checkpoint_every: float | None, vacuum_every: float | None, logs: Logs | None = None) -> None:
        self._logs = logs
        self._sync = _Task("sync", _LOOK_EVERY)
        self._tasks: dict[str, _Task] = {}
        if logs is not None and checkpoint_every is not None:
            self._tasks["checkpoint"] = _Task("checkpoint", checkpoint_every)
        if vacuum_every is not None:
            self._tasks["vacuum"] = _Task("vacuum", vacuum_every)
        self._looked = time.monotonic()
        self._next_early = self._looked
        self._early_pause = _LOOK_EVERY
        self._clearing = 0.0
        """When to see whether transactions are open; 0 while a checkpoint does not wait for their end."""
        self._shut_until = 0.0
        self._fewest = math.inf
        """Transactions that were open since the gate was shut, when they were fewest."""
        self._gate = threading.Lock()
        """Held to shut or open the gate, and to wait at it."""
        self._waiting: list[loops.Waiter] = []

    def states(self) -> dict[str, TaskState]:
        """The tasks that are on, by name."""
        tasks = [*self._tasks.values()] if self._logs is None else [self._sync, *self._tasks.values()]
        return {task.name: task.state for task in tasks}

    def log_bytes(self) -> int:
        """The size of the largest log, in bytes.

        Raises:
            OSError: a directory cannot be read.
        """
        return 0 if self._logs is None else self._logs.size()

    def due(self, last: float) -> float | None:
        """When there is something to do, on the clock of `time.monotonic`.

        Args:
            last: when the last request was served; infinite while requests may come without a notice.
        """
        times = [task.when(last) for task in self._tasks.values()]
        if self._logs is not None and (last >= self._looked or self._logs.unsynced or self._sync.state.failures):
            times.append(self._next_look())
        if self._clearing:
            times.append(self._clearing)
        return min(times, default=None)

    async def may_begin(self) -> None:
        """Waits a moment before a transaction begins, if a checkpoint waits for the end of those that are open."""
        while self._shut_until:
            with self._gate:
                pause = self._shut_until - time.monotonic()
                if pause <= 0:
                    break
                waiter = loops.running().waiter()
                self._waiting.append(waiter)
            with anyio.move_on_after(pause):
                await waiter.wait()

    def run(self, submit: _Submit, last: float) -> None:
        """Does what is due; called on the engine's thread."""
        if self._logs is not None and self._next_look() <= time.monotonic():
            self._look(self._logs)
        if self._clearing and self._clearing <= time.monotonic():
            self._clear(submit)
        for task in self._tasks.values():
            if task.when(last) <= time.monotonic():
                with task.running():
                    if task.name == "checkpoint":
                        self._checkpoint(submit)
                    else:
                        _ask(submit, task.name)
        if not self._clearing:
            self._open_gate()

    def _open_gate(self) -> None:
        if not self._shut_until:
            return
        with self._gate:
            self._shut_until = 0.0
            waiting, self._waiting = self._waiting, []
        loops.wake_all(waiting)

    def _next_look(self) -> float:
        return max(self._looked + _LOOK_EVERY, self._sync.due if self._sync.state.failures else 0.0)

    def _look(self, logs: Logs) -> None:
        """Syncs logs that have come to rest; brings the checkpoint forward if one has grown."""
        self._looked = time.monotonic()
        try:
            resting, size = logs.look(), logs.size()
        except OSError:
            with self._sync.running():
                raise
            return
        if resting or self._sync.state.failures:
            with self._sync.running():
                logs.sync(resting)
            if self._sync.state.failures and "checkpoint" in self._tasks:
                # The next fsync may succeed without having written that: the tables' files are to have it.
                self._tasks["checkpoint"].hurry()
        if size <= LOG_LIMIT:
            self._early_pause = _LOOK_EVERY
        elif self._looked >= self._next_early and "checkpoint" in self._tasks:
            # Less often if it does not help. Open transactions may keep the log from being cut.
            self._clearing, self._shut_until = self._looked, self._looked + _GATE
            self._fewest = math.inf
            self._early_pause = min(2 * self._early_pause, _LONGEST_LOOK)
            self._next_early = self._looked + self._early_pause

    def _clear(self, submit: _Submit) -> None:
        """Has the checkpoint run once no transaction is open, or the time for that is over."""
        now = time.monotonic()
        reply = submit(protocol.statistics())
        count = protocol.numbers(reply.body)["transactions"] if reply.ok else 0
        if count < self._fewest:
            self._fewest, self._shut_until = count, now + _GATE
        if count and now < self._shut_until:
            self._clearing = now + _GATE_STEP
        else:
            self._clearing = 0.0
            self._tasks["checkpoint"].hurry()

    def _checkpoint(self, submit: _Submit) -> None:
        _ask(submit, "cleanup")
        if self._logs is not None and not self._logs.is_stored():
            _ask(submit, "checkpoint")
            if self._logs.size() > _LEFT_LOG:
                _ask(submit, "checkpoint")  # The file that the first one has left goes with this one.
            if not protocol.numbers(_run(submit, protocol.statistics()))["hot_rows"]:
                # Else an open transaction has kept something out of it. What is to be opened again is stored by that.
                self._logs.store()
                self._early_pause, self._next_early = _LOOK_EVERY, 0.0


def _ask(submit: _Submit, task: str) -> None:
    _run(submit, protocol.maintain(0, task))


def _run(submit: _Submit, request: protocol.Request) -> bytes:
    reply = submit(request)
    if not reply.ok:
        raise _FailedError(str(errors.from_reply(*protocol.failure(reply.body))))
    return reply.body
