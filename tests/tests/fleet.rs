//! Three agents over sixteen shards: who exchanges what, how often, and what happens when one of them is gone.

#![allow(clippy::unwrap_used, reason = "all of this file is tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use selfsame_tests::{Contents, Fleet, Signal, open_store, put, wait};
use serde_json::Value;

const SHARDS: usize = 16;

/// So many keys that each shard has some.
const KEYS: usize = 320;

fn rows() -> Contents {
    (0..KEYS).map(|n| (format!("key-{n:03}"), (1, format!("{{\"n\":{n}}}")))).collect()
}

/// Writes a newer version of every `every`-th key to all the named nodes, and to the expected contents.
fn update(fleet: &Fleet, nodes: &[usize], every: usize, version: i64, expected: &mut Contents) -> usize {
    let keys: Vec<String> = expected.keys().step_by(every).cloned().collect();
    let body = format!("{{\"version\":{version}}}");
    for node in nodes {
        let mut store = fleet.open(*node);
        let transaction = store.transaction().unwrap();
        keys.iter().for_each(|key| put(&transaction, key, version, &body));
        transaction.commit().unwrap();
    }
    expected.extend(keys.iter().map(|key| (key.clone(), (version, body.clone()))));
    keys.len()
}

/// A run or a slot, and a shard.
type Place = (Vec<u8>, i64);

/// What the agents' journals say of exchanges. All agents must have ended.
struct Books {
    /// (run, shard) → who wrote a result of it down, and the verdict.
    results: BTreeMap<Place, Vec<(String, String)>>,
    /// (slot, shard) → for each voter that recorded a completion: when, and as what.
    completions: BTreeMap<Place, Vec<(i64, String)>>,
}

impl Books {
    /// Of all runs on request; what was scheduled before them is not counted here.
    fn read(fleet: &Fleet) -> Books {
        let mut books = Books { results: BTreeMap::new(), completions: BTreeMap::new() };
        for agent in 0..fleet.count() {
            let (journal, _folder) = fleet.journal(agent);
            let mut results = journal
                .prepare(
                    "SELECT r.run, r.shard, r.owner, r.verdict FROM shard_result r JOIN run USING (run) \
                     WHERE substr(run.slot, 1, 1) = x'01'",
                )
                .unwrap();
            let results = results
                .query_map([], |row| Ok(((row.get(0)?, row.get(1)?), (row.get(2)?, row.get(3)?))))
                .unwrap();
            for result in results {
                let (place, result) = result.unwrap();
                books.results.entry(place).or_default().push(result);
            }
            let mut completions = journal
                .prepare("SELECT slot, shard, at, verdict FROM completion WHERE substr(slot, 1, 1) = x'01'")
                .unwrap();
            let completions = completions
                .query_map([], |row| Ok(((row.get(0)?, row.get(1)?), (row.get(2)?, row.get(3)?))))
                .unwrap();
            for completion in completions {
                let (place, completion) = completion.unwrap();
                books.completions.entry(place).or_default().push(completion);
            }
        }
        books
    }

    /// Every shard of every run has one result in all journals together, and every voter recorded the same
    /// completion of every slot.
    fn assert_once(&self, runs: usize, voters: usize) {
        let found: BTreeSet<&Vec<u8>> = self.results.keys().map(|(run, _)| run).collect();
        assert_eq!(found.len(), runs, "runs in the journals");
        assert_eq!(self.results.len(), runs * SHARDS, "shards of runs in the journals");
        for ((run, shard), results) in &self.results {
            assert_eq!(results.len(), 1, "shard {shard} of run {run:02x?} has several results: {results:?}");
        }
        assert_eq!(self.completions.len(), runs * SHARDS, "completed slots");
        for ((slot, shard), completions) in &self.completions {
            assert_eq!(completions.len(), voters, "shard {shard} of slot {slot:02x?}: {completions:?}");
            let different: BTreeSet<_> = completions.iter().collect();
            assert_eq!(
                different.len(),
                1,
                "shard {shard} of slot {slot:02x?} was completed twice: {different:?}"
            );
        }
    }
}

/// Repairs that a store has seen: the marker of each, and how often the change table has it. Panics if one repair is
/// there twice.
fn echoes(fleet: &Fleet, node: usize) -> usize {
    let store = open_store(&fleet.store(node));
    let twice: i64 = store
        .query_row(
            "SELECT count(*) FROM (SELECT origin FROM _selfsame_changes WHERE origin IS NOT NULL \
             GROUP BY origin HAVING count(*) > 1)",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(twice, 0, "repairs that were applied twice to {}", fleet.node(node));
    let count = |sql: &str| store.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    let origins = count("SELECT count(*) FROM _selfsame_origin");
    let echoes = count("SELECT count(*) FROM _selfsame_changes WHERE origin IS NOT NULL");
    assert_eq!(origins, echoes, "repairs and their echoes on {}", fleet.node(node));
    usize::try_from(echoes).unwrap()
}

fn number(summary: &Value, name: &str) -> usize {
    usize::try_from(summary[name].as_u64().unwrap_or_else(|| panic!("no {name} in {summary}"))).unwrap()
}

#[test]
fn each_slot_is_completed_once_and_the_shards_are_shared() {
    const RUNS: usize = 6;
    let mut expected = rows();
    let mut fleet = Fleet::builder().rows(&expected).start();
    let (mut repaired, mut injected) = (0, 0);
    for run in 0..RUNS {
        let nodes: Vec<usize> = (0..3).filter(|node| *node != run % 3).collect();
        injected += update(&fleet, &nodes, 5, 2 + run as i64, &mut expected);
        let summary = fleet.pass();
        assert_eq!(summary["verdict"], "in_sync", "{summary}");
        assert_eq!(number(&summary, "shards"), SHARDS);
        repaired += number(&summary, "repaired");
        fleet.assert_all(&format!("after run {run}"), &expected);
    }
    assert_eq!(repaired, injected);
    for agent in 0..3 {
        assert!(fleet.terminate(agent).success(), "agent {} drains", fleet.name(agent));
    }
    let books = Books::read(&fleet);
    books.assert_once(RUNS, 3);
    let mut owned: BTreeMap<&str, usize> = BTreeMap::new();
    for results in books.results.values() {
        *owned.entry(&results[0].0).or_default() += 1;
    }
    assert_eq!(owned.values().sum::<usize>(), RUNS * SHARDS);
    assert_eq!(owned.keys().copied().collect::<Vec<_>>(), ["a", "b", "c"], "who owns shards: {owned:?}");
    assert!(owned.values().all(|shards| shards % RUNS == 0), "ownership moved though nobody left: {owned:?}");
    assert_eq!((0..3).map(|node| echoes(&fleet, node)).sum::<usize>(), injected);
}

#[test]
fn runs_at_the_same_time_do_not_repair_twice() {
    let mut expected = rows();
    let mut fleet = Fleet::builder().rows(&expected).start();
    let mut injected = 0;
    for round in 0..3 {
        injected += update(&fleet, &[0, 2], 7, 2 + round, &mut expected);
        let arguments = ["run", "--scan", "--wait", "--output", "json"];
        let running: Vec<_> = (0..3).map(|_| fleet.cli_start(&arguments)).collect();
        for run in running {
            let answer = run.answer(Duration::from_secs(60));
            assert!(matches!(answer.code, Some(0..=2)), "{answer:?}");
        }
        // Runs supersede one another's claims; what one gave up another has, or the next.
        fleet.passes_until_in_sync(2);
        fleet.assert_all("after three runs at the same time", &expected);
    }
    (0..3).for_each(|agent| fleet.kill(agent));
    assert_eq!((0..3).map(|node| echoes(&fleet, node)).sum::<usize>(), injected);
}

#[test]
fn an_agent_killed_while_it_scans_leaves_the_others_to_finish() {
    let mut expected = rows();
    let mut fleet = Fleet::builder().rows(&expected).start();
    fleet.passes_until_in_sync(1);
    fleet.kill(2);
    fleet.start_with(2, &[("FAILPOINTS", "index::page_stored=pause")]);
    let injected = update(&fleet, &[0], 4, 2, &mut expected);
    let mut run = fleet.cli_start(&["run", "--scan", "--wait", "--output", "json"]);
    let scanning = |status: &Value| {
        let replicas = status["collections"][0]["replicas"].as_array().cloned().unwrap_or_default();
        replicas.iter().any(|replica| replica["node"] == "node-c" && !replica["scanning"].is_null())
    };
    wait::until(Duration::from_secs(30), "agent c scans", || {
        scanning(&fleet.cli(&["status", "--output", "json"]).json()).then_some(())
    });
    assert!(!run.has_ended(), "a run waits for a scan");
    fleet.kill(2);
    let answer = run.answer(Duration::from_secs(60));
    let summary = answer.json();
    assert_eq!(answer.code, Some(2), "{answer:?}");
    assert_eq!(summary["verdict"], "unknown", "{summary}");
    assert_eq!(summary["unknown"]["unreachable"], SHARDS, "{summary}");
    assert!(answer.stderr.contains("agent c"), "who was silent is said: {}", answer.stderr);
    assert_eq!(number(&summary, "repaired"), injected, "the other two were made the same: {summary}");
    selfsame_tests::assert_same("node-b while c is dead", &fleet.contents(1), &expected);
    fleet.start(2);
    fleet.passes_until_in_sync(1);
    fleet.assert_all("after c is back", &expected);
}

#[test]
fn claims_of_a_dead_owner_are_superseded() {
    let mut expected = rows();
    let mut fleet = Fleet::builder().rows(&expected).setting("settle", "4s").start();
    let injected = update(&fleet, &[0], 2, 2, &mut expected);
    let run = fleet.cli_start(&["run", "--scan", "--wait", "--output", "json"]);
    // Between the claim and the end of `settle`: it has claimed, and written nothing.
    wait::until(Duration::from_secs(30), "agent c claims its shards", || {
        let copy = selfsame_tests::journal_copy(&fleet.data(2));
        let claimed = |(journal, _folder): (rusqlite::Connection, _)| {
            journal
                .query_row("SELECT count(*) FROM fence WHERE own_counter > 0", [], |row| row.get::<_, i64>(0))
                .ok()
        };
        copy.ok().and_then(claimed).filter(|claimed| *claimed > 0)
    });
    fleet.kill(2);
    let answer = run.answer(Duration::from_secs(60));
    let summary = answer.json();
    assert_eq!(answer.code, Some(2), "{answer:?}");
    assert_eq!(summary["verdict"], "unknown", "{summary}");
    assert_eq!(number(&summary, "shards"), SHARDS);
    selfsame_tests::assert_same("node-b while c is dead", &fleet.contents(1), &expected);
    fleet.start(2);
    fleet.passes_until_in_sync(2);
    fleet.assert_all("after c is back", &expected);
    (0..3).for_each(|agent| fleet.kill(agent));
    assert_eq!((0..3).map(|node| echoes(&fleet, node)).sum::<usize>(), 2 * injected);
    let books = Books::read(&fleet);
    for ((run, shard), results) in &books.results {
        assert_eq!(results.len(), 1, "shard {shard} of run {run:02x?} has several results: {results:?}");
    }
}

/// Stops an agent, looks at a run without it, and lets it go on.
fn a_stopped_agent_is_unknown(stopped: usize) {
    let mut expected = rows();
    let fleet = Fleet::builder().rows(&expected).start();
    fleet.passes_until_in_sync(1);
    let others: Vec<usize> = (0..3).filter(|node| *node != stopped).collect();
    let injected = update(&fleet, &others[..1], 4, 2, &mut expected);
    fleet.signal(stopped, Signal::Stop);
    let answer =
        fleet.cli_start(&["run", "--scan", "--wait", "--output", "json"]).answer(Duration::from_secs(60));
    assert_eq!(answer.code, Some(2), "{answer:?}");
    let summary = answer.json();
    assert_eq!(summary["verdict"], "unknown", "{summary}");
    assert_eq!(summary["unknown"]["unreachable"], SHARDS, "{summary}");
    assert_eq!(number(&summary, "repaired"), injected, "{summary}");
    selfsame_tests::assert_same("the node of the other", &fleet.contents(others[1]), &expected);
    fleet.signal(stopped, Signal::Continue);
    // While the agents come to know of each other again, two may claim one shard, and it stays unknown: never wrong.
    fleet.passes_until_in_sync(3);
    fleet.assert_all("after it goes on", &expected);
    assert_eq!((0..3).map(|node| echoes(&fleet, node)).sum::<usize>(), 2 * injected);
}

#[test]
fn a_stopped_agent_is_unknown_and_the_others_are_repaired() {
    a_stopped_agent_is_unknown(2);
}

#[test]
fn a_stopped_agent_that_the_command_line_asks_first_is_passed_over() {
    a_stopped_agent_is_unknown(0);
}

#[test]
fn an_agent_stopped_in_the_middle_of_a_run_does_not_hold_it_up() {
    let mut expected = rows();
    let fleet = Fleet::builder().rows(&expected).setting("settle", "2s").start();
    fleet.passes_until_in_sync(1);
    let injected = update(&fleet, &[0], 4, 2, &mut expected);
    let run = fleet.cli_start(&["run", "--wait", "--scan", "--output", "json"]);
    wait::until(Duration::from_secs(30), "agent b has begun its part of the run", || {
        let (journal, _folder) = selfsame_tests::journal_copy(&fleet.data(1)).ok()?;
        let open = "SELECT count(*) FROM run WHERE finished IS NULL";
        journal.query_row(open, [], |row| row.get::<_, i64>(0)).ok().filter(|runs| *runs > 0)
    });
    fleet.signal(2, Signal::Stop);
    let answer = run.answer(Duration::from_secs(100));
    let summary = answer.json();
    assert_ne!(summary["verdict"], "in_sync", "{summary}");
    selfsame_tests::assert_same("node-b while c stands still", &fleet.contents(1), &expected);
    fleet.signal(2, Signal::Continue);
    fleet.passes_until_in_sync(2);
    fleet.assert_all("after c goes on", &expected);
    assert_eq!((0..3).map(|node| echoes(&fleet, node)).sum::<usize>(), 2 * injected);
}

#[test]
fn agents_restarted_one_after_the_other_join_again() {
    let mut expected = rows();
    let mut fleet = Fleet::builder().rows(&expected).start();
    fleet.passes_until_in_sync(1);
    for agent in 0..3 {
        assert!(fleet.terminate(agent).success(), "agent {} drains", fleet.name(agent));
        update(&fleet, &[agent], 9, 2 + agent as i64, &mut expected);
        fleet.start(agent);
        fleet.passes_until_in_sync(1);
        fleet.assert_all(&format!("after {} was restarted", fleet.name(agent)), &expected);
    }
    let status = fleet.cli(&["status", "--output", "json"]).json();
    assert_eq!(status["agents"].as_array().map(Vec::len), Some(3), "{status}");
    assert_eq!(status["silent"].as_array().map(Vec::len), Some(0), "{status}");
}
