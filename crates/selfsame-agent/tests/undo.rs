//! Undo over three agents and memory stores: what comes back, what does not, and that nobody repairs it again.

#![allow(clippy::unwrap_used, reason = "all of this file is tests")]

mod world;

use std::collections::BTreeMap;
use std::sync::Arc;

use selfsame_agent::exchange::report::{Outcome, PassReport, PlanReason};
use selfsame_agent::exchange::{Approval, Mandate};
use selfsame_agent::local::{UndoState, UndoWrite, Undone};
use selfsame_agent::peer::{Peer, PeerError};
use selfsame_agent::settings::{CollectionSettings, RepairMode};
use selfsame_core::{
    Cause, Epoch, HoldReason, Key, Presence, RepairId, Row, RunId, ShardVerdict, UnknownReason, WallMicros,
};
use selfsame_journal::{IntentOutcome, Pause, PauseScope, Retention};
use selfsame_store::{Call, ChangeKind, Fault, FeedPosition, PageSize, Store};
use selfsame_wire::message::{
    ApplyItem, ApplyOutcome, ApplyRequest, Authority, Claim, Pin, PinRequest, ReadRequest,
};
use tokio::sync::oneshot;
use world::{NOW, World, collection_settings, expiring_row, items, nodes, row};

/// Twenty documents that are the same everywhere, and were scanned.
async fn settled(collection: CollectionSettings) -> World {
    let world = World::with(collection);
    (0..20).for_each(|id| world.write_all(&row(id, 100, &format!("{{\"name\":\"{id}\"}}"))));
    world.pass().await;
    world
}

async fn undo(world: &World, agent: usize, run: RunId) -> Undone {
    world.replicas[agent].undo(run, None, false).await
}

/// State and write of each key that an undo looked at.
fn states(undone: &Undone) -> BTreeMap<String, (UndoState, Option<UndoWrite>)> {
    assert_eq!(undone.failed, None);
    undone.items.iter().map(|item| (item.key.to_string(), (item.state.clone(), item.write))).collect()
}

/// The state of the only key.
#[track_caller]
fn state(undone: &Undone) -> UndoState {
    assert_eq!((undone.items.len(), &undone.failed), (1, &None), "{undone:?}");
    undone.items[0].state.clone()
}

/// A pass by each agent, each of which must hold exactly these keys on that node, and write nothing.
async fn assert_held(world: &World, node: &str, keys: &[&str]) {
    let before = world.contents();
    for owner in 0..3 {
        let report = world.pass_by(owner, world.next_slot(), Mandate::Automatic, world.peers()).await;
        let mut found: Vec<(String, &str, Outcome)> = items(&report)
            .iter()
            .map(|item| (item.key.to_string(), item.node.as_str(), item.outcome.clone()))
            .collect();
        found.sort_by(|left, right| left.0.cmp(&right.0));
        let held = Outcome::Held(HoldReason::Pinned);
        let expected: Vec<_> = keys.iter().map(|key| ((*key).to_owned(), node, held.clone())).collect();
        assert_eq!(found, expected, "owner {owner}");
        assert_eq!(report.verdict(), ShardVerdict::Diverged);
        assert_eq!((report.counts().held, report.counts().repaired), (keys.len() as u64, 0));
        let planned = report.shards.iter().filter(|shard| !shard.items.is_empty());
        assert!(planned.clone().all(|shard| shard.planned == Some(PlanReason::Pinned)));
        assert_eq!(world.contents(), before, "owner {owner}");
    }
}

/// A claim of a key's shard, far above what passes have claimed.
fn claim_of(world: &World, key: &Key) -> Claim {
    let collection = &world.fleet.collections[0];
    let digest = world.fleet.fingerprinter(&collection.name).key_digest(key);
    Claim {
        collection: collection.name.clone(),
        shard: digest.shard(collection.replicas[0].mapping.shards),
        epoch: Epoch { counter: 1_000_000, agent: "a".parse().unwrap() },
        run: RunId::from_bytes([9; 16]),
    }
}

/// An update that node-c missed, repaired: the run, and node-c's row before.
async fn repaired_update(world: &World) -> (PassReport, Row) {
    let old = world.stores[2].row(&Key::integer(5)).unwrap();
    let newer = row(5, 200, r#"{"name":"newer"}"#);
    world.stores[0].put(newer.clone());
    world.stores[1].put(newer);
    let report = world.pass().await;
    assert_eq!(report.counts().repaired, 1);
    (report, old)
}

#[tokio::test(start_paused = true)]
async fn a_run_is_undone_as_if_it_had_not_been_and_no_owner_repairs_it_again() {
    let world = settled(collection_settings()).await;
    // An update that node-c missed (and whose ignored member is its own), one content of its own, an insert that it
    // missed, and a straggler that has expired.
    world.stores[2].put(row(1, 100, r#"{"name":"1","views":7}"#));
    for store in &world.stores[..2] {
        store.put(row(1, 200, r#"{"name":"newer","views":1}"#));
        store.put(row(1000, 200, r#"{"name":"inserted"}"#));
    }
    world.stores[2].put(row(2, 100, r#"{"name":"flipped"}"#));
    world.stores[2].put(expiring_row(2000, 50, Some(NOW - 1_000), r#"{"name":"straggler"}"#));
    let before = world.contents();
    let report = world.pass().await;
    assert_eq!(report.counts().repaired, 4);
    let repaired = world.contents();

    let look = world.replicas[2].undo(report.run, None, true).await;
    let restorable = |write| (UndoState::Restorable, Some(write));
    let expected = BTreeMap::from([
        ("1".to_owned(), restorable(UndoWrite::Update)),
        ("1000".to_owned(), restorable(UndoWrite::Delete)),
        ("2".to_owned(), restorable(UndoWrite::Update)),
        ("2000".to_owned(), restorable(UndoWrite::Insert)),
    ]);
    assert_eq!(states(&look), expected);
    assert_eq!(world.contents(), repaired, "a look writes nothing");

    for agent in 0..2 {
        assert_eq!(states(&undo(&world, agent, report.run).await).len(), 0, "nothing was repaired there");
    }
    let undone = undo(&world, 2, report.run).await;
    assert!(states(&undone).values().all(|(state, _)| *state == UndoState::Restored), "{undone:?}");
    assert_eq!(world.contents(), before, "whole rows, ignored members and all");
    assert_held(&world, "node-c", &["1", "1000", "2", "2000"]).await;

    let again = undo(&world, 2, report.run).await;
    assert!(states(&again).values().all(|(state, _)| *state == UndoState::Undone), "{again:?}");
    assert_eq!(world.contents(), before);
}

#[tokio::test(start_paused = true)]
async fn one_key_is_undone_and_the_others_stay() {
    let world = settled(collection_settings()).await;
    for store in &world.stores[..2] {
        (1..4).for_each(|id| store.put(row(id, 200, r#"{"name":"newer"}"#)));
    }
    let old = world.stores[2].row(&Key::integer(2)).unwrap();
    let report = world.pass().await;
    let undone = world.replicas[2].undo(report.run, Some(&Key::integer(2)), false).await;
    assert_eq!(state(&undone), UndoState::Restored);
    assert_eq!(world.stores[2].row(&Key::integer(2)), Some(old));
    assert_eq!(world.stores[2].row(&Key::integer(3)), world.stores[0].row(&Key::integer(3)));
    assert_held(&world, "node-c", &["2"]).await;
}

#[tokio::test(start_paused = true)]
async fn what_was_put_back_is_nobodys_vote_and_its_write_carries_a_marker() {
    let world = settled(collection_settings()).await;
    let (report, _) = repaired_update(&world).await;
    undo(&world, 2, report.run).await;
    let seen = world.replicas[2].look(vec![Key::integer(5)]).await.unwrap();
    let Presence::Live(sighting) = &seen[0].observation.presence else { panic!("{seen:?}") };
    assert!(sighting.by_repair);
    let page = PageSize { rows: 1_000, bytes: 1 << 30 };
    let changes = world.stores[2].changes(FeedPosition(0), page).await.unwrap().changes;
    let last = changes.last().unwrap();
    let origin = last.origin.as_ref().unwrap();
    assert_eq!((last.kind, origin.cause, origin.run), (ChangeKind::Update, Cause::Restored, report.run));
    let repair = items(&report)[0].repair.unwrap();
    assert_eq!(origin.repair, repair.undoing());
    // It is journalled like a repair: with the row that it replaced.
    let image = world.journals[2].before_images(&[repair.undoing()]).unwrap().remove(0);
    assert_eq!(image, Some(row(5, 200, r#"{"name":"newer"}"#)));
}

#[tokio::test(start_paused = true)]
async fn an_undone_deletion_is_nobodys_vote_and_changes_no_memory() {
    let key = Key::integer(5);
    for feed in [false, true] {
        let world = settled(CollectionSettings { feed, ..collection_settings() }).await;
        let old = world.stores[2].row(&key).unwrap();
        world.stores[..2].iter().for_each(|store| assert!(store.delete(&key)));
        let report = world.pass().await;
        assert_eq!((report.counts().repaired, world.stores[2].row(&key)), (1, None), "feed: {feed}");
        let mut remembered = Vec::new();
        for replica in &world.replicas {
            remembered.push(replica.look(vec![key.clone()]).await.unwrap().remove(0).observation.memory);
        }
        assert_eq!(state(&undo(&world, 2, report.run).await), UndoState::Restored);
        assert_held(&world, "node-c", &["5"]).await;
        assert_eq!(world.stores[2].row(&key), Some(old), "feed: {feed}");
        for (replica, memory) in world.replicas.iter().zip(remembered) {
            let seen = replica.look(vec![key.clone()]).await.unwrap().remove(0).observation;
            assert_eq!(seen.memory, memory, "feed: {feed}, {}", replica.node());
            assert!(!matches!(seen.presence, Presence::Live(sighting) if !sighting.by_repair));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_was_undone_is_no_deletion_to_the_feed() {
    let key = Key::integer(1_000);
    let world = settled(CollectionSettings { feed: true, ..collection_settings() }).await;
    world.stores[..2].iter().for_each(|store| store.put(row(1_000, 100, "{}")));
    let report = world.pass().await;
    assert!(world.stores[2].row(&key).is_some());
    assert_eq!(state(&undo(&world, 2, report.run).await), UndoState::Restored);
    assert_held(&world, "node-c", &["1000"]).await;
    assert!(world.stores[..2].iter().all(|store| store.row(&key).is_some()));
    for replica in &world.replicas {
        assert_eq!(replica.look(vec![key.clone()]).await.unwrap().remove(0).observation.memory, None);
    }
}

#[tokio::test(start_paused = true)]
async fn an_undo_whose_asker_leaves_is_carried_to_its_end() {
    let world = settled(collection_settings()).await;
    let (report, old) = repaired_update(&world).await;
    let (tell, told) = oneshot::channel::<()>();
    world.interrupt(2, Call::Apply, move || drop(tell));
    tokio::select! {
        biased;
        _ = told => {}
        undone = undo(&world, 2, report.run) => panic!("{undone:?}"),
    }
    // Whoever writes next, or looks, waits for it.
    assert_eq!(state(&world.replicas[2].undo(report.run, None, true).await), UndoState::Undone);
    let repair = items(&report)[0].repair.unwrap();
    let outcome = world.journals[2].outcome(repair.undoing()).unwrap();
    assert!(matches!(outcome, Some(IntentOutcome::Applied { after: Some(_) })), "{outcome:?}");
    assert_eq!(world.stores[2].row(&Key::integer(5)), Some(old));
    assert_held(&world, "node-c", &["5"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_row_that_a_client_wrote_since_stays() {
    let world = settled(collection_settings()).await;
    let (report, _) = repaired_update(&world).await;
    let client = row(5, 200, r#"{"name":"newer","views":1}"#);
    world.stores[2].put(client.clone());
    assert_eq!(state(&undo(&world, 2, report.run).await), UndoState::Changed);
    assert_eq!(world.stores[2].row(&Key::integer(5)), Some(client));
    assert!(world.stores[2].delete(&Key::integer(5)));
    assert_eq!(state(&undo(&world, 2, report.run).await), UndoState::Changed);
    assert_eq!(world.stores[2].row(&Key::integer(5)), None);
}

#[tokio::test(start_paused = true)]
async fn a_client_write_in_the_midst_of_an_undo_wins_and_leaves_no_pin() {
    let world = settled(collection_settings()).await;
    let (report, _) = repaired_update(&world).await;
    let (store, client) = (world.stores[2].clone(), row(5, 300, r#"{"name":"newest"}"#));
    let written = client.clone();
    world.interrupt(2, Call::Apply, move || store.put(written));
    assert_eq!(state(&undo(&world, 2, report.run).await), UndoState::Changed);
    assert_eq!(world.stores[2].row(&Key::integer(5)), Some(client));
    let pins = world.journals[2].pins_of_replica(&"products".parse().unwrap(), &nodes()[2]).unwrap();
    assert_eq!(pins, []);
}

#[tokio::test(start_paused = true)]
async fn a_newer_write_of_the_winner_ends_a_pin() {
    let world = settled(collection_settings()).await;
    let (report, _) = repaired_update(&world).await;
    undo(&world, 2, report.run).await;
    assert_held(&world, "node-c", &["5"]).await;
    let newest = row(5, 300, r#"{"name":"newest"}"#);
    world.stores[0].put(newest.clone());
    world.stores[1].put(newest.clone());
    let report = world.pass().await;
    assert_eq!((report.counts().repaired, world.stores[2].row(&Key::integer(5))), (1, Some(newest)));
    // By the next scan it is forgotten, too.
    world.pass().await;
    let pins = world.journals[2].pins_of_replica(&"products".parse().unwrap(), &nodes()[2]).unwrap();
    assert_eq!(pins, []);
}

#[tokio::test(start_paused = true)]
async fn a_write_of_the_loser_ends_a_pin_for_good() {
    let world = settled(collection_settings()).await;
    let (report, old) = repaired_update(&world).await;
    undo(&world, 2, report.run).await;
    // Still older than the others, and no more the row that was put back.
    world.stores[2].put(row(5, 150, r#"{"name":"between"}"#));
    let report = world.pass().await;
    assert_eq!(report.counts().repaired, 1);
    // Nor does it hold the same row, should it come again.
    world.stores[2].put(old);
    assert_eq!(world.pass().await.counts().repaired, 1);
    assert!(world.all_the_same());
}

#[tokio::test(start_paused = true)]
async fn an_approval_overrides_a_pin_and_ends_it() {
    let world = settled(collection_settings()).await;
    let (report, _) = repaired_update(&world).await;
    undo(&world, 2, report.run).await;
    let held = world.pass().await;
    let approval = Approval {
        run: held.run,
        keys: [Key::integer(5)].into(),
        repairs: items(&held).iter().filter_map(|item| item.repair).collect(),
    };
    let report = world.pass_with(Mandate::Approved(approval)).await;
    assert_eq!(report.counts().repaired, 1, "{:?}", items(&report));
    assert!(world.all_the_same());
    let pins = world.journals[2].pins_of_replica(&"products".parse().unwrap(), &nodes()[2]).unwrap();
    assert_eq!(pins, []);
    // What was approved is taken back as well, by the run that made it.
    assert_eq!(state(&undo(&world, 2, report.run).await), UndoState::Restored);
    assert_held(&world, "node-c", &["5"]).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_pinned_waits_with_the_rest_where_all_is_planned() {
    let world = settled(collection_settings()).await;
    let (report, _) = repaired_update(&world).await;
    undo(&world, 2, report.run).await;
    let report = world.dry_run().await;
    let shard = report.shards.iter().find(|shard| !shard.items.is_empty()).unwrap();
    assert_eq!(shard.planned, Some(PlanReason::DryRun));
    assert_eq!(shard.items[0].outcome, Outcome::Held(HoldReason::Pinned));
}

#[tokio::test(start_paused = true)]
async fn a_target_refuses_what_is_pinned_unless_it_was_approved() {
    let world = settled(collection_settings()).await;
    let (report, old) = repaired_update(&world).await;
    undo(&world, 2, report.run).await;
    let key = Key::integer(5);
    let claim = claim_of(&world, &key);
    let [.., node] = nodes();
    let read =
        ReadRequest { claim: claim.clone(), node: node.clone(), keys: vec![key.clone()], conclude: true };
    let seen = world.agents[2].read(read).await.unwrap();
    let fingerprinter = world.fleet.fingerprinter(&claim.collection);
    let before = Some(fingerprinter.row_digest(&old));
    assert_eq!(seen[0].pinned.unwrap().before, before);
    let apply = |number: u8, row: Row, authority| {
        let item = ApplyItem {
            repair: RepairId::from_bytes([number; 16]),
            key: key.clone(),
            expected: before,
            row: Some(row),
            cause: Cause::MissedUpdate,
        };
        let (claim, node) = (claim.clone(), node.clone());
        world.agents[2].apply(ApplyRequest { claim, node, authority, items: vec![item] })
    };
    let winner = world.stores[0].row(&key).unwrap();
    let refused = apply(1, winner.clone(), Authority::Automatic).await.unwrap();
    assert_eq!(refused, [ApplyOutcome::Refused("pinned".to_owned())]);
    assert_eq!(world.stores[2].row(&key), Some(old));
    let approved = apply(2, winner.clone(), Authority::Approved(report.run)).await.unwrap();
    assert_eq!((&approved[0], world.stores[2].row(&key)), (&ApplyOutcome::Applied, Some(winner)));
}

#[tokio::test(start_paused = true)]
async fn another_change_of_a_pinned_row_is_not_refused() {
    let world = settled(collection_settings()).await;
    let (report, old) = repaired_update(&world).await;
    undo(&world, 2, report.run).await;
    let pins = world.journals[2].pins_of_replica(&"products".parse().unwrap(), &nodes()[2]).unwrap();
    assert_eq!((pins.len(), &pins[0].key), (1, &Key::integer(5)));
    // Tell the agent of another change: the pin is of that one now.
    let [.., node] = nodes();
    let fingerprinter = world.fleet.fingerprinter(&"products".parse().unwrap());
    let pin = Pin { before: Some(fingerprinter.row_digest(&old)), after: None };
    let request =
        PinRequest { collection: "products".parse().unwrap(), node, pins: vec![(Key::integer(5), pin)] };
    world.agents[2].pin(request.clone()).await.unwrap();
    assert_eq!(world.pass().await.counts().repaired, 1);
    assert!(world.all_the_same());
    let elsewhere = PinRequest { node: nodes()[0].clone(), ..request };
    let unknown = world.agents[2].pin(elsewhere).await;
    assert_eq!(unknown, Err(PeerError::Unknown(UnknownReason::Config)));
}

#[tokio::test(start_paused = true)]
async fn a_change_that_the_agent_was_told_of_is_left_alone_by_all_owners() {
    let world = settled(collection_settings()).await;
    // As after a drop: the repair was planned, and nobody wants it.
    world.stores[0].put(row(1000, 200, "{}"));
    world.stores[1].put(row(1000, 200, "{}"));
    let planned = world.dry_run().await;
    let item = items(&planned)[0].clone();
    assert_eq!(item.node, nodes()[2]);
    let pin = Pin { before: item.row_before, after: item.entry_after };
    let request = PinRequest {
        collection: "products".parse().unwrap(),
        node: item.node.clone(),
        pins: vec![(item.key.clone(), pin)],
    };
    world.agents[2].pin(request).await.unwrap();
    assert_held(&world, "node-c", &["1000"]).await;
}

#[tokio::test(start_paused = true)]
async fn without_images_only_inserts_can_be_taken_back() {
    let world = World::without_images(collection_settings());
    (0..20).for_each(|id| world.write_all(&row(id, 100, "{}")));
    world.pass().await;
    for store in &world.stores[..2] {
        store.put(row(1, 200, "{}"));
        store.put(row(1000, 200, "{}"));
    }
    let report = world.pass().await;
    let expected = BTreeMap::from([
        ("1".to_owned(), (UndoState::ImagesOff, None)),
        ("1000".to_owned(), (UndoState::Restored, Some(UndoWrite::Delete))),
    ]);
    assert_eq!(states(&undo(&world, 2, report.run).await), expected);
    assert_eq!(world.stores[2].row(&Key::integer(1)), Some(row(1, 200, "{}")));
}

#[tokio::test(start_paused = true)]
async fn a_row_beyond_the_cap_is_repaired_and_cannot_be_put_back() {
    let mut collection = collection_settings();
    collection.replicas.iter_mut().for_each(|replica| replica.mapping.document_bytes_max = 16 << 20);
    let world = settled(collection).await;
    let large = format!("{{\"large\":\"{}\"}}", "x".repeat(9 << 20));
    world.write_all(&row(5, 150, &large));
    let (report, _) = repaired_update(&world).await;
    let UndoState::TooLarge { bytes } = state(&undo(&world, 2, report.run).await) else { panic!() };
    assert!(bytes > 9 << 20);
}

#[tokio::test(start_paused = true)]
async fn an_image_that_was_pruned_cannot_be_put_back() {
    let world = settled(collection_settings()).await;
    let (report, _) = repaired_update(&world).await;
    let retention = Retention {
        before_images: world.fleet.journal.undo_retention,
        runs: world.fleet.journal.retention,
        intents: world.fleet.journal.retention,
        observed: BTreeMap::new(),
    };
    let later = WallMicros(*world.clock.0.lock() + 601_000_000);
    // Within the retention it is kept.
    let earlier = WallMicros(later.0 - 10_000_000);
    assert_eq!(world.journals[2].prune(earlier, &retention, 100).unwrap().before_images, 0);
    assert_eq!(state(&world.replicas[2].undo(report.run, None, true).await), UndoState::Restorable);
    let longer = Retention { runs: 2 * retention.runs, intents: 2 * retention.runs, ..retention.clone() };
    assert_eq!(world.journals[2].prune(later, &longer, 100).unwrap().before_images, 1);
    assert_eq!(state(&undo(&world, 2, report.run).await), UndoState::ImageGone);
}

#[tokio::test(start_paused = true)]
async fn a_forgotten_row_cannot_be_put_back() {
    let world = settled(collection_settings()).await;
    let (report, _) = repaired_update(&world).await;
    let forgotten = world.journals[2].forget(&"products".parse().unwrap(), &Key::integer(5)).unwrap();
    assert_eq!(forgotten.images, 1);
    assert_eq!(state(&undo(&world, 2, report.run).await), UndoState::ImageGone);
}

#[tokio::test(start_paused = true)]
async fn a_pause_holds_an_undo_back_and_a_look_is_free() {
    let world = settled(collection_settings()).await;
    let (report, _) = repaired_update(&world).await;
    world.journals[2].pause(&Pause { scope: PauseScope::All, until: None }).unwrap();
    let before = world.contents();
    assert_eq!(state(&world.replicas[2].undo(report.run, None, true).await), UndoState::Restorable);
    let undone = undo(&world, 2, report.run).await;
    assert!(matches!(undone.failed, Some(PeerError::Refused(_))), "{undone:?}");
    assert_eq!((undone.items.len(), world.contents()), (0, before));
    world.journals[2].resume(&PauseScope::All).unwrap();
    assert_eq!(state(&undo(&world, 2, report.run).await), UndoState::Restored);
}

#[tokio::test(start_paused = true)]
async fn repair_off_does_not_stand_against_a_person() {
    let collection = CollectionSettings { repair: RepairMode::Off, ..collection_settings() };
    let world = settled(collection).await;
    // An agent that is told to write nothing by itself refuses repairs; its journal may be of a time before that.
    let old = world.stores[2].row(&Key::integer(5)).unwrap();
    let newer = row(5, 200, "{}");
    world.write_all(&newer);
    let run = RunId::from_bytes([4; 16]);
    made_before(&world, run, &old, &newer);
    assert_eq!(state(&undo(&world, 2, run).await), UndoState::Restored);
    assert_eq!(world.stores[2].row(&Key::integer(5)), Some(old));
}

/// Journals a repair of node-c that turned one row into another.
fn made_before(world: &World, run: RunId, old: &Row, new: &Row) {
    use selfsame_journal::{BeforeImage, Intent, IntentWrite};
    let collection = &world.fleet.collections[0];
    let mapping = world.fleet.mapping(&collection.name, &collection.replicas[2]).unwrap();
    let (before, after) =
        (mapping.document(old.clone(), "").unwrap(), mapping.document(new.clone(), "").unwrap());
    let repair = RepairId::from_bytes([4; 16]);
    let intent = Intent {
        repair,
        run,
        epoch: Epoch { counter: 1, agent: "a".parse().unwrap() },
        collection: collection.name.clone(),
        node: nodes()[2].clone(),
        key: after.entry.key.clone(),
        key_digest: after.key_digest,
        expected: Some(before.row_digest),
        write: IntentWrite::Put { entry: after.entry, row: None },
        before: BeforeImage::Kept(old.clone()),
        cause: Cause::MissedUpdate,
        approved: false,
        at: WallMicros(NOW),
    };
    world.journals[2].write_intents(&[intent]).unwrap();
    let applied = IntentOutcome::Applied { after: Some(after.row_digest) };
    world.journals[2].write_outcomes(&[(repair, applied)]).unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_undo_whose_answer_was_lost_is_settled_by_reading_and_stays_pinned() {
    let world = settled(collection_settings()).await;
    let (report, old) = repaired_update(&world).await;
    world.faults[2].push(Call::Apply, Some(Fault::LoseAnswer));
    let undone = undo(&world, 2, report.run).await;
    assert_eq!(undone.items[0].state, UndoState::Unanswered);
    assert_eq!(undone.failed, Some(PeerError::Unknown(UnknownReason::Unreachable)));
    assert_held(&world, "node-c", &["5"]).await;
    assert_eq!(world.stores[2].row(&Key::integer(5)), Some(old));
    assert_eq!(state(&undo(&world, 2, report.run).await), UndoState::Undone);
    let open = world.journals[2].open_intents(&"products".parse().unwrap(), &nodes()[2], 10).unwrap();
    assert_eq!(open.rows, []);
}

#[tokio::test(start_paused = true)]
async fn an_undo_that_never_reached_the_store_is_made_by_the_next() {
    let world = settled(collection_settings()).await;
    let (report, old) = repaired_update(&world).await;
    world.faults[2].push(Call::Apply, Some(Fault::Unavailable));
    assert_eq!(undo(&world, 2, report.run).await.items[0].state, UndoState::Unanswered);
    // Nothing was put back, and nothing is pinned: the replicas agree.
    assert!(matches!(world.pass().await.verdict(), ShardVerdict::InSync { .. }));
    assert_eq!(state(&undo(&world, 2, report.run).await), UndoState::Restored);
    assert_eq!(world.stores[2].row(&Key::integer(5)), Some(old));
    assert_held(&world, "node-c", &["5"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_silent_store_is_said_and_nothing_is_concluded() {
    let world = settled(collection_settings()).await;
    let (report, _) = repaired_update(&world).await;
    world.faults[2].push(Call::Read, Some(Fault::Unavailable));
    let undone = undo(&world, 2, report.run).await;
    assert_eq!(undone.failed, Some(PeerError::Unknown(UnknownReason::Unreachable)));
    assert_eq!(undone.items.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_repair_that_is_delivered_again_after_a_lost_answer_is_known_as_ours() {
    let world = settled(collection_settings()).await;
    let key = Key::integer(5);
    let old = world.stores[2].row(&key).unwrap();
    let claim = claim_of(&world, &key);
    let [.., node] = nodes();
    let read =
        ReadRequest { claim: claim.clone(), node: node.clone(), keys: vec![key.clone()], conclude: true };
    world.agents[2].read(read).await.unwrap();
    let item = ApplyItem {
        repair: RepairId::from_bytes([1; 16]),
        key: key.clone(),
        expected: Some(world.fleet.fingerprinter(&claim.collection).row_digest(&old)),
        row: Some(row(5, 200, "{}")),
        cause: Cause::MissedUpdate,
    };
    let run = claim.run;
    let request = ApplyRequest { claim, node, authority: Authority::Automatic, items: vec![item] };
    world.faults[2].push(Call::Apply, Some(Fault::LoseAnswer));
    world.agents[2].apply(request.clone()).await.unwrap_err();
    let again = world.agents[2].apply(request).await.unwrap();
    assert_eq!(again, [ApplyOutcome::AlreadyThere]);
    let outcome = world.journals[2].outcome(RepairId::from_bytes([1; 16])).unwrap();
    assert!(matches!(outcome, Some(IntentOutcome::Applied { after: Some(_) })), "{outcome:?}");
    let undone = undo(&world, 2, run).await;
    assert_eq!((state(&undone), world.stores[2].row(&key)), (UndoState::Restored, Some(old)));
}

#[tokio::test(start_paused = true)]
async fn a_run_of_which_nothing_is_known_undoes_nothing() {
    let world = settled(collection_settings()).await;
    let before = world.contents();
    let undone = undo(&world, 0, RunId::from_bytes([1; 16])).await;
    assert_eq!((undone.items.len(), undone.failed), (0, None));
    assert_eq!(world.contents(), before);
}

#[tokio::test(start_paused = true)]
async fn a_deletion_of_ours_beside_a_confirm_is_nobodys_vote() {
    let world = Arc::new(settled(collection_settings()).await);
    let key = Key::integer(1_000);
    world.stores[..2].iter().for_each(|store| store.put(row(1_000, 100, "{}")));
    let report = world.pass().await;
    assert_eq!(report.counts().repaired, 1);
    // The confirm has settled what was open; then the insert is taken back, and nobody has heard of it when the confirm
    // finds the row gone.
    let beside = world.clone();
    world.meanwhile(2, Call::Read, async move {
        beside.faults[2].push(Call::Apply, Some(Fault::LoseAnswer));
        assert!(undo(&beside, 2, report.run).await.failed.is_some());
    });
    let [.., node] = nodes();
    let confirm =
        ReadRequest { claim: claim_of(&world, &key), node, keys: vec![key.clone()], conclude: true };
    let seen = world.agents[2].read(confirm).await.unwrap().remove(0).observation;
    assert_eq!((seen.presence, seen.memory), (Presence::Absent, None));
    // Nor is it one when the outcome is known.
    assert_eq!(state(&undo(&world, 2, report.run).await), UndoState::Undone);
    assert_eq!(world.replicas[2].look(vec![key]).await.unwrap().remove(0).observation.memory, None);
}

#[tokio::test(start_paused = true)]
async fn an_undo_that_is_not_made_leaves_what_was_dropped_pinned() {
    let world = settled(collection_settings()).await;
    let (report, _) = repaired_update(&world).await;
    // The next update is missed again, and a person drops the plan for it.
    world.stores[..2].iter().for_each(|store| store.put(row(5, 300, r#"{"name":"newest"}"#)));
    let planned = world.dry_run().await;
    let item = items(&planned)[0].clone();
    let dropped = Pin { before: item.row_before, after: item.entry_after };
    let collection = "products".parse().unwrap();
    let request = PinRequest { collection, node: item.node.clone(), pins: vec![(item.key.clone(), dropped)] };
    world.agents[2].pin(request).await.unwrap();
    assert_held(&world, "node-c", &["5"]).await;
    // The store is not heard of, as if the agent had ended; then it refuses what the undo puts back.
    world.faults[2].push(Call::Apply, Some(Fault::Unavailable));
    assert_eq!(undo(&world, 2, report.run).await.items[0].state, UndoState::Unanswered);
    assert_held(&world, "node-c", &["5"]).await;
    *world.mangles[2].lock() = Some(|_| row(6, 100, "{}"));
    assert!(matches!(state(&undo(&world, 2, report.run).await), UndoState::Refused(_)));
    assert_held(&world, "node-c", &["5"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_held_replica_is_not_written_to_by_an_undo_either() {
    let world = settled(collection_settings()).await;
    let (report, old) = repaired_update(&world).await;
    let copy = world.stores[2].backup();
    world.pass().await;
    world.stores[2].restore(&copy);
    world.pass().await;
    assert!(world.replicas[2].held().is_some(), "nothing was held: the test shows nothing");
    let before = world.contents();
    let look = world.replicas[2].undo(report.run, None, true).await;
    assert_eq!(look.items[0].state, UndoState::Restorable);
    assert_eq!(look.failed, Some(PeerError::Unknown(UnknownReason::Held)));
    let undone = undo(&world, 2, report.run).await;
    assert_eq!(undone.failed, Some(PeerError::Unknown(UnknownReason::Held)), "{undone:?}");
    assert_eq!((undone.items.len(), world.contents()), (0, before));
    world.replicas[2].release().await.unwrap();
    assert_eq!(state(&undo(&world, 2, report.run).await), UndoState::Restored);
    assert_eq!(world.stores[2].row(&Key::integer(5)), Some(old));
}
