//! Shorthand for this crate's tests.

use std::path::PathBuf;

use selfsame_core::{CollectionName, Epoch, Key, KeyDigest, NodeName, RunId, Slot, WallMicros};

use crate::{Journal, JournalOptions, Run};

/// A directory with one journal.
pub(crate) struct Place(tempfile::TempDir);

impl Place {
    pub(crate) fn new() -> Place {
        Place(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.0.path().join("journal.db")
    }

    pub(crate) fn open(&self) -> Journal {
        self.open_with(JournalOptions::default())
    }

    pub(crate) fn open_with(&self, options: JournalOptions) -> Journal {
        Journal::open(&self.path(), options).unwrap()
    }
}

pub(crate) fn products() -> CollectionName {
    "products".parse().unwrap()
}

pub(crate) fn node(name: &str) -> NodeName {
    name.parse().unwrap()
}

pub(crate) fn epoch(counter: u64, agent: &str) -> Epoch {
    Epoch { counter, agent: agent.parse().unwrap() }
}

pub(crate) fn run_id(number: u64) -> RunId {
    RunId::of("shop", &products(), Slot::Scheduled(number))
}

pub(crate) fn begin(journal: &Journal, number: u64) -> RunId {
    let run = Run {
        run: run_id(number),
        collection: products(),
        slot: Slot::Scheduled(number),
        owner: "a".parse().unwrap(),
        started: WallMicros(i64::try_from(number).unwrap()),
        dry_run: false,
    };
    journal.begin_run(&run).unwrap();
    run.run
}

/// A key and a digest for it.
pub(crate) fn key(number: i64) -> (Key, KeyDigest) {
    let mut digest = [0; 16];
    digest[..8].copy_from_slice(&number.to_be_bytes());
    (Key::integer(number), KeyDigest(digest))
}

/// Replaces what one statement selects, behind the journal's back.
pub(crate) fn tamper(journal: &Journal, sql: &str) {
    journal.write(|transaction| Ok(transaction.execute_batch(sql)?)).unwrap();
}
