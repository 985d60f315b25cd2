"""The codec: requests and replies as MessagePack (docs/protocol.md). With extensions.py, the home of msgspec.

A `Request` is what the executor carries: bytes, and how to take back what its reply opens if nobody takes that.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import msgspec

from aiostoolap.errors import DataError

ABI_VERSION = 4

ALL_ROWS = 2**32 - 1
"""No limit to the rows of a reply."""

Handle: TypeAlias = int
Target: TypeAlias = str | Handle
"""SQL, or the handle of a prepared statement."""

_encoder = msgspec.msgpack.Encoder()


def _encode(value: Any) -> bytes:
    try:
        return _encoder.encode(value)
    except OverflowError:
        place = _place(value, lambda part: isinstance(part, int) and not -(2**63) <= part < 2**63)
        raise DataError(f"{place}an integer does not fit in 64 bits with a sign") from None
    except UnicodeEncodeError as error:
        place = _place(value, lambda part: isinstance(part, str) and any("\ud800" <= sign <= "\udfff" for sign in part))
        raise DataError(f"{place}a text has a surrogate without its partner: {error}") from None


def _place(parts: Iterable[Any], is_wrong: Callable[[Any], bool]) -> str:
    """The first parameter that is wrong: of a row, of one of many rows, or of a mapping."""
    for part in parts:
        if isinstance(part, list | tuple | dict):
            for place, value in part.items() if isinstance(part, dict) else enumerate(part, 1):
                if is_wrong(value):
                    return f"parameter {place}: "
            if found := _place(part.values() if isinstance(part, dict) else part, is_wrong):
                return found
    return ""


class Failure(NamedTuple):
    """The body of a reply that is not ok."""

    code: str
    message: str
    fields: dict[str, str]


class Prepared(NamedTuple):
    """A prepared statement: its handle, and how many parameters it takes or which names."""

    statement: Handle
    parameters: int | tuple[str, ...]


class Request(msgspec.Struct, frozen=True, gc=False):
    """One request to the engine.

    Args:
        body: the encoded request.
        undo: from the reply's body, the request that closes what the reply opened; None if it opens nothing.
        before: called on the engine's thread before it runs; what it raises is the answer then.
        after: called on the engine's thread when it has run, with its reply's body; with None if it failed.
        keep: it runs although its caller is cancelled: it gives something back, or undoes it.
        tidies: what it is to close may be closed already, and that is no failure.
    """

    body: bytes
    undo: Callable[[bytes], Request | None] | None = None
    before: Callable[[], None] | None = None
    after: Callable[[bytes | None], None] | None = None
    keep: bool = False
    tidies: bool = False


_decode_failure = msgspec.msgpack.Decoder(Failure).decode
_decode_handle = msgspec.msgpack.Decoder(int).decode
_decode_opened = msgspec.msgpack.Decoder(tuple[int, str]).decode
_decode_text = msgspec.msgpack.Decoder(str).decode
_decode_columns = msgspec.msgpack.Decoder(tuple[str, ...]).decode
_decode_prepared = msgspec.msgpack.Decoder(Prepared).decode
_decode_numbers = msgspec.msgpack.Decoder(dict[str, int]).decode
_decode_versions = msgspec.msgpack.Decoder(dict[str, Any]).decode


def failure(body: bytes) -> Failure:
    """Decodes the body of a reply that is not ok."""
    return _decode_failure(body)


def handle(body: bytes) -> Handle:
    """Decodes a handle, or a count."""
    return _decode_handle(body)


def opened(body: bytes) -> tuple[Handle, str]:
    """Decodes the reply to `open_database`: the connection, and what the engine printed."""
    return _decode_opened(body)


def text(body: bytes) -> str:
    """Decodes a text."""
    return _decode_text(body)


def columns(names: bytes) -> tuple[str, ...]:
    """Decodes the names of columns."""
    return _decode_columns(names)


def prepared(body: bytes) -> Prepared:
    """Decodes the reply to `prepare`."""
    return _decode_prepared(body)


def numbers(body: bytes) -> dict[str, int]:
    """Decodes the reply to `statistics`."""
    return _decode_numbers(body)


def engine_version(body: bytes) -> str:
    """Decodes the engine's version from the reply to `versions`."""
    return str(_decode_versions(body)["engine"])


# Requests, by the numbers of engine/src/requests.rs.


def versions() -> Request:
    return Request(_encode((0,)))


def open_database(dsn: str) -> Request:
    return Request(_encode((1, dsn)), lambda body: close(opened(body)[0]))


def clone(connection: Handle) -> Request:
    return Request(_encode((2, connection)), _close_handle)


def close(anything: Handle) -> Request:
    return Request(_encode((3, anything)), keep=True)


def close_cursor(cursor: Handle) -> Request:
    """A fetch that was stopped has closed it already."""
    return Request(_encode((3, cursor)), keep=True, tidies=True)


def execute(connection: Handle, target: Target, parameters: Any) -> Request:
    return Request(_encode((4, connection, target, parameters)))


def query(
    connection: Handle, target: Target, parameters: Any, rows: int, size: int, *, nanoseconds: bool, maps: bool
) -> Request:
    """A query whose reply brings the first rows, and a cursor if there are more."""
    flags = nanoseconds | maps << 1
    return Request(_encode((5, connection, target, parameters, rows, size, flags)), _close_cursor)


def query_one(connection: Handle, target: Target, parameters: Any, nanoseconds: bool, maps: bool) -> Request:
    """A query whose reply brings the first row alone."""
    return Request(_encode((5, connection, target, parameters, 1, 1, nanoseconds | maps << 1 | 4)))


def fetch(cursor: Handle, rows: int, size: int) -> Request:
    return Request(_encode((6, cursor, rows, size)), lambda _: close(cursor))


def prepare(connection: Handle, sql: str) -> Request:
    return Request(_encode((7, connection, sql)), lambda body: close(prepared(body).statement))


def execute_many(connection: Handle, target: Target, rows: Sequence[Any]) -> Request:
    return Request(_encode((8, connection, target, rows)))


def script(connection: Handle, sql: str) -> Request:
    return Request(_encode((9, connection, sql)))


def begin(connection: Handle, isolation: str | None) -> Request:
    return Request(_encode((10, connection, isolation)), _close_handle)


def commit(transaction: Handle, committed: Callable[[bytes], None] | None = None) -> Request:
    """A commit; `committed` is told if it succeeds and its caller, who was cancelled, does not hear of it."""
    return Request(_encode((11, transaction)), committed)


def rollback(transaction: Handle) -> Request:
    return Request(_encode((12, transaction)), keep=True)


def savepoint(transaction: Handle, action: Literal["create", "release", "rollback"], name: str) -> Request:
    number = ("create", "release", "rollback").index(action)
    return Request(_encode((13, transaction, number, name)), keep=action == "rollback")


def maintain(
    connection: Handle, task: str, argument: str | None = None, after: Callable[[bytes | None], None] | None = None
) -> Request:
    """A maintenance task for the database of a connection; for all databases if that is 0."""
    return Request(_encode((14, connection, task, argument)), after=after)


def statistics() -> Request:
    return Request(_encode((15,)))


def set_memory_limit(size: int) -> Request:
    return Request(_encode((16, size)))


def close_all() -> Request:
    return Request(_encode((17,)), keep=True)


def inherit(
    last_handle: Handle,
    connections: Sequence[tuple[Handle, str, bool]],
    statements: Sequence[tuple[Handle, Handle, str]],
) -> Request:
    """Has a new instance take the place of one that is gone.

    Args:
        last_handle: above all handles of that instance.
        connections: the handles of its connections, their DSNs, and whether SQL had begun a transaction there.
        statements: the handles of its prepared statements, those of their connections, and the SQL.
    """
    numbered = [(handle, dsn, int(transacting)) for handle, dsn, transacting in connections]
    return Request(_encode((18, last_handle, numbered, statements)))


def _close_handle(body: bytes) -> Request:
    return close(handle(body))


def head(body: bytes) -> tuple[bytes, Handle, int, bytes]:
    """Takes the reply to `query` apart.

    Returns:
        The names of the columns, encoded; a cursor, 0 if there are no further rows; how many rows were changed; rows.
    """
    names, rows = first(body)
    cursor, affected = _unpack_numbers(body, 6 + len(names))
    return names, cursor, affected, rows


def first(body: bytes) -> tuple[bytes, bytes]:
    """Takes the names of the columns, encoded, and the rows out of the reply to `query_one`."""
    end = 6 + _unpack_size(body)[0]
    return body[6:end], body[end + 18 :]


def more(body: bytes) -> tuple[Handle, bytes]:
    """Takes the reply to `fetch` apart: the cursor, or 0, and rows."""
    return _unpack_cursor(body)[0], body[10:]


_unpack_size = struct.Struct(">2xI").unpack_from
_unpack_numbers = struct.Struct(">xQxQ").unpack_from
_unpack_cursor = struct.Struct(">2xQ").unpack_from


def _close_cursor(body: bytes) -> Request | None:
    cursor = head(body)[1]
    return close(cursor) if cursor else None
