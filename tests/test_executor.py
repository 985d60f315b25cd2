"""The thread: many loops, closed loops, forks, the interpreter's end, a dead instance, nothing left open."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import heapq
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import aiostoolap
from aiostoolap import DB, Engine
from aiostoolap.core import lanes, ring
from aiostoolap.core.executor import Executor
from aiostoolap.core.runtime import Runtime

LONG = "SELECT COUNT(*) FROM numbers a, numbers b, numbers c WHERE a.name < b.name || c.name"
# The one above fills the memory at last. This one does not.
ENDLESS = (
    "SELECT COUNT(*) FROM numbers a, (SELECT n FROM numbers LIMIT 1000) c "
    "WHERE (SELECT COUNT(*) FROM numbers b WHERE b.name < a.name || 'x') > 99999"
)


def threads() -> int:
    return sum(thread.name == "aiostoolap" for thread in threading.enumerate())


async def fewer_threads_than(count: int) -> None:
    async with asyncio.timeout(10):
        while threads() >= count:
            await asyncio.sleep(0.01)


async def test_many_loops_share_an_engine(numbers: DB) -> None:
    results: list[int] = []

    def other_loop(start: int) -> None:
        async def look() -> None:
            one = "SELECT n FROM numbers WHERE n = $1"
            results.extend([await numbers.query_value(one, (n,)) for n in range(start, start + 200)])

        asyncio.run(look())

    others = [threading.Thread(target=other_loop, args=(k * 200,)) for k in range(4)]
    for other in others:
        other.start()
    for n in range(200):
        assert await numbers.query_value("SELECT name FROM numbers WHERE n = $1", (n,)) == f"n{n}"
    for other in others:
        await asyncio.to_thread(other.join)
    assert sorted(results) == list(range(800))


async def test_a_loop_that_closes_in_the_middle_of_a_call(engine: Engine) -> None:
    async with await engine.open_memory() as db:
        await db.execute("CREATE TABLE numbers (n INTEGER PRIMARY KEY, name TEXT)")
        await db.execute_many("INSERT INTO numbers VALUES (?, ?)", ((n, f"n{n}") for n in range(5_000)))

        def doomed() -> None:
            loop = asyncio.new_event_loop()
            tasks = [loop.create_task(coroutine) for coroutine in (db.query_value(LONG, timeout=1), db.begin())]
            loop.run_until_complete(asyncio.sleep(0.05))
            loop.close()
            for task in tasks:
                task._log_destroy_pending = False  # type: ignore[attr-defined]  # asyncio would log what the test does

        await asyncio.to_thread(doomed)
        gc.collect()
        assert await db.query_value("SELECT COUNT(*) FROM numbers") == 5_000
        async with asyncio.timeout(10):
            while (await engine.stats()).transactions:
                await asyncio.sleep(0.01)


async def test_whoever_waits_stops_the_calls_of_a_closed_loop(engine: Engine) -> None:
    """Also if its tasks are not garbage yet."""
    async with await engine.open_memory() as db, await db.clone() as other:
        await db.execute("CREATE TABLE numbers (n INTEGER PRIMARY KEY, name TEXT)")
        await db.execute_many("INSERT INTO numbers VALUES (?, ?)", ((n, f"n{n}") for n in range(5_000)))
        left: list[asyncio.Task[Any]] = []

        def doomed() -> None:
            loop = asyncio.new_event_loop()
            left.extend(loop.create_task(coroutine) for coroutine in (db.query_value(ENDLESS), db.begin()))
            loop.run_until_complete(asyncio.sleep(0.05))
            loop.close()

        await asyncio.to_thread(doomed)
        async with asyncio.timeout(20):
            assert await other.query_value("SELECT COUNT(*) FROM numbers") == 5_000
            while (await engine.stats()).transactions:
                await asyncio.sleep(0.01)
        for task in left:
            task._log_destroy_pending = False  # type: ignore[attr-defined]  # asyncio would log what the test does


async def test_a_task_that_nobody_refers_to_goes_on(numbers: DB) -> None:
    """asyncio does not refer to a task that waits."""
    long = asyncio.create_task(numbers.query_value(ENDLESS))
    asyncio.create_task(numbers.execute("DELETE FROM numbers WHERE n >= 10"))  # noqa: RUF006 # what the test is about
    await asyncio.sleep(0.1)
    gc.collect()
    long.cancel()
    await asyncio.wait([long])
    async with asyncio.timeout(20):
        while await numbers.query_value("SELECT COUNT(*) FROM numbers") != 10:
            await asyncio.sleep(0.01)


async def test_close_runs_what_is_queued() -> None:
    engine = await Engine()
    db = await engine.open_memory()
    await db.execute("CREATE TABLE t (a INTEGER)")
    writes = [asyncio.create_task(db.execute("INSERT INTO t VALUES (1)")) for _ in range(300)]
    await asyncio.sleep(0)
    await engine.close()
    assert await asyncio.gather(*writes) == [1] * 300
    await db.close()


async def test_close_ends_the_thread() -> None:
    before = threads()
    for _ in range(20):
        async with aiostoolap.connect() as db:
            await db.query("SELECT 1")
    await fewer_threads_than(before + 1)


async def test_close_survives_a_cancellation(folder: Path) -> None:
    db = await aiostoolap.connect(folder)
    await db.execute("CREATE TABLE t (a INTEGER)")
    task = asyncio.create_task(db.close())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    async with aiostoolap.connect(folder) as db:
        assert await db.query("SELECT * FROM t") == []


async def test_what_was_left_open_warns() -> None:
    engine = await Engine()
    db = await engine.open_memory()
    statement = await db.prepare("SELECT 1")
    tx = await db.begin()
    with pytest.warns(ResourceWarning, match="prepared statement was not closed: SELECT 1"):
        del statement
        gc.collect()
    with pytest.warns(ResourceWarning, match="neither committed nor rolled back"):
        del tx
        gc.collect()
    stats = await engine.stats()
    assert (stats.transactions, stats.statements) == (0, 0)
    with pytest.warns(ResourceWarning, match="connection was not closed"):
        del db
        gc.collect()
    assert (await engine.stats()).connections == 0
    before = threads()
    with pytest.warns(ResourceWarning, match="engine was not closed"):
        del engine
        gc.collect()
    await fewer_threads_than(before)


async def test_a_clone_that_was_left_open_does_not_keep_the_engine() -> None:
    before = threads()
    db = await aiostoolap.connect()
    with pytest.warns(ResourceWarning, match="connection was not closed"):
        await db.clone()
        gc.collect()
    await db.close()
    await fewer_threads_than(before + 1)


def run(program: str, *, folder: Path | None = None) -> tuple[int, str, float]:
    """Runs a program in another interpreter: its exit status, what it wrote to stderr, and the seconds of its end."""
    prelude = """
        import asyncio, os, signal, sys, time, aiostoolap

        signal.signal(signal.SIGINT, signal.default_int_handler)  # A parent in the background has it ignored.

        async def fill(db):
            await db.execute("CREATE TABLE numbers (n INTEGER PRIMARY KEY, name TEXT)")
            await db.execute_many("INSERT INTO numbers VALUES (?, ?)", ((n, f"n{n}") for n in range(5_000)))

        def ends():
            print(time.time(), flush=True)
        """
    source = textwrap.dedent(prelude) + f"LONG = {LONG!r}\nfolder = {str(folder)!r}\n" + textwrap.dedent(program)
    command = [sys.executable, "-X", "dev", "-c", source]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    ended = time.time()
    assert done.stdout, done.stderr
    return done.returncode, done.stderr, ended - float(done.stdout.split()[-1])


@pytest.mark.parametrize("state", ["idle", "in a query", "in a transaction"])
@pytest.mark.parametrize(
    ("end", "status"),
    [
        ("pass", 0),
        ("sys.exit(3)", 3),
        ("raise LookupError", 1),
        pytest.param(
            "os.kill(os.getpid(), signal.SIGINT); time.sleep(60)",
            -signal.SIGINT,
            marks=pytest.mark.skipif(sys.platform == "win32", reason="there are no such signals"),
        ),
    ],
)
def test_the_interpreter_ends_with_an_open_engine(state: str, end: str, status: int) -> None:
    program = f"""
        async def main():
            global tx
            db = await aiostoolap.connect()
            await fill(db)
            if {state == "in a query"}:
                asyncio.create_task(db.query_value(LONG))
                await asyncio.sleep(0.2)
            if {state == "in a transaction"}:
                tx = await db.begin()
                await tx.execute("DELETE FROM numbers")
            return db

        loop = asyncio.new_event_loop()
        db = loop.run_until_complete(main())
        loop.close()
        ends()
        {end}
        """
    code, stderr, seconds = run(program)
    assert code == status, stderr
    assert seconds < 10, "left to itself, the query runs for hours"
    assert "ResourceWarning: an engine was not closed" in stderr


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such signals")
def test_control_c_ends_a_query() -> None:
    program = """
        async def main():
            async with aiostoolap.connect() as db:
                await fill(db)
                asyncio.get_running_loop().call_later(0.06, os.kill, os.getpid(), signal.SIGINT)
                asyncio.get_running_loop().call_later(0.05, ends)
                await db.query(LONG)

        asyncio.run(main())
        """
    code, stderr, seconds = run(program)
    assert code in (130, -2), stderr
    assert "KeyboardInterrupt" in stderr
    assert seconds < 10


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_fork(tmp_path: Path) -> None:
    program = """
        async def main():
            os.mkdir(folder)
            async with aiostoolap.Engine(folder) as engine, await engine.open("file:///data/db") as db:
                await fill(db)
                child = os.fork()
                if child == 0:
                    for use in (db.query("SELECT 1"), db.execute("SELECT 1"), db.clone(), engine.stats()):
                        try:
                            use.__await__().send(None)
                        except aiostoolap.InterfaceError as error:
                            "fork" in str(error) or os._exit(2)
                        except BaseException:
                            os._exit(3)
                        else:
                            os._exit(1)
                    os._exit(0)
                assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
                assert await db.query_value("SELECT COUNT(*) FROM numbers") == 5_000
            ends()

        asyncio.run(main())
        """
    code, stderr, _ = run(program, folder=tmp_path / "db")
    assert code == 0, stderr


async def test_more_calls_than_there_is_room_for(numbers: DB) -> None:
    """Callers wait; some of them are cancelled, and one is on another loop."""
    sql = "SELECT n FROM numbers WHERE n = $1"
    asked = [asyncio.create_task(numbers.query_value(sql, (n % 5_000,))) for n in range(3 * ring.SLOTS)]
    elsewhere = asyncio.create_task(asyncio.to_thread(lambda: asyncio.run(_value(numbers, sql, 7))))
    await asyncio.sleep(0)
    for task in asked[::3]:
        task.cancel()
    found = await asyncio.gather(*asked, return_exceptions=True)
    for n, value in enumerate(found):
        assert value == n % 5_000 or (n % 3 == 0 and isinstance(value, asyncio.CancelledError))
    assert await elsewhere == 7


async def _value(db: DB, sql: str, n: int) -> Any:
    return await db.query_value(sql, (n,))


async def test_close_runs_what_waits_for_room() -> None:
    engine = await Engine()
    db = await engine.open_memory()
    asked = [asyncio.create_task(db.query_value("SELECT 1")) for n in range(2 * ring.SLOTS)]
    await asyncio.sleep(0)
    await engine.close()
    assert await asyncio.gather(*asked) == [1] * len(asked)


async def test_streams_that_are_half_read_leave_room(db: DB) -> None:
    await db.execute("CREATE TABLE t (a INTEGER, b TEXT)")
    await db.execute_many("INSERT INTO t VALUES (?, ?)", ((n, "x" * 20_000) for n in range(6)))
    streams = [aiter(db.query("SELECT a, b FROM t")) for _ in range(ring.SLOTS)]
    for _ in range(3):
        await asyncio.gather(*map(anext, streams))
    assert await db.query_value("SELECT COUNT(*) FROM t", timeout=20) == 6
    assert [row[0] async for row in streams[0]] == [3, 4, 5]


async def test_a_timeout_counts_while_there_is_no_room(numbers: DB) -> None:
    waiting = [asyncio.create_task(numbers.query_value(LONG)) for _ in range(ring.SLOTS - 1)]
    await asyncio.sleep(0.2)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(numbers.query_value("SELECT 1", timeout=0.1), 20)
    for task in waiting:
        task.cancel()
    await asyncio.wait(waiting)
    assert await numbers.query_value("SELECT 1") == 1


async def test_a_loop_that_closes_with_calls_that_are_done(engine: Engine) -> None:
    async with await engine.open_memory() as db:
        await db.execute("CREATE TABLE numbers (n INTEGER PRIMARY KEY, name TEXT)")
        await db.execute_many("INSERT INTO numbers VALUES (?, ?)", ((n, f"n{n}") for n in range(2_000)))
        pairs = "SELECT COUNT(*) FROM numbers a, numbers b WHERE a.n < b.n"

        def doomed() -> None:
            loop = asyncio.new_event_loop()
            tasks = [loop.create_task(coroutine) for coroutine in (db.query_value(pairs), db.begin(), db.begin())]
            loop.run_until_complete(asyncio.sleep(0.02))
            time.sleep(1)
            loop.close()
            for task in tasks:
                task._log_destroy_pending = False  # type: ignore[attr-defined]  # asyncio would log what the test does
            while tasks:
                tasks.pop()
                gc.collect()

        await asyncio.to_thread(doomed)
        gc.collect()
        async with asyncio.timeout(10):
            while (await engine.stats()).transactions:
                await asyncio.sleep(0.01)


def test_control_c_while_the_loop_looks_for_replies() -> None:
    program = """
    import asyncio, os, signal, aiostoolap
    from aiostoolap.core.watch import Watch

    async def work(db):
        while True:
            await db.query_value("SELECT 1")

    looks = 0
    look = Watch._look

    def interrupted(self):
        global looks
        looks += 1
        if looks == 20:
            signal.raise_signal(signal.SIGINT)
        look(self)

    loop = asyncio.new_event_loop()

    async def many():
        db = await aiostoolap.connect(latency="low")
        return db, [asyncio.ensure_future(work(db)) for _ in range(20)]

    async def forever(tasks):
        Watch._look = interrupted
        await asyncio.gather(*tasks)

    async def end(tasks):
        for task in tasks:
            task.cancel()
        async with asyncio.timeout(10):
            await asyncio.wait(tasks)
            assert await db.query_value("SELECT 1") == 1
            await db.close()

    db, tasks = loop.run_until_complete(many())
    try:
        loop.run_until_complete(forever(tasks))
    except KeyboardInterrupt:
        loop.run_until_complete(end(tasks))
        loop.close()
        ends()
    """
    code, stderr, _ = run(program)
    assert code == 0, stderr


async def test_two_tasks_start_an_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    cancelled, make = threading.Event(), Runtime.__init__

    def made_later(runtime: Runtime, *arguments: Any) -> None:
        cancelled.wait()
        make(runtime, *arguments)

    monkeypatch.setattr(Runtime, "__init__", made_later)
    engine = Engine()
    first, second = asyncio.create_task(engine.start()), asyncio.create_task(engine.start())
    await asyncio.sleep(0)
    first.cancel()
    cancelled.set()
    assert await second is engine
    with contextlib.suppress(asyncio.CancelledError):  # It may have started already.
        await first
    async with await engine.open_memory() as db:
        assert await db.query_value("SELECT 1") == 1
    await engine.close()
    for _ in range(2):
        with pytest.raises(aiostoolap.ClosedError):
            await engine.start()


async def test_connecting_that_is_cancelled_when_the_engine_has_started(monkeypatch: pytest.MonkeyPatch) -> None:
    start = Executor.start

    async def start_and_cancel(executor: Executor) -> None:
        await start(executor)
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)

    monkeypatch.setattr(Executor, "start", start_and_cancel)
    before = threads()
    connecting = asyncio.create_task(_connected())
    await asyncio.wait([connecting])
    assert connecting.cancelled()
    await fewer_threads_than(before + 1)


async def _connected() -> DB:
    return await aiostoolap.connect()


async def test_many_statements_of_one_connection_do_not_starve_another(numbers: DB) -> None:
    """Connections take turns: another one waits for what is in the ring, and not for all."""
    sql = "SELECT COUNT(*) FROM numbers WHERE name LIKE '%7%'"
    async with await numbers.clone() as other:
        many = [asyncio.create_task(numbers.query_value(sql)) for _ in range(5_000)]
        await asyncio.sleep(0)
        for n in range(5):
            assert await other.query_value("SELECT $1", (n,)) == n
        assert sum(not task.done() for task in many) > 1_000
        for task in many:
            task.cancel()
        await asyncio.wait(many)


async def test_calls_of_a_connection_keep_their_order(engine: Engine) -> None:
    """However many wait, and on whatever loop the task is that awaits them."""
    async with await engine.open_memory() as db, await db.clone() as other:
        await db.execute("CREATE TABLE log (n INTEGER PRIMARY KEY AUTO_INCREMENT, who TEXT, k INTEGER)")
        sql = "INSERT INTO log (who, k) VALUES ($1, $2)"
        calls = []
        for k in range(2_000):
            calls.append(asyncio.create_task(db.execute(sql, ("db", k))))
            if k % 10 == 0:
                calls.append(asyncio.create_task(other.execute(sql, ("other", k))))
        await asyncio.gather(*calls)
        for who, step in (("db", 1), ("other", 10)):
            found = await db.query("SELECT k FROM log WHERE who = $1 ORDER BY n", (who,), into=int)
            assert found == list(range(0, 2_000, step))


async def test_calls_keep_their_order_after_many_were_cancelled(engine: Engine) -> None:
    """What is left of those that waited takes no turn: each task is woken when its own call is done."""
    async with await engine.open("memory://shared") as one, await engine.open("memory://shared") as other:
        await one.execute("CREATE TABLE t (n INTEGER)")
        await one.execute_many("INSERT INTO t VALUES (?)", ((n,) for n in range(2_000)))
        asked = [asyncio.create_task(one.query_value("SELECT COUNT(*) FROM t")) for _ in range(300)]
        await asyncio.sleep(0)
        for task in asked:
            task.cancel()
        await asyncio.wait(asked)
        await one.query("SELECT 1")
        await other.query("SELECT 1")
        first = asyncio.create_task(other.query_value("SELECT COUNT(*) FROM t"))
        second = asyncio.create_task(one.query_value("SELECT COUNT(*) FROM t a, t b, t c WHERE a.n + b.n = c.n"))
        assert await asyncio.wait_for(first, 30) == 2_000
        assert not second.done()
        second.cancel()
        await asyncio.wait([second])


async def test_garbage_that_is_collected_while_calls_are_placed(numbers: DB, monkeypatch: pytest.MonkeyPatch) -> None:
    """The call of a coroutine that is garbage waits no more, but is not taken from those that do in between."""
    place = ring.Ring.place
    long = asyncio.create_task(numbers.query_value(ENDLESS))
    asked = [asyncio.create_task(numbers.query_value("SELECT $1", (n,))) for n in range(200)]
    await asyncio.sleep(0)
    dead: list[Any] = [numbers.query_value("SELECT -1").__await__()]
    dead[0].send(None)
    dead.append(dead)
    gc.disable()
    collected = False

    def place_and_collect(*arguments: Any, **hints: Any) -> int:
        nonlocal collected
        if not collected:
            collected = True
            gc.collect()
        return place(*arguments, **hints)

    try:
        del dead
        monkeypatch.setattr(ring.Ring, "place", place_and_collect)
        long.cancel()
        assert await asyncio.wait_for(asyncio.gather(*asked), 20) == list(range(200))
    finally:
        gc.enable()
    assert collected
    await asyncio.wait([long])
    assert await numbers.query_value("SELECT 1") == 1


async def test_an_engine_that_is_closing_can_be_stopped() -> None:
    engine = await Engine()
    db = await engine.open_memory()
    await db.execute("CREATE TABLE t (n INTEGER)")
    await db.execute_many("INSERT INTO t VALUES (?)", ((n,) for n in range(5_000)))
    asked = asyncio.create_task(db.query_value("SELECT COUNT(*) FROM t a, t b, t c WHERE a.n + b.n = c.n"))
    await asyncio.sleep(0.1)
    closing = asyncio.create_task(engine.close())
    await asyncio.sleep(0)
    assert engine._executor is not None
    await asyncio.to_thread(engine._executor.stop, 60)
    assert not engine._executor._thread.is_alive()
    with pytest.raises(aiostoolap.StatementCancelledError):
        await asked
    await closing


async def test_streams_that_are_garbage_harm_no_call(db: DB, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are collected in the middle of other calls, and have pieces fetched ahead that are done."""
    await db.execute("CREATE TABLE t (n INTEGER PRIMARY KEY, s TEXT)")
    await db.execute_many("INSERT INTO t VALUES ($1, $2)", ((n, "x" * 200) for n in range(5_000)))
    others = [await db.clone() for _ in range(8)]
    collected: list[int] = []

    def collect(heap: list[Any], item: Any) -> Any:
        if not collected:
            collected.append(gc.collect())
        return heapq.heapreplace(heap, item)

    gc.disable()
    try:
        streams: list[Any] = [aiter(db.query("SELECT * FROM t")) for _ in range(20)]
        for stream in streams:
            for _ in range(400):  # The first piece has fewer rows.
                await anext(stream)
            stream.itself = stream  # So only a collection finds it.
        await asyncio.sleep(0.1)
        monkeypatch.setattr(lanes, "heapq", SimpleNamespace(**{**vars(heapq), "heapreplace": collect}))
        del stream
        streams.clear()
        counts = (others[n % 8].query_value("SELECT COUNT(*) FROM t WHERE n < $1", (n,)) for n in range(800))
        found = await asyncio.gather(*counts)
    finally:
        gc.enable()
    for other in others:
        await other.close()
    assert collected
    assert found == [*range(800)]
