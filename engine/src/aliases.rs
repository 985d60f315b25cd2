//! Names that are an alias of a result and a column of a table. The engine takes the `a` of `ORDER BY t.a` and `GROUP BY t.a`
//! for what the result calls so, though the table is named; and the `a` of `ORDER BY a` for the table's, in some plans.
use stoolap::executor::utils::expression_contains_aggregate;
use stoolap::parser::ast::{Expression, FunctionCall, IntegerLiteral, SelectStatement};

use crate::errors::Failure;
use crate::names::{self, Parts, Scope};

/// Orders by the place of a column in the result, where its alias is a column of a source as well.
pub fn place(select: &mut SelectStatement, scope: &Scope) {
    if !select.group_by.columns.is_empty() || !select.set_operations.is_empty() || names::has_star(select) {
        return;
    }
    let columns = &select.columns;
    for order in &mut select.order_by {
        let Expression::Identifier(name) = &order.expression else { continue };
        let is_of_source = scope.sources.iter().any(|source| {
            source.columns.as_ref().is_none_or(|columns| names::has(columns, &name.value_lower))
        });
        if let (true, Some((place, result))) = (is_of_source, called(&name.value_lower, columns))
            && !matches!(result, Expression::Identifier(other) if other.value_lower == name.value_lower)
        {
            let token = name.token.clone();
            order.expression = Expression::IntegerLiteral(IntegerLiteral { token, value: place as i64 + 1 });
        }
    }
}

/// Orders and groups by the columns of tables; refuses to order by those of which only the result is known.
pub fn uncover(select: &mut SelectStatement, scope: &Scope) -> Result<(), Failure> {
    for group in &select.group_by.columns {
        if namesake(group, &select.columns).is_some_and(expression_contains_aggregate) {
            select.columns.iter_mut().for_each(|column| qualify(column, group));
        }
    }
    // The rows of a join and groups are ordered before the aliases are known.
    if !select.group_by.columns.is_empty() || !select.set_operations.is_empty() || scope.sources.len() != 1 {
        return Ok(());
    }
    let knows_results_alone = select.distinct || select.columns.iter_mut().any(is_star_or_window);
    for order in &mut select.order_by {
        if namesake(&order.expression, &select.columns).is_none() {
            continue;
        }
        if knows_results_alone {
            let message = format!("ORDER BY {} beside another column of that name", order.expression);
            return Err(Failure::new("not_supported", message));
        }
        order.expression = calculated(order.expression.clone());
    }
    Ok(())
}

/// Names the table of a column that is grouped by, `t.a`, also where there is only `a`.
fn qualify(expression: &mut Expression, group: &Expression) {
    match (&*expression, group) {
        (Expression::Identifier(name), Expression::QualifiedIdentifier(column))
            if name.value_lower == column.name.value_lower =>
        {
            *expression = group.clone();
        }
        _ => Parts::of(expression).operands.into_iter().for_each(|operand| qualify(operand, group)),
    }
}

fn is_star_or_window(expression: &mut Expression) -> bool {
    matches!(expression, Expression::Star(_) | Expression::Window(_))
        || Parts::of(expression).operands.into_iter().any(is_star_or_window)
}

/// What a result gives this name with AS, and its place.
fn called<'a>(name: &str, results: &'a [Expression]) -> Option<(usize, &'a Expression)> {
    results.iter().enumerate().find_map(|(place, result)| match result {
        Expression::Aliased(aliased) if aliased.alias.value_lower == *name => {
            Some((place, &*aliased.expression))
        }
        _ => None,
    })
}

/// What a result calls by the name of a column, `t.a`, without being it.
fn namesake<'a>(column: &Expression, results: &'a [Expression]) -> Option<&'a Expression> {
    let Expression::QualifiedIdentifier(column) = column else { return None };
    let name = &column.name.value_lower;
    let (_, result) = called(name, results)?;
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
