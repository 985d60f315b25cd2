//! Aliases of a result that hide columns: the engine takes the `a` of `ORDER BY t.a` and `GROUP BY t.a` for what the result
//! calls so, though the table is named.
use stoolap::executor::utils::expression_contains_aggregate;
use stoolap::parser::ast::{Expression, FunctionCall, SelectStatement};

use crate::errors::Failure;
use crate::names::Scope;

/// Orders by the columns of tables, and refuses groups by them that an alias hides.
pub fn uncover(select: &mut SelectStatement, scope: &Scope) -> Result<(), Failure> {
    for group in &select.group_by.columns {
        if namesake(group, &select.columns).is_some_and(expression_contains_aggregate) {
            let message =
                format!("GROUP BY {group} beside an aggregate of that name: give the aggregate another one");
            return Err(Failure::new("not_supported", message));
        }
    }
    // The rows of a join and groups are ordered before the aliases are known.
    let is_plain = select.group_by.columns.is_empty() && !select.distinct && scope.sources.len() == 1;
    if is_plain && select.set_operations.is_empty() {
        for order in &mut select.order_by {
            if namesake(&order.expression, &select.columns).is_some() {
                order.expression = calculated(order.expression.clone());
            }
        }
    }
    Ok(())
}

/// What a result calls by the name of a column, `t.a`, without being it.
fn namesake<'a>(column: &Expression, results: &'a [Expression]) -> Option<&'a Expression> {
    let Expression::QualifiedIdentifier(column) = column else { return None };
    let name = &column.name.value_lower;
    let result = results.iter().find_map(|result| match result {
        Expression::Aliased(aliased) if aliased.alias.value_lower == *name => Some(&*aliased.expression),
        _ => None,
    })?;
    let is_itself = match result {
        Expression::Identifier(other) => other.value_lower == *name,
        Expression::QualifiedIdentifier(other) => {
            other.name.value_lower == *name && other.qualifier.value_lower == column.qualifier.value_lower
        }
        _ => false,
    };
    (!is_itself).then_some(result)
}

/// The same value, which has no name.
fn calculated(column: Expression) -> Expression {
    let Expression::QualifiedIdentifier(name) = &column else { return column };
    Expression::FunctionCall(Box::new(FunctionCall {
        token: name.token.clone(),
        function: "COALESCE".into(),
        arguments: vec![column],
        is_distinct: false,
        order_by: Vec::new(),
        filter: None,
    }))
}
