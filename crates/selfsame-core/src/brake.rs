//! Brakes: how much may vanish from a replica, and how much may be repaired, before a person has to look.
//!
//! Plain counts in, a decision out. Nothing here counts, and nothing is released: that is the callers'.

use crate::WallMicros;

/// The span over which vanishes and writes are counted.
pub const ROLLING_DAY_MICROS: i64 = 24 * 60 * 60 * 1_000_000;

/// Fewer vanished keys than this never hold a replica by their share: in a small collection a single deletion is
/// already a large share.
pub const VANISHED_KEYS_MIN: u64 = 10;

/// A shard that held fewer keys is not called emptied: a lone key's deletion empties its shard. A guess.
pub const EMPTIED_KEYS_MIN: u64 = 2;

/// Repairs of fewer keys than this are never too large a share.
pub const REPAIRED_KEYS_MIN: u64 = 50;

/// Keys that vanished in one scan or confirm, those apart whose entries had expired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vanishes {
    /// When it was concluded.
    pub at: WallMicros,
    /// How many keys.
    pub keys: u64,
}

/// How many keys vanished within the rolling day that ends at `now`, by scan and by confirm together. What lies
/// in the future counts: the clock has gone back.
pub fn vanished_within_day(vanishes: &[Vanishes], now: WallMicros) -> u64 {
    let start = now.plus(-ROLLING_DAY_MICROS);
    let within = vanishes.iter().filter(|vanishes| vanishes.at > start);
    within.fold(0, |sum, vanishes| sum.saturating_add(vanishes.keys))
}

/// What is counted of one replica as a whole, or of one of its shards; both are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vanishing {
    /// Keys that vanished within the rolling day, what had expired apart.
    pub vanished: u64,
    /// Keys that are left.
    pub left: u64,
}

/// Why a replica is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum VanishingHold {
    /// A greater share than `vanished_share_max` vanished.
    Share,
    /// All keys vanished.
    Emptied,
}

impl VanishingHold {
    /// The name in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            VanishingHold::Share => "vanished_share_max",
            VanishingHold::Emptied => "emptied",
        }
    }
}

impl Vanishing {
    /// Whether the replica must be held. `share_max` lies between 0 and 1, and is of the keys that would be there
    /// if none had vanished.
    pub fn hold(self, share_max: f64) -> Option<VanishingHold> {
        if self.left == 0 && self.vanished >= EMPTIED_KEYS_MIN {
            return Some(VanishingHold::Emptied);
        }
        let too_many = self.vanished >= VANISHED_KEYS_MIN
            && exceeds(self.vanished, self.vanished.saturating_add(self.left), share_max);
        too_many.then_some(VanishingHold::Share)
    }
}

/// What is about to be repaired: at the owner all that differs in a shard, at a target what it was asked to write
/// within the rolling day over all its shards. What a person approved is not counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RepairLoad {
    /// Keys that there are.
    pub keys: u64,
    /// Keys to be repaired.
    pub repaired: u64,
    /// Rows to be deleted.
    pub deletes: u64,
}

/// How much may be repaired without a person.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RepairLimits {
    /// The greatest share of the keys, between 0 and 1.
    pub repair_share_max: f64,
    /// The greatest number of deletes.
    pub deletes_max: u64,
}

/// Why repairs wait for a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RepairBrake {
    /// More keys than `repair_share_max`.
    Share,
    /// More deletes than `deletes_max`.
    Deletes,
}

impl RepairLoad {
    /// Whether the repairs must wait.
    pub fn brake(self, limits: RepairLimits) -> Option<RepairBrake> {
        if self.repaired >= REPAIRED_KEYS_MIN && exceeds(self.repaired, self.keys, limits.repair_share_max) {
            return Some(RepairBrake::Share);
        }
        (self.deletes > limits.deletes_max).then_some(RepairBrake::Deletes)
    }
}

/// Whether `part` is a greater share of `whole` than `share_max`. A quotient is rounded to the nearest number, as
/// a decimal fraction in a configuration is, so that 1 of 20 is not more than 5 %.
fn exceeds(part: u64, whole: u64, share_max: f64) -> bool {
    part as f64 / whole.max(1) as f64 > share_max
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARE_MAX: f64 = 0.05;

    fn hold(vanished: u64, left: u64) -> Option<VanishingHold> {
        Vanishing { vanished, left }.hold(SHARE_MAX)
    }

    #[test]
    fn more_than_the_share_of_a_replicas_keys_holds_it() {
        assert_eq!(hold(50, 950), None, "five of a hundred are within");
        assert_eq!(hold(51, 949), Some(VanishingHold::Share));
        assert_eq!(hold(0, 0), None);
        assert_eq!(hold(u64::MAX, 1), Some(VanishingHold::Share));
    }

    #[test]
    fn a_few_keys_never_hold_by_their_share() {
        assert_eq!(hold(9, 10), None);
        assert_eq!(hold(10, 10), Some(VanishingHold::Share));
    }

    #[test]
    fn an_emptied_shard_holds_whatever_its_size_but_for_a_lone_key() {
        assert_eq!(hold(2, 0), Some(VanishingHold::Emptied));
        assert_eq!(hold(1, 0), None);
        assert_eq!(hold(2, 1), None);
    }

    #[test]
    fn every_share_from_a_whole_percentage_is_compared_exactly() {
        for percent in 1_u64..100 {
            let share_max = format!("0.{percent:02}").parse::<f64>().unwrap();
            for hundreds in [1, 3, 7, 11, 1_000_003] {
                let (whole, at_the_limit) = (100 * hundreds, percent * hundreds);
                assert!(!exceeds(at_the_limit, whole, share_max), "{percent} % of {whole}");
                assert!(exceeds(at_the_limit + 1, whole, share_max), "{percent} % of {whole}");
            }
        }
    }

    #[test]
    fn vanishes_count_for_a_rolling_day() {
        let vanishes = [(0, 1), (1, 10), (ROLLING_DAY_MICROS, 100), (ROLLING_DAY_MICROS + 9, 1_000)]
            .map(|(at, keys)| Vanishes { at: WallMicros(at), keys });
        assert_eq!(vanished_within_day(&vanishes, WallMicros(ROLLING_DAY_MICROS)), 1_110, "a day ago is out");
        assert_eq!(vanished_within_day(&vanishes, WallMicros(2 * ROLLING_DAY_MICROS)), 1_000);
        assert_eq!(vanished_within_day(&vanishes, WallMicros(i64::MIN)), 1_111);
        let endless = [Vanishes { at: WallMicros(1), keys: u64::MAX }; 2];
        assert_eq!(vanished_within_day(&endless, WallMicros(1)), u64::MAX);
    }

    fn brake(keys: u64, repaired: u64, deletes: u64) -> Option<RepairBrake> {
        RepairLoad { keys, repaired, deletes }
            .brake(RepairLimits { repair_share_max: 0.1, deletes_max: 1_000 })
    }

    #[test]
    fn a_share_of_repairs_counts_from_fifty_keys_on() {
        assert_eq!(brake(100, 49, 0), None);
        assert_eq!(brake(100, 50, 0), Some(RepairBrake::Share));
        assert_eq!(brake(500, 50, 0), None, "ten of a hundred are within");
        assert_eq!(brake(499, 50, 0), Some(RepairBrake::Share));
        assert_eq!(brake(0, 50, 0), Some(RepairBrake::Share));
    }

    #[test]
    fn more_deletes_than_allowed_wait() {
        assert_eq!(brake(1_000_000, 1_000, 1_000), None);
        assert_eq!(brake(1_000_000, 1_001, 1_001), Some(RepairBrake::Deletes));
    }
}
