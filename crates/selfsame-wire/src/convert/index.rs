//! What is asked of indexes: scans, roots, children, elements, keys.

use selfsame_core::away::Gap;
use selfsame_core::merkle::{BucketId, Depth, Element, FANOUT, NodeHash};
use selfsame_core::{Key, KeyPrefix, NodeName, UnknownReason, WallMicros};

use super::types::{epochs, from_epochs, run, unknown_reason};
use super::{
    Malformed, all, arrays, at_most, deltas, distinct, exactly, from_instants, instants, name, required, sums,
};
use crate::limits::{BUCKETS_MAX, KEYS_MAX, PARENTS_MAX, PREFIXES_MAX, SHARDS_MAX};
use crate::message::{
    DescendRequest, ElementsReply, ElementsRequest, ExpiredRequest, KeysRequest, NodeRoots, Replica, Root,
    RootsRequest, ScanRequest, ScanState,
};
use crate::v1;

impl From<ScanRequest> for v1::ScanRequest {
    fn from(request: ScanRequest) -> Self {
        v1::ScanRequest { collection: request.collection.to_string(), since: request.since.0 }
    }
}

impl TryFrom<v1::ScanRequest> for ScanRequest {
    type Error = Malformed;

    fn try_from(request: v1::ScanRequest) -> Result<ScanRequest, Malformed> {
        Ok(ScanRequest {
            collection: name("collection", &request.collection)?,
            since: WallMicros(request.since),
        })
    }
}

pub(super) fn from_scans(states: Vec<(NodeName, ScanState)>) -> Vec<v1::NodeScan> {
    use v1::node_scan::State;
    let state = |state| match state {
        ScanState::Running { rows, total } => State::Running(v1::ScanRunning { rows, total }),
        ScanState::Done { as_of, rows } => State::Done(v1::ScanDone { as_of: as_of.0, rows }),
        ScanState::Failed(reason) => State::Failed(v1::UnknownReason::from(reason).into()),
    };
    let each = |(node, of): (NodeName, _)| v1::NodeScan { node: node.to_string(), state: Some(state(of)) };
    states.into_iter().map(each).collect()
}

pub(super) fn scans(scans: Vec<v1::NodeScan>) -> Result<Vec<(NodeName, ScanState)>, Malformed> {
    use v1::node_scan::State;
    let each = |scan: v1::NodeScan| {
        let state = match required("scan.state", scan.state)? {
            State::Running(running) => ScanState::Running { rows: running.rows, total: running.total },
            State::Done(done) => ScanState::Done { as_of: WallMicros(done.as_of), rows: done.rows },
            State::Failed(reason) => ScanState::Failed(unknown_reason("scan.failed", reason)?),
        };
        Ok((name("scan.node", &scan.node)?, state))
    };
    let states: Vec<(NodeName, ScanState)> = scans.into_iter().map(each).collect::<Result<_, _>>()?;
    distinct("scan.node", states.iter().map(|(node, _)| node))?;
    Ok(states)
}

impl From<Vec<(NodeName, ScanState)>> for v1::ScanReply {
    fn from(states: Vec<(NodeName, ScanState)>) -> Self {
        v1::ScanReply { nodes: from_scans(states) }
    }
}

impl TryFrom<v1::ScanReply> for Vec<(NodeName, ScanState)> {
    type Error = Malformed;

    fn try_from(reply: v1::ScanReply) -> Result<Self, Malformed> {
        scans(reply.nodes)
    }
}

impl From<RootsRequest> for v1::RootsRequest {
    fn from(request: RootsRequest) -> Self {
        v1::RootsRequest {
            collection: request.collection.to_string(),
            run: request.run.as_bytes().to_vec(),
            epochs: Some(from_epochs(request.epochs)),
        }
    }
}

impl TryFrom<v1::RootsRequest> for RootsRequest {
    type Error = Malformed;

    fn try_from(request: v1::RootsRequest) -> Result<RootsRequest, Malformed> {
        Ok(RootsRequest {
            collection: name("collection", &request.collection)?,
            run: run("run", &request.run)?,
            epochs: epochs(required("epochs", request.epochs)?)?,
        })
    }
}

impl From<NodeRoots> for v1::NodeRoots {
    fn from(node: NodeRoots) -> Self {
        let roots = || node.roots.iter().flatten();
        let reason = |root: &Result<Root, UnknownReason>| match root {
            Ok(_) => v1::UnknownReason::Unspecified.into(),
            Err(reason) => v1::UnknownReason::from(*reason).into(),
        };
        let all_known = node.roots.iter().all(Result::is_ok);
        v1::NodeRoots {
            node: node.node.to_string(),
            reasons: if all_known { Vec::new() } else { node.roots.iter().map(reason).collect() },
            hashes: roots().flat_map(|root| root.hash.0).collect(),
            counts: roots().map(|root| root.count).collect(),
            depths: roots().map(|root| root.depth.levels().into()).collect(),
            as_of_deltas: deltas(roots().map(|root| root.as_of.0)),
            incarnation_deltas: deltas(roots().map(|root| root.incarnation.cast_signed())),
            unreadable: roots().map(|root| root.unreadable).collect(),
            memories: roots().flat_map(|root| root.memory.0).collect(),
            held_since: roots().find_map(|root| root.held).map(|since| since.0),
            horizon_deltas: from_instants(roots().map(|root| root.horizon)),
            gap: roots().find_map(|root| root.gap).map(|gap| v1::Gap {
                from: gap.from.0,
                to: gap.to.0,
                open: gap.open,
            }),
        }
    }
}

impl TryFrom<v1::NodeRoots> for NodeRoots {
    type Error = Malformed;

    fn try_from(node: v1::NodeRoots) -> Result<NodeRoots, Malformed> {
        let hashes = arrays("nodes.hashes", &node.hashes)?;
        let count = hashes.len();
        at_most("nodes.hashes", count, SHARDS_MAX)?;
        exactly("nodes.counts", node.counts.len(), count)?;
        exactly("nodes.depths", node.depths.len(), count)?;
        exactly("nodes.as_of_deltas", node.as_of_deltas.len(), count)?;
        exactly("nodes.incarnation_deltas", node.incarnation_deltas.len(), count)?;
        exactly("nodes.unreadable", node.unreadable.len(), count)?;
        let memories = arrays("nodes.memories", &node.memories)?;
        exactly("nodes.memories", memories.len(), count)?;
        let times = sums(&node.as_of_deltas).zip(sums(&node.incarnation_deltas));
        let horizons = instants("nodes.horizon_deltas", &node.horizon_deltas, count)?;
        let sets = hashes.iter().zip(&node.counts).zip(memories);
        let columns = sets.zip(&node.depths).zip(&node.unreadable).zip(times).zip(horizons);
        let gap =
            node.gap.map(|gap| Gap { from: WallMicros(gap.from), to: WallMicros(gap.to), open: gap.open });
        let mut roots = columns.map(
            |((((((hash, count), memory), depth), unreadable), (as_of, incarnation)), horizon)| {
                Ok(Root {
                    hash: NodeHash(*hash),
                    count: *count,
                    depth: self::depth("nodes.depths", *depth)?,
                    as_of: WallMicros(as_of),
                    incarnation: incarnation.cast_unsigned(),
                    unreadable: *unreadable,
                    memory: NodeHash(*memory),
                    held: node.held_since.map(WallMicros),
                    horizon,
                    gap,
                })
            },
        );
        let roots = if node.reasons.is_empty() {
            roots.map(|root| root.map(Ok)).collect::<Result<_, Malformed>>()?
        } else {
            at_most("nodes.reasons", node.reasons.len(), SHARDS_MAX)?;
            let known = |reason: &i32| *reason == i32::from(v1::UnknownReason::Unspecified);
            exactly("nodes.hashes", count, node.reasons.iter().filter(|reason| known(reason)).count())?;
            let root = |reason: &i32| {
                if known(reason) {
                    required("nodes.hashes", roots.next())?.map(Ok)
                } else {
                    unknown_reason("nodes.reasons", *reason).map(Err)
                }
            };
            node.reasons.iter().map(root).collect::<Result<_, _>>()?
        };
        Ok(NodeRoots { node: name("nodes.node", &node.node)?, roots })
    }
}

impl From<Vec<NodeRoots>> for v1::RootsReply {
    fn from(nodes: Vec<NodeRoots>) -> Self {
        v1::RootsReply { nodes: nodes.into_iter().map(Into::into).collect() }
    }
}

impl TryFrom<v1::RootsReply> for Vec<NodeRoots> {
    type Error = Malformed;

    fn try_from(reply: v1::RootsReply) -> Result<Self, Malformed> {
        let nodes: Self = all(reply.nodes)?;
        distinct("nodes.node", nodes.iter().map(|roots| &roots.node))?;
        Ok(nodes)
    }
}

impl From<Replica> for v1::Replica {
    fn from(replica: Replica) -> Self {
        v1::Replica {
            claim: Some(replica.claim.into()),
            node: replica.node.to_string(),
            incarnation: replica.incarnation,
        }
    }
}

impl TryFrom<v1::Replica> for Replica {
    type Error = Malformed;

    fn try_from(replica: v1::Replica) -> Result<Replica, Malformed> {
        Ok(Replica {
            claim: required("replica.claim", replica.claim)?.try_into()?,
            node: name("replica.node", &replica.node)?,
            incarnation: replica.incarnation,
        })
    }
}

fn depth(field: &'static str, levels: u32) -> Result<Depth, Malformed> {
    let depth = u8::try_from(levels).ok().and_then(Depth::new);
    depth.ok_or_else(|| Malformed::new(field, format!("{levels} is more than {}", Depth::MAX)))
}

/// Every position must be below the number of nodes on the level.
fn positions(field: &'static str, positions: &[u32], level: Depth) -> Result<(), Malformed> {
    match positions.iter().find(|position| **position as usize >= level.buckets()) {
        Some(position) => Err(Malformed::new(field, format!("{position} is past the end of level {level}"))),
        None => Ok(()),
    }
}

impl From<DescendRequest> for v1::DescendRequest {
    fn from(request: DescendRequest) -> Self {
        v1::DescendRequest {
            replica: Some(request.replica.into()),
            level: request.level.into(),
            parents: request.parents,
        }
    }
}

impl TryFrom<v1::DescendRequest> for DescendRequest {
    type Error = Malformed;

    fn try_from(request: v1::DescendRequest) -> Result<DescendRequest, Malformed> {
        let level = depth("level", request.level)?;
        if level == Depth::MAX {
            return Err(Malformed::new("level", format!("nodes of level {level} have no children")));
        }
        at_most("parents", request.parents.len(), PARENTS_MAX)?;
        positions("parents", &request.parents, level)?;
        Ok(DescendRequest {
            replica: required("replica", request.replica)?.try_into()?,
            level: level.levels(),
            parents: request.parents,
        })
    }
}

impl From<Vec<NodeHash>> for v1::DescendReply {
    fn from(hashes: Vec<NodeHash>) -> Self {
        v1::DescendReply { hashes: hashes.iter().flat_map(|hash| hash.0).collect() }
    }
}

impl TryFrom<v1::DescendReply> for Vec<NodeHash> {
    type Error = Malformed;

    fn try_from(reply: v1::DescendReply) -> Result<Self, Malformed> {
        let hashes = arrays("hashes", &reply.hashes)?;
        at_most("hashes", hashes.len(), PARENTS_MAX * FANOUT)?;
        Ok(hashes.iter().copied().map(NodeHash).collect())
    }
}

impl From<ElementsRequest> for v1::ElementsRequest {
    fn from(request: ElementsRequest) -> Self {
        v1::ElementsRequest {
            replica: Some(request.replica.into()),
            depth: request.depth.levels().into(),
            buckets: request.buckets.iter().map(|bucket| bucket.0).collect(),
            after: request.after.map(|prefix| prefix.0),
        }
    }
}

impl TryFrom<v1::ElementsRequest> for ElementsRequest {
    type Error = Malformed;

    fn try_from(request: v1::ElementsRequest) -> Result<ElementsRequest, Malformed> {
        let depth = depth("depth", request.depth)?;
        at_most("buckets", request.buckets.len(), BUCKETS_MAX)?;
        positions("buckets", &request.buckets, depth)?;
        if !request.buckets.is_sorted_by(|left, right| left < right) {
            return Err(Malformed::new("buckets", "do not ascend"));
        }
        Ok(ElementsRequest {
            replica: required("replica", request.replica)?.try_into()?,
            depth,
            buckets: request.buckets.into_iter().map(BucketId).collect(),
            after: request.after.map(KeyPrefix),
        })
    }
}

impl From<ElementsReply> for v1::ElementsReply {
    fn from(reply: ElementsReply) -> Self {
        let mut elements = Vec::with_capacity(reply.elements.len() * 16);
        for element in &reply.elements {
            elements.extend_from_slice(&element.prefix.0.to_be_bytes());
            elements.extend_from_slice(&element.entry.to_be_bytes());
        }
        v1::ElementsReply { elements, truncated: reply.truncated }
    }
}

impl TryFrom<v1::ElementsReply> for ElementsReply {
    type Error = Malformed;

    fn try_from(reply: v1::ElementsReply) -> Result<ElementsReply, Malformed> {
        let halves = arrays::<8>("elements", &reply.elements)?;
        let (pairs, odd) = halves.as_chunks::<2>();
        if !odd.is_empty() {
            return Err(Malformed::new("elements", "ends in the middle of an element"));
        }
        let element = |[prefix, entry]: &[[u8; 8]; 2]| Element {
            prefix: KeyPrefix(u64::from_be_bytes(*prefix)),
            entry: u64::from_be_bytes(*entry),
        };
        let elements: Vec<_> = pairs.iter().map(element).collect();
        if !elements.is_sorted_by_key(|element| element.prefix) {
            return Err(Malformed::new("elements", "do not ascend"));
        }
        // Whoever asks again goes on after the last element; without one it would ask the same for ever.
        if reply.truncated && elements.is_empty() {
            return Err(Malformed::new("truncated", "nothing stands before the cut"));
        }
        Ok(ElementsReply { elements, truncated: reply.truncated })
    }
}

impl From<KeysRequest> for v1::KeysRequest {
    fn from(request: KeysRequest) -> Self {
        v1::KeysRequest {
            replica: Some(request.replica.into()),
            prefixes: request.prefixes.iter().flat_map(|prefix| prefix.0.to_be_bytes()).collect(),
        }
    }
}

impl TryFrom<v1::KeysRequest> for KeysRequest {
    type Error = Malformed;

    fn try_from(request: v1::KeysRequest) -> Result<KeysRequest, Malformed> {
        let prefixes = arrays("prefixes", &request.prefixes)?;
        at_most("prefixes", prefixes.len(), PREFIXES_MAX)?;
        Ok(KeysRequest {
            replica: required("replica", request.replica)?.try_into()?,
            prefixes: prefixes.iter().map(|prefix| KeyPrefix(u64::from_be_bytes(*prefix))).collect(),
        })
    }
}

impl From<ExpiredRequest> for v1::ExpiredRequest {
    fn from(request: ExpiredRequest) -> Self {
        v1::ExpiredRequest {
            replica: Some(request.replica.into()),
            by: request.by.0,
            keys_max: request.keys_max,
        }
    }
}

impl TryFrom<v1::ExpiredRequest> for ExpiredRequest {
    type Error = Malformed;

    fn try_from(request: v1::ExpiredRequest) -> Result<ExpiredRequest, Malformed> {
        at_most("keys_max", request.keys_max as usize, KEYS_MAX)?;
        Ok(ExpiredRequest {
            replica: required("replica", request.replica)?.try_into()?,
            by: WallMicros(request.by),
            keys_max: request.keys_max,
        })
    }
}

impl From<Vec<Key>> for v1::KeysReply {
    fn from(keys: Vec<Key>) -> Self {
        v1::KeysReply { keys: keys.iter().map(Into::into).collect() }
    }
}

impl TryFrom<v1::KeysReply> for Vec<Key> {
    type Error = Malformed;

    fn try_from(reply: v1::KeysReply) -> Result<Self, Malformed> {
        all(reply.keys)
    }
}
