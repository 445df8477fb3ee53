//! The border between SQLite's columns and typed values. A column that does not parse is an error that names
//! table, row and column; it never panics.

use std::fmt::Display;
use std::str::FromStr;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Params, Row};
use selfsame_core::{AgentName, Cause, DecodeError, Epoch};

use crate::JournalError;

/// A table whose rows are read: its name, and how many of the selected columns, from the first, are the key.
#[derive(Clone, Copy)]
pub(crate) struct Table {
    pub(crate) name: &'static str,
    pub(crate) key_columns: usize,
}

/// One row on its way in.
pub(crate) struct Columns<'r> {
    row: &'r Row<'r>,
    table: Table,
}

impl<'r> Columns<'r> {
    fn wrong(&self, column: &str, problem: impl Display) -> JournalError {
        let id: Vec<String> = (0..self.table.key_columns)
            .map(|index| match self.row.get_ref(index) {
                Ok(ValueRef::Integer(value)) => value.to_string(),
                Ok(ValueRef::Text(text)) => String::from_utf8_lossy(text).into_owned(),
                Ok(ValueRef::Blob(bytes)) => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
                _ => "?".to_owned(),
            })
            .collect();
        JournalError::Row {
            table: self.table.name,
            id: id.join("/"),
            column: column.to_owned(),
            problem: problem.to_string(),
        }
    }

    fn raw(&self, column: &str) -> Result<ValueRef<'r>, JournalError> {
        Ok(self.row.get_ref(column)?)
    }

    /// A whole number within the bounds of its type.
    pub(crate) fn integer<T: TryFrom<i64>>(&self, column: &str) -> Result<T, JournalError> {
        let ValueRef::Integer(value) = self.raw(column)? else {
            return Err(self.wrong(column, "is no number"));
        };
        T::try_from(value).map_err(|_| self.wrong(column, format!("is out of range: {value}")))
    }

    /// 0 or 1.
    pub(crate) fn flag(&self, column: &str) -> Result<bool, JournalError> {
        match self.integer::<i64>(column)? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(self.wrong(column, format!("is neither 0 nor 1: {other}"))),
        }
    }

    /// Unicode text.
    pub(crate) fn text(&self, column: &str) -> Result<&'r str, JournalError> {
        let ValueRef::Text(text) = self.raw(column)? else {
            return Err(self.wrong(column, "is no text"));
        };
        std::str::from_utf8(text).map_err(|_| self.wrong(column, "is not unicode"))
    }

    /// A name, or anything else that is read from text.
    pub(crate) fn parsed<T: FromStr<Err: Display>>(&self, column: &str) -> Result<T, JournalError> {
        self.text(column)?.parse().map_err(|error| self.wrong(column, format!("does not parse: {error}")))
    }

    /// One of a closed list of codes.
    pub(crate) fn coded<T>(
        &self,
        column: &str,
        decode: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, JournalError> {
        let code = self.text(column)?;
        decode(code).ok_or_else(|| self.wrong(column, format!("has an unknown code: {code}")))
    }

    /// Why a replica differed.
    pub(crate) fn cause(&self, column: &str) -> Result<Cause, JournalError> {
        self.coded(column, |code| Cause::ALL.into_iter().find(|cause| cause.as_str() == code))
    }

    /// Bytes of any length.
    pub(crate) fn bytes(&self, column: &str) -> Result<&'r [u8], JournalError> {
        let ValueRef::Blob(bytes) = self.raw(column)? else {
            return Err(self.wrong(column, "is no blob"));
        };
        Ok(bytes)
    }

    /// An id or a digest.
    pub(crate) fn array<const N: usize>(&self, column: &str) -> Result<[u8; N], JournalError> {
        let bytes = self.bytes(column)?;
        bytes.try_into().map_err(|_| self.wrong(column, format!("has {} bytes, not {N}", bytes.len())))
    }

    /// What one of core's encodings wrote.
    pub(crate) fn decoded<T>(
        &self,
        column: &str,
        decode: impl FnOnce(&[u8]) -> Result<T, DecodeError>,
    ) -> Result<T, JournalError> {
        decode(self.bytes(column)?).map_err(|error| self.wrong(column, format!("does not decode: {error}")))
    }

    /// The two columns of an epoch.
    pub(crate) fn epoch(&self) -> Result<Epoch, JournalError> {
        Ok(Epoch { counter: self.integer("counter")?, agent: self.parsed::<AgentName>("agent")? })
    }

    /// Nothing for NULL, else what `read` makes of the column.
    pub(crate) fn optional<T>(
        &self,
        column: &str,
        read: impl FnOnce(&Self, &str) -> Result<T, JournalError>,
    ) -> Result<Option<T>, JournalError> {
        match self.raw(column)? {
            ValueRef::Null => Ok(None),
            _ => read(self, column).map(Some),
        }
    }

    /// A combination of columns that no writer stores.
    pub(crate) fn contradiction(&self, column: &str) -> JournalError {
        self.wrong(column, "contradicts the other columns")
    }
}

/// All rows of a query, read and typed. Its selected columns begin with the table's key.
pub(crate) fn list<T>(
    connection: &Connection,
    table: Table,
    sql: &str,
    params: impl Params,
    read: impl Fn(&Columns<'_>) -> Result<T, JournalError>,
) -> Result<Vec<T>, JournalError> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params)?;
    let mut typed = Vec::new();
    while let Some(row) = rows.next()? {
        typed.push(read(&Columns { row, table })?);
    }
    Ok(typed)
}

/// The first row of a query, if there is one.
pub(crate) fn first<T>(
    connection: &Connection,
    table: Table,
    sql: &str,
    params: impl Params,
    read: impl Fn(&Columns<'_>) -> Result<T, JournalError>,
) -> Result<Option<T>, JournalError> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params)?;
    rows.next()?.map(|row| read(&Columns { row, table })).transpose()
}

/// Runs a statement whose plan is kept; gives the number of rows it changed.
pub(crate) fn run(connection: &Connection, sql: &str, params: impl Params) -> Result<usize, JournalError> {
    Ok(connection.prepare_cached(sql)?.execute(params)?)
}

/// A count as SQLite stores it.
pub(crate) fn stored(what: &'static str, value: u64) -> Result<i64, JournalError> {
    i64::try_from(value).map_err(|_| JournalError::Unstorable { what, value })
}

/// A bound for `LIMIT`.
pub(crate) fn limit(rows: usize) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}
