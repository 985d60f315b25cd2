//! `Database`: the engine's, with its plans, and what it owes to its files.
use std::cell::{Cell, RefCell};
use std::io;
use std::mem::ManuallyDrop;
use std::path::Path;
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant, UNIX_EPOCH};

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
use crate::{files, guard, names, references, restore};

type Outcome<T> = Result<T, Failure>;

/// The engine's database, and what runs statements in it.
struct Opened {
    inner: Rc<stoolap::Database>,
    executor: Rc<Executor>,
}

pub struct Database {
    pub location: String,
    pub dsn: String,
    /// None until it is opened again.
    opened: RefCell<Option<Opened>>,
    plans: RefCell<Plans>,
    /// Each open transaction that has written has a copy.
    pub writers: Rc<()>,
    /// What was committed to the references between tables.
    pub commits: RefCell<Commits>,
    /// Something was committed that may not be durable yet; `ran`, by the last request.
    pub owes: Cell<bool>,
    pub ran: Cell<bool>,
    /// What is in memory cannot be trusted, or is not there: it is opened again before it is used.
    lost: Cell<bool>,
    /// The log could not be written: memory may hold more than the files.
    log_failed: Cell<bool>,
    /// A panic has left a lock unusable, and with it whatever needs that, even to be closed.
    poisoned: Cell<bool>,
    /// How many definitions there were; the engine's own count leaves out those of views.
    definitions: Cell<u64>,
    /// How many of them changed a table.
    alterations: Cell<u64>,
    patience: RefCell<Patience>,
}

/// When to try again to open a database, and why that is necessary.
#[derive(Default)]
struct Patience {
    next: Option<Instant>,
    pause: Duration,
    code: &'static str,
    message: String,
}

const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How many databases were left behind, poisoned. The crate knows databases by their DSNs and would give them back.
static LEFT_BEHIND: AtomicU32 = AtomicU32::new(0);

impl Database {
    pub fn open(dsn: &str) -> Outcome<Self> {
        let database = Self::absent(dsn);
        *database.opened.borrow_mut() = Some(Opened::open(dsn)?);
        database.lost.set(false);
        Ok(database)
    }

    /// A database of an instance that is gone. It is opened when it is used; one in memory is gone, too.
    pub fn absent(dsn: &str) -> Self {
        Self {
            location: location(dsn).to_owned(),
            dsn: dsn.to_owned(),
            opened: RefCell::default(),
            plans: RefCell::default(),
            writers: Rc::default(),
            commits: RefCell::default(),
            owes: Cell::default(),
            ran: Cell::default(),
            lost: Cell::new(true),
            log_failed: Cell::default(),
            poisoned: Cell::default(),
            definitions: Cell::default(),
            alterations: Cell::default(),
            patience: RefCell::default(),
        }
    }

    fn opened<T>(&self, use_it: impl FnOnce(&Opened) -> T) -> T {
        use_it(
            self.opened.borrow().as_ref().expect("a database that is lost is opened again before it is used"),
        )
    }

    pub fn inner(&self) -> Rc<stoolap::Database> {
        self.opened(|opened| opened.inner.clone())
    }

    pub fn executor(&self) -> Rc<Executor> {
        self.opened(|opened| opened.executor.clone())
    }

    pub fn plan(&self, sql: &str) -> Outcome<Rc<Plan>> {
        self.plans.borrow_mut().get(sql)
    }

    /// Checks the names in a statement, and says what it may do to references, by the tables as they are now.
    pub fn effects(&self, plan: &Plan) -> Outcome<Rc<[Effect]>> {
        let executor = self.executor();
        let engine = executor.engine();
        let epoch = engine.schema_epoch() + self.definitions.get();
        let mut checked = plan.checked.borrow_mut();
        if let Some(Checked { epoch: then, effects, .. }) = &*checked
            && *then == epoch
        {
            return Ok(effects.clone());
        }
        let statement = &*plan.cached.statement;
        let (resolved, moments) = names::resolved(statement, &executor)?;
        let resolved = resolved.map(|statement| plan.with(statement));
        let effects: Rc<[Effect]> = references::effects(statement, engine).into();
        *checked = Some(Checked { epoch, effects: effects.clone(), resolved, moments });
        Ok(effects)
    }

    /// What was checked before a definition is to be checked again.
    pub fn redefine(&self, alters: bool) {
        self.definitions.set(self.definitions.get() + 1);
        self.alterations.set(self.alterations.get() + u64::from(alters));
    }

    pub fn alterations(&self) -> u64 {
        self.alterations.get()
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
        if let Some(opened) = &mut *self.opened.borrow_mut() {
            opened.executor = Rc::new(Executor::new(opened.inner.engine().clone()));
        }
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

    pub fn folder(&self) -> &Path {
        Path::new(self.location.trim_start_matches("file://"))
    }

    pub fn is_file(&self) -> bool {
        self.dsn.starts_with("file://")
    }

    /// Notes that something may have been committed.
    pub fn owe(&self) {
        if self.is_file() && !self.lost.get() {
            self.owes.set(true);
            self.ran.set(true);
        }
    }

    /// Makes what was committed durable, as the database's options say. After a failure, what is in memory may be more than
    /// what the files hold, so the database is lost.
    pub fn settle(&self) -> Outcome<()> {
        if !self.owes.get() {
            return Ok(());
        }
        if self.log_failed.get() {
            return Err(log_failure("of a commit before it"));
        }
        let settled = guard::uninterruptible(|| self.inner().engine().settle_commits());
        // If that fails, it still owes: whoever waits for it is to hear of the failure, whoever met it first.
        let failure = match settled {
            Ok(Ok(())) => {
                self.owes.set(false);
                return Ok(());
            }
            Ok(Err(error)) => {
                self.lose_log();
                Failure::from(error)
            }
            Err(fault) => {
                self.leave_behind();
                Failure::from(fault)
            }
        };
        Err(log_failure(&failure.message))
    }

    pub fn is_lost(&self) -> bool {
        self.lost.get()
    }

    /// Whether nothing of it may be touched any more, not even to be dropped.
    pub fn is_poisoned(&self) -> bool {
        self.poisoned.get()
    }

    /// Notes what a failure says of the database itself.
    pub fn judge(&self, failure: &Failure) {
        match failure.code {
            "wal_poisoned" | "wal_unavailable" => self.lose_log(),
            "lock_failed" => self.poison(),
            "engine_panic" if failure.message.contains("PoisonError") => self.poison(),
            _ => {}
        }
    }

    /// The same, of a failure to define something.
    pub fn judge_definition(&self, failure: &Failure) {
        match failure.code {
            "io_error" => self.lose_log(),
            _ => self.judge(failure),
        }
    }

    /// The same, of a failure of what changes the database itself: after a panic, nobody knows what of it is in memory, and
    /// which locks.
    pub fn judge_change(&self, failure: &Failure) {
        self.judge_definition(failure);
        if failure.code == "engine_panic" {
            self.leave_behind();
        }
    }

    fn lose_log(&self) {
        if self.is_file() {
            self.give_up();
        }
    }

    fn leave_behind(&self) {
        if self.is_file() {
            self.give_up();
            self.poison();
        }
    }

    /// What is in memory is no more what the files hold, and is not to be written to them.
    pub fn give_up(&self) {
        self.log_failed.set(true);
        self.lost.set(true);
    }

    fn poison(&self) {
        self.poisoned.set(true);
        self.lost.set(true);
    }

    /// Whether it makes sense to try `reopen` now.
    pub fn may_reopen(&self) -> Outcome<()> {
        if !self.is_file() {
            let message = "the in-memory database is gone: the engine failed; open another one";
            return Err(Failure::new("lost", message));
        }
        let patience = self.patience.borrow();
        match patience.next {
            Some(next) if Instant::now() < next => Err(Failure::new(patience.code, patience.message.clone())),
            // Those who wait for commits are told what became of them first.
            _ => self.settle(),
        }
    }

    /// Opens it again, as its files hold it. What was made of it is gone by now.
    pub fn reopen(&self) -> Outcome<()> {
        let opened = self.opened.take();
        let _ = guard::uninterruptible(|| self.renew());
        let _ = opened.map(|opened| opened.discard(self.poisoned.get(), self.log_failed.get()));
        self.log_failed.set(false);
        self.poisoned.set(false);
        let mut patience = self.patience.borrow_mut();
        match Opened::open(&self.dsn) {
            Ok(opened) => {
                *self.opened.borrow_mut() = Some(opened);
                *patience = Patience::default();
                self.lost.set(false);
                Ok(())
            }
            Err(failure) => {
                let message = format!("the database cannot be opened again: {}", failure.message);
                patience.pause = (patience.pause * 2).clamp(SHORTEST_PAUSE, LONGEST_PAUSE);
                patience.next = Some(Instant::now() + patience.pause);
                patience.code = failure.code;
                patience.message.clone_from(&message);
                Err(Failure { message, ..failure })
            }
        }
    }

    pub fn close(&self) -> Outcome<()> {
        let settled = self.settle();
        let Some(opened) = self.opened.take() else { return settled };
        guard::uninterruptible(|| opened.discard(self.poisoned.get(), self.log_failed.get()))??;
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

/// The engine passes over the volumes of a table without a manifest, and removes them once there is a new one. Those that
/// no whole checkpoint knows were left by one that was interrupted: their rows are in the log.
fn tell_of_lost_manifests(folder: &Path) -> io::Result<()> {
    let wal = folder.join("wal");
    let published = std::fs::metadata(wal.join("checkpoint.meta"))
        .and_then(|meta| meta.modified())
        .ok()
        .and_then(|at| at.duration_since(UNIX_EPOCH).ok())
        .map(|at| at.as_micros());
    let log_is_whole =
        files::entries(&wal)?.iter().any(|file| file.file_name().as_encoded_bytes().ends_with(b"-lsn-0.log"));
    let is_lost = |made: u128| published.map_or(!log_is_whole, |at| made < at);
    for table in files::entries(&folder.join("volumes"))? {
        let path = table.path();
        if table.file_type()?.is_dir()
            && !path.join("manifest.bin").exists()
            && files::entries(&path)?.iter().filter_map(|file| made(&file.path())).any(is_lost)
        {
            eprintln!(
                "Warning: {path:?} has no manifest.bin: the rows that the log does not hold are left out"
            );
        }
    }
    Ok(())
}

/// When a volume was made, in microseconds since 1970: its name says so. None of other files.
fn made(path: &Path) -> Option<u128> {
    let name = path.file_name()?.to_str()?;
    u128::from_str_radix(name.strip_prefix("vol_")?.strip_suffix(".vol")?, 16).ok()
}

fn log_failure(reason: &str) -> Failure {
    Failure::new("io_error", format!("the log could not be written, and the commit may be lost: {reason}"))
}

impl Opened {
    fn open(dsn: &str) -> Outcome<Self> {
        let left_behind = LEFT_BEHIND.load(Relaxed);
        let separator = if dsn.contains('?') { '&' } else { '?' };
        let folder = location(dsn).strip_prefix("file://").map(Path::new);
        folder.map_or(Ok(()), restore::finish)?;
        guard::uninterruptible(|| folder.map_or(Ok(()), tell_of_lost_manifests))??;
        let inner = guard::uninterruptible(|| match (dsn, left_behind) {
            ("memory://", _) => stoolap::Database::open_in_memory(),
            (_, 0) => stoolap::Database::open(dsn),
            // An option that the crate does not know.
            _ => stoolap::Database::open(&format!("{dsn}{separator}after={left_behind}")),
        })??;
        if dsn.starts_with("file://") {
            refuse_lost_volumes(&inner)?;
            files::sync_all_directories()?;
        }
        inner.engine().defer_commits(true);
        stoolap::common::on_commit_point(guard::disarm);
        stoolap::common::on_stop_asked(guard::commit_stops);
        let executor = Rc::new(Executor::new(inner.engine().clone()));
        guard::uninterruptible(|| make_lazy_values(&executor))?;
        Ok(Self { inner: Rc::new(inner), executor })
    }

    /// Closes it; with a failed log, without writing anything. A poisoned one is left behind as it is, and so is one that
    /// panics: to drop it would close it once more.
    fn discard(self, poisoned: bool, log_failed: bool) -> Outcome<()> {
        let opened = ManuallyDrop::new(self);
        let closed = guard::uninterruptible(|| match (poisoned, log_failed) {
            (true, _) => None,
            (false, true) => Some(abandon(&opened.inner)),
            (false, false) => Some(opened.inner.close()),
        });
        if let Ok(Some(closed)) = closed {
            drop(ManuallyDrop::into_inner(opened));
            return closed.map_err(Failure::from);
        }
        LEFT_BEHIND.fetch_add(1, Relaxed);
        closed.map(drop).map_err(Failure::from)
    }
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
