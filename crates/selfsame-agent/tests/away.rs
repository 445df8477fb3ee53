//! Replicas that come back after deletions were forgotten: held if the others went on without them, and only then.

#![allow(clippy::unwrap_used, reason = "all of this file is tests")]

mod world;

use std::time::Duration;

use selfsame_agent::exchange::Mandate;
use selfsame_agent::exchange::report::PassReport;
use selfsame_core::{Key, ShardVerdict, UnknownReason};
use selfsame_journal::{HoldCause, Retention};
use selfsame_store::{Call, Fault};
use world::faulty::{Ledgers, listening};
use world::{World, collection_settings, in_sync, items};

const DAY: i64 = 24 * 60 * 60 * 1_000_000;

const ALL: [Call; 5] = [Call::Identity, Call::Scan, Call::Read, Call::Count, Call::Changes];

fn silence(world: &World, store: usize, calls: &[Call]) {
    for call in calls {
        (0..500).for_each(|_| world.faults[store].push(*call, Some(Fault::Unavailable)));
    }
}

fn wait(world: &World, micros: i64) {
    *world.clock.0.lock() += micros;
}

fn key() -> Key {
    Key::integer(7)
}

fn causes(world: &World) -> Vec<Option<HoldCause>> {
    world.replicas.iter().map(|replica| replica.held().map(|hold| hold.cause)).collect()
}

fn is_held(report: &PassReport) -> bool {
    // An index that is too old as well is named first.
    let unknown = |verdict: &ShardVerdict| matches!(verdict, ShardVerdict::Unknown(_));
    let mut shards = report.shards.iter();
    shards.all(|shard| unknown(&shard.verdict) && shard.unknown.contains(&UnknownReason::Held))
        && items(report).is_empty()
}

/// A pass of which these agents do not hear the end.
async fn pass_unheard(world: &World, deaf: &[usize]) -> PassReport {
    let peers = listening(world, deaf, &Ledgers::default());
    world.pass_by(0, world.next_slot(), Mandate::Automatic, peers).await
}

/// A world whose third replica was away for twelve days. Meanwhile a key was deleted, and that is forgotten.
async fn one_away() -> World {
    let world = in_sync(collection_settings()).await;
    silence(&world, 2, &ALL);
    world.stores[0].delete(&key());
    world.stores[1].delete(&key());
    for _ in 0..4 {
        wait(&world, 3 * DAY);
        world.pass().await;
    }
    let days = |days: u64| Duration::from_secs(days * 24 * 60 * 60);
    let observed = [("products".parse().unwrap(), days(8))].into();
    let retention = Retention { before_images: days(7), runs: days(30), intents: days(30), observed };
    for journal in &world.journals {
        journal.prune(selfsame_core::WallMicros(*world.clock.0.lock()), &retention, 1_000).unwrap();
    }
    world.faults[2].clear();
    world
}

fn deleted_stays_deleted(world: &World) {
    assert_eq!((world.stores[0].row(&key()), world.stores[1].row(&key())), (None, None));
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_was_away_for_longer_than_retention_is_held_on_return() {
    let mut world = one_away().await;
    assert!(is_held(&world.pass().await));
    assert_eq!(causes(&world), [None, None, Some(HoldCause::Away)]);
    world.restart_all();
    for _ in 0..2 {
        assert!(is_held(&world.pass().await));
    }
    deleted_stays_deleted(&world);
    assert!(world.stores[2].row(&key()).is_some());
}

#[tokio::test(start_paused = true)]
async fn it_is_held_however_many_ends_of_passes_were_lost_and_agents_restarted() {
    let mut world = one_away().await;
    for _ in 0..3 {
        assert!(is_held(&pass_unheard(&world, &[0, 1, 2]).await));
        assert_eq!(causes(&world), [None; 3]);
        world.restart_all();
    }
    assert!(is_held(&pass_unheard(&world, &[0, 1]).await));
    assert_eq!(causes(&world)[2], Some(HoldCause::Away));
    deleted_stays_deleted(&world);
}

#[tokio::test(start_paused = true)]
async fn it_is_held_before_a_scan_has_told_what_it_holds() {
    let world = one_away().await;
    silence(&world, 2, &[Call::Scan]);
    assert!(is_held(&world.pass().await));
    assert_eq!(causes(&world)[2], Some(HoldCause::Away));
    deleted_stays_deleted(&world);
}

#[tokio::test(start_paused = true)]
async fn a_shorter_absence_holds_nobody() {
    let world = in_sync(collection_settings()).await;
    silence(&world, 2, &ALL);
    for _ in 0..3 {
        wait(&world, 3 * DAY);
        world.pass().await;
    }
    world.faults[2].clear();
    assert!(matches!(world.pass().await.verdict(), ShardVerdict::InSync { .. }));
    assert_eq!(causes(&world), [None; 3]);
}

#[tokio::test(start_paused = true)]
async fn a_fleet_that_stood_still_is_not_held() {
    let mut world = in_sync(collection_settings()).await;
    for (pause, deaf) in [(40 * DAY, vec![]), (60 * DAY, vec![2]), (80 * DAY, vec![0, 1, 2])] {
        wait(&world, pause);
        world.restart_all();
        for _ in 0..2 {
            let report = pass_unheard(&world, &deaf).await;
            assert!(matches!(report.verdict(), ShardVerdict::InSync { .. }), "{report:?}");
            wait(&world, DAY);
        }
    }
    // The one that stood still with the others, and did not hear so, is the same as they are weeks later.
    for _ in 0..3 {
        wait(&world, 7 * DAY);
        let report = world.pass().await;
        assert!(matches!(report.verdict(), ShardVerdict::InSync { .. }), "{report:?}");
    }
    assert_eq!(causes(&world), [None; 3]);
}

#[tokio::test(start_paused = true)]
async fn of_a_fleet_that_stood_still_one_that_comes_much_later_is_held() {
    let world = in_sync(collection_settings()).await;
    wait(&world, 40 * DAY);
    silence(&world, 2, &ALL);
    for _ in 0..4 {
        world.pass().await;
        wait(&world, 3 * DAY);
    }
    world.faults[2].clear();
    assert!(is_held(&world.pass().await));
    assert_eq!(causes(&world), [None, None, Some(HoldCause::Away)]);
}

#[tokio::test(start_paused = true)]
async fn a_persons_word_ends_it_for_good() {
    for scanned in [true, false] {
        let mut world = one_away().await;
        if !scanned {
            silence(&world, 2, &[Call::Scan]);
        }
        assert!(is_held(&world.pass().await));
        world.faults[2].clear();
        assert!(world.replicas[2].release().await.unwrap().is_some());
        // Its documents are live: what only it has, is copied.
        for _ in 0..2 {
            world.pass().await;
            assert_eq!(causes(&world), [None; 3], "scanned: {scanned}");
            world.restart_all();
        }
        assert!(world.all_the_same() && world.stores[0].row(&key()).is_some());
    }
}

#[tokio::test(start_paused = true)]
async fn a_replica_with_a_lost_journal_is_new_and_not_away() {
    let mut world = in_sync(collection_settings()).await;
    wait(&world, 3 * DAY);
    let data = world.fleet.agents[2].data.clone();
    world.restart_all_after(|| std::fs::remove_dir_all(&data).unwrap());
    world.pass().await;
    for _ in 0..5 {
        wait(&world, 3 * DAY);
        world.pass().await;
    }
    assert_eq!(causes(&world), [None; 3]);
}
