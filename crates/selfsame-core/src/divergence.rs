//! How old a divergence is: since when a replica has differed, when a pass found it, and when it was repaired.

use crate::{Sighting, VersionKind, WallMicros};

/// The three instants of one key that differs on one replica, all by wall clocks.
///
/// `since` is an estimate: what the rows tell ([`began`]), else the first pass that saw the difference. Ages are
/// therefore lower bounds where the rows tell nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DivergenceAge {
    /// When it began; not after `found`.
    pub since: WallMicros,
    /// When the first pass that saw it confirmed it.
    pub found: WallMicros,
    /// When it was repaired and read back; `None` while it stands.
    pub repaired: Option<WallMicros>,
}

impl DivergenceAge {
    /// A divergence that is found now. What is said to have begun later began now: clocks differ.
    pub fn found_at(now: WallMicros, began: Option<WallMicros>) -> DivergenceAge {
        DivergenceAge { since: began.map_or(now, |began| began.min(now)), found: now, repaired: None }
    }

    /// The same divergence as an earlier pass saw it: it began and was found no later than that pass said.
    #[must_use]
    pub fn continued(self, earlier: &DivergenceAge) -> DivergenceAge {
        let found = self.found.min(earlier.found);
        DivergenceAge { since: self.since.min(earlier.since).min(found), found, ..self }
    }

    /// How old it was when it was found, in microseconds; not negative.
    pub fn micros_when_found(&self) -> u64 {
        micros_between(self.since, self.found)
    }

    /// How old it was when it was repaired, in microseconds; not negative. `None` while it stands.
    pub fn micros_when_repaired(&self) -> Option<u64> {
        self.repaired.map(|repaired| micros_between(self.since, repaired))
    }
}

fn micros_between(from: WallMicros, to: WallMicros) -> u64 {
    u64::try_from(to.0.saturating_sub(from.0)).unwrap_or(0)
}

/// Since when a replica has differed, as far as the rows tell: where versions are times, since the version that it
/// misses was written; and an expired document since its expiry. `None` where they do not tell: same versions, or
/// versions that are counters, or a deletion.
///
/// `winner` is what the replica should have, `loser` what it has; `None` is no row.
pub fn began(
    versions: VersionKind,
    winner: Option<&Sighting>,
    loser: Option<&Sighting>,
) -> Option<WallMicros> {
    let Some(winner) = winner else { return loser.and_then(|loser| loser.expiry) };
    let is_missed = loser.is_none_or(|loser| loser.version < winner.version);
    // A missing version is 0, which is no time of anything.
    (versions == VersionKind::Time && is_missed && winner.version.0 > 0)
        .then_some(WallMicros(winner.version.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ContentDigest, RowDigest, Version};

    fn sighting(version: i64, expiry: Option<i64>) -> Sighting {
        Sighting {
            version: Version(version),
            expiry: expiry.map(WallMicros),
            content: ContentDigest([1; 32]),
            row: RowDigest([1; 32]),
            by_repair: false,
            bytes: 1,
        }
    }

    #[test]
    fn a_missed_version_that_is_a_time_tells_since_when() {
        let began = |versions, winner: i64, loser: Option<i64>| {
            let loser = loser.map(|version| sighting(version, None));
            began(versions, Some(&sighting(winner, None)), loser.as_ref())
        };
        assert_eq!(began(VersionKind::Time, 9, None), Some(WallMicros(9)), "a missed insert");
        assert_eq!(began(VersionKind::Time, 9, Some(8)), Some(WallMicros(9)), "a missed update");
        assert_eq!(began(VersionKind::Time, 9, Some(9)), None, "a silent change came some time later");
        assert_eq!(began(VersionKind::Time, 0, None), None, "no version is no time");
        assert_eq!(began(VersionKind::Counter, 9, None), None);
    }

    #[test]
    fn an_expired_document_differs_since_its_expiry() {
        assert_eq!(began(VersionKind::Counter, None, Some(&sighting(1, Some(7)))), Some(WallMicros(7)));
        assert_eq!(began(VersionKind::Time, None, Some(&sighting(1, None))), None);
    }

    #[test]
    fn ages_are_never_negative_whatever_the_clocks_say() {
        let ahead = DivergenceAge::found_at(WallMicros(10), Some(WallMicros(15)));
        assert_eq!((ahead.since, ahead.micros_when_found()), (WallMicros(10), 0));
        let set_back = DivergenceAge { repaired: Some(WallMicros(4)), ..ahead };
        assert_eq!(set_back.micros_when_repaired(), Some(0));
    }

    #[test]
    fn a_divergence_keeps_its_first_sight_through_later_passes() {
        let first = DivergenceAge::found_at(WallMicros(10), None);
        let later = DivergenceAge::found_at(WallMicros(70), None).continued(&first);
        assert_eq!((later.since, later.found), (WallMicros(10), WallMicros(10)));
        let repaired = DivergenceAge { repaired: Some(WallMicros(75)), ..later };
        assert_eq!((repaired.micros_when_found(), repaired.micros_when_repaired()), (0, Some(65)));
        let told = DivergenceAge::found_at(WallMicros(70), Some(WallMicros(3))).continued(&first);
        assert_eq!((told.micros_when_found(), told.found), (7, WallMicros(10)));
    }
}
