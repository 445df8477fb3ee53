//! What is left when the process dies at the worst moment.

#![allow(clippy::unwrap_used, reason = "only tests use this")]

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind};

use common::*;
use fail::FailScenario;
use selfsame_core::RepairId;
use selfsame_journal::{IntentOutcome, IntentWritten};

#[test]
fn intents_and_outcomes_are_on_disk_before_the_caller_hears_of_them() {
    let scenario = FailScenario::setup();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal.db");
    let repair = RepairId::from_bytes([1; 16]);

    fail::cfg("journal::intent_written", "panic").unwrap();
    let journal = open(&path);
    assert!(catch_unwind(AssertUnwindSafe(|| journal.write_intents(&[intent(1)]))).is_err());
    fail::remove("journal::intent_written");
    drop(journal);
    let journal = open(&path);
    assert_eq!(journal.open_intents(&products(), &node(), 9).unwrap().rows.len(), 1);
    assert_eq!(journal.write_intents(&[intent(1)]).unwrap(), [IntentWritten::Open]);

    fail::cfg("journal::outcome_written", "panic").unwrap();
    let outcomes = [(repair, IntentOutcome::Applied { after: None })];
    assert!(catch_unwind(AssertUnwindSafe(|| journal.write_outcomes(&outcomes))).is_err());
    fail::remove("journal::outcome_written");
    drop(journal);
    let journal = open(&path);
    assert_eq!(journal.outcome(repair).unwrap(), Some(IntentOutcome::Applied { after: None }));
    scenario.teardown();
}
