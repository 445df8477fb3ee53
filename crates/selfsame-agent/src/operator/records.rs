//! Past runs: each owner's journal has its share, and the shares add up.

use std::collections::{BTreeMap, HashMap};

use selfsame_core::{Counts, ShardVerdict, WallMicros};
use selfsame_journal::{
    Action, Counters, ItemOutcome, ItemRow, Journal, JournalError, RunFilter, RunMatch, RunRow, ShardResult,
};
use selfsame_wire::v1;
use tonic::Status;

use super::OperatorService;
use super::causes::{self, SAMPLES_MAX};
use super::lookup::{OwnRun, Shares};
use super::plans::waits;
use super::run::summary_of;
use crate::exchange::report::PlanReason;

/// Runs in an answer, unless said otherwise, and at most.
const RUNS: u32 = 50;
const RUNS_MAX: u32 = 1_000;

/// Items in an answer, unless said otherwise, and at most: at about 200 bytes each below the message limit.
const ITEMS: u32 = 100;
const ITEMS_MAX: u32 = 100_000;

/// Rows that are read from the journal at a time.
const ROWS_PER_READ: usize = 1_000;

impl OperatorService {
    pub(super) async fn list_runs(
        &self,
        request: v1::RunsRequest,
        forwarded: bool,
    ) -> Result<v1::RunsReply, Status> {
        let limit = bounded(request.limit, RUNS, RUNS_MAX);
        let collection = match request.collection.as_str() {
            "" => None,
            name => self.collections(name)?.into_iter().next().map(|collection| collection.name),
        };
        let node = self.node_named(&request.node)?;
        let now = self.parts.clock.now();
        let filter = RunFilter { since: request.since.map(WallMicros), collection, node, limit };
        let mut reply = self
            .journal(move |journal| {
                let list = journal.runs(&filter)?;
                let runs = list.runs.iter().map(|row| run_summary(journal, row, now));
                Ok(v1::RunsReply {
                    runs: runs.collect::<Result<_, JournalError>>()?,
                    truncated: list.truncated,
                    silent: Vec::new(),
                })
            })
            .await?;
        if !forwarded {
            let (answers, silent) = self
                .ask_siblings(&request, |mut client, request| async move { client.runs(request).await })
                .await;
            reply.silent = silent;
            for answer in answers {
                let answer: v1::RunsReply = answer;
                reply.truncated |= answer.truncated;
                reply.runs.extend(answer.runs);
            }
            reply.runs = joined(reply.runs);
            reply.truncated |= reply.runs.len() > limit;
            reply.runs.truncate(limit);
            reply.runs.iter_mut().for_each(|run| conclude(run, self.shards_of(&run.collection)));
        }
        Ok(reply)
    }

    pub(super) async fn show_run(
        &self,
        request: v1::ShowRequest,
        forwarded: bool,
    ) -> Result<v1::ShowReply, Status> {
        let limit = bounded(request.limit, ITEMS, ITEMS_MAX);
        if forwarded {
            return self.own_run(&request).await?.alone(&request.run);
        }
        let Shares { shares: mut parts, silent } = self.find_run(&request).await?;
        let summaries = parts.iter_mut().filter_map(|share| share.summary.take()).collect();
        let mut summary = joined(summaries).pop().map(|summary| v1::RunSummary { silent, ..summary });
        summary.iter_mut().for_each(|run| conclude(run, self.shards_of(&run.collection)));
        let causes = causes::joined(parts.iter_mut().flat_map(|share| std::mem::take(&mut share.causes)));
        let mut truncated = parts.iter().any(|share| share.truncated);
        let mut items: Vec<v1::RunItem> = parts.into_iter().flat_map(|share| share.items).collect();
        truncated |= items.len() > limit;
        items.truncate(limit);
        Ok(v1::ShowReply { summary, items, truncated, causes })
    }

    /// The shards of a collection; of one that is not configured any more, nobody knows them.
    fn shards_of(&self, collection: &str) -> u32 {
        let mut collections = self.parts.fleet.collections.iter();
        let known = collections.find(|known| known.name.as_str() == collection);
        let first = known.and_then(|known| known.replicas.first());
        first.map_or(u32::MAX, |replica| replica.mapping.shards.get())
    }

    /// What this agent's journal has of the run that a request means.
    pub(super) async fn own_run(&self, request: &v1::ShowRequest) -> Result<OwnRun, Status> {
        let (id, limit) = (request.run.clone(), bounded(request.limit, ITEMS, ITEMS_MAX));
        let now = self.parts.clock.now();
        self.journal(move |journal| {
            let row = match journal.find_run(&id)? {
                RunMatch::One(row) => row,
                RunMatch::None => return Ok(OwnRun::Unknown),
                RunMatch::Several(runs) => return Ok(OwnRun::Several(runs)),
            };
            let mut items = Vec::new();
            let mut after = None;
            loop {
                let page = journal.items(row.run.run, ROWS_PER_READ.min(limit - items.len()), after)?;
                let collection = row.run.collection.as_str();
                items.extend(page.rows.into_iter().map(|item| run_item(collection, item)));
                after = page.next;
                if after.is_none() || items.len() >= limit {
                    break;
                }
            }
            let summary = run_summary(journal, &row, now)?;
            let share = v1::ShowReply {
                summary: Some(summary),
                items,
                truncated: after.is_some(),
                causes: causes::told(journal.causes_of_run(row.run.run, SAMPLES_MAX)?),
            };
            Ok(OwnRun::One(Box::new(share)))
        })
        .await
    }
}

fn bounded(asked: u32, usual: u32, most: u32) -> usize {
    let limit = if asked == 0 { usual } else { asked.min(most) };
    limit as usize
}

/// A run's share at one owner.
fn run_summary(journal: &Journal, row: &RunRow, now: WallMicros) -> Result<v1::RunSummary, JournalError> {
    let results = journal.shard_results(row.run.run)?;
    let mut counts = Counts::default();
    let mut wire_bytes = 0;
    for result in &results {
        counts.add(&counts_of(&result.counters));
        wire_bytes += result.counters.wire_bytes();
    }
    let verdicts: Vec<ShardVerdict> = results.iter().map(|result| result.verdict).collect();
    // What nobody can read leaves no shard in sync, so that most runs need not be looked through.
    if verdicts.iter().any(|verdict| !matches!(verdict, ShardVerdict::InSync { .. })) {
        counts.unreadable = journal.items_that_ended(row.run.run, &ItemOutcome::Unreadable)?;
    }
    let duration = row.finished.map_or(0, |finished| finished.0.saturating_sub(row.run.started.0) / 1_000);
    Ok(v1::RunSummary {
        run: row.run.run.to_string(),
        collection: row.run.collection.to_string(),
        started_at: row.run.started.0,
        duration_ms: u64::try_from(duration).unwrap_or(0),
        state: match (row.finished, row.abandoned) {
            (Some(_), _) => v1::RunState::Finished,
            (None, true) => v1::RunState::Abandoned,
            (None, false) => v1::RunState::Running,
        }
        .into(),
        scheduled: matches!(row.run.slot, selfsame_core::Slot::Scheduled(_)),
        dry_run: row.run.dry_run,
        planned: planned(journal, row, &results, now)?,
        wire_bytes,
        ..summary_of(&verdicts, &counts)
    })
}

/// Shards by why their repairs were not made: of a dry run all that differ, else those whose plan still waits.
fn planned(
    journal: &Journal,
    row: &RunRow,
    results: &[ShardResult],
    now: WallMicros,
) -> Result<HashMap<String, u32>, JournalError> {
    let mut planned = HashMap::new();
    if row.run.dry_run {
        // Keys that are held wait for something else.
        let differ = |result: &&ShardResult| result.counters.mismatches > result.counters.held;
        let shards = results.iter().filter(differ).count() as u32;
        planned.extend((shards > 0).then(|| (PlanReason::DryRun.as_str().to_owned(), shards)));
        return Ok(planned);
    }
    for plan in journal.plans_of_run(row.run.run)?.into_iter().filter(|plan| waits(plan, now)) {
        *planned.entry(plan.plan.reason).or_insert(0) += 1;
    }
    Ok(planned)
}

fn counts_of(counters: &Counters) -> Counts {
    Counts {
        keys: counters.keys_compared,
        mismatches: counters.mismatches,
        repaired: counters.repaired,
        transient: counters.transient,
        moving: counters.moving,
        held: counters.held,
        // Not among what is recorded of a shard; its items tell.
        unreadable: 0,
        document_bytes: counters.document_bytes,
    }
}

/// The shares of each run added up, the newest run first.
fn joined(shares: Vec<v1::RunSummary>) -> Vec<v1::RunSummary> {
    let mut runs: BTreeMap<String, v1::RunSummary> = BTreeMap::new();
    for share in shares {
        match runs.get_mut(&share.run) {
            None => {
                runs.insert(share.run.clone(), share);
            }
            Some(run) => join(run, share),
        }
    }
    let mut runs: Vec<v1::RunSummary> = runs.into_values().collect();
    runs.sort_by(|left, right| (right.started_at, &right.run).cmp(&(left.started_at, &left.run)));
    runs
}

fn join(run: &mut v1::RunSummary, share: v1::RunSummary) {
    let states = [run.state(), share.state()];
    let state =
        [v1::RunState::Running, v1::RunState::Abandoned].into_iter().find(|state| states.contains(state));
    let worse = |left: i32, right: i32| {
        let rank = |verdict: i32| match v1::Verdict::try_from(verdict) {
            Ok(v1::Verdict::Diverged) => 3,
            Ok(v1::Verdict::Unknown) => 2,
            Ok(v1::Verdict::InSync) => 1,
            Ok(v1::Verdict::Unspecified) | Err(_) => 2,
        };
        if rank(left) >= rank(right) { left } else { right }
    };
    // An owner that has no result yet says nothing about the others'.
    run.verdict = match (run.shards, share.shards) {
        (0, _) => share.verdict,
        (_, 0) => run.verdict,
        _ => worse(run.verdict, share.verdict),
    };
    run.as_of = match (run.as_of, share.as_of) {
        (Some(left), Some(right)) => Some(left.min(right)),
        (left, right) => left.or(right),
    };
    for count in share.unknown {
        match run.unknown.iter_mut().find(|known| known.reason == count.reason) {
            Some(known) => known.shards += count.shards,
            None => run.unknown.push(count),
        }
    }
    for (reason, shards) in share.planned {
        *run.planned.entry(reason).or_insert(0) += shards;
    }
    run.shards += share.shards;
    run.in_sync += share.in_sync;
    run.diverged += share.diverged;
    run.keys += share.keys;
    run.mismatches += share.mismatches;
    run.repaired += share.repaired;
    run.transient += share.transient;
    run.held += share.held;
    run.moving += share.moving;
    run.unreadable += share.unreadable;
    run.wire_bytes += share.wire_bytes;
    run.document_bytes += share.document_bytes;
    run.duration_ms = run.duration_ms.max(share.duration_ms);
    run.started_at = run.started_at.min(share.started_at);
    run.set_state(state.unwrap_or(v1::RunState::Finished));
}

/// What follows for a run of which an owner left its share, with so many shards: others took it over, or the shards that
/// are missing are unknown.
fn conclude(run: &mut v1::RunSummary, shards: u32) {
    if run.state() != v1::RunState::Abandoned {
        return;
    }
    if run.shards >= shards {
        run.set_state(v1::RunState::Finished);
    } else if run.verdict() == v1::Verdict::InSync {
        run.set_verdict(v1::Verdict::Unknown);
        run.as_of = None;
    }
}

/// An item as it is told.
pub(super) fn run_item(collection: &str, item: ItemRow) -> v1::RunItem {
    let (action, from) = match &item.action {
        Action::Copy { from } => ("copy", from.to_string()),
        Action::Delete => ("delete", String::new()),
        Action::Nothing => ("none", String::new()),
    };
    let outcome = match &item.outcome {
        ItemOutcome::Verified | ItemOutcome::Applied => "repaired",
        ItemOutcome::Failed(_) => "unanswered",
        other => other.code(),
    };
    v1::RunItem {
        collection: collection.to_owned(),
        shard: item.shard.0,
        key: item.key.to_string(),
        node: item.node.to_string(),
        action: action.to_owned(),
        from,
        cause: item.cause.as_str().to_owned(),
        rule: item.rule,
        outcome: outcome.to_owned(),
        detail: item.outcome.detail().unwrap_or_default().to_owned(),
        version_before: item.version_before.map(|version| version.0),
        version_after: item.version_after.map(|version| version.0),
        at: item.at.0,
        run: item.run.to_string(),
        repair: item.repair.map(|repair| repair.to_string()).unwrap_or_default(),
        since: item.age.map(|age| age.since.0),
        found_at: item.age.map(|age| age.found.0),
        repaired_at: item.age.and_then(|age| age.repaired).map(|at| at.0),
        bytes: item.bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(state: v1::RunState, shards: u32) -> v1::RunSummary {
        v1::RunSummary {
            run: "c458".to_owned(),
            state: state.into(),
            shards,
            in_sync: shards,
            as_of: Some(5),
            verdict: v1::Verdict::InSync.into(),
            ..v1::RunSummary::default()
        }
    }

    #[test]
    fn a_run_is_abandoned_unless_somebody_is_at_it_or_others_took_it_over() {
        use v1::RunState::{Abandoned, Finished, Running};
        let of = |shares: &[(v1::RunState, u32)]| {
            let mut run =
                joined(shares.iter().map(|(state, shards)| share(*state, *shards)).collect()).remove(0);
            conclude(&mut run, 16);
            (run.state(), run.verdict(), run.as_of)
        };
        let (in_sync, unknown) = (v1::Verdict::InSync, v1::Verdict::Unknown);
        assert_eq!(of(&[(Finished, 6), (Finished, 10)]), (Finished, in_sync, Some(5)));
        assert_eq!(of(&[(Abandoned, 0), (Finished, 10)]), (Abandoned, unknown, None));
        assert_eq!(of(&[(Finished, 10), (Abandoned, 3)]), (Abandoned, unknown, None));
        assert_eq!(of(&[(Finished, 13), (Abandoned, 3)]), (Finished, in_sync, Some(5)));
        assert_eq!(of(&[(Abandoned, 3), (Running, 1)]).0, Running);
    }
}
