"""`./dev python -m tests.containment`: stops statements at random moments until so many have hit a running one."""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from pathlib import Path

from tests.containment import stops


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--stops", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--round", type=int, help="only this one; the machine's speed makes it differ each time")
    parser.add_argument("--wasm", type=Path, help="another build of the engine")
    given = parser.parse_args()
    print(f"seed {given.seed}", flush=True)
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        tally = asyncio.run(stops.run(given.stops, given.seed, Path(folder), only=given.round, wasm=given.wasm))
    for name, count in sorted(tally.items()):
        print(f"{count:8} {name}")
    print(f"{tally.hits} stops have hit a running statement, in {time.perf_counter() - begun:.0f} s: nothing by half")


if __name__ == "__main__":
    main()
