//! The change feed: what the triggers recorded, in commit order.
//!
//! SQLite has one writer at a time, and positions are given out under its lock and taken back with a rollback:
//! their order is the order of commits.

use rusqlite::OptionalExtension;
use selfsame_core::{Cell, Document, Key, LastSeen, OriginMarker, Row};
use selfsame_store::{Change, ChangeKind, Changes, FeedPosition, PageSize};

use crate::cell::{Raw, value_bytes};
use crate::fault::Outcome;
use crate::session::View;
use crate::setup::{key_column, operation};
use crate::sql::list;

/// The columns that are read before the key's.
const COLUMNS_BEFORE_KEY: usize = 5;

/// A row of the feed.
enum Recorded {
    Change(Change),
    /// A change that cannot be told, or a place at which changes went unrecorded.
    Hole,
}

/// The changes after `from`, or `None` if the triggers are not in place.
///
/// `gap` says that rows after `from` were pruned, that recording was interrupted there, that the feed itself went
/// back, or that the table lets rows of other keys be evicted unseen. An answer ends before the next hole, so
/// that `gap` always speaks of its beginning.
pub(crate) fn changes(view: &View<'_>, from: FeedPosition, size: PageSize) -> Outcome<Option<Changes>> {
    if view.table.setup.lacks.is_some() {
        return Ok(None);
    }
    let always_gap = view.table.evicts_other_keys;
    let last = last_position(view)?;
    if from.0 > last {
        return Ok(Some(Changes { changes: Vec::new(), next: FeedPosition(last), gap: true }));
    }
    let oldest: Option<i64> = view
        .connection
        .prepare_cached("SELECT min(seq) FROM _selfsame_changes")?
        .query_row([], |row| row.get(0))?;
    // The first position of which the feed still knows.
    let known_from = oldest.map_or(last + 1, |oldest| u64::try_from(oldest).unwrap_or_default());
    let mut answer = Changes { changes: Vec::new(), next: from, gap: from.0 + 1 < known_from || always_gap };
    let keys = list((1..=view.table.key.len()).map(key_column));
    let sql = format!(
        "SELECT seq, op, old_version, old_expiry, origin, {keys} FROM _selfsame_changes WHERE seq > ?1 AND tbl = ?2 ORDER BY seq"
    );
    let mut statement = view.connection.prepare_cached(&sql)?;
    let after = i64::try_from(from.0).unwrap_or(i64::MAX);
    let mut rows = statement.query((after, &view.table.name))?;
    let mut bytes = 0_usize;
    while let Some(row) = rows.next()? {
        let position = FeedPosition(row.get::<_, i64>(0)?.try_into().unwrap_or_default());
        let begun = !answer.changes.is_empty();
        match recorded(view, row, position)? {
            Recorded::Hole if begun => return Ok(Some(answer)),
            Recorded::Hole => answer.gap = true,
            Recorded::Change(change) => {
                for place in 0..view.table.key.len() {
                    bytes = bytes.saturating_add(value_bytes(row.get_ref(place + COLUMNS_BEFORE_KEY)?));
                }
                if begun && (answer.changes.len() >= size.rows || bytes > size.bytes) {
                    return Ok(Some(answer));
                }
                answer.changes.push(change);
            }
        }
        answer.next = position;
    }
    // Nothing else of this table up to the last change of any table.
    answer.next = FeedPosition(last);
    Ok(Some(answer))
}

/// The highest position ever given out.
fn last_position(view: &View<'_>) -> Outcome<u64> {
    let last: Option<i64> = view
        .connection
        .prepare_cached("SELECT seq FROM sqlite_sequence WHERE name = '_selfsame_changes'")?
        .query_row([], |row| row.get(0))
        .optional()?;
    Ok(last.map_or(0, |last| u64::try_from(last).unwrap_or_default()))
}

fn recorded(view: &View<'_>, row: &rusqlite::Row<'_>, position: FeedPosition) -> Outcome<Recorded> {
    let kind = match row.get_ref(1)?.as_str() {
        Ok(operation::INSERT) => ChangeKind::Insert,
        Ok(operation::UPDATE) => ChangeKind::Update,
        Ok(operation::DELETE) => ChangeKind::Delete,
        _ => return Ok(Recorded::Hole),
    };
    let origin = match row.get_ref(4)?.as_str_or_null() {
        Ok(None) => None,
        Ok(Some(marker)) => match marker.parse::<OriginMarker>() {
            Ok(marker) => Some(marker),
            // Not a client's change, but nobody knows whose.
            Err(_) => return Ok(Recorded::Hole),
        },
        Err(_) => return Ok(Recorded::Hole),
    };
    let mut key = Vec::new();
    for column in 0..view.table.key.len() {
        match Raw::from(row.get_ref(column + COLUMNS_BEFORE_KEY)?).into_cell() {
            Some(cell) => key.push(cell),
            None => return Ok(Recorded::Hole),
        }
    }
    let (version, expiry) = (Raw::from(row.get_ref(2)?).into_cell(), Raw::from(row.get_ref(3)?).into_cell());
    let Some(key_read) = key_of(view, &key) else { return Ok(Recorded::Hole) };
    let old = match (kind, version, expiry) {
        (ChangeKind::Update | ChangeKind::Delete, Some(version), Some(expiry)) => {
            old_row(view, &key, version, expiry)
        }
        _ => None,
    };
    Ok(Recorded::Change(Change { position, key: key_read, kind, old, origin }))
}

/// A document of a key and these columns alone, which the mapping reads as it reads them in rows.
fn document_of(
    view: &View<'_>,
    key: &[Cell],
    columns: impl IntoIterator<Item = (String, Cell)>,
) -> Result<Document, Option<Key>> {
    let spec = view.mapping.spec();
    let mut cells: Vec<(String, Cell)> = spec.key.iter().cloned().zip(key.iter().cloned()).collect();
    for (name, cell) in columns {
        if !cells.iter().any(|(known, _)| *known == name) {
            cells.push((name, cell));
        }
    }
    if let Some(document) = &spec.document {
        cells.push((document.clone(), Cell::Text("{}".to_owned())));
    }
    for column in spec.columns.iter().flatten() {
        if !cells.iter().any(|(name, _)| name == column) {
            cells.push((column.clone(), Cell::Null));
        }
    }
    view.mapping.document(Row::new(cells), "a change").map_err(|unreadable| unreadable.key)
}

fn key_of(view: &View<'_>, key: &[Cell]) -> Option<Key> {
    match document_of(view, key, []) {
        Ok(document) => Some(document.entry.key),
        Err(key) => key,
    }
}

/// What the row was before the change; `None` if version or expiry is no column, or held something else.
fn old_row(view: &View<'_>, key: &[Cell], version: Cell, expiry: Cell) -> Option<LastSeen> {
    let (spec, table) = (view.mapping.spec(), view.table);
    // Without a version field every version is 0, as it is in rows; without an expiry field nothing expires.
    let told = (table.version_column.is_some() || spec.version.is_none())
        && (table.expiry_column.is_some() || spec.expiry.is_none());
    let version = table.version_column.clone().map(|name| (name, version));
    let expiry = table.expiry_column.clone().map(|name| (name, expiry));
    let document = told.then(|| document_of(view, key, version.into_iter().chain(expiry)).ok()).flatten()?;
    Some(LastSeen { version: document.entry.version, expiry: document.entry.expiry })
}
