//! `Database`: the engine's, with its plans, and what it owes to its files.
use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use stoolap::Executor;
use stoolap::core::Result as EngineResult;
use stoolap::executor::context;
use stoolap::executor::expression::RowFilter;
use stoolap::parser::ast::{Expression, NullLiteral};
use stoolap::parser::{Parser, Token};
use stoolap::storage::traits::Engine;

use crate::errors::Failure;
use crate::references::{Commits, Effect};
use crate::sql::{Checked, Plan, Plans};
use crate::{files, guard, names, references};

type Outcome<T> = Result<T, Failure>;

pub struct Database {
    pub location: String,
    pub dsn: String,
    inner: stoolap::Database,
    executor: RefCell<Rc<Executor>>,
    plans: RefCell<Plans>,
    /// Each open transaction that has written has a copy.
    pub writers: Rc<()>,
    /// What was committed to the references between tables.
    pub commits: RefCell<Commits>,
    /// Something was committed that may not be durable yet; `ran`, by the last request.
    pub owes: Cell<bool>,
    pub ran: Cell<bool>,
    /// It could not be made durable.
    pub lost: Cell<bool>,
}

impl Database {
    pub fn open(dsn: &str) -> Outcome<Self> {
        let inner = guard::uninterruptible(|| match dsn {
            "memory://" => stoolap::Database::open_in_memory(),
            _ => {
                tell_of_lost_manifests(Path::new(location(dsn).trim_start_matches("file://")));
                stoolap::Database::open(dsn)
            }
        })??;
        if dsn.starts_with("file://") {
            refuse_lost_volumes(&inner)?;
            if let Err(errno) = files::sync_all_directories() {
                return Err(Failure::new(
                    "io_error",
                    format!("the database's directory: WASI error {errno}"),
                ));
            }
        }
        inner.engine().defer_commits(true);
        stoolap::common::on_commit_point(guard::disarm);
        let executor = Rc::new(Executor::new(inner.engine().clone()));
        guard::uninterruptible(|| make_lazy_values(&executor))?;
        let executor = RefCell::new(executor);
        Ok(Self {
            location: location(dsn).to_owned(),
            dsn: dsn.to_owned(),
            inner,
            executor,
            plans: RefCell::default(),
            writers: Rc::default(),
            commits: RefCell::default(),
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

    /// Checks the names in a statement, and says what it may do to references, by the tables as they are now.
    pub fn effects(&self, plan: &Plan) -> Outcome<Rc<[Effect]>> {
        let engine = self.inner.engine();
        let epoch = engine.schema_epoch();
        let mut checked = plan.checked.borrow_mut();
        if let Some(Checked { epoch: then, effects }) = &*checked
            && *then == epoch
        {
            return Ok(effects.clone());
        }
        names::check(&plan.cached.statement, engine)?;
        let effects: Rc<[Effect]> = references::effects(&plan.cached.statement, engine).into();
        *checked = Some(Checked { epoch, effects: effects.clone() });
        Ok(effects)
    }

    /// Whether an open transaction has written something.
    pub fn has_writers(&self) -> bool {
        Rc::strong_count(&self.writers) > 1
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
    pub fn forget_results(&self, executor: &Executor) {
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
    pub fn settle(&self) -> Outcome<()> {
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

    pub fn check(&self) -> Outcome<()> {
        if self.lost.get() {
            let message = "the log could not be written: close the database, and open it again";
            return Err(Failure::new("io_error", message));
        }
        Ok(())
    }

    pub fn close(&self) -> Outcome<()> {
        let settled = self.settle();
        guard::uninterruptible(|| {
            if self.lost.get() {
                return abandon(&self.inner);
            }
            self.inner.close()
        })??;
        settled
    }
}

/// Closes a database without writing what is in memory.
fn abandon(inner: &stoolap::Database) -> EngineResult<()> {
    let mut config = inner.engine().config();
    config.persistence.checkpoint_on_close = false;
    inner.engine().update_engine_config(config)?;
    inner.close()
}

/// The engine opens a database without the rows of a volume that it cannot read.
fn refuse_lost_volumes(inner: &stoolap::Database) -> Outcome<()> {
    let Some((table, volume)) = inner.engine().missing_volumes().into_iter().next() else { return Ok(()) };
    guard::uninterruptible(|| abandon(inner))??;
    let printed = guard::printed();
    let reason = printed
        .lines()
        .find(|line| line.contains("Failed to read volume"))
        .unwrap_or("there is no such file");
    let message = format!(
        "rows of the table {table:?} are lost: the engine cannot read vol_{volume:016x}.vol ({reason}). Nothing was \
         removed; restore a backup"
    );
    Err(Failure::new("corrupt", message).with("table", table))
}

/// The engine passes over the volumes of a table without a manifest, and removes them once there is a new one.
fn tell_of_lost_manifests(folder: &Path) {
    let is_volume = |path: &Path| path.extension().is_some_and(|extension| extension == "vol");
    for table in entries(&folder.join("volumes")) {
        if !table.join("manifest.bin").exists() && entries(&table).iter().any(|path| is_volume(path)) {
            eprintln!(
                "Warning: {table:?} has no manifest.bin, as after a crash: the rows that the log does not hold are left out"
            );
        }
    }
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(folder)
        .map_or_else(|_| Vec::new(), |found| found.flatten().map(|entry| entry.path()).collect())
}

/// Makes what the engine makes at first use: what is stopped while it is made would be poisoned for good.
fn make_lazy_values(executor: &Executor) {
    executor.engine().find_referencing_fks("");
    let anything = Expression::NullLiteral(NullLiteral { token: Token::eof(Default::default()) });
    let _ = RowFilter::new(&anything, &[]);
    let _ = executor.execute("SELECT 1 + 1 AS x WHERE 1 IN (SELECT 1) AND EXISTS (SELECT 2)");
    // A reserved word is looked for where a name is expected.
    let _ = Parser::new("CREATE TABLE t (select INTEGER)").parse_program();
}

/// What two DSNs of the same database have in common.
pub fn location(dsn: &str) -> &str {
    dsn.split('?').next().unwrap_or(dsn)
}
