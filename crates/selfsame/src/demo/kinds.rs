//! The kinds of divergence that the demo makes, and the nodes on which it makes them.

use std::collections::BTreeMap;

use serde::Serialize;

/// How many nodes there are. With three, a majority can outvote one damaged copy.
pub(super) const NODE_COUNT: usize = 3;

const NODE_NAMES: [&str; NODE_COUNT] = ["node-a", "node-b", "node-c"];
const AGENT_NAMES: [&str; NODE_COUNT] = ["a", "b", "c"];
const FILE_NAMES: [&str; NODE_COUNT] = ["node-a.db", "node-b.db", "node-c.db"];

/// One of the nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct NodeIndex(pub(super) usize);

impl NodeIndex {
    /// All of them, in the order in which a client writes to them.
    pub(super) fn all() -> impl Iterator<Item = NodeIndex> {
        (0..NODE_COUNT).map(NodeIndex)
    }

    /// The node's name in the configuration and in reports.
    pub(super) fn name(self) -> &'static str {
        NODE_NAMES[self.0]
    }

    /// The name of the agent beside it.
    pub(super) fn agent(self) -> &'static str {
        AGENT_NAMES[self.0]
    }

    /// The name of its file.
    pub(super) fn file(self) -> &'static str {
        FILE_NAMES[self.0]
    }

    /// The node of that name.
    pub(super) fn of(name: &str) -> Option<NodeIndex> {
        NodeIndex::all().find(|node| node.name() == name)
    }
}

/// A kind of divergence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    /// An update skips a node.
    LostWrite,
    /// A new document skips a node.
    LostInsert,
    /// An older state is written over the newer one.
    StaleUpdate,
    /// One character changes, and the version does not.
    FlippedValue,
    /// A node misses every write for a while.
    ReplicaDown,
    /// Two updates arrive in the wrong order.
    ReorderedUpdates,
    /// A delete skips a node.
    LostDelete,
    /// A delete reaches one node of three.
    MinorityDelete,
    /// A delete and an update of one document meet in different orders, and the nodes end differently.
    DeleteAgainstUpdate,
    /// A document is deleted and made anew, and a part of that skips a node.
    DeleteAndRecreation,
    /// A late write brings back a document that has expired and was swept: a state that has expired as well.
    ExpiredStraggler,
    /// The same with a state that would never expire.
    StragglerAfterSweep,
    /// A renewed expiry skips a node, on which the old one passes.
    RenewedExpiry,
}

impl Kind {
    /// All kinds, in the order of tables.
    pub(super) const ALL: [Kind; 13] = [
        Kind::LostWrite,
        Kind::LostInsert,
        Kind::StaleUpdate,
        Kind::FlippedValue,
        Kind::ReplicaDown,
        Kind::ReorderedUpdates,
        Kind::LostDelete,
        Kind::MinorityDelete,
        Kind::DeleteAgainstUpdate,
        Kind::DeleteAndRecreation,
        Kind::ExpiredStraggler,
        Kind::StragglerAfterSweep,
        Kind::RenewedExpiry,
    ];

    /// The name in tables.
    pub(super) fn title(self) -> &'static str {
        match self {
            Kind::LostWrite => "lost write",
            Kind::LostInsert => "lost insert",
            Kind::StaleUpdate => "stale update",
            Kind::FlippedValue => "flipped value",
            Kind::ReplicaDown => "replica down",
            Kind::ReorderedUpdates => "reordered updates",
            Kind::LostDelete => "lost delete",
            Kind::MinorityDelete => "minority delete",
            Kind::DeleteAgainstUpdate => "delete against update",
            Kind::DeleteAndRecreation => "delete, re-creation",
            Kind::ExpiredStraggler => "expired straggler",
            Kind::StragglerAfterSweep => "straggler after sweep",
            Kind::RenewedExpiry => "renewed expiry",
        }
    }

    /// What a fleet may take for the cause, on a damaged node.
    pub(super) fn causes(self) -> &'static [&'static str] {
        match self {
            Kind::LostWrite | Kind::StaleUpdate | Kind::ReorderedUpdates => &["missed_update"],
            Kind::LostInsert => &["missed_insert"],
            Kind::FlippedValue => &["silent_change"],
            Kind::ReplicaDown | Kind::DeleteAndRecreation | Kind::RenewedExpiry => {
                &["missed_update", "missed_insert"]
            }
            Kind::LostDelete | Kind::MinorityDelete => &["missed_delete"],
            Kind::DeleteAgainstUpdate => &["missed_delete", "missed_insert"],
            Kind::ExpiredStraggler | Kind::StragglerAfterSweep => &["expired_straggler"],
        }
    }

    /// What happens, for people.
    pub(super) fn story(self) -> &'static str {
        match self {
            Kind::LostWrite => "an update does not reach one node",
            Kind::LostInsert => "a new document does not reach one node",
            Kind::StaleUpdate => "an older state overwrites a newer one",
            Kind::FlippedValue => "one character changes, the version does not",
            Kind::ReplicaDown => "one node misses all writes for a while",
            Kind::ReorderedUpdates => "two updates arrive in the wrong order",
            Kind::LostDelete => "a delete does not reach one node",
            Kind::MinorityDelete => "a delete reaches one node of three",
            Kind::DeleteAgainstUpdate => "a delete and an update cross, and the later one counts",
            Kind::DeleteAndRecreation => "a deleted document is made anew, and one node misses a part",
            Kind::ExpiredStraggler => "an old write revives an expired document",
            Kind::StragglerAfterSweep => "an old write comes after the sweep, and would never expire",
            Kind::RenewedExpiry => "a renewal does not reach one node, and the old expiry passes",
        }
    }
}

/// A count for each kind; all kinds are there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub(super) struct ByKind(BTreeMap<Kind, u64>);

impl Default for ByKind {
    fn default() -> ByKind {
        ByKind(Kind::ALL.into_iter().map(|kind| (kind, 0)).collect())
    }
}

impl ByKind {
    /// Counts the kinds given.
    pub(super) fn count(kinds: impl IntoIterator<Item = Kind>) -> ByKind {
        let mut counts = ByKind::default();
        for kind in kinds {
            *counts.0.entry(kind).or_insert(0) += 1;
        }
        counts
    }

    /// Of one kind.
    pub(super) fn of(&self, kind: Kind) -> u64 {
        self.0.get(&kind).copied().unwrap_or(0)
    }

    /// Of all kinds together.
    pub(super) fn total(&self) -> u64 {
        self.0.values().sum()
    }
}
