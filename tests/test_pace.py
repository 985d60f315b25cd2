"""How long the engine's thread waits awake."""

import pytest

from aiostoolap.core import pace, ring
from aiostoolap.core.pace import Pace

NAPS, PATIENCE = 16 + 5, 4  # Words of the ring.


def place() -> ring.Ring:
    """A ring that no engine serves."""
    memory = memoryview(bytearray(1 << 20))
    return ring.Ring(memory, memory.cast("I"), 0, lambda: None)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, in seconds, as the test sets it; on a machine of four processors."""
    now = [100.0]
    monkeypatch.setattr("aiostoolap.core.pace.time.monotonic", lambda: now[0])
    monkeypatch.setattr(pace, "processors", lambda: 4)
    monkeypatch.setattr(pace, "_spinners", pace.Spinners())
    return now


def calm(found: Pace, clock: list[float]) -> float:
    """Disturbs it, and returns for how many milliseconds it does not wait awake then."""
    begun, served = clock[0], place()
    found.disturbed()
    assert found.begin(served) == (0, 20_000)
    found.end(served, 0)
    while not found.waits:
        clock[0] += 0.0001
    return round((clock[0] - begun) * 1000)


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize(("latency", "patience"), [("low", 2_000), ("balanced", 200), ("power", 0)])
def test_requests_are_waited_for_awake_and_then_asleep(latency: pace.Latency, patience: int) -> None:
    found = Pace(latency)
    assert found.waits == bool(patience)
    served = place()
    assert found.begin(served) == (patience, 20_000)
    found.end(served, 0)


@pytest.mark.usefixtures("clock")
def test_one_processor_is_left_to_the_event_loops() -> None:
    threads, rings = [Pace("balanced") for _ in range(4)], [place() for _ in range(4)]
    assert [thread.begin(served)[0] for thread, served in zip(threads, rings, strict=True)] == [200, 200, 200, 0]
    threads[0].end(rings[0], 1)
    threads[3].end(rings[3], 1)
    assert threads[3].begin(rings[3])[0] == 200
    for thread, served in zip(threads[1:], rings[1:], strict=True):
        thread.end(served, 0)


@pytest.mark.usefixtures("clock")
def test_a_thread_that_sleeps_keeps_no_other_one_from_waiting_awake() -> None:
    threads, rings = [Pace("balanced") for _ in range(4)], [place() for _ in range(4)]
    for thread, served in zip(threads[:3], rings, strict=False):
        served.words[PATIENCE] = thread.begin(served)[0]
    rings[1].words[NAPS] = 3
    assert threads[3].begin(rings[3])[0] == 200
    assert [served.words[PATIENCE] for served in rings[:3]] == [200, 0, 200]
    threads[1].end(rings[1], 1)
    assert threads[1].begin(rings[1])[0] == 0, "all others are awake"
    for thread, served in zip(threads, rings, strict=True):
        thread.end(served, 0)


def test_one_processor_is_never_kept_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "processors", lambda: 1)
    assert Pace("low").begin(place()) == (0, 0)
    assert not Pace("low").waits


def test_a_disturbed_thread_sleeps_longer_each_time(clock: list[float]) -> None:
    found = Pace("balanced")
    assert [calm(found, clock) for _ in range(10)] == [2, 4, 8, 16, 32, 64, 128, 256, 256, 256]


def test_a_disturbance_after_many_requests_is_the_first_again(clock: list[float]) -> None:
    found = Pace("balanced")
    assert [calm(found, clock) for _ in range(3)] == [2, 4, 8]
    served = place()
    found.begin(served)
    found.end(served, 65)
    assert [calm(found, clock) for _ in range(2)] == [1, 2]
