"""What an application is told of its statements: by a hook, and in the log if they are slow."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

__all__ = ["StatementEvent"]

T = TypeVar("T")

_log = logging.getLogger("aiostoolap")


@dataclass(frozen=True, slots=True)
class StatementEvent:
    """A statement that has ended. Parameters are not told: they may be secrets.

    Attributes:
        sql: its text.
        seconds: from the call to its end, with the time that it waited for others; of a query that is streamed, to its
            first rows.
        error: what it raised, a cancellation too; None if it succeeded.
    """

    sql: str
    seconds: float
    error: BaseException | None


class Observer:
    """Watches statements.

    Args:
        hook: called for each statement that has ended, in the task that ran it; what it raises is logged.
        slow: seconds from which on a statement is logged as a warning; None for never.
    """

    def __init__(self, hook: Callable[[StatementEvent], object] | None, slow: float | None) -> None:
        self._hook = hook
        self._slow = slow

    async def watch(self, sql: str, statement: Awaitable[T]) -> T:
        """Awaits what runs a statement."""
        begun = time.perf_counter()
        try:
            result = await statement
        except BaseException as error:
            self._tell(StatementEvent(sql, time.perf_counter() - begun, error))
            raise
        self._tell(StatementEvent(sql, time.perf_counter() - begun, None))
        return result

    def _tell(self, event: StatementEvent) -> None:
        if self._slow is not None and event.seconds >= self._slow:
            _log.warning("slow statement: %.3f s: %s", event.seconds, event.sql)
        if self._hook is not None:
            try:
                self._hook(event)
            except Exception:
                _log.exception("the hook on_statement failed")
