//! The directory of an index: its lock, its generations, and what was set aside.

use std::fs::{File, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::private;
use crate::IndexError;

/// How many damaged generations are kept for whoever wants to know why; older ones are deleted.
const SET_ASIDE_MAX: usize = 2;

/// So many openings that did not end, in a row, are taken for damage. The store's code may abort the process on
/// bytes that it does not expect; nobody should have to delete the index by hand then. Three, since a process
/// may also be killed for other reasons while it opens a large index.
const OPENINGS_MAX: u64 = 3;

/// An index's directory, locked for as long as this lives.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    _lock: File,
}

impl Folder {
    /// Makes the directory, for its owner alone, and locks it.
    pub(crate) fn lock(path: &Path) -> Result<Folder, IndexError> {
        let lock = || {
            private::directory(path)?;
            private::options().create(true).append(true).open(path.join("lock"))
        };
        let file = lock().map_err(|error| failed(path, error))?;
        match file.try_lock() {
            Ok(()) => Ok(Folder { path: path.to_owned(), _lock: file }),
            Err(TryLockError::WouldBlock) => Err(IndexError::Locked(path.to_owned())),
            Err(TryLockError::Error(error)) => Err(failed(path, error)),
        }
    }

    /// The directory.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Where the store of a generation is.
    pub(crate) fn generation(&self, number: u64) -> PathBuf {
        self.path.join(format!("db-{number}"))
    }

    /// The numbers of the generations that are there, ascending.
    pub(crate) fn generations(&self) -> Result<Vec<u64>, IndexError> {
        self.numbered("db-").map_err(|error| failed(&self.path, error))
    }

    /// Deletes a generation, if it is there.
    pub(crate) fn delete_generation(&self, number: u64) -> Result<(), IndexError> {
        delete(&self.generation(number)).map_err(|error| failed(&self.path, error))
    }

    /// Keeps a generation for whoever wants to know why it is damaged, and gives its new place; `None` if it is
    /// not there at all. Only the newest [`SET_ASIDE_MAX`] are kept.
    pub(crate) fn set_aside(&self, generation: u64) -> Result<Option<PathBuf>, IndexError> {
        let from = self.generation(generation);
        let set_aside = || {
            if !from.try_exists()? {
                return Ok(None);
            }
            let kept = self.numbered("damaged-")?;
            for number in kept.iter().rev().skip(SET_ASIDE_MAX - 1) {
                delete(&self.damaged(*number))?;
            }
            let to = self.damaged(kept.last().map_or(1, |newest| newest.saturating_add(1)));
            std::fs::rename(&from, &to)?;
            sync(&self.path)?;
            Ok(Some(to))
        };
        set_aside().map_err(|error| failed(&self.path, error))
    }

    fn damaged(&self, number: u64) -> PathBuf {
        self.path.join(format!("damaged-{number}"))
    }

    fn numbered(&self, prefix: &str) -> io::Result<Vec<u64>> {
        let mut numbers = Vec::new();
        for file in std::fs::read_dir(&self.path)? {
            let name = file?.file_name();
            let number = name.to_str().and_then(|name| name.strip_prefix(prefix));
            numbers.extend(number.and_then(|number| number.parse::<u64>().ok()));
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Notes that an opening begins. `false` if too many before it did not end; they are forgotten then.
    pub(crate) fn begin_opening(&self) -> Result<bool, IndexError> {
        let note = self.path.join("opening");
        let begun = match std::fs::metadata(&note) {
            Ok(metadata) => metadata.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(failed(&self.path, error)),
        };
        let before: &[u8] = match begun {
            0 => b"",
            1 => b".",
            2 => b"..",
            OPENINGS_MAX.. => b"",
        };
        let write = || private::replaced(&note)?.write_all(&[before, b"."].concat());
        write().map_err(|error| failed(&self.path, error))?;
        Ok(begun < OPENINGS_MAX)
    }

    /// Notes that the opening ended, well or badly, but with an answer.
    pub(crate) fn end_opening(&self) {
        // If the note stays, the worst that follows is a rebuild after further failures.
        if let Err(error) = std::fs::remove_file(self.path.join("opening")) {
            tracing::debug!(path = %self.path.display(), %error, "cannot remove the note of an opening");
        }
    }
}

fn failed(path: &Path, error: io::Error) -> IndexError {
    IndexError::io(format!("use the index directory `{}`", path.display()), error)
}

fn delete(path: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Makes the names in a directory survive the end of the machine.
pub(super) fn sync(folder: &Path) -> io::Result<()> {
    #[cfg(unix)]
    File::open(folder)?.sync_all()?;
    Ok(())
}
