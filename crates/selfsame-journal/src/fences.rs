//! Fences: the highest epoch of each shard, recorded before it is answered, and the leases that make claims
//! polite. Safety rests on the epochs alone.

use std::collections::HashMap;

use rusqlite::{Connection, Transaction, params};
use selfsame_core::{AgentName, CollectionName, Epoch, ShardId};

use crate::columns::{self, Columns, Table};
use crate::{Journal, JournalError};

/// Milliseconds on the caller's monotonic clock. Of no meaning after the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MonotonicMillis(pub u64);

/// What became of an epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EpochRecorded {
    /// It is the highest one now, durably.
    Granted,
    /// A higher one was recorded before.
    Superseded(Epoch),
}

/// The times of a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GrantTerms {
    /// Now.
    pub now: MonotonicMillis,
    /// When the lease that is asked for ends.
    pub deadline: MonotonicMillis,
    /// When the last lease that an earlier process of this agent may have given ends: the start of this process
    /// and one lease.
    pub quiet_until: MonotonicMillis,
}

/// A voter's answer to a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Grant {
    /// The claim holds here until its deadline, or until a higher epoch is granted.
    Granted,
    /// A higher epoch was seen.
    Superseded(Epoch),
    /// Another agent's claim is still in force; nothing was recorded.
    Leased {
        /// Its epoch.
        holder: Epoch,
        /// When it ends.
        until: MonotonicMillis,
    },
}

/// The leases that this process has given, by shard.
pub(crate) type Leases = HashMap<(CollectionName, ShardId), (Epoch, MonotonicMillis)>;

const FENCE: Table = Table { name: "fence", key_columns: 2 };

struct Fence {
    highest: Option<Epoch>,
    own_counter: u64,
    outstanding: bool,
}

impl Journal {
    /// Records an epoch as seen, if none above it was. An equal one is granted again, a lower one never.
    pub fn record_epoch(
        &self,
        collection: &CollectionName,
        shard: ShardId,
        epoch: &Epoch,
    ) -> Result<EpochRecorded, JournalError> {
        self.write(|transaction| raise(transaction, collection, shard, epoch, false))
    }

    /// Answers claims, in one sync: each as [`Journal::record_epoch`], unless another agent's lease is in force.
    /// A grant that was not released by an earlier process counts as leased until `quiet_until`.
    pub fn grant(
        &self,
        collection: &CollectionName,
        claims: &[(ShardId, Epoch)],
        terms: GrantTerms,
    ) -> Result<Vec<Grant>, JournalError> {
        let mut leases = self.leases.lock();
        let answers: Vec<Grant> = self.write(|transaction| {
            let answer = |(shard, epoch): &(ShardId, Epoch)| {
                let lease = leases.get(&(collection.clone(), *shard)).cloned();
                claim(transaction, collection, *shard, epoch, lease, terms)
            };
            claims.iter().map(answer).collect()
        })?;
        for ((shard, epoch), answer) in claims.iter().zip(&answers) {
            if *answer == Grant::Granted {
                leases.insert((collection.clone(), *shard), (epoch.clone(), terms.deadline));
            }
        }
        Ok(answers)
    }

    /// Ends the lease of an exchange that is over; of another epoch than the highest it does nothing. The epoch
    /// stays recorded.
    pub fn release(
        &self,
        collection: &CollectionName,
        shard: ShardId,
        epoch: &Epoch,
    ) -> Result<(), JournalError> {
        let mut leases = self.leases.lock();
        self.write(|transaction| {
            let sql = "UPDATE fence SET outstanding = 0
                       WHERE collection = ?1 AND shard = ?2 AND counter = ?3 AND agent = ?4";
            let counter = counter_of(epoch)?;
            columns::run(
                transaction,
                sql,
                params![collection.as_str(), shard.0, counter, epoch.agent.as_str()],
            )
        })?;
        let place = (collection.clone(), shard);
        if leases.get(&place).is_some_and(|(holder, _)| holder == epoch) {
            leases.remove(&place);
        }
        Ok(())
    }

    /// The highest epoch seen of a shard.
    pub fn highest_epoch(
        &self,
        collection: &CollectionName,
        shard: ShardId,
    ) -> Result<Option<Epoch>, JournalError> {
        self.read(|connection| Ok(fence(connection, collection, shard)?.and_then(|fence| fence.highest)))
    }

    /// Takes an epoch for `agent` to claim with: its counter is above all that this journal has seen, granted or
    /// given out. It counts as seen only when it is recorded.
    pub fn next_epoch(
        &self,
        collection: &CollectionName,
        shard: ShardId,
        agent: &AgentName,
    ) -> Result<Epoch, JournalError> {
        self.write(|transaction| take(transaction, collection, shard, agent))
    }

    /// [`Journal::next_epoch`] of several shards, in one sync.
    pub fn next_epochs(
        &self,
        collection: &CollectionName,
        shards: &[ShardId],
        agent: &AgentName,
    ) -> Result<Vec<(ShardId, Epoch)>, JournalError> {
        self.write(|transaction| {
            shards.iter().map(|shard| Ok((*shard, take(transaction, collection, *shard, agent)?))).collect()
        })
    }
}

/// Answers one claim. Leases of this process come first; a grant of an earlier one counts until `quiet_until`.
fn claim(
    transaction: &Transaction<'_>,
    collection: &CollectionName,
    shard: ShardId,
    epoch: &Epoch,
    lease: Option<(Epoch, MonotonicMillis)>,
    terms: GrantTerms,
) -> Result<Grant, JournalError> {
    let inherited = || {
        let fence = fence(transaction, collection, shard)?.filter(|fence| fence.outstanding);
        Ok::<_, JournalError>(fence.and_then(|fence| fence.highest).map(|holder| (holder, terms.quiet_until)))
    };
    let in_force = match lease {
        Some(lease) => Some(lease),
        None => inherited()?,
    };
    if let Some((holder, until)) = in_force
        && holder.agent != epoch.agent
        && terms.now < until
    {
        return Ok(Grant::Leased { holder, until });
    }
    Ok(match raise(transaction, collection, shard, epoch, true)? {
        EpochRecorded::Granted => Grant::Granted,
        EpochRecorded::Superseded(highest) => Grant::Superseded(highest),
    })
}

fn take(
    transaction: &Transaction<'_>,
    collection: &CollectionName,
    shard: ShardId,
    agent: &AgentName,
) -> Result<Epoch, JournalError> {
    let fence = fence(transaction, collection, shard)?;
    let last =
        fence.map_or(0, |fence| fence.own_counter.max(fence.highest.map_or(0, |highest| highest.counter)));
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
    let sql = "SELECT collection, shard, counter, agent, own_counter, outstanding FROM fence
               WHERE collection = ?1 AND shard = ?2";
    columns::first(connection, FENCE, sql, params![collection.as_str(), shard.0], |columns| {
        Ok(Fence {
            highest: columns.optional("counter", |columns: &Columns<'_>, _| columns.epoch())?,
            own_counter: columns.integer("own_counter")?,
            outstanding: columns.flag("outstanding")?,
        })
    })
}

/// Records an epoch unless a higher one was. `outstanding` says that a grant is given with it; without, a grant
/// of the same epoch stays as it is.
pub(crate) fn raise(
    transaction: &Transaction<'_>,
    collection: &CollectionName,
    shard: ShardId,
    epoch: &Epoch,
    outstanding: bool,
) -> Result<EpochRecorded, JournalError> {
    let fence = fence(transaction, collection, shard)?;
    let highest = fence.as_ref().and_then(|fence| fence.highest.as_ref());
    if let Some(highest) = highest.filter(|highest| *highest > epoch) {
        return Ok(EpochRecorded::Superseded(highest.clone()));
    }
    let granted_before = fence.as_ref().is_some_and(|fence| fence.outstanding)
        && highest.is_some_and(|highest| highest == epoch);
    let sql = "INSERT INTO fence(collection, shard, counter, agent, outstanding) VALUES (?1, ?2, ?3, ?4, ?5)
               ON CONFLICT(collection, shard) DO UPDATE SET counter = excluded.counter, agent = excluded.agent,
                   outstanding = excluded.outstanding";
    let counter = counter_of(epoch)?;
    let outstanding = outstanding || granted_before;
    columns::run(
        transaction,
        sql,
        params![collection.as_str(), shard.0, counter, epoch.agent.as_str(), outstanding],
    )?;
    Ok(EpochRecorded::Granted)
}

#[cfg(test)]
#[path = "fences_tests.rs"]
mod tests;
