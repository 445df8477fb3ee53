//! What is unique in a table, and which of it makes the key unique.

use rusqlite::Connection;
use selfsame_store::StoreError;

use crate::fault::Outcome;
use crate::schema::{Constraints, Declared};
use crate::sql::identifier;

/// Collations that every connection has. Those of the application exist in its own connections only.
const BUILT_IN_COLLATIONS: [&str; 3] = ["BINARY", "NOCASE", "RTRIM"];

/// Something that no two rows of a table may share.
#[derive(Debug)]
pub(crate) struct UniqueConstraint {
    /// The index that sees to it; `None` for the rowid.
    index: Option<String>,
    primary_key: bool,
    partial: bool,
    /// Columns with their collations; a column is `None` where an expression is indexed.
    columns: Vec<(Option<String>, String)>,
}

impl UniqueConstraint {
    /// Whether two rows that collide here have one key, byte for byte.
    pub(crate) fn implies_key(&self, key: &[String]) -> bool {
        key.iter().all(|name| {
            self.columns.iter().any(|(column, collation)| {
                column.as_ref() == Some(name) && collation.eq_ignore_ascii_case("BINARY")
            })
        })
    }

    fn is_over_exactly(&self, key: &[String]) -> bool {
        let named = |name: &String| self.columns.iter().any(|(column, _)| column.as_ref() == Some(name));
        !self.partial && self.columns.len() == key.len() && key.iter().all(named)
    }

    fn has_built_in_collations(&self) -> bool {
        self.columns.iter().all(|(_, collation)| {
            BUILT_IN_COLLATIONS.iter().any(|built_in| built_in.eq_ignore_ascii_case(collation))
        })
    }
}

/// Everything that is unique in the table.
pub(crate) fn unique_constraints(connection: &Connection, declared: &Declared) -> Outcome<Constraints> {
    let mut statement = connection
        .prepare("SELECT name, origin, partial FROM pragma_index_list(?1) WHERE \"unique\" ORDER BY seq")?;
    let indexes: Vec<(String, String, bool)> = statement
        .query_map([&declared.name], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect::<Result<_, _>>()?;
    let mut constraints = Vec::new();
    for (index, origin, partial) in indexes {
        let mut statement =
            connection.prepare("SELECT name, coll FROM pragma_index_xinfo(?1) WHERE key ORDER BY seqno")?;
        let columns = statement
            .query_map([&index], |row| {
                Ok((row.get(0)?, row.get::<_, Option<String>>(1)?.unwrap_or_default()))
            })?
            .collect::<Result<_, _>>()?;
        constraints.push(UniqueConstraint {
            index: Some(index),
            primary_key: origin == "pk",
            partial,
            columns,
        });
    }
    // An INTEGER PRIMARY KEY is the rowid itself and has no index.
    let primary_key = declared.primary_key();
    if !primary_key.is_empty() && !constraints.iter().any(|constraint| constraint.primary_key) {
        let columns = primary_key.into_iter().map(|name| (Some(name), "BINARY".to_owned())).collect();
        constraints.push(UniqueConstraint { index: None, primary_key: true, partial: false, columns });
    }
    Ok(constraints)
}

/// The unique constraint in whose order the table is paged.
#[derive(Debug)]
pub(crate) struct KeyIndex {
    /// Key columns with their collations, in the index's order.
    columns: Vec<(String, String)>,
    /// Whether the key is the rowid.
    pub(crate) is_rowid: bool,
    /// What makes SQLite walk this index, and not sort the table for each page.
    pub(crate) hint: String,
}

impl KeyIndex {
    /// The primary key if it is over exactly the key's columns, else a unique index that is.
    pub(crate) fn choose(
        declared: &Declared,
        constraints: &[UniqueConstraint],
        key: &[String],
    ) -> Result<KeyIndex, StoreError> {
        let names = key.join("`, `");
        let table = &declared.name;
        let mut fitting: Vec<_> = constraints.iter().filter(|found| found.is_over_exactly(key)).collect();
        if fitting.is_empty() {
            return Err(StoreError::Schema(format!(
                "no PRIMARY KEY or UNIQUE index of table `{table}` is over exactly the key (`{names}`); \
                 hint: create a unique index on these columns, or check the collection's key"
            )));
        }
        fitting.sort_by_key(|constraint| !constraint.primary_key);
        let Some(chosen) = fitting.into_iter().find(|found| found.has_built_in_collations()) else {
            return Err(StoreError::Schema(format!(
                "the key (`{names}`) of table `{table}` is unique under a collation of the application's own; \
                 hint: create a unique index with COLLATE BINARY on these columns"
            )));
        };
        // The primary key of a table without rowid is the table: walked without naming an index.
        let hint = match &chosen.index {
            Some(index) if !(declared.without_rowid && chosen.primary_key) => {
                format!("INDEXED BY {}", identifier(index))
            }
            _ => "NOT INDEXED".to_owned(),
        };
        let columns =
            chosen.columns.iter().filter_map(|(name, collation)| Some((name.clone()?, collation.clone())));
        Ok(KeyIndex { columns: columns.collect(), is_rowid: chosen.index.is_none(), hint })
    }

    /// The key's columns in the order of the index.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().map(|(name, _)| name.as_str())
    }

    /// The collation of a column of the key.
    pub(crate) fn collation(&self, name: &str) -> &str {
        let found = self.columns.iter().find(|(column, _)| column == name);
        found.map_or("BINARY", |(_, collation)| collation)
    }
}
