"""An asyncio-first driver (asyncio and trio) for the Stoolap SQL engine, which runs inside the process as WebAssembly.

async with aiostoolap.connect("app.db") as db:
    await db.execute("INSERT INTO users (id, name) VALUES ($1, $2)", (1, "Ada"))
    for row in await db.query("SELECT * FROM users"):
        print(row.id, row.name)
"""

from aiostoolap.connect import connect
from aiostoolap.db import DB
from aiostoolap.engine import Engine
from aiostoolap.errors import (
    CheckViolationError,
    ClosedError,
    CorruptDatabaseError,
    DatabaseError,
    DatabaseLockedError,
    DataError,
    EngineLostError,
    Error,
    ForeignKeyViolationError,
    IntegrityError,
    InterfaceError,
    InternalError,
    MemoryLimitError,
    NotNullViolationError,
    NotSupportedError,
    OperationalError,
    ProgrammingError,
    RecoveryWarning,
    StatementCancelledError,
    TransactionAbortedError,
    TransactionConflictError,
    UniqueViolationError,
    Warning,
)
from aiostoolap.maintenance import TaskState
from aiostoolap.observe import StatementEvent
from aiostoolap.row import Row
from aiostoolap.rows import Query, Result, Rows
from aiostoolap.session import Statement
from aiostoolap.sql import Sql
from aiostoolap.stats import Stats
from aiostoolap.transaction import Isolation, Tx
from aiostoolap.values import Json, Parameters, Vector, register_codec

__version__ = "0.1.0"

__all__ = [
    "DB",
    "CheckViolationError",
    "ClosedError",
    "CorruptDatabaseError",
    "DataError",
    "DatabaseError",
    "DatabaseLockedError",
    "Engine",
    "EngineLostError",
    "Error",
    "ForeignKeyViolationError",
    "IntegrityError",
    "InterfaceError",
    "InternalError",
    "Isolation",
    "Json",
    "MemoryLimitError",
    "NotNullViolationError",
    "NotSupportedError",
    "OperationalError",
    "Parameters",
    "ProgrammingError",
    "Query",
    "RecoveryWarning",
    "Result",
    "Row",
    "Rows",
    "Sql",
    "Statement",
    "StatementCancelledError",
    "StatementEvent",
    "Stats",
    "TaskState",
    "TransactionAbortedError",
    "TransactionConflictError",
    "Tx",
    "UniqueViolationError",
    "Vector",
    "Warning",
    "connect",
    "register_codec",
]
