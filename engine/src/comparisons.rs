//! Comparisons that the engine takes for others. Of two rows it compares the first values alone; what an aggregate is compared
//! with by IN or BETWEEN, it does not find. Both are said in other words.
use stoolap::Error;
use stoolap::executor::utils::expression_contains_aggregate;
use stoolap::functions::registry::global_registry;
use stoolap::parser::Token;
use stoolap::parser::ast::{
    BetweenExpression, CastExpression, Expression, InExpression, InfixExpression, InfixOperator,
    PrefixExpression,
};

use crate::errors::Failure;
use crate::kinds;
use crate::names::{Parts, Scope};

/// Functions that the engine knows by their names alone.
const WITHOUT_ENTRY: [&str; 6] =
    ["COALESCE", "CURRENT_TRANSACTION_ID", "GREATEST", "GROUPING", "LEAST", "NULLIF"];

/// So many values of an IN are spelled out: with many more, the engine's stack would not do.
const MOST_VALUES: usize = 1_000;

/// Says a comparison in other words, if that is necessary.
pub fn mend(expression: &mut Expression, scope: &Scope) -> Result<(), Failure> {
    let mended = match expression {
        Expression::Infix(infix) if compares(infix.op_type) => {
            if matches!(infix.op_type, InfixOperator::IsDistinctFrom | InfixOperator::IsNotDistinctFrom) {
                cast_texts(&mut infix.left, &mut infix.right, scope);
            }
            compared_rows(infix)
        }
        Expression::Between(between) if expression_contains_aggregate(&between.expr) => Some(split(between)),
        Expression::In(within) if expression_contains_aggregate(&within.left) => spelled_out(within)?,
        Expression::Like(like) if expression_contains_aggregate(&like.left) => {
            let message = "LIKE of an aggregate is refused: ask it of a derived table, .. FROM (SELECT MAX(a) AS a ..) WHERE a LIKE ..";
            return Err(Failure::new("not_supported", message));
        }
        Expression::FunctionCall(call) => return check_function(&call.function),
        _ => None,
    };
    if let Some(mended) = mended {
        *expression = mended;
    }
    Ok(())
}

/// In a GROUP BY, the engine takes what a function gives that is not there for NULL.
fn check_function(name: &str) -> Result<(), Failure> {
    if global_registry().exists(name) || WITHOUT_ENTRY.iter().any(|known| name.eq_ignore_ascii_case(known)) {
        return Ok(());
    }
    Err(Error::internal(format!("Compile error: Function not found: {name}")).into())
}

pub fn compares(operator: InfixOperator) -> bool {
    use InfixOperator::{
        Equal, GreaterEqual, GreaterThan, IsDistinctFrom, IsNotDistinctFrom, LessEqual, LessThan, NotEqual,
    };
    matches!(
        operator,
        Equal
            | NotEqual
            | LessThan
            | LessEqual
            | GreaterThan
            | GreaterEqual
            | IsDistinctFrom
            | IsNotDistinctFrom
    )
}

/// A text beside a time as a time: for IS DISTINCT FROM it would be another value.
fn cast_texts(left: &mut Expression, right: &mut Expression, scope: &Scope) {
    if row(left).is_some() && row(right).is_some() {
        let (left, right) = (Parts::of(left).operands, Parts::of(right).operands);
        return left.into_iter().zip(right).for_each(|(left, right)| cast_texts(left, right, scope));
    }
    let text = match (kinds::is_timestamp(left, scope), kinds::is_timestamp(right, scope)) {
        (true, false) => right,
        (false, true) => left,
        _ => return,
    };
    let token = match text {
        Expression::StringLiteral(text) => text.token.clone(),
        Expression::Parameter(parameter) => parameter.token.clone(),
        _ => return,
    };
    let (expr, type_name) = (Box::new(text.clone()), "TIMESTAMP".into());
    *text = Expression::Cast(CastExpression { token, expr, type_name });
}

/// Refuses to compare a row with what is none of as many values.
pub fn check_rows(infix: &InfixExpression) -> Result<(), Failure> {
    if !compares(infix.op_type) || row(&infix.left).map(<[_]>::len) == row(&infix.right).map(<[_]>::len) {
        return Ok(());
    }
    let message =
        "a row is compared with a row of as many values: write .. IN (SELECT ..) for those of a query";
    Err(Failure::new("not_supported", message))
}

/// `(a, b) < (c, d)` as `a < c OR a = c AND b < d`.
fn compared_rows(infix: &InfixExpression) -> Option<Expression> {
    let (left, right) = (row(&infix.left)?, row(&infix.right)?);
    let token = &infix.token;
    let compare = |operator: &str, at: usize| infixed(token, left[at].clone(), operator, right[at].clone());
    let all = |operator: &str, of: std::ops::Range<usize>| {
        of.map(|at| compare(operator, at)).reduce(|one, other| infixed(token, one, "AND", other))
    };
    let last = left.len() - 1;
    match infix.op_type {
        InfixOperator::Equal | InfixOperator::IsNotDistinctFrom => all(&infix.operator, 0..left.len()),
        InfixOperator::NotEqual => all("=", 0..left.len()).map(|equal| negated(token, equal)),
        InfixOperator::IsDistinctFrom => {
            all("IS NOT DISTINCT FROM", 0..left.len()).map(|equal| negated(token, equal))
        }
        _ => (0..=last)
            .map(|at| {
                let operator = if at < last { infix.operator.trim_end_matches('=') } else { &infix.operator };
                let this = compare(operator, at);
                match all("=", 0..at) {
                    Some(before) => infixed(token, before, "AND", this),
                    None => this,
                }
            })
            .reduce(|one, other| infixed(token, one, "OR", other)),
    }
}

/// The values of a row.
pub fn row(expression: &Expression) -> Option<&[Expression]> {
    values(expression).filter(|values| values.len() > 1)
}

/// The values of a list.
pub fn values(expression: &Expression) -> Option<&[Expression]> {
    match expression {
        Expression::ExpressionList(list) => Some(&list.expressions),
        Expression::List(list) => Some(&list.elements),
        _ => None,
    }
}

/// `x BETWEEN a AND b` as `x >= a AND x <= b`.
fn split(between: &BetweenExpression) -> Expression {
    let token = &between.token;
    let bound =
        |operator: &str, bound: &Expression| infixed(token, (*between.expr).clone(), operator, bound.clone());
    let within = infixed(token, bound(">=", &between.lower), "AND", bound("<=", &between.upper));
    if between.not { negated(token, within) } else { within }
}

/// `x IN (a, b)` as `x = a OR x = b`.
fn spelled_out(within: &InExpression) -> Result<Option<Expression>, Failure> {
    let token = &within.token;
    let values = values(&within.right).map_or(&[][..], |values| values);
    if values.len() > MOST_VALUES {
        let message = format!(
            "IN of an aggregate takes at most {MOST_VALUES} values: ask it of a derived table, .. FROM (SELECT MAX(a) AS a ..) WHERE a IN (..)"
        );
        return Err(Failure::new("not_supported", message));
    }
    let any = (values.iter())
        .map(|value| infixed(token, (*within.left).clone(), "=", value.clone()))
        .reduce(|one, other| infixed(token, one, "OR", other));
    Ok(any.map(|any| if within.not { negated(token, any) } else { any }))
}

/// Two expressions with an operator between them.
pub fn infixed(token: &Token, left: Expression, operator: &str, right: Expression) -> Expression {
    Expression::Infix(InfixExpression::new(token.clone(), Box::new(left), operator, Box::new(right)))
}

fn negated(token: &Token, expression: Expression) -> Expression {
    Expression::Prefix(PrefixExpression::new(token.clone(), "NOT", Box::new(expression)))
}
