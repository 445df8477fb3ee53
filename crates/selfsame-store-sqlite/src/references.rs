//! Foreign keys that refer to the table: what a repair of one of its rows would set off elsewhere.

use rusqlite::{Connection, params_from_iter};

use crate::cell::Raw;
use crate::fault::Outcome;
use crate::schema::{Declared, Table};
use crate::sql::identifier;

/// A foreign key of some table (perhaps the same one) that refers to ours.
#[derive(Debug)]
pub(crate) struct Reference {
    child: String,
    /// The child's columns and what they refer to.
    columns: Vec<(String, String)>,
    /// Whether the child is our table itself.
    own: bool,
}

/// All foreign keys that refer to the table.
pub(crate) fn references(connection: &Connection, declared: &Declared) -> Outcome<Vec<Reference>> {
    let mut statement = connection.prepare(
        "SELECT t.name, f.id, f.\"from\", f.\"to\" FROM sqlite_schema AS t \
         JOIN pragma_foreign_key_list(t.name) AS f \
         WHERE t.type = 'table' AND f.\"table\" = ?1 COLLATE NOCASE ORDER BY t.name, f.id, f.seq",
    )?;
    let rows: Vec<(String, i64, String, Option<String>)> = statement
        .query_map([&declared.name], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?
        .collect::<Result<_, _>>()?;
    let primary_key = declared.primary_key();
    let mut found: Vec<(i64, Reference)> = Vec::new();
    for (child, id, from, to) in rows {
        let own = child == declared.name;
        match found.last() {
            Some((last_id, last)) if *last_id == id && last.child == child => {}
            _ => found.push((id, Reference { child, columns: Vec::new(), own })),
        }
        let Some((_, reference)) = found.last_mut() else { continue };
        // A foreign key that names no columns refers to the primary key.
        let Some(to) = to.or_else(|| primary_key.get(reference.columns.len()).cloned()) else { continue };
        reference.columns.push((from, to));
    }
    Ok(found.into_iter().map(|(_, reference)| reference).filter(|found| !found.columns.is_empty()).collect())
}

/// The child and its columns of a foreign key by which some other row refers to the row with this stored key;
/// `changed` limits the question to foreign keys on those columns.
pub(crate) fn referring(
    connection: &Connection,
    table: &Table,
    key: &[Raw],
    changed: Option<&[&str]>,
) -> Outcome<Option<String>> {
    let concerns = |reference: &&Reference| {
        changed.is_none_or(|changed| {
            reference.columns.iter().any(|(_, to)| changed.iter().any(|name| name.eq_ignore_ascii_case(to)))
        })
    };
    for reference in table.references.iter().filter(concerns) {
        let on: Vec<_> = reference
            .columns
            .iter()
            // Our column to the left: its collation decides, as in SQLite's own check.
            .map(|(from, to)| format!("p.{} = c.{}", identifier(to), identifier(from)))
            .collect();
        let key_condition: Vec<_> =
            table.key.iter().map(|column| format!("p.{} = ?", column.compared())).collect();
        let mut sql = format!(
            "SELECT 1 FROM {} AS p JOIN {} AS c ON {} WHERE {}",
            identifier(&table.name),
            identifier(&reference.child),
            on.join(" AND "),
            key_condition.join(" AND "),
        );
        if reference.own {
            let same: Vec<_> = table
                .key
                .iter()
                .map(|column| identifier(&column.name))
                .map(|name| format!("p.{name} = c.{name}"))
                .collect();
            sql += &format!(" AND NOT ({})", same.join(" AND "));
        }
        if connection.prepare_cached(&sql)?.exists(params_from_iter(key))? {
            let columns: Vec<_> = reference.columns.iter().map(|(from, _)| from.as_str()).collect();
            return Ok(Some(format!("{}({})", reference.child, columns.join(", "))));
        }
    }
    Ok(None)
}
