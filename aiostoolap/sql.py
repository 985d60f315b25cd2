"""`Sql`: a statement as text or, from Python 3.14 on, as a template string, whose values become parameters.

A template string (PEP 750) keeps the values in its braces apart from its text. Here, each is a `?` in the text and a
parameter beside it. So a value is never taken for SQL, and a text that is the same whatever its values are is planned
once. Not a `$1`: braces within a literal would then be counted as well, and a `$1` of the text would be a value.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any, TypeAlias

from aiostoolap.errors import ProgrammingError
from aiostoolap.values import Parameters

__all__ = ["Sql"]

if sys.version_info >= (3, 14):
    from string.templatelib import Interpolation, Template

    Sql: TypeAlias = str | Template
else:
    Sql: TypeAlias = str
    """A statement, as text or, from Python 3.14 on, as a template string like `t"SELECT * FROM t WHERE id = {id}"`."""


def statement(sql: Sql, params: Parameters) -> tuple[str, Parameters]:
    """The text of a statement, and its parameters.

    Raises:
        ProgrammingError: it is neither text nor a template string, or it is one and has a conversion, a format or
            parameters beside it.
    """
    if isinstance(sql, str):
        return sql, params
    if sys.version_info >= (3, 14) and isinstance(sql, Template):
        if params is not None:
            raise ProgrammingError("a template string has its parameters in it; params are for ?, $1 and :name")
        values: list[Any] = []
        return "".join(_parts(sql, values)), values
    raise _neither(sql)


def text(sql: str, verb: str) -> str:
    """The SQL of a verb that takes no template string.

    Raises:
        ProgrammingError: it is one, or no text.
    """
    if isinstance(sql, str):
        return sql
    if sys.version_info >= (3, 14) and isinstance(sql, Template):
        raise ProgrammingError(
            f"{verb} takes no template string, which has the values of one execution: write ?, $1 or :name"
        )
    raise _neither(sql)


def _neither(sql: object) -> ProgrammingError:
    return ProgrammingError(f"sql is a text or a template string (Python 3.14), not {type(sql).__name__}")


if sys.version_info >= (3, 14):

    def _parts(template: Template, values: list[Any]) -> Iterator[str]:
        """The pieces of the text of a template string, and of those in it; puts the values into a list."""
        for part in template:
            if isinstance(part, str):
                yield part
            elif part.conversion or part.format_spec:
                raise ProgrammingError(
                    f"{_written(part)}: values are parameters, not text: no conversion and no format"
                )
            elif isinstance(part.value, Template):
                yield from _parts(part.value, values)
            else:
                values.append(part.value)
                yield "?"

    def _written(part: Interpolation[Any]) -> str:
        conversion = f"!{part.conversion}" if part.conversion else ""
        form = f":{part.format_spec}" if part.format_spec else ""
        return f"{{{part.expression}{conversion}{form}}}"
