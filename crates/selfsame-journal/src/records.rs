//! Shard records: what each voter keeps of a shard, so that a slot is completed at most once whoever owns it.

use rusqlite::{Connection, Transaction, params};
use selfsame_core::{CollectionName, Epoch, RunId, ShardId, Slot, WallMicros};

use crate::columns::{self, Columns, Table};
use crate::fences::{EpochRecorded, counter_of, raise};
use crate::{Journal, JournalError};

/// How many completed slots a record names. A guess: two weeks of a pass every six hours.
pub const COMPLETIONS_MAX: usize = 64;

/// What a voter keeps of one shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardRecord {
    /// The collection.
    pub collection: CollectionName,
    /// The shard.
    pub shard: ShardId,
    /// The epoch under which it was last written.
    pub epoch: Epoch,
    /// The slots completed last, oldest first, at most [`COMPLETIONS_MAX`]; and before them the last that was in sync.
    pub completed: Vec<Completion>,
    /// The open plan: its run, and the digest of its items.
    pub plan: Option<(RunId, [u8; 16])>,
}

/// A slot that is over for a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completion {
    /// The slot.
    pub slot: Slot,
    /// The verdict's code (`in_sync`, `diverged`, a reason of `unknown`).
    pub verdict: String,
    /// When it was completed, by the owner's wall clock.
    pub at: WallMicros,
}

/// What became of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordPut {
    /// Stored; this is the record now, joined with what was there.
    Stored(ShardRecord),
    /// A higher epoch was seen; nothing changed.
    Superseded(Epoch),
}

impl ShardRecord {
    /// How the slot was completed, if it was.
    pub fn completion(&self, slot: Slot) -> Option<&Completion> {
        self.completed.iter().find(|completion| completion.slot == slot)
    }
}

const RECORD: Table = Table { name: "shard_record", key_columns: 2 };
const COMPLETION: Table = Table { name: "completion", key_columns: 3 };

impl Journal {
    /// The record of a shard.
    pub fn shard_record(
        &self,
        collection: &CollectionName,
        shard: ShardId,
    ) -> Result<Option<ShardRecord>, JournalError> {
        self.read(|connection| record(connection, collection, shard))
    }

    /// All records of a collection, by shard: for an agent that lost its own.
    pub fn shard_records(&self, collection: &CollectionName) -> Result<Vec<ShardRecord>, JournalError> {
        self.read(|connection| {
            let sql = "SELECT collection, shard FROM shard_record WHERE collection = ?1 ORDER BY shard";
            let shards = columns::list(connection, RECORD, sql, params![collection.as_str()], |columns| {
                columns.integer("shard").map(ShardId)
            })?;
            shards.into_iter().filter_map(|shard| record(connection, collection, shard).transpose()).collect()
        })
    }

    /// Completes slots, each unless a higher epoch was seen, and records the epochs, in one sync. Of a slot that is
    /// completed already, the first completion stays.
    pub fn complete_slots(
        &self,
        collection: &CollectionName,
        completed: &[(ShardId, Epoch, Completion)],
    ) -> Result<Vec<RecordPut>, JournalError> {
        self.write(|transaction| {
            let complete = |(shard, epoch, completion): &(ShardId, Epoch, Completion)| {
                let plan = record(transaction, collection, *shard)?.and_then(|record| record.plan);
                let (collection, epoch) = (collection.clone(), epoch.clone());
                let completed = vec![completion.clone()];
                put(transaction, &ShardRecord { collection, shard: *shard, epoch, completed, plan })
            };
            completed.iter().map(complete).collect()
        })
    }

    /// Stores a record unless a higher epoch was seen, and records its epoch. The plan is replaced; completed
    /// slots are joined: one that is known stays as it was completed first.
    pub fn put_shard_record(&self, record: &ShardRecord) -> Result<RecordPut, JournalError> {
        self.write(|transaction| put(transaction, record))
    }
}

fn put(transaction: &Transaction<'_>, put: &ShardRecord) -> Result<RecordPut, JournalError> {
    let ShardRecord { collection, shard, epoch, .. } = put;
    if let EpochRecorded::Superseded(highest) = raise(transaction, collection, *shard, epoch)? {
        return Ok(RecordPut::Superseded(highest));
    }
    let known = record(transaction, collection, *shard)?;
    let known = known.as_ref().map_or(&[][..], |record| &record.completed);
    let joined = ShardRecord { completed: join_completions(known, &put.completed), ..put.clone() };
    store(transaction, known, &joined)?;
    Ok(RecordPut::Stored(joined))
}

/// The first completion of each slot, oldest first, the latest [`COMPLETIONS_MAX`] of them.
fn join_completions(known: &[Completion], added: &[Completion]) -> Vec<Completion> {
    let mut joined: Vec<Completion> = Vec::new();
    for completion in known.iter().chain(added) {
        if joined.iter().all(|first| first.slot != completion.slot) {
            joined.push(completion.clone());
        }
    }
    joined.sort_by_key(|completion| (completion.at, completion.slot));
    let latest = joined.split_off(joined.len().saturating_sub(COMPLETIONS_MAX));
    // The last one in sync is kept however old it is: it is what says that a first pass is over.
    let in_sync = |completion: &Completion| completion.verdict.starts_with("in_sync");
    let last_in_sync = if latest.iter().any(in_sync) { None } else { joined.into_iter().rfind(in_sync) };
    last_in_sync.into_iter().chain(latest).collect()
}

fn record(
    connection: &Connection,
    collection: &CollectionName,
    shard: ShardId,
) -> Result<Option<ShardRecord>, JournalError> {
    let sql = "SELECT collection, shard, counter, agent, plan_run, plan_digest FROM shard_record
               WHERE collection = ?1 AND shard = ?2";
    let place = params![collection.as_str(), shard.0];
    let record = columns::first(connection, RECORD, sql, place, |columns| {
        let run = columns.optional("plan_run", Columns::array)?.map(RunId::from_bytes);
        let digest = columns.optional("plan_digest", Columns::array)?;
        if run.is_some() != digest.is_some() {
            return Err(columns.contradiction("plan_digest"));
        }
        Ok(ShardRecord {
            collection: columns.parsed("collection")?,
            shard: ShardId(columns.integer("shard")?),
            epoch: columns.epoch()?,
            completed: Vec::new(),
            plan: run.zip(digest),
        })
    })?;
    let Some(record) = record else { return Ok(None) };
    let sql = "SELECT collection, shard, slot, verdict, at FROM completion
               WHERE collection = ?1 AND shard = ?2 ORDER BY at, slot";
    let completed = columns::list(connection, COMPLETION, sql, place, |columns| {
        Ok(Completion {
            slot: columns.decoded("slot", Slot::from_bytes)?,
            verdict: columns.text("verdict")?.to_owned(),
            at: WallMicros(columns.integer("at")?),
        })
    })?;
    Ok(Some(ShardRecord { completed, ..record }))
}

/// Stores a record in place of one with the completions `known`.
fn store(
    transaction: &Transaction<'_>,
    known: &[Completion],
    record: &ShardRecord,
) -> Result<(), JournalError> {
    let collection = record.collection.as_str();
    let shard = record.shard.0;
    let sql = "INSERT INTO shard_record(collection, shard, counter, agent, plan_run, plan_digest)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6)
               ON CONFLICT(collection, shard) DO UPDATE SET counter = excluded.counter, agent = excluded.agent,
                   plan_run = excluded.plan_run, plan_digest = excluded.plan_digest";
    let (run, digest) = record.plan.unzip();
    let run = run.as_ref().map(RunId::as_bytes);
    let counter = counter_of(&record.epoch)?;
    columns::run(
        transaction,
        sql,
        params![collection, shard, counter, record.epoch.agent.as_str(), run, digest],
    )?;
    for Completion { slot, .. } in known.iter().filter(|known| !record.completed.contains(known)) {
        let sql = "DELETE FROM completion WHERE collection = ?1 AND shard = ?2 AND slot = ?3";
        columns::run(transaction, sql, params![collection, shard, slot.to_bytes()])?;
    }
    for Completion { slot, verdict, at } in record.completed.iter().filter(|new| !known.contains(new)) {
        let sql = "INSERT INTO completion(collection, shard, slot, verdict, at) VALUES (?1, ?2, ?3, ?4, ?5)";
        columns::run(transaction, sql, params![collection, shard, slot.to_bytes(), verdict, at.0])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;

    fn completion(slot: u64, verdict: &str, at: i64) -> Completion {
        Completion { slot: Slot::Scheduled(slot), verdict: verdict.to_owned(), at: WallMicros(at) }
    }

    fn shard_record(counter: u64, completed: Vec<Completion>) -> ShardRecord {
        ShardRecord {
            collection: products(),
            shard: ShardId(1),
            epoch: epoch(counter, "a"),
            completed,
            plan: None,
        }
    }

    #[test]
    fn records_read_back_after_a_reopen() {
        let place = Place::new();
        let adhoc = Slot::AdHoc(uuid::Uuid::from_u128(7));
        let record = ShardRecord {
            plan: Some((run_id(1), [4; 16])),
            ..shard_record(
                3,
                vec![completion(1, "in_sync", 10), Completion { slot: adhoc, ..completion(0, "held", 11) }],
            )
        };
        assert_eq!(place.open().put_shard_record(&record).unwrap(), RecordPut::Stored(record.clone()));
        let journal = place.open();
        assert_eq!(journal.shard_record(&products(), ShardId(1)).unwrap(), Some(record.clone()));
        assert_eq!(record.completion(adhoc).unwrap().verdict, "held");
        assert_eq!(journal.shard_record(&products(), ShardId(2)).unwrap(), None);
        assert_eq!(journal.shard_records(&products()).unwrap(), [record]);
        // Its epoch counts as seen.
        assert_eq!(journal.highest_epoch(&products(), ShardId(1)).unwrap(), Some(epoch(3, "a")));
    }

    #[test]
    fn an_older_epoch_changes_nothing() {
        let place = Place::new();
        let journal = place.open();
        let newer = shard_record(3, vec![completion(1, "in_sync", 10)]);
        journal.put_shard_record(&newer).unwrap();
        let older = shard_record(2, vec![completion(2, "diverged", 20)]);
        assert_eq!(journal.put_shard_record(&older).unwrap(), RecordPut::Superseded(epoch(3, "a")));
        // Nor does one below an epoch that was only granted.
        journal.record_epochs(&products(), &[(ShardId(1), epoch(4, "b"))]).unwrap();
        assert_eq!(journal.put_shard_record(&newer).unwrap(), RecordPut::Superseded(epoch(4, "b")));
        assert_eq!(journal.shard_record(&products(), ShardId(1)).unwrap(), Some(newer));
    }

    #[test]
    fn a_slot_keeps_its_first_completion_and_no_completion_is_lost() {
        let place = Place::new();
        let journal = place.open();
        journal.put_shard_record(&shard_record(3, vec![completion(1, "in_sync", 10)])).unwrap();
        for counter in [3, 4] {
            let again = shard_record(counter, vec![completion(1, "diverged", 30), completion(2, "held", 20)]);
            let RecordPut::Stored(joined) = journal.put_shard_record(&again).unwrap() else { panic!() };
            assert_eq!(joined.completed, [completion(1, "in_sync", 10), completion(2, "held", 20)]);
        }
        let RecordPut::Stored(joined) = journal.put_shard_record(&shard_record(5, Vec::new())).unwrap()
        else {
            panic!()
        };
        assert_eq!(joined.completed.len(), 2);
    }

    #[test]
    fn a_slot_is_completed_once_and_under_no_older_epoch() {
        let place = Place::new();
        let journal = place.open();
        let record = ShardRecord { plan: Some((run_id(1), [4; 16])), ..shard_record(3, Vec::new()) };
        journal.put_shard_record(&record).unwrap();
        let complete = |counter, completion| {
            let completed = [(ShardId(1), epoch(counter, "a"), completion)];
            journal.complete_slots(&products(), &completed).unwrap().remove(0)
        };
        assert_eq!(complete(2, completion(1, "held", 9)), RecordPut::Superseded(epoch(3, "a")));
        let completed = vec![completion(1, "in_sync", 10)];
        let expected = RecordPut::Stored(ShardRecord { completed, ..record });
        assert_eq!(complete(3, completion(1, "in_sync", 10)), expected);
        assert_eq!(complete(3, completion(1, "diverged", 11)), expected);
    }

    #[test]
    fn the_last_completion_in_sync_is_never_forgotten() {
        let place = Place::new();
        let journal = place.open();
        journal.put_shard_record(&shard_record(1, vec![completion(1, "in_sync a,b", 1)])).unwrap();
        for slot in 2..3 * COMPLETIONS_MAX as u64 {
            journal
                .put_shard_record(&shard_record(1, vec![completion(slot, "diverged", slot.cast_signed())]))
                .unwrap();
        }
        let record = journal.shard_record(&products(), ShardId(1)).unwrap().unwrap();
        assert_eq!(record.completed[0], completion(1, "in_sync a,b", 1));
        assert_eq!(record.completed.len(), COMPLETIONS_MAX + 1);
    }

    #[test]
    fn the_list_of_completions_is_bounded_and_keeps_the_latest() {
        let place = Place::new();
        let journal = place.open();
        let many = |from: u64, to: u64| {
            (from..to).map(|slot| completion(slot, "in_sync", slot.cast_signed())).collect()
        };
        journal.put_shard_record(&shard_record(1, many(40, 100))).unwrap();
        let RecordPut::Stored(joined) = journal.put_shard_record(&shard_record(1, many(0, 50))).unwrap()
        else {
            panic!()
        };
        assert_eq!(joined.completed, many(36, 100));
        assert_eq!(journal.shard_record(&products(), ShardId(1)).unwrap(), Some(joined));
    }
}
