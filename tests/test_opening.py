"""Opening: all that was committed is there, or an error or a warning says what is not."""

from __future__ import annotations

import contextlib
import shutil
import struct
import warnings
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

import aiostoolap
from aiostoolap import DB, Engine
from aiostoolap.core.runtime import Runtime

LEAVE_LOG: dict[str, str | int | bool] = {"sync_mode": "full", "checkpoint_on_close": False}
COMMIT_MARKER = 2


@contextlib.asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[DB]:
    """The database, whose log stays as it is: as after a crash."""
    async with aiostoolap.connect(folder, options=LEAVE_LOG, checkpoint_every=None) as db:
        yield db


async def sealed(folder: Path) -> None:
    """A database with two tables whose rows are in files."""
    async with aiostoolap.connect(folder, checkpoint_every=None) as db:
        for table in ("t", "u"):
            await db.execute(f"CREATE TABLE {table} (a INTEGER PRIMARY KEY, b INTEGER)")
            await db.execute(f"CREATE INDEX by_b_{table} ON {table} (b)")
            await db.execute_many(f"INSERT INTO {table} VALUES ($1, $1)", ((n,) for n in range(500)))


def log(folder: Path) -> Path:
    """The log that the next commit goes to."""
    return max((folder / "wal").glob("*.log"), key=lambda file: int(file.stem.rpartition("lsn-")[2]))


def records(content: bytes) -> Iterator[tuple[int, int, int]]:
    """The records of a log: begin, end and flags of each."""
    begin = 0
    while begin < len(content):
        flags, head, size = (
            content[begin + 5],
            *struct.unpack_from("<H", content, begin + 6),
            *struct.unpack_from("<I", content, begin + 24),
        )
        end = begin + head + size + 4
        yield begin, end, flags
        begin = end


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in (folder / "volumes").rglob("*"))


DAMAGES = {
    "missing": lambda file: file.unlink(),
    "empty": lambda file: file.write_bytes(b""),
    "cut": lambda file: file.write_bytes(file.read_bytes()[: file.stat().st_size // 2]),
    "garbled": lambda file: file.write_bytes(bytes(byte ^ 0x55 for byte in file.read_bytes())),
}


@pytest.mark.parametrize("damage", DAMAGES)
async def test_a_volume_that_cannot_be_read_is_an_error(folder: Path, damage: str) -> None:
    await sealed(folder)
    (volume,) = folder.glob("volumes/t/*.vol")
    content = volume.read_bytes()
    DAMAGES[damage](volume)
    before = files(folder)
    for _ in range(2):
        with pytest.raises(
            aiostoolap.CorruptDatabaseError, match=rf"table .t. .*{volume.name}.*restore a backup"
        ) as caught:
            await aiostoolap.connect(folder)
        assert (caught.value.code, caught.value.fields) == ("corrupt", {"table": "t"})
    assert set(files(folder)) >= set(before), "nothing was removed"
    volume.write_bytes(content)
    async with aiostoolap.connect(folder) as db:
        assert await db.query_value("SELECT COUNT(*) FROM t") == 500


async def test_rows_of_the_log_stay_there_when_a_volume_cannot_be_read(folder: Path) -> None:
    await sealed(folder)
    async with opened(folder) as db:
        await db.execute("INSERT INTO u VALUES (1000, 1)")
        await db.execute("DELETE FROM t WHERE a = 7")
    (volume,) = folder.glob("volumes/t/*.vol")
    content = volume.read_bytes()
    volume.unlink()
    with pytest.raises(aiostoolap.CorruptDatabaseError):
        await aiostoolap.connect(folder)
    volume.write_bytes(content)
    async with aiostoolap.connect(folder) as db:
        assert await db.query_value("SELECT COUNT(*) FROM t") == 499
        assert await db.query_value("SELECT COUNT(*) FROM u") == 501


async def test_other_databases_of_the_engine_go_on(tmp_path: Path) -> None:
    await sealed(tmp_path / "bad")
    for volume in tmp_path.glob("bad/volumes/t/*.vol"):
        volume.unlink()
    async with Engine(tmp_path) as engine, await engine.open("file:///data/good") as good:
        with pytest.raises(aiostoolap.CorruptDatabaseError):
            await engine.open("file:///data/bad")
        await good.execute("CREATE TABLE t (a INTEGER)")
        (tmp_path / "bad").rename(tmp_path / "moved")  # The lock is free, and nothing is open.
        async with await engine.open("file:///data/bad") as fresh:
            assert await fresh.query("SHOW TABLES") == []


@pytest.mark.parametrize("damage", ["empty", "cut", "garbled"])
async def test_a_manifest_that_cannot_be_read_is_an_error(folder: Path, damage: str) -> None:
    await sealed(folder)
    manifest = folder / "volumes" / "t" / "manifest.bin"
    content = manifest.read_bytes()
    DAMAGES[damage](manifest)
    with pytest.raises(aiostoolap.CorruptDatabaseError, match="manifest for table 't'"):
        await aiostoolap.connect(folder)
    manifest.write_bytes(content)
    async with aiostoolap.connect(folder) as db:
        assert await db.query_value("SELECT COUNT(*) FROM t") == 500


async def test_a_manifest_that_is_missing_is_warned_of(folder: Path) -> None:
    """It is missing after a crash as well, and the rows are in the log then: so it is no error."""
    await sealed(folder)
    (folder / "volumes" / "t" / "manifest.bin").unlink()
    with pytest.warns(aiostoolap.RecoveryWarning, match=r'"/data/volumes/t" has no manifest.bin'):
        db = await aiostoolap.connect(folder)
    assert await db.query_value("SELECT COUNT(*) FROM u") == 500
    await db.close()


async def test_an_index_file_that_cannot_be_read_is_warned_of_and_not_needed(folder: Path) -> None:
    await sealed(folder)
    (side,) = folder.glob("volumes/t/*.sidx")
    DAMAGES["garbled"](side)
    with pytest.warns(aiostoolap.RecoveryWarning, match="volumes/t/"):
        db = await aiostoolap.connect(folder)
    assert await db.query("SELECT a FROM t WHERE b = 77", into=int) == [77]
    await db.close()


async def test_what_a_crash_leaves_of_a_new_log_is_not_worth_a_warning(folder: Path) -> None:
    await sealed(folder)
    (folder / "wal" / "wal_00000099-20260101-000000.prep").write_bytes(b"x")
    async with aiostoolap.connect(folder) as db:  # Warnings are errors here.
        assert await db.query_value("SELECT COUNT(*) FROM t") == 500


async def test_a_torn_end_of_the_log_swallows_no_later_commit(folder: Path, tmp_path: Path) -> None:
    """Guard H1: the engine appends where the last whole record ends, wherever the log was cut."""
    async with opened(folder) as db:
        await db.execute("CREATE TABLE t (a INTEGER PRIMARY KEY)")
        for n in range(5):
            await db.execute("INSERT INTO t VALUES ($1)", (n,))
    content = log(folder).read_bytes()
    *_, (row, _, _), (commit, end, _) = records(content)
    assert end == len(content)
    for cut in [*range(row + 1, commit, 9), *range(commit + 1, end, 9)]:
        copy = tmp_path / f"cut{cut}"
        shutil.copytree(folder, copy)
        log(copy).write_bytes(content[:cut])
        told = rf"its last {cut - row} bytes, from byte {row} on, were cut; they are kept in .*{log(copy).name}.damaged"
        with pytest.warns(aiostoolap.RecoveryWarning, match=told):
            db = await aiostoolap.connect(copy, options=LEAVE_LOG, checkpoint_every=None)
        assert await db.query("SELECT a FROM t ORDER BY a", into=int) == [0, 1, 2, 3]
        await db.execute("INSERT INTO t VALUES (100)")
        await db.close()
        async with opened(copy) as db:
            assert await db.query("SELECT a FROM t ORDER BY a", into=int) == [0, 1, 2, 3, 100]


async def test_a_transaction_without_its_commit_never_comes_back(folder: Path) -> None:
    """Guard H2: no later transaction has the number of one whose rows are in the log, and whose commit is not."""
    async with opened(folder) as db:
        await db.execute("CREATE TABLE t (a INTEGER PRIMARY KEY)")
        await db.execute("INSERT INTO t VALUES (1)")
        async with db.transaction() as tx:
            await tx.execute("INSERT INTO t VALUES (2)")
            await tx.execute("INSERT INTO t VALUES (3)")
    content = log(folder).read_bytes()
    *_, (commit, _, flags) = records(content)
    assert flags & COMMIT_MARKER
    log(folder).write_bytes(content[:commit])
    for n in range(10, 15):
        async with opened(folder) as db:
            assert await db.query("SELECT a FROM t ORDER BY a", into=int) == [1, *range(10, n)]
            await db.execute("INSERT INTO t VALUES ($1)", (n,))


async def test_a_commit_whose_record_is_damaged_is_none(folder: Path, tmp_path: Path) -> None:
    """Guard H3: each byte of it is covered by its checksum. What follows is cut off too: it may build upon it."""
    async with opened(folder) as db:
        await db.execute("CREATE TABLE t (a INTEGER PRIMARY KEY)")
        async with db.transaction() as tx:
            await tx.execute_many("INSERT INTO t VALUES ($1)", [(1,), (2,)])
        await db.execute("INSERT INTO t VALUES (3)")
    content = log(folder).read_bytes()
    begin, end, _ = [record for record in records(content) if record[2] & COMMIT_MARKER][-2]
    for place in range(begin + 32, end, 3):
        copy = tmp_path / f"flip{place}"
        shutil.copytree(folder, copy)
        log(copy).write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        damaged = log(copy).read_bytes()
        with pytest.warns(aiostoolap.RecoveryWarning, match="were cut; they are kept in"):
            db = await aiostoolap.connect(copy, options=LEAVE_LOG)
        assert await db.query("SELECT a FROM t ORDER BY a", into=int) == []
        await db.close()
        (kept,) = (copy / "wal").glob("*.damaged")
        assert log(copy).read_bytes() + kept.read_bytes() == damaged


async def test_all_that_is_cut_from_the_log_is_kept(folder: Path) -> None:
    async with opened(folder) as db:
        await db.execute("CREATE TABLE t (a INTEGER PRIMARY KEY)")
    for damage in (b"first", b"second", b"third"):
        with log(folder).open("ab") as file:
            file.write(damage)
        with pytest.warns(aiostoolap.RecoveryWarning, match=f"its last {len(damage)} bytes, .* they are kept in"):
            db = await aiostoolap.connect(folder, options=LEAVE_LOG)
        await db.close()
    assert {kept.read_bytes() for kept in (folder / "wal").glob("*.damaged*")} == {b"first", b"second", b"third"}
    async with aiostoolap.connect(folder) as db:  # It is no part of the log.
        assert await db.query("SHOW TABLES", into=str) == ["t"]


async def test_no_moment_of_a_checkpoint_loses_a_row(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guard H4: a crash at any fsync of a directory, in checkpoints that find new tables, changed ones, and both."""
    model: dict[str, dict[int, int]] = {}
    moments: list[tuple[Path, dict[str, dict[int, int]]]] = []
    sync = Runtime.sync_directories

    def copy_and_sync(runtime: Runtime) -> int:
        moment = tmp_path / f"moment{len(moments)}"
        shutil.copytree(folder, moment)
        moments.append((moment, {table: dict(rows) for table, rows in model.items()}))
        return sync(runtime)

    async def change(db: DB, table: str, count: int) -> None:
        """Makes the table, if it is new, changes some of its rows, removes some, and adds so many."""
        if table not in model:
            model[table] = {}
            await db.execute(f"CREATE TABLE {table} (a INTEGER PRIMARY KEY, b INTEGER)")
            await db.execute(f"CREATE INDEX by_b_{table} ON {table} (b)")
        rows = model[table]
        await db.execute(f"UPDATE {table} SET b = b + 1000 WHERE a < 3")
        await db.execute(f"DELETE FROM {table} WHERE a = 5 OR a = 6")
        rows.update({a: rows[a] + 1000 for a in range(3) if a in rows})
        rows.pop(5, None), rows.pop(6, None)
        added = range(max(rows, default=-1) + 1, max(rows, default=-1) + 1 + count)
        await db.execute_many(f"INSERT INTO {table} VALUES ($1, $1)", ((a,) for a in added))
        rows.update((a, a) for a in added)
        await db.execute(f"UPDATE {table} SET b = -1 WHERE a = $1", (added[-1] if added else 0,))
        rows.update({a: -1 for a in added[-1:] or [0] if a in rows})

    async with opened(folder) as db:
        for step in (
            [("bare", 0), ("one", 100), ("two", 50)],
            [("one", 7), ("three", 30)],
            [("two", 1)],
            [("four", 9)],
        ):
            for table, count in step:
                await change(db, table, count)
            monkeypatch.setattr(Runtime, "sync_directories", copy_and_sync)
            await db.checkpoint()
            monkeypatch.undo()
    assert len(moments) > 20
    for moment, expected in moments:
        for _ in range(2):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", aiostoolap.RecoveryWarning)  # A manifest may not be there yet.
                async with opened(moment) as db:
                    for table, rows in expected.items():
                        found = sorted(map(tuple, await db.query(f"SELECT a, b FROM {table}")))
                        assert found == sorted(rows.items()), (moment, table)
                        by_index = await db.query(f"SELECT a FROM {table} WHERE b = -1", into=int)
                        assert sorted(by_index) == [a for a, b in sorted(rows.items()) if b == -1], (moment, table)


@pytest.mark.parametrize("part", ["wal", "volumes"])
async def test_a_database_that_cannot_be_persisted_is_not_opened_in_memory(folder: Path, part: str) -> None:
    """Guard H5."""
    folder.mkdir()
    (folder / part).write_text("a file where a directory belongs")
    with pytest.raises(aiostoolap.OperationalError):
        await aiostoolap.connect(folder)
    assert (folder / part).read_text() == "a file where a directory belongs"
    (folder / part).unlink()
    async with aiostoolap.connect(folder) as db:
        await db.execute("CREATE TABLE t (a INTEGER)")
    async with aiostoolap.connect(folder) as db:
        assert await db.query("SHOW TABLES", into=str) == ["t"]


async def test_what_is_committed_in_one_database_is_not_in_another(tmp_path: Path) -> None:
    """Guard H14: the numbers of transactions are those of a database, also of one that was closed and opened again."""
    async with Engine(tmp_path) as engine:
        for _ in range(3):
            async with await engine.open("file:///data/one") as one, await engine.open("file:///data/two") as two:
                for db in (one, two):
                    await db.execute("CREATE TABLE IF NOT EXISTS t (a INTEGER)")
                await one.execute_many("INSERT INTO t VALUES ($1)", ((n,) for n in range(50)))
                for _ in range(50):  # Numbers that the other has committed.
                    await one.execute("INSERT INTO t VALUES (0)")
                    async with two.transaction() as tx:
                        await tx.execute("INSERT INTO t VALUES (1)")
                        assert await two.query("SELECT a FROM t") == []
                        await tx.rollback()


async def test_a_warning_that_is_an_error_leaves_nothing_open(folder: Path) -> None:
    await sealed(folder)
    (folder / "volumes" / "t" / "manifest.bin").unlink()
    with warnings.catch_warnings():
        warnings.simplefilter("error", aiostoolap.RecoveryWarning)
        with pytest.raises(aiostoolap.RecoveryWarning):
            await aiostoolap.connect(folder, options=LEAVE_LOG)
    shutil.rmtree(folder)
    async with aiostoolap.connect(folder) as db:
        assert await db.query("SHOW TABLES") == []
