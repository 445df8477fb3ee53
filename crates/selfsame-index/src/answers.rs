//! What an exchange asks of an index: roots, nodes, elements, entries, and what cannot be read.

use std::ops::RangeInclusive;

use selfsame_core::merkle::{BucketId, Depth, Element, Node};
use selfsame_core::{Entry, Key, KeyDigest, KeyPrefix, ShardId, Stamp, WallMicros};

use crate::index::{Incarnation, Index};
use crate::rows::{self, ALL_PREFIXES, Loose, Row, Sight};
use crate::{IndexError, state};

/// A shard at a glance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShardRoot {
    /// The shard.
    pub shard: ShardId,
    /// The sum and count of its live entries.
    pub node: Node,
    /// The depth of its tree.
    pub depth: Depth,
    /// The start of the last completed scan; `None` if there was none.
    pub as_of: Option<WallMicros>,
    /// How many of its documents are unreadable, with those of the replica that have no readable key, which may
    /// be in any shard.
    pub unreadable: u64,
    /// The life of the tree.
    pub incarnation: Incarnation,
    /// Counts the changes of the tree within its incarnation: if it is the same before and after a descent,
    /// all answers between were of one tree.
    pub revision: u64,
}

/// Some elements of some buckets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Elements {
    /// The elements in key-digest order.
    pub elements: Vec<Element>,
    /// Set if the list was cut: the first prefix that is not in it, to go on from.
    pub cut: Option<KeyPrefix>,
}

/// Some entries of a shard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entries {
    /// The entries in key-digest order.
    pub entries: Vec<(KeyDigest, Entry)>,
    /// Set if the list was cut: the first prefix that is not in it, to go on from.
    pub cut: Option<KeyPrefix>,
}

/// A document that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnreadableRow {
    /// Its key, if that can be read.
    pub key: Option<Key>,
    /// Where the store has it.
    pub place: String,
    /// What is wrong with it.
    pub reason: String,
}

/// How much an index holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Live entries.
    pub entries: u64,
    /// Unreadable documents whose key can be read.
    pub unreadable: u64,
    /// Unreadable documents whose key cannot.
    pub unreadable_without_key: u64,
    /// Keys known to be gone since the last scan, or marked as deleted.
    pub gone: u64,
}

impl Index {
    /// A shard's root; `None` for a shard that the collection does not have. From memory.
    pub fn root(&self, shard: ShardId) -> Option<ShardRoot> {
        let incarnation = self.incarnation();
        let state = self.current.state.read();
        Some(root(&state, shard, state.shard(shard)?, incarnation))
    }

    /// The roots of all shards, in order, of one moment. From memory.
    pub fn roots(&self) -> Vec<ShardRoot> {
        let incarnation = self.incarnation();
        let state = self.current.state.read();
        let numbered = self.current.shards.ids().zip(&state.shards);
        numbered.map(|(shard, of_shard)| root(&state, shard, of_shard, incarnation)).collect()
    }

    /// The children of nodes of a level, 16 for each parent in the order given; `None` if the tree has no such
    /// nodes. From memory; the caller bounds the number of parents.
    pub fn children(&self, shard: ShardId, level: u8, parents: &[u32]) -> Option<Vec<Node>> {
        let state = self.current.state.read();
        let tree = &state.shard(shard)?.tree;
        let mut nodes = Vec::new();
        for parent in parents {
            nodes.extend_from_slice(tree.children(level, *parent)?);
        }
        Some(nodes)
    }

    /// The elements of buckets at a depth, which need not be the tree's own, from a prefix on and up to about
    /// `limit` of them. Keys that share a prefix are never torn apart, so there may be a few more; buckets that
    /// the depth does not have are empty. Cost: a look-up for each bucket, a hash for each element.
    pub fn elements(
        &self,
        shard: ShardId,
        depth: Depth,
        buckets: &[BucketId],
        from: Option<KeyPrefix>,
        limit: usize,
    ) -> Result<Elements, IndexError> {
        let from = from.unwrap_or(KeyPrefix(0));
        let mut buckets: Vec<_> =
            buckets.iter().copied().filter(|bucket| (bucket.0 as usize) < depth.buckets()).collect();
        buckets.sort_unstable();
        buckets.dedup();
        let ranges = buckets.into_iter().map(|bucket| bucket_prefixes(depth, bucket));
        let mut elements = Vec::new();
        let cut = self.each_entry(shard, ranges, from, limit, |digest, entry| {
            elements.push(Element::new(digest.prefix(), &self.current.fingerprinter.entry_digest(&entry)));
        })?;
        Ok(Elements { elements, cut })
    }

    /// All entries whose keys have one of these prefixes, in key-digest order. Cost: a look-up for each prefix;
    /// the caller bounds their number.
    pub fn entries(
        &self,
        shard: ShardId,
        prefixes: &[KeyPrefix],
    ) -> Result<Vec<(KeyDigest, Entry)>, IndexError> {
        let mut prefixes = prefixes.to_vec();
        prefixes.sort_unstable();
        prefixes.dedup();
        let ranges = prefixes.into_iter().map(|prefix| prefix..=prefix);
        let mut entries = Vec::new();
        let all = usize::MAX;
        self.each_entry(shard, ranges, KeyPrefix(0), all, |digest, entry| entries.push((digest, entry)))?;
        Ok(entries)
    }

    /// The entries of a shard from a prefix on, up to about `limit` of them: to go through a shard in pages, or
    /// to draw a sample from a random prefix on. Keys that share a prefix are never torn apart.
    pub fn entries_from(&self, shard: ShardId, from: KeyPrefix, limit: usize) -> Result<Entries, IndexError> {
        let mut entries = Vec::new();
        let cut = self.each_entry(shard, [ALL_PREFIXES], from, limit, |digest, entry| {
            entries.push((digest, entry));
        })?;
        Ok(Entries { entries, cut })
    }

    /// Up to `limit` keys of a shard whose documents have expired by an instant, in key-digest order. Cost: a pass over
    /// the shard's rows, as far as the last of them.
    pub fn expired(&self, shard: ShardId, by: WallMicros, limit: usize) -> Result<Vec<Key>, IndexError> {
        let mut keys = Vec::new();
        for row in self.current.rows(shard, ALL_PREFIXES) {
            if keys.len() >= limit {
                break;
            }
            if let Sight::Live(entry) = row?.1.sight
                && entry.expiry.is_some_and(|expiry| expiry <= by)
            {
                keys.push(entry.key);
            }
        }
        Ok(keys)
    }

    /// The entry that the index holds of a key, and when the read began that saw it.
    pub fn entry(&self, key: &KeyDigest) -> Result<Option<(Stamp, Entry)>, IndexError> {
        let stored = self.current.store.value(&rows::row_key(key.shard(self.current.shards), key))?;
        Ok(match stored.map(|bytes| Row::from_bytes(&bytes)).transpose()? {
            Some(Row { stamp, sight: Sight::Live(entry) }) => Some((stamp, entry)),
            _ => None,
        })
    }

    /// Up to `limit` of the unreadable documents that count for a shard: its own, then those without a key.
    /// Their number is in [`ShardRoot::unreadable`]. Cost: a pass over the shard if it has any.
    pub fn unreadable(&self, shard: ShardId, limit: usize) -> Result<Vec<UnreadableRow>, IndexError> {
        let own = self.current.state.read().shard(shard).map_or(0, |shard| shard.tally.unreadable);
        let mut list = Vec::new();
        if own > 0 {
            for row in self.current.rows(shard, ALL_PREFIXES) {
                if list.len() >= limit || list.len() as u64 >= own {
                    break;
                }
                if let Sight::Unreadable { key, place, reason } = row?.1.sight {
                    list.push(UnreadableRow { key: Some(key), place, reason });
                }
            }
        }
        for pair in self.current.store.view().range(rows::all_loose_keys()) {
            if list.len() >= limit {
                break;
            }
            let Loose { place, reason, .. } = Loose::from_bytes(&pair?.1)?;
            list.push(UnreadableRow { key: None, place, reason });
        }
        Ok(list)
    }

    /// How much the index holds. From memory.
    pub fn counts(&self) -> Counts {
        let state = self.current.state.read();
        let none = Counts { unreadable_without_key: state.head.loose, ..Counts::default() };
        state.shards.iter().fold(none, |counts, shard| Counts {
            entries: counts.entries.wrapping_add(shard.tree.root().count),
            unreadable: counts.unreadable.wrapping_add(shard.tally.unreadable),
            gone: counts.gone.wrapping_add(shard.tally.gone),
            ..counts
        })
    }

    /// Visits the live entries of ranges of prefixes, which ascend, from a prefix on; stops at the first prefix
    /// after `limit` of them, and gives it. At least one prefix is visited, so that whoever goes on from a cut
    /// comes to an end.
    fn each_entry(
        &self,
        shard: ShardId,
        ranges: impl IntoIterator<Item = RangeInclusive<KeyPrefix>>,
        from: KeyPrefix,
        limit: usize,
        mut visit: impl FnMut(KeyDigest, Entry),
    ) -> Result<Option<KeyPrefix>, IndexError> {
        let (mut visited, mut last) = (0_usize, None);
        for range in ranges {
            let start = from.max(*range.start());
            if start > *range.end() {
                continue;
            }
            for row in self.current.rows(shard, start..=*range.end()) {
                let (digest, row) = row?;
                let Sight::Live(entry) = row.sight else { continue };
                if visited >= limit.max(1) && last != Some(digest.prefix()) {
                    return Ok(Some(digest.prefix()));
                }
                visited += 1;
                last = Some(digest.prefix());
                visit(digest, entry);
            }
        }
        Ok(None)
    }
}

fn root(state: &state::State, id: ShardId, shard: &state::Shard, incarnation: Incarnation) -> ShardRoot {
    ShardRoot {
        shard: id,
        node: shard.tree.root(),
        depth: shard.tree.depth(),
        as_of: state.head.as_of,
        unreadable: shard.tally.unreadable.saturating_add(state.head.loose),
        incarnation,
        revision: shard.revision,
    }
}

fn bucket_prefixes(depth: Depth, bucket: BucketId) -> RangeInclusive<KeyPrefix> {
    let end = match bucket.0 as usize + 1 {
        next if next == depth.buckets() => u64::MAX,
        next => depth.first_prefix(BucketId(next as u32)).0 - 1,
    };
    depth.first_prefix(bucket)..=KeyPrefix(end)
}
