//! Every difference has a cause, names the replica that was wrong, and knows how old it is.

#![allow(clippy::unwrap_used, reason = "all of this file is tests")]

mod world;

use selfsame_agent::exchange::report::{Item, Outcome, PassReport};
use selfsame_agent::settings::{BrakeSettings, CollectionSettings};
use selfsame_core::{Cause, HoldReason, Key, WallMicros};
use selfsame_store::Call;
use world::{NOW, World, collection_settings, expiring_row, items, row};

const MINUTE: i64 = 60_000_000;

fn filled(count: i64) -> World {
    let brakes = BrakeSettings { vanished_share_max: 1.0, repair_share_max: 1.0, deletes_max: 1_000 };
    let world = World::with(CollectionSettings { brakes, ..collection_settings() });
    for id in 0..count {
        world.write_all(&row(id, 100, "{}"));
    }
    world
}

/// Key, node, cause and outcome of each item, by key and node.
fn found(report: &PassReport) -> Vec<(i64, &str, Cause, &Outcome)> {
    let told = |item: &&Item| {
        let id = (0..10_000).find(|id| Key::integer(*id) == item.key).unwrap();
        (id, item.node.as_str().to_owned(), item.cause)
    };
    let mut sorted = items(report);
    sorted.sort_by_key(|item| told(item));
    sorted.into_iter().map(|item| (told(&item).0, item.node.as_str(), item.cause, &item.outcome)).collect()
}

#[tokio::test(start_paused = true)]
async fn every_difference_names_its_cause_and_the_replica_that_was_wrong() {
    let world = filled(50);
    world.pass().await;
    let store = |index: usize| world.stores[index].clone();
    // A flipped value: the minority is wrong, whichever it is.
    store(0).put(row(1, 100, r#"{"flipped":true}"#));
    store(1).put(row(2, 100, r#"{"flipped":true}"#));
    // A missed update, and one that two replicas missed.
    (1..3).for_each(|index| store(index).put(row(3, 200, "{}")));
    store(2).put(row(4, 200, "{}"));
    // A missed insert.
    (0..2).for_each(|index| store(index).put(row(100, 200, "{}")));
    // An expired document that one replica still has.
    store(1).put(expiring_row(101, 50, Some(NOW - MINUTE), "{}"));
    // The same document with an earlier expiry.
    world.write_all(&expiring_row(5, 200, Some(NOW + 1_000 * MINUTE), "{}"));
    store(2).put(expiring_row(5, 200, Some(NOW + 500 * MINUTE), "{}"));
    // A clock ahead, a lost row, and three contents of one version; two of one, and an older document.
    store(1).put(row(6, NOW + 60 * MINUTE, "{}"));
    store(2).delete(&Key::integer(7));
    (0..3).for_each(|index| store(index).put(row(8, 200, &format!("{{\"by\":{index}}}"))));
    (1..3).for_each(|index| store(index).put(row(9, 200, &format!("{{\"by\":{index}}}"))));
    let report = world.pass().await;
    let repaired = &Outcome::Repaired;
    let held = [HoldReason::ClockSkew, HoldReason::Tie].map(Outcome::Held);
    assert_eq!(
        found(&report),
        [
            (1, "node-a", Cause::SilentChange, repaired),
            (2, "node-b", Cause::SilentChange, repaired),
            (3, "node-a", Cause::MissedUpdate, repaired),
            (4, "node-a", Cause::MissedUpdate, repaired),
            (4, "node-b", Cause::MissedUpdate, repaired),
            (5, "node-c", Cause::MissedUpdate, repaired),
            (6, "node-b", Cause::ClockSkew, &held[0]),
            // What lost the row may also have deleted it; a majority has it.
            (7, "node-c", Cause::Unknown, repaired),
            (8, "node-a", Cause::SilentChange, &held[1]),
            (9, "node-b", Cause::SilentChange, &held[1]),
            (100, "node-c", Cause::MissedInsert, repaired),
            (101, "node-b", Cause::ExpiredStraggler, repaired),
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_stands_still_while_the_others_move_on_is_lagging() {
    let world = filled(50);
    world.pass().await;
    (0..2).for_each(|index| world.stores[index].put(row(1, 200, "{}")));
    let stores = world.stores.clone();
    // Between the two reads of the confirm.
    world.faults[0].push(Call::Read, None);
    world.interrupt(0, Call::Read, move || {
        (0..2).for_each(|index| stores[index].put(row(1, 300, r#"{"newest":true}"#)));
    });
    let report = world.pass().await;
    assert_eq!(found(&report), [(1, "node-c", Cause::Lagging, &Outcome::Repaired)]);
    assert!(world.all_the_same());
}

#[tokio::test(start_paused = true)]
async fn an_unreadable_row_is_named_and_is_no_divergence() {
    let world = filled(50);
    world.stores[1].put(row(5, 100, r#"{"a":1,"a":2}"#));
    let report = world.pass().await;
    assert_eq!(found(&report), [(5, "node-b", Cause::Unknown, &Outcome::Unreadable)]);
    assert_eq!(items(&report)[0].age, None);
}

#[tokio::test(start_paused = true)]
async fn a_divergence_is_as_old_as_the_write_that_was_missed() {
    let world = filled(50);
    world.pass().await;
    let written = NOW - 10 * MINUTE;
    (0..2).for_each(|index| world.stores[index].put(row(1, written, r#"{"some":"bytes"}"#)));
    world.stores[1].put(expiring_row(101, 50, Some(NOW - 3 * MINUTE), "{}"));
    world.stores[2].put(row(2, 100, r#"{"flipped":true}"#));
    let report = world.pass().await;
    let now = WallMicros(*world.clock.0.lock());
    let ages: Vec<_> = found(&report)
        .iter()
        .map(|(id, ..)| items(&report).into_iter().find(|item| item.key == Key::integer(*id)).unwrap())
        .map(|item| (item.age.unwrap().since, item.age.unwrap().found, item.age.unwrap().repaired))
        .collect();
    let repaired = Some(now);
    let expected = [
        (WallMicros(written), now, repaired),
        // Nobody knows when a value was flipped: not before this pass saw it.
        (now, now, repaired),
        (WallMicros(NOW - 3 * MINUTE), now, repaired),
    ];
    assert_eq!(ages, expected);
    let update = items(&report).into_iter().find(|item| item.key == Key::integer(1)).unwrap();
    let row = row(1, written, r#"{"some":"bytes"}"#);
    assert_eq!(update.bytes, row.value_bytes() as u64, "what was written");
}
