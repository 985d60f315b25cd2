"""Waiting on an event loop for a thread: asyncio's loops and trio.

anyio has no way to post to a loop without blocking the thread until the loop answers, so this file has the two of them.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Any, Protocol

import anyio


class Waiter(Protocol):
    """One task that waits to be woken, again and again if it likes."""

    async def wait(self) -> None:
        """Waits for `wake`; what cancels the task ends the wait."""

    def wake(self) -> None:
        """Wakes the task; called on its loop."""

    @property
    def loop(self) -> Loop:
        """Where the task runs."""


class Loop(Protocol):
    """An event loop, as seen from the executor's thread. Loops compare equal if they are the same."""

    def post(self, callback: Callable[[Any], None], argument: Any) -> None:
        """Has `callback(argument)` run on the loop, without waiting for it.

        Raises:
            RuntimeError: the loop is closed.
        """


class _AsyncioLoop:
    __slots__ = ("_loop",)

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def post(self, callback: Callable[[Any], None], argument: Any) -> None:
        self._loop.call_soon_threadsafe(callback, argument)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _AsyncioLoop) and self._loop is other._loop

    def __hash__(self) -> int:
        return id(self._loop)


class _AsyncioWaiter:
    __slots__ = ("_asyncio_loop", "_future")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._asyncio_loop = loop
        self._future: asyncio.Future[None] = loop.create_future()

    @property
    def loop(self) -> Loop:
        return _AsyncioLoop(self._asyncio_loop)

    async def wait(self) -> None:
        if self._future.cancelled():
            self._future = self._asyncio_loop.create_future()
        await self._future

    def wake(self) -> None:
        if not self._future.done():
            self._future.set_result(None)


class _TrioLoop:
    __slots__ = ("_token",)

    def __init__(self, token: Any) -> None:
        self._token = token

    def post(self, callback: Callable[[Any], None], argument: Any) -> None:
        self._token.run_sync_soon(callback, argument)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _TrioLoop) and self._token is other._token

    def __hash__(self) -> int:
        return id(self._token)


class _TrioWaiter:
    __slots__ = ("_task", "_token", "_woken")

    def __init__(self) -> None:
        self._token = _trio().current_trio_token()
        self._task: Any = None
        self._woken = False

    @property
    def loop(self) -> Loop:
        return _TrioLoop(self._token)

    async def wait(self) -> None:
        lowlevel = _trio()
        if self._woken:
            await lowlevel.checkpoint_if_cancelled()
            return
        self._task = lowlevel.current_task()

        def abort(_: object) -> Any:
            self._task = None
            return lowlevel.Abort.SUCCEEDED

        await lowlevel.wait_task_rescheduled(abort)

    def wake(self) -> None:
        self._woken = True
        if self._task is not None:
            task, self._task = self._task, None
            _trio().reschedule(task)


def _trio() -> Any:
    import trio.lowlevel

    return trio.lowlevel


def waiter() -> Waiter:
    """A waiter for the running task.

    Raises:
        RuntimeError: no event loop runs here.
    """
    # Another thread may be importing trio at this moment: then no task of it runs here yet.
    in_trio_task = getattr(sys.modules.get("trio.lowlevel"), "in_trio_task", None)
    if in_trio_task is not None and in_trio_task():
        return _TrioWaiter()
    return _AsyncioWaiter(asyncio.get_running_loop())


async def wait_through(waiter: Waiter, done: Callable[[], bool]) -> None:
    """Waits until `done()`, whatever cancels the task meanwhile; the caller passes the cancellation on."""
    with anyio.CancelScope(shield=True):
        while not done():
            try:
                await waiter.wait()
            except asyncio.CancelledError:
                continue  # A native cancellation: asyncio knows no shields.
