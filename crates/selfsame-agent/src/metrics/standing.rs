//! How a collection stands by this agent's passes: the last word on each shard, and runs in a row with mismatches.
//! Only what passes said since the agent started; what they did not say is not made up.

use std::collections::{BTreeMap, BTreeSet};

use selfsame_core::{RunId, ShardId, ShardVerdict, UnknownReason, WallMicros};

use crate::exchange::report::{PassReport, ShardReport};

/// How one collection stands.
#[derive(Debug, Default)]
pub(super) struct Standing {
    verdicts: BTreeMap<ShardId, ShardVerdict>,
    held: BTreeMap<ShardId, u64>,
    row: Option<Row>,
}

/// Runs in a row with mismatches. A run comes in parts, as its shards become due.
#[derive(Debug)]
struct Row {
    /// How many there were before this run.
    before: u64,
    run: RunId,
    /// What the run found so far.
    found: BTreeMap<ShardId, Found>,
}

/// What a run found in a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    InSync,
    Mismatches,
    /// No mismatch, but not in sync either.
    Nothing,
}

/// How many shards have which verdict.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Verdicts {
    pub(super) in_sync: u64,
    pub(super) diverged: u64,
    pub(super) unknown: BTreeMap<UnknownReason, u64>,
}

impl Standing {
    /// Takes in a pass. `whole`: it is for a run over all shards, of which this may be a part.
    pub(super) fn learn(&mut self, report: &PassReport, whole: bool) {
        for shard in &report.shards {
            self.verdicts.insert(shard.shard, shard.verdict);
            self.learn_held(shard);
        }
        if whole && !report.shards.is_empty() {
            self.row(report.run).extend(&report.shards);
        }
    }

    /// An exchange that did not come to an end may have missed held keys, but made none up.
    fn learn_held(&mut self, report: &ShardReport) {
        let known = self.held.get(&report.shard).copied();
        let held = match report.verdict {
            ShardVerdict::Unknown(_) => known.max(Some(report.counts.held).filter(|held| *held > 0)),
            ShardVerdict::InSync { .. } | ShardVerdict::Diverged => Some(report.counts.held),
        };
        if let Some(held) = held {
            self.held.insert(report.shard, held);
        }
    }

    fn row(&mut self, run: RunId) -> &mut Row {
        let before = match self.row.take() {
            Some(row) if row.run == run => return self.row.insert(row),
            Some(row) => row.after(),
            None => 0,
        };
        self.row.insert(Row { before, run, found: BTreeMap::new() })
    }

    /// The verdicts of the shards among `owned`; `None` if there are none. What is in sync as of before `oldest` is
    /// not known any more.
    pub(super) fn verdicts(&self, owned: Option<&BTreeSet<ShardId>>, oldest: WallMicros) -> Option<Verdicts> {
        let mut verdicts = Verdicts::default();
        let mut any = false;
        for (_, verdict) in self.verdicts.iter().filter(|(shard, _)| among(owned, shard)) {
            any = true;
            match verdict.when_oldest(oldest) {
                ShardVerdict::InSync { .. } => verdicts.in_sync += 1,
                ShardVerdict::Diverged => verdicts.diverged += 1,
                ShardVerdict::Unknown(reason) => *verdicts.unknown.entry(reason).or_default() += 1,
            }
        }
        any.then_some(verdicts)
    }

    /// Keys of the shards among `owned` that wait for a person; `None` if of no such shard it is known.
    pub(super) fn held(&self, owned: Option<&BTreeSet<ShardId>>) -> Option<u64> {
        let held = self.held.iter().filter(|(shard, _)| among(owned, shard)).map(|(_, held)| *held);
        held.reduce(u64::saturating_add)
    }

    /// Runs in a row with mismatches, the one under way included; `None` before the first.
    pub(super) fn mismatched_in_a_row(&self, owned: Option<&BTreeSet<ShardId>>) -> Option<u64> {
        let row = self.row.as_ref()?;
        let is_whole = owned.is_none_or(|owned| owned.iter().all(|shard| row.found.contains_key(shard)));
        // While shards are missing, a run without mismatches says nothing yet.
        Some(if is_whole || row.has_mismatches() { row.after() } else { row.before })
    }
}

/// Whether a shard is owned, as far as that is known.
fn among(owned: Option<&BTreeSet<ShardId>>, shard: &ShardId) -> bool {
    owned.is_none_or(|owned| owned.contains(shard))
}

impl Row {
    fn extend(&mut self, shards: &[ShardReport]) {
        for report in shards {
            let found = match report.verdict {
                _ if report.counts.mismatches > 0 => Found::Mismatches,
                ShardVerdict::InSync { .. } => Found::InSync,
                ShardVerdict::Diverged | ShardVerdict::Unknown(_) => Found::Nothing,
            };
            let known = self.found.entry(report.shard).or_insert(found);
            if *known != Found::Mismatches {
                *known = found;
            }
        }
    }

    fn has_mismatches(&self) -> bool {
        self.found.values().any(|found| *found == Found::Mismatches)
    }

    /// How many in a row there are with this run.
    fn after(&self) -> u64 {
        if self.has_mismatches() {
            self.before.saturating_add(1)
        } else if self.found.values().all(|found| *found == Found::InSync) {
            0
        } else {
            self.before
        }
    }
}

#[cfg(test)]
mod tests {
    use selfsame_core::{Counts, Slot};

    use super::*;

    const IN_SYNC: ShardVerdict = ShardVerdict::InSync { as_of: WallMicros(100) };
    const UNKNOWN: ShardVerdict = ShardVerdict::Unknown(UnknownReason::Unreachable);

    /// A part of a run: for each shard its number, verdict, mismatches and held keys.
    fn pass(run: u64, shards: &[(u32, ShardVerdict, u64, u64)]) -> PassReport {
        let shard = |(shard, verdict, mismatches, held): &(u32, ShardVerdict, u64, u64)| ShardReport {
            verdict: *verdict,
            counts: Counts { mismatches: *mismatches, held: *held, ..Counts::default() },
            ..ShardReport::blank(ShardId(*shard))
        };
        PassReport {
            run: RunId::of("shop", &"products".parse().unwrap(), Slot::Scheduled(run)),
            started: WallMicros(0),
            shards: shards.iter().map(shard).collect(),
            wire_bytes: 0,
        }
    }

    fn shards(shards: &[u32]) -> BTreeSet<ShardId> {
        shards.iter().copied().map(ShardId).collect()
    }

    #[test]
    fn a_clean_run_ends_the_row_and_an_unclear_one_does_not() {
        let mut standing = Standing::default();
        let both = shards(&[0, 1]);
        assert_eq!(standing.mismatched_in_a_row(Some(&both)), None);
        for (run, second, expected) in [
            (1, (IN_SYNC, 2), 1),
            (2, (ShardVerdict::Diverged, 1), 2),
            (3, (UNKNOWN, 0), 2),
            (4, (IN_SYNC, 1), 3),
            (5, (IN_SYNC, 0), 0),
            (6, (IN_SYNC, 1), 1),
        ] {
            standing.learn(&pass(run, &[(0, IN_SYNC, 0, 0), (1, second.0, second.1, 0)]), true);
            assert_eq!(standing.mismatched_in_a_row(Some(&both)), Some(expected), "run {run}");
        }
    }

    #[test]
    fn the_parts_of_a_run_count_as_one() {
        let mut standing = Standing::default();
        let both = shards(&[0, 1]);
        for run in 1..=2 {
            standing.learn(&pass(run, &[(0, IN_SYNC, 0, 0)]), true);
            assert_eq!(standing.mismatched_in_a_row(Some(&both)), Some(run - 1), "half of run {run}");
            standing.learn(&pass(run, &[(1, IN_SYNC, 3, 0)]), true);
            assert_eq!(standing.mismatched_in_a_row(Some(&both)), Some(run));
        }
        // The same shard again, clean by now: the run had mismatches all the same.
        standing.learn(&pass(2, &[(1, IN_SYNC, 0, 0)]), true);
        assert_eq!(standing.mismatched_in_a_row(Some(&both)), Some(2));
        standing.learn(&pass(3, &[(0, IN_SYNC, 0, 0)]), true);
        assert_eq!(standing.mismatched_in_a_row(Some(&both)), Some(2));
        standing.learn(&pass(3, &[(1, IN_SYNC, 0, 0)]), true);
        assert_eq!(standing.mismatched_in_a_row(Some(&both)), Some(0));
    }

    #[test]
    fn runs_over_one_shard_and_empty_parts_leave_the_row_alone() {
        let mut standing = Standing::default();
        standing.learn(&pass(1, &[(0, IN_SYNC, 1, 0)]), true);
        standing.learn(&pass(2, &[(0, IN_SYNC, 0, 0)]), false);
        standing.learn(&pass(3, &[]), true);
        assert_eq!(standing.mismatched_in_a_row(None), Some(1));
    }

    #[test]
    fn the_last_word_on_owned_shards_counts_and_goes_stale() {
        let mut standing = Standing::default();
        assert_eq!(standing.verdicts(None, WallMicros(0)), None);
        standing.learn(&pass(1, &[(0, IN_SYNC, 0, 0), (1, UNKNOWN, 0, 0)]), true);
        standing.learn(&pass(2, &[(1, IN_SYNC, 0, 0), (2, ShardVerdict::Diverged, 1, 1)]), true);
        let told = standing.verdicts(None, WallMicros(100)).unwrap();
        assert_eq!(told, Verdicts { in_sync: 2, diverged: 1, unknown: BTreeMap::new() });
        let told = standing.verdicts(Some(&shards(&[1, 2])), WallMicros(101)).unwrap();
        let unknown = BTreeMap::from([(UnknownReason::StaleIndex, 1)]);
        assert_eq!(told, Verdicts { in_sync: 0, diverged: 1, unknown });
        assert_eq!(standing.verdicts(Some(&shards(&[7])), WallMicros(0)), None, "all went to others");
    }

    #[test]
    fn held_keys_stay_known_through_a_pass_that_could_not_look() {
        let mut standing = Standing::default();
        standing.learn(&pass(1, &[(0, UNKNOWN, 0, 0)]), true);
        assert_eq!(standing.held(None), None, "nothing was seen, which is not zero");
        standing.learn(&pass(2, &[(0, ShardVerdict::Diverged, 2, 2), (1, IN_SYNC, 0, 0)]), true);
        standing.learn(&pass(3, &[(0, UNKNOWN, 0, 0)]), true);
        assert_eq!(standing.held(None), Some(2));
        standing.learn(&pass(4, &[(0, IN_SYNC, 0, 0)]), true);
        assert_eq!(standing.held(None), Some(0));
    }
}
