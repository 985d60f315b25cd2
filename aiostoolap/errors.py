"""The exceptions: PEP 249's classes, and a subclass for each condition that programs catch::

    Exception
    ├── Warning                               an important notice (PEP 249)
    └── Error                                 everything below
        ├── InterfaceError                    misuse of the driver
        │   └── ClosedError                   the engine, connection, transaction or cursor is closed
        └── DatabaseError
            ├── DataError                     a value that the column or the driver cannot take
            ├── IntegrityError                a constraint was violated
            │   ├── UniqueViolationError      UNIQUE or PRIMARY KEY
            │   ├── NotNullViolationError     NOT NULL
            │   ├── CheckViolationError       CHECK
            │   └── ForeignKeyViolationError  FOREIGN KEY
            ├── OperationalError              the database's state, not the program's fault
            │   ├── StatementCancelledError   stopped by a cancellation whose task did not wait for it
            │   ├── MemoryLimitError          the statement needed more than the engine's memory limit
            │   ├── TransactionConflictError  another transaction was first: try the transaction again
            │   ├── TransactionAbortedError   a statement of it was stopped: only rollback is possible
            │   ├── DatabaseLockedError       another process, or another engine, has the database open
            │   ├── CorruptDatabaseError      files of the database are missing or damaged
            │   └── EngineLostError           the engine failed, and the transaction, cursor or database is lost
            ├── ProgrammingError              wrong SQL, wrong names, wrong number of parameters
            ├── InternalError                 the engine failed in a way that it should not
            └── NotSupportedError             the engine, or this driver, refuses it

Each error that the engine reports has a `code`, stable between versions, and `fields` with what it is about (table,
column, index, value, row). All of them can be pickled.
"""

from __future__ import annotations

import builtins
from collections.abc import Mapping

__all__ = [
    "CheckViolationError",
    "ClosedError",
    "CorruptDatabaseError",
    "DataError",
    "DatabaseError",
    "DatabaseLockedError",
    "EngineLostError",
    "Error",
    "ForeignKeyViolationError",
    "IntegrityError",
    "InterfaceError",
    "InternalError",
    "MemoryLimitError",
    "NotNullViolationError",
    "NotSupportedError",
    "OperationalError",
    "ProgrammingError",
    "RecoveryWarning",
    "StatementCancelledError",
    "TransactionAbortedError",
    "TransactionConflictError",
    "UniqueViolationError",
    "Warning",
]


class Warning(builtins.Warning):
    """An important notice that is no error (PEP 249)."""


class RecoveryWarning(Warning):
    """The engine opened a database whose files were not whole; the warning says what it repaired or left out."""


class Error(Exception):
    """The base of all errors of this package.

    Attributes:
        code: the condition's name in the protocol, such as "unique_violation"; None for errors of the driver itself.
        fields: what the error is about, by name: "table", "column", "index", "value", "row", "statement".
    """

    def __init__(self, message: str = "", code: str | None = None, fields: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.fields = dict(fields or {})

    def __reduce__(self) -> tuple[type[Error], tuple[str, str | None, dict[str, str]]]:
        return type(self), (str(self), self.code, self.fields)


class InterfaceError(Error):
    """Misuse of the driver."""


class ClosedError(InterfaceError):
    """The engine, connection, transaction, statement or cursor is closed."""


class DatabaseError(Error):
    """The base of all that the database reports."""


class DataError(DatabaseError):
    """A value that the column, the function or the driver cannot take."""


class IntegrityError(DatabaseError):
    """A constraint was violated; the statement changed nothing."""


class UniqueViolationError(IntegrityError):
    """UNIQUE or PRIMARY KEY."""


class NotNullViolationError(IntegrityError):
    """NOT NULL."""


class CheckViolationError(IntegrityError):
    """CHECK."""


class ForeignKeyViolationError(IntegrityError):
    """FOREIGN KEY."""


class OperationalError(DatabaseError):
    """The database's state, not the program's fault."""


class StatementCancelledError(OperationalError):
    """The statement was stopped, and the task that asked for it was not."""


class MemoryLimitError(OperationalError):
    """The statement needed more memory than `memory_limit` allows; it changed nothing."""


class TransactionConflictError(OperationalError):
    """Another transaction changed the same rows first; the whole transaction can be tried again."""


class TransactionAbortedError(OperationalError):
    """A statement of the transaction was stopped, so only rollback is possible."""


class DatabaseLockedError(OperationalError):
    """Another process, or another engine of this one, has the database open."""


class CorruptDatabaseError(OperationalError):
    """Files of the database are missing or damaged, and rows with them: it is not opened, and nothing of it is removed.

    Or those of a snapshot are, which is not restored then. Restore a backup. What the engine can repair, or has to
    leave out of its log, is a `RecoveryWarning` instead.
    """


class EngineLostError(OperationalError):
    """The engine failed beyond repair, and what the call was for is lost.

    File databases open again by themselves, with all that was committed; their connections and prepared statements
    go on. Transactions and cursors that were open are lost, and so are in-memory databases. If the message says so,
    the statement that was running may have happened or not.
    """


class ProgrammingError(DatabaseError):
    """Wrong SQL, wrong names, or the wrong number of parameters."""


class InternalError(DatabaseError):
    """The engine failed in a way that it should not; please report it."""


class NotSupportedError(DatabaseError):
    """The engine, or this driver, refuses it."""


# The codes of engine/src/errors.rs; what is not here is an InternalError.
_CLASSES: Mapping[str, type[Error]] = {
    "unique_violation": UniqueViolationError,
    "primary_key_violation": UniqueViolationError,
    "not_null_violation": NotNullViolationError,
    "check_violation": CheckViolationError,
    "foreign_key_violation": ForeignKeyViolationError,
    "cancelled": StatementCancelledError,
    "memory_limit": MemoryLimitError,
    "lost": EngineLostError,
    "write_conflict": TransactionConflictError,
    "transaction_aborted": TransactionAbortedError,
    "database_locked": DatabaseLockedError,
    "corrupt": CorruptDatabaseError,
    "closed": ClosedError,
    "transaction_ended": ClosedError,
    "database_closed": ClosedError,
    **dict.fromkeys(
        (
            "syntax_error",
            "too_deep",
            "no_statement",
            "several_statements",
            "table_not_found",
            "table_exists",
            "column_count",
            "column_not_found",
            "duplicate_column",
            "function_not_found",
            "primary_key_drop",
            "index_not_found",
            "index_exists",
            "view_exists",
            "view_not_found",
            "invalid_argument",
            "no_transaction",
            "transaction_active",
            "savepoint",
            "parameter_count",
            "cardinality",
        ),
        ProgrammingError,
    ),
    **dict.fromkeys(
        (
            "invalid_type",
            "vector_dimension",
            "invalid_value",
            "value_too_long",
            "incomparable",
            "expression",
            "type_conversion",
            "division_by_zero",
            "parameter_value",
        ),
        DataError,
    ),
    **dict.fromkeys(
        (
            "schema_changed",
            "table_in_use",
            "database_open",
            "lock_failed",
            "io_error",
            "wal_unavailable",
            "wal_poisoned",
            "maintenance",
        ),
        OperationalError,
    ),
    "not_supported": NotSupportedError,
    "internal": InternalError,
    "engine_panic": InternalError,
    "protocol": InternalError,
}


def from_reply(code: str, message: str, fields: Mapping[str, str]) -> Error:
    """Makes the exception for a failure that the engine reported.

    Args:
        code: the stable name of the condition.
        message: the engine's sentence.
        fields: what it is about.
    """
    row = fields.get("row")
    statement = fields.get("statement")
    parameter = fields.get("parameter")
    places = (
        f"row {row}" if row is not None else "",
        f"statement {statement} of the script" if statement is not None else "",
        f"parameter {parameter}" if parameter is not None else "",
    )
    where = ", ".join(place for place in places if place)
    return _CLASSES.get(code, InternalError)(f"{where}: {message}" if where else message, code, fields)
