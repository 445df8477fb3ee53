//! The change feed.

use crate::support::*;
use selfsame_core::{Cell, Key, LastSeen, MappingSpec, OriginMarker, Version, WallMicros};
use selfsame_store::{Change, ChangeKind, Expected, FeedPosition, PageSize, Store, StoreError, WriteOutcome};
use selfsame_store_sqlite::{Setup, SqliteOptions, SqliteStore};

fn told(change: &Change) -> (String, ChangeKind, Option<i64>, bool) {
    (change.key.to_string(), change.kind, change.old.map(|old| old.version.0), change.origin.is_some())
}

#[tokio::test]
async fn repairs_show_their_marker_and_clients_none() {
    let file = File::new(COLUMNS);
    let store = file.store(columns()).await;
    file.execute(
        "INSERT INTO t (id, updated_at) VALUES (1, 5); UPDATE t SET updated_at = 6; DELETE FROM t; \
         INSERT INTO t (id, updated_at) VALUES (2, 7)",
    );
    let key = Key::integer(2);
    let winner = row(&[
        ("id", Cell::Integer(2)),
        ("name", Cell::Null),
        ("price", Cell::Null),
        ("updated_at", Cell::Integer(9)),
    ]);
    let outcome = apply_one(&store, put(1, key.clone(), expected(&store, &key).await, winner)).await;
    assert!(matches!(outcome, WriteOutcome::Applied { .. }));
    apply_one(&store, delete(2, key.clone(), expected(&store, &key).await)).await;
    file.execute("BEGIN; INSERT INTO t (id) VALUES (3); ROLLBACK; UPDATE t SET name = 'x' WHERE id = 99");

    let feed = changes(&store, 0).await;
    let seen: Vec<_> = feed.changes.iter().map(told).collect();
    use ChangeKind::{Delete, Insert, Update};
    assert_eq!(
        seen,
        [
            ("1".into(), Insert, None, false),
            ("1".into(), Update, Some(5000), false),
            ("1".into(), Delete, Some(6000), false),
            ("2".into(), Insert, None, false),
            ("2".into(), Update, Some(7000), true),
            ("2".into(), Delete, Some(9000), true),
        ]
    );
    assert_eq!(feed.changes[4].origin, Some(marker(1)));
    assert!(!feed.gap);
    let rest = store.changes(feed.next, ALL).await.unwrap();
    assert_eq!((rest.changes.len(), rest.next, rest.gap), (0, feed.next, false));
    let markers: Vec<String> = {
        let client = file.client();
        let mut statement = client.prepare("SELECT marker FROM _selfsame_origin ORDER BY seq").unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    };
    assert_eq!(
        markers.iter().map(|text| text.parse::<OriginMarker>().unwrap()).collect::<Vec<_>>(),
        [marker(1), marker(2)]
    );
}

#[tokio::test]
async fn a_refused_repair_leaves_no_change_and_no_marker_for_the_next_client() {
    let file = File::new("CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER CHECK (n < 10))");
    let store = file.store(plain()).await;
    let winner = row(&[("id", Cell::Integer(1)), ("n", Cell::Integer(50))]);
    let outcome = apply_one(&store, put(1, Key::integer(1), Expected::Absent, winner)).await;
    assert!(matches!(outcome, WriteOutcome::Refused(_)));
    file.execute("INSERT INTO t VALUES (1, 1)");
    let feed = changes(&store, 0).await;
    assert_eq!(
        feed.changes.iter().map(told).collect::<Vec<_>>(),
        [("1".into(), ChangeKind::Insert, None, false)]
    );
    assert_eq!(file.number("SELECT count(*) FROM _selfsame_meta WHERE name = 'writing'"), 0);
}

#[tokio::test]
async fn pages_of_the_feed_follow_each_other_and_other_tables_do_not_show() {
    let file = File::new(&format!("{COLUMNS}; CREATE TABLE other (id INTEGER PRIMARY KEY)"));
    let store = file.store(columns()).await;
    let other = SqliteOptions { table: "other".into(), ..file.options(plain()) };
    let other = SqliteStore::open(other).await.unwrap();
    let start = changes(&store, 0).await.next;
    for id in 0..10 {
        file.execute(&format!("INSERT INTO t (id) VALUES ({id}); INSERT INTO other VALUES ({id})"));
    }
    let (mut seen, mut from) = (Vec::new(), start);
    loop {
        let page = store.changes(from, PageSize { rows: 3, bytes: 1000 }).await.unwrap();
        assert!(page.changes.len() <= 3 && !page.gap);
        if page.changes.is_empty() {
            break;
        }
        assert!(page.next > from);
        from = page.next;
        seen.extend(page.changes);
    }
    assert_eq!(
        seen.iter().map(|change| change.key.clone()).collect::<Vec<_>>(),
        (0..10).map(Key::integer).collect::<Vec<_>>()
    );
    assert!(seen.is_sorted_by_key(|change| change.position));
    // The second table's feed began later than the file's: nobody knows what came before.
    let page = other.changes(FeedPosition(0), ALL).await.unwrap();
    assert_eq!(page.changes.len(), 10);
}

#[tokio::test]
async fn pruned_rows_are_a_gap_and_the_table_stays_bounded() {
    let file = File::new(COLUMNS);
    let options = SqliteOptions { change_retention_rows: 50, ..file.options(columns()) };
    let store = SqliteStore::open(options).await.unwrap();
    let client = file.client();
    let position = changes(&store, 0).await.next;
    for id in 0..200 {
        client.execute("INSERT INTO t (id) VALUES (?1)", [id]).unwrap();
        assert_eq!(client.last_insert_rowid(), id, "the application's own rowid is untouched");
        assert_eq!(client.changes(), 1);
    }
    assert_eq!(file.number("SELECT count(*) FROM _selfsame_changes"), 50);
    let feed = store.changes(position, ALL).await.unwrap();
    assert!(feed.gap);
    assert_eq!(feed.changes.len(), 50);
    assert_eq!(feed.changes[0].key, Key::integer(150));
    let first = feed.changes[0].position.0;
    assert!(!changes(&store, first - 1).await.gap);
    assert!(changes(&store, first - 2).await.gap);
    file.execute("DELETE FROM _selfsame_changes");
    assert!(changes(&store, feed.next.0 - 1).await.gap);
    assert!(!changes(&store, feed.next.0).await.gap);
    let ahead = changes(&store, 10_000).await;
    assert!(ahead.gap, "the feed went back");
    assert_eq!(ahead.next, feed.next);
}

#[tokio::test]
async fn an_interruption_of_the_recording_is_a_gap_just_where_it_was() {
    let file = File::new(COLUMNS);
    let store = file.store(columns()).await;
    file.execute("INSERT INTO t (id) VALUES (1)");
    // As an application rebuilds a table: the triggers go with the old one.
    file.execute(
        "CREATE TABLE n (id INTEGER PRIMARY KEY, name TEXT, price REAL, updated_at INTEGER, views INTEGER, x);
         INSERT INTO n SELECT *, 1 FROM t; DROP TABLE t; ALTER TABLE n RENAME TO t;
         INSERT INTO t (id) VALUES (2)",
    );
    let before = changes(&store, 0).await;
    file.execute("INSERT INTO t (id) VALUES (3)");
    assert_eq!(before.changes.len(), 1);
    assert!(!before.gap);
    let after = store.changes(before.next, ALL).await.unwrap();
    assert!(after.gap);
    assert_eq!(
        after.changes.iter().map(told).collect::<Vec<_>>(),
        [("3".into(), ChangeKind::Insert, None, false)]
    );
    assert!(!store.changes(after.next, ALL).await.unwrap().gap);
}

#[tokio::test]
async fn keys_of_every_type_come_through_and_a_changed_key_is_a_delete_and_an_insert() {
    let file = File::new("CREATE TABLE t (id NOT NULL, r TEXT NOT NULL COLLATE NOCASE, n, UNIQUE (id, r))");
    let store = file.store(MappingSpec { key: vec!["r".into(), "id".into()], ..plain() }).await;
    file.execute(
        "INSERT INTO t VALUES (9223372036854775807, 'a', 0), (0.1, 'a', 0), (x'00ff', 'it''s', 0), ('1', '', 0);
         UPDATE t SET r = 'A' WHERE id = 0.1; UPDATE t SET n = 1 WHERE id = '1'; UPDATE t SET id = 1 WHERE id = '1'",
    );
    let seen: Vec<_> =
        changes(&store, 0).await.changes.iter().map(|change| (change.key.clone(), change.kind)).collect();
    use ChangeKind::{Delete, Insert, Update};
    let key = Key::from_typed;
    assert_eq!(
        seen,
        [
            (key(r#"["a",9223372036854775807]"#), Insert),
            (key(r#"["a",0.1]"#), Insert),
            (key(r#"["it's",{"$bytes":"00ff"}]"#), Insert),
            (key(r#"["","1"]"#), Insert),
            (key(r#"["a",0.1]"#), Delete),
            (key(r#"["A",0.1]"#), Insert),
            (key(r#"["","1"]"#), Update),
            (key(r#"["","1"]"#), Delete),
            (key(r#"["",1]"#), Insert),
        ]
    );
}

#[tokio::test]
async fn where_replace_can_evict_other_keys_every_answer_says_gap() {
    let spec = || MappingSpec { columns: Some(vec!["sku".into()]), ..plain() };
    for (table, evicts) in [
        ("CREATE TABLE t (id INTEGER PRIMARY KEY, sku TEXT)", false),
        ("CREATE TABLE t (id INTEGER PRIMARY KEY, sku TEXT, UNIQUE (sku, id))", false),
        ("CREATE TABLE t (id INTEGER PRIMARY KEY, sku TEXT UNIQUE)", true),
        (
            "CREATE TABLE t (id INTEGER PRIMARY KEY, sku TEXT); CREATE UNIQUE INDEX u ON t (sku) WHERE sku > 'm'",
            true,
        ),
        ("CREATE TABLE t (n INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, sku TEXT)", true),
        ("CREATE TABLE t (id TEXT NOT NULL UNIQUE COLLATE NOCASE, sku TEXT)", true),
    ] {
        let file = File::new(table);
        let store = file.store(spec()).await;
        file.execute(
            "INSERT INTO t (id, sku) VALUES (1, 'x'); INSERT OR REPLACE INTO t (id, sku) VALUES (2, 'x')",
        );
        let feed = changes(&store, 0).await;
        assert_eq!(feed.gap, evicts, "{table}");
        assert_eq!(feed.changes.len(), 2);
    }
}

#[tokio::test]
async fn versions_that_are_no_column_are_unknown_and_unreadable_ones_too() {
    let file = File::new(DOCUMENTS);
    let store = file.store(documents()).await;
    file.execute("INSERT INTO t VALUES (1, '{\"updated_at\":5}'); DELETE FROM t");
    assert_eq!(changes(&store, 0).await.changes[1].old, None);

    let file = File::new("CREATE TABLE t (id INTEGER PRIMARY KEY, body TEXT, updated_at)");
    let store = file.store(documents()).await;
    file.execute("INSERT INTO t VALUES (1, '{}', 5), (2, '{}', 'soon'), (3, '{}', NULL); DELETE FROM t");
    let old: Vec<_> = changes(&store, 0).await.changes[3..].iter().map(|change| change.old).collect();
    let at = |version| Some(LastSeen { version: Version(version), expiry: None });
    assert_eq!(old, [at(5000), None, at(0)]);
}

/// What the feed tells of the rows that are there and deleted at once.
async fn deleted(file: &File, spec: MappingSpec) -> Vec<Option<LastSeen>> {
    let store = file.store(spec).await;
    let before = changes(&store, 0).await.next;
    file.execute("DELETE FROM t");
    let feed = store.changes(before, ALL).await.unwrap();
    feed.changes.iter().map(|change| change.old).collect()
}

#[tokio::test]
async fn the_expiry_of_what_was_deleted_is_told_as_rows_tell_it() {
    let expiring = || MappingSpec { expiry: millis("ends"), ..columns() };
    let file = File::new("CREATE TABLE t (id INTEGER PRIMARY KEY, updated_at, ends)");
    file.execute("INSERT INTO t VALUES (1, 5, 7), (2, 5, NULL), (3, 5, 'soon'), (4, 5, x''), (5, NULL, 8)");
    let told = |version, expiry: Option<i64>| {
        Some(LastSeen { version: Version(version), expiry: expiry.map(WallMicros) })
    };
    let deleted_rows = deleted(&file, expiring()).await;
    assert_eq!(deleted_rows, [told(5000, Some(7000)), told(5000, None), None, None, told(0, Some(8000))]);

    // A member of a document is not looked for.
    let file = File::new(DOCUMENTS);
    file.execute("INSERT INTO t VALUES (1, '{\"ends\":5}')");
    let inside = MappingSpec { version: None, expiry: millis("ends"), ..documents() };
    assert_eq!(deleted(&file, inside).await, [None]);
}

#[tokio::test]
async fn what_was_recorded_without_an_expiry_is_no_proof_and_the_column_is_added() {
    let expiring = || MappingSpec { expiry: millis("ends"), ..columns() };
    let file = File::new("CREATE TABLE t (id INTEGER PRIMARY KEY, updated_at, ends)");
    file.store(expiring()).await;
    // As an earlier version left it: no column, and triggers that do not write it.
    let client = file.client();
    let triggers: Vec<(String, String)> = client
        .prepare("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'")
        .unwrap()
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    for (name, sql) in &triggers {
        assert!(sql.contains(", old_expiry"), "{sql}");
        let without = [(", old_expiry", ""), (", NULL, NULL", ", NULL"), (", OLD.\"ends\"", "")];
        let old = without.iter().fold(sql.clone(), |sql, (part, instead)| sql.replace(part, instead));
        client.execute_batch(&format!("DROP TRIGGER \"{name}\"; {old}")).unwrap();
    }
    client.execute_batch("ALTER TABLE _selfsame_changes DROP COLUMN old_expiry").unwrap();
    client.execute_batch("INSERT INTO t VALUES (1, 5, 7), (2, 5, NULL); DELETE FROM t").unwrap();

    let options = SqliteOptions { setup: Setup::Manual, ..file.options(expiring()) };
    match SqliteStore::open(options).await {
        Err(StoreError::Schema(why)) => assert!(why.contains("old_expiry"), "{why}"),
        other => panic!("{other:?}"),
    }
    let store = file.store(expiring()).await;
    let old = |changes: &[Change]| changes.iter().map(|change| change.old).collect::<Vec<_>>();
    assert_eq!(old(&changes(&store, 0).await.changes), [None; 4]);
    let after = changes(&store, 4).await.next;
    file.execute("INSERT INTO t VALUES (3, 5, 7); DELETE FROM t");
    let told = LastSeen { version: Version(5000), expiry: Some(WallMicros(7000)) };
    assert_eq!(old(&store.changes(after, ALL).await.unwrap().changes), [None, Some(told)]);
}

#[tokio::test]
async fn a_key_that_cannot_be_told_is_a_gap() {
    let file = File::new("CREATE TABLE t (id TEXT NOT NULL UNIQUE)");
    let store = file.store(plain()).await;
    file.execute("INSERT INTO t VALUES ('a'), (CAST(x'ff' AS TEXT)), ('b')");
    let first = changes(&store, 0).await;
    assert_eq!((first.changes.len(), first.gap), (1, false));
    let second = store.changes(first.next, ALL).await.unwrap();
    assert_eq!((second.changes.len(), second.gap), (1, true));
    assert_eq!(second.changes[0].key, Key::text("b"));
}

#[tokio::test]
async fn rows_from_before_the_recording_are_a_gap_at_its_beginning_only() {
    let file = File::new(COLUMNS);
    file.execute("INSERT INTO t (id) VALUES (1)");
    let store = file.store(columns()).await;
    let first = changes(&store, 0).await;
    assert_eq!((first.changes.len(), first.gap), (0, true));
    file.execute("INSERT INTO t (id) VALUES (2)");
    let second = store.changes(first.next, ALL).await.unwrap();
    assert_eq!((second.changes.len(), second.gap), (1, false));
}
