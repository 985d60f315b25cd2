"""Races, and who has won them."""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

PATIENCE = 600.0
"""Seconds that a racer waits for the lock where it does wait: more than any race takes, also if all stand still."""
_NOTICE = 0.005


class Course:
    """Processes that are started once and race many times.

    Args:
        root: where their directories are.
        kinds: what each of them is: "ours" or "native".
    """

    def __init__(self, root: Path, kinds: Sequence[str]) -> None:
        self.root = root
        self.kinds = kinds
        self._processes = [
            subprocess.Popen(
                [sys.executable, "-m", "tests.locking.racer", kind, root],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for kind in kinds
        ]
        self.pids: list[int] = [self.answer(racer)["pid"] for racer in range(len(kinds))]

    def order(self, racer: int, **order: Any) -> None:
        stdin = self._processes[racer].stdin
        assert stdin is not None
        stdin.write(json.dumps(order) + "\n")
        stdin.flush()

    def answer(self, racer: int) -> dict[str, Any]:
        stdout = self._processes[racer].stdout
        assert stdout is not None
        answer: dict[str, Any] = json.loads(stdout.readline())
        assert "failed" not in answer, answer
        return answer

    def kill(self, racer: int) -> None:
        """Ends a racer as nothing can prevent."""
        self._processes[racer].kill()
        self._processes[racer].wait()

    def race(self, racers: Sequence[int], names: Sequence[str], lock_timeout: float) -> list[dict[str, Any]]:
        """Has these racers open a directory at one time, each by its name of it."""
        at = time.monotonic() + _NOTICE
        for racer, name in zip(racers, names, strict=True):
            self.order(racer, name=name, directory=names[0], at=at, lock_timeout=lock_timeout)
        return [self.answer(racer) for racer in racers]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.kill()
            process.communicate()


def run(course: Course, races: int, seed: int) -> Counter[str]:
    """Runs races of 2 and more, every other one with waiting. Some come by a link.

    Raises:
        AssertionError: not exactly one had the directory at a time, or somebody else was named.
    """
    random_ = random.Random(seed)
    tally: Counter[str] = Counter()
    for number in range(races):
        racers = random_.sample(range(len(course.kinds)), random_.randint(2, len(course.kinds)))
        directory = f"race{seed}-{number}"
        (course.root / directory).mkdir()
        (course.root / f"{directory}-link").symlink_to(directory)
        names = [directory, *random_.choices([directory, f"{directory}-link"], k=len(racers) - 1)]
        what = f"seed {seed}, race {number}: {racers}"
        if number % 2:
            answers = course.race(racers, names, PATIENCE)
            # Each had it, one after another, and found what those before it had written.
            counted = sorted(answer.get("counted", 0) for answer in answers)
            assert counted == list(range(1, len(racers) + 1)), (what, answers)
            tally["waited their turn"] += len(racers)
            continue
        answers = course.race(racers, names, 0)
        winners = [racer for racer, answer in zip(racers, answers, strict=True) if answer.get("open")]
        assert len(winners) == 1, (what, answers)
        pid = course.pids[winners[0]]
        for racer, answer in zip(racers, answers, strict=True):
            if racer != winners[0] and course.kinds[racer] == "ours":
                named = re.search(r"is open in (process (\d+)|another process)$", answer["locked"])
                assert named is not None, (what, answer)
                assert named[2] in (None, str(pid)), (what, answer, pid)
                tally["named the winner" if named[2] else "came before the winner had written its number"] += 1
        course.order(winners[0], close=True)
        course.answer(winners[0])
        tally[f"won by {course.kinds[winners[0]]}"] += 1
    return tally
