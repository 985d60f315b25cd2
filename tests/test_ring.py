"""The ring under stress, in each of its modes; `tests/stress.py` runs longer ones."""

from __future__ import annotations

import asyncio
import platform
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest

import aiostoolap
from aiostoolap import DB, errors
from aiostoolap.core import pace, protocol, ring, watch
from aiostoolap.core.alarm import Alarm
from aiostoolap.core.exchange import Exchange
from aiostoolap.core.lanes import Lane
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


def test_the_time_asleep_goes_on_where_its_word_begins_again() -> None:
    memory = memoryview(bytearray(1 << 20))
    place = ring.Ring(memory, memory.cast("I"), 0, lambda: None)
    days = 40
    for slept in range(0, 1000 * days, days):
        place.words[ring._SLEPT] = slept * 86_400_000 % 2**32
        place.order(follow=True, patience=0, doze=0, time=None)
    assert place.slept == (1000 - 1) * days * 86_400


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


def test_a_thread_that_has_heard_of_all_is_not_woken() -> None:
    # It would go on with the same sleep, and what is placed later would be taken for heard of.
    memory, woken = memoryview(bytearray(16 << 20)), list[bool]()
    place = ring.Ring(memory, memory.cast("I"), 0, lambda: woken.append(True))
    place.words[ring._NAPS] = 1
    place.rouse()
    assert woken == []
    place.place(1, b"request")
    place.rouse()
    place.rouse()
    assert woken == [True]
    place.words[ring._HEAD], place.words[ring._NAPS] = 1, 3
    place.rouse()
    assert woken == [True]
    place.call_back()
    assert woken == [True, True]


@asynccontextmanager
async def drowsy(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[DB, list[int]]]:
    """A database whose engine soon sleeps inside of the module, and how many calls were queued when it was woken."""
    opened, queued, ring_alarm = list[DB](), list[int](), Alarm.ring

    def noted(alarm: Alarm) -> None:
        queued.extend(db._caller._exchange.queued for db in opened)
        ring_alarm(alarm)

    monkeypatch.setattr(pace, "processors", lambda: 2)
    monkeypatch.setattr(Alarm, "ring", noted)
    async with aiostoolap.connect(latency="power") as db, asyncio.timeout(60):
        opened.append(db)
        yield db, queued


async def fall_asleep(db: DB) -> None:
    """Waits until its engine sleeps inside of the module; soon after, it leaves that."""
    exchange = db._caller._exchange
    await db.query_value("SELECT 1")
    while exchange.bell.awake and exchange.ring is not None and not exchange.ring.is_asleep:
        await asyncio.sleep(0)


async def test_a_turn_of_the_loop_wakes_the_engine_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async with drowsy(monkeypatch) as (db, queued):
        while not queued:
            await fall_asleep(db)
            queued.clear()
            assert await asyncio.gather(*(db.query_value("SELECT $1", (n,)) for n in range(20))) == [*range(20)]
    assert queued[0] == 20


async def test_what_is_asked_for_ahead_does_not_wait_for_the_end_of_the_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    async with drowsy(monkeypatch) as (db, queued):
        is_woken_at_once = False
        while not is_woken_at_once:
            await fall_asleep(db)
            queued.clear()
            call = db._caller.begin(protocol.statistics())
            is_woken_at_once = bool(queued)
            assert call is not None
            await db._caller.finish(call)


@pytest.mark.parametrize("step", ["_place_apart", "is_asleep"])
async def test_an_interrupt_while_a_call_is_placed_costs_no_slot(step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the keyboard: where the body is copied, and where the engine may have to be woken."""
    async with aiostoolap.connect() as db:
        place = db._caller._exchange.ring
        assert place is not None
        large = len(place._free_large)
        with raising_once(monkeypatch, step, KeyboardInterrupt), pytest.raises(KeyboardInterrupt):
            await db.query_value("SELECT $1", ("x" * 5_000,))
        assert await db.query_value("SELECT $1", ("y" * 5_000,)) == "y" * 5_000
        async with asyncio.timeout(10):
            while len(place.free) < ring.SLOTS - 1:
                await asyncio.sleep(0.001)
        assert len(place._free_large) == large


async def test_a_call_whose_instance_is_lost_while_it_is_placed_waits_for_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with aiostoolap.connect() as db:
        with raising_once(monkeypatch, "is_asleep", ValueError):  # As memory does that was released.
            assert await db.query_value("SELECT 1") == 1


@contextmanager
def raising_once(monkeypatch: pytest.MonkeyPatch, step: str, error: type[BaseException]) -> Iterator[None]:
    """Has the ring fail at a step, on this thread."""
    found, raised = ring.Ring.__dict__[step], list[str]()

    def step_of(place: ring.Ring) -> Any:
        if threading.current_thread() is threading.main_thread() and not raised:
            raised.append(step)
            raise error
        return found.__get__(place)

    with monkeypatch.context() as patch:
        patch.setattr(ring.Ring, step, property(step_of))
        yield
    assert raised


def test_a_reply_that_cannot_be_read_leaves_nobody_waiting() -> None:
    """After a trap, the memory may hold nonsense."""
    memory = memoryview(bytearray(16 << 20))
    place, exchange, woken = ring.Ring(memory, memory.cast("I"), 0, lambda: None), Exchange(), list[int]()
    exchange.open(place)
    calls = [exchange.place(protocol.statistics(), Lane(), None) for _ in range(3)]
    for number, call in enumerate(calls):
        call.wake = lambda number=number: woken.append(number)
        assert call.slot is not None
        place.publish(call.slot, call.number)
    memory[0] = 0xFF
    assert calls[1].slot is not None
    place.words[calls[1].slot + ring.DONE + 5] = 1  # So long is what the engine is said to have printed, at address 0.
    exchange.end(errors.ClosedError("the engine is closed"))
    assert woken == [0, 1, 2]
    assert isinstance(calls[1].answer, errors.InternalError)
    assert calls[0].answer == calls[2].answer == b""
