//! The laws that hold for all rules, over random keys, fleets, policies, clocks and skews.

use super::world::*;
use super::*;
use proptest::prelude::*;

fn everybody(world: &World) -> Vec<bool> {
    vec![true; world.len()]
}

/// A verdict with replicas named by what they hold, so that verdicts over permuted replicas can be compared.
fn described(world: &World, verdict: &Verdict) -> String {
    let of = |replica: ReplicaIndex| format!("{:?}", world.get(replica.0));
    let all = |targets: &[Target]| {
        let mut all: Vec<String> =
            targets.iter().map(|target| format!("{} {}", of(target.replica), target.cause)).collect();
        all.sort();
        all
    };
    let decision = match &verdict.decision {
        Decision::Copy { winner, targets } => {
            // Equal documents lie on several replicas; the bytes that travel are the same.
            let (Presence::Live(document) | Presence::Marked(document)) = &world[winner.0].presence else {
                panic!("{:?} is no winner", world[winner.0])
            };
            let travels = Sighting { by_repair: false, ..document.clone() };
            format!("copy {travels:?} {:?}", all(targets))
        }
        Decision::Delete { targets, remember } => format!("delete {remember:?} {:?}", all(targets)),
        Decision::Hold { reason, outliers } => format!("hold {reason:?} {:?}", all(outliers)),
        other => format!("{other:?}"),
    };
    format!("{:?} {decision}", verdict.rule)
}

/// Whether a verdict of some replicas is in the spirit of the verdict of more: nothing, or the same for fewer.
fn same_or_hold(world: &World, part: &Verdict, whole: &Verdict) -> bool {
    let within = |targets: &[Target], all: &[Target]| targets.iter().all(|target| all.contains(target));
    let document = |winner: &ReplicaIndex| match &world[winner.0].presence {
        Presence::Live(document) => (document.version, document.expiry, document.content),
        other => panic!("{other:?} is not live"),
    };
    match (&part.decision, &whole.decision) {
        (Decision::Hold { .. } | Decision::Wait | Decision::Agree | Decision::AgreeAsHeard, _) => true,
        (Decision::Copy { winner, targets }, Decision::Copy { winner: whole_winner, targets: all }) => {
            document(winner) == document(whole_winner) && within(targets, all)
        }
        (Decision::Delete { targets, .. }, Decision::Delete { targets: all, .. }) => within(targets, all),
        _ => false,
    }
}

/// Whether what was not heard is one of the things that need no majority: a higher version, another expiry of the
/// same document, a certain tombstone.
fn is_excepted(world: &World, heard: &[bool], policy: &Policy, moment: Moment) -> bool {
    let highest = heard_by(world, heard)
        .iter()
        .filter(|observation| !observation.held)
        .filter_map(live_document)
        .map(|document| (document.version, document.expiry))
        .max();
    let future = |version: Version| {
        policy.version_kind == VersionKind::Time && version.0 > moment.now.0 + policy.clock_skew_max
    };
    let unheard = world.iter().zip(heard).filter(|(observation, heard)| !**heard && !observation.held);
    unheard.map(|(observation, _)| observation).any(|observation| {
        let memory = observation.memory.as_ref();
        let by_document = match &observation.presence {
            Presence::Live(document) => {
                let above = highest.is_none_or(|(version, _)| document.version > version);
                let expires = highest.is_some_and(|(version, expiry)| {
                    document.version == version && document.expiry != expiry
                });
                above || expires || document.expired_at(moment.now)
            }
            Presence::Marked(_) => true,
            Presence::Unreachable => return false,
            Presence::Absent | Presence::Unreadable => false,
        };
        by_document
            || memory.is_some_and(|memory| memory.certainty == Certainty::Certain || future(memory.version))
    })
}

proptest! {
    #![proptest_config(at_least(2_000))]

    #[test]
    fn the_order_of_replicas_does_not_matter((world, policy, moment) in arbitrary_case(), keys: [u8; 5]) {
        let mut order: Vec<usize> = (0..world.len()).collect();
        order.sort_by_key(|index| (keys[*index], *index));
        let turned: World = order.iter().map(|index| world[*index].clone()).collect();
        let winner = match policy.winner {
            Winner::Prefer(ReplicaIndex(preferred)) => Winner::Prefer(ReplicaIndex(
                order.iter().position(|index| *index == preferred).unwrap_or(preferred),
            )),
            other => other,
        };
        let before = resolve(&world, &policy, moment);
        let after = resolve(&turned, &Policy { winner, ..policy }, moment);
        prop_assert_eq!(described(&world, &before), described(&turned, &after));
    }

    #[test]
    fn one_step_converges_and_the_next_asks_for_nothing((world, policy, moment) in arbitrary_case()) {
        let heard = everybody(&world);
        let (first, after) = pass(&world, &heard, &policy, moment);
        let (second, last) = pass(&after, &heard, &policy, moment);
        match first.decision {
            Decision::Copy { .. } | Decision::Delete { .. } => {
                prop_assert!(is_agreement(&second.decision), "{first:?}\n{after:?}\n{second:?}");
            }
            _ => {
                prop_assert_eq!(&after, &world);
                prop_assert_eq!(second, first);
            }
        }
        prop_assert_eq!(last, after);
    }

    #[test]
    fn carrying_a_verdict_out_twice_is_carrying_it_out_once((world, policy, moment) in arbitrary_case()) {
        let heard = everybody(&world);
        let (verdict, once) = pass(&world, &heard, &policy, moment);
        prop_assert_eq!(carry_out(&once, &heard, &verdict, |_| true), once);
    }

    #[test]
    fn a_repair_that_was_cut_short_is_finished_by_the_next(
        (world, policy, moment) in arbitrary_case(), reached: [bool; 5],
    ) {
        let heard = everybody(&world);
        let (verdict, whole) = pass(&world, &heard, &policy, moment);
        let cut = carry_out(&world, &heard, &verdict, |replica| reached[replica]);
        let (next, finished) = pass(&cut, &heard, &policy, moment);
        let (_, settled) = pass(&finished, &heard, &policy, moment);
        let rows = |world: &World| -> Vec<Option<Sighting>> {
            let row = |observation: &Observation| live_document(observation).cloned();
            let unwritten = |document| Sighting { by_repair: false, row: RowDigest([0; 32]), ..document };
            world.iter().map(|observation| row(observation).map(unwritten)).collect()
        };
        // What a repair wrote is nobody's vote, so that a majority may be gone and the policy have to decide; a
        // preference decides by who is absent; and where versions are no times, what was remembered first may hold
        // the rest.
        let may_hold = policy.version_kind != VersionKind::Time
            || policy.winner != Winner::Newest
            || matches!(verdict.rule, Rule::Tie | Rule::ObservedDeletion);
        let deletes = policy.observed_deletes == ObservedDeletes::Delete && next.rule == Rule::ObservedDeletion;
        let holds = may_hold && (deletes || matches!(next.decision, Decision::Hold { .. } | Decision::Wait));
        prop_assert!(holds || rows(&settled) == rows(&whole), "{verdict:?}\n{cut:?}\n{next:?}");
    }

    #[test]
    fn with_fewer_replicas_heard_the_verdict_is_the_same_or_a_hold(
        (world, policy, moment) in arbitrary_case(), heard: [bool; 5],
    ) {
        let heard = &heard[..world.len()];
        let whole = resolve(&world, &policy, moment);
        let part = resolve(&heard_by(&world, heard), &policy, moment);
        // What a missed insert, a higher version, a later expiry, an expiry or a certain tombstone decides needs no
        // majority; so does the part of a restoring that brings a lower version up.
        let alone = matches!(
            part.rule,
            Rule::MissedInsert | Rule::HighestVersion | Rule::LaterExpiry | Rule::Expired | Rule::CertainTombstone
        );
        let behind = |targets: &[Target]| targets.iter().any(|target| target.cause == Cause::MissedUpdate);
        let updates = matches!(&part.decision, Decision::Copy { targets, .. } if behind(targets));
        // A tie that is left open is between those that have the key; a majority of them brings it back meanwhile
        // to those that lost it, where nothing is overwritten.
        let lacks = |target: &Target| world[target.replica.0].presence == Presence::Absent;
        let restores = part.rule == Rule::ObservedDeletion
            && matches!(&part.decision, Decision::Copy { targets, .. } if targets.iter().all(lacks))
            && whole.rule == Rule::Tie;
        prop_assert!(
            alone || updates || restores
                || is_excepted(&world, heard, &policy, moment)
                || same_or_hold(&world, &part, &whole),
            "whole {whole:?}\npart {part:?}",
        );
    }

    #[test]
    fn what_was_not_heard_is_neither_written_nor_asked((world, policy, moment) in arbitrary_case()) {
        let counts = |replica: ReplicaIndex| {
            let observation = &world[replica.0];
            !observation.held && !matches!(observation.presence, Presence::Unreadable | Presence::Unreachable)
        };
        match resolve(&world, &policy, moment).decision {
            Decision::Copy { winner, targets } => {
                prop_assert!(counts(winner) && !targets.is_empty());
                prop_assert!(targets.iter().all(|target| counts(target.replica) && target.replica != winner));
            }
            Decision::Delete { targets, .. } => {
                prop_assert!(!targets.is_empty());
                prop_assert!(targets.iter().all(|target| live_document(&world[target.replica.0]).is_some()));
            }
            _ => {}
        }
    }

    #[test]
    fn what_is_not_heard_does_not_count((world, policy, moment) in arbitrary_case(), memory in arbitrary_memory()) {
        let silence = |observation: &Observation| match observation {
            Observation { held: true, .. } | Observation { presence: Presence::Unreachable, .. } => {
                with(memory.clone(), unreachable())
            }
            heard => heard.clone(),
        };
        let silenced: World = world.iter().map(silence).collect();
        prop_assert_eq!(resolve(&world, &policy, moment), resolve(&silenced, &policy, moment));
    }

    #[test]
    fn a_live_winner_is_never_below_a_certain_tombstone((world, policy, moment) in arbitrary_case()) {
        let policy = Policy { version_kind: VersionKind::Time, ..policy };
        let Decision::Copy { winner, .. } = resolve(&world, &policy, moment).decision else { return Ok(()) };
        let Some(document) = live_document(&world[winner.0]) else { return Ok(()) };
        for observation in world.iter().filter(|observation| !observation.held) {
            if let Presence::Marked(mark) = &observation.presence {
                prop_assert!(mark.version <= document.version);
                prop_assert!(mark.version < document.version || policy.winner != Winner::Newest);
            }
            if observation.presence == Presence::Unreachable {
                continue;
            }
            let certain = |memory: &&Tombstone| memory.certainty == Certainty::Certain;
            if let Some(memory) = observation.memory.as_ref().filter(certain) {
                prop_assert!(memory.version <= document.version);
                let own = memory.version == document.version && memory.cause == TombstoneCause::Deleted;
                prop_assert!(!own || policy.winner != Winner::Newest);
            }
        }
    }

    #[test]
    fn a_newer_document_is_never_overwritten_by_an_older((world, policy, moment) in arbitrary_case()) {
        let policy = Policy { winner: Winner::Newest, ..policy };
        let Decision::Copy { winner, targets } = resolve(&world, &policy, moment).decision else { return Ok(()) };
        let version = |replica: ReplicaIndex| match &world[replica.0].presence {
            Presence::Live(document) | Presence::Marked(document) => Some(document.version),
            _ => None,
        };
        for target in targets {
            prop_assert!(version(target.replica) <= version(winner));
        }
    }

    #[test]
    fn an_expired_document_is_never_copied((world, policy, moment) in arbitrary_case()) {
        let Decision::Copy { winner, .. } = resolve(&world, &policy, moment).decision else { return Ok(()) };
        let expired = live_document(&world[winner.0]).is_some_and(|document| document.expired_at(moment.now));
        prop_assert!(!expired);
    }

    #[test]
    fn an_unexpired_document_is_deleted_only_for_a_reason((world, policy, moment) in arbitrary_case()) {
        let verdict = resolve(&world, &policy, moment);
        let Decision::Delete { targets, remember } = &verdict.decision else { return Ok(()) };
        // A certain tombstone or an expiry at or above it, a majority of all replicas that saw it go, or a policy
        // that says so.
        let proven = |version: Version| remember.as_ref().is_some_and(|tombstone| tombstone.version >= version);
        let saw = |version: Version| {
            world.iter().filter(|observation| {
                let memory = observation.memory.as_ref();
                !observation.held && observation.presence == Presence::Absent
                    && memory.is_some_and(|memory| memory.is_own_observation() && memory.version >= version)
            }).count()
        };
        let all_heard = world.iter().all(|observation| {
            !observation.held && !matches!(observation.presence, Presence::Unreadable | Presence::Unreachable)
        });
        for target in targets {
            let Some(document) = live_document(&world[target.replica.0]) else { continue };
            prop_assert!(
                proven(document.version)
                    || saw(document.version) * 2 > world.len()
                    || (policy.observed_deletes == ObservedDeletes::Delete && all_heard),
                "{verdict:?}"
            );
        }
    }
}
