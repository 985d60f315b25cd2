"""Some thousand inputs, the same each time; `python -m tests.containment.fuzz` makes a million."""

from __future__ import annotations

import random

import pytest

from tests.containment.fuzz import Fuzz, fuzz_protocol


@pytest.mark.timeout(900)
async def test_every_statement_is_answered_or_is_an_error() -> None:
    fuzz = Fuzz(seed=1)
    await fuzz.run(16_000)
    assert fuzz.findings.unknown() == {}
    assert fuzz.findings.outcomes["answered"] > 3_000, fuzz.findings.outcomes


@pytest.mark.timeout(900)
def test_every_request_is_answered_or_is_an_error() -> None:
    codes = fuzz_protocol(4_000, random.Random(1))
    assert codes["answered"] > 100, codes
    assert codes["protocol"] > 100, codes
