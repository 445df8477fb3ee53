//! The application writes as fast as it can, to the very rows that are repaired and scanned.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rusqlite::TransactionBehavior;
use selfsame_core::{Cell, Key};
use selfsame_store::{ChangeKind, FeedPosition, PageSize, RepairBatch, Store, WriteOutcome};
use selfsame_store_sqlite::SqliteStore;

use crate::support::*;

/// Rows that both write to.
const ROWS: i64 = 60;
/// How often the client writes to a row before it goes on to the next. It gets through many rows' worth of writes while
/// a repair waits for the lock, which SQLite gives to nobody in turn: with this many, most of the rows stand still
/// meanwhile, and some do not.
const STRETCH: u64 = 500;

/// A client that adds one to a row at a time, without a pause, until told to stop; gives back how often it did so to
/// each row.
fn client_adds(
    file: &File,
    stop: Arc<AtomicBool>,
    rounds: Arc<AtomicU64>,
) -> std::thread::JoinHandle<BTreeMap<i64, i64>> {
    let mut client = file.client();
    client.pragma_update(None, "synchronous", "off").unwrap();
    std::thread::spawn(move || {
        let mut added = BTreeMap::new();
        for round in 0_u64.. {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let id = i64::try_from(round / STRETCH).unwrap() % ROWS;
            let transaction = client.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
            transaction.execute("UPDATE t SET n = n + 1 WHERE id = ?1", [id]).unwrap();
            transaction.commit().unwrap();
            *added.entry(id).or_insert(0) += 1;
            rounds.fetch_add(1, Ordering::Relaxed);
            std::thread::yield_now();
        }
        added
    })
}

/// The change table, followed beside the writes as an agent does: it keeps a bounded number of rows.
struct Followed {
    from: FeedPosition,
    ours: i64,
    theirs: i64,
}

impl Followed {
    /// Reads on to the end of the table.
    async fn on(&mut self, store: &SqliteStore) {
        loop {
            let page = store.changes(self.from, PageSize { rows: 1000, bytes: usize::MAX }).await.unwrap();
            assert!(!page.gap, "the table was pruned before it was read: the test shows nothing");
            if page.changes.is_empty() {
                break;
            }
            assert!(page.changes.iter().all(|change| change.kind == ChangeKind::Update));
            self.ours += page.changes.iter().filter(|change| change.origin.is_some()).count() as i64;
            self.theirs += page.changes.iter().filter(|change| change.origin.is_none()).count() as i64;
            self.from = page.next;
        }
    }
}

async fn no_write_is_lost(journal_mode: &str) {
    let file = File::new("CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER NOT NULL)");
    file.client().pragma_update(None, "journal_mode", journal_mode).unwrap();
    for id in 0..ROWS {
        file.execute(&format!("INSERT INTO t VALUES ({id}, 0)"));
    }
    let store = file.store(plain()).await;
    let mut feed = Followed { from: changes(&store, 0).await.next, ours: 0, theirs: 0 };
    let (stop, rounds) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let client = client_adds(&file, stop.clone(), rounds.clone());

    // A repair adds a million to what it read: a lost write of the client's, or one overwritten, shows in the sum.
    const STEP: i64 = 1_000_000;
    let keys: Vec<Key> = (0..ROWS).map(Key::integer).collect();
    let mut applied = BTreeMap::new();
    let (mut changed, mut number) = (0, 0);
    for _ in 0..500 {
        if changed >= 10 && applied.values().sum::<i64>() >= 10 * ROWS {
            break;
        }
        let mut items = Vec::new();
        for read in store.read(&keys).await.unwrap() {
            let document = read.document().unwrap();
            let (Some(Cell::Integer(n)), Some(id)) = (document.row.cell("n"), document.row.cell("id")) else {
                panic!()
            };
            let winner = row(&[("id", id.clone()), ("n", Cell::Integer(n + STEP))]);
            number += 1;
            items.push(put(
                number,
                document.entry.key.clone(),
                selfsame_store::Expected::Row(document.row_digest),
                winner,
            ));
        }
        // The client certainly comes between.
        let seen = rounds.load(Ordering::Relaxed);
        while rounds.load(Ordering::Relaxed) == seen {
            tokio::task::yield_now().await;
        }
        for (id, outcome) in (0..).zip(store.apply(&RepairBatch { items }).await.unwrap()) {
            match outcome {
                WriteOutcome::Applied { .. } => *applied.entry(id).or_insert(0) += 1,
                WriteOutcome::Changed => changed += 1,
                other => panic!("{other:?}"),
            }
        }
        feed.on(&store).await;
    }
    stop.store(true, Ordering::Relaxed);
    let added = client.join().unwrap();
    assert!(changed > 0, "the client never came between: the test shows nothing");
    assert!(applied.values().sum::<i64>() > 0, "no repair was applied: the test shows nothing");
    for id in 0..ROWS {
        let expected = added.get(&id).unwrap_or(&0) + STEP * applied.get(&id).unwrap_or(&0);
        assert_eq!(file.number(&format!("SELECT n FROM t WHERE id = {id}")), expected, "row {id}");
    }
    assert_eq!(file.number("SELECT count(*) FROM _selfsame_origin"), applied.values().sum::<i64>());
    feed.on(&store).await;
    assert_eq!(feed.ours, applied.values().sum::<i64>());
    assert_eq!(feed.theirs, added.values().sum::<i64>());
}

#[tokio::test]
async fn no_client_write_is_lost_under_repairs_in_wal_mode() {
    no_write_is_lost("wal").await;
}

#[tokio::test]
async fn no_client_write_is_lost_under_repairs_with_a_rollback_journal() {
    no_write_is_lost("delete").await;
}

#[tokio::test]
async fn a_scan_beside_a_busy_client_visits_every_lasting_row_once() {
    let file = File::new("CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER NOT NULL)");
    file.execute(
        "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 2 FROM n WHERE i < 1998) INSERT INTO t SELECT i, 0 FROM n",
    );
    let store = file.store(plain()).await;
    let stop = Arc::new(AtomicBool::new(false));
    let client = {
        let (client, stop) = (file.client(), stop.clone());
        std::thread::spawn(move || {
            let mut id = 1;
            while !stop.load(Ordering::Relaxed) {
                client.execute("INSERT INTO t VALUES (?1, 1)", [id]).unwrap();
                client.execute("UPDATE t SET n = n + 1 WHERE id = ?1", [id - 1]).unwrap();
                client.execute("DELETE FROM t WHERE id = ?1", [id]).unwrap();
                id = (id + 2) % 2000;
            }
        })
    };
    for _ in 0..5 {
        let found = keys(&store, 37).await;
        let lasting: Vec<_> = (0..1000).map(|half| Key::integer(half * 2)).collect();
        let even =
            found.iter().filter(|key| lasting.binary_search_by(|have| order(have).cmp(&order(key))).is_ok());
        assert_eq!(even.cloned().collect::<Vec<_>>(), lasting);
    }
    stop.store(true, Ordering::Relaxed);
    client.join().unwrap();
    assert!(store.changes(FeedPosition(0), PageSize { rows: 1, bytes: 1 }).await.is_ok());
}

fn order(key: &Key) -> i64 {
    key.to_string().parse().unwrap()
}
