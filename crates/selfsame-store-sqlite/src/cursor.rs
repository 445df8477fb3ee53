//! Cursors: the stored key of the last row of a page, encoded so that any instance can go on from it.

use selfsame_core::{DecodeError, Reader, Writer};
use selfsame_store::{Cursor, StoreError};

use crate::cell::Raw;
use crate::schema::Table;

/// The encoding's version.
const VERSION: u8 = 1;

const INTEGER: u8 = 1;
const REAL: u8 = 2;
const TEXT: u8 = 3;
const BLOB: u8 = 4;

/// What a cursor is a place in: the table, and the columns and collations that order it.
fn order_of(table: &Table) -> Vec<u8> {
    let mut out = Writer::new();
    out.frame(table.name.as_bytes());
    for name in table.key_index.names() {
        out.frame(name.as_bytes()).frame(table.key_index.collation(name).to_ascii_lowercase().as_bytes());
    }
    out.finish()
}

/// The cursor after a row with the given stored key, which is in the index's order. `None` if a part is null,
/// after which there is no order.
pub(crate) fn encode(table: &Table, key: &[&Raw]) -> Option<Cursor> {
    let mut out = Writer::new();
    out.byte(VERSION).frame(&order_of(table));
    for raw in key {
        match raw {
            Raw::Null => return None,
            Raw::Integer(value) => out.byte(INTEGER).i64(*value),
            Raw::Real(value) => out.byte(REAL).u64(value.to_bits()),
            Raw::Text(bytes) => out.byte(TEXT).frame(bytes),
            Raw::Blob(bytes) => out.byte(BLOB).frame(bytes),
        };
    }
    Some(Cursor(out.finish()))
}

/// The stored key that [`encode`] was given.
pub(crate) fn decode(table: &Table, cursor: &Cursor) -> Result<Vec<Raw>, StoreError> {
    let read = || -> Result<Vec<Raw>, DecodeError> {
        let mut reader = Reader::new(&cursor.0);
        if reader.byte()? != VERSION || reader.frame()? != order_of(table) {
            return Err(DecodeError::Invalid);
        }
        let mut key = Vec::new();
        while !reader.is_empty() {
            key.push(match reader.byte()? {
                INTEGER => Raw::Integer(reader.i64()?),
                REAL => Raw::Real(f64::from_bits(reader.u64()?)),
                TEXT => Raw::Text(reader.frame()?.to_vec()),
                BLOB => Raw::Blob(reader.frame()?.to_vec()),
                _ => return Err(DecodeError::Invalid),
            });
        }
        let stored = |raw: &Raw| !matches!(raw, Raw::Real(value) if value.is_nan());
        match key.len() == table.key.len() && key.iter().all(stored) {
            true => Ok(key),
            false => Err(DecodeError::Invalid),
        }
    };
    read().map_err(|_| StoreError::Cursor)
}
