//! Pins of one replica: changes that a person undid or dropped, and that are not made again without approval. A pin
//! holds back exactly one change, of this row to that entry; another row on either side ends it.

use std::sync::Arc;

use selfsame_core::{EntryDigest, Key, KeyDigest, Observation, Presence, RowDigest, ShardId};
use selfsame_journal::{Intent, IntentOutcome, IntentWrite, Pin};
use selfsame_store::Read;
use selfsame_wire::message::{self, ApplyOutcome, Seen};

use super::repairing::{Ended, Step, Warrant};
use super::replica::LocalReplica;
use crate::blocking::blocking;
use crate::peer::PeerError;
use crate::refusal::Refusal;

/// Pinned keys that are looked at with one read.
const KEYS_PER_READ: usize = 500;

impl LocalReplica {
    /// The shard of a key.
    pub(super) fn shard_of(&self, key_digest: KeyDigest) -> ShardId {
        key_digest.shard(self.parts.mapping.spec().shards)
    }

    pub(super) fn pin_of(&self, key: &Key, before: Option<RowDigest>, after: Option<EntryDigest>) -> Pin {
        Pin {
            collection: self.parts.collection.name.clone(),
            shard: self.shard_of(self.fingerprinter().key_digest(key)),
            key: key.clone(),
            node: self.parts.node.clone(),
            before,
            after,
            at: self.parts.clock.now(),
        }
    }

    /// Notes that a person does not want these changes; durable when it returns, and none of them is being made then.
    pub(super) async fn pin(self: &Arc<Self>, pins: Vec<(Key, message::Pin)>) -> Result<(), PeerError> {
        let _alone = self.writing.lock().await;
        let pins = pins.iter().map(|(key, pin)| self.pin_of(key, pin.before, pin.after)).collect();
        self.add_pins(pins).await
    }

    pub(super) async fn add_pins(self: &Arc<Self>, pins: Vec<Pin>) -> Result<(), PeerError> {
        let this = self.clone();
        let added = blocking(move || this.parts.journal.add_pins(&pins)).await;
        added.map_err(|error| self.broken(&error))
    }

    pub(super) async fn end_pins(self: &Arc<Self>, pins: Vec<Pin>) -> Result<(), PeerError> {
        let this = self.clone();
        let ended = blocking(move || this.parts.journal.end_pins(&pins)).await;
        ended.map(|_| ()).map_err(|error| self.broken(&error))
    }

    async fn pinned(
        self: &Arc<Self>,
        rows: Vec<(Key, Option<RowDigest>)>,
    ) -> Result<Vec<Option<Pin>>, PeerError> {
        let this = self.clone();
        blocking(move || this.pinned_of(rows)).await
    }

    /// What of each key is pinned where this row stands. Blocking.
    fn pinned_of(&self, rows: Vec<(Key, Option<RowDigest>)>) -> Result<Vec<Option<Pin>>, PeerError> {
        let place = |(key, row)| (self.shard_of(self.fingerprinter().key_digest(&key)), key, row);
        let places: Vec<_> = rows.into_iter().map(place).collect();
        let pinned = self.parts.journal.pinned(&self.parts.collection.name, &self.parts.node, &places);
        pinned.map_err(|error| self.broken(&error))
    }

    /// Adds to what was seen which change of it is pinned. To be called after the read: a pin is there before the row
    /// that it keeps.
    pub(super) async fn with_pins(
        self: &Arc<Self>,
        keys: &[Key],
        observations: Vec<Observation>,
    ) -> Result<Vec<Seen>, PeerError> {
        let row = |observation: &Observation| match &observation.presence {
            Presence::Live(sighting) | Presence::Marked(sighting) => Some(sighting.row),
            Presence::Absent | Presence::Unreadable | Presence::Unreachable => None,
        };
        let pins = self.pinned(keys.iter().cloned().zip(observations.iter().map(row)).collect()).await?;
        let seen = |(observation, pin): (Observation, Option<Pin>)| {
            let is_known = !matches!(observation.presence, Presence::Unreadable | Presence::Unreachable);
            let pin = pin.filter(|_| is_known);
            let pinned = pin.map(|Pin { before, after, .. }| message::Pin { before, after });
            Seen { observation, pinned }
        };
        Ok(observations.into_iter().zip(pins).map(seen).collect())
    }

    /// Refuses what is pinned, unless a person approved it.
    pub(super) async fn without_pinned(
        self: &Arc<Self>,
        warrant: &Warrant,
        intents: Vec<Intent>,
        steps: &mut [Step],
    ) -> Result<Vec<Intent>, PeerError> {
        if warrant.approved || intents.is_empty() {
            return Ok(intents);
        }
        let rows = intents.iter().map(|intent| (intent.key.clone(), intent.expected)).collect();
        let pins = self.pinned(rows).await?;
        let is_pinned = |(intent, pin): &(Intent, Option<Pin>)| {
            let after = match &intent.write {
                IntentWrite::Put { entry, .. } => Some(self.fingerprinter().entry_digest(entry)),
                IntentWrite::Delete => None,
            };
            pin.as_ref().is_some_and(|pin| pin.after == after)
        };
        let (pinned, free): (Vec<_>, Vec<_>) = intents.into_iter().zip(pins).partition(is_pinned);
        for (intent, _) in pinned {
            let step = steps.iter_mut().find(|step| step.item.repair == intent.repair);
            if let Some(step) = step {
                step.outcome = Some(ApplyOutcome::Refused(Refusal::Pinned.to_string()));
            }
        }
        Ok(free.into_iter().map(|(intent, _)| intent).collect())
    }

    /// Ends the pins of rows that a repair has replaced: an approval overrides a pin for good, and another change of the
    /// row was never held back.
    pub(super) async fn end_passed_pins(self: &Arc<Self>, steps: &[Step]) -> Result<(), PeerError> {
        let done = steps.iter().filter(|step| step.is_done()).map(|step| &step.item);
        let passed = self.pinned(done.map(|item| (item.key.clone(), item.expected)).collect()).await?;
        self.end_pins(passed.into_iter().flatten().collect()).await
    }

    /// Lets pins keep the rows that stand now, where they keep the rows that were meant to: triggers of a table have
    /// their say in what an undo puts back. To be called before the outcomes are noted: nobody comes back to it after a
    /// crash then. Blocking.
    pub(super) fn fit_pins(&self, ended: &[Ended]) -> Result<(), PeerError> {
        let otherwise = |ended: &Ended| match (ended.intended, &ended.outcome) {
            (Some(intended), IntentOutcome::Applied { after: Some(stands) }) if *stands != intended => {
                Some((ended.key.clone(), intended, *stands))
            }
            _ => None,
        };
        let otherwise: Vec<(Key, RowDigest, RowDigest)> = ended.iter().filter_map(otherwise).collect();
        let rows = otherwise.iter().map(|(key, intended, _)| (key.clone(), Some(*intended))).collect();
        let pins = self.pinned_of(rows)?;
        let fitted = |(pin, (.., stands)): (&Option<Pin>, &(Key, RowDigest, RowDigest))| {
            pin.clone().map(|pin| Pin { before: Some(*stands), ..pin })
        };
        let fitted: Vec<Pin> = pins.iter().zip(&otherwise).filter_map(fitted).collect();
        if fitted.is_empty() {
            return Ok(());
        }
        let unfit: Vec<Pin> = pins.into_iter().flatten().collect();
        let journal = &self.parts.journal;
        let fitted = journal.add_pins(&fitted).and_then(|()| journal.end_pins(&unfit));
        fitted.map(|_| ()).map_err(|error| self.broken(&error))
    }

    /// Ends the pins whose row does not stand any more. Cost: a read of all rows that are pinned.
    pub(super) async fn end_stale_pins(self: &Arc<Self>) -> Result<(), PeerError> {
        // An undo announces its pins before it writes.
        let _alone = self.writing.lock().await;
        let this = self.clone();
        let pins = blocking(move || {
            this.parts.journal.pins_of_replica(&this.parts.collection.name, &this.parts.node)
        });
        let pins = pins.await.map_err(|error| self.broken(&error))?;
        for chunk in pins.chunks(KEYS_PER_READ) {
            let keys: Vec<Key> = chunk.iter().map(|pin| pin.key.clone()).collect();
            let reads = self.parts.store.read(&keys).await.map_err(|error| self.silent(&error))?;
            let stale = |(pin, read): (&Pin, &Read)| {
                let stands = match read {
                    Read::Live(document) | Read::Marked(document) => pin.before == Some(document.row_digest),
                    Read::Absent => pin.before.is_none(),
                    Read::Unreadable(_) => true,
                };
                (!stands).then(|| pin.clone())
            };
            self.end_pins(chunk.iter().zip(&reads).filter_map(stale).collect()).await?;
        }
        Ok(())
    }
}
