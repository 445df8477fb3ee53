//! `kill -9`, at named points and at random moments: nothing is lost, nothing is repaired twice, and no run says
//! `in_sync` of files that differ.

#![allow(clippy::unwrap_used, reason = "all of this file is tests")]
#![allow(clippy::print_stdout, reason = "a failing seed is printed with the line that replays it")]

use std::env;
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use selfsame_tests::{Contents, Fleet, Writer, WriterSettings, put, wait};
use serde_json::Value;

/// Two pages of a scan, which has a thousand rows.
const KEYS: usize = 1_300;

/// Runs in a row after a crash. The first may lack the agent that just came back; a crash leaves the next one
/// nothing to do but to finish.
const PASSES_MAX: usize = 5;

/// A process that does the same for so many looks is held.
const STALLED_LOOKS: usize = 12;

fn rows() -> Contents {
    (0..KEYS).map(|n| (format!("key-{n:04}"), (1, format!("{{\"n\":{n}}}")))).collect()
}

/// The agent that is killed.
const VICTIM: usize = 2;

/// Makes node c, and a little of node a, differ: lost updates, lost inserts, silent changes. How many rows there
/// have to be written on each node.
fn diverge(fleet: &Fleet, expected: &mut Contents) -> [i64; 3] {
    let keys: Vec<String> = expected.keys().cloned().collect();
    let [mut repairs_a, mut repairs_c] = [0, 0];
    let stores: Vec<Connection> = (0..3).map(|node| fleet.open(node)).collect();
    for (place, key) in keys.iter().enumerate() {
        let body = format!("{{\"new\":{place}}}");
        match place % 20 {
            // An update that node c did not get.
            0 => {
                [0, 1].iter().for_each(|node| put(&stores[*node], key, 2, &body));
                expected.insert(key.clone(), (2, body));
                repairs_c += 1;
            }
            // Another content at the same version: two of three are right.
            7 => {
                put(&stores[2], key, 1, &body);
                repairs_c += 1;
            }
            // An update that node a did not get.
            13 => {
                [1, 2].iter().for_each(|node| put(&stores[*node], key, 2, &body));
                expected.insert(key.clone(), (2, body));
                repairs_a += 1;
            }
            _ => {}
        }
    }
    for n in 0..40 {
        let (key, body) = (format!("new-{n}"), format!("{{\"n\":{n}}}"));
        [0, 1].iter().for_each(|node| put(&stores[*node], &key, 1, &body));
        expected.insert(key, (1, body));
        repairs_c += 1;
    }
    [repairs_a, 0, repairs_c]
}

/// What the change table and the origin table of a node say of repairs: how many there were. Panics if one was
/// applied twice.
fn repairs_applied(fleet: &Fleet, node: usize) -> i64 {
    let store = fleet.open(node);
    let count = |sql: &str| store.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    let echoes = count("SELECT count(*) FROM _selfsame_changes WHERE origin IS NOT NULL");
    let markers = count("SELECT count(DISTINCT origin) FROM _selfsame_changes WHERE origin IS NOT NULL");
    let repairs = count("SELECT count(DISTINCT repair) FROM _selfsame_origin");
    assert_eq!((echoes, repairs), (markers, markers), "a repair was applied twice on {}", fleet.node(node));
    repairs
}

/// Runs until one says `in_sync`; whatever says so must be right.
fn passes_until_in_sync(fleet: &Fleet, what: &str, expected: &Contents) {
    let mut summaries = Vec::new();
    for _ in 0..PASSES_MAX {
        let summary = fleet.pass();
        if summary["verdict"] == "in_sync" {
            fleet.assert_all(&format!("{what}: in sync, says {summary}"), expected);
            return;
        }
        summaries.push(summary);
    }
    let last = summaries.last().and_then(|summary| summary["run"].as_str()).unwrap_or_default();
    let shown = fleet.cli(&["show", last]).stdout;
    panic!("{what}: not in sync after {PASSES_MAX} runs: {summaries:#?}\n{shown}");
}

/// What an agent's journal says of intents, while the agent is held: all, and those that have an outcome.
fn intents(fleet: &Fleet, agent: usize) -> Option<(i64, i64)> {
    let (journal, _folder) = selfsame_tests::journal_copy(&fleet.data(agent)).ok()?;
    journal
        .query_row("SELECT count(*), count(outcome) FROM intent", [], |row| Ok((row.get(0)?, row.get(1)?)))
        .ok()
}

fn repairs_in_store(fleet: &Fleet) -> i64 {
    fleet.open(VICTIM).query_row("SELECT count(*) FROM _selfsame_origin", [], |row| row.get(0)).unwrap()
}

/// Waits until the victim's scan does not move any more.
fn held_in_scan(fleet: &Fleet, at: &str) {
    let mut looks: Vec<Value> = Vec::new();
    wait::until(Duration::from_secs(60), &format!("agent c is held at {at}"), || {
        let status = fleet.cli(&["status", "--output", "json"]).json();
        let replicas = status["collections"][0]["replicas"].as_array().cloned().unwrap_or_default();
        let victim = replicas.into_iter().find(|replica| replica["node"] == "node-c")?;
        let moved = looks.last().is_some_and(|last| *last != victim) || victim["scanning"].is_null();
        if moved {
            looks.clear();
        }
        looks.push(victim);
        (looks.len() >= STALLED_LOOKS).then_some(())
    });
}

/// Holds agent c at a named point, kills it there, and looks at what follows.
fn killed_at(point: &str, action: &str, held: impl Fn(&Fleet)) {
    println!("killed at {point}={action}");
    let mut expected = rows();
    let mut fleet = Fleet::builder().rows(&expected).start();
    passes_until_in_sync(&fleet, "before", &expected);
    fleet.kill(VICTIM);
    fleet.start_with(VICTIM, &[("FAILPOINTS", &format!("{point}={action}"))]);
    let differ = diverge(&fleet, &mut expected);
    let run = fleet.cli_start(&["run", "--scan", "--wait", "--output", "json"]);
    held(&fleet);
    fleet.kill(VICTIM);
    let answer = run.answer(Duration::from_secs(60));
    assert_ne!(answer.code, Some(0), "{point}: in sync without agent c: {answer:?}");
    fleet.start(VICTIM);
    passes_until_in_sync(&fleet, point, &expected);
    let repairs: Vec<i64> = (0..3).map(|node| repairs_applied(&fleet, node)).collect();
    assert_eq!(repairs, differ, "{point}: repairs on each node");
    fleet.kill(VICTIM);
    let (intents, settled) =
        intents(&fleet, VICTIM).expect("the journal of an agent that is gone can be read");
    assert_eq!(intents, settled, "{point}: intents that nobody settled");
    assert!(intents >= differ[VICTIM], "{point}: {intents} intents for {} repairs", differ[VICTIM]);
}

#[test]
fn a_kill_between_the_pages_of_a_scan_loses_nothing() {
    killed_at("index::page_stored", "1*off->pause", |fleet| held_in_scan(fleet, "index::page_stored"));
}

#[test]
fn a_kill_before_a_scan_is_finished_loses_nothing() {
    killed_at("index::before_finish", "pause", |fleet| held_in_scan(fleet, "index::before_finish"));
}

#[test]
fn a_kill_as_a_scan_is_finished_loses_nothing() {
    killed_at("index::finished", "pause", |fleet| held_in_scan(fleet, "index::finished"));
}

#[test]
fn a_kill_between_intent_and_write_loses_nothing() {
    killed_at("journal::intent_written", "pause", |fleet| {
        wait::until(Duration::from_secs(60), "an intent is written", || {
            intents(fleet, VICTIM).filter(|(intents, settled)| intents > settled)
        });
        assert_eq!(repairs_in_store(fleet), 0, "an intent comes before its write");
    });
}

#[test]
fn a_kill_between_write_and_outcome_repairs_nothing_twice() {
    killed_at("agent::store_written", "pause", |fleet| {
        wait::until(Duration::from_secs(60), "a repair is in the store", || {
            (repairs_in_store(fleet) > 0).then_some(())
        });
        let (intents, settled) = intents(fleet, VICTIM).expect("a held agent's journal can be copied");
        assert!(intents > 0 && settled == 0, "{settled} of {intents} intents have an outcome");
    });
}

#[test]
fn a_kill_after_an_outcome_repairs_nothing_twice() {
    killed_at("journal::outcome_written", "pause", |fleet| {
        wait::until(Duration::from_secs(60), "an outcome is written", || {
            intents(fleet, VICTIM).filter(|(_, settled)| *settled > 0)
        });
    });
}

#[test]
fn a_kill_after_the_outcome_of_a_deletion_leaves_no_vote_for_it() {
    let expected = rows();
    // Deletions are ordered by times alone.
    let version = "{ field: updated_at, unit: ms }";
    let mut fleet = Fleet::builder().rows(&expected).setting("version", version).start();
    passes_until_in_sync(&fleet, "before", &expected);
    fleet.kill(VICTIM);
    fleet.start_with(VICTIM, &[("FAILPOINTS", "journal::outcome_written=pause")]);
    let gone: Vec<String> = expected.keys().step_by(200).cloned().collect();
    for (node, key) in (0..2).flat_map(|node| gone.iter().map(move |key| (node, key))) {
        fleet.open(node).execute("DELETE FROM products WHERE id = ?1", [key]).unwrap();
    }
    let run = fleet.cli_start(&["run", "--scan", "--wait", "--output", "json"]);
    wait::until(Duration::from_secs(60), "the outcome of a deletion is written", || {
        intents(&fleet, VICTIM).filter(|(_, settled)| *settled > 0)
    });
    fleet.kill(VICTIM);
    run.answer(Duration::from_secs(60));
    fleet.start(VICTIM);
    let expected = expected.into_iter().filter(|(key, _)| !gone.contains(key)).collect();
    passes_until_in_sync(&fleet, "after", &expected);
    fleet.kill(VICTIM);
    let (journal, _folder) = fleet.journal(VICTIM);
    let sql = "SELECT count(*) FROM tombstone WHERE node = 'node-c'";
    let memories: u32 = journal.query_row(sql, [], |row| row.get(0)).unwrap();
    assert_eq!(memories, 0, "what a repair deleted was no client's deletion");
}

/// How often an agent is killed at random.
const KILLS: usize = 50;

/// After so many of them the writer pauses, and all is made the same.
const KILLS_BETWEEN_CHECKS: usize = 10;

/// The longest time between the start of a run and a kill: a run takes about half of it.
const KILL_WITHIN_MS: u64 = 900;

/// Rows that only the test changes, each once and silently.
const SILENT: usize = 400;

#[test]
fn fifty_kills_at_random_moments_lose_nothing() {
    let seed = env::var("SELFSAME_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(20);
    println!(
        "seed {seed}; to replay: SELFSAME_SEED={seed} cargo test -p selfsame-tests --test crash fifty_kills"
    );
    let mut random = fastrand::Rng::with_seed(seed);
    let rows: Contents =
        (0..SILENT).map(|n| (format!("silent-{n:03}"), (1, format!("{{\"n\":{n}}}")))).collect();
    let mut fleet = Fleet::builder().rows(&rows).start();
    let settings = WriterSettings {
        seed: random.u64(..),
        prefix: "key-".to_owned(),
        keys: 600,
        writes_per_second: 200,
        lost_one_in: 10,
    };
    let writer = Writer::start(&fleet, settings, rows);
    let mut run = None;
    let mut silent = (0..SILENT).collect::<Vec<_>>();
    random.shuffle(&mut silent);
    let (mut in_sync, began) = (0, Instant::now());
    for kill in 1..=KILLS {
        for place in silent.drain(..SILENT / KILLS) {
            let node = random.usize(..fleet.count());
            put(&fleet.open(node), &format!("silent-{place:03}"), 1, "{\"silently\":\"changed\"}");
        }
        if run.as_mut().is_none_or(selfsame_tests::Running::has_ended) {
            run = Some(fleet.cli_start(&["run", "--scan", "--wait", "--output", "json"]));
        }
        let (victim, after) = (random.usize(..fleet.count()), random.u64(..KILL_WITHIN_MS));
        // The one wait here that is for a time: the moment is what is drawn.
        thread::sleep(Duration::from_millis(after));
        println!("kill {kill}: agent {} after {after} ms", fleet.name(victim));
        fleet.kill(victim);
        fleet.spawn(victim, &[]);
        if kill % KILLS_BETWEEN_CHECKS == 0 {
            (0..fleet.count()).for_each(|agent| fleet.wait_ready(agent));
            writer.pause();
            passes_until_in_sync(&fleet, &format!("after {kill} kills"), &writer.ledger());
            in_sync += 1;
            writer.resume();
        }
    }
    let (written, lost) = (writer.written(), writer.lost());
    let ledger = writer.stop();
    passes_until_in_sync(&fleet, "at the end", &ledger);
    let repairs: i64 = (0..3).map(|node| repairs_applied(&fleet, node)).sum();
    println!(
        "{KILLS} kills in {:?}: {written} writes, {lost} lost on one node, {repairs} repairs, {in_sync} times in sync before the end",
        began.elapsed()
    );
    assert!(lost > 100 && repairs > SILENT as i64, "{lost} lost writes and {repairs} repairs are no test");
}

#[test]
fn a_run_that_died_with_its_agents_is_abandoned_and_can_be_undone() {
    let mut expected = rows();
    let mut fleet = Fleet::builder().rows(&expected).start();
    fleet.kill(VICTIM);
    fleet.start_with(VICTIM, &[("FAILPOINTS", "journal::intent_written=pause")]);
    diverge(&fleet, &mut expected);
    let run = fleet.cli(&["run", "--scan"]).stdout.trim().to_owned();
    wait::until(Duration::from_secs(60), "a repair is under way", || {
        intents(&fleet, VICTIM).filter(|(all, settled)| all > settled)
    });
    let state = |fleet: &Fleet| {
        fleet.cli(&["show", &run, "--output", "json"]).json()["state"].as_str().unwrap().to_owned()
    };
    assert_eq!(state(&fleet), "running");
    (0..fleet.count()).for_each(|agent| fleet.kill(agent));
    (0..fleet.count()).for_each(|agent| fleet.start(agent));
    assert_eq!(state(&fleet), "abandoned");
    let listed = fleet.cli(&["runs"]).stdout;
    assert!(listed.lines().any(|line| line.contains(&run[..8]) && line.contains("(abandoned)")), "{listed}");
    let undone = fleet.cli(&["undo", &run, "--yes", "--output", "json"]);
    assert_eq!(undone.json()["unfinished"], false, "it repairs nothing any more: {undone:?}");
}
