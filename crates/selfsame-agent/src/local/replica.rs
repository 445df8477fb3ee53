//! One attached replica: its store, its index, and what the journal remembers of it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use parking_lot::Mutex;
use selfsame_core::{
    AgentName, Document, Entry, Evidence, Fingerprinter, Key, KeyDigest, Mapping, NodeName, Observation,
    Presence, RowDigest, Sighting, Stamp, Tombstone, TombstoneOwner, UnknownReason,
};
use selfsame_index::{Fresh, Index, IndexError};
use selfsame_journal::{Journal, JournalError};
use selfsame_store::{Read, Store, StoreError};
use selfsame_wire::message;

use super::cached::CachedIndex;
use super::holding::{Gone, Holding};
use super::ledger::{MemorySums, Seen, last_seen};
use super::scanning::ScanTask;
use crate::blocking::blocking;
use crate::clock::Clock;
use crate::peer::PeerError;
use crate::settings::CollectionSettings;
use crate::supervisor::Supervisor;

/// What a replica is made of.
pub struct LocalReplicaParts {
    /// The agent that it is attached to.
    pub agent: AgentName,
    /// Its node.
    pub node: NodeName,
    /// Its collection.
    pub collection: Arc<CollectionSettings>,
    /// How its rows map to documents.
    pub mapping: Arc<Mapping>,
    /// The store.
    pub store: Arc<dyn Store>,
    /// The index.
    pub index: CachedIndex,
    /// The agent's journal.
    pub journal: Arc<Journal>,
    /// Wall time.
    pub clock: Arc<dyn Clock>,
    /// Runs its scans.
    pub tasks: Supervisor,
}

/// What a read concludes from a key that the index holds and the store does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Conclude {
    /// Nothing.
    Nothing,
    /// That it is gone; it is counted as vanished if nothing proves that it was meant to go.
    Gone,
    /// That it is gone; it was counted before.
    Counted,
}

/// One attached replica.
pub struct LocalReplica {
    pub(super) parts: LocalReplicaParts,
    pub(super) scan: Mutex<ScanTask>,
    /// Held over a batch from its intents to its outcomes.
    pub(super) writing: Arc<tokio::sync::Mutex<()>>,
    /// Held while the feed is read.
    pub(super) reading_feed: tokio::sync::Mutex<()>,
    pub(super) memory_sums: MemorySums,
    pub(super) holding: Holding,
}

/// What a store said of some keys, in their order.
pub(super) struct FreshReads {
    /// Taken before the read began.
    pub(super) stamp: Stamp,
    pub(super) digests: Vec<KeyDigest>,
    /// What the ledger remembered before the read began.
    pub(super) remembered: Vec<Option<Tombstone>>,
    pub(super) reads: Vec<Read>,
}

impl FreshReads {
    /// What the index is to know of it.
    pub(super) fn told(&self, keys: &[Key]) -> Vec<(KeyDigest, Fresh)> {
        let told = keys.iter().zip(&self.reads).map(|(key, read)| fresh(key, read));
        self.digests.iter().copied().zip(told).collect()
    }

    /// Whether a store that is not the one that was left may have said so: a row is there again that was seen to go, in
    /// the version in which it went, or is marked as deleted and was not remembered so.
    fn may_be_of_another_store(&self) -> bool {
        let tells = |(read, memory): (&Read, &Option<Tombstone>)| match read {
            Read::Live(document) => is_again(document, memory.as_ref()),
            Read::Marked(document) => {
                memory.as_ref().is_none_or(|memory| memory.version < document.entry.version)
            }
            Read::Absent | Read::Unreadable(_) => false,
        };
        self.reads.iter().zip(&self.remembered).any(tells)
    }
}

/// Whether a live row has the very version that this replica saw go, and nobody wrote it again as far as is known.
pub(super) fn is_again(document: &Document, memory: Option<&Tombstone>) -> bool {
    let own = memory.filter(|memory| memory.owner == TombstoneOwner::Own && !memory.came_back);
    own.is_some_and(|memory| memory.version == document.entry.version)
}

impl LocalReplica {
    /// Puts a replica together. Blocking: it sums up the ledger.
    pub fn new(parts: LocalReplicaParts) -> Result<Arc<LocalReplica>, JournalError> {
        let (memory_sums, holding) = (MemorySums::read(&parts)?, Holding::read(&parts)?);
        Ok(Arc::new(LocalReplica {
            parts,
            scan: Mutex::new(ScanTask::default()),
            writing: Arc::default(),
            reading_feed: tokio::sync::Mutex::new(()),
            memory_sums,
            holding,
        }))
    }

    /// Its collection.
    pub fn collection(&self) -> &CollectionSettings {
        &self.parts.collection
    }

    /// Its index, unless it has failed.
    pub fn index(&self) -> Result<Arc<Index>, IndexError> {
        self.parts.index.get()
    }

    /// Opens the index anew if it has failed.
    pub(super) async fn mend_index(self: &Arc<Self>) -> Result<(), PeerError> {
        let this = self.clone();
        blocking(move || this.parts.index.mend()).await.map_err(|error| self.broken(&error))
    }

    /// A call to the index failed: nothing can be said of this replica before it is opened anew.
    pub(super) fn index_failed(&self, error: &IndexError) -> PeerError {
        self.parts.index.note(error);
        self.broken(error)
    }

    /// Its store.
    pub fn store(&self) -> &dyn Store {
        &*self.parts.store
    }

    /// One fresh read for somebody who only looks: nothing is concluded from it.
    pub async fn look(self: &Arc<Self>, keys: Vec<Key>) -> Result<Vec<message::Seen>, PeerError> {
        let observations = self.observe(keys.clone(), Conclude::Nothing).await?;
        self.with_pins(&keys, observations).await
    }

    /// The replica's node.
    pub fn node(&self) -> &NodeName {
        &self.parts.node
    }

    pub(super) fn fingerprinter(&self) -> &Fingerprinter {
        self.parts.mapping.fingerprinter()
    }

    /// Reads keys from the store and says what they are, what the ledger remembers, and whether a repair wrote
    /// them. The index learns what was read. If it concludes, this is a confirm's second read or the end of a scan:
    /// a key that the index holds and the store does not is remembered as gone before this returns.
    pub(super) async fn observe(
        self: &Arc<Self>,
        keys: Vec<Key>,
        conclude: Conclude,
    ) -> Result<Vec<Observation>, PeerError> {
        let fresh = match conclude {
            Conclude::Nothing => self.read_fresh(&keys).await?,
            Conclude::Gone | Conclude::Counted => self.read_to_conclude(&keys).await?,
        };
        let this = self.clone();
        blocking(move || this.learn(&keys, fresh, conclude)).await
    }

    /// Reads keys again and learns what became of them, without concluding anything from what is gone.
    pub(super) async fn look_again(self: &Arc<Self>, keys: Vec<Key>) -> Result<(), PeerError> {
        let fresh = self.read_fresh(&keys).await?;
        let this = self.clone();
        blocking(move || this.learn(&keys, fresh, Conclude::Nothing)).await.map(|_| ())
    }

    /// As [`LocalReplica::read_fresh`], for somebody who concludes from what is gone.
    pub(super) async fn read_to_conclude(self: &Arc<Self>, keys: &[Key]) -> Result<FreshReads, PeerError> {
        // What a write of our own took, without having said so yet, must not be taken for a client's deletion.
        self.settle_intents().await?;
        let fresh = self.read_fresh(keys).await?;
        self.catch_up().await?;
        // After the read: what a restore took is not what clients deleted.
        self.recognise_store().await?;
        Ok(fresh)
    }

    /// Reads keys from the store, and notes beforehand how things stand: what is learned of a read is of then. What a
    /// client may have written or deleted since, another store may as well have had all along: it is looked which one
    /// answered.
    async fn read_fresh(self: &Arc<Self>, keys: &[Key]) -> Result<FreshReads, PeerError> {
        let (this, asked) = (self.clone(), keys.to_vec());
        let (stamp, digests, remembered) = blocking(move || {
            let stamp = this.index().and_then(|index| index.next_stamp());
            let stamp = stamp.map_err(|error| this.index_failed(&error))?;
            let digests: Vec<KeyDigest> =
                asked.iter().map(|key| this.fingerprinter().key_digest(key)).collect();
            let remembered = this.memories(&digests)?;
            Ok::<_, PeerError>((stamp, digests, remembered))
        })
        .await?;
        let reads = self.parts.store.read(keys).await.map_err(|error| self.silent(&error))?;
        if reads.len() != keys.len() {
            tracing::error!(node = %self.parts.node, asked = keys.len(), answered = reads.len(), "store answered a read short");
            return Err(PeerError::Unknown(UnknownReason::Unreachable));
        }
        let fresh = FreshReads { stamp, digests, remembered, reads };
        if fresh.may_be_of_another_store() {
            self.recognise_store().await?;
        }
        Ok(fresh)
    }

    /// Takes in what a read saw: index, ledger, observations. Blocking.
    fn learn(
        &self,
        keys: &[Key],
        fresh: FreshReads,
        conclude: Conclude,
    ) -> Result<Vec<Observation>, PeerError> {
        let told = fresh.told(keys);
        let FreshReads { stamp, digests, remembered: before, reads } = fresh;
        // Asked before the index is: a deletion of ours that has its outcome by now is out of the index, too.
        let ours = if reads.contains(&Read::Absent) { self.being_deleted()? } else { HashSet::new() };
        let report = self.index().and_then(|index| index.apply_reads(stamp, &told));
        let report = report.map_err(|error| self.index_failed(&error))?;
        let mut gone: HashMap<KeyDigest, Entry> = report.still_held.into_iter().collect();
        // A batch may have begun since intents were settled: what it deletes is no client's doing.
        gone.retain(|digest, _| !ours.contains(digest));
        let mut remembered = self.memories(&digests)?;
        let repaired = self.last_repairs(&digests)?;
        if conclude == Conclude::Gone {
            let shards = self.parts.mapping.spec().shards;
            let lost = digests.iter().zip(&remembered).filter_map(|(digest, memory)| {
                let entry = gone.get(digest)?;
                Some(Gone::of(digest.shard(shards), entry, memory.as_ref(), self.moment()))
            });
            self.count_vanished(&lost.collect::<Vec<_>>(), None)?;
        }
        let conclude = conclude != Conclude::Nothing;
        let held = self.held().is_some();
        let seen: Vec<Seen<'_>> = (0..keys.len())
            .map(|index| Seen {
                key: &keys[index],
                key_digest: digests[index],
                read: &reads[index],
                memory: remembered[index].as_ref(),
                before: before[index].as_ref(),
                repaired: repaired[index],
                gone: gone
                    .get(&digests[index])
                    .filter(|_| conclude)
                    .map(|entry| Evidence::Vanished(last_seen(entry))),
            })
            .collect();
        let changed = self.take_in(&seen)?;
        drop(seen);
        for (memory, digest) in remembered.iter_mut().zip(&digests) {
            if let Some(after) = changed.get(digest) {
                memory.clone_from(after);
            }
        }
        if conclude {
            self.forget_gone(stamp, &gone)?;
        }
        let observation = |(index, read): (usize, &Read)| {
            // A first read that finds an indexed key gone says so already, though it concludes nothing.
            let provisional = gone
                .get(&digests[index])
                .and_then(|entry| Evidence::Vanished(last_seen(entry)).tombstone(self.moment()));
            let memory = match (remembered[index].clone(), provisional) {
                (Some(memory), Some(provisional)) => Some(memory.join(&provisional)),
                (memory, provisional) => memory.or(provisional),
            };
            Observation { presence: presence(read, repaired[index]), memory, held }
        };
        Ok(reads.iter().enumerate().map(observation).collect())
    }

    /// Lets the index forget keys that the ledger remembers as gone by now: in this order, so that a crash between
    /// leaves them to be concluded again. Blocking.
    pub(super) fn forget_gone(
        &self,
        stamp: Stamp,
        gone: &HashMap<KeyDigest, Entry>,
    ) -> Result<(), PeerError> {
        if gone.is_empty() {
            return Ok(());
        }
        let keys: Vec<KeyDigest> = gone.keys().copied().collect();
        let removed = self.index().and_then(|index| index.remove(stamp, &keys));
        removed.map(|_| ()).map_err(|error| self.index_failed(&error))
    }

    /// The store did not answer: said to the operator in full, to peers by reason.
    pub(super) fn silent(&self, error: &StoreError) -> PeerError {
        tracing::warn!(collection = %self.parts.collection.name, node = %self.parts.node, %error, "store does not answer");
        PeerError::Unknown(reason_of(error))
    }

    /// Index or journal failed: nothing can be said of this replica.
    pub(super) fn broken(&self, error: &dyn std::fmt::Display) -> PeerError {
        tracing::error!(collection = %self.parts.collection.name, node = %self.parts.node, %error, "index or journal failed");
        PeerError::Unknown(UnknownReason::Unreachable)
    }
}

/// The reason under which a store's silence is counted.
pub(super) fn reason_of(error: &StoreError) -> UnknownReason {
    match error {
        StoreError::Unavailable(_) | StoreError::Unsupported(_) | StoreError::Cursor => {
            UnknownReason::Unreachable
        }
        StoreError::Busy(_) => UnknownReason::Busy,
        StoreError::Schema(_) => UnknownReason::Schema,
    }
}

fn fresh(key: &Key, read: &Read) -> Fresh {
    match read {
        Read::Live(document) => Fresh::Live(document.entry.clone()),
        Read::Marked(_) => Fresh::Marked,
        Read::Absent => Fresh::Absent,
        Read::Unreadable(unreadable) => Fresh::Unreadable {
            key: key.clone(),
            place: unreadable.place.clone(),
            reason: unreadable.reason.to_string(),
        },
    }
}

/// What a peer is told of a read. `repaired` is the row that this agent's last repair of the key left behind.
fn presence(read: &Read, repaired: Option<RowDigest>) -> Presence {
    let sighting = |document: &Document| Sighting {
        version: document.entry.version,
        expiry: document.entry.expiry,
        content: document.entry.content,
        row: document.row_digest,
        by_repair: repaired == Some(document.row_digest),
        bytes: document.row.value_bytes() as u64,
    };
    match read {
        Read::Live(document) => Presence::Live(sighting(document)),
        Read::Marked(document) => Presence::Marked(sighting(document)),
        Read::Absent => Presence::Absent,
        Read::Unreadable(_) => Presence::Unreadable,
    }
}
