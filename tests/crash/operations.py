"""What the killed process does: operations, each of which is there as a whole after a kill, or not at all."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace

import anyio

from aiostoolap import DB, OperationalError, Tx
from tests.crash.tables import SHARED, Extra, Item, Part

_KEYS = 40
"""So many items a task has at most."""


@dataclass(frozen=True)
class Operation:
    """Something that a task does, and what it has afterwards.

    Attributes:
        name: what kind it is.
        run: does it.
        after: the task's part of the database then.
    """

    name: str
    run: Callable[[DB], Awaitable[object]]
    after: Part


def random_operation(rng: random.Random, task: int, part: Part) -> Operation:
    """What a task may do next.

    Args:
        rng: what it chooses by.
        task: its number.
        part: what it has now.
    """
    if rng.random() < 0.15:
        return _definition(rng, task, part)
    makers = [_insert, _insert_many, _upsert]
    if part.items:
        makers += [_update, _delete, _transaction, _transaction, _transaction, _rolled_back]
    return rng.choice(makers)(rng, task, part)


def _statement(name: str, sql: str, after: Part, parameters: tuple[object, ...] = ()) -> Operation:
    return Operation(name, lambda db: db.execute(sql, parameters), after)


def _new_items(rng: random.Random, task: int, part: Part, most: int) -> dict[int, Item]:
    """Some items that the task does not have; none if it has all."""
    free = [key for key in range(task * _KEYS, (task + 1) * _KEYS) if key not in part.items]
    return {key: _item(rng, key) for key in rng.sample(free, min(len(free), rng.randint(1, most)))}


def _item(rng: random.Random, key: int) -> Item:
    length = rng.choice((0, 10, 100, 2_000))
    return Item(rng.randint(-50, 50), f"{key}/{rng.randrange(10**9)}", rng.choice("abc") * length)


def _insert(rng: random.Random, task: int, part: Part) -> Operation:
    new = _new_items(rng, task, part, 1)
    if not new:
        return _delete(rng, task, part)
    [(key, item)] = new.items()
    after = replace(part, items={**part.items, **new})
    return _statement("insert", "INSERT INTO item VALUES ($1, $2, $3, $4, $5)", after, (key, task, *item))


def _insert_many(rng: random.Random, task: int, part: Part) -> Operation:
    new = _new_items(rng, task, part, _KEYS)
    if not new:
        return _delete(rng, task, part)
    rows = [(key, task, *item) for key, item in new.items()]
    after = replace(part, items={**part.items, **new})
    return Operation(
        "insert many", lambda db: db.execute_many("INSERT INTO item VALUES ($1, $2, $3, $4, $5)", rows), after
    )


def _upsert(rng: random.Random, task: int, part: Part) -> Operation:
    key = task * _KEYS + rng.randrange(_KEYS)
    item = _item(rng, key)
    old = part.items.get(key)
    after = replace(part, items={**part.items, key: item if old is None else old._replace(n=item.n, note=item.note)})
    action = "ON CONFLICT (id) DO UPDATE SET n = EXCLUDED.n, note = EXCLUDED.note"
    sql = f"INSERT INTO item VALUES ($1, $2, $3, $4, $5) {action}"
    return _statement("upsert", sql, after, (key, task, *item))


def _range(rng: random.Random, part: Part) -> tuple[int, int]:
    keys = sorted(part.items)
    first = rng.randrange(len(keys))
    return keys[first], keys[min(len(keys) - 1, first + rng.randrange(6))]


def _update(rng: random.Random, task: int, part: Part) -> Operation:
    low, high = _range(rng, part)
    changed = {key: item._replace(n=item.n + 3) for key, item in part.items.items() if low <= key <= high}
    sql = f"UPDATE item SET n = n + 3 WHERE id BETWEEN {low} AND {high}"
    return _statement("update", sql, replace(part, items={**part.items, **changed}))


def _delete(rng: random.Random, task: int, part: Part) -> Operation:
    low, high = _range(rng, part)
    left = {key: item for key, item in part.items.items() if not low <= key <= high}
    return _statement("delete", f"DELETE FROM item WHERE id BETWEEN {low} AND {high}", replace(part, items=left))


def _transaction(rng: random.Random, task: int, part: Part) -> Operation:
    """Changes several rows of two tables, one of them a row that other tasks want to change, too."""
    added = {key: rng.randint(-9, 9) for key in rng.sample(sorted(part.items), min(len(part.items), 3))}
    new = _new_items(rng, task, part, 2)
    gone = set(rng.sample(sorted(added), rng.randrange(len(added))))
    changed = {key: part.items[key]._replace(n=part.items[key].n + more) for key, more in added.items()}
    items = {**part.items, **changed, **new}
    after = replace(
        part,
        items={key: item for key, item in items.items() if key not in gone},
        writes=part.writes + 1,
        amount=part.amount + sum(added.values()),
    )

    async def body(tx: Tx) -> None:
        await _write(tx, task, added, new, gone)

    return Operation(
        "transaction", lambda db: db.run_transaction(body, isolation="read committed", attempts=1_000), after
    )


def _rolled_back(rng: random.Random, task: int, part: Part) -> Operation:
    added = dict.fromkeys(part.items, 1_000_000)

    async def run(db: DB) -> None:
        tx = await db.begin()
        await tx.execute("UPDATE total SET writes = writes + 1 WHERE owner = $1", (task,))
        for key, more in added.items():
            await tx.execute("UPDATE item SET n = n + $2 WHERE id = $1", (key, more))
        await tx.rollback()

    return Operation("rollback", run, part)


async def _write(tx: Tx, task: int, added: Mapping[int, int], new: Mapping[int, Item], gone: set[int]) -> None:
    for key, more in added.items():
        await tx.execute("UPDATE item SET n = n + $2 WHERE id = $1", (key, more))
    for key, item in new.items():
        await tx.execute("INSERT INTO item VALUES ($1, $2, $3, $4, $5)", (key, task, *item))
    await tx.execute(
        "UPDATE total SET writes = writes + 1, amount = amount + $2 WHERE owner = $1", (task, sum(added.values()))
    )
    for key in gone:
        await tx.execute("DELETE FROM item WHERE id = $1", (key,))
    await tx.execute("UPDATE total SET writes = writes + 1 WHERE owner = $1", (SHARED,))


async def _define(db: DB, sql: str) -> None:
    while True:
        try:
            await db.execute(sql)
        except OperationalError as error:
            if error.code != "table_in_use":
                raise
            await anyio.sleep(0.001)  # Until no transaction has written something.
        else:
            return


def _definition(rng: random.Random, task: int, part: Part) -> Operation:
    name, extra = f"extra_{task}", part.extra
    if extra is None:
        if part.items and rng.random() < 0.5:  # Columns made of no rows would be TEXT.
            rows = {key: (item.n,) for key, item in part.items.items()}
            sql = f"CREATE TABLE {name} AS SELECT id, n FROM item WHERE owner = {task}"
            return Operation("create as", lambda db: _define(db, sql), replace(part, extra=Extra(rows)))
        sql = f"CREATE TABLE {name} (id INTEGER PRIMARY KEY, n INTEGER)"
        return Operation("create", lambda db: _define(db, sql), replace(part, extra=Extra({})))
    choices = [
        ("drop", f"DROP TABLE {name}", None),
        ("truncate", f"TRUNCATE TABLE {name}", replace(extra, rows={})),
        _column(name, extra),
        ("drop index", f"DROP INDEX {name}_n ON {name}", replace(extra, indexed=False))
        if extra.indexed
        else ("create index", f"CREATE INDEX {name}_n ON {name} (n)", replace(extra, indexed=True)),
        *[_fill(rng, name, extra)] * 3,
    ]
    kind, sql, after = rng.choice(choices)
    return Operation(kind, lambda db: _define(db, sql), replace(part, extra=after))


def _column(name: str, extra: Extra) -> tuple[str, str, Extra]:
    if extra.wide:
        rows = {key: values[:1] for key, values in extra.rows.items()}
        return "drop column", f"ALTER TABLE {name} DROP COLUMN c", replace(extra, rows=rows, wide=False)
    rows = {key: (*values, 7) for key, values in extra.rows.items()}
    return "add column", f"ALTER TABLE {name} ADD COLUMN c INTEGER DEFAULT 7", replace(extra, rows=rows, wide=True)


def _fill(rng: random.Random, name: str, extra: Extra) -> tuple[str, str, Extra]:
    first = max(extra.rows, default=0) + 1
    new = {first + place: (rng.randint(-50, 50), 8)[: 1 + extra.wide] for place in range(rng.randint(1, 5))}
    values = ", ".join(f"({', '.join(map(str, (key, *row)))})" for key, row in new.items())
    return "fill", f"INSERT INTO {name} VALUES {values}", replace(extra, rows={**extra.rows, **new})
