//! Repairs under a client that writes the very keys that are compared: nothing false is repaired, and no write of
//! the client is lost.
//!
//! The client writes whole versions to one node after the other and keeps a log of what it did. Now and then it
//! leaves out one node: these are the divergences. A second client counts views in a column that is not compared,
//! on the nodes from which a repair would copy; so rows move between a confirm and its repair though the difference
//! stays, and the repair must notice.

#![allow(clippy::unwrap_used, reason = "all of this file is tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rusqlite::{Connection, params};
use selfsame_tests::{Contents, Fleet, open_store, put};

/// Between the two reads of a confirm: many times what the client needs to reach all nodes.
const SETTLE: Duration = Duration::from_millis(200);

/// Keys that are written all the time, and keys that are written now and then, whose divergences live longer.
const HOT_KEYS: usize = 240;
const COOL_KEYS: usize = 80;

/// Writes to all nodes in a second that the client tries, and that it must reach.
const RATE_TRIED: u32 = 900;
const RATE_MIN: f64 = 500.0;

/// What must have been seen for the test to have tested something.
const SEEN_MIN: u64 = 20;

/// Between the intent of a batch and its write in the store the agents wait a moment, so that clients come between
/// where nothing but the condition of the write keeps theirs.
const SLOW_REPAIRS: &str = "journal::intent_written=sleep(80)";

/// Repairs that the store itself must have refused because of a client that came between.
const REFUSED_BY_STORE_MIN: i64 = 5;

/// Passes while the client writes, at least; and how long they may take in all.
const PASSES_MIN: usize = 15;
const LOOK_WITHIN: Duration = Duration::from_secs(90);

const TABLE: &str = "CREATE TABLE products (id TEXT PRIMARY KEY NOT NULL, body TEXT NOT NULL, \
                     updated_at INTEGER NOT NULL, views INTEGER NOT NULL DEFAULT 0)";

/// A version of a key that one node was not sent.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Skipped {
    node: usize,
    id: String,
    version: i64,
}

/// What the clients did, and what they were told.
#[derive(Default)]
struct Log {
    /// What every file should have.
    ledger: Contents,
    /// Every version ever written: version → key.
    versions: BTreeMap<i64, String>,
    /// Every divergence ever made.
    skipped: BTreeSet<Skipped>,
    /// The nodes that miss the newest version of a key, by key.
    behind: BTreeMap<String, usize>,
    /// Versions that took longer than `SETTLE` to reach all nodes: those may be repaired before they arrive.
    slow: BTreeSet<i64>,
    /// Views counted: (node, key) → how many.
    views: BTreeMap<(usize, String), i64>,
}

struct Clients {
    log: Arc<Mutex<Log>>,
    stop: Arc<AtomicBool>,
    written: Arc<AtomicU64>,
    viewed: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
}

impl Clients {
    fn start(fleet: &Fleet, seed: u64, ledger: Contents) -> Clients {
        let versions = ledger.iter().map(|(id, (version, _))| (*version, id.clone())).collect();
        let log = Arc::new(Mutex::new(Log { ledger, versions, ..Log::default() }));
        let stop = Arc::new(AtomicBool::new(false));
        let (written, viewed) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let files: Vec<PathBuf> = (0..fleet.count()).map(|node| fleet.store(node)).collect();
        let writer = {
            let (log, stop, written, files) = (log.clone(), stop.clone(), written.clone(), files.clone());
            thread::spawn(move || write_all(&log, &stop, &written, &files, seed))
        };
        let viewer = {
            let (log, stop, viewed) = (log.clone(), stop.clone(), viewed.clone());
            thread::spawn(move || view_all(&log, &stop, &viewed, &files, seed.wrapping_add(1)))
        };
        Clients { log, stop, written, viewed, threads: vec![writer, viewer] }
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().expect("no client panicked")
    }

    fn stop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            thread.join().expect("no client panicked");
        }
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // A panic of a client is told by `stop`; here another one is under way.
        self.threads.drain(..).for_each(|thread| drop(thread.join()));
    }
}

/// Writes one version after the other, each to all nodes but those that it leaves out.
fn write_all(log: &Mutex<Log>, stop: &AtomicBool, written: &AtomicU64, files: &[PathBuf], seed: u64) {
    let stores: Vec<Connection> = files.iter().map(|path| open_store(path)).collect();
    let mut random = fastrand::Rng::with_seed(seed);
    let mut version =
        log.lock().expect("no client panicked").versions.keys().next_back().copied().unwrap_or(0);
    let (began, mut count) = (Instant::now(), 0_u32);
    while !stop.load(Ordering::SeqCst) {
        version += 1;
        let cool = random.u8(..20) == 0;
        let id = match cool {
            true => format!("cool-{:03}", random.usize(..COOL_KEYS)),
            false => format!("hot-{:03}", random.usize(..HOT_KEYS)),
        };
        // Once in a while a key that nobody has seen yet, so that inserts are missed too.
        let id = if random.u16(..400) == 0 { format!("new-{version:07}") } else { id };
        let body = format!("{{\"n\":{version},\"text\":\"{:016x}\"}}", random.u64(..));
        let loses = random.u8(..if id.starts_with("hot") { 20 } else { 3 }) == 0;
        let left_out = loses.then(|| random.usize(..stores.len()));
        if let Some(node) = left_out {
            // Before any node has it, so that no repair can be earlier than what it is about.
            let skipped = Skipped { node, id: id.clone(), version };
            log.lock().expect("no client panicked").skipped.insert(skipped);
        }
        let mut first_commit = None;
        for (node, store) in stores.iter().enumerate() {
            if left_out != Some(node) {
                put(store, &id, version, &body);
                first_commit.get_or_insert_with(Instant::now);
            }
        }
        let slow = first_commit.is_some_and(|first| first.elapsed() >= SETTLE);
        {
            let mut log = log.lock().expect("no client panicked");
            log.slow.extend(slow.then_some(version));
            log.versions.insert(version, id.clone());
            match left_out {
                Some(node) => log.behind.insert(id.clone(), node),
                None => log.behind.remove(&id),
            };
            log.ledger.insert(id, (version, body));
        }
        written.fetch_add(1, Ordering::SeqCst);
        count += 1;
        let due = Duration::from_secs(1) * count / RATE_TRIED;
        thread::sleep(due.saturating_sub(began.elapsed()));
    }
}

/// Counts views of keys that are behind somewhere, mostly where a repair would copy them from.
fn view_all(log: &Mutex<Log>, stop: &AtomicBool, viewed: &AtomicU64, files: &[PathBuf], seed: u64) {
    let stores: Vec<Connection> = files.iter().map(|path| open_store(path)).collect();
    let mut random = fastrand::Rng::with_seed(seed);
    while !stop.load(Ordering::SeqCst) {
        let behind: Vec<(String, usize)> = {
            let log = log.lock().expect("no client panicked");
            log.behind.iter().map(|(id, node)| (id.clone(), *node)).collect()
        };
        for (id, node) in behind {
            // Of equal documents the first node's is copied. A view there moves the winner; one on the node that is
            // behind makes the key move.
            let winner = usize::from(node == 0);
            let on = if random.u8(..40) == 0 { node } else { winner };
            let mut view = stores[on]
                .prepare_cached("UPDATE products SET views = views + 1 WHERE id = ?1")
                .expect("sql");
            let rows = view.execute([&id]).expect("a view can be counted");
            if rows > 0 {
                *log.lock().expect("no client panicked").views.entry((on, id)).or_default() += 1;
                viewed.fetch_add(1, Ordering::SeqCst);
            }
            thread::sleep(Duration::from_micros(300));
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// One change of a node's table, as its change table has it.
#[derive(Debug)]
struct Change {
    id: String,
    old_version: Option<i64>,
    origin: Option<String>,
}

fn changes(store: &Connection) -> Vec<Change> {
    let mut statement = store
        .prepare("SELECT k1, old_version, origin FROM _selfsame_changes WHERE op <> 'cut' ORDER BY seq")
        .unwrap();
    let change = |row: &rusqlite::Row<'_>| {
        Ok(Change { id: row.get(0)?, old_version: row.get(1)?, origin: row.get(2)? })
    };
    statement.query_map([], change).unwrap().collect::<Result<_, _>>().unwrap()
}

/// What a node's change table says of each key: the version before each change, and in the end the one that is
/// there. Panics if a version ever went back. Gives each repair with what it replaced and what it wrote.
fn repairs_of(fleet: &Fleet, node: usize) -> Vec<(String, Option<i64>, i64, String)> {
    let store = fleet.open(node);
    let contents = fleet.contents(node);
    let mut of_key: BTreeMap<String, Vec<Change>> = BTreeMap::new();
    for change in changes(&store) {
        of_key.entry(change.id.clone()).or_default().push(change);
    }
    let mut repairs = Vec::new();
    for (id, changes) in of_key {
        let last = contents[&id].0;
        let after = changes.iter().skip(1).map(|change| change.old_version);
        let after: Vec<Option<i64>> = after.chain([Some(last)]).collect();
        for (change, after) in changes.iter().zip(after) {
            let after = after.unwrap_or_else(|| panic!("{id} on node {node} was inserted twice: {change:?}"));
            assert!(
                change.old_version.is_none_or(|old| old <= after),
                "version of {id} on node {node} went back to {after}: {change:?}"
            );
            if let Some(origin) = &change.origin {
                repairs.push((id.clone(), change.old_version, after, origin.clone()));
            }
        }
    }
    repairs
}

fn views(fleet: &Fleet, node: usize) -> BTreeMap<String, i64> {
    let store = fleet.open(node);
    let mut statement = store.prepare("SELECT id, views FROM products").unwrap();
    let rows = statement.query_map(params![], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    rows.collect::<Result<_, _>>().unwrap()
}

#[test]
fn no_false_repair_and_no_lost_write_under_a_client_that_writes_the_same_keys() {
    let seed =
        env::var("SELFSAME_TESTS_SEED").ok().map_or(20_260_401, |seed| seed.parse().expect("a number"));
    println!(
        "seed {seed}; again: SELFSAME_TESTS_SEED={seed} cargo test -p selfsame-tests --test live_writer"
    );
    let hot = (0..HOT_KEYS).map(|key| format!("hot-{key:03}"));
    let keys = hot.chain((0..COOL_KEYS).map(|key| format!("cool-{key:03}")));
    let rows: Contents = keys.zip(1..).map(|(id, version)| (id, (version, "{}".to_owned()))).collect();
    let settle = format!("{}ms", SETTLE.as_millis());
    let mut fleet = Fleet::builder().table(TABLE).setting("settle", &settle).rows(&rows).prepare();
    for agent in 0..fleet.count() {
        fleet.spawn(agent, &[("FAILPOINTS", SLOW_REPAIRS)]);
    }
    (0..fleet.count()).for_each(|agent| fleet.wait_ready(agent));
    fleet.passes_until_in_sync(1);

    let mut clients = Clients::start(&fleet, seed, rows);
    let began = Instant::now();
    let (mut transient, mut changed, mut passes) = (0, 0, 0);
    let mut outcomes: BTreeMap<String, u64> = BTreeMap::new();
    // (node, key, run) of repairs that an agent reported as written and read back.
    let mut reported: BTreeSet<(String, String, String)> = BTreeSet::new();
    let rate = loop {
        let summary = fleet.pass();
        passes += 1;
        transient += summary["transient"].as_u64().expect("a count");
        let run = summary["run"].as_str().expect("an id");
        let shown = fleet.cli(&["show", run, "--output", "json"]).json();
        assert_eq!(shown["items_truncated"], false);
        for item in shown["items"].as_array().expect("items") {
            let text = |name: &str| item[name].as_str().expect("a text").to_owned();
            *outcomes.entry(text("outcome")).or_default() += 1;
            changed += u64::from(item["outcome"] == "changed");
            if item["outcome"] == "repaired" {
                let key: String = serde_json::from_str(&text("key")).expect("a key is JSON");
                reported.insert((text("node"), key, run.to_owned()));
            }
        }
        let seen = transient >= SEEN_MIN && changed >= SEEN_MIN;
        if (seen && passes >= PASSES_MIN) || began.elapsed() > LOOK_WITHIN {
            break clients.written.load(Ordering::SeqCst) as f64 / began.elapsed().as_secs_f64();
        }
    };
    clients.stop();
    let log = clients.log();
    println!(
        "{rate:.0} writes/s to all nodes and {:.0} views/s, {passes} passes in {:.1} s: {transient} transient, \
         {changed} changed; items {outcomes:?}; {} divergences made, {} slow writes",
        clients.viewed.load(Ordering::SeqCst) as f64 / began.elapsed().as_secs_f64(),
        began.elapsed().as_secs_f64(),
        log.skipped.len(),
        log.slow.len(),
    );
    assert!(rate >= RATE_MIN, "only {rate:.0} writes/s: nothing was tested");
    assert!(
        transient >= SEEN_MIN && changed >= SEEN_MIN,
        "{transient} transient, {changed} changed: nothing was tested"
    );
    assert!(!outcomes.contains_key("incomparable"), "{outcomes:?}");

    let last = fleet.passes_until_in_sync(2);
    fleet.assert_all("after the client stopped and a last pass", &log.ledger);
    for summary in &last {
        let run = summary["run"].as_str().expect("an id");
        let shown = fleet.cli(&["show", run, "--output", "json"]).json();
        for item in
            shown["items"].as_array().expect("items").iter().filter(|item| item["outcome"] == "repaired")
        {
            let text = |name: &str| item[name].as_str().expect("a text").to_owned();
            let key: String = serde_json::from_str(&text("key")).expect("a key is JSON");
            reported.insert((text("node"), key, run.to_owned()));
        }
    }

    let mut written: BTreeSet<(String, String, String)> = BTreeSet::new();
    let mut excused = 0;
    for node in 0..fleet.count() {
        let views = views(&fleet, node);
        for ((_, id), counted) in log.views.range((node, String::new())..(node + 1, String::new())) {
            // A missed insert brings the views of its source along.
            let found = views[id];
            let lost = if id.starts_with("new-") { found < *counted } else { found != *counted };
            assert!(!lost, "views of {id} on {}: {found}, counted {counted}", fleet.node(node));
        }
        for (id, old, after, origin) in repairs_of(&fleet, node) {
            assert_eq!(
                log.versions.get(&after),
                Some(&id),
                "a repair wrote a version that no client wrote: {origin}"
            );
            assert!(
                old.is_none_or(|old| old < after),
                "a repair of {id} wrote nothing newer: {old:?} → {after}"
            );
            // What the node had, and what it got: between them must be a write that it was never sent.
            let from = old.map_or(i64::MIN, |old| old + 1);
            let missed = log.skipped.iter().any(|skipped| {
                skipped.node == node && skipped.id == id && (from..=after).contains(&skipped.version)
            });
            let was_slow = log.slow.range(from.max(0)..=after).any(|version| log.versions[version] == id);
            assert!(missed || was_slow, "false repair of {id} on {}: {old:?} → {after}", fleet.node(node));
            excused += u64::from(!missed);
            let run = origin.split(' ').nth(2).expect("a marker has a run").to_owned();
            assert!(written.insert((fleet.node(node), id, run)), "repaired twice in a run: {origin}");
        }
    }
    drop(log);
    let mut refused = 0;
    for agent in 0..fleet.count() {
        fleet.kill(agent);
        let (journal, _folder) = fleet.journal(agent);
        let changed = "SELECT count(*) FROM intent WHERE outcome = 'changed'";
        refused += journal.query_row(changed, [], |row| row.get::<_, i64>(0)).unwrap();
    }
    println!(
        "{} repairs written, {} reported as read back, {excused} of slow writes; {refused} refused by the store",
        written.len(),
        reported.len()
    );
    assert!(refused >= REFUSED_BY_STORE_MIN, "only {refused} refused by a store: nothing was tested");
    let unwritten: Vec<_> = reported.difference(&written).collect();
    let unreported: Vec<_> = written.difference(&reported).collect();
    assert!(
        unwritten.is_empty() && unreported.is_empty(),
        "reported only: {unwritten:?}; written only: {unreported:?}"
    );
    assert!(!written.is_empty(), "nothing was repaired: nothing was tested");
}
