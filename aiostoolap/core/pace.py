"""How long the engine's thread waits for the next request awake, which spares both sides the cost of a wake-up."""

from __future__ import annotations

import os
import threading
import time
from typing import Literal

from aiostoolap.core.processors import processors
from aiostoolap.core.ring import Ring

Latency = Literal["low", "balanced", "power"]

_PATIENCE = {"low": 0.002, "balanced": 0.0002, "power": 0.0}
"""Seconds to look for a request without a pause, if the one before came soon; benchmarks/ says what these cost."""
_DOZE = 0.02
"""Seconds to sleep inside of the module, after that: who is woken there need not wait for Python's lock."""
_SHORTEST_CALM, _LONGEST_CALM = 0.001, 0.256
"""Seconds for which a thread that was disturbed, while it waited awake, does so no more."""
_SMOOTH = 64
"""After so many requests a disturbance is the first one again."""


class Spinners:
    """The threads that may wait awake, by their rings: all processors but one, which is left to the event loops."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._most = max(1, processors() - 1)
        self._rings: set[Ring] = set()

    def add(self, place: Ring) -> bool:
        """Whether one more may; it takes the turn of a thread that sleeps inside of the module, if none is left."""
        with self._guard:
            if len(self._rings) >= self._most:
                asleep = next((other for other in self._rings if other.is_asleep), None)
                if asleep is None:
                    return False
                asleep.lose_patience()
                self._rings.remove(asleep)
            self._rings.add(place)
            return True

    def remove(self, place: Ring) -> None:
        """It does so no more, and does not sleep there."""
        with self._guard:
            self._rings.discard(place)


_spinners = Spinners()


def _forget_threads() -> None:
    # After a fork: the parent's threads have theirs.
    global _spinners
    _spinners = Spinners()


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

    def begin(self, place: Ring) -> tuple[int, int]:
        """Begins to serve a ring: how many microseconds to look for requests without a pause, and then to sleep."""
        if not self._several:
            return 0, 0
        self._spinning = self.waits and _spinners.add(place)
        return int(self._patience * 1e6) if self._spinning else 0, int(_DOZE * 1e6)

    def end(self, place: Ring, served: int) -> None:
        """Ends to serve it, after so many requests."""
        if self._spinning:
            self._spinning = False
            _spinners.remove(place)
        self._smooth += served

    def disturbed(self) -> None:
        """Tells that another thread wanted the processor on which this one waited awake.

        From now on it sleeps while it has nothing to do, for a while, and for longer if that happens again soon.
        """
        self._calm = _SHORTEST_CALM if self._smooth > _SMOOTH else min(2 * self._calm, _LONGEST_CALM)
        self._calm_until = time.monotonic() + self._calm
        self._smooth = 0
