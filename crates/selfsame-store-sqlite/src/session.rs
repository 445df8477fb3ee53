//! One connection to the file, and the certainty that it is a connection to the file that lies there now.
//!
//! Before each call the file at the path is compared with the one that was opened, and again after it: what an
//! old file says is never passed off as the live one's word.

use std::path::PathBuf;
use std::sync::Arc;

use rusqlite::{Connection, OpenFlags};
use selfsame_core::Mapping;
use selfsame_store::StoreError;

use crate::fault::{Fault, Outcome};
use crate::file::FileStamp;
use crate::options::{Access, SqliteOptions};
use crate::schema::Table;

/// Prepared statements kept: those of reading, writing and the feed, with some shapes of keys; a guess.
const STATEMENTS_KEPT: usize = 64;

/// What a session's connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Reader,
    Writer,
}

/// How a transaction begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Begin {
    /// A snapshot, for reading.
    Snapshot,
    /// The write lock at once, so that nothing read in the transaction can change before it ends.
    WriteLock,
}

/// A connection that is opened when it is needed, and anew when the file was replaced.
pub(crate) struct Session {
    options: Arc<SqliteOptions>,
    /// Absolute: neither the working directory nor `file:` at the start changes what it means.
    path: PathBuf,
    role: Role,
    open: Option<Opened>,
}

struct Opened {
    connection: Connection,
    stamp: FileStamp,
    /// The table as of a version of the schema.
    table: Option<(i64, Table)>,
}

/// What a piece of work sees within a transaction.
pub(crate) struct View<'a> {
    pub(crate) connection: &'a Connection,
    pub(crate) table: &'a Table,
    pub(crate) mapping: &'a Mapping,
    pub(crate) options: &'a SqliteOptions,
    pub(crate) file: FileStamp,
}

impl Session {
    /// A session that has not opened the file yet.
    pub(crate) fn new(options: Arc<SqliteOptions>, role: Role) -> Result<Session, StoreError> {
        let path = std::path::absolute(&options.path).map_err(|_| {
            StoreError::Unavailable(format!("`{}` is no path; hint: check it", options.path.display()))
        })?;
        Ok(Session { options, path, role, open: None })
    }

    /// Runs a piece of work in one transaction, and tells the caller what went wrong in this crate's words.
    pub(crate) fn run<T>(
        &mut self,
        begin: Begin,
        work: impl FnOnce(&View<'_>) -> Outcome<T>,
    ) -> Result<T, StoreError> {
        self.transact(begin, work).map_err(|fault| self.told(fault))
    }

    /// The caller's version of a fault.
    pub(crate) fn told(&self, fault: Fault) -> StoreError {
        fault.told(&self.path, &self.options.table)
    }

    /// Closes the connection; the next call opens the file anew.
    pub(crate) fn reset(&mut self) {
        self.open = None;
    }

    /// Runs a piece of work in one transaction: committed if the work is done, else rolled back.
    pub(crate) fn transact<T>(
        &mut self,
        begin: Begin,
        work: impl FnOnce(&View<'_>) -> Outcome<T>,
    ) -> Outcome<T> {
        let result = self.transact_on_open(begin, work);
        match &result {
            Err(fault) if fault.spoils_connection() => self.open = None,
            Err(_) => {
                if let Some(opened) = &self.open
                    && !opened.connection.is_autocommit()
                    && opened.connection.execute_batch("ROLLBACK").is_err()
                {
                    self.open = None;
                }
            }
            Ok(_) => {}
        }
        result
    }

    fn transact_on_open<T>(
        &mut self,
        begin: Begin,
        work: impl FnOnce(&View<'_>) -> Outcome<T>,
    ) -> Outcome<T> {
        let (options, path) = (self.options.clone(), self.path.clone());
        let opened = self.opened()?;
        let stamp = opened.stamp;
        opened.connection.execute_batch(match begin {
            Begin::Snapshot => "BEGIN",
            Begin::WriteLock => "BEGIN IMMEDIATE",
        })?;
        // The first read of the transaction: all that follows sees the same schema and the same rows.
        let version: i64 = opened.connection.query_row("PRAGMA schema_version", [], |row| row.get(0))?;
        let table = match opened.table.take() {
            Some((seen, table)) if seen == version => table,
            _ => Table::inspect(&opened.connection, &path, &options.table, &options.mapping)?,
        };
        let table = &opened.table.insert((version, table)).1;
        let connection = &opened.connection;
        let view = View { connection, table, mapping: &options.mapping, options: &options, file: stamp };
        let done = work(&view)?;
        let unchanged = || match FileStamp::of(&path)?.same_file(&stamp) {
            true => Ok(()),
            false => Err(StoreError::Unavailable(format!(
                "`{}` was replaced during the call; hint: it is opened anew with the next one",
                path.display()
            ))),
        };
        unchanged()?;
        connection.execute_batch("COMMIT").map_err(|error| match (begin, &error) {
            (Begin::WriteLock, rusqlite::Error::SqliteFailure(failure, _))
                if failure.code == rusqlite::ErrorCode::ConstraintViolation =>
            {
                Fault::DeferredForeignKey
            }
            _ => Fault::Sqlite(error),
        })?;
        unchanged()?;
        Ok(done)
    }

    /// The connection to the file that lies at the path now.
    fn opened(&mut self) -> Outcome<&mut Opened> {
        let stamp = FileStamp::of(&self.path).inspect_err(|_| self.open = None)?;
        let reusable = match self.open.take() {
            Some(opened) if opened.stamp.same_file(&stamp) => {
                if opened.stamp != stamp {
                    // Somebody wrote to it. If that was not SQLite, cached pages may be those of other content.
                    opened.connection.release_memory()?;
                }
                Some(Opened { stamp, ..opened })
            }
            _ => None,
        };
        let opened = match reusable {
            Some(opened) => opened,
            None => self.open_file(stamp)?,
        };
        Ok(self.open.insert(opened))
    }

    fn open_file(&self, stamp: FileStamp) -> Outcome<Opened> {
        let place = self.path.display();
        // Without CREATE: a file that vanished meanwhile is not made.
        let flags = match self.options.access {
            Access::ReadOnly => OpenFlags::SQLITE_OPEN_READ_ONLY,
            Access::ReadWrite => OpenFlags::SQLITE_OPEN_READ_WRITE,
        };
        let connection = Connection::open_with_flags(&self.path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        if !FileStamp::of(&self.path)?.same_file(&stamp) {
            return Err(StoreError::Unavailable(format!(
                "`{place}` was replaced while it was opened; hint: it is opened anew with the next call"
            ))
            .into());
        }
        connection.busy_timeout(self.options.busy_timeout)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
        match self.role {
            Role::Reader => connection.execute_batch("PRAGMA query_only = ON")?,
            Role::Writer => {
                // EXTRA, since with FULL and a rollback journal a power loss may still undo the last commit.
                connection.execute_batch("PRAGMA foreign_keys = ON; PRAGMA synchronous = EXTRA")?;
                if connection.is_readonly("main")? {
                    return Err(StoreError::Unavailable(format!(
                        "`{place}` may not be written; hint: check its permissions, or open it read-only"
                    ))
                    .into());
                }
            }
        }
        Ok(Opened { connection, stamp, table: None })
    }
}
