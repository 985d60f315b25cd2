"""How long the engine's thread waits for the next request awake, which spares both sides the cost of a wake-up."""

from __future__ import annotations

import os
import threading
import time
from typing import Literal

Latency = Literal["low", "balanced", "power"]

_PATIENCE = {"low": 0.002, "balanced": 0.0002, "power": 0.0}
"""Seconds to look for a request without a pause, if the one before came soon; benchmarks/ says what these cost."""
_DOZE = 0.02
"""Seconds to sleep inside of the module, after that: who is woken there need not wait for Python's lock."""
_SHORTEST_CALM, _LONGEST_CALM = 0.001, 0.256
"""Seconds for which a thread that was disturbed, while it waited awake, does so no more."""
_SMOOTH = 64
"""After so many requests a disturbance is the first one again."""


def processors() -> int:
    """How many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _permits() -> threading.BoundedSemaphore:
    # One processor is left to the event loops.
    return threading.BoundedSemaphore(max(1, processors() - 1))


_spinners = _permits()


def _forget_threads() -> None:
    # After a fork: the parent's threads have theirs.
    global _spinners
    _spinners = _permits()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_threads)


class Pace:
    """One thread's account of whether other threads want its processor.

    Args:
        latency: how long it waits awake: "low" milliseconds, "balanced" less, "power" not at all.
    """

    def __init__(self, latency: Latency) -> None:
        self._several = processors() > 1
        self._patience = _PATIENCE[latency]
        self._calm = _SHORTEST_CALM
        self._calm_until = 0.0
        self._smooth = 0
        self._spinning = False

    @property
    def waits(self) -> bool:
        """Whether it pays to wait awake now."""
        if not self._several or not self._patience:
            return False
        return not self._calm_until or time.monotonic() > self._calm_until

    def begin(self) -> tuple[int, int]:
        """Begins to serve: how many microseconds to look for requests without a pause, and then to sleep."""
        if not self._several:
            return 0, 0
        self._spinning = self.waits and _spinners.acquire(blocking=False)
        return int(self._patience * 1e6) if self._spinning else 0, int(_DOZE * 1e6)

    def end(self, served: int) -> None:
        """Ends to serve, after so many requests."""
        if self._spinning:
            self._spinning = False
            _spinners.release()
        self._smooth += served

    def disturbed(self) -> None:
        """Tells that another thread wanted the processor on which this one waited awake.

        From now on it sleeps while it has nothing to do, for a while, and for longer if that happens again soon.
        """
        self._calm = _SHORTEST_CALM if self._smooth > _SMOOTH else min(2 * self._calm, _LONGEST_CALM)
        self._calm_until = time.monotonic() + self._calm
        self._smooth = 0
