"""The table that most works use: 100,000 rows of four columns."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from benchmarks.peer import Peer, plain
from benchmarks.race import Field

ROWS = 100_000
CREATE = "CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT, age INTEGER, score FLOAT)"
POINT = "SELECT * FROM t WHERE id = ?"
GROUP = "SELECT age, COUNT(*), AVG(score), MAX(id) FROM t GROUP BY age ORDER BY age"


class Item(msgspec.Struct):
    """A row of it."""

    id: int
    name: str
    age: int
    score: float


def rows(count: int = ROWS) -> list[tuple[int, str, int, float]]:
    """What is in it."""
    return [(n, f"name{n}", n % 80, n / 2) for n in range(count)]


async def fill(field: Field, count: int = ROWS) -> None:
    """Makes it for each peer, and has them answer alike."""
    content = rows(count)

    async def make(peer: Peer) -> None:
        await peer.execute(CREATE)
        await peer.load("t", content)

    async def all_rows(peer: Peer) -> Sequence[tuple[object, ...]]:
        return sorted(map(plain, await peer.rows("SELECT * FROM t")))

    async def groups(peer: Peer) -> Sequence[tuple[object, ...]]:
        return list(map(plain, await peer.rows(GROUP)))

    async def points(peer: Peer) -> Sequence[tuple[object, ...]]:
        return [plain(await peer.one(POINT, (n,))) for n in (0, 7, count - 1)]

    await field.each(make)
    for ask in (all_rows, groups, points):
        await field.agree(ask)
