//! `FROM a, b WHERE a.x = b.x`: the engine would make all pairs before it looks at WHERE. So what WHERE says of two
//! tables becomes the condition of their join. WHERE keeps it, and nothing but the time depends on it. It is the engine
//! also that does not find a column there without its table's name: such names are completed.
use stoolap::core::DataType;
use stoolap::parser::ast::{
    Expression, Identifier, InfixOperator, JoinTableSource, QualifiedIdentifier, SelectStatement,
};
use stoolap::parser::{Position, Token, TokenType};

use crate::comparisons::infixed;
use crate::errors::Failure;
use crate::names::{self, Parts, Scope, Source};

/// Makes joins of the products in a SELECT, whose names are complete.
pub fn join(select: &mut SelectStatement, scope: &Scope) {
    if let (Some(source), Some(condition)) = (&mut select.table_expr, &select.where_clause) {
        let equalities = equalities(condition, scope);
        if !select.columns.iter().any(|column| matches!(column, Expression::Star(_))) {
            reorder(source, &equalities);
        }
        connect(source, &equalities);
    }
}

/// RIGHT and FULL JOIN with USING or NATURAL: the joined column would be the left one's, NULL where there is none.
pub fn check(join: &JoinTableSource) -> Result<(), Failure> {
    let is_outer = join.join_type.ends_with("RIGHT") || join.join_type.ends_with("FULL");
    if is_outer && (join.join_type.starts_with("NATURAL") || !join.using_columns.is_empty()) {
        let message =
            "RIGHT and FULL JOIN take no USING and no NATURAL: write ON a.x = b.x, and COALESCE(a.x, b.x)";
        return Err(Failure::new("not_supported", message));
    }
    Ok(())
}

fn both(one: Expression, other: Expression) -> Expression {
    let token = Token::new(TokenType::Keyword, "AND", Position::default());
    infixed(&token, one, "AND", other)
}

/// Completes the names in a condition of WHERE or ON, or in a value that UPDATE sets; its subqueries have been resolved.
pub fn complete(condition: &mut Expression, scope: &Scope) {
    if let Expression::Identifier(name) = condition {
        if let Some(source) = owner(&name.value_lower, scope) {
            *condition = qualified(source, name.clone());
        }
        return;
    }
    Parts::of(condition).operands.into_iter().for_each(|operand| complete(operand, scope));
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
    /// Whether one of its tables is this one, and the other one of those.
    fn connects(&self, those: &[String], table: &str) -> bool {
        let [one, other] = &self.tables;
        (other == table && those.contains(one)) || (one == table && those.contains(other))
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
    let columns = &source.schema.as_ref()?.columns;
    let column = columns.iter().find(|each| each.name_lower == column.name.value_lower.as_str())?.data_type;
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
    let mut names = Vec::from_iter(leaf_name(&order));
    for mut join in joins {
        let next = left.iter().position(|leaf| {
            leaf_name(leaf).is_some_and(|leaf| equalities.iter().any(|each| each.connects(&names, &leaf)))
        });
        let leaf = left.remove(next.unwrap_or(0));
        names.extend(leaf_name(&leaf));
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
    let Expression::JoinSource(pair) = source else { return Vec::from_iter(leaf_name(source)) };
    let mut names = connect(&mut pair.left, equalities);
    if let Some(right) = leaf_name(&pair.right) {
        let found = equalities.iter().filter(|equality| equality.connects(&names, &right));
        if is_product(pair)
            && let Some(condition) = found.map(|equality| equality.condition.clone()).reduce(both)
        {
            pair.join_type = "INNER".into();
            pair.condition = Some(Box::new(condition));
        }
        names.push(right);
    }
    names
}

/// The name of a leaf, if it has one.
fn leaf_name(leaf: &Expression) -> Option<String> {
    let name = match leaf {
        Expression::TableSource(table) => Some(table.alias.as_ref().unwrap_or(&table.name)),
        Expression::SubquerySource(derived) => derived.alias.as_ref(),
        _ => None,
    };
    name.map(|name| name.value_lower.to_string())
}
