"""The engine reads and writes in the directories that it was given, whatever it is told, and whatever lies there."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import aiostoolap
from aiostoolap import DB, Engine, dsn
from tests.sandbox import attempts
from tests.sandbox.ground import SECRET, Ground


async def test_no_name_leads_out(tmp_path: Path) -> None:
    tally = await attempts.run(150, 3, tmp_path.resolve())
    assert tally["open below: within"], "some are harmless"
    assert sum(tally.values()) == 150


@given(st.text(), st.sampled_from(["", "file:", "file://", "file:///data/", "memory://", "file:///data/db?"]))
def test_every_text_is_a_name_or_an_interface_error(text: str, scheme: str) -> None:
    for parse in (dsn.parse, dsn.parse_target):
        try:
            parsed = parse(scheme + text)
        except aiostoolap.InterfaceError:
            continue
        folder = parsed.folder if isinstance(parsed, dsn.Dsn) else parsed.root
        assert folder is None or "\0" not in str(folder)
        assert not (isinstance(parsed, dsn.Dsn) and folder is not None and ".." in folder.parts)


@pytest.mark.parametrize(
    "name",
    [
        "file:///data/%00",
        "file:///data/a%00b",
        "file:///data/\udc80",
        "file:///data/db?&",
        "file:///data/db?a=1&b",
        "memory://\0",
    ],
)
def test_names_that_no_file_can_have(name: str) -> None:
    with pytest.raises(aiostoolap.InterfaceError):
        dsn.parse(name)


@pytest.mark.parametrize("path", ["", "a\0b", "\udc80", "file:///a%00", "file://[", "file:///db?&", "file:", "x://db"])
def test_paths_that_no_file_can_have(path: str) -> None:
    with pytest.raises(aiostoolap.InterfaceError):
        aiostoolap.connect(path)


async def populated(folder: Path) -> None:
    """A database with every kind of file: a log, volumes, index files, manifests, snapshots."""
    async with aiostoolap.connect(folder, checkpoint_every=None) as db:
        await db.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b INTEGER, c TEXT)")
        await db.execute("CREATE INDEX by_b ON t (b)")
        await db.execute_many("INSERT INTO t VALUES ($1, $1, 'c')", ((n,) for n in range(200)))
        await db.snapshot()
        await db.execute("INSERT INTO t VALUES (1000, 1, 'log')")


async def use(db: DB) -> None:
    await db.execute("INSERT INTO t VALUES (2000, 2, 'new')")
    await db.query("SELECT * FROM t WHERE b < 5")
    await db.checkpoint()
    await db.snapshot()
    await db.restore()


@pytest.mark.parametrize("relative", [True, False], ids=["relative", "absolute"])
@pytest.mark.parametrize("while_open", [False, True], ids=["before", "while open"])
async def test_no_link_in_any_place_is_followed(tmp_path: Path, *, relative: bool, while_open: bool) -> None:
    """In the place of each file and directory of a database in turn is a link to a copy of it outside."""
    source = tmp_path / "source"
    await populated(source)
    places = sorted(path.relative_to(source) for path in source.rglob("*"))
    assert {path.suffix for path in places} >= {".log", ".vol", ".bin", ".sidx", ".lock"}, places
    for number, place in enumerate(places):
        folder, outside = tmp_path / f"db{number}", tmp_path / f"outside{number}"
        shutil.copytree(source, folder)
        outside.mkdir()
        copy = outside / place.name
        if while_open:
            db = await aiostoolap.connect(folder, checkpoint_every=None)
            replace(folder / place, copy, relative=relative)
            before = look(outside)
            with contextlib.suppress(aiostoolap.OperationalError):
                await use(db)
            with contextlib.suppress(aiostoolap.OperationalError):
                await db.close()
        else:
            replace(folder / place, copy, relative=relative)
            before = look(outside)
            with pytest.raises(aiostoolap.OperationalError):
                await aiostoolap.connect(folder, checkpoint_every=None)
        assert look(outside) == before, place
        shutil.rmtree(folder)


def replace(path: Path, copy: Path, *, relative: bool) -> None:
    """Puts a link to a copy into the place of what is there, if it still is."""
    if path.is_dir():
        shutil.copytree(path, copy)
        shutil.rmtree(path)
    elif path.exists():
        shutil.copy(path, copy)
        path.unlink()
    else:
        return
    path.symlink_to(os.path.relpath(copy, path.parent) if relative else copy)


def look(folder: Path) -> list[tuple[str, bytes]]:
    return [(str(path), path.read_bytes() if path.is_file() else b"") for path in sorted(folder.rglob("*"))]


async def test_a_file_that_may_not_be_read_is_an_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine would open the database without the log."""
    await populated(folder)
    monkeypatch.setattr(os, "access", lambda path, mode: not str(path).endswith(".log"))  # Root may read everything.
    with pytest.raises(aiostoolap.OperationalError, match="may not read"):
        await aiostoolap.connect(folder)
    monkeypatch.undo()
    async with aiostoolap.connect(folder) as db:
        assert await db.query_value("SELECT COUNT(*) FROM t") == 201


async def test_a_pipe_among_the_files_is_an_error(folder: Path) -> None:
    await populated(folder)
    os.mkfifo(folder / "wal" / "wal-20260101-000000-lsn-9.log")
    with pytest.raises(aiostoolap.OperationalError, match="is no plain file"):
        await aiostoolap.connect(folder)


async def test_backups_hold_no_copy_of_what_links_lead_to(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "canary").write_text(SECRET)
    async with aiostoolap.connect(folder) as db:
        await db.execute("CREATE TABLE t (a INTEGER)")
        (folder / "link").symlink_to(tmp_path / "canary")
        (folder / "wal" / "link").symlink_to(tmp_path / "canary")
        os.mkfifo(folder / "pipe")
        await db.backup(tmp_path / "copy")
    assert not [path for path in (tmp_path / "copy").rglob("*") if path.name in ("link", "pipe")]


@pytest.mark.parametrize("name", ["a/b", "../t", "/t", "..", ".", "a\\b", "x" * 256])
async def test_a_table_has_no_name_that_no_directory_can_have(db: DB, name: str) -> None:
    await db.execute("CREATE TABLE t (a INTEGER)")
    for sql in (
        f'CREATE TABLE "{name}" (a INTEGER)',
        f'CREATE TABLE "{name}" AS SELECT 1 AS a',
        f'ALTER TABLE t RENAME TO "{name}"',
    ):
        with pytest.raises(aiostoolap.ProgrammingError, match="a table's name holds no /"):
            await db.execute(sql)
    assert await db.query("SHOW TABLES", into=str) == ["t"]


@pytest.mark.parametrize(
    "sql",
    [
        'CREATE TABLE "" (a INTEGER)',
        'CREATE TABLE "" AS SELECT 1 AS a',
        'CREATE TABLE u (a INTEGER, "" INTEGER)',
        'ALTER TABLE t RENAME TO ""',
        'ALTER TABLE t ADD COLUMN "" INTEGER',
        'ALTER TABLE t RENAME COLUMN b TO ""',
    ],
)
async def test_no_name_is_empty(db: DB, sql: str) -> None:
    await db.execute("CREATE TABLE t (a INTEGER, b INTEGER)")
    with pytest.raises(aiostoolap.ProgrammingError, match="is not empty"):
        await db.execute(sql)
    assert await db.query("SHOW TABLES", into=str) == ["t"]
    assert (await db.query("SELECT * FROM t")).columns == ("a", "b")


@pytest.fixture
async def ground(tmp_path: Path) -> AsyncIterator[Ground]:
    ground = Ground(tmp_path)
    yield ground
    ground.check()


CSV = "WITH (FORMAT CSV, HEADER FALSE)"


async def test_copy_reads_the_directory_that_is_allowed_for_it(ground: Ground) -> None:
    async with aiostoolap.connect(copy_from=ground.imports) as db:
        await db.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT)")
        for name in ("good.csv", "./inner/good.csv"):
            await db.execute(f"COPY t FROM '{name}' {CSV}")
        assert await db.query("SELECT * FROM t ORDER BY a") == [(1, "good"), (2, "good"), (3, "good")]
        await db.execute("DELETE FROM t WHERE a = 3")
        assert await db.execute(f"COPY t FROM 'same.csv' {CSV}") == 1, "a link to another file in there"


async def test_copy_is_refused_without_one(ground: Ground) -> None:
    async with Engine(ground.root) as engine:
        for name in ("memory://", "file:///data/db"):
            async with await engine.open(name) as db:
                await db.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT)")
                for path in ("good.csv", "/data/file", str(ground.imports / "good.csv"), "/etc/passwd"):
                    with pytest.raises(aiostoolap.NotSupportedError, match="copy_from="):
                        await db.execute(f"COPY t FROM '{path}' {CSV}")


@pytest.mark.parametrize(
    "name",
    ["/import/good.csv", "/data/file", "../imports/good.csv", "inner/../good.csv", "/good.csv", "..", "", "//good.csv"],
)
async def test_copy_takes_no_name_that_leads_elsewhere(ground: Ground, name: str) -> None:
    async with Engine(ground.root, copy_from=ground.imports) as engine, await engine.open_memory() as db:
        await db.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT)")
        with pytest.raises(aiostoolap.ProgrammingError, match="names without"):
            await db.execute(f"COPY t FROM '{name}' {CSV}")


@pytest.mark.parametrize(
    "name", ["link.csv", "absolute.csv", "link/canary.csv", "chain/canary.csv", "inner/link/canary.csv"]
)
async def test_copy_follows_no_link_out(ground: Ground, name: str) -> None:
    async with aiostoolap.connect(copy_from=ground.imports) as db:
        await db.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT)")
        with pytest.raises(aiostoolap.OperationalError, match="COPY cannot read"):
            await db.execute(f"COPY t FROM '{name}' {CSV}")


@pytest.mark.parametrize("name", ["missing.csv", "pipe.csv", "inner", "good.csv/", "loop", "dangling"])
async def test_copy_of_what_is_no_file_is_an_error(ground: Ground, name: str) -> None:
    async with aiostoolap.connect(copy_from=ground.imports) as db:
        await db.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT)")
        with pytest.raises(aiostoolap.OperationalError, match="COPY") as caught:
            await db.execute(f"COPY t FROM '{name}' {CSV}")
        assert caught.value.code == "io_error"


async def test_the_directory_of_copy_is_not_written(ground: Ground) -> None:
    before = look(ground.imports / "inner")
    async with Engine(ground.root, copy_from=ground.imports) as engine:
        with pytest.raises(aiostoolap.InterfaceError, match="is not below /data"):
            await engine.open("file:///import/db")
    assert look(ground.imports / "inner") == before


@pytest.mark.parametrize("wrong", ["missing", "good.csv", "a\0b", "\udc80"])
def test_what_is_no_directory_is_refused(ground: Ground, wrong: str) -> None:
    with pytest.raises(aiostoolap.InterfaceError, match="directory"):
        Engine(copy_from=ground.imports / wrong)
    with pytest.raises(aiostoolap.InterfaceError, match="directory"):
        Engine(ground.imports / wrong)
