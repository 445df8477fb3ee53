use proptest::prelude::*;

use super::*;
use crate::testing::*;

fn note(journal: &Journal, on: &str, steps: &[LedgerStep]) -> Vec<MemoryChange> {
    journal.note(&products(), &node(on), steps, None).unwrap()
}

/// How many memories changed.
fn remember(journal: &Journal, on: &str, memories: &[Memory]) -> usize {
    let steps: Vec<LedgerStep> = memories.iter().cloned().map(LedgerStep::Gone).collect();
    note(journal, on, &steps).len()
}

#[test]
fn memories_survive_a_reopen_and_end_when_told() {
    let place = Place::new();
    let expired =
        Tombstone { cause: TombstoneCause::Expired, came_back: true, ..tombstone(-3, Certainty::Certain, 7) };
    let observed = tombstone(4, Certainty::Observed, 8);
    let journal = place.open();
    let all = [memory(1, expired.clone()), memory(2, observed.clone())];
    assert_eq!(remember(&journal, "node-a", &all), 2);
    assert_eq!(remember(&journal, "node-a", &all), 0);
    drop(journal);
    let journal = place.open();
    let memories =
        |on: &str| journal.memories(&products(), &node(on), &[key(1).1, key(3).1, key(2).1]).unwrap();
    assert_eq!(memories("node-a"), [Some(expired), None, Some(observed)]);
    assert_eq!(memories("node-b"), [None, None, None]);
    let count = |on: &str| journal.memory_count(&products(), &node(on)).unwrap();
    assert_eq!(count("node-a"), MemoryCount { certain: 1, observed: 1 });
    assert_eq!(count("node-b"), MemoryCount::default());
    let inserted = [1, 3].map(|number| LedgerStep::Inserted(key(number).1, Version(0)));
    assert_eq!(note(&journal, "node-a", &inserted).len(), 1);
    assert_eq!(count("node-a"), MemoryCount { certain: 0, observed: 1 });
}

#[test]
fn the_whole_ledger_is_read_page_by_page() {
    let place = Place::new();
    let journal = place.open();
    let all: Vec<Memory> =
        (0..7).map(|number| memory(number, tombstone(number, Certainty::Certain, 1))).collect();
    remember(&journal, "node-a", &all);
    remember(&journal, "node-b", &all[..1]);
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
    remember(&journal, "node-a", &[memory(1, tombstone(1, Certainty::Certain, 1))]);
    tamper(&journal, "UPDATE tombstone SET certainty = 'likely'");
    let error = journal.memories(&products(), &node("node-a"), &[key(1).1]).unwrap_err().to_string();
    let row = "row products/node-a/00000000000000010000000000000000: column `certainty`";
    assert!(error.contains(row), "{error}");
}

#[test]
fn steps_change_memories_as_the_core_decides() {
    let place = Place::new();
    let journal = place.open();
    let (_, digest) = key(1);
    let certain = tombstone(5, Certainty::Certain, 1);
    let step = |step: LedgerStep| {
        let changes = note(&journal, "node-a", &[step]);
        changes.into_iter().next().map(|change| (change.before, change.after))
    };
    let gone = || LedgerStep::Gone(memory(1, certain.clone()));
    let came_back = Tombstone { came_back: true, ..certain.clone() };
    assert_eq!(step(LedgerStep::Inserted(digest, Version(9))), None, "nothing was remembered");
    assert_eq!(step(gone()), Some((None, Some(certain.clone()))));
    assert_eq!(step(gone()), None);
    assert_eq!(step(LedgerStep::Inserted(digest, Version(4))), None);
    assert_eq!(
        step(LedgerStep::Repaired(digest, Some(Version(5)))),
        None,
        "a repair does not outweigh a proof"
    );
    assert_eq!(
        step(LedgerStep::Inserted(digest, Version(5))),
        Some((Some(certain), Some(came_back.clone())))
    );
    assert_eq!(step(LedgerStep::Repaired(digest, Some(Version(6)))), Some((Some(came_back), None)));
}

#[test]
fn the_feed_advances_with_its_steps() {
    let place = Place::new();
    let journal = place.open();
    let position = |journal: &Journal| journal.feed_position(&products(), &node("node-a")).unwrap();
    assert_eq!(position(&journal), None);
    let steps = [LedgerStep::Gone(memory(1, tombstone(5, Certainty::Certain, 1)))];
    journal.note(&products(), &node("node-a"), &steps, Some(7)).unwrap();
    drop(journal);
    let journal = place.open();
    assert_eq!(position(&journal), Some(7));
    // A position that cannot be stored takes the steps with it.
    let steps = [LedgerStep::Gone(memory(2, tombstone(5, Certainty::Certain, 1)))];
    journal.note(&products(), &node("node-a"), &steps, Some(u64::MAX)).unwrap_err();
    assert_eq!(journal.memory_count(&products(), &node("node-a")).unwrap().certain, 1);
    assert_eq!(position(&journal), Some(7));
}

fn arbitrary_tombstone() -> impl Strategy<Value = Tombstone> {
    (0_i64..3, any::<bool>(), 0_i64..3, any::<bool>(), any::<bool>(), any::<bool>()).prop_map(
        |(version, expired, at, certain, own, came_back)| Tombstone {
            version: Version(version),
            cause: if expired { TombstoneCause::Expired } else { TombstoneCause::Deleted },
            at: WallMicros(at),
            certainty: if certain { Certainty::Certain } else { Certainty::Observed },
            owner: if own { TombstoneOwner::Own } else { TombstoneOwner::Received },
            came_back,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_ledger_is_the_same_in_whatever_order_and_grouping_it_heard(
        heard in prop::collection::vec((0_i64..4, arbitrary_tombstone()), 1..30),
        group in 1_usize..7,
    ) {
        let place = Place::new();
        let mut journal = place.open();
        let memories: Vec<Memory> =
            heard.iter().map(|(number, tombstone)| memory(*number, tombstone.clone())).collect();
        for batch in memories.chunks(group) {
            remember(&journal, "node-a", batch);
        }
        let backwards: Vec<Memory> = memories.iter().rev().cloned().collect();
        remember(&journal, "node-b", &backwards);
        drop(journal);
        journal = place.open();
        let all = |on: &str| journal.memories_after(&products(), &node(on), None, 99).unwrap();
        prop_assert_eq!(all("node-a"), all("node-b"));
        // Hearing it all again changes nothing.
        prop_assert_eq!(remember(&journal, "node-a", &backwards), 0);
    }
}
