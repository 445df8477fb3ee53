use selfsame_core::{
    Cell, ContentDigest, Document, Fingerprinter, NodeName, Unreadable, UnreadableReason, Version,
};

use super::*;

fn digest(byte: u8) -> StoredRow {
    (byte != 0).then_some(RowDigest([byte; 32]))
}

fn repair(number: u8) -> RepairId {
    RepairId::from_bytes([number; 16])
}

fn key() -> Key {
    Key::integer(7)
}

/// A repair that turned the row `before` into `after` (0: none), or was meant to.
fn made(number: u8, before: u8, after: u8) -> MadeRepair {
    let entry = Entry {
        key: key(),
        version: Version(i64::from(after)),
        expiry: None,
        content: ContentDigest([after; 32]),
    };
    MadeRepair {
        repair: repair(number),
        epoch: Epoch { counter: 1, agent: "a".parse().unwrap() },
        collection: "products".parse().unwrap(),
        node: "node-a".parse::<NodeName>().unwrap(),
        key: key(),
        key_digest: Fingerprinter::new("shop", "products", b"").key_digest(&key()),
        expected: digest(before),
        entry: (after != 0).then_some(entry),
        outcome: Some(IntentOutcome::Applied { after: digest(after) }),
        image: if before == 0 { KeptImage::NoRow } else { KeptImage::Kept { bytes: 9 } },
    }
}

fn ended(made: MadeRepair, outcome: Option<IntentOutcome>) -> MadeRepair {
    MadeRepair { outcome, ..made }
}

/// The undo of a repair, applied.
fn undo_of(undone: &MadeRepair, before: u8, after: u8) -> MadeRepair {
    MadeRepair { repair: undone.repair.undoing(), ..made(0, before, after) }
}

fn only(made: Vec<MadeRepair>) -> Prospect {
    let mut prospects = prospects(made);
    assert_eq!(prospects.len(), 1, "{prospects:?}");
    prospects.remove(0)
}

#[track_caller]
fn take_back(made: Vec<MadeRepair>) -> TakeBack {
    match only(made) {
        Prospect::TakeBack(take_back) => take_back,
        settled @ Prospect::Settled { .. } => panic!("{settled:?}"),
    }
}

#[track_caller]
fn state(made: Vec<MadeRepair>) -> UndoState {
    match only(made) {
        Prospect::Settled { state, .. } => state,
        open @ Prospect::TakeBack(_) => panic!("{open:?}"),
    }
}

#[test]
fn an_applied_repair_can_be_taken_back_to_the_row_that_it_replaced() {
    for (before, after, write) in
        [(1, 2, UndoWrite::Update), (0, 2, UndoWrite::Delete), (1, 0, UndoWrite::Insert)]
    {
        let found = take_back(vec![made(5, before, after)]);
        assert_eq!((found.left, found.before), (digest(after), digest(before)));
        assert_eq!((found.repair, found.image_of), (repair(5).undoing(), repair(5)));
        assert_eq!((found.write(), found.entry.is_some()), (write, after != 0));
    }
}

#[test]
fn what_a_run_did_twice_is_taken_back_as_one_unless_a_client_came_between() {
    let twice = take_back(vec![made(1, 1, 2), made(2, 2, 3)]);
    assert_eq!((twice.left, twice.before, twice.image_of), (digest(3), digest(1), repair(1)));
    let interrupted = take_back(vec![made(1, 1, 2), made(2, 9, 3)]);
    assert_eq!(
        (interrupted.left, interrupted.before, interrupted.image_of),
        (digest(3), digest(9), repair(2))
    );
    // Inserted, and withdrawn: nothing is left of it.
    assert_eq!(state(vec![made(1, 0, 2), made(2, 2, 0)]), UndoState::NotApplied);
}

#[test]
fn what_was_not_written_need_not_be_taken_back() {
    for outcome in
        [IntentOutcome::AlreadyThere, IntentOutcome::Changed, IntentOutcome::Refused("brake".to_owned())]
    {
        assert_eq!(state(vec![ended(made(1, 1, 2), Some(outcome))]), UndoState::NotApplied);
    }
    // The last that was written counts, whatever was tried after.
    let tried = ended(made(2, 2, 3), Some(IntentOutcome::Changed));
    assert_eq!(take_back(vec![made(1, 1, 2), tried]).left, digest(2));
}

#[test]
fn what_may_have_been_written_is_unknown() {
    for outcome in [None, Some(IntentOutcome::Unknown)] {
        assert_eq!(state(vec![ended(made(1, 1, 2), outcome)]), UndoState::Unknown);
    }
}

#[test]
fn without_an_image_nothing_is_taken_back_but_an_insert_needs_none() {
    let without = |image| state(vec![MadeRepair { image, ..made(1, 1, 2) }]);
    assert_eq!(without(KeptImage::Off), UndoState::ImagesOff);
    assert_eq!(without(KeptImage::TooLarge { bytes: 77 }), UndoState::TooLarge { bytes: 77 });
    assert_eq!(without(KeptImage::Gone), UndoState::ImageGone);
    assert_eq!(take_back(vec![made(1, 0, 2)]).write(), UndoWrite::Delete);
}

#[test]
fn an_undo_is_made_once_and_is_not_undone() {
    let first = made(1, 1, 2);
    let undo = undo_of(&first, 2, 1);
    assert_eq!(state(vec![first.clone(), undo.clone()]), UndoState::Undone);
    // One that was not written may be tried again.
    for outcome in [Some(IntentOutcome::Changed), None] {
        let tried = ended(undo.clone(), outcome);
        assert_eq!(take_back(vec![first.clone(), tried]).repair, repair(1).undoing());
    }
    // What the run repaired after that is taken back, and no more.
    let later = take_back(vec![first, undo, made(2, 1, 3)]);
    assert_eq!((later.left, later.before), (digest(3), digest(1)));
}

fn document(row: Row) -> Document {
    let digest = Fingerprinter::new("shop", "products", b"").row_digest(&row);
    Document {
        entry: Entry { key: key(), version: Version(1), expiry: None, content: ContentDigest([1; 32]) },
        key_digest: Fingerprinter::new("shop", "products", b"").key_digest(&key()),
        row,
        row_digest: digest,
        marked: false,
    }
}

#[test]
fn a_row_is_put_back_only_where_the_runs_result_stands() {
    let digests = Fingerprinter::new("shop", "products", b"");
    let row = |text: &str| Row::new(vec![("body".to_owned(), Cell::Text(text.to_owned()))]);
    let (old, new) = (row("old"), row("new"));
    let of = |row: &Row| digests.row_digest(row);
    let updated = TakeBack { left: Some(of(&new)), before: Some(of(&old)), ..take_back(vec![made(1, 1, 2)]) };
    let live = |row: &Row| Read::Live(document(row.clone()));
    assert_eq!(updated.row(&live(&new), Some(old.clone()), of), Ok(Some(old.clone())));
    assert_eq!(updated.row(&live(&old), Some(old.clone()), of), Err(UndoState::Changed));
    assert_eq!(updated.row(&Read::Absent, Some(old.clone()), of), Err(UndoState::Changed));
    assert_eq!(updated.row(&live(&new), None, of), Err(UndoState::ImageGone));
    assert_eq!(updated.row(&live(&new), Some(row("another")), of), Err(UndoState::ImageGone));
    let unreadable =
        Unreadable { key: Some(key()), place: "row 7".to_owned(), reason: UnreadableReason::DuplicateKey };
    assert_eq!(updated.row(&Read::Unreadable(unreadable), Some(old.clone()), of), Err(UndoState::Unreadable));
    let inserted = TakeBack { before: None, ..updated.clone() };
    assert_eq!(inserted.row(&live(&new), None, of), Ok(None));
    let deleted = TakeBack { left: None, ..updated };
    assert_eq!(deleted.row(&Read::Absent, Some(old.clone()), of), Ok(Some(old.clone())));
    assert_eq!(deleted.row(&live(&new), Some(old), of), Err(UndoState::Changed));
}

#[test]
fn every_state_has_a_name_and_what_is_not_good_says_why() {
    let states = [
        UndoState::Unknown,
        UndoState::ImagesOff,
        UndoState::TooLarge { bytes: 1 },
        UndoState::ImageGone,
        UndoState::Changed,
        UndoState::Unreadable,
        UndoState::Refused("constraint".to_owned()),
        UndoState::Unanswered,
        UndoState::NoReplica,
    ];
    let names: BTreeSet<&str> = states.iter().map(UndoState::as_str).collect();
    assert_eq!(names.len(), states.len());
    assert!(states.iter().all(|state| !state.is_good() && !state.detail().is_empty()));
}
