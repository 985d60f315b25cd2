"""Random SQL, from one `random.Random`: a schema, and statements that mostly fit it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from tests.truth.case import Case, Step
from tests.truth.queries import Column, Queries, Table, derived, literal, scalars
from tests.truth.vocabulary import TYPES

_MARK = re.compile("\x01([0-9]+)\x02")


class Grammar(Queries):
    """Makes one case."""

    def __init__(self, rng: Random, *, common: bool = False) -> None:
        super().__init__(rng, common=common)
        self._steps: list[Step] = []
        self._open = False
        self._others: list[str] = []

    def case(self, name: str, statements: int, *, file: bool = False) -> Case:
        """A case of so many statements, and a last look at each table."""
        for _ in range(1 + self._below(3)):
            self._create_table()
        while len(self._steps) < statements:
            self._statement(file)
        if self._open:
            self._run("COMMIT")
        for table in self._tables:
            self._run(f"SELECT * FROM {table.name}")
        return Case(name, tuple(self._steps), file)

    def _run(self, sql: str, *, parameters: bool = False, on: str = "") -> None:
        chosen = parameters and not self._common and self._chance(0.3)
        values: list[Any] = []

        def place(found: re.Match[str]) -> str:
            value = self._literals[int(found[1])]
            if chosen and self._chance(0.6):
                values.append(value)
                return f"${len(values)}"
            return literal(value)

        given = _MARK.sub(place, sql)
        plain = _MARK.sub(lambda found: literal(self._literals[int(found[1])]), sql)
        self._steps.append(Step(given, tuple(values), plain if values else "", on=on))
        self._literals.clear()

    def _statement(self, file: bool) -> None:
        weighted: list[tuple[int, Callable[[], None]]] = [
            (40, lambda: self._run(self._ordered(self._query(2)), parameters=True, on=self._on())),
            (14, self._insert),
            (8, self._update),
            (5, self._delete),
            (3, self._begin_or_end),
        ]
        if not self._open and not self._others:
            weighted += [(4, self._create_index), (2, self._alter), (1, self._create_view), (1, self._create_table)]
            if not self._common:
                weighted.append((1, self._rare))
            if file:
                weighted.append((4, lambda: self._run("PRAGMA CHECKPOINT")))
        elif self._open:
            weighted.append((4, self._savepoint))
        if not self._common:
            weighted.append((2, self._other_transaction))
        self._rng.choices([make for _, make in weighted], [weight for weight, _ in weighted])[0]()

    def _on(self) -> str:
        """The transaction in which the next statement runs: mostly none."""
        return self._one(self._others) if self._others and self._chance(0.5) else ""

    def _begin_or_end(self) -> None:
        if self._open:
            self._run(self._one(("COMMIT", "ROLLBACK")))
        else:
            self._run("BEGIN")
        self._open = not self._open

    def _savepoint(self) -> None:
        name = self._one(("s1", "s2"))
        self._run(self._one((f"SAVEPOINT {name}", f"ROLLBACK TO SAVEPOINT {name}", f"RELEASE SAVEPOINT {name}")))

    def _other_transaction(self) -> None:
        if len(self._others) < 2 and self._chance(0.6):
            self._others.append(self._name("tx"))
            self._steps.append(Step(on=self._others[-1], verb="begin"))
        elif self._others:
            name = self._others.pop(self._below(len(self._others)))
            self._steps.append(Step(on=name, verb="commit" if self._chance(0.7) else "rollback"))

    def _create_table(self) -> None:
        table = Table(self._name("t"), [], has_key=self._chance(0.85))
        definitions = []
        if table.has_key:
            table.columns.append(Column("id", "i"))
            definitions.append("id INTEGER PRIMARY KEY")
        for _ in range(2 + self._below(4)):
            kind = self._one(self._kinds)
            column = Column(self._name("c"), kind, is_checked=kind == "i" and self._chance(0.1))
            table.columns.append(column)
            rest = " NOT NULL" if self._chance(0.15) else " UNIQUE" if self._chance(0.08) else ""
            if column.kind != "j" and self._chance(0.1):
                rest += self._default(column.kind)
            if column.is_checked:
                rest += f" CHECK ({column.name} < 60)"
            definitions.append(f"{column.name} {TYPES[column.kind]}{rest}")
        self._run(f"CREATE TABLE {table.name} ({', '.join(definitions)})")
        self._tables.append(table)
        for _ in range(self._below(4)):
            self._insert_values(table)

    def _create_index(self) -> None:
        table = self._one(self._tables)
        if table.indexes and self._chance(0.25) and not self._common:
            self._run(f"DROP INDEX {table.indexes.pop()} ON {table.name}")
            return
        columns = scalars(table.columns)
        chosen = self._rng.sample(columns, min(len(columns), 1 + self._below(1 if self._common else 3)))
        table.indexes.append(self._name("x"))
        unique = "UNIQUE " if self._chance(0.15) and not self._common else ""
        names = ", ".join(column.name for column in chosen)
        self._run(f"CREATE {unique}INDEX {table.indexes[-1]} ON {table.name} ({names})")

    def _alter(self) -> None:
        table = self._one(self._tables)
        spare = [column for column in table.columns if column.name != "id"]
        match self._below(3):
            case 0:
                column = Column(self._name("c"), self._one(self._kinds))
                default = self._default(column.kind) if self._chance(0.5) else ""
                table.columns.append(column)
                self._run(f"ALTER TABLE {table.name} ADD COLUMN {column.name} {TYPES[column.kind]}{default}")
            case 1 if not (table.indexes or self._views or self._common) and len(spare) > 1:
                column = self._one(spare)
                table.columns.remove(column)
                self._run(f"ALTER TABLE {table.name} DROP COLUMN {column.name}")
            case 2 if not self._views and any(not column.is_checked for column in spare):
                column = self._one([column for column in spare if not column.is_checked])
                table.columns[table.columns.index(column)] = Column(self._name("c"), column.kind)
                self._run(f"ALTER TABLE {table.name} RENAME COLUMN {column.name} TO c{self._names}")

    def _create_view(self) -> None:
        kinds = [self._one(self._kinds) for _ in range(1 + self._below(3))]
        view = derived(self._name("v"), kinds)
        self._run(f"CREATE VIEW {view.name} AS {self._select(kinds, 1, stem=view.name)}")
        self._views.append(view)

    def _rare(self) -> None:
        table = self._one(self._tables)
        match self._below(4):
            case 0:
                self._run(f"TRUNCATE TABLE {table.name}")
            case 1:
                self._run(f"ANALYZE {table.name}")
            case 2:
                self._run(f"DESCRIBE {table.name}")
            case 3:
                self._run(f"CREATE TABLE {self._name('t')} AS SELECT * FROM {table.name}")
                self._run(f"SELECT * FROM t{self._names}")

    def _insert(self) -> None:
        table = self._one(self._tables)
        if self._chance(0.15) and not (self._common and table.has_key):
            kinds = [column.kind for column in table.columns]
            select = self._select(kinds, 1)
            self._run(f"INSERT INTO {table.name} {select}", parameters=True, on=self._on())
        else:
            self._insert_values(table, on=self._on())

    def _insert_values(self, table: Table, on: str = "") -> None:
        columns = table.columns
        if self._chance(0.2) and not (self._common and table.has_key):  # sqlite3 would number them itself.
            columns = self._rng.sample(columns, 1 + self._below(len(columns)))
        names = ", ".join(column.name for column in columns)
        values = ", ".join(self._row(columns) for _ in range(1 + self._below(6)))
        sql = f"INSERT INTO {table.name} ({names}) VALUES {values}{self._upsert(table)}{self._returning(table)}"
        self._run(sql, parameters=True, on=on)

    def _row(self, columns: Sequence[Column]) -> str:
        return f"({', '.join(self._value(column.kind, key=column.name == 'id') for column in columns)})"

    def _upsert(self, table: Table) -> str:
        spare = [column for column in table.columns if column.name != "id"]
        if not table.has_key or not spare or self._chance(0.7):
            return ""
        column = self._one(spare)
        new = self._one((f"excluded.{column.name}", self._expression(column.kind, table.of(table.name), 1)))
        return self._one((" ON CONFLICT (id) DO NOTHING", f" ON CONFLICT (id) DO UPDATE SET {column.name} = {new}"))

    def _returning(self, table: Table) -> str:
        if self._chance(0.85):
            return ""
        kind = self._one(self._kinds)
        return f" RETURNING {self._one(table.columns).name}, {self._expression(kind, table.columns, 1)}"

    def _update(self) -> None:
        table = self._one(self._tables)
        column = self._one([column for column in table.columns if column.name != "id"] or table.columns)
        new = self._expression(column.kind, table.columns, 2)
        if self._chance(0.15):
            new = f"({self._aggregate(column.kind, table.of(table.name))})"
        where = "" if self._chance(0.15) else f" WHERE {self._condition(table.of(table.name), 2)}"
        sql = f"UPDATE {table.name} SET {column.name} = {new}{where}{self._returning(table)}"
        self._run(sql, parameters=True, on=self._on())

    def _delete(self) -> None:
        table = self._one(self._tables)
        where = self._condition(table.of(table.name), 2)
        self._run(f"DELETE FROM {table.name} WHERE {where}{self._returning(table)}", parameters=True, on=self._on())

    def _default(self, kind: str) -> str:
        """A default; the native engine loses quotes in it, and signs of floats (patches 16, 26)."""
        value = self._plain(kind, null=False, key=False)
        if isinstance(value, str):
            value = value.replace("'", "")
        if isinstance(value, float):
            value = abs(value)
        return f" DEFAULT {literal(value)}"
