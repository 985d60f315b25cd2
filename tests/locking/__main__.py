"""`./dev python -m tests.locking`: processes race for directories; exactly one has each at a time."""

from __future__ import annotations

import argparse
import importlib.util
import tempfile
import time
from pathlib import Path

from tests.locking.races import Course, run


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--races", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--racers", type=int, default=8, help="processes; each race is of 2 to so many")
    given = parser.parse_args()
    # The native engine takes part where it is installed.
    has_native = importlib.util.find_spec("stoolap") is not None
    kinds = ["native" if has_native and n % 4 == 3 else "ours" for n in range(given.racers)]
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, Course(Path(folder), kinds) as course:
        tally = run(course, given.races, given.seed)
    for name, count in sorted(tally.items()):
        print(f"{count:8} {name}")
    print(f"{given.races} races of {', '.join(kinds)} in {time.perf_counter() - begun:.0f} s: one at a time")


if __name__ == "__main__":
    main()
