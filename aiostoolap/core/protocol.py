"""The codec: requests and replies as MessagePack (docs/protocol.md). The home of msgspec.

A `Request` is what the executor carries: bytes, and how to take back what its reply opens if nobody takes that.
"""

from __future__ import annotations

import json as _json
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

import msgspec

from aiostoolap.errors import DataError

ABI_VERSION = 1
BATCH_SIZE = 256
"""The most requests of one batch: the module has as many stop slots."""

ALL_ROWS = 2**32 - 1
"""No limit to the rows of a reply."""

Handle: TypeAlias = int
Extension: TypeAlias = msgspec.msgpack.Ext
Target: TypeAlias = str | Handle
"""SQL, or the handle of a prepared statement."""

_NANOSECONDS, _JSON, _VECTOR, _LIST = 1, 2, 3, 4

_encoder = msgspec.msgpack.Encoder()


def _encode(value: Any) -> bytes:
    try:
        return _encoder.encode(value)
    except OverflowError:
        raise DataError("an integer does not fit in 64 bits with a sign") from None
    except UnicodeEncodeError as error:
        raise DataError(f"a text has a surrogate without its partner: {error}") from None


class Reply(NamedTuple):
    """What came back for one request."""

    number: int
    ok: bool
    body: memoryview
    warnings: str


class Failure(NamedTuple):
    """The body of a reply that is not ok."""

    code: str
    message: str
    fields: dict[str, str]


class Chunk(NamedTuple):
    """The first rows of a result."""

    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]
    cursor: Handle
    affected: int


class More(NamedTuple):
    """Further rows of a result."""

    rows: list[tuple[Any, ...]]
    cursor: Handle


class Prepared(NamedTuple):
    """A prepared statement: its handle, and how many parameters it takes or which names."""

    statement: Handle
    parameters: int | tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Request:
    """One request to the engine.

    Args:
        body: the encoded request.
        undo: from the reply's body, the request that closes what the reply opened; None if it opens nothing.
        before: called on the engine's thread before it runs; what it raises is the answer then.
        after: called on the engine's thread when it has run, with whether it succeeded.
        keep: it runs although its caller is cancelled: it gives something back.
    """

    body: bytes
    undo: Callable[[memoryview], Request | None] | None = None
    before: Callable[[], None] | None = None
    after: Callable[[bool], None] | None = None
    keep: bool = False


@dataclass(frozen=True, slots=True)
class Hold:
    """What a connection holds on the host's side as long as it is open: the lock of its directory.

    Args:
        acquire: called on the engine's thread before the connection is opened.
        release: called there after it is closed, or could not be opened.
    """

    acquire: Callable[[], None]
    release: Callable[[], None]


_decode_replies = msgspec.msgpack.Decoder(list[Reply]).decode
_decode_failure = msgspec.msgpack.Decoder(Failure).decode
_decode_handle = msgspec.msgpack.Decoder(int).decode
_decode_opened = msgspec.msgpack.Decoder(tuple[int, str]).decode
_decode_text = msgspec.msgpack.Decoder(str).decode
_decode_prepared = msgspec.msgpack.Decoder(Prepared).decode
_decode_numbers = msgspec.msgpack.Decoder(dict[str, int]).decode
_decode_versions = msgspec.msgpack.Decoder(dict[str, Any]).decode


def encode_batch(requests: Iterable[tuple[int, bytes]]) -> bytes:
    """Encodes numbered requests for one call."""
    return _encode(list(requests))


def decode_batch(replies: bytes) -> list[Reply]:
    """Decodes the replies of one call; their bodies are views into `replies`."""
    return _decode_replies(replies)


def failure(body: memoryview) -> Failure:
    """Decodes the body of a reply that is not ok."""
    return _decode_failure(body)


def handle(body: memoryview) -> Handle:
    """Decodes a handle, or a count."""
    return _decode_handle(body)


def opened(body: memoryview) -> tuple[Handle, str]:
    """Decodes the reply to `open_database`: the connection, and what the engine printed."""
    return _decode_opened(body)


def text(body: memoryview) -> str:
    """Decodes a text."""
    return _decode_text(body)


def prepared(body: memoryview) -> Prepared:
    """Decodes the reply to `prepare`."""
    return _decode_prepared(body)


def numbers(body: memoryview) -> dict[str, int]:
    """Decodes the reply to `statistics`."""
    return _decode_numbers(body)


def engine_version(body: memoryview) -> str:
    """Decodes the engine's version from the reply to `versions`."""
    return str(_decode_versions(body)["engine"])


# Requests, by the numbers of engine/src/requests.rs.


def versions() -> Request:
    return Request(_encode((0,)))


def open_database(dsn: str, hold: Hold | None = None) -> Request:
    return _opening(_encode((1, dsn)), lambda body: opened(body)[0], hold)


def clone(connection: Handle, hold: Hold | None = None) -> Request:
    return _opening(_encode((2, connection)), handle, hold)


def close(anything: Handle, hold: Hold | None = None) -> Request:
    after = None if hold is None else lambda _: hold.release()
    return Request(_encode((3, anything)), after=after, keep=True)


def _opening(body: bytes, connection: Callable[[memoryview], Handle], hold: Hold | None) -> Request:
    def undo(reply: memoryview) -> Request:
        return close(connection(reply), hold)

    if hold is None:
        return Request(body, undo)
    return Request(body, undo, hold.acquire, lambda ok: None if ok else hold.release())


def execute(connection: Handle, target: Target, parameters: Any) -> Request:
    return Request(_encode((4, connection, target, parameters)))


def query(connection: Handle, target: Target, parameters: Any, rows: int, size: int, nanoseconds: bool) -> Request:
    flags = 1 if nanoseconds else 0
    return Request(_encode((5, connection, target, parameters, rows, size, flags)), _close_cursor)


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


def commit(transaction: Handle) -> Request:
    return Request(_encode((11, transaction)))


def rollback(transaction: Handle) -> Request:
    return Request(_encode((12, transaction)))


def savepoint(transaction: Handle, action: Literal["create", "release", "rollback"], name: str) -> Request:
    return Request(_encode((13, transaction, ("create", "release", "rollback").index(action), name)))


def maintain(connection: Handle, task: str, argument: str | None = None) -> Request:
    """A maintenance task for the database of a connection; for all databases if that is 0."""
    return Request(_encode((14, connection, task, argument)))


def statistics() -> Request:
    return Request(_encode((15,)))


def set_memory_limit(size: int) -> Request:
    return Request(_encode((16, size)))


def close_all() -> Request:
    return Request(_encode((17,)), keep=True)


def _close_handle(body: memoryview) -> Request:
    return close(handle(body))


def _close_cursor(body: memoryview) -> Request | None:
    cursor = _decode_cursor(body)[2]
    return close(cursor) if cursor else None


_decode_cursor = msgspec.msgpack.Decoder(tuple[msgspec.Raw, msgspec.Raw, int, int]).decode

# Values.


def json(value: Any) -> Extension:
    """A parameter that is JSON.

    Raises:
        DataError: JSON cannot say it.
    """
    return Extension(_JSON, _encode_json(value))


def json_list(value: Any) -> Extension:
    """A list, which the engine takes for JSON or for a VECTOR by where it stands."""
    return Extension(_LIST, _encode_json(value))


def _encode_json(value: Any) -> bytes:
    try:
        return msgspec.json.encode(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(f"it cannot be JSON: {error}") from None


def vector(floats: bytes) -> Extension:
    """A vector of little-endian 32-bit floats."""
    return Extension(_VECTOR, floats)


class RowDecoder:
    """Decodes rows.

    Args:
        raw_json: JSON stays text.
        vector: makes a vector of little-endian 32-bit floats.
    """

    def __init__(self, raw_json: bool, vector: Callable[[bytes], Any]) -> None:
        def hook(code: int, data: memoryview) -> Any:
            if code == _JSON:
                return str(data, "utf-8") if raw_json else _decode_json(data)
            if code == _VECTOR:
                return vector(bytes(data))
            if code == _NANOSECONDS:
                return _unpack_nanoseconds(data)[0]
            raise NotImplementedError(f"the extension type {code} is unknown")

        self.chunk = msgspec.msgpack.Decoder(Chunk, ext_hook=hook).decode
        self.more = msgspec.msgpack.Decoder(More, ext_hook=hook).decode


_unpack_nanoseconds = struct.Struct(">q").unpack
_parse_json = msgspec.json.Decoder().decode


def _decode_json(data: memoryview) -> Any:
    try:
        return _parse_json(data)
    except msgspec.DecodeError:
        # The engine takes JSON that msgspec does not, such as numbers beyond a float.
        return _json.loads(bytes(data))
