//! Slots: the places of a schedule. All agents derive them from the wall clock alone, so that owners agree on them
//! without talking.

use xxhash_rust::xxh3::xxh3_64;

use crate::{CollectionName, ShardId, WallMicros, Writer};

/// The longest delay of a shard within its slot: five minutes spread a fleet's load, and nobody waits for them.
const JITTER_MAX_MICROS: i64 = 5 * 60 * 1_000_000;

/// The jitter's share of the interval: a twentieth leaves the rest for the pass.
const JITTER_SHARE: i64 = 20;

/// A schedule of equal intervals since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    every_micros: i64,
}

impl Schedule {
    /// A slot in every interval of so many microseconds; `None` if that is not positive.
    pub fn every(micros: i64) -> Option<Schedule> {
        (micros > 0).then_some(Schedule { every_micros: micros })
    }

    /// The slot that holds `now`. Instants before 1970 belong to the first.
    pub fn slot_at(self, now: WallMicros) -> u64 {
        u64::try_from(now.0.div_euclid(self.every_micros)).unwrap_or(0)
    }

    /// When a slot begins.
    pub fn start(self, slot: u64) -> WallMicros {
        WallMicros(i64::try_from(slot).unwrap_or(i64::MAX).saturating_mul(self.every_micros))
    }

    /// When a shard is due in a slot: its start, and a delay that follows from collection and shard, so that not
    /// all shards of all collections are exchanged at one instant.
    pub fn due(self, slot: u64, collection: &CollectionName, shard: ShardId) -> WallMicros {
        let span = (self.every_micros / JITTER_SHARE).clamp(1, JITTER_MAX_MICROS);
        let mut place = Writer::new();
        place.frame(collection.as_str().as_bytes()).u64(u64::from(shard.0));
        let delay = xxh3_64(&place.finish()) % u64::try_from(span).unwrap_or(1);
        self.start(slot).plus(i64::try_from(delay).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_interval_must_be_positive() {
        assert_eq!(Schedule::every(0), None);
        assert_eq!(Schedule::every(-1), None);
    }

    proptest! {
        #[test]
        fn a_shard_is_due_within_its_slot(every in 1_000_000_i64..3_000_000_000_000, now in 0_i64..4_000_000_000_000_000, shard in 0_u32..4096) {
            let schedule = Schedule::every(every).unwrap();
            let slot = schedule.slot_at(WallMicros(now));
            let products = "products".parse().unwrap();
            prop_assert!(schedule.start(slot).0 <= now && now < schedule.start(slot + 1).0);
            let due = schedule.due(slot, &products, ShardId(shard));
            prop_assert!(schedule.start(slot) <= due && due < schedule.start(slot + 1));
            prop_assert_eq!(due.0 - schedule.start(slot).0, schedule.due(0, &products, ShardId(shard)).0);
        }
    }

    #[test]
    fn shards_are_spread_over_the_jitter() {
        let schedule = Schedule::every(6 * 3600 * 1_000_000).unwrap();
        let products = "products".parse().unwrap();
        let due: std::collections::BTreeSet<i64> =
            (0..64).map(|shard| schedule.due(0, &products, ShardId(shard)).0 / 60_000_000).collect();
        assert_eq!(due, (0..5).collect(), "every one of the five minutes has shards");
    }
}
