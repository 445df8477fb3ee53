//! A store in memory: the smallest whole implementation of the port, and the model for others.
//!
//! It keeps rows, not documents: what a row means is asked of the mapping each time, as with a real table. It
//! never takes a shortcut that a real store could not take: no cache, no document without a row.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use selfsame_core::{
    Document, Key, KeyAs, LastSeen, Mapping, MappingSpec, OriginMarker, Reader, RepairId, Row, Unreadable,
    UnreadableReason, Writer,
};

use crate::{
    Capabilities, Change, ChangeKind, Changes, Cursor, Expected, FeedPosition, Identity, Page, PageSize,
    Read, Refusal, RepairBatch, RepairItem, Scope, Store, StoreError, Write, WriteOutcome,
};

/// One replica in memory.
///
/// A clone is another instance on the same rows, as after a restart: nothing that counts is kept outside them.
/// [`Store`] is the sidecar's side of it; the methods here are what clients of the store do.
#[derive(Clone)]
pub struct MemoryStore {
    mapping: Arc<Mapping>,
    /// Reads a key as it is stored, whatever it is compared as: the table's own primary key.
    stored: Arc<Mapping>,
    #[expect(clippy::type_complexity, reason = "it is used here alone")]
    constraint: Option<Arc<dyn Fn(&Row) -> Option<String> + Send + Sync>>,
    table: Arc<Mutex<Table>>,
}

/// Where a row is: sorted by the document's key, then by the key as stored. Rows without a readable key come
/// first, told apart by all their bytes. More than one row to a key happens under `key_as: string`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    key: Option<Key>,
    stored: Vec<u8>,
}

/// What a [`MemoryStore`] held at an instant.
#[derive(Clone)]
pub struct MemoryBackup {
    counter: u64,
    rows: BTreeMap<Place, Row>,
    applied: BTreeSet<RepairId>,
}

#[derive(Default)]
struct Table {
    store_id: String,
    counter: u64,
    rows: BTreeMap<Place, Row>,
    applied: BTreeSet<RepairId>,
    /// What happened since [`Table::feed_start`]. `None` is a change to a row without a readable key.
    feed: Vec<Option<Change>>,
    feed_start: u64,
}

impl MemoryStore {
    /// An empty replica with the identity `store_id`.
    pub fn new(mapping: Mapping, store_id: &str) -> Self {
        let native = MappingSpec { key_as: KeyAs::Native, ..mapping.spec().clone() };
        let stored = Mapping::new(native, mapping.fingerprinter().clone())
            .expect("`key_as` is no part of what a mapping checks");
        let table = Table { store_id: store_id.to_owned(), ..Table::default() };
        let table = Arc::new(Mutex::new(table));
        Self { mapping: Arc::new(mapping), stored: Arc::new(stored), constraint: None, table }
    }

    /// The same rows behind a constraint: repairs that would leave a row for which `violated` has words are
    /// refused with those. Clients are trusted to keep it.
    pub fn with_constraint<F>(self, violated: F) -> Self
    where
        F: Fn(&Row) -> Option<String> + Send + Sync + 'static,
    {
        Self { constraint: Some(Arc::new(violated)), ..self }
    }

    /// A client's insert, or update of the row with the same stored key.
    pub fn put(&self, row: Row) {
        let place = self.place(&row);
        self.table.lock().write(&self.mapping, place, Some(row), None);
    }

    /// A client's delete. Whether there was a row.
    pub fn delete(&self, key: &Key) -> bool {
        let mut table = self.table.lock();
        let places: Vec<Place> = table.rows_of(key).map(|(place, _)| place.clone()).collect();
        for place in &places {
            table.write(&self.mapping, place.clone(), None, None);
        }
        !places.is_empty()
    }

    /// The row of a key, as a client reads it. The first, if there are more.
    pub fn row(&self, key: &Key) -> Option<Row> {
        self.table.lock().rows_of(key).next().map(|(_, row)| row.clone())
    }

    /// All rows.
    pub fn rows(&self) -> Vec<Row> {
        self.table.lock().rows.values().cloned().collect()
    }

    /// Another store answers under the same address from now on.
    pub fn replace_identity(&self, store_id: &str) {
        store_id.clone_into(&mut self.table.lock().store_id);
    }

    /// A copy of all that is stored, as a backup has it.
    pub fn backup(&self) -> MemoryBackup {
        let table = self.table.lock();
        MemoryBackup { counter: table.counter, rows: table.rows.clone(), applied: table.applied.clone() }
    }

    /// Takes the store back to a backup, its counter with it. The feed tells nothing of it but a gap.
    pub fn restore(&self, backup: &MemoryBackup) {
        self.cut_feed();
        let mut table = self.table.lock();
        table.counter = backup.counter;
        table.rows.clone_from(&backup.rows);
        table.applied.clone_from(&backup.applied);
    }

    /// Forgets the change feed so far: whoever asks for that part learns of a gap.
    pub fn cut_feed(&self) {
        let mut table = self.table.lock();
        table.feed_start += table.feed.len() as u64;
        table.feed.clear();
    }

    fn place(&self, row: &Row) -> Place {
        let key = |mapping: &Mapping| match mapping.document(row.clone(), "") {
            Ok(document) => Some(document.entry.key),
            Err(unreadable) => unreadable.key,
        };
        let stored = key(&self.stored).map_or_else(|| row.to_bytes(), |key| key.to_bytes());
        Place { key: key(&self.mapping), stored }
    }

    fn document(&self, table: &Table, place: &Place, row: &Row) -> Result<Document, Unreadable> {
        let key_text = place.key.as_ref().map_or("without a key".to_owned(), Key::to_string);
        let named = format!("row {key_text}");
        if let Some(key) = &place.key
            && table.rows_of(key).nth(1).is_some()
        {
            let (key, reason) = (Some(key.clone()), UnreadableReason::DuplicateKey);
            return Err(Unreadable { key, place: named, reason });
        }
        self.mapping.document(row.clone(), &named)
    }

    /// The row of `key`, if there is one: it is unreadable if there are more.
    fn target(&self, table: &Table, key: &Key) -> Option<(Place, Result<Document, Unreadable>)> {
        let (place, row) = table.rows_of(key).next()?;
        Some((place.clone(), self.document(table, place, row)))
    }

    fn apply_one(&self, table: &mut Table, item: &RepairItem) -> WriteOutcome {
        if table.applied.contains(&item.marker.repair) {
            return WriteOutcome::AlreadyThere;
        }
        let target = match self.target(table, &item.key) {
            None => None,
            Some((place, Ok(document))) => Some((place, document)),
            Some((_, Err(_))) => return WriteOutcome::Refused(Refusal::Unreadable),
        };
        let stored = target.as_ref().map(|(_, document)| document);
        let before = stored.map(|document| document.row_digest);
        let after = match &item.write {
            Write::Put(winner) => Some(self.mapping.merged(stored.map(|document| &document.row), winner)),
            Write::Delete => None,
        };
        let after_digest = after.as_ref().map(|row| self.mapping.fingerprinter().row_digest(row));
        if before == after_digest {
            return WriteOutcome::AlreadyThere;
        }
        let expected = match item.expected {
            Expected::Absent => None,
            Expected::Row(digest) => Some(digest),
        };
        if before != expected {
            return WriteOutcome::Changed;
        }
        if let Some(refusal) = after.as_ref().and_then(|row| self.refusal(row, &item.key)) {
            return WriteOutcome::Refused(refusal);
        }
        // From here on nothing fails: the row, the marker and the repair's id are written together.
        if let Some((place, _)) = target
            && after.as_ref().is_none_or(|row| self.place(row) != place)
        {
            table.write(&self.mapping, place, None, Some(&item.marker));
        }
        if let Some(row) = after {
            table.write(&self.mapping, self.place(&row), Some(row), Some(&item.marker));
        }
        table.applied.insert(item.marker.repair);
        WriteOutcome::Applied { after: after_digest }
    }

    /// Why `row` cannot become the row of `key`.
    fn refusal(&self, row: &Row, key: &Key) -> Option<Refusal> {
        match self.mapping.document(row.clone(), "") {
            Err(unreadable) => Some(Refusal::Schema(unreadable.reason.to_string())),
            Ok(document) if document.entry.key != *key => {
                Some(Refusal::Schema("the winner's row has another key".to_owned()))
            }
            Ok(_) => self.constraint.as_ref().and_then(|violated| violated(row)).map(Refusal::Constraint),
        }
    }
}

impl Table {
    fn rows_of<'a>(&'a self, key: &'a Key) -> impl Iterator<Item = (&'a Place, &'a Row)> {
        let first = Place { key: Some(key.clone()), stored: Vec::new() };
        self.rows.range(first..).take_while(move |(place, _)| place.key.as_ref() == Some(key))
    }

    /// Writes or deletes one row and tells the feed, in one step.
    fn write(&mut self, mapping: &Mapping, place: Place, row: Option<Row>, origin: Option<&OriginMarker>) {
        let key = place.key.clone();
        let (kind, old) = match row {
            Some(row) => match self.rows.insert(place, row) {
                None => (ChangeKind::Insert, None),
                old => (ChangeKind::Update, old),
            },
            None => (ChangeKind::Delete, self.rows.remove(&place)),
        };
        let old = old.and_then(|row| mapping.document(row, "").ok());
        let old = old.map(|old| LastSeen { version: old.entry.version, expiry: old.entry.expiry });
        let position = FeedPosition(self.feed_start + self.feed.len() as u64 + 1);
        let change = |key| Change { position, key, kind, old, origin: origin.cloned() };
        self.feed.push(key.map(change));
    }
}

impl Place {
    fn to_cursor(&self) -> Cursor {
        let mut out = Writer::new();
        out.frame(&self.key.as_ref().map_or_else(Vec::new, Key::to_bytes)).frame(&self.stored);
        Cursor(out.finish())
    }

    fn from_cursor(cursor: &Cursor) -> Result<Place, StoreError> {
        let read = |mut reader: Reader<'_>| {
            let key = reader.frame()?;
            let key = if key.is_empty() { None } else { Some(Key::from_bytes(key)?) };
            let stored = reader.frame()?.to_vec();
            reader.finish().map(|()| Place { key, stored })
        };
        read(Reader::new(&cursor.0)).map_err(|_| StoreError::Cursor)
    }
}

#[async_trait]
impl Store for MemoryStore {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            conditional_writes: true,
            origin_channel: true,
            shard_filter: true,
            ordered_feed: true,
        }
    }

    async fn identity(&self) -> Result<Identity, StoreError> {
        let table = self.table.lock();
        Ok(Identity { store_id: table.store_id.clone(), counter: Some(table.counter) })
    }

    async fn advance_counter(&self, above: u64) -> Result<u64, StoreError> {
        let mut table = self.table.lock();
        table.counter = table.counter.max(above).saturating_add(1);
        Ok(table.counter)
    }

    async fn count(&self) -> Result<u64, StoreError> {
        Ok(self.table.lock().rows.len() as u64)
    }

    async fn scan(&self, scope: Scope, from: Option<&Cursor>, page: PageSize) -> Result<Page, StoreError> {
        let after = from.map(Place::from_cursor).transpose()?;
        let start = after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let in_scope = |place: &Place| match (scope, &place.key) {
            // A row whose key cannot be read belongs to no shard, so that it is in the scope of each.
            (Scope::All, _) | (_, None) => true,
            (Scope::Shard(shard), Some(key)) => {
                self.mapping.fingerprinter().key_digest(key).shard(self.mapping.spec().shards) == shard
            }
        };
        let table = self.table.lock();
        let mut found = Page::default();
        let (mut bytes, mut last) = (0, None);
        for (place, row) in table.rows.range((start, Bound::Unbounded)).filter(|(place, _)| in_scope(place)) {
            bytes += row.value_bytes();
            if found.rows.len() >= page.rows.max(1) || (bytes > page.bytes && !found.rows.is_empty()) {
                found.next = last.map(Place::to_cursor);
                break;
            }
            found.rows.push(self.document(&table, place, row));
            last = Some(place);
        }
        Ok(found)
    }

    async fn read(&self, keys: &[Key]) -> Result<Vec<Read>, StoreError> {
        let table = self.table.lock();
        let read = |key| self.target(&table, key).map_or(Read::Absent, |(_, row)| Read::of_row(row));
        Ok(keys.iter().map(read).collect())
    }

    async fn apply(&self, batch: &RepairBatch) -> Result<Vec<WriteOutcome>, StoreError> {
        Ok(batch.items.iter().map(|item| self.apply_one(&mut self.table.lock(), item)).collect())
    }

    async fn changes(&self, from: FeedPosition, limit: PageSize) -> Result<Changes, StoreError> {
        let table = self.table.lock();
        let known = usize::try_from(from.0.saturating_sub(table.feed_start)).unwrap_or(usize::MAX);
        let part = table.feed.iter().skip(known).take(limit.rows.max(1));
        let changes: Vec<Option<Change>> = part.cloned().collect();
        let next = from.0.max(table.feed_start) + changes.len() as u64;
        let gap = from.0 < table.feed_start || changes.iter().any(Option::is_none);
        Ok(Changes { changes: changes.into_iter().flatten().collect(), next: FeedPosition(next), gap })
    }
}
