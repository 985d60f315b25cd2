//! `Connection`: a DB or a Tx of the host, and the transaction that its statements run in.
//!
//! The transaction of every write is ours (begin, install, execute, take, commit), because a write that is stopped must be
//! rolled back, and the engine's own autocommit would leave its rows claimed. `BEGIN` and its like in SQL change the same
//! state as the requests of those names.
use std::rc::Rc;

use stoolap::storage::traits::Transaction;
use stoolap::{ExecutionContext, Executor, IsolationLevel, QueryResult};

use crate::database::Database;
use crate::errors::Failure;
use crate::guard::{self, Fault};
use crate::references::{Effect, Had};
use crate::ring;
use crate::session::lost_transaction;
use crate::sql::{Kind, Plan};
use crate::wire::Handle;

pub type Rows = Box<dyn QueryResult>;
type Outcome<T> = Result<T, Failure>;

/// A name that no user would give: around the rows of `execute_many` in an open transaction.
const MANY_SAVEPOINT: &str = "aiostoolap execute_many";

/// A transaction that has begun.
struct Open {
    transaction: Box<dyn Transaction>,
    /// How many commits it sees, if it sees none of those after its beginning.
    sees: Option<u64>,
    /// It has written something: counted by the database.
    wrote: Option<Rc<()>>,
    had: Vec<Had>,
    /// How many alterations there had been when it began to read or write; None before.
    alterations: Option<u64>,
}

enum State {
    Autocommit,
    Open(Open),
    Aborted,
    /// The database was opened again, without it.
    Lost,
    Ended,
}

/// A DB or a Tx of the host.
pub struct Connection {
    pub database: Rc<Database>,
    state: State,
    /// The connection that began this transaction; None for one that outlives its transactions.
    pub parent: Option<Handle>,
    pub handle: Handle,
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
    pub fn new(database: Rc<Database>) -> Self {
        Self { database, state: State::Autocommit, parent: None, handle: 0 }
    }

    /// Begins a transaction that has a handle of its own.
    pub fn begin(&self, handle: Handle, isolation: Option<&str>) -> Outcome<Self> {
        let state = State::Open(Open::begin(&self.database, isolation)?);
        Ok(Self { database: self.database.clone(), state, parent: Some(handle), handle: 0 })
    }

    /// Whether nothing can be done with it any more.
    pub fn has_ended(&self) -> bool {
        matches!(self.state, State::Ended)
    }

    /// Whether a transaction is open here, in that database.
    pub fn is_open_in(&self, database: &Rc<Database>) -> bool {
        matches!(self.state, State::Open(_)) && Rc::ptr_eq(&self.database, database)
    }

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
                let call = |executor: &Executor| {
                    let bound = plan.bound(executor, context)?;
                    take(executor.execute_with_cached_plan(&bound, context)?)
                };
                // The engine would leave the rows before one that fails.
                return if plan.is_copy() { self.run_many(plan, call) } else { self.run(plan, call) }
                    .map(Some);
            }
            Kind::Definition | Kind::Alteration => return take(self.define(plan, context)?).map(Some),
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

    /// Runs `call`, which executes a plan, in the open transaction, or in one of its own if it writes.
    pub fn run<T>(&mut self, plan: &Plan, call: impl FnOnce(&Executor) -> Outcome<T>) -> Outcome<T> {
        let database = self.database.clone();
        let effects = database.effects(plan)?;
        let writes = plan.kind == Kind::Write;
        let executor = database.executor();
        database.forget_results(&executor);
        match std::mem::replace(&mut self.state, State::Aborted) {
            State::Autocommit => {
                self.state = State::Autocommit;
                if !writes {
                    return settle(&database, guard::interruptible(|| call(&executor)));
                }
                let open = Open::begin(&database, None)?;
                let (open, result) = open.run(&database, &executor, &effects, writes, call);
                match (open, result) {
                    (Some(open), Ok(_)) if guard::stop_asked() => {
                        let _ = open.finish(&database, false);
                        Err(Fault::Stopped.into())
                    }
                    (Some(open), Ok(value)) => {
                        guard::stoppable_commit(|| open.finish(&database, true))?;
                        Ok(value)
                    }
                    (open, result) => {
                        // The first failure is the one to tell of.
                        let _ = open.map(|open| open.finish(&database, false));
                        result
                    }
                }
            }
            State::Open(open) => {
                let (open, result) = open.run(&database, &executor, &effects, writes, call);
                match (open, result) {
                    (Some(open), Err(failure)) if is_fault(&failure) => {
                        let _ = open.finish(&database, false);
                        Err(failure)
                    }
                    (Some(open), result) => {
                        self.state = State::Open(open);
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
    pub fn run_many<T>(&mut self, plan: &Plan, call: impl FnOnce(&Executor) -> Outcome<T>) -> Outcome<T> {
        let within = matches!(self.state, State::Open(_));
        if within {
            self.transaction()?.create_savepoint(MANY_SAVEPOINT)?;
        }
        let result = self.run(plan, call);
        if within && let State::Open(Open { transaction, .. }) = &mut self.state {
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
            State::Open(_) => {
                return Err(Failure::new(
                    "not_supported",
                    "definitions and PRAGMAs cannot run inside a transaction: the engine could not undo them",
                ));
            }
            State::Aborted | State::Lost | State::Ended => return Err(no_transaction(&self.state)),
        }
        let database = self.database.clone();
        if plan.kind == Kind::Alteration && database.has_writers() {
            let message = "a transaction has changes that this would not reach; try again when it has ended";
            return Err(Failure::new("table_in_use", message));
        }
        if plan.renames_a_table() && database.is_file() {
            let message = "renaming a table is refused in a database of files: after a crash, rows of it could be lost; \
                           make another table, and INSERT .. SELECT";
            return Err(Failure::new("not_supported", message));
        }
        let executor = database.executor();
        database.effects(plan)?;
        let bound = plan.bound(&executor, context)?;
        database.settle()?;
        database.forget_results(&executor);
        database.owe();
        database.redefine(plan.kind == Kind::Alteration);
        let run = || executor.execute_with_cached_plan(&bound, context).map_err(Failure::from);
        let outcome = match plan.is_built_aside() {
            true => guard::interruptible(run),
            false => guard::uninterruptible(run),
        };
        settle(&database, outcome).inspect_err(|failure| match plan.is_built_aside() {
            true => database.judge_definition(failure),
            false => database.judge_change(failure),
        })
    }

    fn begin_by_sql(&mut self, isolation: Option<&str>) -> Outcome<()> {
        match self.state {
            State::Autocommit => {
                self.state = State::Open(Open::begin(&self.database, isolation)?);
                ring::note_transaction(self.handle, true);
                Ok(())
            }
            State::Open(_) => Err(Failure::new("transaction_active", "a transaction is already open here")),
            State::Aborted | State::Lost | State::Ended => Err(no_transaction(&self.state)),
        }
    }

    pub fn commit(&mut self) -> Outcome<()> {
        match self.leave() {
            // The engine leaks what a committed transaction has only read.
            State::Open(open) if open.wrote.is_none() => open.finish(&self.database, false),
            State::Open(open) => open.finish(&self.database, true),
            State::Lost => Err(lost_transaction()),
            State::Autocommit => Err(no_open_transaction()),
            state => {
                self.state = state;
                Err(no_transaction(&self.state))
            }
        }
    }

    pub fn rollback(&mut self) -> Outcome<()> {
        match self.leave() {
            State::Open(open) => open.finish(&self.database, false),
            State::Aborted | State::Lost => Ok(()),
            State::Autocommit => Err(no_open_transaction()),
            State::Ended => Err(no_transaction(&self.state)),
        }
    }

    /// Rolls back what is still open.
    pub fn rollback_open(&mut self) -> Outcome<()> {
        match self.state {
            State::Open(_) if self.database.is_lost() => {
                self.lose_open();
                Ok(())
            }
            State::Open(_) => self.rollback(),
            _ => Ok(()),
        }
    }

    pub fn transaction(&mut self) -> Outcome<&mut dyn Transaction> {
        match &mut self.state {
            State::Open(open) => Ok(open.transaction.as_mut()),
            State::Autocommit => Err(no_open_transaction()),
            state => Err(no_transaction(state)),
        }
    }

    /// The transaction is lost with the state of its database, if one is open.
    pub fn lose_open(&mut self) {
        if matches!(self.state, State::Open(_))
            && let State::Open(Open { transaction, .. }) = std::mem::replace(&mut self.state, State::Lost)
        {
            match self.database.is_poisoned() {
                true => std::mem::forget(transaction),
                false => drop(guard::uninterruptible(|| drop(transaction))),
            }
        }
    }

    /// A transaction that SQL has begun was lost with an instance.
    pub fn lose(&mut self) {
        self.state = State::Lost;
        ring::note_transaction(self.handle, true);
    }

    /// Ends the transaction, for which the caller does what is to be done.
    fn leave(&mut self) -> State {
        let after = if self.is_transaction() { State::Ended } else { State::Autocommit };
        let before = std::mem::replace(&mut self.state, after);
        if self.parent.is_none() && !matches!(before, State::Autocommit) {
            ring::note_transaction(self.handle, false);
        }
        before
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if self.parent.is_none() {
            ring::note_transaction(self.handle, false);
        }
    }
}

fn no_transaction(state: &State) -> Failure {
    match state {
        State::Aborted => Failure::new(
            "transaction_aborted",
            "a statement of the transaction was stopped; only rollback is possible",
        ),
        State::Lost => lost_transaction(),
        _ => Failure::new("transaction_ended", "the transaction has ended"),
    }
}

fn no_open_transaction() -> Failure {
    Failure::new("no_transaction", "no transaction is open here")
}

fn is_fault(failure: &Failure) -> bool {
    matches!(failure.code, "cancelled" | "memory_limit" | "engine_panic")
}

impl Open {
    fn begin(database: &Database, isolation: Option<&str>) -> Outcome<Self> {
        let executor = database.executor();
        let level = isolation.map(isolation_level).transpose()?;
        let transaction = match level {
            Some(level) => executor.begin_transaction_with_isolation(level)?,
            None => executor.begin_transaction()?,
        };
        let snapshot = level == Some(IsolationLevel::SnapshotIsolation);
        let sees = snapshot.then(|| database.commits.borrow().count());
        Ok(Self { transaction, sees, wrote: None, had: Vec::new(), alterations: None })
    }

    /// Runs `call` in this transaction, and gives it back; None if a panic took it.
    fn run<T>(
        mut self,
        database: &Database,
        executor: &Executor,
        effects: &[Effect],
        writes: bool,
        call: impl FnOnce(&Executor) -> Outcome<T>,
    ) -> (Option<Self>, Outcome<T>) {
        let now = database.alterations();
        if *self.alterations.get_or_insert(now) != now && writes {
            // It might write to a table that is not there any more, and what it commits would be gone.
            let message = "a table was altered since the transaction began; run it again";
            return (Some(self), Err(Failure::new("write_conflict", message)));
        }
        let Self { transaction, sees, mut wrote, mut had, alterations } = self;
        let seen = sees.unwrap_or_else(|| database.commits.borrow().count());
        for effect in effects {
            if !had.iter().any(|(known, _)| known == effect) {
                had.push((effect.clone(), seen));
            }
        }
        if writes {
            wrote.get_or_insert_with(|| database.writers.clone());
        }
        executor.install_transaction(transaction);
        let (transaction, outcome) = match guard::interruptible(|| call(executor)) {
            Err(fault @ Fault::Panic(_)) => {
                // The executor's lock is poisoned; the transaction rolls back when it is dropped with it.
                let taken = guard::uninterruptible(|| executor.take_transaction()).ok().flatten();
                database.renew();
                (taken, Err(fault.into()))
            }
            outcome => (executor.take_transaction(), outcome.map_err(Failure::from).flatten()),
        };
        (transaction.map(|transaction| Self { transaction, sees, wrote, had, alterations }), outcome)
    }

    /// Ends it; what is begun here is not stopped.
    fn finish(mut self, database: &Database, commit: bool) -> Outcome<()> {
        database.owe();
        let checked = if commit { database.commits.borrow().check(&self.had) } else { Ok(()) };
        let commit = commit && checked.is_ok();
        let ended = guard::uninterruptible(|| {
            let ended = if commit { self.transaction.commit() } else { self.transaction.rollback() };
            ended.map_err(Failure::from)
        });
        settle(database, ended).inspect_err(|failure| database.judge_change(failure))?;
        if commit {
            database.commits.borrow_mut().add(self.had);
        }
        checked
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
