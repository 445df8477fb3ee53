//! What is kept in memory: the head, and for each shard its tree and its tally.

use selfsame_core::merkle::{Depth, Node, Tree};
use selfsame_core::{DecodeError, Reader, ShardId, Writer};

use crate::head::Head;

/// What is counted of a shard beside its tree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// The sum of its rows' weights.
    pub(crate) weight: u128,
    /// Its unreadable documents, those without a key left out.
    pub(crate) unreadable: u64,
    /// Its keys known to be gone.
    pub(crate) gone: u64,
}

/// What is stored of a shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ShardRecord {
    pub(crate) root: Node,
    pub(crate) tally: Tally,
}

impl ShardRecord {
    pub(crate) fn to_bytes(self) -> Vec<u8> {
        let mut out = Writer::new();
        out.frame(&self.root.to_bytes()).raw(&self.tally.weight.to_be_bytes());
        out.u64(self.tally.unreadable).u64(self.tally.gone);
        out.finish()
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<ShardRecord, DecodeError> {
        let mut reader = Reader::new(bytes);
        let root = Node::from_bytes(reader.frame()?)?;
        let weight = u128::from_be_bytes(reader.array()?);
        let tally = Tally { weight, unreadable: reader.u64()?, gone: reader.u64()? };
        reader.finish()?;
        Ok(ShardRecord { root, tally })
    }
}

/// A shard in memory.
#[derive(Clone, Debug)]
pub(crate) struct Shard {
    pub(crate) tree: Tree,
    pub(crate) tally: Tally,
    /// Counts the changes of the tree since the index was opened.
    pub(crate) revision: u64,
}

impl Shard {
    /// An empty shard with a tree for so many entries.
    pub(crate) fn for_entries(count: u64) -> Shard {
        Shard { tree: Tree::new(Depth::for_entries(count)), tally: Tally::default(), revision: 0 }
    }

    /// What is stored of it.
    pub(crate) fn record(&self) -> ShardRecord {
        ShardRecord { root: self.tree.root(), tally: self.tally }
    }
}

/// The index in memory.
#[derive(Clone, Debug)]
pub(crate) struct State {
    pub(crate) head: Head,
    /// By shard number.
    pub(crate) shards: Vec<Shard>,
}

impl State {
    /// The state of an empty index.
    pub(crate) fn new(head: Head) -> State {
        let shards = head.shards.ids().map(|_| Shard::for_entries(0)).collect();
        State { head, shards }
    }

    /// A shard, if the index has it.
    pub(crate) fn shard(&self, shard: ShardId) -> Option<&Shard> {
        self.shards.get(shard.0 as usize)
    }
}
