"""`./dev python -m tests.crash`: kills a process that writes, again and again, on one directory."""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from pathlib import Path

from tests.crash import cycles


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cycles", type=int, default=5_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--modes", default="full", help="sync modes: full, normal, or full,normal by turns")
    parser.add_argument("--folder", type=Path, help="where to make the directory; it is kept after a failure")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="crash", dir=given.folder))
    print(f"seed {given.seed}, in {folder}", flush=True)
    begun = time.perf_counter()

    def tell(kills: int) -> None:
        if kills % 100 == 0:
            print(f"{kills} kills, {time.perf_counter() - begun:.0f} s", flush=True)

    tally = cycles.run(given.cycles, given.seed, folder, given.modes.split(","), tell)
    shutil.rmtree(folder)
    for name, count in sorted(tally.items()):
        print(f"{count:8} {name}")
    print(f"{given.cycles} kills in {time.perf_counter() - begun:.0f} s: nothing lost, nothing in part")


if __name__ == "__main__":
    main()
