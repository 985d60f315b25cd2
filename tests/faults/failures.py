"""Calls that fail: a disk that is full, or has errors, from the k-th call on; and reads and writes that are short."""

from __future__ import annotations

import random
from collections import Counter
from typing import Literal, TypeAlias

from tests.faults.database import EngineError
from tests.faults.disk import Disk
from tests.faults.model import MismatchError, check, difference, read
from tests.faults.wasi import CHANGES, IO, NOSPC, READS, Observer
from tests.faults.workload import Workload

Fault: TypeAlias = Literal["full", "error"]
FAULTS: tuple[Fault, ...] = ("full", "error")

STEPS = 30
TYPED = frozenset({"io_error", "wal_poisoned", "wal_unavailable", "maintenance", "corrupt"})
"""The codes that the failure of a call may have."""
_LOG = frozenset({"io_error", "wal_poisoned", "wal_unavailable"})
_TAKES_SPACE = frozenset(("fd_write", "fd_sync", "path_create", "path_create_directory", "path_rename"))


class Failing(Observer):
    """Fails calls: the k-th alone with EIO, or from the k-th on, as long as the disk is full, those that need space.

    Args:
        fault: which of the two.
        k: from 1; 0 for none, to count them.
        call: only calls of that name count; None for all.
        partial: a write that meets the full disk writes a part first.
    """

    def __init__(self, fault: Fault, k: int, call: str | None = None, *, partial: bool = False) -> None:
        self._errno, calls = (NOSPC, _TAKES_SPACE) if fault == "full" else (IO, CHANGES | READS)
        self._calls = calls if call is None else calls & {call}
        self._lasts = fault == "full"
        self._k = k
        self._partial = partial
        self._short = False
        self.count = 0
        self.hit: str | None = None
        """The call that failed first."""

    def before(self, call: str) -> int:
        if self.hit is None and call in self._calls:
            self.count += 1
            if self.count == self._k:
                self.hit = call
                if call == "fd_write" and self._partial:
                    self._short = True
                    return 0
                return self._errno
        return self._errno if self.hit and self._lasts and call in _TAKES_SPACE else 0

    def length(self, call: str, size: int) -> int:
        if self._short and call == "fd_write":
            self._short = False
            return max(1, size // 2)
        return size

    def fail_at(self, k: int) -> None:
        """Begins anew: the k-th call from now on fails."""
        self._k, self.count, self.hit = k, 0, None

    def release(self) -> None:
        """There is space again."""
        self._lasts = False


class Short(Observer):
    """Reads and writes less than was asked for."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng

    def length(self, call: str, size: int) -> int:
        return self._rng.randint(1, size) if self._rng.random() < 0.5 else size


def count(seed: int, fault: Fault, call: str | None = None, steps: int = STEPS) -> int:
    """How many calls of a workload can fail in this way."""
    counting = Failing(fault, 0, call)
    workload = Workload(Disk(), seed, counting)
    workload.run(steps)
    workload.discard()
    return counting.count


def fail(seed: int, fault: Fault, k: int, tally: Counter[str], call: str | None = None, steps: int = STEPS) -> None:
    """Runs a workload whose k-th call fails.

    Raises:
        MismatchError: something was lost, or the error has no code that says what it was.
    """
    failing = Failing(fault, k, call, partial=k % 2 == 1)
    workload = Workload(Disk(), seed, failing)
    try:
        _fail(workload, failing, steps, tally)
    except BaseException as error:
        where = f"{failing.hit}, in the step {workload.step}"
        error.add_note(f"{where}: calls --seed {seed} --fault {fault} --k {k}" + (f" --call {call}" if call else ""))
        raise
    finally:
        workload.discard()


def _fail(workload: Workload, failing: Failing, steps: int, tally: Counter[str]) -> None:
    rng = random.Random(0)
    done = 0
    while done < steps:
        try:
            workload.run(1)
            done += 1
        except EngineError as error:
            if failing.hit is None or error.code not in TYPED:
                raise MismatchError(f"{error.code}: {error}") from error
            tally[f"{failing.hit}: {error.code}"] += 1
            failing.release()
            if error.code in _LOG or workload.step not in ("checkpoint", "vacuum", "snapshot"):
                workload.discard()
            try:
                found = check(workload.db, workload.possible, rng)
            except EngineError as later:
                if later.code not in _LOG:
                    raise
                workload.discard()  # The task that failed has left the log unusable.
                found = check(workload.db, workload.possible, rng)
            workload.settle(found)
            done += 1
    if failing.hit is None:
        tally["never called"] += 1
    failing.release()
    for _ in range(2):
        if (found := read(workload.db)) != workload.done:
            raise MismatchError(f"at the end: {difference(workload.done, found)}; {workload.db.warnings}")
        workload.reopen()
    check(workload.db, [workload.done], rng)


def shorten(seed: int, steps: int = STEPS) -> None:
    """Runs a workload whose reads and writes are short.

    Raises:
        MismatchError: something was lost.
    """
    rng = random.Random(seed)
    workload = Workload(Disk(), seed, Short(rng))
    try:
        workload.run(steps)
        workload.reopen()
        check(workload.db, [workload.done], rng)
    finally:
        workload.discard()
