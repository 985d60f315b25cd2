//! Differences of timestamps, `b - a`: the engine makes texts of them, so that '10 days 00:00:00' comes before '9 days 00:00:00'.
//! What would compare one, or calculate with it, is refused where the types of the columns tell that it is one.
use stoolap::parser::ast::{Expression, FunctionCall, Identifier, InfixOperator, SelectStatement};

use crate::errors::Failure;
use crate::kinds::{self, Kind};
use crate::names::Scope;

/// Functions that compare their arguments, or take them for numbers or timestamps.
const REFUSING: [&str; 8] = ["MIN", "MAX", "SUM", "AVG", "GREATEST", "LEAST", "EXTRACT", "ABS"];

/// Refuses an expression, whose parts have been looked at, if it does so with a difference.
pub fn check(expression: &Expression, scope: &Scope) -> Result<(), Failure> {
    use InfixOperator::{
        Add, Divide, GreaterEqual, GreaterThan, LessEqual, LessThan, Modulo, Multiply, Subtract,
    };
    let is = |part: &Expression| is_difference(part, scope);
    let calls = |call: &FunctionCall| {
        kinds::is_one_of(call, &REFUSING) && call.arguments.iter().any(is)
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
        // The left side, which may be a long one, is looked at by itself.
        Expression::Infix(infix) if infix.op_type == InfixOperator::Subtract => {
            kinds::is_timestamp(&infix.right, scope)
        }
        Expression::Infix(_) => false,
        _ => kinds::of(expression, scope) == Some(Kind::Difference),
    }
}
