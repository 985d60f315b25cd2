"""The command line: `./dev benchmark`, or `python -m benchmarks`."""

from __future__ import annotations

import argparse
import contextlib
import time

from rich.console import Console

import aiostoolap
from benchmarks import machine
from benchmarks.peers import PEERS
from benchmarks.plan import Plan
from benchmarks.report import OURS, Report
from benchmarks.terminal import print_section
from benchmarks.works import GROUPS, WORKS

QUICK_ROUNDS = 3
ROUNDS = 5


def main() -> None:
    """Measures what the command line says."""
    parser = argparse.ArgumentParser(prog="./dev benchmark", description="aiostoolap beside its peers.")
    parser.add_argument("--only", metavar="WORK,...", help=f"some of: {', '.join([*WORKS, *GROUPS])}")
    parser.add_argument("--rounds", type=int, help=f"how often each takes its turn ({ROUNDS})")
    parser.add_argument("--quick", action="store_true", help=f"less of each, {QUICK_ROUNDS} rounds, on asyncio alone")
    parser.add_argument("--write", action="store_true", help="write the page docs/benchmarks.md, its data and plots")
    arguments = parser.parse_args()
    chosen = arguments.only.split(",") if arguments.only else WORKS
    names = [name for choice in chosen for name in GROUPS.get(choice, (choice,))]
    for name in names:
        if name not in WORKS:
            parser.error(f"there is no work {name!r}: choose from {', '.join([*WORKS, *GROUPS])}")
    rounds = arguments.rounds or (QUICK_ROUNDS if arguments.quick else ROUNDS)
    report = measure(names, Plan(rounds, arguments.quick), Console())
    if arguments.write:
        from benchmarks import page  # matplotlib is slow to import

        page.write(report)


def measure(names: list[str], plan: Plan, console: Console) -> Report:
    """Does the works, and prints each as it is done."""
    options = [f"--only {','.join(names)}"] * (len(names) < len(WORKS)) + ["--quick"] * plan.quick
    report = Report(
        machine.describe(),
        " ".join(["./dev benchmark", *options, f"--rounds {plan.rounds}"]),
        # A package in a working copy has the version of when it was installed.
        {kind.name: kind.version for kind in PEERS} | {OURS: aiostoolap.__version__},
        {kind.name: kind.settings for kind in PEERS},
    )
    for name, value in report.machine.items():
        console.print(f"{name}: {value}", highlight=False)
    for name in names:
        begun = time.perf_counter()
        with console.status(name) if console.is_terminal else contextlib.nullcontext():
            section = WORKS[name](plan)
        print_section(console, section)
        console.print(f"  ({time.perf_counter() - begun:.0f} s)\n", style="dim")
        report.sections.append(section)
    return report


if __name__ == "__main__":
    main()
