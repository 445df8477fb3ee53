//! The store port: everything that Selfsame asks of one replica, be it a table in SQLite or an index in
//! Meilisearch.
//!
//! A [`Store`] is one collection's copy on one node. It never meets a peer, keeps no state of an exchange and
//! takes no decision; it reads, and it writes exactly what it is told under the condition that it is told.

mod port;

pub use port::{
    Capabilities, Change, ChangeKind, Changes, Cursor, Expected, FeedPosition, Identity, Page, PageSize, Read,
    Refusal, RepairBatch, RepairItem, Scope, Store, StoreError, Write, WriteOutcome,
};
