"""What goes wrong at first, and what is said of it: each error says what to write instead."""

from __future__ import annotations

import copy
import gc
import os
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import aiostoolap
from aiostoolap import DB, DataError, Engine, InterfaceError, ProgrammingError


@dataclass
class User:
    id: int
    name: str


@pytest.fixture
async def users(db: DB) -> DB:
    await db.execute("CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT)")
    await db.execute("INSERT INTO users VALUES (1, 'Ada'), (2, NULL)")
    return db


ONE = "SELECT * FROM users WHERE id = ?"

CALLS: list[tuple[Callable[[Any], Any], type[Exception], str]] = [
    (lambda db: db.query(ONE, 1), DataError, r"not int: write \(value,\) for a single one"),
    (lambda db: db.query(ONE, "Ada"), DataError, r"not str: write \(value,\) for a single one"),
    (lambda db: db.query(ONE), ProgrammingError, "takes 1 parameter, but 0 were given"),
    (lambda db: db.query(ONE, (1, 2)), ProgrammingError, "takes 1 parameter, but 2 were given"),
    (lambda db: db.query(ONE, {"id": 1}), ProgrammingError, "takes 1 parameter, but a mapping was given"),
    (lambda db: db.query("SELECT :id", {"name": 1}), ProgrammingError, ":id is missing"),
    (lambda db: db.query(ONE, (User(1, "Ada"),)), DataError, "User cannot be a parameter; .* register_codec"),
    (lambda db: db.query("SELECT * FROM user"), ProgrammingError, "'user' not found"),
    (lambda db: db.query("SELECT nam FROM users"), ProgrammingError, '"nam"; "users" has id, name'),
    (lambda db: db.query("SELECT 1; SELECT 2"), ProgrammingError, "execute_script"),
    (lambda db: db.query(None), ProgrammingError, "not NoneType"),
    (lambda db: db.query("SELECT * FROM users", into=User), DataError, "row 1, column name: .* for User"),
    (lambda db: db.query("SELECT id FROM users", into=User), DataError, "row 0, column name: it is missing, for User"),
    (lambda db: db.query("SELECT * FROM users", into=int), ProgrammingError, "one column, but the query has 2"),
    (lambda db: db.query("SELECT 1", into=list[User]), ProgrammingError, "into= is the type of one row: .*; not list"),
    (lambda db: db.query("SELECT 1", into=User(1, "")), ProgrammingError, "into= is the type of one row: .*; not User"),
    (lambda db: db.execute_many("INSERT INTO users VALUES (?, ?)", (3, "x")), DataError, "not int"),
    (lambda db: db.execute_many("INSERT INTO users VALUES (?, ?)", 3), TypeError, "not int"),
    (lambda db: db.vacuum(3), ProgrammingError, "vacuum is named by a text, not int"),
    (lambda db: db.restore(3), ProgrammingError, "restore is named by a text, not int"),
    (lambda db: db.begin("serializable"), ProgrammingError, "read committed, snapshot, not 'serializable'"),
]


@pytest.mark.parametrize(("call", "kind", "message"), CALLS)
async def test_a_call(users: DB, call: Callable[[DB], Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        await call(users)
    assert await users.query_value("SELECT COUNT(*) FROM users") == 2


@pytest.mark.parametrize("use", [list, lambda query: query[0], lambda query: query.fetchall()])
async def test_a_query_without_await(db: DB, use: Callable[[Any], object]) -> None:
    query = db.query("SELECT 1")
    with pytest.raises((TypeError, AttributeError), match="`await` it for all rows, `async for` to stream them"):
        use(query)
    assert await query == [(1,)]


async def test_rows_of_a_query_can_be_inserted(users: DB) -> None:
    """A query is an asynchronous iterable, and no other one."""
    await users.execute("CREATE TABLE copies (id INTEGER, name TEXT)")
    assert await users.execute_many("INSERT INTO copies VALUES (?, ?)", users.query("SELECT * FROM users")) == 2


async def test_a_database_that_is_not_open_yet() -> None:
    connecting: Any = aiostoolap.connect()
    with pytest.raises(AttributeError, match=r"'execute'.* write `db = await connect\(\.\.\.\)`"):
        await connecting.execute("SELECT 1")
    with pytest.warns(RuntimeWarning, match=r"connect\(\) was called but never awaited"):
        del connecting
        gc.collect()


async def test_a_transaction_that_has_not_begun(db: DB) -> None:
    tx: Any = db.transaction()
    with pytest.raises(AttributeError, match=r"'execute'.* write `async with db.transaction\(\) as tx:`"):
        await tx.execute("SELECT 1")


async def test_a_block_that_is_used_twice(users: DB) -> None:
    block = users.transaction()
    async with block as tx:
        await tx.execute("DELETE FROM users")
        with pytest.raises(InterfaceError, match=r"one transaction: call transaction\(\) again"):
            async with block:
                pass
    assert await users.query("SELECT * FROM users") == []


async def test_a_row(users: DB) -> None:
    row: Any = await users.query_one("SELECT * FROM users")
    with pytest.raises(AttributeError, match="no column 'nam'; there are id, name"):
        row.nam  # noqa: B018  # it raises
    with pytest.raises(KeyError, match="no column 'nam'; there are id, name"):
        row["nam"]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"memory_limit": "1 GB"}, "memory_limit is a number of bytes from .*, not '1 GB'"),
        ({"memory_limit": 1e9}, "memory_limit is a number of bytes"),
        ({"timeout": "10"}, "timeout is a number of seconds above 0 or None, not '10'"),
        ({"timeout": 0}, "timeout is a number of seconds above 0 or None, not 0"),
        ({"checkpoint_every": "60"}, "checkpoint_every is a number of seconds above 0 or None, not '60'"),
        ({"vacuum_every": -1}, "vacuum_every is a number of seconds above 0 or None, not -1"),
        ({"slow_statement": "1"}, "slow_statement is a number of seconds from 0 on or None, not '1'"),
        ({"lock_timeout": None}, "lock_timeout is a number of seconds from 0 on, not None"),
        ({"on_statement": 5}, "on_statement is a function or None, not 5"),
        ({"latency": "fast"}, "latency is 'low', 'balanced' or 'power', not 'fast'"),
        ({"options": {"sync_mode": "full"}}, "an in-memory database takes no options"),
    ],
)
def test_a_setting(setting: dict[str, Any], message: str) -> None:
    with pytest.raises(InterfaceError, match=message):
        aiostoolap.connect(**setting)


async def test_a_name_that_is_no_text(engine: Engine) -> None:
    name: Any = Path("app.db")
    with pytest.raises(InterfaceError, match=r"Path\('app.db'\) is not a DSN: use memory://"):
        await engine.open(name)


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, pickle.dumps])
async def test_what_is_there_once(engine: Engine, duplicate: Callable[[object], object]) -> None:
    """The end of a copy would have been the end of the other one."""
    async with await engine.open_memory() as db, db.transaction() as tx, await db.prepare("SELECT 1") as statement:
        async with db.query("SELECT 1") as rows:
            for one in (engine, db, tx, statement, rows):
                with pytest.raises(TypeError, match="can be neither copied nor pickled"):
                    duplicate(one)
        assert await tx.query("SELECT 1") == await statement.query() == [(1,)]


async def test_a_path_may_be_bytes(tmp_path: Path) -> None:
    path: Any = os.fsencode(tmp_path / "db")
    async with aiostoolap.connect(path) as db:
        await db.execute("CREATE TABLE t (a INTEGER)")
    assert (tmp_path / "db" / "wal").is_dir()


async def test_a_database_that_this_process_has_open(tmp_path: Path) -> None:
    async with aiostoolap.connect(tmp_path / "db"):
        with pytest.raises(aiostoolap.DatabaseLockedError, match="share its connection, or clone"):
            await aiostoolap.connect(tmp_path / "db")


def test_no_event_loop() -> None:
    with pytest.raises(RuntimeError, match="no running event loop"):
        aiostoolap.connect().__await__().send(None)
