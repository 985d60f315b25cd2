"""`Watch`: the tasks of one event loop that sleep until their calls are done.

The engine serves calls in order, so the thread is asked to wake a loop for the first of them alone. Once awake, the
loop looks for the others by itself for some turns, and then asks again: one wake-up for a burst, not one for each call.
"""

from __future__ import annotations

import functools
import heapq
import time
import weakref

from aiostoolap.core import loops
from aiostoolap.core.call import Call
from aiostoolap.core.exchange import Exchange

_BUSY = 0.0002
"""Seconds: a turn of a loop that takes longer had other things to do, and it costs little to look again."""
_SHORT = 0.0001
"""Seconds: who sleeps for less until the thread tells him, had better looked for it."""
_GIVE_WAY = 0.00005
"""Seconds, in which another thread can wake up."""


class Watch:
    """The sleeping tasks of one loop. All of it runs on the loop, but `look`.

    Args:
        exchange: where their calls are.
        loop: where they run.
        watches: those of all loops; this one puts itself there.
    """

    def __init__(self, exchange: Exchange, loop: loops.Loop, watches: weakref.WeakSet[Watch]) -> None:
        self.loop = loop
        self._watches = watches
        self._exchange = exchange
        self._sleepers: dict[int, tuple[Call, loops.Waiter]] = {}
        """By the order of their calls. Nothing else need refer to these tasks: asyncio does not."""
        self._orders: list[int] = []
        """A heap of those; of some whose task sleeps no more, too."""
        self._looking = False
        self._turns = 0
        self._looked = 0.0
        self._is_vain = False
        """The last call took too long to be looked for."""
        self._slept = 0
        """So many slept when it last looked."""
        with exchange.lock:
            watches.add(self)

    async def sleep(self, call: Call) -> None:
        """Sleeps until a call is done."""
        while not call.is_done():
            waiter = self.loop.waiter()
            self._sleepers[call.order] = call, waiter
            heapq.heappush(self._orders, call.order)
            if self._looking:
                self.loop.soon(functools.partial(self._check, self._looked))
            else:
                self._turns = self._most_turns() if call.polled else 0
                self._look_again()
            try:
                await waiter.wait()
            except GeneratorExit:
                self._sleepers.pop(call.order, None)
                # It may be what the thread was asked to tell of; and this may be any thread.
                if self._sleepers and not self._looking:
                    self.look()
                raise
            except BaseException:
                if self._sleepers.pop(call.order, None) and not self._looking:
                    self._ask()
                raise

    def _most_turns(self) -> int:
        return self.loop.turns if self._exchange.polls and not self._is_vain else 0

    def _check(self, looked: float) -> None:
        """Looks again if an interrupt from the keyboard came in place of the look that was due."""
        if self._looking and self._looked == looked:
            self._look_again()

    def _first(self) -> Call | None:
        """The call that the engine serves first of those."""
        while self._orders:
            sleeper = self._sleepers.get(self._orders[0])
            if sleeper is not None:
                return sleeper[0]
            heapq.heappop(self._orders)
        return None

    def _ask(self) -> None:
        """Has the thread call `look` when the first call is done."""
        call = self._first()
        if call is not None:
            call.wake = self.look
            self._exchange.expect(call)
            if call.is_done():
                self.look()
            if len(self._watches) > 1:
                self._look_around()

    def _look_around(self) -> None:
        """Stops the calls of loops that were closed: perhaps this one waits for them."""
        with self._exchange.lock:
            watches = list(self._watches)
        for watch in watches:
            if watch.loop.is_closed():
                watch.forsake()

    def look(self) -> None:
        """Has the loop look for calls that are done; from any thread."""
        try:
            self.loop.post(self._look)
        except RuntimeError:
            self.forsake()

    def forsake(self) -> None:
        """Stops all calls: the loop is closed, and nobody takes the answers."""
        sleepers, self._sleepers = self._sleepers, {}
        for call, _ in sleepers.values():
            self._exchange.orphan(call)

    def _look(self) -> None:
        was_told, self._looking = not self._looking, False
        try:
            woken = False
            while (call := self._first()) is not None and call.is_done():
                self._sleepers.pop(call.order)[1].wake()
                woken = True
            if woken:
                if was_told:
                    self._is_vain = time.monotonic() - self._looked > _SHORT
                self._turns = self._most_turns()
            elif self._turns == 1 and not was_told:
                self._is_vain = True
            elif self._exchange.is_kept_waiting():
                # The event loop takes Python's lock again as soon as it has given it back, unless it sleeps.
                time.sleep(_GIVE_WAY)
        finally:
            self._look_again()

    def _look_again(self) -> None:
        """Looks at the next turn; after some turns with nothing else to do, has the thread tell."""
        now = time.monotonic()
        if now - self._looked < _BUSY:
            self._turns -= 1
        if self._slept:
            self._exchange.waited += self._slept * (now - self._looked)
        self._slept = len(self._sleepers)
        self._looked = now
        self._looking = bool(self._sleepers) and self._turns > 0
        if self._looking:
            self.loop.soon(self._look)
        else:
            self._ask()
