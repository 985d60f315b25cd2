"""`./dev python -m tests.sandbox`: tries names that lead out of an engine's directories."""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from pathlib import Path

from tests.sandbox import attempts


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--names", type=int, default=5_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--wasm", type=Path, help="another build of the engine")
    given = parser.parse_args()
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        tally = asyncio.run(attempts.run(given.names, given.seed, Path(folder).resolve(), wasm=given.wasm))
    for name, count in sorted(tally.items()):
        print(f"{count:8} {name}")
    print(f"{given.names} names in {time.perf_counter() - begun:.0f} s: nothing outside was read or changed")


if __name__ == "__main__":
    main()
