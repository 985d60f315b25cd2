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
    monkeypatch.setattr(pace, "_spinners", pace._permits())
    return now


def calm(found: Pace, clock: list[float]) -> float:
    """Disturbs it, and returns for how many milliseconds it does not wait awake then."""
    begun = clock[0]
    found.disturbed()
    assert found.begin() == (0, 20_000)
    found.end(0)
    while not found.waits:
        clock[0] += 0.0001
    return round((clock[0] - begun) * 1000)


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize(("latency", "patience"), [("low", 2_000), ("balanced", 200), ("power", 0)])
def test_requests_are_waited_for_awake_and_then_asleep(latency: pace.Latency, patience: int) -> None:
    found = Pace(latency)
    assert found.waits == bool(patience)
    assert found.begin() == (patience, 20_000)
    found.end(0)


@pytest.mark.usefixtures("clock")
def test_one_processor_is_left_to_the_event_loops() -> None:
    threads = [Pace("balanced") for _ in range(4)]
    assert [thread.begin()[0] for thread in threads] == [200, 200, 200, 0]
    threads[0].end(1)
    threads[3].end(1)
    assert threads[3].begin()[0] == 200
    for thread in threads[1:]:
        thread.end(0)


def test_one_processor_is_never_kept_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "processors", lambda: 1)
    assert Pace("low").begin() == (0, 0)
    assert not Pace("low").waits


def test_a_disturbed_thread_sleeps_longer_each_time(clock: list[float]) -> None:
    found = Pace("balanced")
    assert [calm(found, clock) for _ in range(10)] == [2, 4, 8, 16, 32, 64, 128, 256, 256, 256]


def test_a_disturbance_after_many_requests_is_the_first_again(clock: list[float]) -> None:
    found = Pace("balanced")
    assert [calm(found, clock) for _ in range(3)] == [2, 4, 8]
    found.begin()
    found.end(65)
    assert [calm(found, clock) for _ in range(2)] == [1, 2]
