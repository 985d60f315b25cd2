"""Random SQL, from one `random.Random`: a schema, and statements that mostly fit it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
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
        self._rows = 15 if common and self._chance(0.1) else 6

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
        chosen = parameters and self._chance(0.3)
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
            weighted.append((1, self._rare))
            if file:
                weighted.append((4, lambda: self._run("PRAGMA CHECKPOINT")))
            if file and self._common:
                weighted.append((3, self._reopen))
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

    def _reopen(self) -> None:
        self._steps.append(Step(verb="reopen"))

    def _look(self, table: Table) -> None:
        """Asks the judge for all of a table that has changed."""
        if self._common and self._chance(0.7):
            self._run(f"SELECT * FROM {table.name}")

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
        table = Table(self._name("t"), [], has_key=self._chance(0.8 if self._common else 0.85))
        definitions = []
        if table.has_key:
            table.columns.append(Column("id", "i"))
            definitions.append("id INTEGER PRIMARY KEY")
        for _ in range(2 + self._below(4)):
            kind = self._one(self._kinds)
            column = Column(self._name("c"), kind, is_checked=kind == "i" and self._chance(0.1))
            rest = " NOT NULL" if self._chance(0.15) else " UNIQUE" if self._chance(0.08) else ""
            column = replace(column, is_unique=rest == " UNIQUE")
            table.columns.append(column)
            if column.kind != "j" and self._chance(0.1):
                rest += self._default(column.kind)
            if column.is_checked:
                rest += f" CHECK ({column.name} < 60)"
            definitions.append(f"{column.name} {TYPES[column.kind]}{rest}")
        if self._common:
            self._arrange(table, definitions)
        self._run(f"CREATE TABLE {table.name} ({', '.join(definitions)})")
        self._tables.append(table)
        for _ in range(self._below(4)):
            self._insert_values(table)

    def _arrange(self, table: Table, definitions: list[str]) -> None:
        """Puts the primary key elsewhere, or makes one of several columns."""
        if table.has_key and self._chance(0.3):
            place = self._below(len(definitions))
            table.columns.insert(place, table.columns.pop(0))
            definitions.insert(place, definitions.pop(0))
        places = [place for place, text in enumerate(definitions) if text.endswith(" NOT NULL")]
        if not table.has_key and len(places) > 1:
            table.keys = tuple(table.columns[place].name for place in places)
            definitions.append(f"PRIMARY KEY ({', '.join(table.keys)})")

    def _create_index(self) -> None:
        table = self._one(self._tables)
        if table.indexes and self._chance(0.25):
            self._run(f"DROP INDEX {table.indexes.popitem()[0]} {'/*--*/' if self._common else ''}ON {table.name}")
            return
        columns = scalars(table.columns)
        names = [column.name for column in self._rng.sample(columns, min(len(columns), 1 + self._below(3)))]
        unique = "UNIQUE " if self._chance(0.15) else ""
        name = self._name("x")
        table.indexes[name] = names
        self._run(f"CREATE {unique}INDEX {name} ON {table.name} ({', '.join(names)})")

    def _alter(self) -> None:
        table = self._one(self._tables)
        spare = table.spare()
        if self._common:
            indexed = {name for names in table.indexes.values() for name in names}
            spare = [column for column in spare if column.name not in indexed]
        match self._below(3):
            case 0:
                column = Column(self._name("c"), self._one(self._kinds))
                default = self._default(column.kind) if self._chance(0.5) else ""
                table.columns.append(column)
                self._run(f"ALTER TABLE {table.name} ADD COLUMN {column.name} {TYPES[column.kind]}{default}")
            case 1 if not ((table.indexes and not self._common) or self._views) and len(spare) > 1:
                column = self._one(spare)
                if self._common and (column.is_unique or column.is_checked):  # sqlite3 refuses it.
                    return
                table.columns.remove(column)
                self._run(f"ALTER TABLE {table.name} DROP COLUMN {column.name}")
            case 2 if not self._views and any(not column.is_checked for column in spare):
                column = self._one([column for column in spare if not column.is_checked])
                table.columns[table.columns.index(column)] = replace(column, name=self._name("c"))
                self._run(f"ALTER TABLE {table.name} RENAME COLUMN {column.name} TO c{self._names}")
        self._look(table)

    def _create_view(self) -> None:
        kinds = [self._one(self._kinds) for _ in range(1 + self._below(3))]
        view = derived(self._name("v"), kinds)
        self._run(f"CREATE VIEW {view.name} AS {self._body(kinds, 1, view.name)}")
        self._views.append(view)

    def _rare(self) -> None:
        table = self._one(self._tables)
        match self._rng.choice((0, 1, 1, 3)) if self._common else self._below(4):
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
        if self._common and table.has_key and self._chance(0.15):
            self._insert_selected(table)
        elif self._chance(0.15) and not (self._common and table.has_key):
            kinds = [column.kind for column in table.columns]
            select = self._select(kinds, 1)
            self._run(f"INSERT INTO {table.name} {select}", parameters=True, on=self._on())
        else:
            self._insert_values(table, on=self._on())
        self._look(table)

    def _insert_selected(self, table: Table) -> None:
        """Rows of a table with keys, which are given: sqlite3 would make them of NULL."""
        other = self._one([each for each in self._tables if each.has_key])
        names, items = ["id"], [f"q.id + {self._below(60)}"]
        for column in table.spare():
            names.append(column.name)
            items.append(self._expression(column.kind, other.of("q"), 1))
        where = self._condition(other.of("q"), 1)
        sql = f"INSERT INTO {table.name} ({', '.join(names)}) SELECT {', '.join(items)} FROM {other.name} AS q"
        self._run(f"{sql} WHERE {where}{self._returning(table)}", parameters=True)

    def _insert_values(self, table: Table, on: str = "") -> None:
        columns = table.columns
        if self._chance(0.2) and not (self._common and table.has_key):  # sqlite3 would number them itself.
            columns = self._rng.sample(columns, 1 + self._below(len(columns)))
        names = ", ".join(column.name for column in columns)
        values = ", ".join(self._row(columns) for _ in range(1 + self._below(self._rows)))
        sql = f"INSERT INTO {table.name} ({names}) VALUES {values}{self._upsert(table)}{self._returning(table)}"
        self._run(sql, parameters=True, on=on)

    def _row(self, columns: Sequence[Column]) -> str:
        return f"({', '.join(self._value(column.kind, key=column.name == 'id') for column in columns)})"

    def _upsert(self, table: Table) -> str:
        spare = table.spare()
        targets = ["id"] if table.has_key else []
        if self._common:
            targets += [", ".join(table.keys)] if table.keys else []
            targets += [column.name for column in spare if column.is_unique]
            spare = [column for column in spare if not column.is_unique]
        if not targets or not spare or self._chance(0.7):
            return ""
        column = self._one(spare)
        scope = table.of(table.name) + (table.of("excluded") if self._common else [])
        self._asked = []
        new = self._one((f"excluded.{column.name}", self._expression(column.kind, scope, 1)))
        where = f" WHERE {self._condition(scope, 1)}" if self._common and self._chance(0.3) else ""
        self._asked = None
        target = self._one(targets) if self._common else "id"
        return f" ON CONFLICT ({target}) {self._one(('DO NOTHING', f'DO UPDATE SET {column.name} = {new}{where}'))}"

    def _returning(self, table: Table) -> str:
        if self._chance(0.85):
            return ""
        kind = self._one("itfd" if self._common else self._kinds)  # sqlite3 is not sure of names in subqueries there.
        self._asked = []
        returning = f" RETURNING {self._one(table.columns).name}, {self._expression(kind, table.columns, 1)}"
        self._asked = None
        return returning

    def _update(self) -> None:
        table = self._one(self._tables)
        if self._common:
            columns = [column for column in table.spare() if not (self._open and column.is_unique)] or table.columns
            chosen = self._rng.sample(columns, 1 + self._below(min(3, len(columns))))
        else:
            chosen = [self._one(table.spare() or table.columns)]
        self._asked = [other for other in self._tables if other is not table]
        sets = ", ".join(f"{column.name} = {self._new(column, table)}" for column in chosen)
        self._asked = None
        where = "" if self._chance(0.15) else self._where(table)
        sql = f"UPDATE {table.name} SET {sets}{where}{self._returning(table)}"
        self._run(sql, parameters=True, on=self._on())
        self._look(table)

    def _new(self, column: Column, table: Table) -> str:
        """What an UPDATE sets."""
        scope = table.of(table.name)
        new = self._expression(column.kind, scope if self._common else table.columns, 2)
        if not self._chance(0.15):
            return new
        if self._common and self._chance(0.6):
            return self._scalar(column.kind, scope)
        return f"({self._aggregate(column.kind, scope)})"

    def _where(self, table: Table) -> str:
        """The condition of a change, for which sqlite3 chooses the rows first: it would see what it has changed."""
        where = self._condition(table.of(table.name), 2)
        if not self._common:
            return f" WHERE {where}"
        return f" WHERE /*rowid IN (SELECT rowid FROM {table.name} WHERE */{where}/*)*/"

    def _delete(self) -> None:
        table = self._one(self._tables)
        sql = f"DELETE FROM {table.name}{self._where(table)}{self._returning(table)}"
        self._run(sql, parameters=True, on=self._on())
        self._look(table)

    def _default(self, kind: str) -> str:
        """A default; the native engine loses quotes in it, and signs of floats (patches 016, 026)."""
        value = self._plain(kind, null=False, key=False)
        if isinstance(value, str):
            value = value.replace("'", "")
        if isinstance(value, float):
            value = abs(value)
        if self._common and isinstance(value, datetime):  # sqlite3 takes no call for a constant.
            value = f"{value:%Y-%m-%d %H:%M:%S}"
        return f" DEFAULT {literal(value)}"
