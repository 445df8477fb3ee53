//! What follows from the settings: mappings, handshakes, and the digests by which agents find out that their
//! settings differ.

use selfsame_core::{
    ALGORITHM, AgentName, CollectionName, Fingerprinter, Mapping, MappingError, NodeName, Schedule,
    WallMicros,
};
use selfsame_wire::message::{CollectionHello, Hello, PROTOCOL};

use crate::decisive;
use crate::settings::{AgentSettings, CollectionSettings, FleetSettings, ReplicaSettings};

impl FleetSettings {
    /// The agent of that name.
    pub fn agent(&self, name: &AgentName) -> Option<&AgentSettings> {
        self.agents.iter().find(|agent| agent.name == *name)
    }

    /// The agent that a node is attached to.
    pub fn agent_of(&self, node: &NodeName) -> Option<&AgentSettings> {
        self.agents.iter().find(|agent| agent.nodes.contains(node))
    }

    /// The collection of that name.
    pub fn collection(&self, name: &CollectionName) -> Option<&CollectionSettings> {
        self.collections.iter().find(|collection| collection.name == *name)
    }

    /// The digests of a collection.
    pub fn fingerprinter(&self, collection: &CollectionName) -> Fingerprinter {
        Fingerprinter::new(&self.name, collection.as_str(), &self.secret)
    }

    /// The mapping of a replica.
    pub fn mapping(
        &self,
        collection: &CollectionName,
        replica: &ReplicaSettings,
    ) -> Result<Mapping, MappingError> {
        Mapping::new(replica.mapping.clone(), self.fingerprinter(collection))
    }

    /// What an agent with these nodes says of itself. The time is filled in when it is said.
    pub fn hello(&self, agent: &AgentName, nodes: &[NodeName]) -> Hello {
        let collection = |collection: &CollectionSettings| {
            let fingerprinter = self.fingerprinter(&collection.name);
            let attached = |replica: &&ReplicaSettings| nodes.contains(&replica.node);
            CollectionHello {
                name: collection.name.clone(),
                check_value: fingerprinter.check_value(),
                config: fingerprinter.other_digest(&decisive::of_collection(collection)),
                nodes: collection
                    .replicas
                    .iter()
                    .filter(attached)
                    .map(|replica| replica.node.clone())
                    .collect(),
            }
        };
        Hello {
            protocol: PROTOCOL,
            algorithm: ALGORITHM.to_owned(),
            fleet: self.name.clone(),
            agent: agent.clone(),
            now: WallMicros(0),
            collections: self.collections.iter().map(collection).collect(),
        }
    }
}

impl CollectionSettings {
    /// When its shards are exchanged; `None`: only when somebody asks.
    pub fn schedule(&self) -> Option<Schedule> {
        let every = self.exchange_every?;
        Schedule::every(i64::try_from(every.as_micros()).unwrap_or(i64::MAX))
    }
}

/// What the entries of an index depend on. Another mapping means another index.
pub fn index_basis(mapping: &Mapping) -> [u8; 16] {
    mapping.fingerprinter().other_digest(&decisive::of_entries(mapping.spec()))
}
