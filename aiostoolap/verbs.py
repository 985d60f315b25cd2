"""What runs statements: the requests behind the verbs, and where rows come from, and go to."""

from __future__ import annotations

import contextlib
import functools
import itertools
import math
from collections.abc import AsyncIterable, AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal, NoReturn, TypeVar

from aiostoolap import shapes
from aiostoolap.core import protocol
from aiostoolap.core.call import Call
from aiostoolap.core.caller import Caller
from aiostoolap.core.extensions import RowDecoders
from aiostoolap.errors import ClosedError, EngineLostError, Error, InterfaceError
from aiostoolap.observe import Observer, StatementEvent
from aiostoolap.row import ROWS, Shape
from aiostoolap.rows import Query
from aiostoolap.seconds import is_time
from aiostoolap.values import Parameters, Vector, adapt

T = TypeVar("T")

_FIRST_ROWS = 256
"""How many rows `execute_many` sends at first; then as many as fill a request of about a megabyte."""
_REQUEST_BYTES = 1 << 20
_FIRST_CHUNK, _LARGEST_CHUNK = 1 << 15, 1 << 16
"""So many bytes of rows come at a time, twice as many each time: the first soon, and none keeps its loop for long."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What holds for all sessions of an engine.

    Attributes:
        timeout: seconds for each call that takes `timeout` and gives none; None for no limit.
        nanoseconds: timestamps are whole nanoseconds since 1970, not datetimes.
        decoders: decode rows.
        observer: watches statements; None if nobody wants to know.
    """

    timeout: float | None
    nanoseconds: bool
    decoders: RowDecoders
    observer: Observer | None


def settings(
    timeout: float | None,
    timestamps: Literal["datetime", "nanoseconds"],
    json: Literal["object", "text"],
    on_statement: Callable[[StatementEvent], object] | None,
    slow_statement: float | None,
) -> Settings:
    """Checks the settings that users give.

    Raises:
        InterfaceError: one of them is unknown or out of range.
    """
    if timeout is not None and not (is_time(timeout) and 0 < timeout < math.inf):
        raise InterfaceError(f"timeout is a number of seconds above 0 or None, not {timeout!r}")
    if timestamps not in ("datetime", "nanoseconds"):
        raise InterfaceError(f"timestamps is 'datetime' or 'nanoseconds', not {timestamps!r}")
    if json not in ("object", "text"):
        raise InterfaceError(f"json is 'object' or 'text', not {json!r}")
    if slow_statement is not None and not is_time(slow_statement):
        raise InterfaceError(f"slow_statement is a number of seconds from 0 on or None, not {slow_statement!r}")
    if on_statement is not None and not callable(on_statement):
        raise InterfaceError(f"on_statement is a function or None, not {on_statement!r}")
    watched = on_statement is not None or slow_statement is not None
    observer = Observer(on_statement, slow_statement) if watched else None
    return Settings(timeout, timestamps == "nanoseconds", _decoders(json == "text"), observer)


def _checked(timeout: float) -> float:
    if is_time(timeout) and timeout > 0:
        return timeout
    raise InterfaceError(f"timeout is a number of seconds above 0, or None for the engine's, not {timeout!r}")


@functools.cache
def _decoders(raw_json: bool) -> RowDecoders:
    return RowDecoders(raw_json, Vector.from_little_endian)


class Verbs:
    """The verbs of whatever runs statements: each subclass says on which connection and which statement."""

    _caller: Caller
    _settings: Settings

    def _connection(self) -> protocol.Handle:
        """The connection that statements run on.

        Raises:
            ClosedError: it is closed.
        """
        raise NotImplementedError

    def __reduce__(self) -> NoReturn:
        # A copy would close it when it is collected.
        raise TypeError(f"a {type(self).__name__} can be neither copied nor pickled; a DB has clone()")

    def _sql(self, target: protocol.Target) -> str:
        """The text of a statement."""
        return str(target)

    def _run(
        self, target: protocol.Target, request: protocol.Request, timeout: float | None
    ) -> Coroutine[Any, Any, bytes]:
        """Submits a statement. One call for all of it: this is what each query costs."""
        settings = self._settings
        running = self._caller.submit(request, settings.timeout if timeout is None else _checked(timeout))
        return running if settings.observer is None else settings.observer.watch(self._sql(target), running)

    def _limit(self, timeout: float | None) -> float | None:
        return self._settings.timeout if timeout is None else _checked(timeout)

    def _submit(self, request: protocol.Request, timeout: float | None) -> Coroutine[Any, Any, bytes]:
        return self._caller.submit(request, self._limit(timeout))

    def _finish(self, call: Call, timeout: float | None) -> Coroutine[Any, Any, bytes]:
        return self._caller.finish(call, self._limit(timeout))

    def _execute(
        self, target: protocol.Target, parameters: Parameters, timeout: float | None
    ) -> Coroutine[Any, Any, bytes]:
        return self._run(target, protocol.execute(self._connection(), target, adapt(parameters)), timeout)

    def _query(
        self, target: protocol.Target, parameters: Parameters, into: type[T] | None, timeout: float | None
    ) -> Query[Any]:
        return Query(_Source(self, target, parameters, timeout), ROWS if into is None else shapes.into(into))

    def _query_one(
        self, target: protocol.Target, parameters: Parameters, shape: Shape[Any], timeout: float | None
    ) -> Coroutine[Any, Any, bytes]:
        nanoseconds = self._settings.nanoseconds
        request = protocol.query_one(self._connection(), target, adapt(parameters), nanoseconds, shape.maps)
        return self._run(target, request, timeout)

    def _first(self, reply: bytes, shape: Shape[Any]) -> Any:
        names, encoded = protocol.first(reply)
        rows = shape.reader(self._settings.decoders, names).read(encoded, 0)
        return rows[0] if rows else None

    def _execute_many(
        self,
        target: protocol.Target,
        rows: Iterable[Any] | AsyncIterable[Any],
        progress: Callable[[int], object] | None,
        timeout: float | None,
    ) -> Coroutine[Any, Any, int]:
        running, observer = self._execute_batches(target, rows, progress, timeout), self._settings.observer
        return running if observer is None else observer.watch(self._sql(target), running)

    async def _execute_batches(
        self,
        target: protocol.Target,
        rows: Iterable[Any] | AsyncIterable[Any],
        progress: Callable[[int], object] | None,
        timeout: float | None,
    ) -> int:
        batches = _Batches(rows)
        batch = await batches.take()
        if not batch:
            return 0
        following = await batches.take()
        affected = sent = 0
        # One request is a unit by itself, but what `progress` raises comes after it.
        is_one = not following and progress is None
        unit = contextlib.nullcontext(self._connection()) if is_one else self._atomic()
        async with unit as connection:
            while batch:
                request = protocol.execute_many(connection, target, batch)
                batches.size = max(1, _REQUEST_BYTES * len(batch) // max(1, len(request.body)))
                # The engine inserts these rows while the next are made ready.
                call = self._caller.begin(request) if following else None
                try:
                    after = await batches.take() if following else []
                except BaseException:
                    if call is not None:
                        self._caller.forget(call)
                    raise
                waiting = self._submit(request, timeout) if call is None else self._finish(call, timeout)
                affected += protocol.handle(await waiting)
                sent += len(batch)
                if progress is not None:
                    progress(sent)
                batch, following = following, after
        return affected

    @asynccontextmanager
    async def _atomic(self) -> AsyncIterator[protocol.Handle]:
        """A connection on which all that runs is one unit."""
        raise NotImplementedError
        yield 0


class _Source:
    """Where the rows of a query come from; see `rows.Source`."""

    def __init__(self, verbs: Verbs, target: protocol.Target, parameters: Parameters, timeout: float | None) -> None:
        self._verbs = verbs
        self._target = target
        self._parameters = parameters
        self._timeout = timeout
        self._chunk = _FIRST_CHUNK
        self.decoders = verbs._settings.decoders

    async def open(self, *, maps: bool) -> bytes:
        verbs = self._verbs
        self._chunk = _FIRST_CHUNK
        request = protocol.query(
            verbs._connection(),
            self._target,
            adapt(self._parameters),
            protocol.ALL_ROWS,
            _FIRST_CHUNK,
            nanoseconds=verbs._settings.nanoseconds,
            maps=maps,
        )
        return await verbs._run(self._target, request, self._timeout)

    async def fetch(self, cursor: int, rows: int) -> bytes:
        return await self._verbs._submit(self._further(cursor, rows), self._timeout)

    def fetch_ahead(self, cursor: int) -> Call | None:
        with contextlib.suppress(Error):  # What can be read by now is read nevertheless.
            return self._verbs._caller.begin(self._further(cursor, protocol.ALL_ROWS))
        return None

    def _further(self, cursor: int, rows: int) -> protocol.Request:
        self._chunk = min(2 * self._chunk, _LARGEST_CHUNK)
        return protocol.fetch(cursor, rows, self._chunk)

    async def arrive(self, call: Call) -> bytes:
        return await self._verbs._finish(call, self._timeout)

    def forget(self, call: Call) -> None:
        self._verbs._caller.forget(call)

    def drop(self, call: Call) -> None:
        self._verbs._caller.drop(call)

    async def close(self, cursor: int) -> None:
        with contextlib.suppress(ClosedError, EngineLostError):  # A stop, its connection's end or the engine's has.
            await self._verbs._caller.submit(protocol.close_cursor(cursor))

    def release(self, cursor: int) -> None:
        self._verbs._caller.post(protocol.close_cursor(cursor))


class _Batches:
    """Rows of an iterable or an asynchronous one, adapted, `size` of them at a time."""

    def __init__(self, rows: Iterable[Any] | AsyncIterable[Any]) -> None:
        self.size = _FIRST_ROWS
        self._iterator = iter(rows) if isinstance(rows, Iterable) else None
        self._async_iterator = aiter(rows) if isinstance(rows, AsyncIterable) else None
        if self._iterator is None and self._async_iterator is None:
            raise TypeError(f"rows is an iterable or an asynchronous one, not {type(rows).__name__}")

    async def take(self) -> list[Any]:
        if self._iterator is not None:
            return list(map(adapt, itertools.islice(self._iterator, self.size)))
        batch: list[Any] = []
        if self._async_iterator is not None:
            async for row in self._async_iterator:
                batch.append(adapt(row))
                if len(batch) == self.size:
                    break
        return batch
