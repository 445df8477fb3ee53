//! A replica whose file was restored from an older copy: nothing is concluded from it until a person decides.

#![allow(clippy::unwrap_used, reason = "all of this file is tests")]

use std::fs;
use std::path::{Path, PathBuf};

use selfsame_tests::{Contents, Fleet, assert_same, put};
use serde_json::Value;

const NODE: usize = 2;

fn key(n: usize) -> String {
    format!("key-{n:03}")
}

fn rows(count: usize) -> Contents {
    (0..count).map(|n| (key(n), (1, format!("{{\"n\":{n}}}")))).collect()
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[track_caller]
fn run(fleet: &Fleet, code: i32) -> Value {
    let answer = fleet.cli(&["run", "--scan", "--wait", "--output", "json"]);
    assert_eq!(answer.code, Some(code), "{answer:?}");
    answer.json()
}

/// A fleet in sync, one file of which went back to what it was before the other clients' last writes and deletes.
/// Gives what all should hold.
fn restored() -> (Fleet, Contents) {
    let mut expected = rows(100);
    let mut fleet = Fleet::builder()
        .setting("settle", "50ms")
        .setting("first_pass", "auto")
        // Only versions that are times put a deletion and a document in order.
        .setting("version", "{ field: updated_at, unit: us }")
        .rows(&expected)
        .prepare();
    (0..fleet.count()).for_each(|agent| fleet.spawn(agent, &[]));
    (0..fleet.count()).for_each(|agent| fleet.wait_ready(agent));
    fleet.passes_until_in_sync(5);

    fleet.terminate(NODE);
    let (store, copy) = (fleet.store(NODE), with_suffix(&fleet.store(NODE), ".backup"));
    fleet.open(NODE).execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    fs::copy(&store, &copy).unwrap();
    fleet.start(NODE);

    for node in 0..fleet.count() {
        let mut client = fleet.open(node);
        let transaction = client.transaction().unwrap();
        for n in 10..20 {
            put(&transaction, &key(n), 2, "{\"newer\":true}");
        }
        for n in 0..4 {
            transaction.execute("DELETE FROM products WHERE id = ?1", [key(n)]).unwrap();
        }
        transaction.commit().unwrap();
    }
    expected.extend((10..20).map(|n| (key(n), (2, "{\"newer\":true}".to_owned()))));
    (0..4).for_each(|n| assert!(expected.remove(&key(n)).is_some()));
    fleet.passes_until_in_sync(5);

    fleet.terminate(NODE);
    for suffix in ["-wal", "-shm"] {
        let _ = fs::remove_file(with_suffix(&store, suffix));
    }
    fs::copy(&copy, &store).unwrap();
    fleet.start(NODE);
    (fleet, expected)
}

/// Two runs find the replica held, and write nothing anywhere.
fn assert_held(fleet: &Fleet, expected: &Contents) {
    let copy = fleet.contents(NODE);
    for _ in 0..2 {
        let summary = run(fleet, 2);
        assert_eq!(summary["verdict"], "unknown", "{summary}");
        assert!(summary["unknown"]["held"].is_u64(), "{summary}");
    }
    for node in (0..fleet.count()).filter(|node| *node != NODE) {
        assert_same("not held", &fleet.contents(node), expected);
    }
    assert_same("held", &fleet.contents(NODE), &copy);
    let explained = fleet.cli(&["explain", "products", &key(50)]);
    assert!(explained.stdout.contains("held, proves nothing: live"), "{explained:?}");
    let explained = fleet.cli(&["explain", "products", &key(50), "--output", "json"]);
    let held: Vec<Value> = explained.json()["replicas"]
        .as_array()
        .unwrap()
        .iter()
        .map(|replica| replica["held"].clone())
        .collect();
    assert_eq!(held, [false, false, true], "{explained:?}");
    let status = fleet.cli(&["status"]);
    assert!(status.stdout.contains("is held: restored: the counter in the store went back"), "{status:?}");
}

#[test]
fn a_restored_file_is_held_and_merged() {
    let (fleet, expected) = restored();
    assert_held(&fleet, &expected);
    let answer = fleet.cli(&["resync", &fleet.node(NODE), "--as", "merge"]);
    assert_eq!(answer.code, Some(64), "nobody can be asked: {answer:?}");
    let answer = fleet.cli(&["resync", &fleet.node(NODE), "--as", "merge", "--yes"]);
    assert_eq!(answer.code, Some(0), "{answer:?}");
    fleet.passes_until_in_sync(3);
    // What the others had seen deleted is deleted by their majority, not copied from the old state.
    fleet.assert_all("merged", &expected);
}

#[test]
fn a_restored_file_is_held_and_takes_the_others_word() {
    let (fleet, expected) = restored();
    assert_held(&fleet, &expected);
    let answer = fleet.cli(&["resync", &fleet.node(NODE), "--as", "empty", "--yes", "--output", "json"]);
    assert_eq!(answer.code, Some(0), "{answer:?}");
    let done = &answer.json()["collections"][0];
    assert_eq!(
        (&done["ended"], &done["deletes"], &done["left"]),
        (&true.into(), &4.into(), &0.into()),
        "{done}"
    );
    let exported = fs::read_to_string(done["exported"].as_str().unwrap()).unwrap();
    let mut keys: Vec<String> = exported
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["key"].as_str().unwrap().to_owned())
        .collect();
    keys.sort();
    assert_eq!(keys, [0, 1, 2, 3].map(|n| format!("{:?}", key(n))), "as people type them");
    fleet.assert_all("emptied", &expected);
    fleet.passes_until_in_sync(2);
}

#[test]
fn nobody_takes_the_word_of_a_fleet_that_is_away() {
    let (mut fleet, expected) = restored();
    fleet.terminate(0);
    let answer = fleet.cli(&["resync", &fleet.node(NODE), "--as", "empty", "--yes"]);
    assert_eq!(answer.code, Some(2), "nobody knows: {answer:?}");
    assert!(answer.stderr.contains("1 of the 2 other replicas"), "{answer:?}");
    assert_same("not held", &fleet.contents(1), &expected);
    fleet.start(0);
    fleet.terminate(NODE);
    let answer = fleet.cli(&["resync", &fleet.node(NODE), "--as", "merge", "--yes"]);
    assert_eq!(answer.code, Some(2), "its own agent is away: {answer:?}");
    assert!(answer.stderr.contains("agent c") && answer.stderr.contains("hint: start it"), "{answer:?}");
}

/// Two collections on one node, in the second of which nothing may be written.
#[test]
fn what_is_done_is_shown_though_the_next_collection_is_refused() {
    let table = "(id TEXT PRIMARY KEY NOT NULL, body TEXT NOT NULL, updated_at INTEGER NOT NULL)";
    let expected = rows(20);
    let mut fleet = Fleet::builder()
        .table(&format!("CREATE TABLE products {table}; CREATE TABLE users {table};"))
        .setting("first_pass", "plan")
        .rows(&expected)
        .prepare();
    let users =
        "  - { name: users, source: { table: users, document: body }, key: [id], shards: 16, repair: off,
        version: { field: updated_at, unit: counter }, schedule: { exchange: every 31d },
        replicas: [node-a, node-b, node-c] }\n";
    fs::write(fleet.config(), fleet.yaml() + users).unwrap();
    for n in 0..3 {
        put(&fleet.open(NODE), &format!("alone-{n}"), 1, "{}");
    }
    let rows = "INSERT INTO users VALUES ('x', '{}', 1), ('y', '{}', 1)";
    (0..fleet.count()).for_each(|node| fleet.open(node).execute_batch(rows).unwrap());
    fleet.open(NODE).execute("INSERT INTO users VALUES ('z', '{}', 1)", []).unwrap();
    (0..fleet.count()).for_each(|agent| fleet.spawn(agent, &[]));
    (0..fleet.count()).for_each(|agent| fleet.wait_ready(agent));

    let answer = fleet.cli(&["resync", &fleet.node(NODE), "--as", "empty", "--yes", "--output", "json"]);
    assert_eq!(answer.code, Some(64), "{answer:?}");
    assert!(answer.stderr.contains("users on node-c: refused: repair is off"), "{answer:?}");
    let done = answer.json()["collections"].clone();
    let brief = |row: &Value| (row["collection"].clone(), row["deletes"].clone(), row["written"].clone());
    let brief: Vec<_> = done.as_array().unwrap().iter().map(brief).collect();
    assert_eq!(brief, [("products".into(), 3.into(), 3.into())], "{answer:?}");
    assert!(Path::new(done[0]["exported"].as_str().unwrap()).exists(), "{done}");
    fleet.assert_all("the first is done", &expected);
}
