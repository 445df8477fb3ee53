//! What the commands print, where, and how they end.

#![allow(clippy::unwrap_used, reason = "all of this file is tests")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rusqlite::Connection;
use selfsame_tests::{Answer, Contents, Fleet, Signal, binary, put, wait};
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

const RUN: [&str; 17] = [
    "run",
    "started_at",
    "dry_run",
    "scheduled",
    "silent",
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
    assert_eq!((&runs[0]["dry_run"], &runs[1]["dry_run"]), (&false.into(), &true.into()), "{runs}");
    assert!(runs.as_array().unwrap().iter().any(|run| run["scheduled"] == true), "{runs}");
    assert_eq!(runs[0]["runs_truncated"], false, "{runs}");
    let newest = data(&fleet.cli(&["runs", "--limit", "1", "--output", "json"]), 0);
    assert_eq!((&newest[0]["run"], &newest[0]["runs_truncated"]), (&run.into(), &true.into()), "{newest}");
    assert_eq!(newest[0]["started_at"], runs[0]["started_at"], "{newest}");
    assert!(runs.as_array().unwrap().len() >= 3, "dry runs are runs: {runs}");
    let lists = |node: &str| {
        let of_node = data(&fleet.cli(&["runs", "--node", node, "--output", "json"]), 0);
        of_node.as_array().unwrap().iter().any(|other| other["run"] == run)
    };
    assert!(lists("node-c") && !lists("node-a"), "it was found on node-c alone");
    let wrong = fleet.cli(&["runs", "--node", "node-d"]);
    assert_eq!((wrong.code, wrong.stdout.as_str()), (Some(64), ""), "{wrong:?}");
    assert!(wrong.stderr.contains("hint: there is node-a, node-b, node-c"), "{wrong:?}");

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
    let run = &["run", "--scan", "--wait", "--output", "json"][..];
    let diff = &["diff", "--output", "json"][..];
    for (command, by) in [(run, "drain"), (run, "kill"), (diff, "drain"), (diff, "kill")] {
        let rows = rows(40);
        let mut fleet = Fleet::builder().setting("settle", "3s").rows(&rows).start();
        skip(&fleet, 2, &["key-0001".to_owned()], 2);
        let run = fleet.cli_start(command);
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
        assert_eq!(answer.code, Some(2), "{command:?}, {by}: {answer:?}");
        assert_eq!(answer.stdout, "", "{command:?}, {by}: nothing is known");
        assert!(answer.stderr.contains("hint: "), "{command:?}, {by}: {answer:?}");
    }
}

#[test]
fn a_run_that_nobody_waits_for_is_one_object_too() {
    let fleet = Fleet::builder().rows(&rows(10)).start();
    let begun = data(&fleet.cli(&["run", "--output", "json"]), 0);
    assert_has(&begun, &["version", "run", "collection", "state"]);
    assert_eq!((&begun["collection"], &begun["state"]), (&"products".into(), &"started".into()), "{begun}");
    let run = begun["run"].as_str().unwrap().to_owned();
    let ended = wait::until(Duration::from_secs(20), "the run has ended", || {
        let shown = fleet.cli(&["show", &run, "--output", "json"]);
        (shown.code == Some(0) && shown.json()["state"] == "finished").then(|| shown.json())
    });
    assert_eq!(ended["run"], run.as_str());
}

#[test]
fn a_reader_that_leaves_ends_a_command_quietly() {
    let fleet = Fleet::builder().rows(&rows(10)).prepare();
    for command in [
        &["config", "check", "fleet.yaml"][..],
        &["config", "defaults"],
        &["config", "schema"],
        &["completions", "bash"],
        &["diff", "--direct"],
        &["diff", "--direct", "--output", "json"],
        &["explain", "products", "key-0001", "--direct"],
        &["setup", "sqlite", "--print-sql"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let ended = Command::new(binary())
            .args(command)
            .current_dir(fleet.folder())
            .stdin(Stdio::null())
            .stdout(writer)
            .stderr(Stdio::piped())
            .output()
            .unwrap();
        assert_eq!(ended.status.code(), Some(141), "{command:?}: {ended:?}");
        assert!(ended.stderr.is_empty(), "{command:?}: {ended:?}");
    }
}

/// A fleet whose repairs all wait for approval, with what differs on node-c; the run that found it.
fn waiting_for_approval(keys: &[&str]) -> (Fleet, String) {
    let fleet =
        Fleet::builder().setting("settle", "50ms").setting("repair", "approve").rows(&rows(100)).start();
    let keys: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
    skip(&fleet, 2, &keys, 2);
    let run = fleet.pass()["run"].as_str().unwrap().to_owned();
    (fleet, run)
}

/// The shortest beginning of an id that no other run of the fleet has, four digits at least.
fn beginning<'a>(fleet: &Fleet, run: &'a str) -> &'a str {
    let runs = fleet.cli(&["runs", "--output", "json"]).json();
    let others: Vec<String> =
        runs.as_array().unwrap().iter().map(|run| run["run"].as_str().unwrap().to_owned()).collect();
    let shared = |length: &usize| others.iter().filter(|id| id.starts_with(&run[..*length])).count() > 1;
    let length = (4..run.len()).find(|length| !shared(length)).unwrap();
    &run[..length]
}

#[test]
fn what_begins_one_id_in_the_fleet_stands_for_it() {
    let (mut fleet, run) = waiting_for_approval(&["key-0001", "key-0050"]);
    let short = beginning(&fleet, &run);
    assert_eq!(
        data(&fleet.cli(&["show", &short.to_uppercase(), "--output", "json"]), 0)["run"],
        run.as_str()
    );
    let listed = data(&fleet.cli(&["runs", short, "--output", "json"]), 0);
    assert_eq!(
        (listed.as_array().map(Vec::len), &listed[0]["run"]),
        (Some(1), &run.as_str().into()),
        "{listed}"
    );

    // Who may not write now says so, and nothing is lost.
    let before = fleet.contents(2);
    assert_eq!(fleet.cli(&["pause"]).code, Some(0));
    let paused = fleet.cli(&["approve", short]);
    assert_eq!((paused.code, paused.stdout.as_str()), (Some(64), ""), "{paused:?}");
    assert!(paused.stderr.contains("repairs are paused; hint: selfsame resume"), "{paused:?}");
    assert_eq!(fleet.contents(2), before);
    assert_eq!(fleet.cli(&["resume"]).code, Some(0));
    let approved = data(&fleet.cli(&["approve", short, "--output", "json"]), 0);
    assert_eq!((&approved["planned"], &approved["repaired"]), (&2.into(), &2.into()), "{approved}");
    let nothing_left = fleet.cli(&["drop", short]);
    assert_eq!(nothing_left.code, Some(1), "{nothing_left:?}");

    // What is unique in each journal is not unique in the fleet.
    let twin = format!("{}{}", &run[..run.len() - 4], if run.ends_with("0000") { "1111" } else { "0000" });
    assert!(fleet.terminate(1).success());
    let id: String = twin.chars().filter(|digit| *digit != '-').collect();
    let journal = Connection::open(fleet.data(1).join("journal.db")).unwrap();
    let copy = format!(
        "INSERT INTO run(run, collection, slot, owner, started, finished, dry_run)
         SELECT x'{id}', collection, slot, owner, started, finished, dry_run FROM run LIMIT 1"
    );
    assert_eq!(journal.execute(&copy, []).unwrap(), 1);
    drop(journal);
    fleet.start(1);
    let shared = &run[..run.len() - 5];
    for command in ["show", "runs", "approve", "drop"] {
        let ambiguous = fleet.cli(&[command, shared]);
        assert_eq!((ambiguous.code, ambiguous.stdout.as_str()), (Some(64), ""), "{command}: {ambiguous:?}");
        for candidate in [&run, &twin] {
            assert!(ambiguous.stderr.contains(candidate), "{command} lists {candidate}: {ambiguous:?}");
        }
        for (wrong, says) in
            [(&run[..3], "at least 4 characters"), ("00000000-0", "knows a run `00000000-0`")]
        {
            let answer = fleet.cli(&[command, wrong]);
            assert_eq!(answer.code, Some(64), "{command} {wrong}: {answer:?}");
            assert!(
                answer.stderr.contains(says) && answer.stderr.contains("hint: "),
                "{command}: {answer:?}"
            );
        }
    }
    assert_eq!(data(&fleet.cli(&["show", &twin, "--output", "json"]), 0)["run"], twin.as_str());
}

#[test]
fn a_run_that_only_the_silent_may_know_is_unknown_and_not_a_mistake() {
    let mut fleet = Fleet::builder().rows(&rows(10)).start();
    let nowhere = "00000000-0000-8000-8000-000000000000";
    fn asked<'a>(command: &'a str, run: &'a str) -> Vec<&'a str> {
        let yes = (command == "undo").then_some("--yes");
        [command, run].into_iter().chain(yes).collect()
    }
    for (command, code) in [("show", 64), ("runs", 64), ("undo", 64), ("approve", 1), ("drop", 1)] {
        let answer = fleet.cli(&asked(command, nowhere));
        assert_eq!(answer.code, Some(code), "all answer: {command}: {answer:?}");
    }
    let run = fleet.pass()["run"].as_str().unwrap().to_owned();
    fleet.kill(2);
    for command in [&["show", &run][..], &["runs"], &["explain", "products", "key-0001"]] {
        let told = fleet.cli(&[command, &["--output", "json"]].concat()).json();
        let told = told.as_array().map_or(&told, |list| &list[0]);
        assert_eq!(told["silent"], serde_json::json!(["c"]), "{command:?}: {told}");
    }
    for command in ["show", "runs", "undo", "approve", "drop"] {
        for run in [nowhere, "00000000"] {
            let answer = fleet.cli(&asked(command, run));
            assert_eq!(answer.code, Some(2), "{command} {run}: {answer:?}");
            assert!(answer.stderr.contains("agent c at "), "{command} {run}: {answer:?}");
        }
    }
}

#[test]
fn runs_and_show_say_what_waits_and_what_cannot_be_read() {
    let (fleet, _) = waiting_for_approval(&["key-0001", "key-0002", "key-0003"]);
    put(&fleet.open(2), "key-0009", 2, "{\"a\":");
    skip(&fleet, 2, &["key-0009".to_owned()], 3);
    let listed = data(&fleet.cli(&["plan", "--output", "json"]), 0);
    assert_has(&listed[0], &["version", "run", "silent"]);
    let ran = fleet.pass();
    assert_eq!((&ran["planned_repairs"], &ran["unreadable"]), (&3.into(), &1.into()), "{ran}");
    assert!(ran["planned"]["approve_mode"].as_u64() > Some(0), "{ran}");
    let run = ran["run"].as_str().unwrap();
    let listed = data(&fleet.cli(&["runs", "--output", "json"]), 0)[0].clone();
    let shown = data(&fleet.cli(&["show", run, "--output", "json"]), 0);
    for told in [&listed, &shown] {
        for member in ["run", "planned", "planned_repairs", "unreadable", "unknown", "verdict"] {
            assert_eq!(told[member], ran[member], "{member}: {told}");
        }
    }
    let listed = fleet.cli(&["runs"]).stdout;
    let row = listed.lines().find(|line| line.contains(&run[..8])).unwrap();
    assert!(row.contains("3: approve_mode"), "{listed}");
    let shown = fleet.cli(&["show", run]).stdout;
    for says in ["3 repairs wait for approval; hint: ", "1 document cannot be read", "approve_mode"] {
        assert!(shown.contains(says), "{says}: {shown}");
    }
    let dry = data(&fleet.cli(&["diff", "--output", "json"]), 1);
    let dry = data(&fleet.cli(&["show", dry["run"].as_str().unwrap(), "--output", "json"]), 0);
    assert!(dry["planned"]["dry_run"].as_u64() > Some(0) && dry["planned_repairs"] == 0, "{dry}");

    // What is decided waits no more.
    assert_eq!(fleet.cli(&["drop", run]).code, Some(0));
    let after = data(&fleet.cli(&["show", run, "--output", "json"]), 0);
    assert_eq!(
        (&after["planned"], &after["planned_repairs"]),
        (&serde_json::json!({}), &0.into()),
        "{after}"
    );
    assert!(fleet.cli(&["show", run]).stdout.contains("nothing of what it planned waits"), "{after}");
}

#[test]
fn status_names_the_silent_and_says_how_old_its_verdicts_are() {
    let mut fleet = Fleet::builder().setting("settle", "50ms").rows(&rows(40)).start();
    fleet.passes_until_in_sync(2);
    let status = data(&fleet.cli(&["status", "--output", "json"]), 0);
    let products = &status["collections"][0];
    assert!(products["verdict_at"].is_string() && products["next_run_at"].is_string(), "{status}");
    assert!(products["verdict_age_ms"].as_u64().is_some_and(|age| age < 60_000), "{status}");
    assert_eq!(status["silent_agents"], serde_json::json!([]), "{status}");
    let text = fleet.cli(&["status"]).stdout;
    assert!(text.contains("; compared ") && text.contains(", next in "), "{text}");

    fleet.kill(2);
    let answer = fleet.cli(&["status", "--output", "json"]);
    let status = answer.json();
    let address = format!("127.0.0.1:{}", fleet.port(2));
    let silent = &status["silent_agents"][0];
    assert_eq!((&silent["agent"], &silent["address"]), (&"c".into(), &address.as_str().into()), "{status}");
    assert!(silent["why"].as_str().is_some_and(|why| !why.is_empty()), "{status}");
    // Of its shards nothing is known because it is silent, and not because nobody has looked.
    let unknown = names(&status["collections"][0]["unknown"]);
    assert_eq!(unknown, BTreeSet::from(["unreachable"]), "{status}");
    let text = fleet.cli(&["status"]).stdout;
    let row = text.lines().find(|line| line.contains(&address)).unwrap();
    assert!(row.contains("silent: ") && row.contains("node-c"), "{text}");
    let replica = text.lines().find(|line| line.contains("no answer")).unwrap();
    assert!(replica.contains("node-c"), "{text}");
}

#[test]
fn a_log_in_a_file_has_no_colours() {
    let mut fleet = Fleet::builder().rows(&rows(10)).prepare();
    // Set but empty is as good as not set.
    fleet.start_with(0, &[("NO_COLOR", ""), ("SELFSAME_LOG", "debug")]);
    let said = fleet.said(0);
    assert!(said.contains("DEBUG") && !said.contains('\u{1b}'), "{said}");
}

#[test]
fn a_wrong_log_filter_is_refused_before_anything_is_done() {
    let fleet = Fleet::builder().prepare();
    let refused = Command::new(binary())
        .args(["status", "--config", "fleet.yaml"])
        .current_dir(fleet.folder())
        .env("SELFSAME_LOG", "inof")
        .output()
        .unwrap();
    let said = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(64), "{said}");
    assert!(said.contains("SELFSAME_LOG=inof: ") && said.contains("hint: "), "{said}");
}

#[cfg(unix)]
mod on_disk {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    /// Everything below a directory; the stores of indexes make their own files, and lie in private directories.
    fn below(path: &Path, found: &mut Vec<std::path::PathBuf>) {
        for entry in fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()) {
            let of_store = entry.file_name().unwrap().to_string_lossy().starts_with("db-");
            if entry.is_dir() && !of_store {
                below(&entry, found);
            }
            found.extend((!of_store).then_some(entry));
        }
    }

    #[test]
    fn nobody_else_looks_into_what_an_agent_keeps() {
        let fleet = Fleet::builder().rows(&rows(10)).start();
        let data = fleet.data(0);
        let mut kept = vec![data.clone()];
        below(&data, &mut kept);
        for name in ["journal.db", "journal.db-wal", "index", "lock", "anchor"] {
            assert!(kept.iter().any(|path| path.ends_with(name)), "{name} in {kept:?}");
        }
        for path in kept {
            assert_eq!(mode(&path), if path.is_dir() { 0o700 } else { 0o600 }, "{}", path.display());
        }
        assert!(!fleet.said(0).contains("chmod"), "{}", fleet.said(0));
    }

    #[test]
    fn a_directory_into_which_others_may_look_is_named_once() {
        let mut fleet = Fleet::builder().rows(&rows(10)).prepare();
        fs::create_dir(fleet.data(0)).unwrap();
        fs::set_permissions(fleet.data(0), fs::Permissions::from_mode(0o755)).unwrap();
        fleet.start(0);
        let said = fleet.said(0);
        let hint = format!("hint: chmod -R go= '{}'", fleet.data(0).display());
        assert_eq!(said.matches(&hint).count(), 1, "{said}");
        assert_eq!(mode(&fleet.data(0)), 0o755, "it is its owner's to change");
    }
}

#[test]
fn shells_and_editors_are_told_what_there_is() {
    let fleet = Fleet::builder().prepare();
    for shell in ["bash", "zsh", "fish"] {
        let script = fleet.command(&["completions", shell]);
        assert_eq!((script.code, script.stderr.as_str()), (Some(0), ""), "{shell}: {script:?}");
        assert!(
            script.stdout.contains("selfsame") && script.stdout.contains("explain"),
            "{shell}: {script:?}"
        );
    }
    let schema = data(&fleet.command(&["config", "schema"]), 0);
    assert_eq!(schema["additionalProperties"], false, "{schema}");
    let collection = &schema["properties"]["collections"]["items"];
    assert_eq!(collection["additionalProperties"], false, "{collection}");
    assert_has(&collection["properties"], &["name", "source", "key", "brakes", "repair"]);
}
