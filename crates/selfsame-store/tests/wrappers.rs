//! What the wrappers and the store in memory promise beyond the port.

// Clippy knows `#[test]` functions as tests, and not the functions that they share.
#![allow(clippy::unwrap_used)]

mod support;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use selfsame_core::{
    Cause, Cell, Fingerprinter, Key, KeyAs, Mapping, MappingSpec, OriginMarker, RepairId, Row, RunId,
    ShardCount, ShardId, UnreadableReason,
};
use selfsame_store::conformance;
use selfsame_store::{
    Call, ChangeKind, Cursor, Expected, Fault, FaultPlan, Faulty, FeedPosition, MemoryStore, PageSize, Read,
    ReadOnly, Refusal, RepairBatch, RepairItem, Scope, ScriptedFaults, SeededFaults, Store, StoreError,
    ThrottleLimits, Throttled, Write, WriteOutcome,
};
use support::MemoryHarness;
use tokio::time::Instant;

const WHOLE: PageSize = PageSize { rows: 10_000, bytes: usize::MAX };

fn store() -> MemoryStore {
    let spec = MappingSpec {
        key: vec!["id".into()],
        key_as: KeyAs::Native,
        document: Some("body".into()),
        columns: None,
        version: None,
        expiry: None,
        deletion: None,
        ignore_fields: vec![],
        shards: ShardCount::new(4).unwrap(),
        document_bytes_max: 1 << 20,
    };
    MemoryStore::new(Mapping::new(spec, Fingerprinter::new("f", "c", b"")).unwrap(), "store-1")
}

/// 8 bytes of key and `body_bytes` of document.
fn row(id: i64, body_bytes: usize) -> Row {
    let body = format!(r#"{{"a":"{}"}}"#, "x".repeat(body_bytes - 8));
    Row::new(vec![("id".into(), Cell::Integer(id)), ("body".into(), Cell::Json(body))])
}

fn filled(rows: i64, body_bytes: usize) -> MemoryStore {
    let store = store();
    (0..rows).for_each(|id| store.put(row(id, body_bytes)));
    store
}

fn insert(id: i64, repair: u8) -> RepairBatch {
    let marker = OriginMarker {
        agent: "a".parse().unwrap(),
        run: RunId::from_bytes([1; 16]),
        repair: RepairId::from_bytes([repair; 16]),
        cause: Cause::MissedInsert,
    };
    let write = Write::Put(row(id, 20));
    RepairBatch {
        items: vec![RepairItem { marker, key: Key::integer(id), expected: Expected::Absent, write }],
    }
}

async fn walk(store: &dyn Store) -> usize {
    let (mut rows, mut cursor) = (0, None::<Cursor>);
    loop {
        let page = store.scan(Scope::All, cursor.as_ref(), WHOLE).await.unwrap();
        rows += page.rows.len();
        match page.next {
            None => return rows,
            next => cursor = next,
        }
    }
}

fn limits(rows_per_second: u32, bytes_per_second: u64) -> ThrottleLimits {
    ThrottleLimits { rows_per_second: NonZeroU32::new(rows_per_second).unwrap(), bytes_per_second }
}

#[tokio::test]
async fn a_read_only_store_answers_each_repair_and_hears_of_none() {
    let rows = filled(1, 20);
    let store = ReadOnly::new(rows.clone());
    let batch = RepairBatch { items: [insert(1, 1).items, insert(2, 2).items].concat() };
    let refused = WriteOutcome::Refused(Refusal::ReadOnly);
    assert_eq!(store.apply(&batch).await, Ok(vec![refused.clone(), refused]));
    assert_eq!(rows.rows(), [row(0, 20)]);
    assert!(!store.capabilities().conditional_writes && rows.capabilities().conditional_writes);
    assert_eq!(walk(&store).await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_scan_takes_no_more_rows_a_second_than_allowed() {
    let store = Throttled::new(filled(100, 20), limits(10, 1 << 30));
    let start = Instant::now();
    assert_eq!(walk(&store).await, 100);
    // Pages of 10: the first is read on credit and paid from the burst, each of the other nine, but for the
    // last, which nobody waits for, takes its second.
    let seconds = start.elapsed().as_secs_f64();
    assert!((7.99..8.1).contains(&seconds), "{seconds}");
    let counters = store.counters();
    assert_eq!(counters.rows.load(Ordering::Relaxed), 100);
    assert_eq!(counters.bytes.load(Ordering::Relaxed), 2_800);
    assert_eq!(counters.waits.load(Ordering::Relaxed), 8);
    assert!((7_990_000..8_100_000).contains(&counters.waited_micros.load(Ordering::Relaxed)));
}

#[tokio::test(start_paused = true)]
async fn a_scan_takes_no_more_bytes_a_second_than_allowed() {
    // 100 rows of 1 KiB at 10 KiB a second.
    let store = Throttled::new(filled(100, 1_016), limits(1_000_000, 10 << 10));
    let start = Instant::now();
    assert_eq!(walk(&store).await, 100);
    let seconds = start.elapsed().as_secs_f64();
    assert!((7.99..8.1).contains(&seconds), "{seconds}");
}

#[tokio::test(start_paused = true)]
async fn callers_share_one_budget() {
    let store = Arc::new(Throttled::new(filled(50, 20), limits(10, 1 << 30)));
    let start = Instant::now();
    let walks: Vec<_> = (0..4)
        .map(|_| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { walk(&store).await })
        })
        .collect();
    for walk in walks {
        assert_eq!(walk.await.unwrap(), 50);
    }
    // 200 rows, of which 10 are the burst and at most one page for each of the four is still owed at the end.
    let seconds = start.elapsed().as_secs_f64();
    assert!((15.0..20.0).contains(&seconds), "{seconds}");
}

#[tokio::test(start_paused = true)]
async fn a_fresh_read_is_never_held_back_for_its_own_cost_and_the_next_call_is() {
    let store = Throttled::new(filled(100, 20), limits(10, 1 << 30));
    let keys: Vec<Key> = (0..40).map(Key::integer).collect();
    let start = Instant::now();
    assert_eq!(store.read(&keys).await.unwrap().len(), 40);
    assert_eq!(start.elapsed(), Duration::ZERO);
    // A caller that gives up while it waits leaves the debt as it was.
    assert!(tokio::time::timeout(Duration::from_millis(500), store.read(&keys[..1])).await.is_err());
    store.read(&keys[..1]).await.unwrap();
    let seconds = start.elapsed().as_secs_f64();
    assert!((2.99..3.1).contains(&seconds), "40 rows owed, 10 paid by the burst: {seconds}");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_slows_down_is_read_more_slowly_until_it_recovers() {
    let millis = Arc::new(AtomicU64::new(10));
    let hook_millis = Arc::clone(&millis);
    let slow = Faulty::new(filled(10, 20), |_| Some(Fault::Delay)).with_delay(Arc::new(move |_| {
        let delay = Duration::from_millis(hook_millis.load(Ordering::Relaxed));
        Box::pin(tokio::time::sleep(delay))
    }));
    let store = Throttled::new(slow, limits(1_000, 1 << 30));
    let pace = async |calls: usize| {
        for _ in 0..calls {
            walk(&store).await;
        }
        store.counters().pace_sixteenths.load(Ordering::Relaxed)
    };
    assert_eq!(pace(20).await, 16);
    millis.store(200, Ordering::Relaxed);
    assert_eq!(pace(60).await, 1);
    millis.store(10, Ordering::Relaxed);
    assert_eq!(pace(60).await, 16);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_throttle_with_room_changes_nothing() {
    let harness = MemoryHarness {
        maker: Arc::new(|_| {
            Arc::new(|rows| Box::new(Throttled::new(rows, limits(u32::MAX, u64::from(u32::MAX)))))
        }),
        ..MemoryHarness::default()
    };
    conformance::check(&harness).await.assert_passed();
}

#[tokio::test]
async fn a_lost_answer_is_lost_after_the_write() {
    let rows = store();
    let plan = Arc::new(ScriptedFaults::default());
    let store = Faulty::new(rows.clone(), Arc::clone(&plan));
    for fault in [Some(Fault::Unavailable), Some(Fault::Busy), Some(Fault::LoseAnswer), None] {
        plan.push(Call::Apply, fault);
    }
    assert!(matches!(store.apply(&insert(1, 1)).await, Err(StoreError::Unavailable(_))));
    assert!(matches!(store.apply(&insert(1, 1)).await, Err(StoreError::Busy(_))));
    assert!(rows.rows().is_empty(), "the store beneath heard of none");
    assert!(matches!(store.apply(&insert(1, 1)).await, Err(StoreError::Unavailable(_))));
    assert_eq!(rows.rows(), [row(1, 20)]);
    assert_eq!(store.apply(&insert(1, 1)).await, Ok(vec![WriteOutcome::AlreadyThere]));
    assert_eq!(store.count().await, Ok(1), "other calls have a script of their own");
}

#[tokio::test]
async fn stale_answers_come_only_where_a_script_asks_for_them() {
    let rows = filled(1, 20);
    let plan = Arc::new(ScriptedFaults::default());
    let store = Faulty::new(rows.clone(), Arc::clone(&plan));
    let keys = [Key::integer(0)];
    let first = store.read(&keys).await.unwrap();
    rows.delete(&keys[0]);
    assert_eq!(store.read(&keys).await.unwrap(), [Read::Absent]);
    plan.push(Call::Read, Some(Fault::Stale));
    assert_eq!(store.read(&keys).await.unwrap(), first);
    assert_eq!(store.read(&keys).await.unwrap(), [Read::Absent]);
}

#[test]
fn a_seed_gives_the_same_faults_again_and_each_kind_at_its_rate() {
    let draw = |seed| {
        let plan = SeededFaults::new(seed).unavailable(100).busy(50).delays(50).lost_answers(100);
        (0..10_000).map(|_| plan.next(Call::Read)).collect::<Vec<_>>()
    };
    assert_eq!(draw(1), draw(1));
    assert_ne!(draw(1), draw(2));
    let count = |fault| draw(1).iter().filter(|drawn| **drawn == fault).count();
    for (fault, expected) in [
        (Some(Fault::Unavailable), 1_000),
        (Some(Fault::Busy), 500),
        (Some(Fault::Delay), 500),
        (Some(Fault::LoseAnswer), 1_000),
        (None, 7_000),
    ] {
        let drawn = count(fault);
        assert!(drawn.abs_diff(expected) < expected / 5, "{fault:?}: {drawn}");
    }
    assert_eq!(count(Some(Fault::Stale)), 0);
}

#[tokio::test]
async fn a_cut_feed_says_that_it_has_a_gap() {
    let store = filled(3, 20);
    assert!(!store.changes(FeedPosition(0), WHOLE).await.unwrap().gap);
    store.cut_feed();
    store.put(row(9, 20));
    let changes = store.changes(FeedPosition(0), WHOLE).await.unwrap();
    assert!(changes.gap);
    assert_eq!((changes.changes.len(), changes.next), (1, FeedPosition(4)));
    assert_eq!((&changes.changes[0].key, changes.changes[0].kind), (&Key::integer(9), ChangeKind::Insert));
    assert!(!store.changes(FeedPosition(3), WHOLE).await.unwrap().gap);
}

#[tokio::test]
async fn a_row_without_a_key_is_named_in_every_shard_and_told_of_as_a_gap() {
    let store = filled(1, 20);
    store.put(Row::new(vec![("id".into(), Cell::Null), ("body".into(), Cell::Json("{}".into()))]));
    assert_eq!(store.count().await, Ok(2));
    for shard in 0..4 {
        let page = store.scan(Scope::Shard(ShardId(shard)), None, WHOLE).await.unwrap();
        let keyless = page.rows.iter().filter_map(|row| row.as_ref().err()).collect::<Vec<_>>();
        assert_eq!(keyless.len(), 1, "shard {shard}");
        assert_eq!((&keyless[0].key, &keyless[0].reason), (&None, &UnreadableReason::Key("id".into())));
    }
    let changes = store.changes(FeedPosition(0), WHOLE).await.unwrap();
    assert_eq!((changes.changes.len(), changes.next, changes.gap), (1, FeedPosition(2), true));
}

#[tokio::test]
async fn a_replaced_store_has_another_identity() {
    let store = store();
    let before = store.identity().await.unwrap();
    store.replace_identity("store-2");
    assert_ne!(store.identity().await.unwrap(), before);
}
