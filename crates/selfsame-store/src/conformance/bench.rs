//! Where rules work: tables, replicas, and the few steps that most rules share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use selfsame_core::{
    Cause, Document, Fingerprinter, Key, KeyAs, Mapping, MappingSpec, OriginMarker, RepairId, Row, RowDigest,
    RunId, ShardCount, TimeField, Unit, Unreadable,
};

use super::harness::{Column, ColumnKind, Forbids, Harness, KeyKind, Replica, Shape, Supports, Table};
use super::sample::Sample;
use crate::{
    Cursor, Expected, PageSize, Read, RepairBatch, RepairItem, Scope, Store, StoreError, Write, WriteOutcome,
};

/// Why a rule did not pass.
pub(super) enum Stop {
    Failed(String),
    Skipped(String),
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Stop::Failed(format!("the store answered with an error: {error}"))
    }
}

impl From<Box<dyn std::error::Error + Send + Sync>> for Stop {
    fn from(error: Box<dyn std::error::Error + Send + Sync>) -> Self {
        Stop::Failed(format!("the harness failed: {error}"))
    }
}

/// Fails the rule unless a condition holds.
macro_rules! ensure {
    ($condition:expr, $($why:tt)*) => {
        if !$condition {
            return Err($crate::conformance::bench::Stop::Failed(format!($($why)*)));
        }
    };
}
pub(super) use ensure;

/// A page without effective limits.
pub(super) const WHOLE: PageSize = PageSize { rows: 1_000, bytes: 1 << 30 };

/// Of documents in all tables but those that ask for less.
pub(super) const DOCUMENT_BYTES_MAX: u64 = 1 << 20;

/// One rule in one shape.
pub(super) struct Bench<'a> {
    pub(super) harness: &'a dyn Harness,
    pub(super) supports: &'a Supports,
    pub(super) shape: Shape,
    skipped: Mutex<Vec<String>>,
}

impl<'a> Bench<'a> {
    pub(super) fn new(harness: &'a dyn Harness, supports: &'a Supports, shape: Shape) -> Self {
        Self { harness, supports, shape, skipped: Mutex::default() }
    }

    /// Reports a part of the rule that is not tried.
    pub(super) fn skip(&self, why: String) {
        self.skipped.lock().push(why);
    }

    pub(super) fn skipped_parts(&self) -> Vec<String> {
        std::mem::take(&mut *self.skipped.lock())
    }

    /// The type of keys in most rules.
    pub(super) fn key_kind(&self) -> KeyKind {
        self.supports.key_kinds.first().copied().unwrap_or(KeyKind::Text)
    }

    /// A live document with the key of that number.
    pub(super) fn sample(&self, id: i64) -> Sample {
        Sample::new(self.key_kind(), id)
    }

    /// The table of most rules.
    pub(super) fn table(&self) -> Table {
        let key_as = self.supports.key_as.first().copied().unwrap_or_default();
        self.table_with(&[self.key_kind()], key_as, DOCUMENT_BYTES_MAX)
    }

    pub(super) fn table_with(&self, keys: &[KeyKind], key_as: KeyAs, document_bytes_max: u64) -> Table {
        let column = |name: &str, kind, nullable| Column { name: name.to_owned(), kind, nullable };
        // Not in alphabetical order, so that whoever sorts the key's columns is found out.
        let names = ["id", "bin"];
        let mut columns: Vec<Column> =
            names.iter().zip(keys).map(|(name, kind)| column(name, ColumnKind::Key(*kind), false)).collect();
        match self.shape {
            Shape::Document => columns.push(column("body", ColumnKind::Json, false)),
            Shape::Columns => columns.extend([
                column("name", ColumnKind::Text, false),
                column("amount", ColumnKind::Integer, true),
                column("updated_at", ColumnKind::Integer, true),
                column("expires_at", ColumnKind::Text, true),
                column("deleted_at", ColumnKind::Integer, true),
                column("views", ColumnKind::Integer, true),
            ]),
        }
        if self.supports.unmapped_fields {
            columns.push(column("note", ColumnKind::Text, true));
        }
        let content = || vec!["name".to_owned(), "amount".to_owned()];
        let time = |field: &str, unit| Some(TimeField { field: field.to_owned(), unit });
        let spec = MappingSpec {
            key: columns[..keys.len()].iter().map(|column| column.name.clone()).collect(),
            key_as,
            document: (self.shape == Shape::Document).then(|| "body".to_owned()),
            columns: (self.shape == Shape::Columns && self.supports.unmapped_fields).then(content),
            version: time("updated_at", Unit::Millis),
            expiry: time("expires_at", Unit::Rfc3339),
            deletion: time("deleted_at", Unit::Millis),
            ignore_fields: vec!["views".to_owned()],
            shards: ShardCount::new(4).expect("4 is within bounds"),
            document_bytes_max,
        };
        Table { columns, mapping: mapping(spec), forbids: None }
    }

    /// The same table behind a constraint on the content's text.
    pub(super) fn forbidding(&self, table: Table, text: &str) -> Table {
        let column = match self.shape {
            Shape::Document => "body",
            Shape::Columns => "name",
        };
        let forbids = Forbids { column: column.to_owned(), text: text.to_owned() };
        Table { forbids: Some(forbids), ..table }
    }

    /// An empty replica of the table of most rules.
    pub(super) async fn fixture(&self) -> Result<Fixture, Stop> {
        self.fixture_of(self.table()).await
    }

    pub(super) async fn fixture_of(&self, table: Table) -> Result<Fixture, Stop> {
        let replica = self.harness.replica(&table).await?;
        let store = replica.open().await?;
        Ok(Fixture { table, replica, store })
    }
}

pub(super) fn mapping(spec: MappingSpec) -> Mapping {
    Mapping::new(spec, Fingerprinter::new("conformance", "samples", b"secret"))
        .expect("the suite's own mappings do not contradict themselves")
}

/// A replica, and the store under test on it.
pub(super) struct Fixture {
    pub(super) table: Table,
    pub(super) replica: Arc<dyn Replica>,
    pub(super) store: Box<dyn Store>,
}

impl Fixture {
    pub(super) fn key(&self, sample: &Sample) -> Key {
        sample.key(self.table.mapping.spec().key_as)
    }

    /// A client writes.
    pub(super) async fn put(&self, sample: &Sample) -> Result<(), Stop> {
        Ok(self.replica.put(&self.row(sample)).await?)
    }

    pub(super) fn row(&self, sample: &Sample) -> Row {
        sample.row(&self.table)
    }

    /// A client deletes.
    pub(super) async fn delete(&self, sample: &Sample) -> Result<(), Stop> {
        Ok(self.replica.delete(&sample.key_row(&self.table)).await?)
    }

    /// The store under test reads one key.
    pub(super) async fn read(&self, sample: &Sample) -> Result<Read, Stop> {
        read_one(&*self.store, &self.key(sample)).await
    }

    /// The store under test reads one key that holds a document.
    pub(super) async fn document(&self, sample: &Sample) -> Result<Document, Stop> {
        match self.read(sample).await? {
            Read::Live(document) | Read::Marked(document) => Ok(document),
            other => Err(Stop::Failed(format!("key {}: {other:?} where a document is", self.key(sample)))),
        }
    }

    /// Fails unless the key reads back as the sample, or as absent.
    pub(super) async fn expect(&self, sample: &Sample, there: bool, when: &str) -> Result<(), Stop> {
        let read = self.read(sample).await?;
        match read.document() {
            Some(document) if there => match sample.difference(document, &self.table, None) {
                None => Ok(()),
                Some(difference) => Err(Stop::Failed(format!("{when}: {difference}"))),
            },
            None if !there && read == Read::Absent => Ok(()),
            _ => Err(Stop::Failed(format!("{when}: key {} reads as {read:?}", self.key(sample)))),
        }
    }

    /// The row that the store under test makes of a sample, as a winner's row comes from another replica with
    /// the same table. Leaves the key absent.
    pub(super) async fn winner(&self, sample: &Sample) -> Result<Row, Stop> {
        self.put(sample).await?;
        let row = self.document(sample).await?.row;
        self.delete(sample).await?;
        Ok(row)
    }

    /// A client writes, and the store under test reads it: the condition of a repair.
    pub(super) async fn stored(&self, sample: &Sample) -> Result<RowDigest, Stop> {
        self.put(sample).await?;
        Ok(self.document(sample).await?.row_digest)
    }

    /// A repair with an id of its own.
    pub(super) fn repair(&self, sample: &Sample, expected: Expected, write: Write) -> RepairItem {
        RepairItem { marker: marker(), key: self.key(sample), expected, write }
    }

    /// Applies one repair.
    pub(super) async fn apply_one(&self, item: &RepairItem) -> Result<WriteOutcome, Stop> {
        let mut outcomes = self.apply(std::slice::from_ref(item)).await?;
        Ok(outcomes.remove(0))
    }

    /// Applies a batch; there is one outcome for each item.
    pub(super) async fn apply(&self, items: &[RepairItem]) -> Result<Vec<WriteOutcome>, Stop> {
        apply_to(&*self.store, items).await
    }

    /// Walks the whole replica and returns what it saw, in order.
    pub(super) async fn walk(
        &self,
        scope: Scope,
        page: PageSize,
    ) -> Result<Vec<Result<Document, Unreadable>>, Stop> {
        let (mut seen, mut cursor) = (Vec::new(), None);
        // A store that never ends its scan is stopped here, far above any rule's number of rows.
        for _ in 0..5_000 {
            let found = self.store.scan(scope, cursor.as_ref(), page).await?;
            check_page(&found.rows, found.next.as_ref(), page)?;
            seen.extend(found.rows);
            match found.next {
                None => return Ok(seen),
                next => cursor = next,
            }
        }
        Err(Stop::Failed(format!("a scan with {page:?} does not end")))
    }
}

/// Fails unless a page keeps to its size and to "at least one item unless it is the last".
pub(super) fn check_page(
    rows: &[Result<Document, Unreadable>],
    next: Option<&Cursor>,
    page: PageSize,
) -> Result<(), Stop> {
    let bytes: usize = rows.iter().flatten().map(|document| document.row.value_bytes()).sum();
    ensure!(rows.len() <= page.rows, "a page of {} rows where {} were asked for", rows.len(), page.rows);
    ensure!(
        bytes <= page.bytes || rows.len() == 1,
        "a page of {bytes} bytes in {} rows where {} bytes were asked for",
        rows.len(),
        page.bytes
    );
    ensure!(!rows.is_empty() || next.is_none(), "an empty page that is not the last");
    Ok(())
}

/// The key of a row that a scan saw.
pub(super) fn key_of(row: &Result<Document, Unreadable>) -> Option<&Key> {
    match row {
        Ok(document) => Some(&document.entry.key),
        Err(unreadable) => unreadable.key.as_ref(),
    }
}

pub(super) async fn read_one(store: &dyn Store, key: &Key) -> Result<Read, Stop> {
    let mut found = store.read(std::slice::from_ref(key)).await?;
    ensure!(found.len() == 1, "{} answers for one key", found.len());
    Ok(found.remove(0))
}

pub(super) async fn apply_to(store: &dyn Store, items: &[RepairItem]) -> Result<Vec<WriteOutcome>, Stop> {
    let outcomes = store.apply(&RepairBatch { items: items.to_vec() }).await?;
    ensure!(outcomes.len() == items.len(), "{} outcomes for {} items", outcomes.len(), items.len());
    Ok(outcomes)
}

/// A marker that no other repair of this process has.
fn marker() -> OriginMarker {
    static REPAIRS: AtomicU64 = AtomicU64::new(1);
    let number = u128::from(REPAIRS.fetch_add(1, Ordering::Relaxed));
    OriginMarker {
        agent: "conformance".parse().expect("a valid name"),
        run: RunId::from_bytes([7; 16]),
        repair: RepairId::from_bytes(number.to_be_bytes()),
        cause: Cause::Unknown,
    }
}
