"""The stamp: a database that a newer engine has written is refused, and any other is accepted and stamped."""

from __future__ import annotations

import asyncio
import gc
import importlib
import importlib.util
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import aiostoolap
from aiostoolap import Engine


@pytest.fixture
def file(folder: Path) -> Path:
    return folder / "aiostoolap.json"


async def version() -> str:
    async with Engine() as engine:
        return engine.version


async def test_a_database_is_stamped_with_the_engines_version(folder: Path, file: Path) -> None:
    async with aiostoolap.connect(folder) as db:
        assert json.loads(file.read_text()) == {"format": 1, "engine": await version()}
        await db.execute("CREATE TABLE t (a INTEGER)")
        before = file.stat()
    async with aiostoolap.connect(folder):
        pass
    assert file.stat().st_mtime_ns == before.st_mtime_ns, "it is written once"
    assert sorted(path.name for path in folder.iterdir()) == ["aiostoolap.json", "db.lock", "wal"]


@pytest.mark.parametrize("newer", ["0.4.3", "0.5", "0.10.0", "1.0.0-beta.1", "0.4.2.1"])
async def test_a_newer_engines_database_is_refused(folder: Path, file: Path, newer: str) -> None:
    folder.mkdir()
    file.write_text(json.dumps({"format": 1, "engine": newer, "other": [1]}))
    for _ in range(2):  # The lock is free again.
        with pytest.raises(aiostoolap.OperationalError, match=f"with engine {newer} or newer") as caught:
            await aiostoolap.connect(folder)
        assert caught.value.code == "newer_engine"
    assert sorted(path.name for path in folder.iterdir()) == ["aiostoolap.json", "db.lock"], "nothing was written"


@pytest.mark.parametrize("older", ["0.4.1", "0.3.9", "0", "0.4.2-beta"])
async def test_an_older_engines_database_is_stamped_anew(folder: Path, file: Path, older: str) -> None:
    folder.mkdir()
    file.write_text(json.dumps({"format": 1, "engine": older}))
    async with aiostoolap.connect(folder):
        written = json.loads(file.read_text())["engine"]
    assert written == ("0.4.2-beta" if older == "0.4.2-beta" else await version())


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b'{"format": 1}',
        b'{"format": "1", "engine": "0.4.2"}',
        b'{"format": 1, "engine": 4}',
        b'{"format": 1, "engine": ""}',
        b'{"format": 1, "engine": "next"}',
        b'{"format": 1, "engine": "0.4.2"}' + b" " * 5000 + b"x",
        b"[" * 4000,
    ],
)
async def test_a_garbled_stamp_is_an_error_that_says_what_to_do(folder: Path, file: Path, content: bytes) -> None:
    async with aiostoolap.connect(folder) as db:
        await db.execute("CREATE TABLE t (a INTEGER)")
    file.write_bytes(content)
    with pytest.raises(aiostoolap.CorruptDatabaseError, match="remove that file, and open the database again"):
        await aiostoolap.connect(folder)
    assert file.read_bytes() == content
    file.unlink()
    async with aiostoolap.connect(folder) as db:
        assert await db.query("SHOW TABLES", into=str) == ["t"]
    assert file.exists()


async def test_a_newer_form_of_the_stamp_is_refused(folder: Path, file: Path) -> None:
    folder.mkdir()
    file.write_text('{"format": 2, "engine": "0.4.2"}')
    with pytest.raises(aiostoolap.OperationalError, match="has the format 2") as caught:
        await aiostoolap.connect(folder)
    assert caught.value.code == "newer_engine"


async def test_a_stamp_that_is_no_file_is_an_error(folder: Path, file: Path, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    canary.write_text('{"format": 1, "engine": "0.4.2"}')
    folder.mkdir()
    makers: list[Callable[[], object]] = [lambda: file.symlink_to(canary), lambda: os.mkfifo(file), file.mkdir]
    for make in makers:
        make()
        with pytest.raises(aiostoolap.OperationalError, match="stamp cannot be read or written"):
            await aiostoolap.connect(folder)
        file.rmdir() if file.is_dir() else file.unlink()
    # Nor is what a crash, or somebody, has left beside it followed.
    (folder / ".aiostoolap.json.partial").symlink_to(canary)
    async with aiostoolap.connect(folder):
        pass
    assert canary.read_text() == '{"format": 1, "engine": "0.4.2"}'
    assert not (folder / ".aiostoolap.json.partial").is_symlink()


async def test_a_stamp_that_cannot_be_written_is_an_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fsync = os.fsync

    def fail(descriptor: int) -> None:
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(5, "Input/output error")
        fsync(descriptor)

    folder.mkdir()
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(aiostoolap.OperationalError, match=r"stamp cannot be read or written: .*Input/output error"):
        await aiostoolap.connect(folder)
    monkeypatch.undo()
    async with aiostoolap.connect(folder):
        pass


async def test_backups_and_snapshots_carry_it(folder: Path, file: Path, tmp_path: Path) -> None:
    async with aiostoolap.connect(folder) as db:
        await db.execute("CREATE TABLE t (a INTEGER)")
        await db.backup(tmp_path / "copy")
        assert (tmp_path / "copy" / file.name).read_bytes() == file.read_bytes()
        await db.snapshot()
        await db.restore()
        assert file.exists()


@pytest.mark.skipif(
    importlib.util.find_spec("stoolap") is None, reason="the native engine is not installed: ./dev oracle"
)
async def test_the_native_engine_leaves_it_alone(folder: Path, file: Path) -> None:
    stoolap: Any = importlib.import_module("stoolap")

    def native(*statements: str) -> list[list[object]]:
        db = stoolap.Database.open(f"file://{folder}")
        for sql in statements:
            db.execute(sql)
        found: list[list[object]] = db.query_raw("SELECT a FROM t ORDER BY a")["rows"]
        db.close()
        del db
        gc.collect()  # It keeps its lock until it is collected.
        return found

    native("CREATE TABLE t (a INTEGER PRIMARY KEY)", "INSERT INTO t VALUES (1)")
    assert not file.exists()
    async with aiostoolap.connect(folder) as db:  # One without a stamp is accepted.
        await db.execute("INSERT INTO t VALUES (2)")
    content = file.read_bytes()
    assert native("INSERT INTO t VALUES (3)", "PRAGMA CHECKPOINT", "PRAGMA SNAPSHOT", "PRAGMA RESTORE") == [
        [1],
        [2],
        [3],
    ]
    assert file.read_bytes() == content
    async with aiostoolap.connect(folder) as db:
        assert await db.query("SELECT a FROM t ORDER BY a", into=int) == [1, 2, 3]


async def test_nothing_is_opened_before_the_engine_has_started(tmp_path: Path) -> None:
    engine = Engine(tmp_path)
    starting = asyncio.create_task(engine.start())
    try:
        if not starting.done():
            with pytest.raises(aiostoolap.ClosedError, match="not been started"):
                await engine.open("file:///data/db")
        await starting
        async with await engine.open("file:///data/db"):
            pass
    finally:
        await engine.close()
