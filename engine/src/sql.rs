//! What a statement is, known before it runs: how many statements a text holds, what kind each is, which parameters it
//! takes, and whether it nests too deeply for the stack.
use std::borrow::Cow;
use std::cell::{OnceCell, RefCell};
use std::num::NonZeroUsize;
use std::rc::Rc;
use std::sync::Arc;

use lru::LruCache;
use stoolap::core::NULL_VALUE;
use stoolap::executor::Executor;
use stoolap::parser::ast::{
    AlterTableOperation, BooleanLiteral, CastExpression, Expression, FloatLiteral, InsertStatement,
    IntegerLiteral, NullLiteral, Parameter, SelectStatement, Statement, StringLiteral,
};
use stoolap::parser::{Lexer, Parser, Token, TokenType};
use stoolap::{CachedPlanRef, ExecutionContext, SmartString, Value};

use crate::errors::Failure;
use crate::files;
use crate::guard;
use crate::kinds::Moment;
use crate::names;
use crate::references::Effect;

/// Beyond this the compiler of expressions wraps its indexes around (u16 operands, one bit of which is taken).
const MOST_PARAMETERS: usize = 32_767;
/// Parentheses within parentheses, and operators in a row: each costs the parser a frame of the stack.
const DEEPEST: usize = 20_000;
const PARENTHESIS_COST: usize = 3;
/// What file systems take.
const LONGEST_NAME: usize = 255;
const PLANS: NonZeroUsize = NonZeroUsize::new(1000).unwrap();

/// How a statement is run, see `session`.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    Read,
    Write,
    /// Changes tables or the database itself, commits by itself, and cannot be undone by a transaction.
    Definition,
    /// A definition that does not reach what open transactions have written.
    Alteration,
    Begin(Option<String>),
    Commit,
    Rollback,
    Savepoint(String),
    RollbackTo(String),
    Release(String),
    SetIsolation,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Placeholders {
    Positional(usize),
    Named(Vec<String>),
}

pub struct Plan {
    sql: Box<str>,
    pub kind: Kind,
    pub placeholders: Placeholders,
    places: Places,
    /// Whether the statement calculates with vectors, so that a list given to it is one.
    pub uses_vectors: bool,
    pub cached: CachedPlanRef,
    wide: OnceCell<Option<Wide>>,
    pub checked: RefCell<Option<Checked>>,
}

/// What is known of a statement from the tables, at one state of those.
pub struct Checked {
    pub epoch: u64,
    pub effects: Rc<[Effect]>,
    /// What to run in its place.
    pub resolved: Option<CachedPlanRef>,
    pub moments: Vec<Moment>,
}

/// An INSERT of one row as one of many rows: the work for a statement is then done once for all of them.
pub struct Wide {
    pub cached: CachedPlanRef,
    pub rows: u32,
    /// How many parameters each row takes.
    pub taken: usize,
}

/// More rows than this bring nothing.
const WIDE_ROWS: usize = 32;

/// Plans by the exact text of the statement.
pub struct Plans(LruCache<Box<str>, Rc<Plan>>);

impl Default for Plans {
    fn default() -> Self {
        Self(LruCache::new(PLANS))
    }
}

impl Plans {
    pub fn get(&mut self, sql: &str) -> Result<Rc<Plan>, Failure> {
        if let Some(plan) = self.0.get(sql) {
            return Ok(plan.clone());
        }
        let plan = Rc::new(guard::interruptible(|| plan(sql))??);
        self.0.put(sql.into(), plan.clone());
        Ok(plan)
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }
}

fn syntax(message: impl Into<String>) -> Failure {
    Failure::new("syntax_error", message)
}

impl Plan {
    /// The same, with nothing in it of what it ran on.
    pub fn again(&self) -> Result<Plan, Failure> {
        plan(&self.sql)
    }

    /// Another statement with the same parameters.
    pub fn with(&self, statement: Statement) -> CachedPlanRef {
        cached(statement, self.cached.has_params, self.cached.param_count)
    }

    /// The plan for many rows at once, if the statement allows one.
    pub fn wide(&self) -> Option<&Wide> {
        self.wide.get_or_init(|| widen(self)).as_ref()
    }

    /// Whether all but its last step changes nothing, and the engine says when that begins.
    pub fn is_built_aside(&self) -> bool {
        match &*self.cached.statement {
            Statement::CreateIndex(_) | Statement::Analyze(_) => true,
            Statement::CreateTable(table) => table.as_select.is_some(),
            _ => false,
        }
    }

    pub fn renames_a_table(&self) -> bool {
        matches!(&*self.cached.statement, Statement::AlterTable(alter)
            if matches!(alter.operation, AlterTableOperation::RenameTable))
    }

    pub fn is_copy(&self) -> bool {
        matches!(&*self.cached.statement, Statement::Copy(_))
    }

    /// What to execute with these parameters.
    pub fn bound(&self, executor: &Executor, context: &ExecutionContext) -> Result<CachedPlanRef, Failure> {
        if let Statement::Copy(copy) = &*self.cached.statement {
            files::check_import(&copy.file_path)?;
        }
        let mut resolved = None;
        if let Some(checked) = &*self.checked.borrow() {
            checked.moments.iter().try_for_each(|moment| moment.check(context))?;
            resolved = checked.resolved.clone();
        }
        if !self.places.need_literals(context) {
            return Ok(resolved.unwrap_or_else(|| self.cached.clone()));
        }
        let values = context.clone();
        let mut parser = Parser::new(&self.sql);
        parser.binder = Some(Box::new(move |name, index, token| {
            let value = match index {
                0 => values.get_named_param(name.trim_start_matches(':')),
                _ => values.get_param(index),
            };
            literal(value.unwrap_or(&NULL_VALUE), token)
        }));
        let mut program = parser.parse_program().map_err(|errors| syntax(errors.to_string()))?;
        let mut statement = program.statements.pop().ok_or_else(|| syntax("the statement is gone"))?;
        if resolved.is_some() {
            names::resolve(&mut statement, executor)?;
        }
        Ok(cached(statement, false, 0))
    }
}

fn widen(plan: &Plan) -> Option<Wide> {
    let (Statement::Insert(insert), Placeholders::Positional(taken @ 1..)) =
        (&*plan.cached.statement, &plan.placeholders)
    else {
        return None;
    };
    let [values] = &*insert.values else { return None };
    let plain = insert.select.is_none()
        && !insert.on_duplicate
        && !insert.do_nothing
        && insert.returning.is_empty()
        && !plan.places.beyond
        && values.iter().all(is_plain);
    let rows = WIDE_ROWS.min(MOST_PARAMETERS / taken);
    if !plain || rows < 2 {
        return None;
    }
    let mut wide = insert.clone();
    wide.values =
        (0..rows).map(|row| values.iter().map(|value| shifted(value, row * taken)).collect()).collect();
    let cached = cached(Statement::Insert(wide), true, rows * taken);
    Some(Wide { cached, rows: rows as u32, taken: *taken })
}

fn is_plain(value: &Expression) -> bool {
    match value {
        Expression::Parameter(parameter) => parameter.index > 0,
        Expression::IntegerLiteral(_)
        | Expression::FloatLiteral(_)
        | Expression::StringLiteral(_)
        | Expression::BooleanLiteral(_)
        | Expression::NullLiteral(_)
        | Expression::Default(_) => true,
        _ => false,
    }
}

/// The same expression for parameters that begin `by` later.
fn shifted(value: &Expression, by: usize) -> Expression {
    match value {
        Expression::Parameter(parameter) => {
            let index = parameter.index + by;
            let name = SmartString::from_string(format!("${index}"));
            Expression::Parameter(Parameter { token: parameter.token.clone(), name, index })
        }
        other => other.clone(),
    }
}

fn cached(statement: Statement, has_params: bool, param_count: usize) -> CachedPlanRef {
    CachedPlanRef {
        statement: Arc::new(statement),
        has_params,
        param_count,
        compiled: Arc::default(),
        classification: Arc::default(),
    }
}

/// A value as an expression that stands for it.
fn literal(value: &Value, token: &Token) -> Expression {
    let text = |text: SmartString| {
        let token = Token::new(TokenType::String, text.clone(), token.position);
        Expression::StringLiteral(StringLiteral { token, value: text, type_hint: None })
    };
    let cast = |value: String, type_name: &'static str| {
        let expr = Box::new(text(SmartString::from_string(value)));
        Expression::Cast(CastExpression { token: token.clone(), expr, type_name: type_name.into() })
    };
    match value {
        Value::Null(_) => Expression::NullLiteral(NullLiteral { token: token.clone() }),
        Value::Integer(number) => {
            let token = Token::new(TokenType::Integer, number.to_string().as_str(), token.position);
            Expression::IntegerLiteral(IntegerLiteral { token, value: *number })
        }
        Value::Float(number) => {
            let token = Token::new(TokenType::Float, format!("{number:?}").as_str(), token.position);
            Expression::FloatLiteral(FloatLiteral { token, value: *number })
        }
        Value::Text(value) => text(value.clone()),
        Value::Boolean(truth) => {
            Expression::BooleanLiteral(BooleanLiteral { token: token.clone(), value: *truth })
        }
        Value::Timestamp(moment) => cast(moment.to_rfc3339(), "TIMESTAMP"),
        Value::Extension(_) => match value.as_json() {
            Some(json) => cast(json.to_owned(), "JSON"),
            None => cast(value.to_string(), "VECTOR"),
        },
    }
}

/// Parses a text that holds one statement.
pub fn plan(sql: &str) -> Result<Plan, Failure> {
    refuse_nul(sql)?;
    let Scan { placeholders, uses_vectors, places } = scan(sql)?;
    let program = Parser::new(sql).parse_program().map_err(|errors| syntax(errors.to_string()))?;
    let mut statements = program.statements;
    let mut statement = match statements.len() {
        1 => statements.remove(0),
        0 => return Err(Failure::new("no_statement", "the SQL contains no statement")),
        more => {
            let message = format!("the SQL contains {more} statements; run them with execute_script()");
            return Err(Failure::new("several_statements", message));
        }
    };
    let kind = kind(&statement)?;
    match &mut statement {
        Statement::Select(select) => tell_apart(select),
        Statement::Insert(insert) => refuse_subqueries(insert)?,
        Statement::Explain(explain) => {
            if let Statement::Insert(insert) = &mut *explain.statement {
                refuse_subqueries(insert)?;
            }
        }
        Statement::Copy(copy) => copy.file_path = files::import_path(&copy.file_path)?,
        Statement::CreateTable(create) => {
            refuse_path(&create.table_name.value)?;
            create.columns.iter().try_for_each(|column| refuse_empty(&column.name.value))?;
        }
        Statement::AlterTable(alter) => {
            alter.new_table_name.iter().try_for_each(|name| refuse_path(&name.value))?;
            let added = alter.column_def.iter().map(|column| &column.name);
            added.chain(&alter.new_column_name).try_for_each(|name| refuse_empty(&name.value))?;
        }
        _ => {}
    }
    let (has_params, param_count) = match &placeholders {
        Placeholders::Positional(count) => (*count > 0, *count),
        Placeholders::Named(_) => (true, 0),
    };
    let cached = cached(statement, has_params, param_count);
    let (wide, checked) = Default::default();
    Ok(Plan { sql: sql.into(), kind, placeholders, places, uses_vectors, cached, wide, checked })
}

/// Between a name and a number that tells it from others.
const NUMBER: char = '\u{1}';

/// The engine finds the values of some columns by name, so those of a result get different ones.
fn tell_apart(select: &mut SelectStatement) {
    let mut seen: Vec<SmartString> = Vec::new();
    for (index, column) in select.columns.iter_mut().enumerate() {
        let name = match column {
            Expression::Aliased(aliased) => &mut aliased.alias,
            Expression::Identifier(name) => {
                seen.push(name.value_lower.clone());
                continue;
            }
            _ => continue,
        };
        if seen.contains(&name.value_lower) {
            name.value = SmartString::from_string(format!("{}{NUMBER}{index}", name.value));
            name.value_lower = name.value.to_lowercase();
        }
        seen.push(name.value_lower.clone());
    }
}

/// What patch 064 puts around the argument of an aggregate, in letters that no other name of a function has.
const APART: &str = "cOALESCE(";

/// The name of a column of a result, as the statement has it.
pub fn column_name(name: &str) -> Cow<'_, str> {
    let mut name = Cow::from(name.split(NUMBER).next().unwrap_or(name));
    while let Some(start) = name.find(APART) {
        let Some(end) = closing(&name, start + APART.len()) else { break };
        let argument = &name[start + APART.len()..end];
        let argument = if argument == "'*'" { "*" } else { argument };
        name = format!("{}{argument}{}", &name[..start], &name[end + 1..]).into();
    }
    name
}

/// The place of the parenthesis that closes the one before `start`.
fn closing(text: &str, start: usize) -> Option<usize> {
    let (mut depth, mut quoted) = (0, false);
    let end = text[start..].find(|character| {
        match character {
            '\'' => quoted = !quoted,
            '(' if !quoted => depth += 1,
            ')' if !quoted => depth -= 1,
            _ => {}
        }
        depth < 0
    });
    end.map(|end| start + end)
}

/// The engine would take what stands before it for the whole text.
fn refuse_nul(sql: &str) -> Result<(), Failure> {
    match sql.contains('\0') {
        true => Err(syntax("the SQL contains a NUL character; pass such text as a parameter")),
        false => Ok(()),
    }
}

fn refuse_subqueries(insert: &mut InsertStatement) -> Result<(), Failure> {
    match insert.values.iter_mut().flatten().any(names::has_subquery) {
        true => {
            let message = "the engine takes a subquery in VALUES for NULL; write INSERT INTO ... SELECT";
            Err(Failure::new("not_supported", message))
        }
        false => Ok(()),
    }
}

/// The engine renames to such a name, and finds an internal error when it makes one.
fn refuse_empty(name: &str) -> Result<(), Failure> {
    match name.is_empty() {
        true => Err(Failure::new("invalid_argument", "the name of a table or column is not empty")),
        false => Ok(()),
    }
}

/// The name of a table is that of a directory as well, which has to lie in the database's.
fn refuse_path(name: &str) -> Result<(), Failure> {
    refuse_empty(name)?;
    if name.contains(['/', '\\']) || matches!(name, "." | "..") || name.len() > LONGEST_NAME {
        let message =
            format!("a table's name holds no / or \\ and has at most {LONGEST_NAME} bytes: {name:?}");
        return Err(Failure::new("invalid_argument", message));
    }
    Ok(())
}

fn kind(statement: &Statement) -> Result<Kind, Failure> {
    Ok(match statement {
        Statement::Select(_)
        | Statement::ShowTables(_)
        | Statement::ShowViews(_)
        | Statement::ShowCreateTable(_)
        | Statement::ShowCreateView(_)
        | Statement::ShowIndexes(_)
        | Statement::Describe(_) => Kind::Read,
        Statement::Explain(explain) if matches!(*explain.statement, Statement::Copy(_)) => {
            return Err(Failure::new("not_supported", "EXPLAIN of COPY is refused: it has no plan"));
        }
        Statement::Explain(explain) if explain.analyze => kind(&explain.statement)?,
        Statement::Explain(_) => Kind::Read,
        Statement::Insert(_) | Statement::Update(_) | Statement::Delete(_) => Kind::Write,
        Statement::AlterTable(alter) if matches!(alter.operation, AlterTableOperation::ModifyColumn) => {
            let message = "MODIFY COLUMN is refused: the engine would not convert the rows that are there; add a column";
            return Err(Failure::new("not_supported", message));
        }
        Statement::Pragma(pragma) if pragma.name.value.eq_ignore_ascii_case("restore") => {
            let message = "PRAGMA RESTORE is refused: use restore(), which does all of it or nothing";
            return Err(Failure::new("not_supported", message));
        }
        Statement::Truncate(_)
        | Statement::DropTable(_)
        | Statement::AlterTable(_)
        | Statement::CreateIndex(_)
        | Statement::DropIndex(_) => Kind::Alteration,
        Statement::CreateTable(_)
        | Statement::CreateView(_)
        | Statement::DropView(_)
        | Statement::Pragma(_)
        | Statement::Analyze(_)
        | Statement::Vacuum(_) => Kind::Definition,
        Statement::Begin(begin) => Kind::Begin(begin.isolation_level.as_ref().map(|level| level.to_string())),
        Statement::Commit(_) => Kind::Commit,
        Statement::Rollback(rollback) => match &rollback.savepoint_name {
            Some(name) => Kind::RollbackTo(name.value.to_string()),
            None => Kind::Rollback,
        },
        Statement::Savepoint(savepoint) => Kind::Savepoint(savepoint.savepoint_name.value.to_string()),
        Statement::ReleaseSavepoint(release) => Kind::Release(release.savepoint_name.value.to_string()),
        Statement::Set(_) => Kind::SetIsolation,
        Statement::Copy(_) => Kind::Write,
        Statement::Expression(_) => {
            return Err(syntax("the SQL is not a statement: it begins with no known keyword"));
        }
    })
}

struct Scan {
    placeholders: Placeholders,
    uses_vectors: bool,
    places: Places,
}

/// Follows the words of a statement to where its parameters stand. The engine evaluates them in the WHERE of a plain
/// SELECT, in LIMIT and OFFSET, and in INSERT, UPDATE and DELETE without a subquery; elsewhere they may be NULL, and in a
/// WHERE beside a sign as well.
#[derive(Default)]
struct Places {
    first: Option<Box<str>>,
    selects: usize,
    plain: bool,
    filters: bool,
    closed: bool,
    after_parameter: bool,
    after_sign: bool,
    /// A parameter stands where the engine would lose it.
    beyond: bool,
    /// NULL as a bound, and numbers of rows beyond 32 bits, are only seen by the parser.
    between: bool,
    limit: bool,
}

impl Places {
    fn see(&mut self, token: &Token) {
        let word = token.literal.as_str();
        let parameter = token.token_type == TokenType::Parameter;
        let sign = matches!(word, "+" | "-" | "*" | "/" | "%");
        self.beyond |= self.filters && (parameter && self.after_sign || sign && self.after_parameter);
        if !matches!(word, "(" | ")") {
            (self.after_parameter, self.after_sign) = (parameter, sign);
        }
        match token.token_type {
            TokenType::Parameter => self.beyond |= !self.plain,
            TokenType::Keyword => {
                let first = self.first.get_or_insert_with(|| word.into());
                let selects = &**first == "SELECT";
                match word {
                    "SELECT" => {
                        self.selects += 1;
                        self.beyond |= self.selects > usize::from(selects);
                        self.plain = false;
                    }
                    "INSERT" | "UPDATE" | "DELETE" => self.plain = true,
                    "WHERE" => (self.plain, self.filters) = (true, true),
                    "LIMIT" | "OFFSET" | "FETCH" => {
                        (self.plain, self.filters, self.limit) = (true, false, true);
                    }
                    "ORDER" | "GROUP" | "HAVING" | "RETURNING" | "WINDOW" => {
                        (self.plain, self.filters) = (false, false);
                    }
                    "BETWEEN" => self.between = true,
                    "WITH" | "UNION" | "INTERSECT" | "EXCEPT" | "OVER" | "EXISTS" => self.beyond = true,
                    "IN" => self.beyond |= self.closed,
                    _ => {}
                }
            }
            _ => {}
        }
        self.closed = word == ")" || self.closed && word == "NOT";
    }

    /// Whether the statement is to be parsed with literals in place of these parameters.
    fn need_literals(&self, context: &ExecutionContext) -> bool {
        let mut values = context.params().iter().chain(context.named_params().values());
        self.beyond
            || (self.between || self.limit)
                && values.any(|value| match value {
                    Value::Null(_) => self.between,
                    Value::Integer(number) => self.limit && *number > i32::MAX.into(),
                    _ => false,
                })
    }
}

/// Counts the parameters, and measures how deeply the text nests.
fn scan(sql: &str) -> Result<Scan, Failure> {
    let mut uses_vectors = false;
    let mut places = Places::default();
    let mut names: Vec<String> = Vec::new();
    let mut highest = 0;
    let mut marks = 0;
    let mut depths = vec![0];
    let mut depth = 0;
    let mut lexer = Lexer::new(sql);
    loop {
        let token = lexer.next_token();
        let literal = token.literal.as_str();
        places.see(&token);
        match token.token_type {
            TokenType::Eof => break,
            TokenType::Parameter if literal == "?" => marks += 1,
            TokenType::Parameter => match literal.strip_prefix('$') {
                Some(digits) => match digits.parse::<usize>() {
                    Ok(index) if (1..=MOST_PARAMETERS).contains(&index) => highest = highest.max(index),
                    _ => {
                        return Err(syntax(format!(
                            "the parameter {literal} is not one of $1 to ${MOST_PARAMETERS}"
                        )));
                    }
                },
                None => {
                    let name = literal.trim_start_matches(':');
                    if !names.iter().any(|known| known == name) {
                        names.push(name.to_owned());
                    }
                }
            },
            TokenType::Punctuator if literal == "(" => {
                depth += PARENTHESIS_COST;
                depths.push(PARENTHESIS_COST);
            }
            TokenType::Punctuator if literal == ")" => {
                if depths.len() > 1 {
                    depth -= depths.pop().unwrap_or(0);
                }
            }
            TokenType::Punctuator if literal == "," || literal == ";" => {
                let floor = if depths.len() > 1 { PARENTHESIS_COST } else { 0 };
                if let Some(level) = depths.last_mut() {
                    depth -= *level - floor;
                    *level = floor;
                }
            }
            TokenType::Operator | TokenType::Keyword => {
                uses_vectors |= literal == "<=>";
                depth += 1;
                if let Some(level) = depths.last_mut() {
                    *level += 1;
                }
            }
            TokenType::Identifier => uses_vectors |= is_vector_function(literal),
            _ => {}
        }
        if depth > DEEPEST {
            return Err(Failure::new(
                "too_deep",
                format!(
                    "the SQL nests too deeply at {}: more than {DEEPEST} operators in one expression",
                    token.position
                ),
            ));
        }
    }
    let names_count = names.len();
    let placeholders = match (marks, highest, names_count) {
        (count, 0, 0) if count <= MOST_PARAMETERS => Placeholders::Positional(count),
        (_, 0, 0) => return Err(syntax(format!("a statement takes at most {MOST_PARAMETERS} parameters"))),
        (0, count, 0) => Placeholders::Positional(count),
        (0, 0, _) => Placeholders::Named(names),
        _ => return Err(syntax("use one kind of parameters in a statement: ?, $1 or :name")),
    };
    places.beyond &= marks + highest + names_count > 0;
    Ok(Scan { placeholders, uses_vectors, places })
}

fn is_vector_function(name: &str) -> bool {
    name.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("VEC_"))
}

/// The statements of a script, each with its text.
pub fn split(sql: &str) -> Result<Vec<&str>, Failure> {
    refuse_nul(sql)?;
    let mut parts = Vec::new();
    let mut lexer = Lexer::new(sql);
    let mut start = 0;
    let mut blank = true;
    loop {
        let token = lexer.next_token();
        let end = token.position.offset;
        match token.token_type {
            TokenType::Eof => break,
            TokenType::Comment => {}
            TokenType::Punctuator if token.literal == ";" => {
                if !blank {
                    parts.push(&sql[start..end]);
                }
                start = end + 1;
                blank = true;
            }
            _ => blank = false,
        }
    }
    if !blank {
        parts.push(&sql[start..]);
    }
    Ok(parts)
}
