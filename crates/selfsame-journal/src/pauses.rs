//! Pauses: no repair starts while one is in force. They outlive the process.

use rusqlite::params;
use selfsame_core::{CollectionName, WallMicros};

use crate::columns::{self, Columns, Table};
use crate::{Journal, JournalError};

/// What is paused.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PauseScope {
    /// Everything.
    All,
    /// One collection.
    Collection(CollectionName),
}

/// A pause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pause {
    /// What is paused.
    pub scope: PauseScope,
    /// From when on it is not any more; `None`: until it is resumed.
    pub until: Option<WallMicros>,
}

impl PauseScope {
    fn stored(&self) -> &str {
        match self {
            PauseScope::All => "",
            PauseScope::Collection(collection) => collection.as_str(),
        }
    }
}

const PAUSE: Table = Table { name: "pause", key_columns: 1 };

impl Journal {
    /// Pauses. A later call for the same scope takes the place of the earlier, also where it ends sooner.
    pub fn pause(&self, pause: &Pause) -> Result<(), JournalError> {
        self.write(|transaction| {
            let sql = "INSERT OR REPLACE INTO pause(collection, until) VALUES (?1, ?2)";
            let until = pause.until.map(|until| until.0);
            columns::run(transaction, sql, params![pause.scope.stored(), until]).map(|_| ())
        })
    }

    /// Ends the pause of a scope; `All` ends every pause. Gives what it ended. A collection stays paused while
    /// everything is.
    pub fn resume(&self, scope: &PauseScope) -> Result<Vec<Pause>, JournalError> {
        self.write(|transaction| {
            let sql = "DELETE FROM pause WHERE ?1 = '' OR collection = ?1 RETURNING collection, until";
            columns::list(transaction, PAUSE, sql, [scope.stored()], read)
        })
    }

    /// The pause that holds a collection at `now`; of two the one that ends later.
    pub fn paused(
        &self,
        collection: &CollectionName,
        now: WallMicros,
    ) -> Result<Option<Pause>, JournalError> {
        self.read(|connection| {
            let sql = "SELECT collection, until FROM pause
                       WHERE collection IN ('', ?1) AND (until IS NULL OR until > ?2)
                       ORDER BY until IS NULL DESC, until DESC, collection LIMIT 1";
            columns::first(connection, PAUSE, sql, params![collection.as_str(), now.0], read)
        })
    }

    /// All pauses that are in force at `now`.
    pub fn pauses(&self, now: WallMicros) -> Result<Vec<Pause>, JournalError> {
        self.read(|connection| {
            let sql =
                "SELECT collection, until FROM pause WHERE until IS NULL OR until > ?1 ORDER BY collection";
            columns::list(connection, PAUSE, sql, [now.0], read)
        })
    }
}

fn read(columns: &Columns<'_>) -> Result<Pause, JournalError> {
    Ok(Pause {
        scope: match columns.text("collection")? {
            "" => PauseScope::All,
            _ => PauseScope::Collection(columns.parsed("collection")?),
        },
        until: columns.optional("until", Columns::integer)?.map(WallMicros),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;

    fn of(scope: PauseScope, until: Option<i64>) -> Pause {
        Pause { scope, until: until.map(WallMicros) }
    }

    #[test]
    fn a_pause_outlives_the_process_and_ends_when_it_should() {
        let place = Place::new();
        let one = || PauseScope::Collection(products());
        let users = "users".parse().unwrap();
        let paused =
            |collection: &CollectionName, now| place.open().paused(collection, WallMicros(now)).unwrap();
        assert_eq!(paused(&products(), 0), None);
        place.open().pause(&of(one(), Some(10))).unwrap();
        assert_eq!(paused(&products(), 9), Some(of(one(), Some(10))));
        assert_eq!(paused(&products(), 10), None);
        assert_eq!(paused(&users, 9), None);
        place.open().pause(&of(PauseScope::All, None)).unwrap();
        assert_eq!(paused(&products(), 9), Some(of(PauseScope::All, None)));
        assert_eq!(paused(&users, 99), Some(of(PauseScope::All, None)));
        assert_eq!(place.open().pauses(WallMicros(9)).unwrap().len(), 2);
        assert_eq!(place.open().resume(&one()).unwrap(), [of(one(), Some(10))]);
        assert!(paused(&products(), 9).is_some());
        place.open().pause(&of(one(), None)).unwrap();
        assert_eq!(place.open().resume(&PauseScope::All).unwrap().len(), 2);
        assert_eq!(paused(&products(), 9), None);
    }

    #[test]
    fn the_latest_word_on_a_scope_counts() {
        let place = Place::new();
        let journal = place.open();
        journal.pause(&of(PauseScope::All, None)).unwrap();
        journal.pause(&of(PauseScope::All, Some(5))).unwrap();
        assert_eq!(journal.paused(&products(), WallMicros(5)).unwrap(), None);
    }
}
