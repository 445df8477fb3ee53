//! Shorthand for this crate's tests.

use std::path::PathBuf;

use selfsame_core::{
    Cause, Certainty, CollectionName, Epoch, Key, KeyDigest, NodeName, RunId, ShardId, Slot, Tombstone,
    TombstoneCause, TombstoneOwner, Version, WallMicros,
};

use crate::{Action, ItemOutcome, ItemRow, Journal, JournalOptions, Memory, PlanItem, Run};

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

/// A replica's own memory of a client's deletion.
pub(crate) fn tombstone(version: i64, certainty: Certainty, at: i64) -> Tombstone {
    Tombstone {
        version: Version(version),
        cause: TombstoneCause::Deleted,
        at: WallMicros(at),
        certainty,
        owner: TombstoneOwner::Own,
        came_back: false,
    }
}

/// What a ledger knows of a key.
pub(crate) fn memory(number: i64, tombstone: Tombstone) -> Memory {
    let (key, key_digest) = key(number);
    Memory { key_digest, key, tombstone }
}

/// An item for which nothing was to be done.
pub(crate) fn item(run: RunId, number: i64, outcome: ItemOutcome) -> ItemRow {
    ItemRow {
        run,
        shard: ShardId(0),
        key: key(number).0,
        node: node("node-a"),
        action: Action::Nothing,
        cause: Cause::Unknown,
        rule: "x".to_owned(),
        outcome,
        version_before: None,
        version_after: None,
        row_before: None,
        row_after: None,
        at: WallMicros(1),
        repair: None,
        age: None,
        bytes: 0,
    }
}

/// A delete that waits for approval.
pub(crate) fn plan_item(number: i64) -> PlanItem {
    PlanItem {
        key: key(number).0,
        node: node("node-a"),
        action: Action::Delete,
        before: None,
        after: None,
        cause: Cause::Unknown,
        rule: "x".to_owned(),
        bytes: 0,
    }
}

/// Replaces what one statement selects, behind the journal's back.
pub(crate) fn tamper(journal: &Journal, sql: &str) {
    journal.write(|transaction| Ok(transaction.execute_batch(sql)?)).unwrap();
}
