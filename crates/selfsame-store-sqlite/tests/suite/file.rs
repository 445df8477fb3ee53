//! The file is missing, damaged, or replaced.

use std::fs;

use selfsame_core::{Cell, Key};
use selfsame_store::{Expected, Read, RepairBatch, Scope, Store, StoreError, WriteOutcome};
use selfsame_store_sqlite::{Access, SqliteOptions, SqliteStore};

use crate::support::*;

fn unavailable<T: std::fmt::Debug>(result: Result<T, StoreError>, file: &File) {
    match result {
        Err(StoreError::Unavailable(why)) => {
            assert!(why.contains(file.path.to_str().unwrap()) && why.contains("hint:"), "{why}");
        }
        other => panic!("{other:?}"),
    }
}

/// Every call says that the store is unavailable, and none that a row is absent.
async fn all_calls_fail(store: &SqliteStore, file: &File) {
    unavailable(store.read(&[Key::integer(1)]).await, file);
    unavailable(store.scan(Scope::All, None, ALL).await, file);
    unavailable(store.count().await, file);
    unavailable(store.identity().await, file);
    unavailable(store.changes(Default::default(), ALL).await, file);
    let winner = row(&[("id", Cell::Integer(1)), ("body", text("{}"))]);
    let items = vec![put(1, Key::integer(1), Expected::Absent, winner)];
    unavailable(store.apply(&RepairBatch { items }).await, file);
}

fn garbage() -> Vec<u8> {
    (0..20_000_u32).map(|byte| (byte * 31 % 251) as u8).collect()
}

#[tokio::test]
async fn a_missing_file_is_unavailable_and_is_not_made() {
    let file = File::new(DOCUMENTS);
    let missing = File { path: file.path.with_file_name("none.db"), ..file };
    for access in [Access::ReadOnly, Access::ReadWrite] {
        let options = SqliteOptions { access, ..missing.options(documents()) };
        unavailable(SqliteStore::open(options).await, &missing);
    }
    assert!(!missing.path.exists());
    fs::create_dir(&missing.path).unwrap();
    unavailable(SqliteStore::open(missing.options(documents())).await, &missing);
}

#[tokio::test]
async fn garbage_is_unavailable() {
    let file = File::new(DOCUMENTS);
    fs::remove_file(&file.path).unwrap();
    for content in [garbage(), b"x".to_vec(), [&b"SQLite format 3\0"[..], &garbage()].concat()] {
        fs::write(&file.path, content).unwrap();
        for access in [Access::ReadOnly, Access::ReadWrite] {
            let options = SqliteOptions { access, ..file.options(documents()) };
            unavailable(SqliteStore::open(options).await, &file);
        }
    }
    fs::write(&file.path, b"").unwrap();
    assert!(matches!(SqliteStore::open(file.options(documents())).await, Err(StoreError::Schema(_))));
}

#[tokio::test]
async fn a_deleted_file_is_not_read_on_and_one_that_comes_back_is() {
    let file = File::new(DOCUMENTS);
    file.execute("INSERT INTO t VALUES (1, '{}'); PRAGMA wal_checkpoint(TRUNCATE)");
    let store = file.store(documents()).await;
    let identity = store.identity().await.unwrap();
    assert!(matches!(read_one(&store, &Key::integer(1)).await, Read::Live(_)));
    file.execute("PRAGMA wal_checkpoint(TRUNCATE)");
    let aside = file.path.with_file_name("aside.db");
    fs::rename(&file.path, &aside).unwrap();
    all_calls_fail(&store, &file).await;
    fs::rename(&aside, &file.path).unwrap();
    assert_eq!(store.identity().await.unwrap(), identity);
    assert!(matches!(read_one(&store, &Key::integer(1)).await, Read::Live(_)));
}

#[tokio::test]
async fn another_file_renamed_over_it_is_read_and_has_another_identity() {
    let file = File::new(DOCUMENTS);
    file.execute("INSERT INTO t VALUES (1, '{}')");
    let store = file.store(documents()).await;
    let identity = store.identity().await.unwrap();
    apply_one(&store, delete(7, Key::integer(5), Expected::Absent)).await;

    let other = File::new(DOCUMENTS);
    other.execute(
        "INSERT INTO t VALUES (2, '{}'); PRAGMA wal_checkpoint(TRUNCATE); PRAGMA journal_mode = DELETE",
    );
    fs::rename(&other.path, &file.path).unwrap();
    for name in ["app.db-wal", "app.db-shm"] {
        let _ = fs::remove_file(file.path.with_file_name(name));
    }
    let without_setup = store.identity().await.unwrap();
    assert_ne!(without_setup, identity);
    assert_eq!(read_one(&store, &Key::integer(1)).await, Read::Absent);
    assert!(matches!(read_one(&store, &Key::integer(2)).await, Read::Live(_)));
    // The first repair makes the setup anew.
    let winner = row(&[("id", Cell::Integer(3)), ("body", text("{}"))]);
    let outcome = apply_one(&store, put(1, Key::integer(3), Expected::Absent, winner)).await;
    assert!(matches!(outcome, WriteOutcome::Applied { .. }));
    let made = store.identity().await.unwrap();
    assert!(made != identity && made != without_setup);
    assert_eq!(file.number("SELECT count(*) FROM t"), 2);
}

#[tokio::test]
async fn a_file_replaced_by_garbage_is_unavailable_in_whichever_way_it_came_there() {
    for journal_mode in ["wal", "delete"] {
        for in_place in [true, false] {
            let file = File::new(DOCUMENTS);
            file.client().pragma_update(None, "journal_mode", journal_mode).unwrap();
            file.execute("INSERT INTO t VALUES (1, '{}'); PRAGMA wal_checkpoint(TRUNCATE)");
            let store = file.store(documents()).await;
            file.execute("PRAGMA wal_checkpoint(TRUNCATE)");
            // From here on the store may well have every page of the file in memory.
            assert!(matches!(read_one(&store, &Key::integer(1)).await, Read::Live(_)));
            if in_place {
                fs::write(&file.path, garbage()).unwrap();
            } else {
                let other = file.path.with_file_name("garbage");
                fs::write(&other, garbage()).unwrap();
                fs::rename(other, &file.path).unwrap();
            }
            all_calls_fail(&store, &file).await;
        }
    }
}

#[tokio::test]
async fn damaged_pages_are_unavailable_or_read_but_never_a_panic_or_an_absence() {
    let file = File::new(DOCUMENTS);
    let client = file.client();
    for id in 0..300 {
        let body = format!("{{\"n\":\"{}\"}}", "x".repeat(if id % 10 == 0 { 9000 } else { 100 }));
        client.execute("INSERT INTO t VALUES (?1, ?2)", (id, body)).unwrap();
    }
    client.execute_batch("PRAGMA wal_checkpoint(TRUNCATE); PRAGMA journal_mode = DELETE").unwrap();
    drop(client);
    drop(file.store(documents()).await);
    let whole = fs::read(&file.path).unwrap();
    for page in 1..whole.len() / 4096 {
        for offset in [0, 2000] {
            let mut damaged = whole.clone();
            for byte in &mut damaged[page * 4096 + offset..][..64] {
                *byte = byte.wrapping_mul(7).wrapping_add(offset as u8 ^ 0x5a);
            }
            let copy = file.path.with_file_name(format!("{page}-{offset}.db"));
            fs::write(&copy, damaged).unwrap();
            let options = SqliteOptions { path: copy, access: Access::ReadOnly, ..file.options(documents()) };
            let Ok(store) = SqliteStore::open(options).await else { continue };
            match store.scan(Scope::All, None, ALL).await {
                Ok(_) | Err(StoreError::Unavailable(_)) => {}
                Err(other) => panic!("{other:?}"),
            }
            assert!(
                !matches!(store.count().await, Err(StoreError::Unavailable(why)) if why.contains("unexpectedly"))
            );
        }
    }
}

#[tokio::test]
async fn a_file_copied_over_in_place_is_read_as_the_other_one_that_it_is() {
    for journal_mode in ["wal", "delete"] {
        let make = async |id: i64| {
            let file = File::new(DOCUMENTS);
            file.client().pragma_update(None, "journal_mode", journal_mode).unwrap();
            let store = file.store(documents()).await;
            file.execute(&format!("INSERT INTO t VALUES ({id}, '{{}}'); PRAGMA wal_checkpoint(TRUNCATE)"));
            assert!(matches!(read_one(&store, &Key::integer(id)).await, Read::Live(_)));
            (file, store.identity().await.unwrap(), store)
        };
        let (file, before, store) = make(1).await;
        let (other, theirs, _) = make(2).await;
        fs::write(&file.path, fs::read(&other.path).unwrap()).unwrap();
        assert_eq!(store.identity().await.unwrap(), theirs, "{journal_mode}");
        assert_ne!(before, theirs);
        assert_eq!(read_one(&store, &Key::integer(1)).await, Read::Absent);
        assert!(matches!(read_one(&store, &Key::integer(2)).await, Read::Live(_)));
    }
}
