"""Directories that the native engine has written, and that it can read after us: the files are the same."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import pytest

import aiostoolap

stoolap = pytest.importorskip("stoolap", reason="the native engine is not installed: ./dev oracle")

SCHEMA = (
    "CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT NOT NULL, price FLOAT, at TIMESTAMP, ok BOOLEAN, tags JSON)",
    "CREATE INDEX by_name ON t (name)",
    "CREATE UNIQUE INDEX by_both ON t (name, price)",
    "CREATE TABLE c (id INTEGER PRIMARY KEY, t INTEGER REFERENCES t(id) ON DELETE CASCADE)",
    "CREATE VIEW v AS SELECT id, name FROM t WHERE ok",
)
QUERIES = (
    "SELECT COUNT(*), MIN(id), MAX(id) FROM t",
    "SELECT id FROM t WHERE id = 101",
    "SELECT id FROM t WHERE id + 0 = 101",
    "SELECT id FROM t WHERE name = 'n150'",
    "SELECT id FROM t WHERE name = 'n250' AND price = 250.5",
    "SELECT id FROM t WHERE price = 42.5",
    "SELECT id FROM t WHERE at = '2026-01-01 00:00:07' ORDER BY id",
    "SELECT COUNT(*) FROM t WHERE ok",
    "SELECT COUNT(*) FROM v WHERE name LIKE 'n1%'",
    "SELECT t.name FROM c JOIN t ON c.t = t.id WHERE c.id BETWEEN 180 AND 220 ORDER BY c.id",
    "SELECT name FROM t WHERE id IN (5, 205, 305, 4294967301) ORDER BY id",
)


def rows(first: int, last: int) -> list[str]:
    keys = [n if n % 50 else n + 2**32 for n in range(first, last)]
    return [
        *(
            f"INSERT INTO t VALUES ({key}, 'n{n}', {n}.5, '2026-01-01 00:00:{n % 60:02}', {str(n % 3 == 0).upper()},"
            f" '[{n}]')"
            for n, key in enumerate(keys, first)
        ),
        *(f"INSERT INTO c VALUES ({n}, {key})" for n, key in enumerate(keys, first)),
    ]


def native(folder: Path, statements: list[str], *, checkpoint: bool) -> list[Any]:
    db = stoolap.Database.open(f"file://{folder}")
    for sql in statements:
        db.execute(sql)
    if checkpoint:
        db.execute("PRAGMA CHECKPOINT")
    found = [[tuple(row) for row in db.query_raw(sql)["rows"]] for sql in QUERIES]
    db.close()
    del db
    gc.collect()  # It keeps its lock until it is collected.
    return found


async def ours(folder: Path, statements: list[str], *, checkpoint: bool) -> list[Any]:
    async with aiostoolap.connect(folder, checkpoint_every=None, options={"checkpoint_on_close": checkpoint}) as db:
        for sql in statements:
            await db.execute(sql)
        if checkpoint:
            await db.checkpoint()
        return [[tuple(row) for row in await db.query(sql)] for sql in QUERIES]


@pytest.mark.parametrize("checkpoint", [False, True], ids=["hot", "sealed"])
@pytest.mark.parametrize("first", ["native", "ours"])
async def test_either_engine_goes_on_where_the_other_has_stopped(folder: Path, first: str, checkpoint: bool) -> None:
    """Each in turn finds what there is, changes some of it, and adds to it."""
    steps = [
        [*SCHEMA, *rows(0, 200)],
        [*rows(200, 300), "DELETE FROM t WHERE name = 'n120'", "UPDATE t SET price = 42.5 WHERE name = 'n77'"],
        [*rows(300, 350), "DELETE FROM t WHERE id = 205", "UPDATE t SET ok = TRUE WHERE name = 'n301'"],
        [],
    ]
    turns = ["native", "ours"] if first == "native" else ["ours", "native"]
    found: Any = None
    for number, statements in enumerate(steps):
        if turns[number % 2] == "native":
            before, after = (
                native(folder, [], checkpoint=False) if number else None,
                native(folder, statements, checkpoint=checkpoint),
            )
        else:
            before = await ours(folder, [], checkpoint=False) if number else None
            after = await ours(folder, statements, checkpoint=checkpoint)
        assert before == found
        found = after
    assert found[0][0][0] == 348
    assert all(found[:4])
