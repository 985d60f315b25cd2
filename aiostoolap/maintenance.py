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
    """

    def __init__(self, checkpoint_every: float | None, vacuum_every: float | None) -> None:
        self._tasks: dict[str, _Task] = {}
        if checkpoint_every is not None:
            requests = (protocol.maintain(0, "cleanup"), protocol.maintain(0, "checkpoint"))
            self._tasks["checkpoint"] = _Task(checkpoint_every, requests)
        if vacuum_every is not None:
            self._tasks["vacuum"] = _Task(vacuum_every, (protocol.maintain(0, "vacuum"),))

    def states(self) -> dict[str, TaskState]:
        """The tasks that are on, by name."""
        return {name: task.state for name, task in self._tasks.items()}

    def due(self) -> float | None:
        """When the next task is due, on the clock of `time.monotonic`."""
        return min((task.due for task in self._tasks.values()), default=None)

    def run(self, submit: Callable[[protocol.Request], ring.Reply]) -> None:
        """Runs the tasks that are due; called on the engine's thread."""
        for name, task in self._tasks.items():
            if task.due <= time.monotonic():
                task.run(submit)
                if task.state.last_error is not None:
                    _log.warning("maintenance: %s failed: %s", name, task.state.last_error)
