"""Where tasks and the engine's thread meet: calls by the slots of the ring that they are in, and who waits for what.

Its lock is held to change what is here, to place requests and to take replies. It is also the fence between what is
stored in the ring and what is read there afterwards.

What is in the ring is served in the order in which it came there, so only some calls are there at a time. The others
wait here for their lanes' turns.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterable

from aiostoolap import errors
from aiostoolap.core import protocol, ring
from aiostoolap.core.bell import Bell
from aiostoolap.core.lanes import Lane, Lanes

Answer = bytes | ring.Reply | errors.Error

_NUMBERS = 2**32 - 1

_ENOUGH = 128
"""So many calls that the engine has not begun are enough to keep it busy: more would make other lanes wait for them."""
_SOME = 16
"""One look for room for so many calls that came, or went, since the last one; an idle thread looks as well."""
_ROOMY = ring.SLOTS - _ENOUGH
"""With so many slots free, there cannot be more of those."""

_CANCELLED = errors.StatementCancelledError("the statement was cancelled before it began")


class Call:
    """A request on its way between a task and the thread."""

    __slots__ = (
        "abandoned",
        "answer",
        "done",
        "number",
        "order",
        "polled",
        "request",
        "settled",
        "slot",
        "wake",
        "words",
    )

    def __init__(self, order: int, number: int, request: protocol.Request, polled: bool) -> None:
        self.order = order
        """The engine serves calls in this order."""
        self.number = number
        """What the ring knows it by."""
        self.request = request
        self.slot: int | None = None
        """Its slot in the ring; None while it waits for its turn, and when the slot is free again."""
        self.polled = polled
        """The thread is awake: it pays to look for the reply for a while."""
        self.abandoned = False
        """Its task does not take the answer: the thread does."""
        self.wake: Callable[[], None] | None = None
        """What the thread calls when it is done, if that is expected."""
        self.answer: Answer | None = None
        """What came back, if it is not in the ring."""
        self.settled = False
        """It was abandoned, and what it had opened is closed."""
        self.words: memoryview | None = None
        """The ring's, when its reply is to be seen there."""
        self.done = 0
        """The word that says so."""

    def is_done(self) -> bool:
        """Whether the answer is there."""
        if self.words is None or self.answer is not None:
            return self.answer is not None
        try:
            return self.words[self.done] == self.number
        except ValueError:  # The memory was released: what was left is answered.
            return True


class Exchange:
    """Calls on their way.

    Args:
        polls: tasks may look for their replies while the thread is awake.
    """

    def __init__(self, polls: bool) -> None:
        self.ordered = ring.is_ordered()
        self.polls = polls and self.ordered
        # Reentrant: a collection of garbage may begin while it is held, and post what it finds.
        self.lock = threading.RLock()
        self.ring: ring.Ring | None = None
        self.posts: list[protocol.Request] = []
        """Requests whose replies nobody wants."""
        self.closing: errors.Error | None = None
        """What calls from now on are answered."""
        self.ended = False
        self._calls: dict[int, Call] = {}
        """By slot."""
        self.calls = 0
        """So many there have been."""
        self.waited = 0.0
        """Seconds that tasks slept until their calls were done. Loops add to it without the lock: it is a figure."""
        self._waiting = Lanes[Call]()
        self.bell = Bell(self.lock)

    def check(self) -> None:
        """
        Raises:
            Error: no requests are taken any more.
        """
        if self.closing is not None:
            raise copy.copy(self.closing)

    # What tasks do.

    def place(self, request: protocol.Request, lane: Lane) -> Call:
        """Places a request; one for which there is no room waits for its turn."""
        with self.lock:
            if self.closing is not None:
                self.check()
            place = self.ring
            assert place is not None, "submitted before the start"
            self.calls = count = self.calls + 1
            number = 1 + count % _NUMBERS  # 0 is what unused words hold.
            waiting = self._waiting
            turn = (lane.last if lane.waiting else waiting.round) + 1
            call = Call(turn << 32 | number, number, request, self.bell.awake and self.polls)
            if waiting.count or (len(place.free) < _ROOMY and place.room(_ENOUGH) <= 0):
                waiting.add(lane, call)
                if waiting.count % _SOME == 0:
                    self.fill()
            else:
                waiting.round = turn
                self._place(place, call)
        return call

    def fill(self) -> None:
        """Puts calls that wait into the ring, several at a time, as far as there is room."""
        place = self.ring
        room = place.room(_ENOUGH) if place is not None else 0
        if place is not None and (room > _ENOUGH // 2 or len(place.free) <= _ENOUGH // 2):
            for _ in range(min(room, self._waiting.count)):
                self._place(place, self._waiting.take())

    def _place(self, place: ring.Ring, call: Call) -> None:
        request = call.request
        slot = place.place(call.number, request.body, request.before is not None or request.after is not None)
        call.slot = slot
        call.done = slot + ring.DONE
        call.words = place.words if self.ordered else None
        self._calls[slot] = call
        if call.wake is not None or call.abandoned:
            place.expect(slot, call.number)
        if not self.bell.awake:
            self.bell.ring()

    def expect(self, call: Call) -> None:
        """Has the thread see to it that a call is done; `is_done` afterwards says whether it is already."""
        with self.lock:
            if call.slot is not None and self.ring is not None:
                self.ring.expect(call.slot, call.number)

    def withdraw(self, call: Call) -> bool:
        """Stops a call; true if it never runs, so that there is nothing to wait for."""
        with self.lock:
            self._stop(call)
        with self.lock:
            place, slot = self.ring, call.slot
            if place is None or call.request.keep:
                return False
            if slot is None:
                if call.answer is not _CANCELLED:
                    return False
            elif not self.ordered or place.has_begun(slot, call.number):
                return False
        self.abandon(call)
        return True

    def abandon(self, call: Call) -> None:
        """Stops a call, whose answer the thread takes in place of its task."""
        with self.lock:
            call.abandoned = True
            self._stop(call)
            self.expect(call)
        if call.is_done():
            self.settle(call)

    def take(self, call: Call) -> Answer:
        """Takes the answer to a call that is done or withdrawn."""
        with self.lock:
            if call.abandoned:
                return _CANCELLED
            self._release(call)
            assert call.answer is not None
            return call.answer

    def is_kept_waiting(self) -> bool:
        """Whether the thread is on its way into the module, or out of it, and may be waiting for Python's lock."""
        return self.bell.awake and self.ring is not None and not self.ring.is_serving

    def has_much_room(self) -> bool:
        """Whether what is not urgent may be placed."""
        return not self._waiting.count and self.ring is not None and len(self.ring.free) > ring.SLOTS // 2

    def settle(self, call: Call) -> None:
        """Takes the answer to a call that nobody wants, and closes what it has opened."""
        with self.lock:
            self._release(call)
            answer = None if call.settled else call.answer
            call.settled = True
        body = answer.body if isinstance(answer, ring.Reply) and answer.ok else answer
        if isinstance(body, bytes) and call.request.undo is not None:
            undo = call.request.undo(body)
            if undo is not None:
                self.post(undo)

    def post(self, request: protocol.Request) -> None:
        """Has a request run whose reply nobody wants; one that comes too late is dropped."""
        with self.lock:
            if self.closing is None:
                self.posts.append(request)
                self._call_back()

    def begin_to_end(self, *, stop: bool) -> None:
        """Takes no more requests, and has the thread end; at once if what is there is to be stopped."""
        with self.lock:
            if self.closing is not None:
                return
            self.closing = errors.ClosedError("the engine is closed")
            refused = self._refuse_waiting(self.closing) if stop else []
            for call in self._calls.values() if stop else ():
                self._stop(call)
            self._call_back()
        _wake(refused)

    @property
    def queued(self) -> int:
        """How many calls wait for their turn."""
        with self.lock:
            return self._waiting.count + (self.ring.queued if self.ring is not None else 0)

    # What the thread does.

    @property
    def is_over(self) -> bool:
        """Whether the end has begun, and all has run."""
        with self.lock:
            self.fill()
            return self.closing is not None and not self._has_work and not self._waiting.count

    @property
    def _has_work(self) -> bool:
        return bool(self.posts) or (self.ring is not None and not self.ring.is_empty)

    def attended(self, slot: int) -> Call:
        """The call that the engine has left `serve` for; from now on it cannot be withdrawn."""
        with self.lock:
            call, place = self._calls[slot], self.ring
            assert place is not None
            place.begin(slot, call.number)
            if place.is_stopped(slot, call.number):
                call.answer = _CANCELLED
            return call

    def deliver(self, slots: Iterable[int]) -> None:
        """Wakes whoever expects that the calls in these slots are done."""
        for slot in slots:
            with self.lock:
                call = self._calls.get(slot)
                if call is not None and not self.ordered:
                    self._release(call)  # Its task cannot see by itself that it is done.
            if call is None or not call.is_done():
                continue  # Its task has seen it by itself, and the slot may have another call by now.
            if call.abandoned:
                self.settle(call)
            elif call.wake is not None:
                call.wake()

    def end(self, reason: errors.Error) -> None:
        """Answers all that is left; the ring may go."""
        with self.lock:
            if self.closing is None:
                self.closing = reason
            left = self._refuse_waiting(reason)  # First, for a slot that is freed is given to one of them.
            for call in list(self._calls.values()):
                left.append(call)
                if call.is_done():
                    self._release(call)
                else:
                    call.answer, call.slot = call.answer or reason, None
            self.ring = None
            self.posts.clear()
        _wake(left)

    def sleep(self, timeout: float | None) -> float | None:
        """Sleeps until there is something to do.

        Args:
            timeout: seconds; None for no limit.

        Returns:
            After how many seconds there was; None if the time was up.
        """
        with self.lock:
            self.fill()
            # Calls that wait still, wait for slots: whoever frees one rings.
            if self._has_work or (self.closing is not None and not self._waiting.count):
                return 0.0
            self.bell.lie_down()
        return self.bell.sleep(timeout)

    # Both.

    def _stop(self, call: Call) -> None:
        if self.ring is None or call.request.keep:
            return
        if call.slot is not None:
            self.ring.stop(call.slot, call.number)
        elif call.answer is None:
            self._waiting.remove(call)
            call.answer = _CANCELLED

    def _release(self, call: Call) -> None:
        """Takes the answer to a call out of its slot."""
        place, slot = self.ring, call.slot
        if slot is None or place is None:
            return
        if call.answer is None:
            call.answer = place.read(slot)
        call.slot = None
        del self._calls[slot]
        place.release(slot)
        if self._waiting.count and len(place.free) % _SOME == 0:
            self.fill()

    def _refuse_waiting(self, reason: errors.Error) -> list[Call]:
        """Answers the calls that wait."""
        refused = self._waiting.clear()
        for call in refused:
            call.answer = reason
        return refused

    def _call_back(self) -> None:
        if self.ring is not None:
            self.ring.call_back()
        self.bell.ring()

    def forget_parent(self) -> None:
        """After a fork, in the child: there is no thread here, but perhaps a lock that it held."""
        self.lock = threading.RLock()
        self.ended = True
        self.closing = errors.InterfaceError("the engine was made before the fork; make another one in this process")


def _wake(calls: list[Call]) -> None:
    for call in calls:
        if call.wake is not None:
            call.wake()
