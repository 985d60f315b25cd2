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
    """A column, with the letter of its type, and whether it has a CHECK, or is UNIQUE."""

    name: str
    kind: str
    is_checked: bool = False
    is_unique: bool = False


@dataclass
class Table:
    """A table or a view.

    Attributes:
        name: of it.
        columns: its columns.
        has_key: whether it has the primary key id.
        keys: the columns of a primary key of several ones.
        indexes: the columns of its indexes, by their names.
    """

    name: str
    columns: list[Column]
    has_key: bool = False
    keys: tuple[str, ...] = ()
    indexes: dict[str, list[str]] = field(default_factory=dict)

    def of(self, alias: str) -> list[Column]:
        """Its columns by another name of it."""
        return [Column(f"{alias}.{column.name}", column.kind) for column in self.columns]

    def spare(self) -> list[Column]:
        """Its columns that belong to no primary key."""
        return [column for column in self.columns if column.name not in ("id", *self.keys)]


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
        self._asked: list[Table] | None = None
        """What subqueries may ask: not what is being changed, where sqlite3 would see the changes; None for all."""

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
        if re.search(r" LIMIT \d+$", sql):
            return sql
        places = [str(place) for place, kind in enumerate(kinds, 1) if kind != "j"]
        if len(places) < len(kinds) or self._chance(0.3):
            return sql
        self._rng.shuffle(places)
        terms = ", ".join(self._term(place) for place in places)
        limit = ""
        if self._chance(0.4):
            limit = f" LIMIT {1 + self._below(12)}" + (f" OFFSET {self._below(5)}" if self._chance(0.4) else "")
        return f"{sql} ORDER BY {terms}{limit}"

    def _term(self, place: str) -> str:
        """A term of ORDER BY; where NULLs are if nothing is said, sqlite3 is told."""
        order = self._one(("", " DESC", " ASC"))
        if not self._common:
            return place + order
        usual = "/* NULLS FIRST*/" if order == " DESC" else "/* NULLS LAST*/"
        return place + order + self._one((usual, usual, " NULLS FIRST", " NULLS LAST"))

    def _query(self, depth: int) -> tuple[str, list[str]]:
        kinds = [self._one(self._kinds) for _ in range(1 + self._below(3))]
        if depth > 0 and self._chance(0.12):
            return self._with(kinds), kinds
        if self._chance(0.12) and "j" not in kinds:
            return self._united(kinds), kinds
        return self._select(kinds, depth, cut=self._common), kinds

    def _united(self, kinds: list[str], stem: str = "") -> str:
        operator = self._one(("UNION", "UNION ALL", "INTERSECT", "EXCEPT"))
        sql = f"{self._select(kinds, 1, stem=stem)} {operator} {self._select(kinds, 1, stem=stem)}"
        if self._common and self._chance(0.3):  # INTERSECT does not bind closer in sqlite3.
            sql += f" {self._one(('UNION', 'UNION ALL', 'EXCEPT'))} {self._select(kinds, 1, stem=stem)}"
        if self._common and stem:  # sqlite3 errs when it flattens other joins in a UNION ALL.
            sql = re.sub("(RIGHT|FULL) JOIN", "LEFT JOIN", sql)
        return sql

    def _body(self, kinds: list[str], depth: int, stem: str) -> str:
        """What a derived table, a common table or a view is."""
        if self._common and self._chance(0.2):
            return self._united(kinds, stem)
        return self._select(kinds, depth, stem=stem, cut=self._common)

    def _with(self, kinds: list[str]) -> str:
        views = self._views
        parts = []
        for _ in range(1 + (self._below(2) if self._common else 0)):
            inner = [self._one(self._kinds) for _ in range(1 + self._below(3))]
            table = derived(self._name("w"), inner)
            parts.append(f"{table.name} AS ({self._body(inner, 1, table.name)})")
            self._views = [*self._views, *[table] * (3 if self._common else 1)]
        outer = self._select(kinds, 1, table)
        self._views = views
        return f"WITH {', '.join(parts)} {outer}"

    def _select(
        self, kinds: list[str], depth: int, first: Table | None = None, *, stem: str = "", cut: bool = False
    ) -> str:
        """A SELECT whose columns are of those types; their names begin in a way that no column of a source does.

        Args:
            kinds: the types.
            depth: of what is within.
            first: the first source.
            stem: how the names begin.
            cut: whether it may have an order of its own, and a limit.
        """
        source, scope, keys = self._from(depth, first)
        where = f" WHERE {self._condition(scope, depth)}" if self._chance(0.7) else ""
        form = self._rng.random()
        if form < 0.25:
            return f"SELECT {self._grouped(kinds, scope, source, where, stem)}"
        has_order = not (self._common and _has_nulls(source, keys))
        if form < 0.4 and kinds[0] == "i" and has_order:
            items = [self._window(scope, keys)] + [self._expression(kind, scope, 1) for kind in kinds[1:]]
            if self._common and self._chance(0.3):
                items[0] = f"({items[0]} + {self._expression('i', scope, 1)})"
        else:
            items = [self._expression(kind, scope, depth) for kind in kinds]
        distinct = "DISTINCT " if form > 0.92 and "j" not in kinds else ""
        sql = f"SELECT {distinct}{_aliased(items, stem)} FROM {source}{where}"
        if cut and has_order and not distinct and self._chance(0.15):
            terms = [self._one(scope).name, *keys] if self._chance(0.5) else keys
            sql += f" ORDER BY {', '.join(map(self._term, terms))} LIMIT {1 + self._below(8)}"
        return sql

    def _grouped(self, kinds: list[str], scope: Scope, source: str, where: str, stem: str) -> str:
        groups = [self._one(scalars(scope)) for _ in range(self._below(3))]
        if self._common and self._chance(0.3):
            kind = self._one(kinds)
            choice = self._one(self._choices[f"{kind} group"])
            if set(re.findall(r"\{(\w)\}", choice)) <= {column.kind for column in scope}:
                name = re.sub(r"\{(\w)\}", lambda found: self._of_kind(found[1], scope), choice)
                groups.append(Column(name, kind))
        items = []
        for kind in kinds:
            of_kind = [column.name for column in groups if column.kind == kind]
            items.append(self._one(of_kind) if of_kind and self._chance(0.6) else self._one_aggregate(kind, scope))
        by = f" GROUP BY {', '.join(dict.fromkeys(column.name for column in groups))}" if groups else ""
        having = f" HAVING {self._one_aggregate('i', scope)} > {self._value('i')}" if by and self._chance(0.25) else ""
        if having and self._common and self._chance(0.5):
            having = f" HAVING {self._one_aggregate('b', scope)}"
        return f"{_aliased(items, stem)} FROM {source}{where}{by}{having}"

    def _from(self, depth: int, first: Table | None) -> tuple[str, list[Column], list[str]]:
        """The sources, the columns they have, and columns that order their rows wholly."""
        scope: list[Column] = []
        keys: list[str] = []
        parts = ""
        number_of = 1 + (self._below(3) if depth > 0 and self._chance(0.5) else 0)
        for number in range(number_of):
            alias = self._name("q")
            table = first if first and not number else self._one([*self._tables, *self._tables, *self._views])
            source = table.name
            if depth > 1 and self._chance(0.2 if self._common else 0.1):
                inner = [self._one(self._kinds) for _ in range(2)]
                table = derived(self._name("d"), inner)
                source = f"({self._body(inner, depth - 1, table.name)})"
            columns = table.of(alias)
            if not parts:
                parts = f"{source} AS {alias}"
            else:
                parts += self._join(f"{source} AS {alias}", scope, columns, outer=number_of == 2 or not self._common)
            scope += columns
            keys += [f"{alias}.id"] if table.has_key else [column.name for column in scalars(columns)]
        return parts, scope, keys

    def _join(self, source: str, left: Scope, right: Scope, *, outer: bool) -> str:
        pairs = self._pairs(left, right)
        if not pairs or self._chance(0.05):
            return f" CROSS JOIN {source}"
        on = " = ".join(self._one(pairs))
        if self._common and self._chance(0.15):
            on += f" AND {self._one(('=', '<', '<>', '>=')).join(self._one(pairs))}"
        if self._chance(0.25):
            on += f" AND {self._expression('b', [*left, *right], 1)}"
        joins = ("JOIN", "JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN")  # sqlite3 errs in the last two beside others.
        return f" {self._one(joins if outer else joins[:3])} {source} ON {on}"

    def _pairs(self, left: Scope, right: Scope) -> list[tuple[str, str]]:
        """Columns that may be compared."""
        kinds = self._kinds if self._common else "it"
        return [(a.name, b.name) for a in left for b in right if a.kind == b.kind and a.kind in kinds]

    # Expressions.

    def _expression(self, kind: str, scope: Scope, depth: int) -> str:
        if kind == "D":
            return self._value(kind, null=False)
        fitting = [column.name for column in scope if column.kind == kind]
        if depth <= 0 or self._chance(0.4):
            if fitting and self._chance(0.75):
                return self._one(fitting)
            return self._value(kind)
        if kind == "b" and self._chance(0.2):
            return f"({self._subquery(scope, depth)})"
        if self._common and kind != "d" and self._chance(0.05):  # A time may come out as a text.
            return self._scalar(kind, scope)
        return f"({self._fill(self._one(self._choices[kind]), scope, depth - 1)})"

    def _fill(self, template: str, scope: Scope, depth: int) -> str:
        return re.sub(r"\{(\w)\}", lambda found: self._expression(found[1], scope, depth), template)

    def _condition(self, scope: Scope, depth: int) -> str:
        """A condition, often one that an index helps with."""
        if self._common and self._chance(0.3):
            return self._of_a_column(scope)
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

    def _of_a_column(self, scope: Scope) -> str:
        """Conditions of columns alone, of all types."""
        parts = []
        for _ in range(1 + self._below(3)):
            column = self._one(scope)
            operator = self._one(self._choices["column"])
            is_text = column.kind == "d" and "IN" not in operator and self._chance(0.5)
            kind = "D" if is_text else column.kind
            values = [self._value(kind, null=not is_text and self._chance(0.2)) for _ in range(operator.count("{}"))]
            negation = "NOT " if self._chance(0.2) and not operator.startswith("NOT") else ""
            parts.append(f"{negation}{column.name} {operator.format(*values)}")
        return re.sub(";", lambda _: self._one(("AND", "AND", "OR")), " ; ".join(parts))

    def _sources(self) -> list[Table]:
        """What a subquery may ask."""
        return [*self._tables, *self._tables, *self._views] if self._asked is None else self._asked

    def _inner(self, scope: Scope) -> tuple[str, list[Column]]:
        """FROM and WHERE of a subquery that may know the row around it, and its columns."""
        table, alias = self._one(self._sources()), self._name("q")
        inner = table.of(alias)
        source = f"FROM {table.name} AS {alias}"
        if self._chance(0.15):
            other, name = self._one(self._sources()), self._name("q")
            source += self._join(f"{other.name} AS {name}", inner, other.of(name), outer=False)
            inner += other.of(name)
        parts = []
        for _ in range(self._below(3)):
            pairs = self._pairs(scope, inner)
            if pairs:
                parts.append(self._one((" = ", " = ", " <> ", " < ", " >= ")).join(self._one(pairs)))
        if not parts or self._chance(0.4):
            both = [*inner, *scope] if self._chance(0.3) else inner
            parts.append(self._of_a_column(both) if self._chance(0.5) else self._expression("b", both, 1))
        self._rng.shuffle(parts)
        return f"{source} WHERE {' AND '.join(f'({part})' for part in parts)}", inner

    def _scalar(self, kind: str, scope: Scope) -> str:
        """A subquery that is a value."""
        if not self._sources():
            return self._value(kind)
        source, inner = self._inner(scope)
        return f"(SELECT {self._one_aggregate(kind, inner)} {source})"

    def _judged_subquery(self, scope: Scope) -> str:
        """A condition with a subquery of any form."""
        if not self._sources():
            return self._value("b")
        negated = self._one(("", "NOT "))
        kind = self._one(self._kinds)
        form = self._below(5 if self._asked is None else 4)  # An UPDATE leaves out rows, which are known to be wrong.
        if form == 3:
            comparison = f"{self._expression(kind, scope, 0)} {self._one(('<', '=', '>=', '<>'))}"
            return f"{comparison} {self._scalar(kind, scope)}"
        source, inner = self._inner(scope if form < 4 else [])
        if form < 2:
            return f"{negated}EXISTS (SELECT {self._one(('1', '*', self._one(inner).name))} {source})"
        column = self._one(inner)
        left = self._expression(column.kind, scope, 0)
        if form == 2:
            more = ""
            if self._chance(0.2):
                again, others = self._inner(scope)
                operator = self._one(("UNION", "UNION ALL", "EXCEPT", "INTERSECT"))
                more = f" {operator} SELECT {self._expression(column.kind, others, 0)} {again}"
            return f"{left} {negated}IN (SELECT {column.name} {source}{more})"
        other = self._one(inner)
        left = f"({left}, {self._expression(other.kind, scope, 0)})"
        return f"{left} {negated}IN (SELECT {column.name}, {other.name} {source})"

    def _subquery(self, scope: Scope, depth: int) -> str:
        if self._common:
            return self._judged_subquery(scope)
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
        if key and self._common and self._chance(0.15):
            return self._one(vocabulary.KEYS)
        odd = not self._common and self._chance(0.1)
        match kind:
            case "i":
                return self._one(vocabulary.BIG) if odd else self._below(40) if key else self._one(vocabulary.SMALL)
            case "t":
                return self._one(vocabulary.WORDS)
            case "f":
                return self._one(vocabulary.ODD_FLOATS if odd else vocabulary.FLOATS)
            case "b":
                return self._chance(0.5)
            case "d":
                return self._one(vocabulary.MOMENTS)
            case "D":
                return f"{self._one(vocabulary.MOMENTS):%Y-%m-%d %H:%M:%S}"
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
