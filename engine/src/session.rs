//! What lives between requests: databases, connections with their transactions, prepared statements and cursors.
//!
//! The transaction of every write is ours (begin, install, execute, take, commit), because a write that is stopped must be
//! rolled back, and the engine's own autocommit would leave its rows claimed. `BEGIN` and its like in SQL change the same
//! state as the requests of those names.
use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};

use rustc_hash::FxHashMap;
use stoolap::executor::context;
use stoolap::storage::traits::Transaction;
use stoolap::{ExecutionContext, Executor, IsolationLevel, QueryResult};

use crate::errors::Failure;
use crate::files;
use crate::guard::{self, Fault};
use crate::sql::{Kind, Plan, Plans};
use crate::wire::Style;

pub type Handle = u64;
/// A database, by its address.
pub type Debtor = *const Database;
pub type Rows = Box<dyn QueryResult>;
type Outcome<T> = Result<T, Failure>;

/// A name that no user would give: around the rows of `execute_many` in an open transaction.
const MANY_SAVEPOINT: &str = "aiostoolap execute_many";

pub struct Database {
    location: String,
    dsn: String,
    inner: stoolap::Database,
    executor: RefCell<Rc<Executor>>,
    plans: RefCell<Plans>,
    /// Something was committed that may not be durable yet; `ran`, by the last request.
    owes: Cell<bool>,
    ran: Cell<bool>,
    /// It could not be made durable.
    lost: Cell<bool>,
}

impl Database {
    fn open(dsn: &str) -> Outcome<Self> {
        let inner = guard::uninterruptible(|| match dsn {
            "memory://" => stoolap::Database::open_in_memory(),
            _ => stoolap::Database::open(dsn),
        })??;
        if dsn.starts_with("file://")
            && let Err(errno) = files::sync_all_directories()
        {
            return Err(Failure::new("io_error", format!("the database's directory: WASI error {errno}")));
        }
        inner.engine().defer_commits(true);
        let executor = RefCell::new(Rc::new(Executor::new(inner.engine().clone())));
        Ok(Self {
            location: location(dsn).to_owned(),
            dsn: dsn.to_owned(),
            inner,
            executor,
            plans: RefCell::default(),
            owes: Cell::default(),
            ran: Cell::default(),
            lost: Cell::default(),
        })
    }

    pub fn inner(&self) -> &stoolap::Database {
        &self.inner
    }

    pub fn executor(&self) -> Rc<Executor> {
        self.executor.borrow().clone()
    }

    pub fn plan(&self, sql: &str) -> Outcome<Rc<Plan>> {
        self.plans.borrow_mut().get(sql)
    }

    pub fn plan_count(&self) -> usize {
        self.plans.borrow().len()
    }

    /// Forgets all that was derived from the data: locks in it may be poisoned, or the data has been replaced.
    pub fn renew(&self) {
        *self.executor.borrow_mut() = Rc::new(Executor::new(self.inner.engine().clone()));
        self.plans.borrow_mut().clear();
        context::clear_all_thread_local_caches();
    }

    /// The engine's caches of results know neither parameters nor commits, so none outlives a statement.
    fn forget_results(&self, executor: &Executor) {
        context::clear_scalar_subquery_cache();
        context::clear_in_subquery_cache();
        context::clear_semi_join_cache();
        executor.clear_semantic_cache();
    }

    fn is_file(&self) -> bool {
        self.dsn.starts_with("file://")
    }

    /// Notes that something may have been committed.
    pub fn owe(&self) {
        if self.is_file() && !self.lost.get() {
            self.owes.set(true);
            self.ran.set(true);
        }
    }

    /// Makes what was committed durable, as the database's options say. A failure is for good: what is in memory may then
    /// be more than what the files hold, so nothing may be done with the database any more but close it.
    fn settle(&self) -> Outcome<()> {
        if !self.owes.get() {
            return Ok(());
        }
        self.check()?;
        let settled = guard::uninterruptible(|| self.inner.engine().settle_commits());
        let failure = match settled {
            Ok(Ok(())) => {
                self.owes.set(false);
                return Ok(());
            }
            Ok(Err(error)) => Failure::from(error),
            Err(fault) => Failure::from(fault),
        };
        // It still owes: whoever waits for it is to hear of the failure, whoever met it first.
        self.lost.set(true);
        let message =
            format!("the log could not be written, and the commit may be lost: {}", failure.message);
        Err(Failure::new("io_error", message))
    }

    fn check(&self) -> Outcome<()> {
        if self.lost.get() {
            let message = "the log could not be written: close the database, and open it again";
            return Err(Failure::new("io_error", message));
        }
        Ok(())
    }

    fn close(&self) -> Outcome<()> {
        let settled = self.settle();
        guard::uninterruptible(|| {
            if self.lost.get() {
                // Else it would write what is in memory.
                let mut config = self.inner.engine().config();
                config.persistence.checkpoint_on_close = false;
                self.inner.engine().update_engine_config(config)?;
            }
            self.inner.close()
        })??;
        settled
    }
}

/// What two DSNs of the same database have in common.
fn location(dsn: &str) -> &str {
    dsn.split('?').next().unwrap_or(dsn)
}

pub enum State {
    Autocommit,
    Open { transaction: Box<dyn Transaction>, wrote: bool },
    Aborted,
    Ended,
}

/// A DB or a Tx of the host.
pub struct Connection {
    pub database: Rc<Database>,
    state: State,
    /// The connection that began this transaction; None for one that outlives its transactions.
    parent: Option<Handle>,
}

pub struct Statement {
    pub connection: Handle,
    pub plan: Rc<Plan>,
}

pub struct Cursor {
    pub connection: Handle,
    pub rows: Rows,
    pub style: Style,
}

pub enum Object {
    Connection(Connection),
    Statement(Statement),
    Cursor(Cursor),
}

impl Object {
    fn owner(&self) -> Option<Handle> {
        match self {
            Object::Connection(connection) => connection.parent,
            Object::Statement(statement) => Some(statement.connection),
            Object::Cursor(cursor) => Some(cursor.connection),
        }
    }
}

/// All objects by handle. A handle is used once: a stale one is an error, never another object's.
#[derive(Default)]
pub struct Session {
    objects: FxHashMap<Handle, Object>,
    last_handle: Handle,
    databases: Vec<Weak<Database>>,
}

fn stale(what: &str) -> Failure {
    Failure::new("closed", format!("the {what} is closed"))
}

impl Session {
    pub fn add(&mut self, object: Object) -> Handle {
        self.last_handle += 1;
        self.objects.insert(self.last_handle, object);
        self.last_handle
    }

    pub fn connection(&mut self, handle: Handle) -> Outcome<&mut Connection> {
        match self.objects.get_mut(&handle) {
            Some(Object::Connection(connection)) => {
                connection.database.check()?;
                Ok(connection)
            }
            _ => Err(stale("connection or transaction")),
        }
    }

    pub fn statement(&self, handle: Handle) -> Outcome<&Statement> {
        match self.objects.get(&handle) {
            Some(Object::Statement(statement)) => Ok(statement),
            _ => Err(stale("prepared statement")),
        }
    }

    /// Takes a cursor out: whoever wants more of it puts it back.
    pub fn take_cursor(&mut self, handle: Handle) -> Outcome<Cursor> {
        match self.objects.remove(&handle) {
            Some(Object::Cursor(cursor)) => Ok(cursor),
            Some(other) => {
                self.objects.insert(handle, other);
                Err(stale("cursor"))
            }
            None => Err(stale("cursor")),
        }
    }

    pub fn put_cursor(&mut self, handle: Handle, cursor: Cursor) {
        self.objects.insert(handle, Object::Cursor(cursor));
    }

    /// After a panic while a cursor was read.
    pub fn renew_database(&mut self, cursor: &Cursor) {
        if let Ok(connection) = self.connection(cursor.connection) {
            connection.database.renew();
        }
    }

    pub fn databases(&self) -> Vec<Rc<Database>> {
        self.databases.iter().filter_map(Weak::upgrade).collect()
    }

    /// The database that the last request has committed to, if it may not be durable yet.
    pub fn debtor(&self) -> Option<Debtor> {
        let ran = |database: &Weak<Database>| database.upgrade().is_some_and(|database| database.ran.take());
        self.databases.iter().find(|database| ran(database)).map(Weak::as_ptr)
    }

    /// Makes all commits durable, and returns the databases where that fails.
    pub fn settle(&self) -> Vec<(Debtor, Failure)> {
        let mut failures = Vec::new();
        for database in self.databases() {
            if let Err(failure) = database.settle() {
                failures.push((Rc::as_ptr(&database), failure));
            }
            database.owes.set(false);
        }
        failures
    }

    /// The databases whose log is in order.
    pub fn sound_databases(&self) -> Vec<Rc<Database>> {
        self.databases().into_iter().filter(|database| !database.lost.get()).collect()
    }

    pub fn count(&self, wanted: impl Fn(&Object) -> bool) -> usize {
        self.objects.values().filter(|object| wanted(object)).count()
    }

    /// A connection to the database of that DSN, opened or joined.
    pub fn open(&mut self, dsn: &str) -> Outcome<Handle> {
        self.databases.retain(|database| database.strong_count() > 0);
        let joined = self
            .databases()
            .into_iter()
            .find(|database| dsn != "memory://" && database.location == location(dsn));
        let database = match joined {
            Some(database) if database.dsn == dsn => database,
            Some(database) => {
                let message =
                    format!("the database is already open as {}; use the same options", database.dsn);
                return Err(Failure::new("database_open", message));
            }
            None => {
                let database = Rc::new(Database::open(dsn)?);
                self.databases.push(Rc::downgrade(&database));
                database
            }
        };
        Ok(self.add(Object::Connection(Connection { database, state: State::Autocommit, parent: None })))
    }

    pub fn clone_connection(&mut self, handle: Handle) -> Outcome<Handle> {
        let database = self.connection(handle)?.database.clone();
        Ok(self.add(Object::Connection(Connection { database, state: State::Autocommit, parent: None })))
    }

    /// Commits or rolls back; a transaction that has its own handle gives that back.
    pub fn end(&mut self, handle: Handle, commit: bool) -> Outcome<()> {
        let connection = self.connection(handle)?;
        let outcome = if commit { connection.commit() } else { connection.rollback() };
        if connection.is_transaction() && matches!(connection.state, State::Ended) {
            self.close(handle)?;
        }
        outcome
    }

    pub fn begin(&mut self, handle: Handle, isolation: Option<&str>) -> Outcome<Handle> {
        let database = self.connection(handle)?.database.clone();
        let state = begin(&database, isolation)?;
        Ok(self.add(Object::Connection(Connection { database, state, parent: Some(handle) })))
    }

    /// Closes everything; the first failure is told of when all is done.
    pub fn close_all(&mut self) -> Outcome<()> {
        let roots: Vec<Handle> = self
            .objects
            .iter()
            .filter_map(|(handle, object)| object.owner().is_none().then_some(*handle))
            .collect();
        let mut outcome = Ok(());
        for handle in roots {
            let closed = self.close(handle);
            outcome = outcome.and(closed);
        }
        outcome
    }

    /// Closes an object and all that was made from it. Transactions are rolled back; the last connection of a database
    /// closes that.
    pub fn close(&mut self, handle: Handle) -> Outcome<()> {
        let object = self.objects.remove(&handle).ok_or_else(|| stale("object"))?;
        let owned: Vec<Handle> = self
            .objects
            .iter()
            .filter_map(|(child, object)| (object.owner() == Some(handle)).then_some(*child))
            .collect();
        for child in owned {
            // A child may be gone with its own parent by now.
            let _ = self.close(child);
        }
        if let Object::Connection(mut connection) = object {
            let rolled_back = connection.rollback_open();
            if Rc::strong_count(&connection.database) == 1 {
                connection.database.close()?;
            }
            rolled_back?;
        }
        Ok(())
    }
}

fn begin(database: &Database, isolation: Option<&str>) -> Outcome<State> {
    let executor = database.executor();
    let transaction = match isolation.map(isolation_level).transpose()? {
        Some(level) => executor.begin_transaction_with_isolation(level)?,
        None => executor.begin_transaction()?,
    };
    Ok(State::Open { transaction, wrote: false })
}

fn isolation_level(name: &str) -> Outcome<IsolationLevel> {
    match name.to_ascii_uppercase().as_str() {
        "READ COMMITTED" | "READ UNCOMMITTED" => Ok(IsolationLevel::ReadCommitted),
        "SNAPSHOT" | "REPEATABLE READ" | "SERIALIZABLE" => Ok(IsolationLevel::SnapshotIsolation),
        _ => Err(Failure::new(
            "invalid_argument",
            format!("the isolation level {name:?} is not one of READ COMMITTED, SNAPSHOT"),
        )),
    }
}

impl Connection {
    pub fn is_transaction(&self) -> bool {
        self.parent.is_some()
    }

    /// Runs a statement that its plan says how to run, and `take` on its result before a write is committed; None for a
    /// statement without a result.
    pub fn execute<T>(
        &mut self,
        plan: &Plan,
        context: &ExecutionContext,
        take: impl FnOnce(Rows) -> Outcome<T>,
    ) -> Outcome<Option<T>> {
        match &plan.kind {
            Kind::Read | Kind::Write => {
                return self
                    .run(plan.kind == Kind::Write, |executor| {
                        take(executor.execute_with_cached_plan(&plan.bound(context)?, context)?)
                    })
                    .map(Some);
            }
            Kind::Definition => return take(self.define(plan, context)?).map(Some),
            Kind::Begin(isolation) => self.begin_by_sql(isolation.as_deref())?,
            Kind::Commit => self.commit()?,
            Kind::Rollback => self.rollback()?,
            Kind::Savepoint(name) => self.transaction()?.create_savepoint(name)?,
            Kind::RollbackTo(name) => self.transaction()?.rollback_to_savepoint(name)?,
            Kind::Release(name) => self.transaction()?.release_savepoint(name)?,
            Kind::SetIsolation => {
                return Err(Failure::new("not_supported", "SET is refused: give the isolation to begin()"));
            }
        }
        Ok(None)
    }

    /// Runs `call` in the open transaction, or in one of its own if it writes.
    pub fn run<T>(&mut self, writes: bool, call: impl FnOnce(&Executor) -> Outcome<T>) -> Outcome<T> {
        let database = self.database.clone();
        let executor = database.executor();
        database.forget_results(&executor);
        match std::mem::replace(&mut self.state, State::Aborted) {
            State::Autocommit => {
                self.state = State::Autocommit;
                if !writes {
                    return settle(&database, guard::interruptible(|| call(&executor)));
                }
                let transaction = executor.begin_transaction()?;
                let (transaction, result) = attempt(&database, &executor, transaction, call);
                match (transaction, result) {
                    (Some(transaction), Ok(_)) if guard::stop_asked() => {
                        let _ = finish(&database, transaction, false);
                        Err(Fault::Stopped.into())
                    }
                    (Some(transaction), Ok(value)) => {
                        finish(&database, transaction, true)?;
                        Ok(value)
                    }
                    (transaction, result) => {
                        if let Some(transaction) = transaction {
                            // The first failure is the one to tell of.
                            let _ = finish(&database, transaction, false);
                        }
                        result
                    }
                }
            }
            State::Open { transaction, wrote } => {
                let (transaction, result) = attempt(&database, &executor, transaction, call);
                match (transaction, result) {
                    (Some(transaction), Err(failure)) if is_fault(&failure) => {
                        let _ = finish(&database, transaction, false);
                        Err(failure)
                    }
                    (Some(transaction), result) => {
                        self.state = State::Open { transaction, wrote: wrote || writes };
                        result
                    }
                    (None, result) => result,
                }
            }
            state => {
                self.state = state;
                Err(no_transaction(&self.state))
            }
        }
    }

    /// Runs `call`, which executes one plan for many rows: all of them, or none.
    pub fn run_many<T>(&mut self, call: impl FnOnce(&Executor) -> Outcome<T>) -> Outcome<T> {
        let within = matches!(self.state, State::Open { .. });
        if within {
            self.transaction()?.create_savepoint(MANY_SAVEPOINT)?;
        }
        let result = self.run(true, call);
        if within && let State::Open { transaction, .. } = &mut self.state {
            if result.is_err() {
                transaction.rollback_to_savepoint(MANY_SAVEPOINT)?;
            }
            transaction.release_savepoint(MANY_SAVEPOINT)?;
        }
        result
    }

    /// Definitions commit by themselves, whole, and the engine neither logs nor undoes them within a transaction.
    fn define(&mut self, plan: &Plan, context: &ExecutionContext) -> Outcome<Rows> {
        match self.state {
            State::Autocommit => {}
            State::Open { .. } => {
                return Err(Failure::new(
                    "not_supported",
                    "definitions and PRAGMAs cannot run inside a transaction: the engine could not undo them",
                ));
            }
            State::Aborted | State::Ended => return Err(no_transaction(&self.state)),
        }
        let database = self.database.clone();
        let executor = database.executor();
        database.settle()?;
        database.forget_results(&executor);
        database.owe();
        settle(
            &database,
            guard::uninterruptible(|| {
                executor.execute_with_cached_plan(&plan.cached, context).map_err(Failure::from)
            }),
        )
    }

    fn begin_by_sql(&mut self, isolation: Option<&str>) -> Outcome<()> {
        match self.state {
            State::Autocommit => {
                self.state = begin(&self.database, isolation)?;
                Ok(())
            }
            State::Open { .. } => {
                Err(Failure::new("transaction_active", "a transaction is already open here"))
            }
            State::Aborted | State::Ended => Err(no_transaction(&self.state)),
        }
    }

    pub fn commit(&mut self) -> Outcome<()> {
        let after = self.after_transaction();
        match std::mem::replace(&mut self.state, after) {
            // The engine leaks what a committed transaction has only read.
            State::Open { transaction, wrote } => finish(&self.database, transaction, wrote),
            State::Autocommit => Err(no_open_transaction()),
            state => {
                self.state = state;
                Err(no_transaction(&self.state))
            }
        }
    }

    pub fn rollback(&mut self) -> Outcome<()> {
        let after = self.after_transaction();
        match std::mem::replace(&mut self.state, after) {
            State::Open { transaction, .. } => finish(&self.database, transaction, false),
            State::Aborted => Ok(()),
            State::Autocommit => Err(no_open_transaction()),
            State::Ended => Err(no_transaction(&self.state)),
        }
    }

    fn rollback_open(&mut self) -> Outcome<()> {
        match self.state {
            State::Open { .. } => self.rollback(),
            _ => Ok(()),
        }
    }

    pub fn transaction(&mut self) -> Outcome<&mut dyn Transaction> {
        match &mut self.state {
            State::Open { transaction, .. } => Ok(transaction.as_mut()),
            State::Autocommit => Err(no_open_transaction()),
            state => Err(no_transaction(state)),
        }
    }

    fn after_transaction(&self) -> State {
        if self.is_transaction() { State::Ended } else { State::Autocommit }
    }
}

fn no_transaction(state: &State) -> Failure {
    match state {
        State::Aborted => Failure::new(
            "transaction_aborted",
            "a statement of the transaction was stopped; only rollback is possible",
        ),
        _ => Failure::new("transaction_ended", "the transaction has ended"),
    }
}

fn no_open_transaction() -> Failure {
    Failure::new("no_transaction", "no transaction is open here")
}

fn is_fault(failure: &Failure) -> bool {
    matches!(failure.code, "cancelled" | "memory_limit" | "engine_panic")
}

/// Runs `call` with the transaction installed, and gives it back; None if a panic took it.
fn attempt<T>(
    database: &Database,
    executor: &Executor,
    transaction: Box<dyn Transaction>,
    call: impl FnOnce(&Executor) -> Outcome<T>,
) -> (Option<Box<dyn Transaction>>, Outcome<T>) {
    executor.install_transaction(transaction);
    match guard::interruptible(|| call(executor)) {
        Err(fault @ Fault::Panic(_)) => {
            // The executor's lock is poisoned; the transaction rolls back when it is dropped with it.
            let taken = guard::uninterruptible(|| executor.take_transaction()).ok().flatten();
            database.renew();
            (taken, Err(fault.into()))
        }
        outcome => (executor.take_transaction(), outcome.map_err(Failure::from).flatten()),
    }
}

fn settle<T>(database: &Database, outcome: Result<Outcome<T>, Fault>) -> Outcome<T> {
    outcome.map_err(|fault| {
        if matches!(fault, Fault::Panic(_)) {
            database.renew();
        }
        Failure::from(fault)
    })?
}

/// Ends a transaction; what is begun here is not stopped.
fn finish(database: &Database, mut transaction: Box<dyn Transaction>, commit: bool) -> Outcome<()> {
    database.owe();
    let outcome = guard::uninterruptible(|| {
        let ended = if commit { transaction.commit() } else { transaction.rollback() };
        ended.map_err(Failure::from)
    });
    settle(database, outcome)
}
