//! Journals, read by plain SQL from copies: an agent locks its own.

use std::fs;
use std::path::Path;

use rusqlite::Connection;
use tempfile::TempDir;

/// A copy of the journal in an agent's data directory, as it is now. The folder lives as long as is wanted.
///
/// What a running agent writes while the copy is made may be missing in it, or make it unreadable: stop the agent
/// first, or hold it.
#[track_caller]
pub fn journal_copy(data: &Path) -> Result<(Connection, TempDir), rusqlite::Error> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for name in ["journal.db", "journal.db-wal"] {
        match fs::copy(data.join(name), folder.path().join(name)) {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => panic!("cannot copy {name}: {error}"),
        }
    }
    let connection = Connection::open(folder.path().join("journal.db"))?;
    // Reads the header and the WAL, and says at once if they are no database.
    connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
    Ok((connection, folder))
}
