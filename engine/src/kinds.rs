//! Columns of texts beside columns of numbers and times: the engine finds no two of them equal, or compares the texts.
use stoolap::DataType;
use stoolap::parser::ast::{Expression, InfixOperator};

use crate::errors::Failure;
use crate::names::{Scope, Source};

/// Refuses to compare two columns of tables of which one holds texts.
pub fn check(expression: &Expression, scope: &Scope) -> Result<(), Failure> {
    use InfixOperator::{Equal, GreaterEqual, GreaterThan, LessEqual, LessThan, NotEqual};
    let Expression::Infix(infix) = expression else { return Ok(()) };
    if !matches!(infix.op_type, Equal | NotEqual | LessThan | LessEqual | GreaterThan | GreaterEqual) {
        return Ok(());
    }
    let (Some((left, one)), Some((right, other))) = (column(&infix.left, scope), column(&infix.right, scope))
    else {
        return Ok(());
    };
    let kind = match (one, other) {
        (DataType::Text, kind) | (kind, DataType::Text) => kind,
        _ => return Ok(()),
    };
    let is_refused = match kind {
        DataType::Integer | DataType::Float | DataType::Boolean => true,
        // Within a row, such a text is read as a time.
        DataType::Timestamp => !std::ptr::eq(left, right),
        _ => false,
    };
    if !is_refused {
        return Ok(());
    }
    let message = format!("{expression} compares TEXT with {kind}: write CAST(.. AS {kind}) for the text");
    Err(Failure::new("not_supported", message))
}

/// The source of a column of a table, and what it holds.
fn column<'a>(expression: &'a Expression, scope: &'a Scope) -> Option<(&'a Source, DataType)> {
    let (source, name) = scope.find_column(expression)?;
    let column = source.schema.as_ref()?.columns.iter().find(|column| column.name_lower == name)?;
    Some((source, column.data_type))
}
