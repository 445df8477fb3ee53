//! The port's public suite.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};
use selfsame_core::{Cell, KeyAs, Row};
use selfsame_store::Store;
use selfsame_store::conformance::{
    ColumnKind, Harness, HarnessResult, KeyKind, Replica, Supports, Table, check,
};
use selfsame_store_sqlite::{SqliteOptions, SqliteStore};

use crate::support::File;

/// Files in directories of their own; the client is a plain connection.
struct Files {
    key_as: Vec<KeyAs>,
}

struct OnFile {
    client: Mutex<Connection>,
    file: File,
    table: Table,
}

impl OnFile {
    fn execute(&self, sql: &str, values: Vec<Value>) -> HarnessResult<()> {
        self.client.lock().unwrap().prepare_cached(sql)?.execute(params_from_iter(values))?;
        Ok(())
    }
}

#[async_trait]
impl Harness for Files {
    fn supports(&self) -> Supports {
        Supports {
            key_as: self.key_as.clone(),
            // SQLite has no truth values, no exact numbers and no JSON type: what a column of another store's
            // holds as such is refused, not stored as something else.
            column_kinds: vec![ColumnKind::Integer, ColumnKind::Real, ColumnKind::Text, ColumnKind::Bytes],
            ..Supports::everything()
        }
    }

    async fn replica(&self, table: &Table) -> HarnessResult<Arc<dyn Replica>> {
        let keys: Vec<_> = table.mapping.spec().key.iter().map(|name| quoted(name)).collect();
        let mut lines: Vec<_> = table
            .columns
            .iter()
            .map(|column| {
                let null = if column.nullable { "" } else { " NOT NULL" };
                format!("{} {}{null}", quoted(&column.name), declared(column.kind))
            })
            .collect();
        lines.push(format!("PRIMARY KEY ({})", keys.join(", ")));
        if let Some(forbids) = &table.forbids {
            lines.push(format!("CHECK ({} NOT LIKE '%{}%')", quoted(&forbids.column), forbids.text));
        }
        let file = File::new(&format!("CREATE TABLE t ({})", lines.join(", ")));
        let client = file.client();
        // What survives a power loss is not what the client is for.
        client.pragma_update(None, "synchronous", "off")?;
        Ok(Arc::new(OnFile { client: Mutex::new(client), file, table: table.clone() }))
    }
}

#[async_trait]
impl Replica for OnFile {
    async fn open(&self) -> HarnessResult<Box<dyn Store>> {
        let mapping = Arc::new(self.table.mapping.clone());
        Ok(Box::new(SqliteStore::open(SqliteOptions::new(&self.file.path, "t", mapping)).await?))
    }

    async fn put(&self, row: &Row) -> HarnessResult<()> {
        let names: Vec<_> = row.cells().iter().map(|(name, _)| quoted(name)).collect();
        let keys: Vec<_> = self.table.mapping.spec().key.iter().map(|name| quoted(name)).collect();
        let set: Vec<_> = names.iter().map(|name| format!("{name} = excluded.{name}")).collect();
        let sql = format!(
            "INSERT INTO t ({}) VALUES ({}) ON CONFLICT ({}) DO UPDATE SET {}",
            names.join(", "),
            vec!["?"; names.len()].join(", "),
            keys.join(", "),
            set.join(", ")
        );
        self.execute(&sql, row.cells().iter().map(|(_, cell)| stored(cell)).collect())
    }

    async fn delete(&self, key: &Row) -> HarnessResult<()> {
        let condition: Vec<_> = key.cells().iter().map(|(name, _)| format!("{} = ?", quoted(name))).collect();
        let sql = format!("DELETE FROM t WHERE {}", condition.join(" AND "));
        self.execute(&sql, key.cells().iter().map(|(_, cell)| stored(cell)).collect())
    }
}

fn quoted(name: &str) -> String {
    format!("\"{name}\"")
}

fn declared(kind: ColumnKind) -> &'static str {
    match kind {
        ColumnKind::Key(KeyKind::Integer) | ColumnKind::Integer => "INTEGER",
        ColumnKind::Key(KeyKind::Text) | ColumnKind::Text | ColumnKind::Json => "TEXT",
        ColumnKind::Real => "REAL",
        ColumnKind::Key(KeyKind::Bytes | KeyKind::Mixed)
        | ColumnKind::Bytes
        | ColumnKind::Bool
        | ColumnKind::Number => "BLOB",
    }
}

fn stored(cell: &Cell) -> Value {
    match cell {
        Cell::Null => Value::Null,
        Cell::Bool(flag) => Value::Integer(i64::from(*flag)),
        Cell::Integer(value) => Value::Integer(*value),
        Cell::Real(value) => Value::Real(*value),
        Cell::Number(text) => Value::Real(text.parse().unwrap()),
        Cell::Text(text) | Cell::Json(text) => Value::Text(text.clone()),
        Cell::Bytes(bytes) => Value::Blob(bytes.clone()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_store_keeps_the_ports_promises() {
    check(&Files { key_as: vec![KeyAs::Native, KeyAs::String] }).await.assert_passed();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_store_keeps_the_ports_promises_where_keys_are_text() {
    check(&Files { key_as: vec![KeyAs::String] }).await.assert_passed();
}
