//! What the demo asks of a fleet: passes with their items, and what a person may do beside them. Nothing else of an
//! agent is known here.

use std::collections::BTreeMap;

use anyhow::Result;
use serde::Deserialize;

use super::kinds::NodeIndex;

/// Something that compares and repairs the three files.
pub(super) trait Fleet {
    /// Scans, compares and repairs everything once. `tick` is called a few times a second meanwhile.
    fn pass(&mut self, tick: &mut dyn FnMut()) -> Result<PassOutcome>;

    /// Puts back what a run repaired.
    fn undo(&mut self, run: &str) -> Result<UndoOutcome>;

    /// Approves what a run planned, which has so many deletes.
    fn approve(&mut self, run: &str, deletes: u64) -> Result<ApproveOutcome>;

    /// Stops what holds a node's file open, in good order.
    fn stop(&mut self, node: NodeIndex) -> Result<()>;

    /// Starts it again.
    fn start(&mut self, node: NodeIndex) -> Result<()>;

    /// The replicas whose word is not taken.
    fn held(&mut self) -> Result<Vec<HeldReplica>>;

    /// Lets a node take the others' word.
    fn resync(&mut self, node: NodeIndex) -> Result<ResyncOutcome>;

    /// Says so if a part of it has ended by itself.
    fn ended(&mut self) -> Result<Option<String>> {
        Ok(None)
    }
}

/// What a pass reported.
#[derive(Clone, Debug, Default)]
pub(super) struct PassOutcome {
    pub(super) summary: PassSummary,
    /// From the journal, not from the summary.
    pub(super) items: Vec<PassItem>,
    /// Whether the journal's list was cut.
    pub(super) items_truncated: bool,
}

/// What the demo reads of a run's final object.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct PassSummary {
    pub(super) run: String,
    pub(super) verdict: String,
    pub(super) mismatches: u64,
    pub(super) repaired: u64,
    pub(super) transient: u64,
    pub(super) held: u64,
    pub(super) moving: u64,
    pub(super) wire_bytes: u64,
    pub(super) duration_ms: u64,
    /// What waits for approval.
    #[serde(default)]
    pub(super) plan: Option<PassPlan>,
}

/// What a run would do if it were approved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub(super) struct PassPlan {
    pub(super) deletes: u64,
}

/// What became of an undo.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct UndoOutcome {
    /// Rows by state.
    pub(super) states: BTreeMap<String, u64>,
    pub(super) inserts: u64,
    pub(super) updates: u64,
    pub(super) deletes: u64,
}

/// What became of an approval.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub(super) struct ApproveOutcome {
    pub(super) planned: u64,
    pub(super) repaired: u64,
}

/// A replica whose word is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HeldReplica {
    pub(super) node: String,
    pub(super) why: String,
}

/// What became of a resync.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct ResyncOutcome {
    /// Rows that only it had, or that have expired.
    pub(super) deletes: u64,
    /// Rows that it lacked, or had in another state.
    pub(super) copies: u64,
    pub(super) written: u64,
    pub(super) left: u64,
    /// Whether its word counts again.
    pub(super) ended: bool,
    /// The file in which that is kept which was deleted; empty if nothing was.
    pub(super) exported: String,
}

impl PassSummary {
    /// Whether the fleet says that all replicas are the same.
    pub(super) fn in_sync(&self) -> bool {
        self.verdict == "in_sync"
    }
}

/// What the demo reads of one item of a run.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct PassItem {
    /// JSON text.
    pub(super) key: String,
    pub(super) node: String,
    /// `copy`, `delete` or `none`.
    pub(super) action: String,
    pub(super) cause: String,
    pub(super) outcome: String,
}

impl PassItem {
    /// The key as the table has it.
    pub(super) fn id(&self) -> String {
        serde_json::from_str(&self.key).unwrap_or_else(|_| self.key.clone())
    }

    /// Whether a row was written or deleted.
    pub(super) fn is_written(&self) -> bool {
        matches!(self.outcome.as_str(), "repaired" | "incomparable")
    }

    /// Whether it is as it should be now, by the fleet's own word.
    pub(super) fn is_repaired(&self) -> bool {
        self.outcome == "repaired"
    }

    /// Whether a person must decide.
    pub(super) fn is_held(&self) -> bool {
        self.outcome == "held"
    }
}
