//! Deletions over three agents: what comes back, what does not, and what a person must decide.

#![allow(clippy::unwrap_used, reason = "all of this file is tests")]

mod world;

use std::time::Duration;

use selfsame_agent::exchange::Mandate;
use selfsame_agent::exchange::report::{Outcome, PassReport};
use selfsame_agent::settings::{BrakeSettings, CollectionSettings};
use selfsame_core::{
    Cause, HoldReason, Key, ObservedDeletes, Row, ShardVerdict, TimeField, Unit, UnknownReason, Version,
    WallMicros,
};
use selfsame_store::{Call, Fault};
use world::faulty::{PeerFault, with_fault};
use world::{NOW, World, collection_settings, expiring_row, in_sync, items, row};

fn key() -> Key {
    Key::integer(7)
}

fn with_feed() -> CollectionSettings {
    CollectionSettings { feed: true, ..collection_settings() }
}

/// Where the key is.
fn held_by(world: &World) -> Vec<usize> {
    (0..3).filter(|at| world.stores[*at].row(&key()).is_some()).collect()
}

fn silence(world: &World, store: usize) {
    for call in [Call::Identity, Call::Scan, Call::Read, Call::Count, Call::Changes] {
        (0..200).for_each(|_| world.faults[store].push(call, Some(Fault::Unavailable)));
    }
}

fn outcomes(report: &PassReport) -> Vec<(String, Outcome, Cause)> {
    let item = |item: &&selfsame_agent::exchange::report::Item| {
        (item.node.to_string(), item.outcome.clone(), item.cause)
    };
    items(report).iter().map(item).collect()
}

#[tokio::test(start_paused = true)]
async fn a_row_that_one_replica_lost_is_restored_by_the_majority() {
    let world = in_sync(collection_settings()).await;
    world.stores[2].delete(&key());
    let report = world.pass().await;
    assert_eq!(outcomes(&report), [("node-c".into(), Outcome::Repaired, Cause::Unknown)]);
    assert_eq!(held_by(&world), [0, 1, 2]);
    assert_eq!(items(&world.pass().await).len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_deletion_that_reached_the_majority_is_finished() {
    let world = in_sync(collection_settings()).await;
    world.stores[1].delete(&key());
    world.stores[2].delete(&key());
    let report = world.pass().await;
    assert_eq!(outcomes(&report), [("node-a".into(), Outcome::Repaired, Cause::MissedDelete)]);
    assert_eq!(held_by(&world), [0_usize; 0]);
    assert!(matches!(world.pass().await.verdict(), ShardVerdict::InSync { .. }));
}

#[tokio::test(start_paused = true)]
async fn without_a_majority_an_observed_deletion_is_held() {
    let world = in_sync(collection_settings()).await;
    world.stores[2].delete(&key());
    silence(&world, 1);
    // Whatever pass it is: the first lets the index forget what the ledger remembers.
    for _ in 0..2 {
        let report = world.pass().await;
        let held = Outcome::Held(HoldReason::ObservedDelete);
        assert!(outcomes(&report).into_iter().any(|(_, outcome, _)| outcome == held), "{report:?}");
        assert_eq!(held_by(&world), [0, 1]);
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_repair_restored_is_nobodys_vote() {
    // One replica lost the key and got it back from the majority; then another loses it: the first one's row is a
    // repair's, so that one holder is left against one that lost it.
    let world = in_sync(collection_settings()).await;
    world.stores[2].delete(&key());
    world.pass().await;
    assert_eq!(held_by(&world), [0, 1, 2]);
    world.stores[1].delete(&key());
    let report = world.pass().await;
    let held = outcomes(&report)
        .into_iter()
        .all(|(_, outcome, _)| outcome == Outcome::Held(HoldReason::ObservedDelete));
    assert!(held && !items(&report).is_empty(), "{report:?}");
    assert_eq!(held_by(&world), [0, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_clients_delete_in_the_feed_is_certain_and_needs_no_majority() {
    let world = in_sync(with_feed()).await;
    world.stores[1].delete(&key());
    let report = world.pass().await;
    let deleted = |node: &str| (node.to_owned(), Outcome::Repaired, Cause::MissedDelete);
    assert_eq!(outcomes(&report), [deleted("node-a"), deleted("node-c")]);
    assert_eq!(held_by(&world), [0_usize; 0]);
    // Our own deletes are no evidence, and nobody who has it in store brings it back.
    assert!(matches!(world.pass().await.verdict(), ShardVerdict::InSync { .. }));
    world.stores[2].put(row(7, 100, "{\"name\":\"7\"}"));
    world.pass().await;
    assert_eq!(held_by(&world), [0_usize; 0]);
}

#[tokio::test(start_paused = true)]
async fn the_feed_tells_of_a_version_that_no_scan_has_seen() {
    let world = in_sync(with_feed()).await;
    world.write_all(&row(7, 200, "{\"name\":\"newer\"}"));
    world.stores[0].delete(&key());
    let report = world.pass().await;
    let deleted = |node: &str| (node.to_owned(), Outcome::Repaired, Cause::MissedDelete);
    assert_eq!(outcomes(&report), [deleted("node-b"), deleted("node-c")]);
    assert_eq!(held_by(&world), [0_usize; 0]);
}

#[tokio::test(start_paused = true)]
async fn certain_memory_is_joined_and_outlives_the_replica_that_saw_it() {
    let world = in_sync(with_feed()).await;
    // The deletion reached one replica while another was away.
    world.stores[1].delete(&key());
    silence(&world, 2);
    world.pass().await;
    assert_eq!(held_by(&world), [2]);
    // Now the one that saw it is away.
    let deleted = *world.clock.0.lock();
    *world.clock.0.lock() += 3_600_000_000;
    world.faults[2].clear();
    silence(&world, 1);
    let report = world.pass().await;
    assert_eq!(held_by(&world), [0_usize; 0]);
    let age = items(&report)[0].age.unwrap();
    assert_eq!(age.since, WallMicros(deleted), "since it was deleted, not since it was found");
    assert!(age.micros_when_found() >= 3_600_000_000, "{age:?}");
}

#[tokio::test(start_paused = true)]
async fn what_is_remembered_does_not_lie_with_the_index() {
    // Not by the feed, which would tell of it again.
    let mut world = in_sync(collection_settings()).await;
    world.stores[1].delete(&key());
    world.replicas[1].notice(vec![(key(), Version(100))]).await.unwrap();
    world.pass().await;
    assert_eq!(held_by(&world), [0_usize; 0]);
    let indexes: Vec<_> = world.fleet.agents.iter().map(|agent| agent.data.join("index")).collect();
    world.restart_all_after(|| indexes.iter().for_each(|index| std::fs::remove_dir_all(index).unwrap()));
    // An old copy of it comes late.
    world.stores[2].put(row(7, 100, "{\"name\":\"7\"}"));
    for _ in 0..2 {
        world.pass().await;
    }
    assert_eq!(held_by(&world), [0_usize; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_newer_insert_ends_the_memory_everywhere() {
    let world = in_sync(with_feed()).await;
    world.stores[1].delete(&key());
    world.pass().await;
    world.stores[0].put(row(7, 200, "{}"));
    let report = world.pass().await;
    assert_eq!(outcomes(&report).len(), 2, "{report:?}");
    assert_eq!(held_by(&world), [0, 1, 2]);
    assert!(matches!(world.pass().await.verdict(), ShardVerdict::InSync { .. }));
}

#[tokio::test(start_paused = true)]
async fn the_same_version_inserted_again_is_held() {
    let world = in_sync(with_feed()).await;
    world.stores[1].delete(&key());
    world.stores[1].put(row(7, 100, "{\"name\":\"7\"}"));
    // All have it again: nothing to decide, whatever is remembered.
    assert!(matches!(world.pass().await.verdict(), ShardVerdict::InSync { .. }));
    world.stores[2].delete(&key());
    world.stores[2].put(row(7, 100, "{\"name\":\"7\"}"));
    world.stores[0].delete(&key());
    let report = world.pass().await;
    assert!(
        items(&report).iter().all(|item| item.outcome == Outcome::Held(HoldReason::Recreated)),
        "{report:?}"
    );
    assert_eq!(held_by(&world), [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_row_that_was_read_just_before_its_deletion_has_not_come_back() {
    let world = in_sync(with_feed()).await;
    // The confirm reads the row; then the client deletes it; then the feed tells of that.
    let (store, gone) = (world.stores[1].clone(), key());
    world.stores[0].put(row(7, 100, "{\"name\":\"flipped\"}"));
    // The scan reads the feed twice: at its start, and at its end.
    (0..2).for_each(|_| world.faults[1].push(Call::Changes, None));
    world.interrupt(1, Call::Changes, move || assert!(store.delete(&gone)));
    for _ in 0..3 {
        world.pass().await;
    }
    assert_eq!(held_by(&world), [0_usize; 0], "deleted, and not held as one that came back");
}

fn with_marks() -> CollectionSettings {
    let mut collection = collection_settings();
    for replica in &mut collection.replicas {
        let mark = TimeField { field: "deleted".into(), unit: Unit::Micros };
        replica.mapping.deletion = Some(mark);
    }
    collection
}

fn marked(id: i64, version: i64, deleted: Option<i64>) -> Row {
    let body =
        format!("{{\"name\":\"{id}\",\"deleted\":{}}}", deleted.map_or("null".into(), |at| at.to_string()));
    row(id, version, &body)
}

#[tokio::test(start_paused = true)]
async fn a_mark_travels_and_what_was_swept_does_not_come_back() {
    let world = in_sync(with_marks()).await;
    world.stores[0].put(marked(7, 200, Some(NOW)));
    let report = world.pass().await;
    assert_eq!(items(&report).len(), 2, "{report:?}");
    for store in &world.stores {
        assert_eq!(store.row(&key()), Some(marked(7, 200, Some(NOW))));
    }
    // The application sweeps marked rows, and one replica has an older state back.
    world.stores.iter().for_each(|store| assert!(store.delete(&key())));
    world.pass().await;
    world.stores[1].put(marked(7, 100, None));
    world.pass().await;
    assert_eq!(held_by(&world), [0_usize; 0]);
}

#[tokio::test(start_paused = true)]
async fn an_expired_document_is_deleted_and_an_older_straggler_does_not_come_back() {
    let world = World::with(collection_settings());
    world.write_all(&expiring_row(7, 100, Some(NOW + 10), "{}"));
    world.pass().await;
    *world.clock.0.lock() = NOW + 60_000_000;
    // A sweep of the application took it on one replica; the others still have it.
    world.stores[0].delete(&key());
    world.pass().await;
    assert_eq!(held_by(&world), [0_usize; 0]);
    // An older state, which never expires, comes late.
    world.stores[2].put(row(7, 50, "{}"));
    world.pass().await;
    assert_eq!(held_by(&world), [0_usize; 0]);
    // A newer one is alive.
    world.stores[2].put(row(7, 300, "{}"));
    world.pass().await;
    assert_eq!(held_by(&world), [0, 1, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_renewed_expiry_is_kept() {
    let world = World::with(collection_settings());
    world.write_all(&expiring_row(7, 100, Some(NOW + 10), "{}"));
    world.pass().await;
    // Renewed on one replica alone; swept on another.
    world.stores[1].put(expiring_row(7, 200, Some(NOW + 3_600_000_000), "{}"));
    *world.clock.0.lock() = NOW + 60_000_000;
    world.stores[0].delete(&key());
    world.pass().await;
    assert_eq!(held_by(&world), [0, 1, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_ledger_that_cannot_be_told_keeps_the_row() {
    // What the deletion of an expired document rests on must be remembered by all that are heard: one store answers
    // reads, and its agent's journal does not.
    let world = World::with(collection_settings());
    world.write_all(&expiring_row(7, 100, Some(NOW + 10), "{}"));
    world.pass().await;
    *world.clock.0.lock() = NOW + 60_000_000;
    world.stores[0].put(row(8, 300, "{}"));
    world.stores[0].put(expiring_row(7, 101, Some(NOW + 10), "{}"));
    let peers = with_fault(&world, &[1], PeerFault::Ledger);
    let slot = world.next_slot();
    let report = world.pass_by(0, slot, Mandate::Automatic, peers).await;
    assert_eq!(held_by(&world), [0, 1, 2], "{report:?}");
    world.pass().await;
    assert_eq!(held_by(&world), [0_usize; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_policy_decides_where_no_majority_does_if_all_are_heard() {
    for (policy, left) in [(ObservedDeletes::Delete, vec![]), (ObservedDeletes::Restore, vec![0, 1, 2])] {
        let mut collection = collection_settings();
        collection.policy.observed_deletes = policy;
        let world = in_sync(collection).await;
        // Lost, restored by a repair, and lost by another: one against one, the third is nobody's vote.
        world.stores[2].delete(&key());
        world.pass().await;
        world.stores[1].delete(&key());
        silence(&world, 0);
        world.pass().await;
        assert_eq!(held_by(&world), [0, 2], "not all were heard");
        world.faults[0].clear();
        world.pass().await;
        assert_eq!(held_by(&world), left, "{policy:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_table_that_most_replicas_lost_is_not_deleted_from_the_last() {
    let world = in_sync(collection_settings()).await;
    for store in &world.stores[1..] {
        (0..60).for_each(|id| assert!(store.delete(&Key::integer(id))));
    }
    for _ in 0..2 {
        let report = world.pass().await;
        assert_eq!(report.verdict(), ShardVerdict::Unknown(UnknownReason::Held));
        assert!(items(&report).is_empty(), "nothing that they lack is taken for deleted: {report:?}");
        assert_eq!(world.stores[0].rows().len(), 60);
    }
}

/// A client's delete reaches the target first, where nothing is yet; then the copy comes; then the delete reaches the
/// sources.
async fn deleted_while_it_is_copied(settle: Duration) {
    let world = in_sync(CollectionSettings { settle, ..collection_settings() }).await;
    world.stores[0].put(row(1_000, 200, "{}"));
    world.stores[1].put(row(1_000, 200, "{}"));
    let key = Key::integer(1_000);
    let (sources, gone) = ([world.stores[0].clone(), world.stores[1].clone()], key.clone());
    let target = world.stores[2].clone();
    let client = tokio::spawn(async move {
        while target.row(&gone).is_none() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        // The repair has been read back by now.
        tokio::time::sleep(settle / 4).await;
        sources.iter().for_each(|store| assert!(store.delete(&gone)));
    });
    world.pass().await;
    client.await.unwrap();
    assert!(world.stores.iter().all(|store| store.row(&key).is_none()), "it came back");
}

#[tokio::test(start_paused = true)]
async fn a_document_that_is_deleted_while_it_is_copied_does_not_stay() {
    deleted_while_it_is_copied(Duration::from_secs(2)).await;
    // Longer than a confirm is good for.
    deleted_while_it_is_copied(Duration::from_secs(60)).await;
}

#[tokio::test(start_paused = true)]
async fn a_deletion_whose_turn_comes_late_is_not_made_if_its_witness_is_held_by_then() {
    let brakes = BrakeSettings { vanished_share_max: 1.0, repair_share_max: 1.0, deletes_max: 1_000 };
    let world = in_sync(CollectionSettings { brakes, ..collection_settings() }).await;
    // Two lost the key, so that the third is to lose it too; and another key of its shard is missing on the first.
    let other = (1_000..).find(|id| world.shard_of(*id) == world.shard_of(7)).unwrap();
    world.stores[1..].iter().for_each(|store| store.put(row(other, 200, "{}")));
    world.stores[..2].iter().for_each(|store| assert!(store.delete(&key())));
    let (witness, older) = (world.stores[1].clone(), world.stores[1].backup());
    world.meanwhile(0, Call::Apply, async move {
        witness.restore(&older);
        tokio::time::sleep(Duration::from_secs(60)).await;
    });
    let report = world.pass().await;
    assert!(world.replicas[1].held().is_some(), "nothing was held: the test shows nothing");
    assert_eq!(held_by(&world), [2], "{report:?}");
    let left = items(&report).into_iter().find(|item| item.key == key()).unwrap();
    assert_eq!((left.node.as_str(), &left.outcome), ("node-c", &Outcome::Moving));
}
