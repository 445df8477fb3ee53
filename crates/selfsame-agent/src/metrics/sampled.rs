//! What is looked up when somebody asks: replicas, stores, peers, plans, and how collections stand.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use selfsame_core::{AgentName, ShardId, UnknownReason, WallMicros, owner};

use super::Metrics;
use super::families::Families;
use super::table;
use crate::settings::CollectionSettings;

/// The values of the label `verdict`.
pub(super) const VERDICTS: [&str; 3] = ["in_sync", "diverged", "unknown"];

impl Metrics {
    /// All that is known now; `live` are the live agents, if that is known. Blocking.
    pub(super) fn sample(&self, live: Option<&[AgentName]>) -> Families {
        let families = Families::new();
        let now = self.parts.clock.now();
        self.sample_replicas(&families, now);
        self.sample_stores(&families);
        self.sample_peers(&families, live);
        self.sample_plans(&families);
        self.sample_standing(&families, now, live);
        families
    }

    fn sample_replicas(&self, families: &Families, now: WallMicros) {
        let scanned = families.counters(&table::SHARDS_SCANNED);
        let completed = families.gauges(&table::LAST_SCAN_COMPLETED);
        let age = families.gauges(&table::COVERAGE_AGE);
        let indexed = families.gauges(&table::INDEXED_DOCUMENTS);
        let unreadable = families.gauges(&table::UNREADABLE_DOCUMENTS);
        for replica in &self.parts.replicas {
            let labels = [replica.collection().name.as_str(), replica.node().as_str()];
            let scans = replica.completed_scans();
            scanned.with_label_values(&labels).inc_by(scans.shards as f64);
            if let Some(at) = scans.last_at {
                completed.with_label_values(&labels).set(at.0 as f64 / 1e6);
            }
            // `None` is the least: one shard without a completed scan, and nothing is covered.
            let Ok(index) = replica.index() else { continue };
            let as_of = index.roots().iter().map(|root| root.as_of).min().flatten();
            if let Some(as_of) = as_of {
                age.with_label_values(&labels).set(now.0.saturating_sub(as_of.0) as f64 / 1e6);
                let counts = index.counts();
                indexed.with_label_values(&labels).set(counts.entries as f64);
                let rows = counts.unreadable.saturating_add(counts.unreadable_without_key);
                unreadable.with_label_values(&labels).set(rows as f64);
            }
        }
    }

    fn sample_stores(&self, families: &Families) {
        let rows = families.counters(&table::STORE_ROWS_READ);
        let bytes = families.counters(&table::STORE_BYTES_READ);
        let waits = families.counters(&table::THROTTLE_WAITS);
        let waited = families.counters(&table::THROTTLE_WAIT);
        for store in &self.parts.stores {
            let (labels, counters) = ([store.collection.as_str(), store.node.as_str()], &store.counters);
            rows.with_label_values(&labels).inc_by(counters.rows.load(Ordering::Relaxed) as f64);
            bytes.with_label_values(&labels).inc_by(counters.bytes.load(Ordering::Relaxed) as f64);
            waits.with_label_values(&labels).inc_by(counters.waits.load(Ordering::Relaxed) as f64);
            let micros = counters.waited_micros.load(Ordering::Relaxed);
            waited.with_label_values(&labels).inc_by(micros as f64 / 1e6);
        }
    }

    fn sample_peers(&self, families: &Families, live: Option<&[AgentName]>) {
        let bytes = self.parts.peers.values().map(|peer| peer.wire_bytes());
        let bytes = bytes.fold(0, u64::saturating_add);
        families.counters(&table::WIRE_BYTES).with_label_values::<&str>(&[]).inc_by(bytes as f64);
        let skews = families.gauges(&table::CLOCK_SKEW);
        for name in self.parts.peers.keys() {
            if let Some(skew) = self.parts.membership.skew(name) {
                skews.with_label_values(&[name.as_str()]).set(skew as f64 / 1e6);
            }
        }
        let up = families.gauges(&table::PEER_UP);
        let Some(live) = live else { return };
        for name in self.parts.peers.keys().filter(|name| **name != self.parts.name) {
            up.with_label_values(&[name.as_str()]).set(if live.contains(name) { 1.0 } else { 0.0 });
        }
    }

    fn sample_plans(&self, families: &Families) {
        let plans = match self.parts.journal.plans() {
            Ok(plans) => plans,
            Err(error) => {
                tracing::warn!(%error, "the journal does not say what is planned");
                return;
            }
        };
        let planned = families.gauges(&table::REPAIRS_PLANNED);
        for collection in &self.parts.fleet.collections {
            let of_collection = plans.iter().filter(|row| row.plan.id.collection == collection.name);
            let pending = of_collection.map(|row| row.counts.pending).fold(0, u64::saturating_add);
            planned.with_label_values(&[collection.name.as_str()]).set(pending as f64);
        }
    }

    fn sample_standing(&self, families: &Families, now: WallMicros, live: Option<&[AgentName]>) {
        let shards = families.gauges(&table::SHARDS);
        let unknown = families.gauges(&table::SHARDS_UNKNOWN);
        let held = families.gauges(&table::KEYS_HELD);
        let in_a_row = families.gauges(&table::MISMATCHED_IN_A_ROW);
        for collection in &self.parts.fleet.collections {
            let name = collection.name.as_str();
            let owned = live.map(|live| self.owned(live, collection));
            let oldest = collection.oldest_proof(now);
            let standing = self.standing.lock();
            let Some(standing) = standing.get(&collection.name) else { continue };
            if let Some(verdicts) = standing.verdicts(owned.as_ref(), oldest) {
                let unknown_sum = verdicts.unknown.values().sum();
                for (verdict, count) in
                    VERDICTS.into_iter().zip([verdicts.in_sync, verdicts.diverged, unknown_sum])
                {
                    shards.with_label_values(&[name, verdict]).set(count as f64);
                }
                for reason in UnknownReason::ALL {
                    let count = verdicts.unknown.get(&reason).copied().unwrap_or(0);
                    unknown.with_label_values(&[name, reason.as_str()]).set(count as f64);
                }
            }
            if let Some(keys) = standing.held(owned.as_ref()) {
                held.with_label_values(&[name]).set(keys as f64);
            }
            if let Some(runs) = standing.mismatched_in_a_row(owned.as_ref()) {
                in_a_row.with_label_values(&[name]).set(runs as f64);
            }
        }
    }

    /// The shards of a collection that this agent owns now.
    fn owned(&self, live: &[AgentName], collection: &CollectionSettings) -> BTreeSet<ShardId> {
        let Some(replica) = collection.replicas.first() else { return BTreeSet::new() };
        let is_own = |shard: &ShardId| owner(live, &collection.name, *shard) == Some(&self.parts.name);
        replica.mapping.shards.ids().filter(is_own).collect()
    }
}
