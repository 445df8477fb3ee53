//! What the commands print, where, and how they end.

#![allow(clippy::unwrap_used, reason = "all of this file is tests")]

use std::collections::BTreeSet;
use std::time::Duration;

use selfsame_tests::{Answer, Contents, Fleet, Signal, put, wait};
use serde_json::Value;

fn rows(count: usize) -> Contents {
    (0..count).map(|n| (format!("key-{n:04}"), (1, format!("{{\"n\":{n}}}")))).collect()
}

/// Writes a newer version of some keys to all nodes but one, and gives how many.
fn skip(fleet: &Fleet, node: usize, keys: &[String], version: i64) -> usize {
    for other in (0..fleet.count()).filter(|other| *other != node) {
        let mut store = fleet.open(other);
        let transaction = store.transaction().unwrap();
        keys.iter().for_each(|key| put(&transaction, key, version, "{\"newer\":true}"));
        transaction.commit().unwrap();
    }
    keys.len()
}

fn names(value: &Value) -> BTreeSet<&str> {
    value.as_object().unwrap_or_else(|| panic!("no object: {value}")).keys().map(String::as_str).collect()
}

#[track_caller]
fn assert_has(value: &Value, members: &[&str]) {
    let missing: Vec<_> = members.iter().filter(|member| !names(value).contains(**member)).collect();
    assert!(missing.is_empty(), "{missing:?} missing in {value}");
}

/// One JSON value on stdout and nothing else; a person's words, if any, on stderr.
#[track_caller]
fn data(answer: &Answer, code: i32) -> Value {
    assert_eq!(answer.code, Some(code), "{answer:?}");
    assert!(!answer.stderr.contains("panicked"), "{answer:?}");
    answer.json()
}

const RUN: [&str; 13] = [
    "run",
    "verdict",
    "as_of",
    "shards",
    "unknown",
    "mismatches",
    "repaired",
    "transient",
    "held",
    "moving",
    "wire_bytes",
    "document_bytes",
    "duration_ms",
];

#[test]
fn the_commands_agree_about_a_divergence_and_its_repair() {
    let rows = rows(200);
    let fleet = Fleet::builder().setting("settle", "50ms").rows(&rows).start();
    let keys: Vec<String> = rows.keys().step_by(20).cloned().collect();
    let skipped = skip(&fleet, 2, &keys, 2) as u64;
    let before: Vec<Contents> = (0..3).map(|node| fleet.contents(node)).collect();

    // Looking changes nothing, and all who look see the same.
    let mut items = Vec::new();
    for looks in [&["diff", "--direct"][..], &["diff"], &["run", "--dry-run", "--scan", "--wait"]] {
        let answer = fleet.cli(&[looks, &["--output", "json"]].concat());
        let seen = data(&answer, 1);
        assert_has(&seen, &RUN);
        assert_eq!(seen["verdict"], "diverged", "{looks:?}: {seen}");
        assert_eq!(seen["as_of"], Value::Null, "{looks:?}: {seen}");
        assert_eq!(seen["mismatches"], skipped, "{looks:?}: {seen}");
        assert_eq!((&seen["repaired"], &seen["document_bytes"]), (&0.into(), &0.into()), "{looks:?}: {seen}");
        if looks[0] == "diff" {
            let listed = seen["items"].as_array().unwrap();
            let brief = |item: &Value| {
                let text = |name: &str| item[name].as_str().unwrap_or_default().to_owned();
                (text("key"), text("node"), text("cause"), text("action"), text("outcome"))
            };
            items.push(listed.iter().map(brief).collect::<BTreeSet<_>>());
        }
    }
    assert_eq!(items[0], items[1], "`diff` and `diff --direct`");
    assert_eq!(items[0].len() as u64, skipped);
    let limited = data(&fleet.cli(&["diff", "--limit", "3", "--output", "json"]), 1);
    assert_eq!(
        (limited["items"].as_array().map(Vec::len), &limited["items_truncated"]),
        (Some(3), &true.into())
    );
    assert_eq!(limited["mismatches"], skipped, "the counts are whole");

    let key = keys[0].as_str();
    let direct = data(&fleet.cli(&["explain", "products", key, "--direct", "--output", "json"]), 1);
    let asked = data(&fleet.cli(&["explain", "products", key, "--output", "json"]), 1);
    for member in ["collection", "key", "shard", "decision", "rule", "causes"] {
        assert_eq!(direct[member], asked[member], "{member}");
    }
    for (direct, asked) in
        direct["replicas"].as_array().unwrap().iter().zip(asked["replicas"].as_array().unwrap())
    {
        for member in ["node", "state", "version", "expiry", "content"] {
            assert_eq!(direct[member], asked[member], "{member} of a replica");
        }
    }
    assert_eq!(direct["causes"], serde_json::json!([{ "node": "node-c", "cause": "missed_update" }]));
    assert_eq!((0..3).map(|node| fleet.contents(node)).collect::<Vec<_>>(), before, "nothing was written");

    // The repair.
    let ran = data(&fleet.cli(&["run", "--scan", "--wait", "--output", "json"]), 0);
    assert_has(&ran, &RUN);
    assert_eq!(
        (&ran["verdict"], &ran["mismatches"], &ran["repaired"]),
        (&"in_sync".into(), &skipped.into(), &skipped.into())
    );
    for (member, least) in [("shards", 16), ("wire_bytes", 1), ("document_bytes", 1)] {
        assert!(ran[member].as_u64() >= Some(least), "{member}: {ran}");
    }
    assert!(ran["as_of"].is_string() && ran["duration_ms"].is_u64() && ran["unknown"].is_object(), "{ran}");
    let run = ran["run"].as_str().unwrap();

    let shown = data(&fleet.cli(&["show", run, "--output", "json"]), 0);
    for member in ["run", "verdict", "as_of", "shards", "mismatches", "repaired", "document_bytes"] {
        assert_eq!(shown[member], ran[member], "{member} of `show`");
    }
    let repaired: BTreeSet<&str> =
        shown["items"].as_array().unwrap().iter().map(|item| item["node"].as_str().unwrap()).collect();
    assert_eq!(repaired, BTreeSet::from(["node-c"]));
    let begins_so = data(&fleet.cli(&["show", &run[..run.len() - 4], "--output", "json"]), 0);
    assert_eq!(begins_so["run"], run, "the beginning of an id will do");

    let runs = data(&fleet.cli(&["runs", "--since", "1h", "--output", "json"]), 0);
    assert_eq!(runs[0]["run"], run, "the newest first: {runs}");
    assert!(runs.as_array().unwrap().len() >= 3, "dry runs are runs: {runs}");
    let of_node = data(&fleet.cli(&["runs", "--node", "node-a", "--output", "json"]), 0);
    assert!(
        of_node.as_array().unwrap().iter().all(|other| other["run"] != run),
        "nothing was found on node-a"
    );

    let status = data(&fleet.cli(&["status", "--output", "json"]), 0);
    assert_eq!(status["agents"].as_array().map(Vec::len), Some(3), "{status}");
    let products = &status["collections"][0];
    assert_eq!((&products["verdict"], &products["in_sync"]), (&"in_sync".into(), &16.into()), "{status}");
    for replica in products["replicas"].as_array().unwrap() {
        assert_eq!((&replica["rows"], &replica["entries"]), (&200.into(), &200.into()), "{status}");
    }
    let explained = data(&fleet.cli(&["explain", "products", key, "--output", "json"]), 0);
    let past = explained["history"].as_array().unwrap();
    assert!(past.iter().any(|item| item["run"] == run && item["outcome"] == "repaired"), "{explained}");
}

#[test]
fn what_a_run_found_is_shown_as_soon_as_the_run_has_ended() {
    let rows = rows(2_000);
    let brakes = "{ repair_share_max: 100% }";
    let fleet = Fleet::builder().setting("settle", "10ms").setting("brakes", brakes).rows(&rows).start();
    let keys: Vec<String> = rows.keys().cloned().collect();
    for version in 2..4 {
        let skipped = skip(&fleet, 1, &keys, version);
        let ran = fleet.pass();
        let shown = fleet.cli(&["show", ran["run"].as_str().unwrap(), "--output", "json"]).json();
        assert_eq!(shown["items"].as_array().map(Vec::len), Some(skipped), "items of a run that has ended");
        assert_eq!(shown["shards"], ran["shards"]);
        assert_eq!(shown["repaired"], ran["repaired"]);
    }
}

#[test]
fn text_is_for_people_and_stdout_is_data() {
    let rows = rows(60);
    let fleet = Fleet::builder().setting("settle", "50ms").rows(&rows).start();
    skip(&fleet, 0, &["key-0007".to_owned()], 2);
    let diff = fleet.cli(&["diff"]);
    assert_eq!(diff.code, Some(1), "{diff:?}");
    assert!(diff.stdout.contains("key-0007") && diff.stdout.contains("products: diverged"), "{diff:?}");
    let run = fleet.cli(&["run", "--scan", "--wait"]);
    assert_eq!(run.code, Some(0), "{run:?}");
    assert!(run.stdout.contains("products: in sync as of"), "{run:?}");
    assert!(run.stderr.contains("run ") && !run.stdout.contains("over products"), "{run:?}");
    // Without waiting, the id is the data.
    let begun = fleet.cli(&["run"]);
    assert_eq!((begun.code, begun.stdout.lines().count()), (Some(0), 1), "{begun:?}");
    let id = begun.stdout.trim().to_owned();
    wait::until(Duration::from_secs(20), "the run can be shown", || {
        (fleet.cli(&["show", &id]).code == Some(0)).then_some(())
    });
    for command in [&["status"][..], &["runs"], &["plan"], &["explain", "products", "key-0007"]] {
        let answer = fleet.cli(command);
        assert_eq!(answer.code, Some(0), "{command:?}: {answer:?}");
        assert!(!answer.stdout.is_empty() && answer.stderr.is_empty(), "{command:?}: {answer:?}");
        assert!(!answer.stdout.contains('\u{1b}'), "no colours into a pipe: {command:?}");
    }
}

#[test]
fn nobody_who_answers_is_exit_code_2_and_names_the_addresses() {
    let fleet = Fleet::builder().prepare();
    for command in [
        &["status"][..],
        &["run", "--wait"],
        &["diff"],
        &["runs"],
        &["show", "00"],
        &["plan"],
        &["pause"],
        &["resume"],
        &["explain", "products", "x"],
    ] {
        let answer = fleet.cli(command);
        assert_eq!(answer.code, Some(2), "{command:?}: {answer:?}");
        assert!(answer.stdout.is_empty(), "{command:?}: {answer:?}");
        for agent in 0..3 {
            let address = format!("127.0.0.1:{}", fleet.port(agent));
            assert!(answer.stderr.contains(&address), "{command:?} names {address}: {answer:?}");
        }
        assert!(answer.stderr.contains("hint: "), "{command:?}: {answer:?}");
    }
}

#[test]
fn what_does_not_exist_is_exit_code_64_with_a_hint() {
    let fleet = Fleet::builder().rows(&rows(10)).start();
    let before: Vec<Contents> = (0..3).map(|node| fleet.contents(node)).collect();
    for command in [
        &["run", "--wait", "--collection", "prodcts"][..],
        &["run", "--wait", "--shard", "16"],
        &["status", "--collection", "prodcts"],
        &["diff", "--collection", "prodcts"],
        &["diff", "--shard", "16"],
        &["diff", "--direct", "--collection", "prodcts"],
        &["diff", "--direct", "--shard", "16"],
        &["explain", "prodcts", "x"],
        &["explain", "prodcts", "x", "--direct"],
        &["runs", "--collection", "prodcts"],
        &["runs", "--since", "yesterday"],
        &["plan", "--collection", "prodcts"],
        &["pause", "--collection", "prodcts"],
        &["pause", "--for", "2"],
        &["resume", "--collection", "prodcts"],
        &["show", "ffffffff-ffff-8fff-bfff-ffffffffffff"],
        &["approve", "nonsense"],
        &["drop", "nonsense"],
    ] {
        let answer = fleet.cli(command);
        assert_eq!(answer.code, Some(64), "{command:?}: {answer:?}");
        assert!(answer.stdout.is_empty(), "{command:?}: {answer:?}");
        assert!(answer.stderr.contains("hint: "), "{command:?} says what to do: {answer:?}");
    }
    let wrong = fleet.command(&["run", "--wiat"]);
    assert_eq!((wrong.code, wrong.stdout.is_empty()), (Some(64), true), "{wrong:?}");
    let help = fleet.command(&["run", "--help"]);
    assert_eq!((help.code, help.stderr.is_empty()), (Some(0), true), "{help:?}");
    assert_eq!((0..3).map(|node| fleet.contents(node)).collect::<Vec<_>>(), before, "nothing was written");
}

#[test]
fn a_run_whose_agent_is_lost_is_unknown_and_never_a_success() {
    for by in ["drain", "kill"] {
        let rows = rows(40);
        let mut fleet = Fleet::builder().setting("settle", "3s").rows(&rows).start();
        skip(&fleet, 2, &["key-0001".to_owned()], 2);
        let run = fleet.cli_start(&["run", "--scan", "--wait", "--output", "json"]);
        wait::until(Duration::from_secs(30), "agent a has begun the run", || {
            let (journal, _folder) = selfsame_tests::journal_copy(&fleet.data(0)).ok()?;
            let open = "SELECT count(*) FROM run WHERE finished IS NULL";
            journal.query_row(open, [], |row| row.get::<_, i64>(0)).ok().filter(|runs| *runs > 0)
        });
        if by == "drain" {
            fleet.signal(0, Signal::Terminate)
        } else {
            fleet.kill(0)
        }
        let answer = run.answer(Duration::from_secs(60));
        assert_eq!(answer.code, Some(2), "{by}: {answer:?}");
        assert!(answer.stderr.contains("hint: "), "{by}: {answer:?}");
    }
}
