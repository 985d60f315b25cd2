"""How long the engine's thread waits awake."""

import pytest

from aiostoolap.core import pace
from aiostoolap.core.pace import Pace


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, in seconds, as the test sets it; on a machine of four processors."""
    now = [100.0]
    monkeypatch.setattr("aiostoolap.core.pace.time.monotonic", lambda: now[0])
    monkeypatch.setattr(pace, "processors", lambda: 4)
    return now


def busy(latency: pace.Latency = "balanced") -> Pace:
    """One to which requests come fast."""
    found = Pace(latency)
    found.begin()
    found.end(2)
    return found


def calm(found: Pace, clock: list[float]) -> float:
    """Disturbs it, and returns for how many milliseconds it does not wait awake then."""
    begun = clock[0]
    found.disturbed()
    assert found.begin() == (0, 0)
    found.end(0)
    while not found.waits:
        clock[0] += 0.0001
    return round((clock[0] - begun) * 1000)


@pytest.mark.usefixtures("clock")
def test_requests_that_come_fast_are_waited_for_awake() -> None:
    assert Pace("balanced").begin() == (0, 0)
    found = busy()
    assert found.begin() == (200, 2_000)
    found.end(0)
    found = busy("low")
    assert found.begin() == (2_000, 20_000)
    found.end(0)


@pytest.mark.usefixtures("clock")
def test_power_never_waits_awake() -> None:
    assert busy("power").begin() == (0, 0)
    assert not busy("power").waits


def test_one_processor_is_never_kept_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "processors", lambda: 1)
    assert busy("low").begin() == (0, 0)


def test_a_disturbed_thread_sleeps_longer_each_time(clock: list[float]) -> None:
    found = busy()
    assert [calm(found, clock) for _ in range(10)] == [2, 4, 8, 16, 32, 64, 128, 256, 256, 256]


def test_a_disturbance_after_many_requests_is_the_first_again(clock: list[float]) -> None:
    found = busy()
    assert [calm(found, clock) for _ in range(3)] == [2, 4, 8]
    found.begin()
    found.end(65)
    assert [calm(found, clock) for _ in range(2)] == [1, 2]


@pytest.mark.usefixtures("clock")
def test_pauses_that_are_too_long_end_the_waiting() -> None:
    found = busy()
    for _ in range(4):
        assert found.waits
        found.slept(1.0)
    assert not found.waits
    found.slept(0.001)
    assert found.waits
