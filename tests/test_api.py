"""Every row of the interface, with a test named after it."""

from __future__ import annotations

import array
import asyncio
import copy
import dataclasses
import pickle
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

import msgspec
import numpy as np
import pydantic
import pytest

import aiostoolap
from aiostoolap import DB, Engine, Row, Tx, Vector
from aiostoolap.core import modules
from aiostoolap.dsn import OPTIONS


async def create_users(db: DB) -> None:
    await db.execute("CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, age INTEGER)")
    await db.execute_many("INSERT INTO users VALUES (?, ?, ?)", [(1, "Ada", 36), (2, "Grace", 85), (3, "Alan", None)])


# Engines and databases.


async def test_new_engine() -> None:
    async with Engine() as engine, await engine.open_memory() as db:
        assert await db.query_value("SELECT 1 + 1") == 2


async def test_new_engine_with_another_wasm(tmp_path: Path) -> None:
    other = tmp_path / "other.wasm"
    other.write_bytes(modules.BUNDLED.read_bytes())
    async with Engine(wasm=other) as engine:
        assert engine.version == "0.4.2"


async def test_new_engine_by_await() -> None:
    engine = await Engine()
    assert await engine.start() is engine
    await engine.close()


async def test_new_engine_with_fs(tmp_path: Path) -> None:
    async with Engine(tmp_path) as engine:
        async with await engine.open("file:///data/a") as db:
            await db.execute("CREATE TABLE t (a INTEGER)")
        async with await engine.open("file:///data/deep/b") as db:
            assert await db.query("SHOW TABLES") == []
    assert (tmp_path / "a" / "wal").is_dir()
    assert (tmp_path / "deep" / "b" / "wal").is_dir()


async def test_engine_close() -> None:
    engine = await Engine()
    db = await engine.open_memory()
    await engine.close()
    await engine.close()
    with pytest.raises(aiostoolap.ClosedError, match="engine is closed"):
        await db.query("SELECT 1")
    await db.close()


async def test_engine_version(engine: Engine) -> None:
    assert engine.version == "0.4.2"
    with pytest.raises(aiostoolap.ClosedError, match="not been started"):
        _ = Engine().version


async def test_open_dsn(engine: Engine) -> None:
    for wrong in ("", "memory", "sqlite://x", "file:///etc", "file:///data/../x", "file://x", "memory://\0"):
        with pytest.raises(aiostoolap.InterfaceError):
            await engine.open(wrong)
    with pytest.raises(aiostoolap.InterfaceError, match="no root"):
        await engine.open("file:///data/db")


async def test_open_memory_is_isolated(engine: Engine) -> None:
    async with await engine.open("memory://") as one, await engine.open_memory() as other:
        await one.execute("CREATE TABLE t (a INTEGER)")
        with pytest.raises(aiostoolap.ProgrammingError, match="'t' not found"):
            await other.query("SELECT * FROM t")


async def test_open_memory_by_name_is_shared(engine: Engine) -> None:
    async with await engine.open("memory://cats") as one, await engine.open("memory://cats") as same:
        await one.execute("CREATE TABLE t (a INTEGER)")
        await one.execute("INSERT INTO t VALUES (7)")
        assert await same.query("SELECT * FROM t") == [(7,)]
    async with await engine.open("memory://cats") as new:
        assert await new.query("SHOW TABLES") == []


async def test_open_file_is_persistent_and_shared(tmp_path: Path) -> None:
    async with Engine(tmp_path) as engine:
        async with await engine.open("file:///data/db") as one, await engine.open("file:///data/db") as same:
            await one.execute("CREATE TABLE t (a INTEGER)")
            await one.execute("INSERT INTO t VALUES (7)")
            assert await same.query("SELECT * FROM t") == [(7,)]
        async with await engine.open("file:///data/db") as again:
            assert await again.query("SELECT * FROM t") == [(7,)]
            with pytest.raises(aiostoolap.OperationalError, match="already open") as caught:
                await engine.open("file:///data/db?sync_mode=full")
            assert caught.value.code == "database_open"


async def test_open_refuses_unknown_options(tmp_path: Path) -> None:
    async with Engine(tmp_path) as engine:
        async with await engine.open("file:///data/db?sync_mode=full&keep_snapshots=2"):
            pass
        for wrong in ("sync=full", "sync_mode=fast", "keep_snapshots=few", "keep_snapshots=-1", "sync_mode"):
            with pytest.raises((aiostoolap.InterfaceError, ValueError)):
                await engine.open(f"file:///data/db?{wrong}")
    for value in (None, 1.5):
        with pytest.raises(aiostoolap.InterfaceError, match="sync_mode takes"):
            await aiostoolap.connect(tmp_path / "db", options={"sync_mode": value})  # type: ignore[dict-item]  # so it is


async def test_numbers_of_options(folder: Path) -> None:
    """The engine lost all that was written with the first one, and panicked at the second."""
    for name, wrong in (
        ("wal_max_size", 0),
        ("wal_buffer_size", 2**31),
        ("keep_snapshots", 2**32),
        ("sync_interval_ms", "9" * 5000),
    ):
        with pytest.raises(aiostoolap.InterfaceError, match=f"{name} takes a whole number from [01] to \\d{{10}},"):
            aiostoolap.connect(folder, options={name: wrong})
    ranges = {name: numbers for name, numbers in OPTIONS.items() if isinstance(numbers, range)}
    for smallest in (True, False):
        # A large buffer would take as much memory.
        options: dict[str, str | int | bool] = {
            name: numbers[0] if smallest or name == "wal_buffer_size" else numbers[-1]
            for name, numbers in ranges.items()
        }
        async with aiostoolap.connect(folder, options=options) as db:
            await db.execute("CREATE TABLE IF NOT EXISTS t (a INTEGER)")
            for n in range(5):
                await db.execute("INSERT INTO t VALUES ($1)", (n,))
    async with aiostoolap.connect(folder) as db:
        assert await db.query_value("SELECT COUNT(*) FROM t") == 10


@pytest.mark.parametrize("target", ["memory://", ":memory:", "memory://name"])
async def test_connect_in_memory(target: str) -> None:
    async with aiostoolap.connect(target) as db:
        assert await db.query_value("SELECT 'x'") == "x"


@pytest.mark.parametrize("form", ["str", "path", "url"])
async def test_connect_to_a_path(folder: Path, form: str) -> None:
    targets: dict[str, str | Path] = {
        "str": str(folder),
        "path": folder,
        "url": f"{folder.as_uri()}?sync_mode=full",
    }
    target = targets[form]
    db = await aiostoolap.connect(target)
    await db.execute("CREATE TABLE t (a INTEGER)")
    await db.execute("INSERT INTO t VALUES (1)")
    await db.close()
    async with aiostoolap.connect(target) as db:
        assert await db.query("SELECT * FROM t") == [(1,)]


async def test_connect_refuses_what_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    targets: list[str | Path] = ["", "a\0b", "postgres://x", "file://host/x", "file:", tmp_path / "file"]
    for wrong in targets:
        with pytest.raises(aiostoolap.InterfaceError):
            await aiostoolap.connect(wrong)
    with pytest.raises(aiostoolap.InterfaceError, match="no options"):
        await aiostoolap.connect(options={"sync_mode": "full"})
    with pytest.raises(aiostoolap.InterfaceError, match="no options"):
        await aiostoolap.connect("memory://x?sync_mode=full")
    with pytest.raises(aiostoolap.OperationalError, match="cannot be made"):
        await aiostoolap.connect("/proc/nowhere/db")


@pytest.mark.parametrize(
    ("argument", "value"),
    [("memory_limit", 1), ("checkpoint_every", 0), ("vacuum_every", -1), ("root", "/no/such/directory")],
)
def test_engine_refuses_wrong_arguments(argument: str, value: Any) -> None:
    with pytest.raises(aiostoolap.InterfaceError):
        Engine(**{argument: value})


@pytest.mark.parametrize(("argument", "value"), [("timeout", 0), ("timestamps", "us"), ("json", "bytes")])
def test_engine_refuses_wrong_settings(argument: str, value: Any) -> None:
    with pytest.raises(aiostoolap.InterfaceError, match=argument):
        Engine(**{argument: value})


async def test_db_close(engine: Engine) -> None:
    db = await engine.open_memory()
    statement = await db.prepare("SELECT 1")
    tx = await db.begin()
    rows = aiter(db.query("SELECT 1"))
    await db.close()
    await db.close()
    for use in (db.execute("SELECT 1"), statement.execute(), tx.execute("SELECT 1"), anext(rows)):
        with pytest.raises(aiostoolap.ClosedError):
            await use
    await statement.close()
    with pytest.raises(aiostoolap.ClosedError):
        await tx.rollback()
    assert (await engine.stats()).connections == 0


async def test_db_clone(db: DB) -> None:
    await create_users(db)
    async with await db.clone() as other:
        await other.execute("DELETE FROM users WHERE id = 1")
    assert await db.query_value("SELECT COUNT(*) FROM users") == 2


async def test_the_last_clone_closes_the_database(folder: Path) -> None:
    async with aiostoolap.connect(folder) as one:
        other = await one.clone()
    await other.execute("CREATE TABLE t (a INTEGER)")
    with pytest.raises(aiostoolap.DatabaseLockedError):
        await aiostoolap.connect(folder)
    await other.close()
    async with aiostoolap.connect(folder) as again:
        assert await again.query("SELECT * FROM t") == []


# Statements.


async def test_execute(db: DB) -> None:
    await create_users(db)
    assert await db.execute("UPDATE users SET age = 1 WHERE id < 3") == 2
    assert await db.execute("DELETE FROM users") == 3
    assert await db.execute("CREATE TABLE t (a INTEGER)") == 0


async def test_execute_params(db: DB) -> None:
    await create_users(db)
    assert await db.execute("INSERT INTO users VALUES ($1, $2, $1)", (9, "Barbara")) == 1
    assert await db.execute("UPDATE users SET age = ? WHERE name = ?", [4, "Barbara"]) == 1
    assert await db.execute("DELETE FROM users WHERE name = :name", {"name": "Barbara", "unused": None}) == 1


async def test_query_await(db: DB) -> None:
    await create_users(db)
    rows = await db.query("SELECT * FROM users ORDER BY id")
    assert rows == [(1, "Ada", 36), (2, "Grace", 85), (3, "Alan", None)]
    assert rows.columns == ("id", "name", "age")
    assert await db.query("SELECT * FROM users WHERE id > 5") == []


async def test_query_async_for(numbers: DB) -> None:
    seen = [row.n async for row in numbers.query("SELECT n FROM numbers ORDER BY n")]
    assert seen == list(range(10_000))


async def test_query_async_with(numbers: DB) -> None:
    async with numbers.query("SELECT n FROM numbers ORDER BY n") as rows:
        assert rows.columns == ("n",)
        assert await rows.fetchone() == (0,)
        assert await rows.fetchmany(3) == [(1,), (2,), (3,)]
        assert await anext(rows) == (4,)
        assert len(await rows.fetchall()) == 9_995
        assert await rows.fetchone() is None
        assert await rows.fetchmany() == []
        assert await rows.fetchall() == []


async def test_a_query_has_one_cursor_at_a_time(numbers: DB) -> None:
    query = numbers.query("SELECT n FROM numbers ORDER BY n")
    async with query as rows:
        with pytest.raises(aiostoolap.InterfaceError, match="call query"):
            async with query:
                pass
        assert await rows.fetchone() == (0,)
    async with query as rows:
        assert await rows.fetchone() == (0,)


async def test_a_query_can_run_again_after_an_error(db: DB) -> None:
    query = db.query("SELECT * FROM later")
    with pytest.raises(aiostoolap.ProgrammingError):
        async with query:
            pass
    await db.execute("CREATE TABLE later (a INTEGER)")
    async with query as rows:
        assert await rows.fetchall() == []


async def test_query_params_in_the_select_list(db: DB) -> None:
    await create_users(db)
    assert await db.query("SELECT age + $1 FROM users WHERE id = $2", (4, 1)) == [(40,)]
    assert await db.query("SELECT name || :end AS x FROM users WHERE id = 1", {"end": "!"}) == [("Ada!",)]
    await db.execute("CREATE VIEW adults AS SELECT name, age FROM users WHERE age > 18")
    assert await db.query("SELECT age * $1 FROM adults WHERE name = $2", (2, "Ada")) == [(72,)]


async def test_query_one_and_value(db: DB) -> None:
    await create_users(db)
    row = await db.query_one("SELECT name, age FROM users WHERE id = ?", (1,))
    assert row is not None
    assert row.name == "Ada"
    assert await db.query_one("SELECT * FROM users WHERE id = 9") is None
    assert await db.query_value("SELECT COUNT(*) FROM users") == 3
    assert await db.query_value("SELECT name FROM users WHERE id = 9") is None
    assert await db.query_one("SELECT name FROM users WHERE id = 2", into=str) == "Grace"


async def test_returning(db: DB) -> None:
    await create_users(db)
    rows = await db.query("UPDATE users SET age = 0 WHERE id < 3 RETURNING id, age")
    assert sorted(rows) == [(1, 0), (2, 0)]
    assert await db.query_value("SELECT COUNT(*) FROM users WHERE age = 0") == 2
    named = await db.query("DELETE FROM users WHERE id = 1 RETURNING id AS gone, age + 1 AS older, name", into=dict)
    assert named == [{"gone": 1, "older": 1, "name": "Ada"}]


async def test_one_statement_a_call(db: DB) -> None:
    await create_users(db)
    for sql, code in (
        ("SELECT 1; SELECT 2", "several_statements"),
        ("", "no_statement"),
        (" -- nothing\n", "no_statement"),
        ("UPDATE users SET age = 1 WERE id = 2", "syntax_error"),
        ("DELETE FROM users\0 WHERE id = 1", "syntax_error"),
        ("1 + 1", "syntax_error"),
    ):
        with pytest.raises(aiostoolap.ProgrammingError) as caught:
            await db.execute(sql)
        assert caught.value.code == code
    assert await db.query_value("SELECT SUM(age) FROM users") == 121
    assert await db.query_value("SELECT 1;") == 1
    with pytest.raises(aiostoolap.ProgrammingError, match="WERE"):
        await db.execute("UPDATE users SET age = 1 WERE id = 2")


@pytest.mark.parametrize("sql", [b"SELECT 1", 1, None, ["SELECT 1"]])
async def test_sql_is_text(db: DB, sql: Any) -> None:
    """A number would be the handle of somebody's prepared statement."""
    async with await db.prepare("SELECT 1"):
        for call in (db.execute, db.query_one, db.query_value, db.execute_script, db.prepare):
            with pytest.raises(aiostoolap.ProgrammingError, match=f"not {type(sql).__name__}"):
                await call(sql)
        with pytest.raises(aiostoolap.ProgrammingError, match=f"not {type(sql).__name__}"):
            db.query(sql)
        with pytest.raises(aiostoolap.ProgrammingError, match=f"not {type(sql).__name__}"):
            await db.execute_many(sql, [(1,)])


async def test_parameters_are_counted(db: DB) -> None:
    for sql, params in (
        ("SELECT ?", ()),
        ("SELECT ?", (1, 2)),
        ("SELECT 1", (1,)),
        ("SELECT $1, $2", (1,)),
        ("SELECT :a", (1,)),
        ("SELECT :a", {"b": 1}),
        ("SELECT ?", {"a": 1}),
        ("SELECT ?", None),
    ):
        with pytest.raises(aiostoolap.ProgrammingError, match="takes") as caught:
            await db.query(sql, params)
        assert caught.value.code == "parameter_count"
    for sql in ("SELECT ?, $1", "SELECT :a, ?", "SELECT $0", "SELECT $99999"):
        with pytest.raises(aiostoolap.ProgrammingError) as caught:
            await db.query(sql, (1, 2))
        assert caught.value.code == "syntax_error"
    assert await db.query("SELECT '?', \"$1\", $1 -- ? $2\n", (1,)) == [("?", "$1", 1)]


async def test_prepare(db: DB) -> None:
    await create_users(db)
    async with await db.prepare("SELECT name FROM users WHERE id = $1") as statement:
        assert statement.parameters == 1
        assert await statement.query((1,)) == [("Ada",)]
        assert await statement.query_value((2,)) == "Grace"
        assert await statement.query_one((3,), into=str) == "Alan"
        assert await statement.execute((3,)) == 0
        assert [row async for row in statement.query((1,), into=dict)] == [{"name": "Ada"}]
        with pytest.raises(aiostoolap.ProgrammingError):
            await statement.query(())
    with pytest.raises(aiostoolap.ClosedError):
        await statement.query((1,))
    async with await db.prepare("INSERT INTO users VALUES (:id, :name, 1)") as insert:
        assert insert.parameters == ("id", "name")
        assert await insert.execute_many({"id": n, "name": str(n)} for n in range(10, 2_000)) == 1_990
    with pytest.raises(aiostoolap.ProgrammingError):
        await db.prepare("SELEC 1")


async def test_execute_many(db: DB) -> None:
    await db.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT)")
    seen: list[int] = []
    insert = "INSERT INTO t VALUES ($1, $2)"
    assert await db.execute_many(insert, []) == 0
    assert await db.execute_many(insert, [(0, "x")], progress=seen.append) == 1
    assert seen == [1]

    def rows() -> Iterator[tuple[int, str]]:
        for n in range(1, 30_000):
            yield n, "y" * (n % 50)

    assert await db.execute_many(insert, rows(), progress=seen.append) == 29_999
    assert seen[-1] == 29_999
    assert seen == sorted(seen)
    assert len(seen) > 2

    async def later() -> AsyncIterator[tuple[int, str]]:
        for n in range(30_000, 30_400):
            await asyncio.sleep(0)
            yield n, "z"

    assert await db.execute_many(insert, later()) == 400
    assert await db.query_value("SELECT COUNT(*) FROM t") == 30_400
    assert await db.execute_many("UPDATE t SET b = '' WHERE a = ? RETURNING a, b", [(1,), (-1,), (2,)]) == 2


@pytest.mark.parametrize("count", [2, 20_000])
async def test_a_progress_that_raises_undoes_all(db: DB, count: int) -> None:
    await db.execute("CREATE TABLE t (a INTEGER PRIMARY KEY)")

    def stop(sent: int) -> None:
        raise KeyError(sent)

    rows = [(n,) for n in range(count)]
    with pytest.raises(KeyError):
        await db.execute_many("INSERT INTO t VALUES (?)", rows, progress=stop)
    async with db.transaction() as tx:
        await tx.execute("INSERT INTO t VALUES (-1)")
        with pytest.raises(KeyError):
            await tx.execute_many("INSERT INTO t VALUES (?)", rows, progress=stop)
    assert await db.query("SELECT a FROM t", into=int) == [-1]


async def test_execute_many_is_all_or_nothing(db: DB) -> None:
    await db.execute("CREATE TABLE t (a INTEGER PRIMARY KEY)")
    insert = "INSERT INTO t VALUES (?)"

    def failing() -> Iterator[tuple[int]]:
        yield from ((n,) for n in range(1_000))
        raise LookupError("no more")

    with pytest.raises(LookupError):
        await db.execute_many(insert, failing())
    with pytest.raises(aiostoolap.UniqueViolationError) as caught:
        await db.execute_many(insert, [(1,), (2,), (1,)])
    assert caught.value.fields["row"] == "2"
    assert await db.query_value("SELECT COUNT(*) FROM t") == 0
    async with db.transaction() as tx:
        await tx.execute(insert, (1,))
        with pytest.raises(aiostoolap.UniqueViolationError):
            await tx.execute_many(insert, [(2,), (1,)])
        with pytest.raises(aiostoolap.UniqueViolationError):
            await tx.execute_many(insert, [(n % 700 + 3,) for n in range(2_000)])
        assert await tx.query("SELECT a FROM t") == [(1,)]
        assert await tx.execute_many(insert, ((n,) for n in range(2, 2_000))) == 1_998
    assert await db.query_value("SELECT COUNT(*) FROM t") == 1_999
    with pytest.raises(aiostoolap.ProgrammingError):
        await db.execute_many("SELECT ?", [(1,)])
    with pytest.raises(TypeError):
        await db.execute_many(insert, 7)  # type: ignore[arg-type]  # what the test is about


async def test_execute_script(db: DB) -> None:
    script = """
        CREATE TABLE t (a INTEGER); -- a comment; with a semicolon
        INSERT INTO t VALUES (1); INSERT INTO t VALUES (2) /* ; */;;
        BEGIN; INSERT INTO t VALUES (3); ROLLBACK;
        UPDATE t SET a = 10 WHERE a = 2
    """
    assert await db.execute_script(script) == 7
    assert await db.query("SELECT a FROM t ORDER BY a") == [(1,), (10,)]
    assert await db.execute_script(" ; -- nothing") == 0
    with pytest.raises(aiostoolap.ProgrammingError, match="statement 2 of the script") as caught:
        await db.execute_script("INSERT INTO t VALUES (5); INSERT INTO missing VALUES (1); INSERT INTO t VALUES (6)")
    assert caught.value.fields["statement"] == "2"
    assert await db.query_value("SELECT COUNT(*) FROM t") == 3
    with pytest.raises(aiostoolap.ProgrammingError):
        await db.execute_script("SELECT ?")


# Transactions.


async def test_begin_commit_rollback(db: DB) -> None:
    await create_users(db)
    tx = await db.begin()
    assert await tx.execute("DELETE FROM users WHERE id = 1") == 1
    assert await tx.query_value("SELECT COUNT(*) FROM users") == 2
    assert await db.query_value("SELECT COUNT(*) FROM users") == 3
    assert tx.is_open
    await tx.commit()
    assert not tx.is_open
    assert await db.query_value("SELECT COUNT(*) FROM users") == 2
    tx = await db.begin()
    await tx.execute("DELETE FROM users")
    await tx.rollback()
    assert await db.query_value("SELECT COUNT(*) FROM users") == 2
    for use in (tx.execute("SELECT 1"), tx.commit(), tx.rollback()):
        with pytest.raises(aiostoolap.ClosedError, match="ended"):
            await use


async def test_begin_isolation(db: DB) -> None:
    await create_users(db)
    count = "SELECT COUNT(*) FROM users"
    async with db.transaction("snapshot") as frozen, db.transaction("read committed") as live:
        assert await frozen.query_value(count) == await live.query_value(count) == 3
        await db.execute("DELETE FROM users WHERE id = 1")
        assert await frozen.query_value(count) == 3
        assert await live.query_value(count) == 2
    with pytest.raises(aiostoolap.ProgrammingError, match="isolation"):
        await db.begin("serialisable")  # type: ignore[arg-type]  # what the test is about


async def test_transaction_block(db: DB) -> None:
    await create_users(db)
    async with db.transaction() as tx:
        await tx.execute("DELETE FROM users WHERE id = 1")
    assert await db.query_value("SELECT COUNT(*) FROM users") == 2
    with pytest.raises(LookupError):
        async with db.transaction() as tx:
            await tx.execute("DELETE FROM users")
            raise LookupError
    assert await db.query_value("SELECT COUNT(*) FROM users") == 2
    async with db.transaction() as tx:
        await tx.execute("DELETE FROM users")
        await tx.rollback()
    assert await db.query_value("SELECT COUNT(*) FROM users") == 2


async def test_transaction_verbs(db: DB) -> None:
    await create_users(db)
    async with db.transaction() as tx:
        assert await tx.execute_many("UPDATE users SET age = ? WHERE id = ?", [(1, 1), (2, 2)]) == 2
        assert await tx.query("SELECT age FROM users WHERE id < 3 ORDER BY id", into=int) == [1, 2]
        assert await tx.query_one("SELECT age FROM users WHERE id = 1") == (1,)
        assert await tx.execute_script("DELETE FROM users WHERE id = 3; DELETE FROM users WHERE id = 2") == 2
        async with await tx.prepare("SELECT COUNT(*) FROM users") as statement:
            assert await statement.query_value() == 1
        async with tx.query("SELECT id FROM users") as rows:
            assert await rows.fetchall() == [(1,)]
    assert await db.query_value("SELECT COUNT(*) FROM users") == 1


async def test_transaction_savepoints(db: DB) -> None:
    await create_users(db)
    async with db.transaction() as tx:
        await tx.execute("UPDATE users SET age = 1 WHERE id = 1")
        with pytest.raises(LookupError):
            async with tx.savepoint():
                await tx.execute("DELETE FROM users")
                async with tx.savepoint():
                    await tx.execute("INSERT INTO users VALUES (7, 'x', 0)")
                raise LookupError
        async with tx.savepoint():
            await tx.execute("UPDATE users SET age = 2 WHERE id = 2")
        await tx.execute("SAVEPOINT mine")
        await tx.execute("DELETE FROM users")
        await tx.execute("ROLLBACK TO SAVEPOINT mine")
        await tx.execute("RELEASE SAVEPOINT mine")
        with pytest.raises(aiostoolap.ProgrammingError):
            await tx.execute("ROLLBACK TO SAVEPOINT other")
    assert await db.query("SELECT id, age FROM users ORDER BY id") == [(1, 1), (2, 2), (3, None)]


async def test_transaction_in_sql(db: DB) -> None:
    await create_users(db)
    await db.execute("BEGIN")
    await db.execute("DELETE FROM users")
    with pytest.raises(aiostoolap.ProgrammingError) as caught:
        await db.execute("BEGIN")
    assert caught.value.code == "transaction_active"
    await db.execute("ROLLBACK")
    await db.execute("BEGIN TRANSACTION ISOLATION LEVEL SNAPSHOT")
    await db.execute("UPDATE users SET age = 0")
    await db.execute("COMMIT")
    assert await db.query_value("SELECT SUM(age) FROM users") == 0
    for sql in ("COMMIT", "ROLLBACK", "SAVEPOINT x"):
        with pytest.raises(aiostoolap.ProgrammingError) as caught:
            await db.execute(sql)
        assert caught.value.code == "no_transaction"
    async with db.transaction() as tx:
        await tx.execute("COMMIT")
        with pytest.raises(aiostoolap.ClosedError):
            await tx.execute("SELECT 1")
        with pytest.raises(aiostoolap.ClosedError):
            await tx.commit()


async def test_transaction_conflict(db: DB) -> None:
    await create_users(db)
    with pytest.raises(aiostoolap.TransactionConflictError):
        async with db.transaction() as one, db.transaction() as other:
            await one.execute("UPDATE users SET age = 1 WHERE id = 1")
            await other.execute("UPDATE users SET age = 2 WHERE id = 1")
    assert await db.query_value("SELECT age FROM users WHERE id = 1") == 36


async def test_run_transaction(db: DB) -> None:
    """Increments that meet are all counted."""
    await create_users(db)
    await db.execute("CREATE TABLE counter (id INTEGER PRIMARY KEY, n INTEGER)")
    await db.execute("INSERT INTO counter VALUES (1, 0)")
    attempts = 0

    async def increment(tx: Tx) -> int:
        nonlocal attempts
        attempts += 1
        n: int = await tx.query_value("SELECT n FROM counter")
        await asyncio.sleep(0)
        await tx.execute("UPDATE counter SET n = $1", (n + 1,))
        return n + 1

    results = await asyncio.gather(
        *(db.run_transaction(increment, isolation="snapshot", attempts=1_000) for _ in range(20))
    )
    assert sorted(results) == list(range(1, 21))
    assert attempts > 20
    assert await db.query_value("SELECT n FROM counter") == 20


async def test_run_transaction_gives_up(db: DB) -> None:
    await create_users(db)
    runs = 0

    async def lose(tx: Tx) -> None:
        nonlocal runs
        runs += 1
        await tx.execute("UPDATE users SET name = 'lost' WHERE id = 1")
        raise aiostoolap.TransactionConflictError("met on purpose")

    with pytest.raises(aiostoolap.TransactionConflictError, match="on purpose"):
        await db.run_transaction(lose, attempts=3)
    assert runs == 3
    with pytest.raises(aiostoolap.ProgrammingError, match="attempts"):
        await db.run_transaction(lose, attempts=0)

    async def fail(tx: Tx) -> None:
        nonlocal runs
        runs += 1
        raise LookupError

    with pytest.raises(LookupError):
        await db.run_transaction(fail)
    assert runs == 4
    assert await db.query_value("SELECT COUNT(*) FROM users WHERE name = 'lost'") == 0


async def test_transaction_that_cannot_be_committed(db: DB) -> None:
    await create_users(db)
    one, other = await db.begin(), await db.begin()
    await one.execute("INSERT INTO users VALUES (8, 'Same', 1)")
    await other.execute("INSERT INTO users VALUES (9, 'Same', 1)")
    await one.commit()
    with pytest.raises(aiostoolap.UniqueViolationError):
        await other.commit()
    assert not other.is_open
    assert await db.query("SELECT id FROM users WHERE name = 'Same'") == [(8,)]


async def test_transaction_block_that_lost_its_connection(engine: Engine) -> None:
    async with await engine.open("memory://shared") as keeper:
        await create_users(keeper)
        db = await engine.open("memory://shared")
        with pytest.raises(aiostoolap.ClosedError):
            async with db.transaction() as tx:
                await tx.execute("DELETE FROM users")
                await db.close()
        assert await keeper.query_value("SELECT COUNT(*) FROM users") == 3


async def test_transaction_refuses_definitions(db: DB) -> None:
    async with db.transaction() as tx:
        for sql in ("CREATE TABLE t (a INTEGER)", "PRAGMA checkpoint", "SET isolation_level = 'SNAPSHOT'"):
            with pytest.raises(aiostoolap.NotSupportedError):
                await tx.execute(sql)
        assert await tx.query_value("SELECT 1") == 1
    with pytest.raises(aiostoolap.NotSupportedError, match="execute_many"):
        await db.execute("COPY t FROM '/data/x.csv'")
    await db.execute("CREATE TABLE t (a INTEGER)")
    with pytest.raises(aiostoolap.NotSupportedError, match="MODIFY"):
        await db.execute("ALTER TABLE t MODIFY COLUMN a TEXT")


# Rows.


async def test_rows_are_tuples_with_names(db: DB) -> None:
    await create_users(db)
    row = await db.query_one("SELECT id, name AS count, age FROM users WHERE id = 1")
    assert row is not None
    key, name, _ = row
    assert (key, name) == (row["id"], row["count"]) == (row.id, row[1]) == (row[0], row[-2])
    assert getattr(row, "count") == "Ada"  # noqa: B009  # to type checkers it is the method of tuples
    assert row[1:] == ("Ada", 36)
    assert tuple(row) == (1, "Ada", 36)
    expected: Any = (1, "Ada", 36)
    assert row == expected
    assert dict(row) == {"id": 1, "count": "Ada", "age": 36}
    assert repr(row) == "Row(id=1, count='Ada', age=36)"
    assert pickle.loads(pickle.dumps(row)) == row
    assert copy.copy(row).id == 1
    assert hash(row) == hash((1, "Ada", 36))
    with pytest.raises(KeyError, match="there are id, count, age"):
        row["nothing"]
    with pytest.raises(AttributeError, match="there are id, count, age"):
        _ = row.nothing
    result = await db.query("SELECT id FROM users")
    assert pickle.loads(pickle.dumps(result)).columns == ("id",)
    other = await db.query_one('SELECT id AS _id, name AS "the name" FROM users WHERE id = 1')
    assert other is not None
    assert (other._id, getattr(other, "the name")) == (1, "Ada")


async def test_rows_close_releases_the_cursor(engine: Engine) -> None:
    async with await engine.open_memory() as db:
        await db.execute("CREATE TABLE t (a INTEGER, b TEXT)")
        await db.execute_many("INSERT INTO t VALUES (?, ?)", ((n, "x" * 100) for n in range(20_000)))
        async with db.query("SELECT * FROM t") as rows:
            await rows.fetchone()
            assert (await engine.stats()).cursors == 1
        assert (await engine.stats()).cursors == 0
        with pytest.raises(aiostoolap.ClosedError):
            await rows.fetchone()
        with pytest.raises(ValueError, match="size"):
            await rows.fetchmany(0)
        async for _ in db.query("SELECT * FROM t"):
            break
        assert (await engine.stats()).cursors == 0
        unopened = aiter(db.query("SELECT 1"))
        assert isinstance(unopened, aiostoolap.Rows)
        with pytest.raises(aiostoolap.ProgrammingError, match="not run"):
            _ = unopened.columns


async def test_a_cursor_is_for_one_task(engine: Engine) -> None:
    async with await engine.open_memory() as db:
        await db.execute("CREATE TABLE t (a INTEGER, b TEXT)")
        await db.execute_many("INSERT INTO t VALUES (?, ?)", ((n, "x" * 1_000) for n in range(3_000)))
        async with db.query("SELECT * FROM t") as rows:
            first, second = await asyncio.gather(rows.fetchall(), rows.fetchall(), return_exceptions=True)
            assert isinstance(first, list)
            assert len(first) == 3_000
            assert isinstance(second, aiostoolap.InterfaceError)
        assert (await engine.stats()).cursors == 0


async def test_query_that_never_runs_warns(db: DB) -> None:
    with pytest.warns(RuntimeWarning, match="never awaited"):
        db.query("SELECT 1")


@dataclasses.dataclass
class User:
    id: int
    name: str
    age: int | None = None


class UserStruct(msgspec.Struct):
    id: int
    name: str
    age: int | None


class UserTuple(NamedTuple):
    name: str
    id: int
    age: int | None = None


class UserDict(TypedDict):
    id: int
    name: str
    age: int | None


class UserModel(pydantic.BaseModel):
    id: int
    name: str
    age: int | None


@pytest.mark.parametrize(
    ("into", "expected"),
    [
        (dict, {"id": 1, "name": "Ada", "age": 36}),
        (tuple, (1, "Ada", 36)),
        (User, User(1, "Ada", 36)),
        (UserStruct, UserStruct(1, "Ada", 36)),
        (UserTuple, UserTuple("Ada", 1, 36)),
        (UserDict, {"id": 1, "name": "Ada", "age": 36}),
        (UserModel, UserModel(id=1, name="Ada", age=36)),
    ],
)
async def test_query_into(db: DB, into: type[Any], expected: object) -> None:
    await create_users(db)
    sql = "SELECT * FROM users WHERE id = 1"
    rows = await db.query(sql, into=into)
    assert rows == [expected]
    assert type(rows[0]) is type(expected)
    assert [row async for row in db.query(sql, into=into)] == [expected]
    assert await db.query_one(sql, into=into) == expected


async def test_query_into_row(db: DB) -> None:
    rows = await db.query("SELECT 1 AS a, 2 AS b", into=aiostoolap.Row)
    assert [(row["a"], row.b) for row in rows] == [(1, 2)]


@pytest.mark.parametrize("into", [User, UserStruct, UserDict, UserTuple, UserModel])
async def test_query_into_says_what_does_not_fit(db: DB, into: type[Any]) -> None:
    await create_users(db)
    missing = "no column is named 'name'" if into is UserTuple else "row 0, column name: (it is missing|Field required)"
    with pytest.raises(aiostoolap.DataError, match=missing):
        await db.query("SELECT id, age FROM users", into=into)
    with pytest.raises(aiostoolap.DataError, match=r"row 2, column name: .*, for User"):
        await db.query("SELECT id, NULLIF(name, 'Alan') AS name, age FROM users ORDER BY id", into=into)
    with pytest.raises(aiostoolap.DataError, match=r"row 1, column age: .*, for User"):
        async for _ in db.query(
            "SELECT id, name, CASE id WHEN 2 THEN 'old' END AS age FROM users ORDER BY id", into=into
        ):
            pass


class Strict(msgspec.Struct, forbid_unknown_fields=True):
    id: int


class StrictModel(pydantic.BaseModel, extra="forbid"):
    id: int


@pytest.mark.parametrize("into", [Strict, StrictModel])
async def test_query_into_what_forbids_further_columns(db: DB, into: type[Any]) -> None:
    assert (await db.query("SELECT 1 AS id", into=into))[0].id == 1
    with pytest.raises(aiostoolap.DataError, match="row 0, column extra: "):
        await db.query("SELECT 1 AS id, 2 AS extra", into=into)


async def test_query_into_refuses(db: DB) -> None:
    with pytest.raises(aiostoolap.ProgrammingError, match="two columns"):
        await db.query("SELECT 1 AS a, 2 AS a", into=dict)
    with pytest.raises(aiostoolap.ProgrammingError, match="one column"):
        await db.query("SELECT 1, 2", into=int)
    with pytest.raises(aiostoolap.DataError, match="row 0, column a"):
        await db.query("SELECT 'x' AS a", into=int)
    with pytest.raises(aiostoolap.ProgrammingError, match="into= is the type of one row"):
        db.query("SELECT 1", into="str")  # type: ignore[call-overload]  # what the test is about


# Values.


@pytest.mark.parametrize(
    ("declared", "value"),
    [
        ("INTEGER", 2**63 - 1),
        ("INTEGER", -(2**63)),
        ("FLOAT", 0.1),
        ("FLOAT", float("inf")),
        ("TEXT", "naïve \N{SNOWMAN} \x01"),
        ("TEXT", "NUL \0 inside"),
        ("TEXT", ""),
        ("BOOLEAN", True),
        ("TIMESTAMP", datetime(2024, 2, 29, 12, 30, 45, 123456, tzinfo=UTC)),
        ("TIMESTAMP", datetime(1677, 9, 22, tzinfo=UTC)),
        ("JSON", {"a": [1, 2.5, None, True], "b": {"c": "\N{SNOWMAN}"}}),
        ("JSON", [1, "x", None]),
        ("TEXT", None),
    ],
)
async def test_value_types(db: DB, declared: str, value: object) -> None:
    await db.execute(f"CREATE TABLE t (a {declared})")
    await db.execute("INSERT INTO t VALUES ($1)", (value,))
    result = await db.query_value("SELECT a FROM t")
    assert result == value
    assert type(result) is type(value)


async def test_timestamps_are_utc(db: DB) -> None:
    local = datetime(2024, 1, 1, 12, tzinfo=timezone(timedelta(hours=5)))
    value = await db.query_value("SELECT $1", (local,))
    assert value == local
    assert value.tzinfo is UTC


async def test_nanoseconds_and_raw_json_on_request() -> None:
    async with aiostoolap.connect(timestamps="nanoseconds", json="text") as db:
        moment = datetime(2024, 1, 1, 0, 0, 1, 5, tzinfo=UTC)
        assert await db.query_value("SELECT $1", (moment,)) == 1_704_067_201_000_005_000
        assert await db.query_value("SELECT $1", ({"a": 1},)) == '{"a":1}'


@pytest.mark.parametrize(
    "value",
    [
        Vector([1, 2, 4]),
        [1.0, 2.0, 4.0],
        (1, 2, 4),
        array.array("f", [1, 2, 4]),
        array.array("d", [1, 2, 4]),
        np.array([1, 2, 4], dtype=np.float32),
        np.array([1, 2, 4], dtype=np.float64),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_vectors(db: DB, value: Any) -> None:
    await db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, v VECTOR(3))")
    await db.execute("INSERT INTO t VALUES (1, $1)", (value,))
    stored = await db.query_value("SELECT v FROM t")
    assert isinstance(stored, Vector)
    assert stored == Vector([1, 2, 4])
    assert np.asarray(stored).dtype == np.float32
    assert list(stored) == [1.0, 2.0, 4.0]
    assert pickle.loads(pickle.dumps(stored)) == stored
    assert repr(stored) == "Vector([1.0, 2.0, 4.0])"
    assert await db.query_value("SELECT VEC_DISTANCE_L2(v, $1) FROM t", (value,)) == 0
    with pytest.raises(aiostoolap.DataError):
        await db.execute("INSERT INTO t VALUES (2, $1)", (Vector([1]),))


# Cancellation, limits, statistics.


async def test_query_timeout(numbers: DB) -> None:
    cross = "SELECT COUNT(*) FROM numbers a, numbers b WHERE a.name < b.name"
    with pytest.raises(TimeoutError):
        await numbers.query(cross, timeout=0.05)
    assert await numbers.query_value("SELECT COUNT(*) FROM numbers") == 10_000


async def test_timeout_of_a_write_says_what_happened(numbers: DB) -> None:
    """TimeoutError means that nothing was changed."""
    total = await numbers.query_value("SELECT SUM(n) FROM numbers")
    await numbers.execute("CREATE TABLE c (n INTEGER PRIMARY KEY, v INTEGER)")
    await numbers.execute("INSERT INTO c SELECT n, 0 FROM numbers")
    expected = 0
    for step in range(30):
        try:
            await numbers.execute("UPDATE c SET v = v + 1", timeout=0.001 * (step + 1))
            expected += 1
        except TimeoutError:
            pass
        assert await numbers.query_value("SELECT SUM(v) FROM c") == expected * 10_000
    assert await numbers.query_value("SELECT SUM(n) FROM numbers") == total


async def test_engine_timeout() -> None:
    async with aiostoolap.connect(timeout=0.2) as db:
        await db.execute("CREATE TABLE t (a INTEGER)")
        await db.execute_many("INSERT INTO t VALUES (?)", ((n,) for n in range(5_000)))
        with pytest.raises(TimeoutError):
            await db.query_value("SELECT COUNT(*) FROM t a, t b, t c WHERE a.a < b.a + c.a")
        assert await db.query_value("SELECT COUNT(*) FROM t") == 5_000


async def test_memory_limit() -> None:
    async with aiostoolap.connect(memory_limit=100 << 20) as db:
        await db.execute("CREATE TABLE t (a INTEGER, b TEXT)")
        await db.execute_many("INSERT INTO t VALUES (?, ?)", ((n, f"text {n}") for n in range(20_000)))
        for _ in range(3):
            with pytest.raises(aiostoolap.MemoryLimitError):
                await db.query("SELECT * FROM t x, t y ORDER BY x.b, y.b")
        with pytest.raises(aiostoolap.MemoryLimitError):
            await db.query("SELECT $1", ("x" * (101 << 20),))
        assert await db.query_value("SELECT COUNT(*) FROM t") == 20_000


async def test_statistics(engine: Engine) -> None:
    async with await engine.open_memory() as db:
        await db.execute("CREATE TABLE t (a INTEGER)")
        await db.execute_many("INSERT INTO t VALUES (?)", [(1,), (2,)])
        async with await db.prepare("SELECT 1"), db.transaction():
            stats = await engine.stats()
    assert (stats.databases, stats.connections, stats.transactions, stats.statements) == (1, 1, 1, 1)
    assert stats.hot_rows == 2
    assert 0 < stats.live_bytes < stats.memory_limit
    assert stats.maintenance == {}
    assert (await engine.stats()).databases == 0


def test_row_type_is_exported() -> None:
    assert issubclass(Row, tuple)


async def test_rows_that_a_write_returns_are_counted(db: DB) -> None:
    await db.execute("CREATE TABLE t (a INTEGER)")
    assert await db.execute("INSERT INTO t VALUES (1), (2), (3) RETURNING a") == 3
    found = await db.query("UPDATE t SET a = a + 10 WHERE a > 1 RETURNING a")
    assert (sorted(found), found.rows_affected) == ([(12,), (13,)], 2)
    assert await db.execute("DELETE FROM t WHERE a = 99 RETURNING a") == 0
    assert await db.execute("SELECT a FROM t") == 0


async def test_execute_many_as_statements_of_many_rows(db: DB) -> None:
    """What the engine does for 32 rows at once must be what it does for one, and errors must name the row."""
    await db.execute("CREATE TABLE parents (id INTEGER PRIMARY KEY)")
    await db.execute_many("INSERT INTO parents VALUES (?)", ((n,) for n in range(100)))
    await db.execute(
        "CREATE TABLE t (id INTEGER PRIMARY KEY AUTO_INCREMENT, name TEXT NOT NULL,"
        " n INTEGER DEFAULT 7 CHECK (n < 1000), parent INTEGER REFERENCES parents(id), made TIMESTAMP, data JSON)"
    )
    insert = "INSERT INTO t (name, parent, made, data) VALUES ($2, $1, $3, '{\"a\": 1}')"
    made = datetime(2026, 11, 23, tzinfo=UTC)
    assert await db.execute_many(insert, ((n % 100, f"name{n}", made) for n in range(1_000))) == 1_000
    assert await db.query("SELECT COUNT(*), SUM(n), MIN(id), MAX(id) FROM t") == [(1_000, 7_000, 1, 1_000)]
    assert await db.query_one("SELECT name, parent, made, data FROM t WHERE id = 778") == (
        "name777",
        77,
        made,
        {"a": 1},
    )
    wrong: list[tuple[Any, type[aiostoolap.Error]]] = [
        ((5, None, made), aiostoolap.IntegrityError),
        ((777, "no parent", made), aiostoolap.ForeignKeyViolationError),
        ((5, "no moment", "yesterday"), aiostoolap.Error),
        ((5, "too few"), aiostoolap.ProgrammingError),
        ((5, "too", "many", 4), aiostoolap.ProgrammingError),
    ]
    for place in (0, 31, 32, 100):
        for row, kind in wrong:
            rows: list[Any] = [(n % 100, "x", made) for n in range(150)]
            rows[place] = row
            with pytest.raises(kind) as caught:
                await db.execute_many(insert, rows)
            assert caught.value.fields["row"] == str(place), row
    assert await db.query_value("SELECT COUNT(*) FROM t") == 1_000
    async with db.transaction() as tx:
        with pytest.raises(aiostoolap.UniqueViolationError) as caught:
            await tx.execute_many("INSERT INTO parents VALUES (?)", [(n,) for n in (*range(200, 240), 205)])
        assert caught.value.fields["row"] == "40"
        assert await tx.execute_many("INSERT INTO parents VALUES (?)", [(n,) for n in range(200, 240)]) == 40
    assert await db.query_value("SELECT COUNT(*) FROM parents") == 140


async def test_rows_whose_columns_have_the_same_name(db: DB) -> None:
    row = await db.query_one("SELECT 1 AS a, 2 AS a, 3 AS b, 4 AS _fields")
    assert row is not None
    for same in (row, copy.copy(row), pickle.loads(pickle.dumps(row))):
        assert (same["a"], same["b"], same["_fields"], same) == (1, 3, 4, (1, 2, 3, 4))
        assert repr(same) == "Row(a=1, a=2, b=3, _fields=4)"
