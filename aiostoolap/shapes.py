"""What `into=` makes of rows: dicts, tuples, dataclasses, Structs, pydantic models, scalars and their like."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast, is_typeddict

import msgspec

from aiostoolap.errors import DataError, ProgrammingError
from aiostoolap.rows import Shape

T = TypeVar("T")
Tuples = list[tuple[Any, ...]]


def into(target: type[T]) -> Shape[T]:
    """The shape for a type.

    Raises:
        ProgrammingError: rows cannot become that type.
    """
    if target is dict:
        return cast("Shape[T]", _dicts)
    if target is tuple:
        return cast("Shape[T]", lambda columns: lambda rows, _: rows)
    if hasattr(target, "__pydantic_validator__"):
        return functools.partial(_models, target)
    if _has_fields(target):
        return functools.partial(_objects, target)
    if isinstance(target, type):
        return functools.partial(_scalars, target)
    raise ProgrammingError(f"rows cannot become {target!r}; see the documentation of into=")


def _has_fields(target: Any) -> bool:
    is_struct = isinstance(target, type) and issubclass(target, msgspec.Struct)
    is_named = isinstance(target, type) and issubclass(target, tuple) and hasattr(target, "_fields")
    return is_struct or is_named or is_typeddict(target) or dataclasses.is_dataclass(target)


def _dicts(columns: Sequence[str]) -> Callable[[Tuples, int], list[dict[str, Any]]]:
    for name in columns:
        if columns.count(name) > 1:
            raise ProgrammingError(f"two columns are named {name!r}: rename one with AS")
    return lambda rows, _: [dict(zip(columns, row, strict=True)) for row in rows]


def _objects(target: type[T], columns: Sequence[str]) -> Callable[[Tuples, int], list[T]]:
    dicts = _dicts(columns)
    positional = issubclass(target, tuple)

    def make(rows: Tuples, first: int) -> list[T]:
        found: Any = [_in_order(target, row) for row in dicts(rows, 0)] if positional else dicts(rows, 0)
        try:
            return msgspec.convert(found, list[target], dec_hook=_as_is)  # type: ignore[valid-type]  # a type at run time
        except msgspec.ValidationError as error:
            raise _described(error, target, first) from None

    return make


def _in_order(target: Any, row: dict[str, Any]) -> list[Any]:
    """A NamedTuple's values by its own order of names; names that the row lacks take their defaults."""
    defaults = target._field_defaults
    missing = next((name for name in target._fields if name not in row and name not in defaults), None)
    if missing is not None:
        raise DataError(f"no column is named {missing!r}, which {target.__name__} needs")
    return [row[name] if name in row else defaults[name] for name in target._fields]


def _scalars(target: type[T], columns: Sequence[str]) -> Callable[[Tuples, int], list[T]]:
    if len(columns) != 1:
        raise ProgrammingError(f"into={target.__name__} takes one column, but the query has {len(columns)}")

    def make(rows: Tuples, first: int) -> list[T]:
        try:
            return msgspec.convert([row[0] for row in rows], list[target], dec_hook=_as_is)  # type: ignore[valid-type]  # a type at run time
        except msgspec.ValidationError as error:
            raise _described(error, target, first, columns[0]) from None

    return make


def _models(target: type[T], columns: Sequence[str]) -> Callable[[Tuples, int], list[T]]:
    import pydantic

    dicts = _dicts(columns)
    adapter: Any = _adapter(target)  # type: ignore[arg-type]  # classes can be hashed

    def make(rows: Tuples, first: int) -> list[T]:
        try:
            return cast("list[T]", adapter.validate_python(dicts(rows, 0)))
        except pydantic.ValidationError as error:
            problem = error.errors()[0]
            row, *path = problem["loc"]
            where = f"row {first + int(row)}, column {'.'.join(map(str, path))}"
            raise DataError(f"{where}: {problem['msg']}, for {target.__name__}") from None

    return make


@functools.lru_cache(maxsize=256)
def _adapter(target: Any) -> Any:
    import pydantic

    return pydantic.TypeAdapter(list[target])


def _as_is(target: type[T], value: object) -> T:
    """For types that msgspec does not know, such as Vector: the value is of that type already, or makes one."""
    return value if isinstance(value, target) else target(value)  # type: ignore[call-arg]  # any type of one argument


def _described(error: msgspec.ValidationError, target: type, first: int, column: str | None = None) -> DataError:
    text = str(error)
    problem, _, path = text.partition(" - at ")
    found = re.match(r"`\$\[(\d+)\]\.?([^`]*)`", path)
    if found is None:
        return DataError(f"{text}, for {target.__name__}")
    where = f"row {first + int(found[1])}"
    name = column or found[2]
    if name:
        where += f", column {name}"
    return DataError(f"{where}: {problem}, for {target.__name__}")
