"""Bank transfers by many tasks, cancelled at random, and many opens and closes; see tests/soak.py for the long run."""

from __future__ import annotations

from pathlib import Path

import pytest

from aiostoolap import Engine
from tests.soak import opens, transfers


@pytest.mark.parametrize("name", ["memory://", "file:///data/bank"])
async def test_no_money_is_made_or_lost(tmp_path: Path, name: str) -> None:
    async with Engine(tmp_path) as engine, await engine.open(name) as db:
        findings = await transfers(engine, db, tasks=500, operations=6_000, accounts=2_000, seed=1)
    assert findings.outcomes.total() == 6_000
    for outcome in ("transaction", "snapshot", "many", "stream", "look", "cancelled"):
        assert findings.outcomes[outcome] > 100, findings.outcomes
    assert findings.live_bytes[-1] - findings.live_bytes[0] < 1 << 20, findings.live_bytes


async def test_opens_and_closes_leave_nothing(tmp_path: Path) -> None:
    await opens(tmp_path, 300)
