//! What lives between requests: databases, and by their handles connections, prepared statements and cursors.
use std::rc::{Rc, Weak};

use rustc_hash::{FxHashMap, FxHashSet};

use crate::connection::{Connection, Rows};
use crate::database::{Database, location};
use crate::errors::Failure;
use crate::guard;
use crate::restore;
use crate::sql::{self, Plan};
use crate::wire::{Handle, Style};

/// A database, by its address.
pub type Debtor = *const Database;
type Outcome<T> = Result<T, Failure>;

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
    /// Handles up to this one are those of an instance that is gone.
    inherited: Handle,
    /// What is gone with the state of its database, until it is closed.
    lost: FxHashSet<Handle>,
}

/// What the host may ask for by a handle.
#[derive(Clone, Copy)]
enum Wanted {
    Connection,
    Statement,
    Cursor,
}

impl Session {
    pub fn add(&mut self, object: Object) -> Handle {
        self.last_handle += 1;
        self.insert(self.last_handle, object);
        self.last_handle
    }

    fn insert(&mut self, handle: Handle, mut object: Object) {
        if let Object::Connection(connection) = &mut object {
            connection.handle = handle;
        }
        self.objects.insert(handle, object);
    }

    /// Takes the place of an instance that is gone: its handles are not given again.
    pub fn inherit(&mut self, last_handle: Handle) {
        self.inherited = last_handle;
        self.last_handle = self.last_handle.max(last_handle);
    }

    /// A connection of that instance, to a database that is opened when it is used.
    pub fn inherit_connection(&mut self, handle: Handle, dsn: &str, transacting: bool) {
        let database = match self.joined(dsn).filter(|database| database.dsn == dsn) {
            Some(database) => database,
            None => self.keep(Database::absent(dsn)),
        };
        let mut connection = Connection::new(database);
        connection.handle = handle;
        if transacting {
            connection.lose();
        }
        self.insert(handle, Object::Connection(connection));
    }

    /// A statement that was prepared there.
    pub fn inherit_statement(&mut self, handle: Handle, connection: Handle, sql: &str) {
        if let Ok(Ok(plan)) = guard::uninterruptible(|| sql::plan(sql)) {
            self.insert(handle, Object::Statement(Statement { connection, plan: Rc::new(plan) }));
        }
    }

    /// Whether it was open when its database, or the instance, was lost.
    fn is_lost(&self, handle: Handle) -> bool {
        (1..=self.inherited).contains(&handle) || self.lost.contains(&handle)
    }

    fn stale(&self, handle: Handle, wanted: Wanted) -> Failure {
        let lost = self.is_lost(handle) && !self.objects.contains_key(&handle);
        match (wanted, lost) {
            (Wanted::Connection, true) => lost_transaction(),
            (Wanted::Connection, false) => Failure::new("closed", "the connection or transaction is closed"),
            (Wanted::Statement, true) => Failure::new(
                "lost",
                "the prepared statement was lost when the engine failed; prepare it again",
            ),
            (Wanted::Statement, false) => Failure::new("closed", "the prepared statement is closed"),
            (Wanted::Cursor, true) => Failure::new(
                "lost",
                "the cursor was lost when the engine failed, or by a restore; run the query again",
            ),
            (Wanted::Cursor, false) => Failure::new("closed", "the cursor is closed"),
        }
    }

    pub fn connection(&mut self, handle: Handle) -> Outcome<&mut Connection> {
        match self.database(handle) {
            None => return Err(self.stale(handle, Wanted::Connection)),
            Some(database) if database.is_lost() => {
                let database = database.clone();
                self.revive(&database)?;
            }
            Some(_) => {}
        }
        match self.objects.get_mut(&handle) {
            Some(Object::Connection(connection)) => Ok(connection),
            _ => Err(lost_transaction()),
        }
    }

    pub fn statement(&self, handle: Handle) -> Outcome<&Statement> {
        match self.objects.get(&handle) {
            Some(Object::Statement(statement)) => Ok(statement),
            _ => Err(self.stale(handle, Wanted::Statement)),
        }
    }

    /// Takes a cursor out: whoever wants more of it puts it back.
    pub fn take_cursor(&mut self, handle: Handle) -> Outcome<Cursor> {
        if let Some(connection) = self.cursor_connection(handle) {
            self.connection(connection)?;
        }
        match self.objects.remove(&handle) {
            Some(Object::Cursor(cursor)) => Ok(cursor),
            Some(other) => {
                self.objects.insert(handle, other);
                Err(self.stale(handle, Wanted::Cursor))
            }
            None => Err(self.stale(handle, Wanted::Cursor)),
        }
    }

    /// The connection of a cursor.
    pub fn cursor_connection(&self, handle: Handle) -> Option<Handle> {
        match self.objects.get(&handle) {
            Some(Object::Cursor(cursor)) => Some(cursor.connection),
            _ => None,
        }
    }

    /// The database of a connection or transaction.
    pub fn database(&self, handle: Handle) -> Option<&Rc<Database>> {
        match self.objects.get(&handle) {
            Some(Object::Connection(connection)) => Some(&connection.database),
            _ => None,
        }
    }

    /// Opens a database again whose state in memory is lost, and with it its transactions and cursors. Connections go on,
    /// and statements are prepared anew.
    fn revive(&mut self, database: &Rc<Database>) -> Outcome<()> {
        database.may_reopen()?;
        let of_it: FxHashSet<Handle> = self
            .objects
            .iter_mut()
            .filter_map(|(handle, object)| match object {
                Object::Connection(connection) if Rc::ptr_eq(&connection.database, database) => {
                    connection.lose_open();
                    Some(*handle)
                }
                _ => None,
            })
            .collect();
        let gone: Vec<Handle> = self
            .objects
            .iter_mut()
            .filter_map(|(handle, object)| match object {
                Object::Cursor(cursor) => of_it.contains(&cursor.connection).then_some(*handle),
                Object::Statement(statement) if of_it.contains(&statement.connection) => {
                    // A plan may keep something of the tables.
                    match guard::uninterruptible(|| statement.plan.again()) {
                        Ok(Ok(plan)) => {
                            statement.plan = Rc::new(plan);
                            None
                        }
                        _ => Some(*handle),
                    }
                }
                _ => None,
            })
            .collect();
        for handle in gone {
            let object = self.objects.remove(&handle);
            self.lost.insert(handle);
            match database.is_poisoned() {
                true => std::mem::forget(object),
                false => drop(guard::uninterruptible(|| drop(object))),
            }
        }
        database.reopen()
    }

    /// Puts a snapshot in the place of what a database holds, which ends its cursors. Returns what the engine says.
    pub fn restore(&mut self, database: &Rc<Database>, timestamp: Option<&str>) -> Outcome<String> {
        if !database.is_file() {
            return Err(Failure::new("invalid_argument", "a database in memory has no snapshots"));
        }
        let is_open = |object: &Object| matches!(object, Object::Connection(c) if c.is_open_in(database));
        if self.count(is_open) > 0 {
            let message = "a transaction is open; nothing was restored: try again when it has ended";
            return Err(Failure::new("table_in_use", message));
        }
        database.settle()?;
        let said = restore::restore(database, timestamp)?;
        database.give_up();
        self.revive(database)?;
        Ok(said)
    }

    pub fn put_cursor(&mut self, handle: Handle, cursor: Cursor) {
        self.objects.insert(handle, Object::Cursor(cursor));
    }

    pub fn databases(&self) -> Vec<Rc<Database>> {
        self.databases.iter().filter_map(Weak::upgrade).collect()
    }

    /// The database that the last request has committed to, if it may not be durable yet.
    pub fn debtor(&self) -> Option<Debtor> {
        let ran = |database: &Weak<Database>| database.upgrade().is_some_and(|database| database.ran.take());
        // All are asked: maintenance runs in several, and what one leaves noted would be taken for the next request's.
        self.databases
            .iter()
            .fold(None, |found, database| if ran(database) { Some(Weak::as_ptr(database)) } else { found })
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
        self.databases().into_iter().filter(|database| !database.is_lost()).collect()
    }

    pub fn count(&self, wanted: impl Fn(&Object) -> bool) -> usize {
        self.objects.values().filter(|object| wanted(object)).count()
    }

    /// A connection to the database of that DSN, opened or joined.
    pub fn open(&mut self, dsn: &str) -> Outcome<Handle> {
        let database = match self.joined(dsn) {
            Some(database) if database.dsn == dsn => {
                if database.is_lost() {
                    self.revive(&database)?;
                }
                database
            }
            Some(database) => {
                let message =
                    format!("the database is already open as {}; use the same options", database.dsn);
                return Err(Failure::new("database_open", message));
            }
            None => {
                let database = Database::open(dsn)?;
                self.keep(database)
            }
        };
        Ok(self.add(Object::Connection(Connection::new(database))))
    }

    /// The database that another connection has open at the same place; one in memory that is gone is none.
    fn joined(&self, dsn: &str) -> Option<Rc<Database>> {
        let place = location(dsn);
        let joins = |database: &Rc<Database>| {
            database.location == place && (place.starts_with("file://") || !database.is_lost())
        };
        self.databases().into_iter().find(|database| dsn != "memory://" && joins(database))
    }

    fn keep(&mut self, database: Database) -> Rc<Database> {
        self.databases.retain(|database| database.strong_count() > 0);
        let database = Rc::new(database);
        self.databases.push(Rc::downgrade(&database));
        database
    }

    pub fn clone_connection(&mut self, handle: Handle) -> Outcome<Handle> {
        let database = self.connection(handle)?.database.clone();
        Ok(self.add(Object::Connection(Connection::new(database))))
    }

    /// Commits or rolls back; a transaction that has its own handle gives that back.
    pub fn end(&mut self, handle: Handle, commit: bool) -> Outcome<()> {
        if !commit && self.is_lost(handle) && !self.objects.contains_key(&handle) {
            return Ok(());
        }
        let connection = self.connection(handle)?;
        let outcome = if commit { connection.commit() } else { connection.rollback() };
        if connection.is_transaction() && connection.has_ended() {
            self.close(handle)?;
        }
        outcome
    }

    pub fn begin(&mut self, handle: Handle, isolation: Option<&str>) -> Outcome<Handle> {
        let transaction = self.connection(handle)?.begin(handle, isolation)?;
        Ok(self.add(Object::Connection(transaction)))
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
        let Some(object) = self.objects.remove(&handle) else {
            return match self.lost.remove(&handle) || self.is_lost(handle) {
                true => Ok(()),
                false => Err(Failure::new("closed", "the object is closed")),
            };
        };
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

pub fn lost_transaction() -> Failure {
    Failure::new("lost", "the transaction was lost when the engine failed; begin it again")
}
