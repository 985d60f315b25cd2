"""File databases: the lock, what survives the end of a process, maintenance by call and by timer."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import logging
import os
import shutil
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import aiostoolap
from aiostoolap import Engine, directory, maintenance
from aiostoolap.core.runtime import Runtime

WRITER = """
import asyncio, sys, aiostoolap

async def main():
    async with aiostoolap.connect(sys.argv[1], options={"sync_mode": "full"}, checkpoint_every=0.05) as db:
        await db.execute("CREATE TABLE IF NOT EXISTS t (a INTEGER PRIMARY KEY, b TEXT)")
        begin = (await db.query_value("SELECT MAX(a) FROM t") or 0) + 1
        for n in range(begin, 1_000_000):
            async with db.transaction() as tx:
                await tx.execute("INSERT INTO t VALUES ($1, $2)", (n, "x" * (n % 100)))
                await tx.execute("INSERT INTO t VALUES ($1, 'pair')", (-n,))
            print(n, flush=True)

asyncio.run(main())
"""


async def fill(db: aiostoolap.DB, rows: int = 1_000) -> None:
    await db.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT)")
    await db.execute_many("INSERT INTO t VALUES (?, ?)", ((n, f"b{n}") for n in range(rows)))


async def test_data_is_there_after_reopening(folder: Path) -> None:
    async with aiostoolap.connect(folder) as db:
        await fill(db)
        await db.execute("CREATE INDEX by_b ON t(b)")
        await db.execute("UPDATE t SET b = 'changed' WHERE a = 5")
        await db.execute("DELETE FROM t WHERE a > 900")
    for _ in range(3):
        async with aiostoolap.connect(folder) as db:
            assert await db.query_value("SELECT COUNT(*) FROM t") == 901
            assert await db.query("SELECT a FROM t WHERE b = 'changed'") == [(5,)]
            await db.execute("INSERT INTO t VALUES (5000, 'x')")
            await db.execute("DELETE FROM t WHERE a = 5000")


async def test_every_kind_of_index_is_sealed_and_read(folder: Path) -> None:
    async with aiostoolap.connect(folder) as db:
        await db.execute_script(
            """
            CREATE TABLE owners (id INTEGER PRIMARY KEY, name TEXT UNIQUE);
            CREATE TABLE t (id INTEGER PRIMARY KEY, owner INTEGER REFERENCES owners(id), a INTEGER, b FLOAT, c TEXT,
                d TIMESTAMP, e BOOLEAN, f JSON, v VECTOR(2));
            CREATE INDEX by_a ON t(a); CREATE INDEX by_b ON t(b); CREATE INDEX by_c ON t(c);
            CREATE INDEX by_d ON t(d); CREATE INDEX by_e ON t(e); CREATE INDEX by_ab ON t(a, b);
            CREATE INDEX by_v ON t(v) USING HNSW;
            """
        )
        await db.execute_many("INSERT INTO owners VALUES (?, ?)", [(n, f"o{n}") for n in range(10)])
        moment = datetime(2024, 1, 1, tzinfo=UTC)
        rows = [
            (n, n % 10, n % 7, n / 2, f"c{n % 5}", moment + timedelta(hours=n), n % 2 == 0, {"n": n}, [float(n), 1.0])
            for n in range(2_000)
        ]
        await db.execute_many("INSERT INTO t VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
        await db.checkpoint()
        await db.execute("UPDATE t SET a = 100 WHERE id = 5")
        await db.checkpoint()
    for _ in range(2):
        async with aiostoolap.connect(folder) as db:
            assert await db.query_value("SELECT COUNT(*) FROM t WHERE a = 3") == sum(n % 7 == 3 for n in range(2_000))
            assert await db.query("SELECT id FROM t WHERE a = 100", into=int) == [5]
            assert await db.query("SELECT id FROM t WHERE b = 7.5", into=int) == [15]
            assert await db.query_value("SELECT COUNT(*) FROM t WHERE owner = 3") == 200
            nearest = "SELECT id FROM t ORDER BY VEC_DISTANCE_L2(v, $1) LIMIT 1"
            assert await db.query_value(nearest, ([41.2, 1.0],)) == 41
            assert await db.query("SELECT id FROM t WHERE d = $1", (moment + timedelta(hours=9),), into=int) == [9]


async def test_the_name_of_a_new_database_is_durable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: set[int] = set()
    fsync = os.fsync

    def noted(descriptor: int) -> None:
        synced.add(os.fstat(descriptor).st_ino)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    async with aiostoolap.connect(tmp_path / "made" / "app.db"):
        pass
    assert {tmp_path.stat().st_ino, (tmp_path / "made").stat().st_ino} <= synced


async def test_names_that_could_not_be_made_durable_are_when_it_is_opened_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first time, the one or the other could not be: its process had been killed, say."""
    sync, synced, failing = directory.sync, set[Path](), [tmp_path, tmp_path / "deep"]

    def fail_once(path: Path) -> None:
        if path in failing:
            failing.remove(path)
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        synced.add(path)
        sync(path)

    monkeypatch.setattr(directory, "sync", fail_once)
    for _ in range(2):
        with pytest.raises(aiostoolap.OperationalError, match="Input/output error"):
            await aiostoolap.connect(tmp_path / "deep" / "app.db")
    async with aiostoolap.connect(tmp_path / "deep" / "app.db"):
        assert {tmp_path, tmp_path / "deep"} <= synced


async def test_the_directories_of_a_backup_are_durable(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced, sync = set[Path](), directory.sync

    def noted(path: Path) -> None:
        synced.add(path)
        sync(path)

    monkeypatch.setattr(directory, "sync", noted)
    async with aiostoolap.connect(folder) as db:
        synced.clear()
        await db.backup(tmp_path / "this" / "year" / "copy")
    assert {tmp_path, tmp_path / "this"} <= synced


def test_acknowledged_commits_survive_a_kill(folder: Path) -> None:
    for round_ in range(3):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(folder)], stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            last = 0
            for line in process.stdout:
                last = int(line)
                if last % 97 == 40 + round_:
                    process.send_signal(signal.SIGKILL)
                    break
            last = max([last, *map(int, process.stdout.read().split())])
        asyncio.run(check(folder, last))


async def check(folder: Path, last: int) -> None:
    async with aiostoolap.connect(folder) as db:
        rows = await db.query("SELECT a FROM t WHERE a > 0 ORDER BY a", into=int)
        # One more may have been committed than was acknowledged.
        assert rows in (list(range(1, last + 1)), list(range(1, last + 2)))
        pairs = await db.query("SELECT -a FROM t WHERE a < 0 ORDER BY a DESC", into=int)
        assert pairs == rows, "each transaction is whole"


async def test_the_lock_keeps_other_engines_out(folder: Path) -> None:
    async with aiostoolap.connect(folder):
        with pytest.raises(aiostoolap.DatabaseLockedError, match=f"another engine of this process .{os.getpid()}"):
            await aiostoolap.connect(folder)
        program = (
            f"import asyncio, aiostoolap\nasync def main():\n async with aiostoolap.connect({str(folder)!r}): pass\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", program + "asyncio.run(main())"], capture_output=True, text=True, check=False
        )
        assert "DatabaseLockedError" in done.stderr
        assert f"is open in process {os.getpid()}" in done.stderr
    async with aiostoolap.connect(folder):
        pass


async def test_the_lock_can_be_waited_for(folder: Path) -> None:
    first = await aiostoolap.connect(folder)
    await first.execute("CREATE TABLE t (a INTEGER)")
    with pytest.raises(aiostoolap.DatabaseLockedError, match=str(os.getpid())):
        await aiostoolap.connect(folder, lock_timeout=0.1)

    async def close_soon() -> None:
        await asyncio.sleep(0.2)
        await first.close()

    closing = asyncio.create_task(close_soon())
    async with aiostoolap.connect(folder, lock_timeout=30) as second:
        assert await second.query("SELECT * FROM t") == []
    await closing
    async with aiostoolap.connect(folder):
        waiting = asyncio.ensure_future(aiostoolap.connect(folder, lock_timeout=30))
        await asyncio.sleep(0.1)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting


async def test_the_lock_is_the_native_engines(folder: Path) -> None:
    folder.mkdir()
    with (folder / "db.lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(aiostoolap.DatabaseLockedError, match="another process"):
            await aiostoolap.connect(folder)
    async with aiostoolap.connect(folder):
        assert (folder / "db.lock").read_text() == str(os.getpid())


async def test_the_lock_is_held_until_the_last_connection_closes(tmp_path: Path) -> None:
    async with Engine(tmp_path) as engine:
        one = await engine.open("file:///data/db")
        same = await engine.open("file:///data/db")
        await one.close()
        with pytest.raises(aiostoolap.DatabaseLockedError):
            await aiostoolap.connect(tmp_path / "db")
        await same.close()
        async with aiostoolap.connect(tmp_path / "db"):
            pass


async def test_a_failed_open_lets_go_of_the_lock(tmp_path: Path) -> None:
    (tmp_path / "db").mkdir()
    (tmp_path / "db" / "wal").write_text("a file where a directory belongs")
    for _ in range(2):
        with pytest.raises(aiostoolap.DatabaseError):
            await aiostoolap.connect(tmp_path / "db")


async def test_a_read_only_directory(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    tmp_path.chmod(0o500)
    with pytest.raises(aiostoolap.OperationalError):
        await aiostoolap.connect(tmp_path / "db")


async def test_symbolic_links_do_not_lead_out(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "root" / "link").symlink_to(tmp_path / "outside")
    async with Engine(tmp_path / "root") as engine:
        with pytest.raises(aiostoolap.InterfaceError, match="leads out"):
            await engine.open("file:///data/link")
    assert list((tmp_path / "outside").iterdir()) == []


async def test_checkpoint_moves_rows_to_files(folder: Path) -> None:
    async with aiostoolap.connect(folder, checkpoint_every=None) as db:
        await fill(db)
        log = sum(file.stat().st_size for file in (folder / "wal").iterdir())
        await db.checkpoint()
        assert list(folder.glob("volumes/t/*"))
        await db.checkpoint()  # The log that the first one has moved goes with the second.
        assert sum(file.stat().st_size for file in (folder / "wal").iterdir()) < log
        assert await db.query_value("SELECT b FROM t WHERE a = 77") == "b77"
        assert await db.query_value("SELECT COUNT(*) FROM t") == 1_000


async def test_a_failed_checkpoint_is_an_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with aiostoolap.connect(folder, checkpoint_every=None) as db:
        await fill(db)
        monkeypatch.setattr(Runtime, "sync_directories", lambda self: errno.EIO)
        with pytest.raises(aiostoolap.OperationalError) as caught:
            await db.checkpoint()
        assert caught.value.code in ("maintenance", "io_error")
        monkeypatch.undo()
        await db.checkpoint()
    async with aiostoolap.connect(folder) as db:
        assert await db.query_value("SELECT COUNT(*) FROM t") == 1_000


async def test_directories_that_cannot_be_synced(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Runtime) -> int:
        raise LookupError("a bug of the host")

    monkeypatch.setattr(Runtime, "sync_directories", broken)
    with pytest.raises(aiostoolap.OperationalError, match="os error 29"):
        await aiostoolap.connect(folder)


async def test_only_directories_of_open_databases_are_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: set[Path] = set()
    sync = directory.sync

    def noted(path: Path) -> None:
        synced.add(path)
        sync(path)

    async with Engine(tmp_path, checkpoint_every=None) as engine:
        async with await engine.open("file:///data/closed") as db:
            await fill(db)
        async with await engine.open("file:///data/open") as db, await engine.open("file:///data/removed"):
            shutil.rmtree(tmp_path / "removed")
            await fill(db)
            monkeypatch.setattr(directory, "sync", noted)
            await db.checkpoint()
            monkeypatch.undo()
    parts = ("", "wal", "volumes", "volumes/t")
    assert synced == {tmp_path / "open" / part for part in parts}
    async with aiostoolap.connect(tmp_path / "open") as db:
        assert await db.query_value("SELECT COUNT(*) FROM t") == 1_000


async def test_vacuum(folder: Path) -> None:
    async with aiostoolap.connect(folder) as db:
        await fill(db)
        await db.execute("DELETE FROM t WHERE a > 10")
        await db.vacuum()
        await db.vacuum("t")
        assert await db.query_value("SELECT COUNT(*) FROM t") == 11
        with pytest.raises(aiostoolap.ProgrammingError):
            await db.vacuum("missing")


async def test_analyze(folder: Path) -> None:
    async with aiostoolap.connect(folder) as db:
        await fill(db)
        await db.analyze("t")
        assert "row_count" in str((await db.query("SELECT * FROM _sys_table_stats")).columns)
        with pytest.raises(aiostoolap.ProgrammingError):
            await db.analyze("missing")


async def test_snapshot_and_restore(folder: Path) -> None:
    async with aiostoolap.connect(folder) as db:
        await fill(db)
        await db.snapshot()
        assert list((folder / "snapshots").iterdir())
        await db.execute("DELETE FROM t")
        assert await db.query_value("SELECT COUNT(*) FROM t") == 0
        assert await db.restore()
        assert await db.query_value("SELECT COUNT(*) FROM t") == 1_000
        with pytest.raises(aiostoolap.OperationalError, match="there is no snapshot of 19990101"):
            await db.restore("19990101-000000.000")
    async with aiostoolap.connect(folder) as db:
        assert await db.query_value("SELECT COUNT(*) FROM t") == 1_000


async def test_maintenance_by_timer(tmp_path: Path) -> None:
    async with (
        Engine(tmp_path, checkpoint_every=0.02, vacuum_every=0.03) as engine,
        await engine.open("file:///data/db") as db,
        asyncio.timeout(20),
    ):
        await fill(db)
        while True:
            state = (await engine.stats()).maintenance
            runs = min(state["checkpoint"].runs, state["vacuum"].runs)
            if runs > 2 and list(tmp_path.glob("db/volumes/t/*")):
                break
            await asyncio.sleep(0.01)
        assert state["checkpoint"].last_error is None
        assert await db.query_value("SELECT COUNT(*) FROM t") == 1_000


async def test_a_log_that_grows_does_not_wait_for_the_timer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maintenance, "LOG_LIMIT", 200_000)
    monkeypatch.setattr(maintenance, "_LOOK_EVERY", 0.01)
    async with (
        Engine(tmp_path, checkpoint_every=3600) as engine,
        await engine.open("file:///data/db") as db,
        asyncio.timeout(30),
    ):
        await db.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT)")
        n = runs = 0
        most = 0
        while runs < 5:
            n += 1
            await db.execute("INSERT INTO t VALUES ($1, $2)", (n, os.urandom(500).hex()))
            if n % 20 == 0:
                stats = await engine.stats()
                runs = stats.maintenance["checkpoint"].runs
                most = max(most, stats.log_bytes)
        assert 100_000 < most < 20_000_000
        assert await db.query_value("SELECT COUNT(*) FROM t") == n
        while (await engine.stats()).log_bytes >= most:  # It was about to be cut again.
            await asyncio.sleep(0.01)


async def test_maintenance_that_fails_backs_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "aiostoolap")
    async with Engine(tmp_path, checkpoint_every=0.05) as engine, await engine.open("file:///data/db") as db:
        await fill(db)  # Before it: a checkpoint amid the writes would end the log, and the writes with it.
        monkeypatch.setattr(Runtime, "sync_directories", lambda self: errno.EIO)
        async with asyncio.timeout(20):
            while not (failed := (await engine.stats()).maintenance["checkpoint"]).failures:
                await asyncio.sleep(0.01)
        assert failed.last_error
        assert "maintenance: checkpoint failed" in caplog.text
        monkeypatch.undo()
        async with asyncio.timeout(20):
            while (await engine.stats()).maintenance["checkpoint"].failures:
                await asyncio.sleep(0.01)


async def test_no_snapshots_in_memory(engine: Engine) -> None:
    async with await engine.open_memory() as db:
        with pytest.raises(aiostoolap.NotSupportedError, match="no directory"):
            await db.snapshot()


async def test_maintenance_is_off_in_memory(engine: Engine) -> None:
    assert (await engine.stats()).maintenance == {}


async def test_a_damaged_log_warns(folder: Path) -> None:
    async with aiostoolap.connect(folder, options={"checkpoint_on_close": False}, checkpoint_every=None) as db:
        await fill(db)
    newest = max((folder / "wal").glob("*.log"), key=lambda file: file.stat().st_mtime)
    newest.write_bytes(newest.read_bytes()[:-7])
    with pytest.warns(aiostoolap.RecoveryWarning, match="cut"):
        db = await aiostoolap.connect(folder)
    await db.close()


BURST = """
import asyncio, os, resource, sys, aiostoolap

async def insert(db, n, found):
    try:
        await db.execute("INSERT INTO t VALUES ($1, $2)", (n, "x" * 200))
        found.append(n)
    except aiostoolap.OperationalError as error:
        assert "log" in str(error), error

async def main(folder):
    async with aiostoolap.Engine(folder, checkpoint_every=None) as engine:
        db, other = await engine.open("file:///data/a?sync_mode=full"), await engine.open("file:///data/b")
        await other.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT)")
        healthy = []
        memory = await engine.open("memory://")
        await memory.execute("CREATE TABLE t (a INTEGER)")
        await db.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT)")
        rows = await db.prepare("SELECT a FROM t ORDER BY a")
        found = []
        await asyncio.gather(*(insert(db, n, found) for n in range(100)))
        txs = await db.begin(), await other.begin(), await memory.begin()
        for tx in txs:
            await tx.execute("DELETE FROM t WHERE a = 0")
        size = max(file.stat().st_size for file in folder.glob("a/wal/*"))
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 5_000, resource.RLIM_INFINITY))
        created = asyncio.gather(
            *(insert(db, n, found) for n in range(100, 200)),
            db.execute("CREATE TABLE u (a INTEGER)"),
            *(insert(db, n, found) for n in range(200, 300)),
            *(insert(other, n, healthy) for n in range(10)),
            return_exceptions=True,
        )
        results = await created
        assert isinstance(results[100], aiostoolap.OperationalError), results[100]
        # It opens again by itself; reading goes on, and writing fails as long as there is no room.
        for n in range(5):
            assert await rows.query(into=int) == sorted(found)
            try:
                await db.execute("INSERT INTO t VALUES (-1, $1)", (os.urandom(100_000).hex(),))
            except aiostoolap.OperationalError:
                continue
            raise AssertionError("there is room")
        try:
            await txs[0].commit()
        except aiostoolap.EngineLostError as error:
            assert "begin it again" in str(error), error
        else:
            raise AssertionError("the transaction was not lost")
        # Nobody else has lost anything.
        await txs[1].commit()
        await txs[2].commit()
        assert healthy == list(range(10)) == await other.query("SELECT a FROM t ORDER BY a", into=int)
        assert await memory.query("SELECT a FROM t") == []
        assert (await engine.stats()).lost_instances == 0
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        assert await db.execute("INSERT INTO t VALUES (-1, '')") == 1
        await db.close()
        again = await engine.open("file:///data/a?sync_mode=full")
        there = await again.query("SELECT a FROM t ORDER BY a", into=int)
        assert [-1, *sorted(found)] == there, (sorted(found), there)
        for item in (again, other, memory):
            await item.close()
        print(len(there))

from pathlib import Path
asyncio.run(main(Path(sys.argv[1])))
"""


def test_a_log_that_cannot_be_written_acknowledges_nothing_and_opens_again(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", BURST, tmp_path], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert 100 <= int(ended.stdout) < 300


async def test_commits_that_share_an_fsync_survive_the_rotation_of_the_log(folder: Path) -> None:
    options: dict[str, str | int | bool] = {"sync_mode": "full", "wal_max_size": 4096}
    for round_ in range(3):
        async with aiostoolap.connect(folder, options=options, checkpoint_every=None) as db:
            await db.execute("CREATE TABLE IF NOT EXISTS t (a INTEGER PRIMARY KEY, b TEXT)")
            begin = 1_000 * round_
            written = [db.execute("INSERT INTO t VALUES ($1, $2)", (begin + n, "x" * 100)) for n in range(1_000)]
            defined = [db.execute(f"CREATE TABLE t{round_}_{n} (a INTEGER)") for n in range(5)]
            assert await asyncio.gather(*written[:500], *defined, *written[500:]) == [1] * 500 + [0] * 5 + [1] * 500
    async with aiostoolap.connect(folder, options=options) as db:
        assert await db.query_value("SELECT COUNT(*) FROM t") == 3_000
