//! Streaks: keys that pass after pass repaired on a replica of this agent's, and that differed again.
//!
//! The applying agent keeps them, since it knows of every repair of its replicas, whoever owns the shard. A repair
//! that was applied without approval lengthens its key's streak once for each run, in the transaction that records
//! it, unless it was swept, which mends no difference; one that a person approved ends it. What a pass found equal is ended
//! by [`Journal::end_streaks`].

use rusqlite::{Connection, Transaction, params};
use selfsame_core::{CollectionName, KeyDigest, NodeName, RepairId, RunId};

use crate::columns::{self, Table};
use crate::{Journal, JournalError};

const STREAK: Table = Table { name: "repair_streak", key_columns: 3 };

/// A key's streak.
struct Streak {
    key_digest: KeyDigest,
    /// The last run that repaired it.
    run: RunId,
    in_a_row: u32,
}

impl Journal {
    /// How many runs in a row repaired a key on a replica.
    pub fn repaired_in_a_row(
        &self,
        collection: &CollectionName,
        node: &NodeName,
        key: KeyDigest,
    ) -> Result<u32, JournalError> {
        self.read(|connection| before(connection, collection, node, None, key))
    }

    /// Ends the streaks of a replica that `is_ended` picks and that `run` did not lengthen; gives how many. Nothing
    /// is written if there are none. Cost: a read of the replica's streaks, of which there are as many as keys were
    /// repaired since they were last found equal.
    pub fn end_streaks(
        &self,
        collection: &CollectionName,
        node: &NodeName,
        run: RunId,
        is_ended: impl Fn(KeyDigest) -> bool,
    ) -> Result<usize, JournalError> {
        let sql = "SELECT collection, node, key_digest, run, in_a_row FROM repair_streak
                   WHERE collection = ?1 AND node = ?2";
        let streaks = self.read(|connection| {
            columns::list(connection, STREAK, sql, params![collection.as_str(), node.as_str()], read)
        })?;
        let ended = streaks.into_iter().filter(|streak| streak.run != run && is_ended(streak.key_digest));
        let ended: Vec<Streak> = ended.collect();
        if ended.is_empty() {
            return Ok(0);
        }
        self.write(|transaction| {
            // One that was lengthened meanwhile goes on.
            let sql = "DELETE FROM repair_streak
                       WHERE collection = ?1 AND node = ?2 AND key_digest = ?3 AND run = ?4";
            let end = |streak: &Streak| {
                let (key, run) = (streak.key_digest.0, streak.run.as_bytes());
                columns::run(transaction, sql, params![collection.as_str(), node.as_str(), key, run])
            };
            ended.iter().map(end).sum()
        })
    }
}

/// How many runs in a row repaired a key, one of them left out.
pub(crate) fn before(
    connection: &Connection,
    collection: &CollectionName,
    node: &NodeName,
    but: Option<RunId>,
    key: KeyDigest,
) -> Result<u32, JournalError> {
    let sql = "SELECT collection, node, key_digest, run, in_a_row FROM repair_streak
               WHERE collection = ?1 AND node = ?2 AND key_digest = ?3";
    let bound = params![collection.as_str(), node.as_str(), key.0];
    let streak = columns::first(connection, STREAK, sql, bound, read)?;
    Ok(streak.map_or(0, |streak| streak.in_a_row.saturating_sub(u32::from(but == Some(streak.run)))))
}

/// Makes the streak of an intent's key follow that it was applied.
pub(crate) fn follow(transaction: &Transaction<'_>, repair: RepairId) -> Result<(), JournalError> {
    let sql = "INSERT INTO repair_streak(collection, node, key_digest, run, in_a_row, at)
                   SELECT collection, node, key_digest, run, 1, at FROM intent
                   WHERE repair = ?1 AND approved = 0 AND cause <> 'swept'
               ON CONFLICT(collection, node, key_digest) DO UPDATE SET
                   in_a_row = in_a_row + (run <> excluded.run), run = excluded.run, at = excluded.at";
    columns::run(transaction, sql, [repair.as_bytes()])?;
    let sql = "DELETE FROM repair_streak WHERE (collection, node, key_digest) IN
                   (SELECT collection, node, key_digest FROM intent WHERE repair = ?1 AND approved = 1)";
    columns::run(transaction, sql, [repair.as_bytes()])?;
    Ok(())
}

fn read(columns: &columns::Columns<'_>) -> Result<Streak, JournalError> {
    Ok(Streak {
        key_digest: KeyDigest(columns.array("key_digest")?),
        run: RunId::from_bytes(columns.array("run")?),
        in_a_row: columns.integer("in_a_row")?,
    })
}

#[cfg(test)]
mod tests {
    use selfsame_core::{Cause, WallMicros};

    use super::*;
    use crate::testing::*;
    use crate::{BeforeImage, Intent, IntentOutcome, IntentWrite};

    /// A repair of a key in a run that ended so.
    fn repair(journal: &Journal, run: u64, number: i64, approved: bool, outcome: IntentOutcome) {
        let (key, key_digest) = key(number);
        let mut id = [0; 16];
        id[..8].copy_from_slice(&run.to_be_bytes());
        id[8..].copy_from_slice(&number.to_be_bytes());
        let intent = Intent {
            repair: RepairId::from_bytes(id),
            run: run_id(run),
            epoch: epoch(1, "a"),
            collection: products(),
            node: node("node-a"),
            key,
            key_digest,
            expected: None,
            write: IntentWrite::Delete,
            before: BeforeImage::NoRow,
            cause: Cause::Unknown,
            approved,
            at: WallMicros(1),
        };
        journal.write_intents(std::slice::from_ref(&intent)).unwrap();
        journal.write_outcomes(&[(intent.repair, outcome)]).unwrap();
    }

    fn applied(journal: &Journal, run: u64, number: i64) {
        repair(journal, run, number, false, IntentOutcome::Applied { after: None });
    }

    /// What `run` is told of two keys.
    fn streaks(journal: &Journal, run: u64) -> [u32; 2] {
        [1, 2].map(|number| {
            let (node, key) = (node("node-a"), key(number).1);
            journal.read(|connection| before(connection, &products(), &node, Some(run_id(run)), key)).unwrap()
        })
    }

    fn end(journal: &Journal, run: u64, numbers: &[i64]) -> usize {
        let ended: Vec<KeyDigest> = numbers.iter().map(|number| key(*number).1).collect();
        journal.end_streaks(&products(), &node("node-a"), run_id(run), |key| ended.contains(&key)).unwrap()
    }

    #[test]
    fn a_streak_counts_each_run_once_and_survives_a_reopen() {
        let place = Place::new();
        for run in 1..=3 {
            let journal = place.open();
            applied(&journal, run, 1);
            repair(&journal, run, 2, false, IntentOutcome::Changed);
            assert_eq!(
                streaks(&journal, run),
                [u32::try_from(run).unwrap() - 1, 0],
                "its own run does not count"
            );
        }
        let journal = place.open();
        assert_eq!(streaks(&journal, 4), [3, 0]);
        let of = |name| journal.repaired_in_a_row(&products(), &node(name), key(1).1).unwrap();
        assert_eq!((of("node-a"), of("node-b")), (3, 0));
    }

    #[test]
    fn a_pass_that_found_a_key_equal_ends_its_streak_and_one_that_repaired_it_does_not() {
        let place = Place::new();
        let journal = place.open();
        for run in 1..=2 {
            applied(&journal, run, 1);
            applied(&journal, run, 2);
        }
        applied(&journal, 3, 1);
        assert_eq!(end(&journal, 3, &[1, 2]), 1);
        assert_eq!(streaks(&journal, 4), [3, 0]);
        assert_eq!(end(&journal, 4, &[]), 0);
        assert_eq!(end(&journal, 4, &[1, 2]), 1);
        assert_eq!(streaks(&journal, 5), [0, 0]);
        applied(&journal, 5, 1);
        assert_eq!(streaks(&journal, 6), [1, 0]);
    }

    #[test]
    fn an_approval_ends_a_streak() {
        let place = Place::new();
        let journal = place.open();
        (1..=3).for_each(|run| applied(&journal, run, 1));
        repair(&journal, 4, 1, true, IntentOutcome::Changed);
        assert_eq!(streaks(&journal, 5), [3, 0], "nothing was written");
        repair(&journal, 4, 1, true, IntentOutcome::Applied { after: None });
        assert_eq!(streaks(&journal, 5), [0, 0]);
    }
}
