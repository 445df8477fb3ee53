//! Deliberately wrong stores: the store in memory with one flaw each, of a kind that real stores have.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use selfsame_core::{
    Cell, ContentDigest, Document, Key, KeyPart, Mapping, RepairId, Row, RowDigest, Unreadable,
    UnreadableReason, Version,
};
use selfsame_store::conformance::Table;
use selfsame_store::{
    Capabilities, Changes, Cursor, Expected, FeedPosition, Identity, MemoryStore, Page, PageSize, Read,
    Refusal, RepairBatch, RepairItem, Scope, Store, StoreError, Write, WriteOutcome,
};
use tokio::task::yield_now;

use crate::support::Opener;

/// What is wrong. The names say what the store does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    NewIdentity,
    CounterInInstance,
    CountsLive,
    LosesRowAtByteLimit,
    IgnoresByteLimit,
    CursorInInstance,
    AcceptsAnyCursor,
    PagesByOffset,
    OtherShard,
    ClaimsShardFilter,
    SkipsUnreadable,
    UnreadableIsAbsent,
    CachesScans,
    SortsAnswers,
    KeysThroughFloats,
    SkipsTwins,
    NoExpiry,
    NumbersThroughFloats,
    BytesAreText,
    UpdateInserts,
    Unconditional,
    ComparesContent,
    InsertsMappedOnly,
    TakesWinnersKey,
    SortsOutcomes,
    StopsAtBadItem,
    ForgetsIds,
    ForgetsIdsAtRestart,
    IdBeforeWrite,
    CompareThenWrite,
    MarkerAfterCommit,
    NoMarker,
    FeedSkips,
}

const WHOLE: PageSize = PageSize { rows: usize::MAX, bytes: usize::MAX };

/// What all instances on a replica share.
#[derive(Default)]
struct Shared {
    instances: u64,
    ids_made: u64,
    delivered: BTreeSet<RepairId>,
    published: BTreeSet<RepairId>,
    meanings: BTreeMap<RowDigest, (Version, ContentDigest)>,
}

struct Wrong {
    flaw: Flaw,
    rows: MemoryStore,
    mapping: Mapping,
    shared: Arc<Mutex<Shared>>,
    number: u64,
    counter: Mutex<u64>,
    cache: Mutex<BTreeMap<Key, Read>>,
    cursors: Mutex<Vec<Cursor>>,
    delivered: Mutex<BTreeSet<RepairId>>,
}

pub(crate) fn wrong_replica(flaw: Flaw, table: &Table) -> Opener {
    let shared = Arc::new(Mutex::new(Shared::default()));
    let mapping = table.mapping.clone();
    Arc::new(move |rows| {
        let number = {
            let mut shared = shared.lock();
            shared.instances += 1;
            shared.instances
        };
        Box::new(Wrong {
            flaw,
            rows,
            mapping: mapping.clone(),
            shared: Arc::clone(&shared),
            number,
            counter: Mutex::default(),
            cache: Mutex::default(),
            cursors: Mutex::default(),
            delivered: Mutex::default(),
        })
    })
}

impl Wrong {
    /// What the store takes a document for.
    fn misread(&self, mut document: Document) -> Document {
        let other_content = |from: &dyn Fn(&Cell) -> Cell| {
            let cells = document.row.cells().iter().map(|(name, cell)| (name.clone(), from(cell)));
            self.mapping.document(Row::new(cells.collect()), "").map(|document| document.entry.content)
        };
        match self.flaw {
            Flaw::NoExpiry => document.entry.expiry = None,
            Flaw::NumbersThroughFloats => {
                let rounded = |cell: &Cell| match cell {
                    Cell::Json(text) => Cell::Json(text.replace("9007199254740993", "9007199254740992")),
                    other => other.clone(),
                };
                // JSON in a column of its own is read well; the flaw is in the document field.
                if self.mapping.spec().document.is_some() {
                    document.entry.content = other_content(&rounded).expect("a rounded number is a number");
                }
            }
            Flaw::BytesAreText if self.mapping.spec().document.is_none() => {
                let decoded = |cell: &Cell| match cell {
                    Cell::Bytes(bytes) => Cell::Text(String::from_utf8_lossy(bytes).into_owned()),
                    other => other.clone(),
                };
                if let Ok(content) = other_content(&decoded) {
                    document.entry.content = content;
                }
            }
            _ => {}
        }
        document
    }

    async fn apply_one(&self, mut item: RepairItem) -> Result<WriteOutcome, StoreError> {
        let id = item.marker.repair;
        let now = self.rows.read(std::slice::from_ref(&item.key)).await?.remove(0);
        let now_expected =
            now.document().map_or(Expected::Absent, |document| Expected::Row(document.row_digest));
        match (self.flaw, item.write.clone()) {
            (Flaw::UpdateInserts, Write::Put(_)) if now == Read::Absent => item.expected = Expected::Absent,
            (Flaw::Unconditional, _) => item.expected = now_expected,
            (Flaw::CompareThenWrite, _) if item.expected == now_expected => {
                yield_now().await;
                let later = self.rows.read(std::slice::from_ref(&item.key)).await?.remove(0);
                item.expected =
                    later.document().map_or(Expected::Absent, |document| Expected::Row(document.row_digest));
            }
            (Flaw::ComparesContent, _) => {
                if let (Some(document), Expected::Row(digest)) = (now.document(), item.expected) {
                    let meaning = (document.entry.version, document.entry.content);
                    if self.shared.lock().meanings.get(&digest) == Some(&meaning) {
                        item.expected = now_expected;
                    }
                }
            }
            (Flaw::InsertsMappedOnly, Write::Put(row)) if now == Read::Absent => {
                let cells = row.cells().iter().map(|(name, cell)| {
                    (name.clone(), if name == "note" { Cell::Null } else { cell.clone() })
                });
                item.write = Write::Put(Row::new(cells.collect()));
            }
            (Flaw::TakesWinnersKey, Write::Put(row)) => {
                if let Ok(document) = self.mapping.document(row, "")
                    && document.entry.key != item.key
                {
                    item.key = document.entry.key;
                    item.expected = Expected::Absent;
                }
            }
            (Flaw::ForgetsIds, _) if !self.shared.lock().delivered.insert(id) => {
                self.spend_another_id(&mut item)
            }
            (Flaw::ForgetsIdsAtRestart, _) => {
                let known_here = !self.delivered.lock().insert(id);
                if !self.shared.lock().delivered.insert(id) && !known_here {
                    self.spend_another_id(&mut item);
                }
            }
            (Flaw::IdBeforeWrite, _) => {
                if !self.shared.lock().delivered.insert(id) {
                    return Ok(WriteOutcome::AlreadyThere);
                }
                yield_now().await;
            }
            _ => {}
        }
        let outcome = self.rows.apply(&RepairBatch { items: vec![item] }).await?.remove(0);
        if self.flaw == Flaw::MarkerAfterCommit && matches!(outcome, WriteOutcome::Applied { .. }) {
            yield_now().await;
            self.shared.lock().published.insert(id);
        }
        Ok(outcome)
    }

    fn spend_another_id(&self, item: &mut RepairItem) {
        let mut shared = self.shared.lock();
        shared.ids_made += 1;
        item.marker.repair = RepairId::from_bytes((u128::MAX - u128::from(shared.ids_made)).to_be_bytes());
    }

    /// Pages cut by how many rows came before.
    async fn page_by_offset(&self, from: Option<&Cursor>, page: PageSize) -> Result<Page, StoreError> {
        let offset = match from {
            None => 0,
            Some(cursor) => {
                usize::from_be_bytes(cursor.0.as_slice().try_into().map_err(|_| StoreError::Cursor)?)
            }
        };
        let mut all = self.rows.scan(Scope::All, None, WHOLE).await?.rows;
        let mut rows: Vec<_> = all.drain(offset.min(all.len())..).collect();
        let size = |row: &Result<Document, Unreadable>| row.as_ref().map_or(0, |row| row.row.value_bytes());
        let fits = rows
            .iter()
            .scan(0, |bytes, row| {
                *bytes += size(row);
                Some(*bytes)
            })
            .take_while(|bytes| *bytes <= page.bytes)
            .count();
        let taken = fits.max(1).min(page.rows).min(rows.len());
        let next = (taken < rows.len()).then(|| Cursor((offset + taken).to_be_bytes().to_vec()));
        rows.truncate(taken);
        Ok(Page { rows, next })
    }

    async fn flawed_scan(
        &self,
        scope: Scope,
        from: Option<&Cursor>,
        page: PageSize,
    ) -> Result<Page, StoreError> {
        match (self.flaw, scope) {
            (Flaw::LosesRowAtByteLimit, _) => {
                let mut found = self.rows.scan(scope, from, page).await?;
                if found.next.is_some() && found.rows.len() < page.rows {
                    let one = PageSize { rows: 1, ..page };
                    found.next = self.rows.scan(scope, found.next.as_ref(), one).await?.next;
                }
                Ok(found)
            }
            (Flaw::IgnoresByteLimit, _) => {
                self.rows.scan(scope, from, PageSize { bytes: usize::MAX, ..page }).await
            }
            (Flaw::CursorInInstance, _) => {
                let found = self.rows.scan(scope, from, page).await?;
                let known = from.is_none_or(|from| self.cursors.lock().contains(from));
                let found = if known { found } else { self.rows.scan(scope, None, page).await? };
                self.cursors.lock().extend(found.next.clone());
                Ok(found)
            }
            (Flaw::AcceptsAnyCursor, _) => match self.rows.scan(scope, from, page).await {
                Err(StoreError::Cursor) => self.rows.scan(scope, None, page).await,
                found => found,
            },
            (Flaw::PagesByOffset, Scope::All) => self.page_by_offset(from, page).await,
            (Flaw::OtherShard, Scope::Shard(shard)) => {
                let other = (shard.0 + 1) % self.mapping.spec().shards.get();
                self.rows.scan(Scope::Shard(selfsame_core::ShardId(other)), from, page).await
            }
            (Flaw::ClaimsShardFilter, _) => self.rows.scan(Scope::All, from, page).await,
            _ => self.rows.scan(scope, from, page).await,
        }
    }
}

#[async_trait]
impl Store for Wrong {
    fn capabilities(&self) -> Capabilities {
        self.rows.capabilities()
    }

    async fn identity(&self) -> Result<Identity, StoreError> {
        let identity = self.rows.identity().await?;
        Ok(match self.flaw {
            Flaw::NewIdentity => {
                Identity { store_id: format!("{}-{}", identity.store_id, self.number), ..identity }
            }
            Flaw::CounterInInstance => Identity { counter: Some(*self.counter.lock()), ..identity },
            _ => identity,
        })
    }

    async fn advance_counter(&self, above: u64) -> Result<u64, StoreError> {
        if self.flaw == Flaw::CounterInInstance {
            let mut counter = self.counter.lock();
            *counter = above.max(*counter) + 1;
            return Ok(*counter);
        }
        self.rows.advance_counter(above).await
    }

    async fn count(&self) -> Result<u64, StoreError> {
        if self.flaw == Flaw::CountsLive {
            let rows = self.rows.scan(Scope::All, None, WHOLE).await?.rows;
            return Ok(rows.iter().flatten().filter(|document| !document.marked).count() as u64);
        }
        self.rows.count().await
    }

    async fn scan(&self, scope: Scope, from: Option<&Cursor>, page: PageSize) -> Result<Page, StoreError> {
        let mut found = self.flawed_scan(scope, from, page).await?;
        let reason_of = |row: &Result<Document, Unreadable>| row.as_ref().err().map(|row| row.reason.clone());
        match self.flaw {
            Flaw::SkipsUnreadable => found.rows.retain(|row| {
                !matches!(reason_of(row), Some(UnreadableReason::TooLarge(_) | UnreadableReason::Expiry(_)))
            }),
            Flaw::SkipsTwins => {
                found.rows.retain(|row| reason_of(row) != Some(UnreadableReason::DuplicateKey));
            }
            _ => {}
        }
        found.rows = found.rows.into_iter().map(|row| row.map(|document| self.misread(document))).collect();
        if self.flaw == Flaw::CachesScans {
            let read = |document: &Document| (document.entry.key.clone(), Read::of_row(Ok(document.clone())));
            self.cache.lock().extend(found.rows.iter().flatten().map(read));
        }
        Ok(found)
    }

    async fn read(&self, keys: &[Key]) -> Result<Vec<Read>, StoreError> {
        let rounded = |key: &Key| {
            let part = |part: &KeyPart| match part {
                KeyPart::Number(number) => number
                    .to_i64()
                    .map_or(part.clone(), |value| KeyPart::Number((value as f64 as i64).into())),
                other => other.clone(),
            };
            Key::new(key.parts().iter().map(part).collect()).expect("as many parts as before")
        };
        let mut keys = keys.to_vec();
        match self.flaw {
            Flaw::KeysThroughFloats => keys = keys.iter().map(rounded).collect(),
            Flaw::SortsAnswers => keys.sort(),
            _ => {}
        }
        let mut answers = self.rows.read(&keys).await?;
        let cache = self.cache.lock();
        let mut shared = self.shared.lock();
        for (key, answer) in keys.iter().zip(&mut answers) {
            if let Some(cached) = cache.get(key) {
                *answer = cached.clone();
            }
            if let Some(document) = answer.document() {
                let meaning = (document.entry.version, document.entry.content);
                shared.meanings.insert(document.row_digest, meaning);
            }
            *answer = match answer.clone() {
                Read::Live(document) => Read::Live(self.misread(document)),
                Read::Marked(document) => Read::Marked(self.misread(document)),
                Read::Unreadable(Unreadable { reason: UnreadableReason::TooLarge(_), .. })
                    if self.flaw == Flaw::UnreadableIsAbsent =>
                {
                    Read::Absent
                }
                other => other,
            };
        }
        Ok(answers)
    }

    async fn apply(&self, batch: &RepairBatch) -> Result<Vec<WriteOutcome>, StoreError> {
        self.cache.lock().clear();
        let mut outcomes = Vec::new();
        for item in &batch.items {
            let stopped =
                outcomes.iter().any(|outcome: &WriteOutcome| matches!(outcome, WriteOutcome::Refused(_)));
            outcomes.push(if stopped && self.flaw == Flaw::StopsAtBadItem {
                WriteOutcome::Refused(Refusal::Constraint("transaction is aborted".to_owned()))
            } else {
                self.apply_one(item.clone()).await?
            });
        }
        if self.flaw == Flaw::SortsOutcomes {
            outcomes.sort_by_key(|outcome| !matches!(outcome, WriteOutcome::Applied { .. }));
        }
        Ok(outcomes)
    }

    async fn changes(&self, from: FeedPosition, limit: PageSize) -> Result<Changes, StoreError> {
        let mut found = self.rows.changes(from, limit).await?;
        let shared = self.shared.lock();
        for change in &mut found.changes {
            let hidden = match (self.flaw, &change.origin) {
                (Flaw::MarkerAfterCommit, Some(origin)) => !shared.published.contains(&origin.repair),
                (Flaw::NoMarker, _) => true,
                _ => false,
            };
            if hidden {
                change.origin = None;
            }
        }
        if self.flaw == Flaw::FeedSkips && limit.rows < 10 && found.changes.len() == limit.rows {
            found.next.0 += 1;
        }
        Ok(found)
    }
}
