//! A ready-made tail of one table's changes, with rusqlite.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags, Row};
use selfsame_core::Cell;

use crate::{Bounds, ChangeRow, FeedError, KEY_COLUMNS_MAX, Page, Position, SqliteFeed};

/// How long a read waits for a lock; in WAL mode it never has to. A guess.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// The columns of the change table before its key.
const COLUMNS_BEFORE_KEY: usize = 4;

/// Follows one table of one file. It opens the file for reading with each call, so that a file that was replaced
/// is noticed, and keeps nothing: the consumer keeps the position.
#[derive(Clone, Debug)]
pub struct SqliteTail {
    path: PathBuf,
    feed: SqliteFeed,
}

/// A page that could not be read.
#[derive(Debug, thiserror::Error)]
pub enum TailError {
    /// SQLite failed: try again.
    #[error("cannot read the change table: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// Changes of the table cannot be followed.
    #[error(transparent)]
    Feed(#[from] FeedError),
}

impl SqliteTail {
    /// The tail of a feed in a file. Nothing is opened yet.
    pub fn new(path: impl AsRef<Path>, feed: SqliteFeed) -> SqliteTail {
        SqliteTail { path: path.as_ref().to_owned(), feed }
    }

    /// The end of the stream. A new consumer takes it, then copies the table, then reads from it on: what it copied
    /// may come once more, and nothing is missed.
    pub fn end(&self) -> Result<Position, TailError> {
        let mut connection = self.open()?;
        let snapshot = connection.transaction()?;
        Ok(self.feed.end(&self.bounds(&snapshot)?)?)
    }

    /// At most `rows_max` changes after a position (at least one). The same position gives the same changes
    /// again, until they are pruned: a consumer that keeps its position with its work loses and doubles nothing.
    pub fn read(&self, after: &Position, rows_max: usize) -> Result<Page, TailError> {
        let rows_max = rows_max.max(1);
        let mut connection = self.open()?;
        let snapshot = connection.transaction()?;
        let bounds = self.bounds(&snapshot)?;
        let mut statement = snapshot.prepare(SqliteFeed::ROWS_SQL)?;
        let limit = i64::try_from(rows_max).unwrap_or(i64::MAX);
        let rows = statement.query_map((after.seq, self.feed.table(), limit), change_row)?;
        let rows = rows.collect::<Result<Vec<_>, _>>()?;
        Ok(self.feed.page(after, &bounds, rows, rows_max)?)
    }

    fn open(&self) -> rusqlite::Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.path, flags)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        Ok(connection)
    }

    fn bounds(&self, snapshot: &Connection) -> Result<Bounds, TailError> {
        let tables: i64 = snapshot.query_row(
            "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name IN ('_selfsame_meta', '_selfsame_changes')",
            [],
            |row| row.get(0),
        )?;
        if tables < 2 {
            return Err(FeedError::NotRecorded(self.feed.table().to_owned()).into());
        }
        Ok(snapshot.query_row(SqliteFeed::BOUNDS_SQL, [self.feed.table()], |row| {
            Ok(Bounds {
                store: row.get(0)?,
                format: row.get(1)?,
                recorders: row.get(2)?,
                oldest: row.get(3)?,
                newest: row.get(4)?,
            })
        })?)
    }
}

fn change_row(row: &Row<'_>) -> rusqlite::Result<ChangeRow> {
    let key = (0..KEY_COLUMNS_MAX)
        .map(|column| row.get_ref(COLUMNS_BEFORE_KEY + column).map(cell))
        .collect::<Result<_, _>>()?;
    Ok(ChangeRow {
        seq: row.get(0)?,
        op: row.get(1)?,
        old_version: cell(row.get_ref(2)?),
        origin: row.get(3)?,
        key,
    })
}

/// The cell of a stored value; `None` for text that is not Unicode.
fn cell(value: ValueRef<'_>) -> Option<Cell> {
    Some(match value {
        ValueRef::Null => Cell::Null,
        ValueRef::Integer(value) => Cell::Integer(value),
        ValueRef::Real(value) => Cell::Real(value),
        ValueRef::Text(bytes) => Cell::Text(String::from_utf8(bytes.to_vec()).ok()?),
        ValueRef::Blob(bytes) => Cell::Bytes(bytes.to_vec()),
    })
}
