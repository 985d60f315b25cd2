"""A plain model of some tables, and random writes with what each makes of it."""

from __future__ import annotations

import random
from array import array
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, field
from typing import Any

from aiostoolap import Vector

Rows = dict[int, tuple[Any, ...]]
"""A table: the other columns by the primary key."""

SCHEMA = (
    "CREATE TABLE item (id INTEGER PRIMARY KEY, g INTEGER, u INTEGER UNIQUE, name TEXT, x FLOAT)",
    "CREATE INDEX by_g ON item(g)",
    "CREATE INDEX by_name ON item(name)",
    "CREATE INDEX by_g_x ON item(g, x)",
    "CREATE TABLE child (id INTEGER PRIMARY KEY, item INTEGER REFERENCES item(id) ON DELETE CASCADE)",
    "CREATE TABLE loose (id INTEGER PRIMARY KEY, item INTEGER REFERENCES item(id) ON DELETE SET NULL)",
    "CREATE TABLE copy (id INTEGER PRIMARY KEY, g INTEGER, name TEXT)",
    "CREATE TABLE point (id INTEGER PRIMARY KEY, g INTEGER, place VECTOR(4))",
    "CREATE INDEX by_place ON point(place) USING HNSW",
)
GROUPS = 40
NAMES = 60
DEFAULT = 7


@dataclass
class Model:
    """What the database holds, as far as tests care."""

    item: Rows = field(default_factory=dict)
    """g, u (the id or its negative), name, x."""
    child: Rows = field(default_factory=dict)
    """The item, with which it goes."""
    loose: Rows = field(default_factory=dict)
    """The item, or None once that has gone."""
    copy: Rows = field(default_factory=dict)
    """g, name, and DEFAULT if there is an extra column."""
    point: Rows = field(default_factory=dict)
    """g, place."""
    extra: bool = False
    """`copy` has one more column."""
    indexed: bool = False
    """`copy` has an index on g."""

    def tables(self) -> dict[str, Rows]:
        return {name: getattr(self, name) for name in ("item", "child", "loose", "copy", "point")}

    def defined(self) -> tuple[bool, bool]:
        """What definitions change."""
        return self.extra, self.indexed

    def clone(self) -> Model:
        """Rows are never changed in place, so that copies of the dicts suffice."""
        clone = copy(self)
        for name, rows in self.tables().items():
            setattr(clone, name, dict(rows))
        return clone

    def copied(self, g: int, name: str) -> tuple[Any, ...]:
        """A row of `copy`."""
        return (g, name, DEFAULT) if self.extra else (g, name)

    def remove(self, gone: set[int]) -> None:
        """Deletes items, with all that refers to them."""
        self.item = {key: row for key, row in self.item.items() if key not in gone}
        self.child = {key: row for key, row in self.child.items() if row[0] not in gone}
        self.loose = {key: (None,) if row[0] in gone else row for key, row in self.loose.items()}


@dataclass
class Write:
    """A statement, and the model as it is once that has run."""

    sql: str
    after: Model
    parameters: tuple[Any, ...] = ()
    rows: list[tuple[Any, ...]] | None = None
    """For `execute_many`."""
    returns: bool = False
    definition: bool = False
    """It commits by itself, and may not run in a transaction."""


Maker = Callable[[random.Random, Model], Write]


def place(rng: random.Random) -> tuple[float, ...]:
    """Coordinates that 32-bit floats hold exactly."""
    return tuple(rng.randrange(-256, 256) / 32 for _ in range(4))


def vector(place: tuple[float, ...]) -> Vector:
    return Vector(array("f", place))


def next_id(rows: Rows) -> int:
    return max(rows, default=0) + 1


def span(rng: random.Random, rows: Rows, most: int) -> tuple[int, int]:
    """Two ids with at most so many rows between them."""
    ids = sorted(rows)
    if not ids:
        return 0, 0
    first = rng.randrange(len(ids))
    last = min(len(ids), first + rng.randint(1, most))
    return ids[first], ids[last - 1] + 1


def insert_rows(rng: random.Random, model: Model) -> Write:
    after = model.clone()
    start = next_id(model.item)
    count = rng.choice((3, 80, 250, 700))
    rows = [
        (key, rng.randrange(GROUPS), key, f"n{rng.randrange(NAMES)}", rng.randrange(100) / 4)
        for key in range(start, start + count)
    ]
    after.item.update((row[0], row[1:]) for row in rows)
    if count < 100:
        values = ", ".join(f"({key}, {g}, {u}, '{name}', {x})" for key, g, u, name, x in rows)
        return Write(f"INSERT INTO item VALUES {values}", after)
    return Write("INSERT INTO item VALUES (?, ?, ?, ?, ?)", after, rows=rows)


def insert_select(rng: random.Random, model: Model) -> Write:
    after = model.clone()
    low, high = span(rng, model.item, 600)
    by = next_id(model.item) - low
    for key, (g, _, name, x) in model.item.items():
        if low <= key < high:
            after.item[key + by] = (g, key + by, name, x)
    sql = f"INSERT INTO item SELECT id + {by}, g, id + {by}, name, x FROM item WHERE id >= {low} AND id < {high}"
    returns = rng.random() < 0.5
    return Write(sql + " RETURNING id, name" if returns else sql, after, returns=returns)


def update_groups(rng: random.Random, model: Model) -> Write:
    after = model.clone()
    by, rest = rng.randrange(1, GROUPS), rng.randrange(3)
    for key, (g, u, name, x) in model.item.items():
        if key % 3 != rest:
            after.item[key] = ((g + by) % GROUPS, u, name, x + 1)
    sql = f"UPDATE item SET g = (g + {by}) % {GROUPS}, x = x + 1 WHERE id % 3 <> {rest}"
    returns = rng.random() < 0.3
    return Write(sql + " RETURNING id, g" if returns else sql, after, returns=returns)


def update_unique(rng: random.Random, model: Model) -> Write:
    after = model.clone()
    top = rng.randrange(1, GROUPS + 1)
    for key, (g, u, _, x) in model.item.items():
        if g < top:
            after.item[key] = (g, -u, f"n{g}", x)
    return Write("UPDATE item SET u = -u, name = 'n' || g WHERE g < $1", after, (top,))


def update_each(rng: random.Random, model: Model) -> Write:
    """Row by row in one request: at most of its moments, some are done and some are not."""
    after = model.clone()
    keys = rng.sample(sorted(model.item), min(250, len(model.item)))
    for key in keys:
        g, u, _, x = model.item[key]
        after.item[key] = ((g + 1) % GROUPS, u, "each", x)
    rows = [(key,) for key in keys]
    return Write(f"UPDATE item SET g = (g + 1) % {GROUPS}, name = 'each' WHERE id = $1", after, rows=rows)


def delete_each(rng: random.Random, model: Model) -> Write:
    """Row by row, with all that refers to each."""
    after = model.clone()
    keys = rng.sample(sorted(model.item), min(100, len(model.item)))
    after.remove(set(keys))
    return Write("DELETE FROM item WHERE id = ?", after, rows=[(key,) for key in keys])


def delete_items(rng: random.Random, model: Model) -> Write:
    after = model.clone()
    if rng.random() < 0.5:
        low, high = span(rng, model.item, 500)
        after.remove({key for key in model.item if low <= key < high})
        return Write("DELETE FROM item WHERE id >= ? AND id < ?", after, (low, high))
    g = rng.randrange(GROUPS)
    after.remove({key for key, row in model.item.items() if row[0] == g})
    return Write("DELETE FROM item WHERE g = :g RETURNING id".replace(":g", str(g)), after, returns=True)


def insert_children(rng: random.Random, model: Model) -> Write:
    after = model.clone()
    table = rng.choice(("child", "loose"))
    rows = getattr(after, table)
    low, high = span(rng, model.item, 400)
    by = next_id(rows) - low
    rows.update({key + by: (key,) for key in model.item if low <= key < high})
    return Write(f"INSERT INTO {table} SELECT id + {by}, id FROM item WHERE id >= {low} AND id < {high}", after)


def delete_children(rng: random.Random, model: Model) -> Write:
    after = model.clone()
    g = rng.randrange(GROUPS // 2)
    gone = {key for key, row in model.item.items() if row[0] >= g}
    after.child = {key: row for key, row in model.child.items() if row[0] not in gone}
    return Write(f"DELETE FROM child WHERE item IN (SELECT id FROM item WHERE g >= {g})", after)


def move_children(rng: random.Random, model: Model) -> Write:
    after = model.clone()
    if not model.item:
        return delete_loose(rng, model)
    to = rng.choice(sorted(model.item))
    after.child = {key: (to,) if key % 2 else row for key, row in model.child.items()}
    return Write("UPDATE child SET item = $1 WHERE id % 2 = 1", after, (to,))


def delete_loose(rng: random.Random, model: Model) -> Write:
    after = model.clone()
    after.loose = {key: row for key, row in model.loose.items() if row[0] is not None and key % 5}
    return Write("DELETE FROM loose WHERE item IS NULL OR id % 5 = 0", after)


def upsert(rng: random.Random, model: Model) -> Write:
    after = model.clone()
    low, high = span(rng, model.item, 800)
    replace = rng.random() < 0.7
    for key, (g, _, name, _) in model.item.items():
        if low <= key < high:
            old = model.copy.get(key)
            if old is None:
                after.copy[key] = model.copied(g, name)
            elif replace:
                after.copy[key] = (old[0] + g, *old[1:])
    action = "UPDATE SET g = copy.g + EXCLUDED.g" if replace else "NOTHING"
    source = f"SELECT id, g, name FROM item WHERE id >= {low} AND id < {high}"
    return Write(f"INSERT INTO copy (id, g, name) {source} ON CONFLICT (id) DO {action}", after)


def upsert_rows(rng: random.Random, model: Model) -> Write:
    after = model.clone()
    start = rng.randrange(next_id(model.copy))
    rows = []
    for key in range(start, start + 250):
        old = after.copy.get(key)
        after.copy[key] = (old[0], f"n{key}", *old[2:]) if old else model.copied(key % GROUPS, "new")
        rows.append((key, key % GROUPS, "new", f"n{key}"))
    sql = "INSERT INTO copy (id, g, name) VALUES ($1, $2, $3) ON CONFLICT (id) DO UPDATE SET name = $4"
    return Write(sql, after, rows=rows)


def delete_copies(rng: random.Random, model: Model) -> Write:
    after = model.clone()
    rest = rng.randrange(2)
    after.copy = {key: row for key, row in model.copy.items() if key % 2 != rest}
    return Write(f"DELETE FROM copy WHERE id % 2 = {rest}", after)


def insert_points(rng: random.Random, model: Model) -> Write:
    after = model.clone()
    start = next_id(model.point)
    rows = [(key, key % 5, place(rng)) for key in range(start, start + rng.randint(1, 150))]
    after.point.update((key, (g, where)) for key, g, where in rows)
    given = [(key, g, vector(where)) for key, g, where in rows]
    return Write("INSERT INTO point VALUES (?, ?, ?)", after, rows=given)


def copy_points(rng: random.Random, model: Model) -> Write:
    after = model.clone()
    low, high = span(rng, model.point, 120)
    by = next_id(model.point) - low
    after.point.update({key + by: row for key, row in model.point.items() if low <= key < high})
    return Write(f"INSERT INTO point SELECT id + {by}, g, place FROM point WHERE id >= {low} AND id < {high}", after)


def move_points(rng: random.Random, model: Model) -> Write:
    after = model.clone()
    g, to = rng.randrange(5), place(rng)
    after.point = {key: (g, to) if row[0] == g else row for key, row in model.point.items()}
    return Write("UPDATE point SET place = $1 WHERE g = $2", after, (vector(to), g))


def delete_points(rng: random.Random, model: Model) -> Write:
    after = model.clone()
    rest = rng.randrange(4)
    after.point = {key: row for key, row in model.point.items() if key % 4 != rest}
    return Write(f"DELETE FROM point WHERE id % 4 = {rest}", after)


def change_index(_: random.Random, model: Model) -> Write:
    after = model.clone()
    after.indexed = not model.indexed
    sql = "DROP INDEX copy_by_g ON copy" if model.indexed else "CREATE INDEX copy_by_g ON copy(g)"
    return Write(sql, after, definition=True)


def change_columns(_: random.Random, model: Model) -> Write:
    after = model.clone()
    after.extra = not model.extra
    after.copy = {key: after.copied(*row[:2]) for key, row in model.copy.items()}
    change = "DROP COLUMN extra" if model.extra else f"ADD COLUMN extra INTEGER DEFAULT {DEFAULT}"
    return Write(f"ALTER TABLE copy {change}", after, definition=True)


def truncate(_: random.Random, model: Model) -> Write:
    after = model.clone()
    after.copy = {}
    return Write("TRUNCATE TABLE copy", after, definition=True)


GROWING: tuple[Maker, ...] = (insert_rows, insert_select, insert_children, insert_points, copy_points)
SHRINKING: tuple[Maker, ...] = (delete_items, delete_each, delete_children, delete_loose, delete_copies, delete_points)
CHANGING: tuple[Maker, ...] = (
    update_groups,
    update_unique,
    update_each,
    move_children,
    upsert,
    upsert_rows,
    move_points,
)
DEFINITIONS: tuple[Maker, ...] = (change_index, change_columns, truncate)

_SIZES = {"item": (500, 1_500), "child": (200, 1_000), "loose": (200, 700), "copy": (0, 1_500), "point": (50, 400)}


def random_write(rng: random.Random, model: Model, *, definitions: bool = True) -> tuple[str, Write]:
    """One that changes something, chosen so that the tables stay at their sizes; with its name."""
    while True:
        makers = [*GROWING, *SHRINKING, *CHANGING, *(DEFINITIONS if definitions else ())]
        maker = rng.choice(makers)
        write = maker(rng, model)
        if write.after != model and _fits(model, write.after):
            return maker.__name__, write


def _fits(before: Model, after: Model) -> bool:
    """Whether no table leaves its sizes, or goes further away from them."""
    for name, (low, high) in _SIZES.items():
        was, is_now = len(before.tables()[name]), len(after.tables()[name])
        if (is_now > high and is_now > was) or (is_now < low and is_now < was):
            return False
    return True


def first_rows(rng: random.Random) -> Model:
    """What a database is filled with at first."""
    model = Model()
    for key in range(1, 801):
        model.item[key] = (rng.randrange(GROUPS), key, f"n{rng.randrange(NAMES)}", rng.randrange(100) / 4)
        model.child[key] = (rng.randint(1, 800),)
    for key in range(1, 301):
        model.loose[key] = (rng.randint(1, 800),)
        model.copy[key] = (rng.randrange(GROUPS), "first")
    for key in range(1, 151):
        model.point[key] = (key % 5, place(rng))
    return model
