//! Rules of repairs with a client in between, or that are dropped midway.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use tokio::task::yield_now;

use super::bench::{Bench, Fixture, Stop, ensure};
use super::sample::Sample;
use crate::faulty::split_mix;
use crate::{Expected, RepairBatch, RepairItem, Write, WriteOutcome};

/// How often an apply is dropped, each time one poll later.
pub(super) const DROPS: usize = 8;

/// Begins to apply `item`, and drops that after `polls` polls.
pub(super) async fn apply_and_drop(fixture: &Fixture, item: &RepairItem, polls: usize) {
    let batch = RepairBatch { items: vec![item.clone()] };
    poll_times(&mut fixture.store.apply(&batch), polls).await;
}

/// Polls at most so often. What is in flight beneath may go on between polls.
async fn poll_times<F: Future + Unpin>(future: &mut F, polls: usize) -> Option<F::Output> {
    for _ in 0..polls {
        let polled = poll_fn(|context| Poll::Ready(Pin::new(&mut *future).poll(context))).await;
        if let Poll::Ready(output) = polled {
            return Some(output);
        }
        yield_now().await;
    }
    None
}

/// An apply that is dropped midway has happened or not, and a redelivery completes it.
pub(super) async fn dropped_apply(bench: &Bench<'_>) -> Result<(), Stop> {
    let fixture = bench.fixture().await?;
    for polls in 1..=DROPS {
        let old = bench.sample(polls as i64);
        let new = old.clone().named("new").at_version(2_000);
        let winner = fixture.winner(&new).await?;
        let before = fixture.stored(&old).await?;
        let item = fixture.repair(&old, Expected::Row(before), Write::Put(winner));
        apply_and_drop(&fixture, &item, polls).await;
        let read = fixture.document(&old).await?;
        let whole = [&old, &new].into_iter().any(|s| s.difference(&read, &fixture.table, None).is_none());
        ensure!(whole, "an apply that was dropped after {polls} polls left half a row");
        let outcome = fixture.apply_one(&item).await?;
        ensure!(
            matches!(outcome, WriteOutcome::Applied { after: Some(_) } | WriteOutcome::AlreadyThere),
            "the redelivery of an apply that was dropped after {polls} polls is {outcome:?}"
        );
        fixture.expect(&new, true, "after the redelivery of a dropped apply").await?;
        let outcome = fixture.apply_one(&item).await?;
        ensure!(
            outcome == WriteOutcome::AlreadyThere,
            "the third delivery of an apply that was dropped after {polls} polls is {outcome:?}"
        );
    }
    Ok(())
}

/// With a client at full speed on the keys under repair, no client write is lost.
pub(super) async fn racing_client(bench: &Bench<'_>) -> Result<(), Stop> {
    let fixture = bench.fixture().await?;
    if !fixture.store.capabilities().conditional_writes {
        return Err(Stop::Skipped("the store has no `conditional_writes`".to_owned()));
    }
    client_at_each_step(bench, &fixture).await?;
    race(bench, &bench.fixture().await?).await
}

/// One client's write after each number of polls of an apply: it finds a gap between compare and write at any
/// point where the store waits, each time.
async fn client_at_each_step(bench: &Bench<'_>, fixture: &Fixture) -> Result<(), Stop> {
    for polls in 0..DROPS {
        let old = bench.sample(polls as i64);
        let client = old.clone().named("client").at_version(2_000);
        let winner = fixture.winner(&old.clone().named("repaired").at_version(3_000)).await?;
        for write in [Write::Put(winner), Write::Delete] {
            let before = fixture.stored(&old).await?;
            let batch = RepairBatch { items: vec![fixture.repair(&old, Expected::Row(before), write)] };
            let mut apply = fixture.store.apply(&batch);
            let outcomes = match poll_times(&mut apply, polls).await {
                Some(outcomes) => {
                    fixture.put(&client).await?;
                    outcomes?
                }
                // Together, since the client may have to wait for a lock that the apply holds.
                None => {
                    let (put, outcomes) = tokio::join!(biased; fixture.put(&client), apply);
                    put?;
                    outcomes?
                }
            };
            ensure!(
                matches!(outcomes.as_slice(), [WriteOutcome::Applied { .. } | WriteOutcome::Changed]),
                "a repair with a client's write after {polls} polls is {outcomes:?}"
            );
            let when = format!("a client's write after {polls} polls of a repair that was {outcomes:?}");
            fixture.expect(&client, true, &when).await?;
        }
    }
    Ok(())
}

/// The client on a task of its own, as fast as it can.
///
/// Rounds end at rest, so that the verdict is exact: the client's last write was acknowledged, and any repair
/// that came after it had read an older row, so the row must be the client's last one, whatever the outcomes.
async fn race(bench: &Bench<'_>, fixture: &Fixture) -> Result<(), Stop> {
    const SEED: u64 = 3;
    const KEYS: i64 = 4;
    const ROUNDS_MIN: usize = 100;
    const ROUNDS_MAX: usize = 400;
    /// Of each of `Applied` and `Changed`; more rounds are made until there are so many.
    const OUTCOMES_MIN: usize = 10;
    let mut winners = Vec::new();
    for id in 0..KEYS {
        let repaired = bench.sample(id).named("repaired").at_version(i64::from(i32::MAX));
        winners.push(fixture.winner(&repaired).await?);
    }
    let (mut random, mut version) = (SEED, 0);
    let (mut applied, mut changed) = (0, 0);
    for round in 0..ROUNDS_MAX {
        if round >= ROUNDS_MIN && applied >= OUTCOMES_MIN && changed >= OUTCOMES_MIN {
            break;
        }
        let mut items = Vec::new();
        version += 1;
        for (id, winner) in (0..).zip(&winners) {
            let sample = bench.sample(id).at_version(version);
            let before = fixture.stored(&sample).await?;
            items.push(fixture.repair(&sample, Expected::Row(before), Write::Put(winner.clone())));
        }
        let burst = split_mix(&mut random) % 3 + 1;
        let lead = split_mix(&mut random) % 4;
        let mut rows = Vec::new();
        for _ in 0..burst {
            version += 1;
            rows.extend((0..KEYS).map(|id| fixture.row(&bench.sample(id).at_version(version))));
        }
        let replica = Arc::clone(&fixture.replica);
        let client = tokio::spawn(async move {
            for row in &rows {
                replica.put(row).await?;
                yield_now().await;
            }
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
        });
        for _ in 0..lead {
            yield_now().await;
        }
        let outcomes = fixture.apply(&items).await;
        client.await.map_err(|error| Stop::Failed(format!("the client of the harness: {error}")))??;
        for outcome in outcomes? {
            match outcome {
                WriteOutcome::Applied { .. } => applied += 1,
                WriteOutcome::Changed => changed += 1,
                other => {
                    return Err(Stop::Failed(format!(
                        "a repair against a client is {other:?} (seed {SEED})"
                    )));
                }
            }
        }
        for id in 0..KEYS {
            let last: Sample = bench.sample(id).at_version(version);
            fixture
                .expect(&last, true, &format!("a client's last write (round {round}, seed {SEED})"))
                .await?;
        }
    }
    ensure!(
        changed > 0,
        "tested nothing: the client never came between, in {ROUNDS_MAX} rounds (seed {SEED})"
    );
    Ok(())
}
