//! The tree of one shard.

use std::fmt;

use super::Node;
use crate::{EntryDigest, KeyPrefix};

/// Children of an inner node.
pub const FANOUT: usize = 16;

const BITS_PER_LEVEL: u32 = FANOUT.trailing_zeros();

/// How many levels a tree has below its root: it has `16^depth` buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Depth(u8);

impl Depth {
    /// A million buckets, 42 MiB of nodes: enough for 16 million entries a shard at 16 a bucket.
    pub const MAX: Depth = Depth(5);

    /// A depth of up to [`Depth::MAX`].
    pub fn new(levels: u8) -> Option<Depth> {
        (levels <= Self::MAX.0).then_some(Depth(levels))
    }

    /// The depth at which a shard of so many entries has about 16 to 256 in a bucket: few enough to list, and
    /// enough to make the nodes' memory small beside the entries'.
    pub fn for_entries(count: u64) -> Depth {
        let mut depth = 0;
        while depth < Self::MAX.0 && count >> (BITS_PER_LEVEL * (u32::from(depth) + 2)) > 0 {
            depth += 1;
        }
        Depth(depth)
    }

    /// The number of levels.
    pub fn levels(self) -> u8 {
        self.0
    }

    /// The number of buckets.
    pub fn buckets(self) -> usize {
        width(self.0)
    }

    /// The bucket that holds the keys of that prefix.
    pub fn bucket(self, prefix: KeyPrefix) -> BucketId {
        BucketId(position(self.0, prefix) as u32)
    }

    /// The first prefix of a bucket. The bucket ends before the first prefix of the next.
    pub fn first_prefix(self, bucket: BucketId) -> KeyPrefix {
        match self.0 {
            0 => KeyPrefix(0),
            levels => KeyPrefix(u64::from(bucket.0) << (64 - BITS_PER_LEVEL * u32::from(levels))),
        }
    }
}

impl fmt::Display for Depth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The number of a bucket, from 0 in key-digest order. It means something only with a [`Depth`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BucketId(pub u32);

fn width(level: u8) -> usize {
    1 << (BITS_PER_LEVEL * u32::from(level))
}

fn position(level: u8, prefix: KeyPrefix) -> usize {
    match level {
        0 => 0,
        level => (prefix.0 >> (64 - BITS_PER_LEVEL * u32::from(level))) as usize,
    }
}

/// All nodes of a shard's tree. Every level is kept, so a comparison at a smaller depth just stops higher up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree {
    levels: Vec<Vec<Node>>,
}

impl Tree {
    /// An empty tree.
    pub fn new(depth: Depth) -> Tree {
        Tree { levels: (0..=depth.0).map(|level| vec![Node::default(); width(level)]).collect() }
    }

    /// The tree of the given entries, built leaves first: cheaper than as many updates.
    pub fn build(depth: Depth, entries: impl IntoIterator<Item = (KeyPrefix, EntryDigest)>) -> Tree {
        let mut tree = Tree::new(depth);
        let leaves = usize::from(depth.0);
        for (prefix, digest) in entries {
            let leaf = &mut tree.levels[leaves][position(depth.0, prefix)];
            *leaf = leaf.with(&digest);
        }
        for level in (0..leaves).rev() {
            let (upper, lower) = tree.levels.split_at_mut(level + 1);
            for (parent, children) in upper[level].iter_mut().zip(lower[0].chunks_exact(FANOUT)) {
                *parent = children.iter().fold(Node::default(), |sum, child| sum.plus(*child));
            }
        }
        tree
    }

    /// Adds an entry. Cost: one addition for each level.
    pub fn insert(&mut self, prefix: KeyPrefix, digest: &EntryDigest) {
        self.update(prefix, |node| node.with(digest));
    }

    /// Takes an entry out that was added before.
    pub fn remove(&mut self, prefix: KeyPrefix, digest: &EntryDigest) {
        self.update(prefix, |node| node.without(digest));
    }

    fn update(&mut self, prefix: KeyPrefix, change: impl Fn(Node) -> Node) {
        for (level, nodes) in self.levels.iter_mut().enumerate() {
            let node = &mut nodes[position(level as u8, prefix)];
            *node = change(*node);
        }
    }

    /// The levels below the root.
    pub fn depth(&self) -> Depth {
        Depth((self.levels.len() - 1) as u8)
    }

    /// The node that covers the shard.
    pub fn root(&self) -> Node {
        self.levels[0][0]
    }

    /// The nodes of the level below `parent`, a position on `level`. `None` where the tree has no such nodes.
    pub fn children(&self, level: u8, parent: u32) -> Option<&[Node]> {
        let start = (parent as usize).checked_mul(FANOUT)?;
        self.levels.get(usize::from(level) + 1)?.get(start..start + FANOUT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entries() -> impl Strategy<Value = Vec<(KeyPrefix, EntryDigest)>> {
        let entry = (any::<u64>().prop_map(KeyPrefix), any::<[u8; 32]>().prop_map(EntryDigest));
        prop::collection::vec(entry, 0..200)
    }

    fn depth() -> impl Strategy<Value = Depth> {
        (0_u8..4).prop_map(Depth)
    }

    #[test]
    fn depth_follows_the_number_of_entries() {
        for (count, levels) in [(0, 0), (255, 0), (256, 1), (4095, 1), (4096, 2), (1 << 20, 4), (u64::MAX, 5)]
        {
            assert_eq!(Depth::for_entries(count), Depth(levels), "{count}");
        }
    }

    proptest! {
        #[test]
        fn a_tree_built_at_once_is_the_tree_built_by_updates_in_any_order(
            entries in entries(), gone in entries(), depth in depth(), seed: u64
        ) {
            let built = Tree::build(depth, entries.clone());
            let mut updated = Tree::new(depth);
            for (prefix, digest) in &gone {
                updated.insert(*prefix, digest);
            }
            let mut shuffled = entries;
            if !shuffled.is_empty() {
                let middle = seed as usize % shuffled.len();
                shuffled.rotate_left(middle);
            }
            for (prefix, digest) in &shuffled {
                updated.insert(*prefix, digest);
            }
            for (prefix, digest) in gone.iter().rev() {
                updated.remove(*prefix, digest);
            }
            prop_assert_eq!(built, updated);
        }

        #[test]
        fn a_deeper_tree_folds_into_a_shallower_one(entries in entries(), depth in depth()) {
            let deep = Tree::build(Depth(4), entries.clone());
            let shallow = Tree::build(depth, entries);
            prop_assert_eq!(&deep.levels[..=usize::from(depth.0)], &shallow.levels[..]);
        }

        #[test]
        fn buckets_partition_the_prefixes(prefix: u64, depth in depth()) {
            let prefix = KeyPrefix(prefix);
            let bucket = depth.bucket(prefix);
            prop_assert!(depth.first_prefix(bucket) <= prefix);
            let next = BucketId(bucket.0 + 1);
            prop_assert!(next.0 as usize == depth.buckets() || prefix < depth.first_prefix(next));
        }
    }
}
