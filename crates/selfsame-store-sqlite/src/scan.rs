//! Pages of the table, in the order of its key.
//!
//! A page is one read transaction that seeks to where the last one ended: a scan of n rows costs O(n + pages ·
//! log n), and no lock is held between pages. Keyset paging visits every row that exists throughout exactly once,
//! since a row's key never changes; the order is SQLite's own, with all its storage classes and collations.

use selfsame_core::{Document, Unreadable};
use selfsame_store::{Cursor, Page, PageSize, StoreError};

use crate::cell::Raw;
use crate::cursor;
use crate::fault::Outcome;
use crate::rows::{Found, StoredRow};
use crate::schema::{KeyColumn, Table};
use crate::session::View;
use crate::sql::{identifier, list, parameters};

/// One page from after `from`.
pub(crate) fn page(view: &View<'_>, from: Option<&Cursor>, size: PageSize) -> Outcome<Page> {
    let after = from.map(|cursor| cursor::decode(view.table, cursor)).transpose()?;
    let (rows, more) = rows_after(view, after.as_deref(), size)?;
    let next = match rows.last().filter(|_| more) {
        Some(last) => Some(cursor_after(view, last)?),
        None => None,
    };
    let rows = rows.into_iter().map(|row| distinct(view, row)).collect::<Outcome<_>>()?;
    Ok(Page { rows, next })
}

/// The key's columns, with their places in the key, in the order of the index.
fn ordered(table: &Table) -> Vec<(usize, &KeyColumn)> {
    let place = |name: &str| table.key.iter().enumerate().find(|(_, column)| column.name == name);
    table.key_index.names().filter_map(place).collect()
}

/// Its parameters are the key to go on after, if any, and the limit.
fn statement_of(table: &Table, goes_on: bool) -> String {
    let columns: Vec<&KeyColumn> = ordered(table).into_iter().map(|(_, column)| column).collect();
    let condition = if goes_on { format!(" WHERE {}", condition_after(&columns)) } else { String::new() };
    format!(
        "SELECT {} FROM {} {}{condition} ORDER BY {} LIMIT ?",
        table.select_list(),
        identifier(&table.name),
        table.key_index.hint,
        list(columns.iter().map(|column| column.compared())),
    )
}

/// The rows, and whether more follow.
fn rows_after(view: &View<'_>, after: Option<&[Raw]>, size: PageSize) -> Outcome<(Vec<StoredRow>, bool)> {
    let sql = statement_of(view.table, after.is_some());
    let rows_max = size.rows.max(1);
    // One more than the page takes tells whether there is a next one.
    let limit = i64::try_from(rows_max).unwrap_or(i64::MAX).saturating_add(1);
    let mut statement = view.connection.prepare_cached(&sql)?;
    for (index, raw) in after.unwrap_or_default().iter().enumerate() {
        statement.raw_bind_parameter(index + 1, raw)?;
    }
    statement.raw_bind_parameter(after.map_or(0, <[Raw]>::len) + 1, limit)?;
    let mut stored = statement.raw_query();
    let (mut rows, mut bytes) = (Vec::new(), 0_usize);
    while let Some(row) = stored.next()? {
        if rows.len() == rows_max {
            return Ok((rows, true));
        }
        let row = view.row(row)?;
        bytes = bytes.saturating_add(row.bytes);
        if bytes > size.bytes && !rows.is_empty() {
            return Ok((rows, true));
        }
        rows.push(row);
    }
    Ok((rows, false))
}

/// "The key comes after the parameters", so that the index can seek to it. Parameters are numbered by column.
fn condition_after(columns: &[&KeyColumn]) -> String {
    if let [column] = columns {
        return format!("{} > ?1", column.compared());
    }
    if columns.iter().all(|column| !column.explicit_collation) {
        let names = list(columns.iter().map(|column| identifier(&column.name)));
        return format!("({names}) > ({})", parameters(columns.len()));
    }
    // SQLite seeks no row value with a COLLATE in it: let it seek by the first column, and filter by the others.
    let alternatives: Vec<_> = (0..columns.len())
        .map(|last| {
            let equal = columns[..last]
                .iter()
                .enumerate()
                .map(|(at, column)| format!("{} = ?{}", column.compared(), at + 1));
            let greater = format!("{} > ?{}", columns[last].compared(), last + 1);
            format!("({})", equal.chain([greater]).collect::<Vec<_>>().join(" AND "))
        })
        .collect();
    format!("{} >= ?1 AND ({})", columns[0].compared(), alternatives.join(" OR "))
}

fn cursor_after(view: &View<'_>, row: &StoredRow) -> Outcome<Cursor> {
    let key: Vec<&Raw> =
        ordered(view.table).into_iter().filter_map(|(place, _)| row.key.get(place)).collect();
    cursor::encode(view.table, &key).ok_or_else(|| {
        StoreError::Schema(format!(
            "table `{}` holds a null key in spite of NOT NULL; hint: run `PRAGMA integrity_check`",
            view.table.name
        ))
        .into()
    })
}

/// The row, unless another one reads as the same key.
fn distinct(view: &View<'_>, row: StoredRow) -> Outcome<Result<Document, Unreadable>> {
    let document = match row.document {
        Ok(document) if view.may_have_twin(&document.entry.key) => document,
        other => return Ok(other),
    };
    Ok(match view.find(&document.entry.key)? {
        Found::Several(unreadable) => Err(unreadable),
        Found::Row(_) | Found::Absent => Ok(document),
    })
}

/// How many rows the table has.
pub(crate) fn count(view: &View<'_>) -> Outcome<u64> {
    let sql = format!("SELECT count(*) FROM {}", identifier(&view.table.name));
    let rows: i64 = view.connection.query_row(&sql, [], |row| row.get(0))?;
    Ok(u64::try_from(rows).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rusqlite::Connection;
    use selfsame_core::{Fingerprinter, KeyAs, Mapping, MappingSpec, ShardCount};

    use super::*;
    use crate::options::SqliteOptions;
    use crate::session::{Begin, Role, Session};

    fn plans(script: &str, key: &[&str]) -> Vec<String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("app.db");
        Connection::open(&path).unwrap().execute_batch(script).unwrap();
        let spec = MappingSpec {
            key: key.iter().map(|name| (*name).to_owned()).collect(),
            key_as: KeyAs::Native,
            document: None,
            columns: None,
            version: None,
            expiry: None,
            deletion: None,
            ignore_fields: vec![],
            shards: ShardCount::new(1).unwrap(),
            document_bytes_max: 1000,
        };
        let mapping = Mapping::new(spec, Fingerprinter::new("f", "c", b"")).unwrap();
        let options = Arc::new(SqliteOptions::new(&path, "t", Arc::new(mapping)));
        let mut session = Session::new(options, Role::Reader).unwrap();
        let plan = |view: &View<'_>| {
            let mut steps = Vec::new();
            for goes_on in [false, true] {
                let sql = format!("EXPLAIN QUERY PLAN {}", statement_of(view.table, goes_on));
                let mut statement = view.connection.prepare(&sql)?;
                let mut rows = statement.raw_query();
                while let Some(row) = rows.next()? {
                    steps.push(row.get::<_, String>(3)?);
                }
            }
            Ok(steps)
        };
        session.run(Begin::Snapshot, plan).unwrap()
    }

    #[test]
    fn every_page_is_sought_in_an_index_and_never_sorted() {
        for (script, key) in [
            ("CREATE TABLE t (id INTEGER PRIMARY KEY, b)", &["id"][..]),
            ("CREATE TABLE t (b, id TEXT PRIMARY KEY NOT NULL)", &["id"]),
            ("CREATE TABLE t (b, id INTEGER PRIMARY KEY DESC NOT NULL)", &["id"]),
            ("CREATE TABLE t (b, id TEXT NOT NULL COLLATE NOCASE UNIQUE)", &["id"]),
            ("CREATE TABLE t (b, id TEXT NOT NULL); CREATE UNIQUE INDEX u ON t (id COLLATE RTRIM)", &["id"]),
            ("CREATE TABLE t (b, id, r, PRIMARY KEY (r, id)) WITHOUT ROWID", &["id", "r"]),
            ("CREATE TABLE t (b, id NOT NULL, r NOT NULL, UNIQUE (r, id))", &["id", "r"]),
            (
                "CREATE TABLE t (b, id NOT NULL, r NOT NULL); CREATE UNIQUE INDEX u ON t (r COLLATE NOCASE, id)",
                &["id", "r"],
            ),
        ] {
            let steps = plans(script, key);
            assert_eq!(steps.len(), 2, "{script}: {steps:?}");
            assert!(
                steps[0].starts_with("SCAN t") && steps[1].starts_with("SEARCH t"),
                "{script}: {steps:?}"
            );
        }
    }
}
