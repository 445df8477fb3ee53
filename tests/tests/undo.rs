//! Undoing runs, dropping plans and forgetting documents, over real processes and files.

#![allow(clippy::unwrap_used, reason = "all of this file is tests")]
#![allow(clippy::print_stdout, reason = "a failing point is named")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, OptionalExtension};
use selfsame_tests::{Contents, Fleet, FleetBuilder, put, wait};
use serde_json::Value;

/// The usual table with an expiry, and a column that belongs to the application alone.
const TABLE: &str = "CREATE TABLE products (id TEXT PRIMARY KEY NOT NULL, body TEXT NOT NULL, \
                     updated_at INTEGER NOT NULL, expires_at INTEGER, note TEXT DEFAULT 'none')";

fn rows(count: usize) -> Contents {
    (0..count).map(|n| (format!("key-{n:03}"), (1, format!("{{\"n\":{n}}}")))).collect()
}

fn builder(rows: &Contents) -> FleetBuilder {
    Fleet::builder()
        .table(TABLE)
        .setting("expiry", "{ field: expires_at, unit: ms }")
        .setting("settle", "50ms")
        .rows(rows)
}

/// A fleet that was found in sync.
fn settled(rows: &Contents) -> Fleet {
    let fleet = builder(rows).start();
    fleet.passes_until_in_sync(2);
    fleet
}

/// Writes a newer version of some keys to all nodes but one.
fn skip(fleet: &Fleet, node: usize, keys: &[&str], version: i64) {
    for other in (0..fleet.count()).filter(|other| *other != node) {
        let store = fleet.open(other);
        keys.iter().for_each(|key| put(&store, key, version, &format!("{{\"version\":{version}}}")));
    }
}

/// Every column of every row of a node, as text.
fn whole(fleet: &Fleet, node: usize) -> BTreeMap<String, String> {
    let store = fleet.open(node);
    let sql =
        "SELECT id, quote(body) || ' ' || quote(updated_at) || ' ' || quote(expires_at) || ' ' || quote(note)
               FROM products";
    let mut statement = store.prepare(sql).unwrap();
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    rows.map(Result::unwrap).collect()
}

fn all(fleet: &Fleet) -> Vec<BTreeMap<String, String>> {
    (0..fleet.count()).map(|node| whole(fleet, node)).collect()
}

/// Panics unless all nodes have these rows, and names those that differ.
#[track_caller]
fn assert_rows(what: &str, fleet: &Fleet, expected: &[BTreeMap<String, String>]) {
    for (node, expected) in expected.iter().enumerate() {
        let found = whole(fleet, node);
        let keys = found.keys().chain(expected.keys()).filter(|key| found.get(*key) != expected.get(*key));
        let differing: BTreeMap<_, _> =
            keys.map(|key| (key.clone(), (found.get(key), expected.get(key)))).collect();
        assert!(differing.is_empty(), "{what}: {}: found and expected: {differing:#?}", fleet.node(node));
    }
}

#[track_caller]
fn run(fleet: &Fleet, code: i32) -> Value {
    let answer = fleet.cli(&["run", "--scan", "--wait", "--output", "json"]);
    assert_eq!(answer.code, Some(code), "{answer:?}");
    answer.json()
}

fn id(summary: &Value) -> String {
    summary["run"].as_str().unwrap().to_owned()
}

fn number(value: &Value, name: &str) -> u64 {
    value[name].as_u64().unwrap_or_else(|| panic!("no {name} in {value}"))
}

#[track_caller]
fn undo(fleet: &Fleet, run: &str, more: &[&str], code: i32) -> Value {
    let answer = fleet.cli(&[&["undo", run, "--yes", "--output", "json"], more].concat());
    assert_eq!(answer.code, Some(code), "{answer:?}");
    answer.json()
}

/// The states of an undo, and what it wrote: `states`, [inserts, updates, deletes].
fn came_to(undone: &Value) -> (BTreeMap<String, u64>, [u64; 3]) {
    let states = undone["states"].as_object().unwrap().iter();
    let states = states.map(|(state, keys)| (state.clone(), keys.as_u64().unwrap())).collect();
    (states, ["inserts", "updates", "deletes"].map(|name| number(undone, name)))
}

fn states<const N: usize>(states: [(&str, u64); N]) -> BTreeMap<String, u64> {
    states.into_iter().map(|(state, keys)| (state.to_owned(), keys)).collect()
}

/// Three runs, each by all owners, hold exactly so many keys, and write nothing.
#[track_caller]
fn assert_held(what: &str, fleet: &Fleet, keys: u64) -> Value {
    let before = all(fleet);
    let mut last = Value::Null;
    for _ in 0..3 {
        last = run(fleet, 1);
        assert_eq!(
            ["mismatches", "held", "repaired"].map(|name| number(&last, name)),
            [keys, keys, 0],
            "{what}: {last}"
        );
        assert!(last["planned"]["pinned"].is_u64(), "{what}: {last}");
        assert_rows(what, fleet, &before);
        let shown = fleet.cli(&["show", &id(&last), "--output", "json"]).json();
        let items = shown["items"].as_array().unwrap();
        let named: BTreeSet<&str> = items.iter().filter_map(|item| item["key"].as_str()).collect();
        assert_eq!(named.len() as u64, keys, "{what}: {shown}");
        for item in items {
            assert_eq!(
                (&item["outcome"], &item["detail"]),
                (&"held".into(), &"pinned".into()),
                "{what}: {item}"
            );
        }
    }
    last
}

/// The runs of the plans that wait, with the number of their repairs.
#[track_caller]
fn plans(fleet: &Fleet) -> BTreeMap<String, u64> {
    let answer = fleet.cli(&["plan", "--output", "json"]);
    assert_eq!(answer.code, Some(0), "{answer:?}");
    let plan = |plan: &Value| (plan["run"].as_str().unwrap().to_owned(), number(plan, "repairs"));
    answer.json().as_array().unwrap().iter().map(plan).collect()
}

fn past_ms() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap() - 60_000
}

/// What a consumer of a node's change table sees of a key: operation and origin, the newest last.
fn changes(fleet: &Fleet, node: usize, key: &str) -> Vec<(String, Option<String>)> {
    let store = fleet.open(node);
    let sql = "SELECT op, origin FROM _selfsame_changes WHERE k1 = ?1 ORDER BY seq";
    let mut statement = store.prepare(sql).unwrap();
    let rows = statement.query_map([key], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    rows.map(Result::unwrap).collect()
}

/// Damage of every kind on node c, and an expired document everywhere: 5 repairs there, 1 on each other node.
fn damage(fleet: &Fleet) {
    skip(fleet, 2, &["key-001", "key-002"], 2);
    skip(fleet, 2, &["new-1"], 1);
    put(&fleet.open(2), "key-003", 1, "{\"flipped\":true}");
    fleet.open(2).execute("UPDATE products SET note = 'ours' WHERE id = 'key-001'", []).unwrap();
    let past = past_ms();
    for node in 0..3 {
        let store = fleet.open(node);
        put(&store, "gone", 5, "{\"expired\":true}");
        let note = format!("note of {node}");
        // On one of them the expiry differs, so that anybody looks.
        let expiry = past - i64::try_from(node).unwrap();
        store
            .execute("UPDATE products SET expires_at = ?1, note = ?2 WHERE id = 'gone'", (expiry, note))
            .unwrap();
    }
}

#[test]
fn a_run_is_undone_whole_and_no_owner_repairs_it_again() {
    let fleet = settled(&rows(60));
    damage(&fleet);
    let before = all(&fleet);
    let repaired = run(&fleet, 0);
    assert_eq!(number(&repaired, "repaired"), 7, "{repaired}");
    let after = all(&fleet);
    assert_ne!(after, before);

    // A look writes nothing, and names everything.
    let looked = undo(&fleet, &id(&repaired), &["--dry-run"], 0);
    assert_eq!(came_to(&looked), (states([("restorable", 7)]), [3, 3, 1]));
    assert_eq!(looked["items"].as_array().unwrap().len(), 7);
    assert_rows("a look", &fleet, &after);

    let undone = undo(&fleet, &id(&repaired), &[], 0);
    assert_eq!(came_to(&undone), (states([("restored", 7)]), [3, 3, 1]), "{undone}");
    assert_rows("whole rows, with the columns that are nobody's but the application's", &fleet, &before);
    let (op, origin) = changes(&fleet, 2, "key-001").pop().unwrap();
    let origin = origin.expect("the write of an undo is marked");
    assert_eq!(op, "update");
    assert!(origin.ends_with(" restored") && origin.contains(&id(&repaired)), "{origin}");

    // The expired document is the same again everywhere but for its expiry; the rest differs as before.
    let held = assert_held("undone", &fleet, 5);
    let shown = fleet.cli(&["show", &id(&held), "--output", "json"]).json();
    assert_eq!(shown["items"].as_array().unwrap().len(), 7);
    let explained = fleet.cli(&["explain", "products", "key-001"]);
    assert_eq!(explained.code, Some(1), "{explained:?}");
    assert!(explained.stdout.contains("held (pinned) on node-c; hint:"), "{explained:?}");
    assert!(explained.stdout.contains("restored on node-c: undone"), "{explained:?}");

    // Undone once is undone.
    let again = undo(&fleet, &id(&repaired), &[], 0);
    assert_eq!(came_to(&again), (states([("undone", 7)]), [0, 0, 0]));
    assert_rows("unchanged", &fleet, &before);

    // What is pinned waits as a plan, which a person may approve after all.
    assert_eq!(plans(&fleet).get(&id(&held)), Some(&7));
    let answer = fleet.cli(&["approve", &id(&held), "--deletes", "3", "--output", "json"]);
    assert_eq!((answer.code, number(&answer.json(), "repaired")), (Some(0), 7), "{answer:?}");
    assert_rows("approved", &fleet, &after);
    run(&fleet, 0);
}

#[test]
fn an_undo_of_one_key_or_one_node_leaves_the_rest() {
    let fleet = settled(&rows(60));
    skip(&fleet, 2, &["key-001", "key-002", "key-003"], 2);
    skip(&fleet, 1, &["key-004", "key-005"], 2);
    let before = all(&fleet);
    let repaired = run(&fleet, 0);
    // The beginning of the id will do.
    let short = &id(&repaired)[..13];
    let undone = undo(&fleet, short, &["--key", "key-002"], 0);
    assert_eq!(came_to(&undone), (states([("restored", 1)]), [0, 1, 0]));
    let now = all(&fleet);
    assert_eq!(now[2]["key-002"], before[2]["key-002"]);
    assert_eq!(now[2]["key-001"], now[0]["key-001"]);
    assert_held("one key", &fleet, 1);
    let undone = undo(&fleet, short, &["--node", "node-b"], 0);
    assert_eq!(came_to(&undone), (states([("restored", 2)]), [0, 2, 0]));
    assert_eq!(whole(&fleet, 1), before[1]);
    assert_held("one node", &fleet, 3);
    // A key that the run did not touch.
    let nothing = undo(&fleet, short, &["--key", "key-009"], 1);
    assert_eq!(came_to(&nothing), (states([]), [0, 0, 0]));
}

#[test]
fn a_clients_write_stays_and_a_newer_one_ends_the_pin() {
    let mut expected = rows(60);
    let fleet = settled(&expected);
    skip(&fleet, 2, &["key-001", "key-002", "key-003"], 2);
    let before = all(&fleet);
    let repaired = run(&fleet, 0);
    // Only a column that Selfsame does not compare; and all of a row.
    fleet.open(2).execute("UPDATE products SET note = 'a client' WHERE id = 'key-001'", []).unwrap();
    fleet.open(2).execute("DELETE FROM products WHERE id = 'key-002'", []).unwrap();
    let written = whole(&fleet, 2);
    let undone = undo(&fleet, &id(&repaired), &[], 1);
    assert_eq!(came_to(&undone), (states([("changed", 2), ("restored", 1)]), [0, 1, 0]));
    // What is wrong comes first, and says why.
    assert_eq!(undone["items"][0]["state"], "changed", "{undone}");
    assert_eq!(undone["items"][0]["detail"], "somebody has written it since");
    let now = whole(&fleet, 2);
    assert_eq!((&now["key-001"], now.get("key-002")), (&written["key-001"], None));
    assert_eq!(now["key-003"], before[2]["key-003"]);
    // The application writes the keys again, one of them with a newer state on two nodes only.
    for node in 0..3 {
        put(&fleet.open(node), "key-002", 3, "{\"again\":true}");
    }
    skip(&fleet, 2, &["key-003"], 3);
    let summary = run(&fleet, 0);
    assert_eq!(number(&summary, "repaired"), 1, "{summary}");
    expected.insert("key-001".into(), (2, "{\"version\":2}".into()));
    expected.insert("key-002".into(), (3, "{\"again\":true}".into()));
    expected.insert("key-003".into(), (3, "{\"version\":3}".into()));
    fleet.assert_all("a newer write ends a pin", &expected);
}

#[test]
fn who_is_not_asked_and_did_not_say_yes_changes_nothing() {
    let fleet = settled(&rows(20));
    skip(&fleet, 2, &["key-001"], 2);
    let repaired = id(&run(&fleet, 0));
    let before = all(&fleet);
    let refused = |arguments: &[&str], words: &str| {
        let answer = fleet.cli(arguments);
        assert_eq!(answer.code, Some(64), "{answer:?}");
        assert!(answer.stderr.contains(words), "{answer:?}");
    };
    refused(&["undo", &repaired], "hint: `--yes`");
    refused(&["forget", "products", "key-001"], "hint: `--yes`");
    refused(&["undo", "0b1946ac-9249-8492-9dcd-fa7c0a9ffaf9", "--yes"], "no agent that answered knows run");
    refused(&["undo", "nonsense", "--yes"], "hint: `selfsame runs` lists them");
    refused(&["undo", &repaired, "--yes", "--node", "node-x"], "no node `node-x`; hint: there is node-a");
    refused(&["forget", "nonsense", "key-001", "--yes"], "no collection `nonsense`");
    assert_rows("unchanged", &fleet, &before);
    // A run that repaired nothing is known, and there is nothing to undo.
    let clean = id(&run(&fleet, 0));
    let nothing = undo(&fleet, &clean, &[], 1);
    assert_eq!(came_to(&nothing).1, [0, 0, 0]);
}

#[test]
fn who_is_away_or_paused_is_named_and_may_follow_later() {
    let mut fleet = settled(&rows(60));
    skip(&fleet, 2, &["key-001", "key-002"], 2);
    skip(&fleet, 1, &["key-003"], 2);
    let before = all(&fleet);
    let repaired = id(&run(&fleet, 0));
    fleet.kill(2);
    let answer = fleet.cli(&["undo", &repaired, "--yes"]);
    assert_eq!(answer.code, Some(2), "{answer:?}");
    assert!(answer.stderr.contains("agent c at 127.0.0.1:"), "{answer:?}");
    assert_eq!(whole(&fleet, 1), before[1], "who is there does its part");
    fleet.start(2);
    let answer = fleet.cli(&["pause"]);
    assert_eq!(answer.code, Some(0), "{answer:?}");
    let answer = fleet.cli(&["undo", &repaired, "--yes"]);
    assert_eq!(answer.code, Some(1), "{answer:?}");
    assert!(answer.stderr.contains("node-c: repairs are paused; hint: selfsame resume"), "{answer:?}");
    assert_eq!(fleet.cli(&["resume"]).code, Some(0));
    let undone = undo(&fleet, &repaired, &[], 0);
    assert_eq!(came_to(&undone), (states([("restored", 2), ("undone", 1)]), [0, 2, 0]));
    assert_rows("unchanged", &fleet, &before);
    assert_held("after all", &fleet, 3);
}

#[test]
fn rows_that_were_not_kept_are_listed() {
    let mut fleet = builder(&rows(40)).top_level("journal: { undo_retention: 1h }").start();
    fleet.passes_until_in_sync(2);
    skip(&fleet, 2, &["key-001"], 2);
    skip(&fleet, 2, &["new-1"], 1);
    let repaired = id(&run(&fleet, 0));
    assert!(fleet.terminate(2).success());
    // Agents prune when they start. Within the retention all is kept.
    fleet.start(2);
    let looked = undo(&fleet, &repaired, &["--dry-run"], 0);
    assert_eq!(came_to(&looked).0, states([("restorable", 2)]));
    assert!(fleet.terminate(2).success());
    let journal = Connection::open(fleet.data(2).join("journal.db")).unwrap();
    journal.execute("UPDATE intent SET at = at - 7200000000", []).unwrap();
    drop(journal);
    fleet.start(2);
    wait::until(Duration::from_secs(60), "the image is pruned", || {
        let answer = fleet.cli(&["undo", &repaired, "--dry-run", "--output", "json"]);
        (came_to(&answer.json()).0 == states([("image_gone", 1), ("restorable", 1)])).then_some(())
    });
    let undone = undo(&fleet, &repaired, &[], 1);
    assert_eq!(came_to(&undone), (states([("image_gone", 1), ("restored", 1)]), [0, 0, 1]));
    let detail = undone["items"][0]["detail"].as_str().unwrap();
    assert!(detail.contains("undo_retention"), "{detail}");
    // An insert needs no image.
    let gone: Option<i64> = fleet
        .open(2)
        .query_row("SELECT 1 FROM products WHERE id = 'new-1'", [], |row| row.get(0))
        .optional()
        .unwrap();
    assert_eq!(gone, None);
}

#[test]
fn a_triggers_part_in_a_row_is_told_and_does_not_end_the_pin() {
    let table = format!(
        "{TABLE}; CREATE TRIGGER touched AFTER UPDATE OF body ON products BEGIN \
         UPDATE products SET note = 'touched ' || old.updated_at WHERE id = new.id; END"
    );
    let fleet = builder(&rows(30)).table(&table).start();
    fleet.passes_until_in_sync(2);
    skip(&fleet, 2, &["key-001"], 2);
    let repaired = id(&run(&fleet, 0));
    let undone = undo(&fleet, &repaired, &[], 0);
    assert_eq!(came_to(&undone), (states([("restored", 1)]), [0, 1, 0]));
    let detail = undone["items"][0]["detail"].as_str().unwrap();
    assert!(detail.contains("trigger"), "{detail}");
    assert_eq!(fleet.contents(2)["key-001"].0, 1);
    assert_held("with a trigger", &fleet, 1);
}

#[test]
fn a_trigger_and_a_kill_together_do_not_end_a_pin() {
    let table = format!(
        "{TABLE}; CREATE TRIGGER touched AFTER UPDATE OF body ON products BEGIN \
         UPDATE products SET note = 'touched ' || old.updated_at WHERE id = new.id; END"
    );
    let mut fleet = builder(&rows(30)).table(&table).start();
    fleet.passes_until_in_sync(2);
    skip(&fleet, 2, &["key-001"], 2);
    let repaired = id(&run(&fleet, 0));
    fleet.kill(2);
    fleet.start_with(2, &[("FAILPOINTS", "agent::store_written=pause")]);
    let undoing = fleet.cli_start(&["undo", &repaired, "--yes"]);
    wait::until(Duration::from_secs(60), "the row is put back", || {
        (undos_in_store(&fleet.open(2)) > 0).then_some(())
    });
    fleet.kill(2);
    assert_eq!(undoing.answer(Duration::from_secs(60)).code, Some(2));
    fleet.start(2);
    assert_held("a trigger and a kill", &fleet, 1);
    assert_eq!(fleet.contents(2)["key-001"].0, 1);
}

/// What an agent's journal says of the intents of undos: all, and those that have an outcome.
fn undo_intents(fleet: &Fleet, agent: usize) -> Option<(i64, i64)> {
    let (journal, _folder) = selfsame_tests::journal_copy(&fleet.data(agent)).ok()?;
    let sql = "SELECT count(*), count(outcome) FROM intent WHERE cause = 'restored'";
    journal.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?))).ok()
}

fn undos_in_store(store: &Connection) -> i64 {
    let sql = "SELECT count(*) FROM _selfsame_origin WHERE marker LIKE '% restored'";
    store.query_row(sql, [], |row| row.get(0)).unwrap()
}

/// Holds agent c at a named point of an undo, kills it there, and looks at what follows.
fn killed_at(point: &str, written: bool, held: impl Fn(&Fleet) -> bool) {
    println!("killed at {point}");
    const KEYS: [&str; 4] = ["key-001", "key-002", "key-003", "new-1"];
    // One shard, so that there is one batch.
    let mut fleet = builder(&rows(60)).setting("shards", "1").start();
    fleet.passes_until_in_sync(2);
    skip(&fleet, 2, &KEYS, 2);
    let before = all(&fleet);
    let repaired = id(&run(&fleet, 0));
    let after = all(&fleet);
    fleet.kill(2);
    fleet.start_with(2, &[("FAILPOINTS", &format!("{point}=pause"))]);
    let undoing = fleet.cli_start(&["undo", &repaired, "--yes"]);
    wait::until(Duration::from_secs(60), &format!("agent c is held at {point}"), || {
        held(&fleet).then_some(())
    });
    fleet.kill(2);
    let answer = undoing.answer(Duration::from_secs(60));
    assert_eq!(answer.code, Some(2), "{point}: {answer:?}");
    assert!(answer.stderr.contains("agent c at"), "{point}: {answer:?}");
    fleet.start(2);
    if written {
        assert_rows(point, &fleet, &before);
        assert_held(point, &fleet, KEYS.len() as u64);
    } else {
        assert_rows(point, &fleet, &after);
        // Nothing was put back, and nothing is pinned in vain.
        run(&fleet, 0);
    }
    let undone = undo(&fleet, &repaired, &[], 0);
    let state = if written { "undone" } else { "restored" };
    assert_eq!(came_to(&undone).0, states([(state, KEYS.len() as u64)]), "{point}");
    assert_rows(point, &fleet, &before);
    assert_held(point, &fleet, KEYS.len() as u64);
    assert_eq!(undos_in_store(&fleet.open(2)), KEYS.len() as i64, "{point}: each row is put back once");
    fleet.kill(2);
    let (intents, settled) = undo_intents(&fleet, 2).expect("the journal of an agent that is gone");
    assert_eq!((intents, settled), (KEYS.len() as i64, KEYS.len() as i64), "{point}: settled");
}

#[test]
fn a_kill_between_an_undos_intent_and_its_write_loses_nothing() {
    killed_at("journal::intent_written", false, |fleet| {
        undo_intents(fleet, 2).is_some_and(|(intents, settled)| intents > settled)
    });
}

#[test]
fn a_kill_between_an_undos_write_and_its_outcome_writes_nothing_twice() {
    killed_at("agent::store_written", true, |fleet| undos_in_store(&fleet.open(2)) > 0);
}

#[test]
fn a_kill_after_an_undos_outcome_writes_nothing_twice() {
    killed_at("journal::outcome_written", true, |fleet| {
        undo_intents(fleet, 2).is_some_and(|(_, settled)| settled > 0)
    });
}

#[test]
fn what_was_approved_is_undone_with_the_run_whose_plan_it_was() {
    let fleet = builder(&rows(60)).setting("repair", "approve").start();
    skip(&fleet, 2, &["key-001", "key-002", "key-003", "new-1"], 2);
    let before = all(&fleet);
    let planned = id(&run(&fleet, 1));
    let approved = fleet.cli(&["approve", &planned, "--output", "json"]);
    assert_eq!((approved.code, number(&approved.json(), "repaired")), (Some(0), 4), "{approved:?}");
    let after = all(&fleet);
    // One run for all shards.
    let runs = fleet.cli(&["runs", "--output", "json"]).json();
    let of_approvals = runs.as_array().unwrap().iter().filter(|run| number(run, "repaired") > 0);
    let of_approvals: Vec<String> = of_approvals.map(id).collect();
    assert_eq!(of_approvals.len(), 1, "{runs}");
    let looked = undo(&fleet, &of_approvals[0], &["--dry-run"], 0);
    assert_eq!(came_to(&looked), (states([("restorable", 4)]), [0, 3, 1]));
    let undone = undo(&fleet, &planned, &[], 0);
    assert_eq!(came_to(&undone), (states([("restored", 4)]), [0, 3, 1]));
    assert_rows("undone", &fleet, &before);
    // Where all is planned, so is this; and it says that somebody did not want it.
    let summary = run(&fleet, 1);
    assert_eq!(number(&summary, "held"), 4, "{summary}");
    assert!(summary["planned"]["approve_mode"].is_u64(), "{summary}");
    let approved = fleet.cli(&["approve", &id(&summary), "--output", "json"]);
    assert_eq!((approved.code, number(&approved.json(), "repaired")), (Some(0), 4), "{approved:?}");
    assert_rows("approved again", &fleet, &after);
    run(&fleet, 0);
}

/// A fleet with a plan of one delete on each node, which `deletes_max` holds back.
fn braked() -> (Fleet, String) {
    let fleet = builder(&rows(40)).setting("brakes", "{ deletes_max: 2 }").setting("shards", "1").start();
    wait::until(Duration::from_secs(60), "the fleet is in sync", || {
        (fleet.pass()["verdict"] == "in_sync").then_some(())
    });
    // What is scheduled may still be under way: seen on one node alone, the document would be deleted there.
    assert_eq!(fleet.cli(&["pause"]).code, Some(0));
    let past = past_ms();
    for node in 0..3 {
        let store = fleet.open(node);
        put(&store, "gone", 5, "{}");
        let expiry = past - i64::try_from(node).unwrap();
        store.execute("UPDATE products SET expires_at = ?1 WHERE id = 'gone'", [expiry]).unwrap();
    }
    assert_eq!(fleet.cli(&["resume"]).code, Some(0));
    let planned = run(&fleet, 1);
    assert!(planned["planned"]["deletes_max"].is_u64(), "{planned}");
    (fleet, id(&planned))
}

#[test]
fn what_is_dropped_is_not_repaired_by_any_owner_until_it_is_approved() {
    let (fleet, planned) = braked();
    let answer = fleet.cli(&["drop", &planned, "--output", "json"]);
    assert_eq!((answer.code, number(&answer.json(), "dropped")), (Some(0), 3), "{answer:?}");
    assert_eq!(plans(&fleet).len(), 0);
    let held = assert_held("dropped", &fleet, 1);
    // Other differences of the shard are repaired.
    skip(&fleet, 1, &["key-001"], 2);
    let summary = run(&fleet, 1);
    assert_eq!((number(&summary, "repaired"), number(&summary, "held")), (1, 1), "{summary}");
    assert_ne!(id(&summary), id(&held));
    assert_eq!(plans(&fleet).get(&id(&summary)), Some(&3));
    let answer = fleet.cli(&["approve", &id(&summary), "--deletes", "3"]);
    assert_eq!(answer.code, Some(0), "{answer:?}");
    assert!((0..3).all(|node| !whole(&fleet, node).contains_key("gone")));
    run(&fleet, 0);
}

#[test]
fn a_plan_is_dropped_only_when_every_target_has_heard_of_it() {
    let (mut fleet, planned) = braked();
    // The owner of the plan's one shard is somebody; somebody else is away.
    let owner = (0..3)
        .find(|agent| {
            let (journal, _folder) = fleet.journal(*agent);
            journal.query_row("SELECT count(*) FROM plan", [], |row| row.get::<_, i64>(0)).unwrap() > 0
        })
        .expect("a plan lies with its owner");
    let away = (owner + 1) % 3;
    fleet.kill(away);
    let answer = fleet.cli(&["drop", &planned, "--output", "json"]);
    assert_eq!((answer.code, number(&answer.json(), "dropped")), (Some(2), 0), "{answer:?}");
    assert!(answer.stderr.contains(&format!("agent {} at", fleet.name(away))), "{answer:?}");
    assert_eq!(plans(&fleet).len(), 1, "the plan stays");
    fleet.start(away);
    let answer = fleet.cli(&["drop", &planned, "--output", "json"]);
    assert_eq!((answer.code, number(&answer.json(), "dropped")), (Some(0), 3), "{answer:?}");
    assert_held("dropped at the second attempt", &fleet, 1);
}

/// Whether these bytes stand in any file of a data directory.
fn holds(data: &Path, words: &str) -> bool {
    fs::read_dir(data).unwrap().map(|entry| entry.unwrap().path()).any(|path| {
        if path.is_dir() {
            return holds(&path, words);
        }
        // An index merges its files meanwhile: one may be gone by now.
        let bytes = fs::read(path).unwrap_or_default();
        bytes.windows(words.len()).any(|window| window == words.as_bytes())
    })
}

#[test]
fn what_is_forgotten_is_in_no_journal_any_more() {
    const OLD: &str = "an-old-secret-of-somebody";
    const NEW: &str = "a-new-secret-of-somebody";
    const OTHER: &str = "what-others-wrote";
    let mut fleet = settled(&rows(40));
    for node in 0..3 {
        let store = fleet.open(node);
        put(&store, "person", 1, &format!("{{\"text\":\"{OLD}\"}}"));
        put(&store, "other", 1, &format!("{{\"text\":\"{OTHER}\"}}"));
    }
    run(&fleet, 0);
    for node in 0..2 {
        let store = fleet.open(node);
        put(&store, "person", 2, &format!("{{\"text\":\"{NEW}\"}}"));
        put(&store, "other", 2, &format!("{{\"text\":\"{OTHER}, again\"}}"));
    }
    let repaired = id(&run(&fleet, 0));
    assert!(holds(&fleet.data(2), OLD), "the before-image");

    // Who is away is named.
    fleet.kill(2);
    let answer = fleet.cli(&["forget", "products", "person", "--yes"]);
    assert_eq!(answer.code, Some(2), "{answer:?}");
    assert!(answer.stderr.contains("agent c at 127.0.0.1:"), "{answer:?}");
    fleet.start(2);
    let answer = fleet.cli(&["forget", "products", "person", "--yes", "--output", "json"]);
    assert_eq!(answer.code, Some(0), "{answer:?}");
    let forgotten = answer.json();
    assert_eq!(number(&forgotten, "images"), 1, "{forgotten}");
    assert_eq!(forgotten["agents"], serde_json::json!(["a", "b", "c"]));
    for agent in 0..3 {
        for words in [OLD, NEW] {
            assert!(!holds(&fleet.data(agent), words), "`{words}` at {}", fleet.name(agent));
        }
    }
    assert!(holds(&fleet.data(2), OTHER), "other documents are kept");

    // It is in no run's list, cannot be undone, and nothing else is lost by it.
    let shown = fleet.cli(&["show", &repaired, "--output", "json"]).json();
    let keys: Vec<&str> =
        shown["items"].as_array().unwrap().iter().map(|item| item["key"].as_str().unwrap()).collect();
    assert_eq!(keys, ["\"other\""]);
    let undone = undo(&fleet, &repaired, &[], 1);
    assert_eq!(came_to(&undone).0, states([("image_gone", 1), ("restored", 1)]));
    // The stores are nobody's but the application's.
    assert_eq!(fleet.contents(2)["person"], (2, format!("{{\"text\":\"{NEW}\"}}")));
    fleet.kill(0);
    fleet.start(0);
    let summary = run(&fleet, 1);
    assert_eq!((number(&summary, "held"), number(&summary, "repaired")), (1, 0), "{summary}");
}

#[test]
fn what_is_put_back_survives_restarts_and_other_shards() {
    let mut fleet = settled(&rows(60));
    skip(&fleet, 2, &["key-001", "key-002"], 2);
    let before = all(&fleet);
    let repaired = id(&run(&fleet, 0));
    undo(&fleet, &repaired, &[], 0);
    (0..3).for_each(|agent| fleet.kill(agent));
    fleet.set("shards", "4");
    (0..3).for_each(|agent| fleet.start(agent));
    wait::until(Duration::from_secs(60), "the indexes are regrouped", || {
        (fleet.pass()["verdict"] == "diverged").then_some(())
    });
    assert_held("with fewer shards", &fleet, 2);
    for (node, before) in before.iter().enumerate() {
        assert_eq!(&whole(&fleet, node), before, "{}", fleet.node(node));
    }
    let answer = fleet.cli(&["undo", &repaired, "--yes"]);
    assert_eq!(answer.code, Some(0), "{answer:?}");
}
