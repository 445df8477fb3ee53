//! Crashes at named points of a scan, by the feature `failpoints`: `cargo test -p selfsame-index --features
//! failpoints`. One test, for failpoints belong to the whole process.
#![cfg(feature = "failpoints")]
#![allow(clippy::unwrap_used, reason = "all of this file is tests")]

use selfsame_core::{
    ContentDigest, Entry, Fingerprinter, Key, ShardCount, ShardId, Stamp, Version, WallMicros,
};
use selfsame_index::{Condition, Index, IndexError, IndexSettings, ScanPosition, Seen};

fn open(directory: &std::path::Path) -> Index {
    let settings = IndexSettings {
        fingerprinter: Fingerprinter::new("fleet", "products", b""),
        shards: ShardCount::new(1).unwrap(),
        basis: [0; 16],
        stamp_floor: Stamp(0),
        randomness: 0,
    };
    let (index, condition) = Index::open(directory, settings).unwrap();
    assert!(matches!(condition, Condition::New | Condition::Resumed));
    index
}

fn document(key: i64) -> Seen {
    let key = Key::integer(key);
    let digest = Fingerprinter::new("fleet", "products", b"").key_digest(&key);
    Seen::Live(digest, Entry { key, version: Version(1), expiry: None, content: ContentDigest([1; 32]) })
}

/// Runs a call that stops at a point, and opens the index again.
fn stopped<T>(
    point: &str,
    index: Index,
    directory: &std::path::Path,
    call: impl Fn(&Index) -> Result<T, IndexError>,
) -> Index {
    fail::cfg(point, "return").unwrap();
    assert!(matches!(call(&index), Err(IndexError::Io { .. })), "{point}");
    fail::remove(point);
    drop(index);
    open(directory)
}

#[test]
fn a_scan_survives_a_crash_at_every_point_and_as_of_comes_last() {
    let scenario = fail::FailScenario::setup();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let index = open(path);
    index.begin_scan(index.next_stamp().unwrap(), WallMicros(5)).unwrap();

    let index =
        stopped("index::page_stored", index, path, |index| index.store_page(&[document(1)], Some(vec![1])));
    assert_eq!(index.scan_state().unwrap().position, ScanPosition::After(vec![1]));
    assert_eq!(index.counts().entries, 1);
    index.store_page(&[document(2)], None).unwrap();

    let index = stopped("index::before_finish", index, path, |index| index.finish_scan(&[]));
    assert_eq!(index.scan_state().unwrap().position, ScanPosition::End);
    assert_eq!(index.root(ShardId(0)).unwrap().as_of, None);

    let index = stopped("index::finished", index, path, |index| index.finish_scan(&[]));
    assert_eq!(index.scan_state(), None);
    assert_eq!(index.root(ShardId(0)).unwrap().as_of, Some(WallMicros(5)));
    assert_eq!(index.counts().entries, 2);
    scenario.teardown();
}
