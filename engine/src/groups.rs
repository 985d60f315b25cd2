//! `SELECT t.a + 1 FROM t GROUP BY a + 1 ORDER BY a + 1`: the engine finds calculations of GROUP BY and ORDER BY by their text,
//! and sorts by none that it does not find. So both get the text that the columns of the result have.
use stoolap::parser::ast::{Expression, SelectStatement};

use crate::names::{Parts, Scope};

/// Writes what GROUP BY and ORDER BY calculate from one source as the SELECT list does, or as GROUP BY does.
pub fn align(select: &mut SelectStatement, scope: &Scope) {
    let ([source], false) = (&*scope.sources, select.group_by.columns.is_empty()) else { return };
    let mut known: Vec<(String, Expression)> = Vec::new();
    let mut align = |expression: &mut Expression| {
        if matches!(expression, Expression::Identifier(_) | Expression::QualifiedIdentifier(_)) {
            return;
        }
        let text = bare(expression, &source.name);
        match known.iter().find(|(other, _)| *other == text) {
            Some((_, written)) => *expression = written.clone(),
            None => known.push((text, expression.clone())),
        }
    };
    for column in &select.columns {
        match column {
            Expression::Aliased(aliased) => align(&mut aliased.expression.clone()),
            column => align(&mut column.clone()),
        }
    }
    select.group_by.columns.iter_mut().for_each(&mut align);
    select.order_by.iter_mut().for_each(|order| align(&mut order.expression));
}

/// Has windows over groups call what is grouped by as the result does: `LOWER(b) AS c, RANK() OVER (ORDER BY LOWER(b))` would find
/// nothing, as the groups have a column `c`.
pub fn rename_in_windows(select: &mut SelectStatement) {
    let groups: Vec<String> = select.group_by.columns.iter().map(Expression::to_string).collect();
    let mut names: Vec<(String, Expression)> = Vec::new();
    for column in &select.columns {
        if let Expression::Aliased(aliased) = column
            && !matches!(&*aliased.expression, Expression::Identifier(_) | Expression::QualifiedIdentifier(_))
        {
            let (text, alias) = (aliased.expression.to_string(), aliased.alias.clone());
            if groups.iter().any(|group| *group == text || group.eq_ignore_ascii_case(&alias.value)) {
                names.push((text, Expression::Identifier(alias)));
            }
        }
    }
    if names.is_empty() {
        return;
    }
    select.columns.iter_mut().for_each(|column| rename_in_window(column, &names));
    for window in &mut select.window_defs {
        let orders = window.order_by.iter_mut().map(|order| &mut order.expression);
        window.partition_by.iter_mut().chain(orders).for_each(|expression| rename(expression, &names));
    }
}

fn rename_in_window(expression: &mut Expression, names: &[(String, Expression)]) {
    let is_window = matches!(expression, Expression::Window(_));
    for operand in Parts::of(expression).operands {
        if is_window { rename(operand, names) } else { rename_in_window(operand, names) }
    }
}

fn rename(expression: &mut Expression, names: &[(String, Expression)]) {
    let text = expression.to_string();
    match names.iter().find(|(other, _)| *other == text) {
        Some((_, name)) => *expression = name.clone(),
        None => Parts::of(expression).operands.into_iter().for_each(|operand| rename(operand, names)),
    }
}

/// What a calculation reads without the name of its source.
fn bare(expression: &Expression, source: &str) -> String {
    let mut expression = expression.clone();
    strip(&mut expression, source);
    expression.to_string()
}

fn strip(expression: &mut Expression, source: &str) {
    match expression {
        Expression::QualifiedIdentifier(name) if name.qualifier.value_lower == source => {
            *expression = Expression::Identifier((*name.name).clone());
        }
        _ => Parts::of(expression).operands.into_iter().for_each(|operand| strip(operand, source)),
    }
}
