//! What follows from the settings: mappings, handshakes, and the digests by which agents find out that their
//! settings differ.

use selfsame_core::{
    ALGORITHM, AgentName, CollectionName, Fingerprinter, Mapping, MappingError, MappingSpec, NodeName,
    Schedule, ShardCount, WallMicros,
};
use selfsame_wire::message::{CollectionHello, Hello, PROTOCOL};

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
                config: fingerprinter.other_digest(collection.decisive().as_bytes()),
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

    /// The settings that change fingerprints or decisions: not throttle, schedule or brakes. Every field of the
    /// types is named in it, so that a field that is added to them counts from then on.
    fn decisive(&self) -> String {
        format!("{:?} {:?}", self.replicas, self.policy)
    }
}

/// What the entries of an index depend on, apart from the number of shards, by which they are only grouped.
/// Another mapping means another index.
pub fn index_basis(mapping: &Mapping) -> [u8; 16] {
    let one = ShardCount::new(1).expect("one shard is allowed");
    let spec = MappingSpec { shards: one, ..mapping.spec().clone() };
    mapping.fingerprinter().other_digest(format!("{spec:?}").as_bytes())
}
