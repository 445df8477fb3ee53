//! Paging, and reading by key.

use std::collections::BTreeSet;

use crate::support::*;
use rusqlite::params;
use rusqlite::types::Value;
use selfsame_core::{Key, KeyAs, KeyPart, MappingSpec, UnreadableReason};
use selfsame_store::{Cursor, PageSize, Read, Scope, Store, StoreError};

fn decimal(text: &str) -> Key {
    Key::from_typed(text)
}

fn bytes(bytes: &[u8]) -> Key {
    Key::new(vec![KeyPart::Bytes(bytes.to_vec())]).unwrap()
}

#[tokio::test]
async fn keys_of_all_storage_classes_are_visited_once_whatever_the_page_size() {
    let file = File::new("CREATE TABLE t (id PRIMARY KEY NOT NULL, name TEXT)");
    let client = file.client();
    let values = [
        Value::Integer(i64::MIN),
        Value::Integer(i64::MAX),
        Value::Integer(0),
        Value::Integer(1),
        Value::Real(0.1),
        Value::Real(-1e300),
        Value::Real(1e300),
        Value::Real(5e-324),
        Value::Real(1e15),
        Value::Text(String::new()),
        Value::Text("1".into()),
        Value::Text("0.1".into()),
        Value::Text("a\0b".into()),
        Value::Text("A".into()),
        Value::Text("a".into()),
        Value::Text("ä".into()),
        Value::Blob(vec![]),
        Value::Blob(b"a".to_vec()),
        Value::Blob(vec![0, 255]),
    ];
    for value in &values {
        client.execute("INSERT INTO t VALUES (?1, 'x')", [value]).unwrap();
    }
    let store = file.store(plain()).await;
    let all = keys(&store, 1000).await;
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), values.len());
    for rows in 1..5 {
        assert_eq!(keys(&store, rows).await, all, "pages of {rows}");
    }
    for key in &all {
        assert_eq!(&live(&store, key).await.entry.key, key);
    }
    assert!(all.contains(&decimal("9223372036854775807")) && all.contains(&decimal("0.1")));
    assert!(all.contains(&Key::text("1")) && all.contains(&decimal("1")) && all.contains(&bytes(b"a")));
    assert_eq!(store.count().await.unwrap(), values.len() as u64);
}

#[tokio::test]
async fn a_key_never_matches_a_row_of_another_type_whatever_the_columns_affinity() {
    for declared in ["TEXT", "INTEGER", "REAL", "NUMERIC", "BLOB", "TEXT COLLATE NOCASE"] {
        let file = File::new(&format!("CREATE TABLE t (id {declared} NOT NULL UNIQUE, name TEXT)"));
        file.execute("INSERT INTO t VALUES ('1', 'x'), (2, 'x'), (2.5, 'x'), ('Ab', 'x'), (x'31', 'x')");
        let store = file.store(plain()).await;
        let held: BTreeSet<Key> = keys(&store, 2).await.into_iter().collect();
        assert_eq!(held.len(), 5, "{declared}");
        let asked = [
            decimal("1"),
            Key::text("1"),
            decimal("2"),
            Key::text("2"),
            decimal("2.5"),
            Key::text("2.5"),
            Key::text("2.0"),
            Key::text("Ab"),
            Key::text("ab"),
            Key::text("1.0"),
            bytes(b"1"),
            bytes(b"2"),
        ];
        let read = store.read(&asked).await.unwrap();
        for (key, read) in asked.iter().zip(read) {
            assert_eq!(read.document().is_some(), held.contains(key), "{declared}: {key}");
            assert!(read.document().is_none_or(|document| document.entry.key == *key));
        }
    }
}

#[tokio::test]
async fn composite_keys_page_in_the_order_of_their_index() {
    for table in [
        "CREATE TABLE t (name TEXT, id NOT NULL, region TEXT NOT NULL, PRIMARY KEY (region, id))",
        "CREATE TABLE t (name TEXT, id, region TEXT, PRIMARY KEY (region, id)) WITHOUT ROWID",
        "CREATE TABLE t (name TEXT, id NOT NULL, region TEXT NOT NULL);
         CREATE UNIQUE INDEX u ON t (region COLLATE NOCASE, id DESC)",
    ] {
        let file = File::new(table);
        let client = file.client();
        for id in 0..7 {
            for region in ["a", "b", "ü"] {
                let id = if id % 2 == 0 { Value::Integer(id) } else { Value::Text(id.to_string()) };
                client.execute("INSERT INTO t VALUES ('x', ?1, ?2)", params![id, region]).unwrap();
            }
        }
        let spec = MappingSpec { key: vec!["id".into(), "region".into()], ..plain() };
        let store = file.store(spec).await;
        let all = keys(&store, 1000).await;
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), 21, "{table}");
        for rows in [1, 2, 3, 20] {
            assert_eq!(keys(&store, rows).await, all, "{table}, pages of {rows}");
        }
        assert_eq!(live(&store, &decimal(r#"["1","ü"]"#)).await.entry.key, decimal(r#"["1","ü"]"#));
        for absent in [r#"[1,"ü"]"#, r#"["ü"]"#, r#"["1","Ü"]"#, r#"["1","A"]"#] {
            assert_eq!(read_one(&store, &decimal(absent)).await, Read::Absent, "{absent}");
        }
    }
}

#[tokio::test]
async fn pages_are_bounded_by_bytes_and_a_large_row_comes_alone() {
    let file = File::new("CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT)");
    let client = file.client();
    for (id, length) in [(1, 10), (2, 10), (3, 500), (4, 10), (5, 10)] {
        client.execute("INSERT INTO t VALUES (?1, ?2)", params![id, "x".repeat(length)]).unwrap();
    }
    let store = file.store(plain()).await;
    let (mut sizes, mut from) = (Vec::new(), None);
    loop {
        let page = store.scan(Scope::All, from.as_ref(), PageSize { rows: 10, bytes: 40 }).await.unwrap();
        sizes.push(page.rows.len());
        from = page.next;
        if from.is_none() {
            break;
        }
    }
    assert_eq!(sizes, [2, 1, 2]);
}

#[tokio::test]
async fn cursors_work_on_another_instance_and_foreign_ones_are_refused() {
    let file = File::new(DOCUMENTS);
    file.execute("INSERT INTO t VALUES (1, '{}'), (2, '{}'), (3, '{}')");
    let one = PageSize { rows: 1, bytes: 100 };
    let cursor = file.store(documents()).await.scan(Scope::All, None, one).await.unwrap().next.unwrap();
    let other = file.store(documents()).await;
    file.execute("DELETE FROM t WHERE id = 1; INSERT INTO t VALUES (-5, '{}')");
    let page = other.scan(Scope::All, Some(&cursor), one).await.unwrap();
    assert_eq!(page.rows[0].as_ref().unwrap().entry.key, Key::integer(2));

    let elsewhere = File::new("CREATE TABLE t (id TEXT PRIMARY KEY NOT NULL COLLATE NOCASE, body TEXT)");
    elsewhere.execute("INSERT INTO t VALUES ('a', '{}'), ('b', '{}')");
    let foreign = elsewhere.store(documents()).await.scan(Scope::All, None, one).await.unwrap().next.unwrap();
    let mut cut = cursor.clone();
    cut.0.pop();
    let mut longer = cursor.clone();
    longer.0.push(0);
    for cursor in [foreign, cut, longer, Cursor(vec![]), Cursor(vec![255; 40])] {
        assert_eq!(other.scan(Scope::All, Some(&cursor), one).await, Err(StoreError::Cursor));
    }
}

#[tokio::test]
async fn rows_without_a_single_meaning_are_named_and_the_others_are_unaffected() {
    let file = File::new("CREATE TABLE t (id TEXT NOT NULL UNIQUE, body TEXT)");
    file.execute(
        "INSERT INTO t VALUES ('a', '{\"n\":1}'), ('b', CAST(x'7bff7d' AS TEXT)), (CAST(x'63ff' AS TEXT), '{}'), \
         ('d', 'no'), ('e', NULL), ('f', '{\"n\":1,\"n\":2}'), ('g', '{}'), \
         ('h', '{\"x\":\"' || printf('%.*c', 2000, 'x') || '\"}')",
    );
    let store = file.store(MappingSpec { document_bytes_max: 1000, ..documents() }).await;
    for rows in [1, 3, 100] {
        let rows = walk(&store, PageSize { rows, bytes: usize::MAX }).await;
        let good: Vec<_> = rows.iter().flatten().map(|document| document.entry.key.to_string()).collect();
        assert_eq!(good, [r#""a""#, r#""g""#]);
        let bad: Vec<_> = rows
            .iter()
            .filter_map(|row| row.as_ref().err())
            .map(|bad| (bad.key.as_ref().map(Key::to_string), bad.place.as_str(), bad.reason.clone()))
            .collect();
        assert_eq!(bad.len(), 6);
        assert_eq!(bad[0], (Some(r#""b""#.into()), "rowid 2", UnreadableReason::NotUnicode("body".into())));
        assert_eq!(bad[1], (None, "rowid 3", UnreadableReason::NotUnicode("id".into())));
        assert_eq!(bad[5], (Some(r#""h""#.into()), "rowid 8", UnreadableReason::TooLarge(1000)));
    }
    assert_eq!(store.count().await.unwrap(), 8);
    assert!(matches!(read_one(&store, &Key::text("b")).await, Read::Unreadable(_)));
}

#[tokio::test]
async fn rows_that_meet_as_text_are_unreadable_both_in_scans_and_in_reads() {
    let file = File::new("CREATE TABLE t (id PRIMARY KEY NOT NULL, name TEXT)");
    file.execute(
        "INSERT INTO t VALUES (1, 'a'), ('1', 'b'), (2, 'c'), (x'0a', 'd'), ('0a', 'e'), (0.5, 'f'), ('1.0', 'g')",
    );
    let store = file.store(MappingSpec { key_as: KeyAs::String, ..plain() }).await;
    let rows = walk(&store, PageSize { rows: 2, bytes: usize::MAX }).await;
    let good: BTreeSet<_> = rows.iter().flatten().map(|row| row.entry.key.clone()).collect();
    assert_eq!(good, [Key::text("2"), Key::text("0.5"), Key::text("1.0")].into());
    let twins: Vec<_> = rows.into_iter().filter_map(Result::err).collect();
    assert_eq!(twins.len(), 4);
    assert!(twins.iter().all(|twin| twin.reason == UnreadableReason::DuplicateKey && twin.key.is_some()));
    assert!(matches!(read_one(&store, &Key::text("1")).await, Read::Unreadable(_)));
    assert!(matches!(read_one(&store, &Key::text("0.5")).await, Read::Live(_)));
    assert_eq!(read_one(&store, &Key::integer(2)).await, Read::Absent);

    // The same for numbers: an integer and a float of another value whose shortest decimal is that integer.
    let file = File::new("CREATE TABLE t (id PRIMARY KEY NOT NULL, name TEXT)");
    file.client()
        .execute("INSERT INTO t VALUES (1152921504606847000, 'a'), (?1, 'b')", [(1_u64 << 60) as f64])
        .unwrap();
    let store = file.store(plain()).await;
    let rows = walk(&store, ALL).await;
    assert_eq!(rows.len(), 2);
    assert!(rows.iter().all(Result::is_err));
}

#[tokio::test]
async fn floats_are_their_shortest_decimal() {
    let file = File::new("CREATE TABLE t (id REAL PRIMARY KEY NOT NULL, price REAL, \"note\" TEXT)");
    file.client()
        .execute("INSERT INTO t VALUES (0.1, 0.30000000000000004, NULL), (3, 1e23, '')", [])
        .unwrap();
    let store = file.store(plain()).await;
    assert_eq!(keys(&store, 1).await, [decimal("0.1"), decimal("3")]);
    assert_eq!(read_one(&store, &decimal("0.10000000000000001")).await, Read::Absent);
    let other = File::new("CREATE TABLE t (id REAL PRIMARY KEY NOT NULL, note TEXT, price)");
    other.execute("INSERT INTO t VALUES (3.0, '', 100000000000000000000000)");
    let other = other.store(plain()).await;
    let key = decimal("3");
    assert_eq!(live(&store, &key).await.entry, live(&other, &key).await.entry);
}

#[tokio::test]
async fn marked_documents_are_told_apart_and_text_from_bytes() {
    let file = File::new("CREATE TABLE t (id INTEGER PRIMARY KEY, body)");
    file.execute("INSERT INTO t VALUES (1, '{\"deleted_at\":5}'), (2, x'7b7d'), (3, '{}')");
    let store = file.store(documents()).await;
    assert!(matches!(read_one(&store, &Key::integer(1)).await, Read::Marked(_)));
    assert!(matches!(read_one(&store, &Key::integer(2)).await, Read::Unreadable(_)));
    let keys = [3, 9, 1].map(Key::integer);
    let read = store.read(&keys).await.unwrap();
    assert!(matches!(read.as_slice(), [Read::Live(_), Read::Absent, Read::Marked(_)]));
    let bytes = File::new("CREATE TABLE t (id INTEGER PRIMARY KEY, name)");
    bytes.execute("INSERT INTO t VALUES (1, 'a'), (2, x'61')");
    let store = bytes.store(plain()).await;
    let content = async |id| live(&store, &Key::integer(id)).await.entry.content;
    assert_ne!(content(1).await, content(2).await);
}

#[tokio::test]
async fn an_added_column_is_content_from_the_next_call_on() {
    let file = File::new("CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT)");
    file.execute("INSERT INTO t VALUES (1, 'a')");
    let store = file.store(plain()).await;
    let before = live(&store, &Key::integer(1)).await;
    file.execute("ALTER TABLE t ADD COLUMN colour TEXT DEFAULT 'red'");
    let after = live(&store, &Key::integer(1)).await;
    assert_ne!(before.entry.content, after.entry.content);
    assert_eq!(after.row.cell("colour"), Some(&text("red")));
    assert!(!changes(&store, 0).await.changes.iter().any(|_| true));
}

#[tokio::test]
async fn a_generated_version_is_read_and_names_need_quoting() {
    let file = File::new(
        "CREATE TABLE \"a \"\"b' c\" (\"the \"\"id\" INTEGER PRIMARY KEY, body TEXT, rowid TEXT, \
         v INTEGER GENERATED ALWAYS AS (length(body)) VIRTUAL)",
    );
    let spec = MappingSpec {
        key: vec!["the \"id".into()],
        document: Some("body".into()),
        version: millis("v"),
        ..plain()
    };
    let options = selfsame_store_sqlite::SqliteOptions { table: "a \"b' c".into(), ..file.options(spec) };
    let store = selfsame_store_sqlite::SqliteStore::open(options).await.unwrap();
    file.execute("INSERT INTO \"a \"\"b' c\" VALUES (1, '{}', 'r')");
    assert_eq!(live(&store, &Key::integer(1)).await.entry.version.0, 2000);
    let change = &changes(&store, 0).await.changes[0];
    assert_eq!((&change.key, &change.origin), (&Key::integer(1), &None));
}

#[tokio::test]
async fn a_file_in_utf_16_pages_and_reads_alike() {
    let file = File::new("CREATE TABLE x (id)");
    std::fs::remove_file(&file.path).unwrap();
    file.execute(
        "PRAGMA encoding = 'UTF-16'; CREATE TABLE t (id TEXT NOT NULL UNIQUE, name TEXT);
         INSERT INTO t VALUES ('a', 'ä'), ('ä', ''), ('😀', '😀'), ('z', x'61'), ('ｚ', 'x')",
    );
    let store = file.store(plain()).await;
    let all = keys(&store, 100).await;
    assert_eq!(keys(&store, 1).await, all);
    assert_eq!(all.len(), 5);
    assert_eq!(live(&store, &Key::text("😀")).await.row.cell("name"), Some(&text("😀")));
}
