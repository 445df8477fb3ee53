//! The stores as they are, by plain SQL and text: nothing here knows canonical content, digests or trees.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, params};

/// The rows of the usual table: id → (version, body).
pub type Contents = BTreeMap<String, (i64, String)>;

/// How long a client waits for another's write.
const BUSY: Duration = Duration::from_secs(20);

/// Differences that a message lists.
const SHOWN: usize = 12;

/// Opens a store's file as a client does.
#[track_caller]
pub fn open_store(path: &Path) -> Connection {
    let connection = Connection::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    connection.busy_timeout(BUSY).expect("a timeout can be set");
    // The client's own writes need not outlive the machine; the agent asks for more on its connection.
    connection.pragma_update(None, "synchronous", "NORMAL").expect("a pragma can be set");
    connection
}

/// The rows of the usual table.
#[track_caller]
pub fn contents(connection: &Connection) -> Contents {
    let mut statement = connection
        .prepare_cached("SELECT id, updated_at, body FROM products ORDER BY id")
        .expect("the usual table");
    let rows = statement.query_map([], |row| Ok((row.get(0)?, (row.get(1)?, row.get(2)?))));
    rows.and_then(Iterator::collect).unwrap_or_else(|error| panic!("cannot read the table: {error}"))
}

/// Writes a row of the usual table, whatever was there.
#[track_caller]
pub fn put(connection: &Connection, id: &str, version: i64, body: &str) {
    let mut statement = connection
        .prepare_cached(
            "INSERT INTO products (id, updated_at, body) VALUES (?1, ?2, ?3) \
             ON CONFLICT (id) DO UPDATE SET updated_at = ?2, body = ?3",
        )
        .expect("the usual table");
    statement
        .execute(params![id, version, body])
        .unwrap_or_else(|error| panic!("cannot write {id}: {error}"));
}

/// Panics unless both have the same rows; `what` says which they are.
#[track_caller]
pub fn assert_same(what: &str, found: &Contents, expected: &Contents) {
    if found == expected {
        return;
    }
    let keys: std::collections::BTreeSet<&String> = found.keys().chain(expected.keys()).collect();
    let differing: Vec<&String> =
        keys.into_iter().filter(|key| found.get(*key) != expected.get(*key)).collect();
    let shown = differing.iter().take(SHOWN);
    let lines: String = shown
        .map(|key| format!("  {key}: {:?}, expected {:?}\n", found.get(*key), expected.get(*key)))
        .collect();
    panic!("{what}: {} rows differ\n{lines}", differing.len());
}
