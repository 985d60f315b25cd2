"""The ring under stress, in each of its modes; `tests/stress.py` runs longer ones."""

from __future__ import annotations

import asyncio
import platform
import sys
import time

import pytest

import aiostoolap
from aiostoolap.core import ring, watch
from aiostoolap.core.pace import Latency
from tests.stress import stress


@pytest.mark.parametrize("latency", ["low", "balanced", "power"])
async def test_nothing_is_lost_doubled_or_swapped(latency: Latency) -> None:
    await stress(6_000, seed=7, latency=latency)


async def test_without_proven_memory_ordering(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ring, "is_ordered", lambda: False)
    await stress(4_000, seed=8)


@pytest.mark.parametrize(
    ("machine", "gil", "ordered"),
    [("x86_64", True, True), ("AMD64", True, True), ("aarch64", True, False), ("x86_64", False, False)],
)
def test_where_memory_ordering_is_proven(
    machine: str, gil: bool, ordered: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(sys, "_is_gil_enabled", lambda: gil, raising=False)
    assert ring.is_ordered() == ordered


async def test_a_loop_that_sleeps_is_told_of_calls_that_had_to_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    # It asks to be told of a call that has no slot yet, and puts it into one later; the engine is quick then.
    place = ring.Ring.place

    def slowly(self: ring.Ring, number: int, body: bytes, **hints: bool) -> int:
        slot = place(self, number, body, **hints)
        time.sleep(0.0002)
        return slot

    monkeypatch.setattr(ring.Ring, "place", slowly)
    monkeypatch.setattr(watch, "_SHORT", 0.0)
    async with aiostoolap.connect() as db:
        await db.execute("CREATE TABLE t (n INTEGER)")
        await db.execute_many("INSERT INTO t VALUES ($1)", [(n,) for n in range(1000)])
        slow = db.query_value("SELECT COUNT(*) FROM t a, t b WHERE a.n < b.n")
        quick = [db.query_value("SELECT $1", (number,)) for number in range(500)]
        assert await asyncio.gather(slow, *quick) == [499_500, *range(500)]
