//! A pass: the exchanges of many shards of one collection for one slot, by their owner. Handshake, scan,
//! claim, compare all roots in one request to each agent, exchange, complete.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, join_all};
use futures_util::{FutureExt, StreamExt, stream};
use selfsame_core::away::{Gap, was_away};
use selfsame_core::{
    AgentName, CollectionName, Epoch, NodeName, RunId, ShardId, ShardVerdict, Slot, UnknownReason, WallMicros,
};
use selfsame_journal::Journal;
use selfsame_wire::message::{
    Claim, CollectionHello, CompleteRequest, HeldEqual, Hello, JudgedGap, Root, RootsRequest, ScanRequest,
    ScanState,
};
use tokio::time::Instant;

use crate::claim::{Claimant, Claimed, Unclaimed};
use crate::exchange::report::{PassReport, ShardReport};
use crate::exchange::{Exchange, Member, Room};
use crate::membership::skew_of;
use crate::peer::{Peer, PeerError};
use crate::progress::{Progress, Step};
use crate::settings::FirstPass;

/// Shards that are exchanged at a time: each waits `settle` for its keys, and holds their observations.
const SHARDS_AT_ONCE: usize = 16;

/// How often the owner asks how far a scan is.
const SCAN_POLL: Duration = Duration::from_millis(100);

/// How long a scan may stand still before its pass goes on without it. A guess, far above what a live one needs: a
/// throttle cuts pages to what it lets through in a second, and slows down to a sixteenth at most. Longest take the count
/// of a large table before the first page, and after the last the keys that were not met: they are read twice more, 18
/// million in this time at the default throttle.
const SCAN_STANDS_STILL_MAX: Duration = Duration::from_secs(1_800);

/// A call that failed sooner found a broken connection, and not an agent that does not answer.
const BROKE_AT_ONCE: Duration = Duration::from_secs(1);

/// What to do in a pass.
#[derive(Clone, Debug)]
pub struct PassRequest {
    /// The run.
    pub run: RunId,
    /// The slot that it is for.
    pub slot: Slot,
    /// The shards, ascending.
    pub shards: Vec<ShardId>,
    /// Scan every replica before. To agents this is the request's name: a scan will do that began after they first heard
    /// it.
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

/// How far an agent's scans are, and since when.
struct Scans {
    states: Vec<(NodeName, ScanState)>,
    since: Instant,
}

impl Scans {
    /// Takes in how far they are now, and says whether they have stood there for too long.
    fn stand_still(&mut self, states: Vec<(NodeName, ScanState)>) -> bool {
        if self.states != states {
            *self = Scans { states, since: Instant::now() };
        }
        self.since.elapsed() > SCAN_STANDS_STILL_MAX
    }
}

/// Why an agent takes no part, for all its replicas.
type Silence = BTreeMap<AgentName, UnknownReason>;

/// What came of the claims.
type Claims = BTreeMap<ShardId, Result<Claimed, Unclaimed>>;

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
        let claimant = Claimant {
            name: &self.hello.agent.clone(),
            voters: &agents,
            silent: &silent,
            collection: &self.exchange.collection.name.clone(),
            run: request.run,
            slot: request.slot,
            journal: &self.journal.clone(),
        };
        let claims = claimant.claim(&request.shards).await;
        self.progress.step(Step::Claimed { shards: claims.values().filter(|claim| claim.is_ok()).count() });
        if self.exchange.collection.first_pass == FirstPass::Plan {
            let pending =
                |claim: &Result<Claimed, Unclaimed>| matches!(claim, Ok(claimed) if !claimed.first_pass_over);
            self.exchange.first_pass =
                claims.iter().filter(|(_, claim)| pending(claim)).map(|(shard, _)| *shard).collect();
        }
        let mut roots = self.roots(&agents, &silent, request, &claims).await;
        let judged = self.judge_gaps(&mut roots);
        let shards = self.exchange_all(request, &claims, &roots).await;
        self.complete(&agents, &silent, request, &shards, judged).await;
        claimant.release(superseded(&claims, &shards)).await;
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
            let asked = Instant::now();
            let mut before = self.exchange.clock.now();
            let mut reply = peer.hello(Hello { now: before, ..self.hello.clone() }).await;
            // The connection to an agent that was restarted breaks at the first call, and the second dials anew.
            if matches!(reply, Err(PeerError::Unreachable { .. })) && asked.elapsed() < BROKE_AT_ONCE {
                before = self.exchange.clock.now();
                reply = peer.hello(Hello { now: before, ..self.hello.clone() }).await;
            }
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

    /// Has every replica scanned, and waits until that is done. Of a replica whose scan fails or stands still, an older
    /// scan counts, if there is one.
    async fn scan(
        &self,
        agents: &BTreeMap<AgentName, Arc<dyn Peer>>,
        silent: &mut Silence,
        since: WallMicros,
    ) {
        let begun = |name| (name, Scans { states: Vec::new(), since: Instant::now() });
        let mut pending: BTreeMap<&AgentName, Scans> =
            agents.keys().filter(|name| !silent.contains_key(*name)).map(begun).collect();
        while !pending.is_empty() {
            let replies = join_all(pending.keys().map(|name| async {
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
                        let is_running = |(_, state): &_| matches!(state, ScanState::Running { .. });
                        let running = states.iter().any(is_running);
                        let stuck = pending.get_mut(name).is_some_and(|scans| scans.stand_still(states));
                        if running && stuck {
                            tracing::error!(
                                agent = %name,
                                "a scan stands still, and the pass goes on without it; hint: see why the store does not answer"
                            );
                        }
                        if !running || stuck {
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

    /// The roots of all claimed shards, in one request to each agent: for each shard one for each member.
    async fn roots(
        &self,
        agents: &BTreeMap<AgentName, Arc<dyn Peer>>,
        silent: &Silence,
        request: &PassRequest,
        claims: &Claims,
    ) -> BTreeMap<ShardId, Vec<Result<Root, UnknownReason>>> {
        let claimed: Vec<(ShardId, Epoch)> = claims
            .iter()
            .filter_map(|(shard, claim)| Some((*shard, claim.as_ref().ok()?.epoch.clone())))
            .collect();
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

    /// Which replicas were away while others were scanned: their roots are held from here on, as their agents will
    /// hold them once they are told. Of a replica that stood still with all others that is said when all were heard.
    fn judge_gaps(&self, roots: &mut BTreeMap<ShardId, Vec<Result<Root, UnknownReason>>>) -> Vec<JudgedGap> {
        let collection = &self.exchange.collection;
        let retention = i64::try_from(collection.tombstone_retention.as_micros()).unwrap_or(i64::MAX);
        let tolerance = retention.saturating_add(self.exchange.skew.saturating_mul(2));
        let gap_of = |at: usize| {
            let mut of_member = roots.values().filter_map(|roots| roots.get(at)?.ok());
            of_member.next().map(|root| root.gap)
        };
        // For each member whether it was heard, and its gap.
        let gaps: Vec<Option<Option<Gap>>> = (0..self.exchange.members.len()).map(gap_of).collect();
        let all_heard = gaps.iter().all(Option::is_some);
        let mut judged = Vec::new();
        for (at, member) in self.exchange.members.iter().enumerate() {
            let Some(gap) = gaps[at].flatten().filter(|gap| gap.open) else { continue };
            let others = gaps.iter().enumerate().filter(|(other, _)| *other != at);
            let away = was_away(gap, others.filter_map(|(_, gap)| *gap), tolerance);
            if away {
                tracing::error!(
                    collection = %collection.name, node = %member.node, from = %gap.from, to = %gap.to,
                    "the replica was away for longer than deletions are remembered: it is held"
                );
                for root in roots.values_mut().filter_map(|roots| roots.get_mut(at)?.as_mut().ok()) {
                    root.held = root.held.or(Some(gap.to));
                }
            }
            if away || all_heard {
                judged.push(JudgedGap { node: member.node.clone(), from: gap.from, away });
            }
        }
        judged
    }

    async fn exchange_all(
        &self,
        request: &PassRequest,
        claims: &Claims,
        roots: &BTreeMap<ShardId, Vec<Result<Root, UnknownReason>>>,
    ) -> Vec<ShardReport> {
        let room = &Room::default();
        // Boxed, so that the stream holds futures of one type and no closure over references.
        let reports: Vec<BoxFuture<'_, ShardReport>> = claims
            .iter()
            .filter(|(_, claim)| **claim != Err(Unclaimed::Completed))
            .map(|(shard, claim)| self.exchange_one(request, *shard, claim, roots.get(shard), room).boxed())
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
        claim: &Result<Claimed, Unclaimed>,
        roots: Option<&Vec<Result<Root, UnknownReason>>>,
        room: &Room,
    ) -> ShardReport {
        let report = match (claim, roots) {
            (Ok(Claimed { epoch, .. }), Some(roots)) => {
                let collection = self.exchange.collection.name.clone();
                let claim = Claim { collection, shard, epoch: epoch.clone(), run: request.run };
                self.exchange.shard(&claim, roots, room).await
            }
            (Err(Unclaimed::Refused(reason)), _) => {
                ShardReport { verdict: ShardVerdict::Unknown(*reason), ..ShardReport::blank(shard) }
            }
            (Ok(_) | Err(Unclaimed::Completed), _) => ShardReport::blank(shard),
        };
        self.progress.step(Step::Shard { report: &report });
        report
    }

    /// Tells the voters. Any verdict completes the slot; a shard that was superseded has none.
    async fn complete(
        &self,
        agents: &BTreeMap<AgentName, Arc<dyn Peer>>,
        silent: &Silence,
        request: &PassRequest,
        shards: &[ShardReport],
        judged: Vec<JudgedGap>,
    ) {
        let completed = |report: &ShardReport| Some((report.shard, report.epoch.clone()?, report.verdict));
        let completion = CompleteRequest {
            collection: self.exchange.collection.name.clone(),
            run: request.run,
            slot: request.slot,
            at: self.exchange.clock.now(),
            shards: shards.iter().filter_map(completed).collect(),
            equal: held_equal(shards),
            horizons: shards
                .iter()
                .filter(|report| report.epoch.is_some())
                .map(|report| report.horizon)
                .collect(),
            judged,
        };
        if completion.shards.is_empty() {
            return;
        }
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

/// The shards that speak against each hold.
fn held_equal(shards: &[ShardReport]) -> Vec<HeldEqual> {
    let mut equal: BTreeMap<NodeName, HeldEqual> = BTreeMap::new();
    for report in shards.iter().filter(|report| report.epoch.is_some()) {
        for (node, since) in &report.equal_since {
            let fresh = || HeldEqual { node: node.clone(), since: *since, shards: Vec::new() };
            let known = equal.entry(node.clone()).or_insert_with(fresh);
            // Of two holds of a replica within one pass, the later is the one that stands.
            if known.since < *since {
                *known = fresh();
            }
            if known.since == *since {
                known.shards.push(report.shard);
            }
        }
    }
    equal.into_values().collect()
}

/// The claims under which nothing was learned.
fn superseded(claims: &Claims, shards: &[ShardReport]) -> Vec<(ShardId, Epoch)> {
    let claim = |report: &ShardReport| {
        let claimed = claims.get(&report.shard)?.as_ref().ok()?;
        report.epoch.is_none().then(|| (report.shard, claimed.epoch.clone()))
    };
    shards.iter().filter_map(claim).collect()
}

/// What two agents do not agree on, if anything.
fn disagreement(ours: &Hello, theirs: &Hello, name: &CollectionName) -> Option<&'static str> {
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

impl From<PeerError> for UnknownReason {
    fn from(error: PeerError) -> Self {
        error.reason()
    }
}
