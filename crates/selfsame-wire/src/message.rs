//! The messages of the peer protocol as plain types that cannot be wrong. What travels is their generated
//! counterpart; the conversions check everything that a peer could get wrong.

use selfsame_core::away::Gap;
use selfsame_core::merkle::{BucketId, Depth, Element, NodeHash};
use selfsame_core::{
    AgentName, Cause, CollectionName, Counts, EntryDigest, Epoch, Key, KeyDigest, KeyPrefix, NodeName,
    Observation, RepairId, Row, RowDigest, RunId, ShardId, ShardVerdict, Slot, Tombstone, UnknownReason,
    WallMicros,
};

/// The version of the protocol. Agents of different versions do not compare.
pub const PROTOCOL: u32 = 1;

/// What an exchange's requests carry: which shard, and by which claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The collection.
    pub collection: CollectionName,
    /// The shard.
    pub shard: ShardId,
    /// The fencing token: an agent that has seen a higher one refuses.
    pub epoch: Epoch,
    /// The run.
    pub run: RunId,
}

/// The handshake: who somebody is, and what changes fingerprints and decisions there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// [`PROTOCOL`].
    pub protocol: u32,
    /// [`selfsame_core::ALGORITHM`].
    pub algorithm: String,
    /// The fleet's name.
    pub fleet: String,
    /// The agent's name.
    pub agent: AgentName,
    /// Its wall clock.
    pub now: WallMicros,
    /// Its collections.
    pub collections: Vec<CollectionHello>,
}

/// One collection in a handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CollectionHello {
    /// Its name.
    pub name: CollectionName,
    /// Tells whether the digests are keyed alike.
    pub check_value: [u8; 16],
    /// A digest of what changes fingerprints or decisions.
    pub config: [u8; 16],
    /// The nodes with a replica that are attached to the agent.
    pub nodes: Vec<NodeName>,
}

/// What a claimant wants of a voter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BallotStep {
    /// To know what it would answer to a claim. Nothing is recorded, so that asking in vain fences nobody out.
    Ask,
    /// The claims.
    Claim,
    /// To end the claims, which come to nothing. The epochs stay recorded.
    Release,
}

/// Asks a voter for claims on shards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BallotRequest {
    /// What is wanted.
    pub step: BallotStep,
    /// The collection.
    pub collection: CollectionName,
    /// The run.
    pub run: RunId,
    /// The slot, so that a voter can tell that it is completed.
    pub slot: Slot,
    /// The shards, each with the epoch that is asked for. At most 4096.
    pub epochs: Vec<(ShardId, Epoch)>,
}

/// What a voter says of one shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ballot {
    /// Granted, or released. A claim's epoch was recorded durably before this was said.
    Granted {
        /// Whether this voter knows of a slot of the shard that was completed in sync between all replicas.
        first_pass_over: bool,
    },
    /// A higher epoch is recorded; claim above it.
    Superseded(Epoch),
    /// Another live agent's claim is at work; nothing was recorded.
    Taken,
    /// The slot is already completed.
    Completed,
}

/// Tells a voter that slots are completed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompleteRequest {
    /// The collection.
    pub collection: CollectionName,
    /// The run.
    pub run: RunId,
    /// The slot.
    pub slot: Slot,
    /// The owner's wall clock.
    pub at: WallMicros,
    /// The shards, each with its claim's epoch and its verdict. At most 4096.
    pub shards: Vec<(ShardId, Epoch, ShardVerdict)>,
    /// Shards of held replicas that were found equal on all replicas. At most 4096, on distinct nodes.
    pub equal: Vec<HeldEqual>,
    /// For each of `shards` its purge horizon, in order; `None`: nothing was purged yet.
    pub horizons: Vec<Option<WallMicros>>,
    /// Gaps that were compared with those of the other replicas. At most 4096, of distinct nodes.
    pub judged: Vec<JudgedGap>,
}

/// What a replica's gap was found to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JudgedGap {
    /// The replica's node.
    pub node: NodeName,
    /// The gap, as told with the root ([`Root::gap`]): its beginning.
    pub from: WallMicros,
    /// Whether the replica was away; otherwise all stood still.
    pub away: bool,
}

/// Shards of a held replica of which every configured replica gave the same root, each from a scan that began after
/// the hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldEqual {
    /// The held replica's node.
    pub node: NodeName,
    /// The hold, as told with the root ([`Root::held`]).
    pub since: WallMicros,
    /// The shards. At most 4096.
    pub shards: Vec<ShardId>,
}

/// Asks an agent to bring its replicas' indexes up to date.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScanRequest {
    /// The collection.
    pub collection: CollectionName,
    /// Names the request, and is compared with no clock: a scan will do that began after the agent first heard of it.
    pub since: WallMicros,
}

/// How far the scan of one replica is. The owner asks again until it has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScanState {
    /// Under way.
    Running {
        /// Rows read so far.
        rows: u64,
        /// Rows that the store counts.
        total: u64,
    },
    /// Ended.
    Done {
        /// When it began.
        as_of: WallMicros,
        /// Rows read.
        rows: u64,
    },
    /// Failed; the store did not answer, or not as configured.
    Failed(UnknownReason),
}

/// Asks an agent for the roots of all its replicas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RootsRequest {
    /// The collection.
    pub collection: CollectionName,
    /// The run.
    pub run: RunId,
    /// The shards, each with its claim's epoch. At most 4096.
    pub epochs: Vec<(ShardId, Epoch)>,
}

/// The roots of one replica, in the order of the shards asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeRoots {
    /// The replica's node.
    pub node: NodeName,
    /// For each shard its root, or why there is none.
    pub roots: Vec<Result<Root, UnknownReason>>,
}

/// The root of one shard on one replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Root {
    /// The root node's hash.
    pub hash: NodeHash,
    /// Live entries.
    pub count: u64,
    /// Depth of the tree.
    pub depth: Depth,
    /// The start of the last completed scan.
    pub as_of: WallMicros,
    /// The index that answers; changes when the index is rebuilt.
    pub incarnation: u64,
    /// Documents without a single meaning.
    pub unreadable: u64,
    /// The hash of the sum and the count of the certain tombstones of the replica's ledger.
    pub memory: NodeHash,
    /// Since when the replica is held, by its agent's clock; `None` if it is not. The same for all its shards.
    pub held: Option<WallMicros>,
    /// The purge horizon of the shard's ledger: it has forgotten the certain tombstones at or below it, and takes none
    /// from others. `None`: nothing was purged yet.
    pub horizon: Option<WallMicros>,
    /// When the replica was not scanned for longer than tombstones are remembered; `None`: never. The same for all its
    /// shards.
    pub gap: Option<Gap>,
}

/// What a ledger remembers of a key that is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyMemory {
    /// The key.
    pub key: Key,
    /// What is remembered.
    pub tombstone: Tombstone,
}

/// Asks a replica's ledger about one shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerRequest {
    /// The claim.
    pub claim: Claim,
    /// The replica's node.
    pub node: NodeName,
    /// What is wanted.
    pub ask: LedgerAsk,
}

/// What is wanted of a ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LedgerAsk {
    /// Its certain tombstones, in the order of their keys' digests.
    List {
        /// Go on after this one.
        after: Option<KeyDigest>,
    },
    /// That it remembers these. Each is certain; they are synced when it has answered. At most 10 000.
    Join(Vec<KeyMemory>),
}

/// What a ledger answers: nothing to a join.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LedgerReply {
    /// What it remembers.
    pub memories: Vec<KeyMemory>,
    /// Whether there is more after the last of them.
    pub truncated: bool,
}

/// What of one replica's index an exchange looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replica {
    /// The claim.
    pub claim: Claim,
    /// The replica's node.
    pub node: NodeName,
    /// The index that gave the root. Another one refuses to answer.
    pub incarnation: u64,
}

/// Asks for the hashes of nodes' children.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescendRequest {
    /// Where.
    pub replica: Replica,
    /// The parents' level.
    pub level: u8,
    /// The parents' positions. At most 4096.
    pub parents: Vec<u32>,
}

/// Asks for the elements of buckets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ElementsRequest {
    /// Where.
    pub replica: Replica,
    /// The depth at which the buckets are meant.
    pub depth: Depth,
    /// The buckets, ascending. At most 1024.
    pub buckets: Vec<BucketId>,
    /// Go on after this prefix.
    pub after: Option<KeyPrefix>,
}

/// Elements, ascending by prefix; all elements of a prefix are in one answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ElementsReply {
    /// The elements.
    pub elements: Vec<Element>,
    /// Whether elements after the last one here were cut off.
    pub truncated: bool,
}

/// Asks for the keys of prefixes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeysRequest {
    /// Where.
    pub replica: Replica,
    /// The prefixes. At most 10 000.
    pub prefixes: Vec<KeyPrefix>,
}

/// Asks for keys whose documents have expired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpiredRequest {
    /// Where.
    pub replica: Replica,
    /// By this instant.
    pub by: WallMicros,
    /// No more keys than these. At most 10 000.
    pub keys_max: u32,
}

/// Asks for a fresh read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadRequest {
    /// The claim.
    pub claim: Claim,
    /// The replica's node.
    pub node: NodeName,
    /// The keys. At most 10 000.
    pub keys: Vec<Key>,
    /// Whether this is a confirm's second read: a key of the index that is gone now is then remembered as
    /// gone, durably, before the answer.
    pub conclude: bool,
}

/// What a fresh read saw of a key, and what of that a person wants to stay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// What was seen.
    pub observation: Observation,
    /// A change of the row that was seen which is not to be made without approval.
    pub pinned: Option<Pin>,
}

impl From<Observation> for Seen {
    /// Nothing is pinned.
    fn from(observation: Observation) -> Seen {
        Seen { observation, pinned: None }
    }
}

/// A change that a person does not want: it was undone, or dropped from a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pin {
    /// The row that stays; `None`: none.
    pub before: Option<RowDigest>,
    /// The entry that is not to be there; `None`: the key is not to be deleted.
    pub after: Option<EntryDigest>,
}

/// What a fresh read saw, in the order of the keys.
pub type ReadReply = Vec<Seen>;

/// Asks the winner for documents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchRequest {
    /// The claim.
    pub claim: Claim,
    /// The replica's node.
    pub node: NodeName,
    /// The keys, each with the row that was observed. At most 500 rows; the replica answers `Unknown(TooLarge)`
    /// if the rows exceed 24 MiB; ask for fewer.
    pub rows: Vec<(Key, RowDigest)>,
}

/// The rows in the order asked for; `None` where the row is no longer the one that was observed. Their values have
/// at most [`crate::limits::FETCH_BYTES_MAX`] together.
pub type FetchReply = Vec<Option<Row>>;

/// Asks for repairs.
#[derive(Clone, Debug, PartialEq)]
pub struct ApplyRequest {
    /// The claim.
    pub claim: Claim,
    /// The replica's node.
    pub node: NodeName,
    /// Why this batch may be written.
    pub authority: Authority,
    /// The repairs. At most 500, and 16 MiB.
    pub items: Vec<ApplyItem>,
}

/// Why a batch may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authority {
    /// `repair: auto`, within the owner's brakes.
    Automatic,
    /// A person approved the plan of this run.
    Approved(RunId),
}

/// One repair of one replica.
#[derive(Clone, Debug, PartialEq)]
pub struct ApplyItem {
    /// Its id.
    pub repair: RepairId,
    /// The key.
    pub key: Key,
    /// The row that was observed; `None` for no row.
    pub expected: Option<RowDigest>,
    /// The winner's row; `None` deletes.
    pub row: Option<Row>,
    /// Why the replica differs.
    pub cause: Cause,
}

/// What became of a repair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApplyOutcome {
    /// Written.
    Applied,
    /// Already so.
    AlreadyThere,
    /// A client came between; nothing was written.
    Changed,
    /// Not taken; nothing was written.
    Refused(String),
}

/// Tells the agent of a replica which changes a person does not want there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinRequest {
    /// The collection.
    pub collection: CollectionName,
    /// The replica's node.
    pub node: NodeName,
    /// The keys, each with the change. At most 10 000.
    pub pins: Vec<(Key, Pin)>,
}

/// Asks an agent to exchange the shards of a run that it owns, or how far it is with them. Asking again starts
/// what the agent has come to own since.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartRequest {
    /// The collection.
    pub collection: CollectionName,
    /// The slot; the run follows from it.
    pub slot: Slot,
    /// One shard, or all.
    pub shard: Option<ShardId>,
    /// Scan before the exchange.
    pub scan: bool,
    /// Write nothing, plan instead.
    pub dry_run: bool,
}

/// An agent's share of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// Whether exchanges are under way.
    pub running: bool,
    /// The scans that the run waits for.
    pub scans: Vec<(NodeName, ScanState)>,
    /// The shards that are done, each once. At most 4096.
    pub shards: Vec<ShardShare>,
    /// Encoded bytes of the messages that the share exchanged, both ways.
    pub wire_bytes: u64,
}

/// One shard of a share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardShare {
    /// The shard.
    pub shard: ShardId,
    /// What is known of it.
    pub verdict: ShardVerdict,
    /// What was counted.
    pub counts: Counts,
    /// Why its repairs became a plan, by name; empty if they did not. At most 64 characters.
    pub planned: String,
}
