//! Rules of change streams: the store's feed, and what its other consumers see.

use selfsame_core::{Key, OriginMarker, RowDigest};

use super::RawChange;
use super::bench::{Bench, Fixture, Stop, WHOLE, ensure};
use super::rules_race::{DROPS, apply_and_drop};
use super::sample::Sample;
use crate::{Change, ChangeKind, Expected, FeedPosition, PageSize, StoreError, Write, WriteOutcome};

/// A repair's change carries its marker whenever it is seen; nothing else carries one.
pub(super) async fn marker_with_write(bench: &Bench<'_>) -> Result<(), Stop> {
    let fixture = bench.fixture().await?;
    let capabilities = fixture.store.capabilities();
    if !capabilities.origin_channel {
        return Err(Stop::Skipped("the store has no `origin_channel`".to_owned()));
    }
    if streams(&fixture).await?.is_empty() {
        let why = "neither the harness nor the store's feed shows a change stream";
        return Err(Stop::Skipped(why.to_owned()));
    }
    if fixture.replica.raw_changes().await?.is_none() {
        bench.skip(
            "what other consumers see: the harness shows no raw stream, the store's feed was asked".into(),
        );
    }
    let mut repairs: Vec<(Key, String)> = Vec::new();
    for polls in 1..=DROPS as i64 {
        let (old, client) = (bench.sample(polls), bench.sample(1_000 + polls));
        let winner = fixture.winner(&old.clone().named("new")).await?;
        let before = fixture.stored(&old).await?;
        let update = fixture.repair(&old, Expected::Row(before), Write::Put(winner.clone()));
        // Dropped midway, a client's write, the redelivery: between any two of them somebody looks.
        apply_and_drop(&fixture, &update, polls as usize).await;
        marked_if_written(&fixture, &old, before, &update.marker).await?;
        fixture.put(&client).await?;
        fixture.apply_one(&update).await?;
        let row = fixture.document(&old).await?.row_digest;
        // That it is written in the end is another rule's.
        if row != before {
            repairs.push((fixture.key(&old), update.marker.to_string()));
        }
        // Each kind of write, and repairs that write nothing.
        let unmarked = unmarked_changes(&fixture).await?;
        let delete = fixture.repair(&old, Expected::Row(row), Write::Delete);
        let insert = fixture.repair(&old, Expected::Absent, Write::Put(winner));
        let changed = fixture.repair(&client, Expected::Absent, Write::Delete);
        for (item, writes) in [(&delete, true), (&insert, true), (&changed, false), (&insert, false)] {
            let outcome = fixture.apply_one(item).await?;
            if writes && matches!(outcome, WriteOutcome::Applied { .. }) {
                repairs.push((fixture.key(&old), item.marker.to_string()));
            }
        }
        ensure!(unmarked_changes(&fixture).await? == unmarked, "repairs alone made changes without a marker");
        fixture.put(&client.clone().named("again")).await?;
    }
    repairs.sort_unstable();
    for (stream, changes) in streams(&fixture).await? {
        let mut marked: Vec<(Key, String)> = changes
            .iter()
            .filter_map(|change| Some((change.key.clone(), change.origin.as_ref()?.to_string())))
            .collect();
        marked.sort_unstable();
        let missing = repairs.iter().find(|repair| !marked.contains(repair));
        let invented = marked.iter().find(|change| !repairs.contains(change));
        ensure!(
            marked == repairs,
            "{stream}: {} repairs wrote and {} changes are marked; missing {missing:?}, not a repair's {invented:?}",
            repairs.len(),
            marked.len(),
        );
    }
    Ok(())
}

/// While a repair may or may not have been applied, its write and its marker are both there, or neither is.
async fn marked_if_written(
    fixture: &Fixture,
    sample: &Sample,
    before: RowDigest,
    marker: &OriginMarker,
) -> Result<(), Stop> {
    // Two looks, since a dropped apply may still be under way: what the first sees written must be marked, and
    // what is marked must be written by the second.
    let written_before = fixture.document(sample).await?.row_digest != before;
    let streams = streams(fixture).await?;
    let written_after = fixture.document(sample).await?.row_digest != before;
    let key = fixture.key(sample);
    for (stream, changes) in streams {
        let last = changes.iter().rfind(|change| change.key == key);
        let marked = last.is_some_and(|change| change.origin.as_ref() == Some(marker));
        ensure!(marked || !written_before, "{stream}: the write of key {key} is there, and not its marker");
        ensure!(!marked || written_after, "{stream}: the marker of key {key} is there, and not its write");
    }
    Ok(())
}

/// How many changes without a marker each stream has.
async fn unmarked_changes(fixture: &Fixture) -> Result<Vec<usize>, Stop> {
    let unmarked = |changes: Vec<RawChange>| changes.iter().filter(|change| change.origin.is_none()).count();
    Ok(streams(fixture).await?.into_iter().map(|(_, changes)| unmarked(changes)).collect())
}

/// Every stream of the replica's changes that can be read, by name, from its start.
async fn streams(fixture: &Fixture) -> Result<Vec<(&'static str, Vec<RawChange>)>, Stop> {
    let mut streams = Vec::new();
    if let Some(changes) = fixture.replica.raw_changes().await? {
        streams.push(("the raw stream", changes));
    }
    if fixture.store.capabilities().ordered_feed {
        let raw = |change: Change| RawChange { key: change.key, kind: change.kind, origin: change.origin };
        let changes = feed(fixture, FeedPosition(0), WHOLE).await?.into_iter().map(raw).collect();
        streams.push(("the feed", changes));
    }
    Ok(streams)
}

/// Follows the feed to its end.
async fn feed(fixture: &Fixture, from: FeedPosition, limit: PageSize) -> Result<Vec<Change>, Stop> {
    let (mut all, mut position) = (Vec::new(), from);
    for _ in 0..5_000 {
        let found = fixture.store.changes(position, limit).await?;
        ensure!(!found.gap, "the feed reports a gap after {position:?}, where none is");
        ensure!(found.changes.len() <= limit.rows, "a page of the feed has more than {} changes", limit.rows);
        for change in &found.changes {
            let before = all.last().map_or(from, |change: &Change| change.position);
            ensure!(change.position > before, "the feed goes from {before:?} to {:?}", change.position);
            ensure!(
                change.position <= found.next,
                "the feed's next position {:?} is before its last change {:?}",
                found.next,
                change.position
            );
            all.push(change.clone());
        }
        if found.changes.is_empty() {
            return Ok(all);
        }
        position = found.next;
    }
    Err(Stop::Failed("the feed does not end".to_owned()))
}

/// Changes come in commit order, once each, from any position.
pub(super) async fn feed_order(bench: &Bench<'_>) -> Result<(), Stop> {
    let fixture = bench.fixture().await?;
    if !fixture.store.capabilities().ordered_feed {
        let answer = fixture.store.changes(FeedPosition(0), WHOLE).await;
        ensure!(
            matches!(answer, Err(StoreError::Unsupported(_))),
            "a store without `ordered_feed` answers {answer:?} when asked for changes"
        );
        return Err(Stop::Skipped("the store has no `ordered_feed`".to_owned()));
    }
    let mut expected = Vec::new();
    for id in [5, 2, 9] {
        let sample = bench.sample(id);
        let mut client = |kind, old| expected.push((fixture.key(&sample), kind, old));
        fixture.put(&sample.clone().at_version(1)).await?;
        client(ChangeKind::Insert, None);
        fixture.put(&sample.clone().at_version(2)).await?;
        client(ChangeKind::Update, Some(1_000));
    }
    let sample = bench.sample(2).at_version(2);
    let row = fixture.document(&sample).await?;
    fixture.apply_one(&fixture.repair(&sample, Expected::Row(row.row_digest), Write::Delete)).await?;
    expected.push((fixture.key(&sample), ChangeKind::Delete, Some(2_000)));
    fixture.apply_one(&fixture.repair(&sample, Expected::Absent, Write::Put(row.row))).await?;
    expected.push((fixture.key(&sample), ChangeKind::Insert, None));
    fixture.delete(&bench.sample(9)).await?;
    expected.push((fixture.key(&bench.sample(9)), ChangeKind::Delete, Some(2_000)));

    let all = feed(&fixture, FeedPosition(0), WHOLE).await?;
    let seen: Vec<(Key, ChangeKind)> = all.iter().map(|change| (change.key.clone(), change.kind)).collect();
    let wanted: Vec<(Key, ChangeKind)> = expected.iter().map(|(key, kind, _)| (key.clone(), *kind)).collect();
    ensure!(seen == wanted, "the feed shows {seen:?} where {wanted:?} happened");
    for (change, (key, _, old)) in all.iter().zip(&expected) {
        // A feed need not know the old row; if it tells, that must be it.
        let said = change.old;
        let told = said.is_none_or(|said| Some(said.version.0) == *old && said.expiry.is_none());
        ensure!(told, "key {key}: the row before was {said:?} instead of version {old:?} without an expiry");
    }
    let reopened = Fixture { store: fixture.replica.open().await?, ..fixture };
    for limit in [1, 2, 3] {
        let paged = feed(&reopened, FeedPosition(0), PageSize { rows: limit, ..WHOLE }).await?;
        ensure!(paged == all, "the feed in pages of {limit} shows other changes than as a whole");
    }
    for (at, change) in all.iter().enumerate() {
        let rest = feed(&reopened, change.position, WHOLE).await?;
        ensure!(
            rest == all[at + 1..],
            "the feed after {:?} does not go on with the next change",
            change.position
        );
    }
    Ok(())
}
