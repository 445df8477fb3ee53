//! Claims between agents that come and go: who gets a shard, who is kept away, and that nobody is kept away for ever.

#![allow(clippy::unwrap_used, reason = "all of this file is tests")]

mod world;

use std::time::Duration;

use selfsame_agent::exchange::Mandate;
use selfsame_agent::exchange::report::{Outcome, PassReport, PlanReason};
use selfsame_agent::local::LocalAgent;
use selfsame_agent::peer::Peer;
use selfsame_agent::settings::{CollectionSettings, FirstPass};
use selfsame_core::{Epoch, Key, RunId, ShardId, ShardVerdict, Slot, UnknownReason, WallMicros};
use selfsame_journal::Completion;
use selfsame_wire::message::*;
use tokio::time::Instant;
use world::faulty::{Asked, PeerFault, overheard, with_fault};
use world::{NOW, World, collection_settings, filled, filled_with, items, row};

const SHARD: ShardId = ShardId(2);

fn epoch(counter: u64, agent: &str) -> Epoch {
    Epoch { counter, agent: agent.parse().unwrap() }
}

fn run(number: u8) -> RunId {
    RunId::from_bytes([number; 16])
}

/// One shard in a run of its claimant's own.
fn ballot(step: BallotStep, counter: u64, agent: &str) -> BallotRequest {
    BallotRequest {
        step,
        collection: "products".parse().unwrap(),
        run: run(agent.as_bytes()[0]),
        slot: Slot::Scheduled(1),
        epochs: vec![(SHARD, epoch(counter, agent))],
    }
}

async fn vote(voter: &LocalAgent, step: BallotStep, counter: u64, agent: &str) -> Ballot {
    voter.ballot(ballot(step, counter, agent)).await.unwrap().remove(0)
}

const GRANTED: Ballot = Ballot::Granted { first_pass_over: false };

#[tokio::test(start_paused = true)]
async fn asking_fences_nobody_out() {
    let world = filled(0);
    let voter = &world.agents[0];
    assert_eq!(vote(voter, BallotStep::Ask, 9, "b").await, GRANTED);
    assert_eq!(vote(voter, BallotStep::Claim, 1, "c").await, GRANTED);
    assert_eq!(
        world.journals[0].highest_epoch(&"products".parse().unwrap(), SHARD).unwrap(),
        Some(epoch(1, "c"))
    );
}

#[tokio::test(start_paused = true)]
async fn a_claim_keeps_others_away_until_it_is_over() {
    let completed = || CompleteRequest {
        collection: "products".parse().unwrap(),
        run: run(b'b'),
        slot: Slot::Scheduled(1),
        at: WallMicros(NOW),
        shards: vec![(SHARD, epoch(1, "b"), ShardVerdict::Diverged)],
        equal: Vec::new(),
        horizons: Vec::new(),
        judged: Vec::new(),
    };
    for (end, then) in [("release", GRANTED), ("complete", Ballot::Completed), ("idle", GRANTED)] {
        let world = filled(0);
        let voter = &world.agents[0];
        assert_eq!(vote(voter, BallotStep::Claim, 1, "b").await, GRANTED);
        for step in [BallotStep::Ask, BallotStep::Claim] {
            assert_eq!(vote(voter, step, 5, "c").await, Ballot::Taken, "{end}");
        }
        assert_eq!(vote(voter, BallotStep::Ask, 2, "b").await, GRANTED, "not its own agent");
        match end {
            "release" => drop(vote(voter, BallotStep::Release, 1, "b").await),
            "complete" => voter.complete(completed()).await.unwrap(),
            _ => tokio::time::advance(Duration::from_secs(8)).await,
        }
        assert_eq!(vote(voter, BallotStep::Claim, 5, "c").await, then, "{end}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_claim_whose_turn_comes_late_is_kept_by_its_run() {
    let world = filled(0);
    let voter = &world.agents[0];
    assert_eq!(vote(voter, BallotStep::Claim, 1, "b").await, GRANTED);
    for _ in 0..10 {
        tokio::time::advance(Duration::from_secs(4)).await;
        // The run is at work on another shard.
        let collection = "products".parse().unwrap();
        let epochs = vec![(ShardId(0), epoch(1, "b"))];
        voter.roots(RootsRequest { collection, run: run(b'b'), epochs }).await.unwrap();
        assert_eq!(vote(voter, BallotStep::Ask, 5, "c").await, Ballot::Taken);
    }
}

#[tokio::test(start_paused = true)]
async fn an_older_release_does_not_end_a_newer_claim() {
    let world = filled(0);
    let voter = &world.agents[0];
    assert_eq!(vote(voter, BallotStep::Claim, 1, "b").await, GRANTED);
    assert_eq!(vote(voter, BallotStep::Claim, 2, "b").await, GRANTED);
    vote(voter, BallotStep::Release, 1, "b").await;
    assert_eq!(vote(voter, BallotStep::Ask, 5, "c").await, Ballot::Taken);
}

/// Three agents that all take themselves for the owner claim the same shards in the same slot, at once and again,
/// as agents do that have just met.
#[tokio::test(start_paused = true)]
async fn claimants_that_meet_do_not_keep_each_other_away() {
    for round in 0..20 {
        let world = filled(40);
        let slot = world.next_slot();
        let (a, b, c) =
            tokio::join!(insisting(&world, 0, slot), insisting(&world, 1, slot), insisting(&world, 2, slot));
        let all = [a, b, c];
        for shard in (0..4).map(ShardId) {
            let exchanged = all.iter().flatten().flat_map(|report| &report.shards);
            let exchanged = exchanged.filter(|report| report.shard == shard && report.epoch.is_some());
            assert_eq!(exchanged.count(), 1, "round {round}, shard {shard}");
            for journal in &world.journals {
                let record = journal.shard_record(&"products".parse().unwrap(), shard).unwrap().unwrap();
                assert!(record.completion(slot).is_some(), "round {round}, shard {shard}");
            }
        }
    }
}

/// Two passes by one agent over the shards of a slot, a second apart.
async fn insisting(world: &World, owner: usize, slot: Slot) -> Vec<PassReport> {
    let mut reports = Vec::new();
    for _ in 0..2 {
        // Each hears itself first, so that each begins with a vote of its own.
        let others: Vec<usize> = (0..3).filter(|agent| *agent != owner).collect();
        let peers = with_fault(world, &others, PeerFault::Far);
        let report = world.pass_by(owner, slot, Mandate::Automatic, peers).await;
        let left = report.shards.iter().filter(|shard| shard.epoch.is_none()).count();
        reports.push(report);
        if left == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    reports
}

#[tokio::test(start_paused = true)]
async fn what_would_be_granted_is_claimed_under_the_epoch_that_was_asked_with() {
    let world = filled(40);
    let (slot, asked) = (world.next_slot(), Asked::default());
    world.pass_by(0, slot, Mandate::Automatic, overheard(&world, &[1], PeerFault::Far, &asked)).await;
    let asked = asked.lock();
    let steps: Vec<BallotStep> = asked.iter().map(|(_, request)| request.step).collect();
    assert_eq!(steps, [BallotStep::Ask, BallotStep::Claim]);
    assert_eq!(asked[0].1.epochs, asked[1].1.epochs);
}

/// What another owner is told by a voter that granted what the pass claimed, after a pass in which the other voters
/// had this fault.
async fn after_claims_in_vain(fault: PeerFault) -> Ballot {
    let world = filled(40);
    let slot = world.next_slot();
    let report = world.pass_by(0, slot, Mandate::Automatic, with_fault(&world, &[1, 2], fault)).await;
    assert!(report.shards.iter().all(|shard| shard.epoch.is_none()), "{fault:?}: {report:?}");
    vote(&world.agents[0], BallotStep::Ask, 1_000, "b").await
}

#[tokio::test(start_paused = true)]
async fn claims_in_vain_are_released_whatever_came_between() {
    // Nobody answers; the slot is over; the journal has no epoch above the one that it is told.
    for fault in [PeerFault::Claimless, PeerFault::Late, PeerFault::Outnumbered] {
        assert_eq!(after_claims_in_vain(fault).await, GRANTED, "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_after_the_last_round() {
    let world = filled(40);
    let (slot, asked) = (world.next_slot(), Asked::default());
    world
        .pass_by(0, slot, Mandate::Automatic, overheard(&world, &[1, 2], PeerFault::Claimless, &asked))
        .await;
    let asked = asked.lock();
    let claims = asked.iter().filter(|(_, request)| request.step == BallotStep::Claim);
    assert_eq!(claims.count(), 2 * 4, "four rounds, and two voters that are asked");
    // The clock stands still unless somebody waits.
    assert_eq!(asked.last().map(|(at, _)| *at), Some(Instant::now()));
}

#[tokio::test(start_paused = true)]
async fn a_first_pass_is_over_if_any_voter_knows_it() {
    let world = filled_with(40, CollectionSettings { first_pass: FirstPass::Plan, ..collection_settings() });
    let members = "node-a,node-b,node-c";
    // The owner was away when the shards were completed in sync: the other two make the majority that knows.
    for journal in &world.journals[1..] {
        let completion = Completion {
            slot: Slot::Scheduled(7),
            verdict: format!("in_sync {members}"),
            at: WallMicros(NOW),
        };
        let completed: Vec<_> =
            (0..4).map(|shard| (ShardId(shard), epoch(1, "b"), completion.clone())).collect();
        journal.complete_slots(&"products".parse().unwrap(), &completed).unwrap();
    }
    world.stores[0].put(row(1000, 200, "{}"));
    let report = world.pass().await;
    assert!(items(&report).iter().all(|item| item.outcome == Outcome::Repaired), "{report:?}");
    assert_eq!(items(&report).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_first_pass_that_nobody_knows_to_be_over_is_a_plan() {
    let world = filled_with(40, CollectionSettings { first_pass: FirstPass::Plan, ..collection_settings() });
    world.stores[0].put(row(1000, 200, "{}"));
    let report = world.pass().await;
    assert!(report.shards.iter().any(|shard| shard.planned == Some(PlanReason::FirstPass)));
    assert!(items(&report).iter().all(|item| item.outcome == Outcome::Planned));
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_fails_on_the_way_down_leaves_the_others_to_go_on() {
    // Deep enough for hashes of nodes, elements and keys.
    let world = filled(4_000);
    world.pass().await;
    for (round, fault) in [PeerFault::Descend, PeerFault::Elements, PeerFault::Keys].into_iter().enumerate() {
        let key = 10_000 + round as i64;
        world.stores[0].put(row(key, 200, "{}"));
        let slot = world.next_slot();
        let peers = with_fault(&world, &[2], fault);
        let report = world.pass_by(0, slot, Mandate::Automatic, peers).await;
        assert_eq!(report.verdict(), ShardVerdict::Unknown(UnknownReason::Unreachable), "{fault:?}");
        assert!(world.stores[1].row(&Key::integer(key)).is_some(), "{fault:?}: the others were repaired");
        world.pass().await;
        assert!(world.all_the_same(), "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn voters_that_disagree_are_named_as_the_reason() {
    let world = filled(40);
    let slot = world.next_slot();
    let peers = with_fault(&world, &[1, 2], PeerFault::OtherSettings);
    let report = world.pass_by(0, slot, Mandate::Automatic, peers).await;
    let config = ShardVerdict::Unknown(UnknownReason::Config);
    assert!(report.shards.len() == 4 && report.shards.iter().all(|shard| shard.verdict == config));
}
