//! Items: what a run found out about single keys, and what became of it.

use rusqlite::{Transaction, params};
use selfsame_core::{
    Cause, CollectionName, DivergenceAge, Key, NodeName, RepairId, RowDigest, RunId, ShardId, Version,
    WallMicros,
};

use crate::columns::{self, Columns, Table, limit, stored};
use crate::{Cursor, Journal, JournalError, Page};

/// What is to be done to a key on a replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Write the winner's document.
    Copy {
        /// A node that holds it.
        from: NodeName,
    },
    /// Delete the document.
    Delete,
    /// Nothing.
    Nothing,
}

impl Action {
    /// The action's code, and the node that a copy comes from.
    pub(crate) fn stored(&self) -> (&'static str, Option<&str>) {
        match self {
            Action::Copy { from } => ("copy", Some(from.as_str())),
            Action::Delete => ("delete", None),
            Action::Nothing => ("nothing", None),
        }
    }

    /// Reads the columns `action` and `source`.
    pub(crate) fn read(columns: &Columns<'_>) -> Result<Action, JournalError> {
        let from = columns.optional("source", Columns::parsed)?;
        let action = columns.coded("action", |code| match code {
            "copy" => Some(from.map(|from| Action::Copy { from })),
            "delete" => Some(Some(Action::Delete)),
            "nothing" => Some(Some(Action::Nothing)),
            _ => None,
        })?;
        action.ok_or_else(|| columns.contradiction("source"))
    }
}

/// What became of a key on a replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ItemOutcome {
    /// It waits in a plan.
    Planned,
    /// It was written, and not read back yet.
    Applied,
    /// The replica already had what was to be written.
    AlreadyThere,
    /// The replica's row was not the one that was confirmed.
    Changed,
    /// The target's agent or its store refused.
    Refused(String),
    /// A person must decide; the reason's code.
    Held(String),
    /// The key moved between the reads, or could not be proven still.
    Moving,
    /// A replica's row has no single meaning.
    Unreadable,
    /// The attempt failed.
    Failed(String),
    /// It was written and reads back so.
    Verified,
    /// It was written and reads back otherwise.
    Incomparable,
}

impl ItemOutcome {
    /// The outcome's code, in reports and metrics.
    pub fn code(&self) -> &'static str {
        match self {
            ItemOutcome::Planned => "planned",
            ItemOutcome::Applied => "applied",
            ItemOutcome::AlreadyThere => "already_there",
            ItemOutcome::Changed => "changed",
            ItemOutcome::Refused(_) => "refused",
            ItemOutcome::Held(_) => "held",
            ItemOutcome::Moving => "moving",
            ItemOutcome::Unreadable => "unreadable",
            ItemOutcome::Failed(_) => "failed",
            ItemOutcome::Verified => "verified",
            ItemOutcome::Incomparable => "incomparable",
        }
    }

    /// The reason that comes with it.
    pub fn detail(&self) -> Option<&str> {
        match self {
            ItemOutcome::Refused(reason) | ItemOutcome::Held(reason) | ItemOutcome::Failed(reason) => {
                Some(reason)
            }
            _ => None,
        }
    }

    fn of(code: &str, detail: Option<&str>) -> Option<ItemOutcome> {
        let reason = || detail.unwrap_or_default().to_owned();
        Some(match code {
            "planned" => ItemOutcome::Planned,
            "applied" => ItemOutcome::Applied,
            "already_there" => ItemOutcome::AlreadyThere,
            "changed" => ItemOutcome::Changed,
            "refused" => ItemOutcome::Refused(reason()),
            "held" => ItemOutcome::Held(reason()),
            "moving" => ItemOutcome::Moving,
            "unreadable" => ItemOutcome::Unreadable,
            "failed" => ItemOutcome::Failed(reason()),
            "verified" => ItemOutcome::Verified,
            "incomparable" => ItemOutcome::Incomparable,
            _ => return None,
        })
    }
}

/// One key on one replica in one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ItemRow {
    /// The run.
    pub run: RunId,
    /// The shard.
    pub shard: ShardId,
    /// The key.
    pub key: Key,
    /// The replica that differs.
    pub node: NodeName,
    /// What was decided.
    pub action: Action,
    /// Why the replica differs.
    pub cause: Cause,
    /// The code of the rule that decided.
    pub rule: String,
    /// What became of it.
    pub outcome: ItemOutcome,
    /// The version there before; `None` when there was no document.
    pub version_before: Option<Version>,
    /// The version meant to be there after; `None` for none.
    pub version_after: Option<Version>,
    /// The row there before.
    pub row_before: Option<RowDigest>,
    /// The row there after.
    pub row_after: Option<RowDigest>,
    /// When this was recorded.
    pub at: WallMicros,
    /// The repair that was made of it.
    pub repair: Option<RepairId>,
    /// How old the divergence is; `None` where nothing is known to differ, as for a row that cannot be read.
    pub age: Option<DivergenceAge>,
    /// Bytes of the row to be written, or of the row to be deleted.
    pub bytes: u64,
}

/// How many keys differ on a node for a cause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CauseCount {
    /// The node.
    pub node: NodeName,
    /// The cause.
    pub cause: Cause,
    /// The count.
    pub keys: u64,
    /// A few of the keys.
    pub samples: Vec<Key>,
}

const ITEM: Table = Table { name: "item", key_columns: 1 };

impl Journal {
    /// Stores items of runs that were begun here, all or none; of (run, shard, key, node) the latest stays.
    pub fn record_items(&self, items: &[ItemRow]) -> Result<(), JournalError> {
        self.write(|transaction| {
            let mut known = None;
            for item in items {
                if known != Some(item.run) {
                    let mut statement = transaction.prepare_cached("SELECT 1 FROM run WHERE run = ?1")?;
                    if !statement.exists([item.run.as_bytes()])? {
                        return Err(JournalError::NoRun(item.run));
                    }
                    known = Some(item.run);
                }
                store(transaction, item)?;
            }
            Ok(())
        })
    }

    /// A page of a run's items, in the order in which they were first recorded.
    pub fn items(
        &self,
        run: RunId,
        limit_rows: usize,
        after: Option<Cursor>,
    ) -> Result<Page<ItemRow>, JournalError> {
        self.read(|connection| {
            let sql = "SELECT * FROM item WHERE run = ?1 AND id > ?2 ORDER BY id LIMIT ?3";
            let bound =
                params![run.as_bytes(), Cursor::start(after), limit(limit_rows.max(1).saturating_add(1))];
            let rows = columns::list(connection, ITEM, sql, bound, |columns| {
                Ok((columns.integer("id")?, read(columns)?))
            })?;
            Ok(Page::cut(rows, limit_rows))
        })
    }

    /// How the divergences of a run divide among nodes and causes, with at most `samples_max` of their keys each.
    /// What cannot be read is no divergence, nor is what was swept.
    pub fn causes_of_run(&self, run: RunId, samples_max: usize) -> Result<Vec<CauseCount>, JournalError> {
        self.read(|connection| {
            let sql = "SELECT min(id) AS id, node, cause, count(DISTINCT key) AS keys FROM item
                       WHERE run = ?1 AND outcome <> 'unreadable' AND cause <> 'swept'
                       GROUP BY node, cause ORDER BY node, cause";
            let mut counts = columns::list(connection, ITEM, sql, [run.as_bytes()], cause_count)?;
            for count in &mut counts {
                let sql = "SELECT id, key FROM item WHERE run = ?1 AND node = ?2 AND cause = ?3
                               AND outcome <> 'unreadable' AND cause <> 'swept' ORDER BY id LIMIT ?4";
                let (node, cause) = (count.node.as_str(), count.cause.as_str());
                let bound = params![run.as_bytes(), node, cause, limit(samples_max)];
                count.samples = columns::list(connection, ITEM, sql, bound, |columns| {
                    columns.decoded("key", Key::from_bytes)
                })?;
            }
            Ok(counts)
        })
    }

    /// How the keys that differed in the newest `runs_max` runs of a collection, none begun before `since`, divide
    /// among nodes and causes: a key that several of these runs met counts once. Without samples.
    pub fn causes_since(
        &self,
        collection: &CollectionName,
        since: WallMicros,
        runs_max: usize,
    ) -> Result<Vec<CauseCount>, JournalError> {
        self.read(|connection| {
            let sql = "SELECT min(id) AS id, node, cause, count(DISTINCT key) AS keys FROM item
                       WHERE outcome <> 'unreadable' AND cause <> 'swept' AND run IN
                           (SELECT run FROM run WHERE collection = ?1 AND started >= ?2
                            ORDER BY started DESC LIMIT ?3)
                       GROUP BY node, cause ORDER BY node, cause";
            let bound = params![collection.as_str(), since.0, limit(runs_max)];
            columns::list(connection, ITEM, sql, bound, cause_count)
        })
    }

    /// For each key and node what the newest run that has an item for them recorded.
    pub fn last_items(
        &self,
        collection: &CollectionName,
        places: &[(Key, NodeName)],
    ) -> Result<Vec<Option<ItemRow>>, JournalError> {
        self.read(|connection| {
            // Ids grow with the runs, and the index of keys has them in order: the first that fits is the newest.
            let sql = "SELECT item.* FROM item JOIN run USING (run)
                       WHERE item.key = ?1 AND item.node = ?2 AND run.collection = ?3
                       ORDER BY item.id DESC LIMIT 1";
            let last = |(key, node): &(Key, NodeName)| {
                let bound = params![key.to_bytes(), node.as_str(), collection.as_str()];
                columns::first(connection, ITEM, sql, bound, read)
            };
            places.iter().map(last).collect()
        })
    }

    /// What recent runs made of a key, newest first, at most `limit_rows`.
    pub fn explain(
        &self,
        collection: &CollectionName,
        key: &Key,
        limit_rows: usize,
    ) -> Result<Vec<ItemRow>, JournalError> {
        self.read(|connection| {
            let sql =
                "SELECT item.* FROM item JOIN run USING (run) WHERE item.key = ?1 AND run.collection = ?2
                       ORDER BY item.at DESC, item.id DESC LIMIT ?3";
            let bound = params![key.to_bytes(), collection.as_str(), limit(limit_rows)];
            columns::list(connection, ITEM, sql, bound, read)
        })
    }
}

fn store(transaction: &Transaction<'_>, item: &ItemRow) -> Result<(), JournalError> {
    let sql = "INSERT INTO item(run, shard, key, node, action, source, cause, rule, outcome, detail,
                   version_before, version_after, row_before, row_after, at, repair, since, found, repaired, bytes)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20)
               ON CONFLICT(run, node, shard, key) DO UPDATE SET action = excluded.action,
                   source = excluded.source, cause = excluded.cause, rule = excluded.rule,
                   outcome = excluded.outcome, detail = excluded.detail,
                   version_before = excluded.version_before, version_after = excluded.version_after,
                   row_before = excluded.row_before, row_after = excluded.row_after, at = excluded.at,
                   repair = excluded.repair, since = excluded.since, found = excluded.found,
                   repaired = excluded.repaired, bytes = excluded.bytes";
    let age = item.age;
    let (action, source) = item.action.stored();
    columns::run(
        transaction,
        sql,
        params![
            item.run.as_bytes(),
            item.shard.0,
            item.key.to_bytes(),
            item.node.as_str(),
            action,
            source,
            item.cause.as_str(),
            item.rule,
            item.outcome.code(),
            item.outcome.detail(),
            item.version_before.map(|version| version.0),
            item.version_after.map(|version| version.0),
            item.row_before.map(|digest| digest.0),
            item.row_after.map(|digest| digest.0),
            item.at.0,
            item.repair.as_ref().map(RepairId::as_bytes),
            age.map(|age| age.since.0),
            age.map(|age| age.found.0),
            age.and_then(|age| age.repaired).map(|at| at.0),
            stored("bytes", item.bytes)?,
        ],
    )
    .map(|_| ())
}

fn read(columns: &Columns<'_>) -> Result<ItemRow, JournalError> {
    let detail = columns.optional("detail", Columns::text)?;
    Ok(ItemRow {
        run: RunId::from_bytes(columns.array("run")?),
        shard: ShardId(columns.integer("shard")?),
        key: columns.decoded("key", Key::from_bytes)?,
        node: columns.parsed("node")?,
        action: Action::read(columns)?,
        cause: columns.cause("cause")?,
        rule: columns.text("rule")?.to_owned(),
        outcome: columns.coded("outcome", |code| ItemOutcome::of(code, detail))?,
        version_before: columns.optional("version_before", Columns::integer)?.map(Version),
        version_after: columns.optional("version_after", Columns::integer)?.map(Version),
        row_before: columns.optional("row_before", Columns::array)?.map(RowDigest),
        row_after: columns.optional("row_after", Columns::array)?.map(RowDigest),
        at: WallMicros(columns.integer("at")?),
        repair: columns.optional("repair", Columns::array)?.map(RepairId::from_bytes),
        age: age(columns)?,
        bytes: columns.integer("bytes")?,
    })
}

fn age(columns: &Columns<'_>) -> Result<Option<DivergenceAge>, JournalError> {
    let instant = |column| columns.optional(column, Columns::integer);
    let (since, found, repaired) = (instant("since")?, instant("found")?, instant("repaired")?);
    match (since.map(WallMicros), found.map(WallMicros), repaired.map(WallMicros)) {
        (Some(since), Some(found), repaired) => Ok(Some(DivergenceAge { since, found, repaired })),
        (None, None, None) => Ok(None),
        _ => Err(columns.contradiction("found")),
    }
}

fn cause_count(columns: &Columns<'_>) -> Result<CauseCount, JournalError> {
    Ok(CauseCount {
        node: columns.parsed("node")?,
        cause: columns.cause("cause")?,
        keys: columns.integer("keys")?,
        samples: Vec::new(),
    })
}

#[cfg(test)]
#[path = "items_tests.rs"]
mod tests;
