//! The file: made whole or not at all, checked before use, never silently replaced.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::{JournalError, schema};

/// The header's application id: `SeSJ`.
const APPLICATION_ID: u32 = 0x5365_534a;

/// How long to wait for a process that is just letting go of the file: a guess at an agent's last moments.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);

/// Plans of statements that are kept: above the number of statements in this crate.
const STATEMENTS_KEPT: usize = 128;

/// The write-ahead log is cut back to this size after a checkpoint. A guess: a few of the largest batches.
const WAL_BYTES_KEPT: i64 = 64 * 1024 * 1024;

/// Opens or makes the journal in `path`, checked and ready.
pub(crate) fn open(path: &Path) -> Result<Connection, JournalError> {
    let io = |source| JournalError::Io { path: path.to_owned(), source };
    let damaged = |detail: &str| JournalError::Damaged { path: path.to_owned(), detail: detail.to_owned() };
    match fs::metadata(path) {
        Ok(file) if file.is_dir() => return Err(damaged("it is a directory")),
        Ok(file) if file.len() == 0 => return Err(damaged("the file is empty")),
        Ok(file) => check_length(path, file.len())?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            for suffix in ["-wal", "-journal"] {
                if beside(path, suffix).try_exists().map_err(io)? {
                    return Err(damaged(&format!("the file is gone, but its {suffix} is there")));
                }
            }
            create(path).map_err(|error| as_refusal(error, path))?;
            tracing::info!(path = %path.display(), "journal made");
        }
        Err(error) => return Err(io(error)),
    }
    prepare(path).map_err(|error| as_refusal(error, path).at(path))
}

/// What the engine reports of a file or directory that may not be read or written, as what it is, with its path.
fn as_refusal(error: JournalError, path: &Path) -> JournalError {
    let JournalError::Sqlite(error) = error else { return error };
    match error.sqlite_error_code() {
        Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
            let source = io::Error::new(io::ErrorKind::PermissionDenied, error.to_string());
            JournalError::Io { path: path.to_owned(), source }
        }
        _ => JournalError::Sqlite(error),
    }
}

/// SQLite reads the end of a page that is not there as zeros. Where no log may bring the rest, the file must be
/// as long as its header says. Layout: <https://www.sqlite.org/fileformat2.html#the_database_header>.
fn check_length(path: &Path, length: u64) -> Result<(), JournalError> {
    let io = |source| JournalError::Io { path: path.to_owned(), source };
    let damaged = |detail: String| JournalError::Damaged { path: path.to_owned(), detail };
    let mut header = [0_u8; 32];
    if length < 100 {
        return Err(damaged(format!("its {length} bytes are shorter than a header")));
    }
    File::open(path).and_then(|mut file| file.read_exact(&mut header)).map_err(io)?;
    for suffix in ["-wal", "-journal"] {
        match fs::metadata(beside(path, suffix)) {
            Ok(log) if log.len() > 0 => return Ok(()),
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(io(error)),
            _ => {}
        }
    }
    let page_bytes = match u16::from_be_bytes([header[16], header[17]]) {
        1 => 65_536,
        bytes => u64::from(bytes),
    };
    let pages = u64::from(u32::from_be_bytes([header[28], header[29], header[30], header[31]]));
    if header.starts_with(b"SQLite format 3\0") && length != page_bytes * pages {
        return Err(damaged(format!("it has {length} bytes, and its header says {}", page_bytes * pages)));
    }
    Ok(())
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}

/// Makes the file under another name, so that a crash leaves no half of a journal under its own.
fn create(path: &Path) -> Result<(), JournalError> {
    let io = |source| JournalError::Io { path: path.to_owned(), source };
    let draft = beside(path, ".new");
    for leftover in [draft.clone(), beside(&draft, "-journal")] {
        match fs::remove_file(leftover) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(io(error)),
            _ => {}
        }
    }
    private_file(&draft).map_err(io)?;
    let mut connection = Connection::open_with_flags(&draft, flags())?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    schema::upgrade(&mut connection, 0)?;
    connection.pragma_update(None, "application_id", APPLICATION_ID)?;
    connection.close().map_err(|(_, error)| error)?;
    fs::rename(&draft, path).map_err(io)?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent).and_then(|directory| directory.sync_all()).map_err(io)
}

/// Makes a file that its owner alone may read: it will hold whole rows. SQLite gives the files beside it, its
/// write-ahead log among them, the same mode (<https://www.sqlite.org/src/file/src/os_unix.c>, `findCreateFileMode`).
fn private_file(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

fn flags() -> OpenFlags {
    // Without CREATE: a file that disappears is an error.
    OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX
}

fn prepare(path: &Path) -> Result<Connection, JournalError> {
    let mut connection = Connection::open_with_flags(path, flags())?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    // Closing a file that turns out to be damaged must not move its log into it.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    // Two agents on one journal would grant an epoch twice.
    connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    let application_id: i32 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let application_id = application_id.cast_unsigned();
    if application_id != APPLICATION_ID {
        return Err(JournalError::Foreign { path: path.to_owned(), application_id });
    }
    let found: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if found > schema::FORMAT {
        return Err(JournalError::NewerFormat { path: path.to_owned(), found, known: schema::FORMAT });
    }
    let damaged = |detail| JournalError::Damaged { path: path.to_owned(), detail };
    if found < 1 {
        return Err(damaged(format!("it has no format: {found}")));
    }
    let check: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if check != "ok" {
        return Err(damaged(check));
    }
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
    let mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    if mode != "wal" {
        return Err(damaged(format!("it cannot keep a write-ahead log: mode {mode}")));
    }
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "fullfsync", true)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    connection.pragma_update(None, "journal_size_limit", WAL_BYTES_KEPT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
    if found < schema::FORMAT {
        schema::upgrade(&mut connection, found)?;
        tracing::info!(path = %path.display(), from = found, to = schema::FORMAT, "journal upgraded");
    }
    Ok(connection)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_may_not_be_written_is_the_file_systems_refusal() {
        let refused = |code| {
            let error = rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), None);
            as_refusal(error.into(), Path::new("journal.db"))
        };
        for code in [rusqlite::ffi::SQLITE_CANTOPEN, rusqlite::ffi::SQLITE_READONLY] {
            assert!(matches!(refused(code), JournalError::Io { .. }), "{code}");
        }
        assert!(matches!(refused(rusqlite::ffi::SQLITE_FULL), JournalError::Sqlite(_)));
    }

    #[cfg(unix)]
    #[test]
    fn only_its_owner_reads_the_journal_and_its_log() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal.db");
        let connection = open(&path).unwrap();
        connection.execute("INSERT INTO fact(name, value) VALUES ('x', 'y')", []).unwrap();
        for file in [path.clone(), beside(&path, "-wal")] {
            let mode = fs::metadata(&file).unwrap().permissions().mode() & 0o7777;
            assert_eq!(mode, 0o600, "{}", file.display());
        }
    }

    #[test]
    fn every_commit_is_synced_and_references_are_checked() {
        let directory = tempfile::tempdir().unwrap();
        let connection = open(&directory.path().join("journal.db")).unwrap();
        let number =
            |pragma| connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0)).unwrap();
        // 2 is FULL; see https://www.sqlite.org/pragma.html#pragma_synchronous.
        assert_eq!((number("synchronous"), number("foreign_keys"), number("auto_vacuum")), (2, 1, 2));
        let mode: String = connection.pragma_query_value(None, "journal_mode", |row| row.get(0)).unwrap();
        assert_eq!(mode, "wal");
    }
}
