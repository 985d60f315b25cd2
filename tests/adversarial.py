"""Parameters that try to be something else: what comes back equals what went in, and the schema stays as it was.

./dev python -m tests.adversarial --values 1000000 [--seed 1]
"""

from __future__ import annotations

import argparse
import asyncio
import math
import random
import string
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import aiostoolap
from aiostoolap import DB, Json, Vector

COLUMNS = {
    "i": "INTEGER",
    "f": "FLOAT",
    "s": "TEXT",
    "b": "BOOLEAN",
    "t": "TIMESTAMP",
    "j": "JSON",
    "v": "VECTOR(3)",
}
SCHEMA = (
    "CREATE TABLE t (id INTEGER PRIMARY KEY, " + ", ".join(f"{name} {kind}" for name, kind in COLUMNS.items()) + ")"
)
FIRST, LAST = datetime(1677, 9, 21, 0, 12, 44, tzinfo=UTC), datetime(2262, 4, 11, 23, 47, 16, tzinfo=UTC)
EDGES = [edge + step for edge in (0, 2**31, 2**32, 2**53, -(2**31), -(2**53)) for step in (-1, 0, 1)]
PIECES = [
    "'; DROP TABLE t; --", "''", "\\", "\\'", '"', "`", "\0", "$1", "?", ":name", "/*", "*/", "--", "#", ";", "%", "_",
    "NULL", "TRUE", "0x1", "1e309", "\n", "\r\n", "\t", "\x1b[0m", "\x7f", "\u0130", "\u202e", "\ufeff", "\ufffd",
    "\U0001f469\u200d\U0001f680", "e\u0301", "[1, 2]", '{"a": 1}', "2026-01-01", "x" * 70, "y" * 5_000,
]  # fmt: skip


def integer(source: random.Random) -> int:
    edges = [*EDGES, 2**63 - 1, -(2**63)]
    return (
        source.choice(edges)
        if source.random() < 0.3
        else source.getrandbits(source.randint(1, 63)) * source.choice((1, -1))
    )


def number(source: random.Random) -> float:
    edges = [0.0, -0.0, math.inf, -math.inf, math.nan, 5e-324, 1.7976931348623157e308, 2.0**53 + 1, 0.1, 1e15, 1e-4]
    return source.choice(edges) if source.random() < 0.3 else source.uniform(-1, 1) * 10.0 ** source.randint(-300, 300)


def text(source: random.Random) -> str:
    def piece() -> str:
        match source.randrange(3):
            case 0:
                return source.choice(PIECES)
            case 1:
                return "".join(source.choices(string.printable, k=source.randrange(12)))
            case _:
                point = source.randrange(0x110000)
                return chr(point) if not 0xD800 <= point < 0xE000 else "\ue000"

    return "".join(piece() for _ in range(source.randrange(5)))


def moment(source: random.Random) -> datetime:
    return FIRST + timedelta(microseconds=source.randrange(int((LAST - FIRST) / timedelta(microseconds=1))))


def json(source: random.Random, depth: int = 0) -> Any:
    match source.randrange(7 if depth < 4 else 5):
        case 0:
            return None
        case 1:
            return source.random() < 0.5
        case 2:
            return source.randrange(-(2**53), 2**53)
        case 3:
            return text(source)
        case 4:
            return source.uniform(-1e6, 1e6)
        case 5:
            return [json(source, depth + 1) for _ in range(source.randrange(4))]
        case _:
            return {text(source): json(source, depth + 1) for _ in range(source.randrange(4))}


def vector(source: random.Random) -> Vector:
    return Vector(source.uniform(-1e3, 1e3) for _ in range(3))


MAKERS: list[Callable[[random.Random], Any]] = [
    integer,
    number,
    text,
    lambda source: source.random() < 0.5,
    moment,
    lambda source: Json(json(source)),
    vector,
]


def plain(value: Any) -> Any:
    """What is to come back for a parameter."""
    return value.value if isinstance(value, Json) else value


def same(given: Any, found: Any) -> bool:
    if isinstance(given, float):
        return isinstance(found, float) and (given == found or (math.isnan(given) and math.isnan(found)))
    return type(given) is type(found) and bool(given == found)


async def check_rows(db: DB, source: random.Random, count: int, first: int) -> int:
    """Sends rows of values through a table, and some of them through a SELECT; returns how many values there were."""
    rows = [[make(source) if source.random() < 0.95 else None for make in MAKERS] for _ in range(count)]
    given = [[first + n, *row] for n, row in enumerate(rows)]
    marks = ", ".join("?" * (1 + len(COLUMNS)))
    assert await db.execute_many(f"INSERT INTO t VALUES ({marks})", given) == count
    found = await db.query("SELECT * FROM t WHERE id >= $1 ORDER BY id", (first,), into=tuple)
    assert len(found) == count
    for row, back in zip(given, found, strict=True):
        for value, value_back in zip(row, back, strict=True):
            assert same(plain(value), value_back), (value, value_back)
    values = 8 * count
    for row in rows[:20]:
        line = await db.query_one("SELECT ?, ?, ?, ?, ?, ?, ?", row)
        assert line is not None
        assert all(same(plain(value), back) for value, back in zip(row, line, strict=True)), (row, line)
        name = row[2]
        if name is not None:
            named = {"s": name, "low": first}
            ids = await db.query("SELECT id FROM t WHERE s = :s AND id >= :low", named, into=int)
            assert ids == [n for n, *_, s, _b, _t, _j, _v in given if s == name]
        values += 8
    await db.execute("DELETE FROM t WHERE id >= $1", (first,))
    return values


async def run(values: int, seed: int) -> int:
    """Checks at least so many values; returns how many they were."""
    source = random.Random(seed)
    done = 0
    async with aiostoolap.connect() as db:
        await db.execute(SCHEMA)
        schema = await db.query_one("SHOW CREATE TABLE t")
        while done < values:
            done += await check_rows(db, source, min(500, 1 + (values - done) // 8), done)
            assert await db.query_one("SHOW CREATE TABLE t") == schema
            assert await db.query("SHOW TABLES", into=str) == ["t"]
            assert await db.query_value("SELECT COUNT(*) FROM t") == 0
    return done


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--values", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    begun = time.perf_counter()
    done = asyncio.run(run(options.values, options.seed))
    print(f"{done} values, seed {options.seed}, in {time.perf_counter() - begun:.0f} s: all came back")


if __name__ == "__main__":
    main()
