//! Merkle bucket trees over the live entries of a shard, and the search for what differs between them.
//!
//! A node is the *sum* modulo 2^256 of its entries' digests together with their count. An update costs one
//! addition per level, ranges fold by adding, and equal entries do not cancel as they do under XOR. A bucket
//! is a leaf: the entries whose key digest starts with the bucket's bits.

mod descent;
mod node;
mod tree;

pub use descent::{Answer, Ask, Descent, DescentError, Element};
pub use node::{Node, NodeHash, Sum};
pub use tree::{BucketId, Depth, FANOUT, Tree};
