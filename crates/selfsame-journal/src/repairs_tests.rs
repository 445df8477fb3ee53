use selfsame_core::{Cell, ContentDigest, Version};

use super::*;
use crate::testing::*;

const APPLIED: IntentOutcome = IntentOutcome::Applied { after: Some(RowDigest([9; 32])) };

fn repair(number: u8) -> RepairId {
    RepairId::from_bytes([number; 16])
}

fn row(text: &str) -> Row {
    Row::new(vec![("body".to_owned(), Cell::Json(text.to_owned())), ("n".to_owned(), Cell::Integer(1))])
}

fn put(number: u8) -> Intent {
    let (key, key_digest) = key(i64::from(number));
    Intent {
        repair: repair(number),
        run: run_id(1),
        epoch: epoch(4, "b"),
        collection: products(),
        node: node("node-a"),
        key: key.clone(),
        key_digest,
        expected: Some(RowDigest([3; 32])),
        write: IntentWrite::Put {
            entry: Entry {
                key,
                version: Version(8),
                expiry: Some(WallMicros(99)),
                content: ContentDigest([5; 32]),
            },
            row: Some(row("{\"new\":1}")),
        },
        before: BeforeImage::Kept(row("{\"old\":1}")),
        cause: Cause::MissedUpdate,
        approved: false,
        at: WallMicros(1_000 + i64::from(number)),
    }
}

fn delete(number: u8) -> Intent {
    Intent { write: IntentWrite::Delete, ..put(number) }
}

fn open(journal: &Journal) -> Vec<StoredIntent> {
    journal.open_intents(&products(), &node("node-a"), 100).unwrap().rows
}

#[test]
fn an_intent_reads_back_whole_after_a_reopen_and_is_open_until_its_outcome() {
    let place = Place::new();
    let intents = [put(1), delete(2), Intent { expected: None, before: BeforeImage::NoRow, ..put(3) }];
    assert_eq!(place.open().write_intents(&intents).unwrap(), [const { IntentWritten::New }; 3]);
    let journal = place.open();
    let read: Vec<Intent> = open(&journal).into_iter().map(|stored| stored.intent).collect();
    assert_eq!(read, intents);
    let cut = journal.open_intents(&products(), &node("node-a"), 2).unwrap();
    assert_eq!((cut.rows.len(), cut.truncated()), (2, true));
    assert!(journal.open_intents(&products(), &node("node-b"), 9).unwrap().rows.is_empty());
    assert_eq!(journal.outcome(repair(1)).unwrap(), None);
    journal.write_outcomes(&[(repair(1), APPLIED), (repair(2), IntentOutcome::Changed)]).unwrap();
    drop(journal);
    let journal = place.open();
    assert_eq!(open(&journal).len(), 1);
    assert_eq!(journal.outcome(repair(1)).unwrap(), Some(APPLIED));
    let settled = journal.intent(repair(1)).unwrap().unwrap();
    assert_eq!(settled.intent.before, BeforeImage::Kept(row("{\"old\":1}")));
    assert!(matches!(settled.intent.write, IntentWrite::Put { row: None, .. }));
}

#[test]
fn every_outcome_reads_back() {
    let place = Place::new();
    let journal = place.open();
    let outcomes = [
        APPLIED,
        IntentOutcome::Applied { after: None },
        IntentOutcome::AlreadyThere,
        IntentOutcome::Changed,
        IntentOutcome::Refused("brake".to_owned()),
        IntentOutcome::Unknown,
    ];
    for (number, outcome) in (1..).zip(outcomes) {
        journal.write_intents(&[put(number)]).unwrap();
        let written = journal.write_outcomes(&[(repair(number), outcome.clone())]).unwrap();
        assert_eq!(written, [OutcomeWritten::Recorded]);
        assert_eq!(journal.outcome(repair(number)).unwrap(), Some(outcome));
    }
}

#[test]
fn a_repair_applies_once_however_often_it_is_delivered() {
    let place = Place::new();
    let journal = place.open();
    journal.write_intents(&[put(1)]).unwrap();
    assert_eq!(journal.write_intents(&[put(1)]).unwrap(), [IntentWritten::Open]);
    journal.write_outcomes(&[(repair(1), APPLIED)]).unwrap();
    assert_eq!(journal.write_intents(&[put(1)]).unwrap(), [IntentWritten::Settled(APPLIED)]);
    let late = journal.write_outcomes(&[(repair(1), IntentOutcome::AlreadyThere)]).unwrap();
    assert_eq!(late, [OutcomeWritten::Kept(APPLIED)]);
    let stray = journal.write_outcomes(&[(repair(7), APPLIED), (repair(1), APPLIED)]).unwrap();
    assert_eq!(stray, [OutcomeWritten::NoIntent, OutcomeWritten::Kept(APPLIED)]);
}

#[test]
fn what_was_not_applied_may_be_tried_again_and_what_is_unknown_may_become_known() {
    let place = Place::new();
    let journal = place.open();
    for outcome in [
        IntentOutcome::AlreadyThere,
        IntentOutcome::Changed,
        IntentOutcome::Refused("brake".to_owned()),
        IntentOutcome::Unknown,
    ] {
        assert_eq!(journal.write_intents(&[put(1)]).unwrap(), [IntentWritten::New]);
        journal.write_outcomes(&[(repair(1), outcome)]).unwrap();
    }
    assert_eq!(journal.repairs_of_run(run_id(1)).unwrap().len(), 1);
    journal.write_outcomes(&[(repair(1), APPLIED)]).unwrap();
    assert_eq!(journal.outcome(repair(1)).unwrap(), Some(APPLIED));
}

#[test]
fn before_images_obey_the_cap_and_the_switch() {
    let place = Place::new();
    let size = row("{\"old\":1}").to_bytes().len();
    let before = |options: JournalOptions, number: u8| {
        let journal = place.open_with(options);
        journal.write_intents(&[put(number)]).unwrap();
        journal.intent(repair(number)).unwrap().unwrap().intent.before
    };
    let cap = |before_image_bytes_max| JournalOptions { before_image_bytes_max, ..Default::default() };
    assert!(matches!(before(cap(size), 1), BeforeImage::Kept(_)));
    assert_eq!(before(cap(size - 1), 2), BeforeImage::TooLarge { bytes: size as u64 });
    assert_eq!(before(JournalOptions { before_images: false, ..Default::default() }, 3), BeforeImage::Off);
}

#[test]
fn the_last_applied_repair_of_a_key_tells_what_it_left() {
    let place = Place::new();
    let journal = place.open();
    let left = |number| IntentOutcome::Applied { after: Some(RowDigest([number; 32])) };
    let same_key = |number| Intent { repair: repair(number), ..put(1) };
    journal.write_intents(&[same_key(1), same_key(2), same_key(3), put(4), delete(5)]).unwrap();
    let last = |journal: &Journal| {
        let keys = [key(1).1, key(4).1, key(5).1, key(6).1];
        journal.last_repair(&products(), &node("node-a"), &keys).unwrap()
    };
    assert_eq!(last(&journal), [None; 4]);
    // The order of the intents counts, not that of the outcomes.
    journal
        .write_outcomes(&[(repair(2), left(2)), (repair(1), left(1)), (repair(3), IntentOutcome::Changed)])
        .unwrap();
    journal.write_outcomes(&[(repair(5), IntentOutcome::Applied { after: None })]).unwrap();
    assert_eq!(last(&journal), [Some(RowDigest([2; 32])), None, None, None]);
    let newest_first: Vec<RepairId> = journal
        .intents_of_key(&products(), &node("node-a"), key(1).1, 2)
        .unwrap()
        .into_iter()
        .map(|stored| stored.intent.repair)
        .collect();
    assert_eq!(newest_first, [repair(3), repair(2)]);
    let elsewhere = journal.last_repair(&products(), &node("node-b"), &[key(1).1]).unwrap();
    assert_eq!(elsewhere, [None]);
}

#[test]
fn a_key_is_being_deleted_until_its_outcome() {
    let place = Place::new();
    let journal = place.open();
    let elsewhere = Intent { node: node("node-b"), ..delete(4) };
    journal.write_intents(&[put(1), delete(2), delete(3), elsewhere]).unwrap();
    let deleted = || journal.keys_being_deleted(&products(), &node("node-a")).unwrap();
    assert_eq!(deleted(), [key(2).1, key(3).1].into());
    journal.write_outcomes(&[(repair(2), IntentOutcome::Unknown)]).unwrap();
    assert_eq!(deleted(), [key(3).1].into());
}

#[test]
fn brakes_count_what_was_or_may_have_been_written_and_not_what_was_approved() {
    let place = Place::new();
    let journal = place.open();
    let approved = Intent { approved: true, ..delete(7) };
    // Another repair of a key is one more write, and no more keys.
    let again = Intent { repair: repair(8), at: WallMicros(1_005), ..put(4) };
    journal.write_intents(&[put(1), delete(2), put(3), put(4), delete(5), put(6), approved, again]).unwrap();
    let outcomes = [
        (repair(1), APPLIED),
        (repair(2), IntentOutcome::Applied { after: None }),
        (repair(3), IntentOutcome::Changed),
        (repair(4), IntentOutcome::Unknown),
        (repair(6), IntentOutcome::AlreadyThere),
        (repair(7), IntentOutcome::Applied { after: None }),
    ];
    journal.write_outcomes(&outcomes).unwrap();
    drop(journal);
    let journal = place.open();
    let count = |since| journal.count_since(&products(), &node("node-a"), WallMicros(since)).unwrap();
    assert_eq!(count(0), RepairCount { repairs: 5, keys: 4, deletes: 2 });
    assert_eq!(count(1_004), RepairCount { repairs: 3, keys: 2, deletes: 1 });
    assert_eq!(count(2_000), RepairCount::default());
}

#[test]
fn intents_are_stored_all_or_none() {
    let place = Place::new();
    let journal = place.open();
    let refused = journal.write_intents(&[put(1), Intent { epoch: epoch(u64::MAX, "a"), ..put(2) }]);
    assert!(matches!(refused, Err(JournalError::Unstorable { .. })));
    assert!(open(&journal).is_empty());
}

#[test]
fn an_intent_that_does_not_parse_is_an_error_that_names_it() {
    let place = Place::new();
    let journal = place.open();
    journal.write_intents(&[put(1)]).unwrap();
    tamper(&journal, "UPDATE intent SET before_image = x'00'");
    let error = journal.intent(repair(1)).unwrap_err().to_string();
    assert!(error.contains("`intent`, row 1: column `before_image`"), "{error}");
    tamper(&journal, "UPDATE intent SET before_image = NULL");
    let error = journal.intent(repair(1)).unwrap_err().to_string();
    assert!(error.contains("contradicts"), "{error}");
}
