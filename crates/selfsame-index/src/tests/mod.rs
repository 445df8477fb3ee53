//! The index against a naive oracle, over reopening, crashes and damage.

mod damage;
mod histories;
mod model;
mod stories;

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use proptest::prelude::ProptestConfig;
use selfsame_core::merkle::Node;
use selfsame_core::{
    ContentDigest, Entry, Fingerprinter, Key, KeyDigest, ShardCount, ShardId, Stamp, Version, WallMicros,
};
use tempfile::TempDir;

use crate::{Condition, Index, IndexSettings, Seen};

pub(crate) const SHARDS: u32 = 3;

pub(crate) fn fingerprinter() -> Fingerprinter {
    Fingerprinter::new("fleet", "products", b"secret")
}

pub(crate) fn settings() -> IndexSettings {
    IndexSettings {
        fingerprinter: fingerprinter(),
        shards: ShardCount::new(SHARDS).unwrap(),
        basis: [7; 16],
        stamp_floor: Stamp(0),
        randomness: 1,
    }
}

pub(crate) fn entry(key: i64, version: i64, content: u8) -> Entry {
    Entry {
        key: Key::integer(key),
        version: Version(version),
        expiry: (key % 3 == 0).then_some(WallMicros(version)),
        content: ContentDigest([content; 32]),
    }
}

pub(crate) fn digest(key: i64) -> KeyDigest {
    fingerprinter().key_digest(&Key::integer(key))
}

pub(crate) fn live(key: i64, version: i64, content: u8) -> Seen {
    Seen::Live(digest(key), entry(key, version, content))
}

pub(crate) fn open(directory: &Path) -> (Index, Condition) {
    Index::open(directory, settings()).unwrap()
}

pub(crate) fn resumed(directory: &Path) -> Index {
    let (index, condition) = open(directory);
    assert_eq!(condition, Condition::Resumed);
    index
}

pub(crate) fn fresh() -> (TempDir, Index) {
    let directory = tempfile::tempdir().unwrap();
    let (index, condition) = open(directory.path());
    assert_eq!(condition, Condition::New);
    (directory, index)
}

/// So many cases, or as many as PROPTEST_CASES says: each syncs files often.
pub(crate) fn cases(count: u32) -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    ProptestConfig { cases: asked.unwrap_or(count), ..ProptestConfig::default() }
}

/// A whole scan of documents, in one page.
pub(crate) fn scan(index: &Index, page: &[Seen], started: i64) {
    index.begin_scan(index.next_stamp().unwrap(), WallMicros(started)).unwrap();
    index.store_page(page, None).unwrap();
}

pub(crate) fn nodes(index: &Index) -> Vec<Node> {
    index.roots().into_iter().map(|root| root.node).collect()
}

pub(crate) fn shards() -> impl Iterator<Item = ShardId> {
    ShardCount::new(SHARDS).unwrap().ids()
}

/// Copies an index's files as a crash of the process would leave them, at one moment. Journals are files with a long tail
/// that was never written; the tail stays a hole. The store tidies up on threads of its own: what
/// changed while it was copied is of no moment, and is copied again.
pub(crate) fn copy(from: &Path, to: &Path) {
    for _ in 0..COPIES_MAX {
        let before = files(from);
        let whole = before.iter().all(|(file, _, _)| copy_file(from, to, file));
        if whole && files(from) == before {
            return;
        }
        std::fs::remove_dir_all(to).unwrap();
    }
    panic!("{} does not stand still", from.display());
}

/// The store's threads are done after some milliseconds.
const COPIES_MAX: usize = 1_000;

/// The files below a directory: path within it, length, and when they were changed; directories have no length.
fn files(root: &Path) -> Vec<(PathBuf, Option<u64>, Option<SystemTime>)> {
    let mut found = Vec::new();
    let mut left = vec![PathBuf::new()];
    while let Some(directory) = left.pop() {
        found.push((directory.clone(), None, None));
        // What is gone by now shows in the next listing.
        let Ok(entries) = std::fs::read_dir(root.join(&directory)) else { continue };
        for entry in entries.flatten() {
            let path = directory.join(entry.file_name());
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => left.push(path),
                Ok(metadata) => found.push((path, Some(metadata.len()), metadata.modified().ok())),
                Err(_) => found.push((path, None, None)),
            }
        }
    }
    found.sort();
    found
}

/// Copies a file, or makes a directory; whether it was there.
fn copy_file(from: &Path, to: &Path, file: &Path) -> bool {
    let (source, target) = (from.join(file), to.join(file));
    if source.is_dir() {
        std::fs::create_dir_all(&target).unwrap();
        return true;
    }
    let Ok(bytes) = std::fs::read(source) else { return false };
    let copied = std::fs::File::create(target).unwrap();
    std::io::Write::write_all(&mut &copied, &bytes[..written(&bytes)]).unwrap();
    copied.set_len(bytes.len() as u64).unwrap();
    true
}

/// The length of what is not the unwritten tail.
pub(crate) fn written(bytes: &[u8]) -> usize {
    let chunks = bytes.rchunks(4096).take_while(|chunk| chunk.iter().all(|byte| *byte == 0)).count();
    let rest = &bytes[..bytes.len().saturating_sub(chunks * 4096)];
    rest.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)
}
