"""A million small commits with the defaults: `./dev python -m tests.commits --commits 1000000`.

Looks at the log and the memory while they are made, then opens the database again: after a close, and after a kill when
the log was at its longest. `tests/test_maintenance.py` runs a short one.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import aiostoolap
from aiostoolap import DB, maintenance

LARGEST_LOG = 64 << 20
LONGEST_OPENING = 2.0
"""Seconds."""
_TASKS = 8
_LIFE = 10_000
"""Commits after which a row is deleted. Four of ten insert one, so that 4,000 rows live."""
_ROUND = 2_000
"""Commits between two looks."""
_HEADROOM = 8 << 20
"""Bytes by which the memory at rest may grow. What is deleted or changed stays for five minutes, or until VACUUM, and
the engine keeps the room of it for more: 6 MiB after the 400,000 rows that a million commits delete."""


@dataclass
class Report:
    """What was seen.

    Attributes:
        seconds: for all commits.
        largest_log: the size of all files of the log, in bytes.
        largest_memory: what the engine had allocated, in bytes.
        early_memory: the same, after a VACUUM and the first fifth of the commits.
        late_memory: the same, after a VACUUM and all of them.
        folder_bytes: the size of the database's files at the end.
        checkpoints: so many were made.
        longest_checkpoint: in seconds.
        longest_commit: in seconds; it may have waited for a checkpoint.
        opening: seconds to open it after a close.
        opening_after_kill: seconds to open it after a kill, with a long log.
        log_after_kill: the size of that, in bytes.
    """

    seconds: float = 0.0
    largest_log: int = 0
    largest_memory: int = 0
    early_memory: int = 0
    late_memory: int = 0
    folder_bytes: int = 0
    checkpoints: int = 0
    longest_checkpoint: float = 0.0
    longest_commit: float = 0.0
    opening: float = 0.0
    opening_after_kill: float = 0.0
    log_after_kill: int = 0

    def __str__(self) -> str:
        return (
            f"{self.seconds:.0f} s; log at most {self.largest_log / 2**20:.1f} MiB; {self.checkpoints} checkpoints"
            f" of at most {self.longest_checkpoint:.2f} s; longest commit {self.longest_commit:.2f} s; memory at most"
            f" {self.largest_memory / 2**20:.1f} MiB, {self.early_memory / 2**20:.1f} MiB at rest at first, and"
            f" {self.late_memory / 2**20:.1f} MiB at the end; files"
            f" {self.folder_bytes / 2**20:.1f} MiB; opened in {self.opening:.2f} s, after a kill with a log of"
            f" {self.log_after_kill / 2**20:.1f} MiB in {self.opening_after_kill:.2f} s"
        )


class Writer:
    """Makes commits: a row comes, one goes, now and then one of few is changed.

    Args:
        db: where.
        report: what to note.
    """

    def __init__(self, db: DB, report: Report) -> None:
        self._db = db
        self._report = report
        self.made = 0

    async def prepare(self) -> None:
        """Makes the tables."""
        await self._db.execute("CREATE TABLE entry (id INTEGER PRIMARY KEY, at INTEGER, note TEXT)")
        await self._db.execute("CREATE TABLE counter (id INTEGER PRIMARY KEY, n INTEGER)")
        await self._db.execute_many("INSERT INTO counter VALUES ($1, 0)", ((n,) for n in range(10)))

    async def write(self, commits: int) -> None:
        """Makes so many, by some tasks."""
        numbers = iter(range(self.made, self.made + commits))
        self.made += commits

        async def work() -> None:
            for n in numbers:
                begun = time.perf_counter()
                if n % 10 >= 8:
                    await self._db.execute("UPDATE counter SET n = n + 1 WHERE id = $1", (n // 10 % 10,))
                elif n % 2:
                    await self._db.execute("DELETE FROM entry WHERE id = $1", (n - 1 - _LIFE,))
                else:
                    await self._db.execute("INSERT INTO entry VALUES ($1, $2, $3)", (n, n * 7, f"note {n}"))
                self._report.longest_commit = max(self._report.longest_commit, time.perf_counter() - begun)

        async with asyncio.TaskGroup() as group:
            for _ in range(_TASKS):
                group.create_task(work())

    async def check(self) -> None:
        """Compares the tables with what was written.

        Raises:
            AssertionError: they differ.
        """
        counted = await self._db.query_value("SELECT SUM(n) FROM counter")
        assert counted == sum(n % 10 >= 8 for n in range(self.made)), (counted, self.made)
        changes = [n for n in range(self.made) if n % 10 < 8]
        deleted = {n - 1 - _LIFE for n in changes if n % 2}
        there = await self._db.query("SELECT id FROM entry ORDER BY id", into=int)
        assert there == [n for n in changes if n % 2 == 0 and n not in deleted], len(there)


async def run(commits: int, folder: Path, say: Callable[[str], None] = lambda _: None) -> Report:
    """Makes commits, and looks at what they do.

    Args:
        commits: how many.
        folder: the database's directory, which is made.
        say: where to tell how far it is.

    Raises:
        AssertionError: the log or the memory grows, or the database is not what was written.
    """
    report = Report()
    begun = time.perf_counter()
    async with aiostoolap.connect(folder) as db:
        writer = Writer(db, report)
        await writer.prepare()
        for done in range(0, commits, _ROUND):
            await writer.write(min(_ROUND, commits - done))
            await _look(db, folder, report)
            if not report.early_memory and done >= commits / 5:
                report.early_memory = await _memory_at_rest(db)
            if done % (50 * _ROUND) == 0:
                say(f"{done} commits: {report}")
        report.seconds = time.perf_counter() - begun
        report.late_memory = await _memory_at_rest(db)
        await writer.check()
    report.folder_bytes = _size(folder)
    report.opening = await _opening(folder)
    assert report.largest_log <= LARGEST_LOG, report
    assert report.late_memory <= report.early_memory + _HEADROOM, report
    return report


async def _memory_at_rest(db: DB) -> int:
    await db.checkpoint()
    await db.vacuum()
    return (await db.stats()).live_bytes


async def _look(db: DB, folder: Path, report: Report) -> None:
    stats = await db.stats()
    report.largest_log = max(report.largest_log, _size(folder / "wal"))
    report.largest_memory = max(report.largest_memory, stats.live_bytes)
    state = stats.maintenance["checkpoint"]
    report.checkpoints = state.runs
    report.longest_checkpoint = max(report.longest_checkpoint, state.last_seconds)


def _size(folder: Path) -> int:
    """The size of what is in a directory, some of which may go meanwhile."""
    size = 0
    for file in folder.rglob("*"):
        try:
            size += file.stat().st_size
        except FileNotFoundError:
            continue
    return size


async def _opening(folder: Path) -> float:
    begun = time.perf_counter()
    async with aiostoolap.connect(folder, options={"checkpoint_on_close": False}, checkpoint_every=None) as db:
        await db.query("SELECT COUNT(*) FROM entry")
        return time.perf_counter() - begun


async def open_after_kill(folder: Path, log_bytes: int, report: Report) -> None:
    """Opens a database whose process was killed with a log of about that size.

    Raises:
        AssertionError: an acknowledged commit is lost.
    """
    program = [sys.executable, "-m", "tests.commits", "--fill", str(log_bytes), "--folder", str(folder)]
    ended = subprocess.run(program, stdout=subprocess.PIPE, text=True, check=False)
    assert ended.returncode == -signal.SIGKILL
    report.log_after_kill = _size(folder / "wal")
    assert report.log_after_kill >= log_bytes
    report.opening_after_kill = await _opening(folder)
    async with aiostoolap.connect(folder) as db:
        writer = Writer(db, report)
        writer.made = int(ended.stdout)
        await writer.check()


async def fill(folder: Path, log_bytes: int) -> None:
    """Makes commits until the log has that size, and kills this process."""
    async with aiostoolap.connect(folder) as db:
        writer = Writer(db, Report())
        await writer.prepare()
        while (await db.stats()).log_bytes < log_bytes:
            await writer.write(_ROUND)
        print(writer.made, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--commits", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--fill", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.fill is not None:
        asyncio.run(fill(given.folder, given.fill))
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        report = asyncio.run(run(given.commits, Path(folder, "db"), lambda text: print(text, flush=True)))
        asyncio.run(open_after_kill(Path(folder, "killed"), int(0.9 * maintenance.LOG_LIMIT), report))
    print(f"{given.commits} commits in {report}")
    assert max(report.opening, report.opening_after_kill) <= LONGEST_OPENING, "it opens slowly"


if __name__ == "__main__":
    main()
