//! The file: what is acknowledged survives, what is damaged is refused and left alone.

#![allow(clippy::unwrap_used, reason = "only tests use this")]

mod common;

use std::fs;
use std::path::Path;

use common::*;
use selfsame_core::{
    Certainty, Key, KeyDigest, RepairId, ShardId, Tombstone, TombstoneCause, TombstoneOwner, Version,
    WallMicros,
};
use selfsame_journal::{
    EpochRecorded, IntentOutcome, Journal, JournalError, JournalOptions, LedgerStep, Memory, Pause,
    PauseScope, Standing,
};

fn refused(path: &Path) -> JournalError {
    let before = fs::read(path).ok();
    let error = Journal::open(path, JournalOptions::default()).unwrap_err();
    assert_eq!(fs::read(path).ok(), before, "a refused file is left as it is");
    let text = error.to_string();
    assert!(text.contains(path.to_str().unwrap()) && text.contains("hint:"), "{text}");
    error
}

/// A journal with enough in it to span many pages, closed.
fn filled(path: &Path) {
    let journal = open(path);
    for number in 0..200 {
        journal.write_intents(&[intent(number)]).unwrap();
    }
}

#[test]
fn whatever_returned_ok_is_in_a_copy_taken_right_after() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal.db");
    let copies = tempfile::tempdir().unwrap();
    let journal = open(&path);
    let crashed = || open(&crash_copy(&path, copies.path()));

    assert_eq!(crashed().standing().unwrap(), Standing::Fresh);
    journal.settle().unwrap();
    assert_eq!(crashed().standing().unwrap(), Standing::Settled);

    let shard = ShardId(1);
    assert_eq!(journal.record_epochs(&products(), &[(shard, epoch(7))]).unwrap(), [EpochRecorded::Granted]);
    let late = crashed().record_epochs(&products(), &[(shard, epoch(6))]).unwrap();
    assert_eq!(late, [EpochRecorded::Superseded(epoch(7))]);
    let next = |journal: &Journal| {
        let epochs = journal.next_epochs(&products(), &[(shard, None)], &"a".parse().unwrap());
        epochs.unwrap().remove(0).1
    };
    let mine = next(&journal);
    assert!(next(&crashed()) > mine);

    for number in 0..30 {
        journal.write_intents(&[intent(number)]).unwrap();
        let left = crashed().open_intents(&products(), &node(), 9).unwrap().rows;
        assert_eq!(left.len(), 1);
        assert_eq!(left[0].intent, intent(number));
        let repair = RepairId::from_bytes([number; 16]);
        journal.write_outcomes(&[(repair, IntentOutcome::AlreadyThere)]).unwrap();
        assert_eq!(crashed().outcome(repair).unwrap(), Some(IntentOutcome::AlreadyThere));
    }

    let memory = Memory {
        key_digest: KeyDigest([1; 16]),
        key: Key::integer(1),
        tombstone: Tombstone {
            version: Version(3),
            cause: TombstoneCause::Deleted,
            at: WallMicros(1),
            certainty: Certainty::Observed,
            owner: TombstoneOwner::Own,
            came_back: false,
        },
    };
    journal.note(&products(), &node(), &[LedgerStep::Gone(memory.clone())], None).unwrap();
    assert_eq!(crashed().memories_after(&products(), &node(), None, 9).unwrap(), [memory]);
    journal.pause(&Pause { scope: PauseScope::All, until: None }).unwrap();
    assert!(crashed().paused(&products(), WallMicros(0)).unwrap().is_some());
}

#[test]
fn a_log_that_ends_in_the_middle_of_a_transaction_loses_only_that_one() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal.db");
    let copies = tempfile::tempdir().unwrap();
    let journal = open(&path);
    journal.write_intents(&[intent(1)]).unwrap();
    let whole = fs::metadata(format!("{}-wal", path.display())).unwrap().len();
    journal.write_intents(&[intent(2)]).unwrap();
    let copy = crash_copy(&path, copies.path());
    let log = fs::File::options().write(true).open(format!("{}-wal", copy.display())).unwrap();
    assert!(log.metadata().unwrap().len() > whole + 100);
    log.set_len(whole + 100).unwrap();
    drop(log);
    let rows = open(&copy).open_intents(&products(), &node(), 9).unwrap().rows;
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].intent, intent(1));
}

#[test]
fn garbage_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal.db");
    for content in [&b""[..], b"x", &[0; 5000], &[0xff; 5000]] {
        fs::write(&path, content).unwrap();
        let error = refused(&path);
        // Zeros are what SQLite takes for a database that is still empty.
        let expected = matches!(error, JournalError::Damaged { .. } | JournalError::Foreign { .. });
        assert!(expected, "{error}");
    }
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(matches!(refused(&path), JournalError::Damaged { .. }));
}

#[test]
fn a_truncated_file_is_refused_wherever_it_is_cut() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal.db");
    filled(&path);
    let whole = fs::read(&path).unwrap();
    assert!(whole.len() > 100_000);
    for length in
        [0, 10, 99, 100, 4095, 4096, 5000, 40_960, whole.len() / 2, whole.len() - 4096, whole.len() - 1]
    {
        fs::write(&path, &whole[..length]).unwrap();
        let error = refused(&path);
        assert!(matches!(error, JournalError::Damaged { .. }), "{length}: {error}");
    }
    fs::write(&path, &whole).unwrap();
    assert_eq!(open(&path).open_intents(&products(), &node(), 300).unwrap().rows.len(), 200);
}

#[test]
fn an_overwritten_page_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal.db");
    filled(&path);
    let whole = fs::read(&path).unwrap();
    let mut refusals = 0;
    let pages = whole.len() / 4096;
    for page in 1..pages {
        let mut damaged = whole.clone();
        damaged[page * 4096..(page + 1) * 4096].fill(0xab);
        fs::write(&path, &damaged).unwrap();
        if Journal::open(&path, JournalOptions::default()).is_err() {
            assert!(matches!(refused(&path), JournalError::Damaged { .. }));
            refusals += 1;
        } else {
            // Only the free part of a page, or a free page, may be overwritten unseen.
            assert_eq!(open(&path).open_intents(&products(), &node(), 300).unwrap().rows.len(), 200);
        }
    }
    assert!(refusals > pages / 2, "{refusals} of {pages}");
}

#[test]
fn a_log_without_its_file_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal.db");
    let journal = open(&path);
    journal.write_intents(&[intent(1)]).unwrap();
    let copies = tempfile::tempdir().unwrap();
    let copy = crash_copy(&path, copies.path());
    fs::remove_file(&copy).unwrap();
    assert!(matches!(refused(&copy), JournalError::Damaged { .. }));
    assert!(!copy.exists());
}

#[test]
fn other_databases_and_newer_formats_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("other.db");
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("CREATE TABLE t(x); PRAGMA application_id = 77;").unwrap();
    drop(other);
    assert!(matches!(refused(&path), JournalError::Foreign { application_id: 77, .. }));

    let path = directory.path().join("journal.db");
    drop(open(&path));
    let newer = rusqlite::Connection::open(&path).unwrap();
    newer.execute_batch("PRAGMA journal_mode = DELETE; PRAGMA user_version = 99;").unwrap();
    drop(newer);
    assert!(matches!(refused(&path), JournalError::NewerFormat { found: 99, known: 8, .. }));
}

#[test]
fn one_process_at_a_time_has_a_journal_open() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal.db");
    let journal = open(&path);
    let error = Journal::open(&path, JournalOptions::default()).unwrap_err();
    assert!(matches!(error, JournalError::InUse { .. }), "{error}");
    journal.settle().unwrap();
    drop(journal);
    assert_eq!(open(&path).standing().unwrap(), Standing::Settled);
}

#[test]
fn a_draft_that_a_crash_left_behind_does_not_matter_and_a_missing_directory_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal.db");
    fs::write(directory.path().join("journal.db.new"), b"half").unwrap();
    drop(open(&path));
    assert!(!directory.path().join("journal.db.new").exists());
    let error =
        Journal::open(&directory.path().join("no/journal.db"), JournalOptions::default()).unwrap_err();
    assert!(matches!(error, JournalError::Io { .. }), "{error}");
    assert!(error.to_string().contains("no/journal.db"));
}
