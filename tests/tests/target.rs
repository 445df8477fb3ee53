//! What a target's agent does not let through, whoever asks: too many deletes in a day, and a key that something
//! writes back again and again.

#![allow(clippy::unwrap_used, reason = "all of this file is tests")]

use std::collections::BTreeMap;

use selfsame_tests::{Contents, Fleet, put};
use serde_json::Value;

fn rows(count: usize) -> Contents {
    (0..count).map(|n| (format!("key-{n:03}"), (1, format!("{{\"n\":{n}}}")))).collect()
}

#[track_caller]
fn json(fleet: &Fleet, command: &[&str], code: i32) -> Value {
    let answer = fleet.cli(&[command, &["--output", "json"]].concat());
    assert_eq!(answer.code, Some(code), "{command:?}: {answer:?}");
    answer.json()
}

#[track_caller]
fn run(fleet: &Fleet, code: i32) -> Value {
    json(fleet, &["run", "--scan", "--wait"], code)
}

fn number(value: &Value, name: &str) -> u64 {
    value[name].as_u64().unwrap_or_else(|| panic!("no {name} in {value}"))
}

/// The one plan that waits: its run, its repairs, its deletes, and why it is one.
#[track_caller]
fn plan(fleet: &Fleet) -> (String, u64, u64, Vec<String>) {
    let plans = json(fleet, &["plan"], 0);
    let [plan] = plans.as_array().unwrap().as_slice() else { panic!("not one plan: {plans}") };
    let reasons: BTreeMap<String, Value> = serde_json::from_value(plan["reasons"].clone()).unwrap();
    let run = plan["run"].as_str().unwrap().to_owned();
    (run, number(plan, "repairs"), number(plan, "deletes"), reasons.into_keys().collect())
}

/// Kills all agents, and starts them again.
fn restart(fleet: &mut Fleet) {
    (0..fleet.count()).for_each(|agent| fleet.kill(agent));
    (0..fleet.count()).for_each(|agent| fleet.start(agent));
}

const EXPIRING: &str = "CREATE TABLE products (id TEXT PRIMARY KEY NOT NULL, body TEXT NOT NULL, \
                        updated_at INTEGER NOT NULL, expires_at INTEGER)";

#[test]
fn deletes_of_a_day_are_counted_over_all_shards_and_across_restarts_but_not_the_approved() {
    let expected = rows(100);
    let mut fleet = Fleet::builder()
        .table(EXPIRING)
        .setting("expiry", "{ field: expires_at, unit: ms }")
        .setting("brakes", "{ deletes_max: 3 }")
        .setting("settle", "50ms")
        .rows(&expected)
        .start();
    fleet.passes_until_in_sync(1);
    let revive = |fleet: &Fleet, names: &[String]| {
        let store = fleet.open(1);
        for name in names {
            put(&store, name, 1, "{}");
            store.execute("UPDATE products SET expires_at = 1000 WHERE id = ?1", [name]).unwrap();
        }
    };
    let stragglers: Vec<String> = (0..8).map(|n| format!("gone-{n}")).collect();
    revive(&fleet, &stragglers);
    // Sixteen shards: no owner sees more than three in one of them.
    let summary = run(&fleet, 1);
    assert_eq!((number(&summary, "mismatches"), number(&summary, "repaired")), (8, 3), "{summary}");
    let (planned, repairs, deletes, reasons) = plan(&fleet);
    assert_eq!((repairs, deletes, reasons), (5, 5, vec!["target_brake".to_owned()]));
    assert_eq!(planned, summary["run"].as_str().unwrap());
    let shown = json(&fleet, &["show", &planned], 0);
    let outcomes: Vec<&str> =
        shown["items"].as_array().unwrap().iter().map(|item| item["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == "planned").count(), 5, "{outcomes:?}");

    restart(&mut fleet);
    let summary = run(&fleet, 1);
    assert_eq!((number(&summary, "mismatches"), number(&summary, "repaired")), (5, 0), "{summary}");
    let (planned, repairs, ..) = plan(&fleet);
    assert_eq!(repairs, 5);
    assert_eq!(number(&json(&fleet, &["approve", &planned, "--deletes", "5"], 0), "repaired"), 5);
    fleet.assert_all("after approval", &expected);
    assert_eq!(run(&fleet, 0)["verdict"], "in_sync");

    // The day's allowance is used up all the same, and what was approved was not taken from it.
    revive(&fleet, &["gone-9".to_owned()]);
    let summary = run(&fleet, 1);
    assert_eq!((number(&summary, "mismatches"), number(&summary, "repaired")), (1, 0), "{summary}");
    let (planned, ..) = plan(&fleet);
    assert_eq!(number(&json(&fleet, &["approve", &planned, "--yes"], 0), "repaired"), 1);
    fleet.assert_all("after another approval", &expected);
}

#[test]
fn a_key_that_something_writes_back_is_held_after_three_repairs_until_it_is_found_equal() {
    let mut expected = rows(60);
    let mut fleet = Fleet::builder().setting("settle", "50ms").rows(&expected).start();
    fleet.passes_until_in_sync(1);
    let key = "key-007";
    let newer = "{\"newer\":true}";
    let update = |fleet: &Fleet, expected: &mut Contents, version: i64| {
        (0..2).for_each(|node| put(&fleet.open(node), key, version, newer));
        expected.insert(key.to_owned(), (version, newer.to_owned()));
    };
    let write_back = |fleet: &Fleet| put(&fleet.open(2), key, 1, "{\"n\":7}");
    update(&fleet, &mut expected, 2);
    for round in 0..3 {
        assert_eq!(number(&run(&fleet, 0), "repaired"), 1, "round {round}");
        fleet.assert_all("repaired", &expected);
        write_back(&fleet);
        if round == 1 {
            restart(&mut fleet);
        }
    }
    for round in 0..2 {
        let summary = run(&fleet, 1);
        let told = ["mismatches", "held", "repaired"].map(|name| number(&summary, name));
        assert_eq!(told, [1, 1, 0], "round {round}: {summary}");
        let id = summary["run"].as_str().unwrap();
        let shown = json(&fleet, &["show", id], 0);
        let item = &shown["items"][0];
        assert_eq!((&item["outcome"], &item["detail"]), (&"held".into(), &"flapping".into()), "{item}");
        assert_eq!((&item["node"], &item["cause"]), (&"node-c".into(), &"missed_update".into()), "{item}");
        let text = fleet.cli(&["show", id]).stdout;
        assert!(text.contains("hint: find out what writes this key back"), "{text}");
        let explained = fleet.cli(&["explain", "products", key]);
        assert!(explained.stdout.contains("held (flapping); hint: "), "{explained:?}");
        assert_eq!(fleet.contents(2)[key], (1, "{\"n\":7}".to_owned()), "it is left alone");
        restart(&mut fleet);
    }
    // Approved, it is written once more, and starts over.
    let (planned, repairs, deletes, reasons) = plan(&fleet);
    assert_eq!((repairs, deletes, reasons), (1, 0, vec!["flapping".to_owned()]));
    assert_eq!(number(&json(&fleet, &["approve", &planned], 0), "repaired"), 1);
    fleet.assert_all("after approval", &expected);
    for _ in 0..3 {
        write_back(&fleet);
        assert_eq!(number(&run(&fleet, 0), "repaired"), 1);
    }
    write_back(&fleet);
    assert_eq!(number(&run(&fleet, 1), "held"), 1);
    // Whatever wrote it back has stopped: a pass finds it equal, and the next difference is repaired.
    put(&fleet.open(2), key, 2, newer);
    assert_eq!(run(&fleet, 0)["verdict"], "in_sync");
    assert!(!fleet.cli(&["explain", "products", key]).stdout.contains("flapping);"));
    update(&fleet, &mut expected, 3);
    assert_eq!(number(&run(&fleet, 0), "repaired"), 1);
    fleet.assert_all("at the end", &expected);
}

#[test]
fn a_store_that_does_not_take_a_document_as_it_is_is_never_written_to() {
    let expected = rows(60);
    let fleet = Fleet::builder().setting("settle", "50ms").rows(&expected).start();
    fleet.passes_until_in_sync(1);
    fleet
        .open(2)
        .execute_batch(
            "CREATE TRIGGER mangle AFTER UPDATE OF body ON products
             BEGIN UPDATE products SET body = '{\"mangled\":1}' WHERE id = new.id; END",
        )
        .unwrap();
    (0..2).for_each(|node| put(&fleet.open(node), "key-007", 2, "{}"));
    let before = fleet.contents(2);
    for _ in 0..2 {
        let summary = run(&fleet, 1);
        assert_eq!((number(&summary, "mismatches"), number(&summary, "repaired")), (1, 0), "{summary}");
        let shown = json(&fleet, &["show", summary["run"].as_str().unwrap()], 0);
        let item = &shown["items"][0];
        assert_eq!((&item["outcome"], &item["detail"]), (&"held".into(), &"incomparable".into()), "{item}");
        assert_eq!(fleet.contents(2), before);
    }
    // Approved, it is refused all the same, as long as the store changes it.
    let (planned, repairs, _, reasons) = plan(&fleet);
    assert_eq!((repairs, reasons), (1, vec!["incomparable".to_owned()]));
    let approved = json(&fleet, &["approve", &planned], 1);
    assert_eq!((number(&approved, "repaired"), number(&approved, "refused")), (0, 1), "{approved}");
    assert_eq!(fleet.contents(2), before);
    fleet.open(2).execute_batch("DROP TRIGGER mangle").unwrap();
    assert_eq!(number(&run(&fleet, 0), "repaired"), 1, "the pass finds by itself that it was mended");
}
