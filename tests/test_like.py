"""LIKE, beside sqlite3, with conditions before it and without, by an index and by a scan."""

from __future__ import annotations

import random
import sqlite3

import pytest

from aiostoolap import DB

TEXTS = [
    *("", "a", "b", "ab", "abc", " b ", "a_c", "a%c", "bb", "abab", "cab", "abcabc", "a.c", "A", "AB", "a^b$"),
    *("b\n", "a\nb", "\n", "ä", "äb", "aäb", "ääbc", "a😀", "a😀b", "a\U0010fffd"),
]
FORMS = [
    "b LIKE '{}'",
    "b NOT LIKE '{}'",
    "NOT (b LIKE '{}')",
    "b || '' LIKE '{}'",
    "id >= 0 AND b LIKE '{}'",
    "id >= 0 AND NOT (b LIKE '{}')",
    "UPPER(b) LIKE '{}'",
]


def patterns() -> list[str]:
    rng = random.Random(1)
    made = {"".join(rng.choice("ab%_cä") for _ in range(rng.randrange(6))) for _ in range(150)}
    return sorted(made | {"a.c", "%.%", "a%", "%_", "_%_", "ää_%c%", "%\n%", "a😀%", "AB%"})


async def wrong(db: DB) -> list[tuple[str, list[int], list[int]]]:
    judge = sqlite3.connect(":memory:")
    judge.execute("PRAGMA case_sensitive_like = ON")
    judge.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, b TEXT)")
    judge.executemany("INSERT INTO t VALUES (?, ?)", enumerate(TEXTS))
    found = []
    for pattern in patterns():
        for form in FORMS:
            if "UPPER" in form and not pattern.isascii():
                continue  # sqlite3 knows capitals of ASCII alone.
            sql = f"SELECT id FROM t WHERE {form.format(pattern)}"
            ours, theirs = sorted(await db.query(sql, into=int)), sorted(row[0] for row in judge.execute(sql))
            if ours != theirs:
                found.append((sql, ours, theirs))
    return found


@pytest.mark.parametrize("indexed", [False, True])
async def test_like(db: DB, indexed: bool) -> None:
    await db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, b TEXT)")
    if indexed:
        await db.execute("CREATE INDEX by_b ON t (b) USING BTREE")
    await db.execute_many("INSERT INTO t VALUES ($1, $2)", enumerate(TEXTS))
    assert await wrong(db) == []


async def test_like_on_sealed_rows(stored: DB) -> None:
    await stored.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, b TEXT)")
    await stored.execute_many("INSERT INTO t VALUES ($1, $2)", enumerate(TEXTS))
    await stored.checkpoint()
    assert await wrong(stored) == []


@pytest.mark.parametrize("like", ["LIKE 'x!%' ESCAPE '!'", "NOT LIKE '%!%' ESCAPE '!'"])
async def test_escape_ends_before_and_and_or(db: DB, like: str) -> None:
    await db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, b TEXT)")
    await db.execute("INSERT INTO t VALUES (1, 'x%'), (2, 'x'), (3, 'a')")
    for more in ("OR id = 2", "AND id < 3", "OR id = 2 AND b = 'x'"):
        expected = await db.query(f"SELECT id FROM t WHERE (b {like}) {more}")
        assert await db.query(f"SELECT id FROM t WHERE b {like} {more}") == expected
        assert expected
