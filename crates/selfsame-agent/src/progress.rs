//! Where the steps of a pass are told, for whoever waits for it.

use selfsame_core::NodeName;
use selfsame_wire::message::ScanState;

use crate::exchange::report::ShardReport;

/// One step of a pass.
#[derive(Clone, Debug)]
pub enum Step<'a> {
    /// How far the scan of a replica is.
    Scan {
        /// The replica's node.
        node: NodeName,
        /// How far.
        state: ScanState,
    },
    /// Shards are claimed: their exchanges begin.
    Claimed {
        /// How many.
        shards: usize,
    },
    /// A shard is done.
    Shard {
        /// What came out.
        report: &'a ShardReport,
    },
}

/// Takes the steps of a pass. Must not block.
pub trait Progress: Send + Sync {
    /// One step.
    fn step(&self, step: Step<'_>);
}

/// Tells nobody.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn step(&self, _step: Step<'_>) {}
}
