//! Why replicas differed, by node.

use std::collections::BTreeMap;

use selfsame_agent::exchange::report::{Item, Outcome, PassReport};
use selfsame_wire::v1;
use serde::Serialize;

/// Keys that are named for each node and cause, where this process counts itself.
const SAMPLES_MAX: usize = 5;

/// How many keys differed on a node for a cause.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct CauseRow {
    pub(crate) node: String,
    pub(crate) cause: String,
    pub(crate) keys: u64,
    /// A few of the keys, as JSON text.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) samples: Vec<String>,
}

/// The node on which most keys differed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct MostRow {
    pub(crate) node: String,
    pub(crate) keys: u64,
}

/// The counts as agents told them.
pub(crate) fn told(counts: &[v1::CauseCount]) -> Vec<CauseRow> {
    let row = |count: &v1::CauseCount| CauseRow {
        node: count.node.clone(),
        cause: count.cause.clone(),
        keys: count.keys,
        samples: count.samples.clone(),
    };
    counts.iter().map(row).collect()
}

/// The counts of passes of this process.
pub(crate) fn counted(passes: &[PassReport]) -> Vec<CauseRow> {
    let shards = passes.iter().flat_map(|pass| &pass.shards);
    let items = shards.flat_map(|shard| &shard.items).filter(|item| item.outcome != Outcome::Unreadable);
    let mut by_place: BTreeMap<(&str, &str), Vec<&Item>> = BTreeMap::new();
    for item in items {
        by_place.entry((item.node.as_str(), item.cause.as_str())).or_default().push(item);
    }
    let row = |((node, cause), items): ((&str, &str), Vec<&Item>)| CauseRow {
        node: node.to_owned(),
        cause: cause.to_owned(),
        keys: items.len() as u64,
        samples: items.iter().take(SAMPLES_MAX).map(|item| item.key.to_string()).collect(),
    };
    by_place.into_iter().map(row).collect()
}

/// The node with most differences; of several the first by name, and none if nothing differed.
pub(crate) fn most(causes: &[CauseRow]) -> Option<MostRow> {
    let nodes = by_node(causes).into_iter();
    let counted = nodes.map(|(node, causes)| (node, causes.iter().map(|cause| cause.keys).sum::<u64>()));
    let most = counted.rev().max_by_key(|(_, keys)| *keys).filter(|(_, keys)| *keys > 0);
    most.map(|(node, keys)| MostRow { node: node.to_owned(), keys })
}

/// A line for each node: how many keys, why, and a few of them.
pub(crate) fn lines(causes: &[CauseRow]) -> Vec<String> {
    let line = |(node, causes): (&str, Vec<&CauseRow>)| {
        let causes: Vec<String> = causes.into_iter().map(counted_cause).collect();
        format!("  {node}: {}", causes.join(", "))
    };
    by_node(causes).into_iter().map(line).collect()
}

/// A line about the node with most differences.
pub(crate) fn most_line(causes: &[CauseRow]) -> Option<String> {
    let MostRow { node, keys } = most(causes)?;
    let own = by_node(causes).remove(node.as_str()).unwrap_or_default();
    let own: Vec<String> = own.into_iter().map(counted_cause).collect();
    let differ = if keys == 1 { "key differs" } else { "keys differ" };
    Some(format!("  in the last runs {keys} {differ} on {node}, the most: {}", own.join(", ")))
}

fn by_node(causes: &[CauseRow]) -> BTreeMap<&str, Vec<&CauseRow>> {
    let mut nodes: BTreeMap<&str, Vec<&CauseRow>> = BTreeMap::new();
    causes.iter().for_each(|cause| nodes.entry(cause.node.as_str()).or_default().push(cause));
    nodes
}

fn counted_cause(cause: &CauseRow) -> String {
    let more = if cause.samples.len() as u64 == cause.keys { "" } else { ", …" };
    match cause.samples.as_slice() {
        [] => format!("{} {}", cause.keys, cause.cause),
        samples => format!("{} {} ({}{more})", cause.keys, cause.cause, samples.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(node: &str, cause: &str, keys: u64, samples: &[&str]) -> CauseRow {
        CauseRow {
            node: node.to_owned(),
            cause: cause.to_owned(),
            keys,
            samples: samples.iter().map(|key| (*key).to_owned()).collect(),
        }
    }

    #[test]
    fn the_node_with_most_differences_is_named_over_all_its_causes() {
        let causes = [
            row("node-a", "missed_update", 3, &[]),
            row("node-b", "missed_insert", 2, &[]),
            row("node-b", "missed_update", 2, &[]),
        ];
        assert_eq!(most(&causes), Some(MostRow { node: "node-b".to_owned(), keys: 4 }));
        let line = most_line(&causes).unwrap();
        assert!(
            line.contains("4 keys differ on node-b, the most: 2 missed_insert, 2 missed_update"),
            "{line}"
        );
        assert_eq!(most(&causes[..2]).unwrap().node, "node-a");
        let tie = [row("node-b", "x", 2, &[]), row("node-a", "x", 2, &[])];
        assert_eq!(most(&tie).unwrap().node, "node-a");
        assert_eq!((most(&[]), most_line(&[])), (None, None));
    }

    #[test]
    fn causes_are_told_with_a_few_keys() {
        let causes =
            [row("node-c", "missed_insert", 2, &["1", "2"]), row("node-c", "missed_update", 9, &["3", "4"])];
        assert_eq!(lines(&causes), ["  node-c: 2 missed_insert (1, 2), 9 missed_update (3, 4, …)"]);
    }
}
