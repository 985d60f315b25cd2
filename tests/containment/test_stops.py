"""A few hundred random stops; `python -m tests.containment` makes thousands."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

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
