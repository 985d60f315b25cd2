"""What the tests share."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

import aiostoolap
from aiostoolap import DB, Engine
from aiostoolap.core import modules

settings.register_profile("ci", deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
settings.load_profile("ci")

Settle = Callable[[], Awaitable[None]]


@pytest.fixture(scope="session", autouse=True)
def compiled() -> None:
    """Compiles the engine before the first test's clock runs."""
    modules.load(modules.BUNDLED)


@pytest.fixture
async def engine() -> AsyncIterator[Engine]:
    async with Engine() as engine:
        yield engine


@pytest.fixture
async def db() -> AsyncIterator[DB]:
    async with aiostoolap.connect() as db:
        yield db


@pytest.fixture
async def numbers(db: DB) -> DB:
    """A database with the numbers from 0 to 9999 in `numbers(n, name)`."""
    await db.execute("CREATE TABLE numbers (n INTEGER PRIMARY KEY, name TEXT)")
    await db.execute_many("INSERT INTO numbers VALUES ($1, $2)", ((n, f"n{n}") for n in range(10_000)))
    return db


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "db"


@pytest.fixture
async def stored(folder: Path) -> AsyncIterator[DB]:
    """A database in a folder, whose rows go to volumes only by a checkpoint that a test asks for."""
    async with aiostoolap.connect(folder, checkpoint_every=None) as db:
        yield db


@pytest.fixture(params=["new", "sealed"])
def settle(stored: DB, request: pytest.FixtureRequest) -> Settle:
    """Has a test run twice: `await settle()` leaves the rows of `stored` in its log, or seals them in volumes."""

    async def settle() -> None:
        if request.param == "sealed":
            await stored.checkpoint()

    return settle
