//! The peer port: what an exchange's owner can ask of an agent, itself included.

use async_trait::async_trait;
use selfsame_core::{AgentName, Epoch, Key, UnknownReason};
use selfsame_core::{NodeName, merkle::NodeHash};
use selfsame_wire::message::{
    ApplyOutcome, ApplyRequest, Ballot, BallotRequest, CompleteRequest, DescendRequest, ElementsReply,
    ElementsRequest, ExpiredRequest, FetchReply, FetchRequest, Hello, KeysRequest, LedgerReply,
    LedgerRequest, NodeRoots, PinRequest, ReadReply, ReadRequest, RootsRequest, ScanRequest, ScanState,
    Share, StartRequest,
};

/// One agent. Every call has a deadline and may be dropped; dropping [`Peer::apply`] leaves it to the target's
/// journal whether it happened.
#[async_trait]
pub trait Peer: Send + Sync {
    /// The agent's name.
    fn name(&self) -> &AgentName;

    /// Compares protocol, algorithm and configuration.
    async fn hello(&self, hello: Hello) -> Result<Hello, PeerError>;

    /// Asks for claims, one answer for each shard.
    async fn ballot(&self, request: BallotRequest) -> Result<Vec<Ballot>, PeerError>;

    /// Records that slots are completed. One sync for all.
    async fn complete(&self, request: CompleteRequest) -> Result<(), PeerError>;

    /// Starts the agent's share of a run, or says how far it is.
    async fn start(&self, request: StartRequest) -> Result<Share, PeerError>;

    /// Starts a scan of the agent's replicas, or asks how far it is.
    async fn scan(&self, request: ScanRequest) -> Result<Vec<(NodeName, ScanState)>, PeerError>;

    /// The roots of the agent's replicas.
    async fn roots(&self, request: RootsRequest) -> Result<Vec<NodeRoots>, PeerError>;

    /// The hashes of nodes' children: 16 for each parent.
    async fn descend(&self, request: DescendRequest) -> Result<Vec<NodeHash>, PeerError>;

    /// The elements of buckets.
    async fn elements(&self, request: ElementsRequest) -> Result<ElementsReply, PeerError>;

    /// The keys that the replica's index has under the prefixes.
    async fn keys(&self, request: KeysRequest) -> Result<Vec<Key>, PeerError>;

    /// Keys whose documents have expired, by the replica's index.
    async fn expired(&self, request: ExpiredRequest) -> Result<Vec<Key>, PeerError>;

    /// What a replica's ledger remembers for certain, or is to remember from now on.
    async fn ledger(&self, request: LedgerRequest) -> Result<LedgerReply, PeerError>;

    /// Fresh reads, in the order of the keys.
    async fn read(&self, request: ReadRequest) -> Result<ReadReply, PeerError>;

    /// Documents, if they are still what was observed.
    async fn fetch(&self, request: FetchRequest) -> Result<FetchReply, PeerError>;

    /// Repairs.
    async fn apply(&self, request: ApplyRequest) -> Result<Vec<ApplyOutcome>, PeerError>;

    /// Notes changes that a person does not want, durably, once what is being written has been. Not part of an exchange:
    /// it needs no claim.
    async fn pin(&self, request: PinRequest) -> Result<(), PeerError>;

    /// Encoded bytes of the messages exchanged so far, both ways; 0 for an agent in the same process.
    fn wire_bytes(&self) -> u64;
}

/// Why a peer did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    /// No connection, or no answer in time.
    #[error("agent {agent} did not answer: {why}")]
    Unreachable {
        /// The agent.
        agent: AgentName,
        /// In the transport's words.
        why: String,
    },
    /// It has seen a higher epoch: this exchange is over.
    #[error("another exchange has epoch {0}")]
    Fenced(Epoch),
    /// The index was rebuilt since it gave its root: this exchange is over for now.
    #[error("the index was rebuilt")]
    Rebuilt,
    /// The replica cannot answer.
    #[error("the replica is unknown: {0}")]
    Unknown(UnknownReason),
    /// The agent takes no writes here, and says why.
    #[error("refused: {0}")]
    Refused(String),
    /// It answered something that no agent of this version answers.
    #[error("agent {agent} answered nonsense: {why}")]
    Nonsense {
        /// The agent.
        agent: AgentName,
        /// What is wrong with it.
        why: String,
    },
}

impl PeerError {
    /// The reason under which a verdict counts this.
    pub fn reason(&self) -> UnknownReason {
        match self {
            PeerError::Unreachable { .. } => UnknownReason::Unreachable,
            PeerError::Fenced(_) => UnknownReason::NoMajority,
            PeerError::Rebuilt => UnknownReason::Phantom,
            PeerError::Unknown(reason) => *reason,
            PeerError::Refused(_) | PeerError::Nonsense { .. } => UnknownReason::Config,
        }
    }
}
