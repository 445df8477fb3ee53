//! What the demo asks of a fleet: one pass, its summary and its items. Nothing else of an agent is known here.

use anyhow::Result;
use serde::Deserialize;

/// Something that compares and repairs the three files.
pub(super) trait Fleet {
    /// Scans, compares and repairs everything once. `tick` is called a few times a second meanwhile.
    fn pass(&mut self, tick: &mut dyn FnMut()) -> Result<PassOutcome>;

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
