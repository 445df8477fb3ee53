//! Random histories: operations as they come, applied to an index and to the oracle.

use proptest::prelude::*;
use selfsame_core::{Key, KeyDigest, Stamp, WallMicros};

use super::model::Model;
use super::{copy, digest, entry, fresh, open, resumed};
use crate::{Condition, Fresh, Index, ScanPosition, Seen, Vanished};

/// One operation. Whether it can be done depends on what went before; what cannot is passed over.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    Begin,
    Page { seen: Vec<(i64, Kind)>, last: bool },
    Finish { remove: bool },
    Reads { seen: Vec<(i64, Kind)>, older: u64 },
    Remove { keys: Vec<i64>, older: u64 },
    Flush,
    Reopen,
    Crash,
    Rebuild,
}

#[derive(Clone, Debug)]
pub(crate) enum Kind {
    Live { version: i64, content: u8 },
    Unreadable,
    WithoutKey,
    Marked,
    Absent,
}

/// Few keys, so that operations meet.
const KEYS: i64 = 24;

fn seen() -> impl Strategy<Value = Vec<(i64, Kind)>> {
    let kind = prop_oneof![
        12 => (0_i64..3, 0_u8..2).prop_map(|(version, content)| Kind::Live { version, content }),
        1 => Just(Kind::Unreadable),
        1 => Just(Kind::Marked),
        2 => Just(Kind::Absent),
    ];
    let kind = prop_oneof![30 => kind, 1 => Just(Kind::WithoutKey)];
    prop::collection::vec((0..KEYS, kind), 0..12)
}

pub(crate) fn op() -> impl Strategy<Value = Op> {
    let older = prop_oneof![2 => Just(0_u64), 1 => 0_u64..6];
    prop_oneof![
        3 => Just(Op::Begin),
        8 => (seen(), prop::bool::weighted(0.4)).prop_map(|(seen, last)| Op::Page { seen, last }),
        4 => any::<bool>().prop_map(|remove| Op::Finish { remove }),
        4 => (seen(), older.clone()).prop_map(|(seen, older)| Op::Reads { seen, older }),
        2 => (prop::collection::vec(0..KEYS, 0..4), older).prop_map(|(keys, older)| Op::Remove { keys, older }),
        1 => Just(Op::Flush),
        1 => Just(Op::Reopen),
        1 => Just(Op::Crash),
        1 => Just(Op::Rebuild),
    ]
}

fn page(seen: &[(i64, Kind)]) -> Vec<Seen> {
    let seen = seen.iter().filter_map(|(key, kind)| {
        let reason = "bad version".to_owned();
        Some(match kind {
            Kind::Live { version, content } => super::live(*key, *version, *content),
            Kind::Marked => Seen::Marked(digest(*key), Key::integer(*key)),
            Kind::Unreadable => {
                let place = format!("rowid {key}");
                Seen::Unreadable { key: Some((digest(*key), Key::integer(*key))), place, reason }
            }
            Kind::WithoutKey => Seen::Unreadable { key: None, place: format!("rowid {key}"), reason },
            Kind::Absent => return None,
        })
    });
    seen.collect()
}

fn reads(seen: &[(i64, Kind)]) -> Vec<(KeyDigest, Fresh)> {
    let fresh = |(key, kind): &(i64, Kind)| {
        let fresh = match kind {
            Kind::Live { version, content } => Fresh::Live(entry(*key, *version, *content)),
            Kind::Marked => Fresh::Marked,
            Kind::Unreadable => Fresh::Unreadable {
                key: Key::integer(*key),
                place: "here".to_owned(),
                reason: "bad".to_owned(),
            },
            Kind::WithoutKey | Kind::Absent => Fresh::Absent,
        };
        (digest(*key), fresh)
    };
    seen.iter().map(fresh).collect()
}

/// An index and the oracle, side by side.
pub(crate) struct Pair {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) index: Option<Index>,
    pub(crate) model: Model,
    /// All states after a batch since the last finished scan, that one's included.
    pub(crate) states: Vec<Model>,
    stamps: Vec<Stamp>,
    wall: i64,
}

impl Pair {
    pub(crate) fn new() -> Pair {
        let (directory, index) = fresh();
        let model = Model::default();
        Pair {
            directory,
            index: Some(index),
            states: vec![model.clone()],
            model,
            stamps: Vec::new(),
            wall: 0,
        }
    }

    pub(crate) fn index(&self) -> &Index {
        self.index.as_ref().unwrap()
    }

    fn stamp(&mut self) -> Stamp {
        let stamp = self.index().next_stamp().unwrap();
        assert!(self.stamps.last().is_none_or(|last| *last < stamp), "a stamp was given out again");
        self.stamps.push(stamp);
        stamp
    }

    /// A new stamp, or one that was taken some stamps ago, as by a read that took long.
    fn older(&mut self, ago: u64) -> Stamp {
        self.stamp();
        let index = self.stamps.len().saturating_sub(1 + ago as usize);
        self.stamps[index]
    }

    pub(crate) fn apply(&mut self, op: &Op) {
        let position = self.model.scan.as_ref().map(|scan| scan.position.clone());
        match (op, position) {
            (Op::Begin, _) => {
                let stamp = self.stamp();
                self.wall += 1;
                self.index().begin_scan(stamp, WallMicros(self.wall)).unwrap();
                self.model.begin(stamp, WallMicros(self.wall));
            }
            (Op::Page { seen, last }, Some(ScanPosition::Start | ScanPosition::After(_))) => {
                let rows = self.model.scan.as_ref().unwrap().rows;
                let cursor = (!last).then(|| rows.to_be_bytes().to_vec());
                let report = self.index().store_page(&page(seen), cursor.clone()).unwrap();
                let (stale, silent) = self.model.page(&page(seen), cursor);
                assert_eq!(report.stale, stale);
                let reported: Vec<_> = report.silent_changes.iter().map(|change| change.key_digest).collect();
                assert_eq!(reported, silent);
            }
            (Op::Finish { remove }, Some(ScanPosition::End)) => self.finish(*remove),
            (Op::Reads { seen, older }, _) => {
                let stamp = self.older(*older);
                let report = self.index().apply_reads(stamp, &reads(seen)).unwrap();
                assert_eq!(report.stale, self.model.reads(stamp, &reads(seen)));
            }
            (Op::Remove { keys, older }, _) => {
                let stamp = self.older(*older);
                let keys: Vec<_> = keys.iter().copied().map(digest).collect();
                self.index().remove(stamp, &keys).unwrap();
                self.model.remove(stamp, &keys);
            }
            (Op::Flush, _) => self.index().current.store.flush(),
            (Op::Reopen, _) => {
                self.index = None;
                self.index = Some(resumed(self.directory.path()));
            }
            (Op::Crash, _) => self.crash(),
            (Op::Rebuild, _) => {
                let before = self.index().incarnation();
                assert_eq!(self.index().rebuild_trees().unwrap().wrong, []);
                assert_ne!(self.index().incarnation(), before);
            }
            (Op::Page { .. } | Op::Finish { .. }, _) => {}
        }
        if self.states.last() != Some(&self.model) {
            self.states.push(self.model.clone());
        }
    }

    fn finish(&mut self, remove: bool) {
        let expected = self.model.vanished();
        let keyless = self.model.scan.as_ref().unwrap().unreadable_without_key;
        let (mut vanished, mut unsure) = (Vec::new(), 0);
        for shard in super::shards() {
            match self.index().vanished(shard).unwrap() {
                Vanished::Entries(entries) => vanished.extend(entries),
                Vanished::Unsure { entries, unreadable_without_key } => {
                    assert_eq!(unreadable_without_key, keyless);
                    unsure += entries;
                }
            }
        }
        if keyless > 0 {
            assert_eq!((unsure, vanished.len()), (expected.len() as u64, 0));
        } else {
            vanished.sort_by_key(|(key, _)| *key);
            assert_eq!(vanished, expected);
        }
        let keys: Vec<_> = vanished.iter().filter(|_| remove).map(|(key, _)| *key).collect();
        let report = self.index().finish_scan(&keys).unwrap();
        assert_eq!(report.removed, keys.len() as u64);
        self.states = self.model.finish(&keys);
    }

    /// The process ends without a word; what it wrote is there.
    fn crash(&mut self) {
        let crashed = tempfile::tempdir().unwrap();
        copy(self.directory.path(), crashed.path());
        self.index = None;
        self.directory = crashed;
        let (index, condition) = open(self.directory.path());
        assert_eq!(condition, Condition::Resumed);
        self.index = Some(index);
    }
}

proptest! {
    #![proptest_config(super::cases(32))]

    #[test]
    fn an_index_answers_as_the_oracle_over_reopening_and_crashes(ops in prop::collection::vec(op(), 1..40)) {
        let mut pair = Pair::new();
        for op in &ops {
            pair.apply(op);
            pair.model.assert_answers(pair.index());
        }
    }
}
