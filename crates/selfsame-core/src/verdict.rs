//! What is known of a shard after an exchange. `Unknown` is an answer, never a default and never a guess.

use std::fmt;

use crate::WallMicros;

/// What is known of one shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShardVerdict {
    /// No difference stood unchanged from before this instant until now.
    InSync {
        /// The start of the oldest scan that the verdict rests on.
        as_of: WallMicros,
    },
    /// Something is known to differ.
    Diverged,
    /// Nothing is known, and this is why.
    Unknown(UnknownReason),
}

/// Why nothing is known. A closed list: metrics, reports and the journal use these names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum UnknownReason {
    /// A replica, its store or its agent did not answer.
    Unreachable,
    /// A replica has not been scanned yet.
    NoScan,
    /// A replica's last scan is older than `coverage_max`.
    StaleIndex,
    /// A table or its columns are not as configured.
    Schema,
    /// The agents do not agree on configuration, algorithm or protocol.
    Config,
    /// A replica holds a document without a single meaning.
    BadDocument,
    /// The clocks of the agents differ by more than `clock_skew_max`.
    Clock,
    /// A replica is held and proves nothing.
    Held,
    /// Keys changed while they were looked at.
    Moving,
    /// A store has been busy for too long.
    Busy,
    /// Too few voters answered to claim the shard.
    NoMajority,
    /// Something went past a limit and was cut.
    TooLarge,
    /// An index and its entries disagreed and are being rebuilt.
    Phantom,
}

impl UnknownReason {
    /// All reasons, for closed label sets.
    pub const ALL: [UnknownReason; 13] = [
        UnknownReason::Unreachable,
        UnknownReason::NoScan,
        UnknownReason::StaleIndex,
        UnknownReason::Schema,
        UnknownReason::Config,
        UnknownReason::BadDocument,
        UnknownReason::Clock,
        UnknownReason::Held,
        UnknownReason::Moving,
        UnknownReason::Busy,
        UnknownReason::NoMajority,
        UnknownReason::TooLarge,
        UnknownReason::Phantom,
    ];

    /// The name in metrics, reports and the journal.
    pub fn as_str(self) -> &'static str {
        match self {
            UnknownReason::Unreachable => "unreachable",
            UnknownReason::NoScan => "no_scan",
            UnknownReason::StaleIndex => "stale_index",
            UnknownReason::Schema => "schema",
            UnknownReason::Config => "config",
            UnknownReason::BadDocument => "bad_document",
            UnknownReason::Clock => "clock",
            UnknownReason::Held => "held",
            UnknownReason::Moving => "moving",
            UnknownReason::Busy => "busy",
            UnknownReason::NoMajority => "no_majority",
            UnknownReason::TooLarge => "too_large",
            UnknownReason::Phantom => "phantom",
        }
    }

    /// The reason of that name.
    pub fn from_name(name: &str) -> Option<UnknownReason> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == name)
    }

    /// What an operator can do about it.
    pub fn hint(self) -> &'static str {
        match self {
            UnknownReason::Unreachable => {
                "bring the node or its agent back; the other replicas are still compared"
            }
            UnknownReason::NoScan => "wait for the first scan, or start one: selfsame run --scan",
            UnknownReason::StaleIndex => {
                "scan: selfsame run --scan; if scans cannot keep up, raise the throttle"
            }
            UnknownReason::Schema => {
                "give the table the configured columns on every replica, or change `source`"
            }
            UnknownReason::Config => "give every agent the same configuration file and version, then restart",
            UnknownReason::BadDocument => "mend the named document; it is never written over",
            UnknownReason::Clock => "synchronise the clocks of the agents' machines",
            UnknownReason::Held => {
                "selfsame status says why a replica is held; selfsame resync decides whose word counts"
            }
            UnknownReason::Moving => "nothing: the next pass looks again; pause writers if it never settles",
            UnknownReason::Busy => "look for a long transaction or a full queue in the store",
            UnknownReason::NoMajority => "bring back enough agents for a majority of the replicas",
            UnknownReason::TooLarge => "the rest is taken in the next pass",
            UnknownReason::Phantom => "nothing: the index is rebuilt from its entries",
        }
    }
}

impl fmt::Display for UnknownReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl ShardVerdict {
    /// The verdict's name without its details.
    pub fn as_str(&self) -> &'static str {
        match self {
            ShardVerdict::InSync { .. } => "in_sync",
            ShardVerdict::Diverged => "diverged",
            ShardVerdict::Unknown(_) => "unknown",
        }
    }

    /// What is left of the verdict when nothing before `oldest` proves anything any more: in sync as of before is
    /// unknown, and a difference is one until somebody looks again.
    #[must_use]
    pub fn when_oldest(self, oldest: WallMicros) -> ShardVerdict {
        match self {
            ShardVerdict::InSync { as_of } if as_of < oldest => {
                ShardVerdict::Unknown(UnknownReason::StaleIndex)
            }
            verdict => verdict,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_name() {
        for reason in UnknownReason::ALL {
            assert_eq!(UnknownReason::from_name(reason.as_str()), Some(reason));
        }
        assert_eq!(UnknownReason::from_name("in_sync"), None);
    }
}
