"""`Stats`, an engine's figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from aiostoolap.core import protocol
from aiostoolap.core.caller import Caller
from aiostoolap.errors import OperationalError
from aiostoolap.maintenance import Maintenance, TaskState

__all__ = ["Stats"]


@dataclass(frozen=True, slots=True)
class Stats:
    """An engine's figures.

    Attributes:
        queued: calls that wait for the engine's thread.
        calls: how many calls there have been: statements, fetches, commits and all else.
        failures: how many of them the engine answered with an error; one that was stopped is among them.
        waited_seconds: how long tasks have slept until their calls were answered, all of them added up. A call that is
            answered within a turn of its event loop adds nothing.
        awake_seconds: how long the engine's thread was awake: it ran calls and maintenance, or looked for the next
            call, as `latency` says. Its last sleep may be missing, up to 20 milliseconds.
        live_bytes: memory that the engine has allocated. What a large statement had made before it failed, or was
            stopped, is freed when the engine has nothing to do, or has less than half of its limit left.
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
        lost_instances: how often the engine was lost after a trap, and another instance has taken its place.
    """

    queued: int
    calls: int
    failures: int
    waited_seconds: float
    awake_seconds: float
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
    lost_instances: int


async def read(caller: Caller, maintenance: Maintenance) -> Stats:
    """An engine's figures, now.

    Args:
        caller: leads to its thread.
        maintenance: what that does unasked.

    Raises:
        ClosedError: the engine is closed.
        OperationalError: the directory of a log cannot be read.
    """
    figures = caller.figures()
    numbers = protocol.numbers(await caller.submit(protocol.statistics()))
    try:
        log_bytes = maintenance.log_bytes()
    except OSError as error:
        raise OperationalError(f"the log cannot be looked at: {error}") from None
    return Stats(log_bytes=log_bytes, maintenance=maintenance.states(), **figures._asdict(), **numbers)
