"""The lock on a database's directory: one engine at a time, whatever engine, and by whatever name of the directory."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import gc
import importlib
import importlib.util
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import aiostoolap
from aiostoolap import Engine, locks
from tests.locking.races import Course, run

has_native = importlib.util.find_spec("stoolap") is not None


def test_one_of_many_processes_wins(tmp_path: Path) -> None:
    kinds = ["ours", "ours", "ours", "native" if has_native else "ours"]
    with Course(tmp_path, kinds) as course:
        tally = run(course, 10, seed=7)
    assert tally["won by ours"] + tally["won by native"] == 5


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    with Course(tmp_path, ["ours", "ours"]) as course:
        for killed in (False, True):
            assert course.race([0], ["db"], 0) == [{"open": True}]
            assert course.race([1], ["db"], 0) == [
                {"locked": f"{tmp_path.resolve() / 'db'} is open in process {course.pids[0]}"}
            ]
            if killed:
                course.kill(0)
            else:
                course.order(0, close=True)
                course.answer(0)
            assert course.race([1], ["db"], 0) == [{"open": True}]
            course.order(1, close=True)
            course.answer(1)


@pytest.mark.skipif(not has_native, reason="the native engine is not installed: ./dev oracle")
async def test_the_native_engine_is_kept_out_and_keeps_out(folder: Path) -> None:
    stoolap: Any = importlib.import_module("stoolap")
    async with aiostoolap.connect(folder) as db:
        with pytest.raises(stoolap.StoolapError, match="locked"):
            stoolap.Database.open(f"file://{folder}")
        await db.execute("CREATE TABLE t (a INTEGER)")
    native = stoolap.Database.open(f"file://{folder}")
    with pytest.raises(aiostoolap.DatabaseLockedError, match=rf"is open in .* \({os.getpid()}\)"):
        await aiostoolap.connect(folder)
    assert native.query_raw("SELECT COUNT(*) FROM t")["rows"] == [[0]]
    native.close()
    del native
    gc.collect()  # It keeps its lock until it is collected.
    async with aiostoolap.connect(folder) as db:
        assert await db.query("SELECT * FROM t") == []


async def test_the_lock_is_the_directorys_under_all_its_names(tmp_path: Path) -> None:
    folder = tmp_path / "root" / "db"
    folder.mkdir(parents=True)
    (tmp_path / "link").symlink_to(folder)
    (tmp_path / "parent").symlink_to(tmp_path / "root")
    (tmp_path / "root" / "inside").symlink_to("db")
    names = (tmp_path / "link", tmp_path / "parent" / "db", tmp_path / "parent" / ".." / "root" / "." / "db")
    async with Engine(tmp_path / "root") as engine, await engine.open("file:///data/db"):
        for name in (folder, *names):
            with pytest.raises(aiostoolap.DatabaseLockedError):
                await aiostoolap.connect(name)
        with pytest.raises(aiostoolap.DatabaseLockedError):
            await engine.open("file:///data/inside")
        async with await engine.open("file:///data//./db/"):
            pass  # The same name, and the same database.
        with pytest.raises(aiostoolap.DatabaseLockedError):
            await aiostoolap.connect(folder)
    for name in names:
        async with aiostoolap.connect(name):
            pass


FORK = """
import asyncio, fcntl, os, sys, traceback, aiostoolap

folder = sys.argv[1]

def is_locked():
    with open(folder + "/db.lock") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False

def child(tell, hear):
    assert is_locked()
    for target in (folder, "memory://"):
        try:
            asyncio.run(aiostoolap.connect(target)._open())
        except aiostoolap.InterfaceError as error:
            assert "fork" in str(error), error
        else:
            raise AssertionError(target)
    os.write(tell, b"x")
    assert os.read(hear, 1) == b"x"  # The parent has closed the database, and opened and closed it again.
    assert not is_locked()
    os.write(tell, b"x")
    assert os.read(hear, 1) == b""  # The parent is going, with the database open.
    while is_locked():
        pass
    print("done", flush=True)

loop = asyncio.new_event_loop()
db = loop.run_until_complete(aiostoolap.connect(folder)._open())
loop.run_until_complete(db.execute("CREATE TABLE t (a INTEGER)"))
to_child, from_child = os.pipe(), os.pipe()
if os.fork() == 0:
    os.close(to_child[1])
    asyncio.events._set_running_loop(None)
    try:
        child(from_child[1], to_child[0])
    except BaseException:
        traceback.print_exc()
    os._exit(0)
os.close(from_child[1])
assert os.read(from_child[0], 1) == b"x"
loop.run_until_complete(db.close())
assert not is_locked()  # Though the child had a copy of the descriptor.
db = loop.run_until_complete(aiostoolap.connect(folder)._open())
loop.run_until_complete(db.close())
os.write(to_child[1], b"x")
assert os.read(from_child[0], 1) == b"x"
db = loop.run_until_complete(aiostoolap.connect(folder)._open())
os._exit(0)
"""


def test_a_child_of_a_fork_neither_has_the_lock_nor_keeps_it(folder: Path) -> None:
    """Nor can it run the engine, but it is told so."""
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORK, folder], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.stdout == "done\n", ended.stderr


@pytest.mark.parametrize("lock_timeout", [-1, -0.001, math.nan, -math.inf, None, "1"])
async def test_what_is_no_time_to_wait_is_refused(engine: Engine, folder: Path, lock_timeout: float) -> None:
    with pytest.raises(aiostoolap.InterfaceError, match="lock_timeout is a number of seconds from 0 on"):
        aiostoolap.connect(folder, lock_timeout=lock_timeout)
    with pytest.raises(aiostoolap.InterfaceError, match="lock_timeout is a number of seconds from 0 on"):
        await engine.open("memory://", lock_timeout=lock_timeout)
    assert not folder.exists()


async def test_the_lock_can_be_waited_for_without_an_end(folder: Path) -> None:
    with Course(folder.parent, ["ours"]) as course:
        assert course.race([0], ["db"], 0) == [{"open": True}]
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await aiostoolap.connect(folder, lock_timeout=math.inf)
        course.kill(0)
        async with aiostoolap.connect(folder, lock_timeout=math.inf):
            pass


async def test_a_number_that_is_no_process_is_not_named(folder: Path) -> None:
    folder.mkdir()
    for text in ("999999999", "0", "-1", "99999999999999999999", "x", ""):
        (folder / "db.lock").write_text(text)
        with (folder / "db.lock").open("r+") as other:
            fcntl.flock(other, fcntl.LOCK_EX)
            with pytest.raises(aiostoolap.DatabaseLockedError, match=r"is open in another process$"):
                await aiostoolap.connect(folder)


async def test_a_file_that_cannot_be_locked_is_not_called_locked(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(locks, "_lock", fail)
    with pytest.raises(aiostoolap.OperationalError, match=r"cannot be locked: .*No locks available") as caught:
        await aiostoolap.connect(folder)
    assert not isinstance(caught.value, aiostoolap.DatabaseLockedError)
    monkeypatch.undo()
    async with aiostoolap.connect(folder):
        pass


async def test_a_lock_file_that_is_none_is_left_alone(folder: Path, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    canary.write_text("outside")
    folder.mkdir()
    lock = folder / "db.lock"
    makers: list[Callable[[], object]] = [
        lambda: lock.symlink_to(canary),
        lambda: lock.symlink_to(tmp_path / "missing"),
        lambda: os.mkfifo(lock),
        lock.mkdir,
    ]
    for make in makers:
        make()
        with pytest.raises(aiostoolap.OperationalError, match="cannot be used"):
            await aiostoolap.connect(folder)
        lock.rmdir() if lock.is_dir() else lock.unlink()
    assert canary.read_text() == "outside"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["canary", "db"]
    async with aiostoolap.connect(folder):
        pass
    assert lock.read_text() == "", "the next holder is not to go by this one's number"
