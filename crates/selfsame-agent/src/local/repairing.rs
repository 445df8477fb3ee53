//! Applying repairs to one replica: intent and before-image first, then the conditional write, then the outcome.
//! A crash between leaves an intent that is settled by reading.

use std::collections::HashMap;
use std::sync::Arc;

use selfsame_core::{
    Cause, Entry, Epoch, Fingerprinter, Key, KeyDigest, OriginMarker, RepairId, RowDigest, RunId,
    UnknownReason,
};
use selfsame_journal::{
    BeforeImage, Intent, IntentOutcome, IntentWrite, IntentWritten, LedgerStep, StoredIntent,
};
use selfsame_store::{Expected, Read, Refusal, RepairBatch, RepairItem, Write, WriteOutcome};
use selfsame_wire::message::{ApplyItem, ApplyOutcome};
use tokio::sync::oneshot;

use super::replica::{Conclude, LocalReplica};
use crate::blocking::blocking;
use crate::peer::PeerError;
use crate::refusal;

/// Open intents that are settled with one read.
const INTENTS_PER_READ: usize = 500;

/// Under which claim a batch is applied.
pub(super) struct Warrant {
    pub(super) run: RunId,
    pub(super) epoch: Epoch,
    pub(super) approved: bool,
}

/// An item on its way through, and what became of it as far as is known.
pub(super) struct Step {
    pub(super) item: ApplyItem,
    pub(super) outcome: Option<ApplyOutcome>,
    /// What a fingerprint is to know of the row after; `None` deletes, or is not known yet.
    pub(super) entry: Option<Entry>,
    /// The row that was written.
    pub(super) left: Option<RowDigest>,
}

impl Step {
    fn new(item: ApplyItem) -> Step {
        Step { item, outcome: None, entry: None, left: None }
    }

    /// Whether the replica is now as the item wants it.
    pub(super) fn is_done(&self) -> bool {
        matches!(self.outcome, Some(ApplyOutcome::Applied | ApplyOutcome::AlreadyThere))
    }
}

/// A repair of which is known what became of it.
pub(super) struct Ended {
    pub(super) repair: RepairId,
    pub(super) key: Key,
    /// Whether it deletes.
    pub(super) deletes: bool,
    /// The row that it was to write; `None` also if that was forgotten.
    pub(super) intended: Option<RowDigest>,
    pub(super) outcome: IntentOutcome,
}

impl LocalReplica {
    /// Applies a batch, one outcome for each item. A batch may wait long for its turn to write, behind others or a store
    /// that is slow: what must hold when it is written, and `still` says besides, is asked only then.
    pub(super) async fn repair(
        self: &Arc<Self>,
        warrant: Warrant,
        items: Vec<ApplyItem>,
        still: impl FnOnce() -> Result<(), PeerError> + Send + 'static,
    ) -> Result<Vec<ApplyOutcome>, PeerError> {
        self.alone(async move |this| {
            still()?;
            this.refuse_writes_if_held()?;
            this.refuse_if_paused().await?;
            this.repair_alone(warrant, items).await
        })
        .await
    }

    /// Does something while nobody else writes, and does it to its end even if nobody waits for it any more: a store
    /// does not stop in the midst of a write, and whoever came next would read beside it, and take it for not made.
    pub(super) async fn alone<T, F, Fut>(self: &Arc<Self>, work: F) -> Result<T, PeerError>
    where
        T: Send + 'static,
        F: FnOnce(Arc<Self>) -> Fut,
        Fut: Future<Output = Result<T, PeerError>> + Send + 'static,
    {
        let alone = self.writing.clone().lock_owned().await;
        let work = work(self.clone());
        let (answer, answered) = oneshot::channel();
        self.parts.tasks.spawn_to_end("write", async move {
            let done = work.await;
            drop(alone);
            // Nobody may be waiting any more, which is no error.
            let _ = answer.send(done);
        });
        // Without an answer only if the agent drains, and did not wait any longer.
        answered.await.unwrap_or(Err(PeerError::Unknown(UnknownReason::Unreachable)))
    }

    /// For a caller that holds the lock for which a pause waits: after the pause's answer no write starts, not even of
    /// what was approved. A journal that does not answer is taken for a pause.
    pub(super) async fn refuse_if_paused(self: &Arc<Self>) -> Result<(), PeerError> {
        let this = self.clone();
        let paused =
            blocking(move || this.parts.journal.paused(&this.parts.collection.name, this.parts.clock.now()));
        match paused.await {
            Ok(None) => Ok(()),
            _ => Err(PeerError::Refused("repairs are paused; hint: selfsame resume".to_owned())),
        }
    }

    /// As [`LocalReplica::repair`], for a caller that holds the writing lock and knows that there is no pause.
    pub(super) async fn repair_alone(
        self: &Arc<Self>,
        warrant: Warrant,
        items: Vec<ApplyItem>,
    ) -> Result<Vec<ApplyOutcome>, PeerError> {
        // What an earlier delivery left open is known before it is tried again: the store would only say that it is
        // there already, and nobody would know who wrote it.
        self.settle_alone().await?;
        let keys: Vec<Key> = items.iter().map(|item| item.key.clone()).collect();
        let before = self.parts.store.read(&keys).await.map_err(|error| self.silent(&error))?;
        let mut steps: Vec<Step> = items.into_iter().map(Step::new).collect();
        let mut intents = Vec::new();
        for (step, read) in steps.iter_mut().zip(before) {
            match self.intent(&warrant, &step.item, read) {
                Ok(intent) => {
                    if let IntentWrite::Put { entry, .. } = &intent.write {
                        step.entry = Some(entry.clone());
                    }
                    intents.push(intent);
                }
                Err(outcome) => step.outcome = Some(outcome),
            }
        }
        let mut intents = self.without_pinned(&warrant, intents, &mut steps).await?;
        self.refuse(&warrant, &mut intents, &mut steps).await?;
        self.announce(intents, &mut steps).await?;
        self.write(&warrant, &mut steps).await?;
        self.end_passed_pins(&steps).await?;
        self.observe_repairs(&steps).await?;
        let missing = || ApplyOutcome::Refused("the store gave no outcome".to_owned());
        Ok(steps.into_iter().map(|step| step.outcome.unwrap_or_else(missing)).collect())
    }

    /// Waits until the batch that is being written, if one is, is done.
    pub(crate) async fn finish_writing(&self) {
        drop(self.writing.lock().await);
    }

    /// The intent of an item whose condition holds so far, with the row that it replaces.
    fn intent(&self, warrant: &Warrant, item: &ApplyItem, read: Read) -> Result<Intent, ApplyOutcome> {
        let before = match read {
            Read::Unreadable(unreadable) => return Err(ApplyOutcome::Refused(unreadable.reason.to_string())),
            // Whether the row is the expected one is the store's to say: it tells a change from a repair that is
            // already there. Only a write that meets its condition makes use of the image.
            Read::Absent => BeforeImage::NoRow,
            Read::Live(document) | Read::Marked(document) => {
                self.refuse_sweep(item, &document.entry)?;
                BeforeImage::Kept(document.row)
            }
        };
        let write = match &item.row {
            None => IntentWrite::Delete,
            Some(row) => {
                let document = self.parts.mapping.document(row.clone(), "the winner's row");
                let entry = document
                    .map_err(|unreadable| ApplyOutcome::Refused(unreadable.reason.to_string()))?
                    .entry;
                if entry.key != item.key {
                    return Err(ApplyOutcome::Refused("the winner's row has another key".to_owned()));
                }
                IntentWrite::Put { entry, row: Some(row.clone()) }
            }
        };
        Ok(Intent {
            repair: item.repair,
            run: warrant.run,
            epoch: warrant.epoch.clone(),
            collection: self.parts.collection.name.clone(),
            node: self.parts.node.clone(),
            key_digest: self.fingerprinter().key_digest(&item.key),
            key: item.key.clone(),
            expected: item.expected,
            write,
            before,
            cause: item.cause,
            approved: warrant.approved,
            at: self.parts.clock.now(),
        })
    }

    /// The sweeper is bound by no brake: so each agent sees to it by its own clock that a row has expired.
    fn refuse_sweep(&self, item: &ApplyItem, entry: &Entry) -> Result<(), ApplyOutcome> {
        let expired = entry.expiry.is_some_and(|expiry| expiry <= self.parts.clock.now());
        if item.cause != Cause::Swept || (item.row.is_none() && expired) {
            return Ok(());
        }
        Err(ApplyOutcome::Refused("swept, but not expired by this agent's clock".to_owned()))
    }

    /// Journals the intents. A repair that has an outcome already is not made again.
    async fn announce(self: &Arc<Self>, intents: Vec<Intent>, steps: &mut [Step]) -> Result<(), PeerError> {
        if intents.is_empty() {
            return Ok(());
        }
        let this = self.clone();
        let repairs: Vec<_> = intents.iter().map(|intent| intent.repair).collect();
        let written = blocking(move || this.parts.journal.write_intents(&intents)).await;
        let written = written.map_err(|error| self.broken(&error))?;
        let settled: HashMap<_, _> = repairs.into_iter().zip(written).collect();
        for step in steps.iter_mut().filter(|step| step.outcome.is_none()) {
            if let Some(IntentWritten::Settled(_)) = settled.get(&step.item.repair) {
                step.outcome = Some(ApplyOutcome::AlreadyThere);
            }
        }
        Ok(())
    }

    async fn write(self: &Arc<Self>, warrant: &Warrant, steps: &mut [Step]) -> Result<(), PeerError> {
        let open: Vec<usize> = (0..steps.len()).filter(|index| steps[*index].outcome.is_none()).collect();
        if open.is_empty() {
            return Ok(());
        }
        let items = open.iter().map(|index| self.repair_item(warrant.run, &steps[*index].item)).collect();
        let written = self.parts.store.apply(&RepairBatch { items }).await;
        // An error tells nothing about the single rows: their intents stay open and are settled by reading.
        let written = written.map_err(|error| self.silent(&error))?;
        #[cfg(feature = "failpoints")]
        fail::fail_point!("agent::store_written");
        let rolled_back =
            |outcome: &&WriteOutcome| matches!(outcome, WriteOutcome::Refused(Refusal::Incomparable(_)));
        self.tell_incomparable(written.iter().filter(rolled_back).count());
        let mut ended = Vec::new();
        for (index, outcome) in open.into_iter().zip(written) {
            let step = &mut steps[index];
            if let WriteOutcome::Applied { after } = &outcome {
                step.left = *after;
            }
            let (journalled, answered) = said(outcome);
            ended.push(Ended {
                repair: step.item.repair,
                key: step.item.key.clone(),
                deletes: step.item.row.is_none(),
                intended: step.item.row.as_ref().map(|row| self.fingerprinter().row_digest(row)),
                outcome: journalled,
            });
            step.outcome = Some(answered);
        }
        self.end(ended).await
    }

    /// Notes what became of repairs. The outcomes come last: what has one is settled, and nobody comes back to it. A scan
    /// would take a deletion of ours for a client's, and a pin would not hold what an undo has put back.
    async fn end(self: &Arc<Self>, ended: Vec<Ended>) -> Result<(), PeerError> {
        let deleted = ended.iter().filter(|ended| ended.deletes && ended.outcome.is_done());
        self.forget_deleted(deleted.map(|ended| ended.key.clone()).collect()).await?;
        let this = self.clone();
        blocking(move || {
            this.fit_pins(&ended)?;
            let outcomes: Vec<_> = ended.into_iter().map(|ended| (ended.repair, ended.outcome)).collect();
            this.record_outcomes(&outcomes)
        })
        .await
    }

    fn repair_item(&self, run: RunId, item: &ApplyItem) -> RepairItem {
        let marker =
            OriginMarker { agent: self.parts.agent.clone(), run, repair: item.repair, cause: item.cause };
        RepairItem {
            marker,
            key: item.key.clone(),
            expected: expected(item.expected),
            write: item.row.clone().map_or(Write::Delete, Write::Put),
        }
    }

    /// The index reads what repairs wrote, and whether it reads back as written.
    async fn observe_repairs(self: &Arc<Self>, steps: &[Step]) -> Result<(), PeerError> {
        let put: Vec<&Step> = steps.iter().filter(|step| step.is_done() && step.item.row.is_some()).collect();
        let keys: Vec<Key> = put.iter().map(|step| step.item.key.clone()).collect();
        if keys.is_empty() {
            return Ok(());
        }
        let seen = self.observe(keys, Conclude::Nothing).await?;
        self.note_incomparable(&put, &seen).await
    }

    /// Takes keys that a repair deleted out of the index. A deletion of ours is none by a client: it leaves no memory.
    async fn forget_deleted(self: &Arc<Self>, keys: Vec<Key>) -> Result<(), PeerError> {
        if keys.is_empty() {
            return Ok(());
        }
        let this = self.clone();
        blocking(move || {
            let digests: Vec<KeyDigest> =
                keys.iter().map(|key| this.fingerprinter().key_digest(key)).collect();
            // What the row is now is our doing, and no vote.
            let steps: Vec<LedgerStep> =
                digests.iter().map(|digest| LedgerStep::Repaired(*digest, None)).collect();
            this.note(&steps, None)?;
            let removed = this.index().and_then(|index| index.remove(index.next_stamp()?, &digests));
            removed.map(|_| ()).map_err(|error| this.index_failed(&error))
        })
        .await
    }

    /// Finds out by reading what became of intents that a crash or a silent store left without an outcome. To be
    /// called before a scan may conclude that a client deleted something.
    pub(super) async fn settle_intents(self: &Arc<Self>) -> Result<(), PeerError> {
        // Intents of a batch that is being written now are not to be settled.
        let _alone = self.writing.lock().await;
        self.settle_alone().await
    }

    /// As [`LocalReplica::settle_intents`], for a caller that holds the writing lock.
    async fn settle_alone(self: &Arc<Self>) -> Result<(), PeerError> {
        loop {
            let this = self.clone();
            let open = blocking(move || {
                this.parts.journal.open_intents(
                    &this.parts.collection.name,
                    &this.parts.node,
                    INTENTS_PER_READ,
                )
            })
            .await;
            let open = open.map_err(|error| self.broken(&error))?.rows;
            if open.is_empty() {
                return Ok(());
            }
            let keys: Vec<Key> = open.iter().map(|stored| stored.intent.key.clone()).collect();
            let reads = self.parts.store.read(&keys).await.map_err(|error| self.silent(&error))?;
            let settled = |(stored, read)| settled(stored, read, self.fingerprinter());
            let ended: Vec<Ended> = open.into_iter().zip(&reads).map(settled).collect();
            tracing::warn!(node = %self.parts.node, intents = ended.len(), "settled intents without an outcome");
            self.end(ended).await?;
        }
    }
}

/// What reading says of an intent.
fn settled(StoredIntent { intent, .. }: StoredIntent, read: &Read, digests: &Fingerprinter) -> Ended {
    let row = read.document().map(|document| document.row_digest);
    let outcome = match (&intent.write, read) {
        (IntentWrite::Delete, Read::Absent) => IntentOutcome::Applied { after: None },
        (IntentWrite::Put { entry, .. }, Read::Live(document) | Read::Marked(document))
            if *entry == document.entry =>
        {
            IntentOutcome::Applied { after: Some(document.row_digest) }
        }
        (_, Read::Unreadable(_)) => IntentOutcome::Unknown,
        // The row still stands as before: it was not written. Otherwise a client came between, or after.
        _ if row == intent.expected => IntentOutcome::Changed,
        _ => IntentOutcome::Unknown,
    };
    let (deletes, intended) = match intent.write {
        IntentWrite::Delete => (true, None),
        IntentWrite::Put { row, .. } => (false, row.map(|row| digests.row_digest(&row))),
    };
    Ended { repair: intent.repair, key: intent.key, deletes, intended, outcome }
}

fn expected(row: Option<RowDigest>) -> Expected {
    row.map_or(Expected::Absent, Expected::Row)
}

/// What the journal keeps of an outcome, and what the owner is told.
fn said(outcome: WriteOutcome) -> (IntentOutcome, ApplyOutcome) {
    match outcome {
        WriteOutcome::Applied { after } => (IntentOutcome::Applied { after }, ApplyOutcome::Applied),
        WriteOutcome::AlreadyThere => (IntentOutcome::AlreadyThere, ApplyOutcome::AlreadyThere),
        WriteOutcome::Changed => (IntentOutcome::Changed, ApplyOutcome::Changed),
        WriteOutcome::Refused(refusal) => {
            let why = match refusal {
                // The owner knows the word and holds the key. It was rolled back, so that the next pass may try
                // again: it finds by itself that the store was mended.
                Refusal::Incomparable(place) => {
                    let word = refusal::Refusal::Incomparable.to_string();
                    return (IntentOutcome::Refused(format!("{word}: {place}")), ApplyOutcome::Refused(word));
                }
                Refusal::Constraint(name) => format!("constraint: {name}"),
                Refusal::Unreadable => "the row has no single meaning".to_owned(),
                Refusal::Schema(what) => format!("schema: {what}"),
                Refusal::ReadOnly => "the store takes no writes".to_owned(),
            };
            (IntentOutcome::Refused(why.clone()), ApplyOutcome::Refused(why))
        }
    }
}
