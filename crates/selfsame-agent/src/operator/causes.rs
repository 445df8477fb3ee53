//! Why replicas differed, by node: what each owner counted, added up.

use std::collections::BTreeMap;

use selfsame_journal::CauseCount;
use selfsame_wire::v1;

/// Keys that are named for each node and cause.
pub(super) const SAMPLES_MAX: usize = 5;

/// Runs of a collection that `status` looks at, and how far back in microseconds. A guess at what shows a replica
/// that keeps losing writes, and forgets what was mended last week.
pub(super) const LAST_RUNS: usize = 20;
pub(super) const LAST_RUNS_MICROS: i64 = 7 * 24 * 3_600 * 1_000_000;

/// One owner's counts as they are told.
pub(super) fn told(counts: Vec<CauseCount>) -> Vec<v1::CauseCount> {
    let count = |count: CauseCount| v1::CauseCount {
        node: count.node.to_string(),
        cause: count.cause.as_str().to_owned(),
        keys: count.keys,
        samples: count.samples.iter().map(ToString::to_string).collect(),
    };
    counts.into_iter().map(count).collect()
}

/// The counts of all owners, by node and cause.
pub(super) fn joined(counts: impl IntoIterator<Item = v1::CauseCount>) -> Vec<v1::CauseCount> {
    let mut sums: BTreeMap<(String, String), v1::CauseCount> = BTreeMap::new();
    for count in counts {
        match sums.get_mut(&(count.node.clone(), count.cause.clone())) {
            None => {
                sums.insert((count.node.clone(), count.cause.clone()), count);
            }
            Some(sum) => {
                sum.keys += count.keys;
                sum.samples.extend(count.samples);
                sum.samples.truncate(SAMPLES_MAX);
            }
        }
    }
    sums.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_counts_add_up_and_name_a_few_keys() {
        let count = |node: &str, cause: &str, keys, samples: &[&str]| v1::CauseCount {
            node: node.to_owned(),
            cause: cause.to_owned(),
            keys,
            samples: samples.iter().map(|key| (*key).to_owned()).collect(),
        };
        let sums = joined([
            count("node-c", "missed_update", 4, &["1", "2", "3"]),
            count("node-a", "missed_update", 1, &["9"]),
            count("node-c", "missed_update", 3, &["4", "5", "6"]),
            count("node-c", "missed_insert", 1, &["7"]),
        ]);
        let expected = [
            count("node-a", "missed_update", 1, &["9"]),
            count("node-c", "missed_insert", 1, &["7"]),
            count("node-c", "missed_update", 7, &["1", "2", "3", "4", "5"]),
        ];
        assert_eq!(sums, expected);
    }
}
