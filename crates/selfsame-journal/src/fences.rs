//! Fences: the highest epoch of each shard, recorded before it is answered.

use rusqlite::{Connection, Transaction, params};
use selfsame_core::{AgentName, CollectionName, Epoch, ShardId};

use crate::columns::{self, Columns, Table};
use crate::{Journal, JournalError};

/// What became of an epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EpochRecorded {
    /// It is the highest one now, durably.
    Granted,
    /// A higher one was recorded before.
    Superseded(Epoch),
}

const FENCE: Table = Table { name: "fence", key_columns: 2 };

struct Fence {
    highest: Option<Epoch>,
    own_counter: u64,
}

impl Journal {
    /// Records epochs as seen, in one sync: each unless a higher one was. An equal one is granted again, a lower
    /// one never.
    pub fn record_epochs(
        &self,
        collection: &CollectionName,
        epochs: &[(ShardId, Epoch)],
    ) -> Result<Vec<EpochRecorded>, JournalError> {
        self.write(|transaction| {
            epochs.iter().map(|(shard, epoch)| raise(transaction, collection, *shard, epoch)).collect()
        })
    }

    /// The highest epoch seen of a shard.
    pub fn highest_epoch(
        &self,
        collection: &CollectionName,
        shard: ShardId,
    ) -> Result<Option<Epoch>, JournalError> {
        self.read(|connection| Ok(fence(connection, collection, shard)?.and_then(|fence| fence.highest)))
    }

    /// Takes epochs for `agent` to claim with, in one sync: the counter of each is above all that this journal has
    /// seen, granted or given out for the shard, and above the epoch beside it. They count as seen only when they
    /// are recorded.
    pub fn next_epochs(
        &self,
        collection: &CollectionName,
        above: &[(ShardId, Option<Epoch>)],
        agent: &AgentName,
    ) -> Result<Vec<(ShardId, Epoch)>, JournalError> {
        self.write(|transaction| {
            let next = |(shard, above): &(ShardId, Option<Epoch>)| {
                Ok((*shard, take(transaction, collection, *shard, above.as_ref(), agent)?))
            };
            above.iter().map(next).collect()
        })
    }
}

fn take(
    transaction: &Transaction<'_>,
    collection: &CollectionName,
    shard: ShardId,
    above: Option<&Epoch>,
    agent: &AgentName,
) -> Result<Epoch, JournalError> {
    let fence = fence(transaction, collection, shard)?;
    let own = fence.as_ref().map(|fence| fence.own_counter);
    let seen = fence.as_ref().and_then(|fence| fence.highest.as_ref()).max(above);
    let last = own.max(seen.map(|epoch| epoch.counter)).unwrap_or(0);
    let epoch = Epoch { counter: last.saturating_add(1), agent: agent.clone() };
    let sql = "INSERT INTO fence(collection, shard, own_counter) VALUES (?1, ?2, ?3)
               ON CONFLICT(collection, shard) DO UPDATE SET own_counter = excluded.own_counter";
    columns::run(transaction, sql, params![collection.as_str(), shard.0, counter_of(&epoch)?])?;
    Ok(epoch)
}

/// The counter as it is stored.
pub(crate) fn counter_of(epoch: &Epoch) -> Result<i64, JournalError> {
    columns::stored("epoch counter", epoch.counter)
}

fn fence(
    connection: &Connection,
    collection: &CollectionName,
    shard: ShardId,
) -> Result<Option<Fence>, JournalError> {
    let sql = "SELECT collection, shard, counter, agent, own_counter FROM fence
               WHERE collection = ?1 AND shard = ?2";
    columns::first(connection, FENCE, sql, params![collection.as_str(), shard.0], |columns| {
        Ok(Fence {
            highest: columns.optional("counter", |columns: &Columns<'_>, _| columns.epoch())?,
            own_counter: columns.integer("own_counter")?,
        })
    })
}

/// Records an epoch unless a higher one was.
pub(crate) fn raise(
    transaction: &Transaction<'_>,
    collection: &CollectionName,
    shard: ShardId,
    epoch: &Epoch,
) -> Result<EpochRecorded, JournalError> {
    let highest = fence(transaction, collection, shard)?.and_then(|fence| fence.highest);
    match highest {
        Some(highest) if highest > *epoch => return Ok(EpochRecorded::Superseded(highest)),
        Some(highest) if highest == *epoch => return Ok(EpochRecorded::Granted),
        _ => {}
    }
    let sql = "INSERT INTO fence(collection, shard, counter, agent) VALUES (?1, ?2, ?3, ?4)
               ON CONFLICT(collection, shard) DO UPDATE SET counter = excluded.counter, agent = excluded.agent";
    let counter = counter_of(epoch)?;
    columns::run(transaction, sql, params![collection.as_str(), shard.0, counter, epoch.agent.as_str()])?;
    Ok(EpochRecorded::Granted)
}

#[cfg(test)]
#[path = "fences_tests.rs"]
mod tests;
