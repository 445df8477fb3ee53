//! Plans: what a braked exchange would have done, until a person approves or drops it. One per shard; a newer
//! one replaces the older.

use rusqlite::{Connection, Transaction, params};
use selfsame_core::{
    Cause, CollectionName, EntryDigest, Epoch, Key, NodeName, RowDigest, RunId, ShardId, WallMicros, Writer,
};

use crate::columns::{self, Columns, Table, limit};
use crate::fences::counter_of;
use crate::{Action, Cursor, Journal, JournalError, Page};

/// Which plan.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PlanId {
    /// The collection.
    pub collection: CollectionName,
    /// The shard.
    pub shard: ShardId,
    /// The run that made it.
    pub run: RunId,
}

/// A plan without its items.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Which.
    pub id: PlanId,
    /// The epoch under which it was made.
    pub epoch: Epoch,
    /// The code of the brake that made it a plan.
    pub reason: String,
    /// When it was made.
    pub created: WallMicros,
    /// When it is of no use any more.
    pub expires: WallMicros,
    /// A digest of [`plan_body`] of its items.
    pub digest: [u8; 16],
}

/// One verdict of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanItem {
    /// The key.
    pub key: Key,
    /// The replica.
    pub node: NodeName,
    /// What is to be done.
    pub action: Action,
    /// The row there; `None`: none.
    pub before: Option<RowDigest>,
    /// The entry meant to be there after; `None`: none.
    pub after: Option<EntryDigest>,
    /// Why the replica differs.
    pub cause: Cause,
    /// The code of the rule that decided.
    pub rule: String,
    /// Bytes of the row to be written, or of the row to be deleted. No part of what is approved.
    pub bytes: u64,
}

/// What a plan would do to one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeLoad {
    /// The node.
    pub node: NodeName,
    /// Rows to be written.
    pub writes: u64,
    /// Their bytes.
    pub write_bytes: u64,
    /// Rows to be deleted.
    pub deletes: u64,
    /// Their bytes.
    pub delete_bytes: u64,
}

/// What a person said of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PlanItemState {
    /// Nothing yet.
    Pending,
    /// It may be done.
    Approved,
    /// It is not to be done, and is pinned.
    Dropped,
}

/// A stored item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanItemRow {
    /// The item.
    pub item: PlanItem,
    /// What was said of it.
    pub state: PlanItemState,
}

/// How many items a plan has, by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PlanCounts {
    /// Nothing said yet.
    pub pending: u64,
    /// Approved.
    pub approved: u64,
    /// Dropped.
    pub dropped: u64,
}

/// A stored plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanRow {
    /// The plan.
    pub plan: Plan,
    /// Its items.
    pub counts: PlanCounts,
}

/// What became of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlanPut {
    /// Stored; an older one is gone.
    Stored,
    /// This very plan was there, and stays with what was said of its items.
    Known,
    /// A plan of a higher epoch is there; nothing changed.
    Superseded(Epoch),
}

/// Which items of a plan.
#[derive(Clone, Copy, Debug)]
pub enum Selection<'a> {
    /// All of which nothing was said yet.
    Pending,
    /// These, whatever was said before.
    Items(&'a [(Key, NodeName)]),
}

/// Whether a replica's first pass is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FirstPass {
    /// Whatever is found is a plan.
    Pending,
    /// A pass over all shards found nothing, or was approved whole.
    Passed,
}

impl PlanItemState {
    fn code(self) -> &'static str {
        match self {
            PlanItemState::Pending => "pending",
            PlanItemState::Approved => "approved",
            PlanItemState::Dropped => "dropped",
        }
    }

    fn of(code: &str) -> Option<PlanItemState> {
        [PlanItemState::Pending, PlanItemState::Approved, PlanItemState::Dropped]
            .into_iter()
            .find(|state| state.code() == code)
    }
}

/// The bytes whose digest names a plan's items, whatever their order: agents compare it.
pub fn plan_body(items: &[PlanItem]) -> Vec<u8> {
    let mut encoded: Vec<Vec<u8>> = items
        .iter()
        .map(|item| {
            let (action, from) = item.action.stored();
            let mut out = Writer::new();
            out.frame(&item.key.to_bytes()).frame(item.node.as_str().as_bytes());
            out.frame(action.as_bytes()).frame(from.unwrap_or_default().as_bytes());
            out.frame(item.before.as_ref().map_or(&[], |digest| &digest.0[..]));
            out.frame(item.after.as_ref().map_or(&[], |digest| &digest.0[..]));
            out.frame(item.cause.as_str().as_bytes()).frame(item.rule.as_bytes());
            out.finish()
        })
        .collect();
    encoded.sort_unstable();
    encoded.concat()
}

const PLAN: Table = Table { name: "plan", key_columns: 2 };
const PLAN_ITEM: Table = Table { name: "plan_item", key_columns: 1 };
const FIRST_PASS: Table = Table { name: "first_pass", key_columns: 2 };

impl Journal {
    /// Stores a shard's plan, all of it or nothing, unless one of a higher epoch is there. Of two items for one
    /// key and node the last one counts.
    pub fn put_plan(&self, plan: &Plan, items: &[PlanItem]) -> Result<PlanPut, JournalError> {
        self.write(|transaction| {
            let PlanId { collection, shard, .. } = &plan.id;
            if let Some(known) = find(transaction, collection, *shard)? {
                if known.id.run == plan.id.run && known.digest == plan.digest {
                    return Ok(PlanPut::Known);
                }
                if known.epoch > plan.epoch {
                    return Ok(PlanPut::Superseded(known.epoch));
                }
            }
            remove(transaction, collection, *shard)?;
            store(transaction, plan, items)?;
            Ok(PlanPut::Stored)
        })
    }

    /// The plan of a shard.
    pub fn plan(&self, collection: &CollectionName, shard: ShardId) -> Result<Option<PlanRow>, JournalError> {
        self.read(|connection| {
            find(connection, collection, shard)?.map(|plan| with_counts(connection, plan)).transpose()
        })
    }

    /// All plans, by collection and shard; also those that have expired and are not pruned yet.
    pub fn plans(&self) -> Result<Vec<PlanRow>, JournalError> {
        self.read(|connection| {
            let sql = "SELECT * FROM plan ORDER BY collection, shard";
            let plans = columns::list(connection, PLAN, sql, [], read)?;
            plans.into_iter().map(|plan| with_counts(connection, plan)).collect()
        })
    }

    /// The plans that a run made, by shard.
    pub fn plans_of_run(&self, run: RunId) -> Result<Vec<PlanRow>, JournalError> {
        self.read(|connection| {
            let sql = "SELECT * FROM plan WHERE run = ?1 ORDER BY collection, shard";
            let plans = columns::list(connection, PLAN, sql, [run.as_bytes()], read)?;
            plans.into_iter().map(|plan| with_counts(connection, plan)).collect()
        })
    }

    /// A page of a plan's items, those in `state` or all. Empty when the plan is no more the shard's.
    pub fn plan_items(
        &self,
        id: &PlanId,
        state: Option<PlanItemState>,
        limit_rows: usize,
        after: Option<Cursor>,
    ) -> Result<Page<PlanItemRow>, JournalError> {
        self.read(|connection| {
            let sql = "SELECT plan_item.* FROM plan_item JOIN plan USING (collection, shard)
                       WHERE collection = ?1 AND shard = ?2 AND plan.run = ?3 AND (?4 IS NULL OR state = ?4)
                           AND plan_item.id > ?5 ORDER BY plan_item.id LIMIT ?6";
            let bound = params![
                id.collection.as_str(),
                id.shard.0,
                id.run.as_bytes(),
                state.map(PlanItemState::code),
                Cursor::start(after),
                limit(limit_rows.max(1).saturating_add(1)),
            ];
            let rows = columns::list(connection, PLAN_ITEM, sql, bound, |columns| {
                Ok((columns.integer("id")?, read_item(columns)?))
            })?;
            Ok(Page::cut(rows, limit_rows))
        })
    }

    /// What the items of a plan of which nothing was said yet would do, by node. Empty when the plan is no more the
    /// shard's.
    pub fn plan_loads(&self, id: &PlanId) -> Result<Vec<NodeLoad>, JournalError> {
        self.read(|connection| {
            let sql = "SELECT min(plan_item.id) AS id, node,
                           count(*) FILTER (WHERE action = 'copy') AS writes,
                           coalesce(sum(bytes) FILTER (WHERE action = 'copy'), 0) AS write_bytes,
                           count(*) FILTER (WHERE action = 'delete') AS deletes,
                           coalesce(sum(bytes) FILTER (WHERE action = 'delete'), 0) AS delete_bytes
                       FROM plan_item JOIN plan USING (collection, shard)
                       WHERE collection = ?1 AND shard = ?2 AND plan.run = ?3 AND state = 'pending'
                       GROUP BY node ORDER BY node";
            let bound = params![id.collection.as_str(), id.shard.0, id.run.as_bytes()];
            columns::list(connection, PLAN_ITEM, sql, bound, |columns| {
                Ok(NodeLoad {
                    node: columns.parsed("node")?,
                    writes: columns.integer("writes")?,
                    write_bytes: columns.integer("write_bytes")?,
                    deletes: columns.integer("deletes")?,
                    delete_bytes: columns.integer("delete_bytes")?,
                })
            })
        })
    }

    /// Approves or drops items; gives how many it concerned: none when the plan is no more the shard's.
    pub fn mark_plan_items(
        &self,
        id: &PlanId,
        selection: Selection<'_>,
        state: PlanItemState,
    ) -> Result<u64, JournalError> {
        self.write(|transaction| {
            let (collection, shard) = (id.collection.as_str(), id.shard.0);
            let current = find(transaction, &id.collection, id.shard)?;
            if current.is_none_or(|plan| plan.id.run != id.run) {
                return Ok(0);
            }
            let sql = "UPDATE plan_item SET state = ?3
                       WHERE collection = ?1 AND shard = ?2 AND state = 'pending' RETURNING id";
            let marked: Vec<i64> = match selection {
                Selection::Pending => {
                    let bound = params![collection, shard, state.code()];
                    columns::list(transaction, PLAN_ITEM, sql, bound, |columns| columns.integer("id"))?
                }
                Selection::Items(items) => {
                    let sql = "UPDATE plan_item SET state = ?3 WHERE collection = ?1 AND shard = ?2
                                   AND key = ?4 AND node = ?5 RETURNING id";
                    let mut marked = Vec::new();
                    for (key, node) in items {
                        let bound = params![collection, shard, state.code(), key.to_bytes(), node.as_str()];
                        marked.extend(columns::list(transaction, PLAN_ITEM, sql, bound, |columns| {
                            columns.integer::<i64>("id")
                        })?);
                    }
                    marked
                }
            };
            Ok(marked.len() as u64)
        })
    }

    /// Removes a plan, if it is still the shard's.
    pub fn remove_plan(&self, id: &PlanId) -> Result<bool, JournalError> {
        self.write(|transaction| {
            let current = find(transaction, &id.collection, id.shard)?;
            if current.is_none_or(|plan| plan.id.run != id.run) {
                return Ok(false);
            }
            remove(transaction, &id.collection, id.shard)?;
            Ok(true)
        })
    }

    /// Whether a replica's first pass is over; pending until somebody says otherwise.
    pub fn first_pass(
        &self,
        collection: &CollectionName,
        node: &NodeName,
    ) -> Result<FirstPass, JournalError> {
        self.read(|connection| {
            let sql = "SELECT collection, node, state FROM first_pass WHERE collection = ?1 AND node = ?2";
            let bound = params![collection.as_str(), node.as_str()];
            let state = columns::first(connection, FIRST_PASS, sql, bound, |columns| {
                columns.coded("state", |code| match code {
                    "pending" => Some(FirstPass::Pending),
                    "passed" => Some(FirstPass::Passed),
                    _ => None,
                })
            })?;
            Ok(state.unwrap_or(FirstPass::Pending))
        })
    }

    /// Says whether a replica's first pass is over.
    pub fn set_first_pass(
        &self,
        collection: &CollectionName,
        node: &NodeName,
        state: FirstPass,
    ) -> Result<(), JournalError> {
        self.write(|transaction| {
            let state = match state {
                FirstPass::Pending => "pending",
                FirstPass::Passed => "passed",
            };
            let sql = "INSERT OR REPLACE INTO first_pass(collection, node, state) VALUES (?1, ?2, ?3)";
            columns::run(transaction, sql, params![collection.as_str(), node.as_str(), state]).map(|_| ())
        })
    }
}

fn find(
    connection: &Connection,
    collection: &CollectionName,
    shard: ShardId,
) -> Result<Option<Plan>, JournalError> {
    let sql = "SELECT * FROM plan WHERE collection = ?1 AND shard = ?2";
    columns::first(connection, PLAN, sql, params![collection.as_str(), shard.0], read)
}

fn remove(
    transaction: &Transaction<'_>,
    collection: &CollectionName,
    shard: ShardId,
) -> Result<(), JournalError> {
    let sql = "DELETE FROM plan WHERE collection = ?1 AND shard = ?2";
    columns::run(transaction, sql, params![collection.as_str(), shard.0]).map(|_| ())
}

fn store(transaction: &Transaction<'_>, plan: &Plan, items: &[PlanItem]) -> Result<(), JournalError> {
    let (collection, shard) = (plan.id.collection.as_str(), plan.id.shard.0);
    let sql = "INSERT INTO plan(collection, shard, run, counter, agent, reason, created, expires, digest)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
    columns::run(
        transaction,
        sql,
        params![
            collection,
            shard,
            plan.id.run.as_bytes(),
            counter_of(&plan.epoch)?,
            plan.epoch.agent.as_str(),
            plan.reason,
            plan.created.0,
            plan.expires.0,
            plan.digest,
        ],
    )?;
    let sql = "INSERT OR REPLACE INTO plan_item(collection, shard, key, node, action, source, row_before,
                   entry_after, cause, rule, state, bytes)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, 'pending', ?11)";
    for item in items {
        let (action, source) = item.action.stored();
        columns::run(
            transaction,
            sql,
            params![
                collection,
                shard,
                item.key.to_bytes(),
                item.node.as_str(),
                action,
                source,
                item.before.map(|digest| digest.0),
                item.after.map(|digest| digest.0),
                item.cause.as_str(),
                item.rule,
                columns::stored("bytes", item.bytes)?,
            ],
        )?;
    }
    Ok(())
}

fn with_counts(connection: &Connection, plan: Plan) -> Result<PlanRow, JournalError> {
    let sql = "SELECT 0 AS id, state, count(*) AS items FROM plan_item WHERE collection = ?1 AND shard = ?2
               GROUP BY state";
    let bound = params![plan.id.collection.as_str(), plan.id.shard.0];
    let states = columns::list(connection, PLAN_ITEM, sql, bound, |columns| {
        Ok((columns.coded("state", PlanItemState::of)?, columns.integer("items")?))
    })?;
    let mut counts = PlanCounts::default();
    for (state, items) in states {
        match state {
            PlanItemState::Pending => counts.pending = items,
            PlanItemState::Approved => counts.approved = items,
            PlanItemState::Dropped => counts.dropped = items,
        }
    }
    Ok(PlanRow { plan, counts })
}

fn read(columns: &Columns<'_>) -> Result<Plan, JournalError> {
    Ok(Plan {
        id: PlanId {
            collection: columns.parsed("collection")?,
            shard: ShardId(columns.integer("shard")?),
            run: RunId::from_bytes(columns.array("run")?),
        },
        epoch: columns.epoch()?,
        reason: columns.text("reason")?.to_owned(),
        created: WallMicros(columns.integer("created")?),
        expires: WallMicros(columns.integer("expires")?),
        digest: columns.array("digest")?,
    })
}

fn read_item(columns: &Columns<'_>) -> Result<PlanItemRow, JournalError> {
    Ok(PlanItemRow {
        item: PlanItem {
            key: columns.decoded("key", Key::from_bytes)?,
            node: columns.parsed("node")?,
            action: Action::read(columns)?,
            before: columns.optional("row_before", Columns::array)?.map(RowDigest),
            after: columns.optional("entry_after", Columns::array)?.map(EntryDigest),
            cause: columns.cause("cause")?,
            rule: columns.text("rule")?.to_owned(),
            bytes: columns.integer("bytes")?,
        },
        state: columns.coded("state", PlanItemState::of)?,
    })
}

#[cfg(test)]
#[path = "plans_tests.rs"]
mod tests;
