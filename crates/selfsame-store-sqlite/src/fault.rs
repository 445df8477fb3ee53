//! What can go wrong within a call, and what the caller is told about it.
//!
//! Raw errors of SQLite go to the log; callers get this crate's own words.

use std::path::Path;

use rusqlite::ErrorCode;
use selfsame_store::{Refusal, StoreError};

/// Why a piece of work stopped.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    /// The call ends with this.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// SQLite failed; the caller is told by [`Fault::told`].
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    /// One repair cannot be applied; the others can.
    #[error("repair refused")]
    Refused(Refusal),
    /// One repair cannot be applied, and its attempt has ended the whole transaction.
    #[error("repair {item} refused, transaction gone")]
    TransactionGone {
        /// Which of the transaction's repairs, by its index in the batch.
        item: usize,
        /// Why.
        refusal: Refusal,
    },
    /// The commit was refused because of a deferred foreign key of one of the repairs.
    #[error("a deferred foreign key refuses the commit")]
    DeferredForeignKey,
}

/// The result of a piece of work on a connection.
pub(crate) type Outcome<T> = Result<T, Fault>;

/// The code and the words of an error that SQLite itself reported.
pub(crate) fn sqlite_words(error: &rusqlite::Error) -> Option<(ErrorCode, Option<&str>)> {
    match error {
        rusqlite::Error::SqliteFailure(error, words) => Some((error.code, words.as_deref())),
        rusqlite::Error::SqlInputError { error, msg, .. } => Some((error.code, Some(msg))),
        _ => None,
    }
}

impl Fault {
    /// Whether the connection should not be used again: the file under it may have been damaged or replaced.
    pub(crate) fn spoils_connection(&self) -> bool {
        match self {
            Fault::Sqlite(error) => !matches!(
                sqlite_words(error),
                Some((
                    ErrorCode::DatabaseBusy
                        | ErrorCode::DatabaseLocked
                        | ErrorCode::ConstraintViolation
                        | ErrorCode::Unknown,
                    _
                ))
            ),
            Fault::Store(StoreError::Unavailable(_)) => true,
            _ => false,
        }
    }

    /// What the caller is told.
    pub(crate) fn told(self, path: &Path, table: &str) -> StoreError {
        let error = match self {
            Fault::Store(error) => return error,
            Fault::Refused(_) | Fault::TransactionGone { .. } | Fault::DeferredForeignKey => {
                return StoreError::Schema(format!("table `{table}` refuses a repair"));
            }
            Fault::Sqlite(error) => error,
        };
        tracing::warn!(path = %path.display(), table, %error, "sqlite call failed");
        let path = path.display();
        let Some((code, _)) = sqlite_words(&error) else {
            return StoreError::Unavailable(format!("`{path}` could not be read; hint: see the agent's log"));
        };
        match code {
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::FileLockingProtocolFailed => {
                StoreError::Busy(format!(
                    "`{path}` is locked by another connection; hint: look for a long transaction of the application"
                ))
            }
            ErrorCode::NotADatabase => StoreError::Unavailable(format!(
                "`{path}` is not an sqlite database; hint: check the path, or restore the file"
            )),
            ErrorCode::DatabaseCorrupt => StoreError::Unavailable(format!(
                "`{path}` is damaged; hint: run `PRAGMA integrity_check`, or restore the file"
            )),
            ErrorCode::CannotOpen | ErrorCode::PermissionDenied => StoreError::Unavailable(format!(
                "`{path}` cannot be opened; hint: check that the agent may read and write it and its directory"
            )),
            ErrorCode::ReadOnly => StoreError::Unavailable(format!(
                "`{path}` cannot be written; hint: check the permissions of the file and its directory"
            )),
            ErrorCode::DiskFull => StoreError::Unavailable(format!(
                "the disk of `{path}` is full; hint: make room, nothing was written"
            )),
            ErrorCode::Unknown => StoreError::Schema(format!(
                "table `{table}` in `{path}` does not take the statements made for it; hint: see the agent's log"
            )),
            _ => StoreError::Unavailable(format!("`{path}` could not be read; hint: see the agent's log")),
        }
    }
}
