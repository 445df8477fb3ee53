//! Keeps the journal as small as its retentions allow.

use std::sync::Arc;
use std::time::Duration;

use selfsame_journal::{Journal, Retention};

use crate::blocking::blocking;
use crate::clock::Clock;
use crate::settings::FleetSettings;
use crate::supervisor::Supervisor;

/// How often it is looked: retentions are counted in days.
const LOOK_EVERY: Duration = Duration::from_secs(600);

/// Rows that one transaction prunes: it holds up repairs for some milliseconds at most.
const ROWS_AT_ONCE: usize = 1_000;

/// The brakes count writes for a rolling day: their intents are kept longer, whatever the configuration says.
const INTENTS_KEPT: Duration = Duration::from_secs(2 * 24 * 60 * 60);

/// Starts the task.
pub(crate) fn spawn(journal: Arc<Journal>, fleet: &FleetSettings, clock: Arc<dyn Clock>, tasks: &Supervisor) {
    let retention = Retention {
        before_images: fleet.journal.undo_retention,
        runs: fleet.journal.retention,
        intents: fleet.journal.retention.max(INTENTS_KEPT),
        observed: (fleet.collections.iter())
            .map(|collection| (collection.name.clone(), collection.tombstone_retention))
            .collect(),
    };
    tasks.spawn("prune", async move {
        loop {
            let (journal, retention, now) = (journal.clone(), retention.clone(), clock.now());
            let more = match blocking(move || journal.prune(now, &retention, ROWS_AT_ONCE)).await {
                Ok(pruned) => pruned.more,
                Err(error) => {
                    tracing::error!(%error, "the journal is not pruned; hint: it grows until this is mended");
                    false
                }
            };
            tokio::time::sleep(if more { Duration::from_millis(50) } else { LOOK_EVERY }).await;
        }
    });
}
