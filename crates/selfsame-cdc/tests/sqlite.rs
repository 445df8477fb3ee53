//! The change table of real files, filled by an application and by repairs of the real store.

#![allow(clippy::unwrap_used, reason = "all of this file is tests")]

use std::path::PathBuf;
use std::sync::Arc;

use rusqlite::Connection;
use selfsame_cdc::{
    Cause, Cell, Change, EchoPolicy, Event, FeedError, Gap, GapCause, Operation, OriginMarker, Page,
    Position, SqliteFeed, SqliteTail, TailError,
};
use selfsame_core::{
    Fingerprinter, Key, KeyAs, Mapping, MappingSpec, RepairId, Row, RunId, ShardCount, TimeField, Unit,
};
use selfsame_store::{Expected, RepairBatch, RepairItem, Store, Write, WriteOutcome};
use selfsame_store_sqlite::{SqliteOptions, SqliteStore};

const TABLE: &str = "CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT, updated_at INTEGER)";

struct File {
    _directory: tempfile::TempDir,
    path: PathBuf,
}

impl File {
    fn new(script: &str) -> File {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("app.db");
        let file = File { _directory: directory, path };
        file.execute("PRAGMA journal_mode = wal");
        file.execute(script);
        file
    }

    fn execute(&self, script: &str) {
        Connection::open(&self.path).unwrap().execute_batch(script).unwrap();
    }

    async fn store_of(&self, table: &str, key: &[&str], retention_rows: u32) -> SqliteStore {
        let version = Some(TimeField { field: "updated_at".into(), unit: Unit::Millis });
        let spec = MappingSpec {
            key: key.iter().map(|name| (*name).to_owned()).collect(),
            key_as: KeyAs::Native,
            document: None,
            columns: None,
            version,
            expiry: None,
            deletion: None,
            ignore_fields: vec![],
            shards: ShardCount::new(1).unwrap(),
            document_bytes_max: 1 << 20,
        };
        let mapping = Arc::new(Mapping::new(spec, Fingerprinter::new("fleet", "t", b"")).unwrap());
        let options = SqliteOptions {
            change_retention_rows: retention_rows,
            ..SqliteOptions::new(&self.path, table, mapping)
        };
        SqliteStore::open(options).await.unwrap()
    }

    async fn store(&self) -> SqliteStore {
        self.store_of("t", &["id"], 100_000).await
    }

    fn tail(&self, policy: EchoPolicy) -> SqliteTail {
        SqliteTail::new(&self.path, SqliteFeed::new("t", 1, policy).unwrap())
    }
}

fn marker(number: u8, cause: Cause) -> OriginMarker {
    OriginMarker {
        agent: "a".parse().unwrap(),
        run: RunId::from_bytes([7; 16]),
        repair: RepairId::from_bytes([number; 16]),
        cause,
    }
}

/// Applies one repair of the real store: puts a row, or deletes.
async fn repair(store: &SqliteStore, number: u8, id: i64, winner: Option<(&str, i64)>, cause: Cause) {
    let key = Key::integer(id);
    let read = store.read(std::slice::from_ref(&key)).await.unwrap().remove(0);
    let expected = read.document().map_or(Expected::Absent, |document| Expected::Row(document.row_digest));
    let write = winner.map_or(Write::Delete, |(name, version)| {
        Write::Put(Row::new(vec![
            ("id".into(), Cell::Integer(id)),
            ("name".into(), Cell::Text(name.into())),
            ("updated_at".into(), Cell::Integer(version)),
        ]))
    });
    let item = RepairItem { marker: marker(number, cause), key, expected, write };
    let outcomes = store.apply(&RepairBatch { items: vec![item] }).await.unwrap();
    assert!(matches!(outcomes[0], WriteOutcome::Applied { .. }), "{outcomes:?}");
}

/// Everything after a position, page by page.
fn follow(tail: &SqliteTail, from: &Position, rows_max: usize) -> (Vec<Event>, u64, Position) {
    let (mut events, mut suppressed, mut at) = (Vec::new(), 0, from.clone());
    loop {
        let page = tail.read(&at, rows_max).unwrap();
        assert!(page.events.len() as u64 + page.suppressed <= rows_max as u64 + 1);
        assert!(page.next.seq > at.seq || !page.more);
        events.extend(page.events);
        suppressed += page.suppressed;
        at = page.next;
        if !page.more {
            return (events, suppressed, at);
        }
    }
}

fn told(events: &[Event]) -> Vec<(i64, Operation)> {
    let told = |event: &Event| match event {
        Event::Change(Change { key, operation, .. }) => match key.as_slice() {
            [Cell::Integer(id)] => (*id, *operation),
            other => panic!("{other:?}"),
        },
        Event::Gap(gap) => panic!("{gap:?}"),
    };
    events.iter().map(told).collect()
}

fn gaps<'a>(events: &'a [Event]) -> Vec<&'a Gap> {
    let gap = |event: &'a Event| match event {
        Event::Gap(gap) => Some(gap),
        Event::Change(_) => None,
    };
    events.iter().filter_map(gap).collect()
}

use Operation::{Delete, Insert, Update};

#[tokio::test]
async fn a_filtered_consumer_sees_each_client_write_once_and_an_unfiltered_one_every_repair() {
    let file = File::new(TABLE);
    let store = file.store().await;
    let start = file.tail(EchoPolicy::Keep).end().unwrap();
    file.execute("INSERT INTO t VALUES (1, 'x', 1), (2, 'y', 1)");
    repair(&store, 1, 1, Some(("z", 2)), Cause::MissedUpdate).await;
    file.execute("UPDATE t SET name = 'mine', updated_at = 3 WHERE id = 1");
    repair(&store, 2, 3, Some(("new", 2)), Cause::MissedInsert).await;
    repair(&store, 3, 2, None, Cause::ExpiredStraggler).await;
    file.execute("DELETE FROM t WHERE id = 3");

    for rows_max in [1, 2, 3, 100] {
        let (events, suppressed, end) = follow(&file.tail(EchoPolicy::Suppress), &start, rows_max);
        assert_eq!(told(&events), [(1, Insert), (2, Insert), (1, Update), (3, Delete)]);
        assert_eq!(suppressed, 3);
        let (events, suppressed, same_end) = follow(&file.tail(EchoPolicy::Keep), &start, rows_max);
        assert_eq!(suppressed, 0);
        assert_eq!(
            told(&events),
            [(1, Insert), (2, Insert), (1, Update), (1, Update), (3, Insert), (2, Delete), (3, Delete)]
        );
        let origins: Vec<_> = events
            .iter()
            .filter_map(|event| match event {
                Event::Change(Change { origin: selfsame_cdc::Origin::Repair(marker), seq, .. }) => {
                    Some((*seq, marker.clone()))
                }
                _ => None,
            })
            .collect();
        let causes = [Cause::MissedUpdate, Cause::MissedInsert, Cause::ExpiredStraggler];
        let expected = causes.into_iter().zip([3, 5, 6]).zip(1..);
        let expected: Vec<_> = expected.map(|((cause, seq), number)| (seq, marker(number, cause))).collect();
        assert_eq!(origins, expected);
        assert_eq!(end, same_end);
        assert_eq!(follow(&file.tail(EchoPolicy::Keep), &end, rows_max).0, []);
    }
}

#[tokio::test]
async fn old_versions_and_keys_come_as_they_are_stored() {
    let file = File::new("CREATE TABLE t (a NOT NULL, b NOT NULL, updated_at, UNIQUE (a, b))");
    let _store = file.store_of("t", &["b", "a"], 100).await;
    file.execute(
        "INSERT INTO t VALUES (1.5, 'x', 7), (x'00ff', 9223372036854775807, NULL); \
         UPDATE t SET updated_at = 8 WHERE b = 'x'; DELETE FROM t WHERE b > 1",
    );
    let feed = SqliteFeed::new("t", 2, EchoPolicy::Keep).unwrap();
    let tail = SqliteTail::new(&file.path, feed);
    let start = Position { seq: 0, ..tail.end().unwrap() };
    let seen: Vec<_> = tail
        .read(&start, 100)
        .unwrap()
        .events
        .into_iter()
        .map(|event| match event {
            Event::Change(change) => (change.key, change.operation, change.old_version.unwrap()),
            Event::Gap(gap) => panic!("{gap:?}"),
        })
        .collect();
    let one = vec![Cell::Text("x".into()), Cell::Real(1.5)];
    let two = vec![Cell::Integer(i64::MAX), Cell::Bytes(vec![0, 255])];
    let null = Cell::Null;
    assert_eq!(
        seen[..3],
        [(one.clone(), Insert, null.clone()), (two, Insert, null), (one.clone(), Update, Cell::Integer(7)),]
    );
    assert!(seen[3..].contains(&(one, Delete, Cell::Integer(8))), "{seen:?}");
}

#[tokio::test]
async fn pruned_changes_are_a_gap_once_and_the_rest_is_told() {
    let file = File::new(TABLE);
    let _store = file.store_of("t", &["id"], 10).await;
    let tail = file.tail(EchoPolicy::Suppress);
    let start = tail.end().unwrap();
    for id in 1..=25 {
        file.execute(&format!("INSERT INTO t VALUES ({id}, '', 1)"));
    }
    let (events, _, end) = follow(&tail, &start, 4);
    assert_eq!(gaps(&events), [&Gap { after: 0, until: 15, cause: GapCause::Pruned }]);
    assert_eq!(told(&events[1..]), (16..=25).map(|id| (id, Insert)).collect::<Vec<_>>());
    assert_eq!(follow(&tail, &end, 4).0, []);
    // Even if nothing at all is left.
    file.execute("DELETE FROM _selfsame_changes");
    assert_eq!(follow(&tail, &end, 4).0, []);
    let (events, _, _) = follow(&tail, &Position { seq: end.seq - 1, ..end }, 4);
    assert_eq!(gaps(&events), [&Gap { after: 24, until: 25, cause: GapCause::Pruned }]);
}

#[tokio::test]
async fn a_consumer_that_is_up_to_date_never_sees_a_gap_because_of_another_table() {
    let file = File::new(&format!("{TABLE}; CREATE TABLE other (id INTEGER PRIMARY KEY, updated_at)"));
    let _store = file.store_of("t", &["id"], 10).await;
    let _other = file.store_of("other", &["id"], 10).await;
    let tail = file.tail(EchoPolicy::Suppress);
    let mut at = tail.end().unwrap();
    for id in 1..=50 {
        file.execute(&format!("INSERT INTO other VALUES ({id}, 1)"));
        let page = tail.read(&at, 1).unwrap();
        assert_eq!((page.events.len(), page.more), (0, false));
        at = page.next;
    }
    file.execute("INSERT INTO t VALUES (1, '', 1)");
    assert_eq!(told(&tail.read(&at, 10).unwrap().events), [(1, Insert)]);
}

#[tokio::test]
async fn an_interrupted_recording_is_an_error_while_it_lasts_and_a_gap_afterwards() {
    let file = File::new(TABLE);
    let _store = file.store().await;
    let tail = file.tail(EchoPolicy::Suppress);
    let start = tail.end().unwrap();
    file.execute("INSERT INTO t VALUES (1, '', 1)");
    // As an application rebuilds a table: the triggers go with the old one.
    file.execute(
        "CREATE TABLE n (id INTEGER PRIMARY KEY, name TEXT, updated_at INTEGER); INSERT INTO n SELECT * FROM t; \
         DROP TABLE t; ALTER TABLE n RENAME TO t; INSERT INTO t VALUES (2, '', 1)",
    );
    let refused = tail.read(&start, 10).unwrap_err();
    assert!(matches!(&refused, TailError::Feed(FeedError::NotRecorded(table)) if table == "t"), "{refused}");
    let _again = file.store().await;
    file.execute("INSERT INTO t VALUES (3, '', 1)");
    let (events, _, end) = follow(&tail, &start, 10);
    assert_eq!(told(&events[..1]), [(1, Insert)]);
    assert_eq!(gaps(&events), [&Gap { after: 1, until: 2, cause: GapCause::Cut }]);
    assert_eq!(told(&events[2..]), [(3, Insert)]);
    assert_eq!(follow(&tail, &end, 10).0, []);
}

#[tokio::test]
async fn a_file_that_was_restored_or_replaced_is_a_gap() {
    let file = File::new(TABLE);
    let store = file.store().await;
    let tail = file.tail(EchoPolicy::Suppress);
    file.execute("INSERT INTO t VALUES (1, '', 1); INSERT INTO t VALUES (2, '', 1)");
    let ahead = Position { seq: 1_000, ..tail.end().unwrap() };
    let page = tail.read(&ahead, 10).unwrap();
    assert_eq!(gaps(&page.events), [&Gap { after: 1_000, until: 2, cause: GapCause::WentBack }]);
    assert_eq!((page.next.seq, page.more), (2, false));

    let before = tail.end().unwrap();
    drop(store);
    for suffix in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{suffix}", file.path.display()));
    }
    file.execute(TABLE);
    let _store = file.store().await;
    file.execute("INSERT INTO t VALUES (1, '', 1), (2, '', 1), (3, '', 1)");
    let page = tail.read(&before, 10).unwrap();
    assert_eq!(gaps(&page.events), [&Gap { after: 2, until: 3, cause: GapCause::OtherStore }]);
    assert_eq!(page.next, tail.end().unwrap());
}

#[tokio::test]
async fn what_cannot_be_told_is_a_gap_and_what_comes_after_it_is_told() {
    let file = File::new("CREATE TABLE t (id NOT NULL UNIQUE, updated_at)");
    let _store = file.store().await;
    file.execute(
        "INSERT INTO t VALUES (1, 1), (CAST(x'ff' AS TEXT), 1), (2, 1);
         INSERT INTO _selfsame_changes (tbl, op, k1, origin) VALUES ('t', 'update', 2, 'selfsame/2 what');
         INSERT INTO _selfsame_changes (tbl, op, k1) VALUES ('t', 'truncate', 2);
         INSERT INTO t VALUES (3, 1)",
    );
    for policy in [EchoPolicy::Suppress, EchoPolicy::Keep] {
        let tail = file.tail(policy);
        let start = Position { seq: 0, ..tail.end().unwrap() };
        let Page { events, suppressed, .. } = tail.read(&start, 10).unwrap();
        assert_eq!(suppressed, 0);
        let causes: Vec<_> =
            gaps(&events).into_iter().map(|gap| (gap.after, gap.until, gap.cause.clone())).collect();
        assert_eq!(
            causes,
            [
                (1, 2, GapCause::UnreadableKey),
                (3, 4, GapCause::UnknownMarker("selfsame/2 what".into())),
                (4, 5, GapCause::UnknownOperation("truncate".into())),
            ]
        );
        let changes: Vec<_> = events.into_iter().filter(|event| matches!(event, Event::Change(_))).collect();
        assert_eq!(told(&changes), [(1, Insert), (2, Insert), (3, Insert)]);
    }
}

#[tokio::test]
async fn what_cannot_be_followed_is_refused() {
    let file = File::new(TABLE);
    let not_recorded =
        |tail: SqliteTail| matches!(tail.end(), Err(TailError::Feed(FeedError::NotRecorded(_))));
    assert!(not_recorded(file.tail(EchoPolicy::Keep)), "no setup");
    let _store = file.store().await;
    let start = file.tail(EchoPolicy::Keep).end().unwrap();
    for name in ["T", "u", ""] {
        let feed = SqliteFeed::new(name, 1, EchoPolicy::Keep).unwrap();
        assert!(not_recorded(SqliteTail::new(&file.path, feed)), "{name}");
    }
    for columns in [0, 9] {
        assert_eq!(SqliteFeed::new("t", columns, EchoPolicy::Keep), Err(FeedError::KeyColumns(columns)));
    }
    file.execute("UPDATE _selfsame_meta SET value = 2 WHERE name = 'format'");
    let answer = file.tail(EchoPolicy::Keep).read(&start, 10);
    assert!(matches!(answer, Err(TailError::Feed(FeedError::Format))), "{answer:?}");
    let missing = SqliteTail::new(
        file.path.with_file_name("missing.db"),
        SqliteFeed::new("t", 1, EchoPolicy::Keep).unwrap(),
    );
    assert!(matches!(missing.end(), Err(TailError::Sqlite(_))));
    assert!(!file.path.with_file_name("missing.db").exists());
}

/// Every statement in the documentation runs as it stands there, and the two that make up a page are ours.
#[tokio::test]
async fn the_documented_statements_run() {
    let file = File::new("CREATE TABLE products (id INTEGER PRIMARY KEY, body TEXT, updated_at INTEGER)");
    let _store = file.store_of("products", &["id"], 100).await;
    let docs = include_str!("../../../docs/change-streams.md");
    let connection = Connection::open(&file.path).unwrap();
    let mut count = 0;
    for block in docs.split("```sql\n").skip(1) {
        let sql = block.split("```").next().unwrap();
        for statement in sql.split(";\n").filter(|statement| !statement.trim().is_empty()) {
            let prepared = connection.prepare(statement);
            assert!(prepared.is_ok(), "{statement}: {:?}", prepared.err());
            count += 1;
        }
    }
    assert!(count >= 5, "{count} statements");
    let words = |sql: &str| {
        sql.replace(":table", "?1").split_whitespace().map(str::to_owned).collect::<Vec<_>>().join(" ")
    };
    assert!(words(docs).contains(&words(SqliteFeed::BOUNDS_SQL)));
}
