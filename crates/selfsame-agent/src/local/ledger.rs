//! The ledger of one replica: what the journal remembers of keys that are gone, how much of it is certain, up to when
//! it was purged, and what a repair wrote. Blocking, where it is not said otherwise.

use std::collections::{HashMap, HashSet};

use parking_lot::Mutex;
use selfsame_core::merkle::{Node, NodeHash};
use selfsame_core::purge::{may_forget, taken};
use selfsame_core::{
    Certainty, Document, Entry, EntryDigest, Evidence, Fingerprinter, Key, KeyDigest, LastSeen, Moment,
    RepairId, RowDigest, ShardCount, ShardId, Tombstone, TombstoneOwner, Unreadable, Version, WallMicros,
};
use selfsame_journal::{IntentOutcome, JournalError, LedgerStep, Memory, MemoryChange, OutcomeWritten};
use selfsame_store::Read;
use selfsame_wire::limits::MEMORIES_MAX;
use selfsame_wire::message::{KeyMemory, LedgerReply};

use super::replica::{LocalReplica, LocalReplicaParts, is_again};
use crate::peer::PeerError;

/// Memories that are read from the journal at a time.
const MEMORIES_PER_READ: usize = 1_000;

/// For each shard the sum over the certain tombstones and the purge horizon, and how much is remembered at all. Kept beside the journal,
/// from which it can be computed.
pub(super) struct MemorySums(Mutex<Sums>);

struct Sums {
    by_shard: Vec<Node>,
    /// Certain tombstones at or below it are forgotten, and taken from nobody.
    horizons: Vec<Option<WallMicros>>,
    remembered: usize,
}

impl Sums {
    fn horizon(&self, shard: ShardId) -> Option<WallMicros> {
        self.horizons.get(shard.0 as usize).copied().flatten()
    }

    /// What is taken of a step: nothing of a tombstone that was purged.
    fn admit(&self, step: &LedgerStep, shards: ShardCount) -> Option<LedgerStep> {
        let LedgerStep::Gone(memory) = step else { return Some(step.clone()) };
        let tombstone = taken(&memory.tombstone, self.horizon(memory.key_digest.shard(shards)))?;
        Some(LedgerStep::Gone(Memory { tombstone, ..memory.clone() }))
    }
}

impl MemorySums {
    /// Sums up a ledger. Cost: a read of all of it.
    pub(super) fn read(parts: &LocalReplicaParts) -> Result<MemorySums, JournalError> {
        let shards = parts.mapping.spec().shards;
        let count = shards.get() as usize;
        let mut sums =
            Sums { by_shard: vec![Node::default(); count], horizons: vec![None; count], remembered: 0 };
        for (shard, at) in parts.journal.purge_horizons(&parts.collection.name, &parts.node, shards)? {
            if let Some(horizon) = sums.horizons.get_mut(shard.0 as usize) {
                *horizon = Some(at);
            }
        }
        let mut after = None;
        loop {
            let page = parts.journal.memories_after(
                &parts.collection.name,
                &parts.node,
                after,
                MEMORIES_PER_READ,
            )?;
            for Memory { key_digest, key, tombstone } in &page {
                let sum = &mut sums.by_shard[key_digest.shard(shards).0 as usize];
                *sum = with(*sum, parts.mapping.fingerprinter(), key, Some(tombstone));
            }
            sums.remembered += page.len();
            after = page.last().map(|memory| memory.key_digest);
            if page.len() < MEMORIES_PER_READ {
                return Ok(MemorySums(Mutex::new(sums)));
            }
        }
    }
}

fn summed(fingerprinter: &Fingerprinter, key: &Key, tombstone: Option<&Tombstone>) -> Option<EntryDigest> {
    let tombstone = tombstone.filter(|tombstone| tombstone.certainty == Certainty::Certain)?;
    Some(fingerprinter.tombstone_digest(key, tombstone.version, tombstone.came_back))
}

fn with(sum: Node, fingerprinter: &Fingerprinter, key: &Key, tombstone: Option<&Tombstone>) -> Node {
    summed(fingerprinter, key, tombstone).map_or(sum, |digest| sum.with(&digest))
}

fn without(sum: Node, fingerprinter: &Fingerprinter, key: &Key, tombstone: Option<&Tombstone>) -> Node {
    summed(fingerprinter, key, tombstone).map_or(sum, |digest| sum.without(&digest))
}

/// What a read of one key says to the ledger.
pub(super) struct Seen<'a> {
    pub(super) key: &'a Key,
    pub(super) key_digest: KeyDigest,
    pub(super) read: &'a Read,
    /// What is remembered.
    pub(super) memory: Option<&'a Tombstone>,
    /// What was remembered before the read began.
    pub(super) before: Option<&'a Tombstone>,
    /// The row that the last repair left behind.
    pub(super) repaired: Option<RowDigest>,
    /// What it is evidence of if the read finds the key gone, where something is to be concluded from that.
    pub(super) gone: Option<Evidence>,
}

impl Seen<'_> {
    /// What the ledger is to make of it, if anything.
    fn step(&self, moment: Moment) -> Option<LedgerStep> {
        match self.read {
            Read::Live(document) => {
                let memory = self.memory?;
                let version = document.entry.version;
                if self.repaired == Some(document.row_digest) {
                    return Some(LedgerStep::Repaired(self.key_digest, Some(version)));
                }
                let inserted = version > memory.version || self.came_back(memory, version);
                inserted.then_some(LedgerStep::Inserted(self.key_digest, version))
            }
            Read::Marked(document) => self.gone_by(Evidence::Mark(document.entry.version), moment),
            Read::Absent => self.gone_by(self.gone?, moment),
            Read::Unreadable(_) => None,
        }
    }

    /// Whether a live row of the remembered version was written after the deletion. Not a row that this replica has had
    /// all along, while another one told of the deletion; nor one that was read just before it was deleted.
    fn came_back(&self, memory: &Tombstone, version: Version) -> bool {
        version == memory.version
            && memory.owner == TombstoneOwner::Own
            && self.before.is_some_and(|before| before.same_but_time(memory))
    }

    /// Whether the row is the very one that is remembered as deleted.
    fn is_as_deleted(&self) -> bool {
        let Read::Live(document) = self.read else { return false };
        self.memory.is_some_and(|memory| memory.version == document.entry.version)
    }

    fn gone_by(&self, evidence: Evidence, moment: Moment) -> Option<LedgerStep> {
        let tombstone = evidence.tombstone(moment)?;
        if self.memory.is_some_and(|memory| memory.join(&tombstone).same_but_time(memory)) {
            return None;
        }
        let (key, key_digest) = (self.key.clone(), self.key_digest);
        Some(LedgerStep::Gone(Memory { key_digest, key, tombstone }))
    }
}

/// What an entry says of its document.
pub(super) fn last_seen(entry: &Entry) -> LastSeen {
    LastSeen { version: entry.version, expiry: entry.expiry }
}

impl LocalReplica {
    /// Takes in what reads saw; synced when it returns. Gives the memories that changed.
    pub(super) fn take_in(
        &self,
        seen: &[Seen<'_>],
    ) -> Result<HashMap<KeyDigest, Option<Tombstone>>, PeerError> {
        let moment = self.moment();
        let taken_back = self.is_taken_back();
        let told = seen.iter().filter(|seen| !(taken_back && seen.is_as_deleted()));
        let proves = |step: &LedgerStep| match step {
            LedgerStep::Gone(memory) => memory.tombstone.certainty == Certainty::Certain,
            LedgerStep::Inserted(..) | LedgerStep::Repaired(..) => false,
        };
        let steps = told.filter_map(|seen| seen.step(moment));
        // A store that may be another's proves no deletion: a scan after the hold finds its marks again.
        let steps: Vec<LedgerStep> = steps.filter(|step| !(taken_back && proves(step))).collect();
        let changes = self.note(&steps, None)?;
        Ok(changes.into_iter().map(|change| (change.key_digest, change.after)).collect())
    }

    /// Writes to the ledger, but for what was purged; synced when it returns. `feed` is how far the store's feed was read
    /// for it.
    pub(super) fn note(
        &self,
        steps: &[LedgerStep],
        feed: Option<u64>,
    ) -> Result<Vec<MemoryChange>, PeerError> {
        if steps.is_empty() && feed.is_none() {
            return Ok(Vec::new());
        }
        let shards = self.parts.mapping.spec().shards;
        // Held over the write, so that the sums are of what is written.
        let mut sums = self.memory_sums.0.lock();
        let steps: Vec<LedgerStep> = steps.iter().filter_map(|step| sums.admit(step, shards)).collect();
        let changes = self
            .parts
            .journal
            .note(&self.parts.collection.name, &self.parts.node, &steps, feed)
            .map_err(|error| self.broken(&error))?;
        for MemoryChange { key_digest, key, before, after } in &changes {
            let sum = &mut sums.by_shard[key_digest.shard(shards).0 as usize];
            *sum = without(*sum, self.fingerprinter(), key, before.as_ref());
            *sum = with(*sum, self.fingerprinter(), key, after.as_ref());
            sums.remembered += usize::from(after.is_some());
            sums.remembered -= usize::from(before.is_some());
        }
        Ok(changes)
    }

    /// The sum over a shard's certain tombstones, as it travels.
    pub(super) fn memory_hash(&self, shard: ShardId) -> NodeHash {
        let sums = self.memory_sums.0.lock();
        self.fingerprinter().node_hash(&sums.by_shard.get(shard.0 as usize).copied().unwrap_or_default())
    }

    /// Up to when a shard's certain tombstones are forgotten.
    pub fn horizon(&self, shard: ShardId) -> Option<WallMicros> {
        self.memory_sums.0.lock().horizon(shard)
    }

    /// Takes in up to when certain tombstones were joined by all: they are forgotten, and stay so; durable when this
    /// returns. What goes beyond the retention by this agent's clock waits. Blocking.
    pub(super) fn raise_horizons(&self, told: &[(ShardId, WallMicros)]) -> Result<(), PeerError> {
        let shards = self.parts.mapping.spec().shards;
        let (retention, now) = (self.retention(), self.parts.clock.now());
        let (collection, node) = (&self.parts.collection.name, &self.parts.node);
        // Held over the write, so that nothing is taken in by the old horizons after it.
        let mut sums = self.memory_sums.0.lock();
        let higher =
            told.iter().filter(|(shard, at)| shard.0 < shards.get() && sums.horizon(*shard) < Some(*at));
        let (raised, early): (Vec<_>, Vec<_>) = higher.partition(|(_, at)| may_forget(*at, now, retention));
        if let Some((shard, at)) = early.first() {
            tracing::warn!(
                %collection, %node, %shard, horizon = %at,
                "a purge horizon lies within the retention by this agent's clock and waits; hint: give all agents the \
                 same clock and tombstone_retention"
            );
        }
        if raised.is_empty() {
            return Ok(());
        }
        let forgotten = self.parts.journal.raise_horizons(collection, node, shards, &raised);
        for Memory { key_digest, key, tombstone } in forgotten.map_err(|error| self.broken(&error))? {
            let sum = &mut sums.by_shard[key_digest.shard(shards).0 as usize];
            *sum = without(*sum, self.fingerprinter(), &key, Some(&tombstone));
            sums.remembered -= 1;
        }
        for (shard, at) in raised {
            sums.horizons[shard.0 as usize] = Some(at);
        }
        Ok(())
    }

    /// Takes in what a page of a scan says to the ledger: marked rows are gone, and newer rows end what was remembered
    /// of them. Gives the keys of rows at the very version that is remembered: only a read that begins later tells
    /// whether they came back. Cost: a look into the ledger for each row, unless it is empty and nothing is marked.
    pub(super) fn take_in_page(&self, rows: &[Result<Document, Unreadable>]) -> Result<Vec<Key>, PeerError> {
        let empty = self.memory_sums.0.lock().remembered == 0;
        let of_interest = |document: &&Document| document.marked || !empty;
        let documents: Vec<&Document> = rows.iter().flatten().filter(of_interest).collect();
        if documents.is_empty() {
            return Ok(Vec::new());
        }
        let digests: Vec<KeyDigest> = documents.iter().map(|document| document.key_digest).collect();
        let remembered = self.memories(&digests)?;
        let repaired = self.last_repairs(&digests)?;
        let told: Vec<(usize, Read)> = documents
            .iter()
            .enumerate()
            .filter(|(at, document)| document.marked || remembered[*at].is_some())
            .map(|(at, document)| (at, Read::of_row(Ok((*document).clone()))))
            .collect();
        let seen: Vec<Seen<'_>> = told
            .iter()
            .map(|(at, read)| Seen {
                key: &documents[*at].entry.key,
                key_digest: digests[*at],
                read,
                memory: remembered[*at].as_ref(),
                before: None,
                repaired: repaired[*at],
                gone: None,
            })
            .collect();
        self.take_in(&seen)?;
        let of_the_version = |at: &usize| is_again(documents[*at], remembered[*at].as_ref());
        let live = (0..documents.len()).filter(|at| !documents[*at].marked);
        Ok(live.filter(of_the_version).map(|at| documents[at].entry.key.clone()).collect())
    }

    /// The certain tombstones of a shard, after a key digest. Cost: a read of the ledger from there on.
    pub(super) fn list_memories(
        &self,
        shard: ShardId,
        mut after: Option<KeyDigest>,
    ) -> Result<LedgerReply, PeerError> {
        let shards: ShardCount = self.parts.mapping.spec().shards;
        let mut reply = LedgerReply::default();
        loop {
            let page = self.parts.journal.memories_after(
                &self.parts.collection.name,
                &self.parts.node,
                after,
                MEMORIES_PER_READ,
            );
            let page = page.map_err(|error| self.broken(&error))?;
            let last = page.len() < MEMORIES_PER_READ;
            after = page.last().map(|memory| memory.key_digest);
            for Memory { key_digest, key, tombstone } in page {
                if key_digest.shard(shards) == shard && tombstone.certainty == Certainty::Certain {
                    reply.memories.push(KeyMemory { key, tombstone });
                }
            }
            if last {
                return Ok(reply);
            }
            if reply.memories.len() + MEMORIES_PER_READ > MEMORIES_MAX {
                reply.truncated = true;
                return Ok(reply);
            }
        }
    }

    /// Remembers what other replicas know for certain. What was purged here is not taken, and the teller is told so.
    pub(super) fn join_memories(&self, memories: Vec<KeyMemory>) -> Result<(), PeerError> {
        let step = |memory: KeyMemory| {
            let tombstone = memory.tombstone.received()?;
            let key_digest = self.fingerprinter().key_digest(&memory.key);
            Some(LedgerStep::Gone(Memory { key_digest, key: memory.key, tombstone }))
        };
        let steps: Vec<LedgerStep> = memories.into_iter().filter_map(step).collect();
        let shards = self.parts.mapping.spec().shards;
        let purged = {
            let sums = self.memory_sums.0.lock();
            steps.iter().filter(|step| sums.admit(step, shards).is_none()).count()
        };
        self.note(&steps, None)?;
        if purged > 0 {
            return Err(PeerError::Refused(format!(
                "{purged} of {} tombstones were purged here",
                steps.len()
            )));
        }
        Ok(())
    }

    /// What the ledger remembers of each key.
    pub(super) fn memories(&self, keys: &[KeyDigest]) -> Result<Vec<Option<Tombstone>>, PeerError> {
        let journal = &self.parts.journal;
        let memories = journal.memories(&self.parts.collection.name, &self.parts.node, keys);
        memories.map_err(|error| self.broken(&error))
    }

    /// The row that the last repair of each key left behind.
    pub(super) fn last_repairs(&self, keys: &[KeyDigest]) -> Result<Vec<Option<RowDigest>>, PeerError> {
        let journal = &self.parts.journal;
        let repairs = journal.last_repair(&self.parts.collection.name, &self.parts.node, keys);
        repairs.map_err(|error| self.broken(&error))
    }

    /// The keys that a repair, of which nobody knows yet what became of it, deletes.
    pub(super) fn being_deleted(&self) -> Result<HashSet<KeyDigest>, PeerError> {
        let keys = self.parts.journal.keys_being_deleted(&self.parts.collection.name, &self.parts.node);
        keys.map_err(|error| self.broken(&error))
    }

    /// Says what became of intents. An intent that is not there, though its repair was made, is a broken journal.
    pub(super) fn record_outcomes(&self, outcomes: &[(RepairId, IntentOutcome)]) -> Result<(), PeerError> {
        let written = self.parts.journal.write_outcomes(outcomes).map_err(|error| self.broken(&error))?;
        if written.contains(&OutcomeWritten::NoIntent) {
            return Err(self.broken(&"an outcome without an intent"));
        }
        Ok(())
    }

    /// The time at which this agent concludes. An expiry that lies within the clocks' difference is told apart by
    /// the owner, whose moment knows that difference.
    pub(super) fn moment(&self) -> Moment {
        Moment { now: self.parts.clock.now(), skew: 0 }
    }
}
