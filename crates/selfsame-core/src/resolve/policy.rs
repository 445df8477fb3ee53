//! How a collection decides, and at which time.

use crate::{ReplicaIndex, VersionKind, WallMicros};

/// How a collection decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Whose document wins.
    pub winner: Winner,
    /// What is done when one version has two contents.
    pub ties: Ties,
    /// What is done about a key that was seen and is gone, where no majority settles it.
    pub observed_deletes: ObservedDeletes,
    /// What versions mean.
    pub version_kind: VersionKind,
    /// A version further in the future than this many microseconds is a broken clock.
    pub clock_skew_max: i64,
}

/// Whose document wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Winner {
    /// The highest version.
    Newest,
    /// This replica's document, whatever its version.
    Prefer(ReplicaIndex),
    /// Nobody's: report only.
    Hold,
}

/// What is done when one version has two contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ties {
    /// The content that more than half of the configured replicas hold, else hold.
    Majority,
    /// Always hold.
    Hold,
}

/// What is done about a key that was seen and is gone, where no majority settles it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObservedDeletes {
    /// Hold it for a person.
    Hold,
    /// Delete it everywhere, once every configured replica was heard; else hold.
    Delete,
    /// Copy it back, once every configured replica was heard; else hold.
    Restore,
}

/// The time at which a verdict is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The owner's wall clock.
    pub now: WallMicros,
    /// The measured difference between the clocks of the agents, in microseconds; not negative.
    pub skew: i64,
}

impl Moment {
    /// What expired at or before this instant has expired by every clock.
    pub fn certainly_past(self) -> WallMicros {
        self.now.plus(self.skew.saturating_neg())
    }
}
