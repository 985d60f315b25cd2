"""`Stats`, an engine's figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from aiostoolap.core import protocol
from aiostoolap.core.executor import Executor
from aiostoolap.errors import OperationalError
from aiostoolap.maintenance import Maintenance, TaskState

__all__ = ["Stats"]


@dataclass(frozen=True, slots=True)
class Stats:
    """An engine's figures.

    Attributes:
        queued: calls that wait for the engine's thread.
        live_bytes: memory that the engine has allocated.
        memory_limit: what it may allocate, in bytes.
        databases: open databases.
        connections: open connections.
        transactions: open transactions.
        statements: prepared statements.
        cursors: open cursors.
        hot_rows: rows in memory that no checkpoint has moved to files, over all tables.
        hot_bytes: their size.
        volume_bytes: memory for the tables' files.
        log_bytes: the size of the largest log among the file databases.
        plans: statements whose plan is kept.
        maintenance: the maintenance tasks that are on, by name.
    """

    queued: int
    live_bytes: int
    memory_limit: int
    databases: int
    connections: int
    transactions: int
    statements: int
    cursors: int
    hot_rows: int
    hot_bytes: int
    volume_bytes: int
    log_bytes: int
    plans: int
    maintenance: Mapping[str, TaskState]


async def read(executor: Executor, maintenance: Maintenance) -> Stats:
    """An engine's figures, now.

    Args:
        executor: its thread.
        maintenance: what that does unasked.

    Raises:
        ClosedError: the engine is closed.
        OperationalError: the directory of a log cannot be read.
    """
    queued = executor.queued
    numbers = protocol.numbers(await executor.submit(protocol.statistics()))
    try:
        log_bytes = maintenance.log_bytes()
    except OSError as error:
        raise OperationalError(f"the log cannot be looked at: {error}") from None
    return Stats(queued=queued, log_bytes=log_bytes, maintenance=maintenance.states(), **numbers)
