//! What a plan tells whoever is to approve it, how it is approved, and what is told of differences and their ages.

#![allow(clippy::unwrap_used, reason = "all of this file is tests")]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{SystemTime, UNIX_EPOCH};

use selfsame_tests::{Contents, Fleet, assert_same, put};
use serde_json::{Value, json};

const HOUR_MS: i64 = 3_600_000;

fn now_ms() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

#[track_caller]
fn told(fleet: &Fleet, command: &[&str], code: i32) -> Value {
    let answer = fleet.cli(&[command, &["--output", "json"]].concat());
    assert_eq!(answer.code, Some(code), "{command:?}: {answer:?}");
    answer.json()
}

fn number(value: &Value, name: &str) -> u64 {
    value[name].as_u64().unwrap_or_else(|| panic!("no {name} in {value}"))
}

const EXPIRING: &str = "CREATE TABLE products (id TEXT PRIMARY KEY NOT NULL, body TEXT NOT NULL, \
                        updated_at INTEGER NOT NULL, expires_at INTEGER)";

/// Bytes of a row's values: text, eight for a number, one for none.
fn bytes(id: &str, body: &str, expires: bool) -> u64 {
    (id.len() + body.len() + 8 + if expires { 8 } else { 1 }) as u64
}

/// A fleet with times as versions, in sync, whose repairs all wait; and what it should be. Node b misses three updates
/// that are an hour old, node c has two flipped values and two documents that expired two hours ago.
fn diverged() -> (Fleet, Contents) {
    let old = now_ms() - 24 * HOUR_MS;
    let mut expected: Contents =
        (0..80).map(|n| (format!("key-{n:03}"), (old, format!("{{\"n\":{n}}}")))).collect();
    let fleet = Fleet::builder()
        .table(EXPIRING)
        .setting("version", "{ field: updated_at, unit: ms }")
        .setting("expiry", "{ field: expires_at, unit: ms }")
        .setting("repair", "approve")
        .setting("settle", "50ms")
        .rows(&expected)
        .start();
    fleet.passes_until_in_sync(1);
    let written = now_ms() - HOUR_MS;
    for n in [3, 14, 25] {
        let (id, body) = (format!("key-{n:03}"), format!("{{\"new\":{n}}}"));
        [0, 2].iter().for_each(|node| put(&fleet.open(*node), &id, written, &body));
        expected.insert(id, (written, body));
    }
    let store = fleet.open(2);
    for n in [40, 51] {
        put(&store, &format!("key-{n:03}"), old, "{\"flipped\":true}");
    }
    for n in 0..2 {
        let id = format!("gone-{n}");
        put(&store, &id, old, "{}");
        let expired = now_ms() - 2 * HOUR_MS;
        store
            .execute("UPDATE products SET expires_at = ?2 WHERE id = ?1", rusqlite::params![id, expired])
            .unwrap();
    }
    (fleet, expected)
}

fn all(fleet: &Fleet) -> Vec<Contents> {
    (0..fleet.count()).map(|node| fleet.contents(node)).collect()
}

#[track_caller]
fn assert_untouched(what: &str, fleet: &Fleet, before: &[Contents]) {
    for (node, before) in before.iter().enumerate() {
        assert_same(&format!("{what}: {}", fleet.node(node)), &fleet.contents(node), before);
    }
}

#[test]
fn a_plan_tells_causes_samples_and_who_loses_what_and_its_deletes_are_named_before_they_are_made() {
    let (fleet, expected) = diverged();
    let before = all(&fleet);
    let summary = told(&fleet, &["run", "--scan", "--wait"], 1);
    let run = summary["run"].as_str().unwrap();
    let shown = told(&fleet, &["show", run], 0);
    let mut causes = shown["causes"].as_array().unwrap().clone();
    for cause in &mut causes {
        let samples = cause["samples"].as_array_mut().unwrap();
        samples.sort_by_key(ToString::to_string);
    }
    let cause = |node: &str, cause: &str, samples: &[&str]| {
        let samples: Vec<String> = samples.iter().map(|key| format!("\"{key}\"")).collect();
        json!({ "node": node, "cause": cause, "keys": samples.len(), "samples": samples })
    };
    assert_eq!(
        causes,
        [
            cause("node-b", "missed_update", &["key-003", "key-014", "key-025"]),
            cause("node-c", "expired_straggler", &["gone-0", "gone-1"]),
            cause("node-c", "silent_change", &["key-040", "key-051"]),
        ]
    );
    let copied = |ids: &[&str]| ids.iter().map(|id| bytes(id, &expected[*id].1, false)).sum::<u64>();
    let plan = json!({
        "repairs": 7,
        "writes": 5,
        "deletes": 2,
        "nodes": [
            { "node": "node-b", "writes": 3, "write_bytes": copied(&["key-003", "key-014", "key-025"]),
              "deletes": 0, "delete_bytes": 0 },
            { "node": "node-c", "writes": 2, "write_bytes": copied(&["key-040", "key-051"]),
              "deletes": 2, "delete_bytes": 2 * bytes("gone-0", "{}", true) },
        ],
    });
    assert_eq!(shown["plan"], plan);
    let listed = told(&fleet, &["plan"], 0);
    assert_eq!((&listed[0]["deletes"], &listed[0]["nodes"]), (&plan["deletes"], &plan["nodes"]), "{listed}");
    let text = fleet.cli(&["show", run]).stdout;
    for line in [
        "7 repairs wait for approval; hint: ",
        "2 deletes and 5 writes",
        "node-c: 2 expired_straggler (",
        "2 rows (48 B) deleted",
    ] {
        assert!(text.contains(line), "no `{line}` in {text}");
    }
    let status = told(&fleet, &["status"], 1);
    let products = &status["collections"][0];
    assert_eq!(products["most_causes"], json!({ "node": "node-c", "keys": 4 }), "{products}");
    let text = fleet.cli(&["status"]).stdout;
    let line = "4 keys differ on node-c, the most: 2 expired_straggler, 2 silent_change";
    assert!(text.contains(line), "{text}");

    // Without a terminal the deletes have to be named, and no others.
    for (more, says) in [
        (&[][..], "--deletes 2"),
        (&["--deletes", "1"][..], "2 deletes, not 1"),
        (&["--deletes", "0"][..], "2 deletes, not 0"),
        (&["--deletes", "2", "--yes"][..], "cannot be used with"),
    ] {
        let answer = fleet.cli(&[&["approve", run], more].concat());
        assert_eq!(answer.code, Some(64), "{answer:?}");
        assert!(answer.stderr.contains(says), "{answer:?}");
        assert_untouched("not approved", &fleet, &before);
    }
    // The beginning of the id will do.
    let approved = told(&fleet, &["approve", &run[..8], "--deletes", "2"], 0);
    let counts =
        ["planned", "repaired", "returned", "settled", "refused"].map(|name| number(&approved, name));
    assert_eq!(counts, [7, 7, 0, 0, 0]);
    fleet.assert_all("after approval", &expected);
    assert!(told(&fleet, &["show", run], 0).get("plan").is_none(), "nothing waits any more");
    // A plan that is gone has no deletes to name.
    assert_eq!(number(&told(&fleet, &["approve", run], 1), "planned"), 0);
}

#[test]
fn a_plan_without_deletes_is_approved_by_a_script_that_says_nothing_else() {
    let (fleet, mut expected) = diverged();
    let store = fleet.open(2);
    store.execute("DELETE FROM products WHERE id LIKE 'gone-%'", []).unwrap();
    let run = told(&fleet, &["run", "--scan", "--wait"], 1)["run"].as_str().unwrap().to_owned();
    let refused = fleet.cli(&["approve", &run, "--deletes", "1"]);
    assert_eq!(refused.code, Some(64), "{refused:?}");
    assert_eq!(number(&told(&fleet, &["approve", &run], 0), "repaired"), 5);
    fleet.assert_all("after approval", &expected);
    // And with a yes.
    [0, 1].iter().for_each(|node| put(&fleet.open(*node), "key-060", now_ms(), "{}"));
    expected.insert("key-060".to_owned(), fleet.contents(0)["key-060"].clone());
    put(&fleet.open(1), "key-060", expected["key-060"].0, "{}");
    let run = told(&fleet, &["run", "--scan", "--wait"], 1)["run"].as_str().unwrap().to_owned();
    assert_eq!(number(&told(&fleet, &["approve", &run, "--yes"], 0), "repaired"), 1);
    fleet.assert_all("after another approval", &expected);
}

/// Items by key and node.
fn items(shown: &Value) -> BTreeMap<(String, String), Value> {
    let place = |item: &Value| {
        let text = |name: &str| item[name].as_str().unwrap().to_owned();
        ((text("key"), text("node")), item.clone())
    };
    shown["items"].as_array().unwrap().iter().map(place).collect()
}

/// The sum over all agents of the series that begin so.
fn metric(fleet: &Fleet, series: &str) -> f64 {
    let of_agent = |agent| {
        let mut stream = TcpStream::connect(("127.0.0.1", fleet.http_port(agent))).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let values = text.lines().filter(|line| line.starts_with(series));
        values.map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()).sum::<f64>()
    };
    (0..fleet.count()).map(of_agent).sum()
}

#[test]
fn a_divergence_has_one_age_from_the_first_pass_that_met_it_to_its_repair() {
    let (fleet, _) = diverged();
    let first = told(&fleet, &["run", "--scan", "--wait"], 1);
    let first = items(&told(&fleet, &["show", first["run"].as_str().unwrap()], 0));
    let hours = |item: &Value| number(item, "age_found_ms") as f64 / HOUR_MS as f64;
    for ((key, _), item) in &first {
        let expected = match item["cause"].as_str().unwrap() {
            "missed_update" => 1.0..1.5,
            "expired_straggler" => 2.0..2.5,
            // Nobody knows when a value was flipped.
            _ => 0.0..0.01,
        };
        assert!(expected.contains(&hours(item)), "{key}: {item}");
        assert_eq!(item["age_repaired_ms"], Value::Null, "{item}");
    }
    // The next pass meets the same.
    let again = told(&fleet, &["run", "--scan", "--wait"], 1);
    let again = items(&told(&fleet, &["show", again["run"].as_str().unwrap()], 0));
    let instants = |items: &BTreeMap<(String, String), Value>| -> Vec<(Value, Value)> {
        items.values().map(|item| (item["since"].clone(), item["found_at"].clone())).collect()
    };
    assert_eq!(instants(&again), instants(&first));
    let counted = |when: &str| {
        let labels = format!("{{collection=\"products\",when=\"{when}\"}}");
        metric(&fleet, &format!("selfsame_divergence_age_seconds_count{labels}"))
    };
    assert_eq!((counted("found"), counted("repaired")), (7.0, 0.0), "found once");

    let run = again.values().next().unwrap()["run"].clone();
    assert_eq!(run, Value::Null, "an item does not repeat its run");
    let plan = told(&fleet, &["plan"], 0)[0]["run"].as_str().unwrap().to_owned();
    assert_eq!(number(&told(&fleet, &["approve", &plan, "--deletes", "2"], 0), "repaired"), 7);
    let runs = told(&fleet, &["runs"], 0);
    let repairing = runs.as_array().unwrap().iter().filter(|run| number(run, "repaired") > 0);
    let mut repaired = BTreeMap::new();
    for run in repairing {
        repaired.extend(items(&told(&fleet, &["show", run["run"].as_str().unwrap()], 0)));
    }
    assert_eq!(instants(&repaired), instants(&first), "approved, it is still the same divergence");
    for item in repaired.values() {
        assert_eq!(item["outcome"], "repaired", "{item}");
        assert!(number(item, "age_repaired_ms") > number(item, "age_found_ms"), "{item}");
    }
    assert_eq!((counted("found"), counted("repaired")), (7.0, 7.0));
    let total =
        metric(&fleet, "selfsame_divergence_age_seconds_sum{collection=\"products\",when=\"repaired\"}");
    assert!((7.0 * 3_600.0..7.5 * 3_600.0).contains(&total), "3 of an hour and 2 of two: {total} s");
}

#[test]
fn an_owner_that_is_paused_leaves_its_part_and_the_approval_says_so() {
    let rows: Contents = (0..200).map(|n| (format!("key-{n:03}"), (1, "{}".to_owned()))).collect();
    let mut fleet =
        Fleet::builder().setting("repair", "approve").setting("settle", "50ms").rows(&rows).start();
    for id in rows.keys().step_by(4) {
        [0, 1].iter().for_each(|node| put(&fleet.open(*node), id, 2, "{\"newer\":true}"));
    }
    let run = fleet.pass()["run"].as_str().unwrap().to_owned();
    // One of the three does not hear that the pause is over.
    assert_eq!(fleet.cli(&["pause"]).code, Some(0));
    fleet.kill(0);
    let resumed = fleet.cli(&["resume"]);
    assert_eq!(resumed.code, Some(2), "{resumed:?}");
    fleet.start(0);
    let approved = told(&fleet, &["approve", &run], 1);
    assert_eq!(number(&approved, "planned"), 50, "all that was approved: {approved}");
    let (repaired, refused) = (number(&approved, "repaired"), number(&approved, "refused"));
    assert!(repaired > 0 && refused > 0 && repaired + refused == 50, "{approved}");
    assert_eq!(approved["silent"], json!(["a"]), "{approved}");
    let waiting = told(&fleet, &["show", &run], 0);
    assert_eq!(number(&waiting, "planned_repairs"), refused, "its part waits on: {waiting}");
    let resumed = fleet.cli(&["resume"]);
    assert_eq!(resumed.code, Some(0), "{resumed:?}");
    let approved = told(&fleet, &["approve", &run], 0);
    assert_eq!((number(&approved, "planned"), number(&approved, "repaired")), (refused, refused));
    assert_eq!(approved["silent"], json!([]), "{approved}");
}
