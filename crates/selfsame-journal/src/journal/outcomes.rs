//! How many of a run's items ended in one way.

use rusqlite::params;
use selfsame_core::RunId;

use crate::{ItemOutcome, Journal, JournalError};

impl Journal {
    /// How many of a run's items ended so, whatever the detail. Looks through all items of the run.
    pub fn items_that_ended(&self, run: RunId, outcome: &ItemOutcome) -> Result<u64, JournalError> {
        self.read(|connection| {
            let sql = "SELECT count(*) FROM item WHERE run = ?1 AND outcome = ?2";
            let bound = params![run.as_bytes(), outcome.code()];
            let count: i64 = connection.prepare_cached(sql)?.query_row(bound, |row| row.get(0))?;
            Ok(count.unsigned_abs())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;

    #[test]
    fn items_are_counted_by_run_and_outcome_whatever_the_detail() {
        let place = Place::new();
        let journal = place.open();
        let runs = [begin(&journal, 1), begin(&journal, 2)];
        let held = |reason: &str| ItemOutcome::Held(reason.to_owned());
        journal
            .record_items(&[
                item(runs[0], 1, ItemOutcome::Unreadable),
                item(runs[0], 2, ItemOutcome::Unreadable),
                item(runs[0], 3, held("tie")),
                item(runs[1], 1, ItemOutcome::Unreadable),
            ])
            .unwrap();
        let count = |run, outcome| journal.items_that_ended(run, &outcome).unwrap();
        assert_eq!(count(runs[0], ItemOutcome::Unreadable), 2);
        assert_eq!(count(runs[0], held("report_only")), 1);
        assert_eq!(count(runs[1], ItemOutcome::Unreadable), 1);
        assert_eq!(count(runs[1], ItemOutcome::Planned), 0);
    }
}
