//! Replicas that are held: what an exchange makes of them, and when their hold may end.

use selfsame_core::{
    Confirmed, Moment, NodeName, Observation, ReplicaIndex, UnknownReason, WallMicros, confirm,
    confirm_yielded,
};
use selfsame_wire::message::Root;

use super::report::ShardReport;
use super::{Exchange, Mandate};

/// Leaves out the replicas that are held by what their reads saw, apart from one that yields. Whether there were any
/// among those asked.
fn leave_out<'a>(
    asked: &mut [bool],
    keys: impl Iterator<Item = &'a [Observation]>,
    yielding: Option<ReplicaIndex>,
) -> bool {
    let before = asked.iter().filter(|asked| **asked).count();
    for observations in keys {
        for (index, (asked, observation)) in asked.iter_mut().zip(observations).enumerate() {
            *asked &= !observation.held || yielding == Some(ReplicaIndex(index));
        }
    }
    before > asked.iter().filter(|asked| **asked).count()
}

/// The holds that these roots, one of each configured replica in order, speak against: all are equal, and all come
/// from scans that began after every hold, also if the clocks differ by `skew`, in microseconds.
fn equal_since<'a>(
    nodes: impl Iterator<Item = &'a NodeName>,
    roots: &[Result<Root, UnknownReason>],
    skew: i64,
) -> Vec<(NodeName, WallMicros)> {
    let Some(last) = roots.iter().flatten().filter_map(|root| root.held).max() else { return Vec::new() };
    // Holds and scans are told by the clocks of two agents, each up to `skew` away from the owner's.
    let after = last.plus(skew.saturating_mul(2));
    let hash = roots.iter().flatten().next().map(|root| root.hash);
    let equal = |root: &Result<Root, UnknownReason>| matches!(root, Ok(root) if Some(root.hash) == hash && root.as_of > after);
    if !roots.iter().all(equal) {
        return Vec::new();
    }
    let held = |(node, root): (&NodeName, &Result<Root, UnknownReason>)| {
        Some((node.clone(), root.as_ref().ok()?.held?))
    };
    nodes.zip(roots).filter_map(held).collect()
}

impl Exchange {
    /// The replica's place, if it is the one that is to take the others' word.
    pub(super) fn yields(&self, node: &NodeName) -> Option<ReplicaIndex> {
        let yielding = self.yielding()?;
        self.members.get(yielding.0).filter(|member| member.node == *node).map(|_| yielding)
    }

    fn yielding(&self) -> Option<ReplicaIndex> {
        match &self.mandate {
            Mandate::Resync(resync) => Some(resync.replica),
            Mandate::Automatic | Mandate::Plan(_) | Mandate::Approved(_) => None,
        }
    }

    /// Who is asked for fresh reads: whoever gave a root and is not held, and a replica that yields.
    pub(super) fn asked(&self, roots: &[Result<Root, UnknownReason>]) -> Vec<bool> {
        let yielding = self.yielding();
        let asked = |(index, root): (usize, &Result<Root, UnknownReason>)| matches!(root, Ok(root) if root.held.is_none() || yielding == Some(ReplicaIndex(index)));
        roots.iter().enumerate().map(asked).collect()
    }

    /// Notes the replicas that are not asked.
    pub(super) fn note_unheard(&self, asked: &[bool], report: &mut ShardReport) {
        let silent = self.members.iter().zip(asked).filter(|(_, asked)| !**asked);
        report.unheard.extend(silent.map(|(member, _)| member.node.clone()));
    }

    pub(super) fn leave_out<'a>(
        &self,
        asked: &mut [bool],
        keys: impl Iterator<Item = &'a [Observation]>,
    ) -> bool {
        leave_out(asked, keys, self.yielding())
    }

    /// What two reads of a key allow to conclude.
    pub(super) fn judge(&self, first: &[Observation], second: &[Observation], moment: Moment) -> Confirmed {
        let policy = &self.collection.policy;
        match self.yielding() {
            Some(yielding) => confirm_yielded(first, second, yielding, policy, moment),
            None => confirm(first, second, policy, moment),
        }
    }

    /// Says that a held replica leaves the shard unknown, whatever its root is, and which holds the roots speak
    /// against.
    pub(super) fn compare_held(&self, roots: &[Result<Root, UnknownReason>], report: &mut ShardReport) {
        if roots.iter().flatten().any(|root| root.held.is_some()) {
            report.unknown.push(UnknownReason::Held);
        }
        report.equal_since = equal_since(self.members.iter().map(|member| &member.node), roots, self.skew);
    }
}

#[cfg(test)]
mod tests {
    use selfsame_core::Presence;
    use selfsame_core::merkle::{Depth, NodeHash};

    use super::*;

    fn root(hash: u8, as_of: i64, held: Option<i64>) -> Result<Root, UnknownReason> {
        Ok(Root {
            hash: NodeHash([hash; 16]),
            count: 1,
            depth: Depth::MAX,
            as_of: WallMicros(as_of),
            incarnation: 1,
            unreadable: 0,
            memory: NodeHash([0; 16]),
            held: held.map(WallMicros),
            horizon: None,
            gap: None,
        })
    }

    fn ends(roots: &[Result<Root, UnknownReason>], skew: i64) -> Vec<(String, i64)> {
        let nodes: Vec<NodeName> = ["a", "b", "c"].map(|name| name.parse().unwrap()).to_vec();
        let ended = equal_since(nodes.iter(), roots, skew).into_iter();
        ended.map(|(node, since)| (node.to_string(), since.0)).collect()
    }

    #[test]
    fn a_hold_may_end_when_all_are_equal_by_scans_that_began_after_it() {
        let b = [("b".to_owned(), 5)];
        assert_eq!(ends(&[root(1, 6, None), root(1, 6, Some(5)), root(1, 7, None)], 0), b);
        assert_eq!(ends(&[root(1, 5, None), root(1, 6, Some(5)), root(1, 7, None)], 0), [], "scanned before");
        assert_eq!(ends(&[root(1, 6, None), root(2, 6, Some(5)), root(1, 7, None)], 0), [], "unequal");
        let silent = Err(UnknownReason::Unreachable);
        assert_eq!(ends(&[silent, root(1, 6, Some(5)), root(1, 7, None)], 0), [], "not all were heard");
        assert_eq!(ends(&[root(1, 6, None), root(1, 6, None), root(1, 7, None)], 0), [], "none is held");
        assert_eq!(
            ends(&[root(1, 9, None), root(1, 9, Some(5)), root(1, 9, None)], 2),
            [],
            "by which clock?"
        );
        assert_eq!(ends(&[root(1, 10, None), root(1, 10, Some(5)), root(1, 10, None)], 2), b);
    }

    #[test]
    fn of_several_holds_each_is_named_and_all_scans_began_after_the_last() {
        let held = [root(1, 7, Some(4)), root(1, 7, Some(6)), root(1, 7, None)];
        assert_eq!(ends(&held, 0), [("a".to_owned(), 4), ("b".to_owned(), 6)]);
        let early = [root(1, 7, Some(4)), root(1, 8, Some(7)), root(1, 8, None)];
        assert_eq!(ends(&early, 0), []);
    }

    #[test]
    fn who_is_held_by_a_read_is_left_out_of_all_of_them() {
        let absent = |held| Observation { held, ..Observation::of(Presence::Absent) };
        let keys = [vec![absent(false), absent(false)], vec![absent(false), absent(true)]];
        let mut asked = [true, true];
        assert!(leave_out(&mut asked, keys.iter().map(|key| &key[..]), None));
        assert_eq!(asked, [true, false]);
        assert!(!leave_out(&mut asked, keys.iter().map(|key| &key[..]), None), "it is left out already");
        let mut asked = [true, true];
        assert!(!leave_out(&mut asked, keys.iter().map(|key| &key[..]), Some(ReplicaIndex(1))), "it yields");
    }
}
