//! The value of a document's field, with exact numbers and bytes beside what JSON has.

use crate::Decimal;

/// A value as documents hold it. Objects keep the order in which their members were read; the canonical form
/// sorts them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// JSON's `null`. Not the same as a missing member.
    Null,
    /// A truth value.
    Bool(bool),
    /// A number by its exact decimal value.
    Number(Decimal),
    /// A float that has no decimal value. JSON has none of these; columns of floats have.
    NonFinite(NonFinite),
    /// Unicode text.
    Text(String),
    /// Bytes, distinct from text of the same bytes.
    Bytes(Vec<u8>),
    /// An ordered list.
    Array(Vec<Value>),
    /// Members with distinct names.
    Object(Vec<(String, Value)>),
}

/// The floats that are no number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NonFinite {
    /// Not a number; all its bit patterns are one value.
    NaN,
    /// Positive infinity.
    Infinity,
    /// Negative infinity.
    NegativeInfinity,
}

impl Value {
    /// The value of a float column.
    pub fn from_f64(value: f64) -> Value {
        match Decimal::from_f64(value) {
            Some(decimal) => Value::Number(decimal),
            None if value.is_nan() => Value::NonFinite(NonFinite::NaN),
            None if value > 0.0 => Value::NonFinite(NonFinite::Infinity),
            None => Value::NonFinite(NonFinite::NegativeInfinity),
        }
    }

    /// The member of an object, if this is an object that has it.
    pub fn member(&self, name: &str) -> Option<&Value> {
        match self {
            Value::Object(members) => {
                members.iter().find(|(member, _)| member == name).map(|(_, value)| value)
            }
            _ => None,
        }
    }
}
