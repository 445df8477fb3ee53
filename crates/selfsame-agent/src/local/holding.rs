//! When a replica proves nothing: too many of its keys vanished, or its store was taken back. It is held durably,
//! said so loudly, and answers `held` until everybody is found equal or a person decides.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use selfsame_core::away::{Gap, Scans};
use selfsame_core::brake::{ROLLING_DAY_MICROS, Vanishes, Vanishing, VanishingHold, vanished_within_day};
use selfsame_core::{
    Certainty, Entry, Epoch, Evidence, KeyDigest, Moment, RowDigest, ShardId, ShardVerdict, Tombstone,
    UnknownReason, WallMicros,
};
use selfsame_journal::{Hold, HoldCause, HoldEnd, JournalError, StoreSeen};
use selfsame_store::{Identity, StoreError};
use selfsame_wire::message::{HeldEqual, JudgedGap};

use super::ledger::last_seen;
use super::replica::{LocalReplica, LocalReplicaParts};
use crate::blocking::blocking;
use crate::peer::PeerError;

/// What is known of a replica's standing, beside the journal.
pub(super) struct Holding {
    known: Mutex<Known>,
    /// How many resyncs let it be written to.
    yielding: AtomicUsize,
}

struct Known {
    hold: Option<Hold>,
    /// Shards that were found equal on all replicas since the hold began and since anything vanished from them.
    equal: BTreeSet<ShardId>,
    /// Under which claim the root of a shard was given last, since anything vanished from it.
    given: BTreeMap<ShardId, Epoch>,
    /// Shards whose roots may have keys that were counted as vanished: from the count to the next completed scan, or
    /// all of them before there was one. Their roots are no reason to end a hold.
    lagging: BTreeSet<ShardId>,
    /// When it was scanned, as far as it was noted.
    scans: Option<Scans>,
    /// Which store answered last.
    store: Option<StoreSeen>,
    /// Keys of the running scan whose version went back, and not by a repair of ours.
    went_back: u64,
}

impl Holding {
    /// What the journal remembers.
    pub(super) fn read(parts: &LocalReplicaParts) -> Result<Holding, JournalError> {
        let (journal, collection) = (&parts.journal, &parts.collection.name);
        Ok(Holding {
            known: Mutex::new(Known {
                hold: journal.held(collection, &parts.node)?,
                equal: BTreeSet::new(),
                given: BTreeMap::new(),
                lagging: parts.mapping.spec().shards.ids().collect(),
                scans: journal.scans(collection, &parts.node)?,
                store: journal.store_seen(collection, &parts.node)?,
                went_back: 0,
            }),
            yielding: AtomicUsize::new(0),
        })
    }
}

/// A key of the index that a read found gone.
pub(super) struct Gone {
    shard: ShardId,
    /// Whether nothing proves that it was meant to go.
    vanished: bool,
}

impl Gone {
    /// `memory` is what the ledger remembered before the read.
    pub(super) fn of(shard: ShardId, entry: &Entry, memory: Option<&Tombstone>, moment: Moment) -> Gone {
        let seen = Evidence::Vanished(last_seen(entry)).tombstone(moment);
        let known = match (memory, &seen) {
            (Some(memory), Some(seen)) => Some(memory.join(seen)),
            (None, seen) => seen.clone(),
            (Some(memory), None) => Some(memory.clone()),
        };
        Gone { shard, vanished: known.is_some_and(|known| known.certainty == Certainty::Observed) }
    }
}

/// Keys that there are, by shard.
type Left = BTreeMap<ShardId, u64>;

/// Whether what vanished within the day is too much, of the replica or of a shard, and in words.
fn too_much(
    day: &[(ShardId, Vanishes)],
    left: &Left,
    now: WallMicros,
    share_max: f64,
) -> Option<(VanishingHold, String)> {
    let mut by_shard: BTreeMap<ShardId, Vec<Vanishes>> = BTreeMap::new();
    for (shard, vanishes) in day {
        by_shard.entry(*shard).or_default().push(*vanishes);
    }
    let all: Vec<Vanishes> = day.iter().map(|(_, vanishes)| *vanishes).collect();
    let whole = ("the replica's".to_owned(), all, left.values().sum());
    let shards = by_shard.into_iter().map(|(shard, vanishes)| {
        (format!("shard {shard}'s"), vanishes, left.get(&shard).copied().unwrap_or(0))
    });
    std::iter::once(whole).chain(shards).find_map(|(whose, vanishes, left)| {
        let vanished = vanished_within_day(&vanishes, now);
        let hold = Vanishing { vanished, left }.hold(share_max)?;
        let of = vanished.saturating_add(left);
        Some((hold, format!("{vanished} of {whose} {of} keys vanished within a day")))
    })
}

/// Why a store that says this is not the one that was left, or not as it was left.
fn taken_back(left: &StoreSeen, found: &Identity) -> Option<String> {
    // Without a counter the id may be a file's place, which a reboot changes.
    let counter = left.counter?;
    if left.store_id != found.store_id {
        return Some(format!("another store answers: {} and not {}", found.store_id, left.store_id));
    }
    match found.counter {
        Some(now) if now >= counter => None,
        Some(now) => Some(format!("the counter in the store went back from {counter} to {now}")),
        None => Some(format!("the counter in the store is gone; it was {counter}")),
    }
}

impl LocalReplica {
    /// Why and since when it is held; `None` if it is not.
    pub fn held(&self) -> Option<Hold> {
        self.holding.known.lock().hold.clone()
    }

    /// Whether rows may be there that no client has written: those of an older state.
    pub(super) fn is_taken_back(&self) -> bool {
        self.holding.known.lock().hold.as_ref().is_some_and(|hold| hold.cause == HoldCause::Restored)
    }

    /// Counts what vanished, before it is concluded that it is gone: durable when this returns, and so is the hold
    /// that may follow. `scan` is when the scan began that counts them at its end, if one does. Blocking.
    pub(super) fn count_vanished(&self, gone: &[Gone], scan: Option<WallMicros>) -> Result<(), PeerError> {
        let (mut vanished, mut left) = (BTreeMap::<ShardId, u64>::new(), Left::new());
        for gone in gone.iter().filter(|gone| gone.vanished) {
            *vanished.entry(gone.shard).or_default() += 1;
        }
        if vanished.is_empty() {
            return Ok(());
        }
        let index = self.index().map_err(|error| self.index_failed(&error))?;
        for root in index.roots() {
            left.insert(root.shard, root.node.count);
        }
        for gone in gone {
            left.entry(gone.shard).and_modify(|left| *left = left.saturating_sub(1));
        }
        let now = self.parts.clock.now();
        let counts: Vec<(ShardId, u64)> = vanished.into_iter().collect();
        {
            // What was equal is so no more, also by a word that is on its way. Before the count: it is of this hold.
            let mut known = self.holding.known.lock();
            for (shard, _) in &counts {
                known.equal.remove(shard);
                known.given.remove(shard);
                known.lagging.insert(*shard);
            }
        }
        let (journal, collection) = (&self.parts.journal, &self.parts.collection);
        let day = journal.count_vanishes(&collection.name, &self.parts.node, now, &counts, scan);
        let day = day.map_err(|error| self.broken(&error))?;
        match too_much(&day, &left, now, collection.brakes.vanished_share_max) {
            Some((VanishingHold::Share, detail)) => self.hold(HoldCause::Vanished, detail),
            Some((VanishingHold::Emptied, detail)) => self.hold(HoldCause::Emptied, detail),
            None => Ok(()),
        }
    }

    /// Holds the replica, durably. Blocking.
    fn hold(&self, cause: HoldCause, detail: String) -> Result<(), PeerError> {
        let hold = Hold { cause, detail, since: self.parts.clock.now() };
        let mut known = self.holding.known.lock();
        let standing = self.parts.journal.hold(&self.parts.collection.name, &self.parts.node, &hold);
        let standing = standing.map_err(|error| self.broken(&error))?;
        self.stands(&mut known, standing);
        Ok(())
    }

    /// Takes in that the journal has this hold.
    fn stands(&self, known: &mut Known, standing: Hold) {
        if known.hold.as_ref() == Some(&standing) {
            return;
        }
        known.equal.clear();
        tracing::error!(
            collection = %self.parts.collection.name, node = %self.parts.node, cause = standing.cause.as_str(),
            why = standing.detail,
            "the replica is held: nothing is copied from it, nothing it lacks is taken for deleted, and it is not \
             written to; hint: {}",
            hint(standing.cause)
        );
        known.hold = Some(standing);
    }

    /// Looks which store answers, before its word is taken for a client's doing, and holds the replica if it is not the
    /// one that was left, or not as it was left. Costs a call to the store.
    pub(super) async fn recognise_store(self: &Arc<Self>) -> Result<Identity, PeerError> {
        // Before the store is asked: a scan may move its counter on before the answer is looked at.
        let left = self.holding.known.lock().store.clone();
        let identity = self.parts.store.identity().await.map_err(|error| self.silent(&error))?;
        if let Some(why) = left.as_ref().and_then(|left| taken_back(left, &identity)) {
            let this = self.clone();
            blocking(move || this.hold(HoldCause::Restored, why)).await?;
        }
        Ok(identity)
    }

    /// At the start of a scan: looks which store answers, moves its counter on, and keeps what it is now. A store
    /// that takes no writes keeps the counter that it has.
    pub(super) async fn mark_store(self: &Arc<Self>) -> Result<(), PeerError> {
        self.holding.known.lock().went_back = 0;
        let identity = self.recognise_store().await?;
        if self.is_taken_back() {
            // The mark of what was left stands until a person has decided.
            return Ok(());
        }
        self.keep_store(identity).await
    }

    async fn keep_store(self: &Arc<Self>, identity: Identity) -> Result<(), PeerError> {
        let left = self.holding.known.lock().store.as_ref().and_then(|store| store.counter);
        let above = left.unwrap_or(0).max(identity.counter.unwrap_or(0));
        let counter = match self.parts.store.advance_counter(above).await {
            Ok(counter) => Some(counter),
            Err(StoreError::Unsupported(_)) => identity.counter,
            Err(error) => {
                tracing::warn!(collection = %self.parts.collection.name, node = %self.parts.node, %error, "the counter in the store was not moved on");
                identity.counter
            }
        };
        let seen = StoreSeen { store_id: identity.store_id, counter };
        let this = self.clone();
        blocking(move || {
            let mut known = this.holding.known.lock();
            let noted = this.parts.journal.note_store(&this.parts.collection.name, &this.parts.node, &seen);
            noted.map_err(|error| this.broken(&error))?;
            known.store = Some(seen);
            Ok(())
        })
        .await
    }

    /// Takes in keys of a scan's page whose version went back, each with the row that was read. Blocking.
    pub(super) fn note_went_back(&self, rows: &[(KeyDigest, RowDigest)]) -> Result<(), PeerError> {
        if rows.is_empty() {
            return Ok(());
        }
        let keys: Vec<KeyDigest> = rows.iter().map(|(key, _)| *key).collect();
        let repairs = self.last_repairs(&keys)?;
        let not_ours = rows.iter().zip(repairs).filter(|((_, row), repair)| *repair != Some(*row)).count();
        let vanished = {
            let mut known = self.holding.known.lock();
            known.went_back = known.went_back.saturating_add(not_ours as u64);
            known.went_back
        };
        let entries = self.index().map_err(|error| self.index_failed(&error))?.counts().entries;
        let went_back = Vanishing { vanished, left: entries.saturating_sub(vanished) };
        match went_back.hold(self.parts.collection.brakes.vanished_share_max) {
            Some(_) => {
                let detail = format!("{vanished} of {entries} keys went back to older versions in one scan");
                self.hold(HoldCause::Restored, detail)
            }
            None => Ok(()),
        }
    }

    /// The root of a shard is about to be given under a claim.
    pub(super) fn gives_root(&self, shard: ShardId, claim: &Epoch) {
        let mut known = self.holding.known.lock();
        if known.lagging.contains(&shard) {
            known.given.remove(&shard);
        } else {
            known.given.insert(shard, claim.clone());
        }
    }

    /// A scan was completed: its index has nothing of what it counted as vanished.
    pub(super) fn caught_up(&self) {
        self.holding.known.lock().lagging.clear();
    }

    /// Takes in that shards were found equal on all replicas since the hold began, under these claims; not those from
    /// which anything vanished after their roots were given. A hold for vanishing ends when that was said of all of
    /// them: what vanished here is gone everywhere. Blocking.
    pub(super) fn found_equal(
        &self,
        equal: &HeldEqual,
        claims: &[(ShardId, Epoch, ShardVerdict)],
    ) -> Result<(), PeerError> {
        let mut known = self.holding.known.lock();
        let names_it = |hold: &Hold| {
            hold.since == equal.since && hold.cause.ends_by_itself() && equal.node == self.parts.node
        };
        if !known.hold.as_ref().is_some_and(names_it) {
            return Ok(());
        }
        let stands = |(shard, epoch, _): &&(ShardId, Epoch, ShardVerdict)| {
            equal.shards.contains(shard) && known.given.get(shard) == Some(epoch)
        };
        let standing: Vec<ShardId> = claims.iter().filter(stands).map(|(shard, ..)| *shard).collect();
        known.equal.extend(standing);
        if !self.parts.mapping.spec().shards.ids().all(|shard| known.equal.contains(&shard)) {
            return Ok(());
        }
        let ended =
            self.parts.journal.end_hold(&self.parts.collection.name, &self.parts.node, HoldEnd::Equal);
        ended.map_err(|error| self.broken(&error))?;
        known.hold = None;
        known.equal.clear();
        tracing::warn!(
            collection = %self.parts.collection.name, node = %self.parts.node,
            "the replica is not held any more: what vanished here is gone on every replica"
        );
        Ok(())
    }

    /// When it was not scanned for longer than tombstones are remembered.
    pub(super) fn gap(&self) -> Option<Gap> {
        let unnoted = self.unnoted_scans();
        let scans = self.holding.known.lock().scans.unwrap_or(unnoted);
        scans.gap(self.parts.clock.now(), self.retention())
    }

    /// What the index says of the last scan, where nothing was noted yet.
    fn unnoted_scans(&self) -> Scans {
        let index = self.index().ok();
        let last = index.and_then(|index| index.roots().first().and_then(|root| root.as_of));
        Scans { last, ..Scans::default() }
    }

    /// For how long tombstones are remembered, in microseconds.
    pub(super) fn retention(&self) -> i64 {
        i64::try_from(self.parts.collection.tombstone_retention.as_micros()).unwrap_or(i64::MAX)
    }

    /// Notes a scan that is about to be completed, with the gap that it may end. Blocking.
    pub(super) fn note_scan(&self, began: WallMicros) -> Result<(), PeerError> {
        let unnoted = self.unnoted_scans();
        let mut known = self.holding.known.lock();
        let scans = known.scans.unwrap_or(unnoted).completed(began, self.retention());
        let noted = self.parts.journal.note_scans(&self.parts.collection.name, &self.parts.node, scans, None);
        noted.map_err(|error| self.broken(&error))?;
        known.scans = Some(scans);
        Ok(())
    }

    /// Takes in what its gap was found to be: who was away is held, durably. That all stood still is noted once a scan
    /// has ended the gap; until then it grows, and is compared again. Blocking.
    pub(super) fn judge_gap(&self, judged: &JudgedGap) -> Result<(), PeerError> {
        let (unnoted, now) = (self.unnoted_scans(), self.parts.clock.now());
        let mut known = self.holding.known.lock();
        let scans = known.scans.unwrap_or(unnoted);
        let is_it = |gap: &Gap| gap.open && gap.from == judged.from;
        let Some(gap) = scans.gap(now, self.retention()).filter(is_it) else { return Ok(()) };
        if !judged.away && scans.gap.is_none_or(|(from, _)| from != gap.from) {
            return Ok(());
        }
        let hold = judged.away.then(|| Hold {
            cause: HoldCause::Away,
            detail: format!("no scan was completed between {} and {}, and others were", gap.from, gap.to),
            since: now,
        });
        let scans = Scans { judged: Some(gap.from), ..scans };
        let (journal, collection) = (&self.parts.journal, &self.parts.collection.name);
        let standing = journal.note_scans(collection, &self.parts.node, scans, hold.as_ref());
        let standing = standing.map_err(|error| self.broken(&error))?;
        known.scans = Some(scans);
        if let Some(standing) = standing {
            self.stands(&mut known, standing);
        }
        Ok(())
    }

    /// Ends a hold because a person says so: its documents count as live again, and what it saw vanish is forgotten,
    /// so that it is given back what it lacks. Gives the hold, and how many tombstones were dropped; `None` if it was
    /// not held. Certain tombstones stay. Refused if another hold has taken its place: nobody has decided about that.
    pub async fn release(self: &Arc<Self>) -> Result<Option<(Hold, usize)>, PeerError> {
        let Some(decided) = self.held() else { return Ok(None) };
        // A store that was taken back since is not kept as the one that was left.
        let identity = self.recognise_store().await?;
        if let Some(standing) = self.held() {
            same_hold(&decided, &standing)?;
        }
        // The store as it is now is the one that is left from here on. Before the hold ends: a crash between leaves
        // it held.
        if decided.cause == HoldCause::Restored {
            self.skip_feed().await?;
        }
        self.keep_store(identity).await?;
        let this = self.clone();
        blocking(move || {
            let mut known = this.holding.known.lock();
            let Some(hold) = known.hold.clone() else { return Ok(None) };
            same_hold(&decided, &hold)?;
            // What had vanished within the day before it was too much is suspended too.
            let since = hold.since.plus(-ROLLING_DAY_MICROS);
            let (journal, collection) = (&this.parts.journal, &this.parts.collection.name);
            let end = match hold.cause {
                HoldCause::Vanished | HoldCause::Emptied | HoldCause::Away => HoldEnd::Merged(since),
                HoldCause::Restored => HoldEnd::Restored(since),
            };
            let dropped = journal.end_hold(collection, &this.parts.node, end);
            let dropped = dropped.map_err(|error| this.broken(&error))?;
            known.hold = None;
            known.equal.clear();
            tracing::warn!(
                %collection, node = %this.parts.node, cause = hold.cause.as_str(), dropped,
                "the replica is not held any more: a person has decided"
            );
            Ok(Some((hold, dropped)))
        })
        .await
    }

    /// Lets the replica be written to, though it is held, until the answer is dropped.
    pub fn yielding(self: &Arc<Self>) -> Yielding {
        self.holding.yielding.fetch_add(1, Ordering::AcqRel);
        Yielding(self.clone())
    }

    /// What a held replica answers whoever writes to it, but for a resync.
    pub(super) fn refuse_writes_if_held(&self) -> Result<(), PeerError> {
        if self.holding.yielding.load(Ordering::Acquire) > 0 { Ok(()) } else { self.refuse_if_held() }
    }

    /// What a held replica answers whoever wants its documents.
    pub(super) fn refuse_if_held(&self) -> Result<(), PeerError> {
        match self.held() {
            Some(_) => Err(PeerError::Unknown(UnknownReason::Held)),
            None => Ok(()),
        }
    }
}

/// Refuses to end a hold that is not the one that was decided about.
fn same_hold(decided: &Hold, standing: &Hold) -> Result<(), PeerError> {
    if decided.cause == standing.cause {
        return Ok(());
    }
    Err(PeerError::Refused(format!(
        "it is held for another reason by now: {}: {}; hint: decide again",
        standing.cause.as_str(),
        standing.detail
    )))
}

/// While this lives, a replica takes the others' word: it is written to though it is held.
pub struct Yielding(Arc<LocalReplica>);

impl Drop for Yielding {
    fn drop(&mut self) {
        self.0.holding.yielding.fetch_sub(1, Ordering::AcqRel);
    }
}

/// What a person can do about it.
pub(crate) fn hint(cause: HoldCause) -> &'static str {
    match cause {
        HoldCause::Vanished | HoldCause::Emptied => {
            "if the keys were deleted on purpose, delete them on every replica, and the hold ends by itself; if they \
             were lost: selfsame resync NODE --as merge"
        }
        HoldCause::Restored | HoldCause::Away => {
            "decide whose word counts: selfsame resync NODE --as merge (its documents are live), or --as empty (the \
             others' are)"
        }
    }
}

#[cfg(test)]
#[path = "holding_tests.rs"]
mod tests;
