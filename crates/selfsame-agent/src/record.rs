//! What an owner writes down about its passes, and what it reads there before the next.

use std::sync::Arc;
use std::time::Duration;

use selfsame_core::{
    AgentName, CollectionName, Epoch, Fingerprinter, RunId, ShardId, ShardVerdict, WallMicros,
};
use selfsame_journal::{
    Action as StoredAction, Completion, Counters, ItemOutcome, ItemRow, Journal, JournalError, Plan, PlanId,
    PlanItem, Run, ShardRecord, ShardResult, plan_body,
};
use selfsame_wire::message::StartRequest;

use crate::ages::continue_ages;
use crate::blocking::blocking;
use crate::exchange::Approval;
use crate::exchange::report::{Action, Item, Outcome, PassReport, PlanReason, ShardReport};
use crate::settings::CollectionSettings;

/// Plans live no longer, nor longer than their collection remembers deletions.
const PLAN_LIFE_MAX: Duration = Duration::from_secs(7 * 24 * 3_600);

/// Items that are read from the journal at a time.
const ITEMS_PER_READ: usize = 1_000;

/// Items that are written to it at a time.
const ITEMS_PER_WRITE: usize = 1_000;

/// Names the replicas of a collection: a first pass counts for these, and not when another joins.
pub fn members(collection: &CollectionSettings) -> String {
    collection.replicas.iter().map(|replica| replica.node.as_str()).collect::<Vec<_>>().join(",")
}

/// What the voters record of a completed slot: the verdict, and between which replicas.
pub(crate) fn completed_as(verdict: ShardVerdict, members: &str) -> String {
    format!("{} {members}", verdict.as_str())
}

/// Whether the first pass of a shard is over: a slot was completed in sync between these replicas.
pub(crate) fn is_first_pass_over(record: &ShardRecord, members: &str) -> bool {
    let in_sync = |completion: &Completion| {
        completion.verdict.strip_prefix("in_sync ").is_some_and(|rest| rest == members)
    };
    record.completed.iter().any(in_sync)
}

/// Writes down the passes of one owner over one collection.
#[derive(Clone)]
pub(crate) struct Recorder {
    pub(crate) journal: Arc<Journal>,
    pub(crate) owner: AgentName,
    pub(crate) collection: CollectionName,
    pub(crate) fingerprinter: Fingerprinter,
    /// The collection's.
    pub(crate) tombstone_retention: Duration,
}

impl Recorder {
    /// Notes that a pass begins.
    pub(crate) async fn begin(&self, start: &StartRequest, run: RunId, started: WallMicros) {
        let (journal, owner, collection) =
            (self.journal.clone(), self.owner.clone(), self.collection.clone());
        let run = Run { run, collection, slot: start.slot, owner, started, dry_run: start.dry_run };
        log(blocking(move || journal.begin_run(&run)).await);
    }

    /// Lets divergences that earlier passes met go on from there.
    pub(crate) async fn continue_ages(&self, report: PassReport) -> PassReport {
        let (journal, collection) = (self.journal.clone(), self.collection.clone());
        blocking(move || {
            let mut report = report;
            log(continue_ages(&journal, &collection, &mut report));
            report
        })
        .await
    }

    /// Writes down what came out of it: results and items of its shards, and plans. Gives the report back.
    pub(crate) async fn finish(&self, report: PassReport, now: WallMicros) -> PassReport {
        let this = self.clone();
        blocking(move || {
            log(this.write(&report, now));
            report
        })
        .await
    }

    fn write(&self, report: &PassReport, now: WallMicros) -> Result<(), JournalError> {
        // Messages carry many shards at a time: each shard stands for its share of their bytes.
        let share = report.wire_bytes / (report.shards.len().max(1) as u64);
        for shard in &report.shards {
            let row = |item: &Item| item_row(report.run, shard.shard, item, now);
            for chunk in shard.items.chunks(ITEMS_PER_WRITE) {
                self.journal.record_items(&chunk.iter().map(row).collect::<Vec<ItemRow>>())?;
            }
            let Some(epoch) = &shard.epoch else { continue };
            self.journal.add_shard_result(&ShardResult {
                run: report.run,
                shard: shard.shard,
                owner: self.owner.clone(),
                epoch: epoch.clone(),
                verdict: shard.verdict,
                counters: counters(shard, share),
                at: now,
            })?;
            self.plan(report.run, shard, epoch, now)?;
        }
        self.journal.finish_run(report.run, now)
    }

    /// Stores what waits for approval, in place of the shard's older plan. What nobody may approve is no plan: a
    /// dry run, or a collection whose repair is off.
    fn plan(
        &self,
        run: RunId,
        shard: &ShardReport,
        epoch: &Epoch,
        now: WallMicros,
    ) -> Result<(), JournalError> {
        let reason = match shard.planned {
            None | Some(PlanReason::DryRun | PlanReason::RepairOff) => return Ok(()),
            Some(reason) => reason,
        };
        let planned =
            shard.items.iter().filter(|item| item.repair.is_some() && item.outcome.may_be_approved());
        let items: Vec<PlanItem> = planned.map(plan_item).collect();
        let plan = Plan {
            id: PlanId { collection: self.collection.clone(), shard: shard.shard, run },
            epoch: epoch.clone(),
            reason: reason.as_str().to_owned(),
            created: now,
            expires: plan_expires(now, self.tombstone_retention),
            digest: self.fingerprinter.other_digest(&plan_body(&items)),
        };
        self.journal.put_plan(&plan, &items).map(|_| ())
    }
}

fn plan_expires(created: WallMicros, tombstone_retention: Duration) -> WallMicros {
    let life = PLAN_LIFE_MAX.min(tombstone_retention);
    created.plus(i64::try_from(life.as_micros()).unwrap_or(i64::MAX))
}

/// What a person approves with a plan: its items, by the ids of the repairs that were not made.
pub(crate) async fn approval(journal: Arc<Journal>, id: PlanId) -> Result<Approval, JournalError> {
    blocking(move || {
        let mut items = Vec::new();
        let mut after = None;
        loop {
            let page = journal.items(id.run, ITEMS_PER_READ, after)?;
            let waits = |item: &ItemRow| {
                item.repair.is_some() && matches!(item.outcome, ItemOutcome::Planned | ItemOutcome::Held(_))
            };
            let of_plan = |item: &ItemRow| item.shard == id.shard && waits(item);
            items.extend(page.rows.into_iter().filter(of_plan));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        let keys = items.iter().map(|item| item.key.clone()).collect();
        let repairs = items.iter().filter_map(|item| item.repair).collect();
        Ok(Approval { run: id.run, keys, repairs })
    })
    .await
}

/// A plan that was carried out is no plan any more; what returned stands in a newer one.
pub(crate) async fn forget_plan(journal: Arc<Journal>, id: PlanId) {
    log(blocking(move || journal.remove_plan(&id).map(|_| ())).await);
}

fn log(result: Result<(), JournalError>) {
    if let Err(error) = result {
        tracing::error!(%error, "a run is not recorded");
    }
}

fn plan_item(item: &Item) -> PlanItem {
    PlanItem {
        key: item.key.clone(),
        node: item.node.clone(),
        action: stored_action(&item.action),
        before: item.row_before,
        after: item.entry_after,
        cause: item.cause,
        rule: item.rule.describe().to_owned(),
        bytes: item.bytes,
    }
}

fn item_row(run: RunId, shard: ShardId, item: &Item, at: WallMicros) -> ItemRow {
    ItemRow {
        run,
        shard,
        key: item.key.clone(),
        node: item.node.clone(),
        action: stored_action(&item.action),
        cause: item.cause,
        rule: item.rule.describe().to_owned(),
        outcome: stored_outcome(&item.outcome),
        version_before: item.version_before,
        version_after: item.version_after,
        row_before: item.row_before,
        row_after: None,
        at,
        repair: item.repair,
        age: item.age,
        bytes: item.bytes,
    }
}

fn stored_action(action: &Action) -> StoredAction {
    match action {
        Action::CopyFrom(from) => StoredAction::Copy { from: from.clone() },
        Action::Delete => StoredAction::Delete,
        Action::Nothing => StoredAction::Nothing,
    }
}

fn stored_outcome(outcome: &Outcome) -> ItemOutcome {
    match outcome {
        Outcome::Planned => ItemOutcome::Planned,
        Outcome::Repaired => ItemOutcome::Verified,
        Outcome::AlreadyThere => ItemOutcome::AlreadyThere,
        Outcome::Changed => ItemOutcome::Changed,
        Outcome::Moving => ItemOutcome::Moving,
        Outcome::Held(reason) => ItemOutcome::Held(reason.as_str().to_owned()),
        Outcome::Unreadable => ItemOutcome::Unreadable,
        Outcome::Refused(why) => ItemOutcome::Refused(why.clone()),
        Outcome::Unanswered(why) => ItemOutcome::Failed(why.clone()),
        Outcome::Incomparable => ItemOutcome::Incomparable,
    }
}

fn counters(shard: &ShardReport, wire_bytes: u64) -> Counters {
    let counts = &shard.counts;
    Counters {
        keys_compared: counts.keys,
        mismatches: counts.mismatches,
        repaired: counts.repaired,
        transient: counts.transient,
        moving: counts.moving,
        held: counts.held,
        wire_sent_bytes: wire_bytes,
        wire_received_bytes: 0,
        document_bytes: counts.document_bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_does_not_outlive_what_is_remembered_of_deletions() {
        let created = WallMicros(5);
        assert_eq!(plan_expires(created, Duration::from_secs(60)), WallMicros(60_000_005));
        let week = WallMicros(5 + 7 * 24 * 3_600 * 1_000_000);
        assert_eq!(plan_expires(created, Duration::from_secs(10 * 24 * 3_600)), week);
        assert_eq!(plan_expires(created, Duration::MAX), week);
    }
}
