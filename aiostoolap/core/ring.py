"""The ring: slots in the engine's linear memory, where requests are placed and replies found while the engine serves.

Its layout is that of engine/src/ring.rs and of docs/protocol.md. Each word has one writer at a time. Whoever places or
takes holds the executor's lock; asking whether a reply is there needs none.
"""

from __future__ import annotations

import platform
import sys
from typing import NamedTuple

SLOTS = 4096
OWN_SLOT = 0
"""The slot that the engine's thread uses for requests of its own."""
BODY_SIZE = 2048
"""Bytes of a request that a slot has room for."""

# Words from the ring's address.
_TAIL, _LEAVE, _FOLLOW, _LIMIT, _PATIENCE, _TIME = range(6)
_HEAD, _AWAITED_COUNT = 16, 17
_QUEUE = 32
_AWAITED_SLOTS = _QUEUE + SLOTS
_FIRST_SLOT = _AWAITED_SLOTS + SLOTS
_SLOT_WORDS = 32
_NUMBER, _LENGTH, _ATTENDED, _STOP, _AWAITED = range(5)
_DONE, _BEGUN, _FAILED, _ADDRESS, _REPLY_LENGTH, _PRINTED = range(16, 22)
_BODIES = 4 * (_FIRST_SLOT + SLOTS * _SLOT_WORDS)

_WORD = 2**32


def is_ordered() -> bool:
    """Whether the stores of Python threads are seen by the engine's in the order in which they were made.

    Processors of the x86 family see to that (Intel SDM volume 3A, 8.2.2), and the lock of the executor is the fence
    between a store and a later load. Of other processors, and of Python without its GIL, it is not proven.
    """
    gil_enabled = getattr(sys, "_is_gil_enabled", lambda: True)()
    return gil_enabled and platform.machine().lower() in ("x86_64", "amd64")


def number(order: int) -> int:
    """The number of a request, from its order: from 1 to 2^32 - 1, and again, for 0 is what unused words hold."""
    return 1 + order % (_WORD - 1)


class Reply(NamedTuple):
    """What came back for one request."""

    ok: bool
    body: bytes
    printed: str


class Left(NamedTuple):
    """Why the engine has left `serve`."""

    idle: bool
    """There are no requests; otherwise there may be more."""
    disturbed: bool
    """The processor was wanted elsewhere while the engine waited for requests."""
    attends: int | None
    """The slot of a request that was taken and is to be run by `run`."""


def left(result: int) -> Left:
    """What the result of `serve` says."""
    reason = result & 0xFFFFFFFF
    return Left(reason in (0, 2), reason == 2, result >> 32 if reason == 3 else None)


class Ring:
    """The ring of one instance.

    Args:
        memory: its linear memory, as bytes.
        words: the same, as 32-bit words.
        address: where the ring lies.
    """

    def __init__(self, memory: memoryview, words: memoryview, address: int) -> None:
        self._memory = memory
        self.words = self._words = words
        self._base = address // 4
        self._slots = self._base + _FIRST_SLOT
        self._queue = self._base + _QUEUE
        self._bodies = address + _BODIES
        self._tail = 0
        self._free = [slot for slot in range(SLOTS - 1, -1, -1) if slot != OWN_SLOT]
        """The last one is taken first: its memory is in the processor's caches."""

    # Placing.

    def has_room(self) -> bool:
        """Whether a slot is free."""
        return bool(self._free)

    def place(self, number: int, body: bytes, attended: bool) -> int:
        """Places a request and returns its slot.

        Args:
            number: from 1 to 2^32 - 1; other than those of requests shortly before.
            body: of an attended one, it is not written: `run` brings it.
            attended: the engine leaves `serve` for it.
        """
        slot = self._free.pop()
        words = self._words
        first = self._slots + slot * _SLOT_WORDS
        words[first] = number
        words[first + _ATTENDED] = attended
        if not attended:
            size = len(body)
            words[first + _LENGTH] = size
            start = self._bodies + slot * BODY_SIZE
            self._memory[start : start + size] = body
        tail = self._tail
        words[self._queue + tail % SLOTS] = slot
        self._tail = tail = (tail + 1) % _WORD
        words[self._base] = tail
        return slot

    def claim(self, number: int) -> None:
        """Gives a number to the slot of the engine's thread, which is not queued."""
        self._words[self._slots + OWN_SLOT * _SLOT_WORDS] = number

    # Waiting.

    def done_word(self, slot: int) -> int:
        """Which word of the memory holds a request's number when its reply is there."""
        return self._slots + slot * _SLOT_WORDS + _DONE

    def has_begun(self, slot: int, number: int) -> bool:
        """Whether it is too late to withdraw that request."""
        return bool(self._words[self._slots + slot * _SLOT_WORDS + _BEGUN] == number)

    def begin(self, slot: int, number: int) -> None:
        """Says that it is too late to withdraw an attended request."""
        self._words[self._slots + slot * _SLOT_WORDS + _BEGUN] = number

    def is_stopped(self, slot: int, number: int) -> bool:
        """Whether that request was asked to stop."""
        return bool(self._words[self._slots + slot * _SLOT_WORDS + _STOP] == number)

    def stop(self, slot: int, number: int) -> None:
        """Asks that request to stop."""
        self._words[self._slots + slot * _SLOT_WORDS + _STOP] = number

    def expect(self, slot: int, number: int) -> None:
        """Has `expected` tell when that request is done; it may be done already."""
        self._words[self._slots + slot * _SLOT_WORDS + _AWAITED] = number

    # Taking.

    def has_failed(self, slot: int) -> bool:
        """Whether the request that is done is answered with an error."""
        return bool(self._words[self._slots + slot * _SLOT_WORDS + _FAILED])

    def read(self, slot: int) -> Reply:
        """Copies the reply out of a slot."""
        words = self._words
        first = self._slots + slot * _SLOT_WORDS
        start = words[first + _ADDRESS]
        end = start + words[first + _REPLY_LENGTH]
        size = words[first + _PRINTED]
        printed = str(self._memory[end : end + size], "utf-8") if size else ""
        return Reply(not words[first + _FAILED], bytes(self._memory[start:end]), printed)

    def release(self, slot: int) -> None:
        """Frees a slot."""
        self._words[self._slots + slot * _SLOT_WORDS] = 0  # So the engine sees that it may give its buffer back.
        self._free.append(slot)

    # The engine's thread.

    def order(self, *, follow: bool, patience: int, time: int | None) -> None:
        """Says what the next `serve` is to do.

        Args:
            follow: go on with requests that are placed meanwhile.
            patience: microseconds to wait for one.
            time: microseconds after which to leave; None for no limit.
        """
        words, base = self._words, self._base
        words[base + _LEAVE] = 0
        words[base + _FOLLOW] = follow
        words[base + _LIMIT] = self._tail
        words[base + _PATIENCE] = patience
        words[base + _TIME] = _WORD - 1 if time is None else min(time, _WORD - 2)

    def call_back(self) -> None:
        """Has `serve` leave soon."""
        self._words[self._base + _LEAVE] = 1

    @property
    def served(self) -> int:
        """How many requests the engine has taken, modulo 2^32."""
        return int(self._words[self._base + _HEAD])

    @property
    def is_empty(self) -> bool:
        """Whether the engine has taken all requests."""
        return self.served == self._tail

    @property
    def queued(self) -> int:
        """How many requests the engine has not taken yet."""
        return (self._tail - self.served) % _WORD

    def taken_since(self, served: int, left: Left) -> list[int]:
        """The slots of the requests that were done since then: all that were taken but one that is to be attended."""
        count = (self.served - served) % _WORD - (left.attends is not None)
        return [int(self._words[self._queue + (served + n) % _WORD % SLOTS]) for n in range(count)]

    def publish(self, slot: int, number: int) -> None:
        """Says that the request of a slot is done."""
        self._words[self._slots + slot * _SLOT_WORDS + _DONE] = number

    def expected(self) -> list[int]:
        """The slots of the requests done since the last call for which `expect` was called."""
        base = self._base
        count = self._words[base + _AWAITED_COUNT]
        if not count:
            return []
        self._words[base + _AWAITED_COUNT] = 0
        return self._words[base + _AWAITED_SLOTS : base + _AWAITED_SLOTS + count].tolist()
