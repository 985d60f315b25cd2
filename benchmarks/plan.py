"""`Plan`, how a run is to be done: how often, how much, on which event loops."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Plan:
    """How a run is to be done.

    Attributes:
        rounds: how often each takes its turn.
        quick: whether to do less work.
    """

    rounds: int
    quick: bool

    def size(self, full: int, quick: int) -> int:
        """How much to do."""
        return quick if self.quick else full

    @property
    def loops(self) -> tuple[str, ...]:
        """The event loops to run on: those that are installed, or asyncio's alone."""
        return ("asyncio", "uvloop") if importlib.util.find_spec("uvloop") and not self.quick else ("asyncio",)

    def on(self, loop: str, main: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Runs a coroutine on an event loop of its own."""
        factory = importlib.import_module("uvloop").new_event_loop if loop == "uvloop" else None
        with asyncio.Runner(loop_factory=factory) as runner:
            return runner.run(main())
