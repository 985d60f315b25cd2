"""Backups: copies of a database that is in use."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path

import pytest

import aiostoolap
from aiostoolap import backup
from aiostoolap.directory import RESTORING


async def test_a_backup_is_consistent_while_writes_go_on(folder: Path, tmp_path: Path) -> None:
    """What was committed before it is there; of what is committed meanwhile, all of a transaction or nothing."""
    async with aiostoolap.connect(folder, checkpoint_every=0.05) as db:
        await db.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT)")
        await db.execute("CREATE TABLE old (a INTEGER PRIMARY KEY, b TEXT)")
        await db.execute_many("INSERT INTO old VALUES (?, ?)", ((n, f"b{n}") for n in range(20_000)))
        await db.execute("CREATE INDEX by_b ON old (b)")
        written = 0
        going = True

        async def write() -> None:
            nonlocal written
            while going:
                n = written + 1
                async with db.transaction() as tx:
                    await tx.execute("INSERT INTO t VALUES ($1, 'one')", (n,))
                    await tx.execute("INSERT INTO t VALUES ($1, 'two')", (-n,))
                written = n

        writing = asyncio.create_task(write())
        for round_ in range(3):
            await asyncio.sleep(0.05)
            before = written
            await db.backup(tmp_path / f"copy{round_}")
            after = written + 1
            async with aiostoolap.connect(tmp_path / f"copy{round_}") as copy:
                there = await copy.query("SELECT a FROM t WHERE a > 0 ORDER BY a", into=int)
                assert there == list(range(1, len(there) + 1))
                assert before <= len(there) <= after
                assert await copy.query("SELECT -a FROM t WHERE a < 0 ORDER BY a DESC", into=int) == there
                assert await copy.query_value("SELECT COUNT(*) FROM old") == 20_000
                assert await copy.query("SELECT a FROM old WHERE b = 'b777'", into=int) == [777]
                await copy.execute("DELETE FROM old")
        going = False
        await writing
        assert await db.query_value("SELECT COUNT(*) FROM old") == 20_000
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy0", "copy1", "copy2", "db"]


async def test_files_that_have_settled_are_copied_once(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backup, "_SETTLED", -1_000_000_000)
    async with aiostoolap.connect(folder, checkpoint_every=None) as db:
        for table in ("kept", "dropped", "changed"):
            await db.execute(f"CREATE TABLE {table} (a INTEGER PRIMARY KEY)")
            await db.execute_many(f"INSERT INTO {table} VALUES (?)", ((n,) for n in range(100)))
        prepare = backup.Backup.prepare

        def change_after(self: backup.Backup) -> None:
            prepare(self)
            asyncio.run_coroutine_threadsafe(change(), loop).result()

        async def change() -> None:
            await db.execute("DROP TABLE dropped")
            await db.execute("INSERT INTO changed VALUES (1000)")
            await db.checkpoint()

        loop = asyncio.get_running_loop()
        monkeypatch.setattr(backup.Backup, "prepare", change_after)
        await db.backup(tmp_path / "copy")
    async with aiostoolap.connect(tmp_path / "copy") as copy:
        assert sorted(await copy.query("SHOW TABLES", into=str)) == ["changed", "kept"]
        assert await copy.query_value("SELECT COUNT(*) FROM changed") == 101
        assert await copy.query_value("SELECT COUNT(*) FROM kept") == 100


async def test_backups_that_cannot_be(folder: Path, tmp_path: Path) -> None:
    async with aiostoolap.connect() as db:
        with pytest.raises(aiostoolap.NotSupportedError, match="no files"):
            await db.backup(tmp_path / "copy")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "nowhere").symlink_to(tmp_path / "missing")
    async with aiostoolap.connect(folder) as db:
        await db.execute("CREATE TABLE t (a INTEGER)")
        with pytest.raises(aiostoolap.InterfaceError, match="exists"):
            await db.backup(tmp_path)
        with pytest.raises(aiostoolap.InterfaceError, match="within"):
            await db.backup(folder / "copy")
        for name in ("nul\0", "no text \udcff"):
            with pytest.raises(aiostoolap.InterfaceError, match="cannot be a backup"):
                await db.backup(tmp_path / name)
        for name in ("long" * 100, "loop/copy"):  # The latter is an InterfaceError before Python 3.13.
            with pytest.raises(aiostoolap.Error, match="cannot be"):
                await db.backup(tmp_path / name)
        with pytest.raises(aiostoolap.InterfaceError, match="exists"):
            await db.backup(tmp_path / "nowhere")
        (tmp_path / "file").write_text("")
        with pytest.raises(aiostoolap.OperationalError, match="cannot be written"):
            await db.backup(tmp_path / "file" / "copy")
        assert await db.execute("INSERT INTO t VALUES (1)") == 1
    with pytest.raises(aiostoolap.ClosedError):
        await db.backup(tmp_path / "copy")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["db", "file", "loop", "nowhere"]


async def test_a_backup_that_fails_at_the_end(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path, *, files: bool) -> None:
        raise OSError(28, os.strerror(28))

    async with aiostoolap.connect(folder) as db:
        await db.execute("CREATE TABLE t (a INTEGER)")
        monkeypatch.setattr(backup, "sync_tree", fail)
        with pytest.raises(aiostoolap.OperationalError, match="No space left"):
            await db.backup(tmp_path / "copy")
        assert await db.execute("INSERT INTO t VALUES (1)") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["db"]


async def test_a_backup_whose_name_is_not_durable_is_none(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: Path) -> None:
        assert path == tmp_path, "the files, and their directory, have been synced before"
        assert (tmp_path / "copy").exists()
        raise OSError(5, os.strerror(5))

    async with aiostoolap.connect(folder) as db:
        await db.execute("CREATE TABLE t (a INTEGER)")
        monkeypatch.setattr(backup, "sync", fail)
        with pytest.raises(aiostoolap.OperationalError, match="Input/output error"):
            await db.backup(tmp_path / "copy")
    assert [path.name for path in tmp_path.iterdir()] == ["db"]


async def test_two_backups_to_one_place(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second one touches nothing of the first one, which would be thought whole."""
    monkeypatch.setattr(backup, "_SETTLED", -1_000_000_000)
    async with aiostoolap.connect(folder) as db, aiostoolap.connect(tmp_path / "other") as other:
        await db.execute("CREATE TABLE t (a INTEGER)")
        await db.execute("INSERT INTO t VALUES (1)")
        await other.execute("CREATE TABLE other (a INTEGER)")
        prepare = backup.Backup.prepare

        def second_after(self: backup.Backup) -> None:
            prepare(self)
            monkeypatch.setattr(backup.Backup, "prepare", prepare)
            for copied in (db, other):
                with pytest.raises(aiostoolap.OperationalError, match="somebody else is making it"):
                    asyncio.run_coroutine_threadsafe(copied.backup(tmp_path / "copy"), loop).result()

        loop = asyncio.get_running_loop()
        monkeypatch.setattr(backup.Backup, "prepare", second_after)
        await db.backup(tmp_path / "copy")
    async with aiostoolap.connect(tmp_path / "copy") as copy:
        assert await copy.query("SELECT a FROM t", into=int) == [1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy", "db", "other"]


def test_a_backup_that_is_done_takes_nothing_away(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its task may be cancelled just then, while the next one is on its way."""
    monkeypatch.setattr(backup, "_SETTLED", -1_000_000_000)
    folder.mkdir()
    (folder / "file").write_text("content")
    done = backup.Backup(folder, tmp_path / "copy")
    done.prepare()
    done.finish(b"")
    (tmp_path / "copy").rename(tmp_path / "yesterday")
    following = backup.Backup(folder, tmp_path / "copy")
    following.prepare()
    done.discard()
    following.finish(b"")
    assert (tmp_path / "copy" / "file").read_text() == (tmp_path / "yesterday" / "file").read_text() == "content"


async def test_what_a_killed_process_has_left_of_a_backup_is_no_part_of_the_next(folder: Path, tmp_path: Path) -> None:
    left = tmp_path / ".copy.partial" / "volumes" / "t"
    left.mkdir(parents=True)
    (left / "vol_1.vol").write_text("half")
    async with aiostoolap.connect(folder) as db:
        await db.execute("CREATE TABLE t (a INTEGER)")
        await db.backup(tmp_path / "copy")
    assert not (tmp_path / "copy" / "volumes" / "t" / "vol_1.vol").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy", "db"]


async def test_a_backup_that_is_cancelled_leaves_nothing(folder: Path, tmp_path: Path) -> None:
    async with aiostoolap.connect(folder) as db:
        await db.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT)")
        await db.execute_many("INSERT INTO t VALUES (?, ?)", ((n, "x" * 100) for n in range(10_000)))
        for pause in range(8):
            copying = asyncio.ensure_future(db.backup(tmp_path / "copy"))
            await asyncio.sleep(pause / 100)
            copying.cancel()
            try:
                await copying
            except asyncio.CancelledError:
                assert not list(tmp_path.glob(".*"))
            if (tmp_path / "copy").exists():
                break  # It had come to its end.
        assert await db.query_value("SELECT COUNT(*) FROM t") == 10_000


async def test_a_backup_that_is_cancelled_as_it_begins_leaves_nothing(folder: Path, tmp_path: Path) -> None:
    """Nor does its thread, which goes on after the cancellation of a task of asyncio, claim the directory."""
    async with aiostoolap.connect(folder) as db:
        await db.execute("CREATE TABLE t (a INTEGER)")
        for turns in range(40):
            copying = asyncio.ensure_future(db.backup(tmp_path / "copy"))
            for _ in range(turns):
                await asyncio.sleep(0)
            copying.cancel()
            with pytest.raises(asyncio.CancelledError):
                await copying
            assert not list(tmp_path.glob(".*"))
            shutil.rmtree(tmp_path / "copy", ignore_errors=True)  # It had come to its end.
        await db.backup(tmp_path / "copy")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy", "db"]


async def test_a_backup_takes_nothing_of_a_restore(folder: Path, tmp_path: Path) -> None:
    """What it is in the midst of would take the place of the copy's own files."""
    async with aiostoolap.connect(folder) as db:
        await db.execute('CREATE TABLE ".restored" (a INTEGER)')
        await db.execute('INSERT INTO ".restored" VALUES (1)')
        for name in RESTORING:
            part = folder / name / "wal" / "part.log"
            part.parent.mkdir(parents=True)
            part.touch()
            os.utime(part, (0, 0))
        await db.backup(tmp_path / "copy")
        assert not list((tmp_path / "copy").glob(".rest*"))
        shutil.rmtree(folder / ".restored")
    async with aiostoolap.connect(tmp_path / "copy") as db:
        assert await db.query_value('SELECT a FROM ".restored"') == 1
