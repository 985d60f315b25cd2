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

    def __init__(self) -> None:
        self._token = _trio().current_trio_token()
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


def waiter() -> Waiter:
    """A waiter for the running task.

    Raises:
        RuntimeError: no event loop runs here.
    """
    return _TrioWaiter() if _in_trio_task() else _AsyncioWaiter(asyncio.get_running_loop())


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


class Turn(Protocol):
    """One turn of an event loop: `await` it."""

    def __await__(self) -> Generator[Any, Any, None]: ...

    def may_be_skipped(self) -> bool:
        """Whether the loop can do without it for a moment, since it has just had one. To be called on the loop."""

    def soon(self, callback: Callable[[], None]) -> None:
        """Has a function run at the end of this turn: once, however often it is asked for. To be called on the loop."""

    def checkpoint(self) -> Awaitable[None] | None:
        """What to await so that a task that is cancelled already does not begin; None if it surely is not.

        Raises:
            RuntimeError: no event loop runs here.
        """


def _in_cancelled_scope(task: asyncio.Task[Any]) -> bool:
    """Whether a scope of anyio around a task is cancelled: if by the task itself, it is told only later."""
    backend = sys.modules.get("anyio._backends._asyncio")
    if backend is None:
        return False
    # To ask anyio takes as long as all else that a call does on its loop, and most tasks have no scope.
    scopes = getattr(getattr(backend, "_task_states", None), "data", ())
    return weakref.ref(task) in scopes and anyio.current_effective_deadline() == -math.inf


class _AsyncioTurn:
    def __init__(self) -> None:
        self._until = 0.0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._due: set[tuple[asyncio.AbstractEventLoop, Callable[[], None]]] = set()

    def may_be_skipped(self) -> bool:
        if time.monotonic() < self._until:
            return True
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._loop = loop
            loop.call_soon(self._begin)
        return False

    def _begin(self) -> None:
        self._until = time.monotonic() + _SKIPPED
        self._loop = None

    def soon(self, callback: Callable[[], None]) -> None:
        due = asyncio.get_running_loop(), callback
        if due not in self._due:
            due[0].call_soon(self._run, due)  # First: an interrupt from the keyboard may come in between.
            self._due.add(due)

    def _run(self, due: tuple[asyncio.AbstractEventLoop, Callable[[], None]]) -> None:
        self._due.discard(due)
        due[1]()

    def __await__(self) -> Generator[None, None, None]:
        yield  # As asyncio.sleep(0), which takes twice as long for it.

    def checkpoint(self) -> Awaitable[None] | None:
        task = asyncio.current_task()
        if task is not None and (task.cancelling() or _in_cancelled_scope(task)):
            return self._if_cancelled()
        return None

    async def _if_cancelled(self) -> None:
        await anyio.lowlevel.checkpoint_if_cancelled()
        await self


class _TrioTurn:
    def may_be_skipped(self) -> bool:
        return False  # Each call is a checkpoint.

    def soon(self, callback: Callable[[], None]) -> None:
        callback()  # A turn takes about as long as what it would save.

    def __await__(self) -> Generator[Any, Any, None]:
        turn: Generator[Any, Any, None] = _trio().checkpoint().__await__()
        return turn

    def checkpoint(self) -> Awaitable[None] | None:
        cancelled: Awaitable[None] = _trio().checkpoint_if_cancelled()
        return cancelled


_TRIO_TURN = _TrioTurn()


def turn() -> Turn:
    """A turn of the event loop that runs here."""
    return _TRIO_TURN if _in_trio_task() else _running.turn


class Loop(Protocol):
    """An event loop."""

    turns: int
    """So many of them take about as long as to be woken by another thread; 0 if already one does."""

    def soon(self, callback: Callable[[], None]) -> None:
        """Has a function run at the next turn. To be called on the loop."""

    def post(self, callback: Callable[[], None]) -> None:
        """Has a function run on the loop, from any thread, without waiting for it.

        Raises:
            RuntimeError: the loop is closed.
        """

    def is_closed(self) -> bool:
        """Whether it was closed with tasks that have not ended."""


class _AsyncioLoop:
    turns = 32

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def soon(self, callback: Callable[[], None]) -> None:
        self._loop.call_soon(callback)

    def post(self, callback: Callable[[], None]) -> None:
        self._loop.call_soon_threadsafe(callback)

    def is_closed(self) -> bool:
        return self._loop.is_closed()


class _TrioLoop:
    turns = 0

    def __init__(self, token: Any) -> None:
        self._token = token

    def soon(self, callback: Callable[[], None]) -> None:
        self.post(callback)

    def post(self, callback: Callable[[], None]) -> None:
        self._token.run_sync_soon(callback)

    def is_closed(self) -> bool:
        return False  # trio does not end before its tasks.


class _Running(threading.local):
    """The event loop of this thread, which runs one at a time."""

    loop: Loop | None = None
    native: object = None

    def __init__(self) -> None:
        self.turn = _AsyncioTurn()


_running = _Running()


def running() -> Loop:
    """The event loop that runs here; the same object each time.

    Raises:
        RuntimeError: none does.
    """
    native = _trio().current_trio_token() if _in_trio_task() else asyncio.get_running_loop()
    loop = _running.loop
    if loop is None or native is not _running.native:
        loop = _AsyncioLoop(native) if isinstance(native, asyncio.AbstractEventLoop) else _TrioLoop(native)
        _running.loop, _running.native = loop, native
    return loop
