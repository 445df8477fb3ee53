//! What is counted when it happens: findings, repairs and durations of this agent's passes.

use prometheus::{CounterVec, HistogramVec};
use selfsame_core::{Cause, CollectionName, WallMicros};

use super::families::Families;
use super::table;
use crate::exchange::report::{Item, Outcome, PassReport};
use crate::settings::FleetSettings;

/// The names of [`Outcome`]s: a closed set of labels.
pub(super) const OUTCOMES: [&str; 10] = [
    "planned",
    "repaired",
    "already_there",
    "changed",
    "moving",
    "held",
    "unreadable",
    "refused",
    "unanswered",
    "incomparable",
];

/// When the age of a divergence is told: a closed set of labels.
pub(super) const WHEN: [&str; 2] = [FOUND, REPAIRED];
const FOUND: &str = "found";
const REPAIRED: &str = "repaired";

/// Counts since the agent started.
pub(super) struct Counted {
    pub(super) families: Families,
    mismatches: CounterVec,
    repaired: CounterVec,
    outcomes: CounterVec,
    ages: HistogramVec,
    durations: HistogramVec,
}

impl Counted {
    /// All zero: for each configured replica, whichever agent it is attached to, for this one may own its shards.
    pub(super) fn new(fleet: &FleetSettings) -> Counted {
        let families = Families::new();
        families.gauges(&table::BUILD_INFO).with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1.0);
        families.process();
        let counted = Counted {
            mismatches: families.counters(&table::MISMATCHES_FOUND),
            repaired: families.counters(&table::DOCUMENTS_REPAIRED),
            outcomes: families.counters(&table::REPAIR_OUTCOMES),
            ages: families.ages(&table::DIVERGENCE_AGE),
            durations: families.durations(&table::RUN_DURATION),
            families,
        };
        for collection in &fleet.collections {
            let name = collection.name.as_str();
            counted.durations.with_label_values(&[name]);
            for when in WHEN {
                counted.ages.with_label_values(&[name, when]);
            }
            for replica in &collection.replicas {
                let node = replica.node.as_str();
                for cause in Cause::ALL {
                    counted.mismatches.with_label_values(&[name, node, cause.as_str()]);
                    counted.repaired.with_label_values(&[name, node, cause.as_str()]);
                }
                for outcome in OUTCOMES {
                    counted.outcomes.with_label_values(&[name, node, outcome]);
                }
            }
        }
        counted
    }

    /// Counts what a pass found.
    pub(super) fn found(&self, collection: &CollectionName, report: &PassReport) {
        for item in items(report).filter(|item| is_mismatch(item)) {
            let labels = [collection.as_str(), item.node.as_str(), item.cause.as_str()];
            self.mismatches.with_label_values(&labels).inc();
        }
    }

    /// Counts how old what is found for the first time is: what an earlier pass found was told then.
    pub(super) fn aged(&self, collection: &CollectionName, report: &PassReport) {
        let ages = items(report).filter_map(|item| item.age).filter(|age| age.found >= report.started);
        for age in ages {
            self.age(collection, FOUND, age.micros_when_found());
        }
    }

    fn age(&self, collection: &CollectionName, when: &str, micros: u64) {
        self.ages.with_label_values(&[collection.as_str(), when]).observe(micros as f64 / 1e6);
    }

    /// Counts what became of it.
    pub(super) fn came_out(&self, collection: &CollectionName, report: &PassReport) {
        for item in items(report) {
            let labels = [collection.as_str(), item.node.as_str(), item.outcome.as_str()];
            self.outcomes.with_label_values(&labels).inc();
            if item.outcome == Outcome::Repaired {
                let labels = [collection.as_str(), item.node.as_str(), item.cause.as_str()];
                self.repaired.with_label_values(&labels).inc();
                if let Some(micros) = item.age.and_then(|age| age.micros_when_repaired()) {
                    self.age(collection, REPAIRED, micros);
                }
            }
        }
    }

    /// Counts how long a pass took. One during which the wall clock was set back is left out.
    pub(super) fn lasted(&self, collection: &CollectionName, started: WallMicros, finished: WallMicros) {
        let micros = finished.0.saturating_sub(started.0);
        if micros >= 0 {
            self.durations.with_label_values(&[collection.as_str()]).observe(micros as f64 / 1e6);
        }
    }
}

fn items(report: &PassReport) -> impl Iterator<Item = &Item> {
    report.shards.iter().flat_map(|shard| &shard.items)
}

/// A row that cannot be read is reported, but nothing is known of how it differs; what was swept did not differ.
fn is_mismatch(item: &Item) -> bool {
    item.outcome != Outcome::Unreadable && item.cause != Cause::Swept
}
