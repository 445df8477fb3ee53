use super::*;
use proptest::prelude::*;

use Certainty::{Certain, Observed};
use TombstoneCause::{Deleted, Expired};
use TombstoneOwner::{Own, Received};

const MOMENT: Moment = Moment { now: WallMicros(1_000), skew: 10 };

fn tombstone(version: i64, cause: TombstoneCause, certainty: Certainty) -> Tombstone {
    let version = Version(version);
    Tombstone { version, cause, at: MOMENT.now, certainty, owner: Own, came_back: false }
}

fn seen(version: i64, expiry: Option<i64>) -> LastSeen {
    LastSeen { version: Version(version), expiry: expiry.map(WallMicros) }
}

#[test]
fn a_mark_and_a_feed_that_tells_the_old_version_are_certain() {
    let certain = Some(tombstone(3, Deleted, Certain));
    assert_eq!(Evidence::Mark(Version(3)).tombstone(MOMENT), certain);
    assert_eq!(Evidence::Feed(Some(seen(3, None))).tombstone(MOMENT), certain);
    assert_eq!(Evidence::Feed(None).tombstone(MOMENT), None, "a feed that does not tell");
}

#[test]
fn a_confirmed_notice_is_certain_unless_the_entry_was_above_it() {
    let notice = |indexed: Option<LastSeen>| {
        Evidence::ConfirmedNotice { version: Version(3), indexed }.tombstone(MOMENT)
    };
    let certain = Some(tombstone(3, Deleted, Certain));
    assert_eq!(notice(None), certain);
    assert_eq!(notice(Some(seen(2, None))), certain, "it takes the notice's version");
    assert_eq!(notice(Some(seen(3, None))), certain);
    assert_eq!(notice(Some(seen(4, None))), None, "the notice is of an earlier deletion");
}

#[test]
fn a_confirmed_absence_is_observed() {
    assert_eq!(Evidence::Vanished(seen(3, None)).tombstone(MOMENT), Some(tombstone(3, Deleted, Observed)));
    let later = Evidence::Vanished(seen(3, Some(2_000)));
    assert_eq!(later.tombstone(MOMENT), Some(tombstone(3, Deleted, Observed)));
}

#[test]
fn what_vanished_after_its_expiry_is_certain_by_every_clock_only() {
    let certain = Some(tombstone(3, Expired, Certain));
    assert_eq!(Evidence::Vanished(seen(3, Some(990))).tombstone(MOMENT), certain);
    assert_eq!(Evidence::Feed(Some(seen(3, Some(990)))).tombstone(MOMENT), certain, "a sweep");
    let within_skew = Evidence::Vanished(seen(3, Some(991)));
    assert_eq!(within_skew.tombstone(MOMENT), Some(tombstone(3, Deleted, Observed)));
    let endless = Moment { now: WallMicros(i64::MIN), skew: i64::MAX };
    assert_eq!(Evidence::Vanished(seen(3, Some(0))).tombstone(endless).map(|t| t.certainty), Some(Observed));
}

#[test]
fn our_own_writes_are_no_evidence() {
    assert_eq!(Evidence::OwnWrite.tombstone(MOMENT), None);
}

#[test]
fn a_clients_insert_ends_a_lower_tombstone_and_brings_its_own_version_back() {
    for certainty in [Certain, Observed] {
        let tombstone = tombstone(5, Deleted, certainty);
        assert_eq!(tombstone.after_insert(Version(6)), None);
        let came_back = Tombstone { came_back: true, ..tombstone };
        assert_eq!(tombstone.after_insert(Version(5)), Some(came_back));
        assert_eq!(tombstone.after_insert(Version(4)), Some(tombstone));
    }
}

#[test]
fn a_repairs_write_ends_what_it_beat_and_no_more() {
    let certain = tombstone(5, Deleted, Certain);
    assert_eq!(certain.after_repair(Some(Version(6))), None);
    assert_eq!(certain.after_repair(Some(Version(5))), Some(certain.clone()));
    assert_eq!(certain.after_repair(Some(Version(4))), Some(certain.clone()));
    assert_eq!(certain.after_repair(None), Some(certain));
}

#[test]
fn a_repairs_write_ends_the_replicas_own_observation() {
    let observed = tombstone(5, Deleted, Observed);
    assert_eq!(observed.after_repair(Some(Version(4))), None, "it was overruled");
    assert_eq!(observed.after_repair(None), None, "a row that a repair deleted is no vote");
}

#[test]
fn only_certain_tombstones_are_received() {
    let certain = tombstone(5, Deleted, Certain);
    assert_eq!(certain.received(), Some(Tombstone { owner: Received, ..certain }));
    assert_eq!(tombstone(5, Deleted, Observed).received(), None);
}

#[test]
fn only_a_replicas_own_observation_is_a_vote() {
    let observed = tombstone(5, Deleted, Observed);
    assert!(observed.is_own_observation());
    assert!(!Tombstone { owner: Received, ..observed }.is_own_observation());
    assert!(!tombstone(5, Expired, Certain).is_own_observation());
}

#[test]
fn the_higher_version_stays_and_of_one_version_the_stronger_evidence() {
    let both = |left: &Tombstone, right: &Tombstone| {
        assert_eq!(left.join(right), right.join(left));
        left.join(right)
    };
    let at = |at, tombstone: Tombstone| Tombstone { at: WallMicros(at), ..tombstone };
    let (deleted, observed) = (tombstone(1, Deleted, Certain), tombstone(1, Deleted, Observed));
    let higher = tombstone(2, Deleted, Observed);
    assert_eq!(both(&higher, &deleted), higher);
    assert_eq!(both(&at(1, deleted.clone()), &observed), at(1, deleted.clone()));
    assert_eq!(both(&at(1, deleted.clone()), &at(9, deleted.clone())), at(9, deleted.clone()));
    let came_back = Tombstone { came_back: true, ..observed };
    assert_eq!(both(&came_back, &deleted), Tombstone { came_back: true, ..deleted });
    assert!(!both(&came_back, &higher).came_back, "a higher version was deleted after the return");
    let expired = tombstone(1, Expired, Certain);
    assert_eq!(both(&expired, &deleted), deleted, "a deletion outranks an expiry");
    assert_eq!(both(&expired, &observed), observed, "or a vote against a renewed expiry would be lost");
    let received = Tombstone { owner: Received, ..deleted };
    assert_eq!(both(&received, &deleted), deleted);
    let hearsay = Tombstone { owner: Received, ..tombstone(9, Deleted, Observed) };
    assert_eq!(both(&hearsay, &observed), observed, "hearsay gives way");
}

fn arbitrary_tombstone() -> impl Strategy<Value = Tombstone> {
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    (0_i64..3, 0_i64..3, flags).prop_map(|(version, at, (expired, certain, own, came_back))| Tombstone {
        at: WallMicros(at),
        owner: if own { Own } else { Received },
        came_back,
        ..tombstone(
            version,
            if expired { Expired } else { Deleted },
            if certain { Certain } else { Observed },
        )
    })
}

/// The join of many at once, said another way: only evidence, of that only the highest version, of that only the
/// strongest class; then the latest time, and whether anybody has it for himself.
fn oracle(tombstones: &[Tombstone]) -> Tombstone {
    let is_hearsay = |each: &&Tombstone| each.certainty == Observed && each.owner == Received;
    let (hearsay, evidence): (Vec<_>, Vec<_>) = tombstones.iter().partition(is_hearsay);
    let pool = if evidence.is_empty() { hearsay } else { evidence };
    let version = pool.iter().map(|each| each.version).max().unwrap();
    let pool: Vec<_> = pool.into_iter().filter(|each| each.version == version).collect();
    let classes = [(Deleted, Certain), (Deleted, Observed), (Expired, Certain), (Expired, Observed)];
    let of_class = |class: (TombstoneCause, Certainty)| {
        pool.iter().filter(|each| (each.cause, each.certainty) == class).collect::<Vec<_>>()
    };
    let (class, best) =
        classes.into_iter().map(|class| (class, of_class(class))).find(|(_, best)| !best.is_empty()).unwrap();
    Tombstone {
        version,
        cause: class.0,
        certainty: class.1,
        at: best.iter().map(|each| each.at).max().unwrap(),
        owner: if best.iter().any(|each| each.owner == Own) { Own } else { Received },
        came_back: pool.iter().any(|each| each.came_back),
    }
}

proptest! {
    #[test]
    fn the_join_is_commutative_associative_and_idempotent(
        one in arbitrary_tombstone(), two in arbitrary_tombstone(), three in arbitrary_tombstone(),
    ) {
        prop_assert_eq!(one.join(&two), two.join(&one));
        prop_assert_eq!(one.join(&two).join(&three), one.join(&two.join(&three)));
        prop_assert_eq!(&one.join(&one), &one);
        let joined = one.join(&two);
        prop_assert_eq!(joined.join(&two), joined);
    }

    #[test]
    fn the_join_of_many_is_that_of_the_oracle(tombstones in prop::collection::vec(arbitrary_tombstone(), 1..6)) {
        let joined = tombstones.iter().cloned().reduce(|joined, each| joined.join(&each)).unwrap();
        prop_assert_eq!(joined, oracle(&tombstones));
    }

    #[test]
    fn a_join_raises_no_certainty(tombstones in prop::collection::vec(arbitrary_tombstone(), 1..6)) {
        let joined = tombstones.iter().cloned().reduce(|joined, each| joined.join(&each)).unwrap();
        let claims = |each: &Tombstone| (each.version, each.cause, each.certainty) ==
            (joined.version, joined.cause, joined.certainty);
        prop_assert!(tombstones.iter().any(claims));
    }
}
