//! Shorthand for the tests of the file.

#![allow(dead_code, reason = "each test binary uses a part")]
#![allow(clippy::unwrap_used, reason = "only tests use this")]

use std::path::{Path, PathBuf};

use selfsame_core::{
    Cause, Cell, CollectionName, ContentDigest, Entry, Epoch, Key, KeyDigest, NodeName, RepairId, Row, RunId,
    Slot, Version, WallMicros,
};
use selfsame_journal::{BeforeImage, Intent, IntentWrite, Journal, JournalOptions};

pub(crate) fn open(path: &Path) -> Journal {
    Journal::open(path, JournalOptions::default()).unwrap()
}

pub(crate) fn products() -> CollectionName {
    "products".parse().unwrap()
}

pub(crate) fn node() -> NodeName {
    "node-a".parse().unwrap()
}

pub(crate) fn epoch(counter: u64) -> Epoch {
    Epoch { counter, agent: "a".parse().unwrap() }
}

pub(crate) fn run_id() -> RunId {
    RunId::of("shop", &products(), Slot::Scheduled(1))
}

pub(crate) fn intent(number: u8) -> Intent {
    let key = Key::integer(i64::from(number));
    let row = Row::new(vec![("body".to_owned(), Cell::Text("x".repeat(200)))]);
    Intent {
        repair: RepairId::from_bytes([number; 16]),
        run: run_id(),
        epoch: epoch(1),
        collection: products(),
        node: node(),
        key: key.clone(),
        key_digest: KeyDigest([number; 16]),
        expected: None,
        write: IntentWrite::Put {
            entry: Entry { key, version: Version(1), expiry: None, content: ContentDigest([1; 32]) },
            row: Some(row.clone()),
        },
        before: BeforeImage::Kept(row),
        cause: Cause::MissedUpdate,
        approved: false,
        at: WallMicros(i64::from(number)),
    }
}

/// What a machine that stops now leaves behind: the file and its log, as they lie on disk.
pub(crate) fn crash_copy(journal: &Path, into: &Path) -> PathBuf {
    let copy = into.join("crashed.db");
    for suffix in ["", "-wal"] {
        let from = PathBuf::from(format!("{}{suffix}", journal.display()));
        let to = PathBuf::from(format!("{}{suffix}", copy.display()));
        match std::fs::copy(&from, &to) {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let _ = std::fs::remove_file(to);
            }
            Err(error) => panic!("{}: {error}", from.display()),
        }
    }
    copy
}
