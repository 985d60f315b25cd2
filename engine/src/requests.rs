//! What each request does. The numbers, arguments and answers are those of docs/protocol.md.
use std::rc::Rc;
use std::time::Duration;

use rmp::Marker;
use rustc_hash::FxHashMap;
use stoolap::core::Result as EngineResult;
use stoolap::{ExecutionContext, ParamVec};

use crate::errors::Failure;
use crate::guard::{self, Fault};
use crate::session::{Cursor, Database, Handle, Object, Rows, Session};
use crate::sql::{self, Kind, Placeholders, Plan};
use crate::wire::{Parameters, Reader, Style, Writer};

type Outcome<T> = Result<T, Failure>;

/// How long the engine's own loop, which does not run here, would keep what is deleted or done with.
const DELETED_ROWS_KEPT: Duration = Duration::from_secs(300);
const TRANSACTIONS_KEPT: Duration = Duration::from_secs(3600);

#[derive(Default)]
pub struct Engine {
    session: Session,
}

impl Engine {
    /// Runs one request and writes its reply, whatever it holds.
    pub fn reply(&mut self, place: usize, number: u32, reader: &mut Reader, writer: &mut Writer) {
        guard::begin_request(place, number);
        let start = writer.position();
        let mut attempt = |ok: bool, body: &mut dyn FnMut(&mut Writer) -> Outcome<()>| {
            writer.rewind(start);
            writer.array(4);
            writer.number(number.into());
            writer.boolean(ok);
            let opened = writer.open_bytes();
            let outcome = body(writer);
            writer.close_bytes(opened);
            outcome
        };
        let request = reader.bytes();
        let outcome = attempt(true, &mut |writer| {
            let request = request.as_ref().map_err(|_| Failure::new("protocol", "a request is bytes"))?;
            if guard::stop_asked() {
                return Err(Fault::Stopped.into());
            }
            self.answer(&mut Reader::new(request), writer)
        });
        if let Err(failure) = outcome {
            let _ = attempt(false, &mut |writer| {
                write_failure(writer, &failure);
                Ok(())
            });
        }
        writer.text(&guard::printed());
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
                self.session.connection(reader.handle()?)?.commit()?;
                writer.nil();
            }
            12 => {
                self.session.connection(reader.handle()?)?.rollback()?;
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
            unknown => return Err(Failure::new("protocol", format!("the request {unknown} is unknown"))),
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
            _ => self.session.statement(reader.handle()?)?.plan.clone(),
        };
        Ok((connection, plan))
    }

    fn execute(&mut self, reader: &mut Reader, writer: &mut Writer) -> Outcome<()> {
        let (handle, plan) = self.target(reader)?;
        let context = context(&plan, reader)?;
        let connection = self.session.connection(handle)?;
        let affected = connection.execute(&plan, &context, |rows| Ok(rows.rows_affected()))?;
        writer.integer(affected.unwrap_or(0));
        Ok(())
    }

    fn query(&mut self, reader: &mut Reader, writer: &mut Writer) -> Outcome<()> {
        let (handle, plan) = self.target(reader)?;
        let context = context(&plan, reader)?;
        let limits = Limits::read(reader)?;
        let style = Style { nanoseconds: reader.number()? & 1 != 0 };
        writer.array(4);
        let start = writer.position();
        let connection = self.session.connection(handle)?;
        let written = connection.execute(&plan, &context, |mut rows| {
            writer.texts(rows.columns().iter().map(String::as_str));
            let affected = rows.rows_affected();
            let ended = limits.write(&mut rows, style, writer)?;
            Ok((affected, (!ended).then_some(rows)))
        })?;
        let Some((affected, rest)) = written else {
            writer.rewind(start);
            writer.array(0);
            writer.array(0);
            writer.number(0);
            writer.integer(0);
            return Ok(());
        };
        let cursor = rest.map(|rows| Object::Cursor(Cursor { connection: handle, rows, style }));
        writer.number(cursor.map_or(0, |cursor| self.session.add(cursor)));
        writer.integer(affected);
        Ok(())
    }

    fn fetch(&mut self, reader: &mut Reader, writer: &mut Writer) -> Outcome<()> {
        let handle = reader.handle()?;
        let limits = Limits::read(reader)?;
        let mut cursor = self.session.take_cursor(handle)?;
        writer.array(2);
        let ended = match guard::interruptible(|| limits.write(&mut cursor.rows, cursor.style, writer)) {
            Ok(written) => written?,
            Err(fault) => {
                if matches!(fault, Fault::Panic(_)) {
                    self.session.renew_database(&cursor);
                }
                return Err(fault.into());
            }
        };
        if ended {
            writer.number(0);
        } else {
            self.session.put_cursor(handle, cursor);
            writer.number(handle);
        }
        Ok(())
    }

    fn prepare(&mut self, reader: &mut Reader, writer: &mut Writer) -> Outcome<()> {
        let connection = reader.handle()?;
        let plan = self.session.connection(connection)?.database.plan(reader.text()?)?;
        let placeholders = plan.placeholders.clone();
        let statement = crate::session::Statement { connection, plan };
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
        let affected = self.session.connection(handle)?.run_many(|executor| {
            let mut affected = 0;
            for row in 0..count {
                let context = context(&plan, reader).map_err(|failure| failure.with("row", row))?;
                let rows = executor
                    .execute_with_cached_plan(&plan.bound(&context)?, &context)
                    .map_err(|error| Failure::from(error).with("row", row))?;
                affected += rows.rows_affected();
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
                let plan = sql::plan(part)?;
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
            0 => self.session.databases(),
            handle => vec![self.session.connection(handle)?.database.clone()],
        };
        let task = reader.text()?;
        let argument = if reader.is_nil()? { None } else { Some(reader.text()?) };
        let mut said = String::new();
        for database in databases {
            said = guard::uninterruptible(|| maintain(&database, task, argument))?.map_err(|failure| {
                match failure.code {
                    "internal" => Failure { code: "maintenance", ..failure },
                    _ => failure,
                }
            })?;
        }
        // The engine says "completed" even where a step failed, and prints what failed.
        let printed = guard::printed();
        if printed.contains("Warning:") || printed.contains("Critical:") {
            return Err(Failure::new("maintenance", printed.trim_end()));
        }
        writer.text(&said);
        Ok(())
    }

    fn statistics(&mut self, writer: &mut Writer) {
        let session = &self.session;
        let databases = session.databases();
        let mut totals = [0; 4];
        for database in &databases {
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

fn versions(writer: &mut Writer) {
    writer.map(2);
    writer.text("abi");
    writer.number(crate::ABI_VERSION.into());
    writer.text("engine");
    writer.text(stoolap::common::version::VERSION);
}

fn write_failure(writer: &mut Writer, failure: &Failure) {
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
    fn read(reader: &mut Reader) -> Outcome<Self> {
        Ok(Self { rows: reader.number()?, bytes: reader.number()? as usize })
    }

    /// Writes rows until a limit is met; true if the result has come to its end. Runs within `guard::interruptible`.
    fn write(&self, rows: &mut Rows, style: Style, writer: &mut Writer) -> Outcome<bool> {
        let array = writer.open_array();
        let start = writer.position();
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
            writer.row(rows.row(), columns, style);
            count += 1;
        };
        if ended && let Some(error) = rows.last_error() {
            return Err(error.into());
        }
        writer.close_array(array, count);
        Ok(ended)
    }
}

fn wrong_parameters(plan: &Plan, given: &str) -> Failure {
    let taken = match &plan.placeholders {
        Placeholders::Positional(1) => "1 parameter".to_owned(),
        Placeholders::Positional(count) => format!("{count} parameters"),
        Placeholders::Named(names) => format!("the named parameters :{}", names.join(", :")),
    };
    Failure::new("parameter_count", format!("the statement takes {taken}, but {given}"))
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
    let engine = database.inner().engine();
    let said: EngineResult<String> = match task {
        "checkpoint" => command(database, "PRAGMA CHECKPOINT"),
        "snapshot" => command(database, "PRAGMA SNAPSHOT"),
        "vacuum" => command(database, &on_table(database, "VACUUM", argument)?),
        "analyze" => command(database, &on_table(database, "ANALYZE", argument)?),
        "restore" => {
            let restored = database.inner().restore_snapshot(argument);
            database.renew();
            restored
        }
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
