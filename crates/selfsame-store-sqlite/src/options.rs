//! What an operator says about a store.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use selfsame_core::Mapping;

/// Which table of which file, and what may be done to it.
#[derive(Clone, Debug)]
pub struct SqliteOptions {
    /// The file. It must exist.
    pub path: PathBuf,
    /// The table.
    pub table: String,
    /// The mapping of its rows to documents.
    pub mapping: Arc<Mapping>,
    /// Who makes the `_selfsame_*` tables and triggers.
    pub setup: Setup,
    /// Whether anything may be written at all.
    pub access: Access,
    /// How long a call waits for the application's locks before it answers
    /// [`selfsame_store::StoreError::Busy`].
    pub busy_timeout: Duration,
    /// How many rows the file's change table keeps, for all its tables together.
    pub change_retention_rows: u32,
}

/// Who makes the `_selfsame_*` tables and triggers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Setup {
    /// The store, when it is opened, and again when somebody has removed them.
    #[default]
    Auto,
    /// An operator, with the statements of [`crate::setup_sql`]; the store only checks.
    Manual,
}

/// Whether the store may write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// Repairs are applied.
    #[default]
    ReadWrite,
    /// Nothing is made and nothing applied; every repair is
    /// [`selfsame_store::Refusal::ReadOnly`]. Works without any setup, then without a change feed.
    ReadOnly,
}

impl SqliteOptions {
    /// Enough for an application's long transaction; a guess.
    pub const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
    /// Some minutes of a busy application, a few megabytes; a guess.
    pub const CHANGE_RETENTION_ROWS: u32 = 100_000;

    /// A table of a file, with the defaults for everything else.
    pub fn new(path: impl Into<PathBuf>, table: impl Into<String>, mapping: Arc<Mapping>) -> Self {
        Self {
            path: path.into(),
            table: table.into(),
            mapping,
            setup: Setup::default(),
            access: Access::default(),
            busy_timeout: Self::BUSY_TIMEOUT,
            change_retention_rows: Self::CHANGE_RETENTION_ROWS,
        }
    }
}
