"""The instances of an engine: after a trap, another one takes the place of the one that is gone."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from aiostoolap import errors
from aiostoolap.core.exchange import Exchange
from aiostoolap.core.inheritance import Inheritance

if TYPE_CHECKING:
    from aiostoolap.core.runtime import Runtime

_log = logging.getLogger("aiostoolap")

_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.05, 5.0
"""Seconds between attempts to get an instance."""
_HANDLES = 1 << 40
"""How many handles each instance may give: those of one lie above those of all before."""


class Instances:
    """All of it runs on the engine's thread.

    Args:
        start: makes an instance.
        exchange: where calls come from.
        inheritance: what the next one takes over.
    """

    def __init__(self, start: Callable[[], Runtime], exchange: Exchange, inheritance: Inheritance) -> None:
        self._start = start
        self._exchange = exchange
        self._inheritance = inheritance
        self._transacting: set[int] = set()
        self.lost = 0
        """How many are gone."""
        self._pause = _SHORTEST_PAUSE
        self.current = start()

    def replace(self, loss: errors.EngineLostError) -> bool:
        """Answers the calls of the instance that is gone, and makes another one, as soon as there can be one.

        Args:
            loss: why it is gone.

        Returns:
            False if the end has begun before.
        """
        _log.error("%s", loss, exc_info=loss)
        self.lost += 1
        self._transacting |= self.current.transacting()
        uncertain = errors.EngineLostError(f"{loss}; if it was to change something, that may have happened or not")
        has_served = self.current.ring.served > 0
        self._exchange.lose(uncertain)
        self.current.close()
        if has_served:
            self._pause = _SHORTEST_PAUSE
        else:
            # The next one would do no better, and calls would be placed again for ever.
            self._wait(errors.EngineLostError(f"{loss}; the statement did not run"))
        while self._exchange.closing is None:
            try:
                self._succeed()
            except Exception as error:
                _log.error("the engine cannot be started again: %s", error)
                failure = errors.EngineLostError(f"the engine's instance is gone, and no other can be had: {error}")
                failure.__cause__ = error
                self._wait(failure)
            else:
                return True
        return False

    def _wait(self, failure: errors.Error) -> None:
        """Waits for a call that wants an instance, after a pause that is longer each time."""
        self._exchange.fail(failure, self._pause)
        self._exchange.wait_for_wish()
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)

    def _succeed(self) -> None:
        successor = self._start()
        try:
            successor.ask(self._inheritance.request(self.lost * _HANDLES, self._transacting))
        except BaseException:
            successor.close()
            raise
        self.current = successor
        self._transacting.clear()
