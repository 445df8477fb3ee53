//! Purge over three agents: certain tombstones are forgotten by all or by none, after retention, and stay forgotten.

#![allow(clippy::unwrap_used, reason = "all of this file is tests")]

mod world;

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use selfsame_agent::exchange::Mandate;
use selfsame_agent::exchange::report::{PassReport, PlanReason};
use selfsame_agent::peer::{Peer as _, PeerError};
use selfsame_agent::settings::CollectionSettings;
use selfsame_core::{
    Certainty, Epoch, Key, ShardId, ShardVerdict, Tombstone, TombstoneCause, TombstoneOwner, Version,
    WallMicros,
};
use selfsame_store::{Call, Fault};
use selfsame_wire::message::{Claim, KeyMemory, LedgerAsk, LedgerRequest};
use world::faulty::{Ledgers, PeerFault, listening, with_fault};
use world::{World, collection_settings, filled_with, in_sync, nodes, row};

const DAY: i64 = 24 * 60 * 60 * 1_000_000;

fn with_feed() -> CollectionSettings {
    CollectionSettings { feed: true, ..collection_settings() }
}

fn wait(world: &World, micros: i64) {
    *world.clock.0.lock() += micros;
}

fn silence(world: &World, store: usize) {
    for call in [Call::Identity, Call::Scan, Call::Read, Call::Count, Call::Changes] {
        (0..200).for_each(|_| world.faults[store].push(call, Some(Fault::Unavailable)));
    }
}

/// What each replica remembers for certain, by key.
type Remembered = Vec<BTreeMap<String, (Key, Tombstone)>>;

fn remembered(world: &World) -> Remembered {
    let collection = &world.fleet.collections[0].name;
    let of = |(journal, node): (&std::sync::Arc<selfsame_journal::Journal>, _)| {
        let memories = journal.memories_after(collection, &node, None, 1_000).unwrap();
        let certain = memories.into_iter().filter(|memory| memory.tombstone.certainty == Certainty::Certain);
        certain.map(|memory| (memory.key.to_string(), (memory.key, memory.tombstone))).collect()
    };
    world.journals.iter().zip(nodes()).map(of).collect()
}

/// How much each replica remembers for certain.
fn counts(world: &World) -> Vec<usize> {
    remembered(world).iter().map(BTreeMap::len).collect()
}

/// The horizons of each replica, by shard.
fn horizons(world: &World) -> Vec<BTreeMap<ShardId, WallMicros>> {
    let collection = &world.fleet.collections[0];
    let shards = collection.replicas[0].mapping.shards;
    let of = |(journal, node): (&std::sync::Arc<selfsame_journal::Journal>, _)| {
        journal.purge_horizons(&collection.name, &node, shards).unwrap().into_iter().collect()
    };
    world.journals.iter().zip(nodes()).map(of).collect()
}

fn is_in_sync(report: &PassReport) -> bool {
    matches!(report.verdict(), ShardVerdict::InSync { .. })
}

/// A pass of which these agents do not hear the end; gives what ledgers were asked for.
async fn pass_unheard(world: &World, deaf: &[usize]) -> Vec<LedgerRequest> {
    let ledgers = Ledgers::default();
    let (slot, peers) = (world.next_slot(), listening(world, deaf, &ledgers));
    world.pass_by(0, slot, Mandate::Automatic, peers).await;
    ledgers.lock().clone()
}

/// A world in which everybody remembers that one key was deleted.
async fn one_deleted() -> World {
    let world = in_sync(with_feed()).await;
    world.stores.iter().for_each(|store| assert!(store.delete(&Key::integer(7))));
    assert!(is_in_sync(&world.pass().await));
    assert_eq!(counts(&world), [1, 1, 1]);
    world
}

#[tokio::test(start_paused = true)]
async fn what_all_have_joined_is_forgotten_after_retention() {
    let mut world = one_deleted().await;
    wait(&world, 10 * DAY - 2_000_000);
    world.pass().await;
    assert_eq!(counts(&world), [1, 1, 1], "retention has not passed");
    wait(&world, DAY);
    world.dry_run().await;
    assert_eq!(counts(&world), [1, 1, 1], "a dry run");
    assert!(is_in_sync(&world.pass().await));
    assert_eq!(counts(&world), [0, 0, 0]);
    let before = horizons(&world);
    assert!(before.windows(2).all(|pair| pair[0] == pair[1]) && before[0].len() == 4, "{before:?}");
    world.restart_all();
    assert_eq!((counts(&world), horizons(&world)), (vec![0, 0, 0], before));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_forgotten_before_every_replica_is_heard_and_has_joined() {
    let world = one_deleted().await;
    wait(&world, 11 * DAY);
    silence(&world, 2);
    world.pass().await;
    assert_eq!(counts(&world), [1, 1, 1], "one store is away");
    world.faults[2].clear();
    let peers = with_fault(&world, &[2], PeerFault::Ledger);
    let slot = world.next_slot();
    assert!(is_in_sync(&world.pass_by(0, slot, Mandate::Automatic, peers).await), "memory withholds nothing");
    assert_eq!(counts(&world), [1, 1, 1], "one ledger does not answer");
    world.pass().await;
    assert_eq!(counts(&world), [0, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_deletion_that_was_not_carried_out_everywhere_is_not_forgotten() {
    let world = in_sync(with_feed()).await;
    world.stores[0].delete(&Key::integer(7));
    for _ in 0..3 {
        // Somebody is to approve it, and does not.
        world.pass_with(Mandate::Plan(PlanReason::ApproveMode)).await;
        assert_eq!(counts(&world), [1, 1, 1]);
        wait(&world, 9 * DAY);
    }
    assert!(is_in_sync(&world.pass().await));
    world.pass().await;
    assert_eq!(counts(&world), [0, 0, 0]);
    assert!(world.stores.iter().all(|store| store.row(&Key::integer(7)).is_none()), "it came back");
}

#[tokio::test(start_paused = true)]
async fn who_joins_at_the_last_moment_forgets_with_the_others() {
    let world = in_sync(with_feed()).await;
    // Two replicas saw the key go at times of their own, and the third one never heard of it.
    for store in [0, 1] {
        world.stores[store].delete(&Key::integer(7));
        (0..3).filter(|other| *other != store).for_each(|other| silence(&world, other));
        world.pass().await;
        world.faults.iter().for_each(|faults| faults.clear());
        wait(&world, 3 * DAY / 2);
    }
    world.stores[2].delete(&Key::integer(7));
    assert_eq!(counts(&world), [1, 1, 0]);
    let times = |world: &World| -> Vec<i64> {
        remembered(world).iter().flat_map(|known| known.values()).map(|(_, known)| known.at.0).collect()
    };
    assert_ne!(times(&world)[0], times(&world)[1]);
    wait(&world, 9 * DAY);
    // The first one's memory is old enough, the second one's is not: all forget by the later.
    world.pass().await;
    let joined = times(&world);
    assert_eq!((joined.len(), joined[0] == joined[1] && joined[1] == joined[2]), (3, true), "{joined:?}");
    wait(&world, 11 * DAY);
    world.pass().await;
    assert_eq!(counts(&world), [0, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn who_missed_the_end_of_the_pass_catches_up_and_brings_nothing_back() {
    let mut world = one_deleted().await;
    wait(&world, 11 * DAY);
    pass_unheard(&world, &[2]).await;
    assert_eq!(counts(&world), [0, 0, 1]);
    // It is away for a while, and comes back with what it remembers.
    silence(&world, 2);
    wait(&world, 3 * DAY);
    pass_unheard(&world, &[2]).await;
    assert_eq!(counts(&world), [0, 0, 1]);
    world.restart_all();
    world.faults[2].clear();
    let joins = |asked: &[LedgerRequest]| {
        asked.iter().filter(|request| matches!(request.ask, LedgerAsk::Join(_))).count()
    };
    let asked = pass_unheard(&world, &[2]).await;
    assert_eq!((joins(&asked), counts(&world)), (0, vec![0, 0, 1]), "nobody is told of it: {asked:?}");
    pass_unheard(&world, &[]).await;
    assert_eq!(counts(&world), [0, 0, 0]);
    for _ in 0..2 {
        assert_eq!(pass_unheard(&world, &[]).await, [], "equal ledgers are not listed");
    }
    let horizons = horizons(&world);
    assert!(horizons.windows(2).all(|pair| pair[0] == pair[1]), "{horizons:?}");
}

#[tokio::test(start_paused = true)]
async fn a_purged_tombstone_is_refused_and_a_younger_one_is_taken() {
    let mut world = one_deleted().await;
    let (key, tombstone) = remembered(&world)[0].values().next().unwrap().clone();
    wait(&world, 11 * DAY);
    world.pass().await;
    world.restart_all();
    let collection = &world.fleet.collections[0];
    let shard = world
        .fleet
        .fingerprinter(&collection.name)
        .key_digest(&key)
        .shard(collection.replicas[0].mapping.shards);
    let claim = Claim {
        collection: collection.name.clone(),
        shard,
        epoch: Epoch { counter: 1_000, agent: "a".parse().unwrap() },
        run: selfsame_core::RunId::of("test", &collection.name, world.next_slot()),
    };
    let join = async |memories: Vec<KeyMemory>| {
        let (claim, node) = (claim.clone(), nodes()[0].clone());
        world.agents[0].ledger(LedgerRequest { claim, node, ask: LedgerAsk::Join(memories) }).await
    };
    let of = |key: &Key, at| KeyMemory { key: key.clone(), tombstone: Tombstone { at, ..tombstone.clone() } };
    let refused = join(vec![of(&key, tombstone.at)]).await;
    assert!(matches!(refused, Err(PeerError::Refused(_))), "{refused:?}");
    assert_eq!(counts(&world), [0, 0, 0]);
    // Beside it, what is younger is taken.
    let younger = of(&key, WallMicros(*world.clock.0.lock()));
    join(vec![of(&key, tombstone.at), younger]).await.unwrap_err();
    assert_eq!(counts(&world), [1, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_lost_journal_purges_nothing_and_catches_up() {
    // A client deleted on one replica, and the others followed: their own feeds tell nothing.
    let mut world = in_sync(with_feed()).await;
    world.stores[0].delete(&Key::integer(7));
    world.pass().await;
    wait(&world, 9 * DAY);
    world.stores[0].delete(&Key::integer(8));
    world.pass().await;
    wait(&world, 2 * DAY);
    lose_journal(&mut world, 2);
    assert_eq!(counts(&world), [2, 2, 0]);
    let peers = with_fault(&world, &[2], PeerFault::Ledger);
    let slot = world.next_slot();
    world.pass_by(0, slot, Mandate::Automatic, peers).await;
    assert_eq!(counts(&world), [2, 2, 0], "it has joined nothing");
    pass_unheard(&world, &[]).await;
    assert_eq!(counts(&world), [1, 1, 1]);
    lose_journal(&mut world, 2);
    pass_unheard(&world, &[]).await;
    assert_eq!(counts(&world), [1, 1, 1]);
    let horizons = horizons(&world);
    assert!(horizons.windows(2).all(|pair| pair[0] == pair[1]), "{horizons:?}");
}

fn lose_journal(world: &mut World, at: usize) {
    let data = world.fleet.agents[at].data.clone();
    world.restart_all_after(|| {
        for file in std::fs::read_dir(&data).unwrap().map(|file| file.unwrap().path()) {
            if file.file_name().unwrap().to_string_lossy().starts_with("journal") {
                std::fs::remove_file(file).unwrap();
            }
        }
    });
}

#[tokio::test(start_paused = true)]
async fn nobody_forgets_by_a_clock_that_is_ahead_of_its_own() {
    let world = one_deleted().await;
    wait(&world, 11 * DAY);
    // The owner decides today, and nobody hears of it before the clocks are set back.
    let (slot, deaf) = (world.next_slot(), listening(&world, &[0, 1, 2], &Ledgers::default()));
    let report = world.pass_by(0, slot, Mandate::Automatic, deaf).await;
    wait(&world, -2 * DAY);
    let told: Vec<_> = report.shards.iter().map(|shard| shard.horizon).collect();
    assert!(told.iter().all(Option::is_some), "{told:?}");
    let complete = selfsame_wire::message::CompleteRequest {
        collection: world.fleet.collections[0].name.clone(),
        run: report.run,
        slot,
        at: WallMicros(*world.clock.0.lock()),
        shards: report
            .shards
            .iter()
            .map(|shard| (shard.shard, shard.epoch.clone().unwrap(), shard.verdict))
            .collect(),
        equal: Vec::new(),
        horizons: told,
        judged: Vec::new(),
    };
    world.agents[1].complete(complete.clone()).await.unwrap();
    assert_eq!(counts(&world), [1, 1, 1]);
    wait(&world, 2 * DAY);
    world.agents[1].complete(complete).await.unwrap();
    assert_eq!(counts(&world), [1, 0, 1]);
}

#[derive(Clone, Debug)]
enum Step {
    /// A client deletes a key of these stores.
    Delete(i64, [bool; 3]),
    /// A client writes a key to these stores, in a new version.
    Write(i64, [bool; 3]),
    /// A pass in which some stores are silent and some agents do not hear the end.
    Pass {
        silent: [bool; 3],
        deaf: [bool; 3],
    },
    Wait(i64),
    Restart,
    /// A person decides about every replica that is held.
    Resync,
}

fn step() -> impl Strategy<Value = Step> {
    let some = || any::<[bool; 3]>();
    let few = || prop::array::uniform3(prop::bool::weighted(0.15));
    prop_oneof![
        3 => (0_i64..5, some()).prop_map(|(key, stores)| Step::Delete(key, stores)),
        2 => (0_i64..5, some()).prop_map(|(key, stores)| Step::Write(key, stores)),
        6 => (few(), few()).prop_map(|(silent, deaf)| Step::Pass { silent, deaf }),
        4 => (1_i64..150).prop_map(|tenths| Step::Wait(tenths * DAY / 10)),
        1 => Just(Step::Restart),
        1 => Just(Step::Resync),
    ]
}

/// What a naive observer knows of all that happened.
#[derive(Default)]
struct Oracle {
    /// What each replica was found to remember, or has acknowledged: key and version.
    heard: BTreeSet<(usize, String, Version)>,
}

impl Oracle {
    fn hear(&mut self, world: &World, asked: &[LedgerRequest]) {
        for (at, known) in remembered(world).into_iter().enumerate() {
            self.heard.extend(known.into_iter().map(|(key, (_, known))| (at, key, known.version)));
        }
        for request in asked {
            let LedgerAsk::Join(memories) = &request.ask else { continue };
            let at = nodes().iter().position(|node| *node == request.node).unwrap();
            let told = memories.iter().map(|told| (at, told.key.to_string(), told.tombstone.version));
            self.heard.extend(told);
        }
    }

    /// Between two moments nothing was forgotten that it was too early to forget, and nothing came back.
    fn check(&self, world: &World, before: &Remembered, passed: &[BTreeMap<ShardId, WallMicros>]) {
        let (after, now) = (remembered(world), *world.clock.0.lock());
        let collection = &world.fleet.collections[0];
        let fingerprinter = world.fleet.fingerprinter(&collection.name);
        let horizon = |key: &Key, of: &BTreeMap<ShardId, WallMicros>| {
            let shard = fingerprinter.key_digest(key).shard(collection.replicas[0].mapping.shards);
            of.get(&shard).copied()
        };
        let reached = horizons(world);
        for at in 0..3 {
            for (shard, horizon) in &passed[at] {
                assert!(reached[at][shard] >= *horizon, "a horizon went back");
            }
            for (name, (key, known)) in &before[at] {
                let still = after[at].get(name).is_some_and(|(_, still)| still.version >= known.version);
                let ended = world.stores[at].row(key).is_some();
                if still || ended {
                    continue;
                }
                assert!(
                    horizon(key, &reached[at]) >= Some(known.at),
                    "{key} was forgotten without a horizon"
                );
                assert!(known.at.0 + 10 * DAY <= now, "{key} was forgotten too early");
                for other in 0..3 {
                    let as_new = |heard: &&(usize, String, Version)| {
                        heard.0 == other && heard.1 == *name && heard.2 >= known.version
                    };
                    assert!(self.heard.iter().any(|heard| as_new(&heard)), "{other} never heard of {key}");
                }
            }
            for (name, (key, known)) in &after[at] {
                assert!(horizon(key, &reached[at]) < Some(known.at), "{key} is remembered below its horizon");
                let is_new = before[at].get(name).is_none_or(|(_, old)| old.version != known.version);
                let highest = passed.iter().filter_map(|of| horizon(key, of)).max();
                assert!(!is_new || highest < Some(known.at), "{key} came back");
            }
        }
    }
}

/// A person decides about every replica that is held.
async fn resync(world: &World) {
    for replica in &world.replicas {
        replica.release().await.unwrap();
    }
}

async fn play(steps: &[Step]) {
    let mut world = filled_with(5, with_feed());
    world.pass().await;
    let mut oracle = Oracle::default();
    for (number, step) in (1_i64..).zip(steps) {
        let (before, passed) = (remembered(&world), horizons(&world));
        let chosen = |chosen: &[bool; 3]| (0..3).filter(|at| chosen[*at]).collect::<Vec<_>>();
        let mut asked = Vec::new();
        match step {
            Step::Delete(key, stores) => chosen(stores).into_iter().for_each(|at| {
                world.stores[at].delete(&Key::integer(*key));
            }),
            Step::Write(key, stores) => {
                chosen(stores).into_iter().for_each(|at| world.stores[at].put(row(*key, 100 + number, "{}")))
            }
            Step::Wait(micros) => wait(&world, *micros),
            Step::Restart => world.restart_all(),
            Step::Resync => resync(&world).await,
            Step::Pass { silent, deaf } => {
                chosen(silent).into_iter().for_each(|at| silence(&world, at));
                asked = pass_unheard(&world, &chosen(deaf)).await;
                world.faults.iter().for_each(|faults| faults.clear());
            }
        }
        oracle.hear(&world, &asked);
        oracle.check(&world, &before, &passed);
    }
    // Once everybody is heard again and time has passed, all have forgotten the same.
    for _ in 0..4 {
        wait(&world, 12 * DAY);
        let (before, passed) = (remembered(&world), horizons(&world));
        let asked = pass_unheard(&world, &[]).await;
        oracle.hear(&world, &asked);
        oracle.check(&world, &before, &passed);
        resync(&world).await;
    }
    assert_eq!(counts(&world), [0, 0, 0]);
}

#[test]
fn nothing_is_forgotten_early_and_nothing_comes_back_whatever_is_lost() {
    let config = Config { cases: 24, source_file: Some(file!()), ..Config::default() };
    let outcome = TestRunner::new(config).run(&prop::collection::vec(step(), 1..30), |steps| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        runtime.unwrap().block_on(play(&steps));
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_expiry_is_forgotten_like_a_deletion_and_own_evidence_is_always_taken() {
    let world = World::with(collection_settings());
    world.write_all(&world::expiring_row(7, 100, Some(world::NOW + 10), "{}"));
    world.pass().await;
    wait(&world, 60_000_000);
    world.stores[0].delete(&Key::integer(7));
    world.pass().await;
    world.pass().await;
    let causes: Vec<_> =
        remembered(&world).iter().flat_map(|known| known.values()).map(|(_, known)| known.cause).collect();
    assert_eq!(causes, [TombstoneCause::Expired; 3]);
    wait(&world, 12 * DAY);
    world.pass().await;
    assert_eq!(counts(&world), [0, 0, 0]);
    // The key lives and expires again.
    world.write_all(&world::expiring_row(7, 200, Some(*world.clock.0.lock() + 10), "{}"));
    world.pass().await;
    wait(&world, 60_000_000);
    world.stores[0].delete(&Key::integer(7));
    world.pass().await;
    assert_eq!(counts(&world), [1, 1, 1]);
    assert!(
        remembered(&world)
            .iter()
            .flat_map(|known| known.values())
            .all(|(_, known)| known.owner != TombstoneOwner::Own || known.version == Version(200))
    );
}
