"""How long the engine's thread waits awake for the next request, which spares both sides the cost of a wake-up."""

from __future__ import annotations

import os
import threading
import time
from typing import Literal

Latency = Literal["low", "balanced", "power"]

_LONGEST = {"low": 0.002, "balanced": 0.0002, "power": 0.0}
"""Seconds. A wake-up costs about 0.0001 on either side; benchmarks/ measures what these settings bring and cost."""
_CREDIT = 4
"""So many waits in vain, each after a pause that was too long, until requests are no longer waited for awake."""
_SHORTEST_QUIET, _LONGEST_QUIET = 0.01, 1.0
"""Seconds in which requests are not waited for awake, for the processor is wanted elsewhere."""
_STRIKES, _SMOOTH = 3, 64
"""It is if that happened so many times, and never so many requests were served in between."""


def processors() -> int:
    """How many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


# One processor is left to the event loops.
_spinners = threading.BoundedSemaphore(max(1, processors() - 1))


class Pace:
    """One thread's account of how fast requests come.

    Args:
        latency: how long it may wait awake: "low" milliseconds, "balanced" less, "power" not at all.
    """

    def __init__(self, latency: Latency) -> None:
        self._longest = _LONGEST[latency] if processors() > 1 else 0.0
        self._credit = 0
        self._spinning = False
        self._quiet_until = 0.0
        self._quiet = _SHORTEST_QUIET
        self._strikes = 0

    @property
    def polls(self) -> bool:
        """Whether tasks should look for their replies themselves for a while."""
        return self._longest > 0

    def begin(self) -> int:
        """Begins to serve: how many microseconds to wait awake for a request."""
        if not self._credit or not self._longest or time.monotonic() < self._quiet_until:
            return 0
        self._spinning = _spinners.acquire(blocking=False)
        return int(self._longest * 1e6) if self._spinning else 0

    def end(self, served: int, disturbed: bool) -> None:
        """Ends to serve.

        Args:
            served: so many requests.
            disturbed: another thread wanted the processor while this one waited.
        """
        if self._spinning:
            self._spinning = False
            _spinners.release()
            self._account(served, disturbed)
        if served > 1:
            self._credit = _CREDIT

    def _account(self, served: int, disturbed: bool) -> None:
        """Stays quiet if the processor is wanted elsewhere again and again, and longer each time."""
        if served > _SMOOTH:
            self._strikes, self._quiet = 0, _SHORTEST_QUIET
        elif disturbed:
            self._strikes += 1
            if self._strikes == _STRIKES:
                self._strikes, self._quiet = 0, min(2 * self._quiet, _LONGEST_QUIET)
                self._quiet_until = time.monotonic() + self._quiet

    def slept(self, seconds: float) -> None:
        """Tells how long the thread slept before a request came."""
        if seconds < self._longest:
            self._credit = _CREDIT
        elif self._credit:
            self._credit -= 1
