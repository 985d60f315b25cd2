"""Runs cases on both engines, statement by statement, and makes what differs small."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

from tests.truth import ours, rules
from tests.truth.case import Case, Outcome, Step
from tests.truth.native import Native
from tests.truth.ours import Ours

_COMPOSITE = re.compile(r"CREATE (UNIQUE )?INDEX .*\(.*,.*\)$")


@dataclass(frozen=True)
class Difference:
    """A statement that is answered differently, the last one of its case."""

    case: Case
    ours: Outcome
    theirs: Outcome

    def __str__(self) -> str:
        where = "in files" if self.case.file else "in memory"
        return f"{self.case.name}, {where}\n{self.case}\n  ours:   {self.ours}\n  theirs: {self.theirs}\n"


Compare = Callable[[Case], Awaitable[Difference | None]]


@dataclass
class Tally:
    """What was seen.

    Attributes:
        statements: how many were compared.
        errors: how many of them are errors with us.
        unseen: how many stand after a difference that left the databases unlike, and were not compared.
        excused: how many differ by rule, by its name.
        examples: the first statement of each rule.
    """

    statements: int = 0
    errors: int = 0
    unseen: int = 0
    excused: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)

    def excuse(self, name: str, step: Step) -> None:
        """Counts a difference that is meant."""
        self.excused[name] += 1
        self.examples.setdefault(name, step.sql)

    def __str__(self) -> str:
        lines = [f"{self.statements} statements compared, {self.errors} of them errors; {self.unseen} not compared"]
        for name, count in self.excused.most_common():
            lines.append(f"  {count} by rule: {name}, as in {self.examples[name][:80]!r}")
        return "\n".join(lines)


class Comparison:
    """Both engines.

    Args:
        mine: ours.
        native: the other.
    """

    def __init__(self, mine: Ours, native: Native) -> None:
        self._ours = mine
        self._native = native
        self.tally = Tally()

    async def compare(self, case: Case) -> Difference | None:
        """Runs a case on both; the difference has the statements up to the one that differs."""
        answers = await self._ours.run(case)
        asked = [place for place, answer in enumerate(answers) if not self._is_guarded(case.steps[place], answer)]
        put = replace(case, steps=tuple(case.steps[place] for place in asked))
        for number, theirs in enumerate(self._native.run(put)):
            step, mine = put.steps[number], answers[asked[number]]
            self.tally.statements += 1
            self.tally.errors += bool(mine.code)
            is_same = rules.same(step, mine, theirs)
            if not is_same:
                name = await self._excuse(replace(put, steps=put.steps[: number + 1]), mine, theirs)
                if not name:
                    return Difference(replace(case, steps=case.steps[: asked[number] + 1]), mine, theirs)
                self.tally.excuse(name, step)
            if theirs.code == "panic":
                self._native.close()  # Its database is dead, and would be there for the next case.
            if theirs.code in ("panic", "died") or not (is_same or step.reads):
                self.tally.unseen += len(put.steps) - number - 1
                break
        return None

    def _is_guarded(self, step: Step, answer: Outcome) -> bool:
        guard = rules.guard(answer)
        if guard is not None:
            self.tally.excuse(guard.name, step)
        return guard is not None

    async def _excuse(self, case: Case, mine: Outcome, theirs: Outcome) -> str:
        """The rule for the difference in the last statement; some are found by running it again in another way."""
        step = case.steps[-1]
        rule = rules.rule(step, mine, theirs)
        if rule is not None:
            return rule.name
        self._native.close()
        for name, again in (
            (rules.STALE, case),
            (rules.COMPOSITE_INDEX, replace(case, steps=tuple(s for s in case.steps if not _COMPOSITE.match(s.sql)))),
            (rules.PARAMETERS, replace(case, steps=(*case.steps[:-1], replace(step, literal="")))),
        ):
            if rules.same(step, mine, self._native.run(again)[-1]):
                return name
        others = tuple(s for s in case.steps if s.reads or not any(each.search(s.sql) for each in rules.WRITES))
        if len(others) < len(case.steps) and await self.compare(replace(case, steps=others)) is None:
            return rules.WRITTEN
        return ""


async def shrink(difference: Difference, compare: Compare) -> Difference:
    """The smallest case that differs in the same way: drops statements, in large pieces first."""
    size = len(difference.case.steps) // 2
    while size:
        end = len(difference.case.steps) - 1
        while end > 0:
            start = max(0, end - size)
            found = await compare(difference.case.without(start, end))
            if found is not None and _alike(found, difference):
                difference = found
                end = min(start, len(found.case.steps) - 1)
            else:
                end = start
        size //= 2
    return difference


def _alike(one: Difference, other: Difference) -> bool:
    pairs = ((one.ours, other.ours), (one.theirs, other.theirs))
    return all(a.code == b.code and a.kind == b.kind for a, b in pairs)


async def differences(compare: Compare, cases: Iterable[Case]) -> AsyncIterator[Difference]:
    """Each case's difference, made small."""
    for case in cases:
        found = await compare(case)
        if found is not None:
            yield await shrink(found, compare)


@asynccontextmanager
async def opened() -> AsyncIterator[Comparison]:
    """Both engines."""
    async with ours.opened() as mine:
        with Native() as native:
            yield Comparison(mine, native)
