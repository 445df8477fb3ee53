//! How often a run reads the stores: its owners ask each for itself, and share what was read.

#![allow(clippy::unwrap_used, reason = "all of this file is tests")]

mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use selfsame_agent::clock::Clock;
use selfsame_agent::exchange::report::PassReport;
use selfsame_agent::local::Starter;
use selfsame_agent::membership::Membership;
use selfsame_agent::metrics::{Metrics, MetricsParts};
use selfsame_agent::owner::{CarriedOut, Connections, Owner};
use selfsame_agent::peer::Peer;
use selfsame_agent::settings::{CollectionSettings, RepairMode};
use selfsame_agent::supervisor::Supervisor;
use selfsame_core::{AgentName, ShardId, ShardVerdict, Slot, WallMicros, owner};
use selfsame_journal::PlanItem;
use selfsame_store::Call;
use selfsame_wire::message::StartRequest;
use tokio::sync::oneshot;
use uuid::Uuid;
use world::{NOW, World, collection_settings, filled, filled_with, nodes, row};

const SHARDS: u32 = 4;

/// An owner for each agent of the world.
fn owners(world: &World) -> Vec<Arc<Owner>> {
    let peers: BTreeMap<AgentName, Arc<dyn Peer>> =
        world.peers().into_iter().map(|peer| (peer.name().clone(), peer)).collect();
    let names: Vec<AgentName> = peers.keys().cloned().collect();
    let owned: BTreeSet<_> =
        (0..SHARDS).map(|shard| owner(&names, &world.fleet.collections[0].name, ShardId(shard))).collect();
    assert!(owned.len() > 1, "one owner has all shards: nothing is shared");
    let clock: Arc<dyn Clock> = world.clock.clone();
    let owner = |(at, name): (usize, AgentName)| {
        let tasks = Supervisor::default();
        let hello = world.fleet.hello(&name, &nodes()[at..=at]);
        let membership = Membership::watch(name.clone(), &peers, hello.clone(), clock.clone(), &tasks);
        let metrics = Metrics::new(MetricsParts {
            fleet: world.fleet.clone(),
            name: name.clone(),
            replicas: vec![world.replicas[at].clone()],
            stores: Vec::new(),
            peers: peers.clone(),
            membership: membership.clone(),
            journal: world.journals[at].clone(),
            clock: clock.clone(),
        });
        let owner = Owner::new(world.fleet.clone(), name, clock.clone(), tasks);
        let journal = world.journals[at].clone();
        owner.connect(Connections { peers: peers.clone(), hello, journal, membership, metrics });
        owner
    };
    names.into_iter().enumerate().map(owner).collect()
}

/// A run of which one owner hears after the other, while the first is at work; gives how often each replica was read
/// to its end.
async fn run(world: &World, owners: &[Arc<Owner>], id: Uuid) -> Vec<u64> {
    let scans = || world.replicas.iter().map(|replica| replica.completed_scans().shards / u64::from(SHARDS));
    let before: Vec<u64> = scans().collect();
    let request = StartRequest {
        collection: world.fleet.collections[0].name.clone(),
        slot: Slot::AdHoc(id),
        shard: None,
        scan: true,
        dry_run: false,
    };
    for owner in owners {
        *world.clock.0.lock() += 1_000_000;
        owner.start(request.clone()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let mut done = BTreeSet::new();
    while done.len() < SHARDS as usize {
        for owner in owners {
            let share = owner.start(request.clone()).await.unwrap();
            done.extend(share.shards.iter().map(|shard| shard.shard).filter(|_| !share.running));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    scans().zip(before).map(|(after, before)| after - before).collect()
}

/// An id that says that it was made so many milliseconds after 1970.
fn made_at(millis: u64) -> Uuid {
    uuid::Builder::from_unix_timestamp_millis(millis, &[7; 10]).into_uuid()
}

#[tokio::test(start_paused = true)]
async fn one_scan_of_a_replica_does_for_all_owners_of_a_run_and_none_for_two_runs() {
    let world = filled(40);
    let owners = owners(&world);
    // Runs that the agents' clocks take for present, long past and far ahead.
    let now = NOW.cast_unsigned() / 1_000;
    for millis in [now, now + 1, 0, 2 * now, (1 << 48) - 1, now + 2] {
        assert_eq!(run(&world, &owners, made_at(millis)).await, [1, 1, 1], "made at {millis} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_whose_id_tells_no_time_is_scanned_for_too() {
    let world = filled(40);
    let owners = owners(&world);
    for number in 1..=2 {
        let id = uuid::Builder::from_random_bytes([number; 16]).into_uuid();
        let scans = run(&world, &owners, id).await;
        assert!(scans.iter().all(|scans| (1..=3).contains(scans)), "{scans:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_scan_that_never_ends_stops_no_pass_and_one_that_is_slow_is_waited_for() {
    let world = filled(40);
    world.pass().await;
    let first = *world.clock.0.lock();
    world.meanwhile(2, Call::Scan, tokio::time::sleep(Duration::from_secs(1_200)));
    world.stores[0].put(row(1_000, 200, "{}"));
    let report = world.pass().await;
    assert!(
        matches!(report.verdict(), ShardVerdict::InSync { as_of } if as_of > WallMicros(first)),
        "{report:?}"
    );
    let second = *world.clock.0.lock();

    world.meanwhile(2, Call::Scan, std::future::pending());
    world.stores[0].put(row(1_001, 200, "{}"));
    let report = tokio::time::timeout(Duration::from_secs(2 * 3_600), world.pass()).await;
    let report = report.expect("a pass ends, whatever one replica does");
    assert_eq!(report.counts().repaired, 2, "those that were scanned tell of it");
    let as_of = |report: &PassReport| match report.verdict() {
        ShardVerdict::InSync { as_of } => as_of,
        verdict => panic!("{verdict:?}"),
    };
    assert!(as_of(&report) <= WallMicros(second), "and the verdict rests on the replica's older scan");
}

#[tokio::test(start_paused = true)]
async fn an_approval_is_carried_to_its_end_and_is_not_told_to_be_settled_if_nobody_knows() {
    let world = filled_with(40, CollectionSettings { repair: RepairMode::Approve, ..collection_settings() });
    let owners = owners(&world);
    world.pass().await;
    (0..2).for_each(|store| world.stores[store].put(row(1, 200, "{}")));
    run(&world, &owners, made_at(NOW.cast_unsigned() / 1_000)).await;
    let planned = |at: &usize| !world.journals[*at].plans().unwrap().is_empty();
    let at = (0..3).find(planned).unwrap();
    let (journal, owner) = (&world.journals[at], &owners[at]);
    let plan = journal.plans().unwrap().remove(0).plan;
    let items = journal.plan_items(&plan.id, None, 10, None).unwrap().rows;
    let items: Vec<PlanItem> = items.into_iter().map(|row| row.item).collect();

    // Who approved it leaves while it is written.
    let (tell, told) = oneshot::channel::<()>();
    world.interrupt(2, Call::Apply, move || drop(tell));
    tokio::select! {
        biased;
        _ = told => {}
        out = owner.carry_out(&plan.id) => panic!("{out:?}"),
    }
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(!planned(&at), "it was not carried to its end");
    assert!(world.all_the_same());

    // As if the agent had ended between the shard's completion and its own record of it.
    journal.put_plan(&plan, &items).unwrap();
    let out = owner.carry_out(&plan.id).await.unwrap();
    assert_eq!(out, CarriedOut { planned: 1, refused: 1, ..CarriedOut::default() });
    assert!(!planned(&at), "the next pass finds what still differs");
}
