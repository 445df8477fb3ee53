//! What an agent refuses, and what an exchange does not conclude: calls of a claim that is over, repairs under
//! another claim than the confirm's, silence, and writes that are just arriving.

#![allow(clippy::unwrap_used, reason = "all of this file is tests")]

mod world;

use std::time::Duration;

use selfsame_agent::exchange::report::Outcome;
use selfsame_agent::local::LocalAgent;
use selfsame_agent::peer::{Peer, PeerError};
use selfsame_agent::settings::CollectionSettings;
use selfsame_core::merkle::Depth;
use selfsame_core::{Cause, Epoch, Key, RepairId, RunId, ShardId, ShardVerdict, UnknownReason};
use selfsame_store::{Call, Fault, Store};
use selfsame_wire::message::{
    ApplyItem, ApplyOutcome, ApplyRequest, Authority, Claim, DescendRequest, ElementsRequest, FetchRequest,
    KeysRequest, ReadRequest, Replica, RootsRequest,
};
use tokio::sync::oneshot;
use world::{World, collection_settings, filled, filled_with, nodes, row};

/// A claim of the key's shard, far above what passes have claimed.
fn claim(world: &World, counter: u64, owner: &str) -> Claim {
    let collection = &world.fleet.collections[0];
    let key = world.fleet.fingerprinter(&collection.name).key_digest(&Key::integer(1));
    Claim {
        collection: collection.name.clone(),
        shard: key.shard(collection.replicas[0].mapping.shards),
        epoch: Epoch { counter: 1_000_000 + counter, agent: owner.parse().unwrap() },
        run: RunId::from_bytes([9; 16]),
    }
}

fn roots_request(claim: &Claim) -> RootsRequest {
    RootsRequest {
        collection: claim.collection.clone(),
        run: claim.run,
        epochs: vec![(claim.shard, claim.epoch.clone())],
    }
}

async fn read(agent: &LocalAgent, claim: &Claim, conclude: bool) -> Result<(), PeerError> {
    let [node, ..] = nodes();
    let request = ReadRequest { claim: claim.clone(), node, keys: vec![Key::integer(1)], conclude };
    agent.read(request).await.map(|_| ())
}

/// A repair of key 1 on the first node whose condition holds.
async fn repair(world: &World, claim: &Claim, number: u8) -> ApplyRequest {
    let [node, ..] = nodes();
    let key = Key::integer(1);
    let stored = world.stores[0].read(std::slice::from_ref(&key)).await.unwrap();
    let item = ApplyItem {
        repair: RepairId::from_bytes([number; 16]),
        key,
        expected: stored[0].document().map(|document| document.row_digest),
        row: Some(row(1, 200, r#"{"name":"repaired"}"#)),
        cause: Cause::MissedUpdate,
    };
    ApplyRequest { claim: claim.clone(), node, authority: Authority::Automatic, items: vec![item] }
}

async fn apply(world: &World, claim: &Claim, number: u8) -> Result<(), PeerError> {
    let request = repair(world, claim, number).await;
    world.agents[0].apply(request).await.map(|_| ())
}

/// What a batch is answered that waits for its turn behind another, which the store makes wait while `meanwhile` happens.
async fn apply_late(
    world: &World,
    claim: &Claim,
    meanwhile: impl Future<Output = ()> + Send + 'static,
) -> Result<Vec<ApplyOutcome>, PeerError> {
    read(&world.agents[0], claim, true).await.unwrap();
    let (agent, late) = (world.agents[0].clone(), repair(world, claim, 2).await);
    let (answer, answered) = oneshot::channel();
    world.meanwhile(0, Call::Apply, async move {
        tokio::spawn(async move { answer.send(agent.apply(late).await) });
        // It comes as far as it can.
        tokio::time::sleep(Duration::from_secs(1)).await;
        meanwhile.await;
    });
    apply(world, claim, 1).await.unwrap();
    answered.await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_saw_a_higher_epoch_refuses_every_call_of_the_lower() {
    let world = filled(20);
    world.pass().await;
    let agent = &world.agents[0];
    let (lower, higher) = (claim(&world, 1, "b"), claim(&world, 2, "c"));
    read(agent, &lower, true).await.unwrap();
    let roots = agent.roots(roots_request(&higher)).await.unwrap();
    let incarnation = roots[0].roots[0].as_ref().unwrap().incarnation;

    let [node, ..] = nodes();
    let replica = || Replica { claim: lower.clone(), node: node.clone(), incarnation };
    let before = world.contents();
    // Roots are asked of many shards at a time: only those that were taken over have none.
    let roots = agent.roots(roots_request(&lower)).await.unwrap();
    assert!(roots.iter().flat_map(|node| &node.roots).all(|root| *root == Err(UnknownReason::NoMajority)));
    let answers = [
        (
            "descend",
            agent
                .descend(DescendRequest { replica: replica(), level: 0, parents: vec![0] })
                .await
                .map(|_| ()),
        ),
        (
            "elements",
            agent
                .elements(ElementsRequest {
                    replica: replica(),
                    depth: Depth::new(0).unwrap(),
                    buckets: vec![],
                    after: None,
                })
                .await
                .map(|_| ()),
        ),
        ("keys", agent.keys(KeysRequest { replica: replica(), prefixes: vec![] }).await.map(|_| ())),
        ("first read", read(agent, &lower, false).await),
        ("second read", read(agent, &lower, true).await),
        (
            "fetch",
            agent
                .fetch(FetchRequest { claim: lower.clone(), node: node.clone(), rows: vec![] })
                .await
                .map(|_| ()),
        ),
        ("apply", apply(&world, &lower, 1).await),
    ];
    for (call, answer) in answers {
        assert!(
            matches!(&answer, Err(PeerError::Fenced(epoch)) if *epoch == higher.epoch),
            "{call}: {answer:?}"
        );
    }
    assert_eq!(world.contents(), before);
}

#[tokio::test(start_paused = true)]
async fn repairs_are_applied_under_exactly_the_claim_of_the_last_confirm() {
    let world = filled(20);
    let agent = &world.agents[0];
    let (confirmed, next) = (claim(&world, 1, "b"), claim(&world, 2, "c"));
    let before = world.contents();
    assert!(apply(&world, &confirmed, 1).await.is_err(), "nothing was confirmed");
    read(agent, &confirmed, false).await.unwrap();
    assert!(apply(&world, &confirmed, 2).await.is_err(), "one read is no confirm");
    read(agent, &confirmed, true).await.unwrap();
    // A higher epoch passes the fence, but it has confirmed nothing.
    assert!(apply(&world, &next, 3).await.is_err(), "another claim confirmed");
    assert_eq!(world.contents(), before);
    read(agent, &next, true).await.unwrap();
    apply(&world, &next, 4).await.unwrap();
    assert_eq!(world.stores[0].row(&Key::integer(1)), Some(row(1, 200, r#"{"name":"repaired"}"#)));
    let other = Claim { shard: ShardId((next.shard.0 + 1) % 4), ..next };
    assert!(apply(&world, &other, 5).await.is_err(), "another shard's confirm");
}

#[tokio::test(start_paused = true)]
async fn a_slow_confirm_of_an_older_claim_does_not_end_a_newer_one() {
    let world = filled(20);
    let (agent, older, newer) = (world.agents[0].clone(), claim(&world, 1, "b"), claim(&world, 2, "c"));
    let confirm = newer.clone();
    world.meanwhile(0, Call::Read, async move { read(&agent, &confirm, true).await.unwrap() });
    read(&world.agents[0], &older, true).await.unwrap();
    apply(&world, &newer, 1).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_waited_too_long_for_its_turn_is_not_written() {
    let world = filled(20);
    let late = apply_late(&world, &claim(&world, 1, "b"), tokio::time::sleep(Duration::from_secs(30))).await;
    assert!(matches!(late, Err(PeerError::Refused(_))), "{late:?}");
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_waits_for_its_turn_is_not_written_to_a_replica_that_is_held_meanwhile() {
    let world = filled(20);
    world.pass().await;
    let copy = world.stores[0].backup();
    world.pass().await;
    let claim = claim(&world, 1, "b");
    let (agent, replica, store) =
        (world.agents[0].clone(), world.replicas[0].clone(), world.stores[0].clone());
    let roots = roots_request(&claim);
    let late = apply_late(&world, &claim, async move {
        store.restore(&copy);
        agent.roots(roots).await.unwrap();
        assert!(replica.held().is_some(), "nothing was held: the test shows nothing");
    })
    .await;
    assert!(matches!(late, Err(PeerError::Unknown(UnknownReason::Held))), "{late:?}");
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_does_not_answer_the_reads_is_not_taken_for_empty() {
    let world = filled(100);
    world.pass().await;
    world.stores[0].put(row(1000, 200, "{}"));
    // It gives its roots, and fails when it is asked for keys.
    (0..50).for_each(|_| world.faults[2].push(Call::Read, Some(Fault::Unavailable)));
    let report = world.pass().await;
    let items = world::items(&report);
    assert_eq!(
        items.iter().map(|item| (item.node.as_str(), &item.outcome)).collect::<Vec<_>>(),
        [("node-b", &Outcome::Repaired)]
    );
    assert!(world.stores[2].row(&Key::integer(1000)).is_none());
}

#[tokio::test(start_paused = true)]
async fn a_write_that_arrives_between_the_reads_is_transient_and_nobody_repairs_it() {
    // The scans end within seconds of virtual time; the second read comes an hour later.
    let settle = Duration::from_secs(3600);
    let world = filled_with(100, CollectionSettings { settle, ..collection_settings() });
    world.pass().await;
    let new = row(1000, 200, "{}");
    world.stores[..2].iter().for_each(|store| store.put(new.clone()));
    let late = world.stores[2].clone();
    let arrives = tokio::spawn(async move {
        tokio::time::sleep(settle / 2).await;
        late.put(new);
    });
    let report = world.pass().await;
    arrives.await.unwrap();
    assert_eq!((world::items(&report).len(), report.counts().transient), (0, 1));
    assert!(world.all_the_same());
}

#[tokio::test(start_paused = true)]
async fn a_shard_of_which_a_replica_did_not_answer_the_reads_is_never_in_sync() {
    for agreed_by_then in [false, true] {
        let world = filled(100);
        world.pass().await;
        let new = row(1000, 200, "{}");
        world.stores[0].put(new.clone());
        if agreed_by_then {
            world.stores[1].put(new);
        }
        (0..50).for_each(|_| world.faults[2].push(Call::Read, Some(Fault::Unavailable)));
        let report = world.pass().await;
        let unreachable = ShardVerdict::Unknown(UnknownReason::Unreachable);
        assert_eq!(report.verdict(), unreachable, "{agreed_by_then}");
        let unknown = report.shards.iter().filter(|shard| shard.verdict == unreachable);
        assert_eq!(unknown.count(), 1, "the other shards are in sync");
    }
}

#[tokio::test(start_paused = true)]
async fn a_repair_that_arrives_long_after_its_confirm_is_refused() {
    // The target's machine stood still, and goes on with what was sent to it before.
    let world = filled(20);
    let (agent, claim) = (&world.agents[0], claim(&world, 1, "b"));
    read(agent, &claim, true).await.unwrap();
    tokio::time::advance(Duration::from_secs(30)).await;
    let before = world.contents();
    assert!(matches!(apply(&world, &claim, 1).await, Err(PeerError::Refused(_))));
    assert_eq!(world.contents(), before);
    read(agent, &claim, true).await.unwrap();
    apply(&world, &claim, 2).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_was_set_back_makes_no_scan_superfluous() {
    let world = filled(20);
    world.pass().await;
    // One hour back: the last scan began in the future now.
    *world.clock.0.lock() -= 3_600_000_000;
    world.stores[1].put(row(1, 300, "{}"));
    let epochs = vec![(ShardId(0), claim(&world, 1, "b").epoch)];
    let request =
        RootsRequest { collection: claim(&world, 1, "b").collection, run: claim(&world, 1, "b").run, epochs };
    let roots = world.agents[1].roots(request).await.unwrap();
    assert_eq!(roots[0].roots[0], Err(UnknownReason::Clock), "nobody knows when that scan began");
    let report = world.pass().await;
    assert_eq!(world::items(&report).len(), 2, "{report:?}");
    assert!(world.all_the_same());
}
