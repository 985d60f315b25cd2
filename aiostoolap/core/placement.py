"""`Placement`: calls by where they are, in the ring or waiting for their turns.

What is in the ring is served in the order in which it came there, so only some calls are there at a time. The others
wait here for their lanes' turns.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from aiostoolap import errors
from aiostoolap.core import protocol, ring
from aiostoolap.core.bell import Bell
from aiostoolap.core.call import Call
from aiostoolap.core.lanes import Lanes

ENOUGH = 128
"""So many calls that the engine has not begun are enough to keep it busy: more would make other lanes wait for them."""
SOME = 16
"""One look for room for so many calls that came, or went, since the last one; an idle thread looks as well."""
ROOMY = ring.SLOTS - ENOUGH
"""With so many slots free, there cannot be more of those."""

CANCELLED = errors.StatementCancelledError("the statement was cancelled before it began")


class Placement:
    """Calls by where they are. Its lock is held to change that."""

    def __init__(self) -> None:
        self.ordered = ring.is_ordered()
        self.polls = False
        """The thread, when it last began to serve, was to wait for requests awake: it pays to look for a reply."""
        # Reentrant: a collection of garbage may begin while it is held, and post what it finds.
        self.lock = threading.RLock()
        self.ring: ring.Ring | None = None
        self.orphans: list[Call] = []
        """Calls of tasks that are gone: the thread abandons them."""
        self.posts: list[protocol.Request] = []
        """Requests whose replies nobody wants."""
        self.closing: errors.Error | None = None
        """What calls from now on are answered."""
        self.ended = False
        self.calls = 0
        """So many there have been."""
        self.failures = 0
        """So many of them were answered with errors by the engine."""
        self.placed: dict[int, Call] = {}
        """Those in the ring, by slot."""
        self._waiting = Lanes[Call]()
        self._again: dict[int, Call] = {}
        """Calls that were in the ring of an instance that is gone, and had not begun, by their order."""
        self.bell = Bell(self.lock)

    def open(self, place: ring.Ring) -> None:
        """Has requests placed in that ring."""
        with self.lock:
            self.ring = place
            again, self._again = self._again, {}
            for call in again.values():
                self._place(place, call)
            self.fill()

    def fill(self) -> None:
        """Puts calls that wait into the ring, several at a time, as far as there is room."""
        place = self.ring
        room = place.room(ENOUGH) if place is not None else 0
        if place is not None and (room > ENOUGH // 2 or len(place.free) <= ENOUGH // 2):
            for _ in range(min(room, self._waiting.count)):
                self._place(place, self._waiting.take())
            place.rouse()

    def _place(self, place: ring.Ring, call: Call) -> None:
        request = call.request
        attended = request.before is not None or request.after is not None
        # A loop that sleeps until this one is done does not look for it after it was placed: the thread has to tell.
        expected = call.wake is not None or call.abandoned
        # All is noted before the engine can see it: an interrupt from the keyboard may come at any line.
        call.slot = slot = place.free[-1]
        call.done = slot + ring.DONE
        call.words = place.words if self.ordered else None
        self.placed[slot] = call
        place.place(call.number, request.body, attended=attended, expected=expected)
        if not self.bell.awake:
            self.bell.ring()

    def _forsake(self, place: ring.Ring, call: Call) -> None:
        """Has the thread abandon a call that was being placed, if the ring has it already."""
        if call.slot is None:
            return
        if call.slot in place.free[-1:]:
            self.placed.pop(call.slot, None)
            call.slot = None
        else:
            self.orphans.append(call)
            self._call_back()

    def _part(self, answer: Callable[[Call], errors.Error | None]) -> list[Call]:
        """Parts with the ring: calls that are done have their answers, others the one given here, or they wait again.

        Returns:
            Those that have an answer.
        """
        place, calls = self.ring, list(self.placed.values())
        self.placed.clear()
        self.ring = None
        for call in calls:
            if call.answer is None and call.slot is not None and place is not None:
                try:
                    is_done = place.words[call.done] == call.number  # This is the engine's own thread.
                    call.answer = place.read(call.slot) if is_done else answer(call)
                except Exception as error:  # After a trap the memory may hold nonsense. The others have answers.
                    call.answer = errors.InternalError(f"the reply cannot be read: {error!r}")
            call.slot = call.words = None
        self._again = {call.order: call for call in calls if call.answer is None}
        return [call for call in calls if call.answer is not None]

    def _stop(self, call: Call) -> None:
        if call.request.keep:
            return
        if call.slot is not None and self.ring is not None:
            self.ring.stop(call.slot, call.number)
        elif call.answer is None:
            if self._again.pop(call.order, None) is None:
                self._waiting.remove(call)
            call.answer = CANCELLED

    def _release(self, call: Call) -> None:
        """Takes the answer to a call out of its slot."""
        place, slot = self.ring, call.slot
        if slot is None or place is None:
            return
        if call.answer is None:
            call.answer = answer = place.read(slot)
            if isinstance(answer, ring.Reply) and not (answer.ok or call.abandoned or call.request.tidies):
                self.failures += 1
        call.slot = None
        del self.placed[slot]
        place.release(slot)
        if self._waiting.count and len(place.free) % SOME == 0:
            self.fill()

    def _refuse_waiting(self, reason: errors.Error) -> list[Call]:
        """Answers the calls that wait."""
        refused = [*self._again.values(), *self._waiting.clear()]
        self._again.clear()
        for call in refused:
            call.answer = reason
        return refused

    def _call_back(self) -> None:
        if self.ring is not None:
            self.ring.call_back()
        self.bell.ring()
