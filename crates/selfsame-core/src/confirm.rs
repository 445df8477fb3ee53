//! What two fresh reads of a key, `settle` apart, allow to conclude. A difference between indexes is a
//! suspicion; only what stands still in the stores is a difference.

use crate::{Cause, Decision, Moment, Observation, Policy, ReplicaIndex, Rule, Target, Verdict, resolve};

/// What became of a suspected difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Confirmed {
    /// The replicas agree by now: a write was on its way.
    Transient,
    /// A stored row changed between the reads: nothing can be said, nothing is done.
    Moving,
    /// All rows stood still.
    Stable(Verdict),
    /// The losers stood still, and behind, in both reads while their winner moved on.
    Lagging(Verdict),
}

/// Compares two reads of one key over all configured replicas, in the same order.
pub fn confirm(first: &[Observation], second: &[Observation], policy: &Policy, moment: Moment) -> Confirmed {
    let verdict = resolve(second, policy, moment);
    if matches!(verdict.decision, Decision::Agree | Decision::AgreeAsHeard) {
        return Confirmed::Transient;
    }
    let still = |replica: ReplicaIndex| match (first.get(replica.0), second.get(replica.0)) {
        (Some(first), Some(second)) => first.same_row(second) || !(is_heard(first) || is_heard(second)),
        _ => false,
    };
    if first.len() == second.len() && (0..second.len()).map(ReplicaIndex).all(still) {
        return Confirmed::Stable(verdict);
    }
    let (Decision::Copy { winner, targets }, Rule::HighestVersion | Rule::MissedInsert) =
        (verdict.decision, verdict.rule)
    else {
        return Confirmed::Moving;
    };
    // A loser that had not lost before is not behind: the winner's last write is just on its way to it.
    let behind_before = match resolve(first, policy, moment).decision {
        Decision::Copy { targets, .. } => targets,
        _ => Vec::new(),
    };
    let lagging: Vec<Target> = targets
        .into_iter()
        .filter(|target| still(target.replica))
        .filter(|target| behind_before.iter().any(|before| before.replica == target.replica))
        .map(|target| Target { cause: Cause::Lagging, ..target })
        .collect();
    if lagging.is_empty() {
        return Confirmed::Moving;
    }
    Confirmed::Lagging(Verdict { decision: Decision::Copy { winner, targets: lagging }, rule: verdict.rule })
}

fn is_heard(observation: &Observation) -> bool {
    !observation.held && !matches!(observation.presence, crate::Presence::Unreachable)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ContentDigest, ObservedDeletes, Presence, RowDigest, Sighting, Ties, Version, VersionKind,
        WallMicros, Winner,
    };

    const MOMENT: Moment = Moment { now: WallMicros(1_000_000), skew: 0 };

    fn policy() -> Policy {
        Policy {
            winner: Winner::Newest,
            ties: Ties::Majority,
            observed_deletes: ObservedDeletes::Hold,
            version_kind: VersionKind::Counter,
            clock_skew_max: 0,
        }
    }

    fn live(version: u8) -> Observation {
        Observation::of(Presence::Live(Sighting {
            version: Version(i64::from(version)),
            expiry: None,
            content: ContentDigest([version; 32]),
            row: RowDigest([version; 32]),
            by_repair: false,
            bytes: 0,
        }))
    }

    fn absent() -> Observation {
        Observation::of(Presence::Absent)
    }

    fn reads(first: &[Observation], second: &[Observation]) -> Confirmed {
        confirm(first, second, &policy(), MOMENT)
    }

    fn replicas(targets: &[Target]) -> Vec<usize> {
        targets.iter().map(|target| target.replica.0).collect()
    }

    #[test]
    fn a_write_that_arrived_meanwhile_is_transient() {
        assert_eq!(reads(&[live(2), live(1)], &[live(2), live(2)]), Confirmed::Transient);
        assert_eq!(reads(&[live(2), absent()], &[absent(), absent()]), Confirmed::Transient);
    }

    #[test]
    fn a_difference_that_stands_still_is_stable() {
        let Confirmed::Stable(verdict) = reads(&[live(2), live(1)], &[live(2), live(1)]) else { panic!() };
        assert!(matches!(verdict.decision, Decision::Copy { .. }));
    }

    #[test]
    fn a_write_caught_halfway_is_no_lag() {
        // All agreed at first; at the second read the newest write had reached only one replica.
        assert_eq!(reads(&[live(1), live(1), live(1)], &[live(2), live(1), live(1)]), Confirmed::Moving);
        assert_eq!(reads(&[absent(), absent()], &[live(1), absent()]), Confirmed::Moving);
    }

    #[test]
    fn a_loser_that_stood_still_behind_a_moving_winner_is_lagging() {
        let Confirmed::Lagging(verdict) = reads(&[live(3), live(1), live(3)], &[live(4), live(1), live(4)])
        else {
            panic!()
        };
        let Decision::Copy { targets, .. } = verdict.decision else { panic!() };
        assert_eq!((replicas(&targets), targets[0].cause), (vec![1], Cause::Lagging));
    }

    #[test]
    fn only_the_losers_that_stood_still_are_repaired() {
        let Confirmed::Lagging(verdict) = reads(&[live(5), live(1), live(3)], &[live(6), live(1), live(4)])
        else {
            panic!()
        };
        let Decision::Copy { targets, .. } = verdict.decision else { panic!() };
        assert_eq!(replicas(&targets), [1]);
    }

    #[test]
    fn a_replica_heard_only_once_proves_nothing() {
        let unreachable = Observation::unreachable;
        assert_eq!(reads(&[live(2), unreachable()], &[live(2), live(1)]), Confirmed::Moving);
        let Confirmed::Stable(_) =
            reads(&[live(2), live(1), unreachable()], &[live(2), live(1), unreachable()])
        else {
            panic!()
        };
    }
}
