//! Each rule by name, and the laws that hold for all of them.

use super::*;
use crate::{Certainty, ContentDigest, RowDigest, Tombstone, TombstoneCause, Version};
use proptest::prelude::*;

const NOW: WallMicros = WallMicros(1_000_000_000);
const MOMENT: Moment = Moment { now: NOW, skew: 1_000 };

fn policy() -> Policy {
    Policy {
        winner: Winner::Newest,
        ties: Ties::Majority,
        observed_deletes: ObservedDeletes::Hold,
        version_kind: VersionKind::Time,
        clock_skew_max: 300_000_000,
    }
}

fn sighting(version: i64, content: u8) -> Sighting {
    Sighting {
        version: Version(version),
        expiry: None,
        content: ContentDigest([content; 32]),
        row: RowDigest([content; 32]),
        by_repair: false,
    }
}

fn live(version: i64, content: u8) -> Observation {
    Observation::of(Presence::Live(sighting(version, content)))
}

fn expiring(version: i64, content: u8, expiry: i64) -> Observation {
    Observation::of(Presence::Live(Sighting {
        expiry: Some(WallMicros(expiry)),
        ..sighting(version, content)
    }))
}

fn by_repair(version: i64, content: u8) -> Observation {
    Observation::of(Presence::Live(Sighting { by_repair: true, ..sighting(version, content) }))
}

fn absent() -> Observation {
    Observation::of(Presence::Absent)
}

fn remembered(version: i64) -> Observation {
    let memory = Tombstone {
        version: Version(version),
        cause: TombstoneCause::Deleted,
        at: NOW,
        certainty: Certainty::Observed,
        came_back: false,
    };
    Observation { memory: Some(memory), ..absent() }
}

fn decide(observations: &[Observation]) -> Decision {
    resolve(observations, &policy(), MOMENT).decision
}

fn copy(winner: usize, targets: &[(usize, Cause)]) -> Decision {
    Decision::Copy { winner: ReplicaIndex(winner), targets: named(targets) }
}

fn delete(targets: &[usize]) -> Decision {
    let targets: Vec<_> = targets.iter().map(|replica| (*replica, Cause::ExpiredStraggler)).collect();
    Decision::Delete { targets: named(&targets) }
}

fn named(targets: &[(usize, Cause)]) -> Vec<Target> {
    targets.iter().map(|(replica, cause)| Target { replica: ReplicaIndex(*replica), cause: *cause }).collect()
}

#[test]
fn rule_0_the_same_everywhere_asks_for_nothing() {
    assert_eq!(decide(&[live(1, 1), live(1, 1), live(1, 1)]), Decision::Agree);
    assert_eq!(decide(&[absent(), remembered(9), absent()]), Decision::Agree);
    assert_eq!(decide(&[live(1, 1), live(1, 1), Observation::unreachable()]), Decision::AgreeAsHeard);
    assert_eq!(
        decide(&[live(1, 1), live(1, 1), Observation::of(Presence::Unreadable)]),
        Decision::AgreeAsHeard
    );
    assert_eq!(decide(&[Observation::unreachable(), Observation::unreachable()]), Decision::AgreeAsHeard);
}

#[test]
fn rule_1_the_highest_version_wins_even_alone() {
    let (lost, wrong) = (Cause::MissedInsert, Cause::MissedUpdate);
    assert_eq!(decide(&[live(1, 1), live(3, 3), absent()]), copy(1, &[(0, wrong), (2, lost)]));
    assert_eq!(decide(&[live(1, 1), live(2, 2), Observation::unreachable()]), copy(1, &[(0, wrong)]));
}

#[test]
fn rule_2_a_majority_of_the_configured_replicas_settles_a_tie() {
    assert_eq!(decide(&[live(1, 1), live(1, 2), live(1, 1)]), copy(0, &[(1, Cause::SilentChange)]));
    let tie = Decision::Hold(HoldReason::Tie);
    assert_eq!(decide(&[live(1, 1), live(1, 2), live(1, 3)]), tie);
    assert_eq!(decide(&[live(1, 1), live(1, 2)]), tie);
    assert_eq!(
        decide(&[live(1, 1), live(1, 1), live(1, 2), Observation::unreachable()]),
        tie,
        "2 of 4 is no majority"
    );
    assert_eq!(decide(&[live(1, 1), by_repair(1, 1), live(1, 2)]), tie, "a repair is no vote");
    let policy = Policy { ties: Ties::Hold, ..policy() };
    assert_eq!(resolve(&[live(1, 1), live(1, 2), live(1, 1)], &policy, MOMENT).decision, tie);
}

#[test]
fn rule_2_of_equal_documents_the_later_expiry_wins_and_never_is_the_latest() {
    let later = NOW.0 + 10_000_000;
    assert_eq!(
        decide(&[expiring(1, 1, later), expiring(1, 1, later + 1)]),
        copy(1, &[(0, Cause::MissedUpdate)])
    );
    assert_eq!(decide(&[live(1, 1), expiring(1, 1, later)]), copy(0, &[(1, Cause::MissedUpdate)]));
}

#[test]
fn rule_2_contents_of_which_only_some_expired_are_held() {
    let past = NOW.0 - 10_000;
    let observations = [live(1, 1), live(1, 1), expiring(1, 2, past)];
    assert_eq!(decide(&observations), Decision::Hold(HoldReason::Tie));
}

#[test]
fn rule_3_an_expired_winner_is_deleted_everywhere_and_a_renewed_one_is_kept() {
    let (past, later) = (NOW.0 - 10_000, NOW.0 + 10_000_000);
    assert_eq!(decide(&[expiring(2, 2, past), live(1, 1), absent()]), delete(&[0, 1]));
    assert_eq!(decide(&[expiring(2, 2, past), expiring(2, 2, past)]), delete(&[0, 1]));
    assert_eq!(decide(&[expiring(1, 1, past), remembered(2), remembered(2)]), delete(&[0]), "a straggler");
    assert_eq!(decide(&[expiring(1, 1, past), expiring(2, 2, later)]), copy(1, &[(0, Cause::MissedUpdate)]));
}

#[test]
fn rule_3_within_the_clocks_skew_nothing_is_done() {
    assert_eq!(decide(&[expiring(2, 2, NOW.0 - 999), live(1, 1)]), Decision::Wait);
    assert_eq!(decide(&[expiring(2, 2, NOW.0), live(1, 1)]), Decision::Wait);
    assert_eq!(decide(&[expiring(2, 2, NOW.0 - 1_000), live(1, 1)]), delete(&[0, 1]));
    assert_eq!(decide(&[expiring(2, 2, NOW.0 + 1), live(1, 1)]), copy(0, &[(1, Cause::MissedUpdate)]));
}

#[test]
fn rule_4_a_key_that_a_replica_remembers_is_held() {
    let held = Decision::Hold(HoldReason::ObservedDelete);
    assert_eq!(decide(&[live(1, 1), live(1, 1), remembered(1)]), held);
    assert_eq!(decide(&[live(9, 1), live(1, 1), remembered(1)]), held);
    assert_eq!(decide(&[live(1, 1), Observation::of(Presence::Marked(sighting(2, 2)))]), held);
}

#[test]
fn rule_5_an_insert_that_one_replica_holds_is_copied() {
    let lost = Cause::MissedInsert;
    assert_eq!(decide(&[absent(), live(1, 1), absent()]), copy(1, &[(0, lost), (2, lost)]));
}

#[test]
fn rule_6_unreadable_and_unreachable_are_never_absent() {
    let unreadable = Observation::of(Presence::Unreadable);
    assert_eq!(decide(&[live(2, 2), unreadable.clone(), absent()]), copy(0, &[(2, Cause::MissedInsert)]));
    assert_eq!(decide(&[unreadable, absent(), absent()]), Decision::AgreeAsHeard);
    let unreachable = Observation::unreachable;
    assert_eq!(decide(&[live(2, 2), unreachable(), absent()]), copy(0, &[(2, Cause::MissedInsert)]));
    assert_eq!(decide(&[unreachable(), absent(), absent()]), Decision::AgreeAsHeard);
    let held = Observation { held: true, ..absent() };
    assert_eq!(decide(&[live(1, 1), live(1, 1), held]), Decision::AgreeAsHeard);
}

#[test]
fn rule_7_a_version_in_the_future_is_held_where_versions_are_times() {
    let future = NOW.0 + policy().clock_skew_max + 1;
    let observations = [live(future, 1), live(1, 2)];
    assert_eq!(decide(&observations), Decision::Hold(HoldReason::ClockSkew));
    assert_eq!(decide(&[live(future - 1, 1), live(1, 2)]), copy(0, &[(1, Cause::MissedUpdate)]));
    let counters = Policy { version_kind: VersionKind::Counter, ..policy() };
    assert_eq!(resolve(&observations, &counters, MOMENT).decision, copy(0, &[(1, Cause::MissedUpdate)]));
}

#[test]
fn rule_8_the_preferred_replica_wins_or_the_key_is_held() {
    let prefer = |observations: &[Observation]| {
        resolve(observations, &Policy { winner: Winner::Prefer(ReplicaIndex(0)), ..policy() }, MOMENT)
            .decision
    };
    assert_eq!(
        prefer(&[live(1, 1), live(2, 2), absent()]),
        copy(0, &[(1, Cause::Unknown), (2, Cause::MissedInsert)])
    );
    assert_eq!(
        prefer(&[Observation::unreachable(), live(2, 2), absent()]),
        Decision::Hold(HoldReason::PreferredUnheard)
    );
    assert_eq!(prefer(&[absent(), live(2, 2), absent()]), Decision::Hold(HoldReason::PreferredBehind));
    let past = NOW.0 - 10_000;
    assert_eq!(prefer(&[expiring(2, 2, past), live(1, 1), absent()]), delete(&[0, 1]));
    assert_eq!(prefer(&[expiring(1, 1, past), live(2, 2)]), Decision::Hold(HoldReason::PreferredBehind));
}

#[test]
fn winner_hold_only_reports() {
    let policy = Policy { winner: Winner::Hold, ..policy() };
    assert_eq!(
        resolve(&[live(1, 1), live(2, 2)], &policy, MOMENT).decision,
        Decision::Hold(HoldReason::ReportOnly)
    );
}

fn arbitrary_observation() -> impl Strategy<Value = Observation> {
    let expiry = prop::option::of(prop_oneof![Just(-2_000_i64), Just(-500), Just(0), Just(1), Just(5_000)]);
    let sighting =
        (0_i64..3, 1_u8..4, expiry, any::<bool>()).prop_map(|(version, content, expiry, by_repair)| {
            let expiry = expiry.map(|offset| NOW.plus(offset));
            Sighting { expiry, by_repair, ..sighting(version, content) }
        });
    let presence = prop_oneof![
        6 => sighting.prop_map(Presence::Live),
        2 => Just(Presence::Absent),
        1 => Just(Presence::Unreadable),
        1 => Just(Presence::Unreachable),
    ];
    (presence, prop::bool::weighted(0.15), prop::bool::weighted(0.1)).prop_map(
        |(presence, remembers, held)| {
            let memory = remembered(1).memory.filter(|_| remembers);
            Observation { presence, memory, held }
        },
    )
}

fn arbitrary_policy() -> impl Strategy<Value = Policy> {
    let winner = prop_oneof![
        4 => Just(Winner::Newest),
        1 => (0_usize..2).prop_map(|replica| Winner::Prefer(ReplicaIndex(replica))),
        1 => Just(Winner::Hold),
    ];
    (winner, any::<bool>()).prop_map(|(winner, majority)| Policy {
        winner,
        ties: if majority { Ties::Majority } else { Ties::Hold },
        version_kind: VersionKind::Counter,
        ..policy()
    })
}

fn replicas() -> impl Strategy<Value = Vec<Observation>> {
    prop::collection::vec(arbitrary_observation(), 2..6)
}

/// The observations after the verdict was carried out.
fn applied(observations: &[Observation], decision: &Decision) -> Vec<Observation> {
    let mut after = observations.to_vec();
    match decision {
        Decision::Copy { winner, targets } => {
            let Presence::Live(document) = &observations[winner.0].presence else {
                panic!("a winner is live")
            };
            let written = Sighting { by_repair: true, ..document.clone() };
            for target in targets {
                after[target.replica.0].presence = Presence::Live(written.clone());
            }
        }
        Decision::Delete { targets } => {
            for target in targets {
                after[target.replica.0].presence = Presence::Absent;
            }
        }
        Decision::Agree | Decision::AgreeAsHeard | Decision::Wait | Decision::Hold(_) => {}
    }
    after
}

/// A verdict with replicas named by what they hold, so that verdicts over permuted replicas can be compared.
fn described(observations: &[Observation], verdict: &Verdict) -> String {
    let mut targets = Vec::new();
    let mut winner = String::new();
    match &verdict.decision {
        Decision::Copy { winner: index, targets: to } => {
            let Presence::Live(document) = &observations[index.0].presence else {
                panic!("a winner is live")
            };
            winner = format!("{:?}", (document.version, document.expiry, document.content));
            targets.extend(
                to.iter().map(|target| format!("{:?}{:?}", observations[target.replica.0], target.cause)),
            );
        }
        Decision::Delete { targets: to } => {
            targets.extend(to.iter().map(|target| format!("{:?}", observations[target.replica.0])));
        }
        other => winner = format!("{other:?}"),
    }
    targets.sort();
    format!("{:?} {winner} {targets:?}", verdict.rule)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn the_order_of_replicas_does_not_matter(mut observations in replicas(), majority: bool, turn: usize) {
        let policy = Policy { ties: if majority { Ties::Majority } else { Ties::Hold }, ..policy() };
        let before = described(&observations, &resolve(&observations, &policy, MOMENT));
        let middle = turn % observations.len();
        observations.rotate_left(middle);
        prop_assert_eq!(before, described(&observations, &resolve(&observations, &policy, MOMENT)));
        observations.reverse();
        let reversed = described(&observations, &resolve(&observations, &policy, MOMENT));
        observations.reverse();
        prop_assert_eq!(reversed, described(&observations, &resolve(&observations, &policy, MOMENT)));
    }

    #[test]
    fn one_step_converges_and_the_next_asks_for_nothing(observations in replicas(), policy in arbitrary_policy()) {
        let first = resolve(&observations, &policy, MOMENT);
        if !matches!(first.decision, Decision::Copy { .. } | Decision::Delete { .. }) {
            return Ok(());
        }
        let after = applied(&observations, &first.decision);
        let second = resolve(&after, &policy, MOMENT).decision;
        prop_assert!(matches!(second, Decision::Agree | Decision::AgreeAsHeard), "{second:?}");
    }

    #[test]
    fn with_fewer_replicas_heard_the_verdict_is_the_same_or_a_hold(observations in replicas(), policy in arbitrary_policy(), silent: usize) {
        let full = resolve(&observations, &policy, MOMENT);
        let silent = silent % observations.len();
        let mut fewer = observations.clone();
        fewer[silent].presence = Presence::Unreachable;
        let partial = resolve(&fewer, &policy, MOMENT);
        let excepted = |rule| {
            matches!(rule, Rule::MissedInsert | Rule::HighestVersion | Rule::LaterExpiry | Rule::Expired)
        };
        let same = match (&partial.decision, &full.decision) {
            (Decision::Hold(_) | Decision::Wait | Decision::AgreeAsHeard, _) => true,
            (Decision::Copy { winner, targets }, Decision::Copy { winner: full_winner, targets: all }) => {
                let document = |index: &ReplicaIndex| match &observations[index.0].presence {
                    Presence::Live(sighting) => (sighting.version, sighting.expiry, sighting.content),
                    other => panic!("{other:?} is no winner"),
                };
                document(winner) == document(full_winner) && targets.iter().all(|target| all.contains(target))
            }
            _ => false,
        };
        let memory_unheard = observations[silent].memory.is_some();
        prop_assert!(
            same || excepted(partial.rule) || excepted(full.rule) || memory_unheard || partial.rule == Rule::Preferred,
            "full {full:?}\npartial {partial:?}"
        );
    }

    #[test]
    fn what_was_not_heard_is_never_written(observations in replicas(), policy in arbitrary_policy()) {
        let (Decision::Copy { targets, .. } | Decision::Delete { targets }) = resolve(&observations, &policy, MOMENT).decision
        else { return Ok(()) };
        prop_assert!(!targets.is_empty());
        for target in targets {
            let observation = &observations[target.replica.0];
            prop_assert!(!observation.held);
            prop_assert!(matches!(observation.presence, Presence::Live(_) | Presence::Absent));
        }
    }

    #[test]
    fn a_newer_document_is_never_overwritten_by_an_older(observations in replicas(), majority: bool) {
        let policy = Policy { ties: if majority { Ties::Majority } else { Ties::Hold }, ..policy() };
        let Decision::Copy { winner, targets } = resolve(&observations, &policy, MOMENT).decision else { return Ok(()) };
        let version = |index: ReplicaIndex| match &observations[index.0].presence {
            Presence::Live(sighting) => Some(sighting.version),
            _ => None,
        };
        for target in targets {
            prop_assert!(version(target.replica) <= version(winner));
        }
    }
}
