//! Rules of reading.

use selfsame_core::{Key, Unreadable, UnreadableReason};

use super::bench::{Bench, Fixture, Stop, WHOLE, ensure, key_of, read_one};
use super::sample::Sample;
use crate::faulty::split_mix;
use crate::{Read, Scope, StoreError};

/// Every instance on a replica has one identity and one set of capabilities.
pub(super) async fn identity(bench: &Bench<'_>) -> Result<(), Stop> {
    let fixture = bench.fixture().await?;
    let (before, capabilities) = (fixture.store.identity().await?, fixture.store.capabilities());
    ensure!(!before.store_id.is_empty(), "the identity is empty");
    fixture.put(&bench.sample(1)).await?;
    for when in ["on the same instance", "on an instance opened later"] {
        let later = fixture.replica.open().await?;
        let store = if when.contains("same") { &fixture.store } else { &later };
        let now = store.identity().await?;
        ensure!(now == before, "the identity was {} and is {} {when}", before.store_id, now.store_id);
        let now = store.capabilities();
        ensure!(now == capabilities, "the capabilities were {capabilities:?} and are {now:?} {when}");
    }
    Ok(())
}

/// The counter grows, above what it is told, and is the same to every instance; no stream shows it.
pub(super) async fn counter(bench: &Bench<'_>) -> Result<(), Stop> {
    let fixture = bench.fixture().await?;
    fixture.put(&bench.sample(1)).await?;
    let Some(first) = fixture.store.identity().await?.counter else {
        let answer = fixture.store.advance_counter(0).await;
        ensure!(
            matches!(answer, Err(StoreError::Unsupported(_))),
            "a store without a counter answers {answer:?} when asked to advance it"
        );
        return Err(Stop::Skipped("the store keeps no counter".to_owned()));
    };
    let changes = fixture.replica.raw_changes().await?.map(|changes| changes.len());
    let rows = fixture.store.count().await?;
    let mut last = first;
    for above in [0, first + 41, 3] {
        let now = fixture.store.advance_counter(above).await?;
        ensure!(now > last && now > above, "the counter was {last}, and is {now} when moved above {above}");
        let later = fixture.replica.open().await?;
        for store in [&fixture.store, &later] {
            let said = store.identity().await?.counter;
            ensure!(said == Some(now), "the counter was moved to {now}, and an instance says {said:?}");
        }
        last = now;
    }
    let after = fixture.replica.raw_changes().await?.map(|changes| changes.len());
    ensure!(after == changes, "consumers of changes see the counter: {changes:?} changes became {after:?}");
    let rows_after = fixture.store.count().await?;
    ensure!(rows_after == rows, "the counter is counted: {rows} rows became {rows_after}");
    Ok(())
}

/// A row without a meaning is named, by scan and read; it is neither skipped nor absent.
pub(super) async fn unreadable_named(bench: &Bench<'_>) -> Result<(), Stop> {
    const BYTES_MAX: u64 = 4_096;
    let key_as = bench.table().mapping.spec().key_as;
    let fixture = bench.fixture_of(bench.table_with(&[bench.key_kind()], key_as, BYTES_MAX)).await?;
    for id in 0..3 {
        fixture.put(&bench.sample(id)).await?;
    }
    let meaningless = bench.sample(3).unreadable();
    let too_large = bench.sample(4).named(&"x".repeat(5_000));
    fixture.put(&meaningless).await?;
    fixture.put(&too_large).await?;
    named(&fixture, &meaningless, &UnreadableReason::Expiry("expires_at".to_owned())).await?;
    named(&fixture, &too_large, &UnreadableReason::TooLarge(BYTES_MAX)).await?;
    fixture.expect(&bench.sample(0), true, "a readable row beside unreadable ones").await
}

async fn named(fixture: &Fixture, sample: &Sample, reason: &UnreadableReason) -> Result<(), Stop> {
    let key = fixture.key(sample);
    let check = |unreadable: &Unreadable, how: &str| {
        ensure!(
            unreadable.key.as_ref() == Some(&key) && unreadable.reason == *reason,
            "{how} reports `{unreadable}` for key {key}, which is unreadable because: {reason}"
        );
        ensure!(!unreadable.place.is_empty(), "{how} does not say where the unreadable row of key {key} is");
        Ok(())
    };
    let seen = fixture.walk(Scope::All, WHOLE).await?;
    match seen.iter().find(|row| key_of(row) == Some(&key)) {
        Some(Err(unreadable)) => check(unreadable, "a scan")?,
        Some(Ok(_)) => return Err(Stop::Failed(format!("a scan reads key {key}, which has no meaning"))),
        None => return Err(Stop::Failed(format!("a scan skips the unreadable row of key {key}"))),
    }
    match fixture.read(sample).await? {
        Read::Unreadable(unreadable) => check(&unreadable, "a read"),
        other => Err(Stop::Failed(format!("the unreadable row of key {key} reads as {other:?}"))),
    }
}

/// A read sees every write that was acknowledged before it, on every instance.
pub(super) async fn fresh_read(bench: &Bench<'_>) -> Result<(), Stop> {
    let fixture = bench.fixture().await?;
    let other = fixture.replica.open().await?;
    // A scan and a read first, so that whoever caches has something to be stale with.
    fixture.put(&bench.sample(1)).await?;
    other.scan(Scope::All, None, WHOLE).await?;
    fixture.store.scan(Scope::All, None, WHOLE).await?;
    for round in 1..=10 {
        let written = bench.sample(1).at_version(round).named(&format!("round-{round}"));
        fixture.put(&written).await?;
        for (store, instance) in [(&fixture.store, "an instance"), (&other, "a second instance")] {
            let read = read_one(&**store, &fixture.key(&written)).await?;
            let difference = match read.document() {
                Some(document) => written.difference(document, &fixture.table, None),
                None => Some(format!("{read:?}")),
            };
            if let Some(difference) = difference {
                let why = format!("{instance} does not see the {round}. acknowledged write: {difference}");
                return Err(Stop::Failed(why));
            }
        }
        fixture.delete(&written).await?;
        for (store, instance) in [(&fixture.store, "an instance"), (&other, "a second instance")] {
            let read = read_one(&**store, &fixture.key(&written)).await?;
            ensure!(read == Read::Absent, "{instance} reads {read:?} after the {round}. acknowledged delete");
        }
    }
    Ok(())
}

/// One answer for each key, in the order of the keys, for 10 000 keys too.
pub(super) async fn read_order(bench: &Bench<'_>) -> Result<(), Stop> {
    const SEED: u64 = 2;
    /// As many as an exchange confirms at a time (`confirm_keys_max`).
    const KEYS: i64 = 10_000;
    let fixture = bench.fixture().await?;
    let present = |id: i64| id % 250 == 0;
    for id in (0..KEYS).filter(|id| present(*id)) {
        let sample = bench.sample(id);
        fixture.put(&if id % 1_000 == 0 { sample.marked() } else { sample }).await?;
    }
    let none = fixture.store.read(&[]).await?;
    ensure!(none.is_empty(), "{} answers for no key", none.len());
    let mut ids: Vec<i64> = (0..KEYS).collect();
    let mut random = SEED;
    for at in (1..ids.len()).rev() {
        ids.swap(at, split_mix(&mut random) as usize % (at + 1));
    }
    let keys: Vec<Key> = ids.iter().map(|id| fixture.key(&bench.sample(*id))).collect();
    let answers = fixture.store.read(&keys).await?;
    ensure!(answers.len() == keys.len(), "{} answers for {} keys", answers.len(), keys.len());
    for ((id, key), answer) in ids.iter().zip(&keys).zip(&answers) {
        let right = match answer {
            Read::Live(document) => present(*id) && id % 1_000 != 0 && document.entry.key == *key,
            Read::Marked(document) => id % 1_000 == 0 && document.entry.key == *key,
            Read::Absent => !present(*id),
            Read::Unreadable(_) => false,
        };
        ensure!(right, "key {key} reads as {answer:?} among {KEYS} keys (seed {SEED})");
    }
    Ok(())
}
