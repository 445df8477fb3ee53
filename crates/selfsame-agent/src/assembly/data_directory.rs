//! The agent's data directory: the journal in it holds whole rows, so that only the agent's user should look into it.

use std::fs;
use std::io;
use std::path::Path;

use crate::private;

/// Makes the directory, and its parents, for their owner alone. One that is there stays as it is, and a warning
/// says so if others may look into it.
pub(super) fn prepare(path: &Path) -> io::Result<()> {
    private::directory(path).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => io::Error::new(io::ErrorKind::NotADirectory, "it is no directory"),
        _ => error,
    })?;
    if is_open_to_others(&fs::metadata(path)?) {
        let path = path.display();
        tracing::warn!(
            "other users may look into the data directory `{path}`, and the journal there holds whole rows; \
             hint: chmod -R go= '{path}'"
        );
    }
    Ok(())
}

#[cfg(unix)]
fn is_open_to_others(metadata: &fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    metadata.permissions().mode() & 0o077 != 0
}

#[cfg(not(unix))]
fn is_open_to_others(_metadata: &fs::Metadata) -> bool {
    false
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_directory_is_made_private_and_one_that_is_there_stays() {
        let place = tempfile::tempdir().unwrap();
        let (new, old) = (place.path().join("parent/new"), place.path().join("old"));
        prepare(&new).unwrap();
        assert!(!is_open_to_others(&fs::metadata(&new).unwrap()));
        fs::create_dir(&old).unwrap();
        fs::set_permissions(&old, fs::Permissions::from_mode(0o750)).unwrap();
        prepare(&old).unwrap();
        let kept = fs::metadata(&old).unwrap();
        assert!(is_open_to_others(&kept) && kept.permissions().mode() & 0o777 == 0o750);
        let file = place.path().join("file");
        fs::write(&file, "").unwrap();
        for wrong in [file.clone(), file.join("below")] {
            assert_eq!(prepare(&wrong).unwrap_err().kind(), io::ErrorKind::NotADirectory);
        }
    }
}
