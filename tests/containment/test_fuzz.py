"""Some thousand inputs, the same each time; `python -m tests.containment.fuzz` makes a million."""

from __future__ import annotations

from tests.containment.fuzz import Fuzz


async def test_every_input_is_answered_or_is_an_error() -> None:
    fuzz = Fuzz(seed=1)
    await fuzz.run(20_000)
    assert fuzz.findings.unknown() == {}
    assert fuzz.findings.outcomes["answered"] > 4_000, fuzz.findings.outcomes
