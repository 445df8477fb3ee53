//! One repair, within the transaction that holds the write lock.
//!
//! A repair writes the row that it names and no other: conflicts abort, foreign keys that would cascade refuse,
//! and whatever does not read back as intended is rolled back.

use rusqlite::{ErrorCode, params_from_iter};
use selfsame_core::{Cell, Document, Key, Row};
use selfsame_store::{Expected, Refusal, RepairItem, Write, WriteOutcome};

use crate::cell::Raw;
use crate::fault::{Fault, Outcome, sqlite_words};
use crate::references::referring;
use crate::rows::{Found, StoredRow};
use crate::schema::{Table, is_mapped};
use crate::session::View;
use crate::sql::{identifier, list, parameters};

/// Applies one repair, or finds out why not. Unless the outcome is [`WriteOutcome::Applied`], the caller rolls
/// back what was tried.
pub(crate) fn attempt(view: &View<'_>, item: &RepairItem) -> Outcome<WriteOutcome> {
    let repair = item.marker.repair.to_string();
    let mut applied = view.connection.prepare_cached("SELECT 1 FROM _selfsame_origin WHERE repair = ?1")?;
    if applied.exists([&repair])? {
        return Ok(WriteOutcome::AlreadyThere);
    }
    let stored = match view.find(&item.key)? {
        Found::Several(_) => return Err(Fault::Refused(Refusal::Unreadable)),
        Found::Row(row) => Some(row),
        Found::Absent => None,
    };
    let target = match &stored {
        Some(row) => match &row.document {
            Ok(document) => Some((document, row.as_ref())),
            Err(_) => return Err(Fault::Refused(Refusal::Unreadable)),
        },
        None => None,
    };
    let as_expected = match (item.expected, target) {
        (Expected::Absent, None) => true,
        (Expected::Row(digest), Some((document, _))) => document.row_digest == digest,
        _ => false,
    };
    match &item.write {
        Write::Delete => match target {
            None => Ok(WriteOutcome::AlreadyThere),
            Some(_) if !as_expected => Ok(WriteOutcome::Changed),
            Some((_, row)) => delete(view, item, row),
        },
        Write::Put(winner) => {
            let fitting = winner_document(view, item, winner);
            let Some((document, row)) = target else {
                return if as_expected { insert(view, item, &fitting?) } else { Ok(WriteOutcome::Changed) };
            };
            let changes = Changes::of(view, document, winner);
            let already = |winner: &Document| {
                changes.columns.is_empty() || (!as_expected && same_content(document, winner))
            };
            if fitting.as_ref().is_ok_and(already) {
                Ok(WriteOutcome::AlreadyThere)
            } else if !as_expected {
                Ok(WriteOutcome::Changed)
            } else {
                update(view, item, (document, row), &fitting?, changes)
            }
        }
    }
}

/// The columns that a repair changes, and what to.
struct Changes<'a> {
    columns: Vec<&'a str>,
    cells: Vec<Cell>,
}

impl<'a> Changes<'a> {
    fn of(view: &View<'a>, target: &Document, winner: &Row) -> Changes<'a> {
        let table: &'a Table = view.table;
        let merged = view.mapping.merged(Some(&target.row), winner);
        let (mut columns, mut cells) = (Vec::new(), Vec::new());
        for (index, column) in table.columns.iter().enumerate() {
            // The key is the same key, however the winner stores it.
            let is_key = table.key.iter().any(|key| key.column == index);
            let (Some(cell), Some(own)) = (merged.cell(&column.name), target.row.cell(&column.name)) else {
                continue;
            };
            let same =
                Raw::of_cell(cell).zip(Raw::of_cell(own)).is_some_and(|(one, two)| one.same_bits(&two));
            if !is_key && !column.generated && !same {
                columns.push(column.name.as_str());
                cells.push(cell.clone());
            }
        }
        Changes { columns, cells }
    }
}

fn refused<T>(message: String) -> Outcome<T> {
    Err(Fault::Refused(Refusal::Schema(message)))
}

/// The winner's row as this table's mapping reads it; a row that it cannot hold is refused.
fn winner_document(view: &View<'_>, item: &RepairItem, winner: &Row) -> Outcome<Document> {
    for (name, _) in winner.cells() {
        let known = view.table.columns.iter().any(|column| column.name == *name);
        if !known && is_mapped(view.mapping, name) {
            return refused(format!(
                "table `{}` has no column `{name}`, which the winner has; hint: add it, or name the content in `columns`",
                view.table.name
            ));
        }
    }
    match view.mapping.document(winner.clone(), "the winner's row") {
        Ok(document) if document.entry.key == item.key => Ok(document),
        Ok(_) => refused("the winner's row has another key than the repair".to_owned()),
        Err(unreadable) => refused(format!("the winner's row cannot be read here: {}", unreadable.reason)),
    }
}

/// Whether both are one document, whatever belongs to the application alone.
fn same_content(one: &Document, other: &Document) -> bool {
    one.entry == other.entry && one.marked == other.marked
}

fn delete(view: &View<'_>, item: &RepairItem, row: &StoredRow) -> Outcome<WriteOutcome> {
    refuse_if_referred_to(view, row, None)?;
    let sql = format!("DELETE FROM {} WHERE {}", identifier(&view.table.name), view.table.key_condition());
    write(view, item, &sql, row.key.iter())?;
    match view.find(&item.key)? {
        Found::Absent => Ok(WriteOutcome::Applied { after: None }),
        Found::Row(_) | Found::Several(_) => {
            refused(format!("a trigger of table `{}` brings the deleted row back", view.table.name))
        }
    }
}

fn insert(view: &View<'_>, item: &RepairItem, winner: &Document) -> Outcome<WriteOutcome> {
    let merged = view.mapping.merged(None, &winner.row);
    let written = view.table.columns.iter().filter(|column| !column.generated);
    let (mut names, mut values) = (Vec::new(), Vec::new());
    for column in written {
        if let Some(cell) = merged.cell(&column.name) {
            names.push(identifier(&column.name));
            values.push(storable(cell, &column.name)?);
        }
    }
    // The conflict clause overrides those of the table, which may say REPLACE.
    let sql = format!(
        "INSERT OR ABORT INTO {} ({}) VALUES ({})",
        identifier(&view.table.name),
        list(names),
        parameters(values.len())
    );
    write(view, item, &sql, values.iter())?;
    read_back(view, &item.key, winner, None)
}

fn update(
    view: &View<'_>,
    item: &RepairItem,
    (target, row): (&Document, &StoredRow),
    winner: &Document,
    changes: Changes<'_>,
) -> Outcome<WriteOutcome> {
    let named = changes.columns.iter().zip(&changes.cells);
    let values = named.map(|(name, cell)| storable(cell, name)).collect::<Outcome<Vec<_>>>()?;
    refuse_if_referred_to(view, row, Some(&changes.columns))?;
    let sql = format!(
        "UPDATE OR ABORT {} SET {} WHERE {}",
        identifier(&view.table.name),
        list(changes.columns.iter().map(|name| format!("{} = ?", identifier(name)))),
        view.table.key_condition()
    );
    write(view, item, &sql, values.iter().chain(&row.key))?;
    read_back(view, &item.key, winner, Some(target))
}

fn storable(cell: &Cell, column: &str) -> Outcome<Raw> {
    match Raw::of_cell(cell) {
        Some(raw) => Ok(raw),
        None => refused(format!("sqlite has no exact value for the winner's column `{column}`")),
    }
}

/// A delete, or an update of the `changed` columns, must not set off anything in other rows.
fn refuse_if_referred_to(view: &View<'_>, row: &StoredRow, changed: Option<&[&str]>) -> Outcome<()> {
    match referring(view.connection, view.table, &row.key, changed)? {
        None => Ok(()),
        Some(child) => Err(Fault::Refused(Refusal::Constraint(format!(
            "FOREIGN KEY constraint: referred to by {child}"
        )))),
    }
}

/// Runs the statement, with the marker where the change triggers see it, and beside it for those who ask later.
fn write<'a>(
    view: &View<'_>,
    item: &RepairItem,
    sql: &str,
    values: impl Iterator<Item = &'a Raw>,
) -> Outcome<()> {
    let connection = view.connection;
    let marker = item.marker.to_string();
    connection
        .prepare_cached("INSERT OR REPLACE INTO _selfsame_meta (name, value) VALUES ('writing', ?1)")?
        .execute([&marker])?;
    let rows = connection
        .prepare_cached(sql)
        .and_then(|mut statement| statement.execute(params_from_iter(values)))
        .map_err(refusal_of)?;
    connection.prepare_cached("DELETE FROM _selfsame_meta WHERE name = 'writing'")?.execute([])?;
    if rows != 1 {
        return Err(Fault::Refused(Refusal::Constraint(format!(
            "a trigger of table `{}` ignores the write",
            view.table.name
        ))));
    }
    connection
        .prepare_cached("INSERT INTO _selfsame_origin (repair, marker, at) VALUES (?1, ?2, ?3)")?
        .execute((item.marker.repair.to_string(), &marker, crate::apply::wall_micros()))?;
    Ok(())
}

/// What the table would not take is one repair's failure; all else ends the batch.
fn refusal_of(error: rusqlite::Error) -> Fault {
    let Some((code, words)) = sqlite_words(&error) else { return Fault::Sqlite(error) };
    match code {
        ErrorCode::ConstraintViolation => {
            Fault::Refused(Refusal::Constraint(words.unwrap_or("constraint failed").to_owned()))
        }
        ErrorCode::TypeMismatch | ErrorCode::TooBig | ErrorCode::Unknown => {
            tracing::warn!(%error, "a repair's statement was refused");
            Fault::Refused(Refusal::Schema(
                "the table does not take the winner's row; hint: see the agent's log".to_owned(),
            ))
        }
        _ => Fault::Sqlite(error),
    }
}

/// What the row became, if that is what the repair is for.
fn read_back(
    view: &View<'_>,
    key: &Key,
    winner: &Document,
    before: Option<&Document>,
) -> Outcome<WriteOutcome> {
    match view.find(key)? {
        Found::Row(row) => match row.document {
            Ok(after) if !same_content(&after, winner) => {
                Err(Fault::Refused(Refusal::Incomparable(format!("table `{}`", view.table.name))))
            }
            Ok(after) if before.is_some_and(|before| before.row_digest == after.row_digest) => {
                Ok(WriteOutcome::AlreadyThere)
            }
            Ok(after) => Ok(WriteOutcome::Applied { after: Some(after.row_digest) }),
            Err(unreadable) => refused(format!("the written row cannot be read: {}", unreadable.reason)),
        },
        Found::Absent | Found::Several(_) => refused(format!(
            "the written row is not found under its key; hint: compare the key columns' types of table `{}` with \
             the other replicas'",
            view.table.name
        )),
    }
}
