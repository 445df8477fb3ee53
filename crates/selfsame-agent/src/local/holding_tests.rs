use selfsame_core::{ContentDigest, Key, TombstoneCause, TombstoneOwner, Version};

use super::*;

const NOW: WallMicros = WallMicros(2 * ROLLING_DAY_MICROS);
const MOMENT: Moment = Moment { now: NOW, skew: 0 };

fn vanishes(shard: u32, ago: i64, keys: u64) -> (ShardId, Vanishes) {
    (ShardId(shard), Vanishes { at: NOW.plus(-ago), keys })
}

fn left(shards: &[u64]) -> Left {
    shards.iter().zip(0..).map(|(left, shard)| (ShardId(shard), *left)).collect()
}

fn held(day: &[(ShardId, Vanishes)], shards: &[u64]) -> Option<VanishingHold> {
    too_much(day, &left(shards), NOW, 0.05).map(|(hold, _)| hold)
}

#[test]
fn vanishes_of_a_day_add_up_over_scans_and_confirms_by_replica_and_by_shard() {
    let day = [vanishes(0, 9, 6), vanishes(1, 5, 6)];
    assert_eq!(held(&day, &[100, 50]), Some(VanishingHold::Share), "12 of 162");
    assert_eq!(held(&day, &[200, 200]), None);
    // Few of all, many of one shard.
    let day = [vanishes(1, 9, 6), vanishes(1, 5, 6)];
    assert_eq!(held(&day, &[100_000, 50]), Some(VanishingHold::Share));
    let (_, why) = too_much(&day, &left(&[100_000, 50]), NOW, 0.05).unwrap();
    assert_eq!(why, "12 of shard 1's 62 keys vanished within a day");
    assert_eq!(held(&[vanishes(1, ROLLING_DAY_MICROS, 50), vanishes(1, 5, 6)], &[100, 50]), None);
}

#[test]
fn an_emptied_shard_holds_the_replica() {
    assert_eq!(held(&[vanishes(1, 5, 3)], &[100_000, 0]), Some(VanishingHold::Emptied));
    assert_eq!(held(&[vanishes(1, 5, 1)], &[100_000, 0]), None, "a lone key's deletion");
}

fn gone(expiry: Option<i64>, memory: Option<(i64, Certainty)>) -> bool {
    let content = ContentDigest([0; 32]);
    let entry = Entry { key: Key::integer(1), version: Version(5), expiry: expiry.map(WallMicros), content };
    let memory = memory.map(|(version, certainty)| Tombstone {
        version: Version(version),
        cause: TombstoneCause::Deleted,
        at: NOW,
        certainty,
        owner: TombstoneOwner::Own,
        came_back: false,
    });
    Gone::of(ShardId(0), &entry, memory.as_ref(), MOMENT).vanished
}

#[test]
fn what_expired_or_is_proven_to_be_deleted_did_not_vanish() {
    assert!(gone(None, None));
    assert!(gone(Some(NOW.0 + 1), None));
    assert!(!gone(Some(NOW.0 - 1), None), "it had expired");
    assert!(!gone(None, Some((5, Certainty::Certain))), "the feed told");
    assert!(gone(None, Some((4, Certainty::Certain))), "the feed told of an older one");
    assert!(gone(None, Some((5, Certainty::Observed))));
}

#[test]
fn a_store_is_taken_back_if_its_counter_went_back_or_its_id_changed() {
    let left = |counter| StoreSeen { store_id: "one".into(), counter };
    let found = |id: &str, counter| Identity { store_id: id.into(), counter };
    assert_eq!(taken_back(&left(Some(5)), &found("one", Some(5))), None);
    assert_eq!(taken_back(&left(Some(5)), &found("one", Some(6))), None);
    assert!(taken_back(&left(Some(5)), &found("one", Some(4))).is_some());
    assert!(taken_back(&left(Some(5)), &found("two", Some(9))).is_some());
    assert!(taken_back(&left(Some(5)), &found("one", None)).is_some(), "a copy from before it was kept");
    // Without a counter an id may be where a file lies; and the first setup gives both.
    assert_eq!(taken_back(&left(None), &found("two", Some(0))), None);
    assert_eq!(taken_back(&left(None), &found("two", None)), None);
}
