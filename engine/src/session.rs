//! What lives between requests: databases, and by their handles connections, prepared statements and cursors.
use std::rc::{Rc, Weak};

use rustc_hash::FxHashMap;

use crate::connection::{Connection, Rows};
use crate::database::{Database, location};
use crate::errors::Failure;
use crate::sql::Plan;
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
        Ok(self.add(Object::Connection(Connection::new(database))))
    }

    pub fn clone_connection(&mut self, handle: Handle) -> Outcome<Handle> {
        let database = self.connection(handle)?.database.clone();
        Ok(self.add(Object::Connection(Connection::new(database))))
    }

    /// Commits or rolls back; a transaction that has its own handle gives that back.
    pub fn end(&mut self, handle: Handle, commit: bool) -> Outcome<()> {
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
