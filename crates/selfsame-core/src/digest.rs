//! Keyed digests: of keys, contents, entries, rows and tree nodes.
//!
//! All are BLAKE3 under one key per fleet and collection, so that whoever can write documents, but does not
//! know the fleet's secret, cannot craft sets whose fingerprints cancel. A domain byte and framed fields keep
//! the digests of different things apart.

use std::fmt;

use crate::merkle::{Node, NodeHash};
use crate::{Entry, Key, Row, ShardCount, ShardId, Value, Version, Writer, canonical_content};

/// Names the bytes that are hashed, and how. Agents with another id do not compare fingerprints.
pub const ALGORITHM: &str = "selfsame c1";

macro_rules! digest {
    ($(#[$doc:meta])* $name:ident, $length:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $length]);

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), hex::encode(self.0))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }
    };
}

digest! {
    /// Digest of a key. Its first half places the key among the buckets of a shard, its second half chooses
    /// the shard, so that the two are independent.
    KeyDigest, 16
}
digest! {
    /// Digest of a document's canonical content.
    ContentDigest, 32
}
digest! {
    /// Digest of a whole entry, or of a tombstone: what a sum is made of.
    EntryDigest, 32
}
digest! {
    /// Digest of every stored byte of a row, mapped or not: the condition of a repair.
    RowDigest, 32
}

/// The half of a key digest that orders the keys of a shard. Two keys may share one; whoever looks keys up by
/// it gets all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyPrefix(pub u64);

impl KeyDigest {
    /// The shard that holds the key.
    pub fn shard(&self, shards: ShardCount) -> ShardId {
        let half = u64::from_be_bytes(self.0[8..].try_into().expect("half of 16 bytes"));
        let shard = half % u64::from(shards.get());
        ShardId(u32::try_from(shard).expect("a remainder is below its divisor"))
    }

    /// The half that orders the keys of a shard.
    pub fn prefix(&self) -> KeyPrefix {
        KeyPrefix(u64::from_be_bytes(self.0[..8].try_into().expect("half of 16 bytes")))
    }
}

/// Computes all digests of one collection.
#[derive(Clone)]
pub struct Fingerprinter {
    key: [u8; 32],
}

impl fmt::Debug for Fingerprinter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fingerprinter(..)")
    }
}

impl Fingerprinter {
    /// The fingerprinter of a collection. An empty secret is allowed: digests are then keyed by names alone.
    pub fn new(fleet: &str, collection: &str, secret: &[u8]) -> Self {
        let mut material = Writer::new();
        material.frame(fleet.as_bytes()).frame(collection.as_bytes()).frame(secret);
        Self { key: blake3::derive_key(ALGORITHM, &material.finish()) }
    }

    fn hash(&self, domain: u8, body: &[u8]) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(&[domain]).update(body);
        hasher.finalize().into()
    }

    /// Tells whether two agents use the same key, without telling the key.
    pub fn check_value(&self) -> [u8; 16] {
        first_half(self.hash(b'v', b""))
    }

    /// The digest of a key.
    pub fn key_digest(&self, key: &Key) -> KeyDigest {
        KeyDigest(first_half(self.hash(b'k', &key.to_bytes())))
    }

    /// The digest of a content.
    pub fn content_digest(&self, content: &Value) -> ContentDigest {
        let mut body = Writer::new();
        canonical_content(content, &mut body);
        ContentDigest(self.hash(b'c', &body.finish()))
    }

    /// The digest of an entry.
    pub fn entry_digest(&self, entry: &Entry) -> EntryDigest {
        let mut body = Writer::new();
        body.frame(&entry.key.to_bytes()).i64(entry.version.0);
        body.optional_i64(entry.expiry.map(|expiry| expiry.0)).raw(&entry.content.0);
        EntryDigest(self.hash(b'e', &body.finish()))
    }

    /// The digest of what is remembered of a deletion: which version of the key is gone, and whether a client brought
    /// it back; not when, why, or who saw it, in which ledgers that agree may differ.
    pub fn tombstone_digest(&self, key: &Key, version: Version, came_back: bool) -> EntryDigest {
        let mut body = Writer::new();
        body.frame(&key.to_bytes()).i64(version.0).byte(u8::from(came_back));
        EntryDigest(self.hash(b't', &body.finish()))
    }

    /// The digest of a row.
    pub fn row_digest(&self, row: &Row) -> RowDigest {
        RowDigest(self.hash(b'r', &row.to_bytes()))
    }

    /// The hash under which a tree node travels.
    pub fn node_hash(&self, node: &Node) -> NodeHash {
        let mut body = Writer::new();
        body.raw(&node.sum.to_bytes()).u64(node.count);
        NodeHash(first_half(self.hash(b'n', &body.finish())))
    }

    /// A digest of anything else that agents compare (a configuration, say), under a domain of its own.
    pub fn other_digest(&self, body: &[u8]) -> [u8; 16] {
        first_half(self.hash(b'o', body))
    }
}

fn first_half(digest: [u8; 32]) -> [u8; 16] {
    digest[..16].try_into().expect("half of 32 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merkle::Sum;

    #[test]
    fn a_node_hash_covers_the_count() {
        // 2^255, of which two sum to zero modulo 2^256.
        let mut half = [0; 32];
        half[31] = 0x80;
        let half = EntryDigest(half);
        let doubled = Node::default().with(&half).with(&half);
        assert_eq!((doubled.sum, doubled.count), (Sum::default(), 2));
        let fingerprinter = Fingerprinter::new("fleet", "products", b"secret");
        assert_ne!(fingerprinter.node_hash(&doubled), fingerprinter.node_hash(&Node::default()));
    }
}
