//! The pure part of Selfsame: what a document is, what its fingerprint is, who owns a shard, and what is
//! to be done about a difference.
//!
//! Nothing here does I/O, reads a clock or draws a random number: whatever comes from outside is passed in.
//! That is what lets the same decisions run in production, in property tests and in a simulation.

pub mod away;
pub mod brake;
mod canonical;
mod confirm;
mod counts;
mod decimal;
mod digest;
mod divergence;
mod document;
mod encoding;
mod entry;
mod ids;
mod json;
mod key;
mod mapping;
pub mod merkle;
mod observation;
mod origin;
mod placement;
pub mod purge;
mod resolve;
mod resync;
mod row;
mod schedule;
mod time;
mod tombstone;
mod value;
mod verdict;

pub use canonical::encode as canonical_content;
pub use confirm::{Confirmed, confirm};
pub use counts::Counts;
pub use decimal::{Decimal, DecimalError};
pub use digest::{ALGORITHM, ContentDigest, EntryDigest, Fingerprinter, KeyDigest, KeyPrefix, RowDigest};
pub use divergence::{DivergenceAge, began};
pub use document::{Document, Unreadable, UnreadableReason};
pub use encoding::{DecodeError, Reader, Writer};
pub use entry::{Entry, Version, VersionKind};
pub use ids::{
    AgentName, CollectionName, Epoch, NameError, NodeName, RepairId, ReplicaIndex, RunId, ShardCount,
    ShardId, Slot, Stamp,
};
pub use json::{JsonError, parse as parse_json, render as render_json};
pub use key::{Key, KeyError, KeyPart};
pub use mapping::{KeyAs, Mapping, MappingError, MappingSpec, TimeField, Unit};
pub use observation::{Observation, Presence, Sighting};
pub use origin::{Cause, OriginMarker, OriginMarkerError};
pub use placement::{owner, ranking};
pub use resolve::{
    Decision, HoldReason, Moment, ObservedDeletes, Policy, Rule, Target, Ties, Verdict, Winner, resolve,
};
pub use resync::{confirm_yielded, yielded};
pub use row::{Cell, Row};
pub use schedule::Schedule;
pub use time::WallMicros;
pub use tombstone::{Certainty, Evidence, LastSeen, Tombstone, TombstoneCause, TombstoneOwner};
pub use value::{NonFinite, Value};
pub use verdict::{ShardVerdict, UnknownReason};
