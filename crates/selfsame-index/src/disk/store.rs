//! The ordered key-value store: [`fjall`], with every panic and every error of its turned into ours.
//!
//! One keyspace holds everything, so that whatever is lost is lost for all rows alike.

use std::error::Error as _;
use std::io;
use std::ops::RangeInclusive;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode, Readable, Snapshot};

use super::manifests;
use crate::IndexError;

const KEYSPACE: &str = "index";

/// Blocks kept in memory for each index: a guess. Scans read each key's old row once, in random order, so
/// that a cache pays only where it holds most of the index.
const CACHE_BYTES: u64 = 16 * 1024 * 1024;

/// Rows kept in memory before they are written as a table: about 100 000 rows. A guess between memory (up to
/// four are kept for each index) and write amplification.
const MEMTABLE_BYTES: u64 = 16 * 1024 * 1024;

/// Journals kept on disk for each index: two, the least with which one can be filled while the other is flushed.
const JOURNAL_BYTES_MAX: u64 = 128 * 1024 * 1024;

/// An ordered map from bytes to bytes with atomic batches.
pub(crate) struct Store {
    database: Database,
    keyspace: Keyspace,
}

/// Stored bytes.
pub(crate) type Bytes = fjall::Slice;

/// What one batch does: keys with their new values, or `None` to remove them.
pub(crate) type Batch = Vec<(Vec<u8>, Option<Vec<u8>>)>;

impl Store {
    /// Begins a store in a directory that does not exist.
    pub(crate) fn create(path: &Path) -> Result<Store, IndexError> {
        Self::start(path)
    }

    /// Opens a store that [`Store::create`] began. It is `Damaged` if any of its files is missing.
    pub(crate) fn open(path: &Path) -> Result<Store, IndexError> {
        manifests::check(path)?;
        Self::start(path)
    }

    fn start(path: &Path) -> Result<Store, IndexError> {
        guarded("open the index's store", || {
            // One worker: with more, the first spins while another compacts.
            let database = Database::builder(path)
                .worker_threads(1)
                .cache_size(CACHE_BYTES)
                .max_journaling_size(JOURNAL_BYTES_MAX)
                .journal_compression(fjall::CompressionType::None)
                .open()?;
            let options = || KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE_BYTES);
            let keyspace = database.keyspace(KEYSPACE, options)?;
            Ok(Store { database, keyspace })
        })
    }

    /// The value of a key.
    pub(crate) fn value(&self, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError> {
        guarded("read the index", || Ok(self.keyspace.get(key)?.map(|value| value.to_vec())))
    }

    /// The state as of now, unmoved by later batches.
    pub(crate) fn view(&self) -> View<'_> {
        View { store: self, snapshot: self.database.snapshot() }
    }

    /// Applies a batch, all of it or nothing. It survives the end of the process, but not of the machine.
    pub(crate) fn commit(&self, changes: Batch) -> Result<(), IndexError> {
        guarded("write the index", || {
            let mut batch = self.database.batch().durability(Some(PersistMode::Buffer));
            for (key, value) in changes {
                match value {
                    Some(value) => batch.insert(&self.keyspace, key, value),
                    None => batch.remove(&self.keyspace, key),
                }
            }
            batch.commit()
        })
    }

    /// Makes all batches so far survive the end of the machine.
    pub(crate) fn sync(&self) -> Result<(), IndexError> {
        guarded("sync the index", || self.database.persist(PersistMode::SyncAll))
    }

    /// Writes all rows as tables, as happens by itself when there are enough.
    #[cfg(test)]
    pub(crate) fn flush(&self) {
        self.keyspace.rotate_memtable_and_wait().unwrap();
    }
}

/// One state of a store.
pub(crate) struct View<'s> {
    store: &'s Store,
    snapshot: Snapshot,
}

impl View<'_> {
    /// The pairs of a range of keys, in order.
    pub(crate) fn range(&self, keys: RangeInclusive<Vec<u8>>) -> Pairs {
        match catch_unwind(AssertUnwindSafe(|| self.snapshot.range(&self.store.keyspace, keys))) {
            Ok(pairs) => Pairs { pairs: Some(pairs), failed: None },
            Err(panic) => Pairs { pairs: None, failed: Some(panicked("read the index", &*panic)) },
        }
    }
}

/// Pairs in the order of their keys. Ends after the first error.
pub(crate) struct Pairs {
    pairs: Option<fjall::Iter>,
    failed: Option<IndexError>,
}

impl Iterator for Pairs {
    type Item = Result<(Bytes, Bytes), IndexError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(failed) = self.failed.take() {
            return Some(Err(failed));
        }
        let pairs = self.pairs.as_mut()?;
        let next = guarded("read the index", || pairs.next().map(|guard| guard.into_inner()).transpose());
        if !matches!(next, Ok(Some(_))) {
            self.pairs = None;
        }
        next.transpose()
    }
}

/// Runs a call of the store. A panic of its is damage: its own checks are assertions in places, and what is on
/// disk must not end the process. Rows are never changed half-way by one, for the caller opens the index again.
fn guarded<T>(what: &'static str, call: impl FnOnce() -> fjall::Result<T>) -> Result<T, IndexError> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(classified(what, error)),
        Err(panic) => Err(panicked(what, &*panic)),
    }
}

fn panicked(what: &str, panic: &(dyn std::any::Any + Send)) -> IndexError {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
    IndexError::damaged(format!("cannot {what}: the store panicked: {text}"))
}

/// Tells the refusals of the file system, where opening again would change nothing, from damage.
fn classified(what: &str, error: fjall::Error) -> IndexError {
    let error = match error {
        fjall::Error::Io(source) => return io_or_damage(what, source),
        error => error,
    };
    let mut cause = error.source();
    while let Some(found) = cause {
        if let Some(source) = found.downcast_ref::<io::Error>() {
            return io_or_damage(what, duplicate(source));
        }
        cause = found.source();
    }
    IndexError::damaged(format!("cannot {what}: {error}"))
}

fn duplicate(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}

/// An error that the system did not raise is the reader's complaint about the bytes; and a file that is missing,
/// already there, or of the wrong kind is damage too.
pub(super) fn io_or_damage(what: &str, source: io::Error) -> IndexError {
    use io::ErrorKind::{AlreadyExists, InvalidInput, IsADirectory, NotADirectory, NotFound};
    let misplaced = [NotFound, AlreadyExists, IsADirectory, NotADirectory, InvalidInput];
    if source.raw_os_error().is_none() || misplaced.contains(&source.kind()) {
        return IndexError::damaged(format!("cannot {what}: {source}"));
    }
    IndexError::io(what, source)
}
