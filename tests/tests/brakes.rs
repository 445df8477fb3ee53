//! What holds a repair back: first passes, approval, limits, pauses; and keys that nobody can decide yet.

#![allow(clippy::unwrap_used, reason = "all of this file is tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use selfsame_tests::{Answer, Contents, Fleet, assert_same, put, wait};
use serde_json::Value;

fn rows(count: usize) -> Contents {
    (0..count).map(|n| (format!("key-{n:03}"), (1, format!("{{\"n\":{n}}}")))).collect()
}

/// Writes a newer version of some keys to all nodes but one; `expected` gets it too.
fn skip(fleet: &Fleet, node: usize, keys: &[&str], version: i64, expected: &mut Contents) {
    let body = format!("{{\"version\":{version}}}");
    for other in (0..fleet.count()).filter(|other| *other != node) {
        let mut store = fleet.open(other);
        let transaction = store.transaction().unwrap();
        keys.iter().for_each(|key| put(&transaction, key, version, &body));
        transaction.commit().unwrap();
    }
    expected.extend(keys.iter().map(|key| ((*key).to_owned(), (version, body.clone()))));
}

fn all(fleet: &Fleet) -> Vec<Contents> {
    (0..fleet.count()).map(|node| fleet.contents(node)).collect()
}

#[track_caller]
fn assert_untouched(what: &str, fleet: &Fleet, before: &[Contents]) {
    for (node, before) in before.iter().enumerate() {
        assert_same(&format!("{what}: {}", fleet.node(node)), &fleet.contents(node), before);
        let repairs: i64 = fleet
            .open(node)
            .query_row("SELECT count(*) FROM _selfsame_changes WHERE origin IS NOT NULL", [], |row| {
                row.get(0)
            })
            .unwrap();
        assert_eq!(repairs, 0, "{what}: repairs on {}", fleet.node(node));
    }
}

#[track_caller]
fn run(fleet: &Fleet, more: &[&str], code: i32) -> Value {
    let answer = fleet.cli(&[&["run", "--scan", "--wait", "--output", "json"], more].concat());
    assert_eq!(answer.code, Some(code), "{answer:?}");
    answer.json()
}

/// The plans that wait: run → repairs, reasons.
#[track_caller]
fn plans(fleet: &Fleet) -> BTreeMap<String, (u64, Vec<String>)> {
    let answer = fleet.cli(&["plan", "--output", "json"]);
    assert_eq!(answer.code, Some(0), "{answer:?}");
    let plan = |plan: &Value| {
        let reasons = plan["reasons"].as_object().unwrap().keys().cloned().collect();
        (plan["run"].as_str().unwrap().to_owned(), (plan["repairs"].as_u64().unwrap(), reasons))
    };
    answer.json().as_array().unwrap().iter().map(plan).collect()
}

/// The one plan that waits.
#[track_caller]
fn plan(fleet: &Fleet, repairs: u64, reason: &str) -> String {
    let mut plans = plans(fleet);
    assert_eq!(plans.len(), 1, "{plans:?}");
    let (run, found) = plans.pop_first().unwrap();
    assert_eq!(found, (repairs, vec![reason.to_owned()]));
    run
}

#[track_caller]
fn decide(fleet: &Fleet, what: &str, run: &str, code: i32) -> Value {
    decide_with(fleet, &[what, run], code)
}

#[track_caller]
fn decide_with(fleet: &Fleet, command: &[&str], code: i32) -> Value {
    let answer = fleet.cli(&[command, &["--output", "json"]].concat());
    assert_eq!(answer.code, Some(code), "{command:?}: {answer:?}");
    answer.json()
}

fn number(value: &Value, name: &str) -> u64 {
    value[name].as_u64().unwrap_or_else(|| panic!("no {name} in {value}"))
}

/// A fleet whose files differed before its first agent started.
fn started_diverged(settings: &[(&str, &str)], keys: &[&str]) -> (Fleet, Contents) {
    let mut expected = rows(100);
    let builder = Fleet::builder().setting("settle", "50ms").rows(&expected);
    let builder = settings.iter().fold(builder, |builder, (name, yaml)| builder.setting(name, yaml));
    let mut fleet = builder.prepare();
    skip(&fleet, 1, keys, 2, &mut expected);
    start_all(&mut fleet);
    (fleet, expected)
}

/// Starts the agents of a fleet, and waits until each shard has a verdict from the scheduled run.
fn start_all(fleet: &mut Fleet) {
    (0..fleet.count()).for_each(|agent| fleet.spawn(agent, &[]));
    (0..fleet.count()).for_each(|agent| fleet.wait_ready(agent));
    wait::until(Duration::from_secs(60), "the scheduled run has ended", || {
        let status = fleet.cli(&["status", "--output", "json"]);
        let products = &status.json()["collections"][0];
        let known = number(products, "in_sync") + number(products, "diverged");
        (known == number(products, "shards")).then_some(())
    });
}

#[test]
fn a_first_pass_is_a_plan_until_it_is_approved() {
    let keys = ["key-003", "key-014", "key-025", "key-036", "key-047", "key-058"];
    // Nothing said about `first_pass`: what holds is the default.
    let (fleet, mut expected) = started_diverged(&[("first_pass", "")], &keys);
    let before = all(&fleet);
    let summary = run(&fleet, &[], 1);
    assert_eq!((&summary["verdict"], number(&summary, "mismatches")), (&"diverged".into(), 6));
    assert_eq!(
        (number(&summary, "repaired"), &summary["planned"]["first_pass"].is_u64()),
        (0, &true),
        "{summary}"
    );
    assert_untouched("a first pass", &fleet, &before);
    let planned = plan(&fleet, 6, "first_pass");
    assert_eq!(planned, summary["run"], "a newer plan replaces the older");

    // A key that changed since is not written; the rest of the plan is.
    put(&fleet.open(1), keys[0], 1, "{\"by\":\"a client\"}");
    // A key that differs only since then was never approved.
    skip(&fleet, 2, &["key-099"], 5, &mut expected);
    let mut halfway = all(&fleet);
    for key in &keys[1..] {
        halfway[1].insert((*key).to_owned(), expected[*key].clone());
    }
    let approved = decide(&fleet, "approve", &planned, 1);
    assert_eq!(
        ["planned", "repaired", "returned", "settled", "refused"].map(|name| number(&approved, name)),
        [6, 5, 1, 0, 0]
    );
    for (node, halfway) in halfway.iter().enumerate() {
        assert_same(&format!("exactly the plan: {}", fleet.node(node)), &fleet.contents(node), halfway);
    }

    // What returned waits again, and can be approved as it is now.
    let returned = plan(&fleet, 1, "returned");
    let approved = decide(&fleet, "approve", &returned, 0);
    assert_eq!((number(&approved, "repaired"), number(&approved, "returned")), (1, 0));
    assert_eq!(plans(&fleet).len(), 0);

    // The shards that found nothing or were approved whole are through: there, the late difference is repaired.
    let summary = run(&fleet, &[], 0);
    assert_eq!(number(&summary, "repaired"), 1, "{summary}");
    fleet.assert_all("when all is approved", &expected);
    skip(&fleet, 0, &["key-003", "key-050"], 9, &mut expected);
    assert_eq!(number(&run(&fleet, &[], 0), "repaired"), 2, "the first pass is over");
    fleet.assert_all("after the first pass", &expected);
}

#[test]
fn what_is_dropped_is_not_written_and_asked_about_again() {
    let (fleet, expected) = started_diverged(&[("first_pass", "plan")], &["key-001", "key-002"]);
    let before = all(&fleet);
    run(&fleet, &[], 1);
    let planned = plan(&fleet, 2, "first_pass");
    assert_eq!(number(&decide(&fleet, "drop", &planned, 0), "dropped"), 2);
    assert_eq!(plans(&fleet).len(), 0);
    assert_eq!(number(&decide(&fleet, "drop", &planned, 1), "dropped"), 0, "it is gone");
    assert_eq!(number(&decide(&fleet, "approve", &planned, 1), "planned"), 0, "it is gone");
    assert_untouched("after drop", &fleet, &before);
    // Dropping leaves the first pass pending.
    run(&fleet, &[], 1);
    let planned = plan(&fleet, 2, "first_pass");
    assert_untouched("after drop and another run", &fleet, &before);
    decide(&fleet, "approve", &planned, 0);
    fleet.assert_all("after approval", &expected);
}

#[test]
fn a_plan_outlives_its_agents() {
    let (mut fleet, expected) =
        started_diverged(&[("repair", "approve")], &["key-001", "key-002", "key-003"]);
    let before = all(&fleet);
    run(&fleet, &[], 1);
    let planned = plan(&fleet, 3, "approve_mode");
    for agent in 0..3 {
        fleet.kill(agent);
    }
    for agent in 0..3 {
        fleet.start(agent);
    }
    assert_untouched("repair: approve", &fleet, &before);
    assert_eq!(plan(&fleet, 3, "approve_mode"), planned);
    assert_eq!(number(&decide(&fleet, "approve", &planned, 0), "repaired"), 3);
    fleet.assert_all("after approval", &expected);
    // The mode stays: the next difference waits again.
    let mut later = expected;
    skip(&fleet, 0, &["key-007"], 3, &mut later);
    let summary = run(&fleet, &[], 1);
    assert_eq!((number(&summary, "mismatches"), number(&summary, "repaired")), (1, 0));
    plan(&fleet, 1, "approve_mode");
}

#[test]
fn repair_off_and_a_dry_run_write_nothing_and_leave_no_plan() {
    let (mut fleet, _) = started_diverged(&[("repair", "off")], &["key-001", "key-002"]);
    let before = all(&fleet);
    let summary = run(&fleet, &[], 1);
    assert_eq!((number(&summary, "mismatches"), number(&summary, "repaired")), (2, 0));
    assert!(summary["planned"]["repair_off"].is_u64(), "{summary}");
    assert_eq!(plans(&fleet).len(), 0, "nobody may approve it");
    let run_id = summary["run"].as_str().unwrap().to_owned();
    assert_eq!(number(&decide(&fleet, "approve", &run_id, 1), "planned"), 0);
    assert_untouched("repair: off", &fleet, &before);

    (0..3).for_each(|agent| fleet.kill(agent));
    fleet.set("repair", "approve");
    (0..3).for_each(|agent| fleet.start(agent));
    let summary = run(&fleet, &["--dry-run"], 1);
    assert_eq!((number(&summary, "mismatches"), number(&summary, "repaired")), (2, 0));
    assert!(summary["planned"]["dry_run"].is_u64(), "{summary}");
    let run_id = summary["run"].as_str().unwrap();
    assert_eq!(number(&decide(&fleet, "approve", run_id, 1), "planned"), 0, "a dry run is no plan");
    assert_untouched("--dry-run", &fleet, &before);
}

#[test]
fn a_share_above_the_limit_is_a_plan_and_one_below_is_not() {
    let mut expected = rows(600);
    // Nothing said about `brakes`: what holds is the default.
    let fleet = Fleet::builder()
        .setting("settle", "50ms")
        .setting("shards", "1")
        .setting("brakes", "")
        .rows(&expected);
    let mut fleet = fleet.prepare();
    start_all(&mut fleet);
    let keys: Vec<String> = expected.keys().cloned().collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    // 60 of 600 are 10 %, and not above it.
    skip(&fleet, 2, &keys[..60], 2, &mut expected);
    assert_eq!(number(&run(&fleet, &[], 0), "repaired"), 60);
    fleet.assert_all("at the limit", &expected);
    skip(&fleet, 2, &keys[..61], 3, &mut expected);
    let before = all(&fleet);
    let summary = run(&fleet, &[], 1);
    assert_eq!((number(&summary, "mismatches"), number(&summary, "repaired")), (61, 0));
    let planned = plan(&fleet, 61, "repair_share_max");
    for (node, before) in before.iter().enumerate() {
        assert_same("above the limit", &fleet.contents(node), before);
    }
    assert_eq!(number(&decide(&fleet, "approve", &planned, 0), "repaired"), 61);
    fleet.assert_all("after approval", &expected);
}

fn now_ms() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

const EXPIRING: &str = "CREATE TABLE products (id TEXT PRIMARY KEY NOT NULL, body TEXT NOT NULL, \
                        updated_at INTEGER NOT NULL, expires_at INTEGER)";

/// Puts a document with an expiry.
fn put_expiring(fleet: &Fleet, node: usize, id: &str, version: i64, expires_at: Option<i64>) {
    let store = fleet.open(node);
    put(&store, id, version, "{}");
    store
        .execute("UPDATE products SET expires_at = ?2 WHERE id = ?1", rusqlite::params![id, expires_at])
        .unwrap();
}

#[test]
fn an_expired_winner_is_deleted_everywhere_but_not_more_than_the_limit() {
    let expected = rows(40);
    let mut fleet = Fleet::builder()
        .table(EXPIRING)
        .setting("expiry", "{ field: expires_at, unit: ms }")
        .setting("brakes", "{ deletes_max: 2 }")
        .setting("settle", "50ms")
        .setting("shards", "1")
        .rows(&expected)
        .prepare();
    start_all(&mut fleet);
    let past = now_ms() - 60_000;
    // On two nodes as it was when it expired, on the third an older one that has not: all of it goes.
    for (node, version, expiry) in [(0, 5, Some(past)), (1, 5, Some(past)), (2, 4, None)] {
        put_expiring(&fleet, node, "gone", version, expiry);
    }
    let before = all(&fleet);
    let summary = run(&fleet, &[], 1);
    assert_eq!((number(&summary, "mismatches"), number(&summary, "repaired")), (1, 0));
    let planned = plan(&fleet, 3, "deletes_max");
    assert_untouched("three deletes where two are allowed", &fleet, &before);
    let approved = decide_with(&fleet, &["approve", &planned, "--deletes", "3"], 0);
    assert_eq!(number(&approved, "repaired"), 3);
    fleet.assert_all("after approval", &expected);

    // A straggler on one node alone is one delete.
    put_expiring(&fleet, 1, "gone", 3, Some(past));
    assert_eq!(number(&run(&fleet, &[], 0), "repaired"), 1);
    fleet.assert_all("after the straggler", &expected);

    // A newer version that was renewed is no expired document.
    let far = now_ms() + 3_600_000;
    put_expiring(&fleet, 0, "renewed", 6, Some(far));
    put_expiring(&fleet, 1, "renewed", 5, Some(past));
    assert_eq!(number(&run(&fleet, &[], 0), "repaired"), 2);
    for node in 0..3 {
        assert_eq!(fleet.contents(node)["renewed"].0, 6, "{}", fleet.node(node));
    }
}

#[test]
fn an_absent_key_that_the_index_held_is_held_across_restarts() {
    let rows = rows(60);
    let mut fleet = Fleet::builder().setting("settle", "50ms").rows(&rows).start();
    fleet.passes_until_in_sync(1);
    fleet.open(1).execute("DELETE FROM products WHERE id = 'key-005'", []).unwrap();
    fleet.open(2).execute("DELETE FROM products WHERE id IN ('key-006', 'key-007')", []).unwrap();
    fleet.open(0).execute("DELETE FROM products WHERE id = 'key-007'", []).unwrap();
    let before = all(&fleet);
    for round in 0..4 {
        let summary = run(&fleet, &[], 1);
        assert_eq!(
            ["mismatches", "held", "repaired"].map(|name| number(&summary, name)),
            [3, 3, 0],
            "round {round}: {summary}"
        );
        assert_untouched(&format!("round {round}"), &fleet, &before);
        let shown = fleet.cli(&["show", summary["run"].as_str().unwrap(), "--output", "json"]).json();
        let items = shown["items"].as_array().unwrap();
        let keys: BTreeSet<&str> = items.iter().filter_map(|item| item["key"].as_str()).collect();
        assert_eq!(keys.len(), 3, "{shown}");
        for item in items {
            assert_eq!((&item["outcome"], &item["detail"]), (&"held".into(), &"recreated".into()), "{item}");
        }
        let explained = fleet.cli(&["explain", "products", "key-005"]);
        assert_eq!(explained.code, Some(1), "{explained:?}");
        assert!(explained.stdout.contains("hint: delete the document everywhere"), "{explained:?}");
        match round {
            // By a kill, by a drain with the indexes taken away, and under another secret, that is with other digests
            // of all keys: what is gone is remembered in the journal.
            0 => (0..3).for_each(|agent| fleet.kill(agent)),
            1 => (0..3).for_each(|agent| {
                assert!(fleet.terminate(agent).success());
                std::fs::remove_dir_all(fleet.data(agent).join("index")).unwrap();
            }),
            _ => {
                (0..3).for_each(|agent| assert!(fleet.terminate(agent).success()));
                fleet.set_secret("another secret");
            }
        }
        (0..3).for_each(|agent| fleet.start(agent));
    }
    // A person decides, as the hints say: deleted everywhere; and written again where it was lost.
    fleet.open(0).execute("DELETE FROM products WHERE id = 'key-005'", []).unwrap();
    fleet.open(2).execute("DELETE FROM products WHERE id = 'key-005'", []).unwrap();
    fleet.open(1).execute("DELETE FROM products WHERE id = 'key-007'", []).unwrap();
    put(&fleet.open(2), "key-006", 7, "{\"again\":true}");
    let mut expected = rows;
    expected.remove("key-005");
    expected.remove("key-007");
    expected.insert("key-006".to_owned(), (7, "{\"again\":true}".to_owned()));
    fleet.passes_until_in_sync(2);
    fleet.assert_all("after a person decided", &expected);
}

fn pause(fleet: &Fleet, what: &str, code: i32) -> Answer {
    let answer = fleet.cli(&[what]);
    assert_eq!(answer.code, Some(code), "{answer:?}");
    answer
}

#[test]
fn a_pause_outlives_agents_and_names_those_who_did_not_hear_of_it() {
    let mut expected = rows(60);
    let mut fleet = Fleet::builder().setting("settle", "50ms").rows(&expected).start();
    fleet.passes_until_in_sync(1);
    let answer = pause(&fleet, "pause", 0);
    assert!(answer.stdout.contains("a, b, c"), "{answer:?}");
    for agent in 0..3 {
        fleet.kill(agent);
        fleet.start(agent);
    }
    skip(&fleet, 2, &["key-001", "key-011"], 2, &mut expected);
    let before = all(&fleet);
    let summary = run(&fleet, &[], 1);
    assert_eq!((number(&summary, "mismatches"), number(&summary, "repaired")), (2, 0));
    assert!(summary["planned"]["paused"].is_u64(), "{summary}");
    let status = fleet.cli(&["status", "--output", "json"]).json();
    assert_eq!(status["collections"][0]["paused"], true);
    assert_untouched("paused", &fleet, &before);
    // What is paused is not approved either, and waits on.
    let planned = plan(&fleet, 2, "paused");
    let answer = fleet.cli(&["approve", &planned]);
    assert_ne!(answer.code, Some(0), "{answer:?}");
    assert_untouched("paused, and approved", &fleet, &before);
    assert_eq!(plan(&fleet, 2, "paused"), planned);

    // One who is away hears nothing, and is named; it is still paused when it comes back.
    fleet.kill(2);
    let answer = pause(&fleet, "resume", 2);
    assert!(answer.stderr.contains("agent c at 127.0.0.1:"), "{answer:?}");
    fleet.start(2);
    // Nothing is written to its node, whoever decides.
    let summary = run(&fleet, &[], 1);
    assert_eq!(number(&summary, "repaired"), 0, "{summary}");
    assert_untouched("c is paused", &fleet, &before);
    pause(&fleet, "resume", 0);
    assert_eq!(number(&run(&fleet, &[], 0), "repaired"), 2);
    fleet.assert_all("after resume", &expected);

    skip(&fleet, 0, &["key-002", "key-003", "key-004", "key-005"], 3, &mut expected);
    fleet.kill(1);
    let answer = pause(&fleet, "pause", 2);
    assert!(answer.stderr.contains("agent b at 127.0.0.1:"), "{answer:?}");
    fleet.start(1);
    // b did not hear of it, and owns shards; a did, and takes no write.
    let before = fleet.contents(0);
    run(&fleet, &[], 1);
    assert_same("node-a, whose agent is paused", &fleet.contents(0), &before);
    pause(&fleet, "resume", 0);
    fleet.passes_until_in_sync(2);
    fleet.assert_all("after another resume", &expected);
}

#[test]
fn a_pause_stops_a_run_that_is_under_way() {
    let mut expected = rows(60);
    let fleet = Fleet::builder().setting("settle", "3s").rows(&expected).start();
    fleet.passes_until_in_sync(1);
    let keys: Vec<String> = expected.keys().step_by(3).cloned().collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    skip(&fleet, 1, &keys, 2, &mut expected);
    let before = all(&fleet);
    let running = fleet.cli_start(&["run", "--scan", "--wait", "--output", "json"]);
    // Within `settle`: it has decided nothing yet, and would write soon.
    for agent in 0..3 {
        wait::until(Duration::from_secs(30), "the run is under way", || {
            let (journal, _folder) = selfsame_tests::journal_copy(&fleet.data(agent)).ok()?;
            let open = "SELECT count(*) FROM run WHERE finished IS NULL";
            journal.query_row(open, [], |row| row.get::<_, i64>(0)).ok().filter(|runs| *runs > 0)
        });
    }
    pause(&fleet, "pause", 0);
    let paused = all(&fleet);
    assert_eq!(paused, before, "paused too late for this test");
    let answer = running.answer(Duration::from_secs(60));
    assert_eq!(answer.code, Some(1), "{answer:?}");
    assert_eq!(number(&answer.json(), "repaired"), 0);
    assert_untouched("after the pause was answered", &fleet, &before);
    pause(&fleet, "resume", 0);
    fleet.passes_until_in_sync(1);
    fleet.assert_all("after resume", &expected);
}

#[test]
fn a_pause_for_a_while_and_of_one_collection_ends_by_itself() {
    let mut expected = rows(30);
    let fleet = Fleet::builder().setting("settle", "50ms").rows(&expected).start();
    fleet.passes_until_in_sync(1);
    skip(&fleet, 0, &["key-004"], 2, &mut expected);
    let answer = fleet.cli(&["pause", "--collection", "products", "--for", "4s"]);
    assert_eq!(answer.code, Some(0), "{answer:?}");
    let summary = run(&fleet, &[], 1);
    assert!(summary["planned"]["paused"].is_u64(), "{summary}");
    wait::until(Duration::from_secs(20), "the pause ends", || {
        let answer = fleet.cli(&["run", "--scan", "--wait", "--output", "json"]);
        (answer.code == Some(0)).then_some(())
    });
    fleet.assert_all("after the pause", &expected);
}

#[test]
fn a_resume_says_which_pauses_ended_and_which_still_hold() {
    let fleet = Fleet::builder().rows(&rows(10)).start();
    pause(&fleet, "pause", 0);
    assert_eq!(fleet.cli(&["pause", "--collection", "products"]).code, Some(0));
    let answer = fleet.cli(&["resume", "--collection", "products"]);
    assert_eq!(answer.code, Some(1), "all is paused still: {answer:?}");
    assert!(!answer.stdout.contains("resumed"), "{answer:?}");
    for says in ["ended: the pause of products", "by the pause of all collections; hint: selfsame resume"] {
        assert!(answer.stdout.contains(says), "{says}: {answer:?}");
    }
    let again = fleet.cli(&["resume", "--collection", "products", "--output", "json"]).json();
    let all = serde_json::json!([{ "collection": null, "until": null }]);
    assert_eq!((&again["ended"], &again["holding"]), (&serde_json::json!([]), &all), "{again}");

    assert_eq!(fleet.cli(&["pause", "--collection", "products", "--for", "1h"]).code, Some(0));
    let answer = pause(&fleet, "resume", 0);
    for says in ["resumed: ", "ended: the pause of all collections", "ended: the pause of products"] {
        assert!(answer.stdout.contains(says), "{says}: {answer:?}");
    }
    let status = fleet.cli(&["status", "--output", "json"]).json();
    assert_eq!(status["collections"][0]["paused"], false, "a bare resume ends every pause: {status}");
}
