"""What the tests share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

import aiostoolap
from aiostoolap import DB, Engine
from aiostoolap.core import modules

settings.register_profile("ci", deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
settings.load_profile("ci")


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
