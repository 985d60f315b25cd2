"""`python -m tests.truth`: compares for long; exit status 1 if anything differs."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Iterable, Iterator
from random import Random

from tests.truth import comparison, corpus, judge, native
from tests.truth.case import Case
from tests.truth.comparison import Comparison, differences
from tests.truth.grammar import Grammar
from tests.truth.judge import Judge


def generated(statements: int, seed: int, *, common: bool = False) -> Iterator[Case]:
    """Cases of about so many statements in all; each has a seed of its own. Of four, one is a database of files."""
    while statements > 0:
        case = Grammar(Random(seed), common=common).case(f"seed {seed}", 40, file=seed % 4 == 0)
        statements -= len(case.steps)
        seed += 1
        yield case


async def compare(engines: Comparison | Judge, cases: Iterable[Case]) -> int:
    """Prints what differs, and returns how much does."""
    found = 0
    async for difference in differences(engines.compare, cases):
        found += 1
        print(difference, flush=True)
    print(engines.tally)
    return found


async def run(given: argparse.Namespace) -> int:
    """Does what the command line says."""
    if given.judge:
        async with judge.opened() as court:
            return await compare(court, generated(given.statements, given.seed, common=True))
    async with comparison.opened() as both:
        return await compare(both, corpus.cases() if given.corpus else generated(given.statements, given.seed))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.truth", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--statements", type=int, default=200_000, help="of generated SQL")
    parser.add_argument("--seed", type=int, default=1, help="of the first case; the next one has the next")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--corpus", action="store_true", help="the SQL of the crate's own tests")
    which.add_argument("--judge", action="store_true", help="sqlite3 in place of the native engine")
    given = parser.parse_args()
    missing = "" if given.judge else native.missing() or (given.corpus and corpus.missing())
    if missing:
        sys.exit(missing)
    begun = time.perf_counter()
    found = asyncio.run(run(given))
    print(f"{found} differences, {time.perf_counter() - begun:.0f} s")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
