//! A replica's index as what it is, a cache: one that fails while it is open is closed and opened anew, which sets a
//! damaged one aside.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use selfsame_index::{Condition, Index, IndexError, IndexSettings};

/// How long calls that are under way keep a failed index open.
const USED_FOR: Duration = Duration::from_secs(5);

/// How often it is looked whether they are through.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// An index that can be opened anew.
pub struct CachedIndex {
    directory: PathBuf,
    settings: Mutex<IndexSettings>,
    /// `None` while it is closed.
    open: RwLock<Option<Arc<Index>>>,
    failed: AtomicBool,
}

impl CachedIndex {
    /// Opens it. Blocking. Errors as [`Index::open`].
    pub fn open(directory: PathBuf, settings: IndexSettings) -> Result<(CachedIndex, Condition), IndexError> {
        let (index, condition) = Index::open(&directory, settings.clone())?;
        let open = RwLock::new(Some(Arc::new(index)));
        let settings = Mutex::new(settings);
        Ok((CachedIndex { directory, settings, open, failed: AtomicBool::new(false) }, condition))
    }

    /// The index, unless it has failed.
    pub fn get(&self) -> Result<Arc<Index>, IndexError> {
        if self.failed.load(Ordering::Acquire) {
            return Err(IndexError::Closed);
        }
        self.open.read().clone().ok_or(IndexError::Closed)
    }

    /// Notes what a call came to: after damage, or a write that the file system refused, nothing that the index says
    /// counts until it is opened anew.
    pub fn note(&self, error: &IndexError) {
        if matches!(error, IndexError::Damaged(_) | IndexError::Io { .. }) {
            self.failed.store(true, Ordering::Release);
        }
    }

    /// Opens it anew if it has failed. Blocking: it waits for calls that are under way, at most five seconds, and costs
    /// what opening costs. What an index that was set aside knew is for the next scan to find.
    pub fn mend(&self) -> Result<(), IndexError> {
        if !self.failed.load(Ordering::Acquire) {
            return Ok(());
        }
        // One at a time; whoever comes second finds it mended.
        let mut settings = self.settings.lock();
        if !self.failed.load(Ordering::Acquire) {
            return Ok(());
        }
        let closed = self.open.write().take();
        if let Some(index) = closed {
            self.close(index)?;
        }
        // Another life of the index is another incarnation.
        settings.randomness = settings.randomness.rotate_left(17) ^ 0x9e37_79b9_7f4a_7c15;
        let (index, condition) = Index::open(&self.directory, settings.clone())?;
        tracing::warn!(path = %self.directory.display(), ?condition, "an index that failed was opened anew");
        *self.open.write() = Some(Arc::new(index));
        self.failed.store(false, Ordering::Release);
        Ok(())
    }

    /// Waits until nobody uses it; puts it back if somebody does for too long.
    fn close(&self, mut index: Arc<Index>) -> Result<(), IndexError> {
        let mut waited = Duration::ZERO;
        loop {
            index = match Arc::try_unwrap(index) {
                Ok(index) => {
                    drop(index);
                    return Ok(());
                }
                Err(used) => used,
            };
            if waited >= USED_FOR {
                *self.open.write() = Some(index);
                return Err(IndexError::Damaged("it failed, and calls to it do not end".to_owned()));
            }
            std::thread::sleep(LOOK_EVERY);
            waited += LOOK_EVERY;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::mpsc;
    use std::thread;

    use selfsame_core::{Fingerprinter, ShardCount, Stamp};

    use super::*;

    fn opened(directory: &tempfile::TempDir) -> CachedIndex {
        let settings = IndexSettings {
            fingerprinter: Fingerprinter::new("shop", "products", b""),
            shards: ShardCount::new(4).unwrap(),
            basis: [7; 16],
            stamp_floor: Stamp(0),
            randomness: 1,
        };
        CachedIndex::open(directory.path().to_owned(), settings).unwrap().0
    }

    #[test]
    fn a_failed_index_says_nothing_until_it_is_opened_anew() {
        let failures = [
            IndexError::Damaged("on purpose".to_owned()),
            IndexError::Io { what: "write".to_owned(), source: io::ErrorKind::StorageFull.into() },
        ];
        for failure in failures {
            let directory = tempfile::tempdir().unwrap();
            let index = opened(&directory);
            let before = index.get().unwrap().incarnation();
            index.note(&failure);
            assert!(matches!(index.get(), Err(IndexError::Closed)));
            index.mend().unwrap();
            assert_ne!(index.get().unwrap().incarnation(), before);
        }
    }

    #[test]
    fn a_mistake_of_the_caller_is_no_failure() {
        let directory = tempfile::tempdir().unwrap();
        let index = opened(&directory);
        index.note(&IndexError::Misuse("on purpose"));
        index.get().unwrap();
    }

    #[test]
    fn it_is_opened_anew_when_the_calls_under_way_are_through() {
        let directory = tempfile::tempdir().unwrap();
        let index = Arc::new(opened(&directory));
        let used = index.get().unwrap();
        index.note(&IndexError::Damaged("on purpose".to_owned()));
        let (told, mended) = mpsc::channel();
        let mending = index.clone();
        let thread = thread::spawn(move || told.send(mending.mend()).unwrap());
        assert!(mended.recv_timeout(Duration::from_millis(200)).is_err(), "the directory is still locked");
        drop(used);
        mended.recv_timeout(Duration::from_secs(20)).unwrap().unwrap();
        thread.join().unwrap();
        index.get().unwrap();
    }
}
