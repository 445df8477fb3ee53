//! A pass in which one replica takes the others' word: what there is to do, or what a person ordered of it.

use std::collections::BTreeSet;

use selfsame_core::{NodeName, ReplicaIndex, RunId, ShardId, Slot, UnknownReason, WallMicros};
use selfsame_wire::message::StartRequest;
use tokio::time::Instant;
use uuid::Uuid;

use super::{APPROVED_CLAIM_WITHIN, CLAIM_AGAIN_AFTER, Owner};
use crate::blocking::blocking;
use crate::exchange::report::{Item, PassReport, ShardReport};
use crate::exchange::{Approval, Mandate, Resync};
use crate::pass::PassRequest;
use crate::peer::PeerError;
use crate::progress::Silent;
use crate::settings::{CollectionSettings, RepairMode};

impl Owner {
    /// Scans and compares all shards of a collection in favour of all replicas but this one. Without an approval
    /// nothing is written, and the report says what would be; with one, what it says is, and nothing else. Shards
    /// that nobody granted have no epoch in the report.
    pub(crate) async fn resync(
        &self,
        collection: &CollectionSettings,
        node: &NodeName,
        approved: Option<Approval>,
    ) -> Result<PassReport, PeerError> {
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
        let mut done: Option<PassReport> = None;
        loop {
            let mandate = Mandate::Resync(Resync { replica, approved: approved.clone() });
            let pass = self.pass(connections, collection, mandate, &Silent);
            let report = self.recorded(connections, collection, pass, &request, &start).await;
            connections.metrics.observe_approved(&collection.name, &report);
            let report = match done.take() {
                None => report,
                Some(before) => joined(before, report),
            };
            let unclaimed = report.shards.iter().filter(|shard| shard.epoch.is_none());
            request.shards = unclaimed.map(|shard| shard.shard).collect();
            if request.shards.is_empty() || Instant::now() > tried_until {
                return Ok(report);
            }
            done = Some(report);
            tokio::time::sleep(CLAIM_AGAIN_AFTER).await;
        }
    }
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
