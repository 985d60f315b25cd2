"""Values for which MessagePack has no types: JSON, vectors, moments in nanoseconds. And so: rows, which hold them."""

from __future__ import annotations

import json as _json
import struct
from collections.abc import Callable
from typing import Any, TypeAlias

import msgspec

from aiostoolap.errors import DataError

Extension: TypeAlias = msgspec.msgpack.Ext

_NANOSECONDS, _JSON, _VECTOR, _LIST = 1, 2, 3, 4


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
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise DataError(f"it cannot be JSON: {error}") from None


def vector(floats: bytes) -> Extension:
    """A vector of little-endian 32-bit floats."""
    return Extension(_VECTOR, floats)


class RowDecoders:
    """Makes decoders of rows.

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

        self._hook = hook
        self.tuples = self.of(tuple[Any, ...])
        self.dicts = self.of(dict[str, Any])

    def of(self, row: Any, dec_hook: Callable[[type, Any], Any] | None = None) -> Callable[[bytes], list[Any]]:
        """A decoder of rows of that type.

        Raises:
            TypeError: msgspec does not know the type.
        """
        return msgspec.msgpack.Decoder(list[row], ext_hook=self._hook, dec_hook=dec_hook).decode


_unpack_nanoseconds = struct.Struct(">q").unpack
_parse_json = msgspec.json.Decoder().decode


def _decode_json(data: memoryview) -> Any:
    try:
        return _parse_json(data)
    except msgspec.DecodeError:
        # The engine takes JSON that msgspec does not, such as numbers beyond a float.
        return _json.loads(bytes(data))
