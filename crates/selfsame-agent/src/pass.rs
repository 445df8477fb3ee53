//! A pass: the exchanges of many shards of one collection for one slot, by their owner. Handshake, scan,
//! claim, compare all roots in one request to each agent, exchange, complete.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, join_all};
use futures_util::{FutureExt, StreamExt, stream};
use selfsame_core::{AgentName, Epoch, RunId, ShardId, Slot, UnknownReason, WallMicros};
use selfsame_journal::{Journal, JournalError};
use selfsame_wire::message::{
    Ballot, BallotRequest, Claim, CollectionHello, CompleteRequest, Hello, Root, RootsRequest, ScanRequest,
    ScanState,
};

use crate::blocking::blocking;
use crate::exchange::report::{PassReport, ShardReport};
use crate::exchange::{Exchange, Member};
use crate::peer::{Peer, PeerError};
use crate::progress::{Progress, Step};

/// Shards that are exchanged at a time: each waits `settle` for its keys, and holds their observations.
const SHARDS_AT_ONCE: usize = 16;

/// How often the owner asks how far a scan is.
const SCAN_POLL: Duration = Duration::from_millis(100);

/// Claims are tried again above a superseding epoch this often.
const CLAIM_ATTEMPTS: usize = 3;

/// What to do in a pass.
#[derive(Clone, Debug)]
pub struct PassRequest {
    /// The run.
    pub run: RunId,
    /// The slot that it is for.
    pub slot: Slot,
    /// The shards, ascending.
    pub shards: Vec<ShardId>,
    /// Scan every replica before; a scan that began at or after this instant will do.
    pub scan_since: Option<WallMicros>,
}

/// The owner's side of a pass.
pub struct Pass<'a> {
    /// What the exchanges have in common.
    pub exchange: Exchange,
    /// What this agent says of itself in a handshake.
    pub hello: Hello,
    /// The owner's journal: its epochs grow there.
    pub journal: Arc<Journal>,
    /// Where progress goes.
    pub progress: &'a dyn Progress,
}

/// Why an agent takes no part, for all its replicas.
type Silence = BTreeMap<AgentName, UnknownReason>;

impl Pass<'_> {
    /// Runs the pass.
    pub async fn run(mut self, request: &PassRequest) -> PassReport {
        let started = self.exchange.clock.now();
        let agents = self.agents();
        let bytes_before: u64 = agents.values().map(|peer| peer.wire_bytes()).sum();
        let mut silent = self.handshake(&agents).await;
        if let Some(since) = request.scan_since {
            self.scan(&agents, &mut silent, since).await;
        }
        let epochs = self.claim(&agents, &silent, request).await;
        self.progress.step(Step::Claimed { shards: epochs.values().filter(|epoch| epoch.is_ok()).count() });
        let roots = self.roots(&agents, &silent, request, &epochs).await;
        let shards = self.exchange_all(request, &epochs, &roots).await;
        self.complete(&agents, &silent, request, &epochs, &shards).await;
        let bytes_after: u64 = agents.values().map(|peer| peer.wire_bytes()).sum();
        PassReport { run: request.run, started, shards, wire_bytes: bytes_after - bytes_before }
    }

    /// The agents of the replicas, each once: these are the voters.
    fn agents(&self) -> BTreeMap<AgentName, Arc<dyn Peer>> {
        self.exchange.members.iter().map(|member| (member.peer.name().clone(), member.peer.clone())).collect()
    }

    /// Compares configurations and clocks. A difference is `Unknown (config)`, never a divergence.
    async fn handshake(&mut self, agents: &BTreeMap<AgentName, Arc<dyn Peer>>) -> Silence {
        let mut silent = Silence::new();
        let mut skew = 0;
        let replies = join_all(agents.values().map(|peer| async {
            let before = self.exchange.clock.now();
            let reply = peer.hello(Hello { now: before, ..self.hello.clone() }).await;
            (reply, before, self.exchange.clock.now())
        }))
        .await;
        for (name, (reply, before, after)) in agents.keys().zip(replies) {
            match reply {
                Ok(theirs) => match disagreement(&self.hello, &theirs, &self.exchange.collection.name) {
                    None => skew = skew.max(skew_of(theirs.now, before, after)),
                    Some(what) => {
                        tracing::error!(agent = %name, what, "agents disagree; hint: give all the same file and version");
                        silent.insert(name.clone(), UnknownReason::Config);
                    }
                },
                Err(error) => {
                    tracing::warn!(agent = %name, %error, "no handshake");
                    silent.insert(name.clone(), error.reason());
                }
            }
        }
        self.exchange.skew = skew;
        if skew > self.exchange.collection.policy.clock_skew_max {
            tracing::error!(skew_us = skew, "clocks differ by more than clock_skew_max");
            for name in agents.keys() {
                silent.entry(name.clone()).or_insert(UnknownReason::Clock);
            }
        }
        silent
    }

    async fn scan(
        &self,
        agents: &BTreeMap<AgentName, Arc<dyn Peer>>,
        silent: &mut Silence,
        since: WallMicros,
    ) {
        let mut pending: BTreeSet<&AgentName> =
            agents.keys().filter(|name| !silent.contains_key(*name)).collect();
        while !pending.is_empty() {
            let replies = join_all(pending.iter().map(|name| async {
                let request = ScanRequest { collection: self.exchange.collection.name.clone(), since };
                (*name, agents[*name].scan(request).await)
            }))
            .await;
            for (name, reply) in replies {
                match reply {
                    Ok(states) => {
                        for (node, state) in &states {
                            self.progress.step(Step::Scan { node: node.clone(), state: state.clone() });
                        }
                        if states.iter().all(|(_, state)| !matches!(state, ScanState::Running { .. })) {
                            pending.remove(name);
                        }
                    }
                    Err(error) => {
                        tracing::warn!(agent = %name, %error, "no scan");
                        silent.insert(name.clone(), error.reason());
                        pending.remove(name);
                    }
                }
            }
            if !pending.is_empty() {
                tokio::time::sleep(SCAN_POLL).await;
            }
        }
    }

    /// Claims the shards: an epoch for each that a majority of the configured voters granted.
    async fn claim(
        &self,
        agents: &BTreeMap<AgentName, Arc<dyn Peer>>,
        silent: &Silence,
        request: &PassRequest,
    ) -> BTreeMap<ShardId, Result<Epoch, Unclaimed>> {
        let mut epochs = BTreeMap::new();
        let mut wanted: Vec<(ShardId, Option<Epoch>)> =
            request.shards.iter().map(|shard| (*shard, None)).collect();
        for _ in 0..CLAIM_ATTEMPTS {
            if wanted.is_empty() {
                break;
            }
            let asked = match self.next_epochs(&wanted).await {
                Ok(asked) => asked,
                Err(error) => {
                    tracing::error!(%error, "no epoch: the journal does not answer");
                    break;
                }
            };
            let ballots = self.ballots(agents, silent, request, &asked).await;
            wanted = Vec::new();
            for (index, (shard, epoch)) in asked.into_iter().enumerate() {
                let votes: Vec<&Ballot> = ballots.iter().filter_map(|ballots| ballots.get(index)).collect();
                let granted = votes.iter().filter(|ballot| ***ballot == Ballot::Granted).count();
                let higher = votes.iter().filter_map(|ballot| match ballot {
                    Ballot::Superseded(epoch) => Some(epoch.clone()),
                    Ballot::Granted | Ballot::Completed => None,
                });
                if votes.iter().any(|ballot| **ballot == Ballot::Completed) {
                    epochs.insert(shard, Err(Unclaimed::Completed));
                } else if granted * 2 > agents.len() {
                    epochs.insert(shard, Ok(epoch));
                } else if let Some(higher) = higher.max() {
                    wanted.push((shard, Some(higher)));
                } else {
                    epochs.insert(shard, Err(Unclaimed::NoMajority));
                }
            }
        }
        for (shard, _) in wanted {
            epochs.insert(shard, Err(Unclaimed::NoMajority));
        }
        epochs
    }

    /// For each shard an epoch above all that the owner has seen, `above` among them. Durable.
    async fn next_epochs(
        &self,
        wanted: &[(ShardId, Option<Epoch>)],
    ) -> Result<Vec<(ShardId, Epoch)>, JournalError> {
        let (journal, collection) = (self.journal.clone(), self.exchange.collection.name.clone());
        let (agent, wanted) = (self.hello.agent.clone(), wanted.to_vec());
        blocking(move || {
            let next = |(shard, above): (ShardId, Option<Epoch>)| {
                if let Some(above) = above {
                    journal.record_epoch(&collection, shard, &above)?;
                }
                Ok((shard, journal.next_epoch(&collection, shard, &agent)?))
            };
            wanted.into_iter().map(next).collect()
        })
        .await
    }

    async fn ballots(
        &self,
        agents: &BTreeMap<AgentName, Arc<dyn Peer>>,
        silent: &Silence,
        request: &PassRequest,
        asked: &[(ShardId, Epoch)],
    ) -> Vec<Vec<Ballot>> {
        let heard = agents.iter().filter(|(name, _)| !silent.contains_key(*name));
        let replies = join_all(heard.map(|(name, peer)| async move {
            let ballot = BallotRequest {
                collection: self.exchange.collection.name.clone(),
                run: request.run,
                slot: request.slot,
                epochs: asked.to_vec(),
            };
            peer.ballot(ballot).await.inspect_err(|error| tracing::warn!(agent = %name, %error, "no vote"))
        }))
        .await;
        replies.into_iter().flatten().collect()
    }

    /// The roots of all claimed shards, in one request to each agent: for each shard one for each member.
    async fn roots(
        &self,
        agents: &BTreeMap<AgentName, Arc<dyn Peer>>,
        silent: &Silence,
        request: &PassRequest,
        epochs: &BTreeMap<ShardId, Result<Epoch, Unclaimed>>,
    ) -> BTreeMap<ShardId, Vec<Result<Root, UnknownReason>>> {
        let claimed: Vec<(ShardId, Epoch)> =
            epochs.iter().filter_map(|(shard, epoch)| Some((*shard, epoch.clone().ok()?))).collect();
        let claimed = &claimed;
        let replies: BTreeMap<AgentName, _> = join_all(agents.iter().map(|(name, peer)| async move {
            let reply = match silent.get(name) {
                Some(reason) => Err(*reason),
                None if claimed.is_empty() => Ok(Vec::new()),
                None => {
                    let collection = self.exchange.collection.name.clone();
                    let roots =
                        peer.roots(RootsRequest { collection, run: request.run, epochs: claimed.clone() });
                    roots.await.map_err(|error| {
                        tracing::warn!(agent = %name, %error, "no roots");
                        error.reason()
                    })
                }
            };
            (name.clone(), reply)
        }))
        .await
        .into_iter()
        .collect();
        let root_of = |member: &Member, index: usize| match &replies[member.peer.name()] {
            Err(reason) => Err(*reason),
            Ok(nodes) => match nodes.iter().find(|roots| roots.node == member.node) {
                // An agent that does not know the node runs another configuration.
                None => Err(UnknownReason::Config),
                Some(roots) => roots.roots.get(index).copied().unwrap_or(Err(UnknownReason::Config)),
            },
        };
        let of_shard = |index| self.exchange.members.iter().map(|member| root_of(member, index)).collect();
        claimed.iter().enumerate().map(|(index, (shard, _))| (*shard, of_shard(index))).collect()
    }

    async fn exchange_all(
        &self,
        request: &PassRequest,
        epochs: &BTreeMap<ShardId, Result<Epoch, Unclaimed>>,
        roots: &BTreeMap<ShardId, Vec<Result<Root, UnknownReason>>>,
    ) -> Vec<ShardReport> {
        let exchanges = epochs.iter().filter_map(|(shard, epoch)| match epoch {
            Err(Unclaimed::Completed) => None,
            Err(Unclaimed::NoMajority) => Some((*shard, None)),
            Ok(epoch) => Some((*shard, Some(epoch.clone()))),
        });
        // Boxed, so that the stream holds futures of one type and no closure over references.
        let reports: Vec<BoxFuture<'_, ShardReport>> = exchanges
            .map(|(shard, epoch)| self.exchange_one(request, shard, epoch, roots.get(&shard)).boxed())
            .collect();
        let mut reports: Vec<ShardReport> =
            stream::iter(reports).buffer_unordered(SHARDS_AT_ONCE).collect().await;
        reports.sort_unstable_by_key(|report| report.shard);
        reports
    }

    async fn exchange_one(
        &self,
        request: &PassRequest,
        shard: ShardId,
        epoch: Option<Epoch>,
        roots: Option<&Vec<Result<Root, UnknownReason>>>,
    ) -> ShardReport {
        let report = match (epoch, roots) {
            (Some(epoch), Some(roots)) => {
                let collection = self.exchange.collection.name.clone();
                let claim = Claim { collection, shard, epoch, run: request.run };
                self.exchange.shard(&claim, roots).await
            }
            _ => ShardReport::blank(shard),
        };
        self.progress.step(Step::Shard { report: report.clone() });
        report
    }

    /// Tells the voters. Any verdict completes the slot.
    async fn complete(
        &self,
        agents: &BTreeMap<AgentName, Arc<dyn Peer>>,
        silent: &Silence,
        request: &PassRequest,
        epochs: &BTreeMap<ShardId, Result<Epoch, Unclaimed>>,
        shards: &[ShardReport],
    ) {
        let completed = |report: &ShardReport| {
            let epoch = epochs.get(&report.shard)?.clone().ok()?;
            Some((report.shard, epoch, report.verdict))
        };
        let completion = CompleteRequest {
            collection: self.exchange.collection.name.clone(),
            run: request.run,
            slot: request.slot,
            at: self.exchange.clock.now(),
            shards: shards.iter().filter_map(completed).collect(),
        };
        let voters = agents.iter().filter(|(name, _)| !silent.contains_key(*name));
        join_all(voters.map(|(name, peer)| {
            let completion = completion.clone();
            async move {
                if let Err(error) = peer.complete(completion).await {
                    tracing::warn!(agent = %name, %error, "completion not recorded");
                }
            }
        }))
        .await;
    }
}

/// Why a shard was not claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unclaimed {
    NoMajority,
    Completed,
}

/// What two agents do not agree on, if anything.
fn disagreement(ours: &Hello, theirs: &Hello, name: &selfsame_core::CollectionName) -> Option<&'static str> {
    let find = |hello: &'_ Hello| -> Option<CollectionHello> {
        hello.collections.iter().find(|collection| collection.name == *name).cloned()
    };
    if ours.protocol != theirs.protocol {
        return Some("protocol version");
    }
    if ours.algorithm != theirs.algorithm {
        return Some("algorithm");
    }
    if ours.fleet != theirs.fleet {
        return Some("fleet name");
    }
    match (find(ours), find(theirs)) {
        (Some(ours), Some(theirs)) if ours.check_value != theirs.check_value => Some("fleet secret"),
        (Some(ours), Some(theirs)) if ours.config != theirs.config => Some("collection settings"),
        (Some(_), Some(_)) => None,
        _ => Some("set of collections"),
    }
}

/// How far a clock that said `theirs` between `before` and `after` is certainly off, in microseconds.
fn skew_of(theirs: WallMicros, before: WallMicros, after: WallMicros) -> i64 {
    (before.0 - theirs.0).max(theirs.0 - after.0).max(0)
}

impl From<PeerError> for UnknownReason {
    fn from(error: PeerError) -> Self {
        error.reason()
    }
}
