"""Lanes, which take turns: in each round, one item of each lane that has any; a lane's own items keep their order."""

from __future__ import annotations

import heapq
from collections import deque
from typing import Generic, Protocol, TypeVar


class Item(Protocol):
    """Something that waits. Its order is its round, and a number of 32 bits that no other one has."""

    order: int


ItemT = TypeVar("ItemT", bound=Item)


class Lane:
    """Where items come from."""

    __slots__ = ("__weakref__", "last", "waiting")

    def __init__(self) -> None:
        self.waiting: deque[Item] = deque()
        """Its items that wait, and those that do so no more."""
        self.last = 0
        """The round of the last one of those."""


class Lanes(Generic[ItemT]):
    """The items of all lanes that wait for their turns."""

    def __init__(self) -> None:
        self.round = 0
        """That of the last item whose turn it was, or that need not wait."""
        self.count = 0
        """So many wait."""
        self._removed: set[int] = set()
        self._next: list[tuple[int, Lane]] = []
        """A heap of the lanes that have items, by the order of the first one."""

    def add(self, lane: Lane, item: ItemT) -> None:
        """Has an item wait."""
        if not lane.waiting:
            heapq.heappush(self._next, (item.order, lane))
        lane.waiting.append(item)
        lane.last = item.order >> 32
        self.count += 1

    def remove(self, item: ItemT) -> None:
        """Has an item that waits do so no more."""
        self._removed.add(item.order)
        self._less()

    def take(self) -> ItemT:
        """Takes the item whose turn it is.

        Raises:
            IndexError: nothing waits.
        """
        while True:
            order, lane = self._next[0]
            item: ItemT = lane.waiting.popleft()  # type: ignore[assignment]  # what `add` has put there
            if lane.waiting:
                heapq.heapreplace(self._next, (lane.waiting[0].order, lane))
            else:
                heapq.heappop(self._next)
            if order not in self._removed:
                self.round = order >> 32
                self._less()
                return item
            self._removed.remove(order)

    def _less(self) -> None:
        self.count -= 1
        if not self.count:  # What is left in the lanes was removed, and takes no turn.
            for _, lane in self._next:
                lane.waiting.clear()
            self._next.clear()
            self._removed.clear()

    def clear(self) -> list[ItemT]:
        """Takes all."""
        return [self.take() for _ in range(self.count)]
