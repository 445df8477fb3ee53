//! Rules 0 and 7, and `winner: hold`: whether there is anything to decide, and whether it may be decided.

use super::Case;
use super::decision::{Decision, HoldReason, Rule, Target, Verdict};
use super::policy::Winner;
use crate::{Cause, ReplicaIndex, Version, VersionKind, WallMicros};

impl Case<'_> {
    /// Rule 0: those heard hold the same unexpired document, or none holds the key, whatever ledgers remember.
    pub(super) fn same(&self) -> Option<Verdict> {
        let heard = &self.heard;
        if let Some(first) = heard.live.first() {
            let same = heard.marked.is_empty()
                && heard.absent.is_empty()
                && heard.live.iter().all(|holder| holder.document.same_document(first.document))
                && !first.document.expired_at(self.moment.certainly_past());
            if !same {
                return None;
            }
        }
        let decision = if heard.all() { Decision::Agree } else { Decision::AgreeAsHeard };
        Some(Verdict { decision, rule: Rule::Same })
    }

    /// `winner: hold`.
    pub(super) fn report_only(&self) -> Option<Verdict> {
        (self.policy.winner == Winner::Hold).then(|| self.hold(Rule::ReportOnly, HoldReason::ReportOnly, []))
    }

    /// Rule 7: a version of a document or a tombstone lies too far in the future.
    pub(super) fn future_version(&self) -> Option<Verdict> {
        let latest = self.moment.now.plus(self.policy.clock_skew_max);
        let versions = self.heard.live.iter().chain(&self.heard.marked);
        let versions = versions.map(|holder| (holder.replica, holder.document.version));
        let remembered = self.heard.memories.iter().map(|(replica, memory)| (*replica, memory.version));
        let future = |(_, version): &(ReplicaIndex, Version)| WallMicros(version.0) > latest;
        let future: Vec<ReplicaIndex> =
            versions.chain(remembered).filter(future).map(|(replica, _)| replica).collect();
        (self.is_timed() && !future.is_empty())
            .then(|| self.hold(Rule::FutureVersion, HoldReason::ClockSkew, future))
    }

    /// Whether versions are times: only then can a document and a deletion be put in order.
    pub(super) fn is_timed(&self) -> bool {
        self.policy.version_kind == VersionKind::Time
    }

    /// A hold that names who stands out.
    pub(super) fn hold(
        &self,
        rule: Rule,
        reason: HoldReason,
        outliers: impl IntoIterator<Item = ReplicaIndex>,
    ) -> Verdict {
        let outliers = targets(outliers.into_iter().map(|replica| (replica, reason.cause())));
        Verdict { decision: Decision::Hold { reason, outliers }, rule }
    }
}

/// Replicas with their causes, each once, ascending.
pub(super) fn targets(differing: impl IntoIterator<Item = (ReplicaIndex, Cause)>) -> Vec<Target> {
    let mut targets: Vec<Target> =
        differing.into_iter().map(|(replica, cause)| Target { replica, cause }).collect();
    targets.sort_unstable_by_key(|target| target.replica);
    targets.dedup_by_key(|target| target.replica);
    targets
}
