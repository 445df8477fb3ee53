//! Two consumers for each node's change stream, as somebody else's search index or cache would follow it: one
//! skips what carries an origin marker, the other takes all.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Result, bail};
use rusqlite::{Connection, params};

use super::file::{TABLE, open_to_read};
use super::kinds::NodeIndex;
use super::writer::Log;

/// The filter: what no repair wrote.
const CLIENTS: &str = "SELECT seq, op, k1, origin FROM _selfsame_changes
    WHERE seq > ?1 AND tbl = ?2 AND origin IS NULL ORDER BY seq";
const EVERYTHING: &str = "SELECT seq, op, k1, origin FROM _selfsame_changes
    WHERE seq > ?1 AND tbl = ?2 ORDER BY seq";

/// How often each key of each node was repaired.
pub(super) type RepairCounts = BTreeMap<(NodeIndex, String), u64>;

/// One consumer of one node.
struct Consumer {
    node: NodeIndex,
    connection: Connection,
    query: &'static str,
    after: i64,
    /// What came without a marker.
    clients: Vec<(String, String)>,
    /// What came with one.
    repairs: Vec<String>,
}

/// All consumers.
pub(super) struct Tails {
    filtered: Vec<Consumer>,
    unfiltered: Vec<Consumer>,
}

impl Tails {
    /// Begins at the end of the streams.
    pub(super) fn open(folder: &Path) -> Result<Tails> {
        let consumers = |query| -> Result<Vec<Consumer>> {
            NodeIndex::all().map(|node| Consumer::open(folder, node, query)).collect()
        };
        Ok(Tails { filtered: consumers(CLIENTS)?, unfiltered: consumers(EVERYTHING)? })
    }

    /// Reads what is new.
    pub(super) fn follow(&mut self) -> Result<()> {
        self.filtered.iter_mut().chain(&mut self.unfiltered).try_for_each(Consumer::follow)
    }

    /// Closes the files, so that one of them can be replaced.
    pub(super) fn close(&mut self) {
        self.filtered.clear();
        self.unfiltered.clear();
    }

    /// Repairs that consumers without the filter have seen.
    pub(super) fn repairs(&self) -> RepairCounts {
        let mut counts = RepairCounts::new();
        for consumer in &self.unfiltered {
            for key in &consumer.repairs {
                *counts.entry((consumer.node, key.clone())).or_insert(0) += 1;
            }
        }
        counts
    }

    /// What consumers saw that they should not have, or did not see, of what clients wrote.
    pub(super) fn complaints(&self, logs: &[Log]) -> Vec<String> {
        let mut complaints = Vec::new();
        let kinds = [("filtered", &self.filtered), ("unfiltered", &self.unfiltered)];
        for (kind, consumer) in
            kinds.iter().flat_map(|(kind, all)| all.iter().map(move |consumer| (kind, consumer)))
        {
            let log = &logs[consumer.node.0];
            let wrong = log
                .iter()
                .zip(&consumer.clients)
                .position(|((key, operation), (seen, name))| **key != **seen || operation.as_str() != name);
            if wrong.is_some() || log.len() != consumer.clients.len() {
                let place = wrong.unwrap_or_else(|| log.len().min(consumer.clients.len()));
                complaints.push(format!(
                    "the {kind} consumer of {} saw {} client writes where {} were made, and differs from the {}th on",
                    consumer.node.name(),
                    consumer.clients.len(),
                    log.len(),
                    place + 1
                ));
            }
        }
        complaints
    }
}

impl Consumer {
    fn open(folder: &Path, node: NodeIndex, query: &'static str) -> Result<Consumer> {
        let connection = open_to_read(&folder.join(node.file()))?;
        let after =
            connection
                .query_row("SELECT coalesce(max(seq), 0) FROM _selfsame_changes", [], |row| row.get(0))?;
        Ok(Consumer { node, connection, query, after, clients: Vec::new(), repairs: Vec::new() })
    }

    fn follow(&mut self) -> Result<()> {
        // One snapshot for both statements.
        let snapshot = self.connection.transaction()?;
        let oldest: Option<i64> =
            snapshot.query_row("SELECT min(seq) FROM _selfsame_changes", [], |row| row.get(0))?;
        if oldest.is_some_and(|oldest| oldest > self.after + 1) {
            bail!("the change stream of {} was cut before its consumer had read it", self.node.name());
        }
        let mut statement = snapshot.prepare_cached(self.query)?;
        let mut rows = statement.query(params![self.after, TABLE])?;
        while let Some(row) = rows.next()? {
            self.after = row.get(0)?;
            let (operation, key): (String, Option<String>) = (row.get(1)?, row.get(2)?);
            let Some(key) = key else {
                bail!("the change stream of {} says `{operation}`: changes may be missing", self.node.name());
            };
            match row.get::<_, Option<Arc<str>>>(3)? {
                None => self.clients.push((key, operation)),
                Some(_) => self.repairs.push(key),
            }
        }
        Ok(())
    }
}
