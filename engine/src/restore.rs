//! `restore`: a snapshot takes the place of what a database holds, all of it or nothing.
//!
//! The engine restores into a database of its own, in the directory `.restoring` of the other one. When that has been
//! closed, opened again and found whole, it is renamed to `.restored`: from now on it counts. Its files are copied to the
//! places of the others, and are so again whenever the database is opened, until all of them are there.
use std::fs::{self, File};
use std::io::{self, BufWriter, ErrorKind};
use std::path::Path;

use crate::database::Database;
use crate::errors::Failure;
use crate::files::{self, entries};
use crate::guard;

/// Patch 071 knows this one.
const UNFINISHED: &str = ".restoring";
const FINISHED: &str = ".restored";
const PARTS: [&str; 2] = ["wal", "volumes"];

type Outcome<T> = Result<T, Failure>;

/// Restores a snapshot, the newest if none is named, so that it counts when `database` is opened the next time. Returns
/// what the engine says of it.
pub fn restore(database: &Database, timestamp: Option<&str>) -> Outcome<String> {
    let folder = database.folder();
    let (timestamp, tables) = find(&folder.join("snapshots"), timestamp)?;
    let aside = folder.join(UNFINISHED);
    let dsn = database.dsn.replacen(&database.location, &format!("file://{}", aside.display()), 1);
    remove(&aside).and_then(|()| forget_volumes(&folder.join("snapshots"))).map_err(refusal)?;
    let restored = build(&dsn, &timestamp).and_then(|said| {
        check(&dsn, tables)?;
        files::sync_all_directories().map_err(refusal)?;
        fs::rename(&aside, folder.join(FINISHED)).map_err(refusal)?;
        Ok(said)
    });
    if restored.is_err() {
        // Else it is removed when the database is opened.
        let _ = remove(&aside);
    }
    restored
}

/// Puts the files of a restored database in their places, if one is there. To be called before the engine opens any.
pub fn finish(folder: &Path) -> Outcome<()> {
    put_in_place(folder).map_err(|error| {
        Failure::new("io_error", format!("what was restored cannot be put in its place yet: {error}"))
    })
}

fn put_in_place(folder: &Path) -> io::Result<()> {
    let (unfinished, finished) = (folder.join(UNFINISHED), folder.join(FINISHED));
    remove(&unfinished)?;
    if finished.try_exists()? {
        files::sync_all_directories()?;
        for part in PARTS {
            remove(&folder.join(part))?;
            copy(&finished.join(part), &folder.join(part))?;
        }
        files::sync_all_directories()?;
        fs::rename(&finished, &unfinished)?;
        files::sync_all_directories()?;
        remove(&unfinished)?;
    }
    Ok(())
}

/// When a snapshot was made, and the tables that it lists; its list is written when all of it is there.
fn find(snapshots: &Path, timestamp: Option<&str>) -> Outcome<(String, Vec<String>)> {
    let none = |which: &str| Failure::new("maintenance", format!("there is no snapshot{which}"));
    let timestamp = match timestamp {
        Some(timestamp) => timestamp.to_owned(),
        None => newest(snapshots).map_err(refusal)?.ok_or_else(|| none(""))?,
    };
    let list = match fs::read(snapshots.join(format!("manifest-{timestamp}.json"))) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Err(none(&format!(" of {timestamp}"))),
        list => list.map_err(refusal)?,
    };
    let list: serde_json::Value = serde_json::from_slice(&list).map_err(damage)?;
    let names = list["tables"].as_array().ok_or_else(|| damage("it lists no tables"))?;
    let tables = names.iter().filter_map(|name| name.as_str().map(str::to_lowercase)).collect();
    Ok((timestamp, tables))
}

fn newest(snapshots: &Path) -> io::Result<Option<String>> {
    let mut newest = None;
    for entry in entries(snapshots)? {
        let name = entry.file_name();
        let timestamp = name.to_str().and_then(|name| name.strip_prefix("manifest-")?.strip_suffix(".json"));
        newest = newest.max(timestamp.map(str::to_owned));
    }
    Ok(newest)
}

/// The engine keeps the volumes that it makes of large snapshots beside them, with notes that they were used, which hold
/// for one database alone.
fn forget_volumes(snapshots: &Path) -> io::Result<()> {
    for table in entries(snapshots)? {
        if !table.file_type()?.is_dir() {
            continue;
        }
        for entry in entries(&table.path())? {
            let path = entry.path();
            if path.extension().is_some_and(|extension| extension == "vol" || extension == "promoted") {
                fs::remove_file(path)?;
            }
        }
    }
    Ok(())
}

fn build(dsn: &str, timestamp: &str) -> Outcome<String> {
    let aside = Database::open(dsn)?;
    aside.owe();
    let restored = aside.inner().restore_snapshot(Some(timestamp));
    let closed = aside.close();
    let said = restored.map_err(damage)?;
    closed?;
    guard::printed_failure().map_or(Ok(said), |printed| Err(damage(printed)))
}

/// Opens what was restored, and compares its tables with those of the snapshot.
fn check(dsn: &str, mut tables: Vec<String>) -> Outcome<()> {
    let aside = Database::open(dsn)?;
    let mut found = aside.inner().engine().get_all_table_names();
    aside.close()?;
    if let Some(printed) = guard::printed_failure() {
        return Err(damage(printed));
    }
    found.sort();
    tables.sort();
    match found == tables {
        true => Ok(()),
        false => Err(damage(format!("it has the tables {found:?}, and lists {tables:?}"))),
    }
}

fn refusal(error: io::Error) -> Failure {
    Failure::new("io_error", format!("nothing was restored: {error}"))
}

/// What the engine cannot read of a snapshot is damaged, unless the system has refused it.
fn damage(reason: impl ToString) -> Failure {
    let reason = reason.to_string();
    let code = if reason.contains("os error") { "io_error" } else { "corrupt" };
    Failure::new(code, format!("the snapshot cannot be restored, and nothing was changed: {reason}"))
}

/// Removes a directory, if it is there. The standard library would do so while it reads it, and WASI then leaves entries out.
fn remove(folder: &Path) -> io::Result<()> {
    for entry in entries(folder)? {
        match entry.file_type()?.is_dir() {
            true => remove(&entry.path())?,
            false => fs::remove_file(entry.path())?,
        }
    }
    match fs::remove_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in entries(from)? {
        let place = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &place)?;
        } else {
            let mut file = BufWriter::with_capacity(1 << 16, File::create(place)?);
            io::copy(&mut File::open(entry.path())?, &mut file)?;
            file.into_inner()?.sync_all()?;
        }
    }
    Ok(())
}
