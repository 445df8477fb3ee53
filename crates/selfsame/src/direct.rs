//! One process that opens all the stores itself, read-only, and runs the same pass that agents run among
//! themselves. Indexes and journal live in a temporary directory and go with it.

use std::collections::BTreeSet;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use anyhow::Context;
use async_trait::async_trait;
use selfsame_agent::assembly::{AgentParts, Assembled, Attached, assemble};
use selfsame_agent::clock::{Clock, SystemClock};
use selfsame_agent::exchange::report::{PassReport, PlanReason};
use selfsame_agent::exchange::{Exchange, Mandate, Member};
use selfsame_agent::local::Starter;
use selfsame_agent::pass::{Pass, PassRequest};
use selfsame_agent::peer::PeerError;
use selfsame_agent::progress::Progress;
use selfsame_agent::settings::CollectionSettings;
use selfsame_agent::supervisor::Supervisor;
use selfsame_core::{AgentName, NodeName, RunId, ShardId, Slot};
use selfsame_wire::message::{Share, StartRequest};
use tempfile::TempDir;
use uuid::Uuid;

use crate::config::FleetConfig;
use crate::stores::{self, Use};

/// The stores of a fleet behind one agent in this process.
pub(crate) struct Direct<'a> {
    config: &'a FleetConfig,
    name: AgentName,
    nodes: Vec<NodeName>,
    assembled: Assembled,
    clock: Arc<dyn Clock>,
    _data: TempDir,
}

impl<'a> Direct<'a> {
    /// Opens the stores of these collections.
    pub(crate) fn open(
        config: &'a FleetConfig,
        collections: &[&CollectionSettings],
    ) -> anyhow::Result<Direct<'a>> {
        let data = tempfile::Builder::new()
            .prefix("selfsame-direct-")
            .permissions(Permissions::from_mode(0o700))
            .tempdir()
            .context("no temporary directory for the indexes; hint: set TMPDIR to a directory with space")?;
        let name: AgentName = "direct".parse().expect("a constant name");
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let mut attached = Vec::new();
        for collection in collections {
            for replica in &collection.replicas {
                let store = stores::open(config, collection, replica, Use::Look)?.store;
                attached.push(Attached {
                    collection: collection.name.clone(),
                    node: replica.node.clone(),
                    store,
                });
            }
        }
        let nodes = config.nodes.iter().map(|node| node.name.clone()).collect();
        let assembled = assemble(AgentParts {
            fleet: Arc::new(config.fleet.clone()),
            name: name.clone(),
            data: data.path().to_owned(),
            stores: attached,
            clock: clock.clone(),
            starter: Arc::new(Alone),
            tasks: Supervisor::default(),
            randomness: Uuid::new_v4().as_u64_pair().0,
        })?;
        Ok(Direct { config, name, nodes, assembled, clock, _data: data })
    }

    /// Scans and compares all shards of a collection, or one.
    pub(crate) async fn compare(
        &self,
        collection: &CollectionSettings,
        shard: Option<ShardId>,
        progress: &dyn Progress,
    ) -> anyhow::Result<PassReport> {
        let slot = Slot::AdHoc(Uuid::now_v7());
        let mapping = &collection.replicas.first().context("a collection without replicas")?.mapping;
        let member = |node: &NodeName| Member { node: node.clone(), peer: self.assembled.agent.clone() };
        let request = PassRequest {
            run: RunId::of(&self.config.fleet.name, &collection.name, slot),
            slot,
            shards: shard.map_or_else(|| mapping.shards.ids().collect(), |shard| vec![shard]),
            scan_since: Some(self.clock.now()),
        };
        let pass = Pass {
            exchange: Exchange {
                collection: Arc::new(collection.clone()),
                fingerprinter: self.config.fleet.fingerprinter(&collection.name),
                members: collection.replicas.iter().map(|replica| member(&replica.node)).collect(),
                mandate: Mandate::Plan(PlanReason::DryRun),
                clock: self.clock.clone(),
                first_pass: BTreeSet::new(),
                skew: 0,
            },
            hello: self.config.fleet.hello(&self.name, &self.nodes),
            journal: self.assembled.journal.clone(),
            progress,
        };
        Ok(pass.run(&request).await)
    }
}

/// Nobody asks this agent to start anything.
struct Alone;

#[async_trait]
impl Starter for Alone {
    async fn start(&self, _request: StartRequest) -> Result<Share, PeerError> {
        Err(PeerError::Refused("this process runs one comparison and takes no requests".to_owned()))
    }
}
