"""Our engine answers as the native one does, and as sqlite3 does; what is known to be wrong still is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from random import Random

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.truth import comparison, corpus, judge, known, native, ours, rules
from tests.truth.case import Case, Outcome, Step
from tests.truth.comparison import Comparison, differences, shrink
from tests.truth.grammar import Grammar
from tests.truth.known import Wrong
from tests.truth.native import Native
from tests.truth.ours import Ours

NATIVE_MISSING = native.missing()
CORPUS_MISSING = corpus.missing()
needs_native = pytest.mark.skipif(bool(NATIVE_MISSING), reason=NATIVE_MISSING)
needs_corpus = pytest.mark.skipif(bool(CORPUS_MISSING), reason=CORPUS_MISSING)

CASES = 170
STATEMENTS = 30
"""In a case; 5,000 in all."""


@pytest.fixture
async def mine() -> AsyncIterator[Ours]:
    async with ours.opened() as engine:
        yield engine


@needs_corpus
async def test_the_slt_files_of_the_crate_pass(mine: Ours) -> None:
    records = 0
    for case in corpus.slt_cases():
        for step, outcome in zip(case.steps, await mine.run(case), strict=True):
            assert step.expected is not None
            assert step.expected.is_met(outcome), f"{case.name}: {step}\n{outcome}"
            records += 1
    assert records > 500


@needs_native
@needs_corpus
@pytest.mark.timeout(900)
async def test_the_sql_of_the_crates_tests_has_the_same_answers() -> None:
    async with comparison.opened() as both:
        assert [str(found) async for found in differences(both.compare, corpus.cases())] == []
        assert both.tally.statements > 12_000
        assert both.tally.unseen < 500


@needs_native
@pytest.mark.timeout(600)
def test_generated_sql_has_the_same_answers() -> None:
    @settings(max_examples=CASES, derandomize=True, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(st.randoms(use_true_random=False), st.booleans())
    def compare(rng: Random, file: bool) -> None:
        found = runner.run(both.compare(Grammar(rng).case("generated", STATEMENTS, file=file)))
        assert found is None, str(runner.run(shrink(found, both.compare)))

    with asyncio.Runner() as runner:
        opened = comparison.opened()
        both = runner.run(opened.__aenter__())
        try:
            compare()
            assert both.tally.statements > 4_000
        finally:
            runner.run(opened.__aexit__(None, None, None))


@pytest.mark.timeout(600)
async def test_generated_sql_is_answered_rightly() -> None:
    cases = (Grammar(Random(seed), common=True).case(f"seed {seed}", 30, file=seed % 4 == 0) for seed in range(60))
    async with judge.opened() as court:
        assert [str(found) async for found in differences(court.compare, cases)] == []
        assert court.tally.statements > 1_500


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(wrong, marks=pytest.mark.xfail(strict=True, raises=AssertionError), id=wrong.name)
        for wrong in known.WRONG
    ],
)
async def test_what_is_known_to_be_wrong(mine: Ours, wrong: Wrong) -> None:
    *before, last = await mine.run(wrong.case)
    if any(outcome.code for outcome in before):
        pytest.fail(f"the setup fails: {before}")
    assert wrong.is_right(last)


@pytest.mark.parametrize("wrong", [pytest.param(wrong, id=wrong.name) for wrong in known.WRONG if not wrong.parameters])
def test_what_is_said_to_be_right(wrong: Wrong) -> None:
    assert wrong.is_right(judge.verdicts(wrong.case)[-1])


# The comparison itself.


class Altered(Native):
    """Our own engine's answers in place of the native one's, but for one statement."""

    def __init__(self, answers: dict[str, Outcome]) -> None:
        super().__init__()
        self._answers = answers

    def run(self, case: Case) -> list[Outcome]:
        return [self._answers[step.sql] for step in case.steps]


CASE = Case("a case", tuple(Step(sql) for sql in ("CREATE TABLE t (a INTEGER)", "SELECT 1", "SELECT 2", "SELECT 3")))


@pytest.fixture
async def answers(mine: Ours) -> dict[str, Outcome]:
    return {step.sql: outcome for step, outcome in zip(CASE.steps, await mine.run(CASE), strict=True)}


@pytest.mark.parametrize(
    "other",
    [
        Outcome(columns=("column1",), rows=((4,),)),
        Outcome(columns=("column1",), rows=((3.0,),)),
        Outcome(columns=("column1",), rows=((3,), (3,))),
        Outcome(columns=("other",), rows=((3,),)),
        Outcome(code="error", message="no"),
        Outcome(code="died"),
    ],
)
async def test_a_difference_is_found_and_made_small(mine: Ours, answers: dict[str, Outcome], other: Outcome) -> None:
    both = Comparison(mine, Altered({**answers, "SELECT 3": other}))
    found = await both.compare(CASE)
    assert found is not None
    assert found.case == CASE
    smallest = await shrink(found, both.compare)
    assert [step.sql for step in smallest.case.steps] == ["SELECT 3"]
    assert smallest.theirs == other


async def test_equal_answers_are_no_difference(mine: Ours, answers: dict[str, Outcome]) -> None:
    both = Comparison(mine, Altered(answers))
    assert await both.compare(CASE) is None
    assert both.tally.statements == 4


def test_the_order_of_rows_counts_where_it_is_asked_for() -> None:
    up, down = (Outcome(columns=("a",), rows=rows) for rows in (((1,), (2,)), ((2,), (1,))))
    assert rules.same(Step("SELECT a FROM t"), up, down)
    assert not rules.same(Step("SELECT a FROM t ORDER BY a"), up, down)
    assert rules.rule(Step("SELECT a FROM t ORDER BY a"), up, down) is None
    assert rules.rule(Step("SELECT a FROM t ORDER BY b"), up, down) is not None
    assert rules.same(Step("SELECT a FROM (SELECT a FROM t ORDER BY a)"), up, down)
    other = Outcome(columns=("a",), rows=((1,), (3,)))
    assert rules.rule(Step("SELECT a FROM t LIMIT 2"), up, other) is not None
    assert rules.rule(Step("SELECT a FROM t ORDER BY 1 LIMIT 2"), up, other) is None


def test_kinds_of_errors_are_told_apart() -> None:
    one = Outcome(code="table_not_found", message="table 't1' not found")
    assert rules.same(Step("x"), one, Outcome(code="error", message="table 'other' not found"))
    assert not rules.same(Step("x"), one, Outcome(code="error", message="column 't1' not found"))
    assert not rules.same(Step("x"), one, Outcome(code="panic", message="table 't1' not found"))


def test_a_seed_gives_the_same_case() -> None:
    one, same, other = (str(Grammar(Random(seed)).case("", 40)) for seed in (1, 1, 2))
    assert one == same
    assert one != other
