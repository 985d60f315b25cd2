"""Compares builds of the engine: their size, what compiling them takes, and how fast they answer.

Each build is named, and the first is what the others are compared with:

    cp aiostoolap/stoolap.wasm /tmp/now.wasm
    CARGO_PROFILE_RELEASE_OPT_LEVEL=s engine/build.sh --check
    ./dev python engine/choices.py /tmp/now.wasm engine/target/stoolap.wasm

Times are those of the processor, in seconds; the last column is the geometric mean of the questions about flights.
"""

import asyncio
import statistics
import sys
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import wasmtime

sys.path.insert(0, str(Path(__file__).parent.parent))

from aiostoolap import DB, connect
from aiostoolap.core import modules
from benchmarks.works import flights
from examples.flights import QUESTIONS

ROUNDS = 5


def compiling(wasm: Path) -> tuple[float, int]:
    """The time it takes to compile a module, and the size of what comes out."""
    begun = time.process_time()
    module = wasmtime.Module.from_file(wasmtime.Engine(modules._config()), str(wasm))
    return time.process_time() - begun, len(module.serialize())


async def load(db: DB) -> None:
    for table in flights.tables():
        await db.execute(f"CREATE TABLE {table.name} ({table.columns})")
        places = ", ".join("?" * len(table.rows[0]))
        await db.execute_many(f"INSERT INTO {table.name} VALUES ({places})", table.rows)
        for column in table.index:
            await db.execute(f"CREATE INDEX {table.name}_{column} ON {table.name} ({column})")


async def asking(db: DB, sql: str) -> float:
    begun = time.process_time()
    await db.query(sql, into=tuple)
    return time.process_time() - begun


async def ratios(files: Sequence[Path]) -> list[float]:
    """How long each build takes, as a ratio to the first: all ask the same in turn."""
    found: list[list[float]] = [[] for _ in files]
    async with AsyncExitStack() as stack:
        databases = [await stack.enter_async_context(connect(wasm=file, latency="power")) for file in files]
        for db in databases:
            await load(db)
        for question in QUESTIONS:
            rounds = [[await asking(db, question.sql) for db in databases] for _ in range(ROUNDS)]
            for index, every in enumerate(found):
                every.append(statistics.median(times[index] / times[0] for times in rounds))
    return [statistics.geometric_mean(every) for every in found]


def main(files: Sequence[Path]) -> None:
    if not files:
        sys.exit(__doc__)
    speed = asyncio.run(ratios(files))
    print("| Build | Size | Compiling | Compiled | Time of queries |\n|---|---|---|---|---|")
    for file, ratio in zip(files, speed, strict=True):
        seconds, size = compiling(file)
        million = file.stat().st_size / 1e6
        print(f"| {file.name} | {million:.1f} MB | {seconds:.1f} s | {size / 1e6:.0f} MB | {ratio:.2f}x |")


if __name__ == "__main__":
    main([Path(name) for name in sys.argv[1:]])
