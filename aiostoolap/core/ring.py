"""The ring: slots in the engine's linear memory, where requests are placed and replies found while the engine serves.

Its layout is that of engine/src/ring.rs and of docs/protocol.md. Each word has one writer at a time. Whoever places or
takes holds the executor's lock; asking whether a reply is there needs none.
"""

from __future__ import annotations

import platform
import struct
import sys
import threading
from collections.abc import Callable
from typing import NamedTuple

SLOTS = 4096
_BODY_SIZE = 2048
_LARGE_BODIES, _LARGE_BODY_SIZE = 64, 1 << 16

# Words from the ring's address.
_TAIL, _LEAVE, _FOLLOW, _LIMIT, _PATIENCE, _TIME, _DOZE = range(7)
_HEAD, _AWAITED_COUNT, _SERVING, _TRANSACTIONS, _TRANSACTION_COUNT, _NAPS, _SLEPT = range(16, 23)
_QUEUE = 32
_AWAITED_SLOTS = _QUEUE + SLOTS
_FIRST_SLOT = _AWAITED_SLOTS + SLOTS
_SLOT_WORDS = 32
_NUMBER, _LENGTH, _ATTENDED, _STOP, _AWAITED, _LARGE = range(6)
DONE, _BEGUN, _FAILED = range(16, 19)
# DONE holds a request's number when its reply is there.
_unpack_reply = struct.Struct("<4I").unpack_from
"""From the word FAILED on: whether it failed, where the reply is, its length, and that of what was printed."""
_BODIES = 4 * (_FIRST_SLOT + SLOTS * _SLOT_WORDS)

_IDLE, _ATTEND, _DISTURBED = 0, 2, 3
"""Why the engine leaves `serve`; otherwise it has more to do."""

_WORD = 2**32


def is_ordered() -> bool:
    """Whether the stores of Python threads are seen by the engine's in the order in which they were made.

    Processors of the x86 family see to that (Intel SDM volume 3A, 8.2.2), and the lock of the executor is the fence
    between a store and a later load. Of other processors, and of Python without its GIL, it is not proven.
    """
    gil_enabled = getattr(sys, "_is_gil_enabled", lambda: True)()
    return gil_enabled and platform.machine().lower() in ("x86_64", "amd64")


class Reply(NamedTuple):
    """What came back for one request, in full."""

    ok: bool
    body: bytes
    printed: str


class Left(NamedTuple):
    """Why the engine has left `serve`."""

    idle: bool
    """There are no requests; otherwise there may be more."""
    attends: int | None
    """The slot of a request that was taken and is to be run by `run`."""
    disturbed: bool
    """It is idle: another thread wanted the processor while it waited."""


class Ring:
    """The ring of one instance. A slot is named by its first word.

    Args:
        memory: its linear memory, as bytes.
        words: the same, as 32-bit words.
        address: where the ring lies.
        wake: wakes the engine's thread if it sleeps inside of the module.
    """

    def __init__(self, memory: memoryview, words: memoryview, address: int, wake: Callable[[], None]) -> None:
        self._memory = memory
        self._wake = wake
        self._fence = threading.RLock()
        self._woken = 0
        self.words = words
        self._base = address // 4
        self._slots = self._base + _FIRST_SLOT
        self._queue = self._base + _QUEUE
        self._naps = self._base + _NAPS
        self._bodies = address + _BODIES
        self._large_bodies = self._bodies + SLOTS * _BODY_SIZE
        self._free_large = list(range(1, _LARGE_BODIES + 1))
        self._apart: dict[int, int] = {}
        """The slots whose bodies are not in them, and the large body that has each, or 0."""
        self._tail = 0
        self._slept = 0
        """Milliseconds, when it was last looked."""
        self.own = self._slots
        """The slot that the engine's thread uses for requests of its own. It is not queued, so one number will do."""
        self.words[self.own] = 1
        self.free = [self._slots + n * _SLOT_WORDS for n in range(SLOTS - 1, 0, -1)]
        """The slots that are free. The last one is taken first: its memory is in the processor's caches."""

    # Placing.

    def place(self, number: int, body: bytes, *, attended: bool = False, expected: bool = False) -> int:
        """Places a request and returns its slot; `rouse` afterwards has the engine's thread see it in its sleep.

        Args:
            number: from 1 to 2^32 - 1; other than those of requests shortly before.
            body: if there is no room for it, the request is attended.
            attended: the engine leaves `serve` for it, and `run` brings the body.
            expected: as if `expect` were called before it can be done.
        """
        slot = self.free.pop()
        words = self.words
        try:
            offset = slot - self._slots
            size = len(body)
            words[slot] = number
            if expected:
                words[slot + _AWAITED] = number
            words[slot + _LENGTH] = size
            if attended or size > _BODY_SIZE:
                self._place_apart(slot, body, attended)
            else:
                start = self._bodies + offset * (_BODY_SIZE // _SLOT_WORDS)
                self._memory[start : start + size] = body
        except BaseException:  # An interrupt from the keyboard. It comes where something is called: not from here on.
            self.release(slot)
            raise
        tail = self._tail
        words[self._queue + tail % SLOTS] = offset // _SLOT_WORDS
        self._tail = tail = (tail + 1) % _WORD
        words[self._base] = tail
        return slot

    def _place_apart(self, slot: int, body: bytes, attended: bool) -> None:
        words, size = self.words, len(body)
        large = 0
        if attended or size > _LARGE_BODY_SIZE or not self._free_large:
            words[slot + _ATTENDED] = 1
        else:
            large = self._free_large[-1]
            start = self._large_bodies + (large - 1) * _LARGE_BODY_SIZE
            self._memory[start : start + size] = body
            words[slot + _LARGE] = large
            del self._free_large[-1]
        self._apart[slot] = large

    def rouse(self) -> None:
        """Wakes the engine's thread from a sleep inside of the module for which what was just stored came too late."""
        words = self.words
        with self._fence:  # Or the processor might load this first.
            naps = words[self._naps]
        if naps % 2 == 0 or naps == self._woken:
            return
        # Loaded after that: who has heard of all is not woken, or what comes later would be taken for heard of.
        if words[self._base + _LEAVE] or not self.is_empty:
            self._woken = naps
            self._wake()

    def room(self, enough: int) -> int:
        """How many requests may be placed: there are slots, and fewer are queued than are enough."""
        return min(len(self.free), enough - self.queued)

    # Waiting.

    def has_begun(self, slot: int, number: int) -> bool:
        """Whether it is too late to withdraw that request."""
        return bool(self.words[slot + _BEGUN] == number)

    def begin(self, slot: int, number: int) -> None:
        """Says that it is too late to withdraw an attended request."""
        self.words[slot + _BEGUN] = number

    def is_stopped(self, slot: int, number: int) -> bool:
        """Whether that request was asked to stop."""
        return bool(self.words[slot + _STOP] == number)

    def stop(self, slot: int, number: int) -> None:
        """Asks that request to stop."""
        self.words[slot + _STOP] = number

    def expect(self, slot: int, number: int) -> None:
        """Has `expected` tell when that request is done; it may be done already."""
        self.words[slot + _AWAITED] = number

    # Taking.

    def has_failed(self, slot: int) -> bool:
        """Whether the request that is done is answered with an error."""
        return bool(self.words[slot + _FAILED])

    def read(self, slot: int) -> bytes | Reply:
        """Copies the reply out of a slot: the body alone if the request succeeded and nothing was printed."""
        failed, start, size, printed = _unpack_reply(self._memory, 4 * (slot + _FAILED))
        end = start + size
        body = self._memory[start:end].tobytes()
        if not printed and not failed:
            return body
        return Reply(not failed, body, str(self._memory[end : end + printed], "utf-8"))

    def release(self, slot: int) -> None:
        """Frees a slot."""
        words = self.words
        if slot in self._apart:
            words[slot + _ATTENDED] = words[slot + _LARGE] = 0
            if large := self._apart.pop(slot):
                self._free_large.append(large)
        words[slot] = 0  # So the engine sees that it may give its buffer back.
        self.free.append(slot)

    # The engine's thread.

    def order(self, *, follow: bool, patience: int, doze: int, time: int | None) -> None:
        """Says what the next `serve` is to do.

        Args:
            follow: go on with requests that are placed meanwhile.
            patience: microseconds to look for one without a pause.
            doze: microseconds to sleep until one comes, after that.
            time: microseconds after which to leave; None for no limit.
        """
        words, base = self.words, self._base
        self._look_at_sleep()
        words[base + _LEAVE] = 0
        words[base + _FOLLOW] = follow
        words[base + _LIMIT] = self._tail
        words[base + _PATIENCE] = patience
        words[base + _DOZE] = doze
        words[base + _TIME] = _WORD - 1 if time is None else min(time, _WORD - 2)

    @property
    def is_serving(self) -> bool:
        """Whether the engine's thread is inside of `serve`."""
        return bool(self.words[self._base + _SERVING])

    @property
    def is_asleep(self) -> bool:
        """Whether it sleeps there, or is about to."""
        return bool(self.words[self._naps] % 2)

    def lose_patience(self) -> None:
        """Has `serve` no more look for requests without a pause, until it is called again."""
        self.words[self._base + _PATIENCE] = 0

    def call_back(self) -> None:
        """Has `serve` leave soon."""
        self.words[self._base + _LEAVE] = 1
        self.rouse()

    @property
    def slept(self) -> float:
        """Seconds that the engine's thread has slept inside of the module."""
        self._look_at_sleep()
        return self._slept / 1000

    def _look_at_sleep(self) -> None:
        # The word begins again every 50 days.
        self._slept += (self.words[self._base + _SLEPT] - self._slept) % _WORD

    @property
    def served(self) -> int:
        """How many requests the engine has taken, modulo 2^32."""
        return int(self.words[self._base + _HEAD])

    @property
    def is_empty(self) -> bool:
        """Whether the engine has taken all requests."""
        return self.served == self._tail

    @property
    def queued(self) -> int:
        """How many requests the engine has not taken yet."""
        return (self._tail - self.served) % _WORD

    def served_since(self, served: int) -> int:
        """How many requests the engine has taken since then."""
        return (self.served - served) % _WORD

    def done_since(self, served: int, left: Left) -> list[int]:
        """The slots of the requests that were done since then: all that were taken but one that is to be attended."""
        count = self.served_since(served) - (left.attends is not None)
        taken = (self.words[self._queue + (served + n) % SLOTS] for n in range(count))
        return [self._slots + n * _SLOT_WORDS for n in taken]

    def left(self, result: int) -> Left:
        """What the result of `serve` says."""
        reason = result & (_WORD - 1)
        attends = self._slots + (result >> 32) * _SLOT_WORDS if reason == _ATTEND else None
        return Left(reason in (_IDLE, _DISTURBED), attends, reason == _DISTURBED)

    def transacting(self, size: int) -> set[int]:
        """The handles of the connections in which SQL has begun a transaction.

        Args:
            size: that of the memory, in bytes: after a trap, it may hold nonsense.
        """
        start = self.words[self._base + _TRANSACTIONS]
        end = start + 8 * self.words[self._base + _TRANSACTION_COUNT]
        return set(self._memory[start:end].cast("Q")) if end <= size else set()

    def index(self, slot: int) -> int:
        """The number of a slot, as the engine counts them."""
        return (slot - self._slots) // _SLOT_WORDS

    def publish(self, slot: int, number: int) -> None:
        """Says that the request of a slot is done."""
        self.words[slot + DONE] = number

    def expected(self) -> list[int]:
        """The slots of the requests done since the last call for which `expect` was called."""
        base = self._base
        count = self.words[base + _AWAITED_COUNT]
        if not count:
            return []
        self.words[base + _AWAITED_COUNT] = 0
        found = self.words[base + _AWAITED_SLOTS : base + _AWAITED_SLOTS + count]
        return [self._slots + n * _SLOT_WORDS for n in found]
