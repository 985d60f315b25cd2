"""What the end of a process or a loss of power leaves of the log, and what an opening makes of it."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from aiostoolap.core import protocol
from tests.faults.database import Database
from tests.faults.disk import Disk, File
from tests.faults.test_faults import Copies
from tests.faults.wasi import Observer

SECTOR = 512


def logs(disk: Disk) -> list[File]:
    """The files of the log, the newest last."""
    files = {path: file for path, file in disk.files().items() if path.endswith(".log")}
    return [files[path] for path in sorted(files)]


def sealed(disk: Disk, before: Disk) -> list[str]:
    """The tables whose manifests are not what they were."""
    files, old = disk.files(), before.files()
    paths = [path for path in files if path.endswith("/manifest.bin") and files[path].data != old[path].data]
    return [path.split("/")[-2] for path in paths]


def without_a_sector(disk: Disk, file: int, begin: int) -> Iterator[Disk]:
    """Copies of the disk, each of which has lost another sector of a file of the log, from there on."""
    for start in range(begin, len(logs(disk)[file].data), SECTOR):
        crash = disk.copy()
        data = logs(crash)[file].data
        end = min(start + SECTOR, len(data))
        data[start:end] = bytes(end - start)
        yield crash


def two_tables(db: Database, ids: str) -> None:
    """Makes t and u with these rows, which a checkpoint seals."""
    for table in "tu":
        db.execute(f"CREATE TABLE {table} (id INTEGER PRIMARY KEY)")
        db.execute(f"INSERT INTO {table} VALUES {ids}")
    db.maintain("checkpoint")


def insert_together(db: Database, first: int, count: int) -> None:
    """Inserts rows one by one, whose commits share a write."""
    note = random.Random(first).randbytes(300).hex()  # Which is about a sector, and cannot be compressed to less.
    sql = "INSERT INTO t VALUES ($1, $2)"
    requests = [protocol.execute(db.handle, sql, (n, note)) for n in range(first, first + count)]
    assert all(isinstance(reply, bytes) for reply in db.ask_together(requests))


def rows(db: Database, table: str = "t") -> list[int]:
    return [row[0] for row in db.query(f"SELECT id FROM {table} ORDER BY id")]


def test_what_was_built_upon_a_lost_sector_is_lost_with_it() -> None:
    """Commits that share a write: whichever sector of it is lost, what is left is a beginning of them."""
    disk = Disk()
    db = Database(disk)
    db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, note TEXT)")
    begin = len(logs(disk)[-1].data)
    insert_together(db, 0, 8)
    db.discard()
    left = set()
    for crash in without_a_sector(disk, -1, begin):
        db = Database(crash)
        found = rows(db)
        assert found == list(range(len(found)))
        assert db.warnings
        left.add(len(found))
        db.execute("INSERT INTO t VALUES (100, '')")
        db.discard()
        db = Database(crash)
        assert (rows(db), db.warnings) == ([*found, 100], [])
        db.discard()
    assert left == set(range(8))


@pytest.mark.parametrize("size", [36, 200])
def test_zeros_behind_the_head_of_a_record_are_no_record(size: int) -> None:
    disk = Disk()
    db = Database(disk)
    db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY)")
    db.execute("INSERT INTO t VALUES (0)")
    whole = len(logs(disk)[-1].data)
    db.execute("INSERT INTO t VALUES (1)")
    db.discard()
    del logs(disk)[-1].data[whole + 24 :]
    logs(disk)[-1].data.extend(bytes(size - 24))
    db = Database(disk)
    assert rows(db) == [0]
    assert f"its last {size} bytes" in "".join(db.warnings)
    db.execute("INSERT INTO t VALUES (2)")
    db.discard()
    db = Database(disk)
    assert (rows(db), db.warnings) == ([0, 2], [])
    db.discard()


class Rotations(Observer):
    """Copies the disk before each fsync at which the log has a new file, and the end of the other one is unsynced."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self.copies: list[tuple[Disk, int]] = []
        """With the size of what is synced in the other file."""

    def before(self, call: str) -> int:
        if call == "fd_sync" and len(files := logs(self._disk)) > 1 and files[-2].pending and not files[-1].data:
            self.copies.append((self._disk.copy(), len(files[-2].durable)))
        return 0


def test_a_rotation_that_is_interrupted_leaves_no_hole() -> None:
    """The next file may have its name before what the full one ends with is synced."""
    disk = Disk()
    rotations = Rotations(disk)
    db = Database(disk, rotations, options="sync_mode=normal&wal_max_size=6000")
    db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, note TEXT)")
    for first in range(0, 16, 4):
        insert_together(db, first, 4)
    db.discard()
    (copy, synced), *_ = rotations.copies
    assert len(logs(copy)[-2].data) > synced + 8 * SECTOR
    for copy, synced in rotations.copies:
        for crash in without_a_sector(copy, -2, synced):
            db = Database(crash)
            found = rows(db)
            assert found == list(range(len(found)))
            db.discard()


@pytest.mark.parametrize("sealed", [False, True])
def test_a_drop_that_was_interrupted_leaves_nothing_to_the_next_table(sealed: bool) -> None:
    disk = Disk()
    copies = Copies(disk)
    db = Database(disk, copies)
    two_tables(db, "(1), (2)")
    if not sealed:
        db.execute("INSERT INTO t VALUES (3)")
    copies.copies.clear()
    db.execute("DROP TABLE t")
    db.discard()
    dropped = 0
    for copy in [*copies.copies, disk]:
        for _ in range(2):  # The second one cuts the record of the drop from the log.
            Database(copy).close()
        db = Database(copy)
        if ("t",) in db.query("SHOW TABLES"):
            assert rows(db) == ([1, 2] if sealed else [1, 2, 3])
            db.discard()
            continue
        dropped += 1
        db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY)")
        for _ in range(2):
            assert (rows(db), db.query("SELECT id FROM u ORDER BY id")) == ([], [(1,), (2,)])
            db.close()
            db = Database(copy)
        db.discard()
    assert dropped


def test_a_drop_takes_nothing_of_a_newer_table() -> None:
    """Of the same name, which a checkpoint has sealed that was interrupted; what the log had of it has rotted."""
    disk = Disk()
    copies = Copies(disk)
    db = Database(disk, copies)
    two_tables(db, "(1)")
    db.execute("DROP TABLE t")
    db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY)")
    db.execute("INSERT INTO u VALUES (2)")
    size, before = len(logs(disk)[-1].data), disk.copy()
    db.execute("INSERT INTO t VALUES (2)")
    copies.copies.clear()
    db.maintain("checkpoint")
    db.discard()
    between = [copy for copy in copies.copies if sealed(copy, before) == ["t"]]
    assert between
    for copy in between:
        logs(copy)[-1].data[size + 40] ^= 1
        db = Database(copy)
        assert (rows(db), rows(db, "u")) == ([2], [1, 2])
        db.discard()


def test_records_go_on_behind_what_the_volumes_have() -> None:
    """Also when the log was cut before that: it rotted, and a checkpoint was interrupted that had sealed the rows."""
    disk = Disk()
    copies = Copies(disk)
    db = Database(disk, copies)
    two_tables(db, "(0)")
    for n in range(1, 10):
        db.execute("INSERT INTO t VALUES ($1)", (n,))
        db.execute("INSERT INTO u VALUES ($1)", (n,))
    size, before = len(logs(disk)[-1].data), disk.copy()
    copies.copies.clear()
    db.maintain("checkpoint")
    db.discard()
    between = [copy for copy in copies.copies if len(sealed(copy, before)) == 1]
    assert between
    for copy in between:
        logs(copy)[-1].data[size // 2] ^= 1
        db = Database(copy)
        found = {table: rows(db, table) for table in "tu"}
        assert sorted(map(max, found.values()))[1] == 9
        for n in (10, 11):
            for table in "tu":
                db.execute(f"INSERT INTO {table} VALUES ($1)", (n,))
                found[table].append(n)
            db.discard()
            db = Database(copy)
            assert {table: rows(db, table) for table in "tu"} == found
        db.discard()


def test_a_manifest_of_a_table_that_is_gone_is_no_loss() -> None:
    """The native engine leaves it there if it ends while it drops the table."""
    disk = Disk()
    db = Database(disk)
    db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY)")
    db.execute("INSERT INTO t VALUES (1)")
    db.maintain("checkpoint")
    path = "db/volumes/t/manifest.bin"
    manifest = bytes(disk.files()[path].data)
    db.execute("DROP TABLE t")
    for _ in range(2):
        db.close()
        db = Database(disk)
    db.close()
    disk.files()[path].data[:] = manifest
    db = Database(disk)
    assert db.query("SHOW TABLES") == []
    db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY)")
    db.execute("INSERT INTO t VALUES (2)")
    for _ in range(3):
        assert rows(db) == [2]
        db.close()
        db = Database(disk)
    db.discard()
