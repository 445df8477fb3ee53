//! The change table of an SQLite file, without a driver: the SQL to run, and what its rows mean.
//!
//! Both statements of a page must run in one transaction: a page without the bounds of its own moment could
//! pass over rows that were written, or pruned, in between.

use std::fmt;

use selfsame_core::Cell;

use crate::{EchoPolicy, Origin, Position};

/// Columns `k1` to `k8` of the change table hold the parts of a key.
pub const KEY_COLUMNS_MAX: usize = 8;

/// The layout of the change table that this version reads.
const FORMAT: i64 = 1;

/// Each watched table has one trigger for inserts, one for updates and one for deletes.
const RECORDERS: i64 = 3;

/// One table of an SQLite file as a change stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqliteFeed {
    table: String,
    key_columns: usize,
    policy: EchoPolicy,
}

/// The one row of [`SqliteFeed::BOUNDS_SQL`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The store's id, made once with the tables.
    pub store: Option<String>,
    /// The layout of the tables.
    pub format: Option<i64>,
    /// How many of the table's triggers are there.
    pub recorders: i64,
    /// The first position that is still there, of any table.
    pub oldest: Option<i64>,
    /// The last position ever given out, to any table.
    pub newest: Option<i64>,
}

/// One row of [`SqliteFeed::ROWS_SQL`], columns in its order.
#[derive(Clone, Debug, PartialEq)]
pub struct ChangeRow {
    /// `seq`.
    pub seq: i64,
    /// `op`.
    pub op: String,
    /// `old_version`; `None` if the driver cannot read it.
    pub old_version: Option<Cell>,
    /// `origin`.
    pub origin: Option<String>,
    /// `k1` to `k8` with the types that SQLite stored; `None` for text that is not Unicode. What follows the
    /// key's own columns is not looked at.
    pub key: Vec<Option<Cell>>,
}

/// What happened to a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// It was inserted. A REPLACE shows as the insert of a key that may have existed.
    Insert,
    /// It was updated.
    Update,
    /// It was deleted.
    Delete,
}

/// One change of one row. The row's content is not in the change table: read it by its key, and take what is
/// there now.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Its position.
    pub seq: i64,
    /// What happened.
    pub operation: Operation,
    /// The parts of the key, as they are stored.
    pub key: Vec<Cell>,
    /// What the version's column held before; `Null` for inserts, and where the version is no column. `None` for
    /// text that is not Unicode.
    pub old_version: Option<Cell>,
    /// Who made it: a client, or a repair.
    pub origin: Origin,
}

/// A place at which changes of the table may be missing. The consumer reads the whole table again, after it has
/// taken the page's [`Page::next`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// What came up to here was told.
    pub after: i64,
    /// What comes after this is told again.
    pub until: i64,
    /// Why.
    pub cause: GapCause,
}

/// Why changes may be missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GapCause {
    /// They were pruned before the consumer came: it was away for longer than the table's retention.
    Pruned,
    /// The recording began here, or was interrupted: the table was made anew, say.
    Cut,
    /// The stream has gone back: the file was restored from a copy.
    WentBack,
    /// Another store lies at the path.
    OtherStore,
    /// A change whose key cannot be told, because it is not Unicode.
    UnreadableKey,
    /// A change with a marker that this version does not know: neither a client's, nor certainly a repair.
    UnknownMarker(String),
    /// An operation that this version does not know.
    UnknownOperation(String),
}

impl fmt::Display for GapCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            GapCause::Pruned => "changes were pruned before they were read",
            GapCause::Cut => "the recording began or was interrupted here",
            GapCause::WentBack => "the stream has gone back",
            GapCause::OtherStore => "another store lies here now",
            GapCause::UnreadableKey => "a change whose key is not unicode",
            GapCause::UnknownMarker(_) => "a change with an unknown origin marker",
            GapCause::UnknownOperation(_) => "an unknown kind of change",
        })
    }
}

/// What a consumer is told.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A change that is for it.
    Change(Change),
    /// Changes may be missing here.
    Gap(Gap),
}

/// Some of the stream.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    /// In commit order.
    pub events: Vec<Event>,
    /// How many repairs were left out.
    pub suppressed: u64,
    /// Where to go on once the events are dealt with.
    pub next: Position,
    /// Whether there may be more at once.
    pub more: bool,
}

/// A file whose changes cannot be followed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FeedError {
    /// More parts of a key than the change table has, or none.
    #[error("a key has 1 to {KEY_COLUMNS_MAX} columns, not {0}")]
    KeyColumns(usize),
    /// The table's triggers are not there: changes would go unnoticed.
    #[error(
        "changes of table `{0}` are not recorded; hint: spell it as it was declared; an agent with `setup: auto` \
         makes the triggers, `selfsame setup --print-sql` prints them"
    )]
    NotRecorded(String),
    /// Tables of another version.
    #[error("the `_selfsame_*` tables have another format than {FORMAT}; hint: update the consumer")]
    Format,
}

impl SqliteFeed {
    /// The bounds of the stream. `?1` is the table. One row; columns as in [`Bounds`].
    pub const BOUNDS_SQL: &'static str = "\
SELECT (SELECT value FROM _selfsame_meta WHERE name = 'store_id'),
       (SELECT value FROM _selfsame_meta WHERE name = 'format'),
       (SELECT count(*) FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = ?1 AND name IN
         ('_selfsame_insert_' || ?1, '_selfsame_update_' || ?1, '_selfsame_delete_' || ?1)),
       (SELECT min(seq) FROM _selfsame_changes),
       (SELECT seq FROM sqlite_sequence WHERE name = '_selfsame_changes')";

    /// A page of changes. `?1` is the position after which it begins, `?2` the table, `?3` the number of rows.
    /// Columns as in [`ChangeRow`].
    pub const ROWS_SQL: &'static str = "\
SELECT seq, op, old_version, origin, k1, k2, k3, k4, k5, k6, k7, k8
FROM _selfsame_changes WHERE seq > ?1 AND tbl = ?2 ORDER BY seq LIMIT ?3";

    /// The stream of a table (spelt as it was declared) whose key has so many columns.
    pub fn new(
        table: impl Into<String>,
        key_columns: usize,
        policy: EchoPolicy,
    ) -> Result<SqliteFeed, FeedError> {
        if !(1..=KEY_COLUMNS_MAX).contains(&key_columns) {
            return Err(FeedError::KeyColumns(key_columns));
        }
        Ok(SqliteFeed { table: table.into(), key_columns, policy })
    }

    /// The table.
    pub fn table(&self) -> &str {
        &self.table
    }

    /// The end of the stream: where a consumer begins that copies the whole table next.
    pub fn end(&self, bounds: &Bounds) -> Result<Position, FeedError> {
        if bounds.recorders != RECORDERS {
            return Err(FeedError::NotRecorded(self.table.clone()));
        }
        let store =
            bounds.store.clone().filter(|_| bounds.format == Some(FORMAT)).ok_or(FeedError::Format)?;
        Ok(Position { store, seq: bounds.newest.unwrap_or(0) })
    }

    /// What the rows after a position mean. `rows` are all rows of [`SqliteFeed::ROWS_SQL`] with `after.seq` and
    /// `rows_max`, from the same transaction as the bounds.
    pub fn page(
        &self,
        after: &Position,
        bounds: &Bounds,
        rows: impl IntoIterator<Item = ChangeRow>,
        rows_max: usize,
    ) -> Result<Page, FeedError> {
        let end = self.end(bounds)?;
        let gap = |until, cause| Event::Gap(Gap { after: after.seq, until, cause });
        let begun_anew = match (after.store == end.store, after.seq > end.seq) {
            (false, _) => Some(GapCause::OtherStore),
            (true, true) => Some(GapCause::WentBack),
            (true, false) => None,
        };
        if let Some(cause) = begun_anew {
            let events = vec![gap(end.seq, cause)];
            return Ok(Page { events, suppressed: 0, next: end, more: false });
        }
        let mut page = Page { events: Vec::new(), suppressed: 0, next: end, more: false };
        let first_known = bounds.oldest.unwrap_or(page.next.seq + 1);
        if after.seq + 1 < first_known {
            page.events.push(gap(first_known - 1, GapCause::Pruned));
        }
        let (mut count, mut last) = (0, after.seq);
        for row in rows {
            count += 1;
            let seq = row.seq;
            match self.interpret(row) {
                Ok(change) if self.policy.delivers(&change.origin) => page.events.push(Event::Change(change)),
                Ok(_) => page.suppressed += 1,
                Err(cause) => page.events.push(Event::Gap(Gap { after: last, until: seq, cause })),
            }
            last = seq;
        }
        if count >= rows_max {
            // Beyond the last row nothing was looked at.
            page.next.seq = last;
            page.more = true;
        }
        Ok(page)
    }

    /// What one row means: a change, or why changes may be missing here.
    pub fn interpret(&self, row: ChangeRow) -> Result<Change, GapCause> {
        let operation = match row.op.as_str() {
            "insert" => Operation::Insert,
            "update" => Operation::Update,
            "delete" => Operation::Delete,
            "cut" => return Err(GapCause::Cut),
            _ => return Err(GapCause::UnknownOperation(row.op)),
        };
        let origin = match Origin::of(row.origin.as_deref()) {
            Origin::Unknown(marker) => return Err(GapCause::UnknownMarker(marker)),
            known => known,
        };
        let key: Option<Vec<Cell>> = row.key.into_iter().take(self.key_columns).collect();
        let key = key.filter(|key| key.len() == self.key_columns).ok_or(GapCause::UnreadableKey)?;
        Ok(Change { seq: row.seq, operation, key, old_version: row.old_version, origin })
    }
}
