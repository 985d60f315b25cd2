"""The maintenance that the native engine does on a thread of its own, and a WebAssembly one cannot: on a timer.

It runs on the engine's thread between the requests, so it needs no task and belongs to no event loop.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from aiostoolap import errors
from aiostoolap.core import protocol, ring

__all__ = ["TaskState"]

_log = logging.getLogger("aiostoolap")
_LONGEST_BACKOFF = 3600.0
LOG_LIMIT = 32 << 20
"""Bytes of a log from which on a checkpoint does not wait for its time."""
_LOOK_EVERY = 1.0
_LONGEST_LOOK = 60.0


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


class _Task:
    def __init__(self, every: float, requests: tuple[protocol.Request, ...]) -> None:
        self.state = TaskState(every)
        self.due = time.monotonic() + every
        self._requests = requests

    def run(self, submit: Callable[[protocol.Request], ring.Reply]) -> None:
        begun = time.monotonic()
        error = None
        for request in self._requests:
            try:
                reply = submit(request)
            except errors.MemoryLimitError as failure:
                error = str(failure)
                break
            if not reply.ok:
                error = str(errors.from_reply(*protocol.failure(reply.body)))
                break
        seconds = time.monotonic() - begun
        state = self.state
        if error is None:
            self.state = TaskState(state.every, state.runs + 1, 0, seconds, None)
        else:
            self.state = TaskState(state.every, state.runs, state.failures + 1, seconds, error)
        pause = min(state.every * 2 ** min(self.state.failures, 20), max(state.every, _LONGEST_BACKOFF))
        self.due = time.monotonic() + pause


class Maintenance:
    """Issues PRAGMA CHECKPOINT, the engine's cleanup calls, and VACUUM, each on its own period.

    Args:
        checkpoint_every: seconds between checkpoints, with which the cleanup calls go; None for never.
        vacuum_every: seconds between VACUUMs, which end the history of AS OF queries; None for never.
        log_bytes: how large the largest log is.
    """

    def __init__(
        self, checkpoint_every: float | None, vacuum_every: float | None, log_bytes: Callable[[], int] = lambda: 0
    ) -> None:
        self._tasks: dict[str, _Task] = {}
        self._log_bytes = log_bytes
        self._look_every = _LOOK_EVERY
        self._next_look = time.monotonic() + _LOOK_EVERY
        if checkpoint_every is not None:
            requests = (protocol.maintain(0, "cleanup"), protocol.maintain(0, "checkpoint"))
            self._tasks["checkpoint"] = _Task(checkpoint_every, requests)
        if vacuum_every is not None:
            self._tasks["vacuum"] = _Task(vacuum_every, (protocol.maintain(0, "vacuum"),))

    def states(self) -> dict[str, TaskState]:
        """The tasks that are on, by name."""
        return {name: task.state for name, task in self._tasks.items()}

    def due(self, *, idle: bool) -> float | None:
        """When there is something to do, on the clock of `time.monotonic`.

        Args:
            idle: no requests come, so that no log grows.
        """
        times = [task.due for task in self._tasks.values()]
        if "checkpoint" in self._tasks and not idle:
            times.append(self._next_look)
        return min(times, default=None)

    def run(self, submit: Callable[[protocol.Request], ring.Reply]) -> None:
        """Runs the tasks that are due; called on the engine's thread."""
        self._look_at_logs()
        for name, task in self._tasks.items():
            if task.due <= time.monotonic():
                task.run(submit)
                if task.state.last_error is not None:
                    _log.warning("maintenance: %s failed: %s", name, task.state.last_error)

    def _look_at_logs(self) -> None:
        """Brings the checkpoint forward if a log has grown; less often if that has not helped."""
        task, now = self._tasks.get("checkpoint"), time.monotonic()
        if task is None or now < self._next_look:
            return
        grown = self._log_bytes() > LOG_LIMIT
        if grown and not task.state.failures:
            task.due = now
        self._look_every = min(2 * self._look_every, _LONGEST_LOOK) if grown else _LOOK_EVERY
        self._next_look = now + self._look_every
