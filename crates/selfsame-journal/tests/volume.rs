//! Many rows: they all arrive, and the rate is printed (`--nocapture`), not judged.

#![allow(clippy::unwrap_used, reason = "only tests use this")]

mod common;

use std::time::Instant;

use common::*;
use selfsame_core::{Cause, Key, RowDigest, ShardId, Slot, Version, WallMicros};
use selfsame_journal::{Action, ItemOutcome, ItemRow, Run};

const ITEMS: i64 = 100_000;
const BATCH: i64 = 500;

fn item(number: i64) -> ItemRow {
    ItemRow {
        run: run_id(),
        shard: ShardId(u32::try_from(number % 16).unwrap()),
        key: Key::text(format!("product-{number}")),
        node: node(),
        action: Action::Copy { from: "node-b".parse().unwrap() },
        cause: Cause::MissedUpdate,
        rule: "highest_version".to_owned(),
        outcome: ItemOutcome::Verified,
        version_before: Some(Version(number)),
        version_after: Some(Version(number + 1)),
        row_before: Some(RowDigest([1; 32])),
        row_after: Some(RowDigest([2; 32])),
        at: WallMicros(number),
        repair: None,
        age: None,
        bytes: 0,
    }
}

#[test]
fn a_hundred_thousand_items_arrive() {
    let directory = tempfile::tempdir().unwrap();
    let journal = open(&directory.path().join("journal.db"));
    let run = Run {
        run: run_id(),
        collection: products(),
        slot: Slot::Scheduled(1),
        owner: "a".parse().unwrap(),
        started: WallMicros(0),
        dry_run: false,
    };
    journal.begin_run(&run).unwrap();
    let started = Instant::now();
    for first in (0..ITEMS).step_by(usize::try_from(BATCH).unwrap()) {
        journal.record_items(&(first..first + BATCH).map(item).collect::<Vec<_>>()).unwrap();
    }
    let seconds = started.elapsed().as_secs_f64();
    println!(
        "{ITEMS} items in synced batches of {BATCH}: {seconds:.2} s, {:.0} items/s",
        ITEMS as f64 / seconds
    );
    let started = Instant::now();
    let mut seen = 0;
    let mut after = None;
    loop {
        let page = journal.items(run_id(), 1000, after).unwrap();
        seen += page.rows.len();
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    println!("read back in pages of 1000: {:.2} s", started.elapsed().as_secs_f64());
    assert_eq!(seen, usize::try_from(ITEMS).unwrap());
}
