//! What the table looks like right now, checked against the mapping.
//!
//! Read within the transaction that then uses it, whenever SQLite's schema version has changed: applications
//! alter their tables while a store is open.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension, params};
use selfsame_core::{Mapping, TimeField};
use selfsame_store::StoreError;

use crate::fault::Outcome;
use crate::key_index::{KeyIndex, UniqueConstraint, unique_constraints};
use crate::references::{Reference, references};
use crate::setup::SetupState;
use crate::sql::{identifier, list};

/// Names that start so belong to Selfsame.
pub(crate) const RESERVED_PREFIX: &str = "_selfsame_";

/// A table, and how its rows are found by key.
#[derive(Debug)]
pub(crate) struct Table {
    /// Its name as declared.
    pub(crate) name: String,
    /// A name under which the rowid can be selected; `None` for tables without one.
    pub(crate) rowid: Option<&'static str>,
    /// The columns that make up a row.
    pub(crate) columns: Vec<Column>,
    /// The key's columns, in the mapping's order.
    pub(crate) key: Vec<KeyColumn>,
    /// The order in which the table is paged.
    pub(crate) key_index: KeyIndex,
    /// Whether a REPLACE can evict a row with another key than that of the row written.
    pub(crate) evicts_other_keys: bool,
    /// The column, if it is one, that holds the version.
    pub(crate) version_column: Option<String>,
    /// The column, if it is one, that holds the expiry.
    pub(crate) expiry_column: Option<String>,
    /// Foreign keys that refer to the table.
    pub(crate) references: Vec<Reference>,
    /// Whether the `_selfsame_*` tables and triggers are there.
    pub(crate) setup: SetupState,
}

/// A column of a row.
#[derive(Debug)]
pub(crate) struct Column {
    /// Its name as declared.
    pub(crate) name: String,
    /// Whether SQLite computes it: never written.
    pub(crate) generated: bool,
}

/// A column of the key.
#[derive(Debug)]
pub(crate) struct KeyColumn {
    /// Its name as declared.
    pub(crate) name: String,
    /// Its index among [`Table::columns`].
    pub(crate) column: usize,
    /// The collation under which it is unique.
    pub(crate) collation: String,
    /// Whether that is not the column's own, so that comparisons must name it.
    pub(crate) explicit_collation: bool,
    /// Whether SQLite lets only one storage class in, so that no two stored values read as one key.
    pub(crate) one_class: bool,
}

impl KeyColumn {
    /// The column as the left side of a comparison that the key's index can serve.
    pub(crate) fn compared(&self) -> String {
        match self.explicit_collation {
            true => format!("{} COLLATE {}", identifier(&self.name), identifier(&self.collation)),
            false => identifier(&self.name),
        }
    }
}

/// One row of `PRAGMA table_xinfo`.
pub(crate) struct DeclaredColumn {
    pub(crate) name: String,
    pub(crate) declared_type: String,
    pub(crate) not_null: bool,
    /// From 1 among the columns of the primary key; 0 if it is none of them.
    pub(crate) primary_key_place: u32,
    hidden: i64,
}

/// What `sqlite_schema` and the pragmas say of a table.
pub(crate) struct Declared {
    pub(crate) name: String,
    pub(crate) without_rowid: bool,
    pub(crate) strict: bool,
    pub(crate) columns: Vec<DeclaredColumn>,
}

impl Declared {
    pub(crate) fn column(&self, name: &str) -> Option<&DeclaredColumn> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// The names of the primary key's columns, in its order.
    pub(crate) fn primary_key(&self) -> Vec<String> {
        let mut columns: Vec<_> = self.columns.iter().filter(|column| column.primary_key_place > 0).collect();
        columns.sort_by_key(|column| column.primary_key_place);
        columns.into_iter().map(|column| column.name.clone()).collect()
    }
}

impl Table {
    /// Reads the table's declaration.
    pub(crate) fn inspect(
        connection: &Connection,
        path: &Path,
        table: &str,
        mapping: &Mapping,
    ) -> Outcome<Table> {
        let declared = declared(connection, path, table)?;
        let constraints = unique_constraints(connection, &declared)?;
        check_columns(&declared, mapping)?;
        let key_names = &mapping.spec().key;
        let key_index = KeyIndex::choose(&declared, &constraints, key_names)?;
        let columns = row_columns(&declared, mapping);
        let key = key_columns(connection, &declared, &columns, &key_index, key_names)?;
        let evicts_other_keys = !constraints.iter().all(|constraint| constraint.implies_key(key_names));
        let column_of = |field: Option<&TimeField>| {
            field.map(|field| field.field.clone()).filter(|field| declared.column(field).is_some())
        };
        let version_column = column_of(mapping.spec().version.as_ref());
        let expiry_column = column_of(mapping.spec().expiry.as_ref());
        let references = references(connection, &declared)?;
        let mut table = Table {
            rowid: rowid_name(&declared),
            name: declared.name,
            columns,
            key,
            key_index,
            evicts_other_keys,
            version_column,
            expiry_column,
            references,
            setup: SetupState::default(),
        };
        table.setup = SetupState::read(connection, &table)?;
        Ok(table)
    }

    /// The columns for a SELECT: the rowid (or NULL), then [`Table::columns`].
    pub(crate) fn select_list(&self) -> String {
        let columns = self.columns.iter().map(|column| identifier(&column.name));
        list([self.rowid.unwrap_or("NULL").to_owned()].into_iter().chain(columns))
    }

    /// A condition that only the row with the given stored key meets: one parameter for each key column, in the
    /// mapping's order.
    pub(crate) fn key_condition(&self) -> String {
        let columns: Vec<_> = self.key.iter().map(|column| format!("{} = ?", column.compared())).collect();
        columns.join(" AND ")
    }
}

fn schema(message: String) -> StoreError {
    StoreError::Schema(message)
}

fn declared(connection: &Connection, path: &Path, table: &str) -> Outcome<Declared> {
    // Reads the file's schema anew if it changed, which the pragmas below would not.
    let found: Option<(String, String)> = connection
        .query_row(
            "SELECT name, type FROM sqlite_schema WHERE type IN ('table', 'view') AND name = ?1 COLLATE NOCASE",
            [table],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .optional()?;
    let place = path.display();
    let Some((name, kind)) = found else {
        return Err(schema(format!("no table `{table}` in `{place}`; hint: check the table's name")).into());
    };
    let (kind, without_rowid, strict): (String, bool, bool) = connection
        .query_row(
            "SELECT type, wr, strict FROM pragma_table_list(?1) WHERE schema = 'main'",
            [&name],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
        )
        .optional()?
        .unwrap_or((kind, false, false));
    if kind != "table" {
        return Err(schema(format!(
            "`{name}` in `{place}` is no plain table but a {kind}; hint: name a table"
        ))
        .into());
    }
    if name.starts_with(RESERVED_PREFIX) || name.starts_with("sqlite_") {
        return Err(schema(format!("`{name}` is no table of the application; hint: name another")).into());
    }
    let mut statement = connection.prepare(
        "SELECT name, type, \"notnull\", pk, hidden FROM pragma_table_xinfo(?1) WHERE hidden <> 1 ORDER BY cid",
    )?;
    let columns = statement
        .query_map(params![name], |row| {
            Ok(DeclaredColumn {
                name: row.get(0)?,
                declared_type: row.get(1)?,
                not_null: row.get(2)?,
                primary_key_place: row.get(3)?,
                hidden: row.get(4)?,
            })
        })?
        .collect::<Result<_, _>>()?;
    Ok(Declared { name, without_rowid, strict, columns })
}

/// What the mapping names must be there, under exactly that name: rows are read by it.
fn check_columns(declared: &Declared, mapping: &Mapping) -> Outcome<()> {
    let spec = mapping.spec();
    let times = [&spec.version, &spec.expiry, &spec.deletion];
    // Beside a document, such a field may be one of its members.
    let times = times.into_iter().flatten().map(|time| &time.field).filter(|_| spec.document.is_none());
    let content = spec.columns.iter().flatten();
    for name in spec.key.iter().chain(&spec.document).chain(content).chain(times) {
        if declared.column(name).is_none() {
            let similar = declared.columns.iter().find(|column| column.name.eq_ignore_ascii_case(name));
            let hint = match similar {
                Some(similar) => format!("it has `{}`; names must match exactly", similar.name),
                None => "check the collection's fields".to_owned(),
            };
            return Err(
                schema(format!("table `{}` has no column `{name}`; hint: {hint}", declared.name)).into()
            );
        }
    }
    Ok(())
}

/// All columns that are stored, and those computed on reading that the mapping asks for.
fn row_columns(declared: &Declared, mapping: &Mapping) -> Vec<Column> {
    const VIRTUAL: i64 = 2;
    const PLAIN: i64 = 0;
    declared
        .columns
        .iter()
        .filter(|column| column.hidden != VIRTUAL || is_mapped(mapping, &column.name))
        .map(|column| Column { name: column.name.clone(), generated: column.hidden != PLAIN })
        .collect()
}

/// Whether a repair has to carry a column of that name: it has a role, or is content.
pub(crate) fn is_mapped(mapping: &Mapping, name: &str) -> bool {
    let spec = mapping.spec();
    let mut times = [&spec.version, &spec.expiry, &spec.deletion].into_iter().flatten();
    if spec.key.iter().any(|key| key == name) || times.any(|time| time.field == name) {
        return true;
    }
    if let Some(document) = &spec.document {
        return document == name;
    }
    let chosen = spec.columns.as_ref().is_none_or(|columns| columns.iter().any(|column| column == name));
    chosen && !name.starts_with("_selfsame") && !spec.ignore_fields.iter().any(|ignored| ignored == name)
}

fn key_columns(
    connection: &Connection,
    declared: &Declared,
    columns: &[Column],
    index: &KeyIndex,
    key_names: &[String],
) -> Outcome<Vec<KeyColumn>> {
    let mut key = Vec::new();
    for name in key_names {
        let found = declared.column(name).zip(columns.iter().position(|column| column.name == *name));
        let Some((column, place)) = found else {
            return Err(schema(format!("table `{}` has no column `{name}`", declared.name)).into());
        };
        if !column.not_null && !index.is_rowid {
            return Err(schema(format!(
                "key column `{name}` of table `{}` is not declared NOT NULL; hint: declare it so",
                declared.name
            ))
            .into());
        }
        let (_, own_collation, ..) =
            connection.column_metadata(Some("main"), declared.name.as_str(), name.as_str())?;
        let own_collation = own_collation.map_or("BINARY".into(), |text| text.to_string_lossy());
        let collation = index.collation(name).to_owned();
        key.push(KeyColumn {
            name: name.clone(),
            column: place,
            explicit_collation: !own_collation.eq_ignore_ascii_case(&collation),
            collation,
            one_class: index.is_rowid
                || (declared.strict && !column.declared_type.eq_ignore_ascii_case("any")),
        });
    }
    Ok(key)
}

/// The first of the rowid's names that no column has taken.
fn rowid_name(declared: &Declared) -> Option<&'static str> {
    let taken = |name: &str| declared.columns.iter().any(|column| column.name.eq_ignore_ascii_case(name));
    if declared.without_rowid {
        return None;
    }
    ["rowid", "_rowid_", "oid"].into_iter().find(|name| !taken(name))
}

pub(crate) type Constraints = Vec<UniqueConstraint>;
