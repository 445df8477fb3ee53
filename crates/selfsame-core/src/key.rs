//! Keys: one or more typed parts that name a document within its collection.

use std::fmt;

use crate::{Decimal, DecodeError, Reader, Value, Writer, parse_json, render_json};

/// One column of a key, with the type that the store holds: 1 and "1" are two keys.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyPart {
    /// A number by exact decimal value.
    Number(Decimal),
    /// Unicode text.
    Text(String),
    /// Bytes, distinct from text.
    Bytes(Vec<u8>),
}

/// A document's key. The `Ord` is a total order for sorted collections, not the store's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    parts: Vec<KeyPart>,
}

/// Why values are no key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// No part at all.
    #[error("a key needs at least one part")]
    Empty,
    /// A part is null, a truth value, a list or an object.
    #[error("a key part must be a number, text or bytes")]
    PartType,
}

const NUMBER: u8 = 1;
const TEXT: u8 = 2;
const BYTES: u8 = 3;

impl Key {
    /// A key of the given parts.
    pub fn new(parts: Vec<KeyPart>) -> Result<Key, KeyError> {
        if parts.is_empty() {
            return Err(KeyError::Empty);
        }
        Ok(Key { parts })
    }

    /// A key of one text.
    pub fn text(text: impl Into<String>) -> Key {
        Key { parts: vec![KeyPart::Text(text.into())] }
    }

    /// A key of one whole number.
    pub fn integer(value: i64) -> Key {
        Key { parts: vec![KeyPart::Number(value.into())] }
    }

    /// The parts, in the order of the key's columns.
    pub fn parts(&self) -> &[KeyPart] {
        &self.parts
    }

    /// The encoding that is hashed, stored and sent.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Writer::new();
        for part in &self.parts {
            match part {
                KeyPart::Number(number) => {
                    out.byte(NUMBER).byte(u8::from(number.is_negative())).frame(number.digits().as_bytes());
                    out.i64(number.exponent());
                }
                KeyPart::Text(text) => {
                    out.byte(TEXT).frame(text.as_bytes());
                }
                KeyPart::Bytes(bytes) => {
                    out.byte(BYTES).frame(bytes);
                }
            }
        }
        out.finish()
    }

    /// Reads what [`Key::to_bytes`] wrote.
    pub fn from_bytes(bytes: &[u8]) -> Result<Key, DecodeError> {
        let mut reader = Reader::new(bytes);
        let mut parts = Vec::new();
        while !reader.is_empty() {
            parts.push(match reader.byte()? {
                NUMBER => {
                    let negative = match reader.byte()? {
                        0 => false,
                        1 => true,
                        _ => return Err(DecodeError::Invalid),
                    };
                    let digits = reader.text()?;
                    let number = Decimal::from_parts(negative, digits, reader.i64()?);
                    KeyPart::Number(number.map_err(|_| DecodeError::Invalid)?)
                }
                TEXT => KeyPart::Text(reader.text()?.to_owned()),
                BYTES => KeyPart::Bytes(reader.frame()?.to_vec()),
                _ => return Err(DecodeError::Invalid),
            });
        }
        Key::new(parts).map_err(|_| DecodeError::Invalid)
    }

    /// Reads a key as a person types it: JSON (`7`, `"7"`, `["eu",7]`, `{"$bytes":"00ff"}`), or else text.
    pub fn from_typed(typed: &str) -> Key {
        let parsed = match parse_json(typed.as_bytes()) {
            Ok(Value::Array(items)) => {
                items.iter().map(KeyPart::from_value).collect::<Result<_, _>>().and_then(Key::new)
            }
            Ok(value) => KeyPart::from_value(&value).map(|part| Key { parts: vec![part] }),
            Err(_) => Err(KeyError::PartType),
        };
        parsed.unwrap_or_else(|_| Key::text(typed))
    }
}

impl KeyPart {
    /// The key part that a field's value is.
    pub fn from_value(value: &Value) -> Result<KeyPart, KeyError> {
        match value {
            Value::Number(number) => Ok(KeyPart::Number(number.clone())),
            Value::Text(text) => Ok(KeyPart::Text(text.clone())),
            Value::Bytes(bytes) => Ok(KeyPart::Bytes(bytes.clone())),
            Value::Object(members) => match members.as_slice() {
                [(name, Value::Text(digits))] if name == "$bytes" => {
                    hex::decode(digits).map(KeyPart::Bytes).map_err(|_| KeyError::PartType)
                }
                _ => Err(KeyError::PartType),
            },
            Value::Null | Value::Bool(_) | Value::NonFinite(_) | Value::Array(_) => Err(KeyError::PartType),
        }
    }

    fn to_value(&self) -> Value {
        match self {
            KeyPart::Number(number) => Value::Number(number.clone()),
            KeyPart::Text(text) => Value::Text(text.clone()),
            KeyPart::Bytes(bytes) => Value::Bytes(bytes.clone()),
        }
    }

    /// The part as text, for collections whose keys are compared as text (`key_as: string`).
    pub fn into_text(self) -> KeyPart {
        match self {
            KeyPart::Number(number) => KeyPart::Text(number.to_string()),
            KeyPart::Text(text) => KeyPart::Text(text),
            KeyPart::Bytes(bytes) => KeyPart::Text(hex::encode(bytes)),
        }
    }
}

impl fmt::Display for Key {
    /// JSON, as [`Key::from_typed`] reads it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = match self.parts.as_slice() {
            [part] => part.to_value(),
            parts => Value::Array(parts.iter().map(KeyPart::to_value).collect()),
        };
        f.write_str(&render_json(&value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(crate) fn arbitrary_key() -> impl Strategy<Value = Key> {
        let part = prop_oneof![
            any::<i64>().prop_map(|value| KeyPart::Number(value.into())),
            ".{0,12}".prop_map(KeyPart::Text),
            prop::collection::vec(any::<u8>(), 0..12).prop_map(KeyPart::Bytes),
        ];
        prop::collection::vec(part, 1..4).prop_map(|parts| Key::new(parts).unwrap())
    }

    #[test]
    fn a_number_and_its_text_are_two_keys() {
        assert_ne!(Key::integer(1), Key::text("1"));
        assert_ne!(Key::integer(1).to_bytes(), Key::text("1").to_bytes());
        assert_ne!(Key::from_typed("1"), Key::from_typed("\"1\""));
        assert_eq!(Key::from_typed("U+0041"), Key::text("U+0041"));
        assert_eq!(Key::from_typed("1.0"), Key::integer(1));
    }

    proptest! {
        #[test]
        fn keys_read_back_from_bytes_and_from_what_people_type(key in arbitrary_key()) {
            prop_assert_eq!(Key::from_bytes(&key.to_bytes()), Ok(key.clone()));
            prop_assert_eq!(Key::from_typed(&key.to_string()), key);
        }

        #[test]
        fn no_bytes_make_decoding_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(key) = Key::from_bytes(&bytes) {
                prop_assert_eq!(key.to_bytes(), bytes);
            }
        }
    }
}
