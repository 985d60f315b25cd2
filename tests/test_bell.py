"""How long the engine's thread was awake."""

import threading

import pytest

from aiostoolap.core.bell import Bell


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, in seconds, as the test sets it."""
    now = [100.0]
    monkeypatch.setattr("aiostoolap.core.bell.time.monotonic", lambda: now[0])
    return now


def test_a_sleep_is_over_when_the_bell_rings(clock: list[float]) -> None:
    """Not only when the thread has woken up: until then, all of its sleep would count as time awake."""
    bell = Bell(threading.RLock())
    clock[0] += 1
    bell.lie_down()
    clock[0] += 3600
    assert bell.awake_seconds == 1
    bell.ring()
    assert bell.awake_seconds == 1
    clock[0] += 1
    bell.sleep(None)
    assert bell.awake_seconds == 2


def test_a_sleep_is_over_when_its_time_is_up(clock: list[float]) -> None:
    bell = Bell(threading.RLock())
    bell.lie_down()
    clock[0] += 3600
    bell.sleep(0)
    clock[0] += 1
    assert bell.awake_seconds == 1
