//! Results: the verdict and the counters of one shard, and what they add up to for a run.

use std::collections::BTreeMap;

use rusqlite::{Connection, params};
use selfsame_core::{AgentName, Epoch, RunId, ShardId, ShardVerdict, UnknownReason, WallMicros};

use crate::columns::{self, Columns, Table, stored};
use crate::fences::counter_of;
use crate::{Journal, JournalError};

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Keys whose entries stood behind the compared roots.
    pub keys_compared: u64,
    /// Keys that differed in both reads.
    pub mismatches: u64,
    /// Keys repaired.
    pub repaired: u64,
    /// Keys that agreed when they were read.
    pub transient: u64,
    /// Keys left because they moved.
    pub moving: u64,
    /// Keys held for a person.
    pub held: u64,
    /// Encoded peer messages sent.
    pub wire_sent_bytes: u64,
    /// Encoded peer messages received.
    pub wire_received_bytes: u64,
    /// Documents fetched for repairs.
    pub document_bytes: u64,
}

/// How one shard's exchange ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardResult {
    /// The run.
    pub run: RunId,
    /// The shard.
    pub shard: ShardId,
    /// Who ran the exchange.
    pub owner: AgentName,
    /// Under which epoch.
    pub epoch: Epoch,
    /// What is known after the repairs.
    pub verdict: ShardVerdict,
    /// What was counted.
    pub counters: Counters,
    /// When it ended.
    pub at: WallMicros,
}

/// What the results of a run's shards add up to, as far as this journal has them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunSummary {
    /// Shards with a result.
    pub shards: u32,
    /// Of these, in sync.
    pub in_sync: u32,
    /// Of these, diverged.
    pub diverged: u32,
    /// Of these, unknown, by reason.
    pub unknown: BTreeMap<UnknownReason, u32>,
    /// The oldest `as_of` of the shards in sync.
    pub as_of: Option<WallMicros>,
    /// Sums over the shards.
    pub counters: Counters,
}

impl Counters {
    /// Encoded peer messages both ways.
    pub fn wire_bytes(&self) -> u64 {
        self.wire_sent_bytes.saturating_add(self.wire_received_bytes)
    }

    /// Sums, saturating.
    pub fn add(&mut self, other: &Counters) {
        let fields = [
            (&mut self.keys_compared, other.keys_compared),
            (&mut self.mismatches, other.mismatches),
            (&mut self.repaired, other.repaired),
            (&mut self.transient, other.transient),
            (&mut self.moving, other.moving),
            (&mut self.held, other.held),
            (&mut self.wire_sent_bytes, other.wire_sent_bytes),
            (&mut self.wire_received_bytes, other.wire_received_bytes),
            (&mut self.document_bytes, other.document_bytes),
        ];
        for (sum, more) in fields {
            *sum = sum.saturating_add(more);
        }
    }
}

impl RunSummary {
    /// Counts one more shard.
    pub fn add(&mut self, verdict: &ShardVerdict, counters: &Counters) {
        self.shards += 1;
        match verdict {
            ShardVerdict::InSync { as_of } => {
                self.in_sync += 1;
                self.as_of = Some(self.as_of.map_or(*as_of, |oldest| oldest.min(*as_of)));
            }
            ShardVerdict::Diverged => self.diverged += 1,
            ShardVerdict::Unknown(reason) => *self.unknown.entry(*reason).or_default() += 1,
        }
        self.counters.add(counters);
    }

    /// The verdict over a collection of `shards` shards: diverged if anything is known to differ, else unknown
    /// if anything is unknown (for its most frequent reason), else in sync. `None` while nothing differs and not
    /// every shard has a result.
    pub fn verdict(&self, shards: u32) -> Option<ShardVerdict> {
        if self.diverged > 0 {
            return Some(ShardVerdict::Diverged);
        }
        let most_frequent = self.unknown.iter().rev().max_by_key(|(_, count)| **count);
        if let Some((reason, _)) = most_frequent {
            return Some(ShardVerdict::Unknown(*reason));
        }
        self.as_of.filter(|_| self.shards >= shards).map(|as_of| ShardVerdict::InSync { as_of })
    }
}

const SHARD_RESULT: Table = Table { name: "shard_result", key_columns: 2 };

impl Journal {
    /// Stores a shard's result in a run that was begun here. A result under an equal or lower epoch is replaced;
    /// `false` says that one under a higher epoch is kept instead.
    pub fn add_shard_result(&self, result: &ShardResult) -> Result<bool, JournalError> {
        self.write(|transaction| store(transaction, result))
    }

    /// The results of a run, by shard.
    pub fn shard_results(&self, run: RunId) -> Result<Vec<ShardResult>, JournalError> {
        self.read(|connection| results(connection, run))
    }
}

/// Adds up the results of a run.
pub(crate) fn summary(connection: &Connection, run: RunId) -> Result<RunSummary, JournalError> {
    let mut summary = RunSummary::default();
    for result in results(connection, run)? {
        summary.add(&result.verdict, &result.counters);
    }
    Ok(summary)
}

pub(crate) fn store(connection: &Connection, result: &ShardResult) -> Result<bool, JournalError> {
    let ShardResult { run, shard, owner, epoch, verdict, counters, at } = result;
    let known = connection.prepare_cached("SELECT 1 FROM run WHERE run = ?1")?.exists([run.as_bytes()])?;
    if !known {
        return Err(JournalError::NoRun(*run));
    }
    let (as_of, reason) = match verdict {
        ShardVerdict::InSync { as_of } => (Some(as_of.0), None),
        ShardVerdict::Diverged => (None, None),
        ShardVerdict::Unknown(reason) => (None, Some(reason.as_str())),
    };
    let sql = "INSERT INTO shard_result(run, shard, owner, counter, agent, at, verdict, as_of, reason,
                   keys_compared, mismatches, repaired, transient, moving, held, wire_sent_bytes,
                   wire_received_bytes, document_bytes)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)
               ON CONFLICT(run, shard) DO UPDATE SET owner = excluded.owner, counter = excluded.counter,
                   agent = excluded.agent, at = excluded.at, verdict = excluded.verdict, as_of = excluded.as_of,
                   reason = excluded.reason, keys_compared = excluded.keys_compared,
                   mismatches = excluded.mismatches, repaired = excluded.repaired,
                   transient = excluded.transient, moving = excluded.moving, held = excluded.held,
                   wire_sent_bytes = excluded.wire_sent_bytes,
                   wire_received_bytes = excluded.wire_received_bytes, document_bytes = excluded.document_bytes
               WHERE (shard_result.counter, shard_result.agent) <= (excluded.counter, excluded.agent)";
    let changed = columns::run(
        connection,
        sql,
        params![
            run.as_bytes(),
            shard.0,
            owner.as_str(),
            counter_of(epoch)?,
            epoch.agent.as_str(),
            at.0,
            verdict.as_str(),
            as_of,
            reason,
            stored("keys compared", counters.keys_compared)?,
            stored("mismatches", counters.mismatches)?,
            stored("repaired", counters.repaired)?,
            stored("transient", counters.transient)?,
            stored("moving", counters.moving)?,
            stored("held", counters.held)?,
            stored("wire bytes", counters.wire_sent_bytes)?,
            stored("wire bytes", counters.wire_received_bytes)?,
            stored("document bytes", counters.document_bytes)?,
        ],
    )?;
    Ok(changed > 0)
}

fn results(connection: &Connection, run: RunId) -> Result<Vec<ShardResult>, JournalError> {
    let sql = "SELECT run, shard, * FROM shard_result WHERE run = ?1 ORDER BY shard";
    columns::list(connection, SHARD_RESULT, sql, [run.as_bytes()], |columns| {
        Ok(ShardResult {
            run: RunId::from_bytes(columns.array("run")?),
            shard: ShardId(columns.integer("shard")?),
            owner: columns.parsed("owner")?,
            epoch: columns.epoch()?,
            verdict: verdict(columns)?,
            counters: Counters {
                keys_compared: columns.integer("keys_compared")?,
                mismatches: columns.integer("mismatches")?,
                repaired: columns.integer("repaired")?,
                transient: columns.integer("transient")?,
                moving: columns.integer("moving")?,
                held: columns.integer("held")?,
                wire_sent_bytes: columns.integer("wire_sent_bytes")?,
                wire_received_bytes: columns.integer("wire_received_bytes")?,
                document_bytes: columns.integer("document_bytes")?,
            },
            at: WallMicros(columns.integer("at")?),
        })
    })
}

fn verdict(columns: &Columns<'_>) -> Result<ShardVerdict, JournalError> {
    let as_of = columns.optional("as_of", Columns::integer)?.map(WallMicros);
    let reason =
        columns.optional("reason", |columns, column| columns.coded(column, UnknownReason::from_name))?;
    let verdict = columns.coded("verdict", |code| match code {
        "in_sync" => Some(as_of.map(|as_of| ShardVerdict::InSync { as_of })),
        "diverged" => Some(Some(ShardVerdict::Diverged)),
        "unknown" => Some(reason.map(ShardVerdict::Unknown)),
        _ => None,
    })?;
    verdict.ok_or_else(|| columns.contradiction("verdict"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;

    use ShardVerdict::Unknown;
    use UnknownReason::{Held, Moving, NoScan};

    fn in_sync(as_of: i64) -> ShardVerdict {
        ShardVerdict::InSync { as_of: WallMicros(as_of) }
    }

    fn result(run: RunId, shard: u32, counter: u64, verdict: ShardVerdict) -> ShardResult {
        ShardResult {
            run,
            shard: ShardId(shard),
            owner: "a".parse().unwrap(),
            epoch: epoch(counter, "a"),
            verdict,
            counters: Counters {
                keys_compared: 1,
                mismatches: 2,
                repaired: 3,
                transient: 4,
                moving: 5,
                held: 6,
                wire_sent_bytes: 7,
                wire_received_bytes: 8,
                document_bytes: 9,
            },
            at: WallMicros(100),
        }
    }

    #[test]
    fn results_read_back_and_add_up() {
        let place = Place::new();
        let journal = place.open();
        let run = begin(&journal, 1);
        let all = [
            result(run, 0, 1, in_sync(50)),
            result(run, 1, 1, in_sync(40)),
            result(run, 2, 1, ShardVerdict::Diverged),
            result(run, 3, 1, Unknown(NoScan)),
        ];
        for result in &all {
            assert!(journal.add_shard_result(result).unwrap());
        }
        drop(journal);
        let journal = place.open();
        assert_eq!(journal.shard_results(run).unwrap(), all);
        let summary = journal.run(run).unwrap().unwrap().summary;
        assert_eq!((summary.shards, summary.in_sync, summary.diverged), (4, 2, 1));
        assert_eq!((summary.as_of, summary.unknown[&NoScan]), (Some(WallMicros(40)), 1));
        assert_eq!((summary.counters.keys_compared, summary.counters.wire_bytes()), (4, 60));
    }

    #[test]
    fn a_result_under_a_lower_epoch_does_not_replace() {
        let place = Place::new();
        let journal = place.open();
        let run = begin(&journal, 1);
        assert!(journal.add_shard_result(&result(run, 0, 5, ShardVerdict::Diverged)).unwrap());
        assert!(!journal.add_shard_result(&result(run, 0, 4, in_sync(1))).unwrap());
        assert_eq!(journal.shard_results(run).unwrap()[0].verdict, ShardVerdict::Diverged);
        assert!(journal.add_shard_result(&result(run, 0, 5, Unknown(Moving))).unwrap());
        assert!(journal.add_shard_result(&result(run, 0, 6, in_sync(1))).unwrap());
        assert_eq!(journal.shard_results(run).unwrap()[0].verdict, in_sync(1));
    }

    #[test]
    fn results_need_a_run() {
        let place = Place::new();
        let refused = place.open().add_shard_result(&result(run_id(1), 0, 5, in_sync(1)));
        assert!(matches!(refused, Err(JournalError::NoRun(_))));
    }

    #[test]
    fn what_is_known_to_differ_outweighs_what_is_unknown_and_both_outweigh_agreement() {
        let verdict = |verdicts: &[ShardVerdict]| {
            let mut summary = RunSummary::default();
            for verdict in verdicts {
                summary.add(verdict, &Counters::default());
            }
            summary.verdict(2)
        };
        assert_eq!(verdict(&[in_sync(5), in_sync(3)]), Some(in_sync(3)));
        assert_eq!(verdict(&[in_sync(5), Unknown(Held)]), Some(Unknown(Held)));
        assert_eq!(verdict(&[Unknown(Held), Unknown(Moving), Unknown(Moving)]), Some(Unknown(Moving)));
        assert_eq!(verdict(&[ShardVerdict::Diverged, Unknown(Held)]), Some(ShardVerdict::Diverged));
        assert_eq!(verdict(&[in_sync(5)]), None);
        assert_eq!(verdict(&[]), None);
    }

    #[test]
    fn a_verdict_that_contradicts_itself_is_an_error() {
        let place = Place::new();
        let journal = place.open();
        let run = begin(&journal, 1);
        journal.add_shard_result(&result(run, 0, 5, in_sync(1))).unwrap();
        tamper(&journal, "UPDATE shard_result SET verdict = 'unknown', reason = 'mood'");
        let error = journal.shard_results(run).unwrap_err().to_string();
        assert!(error.contains("has an unknown code: mood"), "{error}");
        tamper(&journal, "UPDATE shard_result SET reason = NULL");
        assert!(matches!(journal.shard_results(run), Err(JournalError::Row { table: "shard_result", .. })));
    }
}
