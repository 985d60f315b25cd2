//! Whether the columns that a statement names are there. The engine takes an unknown one for NULL, or for nothing, in many
//! places: `UPDATE t SET nosuch = 1` changes nothing, without an error. What cannot be known before it runs (the
//! columns of functions, and those that the engine names) is left to the engine.
use stoolap::Error;
use stoolap::common::CompactArc;
use stoolap::parser::Parser;
use stoolap::parser::ast::{
    Expression, GroupByModifier, Identifier, InsertStatement, SelectStatement, Statement, WithClause,
};
use stoolap::storage::mvcc::MVCCEngine;
use stoolap::storage::traits::Engine;

use crate::errors::Failure;

type Outcome<T = ()> = Result<T, Failure>;
/// The columns of a source, in lower case; None if they are not known.
type Columns = Option<CompactArc<Vec<String>>>;

/// The engine counts the arguments of a function in a byte, and would leave the first ones out.
const MOST_ARGUMENTS: usize = 255;
/// Views within views.
const DEEPEST_VIEW: usize = 32;

/// Checks the names in a statement.
pub fn check(statement: &Statement, engine: &MVCCEngine) -> Outcome {
    let nothing = Scope::new(engine);
    match statement {
        Statement::Select(select) => nothing.select(select).map(drop),
        Statement::Insert(insert) => nothing.insert(insert),
        Statement::Update(update) => {
            let mut scope = nothing.inner();
            scope.with(update.with.as_ref())?;
            scope.add_table(&update.table_name, None)?;
            for (column, value) in &update.updates {
                scope.column(column)?;
                scope.expression(value)?;
            }
            scope.expressions(update.where_clause.as_deref())?;
            scope.expressions(&update.returning)
        }
        Statement::Delete(delete) => {
            let mut scope = nothing.inner();
            scope.with(delete.with.as_ref())?;
            scope.add_table(&delete.table_name, delete.alias.as_ref())?;
            scope.expressions(delete.where_clause.as_deref())?;
            scope.expressions(&delete.returning)
        }
        Statement::Explain(explain) => check(&explain.statement, engine),
        _ => Ok(()),
    }
}

/// Where rows come from, by the name that the statement gives it.
pub struct Source {
    pub name: String,
    pub columns: Columns,
    /// The name of the table, if it is one of the database.
    pub table: Option<String>,
}

/// What the names in one SELECT, UPDATE or DELETE may mean, beside those of the statement around it.
pub struct Scope<'a> {
    pub engine: &'a MVCCEngine,
    outer: Option<&'a Scope<'a>>,
    common_tables: Vec<Source>,
    pub sources: Vec<Source>,
    aliases: Vec<String>,
}

impl<'a> Scope<'a> {
    /// Of a statement, which nothing is around.
    pub fn new(engine: &'a MVCCEngine) -> Self {
        Scope { engine, outer: None, common_tables: Vec::new(), sources: Vec::new(), aliases: Vec::new() }
    }

    pub fn inner<'b>(&'b self) -> Scope<'b> {
        Scope {
            engine: self.engine,
            outer: Some(self),
            common_tables: Vec::new(),
            sources: Vec::new(),
            aliases: Vec::new(),
        }
    }

    /// This scope and those around it.
    pub fn chain(&self) -> impl Iterator<Item = &Scope<'_>> {
        std::iter::successors(Some(self), |scope| scope.outer)
    }

    pub fn with(&mut self, clause: Option<&WithClause>) -> Outcome {
        for table in clause.iter().flat_map(|clause| &clause.ctes) {
            let name = table.name.value_lower.to_string();
            // It may refer to itself.
            self.common_tables.push(Source { name: name.clone(), columns: None, table: None });
            let columns = self.select(&table.query)?;
            let named = || table.column_names.iter().map(|name| name.value_lower.to_string()).collect();
            let columns =
                if table.column_names.is_empty() { columns } else { Some(CompactArc::new(named())) };
            self.common_tables.push(Source { name, columns, table: None });
        }
        Ok(())
    }

    pub fn add_table(&mut self, table: &Identifier, alias: Option<&Identifier>) -> Outcome {
        let name = table.value_lower.as_str();
        let columns = self.columns_of(name)?;
        let is_common = self.chain().any(|scope| scope.common_tables.iter().any(|table| table.name == name));
        let is_table = !is_common && self.engine.get_table_schema(name).is_ok();
        self.add(Some(alias.unwrap_or(table)), columns);
        if let Some(source) = self.sources.last_mut().filter(|_| is_table) {
            source.table = Some(name.to_owned());
        }
        Ok(())
    }

    /// Of a table, a view or a common table.
    fn columns_of(&self, name: &str) -> Outcome<Columns> {
        let common = |scope: &'_ Scope| {
            scope.common_tables.iter().rfind(|table| table.name == name).map(|table| table.columns.clone())
        };
        if let Some(columns) = self.chain().find_map(common) {
            return Ok(columns);
        }
        if let Ok(schema) = self.engine.get_table_schema(name) {
            return Ok(Some(schema.column_names_lower_arc()));
        }
        let Ok(Some(view)) = self.engine.get_view_lowercase(name) else { return Ok(None) };
        let program = Parser::new(&view.query).parse_program();
        match program.as_ref().map(|program| &*program.statements) {
            Ok([Statement::Select(select)]) if self.chain().count() < DEEPEST_VIEW => self.select(select),
            _ => Ok(None),
        }
    }

    /// Checks that there is such a table, view or common table: the engine does not where a condition is always false.
    fn exists(&self, name: &str) -> Outcome {
        let is_common = self.chain().any(|scope| scope.common_tables.iter().any(|table| table.name == name));
        if is_common
            || self.engine.get_table_schema(name).is_ok()
            || !matches!(self.engine.get_view_lowercase(name), Ok(None))
        {
            return Ok(());
        }
        Err(Error::TableOrViewNotFound(name.to_owned()).into())
    }

    /// What stands behind FROM.
    pub fn add_source(&mut self, source: &Expression) -> Outcome {
        match source {
            Expression::TableSource(table) => {
                self.add_table(&table.name, table.alias.as_ref())?;
                self.exists(&table.name.value_lower)?;
            }
            Expression::JoinSource(join) => {
                self.add_source(&join.left)?;
                self.add_source(&join.right)?;
            }
            Expression::SubquerySource(subquery) => {
                let columns = self.select(&subquery.subquery)?;
                self.add(subquery.alias.as_ref(), columns);
            }
            Expression::CteReference(table) => self.add(table.alias.as_ref(), None),
            Expression::ValuesSource(values) => self.add(values.alias.as_ref(), None),
            Expression::FunctionTableSource(function) => self.add(function.alias.as_ref(), None),
            _ => self.add(None, None),
        }
        Ok(())
    }

    pub fn add_aliases(&mut self, select: &SelectStatement) {
        for column in &select.columns {
            if let Expression::Aliased(aliased) = column {
                self.aliases.push(aliased.alias.value_lower.to_string());
            }
        }
    }

    pub fn has_alias(&self, name: &str) -> bool {
        self.aliases.iter().any(|alias| alias == name)
    }

    fn add(&mut self, name: Option<&Identifier>, columns: Columns) {
        let name = name.map_or_else(String::new, |name| name.value_lower.to_string());
        self.sources.push(Source { name, columns, table: None });
    }

    /// Checks a SELECT that stands within this scope, and says which columns it gives.
    fn select(&self, select: &SelectStatement) -> Outcome<Columns> {
        let mut scope = self.inner();
        scope.with(select.with.as_ref())?;
        if let Some(source) = &select.table_expr {
            scope.add_source(source)?;
        }
        scope.add_aliases(select);
        if let Some(source) = &select.table_expr {
            scope.conditions(source)?;
        }
        scope.expressions(&select.distinct_on)?;
        scope.expressions(&select.columns)?;
        scope.expressions(select.where_clause.as_deref())?;
        scope.expressions(&select.group_by.columns)?;
        if let GroupByModifier::GroupingSets(sets) = &select.group_by.modifier {
            scope.expressions(sets.iter().flatten())?;
        }
        scope.expressions(select.having.as_deref())?;
        for window in &select.window_defs {
            scope.expressions(&window.partition_by)?;
            scope.expressions(window.order_by.iter().map(|order| &order.expression))?;
        }
        // Behind UNION and its like, ORDER BY speaks of the columns of the result.
        if select.set_operations.is_empty() {
            scope.expressions(select.order_by.iter().map(|order| &order.expression))?;
        }
        let columns = scope.results(select);
        // What is added sees the common tables, but not the sources.
        scope.sources.clear();
        scope.aliases.clear();
        for operation in &select.set_operations {
            scope.select(&operation.right)?;
        }
        Ok(columns)
    }

    /// The columns that a SELECT with this scope gives; None if the engine names one of them.
    fn results(&self, select: &SelectStatement) -> Columns {
        let mut names = Vec::new();
        for column in &select.columns {
            match column {
                Expression::Aliased(aliased) => names.push(aliased.alias.value_lower.to_string()),
                Expression::Identifier(name) => names.push(name.value_lower.to_string()),
                Expression::Star(_) => match &*self.sources {
                    [Source { columns: Some(columns), .. }] => names.extend(columns.iter().cloned()),
                    _ => return None,
                },
                _ => return None,
            }
        }
        Some(CompactArc::new(names))
    }

    /// The conditions of joins.
    fn conditions(&self, source: &Expression) -> Outcome {
        let Expression::JoinSource(join) = source else { return Ok(()) };
        self.conditions(&join.left)?;
        self.conditions(&join.right)?;
        self.expressions(join.condition.as_deref())
    }

    fn insert(&self, insert: &InsertStatement) -> Outcome {
        if insert.values.iter().flatten().any(has_subquery) {
            let message = "the engine takes a subquery in VALUES for NULL; write INSERT INTO ... SELECT";
            return Err(Failure::new("not_supported", message));
        }
        if let Some(select) = &insert.select {
            self.select(select)?;
        }
        let mut scope = self.inner();
        scope.add_table(&insert.table_name, None)?;
        insert.update_columns.iter().try_for_each(|column| scope.column(&column.value_lower))?;
        scope.expressions(&insert.update_expressions)?;
        scope.expressions(insert.update_where.as_deref())?;
        scope.expressions(&insert.returning)
    }

    fn expressions<'b>(&self, expressions: impl IntoIterator<Item = &'b Expression>) -> Outcome {
        expressions.into_iter().try_for_each(|expression| self.expression(expression))
    }

    fn expression(&self, expression: &Expression) -> Outcome {
        match expression {
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
        let parts = Parts::of(expression);
        if let Some(subquery) = parts.subquery {
            self.select(subquery)?;
        }
        self.expressions(parts.operands)
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

pub fn has(columns: &[String], name: &str) -> bool {
    columns.iter().any(|column| column.eq_ignore_ascii_case(name))
}

fn unknown_column(name: &str, source: &Source) -> Failure {
    let columns = source.columns.as_ref().map_or_else(String::new, |columns| columns.join(", "));
    let message = format!("no column is named \"{name}\"; \"{}\" has {columns}", source.name);
    Failure::new("column_not_found", message).with("column", name)
}

pub fn has_subquery(expression: &Expression) -> bool {
    let parts = Parts::of(expression);
    parts.subquery.is_some() || parts.operands.into_iter().any(has_subquery)
}

/// What an expression is made of.
#[derive(Default)]
struct Parts<'a> {
    operands: Vec<&'a Expression>,
    subquery: Option<&'a SelectStatement>,
}

impl<'a> Parts<'a> {
    fn of(expression: &'a Expression) -> Self {
        let mut parts = Self::default();
        let operands = &mut parts.operands;
        match expression {
            Expression::Prefix(prefix) => operands.push(&prefix.right),
            Expression::Infix(infix) => operands.extend([&*infix.left, &*infix.right]),
            Expression::List(list) => operands.extend(&list.elements),
            Expression::ExpressionList(list) => operands.extend(&list.expressions),
            Expression::Distinct(distinct) => operands.push(&distinct.expr),
            Expression::In(within) => operands.extend([&*within.left, &*within.right]),
            Expression::Between(between) => {
                operands.extend([&*between.expr, &*between.lower, &*between.upper]);
            }
            Expression::Like(like) => {
                operands.extend([&*like.left, &*like.pattern]);
                operands.extend(like.escape.as_deref());
            }
            Expression::Case(case) => {
                operands.extend(case.value.as_deref());
                operands
                    .extend(case.when_clauses.iter().flat_map(|when| [&when.condition, &when.then_result]));
                operands.extend(case.else_value.as_deref());
            }
            Expression::Cast(cast) => operands.push(&cast.expr),
            Expression::Aliased(aliased) => operands.push(&aliased.expression),
            Expression::FunctionCall(call) => {
                operands.extend(&call.arguments);
                operands.extend(call.order_by.iter().map(|order| &order.expression));
                operands.extend(call.filter.as_deref());
            }
            Expression::Window(window) => {
                operands.extend(&window.function.arguments);
                operands.extend(&window.partition_by);
                operands.extend(window.order_by.iter().map(|order| &order.expression));
            }
            Expression::Exists(exists) => parts.subquery = Some(&exists.subquery),
            Expression::ScalarSubquery(scalar) => parts.subquery = Some(&scalar.subquery),
            Expression::AllAny(all_any) => {
                operands.push(&all_any.left);
                parts.subquery = Some(&all_any.subquery);
            }
            _ => {}
        }
        parts
    }
}
