//! Repairs at the applying agent: the intent before the write, with the row that it replaces, and the outcome
//! after it. What has an intent and no outcome may have been written, and is settled by reading the store.

use std::collections::HashSet;

use rusqlite::{Connection, Transaction, params};
use selfsame_core::{
    Cause, CollectionName, Entry, Epoch, Key, KeyDigest, NodeName, RepairId, Row, RowDigest, RunId,
    WallMicros,
};

use crate::columns::{self, Columns, Table, limit};
use crate::fences::counter_of;
use crate::{Journal, JournalError, JournalOptions, Page, streaks};

/// What is about to be written, and on which condition.
#[derive(Clone, Debug, PartialEq)]
pub struct Intent {
    /// The repair.
    pub repair: RepairId,
    /// The run that decided it.
    pub run: RunId,
    /// The epoch under which it is applied.
    pub epoch: Epoch,
    /// The collection.
    pub collection: CollectionName,
    /// The replica.
    pub node: NodeName,
    /// The key.
    pub key: Key,
    /// Digest of the key.
    pub key_digest: KeyDigest,
    /// The row that must be there; `None`: none.
    pub expected: Option<RowDigest>,
    /// The write.
    pub write: IntentWrite,
    /// The row that is there.
    pub before: BeforeImage,
    /// Why the replica differs.
    pub cause: Cause,
    /// Whether a person approved it; the brakes do not count it then.
    pub approved: bool,
    /// When.
    pub at: WallMicros,
}

/// A conditional write.
#[derive(Clone, Debug, PartialEq)]
pub enum IntentWrite {
    /// Write a document.
    Put {
        /// What a fingerprint will know of it.
        entry: Entry,
        /// The row, to tell by reading whether it was written. `None` in what is read back once an outcome is
        /// known: it is dropped then.
        row: Option<Row>,
    },
    /// Delete the document.
    Delete,
}

/// The row that a repair replaces.
#[derive(Clone, Debug, PartialEq)]
pub enum BeforeImage {
    /// There was no row.
    NoRow,
    /// The whole row.
    Kept(Row),
    /// Its encoding was larger than `before_image_bytes_max`.
    TooLarge {
        /// Its size.
        bytes: u64,
    },
    /// Before-images are switched off.
    Off,
    /// It was kept, and pruned after the undo retention, or forgotten.
    Pruned,
}

/// What became of a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IntentOutcome {
    /// It was written.
    Applied {
        /// The row that it left; `None` after a delete.
        after: Option<RowDigest>,
    },
    /// The replica already had it.
    AlreadyThere,
    /// The expected row was not there.
    Changed,
    /// The store refused.
    Refused(String),
    /// Reading did not tell either whether it was written. A write that got no answer is no outcome yet: its
    /// intent stays open until it is read.
    Unknown,
}

/// What became of an intent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IntentWritten {
    /// It is stored; the write may start. Also where an earlier attempt ended without a write.
    New,
    /// It was stored before and has no outcome: it is settled by reading first. Nothing changed.
    Open,
    /// It was applied before: a repair applies once. Nothing changed.
    Settled(IntentOutcome),
}

/// What became of an outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OutcomeWritten {
    /// It is stored.
    Recorded,
    /// The intent has this outcome already, which stays.
    Kept(IntentOutcome),
    /// There is no such intent.
    NoIntent,
}

/// An intent with what is known of it since.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredIntent {
    /// The intent, as far as it was kept.
    pub intent: Intent,
    /// Its outcome; `None` while it is open.
    pub outcome: Option<IntentOutcome>,
}

/// Writes that the brakes count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RepairCount {
    /// All, deletes among them.
    pub repairs: u64,
    /// The keys that they are of, each once.
    pub keys: u64,
    /// Deletes.
    pub deletes: u64,
}

const INTENT: Table = Table { name: "intent", key_columns: 1 };

impl IntentOutcome {
    /// Whether the replica is as the repair wants it.
    pub fn is_done(&self) -> bool {
        matches!(self, IntentOutcome::Applied { .. } | IntentOutcome::AlreadyThere)
    }

    /// The outcome's code.
    pub fn code(&self) -> &'static str {
        match self {
            IntentOutcome::Applied { .. } => "applied",
            IntentOutcome::AlreadyThere => "already_there",
            IntentOutcome::Changed => "changed",
            IntentOutcome::Refused(_) => "refused",
            IntentOutcome::Unknown => "unknown",
        }
    }
}

impl BeforeImage {
    /// The code, the size where only that is known, and the image that is to be kept.
    fn stored(&self, options: JournalOptions) -> (&'static str, Option<i64>, Option<Vec<u8>>) {
        match self {
            BeforeImage::NoRow => ("no_row", None, None),
            BeforeImage::Kept(_) if !options.before_images => ("off", None, None),
            BeforeImage::Kept(row) => {
                let image = row.to_bytes();
                let bytes = limit(image.len());
                match image.len() > options.before_image_bytes_max {
                    true => ("too_large", Some(bytes), None),
                    false => ("kept", None, Some(image)),
                }
            }
            BeforeImage::TooLarge { bytes } => {
                ("too_large", Some(i64::try_from(*bytes).unwrap_or(i64::MAX)), None)
            }
            BeforeImage::Off => ("off", None, None),
            BeforeImage::Pruned => ("pruned", None, None),
        }
    }
}

impl Journal {
    /// Stores intents, all or none; they are on disk before any of the writes starts. One answer for each.
    pub fn write_intents(&self, intents: &[Intent]) -> Result<Vec<IntentWritten>, JournalError> {
        let written = self.write(|transaction| {
            intents.iter().map(|intent| write_intent(transaction, intent, self.options)).collect()
        })?;
        #[cfg(feature = "failpoints")]
        fail::fail_point!("journal::intent_written");
        Ok(written)
    }

    /// Stores outcomes. The first one of an intent stays, unless it is unknown. One answer for each.
    pub fn write_outcomes(
        &self,
        outcomes: &[(RepairId, IntentOutcome)],
    ) -> Result<Vec<OutcomeWritten>, JournalError> {
        let written = self.write(|transaction| {
            outcomes.iter().map(|(repair, outcome)| write_outcome(transaction, *repair, outcome)).collect()
        })?;
        #[cfg(feature = "failpoints")]
        fail::fail_point!("journal::outcome_written");
        Ok(written)
    }

    /// The first `limit_rows` intents of a replica that have no outcome, oldest first.
    pub fn open_intents(
        &self,
        collection: &CollectionName,
        node: &NodeName,
        limit_rows: usize,
    ) -> Result<Page<StoredIntent>, JournalError> {
        let sql = "SELECT * FROM intent WHERE collection = ?1 AND node = ?2 AND outcome IS NULL
                   ORDER BY id LIMIT ?3";
        let one_more = limit(limit_rows.max(1).saturating_add(1));
        self.page(sql, params![collection.as_str(), node.as_str(), one_more], limit_rows)
    }

    /// The keys on a replica whose deletion is announced and has no outcome yet: it may have been made. No more than
    /// one batch announces at a time, and what it left open is settled before the next.
    pub fn keys_being_deleted(
        &self,
        collection: &CollectionName,
        node: &NodeName,
    ) -> Result<HashSet<KeyDigest>, JournalError> {
        self.read(|connection| {
            let sql =
                "SELECT id, key_digest FROM intent WHERE collection = ?1 AND node = ?2 AND outcome IS NULL
                           AND action = 'delete'";
            let bound = params![collection.as_str(), node.as_str()];
            let keys = columns::list(connection, INTENT, sql, bound, |columns| columns.array("key_digest"))?;
            Ok(keys.into_iter().map(KeyDigest).collect())
        })
    }

    /// The latest intents for a key on a replica, newest first.
    pub fn intents_of_key(
        &self,
        collection: &CollectionName,
        node: &NodeName,
        key_digest: KeyDigest,
        limit_rows: usize,
    ) -> Result<Vec<StoredIntent>, JournalError> {
        self.read(|connection| {
            let sql = "SELECT * FROM intent WHERE collection = ?1 AND node = ?2 AND key_digest = ?3
                       ORDER BY id DESC LIMIT ?4";
            let bound = params![collection.as_str(), node.as_str(), key_digest.0, limit(limit_rows)];
            columns::list(connection, INTENT, sql, bound, read)
        })
    }

    /// An intent.
    pub fn intent(&self, repair: RepairId) -> Result<Option<StoredIntent>, JournalError> {
        self.read(|connection| {
            let sql = "SELECT * FROM intent WHERE repair = ?1";
            columns::first(connection, INTENT, sql, [repair.as_bytes()], read)
        })
    }

    /// The outcome of a repair; `None` while its intent is open, or where there is none.
    pub fn outcome(&self, repair: RepairId) -> Result<Option<IntentOutcome>, JournalError> {
        self.read(|connection| Ok(state(connection, repair)?.flatten()))
    }

    /// For each key the row that the latest applied repair of it left behind; `None` where none is known, or it
    /// was a delete. A row that has this digest was written by a repair, and by no client since.
    pub fn last_repair(
        &self,
        collection: &CollectionName,
        node: &NodeName,
        keys: &[KeyDigest],
    ) -> Result<Vec<Option<RowDigest>>, JournalError> {
        self.read(|connection| {
            let sql = "SELECT id, outcome_row FROM intent WHERE collection = ?1 AND node = ?2
                           AND key_digest = ?3 AND outcome = 'applied' ORDER BY id DESC LIMIT 1";
            let row = |columns: &Columns<'_>| columns.optional("outcome_row", Columns::array);
            keys.iter()
                .map(|key| {
                    let bound = params![collection.as_str(), node.as_str(), key.0];
                    Ok(columns::first(connection, INTENT, sql, bound, row)?.flatten().map(RowDigest))
                })
                .collect()
        })
    }

    /// The writes to a replica whose intents are of `since` or later, for the brakes: those applied, and those
    /// that may have been (open or unknown); not those that a person approved, nor what was swept.
    pub fn count_since(
        &self,
        collection: &CollectionName,
        node: &NodeName,
        since: WallMicros,
    ) -> Result<RepairCount, JournalError> {
        self.read(|connection| {
            let sql = "SELECT ?2 AS id, count(*) AS repairs, count(DISTINCT key_digest) AS keys,
                           count(*) FILTER (WHERE action = 'delete') AS deletes
                       FROM intent WHERE collection = ?1 AND node = ?2 AND at >= ?3 AND approved = 0 AND cause <> 'swept'
                           AND (outcome IS NULL OR outcome IN ('applied', 'unknown'))";
            let bound = params![collection.as_str(), node.as_str(), since.0];
            let count = columns::first(connection, INTENT, sql, bound, |columns| {
                Ok(RepairCount {
                    repairs: columns.integer("repairs")?,
                    keys: columns.integer("keys")?,
                    deletes: columns.integer("deletes")?,
                })
            })?;
            Ok(count.unwrap_or_default())
        })
    }

    fn page(
        &self,
        sql: &str,
        bound: impl rusqlite::Params,
        limit_rows: usize,
    ) -> Result<Page<StoredIntent>, JournalError> {
        self.read(|connection| {
            let rows = columns::list(connection, INTENT, sql, bound, |columns| {
                Ok((columns.integer("id")?, read(columns)?))
            })?;
            Ok(Page::cut(rows, limit_rows))
        })
    }
}

/// `None`: no such intent. `Some(None)`: open.
pub(crate) fn state(
    connection: &Connection,
    repair: RepairId,
) -> Result<Option<Option<IntentOutcome>>, JournalError> {
    let sql = "SELECT id, outcome, outcome_detail, outcome_row FROM intent WHERE repair = ?1";
    columns::first(connection, INTENT, sql, [repair.as_bytes()], outcome)
}

fn write_intent(
    transaction: &Transaction<'_>,
    intent: &Intent,
    options: JournalOptions,
) -> Result<IntentWritten, JournalError> {
    match state(transaction, intent.repair)? {
        None => {}
        Some(None) => return Ok(IntentWritten::Open),
        Some(Some(applied @ IntentOutcome::Applied { .. })) => return Ok(IntentWritten::Settled(applied)),
        // Nothing was written, or nobody knows: the condition decides again. A new id makes it the latest.
        Some(Some(_)) => {
            columns::run(transaction, "DELETE FROM intent WHERE repair = ?1", [intent.repair.as_bytes()])?;
        }
    }
    let (action, entry, row) = match &intent.write {
        IntentWrite::Put { entry, row } => ("put", Some(entry.to_bytes()), row.as_ref().map(Row::to_bytes)),
        IntentWrite::Delete => ("delete", None, None),
    };
    let (before, before_bytes, before_image) = intent.before.stored(options);
    let sql = "INSERT INTO intent(repair, run, counter, agent, collection, node, key, key_digest, expected,
                   action, entry, intended, before, before_bytes, before_image, cause, approved, at)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)";
    columns::run(
        transaction,
        sql,
        params![
            intent.repair.as_bytes(),
            intent.run.as_bytes(),
            counter_of(&intent.epoch)?,
            intent.epoch.agent.as_str(),
            intent.collection.as_str(),
            intent.node.as_str(),
            intent.key.to_bytes(),
            intent.key_digest.0,
            intent.expected.map(|digest| digest.0),
            action,
            entry,
            row,
            before,
            before_bytes,
            before_image,
            intent.cause.as_str(),
            intent.approved,
            intent.at.0,
        ],
    )?;
    Ok(IntentWritten::New)
}

fn write_outcome(
    transaction: &Transaction<'_>,
    repair: RepairId,
    outcome: &IntentOutcome,
) -> Result<OutcomeWritten, JournalError> {
    match state(transaction, repair)? {
        None => return Ok(OutcomeWritten::NoIntent),
        Some(None | Some(IntentOutcome::Unknown)) => {}
        Some(Some(known)) => return Ok(OutcomeWritten::Kept(known)),
    }
    let detail = match outcome {
        IntentOutcome::Refused(reason) => Some(reason.as_str()),
        _ => None,
    };
    let row = match outcome {
        IntentOutcome::Applied { after } => after.map(|digest| digest.0),
        _ => None,
    };
    let sql = "UPDATE intent SET outcome = ?2, outcome_detail = ?3, outcome_row = ?4,
                   intended = CASE WHEN ?2 = 'unknown' THEN intended END
               WHERE repair = ?1";
    columns::run(transaction, sql, params![repair.as_bytes(), outcome.code(), detail, row])?;
    if let IntentOutcome::Applied { .. } = outcome {
        streaks::follow(transaction, repair)?;
    }
    Ok(OutcomeWritten::Recorded)
}

pub(crate) fn outcome(columns: &Columns<'_>) -> Result<Option<IntentOutcome>, JournalError> {
    let after = columns.optional("outcome_row", Columns::array)?.map(RowDigest);
    let reason = columns.optional("outcome_detail", Columns::text)?.unwrap_or_default();
    columns.optional("outcome", |columns: &Columns<'_>, column| {
        columns.coded(column, |code| {
            Some(match code {
                "applied" => IntentOutcome::Applied { after },
                "already_there" => IntentOutcome::AlreadyThere,
                "changed" => IntentOutcome::Changed,
                "refused" => IntentOutcome::Refused(reason.to_owned()),
                "unknown" => IntentOutcome::Unknown,
                _ => return None,
            })
        })
    })
}

fn read(columns: &Columns<'_>) -> Result<StoredIntent, JournalError> {
    let entry = columns.optional("entry", |columns, column| columns.decoded(column, Entry::from_bytes))?;
    let row = columns.optional("intended", |columns, column| columns.decoded(column, Row::from_bytes))?;
    let write = columns.coded("action", |code| match code {
        "put" => Some(entry.map(|entry| IntentWrite::Put { entry, row })),
        "delete" => Some(Some(IntentWrite::Delete)),
        _ => None,
    })?;
    let intent = Intent {
        repair: RepairId::from_bytes(columns.array("repair")?),
        run: RunId::from_bytes(columns.array("run")?),
        epoch: columns.epoch()?,
        collection: columns.parsed("collection")?,
        node: columns.parsed("node")?,
        key: columns.decoded("key", Key::from_bytes)?,
        key_digest: KeyDigest(columns.array("key_digest")?),
        expected: columns.optional("expected", Columns::array)?.map(RowDigest),
        write: write.ok_or_else(|| columns.contradiction("entry"))?,
        before: before(columns)?,
        cause: columns.cause("cause")?,
        approved: columns.flag("approved")?,
        at: WallMicros(columns.integer("at")?),
    };
    Ok(StoredIntent { intent, outcome: outcome(columns)? })
}

fn before(columns: &Columns<'_>) -> Result<BeforeImage, JournalError> {
    let bytes = columns.optional("before_bytes", Columns::integer)?;
    let image =
        columns.optional("before_image", |columns, column| columns.decoded(column, Row::from_bytes))?;
    let before = columns.coded("before", |code| match code {
        "no_row" => Some(Some(BeforeImage::NoRow)),
        "kept" => Some(image.map(BeforeImage::Kept)),
        "too_large" => Some(bytes.map(|bytes| BeforeImage::TooLarge { bytes })),
        "off" => Some(Some(BeforeImage::Off)),
        "pruned" => Some(Some(BeforeImage::Pruned)),
        _ => None,
    })?;
    before.ok_or_else(|| columns.contradiction("before_image"))
}

#[cfg(test)]
#[path = "repairs_tests.rs"]
mod tests;
