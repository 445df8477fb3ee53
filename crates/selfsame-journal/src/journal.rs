//! The journal itself: one connection behind a mutex, transactions that are synced before they return.

mod outcomes;

use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use rusqlite::{Connection, Transaction, TransactionBehavior, params};
use selfsame_core::AgentName;

use crate::columns::{self, Table};
use crate::{JournalError, file};

/// What must survive at one agent. Several threads may share it; one process at a time has it open.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    pub(crate) options: JournalOptions,
    connection: Mutex<Connection>,
}

/// Settings of a journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JournalOptions {
    /// Whether the rows that repairs replace are kept, for undo.
    pub before_images: bool,
    /// A before-image whose encoding has more bytes is not kept; the intent says so.
    pub before_image_bytes_max: usize,
}

impl Default for JournalOptions {
    /// Before-images are kept up to 8 MiB, the default of `document_bytes_max`: what is repaired can be undone.
    fn default() -> Self {
        Self { before_images: true, before_image_bytes_max: 8 * 1024 * 1024 }
    }
}

/// Whether the journal may be taken for the whole memory of its agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The file was made here and nobody has said yet that nothing was lost: beside a store that carries the
    /// agent's counter, the agent takes shard records and ledgers from its peers before it votes.
    Fresh,
    /// [`Journal::settle`] was called.
    Settled,
}

/// Where a page of rows ended. Opaque, durable for the life of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cursor(pub i64);

/// A page of rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Page<T> {
    /// The rows.
    pub rows: Vec<T>,
    /// Where the next page begins; `None` when these were the last.
    pub next: Option<Cursor>,
}

impl<T> Page<T> {
    /// Whether the list was cut.
    pub fn truncated(&self) -> bool {
        self.next.is_some()
    }

    /// Makes a page of at most `limit` rows (0 counts as 1) from what a query gave that asked for one more.
    pub(crate) fn cut(mut rows: Vec<(i64, T)>, limit: usize) -> Page<T> {
        let limit = limit.max(1);
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = rows.last().filter(|_| more).map(|(id, _)| Cursor(*id));
        Page { rows: rows.into_iter().map(|(_, row)| row).collect(), next }
    }
}

impl Cursor {
    /// The id after which a page begins.
    pub(crate) fn start(after: Option<Cursor>) -> i64 {
        after.map_or(i64::MIN, |cursor| cursor.0)
    }
}

const FACT: Table = Table { name: "fact", key_columns: 1 };

impl Journal {
    /// Opens the journal in `path`, or makes one where no file is. Its directory must exist.
    ///
    /// Checks the whole file, in time proportional to its size. A file that is empty, cut, garbage, not a
    /// journal, or of a newer format is an error and stays as it is.
    pub fn open(path: &Path, options: JournalOptions) -> Result<Journal, JournalError> {
        let connection = file::open(path)?;
        Ok(Journal { path: path.to_owned(), options, connection: Mutex::new(connection) })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether anyone has vouched for this journal's completeness; durable.
    pub fn standing(&self) -> Result<Standing, JournalError> {
        self.read(|connection| {
            let sql = "SELECT name, value FROM fact WHERE name = 'standing'";
            let read = |columns: &columns::Columns<'_>| {
                columns.coded("value", |code| match code {
                    "fresh" => Some(Standing::Fresh),
                    "settled" => Some(Standing::Settled),
                    _ => None,
                })
            };
            Ok(columns::first(connection, FACT, sql, [], read)?.unwrap_or(Standing::Fresh))
        })
    }

    /// Makes this the journal of an agent, if it is nobody's yet; gives the name of the agent whose it is.
    pub fn belong_to(&self, agent: &AgentName) -> Result<AgentName, JournalError> {
        self.write(|transaction| {
            let sql = "INSERT INTO fact(name, value) VALUES ('agent', ?1) ON CONFLICT(name) DO NOTHING";
            columns::run(transaction, sql, params![agent.as_str()])?;
            let sql = "SELECT name, value FROM fact WHERE name = 'agent'";
            let owner = columns::first(transaction, FACT, sql, [], |columns| columns.parsed("value"))?;
            Ok(owner.unwrap_or_else(|| agent.clone()))
        })
    }

    /// Says that nothing was lost, or that it was fetched again.
    pub fn settle(&self) -> Result<(), JournalError> {
        self.write(|transaction| {
            let sql = "INSERT INTO fact(name, value) VALUES ('standing', ?1)
                       ON CONFLICT(name) DO UPDATE SET value = excluded.value";
            columns::run(transaction, sql, params!["settled"]).map(|_| ())
        })
    }

    /// Reads under the mutex: several statements see one state.
    pub(crate) fn read<T>(
        &self,
        body: impl FnOnce(&Connection) -> Result<T, JournalError>,
    ) -> Result<T, JournalError> {
        body(&self.connection.lock()).map_err(|error| error.at(&self.path))
    }

    /// One transaction: committed and synced when this returns `Ok`, else without any trace.
    pub(crate) fn write<T>(
        &self,
        body: impl FnOnce(&Transaction<'_>) -> Result<T, JournalError>,
    ) -> Result<T, JournalError> {
        let mut connection = self.connection.lock();
        let attempt = || {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let result = body(&transaction)?;
            transaction.commit()?;
            Ok(result)
        };
        attempt().map_err(|error: JournalError| error.at(&self.path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;

    #[test]
    fn a_journal_is_that_of_the_agent_that_first_opened_it() {
        let place = Place::new();
        let (a, b): (AgentName, AgentName) = ("a".parse().unwrap(), "b".parse().unwrap());
        assert_eq!(place.open().belong_to(&a).unwrap(), a);
        assert_eq!(place.open().belong_to(&b).unwrap(), a);
        assert_eq!(place.open().belong_to(&a).unwrap(), a);
    }

    #[test]
    fn a_journal_is_shared_by_threads() {
        fn shared<T: Send + Sync>() {}
        shared::<Journal>();
    }

    #[test]
    fn a_new_journal_is_fresh_until_somebody_vouches_for_it() {
        let place = Place::new();
        assert_eq!(place.open().standing().unwrap(), Standing::Fresh);
        let journal = place.open();
        assert_eq!(journal.standing().unwrap(), Standing::Fresh);
        journal.settle().unwrap();
        drop(journal);
        assert_eq!(place.open().standing().unwrap(), Standing::Settled);
    }

    #[test]
    fn a_failed_write_leaves_no_trace() {
        let place = Place::new();
        let journal = place.open();
        let failed: Result<(), JournalError> = journal.write(|transaction| {
            columns::run(transaction, "INSERT INTO fact VALUES ('x', 'y')", [])?;
            Err(JournalError::Unstorable { what: "test", value: 0 })
        });
        assert!(failed.is_err());
        let count = journal.read(|connection| {
            Ok(connection
                .query_row("SELECT count(*) FROM fact WHERE name = 'x'", [], |row| row.get::<_, i64>(0))?)
        });
        assert_eq!(count.unwrap(), 0);
    }
}
