//! Stored values: SQLite's storage classes, the cells of rows, and the parts of keys.

use rusqlite::ToSql;
use rusqlite::types::{ToSqlOutput, ValueRef};
use selfsame_core::{Cell, Decimal, KeyAs, KeyPart};

/// A value as SQLite stores it. Text may be any bytes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Raw {
    Null,
    Integer(i64),
    Real(f64),
    Text(Vec<u8>),
    Blob(Vec<u8>),
}

impl From<ValueRef<'_>> for Raw {
    fn from(value: ValueRef<'_>) -> Raw {
        match value {
            ValueRef::Null => Raw::Null,
            ValueRef::Integer(value) => Raw::Integer(value),
            ValueRef::Real(value) => Raw::Real(value),
            ValueRef::Text(bytes) => Raw::Text(bytes.to_vec()),
            ValueRef::Blob(bytes) => Raw::Blob(bytes.to_vec()),
        }
    }
}

impl ToSql for Raw {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Raw::Null => ValueRef::Null,
            Raw::Integer(value) => ValueRef::Integer(*value),
            Raw::Real(value) => ValueRef::Real(*value),
            Raw::Text(bytes) => ValueRef::Text(bytes),
            Raw::Blob(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

impl Raw {
    /// What is stored for a cell, which may come from another kind of store. `None` if SQLite has no value that
    /// keeps it exactly.
    pub(crate) fn of_cell(cell: &Cell) -> Option<Raw> {
        Some(match cell {
            Cell::Null => Raw::Null,
            Cell::Bool(flag) => Raw::Integer(i64::from(*flag)),
            Cell::Integer(value) => Raw::Integer(*value),
            Cell::Real(value) => Raw::Real(*value),
            Cell::Number(text) => exact_numbers(&Decimal::parse(text).ok()?).into_iter().next()?,
            Cell::Text(text) | Cell::Json(text) => Raw::Text(text.clone().into_bytes()),
            Cell::Bytes(bytes) => Raw::Blob(bytes.clone()),
        })
    }

    /// The cell of a stored value; `None` for text that is not Unicode.
    pub(crate) fn into_cell(self) -> Option<Cell> {
        Some(match self {
            Raw::Null => Cell::Null,
            Raw::Integer(value) => Cell::Integer(value),
            Raw::Real(value) => Cell::Real(value),
            Raw::Text(bytes) => Cell::Text(String::from_utf8(bytes).ok()?),
            Raw::Blob(bytes) => Cell::Bytes(bytes),
        })
    }

    /// Whether both are stored alike, to the bit.
    pub(crate) fn same_bits(&self, other: &Raw) -> bool {
        match (self, other) {
            (Raw::Real(one), Raw::Real(two)) => one.to_bits() == two.to_bits(),
            _ => self == other,
        }
    }
}

/// The size of a value, for limits, as [`selfsame_core::Row::value_bytes`] counts it.
pub(crate) fn value_bytes(value: ValueRef<'_>) -> usize {
    match value {
        ValueRef::Null => 1,
        ValueRef::Integer(_) | ValueRef::Real(_) => 8,
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes.len(),
    }
}

/// All stored values that read as this part of a key. More than one only for keys that are compared as text, and
/// for numbers from 2^53 on, where an integer and a float of another value may have one decimal.
pub(crate) fn candidates(part: &KeyPart, key_as: KeyAs) -> Vec<Raw> {
    match (part, key_as) {
        (KeyPart::Number(number), KeyAs::Native) => exact_numbers(number),
        (KeyPart::Text(text), KeyAs::Native) => vec![Raw::Text(text.clone().into_bytes())],
        (KeyPart::Bytes(bytes), KeyAs::Native) => vec![Raw::Blob(bytes.clone())],
        (KeyPart::Text(text), KeyAs::String) => {
            let mut found = vec![Raw::Text(text.clone().into_bytes())];
            if let Ok(number) = Decimal::parse(text)
                && number.to_string() == *text
            {
                found.extend(exact_numbers(&number));
            }
            found.extend(bytes_of_hex(text).map(Raw::Blob));
            found
        }
        // Every key of such a collection is text.
        (KeyPart::Number(_) | KeyPart::Bytes(_), KeyAs::String) => Vec::new(),
    }
}

/// The stored numbers whose value is exactly this.
fn exact_numbers(number: &Decimal) -> Vec<Raw> {
    let integer = number.to_i64();
    let real = number
        .to_string()
        .parse::<f64>()
        .ok()
        .filter(|real| Decimal::from_f64(*real).as_ref() == Some(number))
        // SQLite compares numbers by value: up to here the integer finds the float, too.
        .filter(|real| integer.is_none_or(|integer| i128::from(integer) != *real as i128));
    integer.map(Raw::Integer).into_iter().chain(real.map(Raw::Real)).collect()
}

/// The bytes that lower-case hex digits spell.
fn bytes_of_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let digits = text.as_bytes().chunks_exact(2);
    if !digits.remainder().is_empty() {
        return None;
    }
    digits.map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn number(text: &str) -> KeyPart {
        KeyPart::Number(Decimal::parse(text).unwrap())
    }

    #[test]
    fn a_number_is_looked_for_as_what_can_hold_it_exactly() {
        let native = |text: &str| candidates(&number(text), KeyAs::Native);
        assert_eq!(native("1"), [Raw::Integer(1)]);
        assert_eq!(native("1.00"), [Raw::Integer(1)]);
        assert_eq!(native("0.1"), [Raw::Real(0.1)]);
        assert_eq!(native("0.10000000000000001"), []);
        assert_eq!(native("1e400"), []);
        assert_eq!(native("9223372036854775807"), [Raw::Integer(i64::MAX)]);
        // 2^60 as a float prints as another integer than 2^60.
        assert_eq!(
            native("1152921504606847000"),
            [Raw::Integer(1_152_921_504_606_847_000), Raw::Real((1_u64 << 60) as f64)]
        );
        assert_eq!(native("1152921504606846976"), [Raw::Integer(1 << 60)]);
    }

    #[test]
    fn keys_as_text_are_looked_for_in_every_storage_class() {
        let text = |text: &str| candidates(&KeyPart::Text(text.into()), KeyAs::String);
        assert_eq!(text("12"), [Raw::Text(b"12".into()), Raw::Integer(12), Raw::Blob(vec![0x12])]);
        assert_eq!(text("1.0"), [Raw::Text(b"1.0".into())]);
        assert_eq!(text(""), [Raw::Text(vec![]), Raw::Blob(vec![])]);
        assert_eq!(text("FF"), [Raw::Text(b"FF".into())]);
        assert_eq!(candidates(&number("1"), KeyAs::String), []);
    }

    proptest! {
        #[test]
        fn every_stored_number_is_a_candidate_of_its_key(bits: u64, integer: i64) {
            let equal = |raw: &Raw, real: f64| match raw {
                Raw::Integer(integer) => *integer as f64 == real && (*integer as f64) as i128 == i128::from(*integer),
                Raw::Real(found) => *found == real,
                _ => false,
            };
            let real = f64::from_bits(bits);
            if let Some(decimal) = Decimal::from_f64(real) {
                let found = candidates(&KeyPart::Number(decimal), KeyAs::Native);
                prop_assert!(found.iter().any(|raw| equal(raw, real)), "{real:e}: {found:?}");
            }
            let found = candidates(&KeyPart::Number(integer.into()), KeyAs::Native);
            prop_assert!(found.contains(&Raw::Integer(integer)));
        }

        #[test]
        fn hex_reads_back(bytes in prop::collection::vec(any::<u8>(), 0..20)) {
            let KeyPart::Text(text) = KeyPart::Bytes(bytes.clone()).into_text() else { unreachable!() };
            prop_assert_eq!(bytes_of_hex(&text), Some(bytes));
        }
    }
}
