use proptest::prelude::*;

use super::*;
use crate::testing::*;

const SHARD: ShardId = ShardId(3);

fn grant_one(journal: &Journal, shard: ShardId, epoch: Epoch, terms: GrantTerms) -> Grant {
    journal.grant(&products(), &[(shard, epoch)], terms).unwrap().remove(0)
}

fn at(millis: u64) -> MonotonicMillis {
    MonotonicMillis(millis)
}

fn terms(now: u64, deadline: u64, quiet_until: u64) -> GrantTerms {
    GrantTerms { now: at(now), deadline: at(deadline), quiet_until: at(quiet_until) }
}

#[test]
fn an_epoch_is_granted_again_and_a_lower_one_never() {
    let place = Place::new();
    let journal = place.open();
    let record = |epoch: Epoch| journal.record_epoch(&products(), SHARD, &epoch).unwrap();
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
    let refused = journal.record_epoch(&products(), SHARD, &epoch(u64::MAX, "a"));
    assert!(matches!(refused, Err(JournalError::Unstorable { .. })));
    let last = epoch(i64::MAX.cast_unsigned(), "a");
    assert_eq!(journal.record_epoch(&products(), SHARD, &last).unwrap(), EpochRecorded::Granted);
    assert!(journal.next_epoch(&products(), SHARD, &"a".parse().unwrap()).is_err());
}

#[test]
fn a_fence_that_does_not_parse_is_an_error_that_names_it() {
    let place = Place::new();
    let journal = place.open();
    journal.record_epoch(&products(), SHARD, &epoch(5, "b")).unwrap();
    tamper(&journal, "UPDATE fence SET agent = '../b'");
    let error = journal.highest_epoch(&products(), SHARD).unwrap_err().to_string();
    assert!(error.contains("`fence`, row products/3: column `agent`"), "{error}");
}

#[test]
fn a_lease_in_force_holds_off_others_but_not_its_holder() {
    let place = Place::new();
    let journal = place.open();
    let grant = |epoch, now| grant_one(&journal, SHARD, epoch, terms(now, now + 30, 0));
    assert_eq!(grant(epoch(1, "a"), 0), Grant::Granted);
    assert_eq!(grant(epoch(2, "b"), 29), Grant::Leased { holder: epoch(1, "a"), until: at(30) });
    assert_eq!(grant(epoch(2, "a"), 29), Grant::Granted);
    assert_eq!(grant(epoch(1, "a"), 29), Grant::Superseded(epoch(2, "a")));
    assert_eq!(grant(epoch(3, "b"), 59), Grant::Granted);
    assert_eq!(journal.highest_epoch(&products(), SHARD).unwrap(), Some(epoch(3, "b")));
    journal.release(&products(), SHARD, &epoch(2, "a")).unwrap();
    assert!(matches!(grant(epoch(4, "a"), 60), Grant::Leased { .. }));
    journal.release(&products(), SHARD, &epoch(3, "b")).unwrap();
    assert_eq!(grant(epoch(4, "a"), 60), Grant::Granted);
}

#[test]
fn after_a_restart_only_grants_that_were_not_released_are_waited_out() {
    let place = Place::new();
    let journal = place.open();
    for shard in [SHARD, ShardId(4)] {
        assert_eq!(grant_one(&journal, shard, epoch(1, "a"), terms(1_000, 1_030, 0)), Grant::Granted);
    }
    journal.release(&products(), ShardId(4), &epoch(1, "a")).unwrap();
    // Recording the same epoch again, as every request of the exchange does, ends no grant.
    journal.record_epoch(&products(), SHARD, &epoch(1, "a")).unwrap();
    drop(journal);
    let journal = place.open();
    let grant = |shard, epoch, now| grant_one(&journal, shard, epoch, terms(now, now + 30, 30));
    assert_eq!(grant(SHARD, epoch(2, "b"), 0), Grant::Leased { holder: epoch(1, "a"), until: at(30) });
    assert_eq!(grant(ShardId(4), epoch(2, "b"), 0), Grant::Granted);
    assert_eq!(grant(SHARD, epoch(2, "b"), 30), Grant::Granted);
}

#[test]
fn claims_on_many_shards_are_answered_one_by_one() {
    let place = Place::new();
    let journal = place.open();
    let agent = "a".parse().unwrap();
    journal.record_epoch(&products(), ShardId(1), &epoch(7, "b")).unwrap();
    let shards: Vec<ShardId> = (0..3).map(ShardId).collect();
    let mut claims = journal.next_epochs(&products(), &shards, &agent).unwrap();
    let counters: Vec<u64> = claims.iter().map(|(_, epoch)| epoch.counter).collect();
    assert_eq!(counters, [1, 8, 1]);
    claims[1].1 = epoch(6, "a");
    let answers = journal.grant(&products(), &claims, terms(0, 30, 0)).unwrap();
    assert_eq!(answers, [Grant::Granted, Grant::Superseded(epoch(7, "b")), Grant::Granted]);
}

#[test]
fn own_epochs_grow_above_all_that_was_seen_or_given_out() {
    let place = Place::new();
    let agent = "a".parse().unwrap();
    let next = || place.open().next_epoch(&products(), SHARD, &agent).unwrap().counter;
    assert_eq!((next(), next()), (1, 2));
    place.open().record_epoch(&products(), SHARD, &epoch(9, "b")).unwrap();
    assert_eq!((next(), next()), (10, 11));
    place.open().record_epoch(&products(), SHARD, &epoch(10, "a")).unwrap();
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
                    match journal.record_epoch(&products(), SHARD, &epoch).unwrap() {
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
                    let next = journal.next_epoch(&products(), SHARD, &"a".parse().unwrap()).unwrap();
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
