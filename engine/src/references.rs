//! Foreign keys between transactions. The engine checks them in what a transaction sees, so one that deletes a row and one
//! that adds a reference to it could both commit. Here the one that commits later fails, with a write conflict.
use rustc_hash::FxHashMap;
use stoolap::core::ForeignKeyAction;
use stoolap::parser::ast::Statement;
use stoolap::storage::mvcc::MVCCEngine;
use stoolap::storage::traits::Engine;

use crate::errors::Failure;

/// What a statement may do to the references to a table.
#[derive(Clone, Debug, Hash, PartialEq, Eq)]
pub enum Effect {
    Adds(String),
    /// Takes rows away that may be referred to.
    Removes(String),
}

impl Effect {
    fn opposite(&self) -> Self {
        match self {
            Effect::Adds(table) => Effect::Removes(table.clone()),
            Effect::Removes(table) => Effect::Adds(table.clone()),
        }
    }
}

/// What a statement may do, by the tables as they are now.
pub fn effects(statement: &Statement, engine: &MVCCEngine) -> Vec<Effect> {
    let mut effects = Vec::new();
    match statement {
        Statement::Insert(insert) => add(&insert.table_name.value_lower, engine, &mut effects),
        Statement::Copy(copy) => add(&copy.table_name.value_lower, engine, &mut effects),
        Statement::Update(update) => {
            add(&update.table_name.value_lower, engine, &mut effects);
            let changed = |column: &str| update.updates.keys().any(|name| name.eq_ignore_ascii_case(column));
            let table = update.table_name.value_lower.as_str();
            if engine.find_referencing_fks(table).iter().any(|(_, key)| changed(&key.referenced_column)) {
                remove(table, engine, &mut effects);
            }
        }
        Statement::Delete(delete) => remove(&delete.table_name.value_lower, engine, &mut effects),
        _ => {}
    }
    effects
}

fn add(table: &str, engine: &MVCCEngine, effects: &mut Vec<Effect>) {
    if let Ok(schema) = engine.get_table_schema(table) {
        effects.extend(schema.foreign_keys.iter().map(|key| Effect::Adds(key.referenced_table.clone())));
    }
}

fn remove(table: &str, engine: &MVCCEngine, effects: &mut Vec<Effect>) {
    let keys = engine.find_referencing_fks(table);
    let effect = Effect::Removes(table.to_owned());
    if keys.is_empty() || effects.contains(&effect) {
        return;
    }
    effects.push(effect);
    for (child, key) in keys.iter() {
        if key.on_delete == ForeignKeyAction::Cascade {
            remove(child, engine, effects);
        }
    }
}

/// An effect that a transaction has had, and the last commit that it saw then.
pub type Had = (Effect, u64);

/// The effects that were committed.
#[derive(Default)]
pub struct Commits {
    count: u64,
    last: FxHashMap<Effect, u64>,
}

impl Commits {
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Whether a transaction with these effects may commit.
    pub fn check(&self, had: &[Had]) -> Result<(), Failure> {
        let missed =
            |(effect, seen): &&Had| self.last.get(&effect.opposite()).is_some_and(|last| last > seen);
        match had.iter().find(missed) {
            Some((Effect::Adds(table) | Effect::Removes(table), _)) => {
                let message = format!(
                    "write conflict: another transaction has changed rows of \"{table}\", or references to them, meanwhile"
                );
                Err(Failure::new("write_conflict", message).with("table", table))
            }
            None => Ok(()),
        }
    }

    pub fn add(&mut self, had: Vec<Had>) {
        if !had.is_empty() {
            self.count += 1;
            self.last.extend(had.into_iter().map(|(effect, _)| (effect, self.count)));
        }
    }
}
