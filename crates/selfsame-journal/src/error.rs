//! What can go wrong with a journal.

use std::path::PathBuf;

use rusqlite::ErrorCode;
use selfsame_core::RunId;

/// Why the journal did not do what was asked. Nothing of the call is stored.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file is there, but is no whole journal. It is left as it is.
    #[error(
        "journal `{path}` is damaged: {detail}; hint: restore it from a copy of the file and its -wal, or move \
         both away, and the agent starts as one that has lost its journal"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found.
        detail: String,
    },
    /// The file is a database of something else.
    #[error(
        "`{path}` is a database, but no journal (application id {application_id:#x}); hint: check `data`"
    )]
    Foreign {
        /// The file.
        path: PathBuf,
        /// The id in its header.
        application_id: u32,
    },
    /// The file was written by a newer program.
    #[error(
        "journal `{path}` has format {found}, and this program reads formats up to {known}; hint: run the \
         version that wrote it, or a newer one"
    )]
    NewerFormat {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: i64,
        /// The newest format that is known here.
        known: i64,
    },
    /// Another process has the file open.
    #[error("journal `{path}` is open in another process; hint: one agent has one `data` directory")]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The file system refused.
    #[error("journal `{path}`: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The refusal.
        source: std::io::Error,
    },
    /// A stored row that this program could not have written.
    #[error("journal table `{table}`, row {id}: column `{column}` {problem}")]
    Row {
        /// The table.
        table: &'static str,
        /// The row's key.
        id: String,
        /// The column.
        column: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A number above 2^63 - 1, or an epoch counter that has come to its end.
    #[error("{what} {value} is too large to be stored")]
    Unstorable {
        /// What the number counts.
        what: &'static str,
        /// The number.
        value: u64,
    },
    /// Results or items of a run that was never begun here.
    #[error("run {0} was not begun in this journal")]
    NoRun(RunId),
    /// The write-ahead log could not be emptied: what was erased may still be in it.
    #[error("the journal's write-ahead log is in use; hint: try again")]
    LogInUse,
    /// The database engine refused: disk full, an I/O error.
    #[error("journal: {0}")]
    Sqlite(#[from] rusqlite::Error),
}

impl JournalError {
    /// Damage and locks that the engine reports, as what they are, with the file's name.
    pub(crate) fn at(self, path: &std::path::Path) -> JournalError {
        let JournalError::Sqlite(error) = self else { return self };
        match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
                JournalError::Damaged { path: path.to_owned(), detail: error.to_string() }
            }
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                JournalError::InUse { path: path.to_owned() }
            }
            _ => JournalError::Sqlite(error),
        }
    }
}
