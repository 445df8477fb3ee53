//! What an agent measures, in the text form that Prometheus reads.
//!
//! It tells only what is true: a value that is not known is absent, and has a reason where there is one; it is
//! never a zero. Label sets are closed. Nothing outside this module knows the library behind it, and every metric
//! stands in one table, from which the documentation is generated.

mod counted;
mod families;
mod page;
mod sampled;
mod standing;
mod table;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::FutureExt;
use parking_lot::Mutex;
use selfsame_core::{AgentName, CollectionName, NodeName, WallMicros};
use selfsame_journal::Journal;
use selfsame_store::ThrottleCounters;
use selfsame_wire::message::StartRequest;
use tokio::sync::Semaphore;

use crate::blocking::blocking;
use crate::clock::Clock;
use crate::exchange::report::PassReport;
use crate::local::LocalReplica;
use crate::membership::Membership;
use crate::peer::Peer;
use crate::settings::FleetSettings;
use counted::Counted;
use standing::Standing;

pub use page::markdown;

/// What the throttle around one replica's store counts.
pub struct StoreCounters {
    /// The collection.
    pub collection: CollectionName,
    /// The node.
    pub node: NodeName,
    /// The counts.
    pub counters: Arc<ThrottleCounters>,
}

/// What is measured.
pub struct MetricsParts {
    /// The fleet.
    pub fleet: Arc<FleetSettings>,
    /// Which of its agents this is.
    pub name: AgentName,
    /// The agent's replicas.
    pub replicas: Vec<Arc<LocalReplica>>,
    /// The counts of their throttles, as far as there are any.
    pub stores: Vec<StoreCounters>,
    /// All agents, this one among them.
    pub peers: BTreeMap<AgentName, Arc<dyn Peer>>,
    /// Who is live.
    pub membership: Arc<Membership>,
    /// The agent's journal.
    pub journal: Arc<Journal>,
    /// Wall time.
    pub clock: Arc<dyn Clock>,
}

/// The metrics of one agent.
pub struct Metrics {
    parts: MetricsParts,
    counted: Counted,
    /// What the last passes said of each collection.
    standing: Mutex<BTreeMap<CollectionName, Standing>>,
    /// One exposition is written at a time: whoever asks faster than they are written waits.
    writing: Arc<Semaphore>,
}

impl Metrics {
    /// Begins to count. What can be counted for a configured replica is there from the start, at zero.
    pub fn new(parts: MetricsParts) -> Arc<Metrics> {
        let counted = Counted::new(&parts.fleet);
        Arc::new(Metrics { parts, counted, standing: Mutex::default(), writing: Arc::new(Semaphore::new(1)) })
    }

    /// Takes in what came out of a pass of this agent.
    pub fn observe_pass(&self, start: &StartRequest, report: &PassReport, finished: WallMicros) {
        let whole = start.shard.is_none();
        self.standing.lock().entry(start.collection.clone()).or_default().learn(report, whole);
        self.counted.found(&start.collection, report);
        self.counted.aged(&start.collection, report);
        self.counted.came_out(&start.collection, report);
        // Last, so that a pass whose duration is told is told whole.
        self.counted.lasted(&start.collection, report.started, finished);
    }

    /// Takes in what came out of carrying out an approved plan. Such a pass is about the plan's keys: what else it meets
    /// is counted by the next.
    pub fn observe_approved(&self, collection: &CollectionName, report: &PassReport) {
        self.counted.aged(collection, report);
        self.counted.came_out(collection, report);
    }

    /// Everything that is known now, as text.
    pub async fn exposition(self: &Arc<Self>) -> String {
        let one = self.writing.clone().acquire_owned().await.expect("the semaphore is never closed");
        // Not known before each agent was asked once, which nobody needs to wait for here.
        let live = self.parts.membership.live().now_or_never();
        let this = self.clone();
        blocking(move || {
            let text = this.write(live.as_deref());
            // Held to the end also when nobody waits any more: else slow expositions would pile up.
            drop(one);
            text
        })
        .await
    }

    /// Blocking.
    fn write(&self, live: Option<&[AgentName]>) -> String {
        let mut text = self.counted.families.text();
        text.push_str(&self.sample(live).text());
        text
    }
}
