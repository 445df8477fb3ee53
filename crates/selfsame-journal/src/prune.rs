//! Pruning by age, a bounded number of rows a call. Open intents, certain tombstones, records, pins and fences
//! are never pruned here.

use std::collections::BTreeMap;
use std::time::Duration;

use rusqlite::{Params, Transaction, params};
use selfsame_core::{CollectionName, WallMicros};

use crate::columns::{self, limit};
use crate::{Journal, JournalError};

/// How long things are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Before-images (`undo_retention`).
    pub before_images: Duration,
    /// Runs and items (`retention`).
    pub runs: Duration,
    /// Settled intents; at least as long as the brakes count them. They are also kept at least as long as
    /// observed tombstones of any collection, since they tell which rows a repair wrote.
    pub intents: Duration,
    /// Observed tombstones (`tombstone_retention`), by collection. Those of another collection are kept for good.
    pub observed: BTreeMap<CollectionName, Duration>,
}

/// How much was pruned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Before-images emptied.
    pub before_images: usize,
    /// Intents with an outcome.
    pub intents: usize,
    /// Items.
    pub items: usize,
    /// Shards' results.
    pub shard_results: usize,
    /// Runs.
    pub runs: usize,
    /// Observed tombstones.
    pub tombstones: usize,
    /// Items of expired plans.
    pub plan_items: usize,
    /// Expired plans.
    pub plans: usize,
    /// Expired pauses.
    pub pauses: usize,
    /// Streaks of keys that no pass came to for long.
    pub streaks: usize,
    /// Whether the bound was reached: there may be more to prune.
    pub more: bool,
}

/// Longer than three passes at the longest interval that a schedule takes, 31 days.
const STREAKS_KEPT: Duration = Duration::from_secs(100 * 24 * 60 * 60);

/// Pages given back to the file system by one call. A guess: 16 MiB of 4 KiB pages.
const PAGES_FREED_MAX: u32 = 4096;

impl Journal {
    /// Prunes what is older than its retention at `now`, at most `rows_max` rows in one transaction. Call it
    /// again while `more` says so.
    pub fn prune(
        &self,
        now: WallMicros,
        retention: &Retention,
        rows_max: usize,
    ) -> Result<Pruned, JournalError> {
        let pruned = self.write(|transaction| {
            let mut work = Work { transaction, left: rows_max };
            let images = before(now, retention.before_images);
            let runs = before(now, retention.runs);
            let longest = retention.observed.values().copied().max().unwrap_or_default();
            let intents = before(now, retention.intents.max(longest));
            let mut pruned = Pruned {
                before_images: work.step(EMPTY_IMAGES, images)?,
                intents: work.step(DELETE_INTENTS, intents)?,
                items: work.step(DELETE_ITEMS, runs)?,
                shard_results: work.step(DELETE_SHARD_RESULTS, runs)?,
                runs: work.step(DELETE_RUNS, runs)?,
                tombstones: work.observed(now, &retention.observed)?,
                plan_items: work.step(DELETE_PLAN_ITEMS, now)?,
                plans: work.step(DELETE_PLANS, now)?,
                pauses: work.step(DELETE_PAUSES, now)?,
                streaks: work.step(DELETE_STREAKS, before(now, STREAKS_KEPT))?,
                more: false,
            };
            pruned.more = work.left == 0;
            Ok(pruned)
        })?;
        self.read(|connection| {
            let sql = format!("PRAGMA incremental_vacuum({PAGES_FREED_MAX})");
            let mut statement = connection.prepare(&sql)?;
            let mut freed = statement.query([])?;
            while freed.next()?.is_some() {}
            Ok(())
        })?;
        Ok(pruned)
    }
}

fn before(now: WallMicros, retention: Duration) -> WallMicros {
    now.plus(-i64::try_from(retention.as_micros()).unwrap_or(i64::MAX))
}

struct Work<'t> {
    transaction: &'t Transaction<'t>,
    left: usize,
}

impl Work<'_> {
    /// Runs a statement bounded by `?2` over what is older than `?1`.
    fn step(&mut self, sql: &str, horizon: WallMicros) -> Result<usize, JournalError> {
        self.run(sql, params![horizon.0, limit(self.left)])
    }

    /// Observed tombstones, each collection's by its own retention.
    fn observed(
        &mut self,
        now: WallMicros,
        retentions: &BTreeMap<CollectionName, Duration>,
    ) -> Result<usize, JournalError> {
        let mut pruned = 0;
        for (collection, retention) in retentions {
            let horizon = before(now, *retention).0;
            pruned += self.run(DELETE_OBSERVED, params![horizon, limit(self.left), collection.as_str()])?;
        }
        Ok(pruned)
    }

    fn run(&mut self, sql: &str, values: impl Params) -> Result<usize, JournalError> {
        if self.left == 0 {
            return Ok(0);
        }
        let changed = columns::run(self.transaction, sql, values)?;
        self.left = self.left.saturating_sub(changed);
        Ok(changed)
    }
}

const EMPTY_IMAGES: &str = "UPDATE intent SET before = 'pruned', before_image = NULL WHERE id IN
    (SELECT id FROM intent WHERE outcome IS NOT NULL AND before_image IS NOT NULL AND at < ?1 LIMIT ?2)";
const DELETE_INTENTS: &str =
    "DELETE FROM intent WHERE id IN (SELECT id FROM intent WHERE outcome IS NOT NULL AND at < ?1 LIMIT ?2)";
const DELETE_ITEMS: &str = "DELETE FROM item WHERE id IN
    (SELECT item.id FROM run CROSS JOIN item ON item.run = run.run WHERE run.started < ?1 LIMIT ?2)";
const DELETE_SHARD_RESULTS: &str = "DELETE FROM shard_result WHERE (run, shard) IN
    (SELECT r.run, r.shard FROM run CROSS JOIN shard_result AS r ON r.run = run.run
     WHERE run.started < ?1 LIMIT ?2)";
const DELETE_RUNS: &str = "DELETE FROM run WHERE run IN
    (SELECT run FROM run WHERE started < ?1
         AND NOT EXISTS (SELECT 1 FROM item WHERE item.run = run.run)
         AND NOT EXISTS (SELECT 1 FROM shard_result AS r WHERE r.run = run.run) LIMIT ?2)";
const DELETE_OBSERVED: &str = "DELETE FROM tombstone WHERE (collection, node, key_digest) IN
    (SELECT collection, node, key_digest FROM tombstone INDEXED BY tombstone_observed
     WHERE certainty = 'observed' AND at < ?1 AND collection = ?3 LIMIT ?2)";
const DELETE_PLAN_ITEMS: &str = "DELETE FROM plan_item WHERE id IN
    (SELECT i.id FROM plan CROSS JOIN plan_item AS i USING (collection, shard) WHERE plan.expires <= ?1 LIMIT ?2)";
const DELETE_PLANS: &str = "DELETE FROM plan WHERE (collection, shard) IN
    (SELECT collection, shard FROM plan WHERE expires <= ?1 AND NOT EXISTS
         (SELECT 1 FROM plan_item AS i WHERE i.collection = plan.collection AND i.shard = plan.shard) LIMIT ?2)";
const DELETE_PAUSES: &str = "DELETE FROM pause WHERE collection IN
    (SELECT collection FROM pause WHERE until <= ?1 LIMIT ?2)";
const DELETE_STREAKS: &str = "DELETE FROM repair_streak WHERE (collection, node, key_digest) IN
    (SELECT collection, node, key_digest FROM repair_streak WHERE at < ?1 LIMIT ?2)";

#[cfg(test)]
#[path = "prune_tests.rs"]
mod tests;
