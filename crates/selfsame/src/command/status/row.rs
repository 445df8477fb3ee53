//! The one object of `selfsame status`, in the form that tools read.

use std::collections::BTreeMap;

use selfsame_core::WallMicros;
use selfsame_wire::v1;
use serde::{Serialize, Serializer};

use crate::config::FleetConfig;
use crate::output::causes::{self, CauseRow, MostRow};
use crate::output::{OUTPUT_VERSION, reasons, verdict_name};

/// The fleet.
#[derive(Debug, Serialize)]
pub(super) struct FleetRow {
    version: u32,
    pub(super) fleet: String,
    /// The clock of the agent that answers, to which all ages refer.
    #[serde(serialize_with = "instant")]
    pub(super) now: WallMicros,
    /// Those that answered.
    pub(super) agents: Vec<AgentRow>,
    /// The names of those that did not.
    silent: Vec<String>,
    /// The same, with where they should be and why they did not answer.
    pub(super) silent_agents: Vec<SilentRow>,
    pub(super) collections: Vec<CollectionRow>,
}

/// An agent that answered.
#[derive(Debug, Serialize)]
pub(super) struct AgentRow {
    pub(super) agent: String,
    pub(super) address: String,
    pub(super) program: String,
    pub(super) nodes: Vec<String>,
    #[serde(serialize_with = "instant")]
    pub(super) started_at: WallMicros,
}

/// An agent that did not answer.
#[derive(Debug, Serialize)]
pub(super) struct SilentRow {
    pub(super) agent: String,
    pub(super) address: String,
    pub(super) why: String,
    /// By the fleet file at hand.
    pub(super) nodes: Vec<String>,
}

/// A collection.
#[derive(Debug, Serialize)]
pub(super) struct CollectionRow {
    pub(super) collection: String,
    pub(super) verdict: &'static str,
    #[serde(serialize_with = "optional_instant")]
    pub(super) as_of: Option<WallMicros>,
    /// When the oldest of the shards' verdicts that are known was given; nothing if none is.
    #[serde(serialize_with = "optional_instant")]
    pub(super) verdict_at: Option<WallMicros>,
    /// How long before `now` that was.
    verdict_age_ms: Option<u64>,
    /// Shards whose last verdict is known.
    #[serde(skip)]
    pub(super) shards_told: u32,
    pub(super) shards: u32,
    pub(super) in_sync: u32,
    pub(super) diverged: u32,
    pub(super) unknown: BTreeMap<&'static str, u64>,
    pub(super) planned: u64,
    pub(super) held: u64,
    pub(super) paused: bool,
    /// Nothing if it is not paused, or until somebody resumes.
    #[serde(serialize_with = "optional_instant")]
    pub(super) paused_until: Option<WallMicros>,
    /// When the next slot of the schedule begins; nothing without a schedule.
    #[serde(serialize_with = "optional_instant")]
    pub(super) next_run_at: Option<WallMicros>,
    /// Why replicas differed in the last runs.
    pub(super) causes: Vec<CauseRow>,
    /// The node on which most keys differed then.
    most_causes: Option<MostRow>,
    pub(super) replicas: Vec<ReplicaRow>,
    /// The nodes of silent agents that hold a replica, each with its agent: by the fleet file at hand.
    #[serde(skip)]
    pub(super) untold: Vec<(String, String)>,
}

/// A replica whose agent answered.
#[derive(Debug, Serialize)]
pub(super) struct ReplicaRow {
    pub(super) node: String,
    pub(super) agent: String,
    pub(super) rows: Option<u64>,
    pub(super) entries: u64,
    pub(super) unreadable: u64,
    #[serde(serialize_with = "optional_instant")]
    pub(super) as_of: Option<WallMicros>,
    pub(super) scanning: Option<String>,
    /// Why it proves nothing; empty if it is not held.
    pub(super) held: String,
}

impl FleetRow {
    /// What was answered. Which nodes the silent agents have is the fleet file's word.
    pub(super) fn of(reply: v1::StatusReply, config: &FleetConfig) -> FleetRow {
        let now = WallMicros(reply.now);
        let agent = |agent: v1::AgentStatus| AgentRow {
            agent: agent.agent,
            address: agent.address,
            program: agent.version,
            nodes: agent.nodes,
            started_at: WallMicros(agent.started_at),
        };
        let nodes_of = |name: &str| {
            let known = config.fleet.agents.iter().find(|agent| agent.name.as_str() == name);
            known.map(|agent| agent.nodes.iter().map(ToString::to_string).collect()).unwrap_or_default()
        };
        let silent = |silent: v1::SilentAgent| SilentRow {
            nodes: nodes_of(&silent.agent),
            agent: silent.agent,
            address: silent.address,
            why: silent.why,
        };
        let names = reply.silent.iter().map(|silent| silent.agent.clone()).collect();
        let silent: Vec<SilentRow> = reply.silent.into_iter().map(silent).collect();
        let collection = |status: v1::CollectionStatus| {
            let untold = untold(&status.collection, &silent, config);
            CollectionRow { untold, ..CollectionRow::of(status, now) }
        };
        FleetRow {
            version: OUTPUT_VERSION,
            fleet: reply.fleet,
            now,
            agents: reply.agents.into_iter().map(agent).collect(),
            silent: names,
            collections: reply.collections.into_iter().map(collection).collect(),
            silent_agents: silent,
        }
    }
}

/// The replicas of a collection whose agents were silent.
fn untold(collection: &str, silent: &[SilentRow], config: &FleetConfig) -> Vec<(String, String)> {
    let mut collections = config.fleet.collections.iter();
    let Some(known) = collections.find(|known| known.name.as_str() == collection) else { return Vec::new() };
    let agent_of = |node: &str| silent.iter().find(|silent| silent.nodes.iter().any(|held| held == node));
    let replica = |replica: &selfsame_agent::settings::ReplicaSettings| {
        let node = replica.node.to_string();
        let agent = agent_of(&node)?.agent.clone();
        Some((node, agent))
    };
    known.replicas.iter().filter_map(replica).collect()
}

impl CollectionRow {
    fn of(status: v1::CollectionStatus, now: WallMicros) -> CollectionRow {
        let replica = |replica: v1::ReplicaStatus| ReplicaRow {
            node: replica.node,
            agent: replica.agent,
            rows: replica.rows,
            entries: replica.entries,
            unreadable: replica.unreadable,
            as_of: replica.as_of.map(WallMicros),
            scanning: replica.scan.map(|scan| format!("{}/{}", scan.rows, scan.total)),
            held: replica.held,
        };
        let told = status.shard_statuses.iter().filter_map(|shard| shard.at);
        // A verdict is as old as the oldest of those that it is made of.
        let verdict_at = told.clone().min().map(WallMicros);
        let age = |at: WallMicros| u64::try_from(now.0.saturating_sub(at.0) / 1_000).unwrap_or(0);
        let causes = causes::told(&status.causes);
        CollectionRow {
            most_causes: causes::most(&causes),
            causes,
            verdict: verdict_name(status.verdict()),
            as_of: status.as_of.map(WallMicros),
            verdict_at,
            verdict_age_ms: verdict_at.map(age),
            shards_told: told.count() as u32,
            shards: status.shards,
            in_sync: status.in_sync,
            diverged: status.diverged,
            unknown: reasons(&status.unknown),
            planned: status.planned,
            held: status.held,
            paused: status.pause.is_some(),
            paused_until: status.pause.and_then(|pause| pause.until).map(WallMicros),
            next_run_at: status.next_run_at.map(WallMicros),
            replicas: status.replicas.into_iter().map(replica).collect(),
            untold: Vec::new(),
            collection: status.collection,
        }
    }
}

fn instant<S: Serializer>(at: &WallMicros, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(at)
}

fn optional_instant<S: Serializer>(at: &Option<WallMicros>, serializer: S) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => serializer.collect_str(at),
        None => serializer.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_is_as_old_as_its_oldest_part() {
        let shard = |at| v1::ShardStatus { at, ..v1::ShardStatus::default() };
        let status = |shards: u32, ats: &[Option<i64>]| v1::CollectionStatus {
            shards,
            shard_statuses: ats.iter().map(|at| shard(*at)).collect(),
            ..v1::CollectionStatus::default()
        };
        let row = CollectionRow::of(status(2, &[Some(5_000_000), Some(3_000_000)]), WallMicros(9_000_000));
        assert_eq!((row.verdict_at, row.verdict_age_ms), (Some(WallMicros(3_000_000)), Some(6_000)));
        let partly = CollectionRow::of(status(3, &[Some(5_000), None]), WallMicros(9_000));
        assert_eq!((partly.verdict_age_ms, partly.shards_told), (Some(4), 1));
        assert_eq!(CollectionRow::of(status(2, &[]), WallMicros(9)).verdict_age_ms, None);
    }
}
