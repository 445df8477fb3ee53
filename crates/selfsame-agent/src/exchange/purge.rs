//! Up to when the certain tombstones of a shard may be forgotten: decided by what the roots say, and by whether every
//! replica has joined what there is.

use selfsame_core::purge::next_horizon;
use selfsame_core::{UnknownReason, WallMicros};
use selfsame_wire::message::Root;

use super::report::PlanReason;
use super::{Exchange, Mandate, micros};

/// What there is to purge of one shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Purge {
    /// The highest horizon of any replica. It was decided when all had joined what lies at or below it: such a
    /// tombstone is told to nobody any more.
    pub(super) passed: Option<WallMicros>,
    /// The horizon that follows, once every configured replica has joined every tombstone that there is.
    pub(super) next: Option<WallMicros>,
}

impl Purge {
    /// The horizon that every replica may be told. `joined`: all have joined what there is.
    pub(super) fn horizon(self, joined: bool) -> Option<WallMicros> {
        if joined { self.next.or(self.passed) } else { self.passed }
    }
}

/// What these roots, one of each configured replica, allow. A replica that is silent, or held and therefore left out,
/// may know of a deletion that nobody else has heard of, or not know of one: then nothing more is purged.
fn purge(roots: &[Result<Root, UnknownReason>], next: impl FnOnce(WallMicros) -> WallMicros) -> Purge {
    let passed = roots.iter().flatten().filter_map(|root| root.horizon).max();
    let all_there = roots.iter().all(|root| matches!(root, Ok(root) if root.held.is_none()));
    let scanned = roots.iter().flatten().map(|root| root.as_of).min().filter(|_| all_there);
    let next = scanned.map(next).filter(|next| passed.is_none_or(|passed| passed < *next));
    Purge { passed, next }
}

impl Exchange {
    /// What there is to purge. A dry run and a resync purge nothing.
    pub(super) fn purge(&self, roots: &[Result<Root, UnknownReason>]) -> Purge {
        let retention = micros(self.collection.tombstone_retention);
        let purge = purge(roots, |scanned| next_horizon(self.clock.now(), scanned, retention, self.skew));
        match &self.mandate {
            Mandate::Plan(PlanReason::DryRun) | Mandate::Resync(_) => Purge { next: None, ..purge },
            Mandate::Automatic | Mandate::Plan(_) | Mandate::Approved(_) => purge,
        }
    }
}

#[cfg(test)]
mod tests {
    use selfsame_core::merkle::{Depth, NodeHash};

    use super::*;

    fn root(as_of: i64, horizon: Option<i64>) -> Root {
        Root {
            hash: NodeHash([0; 16]),
            count: 1,
            depth: Depth::MAX,
            as_of: WallMicros(as_of),
            incarnation: 1,
            unreadable: 0,
            memory: NodeHash([0; 16]),
            held: None,
            horizon: horizon.map(WallMicros),
            gap: None,
        }
    }

    fn purged(roots: &[Result<Root, UnknownReason>]) -> (Option<i64>, Option<i64>) {
        let purge = purge(roots, |scanned| scanned.plus(-10));
        (purge.passed.map(|at| at.0), purge.next.map(|at| at.0))
    }

    #[test]
    fn only_when_every_replica_is_there_does_a_horizon_follow() {
        let (ahead, behind) = (Ok(root(31, Some(5))), Ok(root(30, None)));
        assert_eq!(purged(&[ahead, behind]), (Some(5), Some(20)), "as far as the oldest scan allows");
        assert_eq!(purged(&[ahead, Err(UnknownReason::Unreachable)]), (Some(5), None));
        let held = Ok(Root { held: Some(WallMicros(1)), ..root(30, None) });
        assert_eq!(purged(&[ahead, held]), (Some(5), None));
        assert_eq!(purged(&[Ok(root(30, Some(20))), behind]), (Some(20), None), "it does not get on");
        assert_eq!(purged(&[]), (None, None));
    }

    #[test]
    fn what_not_all_have_joined_is_not_purged() {
        let (passed, next) = (Some(WallMicros(5)), Some(WallMicros(9)));
        assert_eq!(Purge { passed, next }.horizon(false), passed);
        assert_eq!(Purge { passed, next }.horizon(true), next);
        assert_eq!(Purge { passed, next: None }.horizon(true), passed);
    }
}
