//! Directories and files that only their owner may look into: an index holds keys, which may be personal data. What
//! the store makes itself lies within such a directory.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::path::Path;

/// Makes a directory and its parents. Those that are there stay as they are.
pub(super) fn directory(path: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// For opening files: those that are made are their owner's.
pub(super) fn options() -> OpenOptions {
    let mut options = File::options();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// For a file that is made, or replaced whole.
pub(super) fn replaced(path: &Path) -> io::Result<File> {
    options().write(true).create(true).truncate(true).open(path)
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::super::{Anchor, Folder};
    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn only_its_owner_looks_into_an_index() {
        let data = tempfile::tempdir().unwrap();
        let path = data.path().join("index").join("products");
        let folder = Folder::lock(&path).unwrap();
        folder.begin_opening().unwrap();
        Anchor { generation: 1, reserved: 0, synced: 0 }.write(&path).unwrap();
        for made in [path.clone(), data.path().join("index")] {
            assert_eq!(mode(&made), 0o700, "{}", made.display());
        }
        for made in ["lock", "opening", "anchor"] {
            assert_eq!(mode(&path.join(made)), 0o600, "{made}");
        }
    }
}
