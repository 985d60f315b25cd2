"""Damaged files: bits that flip, blocks that are zero, ends that are missing; and what the engine says of them."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass

from tests.faults.database import FOLDER, Database, EngineError
from tests.faults.disk import Disk, File
from tests.faults.model import MismatchError, Row, State, check, difference, read
from tests.faults.wasi import Observer
from tests.faults.workload import OPTIONS, Workload

DAMAGES = 50
"""Damages of a round: of one database, each of a copy of it."""
STEPS = 60
_OPTIONS = f"sync_mode=full&{OPTIONS}"
TYPED = frozenset({"corrupt", "io_error"})
"""The codes that the failure to read a damaged file may have."""


@dataclass
class Original:
    """A database before it is damaged.

    Attributes:
        disk: its files.
        state: what it holds.
        snapshot: what its newest snapshot holds; None if it has none.
        past: what it held at earlier times.
        history: all rows that it held at any time, with the names of their tables.
    """

    disk: Disk
    state: State
    snapshot: State | None
    past: list[State]
    history: set[tuple[str, Row]]


def make(seed: int) -> Original:
    """Makes a database with files of every kind; some are closed, and some were killed."""
    rng = random.Random(seed)
    workload = Workload(Disk(), seed, Observer())
    for number in range(STEPS):
        workload.take(workload.snapshot) if number == STEPS // 2 else workload.run(1)
    if rng.random() < 0.3:
        workload.db.close()
    else:
        workload.discard()
    rows = {(name, row) for state in workload.past for name, table in state.items() for row in table.rows.values()}
    return Original(workload.disk, workload.done, workload.saved, workload.past, rows)


def kind_of(path: str) -> str:
    """The kind of a file, by its name."""
    name = path.rpartition("/")[2]
    if name.startswith("wal"):
        return "log"
    if path.startswith(f"{FOLDER}/snapshots"):
        return f"snapshot: {name.split('-')[0].split('.')[0]}"
    return name if name in ("checkpoint.meta", "manifest.bin", "db.lock") else name.rpartition(".")[2]


def damage(file: File, rng: random.Random) -> str:
    """Damages a file, and says how."""
    size = len(file.data)
    place = rng.randrange(size)
    kind = rng.choice(["flip", "flip", "flip", "cut", "zero"])
    match kind:
        case "flip":
            bit = rng.randrange(8)
            file.data[place] ^= 1 << bit
            return f"bit {bit} of byte {place} flipped, of {size}"
        case "zero":
            end = min(size, place + rng.choice([1, 8, 512]))
            file.data[place:end] = bytes(end - place)
            return f"bytes {place} to {end} made zero, of {size}"
        case _:
            del file.data[place:]
            return f"cut to {place} bytes, of {size}"


def round_of(seed: int, number: int, tally: Counter[str], *, damages: int = DAMAGES, only: int | None = None) -> int:
    """Makes a database and damages it.

    Args:
        seed, number: what happens follows from these two.
        tally: counts how it ended, by kinds of files.
        damages: so many of them, each of a copy.
        only: this one of them alone.

    Raises:
        MismatchError: the engine lost something without a word; the note says how to see it again.
    """
    original = make(random.Random(f"{seed} {number}").randrange(2**32))
    if (found := _reopened(original.disk.copy())) != original.state:
        raise MismatchError(f"undamaged: {difference(original.state, found)}: --seed {seed} --round {number}")
    for place in range(damages) if only is None else [only]:
        rng = random.Random(f"{seed} {number} {place}")
        disk = original.disk.copy()
        kinds: dict[str, list[str]] = {}
        for path, file in disk.files().items():
            if file.data:
                kinds.setdefault(kind_of(path), []).append(path)
        kind = rng.choice(sorted(kinds))
        path = rng.choice(sorted(kinds[kind]))
        what = damage(disk.files()[path], rng)
        try:
            tally[f"{kind}: {judge(original, disk, kind, rng, cut=what.startswith('cut'))}"] += 1
        except BaseException as error:
            error.add_note(f"{path}: {what}: damage --seed {seed} --round {number} --state {place}")
            raise
    return damages


def judge(original: Original, disk: Disk, kind: str, rng: random.Random, *, cut: bool) -> str:
    """Opens a damaged database, one of whose files was perhaps cut.

    Returns:
        How it ended.

    Raises:
        MismatchError: something is wrong, and nobody was told.
    """
    try:
        db = Database(disk, None, 0, _OPTIONS)
    except EngineError as error:
        return f"refused, {_typed(error)}"
    try:
        ended = _judge(original, db, rng, cut=cut and kind == "log")
        if kind.startswith("snapshot") and ended == "all rows":
            ended = _restore(original, db)
    except EngineError as error:
        ended = f"refused later, {_typed(error)}"
    finally:
        db.discard()
    if ended == "all rows" and not kind.startswith("snapshot") and (again := _reopened(disk)) != original.state:
        raise MismatchError(f"opened once more: {difference(original.state, again)}")
    return ended


def _judge(original: Original, db: Database, rng: random.Random, *, cut: bool) -> str:
    found = read(db)
    if found == original.state:
        check(db, [found], rng)
        return "all rows"
    if cut and found in original.past and not db.warnings:
        return "an earlier moment"  # Cut between two records: so ends the log of a database that was killed then.
    wrong = [row for name, table in found.items() for row in table.rows.values() if (name, row) not in original.history]
    if wrong or not any(line.startswith("Warning:") for line in db.warnings):
        lost = difference(original.state, found)
        raise MismatchError(f"{'wrong rows' if wrong else 'silence'}: {lost}; it said {db.warnings}")
    return "a warning"


def _restore(original: Original, db: Database) -> str:
    try:
        db.maintain("restore")
    except EngineError as error:
        if (found := read(db)) != original.state:
            raise MismatchError(f"after a restore that failed: {difference(original.state, found)}") from error
        return f"not restored, {_typed(error)}"
    found = read(db)
    if original.snapshot is None or found != original.snapshot:
        raise MismatchError(f"restored: {difference(original.snapshot or {}, found)}")
    return "restored"


def _reopened(disk: Disk) -> State:
    db = Database(disk, None, 0, _OPTIONS)
    state = read(db)
    db.discard()
    return state


def _typed(error: EngineError) -> str:
    if error.code not in TYPED:
        raise MismatchError(f"{error.code}: {error}") from error
    return error.code
