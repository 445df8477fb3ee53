//! The sweeper: what has expired on all replicas alike goes, and nothing else.

#![allow(clippy::unwrap_used, reason = "all of this file is tests")]

mod world;

use std::collections::BTreeSet;

use selfsame_agent::exchange::report::{Outcome, PassReport};
use selfsame_agent::peer::Peer;
use selfsame_agent::settings::{BrakeSettings, CollectionSettings, FirstPass};
use selfsame_core::{Cause, Epoch, Key, RepairId, RunId, ShardVerdict};
use selfsame_store::{Call, Fault, Store};
use selfsame_wire::message::{ApplyItem, ApplyOutcome, ApplyRequest, Authority, Claim, ReadRequest};
use world::{NOW, World, collection_settings, expiring_row, items, nodes, row};

/// Documents that expire; thirty others do not.
const EXPIRING: std::ops::Range<i64> = 100..130;
const MINUTE: i64 = 60_000_000;

fn sweeping() -> CollectionSettings {
    // What is swept is bound by no brake of repairs.
    let brakes = BrakeSettings { deletes_max: 2, ..collection_settings().brakes };
    CollectionSettings { sweep_keys_max: Some(1_000), brakes, ..collection_settings() }
}

/// In sync, and then the time at which some of it has expired.
async fn expired(collection: CollectionSettings) -> World {
    let world = World::with(collection);
    (0..30).for_each(|id| world.write_all(&row(id, 100, "{}")));
    EXPIRING.for_each(|id| world.write_all(&expiring_row(id, 100, Some(NOW + MINUTE), "{}")));
    let report = world.pass().await;
    assert!(matches!(report.verdict(), ShardVerdict::InSync { .. }), "{report:?}");
    assert!(items(&report).is_empty(), "nothing has expired yet: {report:?}");
    *world.clock.0.lock() += 2 * MINUTE;
    world
}

/// How many of the expiring documents each store has.
fn left(world: &World) -> [usize; 3] {
    [0, 1, 2]
        .map(|at: usize| EXPIRING.filter(|id| world.stores[at].row(&Key::integer(*id)).is_some()).count())
}

fn is_in_sync(report: &PassReport) -> bool {
    matches!(report.verdict(), ShardVerdict::InSync { .. }) && report.counts().mismatches == 0
}

#[tokio::test(start_paused = true)]
async fn what_has_expired_everywhere_is_deleted_and_was_no_mismatch() {
    let world = expired(sweeping()).await;
    let report = world.pass().await;
    assert_eq!(left(&world), [0; 3]);
    assert!(is_in_sync(&report), "{report:?}");
    let found = items(&report);
    assert_eq!((found.len(), report.counts().repaired), (90, 90));
    assert!(found.iter().all(|item| (item.cause, &item.outcome) == (Cause::Swept, &Outcome::Repaired)));
    assert!(world.stores.iter().all(|store| store.rows().len() == 30), "and nothing else");
    // It was no vanishing, and is no finding of the next pass.
    let again = world.pass().await;
    assert!(is_in_sync(&again) && items(&again).is_empty(), "{again:?}");
    assert!(world.replicas.iter().all(|replica| replica.held().is_none()));
    // A straggler does not come back; what was renewed meanwhile lives.
    world.stores[2].put(row(100, 50, "{}"));
    world.stores[2].put(expiring_row(101, 200, Some(NOW + 60 * MINUTE), "{}"));
    world.pass().await;
    assert_eq!(left(&world), [1; 3]);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_swept_that_nobody_wants_swept_or_that_waits_for_a_person() {
    let off = expired(collection_settings()).await;
    assert!(is_in_sync(&off.pass().await));
    assert_eq!(left(&off), [30; 3], "off by default");

    let plan = World::with(CollectionSettings { first_pass: FirstPass::Plan, ..sweeping() });
    EXPIRING.for_each(|id| plan.write_all(&expiring_row(id, 100, Some(NOW - MINUTE), "{}")));
    plan.pass().await;
    assert_eq!(left(&plan), [30; 3], "in a first pass");

    let dry = expired(sweeping()).await;
    dry.dry_run().await;
    assert_eq!(left(&dry), [30; 3], "in a dry run");
}

#[tokio::test(start_paused = true)]
async fn a_run_sweeps_no_more_of_a_shard_than_it_may() {
    let world = expired(CollectionSettings { sweep_keys_max: Some(2), ..sweeping() }).await;
    let shards: BTreeSet<_> = EXPIRING.map(|id| world.shard_of(id)).collect();
    for passes in 1..=30 {
        world.pass().await;
        let [left, ..] = left(&world);
        assert!(left + 2 * shards.len() * passes >= 30, "{left} after {passes}");
        if left == 0 {
            assert!(passes > 3);
            return;
        }
    }
    panic!("it never ends");
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_is_not_heard_keeps_everybody_from_sweeping() {
    let world = expired(sweeping()).await;
    for call in [Call::Identity, Call::Scan, Call::Read, Call::Count] {
        (0..200).for_each(|_| world.faults[1].push(call, Some(Fault::Unavailable)));
    }
    world.pass().await;
    assert_eq!(left(&world), [30; 3]);
}

#[tokio::test(start_paused = true)]
async fn what_was_swept_though_nobody_heard_of_it_is_not_called_in_sync() {
    let world = expired(sweeping()).await;
    // One of the rows goes, and nobody hears of it; the other replicas do not let theirs go.
    world.faults[0].push(Call::Apply, Some(Fault::LoseAnswer));
    (0..50).for_each(|_| world.faults[0].push(Call::Apply, Some(Fault::Unavailable)));
    for store in 1..3 {
        (0..50).for_each(|_| world.faults[store].push(Call::Apply, Some(Fault::Unavailable)));
    }
    let report = world.pass().await;
    let gone = 30 - left(&world)[0];
    assert!(gone > 0 && left(&world)[1..] == [30; 2], "{:?}", left(&world));
    assert_eq!(report.verdict(), ShardVerdict::Diverged, "{report:?}");
    (0..3).for_each(|store| world.faults[store].clear());
    for _ in 0..2 {
        world.pass().await;
    }
    // They are remembered as gone: they do not come back, and the rest is a difference, for which the brakes hold.
    assert_eq!(left(&world), [0, gone, gone]);
    assert_eq!(world.pass().await.verdict(), ShardVerdict::Diverged);
}

#[tokio::test(start_paused = true)]
async fn what_no_replica_lets_go_is_as_it_was_and_no_finding() {
    let world = expired(sweeping()).await;
    for store in 0..3 {
        (0..50).for_each(|_| world.faults[store].push(Call::Apply, Some(Fault::Unavailable)));
    }
    let report = world.pass().await;
    assert!(is_in_sync(&report) && items(&report).is_empty(), "{report:?}");
    assert_eq!(left(&world), [30; 3]);
}

#[tokio::test(start_paused = true)]
async fn a_document_that_is_renewed_while_it_is_swept_stays_on_all() {
    let world = expired(sweeping()).await;
    let (stores, renewed) = (world.stores.clone(), expiring_row(107, 200, Some(NOW + 60 * MINUTE), "{}"));
    let anew = renewed.clone();
    world.interrupt(0, Call::Apply, move || stores.iter().for_each(|store| store.put(anew.clone())));
    for _ in 0..3 {
        world.pass().await;
    }
    assert_eq!(left(&world), [1; 3]);
    assert!(world.stores.iter().all(|store| store.row(&Key::integer(107)).as_ref() == Some(&renewed)));
}

#[tokio::test(start_paused = true)]
async fn an_agent_lets_nothing_be_swept_that_has_not_expired_by_its_own_clock() {
    let world = expired(sweeping()).await;
    let collection = &world.fleet.collections[0];
    let [node, ..] = nodes();
    // One has expired, one has not, one never does.
    world.write_all(&expiring_row(102, 200, Some(NOW + 60 * MINUTE), "{}"));
    for (id, goes) in [(101, true), (102, false), (7, false)] {
        let key = Key::integer(id);
        let claim = Claim {
            collection: collection.name.clone(),
            shard: world.shard_of(id),
            epoch: Epoch { counter: 1_000_000, agent: "b".parse().unwrap() },
            run: RunId::from_bytes([9; 16]),
        };
        let keys = vec![key.clone()];
        let confirm =
            ReadRequest { claim: claim.clone(), node: node.clone(), keys: keys.clone(), conclude: true };
        world.agents[0].read(confirm).await.unwrap();
        let stored = world.stores[0].read(&keys).await.unwrap();
        let item = ApplyItem {
            repair: RepairId::from_bytes([u8::try_from(id).unwrap(); 16]),
            key: key.clone(),
            expected: stored[0].document().map(|document| document.row_digest),
            row: None,
            cause: Cause::Swept,
        };
        let request =
            ApplyRequest { claim, node: node.clone(), authority: Authority::Automatic, items: vec![item] };
        let outcomes = world.agents[0].apply(request).await.unwrap();
        assert_eq!(outcomes[0] == ApplyOutcome::Applied, goes, "{id}: {outcomes:?}");
        assert_eq!(world.stores[0].row(&key).is_none(), goes);
    }
}

#[tokio::test(start_paused = true)]
async fn what_comes_and_expires_again_and_again_is_swept_each_time() {
    let world = expired(sweeping()).await;
    for version in 1..6 {
        assert!(is_in_sync(&world.pass().await));
        assert_eq!(left(&world), [0; 3], "version {version}");
        let now = *world.clock.0.lock();
        for id in EXPIRING {
            world.write_all(&expiring_row(id, 100 + version, Some(now + MINUTE), "{}"));
        }
        *world.clock.0.lock() += 2 * MINUTE;
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_swept_can_be_put_back_and_is_not_swept_again() {
    let world = expired(sweeping()).await;
    let run = world.pass().await.run;
    for replica in &world.replicas {
        let undone = replica.undo(run, None, false).await;
        assert!(undone.failed.is_none() && undone.items.len() == 30, "{undone:?}");
    }
    assert_eq!(left(&world), [30; 3]);
    assert!(is_in_sync(&world.pass().await));
    assert_eq!(left(&world), [30; 3]);
    // Until a client writes it anew.
    world.write_all(&expiring_row(100, 300, Some(NOW), "{}"));
    world.pass().await;
    assert_eq!(left(&world), [29; 3]);
}
