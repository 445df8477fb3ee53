use selfsame_core::{Certainty, TombstoneOwner};

use super::*;
use crate::LedgerStep;
use crate::testing::*;

fn of(cause: HoldCause, since: i64) -> Hold {
    Hold { cause, detail: "18 of 60 keys".to_owned(), since: WallMicros(since) }
}

#[test]
fn a_hold_outlives_the_process_until_it_is_ended() {
    let place = Place::new();
    let held = || place.open().held(&products(), &node("a")).unwrap();
    assert_eq!(held(), None);
    let hold = of(HoldCause::Vanished, 7);
    assert_eq!(place.open().hold(&products(), &node("a"), &hold).unwrap(), hold);
    assert_eq!(held(), Some(hold));
    assert_eq!(place.open().held(&products(), &node("b")).unwrap(), None);
    place.open().end_hold(&products(), &node("a"), HoldEnd::Equal).unwrap();
    assert_eq!(held(), None);
}

#[test]
fn the_first_hold_stands_but_one_that_needs_a_person_takes_its_place() {
    let place = Place::new();
    let journal = place.open();
    let hold = |cause, since| journal.hold(&products(), &node("a"), &of(cause, since)).unwrap();
    hold(HoldCause::Vanished, 1);
    assert_eq!(hold(HoldCause::Emptied, 2), of(HoldCause::Vanished, 1));
    assert_eq!(hold(HoldCause::Restored, 3), of(HoldCause::Restored, 3));
    assert_eq!(hold(HoldCause::Restored, 4), of(HoldCause::Restored, 3));
    assert_eq!(hold(HoldCause::Emptied, 5), of(HoldCause::Restored, 3));
}

#[test]
fn vanishes_are_counted_for_a_day_by_shard_and_forgotten_with_the_hold() {
    let place = Place::new();
    let count = |now, keys: &[(ShardId, u64)]| {
        place.open().count_vanishes(&products(), &node("a"), WallMicros(now), keys, None).unwrap()
    };
    let at = |shard, at, keys| (ShardId(shard), Vanishes { at: WallMicros(at), keys });
    assert_eq!(count(1, &[(ShardId(0), 3), (ShardId(1), 0)]), [at(0, 1, 3)]);
    assert_eq!(count(2, &[(ShardId(1), 4)]), [at(0, 1, 3), at(1, 2, 4)]);
    assert_eq!(count(1 + ROLLING_DAY_MICROS, &[]), [at(1, 2, 4)]);
    let others = place.open().count_vanishes(&products(), &node("b"), WallMicros(2), &[], None).unwrap();
    assert_eq!(others, []);
    place.open().end_hold(&products(), &node("a"), HoldEnd::Equal).unwrap();
    assert_eq!(count(3, &[]), []);
}

#[test]
fn a_scan_that_comes_to_its_end_again_counts_once() {
    let place = Place::new();
    let count = |now, keys: u64, scan: Option<i64>| {
        let scan = scan.map(WallMicros);
        let counted = [(ShardId(0), keys)];
        let day =
            place.open().count_vanishes(&products(), &node("a"), WallMicros(now), &counted, scan).unwrap();
        day.iter().map(|(_, vanishes)| vanishes.keys).collect::<Vec<_>>()
    };
    assert_eq!(count(10, 6, Some(3)), [6]);
    assert_eq!(count(11, 6, Some(3)), [6]);
    assert_eq!(count(12, 2, Some(3)), [6], "four of them were concluded already");
    assert_eq!(count(13, 7, Some(3)), [7]);
    assert_eq!(count(14, 5, Some(4)), [7, 5], "another scan");
    assert_eq!(count(15, 1, None), [7, 5, 1]);
    assert_eq!(count(16, 1, None), [7, 5, 1, 1]);
}

#[test]
fn a_journal_of_the_fifth_format_is_upgraded() {
    let place = Place::new();
    tamper(
        &place.open(),
        "ALTER TABLE run DROP COLUMN abandoned; ALTER TABLE vanish DROP COLUMN scan;
         INSERT INTO vanish VALUES (1, 'products', 'a', 0, 9, 6);
         PRAGMA user_version = 5;",
    );
    let counted = [(ShardId(0), 4)];
    let day =
        place.open().count_vanishes(&products(), &node("a"), WallMicros(10), &counted, Some(WallMicros(9)));
    assert_eq!(day.unwrap().len(), 2, "what was counted before is of another scan");
}

#[test]
fn what_a_replica_saw_vanish_while_it_was_held_is_dropped_and_proof_is_kept() {
    let place = Place::new();
    let journal = place.open();
    let gone = |number, certainty, at| LedgerStep::Gone(memory(number, tombstone(1, certainty, at)));
    let steps =
        [gone(1, Certainty::Observed, 4), gone(2, Certainty::Observed, 5), gone(3, Certainty::Certain, 6)];
    journal.note(&products(), &node("a"), &steps, None).unwrap();
    assert_eq!(journal.end_hold(&products(), &node("a"), HoldEnd::Merged(WallMicros(5))).unwrap(), 1);
    let keys = [1, 2, 3].map(|number| key(number).1);
    let left = journal.memories(&products(), &node("a"), &keys).unwrap();
    assert_eq!(left.iter().map(Option::is_some).collect::<Vec<_>>(), [true, false, true]);
    assert_eq!(left[2].as_ref().map(|memory| memory.owner), Some(TombstoneOwner::Own));
    assert_eq!(journal.end_hold(&products(), &node("a"), HoldEnd::Restored(WallMicros(0))).unwrap(), 1);
    let left = journal.memories(&products(), &node("a"), &keys).unwrap();
    assert_eq!(left[2].as_ref().map(|memory| memory.owner), Some(TombstoneOwner::Received));
}

#[test]
fn the_store_that_answered_last_is_known_after_a_restart() {
    let place = Place::new();
    let seen = || place.open().store_seen(&products(), &node("a")).unwrap();
    assert_eq!(seen(), None);
    for counter in [None, Some(3)] {
        let store = StoreSeen { store_id: "one".to_owned(), counter };
        place.open().note_store(&products(), &node("a"), &store).unwrap();
        assert_eq!(seen(), Some(store));
    }
}
