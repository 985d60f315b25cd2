"""Waiting on an event loop for a thread: asyncio's loops and trio.

anyio has no way to post to a loop without blocking the thread until the loop answers, so this file has the two of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import sys
import threading
import time
import weakref
from collections.abc import Awaitable, Callable, Generator
from typing import Any, Protocol

import anyio
import anyio.lowlevel


class Waiter(Protocol):
    """One task that waits to be woken, again and again if it likes."""

    async def wait(self) -> None:
        """Waits for `wake`; what cancels the task ends the wait."""

    def wake(self) -> None:
        """Wakes the task; called on its loop."""

    def wake_from_anywhere(self) -> None:
        """Wakes the task, soon.

        Raises:
            RuntimeError: the loop is closed.
        """


class _AsyncioWaiter:
    __slots__ = ("__weakref__", "_future", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._future: asyncio.Future[None] = loop.create_future()

    async def wait(self) -> None:
        if self._future.cancelled():
            self._future = self._loop.create_future()
        await self._future

    def wake(self) -> None:
        if not self._future.done():
            self._future.set_result(None)

    def wake_from_anywhere(self) -> None:
        if _running_asyncio_loop() is self._loop:
            self.wake()
        else:
            self._loop.call_soon_threadsafe(self.wake)


class _TrioWaiter:
    __slots__ = ("__weakref__", "_task", "_token", "_woken")

    def __init__(self, token: Any) -> None:
        self._token = token
        self._task: Any = None
        self._woken = False

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

    def wake_from_anywhere(self) -> None:
        self._token.run_sync_soon(self.wake)


def _trio() -> Any:
    import trio.lowlevel

    return trio.lowlevel


def _in_trio_task() -> bool:
    trio = sys.modules.get("trio.lowlevel")
    if trio is None:
        return False
    # Another thread may be importing trio at this moment: then no task of it runs here yet.
    in_trio_task = getattr(trio, "in_trio_task", None)
    return in_trio_task is not None and bool(in_trio_task())


def _running_asyncio_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def wake_all(waiters: list[Waiter]) -> None:
    """Wakes tasks, from any thread, and forgets them."""
    for waiter in waiters:
        with contextlib.suppress(RuntimeError):  # Its loop is closed.
            waiter.wake_from_anywhere()
    waiters.clear()


async def wait_through(wait: Callable[[], Awaitable[None]], done: Callable[[], bool]) -> None:
    """Waits until `done()`, whatever cancels the task meanwhile; the caller passes the cancellation on."""
    with anyio.CancelScope(shield=True):
        while not done():
            try:
                await wait()
            except asyncio.CancelledError:
                continue  # A native cancellation: asyncio knows no shields.


_SKIPPED = 0.0001
"""Seconds after a turn of a loop has begun, in which all that runs in it may go on without another one."""
_LONG = 0.001
"""Seconds of a turn after which what is due at its end is asked for again: an interrupt may have come in its place."""


class Loop(Protocol):
    """An event loop. All of this is called on it, but `post` and `is_closed`."""

    turns: int
    """So many of them take about as long as to be woken by another thread; 0 if already one does."""
    turn: Awaitable[None]
    """Its next turn: others run before whoever awaits it, who may do so again and again."""

    def checkpoint(self) -> Awaitable[None] | None:
        """What to await so that a task that is cancelled already does not begin; None if it surely is not."""

    def may_skip_turn(self) -> bool:
        """Whether it can do without a turn for a moment, since it has just had one."""

    def waiter(self) -> Waiter:
        """A waiter for the running task."""

    def soon(self, callback: Callable[[], None]) -> None:
        """Has a function run at the next turn."""

    def at_end_of_turn(self, callback: Callable[[], None]) -> None:
        """Has a function run at the end of this turn, once however often it is asked for; of a long turn, again."""

    def post(self, callback: Callable[[], None]) -> None:
        """Has a function run on the loop, from any thread, without waiting for it.

        Raises:
            RuntimeError: the loop is closed.
        """

    def is_closed(self) -> bool:
        """Whether it was closed with tasks that have not ended."""


def _in_cancelled_scope(task: asyncio.Task[Any]) -> bool:
    """Whether a scope of anyio around a task is cancelled: if by the task itself, it is told only later."""
    backend = sys.modules.get("anyio._backends._asyncio")
    if backend is None:
        return False
    # To ask anyio takes as long as all else that a call does on its loop, and most tasks have no scope.
    scopes = getattr(getattr(backend, "_task_states", None), "data", ())
    return weakref.ref(task) in scopes and anyio.current_effective_deadline() == -math.inf


class _AsyncioTurn:
    def __await__(self) -> Generator[None, None, None]:
        yield  # As asyncio.sleep(0), which takes twice as long for it.


class _AsyncioLoop:
    turns = 32
    turn: Awaitable[None] = _AsyncioTurn()

    def __init__(self, native: asyncio.AbstractEventLoop) -> None:
        self.native = native
        self._skips_until = 0.0
        self._due: dict[Callable[[], None], float] = {}

    def checkpoint(self) -> Awaitable[None] | None:
        task = asyncio.current_task(self.native)
        if task is None or not (task.cancelling() or _in_cancelled_scope(task)):
            return None
        return self._if_cancelled()

    async def _if_cancelled(self) -> None:
        await anyio.lowlevel.checkpoint_if_cancelled()
        await self.turn

    def may_skip_turn(self) -> bool:
        if time.monotonic() < self._skips_until:
            return True
        self.at_end_of_turn(self._begin)
        return False

    def _begin(self) -> None:
        self._skips_until = time.monotonic() + _SKIPPED

    def waiter(self) -> Waiter:
        return _AsyncioWaiter(self.native)

    def soon(self, callback: Callable[[], None]) -> None:
        self.native.call_soon(callback)

    def at_end_of_turn(self, callback: Callable[[], None]) -> None:
        now = time.monotonic()
        if now > self._due.get(callback, -math.inf):
            self.native.call_soon(self._run, callback)
            self._due[callback] = now + _LONG

    def _run(self, callback: Callable[[], None]) -> None:
        self._due.pop(callback, None)
        callback()

    def post(self, callback: Callable[[], None]) -> None:
        self.native.call_soon_threadsafe(callback)

    def is_closed(self) -> bool:
        return self.native.is_closed()


class _TrioTurn:
    def __await__(self) -> Generator[Any, Any, None]:
        turn: Generator[Any, Any, None] = _trio().checkpoint().__await__()
        return turn


class _TrioLoop:
    turns = 0
    turn: Awaitable[None] = _TrioTurn()

    def __init__(self, token: Any) -> None:
        self.native = token

    def checkpoint(self) -> Awaitable[None] | None:
        cancelled: Awaitable[None] = _trio().checkpoint_if_cancelled()
        return cancelled

    def may_skip_turn(self) -> bool:
        return False  # Each call is a checkpoint.

    def waiter(self) -> Waiter:
        return _TrioWaiter(self.native)

    def soon(self, callback: Callable[[], None]) -> None:
        self.post(callback)

    def at_end_of_turn(self, callback: Callable[[], None]) -> None:
        callback()  # A turn takes about as long as what it would save.

    def post(self, callback: Callable[[], None]) -> None:
        self.native.run_sync_soon(callback)

    def is_closed(self) -> bool:
        return False  # trio does not end before its tasks.


class _Running(threading.local):
    """The event loop of this thread, which runs one at a time."""

    loop: _AsyncioLoop | _TrioLoop | None = None


_running = _Running()


def running() -> Loop:
    """The event loop that runs here; the same object each time.

    Raises:
        RuntimeError: none does.
    """
    native = _trio().current_trio_token() if _in_trio_task() else asyncio.get_running_loop()
    loop = _running.loop
    if loop is None or loop.native is not native:
        is_asyncio = isinstance(native, asyncio.AbstractEventLoop)
        loop = _running.loop = _AsyncioLoop(native) if is_asyncio else _TrioLoop(native)
    return loop
