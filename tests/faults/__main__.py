"""`./dev python -m tests.faults`: power lost at random moments, calls that fail, files that are damaged.

    python -m tests.faults --states 20000 --seed 1           opens so many crash states
    python -m tests.faults calls --states 10 --seed 1        runs so many workloads, once for every k and fault
    python -m tests.faults damage --states 10000 --seed 1    opens so many damaged databases

Each failure prints the arguments that show it again.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.faults import corruption, crashes, failures
from tests.faults.wasi import SimulatedRuntime


def power(given: argparse.Namespace, tally: Counter[str]) -> Iterator[Callable[[], int]]:
    """The rounds of crash states."""
    return _rounds(
        given,
        crashes.STATES,
        lambda number: crashes.round_of(given.seed, number, tally, only=given.state, mode=given.mode),
    )


def damage(given: argparse.Namespace, tally: Counter[str]) -> Iterator[Callable[[], int]]:
    """The rounds of damaged databases."""
    return _rounds(
        given, corruption.DAMAGES, lambda number: corruption.round_of(given.seed, number, tally, only=given.state)
    )


def calls(given: argparse.Namespace, tally: Counter[str]) -> Iterator[Callable[[], int]]:
    """The failures of each call of the workloads."""

    def run(seed: int, fault: failures.Fault, k: int) -> int:
        failures.fail(seed, fault, k, tally, given.call)
        return 1

    for seed in range(given.seed, given.seed + (given.states if given.k is None else 1)):
        for fault in failures.FAULTS if given.fault is None else (given.fault,):
            ks = [given.k] if given.k else range(1, failures.count(seed, fault, given.call) + 1)
            for k in ks:
                yield lambda seed=seed, fault=fault, k=k: run(seed, fault, k)  # type: ignore[misc]  # bound now


def _rounds(given: argparse.Namespace, size: int, run: Callable[[int], int]) -> Iterator[Callable[[], int]]:
    numbers = range(-(-given.states // size)) if given.round is None else [given.round]
    return (lambda number=number: run(number) for number in numbers)  # type: ignore[misc]  # bound now


KINDS = {"power": (power, 20_000), "calls": (calls, 10), "damage": (damage, 10_000)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, usage="python -m tests.faults [...]"
    )
    parser.add_argument("kind", nargs="?", choices=KINDS, default="power")
    parser.add_argument("--states", type=int, help="how many")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--round", type=int, help="only this one")
    parser.add_argument("--state", type=int, help="only this one of the round")
    parser.add_argument("--mode", choices=("none", "normal", "full"), default="full", help="sync_mode")
    parser.add_argument("--fault", choices=failures.FAULTS, help="only this one")
    parser.add_argument("--call", help="only calls of this name, such as fd_sync")
    parser.add_argument("--k", type=int, help="only the k-th call")
    parser.add_argument("--wasm", type=Path, default=SimulatedRuntime.wasm, help="another build of the engine")
    given = parser.parse_args()
    SimulatedRuntime.wasm = given.wasm
    kind, states = KINDS[given.kind]
    given.states = states if given.states is None else given.states
    tally: Counter[str] = Counter()
    begun, done, failed = time.perf_counter(), 0, 0
    for run in kind(given, tally):
        try:
            done += run()
        except Exception as error:
            failed += 1
            print(f"{type(error).__name__}: {error}", *getattr(error, "__notes__", ()), sep="\n    ", flush=True)
    for name, count in sorted(tally.items()):
        print(f"{count:8} {name}")
    print(f"{done} {given.kind} in {time.perf_counter() - begun:.0f} s, {failed} failed")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
