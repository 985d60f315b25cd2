"""Random queries and expressions over tables that are there."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from random import Random
from typing import Any, TypeVar

from tests.truth import vocabulary
from tests.truth.vocabulary import TYPES

T = TypeVar("T")


@dataclass(frozen=True)
class Column:
    """A column, with the letter of its type, and whether it has a CHECK."""

    name: str
    kind: str
    is_checked: bool = False


@dataclass
class Table:
    """A table or a view."""

    name: str
    columns: list[Column]
    has_key: bool = False
    indexes: list[str] = field(default_factory=list)

    def of(self, alias: str) -> list[Column]:
        """Its columns by another name of it."""
        return [Column(f"{alias}.{column.name}", column.kind) for column in self.columns]


Scope = Sequence[Column]


class Queries:
    """Makes queries.

    Args:
        rng: what decides.
        common: only what sqlite3 answers in the same way.
    """

    def __init__(self, rng: Random, *, common: bool = False) -> None:
        self._rng = rng
        self._common = common
        self._kinds = vocabulary.COMMON if common else "".join(TYPES)
        self._choices = vocabulary.choices(common=common)
        self._tables: list[Table] = []
        self._views: list[Table] = []
        self._literals: list[Any] = []
        self._names = 0

    # Chance.

    def _below(self, end: int) -> int:
        return self._rng.randrange(end)

    def _chance(self, share: float) -> bool:
        return self._rng.random() < share

    def _one(self, items: Sequence[T]) -> T:
        return items[self._rng.randrange(len(items))]

    def _name(self, start: str) -> str:
        self._names += 1
        return f"{start}{self._names}"

    # Queries.

    def _ordered(self, query: tuple[str, list[str]]) -> str:
        """The query with a whole order, and then perhaps a limit."""
        sql, kinds = query
        places = [str(place) for place, kind in enumerate(kinds, 1) if kind != "j"]
        if len(places) < len(kinds) or self._chance(0.3):
            return sql
        self._rng.shuffle(places)
        terms = ", ".join(place + self._one(("", " DESC", " ASC")) for place in places)
        limit = ""
        if self._chance(0.4):
            limit = f" LIMIT {1 + self._below(12)}" + (f" OFFSET {self._below(5)}" if self._chance(0.4) else "")
        nulls = " NULLS FIRST" if self._common else ""
        terms = ", ".join(term + nulls for term in terms.split(", "))
        return f"{sql} ORDER BY {terms}{limit}"

    def _query(self, depth: int) -> tuple[str, list[str]]:
        kinds = [self._one(self._kinds) for _ in range(1 + self._below(3))]
        if depth > 0 and self._chance(0.12):
            return self._with(kinds), kinds
        if self._chance(0.12) and "j" not in kinds:
            operator = self._one(("UNION", "UNION ALL", "INTERSECT", "EXCEPT"))
            return f"{self._select(kinds, 1)} {operator} {self._select(kinds, 1)}", kinds
        return self._select(kinds, depth), kinds

    def _with(self, kinds: list[str]) -> str:
        inner = [self._one(self._kinds) for _ in range(1 + self._below(3))]
        table = derived(self._name("w"), inner)
        body = self._select(inner, 1, stem=table.name)
        self._views.append(table)
        outer = self._select(kinds, 1, table)
        self._views.remove(table)
        return f"WITH {table.name} AS ({body}) {outer}"

    def _select(self, kinds: list[str], depth: int, first: Table | None = None, stem: str = "") -> str:
        """A SELECT whose columns are of those types; their names begin in a way that no column of a source does."""
        source, scope, keys = self._from(depth, first)
        where = f" WHERE {self._condition(scope, depth)}" if self._chance(0.7) else ""
        form = self._rng.random()
        if form < 0.25:
            return f"SELECT {self._grouped(kinds, scope, source, where, stem)}"
        if form < 0.4 and kinds[0] == "i" and not (self._common and _has_nulls(source, keys)):
            items = [self._window(scope, keys)] + [self._expression(kind, scope, 1) for kind in kinds[1:]]
        else:
            items = [self._expression(kind, scope, depth) for kind in kinds]
        distinct = "DISTINCT " if form > 0.92 and "j" not in kinds else ""
        return f"SELECT {distinct}{_aliased(items, stem)} FROM {source}{where}"

    def _grouped(self, kinds: list[str], scope: Scope, source: str, where: str, stem: str) -> str:
        groups = [self._one(scalars(scope)) for _ in range(self._below(3))]
        items = []
        for kind in kinds:
            of_kind = [column.name for column in groups if column.kind == kind]
            items.append(self._one(of_kind) if of_kind and self._chance(0.6) else self._one_aggregate(kind, scope))
        by = f" GROUP BY {', '.join(dict.fromkeys(column.name for column in groups))}" if groups else ""
        having = f" HAVING {self._one_aggregate('i', scope)} > {self._value('i')}" if by and self._chance(0.25) else ""
        return f"{_aliased(items, stem)} FROM {source}{where}{by}{having}"

    def _from(self, depth: int, first: Table | None) -> tuple[str, list[Column], list[str]]:
        """The sources, the columns they have, and columns that order their rows wholly."""
        scope: list[Column] = []
        keys: list[str] = []
        parts = ""
        for number in range(1 + (self._below(3) if depth > 0 and self._chance(0.5) else 0)):
            alias = self._name("q")
            table = first if first and not number else self._one([*self._tables, *self._tables, *self._views])
            source = table.name
            if depth > 1 and self._chance(0.1):
                inner = [self._one(self._kinds) for _ in range(2)]
                table = derived(self._name("d"), inner)
                source = f"({self._select(inner, depth - 1, stem=table.name)})"
            columns = table.of(alias)
            if not parts:
                parts = f"{source} AS {alias}"
            else:
                parts += self._join(f"{source} AS {alias}", scope, columns, outer=number == 1 or not self._common)
            scope += columns
            keys += [f"{alias}.id"] if table.has_key else [column.name for column in scalars(columns)]
        return parts, scope, keys

    def _join(self, source: str, left: Scope, right: Scope, *, outer: bool) -> str:
        pairs = [(a.name, b.name) for a in left for b in right if a.kind == b.kind and a.kind in "it"]
        if not pairs or self._chance(0.05):
            return f" CROSS JOIN {source}"
        on = " = ".join(self._one(pairs))
        if self._chance(0.25):
            on += f" AND {self._expression('b', [*left, *right], 1)}"
        joins = ("JOIN", "JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN")  # sqlite3 errs in the last two after others.
        return f" {self._one(joins if outer else joins[:3])} {source} ON {on}"

    # Expressions.

    def _expression(self, kind: str, scope: Scope, depth: int) -> str:
        fitting = [column.name for column in scope if column.kind == kind]
        if depth <= 0 or self._chance(0.4):
            if fitting and self._chance(0.75):
                return self._one(fitting)
            return self._value(kind)
        if kind == "b" and self._chance(0.2):
            return f"({self._subquery(scope, depth)})"
        return f"({self._fill(self._one(self._choices[kind]), scope, depth - 1)})"

    def _fill(self, template: str, scope: Scope, depth: int) -> str:
        return re.sub(r"\{(\w)\}", lambda found: self._expression(found[1], scope, depth), template)

    def _condition(self, scope: Scope, depth: int) -> str:
        """A condition, often one that an index helps with."""
        integers = [column.name for column in scope if column.kind == "i"]
        if integers and self._chance(0.4):
            column = self._one(integers)
            operator = self._one(("= {}", "< {}", "> {}", "IN ({}, {})", "BETWEEN {} AND {}", "<> {}"))
            simple = f"{column} {re.sub('{}', lambda _: self._value('i'), operator)}"
            return (
                simple
                if self._chance(0.5)
                else f"{simple} {self._one(('AND', 'OR'))} {self._expression('b', scope, 1)}"
            )
        return self._expression("b", scope, max(depth, 1))

    def _subquery(self, scope: Scope, depth: int) -> str:
        table = self._one(self._tables)
        alias = self._name("q")
        inner = table.of(alias)
        pairs = [(a.name, b.name) for a in scope for b in inner if a.kind == b.kind and a.kind in "it"]
        where = " = ".join(self._one(pairs)) if pairs and self._chance(0.6) else self._expression("b", inner, 1)
        integers = [column.name for column in inner if column.kind == "i"]
        source = f"FROM {table.name} AS {alias} WHERE {where}"
        left = self._expression("i", scope, 0)
        if not integers or self._chance(0.4):
            return f"{self._one(('', 'NOT '))}EXISTS (SELECT 1 {source})"
        if self._chance(0.5):
            return f"{left} {self._one(('', 'NOT '))}IN (SELECT {self._one(integers)} {source})"
        value = f"{self._one(('MAX', 'COUNT', 'SUM'))}({self._one(integers)})"
        return f"{left} {self._one(('<', '=', '>='))} (SELECT {value} {source})"

    def _one_aggregate(self, kind: str, scope: Scope) -> str:
        return self._fill(self._one(self._choices[f"{kind} aggregate"]), scope, 0)

    def _aggregate(self, kind: str, scope: Scope) -> str:
        table = self._one(self._tables)
        return f"SELECT {self._one_aggregate(kind, table.of('u'))} FROM {table.name} AS u"

    def _window(self, scope: Scope, keys: list[str]) -> str:
        template = self._one(self._choices["window"])
        partition = f"PARTITION BY {self._one(scalars(scope)).name}" if self._chance(0.6) else ""
        template = template.replace("{p}", partition).replace("{k}", ", ".join(keys))
        return re.sub(r"\{(\w)\}", lambda found: self._of_kind(found[1], scope), template)

    def _of_kind(self, kind: str, scope: Scope) -> str:
        return self._one([column.name for column in scope if column.kind == kind] or [column.name for column in scope])

    # Values.

    def _value(self, kind: str, *, null: bool = True, key: bool = False) -> str:
        """A value, which becomes a literal or a parameter."""
        self._literals.append(self._plain(kind, null=null, key=key))
        return f"\x01{len(self._literals) - 1}\x02"

    def _plain(self, kind: str, *, null: bool, key: bool) -> Any:
        if null and not key and self._chance(0.12):
            return None
        odd = not self._common and self._chance(0.1)
        match kind:
            case "i":
                return self._one(vocabulary.BIG) if odd else self._below(40) if key else self._one(vocabulary.SMALL)
            case "t":
                return self._one(vocabulary.WORDS[: -1 if self._common else None])
            case "f":
                return self._one(vocabulary.ODD_FLOATS if odd else vocabulary.FLOATS)
            case "b":
                return self._chance(0.5)
            case "d":
                return self._one(vocabulary.MOMENTS)
            case _:
                return self._one(vocabulary.DOCUMENTS)


def scalars(columns: Scope) -> Scope:
    """The columns whose values have an order, if there are any."""
    return [column for column in columns if column.kind != "j"] or columns


def _has_nulls(source: str, keys: list[str]) -> bool:
    """Whether the columns that order the rows may be NULL, which sqlite3 places elsewhere."""
    return bool(re.search("(FULL|LEFT|RIGHT) JOIN", source)) or not all(key.endswith(".id") for key in keys)


def derived(name: str, kinds: list[str]) -> Table:
    """What a SELECT with this stem is, as a table."""
    return Table(name, [Column(f"{name}r{place}", kind) for place, kind in enumerate(kinds, 1)])


def _aliased(items: list[str], stem: str) -> str:
    return ", ".join(f"{item} AS {stem}r{place}" for place, item in enumerate(items, 1))


def literal(value: Any) -> str:
    match value:
        case None:
            return "NULL"
        case bool():
            return str(value).upper()
        case datetime():
            return f"CAST('{value:%Y-%m-%d %H:%M:%S}' AS TIMESTAMP)"
        case str():
            return "'" + value.replace("'", "''") + "'"
        case _:
            return repr(value)
