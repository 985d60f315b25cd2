"""`Lease`: the connections that share the engine which `connect` has made."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

__all__: list[str] = []


class Lease:
    """The engine that `connect` has made: the last of its connections closes it.

    Args:
        release: closes it.
    """

    def __init__(self, release: Callable[[], Awaitable[None]]) -> None:
        self._release = release
        self._holders = 0

    def take(self) -> None:
        """Counts one more connection."""
        self._holders += 1

    def drop(self) -> None:
        """Counts one less, which is collected as garbage; if it was the last, so is the engine."""
        self._holders -= 1

    async def give(self) -> None:
        """Counts one less."""
        self._holders -= 1
        if self._holders == 0:
            await self._release()
