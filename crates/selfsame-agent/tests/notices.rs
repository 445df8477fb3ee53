//! Notices: what the application says that it deleted is certain where a fresh read finds it gone, and nowhere else.

#![allow(clippy::unwrap_used, reason = "all of this file is tests")]

mod world;

use selfsame_agent::exchange::report::{Outcome, PassReport};
use selfsame_agent::local::Noticed;
use selfsame_agent::peer::PeerError;
use selfsame_core::{Cause, HoldReason, Key, ShardVerdict, UnknownReason, Version};
use selfsame_store::{Call, Fault};
use world::{World, collection_settings, in_sync, items, row};

/// The version of every row that [`in_sync`] makes.
const OLD: i64 = 100;

fn key() -> Key {
    Key::integer(7)
}

fn held_by(world: &World) -> Vec<usize> {
    (0..3).filter(|at| world.stores[*at].row(&key()).is_some()).collect()
}

async fn told(world: &World, replica: usize, version: i64) -> Noticed {
    world.replicas[replica].notice(vec![(key(), Version(version))]).await.unwrap()[0]
}

/// The last replica has seen that the key is gone, and the one before it is silent.
async fn observed_without_a_majority() -> World {
    let world = in_sync(collection_settings()).await;
    world.stores[2].delete(&key());
    for call in [Call::Identity, Call::Scan, Call::Read, Call::Count, Call::Changes] {
        (0..200).for_each(|_| world.faults[1].push(call, Some(Fault::Unavailable)));
    }
    assert!(is_held(&world.pass().await));
    world
}

fn is_held(report: &PassReport) -> bool {
    let items = items(report);
    !items.is_empty() && items.iter().all(|item| item.outcome == Outcome::Held(HoldReason::ObservedDelete))
}

#[tokio::test(start_paused = true)]
async fn a_deletion_that_is_told_needs_no_majority_and_no_feed() {
    let world = in_sync(collection_settings()).await;
    world.stores[1].delete(&key());
    assert_eq!(told(&world, 1, OLD).await, Noticed::Remembered);
    let report = world.pass().await;
    let deleted: Vec<_> =
        items(&report).iter().map(|item| (item.node.as_str(), item.outcome.clone(), item.cause)).collect();
    let repaired = |node| (node, Outcome::Repaired, Cause::MissedDelete);
    assert_eq!(deleted, [repaired("node-a"), repaired("node-c")]);
    assert!(matches!(world.pass().await.verdict(), ShardVerdict::InSync { .. }));
    // It is certain: an old copy does not come back, a newer document lives.
    world.stores[2].put(row(7, OLD, "{}"));
    world.pass().await;
    assert_eq!(held_by(&world), [0_usize; 0]);
    world.stores[2].put(row(7, OLD + 1, "{}"));
    world.pass().await;
    assert_eq!(held_by(&world), [0, 1, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_notice_that_no_read_confirms_is_forgotten() {
    let world = in_sync(collection_settings()).await;
    for replica in 0..3 {
        assert_eq!(told(&world, replica, OLD).await, Noticed::Present);
    }
    // The row is lost later, on one replica: that is no deletion, whatever was said before.
    world.stores[2].delete(&key());
    let report = world.pass().await;
    assert_eq!(items(&report)[0].outcome, Outcome::Repaired);
    assert_eq!(held_by(&world), [0, 1, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_notice_of_an_older_version_proves_nothing_of_a_newer_one() {
    let world = in_sync(collection_settings()).await;
    world.stores[2].delete(&key());
    assert_eq!(told(&world, 2, OLD - 1).await, Noticed::Newer);
    // What the index held is lost, for all that is known, and the majority restores it.
    world.pass().await;
    assert_eq!(held_by(&world), [0, 1, 2]);
    // The same of what only the ledger remembers: it was observed before the notice came.
    let world = observed_without_a_majority().await;
    assert_eq!(told(&world, 2, OLD - 1).await, Noticed::Newer);
    assert!(is_held(&world.pass().await));
}

#[tokio::test(start_paused = true)]
async fn a_notice_that_comes_late_makes_an_observed_deletion_certain() {
    let world = observed_without_a_majority().await;
    assert_eq!(told(&world, 2, OLD).await, Noticed::Remembered);
    world.pass().await;
    assert_eq!(held_by(&world), [1], "deleted from whoever is heard");
}

#[tokio::test(start_paused = true)]
async fn what_a_held_replica_lacks_is_not_taken_for_deleted_though_it_is_told() {
    let world = in_sync(collection_settings()).await;
    (0..60).for_each(|id| assert!(world.stores[2].delete(&Key::integer(id))));
    world.pass().await;
    assert!(world.replicas[2].held().is_some(), "nothing was held: the test shows nothing");
    let answer = world.replicas[2].notice(vec![(key(), Version(OLD))]).await;
    assert!(matches!(answer, Err(PeerError::Unknown(UnknownReason::Held))), "{answer:?}");
}

#[tokio::test(start_paused = true)]
async fn what_is_told_outlives_the_agent_and_its_index_and_is_no_vanishing() {
    let mut world = in_sync(collection_settings()).await;
    // More than may vanish in a day.
    let ids = 0..30;
    for id in ids.clone() {
        world.stores[1].delete(&Key::integer(id));
    }
    let deletions: Vec<_> = ids.clone().map(|id| (Key::integer(id), Version(OLD))).collect();
    // Twice, and one of it twice at once: nothing changes by that.
    let twice = [&deletions[..], &deletions[..1]].concat();
    assert_eq!(world.replicas[1].notice(twice).await.unwrap(), [Noticed::Remembered; 31]);
    world.replicas[1].notice(deletions).await.unwrap();
    world.restart(1);
    for _ in 0..2 {
        world.pass().await;
    }
    assert!(world.replicas.iter().all(|replica| replica.held().is_none()));
    assert!(ids.into_iter().all(|id| (0..3).all(|at| world.stores[at].row(&Key::integer(id)).is_none())));
    assert!(matches!(world.pass().await.verdict(), ShardVerdict::InSync { .. }));
}

#[tokio::test(start_paused = true)]
async fn a_row_that_is_written_while_a_notice_is_checked_stays() {
    let world = in_sync(collection_settings()).await;
    (0..3).for_each(|at| assert!(world.stores[at].delete(&key())));
    // It is read as gone; then a client writes it anew.
    let stores = world.stores.clone();
    let anew = row(7, OLD + 1, "{}");
    world.interrupt_answer(1, Call::Read, move || stores.iter().for_each(|store| store.put(anew.clone())));
    assert_eq!(told(&world, 1, OLD).await, Noticed::Remembered);
    for _ in 0..2 {
        world.pass().await;
    }
    assert_eq!(held_by(&world), [0, 1, 2]);
}
