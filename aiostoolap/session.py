"""The verbs with SQL, which databases and transactions share, and `Statement`, which has them for SQL of its own."""

from __future__ import annotations

import warnings
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from types import TracebackType
from typing import Any, Self, TypeVar, overload

from aiostoolap import shapes
from aiostoolap.core import protocol
from aiostoolap.errors import ClosedError, EngineLostError
from aiostoolap.row import ROWS, Row
from aiostoolap.rows import Query
from aiostoolap.sql import Sql, statement, text
from aiostoolap.values import Parameters
from aiostoolap.verbs import Verbs

__all__ = ["Statement"]

T = TypeVar("T")


class Session(Verbs):
    """The verbs with SQL."""

    async def execute(self, sql: Sql, params: Parameters = None, *, timeout: float | None = None) -> int:
        """Runs a statement and returns how many rows it changed.

        Args:
            sql: one statement, as text or, from Python 3.14 on, as a template string with the parameters in it.
            params: a sequence for `?` or `$1`, a mapping for `:name`.
            timeout: seconds; the statement is stopped then.

        Raises:
            DatabaseError: the engine refused it; see the tree in `aiostoolap.errors`.
            DataError: a value cannot be a parameter.
            TimeoutError: it took longer than `timeout`, and changed nothing.
            ClosedError: the connection is closed, or the transaction has ended.
        """
        if type(sql) is not str:
            sql, params = statement(sql, params)
        return protocol.handle(await self._execute(sql, params, timeout))

    @overload
    def query(self, sql: Sql, params: Parameters = None, *, timeout: float | None = None) -> Query[Row]: ...
    @overload
    def query(
        self, sql: Sql, params: Parameters = None, *, into: type[T], timeout: float | None = None
    ) -> Query[T]: ...
    def query(
        self, sql: Sql, params: Parameters = None, *, into: type[T] | None = None, timeout: float | None = None
    ) -> Query[Any]:
        """Makes a query: `await` it for all rows, `async for` to stream them, `async with` for a cursor.

        Args:
            sql: one statement, as text or, from Python 3.14 on, as a template string with the parameters in it.
            params: a sequence for `?` or `$1`, a mapping for `:name`.
            into: the type of each row: dict, tuple, a dataclass, TypedDict, NamedTuple, msgspec.Struct or pydantic
                model, or a scalar type for a single column; `Row` without it.
            timeout: seconds for each exchange with the engine.

        Raises:
            ProgrammingError: rows cannot become `into`: at once, or when the columns are known.
            DataError: a row does not fit `into`; the message names row and column.
            DatabaseError: when it runs, see `execute`.
            TimeoutError: when it runs, an exchange took longer than `timeout`.
            ClosedError: when it runs, the connection is closed, or the transaction has ended.
        """
        if type(sql) is not str:
            sql, params = statement(sql, params)
        return self._query(sql, params, into, timeout)

    @overload
    async def query_one(self, sql: Sql, params: Parameters = None, *, timeout: float | None = None) -> Row | None: ...
    @overload
    async def query_one(
        self, sql: Sql, params: Parameters = None, *, into: type[T], timeout: float | None = None
    ) -> T | None: ...
    async def query_one(
        self, sql: Sql, params: Parameters = None, *, into: type[T] | None = None, timeout: float | None = None
    ) -> Any:
        """Runs a query and returns its first row, or None if there is none.

        The arguments are those of `query`.

        Raises:
            Error: as `query` does when it runs.
            TimeoutError: it took longer than `timeout`.
        """
        if type(sql) is not str:
            sql, params = statement(sql, params)
        shape = ROWS if into is None else shapes.into(into)
        return self._first(await self._query_one(sql, params, shape, timeout), shape)

    async def query_value(self, sql: Sql, params: Parameters = None, *, timeout: float | None = None) -> Any:
        """Runs a query and returns the first value of its first row, or None if there is no row.

        The arguments are those of `query`.

        Raises:
            Error: as `query` does when it runs.
            TimeoutError: it took longer than `timeout`.
        """
        if type(sql) is not str:
            sql, params = statement(sql, params)
        row = self._first(await self._query_one(sql, params, shapes.TUPLES, timeout), shapes.TUPLES)
        return row[0] if row else None

    async def execute_many(
        self,
        sql: str,
        rows: Iterable[Parameters] | AsyncIterable[Parameters],
        *,
        progress: Callable[[int], object] | None = None,
        timeout: float | None = None,
    ) -> int:
        """Runs an INSERT, UPDATE or DELETE for each row of parameters: for all of them, or for none.

        Args:
            sql: one statement.
            rows: parameters as `execute` takes them, from any iterable, which is read as it is sent.
            progress: called with the number of rows sent so far; what it raises undoes them.
            timeout: seconds for each request; a long iterable makes many.

        Returns:
            How many rows were changed.

        Raises:
            DatabaseError: see `execute`; `fields["row"]` counts from the start of the request that failed.
            TimeoutError: a request took longer than `timeout`.
            ClosedError: the connection is closed, or the transaction has ended.
            TypeError: `rows` cannot be iterated.
        """
        return await self._execute_many(text(sql, "execute_many"), rows, progress, timeout)

    async def execute_script(self, sql: str, *, timeout: float | None = None) -> int:
        """Runs statements separated by semicolons, each committed by itself unless the script says BEGIN.

        Args:
            sql: the statements; none takes parameters.
            timeout: seconds for all of them.

        Returns:
            How many statements there were.

        Raises:
            DatabaseError: one failed, and `fields["statement"]` says which, from 1; those before it have run.
            TimeoutError: they took longer than `timeout`; those before the one that was stopped have run.
            ClosedError: the connection is closed, or the transaction has ended.
        """
        request = protocol.script(self._connection(), text(sql, "execute_script"))
        return protocol.handle(await self._run(sql, request, timeout))

    async def prepare(self, sql: str, *, timeout: float | None = None) -> Statement:
        """Parses a statement once, to run it often.

        Args:
            sql: one statement.
            timeout: seconds.

        Raises:
            ProgrammingError: the SQL is wrong.
            TimeoutError: it took longer than `timeout`.
            ClosedError: the connection is closed, or the transaction has ended.
        """
        request = self._caller.inheritance.prepare(self._connection(), text(sql, "prepare"))
        body = await self._submit(request, timeout)
        return Statement(self, sql, protocol.prepared(body))


class Statement(Verbs):
    """A prepared statement. Close it, or use it in `async with`.

    Attributes:
        sql: its text.
        parameters: how many parameters it takes, or their names.
    """

    def __init__(self, session: Session, sql: str, prepared: protocol.Prepared) -> None:
        self._session = session
        self._caller = session._caller
        self._settings = session._settings
        self._handle: protocol.Handle | None = prepared.statement
        self.sql = sql
        self.parameters = prepared.parameters

    async def execute(self, params: Parameters = None, *, timeout: float | None = None) -> int:
        """Runs the statement and returns how many rows it changed; see `DB.execute`.

        Raises:
            Error: as `DB.execute` does; `ClosedError` also if the statement is closed.
            TimeoutError: it took longer than `timeout`, and changed nothing.
        """
        return protocol.handle(await self._execute(self._target(), params, timeout))

    @overload
    def query(self, params: Parameters = None, *, timeout: float | None = None) -> Query[Row]: ...
    @overload
    def query(self, params: Parameters = None, *, into: type[T], timeout: float | None = None) -> Query[T]: ...
    def query(
        self, params: Parameters = None, *, into: type[T] | None = None, timeout: float | None = None
    ) -> Query[Any]:
        """Makes a query of the statement; see `DB.query`.

        Raises:
            Error: as `DB.query` does; `ClosedError` also if the statement is closed.
            TimeoutError: when it runs, an exchange took longer than `timeout`.
        """
        return self._query(self._target(), params, into, timeout)

    @overload
    async def query_one(self, params: Parameters = None, *, timeout: float | None = None) -> Row | None: ...
    @overload
    async def query_one(
        self, params: Parameters = None, *, into: type[T], timeout: float | None = None
    ) -> T | None: ...
    async def query_one(
        self, params: Parameters = None, *, into: type[T] | None = None, timeout: float | None = None
    ) -> Any:
        """Runs the statement and returns its first row, or None if there is none; see `DB.query_one`.

        Raises:
            Error: as `DB.query_one` does; `ClosedError` also if the statement is closed.
            TimeoutError: it took longer than `timeout`.
        """
        shape = ROWS if into is None else shapes.into(into)
        return self._first(await self._query_one(self._target(), params, shape, timeout), shape)

    async def query_value(self, params: Parameters = None, *, timeout: float | None = None) -> Any:
        """Runs the statement and returns the first value of its first row, or None; see `DB.query_value`.

        Raises:
            Error: as `DB.query_value` does; `ClosedError` also if the statement is closed.
            TimeoutError: it took longer than `timeout`.
        """
        row = self._first(await self._query_one(self._target(), params, shapes.TUPLES, timeout), shapes.TUPLES)
        return row[0] if row else None

    async def execute_many(
        self,
        rows: Iterable[Parameters] | AsyncIterable[Parameters],
        *,
        progress: Callable[[int], object] | None = None,
        timeout: float | None = None,
    ) -> int:
        """Runs the statement for each row of parameters: for all of them, or for none; see `DB.execute_many`.

        Raises:
            Error: as `DB.execute_many` does; `ClosedError` also if the statement is closed.
            TimeoutError: a request took longer than `timeout`.
            TypeError: `rows` cannot be iterated.
        """
        return await self._execute_many(self._target(), rows, progress, timeout)

    async def close(self) -> None:
        """Releases the statement. May be called again."""
        handle, self._handle = self._handle, None
        if handle is not None and self._caller.is_open:
            with suppress(ClosedError, EngineLostError):  # Its connection, or the engine, has ended before it.
                await self._caller.submit(self._caller.inheritance.release(handle))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    def __del__(self) -> None:
        handle = getattr(self, "_handle", None)
        if handle is not None and self._caller.is_open:
            self._caller.post(self._caller.inheritance.release(handle))
            message = f"a prepared statement was not closed: {self.sql}"
            warnings.warn(message, ResourceWarning, stacklevel=2, source=self)

    def _sql(self, target: protocol.Target) -> str:
        return self.sql

    def _target(self) -> protocol.Handle:
        if self._handle is None:
            raise ClosedError("the prepared statement is closed")
        return self._handle

    def _connection(self) -> protocol.Handle:
        return self._session._connection()

    @asynccontextmanager
    async def _atomic(self) -> AsyncIterator[protocol.Handle]:
        async with self._session._atomic() as connection:
            yield connection
