//! Which file lies at a path right now.
//!
//! Only metadata is read: opening and closing the file here would drop the locks that SQLite holds on it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use selfsame_store::StoreError;

/// SQLite's smallest page. It takes a file of one byte for an empty database.
const DATABASE_BYTES_MIN: u64 = 512;

/// What the file system says of a file. Two equal stamps are the same file, and most likely the same bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileStamp {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
}

impl FileStamp {
    /// The stamp of the file at `path`.
    pub(crate) fn of(path: &Path) -> Result<FileStamp, StoreError> {
        let place = path.display();
        let metadata = fs::metadata(path).map_err(|error| {
            let (what, hint) = match error.kind() {
                std::io::ErrorKind::NotFound => {
                    ("does not exist", "check the path; a store never makes a file")
                }
                std::io::ErrorKind::PermissionDenied => ("may not be read", "check its permissions"),
                _ => ("cannot be read", "check the path"),
            };
            StoreError::Unavailable(format!("`{place}` {what}; hint: {hint}"))
        })?;
        if !metadata.is_file() {
            return Err(StoreError::Unavailable(format!("`{place}` is no file; hint: check the path")));
        }
        if (1..DATABASE_BYTES_MIN).contains(&metadata.len()) {
            return Err(StoreError::Unavailable(format!(
                "`{place}` is not an sqlite database; hint: check the path, or restore the file"
            )));
        }
        Ok(FileStamp {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        })
    }

    /// Whether both are one file, whatever was written to it. Sound as long as one of them is held open: its
    /// inode number is then not given away again.
    pub(crate) fn same_file(&self, other: &FileStamp) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }

    /// A name for the file as such, for stores that have no id of their own.
    pub(crate) fn name(&self) -> String {
        format!("file:{}:{}", self.device, self.inode)
    }
}
