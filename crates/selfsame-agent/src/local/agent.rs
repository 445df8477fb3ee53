//! This agent as a peer: its replicas, fenced by its journal.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use selfsame_core::merkle::NodeHash;
use selfsame_core::{AgentName, CollectionName, Epoch, Key, KeyPrefix, NodeName, ShardId, UnknownReason};
use selfsame_index::Index;
use selfsame_journal::{EpochRecorded, Journal, JournalError};
use selfsame_wire::limits::FETCH_BYTES_MAX;
use selfsame_wire::message::{
    ApplyOutcome, ApplyRequest, Authority, Ballot, BallotRequest, Claim, CompleteRequest, DescendRequest,
    ElementsReply, ElementsRequest, ExpiredRequest, FetchReply, FetchRequest, Hello, KeysRequest, LedgerAsk,
    LedgerReply, LedgerRequest, NodeRoots, PinRequest, ReadReply, ReadRequest, Replica, Root, RootsRequest,
    ScanRequest, ScanState, Share, StartRequest,
};
use tokio::time::timeout;

use super::comparisons::Comparisons;
use super::confirms::Confirms;
use super::repairing::Warrant;
use super::replica::{Conclude, LocalReplica};
use super::voter::{Voter, Ward};
use crate::blocking::blocking;
use crate::clock::Clock;
use crate::membership::Membership;
use crate::peer::{Peer, PeerError};
use crate::settings::RepairMode;

/// Elements in one answer: 4 MiB of them.
const ELEMENTS_MAX: usize = 1 << 18;

/// A store that takes longer for its identity is busy. Shorter than what the owner grants the whole answer.
const STORE_ANSWERS_WITHIN: Duration = Duration::from_secs(3);

/// How much later than `apply_within` a batch may arrive that the owner sent in time: it verifies and fetches between.
const UNDER_WAY_FOR: Duration = Duration::from_secs(10);

/// What a local agent is made of.
pub struct LocalAgentParts {
    /// Its name.
    pub name: AgentName,
    /// What it says of itself in a handshake.
    pub hello: Hello,
    /// Its replicas.
    pub replicas: Vec<Arc<LocalReplica>>,
    /// Its journal.
    pub journal: Arc<Journal>,
    /// Wall time.
    pub clock: Arc<dyn Clock>,
    /// What it must know as a voter, for each collection.
    pub wards: HashMap<CollectionName, Ward>,
    /// Starts its share of a run.
    pub starter: Arc<dyn Starter>,
}

/// Starts an agent's share of a run.
#[async_trait]
pub trait Starter: Send + Sync {
    /// Starts it, or says how far it is.
    async fn start(&self, request: StartRequest) -> Result<Share, PeerError>;
}

/// This agent, as its peers and itself see it.
pub struct LocalAgent {
    parts: LocalAgentParts,
    confirms: Arc<Confirms>,
    voter: Voter,
    comparisons: Comparisons,
}

impl LocalAgent {
    /// Puts an agent together.
    pub fn new(parts: LocalAgentParts) -> Arc<LocalAgent> {
        let voter = Voter::new(parts.journal.clone(), parts.wards.clone());
        Arc::new(LocalAgent { parts, confirms: Arc::default(), voter, comparisons: Comparisons::default() })
    }

    /// Tells it who is live; once.
    pub fn connect(&self, membership: Arc<Membership>) {
        self.voter.connect(membership);
    }

    fn replica(&self, collection: &CollectionName, node: &NodeName) -> Result<&Arc<LocalReplica>, PeerError> {
        let mut replicas = self.parts.replicas.iter();
        let found =
            replicas.find(|replica| replica.parts.collection.name == *collection && replica.node() == node);
        found.ok_or(PeerError::Unknown(UnknownReason::Config))
    }

    fn replicas_of<'a>(
        &'a self,
        collection: &'a CollectionName,
    ) -> impl Iterator<Item = &'a Arc<LocalReplica>> {
        self.parts.replicas.iter().filter(move |replica| replica.parts.collection.name == *collection)
    }

    /// The replica and its index, if that still is the one that gave the root. Whoever reads on reads this one: the
    /// replica's may be opened anew meanwhile.
    fn indexed(&self, asked: &Replica) -> Result<(&Arc<LocalReplica>, Arc<Index>), PeerError> {
        let replica = self.replica(&asked.claim.collection, &asked.node)?;
        let index = replica.index().map_err(|error| replica.index_failed(&error))?;
        if index.incarnation().0 != asked.incarnation {
            return Err(PeerError::Rebuilt);
        }
        Ok((replica, index))
    }

    /// Refuses an epoch below the highest seen; a higher one is recorded durably before anything is answered.
    async fn fence(&self, claim: &Claim) -> Result<(), PeerError> {
        let epochs = [(claim.shard, claim.epoch.clone())];
        let recorded = self.voter.fence(&claim.collection, claim.run, &epochs).await;
        match recorded.map_err(|error| self.broken(&error))?.pop() {
            Some(EpochRecorded::Superseded(highest)) => Err(PeerError::Fenced(highest)),
            Some(EpochRecorded::Granted) | None => Ok(()),
        }
    }

    fn broken(&self, error: &JournalError) -> PeerError {
        tracing::error!(%error, "the journal failed");
        PeerError::Unknown(UnknownReason::Unreachable)
    }

    /// The roots of one replica. The store is asked first: an index outlives its store.
    async fn roots_of(&self, replica: &Arc<LocalReplica>, epochs: &[(ShardId, Epoch)]) -> NodeRoots {
        if let Err(error) = replica.mend_index().await {
            let silent = vec![Err(error.reason()); epochs.len()];
            return NodeRoots { node: replica.node().clone(), roots: silent };
        }
        let answers = match timeout(STORE_ANSWERS_WITHIN, replica.recognise_store()).await {
            Ok(Ok(_)) => epochs.iter().map(|(shard, epoch)| root(replica, *shard, epoch)).collect(),
            Ok(Err(error)) => vec![Err(error.reason()); epochs.len()],
            Err(_) => vec![Err(UnknownReason::Busy); epochs.len()],
        };
        NodeRoots { node: replica.node().clone(), roots: answers }
    }

    /// Lets all replicas forget what the owner found joined by all.
    async fn purge(&self, request: &CompleteRequest) -> Result<(), PeerError> {
        let horizon =
            |((shard, ..), horizon): (&(ShardId, Epoch, _), &Option<_>)| Some((*shard, (*horizon)?));
        let told: Vec<_> = request.shards.iter().zip(&request.horizons).filter_map(horizon).collect();
        for replica in self.replicas_of(&request.collection) {
            let (replica, told) = (replica.clone(), told.clone());
            blocking(move || replica.raise_horizons(&told)).await?;
        }
        Ok(())
    }
}

fn root(replica: &LocalReplica, shard: ShardId, epoch: &Epoch) -> Result<Root, UnknownReason> {
    replica.gives_root(shard, epoch);
    let index = replica.index().map_err(|error| replica.index_failed(&error).reason())?;
    let root = index.root(shard).ok_or(UnknownReason::Config)?;
    // The clock was set back since the scan: when it really began, nobody knows.
    if root.as_of.is_some_and(|as_of| as_of > replica.parts.clock.now()) {
        return Err(UnknownReason::Clock);
    }
    Ok(Root {
        hash: replica.fingerprinter().node_hash(&root.node),
        count: root.node.count,
        depth: root.depth,
        as_of: root.as_of.ok_or(UnknownReason::NoScan)?,
        incarnation: root.incarnation.0,
        unreadable: root.unreadable,
        memory: replica.memory_hash(shard),
        held: replica.held().map(|hold| hold.since),
        horizon: replica.horizon(shard),
        gap: replica.gap(),
    })
}

#[async_trait]
impl Peer for LocalAgent {
    fn name(&self) -> &AgentName {
        &self.parts.name
    }

    async fn hello(&self, _hello: Hello) -> Result<Hello, PeerError> {
        Ok(Hello { now: self.parts.clock.now(), ..self.parts.hello.clone() })
    }

    async fn ballot(&self, request: BallotRequest) -> Result<Vec<Ballot>, PeerError> {
        self.voter.ballot(request).await.map_err(|error| self.broken(&error))
    }

    async fn complete(&self, request: CompleteRequest) -> Result<(), PeerError> {
        for equal in &request.equal {
            let Ok(replica) = self.replica(&request.collection, &equal.node) else { continue };
            let (replica, equal, claims) = (replica.clone(), equal.clone(), request.shards.clone());
            blocking(move || replica.found_equal(&equal, &claims)).await?;
        }
        for judged in &request.judged {
            let Ok(replica) = self.replica(&request.collection, &judged.node) else { continue };
            let (replica, judged) = (replica.clone(), judged.clone());
            blocking(move || replica.judge_gap(&judged)).await?;
        }
        self.purge(&request).await?;
        self.voter.complete(request.clone()).await.map_err(|error| self.broken(&error))?;
        for replica in self.replicas_of(&request.collection) {
            replica.end_streaks(request.run, replica.passed(&self.comparisons, &request)).await;
        }
        Ok(())
    }

    async fn start(&self, request: StartRequest) -> Result<Share, PeerError> {
        self.parts.starter.start(request).await
    }

    async fn scan(&self, request: ScanRequest) -> Result<Vec<(NodeName, ScanState)>, PeerError> {
        let replicas = self.replicas_of(&request.collection);
        Ok(replicas.map(|replica| (replica.node().clone(), replica.scan(request.since))).collect())
    }

    async fn roots(&self, request: RootsRequest) -> Result<Vec<NodeRoots>, PeerError> {
        let recorded = self.voter.fence(&request.collection, request.run, &request.epochs).await;
        let recorded = recorded.map_err(|error| self.broken(&error))?;
        let mut roots = Vec::new();
        for replica in self.replicas_of(&request.collection) {
            let mut answer = self.roots_of(replica, &request.epochs).await;
            // One shard that another exchange has taken over does not silence the others.
            for (root, recorded) in answer.roots.iter_mut().zip(&recorded) {
                if *recorded != EpochRecorded::Granted {
                    *root = Err(UnknownReason::NoMajority);
                }
            }
            for ((shard, _), _) in request.epochs.iter().zip(&answer.roots).filter(|(_, root)| root.is_ok()) {
                replica.compared(&self.comparisons, *shard, request.run);
            }
            roots.push(answer);
        }
        Ok(roots)
    }

    async fn descend(&self, request: DescendRequest) -> Result<Vec<NodeHash>, PeerError> {
        self.fence(&request.replica.claim).await?;
        let (replica, index) = self.indexed(&request.replica)?;
        let shard = request.replica.claim.shard;
        let nodes = index.children(shard, request.level, &request.parents);
        let nodes = nodes.ok_or(PeerError::Rebuilt)?;
        Ok(nodes.iter().map(|node| replica.fingerprinter().node_hash(node)).collect())
    }

    async fn elements(&self, request: ElementsRequest) -> Result<ElementsReply, PeerError> {
        self.fence(&request.replica.claim).await?;
        let (replica, index) = self.indexed(&request.replica)?;
        let shard = request.replica.claim.shard;
        let ElementsRequest { depth, buckets, after, .. } = request;
        let from = match after {
            None => None,
            Some(KeyPrefix(u64::MAX)) => return Ok(ElementsReply::default()),
            Some(KeyPrefix(prefix)) => Some(KeyPrefix(prefix + 1)),
        };
        let listed = blocking(move || index.elements(shard, depth, &buckets, from, ELEMENTS_MAX)).await;
        let listed = listed.map_err(|error| replica.index_failed(&error))?;
        Ok(ElementsReply { truncated: listed.cut.is_some(), elements: listed.elements })
    }

    async fn keys(&self, request: KeysRequest) -> Result<Vec<Key>, PeerError> {
        self.fence(&request.replica.claim).await?;
        let (replica, index) = self.indexed(&request.replica)?;
        let (shard, prefixes) = (request.replica.claim.shard, request.prefixes);
        let entries = blocking(move || index.entries(shard, &prefixes)).await;
        let entries = entries.map_err(|error| replica.index_failed(&error))?;
        Ok(entries.into_iter().map(|(_, entry)| entry.key).collect())
    }

    async fn expired(&self, request: ExpiredRequest) -> Result<Vec<Key>, PeerError> {
        self.fence(&request.replica.claim).await?;
        let (replica, index) = self.indexed(&request.replica)?;
        let (shard, by, limit) = (request.replica.claim.shard, request.by, request.keys_max as usize);
        let keys = blocking(move || index.expired(shard, by, limit)).await;
        keys.map_err(|error| replica.index_failed(&error))
    }

    async fn ledger(&self, request: LedgerRequest) -> Result<LedgerReply, PeerError> {
        self.fence(&request.claim).await?;
        let replica = self.replica(&request.claim.collection, &request.node)?.clone();
        let shard = request.claim.shard;
        blocking(move || match request.ask {
            LedgerAsk::List { after } => replica.list_memories(shard, after),
            LedgerAsk::Join(memories) => replica.join_memories(memories).map(|()| LedgerReply::default()),
        })
        .await
    }

    async fn read(&self, request: ReadRequest) -> Result<ReadReply, PeerError> {
        self.fence(&request.claim).await?;
        let replica = self.replica(&request.claim.collection, &request.node)?;
        if request.conclude {
            replica.confirmed(&self.comparisons, request.claim.shard, request.claim.run, &request.keys);
        }
        let conclude = if request.conclude { Conclude::Gone } else { Conclude::Nothing };
        let observations = replica.observe(request.keys.clone(), conclude).await?;
        let seen = replica.with_pins(&request.keys, observations).await?;
        if request.conclude {
            self.confirms.note(request.claim);
        }
        Ok(seen)
    }

    async fn fetch(&self, request: FetchRequest) -> Result<FetchReply, PeerError> {
        self.fence(&request.claim).await?;
        let replica = self.replica(&request.claim.collection, &request.node)?;
        replica.refuse_if_held()?;
        let (keys, rows): (Vec<Key>, Vec<_>) = request.rows.into_iter().unzip();
        let reads = replica.parts.store.read(&keys).await.map_err(|error| replica.silent(&error))?;
        let bytes: usize =
            reads.iter().filter_map(|read| read.document()).map(|found| found.row.value_bytes()).sum();
        if bytes > FETCH_BYTES_MAX && keys.len() > 1 {
            return Err(PeerError::Unknown(UnknownReason::TooLarge));
        }
        let unchanged = |(read, row): (selfsame_store::Read, _)| match read.document() {
            Some(document) if document.row_digest == row => Some(document.row.clone()),
            _ => None,
        };
        Ok(reads.into_iter().zip(rows).map(unchanged).collect())
    }

    async fn apply(&self, request: ApplyRequest) -> Result<Vec<ApplyOutcome>, PeerError> {
        self.fence(&request.claim).await?;
        let replica = self.replica(&request.claim.collection, &request.node)?;
        if replica.parts.collection.repair == RepairMode::Off {
            return Err(PeerError::Refused("repair is off".to_owned()));
        }
        let approved = matches!(request.authority, Authority::Approved(_));
        let warrant = Warrant { run: request.claim.run, epoch: request.claim.epoch.clone(), approved };
        let within = replica.parts.collection.apply_within + UNDER_WAY_FOR;
        let confirms = self.confirms.clone();
        replica.repair(warrant, request.items, move || confirms.may_apply(&request.claim, within)).await
    }

    async fn pin(&self, request: PinRequest) -> Result<(), PeerError> {
        self.replica(&request.collection, &request.node)?.pin(request.pins).await
    }

    fn wire_bytes(&self) -> u64 {
        0
    }
}
