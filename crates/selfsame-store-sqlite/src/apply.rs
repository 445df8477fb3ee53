//! Batches of repairs: one transaction under the write lock, a savepoint for each repair.
//!
//! Either the whole transaction is durable when the call answers, or nothing of it was written.

use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use selfsame_store::{Refusal, RepairBatch, RepairItem, StoreError, WriteOutcome};

use crate::fault::{Fault, Outcome};
use crate::options::Setup;
use crate::repair;
use crate::session::{Begin, Session, View};
use crate::setup;

/// Repairs are remembered at least this long: longer than any agent keeps an intent unsettled.
const ORIGIN_RETENTION: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// And at least this many: 200 full batches. A guess.
const ORIGIN_ROWS: i64 = 100_000;
/// Rows looked at for pruning with each batch: twice a full batch (500), so that pruning keeps up.
const PRUNED_MAX: i64 = 1_000;

/// Applies a batch. Ends, since each new attempt has one more item whose outcome is settled beforehand.
pub(crate) fn apply(session: &mut Session, batch: &RepairBatch) -> Result<Vec<WriteOutcome>, StoreError> {
    let items: Vec<(usize, &RepairItem)> = batch.items.iter().enumerate().collect();
    if items.is_empty() {
        return Ok(Vec::new());
    }
    let mut settled = HashMap::new();
    loop {
        match session.transact(Begin::WriteLock, |view| in_transaction(view, &items, &settled)) {
            Ok(outcomes) => return Ok(outcomes),
            Err(Fault::TransactionGone { item, refusal }) => {
                settled.insert(item, WriteOutcome::Refused(refusal));
            }
            Err(Fault::DeferredForeignKey) => break,
            Err(fault) => return Err(session.told(fault)),
        }
    }
    // Only the commit checks deferred foreign keys, and it does not say whose they are: each repair by itself.
    items.iter().map(|item| alone(session, item)).collect()
}

fn alone(session: &mut Session, item: &(usize, &RepairItem)) -> Result<WriteOutcome, StoreError> {
    match session.transact(Begin::WriteLock, |view| in_transaction(view, &[*item], &HashMap::new())) {
        Ok(outcomes) => outcomes
            .into_iter()
            .next()
            .ok_or_else(|| StoreError::Unavailable("a repair has no outcome; hint: apply it again".into())),
        Err(Fault::TransactionGone { refusal, .. }) => Ok(WriteOutcome::Refused(refusal)),
        Err(Fault::DeferredForeignKey) => {
            Ok(WriteOutcome::Refused(Refusal::Constraint("FOREIGN KEY constraint failed".into())))
        }
        Err(fault) => Err(session.told(fault)),
    }
}

/// The repairs' outcomes, in order. `settled` has those that are known beforehand.
fn in_transaction(
    view: &View<'_>,
    items: &[(usize, &RepairItem)],
    settled: &HashMap<usize, WriteOutcome>,
) -> Outcome<Vec<WriteOutcome>> {
    ensure_setup(view)?;
    let mut outcomes = Vec::with_capacity(items.len());
    for (index, item) in items {
        outcomes.push(match settled.get(index) {
            Some(outcome) => outcome.clone(),
            None => in_savepoint(view, *index, item)?,
        });
    }
    if outcomes.iter().any(|outcome| matches!(outcome, WriteOutcome::Applied { .. })) {
        prune_origin(view)?;
    }
    Ok(outcomes)
}

fn ensure_setup(view: &View<'_>) -> Outcome<()> {
    match (&view.table.setup.lacks, view.options.setup) {
        (None, _) => Ok(()),
        (Some(_), Setup::Auto) => {
            setup::make(view.connection, view.table, view.options.change_retention_rows)
        }
        (Some(_), Setup::Manual) => Ok(view.table.setup.required(view.table)?),
    }
}

fn in_savepoint(view: &View<'_>, index: usize, item: &RepairItem) -> Outcome<WriteOutcome> {
    let connection = view.connection;
    connection.execute_batch("SAVEPOINT selfsame_repair")?;
    let outcome = match repair::attempt(view, item) {
        Ok(outcome) => outcome,
        // A trigger's RAISE(ROLLBACK) takes the other repairs with it.
        Err(Fault::Refused(refusal)) if connection.is_autocommit() => {
            return Err(Fault::TransactionGone { item: index, refusal });
        }
        Err(Fault::Refused(refusal)) => WriteOutcome::Refused(refusal),
        Err(fault) => return Err(fault),
    };
    connection.execute_batch(match outcome {
        WriteOutcome::Applied { .. } => "RELEASE selfsame_repair",
        _ => "ROLLBACK TO selfsame_repair; RELEASE selfsame_repair",
    })?;
    Ok(outcome)
}

fn prune_origin(view: &View<'_>) -> Outcome<()> {
    let retention = i64::try_from(ORIGIN_RETENTION.as_micros()).unwrap_or(i64::MAX);
    view.connection
        .prepare_cached(
            "DELETE FROM _selfsame_origin WHERE at < ?1 AND seq IN (SELECT seq FROM _selfsame_origin \
             WHERE seq <= (SELECT max(seq) FROM _selfsame_origin) - ?2 ORDER BY seq LIMIT ?3)",
        )?
        .execute((wall_micros().saturating_sub(retention), ORIGIN_ROWS, PRUNED_MAX))?;
    Ok(())
}

/// Microseconds since 1970, for people and for pruning; decides nothing else.
pub(crate) fn wall_micros() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::process::Command;
    use std::sync::Arc;

    use rusqlite::Connection;
    use selfsame_core::{
        Cause, Cell, Fingerprinter, Key, KeyAs, Mapping, MappingSpec, OriginMarker, RepairId, Row, RunId,
        ShardCount,
    };
    use selfsame_store::{Expected, Write};

    use super::*;
    use crate::options::SqliteOptions;
    use crate::session::Role;

    const PATH_OF_CHILD: &str = "SELFSAME_TEST_KILLED_ON";

    fn session(path: &Path) -> Session {
        let spec = MappingSpec {
            key: vec!["id".into()],
            key_as: KeyAs::Native,
            document: None,
            columns: None,
            version: None,
            expiry: None,
            deletion: None,
            ignore_fields: vec![],
            shards: ShardCount::new(1).unwrap(),
            document_bytes_max: 1 << 24,
        };
        let mapping = Mapping::new(spec, Fingerprinter::new("f", "c", b"")).unwrap();
        Session::new(Arc::new(SqliteOptions::new(path, "t", Arc::new(mapping))), Role::Writer).unwrap()
    }

    fn file(journal_mode: &str) -> (tempfile::TempDir, std::path::PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("app.db");
        let connection = Connection::open(&path).unwrap();
        connection.pragma_update(None, "journal_mode", journal_mode).unwrap();
        connection
            .execute_batch(
                "CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT); INSERT INTO t VALUES (1, 'a')",
            )
            .unwrap();
        (directory, path)
    }

    fn item(number: u8, name: &str) -> RepairItem {
        RepairItem {
            marker: OriginMarker {
                agent: "a".parse().unwrap(),
                run: RunId::from_bytes([0; 16]),
                repair: RepairId::from_bytes([number; 16]),
                cause: Cause::MissedInsert,
            },
            key: Key::integer(number.into()),
            expected: Expected::Absent,
            write: Write::Put(Row::new(vec![
                ("id".into(), Cell::Integer(number.into())),
                ("name".into(), Cell::Text(name.into())),
            ])),
        }
    }

    fn batch() -> RepairBatch {
        RepairBatch { items: (10..60).map(|number| item(number, &"x".repeat(2000))).collect() }
    }

    fn all_applied(outcomes: &[WriteOutcome]) -> bool {
        outcomes.iter().all(|outcome| matches!(outcome, WriteOutcome::Applied { .. }))
    }

    /// Rows, and rows of ours: all or nothing.
    fn left(path: &Path) -> (i64, i64) {
        let connection = Connection::open(path).unwrap();
        let count = |sql: &str| connection.query_row(sql, [], |row| row.get(0)).unwrap_or(0);
        assert_eq!(count("SELECT count(*) FROM pragma_integrity_check WHERE integrity_check <> 'ok'"), 0);
        (count("SELECT count(*) FROM t"), count("SELECT count(*) FROM _selfsame_origin"))
    }

    /// Applies the batch with pages spilling to the file, and ends the process before the commit.
    #[test]
    fn child_that_is_killed_before_its_commit() {
        let Ok(path) = std::env::var(PATH_OF_CHILD) else { return };
        let batch = batch();
        let items: Vec<_> = batch.items.iter().enumerate().collect();
        let _ = session(Path::new(&path)).transact(Begin::WriteLock, |view| {
            view.connection.pragma_update(None, "cache_size", 5).unwrap();
            assert!(all_applied(&in_transaction(view, &items, &HashMap::new())?));
            std::process::abort();
            #[allow(unreachable_code, reason = "gives the closure its type")]
            Ok(())
        });
    }

    #[test]
    fn a_process_killed_within_a_batch_leaves_all_as_it_was_and_redelivery_applies_it() {
        for journal_mode in ["wal", "delete"] {
            let (_directory, path) = file(journal_mode);
            let child = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "apply::tests::child_that_is_killed_before_its_commit"])
                .env(PATH_OF_CHILD, &path)
                .output()
                .unwrap();
            assert!(!child.status.success() && child.status.code().is_none(), "{child:?}");
            assert_eq!(left(&path), (1, 0), "{journal_mode}");
            assert!(all_applied(&apply(&mut session(&path), &batch()).unwrap()));
            assert_eq!(left(&path), (51, 50), "{journal_mode}");
        }
    }

    #[test]
    fn a_full_disk_writes_nothing_and_is_no_outcome() {
        let (_directory, path) = file("delete");
        let mut session = session(&path);
        assert!(all_applied(&apply(&mut session, &RepairBatch { items: vec![item(2, "b")] }).unwrap()));
        session
            .transact(Begin::Snapshot, |view| {
                let pages: i64 = view.connection.query_row("PRAGMA page_count", [], |row| row.get(0))?;
                Ok(view.connection.pragma_update(None, "max_page_count", pages + 3)?)
            })
            .unwrap();
        match apply(&mut session, &batch()) {
            Err(StoreError::Unavailable(why)) => assert!(why.contains("full"), "{why}"),
            other => panic!("{other:?}"),
        }
        assert_eq!(left(&path), (2, 1));
        assert!(all_applied(&apply(&mut session, &batch()).unwrap()), "the connection is a new one");
    }

    #[test]
    fn remembered_repairs_are_pruned_by_age_and_number_together() {
        let (_directory, path) = file("wal");
        let mut session = session(&path);
        apply(&mut session, &RepairBatch { items: vec![item(2, "b")] }).unwrap();
        let day = 24 * 60 * 60 * 1_000_000_i64;
        let fill = format!(
            "WITH RECURSIVE n(i) AS (SELECT 1000 UNION ALL SELECT i + 1 FROM n WHERE i < 1000 + {ORIGIN_ROWS} + 500)
             INSERT INTO _selfsame_origin SELECT i, 'old' || i, '', {} - ?1 * {day} FROM n",
            wall_micros()
        );
        let connection = Connection::open(&path).unwrap();
        connection.execute(&fill, [6]).unwrap();
        apply(&mut session, &RepairBatch { items: vec![item(3, "c")] }).unwrap();
        assert_eq!(left(&path).1, ORIGIN_ROWS + 503, "young ones stay");
        connection.execute("UPDATE _selfsame_origin SET at = at - 2 * ?1", [day]).unwrap();
        apply(&mut session, &RepairBatch { items: vec![item(4, "d")] }).unwrap();
        assert!(left(&path).1 <= ORIGIN_ROWS + 1, "old ones go, {} stay", left(&path).1);
    }
}
