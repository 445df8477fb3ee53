//! What a target's agent does not let through, whoever asks: too much in a day, and what goes in circles.

#![allow(clippy::unwrap_used, reason = "all of this file is tests")]

mod world;

use std::collections::{BTreeMap, BTreeSet};

use selfsame_agent::exchange::report::{Action, Outcome, PassReport, PlanReason};
use selfsame_agent::exchange::{Approval, Mandate};
use selfsame_agent::peer::Peer;
use selfsame_agent::settings::{BrakeSettings, CollectionSettings};
use selfsame_core::{
    Cause, CollectionName, Epoch, HoldReason, Key, RepairId, Row, RunId, ShardId, ShardVerdict,
    UnknownReason, WallMicros,
};
use selfsame_journal::RepairCount;
use selfsame_store::{Call, Fault, Store};
use selfsame_wire::message::{ApplyItem, ApplyOutcome, ApplyRequest, Authority, Claim, ReadRequest};
use world::{NOW, World, collection_settings, expiring_row, filled_with, items, nodes, row};

const DAY: i64 = 24 * 3_600 * 1_000_000;

/// A world of so many documents, under these brakes on repairs and none on what vanishes.
fn braked(count: i64, repair_share_max: f64, deletes_max: u64) -> World {
    let brakes = BrakeSettings { vanished_share_max: 1.0, repair_share_max, deletes_max };
    filled_with(count, CollectionSettings { brakes, ..collection_settings() })
}

fn filled(count: i64) -> World {
    braked(count, 1.0, 1_000)
}

/// Ids above `from` of which each of the four shards has so many.
fn spread(world: &World, from: i64, per_shard: usize) -> Vec<i64> {
    let mut of_shard: BTreeMap<ShardId, usize> = BTreeMap::new();
    let mut take = |id: &i64| {
        let count = of_shard.entry(world.shard_of(*id)).or_default();
        *count += 1;
        *count <= per_shard
    };
    (from..).filter(|id| take(id)).take(4 * per_shard).collect()
}

async fn pass_by(world: &World, owner: usize) -> PassReport {
    world.pass_by(owner, world.next_slot(), Mandate::Automatic, world.peers()).await
}

fn outcomes(report: &PassReport) -> Vec<&Outcome> {
    items(report).iter().map(|item| &item.outcome).collect()
}

fn count(report: &PassReport, outcome: &Outcome) -> usize {
    outcomes(report).into_iter().filter(|found| *found == outcome).count()
}

/// Carries out what waits after a pass, shard by shard; gives what became of it.
async fn approve(world: &World, waiting: &PassReport) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    for shard in &waiting.shards {
        let of_plan = shard.items.iter().filter(|item| item.outcome.may_be_approved());
        let (keys, repairs): (BTreeSet<Key>, BTreeSet<RepairId>) =
            of_plan.map(|item| (item.key.clone(), item.repair.unwrap())).unzip();
        if repairs.is_empty() {
            continue;
        }
        let mandate = Mandate::Approved(Approval { run: waiting.run, keys, repairs });
        let report = world.pass_over(vec![shard.shard], 0, world.next_slot(), mandate, world.peers()).await;
        outcomes.extend(items(&report).into_iter().map(|item| item.outcome.clone()));
    }
    outcomes
}

fn counted(world: &World, agent: usize) -> RepairCount {
    let since = WallMicros(*world.clock.0.lock() - DAY);
    world.journals[agent].count_since(&"products".parse().unwrap(), &nodes()[agent], since).unwrap()
}

fn has(world: &World, store: usize, id: i64) -> bool {
    world.stores[store].row(&Key::integer(id)).is_some()
}

/// Expired documents on one node alone: each is one delete there.
fn stragglers(world: &World, ids: &[i64]) {
    ids.iter().for_each(|id| world.stores[0].put(expiring_row(*id, 100, Some(NOW - 1), "{}")));
}

#[tokio::test(start_paused = true)]
async fn a_target_takes_no_more_deletes_a_day_than_allowed_whoever_asks_and_whatever_it_forgot() {
    let mut world = braked(100, 1.0, 3);
    let ids = spread(&world, 9_000, 2);
    stragglers(&world, &ids);
    // No shard has more than three, so that no owner sees more than the limit.
    let report = pass_by(&world, 0).await;
    assert_eq!((count(&report, &Outcome::Repaired), count(&report, &Outcome::Planned)), (3, 5));
    for shard in &report.shards {
        let waits = shard.items.iter().any(|item| item.outcome == Outcome::Planned);
        assert_eq!(shard.planned, waits.then_some(PlanReason::TargetBrake));
        assert_eq!(shard.verdict == ShardVerdict::Diverged, waits, "{:?}", shard.verdict);
    }
    assert_eq!(counted(&world, 0), RepairCount { repairs: 3, keys: 3, deletes: 3 });

    let report = pass_by(&world, 1).await;
    assert_eq!(outcomes(&report), [&Outcome::Planned; 5], "another owner");
    world.restart(0);
    let report = pass_by(&world, 2).await;
    assert_eq!(outcomes(&report), [&Outcome::Planned; 5], "the target's agent was restarted");

    // A write is no delete, and goes through.
    world.stores[1].put(row(1, 200, "{}"));
    world.stores[2].put(row(1, 200, "{}"));
    let report = pass_by(&world, 1).await;
    assert_eq!((count(&report, &Outcome::Repaired), count(&report, &Outcome::Planned)), (1, 5));

    *world.clock.0.lock() += DAY;
    let report = pass_by(&world, 1).await;
    assert_eq!(
        (count(&report, &Outcome::Repaired), count(&report, &Outcome::Planned)),
        (3, 2),
        "a day later"
    );
    assert_eq!(ids.iter().filter(|id| has(&world, 0, **id)).count(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_may_have_been_written_counts_also_if_nobody_heard_that_it_was() {
    let mut world = braked(100, 1.0, 3);
    world.pass().await;
    let shard = world.shard_of(9_000);
    let ids: Vec<i64> = (9_000..).filter(|id| world.shard_of(*id) == shard).take(4).collect();
    stragglers(&world, &ids[..2]);
    world.faults[0].push(Call::Apply, Some(Fault::LoseAnswer));
    assert_eq!(count(&world.pass().await, &Outcome::Repaired), 0);
    let both = RepairCount { repairs: 2, keys: 2, deletes: 2 };
    assert_eq!(counted(&world, 0), both, "their intents are open");
    world.restart(0);
    stragglers(&world, &ids[2..]);
    let report = world.pass().await;
    assert_eq!((count(&report, &Outcome::Repaired), count(&report, &Outcome::Planned)), (1, 1));
    assert_eq!(
        counted(&world, 0),
        RepairCount { repairs: 3, keys: 3, deletes: 3 },
        "settled, and counted once"
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_delivered_twice_counts_once() {
    let world = braked(100, 1.0, 1);
    world.pass().await;
    let shard = world.shard_of(1);
    let other = (2..).find(|id| world.shard_of(*id) == shard).unwrap();
    let collection: CollectionName = "products".parse().unwrap();
    let epoch = Epoch { counter: 1_000_000, agent: "b".parse().unwrap() };
    let claim = Claim { collection, shard, epoch, run: RunId::from_bytes([9; 16]) };
    let [node, ..] = nodes();
    let keys = [Key::integer(1), Key::integer(other)].into();
    let confirm = ReadRequest { claim: claim.clone(), node: node.clone(), keys, conclude: true };
    world.agents[0].read(confirm).await.unwrap();
    let mut told = Vec::new();
    for (id, number) in [(1, 1), (1, 1), (other, 2), (1, 1)] {
        let stored = world.stores[0].read(&[Key::integer(id)]).await.unwrap();
        let item = ApplyItem {
            repair: RepairId::from_bytes([number; 16]),
            key: Key::integer(id),
            expected: stored[0].document().map(|document| document.row_digest),
            row: None,
            cause: Cause::ExpiredStraggler,
        };
        let (claim, node, authority) = (claim.clone(), node.clone(), Authority::Automatic);
        let request = ApplyRequest { claim, node, authority, items: vec![item] };
        told.extend(world.agents[0].apply(request).await.unwrap());
    }
    let refused = ApplyOutcome::Refused("brake: deletes_max".to_owned());
    let again = ApplyOutcome::AlreadyThere;
    assert_eq!(told, [ApplyOutcome::Applied, again.clone(), refused, again]);
    assert_eq!(counted(&world, 0), RepairCount { repairs: 1, keys: 1, deletes: 1 });
}

#[tokio::test(start_paused = true)]
async fn owners_that_ask_at_the_same_time_get_no_more_together() {
    let world = braked(100, 1.0, 3);
    world.pass().await;
    stragglers(&world, &spread(&world, 9_000, 3));
    // One run, as its two owners have it: each exchanges half of the shards.
    let slot = world.next_slot();
    let half = |shards: [u32; 2], owner| {
        let shards = shards.map(ShardId).to_vec();
        world.pass_over(shards, owner, slot, Mandate::Automatic, world.peers())
    };
    let (one, other) = tokio::join!(half([0, 1], 1), half([2, 3], 2));
    let written = count(&one, &Outcome::Repaired) + count(&other, &Outcome::Repaired);
    let planned = count(&one, &Outcome::Planned) + count(&other, &Outcome::Planned);
    assert_eq!((written, planned), (3, 9));
    assert_eq!(counted(&world, 0).deletes, 3);
}

#[tokio::test(start_paused = true)]
async fn what_a_person_approved_is_neither_refused_nor_counted() {
    let world = braked(100, 1.0, 3);
    let ids = spread(&world, 9_000, 3);
    stragglers(&world, &ids[..8]);
    let dry = world.dry_run().await;
    assert_eq!(approve(&world, &dry).await, [const { Outcome::Repaired }; 8]);
    assert_eq!(counted(&world, 0), RepairCount::default());
    // The day's own allowance is whole.
    stragglers(&world, &ids[8..]);
    let report = world.pass().await;
    assert_eq!((count(&report, &Outcome::Repaired), count(&report, &Outcome::Planned)), (3, 1));
    let approved = approve(&world, &report).await;
    assert_eq!(approved, [Outcome::Repaired], "what the target refused is approved like any plan");
    assert!(ids.iter().all(|id| !has(&world, 0, *id)));
}

#[tokio::test(start_paused = true)]
async fn a_target_takes_no_more_than_its_share_over_all_its_shards() {
    let world = braked(600, 0.1, 1_000);
    world.pass().await;
    // Sixteen of each shard: fewer than fifty, so that no owner's share counts.
    let ids: Vec<i64> = spread(&world, 0, 16);
    let lose = |version: i64| {
        for id in &ids {
            (0..2).for_each(|store| world.stores[store].put(row(*id, version, "{}")));
        }
    };
    lose(200);
    let report = world.pass().await;
    assert_eq!((count(&report, &Outcome::Repaired), count(&report, &Outcome::Planned)), (60, 4));
    assert!(report.shards.iter().any(|shard| shard.planned == Some(PlanReason::TargetBrake)));
    // The same keys again are no more keys.
    let planned: Vec<Key> = items(&report)
        .iter()
        .filter(|item| item.outcome == Outcome::Planned)
        .map(|item| item.key.clone())
        .collect();
    lose(300);
    let report = world.pass().await;
    let refused: Vec<Key> = items(&report)
        .iter()
        .filter(|item| item.outcome == Outcome::Planned)
        .map(|item| item.key.clone())
        .collect();
    assert_eq!((count(&report, &Outcome::Repaired), refused), (60, planned));
    assert_eq!(counted(&world, 2), RepairCount { repairs: 120, keys: 60, deletes: 0 });
    // The other replicas have an allowance of their own.
    world.stores[1].put(row(ids[0], 400, "{}"));
    world.stores[2].put(row(ids[0], 400, "{}"));
    let report = world.pass().await;
    assert_eq!(count(&report, &Outcome::Repaired), 1);
}

#[tokio::test(start_paused = true)]
async fn a_withdrawal_is_made_whatever_the_brake_says() {
    let world = braked(20, 1.0, 0);
    world.pass().await;
    world.stores[0].put(row(1_000, 200, "{}"));
    let source = world.stores[0].clone();
    world.interrupt(1, Call::Apply, move || assert!(source.delete(&Key::integer(1_000))));
    let report = world.pass().await;
    assert_eq!(outcomes(&report), [&Outcome::Changed; 2]);
    assert!((0..3).all(|store| !has(&world, store, 1_000)), "what was deleted does not come back");
}

fn old() -> Row {
    row(7, 100, "{}")
}

/// A newer document that node-c keeps losing: something there writes the old one back.
fn flap(world: &World, version: i64) {
    (0..2).for_each(|store| world.stores[store].put(row(7, version, r#"{"new":true}"#)));
    world.stores[2].put(old());
}

const HELD: Outcome = Outcome::Held(HoldReason::Flapping);

/// Three passes, each by another owner, that repair the key on node-c, where it is written back each time.
async fn flapped(world: &World) {
    for owner in 0..3 {
        world.stores[2].put(old());
        let report = pass_by(world, owner).await;
        assert_eq!(outcomes(&report), [&Outcome::Repaired], "pass {owner}");
    }
    world.stores[2].put(old());
}

#[tokio::test(start_paused = true)]
async fn a_key_repaired_in_three_passes_in_a_row_is_held_whoever_owns_it() {
    let mut world = filled(50);
    world.pass().await;
    flap(&world, 200);
    flapped(&world).await;
    for owner in [0, 1] {
        let report = pass_by(&world, owner).await;
        assert_eq!(outcomes(&report), [&HELD]);
        let item = items(&report)[0];
        assert_eq!((item.node.as_str(), &item.action), ("node-c", &Action::CopyFrom(nodes()[0].clone())));
        let shard = report.shards.iter().find(|shard| !shard.items.is_empty()).unwrap();
        assert_eq!((shard.verdict, shard.planned), (ShardVerdict::Diverged, Some(PlanReason::Flapping)));
        assert_eq!((shard.counts.held, shard.counts.mismatches), (1, 1));
        assert_eq!(world.stores[2].row(&Key::integer(7)), Some(old()), "nothing is written");
        // Neither the target nor an owner forgets it.
        world.restart(2);
        world.restart(0);
    }
    // A pass that hears node-c alone finds nothing, and does not end it.
    for store in 0..2 {
        // The scan asks who answers, and so do the roots.
        (0..2).for_each(|_| world.faults[store].push(Call::Identity, Some(Fault::Unavailable)));
    }
    let report = pass_by(&world, 1).await;
    assert_eq!(report.verdict(), ShardVerdict::Unknown(UnknownReason::Unreachable));
    assert_eq!(outcomes(&pass_by(&world, 0).await), [&HELD]);
    assert_eq!(world.stores[2].row(&Key::integer(7)), Some(old()));
}

#[tokio::test(start_paused = true)]
async fn a_pass_that_finds_the_key_equal_ends_the_hold() {
    let world = filled(50);
    world.pass().await;
    flap(&world, 200);
    flapped(&world).await;
    assert_eq!(outcomes(&world.pass().await), [&HELD]);
    world.write_all(&row(7, 300, "{}"));
    let report = world.pass().await;
    assert!(matches!(report.verdict(), ShardVerdict::InSync { .. }), "{:?}", report.verdict());
    flap(&world, 400);
    assert_eq!(outcomes(&world.pass().await), [&Outcome::Repaired]);
}

#[tokio::test(start_paused = true)]
async fn a_pass_that_finds_the_key_equal_in_a_shard_that_differs_ends_the_hold_too() {
    let world = filled(200);
    world.pass().await;
    flap(&world, 200);
    flapped(&world).await;
    assert_eq!(outcomes(&world.pass().await), [&HELD]);
    // Another key of the shard has three contents of one version, and is held: the shard never gets in sync.
    let neighbour = (8..).find(|id| world.shard_of(*id) == world.shard_of(7)).unwrap();
    let contents = |by: usize| row(neighbour, 200, &format!("{{\"by\":{by}}}"));
    (0..3).for_each(|store| world.stores[store].put(contents(store)));
    world.write_all(&row(7, 300, "{}"));
    let report = world.pass().await;
    assert_eq!(report.verdict(), ShardVerdict::Diverged);
    // In that pass the key was still a suspect of the indexes; in the next one it is none.
    world.pass().await;
    flap(&world, 400);
    assert_eq!(count(&world.pass().await, &Outcome::Repaired), 1);
}

#[tokio::test(start_paused = true)]
async fn repairs_in_passes_that_are_not_in_a_row_do_not_add_up() {
    let world = filled(50);
    world.pass().await;
    for round in 0..6 {
        flap(&world, 200 + round);
        assert_eq!(outcomes(&world.pass().await), [&Outcome::Repaired], "round {round}");
        flap(&world, 200 + round);
        assert_eq!(outcomes(&world.pass().await), [&Outcome::Repaired], "round {round}");
        assert!(matches!(world.pass().await.verdict(), ShardVerdict::InSync { .. }));
    }
}

#[tokio::test(start_paused = true)]
async fn an_approval_repairs_a_held_key_and_ends_the_hold() {
    let world = filled(50);
    world.pass().await;
    flap(&world, 200);
    flapped(&world).await;
    let held = world.pass().await;
    assert_eq!(outcomes(&held), [&HELD]);
    assert_eq!(approve(&world, &held).await, [Outcome::Repaired]);
    assert!(world.all_the_same());
    // It starts over: three more repairs before it is held again.
    flapped(&world).await;
    assert_eq!(outcomes(&world.pass().await), [&HELD]);
}

#[tokio::test(start_paused = true)]
async fn what_does_not_read_back_as_written_is_written_once() {
    let mut world = filled(50);
    world.pass().await;
    *world.mangles[2].lock() = Some(|row| {
        let cells = row.cells().iter().cloned().map(|(name, cell)| match name.as_str() {
            "body" => (name, selfsame_core::Cell::Text(r#"{"mangled":true}"#.to_owned())),
            _ => (name, cell),
        });
        Row::new(cells.collect())
    });
    let newest = |version| (0..2).for_each(|store| world.stores[store].put(row(7, version, r#"{"v":1}"#)));
    newest(200);
    let report = pass_by(&world, 0).await;
    assert_eq!(outcomes(&report), [&Outcome::Incomparable]);
    assert_eq!(report.verdict(), ShardVerdict::Diverged);
    let left = world.stores[2].row(&Key::integer(7));
    let held = Outcome::Held(HoldReason::Incomparable);
    for owner in [1, 2] {
        let report = pass_by(&world, owner).await;
        assert_eq!(outcomes(&report), [&held]);
        assert_eq!((report.verdict(), report.counts().held), (ShardVerdict::Diverged, 1));
        assert_eq!(world.stores[2].row(&Key::integer(7)), left);
        assert_eq!(counted(&world, 2).repairs, 1);
    }
    // The winner changes: it is tried again.
    newest(300);
    assert_eq!(outcomes(&pass_by(&world, 1).await), [&Outcome::Incomparable]);
    assert_eq!(outcomes(&pass_by(&world, 1).await), [&held]);
    // The loser changes: it is tried again, and by now the store writes what it is asked to.
    *world.mangles[2].lock() = None;
    world.stores[2].put(row(7, 250, "{}"));
    assert_eq!(outcomes(&pass_by(&world, 1).await), [&Outcome::Repaired]);
    assert!(world.all_the_same());
    world.restart(2);
    assert!(matches!(world.pass().await.verdict(), ShardVerdict::InSync { .. }));
}
