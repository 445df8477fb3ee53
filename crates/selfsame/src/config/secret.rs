//! Reads the fleet's secret. Nothing of its content ever shows in a message.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::problems::{At, Problem, Problems};

/// A longer secret is a wrong file. A guess; a key needs 32 bytes.
const SECRET_BYTES_MAX: u64 = 64 * 1024;

/// The content of the file without the line break that editors put at its end. Adds a problem if there is no
/// such content, and a warning if others than the owner can read it.
pub(super) fn read(
    file: &At<PathBuf>,
    problems: &mut Problems,
    warnings: &mut Vec<Problem>,
) -> Option<Vec<u8>> {
    let shown = file.value.display();
    let mut content = match content(&file.value) {
        Ok(content) => content,
        Err(error) => {
            problems.add(
                Problem::new(file.place, format!("`secret_file`: {shown} cannot be read: {error}"))
                    .hint("every agent needs the same secret; the agent's user must be able to read it"),
            );
            return None;
        }
    };
    let end = content.iter().rposition(|byte| !matches!(byte, b'\n' | b'\r')).map_or(0, |last| last + 1);
    content.truncate(end);
    if content.is_empty() {
        problems.add(
            Problem::new(file.place, format!("`secret_file`: {shown} is empty"))
                .hint("such as the output of `openssl rand -hex 32`"),
        );
        return None;
    }
    if content.len() as u64 > SECRET_BYTES_MAX {
        let message = format!("`secret_file`: {shown} is longer than {SECRET_BYTES_MAX} bytes");
        problems.add(Problem::new(file.place, message).hint("is it the right file?"));
        return None;
    }
    if others_can_read(&file.value) {
        warnings.push(
            Problem::new(file.place, format!("`secret_file`: every user of this machine can read {shown}"))
                .hint("chmod o-r"),
        );
    }
    Some(content)
}

fn content(path: &Path) -> io::Result<Vec<u8>> {
    // Opening a pipe or a device could wait or read for ever.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a file"));
    }
    let mut content = Vec::new();
    File::open(path)?.take(SECRET_BYTES_MAX + 1).read_to_end(&mut content)?;
    Ok(content)
}

#[cfg(unix)]
fn others_can_read(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o004 != 0)
}

#[cfg(not(unix))]
fn others_can_read(_: &Path) -> bool {
    false
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::config::problems::Place;

    fn outcome(content: &[u8], mode: u32) -> (Option<Vec<u8>>, Vec<String>, Vec<String>) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let (mut problems, mut warnings) = (Problems::none("f"), Vec::new());
        let secret = read(&At { place: Place::START, value: path }, &mut problems, &mut warnings);
        let texts = |list: &[Problem]| list.iter().map(|problem| problem.message.clone()).collect();
        (secret, texts(problems.list()), texts(&warnings))
    }

    #[test]
    fn a_secret_is_its_line() {
        assert_eq!(outcome(b"top secret\r\n", 0o600), (Some(b"top secret".to_vec()), vec![], vec![]));
    }

    #[test]
    fn others_who_can_read_are_a_warning() {
        let (secret, problems, warnings) = outcome(b"x", 0o644);
        assert!(secret.is_some() && problems.is_empty());
        assert!(warnings[0].contains("every user of this machine"), "{warnings:?}");
    }

    #[test]
    fn empty_and_endless_secrets_are_refused() {
        for content in [&b"\n"[..], b"", &[b'x'; 70_000]] {
            let (secret, problems, _) = outcome(content, 0o600);
            assert_eq!((secret, problems.len()), (None, 1));
        }
    }
}
