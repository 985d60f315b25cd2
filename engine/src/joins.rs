//! `FROM a, b WHERE a.x = b.x`: the engine would make all pairs before it looks at WHERE. So what WHERE says of two
//! tables becomes the condition of their join. WHERE keeps it, and nothing but the time depends on it. It is the engine
//! also that does not find a column there without its table's name: such names are completed.
use stoolap::core::DataType;
use stoolap::parser::ast::{
    Expression, Identifier, InfixExpression, InfixOperator, JoinTableSource, QualifiedIdentifier,
    SelectStatement, Statement,
};
use stoolap::parser::{Position, Token, TokenType};
use stoolap::storage::mvcc::MVCCEngine;
use stoolap::storage::traits::Engine;

use crate::names::{self, Scope, Source};

/// The statement with conditions in its joins; None if it is as good as it is.
pub fn joined(statement: &Statement, engine: &MVCCEngine) -> Option<Statement> {
    if !concerns(statement) {
        return None;
    }
    let mut changed = statement.clone();
    let nothing = Scope::new(engine);
    let mut scope = nothing.inner();
    match &mut changed {
        Statement::Select(select) => join(select, &nothing),
        Statement::Insert(insert) => insert.select.iter_mut().for_each(|select| join(select, &nothing)),
        Statement::Update(update) if update.with.is_none() => {
            scope.add_table(&update.table_name, None).ok()?;
            update.updates.values_mut().for_each(|value| complete(value, &scope));
            update.where_clause.iter_mut().for_each(|condition| complete(condition, &scope));
        }
        Statement::Delete(delete) if delete.with.is_none() => {
            scope.add_table(&delete.table_name, delete.alias.as_ref()).ok()?;
            delete.where_clause.iter_mut().for_each(|condition| complete(condition, &scope));
        }
        Statement::Explain(explain) => {
            *explain.statement = joined(&explain.statement, engine)?;
        }
        _ => {}
    }
    (changed != *statement).then_some(changed)
}

/// Whether there is more than one table in it.
fn concerns(statement: &Statement) -> bool {
    let has_subquery =
        |condition: &Option<Box<Expression>>| condition.as_deref().is_some_and(names::has_subquery);
    match statement {
        Statement::Select(select) => {
            !matches!(select.table_expr.as_deref(), None | Some(Expression::TableSource(_)))
                || select.with.is_some()
                || !select.set_operations.is_empty()
                || has_subquery(&select.where_clause)
                || select.columns.iter().any(names::has_subquery)
        }
        Statement::Insert(insert) => insert.select.is_some(),
        Statement::Update(update) => {
            has_subquery(&update.where_clause) || update.updates.values().any(names::has_subquery)
        }
        Statement::Delete(delete) => has_subquery(&delete.where_clause),
        Statement::Explain(explain) => concerns(&explain.statement),
        _ => false,
    }
}

fn join(select: &mut SelectStatement, outer: &Scope) {
    let mut around = outer.inner();
    if around.with(select.with.as_ref()).is_err() {
        return;
    }
    for table in select.with.iter_mut().flat_map(|clause| &mut clause.ctes) {
        join(&mut table.query, &around);
    }
    for operation in &mut select.set_operations {
        join(&mut operation.right, &around);
    }
    let mut scope = around.inner();
    scope.add_aliases(select);
    if let Some(source) = &mut select.table_expr {
        join_within(source, &around);
        if scope.add_source(source).is_err() {
            return;
        }
        complete_conditions(source, &scope);
    }
    select.where_clause.iter_mut().for_each(|condition| complete(condition, &scope));
    let others = select.columns.iter_mut().chain(select.having.as_deref_mut());
    others.for_each(|other| join_subqueries(other, &scope));
    if let (Some(source), Some(condition)) = (&mut select.table_expr, &select.where_clause) {
        let equalities = equalities(condition, &scope);
        if !select.columns.iter().any(|column| matches!(column, Expression::Star(_))) {
            reorder(source, &equalities);
        }
        connect(source, &equalities);
    }
}

fn join_subqueries(expression: &mut Expression, scope: &Scope) {
    visit(expression, &mut |operand| join_subqueries(operand, scope), &mut |subquery| join(subquery, scope));
}

/// Joins what derived tables have in them.
fn join_within(source: &mut Expression, around: &Scope) {
    match source {
        Expression::SubquerySource(derived) => join(&mut derived.subquery, around),
        Expression::JoinSource(pair) => {
            join_within(&mut pair.left, around);
            join_within(&mut pair.right, around);
        }
        _ => {}
    }
}

fn both(one: Expression, other: Expression) -> Expression {
    let token = Token::new(TokenType::Keyword, "AND", Position::default());
    Expression::Infix(InfixExpression::new(token, Box::new(one), "AND", Box::new(other)))
}

fn complete_conditions(source: &mut Expression, scope: &Scope) {
    if let Expression::JoinSource(pair) = source {
        complete_conditions(&mut pair.left, scope);
        pair.condition.iter_mut().for_each(|condition| complete(condition, scope));
    }
}

/// Completes the names in a condition of WHERE or ON.
fn complete(condition: &mut Expression, scope: &Scope) {
    if let Expression::Identifier(name) = condition {
        if !name.token.quoted
            && let Some(source) = owner(&name.value_lower, scope)
        {
            *condition = qualified(source, name.clone());
        }
        return;
    }
    visit(condition, &mut |operand| complete(operand, scope), &mut |subquery| join(subquery, scope));
}

/// Whose column it is, where that is to be said: there are several tables, or it is one of an outer query.
fn owner<'a>(name: &str, scope: &'a Scope) -> Option<&'a str> {
    let mut nearer: Vec<&Source> = Vec::new();
    for level in scope.chain() {
        let mut owners = Vec::new();
        for source in &level.sources {
            if names::has(source.columns.as_ref()?, name) {
                owners.push(source);
            }
        }
        match *owners {
            [] if level.has_alias(name) => return None,
            [] => nearer.extend(&level.sources),
            [source] => {
                let is_hidden = nearer.iter().any(|other| other.name == source.name);
                let is_clear = nearer.is_empty() && level.sources.len() == 1;
                return (!is_hidden && !is_clear && !source.name.is_empty()).then_some(&source.name);
            }
            _ => return None,
        }
    }
    None
}

fn qualified(source: &str, name: Identifier) -> Expression {
    let token = Token::new(TokenType::Identifier, source, name.token.position);
    Expression::QualifiedIdentifier(QualifiedIdentifier {
        token: token.clone(),
        qualifier: Box::new(Identifier::new(token, source)),
        name: Box::new(name),
    })
}

/// `a.x = b.x`: columns of one type, so that a join compares them as WHERE does.
struct Equality {
    tables: [String; 2],
    condition: Expression,
}

impl Equality {
    fn connects(&self, some: &[String], others: &[String]) -> bool {
        let [one, other] = &self.tables;
        (some.contains(one) && others.contains(other)) || (some.contains(other) && others.contains(one))
    }
}

/// Those that all rows meet which meet the condition.
fn equalities(condition: &Expression, scope: &Scope) -> Vec<Equality> {
    let Expression::Infix(infix) = condition else { return Vec::new() };
    match (infix.op_type, &*infix.left, &*infix.right) {
        (InfixOperator::And, left, right) => {
            let mut found = equalities(left, scope);
            found.extend(equalities(right, scope));
            found
        }
        // What holds in each case.
        (InfixOperator::Or, left, right) => {
            let others = equalities(right, scope);
            let others: Vec<String> = others.iter().map(|other| other.condition.to_string()).collect();
            let in_others = |each: &Equality| others.contains(&each.condition.to_string());
            equalities(left, scope).into_iter().filter(in_others).collect()
        }
        (
            InfixOperator::Equal,
            Expression::QualifiedIdentifier(left),
            Expression::QualifiedIdentifier(right),
        ) => {
            let kinds = [kind(left, scope), kind(right, scope)];
            let are_alike = kinds[0].is_some() && kinds[0] == kinds[1];
            let tables = [left, right].map(|side| side.qualifier.value_lower.to_string());
            let equality = Equality { tables, condition: condition.clone() };
            if are_alike { vec![equality] } else { Vec::new() }
        }
        _ => Vec::new(),
    }
}

/// The type of a table's column, if equal values of it are the same.
fn kind(column: &QualifiedIdentifier, scope: &Scope) -> Option<DataType> {
    let mut found =
        scope.sources.iter().filter(|source| source.name == column.qualifier.value_lower.as_str());
    let (source, None) = (found.next()?, found.next()) else { return None };
    let schema = scope.engine.get_table_schema(source.table.as_ref()?).ok()?;
    let column =
        schema.columns.iter().find(|each| each.name_lower == column.name.value_lower.as_str())?.data_type;
    matches!(column, DataType::Integer | DataType::Text | DataType::Boolean | DataType::Timestamp)
        .then_some(column)
}

/// Puts the tables of a product into an order in which each, if possible, has to do with those before it.
fn reorder(source: &mut Expression, equalities: &[Equality]) {
    let mut left = Vec::new();
    let mut joins = Vec::new();
    if !take_apart(source, &mut left, &mut joins) {
        return;
    }
    let mut order = left.remove(0);
    let mut names = tables(&order);
    for mut join in joins {
        let next = left.iter().position(|leaf| {
            let leaf = tables(leaf);
            equalities.iter().any(|equality| equality.connects(&names, &leaf))
        });
        let leaf = left.remove(next.unwrap_or(0));
        names.extend(tables(&leaf));
        join.left = Box::new(order);
        join.right = Box::new(leaf);
        order = Expression::JoinSource(Box::new(join));
    }
    *source = order;
}

/// The leaves of a product, and its joins; false if it is more than that.
fn take_apart(source: &Expression, leaves: &mut Vec<Expression>, joins: &mut Vec<JoinTableSource>) -> bool {
    let Expression::JoinSource(pair) = source else {
        leaves.push(source.clone());
        return true;
    };
    let is_product = is_product(pair) && take_apart(&pair.left, leaves, joins);
    leaves.push((*pair.right).clone());
    joins.push((**pair).clone());
    is_product
}

fn is_product(pair: &JoinTableSource) -> bool {
    pair.join_type == "CROSS" && pair.condition.is_none()
}

/// Gives products their conditions, and returns the names of the tables.
fn connect(source: &mut Expression, equalities: &[Equality]) -> Vec<String> {
    let Expression::JoinSource(pair) = source else { return tables(source) };
    let mut names = connect(&mut pair.left, equalities);
    let right = tables(&pair.right);
    if is_product(pair) {
        let found = equalities.iter().filter(|equality| equality.connects(&names, &right));
        if let Some(condition) = found.map(|equality| equality.condition.clone()).reduce(both) {
            pair.join_type = "INNER".into();
            pair.condition = Some(Box::new(condition));
        }
    }
    names.extend(right);
    names
}

/// The name of the one table that a leaf is; none if it has no name.
fn tables(leaf: &Expression) -> Vec<String> {
    let name = match leaf {
        Expression::TableSource(table) => table.alias.as_ref().or(Some(&table.name)),
        Expression::SubquerySource(derived) => derived.alias.as_ref(),
        _ => None,
    };
    name.map(|name| name.value_lower.to_string()).into_iter().collect()
}

/// Shows what an expression is made of.
fn visit(
    expression: &mut Expression,
    operand: &mut dyn FnMut(&mut Expression),
    subquery: &mut dyn FnMut(&mut SelectStatement),
) {
    match expression {
        Expression::Prefix(prefix) => operand(&mut prefix.right),
        Expression::Infix(infix) => {
            operand(&mut infix.left);
            operand(&mut infix.right);
        }
        Expression::List(list) => list.elements.iter_mut().for_each(operand),
        Expression::ExpressionList(list) => list.expressions.iter_mut().for_each(operand),
        Expression::In(within) => {
            operand(&mut within.left);
            operand(&mut within.right);
        }
        Expression::Between(between) => {
            operand(&mut between.expr);
            operand(&mut between.lower);
            operand(&mut between.upper);
        }
        Expression::Like(like) => {
            operand(&mut like.left);
            operand(&mut like.pattern);
        }
        Expression::Case(case) => {
            case.value.iter_mut().for_each(|value| operand(value));
            for when in &mut case.when_clauses {
                operand(&mut when.condition);
                operand(&mut when.then_result);
            }
            case.else_value.iter_mut().for_each(|value| operand(value));
        }
        Expression::Cast(cast) => operand(&mut cast.expr),
        Expression::Aliased(aliased) => operand(&mut aliased.expression),
        Expression::FunctionCall(call) => call.arguments.iter_mut().for_each(operand),
        Expression::Exists(exists) => subquery(&mut exists.subquery),
        Expression::ScalarSubquery(scalar) => subquery(&mut scalar.subquery),
        Expression::AllAny(all_any) => {
            operand(&mut all_any.left);
            subquery(&mut all_any.subquery);
        }
        _ => {}
    }
}
