//! What the writer knows it wrote: the last acknowledged state of every key. The demo's truth.
//!
//! Nothing here comes from a node's file, and nothing from an agent.

use std::collections::HashMap;
use std::sync::Arc;

/// A stored row but its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    /// The document, JSON.
    pub(super) body: Arc<str>,
    /// The version, microseconds.
    pub(super) updated_at: i64,
    /// The expiry, microseconds.
    pub(super) expires_at: Option<i64>,
}

impl Row {
    /// Whether it has expired at that instant.
    pub(super) fn expired_at(&self, now: i64) -> bool {
        self.expires_at.is_some_and(|expiry| expiry <= now)
    }
}

/// The last acknowledged state of every key; `None` is deleted.
#[derive(Clone, Debug, Default)]
pub(super) struct Ledger {
    states: HashMap<Arc<str>, Option<Row>>,
}

impl Ledger {
    /// Notes an acknowledged write.
    pub(super) fn write(&mut self, key: Arc<str>, row: Row) {
        self.states.insert(key, Some(row));
    }

    /// Notes an acknowledged delete.
    pub(super) fn delete(&mut self, key: Arc<str>) {
        self.states.insert(key, None);
    }

    /// The row that a key should have.
    pub(super) fn row(&self, key: &str) -> Option<&Row> {
        self.states.get(key)?.as_ref()
    }

    /// Whether the key was ever used.
    pub(super) fn knows(&self, key: &str) -> bool {
        self.states.contains_key(key)
    }

    /// The keys that should have a row.
    pub(super) fn live(&self) -> impl Iterator<Item = (&str, &Row)> {
        self.states.iter().filter_map(|(key, row)| Some((&**key, row.as_ref()?)))
    }
}
