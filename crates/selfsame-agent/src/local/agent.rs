//! This agent as a peer: its replicas, fenced by its journal.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use selfsame_core::merkle::NodeHash;
use selfsame_core::{AgentName, CollectionName, Epoch, Key, KeyPrefix, NodeName, ShardId, UnknownReason};
use selfsame_journal::{Completion, EpochRecorded, Journal, JournalError};
use selfsame_wire::message::{
    ApplyOutcome, ApplyRequest, Authority, Ballot, BallotRequest, Claim, CompleteRequest, DescendRequest,
    ElementsReply, ElementsRequest, FetchReply, FetchRequest, Hello, KeysRequest, NodeRoots, ReadReply,
    ReadRequest, Replica, Root, RootsRequest, ScanRequest, ScanState, Share, StartRequest,
};
use tokio::time::Instant;

use super::repairing::Warrant;
use super::replica::LocalReplica;
use selfsame_wire::limits::FETCH_BYTES_MAX;

use crate::blocking::blocking;
use crate::clock::Clock;
use crate::membership::Membership;
use crate::peer::{Peer, PeerError};
use crate::record::completed_as;
use crate::settings::RepairMode;

/// Elements in one answer: 4 MiB of them.
const ELEMENTS_MAX: usize = 1 << 18;

/// A claim whose exchange has asked for nothing for so long, beyond `settle`, keeps no other away.
const IDLE_FOR: Duration = Duration::from_secs(5);

/// A claim that this voter granted.
struct Grant {
    epoch: Epoch,
    /// When its exchange last asked for something.
    at: Instant,
    completed: bool,
}

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
    /// For each collection, which replicas it has: see [`crate::record::members`].
    pub members: HashMap<CollectionName, String>,
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
    /// The epoch of the last confirm of each shard: repairs are applied under exactly this one.
    confirmed: Mutex<HashMap<(CollectionName, ShardId), Epoch>>,
    /// Whose claim of each shard was granted last.
    granted: Mutex<HashMap<(CollectionName, ShardId), Grant>>,
    /// Who is live; not known before the agent is connected.
    membership: OnceLock<Arc<Membership>>,
    /// The highest epoch that was recorded of each shard, so that not every request asks the journal.
    fences: Mutex<HashMap<(CollectionName, ShardId), Epoch>>,
}

impl LocalAgent {
    /// Puts an agent together.
    pub fn new(parts: LocalAgentParts) -> Arc<LocalAgent> {
        Arc::new(LocalAgent {
            parts,
            confirmed: Mutex::default(),
            granted: Mutex::default(),
            membership: OnceLock::new(),
            fences: Mutex::default(),
        })
    }

    /// Tells it who is live; once.
    pub fn connect(&self, membership: Arc<Membership>) {
        if self.membership.set(membership).is_err() {
            tracing::error!("an agent is connected once");
        }
    }

    /// The claim of another live agent that keeps this one away: its exchange is at work, here at least. Agents
    /// that have just come or gone do not know of each other for a moment, and would exchange a shard twice. A
    /// courtesy: safety rests on epochs and conditions.
    fn taken(&self, collection: &CollectionName, shard: ShardId, epoch: &Epoch) -> Option<Epoch> {
        let granted = self.granted.lock();
        let grant = granted.get(&(collection.clone(), shard))?;
        let live = self.membership.get().is_some_and(|membership| membership.is_live(&grant.epoch.agent));
        let settle = self.replicas_of(collection).next().map(|replica| replica.parts.collection.settle);
        let at_work = !grant.completed && grant.at.elapsed() < IDLE_FOR + settle.unwrap_or_default();
        (grant.epoch.agent != epoch.agent && live && at_work).then(|| grant.epoch.clone())
    }

    /// Notes that a claim's exchange is at work.
    fn note_work(&self, collection: &CollectionName, epochs: &[(ShardId, Epoch)]) {
        let mut granted = self.granted.lock();
        for (shard, epoch) in epochs {
            if let Some(grant) =
                granted.get_mut(&(collection.clone(), *shard)).filter(|grant| grant.epoch == *epoch)
            {
                grant.at = Instant::now();
            }
        }
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

    fn indexed(&self, asked: &Replica) -> Result<&Arc<LocalReplica>, PeerError> {
        let replica = self.replica(&asked.claim.collection, &asked.node)?;
        if replica.parts.index.incarnation().0 != asked.incarnation {
            return Err(PeerError::Rebuilt);
        }
        Ok(replica)
    }

    /// Refuses an epoch below the highest seen; a higher one is recorded durably before anything is answered.
    async fn fence(&self, collection: &CollectionName, epochs: &[(ShardId, Epoch)]) -> Result<(), PeerError> {
        self.note_work(collection, epochs);
        for ballot in self.raise(collection, epochs).await? {
            if let Ballot::Superseded(highest) = ballot {
                return Err(PeerError::Fenced(highest));
            }
        }
        Ok(())
    }

    async fn fence_claim(&self, claim: &Claim) -> Result<(), PeerError> {
        self.fence(&claim.collection, &[(claim.shard, claim.epoch.clone())]).await
    }

    async fn raise(
        &self,
        collection: &CollectionName,
        epochs: &[(ShardId, Epoch)],
    ) -> Result<Vec<Ballot>, PeerError> {
        if self.all_known(collection, epochs) {
            return Ok(vec![Ballot::Granted; epochs.len()]);
        }
        let (journal, name, epochs) = (self.parts.journal.clone(), collection.clone(), epochs.to_vec());
        let recorded = blocking(move || {
            let record = |(shard, epoch): (ShardId, Epoch)| {
                let recorded = journal.record_epoch(&name, shard, &epoch)?;
                Ok::<_, JournalError>((shard, epoch, recorded))
            };
            epochs.into_iter().map(record).collect::<Result<Vec<_>, _>>()
        })
        .await;
        let recorded = recorded.map_err(|error| self.broken(&error))?;
        let mut fences = self.fences.lock();
        let ballots = recorded.into_iter().map(|(shard, epoch, recorded)| match recorded {
            EpochRecorded::Granted => {
                let highest = fences.entry((collection.clone(), shard)).or_insert_with(|| epoch.clone());
                if *highest < epoch {
                    *highest = epoch;
                }
                Ballot::Granted
            }
            EpochRecorded::Superseded(highest) => Ballot::Superseded(highest),
        });
        Ok(ballots.collect())
    }

    fn all_known(&self, collection: &CollectionName, epochs: &[(ShardId, Epoch)]) -> bool {
        let fences = self.fences.lock();
        epochs.iter().all(|(shard, epoch)| fences.get(&(collection.clone(), *shard)) == Some(epoch))
    }

    fn broken(&self, error: &JournalError) -> PeerError {
        tracing::error!(%error, "the journal failed");
        PeerError::Unknown(UnknownReason::Unreachable)
    }

    /// The roots of one replica. The store is asked first: an index outlives its store.
    async fn roots_of(&self, replica: &Arc<LocalReplica>, epochs: &[(ShardId, Epoch)]) -> NodeRoots {
        let answers = match replica.parts.store.identity().await {
            Ok(_) => epochs.iter().map(|(shard, _)| root(replica, *shard)).collect(),
            Err(error) => vec![Err(replica.silent(&error).reason()); epochs.len()],
        };
        NodeRoots { node: replica.node().clone(), roots: answers }
    }

    /// What was planned before this request must not be written under another claim than the last confirm's.
    fn may_apply(&self, claim: &Claim) -> Result<(), PeerError> {
        match self.confirmed.lock().get(&(claim.collection.clone(), claim.shard)) {
            Some(epoch) if *epoch == claim.epoch => Ok(()),
            Some(epoch) => Err(PeerError::Fenced(epoch.clone())),
            None => Err(PeerError::Refused("no confirm under this epoch".to_owned())),
        }
    }
}

fn root(replica: &LocalReplica, shard: ShardId) -> Result<Root, UnknownReason> {
    let root = replica.parts.index.root(shard).ok_or(UnknownReason::Config)?;
    Ok(Root {
        hash: replica.fingerprinter().node_hash(&root.node),
        count: root.node.count,
        depth: root.depth,
        as_of: root.as_of.ok_or(UnknownReason::NoScan)?,
        incarnation: root.incarnation.0,
        unreadable: root.unreadable,
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
        let (journal, collection) = (self.parts.journal.clone(), request.collection.clone());
        let shards: Vec<ShardId> = request.epochs.iter().map(|(shard, _)| *shard).collect();
        let slot = request.slot;
        let completed = blocking(move || {
            let completed = |shard: &ShardId| {
                let record = journal.shard_record(&collection, *shard)?;
                Ok::<_, JournalError>(record.is_some_and(|record| record.completion(slot).is_some()))
            };
            shards.iter().map(completed).collect::<Result<Vec<bool>, _>>()
        })
        .await;
        let completed = completed.map_err(|error| self.broken(&error))?;
        // What is completed or taken is told before anything is raised: asking in vain fences nobody out.
        let answered = |((shard, epoch), completed): (&(ShardId, Epoch), bool)| match completed {
            true => Some(Ballot::Completed),
            false => self.taken(&request.collection, *shard, epoch).map(Ballot::Superseded),
        };
        let answers: Vec<Option<Ballot>> = request.epochs.iter().zip(completed).map(answered).collect();
        let free = request.epochs.iter().zip(&answers).filter(|(_, answer)| answer.is_none());
        let free: Vec<(ShardId, Epoch)> = free.map(|(asked, _)| asked.clone()).collect();
        let mut raised = self.raise(&request.collection, &free).await?.into_iter();
        let mut ballots = Vec::with_capacity(request.epochs.len());
        for ((shard, epoch), answer) in request.epochs.into_iter().zip(answers) {
            let ballot = match answer {
                Some(answer) => answer,
                None => raised.next().unwrap_or(Ballot::Superseded(epoch.clone())),
            };
            if ballot == Ballot::Granted {
                let grant = Grant { epoch, at: Instant::now(), completed: false };
                self.granted.lock().insert((request.collection.clone(), shard), grant);
            }
            ballots.push(ballot);
        }
        Ok(ballots)
    }

    async fn complete(&self, request: CompleteRequest) -> Result<(), PeerError> {
        let journal = self.parts.journal.clone();
        let CompleteRequest { collection, slot, at, shards, .. } = request;
        for (shard, epoch, _) in &shards {
            if let Some(grant) = self.granted.lock().get_mut(&(collection.clone(), *shard)) {
                grant.completed |= grant.epoch == *epoch;
            }
        }
        let members = self.parts.members.get(&collection).cloned().unwrap_or_default();
        let put = blocking(move || {
            for (shard, epoch, verdict) in shards {
                let completion = Completion { slot, verdict: completed_as(verdict, &members), at };
                journal.complete_slot(&collection, shard, &epoch, completion)?;
            }
            Ok::<_, JournalError>(())
        })
        .await;
        put.map_err(|error| self.broken(&error))
    }

    async fn start(&self, request: StartRequest) -> Result<Share, PeerError> {
        self.parts.starter.start(request).await
    }

    async fn scan(&self, request: ScanRequest) -> Result<Vec<(NodeName, ScanState)>, PeerError> {
        let replicas = self.replicas_of(&request.collection);
        Ok(replicas.map(|replica| (replica.node().clone(), replica.scan(request.since))).collect())
    }

    async fn roots(&self, request: RootsRequest) -> Result<Vec<NodeRoots>, PeerError> {
        self.note_work(&request.collection, &request.epochs);
        let ballots = self.raise(&request.collection, &request.epochs).await?;
        let mut roots = Vec::new();
        for replica in self.replicas_of(&request.collection) {
            let mut answer = self.roots_of(replica, &request.epochs).await;
            // One shard that another exchange has taken over does not silence the others.
            for (root, ballot) in answer.roots.iter_mut().zip(&ballots) {
                if *ballot != Ballot::Granted {
                    *root = Err(UnknownReason::NoMajority);
                }
            }
            roots.push(answer);
        }
        Ok(roots)
    }

    async fn descend(&self, request: DescendRequest) -> Result<Vec<NodeHash>, PeerError> {
        self.fence_claim(&request.replica.claim).await?;
        let replica = self.indexed(&request.replica)?;
        let shard = request.replica.claim.shard;
        let nodes = replica.parts.index.children(shard, request.level, &request.parents);
        let nodes = nodes.ok_or(PeerError::Rebuilt)?;
        Ok(nodes.iter().map(|node| replica.fingerprinter().node_hash(node)).collect())
    }

    async fn elements(&self, request: ElementsRequest) -> Result<ElementsReply, PeerError> {
        self.fence_claim(&request.replica.claim).await?;
        let replica = self.indexed(&request.replica)?.clone();
        let (this, shard) = (replica.clone(), request.replica.claim.shard);
        let ElementsRequest { depth, buckets, after, .. } = request;
        let from = match after {
            None => None,
            Some(KeyPrefix(u64::MAX)) => return Ok(ElementsReply::default()),
            Some(KeyPrefix(prefix)) => Some(KeyPrefix(prefix + 1)),
        };
        let listed =
            blocking(move || this.parts.index.elements(shard, depth, &buckets, from, ELEMENTS_MAX)).await;
        let listed = listed.map_err(|error| replica.broken(&error))?;
        Ok(ElementsReply { truncated: listed.cut.is_some(), elements: listed.elements })
    }

    async fn keys(&self, request: KeysRequest) -> Result<Vec<Key>, PeerError> {
        self.fence_claim(&request.replica.claim).await?;
        let replica = self.indexed(&request.replica)?.clone();
        let (this, shard, prefixes) = (replica.clone(), request.replica.claim.shard, request.prefixes);
        let entries = blocking(move || this.parts.index.entries(shard, &prefixes)).await;
        let entries = entries.map_err(|error| replica.broken(&error))?;
        Ok(entries.into_iter().map(|(_, entry)| entry.key).collect())
    }

    async fn read(&self, request: ReadRequest) -> Result<ReadReply, PeerError> {
        self.fence_claim(&request.claim).await?;
        let replica = self.replica(&request.claim.collection, &request.node)?;
        let observations = replica.observe(request.keys, request.conclude).await?;
        if request.conclude {
            let place = (request.claim.collection, request.claim.shard);
            self.confirmed.lock().insert(place, request.claim.epoch);
        }
        Ok(observations)
    }

    async fn fetch(&self, request: FetchRequest) -> Result<FetchReply, PeerError> {
        self.fence_claim(&request.claim).await?;
        let replica = self.replica(&request.claim.collection, &request.node)?;
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
        self.fence_claim(&request.claim).await?;
        self.may_apply(&request.claim)?;
        let replica = self.replica(&request.claim.collection, &request.node)?;
        if replica.parts.collection.repair == RepairMode::Off {
            return Err(PeerError::Refused("repair is off".to_owned()));
        }
        let approved = matches!(request.authority, Authority::Approved(_));
        let warrant = Warrant { run: request.claim.run, epoch: request.claim.epoch, approved };
        replica.repair(warrant, request.items).await
    }

    fn wire_bytes(&self) -> u64 {
        0
    }
}
