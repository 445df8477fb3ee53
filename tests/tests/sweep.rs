//! The sweeper on real files: sessions that have expired on all nodes go, each with a marker that says so.

#![allow(clippy::unwrap_used, reason = "all of this file is tests")]

use std::time::{SystemTime, UNIX_EPOCH};

use selfsame_tests::{Contents, Fleet};

fn now() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

#[test]
fn expired_sessions_are_swept_from_all_files_and_the_change_table_says_who_did_it() {
    let table = "CREATE TABLE products (id TEXT PRIMARY KEY NOT NULL, body TEXT NOT NULL, updated_at INTEGER NOT NULL, \
                 expires_at INTEGER)";
    let written = now() - 3_600_000;
    let mut expected: Contents =
        (0..60).map(|n| (format!("key-{n:03}"), (written, format!("{{\"n\":{n}}}")))).collect();
    let fleet = Fleet::builder()
        .table(table)
        .setting("settle", "50ms")
        .setting("version", "{ field: updated_at, unit: ms }")
        .setting("expiry", "{ field: expires_at, unit: ms }")
        .setting("sweep", "{ enabled: true, keys_max: 50 }")
        .rows(&expected)
        .start();
    // All are alive; then twenty of them have expired, and ten have not yet.
    fleet.passes_until_in_sync(1);
    let (past, future) = (now() - 60_000, now() + 3_600_000);
    for node in 0..3 {
        let open = fleet.open(node);
        let expire = "UPDATE products SET expires_at = ?1 WHERE id >= ?2 AND id < ?3";
        assert_eq!(open.execute(expire, (past, "key-010", "key-030")).unwrap(), 20);
        assert_eq!(open.execute(expire, (future, "key-030", "key-040")).unwrap(), 10);
    }
    expected.retain(|id, _| !("key-010".."key-030").contains(&id.as_str()));
    let summary = fleet.pass();
    assert_eq!(
        (summary["verdict"].as_str(), summary["mismatches"].as_u64(), summary["repaired"].as_u64()),
        (Some("in_sync"), Some(0), Some(60)),
        "{summary}"
    );
    fleet.assert_all("swept", &expected);
    for node in 0..3 {
        let sql = "SELECT count(*) FROM _selfsame_changes WHERE origin LIKE 'selfsame/1 % swept'";
        let swept: i64 = fleet.open(node).query_row(sql, [], |row| row.get(0)).unwrap();
        assert_eq!(swept, 20, "node {node}");
    }
    // An expired session that comes back late, in an older state, goes again.
    let late = "INSERT INTO products (id, body, updated_at, expires_at) VALUES ('key-010', '{}', ?1, NULL)";
    fleet.open(1).execute(late, [written - 1_000]).unwrap();
    fleet.passes_until_in_sync(2);
    fleet.assert_all("a late straggler does not come back", &expected);
    let status = fleet.cli(&["status", "--output", "json"]).json();
    let most = &status["collections"][0]["most_causes"];
    assert_eq!((most["node"].as_str(), most["keys"].as_u64()), (Some("node-b"), Some(1)), "{status}");
}
