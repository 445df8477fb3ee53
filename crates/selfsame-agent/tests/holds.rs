//! Replicas that are held: how they come to be, that they prove nothing meanwhile, and how it ends.

#![allow(clippy::unwrap_used, reason = "all of this file is tests")]

mod world;

use std::collections::BTreeSet;
use std::sync::mpsc;
use std::time::Duration;

use selfsame_agent::exchange::report::{Action, PassReport};
use selfsame_agent::exchange::{Approval, Mandate, Resync};
use selfsame_agent::local::LocalAgent;
use selfsame_agent::peer::Peer as _;
use selfsame_agent::settings::CollectionSettings;
use selfsame_core::{Key, ReplicaIndex, ShardVerdict, TimeField, Unit, UnknownReason, WallMicros};
use selfsame_journal::HoldCause;
use selfsame_store::{Call, Fault, MemoryBackup, MemoryStore, Store as _};
use selfsame_wire::message::{ScanRequest, ScanState};
use world::{World, collection_settings, expiring_row, in_sync, items, row};

const DAY: i64 = 24 * 60 * 60 * 1_000_000;

fn cause(world: &World, at: usize) -> Option<HoldCause> {
    world.replicas[at].held().map(|hold| hold.cause)
}

fn lose(store: &MemoryStore, ids: std::ops::Range<i64>) {
    ids.for_each(|id| assert!(store.delete(&Key::integer(id)), "{id}"));
}

fn rows(world: &World) -> Vec<usize> {
    world.stores.iter().map(|store| store.rows().len()).collect()
}

/// Every shard is unknown because of a held replica, and nothing was done.
fn assert_held(report: &PassReport) {
    for shard in &report.shards {
        assert_eq!(shard.verdict, ShardVerdict::Unknown(UnknownReason::Held), "{shard:?}");
    }
    assert_eq!(items(report).len(), 0, "{report:?}");
}

fn is_in_sync(report: &PassReport) -> bool {
    matches!(report.verdict(), ShardVerdict::InSync { .. })
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_lost_many_rows_is_held_and_nothing_is_deleted_elsewhere() {
    let world = in_sync(collection_settings()).await;
    lose(&world.stores[2], 0..18);
    for _ in 0..3 {
        assert_held(&world.pass().await);
    }
    assert_eq!(rows(&world), [60, 60, 42]);
    assert_eq!(cause(&world, 2), Some(HoldCause::Vanished));
    assert_eq!((cause(&world, 0), cause(&world, 1)), (None, None));
    let held = world.replicas[2].held().unwrap();
    assert_eq!(held.detail, "18 of the replica's 60 keys vanished within a day");
}

#[tokio::test(start_paused = true)]
async fn rows_that_two_replicas_lost_are_not_deleted_from_the_third() {
    let world = in_sync(collection_settings()).await;
    lose(&world.stores[1], 0..18);
    lose(&world.stores[2], 0..18);
    for _ in 0..2 {
        assert_held(&world.pass().await);
    }
    assert_eq!(rows(&world), [60, 42, 42]);
}

#[tokio::test(start_paused = true)]
async fn few_rows_that_vanish_hold_nobody() {
    let world = in_sync(collection_settings()).await;
    lose(&world.stores[2], 0..3);
    world.pass().await;
    assert_eq!(cause(&world, 2), None);
    assert_eq!(rows(&world), [60, 60, 60], "the majority restored them");
    assert!(is_in_sync(&world.pass().await));
}

#[tokio::test(start_paused = true)]
async fn vanishes_add_up_over_scans_within_a_day_and_not_beyond() {
    for (pause, held) in [(DAY / 2, Some(HoldCause::Vanished)), (DAY + 1, None)] {
        let world = in_sync(collection_settings()).await;
        lose(&world.stores[2], 0..6);
        world.pass().await;
        assert_eq!(cause(&world, 2), None);
        *world.clock.0.lock() += pause;
        lose(&world.stores[2], 10..16);
        world.pass().await;
        assert_eq!(cause(&world, 2), held, "{pause}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_scan_whose_end_fails_counts_what_vanished_once() {
    let mut world = in_sync(collection_settings()).await;
    lose(&world.stores[2], 0..6);
    // What it did not meet is read, and counted; then it is concluded from another read, which fails.
    world.faults[2].push(Call::Read, None);
    world.faults[2].push(Call::Read, Some(Fault::Unavailable));
    world.pass().await;
    assert_eq!(
        world.replicas[2].completed_scans().shards,
        4,
        "the first pass's alone, else nothing is tested"
    );
    world.restart_all();
    world.pass().await;
    assert_eq!((cause(&world, 2), rows(&world)), (None, vec![60, 60, 60]));
}

#[tokio::test(start_paused = true)]
async fn what_a_confirm_saw_vanish_counts_with_what_scans_saw() {
    let world = in_sync(collection_settings()).await;
    lose(&world.stores[2], 0..6);
    world.pass().await;
    // These differ before the pass, and vanish between the scan and the confirm's reads.
    for id in 20..30 {
        world.stores[0].put(row(id, 200, "{}"));
    }
    let store = world.stores[2].clone();
    world.interrupt(2, Call::Read, move || lose(&store, 20..30));
    let report = world.pass().await;
    assert_eq!(cause(&world, 2), Some(HoldCause::Vanished));
    assert_eq!(rows(&world), [60, 60, 50], "nothing came back to the held one: {report:?}");
}

#[tokio::test(start_paused = true)]
async fn an_emptied_replica_is_held() {
    let world = in_sync(collection_settings()).await;
    lose(&world.stores[2], 0..60);
    assert_held(&world.pass().await);
    assert_eq!(cause(&world, 2), Some(HoldCause::Emptied));
    assert_eq!(rows(&world), [60, 60, 0]);
}

#[tokio::test(start_paused = true)]
async fn an_ordinary_bulk_deletion_frees_itself() {
    let world = in_sync(collection_settings()).await;
    lose(&world.stores[2], 0..18);
    assert_held(&world.pass().await);
    lose(&world.stores[0], 0..18);
    lose(&world.stores[1], 0..18);
    // This scan finds the others' losses, and holds them too.
    assert_held(&world.pass().await);
    assert_eq!(cause(&world, 0), Some(HoldCause::Vanished));
    // This one began after all holds, and finds everybody equal.
    assert_held(&world.pass().await);
    assert_eq!((cause(&world, 0), cause(&world, 1), cause(&world, 2)), (None, None, None));
    assert!(is_in_sync(&world.pass().await));
    assert_eq!(rows(&world), [42, 42, 42]);
    // The day's count began anew with the end of the hold.
    lose(&world.stores[2], 20..21);
    world.pass().await;
    assert_eq!(cause(&world, 2), None);
}

#[tokio::test(start_paused = true)]
async fn what_vanishes_after_the_roots_were_given_is_not_taken_for_equal() {
    let world = in_sync(collection_settings()).await;
    lose(&world.stores[2], 0..18);
    assert_held(&world.pass().await);
    lose(&world.stores[0], 0..18);
    lose(&world.stores[1], 0..18);
    assert_held(&world.pass().await);
    // The next pass finds all equal. Before it says so, while it waits for one replica's roots, another one loses more. Roots
    // are the third that ask which store answers, after a scan's two.
    let (store, agent) = (world.stores[2].clone(), world.agents[2].clone());
    let request = ScanRequest { collection: world.fleet.collections[0].name.clone(), since: WallMicros(7) };
    world.faults[1].push(Call::Identity, None);
    world.faults[1].push(Call::Identity, None);
    world.meanwhile(1, Call::Identity, async move {
        lose(&store, 20..40);
        scanned(&agent, request).await;
    });
    assert_held(&world.pass().await);
    assert_eq!(rows(&world), [42, 42, 22], "else nothing is tested");
    assert_eq!(cause(&world, 2), Some(HoldCause::Vanished));
    for _ in 0..2 {
        assert_held(&world.pass().await);
    }
    assert_eq!(rows(&world), [42, 42, 22]);
}

#[tokio::test(start_paused = true)]
async fn what_expired_or_the_feed_tells_holds_nobody() {
    let world = World::with(CollectionSettings { feed: true, ..collection_settings() });
    for id in 0..60 {
        let expires = (id < 20).then_some(world::NOW + 1_000_000);
        world.write_all(&expiring_row(id, 100, expires, "{}"));
    }
    world.pass().await;
    *world.clock.0.lock() += 60_000_000;
    lose(&world.stores[2], 0..40);
    world.pass().await;
    assert_eq!(cause(&world, 2), None);
    assert_eq!(rows(&world), [20, 20, 20]);
}

#[tokio::test(start_paused = true)]
async fn a_hold_outlives_a_restart() {
    let mut world = in_sync(collection_settings()).await;
    lose(&world.stores[2], 0..18);
    world.pass().await;
    let held = world.replicas[2].held();
    world.restart_all();
    assert_eq!(world.replicas[2].held(), held);
    assert_held(&world.pass().await);
    assert_eq!(rows(&world), [60, 60, 42]);
}

#[tokio::test(start_paused = true)]
async fn a_store_taken_back_to_a_copy_is_held_and_needs_a_person() {
    let mut world = in_sync(collection_settings()).await;
    let copy = world.stores[2].backup();
    for id in 0..3 {
        world.write_all(&row(id, 300, "{\"newer\":true}"));
    }
    world.stores.iter().for_each(|store| assert!(store.delete(&Key::integer(9))));
    assert!(is_in_sync(&world.pass().await));
    world.stores[2].restore(&copy);
    world.restart_all();
    for _ in 0..3 {
        assert_held(&world.pass().await);
    }
    assert_eq!(cause(&world, 2), Some(HoldCause::Restored));
    assert_eq!(rows(&world), [59, 59, 60], "nothing was copied from it, and nothing to it");
    assert!(world.replicas[2].release().await.unwrap().is_some());
    world.pass().await;
    assert!(world.all_the_same(), "{:?}", world.contents());
    assert!(is_in_sync(&world.pass().await));
    assert_eq!(cause(&world, 2), None, "the store as it is now is the one that was left");
}

#[tokio::test(start_paused = true)]
async fn a_store_taken_back_is_recognised_before_the_next_scan() {
    let world = in_sync(collection_settings()).await;
    let copy = world.stores[2].backup();
    world.pass().await;
    // The copy lacks what came later; a pass without a scan, and a key that differs, lead to its reads.
    world.stores[2].restore(&copy);
    world.agents[2].roots(roots_request(&world)).await.unwrap();
    assert_eq!(cause(&world, 2), Some(HoldCause::Restored));
}

fn roots_request(world: &World) -> selfsame_wire::message::RootsRequest {
    let collection = world.fleet.collections[0].name.clone();
    let run = selfsame_core::RunId::of("test", &collection, world.next_slot());
    selfsame_wire::message::RootsRequest { collection, run, epochs: Vec::new() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_counter_that_was_read_before_a_scan_moved_it_on_has_not_gone_back() {
    let world = in_sync(collection_settings()).await;
    let ((asked, is_asked), (go_on, may_go_on)) = (mpsc::channel(), mpsc::channel());
    world.interrupt_answer(2, Call::Identity, move || {
        asked.send(()).unwrap();
        may_go_on.recv().unwrap();
    });
    let (agent, request) = (world.agents[2].clone(), roots_request(&world));
    let roots = tokio::spawn(async move { agent.roots(request).await });
    tokio::task::spawn_blocking(move || is_asked.recv()).await.unwrap().unwrap();
    let before = world.stores[2].identity().await.unwrap().counter;
    scan(&world, 2).await;
    assert!(world.stores[2].identity().await.unwrap().counter > before, "else nothing is tested");
    go_on.send(()).unwrap();
    roots.await.unwrap().unwrap();
    assert_eq!(cause(&world, 2), None);
}

/// Lets one replica be read to its end, in real time.
async fn scan(world: &World, agent: usize) {
    let request = ScanRequest { collection: world.fleet.collections[0].name.clone(), since: WallMicros(7) };
    scanned(&world.agents[agent], request).await;
}

async fn scanned(agent: &LocalAgent, request: ScanRequest) {
    let done = |(_, state): &(_, ScanState)| matches!(state, ScanState::Done { .. });
    while !agent.scan(request.clone()).await.unwrap().iter().all(done) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn many_keys_that_went_back_hold_a_store_whose_counter_did_not() {
    let world = in_sync(collection_settings()).await;
    for id in 0..20 {
        world.stores[2].put(row(id, 50, "{\"older\":true}"));
    }
    assert_held(&world.pass().await);
    assert_eq!(cause(&world, 2), Some(HoldCause::Restored));
    let world = in_sync(collection_settings()).await;
    for id in 0..3 {
        world.stores[2].put(row(id, 50, "{\"older\":true}"));
    }
    world.pass().await;
    assert_eq!(cause(&world, 2), None);
    assert!(is_in_sync(&world.pass().await));
}

#[tokio::test(start_paused = true)]
async fn the_newest_version_alone_tells_nothing() {
    let world = in_sync(collection_settings()).await;
    world.write_all(&row(7, 900, "{}"));
    world.pass().await;
    world.stores[2].put(row(7, 100, "{}"));
    world.pass().await;
    assert_eq!(cause(&world, 2), None);
}

#[tokio::test(start_paused = true)]
async fn another_store_under_the_same_name_is_held() {
    let world = in_sync(collection_settings()).await;
    world.stores[2].replace_identity("another");
    assert_held(&world.pass().await);
    assert_eq!(cause(&world, 2), Some(HoldCause::Restored));
}

#[tokio::test(start_paused = true)]
async fn merged_a_replica_is_given_back_what_it_lost() {
    let world = in_sync(collection_settings()).await;
    lose(&world.stores[2], 0..18);
    world.stores[2].put(row(100, 400, "{\"only\":\"here\"}"));
    assert_held(&world.pass().await);
    let (hold, dropped) = world.replicas[2].release().await.unwrap().unwrap();
    assert_eq!((hold.cause, dropped), (HoldCause::Vanished, 18));
    assert!(world.replicas[2].release().await.unwrap().is_none());
    world.pass().await;
    assert_eq!(rows(&world), [61, 61, 61]);
    assert!(is_in_sync(&world.pass().await));
}

#[tokio::test(start_paused = true)]
async fn merged_a_restored_replica_does_not_bring_back_what_was_certainly_deleted() {
    let world = in_sync(CollectionSettings { feed: true, ..collection_settings() }).await;
    let copy = world.stores[2].backup();
    world.stores.iter().for_each(|store| assert!(store.delete(&Key::integer(9))));
    world.pass().await;
    world.stores[2].restore(&copy);
    assert_held(&world.pass().await);
    assert_eq!(rows(&world), [59, 59, 60]);
    world.replicas[2].release().await.unwrap();
    world.pass().await;
    assert_eq!(rows(&world), [59, 59, 59]);
}

/// A world in which a key was certainly deleted on all replicas, and a copy of one of them from before.
async fn certainly_deleted() -> (World, MemoryBackup) {
    let world = in_sync(CollectionSettings { feed: true, ..collection_settings() }).await;
    let copy = world.stores[2].backup();
    world.stores.iter().for_each(|store| assert!(store.delete(&Key::integer(9))));
    assert!(is_in_sync(&world.pass().await));
    (world, copy)
}

/// Merged, it does not bring back the key that was certainly deleted.
async fn assert_deleted_for_good(world: &World) {
    assert_eq!(cause(world, 2), Some(HoldCause::Restored));
    world.replicas[2].release().await.unwrap();
    world.pass().await;
    assert_eq!(rows(world), [59, 59, 59]);
    assert!(is_in_sync(&world.pass().await));
}

#[tokio::test(start_paused = true)]
async fn rows_of_a_copy_that_takes_the_stores_place_under_a_scan_did_not_come_back() {
    let (world, copy) = certainly_deleted().await;
    let store = world.stores[2].clone();
    world.interrupt(2, Call::Scan, move || store.restore(&copy));
    world.pass().await;
    assert_deleted_for_good(&world).await;
}

#[tokio::test(start_paused = true)]
async fn who_only_looks_at_a_row_of_a_restored_store_does_not_bring_it_back() {
    let (world, copy) = certainly_deleted().await;
    world.stores[2].restore(&copy);
    world.replicas[2].look(vec![Key::integer(9)]).await.unwrap();
    assert_deleted_for_good(&world).await;
}

#[tokio::test(start_paused = true)]
async fn what_a_wrong_store_tells_of_deletions_is_no_proof() {
    let marking = {
        let mut collection = collection_settings();
        for replica in &mut collection.replicas {
            replica.mapping.deletion = Some(TimeField { field: "deleted".into(), unit: Unit::Micros });
        }
        collection
    };
    let feeding = CollectionSettings { feed: true, ..collection_settings() };
    for (collection, under_the_scan) in [(marking, true), (feeding.clone(), true), (feeding, false)] {
        let how = format!("feed: {}, under the scan: {under_the_scan}", collection.feed);
        let world = in_sync(collection).await;
        let (store, right) = (world.stores[2].clone(), world.stores[2].row(&Key::integer(5)).unwrap());
        let becomes_another = move || {
            store.replace_identity("staging");
            store.put(row(5, 100, &format!("{{\"deleted\":{}}}", world::NOW)));
            lose(&store, 6..7);
        };
        if under_the_scan {
            world.interrupt(2, Call::Scan, becomes_another);
        } else {
            becomes_another();
        }
        for _ in 0..2 {
            world.pass().await;
            assert_eq!(cause(&world, 2), Some(HoldCause::Restored), "{how}");
        }
        // The right one is there again.
        world.stores[2].replace_identity("c");
        world.stores[2].put(right);
        world.stores[2].put(world.stores[0].row(&Key::integer(6)).unwrap());
        world.replicas[2].release().await.unwrap();
        for id in [5, 6] {
            world.stores[0].put(row(id, 100, "{\"differs\":true}"));
        }
        world.pass().await;
        world.pass().await;
        assert_eq!(rows(&world), [60, 60, 60], "{how}");
    }
}

fn order(approved: Option<Approval>) -> Mandate {
    Mandate::Resync(Resync { replica: ReplicaIndex(2), approved })
}

fn approval(report: &PassReport) -> Approval {
    Approval {
        run: report.run,
        keys: items(report).iter().map(|item| item.key.clone()).collect(),
        repairs: items(report).iter().filter_map(|item| item.repair).collect::<BTreeSet<_>>(),
    }
}

#[tokio::test(start_paused = true)]
async fn emptied_a_replica_takes_the_others_word_and_keeps_what_is_written_meanwhile() {
    let world = in_sync(collection_settings()).await;
    // What only the restored copy has, what it has in an older version, what it lacks, and what is newer there.
    world.stores[2].put(row(100, 400, "{\"only\":\"here\"}"));
    world.stores[2].put(row(101, 400, "{\"only\":\"here\"}"));
    world.stores[2].replace_identity("another");
    world.stores[0].put(row(1, 200, "{}"));
    world.stores[1].put(row(1, 200, "{}"));
    lose(&world.stores[2], 2..3);
    world.stores[2].put(row(3, 500, "{\"newer\":true}"));
    assert_held(&world.pass().await);
    let there_is = world.pass_with(order(None)).await;
    let deletes: Vec<&Key> = items(&there_is)
        .into_iter()
        .filter(|item| item.action == Action::Delete)
        .map(|item| &item.key)
        .collect();
    assert_eq!(deletes.len(), 2, "{there_is:?}");
    assert_eq!(items(&there_is).len(), 4, "{there_is:?}");
    assert_eq!(rows(&world), [60, 60, 61], "nothing is written before somebody agreed");
    // A client writes one of them after the person has looked.
    world.stores[2].put(row(101, 600, "{\"written\":\"meanwhile\"}"));
    let refused = world.pass_with(order(Some(approval(&there_is)))).await;
    assert_eq!(
        rows(&world),
        [60, 60, 61],
        "a held replica takes no write but its own agent's order: {refused:?}"
    );
    let yields = world.replicas[2].yielding();
    world.pass_with(order(Some(approval(&there_is)))).await;
    drop(yields);
    let key = |id| world.stores[2].row(&Key::integer(id));
    assert_eq!(key(100), None);
    assert_eq!(key(101), Some(row(101, 600, "{\"written\":\"meanwhile\"}")));
    assert_eq!((key(1), key(2).is_some()), (world.stores[0].row(&Key::integer(1)), true));
    assert_eq!(key(3), Some(row(3, 500, "{\"newer\":true}")), "nothing newer is overwritten");
    world.replicas[2].release().await.unwrap();
    world.pass().await;
    assert!(world.all_the_same(), "{:?}", world.contents());
    assert_eq!(rows(&world), [61, 61, 61]);
}

#[tokio::test(start_paused = true)]
async fn nobody_takes_the_word_of_a_minority() {
    let world = in_sync(collection_settings()).await;
    world.stores[2].put(row(100, 400, "{}"));
    world.stores[2].replace_identity("another");
    lose(&world.stores[1], 0..18);
    world.pass().await;
    assert_eq!((cause(&world, 1), cause(&world, 2)), (Some(HoldCause::Vanished), Some(HoldCause::Restored)));
    let there_is = world.pass_with(order(None)).await;
    assert!(items(&there_is).iter().all(|item| item.action != Action::Delete), "{there_is:?}");
}
