"""`Row`, and what else a row may be: a `Shape` is what the rows of results become."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Mapping
from typing import Any, Generic, Protocol, SupportsIndex, TypeVar, overload

from aiostoolap.core import protocol
from aiostoolap.core.extensions import RowDecoders

__all__ = ["Row"]

RowT = TypeVar("RowT")


class Row(tuple[Any, ...]):
    """A row: a tuple whose values also have their columns' names, as `row["name"]` and `row.name`.

    Raises:
        KeyError: there is no column of the name in `row["name"]`.
        AttributeError: there is none of the name in `row.name`.
        IndexError: there is no column of the number in `row[number]`.
    """

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
        if name in self._places:  # It has no property.
            return tuple.__getitem__(self, self._places[name])
        raise AttributeError(f"no column {name!r}; there are {', '.join(self._places)}")

    def keys(self) -> tuple[str, ...]:
        """The names of the columns; with this, `dict(row)` works."""
        return tuple(self._places)

    def __repr__(self) -> str:
        values = (f"{name}={value!r}" for name, value in zip(_columns(type(self)), self, strict=True))
        return f"Row({', '.join(values)})"

    def __reduce__(self) -> tuple[Callable[..., Row], tuple[tuple[str, ...], tuple[Any, ...]]]:
        return _restore, (_columns(type(self)), tuple(self))


def _columns(row: type[Row]) -> tuple[str, ...]:
    # A column may have the name of the attribute.
    columns: tuple[str, ...] = row.__dict__["_fields"]
    return columns


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
    # msgspec takes it for a NamedTuple, and so decodes rows straight into it.
    fields = {"_fields": columns, "_field_defaults": {}, "__annotations__": dict.fromkeys(columns, Any)}
    return type("Row", (Row,), {"__slots__": (), "_places": places, "__module__": Row.__module__, **fields, **names})


class Reader(Protocol[RowT]):
    """Reads the rows of results that have the same columns.

    Attributes:
        columns: their names.
    """

    columns: tuple[str, ...]

    def read(self, rows: bytes, first: int) -> list[RowT]:
        """Reads rows, the first of which is that of this number in the result.

        Raises:
            DataError: a row does not fit.
        """


class Shape(Generic[RowT]):
    """What the rows of results become.

    Args:
        maps: the engine is to send rows as maps.
        reader: makes a reader, from the names of the columns; raises ProgrammingError if those do not fit.
    """

    def __init__(self, maps: bool, reader: Callable[[RowDecoders, bytes], Reader[RowT]]) -> None:
        self.maps = maps
        self.reader = functools.lru_cache(maxsize=512)(reader)


class Decoded(Generic[RowT]):
    """A reader of rows that are as they are decoded."""

    def __init__(self, columns: tuple[str, ...], decode: Callable[[bytes], list[RowT]]) -> None:
        self.columns = columns
        self._decode = decode

    def read(self, rows: bytes, first: int) -> list[RowT]:
        return self._decode(rows)


def _rows(decoders: RowDecoders, names: bytes) -> Decoded[Row]:
    columns = protocol.columns(names)
    return Decoded(columns, decoders.of(_row_type(columns)))


ROWS = Shape(False, _rows)
"""The shape of rows that nobody asked to have otherwise."""
