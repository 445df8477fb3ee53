//! A person decides whose word counts for a held replica, and it is done only as far as that word is known.

#![allow(clippy::unwrap_used, reason = "all of this file is tests")]

mod world;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use selfsame_agent::clock::Clock;
use selfsame_agent::membership::Membership;
use selfsame_agent::metrics::{Metrics, MetricsParts};
use selfsame_agent::operator::{OperatorParts, OperatorService};
use selfsame_agent::owner::{Connections, Owner};
use selfsame_agent::peer::Peer;
use selfsame_agent::settings::CollectionSettings;
use selfsame_agent::supervisor::Supervisor;
use selfsame_core::{AgentName, Epoch, Key, RunId};
use selfsame_journal::HoldCause;
use selfsame_store::{Call, Fault};
use selfsame_wire::message::{Claim, ReadRequest};
use selfsame_wire::v1;
use selfsame_wire::v1::operator_server::Operator;
use tonic::{Request, Status};
use world::{World, collection_settings, in_sync, nodes, row};

/// The operator API of the last agent, which sees the replicas of all.
fn operator(world: &World) -> OperatorService {
    let peers: BTreeMap<AgentName, Arc<dyn Peer>> =
        world.peers().into_iter().map(|peer| (peer.name().clone(), peer)).collect();
    let clock: Arc<dyn Clock> = world.clock.clone();
    let (fleet, journal, tasks) = (world.fleet.clone(), world.journals[2].clone(), Supervisor::default());
    let name = world.agents[2].name().clone();
    let hello = fleet.hello(&name, &nodes()[2..]);
    let membership = Membership::watch(name.clone(), &peers, hello.clone(), clock.clone(), &tasks);
    let metrics = Metrics::new(MetricsParts {
        fleet: fleet.clone(),
        name: name.clone(),
        replicas: vec![world.replicas[2].clone()],
        stores: Vec::new(),
        peers: peers.clone(),
        membership: membership.clone(),
        journal: journal.clone(),
        clock: clock.clone(),
    });
    let owner = Owner::new(fleet.clone(), name.clone(), clock.clone(), tasks.clone());
    owner.connect(Connections {
        peers: peers.clone(),
        hello,
        journal: journal.clone(),
        membership: membership.clone(),
        metrics,
    });
    OperatorService::new(OperatorParts {
        fleet,
        name,
        journal,
        replicas: world.replicas.clone(),
        started: clock.now(),
        peers,
        siblings: Vec::new(),
        membership,
        owner,
        clock,
        tasks,
    })
}

fn request(mode: v1::ResyncMode) -> v1::ResyncRequest {
    v1::ResyncRequest {
        node: nodes()[2].to_string(),
        collection: String::new(),
        mode: mode.into(),
        dry_run: false,
        deletes_max: 1_000,
    }
}

async fn order(world: &World, mode: v1::ResyncMode) -> Result<v1::ResyncedReplica, Status> {
    *world.clock.0.lock() += 1_000_000;
    let reply = operator(world).resync(Request::new(request(mode))).await?;
    Ok(reply.into_inner().collections.remove(0))
}

/// A world in sync, whose last store was replaced by one that has this row besides.
async fn replaced(ids: &[i64], collection: CollectionSettings) -> World {
    let world = in_sync(collection).await;
    ids.iter().for_each(|id| world.stores[2].put(row(*id, 400, "{\"only\":\"here\"}")));
    world.stores[2].replace_identity("another");
    world
}

fn cause(world: &World) -> Option<HoldCause> {
    world.replicas[2].held().map(|hold| hold.cause)
}

fn rows(world: &World) -> Vec<usize> {
    world.stores.iter().map(|store| store.rows().len()).collect()
}

/// Whatever was said: the hold goes on, and what only the replica has is copied nowhere.
async fn assert_stays_held(world: &World, told: Result<v1::ResyncedReplica, Status>, why: &str) {
    let said = match told {
        Ok(reply) => {
            assert!(!reply.ended, "{reply:?}");
            reply.stopped
        }
        Err(status) => status.message().to_owned(),
    };
    assert!(said.contains(why), "{said}");
    assert_eq!(cause(world), Some(HoldCause::Restored));
    world.faults.iter().for_each(|faults| faults.clear());
    world.pass().await;
    assert_eq!(rows(world)[..2], [60, 60], "nothing is copied from it");
}

/// Once all can be compared, it is done.
async fn assert_is_done_at_last(world: &World) {
    let done = order(world, v1::ResyncMode::Empty).await.unwrap();
    assert!(done.ended && done.stopped.is_empty(), "{done:?}");
    world.pass().await;
    assert_eq!(rows(world), [60, 60, 60]);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_ended_when_another_replica_falls_silent_after_it_was_asked() {
    let world = replaced(&[100], collection_settings()).await;
    world.pass().await;
    (0..9).for_each(|_| world.faults[1].push(Call::Identity, Some(Fault::Unavailable)));
    let told = order(&world, v1::ResyncMode::Empty).await;
    assert_stays_held(&world, told, "`node-b` was not scanned, held, unreachable").await;
    assert_is_done_at_last(&world).await;
}

#[tokio::test(start_paused = true)]
async fn nothing_is_ended_when_the_replica_itself_gives_no_roots() {
    let world = replaced(&[100], collection_settings()).await;
    world.pass().await;
    // Its scan asks which store answers at its start and at its end.
    world.faults[2].push(Call::Identity, None);
    world.faults[2].push(Call::Identity, None);
    (0..9).for_each(|_| world.faults[2].push(Call::Identity, Some(Fault::Busy)));
    let told = order(&world, v1::ResyncMode::Empty).await;
    assert_stays_held(&world, told, "(busy)").await;
    assert_is_done_at_last(&world).await;
}

#[tokio::test(start_paused = true)]
async fn nothing_is_ended_by_an_index_from_before_the_store_was_replaced() {
    let world = replaced(&[100], collection_settings()).await;
    let collection = world.fleet.collections[0].name.clone();
    let run = RunId::of("test", &collection, world.next_slot());
    let roots = selfsame_wire::message::RootsRequest { collection, run, epochs: Vec::new() };
    world.agents[2].roots(roots).await.unwrap();
    world.faults[2].push(Call::Scan, Some(Fault::Unavailable));
    let told = order(&world, v1::ResyncMode::Empty).await;
    assert_stays_held(&world, told, "`node-c` could not be scanned").await;
    assert_is_done_at_last(&world).await;
}

#[tokio::test(start_paused = true)]
async fn a_key_that_only_one_read_heard_all_of_is_not_taken_for_one_that_clients_write() {
    let world = replaced(&[100], collection_settings()).await;
    world.pass().await;
    world.faults[1].push(Call::Read, Some(Fault::Unavailable));
    let told = order(&world, v1::ResyncMode::Empty).await;
    assert_stays_held(&world, told, "unreachable").await;
    assert_is_done_at_last(&world).await;
}

#[tokio::test(start_paused = true)]
async fn what_another_exchange_took_over_in_the_midst_is_not_taken_for_done() {
    // Confirmed key by key, and read once more before it is written.
    let collection =
        CollectionSettings { confirm_keys_max: 1, apply_within: Duration::ZERO, ..collection_settings() };
    let world = in_sync(collection).await;
    let shard = world.shard_of(100);
    let other = (101..).find(|id| world.shard_of(*id) == shard).unwrap();
    [100, other].iter().for_each(|id| world.stores[2].put(row(*id, 400, "{\"only\":\"here\"}")));
    world.stores[2].replace_identity("another");
    world.pass().await;
    // Two reads of each key by the pass that tells, and by the one that writes; with the last comes another claim.
    (0..7).for_each(|_| world.faults[1].push(Call::Read, None));
    let claim = Claim {
        collection: world.fleet.collections[0].name.clone(),
        shard,
        epoch: Epoch { counter: 1_000, agent: world.agents[0].name().clone() },
        run: RunId::from_bytes([9; 16]),
    };
    let (agent, node) = (world.agents[1].clone(), nodes()[1].clone());
    let keys = vec![Key::integer(1)];
    world.meanwhile(1, Call::Read, async move {
        agent.read(ReadRequest { claim, node, keys, conclude: false }).await.unwrap();
    });
    let told = order(&world, v1::ResyncMode::Empty).await;
    let reply = told.as_ref().unwrap();
    assert_eq!((reply.deletes, reply.left, rows(&world)), (2, 0, vec![60, 60, 62]), "{reply:?}");
    assert_stays_held(&world, told, "no_majority").await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_taken_back_under_another_hold_is_not_merged_for_the_one_that_was_left() {
    let world = in_sync(CollectionSettings { feed: true, ..collection_settings() }).await;
    let copy = world.stores[2].backup();
    world.stores.iter().for_each(|store| assert!(store.delete(&Key::integer(9))));
    world.pass().await;
    // Rows are lost, and the feed does not tell of it.
    (20..40).for_each(|id| assert!(world.stores[2].delete(&Key::integer(id))));
    world.stores[2].cut_feed();
    world.pass().await;
    assert_eq!(cause(&world), Some(HoldCause::Vanished));
    world.stores[2].restore(&copy);
    let told = order(&world, v1::ResyncMode::Merge).await;
    assert!(told.as_ref().is_err_and(|status| status.message().contains("restored")), "{told:?}");
    assert_eq!(cause(&world), Some(HoldCause::Restored));
    assert!(order(&world, v1::ResyncMode::Merge).await.unwrap().ended);
    world.pass().await;
    world.pass().await;
    assert_eq!(rows(&world), [59, 59, 59], "what was certainly deleted did not come back");
}

#[tokio::test(start_paused = true)]
async fn what_was_ordered_goes_on_though_nobody_waits_for_it() {
    let world = replaced(&[100], collection_settings()).await;
    world.pass().await;
    let operator = operator(&world);
    let first = operator.resync(Request::new(request(v1::ResyncMode::Empty)));
    // The first confirm takes longer.
    assert!(tokio::time::timeout(Duration::from_secs(1), first).await.is_err());
    let again = operator.resync(Request::new(request(v1::ResyncMode::Empty))).await;
    assert!(again.as_ref().is_err_and(|status| status.message().contains("is under way")), "{again:?}");
    for _ in 0..60 {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!((cause(&world), rows(&world)), (None, vec![60, 60, 60]));
    let again = operator.resync(Request::new(request(v1::ResyncMode::Empty))).await.unwrap().into_inner();
    assert_eq!(again.collections[0].held, "", "{again:?}");
}
