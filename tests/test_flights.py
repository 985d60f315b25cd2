"""The flights of the example, all of them: SQLite says what the answers are."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import closing
from datetime import datetime
from typing import Any

import pytest
import pytest_asyncio
from rich.progress import Progress

import aiostoolap
from aiostoolap import DB
from examples import flights

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def sqlite() -> Iterator[sqlite3.Connection]:
    """The tables in SQLite."""
    with closing(sqlite3.connect(":memory:")) as db:
        for table in flights.TABLES:
            db.execute(f"CREATE TABLE {table.name} (id INTEGER PRIMARY KEY, {table.columns})")
            places = ", ".join("?" * (1 + len(table.columns.split(", "))))
            db.executemany(f"INSERT INTO {table.name} VALUES ({places})", map(plain, flights.rows(table)))
        yield db


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["memory", "file"])
async def db(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[DB]:
    """The tables in memory, and in files that were closed and opened again."""
    target = "memory://" if request.param == "memory" else str(tmp_path_factory.mktemp("flights"))
    async with aiostoolap.connect(target) as db:
        await flights.load(db, Progress(disable=True))
        if request.param == "memory":
            yield db
            return
    async with aiostoolap.connect(target) as db:
        yield db


def plain(row: Sequence[Any]) -> tuple[Any, ...]:
    """A row as SQLite has it, with timestamps as text."""
    return tuple(value.isoformat() if isinstance(value, datetime) else value for value in row)


def nearly(value: Any) -> Any:
    """What equals a value of SQLite's: sums of floats depend on their order."""
    return pytest.approx(value, rel=1e-9, abs=0) if isinstance(value, float) else value


@pytest.mark.parametrize("table", flights.TABLES, ids=lambda table: table.name)
async def test_tables(db: DB, sqlite: sqlite3.Connection, table: flights.Table) -> None:
    rows = [plain(row) for row in await db.query(f"SELECT * FROM {table.name}", into=tuple)]
    assert len(rows) == table.rows
    assert Counter(rows) == Counter(sqlite.execute(f"SELECT * FROM {table.name}"))


@pytest.mark.parametrize("question", flights.QUESTIONS, ids=lambda question: question.text)
async def test_questions(db: DB, sqlite: sqlite3.Connection, question: flights.Question) -> None:
    answer = [plain(row) for row in await db.query(question.sql, into=tuple)]
    expected = sqlite.execute(question.sql).fetchall()
    assert answer == [tuple(map(nearly, row)) for row in expected]
