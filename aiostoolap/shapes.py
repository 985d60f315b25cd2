"""What `into=` makes of rows: dicts, tuples, dataclasses, Structs, pydantic models, scalars and their like."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Callable
from typing import Any, Generic, TypeVar, is_typeddict

import msgspec

from aiostoolap.core import protocol
from aiostoolap.core.extensions import RowDecoders
from aiostoolap.errors import DataError, ProgrammingError
from aiostoolap.row import ROWS, Decoded, Row, Shape
from aiostoolap.values import decode

T = TypeVar("T")


def into(target: type[T]) -> Shape[T]:
    """The shape for a type.

    Raises:
        ProgrammingError: rows cannot become that type.
    """
    try:
        shape: Shape[T] = _shape(target)  # type: ignore[arg-type]  # classes can be hashed
    except TypeError:  # What is none, perhaps not.
        raise _no_type(target) from None
    return shape


@functools.lru_cache(maxsize=1024)
def _shape(target: Any) -> Shape[Any]:
    if target is dict:
        return Shape(True, _dicts)
    if target is tuple:
        return TUPLES
    if target is Row:
        return ROWS
    if hasattr(target, "__pydantic_validator__"):
        return Shape(True, functools.partial(_Models, target))
    if is_typeddict(target) or dataclasses.is_dataclass(target):
        return Shape(True, functools.partial(_Objects, target))
    if isinstance(target, type):
        if issubclass(target, msgspec.Struct):
            return Shape(True, functools.partial(_Objects, target))
        return Shape(False, functools.partial(_NamedTuples if hasattr(target, "_fields") else _Scalars, target))
    raise _no_type(target)


def _no_type(target: object) -> ProgrammingError:
    return ProgrammingError(
        "into= is the type of one row: dict, tuple, a dataclass, TypedDict, NamedTuple, msgspec.Struct, pydantic "
        f"model, or a scalar type for a single column; not {target!r}"
    )


def _tuples(decoders: RowDecoders, names: bytes) -> Decoded[tuple[Any, ...]]:
    return Decoded(protocol.columns(names), decoders.tuples)


TUPLES = Shape(False, _tuples)
"""The shape of rows as tuples."""


def _dicts(decoders: RowDecoders, names: bytes) -> Decoded[dict[str, Any]]:
    return Decoded(_unique_columns(names), decoders.dicts)


class _Objects(Generic[T]):
    """Structs, dataclasses and TypedDicts, which msgspec decodes from maps straight into the type.

    What it cannot decode so, such as a nested type from a JSON column, and what does not fit, takes two steps.
    """

    def __init__(self, target: type[T], decoders: RowDecoders, names: bytes) -> None:
        self.columns = _unique_columns(names)
        self._target = target
        self._dicts = decoders.dicts
        try:
            self._decode: Callable[[bytes], list[T]] | None = decoders.of(target, decode)
        except TypeError:  # A field's type is unknown to msgspec.
            self._decode = None

    def read(self, rows: bytes, first: int) -> list[T]:
        if self._decode is not None:
            try:
                return self._decode(rows)
            except msgspec.ValidationError:
                pass
        return _converted(self._dicts(rows), self._target, first)


class _NamedTuples(Generic[T]):
    def __init__(self, target: Any, decoders: RowDecoders, names: bytes) -> None:
        self.columns = columns = _unique_columns(names)
        self._target = target
        self._tuples = decoders.tuples
        defaults = target._field_defaults
        missing = next((name for name in target._fields if name not in columns and name not in defaults), None)
        if missing is not None:
            raise DataError(f"no column is named {missing!r}, which {target.__name__} needs")
        self._fields = [(name, columns.index(name) if name in columns else None) for name in target._fields]

    def read(self, rows: bytes, first: int) -> list[T]:
        defaults, fields = self._target._field_defaults, self._fields
        values = [
            [defaults[name] if place is None else row[place] for name, place in fields] for row in self._tuples(rows)
        ]
        return _converted(values, self._target, first)


class _Scalars(Generic[T]):
    def __init__(self, target: type[T], decoders: RowDecoders, names: bytes) -> None:
        self.columns = protocol.columns(names)
        self._target = target
        self._tuples = decoders.tuples
        if len(self.columns) != 1:
            raise ProgrammingError(f"into={target.__name__} takes one column, but the query has {len(self.columns)}")

    def read(self, rows: bytes, first: int) -> list[T]:
        return _converted([row[0] for row in self._tuples(rows)], self._target, first, self.columns[0])


class _Models(Generic[T]):
    """pydantic models."""

    def __init__(self, target: type[T], decoders: RowDecoders, names: bytes) -> None:
        import pydantic

        self.columns = _unique_columns(names)
        self._target = target
        self._dicts = decoders.dicts
        self._adapter = pydantic.TypeAdapter(list[target])  # type: ignore[valid-type]  # a type at run time

    def read(self, rows: bytes, first: int) -> list[T]:
        import pydantic

        try:
            return self._adapter.validate_python(self._dicts(rows))
        except pydantic.ValidationError as error:
            problem = error.errors()[0]
            row, *path = problem["loc"]
            where = f"row {first + int(row)}, column {'.'.join(map(str, path))}"
            raise DataError(f"{where}: {problem['msg']}, for {self._target.__name__}") from None


def _unique_columns(names: bytes) -> tuple[str, ...]:
    columns = protocol.columns(names)
    for name in columns:
        if columns.count(name) > 1:
            raise ProgrammingError(f"two columns are named {name!r}: rename one with AS")
    return columns


def _converted(rows: list[Any], target: type[T], first: int, column: str | None = None) -> list[T]:
    try:
        return msgspec.convert(rows, list[target], dec_hook=decode)  # type: ignore[valid-type]  # a type at run time
    except msgspec.ValidationError as error:
        raise _described(error, target, first, column) from None


def _described(error: msgspec.ValidationError, target: Any, first: int, column: str | None) -> DataError:
    problem, _, path = str(error).partition(" - at ")
    found = re.match(r"`\$\[(\d+)\]\.?([^`]*)`", path)
    if found is None:
        return DataError(f"{error}, for {target.__name__}")
    place = column or found[2]
    if place.startswith("["):  # The fields of NamedTuples have numbers there.
        number, _, rest = place[1:].partition("]")
        place = target._fields[int(number)] + rest
    field = _FIELD.fullmatch(problem)
    if field is not None and not place:
        place, problem = field[2], "it is missing" if field[1] == "missing required" else "there is no such field"
    where = f"row {first + int(found[1])}" + (f", column {place}" if place else "")
    return DataError(f"{where}: {problem}, for {target.__name__}")


_FIELD = re.compile(r"Object (missing required|contains unknown) field `(.*)`")
