//! What a fleet is configured to do: typed, checked and complete. Reading it from a file, with its defaults, is
//! the binary's task; nothing here can be wrong in itself.

use std::path::PathBuf;
use std::time::Duration;

use selfsame_core::brake::RepairLimits;
use selfsame_core::{AgentName, CollectionName, MappingSpec, NodeName, Policy, WallMicros};

/// The whole fleet, the same on every agent.
#[derive(Clone, Debug)]
pub struct FleetSettings {
    /// The fleet's name: agents of different fleets do not talk.
    pub name: String,
    /// All agents, this one among them. Every node is attached to exactly one.
    pub agents: Vec<AgentSettings>,
    /// All collections.
    pub collections: Vec<CollectionSettings>,
    /// Keys the digests; may be empty. The same on every agent.
    pub secret: Vec<u8>,
    /// Listen and dial beyond loopback without TLS.
    pub insecure: bool,
    /// What the journal keeps, and for how long.
    pub journal: JournalSettings,
}

/// One agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentSettings {
    /// Its name.
    pub name: AgentName,
    /// `HOST:PORT` of its gRPC port: it listens there, the others dial it.
    pub grpc: String,
    /// `HOST:PORT` of metrics and health.
    pub http: String,
    /// The directory of its journal and indexes.
    pub data: PathBuf,
    /// The nodes attached to it.
    pub nodes: Vec<NodeName>,
}

/// What a journal keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalSettings {
    /// Whether the rows that repairs replace are kept for undo.
    pub before_images: bool,
    /// For how long they are kept.
    pub undo_retention: Duration,
    /// For how long runs and items are kept.
    pub retention: Duration,
}

/// One collection.
#[derive(Clone, Debug)]
pub struct CollectionSettings {
    /// Its name.
    pub name: CollectionName,
    /// Its replicas, in the configured order: [`selfsame_core::ReplicaIndex`] counts these.
    pub replicas: Vec<ReplicaSettings>,
    /// How differences are decided.
    pub policy: Policy,
    /// How often all shards are exchanged; `None`: only when somebody asks.
    pub exchange_every: Option<Duration>,
    /// What is done with verdicts.
    pub repair: RepairMode,
    /// What is done with the verdicts of the first pass.
    pub first_pass: FirstPass,
    /// The time between the two reads of a confirm.
    pub settle: Duration,
    /// The age from which a completed scan proves nothing.
    pub coverage_max: Duration,
    /// How long a replica remembers keys that were there and are gone.
    pub tombstone_retention: Duration,
    /// Whether the store's change feed is read for deletions, where it has one.
    pub feed: bool,
    /// How many documents that have expired on all replicas alike one run deletes from a shard; `None`: none.
    pub sweep_keys_max: Option<u32>,
    /// Limits beyond which repairs become a plan.
    pub brakes: BrakeSettings,
    /// Limits of what is asked of each store.
    pub throttle: ThrottleSettings,
    /// How many keys of a shard are confirmed at a time.
    pub confirm_keys_max: usize,
    /// A repair that starts later than this after its confirm reads again first.
    pub apply_within: Duration,
}

impl CollectionSettings {
    /// The start of the oldest scan that still proves something at `now`.
    pub(crate) fn oldest_proof(&self, now: WallMicros) -> WallMicros {
        WallMicros(now.0.saturating_sub(i64::try_from(self.coverage_max.as_micros()).unwrap_or(i64::MAX)))
    }
}

/// One replica.
#[derive(Clone, Debug)]
pub struct ReplicaSettings {
    /// The node that holds it.
    pub node: NodeName,
    /// Where in the node: a table, an index.
    pub source: String,
    /// How its rows map to documents.
    pub mapping: MappingSpec,
}

/// What is done with verdicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RepairMode {
    /// Repairs within the brakes.
    Auto,
    /// Every run is a plan until somebody approves it.
    Approve,
    /// Nothing is ever written.
    Off,
}

/// What is done with the verdicts of a collection's or a replica's first pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstPass {
    /// They are a plan.
    Plan,
    /// As [`RepairMode`] says.
    Auto,
}

/// Limits beyond which a replica is held, or repairs become a plan.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BrakeSettings {
    /// The share of a replica's keys, or of a shard's, that may vanish within a day, from 0 to 1.
    pub vanished_share_max: f64,
    /// The share of a shard's keys that one run may repair, and of a replica's rows that may be repaired in a day, from
    /// 0 to 1.
    pub repair_share_max: f64,
    /// The deletes that one run may make in a shard, and that may be made on a replica in a day.
    pub deletes_max: u64,
}

impl BrakeSettings {
    /// What bounds repairs.
    pub(crate) fn repair_limits(&self) -> RepairLimits {
        RepairLimits { repair_share_max: self.repair_share_max, deletes_max: self.deletes_max }
    }
}

/// Limits of what is asked of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThrottleSettings {
    /// Rows read in a second.
    pub rows_per_second: u64,
    /// Bytes read in a second.
    pub bytes_per_second: u64,
}
