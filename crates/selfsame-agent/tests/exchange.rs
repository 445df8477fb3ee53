//! The whole path over three agents and memory stores: what is found, what is repaired, what is left alone, and
//! what is said about it.

mod world;

use std::collections::BTreeSet;

use selfsame_agent::exchange::report::{Outcome, PlanReason};
use selfsame_agent::exchange::{Approval, Mandate};
use selfsame_agent::settings::{BrakeSettings, CollectionSettings};
use selfsame_core::{Cause, Key, ShardVerdict, UnknownReason};
use selfsame_store::{Call, Fault};
use world::{NOW, collection_settings, expiring_row, filled, filled_with, items, row};

#[tokio::test(start_paused = true)]
async fn equal_replicas_are_in_sync_as_of_their_oldest_scan() {
    let world = filled(500);
    let report = world.pass().await;
    assert!(
        matches!(report.verdict(), ShardVerdict::InSync { as_of } if as_of.0 > NOW),
        "{:?}",
        report.verdict()
    );
    assert_eq!((items(&report).len(), report.counts().keys), (0, 500));
}

#[tokio::test(start_paused = true)]
async fn each_kind_of_divergence_is_found_named_and_repaired() {
    let world = filled(500);
    world.pass().await;
    let newer = row(1, 200, r#"{"name":"newer"}"#);
    world.stores[0].put(newer.clone());
    world.stores[1].put(newer);
    world.stores[0].put(row(1000, 200, r#"{"name":"inserted"}"#));
    world.stores[2].put(row(2, 100, r#"{"name":"flipped"}"#));
    world.stores[1].put(expiring_row(2000, 50, Some(NOW - 1_000), "{}"));
    let report = world.pass().await;
    let mut found: Vec<(String, String, Cause)> =
        items(&report).iter().map(|item| (item.key.to_string(), item.node.to_string(), item.cause)).collect();
    found.sort();
    let expected = [
        ("1", "node-c", Cause::MissedUpdate),
        ("1000", "node-b", Cause::MissedInsert),
        ("1000", "node-c", Cause::MissedInsert),
        ("2", "node-c", Cause::SilentChange),
        ("2000", "node-b", Cause::ExpiredStraggler),
    ]
    .map(|(key, node, cause)| (key.to_owned(), node.to_owned(), cause));
    assert_eq!(found, expected);
    assert!(items(&report).iter().all(|item| item.outcome == Outcome::Repaired));
    assert_eq!(report.counts().repaired, 5);
    assert!(world.all_the_same());
    assert!(matches!(report.verdict(), ShardVerdict::InSync { .. }));
    let after = world.pass().await;
    assert_eq!(items(&after).len(), 0);
    assert!(matches!(after.verdict(), ShardVerdict::InSync { .. }));
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_finds_the_same_and_writes_nothing() {
    let world = filled(100);
    world.stores[0].put(row(1000, 200, "{}"));
    let before = world.contents();
    let report = world.dry_run().await;
    assert_eq!(world.contents(), before);
    assert_eq!(items(&report).iter().map(|item| &item.outcome).collect::<Vec<_>>(), [&Outcome::Planned; 2]);
    assert_eq!(report.verdict(), ShardVerdict::Diverged);
}

#[tokio::test(start_paused = true)]
async fn a_key_deleted_everywhere_is_in_sync() {
    let world = filled(100);
    world.pass().await;
    world.stores.iter().for_each(|store| assert!(store.delete(&Key::integer(7))));
    assert!(matches!(world.pass().await.verdict(), ShardVerdict::InSync { .. }));
}

#[tokio::test(start_paused = true)]
async fn a_silent_store_is_unknown_and_the_others_still_go_on() {
    let world = filled(100);
    world.pass().await;
    world.stores[0].put(row(1000, 200, "{}"));
    for call in [Call::Identity, Call::Scan, Call::Read, Call::Count] {
        for _ in 0..50 {
            world.faults[2].push(call, Some(Fault::Unavailable));
        }
    }
    let report = world.pass().await;
    assert_eq!(report.verdict(), ShardVerdict::Unknown(UnknownReason::Unreachable));
    assert!(
        report.shards.iter().all(|shard| shard.verdict == ShardVerdict::Unknown(UnknownReason::Unreachable))
    );
    assert_eq!(report.counts().repaired, 1, "node-b got the insert");
    assert!(world.stores[1].row(&Key::integer(1000)).is_some());
    assert!(world.stores[2].row(&Key::integer(1000)).is_none());
}

#[tokio::test(start_paused = true)]
async fn an_unreadable_document_is_named_never_written_over_and_never_in_sync() {
    let world = filled(100);
    world.stores[1].put(row(5, 100, r#"{"a":1,"a":2}"#));
    let report = world.pass().await;
    let unknown: Vec<_> = report
        .shards
        .iter()
        .filter(|s| s.verdict == ShardVerdict::Unknown(UnknownReason::BadDocument))
        .collect();
    assert_eq!(unknown.len(), 1, "{:?}", report.unknown());
    assert!(
        items(&report)
            .iter()
            .any(|item| item.outcome == Outcome::Unreadable && item.node.as_str() == "node-b")
    );
    assert_eq!(world.stores[1].row(&Key::integer(5)), Some(row(5, 100, r#"{"a":1,"a":2}"#)));
}

#[tokio::test(start_paused = true)]
async fn more_repairs_than_the_brake_allows_become_a_plan() {
    let mut collection = collection_settings();
    for replica in &mut collection.replicas {
        replica.mapping.shards = selfsame_core::ShardCount::new(1).unwrap();
    }
    let world = filled_with(400, collection);
    world.pass().await;
    (0..60).for_each(|id| world.stores[0].put(row(5_000 + id, 100, "{}")));
    let before = world.contents();
    let report = world.pass().await;
    assert_eq!(report.shards[0].planned, Some(PlanReason::RepairShare));
    assert_eq!(world.contents(), before);
    assert_eq!(report.counts().mismatches, 60);
}

#[tokio::test(start_paused = true)]
async fn more_deletes_than_allowed_become_a_plan() {
    let collection = CollectionSettings {
        brakes: BrakeSettings { vanished_share_max: 1.0, repair_share_max: 1.0, deletes_max: 3 },
        ..collection_settings()
    };
    let mut collection = collection;
    for replica in &mut collection.replicas {
        replica.mapping.shards = selfsame_core::ShardCount::new(1).unwrap();
    }
    let world = filled_with(50, collection);
    (0..4).for_each(|id| world.stores[0].put(expiring_row(900 + id, 100, Some(NOW - 1), "{}")));
    let report = world.pass().await;
    assert_eq!(report.shards[0].planned, Some(PlanReason::Deletes));
    assert!(world.stores[0].row(&Key::integer(900)).is_some());
}

#[tokio::test(start_paused = true)]
async fn ignored_members_differ_in_peace_and_survive_a_repair() {
    let world = filled(10);
    world.stores[0].put(row(1, 200, r#"{"name":"new","views":1}"#));
    world.stores[1].put(row(1, 100, r#"{"name":"1","views":2}"#));
    world.stores[2].put(row(1, 200, r#"{"name":"new","views":3}"#));
    let report = world.pass_with(Mandate::Automatic).await;
    assert_eq!(report.counts().repaired, 1);
    assert_eq!(world.stores[1].row(&Key::integer(1)), Some(row(1, 200, r#"{"name":"new","views":2}"#)));
    assert_eq!(world.stores[2].row(&Key::integer(1)), Some(row(1, 200, r#"{"name":"new","views":3}"#)));
}

#[tokio::test(start_paused = true)]
async fn a_slot_is_completed_once() {
    let world = filled(20);
    let report = world.pass().await;
    let completed = |journal: &selfsame_journal::Journal| {
        let records = journal.shard_records(&"products".parse().unwrap()).unwrap();
        records.iter().map(|record| record.completed.len()).sum::<usize>()
    };
    assert_eq!(report.shards.len(), 4);
    assert!(world.journals.iter().all(|journal| completed(journal) == 4));
}

#[tokio::test(start_paused = true)]
async fn a_client_write_between_confirm_and_repair_wins() {
    let world = filled(20);
    world.pass().await;
    world.stores[0].put(row(5, 200, r#"{"name":"newer"}"#));
    world.stores[2].put(row(5, 200, r#"{"name":"newer"}"#));
    let (target, newest) = (world.stores[1].clone(), row(5, 300, r#"{"name":"newest"}"#));
    let written = newest.clone();
    world.interrupt(1, Call::Apply, move || target.put(written));
    let report = world.pass().await;
    assert_eq!(items(&report).iter().map(|item| &item.outcome).collect::<Vec<_>>(), [&Outcome::Changed]);
    assert_eq!(world.stores[1].row(&Key::integer(5)), Some(newest));
    assert_eq!(report.verdict(), ShardVerdict::Unknown(UnknownReason::Moving));
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_no_scan_has_completed_is_unknown_though_it_would_agree() {
    let world = filled(20);
    (0..50).for_each(|_| world.faults[2].push(Call::Scan, Some(Fault::Unavailable)));
    let report = world.pass().await;
    assert_eq!(report.verdict(), ShardVerdict::Unknown(UnknownReason::NoScan), "{report:?}");
    assert_eq!(report.unknown()[&UnknownReason::NoScan], 4, "every shard");
    world.faults[2].clear();
    assert!(matches!(world.pass().await.verdict(), ShardVerdict::InSync { .. }));
}

#[tokio::test(start_paused = true)]
async fn a_write_to_an_ignored_member_alone_stops_a_repair() {
    let world = filled(20);
    world.pass().await;
    world.stores[0].put(row(5, 200, r#"{"name":"newer"}"#));
    world.stores[2].put(row(5, 200, r#"{"name":"newer"}"#));
    let (target, viewed) = (world.stores[1].clone(), row(5, 100, r#"{"name":"5","views":9}"#));
    let written = viewed.clone();
    world.interrupt(1, Call::Apply, move || target.put(written));
    let report = world.pass().await;
    assert_eq!(items(&report).iter().map(|item| &item.outcome).collect::<Vec<_>>(), [&Outcome::Changed]);
    assert_eq!(world.stores[1].row(&Key::integer(5)), Some(viewed));
}

#[tokio::test(start_paused = true)]
async fn a_copy_whose_source_is_deleted_meanwhile_is_withdrawn() {
    let world = filled(20);
    world.pass().await;
    world.stores[0].put(row(1000, 200, "{}"));
    let source = world.stores[0].clone();
    world.interrupt(1, Call::Apply, move || assert!(source.delete(&Key::integer(1000))));
    let report = world.pass().await;
    assert!(items(&report).iter().all(|item| item.outcome == Outcome::Changed), "{:?}", items(&report));
    assert!(world.stores.iter().all(|store| store.row(&Key::integer(1000)).is_none()));
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_to_a_repair_is_settled_by_reading() {
    let world = filled(20);
    world.pass().await;
    world.stores[0].put(row(1000, 200, "{}"));
    world.faults[1].push(Call::Apply, Some(Fault::LoseAnswer));
    let report = world.pass().await;
    assert_eq!(report.verdict(), ShardVerdict::Diverged, "nobody knows whether it was written");
    let after = world.pass().await;
    assert!(matches!(after.verdict(), ShardVerdict::InSync { .. }), "{:?}", after.verdict());
    assert!(world.all_the_same());
    let open = world.journals[1].open_intents(&"products".parse().unwrap(), &world::nodes()[1], 10).unwrap();
    assert_eq!(open.rows, []);
}

#[tokio::test(start_paused = true)]
async fn an_approval_repairs_what_was_approved_and_is_honest_about_the_rest() {
    let mut collection = collection_settings();
    for replica in &mut collection.replicas {
        replica.mapping.shards = selfsame_core::ShardCount::new(1).unwrap();
    }
    let world = filled_with(50, collection);
    world.pass().await;
    world.stores[0].put(row(1000, 200, "{}"));
    let planned = world.dry_run().await;
    let approval = Approval {
        run: planned.run,
        keys: BTreeSet::from([Key::integer(1000)]),
        repairs: items(&planned).iter().filter_map(|item| item.repair).collect(),
    };
    world.stores[0].put(row(2000, 200, "{}"));
    let report = world.pass_with(Mandate::Approved(approval)).await;
    assert!(
        world.stores[1].row(&Key::integer(1000)).is_some()
            && world.stores[2].row(&Key::integer(1000)).is_some()
    );
    assert!(world.stores[1].row(&Key::integer(2000)).is_none(), "nobody approved it");
    assert_eq!(report.verdict(), ShardVerdict::Diverged);
    assert_eq!(report.shards[0].planned, Some(PlanReason::Returned));
}

#[tokio::test(start_paused = true)]
async fn an_approved_row_that_changed_returns_to_the_plan() {
    let world = filled(20);
    world.pass().await;
    world.stores[0].put(row(1000, 200, "{}"));
    let planned = world.dry_run().await;
    let approval = Approval {
        run: planned.run,
        keys: BTreeSet::from([Key::integer(1000)]),
        repairs: items(&planned).iter().filter_map(|item| item.repair).collect(),
    };
    world.stores[0].put(row(1000, 300, r#"{"name":"changed"}"#));
    let report = world.pass_with(Mandate::Approved(approval)).await;
    assert!(items(&report).iter().all(|item| item.outcome == Outcome::Planned), "{:?}", items(&report));
    assert!(world.stores[1].row(&Key::integer(1000)).is_none());
}

#[tokio::test(start_paused = true)]
async fn more_keys_than_one_confirm_may_read_are_confirmed_in_turn() {
    let brakes = BrakeSettings { vanished_share_max: 1.0, repair_share_max: 1.0, deletes_max: 1_000 };
    let world = filled_with(300, CollectionSettings { confirm_keys_max: 7, brakes, ..collection_settings() });
    world.pass().await;
    (0..90).for_each(|id| world.stores[0].put(row(9_000 + id, 200, "{}")));
    let report = world.pass().await;
    assert_eq!((report.counts().mismatches, report.counts().repaired), (90, 180));
    assert!(world.all_the_same());
}
