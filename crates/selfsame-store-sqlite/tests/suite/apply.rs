//! Repairs: conditional, marked, once, and nothing but the row they name.

use crate::support::*;
use selfsame_core::{Cell, Key, MappingSpec, Row, RowDigest};
use selfsame_store::{Expected, Read, Refusal, RepairBatch, Store, StoreError, Write, WriteOutcome};
use selfsame_store_sqlite::{Access, SqliteOptions, SqliteStore};

fn body(id: i64, body: &str) -> Row {
    row(&[("id", Cell::Integer(id)), ("body", text(body))])
}

fn markers(file: &File) -> i64 {
    file.number("SELECT count(*) FROM _selfsame_origin")
}

#[tokio::test]
async fn insert_update_and_delete_leave_what_the_winner_has_and_say_what_the_row_became() {
    let file = File::new(DOCUMENTS);
    let store = file.store(documents()).await;
    let key = Key::integer(1);
    let winner = body(1, r#"{"n":1,"updated_at":5}"#);
    let outcome = apply_one(&store, put(1, key.clone(), Expected::Absent, winner.clone())).await;
    let document = live(&store, &key).await;
    assert_eq!(document.row, winner);
    assert_eq!(outcome, WriteOutcome::Applied { after: Some(document.row_digest) });

    let condition = Expected::Row(document.row_digest);
    let outcome =
        apply_one(&store, put(2, key.clone(), condition, body(1, r#"{"n":2,"updated_at":6}"#))).await;
    let document = live(&store, &key).await;
    assert_eq!(outcome, WriteOutcome::Applied { after: Some(document.row_digest) });
    assert_eq!(document.entry.version.0, 6000);

    let outcome = apply_one(&store, delete(3, key.clone(), Expected::Row(document.row_digest))).await;
    assert_eq!(outcome, WriteOutcome::Applied { after: None });
    assert_eq!(read_one(&store, &key).await, Read::Absent);
    assert_eq!(markers(&file), 3);
}

#[tokio::test]
async fn a_condition_that_does_not_hold_writes_nothing_not_even_the_marker() {
    let file = File::new(DOCUMENTS);
    file.execute("INSERT INTO t VALUES (1, '{\"n\":1}')");
    let store = file.store(documents()).await;
    let key = Key::integer(1);
    let stale = Expected::Row(RowDigest([9; 32]));
    let other = body(1, r#"{"n":2}"#);
    for item in [
        put(1, key.clone(), stale, other.clone()),
        put(2, key.clone(), Expected::Absent, other.clone()),
        delete(3, key.clone(), stale),
        delete(4, key.clone(), Expected::Absent),
        put(5, Key::integer(2), stale, body(2, "{}")),
        put(6, key.clone(), stale, body(9, "{}")),
        put(7, key.clone(), Expected::Absent, row(&[("size", text("x"))])),
        put(8, Key::integer(2), stale, row(&[("size", text("x"))])),
    ] {
        assert_eq!(apply_one(&store, item.clone()).await, WriteOutcome::Changed, "{item:?}");
    }
    // The whole row counts, also what is no content.
    let condition = expected(&store, &key).await;
    file.execute("UPDATE t SET body = '{\"n\":1,\"views\":1}'");
    assert_eq!(apply_one(&store, put(6, key.clone(), condition, other)).await, WriteOutcome::Changed);
    assert_eq!(live(&store, &key).await.row, body(1, r#"{"n":1,"views":1}"#));
    assert_eq!(markers(&file), 0);
}

#[tokio::test]
async fn what_is_already_as_the_repair_would_make_it_is_already_there() {
    let file = File::new(DOCUMENTS);
    file.execute("INSERT INTO t VALUES (1, '{\"n\":1.0,\"views\":3}')");
    let store = file.store(documents()).await;
    let key = Key::integer(1);
    let stale = Expected::Row(RowDigest([9; 32]));
    let same = body(1, r#"{ "n": 1 }"#);
    assert_eq!(apply_one(&store, put(1, key.clone(), stale, same.clone())).await, WriteOutcome::AlreadyThere);
    assert_eq!(
        apply_one(&store, put(2, key.clone(), Expected::Absent, same)).await,
        WriteOutcome::AlreadyThere
    );
    let own = live(&store, &key).await;
    let condition = Expected::Row(own.row_digest);
    assert_eq!(apply_one(&store, put(3, key.clone(), condition, own.row)).await, WriteOutcome::AlreadyThere);
    assert_eq!(apply_one(&store, delete(4, Key::integer(2), stale)).await, WriteOutcome::AlreadyThere);
    assert_eq!(
        apply_one(&store, delete(5, Key::integer(2), Expected::Absent)).await,
        WriteOutcome::AlreadyThere
    );
    assert_eq!(markers(&file), 0);
}

#[tokio::test]
async fn a_batch_delivered_five_times_applies_once_even_after_clients_moved_on() {
    let file = File::new(DOCUMENTS);
    file.execute("INSERT INTO t VALUES (1, '{\"n\":1}'), (2, '{\"n\":2}')");
    let store = file.store(documents()).await;
    let items = vec![
        put(1, Key::integer(1), expected(&store, &Key::integer(1)).await, body(1, r#"{"n":10}"#)),
        delete(2, Key::integer(2), expected(&store, &Key::integer(2)).await),
        put(3, Key::integer(3), Expected::Absent, body(3, r#"{"n":3}"#)),
        put(4, Key::integer(4), Expected::Row(RowDigest([0; 32])), body(4, "{}")),
    ];
    let batch = RepairBatch { items };
    let first = store.apply(&batch).await.unwrap();
    assert!(matches!(
        first.as_slice(),
        [
            WriteOutcome::Applied { after: Some(_) },
            WriteOutcome::Applied { after: None },
            WriteOutcome::Applied { after: Some(_) },
            WriteOutcome::Changed
        ]
    ));
    // A client takes every repair back: the same rows as before, so that the conditions would hold again.
    file.execute("UPDATE t SET body = '{\"n\":1}' WHERE id = 1; INSERT INTO t VALUES (2, '{\"n\":2}'); DELETE FROM t WHERE id = 3");
    let state = "SELECT group_concat(id || body) FROM t";
    let before: String = file.client().query_row(state, [], |row| row.get(0)).unwrap();
    for store in [store, file.store(documents()).await] {
        for _ in 0..2 {
            let again = store.apply(&batch).await.unwrap();
            assert_eq!(again[..3], [const { WriteOutcome::AlreadyThere }; 3]);
            assert_eq!(again[3], WriteOutcome::Changed);
        }
    }
    let after: String = file.client().query_row(state, [], |row| row.get(0)).unwrap();
    assert_eq!(before, after);
    assert_eq!(markers(&file), 3);
}

#[tokio::test]
async fn one_items_failure_does_not_stop_the_others() {
    let file = File::new(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, sku TEXT UNIQUE ON CONFLICT REPLACE, n INTEGER CHECK (n < 100), \
         note TEXT NOT NULL DEFAULT '')",
    );
    file.execute("INSERT INTO t VALUES (1, 'a', 1, ''), (2, 'b', 2, ''), (3, CAST(x'ff' AS TEXT), 3, '')");
    let store = file.store(plain()).await;
    let with = |id: i64, sku: &str, n: i64| {
        row(&[("id", Cell::Integer(id)), ("sku", text(sku)), ("n", Cell::Integer(n)), ("note", text(""))])
    };
    let condition = expected(&store, &Key::integer(2)).await;
    let extra = row(&[("id", Cell::Integer(7)), ("size", Cell::Integer(1))]);
    let batch = RepairBatch {
        items: vec![
            put(1, Key::integer(4), Expected::Absent, with(4, "a", 4)),
            put(2, Key::integer(2), condition, with(2, "a", 2)),
            put(3, Key::integer(5), Expected::Absent, with(5, "e", 500)),
            put(4, Key::integer(3), Expected::Row(RowDigest([0; 32])), with(3, "c", 3)),
            delete(5, Key::integer(3), Expected::Absent),
            put(6, Key::integer(7), Expected::Absent, extra),
            put(7, Key::integer(8), Expected::Absent, with(9, "x", 1)),
            put(8, Key::integer(6), Expected::Absent, with(6, "f", 6)),
        ],
    };
    let outcomes = store.apply(&batch).await.unwrap();
    let constraint = |words: &str| WriteOutcome::Refused(Refusal::Constraint(words.into()));
    assert_eq!(outcomes[0], constraint("UNIQUE constraint failed: t.sku"));
    assert_eq!(outcomes[1], constraint("UNIQUE constraint failed: t.sku"));
    assert_eq!(outcomes[2], constraint("CHECK constraint failed: n < 100"));
    assert_eq!(outcomes[3], WriteOutcome::Refused(Refusal::Unreadable));
    assert_eq!(outcomes[4], WriteOutcome::Refused(Refusal::Unreadable));
    assert!(matches!(&outcomes[5], WriteOutcome::Refused(Refusal::Schema(why)) if why.contains("`size`")));
    assert!(matches!(&outcomes[6], WriteOutcome::Refused(Refusal::Schema(_))));
    assert!(matches!(&outcomes[7], WriteOutcome::Applied { .. }));
    assert_eq!((file.number("SELECT count(*) FROM t"), markers(&file)), (4, 1));
    assert_eq!(file.number("SELECT count(*) FROM t WHERE id = 2 AND sku = 'b'"), 1);
}

#[tokio::test]
async fn ignored_and_unmapped_fields_of_the_target_are_kept() {
    let file = File::new(COLUMNS);
    file.execute("INSERT INTO t VALUES (1, 'old', 1.5, 10, 99)");
    let store = file.store(columns()).await;
    let winner = |id: i64| {
        row(&[
            ("id", Cell::Integer(id)),
            ("name", text("new")),
            ("price", Cell::Real(0.1)),
            ("updated_at", Cell::Integer(20)),
            ("views", Cell::Integer(1)),
        ])
    };
    let key = Key::integer(1);
    let outcome = apply_one(&store, put(1, key.clone(), expected(&store, &key).await, winner(1))).await;
    assert!(matches!(outcome, WriteOutcome::Applied { .. }));
    let document = live(&store, &key).await;
    assert_eq!(document.row.cell("views"), Some(&Cell::Integer(99)));
    assert_eq!(document.row.cell("price"), Some(&Cell::Real(0.1)));
    apply_one(&store, put(2, Key::integer(2), Expected::Absent, winner(2))).await;
    assert_eq!(live(&store, &Key::integer(2)).await.row, winner(2), "on insert they come from the winner");

    let file = File::new("CREATE TABLE t (id INTEGER PRIMARY KEY, body TEXT, note TEXT DEFAULT 'mine')");
    file.execute("INSERT INTO t (id, body) VALUES (1, '{\"n\":1,\"views\":7}')");
    let store = file.store(documents()).await;
    let theirs =
        row(&[("id", Cell::Integer(1)), ("body", text(r#"{"n":2,"views":1}"#)), ("theirs", Cell::Null)]);
    apply_one(&store, put(1, key.clone(), expected(&store, &key).await, theirs)).await;
    let merged = live(&store, &key).await.row;
    assert_eq!(merged.cell("note"), Some(&text("mine")));
    assert_eq!(merged.cell("body"), Some(&text(r#"{"n":2,"views":7}"#)));
}

#[tokio::test]
async fn what_would_not_read_back_as_the_winners_is_refused_and_rolled_back() {
    let file = File::new("CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER, stamp INTEGER DEFAULT 0)");
    let store = file.store(plain()).await;
    let with = |n: Cell| row(&[("id", Cell::Integer(1)), ("n", n), ("stamp", Cell::Integer(0))]);
    for cell in
        [text("12"), Cell::Bool(true), Cell::Real(f64::NAN), Cell::Number("0.10000000000000001".into())]
    {
        let outcome = apply_one(&store, put(1, Key::integer(1), Expected::Absent, with(cell.clone()))).await;
        let refused = matches!(outcome, WriteOutcome::Refused(Refusal::Schema(_) | Refusal::Incomparable(_)));
        assert!(refused, "{cell:?}: {outcome:?}");
    }
    let outcome =
        apply_one(&store, put(1, Key::integer(1), Expected::Absent, with(Cell::Number("3.0".into())))).await;
    assert!(matches!(outcome, WriteOutcome::Applied { .. }));
    let key = Key::text("1");
    let textual = row(&[("id", text("1")), ("n", Cell::Null), ("stamp", Cell::Integer(0))]);
    assert!(matches!(
        apply_one(&store, put(2, key, Expected::Absent, textual)).await,
        WriteOutcome::Refused(Refusal::Constraint(_))
    ));

    file.execute(
        "CREATE TRIGGER app AFTER UPDATE ON t BEGIN UPDATE t SET stamp = stamp + 1 WHERE id = NEW.id; END",
    );
    let key = Key::integer(1);
    let condition = expected(&store, &key).await;
    let outcome = apply_one(&store, put(3, key.clone(), condition, with(Cell::Integer(4)))).await;
    assert!(matches!(outcome, WriteOutcome::Refused(Refusal::Incomparable(_))));
    assert_eq!(live(&store, &key).await.row.cell("n"), Some(&Cell::Integer(3)));
    assert_eq!(markers(&file), 1);
}

#[tokio::test]
async fn triggers_that_ignore_abort_or_roll_back_refuse_one_repair_only() {
    let file = File::new(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, n TEXT);
         CREATE TRIGGER a BEFORE INSERT ON t WHEN NEW.n = 'ignore' BEGIN SELECT RAISE(IGNORE); END;
         CREATE TRIGGER b BEFORE INSERT ON t WHEN NEW.n = 'abort' BEGIN SELECT RAISE(ABORT, 'no aborts'); END;
         CREATE TRIGGER c BEFORE INSERT ON t WHEN NEW.n = 'roll' BEGIN SELECT RAISE(ROLLBACK, 'no rolls'); END;
         CREATE TRIGGER d BEFORE INSERT ON t WHEN NEW.n = 'fail' BEGIN SELECT RAISE(FAIL, 'no fails'); END;",
    );
    let store = file.store(plain()).await;
    let names = ["first", "ignore", "roll", "abort", "roll", "fail", "last"];
    let items = names.iter().zip(1_i64..).map(|(name, id)| {
        let winner = row(&[("id", Cell::Integer(id)), ("n", text(name))]);
        put(id as u64, Key::integer(id), Expected::Absent, winner)
    });
    let outcomes = store.apply(&RepairBatch { items: items.collect() }).await.unwrap();
    for (name, outcome) in names.iter().zip(&outcomes) {
        match *name {
            "first" | "last" => {
                assert!(matches!(outcome, WriteOutcome::Applied { .. }), "{name}: {outcome:?}")
            }
            _ => assert!(
                matches!(outcome, WriteOutcome::Refused(Refusal::Constraint(_))),
                "{name}: {outcome:?}"
            ),
        }
    }
    assert_eq!((file.number("SELECT count(*) FROM t"), markers(&file)), (2, 2));
    assert_eq!(file.number("SELECT count(*) FROM _selfsame_changes WHERE op <> 'cut'"), 2);
}

#[tokio::test]
async fn a_delete_that_would_cascade_is_refused() {
    for action in ["CASCADE", "SET NULL", "SET DEFAULT", "RESTRICT", "NO ACTION"] {
        let file = File::new(&format!(
            "CREATE TABLE t (id INTEGER PRIMARY KEY, sku TEXT UNIQUE, up INTEGER REFERENCES t ON DELETE {action});
             CREATE TABLE child (a TEXT REFERENCES t (sku) ON DELETE {action} ON UPDATE CASCADE);
             INSERT INTO t VALUES (1, 'a', NULL), (2, 'b', 1), (3, 'c', 3), (4, 'd', NULL);
             INSERT INTO child VALUES ('d');"
        ));
        let store = file.store(plain()).await;
        for (id, free) in [(1, false), (4, false), (2, true), (3, true), (1, true)] {
            let key = Key::integer(id);
            let item = delete(id as u64, key.clone(), expected(&store, &key).await);
            match (apply_one(&store, item).await, free) {
                (WriteOutcome::Applied { after: None }, true) => {}
                (WriteOutcome::Refused(Refusal::Constraint(words)), false) => {
                    assert!(words.contains(if id == 1 { "t(up)" } else { "child(a)" }), "{words}");
                }
                (outcome, _) => panic!("{action} {id}: {outcome:?}"),
            }
        }
        let key = Key::integer(4);
        let renamed = row(&[("id", Cell::Integer(4)), ("sku", text("z")), ("up", Cell::Null)]);
        let outcome = apply_one(&store, put(9, key.clone(), expected(&store, &key).await, renamed)).await;
        assert!(matches!(outcome, WriteOutcome::Refused(Refusal::Constraint(_))), "{action}: {outcome:?}");
        assert_eq!(file.number("SELECT count(*) FROM child WHERE a = 'd'"), 1, "{action}");
    }
}

#[tokio::test]
async fn a_deferred_foreign_key_refuses_its_own_repair_only() {
    let file = File::new(
        "CREATE TABLE parent (id INTEGER PRIMARY KEY);
         CREATE TABLE t (id INTEGER PRIMARY KEY, p INTEGER REFERENCES parent DEFERRABLE INITIALLY DEFERRED);
         INSERT INTO parent VALUES (1);",
    );
    let store = file.store(plain()).await;
    let with = |id: i64, parent: i64| {
        let winner = row(&[("id", Cell::Integer(id)), ("p", Cell::Integer(parent))]);
        put(id as u64, Key::integer(id), Expected::Absent, winner)
    };
    let outcomes =
        store.apply(&RepairBatch { items: vec![with(1, 1), with(2, 9), with(3, 1)] }).await.unwrap();
    assert!(matches!(outcomes[0], WriteOutcome::Applied { .. }));
    assert!(matches!(outcomes[1], WriteOutcome::Refused(Refusal::Constraint(_))));
    assert!(matches!(outcomes[2], WriteOutcome::Applied { .. }));
    assert_eq!((file.number("SELECT count(*) FROM t"), markers(&file)), (2, 2));
}

#[tokio::test]
async fn generated_columns_are_left_out_of_writes() {
    let file = File::new(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER, twice INTEGER GENERATED ALWAYS AS (n * 2) STORED, \
         thrice INTEGER GENERATED ALWAYS AS (n * 3))",
    );
    let store = file.store(plain()).await;
    file.execute("INSERT INTO t (id, n) VALUES (1, 5)");
    let source = live(&store, &Key::integer(1)).await.row;
    assert_eq!(source.cell("thrice"), Some(&Cell::Integer(15)));
    let copy = source.cells().iter().cloned().map(|(name, cell)| match name.as_str() {
        "id" => (name, Cell::Integer(2)),
        _ => (name, cell),
    });
    let outcome =
        apply_one(&store, put(1, Key::integer(2), Expected::Absent, Row::new(copy.collect()))).await;
    assert!(matches!(outcome, WriteOutcome::Applied { .. }), "{outcome:?}");
    assert_eq!(file.number("SELECT twice FROM t WHERE id = 2"), 10);
}

#[tokio::test]
async fn a_table_without_rowid_and_its_large_numbers_are_repaired() {
    let file = File::new("CREATE TABLE t (id TEXT, r, n REAL, PRIMARY KEY (r, id)) WITHOUT ROWID");
    let spec = || MappingSpec { key: vec!["id".into(), "r".into()], ..plain() };
    let store = file.store(spec()).await;
    for (number, r) in
        [Cell::Integer(i64::MAX), Cell::Real(0.1), text("x"), Cell::Bytes(vec![0])].iter().enumerate()
    {
        let winner = row(&[("id", text("k")), ("r", r.clone()), ("n", Cell::Real(2.5))]);
        let key = store_key(&winner);
        let item = put(number as u64, key.clone(), Expected::Absent, winner.clone());
        assert!(matches!(apply_one(&store, item).await, WriteOutcome::Applied { .. }));
        assert_eq!(live(&store, &key).await.row, winner);
        if number % 2 == 0 {
            let item = delete(100 + number as u64, key.clone(), expected(&store, &key).await);
            assert_eq!(apply_one(&store, item).await, WriteOutcome::Applied { after: None });
        }
    }
    assert_eq!(store.count().await.unwrap(), 2);
    assert_eq!(changes(&store, 0).await.changes.len(), 6);
}

fn store_key(row: &Row) -> Key {
    use selfsame_core::KeyPart;
    let part = |name| KeyPart::from_value(&row.cell(name).unwrap().value().unwrap()).unwrap();
    Key::new(vec![part("id"), part("r")]).unwrap()
}

#[tokio::test]
async fn a_read_only_store_makes_nothing_and_applies_nothing() {
    let file = File::new(DOCUMENTS);
    file.execute("INSERT INTO t VALUES (1, '{}')");
    let options = SqliteOptions { access: Access::ReadOnly, ..file.options(documents()) };
    let store = SqliteStore::open(options).await.unwrap();
    assert!(!store.capabilities().ordered_feed);
    let outcome = apply_one(&store, put(1, Key::integer(2), Expected::Absent, body(2, "{}"))).await;
    assert_eq!(outcome, WriteOutcome::Refused(Refusal::ReadOnly));
    assert_eq!(live(&store, &Key::integer(1)).await.row, body(1, "{}"));
    assert!(matches!(
        store.changes(selfsame_store::FeedPosition(0), ALL).await,
        Err(StoreError::Unsupported(_))
    ));
    assert_eq!(file.number("SELECT count(*) FROM sqlite_schema WHERE name LIKE '%selfsame%'"), 0);
    let id = store.identity().await.unwrap();
    assert_eq!(store.identity().await.unwrap(), id);
}

#[tokio::test]
async fn a_lock_held_for_too_long_is_busy_and_no_outcome() {
    let file = File::new(DOCUMENTS);
    let options = SqliteOptions { busy_timeout: std::time::Duration::ZERO, ..file.options(documents()) };
    let store = SqliteStore::open(options).await.unwrap();
    let client = file.client();
    client.execute_batch("BEGIN IMMEDIATE").unwrap();
    let batch = RepairBatch { items: vec![put(1, Key::integer(1), Expected::Absent, body(1, "{}"))] };
    assert!(matches!(store.apply(&batch).await, Err(StoreError::Busy(_))));
    assert_eq!(read_one(&store, &Key::integer(1)).await, Read::Absent);
    client.execute_batch("COMMIT").unwrap();
    assert!(matches!(store.apply(&batch).await.unwrap()[0], WriteOutcome::Applied { .. }));
    assert!(matches!(&batch.items[0].write, Write::Put(_)));
}
