use super::*;
use crate::{
    Certainty, ContentDigest, ObservedDeletes, RowDigest, Ties, Tombstone, TombstoneCause, TombstoneOwner,
    Version, VersionKind, WallMicros, Winner,
};

const MOMENT: Moment = Moment { now: WallMicros(1_000_000), skew: 0 };
const YIELDING: ReplicaIndex = ReplicaIndex(0);

fn policy() -> Policy {
    Policy {
        winner: Winner::Newest,
        ties: Ties::Majority,
        observed_deletes: ObservedDeletes::Hold,
        version_kind: VersionKind::Time,
        clock_skew_max: 0,
    }
}

fn live(version: u8) -> Observation {
    Observation::of(Presence::Live(Sighting {
        version: Version(i64::from(version)),
        expiry: None,
        content: ContentDigest([version; 32]),
        row: RowDigest([version; 32]),
        bytes: 1,
        by_repair: false,
    }))
}

fn held(observation: Observation) -> Observation {
    Observation { held: true, ..observation }
}

fn absent() -> Observation {
    Observation::of(Presence::Absent)
}

fn decided(observations: &[Observation]) -> Decision {
    yielded(observations, YIELDING, &policy(), MOMENT).decision
}

fn targets(decision: &Decision) -> Vec<usize> {
    match decision {
        Decision::Copy { targets, .. } | Decision::Delete { targets, .. } => {
            targets.iter().map(|target| target.replica.0).collect()
        }
        _ => Vec::new(),
    }
}

#[test]
fn what_only_the_yielding_replica_has_is_deleted_there() {
    let decision = decided(&[held(live(5)), absent(), absent()]);
    assert!(matches!(decision, Decision::Delete { remember: None, .. }), "{decision:?}");
    assert_eq!(targets(&decision), [0]);
    // It need not be held.
    assert_eq!(targets(&decided(&[live(5), absent(), absent()])), [0]);
    assert_eq!(targets(&decided(&[live(5), absent()])), [0]);
}

#[test]
fn nothing_is_deleted_without_a_majority_of_the_others() {
    for silent in [Observation::unreachable(), Observation::of(Presence::Unreadable), held(absent())] {
        let decision = decided(&[live(5), absent(), silent]);
        assert_eq!(targets(&decision), [0_usize; 0], "{decision:?}");
    }
}

#[test]
fn it_is_given_what_it_lacks_and_what_it_has_otherwise() {
    for own in [absent(), live(4), held(live(4))] {
        let decision = decided(&[own, live(5), live(5)]);
        assert!(matches!(decision, Decision::Copy { winner: ReplicaIndex(1), .. }), "{decision:?}");
        assert_eq!(targets(&decision), [0]);
    }
    assert_eq!(
        targets(&decided(&[absent(), live(5), live(4)])),
        [0],
        "the others' differences are not its own"
    );
    assert_eq!(decided(&[live(5), live(5), live(5)]), Decision::AgreeAsHeard);
}

#[test]
fn a_document_above_all_others_stands() {
    assert_eq!(targets(&decided(&[live(6), live(5), live(5)])), [0_usize; 0]);
    assert_eq!(targets(&decided(&[live(6), live(5), live(4)])), [0_usize; 0]);
}

#[test]
fn certain_tombstones_of_the_others_win() {
    let tombstone = Tombstone {
        version: Version(7),
        cause: TombstoneCause::Deleted,
        at: WallMicros(1),
        certainty: Certainty::Certain,
        owner: TombstoneOwner::Own,
        came_back: false,
    };
    let remembers = Observation { memory: Some(tombstone), ..absent() };
    assert_eq!(targets(&decided(&[live(5), live(5), remembers.clone()])), [0]);
    assert_eq!(targets(&decided(&[live(6), live(5), remembers.clone()])), [0], "the tombstone is above it");
    assert_eq!(targets(&decided(&[live(8), live(5), remembers])), [0_usize; 0]);
}

#[test]
fn only_what_stood_still_is_decided() {
    let confirmed = |first: &[Observation], second: &[Observation]| {
        confirm_yielded(first, second, YIELDING, &policy(), MOMENT)
    };
    let (before, after) = ([live(5), absent(), absent()], [live(6), absent(), absent()]);
    assert!(matches!(confirmed(&before, &before), Confirmed::Stable(_)));
    assert_eq!(confirmed(&before, &after), Confirmed::Moving);
    assert_eq!(confirmed(&before, &[absent(), absent(), absent()]), Confirmed::Transient);
}
