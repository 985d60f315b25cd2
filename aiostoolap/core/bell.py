"""`Bell`: the engine's thread sleeps until it rings. It also knows how long the thread was awake."""

from __future__ import annotations

import contextlib
import threading
import time


class Bell:
    """What wakes the thread.

    Args:
        guard: held to ring, and to lie down; so who rings knows whether the thread sleeps.
    """

    def __init__(self, guard: threading.RLock) -> None:
        self._guard = guard
        self.awake = True
        """The thread is not asleep, nor about to be."""
        self._bell = threading.Lock()
        self._bell.acquire()
        self._begun = self._lay_down = time.monotonic()
        self._slept = 0.0

    def ring(self) -> None:
        """Wakes the thread, if it sleeps."""
        if not self.awake:
            # Not when the thread takes note of it: that may take its time, above all if a task keeps Python's lock.
            self._slept += time.monotonic() - self._lay_down
            with contextlib.suppress(RuntimeError):  # It rings already: an exception came before the next line.
                self._bell.release()
            self.awake = True

    def lie_down(self) -> None:
        """Says that the thread is about to sleep."""
        self.awake = False
        self._lay_down = time.monotonic()

    def sleep(self, timeout: float | None) -> None:
        """Sleeps until the bell rings, or the time is up; after having lain down, and without the guard.

        Args:
            timeout: seconds; None for no limit.
        """
        rung = self._bell.acquire(timeout=-1 if timeout is None else timeout)
        with self._guard:
            if not rung and self.awake:
                rung = self._bell.acquire()  # Just after the time was up.
            self.awake = True
            if not rung:
                self._slept += time.monotonic() - self._lay_down

    @property
    def awake_seconds(self) -> float:
        """How long the thread was awake since the bell was made."""
        with self._guard:
            return (time.monotonic() if self.awake else self._lay_down) - self._begun - self._slept
