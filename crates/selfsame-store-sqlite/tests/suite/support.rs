//! A real file in a directory of its own, a store on it, and the application beside it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;
use selfsame_core::{
    Cause, Cell, Document, Fingerprinter, Key, KeyAs, Mapping, MappingSpec, OriginMarker, RepairId, Row,
    RunId, ShardCount, TimeField, Unit,
};
use selfsame_store::{
    Changes, Expected, FeedPosition, PageSize, Read, RepairBatch, RepairItem, Scope, Store, Write,
    WriteOutcome,
};
use selfsame_store_sqlite::{SqliteOptions, SqliteStore};

pub(crate) const ALL: PageSize = PageSize { rows: 1_000_000, bytes: usize::MAX };

/// A table of one document column.
pub(crate) const DOCUMENTS: &str = "CREATE TABLE t (id INTEGER PRIMARY KEY, body TEXT NOT NULL)";
/// A table whose columns are the document.
pub(crate) const COLUMNS: &str =
    "CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT, price REAL, updated_at INTEGER, views INTEGER)";

pub(crate) struct File {
    /// Removed with it.
    pub(crate) _directory: tempfile::TempDir,
    pub(crate) path: PathBuf,
}

impl File {
    /// A file with what the script makes in it, in WAL mode.
    pub(crate) fn new(script: &str) -> File {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("app.db");
        let connection = Connection::open(&path).unwrap();
        connection.pragma_update(None, "journal_mode", "wal").unwrap();
        connection.execute_batch(script).unwrap();
        File { _directory: directory, path }
    }

    /// A connection as the application would have it.
    pub(crate) fn client(&self) -> Connection {
        let connection = Connection::open(&self.path).unwrap();
        connection.busy_timeout(Duration::from_secs(60)).unwrap();
        connection.pragma_update(None, "foreign_keys", false).unwrap();
        connection
    }

    pub(crate) fn execute(&self, script: &str) {
        self.client().execute_batch(script).unwrap();
    }

    pub(crate) fn number(&self, sql: &str) -> i64 {
        self.client().query_row(sql, [], |row| row.get(0)).unwrap()
    }

    pub(crate) fn options(&self, spec: MappingSpec) -> SqliteOptions {
        let mapping = Mapping::new(spec, Fingerprinter::new("fleet", "t", b"")).unwrap();
        SqliteOptions {
            busy_timeout: Duration::from_secs(60),
            ..SqliteOptions::new(&self.path, "t", Arc::new(mapping))
        }
    }

    pub(crate) async fn store(&self, spec: MappingSpec) -> SqliteStore {
        SqliteStore::open(self.options(spec)).await.unwrap()
    }
}

pub(crate) fn millis(field: &str) -> Option<TimeField> {
    Some(TimeField { field: field.into(), unit: Unit::Millis })
}

/// The key `id`, everything else content.
pub(crate) fn plain() -> MappingSpec {
    MappingSpec {
        key: vec!["id".into()],
        key_as: KeyAs::Native,
        document: None,
        columns: None,
        version: None,
        expiry: None,
        deletion: None,
        ignore_fields: vec![],
        shards: ShardCount::new(4).unwrap(),
        document_bytes_max: 1 << 20,
    }
}

/// For [`DOCUMENTS`].
pub(crate) fn documents() -> MappingSpec {
    MappingSpec {
        document: Some("body".into()),
        version: millis("updated_at"),
        deletion: millis("deleted_at"),
        ignore_fields: vec!["views".into()],
        ..plain()
    }
}

/// For [`COLUMNS`].
pub(crate) fn columns() -> MappingSpec {
    MappingSpec { version: millis("updated_at"), ignore_fields: vec!["views".into()], ..plain() }
}

pub(crate) fn row(cells: &[(&str, Cell)]) -> Row {
    Row::new(cells.iter().map(|(name, cell)| ((*name).to_owned(), cell.clone())).collect())
}

pub(crate) fn text(text: &str) -> Cell {
    Cell::Text(text.to_owned())
}

pub(crate) fn marker(number: u64) -> OriginMarker {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&number.to_be_bytes());
    OriginMarker {
        agent: "a".parse().unwrap(),
        run: RunId::from_bytes([7; 16]),
        repair: RepairId::from_bytes(id),
        cause: Cause::MissedUpdate,
    }
}

pub(crate) fn put(number: u64, key: Key, expected: Expected, row: Row) -> RepairItem {
    RepairItem { marker: marker(number), key, expected, write: Write::Put(row) }
}

pub(crate) fn delete(number: u64, key: Key, expected: Expected) -> RepairItem {
    RepairItem { marker: marker(number), key, expected, write: Write::Delete }
}

pub(crate) async fn apply_one(store: &SqliteStore, item: RepairItem) -> WriteOutcome {
    let mut outcomes = store.apply(&RepairBatch { items: vec![item] }).await.unwrap();
    assert_eq!(outcomes.len(), 1);
    outcomes.remove(0)
}

pub(crate) async fn read_one(store: &SqliteStore, key: &Key) -> Read {
    store.read(std::slice::from_ref(key)).await.unwrap().remove(0)
}

pub(crate) async fn live(store: &SqliteStore, key: &Key) -> Document {
    match read_one(store, key).await {
        Read::Live(document) => document,
        other => panic!("{key}: {other:?}"),
    }
}

pub(crate) async fn expected(store: &SqliteStore, key: &Key) -> Expected {
    match read_one(store, key).await.document() {
        Some(document) => Expected::Row(document.row_digest),
        None => Expected::Absent,
    }
}

/// All rows, page by page, each page checked against its limits.
pub(crate) async fn walk(
    store: &SqliteStore,
    page: PageSize,
) -> Vec<Result<Document, selfsame_core::Unreadable>> {
    let (mut rows, mut from) = (Vec::new(), None);
    loop {
        let found = store.scan(Scope::All, from.as_ref(), page).await.unwrap();
        assert!(found.rows.len() <= page.rows);
        assert!(!found.rows.is_empty() || found.next.is_none());
        rows.extend(found.rows);
        match found.next {
            Some(next) => from = Some(next),
            None => return rows,
        }
    }
}

pub(crate) async fn keys(store: &SqliteStore, rows: usize) -> Vec<Key> {
    let rows = walk(store, PageSize { rows, bytes: usize::MAX }).await;
    rows.into_iter().map(|row| row.unwrap().entry.key).collect()
}

pub(crate) async fn changes(store: &SqliteStore, from: u64) -> Changes {
    store.changes(FeedPosition(from), ALL).await.unwrap()
}
