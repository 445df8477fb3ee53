//! Rows as documents, and the one row that has a key.

use rusqlite::params_from_iter;
use selfsame_core::{Cell, Document, Key, Row, Unreadable, UnreadableReason};

use crate::cell::{Raw, candidates, value_bytes};
use crate::fault::Outcome;
use crate::session::View;
use crate::sql::{identifier, parameters};

/// A row, read.
pub(crate) struct StoredRow {
    /// What it means.
    pub(crate) document: Result<Document, Unreadable>,
    /// The key as stored, in the mapping's order.
    pub(crate) key: Vec<Raw>,
    /// The size of its values.
    pub(crate) bytes: usize,
}

impl StoredRow {
    fn key_read(&self) -> Option<&Key> {
        match &self.document {
            Ok(document) => Some(&document.entry.key),
            Err(unreadable) => unreadable.key.as_ref(),
        }
    }
}

/// What there is under a key.
pub(crate) enum Found {
    Absent,
    Row(Box<StoredRow>),
    /// Several rows whose stored keys differ, but read as one.
    Several(Unreadable),
}

impl View<'_> {
    /// Reads a row of [`crate::schema::Table::select_list`]. Nothing in it makes this fail.
    pub(crate) fn row(&self, row: &rusqlite::Row<'_>) -> rusqlite::Result<StoredRow> {
        let columns = &self.table.columns;
        let mut bytes = 0;
        for index in 0..columns.len() {
            bytes += value_bytes(row.get_ref(index + 1)?);
        }
        let bytes_max = self.mapping.spec().document_bytes_max;
        let too_large = bytes as u64 > bytes_max;
        let mut refused = too_large.then_some(UnreadableReason::TooLarge(bytes_max));
        let mut cells = Vec::with_capacity(columns.len());
        for (index, column) in columns.iter().enumerate() {
            let is_key = self.table.key.iter().any(|key| key.column == index);
            let cell = match too_large && !is_key {
                true => Some(Cell::Null),
                false => Raw::from(row.get_ref(index + 1)?).into_cell(),
            };
            if cell.is_none() {
                refused.get_or_insert_with(|| UnreadableReason::NotUnicode(column.name.clone()));
            }
            cells.push((column.name.clone(), cell.unwrap_or(Cell::Null)));
        }
        let mut key = Vec::with_capacity(self.table.key.len());
        for column in &self.table.key {
            key.push(Raw::from(row.get_ref(column.column + 1)?));
        }
        let place = match row.get_ref(0)? {
            rusqlite::types::ValueRef::Integer(rowid) => format!("rowid {rowid}"),
            _ => place_of(&key),
        };
        let mut document = self.mapping.document(Row::new(cells), &place);
        if let Some(reason) = refused {
            // What the rest of the row seems to be does not matter, except for its key.
            let key = match document {
                Ok(document) => Some(document.entry.key),
                Err(unreadable) => unreadable.key,
            };
            document = Err(Unreadable { key, place, reason });
        }
        Ok(StoredRow { document, key, bytes })
    }

    /// The row whose key reads as `key`: not one that SQLite merely takes for equal after converting types or
    /// folding case.
    pub(crate) fn find(&self, key: &Key) -> Outcome<Found> {
        let table = self.table;
        if key.parts().len() != table.key.len() {
            return Ok(Found::Absent);
        }
        let key_as = self.mapping.spec().key_as;
        let sought: Vec<Vec<Raw>> = key.parts().iter().map(|part| candidates(part, key_as)).collect();
        if sought.iter().any(Vec::is_empty) {
            return Ok(Found::Absent);
        }
        let conditions: Vec<_> = table
            .key
            .iter()
            .zip(&sought)
            .map(|(column, values)| match values.len() {
                1 => format!("{} = ?", column.compared()),
                count => format!("{} IN ({})", column.compared(), parameters(count)),
            })
            .collect();
        let sql = format!(
            "SELECT {} FROM {} WHERE {}",
            table.select_list(),
            identifier(&table.name),
            conditions.join(" AND ")
        );
        let mut statement = self.connection.prepare_cached(&sql)?;
        let mut rows = statement.query(params_from_iter(sought.iter().flatten()))?;
        let mut found: Option<StoredRow> = None;
        while let Some(row) = rows.next()? {
            let row = self.row(row)?;
            if row.key_read() != Some(key) {
                continue;
            }
            if let Some(other) = found {
                let place = format!("{} and {}", place_of(&other.key), place_of(&row.key));
                let reason = UnreadableReason::DuplicateKey;
                return Ok(Found::Several(Unreadable { key: Some(key.clone()), place, reason }));
            }
            found = Some(row);
        }
        Ok(found.map_or(Found::Absent, |row| Found::Row(Box::new(row))))
    }

    /// Whether the table can hold another row that reads as the same key.
    pub(crate) fn may_have_twin(&self, key: &Key) -> bool {
        let key_as = self.mapping.spec().key_as;
        self.table
            .key
            .iter()
            .zip(key.parts())
            .any(|(column, part)| !column.one_class && candidates(part, key_as).len() > 1)
    }
}

/// Where a row without a rowid lies, for a person to find it. Long keys are cut.
fn place_of(key: &[Raw]) -> String {
    const CHARS_MAX: usize = 40;
    let part = |raw: &Raw| match raw {
        Raw::Null => "null".to_owned(),
        Raw::Integer(value) => value.to_string(),
        Raw::Real(value) => format!("{value:?}"),
        Raw::Text(bytes) => {
            format!("'{}'", String::from_utf8_lossy(bytes).chars().take(CHARS_MAX).collect::<String>())
        }
        Raw::Blob(bytes) => {
            format!(
                "x'{}'",
                bytes.iter().take(CHARS_MAX / 2).map(|byte| format!("{byte:02x}")).collect::<String>()
            )
        }
    };
    format!("key {}", key.iter().map(part).collect::<Vec<_>>().join(", "))
}
