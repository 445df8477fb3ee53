//! A pass in which one replica takes the others' word: what there is to do, or what a person ordered of it.

use std::collections::{BTreeMap, BTreeSet};

use parking_lot::Mutex;
use selfsame_core::{NodeName, ReplicaIndex, RunId, ShardId, Slot, UnknownReason, WallMicros};
use selfsame_wire::message::{ScanState, StartRequest};
use tokio::time::Instant;
use uuid::Uuid;

use super::{APPROVED_CLAIM_WITHIN, CLAIM_AGAIN_AFTER, Owner};
use crate::blocking::blocking;
use crate::exchange::report::{Item, PassReport, ShardReport};
use crate::exchange::{Approval, Mandate, Resync};
use crate::pass::PassRequest;
use crate::peer::PeerError;
use crate::progress::{Progress, Step};
use crate::settings::{CollectionSettings, RepairMode};

/// A pass in which a replica took the others' word, or was told what that is.
pub(crate) struct Compared {
    /// What came out.
    pub(crate) report: PassReport,
    /// Why the others' word on all of it is not known; `None` if it is.
    pub(crate) doubt: Option<String>,
}

/// How each replica's scan stands.
#[derive(Default)]
struct Scans(Mutex<BTreeMap<NodeName, ScanState>>);

impl Progress for Scans {
    fn step(&self, step: Step) {
        if let Step::Scan { node, state } = step {
            self.0.lock().insert(node, state);
        }
    }
}

impl Scans {
    fn is_done(&self, node: &NodeName) -> bool {
        matches!(self.0.lock().get(node), Some(ScanState::Done { .. }))
    }
}

impl Owner {
    /// Scans and compares all shards of a collection in favour of all replicas but this one. Without an approval
    /// nothing is written, and the report says what would be; with one, what it says is, and nothing else. Shards
    /// that nobody granted have no epoch in the report.
    pub(crate) async fn resync(
        &self,
        collection: &CollectionSettings,
        node: &NodeName,
        approved: Option<Approval>,
    ) -> Result<Compared, PeerError> {
        let connections = self.connections()?;
        let at = collection.replicas.iter().position(|replica| replica.node == *node);
        let replica = ReplicaIndex(at.ok_or(PeerError::Unknown(UnknownReason::Config))?);
        if approved.is_some() {
            if collection.repair == RepairMode::Off {
                return Err(PeerError::Refused("repair is off for this collection".to_owned()));
            }
            let (journal, name, now) =
                (connections.journal.clone(), collection.name.clone(), self.clock.now());
            if !matches!(blocking(move || journal.paused(&name, now)).await, Ok(None)) {
                return Err(PeerError::Refused("repairs are paused; hint: selfsame resume".to_owned()));
            }
        }
        let turn = self.turns.lock().entry(collection.name.clone()).or_default().clone();
        let _turn = turn.lock().await;
        let slot = Slot::AdHoc(Uuid::now_v7());
        let run = RunId::of(&self.fleet.name, &collection.name, slot);
        let start = StartRequest {
            collection: collection.name.clone(),
            slot,
            shard: None,
            scan: true,
            dry_run: approved.is_none(),
        };
        let shards: Vec<ShardId> =
            collection.replicas.iter().take(1).flat_map(|replica| replica.mapping.shards.ids()).collect();
        let mut request = PassRequest { run, slot, shards, scan_since: Some(self.clock.now()) };
        let tried_until = Instant::now() + APPROVED_CLAIM_WITHIN;
        let scans = Scans::default();
        let mut done: Option<PassReport> = None;
        loop {
            let mandate = Mandate::Resync(Resync { replica, approved: approved.clone() });
            let pass = self.pass(connections, collection, mandate, &scans);
            let report = self.recorded(connections, collection, pass, &request, &start).await;
            connections.metrics.observe_approved(&collection.name, &report);
            let report = match done.take() {
                None => report,
                Some(before) => joined(before, report),
            };
            let unclaimed = report.shards.iter().filter(|shard| shard.epoch.is_none());
            request.shards = unclaimed.map(|shard| shard.shard).collect();
            if request.shards.is_empty() || Instant::now() > tried_until {
                let doubt = doubt(&report, collection, node, |node| scans.is_done(node));
                return Ok(Compared { report, doubt });
            }
            done = Some(report);
            tokio::time::sleep(CLAIM_AGAIN_AFTER).await;
        }
    }
}

/// Why a pass does not tell the others' word on all that a replica holds: it, or all but a minority of the others, was
/// not scanned for the pass, or not heard to its end; or something was met that says nothing either way.
fn doubt(
    report: &PassReport,
    collection: &CollectionSettings,
    node: &NodeName,
    is_scanned: impl Fn(&NodeName) -> bool,
) -> Option<String> {
    if !is_scanned(node) {
        return Some(format!("`{node}` could not be scanned; hint: its agent's log says why"));
    }
    let others = || collection.replicas.iter().map(|replica| &replica.node).filter(|other| *other != node);
    let tell = |shard: &ShardReport| {
        others().filter(|other| !shard.unheard.contains(*other) && is_scanned(other)).count()
    };
    let is_doubtful = |shard: &&ShardReport| {
        let speaks_against = |reason: &UnknownReason| match reason {
            // Who is held is among the unheard, or is the replica itself.
            UnknownReason::Held => false,
            UnknownReason::BadDocument
            | UnknownReason::StaleIndex
            | UnknownReason::Phantom
            | UnknownReason::NoMajority => true,
            _ => shard.unheard.is_empty(),
        };
        let is_told = tell(shard) * 2 > others().count() && !shard.unheard.contains(node);
        !is_told || shard.unknown.iter().any(speaks_against)
    };
    let doubtful: Vec<&ShardReport> = report.shards.iter().filter(is_doubtful).collect();
    let unscanned =
        others().filter(|other| !is_scanned(other)).map(|other| format!("`{other}` was not scanned"));
    let reasons = doubtful.iter().flat_map(|shard| &shard.unknown).map(|reason| reason.as_str().to_owned());
    let why: BTreeSet<String> = unscanned.chain(reasons).collect();
    let why: Vec<String> = why.into_iter().collect();
    (!doubtful.is_empty()).then(|| {
        format!(
            "{} of {} shards could not be compared with more than half of the others ({}); hint: try again, and see \
             selfsame status and the agents' logs",
            doubtful.len(),
            report.shards.len(),
            why.join(", ")
        )
    })
}

/// Two attempts of one pass: of a shard, the later counts.
fn joined(before: PassReport, after: PassReport) -> PassReport {
    let again: BTreeSet<ShardId> = after.shards.iter().map(|shard| shard.shard).collect();
    let kept = before.shards.into_iter().filter(|shard| !again.contains(&shard.shard));
    let mut shards: Vec<ShardReport> = kept.chain(after.shards).collect();
    shards.sort_unstable_by_key(|shard| shard.shard);
    let started: WallMicros = before.started;
    PassReport { run: after.run, started, shards, wire_bytes: before.wire_bytes + after.wire_bytes }
}

/// What a person approves of a pass that told what there is to do: the repairs of this replica.
pub(crate) fn approval_of(report: &PassReport, node: &NodeName) -> Approval {
    let items = || planned(report, node);
    Approval {
        run: report.run,
        keys: items().map(|item| item.key.clone()).collect(),
        repairs: items().filter_map(|item| item.repair).collect(),
    }
}

/// The items of a replica for which there is something to do.
pub(crate) fn planned<'a>(report: &'a PassReport, node: &'a NodeName) -> impl Iterator<Item = &'a Item> {
    let items = report.shards.iter().flat_map(|shard| &shard.items);
    items.filter(move |item| item.node == *node && item.repair.is_some())
}
