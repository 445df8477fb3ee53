//! Tree nodes and their sums.

use std::fmt;

use crate::{DecodeError, EntryDigest, Reader, Writer};

/// A sum of digests modulo 2^256.
///
/// With keyed 256-bit digests, finding another multiset of entries with the same sum is a generalised birthday
/// problem on values that nobody without the key can compute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum([u64; 4]);

impl Sum {
    /// The digest as a number, least significant byte first.
    fn of(digest: &EntryDigest) -> Sum {
        Sum::from_bytes(digest.0)
    }

    fn plus(self, other: Sum) -> Sum {
        let mut carry = false;
        let mut limbs = [0; 4];
        for (limb, (left, right)) in limbs.iter_mut().zip(self.0.into_iter().zip(other.0)) {
            let (sum, first) = left.overflowing_add(right);
            let (sum, second) = sum.overflowing_add(u64::from(carry));
            *limb = sum;
            carry = first || second;
        }
        Sum(limbs)
    }

    fn negated(self) -> Sum {
        Sum(self.0.map(|limb| !limb)).plus(Sum([1, 0, 0, 0]))
    }

    /// The bytes, least significant first.
    pub fn to_bytes(self) -> [u8; 32] {
        let mut bytes = [0; 32];
        for (chunk, limb) in bytes.chunks_exact_mut(8).zip(self.0) {
            chunk.copy_from_slice(&limb.to_le_bytes());
        }
        bytes
    }

    /// The sum of those bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Sum {
        let mut limbs = [0; 4];
        for (limb, chunk) in limbs.iter_mut().zip(bytes.chunks_exact(8)) {
            *limb = u64::from_le_bytes(chunk.try_into().expect("chunks of eight bytes"));
        }
        Sum(limbs)
    }
}

/// The sum and the count of a set of entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// The sum of the entries' digests.
    pub sum: Sum,
    /// How many entries.
    pub count: u64,
}

impl Node {
    /// With one more entry.
    pub fn with(self, digest: &EntryDigest) -> Node {
        Node { sum: self.sum.plus(Sum::of(digest)), count: self.count.wrapping_add(1) }
    }

    /// With one entry less. Taking out what was never put in gives a node that equals no honest one.
    pub fn without(self, digest: &EntryDigest) -> Node {
        Node { sum: self.sum.plus(Sum::of(digest).negated()), count: self.count.wrapping_sub(1) }
    }

    /// The entries of both.
    pub fn plus(self, other: Node) -> Node {
        Node { sum: self.sum.plus(other.sum), count: self.count.wrapping_add(other.count) }
    }

    /// The encoding in which an index stores a node.
    pub fn to_bytes(self) -> Vec<u8> {
        let mut out = Writer::new();
        out.raw(&self.sum.to_bytes()).u64(self.count);
        out.finish()
    }

    /// Reads what [`Node::to_bytes`] wrote.
    pub fn from_bytes(bytes: &[u8]) -> Result<Node, DecodeError> {
        let mut reader = Reader::new(bytes);
        let node = Node { sum: Sum::from_bytes(reader.array()?), count: reader.u64()? };
        reader.finish()?;
        Ok(node)
    }
}

/// A keyed hash of a node's sum and count: what travels instead of them.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct NodeHash(pub [u8; 16]);

impl fmt::Debug for NodeHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeHash({})", hex::encode(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn digest() -> impl Strategy<Value = EntryDigest> {
        any::<[u8; 32]>().prop_map(EntryDigest)
    }

    #[test]
    fn an_entry_added_twice_does_not_cancel() {
        let digest = EntryDigest([0x80; 32]);
        let twice = Node::default().with(&digest).with(&digest);
        assert_ne!(twice, Node::default());
        assert_ne!(twice, Node::default().with(&digest));
        // Even a digest whose double is zero leaves its count behind.
        let mut half = [0; 32];
        half[31] = 0x80;
        let half = EntryDigest(half);
        let doubled = Node::default().with(&half).with(&half);
        assert_eq!(doubled.sum, Sum::default());
        assert_ne!(doubled, Node::default());
    }

    proptest! {
        #[test]
        fn taking_out_undoes_putting_in(start in digest(), digest in digest()) {
            let node = Node::default().with(&start);
            prop_assert_eq!(node.with(&digest).without(&digest), node);
            prop_assert_eq!(Node::from_bytes(&node.to_bytes()), Ok(node));
        }

        #[test]
        fn carries_reach_every_limb(left: [u8; 32], right: [u8; 32]) {
            // The oracle adds byte by byte.
            let mut carry = 0_u16;
            let mut bytes = [0_u8; 32];
            for (index, byte) in bytes.iter_mut().enumerate() {
                let sum = u16::from(left[index]) + u16::from(right[index]) + carry;
                *byte = sum as u8;
                carry = sum >> 8;
            }
            let sum = Node::default().with(&EntryDigest(left)).with(&EntryDigest(right)).sum;
            prop_assert_eq!(sum.to_bytes(), bytes);
        }
    }
}
