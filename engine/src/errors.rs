//! Stable codes for all that can go wrong. The host maps codes to exceptions and reads no prose.
use stoolap::Error;

use crate::guard::Fault;

/// What a failed request answers: a code, a sentence, and fields by name.
#[derive(Debug)]
pub struct Failure {
    pub code: &'static str,
    pub message: String,
    pub fields: Vec<(&'static str, String)>,
}

impl Failure {
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), fields: Vec::new() }
    }

    pub fn with(mut self, name: &'static str, value: impl ToString) -> Self {
        self.fields.push((name, value.to_string()));
        self
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Stopped => Self::new("cancelled", "the statement was cancelled"),
            Fault::MemoryLimit => {
                Self::new("memory_limit", "the statement needed more memory than the engine's limit allows")
            }
            Fault::Panic(message) => Self::new("engine_panic", format!("the engine panicked: {message}")),
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::new("io_error", format!("the database's directory: {error}"))
    }
}

impl From<Error> for Failure {
    /// Every variant of the crate's error has a code. No wildcard: a new variant must not compile.
    fn from(error: Error) -> Self {
        let failure = Self::new(code(&error), error.to_string());
        match error {
            Error::TableNotFound(table)
            | Error::TableAlreadyExists(table)
            | Error::TableOrViewNotFound(table)
            | Error::SchemaChanged { table } => failure.with("table", table),
            Error::ColumnNotFound(column)
            | Error::NotNullConstraint { column }
            | Error::ValueTooLong { column, .. } => failure.with("column", column),
            Error::IndexNotFound(index) | Error::IndexAlreadyExists(index) => failure.with("index", index),
            Error::ViewNotFound(view) | Error::ViewAlreadyExists(view) => failure.with("view", view),
            Error::PrimaryKeyConstraint { row_id } => failure.with("value", row_id),
            Error::UniqueConstraint { index, column, value, row_id: _ } => {
                failure.with("index", index).with("column", column).with("value", value)
            }
            Error::CheckConstraintViolation { column, expression } => {
                failure.with("column", column).with("expression", expression)
            }
            Error::ForeignKeyViolation { table, column, ref_table, ref_column, detail: _ } => failure
                .with("table", table)
                .with("column", column)
                .with("referenced_table", ref_table)
                .with("referenced_column", ref_column),
            Error::Internal { message }
                if matches!(failure.code, "column_not_found" | "not_null_violation") =>
            {
                match quoted(&message) {
                    Some(column) => failure.with("column", column),
                    None => failure,
                }
            }
            _ => failure,
        }
    }
}

fn code(error: &Error) -> &'static str {
    match error {
        Error::NotNullConstraint { .. } => "not_null_violation",
        Error::PrimaryKeyConstraint { .. } => "primary_key_violation",
        Error::UniqueConstraint { .. } => "unique_violation",
        Error::CheckConstraintViolation { .. } => "check_violation",
        Error::ForeignKeyViolation { .. } => "foreign_key_violation",

        Error::Parse(_) => "syntax_error",
        Error::NoStatementsToExecute => "no_statement",
        Error::TableNotFound(_) => "table_not_found",
        Error::TableAlreadyExists(_) => "table_exists",
        Error::TableOrViewNotFound(_) => "table_not_found",
        Error::TableColumnsNotMatch { .. } => "column_count",
        Error::ColumnNotFound(_) => "column_not_found",
        Error::DuplicateColumn => "duplicate_column",
        Error::ColumnIndexOutOfBounds { .. } => "column_not_found",
        Error::CannotDropPrimaryKey => "primary_key_drop",
        Error::IndexNotFound(_) => "index_not_found",
        Error::IndexAlreadyExists(_) => "index_exists",
        Error::IndexColumnNotFound => "column_not_found",
        Error::ViewAlreadyExists(_) => "view_exists",
        Error::ViewNotFound(_) => "view_not_found",
        Error::InvalidArgument(_) => "invalid_argument",
        Error::TransactionNotStarted => "no_transaction",
        Error::TransactionAlreadyStarted => "transaction_active",
        Error::TransactionEnded | Error::TransactionCommitted | Error::TransactionClosed => {
            "transaction_ended"
        }

        Error::InvalidColumnType => "invalid_type",
        Error::VectorDimensionMismatch { .. } => "vector_dimension",
        Error::InvalidValue => "invalid_value",
        Error::ValueTooLong { .. } => "value_too_long",
        Error::NullComparison | Error::IncomparableTypes => "incomparable",
        Error::ExpressionEvaluation | Error::ExpressionEvaluationWithMessage { .. } => "expression",
        Error::TypeConversion { .. } | Error::Type(_) => "type_conversion",
        Error::DivisionByZero => "division_by_zero",

        Error::NotSupported(_) => "not_supported",

        Error::TransactionAborted => "transaction_aborted",
        Error::SchemaChanged { .. } => "schema_changed",
        Error::TableHasActiveTransactions => "table_in_use",
        Error::TableClosed | Error::IndexClosed | Error::EngineNotOpen => "database_closed",
        Error::EngineAlreadyOpen => "database_open",
        Error::DatabaseLocked => "database_locked",
        Error::LockAcquisitionFailed(_) => "lock_failed",
        Error::Io { .. } => "io_error",
        Error::WalNotRunning | Error::WalFileClosed | Error::WalNotInitialized => "wal_unavailable",
        Error::QueryCancelled => "cancelled",

        Error::SegmentNotFound | Error::NoRowsReturned => "internal",
        Error::Internal { message } => internal(message),
    }
}

/// The crate says some conditions by `Internal` and a sentence. The sentences are those of the version that is pinned.
fn internal(message: &str) -> &'static str {
    const STARTS: [(&str, &str); 19] = [
        ("failed to load manifest", "corrupt"),
        ("write conflict", "write_conflict"),
        ("NULL value in non-nullable", "not_null_violation"),
        ("NULL value not allowed", "not_null_violation"),
        ("WAL is poisoned", "wal_poisoned"),
        ("AS OF", "not_supported"),
        ("unsupported isolation level", "invalid_argument"),
        ("PRAGMA", "invalid_argument"),
        ("cannot create non-unique index", "index_exists"),
        ("cannot create unique index", "index_exists"),
        ("an index already exists", "index_exists"),
        ("index already exists", "index_exists"),
        ("HNSW index", "invalid_argument"),
        ("target_volume_rows", "invalid_argument"),
        ("type mismatch in column", "type_conversion"),
        ("Compile error: Column '", "column_not_found"),
        ("CTE column not found", "column_not_found"),
        ("Compile error: Function not found", "function_not_found"),
        ("Compile error", "expression"),
    ];
    const PARTS: [(&str, &str); 8] = [
        ("has uncommitted changes from transaction", "write_conflict"),
        ("avepoint", "savepoint"),
        ("os error", "io_error"),
        ("query must have the same number of columns", "column_count"),
        ("subquery returned more than one row", "cardinality"),
        ("references non-existent", "table_not_found"),
        ("ailed to compile", "expression"),
        ("ailed to evaluate", "expression"),
    ];
    let start = STARTS.iter().find(|(start, _)| message.starts_with(start));
    let part = || PARTS.iter().find(|(part, _)| message.contains(part));
    start.or_else(part).map_or("internal", |(_, code)| code)
}

/// What stands in single quotes in a sentence of the crate.
fn quoted(message: &str) -> Option<&str> {
    message.split('\'').nth(1)
}
