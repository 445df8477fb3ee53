//! What this agent's replicas were asked in a pass, so that at its end those keys are known that it found equal:
//! their streaks of repairs are over.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use parking_lot::Mutex;
use selfsame_core::{CollectionName, Key, KeyDigest, NodeName, RunId, ShardId, ShardVerdict, UnknownReason};
use selfsame_wire::message::CompleteRequest;

use super::replica::LocalReplica;
use crate::blocking::blocking;

/// A shard of a replica.
type Place = (CollectionName, NodeName, ShardId);

/// The keys that the last run over a place asked for: all of its suspects.
#[derive(Debug, Default)]
struct Suspects {
    run: Option<RunId>,
    keys: HashSet<KeyDigest>,
}

/// The last run over each shard of this agent's replicas. Kept in memory: what a restart forgets makes a streak last
/// for one more pass.
#[derive(Debug, Default)]
pub(super) struct Comparisons {
    places: Mutex<HashMap<Place, Suspects>>,
}

impl Comparisons {
    /// A replica gave its root to a run.
    pub(super) fn begin(&self, place: Place, run: RunId) {
        let mut places = self.places.lock();
        let suspects = places.entry(place).or_default();
        if suspects.run != Some(run) {
            *suspects = Suspects { run: Some(run), keys: HashSet::new() };
        }
    }

    /// A run reads keys from a replica.
    pub(super) fn ask(&self, place: Place, run: RunId, keys: impl IntoIterator<Item = KeyDigest>) {
        let mut places = self.places.lock();
        if let Some(suspects) = places.get_mut(&place).filter(|suspects| suspects.run == Some(run)) {
            suspects.keys.extend(keys);
        }
    }

    /// A run is over; `None` if the replica did not take part in it from its beginning.
    pub(super) fn end(&self, place: &Place, run: RunId) -> Option<HashSet<KeyDigest>> {
        let mut places = self.places.lock();
        if places.get(place)?.run != Some(run) {
            return None;
        }
        places.remove(place).map(|suspects| suspects.keys)
    }
}

/// What a pass said of each shard of a replica, and what it asked the replica for.
pub(super) type Passed = HashMap<ShardId, (ShardVerdict, Option<HashSet<KeyDigest>>)>;

impl LocalReplica {
    fn place(&self, shard: ShardId) -> Place {
        (self.parts.collection.name.clone(), self.parts.node.clone(), shard)
    }

    /// Notes that the replica gives its root to a run.
    pub(super) fn compared(&self, comparisons: &Comparisons, shard: ShardId, run: RunId) {
        comparisons.begin(self.place(shard), run);
    }

    /// Notes that a run confirms these keys.
    pub(super) fn confirmed(&self, comparisons: &Comparisons, shard: ShardId, run: RunId, keys: &[Key]) {
        let digests = keys.iter().map(|key| self.fingerprinter().key_digest(key));
        comparisons.ask(self.place(shard), run, digests);
    }

    /// What a run said of this replica's shards.
    pub(super) fn passed(&self, comparisons: &Comparisons, request: &CompleteRequest) -> Passed {
        let passed = |(shard, _, verdict): &(ShardId, _, ShardVerdict)| {
            (*shard, (*verdict, comparisons.end(&self.place(*shard), request.run)))
        };
        request.shards.iter().map(passed).collect()
    }

    /// Ends the streaks of the keys that a pass found equal. If the journal fails they last for one more pass.
    pub(super) async fn end_streaks(self: &Arc<Self>, run: RunId, passed: Passed) {
        let this = self.clone();
        let ended = blocking(move || {
            let shards = this.parts.mapping.spec().shards;
            let is_equal = |key: KeyDigest| {
                let pass = passed.get(&key.shard(shards));
                pass.is_some_and(|(verdict, suspects)| found_equal(*verdict, suspects.as_ref(), key))
            };
            let journal = &this.parts.journal;
            journal.end_streaks(&this.parts.collection.name, &this.parts.node, run, is_equal)
        });
        if let Err(error) = ended.await {
            tracing::error!(node = %self.parts.node, %error, "the journal does not take that keys are equal");
        }
    }
}

/// Whether a pass that ended so found a key equal. `suspects` are the keys that it asked a replica for, if that took
/// part in it. A pass that could not tell, as it did not hear all replicas, found nothing.
pub(super) fn found_equal(
    verdict: ShardVerdict,
    suspects: Option<&HashSet<KeyDigest>>,
    key: KeyDigest,
) -> bool {
    match verdict {
        ShardVerdict::InSync { .. } => true,
        ShardVerdict::Diverged
        | ShardVerdict::Unknown(UnknownReason::Moving | UnknownReason::BadDocument) => {
            suspects.is_some_and(|suspects| !suspects.contains(&key))
        }
        ShardVerdict::Unknown(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use selfsame_core::WallMicros;

    use super::*;

    fn place(shard: u32) -> Place {
        ("products".parse().unwrap(), "node-a".parse().unwrap(), ShardId(shard))
    }

    fn run(number: u8) -> RunId {
        RunId::from_bytes([number; 16])
    }

    fn key(number: u8) -> KeyDigest {
        KeyDigest([number; 16])
    }

    #[test]
    fn a_run_is_known_by_all_that_it_asked_for_and_forgotten_at_its_end() {
        let comparisons = Comparisons::default();
        comparisons.ask(place(0), run(1), [key(1)]);
        assert_eq!(comparisons.end(&place(0), run(1)), None, "it did not begin here");
        comparisons.begin(place(0), run(1));
        comparisons.ask(place(0), run(1), [key(1), key(2)]);
        // Another attempt of the same run goes on with it.
        comparisons.begin(place(0), run(1));
        comparisons.ask(place(0), run(1), [key(3)]);
        comparisons.ask(place(1), run(1), [key(4)]);
        comparisons.ask(place(0), run(2), [key(5)]);
        assert_eq!(comparisons.end(&place(0), run(2)), None);
        assert_eq!(comparisons.end(&place(0), run(1)), Some(HashSet::from([key(1), key(2), key(3)])));
        assert_eq!(comparisons.end(&place(0), run(1)), None);
    }

    #[test]
    fn a_newer_run_takes_the_place_of_an_older() {
        let comparisons = Comparisons::default();
        comparisons.begin(place(0), run(1));
        comparisons.ask(place(0), run(1), [key(1)]);
        comparisons.begin(place(0), run(2));
        assert_eq!(comparisons.end(&place(0), run(1)), None);
        assert_eq!(comparisons.end(&place(0), run(2)), Some(HashSet::new()));
    }

    #[test]
    fn only_a_pass_that_could_tell_found_a_key_equal() {
        let suspects = HashSet::from([key(1)]);
        let told = |verdict, number| found_equal(verdict, Some(&suspects), key(number));
        let in_sync = ShardVerdict::InSync { as_of: WallMicros(1) };
        assert!(told(in_sync, 1) && told(in_sync, 2) && found_equal(in_sync, None, key(1)));
        for verdict in [ShardVerdict::Diverged, ShardVerdict::Unknown(UnknownReason::Moving)] {
            assert!(!told(verdict, 1) && told(verdict, 2), "{verdict:?}");
            assert!(!found_equal(verdict, None, key(2)), "{verdict:?}");
        }
        for reason in [UnknownReason::Unreachable, UnknownReason::NoScan, UnknownReason::StaleIndex] {
            assert!(!told(ShardVerdict::Unknown(reason), 2), "{reason}");
        }
    }
}
