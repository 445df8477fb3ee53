//! Forgetting: what the journal holds of one document's content is erased, from the file too.

use rusqlite::{Connection, params};
use selfsame_core::{CollectionName, Key};

use crate::columns;
use crate::{Journal, JournalError};

/// What was erased.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forgotten {
    /// Repairs whose row, before or after, was erased.
    pub images: usize,
    /// Items of runs.
    pub items: usize,
    /// Items of plans.
    pub plan_items: usize,
}

impl Journal {
    /// Erases the rows that were kept of a key, and its items in runs and plans. What safety needs stays: that the key
    /// was deleted, which repairs were made of it with which outcome, and which change of it a person does not want, all
    /// without content.
    ///
    /// When this returns `Ok`, the bytes are gone from the file and its write-ahead log: the file is rewritten whole,
    /// since deleted content, also of long ago, lies on in free pages. That takes time in proportion to the file's
    /// size and as much room again, in the journal's directory and where SQLite keeps temporary files
    /// (`SQLITE_TMPDIR`); nobody else is answered meanwhile. On an error the content may still be in the file, though
    /// no row leads to it: call again.
    pub fn forget(&self, collection: &CollectionName, key: &Key) -> Result<Forgotten, JournalError> {
        let place = (collection.as_str(), key.to_bytes());
        let forgotten = self.write(|transaction| {
            Ok(Forgotten {
                images: columns::run(transaction, EMPTY_INTENTS, (place.0, &place.1))?,
                items: columns::run(transaction, DELETE_ITEMS, (place.0, &place.1))?,
                plan_items: columns::run(transaction, DELETE_PLAN_ITEMS, (place.0, &place.1))?,
            })
        })?;
        self.read(rewrite)?;
        Ok(forgotten)
    }
}

/// Rewrites the file from its rows, and empties the log.
fn rewrite(connection: &Connection) -> Result<(), JournalError> {
    connection.execute_batch("VACUUM")?;
    let busy: i64 = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", params![], |row| row.get(0))?;
    if busy != 0 {
        return Err(JournalError::LogInUse);
    }
    Ok(())
}

/// The words of a refusal may quote a value.
const EMPTY_INTENTS: &str = "UPDATE intent SET before_image = NULL, intended = NULL, outcome_detail = NULL,
        before = CASE before WHEN 'kept' THEN 'pruned' ELSE before END
    WHERE collection = ?1 AND key = ?2
        AND (before_image IS NOT NULL OR intended IS NOT NULL OR outcome_detail IS NOT NULL)";
const DELETE_ITEMS: &str =
    "DELETE FROM item WHERE key = ?2 AND run IN (SELECT run FROM run WHERE collection = ?1)";
const DELETE_PLAN_ITEMS: &str = "DELETE FROM plan_item WHERE collection = ?1 AND key = ?2";

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use selfsame_core::{
        Cause, Cell, Certainty, ContentDigest, Entry, RepairId, Row, RowDigest, ShardId, Version, WallMicros,
    };

    use super::*;
    use crate::testing::*;
    use crate::{
        BeforeImage, Intent, IntentOutcome, IntentWrite, ItemOutcome, LedgerStep, Pin, Plan, PlanId,
    };

    fn row(text: &str) -> Row {
        // Long enough for pages of its own, and short enough for a page with others.
        let long = text.repeat(2_000);
        Row::new(vec![("body".into(), Cell::Text(text.into())), ("more".into(), Cell::Text(long))])
    }

    fn intent(number: i64, repair: u8, before: &str, after: &str) -> Intent {
        let (key, key_digest) = key(number);
        let entry =
            Entry { key: key.clone(), version: Version(8), expiry: None, content: ContentDigest([5; 32]) };
        Intent {
            repair: RepairId::from_bytes([repair; 16]),
            run: run_id(1),
            epoch: epoch(4, "b"),
            collection: products(),
            node: node("node-a"),
            key,
            key_digest,
            expected: Some(RowDigest([3; 32])),
            write: IntentWrite::Put { entry, row: Some(row(after)) },
            before: BeforeImage::Kept(row(before)),
            cause: Cause::MissedUpdate,
            approved: false,
            at: WallMicros(1),
        }
    }

    /// Whether the bytes stand in the journal or its log.
    fn holds(path: &Path, words: &str) -> bool {
        let folder = path.parent().unwrap();
        fs::read_dir(folder).unwrap().any(|file| {
            let bytes = fs::read(file.unwrap().path()).unwrap();
            bytes.windows(words.len()).any(|window| window == words.as_bytes())
        })
    }

    #[test]
    fn what_is_forgotten_is_gone_from_the_files_and_what_safety_needs_stays() {
        let place = Place::new();
        let journal = place.open();
        let run = begin(&journal, 1);
        let intents =
            [intent(1, 1, "secret-words", "secret-news"), intent(1, 2, "secret-words", "secret-news")];
        journal.write_intents(&intents).unwrap();
        journal.write_intents(&[intent(2, 3, "other-words", "other-news")]).unwrap();
        // The winner's row is dropped by the outcome, but lies on in free pages.
        let applied = IntentOutcome::Applied { after: Some(RowDigest([6; 32])) };
        journal.write_outcomes(&[(intents[0].repair, applied.clone())]).unwrap();
        let refused = |words: &str| ItemOutcome::Refused(format!("constraint: {words}"));
        let items = [item(run, 1, refused("secret-words")), item(run, 2, refused("x"))];
        journal.record_items(&items).unwrap();
        let plan = Plan {
            id: PlanId { collection: products(), shard: ShardId(0), run: run_id(1) },
            epoch: epoch(1, "a"),
            reason: "brake".to_owned(),
            created: WallMicros(1),
            expires: WallMicros(100),
            digest: [0; 16],
        };
        journal.put_plan(&plan, &[plan_item(1), plan_item(2)]).unwrap();
        let (key_one, digest_one) = key(1);
        let pin = Pin {
            collection: products(),
            shard: ShardId(0),
            key: key_one.clone(),
            node: node("node-a"),
            before: None,
            after: None,
            at: WallMicros(1),
        };
        journal.add_pins(std::slice::from_ref(&pin)).unwrap();
        let tombstone = tombstone(1, Certainty::Observed, 1);
        let gone = LedgerStep::Gone(memory(1, tombstone.clone()));
        journal.note(&products(), &node("node-a"), &[gone], None).unwrap();
        assert!(holds(&place.path(), "secret-words") && holds(&place.path(), "secret-news"));

        let forgotten = journal.forget(&products(), &key_one).unwrap();
        assert_eq!(forgotten, Forgotten { images: 2, items: 1, plan_items: 1 });
        assert!(!holds(&place.path(), "secret-words"), "before-images and items");
        assert!(!holds(&place.path(), "secret-news"), "intended rows");
        assert!(holds(&place.path(), "other-words"), "other keys are left alone");

        drop(journal);
        let journal = place.open();
        assert_eq!(journal.outcome(intents[0].repair).unwrap(), Some(applied));
        assert_eq!(journal.open_intents(&products(), &node("node-a"), 9).unwrap().rows.len(), 2);
        assert_eq!(journal.intent(intents[0].repair).unwrap().unwrap().intent.before, BeforeImage::Pruned);
        assert_eq!(journal.memories(&products(), &node("node-a"), &[digest_one]).unwrap(), [Some(tombstone)]);
        assert_eq!(journal.last_repair(&products(), &node("node-a"), &[digest_one]).unwrap().len(), 1);
        assert_eq!(journal.pins_of_replica(&products(), &node("node-a")).unwrap(), [pin]);
        assert_eq!(journal.items(run_id(1), 9, None).unwrap().rows.len(), 1);
        assert_eq!(journal.plan(&products(), ShardId(0)).unwrap().unwrap().counts.pending, 1);
        assert_eq!(journal.forget(&products(), &key_one).unwrap(), Forgotten::default());
    }
}
