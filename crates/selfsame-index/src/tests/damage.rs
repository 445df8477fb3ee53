//! Damaged files: an index either notices, or holds an earlier state that was whole.

use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::histories::{Op, Pair, op};
use super::model::Model;
use super::{SHARDS, copy, live, settings, written};
use crate::{Condition, Index, IndexError};
use selfsame_core::{ShardId, WallMicros};

#[derive(Clone, Debug)]
enum Damage {
    Flip { at: prop::sample::Index, bit: u8 },
    Truncate { at: prop::sample::Index },
    Delete,
}

/// Which file, and whether it is one of those that hold rows.
type Place = (prop::sample::Index, bool);

fn damage() -> impl Strategy<Value = (Place, Damage)> {
    let damage = prop_oneof![
        6 => (any::<prop::sample::Index>(), 0_u8..8).prop_map(|(at, bit)| Damage::Flip { at, bit }),
        2 => any::<prop::sample::Index>().prop_map(|at| Damage::Truncate { at }),
        1 => Just(Damage::Delete),
    ];
    ((any::<prop::sample::Index>(), any::<bool>()), damage)
}

fn files(directory: &Path, found: &mut Vec<PathBuf>) {
    for file in std::fs::read_dir(directory).unwrap() {
        let path = file.unwrap().path();
        if path.is_dir() { files(&path, found) } else { found.push(path) }
    }
}

fn inflict(directory: &Path, (file, of_rows): &Place, damage: &Damage) {
    let mut found = Vec::new();
    files(directory, &mut found);
    let holds_rows = |path: &PathBuf| {
        path.extension().is_some_and(|extension| extension == "jnl")
            || path.parent().is_some_and(|parent| parent.ends_with("1/tables"))
    };
    if *of_rows && found.iter().any(holds_rows) {
        found.retain(holds_rows);
    }
    found.sort();
    let path = file.get(&found);
    let mut bytes = std::fs::read(path).unwrap();
    let length = written(&bytes);
    match damage {
        Damage::Delete => std::fs::remove_file(path).unwrap(),
        _ if length == 0 => {}
        Damage::Truncate { at } => {
            std::fs::File::options()
                .write(true)
                .open(path)
                .unwrap()
                .set_len(at.index(length) as u64)
                .unwrap();
        }
        Damage::Flip { at, bit } => {
            bytes[at.index(length)] ^= 1 << bit;
            std::fs::write(path, bytes).unwrap();
        }
    }
}

/// Uses an index that may be damaged: it may say so, and nothing else.
fn exercise(index: &Index) -> Result<(), IndexError> {
    for shard in (0..SHARDS).map(ShardId) {
        index.entries_from(shard, selfsame_core::KeyPrefix(0), 1000)?;
        index.unreadable(shard, 10)?;
    }
    index.begin_scan(index.next_stamp()?, WallMicros(99))?;
    index.store_page(&(0..24).map(|key| live(key, 9, 9)).collect::<Vec<_>>(), None)?;
    index.finish_scan(&[])?;
    let after = Model::of(index);
    assert_eq!(after.as_of, Some(WallMicros(99)));
    let held = (0..SHARDS).map(|shard| after.entries(ShardId(shard)).len()).sum::<usize>();
    assert!(held >= 24);
    Ok(())
}

proptest! {
    #![proptest_config(super::cases(64))]

    #[test]
    fn a_damaged_index_is_rebuilt_or_holds_an_earlier_state(
        ops in prop::collection::vec(op(), 5..25),
        flush in prop::option::of(any::<prop::sample::Index>()),
        clean in any::<bool>(),
        damages in prop::collection::vec(damage(), 1..3),
    ) {
        let mut pair = Pair::new();
        let flush = flush.map(|flush| flush.index(ops.len()));
        for (number, op) in ops.iter().enumerate() {
            pair.apply(op);
            if flush == Some(number) {
                pair.apply(&Op::Flush);
            }
        }
        if clean {
            pair.apply(&Op::Reopen);
        }
        let last = pair.index().next_stamp().unwrap();
        let damaged = tempfile::tempdir().unwrap();
        copy(pair.directory.path(), damaged.path());
        for (place, damage) in &damages {
            inflict(damaged.path(), place, damage);
        }
        // The ledger keeps the stamps of its tombstones outside of the index.
        let settings = crate::IndexSettings { stamp_floor: last, ..settings() };
        let (index, condition) = Index::open(damaged.path(), settings).unwrap();
        prop_assert!(index.next_stamp().unwrap() > last);
        match condition {
            Condition::Rebuilt { .. } => prop_assert_eq!(Model::of(&index), Model::default()),
            Condition::Resumed => prop_assert!(pair.states.contains(&Model::of(&index))),
            // Both are what there is when all of an index is deleted.
            Condition::New => prop_assert_eq!(Model::of(&index), Model::default()),
            Condition::Regrouped { .. } => prop_assert!(false, "the number of shards is the same"),
        }
        match exercise(&index) {
            Ok(()) | Err(IndexError::Damaged(_)) => {}
            Err(error) => prop_assert!(false, "{error}"),
        }
    }
}
