"""`Call`, a request on its way between a task and the engine's thread."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from aiostoolap import errors
from aiostoolap.core import protocol, ring

_LOOKS = (None,) * 64
"""So many take as long as a turn of an event loop, or two. The engine answers a point query in that time."""

Answer = bytes | ring.Reply | errors.Error


class Call(msgspec.Struct, eq=False):
    """A request on its way between a task and the engine's thread: a Struct, since one is made for each."""

    order: int
    """The engine serves calls in this order."""
    number: int
    """What the ring knows it by."""
    request: protocol.Request
    polled: bool
    """The thread is awake: it pays to look for the reply for a while."""
    slot: int | None = None
    """Its slot in the ring; None while it waits for its turn, and when the slot is free again."""
    abandoned: bool = False
    """Its task does not take the answer: the thread does."""
    wake: Callable[[], None] | None = None
    """What the thread calls when it is done, if that is expected."""
    answer: Answer | None = None
    """What came back, if it is not in the ring."""
    settled: bool = False
    """It was abandoned, and what it had opened is closed."""
    words: memoryview | None = None
    """The ring's, when its reply is to be seen there."""
    done: int = 0
    """The word that says so."""

    def is_done(self) -> bool:
        """Whether the answer is there."""
        words = self.words
        if words is None or self.answer is not None:
            return self.answer is not None
        try:
            return words[self.done] == self.number
        except ValueError:  # The memory was released: it is answered, or placed elsewhere.
            return self.answer is not None

    def is_done_soon(self) -> bool:
        """Whether the answer comes within a few microseconds, which this takes if not."""
        words, done, number = self.words, self.done, self.number
        if words is not None:
            try:
                for _ in _LOOKS:
                    if words[done] == number:
                        return True
            except ValueError:  # The memory was released.
                return self.is_done()
        return self.is_done()
