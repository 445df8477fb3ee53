//! Rows: what a store holds of one document, every stored byte of it, in a form that travels.

use crate::{DecodeError, JsonError, Reader, Value, Writer, parse_json};

/// One stored field with the type that the store gave it.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// SQL's NULL.
    Null,
    /// A truth value.
    Bool(bool),
    /// A 64-bit integer.
    Integer(i64),
    /// A 64-bit float.
    Real(f64),
    /// An exact number, as the store spells it.
    Number(String),
    /// Text.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// JSON, as the store spells it.
    Json(String),
}

/// The fields of one stored document, in the store's order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row {
    cells: Vec<(String, Cell)>,
}

impl Row {
    /// A row of the given fields.
    pub fn new(cells: Vec<(String, Cell)>) -> Self {
        Self { cells }
    }

    /// The fields, in the store's order.
    pub fn cells(&self) -> &[(String, Cell)] {
        &self.cells
    }

    /// The field of that name.
    pub fn cell(&self, name: &str) -> Option<&Cell> {
        self.cells.iter().find(|(cell, _)| cell == name).map(|(_, cell)| cell)
    }

    /// Size in bytes of the fields' values, for limits.
    pub fn value_bytes(&self) -> usize {
        let size = |cell: &Cell| match cell {
            Cell::Null | Cell::Bool(_) => 1,
            Cell::Integer(_) | Cell::Real(_) => 8,
            Cell::Number(text) | Cell::Text(text) | Cell::Json(text) => text.len(),
            Cell::Bytes(bytes) => bytes.len(),
        };
        self.cells.iter().map(|(_, cell)| size(cell)).sum()
    }

    /// The encoding that is hashed, journalled and sent.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Writer::new();
        for (name, cell) in &self.cells {
            out.frame(name.as_bytes());
            match cell {
                Cell::Null => out.byte(0),
                Cell::Bool(flag) => out.byte(1).byte(u8::from(*flag)),
                Cell::Integer(value) => out.byte(2).i64(*value),
                Cell::Real(value) => out.byte(3).u64(value.to_bits()),
                Cell::Number(text) => out.byte(4).frame(text.as_bytes()),
                Cell::Text(text) => out.byte(5).frame(text.as_bytes()),
                Cell::Bytes(bytes) => out.byte(6).frame(bytes),
                Cell::Json(text) => out.byte(7).frame(text.as_bytes()),
            };
        }
        out.finish()
    }

    /// Reads what [`Row::to_bytes`] wrote.
    pub fn from_bytes(bytes: &[u8]) -> Result<Row, DecodeError> {
        let mut reader = Reader::new(bytes);
        let mut cells = Vec::new();
        while !reader.is_empty() {
            let name = reader.text()?.to_owned();
            let cell = match reader.byte()? {
                0 => Cell::Null,
                1 => match reader.byte()? {
                    0 => Cell::Bool(false),
                    1 => Cell::Bool(true),
                    _ => return Err(DecodeError::Invalid),
                },
                2 => Cell::Integer(reader.i64()?),
                3 => Cell::Real(f64::from_bits(reader.u64()?)),
                4 => Cell::Number(reader.text()?.to_owned()),
                5 => Cell::Text(reader.text()?.to_owned()),
                6 => Cell::Bytes(reader.frame()?.to_vec()),
                7 => Cell::Json(reader.text()?.to_owned()),
                _ => return Err(DecodeError::Invalid),
            };
            cells.push((name, cell));
        }
        Ok(Row { cells })
    }
}

impl Cell {
    /// The value that the field holds.
    pub fn value(&self) -> Result<Value, JsonError> {
        Ok(match self {
            Cell::Null => Value::Null,
            Cell::Bool(flag) => Value::Bool(*flag),
            Cell::Integer(value) => Value::Number((*value).into()),
            Cell::Real(value) => Value::from_f64(*value),
            Cell::Number(text) | Cell::Json(text) => parse_json(text.as_bytes())?,
            Cell::Text(text) => Value::Text(text.clone()),
            Cell::Bytes(bytes) => Value::Bytes(bytes.clone()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn arbitrary_cell() -> impl Strategy<Value = Cell> {
        prop_oneof![
            Just(Cell::Null),
            any::<bool>().prop_map(Cell::Bool),
            any::<i64>().prop_map(Cell::Integer),
            prop::num::f64::NORMAL.prop_map(Cell::Real),
            ".{0,20}".prop_map(Cell::Text),
            ".{0,20}".prop_map(Cell::Json),
            prop::collection::vec(any::<u8>(), 0..20).prop_map(Cell::Bytes),
        ]
    }

    proptest! {
        #[test]
        fn rows_read_back(cells in prop::collection::vec((".{0,6}", arbitrary_cell()), 0..6)) {
            let row = Row::new(cells);
            prop_assert_eq!(Row::from_bytes(&row.to_bytes()), Ok(row));
        }
    }
}
