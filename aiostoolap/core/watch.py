"""`Watch`: the tasks of one event loop that sleep until their calls are done.

The engine serves calls in order, so the thread is asked to wake a loop for the first of them alone. Once awake, the
loop looks for the others by itself for some turns, and then asks again: one wake-up for a burst, not one for each call.
"""

from __future__ import annotations

import heapq

from aiostoolap.core import loops
from aiostoolap.core.exchange import Call, Exchange


class Watch:
    """The sleeping tasks of one loop. All of it runs on the loop, but `look`.

    Args:
        exchange: where their calls are.
        loop: where they run.
    """

    def __init__(self, exchange: Exchange, loop: loops.Loop) -> None:
        self.loop = loop
        self._exchange = exchange
        self._sleepers: dict[int, tuple[Call, loops.Waiter]] = {}
        """By the order of their calls."""
        self._orders: list[int] = []
        """A heap of those; of some whose task sleeps no more, too."""
        self._looking = False
        self._turns = 0

    async def sleep(self, call: Call) -> None:
        """Sleeps until a call is done."""
        while not call.is_done():
            waiter = loops.waiter()
            self._sleepers[call.order] = call, waiter
            heapq.heappush(self._orders, call.order)
            if not self._looking:
                if call.polled:
                    self._turns = self.loop.turns
                    self._keep_looking()
                elif self._first() is call:
                    self._ask()
            try:
                await waiter.wait()
            finally:
                if self._sleepers.pop(call.order, None) and not self._looking:
                    self._ask()

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
        while (call := self._first()) is not None:
            call.wake = self.look
            self._exchange.expect(call)
            if not call.is_done():
                return
            self._wake()

    def _wake(self) -> bool:
        """Wakes the tasks whose calls are done; false if there are none."""
        woken = False
        while (call := self._first()) is not None and call.is_done():
            self._sleepers.pop(call.order)[1].wake()
            woken = True
        return woken

    def look(self) -> None:
        """Has the loop look for calls that are done; from any thread."""
        try:
            self.loop.post(self._look)
        except RuntimeError:
            # The loop is closed: nobody takes these answers.
            sleepers, self._sleepers = self._sleepers, {}
            for call, _ in sleepers.values():
                self._exchange.abandon(call)

    def _look(self) -> None:
        if self._wake():
            self._turns = self.loop.turns
        self._keep_looking()

    def _keep_looking(self) -> None:
        self._looking = bool(self._sleepers) and self._turns > 0 and self.loop.soon(self._look)
        self._turns -= 1
        if not self._looking:
            self._ask()
