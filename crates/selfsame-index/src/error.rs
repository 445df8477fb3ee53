//! What can go wrong with an index, by what the caller does about it.

use std::io;
use std::path::PathBuf;

use selfsame_core::DecodeError;

/// Why a call did nothing.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// The file system refused: permission, a full disk, a failing device. Nothing is known to be damaged.
    #[error("cannot {what}: {source}")]
    Io {
        /// What was attempted.
        what: String,
        /// What the system said.
        source: io::Error,
    },
    /// Another process, or another `Index` of this one, has the directory open.
    #[error("index `{0}` is open elsewhere; hint: only one agent may use a data directory")]
    Locked(PathBuf),
    /// What is stored contradicts itself, or an earlier write failed half-way. Drop the index and open it again:
    /// that either finds a whole state or begins a new one.
    #[error("index is damaged: {0}; hint: it is rebuilt when it is opened again")]
    Damaged(String),
    /// It failed before, and was not opened again since.
    #[error("index failed, and is opened anew by the next scan")]
    Closed,
    /// The caller broke the order of calls; the text says which.
    #[error("index: {0}")]
    Misuse(&'static str),
}

impl IndexError {
    pub(crate) fn io(what: impl Into<String>, source: io::Error) -> IndexError {
        IndexError::Io { what: what.into(), source }
    }

    pub(crate) fn damaged(why: impl Into<String>) -> IndexError {
        IndexError::Damaged(why.into())
    }
}

impl From<DecodeError> for IndexError {
    fn from(error: DecodeError) -> IndexError {
        IndexError::Damaged(error.to_string())
    }
}
