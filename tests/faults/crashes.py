"""Losses of power: what is on the disk after one, and what the engine makes of that."""

from __future__ import annotations

import dataclasses
import random
from collections import Counter
from dataclasses import dataclass

from tests.faults.database import Database
from tests.faults.disk import SURVIVALS, Disk
from tests.faults.model import MismatchError, State, check, difference, read
from tests.faults.wasi import CHANGES, Observer
from tests.faults.workload import OPTIONS, Workload

STATES = 50
"""Crash states of a round: one workload, from an empty disk."""
STEPS = 60
_CHANCE = 0.08
_LATER = 0.3
_AGAIN = 0.25


@dataclass
class Crash:
    """What is there after a loss of power.

    Attributes:
        disk: what is on the disk.
        possible: what the database may hold.
        when: the step and the call that it came before, for people.
    """

    disk: Disk
    possible: list[State]
    when: str


class Witness(Observer):
    """Takes crash states, before calls that change something and whenever it is told to.

    Args:
        rng: chooses the moments, and what survives.
        chance: of a crash state before each call.
    """

    def __init__(self, rng: random.Random, chance: float) -> None:
        self._rng = rng
        self.chance = chance
        self.workload: Workload | None = None
        self.disk: Disk | None = None
        self.possible: list[State] = []
        self.crashes: list[Crash] = []
        self.calls = 0

    def before(self, call: str) -> int:
        if call in CHANGES:
            self.calls += 1
            if self._rng.random() < self.chance:
                self.take(f"before call {self.calls}, {call}")
        return 0

    def take(self, when: str) -> None:
        workload = self.workload
        disk = self.disk
        survival = self._rng.choice(SURVIVALS)
        if workload is not None and workload.mode != "full" and survival == "subset":
            survival = "prefix"  # Behind a hole in what was not synced, the log is read on, which is told of.
        if workload is not None:
            disk, self.possible, when = workload.disk, workload.possible, f"{workload.step}, {when}"
            if workload.mode == "none" or (workload.mode == "normal" and survival != "all"):
                self.possible = self.possible + workload.past
        assert disk is not None
        self.crashes.append(Crash(disk.crash(self._rng, survival), self.possible, f"{when}, {survival}"))


def round_of(
    seed: int,
    number: int,
    tally: Counter[str],
    *,
    states: int = STATES,
    only: int | None = None,
    mode: str = "full",
) -> int:
    """Runs one workload and opens its crash states.

    Args:
        seed, number: what happens follows from these two.
        tally: counts what was seen.
        states: at most so many of them.
        only: this one of them alone.
        mode: `sync_mode`. In other modes than `full`, what was not synced may be lost, from some moment on.

    Returns:
        How many crash states were opened.

    Raises:
        MismatchError: a crash state holds something else than it may; the note says how to see it again.
    """
    rng = random.Random(f"{seed} {number}")
    witness = Witness(rng, _CHANCE)
    workload = Workload(Disk(), rng.randrange(2**32), witness, mode)
    witness.workload = workload
    for _ in range(STEPS):
        workload.run(1)
        if rng.random() < _LATER:
            witness.take("after it")
    workload.discard()
    chosen = rng.sample(range(len(witness.crashes)), min(states, len(witness.crashes)))
    for place in chosen if only is None else [only]:
        crash = witness.crashes[place]
        try:
            recover(crash, random.Random(f"{seed} {number} {place}"), tally)
        except BaseException as error:
            error.add_note(f"again: power --seed {seed} --round {number} --state {place} --mode {mode}")
            raise
    return len(chosen)


def recover(crash: Crash, rng: random.Random, tally: Counter[str], again: int = 2) -> None:
    """Opens a crash state and checks it; sometimes after up to `again` losses of power while it is opened.

    Raises:
        MismatchError: it holds something else than it may.
    """
    try:
        laters = _recover(crash, rng, tally, again > 0 and rng.random() < _AGAIN)
    except BaseException as error:
        error.add_note(f"power was lost: {crash.when}")
        raise
    for later in laters:
        recover(dataclasses.replace(later, when=f"{crash.when}; again {later.when}"), rng, tally, again - 1)


def _recover(crash: Crash, rng: random.Random, tally: Counter[str], again: bool) -> list[Crash]:
    """Opens a crash state and checks it.

    Returns:
        Crash states from within the opening.
    """
    tally["opened"] += 1
    options = f"sync_mode=full&{OPTIONS}"
    witness = Witness(rng, 0.15 if again else 0)
    witness.disk, witness.possible = crash.disk, crash.possible
    db = Database(crash.disk, witness, rng.randrange(2**32), options)
    witness.chance = 0
    for warning in db.warnings:
        tally[_kind(warning)] += 1
    found = check(db, crash.possible, rng)
    tally["found what was acknowledged" if found == crash.possible[0] else "found another state that may be"] += 1
    if rng.random() < 0.5:
        db.close()
    else:
        db.discard()
    db = Database(crash.disk, None, 0, options)
    once_more = read(db)
    if once_more != found:
        raise MismatchError(f"opened once more: {difference(found, once_more)}")
    db.discard()
    return witness.crashes[:2]


def _kind(warning: str) -> str:
    """A warning without its numbers and names."""
    words = [word for word in warning.split() if word.isalpha()]
    return f"warned: {' '.join(words)}"
