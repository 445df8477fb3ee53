//! A look at the store's files before the store sees them.
//!
//! The store trusts its manifests: a flipped byte in one ends in an assertion while locks are held, which
//! aborts the process. But it writes a checksum of each manifest beside it, so that can be found here first.
//! Journals and tables carry checksums that the store verifies itself.

use std::path::Path;

use xxhash_rust::xxh3::xxh3_128;

use super::store::io_or_damage;
use crate::IndexError;

/// Fails as `Damaged` if a manifest is missing or is not what its checksum says.
pub(super) fn check(store: &Path) -> Result<(), IndexError> {
    read(&store.join("version"))?;
    let keyspaces = store.join("keyspaces");
    let listed = std::fs::read_dir(&keyspaces).map_err(|error| io_or_damage("list the index", error))?;
    for folder in listed {
        let folder = folder.map_err(|error| io_or_damage("list the index", error))?.path();
        let name = folder.file_name().and_then(|name| name.to_str());
        if name.is_none_or(|name| name.parse::<u64>().is_err()) || !folder.is_dir() {
            return Err(IndexError::damaged(format!("`{}` does not belong to it", folder.display())));
        }
        check_manifest(&folder)?;
    }
    Ok(())
}

fn check_manifest(folder: &Path) -> Result<(), IndexError> {
    let misfit = || IndexError::damaged(format!("the manifest in `{}` fails its checksum", folder.display()));
    // The manifest's number, its checksum, and the kind of the checksum (0: XXH3).
    let current = read(&folder.join("current"))?;
    let (number, rest) = current.split_first_chunk::<8>().ok_or_else(misfit)?;
    let (checksum, kind) = rest.split_first_chunk::<16>().ok_or_else(misfit)?;
    let manifest = read(&folder.join(format!("v{}", u64::from_le_bytes(*number))))?;
    if kind != [0] || xxh3_128(&manifest) != u128::from_le_bytes(*checksum) {
        return Err(misfit());
    }
    Ok(())
}

fn read(file: &Path) -> Result<Vec<u8>, IndexError> {
    std::fs::read(file).map_err(|error| io_or_damage(&format!("read `{}`", file.display()), error))
}
