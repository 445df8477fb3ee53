//! The `_selfsame_*` tables and triggers: the statements that make them, and whether they are there.
//!
//! The same script serves both ways of setting up. It never touches anything of the application's, and its
//! triggers use nothing that a connection of the application might lack: no JSON functions, no extensions, no
//! conversion that could fail.

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension};
use selfsame_store::StoreError;

use crate::fault::Outcome;
use crate::schema::Table;
use crate::sql::{identifier, list, literal};

/// The layout of the tables. Another one is not read.
const FORMAT: i64 = 1;

/// Columns for typed keys in `_selfsame_changes`. A guess at the widest key in use; wider ones are refused.
pub(crate) const KEY_COLUMNS_MAX: usize = 8;

/// The operations in `_selfsame_changes`. After `cut`, changes before it may be missing.
pub(crate) mod operation {
    pub(crate) const INSERT: &str = "insert";
    pub(crate) const UPDATE: &str = "update";
    pub(crate) const DELETE: &str = "delete";
    pub(crate) const CUT: &str = "cut";
}

/// The column of `_selfsame_changes` for the expiry of the row before. What was recorded without it, by triggers that
/// did not know it, is no expiry, and the row is not told.
const OLD_EXPIRY: &str = "old_expiry DEFAULT x''";

/// Beyond these, integers and floats of one SQL value may differ as decimals.
const EXACT_FLOATS: &str = "BETWEEN -9007199254740992 AND 9007199254740992";

/// What is there of the setup.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct SetupState {
    /// Whether `_selfsame_meta` is there, and with it the store's id.
    pub(crate) has_meta: bool,
    /// The first thing found to be missing or other than expected; `None` if all is in place.
    pub(crate) lacks: Option<String>,
    /// Triggers on the table that are named like ours but are not, after a renaming, say.
    stale: Vec<String>,
    /// Whether `_selfsame_changes` was made without a column for the expiry.
    without_expiry: bool,
}

impl SetupState {
    /// Looks what is there for the table.
    pub(crate) fn read(connection: &Connection, table: &Table) -> Outcome<SetupState> {
        let mut statement = connection.prepare(
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND name LIKE '\\_selfsame\\_%' ESCAPE '\\'",
        )?;
        let tables: Vec<String> = statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
        let mut statement = connection.prepare(
            "SELECT name, sql FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = ?1 COLLATE NOCASE \
             AND name LIKE '\\_selfsame\\_%' ESCAPE '\\'",
        )?;
        let triggers: Vec<(String, String)> = statement
            .query_map([&table.name], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<Result<_, _>>()?;
        let has = |name: &str| tables.iter().any(|table| table == name);
        let has_meta = has("_selfsame_meta");
        if has_meta {
            check_format(connection)?;
        }
        let without_expiry = has("_selfsame_changes") && !tells_expiry(connection)?;
        let expected = triggers_of(table);
        let missing_table =
            ["_selfsame_meta", "_selfsame_origin", "_selfsame_changes"].into_iter().find(|name| !has(name));
        let missing_trigger = expected.iter().find(|(name, sql)| {
            !triggers.iter().any(|(found, found_sql)| found == name && words(found_sql) == words(sql))
        });
        let stale = triggers
            .iter()
            .filter(|(found, _)| !expected.iter().any(|(name, _)| name == found))
            .map(|(found, _)| found.clone())
            .collect::<Vec<_>>();
        let lacks = missing_table
            .map(|name| format!("table `{name}`"))
            .or(without_expiry.then(|| "column `_selfsame_changes.old_expiry`".to_owned()))
            .or(missing_trigger.map(|(name, _)| format!("trigger `{name}` as it should be")))
            .or(stale.first().map(|name| format!("the removal of trigger `{name}`")));
        Ok(SetupState { has_meta, lacks, stale, without_expiry })
    }

    /// An error for callers that cannot go on without the setup.
    pub(crate) fn required(&self, table: &Table) -> Result<(), StoreError> {
        match &self.lacks {
            None => Ok(()),
            Some(what) => Err(StoreError::Schema(format!(
                "the setup for table `{}` lacks {what}; hint: run the statements of `selfsame setup --print-sql`, \
                 or use `setup: auto`",
                table.name
            ))),
        }
    }
}

fn tells_expiry(connection: &Connection) -> Outcome<bool> {
    let sql = "SELECT count(*) FROM pragma_table_info('_selfsame_changes') WHERE name = 'old_expiry'";
    Ok(connection.query_row(sql, [], |row| row.get::<_, i64>(0))? > 0)
}

fn check_format(connection: &Connection) -> Outcome<()> {
    let format: Option<i64> = connection
        .query_row("SELECT value FROM _selfsame_meta WHERE name = 'format'", [], |row| row.get(0))
        .optional()?;
    match format {
        None | Some(FORMAT) => Ok(()),
        Some(other) => Err(StoreError::Schema(format!(
            "the `_selfsame_*` tables have format {other}, this version knows {FORMAT}; hint: update the agent"
        ))
        .into()),
    }
}

/// SQL compared word by word: an operator's shell may have wrapped it differently.
fn words(sql: &str) -> Vec<&str> {
    sql.split_whitespace().collect()
}

/// Makes whatever is missing, within the caller's transaction.
pub(crate) fn make(connection: &Connection, table: &Table, retention_rows: u32) -> Outcome<()> {
    check_key_width(table)?;
    Ok(connection.execute_batch(&script(table, retention_rows))?)
}

/// Sets how many changes are kept, if that is not what the file has; within the caller's transaction.
pub(crate) fn keep(connection: &Connection, retention_rows: u32) -> Outcome<()> {
    connection.execute(
        "INSERT OR REPLACE INTO _selfsame_meta (name, value) VALUES ('change_retention_rows', ?1)",
        [retention_rows],
    )?;
    Ok(())
}

/// How many changes the file keeps.
pub(crate) fn kept(connection: &Connection) -> Outcome<Option<i64>> {
    let mut statement =
        connection.prepare("SELECT value FROM _selfsame_meta WHERE name = 'change_retention_rows'")?;
    Ok(statement.query_row([], |row| row.get(0)).optional()?)
}

/// The id that was made with the tables, if they are there.
pub(crate) fn store_id(connection: &Connection, state: &SetupState) -> Outcome<Option<String>> {
    if !state.has_meta {
        return Ok(None);
    }
    let mut statement =
        connection.prepare_cached("SELECT value FROM _selfsame_meta WHERE name = 'store_id'")?;
    let id = statement.query_row([], |row| row.get::<_, Value>(0)).optional()?;
    Ok(match id {
        Some(Value::Text(id)) => Some(id),
        _ => None,
    })
}

/// The agent's counter; `None` if the tables are not there.
pub(crate) fn counter(connection: &Connection, state: &SetupState) -> Outcome<Option<u64>> {
    if !state.has_meta {
        return Ok(None);
    }
    let mut statement =
        connection.prepare_cached("SELECT value FROM _selfsame_meta WHERE name = 'counter'")?;
    let counter = statement.query_row([], |row| row.get::<_, i64>(0)).optional()?;
    Ok(Some(counter.and_then(|counter| u64::try_from(counter).ok()).unwrap_or(0)))
}

/// Moves the counter above `above` and itself, within the caller's transaction; `None` if the tables are not there.
pub(crate) fn advance_counter(
    connection: &Connection,
    state: &SetupState,
    above: u64,
) -> Outcome<Option<u64>> {
    let Some(counter) = counter(connection, state)? else { return Ok(None) };
    // What SQLite cannot store is the end of counting: at one step a scan it is never reached.
    let next = i64::try_from(counter.max(above)).unwrap_or(i64::MAX).saturating_add(1);
    connection
        .prepare_cached("INSERT OR REPLACE INTO _selfsame_meta (name, value) VALUES ('counter', ?1)")?
        .execute([next])?;
    Ok(u64::try_from(next).ok())
}

/// The feed has columns for so many key parts and no more.
pub(crate) fn check_key_width(table: &Table) -> Result<(), StoreError> {
    if table.key.len() > KEY_COLUMNS_MAX {
        return Err(StoreError::Schema(format!(
            "the key of table `{}` has {} columns, and the change table takes {KEY_COLUMNS_MAX}; \
             hint: use a narrower unique key",
            table.name,
            table.key.len()
        )));
    }
    Ok(())
}

/// The statements for an operator: complete, in one transaction, harmless when run again.
pub(crate) fn operators_script(table: &Table, retention_rows: u32) -> String {
    format!("BEGIN IMMEDIATE;\n{}COMMIT;\n", script(table, retention_rows))
}

fn script(table: &Table, retention_rows: u32) -> String {
    let keys = list((1..=KEY_COLUMNS_MAX).map(key_column));
    let name = identifier(&table.name);
    let text = literal(&table.name);
    let mut script = format!(
        "CREATE TABLE IF NOT EXISTS _selfsame_meta (name TEXT PRIMARY KEY NOT NULL, value);
INSERT OR IGNORE INTO _selfsame_meta (name, value) VALUES ('format', {FORMAT});
INSERT OR IGNORE INTO _selfsame_meta (name, value) VALUES ('store_id', lower(hex(randomblob(16))));
INSERT OR REPLACE INTO _selfsame_meta (name, value) VALUES ('change_retention_rows', {retention_rows});
CREATE TABLE IF NOT EXISTS _selfsame_origin (
  seq INTEGER PRIMARY KEY, repair TEXT NOT NULL UNIQUE, marker TEXT NOT NULL, at INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS _selfsame_changes (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, tbl TEXT NOT NULL, op TEXT NOT NULL, {keys}, old_version, origin TEXT,
  {OLD_EXPIRY});
INSERT INTO _selfsame_changes (tbl, op) SELECT {text}, '{cut}'
  WHERE EXISTS (SELECT 1 FROM {name}) OR EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = '_selfsame_changes');
",
        cut = operation::CUT,
    );
    if table.setup.without_expiry {
        script += &format!("ALTER TABLE _selfsame_changes ADD COLUMN {OLD_EXPIRY};\n");
    }
    let triggers = triggers_of(table);
    for trigger in triggers.iter().map(|(name, _)| name).chain(&table.setup.stale) {
        script += &format!("DROP TRIGGER IF EXISTS {};\n", identifier(trigger));
    }
    for (_, sql) in triggers {
        script += &sql;
        script += ";\n";
    }
    script
}

/// The column of `_selfsame_changes` for a part of the key, from 1.
pub(crate) fn key_column(place: usize) -> String {
    format!("k{place}")
}

/// The table's three triggers: name and statement.
fn triggers_of(table: &Table) -> [(String, String); 3] {
    let values =
        |row: &str| list(table.key.iter().map(|column| format!("{row}.{}", identifier(&column.name))));
    let held = |column: &Option<String>, row: &str| match column {
        Some(column) => format!("{row}.{}", identifier(column)),
        None => "NULL".to_owned(),
    };
    let old =
        |row: &str| format!("{}, {}", held(&table.version_column, row), held(&table.expiry_column, row));
    let text = literal(&table.name);
    let record = |operation: &str, key_of: &str, old: &str, condition: &str| {
        let keys = list((1..=table.key.len()).map(key_column));
        format!(
            "  INSERT INTO _selfsame_changes (tbl, op, {keys}, old_version, old_expiry, origin) SELECT {text}, \
             {operation}, {}, {old}, (SELECT value FROM _selfsame_meta WHERE name = 'writing'){condition};\n",
            values(key_of),
        )
    };
    // Equal as SQL values is not always equal as keys: 'a' and 'A' under NOCASE, large floats and integers.
    let rekeyed: Vec<_> = table
        .key
        .iter()
        .map(|column| identifier(&column.name))
        .map(|name| {
            format!(
                "OLD.{name} COLLATE BINARY IS NOT NEW.{name} OR (typeof(OLD.{name}) <> typeof(NEW.{name}) \
                 AND NOT (NEW.{name} {EXACT_FLOATS}))"
            )
        })
        .collect();
    let rekeyed = rekeyed.join(" OR ");
    let nothing = "NULL, NULL";
    let (insert, update, delete) = (operation::INSERT, operation::UPDATE, operation::DELETE);
    let bodies = [
        (insert, record(&literal(insert), "NEW", nothing, "")),
        (
            update,
            record(&literal(delete), "OLD", &old("OLD"), &format!(" WHERE {rekeyed}"))
                + &record(&literal(insert), "NEW", nothing, &format!(" WHERE {rekeyed}"))
                + &record(&literal(update), "NEW", &old("OLD"), &format!(" WHERE NOT ({rekeyed})")),
        ),
        (delete, record(&literal(delete), "OLD", &old("OLD"), "")),
    ];
    bodies.map(|(operation, body)| {
        let name = format!("_selfsame_{operation}_{}", table.name);
        let sql = format!(
            "CREATE TRIGGER {} AFTER {} ON {} BEGIN\n{body}  DELETE FROM _selfsame_changes WHERE seq <= \
             last_insert_rowid() - (SELECT value FROM _selfsame_meta WHERE name = 'change_retention_rows');\nEND",
            identifier(&name),
            operation.to_uppercase(),
            identifier(&table.name),
        );
        (name, sql)
    })
}
