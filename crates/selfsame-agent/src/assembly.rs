//! Putting an agent together: journal and indexes in its data directory, a replica for each attached store.

mod data_directory;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use selfsame_core::{AgentName, CollectionName, Mapping, NodeName, Stamp};
use selfsame_index::{Condition, IndexError, IndexSettings};
use selfsame_journal::{Journal, JournalError, JournalOptions};
use selfsame_store::Store;

use crate::clock::Clock;
use crate::fleet::index_basis;
use crate::local::{
    CachedIndex, LocalAgent, LocalAgentParts, LocalReplica, LocalReplicaParts, Starter, Ward,
};
use crate::record::members;
use crate::settings::{CollectionSettings, FleetSettings, ReplicaSettings};
use crate::supervisor::Supervisor;

/// What an agent is made of.
pub struct AgentParts {
    /// The fleet.
    pub fleet: Arc<FleetSettings>,
    /// The agent's name.
    pub name: AgentName,
    /// The directory of its journal and indexes.
    pub data: PathBuf,
    /// The stores of its replicas.
    pub stores: Vec<Attached>,
    /// Wall time.
    pub clock: Arc<dyn Clock>,
    /// Starts its share of runs.
    pub starter: Arc<dyn Starter>,
    /// Runs its tasks.
    pub tasks: Supervisor,
    /// Something random, for the incarnations of its indexes.
    pub randomness: u64,
}

/// One replica's store.
pub struct Attached {
    /// The collection.
    pub collection: CollectionName,
    /// The node.
    pub node: NodeName,
    /// The store.
    pub store: Arc<dyn Store>,
}

/// Why an agent cannot be put together.
#[derive(Debug, thiserror::Error)]
pub enum AssemblyError {
    /// The data directory cannot be made.
    #[error("data directory {}: {error}; hint: make it writable for the agent", path.display())]
    Data {
        /// The directory.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The journal does not open.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// An index does not open.
    #[error("index of {collection} on {node}: {error}")]
    Index {
        /// The collection.
        collection: CollectionName,
        /// The node.
        node: NodeName,
        /// Why.
        error: IndexError,
    },
    /// The data directory is another agent's.
    #[error("data directory {} is that of agent `{owner}`", path.display())]
    OtherAgent {
        /// The directory.
        path: PathBuf,
        /// Whose it is.
        owner: AgentName,
    },
    /// The settings name no such replica, or its mapping contradicts itself.
    #[error("collection {0} has no usable replica on node {1}")]
    Settings(CollectionName, NodeName),
}

/// An agent, put together and at rest.
pub struct Assembled {
    /// The agent as its peers and itself see it.
    pub agent: Arc<LocalAgent>,
    /// Its journal.
    pub journal: Arc<Journal>,
    /// Its replicas.
    pub replicas: Vec<Arc<LocalReplica>>,
}

/// Opens journal and indexes. Blocking. A damaged index is set aside and built anew by the next scan; a damaged
/// journal is an error, for nothing else remembers what it held.
pub fn assemble(parts: AgentParts) -> Result<Assembled, AssemblyError> {
    data_directory::prepare(&parts.data)
        .map_err(|error| AssemblyError::Data { path: parts.data.clone(), error })?;
    let options =
        JournalOptions { before_images: parts.fleet.journal.before_images, ..JournalOptions::default() };
    let journal = Arc::new(Journal::open(&parts.data.join("journal.db"), options)?);
    let owner = journal.belong_to(&parts.name)?;
    if owner != parts.name {
        return Err(AssemblyError::OtherAgent { path: parts.data, owner });
    }
    let abandoned = journal.abandon_runs(&parts.name)?;
    if abandoned > 0 {
        tracing::info!(abandoned, "runs of an earlier life did not end");
    }
    for collection in &parts.fleet.collections {
        let fingerprinter = parts.fleet.fingerprinter(&collection.name);
        let keying = fingerprinter.check_value();
        let changed = journal.rekey(&collection.name, &keying, |key| fingerprinter.key_digest(key))?;
        if changed > 0 {
            tracing::warn!(collection = %collection.name, changed, "fleet name or secret changed: what the journal remembers was keyed anew");
        }
        if let Some(replica) = collection.replicas.first() {
            let shards = replica.mapping.shards;
            journal.reshard_pins(&collection.name, |key| fingerprinter.key_digest(key).shard(shards))?;
        }
    }
    let mut replicas = Vec::new();
    for attached in &parts.stores {
        replicas.push(open_replica(&parts, attached, &journal)?);
    }
    let nodes: Vec<NodeName> = parts.stores.iter().map(|attached| attached.node.clone()).collect();
    let agent = LocalAgent::new(LocalAgentParts {
        hello: parts.fleet.hello(&parts.name, &nodes),
        name: parts.name,
        replicas: replicas.clone(),
        journal: journal.clone(),
        clock: parts.clock,
        wards: parts.fleet.collections.iter().map(ward).collect(),
        starter: parts.starter,
    });
    Ok(Assembled { agent, journal, replicas })
}

fn ward(collection: &CollectionSettings) -> (CollectionName, Ward) {
    (collection.name.clone(), Ward { members: members(collection), settle: collection.settle })
}

fn open_replica(
    parts: &AgentParts,
    attached: &Attached,
    journal: &Arc<Journal>,
) -> Result<Arc<LocalReplica>, AssemblyError> {
    let (collection, node) = (&attached.collection, &attached.node);
    let unknown = || AssemblyError::Settings(collection.clone(), node.clone());
    let (settings, replica) = find(&parts.fleet, collection, node).ok_or_else(unknown)?;
    let mapping = parts.fleet.mapping(collection, replica).map_err(|_| unknown())?;
    let index = open_index(&parts.data, collection, node, &mapping, parts.randomness)?;
    let replica = LocalReplica::new(LocalReplicaParts {
        agent: parts.name.clone(),
        node: node.clone(),
        collection: Arc::new(settings.clone()),
        mapping: Arc::new(mapping),
        store: attached.store.clone(),
        index,
        journal: journal.clone(),
        clock: parts.clock.clone(),
        tasks: parts.tasks.clone(),
    })?;
    Ok(replica)
}

fn find<'a>(
    fleet: &'a FleetSettings,
    collection: &CollectionName,
    node: &NodeName,
) -> Option<(&'a CollectionSettings, &'a ReplicaSettings)> {
    let settings = fleet.collection(collection)?;
    let replica = settings.replicas.iter().find(|replica| replica.node == *node)?;
    Some((settings, replica))
}

fn open_index(
    data: &Path,
    collection: &CollectionName,
    node: &NodeName,
    mapping: &Mapping,
    randomness: u64,
) -> Result<CachedIndex, AssemblyError> {
    let directory = data.join("index").join(collection.as_str()).join(node.as_str());
    let settings = IndexSettings {
        fingerprinter: mapping.fingerprinter().clone(),
        shards: mapping.spec().shards,
        basis: index_basis(mapping),
        stamp_floor: Stamp(0),
        randomness,
    };
    let failed = |error| AssemblyError::Index { collection: collection.clone(), node: node.clone(), error };
    let (index, condition) = CachedIndex::open(directory, settings).map_err(failed)?;
    match condition {
        Condition::New | Condition::Resumed => {}
        other => {
            tracing::warn!(%collection, %node, condition = ?other, "the index is built anew by the next scan")
        }
    }
    Ok(index)
}
