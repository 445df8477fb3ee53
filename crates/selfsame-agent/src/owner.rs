//! The owner's part of runs: which shards of a run are this agent's, their passes, and how far they are.

pub(crate) mod resync;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use selfsame_core::{
    AgentName, CollectionName, HoldReason, NodeName, RunId, Schedule, ShardId, Slot, UnknownReason,
    WallMicros, owner,
};
use selfsame_journal::{Journal, PlanId};
use selfsame_wire::message::{Hello, ScanState, ShardShare, Share, StartRequest};
use tokio::sync::oneshot;
use tokio::time::Instant;
use uuid::Uuid;

use crate::blocking::blocking;
use crate::clock::Clock;
use crate::exchange::report::{Item, Outcome, PassReport, PlanReason, ShardReport};
use crate::exchange::{Approval, Exchange, Mandate, Member};
use crate::local::Starter;
use crate::membership::Membership;
use crate::metrics::Metrics;
use crate::pass::{Pass, PassRequest};
use crate::peer::{Peer, PeerError};
use crate::progress::{Progress, Silent, Step};
use crate::record::{self, Recorder};
use crate::settings::{CollectionSettings, FleetSettings, RepairMode};
use crate::supervisor::Supervisor;

/// Shares of runs that are remembered for those who ask how far they are; the journal remembers the rest.
const SHARES_KEPT: usize = 64;

/// A shard that no majority granted is claimed again after this: its owner may have died, or a voter come back.
const CLAIM_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// How long the claim for an approved plan is tried: who kept it away is done, or taken for dead, by then.
const APPROVED_CLAIM_WITHIN: Duration = Duration::from_secs(15);

/// What is known to an owner once its agent is put together.
pub struct Connections {
    /// All agents, this one among them.
    pub peers: BTreeMap<AgentName, Arc<dyn Peer>>,
    /// What this agent says of itself.
    pub hello: Hello,
    /// Its journal.
    pub journal: Arc<Journal>,
    /// Who is live.
    pub membership: Arc<Membership>,
    /// What is measured of its passes.
    pub metrics: Arc<Metrics>,
}

/// Runs the passes of the shards that this agent owns.
pub struct Owner {
    fleet: Arc<FleetSettings>,
    name: AgentName,
    clock: Arc<dyn Clock>,
    tasks: Supervisor,
    connections: OnceLock<Connections>,
    shares: Mutex<HashMap<RunId, Arc<RunShare>>>,
    /// One pass over a collection at a time.
    turns: Mutex<HashMap<CollectionName, Arc<tokio::sync::Mutex<()>>>>,
    /// Itself, for the tasks that it spawns.
    this: Weak<Owner>,
}

/// What became of a plan's shard when it was carried out. Counts of repairs, one for each key and replica.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CarriedOut {
    /// What the plan held.
    pub planned: u64,
    /// Written.
    pub repaired: u64,
    /// Their fresh verdict differs: in a plan again.
    pub returned: u64,
    /// They agree by now.
    pub settled: u64,
    /// Not made: a client came between, it is held by now, a replica was silent, or store or agent would not take it.
    pub refused: u64,
}

/// This agent's share of one run.
struct RunShare {
    began: WallMicros,
    state: Mutex<ShareState>,
}

/// Shards that an owner may claim now.
#[derive(Default)]
struct Claimable {
    shards: Vec<ShardId>,
    /// Whether some of them are claimed for the first time in their run.
    first: bool,
}

#[derive(Default)]
struct ShareState {
    attempted: BTreeSet<ShardId>,
    /// Shards that no majority granted, and when: they are tried again after a while.
    unclaimed: BTreeMap<ShardId, Instant>,
    /// Passes over shards that were not attempted before.
    passes_running: usize,
    /// Whether a pass has claimed shards and exchanges them.
    exchanging: bool,
    scans: BTreeMap<NodeName, ScanState>,
    done: BTreeMap<ShardId, ShardShare>,
    wire_bytes: u64,
}

impl Owner {
    /// An owner that is not connected yet.
    pub fn new(
        fleet: Arc<FleetSettings>,
        name: AgentName,
        clock: Arc<dyn Clock>,
        tasks: Supervisor,
    ) -> Arc<Owner> {
        Arc::new_cyclic(|this| Owner {
            fleet,
            name,
            clock,
            tasks,
            connections: OnceLock::new(),
            shares: Mutex::default(),
            turns: Mutex::default(),
            this: this.clone(),
        })
    }

    /// Connects it; once.
    pub fn connect(&self, connections: Connections) {
        if self.connections.set(connections).is_err() {
            tracing::error!("an owner is connected once");
        }
    }

    fn connections(&self) -> Result<&Connections, PeerError> {
        self.connections.get().ok_or(PeerError::Refused("the agent is starting".to_owned()))
    }

    fn share(&self, run: RunId) -> Arc<RunShare> {
        let mut shares = self.shares.lock();
        if shares.len() >= SHARES_KEPT && !shares.contains_key(&run) {
            let idle = shares.iter().filter(|(_, share)| !share.snapshot().running);
            if let Some(oldest) = idle.min_by_key(|(_, share)| share.began).map(|(run, _)| *run) {
                shares.remove(&oldest);
            }
        }
        let fresh = || Arc::new(RunShare { began: self.clock.now(), state: Mutex::default() });
        shares.entry(run).or_insert_with(fresh).clone()
    }

    /// The shards of a run that are this agent's now and that it has not attempted yet.
    async fn claimable(
        &self,
        connections: &Connections,
        collection: &CollectionSettings,
        request: &StartRequest,
        share: &RunShare,
        due: &(dyn Fn(ShardId) -> bool + Sync),
    ) -> Claimable {
        let live = connections.membership.live().await;
        let Some(replica) = collection.replicas.first() else { return Claimable::default() };
        let wanted = replica
            .mapping
            .shards
            .ids()
            .filter(|shard| request.shard.is_none_or(|only| only == *shard) && due(*shard));
        let own = wanted.filter(|shard| owner(&live, &collection.name, *shard) == Some(&self.name));
        let mut state = share.state.lock();
        let again =
            |shard: &ShardId| state.unclaimed.get(shard).is_some_and(|at| at.elapsed() > CLAIM_AGAIN_AFTER);
        let fresh: Vec<ShardId> =
            own.filter(|shard| !state.attempted.contains(shard) || again(shard)).collect();
        // Who only tries again does not keep anybody waiting before it has a claim.
        let first = fresh.iter().filter(|shard| state.attempted.insert(**shard)).count() > 0;
        state.unclaimed.retain(|shard, _| !fresh.contains(shard));
        state.passes_running += usize::from(first);
        Claimable { shards: fresh, first }
    }

    /// What may be done with the verdicts of a pass, before anything is known about them.
    async fn mandate(
        &self,
        connections: &Connections,
        collection: &CollectionSettings,
        dry_run: bool,
    ) -> Mandate {
        if dry_run {
            return Mandate::Plan(PlanReason::DryRun);
        }
        if collection.repair == RepairMode::Off {
            return Mandate::Plan(PlanReason::RepairOff);
        }
        let (journal, name, now) = (connections.journal.clone(), collection.name.clone(), self.clock.now());
        // A journal that does not answer is taken for a pause: nothing is written.
        if !matches!(blocking(move || journal.paused(&name, now)).await, Ok(None)) {
            return Mandate::Plan(PlanReason::Paused);
        }
        match collection.repair {
            RepairMode::Approve => Mandate::Plan(PlanReason::ApproveMode),
            RepairMode::Auto | RepairMode::Off => Mandate::Automatic,
        }
    }

    async fn run_pass(
        self: Arc<Self>,
        collection: CollectionSettings,
        start: StartRequest,
        shards: Vec<ShardId>,
        share: Arc<RunShare>,
    ) -> Result<(), PeerError> {
        let connections = self.connections()?;
        // Two passes over the same shards would only fence each other out.
        let turn = self.turns.lock().entry(collection.name.clone()).or_default().clone();
        let _turn = turn.lock().await;
        let run = RunId::of(&self.fleet.name, &collection.name, start.slot);
        let mandate = self.mandate(connections, &collection, start.dry_run).await;
        let pass = self.pass(connections, &collection, mandate, &*share);
        let since = || scan_since(start.slot, collection.schedule(), share.began);
        let scan_since = start.scan.then(since);
        let request = PassRequest { run, slot: start.slot, shards, scan_since };
        let report = self.recorded(connections, &collection, pass, &request, &start).await;
        connections.metrics.observe_pass(&start, &report, self.clock.now());
        share.state.lock().wire_bytes += report.wire_bytes;
        Ok(())
    }
}

/// The instant by which a run asks for scans. All its owners ask by the same one, if the slot tells it, so that one scan
/// of a replica will do for all of them. To agents it is a name: whose clock it is of does not matter, nor how far that
/// one is off.
fn scan_since(slot: Slot, schedule: Option<Schedule>, began: WallMicros) -> WallMicros {
    match slot {
        Slot::Scheduled(slot) => schedule.map_or(began, |schedule| schedule.start(slot)),
        // Who asks may take any id. One that tells no time has each owner scan by itself.
        Slot::AdHoc(id) => made_at(id).unwrap_or(began),
    }
}

/// When an id was made, if it tells.
fn made_at(id: Uuid) -> Option<WallMicros> {
    let (seconds, nanos) = id.get_timestamp()?.to_unix();
    let micros = i64::try_from(seconds).ok()?.checked_mul(1_000_000)?;
    Some(WallMicros(micros.checked_add(i64::from(nanos) / 1_000)?))
}

impl Owner {
    /// Carries out what a person approved of one shard: the keys are confirmed afresh, and only what the plan says,
    /// of the very rows that it says it of, is written. The rest returns to a plan. It is done to its end even if nobody
    /// waits for it any more: what the voters know to be completed is not begun again, and must be written down.
    pub async fn carry_out(&self, id: &PlanId) -> Result<CarriedOut, PeerError> {
        let stopping = || PeerError::Refused("the agent is stopping".to_owned());
        let (this, id) = (self.this.upgrade().ok_or_else(stopping)?, id.clone());
        let (answer, answered) = oneshot::channel();
        self.tasks.spawn_to_end("approval", async move {
            // Nobody may be waiting any more, which is no error.
            let _ = answer.send(this.carry_out_here(&id).await);
        });
        answered.await.unwrap_or_else(|_| Err(stopping()))
    }

    async fn carry_out_here(&self, id: &PlanId) -> Result<CarriedOut, PeerError> {
        let connections = self.connections()?;
        let collection =
            self.fleet.collection(&id.collection).ok_or(PeerError::Unknown(UnknownReason::Config))?;
        if collection.repair == RepairMode::Off {
            return Err(PeerError::Refused("repair is off for this collection".to_owned()));
        }
        let (journal, name, now) = (connections.journal.clone(), collection.name.clone(), self.clock.now());
        if !matches!(blocking(move || journal.paused(&name, now)).await, Ok(None)) {
            return Err(PeerError::Refused("repairs are paused; hint: selfsame resume".to_owned()));
        }
        let approval = record::approval(connections.journal.clone(), id.clone()).await;
        let approval = approval.map_err(|error| PeerError::Refused(error.to_string()))?;
        let turn = self.turns.lock().entry(collection.name.clone()).or_default().clone();
        let _turn = turn.lock().await;
        let (slot, run) = approval_of(&self.fleet.name, &collection.name, id.run);
        let request = PassRequest { run, slot, shards: vec![id.shard], scan_since: None };
        let start = StartRequest {
            collection: collection.name.clone(),
            slot,
            shard: Some(id.shard),
            scan: false,
            dry_run: false,
        };
        let tried_until = Instant::now() + APPROVED_CLAIM_WITHIN;
        let report = loop {
            let pass = self.pass(connections, collection, Mandate::Approved(approval.clone()), &Silent);
            let report = self.recorded(connections, collection, pass, &request, &start).await;
            if report.shards.iter().all(|shard| shard.epoch.is_some()) || Instant::now() > tried_until {
                break report;
            }
            tokio::time::sleep(CLAIM_AGAIN_AFTER).await;
        };
        connections.metrics.observe_approved(&collection.name, &report);
        if report.shards.is_empty() {
            tracing::warn!(
                collection = %id.collection, shard = %id.shard, run_id = %id.run,
                "a plan was carried out before, and what came of it was not written down; hint: the next run finds \
                 what still differs"
            );
        }
        if report.shards.iter().all(|shard| shard.epoch.is_some()) {
            record::forget_plan(connections.journal.clone(), id.clone()).await;
        }
        Ok(carried_out(&approval, &report))
    }

    /// A pass over a collection, with what does not depend on its shards.
    fn pass<'a>(
        &self,
        connections: &Connections,
        collection: &CollectionSettings,
        mandate: Mandate,
        progress: &'a dyn Progress,
    ) -> Pass<'a> {
        let member = |node: &NodeName| {
            let agent = self.fleet.agent_of(node)?;
            Some(Member { node: node.clone(), peer: connections.peers.get(&agent.name)?.clone() })
        };
        Pass {
            exchange: Exchange {
                fingerprinter: self.fleet.fingerprinter(&collection.name),
                members: collection.replicas.iter().filter_map(|replica| member(&replica.node)).collect(),
                mandate,
                first_pass: BTreeSet::new(),
                clock: self.clock.clone(),
                skew: 0,
                collection: Arc::new(collection.clone()),
            },
            hello: connections.hello.clone(),
            journal: connections.journal.clone(),
            progress,
        }
    }

    async fn recorded(
        &self,
        connections: &Connections,
        collection: &CollectionSettings,
        pass: Pass<'_>,
        request: &PassRequest,
        start: &StartRequest,
    ) -> PassReport {
        let recorder = Recorder {
            journal: connections.journal.clone(),
            owner: self.name.clone(),
            collection: collection.name.clone(),
            fingerprinter: self.fleet.fingerprinter(&collection.name),
            tombstone_retention: collection.tombstone_retention,
        };
        recorder.begin(start, request.run, self.clock.now()).await;
        let report = recorder.continue_ages(pass.run(request).await).await;
        recorder.finish(report, self.clock.now()).await
    }
}

/// The slot and the run in which what a person approved of a run's plan is carried out: one for all its shards, and
/// known to whoever knows the plan's run.
pub(crate) fn approval_of(fleet: &str, collection: &CollectionName, planned: RunId) -> (Slot, RunId) {
    let slot = Slot::AdHoc(Uuid::from_bytes(*planned.as_bytes()));
    (slot, RunId::of(fleet, collection, slot))
}

fn carried_out(approval: &Approval, report: &PassReport) -> CarriedOut {
    let planned = approval.repairs.len() as u64;
    // Nobody granted the claim, and the plan stays; or the shard was completed before, and the next pass finds what
    // still differs. Nothing was looked at.
    if report.shards.is_empty() || report.shards.iter().any(|shard| shard.epoch.is_none()) {
        return CarriedOut { planned, refused: planned, ..CarriedOut::default() };
    }
    let mut out = CarriedOut { planned, ..CarriedOut::default() };
    // What else differs in the shard was not approved, and stands in the next plan.
    let of_the_plan = |item: &&Item| approval.keys.contains(&item.key);
    for item in report.shards.iter().flat_map(|shard| &shard.items).filter(of_the_plan) {
        match item.outcome {
            Outcome::Repaired | Outcome::AlreadyThere => out.repaired += 1,
            Outcome::Planned | Outcome::Held(HoldReason::Pinned) => out.returned += 1,
            Outcome::Changed
            | Outcome::Moving
            | Outcome::Held(_)
            | Outcome::Unreadable
            | Outcome::Refused(_)
            | Outcome::Unanswered(_)
            | Outcome::Incomparable => out.refused += 1,
        }
    }
    // A key may also be held or unreadable where it has no repair.
    let unmade = planned.saturating_sub(out.repaired + out.returned);
    out.refused = out.refused.min(unmade);
    // What has no item needed nothing, if it was looked at everywhere and stood still.
    let rest = unmade - out.refused;
    if report.shards.iter().any(is_in_doubt) {
        out.refused += rest;
    } else {
        out.settled = rest;
    }
    out
}

/// Whether a key without an item may differ all the same.
fn is_in_doubt(shard: &ShardReport) -> bool {
    let silent = |reason: &UnknownReason| {
        let of_others = [UnknownReason::BadDocument, UnknownReason::StaleIndex, UnknownReason::Phantom];
        !of_others.contains(reason)
    };
    shard.counts.moving > 0 || shard.unknown.iter().any(silent)
}

#[async_trait]
impl Starter for Owner {
    async fn start(&self, request: StartRequest) -> Result<Share, PeerError> {
        self.start_due(request, &|_| true).await
    }
}

impl Owner {
    /// Starts this agent's share of a run as far as it is due.
    pub async fn start_due(
        &self,
        request: StartRequest,
        due: &(dyn Fn(ShardId) -> bool + Sync),
    ) -> Result<Share, PeerError> {
        let connections = self.connections()?;
        let collection =
            self.fleet.collection(&request.collection).ok_or(PeerError::Unknown(UnknownReason::Config))?;
        let run = RunId::of(&self.fleet.name, &collection.name, request.slot);
        let share = self.share(run);
        let Claimable { shards, first } =
            self.claimable(connections, collection, &request, &share, due).await;
        if !shards.is_empty() {
            let Some(this) = self.this.upgrade() else { return Ok(share.snapshot()) };
            let (collection, share) = (collection.clone(), share.clone());
            self.tasks.spawn("pass", async move {
                if let Err(error) = this.run_pass(collection, request, shards, share.clone()).await {
                    tracing::error!(%run, %error, "a pass did not start");
                }
                let mut state = share.state.lock();
                state.passes_running -= usize::from(first);
                state.exchanging = false;
            });
        }
        Ok(share.snapshot())
    }
}

impl RunShare {
    fn snapshot(&self) -> Share {
        let state = self.state.lock();
        Share {
            running: state.passes_running > 0 || state.exchanging,
            scans: state.scans.iter().map(|(node, scan)| (node.clone(), scan.clone())).collect(),
            shards: state.done.values().cloned().collect(),
            wire_bytes: state.wire_bytes,
        }
    }
}

impl Progress for RunShare {
    fn step(&self, step: Step<'_>) {
        let mut state = self.state.lock();
        match step {
            Step::Claimed { shards } => state.exchanging = shards > 0,
            Step::Scan { node, state: scan } => {
                state.scans.insert(node, scan);
            }
            Step::Shard { report } => {
                if report.epoch.is_none() {
                    state.unclaimed.insert(report.shard, Instant::now());
                }
                state.done.insert(report.shard, shard_share(report));
            }
        }
    }
}

fn shard_share(report: &ShardReport) -> ShardShare {
    ShardShare {
        shard: report.shard,
        verdict: report.verdict,
        counts: report.counts,
        planned: report.planned.map(|reason| reason.as_str().to_owned()).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use selfsame_core::{Epoch, Key, RepairId, ShardId};

    use super::*;

    fn told_of(shards: Vec<ShardReport>) -> (u64, u64) {
        let repairs = (0..3).map(|number| RepairId::from_bytes([number; 16])).collect();
        let run = RunId::from_bytes([1; 16]);
        let approval = Approval { run, keys: (0..3).map(Key::integer).collect(), repairs };
        let report = PassReport { run, started: WallMicros(0), shards, wire_bytes: 0 };
        let out = carried_out(&approval, &report);
        (out.settled, out.refused)
    }

    fn told(shard: ShardReport) -> (u64, u64) {
        let epoch = Some(Epoch { counter: 1, agent: "a".parse().unwrap() });
        told_of(vec![ShardReport { epoch, ..shard }])
    }

    #[test]
    fn what_was_not_looked_at_everywhere_is_not_settled() {
        let blank = || ShardReport::blank(ShardId(0));
        let unknown = |reason| ShardReport { unknown: vec![reason], ..blank() };
        assert_eq!(told(blank()), (3, 0), "all agree by now");
        assert_eq!(told(unknown(UnknownReason::BadDocument)), (3, 0), "another key's document");
        assert_eq!(told(unknown(UnknownReason::Unreachable)), (0, 3));
        let counts = selfsame_core::Counts { moving: 1, ..selfsame_core::Counts::default() };
        assert_eq!(told(ShardReport { counts, ..blank() }), (0, 3), "nobody knows which one moved");
        assert_eq!(told_of(vec![blank()]), (0, 3), "nobody granted the claim");
        assert_eq!(told_of(Vec::new()), (0, 3), "it was carried out before");
    }
}
