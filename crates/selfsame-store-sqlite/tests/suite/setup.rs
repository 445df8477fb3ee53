//! The tables and triggers of the setup, and what is checked when a store is opened.

use selfsame_core::{Key, KeyAs, MappingSpec};
use selfsame_store::{Store, StoreError};
use selfsame_store_sqlite::{Access, Setup, SqliteOptions, SqliteStore, setup_sql};

use crate::support::*;

fn objects(file: &File) -> Vec<(String, String)> {
    let client = file.client();
    let mut statement = client
        .prepare(
            "SELECT name, coalesce(sql, '') FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%' ORDER BY name",
        )
        .unwrap();
    statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap().map(Result::unwrap).collect()
}

#[tokio::test]
async fn setup_makes_only_its_own_names_is_idempotent_and_survives_an_added_column() {
    let file = File::new(COLUMNS);
    let before = objects(&file);
    let id = file.store(columns()).await.identity().await.unwrap();
    let made = objects(&file);
    let new: Vec<_> =
        made.iter().filter(|object| !before.contains(object)).map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        new,
        [
            "_selfsame_changes",
            "_selfsame_delete_t",
            "_selfsame_insert_t",
            "_selfsame_meta",
            "_selfsame_origin",
            "_selfsame_update_t"
        ]
    );
    assert!(before.iter().all(|object| made.contains(object)));
    let version = file.number("PRAGMA schema_version");
    let again = file.store(columns()).await;
    assert_eq!(file.number("PRAGMA schema_version"), version, "nothing was written");
    file.execute("ALTER TABLE t ADD COLUMN colour TEXT; INSERT INTO t (id, colour) VALUES (1, 'red')");
    let feed = changes(&again, 0).await;
    assert_eq!((feed.changes.len(), feed.gap), (1, false));
    assert_eq!(file.store(columns()).await.identity().await.unwrap(), id);
    assert!(again.capabilities().ordered_feed);
}

#[tokio::test]
async fn several_tables_of_one_file_share_it_whatever_their_names() {
    let names = ["t", "T2", "order", "it's", "a \"b\"", "ü", "x]y", "a;b"];
    let file = File::new("CREATE TABLE t (id INTEGER PRIMARY KEY, body TEXT)");
    let mut stores = Vec::new();
    for name in names {
        let quoted = format!("\"{}\"", name.replace('"', "\"\""));
        file.execute(&format!("CREATE TABLE IF NOT EXISTS {quoted} (id INTEGER PRIMARY KEY, body TEXT)"));
        let options = SqliteOptions { table: name.into(), ..file.options(documents()) };
        stores.push((quoted, SqliteStore::open(options).await.unwrap()));
    }
    for (number, (quoted, store)) in stores.iter().enumerate() {
        let start = changes(store, 0).await.next;
        file.execute(&format!("INSERT INTO {quoted} VALUES ({number}, '{{}}')"));
        let feed = store.changes(start, ALL).await.unwrap();
        assert_eq!(
            feed.changes.iter().map(|change| &change.key).collect::<Vec<_>>(),
            [&Key::integer(number as i64)]
        );
        assert_eq!(store.identity().await.unwrap(), stores[0].1.identity().await.unwrap());
    }
}

#[tokio::test]
async fn a_manual_setup_is_checked_made_by_the_printed_sql_and_then_enough() {
    let file = File::new(COLUMNS);
    let options = || SqliteOptions { setup: Setup::Manual, ..file.options(columns()) };
    match SqliteStore::open(options()).await {
        Err(StoreError::Schema(why)) => {
            assert!(why.contains("`_selfsame_meta`") && why.contains("hint:"), "{why}")
        }
        other => panic!("{other:?}"),
    }
    let before = objects(&file);
    let sql = setup_sql(&options()).await.unwrap();
    assert_eq!(objects(&file), before, "printing makes nothing");
    file.execute(&sql);
    let store = SqliteStore::open(options()).await.unwrap();
    file.execute("INSERT INTO t (id) VALUES (1)");
    assert_eq!(changes(&store, 0).await.changes.len(), 1);
    file.execute(&sql);
    let again = SqliteStore::open(options()).await.unwrap();
    assert_eq!(again.identity().await.unwrap(), store.identity().await.unwrap());
    assert!(changes(&store, 1).await.gap, "the triggers were made anew");
    // Auto finds nothing to do.
    let made = objects(&file);
    file.store(columns()).await;
    assert_eq!(objects(&file), made);

    file.execute("DROP TRIGGER _selfsame_update_t");
    match SqliteStore::open(options()).await {
        Err(StoreError::Schema(why)) => assert!(why.contains("`_selfsame_update_t`"), "{why}"),
        other => panic!("{other:?}"),
    }
    assert!(matches!(store.changes(Default::default(), ALL).await, Err(StoreError::Schema(_))));
    let read_only = SqliteOptions { access: Access::ReadOnly, ..options() };
    assert!(!SqliteStore::open(read_only).await.unwrap().capabilities().ordered_feed);
}

#[tokio::test]
async fn the_printed_sql_runs_in_the_sqlite3_shell() {
    let file = File::new("CREATE TABLE \"it's \"\"t\"\"\" (id TEXT PRIMARY KEY NOT NULL, v INTEGER)");
    let spec = || MappingSpec { version: millis("v"), ..plain() };
    let options =
        || SqliteOptions { table: "it's \"t\"".into(), setup: Setup::Manual, ..file.options(spec()) };
    let sql = setup_sql(&options()).await.unwrap();
    let shell = tokio::process::Command::new("sqlite3")
        .arg("-bail")
        .arg(&file.path)
        .arg(&sql)
        .output()
        .await
        .expect("the sqlite3 shell is needed: apt-get install sqlite3");
    assert!(shell.status.success(), "{}", String::from_utf8_lossy(&shell.stderr));
    SqliteStore::open(options()).await.unwrap();
}

#[tokio::test]
async fn triggers_of_a_renamed_table_or_another_key_are_replaced() {
    let file = File::new("CREATE TABLE old (id INTEGER PRIMARY KEY, r TEXT NOT NULL UNIQUE)");
    let options = SqliteOptions { table: "old".into(), ..file.options(plain()) };
    SqliteStore::open(options).await.unwrap();
    file.execute("ALTER TABLE old RENAME TO t");
    let store = file.store(plain()).await;
    file.execute("INSERT INTO t VALUES (1, 'a')");
    let last = changes(&store, 0).await.changes.pop().unwrap();
    assert_eq!(last.key, Key::integer(1));
    let by_name = file.store(MappingSpec { key: vec!["r".into()], ..plain() }).await;
    file.execute("INSERT INTO t VALUES (2, 'b')");
    assert_eq!(changes(&by_name, last.position.0).await.changes[0].key, Key::text("b"));
    assert_eq!(file.number("SELECT count(*) FROM sqlite_schema WHERE type = 'trigger'"), 3);
}

#[tokio::test]
async fn a_table_that_does_not_fit_is_named_with_a_hint() {
    let key = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    for (table, spec, words) in [
        ("CREATE TABLE x (id INTEGER PRIMARY KEY)", plain(), "no table `t`"),
        ("CREATE VIEW t AS SELECT 1 AS id", plain(), "no plain table but a view"),
        ("CREATE VIRTUAL TABLE t USING fts5(id)", plain(), "no plain table but a virtual"),
        ("CREATE TABLE t (ID INTEGER PRIMARY KEY)", plain(), "has no column `id`; hint: it has `ID`"),
        ("CREATE TABLE t (id INTEGER PRIMARY KEY)", documents(), "has no column `body`"),
        ("CREATE TABLE t (id INTEGER PRIMARY KEY)", columns(), "has no column `updated_at`"),
        ("CREATE TABLE t (id TEXT NOT NULL)", plain(), "no PRIMARY KEY or UNIQUE index"),
        ("CREATE TABLE t (id TEXT NOT NULL, b, UNIQUE (id, b))", plain(), "no PRIMARY KEY or UNIQUE index"),
        (
            "CREATE TABLE t (id TEXT NOT NULL); CREATE UNIQUE INDEX u ON t (id) WHERE id > ''",
            plain(),
            "no PRIMARY KEY or UNIQUE index",
        ),
        (
            "CREATE TABLE t (id TEXT NOT NULL); CREATE UNIQUE INDEX u ON t (lower(id))",
            plain(),
            "no PRIMARY KEY or UNIQUE index",
        ),
        (
            "CREATE TABLE t (id INTEGER PRIMARY KEY, r NOT NULL)",
            MappingSpec { key: key(&["id", "r"]), ..plain() },
            "over exactly the key (`id`, `r`)",
        ),
        ("CREATE TABLE t (id TEXT PRIMARY KEY)", plain(), "not declared NOT NULL"),
        ("CREATE TABLE t (id INTEGER PRIMARY KEY DESC)", plain(), "not declared NOT NULL"),
        (
            "CREATE TABLE t (id INT UNIQUE)",
            MappingSpec { key_as: KeyAs::String, ..plain() },
            "not declared NOT NULL",
        ),
        (
            "CREATE TABLE t (a NOT NULL, b NOT NULL, c NOT NULL, d NOT NULL, e NOT NULL, f NOT NULL, g NOT NULL, \
             h NOT NULL, i NOT NULL, UNIQUE (a, b, c, d, e, f, g, h, i))",
            MappingSpec { key: key(&["a", "b", "c", "d", "e", "f", "g", "h", "i"]), ..plain() },
            "has 9 columns",
        ),
    ] {
        let file = File::new(table);
        match SqliteStore::open(file.options(spec)).await {
            Err(StoreError::Schema(why)) => {
                assert!(why.contains(words) && why.contains("hint:"), "{table}: {why}")
            }
            other => panic!("{table}: {other:?}"),
        }
        assert_eq!(file.number("SELECT count(*) FROM sqlite_schema WHERE name LIKE '%selfsame%'"), 0);
    }
    for table in [
        "CREATE TABLE t (id INTEGER PRIMARY KEY)",
        "CREATE TABLE t (id TEXT PRIMARY KEY) WITHOUT ROWID",
        "CREATE TABLE t (id TEXT PRIMARY KEY) STRICT",
        "CREATE TABLE t (id INT NOT NULL UNIQUE)",
        "CREATE TABLE t (id INT NOT NULL); CREATE UNIQUE INDEX u ON t (id COLLATE NOCASE)",
    ] {
        File::new(table).store(plain()).await;
    }
}

#[tokio::test]
async fn a_table_that_vanishes_is_a_schema_error_and_no_absence() {
    let file = File::new(DOCUMENTS);
    let store = file.store(documents()).await;
    file.execute("DROP TABLE t");
    assert!(matches!(store.read(&[Key::integer(1)]).await, Err(StoreError::Schema(_))));
    assert!(matches!(store.count().await, Err(StoreError::Schema(_))));
    file.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, other TEXT)");
    assert!(matches!(store.read(&[Key::integer(1)]).await, Err(StoreError::Schema(_))));
    file.execute("ALTER TABLE t ADD COLUMN body TEXT");
    assert!(store.read(&[Key::integer(1)]).await.is_ok());
}
