use proptest::prelude::*;

use super::*;
use crate::testing::*;

const SHARD: ShardId = ShardId(3);

fn record(journal: &Journal, epoch: &Epoch) -> Result<EpochRecorded, JournalError> {
    Ok(journal.record_epochs(&products(), &[(SHARD, epoch.clone())])?.remove(0))
}

fn next(journal: &Journal) -> Result<Epoch, JournalError> {
    let agent = "a".parse().unwrap();
    Ok(journal.next_epochs(&products(), &[(SHARD, None)], &agent)?.remove(0).1)
}

#[test]
fn an_epoch_is_granted_again_and_a_lower_one_never() {
    let place = Place::new();
    let journal = place.open();
    let record = |epoch: Epoch| record(&journal, &epoch).unwrap();
    assert_eq!(record(epoch(5, "b")), EpochRecorded::Granted);
    assert_eq!(record(epoch(5, "b")), EpochRecorded::Granted);
    assert_eq!(record(epoch(5, "a")), EpochRecorded::Superseded(epoch(5, "b")));
    assert_eq!(record(epoch(4, "z")), EpochRecorded::Superseded(epoch(5, "b")));
    assert_eq!(record(epoch(5, "c")), EpochRecorded::Granted);
    assert_eq!(journal.highest_epoch(&products(), SHARD).unwrap(), Some(epoch(5, "c")));
    assert_eq!(journal.highest_epoch(&products(), ShardId(4)).unwrap(), None);
}

#[test]
fn an_epoch_that_cannot_be_stored_is_refused() {
    let place = Place::new();
    let journal = place.open();
    let refused = record(&journal, &epoch(u64::MAX, "a"));
    assert!(matches!(refused, Err(JournalError::Unstorable { .. })));
    let last = epoch(i64::MAX.cast_unsigned(), "a");
    assert_eq!(record(&journal, &last).unwrap(), EpochRecorded::Granted);
    assert!(next(&journal).is_err());
}

#[test]
fn a_fence_that_does_not_parse_is_an_error_that_names_it() {
    let place = Place::new();
    let journal = place.open();
    record(&journal, &epoch(5, "b")).unwrap();
    tamper(&journal, "UPDATE fence SET agent = '../b'");
    let error = journal.highest_epoch(&products(), SHARD).unwrap_err().to_string();
    assert!(error.contains("`fence`, row products/3: column `agent`"), "{error}");
}

#[test]
fn epochs_of_many_shards_are_answered_one_by_one() {
    let place = Place::new();
    let journal = place.open();
    let agent = "a".parse().unwrap();
    journal.record_epochs(&products(), &[(ShardId(1), epoch(7, "b"))]).unwrap();
    let shards = [(ShardId(0), None), (ShardId(1), None), (ShardId(2), Some(epoch(4, "c")))];
    let mut epochs = journal.next_epochs(&products(), &shards, &agent).unwrap();
    let counters: Vec<u64> = epochs.iter().map(|(_, epoch)| epoch.counter).collect();
    assert_eq!(counters, [1, 8, 5]);
    epochs[1].1 = epoch(6, "a");
    let answers = journal.record_epochs(&products(), &epochs).unwrap();
    let superseded = EpochRecorded::Superseded(epoch(7, "b"));
    assert_eq!(answers, [EpochRecorded::Granted, superseded, EpochRecorded::Granted]);
}

#[test]
fn claiming_above_another_epoch_does_not_count_it_as_seen() {
    let place = Place::new();
    let journal = place.open();
    let above = [(SHARD, Some(epoch(9, "b")))];
    assert_eq!(journal.next_epochs(&products(), &above, &"a".parse().unwrap()).unwrap()[0].1.counter, 10);
    assert_eq!(journal.highest_epoch(&products(), SHARD).unwrap(), None);
}

#[test]
fn own_epochs_grow_above_all_that_was_seen_or_given_out() {
    let place = Place::new();
    let next = || next(&place.open()).unwrap().counter;
    assert_eq!((next(), next()), (1, 2));
    record(&place.open(), &epoch(9, "b")).unwrap();
    assert_eq!((next(), next()), (10, 11));
    record(&place.open(), &epoch(10, "a")).unwrap();
    assert_eq!(next(), 12);
}

#[derive(Clone, Debug)]
enum Step {
    Record(u64, bool),
    Next,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0_u64..12, any::<bool>()).prop_map(|(counter, other)| Step::Record(counter, other)),
        2 => Just(Step::Next),
        1 => Just(Step::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn no_epoch_is_granted_below_an_earlier_one(steps in prop::collection::vec(step(), 1..30)) {
        let place = Place::new();
        let mut journal = place.open();
        let mut granted: Option<Epoch> = None;
        let mut given_out = 0;
        for step in steps {
            match step {
                Step::Record(counter, other) => {
                    let epoch = epoch(counter, if other { "b" } else { "a" });
                    let allowed = granted.as_ref().is_none_or(|highest| *highest <= epoch);
                    match record(&journal, &epoch).unwrap() {
                        EpochRecorded::Granted => {
                            prop_assert!(allowed);
                            granted = Some(epoch);
                        }
                        EpochRecorded::Superseded(highest) => {
                            prop_assert!(!allowed);
                            prop_assert_eq!(Some(&highest), granted.as_ref());
                        }
                    }
                }
                Step::Next => {
                    let next = next(&journal).unwrap();
                    prop_assert!(next.counter > given_out);
                    prop_assert!(granted.as_ref().is_none_or(|highest| next > *highest));
                    given_out = next.counter;
                }
                Step::Reopen => {
                    drop(journal);
                    journal = place.open();
                }
            }
        }
    }
}
