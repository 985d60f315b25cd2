"""`Peer`, a driver by the calls that the works need, and `Kind`, what is known of one before it is opened."""

from __future__ import annotations

import importlib.util
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol, TypeVar

T = TypeVar("T")


class Asker(Protocol):
    """What can answer with one row."""

    async def one(self, sql: str, parameters: Sequence[Any] = ()) -> Any:
        """The first row, in the driver's own form."""


class Peer(Asker, Protocol):
    """An open database of a driver. Parameters are written `?`, which all of them know."""

    async def execute(self, sql: str, parameters: Sequence[Any] = ()) -> None:
        """Runs a statement, which commits by itself."""

    async def load(self, table: str, rows: Sequence[Sequence[Any]]) -> None:
        """Inserts rows, all in one call, by what the driver has for that."""

    async def rows(self, sql: str) -> Sequence[Any]:
        """All rows, in the driver's fastest form."""

    async def structs(self, sql: str, into: type[T]) -> list[T]:
        """All rows as structs."""

    def stream(self, sql: str) -> AsyncIterator[Any]:
        """Row by row."""


@dataclass(frozen=True)
class Kind:
    """A driver.

    Attributes:
        name: its name in the tables.
        module: what it imports; without it, the driver takes no part.
        distribution: what has to be installed.
        open: opens a database in memory, or one in that directory whose commits are on the disk when they return.
        waits: whether its calls let the event loop run meanwhile.
        settings: how it is used, in a sentence.
    """

    name: str
    module: str
    distribution: str
    open: Callable[[Path | None], AbstractAsyncContextManager[Peer]]
    settings: str
    waits: bool = True

    @property
    def version(self) -> str | None:
        """The version that is installed; None if none is."""
        try:
            found = importlib.util.find_spec(self.module) is not None
        except ModuleNotFoundError:  # Its parent.
            found = False
        return metadata.version(self.distribution) if found else None


def plain(row: Any) -> tuple[Any, ...]:
    """The values of a row, whatever its driver makes of rows."""
    return tuple(row.values()) if isinstance(row, dict) else tuple(row)


def marks(row: Sequence[Any]) -> str:
    """A placeholder for each value."""
    return ", ".join("?" * len(row))
