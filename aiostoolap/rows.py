"""Results: `Query` is what `query()` returns, `Result` all rows at once, `Rows` a cursor."""

from __future__ import annotations

import gc
import warnings
from collections import deque
from collections.abc import AsyncIterator, Coroutine, Generator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, NoReturn, Protocol, Self, TypeVar

from aiostoolap.core import protocol
from aiostoolap.core.call import Call
from aiostoolap.core.extensions import RowDecoders
from aiostoolap.core.protocol import ALL_ROWS
from aiostoolap.errors import ClosedError, InterfaceError, ProgrammingError
from aiostoolap.row import Reader, Shape

__all__ = ["Query", "Result", "Rows"]

RowT = TypeVar("RowT")
T = TypeVar("T")

_MANY_ROWS = 1 << 12
"""Bytes."""
_AHEAD = 2
"""So many pieces of rows are fetched ahead: while one is on its way, the engine makes the other."""


class Result(list[RowT]):
    """All rows of a result: a list that also knows the names of its columns.

    Attributes:
        columns: the names, in order.
        rows_affected: how many rows an INSERT, UPDATE or DELETE with RETURNING changed.
    """

    def __init__(self, columns: Sequence[str], rows: list[RowT], rows_affected: int = 0) -> None:
        super().__init__(rows)
        self.columns = tuple(columns)
        self.rows_affected = rows_affected

    def __reduce__(self) -> tuple[Any, ...]:
        return Result, (self.columns, list(self), self.rows_affected)


class Source(Protocol):
    """Where a query's rows come from."""

    decoders: RowDecoders

    async def open(self, *, maps: bool) -> bytes:
        """Runs the statement; the reply has the first rows."""

    async def fetch(self, cursor: int, rows: int) -> bytes:
        """Further rows, up to so many."""

    def fetch_ahead(self, cursor: int) -> Call | None:
        """Begins to fetch further rows; None if there is no room for that now."""

    async def arrive(self, call: Call) -> bytes:
        """Waits for the rows that are fetched ahead."""

    def forget(self, call: Call) -> None:
        """Does without them."""

    def drop(self, call: Call) -> None:
        """Does without them, where this may be a collection of garbage."""

    async def close(self, cursor: int) -> None:
        """Closes a cursor."""

    def release(self, cursor: int) -> None:
        """Closes a cursor without waiting."""


_USE = "`await` it for all rows, `async for` to stream them, `async with ... as rows` for a cursor"


class Query(Generic[RowT]):
    """A query that has not run yet: what to do with it says how its rows come.

    `await query` gives all rows as a `Result`. `async for row in query` streams them in bounded memory.
    `async with query as rows` gives the cursor, a `Rows`, one at a time. Each of these runs the statement anew.
    """

    _rows: Rows[RowT] | None = None
    """The cursor of a block."""

    def __init__(self, source: Source, shape: Shape[RowT]) -> None:
        self._source = source
        self._shape = shape
        self._ran = False

    if not TYPE_CHECKING:  # Type checkers know it.

        def __getitem__(self, key: object) -> Any:
            # For `for`, too, which counts from 0 if there is no `__iter__`. That would make it an iterable.
            raise TypeError(f"a query has no rows before it has run: {_USE}")

        def __getattr__(self, name: str) -> Any:
            raise AttributeError(f"{name!r}: a query has not run yet; {_USE}")

    def __await__(self) -> Generator[Any, Any, Result[RowT]]:
        self._ran = True
        return self._all().__await__()

    async def _all(self) -> Result[RowT]:
        rows = Rows(self._source, self._shape)
        try:
            first = await rows.start(ahead=True)
        except BaseException:
            rows.release()  # Not when the exception goes away, which has a reference to all this.
            raise
        result = Result(rows.columns, first, rows.rows_affected)
        while rows.has_more:
            result += await rows._more(ALL_ROWS)
        return result

    def __aiter__(self) -> AsyncIterator[RowT]:
        self._ran = True
        return Rows(self._source, self._shape)

    async def __aenter__(self) -> Rows[RowT]:
        if self._rows is not None:
            raise InterfaceError("the query has a cursor already: call query() again for another one")
        self._ran = True
        self._rows = rows = Rows(self._source, self._shape)
        try:
            await rows.open()
        except BaseException:
            self._rows = None
            raise
        return rows

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        rows, self._rows = self._rows, None
        assert rows is not None
        await rows.close()

    def __del__(self) -> None:
        if not getattr(self, "_ran", True):
            warnings.warn("a query was made but never awaited or iterated", RuntimeWarning, stacklevel=2, source=self)


class Rows(Generic[RowT]):
    """A cursor: rows fetched in pieces, in order, once.

    An iteration that is left early releases the cursor when the object goes away; `async with` does it at once.
    """

    def __init__(self, source: Source, shape: Shape[RowT]) -> None:
        self._source = source
        self._shape = shape
        self._buffer: deque[RowT] = deque()
        self._reader: Reader[RowT] | None = None
        self._affected = 0
        self._cursor = 0
        self._ahead: deque[Call] = deque()
        self._count = 0
        self._fetching = False
        self._closed = False

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns.

        Raises:
            ProgrammingError: the query has not run yet; that happens at the first row, or in `async with`.
        """
        if self._reader is None:
            raise ProgrammingError("the query has not run yet")
        return self._reader.columns

    @property
    def rows_affected(self) -> int:
        """How many rows an INSERT, UPDATE or DELETE with RETURNING changed."""
        return self._affected

    async def open(self) -> None:
        """Runs the query, if it has not run yet.

        Raises:
            Error: the statement failed; see `DB.query`.
            ClosedError: the cursor is closed, or has failed before.
            InterfaceError: another task is fetching from it.
            TimeoutError: it took longer than the query's `timeout`.
        """
        if self._reader is None or self._closed or self._fetching:
            await self._exchange(self._open())

    async def start(self, *, ahead: bool = False) -> list[RowT]:
        """Runs the query and returns its first rows, which do not come again.

        Args:
            ahead: further rows will be wanted.
        """
        source = self._source
        body = await source.open(maps=self._shape.maps)
        names, self._cursor, self._affected, encoded = protocol.head(body)
        if ahead:
            self._fetch_ahead(1)
        self._reader = reader = self._shape.reader(source.decoders, names)
        rows = _read(reader, encoded, 0)
        self._count = len(rows)
        return rows

    @property
    def has_more(self) -> bool:
        """Whether the engine may have further rows."""
        return self._cursor > 0

    async def _open(self) -> None:
        self._buffer.extend(await self.start())

    async def _more(self, rows: int) -> list[RowT]:
        """What comes at once of the rows behind those in the buffer; up to so many, or what was fetched ahead."""
        return await self._exchange(self._fetch(rows))

    async def _fetch(self, rows: int) -> list[RowT]:
        source, ahead = self._source, self._ahead
        assert self._reader is not None
        body = await (source.arrive(ahead.popleft()) if ahead else source.fetch(self._cursor, rows))
        self._cursor, encoded = protocol.more(body)
        if not self._cursor:
            self._leave()
        elif rows == ALL_ROWS:
            self._fetch_ahead(_AHEAD)
        more = _read(self._reader, encoded, self._count)
        self._count += len(more)
        return more

    def _fetch_ahead(self, count: int) -> None:
        """Has the engine fetch the next rows, while those that have come are decoded and looked at."""
        while self._cursor and len(self._ahead) < count:
            call = self._source.fetch_ahead(self._cursor)
            if call is None:
                break
            self._ahead.append(call)

    async def _exchange(self, step: Coroutine[Any, Any, T]) -> T:
        """Runs a step alone; one that fails closes the cursor, for what it would have brought is lost."""
        try:
            if self._closed:
                raise ClosedError("the cursor is closed")
            if self._fetching:
                raise InterfaceError("another task is fetching from this cursor; give each task its own")
        except InterfaceError:
            step.close()
            raise
        self._fetching = True
        try:
            return await step
        except BaseException:
            self._closed = True
            self.release()
            raise
        finally:
            self._fetching = False

    async def fetchone(self) -> RowT | None:
        """The next row, or None after the last.

        Raises:
            Error: as `open` does, and `DataError` if a row does not fit `into`; the cursor is closed then.
            TimeoutError: it took longer than the query's `timeout`; the cursor is closed then.
        """
        if not self._buffer and not await self._fill(ALL_ROWS):
            return None
        return self._buffer.popleft()

    async def fetchmany(self, size: int = 100) -> list[RowT]:
        """The next rows, `size` of them or as many as are left.

        Raises:
            Error: as `fetchone` does.
            TimeoutError: it took longer than the query's `timeout`; the cursor is closed then.
            ValueError: `size` is less than 1.
        """
        if size < 1:
            raise ValueError(f"size is at least 1, not {size}")
        while len(self._buffer) < size and await self._fill(size - len(self._buffer)):
            pass
        return [self._buffer.popleft() for _ in range(min(size, len(self._buffer)))]

    async def fetchall(self) -> list[RowT]:
        """All rows that are left.

        Raises:
            Error: as `fetchone` does.
            TimeoutError: an exchange took longer than the query's `timeout`; the cursor is closed then.
        """
        await self.open()
        rows = list(self._buffer)
        self._buffer.clear()
        while self._cursor:
            rows += await self._more(ALL_ROWS)
        return rows

    async def close(self) -> None:
        """Releases the cursor. May be called again."""
        cursor = self._leave()
        self._closed = True
        self._buffer.clear()
        if cursor:
            await self._source.close(cursor)

    def release(self) -> None:
        """Closes the cursor without waiting; this may be a collection of garbage."""
        while self._ahead:
            self._source.drop(self._ahead.popleft())
        cursor = self._leave()
        if cursor:
            self._source.release(cursor)

    def _leave(self) -> int:
        """Does without what is fetched ahead, and gives the cursor away, to be closed; 0 if there is none."""
        while self._ahead:
            self._source.forget(self._ahead.popleft())
        cursor, self._cursor = self._cursor, 0
        return cursor

    def __aiter__(self) -> AsyncIterator[RowT]:
        return self

    async def __anext__(self) -> RowT:
        # As fetchone, once more: this is the innermost loop of whoever streams.
        if not self._buffer and not await self._fill(ALL_ROWS):
            raise StopAsyncIteration
        return self._buffer.popleft()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def _fill(self, rows: int) -> bool:
        """Fetches further rows; false if there are none."""
        before = len(self._buffer)
        await self.open()
        while self._cursor and len(self._buffer) == before:
            self._buffer.extend(await self._more(rows))
        return len(self._buffer) > before

    def __reduce__(self) -> NoReturn:
        raise TypeError("a cursor can be neither copied nor pickled")

    def __del__(self) -> None:
        if getattr(self, "_cursor", 0):
            self.release()


def _read(reader: Reader[RowT], rows: bytes, first: int) -> list[RowT]:
    if len(rows) < _MANY_ROWS or not gc.isenabled():
        return reader.read(rows, first)
    # Thousands of new objects would set off collections in between, which take as long as the decoding.
    try:
        gc.disable()
        return reader.read(rows, first)
    finally:
        gc.enable()
