"""Results: `Query` is what `query()` returns, `Row` a row of it, `Result` all rows at once, `Rows` a cursor."""

from __future__ import annotations

import functools
import operator
import warnings
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Mapping, Sequence
from types import TracebackType
from typing import Any, Generic, Protocol, Self, SupportsIndex, TypeVar, overload

from aiostoolap.core.protocol import ALL_ROWS, Chunk, More
from aiostoolap.errors import ClosedError, InterfaceError, ProgrammingError

__all__ = ["Query", "Result", "Row", "Rows"]

RowT = TypeVar("RowT")

Shape = Callable[[Sequence[str]], Callable[[list[tuple[Any, ...]], int], list[RowT]]]
"""From the names of the columns, what makes rows of tuples; the number is that of the first of them."""

_CHUNK_BYTES = 1 << 20
_STREAM_BYTES = 1 << 18


class Row(tuple[Any, ...]):
    """A row: a tuple whose values also have their columns' names, as `row["name"]` and `row.name`."""

    __slots__ = ()
    _places: Mapping[str, int] = {}

    @overload
    def __getitem__(self, key: SupportsIndex | str) -> Any: ...
    @overload
    def __getitem__(self, key: slice) -> tuple[Any, ...]: ...
    def __getitem__(self, key: SupportsIndex | str | slice) -> Any:
        if isinstance(key, str):
            try:
                return tuple.__getitem__(self, self._places[key])
            except KeyError:
                raise KeyError(f"no column {key!r}; there are {', '.join(self._places)}") from None
        return tuple.__getitem__(self, key)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"no column {name!r}; there are {', '.join(self._places)}")

    def keys(self) -> tuple[str, ...]:
        """The names of the columns; with this, `dict(row)` works."""
        return tuple(self._places)

    def __repr__(self) -> str:
        values = (f"{name}={value!r}" for name, value in zip(self._places, self, strict=False))
        return f"Row({', '.join(values)})"

    def __reduce__(self) -> tuple[Callable[..., Row], tuple[tuple[str, ...], tuple[Any, ...]]]:
        return _restore, (self.keys(), tuple(self))


def _restore(columns: tuple[str, ...], values: tuple[Any, ...]) -> Row:
    return _row_type(columns)(values)


@functools.lru_cache(maxsize=512)
def _row_type(columns: tuple[str, ...]) -> type[Row]:
    """A class for rows of these columns; of columns with the same name, the first one has it."""
    places: dict[str, int] = {}
    for place, name in enumerate(columns):
        places.setdefault(name, place)
    names = {
        name: property(operator.itemgetter(place))
        for name, place in places.items()
        if name.isidentifier() and not (name.startswith("_") or name == "keys")
    }
    return type("Row", (Row,), {"__slots__": (), "_places": places, "__module__": Row.__module__, **names})


def row_shape(columns: Sequence[str]) -> Callable[[list[tuple[Any, ...]], int], list[Row]]:
    """The shape of rows that nobody asked to have otherwise."""
    make = functools.partial(tuple.__new__, _row_type(tuple(columns)))
    return lambda rows, _: list(map(make, rows))


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

    async def open(self, size: int) -> Chunk:
        """Runs the statement; the first rows, up to about `size` bytes of them."""

    async def fetch(self, cursor: int, rows: int, size: int) -> More:
        """Further rows, up to so many and about so many bytes."""

    async def close(self, cursor: int) -> None:
        """Closes a cursor."""

    def release(self, cursor: int) -> None:
        """Closes a cursor without waiting."""


class Query(Generic[RowT]):
    """A query that has not run yet: what to do with it says how its rows come.

    `await query` gives all rows as a `Result`. `async for row in query` streams them in bounded memory.
    `async with query as rows` gives the cursor, a `Rows`. Each of these runs the statement anew.
    """

    def __init__(self, source: Source, shape: Shape[RowT]) -> None:
        self._source = source
        self._shape = shape
        self._ran = False

    def __await__(self) -> Generator[Any, Any, Result[RowT]]:
        self._ran = True
        return self._all().__await__()

    async def _all(self) -> Result[RowT]:
        rows = Rows(self._source, self._shape, _CHUNK_BYTES)
        found = await rows.fetchall()
        return Result(rows.columns, found, rows.rows_affected)

    def __aiter__(self) -> AsyncIterator[RowT]:
        self._ran = True
        return Rows(self._source, self._shape)

    async def __aenter__(self) -> Rows[RowT]:
        self._ran = True
        self._rows = Rows(self._source, self._shape)
        await self._rows.open()
        return self._rows

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._rows.close()

    def __del__(self) -> None:
        if not getattr(self, "_ran", True):
            warnings.warn("a query was made but never awaited or iterated", RuntimeWarning, stacklevel=2, source=self)


class Rows(Generic[RowT]):
    """A cursor: rows fetched in pieces, in order, once.

    An iteration that is left early releases the cursor when the object goes away; `async with` does it at once.
    """

    def __init__(self, source: Source, shape: Shape[RowT], size: int = _STREAM_BYTES) -> None:
        self._source = source
        self._shape = shape
        self._size = size
        self._buffer: deque[RowT] = deque()
        self._columns: tuple[str, ...] | None = None
        self._affected = 0
        self._cursor = 0
        self._count = 0
        self._fetching = False
        self._closed = False

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns.

        Raises:
            ProgrammingError: the query has not run yet; that happens at the first row, or in `async with`.
        """
        if self._columns is None:
            raise ProgrammingError("the query has not run yet")
        return self._columns

    @property
    def rows_affected(self) -> int:
        """How many rows an INSERT, UPDATE or DELETE with RETURNING changed."""
        return self._affected

    async def open(self) -> None:
        """Runs the query, if it has not run yet.

        Raises:
            ClosedError: the cursor is closed, or has failed before.
            InterfaceError: another task is fetching from it.
        """
        if self._columns is None:
            await self._exchange(self._open())

    async def _open(self) -> None:
        chunk = await self._source.open(self._size)
        self._columns, self._cursor, self._affected = chunk.columns, chunk.cursor, chunk.affected
        self._make = self._shape(chunk.columns)
        self._take(chunk.rows)

    async def _fetch(self, rows: int) -> None:
        more = await self._source.fetch(self._cursor, rows, self._size)
        self._cursor = more.cursor
        self._take(more.rows)

    async def _exchange(self, step: Coroutine[Any, Any, None]) -> None:
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
            await step
        except BaseException:
            self._closed = True
            cursor, self._cursor = self._cursor, 0
            if cursor:
                self._source.release(cursor)
            raise
        finally:
            self._fetching = False

    async def fetchone(self) -> RowT | None:
        """The next row, or None after the last.

        Raises:
            ClosedError: the cursor is closed.
        """
        if not self._buffer and not await self._fill(ALL_ROWS):
            return None
        return self._buffer.popleft()

    async def fetchmany(self, size: int = 100) -> list[RowT]:
        """The next rows, `size` of them or as many as are left.

        Raises:
            ClosedError: the cursor is closed.
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
            ClosedError: the cursor is closed.
        """
        while await self._fill(ALL_ROWS):
            pass
        rows = list(self._buffer)
        self._buffer.clear()
        return rows

    async def close(self) -> None:
        """Releases the cursor. May be called again."""
        cursor, self._cursor, self._closed = self._cursor, 0, True
        self._buffer.clear()
        if cursor:
            await self._source.close(cursor)

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
        if self._columns is None or self._closed or self._fetching:
            await self._exchange(self._open())
        while self._cursor and len(self._buffer) == before:
            await self._exchange(self._fetch(rows))
        return len(self._buffer) > before

    def _take(self, rows: list[tuple[Any, ...]]) -> None:
        self._buffer.extend(self._make(rows, self._count))
        self._count += len(rows)

    def __del__(self) -> None:
        if getattr(self, "_cursor", 0):
            self._source.release(self._cursor)
