//! What is wrong is said with its place and a hint, and nothing is written.

#![allow(clippy::unwrap_used, reason = "all of this file is tests")]

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rusqlite::Connection;
use selfsame_tests::{Answer, Contents, Fleet, assert_same, put, wait};
use serde_json::Value;

const WITHIN: Duration = Duration::from_secs(60);

fn rows() -> Contents {
    (0..60).map(|n| (format!("key-{n:03}"), (1, format!("{{\"n\":{n}}}")))).collect()
}

/// Newer versions of some keys on the nodes named; gives what has them.
fn update(fleet: &Fleet, nodes: &[usize], rows: &Contents) -> Contents {
    let mut expected = rows.clone();
    for key in rows.keys().step_by(4) {
        nodes.iter().for_each(|node| put(&fleet.open(*node), key, 2, "{\"newer\":true}"));
        expected.insert(key.clone(), (2, "{\"newer\":true}".to_owned()));
    }
    expected
}

/// Everything that a store's file holds, the tables of Selfsame included, as text: by plain SQL. The counter apart,
/// which every scan moves on.
fn dump(fleet: &Fleet, node: usize) -> Vec<String> {
    let store = fleet.open(node);
    let mut dump = Vec::new();
    let mut tables =
        store.prepare("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name").unwrap();
    let names: Vec<String> =
        tables.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap();
    for name in names {
        let mut rows = store.prepare(&format!("SELECT * FROM \"{name}\"")).unwrap();
        let columns = rows.column_count();
        let row = |row: &rusqlite::Row<'_>| {
            (0..columns)
                .map(|column| row.get::<_, rusqlite::types::Value>(column))
                .collect::<Result<Vec<_>, _>>()
        };
        let rows: Vec<Vec<_>> = rows.query_map([], row).unwrap().collect::<Result<_, _>>().unwrap();
        let counts = |row: &String| row.starts_with("_selfsame_meta: [Text(\"counter\")");
        dump.extend(rows.iter().map(|row| format!("{name}: {row:?}")).filter(|row| !counts(row)));
    }
    dump
}

fn pass(fleet: &Fleet) -> (Answer, Value) {
    let answer = fleet.cli(&["run", "--scan", "--wait", "--output", "json"]);
    let summary = answer.json();
    (answer, summary)
}

/// Why shards are unknown.
fn reasons(summary: &Value) -> Vec<&str> {
    summary["unknown"].as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn a_wrong_fleet_file_is_refused_by_every_command_before_anything_is_touched() {
    let fleet = Fleet::builder().rows(&rows()).prepare();
    let good = fleet.yaml();
    let before: Vec<_> = (0..3).map(|node| dump(&fleet, node)).collect();
    let in_collection = |line: &str| good.replace("    shards: 16\n", &format!("    shards: 16\n{line}\n"));
    let line_of = |yaml: &str, text: &str| {
        yaml.lines().position(|line| line.contains(text)).unwrap_or_else(|| panic!("{text} in {yaml}")) + 1
    };
    let cases = [
        (in_collection("    shard: 4"), "shard: 4", "unknown setting `shard`"),
        (in_collection("    sweep: { enabled: true }"), "sweep:", "no `expiry`"),
        (in_collection("    echo_ttl: 5m"), "echo_ttl", "not built yet"),
        (in_collection("    shards: 8"), "shards: 8", "shards"),
        (good.replace("node-b, node-c]", "node-b, node-x]"), "node-x]", "there is no node `node-x`"),
        (good.replace("settle: 200ms", "settle: 200"), "settle: 200", "`200` is not a duration"),
        (good.replace("store: sqlite, path: ./b.db", "store: postgres"), "postgres", "not built yet"),
    ];
    for (yaml, place, says) in cases {
        assert_ne!(yaml, good, "{place}");
        fs::write(fleet.config(), &yaml).unwrap();
        let line = line_of(&yaml, place);
        let check = fleet.command(&["config", "check", "fleet.yaml"]);
        for answer in [
            check,
            fleet.cli(&["agent", "--name", "a"]),
            fleet.cli(&["run", "--wait"]),
            fleet.cli(&["diff", "--direct"]),
        ] {
            assert_eq!(answer.code, Some(64), "{place}: {answer:?}");
            assert!(answer.stdout.is_empty(), "{place}: {answer:?}");
            assert!(
                answer.stderr.contains(&format!("fleet.yaml:{line}:")),
                "{place} is in line {line}: {answer:?}"
            );
            assert!(answer.stderr.contains(says), "{place}: `{says}` in {answer:?}");
            assert!(answer.stderr.contains("hint: "), "{place}: {answer:?}");
        }
        let json = fleet.command(&["config", "check", "fleet.yaml", "--output", "json"]);
        assert_eq!(json.json()[0]["line"], line, "{place}: {json:?}");
    }
    fs::write(fleet.config(), &good).unwrap();
    let nobody = fleet.cli(&["agent", "--name", "z"]);
    assert_eq!(nobody.code, Some(64), "{nobody:?}");
    assert!(nobody.stderr.contains("hint: ") && nobody.stderr.contains("a, b, c"), "{nobody:?}");
    fs::remove_file(fleet.config()).unwrap();
    let missing = fleet.cli(&["status"]);
    assert_eq!(missing.code, Some(64), "{missing:?}");
    assert!(missing.stderr.contains("fleet.yaml"), "{missing:?}");
    for (node, before) in before.iter().enumerate() {
        assert_eq!(dump(&fleet, node), *before, "{}", fleet.node(node));
        assert!(!fleet.data(node).exists(), "no data directory was made");
    }
}

/// A store that cannot be compared: the others are, nothing is written to it, and it is said why.
fn a_bad_store(what: &str, reason: &str, says: &str, break_it: impl Fn(&Fleet)) {
    let rows = rows();
    let mut fleet = Fleet::builder().setting("settle", "20ms").rows(&rows).prepare();
    let expected = update(&fleet, &[0], &rows);
    break_it(&fleet);
    let file = fleet.store(2);
    let before = fs::read(&file).ok();

    // Without agents, and read-only.
    let direct = fleet.cli(&["diff", "--direct", "--output", "json"]);
    let summary = direct.json();
    assert_eq!((direct.code, &summary["verdict"]), (Some(1), &"diverged".into()), "{what}: {direct:?}");
    assert!(direct.stderr.contains(says) && direct.stderr.contains("hint: "), "{what}: {direct:?}");
    assert_same(what, &fleet.contents(1), &rows);

    for agent in 0..3 {
        fleet.spawn(agent, &[]);
    }
    (0..2).for_each(|agent| fleet.wait_ready(agent));
    wait::until(WITHIN, &format!("{what}: agent c says so"), || {
        let said = fleet.said(2);
        let line = said.lines().find(|line| line.contains(says))?;
        assert!(line.contains("node-c") || said.contains("products on node-c"), "{what}: {said}");
        assert!(said.contains("hint: "), "{what}: {said}");
        said.contains("listens on").then_some(())
    });
    let (answer, summary) = wait::until(WITHIN, &format!("{what}: the others are the same"), || {
        let (answer, summary) = pass(&fleet);
        (fleet.contents(1) == expected).then_some((answer, summary))
    });
    assert_eq!((answer.code, &summary["verdict"]), (Some(2), &"unknown".into()), "{what}: {answer:?}");
    assert!(reasons(&summary).contains(&reason), "{what}: {summary}");
    assert_same(what, &fleet.contents(0), &expected);
    assert!(fs::read(&file).ok() == before, "{what}: the file was written to");
    assert!(before.is_some() || !file.is_file(), "{what}: a file was made");
}

#[test]
fn a_file_that_is_no_database_is_unreachable_and_is_left_as_it_is() {
    a_bad_store("garbage", "unreachable", "is not an sqlite database", |fleet| {
        fs::write(fleet.store(2), "certainly no database\n".repeat(500)).unwrap();
    });
}

#[test]
fn a_missing_file_is_unreachable_and_is_not_made() {
    a_bad_store("missing", "unreachable", "does not exist", |fleet| fs::remove_file(fleet.store(2)).unwrap());
}

#[test]
fn a_folder_in_place_of_the_file_is_unreachable() {
    a_bad_store("a folder", "unreachable", "is no file", |fleet| {
        fs::remove_file(fleet.store(2)).unwrap();
        fs::create_dir(fleet.store(2)).unwrap();
    });
}

fn with_table(fleet: &Fleet, sql: &str) {
    fs::remove_file(fleet.store(2)).unwrap();
    let store = Connection::open(fleet.store(2)).unwrap();
    store.execute_batch(sql).unwrap();
}

#[test]
fn a_database_without_the_table_is_a_schema_error() {
    a_bad_store("no table", "schema", "products", |fleet| {
        with_table(
            fleet,
            "CREATE TABLE prodcts (id TEXT PRIMARY KEY NOT NULL, body TEXT, updated_at INTEGER)",
        );
    });
}

#[test]
fn a_key_that_is_not_unique_is_a_schema_error() {
    a_bad_store("not unique", "schema", "no PRIMARY KEY or UNIQUE index", |fleet| {
        with_table(
            fleet,
            "CREATE TABLE products (id TEXT NOT NULL, body TEXT, updated_at INTEGER);
             INSERT INTO products VALUES ('key-000', '{}', 9), ('key-000', '{}', 8)",
        );
    });
}

#[test]
fn documents_without_a_key_are_a_schema_error() {
    a_bad_store("no key", "schema", "is not declared NOT NULL", |fleet| {
        with_table(
            fleet,
            "CREATE TABLE products (id TEXT PRIMARY KEY, body TEXT, updated_at INTEGER);
             INSERT INTO products VALUES (NULL, '{}', 9)",
        );
    });
}

#[test]
fn a_table_without_the_configured_column_is_a_schema_error() {
    a_bad_store("no column", "schema", "body", |fleet| {
        with_table(fleet, "CREATE TABLE products (id TEXT PRIMARY KEY NOT NULL, updated_at INTEGER)");
    });
}

#[test]
fn a_document_without_a_single_meaning_is_named_and_never_written_over() {
    let rows = rows();
    let fleet = Fleet::builder().setting("settle", "20ms").setting("shards", "4").rows(&rows).start();
    let bad = [("key-001", "{\"a\":1,\"a\":2}"), ("key-002", "{\"a\":"), ("key-003", "[1,2]")];
    for (key, body) in bad {
        put(&fleet.open(2), key, 3, body);
        put(&fleet.open(0), key, 4, "{\"newest\":true}");
        put(&fleet.open(1), key, 4, "{\"newest\":true}");
    }
    let mut expected = update(&fleet, &[0, 1], &rows);
    let (answer, summary) = pass(&fleet);
    assert_eq!((answer.code, &summary["verdict"]), (Some(2), &"unknown".into()), "{answer:?}");
    assert_eq!(reasons(&summary), ["bad_document"], "{summary}");
    assert!(summary["unreadable"].as_u64() >= Some(3), "{summary}");
    let text = fleet.cli(&["run", "--scan", "--wait"]);
    assert!(text.stdout.contains("bad_document; hint: mend the named document"), "{text:?}");
    let shown = fleet.cli(&["show", summary["run"].as_str().unwrap(), "--output", "json"]).json();
    let named: Vec<&Value> =
        shown["items"].as_array().unwrap().iter().filter(|item| item["outcome"] == "unreadable").collect();
    for (key, body) in bad {
        let quoted = format!("\"{key}\"");
        assert!(
            named.iter().any(|item| item["key"] == quoted.as_str() && item["node"] == "node-c"),
            "{key}: {shown}"
        );
        let explained = fleet.cli(&["explain", "products", key, "--direct"]);
        assert_eq!(explained.code, Some(2), "{explained:?}");
        assert!(explained.stdout.contains("unreadable"), "{explained:?}");
        expected.insert(key.to_owned(), (4, "{\"newest\":true}".to_owned()));
        let mut of_c = fleet.contents(2);
        assert_eq!(of_c.remove(key), Some((3, body.to_owned())), "it is never written over");
    }
    // The others were repaired.
    let mut of_c = fleet.contents(2);
    bad.iter().for_each(|(key, _)| drop(of_c.insert((*key).to_owned(), expected[*key].clone())));
    assert_same("all but the bad documents", &of_c, &expected);
    // Mended, they are documents like any other.
    bad.iter().for_each(|(key, _)| put(&fleet.open(2), key, 3, "{\"mended\":true}"));
    fleet.passes_until_in_sync(2);
    fleet.assert_all("after mending", &expected);
}

/// What answers at an agent's address.
#[derive(Clone, Copy, Debug)]
enum Imposter {
    Garbage,
    Http,
    Closes,
    Says(u16),
}

struct Server {
    stop: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
    open: Arc<Mutex<Vec<TcpStream>>>,
    port: u16,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start(port: u16, imposter: Imposter) -> Server {
        let listener = TcpListener::bind(("127.0.0.1", port)).expect("the agent's port is free");
        let (stop, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let open: Arc<Mutex<Vec<TcpStream>>> = Arc::default();
        let (stopped, counted, opened) = (stop.clone(), asked.clone(), open.clone());
        let thread = thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                counted.fetch_add(1, Ordering::SeqCst);
                opened.lock().unwrap().extend(stream.try_clone());
                thread::spawn(move || answer(stream, imposter));
            }
        });
        Server { stop, asked, open, port, thread: Some(thread) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes it from its wait.
        drop(TcpStream::connect(("127.0.0.1", self.port)));
        drop(self.thread.take().map(JoinHandle::join));
        // What it relays ends with it.
        self.open.lock().unwrap().drain(..).for_each(|stream| drop(stream.shutdown(Shutdown::Both)));
    }
}

fn answer(mut stream: TcpStream, imposter: Imposter) {
    let mut buffer = [0; 4096];
    match imposter {
        Imposter::Closes => {}
        Imposter::Garbage => {
            let _ = stream.read(&mut buffer);
            let _ = stream.write_all(&[0xff; 4096]);
        }
        Imposter::Http => {
            let _ = stream.read(&mut buffer);
            let page = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: text/html\r\n\r\nhi";
            let _ = stream.write_all(page.as_bytes());
        }
        Imposter::Says(port) => {
            let Ok(mut other) = TcpStream::connect(("127.0.0.1", port)) else { return };
            let (Ok(mut from), Ok(mut to)) = (stream.try_clone(), other.try_clone()) else { return };
            let there = thread::spawn(move || {
                let _ = std::io::copy(&mut from, &mut to);
                let _ = to.shutdown(Shutdown::Both);
            });
            let _ = std::io::copy(&mut other, &mut stream);
            let _ = stream.shutdown(Shutdown::Both);
            let _ = there.join();
        }
    }
}

#[test]
fn an_address_at_which_something_else_answers_is_unknown_and_its_node_is_left_alone() {
    let rows = rows();
    let mut fleet = Fleet::builder().setting("settle", "20ms").rows(&rows).start();
    fleet.passes_until_in_sync(1);
    fleet.kill(1);
    let mut expected = rows;
    let before = dump(&fleet, 1);
    let imposters = [
        Imposter::Garbage,
        Imposter::Http,
        Imposter::Closes,
        Imposter::Says(fleet.port(2)),
        Imposter::Says(fleet.port(0)),
    ];
    for (round, imposter) in (3_i64..).zip(imposters) {
        let server = Server::start(fleet.port(1), imposter);
        // Others each time: what is repaired pass after pass is held.
        let first = usize::try_from(round).unwrap() - 3;
        let keys: Vec<String> = expected.keys().skip(first).step_by(5).cloned().collect();
        for key in keys {
            put(&fleet.open(0), &key, round, "{\"round\":true}");
            expected.insert(key, (round, "{\"round\":true}".to_owned()));
        }
        let (answer, summary) = pass(&fleet);
        assert_eq!(
            (answer.code, &summary["verdict"]),
            (Some(2), &"unknown".into()),
            "{imposter:?}: {answer:?}"
        );
        for reason in reasons(&summary) {
            assert!(["unreachable", "config"].contains(&reason), "{imposter:?}: {summary}");
        }
        assert!(answer.stderr.contains("agent b"), "{imposter:?}: it is named: {answer:?}");
        let address = format!("127.0.0.1:{}", fleet.port(1));
        assert!(answer.stderr.contains(&address), "{imposter:?}: with its address: {answer:?}");
        assert_same(&format!("{imposter:?}: node-c"), &fleet.contents(2), &expected);
        assert_eq!(dump(&fleet, 1), before, "{imposter:?}: node-b");
        let status = fleet.cli(&["status", "--output", "json"]).json();
        assert_eq!(status["silent"], serde_json::json!(["b"]), "{imposter:?}: {status}");
        assert!(server.asked.load(Ordering::SeqCst) > 0, "{imposter:?} was asked");
    }
    fleet.start(1);
    fleet.passes_until_in_sync(2);
    fleet.assert_all("with the right agent at its address", &expected);
}

#[test]
fn agents_with_different_settings_do_not_compare() {
    let rows = rows();
    let mut fleet = Fleet::builder().setting("settle", "20ms").rows(&rows).prepare();
    for (what, setting, yaml) in [("policy", "policy", "{ ties: hold }"), ("shards", "shards", "8")] {
        fleet.set(setting, yaml);
        fleet.start(2);
        fleet.set(setting, if setting == "shards" { "16" } else { "" });
        (0..2).for_each(|agent| fleet.start(agent));
        let expected = update(&fleet, &[0, 1], &rows);
        let before = dump(&fleet, 2);
        let (answer, summary) = pass(&fleet);
        assert_eq!((answer.code, &summary["verdict"]), (Some(2), &"unknown".into()), "{what}: {answer:?}");
        assert!(reasons(&summary).contains(&"config"), "{what}: {summary}");
        if setting == "policy" {
            let text = fleet.cli(&["run", "--wait"]);
            assert!(
                text.stdout.contains("config; hint: give every agent the same configuration"),
                "{what}: {text:?}"
            );
        }
        assert_eq!(dump(&fleet, 2), before, "{what}: node-c");
        assert_same(what, &fleet.contents(0), &expected);
        assert_same(what, &fleet.contents(1), &expected);
        (0..3).for_each(|agent| fleet.kill(agent));
        // For the next: all as in the beginning.
        for node in 0..3 {
            rows.iter().for_each(|(key, (version, body))| put(&fleet.open(node), key, *version, body));
        }
    }
}

#[test]
fn a_file_replaced_by_garbage_under_a_running_agent_is_unreachable_and_the_others_go_on() {
    let rows = rows();
    let fleet = Fleet::builder().setting("settle", "20ms").rows(&rows).start();
    fleet.passes_until_in_sync(1);
    let garbage = "certainly no database\n".repeat(1_000);
    // A replaced file is another file; one that was overwritten is the same, and SQLite has pages of it in memory.
    for (round, by_rename) in [(2, true), (3, false)] {
        let (file, kept) = (fleet.store(2), fleet.folder().join("kept.db"));
        let store = fleet.open(2);
        store.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
        drop(store);
        fs::copy(&file, &kept).unwrap();
        for suffix in ["db-wal", "db-shm"] {
            drop(fs::remove_file(file.with_extension(suffix)));
        }
        if by_rename {
            let new = fleet.folder().join("new.db");
            fs::write(&new, &garbage).unwrap();
            fs::rename(&new, &file).unwrap();
        } else {
            fs::write(&file, &garbage).unwrap();
        }
        put(&fleet.open(0), "key-010", round, "{\"meanwhile\":true}");
        let (answer, summary) = pass(&fleet);
        assert_eq!((answer.code, &summary["verdict"]), (Some(2), &"unknown".into()), "{answer:?}");
        assert_eq!(reasons(&summary), ["unreachable"], "{summary}");
        assert_eq!(summary["unknown"]["unreachable"], 16, "{summary}");
        assert_eq!(fleet.contents(1)["key-010"].0, round, "the others go on");
        assert!(fs::read(&file).unwrap() == garbage.as_bytes(), "nothing is written to what is no database");
        assert!(fleet.said(2).contains("is not an sqlite database"), "{}", fleet.said(2));
        // Back where it was: nothing but a pass is needed.
        for suffix in ["db-wal", "db-shm"] {
            drop(fs::remove_file(file.with_extension(suffix)));
        }
        fs::rename(&kept, &file).unwrap();
        fleet.passes_until_in_sync(2);
        assert_eq!(fleet.contents(2)["key-010"].0, round);
    }
}

#[test]
fn an_agent_that_cannot_start_says_why_and_what_to_do() {
    let mut fleet = Fleet::builder().rows(&rows()).prepare();
    let before: Vec<_> = (0..3).map(|node| dump(&fleet, node)).collect();
    let refused = |answer: &Answer, code: i32, says: &str| {
        assert_eq!(answer.code, Some(code), "{answer:?}");
        assert!(answer.stderr.contains(says) && answer.stderr.contains("hint: "), "`{says}` in {answer:?}");
        assert!(!answer.stderr.contains("panicked"), "{answer:?}");
    };
    let taken = TcpListener::bind(("127.0.0.1", fleet.port(0))).unwrap();
    refused(&fleet.cli(&["agent", "--name", "a"]), 64, &format!("127.0.0.1:{}", fleet.port(0)));
    drop(taken);
    let taken = TcpListener::bind(("127.0.0.1", fleet.http_port(0))).unwrap();
    refused(&fleet.cli(&["agent", "--name", "a"]), 64, &format!("127.0.0.1:{}", fleet.http_port(0)));
    drop(taken);
    fs::write(fleet.data(1), "a file where a directory should be").unwrap();
    let no_directory = fleet.cli(&["agent", "--name", "b"]);
    refused(&no_directory, 64, "data directory b: it is no directory");
    assert_eq!(no_directory.stderr.lines().count(), 1, "{no_directory:?}");
    fs::create_dir(fleet.data(2)).unwrap();
    fs::write(fleet.data(2).join("journal.db"), "certainly no journal\n".repeat(300)).unwrap();
    // A damaged journal is more than a matter of settings.
    refused(&fleet.cli(&["agent", "--name", "c"]), 70, "journal.db");
    for (node, before) in before.iter().enumerate().skip(1) {
        let rows = |dump: &[String]| {
            dump.iter().filter(|row| row.starts_with("products")).cloned().collect::<Vec<_>>()
        };
        assert_eq!(rows(&dump(&fleet, node)), rows(before), "{}", fleet.node(node));
    }

    // Two processes on one data directory: the second does not start, whatever its port.
    fleet.start(0);
    let mut yaml = fleet.yaml();
    for port in [fleet.port(0), fleet.http_port(0)] {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        yaml = yaml.replace(&format!(":{port}\""), &format!(":{free}\""));
    }
    fs::write(fleet.folder().join("second.yaml"), yaml).unwrap();
    refused(&fleet.command(&["agent", "--name", "a", "--config", "second.yaml"]), 64, "journal.db");
    assert_eq!(fleet.cli(&["status"]).code, Some(2), "the first goes on");
}

#[test]
fn a_column_that_only_one_replica_has_makes_replicas_diverge() {
    // A migration that has reached one of three: its rows have a value that the others cannot hold.
    let rows = rows();
    let mut fleet = Fleet::builder().setting("source", "{ table: products }").rows(&rows).prepare();
    fleet
        .open(0)
        .execute_batch("ALTER TABLE products ADD COLUMN price INTEGER; UPDATE products SET price = 5;")
        .unwrap();
    (0..3).for_each(|agent| fleet.start(agent));
    for _ in 0..2 {
        let summary = fleet.pass();
        assert_eq!(summary["verdict"], "diverged", "{summary}");
    }
}
