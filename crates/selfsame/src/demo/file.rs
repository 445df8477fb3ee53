//! A node's SQLite file as an ordinary client sees it: plain SQL, whole documents, no condition.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use rusqlite::{Connection, OpenFlags, OptionalExtension, TransactionBehavior, params};

use super::ledger::Row;

/// The collection and its table.
pub(super) const TABLE: &str = "characters";

/// How long a client waits for another's lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(20);

const SCHEMA: &str = "PRAGMA journal_mode = WAL;
CREATE TABLE characters (id TEXT PRIMARY KEY NOT NULL, body TEXT NOT NULL, updated_at INTEGER, expires_at INTEGER);";

/// A connection that writes.
pub(super) struct NodeFile {
    connection: Connection,
}

/// What a statement did to the one row of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Operation {
    Insert,
    Update,
    Delete,
}

impl Operation {
    /// The name in the change table.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Operation::Insert => "insert",
            Operation::Update => "update",
            Operation::Delete => "delete",
        }
    }
}

/// What a write found, and did.
#[derive(Debug)]
pub(super) struct Written {
    /// The row before it.
    pub(super) before: Option<Row>,
    /// `None` if there was nothing to delete.
    pub(super) operation: Option<Operation>,
}

impl NodeFile {
    /// Makes the file with its table.
    pub(super) fn create(path: &Path) -> Result<NodeFile> {
        let connection =
            Connection::open(path).with_context(|| format!("cannot make `{}`", path.display()))?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.execute_batch(SCHEMA)?;
        // The machine may lose power in the middle of a demo; nobody will mind.
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        Ok(NodeFile { connection })
    }

    /// Fills the empty table.
    pub(super) fn load<'a>(&mut self, rows: impl Iterator<Item = (&'a str, &'a Row)>) -> Result<()> {
        let transaction = self.connection.transaction()?;
        {
            let mut insert = transaction.prepare("INSERT INTO characters VALUES (?1, ?2, ?3, ?4)")?;
            for (id, row) in rows {
                insert.execute(params![id, &*row.body, row.updated_at, row.expires_at])?;
            }
        }
        transaction.commit()?;
        Ok(())
    }

    /// Copies the file, as it is at one moment: what a nightly backup does.
    pub(super) fn back_up(&self, path: &Path) -> Result<()> {
        let to = path.to_str().context("the demo's folder has no name in UTF-8")?;
        self.connection.execute("VACUUM INTO ?1", [to]).context("cannot make a backup")?;
        Ok(())
    }

    /// Writes a row (or, with `None`, deletes it) and tells what was there.
    pub(super) fn write(&mut self, id: &str, row: Option<&Row>) -> Result<Written> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let before = transaction
            .prepare_cached("SELECT body, updated_at, expires_at FROM characters WHERE id = ?1")?
            .query_row([id], |row| {
                let body: String = row.get(0)?;
                Ok(Row { body: Arc::from(body), updated_at: row.get(1)?, expires_at: row.get(2)? })
            })
            .optional()?;
        let operation = match (row, &before) {
            (Some(row), None) => {
                transaction
                    .prepare_cached("INSERT INTO characters VALUES (?1, ?2, ?3, ?4)")?
                    .execute(params![id, &*row.body, row.updated_at, row.expires_at])?;
                Some(Operation::Insert)
            }
            (Some(row), Some(_)) => {
                transaction
                    .prepare_cached(
                        "UPDATE characters SET body = ?2, updated_at = ?3, expires_at = ?4 WHERE id = ?1",
                    )?
                    .execute(params![id, &*row.body, row.updated_at, row.expires_at])?;
                Some(Operation::Update)
            }
            (None, Some(_)) => {
                transaction.prepare_cached("DELETE FROM characters WHERE id = ?1")?.execute([id])?;
                Some(Operation::Delete)
            }
            (None, None) => None,
        };
        transaction.commit()?;
        Ok(Written { before, operation })
    }
}

/// A connection that only reads.
pub(super) fn open_to_read(path: &Path) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)
        .with_context(|| format!("cannot read `{}`", path.display()))?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    Ok(connection)
}

/// Whether an agent has made its change table and triggers in the file.
pub(super) fn has_change_table(path: &Path) -> Result<bool> {
    let triggers: i64 = open_to_read(path)?.query_row(
        "SELECT count(*) FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = ?1 AND name GLOB '_selfsame_*'",
        [TABLE],
        |row| row.get(0),
    )?;
    Ok(triggers >= 3)
}
