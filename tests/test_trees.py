"""A statement that is refused memory leaves no B-tree broken."""

from __future__ import annotations

import pytest

from aiostoolap import Engine, MemoryLimitError
from aiostoolap.core import protocol

OBJECT = "{" + ", ".join(f'"k{n}": {n}' for n in range(80)) + "}"


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE INDEX by_x ON t(x)",
        "CREATE INDEX by_x_id ON t(x, id)",
        f"SELECT JSON_EXTRACT('{OBJECT}', '$.k7')",
        f"SELECT JSON_TYPE('{OBJECT}', '$')",
        f"SELECT JSON_ARRAY_LENGTH('{{\"all\": [{OBJECT}]}}', '$.all')",
    ],
)
async def test_a_tree_that_cannot_grow_is_not_broken(sql: str) -> None:
    async with Engine() as engine, await engine.open_memory() as db:
        await db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, x FLOAT)")
        await db.execute_many("INSERT INTO t VALUES (?, ?)", ((n, n / 7) for n in range(200)))
        limit, refused = (await engine.stats()).live_bytes, 0
        while True:
            await db._caller.submit(protocol.set_memory_limit(limit))
            try:
                await db.execute(sql)
            except MemoryLimitError:
                refused += 1
                limit += 64
            else:
                break
        assert refused > 10
        assert (await engine.stats()).lost_instances == 0
