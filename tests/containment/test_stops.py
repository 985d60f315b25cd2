"""A few hundred random stops; `python -m tests.containment` makes thousands."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import anyio
import pytest

import aiostoolap
from tests.containment import stops


@pytest.mark.timeout(900)
async def test_a_write_that_is_stopped_leaves_nothing_behind(tmp_path: Path) -> None:
    tally = await stops.run(100, random.randrange(1_000_000), tmp_path)
    assert tally.hits >= 100
    assert tally["neighbours found"] > 0.9 * tally["neighbours"]


@pytest.mark.timeout(900)
async def test_what_a_stop_leaves_behind_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test above could fail: here, each cancellation leaves one row changed."""
    cancelled = stops.Round._cancelled

    async def leaves_a_row(this: stops.Round, call: Coroutine[Any, Any, Any], delay: float, queued: bool) -> None:
        try:
            await cancelled(this, call, delay, queued)
        except asyncio.CancelledError:
            await this._db.execute("UPDATE item SET x = x + 1 WHERE id = (SELECT MAX(id) FROM item)")
            raise

    monkeypatch.setattr(stops.Round, "_cancelled", leaves_a_row)
    with pytest.raises(stops.MismatchError, match=r"\d+ rows, .* for "):
        await stops.run(200, 1, tmp_path)


async def test_analyze_is_stopped_whole() -> None:
    """ANALYZE, too, is stopped before it changes anything, or comes to its end."""
    async with aiostoolap.connect() as db:
        await db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, g INTEGER, name TEXT)")
        await db.execute("CREATE INDEX by_g ON t (g)")
        await db.execute_many("INSERT INTO t VALUES ($1, $2, $3)", ((n, n % 7, f"name {n}") for n in range(3_000)))
        begun = asyncio.get_running_loop().time()
        await db.analyze("t")
        whole = asyncio.get_running_loop().time() - begun
        rng = random.Random(1)
        stopped = 0
        for n in range(40):
            analyze = db.analyze("t") if n % 2 else db.execute("ANALYZE t")
            with anyio.move_on_after(rng.random() * whole) as scope:
                await analyze
            stopped += scope.cancelled_caught
            assert await db.query_value("SELECT COUNT(*) FROM t WHERE g = 3") == 429
            assert await db.query_value("SELECT COUNT(*) FROM _sys_table_stats WHERE table_name = 't'") == 1
            assert await db.execute("UPDATE t SET name = 'x' WHERE id = $1", (n,)) == 1
        assert stopped > 0
        await db.analyze("t")
        assert await db.query_value("SELECT row_count FROM _sys_table_stats WHERE table_name = 't'") == 3_000
