//! What does not read back as it was written: the journal is told, so that the same is not written again and again.

use std::sync::Arc;

use selfsame_core::{Observation, Presence, RepairId};

use super::repairing::Step;
use super::replica::LocalReplica;
use crate::blocking::blocking;
use crate::peer::PeerError;

impl LocalReplica {
    /// Compares what was written with what was read after it, one observation for each step.
    pub(super) async fn note_incomparable(
        self: &Arc<Self>,
        written: &[&Step],
        seen: &[Observation],
    ) -> Result<(), PeerError> {
        let otherwise = written.iter().zip(seen).filter(|(step, seen)| reads_otherwise(step, seen));
        let repairs: Vec<RepairId> = otherwise.map(|(step, _)| step.item.repair).collect();
        if repairs.is_empty() {
            return Ok(());
        }
        self.tell_incomparable(repairs.len());
        let this = self.clone();
        let marked = blocking(move || this.parts.journal.mark_incomparable(&repairs)).await;
        marked.map_err(|error| self.broken(&error))
    }

    /// Says in the log that so many repairs did not read back, if any.
    pub(super) fn tell_incomparable(&self, repairs: usize) {
        if repairs > 0 {
            tracing::error!(
                collection = %self.parts.collection.name, node = %self.parts.node, repairs,
                "repairs do not read back as written; hint: compare the store's types and triggers with the others'"
            );
        }
    }
}

/// Whether the row stands as this repair left it, and is another document than the one that was to be written. A row
/// that a client wrote since is the client's.
fn reads_otherwise(step: &Step, seen: &Observation) -> bool {
    let (Some(entry), Some(left)) = (&step.entry, step.left) else { return false };
    match &seen.presence {
        Presence::Live(found) | Presence::Marked(found) => {
            found.row == left
                && (found.version, found.expiry, found.content)
                    != (entry.version, entry.expiry, entry.content)
        }
        Presence::Absent | Presence::Unreadable | Presence::Unreachable => false,
    }
}
