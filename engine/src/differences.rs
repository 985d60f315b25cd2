//! Differences of timestamps, `b - a`: the engine makes texts of them, so that '10 days 00:00:00' comes before '9 days 00:00:00'.
//! What would compare one, or calculate with it, is refused where the types of the columns tell that it is one.
use std::rc::Rc;

use stoolap::DataType;
use stoolap::parser::ast::{Expression, FunctionCall, Identifier, InfixOperator, SelectStatement};

use crate::errors::Failure;
use crate::names::{self, Scope, Source};

/// Functions that compare their arguments, or take them for numbers or timestamps.
const REFUSING: [&str; 8] = ["MIN", "MAX", "SUM", "AVG", "GREATEST", "LEAST", "EXTRACT", "ABS"];
const GIVING_TIMESTAMPS: [&str; 7] =
    ["NOW", "CURRENT_TIMESTAMP", "CURRENT_DATE", "DATE_TRUNC", "TIME_TRUNC", "DATE_ADD", "DATE_SUB"];
/// Functions that give one of their arguments.
const GIVING_ARGUMENTS: [&str; 7] = ["MIN", "MAX", "FIRST", "LAST", "COALESCE", "GREATEST", "LEAST"];

fn is_one_of(call: &FunctionCall, names: &[&str]) -> bool {
    names.iter().any(|name| call.function.eq_ignore_ascii_case(name))
}

/// Refuses an expression, whose parts have been looked at, if it does so with a difference.
pub fn check(expression: &Expression, scope: &Scope) -> Result<(), Failure> {
    use InfixOperator::{
        Add, Divide, GreaterEqual, GreaterThan, LessEqual, LessThan, Modulo, Multiply, Subtract,
    };
    let is = |part: &Expression| is_difference(part, scope);
    let calls = |call: &FunctionCall| {
        is_one_of(call, &REFUSING) && call.arguments.iter().any(is)
            || call.order_by.iter().any(|order| is(&order.expression))
    };
    let is_refused = match expression {
        Expression::Infix(infix) => match infix.op_type {
            LessThan | LessEqual | GreaterThan | GreaterEqual | Multiply | Divide | Modulo => {
                is(&infix.left) || is(&infix.right)
            }
            Add | Subtract => is(&infix.left),
            _ => false,
        },
        Expression::Between(between) => is(&between.expr) || is(&between.lower) || is(&between.upper),
        Expression::FunctionCall(call) => calls(call),
        Expression::Window(window) => {
            calls(&window.function) || window.order_by.iter().any(|order| is(&order.expression))
        }
        Expression::Prefix(prefix) => prefix.operator == "-" && is(&prefix.right),
        _ => false,
    };
    if is_refused { Err(refusal()) } else { Ok(()) }
}

/// Refuses a SELECT that is ordered by a difference, or by a column of the result that is one.
pub fn check_order(select: &SelectStatement, scope: &Scope) -> Result<(), Failure> {
    let named = |name: &Identifier| {
        select.columns.iter().find(|column| {
            matches!(column, Expression::Aliased(aliased) if aliased.alias.value_lower == name.value_lower)
        })
    };
    let is_refused = select.order_by.iter().any(|order| {
        let result = match &order.expression {
            Expression::Identifier(name) => named(name),
            Expression::IntegerLiteral(place) => {
                usize::try_from(place.value - 1).ok().and_then(|place| select.columns.get(place))
            }
            _ => None,
        };
        is_difference(result.unwrap_or(&order.expression), scope)
    });
    if is_refused { Err(refusal()) } else { Ok(()) }
}

fn refusal() -> Failure {
    let message = "a difference of timestamps is a text, not to be ordered by, compared or calculated with: write \
        EXTRACT(EPOCH FROM b) - EXTRACT(EPOCH FROM a) for its seconds, and b > a + INTERVAL '1 day' as a condition";
    Failure::new("not_supported", message)
}

fn is_difference(expression: &Expression, scope: &Scope) -> bool {
    match expression {
        Expression::Infix(infix) => {
            infix.op_type == InfixOperator::Subtract && is_timestamp(&infix.right, scope)
        }
        Expression::Identifier(_) | Expression::QualifiedIdentifier(_) => scope
            .find_column(expression)
            .is_some_and(|(source, column)| names::has(&source.times.0[1], column)),
        Expression::Aliased(aliased) => is_difference(&aliased.expression, scope),
        Expression::Distinct(distinct) => is_difference(&distinct.expr, scope),
        Expression::FunctionCall(call) => {
            is_one_of(call, &GIVING_ARGUMENTS) && call.arguments.iter().any(|part| is_difference(part, scope))
        }
        _ => false,
    }
}

fn is_timestamp(expression: &Expression, scope: &Scope) -> bool {
    match expression {
        Expression::Identifier(_) | Expression::QualifiedIdentifier(_) => {
            is_column_of_timestamps(expression, scope)
        }
        Expression::StringLiteral(text) => {
            matches!(text.type_hint.as_deref(), Some("TIMESTAMP" | "DATETIME" | "DATE"))
        }
        Expression::Cast(cast) => {
            ["TIMESTAMP", "DATETIME", "DATE"].iter().any(|name| cast.type_name.eq_ignore_ascii_case(name))
        }
        Expression::FunctionCall(call) => {
            is_one_of(call, &GIVING_TIMESTAMPS)
                || is_one_of(call, &GIVING_ARGUMENTS)
                    && call.arguments.iter().any(|part| is_timestamp(part, scope))
        }
        Expression::Infix(infix) => match infix.op_type {
            InfixOperator::Add => is_timestamp(&infix.left, scope) || is_timestamp(&infix.right, scope),
            InfixOperator::Subtract => is_timestamp(&infix.left, scope) && !is_timestamp(&infix.right, scope),
            _ => false,
        },
        _ => false,
    }
}

/// Which columns of a derived table, a view or a common table are timestamps, and which are differences of them, in lower case.
#[derive(Clone, Default)]
pub struct Times(Rc<[Vec<String>; 2]>);

impl Times {
    pub fn of(select: &SelectStatement, scope: &Scope) -> Self {
        let mut found = [Vec::new(), Vec::new()];
        for column in &select.columns {
            let (name, column) = match column {
                Expression::Aliased(aliased) => (&aliased.alias, &*aliased.expression),
                Expression::Identifier(name) => (name, column),
                Expression::QualifiedIdentifier(name) => (&*name.name, column),
                Expression::Star(_) => {
                    for source in &scope.sources {
                        found[0].extend(timestamps(source));
                        found[1].extend(source.times.0[1].iter().cloned());
                    }
                    continue;
                }
                _ => continue,
            };
            if is_timestamp(column, scope) {
                found[0].push(name.value_lower.to_string());
            } else if is_difference(column, scope) {
                found[1].push(name.value_lower.to_string());
            }
        }
        Self(Rc::new(found))
    }
}

/// The columns of a source that are timestamps.
fn timestamps(source: &Source) -> Vec<String> {
    let Some(schema) = &source.schema else { return source.times.0[0].clone() };
    let columns = schema.columns.iter().filter(|column| column.data_type == DataType::Timestamp);
    columns.map(|column| column.name_lower.clone()).collect()
}

fn is_column_of_timestamps(expression: &Expression, scope: &Scope) -> bool {
    scope.find_column(expression).is_some_and(|(source, column)| names::has(&timestamps(source), column))
}
