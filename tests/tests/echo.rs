//! What consumers of a node's change table see: with the filter each write of the client once and no repair, without
//! it every repair too, and each says which.

#![allow(clippy::unwrap_used, reason = "all of this file is tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, params};
use selfsame_tests::{Contents, Fleet, open_store, put, wait};

const KEYS: usize = 120;
const ROUNDS: usize = 3;
const WRITES_PER_ROUND: usize = 250;
const SEED: u64 = 7;

/// One line of a change table.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    op: String,
    id: String,
    origin: Option<String>,
}

/// A consumer that tails a node's change table by plain SQL until it is told to stop, and then to the end.
struct Consumer {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Seen>>,
}

impl Consumer {
    fn start(path: &Path, filter: &'static str) -> Consumer {
        let store = open_store(path);
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = thread::spawn(move || {
            let (mut seen, mut after) = (Vec::new(), 0);
            loop {
                let last = stopped.load(Ordering::SeqCst);
                let more = read_after(&store, filter, &mut after, &mut seen);
                if last && !more {
                    return seen;
                }
                thread::sleep(Duration::from_millis(2));
            }
        });
        Consumer { stop, thread }
    }

    fn stop(self) -> Vec<Seen> {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().expect("a consumer does not fail")
    }
}

fn read_after(store: &Connection, filter: &str, after: &mut i64, seen: &mut Vec<Seen>) -> bool {
    let sql = format!(
        "SELECT seq, op, k1, origin FROM _selfsame_changes \
         WHERE tbl = 'products' AND op <> 'cut' AND seq > ?1 {filter} ORDER BY seq LIMIT 50"
    );
    let mut statement = store.prepare_cached(&sql).unwrap();
    let mut rows = statement.query(params![*after]).unwrap();
    let mut more = false;
    while let Some(row) = rows.next().unwrap() {
        more = true;
        *after = row.get(0).unwrap();
        seen.push(Seen { op: row.get(1).unwrap(), id: row.get(2).unwrap(), origin: row.get(3).unwrap() });
    }
    more
}

/// A client with a log of what each node acknowledged.
struct Client {
    stores: Vec<Connection>,
    random: fastrand::Rng,
    version: i64,
    ledger: Contents,
    logs: Vec<Vec<(String, String)>>,
    skipped: usize,
}

impl Client {
    fn write_one(&mut self) {
        self.version += 1;
        let id = match self.random.u8(..10) {
            0 => format!("new-{:06}", self.version),
            _ => {
                let at = self.random.usize(..self.ledger.len());
                self.ledger.keys().nth(at).expect("a key").clone()
            }
        };
        if self.ledger.contains_key(&id) && self.random.u8(..12) == 0 {
            return self.delete(&id);
        }
        let body = format!("{{\"n\":{}}}", self.version);
        let skipped = (self.random.u8(..5) == 0).then(|| self.random.usize(..self.stores.len()));
        for (node, store) in self.stores.iter().enumerate().filter(|(node, _)| Some(*node) != skipped) {
            let there: Option<i64> = store
                .query_row("SELECT 1 FROM products WHERE id = ?1", [&id], |row| row.get(0))
                .optional()
                .unwrap();
            put(store, &id, self.version, &body);
            let op = if there.is_some() { "update" } else { "insert" };
            self.logs[node].push((op.to_owned(), id.clone()));
        }
        self.skipped += usize::from(skipped.is_some());
        self.ledger.insert(id, (self.version, body));
    }

    fn delete(&mut self, id: &str) {
        for (node, store) in self.stores.iter().enumerate() {
            if store.execute("DELETE FROM products WHERE id = ?1", [id]).unwrap() > 0 {
                self.logs[node].push(("delete".to_owned(), id.to_owned()));
            }
        }
        self.ledger.remove(id);
    }
}

#[test]
fn the_filter_hides_repairs_and_nothing_else_and_each_repair_says_which_it_is() {
    println!("seed {SEED}");
    let rows: Contents = (0..KEYS).map(|n| (format!("key-{n:03}"), (1, format!("{{\"n\":{n}}}")))).collect();
    // Its client deletes more in a round than a replica may lose in a day.
    let brakes = "{ vanished_share_max: 100% }";
    let builder = Fleet::builder().setting("settle", "50ms").setting("brakes", brakes);
    let fleet = builder.rows(&rows).start();
    fleet.passes_until_in_sync(1);
    let consumers =
        |filter| (0..3).map(|node| Consumer::start(&fleet.store(node), filter)).collect::<Vec<_>>();
    let (filtered, unfiltered) = (consumers("AND origin IS NULL"), consumers(""));
    let mut client = Client {
        stores: (0..3).map(|node| fleet.open(node)).collect(),
        random: fastrand::Rng::with_seed(SEED),
        version: 1,
        ledger: rows,
        logs: vec![Vec::new(); 3],
        skipped: 0,
    };
    let mut runs = BTreeSet::new();
    for _ in 0..ROUNDS {
        (0..WRITES_PER_ROUND).for_each(|_| client.write_one());
        let summary = &fleet.passes_until_in_sync(1)[0];
        runs.insert(summary["run"].as_str().unwrap().to_owned());
    }
    fleet.assert_all("after the last pass", &client.ledger);

    // What `show` knows: (run, node, key) → cause and id.
    let mut shown: BTreeMap<(String, String, String), (String, String)> = BTreeMap::new();
    for run in &runs {
        let answer = fleet.cli(&["show", run, "--output", "json"]);
        for item in answer.json()["items"].as_array().expect("items") {
            assert_eq!(item["outcome"], "repaired", "{item}");
            let text =
                |name: &str| item[name].as_str().unwrap_or_else(|| panic!("no {name} in {item}")).to_owned();
            let key: String = serde_json::from_str(&text("key")).unwrap();
            shown.insert((run.clone(), text("node"), key), (text("cause"), text("repair")));
        }
    }

    let mut repairs = 0;
    for (node, (filtered, unfiltered)) in filtered.into_iter().zip(unfiltered).enumerate() {
        let name = fleet.node(node);
        let (filtered, unfiltered) = (filtered.stop(), unfiltered.stop());
        // Tables made for this test start empty but for the rows that were there before any agent.
        let seen: Vec<(String, String)> = filtered.into_iter().map(|seen| (seen.op, seen.id)).collect();
        assert!(
            seen == client.logs[node],
            "{name}: {} changes seen, {} made",
            seen.len(),
            client.logs[node].len()
        );
        let (echoes, clients): (Vec<&Seen>, Vec<&Seen>) =
            unfiltered.iter().partition(|seen| seen.origin.is_some());
        assert_eq!(clients.len(), seen.len(), "{name}: the client's writes without the filter");
        let agent = fleet.name(node);
        for echo in &echoes {
            let marker = echo.origin.as_deref().unwrap_or_default();
            let words: Vec<&str> = marker.split(' ').collect();
            let [scheme, by, run, repair, cause] = words[..] else { panic!("no marker: {marker}") };
            assert_eq!((scheme, by), ("selfsame/1", agent), "{marker}");
            let found = shown.remove(&(run.to_owned(), name.clone(), echo.id.clone()));
            let (known_cause, known_repair) =
                found.unwrap_or_else(|| panic!("`show` knows no repair of {echo:?}"));
            assert_eq!((known_cause.as_str(), known_repair.as_str()), (cause, repair), "{marker}");
            let op = if cause == "missed_insert" { "insert" } else { "update" };
            assert_eq!(echo.op, op, "{echo:?}");
        }
        let markers: BTreeSet<&Option<String>> = echoes.iter().map(|echo| &echo.origin).collect();
        assert_eq!(markers.len(), echoes.len(), "{name}: a repair was seen twice");
        repairs += echoes.len();
    }
    assert!(shown.is_empty(), "repairs that no consumer saw: {shown:?}");
    println!("{repairs} repairs of {} writes that one node was not sent", client.skipped);
    assert!(repairs >= 20, "only {repairs} repairs: nothing was tested");
}

#[test]
fn a_consumer_that_comes_late_sees_all_that_is_kept() {
    let rows: Contents = (0..20).map(|n| (format!("key-{n:03}"), (1, "{}".to_owned()))).collect();
    let fleet = Fleet::builder().setting("settle", "50ms").rows(&rows).start();
    put(&fleet.open(0), "key-000", 2, "{\"late\":true}");
    put(&fleet.open(1), "key-000", 2, "{\"late\":true}");
    fleet.passes_until_in_sync(1);
    let filtered = Consumer::start(&fleet.store(2), "AND origin IS NULL");
    let unfiltered = Consumer::start(&fleet.store(2), "");
    wait::until(Duration::from_secs(10), "the repair is in the file", || {
        (fleet.contents(2)["key-000"].0 == 2).then_some(())
    });
    assert_eq!(filtered.stop(), []);
    assert_eq!(unfiltered.stop().len(), 1);
}
