//! What columns and calculations hold, as far as a statement tells it. Comparisons that the engine would answer wrongly for that
//! are refused: of texts with numbers and times, of which it finds no two equal, and of times with texts that say none.
use std::rc::Rc;
use std::slice;

use stoolap::core::parse_timestamp;
use stoolap::parser::ast::{
    Expression, FunctionCall, Identifier, InfixOperator, JoinTableSource, Parameter, SelectStatement,
};
use stoolap::{DataType, ExecutionContext, Value};

use crate::comparisons;
use crate::errors::Failure;
use crate::names::{Scope, Source};

const GIVING_TIMESTAMPS: [&str; 7] =
    ["NOW", "CURRENT_TIMESTAMP", "CURRENT_DATE", "DATE_TRUNC", "TIME_TRUNC", "DATE_ADD", "DATE_SUB"];
/// Functions that give one of their arguments.
const GIVING_ARGUMENTS: [&str; 7] = ["MIN", "MAX", "FIRST", "LAST", "COALESCE", "GREATEST", "LEAST"];

#[derive(Clone, Copy, PartialEq)]
pub enum Kind {
    Of(DataType),
    /// Of timestamps, see `differences`.
    Difference,
}

const TEXT: Kind = Kind::Of(DataType::Text);
const JSON: Kind = Kind::Of(DataType::Json);
const TIMESTAMP: Kind = Kind::Of(DataType::Timestamp);

/// What an expression gives, if that is known.
pub fn of(expression: &Expression, scope: &Scope) -> Option<Kind> {
    match expression {
        Expression::Identifier(_) | Expression::QualifiedIdentifier(_) => {
            column(expression, scope).map(|(_, kind)| kind)
        }
        Expression::Aliased(aliased) => of(&aliased.expression, scope),
        Expression::Distinct(distinct) => of(&distinct.expr, scope),
        Expression::StringLiteral(text) => named(text.type_hint.as_deref()?),
        Expression::Cast(cast) => named(&cast.type_name),
        Expression::FunctionCall(call) if is_one_of(call, &GIVING_TIMESTAMPS) => Some(TIMESTAMP),
        Expression::FunctionCall(call) if is_one_of(call, &GIVING_ARGUMENTS) => {
            of_one(call.arguments.iter().collect(), scope)
        }
        Expression::Case(case) => {
            let results = case.when_clauses.iter().map(|when| &when.then_result);
            of_one(results.chain(case.else_value.as_deref()).collect(), scope)
        }
        Expression::Infix(infix) => {
            let (left, right) = (&infix.left, &infix.right);
            match infix.op_type {
                InfixOperator::Add if is_timestamp(left, scope) || is_timestamp(right, scope) => {
                    Some(TIMESTAMP)
                }
                InfixOperator::Subtract if is_timestamp(right, scope) => Some(Kind::Difference),
                InfixOperator::Subtract if is_timestamp(left, scope) => match &**right {
                    Expression::Parameter(_) => None,
                    right if text(right).is_some_and(is_time) => Some(Kind::Difference),
                    _ => Some(TIMESTAMP),
                },
                _ => None,
            }
        }
        _ => None,
    }
}

/// What an expression gives that gives one of these; times beside texts that say none may be either.
fn of_one(parts: Vec<&Expression>, scope: &Scope) -> Option<Kind> {
    let kinds: Vec<Kind> = parts.iter().filter_map(|part| of(part, scope)).collect();
    let is_mixed = parts.iter().any(|part| text(part).is_some_and(|text| !is_time(text)));
    let is = |kind: &Kind| kinds.contains(kind) && (*kind == Kind::Difference || !is_mixed);
    [Kind::Difference, TIMESTAMP].into_iter().find(is)
}

pub fn is_timestamp(expression: &Expression, scope: &Scope) -> bool {
    of(expression, scope) == Some(TIMESTAMP)
}

pub fn is_one_of(call: &FunctionCall, names: &[&str]) -> bool {
    names.iter().any(|name| call.function.eq_ignore_ascii_case(name))
}

fn named(name: &str) -> Option<Kind> {
    name.parse().ok().map(Kind::Of)
}

/// A text as it is written, without a type before it.
fn text(expression: &Expression) -> Option<&str> {
    match expression {
        Expression::StringLiteral(text) if text.type_hint.is_none() => Some(&text.value),
        _ => None,
    }
}

fn is_time(text: &str) -> bool {
    parse_timestamp(text).is_ok()
}

/// The source of a column, and what it holds.
fn column<'a>(expression: &'a Expression, scope: &'a Scope) -> Option<(&'a Source, Kind)> {
    let (source, name) = scope.find_column(expression)?;
    Some((source, of_column(source, name)?))
}

fn of_column(source: &Source, name: &str) -> Option<Kind> {
    match &source.schema {
        Some(schema) => {
            let column = schema.columns.iter().find(|column| column.name_lower == name)?;
            Some(Kind::Of(column.data_type))
        }
        None => source.kinds.0.iter().find(|(other, _)| other == name)?.1,
    }
}

/// What the columns of a derived table, a view or a common table hold, by their names in lower case, in their order.
#[derive(Clone, Default)]
pub struct Kinds(Rc<[(String, Option<Kind>)]>);

impl Kinds {
    /// Of a SELECT with this scope, and without what UNION and its like add.
    pub fn of(select: &SelectStatement, scope: &Scope) -> Self {
        let mut found = Vec::new();
        for column in &select.columns {
            let name = match column {
                Expression::Aliased(aliased) => aliased.alias.value_lower.to_string(),
                Expression::Identifier(name) => name.value_lower.to_string(),
                Expression::QualifiedIdentifier(name) => name.name.value_lower.to_string(),
                Expression::Star(_) => {
                    found.extend(scope.sources.iter().flat_map(of_all));
                    continue;
                }
                Expression::QualifiedStar(star) => {
                    let is_meant = |source: &&Source| star.qualifier.eq_ignore_ascii_case(&source.name);
                    found.extend(scope.sources.iter().filter(is_meant).flat_map(of_all));
                    continue;
                }
                _ => String::new(),
            };
            found.push((name, of(column, scope)));
        }
        Self(found.into())
    }

    /// The same columns under other names.
    pub fn renamed(&self, names: &[Identifier]) -> Self {
        if names.len() != self.0.len() {
            return Self::default();
        }
        let renamed =
            names.iter().zip(&*self.0).map(|(name, (_, kind))| (name.value_lower.to_string(), *kind));
        Self(renamed.collect())
    }

    /// Beside rows of another SELECT; what is a text in one of them alone, may be anything.
    pub fn beside(&self, other: &Self) -> Self {
        let others = other.0.iter().map(|(_, kind)| *kind).chain(std::iter::repeat(None));
        let both = self.0.iter().zip(others).map(|((name, one), other)| {
            let is_known = (*one == Some(TEXT)) == (other == Some(TEXT));
            (name.clone(), one.filter(|_| is_known))
        });
        Self(both.collect())
    }
}

fn of_all(source: &Source) -> Vec<(String, Option<Kind>)> {
    let Some(schema) = &source.schema else { return source.kinds.0.to_vec() };
    let columns = schema.columns.iter();
    columns.map(|column| (column.name_lower.clone(), Some(Kind::Of(column.data_type)))).collect()
}

/// Refuses a comparison, unless the engine answers it rightly.
pub fn check(expression: &Expression, scope: &Scope) -> Result<(), Failure> {
    let compare = |left, right| check_pair(expression, left, right, scope);
    match expression {
        Expression::Infix(infix) if comparisons::compares(infix.op_type) => {
            compare(&infix.left, &infix.right)
        }
        Expression::Between(between) => {
            compare(&between.expr, &between.lower)?;
            compare(&between.expr, &between.upper)
        }
        Expression::In(within) => {
            let values = comparisons::values(&within.right).unwrap_or_default();
            values.iter().try_for_each(|value| compare(&within.left, value))
        }
        _ => Ok(()),
    }
}

fn check_pair(
    whole: &Expression,
    left: &Expression,
    right: &Expression,
    scope: &Scope,
) -> Result<(), Failure> {
    if let (Some(left), Some(right)) = (comparisons::row(left), comparisons::row(right)) {
        return left.iter().zip(right).try_for_each(|(left, right)| check_pair(whole, left, right, scope));
    }
    check_text(left, right, scope)?;
    check_text(right, left, scope)?;
    let (Some((one, left)), Some((other, right))) = (column(left, scope), column(right, scope)) else {
        return Ok(());
    };
    match beside_text(left, right) {
        // Within a row, such a text is read as one.
        Some(DataType::Timestamp | DataType::Json) if std::ptr::eq(one, other) => Ok(()),
        Some(kind) => Err(refusal(whole, kind)),
        None => Ok(()),
    }
}

/// What texts are compared with, if the engine finds nothing equal there.
fn beside_text(one: Kind, other: Kind) -> Option<DataType> {
    use DataType::{Boolean, Float, Integer, Json, Timestamp};
    match (one, other) {
        (TEXT, Kind::Of(kind)) | (Kind::Of(kind), TEXT) => {
            matches!(kind, Integer | Float | Boolean | Timestamp | Json).then_some(kind)
        }
        _ => None,
    }
}

fn refusal(comparison: impl std::fmt::Display, kind: DataType) -> Failure {
    let message = format!("{comparison} compares TEXT with {kind}: write CAST(.. AS {kind}) for the text");
    Failure::new("not_supported", message)
}

/// The same for IN, ANY and ALL with the columns of a subquery.
pub fn check_subquery(expression: &Expression, found: &Kinds, scope: &Scope) -> Result<(), Failure> {
    let left = match expression {
        Expression::In(within) => &*within.left,
        Expression::AllAny(compared) => &*compared.left,
        _ => return Ok(()),
    };
    let values = comparisons::row(left).unwrap_or(slice::from_ref(left));
    if values.len() != found.0.len() {
        return Ok(());
    }
    for (value, (_, kind)) in values.iter().zip(&*found.0) {
        // Texts in a list are read as what is looked for.
        if let (Some((_, one)), Some(other)) = (column(value, scope), *kind)
            && ![TIMESTAMP, JSON].contains(&one)
            && let Some(kind) = beside_text(one, other)
        {
            return Err(refusal(expression, kind));
        }
    }
    Ok(())
}

/// The same for the columns that USING and NATURAL join.
pub fn check_using(join: &JoinTableSource, left: &[Source], right: &[Source]) -> Result<(), Failure> {
    let names: Vec<&str> = match join.join_type.starts_with("NATURAL") {
        true => right
            .iter()
            .flat_map(|source| source.columns.iter().flat_map(|names| names.iter()))
            .map(|name| &**name)
            .collect(),
        false => join.using_columns.iter().map(|name| &*name.value_lower).collect(),
    };
    let find = |sources: &[Source], name: &str| sources.iter().find_map(|source| of_column(source, name));
    for name in names {
        if let (Some(one), Some(other)) = (find(left, name), find(right, name))
            && let Some(kind) = beside_text(one, other)
        {
            return Err(refusal(format!("the join by {name}"), kind));
        }
    }
    Ok(())
}

/// Refuses a text beside a time, unless it says one.
fn check_text(moment: &Expression, beside: &Expression, scope: &Scope) -> Result<(), Failure> {
    match beside {
        Expression::Parameter(parameter) if is_timestamp(moment, scope) => {
            let beside = moment.to_string();
            scope.moments().push(Moment { parameter: parameter.clone(), beside });
            Ok(())
        }
        _ => match text(beside) {
            Some(text) if is_timestamp(moment, scope) => check_time(text, moment),
            _ => Ok(()),
        },
    }
}

fn check_time(text: &str, beside: impl std::fmt::Display) -> Result<(), Failure> {
    if is_time(text) {
        return Ok(());
    }
    let message = format!(
        "'{text}' is no TIMESTAMP like '2024-01-31' or '2024-01-31 12:00:00', and is compared with {beside}"
    );
    Err(Failure::new("type_conversion", message))
}

/// A parameter that is compared with a time.
pub struct Moment {
    parameter: Parameter,
    beside: String,
}

impl Moment {
    /// Refuses a text that is given for it, unless it says a time.
    pub fn check(&self, context: &ExecutionContext) -> Result<(), Failure> {
        let value = match self.parameter.index {
            0 => context.get_named_param(self.parameter.name.trim_start_matches(':')),
            index => context.get_param(index),
        };
        match value {
            Some(Value::Text(text)) => check_time(text, &self.beside),
            _ => Ok(()),
        }
    }
}
