//! When each replica was scanned, as far as it tells whether the replica was away. What follows from it is decided in
//! the core; here it is kept.

use rusqlite::params;
use selfsame_core::away::Scans;
use selfsame_core::{CollectionName, NodeName, WallMicros};

use crate::columns::{self, Columns, Table};
use crate::holds::{self, Hold};
use crate::{Journal, JournalError};

/// The step to the format that has this table.
pub(crate) const STEP: &str = "
CREATE TABLE scan_note (
    collection TEXT NOT NULL,
    node TEXT NOT NULL,
    last INTEGER,
    gap_from INTEGER,
    gap_to INTEGER,
    judged INTEGER,
    PRIMARY KEY (collection, node)
) STRICT, WITHOUT ROWID;
";

const SCAN_NOTE: Table = Table { name: "scan_note", key_columns: 2 };

impl Journal {
    /// What is noted of a replica's scans; `None` if none was completed since this is noted.
    pub fn scans(&self, collection: &CollectionName, node: &NodeName) -> Result<Option<Scans>, JournalError> {
        self.read(|connection| {
            let sql = "SELECT collection, node, last, gap_from, gap_to, judged FROM scan_note
                       WHERE collection = ?1 AND node = ?2";
            let bound = params![collection.as_str(), node.as_str()];
            columns::first(connection, SCAN_NOTE, sql, bound, |columns| {
                let instant = |column| {
                    let micros: Option<i64> = columns.optional(column, Columns::integer)?;
                    Ok::<_, JournalError>(micros.map(WallMicros))
                };
                let (from, to) = (instant("gap_from")?, instant("gap_to")?);
                if from.is_some() != to.is_some() {
                    return Err(columns.contradiction("gap_to"));
                }
                Ok(Scans { last: instant("last")?, gap: from.zip(to), judged: instant("judged")? })
            })
        })
    }

    /// Notes what is known of a replica's scans, and holds it if `hold` says so, in one step. Gives the hold that
    /// stands if it does: [`Journal::hold`].
    pub fn note_scans(
        &self,
        collection: &CollectionName,
        node: &NodeName,
        scans: Scans,
        hold: Option<&Hold>,
    ) -> Result<Option<Hold>, JournalError> {
        self.write(|transaction| {
            let sql = "INSERT OR REPLACE INTO scan_note(collection, node, last, gap_from, gap_to, judged)
                       VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
            let (from, to) = scans.gap.unzip();
            let [last, from, to, judged] = [scans.last, from, to, scans.judged].map(|at| at.map(|at| at.0));
            let bound = params![collection.as_str(), node.as_str(), last, from, to, judged];
            columns::run(transaction, sql, bound)?;
            hold.map(|hold| holds::put(transaction, collection, node, hold)).transpose()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::HoldCause;
    use crate::testing::*;

    #[test]
    fn scans_are_noted_over_a_restart_together_with_the_hold_that_follows() {
        let place = Place::new();
        let noted = |journal: &Journal| journal.scans(&products(), &node("a")).unwrap();
        let journal = place.open();
        assert_eq!(noted(&journal), None);
        let scans = Scans::default().completed(WallMicros(5), 10);
        assert_eq!(journal.note_scans(&products(), &node("a"), scans, None).unwrap(), None);
        drop(journal);
        let journal = place.open();
        assert_eq!(noted(&journal), Some(scans));
        assert_eq!(journal.scans(&products(), &node("b")).unwrap(), None);
        let scans = Scans { judged: Some(WallMicros(5)), ..scans.completed(WallMicros(50), 10) };
        let hold = Hold { cause: HoldCause::Away, detail: "not scanned".to_owned(), since: WallMicros(51) };
        let standing = journal.note_scans(&products(), &node("a"), scans, Some(&hold)).unwrap();
        assert_eq!(standing, Some(hold.clone()));
        drop(journal);
        let journal = place.open();
        assert_eq!(noted(&journal), Some(scans));
        assert_eq!(journal.held(&products(), &node("a")).unwrap(), Some(hold));
    }

    #[test]
    fn a_journal_of_the_fourth_format_is_upgraded() {
        let place = Place::new();
        let back = "DROP TABLE scan_note; ALTER TABLE vanish DROP COLUMN scan; \
                    ALTER TABLE run DROP COLUMN abandoned; PRAGMA user_version = 4;";
        tamper(&place.open(), back);
        let journal = place.open();
        assert_eq!(journal.scans(&products(), &node("a")).unwrap(), None);
        journal.note_scans(&products(), &node("a"), Scans::default(), None).unwrap();
        tamper(&journal, "UPDATE scan_note SET gap_from = 3");
        let error = journal.scans(&products(), &node("a")).unwrap_err().to_string();
        assert!(error.contains("gap_to"), "{error}");
    }
}
