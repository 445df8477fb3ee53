//! Starts this agent's shares of scheduled runs: every shard once in each slot, when it is due and this agent owns
//! it. What another agent has completed in the slot, its voters say when it is claimed.

use std::sync::Arc;
use std::time::Duration;

use selfsame_core::{Schedule, Slot};
use selfsame_wire::message::StartRequest;

use crate::clock::Clock;
use crate::owner::Owner;
use crate::settings::{CollectionSettings, FleetSettings};
use crate::supervisor::Supervisor;

/// How often it is looked whether something is due: the precision of a schedule whose shortest interval is a second.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Starts a task for each collection that has a schedule.
pub fn spawn(fleet: &FleetSettings, owner: &Arc<Owner>, clock: &Arc<dyn Clock>, tasks: &Supervisor) {
    for collection in &fleet.collections {
        if let Some(schedule) = collection.schedule() {
            let task = follow(collection.clone(), schedule, owner.clone(), clock.clone());
            tasks.spawn("schedule", task);
        }
    }
}

async fn follow(
    collection: CollectionSettings,
    schedule: Schedule,
    owner: Arc<Owner>,
    clock: Arc<dyn Clock>,
) {
    loop {
        let now = clock.now();
        let slot = schedule.slot_at(now);
        let due = |shard| schedule.due(slot, &collection.name, shard) <= now;
        let request = StartRequest {
            collection: collection.name.clone(),
            slot: Slot::Scheduled(slot),
            shard: None,
            scan: true,
            dry_run: false,
        };
        // Asking again starts what has become due, or this agent's, since.
        if let Err(error) = owner.start_due(request, &due).await {
            tracing::warn!(collection = %collection.name, %error, "a scheduled run did not start");
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
