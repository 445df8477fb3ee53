//! Deletions on real files: what is deleted everywhere, what is restored, what waits for a person, and that nothing
//! comes back, whatever dies in between.

#![allow(clippy::unwrap_used, reason = "all of this file is tests")]

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use selfsame_tests::{Contents, Fleet, FleetBuilder, wait};

/// Milliseconds since 1970; an hour ago, so that no version lies in the future.
fn an_hour_ago() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(now.as_millis()).unwrap() - 3_600_000
}

fn rows(base: i64) -> Contents {
    (0..60).map(|n| (format!("key-{n:03}"), (base + n, format!("{{\"n\":{n}}}")))).collect()
}

fn builder(rows: &Contents) -> FleetBuilder {
    let times = "{ field: updated_at, unit: ms }";
    Fleet::builder().setting("settle", "50ms").setting("version", times).rows(rows)
}

fn delete(fleet: &Fleet, node: usize, keys: &[&str]) {
    for key in keys {
        let gone = fleet.open(node).execute("DELETE FROM products WHERE id = ?1", [key]).unwrap();
        assert_eq!(gone, 1, "{key} was there");
    }
}

fn keys(fleet: &Fleet, node: usize) -> BTreeSet<String> {
    fleet.contents(node).into_keys().collect()
}

#[test]
fn a_majority_decides_what_was_lost_and_what_was_deleted() {
    let mut expected = rows(an_hour_ago());
    let mut fleet = builder(&expected).start();
    fleet.passes_until_in_sync(1);
    delete(&fleet, 1, &["key-001", "key-002"]);
    delete(&fleet, 2, &["key-002"]);
    // The memory is made by the pass that finds it, and outlives agents and indexes.
    (0..3).for_each(|agent| fleet.kill(agent));
    (0..3).for_each(|agent| fleet.start(agent));
    let summary = fleet.pass();
    assert_eq!((summary["repaired"].as_u64(), summary["held"].as_u64()), (Some(2), Some(0)), "{summary}");
    expected.remove("key-002");
    fleet.assert_all("one restored, one deleted", &expected);
    let again = fleet.pass();
    assert_eq!(
        (again["verdict"].as_str(), again["repaired"].as_u64()),
        (Some("in_sync"), Some(0)),
        "{again}"
    );
}

#[test]
fn a_delete_in_the_change_table_is_certain_whatever_dies() {
    let base = an_hour_ago();
    let mut expected = rows(base);
    let mut fleet = builder(&expected).setting("feed", "{ enabled: true }").start();
    fleet.passes_until_in_sync(1);
    // Each on one node alone: by the table of changes these are deletions, and need no majority.
    for (node, key) in [(0, "key-010"), (1, "key-011"), (2, "key-012")] {
        delete(&fleet, node, &[key]);
        expected.remove(key);
    }
    // One of those that saw a deletion is killed before any pass has looked, its index lost.
    fleet.kill(1);
    std::fs::remove_dir_all(fleet.data(1).join("index")).unwrap();
    fleet.start(1);
    // Another dies in the midst of a pass: it has deleted a row, and noted no outcome.
    fleet.kill(2);
    fleet.start_with(2, &[("FAILPOINTS", "agent::store_written=pause")]);
    let run = fleet.cli_start(&["run", "--scan", "--wait", "--output", "json"]);
    wait::until(Duration::from_secs(60), "a deletion is carried out on node-c", || {
        let gone = ["key-010", "key-011"].into_iter().filter(|key| !keys(&fleet, 2).contains(*key));
        (gone.count() > 0).then_some(())
    });
    fleet.kill(2);
    assert_ne!(run.answer(Duration::from_secs(60)).code, Some(0));
    fleet.start(2);
    fleet.passes_until_in_sync(4);
    fleet.assert_all("deleted everywhere", &expected);

    // A replica that was away has an old state back; nobody takes it for new.
    let stale = base - 1_000;
    fleet
        .open(2)
        .execute("INSERT INTO products (id, body, updated_at) VALUES ('key-010', '{}', ?1)", [stale])
        .unwrap();
    fleet.passes_until_in_sync(2);
    fleet.assert_all("an old write does not revive it", &expected);
    // A new document of the same key is alive, on all.
    let fresh = base + 60_000;
    fleet
        .open(0)
        .execute("INSERT INTO products (id, body, updated_at) VALUES ('key-010', '{}', ?1)", [fresh])
        .unwrap();
    expected.insert("key-010".to_owned(), (fresh, "{}".to_owned()));
    fleet.passes_until_in_sync(2);
    fleet.assert_all("a newer write is kept", &expected);
}

#[test]
fn without_a_majority_a_person_is_asked_and_told_why() {
    let rows = rows(an_hour_ago());
    let fleet = builder(&rows).nodes(2).start();
    fleet.passes_until_in_sync(1);
    delete(&fleet, 1, &["key-005"]);
    for _ in 0..2 {
        let summary = fleet.pass();
        assert_eq!((summary["held"].as_u64(), summary["repaired"].as_u64()), (Some(1), Some(0)), "{summary}");
        assert_eq!((keys(&fleet, 0).len(), keys(&fleet, 1).len()), (60, 59));
    }
    let explained = fleet.cli(&["explain", "products", "key-005"]);
    assert_eq!(explained.code, Some(1), "{explained:?}");
    for says in ["hold (observed_delete)", "gone, deleted or lost since", "rule 4"] {
        assert!(explained.stdout.contains(says), "{says}: {explained:?}");
    }
    // The hint is followed.
    delete(&fleet, 0, &["key-005"]);
    fleet.passes_until_in_sync(1);
}

#[test]
fn a_deletion_mark_travels_and_a_purged_one_is_remembered() {
    let base = an_hour_ago();
    let table = "CREATE TABLE products (id TEXT PRIMARY KEY NOT NULL, body TEXT NOT NULL, updated_at INTEGER NOT NULL, \
                 deleted_at INTEGER)";
    let mark = "{ field: deleted_at, unit: ms }";
    let fleet = builder(&rows(base)).table(table).setting("deletion", mark).start();
    fleet.passes_until_in_sync(1);
    let marked = base + 120_000;
    let sql = "UPDATE products SET deleted_at = ?1, updated_at = ?1 WHERE id = 'key-020'";
    fleet.open(0).execute(sql, [marked]).unwrap();
    fleet.passes_until_in_sync(2);
    for node in 0..3 {
        let sql = "SELECT deleted_at FROM products WHERE id = 'key-020'";
        let found: i64 = fleet.open(node).query_row(sql, [], |row| row.get(0)).unwrap();
        assert_eq!(found, marked, "{}", fleet.node(node));
    }
    // The application sweeps what is marked, on two of three; the third loses the row to an old backup.
    delete(&fleet, 0, &["key-020"]);
    delete(&fleet, 1, &["key-020"]);
    let sql = "UPDATE products SET deleted_at = NULL, updated_at = ?1 WHERE id = 'key-020'";
    fleet.open(2).execute(sql, [base + 20]).unwrap();
    fleet.passes_until_in_sync(3);
    (0..3).for_each(|node| assert!(!keys(&fleet, node).contains("key-020"), "{}", fleet.node(node)));
}
