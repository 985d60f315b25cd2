"""What Python values become parameters, and what the engine's values become in Python.

SQL to Python: INTEGER int, FLOAT float, TEXT str, BOOLEAN bool, TIMESTAMP aware datetime in UTC, JSON the decoded
object, VECTOR `Vector`, NULL None. Python to SQL: the same, and date (midnight in UTC), UUID (text), Enum (its value),
Decimal (a float, if that is exact), dict and list (JSON), array.array, numpy and other buffers of floats (VECTOR).
"""

from __future__ import annotations

import array
import struct
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from typing import TYPE_CHECKING, Any, Self, SupportsFloat, TypeAlias, TypeVar
from uuid import UUID

from aiostoolap.core import extensions
from aiostoolap.errors import DataError

__all__ = ["Json", "Parameters", "Vector", "register_codec"]

T = TypeVar("T")

Parameters: TypeAlias = Sequence[Any] | Mapping[str, Any] | None
"""The parameters of a statement.

A sequence for `?` and `$1`, a mapping for `:name`, or None.
"""


if TYPE_CHECKING:
    _Floats = array.array[float]
else:
    _Floats = array.array  # Python 3.11 cannot subscript it.


class Vector(_Floats):
    """A VECTOR: 32-bit floats, with a sequence's methods and the buffer protocol (`numpy.asarray(vector)`).

    Args:
        values: numbers, or a buffer of 32-bit floats in the machine's byte order.

    Raises:
        TypeError: a value is no number.
        ValueError: the length of the buffer is not a multiple of 4, or a value is a text that is no number.
        OverflowError: a value is beyond what 32 bits can hold.
    """

    def __new__(cls, values: Iterable[SupportsFloat] | bytes = ()) -> Self:
        floats = values if isinstance(values, bytes) else _single("=", list(map(float, values)))
        return super().__new__(cls, "f", floats)  # type: ignore[return-value]  # the stubs say array, but it is a cls

    def __init__(self, values: Iterable[SupportsFloat] | bytes = ()) -> None:
        """Does nothing: `__new__` has made it."""

    @classmethod
    def from_little_endian(cls, data: bytes) -> Vector:
        """Makes a vector of 32-bit floats as the engine keeps them."""
        vector = cls(data)
        if sys.byteorder == "big":
            vector.byteswap()
        return vector

    def __repr__(self) -> str:
        return f"Vector({self.tolist()})"

    def __reduce_ex__(self, protocol: Any) -> tuple[type[Vector], tuple[bytes]]:
        return Vector, (self.tobytes(),)


def _single(order: str, floats: Sequence[float]) -> bytes:
    """Numbers as 32-bit floats, of which array.array would make infinities where they are too large."""
    return struct.pack(f"{order}{len(floats)}f", *floats)


class Json:
    """A parameter that is JSON whatever its type: `Json([1, 2])`, `Json("text")`, `Json(None)`.

    Args:
        value: anything that JSON can say.
    """

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


_encoders: dict[type, Callable[[Any], Any]] = {}
_decoders: dict[type, Callable[[Any], Any]] = {}


def register_codec(kind: type[T], encode: Callable[[T], Any], decode: Callable[[Any], T]) -> None:
    """Has objects of a class be parameters, and values be such objects where `into=` asks for the class.

    It holds for the whole process. A class that is registered again has the later functions.

    Args:
        kind: the class; its subclasses are encoded as it is.
        encode: makes an object into a value that can be a parameter.
        decode: makes a value that is not NULL, as the engine returned it, into an object. Dataclasses, Structs,
            TypedDicts and their like need none: `into=` builds them from JSON by itself, and does not call it.
    """
    _encoders[kind] = encode
    _decoders[kind] = decode


def decode(kind: type[T], value: object) -> T:
    """Makes a value into an object of a class that msgspec does not know."""
    if isinstance(value, kind):
        return value
    made: T = _decoders.get(kind, kind)(value)
    return made


_PLAIN = frozenset({type(None), bool, int, float, str})
_USUAL = frozenset({tuple, list})


def adapt(parameters: Parameters) -> Parameters:
    """Makes parameters into what the protocol can say.

    Raises:
        DataError: a value cannot be a parameter; the message names it.
    """
    if type(parameters) in _USUAL and _PLAIN.issuperset(map(type, parameters)):  # type: ignore[arg-type]  # a sequence
        return parameters
    if parameters is None:
        return None
    if isinstance(parameters, Mapping):
        return {_name(name): _value(value, name) for name, value in parameters.items()}
    if isinstance(parameters, str | bytes | bytearray) or not isinstance(parameters, Sequence):
        raise DataError(
            f"parameters are a sequence or a mapping, not {type(parameters).__name__}: write (value,) for a single one"
        )
    return [_value(value, index) for index, value in enumerate(parameters, 1)]


def _name(name: object) -> str:
    if isinstance(name, str):
        return name.removeprefix(":")
    raise DataError(f"the names of parameters are text, not {type(name).__name__}")


def _value(value: Any, place: object) -> Any:
    if type(value) in _PLAIN:
        return value
    if _encoders:
        for ancestor in type(value).__mro__:
            if ancestor in _encoders:
                return _value(_encoders[ancestor](value), place)
    for kind, convert in _CONVERTERS:
        if isinstance(value, kind):
            try:
                return convert(value)
            except DataError as error:
                raise DataError(f"parameter {place}: {error}") from None
    try:
        vector = _buffer(value)
    except OverflowError:
        raise DataError(f"parameter {place}: a number is beyond the 32-bit floats of a vector") from None
    if vector is not None:
        return vector
    kind = type(value)
    name = kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"  # numpy has a bool.
    raise DataError(
        f"parameter {place}: {name} cannot be a parameter; convert it to int, float, str, bool, "
        "datetime, dict, list or Vector, or say by register_codec() how to"
    )


def _buffer(value: Any) -> extensions.Extension | None:
    """A one-dimensional buffer of floats as a vector; None for anything else.

    Raises:
        OverflowError: one of them is beyond what 32 bits can hold.
    """
    try:
        view = memoryview(value)
    except TypeError:
        return None
    if view.ndim != 1 or view.format not in ("f", "d"):
        return None
    return extensions.vector(_single("<", view.tolist()))


def _vector(floats: array.array[float]) -> extensions.Extension:
    if sys.byteorder == "big":
        floats = array.array("f", floats)
        floats.byteswap()
    return extensions.vector(floats.tobytes())


def _datetime(value: datetime) -> datetime:
    if value.utcoffset() is None:
        raise DataError("a datetime without a time zone: give it one, such as tzinfo=datetime.UTC")
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise DataError("a timestamp lies between 1677-09-21 and 2262-04-11") from None


def _decimal(value: Decimal) -> float:
    if value.is_finite() and Decimal(number := float(value)) == value:
        return number
    raise DataError(f"Decimal('{value}') is not exact as a FLOAT; pass float(value) or str(value)")


def _refuse(advice: str) -> Callable[[Any], Any]:
    def convert(value: Any) -> Any:
        raise DataError(f"{type(value).__name__} cannot be a parameter; {advice}")

    return convert


# The order matters: datetime is a date, an IntEnum is an int.
_CONVERTERS: tuple[tuple[type | tuple[type, ...], Callable[[Any], Any]], ...] = (
    (Enum, lambda value: _value(value.value, f"{type(value).__name__}.{value.name}")),
    (bool, bool),
    (int, int),
    (float, float),
    (str, str.__str__),
    (datetime, _datetime),
    (date, lambda value: datetime(value.year, value.month, value.day, tzinfo=UTC)),
    (UUID, str),
    (Decimal, _decimal),
    (Json, lambda value: extensions.json(value.value)),
    (dict, extensions.json),
    (list, extensions.json_list),
    (tuple, extensions.json_list),
    (Vector, _vector),
    ((bytes, bytearray), _refuse("the engine has no type for bytes: use bytes.hex() or base64 in a TEXT column")),
)
