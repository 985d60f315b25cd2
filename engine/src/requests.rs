//! What each request does. The numbers, arguments and answers are those of docs/protocol.md.
use std::borrow::Cow;
use std::rc::Rc;
use std::time::Duration;

use rmp::Marker;
use rustc_hash::FxHashMap;
use stoolap::core::Result as EngineResult;
use stoolap::{ExecutionContext, Executor, ParamVec};

use crate::connection::Rows;
use crate::database::Database;
use crate::errors::Failure;
use crate::files;
use crate::guard::{self, Fault};
use crate::session::{Cursor, Debtor, Object, Session, Statement};
use crate::sql::{self, Kind, Placeholders, Plan, Wide};
use crate::wire::{self, Handle, Parameters, Reader, Style, Writer};

type Outcome<T> = Result<T, Failure>;

/// How long the engine's own loop, which does not run here, would keep what is deleted or done with.
const DELETED_ROWS_KEPT: Duration = Duration::from_secs(300);
const TRANSACTIONS_KEPT: Duration = Duration::from_secs(3600);

#[derive(Default)]
pub struct Engine {
    session: Session,
}

impl Engine {
    /// Runs one request and writes its reply, whatever it holds; true if it failed.
    pub fn reply(&mut self, request: &[u8], output: &mut Vec<u8>) -> bool {
        let outcome = match guard::stop_asked() {
            true => Err(Fault::Stopped.into()),
            false => self.contained(&mut Reader::new(request), &mut Writer::new(output)),
        };
        if let Err(failure) = &outcome {
            if let Some(database) = self.database(request) {
                database.judge(failure);
            }
            output.clear();
            write_failure(output, failure);
        }
        outcome.is_err()
    }

    /// The database that the last request has committed to, if it may not be durable yet.
    pub fn debtor(&self) -> Option<Debtor> {
        self.session.debtor()
    }

    /// Makes all commits durable, and returns the databases where that fails.
    pub fn settle(&self) -> Vec<(Debtor, Failure)> {
        self.session.settle()
    }

    /// The database that a request is about, if it names a connection.
    fn database(&self, request: &[u8]) -> Option<&Rc<Database>> {
        let mut reader = Reader::new(request);
        reader.array().ok()?;
        let number = reader.number().ok()?;
        let handle = reader.handle().ok()?;
        (number != 6).then(|| self.session.database(handle)).flatten()
    }

    /// A panic where none was expected, too, is the failure of this request alone.
    fn contained(&mut self, reader: &mut Reader, writer: &mut Writer) -> Outcome<()> {
        guard::uninterruptible(|| self.answer(reader, writer)).unwrap_or_else(|fault| {
            for database in self.session.databases() {
                let _ = guard::uninterruptible(|| database.renew());
            }
            Err(fault.into())
        })
    }

    fn answer(&mut self, reader: &mut Reader, writer: &mut Writer) -> Outcome<()> {
        reader.array()?;
        match reader.number()? {
            0 => versions(writer),
            1 => {
                let handle = self.session.open(reader.text()?)?;
                writer.array(2);
                writer.number(handle);
                writer.text(&guard::printed());
            }
            2 => {
                let handle = self.session.clone_connection(reader.handle()?)?;
                writer.number(handle);
            }
            3 => {
                self.session.close(reader.handle()?)?;
                writer.nil();
            }
            4 => self.execute(reader, writer)?,
            5 => self.query(reader, writer)?,
            6 => self.fetch(reader, writer)?,
            7 => self.prepare(reader, writer)?,
            8 => self.execute_many(reader, writer)?,
            9 => self.script(reader, writer)?,
            10 => {
                let parent = reader.handle()?;
                let isolation = if reader.is_nil()? { None } else { Some(reader.text()?) };
                let handle = self.session.begin(parent, isolation)?;
                writer.number(handle);
            }
            11 => {
                self.session.end(reader.handle()?, true)?;
                writer.nil();
            }
            12 => {
                self.session.end(reader.handle()?, false)?;
                writer.nil();
            }
            13 => {
                self.savepoint(reader)?;
                writer.nil();
            }
            14 => self.maintain(reader, writer)?,
            15 => self.statistics(writer),
            16 => {
                guard::set_memory_limit(reader.handle()?.try_into().unwrap_or(usize::MAX));
                writer.nil();
            }
            17 => {
                self.session.close_all()?;
                writer.nil();
            }
            18 => {
                self.inherit(reader)?;
                writer.nil();
            }
            unknown => return Err(Failure::new("protocol", format!("the request {unknown} is unknown"))),
        }
        Ok(())
    }

    /// Takes the place of an instance that is gone.
    fn inherit(&mut self, reader: &mut Reader) -> Outcome<()> {
        self.session.inherit(reader.handle()?);
        for _ in 0..reader.array()? {
            reader.array()?;
            let (handle, dsn, transacting) = (reader.handle()?, reader.text()?, reader.number()? != 0);
            self.session.inherit_connection(handle, dsn, transacting);
        }
        for _ in 0..reader.array()? {
            reader.array()?;
            let (handle, connection, sql) = (reader.handle()?, reader.handle()?, reader.text()?);
            self.session.inherit_statement(handle, connection, sql);
        }
        Ok(())
    }

    /// The connection and the plan of a statement, which is given as SQL or as the handle of a prepared one.
    fn target(&mut self, reader: &mut Reader) -> Outcome<(Handle, Rc<Plan>)> {
        let connection = reader.handle()?;
        let plan = match reader.peek()? {
            Marker::FixStr(_) | Marker::Str8 | Marker::Str16 | Marker::Str32 => {
                self.session.connection(connection)?.database.plan(reader.text()?)?
            }
            _ => {
                // First: it may be prepared anew by that.
                self.session.connection(connection)?;
                self.session.statement(reader.handle()?)?.plan.clone()
            }
        };
        Ok((connection, plan))
    }

    fn execute(&mut self, reader: &mut Reader, writer: &mut Writer) -> Outcome<()> {
        let (handle, plan) = self.target(reader)?;
        let context = context(&plan, reader)?;
        let connection = self.session.connection(handle)?;
        let affected = connection.execute(&plan, &context, |rows| match plan.kind {
            Kind::Write => Ok(changed(rows)),
            _ => Ok(rows.rows_affected()),
        })?;
        writer.integer(affected.unwrap_or(0));
        Ok(())
    }

    fn query(&mut self, reader: &mut Reader, writer: &mut Writer) -> Outcome<()> {
        let (handle, plan) = self.target(reader)?;
        let context = context(&plan, reader)?;
        let limits = Limits::read(reader)?;
        let flags = reader.number()?;
        let only_first = flags & 4 != 0;
        // What a write returns comes at once: it is there, and nothing that is left of it can fail any more.
        let limits = if plan.kind == Kind::Write && !only_first { Limits::NONE } else { limits };
        let style = Style { nanoseconds: flags & 1 != 0, maps: flags & 2 != 0 };
        writer.array(4);
        let head = writer.open_bytes();
        let start = writer.position();
        let connection = self.session.connection(handle)?;
        let written = connection.execute(&plan, &context, |mut rows| {
            writer.texts(names(&rows));
            writer.close_bytes(head);
            let place = writer.open_number();
            let changed = writer.open_number();
            let (ended, count) = limits.write(&mut rows, style, writer)?;
            let affected = match rows.rows_affected() {
                0 if plan.kind == Kind::Write && ended => i64::from(count),
                affected => affected,
            };
            writer.close_number(changed, affected as u64);
            Ok((place, (!ended && !only_first).then_some(rows)))
        })?;
        match written {
            Some((place, rest)) => {
                let cursor = rest.map(|rows| Object::Cursor(Cursor { connection: handle, rows, style }));
                writer.close_number(place, cursor.map_or(0, |cursor| self.session.add(cursor)));
            }
            None => {
                writer.rewind(start);
                writer.array(0);
                writer.close_bytes(head);
                writer.open_number();
                writer.open_number();
                writer.array(0);
            }
        }
        Ok(())
    }

    fn fetch(&mut self, reader: &mut Reader, writer: &mut Writer) -> Outcome<()> {
        let handle = reader.handle()?;
        let limits = Limits::read(reader)?;
        let mut cursor = self.session.take_cursor(handle)?;
        self.session.connection(cursor.connection)?;
        writer.array(2);
        let place = writer.open_number();
        let (ended, _) = match guard::interruptible(|| limits.write(&mut cursor.rows, cursor.style, writer)) {
            Ok(written) => written?,
            Err(fault) => {
                let panicked = matches!(fault, Fault::Panic(_));
                let failure = Failure::from(fault);
                if let Some(database) = self.session.database(cursor.connection).filter(|_| panicked) {
                    database.renew();
                    database.judge(&failure);
                }
                return Err(failure);
            }
        };
        if !ended {
            self.session.put_cursor(handle, cursor);
            writer.close_number(place, handle);
        }
        Ok(())
    }

    fn prepare(&mut self, reader: &mut Reader, writer: &mut Writer) -> Outcome<()> {
        let connection = reader.handle()?;
        let database = self.session.connection(connection)?.database.clone();
        let plan = database.plan(reader.text()?)?;
        database.effects(&plan)?;
        let placeholders = plan.placeholders.clone();
        let statement = Statement { connection, plan };
        writer.array(2);
        writer.number(self.session.add(Object::Statement(statement)));
        match placeholders {
            Placeholders::Positional(count) => writer.number(count as u64),
            Placeholders::Named(names) => writer.texts(names.iter().map(String::as_str)),
        }
        Ok(())
    }

    fn execute_many(&mut self, reader: &mut Reader, writer: &mut Writer) -> Outcome<()> {
        let (handle, plan) = self.target(reader)?;
        if plan.kind != Kind::Write {
            let message = "execute_many() takes an INSERT, UPDATE or DELETE";
            return Err(Failure::new("invalid_argument", message));
        }
        let count = reader.array()?;
        let affected = self.session.connection(handle)?.run_many(&plan, |executor| {
            let mut affected = 0;
            let mut row = 0;
            while row < count {
                if let Some(wide) = plan.wide().filter(|wide| count - row >= wide.rows) {
                    let before = reader.clone();
                    if let Some(changed) = execute_wide(executor, &plan, wide, reader) {
                        affected += changed;
                        row += wide.rows;
                        continue;
                    }
                    *reader = before;
                }
                // One by one from here to where the wide plan failed, which says which row it is.
                let end = plan.wide().map_or(count, |wide| count.min(row + wide.rows));
                for row in row..end {
                    let context = context(&plan, reader).map_err(|failure| failure.with("row", row))?;
                    let rows = executor
                        .execute_with_cached_plan(&plan.bound(executor, &context)?, &context)
                        .map_err(|error| Failure::from(error).with("row", row))?;
                    affected += changed(rows);
                }
                row = end;
            }
            Ok(affected)
        })?;
        writer.integer(affected);
        Ok(())
    }

    fn script(&mut self, reader: &mut Reader, writer: &mut Writer) -> Outcome<()> {
        let connection = self.session.connection(reader.handle()?)?;
        let text = reader.text()?;
        let parts = sql::split(text)?;
        for (index, part) in parts.iter().enumerate() {
            let mut run = || -> Outcome<()> {
                let plan = guard::interruptible(|| sql::plan(part))??;
                let context = context(&plan, &mut Reader::new(&[0xc0]))?;
                connection.execute(&plan, &context, |_| Ok(()))?;
                Ok(())
            };
            run().map_err(|failure| failure.with("statement", index + 1))?;
        }
        writer.number(parts.len() as u64);
        Ok(())
    }

    fn savepoint(&mut self, reader: &mut Reader) -> Outcome<()> {
        let transaction = self.session.connection(reader.handle()?)?.transaction()?;
        let action = reader.number()?;
        let name = reader.text()?;
        match action {
            0 => transaction.create_savepoint(name)?,
            1 => transaction.release_savepoint(name)?,
            2 => transaction.rollback_to_savepoint(name)?,
            _ => return Err(Failure::new("protocol", "a savepoint is created, released or rolled back to")),
        }
        Ok(())
    }

    /// For one database, or for all of them.
    fn maintain(&mut self, reader: &mut Reader, writer: &mut Writer) -> Outcome<()> {
        let databases = match reader.handle()? {
            0 => self.session.sound_databases(),
            handle => vec![self.session.connection(handle)?.database.clone()],
        };
        let task = reader.text()?;
        let argument = if reader.is_nil()? { None } else { Some(reader.text()?) };
        let mut said = String::new();
        for database in databases {
            database.owe();
            let run = || maintain(&database, task, argument);
            let outcome = match task {
                "analyze" => guard::interruptible(run),
                "restore" => guard::uninterruptible(|| self.session.restore(&database, argument)),
                _ => guard::uninterruptible(run),
            };
            let outcome = outcome.map_err(Failure::from).inspect_err(|failure| {
                if task != "analyze" {
                    database.judge_change(failure);
                }
            });
            said = outcome?.map_err(|failure| match failure.code {
                "internal" => Failure { code: "maintenance", ..failure },
                _ => failure,
            })?;
        }
        // The engine says "completed" even where a step failed, and prints what failed.
        if let Some(printed) = guard::printed_failure() {
            return Err(Failure::new("maintenance", printed));
        }
        writer.text(&said);
        Ok(())
    }

    fn statistics(&mut self, writer: &mut Writer) {
        let session = &self.session;
        let databases = session.databases();
        let mut totals = [0; 4];
        for database in databases.iter().filter(|database| !database.is_lost()) {
            if let Some(all) = database.inner().engine().memory_stats().last() {
                let sizes = [all.hot_rows, all.hot_bytes, all.volume_bytes, database.plan_count()];
                totals.iter_mut().zip(sizes).for_each(|(total, size)| *total += size);
            }
        }
        let transactions = |object: &Object| matches!(object, Object::Connection(c) if c.is_transaction());
        let connections = |object: &Object| matches!(object, Object::Connection(c) if !c.is_transaction());
        let numbers = [
            ("live_bytes", guard::live_bytes()),
            ("memory_limit", guard::memory_limit()),
            ("databases", databases.len()),
            ("connections", session.count(connections)),
            ("transactions", session.count(transactions)),
            ("statements", session.count(|object| matches!(object, Object::Statement(_)))),
            ("cursors", session.count(|object| matches!(object, Object::Cursor(_)))),
            ("hot_rows", totals[0]),
            ("hot_bytes", totals[1]),
            ("volume_bytes", totals[2]),
            ("plans", totals[3]),
        ];
        writer.map(numbers.len());
        for (name, number) in numbers {
            writer.text(name);
            writer.number(number as u64);
        }
    }
}

/// Whether a request is one whose commit may share an fsync with those around it: it only executes, or commits.
pub fn commits(request: &[u8]) -> bool {
    let mut reader = Reader::new(request);
    reader.array().is_ok() && matches!(reader.number(), Ok(4 | 8 | 11))
}

fn versions(writer: &mut Writer) {
    writer.map(2);
    writer.text("abi");
    writer.number(crate::ABI_VERSION.into());
    writer.text("engine");
    writer.text(stoolap::common::version::VERSION);
}

pub fn write_failure(output: &mut Vec<u8>, failure: &Failure) {
    let mut writer = Writer::new(output);
    writer.array(3);
    writer.text(failure.code);
    writer.text(&failure.message);
    writer.map(failure.fields.len());
    for (name, value) in &failure.fields {
        writer.text(name);
        writer.text(value);
    }
}

/// How much of a result one reply carries.
struct Limits {
    rows: u32,
    bytes: usize,
}

impl Limits {
    const NONE: Self = Self { rows: u32::MAX, bytes: usize::MAX };

    fn read(reader: &mut Reader) -> Outcome<Self> {
        Ok(Self { rows: reader.number()?, bytes: reader.number()? as usize })
    }

    /// Writes rows until a limit is met; whether the result has come to its end, and how many rows there were. Runs within
    /// `guard::interruptible`.
    fn write(&self, rows: &mut Rows, style: Style, writer: &mut Writer) -> Outcome<(bool, u32)> {
        let array = writer.open_array();
        let start = writer.position();
        let names = if style.maps { wire::keys(names(rows)) } else { Vec::new() };
        let columns = rows.columns().len();
        let mut count = 0;
        let ended = loop {
            if guard::stop_asked() {
                return Err(Fault::Stopped.into());
            }
            if count == self.rows || writer.position() - start >= self.bytes {
                break false;
            }
            if !rows.next() {
                break true;
            }
            match style.maps {
                true => writer.map_row(rows.row(), &names, style),
                false => writer.row(rows.row(), columns, style),
            }
            count += 1;
        };
        if ended && let Some(error) = rows.last_error() {
            return Err(error.into());
        }
        writer.close_array(array, count);
        Ok((ended, count))
    }
}

/// The names of a result's columns.
fn names(rows: &Rows) -> impl ExactSizeIterator<Item = Cow<'_, str>> {
    rows.columns().iter().map(|name| sql::column_name(name))
}

fn wrong_parameters(plan: &Plan, given: &str) -> Failure {
    let taken = match &plan.placeholders {
        Placeholders::Positional(1) => "1 parameter".to_owned(),
        Placeholders::Positional(count) => format!("{count} parameters"),
        Placeholders::Named(names) => format!("the named parameters :{}", names.join(", :")),
    };
    Failure::new("parameter_count", format!("the statement takes {taken}, but {given}"))
}

/// How many rows a statement has changed: those of RETURNING are not counted by the engine.
fn changed(mut rows: Rows) -> i64 {
    let mut returned = 0;
    while rows.rows_affected() == 0 && rows.next() {
        returned += 1;
    }
    rows.rows_affected().max(returned)
}

/// Executes a plan for many rows at once; None if any of it fails, which has changed nothing then.
fn execute_wide(executor: &Executor, plan: &Plan, wide: &Wide, reader: &mut Reader) -> Option<i64> {
    let mut values = ParamVec::with_capacity(wide.rows as usize * wide.taken);
    for _ in 0..wide.rows {
        match reader.parameters().ok()? {
            Parameters::Sequence(given) if given as usize == wide.taken => {}
            _ => return None,
        }
        for _ in 0..wide.taken {
            values.push(reader.value(plan.uses_vectors).ok()?);
        }
    }
    let rows =
        executor.execute_with_cached_plan(&wide.cached, &ExecutionContext::with_params(values)).ok()?;
    Some(rows.rows_affected())
}

/// Reads the parameters of one execution and checks them against the plan: the engine would take missing ones as NULL.
fn context(plan: &Plan, reader: &mut Reader) -> Outcome<ExecutionContext> {
    match (reader.parameters()?, &plan.placeholders) {
        (Parameters::Sequence(given), Placeholders::Positional(taken)) if given as usize == *taken => {
            if given == 0 {
                return Ok(ExecutionContext::new());
            }
            let mut values = ParamVec::with_capacity(*taken);
            for index in 0..given {
                values.push(
                    reader
                        .value(plan.uses_vectors)
                        .map_err(|failure| failure.with("parameter", index + 1))?,
                );
            }
            Ok(ExecutionContext::with_params(values))
        }
        (Parameters::Mapping(given), Placeholders::Named(names)) => {
            let mut values = FxHashMap::default();
            for _ in 0..given {
                let name = reader.text()?;
                if names.iter().any(|taken| taken == name) {
                    let value =
                        reader.value(plan.uses_vectors).map_err(|failure| failure.with("parameter", name))?;
                    values.insert(name.to_owned(), value);
                } else {
                    reader.skip_value()?;
                }
            }
            match names.iter().find(|name| !values.contains_key(*name)) {
                Some(missing) => Err(wrong_parameters(plan, &format!(":{missing} is missing"))),
                None => Ok(ExecutionContext::with_named_params(values)),
            }
        }
        (Parameters::Sequence(1), _) => Err(wrong_parameters(plan, "1 was given")),
        (Parameters::Sequence(given), _) => Err(wrong_parameters(plan, &format!("{given} were given"))),
        (Parameters::Mapping(_), _) => Err(wrong_parameters(plan, "a mapping was given")),
    }
}

fn maintain(database: &Database, task: &str, argument: Option<&str>) -> Outcome<String> {
    let inner = database.inner();
    let engine = inner.engine();
    let said: EngineResult<String> = match task {
        "checkpoint" => command(database, "PRAGMA CHECKPOINT"),
        "snapshot" => {
            let said = command(database, "PRAGMA SNAPSHOT");
            files::sync_all_directories()?;
            said
        }
        "vacuum" => command(database, &on_table(database, "VACUUM", argument)?),
        "analyze" => command(database, &on_table(database, "ANALYZE", argument)?),
        "cleanup" => {
            engine.cleanup_old_transactions(TRANSACTIONS_KEPT);
            engine.cleanup_deleted_rows(DELETED_ROWS_KEPT);
            engine.cleanup_old_previous_versions();
            engine.cleanup_abandoned_cold_deletes();
            Ok(String::new())
        }
        _ => return Err(Failure::new("protocol", format!("the maintenance task {task} is unknown"))),
    };
    Ok(said?)
}

fn command(database: &Database, sql: &str) -> EngineResult<String> {
    let mut rows = database.executor().execute(sql)?;
    let said = if rows.next() { rows.row().get(0).and_then(stoolap::Value::as_string) } else { None };
    match rows.last_error() {
        Some(error) => Err(error),
        None => Ok(said.unwrap_or_default()),
    }
}

/// A statement on one table, which must be there: the engine itself would say "completed" without it.
fn on_table(database: &Database, verb: &str, table: Option<&str>) -> Outcome<String> {
    let Some(table) = table else { return Ok(verb.to_owned()) };
    let names = database.inner().engine().get_all_table_names();
    if !names.iter().any(|name| name.eq_ignore_ascii_case(table)) {
        return Err(stoolap::Error::TableNotFound(table.to_owned()).into());
    }
    Ok(format!("{verb} \"{}\"", table.replace('"', "\"\"")))
}
