//! Each rule by name, the laws that hold for all of them, and an oracle that says the rules another way.

mod laws;
mod oracle;
mod outages;
mod rules;
mod world;

use super::*;
use crate::{
    Cause, Certainty, ContentDigest, Presence, ReplicaIndex, RowDigest, Sighting, Tombstone, TombstoneCause,
    TombstoneOwner, Version, VersionKind, WallMicros,
};
use proptest::prelude::ProptestConfig;

/// As many cases, or what `PROPTEST_CASES` asks for if that is more.
fn at_least(cases: u32) -> ProptestConfig {
    let asked = ProptestConfig::default();
    ProptestConfig { cases: asked.cases.max(cases), ..asked }
}

const NOW: WallMicros = WallMicros(1_000_000_000);
const MOMENT: Moment = Moment { now: NOW, skew: 1_000 };
/// Certainly expired, and not for long.
const PAST: i64 = NOW.0 - 10_000;
const LATER: i64 = NOW.0 + 10_000_000;

fn policy() -> Policy {
    Policy {
        winner: Winner::Newest,
        ties: Ties::Majority,
        observed_deletes: ObservedDeletes::Hold,
        version_kind: VersionKind::Time,
        clock_skew_max: 300_000_000,
    }
}

fn sighting(version: i64, content: u8) -> Sighting {
    Sighting {
        version: Version(version),
        expiry: None,
        content: ContentDigest([content; 32]),
        row: RowDigest([content; 32]),
        by_repair: false,
        bytes: 0,
    }
}

fn live(version: i64, content: u8) -> Observation {
    Observation::of(Presence::Live(sighting(version, content)))
}

fn expiring(version: i64, content: u8, expiry: i64) -> Observation {
    let expiry = Some(WallMicros(expiry));
    Observation::of(Presence::Live(Sighting { expiry, ..sighting(version, content) }))
}

fn by_repair(version: i64, content: u8) -> Observation {
    Observation::of(Presence::Live(Sighting { by_repair: true, ..sighting(version, content) }))
}

fn marked(version: i64) -> Observation {
    Observation::of(Presence::Marked(sighting(version, 9)))
}

fn absent() -> Observation {
    Observation::of(Presence::Absent)
}

fn unreachable() -> Observation {
    Observation::unreachable()
}

fn unreadable() -> Observation {
    Observation::of(Presence::Unreadable)
}

fn with(memory: Tombstone, observation: Observation) -> Observation {
    Observation { memory: Some(memory), ..observation }
}

/// What the replica itself saw go.
fn observed(version: i64) -> Tombstone {
    Tombstone {
        version: Version(version),
        cause: TombstoneCause::Deleted,
        at: NOW,
        certainty: Certainty::Observed,
        owner: TombstoneOwner::Own,
        came_back: false,
    }
}

fn certain(version: i64) -> Tombstone {
    Tombstone { certainty: Certainty::Certain, ..observed(version) }
}

fn came_back(version: i64) -> Tombstone {
    Tombstone { came_back: true, ..certain(version) }
}

fn expired(version: i64) -> Tombstone {
    Tombstone { cause: TombstoneCause::Expired, ..certain(version) }
}

fn received(tombstone: Tombstone) -> Tombstone {
    Tombstone { owner: TombstoneOwner::Received, ..tombstone }
}

/// Absent, and it saw this version go.
fn lost(version: i64) -> Observation {
    with(observed(version), absent())
}

/// Absent, with proof that this version was deleted.
fn deleted(version: i64) -> Observation {
    with(certain(version), absent())
}
