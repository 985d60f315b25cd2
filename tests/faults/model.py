"""What a database should hold, and whether it does."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from tests.faults.database import Database, EngineError

Row: TypeAlias = tuple[Any, ...]
EXTRA = frozenset({"extra0", "extra1", "extra2", "extra3"})
"""Names of tables that come and go."""


class MismatchError(AssertionError):
    """The database is not what the model says."""


@dataclass(frozen=True)
class Table:
    """A table: its columns, its indexes by name with the column of each, and its rows by their primary keys."""

    columns: tuple[str, ...]
    indexes: Mapping[str, str]
    rows: Mapping[int, Row]

    def having(self, rows: Iterable[Row], without: Iterable[int] = ()) -> Table:
        """With these rows, in place of those with the same keys, and without others."""
        left = {key: row for key, row in self.rows.items() if key not in set(without)}
        return dataclasses.replace(self, rows=left | {row[0]: row for row in rows})


State: TypeAlias = Mapping[str, Table]


def read(db: Database) -> State:
    """All that the database holds.

    Raises:
        EngineError: it cannot be read.
    """
    state = {}
    for (name,) in db.query("SHOW TABLES"):
        columns = tuple(row[0] for row in db.query(f"DESCRIBE {name}"))
        rows = db.query(f"SELECT * FROM {name}")
        indexes = {row[1]: row[2].strip("()") for row in db.query(f"SHOW INDEXES FROM {name}")}
        state[name] = Table(columns, indexes, {row[0]: row for row in rows})
        if len(rows) != len(state[name].rows):
            raise MismatchError(f"{name} has a key twice")
    return state


def check(db: Database, possible: Sequence[State], rng: random.Random) -> State:
    """Checks that the database holds one of these states, that its indexes agree, and that it takes writes.

    Returns:
        The state that it held.

    Raises:
        MismatchError: it does not.
        EngineError: it cannot be read or written.
    """
    found = read(db)
    if found not in possible:
        raise MismatchError(f"{len(possible)} states are possible; against the first: {difference(possible[0], found)}")
    check_indexes(db, found, rng)
    check_writes(db, found)
    return found


def check_indexes(db: Database, state: State, rng: random.Random) -> None:
    """Compares what indexes find with what scans find."""
    for name, table in state.items():
        for column in {*table.indexes.values(), table.columns[0]}:
            place = table.columns.index(column)
            values = sorted({row[place] for row in table.rows.values() if row[place] is not None})
            for value in rng.sample(values, min(4, len(values))):
                found = sorted(row[0] for row in db.query(f"SELECT id FROM {name} WHERE {column} = $1", (value,)))
                wanted = sorted(key for key, row in table.rows.items() if row[place] == value)
                if found != wanted:
                    raise MismatchError(f"{name}.{column} = {value!r} finds {found}, not {wanted}")


def check_writes(db: Database, state: State) -> None:
    """Writes to each table, makes others, and undoes it."""
    for name, table in state.items():
        key = 1 << 40
        db.execute(f"INSERT INTO {name} (id) VALUES ($1)", (key,))
        if name == "account" and table.rows:
            tag = next(iter(table.rows.values()))[3]
            try:
                db.execute("INSERT INTO account (id, tag) VALUES ($1, $2)", (key + 1, tag))
            except EngineError as error:
                if error.code != "unique_violation":
                    raise
            else:
                raise MismatchError(f"the tag {tag!r} is there twice")
        changed = db.execute(f"DELETE FROM {name} WHERE id >= $1", (key,))
        count = db.query(f"SELECT COUNT(*) FROM {name}")[0][0]
        if (changed, count) != (1, len(table.rows)):
            raise MismatchError(f"{name}: {changed} rows deleted, {count} left, not {len(table.rows)}")

    for name in sorted(EXTRA - state.keys()):
        db.execute(f"CREATE TABLE {name} (id INTEGER PRIMARY KEY)")
        if rows := db.query(f"SELECT * FROM {name}"):
            raise MismatchError(f"the new table {name} has {len(rows)} rows of one that was dropped")
        db.execute(f"DROP TABLE {name}")


def difference(wanted: State, found: State) -> str:
    """Where two states differ, in one line."""
    parts = []
    if wanted.keys() != found.keys():
        parts.append(f"tables {sorted(found)}, not {sorted(wanted)}")
    for name in wanted.keys() & found.keys():
        one, other = wanted[name], found[name]
        if (one.columns, one.indexes) != (other.columns, other.indexes):
            parts.append(f"{name} is {other.columns} {other.indexes}, not {one.columns} {one.indexes}")
        lost = sorted(one.rows.keys() - other.rows.keys())
        more = sorted(other.rows.keys() - one.rows.keys())
        changed = sorted(key for key in one.rows.keys() & other.rows.keys() if one.rows[key] != other.rows[key])
        if lost or more or changed:
            parts.append(f"{name}: without {lost[:9]}, with {more[:9]}, changed {changed[:9]}")
    return "; ".join(parts) or "no difference"
