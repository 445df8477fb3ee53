//! Purge: up to which instant certain tombstones may be forgotten, and what a ledger makes of one that comes after.
//!
//! A *horizon* is a tombstone time. Certain tombstones at or below it are forgotten by every replica and taken from
//! nobody. Nothing here forgets what some replica may not have heard: whether all have is the caller's to know.

use crate::{Certainty, Tombstone, TombstoneOwner, WallMicros};

/// Horizons lie on multiples of the retention divided by this: owners give all shards the same one, and ledgers are
/// listed for it as often. A guess: what is remembered costs ten listings, and at most a tenth more time.
const STEPS_PER_RETENTION: i64 = 10;

/// The horizon that may follow at `now`, by the clock of an owner from which no other's is off by more than `skew`.
/// `scanned` is the start of the oldest of all replicas' last completed scans: what was deleted in a store after it
/// may be in no ledger yet. All in microseconds.
pub fn next_horizon(now: WallMicros, scanned: WallMicros, retention: i64, skew: i64) -> WallMicros {
    let latest = now.plus(retention.saturating_neg()).min(scanned);
    let latest = latest.plus(skew.saturating_mul(2).saturating_neg());
    let step = (retention / STEPS_PER_RETENTION).max(1);
    WallMicros(latest.0.div_euclid(step).saturating_mul(step))
}

/// Whether a ledger may forget what lies at or below `horizon`: only what is older than its own retention by its own
/// clock, so that nobody who is wrong about the time makes it forget sooner.
pub fn may_forget(horizon: WallMicros, now: WallMicros, retention: i64) -> bool {
    horizon <= now.plus(retention.saturating_neg())
}

/// What a ledger takes of a new tombstone beside its horizon. A certain one that was received and lies at or below it
/// was forgotten by all, and is refused. Evidence of the replica's own is never refused: by a clock that was set back
/// it is moved to just above.
pub fn taken(tombstone: &Tombstone, horizon: Option<WallMicros>) -> Option<Tombstone> {
    match horizon {
        Some(horizon) if tombstone.certainty == Certainty::Certain && tombstone.at <= horizon => {
            let moved = Tombstone { at: horizon.plus(1), ..tombstone.clone() };
            (tombstone.owner == TombstoneOwner::Own).then_some(moved)
        }
        _ => Some(tombstone.clone()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{TombstoneCause, Version};

    fn tombstone(at: i64, certainty: Certainty, owner: TombstoneOwner) -> Tombstone {
        let (version, cause) = (Version(1), TombstoneCause::Deleted);
        Tombstone { version, cause, at: WallMicros(at), certainty, owner, came_back: false }
    }

    #[test]
    fn a_horizon_waits_for_retention_scans_and_clocks() {
        let next = |now, scanned, skew| next_horizon(WallMicros(now), WallMicros(scanned), 1_000, skew).0;
        assert_eq!(next(5_000, 5_000, 0), 4_000);
        assert_eq!(next(5_099, 5_099, 0), 4_000, "it lies on a step");
        assert_eq!(next(5_000, 5_000, 1), 3_900);
        assert_eq!(next(5_000, 2_550, 0), 2_500, "a replica was not scanned since");
        assert_eq!(next(-5_000, -5_000, 0), -6_000);
        assert_eq!(next_horizon(WallMicros(0), WallMicros(i64::MIN), i64::MAX, i64::MAX).0, i64::MIN);
    }

    #[test]
    fn what_was_forgotten_is_refused_and_own_evidence_is_not() {
        use Certainty::{Certain, Observed};
        use TombstoneOwner::{Own, Received};
        let at = |at, certainty, owner, horizon: Option<i64>| {
            let taken = taken(&tombstone(at, certainty, owner), horizon.map(WallMicros));
            taken.map(|tombstone| tombstone.at.0)
        };
        assert_eq!(at(5, Certain, Received, None), Some(5));
        assert_eq!(at(6, Certain, Received, Some(5)), Some(6));
        assert_eq!(at(5, Certain, Received, Some(5)), None);
        assert_eq!(at(4, Certain, Own, Some(5)), Some(6));
        assert_eq!(at(4, Observed, Own, Some(5)), Some(4), "observed ones have no horizon");
    }

    proptest! {
        #[test]
        fn no_horizon_lies_within_any_clocks_retention(
            now in any::<i32>(), ago in 0_i32..1_000_000, retention in 1_i64..1_000_000, skew in 0_i64..10_000,
            off in -1.0_f64..=1.0,
        ) {
            let (now, scanned) = (WallMicros(now.into()), WallMicros(i64::from(now) - i64::from(ago)));
            let horizon = next_horizon(now, scanned, retention, skew);
            #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "a share of a small number")]
            let theirs = now.plus((off * skew as f64) as i64);
            prop_assert!(may_forget(horizon, theirs, retention));
            prop_assert!(horizon <= scanned);
        }
    }
}
