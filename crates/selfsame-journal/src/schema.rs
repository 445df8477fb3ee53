//! The format on disk, and the steps from each format to the next.

use rusqlite::{Connection, TransactionBehavior};

use crate::JournalError;

/// The format that this program writes. Kept in the header's `user_version`.
pub(crate) const FORMAT: i64 = STEPS.len() as i64;

/// `STEPS[n]` leads from format `n` to `n + 1`. A step that was released is never edited.
const STEPS: [&str; 8] = [
    FORMAT_1,
    crate::holds::STEP,
    FORMAT_3,
    crate::purge::STEP,
    crate::gaps::STEP,
    crate::holds::STEP_BY_SCAN,
    crate::runs::STEP,
    crate::pins::STEP,
];

/// Brings a file from `format` to [`FORMAT`], whole or not at all.
pub(crate) fn upgrade(connection: &mut Connection, format: i64) -> Result<(), JournalError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let done = usize::try_from(format).unwrap_or(0);
    for step in STEPS.iter().skip(done) {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "user_version", FORMAT)?;
    Ok(transaction.commit()?)
}

/// Names and codes are text; ids, digests and core's encodings are blobs; times are microseconds.
const FORMAT_1: &str = "
CREATE TABLE fact (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO fact(name, value) VALUES ('standing', 'fresh');

-- The highest epoch seen, and the highest counter that this agent took itself.
CREATE TABLE fence (
    collection TEXT NOT NULL,
    shard INTEGER NOT NULL,
    counter INTEGER,
    agent TEXT,
    own_counter INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (collection, shard)
) STRICT, WITHOUT ROWID;

CREATE TABLE shard_record (
    collection TEXT NOT NULL,
    shard INTEGER NOT NULL,
    counter INTEGER NOT NULL,
    agent TEXT NOT NULL,
    plan_run BLOB,
    plan_digest BLOB,
    PRIMARY KEY (collection, shard)
) STRICT, WITHOUT ROWID;

CREATE TABLE completion (
    collection TEXT NOT NULL,
    shard INTEGER NOT NULL,
    slot BLOB NOT NULL,
    verdict TEXT NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (collection, shard, slot),
    FOREIGN KEY (collection, shard) REFERENCES shard_record ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

CREATE TABLE run (
    run BLOB PRIMARY KEY,
    collection TEXT NOT NULL,
    slot BLOB NOT NULL,
    owner TEXT NOT NULL,
    started INTEGER NOT NULL,
    finished INTEGER,
    dry_run INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX run_started ON run(started);

CREATE TABLE shard_result (
    run BLOB NOT NULL REFERENCES run ON DELETE CASCADE,
    shard INTEGER NOT NULL,
    owner TEXT NOT NULL,
    counter INTEGER NOT NULL,
    agent TEXT NOT NULL,
    at INTEGER NOT NULL,
    verdict TEXT NOT NULL,
    as_of INTEGER,
    reason TEXT,
    keys_compared INTEGER NOT NULL,
    mismatches INTEGER NOT NULL,
    repaired INTEGER NOT NULL,
    transient INTEGER NOT NULL,
    moving INTEGER NOT NULL,
    held INTEGER NOT NULL,
    wire_sent_bytes INTEGER NOT NULL,
    wire_received_bytes INTEGER NOT NULL,
    document_bytes INTEGER NOT NULL,
    PRIMARY KEY (run, shard)
) STRICT, WITHOUT ROWID;

CREATE TABLE item (
    id INTEGER PRIMARY KEY,
    run BLOB NOT NULL REFERENCES run,
    shard INTEGER NOT NULL,
    key BLOB NOT NULL,
    node TEXT NOT NULL,
    action TEXT NOT NULL,
    source TEXT,
    cause TEXT NOT NULL,
    rule TEXT NOT NULL,
    outcome TEXT NOT NULL,
    detail TEXT,
    version_before INTEGER,
    version_after INTEGER,
    row_before BLOB,
    row_after BLOB,
    at INTEGER NOT NULL,
    repair BLOB,
    UNIQUE (run, node, shard, key)
) STRICT;
CREATE INDEX item_run ON item(run);
CREATE INDEX item_key ON item(key);

-- Ids are never used again: of two intents for one key, the one with the higher id was written later.
CREATE TABLE intent (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    repair BLOB NOT NULL UNIQUE,
    run BLOB NOT NULL,
    counter INTEGER NOT NULL,
    agent TEXT NOT NULL,
    collection TEXT NOT NULL,
    node TEXT NOT NULL,
    key BLOB NOT NULL,
    key_digest BLOB NOT NULL,
    expected BLOB,
    action TEXT NOT NULL,
    entry BLOB,
    intended BLOB,
    before TEXT NOT NULL,
    before_bytes INTEGER,
    before_image BLOB,
    cause TEXT NOT NULL,
    approved INTEGER NOT NULL,
    at INTEGER NOT NULL,
    outcome TEXT,
    outcome_detail TEXT,
    outcome_row BLOB
) STRICT;
CREATE INDEX intent_key ON intent(collection, node, key_digest);
CREATE INDEX intent_count ON intent(collection, node, at, approved, outcome, action);
CREATE INDEX intent_run ON intent(run);
CREATE INDEX intent_at ON intent(at) WHERE outcome IS NOT NULL;
CREATE INDEX intent_open ON intent(collection, node) WHERE outcome IS NULL;
CREATE INDEX intent_kept ON intent(at) WHERE outcome IS NOT NULL AND before_image IS NOT NULL;

CREATE TABLE tombstone (
    collection TEXT NOT NULL,
    node TEXT NOT NULL,
    key_digest BLOB NOT NULL,
    key BLOB NOT NULL,
    version INTEGER NOT NULL,
    cause TEXT NOT NULL,
    at INTEGER NOT NULL,
    certainty TEXT NOT NULL,
    owner TEXT NOT NULL,
    came_back INTEGER NOT NULL,
    PRIMARY KEY (collection, node, key_digest)
) STRICT, WITHOUT ROWID;
CREATE INDEX tombstone_observed ON tombstone(at) WHERE certainty = 'observed';

-- How far the change feed of each store was read.
CREATE TABLE feed (
    collection TEXT NOT NULL,
    node TEXT NOT NULL,
    position INTEGER NOT NULL,
    PRIMARY KEY (collection, node)
) STRICT, WITHOUT ROWID;

CREATE TABLE plan (
    collection TEXT NOT NULL,
    shard INTEGER NOT NULL,
    run BLOB NOT NULL,
    counter INTEGER NOT NULL,
    agent TEXT NOT NULL,
    reason TEXT NOT NULL,
    created INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    digest BLOB NOT NULL,
    PRIMARY KEY (collection, shard)
) STRICT, WITHOUT ROWID;
CREATE INDEX plan_run ON plan(run);

CREATE TABLE plan_item (
    id INTEGER PRIMARY KEY,
    collection TEXT NOT NULL,
    shard INTEGER NOT NULL,
    key BLOB NOT NULL,
    node TEXT NOT NULL,
    action TEXT NOT NULL,
    source TEXT,
    row_before BLOB,
    entry_after BLOB,
    cause TEXT NOT NULL,
    rule TEXT NOT NULL,
    state TEXT NOT NULL,
    UNIQUE (collection, shard, key, node),
    FOREIGN KEY (collection, shard) REFERENCES plan ON DELETE CASCADE
) STRICT;
CREATE INDEX plan_item_shard ON plan_item(collection, shard);

CREATE TABLE pin (
    collection TEXT NOT NULL,
    shard INTEGER NOT NULL,
    key BLOB NOT NULL,
    node TEXT NOT NULL,
    row_before BLOB,
    entry_after BLOB,
    at INTEGER NOT NULL,
    PRIMARY KEY (collection, shard, key, node)
) STRICT, WITHOUT ROWID;

CREATE TABLE first_pass (
    collection TEXT NOT NULL,
    node TEXT NOT NULL,
    state TEXT NOT NULL,
    PRIMARY KEY (collection, node)
) STRICT, WITHOUT ROWID;

-- The empty name stands for all collections; no collection is called so.
CREATE TABLE pause (
    collection TEXT PRIMARY KEY,
    until INTEGER
) STRICT, WITHOUT ROWID;

CREATE TABLE pass (
    collection TEXT NOT NULL,
    shard INTEGER NOT NULL,
    run BLOB NOT NULL,
    number INTEGER NOT NULL,
    mismatched INTEGER NOT NULL,
    in_a_row INTEGER NOT NULL,
    PRIMARY KEY (collection, shard)
) STRICT, WITHOUT ROWID;

CREATE TABLE repair_streak (
    collection TEXT NOT NULL,
    node TEXT NOT NULL,
    key_digest BLOB NOT NULL,
    shard INTEGER NOT NULL,
    number INTEGER NOT NULL,
    repaired_in INTEGER NOT NULL,
    in_a_row INTEGER NOT NULL,
    PRIMARY KEY (collection, node, key_digest)
) STRICT, WITHOUT ROWID;
CREATE INDEX repair_streak_shard ON repair_streak(collection, shard, number);
";

/// Streaks are kept at the applying agent, by run. Repairs are counted by key. Items know how old their divergences
/// are; they and plans know how much would be written.
const FORMAT_3: &str = "
DROP TABLE pass;
DROP TABLE repair_streak;
CREATE TABLE repair_streak (
    collection TEXT NOT NULL,
    node TEXT NOT NULL,
    key_digest BLOB NOT NULL,
    run BLOB NOT NULL,
    in_a_row INTEGER NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (collection, node, key_digest)
) STRICT, WITHOUT ROWID;
CREATE INDEX repair_streak_at ON repair_streak(at);

DROP INDEX intent_count;
CREATE INDEX intent_count ON intent(collection, node, at, approved, outcome, action, key_digest);
ALTER TABLE intent ADD COLUMN incomparable INTEGER NOT NULL DEFAULT 0;

ALTER TABLE item ADD COLUMN since INTEGER;
ALTER TABLE item ADD COLUMN found INTEGER;
ALTER TABLE item ADD COLUMN repaired INTEGER;
ALTER TABLE item ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0;
ALTER TABLE plan_item ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0;
";

#[cfg(test)]
#[path = "schema_tests.rs"]
mod tests;
