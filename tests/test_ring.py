"""The ring under stress, in each of its modes; `tests/stress.py` runs longer ones."""

from __future__ import annotations

import platform
import sys

import pytest

from aiostoolap.core import ring
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
