"""Where tasks and the engine's thread meet, and who waits for what.

Its lock is held to change what is here, to place requests and to take replies. It is also the fence between what is
stored in the ring and what is read there afterwards.
"""

from __future__ import annotations

import contextlib
import copy
import threading
import time
from collections.abc import Iterable

from aiostoolap import errors
from aiostoolap.core import loops, protocol, ring
from aiostoolap.core.call import Answer, Call
from aiostoolap.core.lanes import Lane
from aiostoolap.core.placement import CANCELLED, ENOUGH, ROOMY, SOME, Placement

_NUMBERS = 2**32 - 1


class Exchange(Placement):
    """Calls on their way between tasks and the engine's thread."""

    def __init__(self) -> None:
        super().__init__()
        self.waited = 0.0
        """Seconds that tasks slept until their calls were done. Loops add to it without the lock: it is a figure."""
        self.is_quick = False
        """The last call that waited for a turn of its loop was the only one, and done after it."""
        self._failure: errors.Error | None = None
        """Why there is no instance to call, and from when on that is worth another attempt."""
        self._retry_at = 0.0
        self._dozed = 0.0
        """Seconds that the thread slept inside of instances that are gone."""

    def check(self) -> None:
        """Refuses a request once the end has begun.

        Raises:
            Error: no requests are taken any more.
        """
        if self.closing is not None:
            raise copy.copy(self.closing)

    # What tasks do.

    def place(self, request: protocol.Request, lane: Lane, loop: loops.Loop | None) -> Call:
        """Places a request; one for which there is no room waits for its turn.

        Args:
            request: what to run.
            lane: where it comes from.
            loop: its event loop. If the thread sleeps inside of the module, it is woken at the end of the loop's turn:
                to wake it for each of many requests takes a loop longer than all else. None to wake it at once.

        Raises:
            Error: no requests are taken any more; or the instance is gone, and no other one can be had.
        """
        with self.lock:
            if self.closing is not None:
                self.check()
            place = self.ring
            if place is None:
                self._wish(request)
            self.calls = count = self.calls + 1
            number = 1 + count % _NUMBERS  # 0 is what unused words hold.
            waiting = self._waiting
            nth = (lane.last if lane.waiting else waiting.round) + 1
            call = Call(nth << 32 | number, number, request, self.bell.awake and self.polls)
            if place is None or waiting.count or (len(place.free) < ROOMY and place.room(ENOUGH) <= 0):
                waiting.add(lane, call)
                if waiting.count % SOME == 0:
                    self.fill()
                return call
            waiting.round = nth
            try:
                self._place(place, call)
            except BaseException:  # An interrupt from the keyboard: no task takes the answer.
                self._forsake(place, call)
                raise
        try:
            if place.is_asleep:  # Loaded after the lock was released, as the fence that this takes.
                self.is_quick = False
                if loop is None:
                    self.rouse()
                else:
                    loop.at_end_of_turn(self.rouse)
        except ValueError:
            pass  # The memory was released: the call waits for the next instance.
        except BaseException:
            self.orphan(call)
            raise
        return call

    def _wish(self, request: protocol.Request) -> None:
        """Has the thread try again to get an instance, if it could not."""
        if self._failure is not None:
            if time.monotonic() < self._retry_at:
                if request.keep:
                    self.posts.append(request)  # As `fail` does.
                raise copy.copy(self._failure)
            self._failure = None
            self.bell.ring()

    def rouse(self) -> None:
        """Wakes the thread, if it sleeps inside of the module and there is something to do."""
        with self.lock:
            if self.ring is not None:
                self.ring.rouse()

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
            if call.request.keep:
                return False
            if slot is None:
                if call.answer is not CANCELLED:
                    return False
            elif place is None or not self.ordered or place.has_begun(slot, call.number):
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

    def orphan(self, call: Call) -> None:
        """Has the thread abandon a call: this may be a collection of garbage, in the middle of what the lock guards."""
        with self.lock:
            if call.slot is not None and self.ring is not None and not call.request.keep:
                self.ring.stop(call.slot, call.number)
            self.orphans.append(call)
            self._call_back()

    def take(self, call: Call) -> Answer:
        """Takes the answer to a call that is done or withdrawn."""
        with self.lock:
            if call.abandoned:
                return CANCELLED
            self._release(call)
            assert call.answer is not None
            return call.answer

    def is_kept_waiting(self) -> bool:
        """Whether the thread is on its way into the module, or out of it, and may be waiting for Python's lock."""
        place = self.ring
        with contextlib.suppress(ValueError):  # Its memory was released.
            return self.bell.awake and place is not None and not place.is_serving
        return False

    def has_much_room(self) -> bool:
        """Whether what is not urgent may be placed."""
        place = self.ring
        return not self._waiting.count and place is not None and len(place.free) > ring.SLOTS // 2

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
            if self.closing is None:
                self.closing = errors.ClosedError("the engine is closed")
            elif not stop or self.ended:
                return
            refused = self._refuse_waiting(self.closing) if stop else []
            for call in self.placed.values() if stop else ():
                self._stop(call)
            self._call_back()
        _wake(refused)

    @property
    def queued(self) -> int:
        """How many calls wait for their turn."""
        with self.lock:
            placed = self.ring.queued if self.ring is not None else 0
            return len(self._again) + self._waiting.count + placed

    @property
    def awake_seconds(self) -> float:
        """How long the thread was awake."""
        with self.lock:
            return self.bell.awake_seconds - self._dozed - (self.ring.slept if self.ring is not None else 0.0)

    # What the thread does.

    @property
    def _has_work(self) -> bool:
        return bool(self.posts or self.orphans) or (self.ring is not None and not self.ring.is_empty)

    def attended(self, slot: int) -> Call:
        """The call that the engine has left `serve` for; from now on it cannot be withdrawn."""
        with self.lock:
            call, place = self.placed[slot], self.ring
            assert place is not None
            place.begin(slot, call.number)
            if place.is_stopped(slot, call.number):
                call.answer = CANCELLED
            return call

    def deliver(self, slots: Iterable[int]) -> None:
        """Wakes whoever expects that the calls in these slots are done."""
        for slot in slots:
            with self.lock:
                call = self.placed.get(slot)
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
            left = self._part(lambda _: reason) + self._refuse_waiting(reason)
            self.posts.clear()
        _wake(left)

    def lose(self, uncertain: errors.Error) -> None:
        """The instance is gone: answers what has run, and what was running; the rest waits for the next one.

        Args:
            uncertain: the answer to what was running, and to what had run without being acknowledged.
        """
        with self.lock:
            place = self.ring
            assert place is not None
            self._dozed += place.slept

            def answer(call: Call) -> errors.Error | None:
                assert call.slot is not None
                if place.has_begun(call.slot, call.number):
                    return uncertain
                is_stopped = call.abandoned or place.is_stopped(call.slot, call.number)
                return CANCELLED if is_stopped and not call.request.keep else None

            left = self._part(answer)
        for call in left:
            if call.abandoned:
                self.settle(call)
        _wake(left)

    def fail(self, failure: errors.Error, pause: float) -> None:
        """There is no instance, and an attempt to get one has failed.

        Args:
            failure: what callers are told.
            pause: seconds before another attempt.
        """
        with self.lock:
            self._failure, self._retry_at = failure, time.monotonic() + pause
            refused = self._refuse_waiting(failure)
            self.posts += [call.request for call in refused if call.request.keep]
        _wake(refused)

    def wait_for_wish(self) -> None:
        """Sleeps until a call wants an instance all the same, or the end begins."""
        while True:
            with self.lock:
                if self.closing is not None or self._failure is None:
                    return
                self.bell.lie_down()
            self.bell.sleep(None)

    def sleep(self, timeout: float | None) -> bool:
        """Sleeps until there is something to do; true at once if the end has begun, and all has run.

        Args:
            timeout: seconds; None for no limit.
        """
        with self.lock:
            self.fill()
            if self._has_work:
                return False
            # Calls that wait still, wait for slots: whoever frees one rings.
            if self.closing is not None and not self._waiting.count:
                return True
            self.bell.lie_down()
        self.bell.sleep(timeout)
        return False

    def forget_parent(self) -> None:
        """After a fork, in the child: there is no thread here, but perhaps a lock that it held."""
        self.lock = threading.RLock()
        self.ring = None  # The thread that slept there is not here to be woken.
        self.ended = True
        self.closing = errors.InterfaceError("the engine was made before the fork; make another one in this process")


def _wake(calls: list[Call]) -> None:
    for call in calls:
        if call.wake is not None:
            call.wake()
