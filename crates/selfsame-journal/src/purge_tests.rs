use proptest::prelude::*;
use selfsame_core::{Certainty, Fingerprinter, KeyDigest};

use super::*;
use crate::LedgerStep;
use crate::testing::*;

fn two() -> ShardCount {
    ShardCount::new(2).unwrap()
}

/// A memory of a key of shard `number % 2` of two.
fn memory(number: i64, certainty: Certainty, at: i64) -> Memory {
    let (key, KeyDigest(mut digest)) = key(number);
    digest[15] = u8::try_from(number % 2).unwrap();
    Memory { key_digest: KeyDigest(digest), key, tombstone: tombstone(1, certainty, at) }
}

fn remember(journal: &Journal, on: &str, memories: &[Memory]) {
    let steps: Vec<LedgerStep> = memories.iter().cloned().map(LedgerStep::Gone).collect();
    journal.note(&products(), &node(on), &steps, None).unwrap();
}

fn left(journal: &Journal, on: &str) -> Vec<Memory> {
    journal.memories_after(&products(), &node(on), None, 99).unwrap()
}

fn raise(journal: &Journal, raised: &[(u32, i64)]) -> Vec<Memory> {
    let raised: Vec<_> = raised.iter().map(|(shard, at)| (ShardId(*shard), WallMicros(*at))).collect();
    journal.raise_horizons(&products(), &node("a"), two(), &raised).unwrap()
}

fn horizons(journal: &Journal) -> Vec<(u32, i64)> {
    let found = journal.purge_horizons(&products(), &node("a"), two()).unwrap();
    found.into_iter().map(|(shard, at)| (shard.0, at.0)).collect()
}

#[test]
fn a_horizon_forgets_what_is_certain_and_at_or_below_it_in_its_shard() {
    use Certainty::{Certain, Observed};
    let place = Place::new();
    let journal = place.open();
    let all = [
        memory(2, Certain, 4),
        memory(4, Certain, 5),
        memory(6, Certain, 6),
        memory(8, Observed, 4),
        memory(1, Certain, 4),
    ];
    remember(&journal, "a", &all);
    remember(&journal, "b", &all);
    assert_eq!(raise(&journal, &[(0, 5)]), [all[0].clone(), all[1].clone()]);
    drop(journal);
    let journal = place.open();
    assert_eq!(left(&journal, "a"), [all[4].clone(), all[2].clone(), all[3].clone()]);
    assert_eq!(left(&journal, "b").len(), all.len(), "another replica's ledger");
    assert_eq!(horizons(&journal), [(0, 5)]);
    assert_eq!(raise(&journal, &[(0, 6), (1, 3)]), [all[2].clone()]);
    assert_eq!(horizons(&journal), [(0, 6), (1, 3)]);
    assert_eq!(raise(&journal, &[]), []);
}

#[test]
fn a_horizon_never_goes_back_and_starts_anew_with_other_shards() {
    let place = Place::new();
    let journal = place.open();
    raise(&journal, &[(0, 5), (1, 7)]);
    raise(&journal, &[(0, 4), (1, 8)]);
    assert_eq!(horizons(&journal), [(0, 5), (1, 8)]);
    let four = ShardCount::new(4).unwrap();
    let of_four = || journal.purge_horizons(&products(), &node("a"), four).unwrap();
    assert_eq!(of_four(), []);
    journal.raise_horizons(&products(), &node("a"), four, &[(ShardId(3), WallMicros(1))]).unwrap();
    assert_eq!(of_four(), [(ShardId(3), WallMicros(1))]);
    assert_eq!(
        horizons(&journal),
        [],
        "what was known of the shards before says nothing when they come back"
    );
}

#[test]
fn under_another_secret_horizons_start_anew() {
    let place = Place::new();
    let journal = place.open();
    let rekey = |secret: &[u8]| {
        let by = Fingerprinter::new("shop", "products", secret);
        journal.rekey(&products(), &by.check_value(), |key| by.key_digest(key)).unwrap()
    };
    rekey(b"old");
    raise(&journal, &[(0, 5)]);
    rekey(b"old");
    assert_eq!(horizons(&journal), [(0, 5)]);
    rekey(b"new");
    assert_eq!(horizons(&journal), []);
}

#[test]
fn a_journal_of_the_third_format_is_upgraded_and_forgets_nothing() {
    let place = Place::new();
    let journal = place.open();
    let known = memory(2, Certainty::Certain, 4);
    remember(&journal, "a", std::slice::from_ref(&known));
    tamper(&journal, "DROP TABLE scan_note; DROP TABLE purge_horizon; DROP INDEX tombstone_certain;");
    tamper(&journal, "ALTER TABLE vanish DROP COLUMN scan; ALTER TABLE run DROP COLUMN abandoned;");
    tamper(&journal, "PRAGMA user_version = 3;");
    drop(journal);
    let journal = place.open();
    assert_eq!((left(&journal, "a"), horizons(&journal)), (vec![known.clone()], vec![]));
    assert_eq!(raise(&journal, &[(0, 4)]), [known]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn what_is_left_is_what_no_horizon_covers(
        known in prop::collection::btree_map(0_i64..20, (any::<bool>(), 0_i64..9), 0..20),
        raised in prop::collection::vec((0_u32..2, 0_i64..9), 0..5),
    ) {
        let place = Place::new();
        let journal = place.open();
        let certainty = |certain| if certain { Certainty::Certain } else { Certainty::Observed };
        let all: Vec<Memory> =
            known.into_iter().map(|(number, (certain, at))| memory(number, certainty(certain), at)).collect();
        remember(&journal, "a", &all);
        let mut forgotten = 0;
        for raised in &raised {
            forgotten += raise(&journal, &[*raised]).len();
        }
        let covered = |memory: &Memory| {
            let shard = memory.key_digest.shard(two()).0;
            memory.tombstone.certainty == Certainty::Certain
                && raised.iter().any(|(of, at)| *of == shard && memory.tombstone.at.0 <= *at)
        };
        let expected: Vec<Memory> = {
            let mut kept: Vec<Memory> = all.iter().filter(|memory| !covered(memory)).cloned().collect();
            kept.sort_by_key(|memory| memory.key_digest);
            kept
        };
        prop_assert_eq!(forgotten, all.len() - expected.len());
        prop_assert_eq!(left(&journal, "a"), expected);
    }
}
