//! Past runs: each owner's journal has its share, and the shares add up.

use std::collections::BTreeMap;

use selfsame_core::{Counts, ShardVerdict, WallMicros};
use selfsame_journal::{Action, Counters, ItemOutcome, ItemRow, RunFilter, RunMatch, RunRow, ShardResult};
use selfsame_wire::v1;
use tonic::Status;

use super::OperatorService;
use super::run::summary_of;

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
        let node = match request.node.as_str() {
            "" => None,
            name => Some(
                name.parse()
                    .map_err(|error: selfsame_core::NameError| Status::invalid_argument(error.to_string()))?,
            ),
        };
        let filter = RunFilter { since: request.since.map(WallMicros), collection, node, limit };
        let mut reply = self
            .journal(move |journal| {
                let list = journal.runs(&filter)?;
                let summary = |row: &RunRow| Ok(run_summary(row, &journal.shard_results(row.run.run)?));
                Ok(v1::RunsReply {
                    runs: list
                        .runs
                        .iter()
                        .map(summary)
                        .collect::<Result<_, selfsame_journal::JournalError>>()?,
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
        }
        Ok(reply)
    }

    pub(super) async fn show_run(
        &self,
        request: v1::ShowRequest,
        forwarded: bool,
    ) -> Result<v1::ShowReply, Status> {
        let limit = bounded(request.limit, ITEMS, ITEMS_MAX);
        let own = self.own_run(request.run.clone(), limit).await?;
        if forwarded {
            return own.ok_or_else(|| Status::not_found(format!("no run `{}` here", request.run)));
        }
        let (answers, silent) = self
            .ask_siblings(&request, |mut client, request| async move { client.show(request).await })
            .await;
        let mut shares: Vec<v1::ShowReply> = own.into_iter().chain(answers).collect();
        let summaries: Vec<v1::RunSummary> =
            shares.iter_mut().filter_map(|share| share.summary.take()).collect();
        let mut runs = joined(summaries);
        let Some(mut summary) = runs.pop() else {
            let hint = "hint: `selfsame runs` lists them";
            return Err(Status::not_found(format!(
                "no agent that answered knows run `{}`; {hint}",
                request.run
            )));
        };
        if !runs.is_empty() {
            return Err(Status::invalid_argument(format!("`{}` begins the id of several runs", request.run)));
        }
        summary.silent = silent;
        let mut truncated = shares.iter().any(|share| share.truncated);
        let mut items: Vec<v1::RunItem> = shares.into_iter().flat_map(|share| share.items).collect();
        truncated |= items.len() > limit;
        items.truncate(limit);
        Ok(v1::ShowReply { summary: Some(summary), items, truncated })
    }

    async fn own_run(&self, id: String, limit: usize) -> Result<Option<v1::ShowReply>, Status> {
        let found = self
            .journal(move |journal| {
                let row = match journal.find_run(&id)? {
                    RunMatch::One(row) => row,
                    RunMatch::None => return Ok(Ok(None)),
                    RunMatch::Several(runs) => return Ok(Err(runs.len())),
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
                let summary = run_summary(&row, &journal.shard_results(row.run.run)?);
                Ok(Ok(Some(v1::ShowReply { summary: Some(summary), items, truncated: after.is_some() })))
            })
            .await?;
        found.map_err(|count| {
            Status::invalid_argument(format!("{count} runs begin so; hint: give more of the id"))
        })
    }
}

fn bounded(asked: u32, usual: u32, most: u32) -> usize {
    let limit = if asked == 0 { usual } else { asked.min(most) };
    limit as usize
}

/// A run's share at one owner.
fn run_summary(row: &RunRow, results: &[ShardResult]) -> v1::RunSummary {
    let mut counts = Counts::default();
    let mut wire_bytes = 0;
    for result in results {
        counts.add(&counts_of(&result.counters));
        wire_bytes += result.counters.wire_bytes();
    }
    let verdicts: Vec<ShardVerdict> = results.iter().map(|result| result.verdict).collect();
    let duration = row.finished.map_or(0, |finished| finished.0.saturating_sub(row.run.started.0) / 1_000);
    v1::RunSummary {
        run: row.run.run.to_string(),
        collection: row.run.collection.to_string(),
        started_at: row.run.started.0,
        duration_ms: u64::try_from(duration).unwrap_or(0),
        state: if row.finished.is_some() { v1::RunState::Finished } else { v1::RunState::Running }.into(),
        scheduled: matches!(row.run.slot, selfsame_core::Slot::Scheduled(_)),
        dry_run: row.run.dry_run,
        wire_bytes,
        ..summary_of(&verdicts, &counts)
    }
}

fn counts_of(counters: &Counters) -> Counts {
    Counts {
        keys: counters.keys_compared,
        mismatches: counters.mismatches,
        repaired: counters.repaired,
        transient: counters.transient,
        moving: counters.moving,
        held: counters.held,
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
    if share.state == i32::from(v1::RunState::Running) {
        run.state = share.state;
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
    }
}
