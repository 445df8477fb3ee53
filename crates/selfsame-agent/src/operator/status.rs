//! What is known of every agent, collection, replica and shard.

use std::collections::BTreeMap;

use selfsame_core::{ShardId, ShardVerdict, UnknownReason, WallMicros};
use selfsame_journal::{Journal, JournalError, RunFilter, ShardResult};
use selfsame_wire::v1;
use tonic::Status;

use super::holding::pause_state;
use super::plans::own_plans;
use super::{OperatorService, causes, plan_parts};
use crate::settings::CollectionSettings;

/// Runs among which the last result of each shard is looked for.
const RECENT_RUNS: usize = 50;

impl OperatorService {
    pub(super) async fn tell_status(
        &self,
        request: v1::StatusRequest,
        forwarded: bool,
    ) -> Result<v1::StatusReply, Status> {
        let collections = self.collections(&request.collection)?;
        let mut reply = v1::StatusReply {
            fleet: self.parts.fleet.name.clone(),
            agent: self.parts.name.to_string(),
            now: self.parts.clock.now().0,
            agents: vec![self.own_agent()],
            ..v1::StatusReply::default()
        };
        for collection in &collections {
            reply.collections.push(self.own_collection(collection).await?);
        }
        if forwarded {
            return Ok(reply);
        }
        // The others' shards are needed to sum up, whether or not they are shown.
        let asked = v1::StatusRequest { shards: true, ..request.clone() };
        let (answers, silent) = self
            .ask_siblings(&asked, |mut client, request| async move { client.status(request).await })
            .await;
        for answer in answers {
            let answer: v1::StatusReply = answer;
            reply.agents.extend(answer.agents);
            for theirs in answer.collections {
                if let Some(ours) =
                    reply.collections.iter_mut().find(|ours| ours.collection == theirs.collection)
                {
                    join(ours, theirs);
                }
            }
        }
        reply.agents.sort_by(|left, right| left.agent.cmp(&right.agent));
        reply.silent = silent;
        for (status, collection) in reply.collections.iter_mut().zip(&collections) {
            // What nobody told may be known to those who did not answer.
            let untold =
                if reply.silent.is_empty() { UnknownReason::NoScan } else { UnknownReason::Unreachable };
            let oldest = collection.oldest_proof(self.parts.clock.now());
            sum_up(status, collection, untold, oldest, request.shards);
        }
        Ok(reply)
    }

    fn own_agent(&self) -> v1::AgentStatus {
        let own = self.parts.fleet.agent(&self.parts.name);
        v1::AgentStatus {
            agent: self.parts.name.to_string(),
            address: own.map(|own| own.grpc.clone()).unwrap_or_default(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            nodes: own.map(|own| own.nodes.iter().map(ToString::to_string).collect()).unwrap_or_default(),
            now: self.parts.clock.now().0,
            started_at: self.parts.started.0,
        }
    }

    async fn own_collection(&self, collection: &CollectionSettings) -> Result<v1::CollectionStatus, Status> {
        let (name, now) = (collection.name.clone(), self.parts.clock.now());
        let (results, pause, planned, causes) = self
            .journal(move |journal| {
                let mut rows = journal.plans()?;
                rows.retain(|row| row.plan.id.collection == name);
                let planned = own_plans(journal, &rows, now)?;
                let since = now.plus(-causes::LAST_RUNS_MICROS);
                let causes = journal.causes_since(&name, since, causes::LAST_RUNS)?;
                Ok((last_results(journal, &name)?, journal.paused(&name, now)?, planned, causes))
            })
            .await?;
        let mut replicas = Vec::new();
        for replica in
            self.parts.replicas.iter().filter(|replica| replica.collection().name == collection.name)
        {
            let index = replica.index().ok();
            let counts = index.as_ref().map(|index| index.counts()).unwrap_or_default();
            let as_of = index.and_then(|index| index.roots().first()?.as_of);
            let rows = replica.store().count().await;
            let hold = replica.held();
            replicas.push(v1::ReplicaStatus {
                node: replica.node().to_string(),
                agent: self.parts.name.to_string(),
                problem: match (&rows, &hold) {
                    (Err(_), _) => UnknownReason::Unreachable.into(),
                    (Ok(_), Some(_)) => UnknownReason::Held.into(),
                    (Ok(_), None) => v1::UnknownReason::Unspecified,
                }
                .into(),
                held: hold
                    .map(|hold| format!("{}: {}, {}", hold.cause.as_str(), hold.detail, hold.since))
                    .unwrap_or_default(),
                rows: rows.ok(),
                entries: counts.entries,
                unreadable: counts.unreadable + counts.unreadable_without_key,
                as_of: as_of.map(|as_of| as_of.0),
                scan: replica.scanning().map(|(rows, total)| v1::ScanProgress {
                    rows,
                    total,
                    ..v1::ScanProgress::default()
                }),
            });
        }
        Ok(v1::CollectionStatus {
            collection: collection.name.to_string(),
            causes: causes::told(causes),
            plan_shards: planned.into_iter().flat_map(|plan| plan.parts).collect(),
            held: results.values().map(|result| result.counters.held).sum(),
            replicas,
            shard_statuses: results.into_values().map(shard_status).collect(),
            pause: pause.map(pause_state),
            next_run_at: collection.schedule().map(|schedule| schedule.start(schedule.slot_at(now) + 1).0),
            ..v1::CollectionStatus::default()
        })
    }
}

/// The newest result of each shard that this agent gave.
fn last_results(
    journal: &Journal,
    collection: &selfsame_core::CollectionName,
) -> Result<BTreeMap<ShardId, ShardResult>, JournalError> {
    let filter =
        RunFilter { since: None, collection: Some(collection.clone()), node: None, limit: RECENT_RUNS };
    let mut newest: BTreeMap<ShardId, ShardResult> = BTreeMap::new();
    for row in journal.runs(&filter)?.runs {
        for result in journal.shard_results(row.run.run)? {
            let known = newest.get(&result.shard);
            if known.is_none_or(|known| known.at < result.at) {
                newest.insert(result.shard, result);
            }
        }
    }
    Ok(newest)
}

fn shard_status(result: ShardResult) -> v1::ShardStatus {
    v1::ShardStatus {
        shard: result.shard.0,
        verdict: Some(result.verdict.into()),
        owner: result.owner.to_string(),
        run: result.run.to_string(),
        at: Some(result.at.0),
    }
}

fn join(ours: &mut v1::CollectionStatus, theirs: v1::CollectionStatus) {
    ours.held += theirs.held;
    ours.causes.extend(theirs.causes);
    ours.plan_shards.extend(theirs.plan_shards);
    ours.replicas.extend(theirs.replicas);
    ours.shard_statuses.extend(theirs.shard_statuses);
    ours.pause = ours.pause.take().or(theirs.pause);
}

/// The newest word on each shard, and what follows for the collection. A shard of which nobody tells is unknown,
/// for the reason given; so is what was in sync as of before `oldest`, as metrics say it.
fn sum_up(
    status: &mut v1::CollectionStatus,
    collection: &CollectionSettings,
    untold: UnknownReason,
    oldest: WallMicros,
    keep_shards: bool,
) {
    let mut newest: BTreeMap<u32, v1::ShardStatus> = BTreeMap::new();
    let told = |shard: &v1::ShardStatus| ShardVerdict::try_from(shard.verdict?).ok();
    for shard in std::mem::take(&mut status.shard_statuses) {
        let known = newest.get(&shard.shard);
        if known.is_none_or(|known| known.at < shard.at) {
            newest.insert(shard.shard, shard);
        }
    }
    for shard in newest.values_mut() {
        shard.verdict = told(shard).map(|verdict| verdict.when_oldest(oldest).into());
    }
    let count = collection.replicas.first().map_or(0, |replica| replica.mapping.shards.get());
    let verdict_of = |shard: u32| newest.get(&shard).and_then(told).unwrap_or(ShardVerdict::Unknown(untold));
    let verdicts: Vec<ShardVerdict> = (0..count).map(verdict_of).collect();
    let summary = super::run::summary_of(&verdicts, &selfsame_core::Counts::default());
    status.verdict = summary.verdict;
    status.as_of = summary.as_of;
    status.shards = summary.shards;
    status.in_sync = summary.in_sync;
    status.diverged = summary.diverged;
    status.unknown = summary.unknown;
    status.replicas.sort_by_key(|replica| {
        collection.replicas.iter().position(|configured| configured.node.as_str() == replica.node)
    });
    status.planned = plan_parts::repairs(std::mem::take(&mut status.plan_shards));
    status.causes = causes::joined(std::mem::take(&mut status.causes));
    if keep_shards {
        status.shard_statuses = newest.into_values().collect();
    }
}
