//! The proof: each file, read by plain SQL, against the writer's ledger, byte for byte. Nothing of what the agents
//! use to compare (canonical content, digests, trees) is used here.
//!
//! A document whose expiry has passed may lie there still, exactly as it was written, or be gone. Everything else
//! must be there exactly, and nothing else may be there.

use std::collections::HashSet;
use std::path::Path;

use anyhow::Result;
use rusqlite::types::ValueRef;
use serde::Serialize;

use super::file::open_to_read;
use super::kinds::NodeIndex;
use super::ledger::{Ledger, Row};

/// Keys that are named as examples.
const EXAMPLES_MAX: usize = 5;

/// One file beside the ledger.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct FileComparison {
    pub(super) node: &'static str,
    /// Rows in the file.
    pub(super) rows: u64,
    /// Rows that are as the ledger has them.
    pub(super) equal: u64,
    /// Rows that are otherwise.
    pub(super) different: u64,
    /// Rows that are not there.
    pub(super) missing: u64,
    /// Rows that should not be there.
    pub(super) extra: u64,
    /// Expired documents that are gone, as they may be.
    pub(super) expired_and_gone: u64,
    /// Some of the keys that are wrong.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) examples: Vec<String>,
}

impl FileComparison {
    /// Whether the file is the ledger.
    pub(super) fn is_equal(&self) -> bool {
        self.different + self.missing + self.extra == 0
    }

    fn wrong(&mut self, key: &str, what: &str) {
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push(format!("{key}: {what}"));
        }
    }
}

/// Compares the three files at the instant `now`.
pub(super) fn compare(folder: &Path, ledger: &Ledger, now: i64) -> Result<Vec<FileComparison>> {
    NodeIndex::all().map(|node| compare_one(&folder.join(node.file()), node, ledger, now)).collect()
}

fn compare_one(path: &Path, node: NodeIndex, ledger: &Ledger, now: i64) -> Result<FileComparison> {
    let mut found = FileComparison { node: node.name(), ..FileComparison::default() };
    let mut seen = HashSet::new();
    let connection = open_to_read(path)?;
    let mut statement = connection.prepare("SELECT id, body, updated_at, expires_at FROM characters")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        found.rows += 1;
        let ValueRef::Text(id) = row.get_ref(0)? else {
            found.extra += 1;
            found.wrong("a key", "it is no text");
            continue;
        };
        let id = String::from_utf8_lossy(id).into_owned();
        match ledger.row(&id) {
            None => {
                found.extra += 1;
                found.wrong(
                    &id,
                    if ledger.knows(&id) { "deleted, and there" } else { "never written, and there" },
                );
            }
            Some(expected) if is_equal(row, expected)? => found.equal += 1,
            Some(_) => {
                found.different += 1;
                found.wrong(&id, "not as it was written last");
            }
        }
        seen.insert(id);
    }
    for (key, row) in ledger.live().filter(|(key, _)| !seen.contains(*key)) {
        if row.expired_at(now) {
            found.expired_and_gone += 1;
        } else {
            found.missing += 1;
            found.wrong(key, "written, and not there");
        }
    }
    Ok(found)
}

fn is_equal(row: &rusqlite::Row<'_>, expected: &Row) -> Result<bool> {
    let integer = |value: Option<i64>| value.map_or(ValueRef::Null, ValueRef::Integer);
    Ok(row.get_ref(1)? == ValueRef::Text(expected.body.as_bytes())
        && row.get_ref(2)? == integer(Some(expected.updated_at))
        && row.get_ref(3)? == integer(expected.expires_at))
}
