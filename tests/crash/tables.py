"""The tables that the killed process writes, as one value for each of its tasks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from aiostoolap import DB

TASKS = 4
SHARED = -1
"""The row of `total` that all tasks change."""

_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS item"
    " (id INTEGER PRIMARY KEY, owner INTEGER NOT NULL, n INTEGER, tag TEXT UNIQUE, note TEXT)",
    "CREATE INDEX IF NOT EXISTS by_n ON item (n)",
    "CREATE TABLE IF NOT EXISTS total (owner INTEGER PRIMARY KEY, writes INTEGER NOT NULL, amount INTEGER NOT NULL)",
)


class Item(NamedTuple):
    """A row of `item`, without its key and its owner."""

    n: int
    tag: str
    note: str


@dataclass(frozen=True)
class Extra:
    """A table that a task makes, changes and drops.

    Attributes:
        rows: by their keys.
        wide: it has the column `c`.
        indexed: it has an index on `n`.
    """

    rows: Mapping[int, tuple[int | None, ...]]
    wide: bool = False
    indexed: bool = False


@dataclass(frozen=True)
class Part:
    """All that is one task's: nobody else changes it.

    Attributes:
        items: its rows of `item`, by their keys.
        writes: how many of its transactions have been committed.
        amount: what they have added to `n` of its items.
        extra: the table of its own.
    """

    items: Mapping[int, Item] = field(default_factory=dict)
    writes: int = 0
    amount: int = 0
    extra: Extra | None = None


class BrokenError(AssertionError):
    """The database contradicts itself, or what was acknowledged."""


async def prepare(db: DB) -> None:
    """Makes the tables that are not there yet: the process may have been killed between any two of these."""
    for sql in _SCHEMA:
        await db.execute(sql)
    rows = [(owner,) for owner in (SHARED, *range(TASKS))]
    await db.execute_many("INSERT INTO total VALUES ($1, 0, 0) ON CONFLICT DO NOTHING", rows)


async def read(db: DB) -> list[Part]:
    """What there is, by task.

    Raises:
        BrokenError: an index has other rows than its table, or a transaction is there in part.
    """
    rows = await db.query("SELECT id, owner, n, tag, note FROM item")
    items: list[dict[int, Item]] = [{} for _ in range(TASKS)]
    for key, owner, n, tag, note in rows:
        items[owner][key] = Item(n, tag, note)
    if sum(map(len, items)) != len(rows):
        raise BrokenError("a key of item is there twice")
    await _check_indexes(db, {key: item for part in items for key, item in part.items()})
    totals = {owner: (writes, amount) for owner, writes, amount in await db.query("SELECT * FROM total")}
    writes = sum(totals[task][0] for task in range(TASKS))
    if totals[SHARED] != (writes, 0):
        raise BrokenError(f"all tasks have {writes} transactions, but their common count is {totals[SHARED]}")
    extras = await _extras(db)
    return [Part(items[task], *totals[task], extras.get(task)) for task in range(TASKS)]


async def _check_indexes(db: DB, items: Mapping[int, Item]) -> None:
    by_n: dict[int, list[int]] = {}
    for key, item in items.items():
        by_n.setdefault(item.n, []).append(key)
    probes = list(by_n)[:: max(1, len(by_n) // 20)]
    for n in probes:
        await _expect(db, f"SELECT id FROM item WHERE n = {n}", by_n[n])
    await _expect(db, "SELECT id FROM item WHERE n >= -1000000", list(items))
    await _expect(db, "SELECT id FROM item WHERE n < 0", [key for key, item in items.items() if item.n < 0])
    for key, item in list(items.items())[:: max(1, len(items) // 20)]:
        await _expect(db, f"SELECT id FROM item WHERE tag = '{item.tag}'", [key])
        await _expect(db, f"SELECT id FROM item WHERE id = {key}", [key])
    count = await db.query_value("SELECT COUNT(*) FROM item")
    if count != len(items):
        raise BrokenError(f"COUNT(*) of item is {count}, not {len(items)}")


async def _expect(db: DB, sql: str, keys: list[int]) -> None:
    found = sorted(await db.query(sql, into=int))
    if found != sorted(keys):
        raise BrokenError(f"{sql} finds {found}, but the table has {sorted(keys)}")


async def _extras(db: DB) -> dict[int, Extra]:
    found = {}
    for name in await db.query("SHOW TABLES", into=str):
        if not name.startswith("extra_"):
            continue
        rows = await db.query(f"SELECT * FROM {name}")
        indexes = await db.query(f"SHOW INDEXES FROM {name}")
        extra = Extra({row[0]: tuple(row[1:]) for row in rows}, "c" in rows.columns, bool(indexes))
        for n in {values[0] for values in extra.rows.values()}:
            keys = [key for key, values in extra.rows.items() if values[0] == n]
            await _expect(db, f"SELECT id FROM {name} WHERE n = {n}", keys)
        found[int(name.removeprefix("extra_"))] = extra
    return found
