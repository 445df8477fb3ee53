//! Rules of counting and scanning.

use std::collections::BTreeMap;

use selfsame_core::{Document, Key, Unreadable};

use super::bench::{Bench, Fixture, Stop, WHOLE, check_page, ensure, key_of};
use super::sample::Sample;
use crate::faulty::split_mix;
use crate::{Cursor, PageSize, Scope, StoreError};

type Seen = Vec<Result<Document, Unreadable>>;

/// All rows count, marked and unreadable ones too.
pub(super) async fn count(bench: &Bench<'_>) -> Result<(), Stop> {
    let fixture = bench.fixture().await?;
    let expect = async |count: u64, when: &str| {
        let counted = fixture.store.count().await?;
        ensure!(counted == count, "{counted} rows {when} where {count} are");
        Ok(())
    };
    expect(0, "in an empty replica").await?;
    for id in 0..5 {
        fixture.put(&bench.sample(id)).await?;
    }
    fixture.put(&bench.sample(5).marked()).await?;
    fixture.put(&bench.sample(6).unreadable()).await?;
    expect(7, "after seven inserts, one marked and one unreadable").await?;
    fixture.put(&bench.sample(0).named("again")).await?;
    fixture.delete(&bench.sample(1)).await?;
    expect(6, "after an update and a delete").await
}

/// Pages of any size visit each row exactly once and keep to their limits.
pub(super) async fn scan_pages(bench: &Bench<'_>) -> Result<(), Stop> {
    let fixture = bench.fixture().await?;
    let empty = fixture.store.scan(Scope::All, None, WHOLE).await?;
    ensure!(empty.rows.is_empty() && empty.next.is_none(), "an empty replica's first page is not its last");
    let samples = fill(bench, &fixture, 53).await?;
    let rows = [1, 2, 7, 53, 1_000].map(|rows| PageSize { rows, ..WHOLE });
    let bytes = [1, 200, 5_000].map(|bytes| PageSize { bytes, ..WHOLE });
    for page in rows.into_iter().chain(bytes) {
        let seen = fixture.walk(Scope::All, page).await?;
        exactly_once(&fixture, &samples, &seen, &format!("a scan with {page:?}"))?;
    }
    Ok(())
}

/// A cursor means the same to an instance that was opened later, and when used twice.
pub(super) async fn cursor_resumes(bench: &Bench<'_>) -> Result<(), Stop> {
    let fixture = bench.fixture().await?;
    let samples = fill(bench, &fixture, 20).await?;
    let page = PageSize { rows: 3, ..WHOLE };
    let (mut seen, mut cursor) = (Vec::new(), None::<Cursor>);
    for _ in 0..=samples.len() {
        let store = fixture.replica.open().await?;
        let found = store.scan(Scope::All, cursor.as_ref(), page).await?;
        let again = store.scan(Scope::All, cursor.as_ref(), page).await?;
        ensure!(found == again, "a cursor that is used twice gives two different pages");
        check_page(&found.rows, found.next.as_ref(), page)?;
        seen.extend(found.rows);
        cursor = found.next;
        if cursor.is_none() {
            break;
        }
    }
    ensure!(cursor.is_none(), "a scan that is resumed on new instances does not end");
    exactly_once(&fixture, &samples, &seen, "a scan that is resumed on new instances")
}

/// A cursor that the store did not give is an error.
pub(super) async fn cursor_refused(bench: &Bench<'_>) -> Result<(), Stop> {
    let fixture = bench.fixture().await?;
    fill(bench, &fixture, 3).await?;
    for bytes in [&b""[..], b"not a cursor", &[0xFF; 64], &[0; 9]] {
        let found = fixture.store.scan(Scope::All, Some(&Cursor(bytes.to_vec())), WHOLE).await;
        ensure!(
            found == Err(StoreError::Cursor),
            "the cursor {bytes:?} was not refused as one of another store"
        );
    }
    Ok(())
}

/// Rows that exist throughout a scan are visited once, whatever happens around them.
pub(super) async fn scan_under_writes(bench: &Bench<'_>) -> Result<(), Stop> {
    const SEED: u64 = 1;
    let fixture = bench.fixture().await?;
    // Rows with a number divisible by 3 stay; the others come and go.
    let stays = |id: i64| id % 3 == 0;
    let mut present: BTreeMap<Key, i64> = BTreeMap::new();
    for sample in fill(bench, &fixture, 60).await? {
        present.insert(fixture.key(&sample), sample.amount);
    }
    let stable: Vec<Sample> = (0..60).filter(|id| stays(*id)).map(|id| bench.sample(id)).collect();
    let (mut random, mut seen, mut cursor, mut fresh) = (SEED, Seen::new(), None::<Cursor>, 60);
    loop {
        let found = fixture.store.scan(Scope::All, cursor.as_ref(), PageSize { rows: 4, ..WHOLE }).await?;
        // The row on which the cursor stands is the one whose loss confuses most.
        let last = found.rows.last().and_then(key_of).and_then(|key| present.get(key)).copied();
        seen.extend(found.rows);
        cursor = found.next;
        if cursor.is_none() || seen.len() > 500 {
            break;
        }
        let drawn = (split_mix(&mut random) % 60) as i64;
        for gone in [last, Some(drawn)].into_iter().flatten().filter(|id| !stays(*id)) {
            fixture.delete(&bench.sample(gone)).await?;
        }
        let touched = &stable[split_mix(&mut random) as usize % stable.len()];
        fixture.put(&touched.clone().with_views(1)).await?;
        // New rows on both sides of the cursor. Few, so that the scan ends.
        if fresh < 90 {
            for id in [-fresh, fresh] {
                // Minus and plus 60 and so on; those divisible by 3 were not there throughout, and do not count.
                fixture.put(&bench.sample(id).named("new")).await?;
            }
            fresh += 1;
        }
    }
    ensure!(cursor.is_none(), "a scan among writes does not end (seed {SEED})");
    let keys: Vec<Key> = stable.iter().map(|sample| fixture.key(sample)).collect();
    seen.retain(|row| key_of(row).is_some_and(|key| keys.contains(key)));
    let mut visits: BTreeMap<&Key, usize> = keys.iter().map(|key| (key, 0)).collect();
    for key in seen.iter().filter_map(key_of) {
        *visits.entry(key).or_default() += 1;
    }
    match visits.into_iter().find(|(_, count)| *count != 1) {
        None => Ok(()),
        Some((key, count)) => Err(Stop::Failed(format!(
            "key {key} existed throughout the scan and was visited {count} times (seed {SEED})"
        ))),
    }
}

/// A shard's scan has all rows of the shard, and is less than a whole one if the store says so.
pub(super) async fn shard_scope(bench: &Bench<'_>) -> Result<(), Stop> {
    let fixture = bench.fixture().await?;
    let samples = fill(bench, &fixture, 40).await?;
    let spec = fixture.table.mapping.spec();
    let mut visited = 0;
    for shard in spec.shards.ids() {
        let seen = fixture.walk(Scope::Shard(shard), PageSize { rows: 3, ..WHOLE }).await?;
        visited += seen.len();
        let mut keys: Vec<&Key> = seen.iter().filter_map(key_of).collect();
        let visits = keys.len();
        keys.sort_unstable();
        keys.dedup();
        ensure!(keys.len() == visits, "shard {shard}: a row is visited twice");
        for sample in &samples {
            let key = fixture.key(sample);
            let own = fixture.table.mapping.fingerprinter().key_digest(&key).shard(spec.shards) == shard;
            ensure!(!own || keys.contains(&&key), "shard {shard}: its key {key} is not visited");
        }
    }
    if !fixture.store.capabilities().shard_filter {
        bench.skip("that a shard's scan is less: the store has no `shard_filter`".to_owned());
        return Ok(());
    }
    let all = samples.len() * spec.shards.get() as usize;
    ensure!(visited < all, "the scans of single shards visit everything, against `shard_filter`");
    Ok(())
}

/// Writes `count` documents, every tenth of them some kilobytes long.
async fn fill(bench: &Bench<'_>, fixture: &Fixture, count: i64) -> Result<Vec<Sample>, Stop> {
    let mut samples = Vec::new();
    for id in 0..count {
        let sample = bench.sample(id);
        let long = sample.clone().named(&"x".repeat(3_000));
        samples.push(if id % 10 == 9 { long } else { sample });
        fixture.put(&samples[samples.len() - 1]).await?;
    }
    Ok(samples)
}

/// Fails unless `seen` is `samples`, in any order.
pub(super) fn exactly_once(
    fixture: &Fixture,
    samples: &[Sample],
    seen: &[Result<Document, Unreadable>],
    what: &str,
) -> Result<(), Stop> {
    let mut expected: BTreeMap<Key, &Sample> =
        samples.iter().map(|sample| (fixture.key(sample), sample)).collect();
    for row in seen {
        let document = row.as_ref().map_err(|row| Stop::Failed(format!("{what}: unreadable: {row}")))?;
        let Some(sample) = expected.remove(&document.entry.key) else {
            let key = &document.entry.key;
            return Err(Stop::Failed(format!("{what}: key {key} was visited twice, or never written")));
        };
        if let Some(difference) = sample.difference(document, &fixture.table, None) {
            return Err(Stop::Failed(format!("{what}: {difference}")));
        }
    }
    match expected.keys().next() {
        None => Ok(()),
        Some(key) => {
            Err(Stop::Failed(format!("{what}: {} rows were missed, key {key} first", expected.len())))
        }
    }
}
