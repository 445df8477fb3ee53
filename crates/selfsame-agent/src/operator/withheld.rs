//! Why a repair that the rules ask for is not made: the target's agent knows, and runs have said so.

use selfsame_core::{Decision, HoldReason, Target, Verdict};
use selfsame_wire::v1;

/// Why the repairs of this verdict wait, if one does: the key flaps on a target, or the last run found that the same
/// repair does not read back as written.
pub(super) fn reason(reply: &v1::ExplainReply, verdict: &Verdict) -> Option<HoldReason> {
    let (targets, winner) = match &verdict.decision {
        Decision::Copy { targets, winner } => (targets, Some(*winner)),
        Decision::Delete { targets, .. } => (targets, None),
        _ => return None,
    };
    let version = winner.and_then(|winner| reply.observations.get(winner.0)).and_then(|seen| seen.version);
    targets.iter().find_map(|target| of_target(reply, *target, version))
}

fn of_target(reply: &v1::ExplainReply, target: Target, version: Option<i64>) -> Option<HoldReason> {
    let seen = reply.observations.get(target.replica.0)?;
    if seen.flapping {
        return Some(HoldReason::Flapping);
    }
    let last = reply.history.iter().find(|item| item.node == seen.node)?;
    let incomparable = HoldReason::Incomparable;
    let said = last.outcome == incomparable.as_str() || last.detail == incomparable.as_str();
    // Either side may have changed since.
    let unchanged = last.version_before == seen.version && last.version_after == version;
    (said && unchanged).then_some(incomparable)
}

#[cfg(test)]
mod tests {
    use selfsame_core::{Cause, ReplicaIndex, Rule};

    use super::*;

    fn reply(flapping: bool, outcome: &str, versions: (i64, i64)) -> v1::ExplainReply {
        let seen = |node: &str, version, flapping| v1::NodeObservation {
            node: node.to_owned(),
            version: Some(version),
            flapping,
            ..v1::NodeObservation::default()
        };
        let item = v1::RunItem {
            node: "node-b".to_owned(),
            outcome: "held".to_owned(),
            detail: outcome.to_owned(),
            version_before: Some(versions.0),
            version_after: Some(versions.1),
            ..v1::RunItem::default()
        };
        v1::ExplainReply {
            observations: vec![seen("node-a", 9, false), seen("node-b", 5, flapping)],
            history: vec![item],
            ..v1::ExplainReply::default()
        }
    }

    fn copy() -> Verdict {
        let target = Target { replica: ReplicaIndex(1), cause: Cause::MissedUpdate };
        let decision = Decision::Copy { winner: ReplicaIndex(0), targets: vec![target] };
        Verdict { decision, rule: Rule::HighestVersion }
    }

    #[test]
    fn a_key_that_flaps_is_withheld_by_its_targets_word() {
        assert_eq!(reason(&reply(true, "", (5, 9)), &copy()), Some(HoldReason::Flapping));
        let agree = Verdict { decision: Decision::Agree, rule: Rule::Same };
        assert_eq!(reason(&reply(true, "", (5, 9)), &agree), None);
    }

    #[test]
    fn what_did_not_read_back_is_withheld_until_either_side_changes() {
        assert_eq!(reason(&reply(false, "incomparable", (5, 9)), &copy()), Some(HoldReason::Incomparable));
        for versions in [(4, 9), (5, 8)] {
            assert_eq!(reason(&reply(false, "incomparable", versions), &copy()), None);
        }
        assert_eq!(reason(&reply(false, "flapping", (5, 9)), &copy()), None, "it has ended since");
    }
}
