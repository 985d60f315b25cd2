"""A few hundred of each; `python -m tests.faults` makes thousands."""

from __future__ import annotations

import base64
import random
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import pytest

from aiostoolap.core import protocol
from tests.faults import corruption, crashes, failures
from tests.faults.database import FOLDER, Database, EngineError
from tests.faults.disk import Disk, Survival
from tests.faults.model import MismatchError
from tests.faults.wasi import CHANGES, IO, Observer, SimulatedRuntime
from tests.faults.workload import Workload

pytestmark = pytest.mark.timeout(600)


def test_a_loss_of_power_loses_nothing_that_was_acknowledged() -> None:
    seed, tally = 1, Counter[str]()
    assert sum(crashes.round_of(seed, number, tally) for number in range(10)) >= 300
    assert tally["found what was acknowledged"]
    assert tally["found another state that may be"]


def test_a_call_that_fails_loses_nothing() -> None:
    seed = 2
    rng, tally = random.Random(seed), Counter[str]()
    for fault in failures.FAULTS:
        for k in rng.sample(range(1, failures.count(seed, fault) + 1), 60):
            failures.fail(seed, fault, k, tally)
    assert sum(tally.values()) - tally["never called"] > 20


def test_a_process_that_ends_within_a_checkpoint_loses_nothing() -> None:
    rng = random.Random(1)
    witness = crashes.Witness(rng, 0)
    witness.workload = workload = Workload(Disk(), 1, witness)
    workload.run(5)
    workload.take(workload.checkpoint)
    while "extra0" not in workload.done:
        workload.take(workload.definition)
    for _ in range(20):
        workload.take(workload.write)
    witness.chance = 1
    workload.take(workload.checkpoint)
    assert len(witness.crashes) > 20
    for crash in witness.crashes:
        crashes.recover(crash, rng, Counter())
    workload.discard()


class Copies(Observer):
    """Copies the disk before each change."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self.copies: list[Disk] = []

    def before(self, call: str) -> int:
        if call in CHANGES:
            self.copies.append(self._disk.copy())
        return 0


def test_a_definition_that_was_not_committed_does_not_come_back() -> None:
    disk = Disk()
    copies = Copies(disk)
    db = Database(disk, copies)
    db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY)")
    db.discard()
    absent = 0
    for copy in copies.copies:
        db = Database(copy)
        if not db.query("SHOW TABLES"):
            absent += 1
            db.execute("CREATE TABLE u (id INTEGER PRIMARY KEY)")
            db.discard()
            db = Database(copy)
            assert db.query("SHOW TABLES") == [("u",)]
        db.discard()
    assert absent


def test_a_table_is_made_with_its_rows_or_not_at_all() -> None:
    disk = Disk()
    copies = Copies(disk)
    db = Database(disk, copies)
    db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY)")
    db.execute("INSERT INTO t VALUES (1), (2), (3)")
    copies.copies.clear()
    db.execute("CREATE TABLE u AS SELECT id FROM t")
    db.execute("CREATE TABLE empty AS SELECT id FROM t WHERE id > 3")
    db.discard()
    for copy in [*copies.copies, disk]:
        for _ in range(2):
            db = Database(copy)
            tables = sorted(row[0] for row in db.query("SHOW TABLES"))
            assert tables in (["t"], ["t", "u"], ["empty", "t", "u"])
            if "u" in tables:
                assert sorted(row[0] for row in db.query("SELECT * FROM u")) == [1, 2, 3]
            db.discard()
    assert tables == ["empty", "t", "u"]


@pytest.mark.parametrize("others", [0, 2])
def test_a_commit_is_not_acknowledged_when_the_log_of_its_database_fails(others: int) -> None:
    """Also if there are other databases in the engine, and maintenance has run in all."""
    disk, failing = Disk(), failures.Failing("error", 0, "fd_sync")
    db = Database(disk, failing)
    requests = [protocol.open_database(f"file:///data/{number}?sync_mode=full") for number in range(others)]
    handles = [db.handle, *(protocol.opened(db.ask(request))[0] for request in requests)]
    for handle in handles:
        db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY)", connection=handle)
    for handle in handles:
        db.ask(protocol.maintain(0, "checkpoint"))
        failing.fail_at(1)
        with pytest.raises(EngineError) as raised:
            db.execute("INSERT INTO t VALUES (1)", connection=handle)
        assert raised.value.code == "io_error"
        db.execute("INSERT INTO t VALUES (2)", connection=handle)
    db.discard()


def test_a_row_that_the_log_cannot_hold_is_refused() -> None:
    disk = Disk()
    db = Database(disk)
    db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, note TEXT)")
    with pytest.raises(EngineError) as raised:
        text = base64.b64encode(random.Random(1).randbytes(49 << 20)).decode()  # Which cannot be compressed.
        db.execute("INSERT INTO t VALUES (1, $1)", (text,))
    assert raised.value.code == "not_supported"
    db.execute("INSERT INTO t VALUES (2, 'x')")
    db.discard()
    db = Database(disk)
    assert (db.query("SELECT * FROM t"), db.warnings) == ([(2, "x")], [])
    db.discard()


def test_no_bit_of_the_head_of_a_record_flips_in_silence() -> None:
    disk = Disk()
    db = Database(disk)
    db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, note TEXT)")
    for n in range(3):
        db.execute("INSERT INTO t VALUES ($1, $2)", (n, "x" * 90))
    db.discard()
    (path,) = [path for path in disk.files() if path.endswith(".log")]
    log = bytes(disk.files()[path].data)
    heads = [at for at in range(len(log)) if log.startswith(log[:4], at)]
    for head in heads[-3:]:  # Those of a commit, of a row, and of its commit.
        for bit in range(32 * 8):
            damaged = disk.copy()
            damaged.files()[path].data[head + bit // 8] ^= 1 << bit % 8
            try:
                db = Database(damaged)
            except EngineError as error:
                if error.code in corruption.TYPED:
                    continue
                raise
            rows = sorted(row[0] for row in db.query("SELECT * FROM t"))
            assert rows == [0, 1, 2] or (db.warnings and rows in ([0, 1], [0])), (head, bit, rows, db.warnings)
            db.discard()


def test_short_reads_and_writes_make_no_difference() -> None:
    failures.shorten(3)


def test_damage_is_never_silent() -> None:
    seed, tally = 4, Counter[str]()
    assert sum(corruption.round_of(seed, number, tally) for number in range(4)) == 200
    assert any("refused" in ended for ended in tally)
    assert any("all rows" in ended for ended in tally)


PanicAt: TypeAlias = Callable[[int, Callable[[], Any]], tuple[bool, bool]]


@pytest.fixture
def panic_at(monkeypatch: pytest.MonkeyPatch) -> PanicAt:
    """Calls something whose k-th look at the clock fails: whether it looks so often, and whether it fails.

    The engine panics wherever it cannot have the time, and some of that is with a lock held.
    """
    ask, left = SimulatedRuntime.clock_time_get, 0

    def fail_once(runtime: SimulatedRuntime, clock: int, precision: int, result: int) -> int:
        nonlocal left
        left -= 1
        return IO if left == 0 else ask(runtime, clock, precision, result)

    def panic_at(k: int, call: Callable[[], Any]) -> tuple[bool, bool]:
        nonlocal left
        left, failed = k, False
        try:
            call()
        except EngineError as error:
            assert error.code in ("engine_panic", "io_error"), error  # noqa: PT017
            failed = True
        reached, left = left <= 0, 0
        return reached, failed

    monkeypatch.setattr(SimulatedRuntime, "clock_time_get", fail_once)
    return panic_at


PANICS: dict[str, Callable[[Database, int], Any]] = {
    "insert": lambda db, _: db.execute("INSERT INTO t VALUES (2, 2)"),
    "commit": lambda db, transaction: db.ask(protocol.commit(transaction)),
    "rollback": lambda db, transaction: db.ask(protocol.rollback(transaction)),
    "alter": lambda db, _: db.execute("ALTER TABLE t ADD COLUMN more INTEGER DEFAULT 5"),
    "view": lambda db, _: db.execute("CREATE VIEW v AS SELECT id FROM t"),
    "table": lambda db, _: db.execute("CREATE TABLE u AS SELECT id FROM t"),
    "index": lambda db, _: db.execute("DROP INDEX by_b ON t"),
    "checkpoint": lambda db, _: db.maintain("checkpoint"),
    "snapshot": lambda db, _: db.maintain("snapshot"),
    "analyze": lambda db, _: db.maintain("analyze"),
}


@pytest.mark.parametrize("name", PANICS)
def test_a_panic_costs_one_statement_and_what_is_open(name: str, panic_at: PanicAt) -> None:
    panics = 0
    for k in range(1, 100):
        disk = Disk()
        db = Database(disk)
        db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, b INTEGER)")
        db.execute("CREATE INDEX by_b ON t(b)")
        db.execute("INSERT INTO t VALUES (1, 1)")
        other = protocol.handle(db.ask(protocol.clone(db.handle)))
        transaction = protocol.handle(db.ask(protocol.begin(other, None)))
        if name in ("commit", "rollback"):
            db.execute("INSERT INTO t VALUES (2, 2)", connection=transaction)
        reached, failed = panic_at(k, partial(PANICS[name], db, transaction))
        panics += failed
        if not reached:
            break
        for _ in range(2):
            # A lock that the panic has left may not be noticed before somebody wants it.
            try:
                rows = db.query("SELECT id FROM t ORDER BY id")
                db.execute("INSERT INTO t (id) VALUES (3)", connection=other)
                break
            except EngineError as error:
                assert "PoisonError" in str(error), error  # noqa: PT017
        else:
            pytest.fail("the lock is unusable for ever")
        assert rows in ([(1,)], [(1,), (2,)]), rows
        if name not in ("commit", "rollback"):
            db.ask(protocol.rollback(transaction))  # It is open still, or lost.
        db.close()
        db = Database(disk)
        assert db.query("SELECT id FROM t ORDER BY id") == [*rows, (3,)]
        db.close()
    else:
        pytest.fail("the engine asks for the time again and again")
    assert panics


@pytest.mark.parametrize("step", ["open", "close"])
def test_a_panic_while_a_database_is_opened_or_closed_is_as_a_kill(step: str, panic_at: PanicAt) -> None:
    ask_to_open = protocol.open_database(f"file:///data/{FOLDER}?sync_mode=full")
    panics = 0
    for k in range(1, 100):
        disk = Disk()
        db = Database(disk)
        db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY)")
        db.execute("INSERT INTO t VALUES (1)")
        if step == "open":
            db.ask(protocol.close_all())
        reached, failed = panic_at(k, partial(db.ask, ask_to_open if step == "open" else protocol.close_all()))
        panics += failed
        if not reached:
            break
        db.handle, _ = protocol.opened(db.ask(ask_to_open))
        assert db.query("SELECT id FROM t") == [(1,)]
        db.execute("INSERT INTO t VALUES (2)")
        db.close()
        db = Database(disk)
        assert db.query("SELECT id FROM t ORDER BY id") == [(1,), (2,)]
        db.close()
    else:
        pytest.fail("the engine asks for the time again and again")
    assert panics


def test_a_stop_that_is_asked_for_within_a_panic_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The panic's message takes memory before the engine's own hook sees the panic."""
    ask, fails = SimulatedRuntime.clock_time_get, False

    def stop_and_fail(runtime: SimulatedRuntime, clock: int, precision: int, result: int) -> int:
        if not fails:
            return ask(runtime, clock, precision, result)
        runtime.ring.stop(runtime.ring.own, 1)
        return IO

    monkeypatch.setattr(SimulatedRuntime, "clock_time_get", stop_and_fail)
    db = Database(Disk())
    for _ in range(3):
        fails = True
        with pytest.raises(EngineError, match="engine_panic"):
            db.query("SELECT NOW()")
        fails = False
        db._runtime.ring.stop(db._runtime.ring.own, 0)
        assert db.query("SELECT 1") == [(1,)]
    db.close()


# The tests above could fail:


def test_a_sync_that_does_nothing_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SimulatedRuntime, "fd_sync", lambda self, fd: 0)
    with pytest.raises((MismatchError, EngineError)):
        for number in range(5):
            crashes.round_of(1, number, Counter())


def test_a_directory_that_is_not_synced_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SimulatedRuntime, "sync_directories", lambda self: 0)
    with pytest.raises((MismatchError, EngineError)):
        for number in range(5):
            crashes.round_of(1, number, Counter())


@pytest.mark.parametrize(("survival", "left"), [("all", b"second"), ("none", b"first")])
def test_a_disk_keeps_what_was_synced(survival: Survival, left: bytes) -> None:
    disk = Disk()
    file = disk.file()
    disk.root.link("name", file)
    disk.sync_folders()
    file.write(0, b"first")
    file.sync()
    file.resize(0)
    file.write(0, b"second")
    assert disk.crash(random.Random(1), survival).files()["name"].data == left


def test_a_name_that_was_not_synced_can_be_gone() -> None:
    disk = Disk()
    file = disk.file(b"content")
    disk.root.link("old", file)
    disk.sync_folders()
    disk.root.rename("old", "new")
    names = {name for seed in range(20) for name in disk.crash(random.Random(seed), "subset").files()}
    assert names == {"old", "new"}


def test_the_same_seed_makes_the_same_files() -> None:
    def files() -> dict[str, bytes]:
        workload = Workload(Disk(), 5, Observer())
        workload.run(20)
        workload.discard()
        return {path: bytes(file.data) for path, file in workload.disk.files().items()}

    assert files() == files()


def test_a_database_on_a_disk_opens_again() -> None:
    disk = Disk()
    db = Database(disk)
    db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY)")
    db.execute("INSERT INTO t VALUES (1)")
    db.close()
    db = Database(disk)
    assert db.query("SELECT * FROM t") == [(1,)]
    db.discard()
