"""A restore is all or nothing: whatever ends it, fails in it, or has damaged the snapshot."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from tests.faults import crashes
from tests.faults.database import Database, EngineError
from tests.faults.disk import Disk
from tests.faults.failures import FAULTS, TYPED, Failing, Fault
from tests.faults.model import State, check, read
from tests.faults.test_faults import Copies
from tests.faults.wasi import Observer
from tests.faults.workload import OPTIONS, Workload

pytestmark = pytest.mark.timeout(600)

FULL = f"sync_mode=full&{OPTIONS}"


@dataclass
class Original:
    """A database with a snapshot, and what the two hold."""

    disk: Disk
    now: State
    saved: State


class Switch(Observer):
    """Another observer's calls, once there is one."""

    def __init__(self) -> None:
        self.to = Observer()

    def before(self, call: str) -> int:
        return self.to.before(call)

    def length(self, call: str, size: int) -> int:
        return self.to.length(call, size)


@pytest.fixture(scope="module")
def original() -> Original:
    workload = saved(Observer())
    workload.discard()
    assert workload.saved is not None
    return Original(workload.disk, workload.done, workload.saved)


def saved(observer: Observer) -> Workload:
    """A database that has changed since its second snapshot: rows, indexes, and tables that came and went."""
    workload = Workload(Disk(), 1, observer)
    workload.run(15)
    workload.take(workload.snapshot)
    workload.run(15)
    while len(workload.done) < 4:
        workload.take(workload.definition)
    workload.take(workload.snapshot)
    assert workload.saved is not None
    while workload.saved.keys() == workload.done.keys():
        workload.take(workload.definition)
    for _ in range(10):
        workload.take(workload.write)
    return workload


def test_one_that_is_interrupted_is_done_or_not() -> None:
    """By the end of the process or a loss of power, before each of its calls, and again while it is opened."""
    witness = crashes.Witness(random.Random(1), 0)
    witness.workload = workload = saved(witness)
    witness.chance = 1
    workload.take(workload.restore)
    workload.discard()
    assert len(witness.crashes) > 50
    tally = Counter[str]()
    for crash in witness.crashes:
        crashes.recover(crash, random.Random(0), tally)
    assert tally["found what was acknowledged"]
    assert tally["found another state that may be"]
    for crash in witness.crashes[::10]:
        db = Database(crash.disk, None, 0, FULL)
        db.maintain("restore")
        assert read(db) == workload.saved, crash.when
        db.close()
        assert not [path for path in crash.disk.files() if "/.rest" in path]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_call_that_fails_leaves_what_was_there_or_the_snapshot(original: Original, fault: Fault) -> None:
    def restore(k: int) -> Failing:
        switch, failing = Switch(), Failing(fault, k)
        disk = original.disk.copy()
        db = Database(disk, switch, 0, FULL)
        switch.to = failing
        error = attempt(db)
        switch.to = Observer()
        if error is not None:
            assert failing.hit, error
            assert error.code in TYPED, (k, error)
            assert read_again(db) in (original.now, original.saved), (k, failing.hit, error)
        else:
            assert read(db) == original.saved, (k, failing.hit)
        db.discard()
        db = Database(disk, None, 0, FULL)
        check(db, [original.now, original.saved], random.Random(k))
        db.maintain("restore")
        assert read(db) == original.saved
        db.discard()
        return failing

    count = restore(0).count
    assert count > 50
    for k in random.Random(3).sample(range(1, count + 1), min(count, 80)):
        restore(k)


def attempt(db: Database) -> EngineError | None:
    """Restores the newest snapshot; what it raised."""
    try:
        db.maintain("restore")
    except EngineError as error:
        return error
    return None


def read_again(db: Database) -> State:
    """What the database holds, which may have to be opened again first, and not at once."""
    while True:
        try:
            return read(db)
        except EngineError as error:
            if "opened again" not in str(error):
                raise


def flip(data: bytearray, place: int) -> None:
    data[place] ^= 1


def cut(data: bytearray, place: int) -> None:
    del data[place:]


@pytest.mark.parametrize("damage", [flip, cut])
def test_a_damaged_snapshot_is_refused_and_changes_nothing(
    original: Original, damage: Callable[[bytearray, int], None]
) -> None:
    rng = random.Random(4)
    newest = max(path for path in original.disk.files() if "snapshots/manifest-" in path)
    timestamp = newest.partition("manifest-")[2].removesuffix(".json")
    paths = [path for path in original.disk.files() if timestamp in path]
    assert {path.rpartition("/")[2].partition("-")[0] for path in paths} == {"manifest", "ddl", "snapshot"}
    refused = 0
    for path in paths:
        size = len(original.disk.files()[path].data)
        for place in rng.sample(range(size), 8):
            disk = original.disk.copy()
            damage(disk.files()[path].data, place)
            db = Database(disk, None, 0, FULL)
            error = attempt(db)
            if error is not None:
                refused += 1
                assert error.code == "corrupt", (path, place, error)
                check(db, [original.now], rng)
            else:
                assert read(db) == original.saved, (path, place)  # What says when it was made, and the like.
            db.discard()
    assert refused > 7 * len(paths)


@pytest.mark.parametrize("part", ["ddl-", "snapshot-"])
def test_a_snapshot_that_lacks_a_file_is_refused(original: Original, part: str) -> None:
    disk = original.disk.copy()
    path = max(path for path in disk.files() if path.rpartition("/")[2].startswith(part))
    folder, name = disk.root, path
    while "/" in name:
        first, _, name = name.partition("/")
        folder = folder.entries[first]  # type: ignore[assignment]  # which is a directory
    folder.unlink(name)
    db = Database(disk, None, 0, FULL)
    with pytest.raises(EngineError) as raised:
        db.maintain("restore", None if part == "ddl-" else max(timestamps(disk)))
    assert raised.value.code == "corrupt"
    assert read(db) == original.now
    db.discard()


def timestamps(disk: Disk) -> list[str]:
    """Those of the snapshots."""
    return [path.partition("manifest-")[2].removesuffix(".json") for path in disk.files() if "/manifest-" in path]


def test_an_older_log_is_not_replayed_over_it() -> None:
    """One that a first checkpoint of a table has left, which was interrupted."""
    disk = Disk()
    copies = Copies(disk)
    db = Database(disk, copies)
    db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, note TEXT)")
    db.execute("INSERT INTO t VALUES (1, 'old')")
    db.maintain("snapshot")
    db.execute("UPDATE t SET note = 'new'")
    db.execute("INSERT INTO t VALUES (2, 'new')")
    copies.copies.clear()
    db.maintain("checkpoint")
    db.discard()
    assert len(copies.copies) > 10
    for copy in copies.copies:
        db = Database(copy)
        db.maintain("restore")
        db.discard()
        for _ in range(2):
            db = Database(copy)
            assert db.query("SELECT * FROM t") == [(1, "old")]
            db.discard()
