//! The store port: everything that Selfsame asks of one replica, be it a table in SQLite or an index in
//! Meilisearch.
//!
//! A [`Store`] is one collection's copy on one node. It never meets a peer, keeps no state of an exchange and
//! takes no decision; it reads, and it writes exactly what it is told under the condition that it is told.
//!
//! [`MemoryStore`] is the smallest whole implementation and the model for others. [`ReadOnly`], [`Throttled`]
//! and [`Faulty`] wrap any store. The module `conformance` (feature of the same name) is the suite that every
//! implementation passes on its real server.

#[cfg(feature = "conformance")]
pub mod conformance;
mod faulty;
mod memory;
mod pointer;
mod port;
mod read_only;
mod throttle_rate;
mod throttled;

pub use faulty::{Call, DelayHook, Fault, FaultPlan, Faulty, ScriptedFaults, SeededFaults};
pub use memory::{MemoryBackup, MemoryStore};
pub use port::{
    Capabilities, Change, ChangeKind, Changes, Cursor, Expected, FeedPosition, Identity, Page, PageSize,
    Read, Refusal, RepairBatch, RepairItem, Scope, Store, StoreError, Write, WriteOutcome,
};
pub use read_only::ReadOnly;
pub use throttled::{ThrottleCounters, ThrottleLimits, Throttled};
