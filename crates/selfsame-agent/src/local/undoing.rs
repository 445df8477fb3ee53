//! Undoing a run's repairs on one replica: pins first, then the rows, as repairs like any other. Each is announced with
//! the row that it replaces, and written only where the run's result still stands.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use selfsame_core::{Cause, Epoch, Key, RepairId, Row, RunId};
use selfsame_journal::{MadeRepair, Pin};
use selfsame_store::Read;
use selfsame_wire::message::{ApplyItem, ApplyOutcome};

use super::repairing::Warrant;
use super::replica::LocalReplica;
use super::undo::{Prospect, TakeBack, UndoItem, UndoState, prospects};
use crate::blocking::blocking;
use crate::peer::PeerError;

/// Keys in one batch, and bytes of their rows: as an owner sends repairs.
const BATCH_KEYS_MAX: usize = 500;
const BATCH_BYTES_MAX: u64 = 16 << 20;

/// What undo came to on one replica.
#[derive(Debug, Default)]
pub struct Undone {
    /// One for each key that was looked at.
    pub items: Vec<UndoItem>,
    /// Why not all of them were.
    pub failed: Option<PeerError>,
}

impl LocalReplica {
    /// Puts back what the repairs of a run replaced here, of one key or of all; with `dry_run`, says what it would do.
    ///
    /// A row that a client wrote since stays. What is put back is pinned: no owner repairs it again without approval. A
    /// person asked for it, so neither brakes nor `repair: off` stand against it; a pause does, and so does a hold.
    pub async fn undo(self: &Arc<Self>, run: RunId, key: Option<&Key>, dry_run: bool) -> Undone {
        let mut items = Vec::new();
        let failed = self.undo_into(run, key, dry_run, &mut items).await.err();
        Undone { items, failed }
    }

    async fn undo_into(
        self: &Arc<Self>,
        run: RunId,
        key: Option<&Key>,
        dry_run: bool,
        items: &mut Vec<UndoItem>,
    ) -> Result<(), PeerError> {
        // What a crash left open may have been written.
        self.settle_intents().await?;
        let this = self.clone();
        let made = blocking(move || this.parts.journal.repairs_of_run(run)).await;
        let here = |made: &MadeRepair| {
            made.collection == self.parts.collection.name
                && made.node == self.parts.node
                && key.is_none_or(|key| made.key == *key)
        };
        let made = made.map_err(|error| self.broken(&error))?.into_iter().filter(here).collect();
        let mut open: BTreeMap<Epoch, VecDeque<TakeBack>> = BTreeMap::new();
        for prospect in prospects(made) {
            match prospect {
                Prospect::TakeBack(take_back) => {
                    open.entry(take_back.epoch.clone()).or_default().push_back(take_back);
                }
                Prospect::Settled { key, key_digest, state } => {
                    items.push(UndoItem { key, shard: self.shard_of(key_digest), write: None, state });
                }
            }
        }
        for (epoch, mut open) in open {
            while !open.is_empty() {
                let batch = next_batch(&mut open);
                let warrant = Warrant { run, epoch: epoch.clone(), approved: true };
                let undone = self.alone(|this| this.undo_batch(warrant, batch, dry_run)).await?;
                items.extend(undone.items);
                if let Some(error) = undone.failed {
                    return Err(error);
                }
            }
        }
        // What could be put back cannot now, and who only looks is told so.
        if items.iter().any(|item| item.state == UndoState::Restorable) {
            self.refuse_if_held()
        } else {
            Ok(())
        }
    }

    /// Undoes a batch. For a caller that holds the writing lock, also if it only looks: rows and images are those of one
    /// moment then.
    async fn undo_batch(
        self: Arc<Self>,
        warrant: Warrant,
        batch: Vec<TakeBack>,
        dry_run: bool,
    ) -> Result<Undone, PeerError> {
        if !dry_run {
            self.refuse_if_held()?;
            self.refuse_if_paused().await?;
        }
        let (mut undone, mut ready) = (Undone::default(), Vec::new());
        for (take_back, row) in self.rows_to_put_back(batch).await? {
            match row {
                Ok(_) if dry_run => undone.items.push(self.undo_item(&take_back, UndoState::Restorable)),
                Ok(row) => ready.push((take_back, row)),
                Err(state) => undone.items.push(self.undo_item(&take_back, state)),
            }
        }
        if !ready.is_empty() {
            undone.failed = self.put_back(warrant, ready, &mut undone.items).await.err();
        }
        Ok(undone)
    }

    /// The row that each key gets back, or why it gets none.
    async fn rows_to_put_back(
        self: &Arc<Self>,
        batch: Vec<TakeBack>,
    ) -> Result<Vec<(TakeBack, Result<Option<Row>, UndoState>)>, PeerError> {
        let keys: Vec<Key> = batch.iter().map(|take_back| take_back.key.clone()).collect();
        let now: Vec<Read> = self.parts.store.read(&keys).await.map_err(|error| self.silent(&error))?;
        let images: Vec<RepairId> = batch.iter().map(|take_back| take_back.image_of).collect();
        let this = self.clone();
        let images = blocking(move || this.parts.journal.before_images(&images)).await;
        let images = images.map_err(|error| self.broken(&error))?;
        let judged = |((take_back, now), image): ((TakeBack, Read), Option<Row>)| {
            let row = take_back.row(&now, image, |row| self.fingerprinter().row_digest(row));
            (take_back, row)
        };
        Ok(batch.into_iter().zip(now).zip(images).map(judged).collect())
    }

    /// Puts rows back, and says what became of them.
    async fn put_back(
        self: &Arc<Self>,
        warrant: Warrant,
        ready: Vec<(TakeBack, Option<Row>)>,
        items: &mut Vec<UndoItem>,
    ) -> Result<(), PeerError> {
        // Durable before the first row is back: the next pass finds the rows pinned, or finds them not there.
        self.add_pins(ready.iter().map(|(take_back, _)| self.pin_of_undo(take_back)).collect()).await?;
        let item = |(take_back, row): &(TakeBack, Option<Row>)| ApplyItem {
            repair: take_back.repair,
            key: take_back.key.clone(),
            expected: take_back.left,
            row: row.clone(),
            cause: Cause::Restored,
        };
        let written = self.repair_alone(warrant, ready.iter().map(item).collect()).await;
        let batch: Vec<TakeBack> = ready.into_iter().map(|(take_back, _)| take_back).collect();
        let outcomes = written.inspect_err(|_| {
            items.extend(batch.iter().map(|take_back| self.undo_item(take_back, UndoState::Unanswered)));
        })?;
        let digests: Vec<_> = batch.iter().map(|take_back| take_back.key_digest).collect();
        let this = self.clone();
        let stands = blocking(move || this.last_repairs(&digests)).await?;
        let mut void = Vec::new();
        for ((take_back, outcome), stands) in batch.iter().zip(outcomes).zip(stands) {
            let state = match outcome {
                ApplyOutcome::Applied if stands == take_back.before => UndoState::Restored,
                ApplyOutcome::Applied => UndoState::RestoredOtherwise,
                ApplyOutcome::AlreadyThere => UndoState::Undone,
                ApplyOutcome::Changed => UndoState::Changed,
                ApplyOutcome::Refused(why) => UndoState::Refused(why),
            };
            if !state.is_good() {
                void.push(self.pin_of_undo(take_back));
            }
            items.push(self.undo_item(take_back, state));
        }
        self.end_pins(void).await
    }

    fn pin_of_undo(&self, take_back: &TakeBack) -> Pin {
        let after = take_back.entry.as_ref().map(|entry| self.fingerprinter().entry_digest(entry));
        self.pin_of(&take_back.key, take_back.before, after)
    }

    fn undo_item(&self, take_back: &TakeBack, state: UndoState) -> UndoItem {
        UndoItem {
            key: take_back.key.clone(),
            shard: self.shard_of(take_back.key_digest),
            write: Some(take_back.write()),
            state,
        }
    }
}

/// The first of what is open, as much as one batch may hold.
fn next_batch(open: &mut VecDeque<TakeBack>) -> Vec<TakeBack> {
    let (mut batch, mut bytes) = (Vec::new(), 0);
    while let Some(next) = open.front() {
        bytes += next.image_bytes;
        if !batch.is_empty() && (batch.len() == BATCH_KEYS_MAX || bytes > BATCH_BYTES_MAX) {
            break;
        }
        batch.extend(open.pop_front());
    }
    batch
}
