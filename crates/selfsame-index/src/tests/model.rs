//! The oracle: maps, no trees, no store. It follows the rules of the index's documentation, one key at a time.

use std::collections::BTreeMap;

use selfsame_core::merkle::{BucketId, Depth, Element, Node, Tree};
use selfsame_core::{Entry, KeyDigest, KeyPrefix, ShardCount, ShardId, Stamp, WallMicros};

use super::{SHARDS, fingerprinter};
use crate::rows::{ALL_PREFIXES, Loose, Row, Sight, all_loose_keys};
use crate::{Fresh, Index, ScanPosition, ScanProgress, Seen};

/// All that an index holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Model {
    pub(crate) rows: BTreeMap<KeyDigest, Row>,
    pub(crate) loose: BTreeMap<String, Loose>,
    pub(crate) as_of: Option<WallMicros>,
    pub(crate) scan: Option<ScanProgress>,
}

impl Model {
    /// What an open index holds, by reading all of it.
    pub(crate) fn of(index: &Index) -> Model {
        let mut model = Model { scan: index.scan_state(), ..Model::default() };
        model.as_of = index.root(ShardId(0)).unwrap().as_of;
        for shard in index.current.shards.ids() {
            model.rows.extend(index.current.rows(shard, ALL_PREFIXES).map(|row| row.unwrap()));
        }
        for pair in index.current.store.view().range(all_loose_keys()) {
            let loose = Loose::from_bytes(&pair.unwrap().1).unwrap();
            model.loose.insert(loose.place.clone(), loose);
        }
        model
    }

    pub(crate) fn begin(&mut self, stamp: Stamp, started: WallMicros) {
        let position = ScanPosition::Start;
        self.scan = Some(ScanProgress { stamp, started, position, rows: 0, unreadable_without_key: 0 });
    }

    /// Gives the keys that are stale, and the silent changes.
    pub(crate) fn page(
        &mut self,
        page: &[Seen],
        cursor: Option<Vec<u8>>,
    ) -> (Vec<KeyDigest>, Vec<KeyDigest>) {
        let mut scan = self.scan.take().unwrap();
        let (mut stale, mut silent) = (Vec::new(), Vec::new());
        for seen in page {
            scan.rows += 1;
            let (key, sight) = match seen.clone() {
                Seen::Live(key, entry) => (key, Sight::Live(entry)),
                Seen::Marked(key, _) => (key, Sight::Gone),
                Seen::Unreadable { key: Some((digest, key)), place, reason } => {
                    (digest, Sight::Unreadable { key, place, reason })
                }
                Seen::Unreadable { key: None, place, reason } => {
                    scan.unreadable_without_key += 1;
                    self.loose.insert(place.clone(), Loose { stamp: scan.stamp, place, reason });
                    continue;
                }
            };
            match self.rows.get(&key) {
                Some(old) if old.stamp > scan.stamp => {
                    if old.sight != sight {
                        stale.push(key);
                    }
                    continue;
                }
                Some(Row { stamp, sight: Sight::Live(old) }) if *stamp < scan.stamp => {
                    if let Sight::Live(new) = &sight
                        && (old.version, old.expiry) == (new.version, new.expiry)
                        && old.content != new.content
                    {
                        silent.push(key);
                    }
                }
                _ => {}
            }
            self.rows.insert(key, Row { stamp: scan.stamp, sight });
        }
        scan.position = cursor.map_or(ScanPosition::End, ScanPosition::After);
        self.scan = Some(scan);
        (stale, silent)
    }

    pub(crate) fn vanished(&self) -> Vec<(KeyDigest, Entry)> {
        let scan = self.scan.as_ref().unwrap();
        let old = self.rows.iter().filter(|(_, row)| row.stamp < scan.stamp);
        let vanished = old.filter_map(|(key, row)| match &row.sight {
            Sight::Live(entry) => Some((*key, entry.clone())),
            _ => None,
        });
        vanished.collect()
    }

    /// The states through which a scan is finished, the last one last.
    pub(crate) fn finish(&mut self, remove: &[KeyDigest]) -> Vec<Model> {
        let scan = self.scan.clone().unwrap();
        for key in remove {
            if let Some(row) = self.rows.get_mut(key)
                && row.stamp < scan.stamp
            {
                *row = Row { stamp: scan.stamp, sight: Sight::Gone };
            }
        }
        let removed = self.clone();
        self.rows.retain(|_, row| row.stamp >= scan.stamp || matches!(row.sight, Sight::Live(_)));
        self.loose.retain(|_, loose| loose.stamp >= scan.stamp);
        let forgotten = self.clone();
        self.scan = None;
        self.as_of = Some(scan.started);
        vec![removed, forgotten, self.clone()]
    }

    /// Gives the keys that are stale.
    pub(crate) fn reads(&mut self, stamp: Stamp, reads: &[(KeyDigest, Fresh)]) -> Vec<KeyDigest> {
        let mut stale = Vec::new();
        for (key, fresh) in reads {
            let old = self.rows.get(key);
            let sight = match fresh.clone() {
                Fresh::Live(entry) => Sight::Live(entry),
                Fresh::Marked => Sight::Gone,
                Fresh::Unreadable { key, place, reason } => Sight::Unreadable { key, place, reason },
                Fresh::Absent if old.is_none() => continue,
                Fresh::Absent => Sight::Gone,
            };
            let held = old.filter(|_| *fresh == Fresh::Absent);
            match (old, held.map(|row| &row.sight)) {
                (Some(old), _) if old.stamp > stamp => {
                    if old.sight != sight {
                        stale.push(*key);
                    }
                }
                (_, Some(Sight::Live(_))) => {}
                _ => {
                    self.rows.insert(*key, Row { stamp, sight });
                }
            }
        }
        stale
    }

    pub(crate) fn remove(&mut self, stamp: Stamp, keys: &[KeyDigest]) {
        for key in keys {
            if self.rows.get(key).is_none_or(|row| row.stamp <= stamp) {
                self.rows.insert(*key, Row { stamp, sight: Sight::Gone });
            }
        }
    }

    pub(crate) fn entries(&self, shard: ShardId) -> Vec<(KeyDigest, Entry)> {
        let shards = ShardCount::new(SHARDS).unwrap();
        let of_shard = self.rows.iter().filter(|(key, _)| key.shard(shards) == shard);
        let live = of_shard.filter_map(|(key, row)| match &row.sight {
            Sight::Live(entry) => Some((*key, entry.clone())),
            _ => None,
        });
        live.collect()
    }

    fn unreadable(&self, shard: ShardId) -> u64 {
        let shards = ShardCount::new(SHARDS).unwrap();
        let bad = |(key, row): &(&KeyDigest, &Row)| {
            key.shard(shards) == shard && matches!(row.sight, Sight::Unreadable { .. })
        };
        (self.rows.iter().filter(bad).count() + self.loose.len()) as u64
    }

    fn tree(&self, shard: ShardId, depth: Depth) -> Tree {
        let entries = self.entries(shard).into_iter();
        Tree::build(depth, entries.map(|(key, entry)| (key.prefix(), fingerprinter().entry_digest(&entry))))
    }

    /// Asks an index everything, and compares the answers with this.
    pub(crate) fn assert_answers(&self, index: &Index) {
        assert_eq!(&Model::of(index), self);
        for shard in super::shards() {
            let root = index.root(shard).unwrap();
            assert_eq!(root.as_of, self.as_of);
            assert_eq!(root.unreadable, self.unreadable(shard));
            assert_eq!(index.unreadable(shard, usize::MAX).unwrap().len() as u64, root.unreadable);
            let tree = self.tree(shard, root.depth);
            assert_eq!(root.node, tree.root());
            for level in 0..=root.depth.levels() {
                assert_eq!(index.children(shard, level, &[0]), tree.children(level, 0).map(<[Node]>::to_vec));
            }
            let entries = self.entries(shard);
            let prefixes: Vec<_> = entries.iter().map(|(key, _)| key.prefix()).collect();
            assert_eq!(index.entries(shard, &prefixes).unwrap(), entries);
            assert_elements(index, shard, &entries);
        }
        let live = super::shards().map(|shard| self.entries(shard).len() as u64).sum::<u64>();
        assert_eq!(index.counts().entries, live);
    }
}

/// Reads the elements of every bucket in small pieces.
fn assert_elements(index: &Index, shard: ShardId, entries: &[(KeyDigest, Entry)]) {
    let depth = Depth::new(1).unwrap();
    let expected: Vec<_> = entries
        .iter()
        .map(|(key, entry)| Element::new(key.prefix(), &fingerprinter().entry_digest(entry)))
        .collect();
    let buckets: Vec<_> = (0..16).rev().map(BucketId).collect();
    let (mut read, mut from) = (Vec::new(), None);
    loop {
        let some = index.elements(shard, depth, &buckets, from, 2).unwrap();
        assert!(some.elements.len() <= 2);
        read.extend(some.elements);
        match some.cut {
            Some(cut) => from = Some(cut),
            None => break,
        }
    }
    assert_eq!(read, expected);
    let one: Vec<_> = index.elements(shard, depth, &[BucketId(3)], None, 99).unwrap().elements;
    let of_bucket = |element: &&Element| depth.bucket(element.prefix) == BucketId(3);
    assert_eq!(one, expected.iter().filter(of_bucket).copied().collect::<Vec<_>>());
    let all = index.entries_from(shard, KeyPrefix(0), usize::MAX).unwrap();
    assert_eq!((all.entries.as_slice(), all.cut), (entries, None));
}
