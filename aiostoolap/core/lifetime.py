"""What outlives a call: threads with a large stack, the interpreter's end, and forks."""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
import time
import warnings
import weakref
from collections.abc import Iterator
from typing import Protocol

_EXIT_TIME = 0.8
"""Seconds that engines left open may take when the interpreter ends."""


class Ending(Protocol):
    """Something with a thread, to be ended with the interpreter."""

    @property
    def is_open(self) -> bool:
        """Whether nobody has ended it yet."""

    def stop(self, timeout: float) -> None:
        """Ends it, and waits so many seconds for that."""

    def forget_parent(self) -> None:
        """After a fork, in the child: the thread is not here."""


def register(ending: Ending) -> None:
    """Has it ended with the interpreter, and told of forks."""
    _executors.add(ending)


@contextlib.contextmanager
def thread_stack(size: int) -> Iterator[None]:
    with _stack_size_lock:
        before = threading.stack_size(size)
        try:
            yield
        finally:
            threading.stack_size(before)


_stack_size_lock = threading.Lock()
_executors: weakref.WeakSet[Ending] = weakref.WeakSet()


def _stop_all() -> None:
    deadline = time.monotonic() + _EXIT_TIME
    left_open = [executor for executor in list(_executors) if executor.is_open]
    for executor in list(_executors):
        executor.stop(0)  # All hear of it before one of them is waited for.
    for executor in list(_executors):
        executor.stop(max(0.01, deadline - time.monotonic()))
    if left_open:
        warnings.warn("an engine was not closed before the interpreter ended", ResourceWarning, stacklevel=1)


def _forget_all() -> None:
    # A thread of the parent may have held it.
    global _stack_size_lock
    _stack_size_lock = threading.Lock()
    for executor in list(_executors):
        executor.forget_parent()


atexit.register(_stop_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)
