use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::testing::*;

fn tombstone(version: i64, certainty: Certainty, at: i64) -> Tombstone {
    Tombstone {
        version: Version(version),
        cause: TombstoneCause::Deleted,
        at: WallMicros(at),
        certainty,
        came_back: false,
    }
}

fn memory(number: i64, tombstone: Tombstone) -> Memory {
    let (key, key_digest) = key(number);
    Memory { collection: products(), node: node("node-a"), key_digest, key, tombstone }
}

#[test]
fn the_higher_version_stays_and_of_one_version_the_stronger_evidence() {
    use Certainty::{Certain, Observed};
    let both = |left: &Tombstone, right: &Tombstone| {
        assert_eq!(join(left, right), join(right, left));
        join(left, right)
    };
    assert_eq!(both(&tombstone(2, Observed, 1), &tombstone(1, Certain, 9)), tombstone(2, Observed, 1));
    assert_eq!(both(&tombstone(1, Certain, 1), &tombstone(1, Observed, 9)), tombstone(1, Certain, 1));
    assert_eq!(both(&tombstone(1, Certain, 1), &tombstone(1, Certain, 9)), tombstone(1, Certain, 9));
    let came_back = Tombstone { came_back: true, ..tombstone(1, Observed, 1) };
    assert!(both(&came_back, &tombstone(1, Certain, 9)).came_back);
    // A deletion of a higher version is a deletion after the return.
    assert!(!both(&came_back, &tombstone(2, Observed, 9)).came_back);
}

#[test]
fn memories_survive_a_reopen_and_end_when_told() {
    let place = Place::new();
    let expired =
        Tombstone { cause: TombstoneCause::Expired, came_back: true, ..tombstone(-3, Certainty::Certain, 7) };
    let observed = tombstone(4, Certainty::Observed, 8);
    let journal = place.open();
    let all = [memory(1, expired.clone()), memory(2, observed.clone())];
    assert_eq!(journal.remember(&all).unwrap(), 2);
    assert_eq!(journal.remember(&all).unwrap(), 0);
    drop(journal);
    let journal = place.open();
    let memories =
        |on: &str| journal.memories(&products(), &node(on), &[key(1).1, key(3).1, key(2).1]).unwrap();
    assert_eq!(memories("node-a"), [Some(expired), None, Some(observed)]);
    assert_eq!(memories("node-b"), [None, None, None]);
    let count = |on: &str| journal.memory_count(&products(), &node(on)).unwrap();
    assert_eq!(count("node-a"), MemoryCount { certain: 1, observed: 1 });
    assert_eq!(count("node-b"), MemoryCount::default());
    assert_eq!(journal.end_memories(&products(), &node("node-a"), &[key(1).1, key(3).1]).unwrap(), 1);
    assert_eq!(count("node-a"), MemoryCount { certain: 0, observed: 1 });
}

#[test]
fn the_whole_ledger_is_read_page_by_page() {
    let place = Place::new();
    let journal = place.open();
    let all: Vec<Memory> =
        (0..7).map(|number| memory(number, tombstone(number, Certainty::Certain, 1))).collect();
    journal.remember(&all).unwrap();
    journal.remember(&[Memory { node: node("node-b"), ..all[0].clone() }]).unwrap();
    let mut seen: Vec<Memory> = Vec::new();
    loop {
        let after = seen.last().map(|memory| memory.key_digest);
        let page = journal.memories_after(&products(), &node("node-a"), after, 3).unwrap();
        let last = page.len() < 3;
        seen.extend(page);
        if last {
            break;
        }
    }
    assert_eq!(seen, all);
}

#[test]
fn a_tombstone_that_does_not_parse_is_an_error_that_names_it() {
    let place = Place::new();
    let journal = place.open();
    journal.remember(&[memory(1, tombstone(1, Certainty::Certain, 1))]).unwrap();
    tamper(&journal, "UPDATE tombstone SET certainty = 'likely'");
    let error = journal.memories(&products(), &node("node-a"), &[key(1).1]).unwrap_err().to_string();
    let row = "row products/node-a/00000000000000010000000000000000: column `certainty`";
    assert!(error.contains(row), "{error}");
}

fn arbitrary_tombstone() -> impl Strategy<Value = Tombstone> {
    (0_i64..3, any::<bool>(), 0_i64..3, any::<bool>(), any::<bool>()).prop_map(
        |(version, expired, at, certain, came_back)| Tombstone {
            version: Version(version),
            cause: if expired { TombstoneCause::Expired } else { TombstoneCause::Deleted },
            at: WallMicros(at),
            certainty: if certain { Certainty::Certain } else { Certainty::Observed },
            came_back,
        },
    )
}

/// The join of many at once, said another way: sort by strength, take the last, then ask all of its version.
fn oracle(tombstones: &[Tombstone]) -> Option<Tombstone> {
    let mut sorted = tombstones.to_vec();
    sorted.sort_by_key(|tombstone| {
        let certain = u8::from(tombstone.certainty == Certainty::Certain);
        let expired = u8::from(tombstone.cause == TombstoneCause::Expired);
        (tombstone.version, certain, tombstone.at, expired)
    });
    let mut strongest = sorted.last()?.clone();
    strongest.came_back =
        sorted.iter().any(|tombstone| tombstone.version == strongest.version && tombstone.came_back);
    Some(strongest)
}

proptest! {
    #[test]
    fn the_join_is_commutative_associative_and_idempotent(
        one in arbitrary_tombstone(), two in arbitrary_tombstone(), three in arbitrary_tombstone(),
    ) {
        prop_assert_eq!(join(&one, &two), join(&two, &one));
        prop_assert_eq!(join(&join(&one, &two), &three), join(&one, &join(&two, &three)));
        prop_assert_eq!(&join(&one, &one), &one);
        let joined = join(&one, &two);
        prop_assert_eq!(join(&joined, &two), joined);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_ledger_is_the_join_of_all_it_heard_in_any_order_and_grouping(
        heard in prop::collection::vec((0_i64..4, arbitrary_tombstone()), 1..30),
        group in 1_usize..7,
    ) {
        let place = Place::new();
        let mut journal = place.open();
        let memories: Vec<Memory> =
            heard.iter().map(|(number, tombstone)| memory(*number, tombstone.clone())).collect();
        for batch in memories.chunks(group) {
            journal.remember(batch).unwrap();
        }
        drop(journal);
        journal = place.open();
        let mut by_key: BTreeMap<i64, Vec<Tombstone>> = BTreeMap::new();
        for (number, tombstone) in &heard {
            by_key.entry(*number).or_default().push(tombstone.clone());
        }
        for number in 0..4 {
            let expected = by_key.get(&number).and_then(|all| oracle(all));
            let found = journal.memories(&products(), &node("node-a"), &[key(number).1]).unwrap();
            prop_assert_eq!(found, [expected]);
        }
        // Hearing it all again, backwards, changes nothing.
        let backwards: Vec<Memory> = memories.into_iter().rev().collect();
        prop_assert_eq!(journal.remember(&backwards).unwrap(), 0);
    }
}
