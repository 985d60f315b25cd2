//! Whether the columns that a statement names are there. The engine takes an unknown one for NULL, or for nothing, in many
//! places: `UPDATE t SET nosuch = 1` changes nothing, without an error. What cannot be known before it runs (the
//! columns of functions, and those that the engine names) is left to the engine. What it would not find, or find late, is
//! mended on the way: see `joins`.
use std::cell::{RefCell, RefMut};
use std::collections::HashMap;
use std::sync::Arc;

use stoolap::Error;
use stoolap::common::CompactArc;
use stoolap::core::Schema;
use stoolap::executor::Executor;
use stoolap::parser::Parser;
use stoolap::parser::ast::{
    Expression, FunctionCall, GroupByModifier, Identifier, InsertStatement, SelectStatement, StarExpression,
    Statement, WithClause,
};
use stoolap::storage::traits::Engine;

use crate::errors::Failure;
use crate::kinds::{Kinds, Moment};
use crate::{aliases, comparisons, differences, groups, joins, kinds};

type Outcome<T = ()> = Result<T, Failure>;
/// The columns of a source, in lower case; None if they are not known.
type Columns = Option<CompactArc<Vec<String>>>;

/// The engine counts the arguments of a function in a byte, and would leave the first ones out.
const MOST_ARGUMENTS: usize = 255;
/// Views within views.
const DEEPEST_VIEW: usize = 32;

/// What to run in place of a statement, see `resolve`; None if it is as good as it is. And the parameters that are times.
pub fn resolved(statement: &Statement, executor: &Executor) -> Outcome<(Option<Statement>, Vec<Moment>)> {
    // There may be many values, and nothing in them is resolved.
    if let Statement::Insert(insert) = statement
        && insert.select.is_none()
        && !insert.on_duplicate
        && insert.returning.is_empty()
    {
        return Ok(Default::default());
    }
    let mut changed = statement.clone();
    let moments = resolve(&mut changed, executor)?;
    Ok(((changed != *statement).then_some(changed), moments))
}

/// Checks the names in a statement, completes those in its conditions, and makes joins of its products; also in the views
/// that it reads, which the engine has from then on so.
pub fn resolve(statement: &mut Statement, executor: &Executor) -> Outcome<Vec<Moment>> {
    let found = Found::default();
    resolve_with(statement, executor, &found)?;
    Ok(found.moments.into_inner())
}

fn resolve_with(statement: &mut Statement, executor: &Executor, found: &Found) -> Outcome {
    let nothing = Scope::new(executor, found, 0);
    let mut scope = nothing.inner();
    match statement {
        Statement::Select(select) => nothing.select(select).map(drop),
        Statement::Insert(insert) => nothing.insert(insert),
        Statement::Update(update) => {
            scope.with(update.with.as_mut())?;
            scope.add_target(&update.table_name, None)?;
            for (column, value) in &mut update.updates {
                scope.column(column)?;
                scope.conditions([value])?;
            }
            scope.conditions(update.where_clause.as_deref_mut())?;
            scope.expressions(&mut update.returning)
        }
        Statement::Delete(delete) => {
            scope.with(delete.with.as_mut())?;
            scope.add_target(&delete.table_name, delete.alias.as_ref())?;
            scope.conditions(delete.where_clause.as_deref_mut())?;
            scope.expressions(&mut delete.returning)
        }
        Statement::CreateTable(create) => {
            create.as_select.as_deref_mut().map_or(Ok(()), |select| nothing.select(select).map(drop))
        }
        Statement::Explain(explain) => resolve_with(&mut explain.statement, executor, found),
        _ => Ok(()),
    }
}

/// Where rows come from, by the name that the statement gives it.
#[derive(Clone, Default)]
pub struct Source {
    pub name: String,
    pub columns: Columns,
    /// Of a table of the database.
    pub schema: Option<CompactArc<Schema>>,
    /// Of what is no table.
    pub kinds: Kinds,
    /// Of a common table with another one's name: how the engine tells them apart.
    renamed: Option<Identifier>,
}

/// What was found on the way through a statement.
#[derive(Default)]
struct Found {
    /// The views that were looked at, by name.
    views: RefCell<HashMap<String, Source>>,
    moments: RefCell<Vec<Moment>>,
}

/// What the names in one SELECT, UPDATE or DELETE may mean, beside those of the statement around it.
pub struct Scope<'a> {
    executor: &'a Executor,
    found: &'a Found,
    /// How many views it is within.
    depth: usize,
    outer: Option<&'a Scope<'a>>,
    common_tables: Vec<Source>,
    pub sources: Vec<Source>,
    aliases: Vec<String>,
}

impl<'a> Scope<'a> {
    fn new(executor: &'a Executor, found: &'a Found, depth: usize) -> Self {
        let (common_tables, sources, aliases) = (Vec::new(), Vec::new(), Vec::new());
        Self { executor, found, depth, outer: None, common_tables, sources, aliases }
    }

    fn inner<'b>(&'b self) -> Scope<'b> {
        Scope { outer: Some(self), ..Scope::new(self.executor, self.found, self.depth) }
    }

    /// This scope and those around it.
    pub fn chain(&self) -> impl Iterator<Item = &Scope<'_>> {
        std::iter::successors(Some(self), |scope| scope.outer)
    }

    /// The parameters that are compared with times.
    pub fn moments(&self) -> RefMut<'_, Vec<Moment>> {
        self.found.moments.borrow_mut()
    }

    /// The source of a column, and its name.
    pub fn find_column<'b>(&'b self, expression: &'b Expression) -> Option<(&'b Source, &'b str)> {
        let (qualifier, column) = match expression {
            Expression::Identifier(name) if !name.token.quoted => (None, &*name.value_lower),
            Expression::QualifiedIdentifier(name) => {
                (Some(&*name.qualifier.value_lower), &*name.name.value_lower)
            }
            _ => return None,
        };
        let mut sources = self.chain().flat_map(|scope| &scope.sources);
        let source = sources.find(|source| match qualifier {
            Some(qualifier) => source.name == qualifier,
            None => source.columns.as_ref().is_none_or(|columns| has(columns, column)),
        });
        source.map(|source| (source, column))
    }

    fn with(&mut self, clause: Option<&mut WithClause>) -> Outcome {
        let Some(clause) = clause else { return Ok(()) };
        for table in &mut clause.ctes {
            let name = table.name.value_lower.to_string();
            // The engine would join by the indexes of a table of this name.
            let renamed = self
                .is_stored(&name)?
                .then(|| Identifier::new(table.name.token.clone(), format!("with {name}")));
            let itself = Source { name, renamed, ..Source::default() };
            if clause.is_recursive {
                self.common_tables.push(itself.clone());
            }
            let mut found = self.select(&mut table.query)?;
            if !table.column_names.is_empty() {
                let names = table.column_names.iter().map(|name| name.value_lower.to_string());
                found.columns = Some(CompactArc::new(names.collect()));
                found.kinds = found.kinds.renamed(&table.column_names);
            }
            if let Some(name) = &itself.renamed {
                table.name = name.clone();
            }
            let Source { columns, kinds, .. } = found;
            self.common_tables.push(Source { columns, kinds, ..itself });
        }
        Ok(())
    }

    /// Whether a table or a view is called so.
    fn is_stored(&self, name: &str) -> Outcome<bool> {
        let engine = self.executor.engine();
        Ok(engine.get_table_schema(name).is_ok() || engine.get_view_lowercase(name)?.is_some())
    }

    /// Adds the table that a statement changes, which is no common table.
    fn add_target(&mut self, table: &Identifier, alias: Option<&Identifier>) -> Outcome {
        let found = self.stored(&table.value_lower)?;
        self.add(alias.or(Some(table)), found.unwrap_or_default());
        Ok(())
    }

    /// What is called so: a common table, a table or a view.
    fn find(&self, name: &str) -> Outcome<Option<Source>> {
        let common = |scope: &Scope| scope.common_tables.iter().rfind(|table| table.name == name).cloned();
        match self.chain().find_map(common) {
            Some(table) => Ok(Some(table)),
            None => self.stored(name),
        }
    }

    /// The table or the view that is called so.
    fn stored(&self, name: &str) -> Outcome<Option<Source>> {
        let engine = self.executor.engine();
        let mut source = Source::default();
        if let Ok(schema) = engine.get_table_schema(name) {
            source.columns = Some(schema.column_names_lower_arc());
            source.schema = Some(schema);
        } else {
            let Some(view) = engine.get_view_lowercase(name)? else { return Ok(None) };
            source = self.view(name, &view.query)?;
        }
        Ok(Some(source))
    }

    /// The columns of a view, whose query is mended in the engine's cache. Each is looked at once: they may be within one
    /// another, and again and again.
    fn view(&self, name: &str, query: &str) -> Outcome<Source> {
        if let Some(view) = self.found.views.borrow().get(name) {
            return Ok(view.clone());
        }
        self.found.views.borrow_mut().insert(name.to_owned(), Source::default());
        let mut statements =
            Parser::new(query).parse_program().map_or_else(|_| Vec::new(), |program| program.statements);
        if let [Statement::Select(select)] = &mut *statements
            && self.depth < DEEPEST_VIEW
        {
            let view = Scope::new(self.executor, self.found, self.depth + 1).select(select)?;
            self.found.views.borrow_mut().insert(name.to_owned(), view);
            self.executor.query_cache().put(query, Arc::new(statements.remove(0)), false, 0);
        }
        Ok(self.found.views.borrow()[name].clone())
    }

    /// What stands behind FROM.
    fn add_source(&mut self, source: &mut Expression) -> Outcome {
        match source {
            Expression::TableSource(table) => {
                // The engine does not look for it where a condition is always false.
                let Some(mut found) = self.find(&table.name.value_lower)? else {
                    return Err(Error::TableOrViewNotFound(table.name.value_lower.to_string()).into());
                };
                if let Some(renamed) = found.renamed.take() {
                    let name = std::mem::replace(&mut table.name, renamed);
                    table.alias.get_or_insert(name);
                }
                self.add(table.alias.as_ref().or(Some(&table.name)), found);
            }
            Expression::JoinSource(join) => {
                joins::check(join)?;
                let first = self.sources.len();
                self.add_source(&mut join.left)?;
                let middle = self.sources.len();
                self.add_source(&mut join.right)?;
                kinds::check_using(join, &self.sources[first..middle], &self.sources[middle..])?;
            }
            Expression::SubquerySource(subquery) => {
                let found = self.select(&mut subquery.subquery)?;
                self.add(subquery.alias.as_ref(), found);
            }
            Expression::CteReference(table) => self.add(table.alias.as_ref(), Source::default()),
            Expression::ValuesSource(values) => self.add(values.alias.as_ref(), Source::default()),
            Expression::FunctionTableSource(function) => {
                self.add(function.alias.as_ref(), Source::default());
            }
            _ => self.add(None, Source::default()),
        }
        Ok(())
    }

    pub fn has_alias(&self, name: &str) -> bool {
        self.aliases.iter().any(|alias| alias == name)
    }

    fn add(&mut self, name: Option<&Identifier>, found: Source) {
        let name = name.map_or_else(String::new, |name| name.value_lower.to_string());
        self.sources.push(Source { name, ..found });
    }

    /// Resolves a SELECT that stands within this scope, and says which columns it gives.
    fn select(&self, select: &mut SelectStatement) -> Outcome<Source> {
        let mut scope = self.inner();
        scope.with(select.with.as_mut())?;
        if let Some(source) = &mut select.table_expr {
            scope.add_source(source)?;
        }
        if let [Source { name, schema: None, .. }] = &*scope.sources {
            select.columns.iter_mut().for_each(|column| plain_star(column, name));
        }
        for column in &select.columns {
            if let Expression::Aliased(aliased) = column {
                scope.aliases.push(aliased.alias.value_lower.to_string());
            }
        }
        if let Some(source) = &mut select.table_expr {
            scope.join_conditions(source)?;
        }
        scope.expressions(&mut select.distinct_on)?;
        scope.expressions(&mut select.columns)?;
        scope.conditions(select.where_clause.as_deref_mut())?;
        scope.expressions(&mut select.group_by.columns)?;
        if let GroupByModifier::GroupingSets(sets) = &mut select.group_by.modifier {
            scope.expressions(sets.iter_mut().flatten())?;
        }
        scope.expressions(select.having.as_deref_mut())?;
        for window in &mut select.window_defs {
            scope.expressions(&mut window.partition_by)?;
            scope.expressions(window.order_by.iter_mut().map(|order| &mut order.expression))?;
        }
        aliases::place(select, &scope);
        // Behind UNION and its like, ORDER BY speaks of the columns of the result.
        if select.set_operations.is_empty() {
            scope.expressions(select.order_by.iter_mut().map(|order| &mut order.expression))?;
        }
        differences::check_order(select, &scope)?;
        joins::join(select, &scope);
        groups::align(select, &scope);
        groups::rename_in_windows(select);
        aliases::uncover(select, &scope)?;
        let (columns, mut kinds) = (scope.results(select), Kinds::of(select, &scope));
        // What is added sees the common tables, but not the sources.
        scope.sources.clear();
        scope.aliases.clear();
        for operation in &mut select.set_operations {
            kinds = kinds.beside(&scope.select(&mut operation.right)?.kinds);
        }
        Ok(Source { columns, kinds, ..Source::default() })
    }

    /// The columns that a SELECT with this scope gives; None if the engine names one of them.
    fn results(&self, select: &SelectStatement) -> Columns {
        let mut names = Vec::new();
        for column in &select.columns {
            match column {
                Expression::Aliased(aliased) => names.push(aliased.alias.value_lower.to_string()),
                Expression::Identifier(name) => names.push(name.value_lower.to_string()),
                Expression::QualifiedIdentifier(name) => names.push(name.name.value_lower.to_string()),
                Expression::Star(_) => match &*self.sources {
                    [Source { columns: Some(columns), .. }] => names.extend(columns.iter().cloned()),
                    _ => return None,
                },
                _ => return None,
            }
        }
        Some(CompactArc::new(names))
    }

    fn join_conditions(&self, source: &mut Expression) -> Outcome {
        let Expression::JoinSource(join) = source else { return Ok(()) };
        self.join_conditions(&mut join.left)?;
        self.join_conditions(&mut join.right)?;
        self.conditions(join.condition.as_deref_mut())?;
        match join.condition.as_deref_mut().and_then(|condition| self.outer_column(condition)) {
            Some(column) => {
                let message = format!(
                    "{column} is a column of the query around this one, which ON does not know: ask in WHERE"
                );
                Err(Failure::new("not_supported", message))
            }
            None => Ok(()),
        }
    }

    /// A column in an expression that belongs to a query around this one.
    fn outer_column(&self, expression: &mut Expression) -> Option<String> {
        if let Expression::QualifiedIdentifier(name) = expression {
            let owner =
                |scope: &Scope| scope.sources.iter().any(|source| source.name == *name.qualifier.value_lower);
            let is_outer = !owner(self) && self.chain().skip(1).any(owner);
            return is_outer.then(|| format!("{}.{}", name.qualifier.value, name.name.value));
        }
        Parts::of(expression).operands.into_iter().find_map(|operand| self.outer_column(operand))
    }

    fn insert(&self, insert: &mut InsertStatement) -> Outcome {
        if let Some(select) = &mut insert.select {
            self.select(select)?;
        }
        let mut scope = self.inner();
        scope.add_target(&insert.table_name, None)?;
        insert.update_columns.iter().try_for_each(|column| scope.column(&column.value_lower))?;
        scope.expressions(&mut insert.update_expressions)?;
        scope.expressions(insert.update_where.as_deref_mut())?;
        scope.expressions(&mut insert.returning)
    }

    fn expressions<'b>(&self, expressions: impl IntoIterator<Item = &'b mut Expression>) -> Outcome {
        expressions.into_iter().try_for_each(|expression| self.expression(expression))
    }

    /// The same, and the names in them are completed.
    fn conditions<'b>(&self, conditions: impl IntoIterator<Item = &'b mut Expression>) -> Outcome {
        conditions.into_iter().try_for_each(|condition| {
            self.expression(condition)?;
            joins::complete(condition, self);
            Ok(())
        })
    }

    fn expression(&self, expression: &mut Expression) -> Outcome {
        match expression {
            Expression::Infix(infix) => comparisons::check_rows(infix)?,
            // A word in double quotes that is no column is a text.
            Expression::Identifier(name) if !name.token.quoted => self.column(&name.value_lower)?,
            Expression::QualifiedIdentifier(name) => {
                self.qualified(&name.qualifier.value_lower, &name.name.value_lower)?;
            }
            Expression::FunctionCall(call) if call.arguments.len() > MOST_ARGUMENTS => {
                let message = format!("{} takes at most {MOST_ARGUMENTS} arguments", call.function);
                return Err(Failure::new("invalid_argument", message));
            }
            _ => {}
        }
        let is_one_value = match expression {
            Expression::ScalarSubquery(_) => true,
            Expression::In(within) => comparisons::row(&within.left).is_none(),
            Expression::AllAny(compared) => comparisons::row(&compared.left).is_none(),
            _ => false,
        };
        let parts = Parts::of(expression);
        let mut found = Source::default();
        if let Some(subquery) = parts.subquery {
            found = self.select(subquery)?;
            match width(subquery, &found) {
                Some(width) if is_one_value && width != 1 => return Err(too_wide(width)),
                _ => {}
            }
        }
        self.expressions(parts.operands)?;
        differences::check(expression, self)?;
        kinds::check(expression, self)?;
        kinds::check_subquery(expression, &found.kinds, self)?;
        comparisons::mend(expression, self)
    }

    fn column(&self, name: &str) -> Outcome {
        let known = |scope: &Scope| {
            let in_source =
                |source: &Source| source.columns.as_ref().is_none_or(|columns| has(columns, name));
            scope.has_alias(name) || scope.sources.iter().any(in_source)
        };
        match self.chain().flat_map(|scope| &scope.sources).next() {
            Some(source) if !self.chain().any(known) => Err(unknown_column(name, source)),
            _ => Ok(()),
        }
    }

    fn qualified(&self, qualifier: &str, name: &str) -> Outcome {
        match self.chain().flat_map(|scope| &scope.sources).find(|source| source.name == qualifier) {
            Some(source) if source.columns.as_ref().is_some_and(|columns| !has(columns, name)) => {
                Err(unknown_column(name, source))
            }
            _ => Ok(()),
        }
    }
}

/// Makes `*` of `q.*`, for the engine finds no columns by that if `q` is no table of the database.
fn plain_star(column: &mut Expression, source: &str) {
    if let Expression::QualifiedStar(star) = column
        && star.qualifier.eq_ignore_ascii_case(source)
    {
        *column = Expression::Star(StarExpression { token: star.token.clone() });
    }
}

/// How many columns a SELECT gives, if that is known.
fn width(select: &SelectStatement, found: &Source) -> Option<usize> {
    match has_star(select) {
        true => found.columns.as_ref().map(|columns| columns.len()),
        false => Some(select.columns.len()),
    }
}

fn too_wide(width: usize) -> Failure {
    let message = format!("a subquery gives {width} columns where one value is needed");
    Failure::new("column_count", message)
}

pub fn has_star(select: &SelectStatement) -> bool {
    let is_star = |column: &Expression| matches!(column, Expression::Star(_) | Expression::QualifiedStar(_));
    select.columns.iter().any(is_star)
}

pub fn has(columns: &[String], name: &str) -> bool {
    columns.iter().any(|column| column.eq_ignore_ascii_case(name))
}

fn unknown_column(name: &str, source: &Source) -> Failure {
    let columns = source.columns.as_ref().map_or_else(String::new, |columns| columns.join(", "));
    let message = format!("no column is named \"{name}\"; \"{}\" has {columns}", source.name);
    Failure::new("column_not_found", message).with("column", name)
}

pub fn has_subquery(expression: &mut Expression) -> bool {
    let parts = Parts::of(expression);
    parts.subquery.is_some() || parts.operands.into_iter().any(has_subquery)
}

/// What an expression is made of.
#[derive(Default)]
pub struct Parts<'a> {
    pub operands: Vec<&'a mut Expression>,
    subquery: Option<&'a mut SelectStatement>,
}

impl<'a> Parts<'a> {
    pub fn of(expression: &'a mut Expression) -> Self {
        let mut parts = Self::default();
        let operands = &mut parts.operands;
        match expression {
            Expression::Prefix(prefix) => operands.push(&mut prefix.right),
            Expression::Infix(infix) => operands.extend([&mut *infix.left, &mut *infix.right]),
            Expression::List(list) => operands.extend(&mut list.elements),
            Expression::ExpressionList(list) => operands.extend(&mut list.expressions),
            Expression::Distinct(distinct) => operands.push(&mut distinct.expr),
            Expression::In(within) => {
                operands.push(&mut within.left);
                match &mut *within.right {
                    Expression::ScalarSubquery(scalar) => parts.subquery = Some(&mut scalar.subquery),
                    list => operands.push(list),
                }
            }
            Expression::Between(between) => {
                operands.extend([&mut *between.expr, &mut *between.lower, &mut *between.upper]);
            }
            Expression::Like(like) => {
                operands.extend([&mut *like.left, &mut *like.pattern]);
                operands.extend(like.escape.as_deref_mut());
            }
            Expression::Case(case) => {
                operands.extend(case.value.as_deref_mut());
                operands.extend(
                    case.when_clauses
                        .iter_mut()
                        .flat_map(|when| [&mut when.condition, &mut when.then_result]),
                );
                operands.extend(case.else_value.as_deref_mut());
            }
            Expression::Cast(cast) => operands.push(&mut cast.expr),
            Expression::Aliased(aliased) => operands.push(&mut aliased.expression),
            Expression::FunctionCall(call) => operands.extend(parts_of_call(call)),
            Expression::Window(window) => {
                operands.extend(parts_of_call(&mut window.function));
                operands.extend(&mut window.partition_by);
                operands.extend(window.order_by.iter_mut().map(|order| &mut order.expression));
            }
            Expression::Exists(exists) => parts.subquery = Some(&mut exists.subquery),
            Expression::ScalarSubquery(scalar) => parts.subquery = Some(&mut scalar.subquery),
            Expression::AllAny(all_any) => {
                operands.push(&mut all_any.left);
                parts.subquery = Some(&mut all_any.subquery);
            }
            _ => {}
        }
        parts
    }
}

fn parts_of_call(call: &mut FunctionCall) -> impl Iterator<Item = &mut Expression> {
    let orders = call.order_by.iter_mut().map(|order| &mut order.expression);
    call.arguments.iter_mut().chain(orders).chain(call.filter.as_deref_mut())
}
