//! What stands in a node's file at a moment, by plain SQL: to be compared with another moment, or another file.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;

use super::file::open_to_read;
use super::kinds::NodeIndex;

/// A row but its key: body, version, expiry.
type Stored = (String, Option<i64>, Option<i64>);

/// All rows of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Snapshot(BTreeMap<String, Stored>);

/// How a file differs from another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Difference {
    /// Keys that both have, with other rows.
    pub(super) changed: Vec<String>,
    /// Keys that the other has alone.
    pub(super) missing: Vec<String>,
    /// Keys that it has alone.
    pub(super) extra: Vec<String>,
}

impl Difference {
    /// How many keys that are.
    pub(super) fn total(&self) -> usize {
        self.changed.len() + self.missing.len() + self.extra.len()
    }

    /// The keys, one after the other.
    pub(super) fn keys(&self) -> impl Iterator<Item = &String> {
        self.changed.iter().chain(&self.missing).chain(&self.extra)
    }
}

impl Snapshot {
    /// Of one file. Cost: all of its rows, in memory.
    pub(super) fn of(path: &Path) -> Result<Snapshot> {
        let connection = open_to_read(path)?;
        let mut statement = connection.prepare("SELECT id, body, updated_at, expires_at FROM characters")?;
        let rows =
            statement.query_map([], |row| Ok((row.get(0)?, (row.get(1)?, row.get(2)?, row.get(3)?))))?;
        Ok(Snapshot(rows.collect::<rusqlite::Result<_>>()?))
    }

    /// Of all files, by node.
    pub(super) fn all(folder: &Path) -> Result<Vec<Snapshot>> {
        NodeIndex::all().map(|node| Snapshot::of(&folder.join(node.file()))).collect()
    }

    /// How it differs from another.
    pub(super) fn difference(&self, other: &Snapshot) -> Difference {
        let mut difference = Difference::default();
        for (key, row) in &self.0 {
            match other.0.get(key) {
                None => difference.extra.push(key.clone()),
                Some(others) if others != row => difference.changed.push(key.clone()),
                Some(_) => {}
            }
        }
        let missing = other.0.keys().filter(|key| !self.0.contains_key(*key));
        difference.missing.extend(missing.cloned());
        difference
    }
}
