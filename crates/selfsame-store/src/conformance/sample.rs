//! The documents that rules write, and what must be read back: spelled out by hand, past every parser and
//! mapping, so that the expectation shares no code with what a store runs.

use selfsame_core::{
    Cell, ContentDigest, Decimal, Fingerprinter, Key, KeyAs, KeyPart, Row, Value, Version, WallMicros,
};

use super::{KeyKind, Table};

/// A document as a client writes it.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    /// One part for each column of the key.
    pub(super) key: Vec<KeyPart>,
    /// Content. Letters, digits and hyphens only: it is put between quotes as it is.
    pub(super) name: String,
    /// Content.
    pub(super) amount: i64,
    /// `None` is null.
    pub(super) version_millis: Option<i64>,
    /// RFC 3339, or what is to be unreadable.
    pub(super) expires: Option<String>,
    /// The deletion mark.
    pub(super) deleted_millis: Option<i64>,
    /// An ignored field.
    pub(super) views: i64,
    /// An unmapped field.
    pub(super) note: String,
}

impl Sample {
    /// A live document whose key is the number `id`, in the form that keys of `kind` have.
    pub(super) fn new(kind: KeyKind, id: i64) -> Self {
        let key = match kind {
            KeyKind::Integer | KeyKind::Mixed => KeyPart::Number(id.into()),
            KeyKind::Text => KeyPart::Text(format!("k{id}")),
            KeyKind::Bytes => KeyPart::Bytes(id.to_be_bytes().to_vec()),
        };
        Self {
            key: vec![key],
            name: format!("name-{id}"),
            amount: id,
            version_millis: Some(1_000),
            expires: None,
            deleted_millis: None,
            views: 0,
            note: "note".to_owned(),
        }
    }

    pub(super) fn named(self, name: &str) -> Self {
        Self { name: name.to_owned(), ..self }
    }

    pub(super) fn at_version(self, millis: i64) -> Self {
        Self { version_millis: Some(millis), ..self }
    }

    pub(super) fn with_views(self, views: i64) -> Self {
        Self { views, ..self }
    }

    pub(super) fn with_note(self, note: &str) -> Self {
        Self { note: note.to_owned(), ..self }
    }

    pub(super) fn marked(self) -> Self {
        Self { deleted_millis: Some(2_000), ..self }
    }

    /// A document whose expiry means nothing: in every store and shape a client can write that.
    pub(super) fn unreadable(self) -> Self {
        Self { expires: Some("soon".to_owned()), ..self }
    }

    /// The key as the mapping compares it.
    pub(super) fn key(&self, key_as: KeyAs) -> Key {
        let part = |part: &KeyPart| match key_as {
            KeyAs::Native => part.clone(),
            KeyAs::String => part.clone().into_text(),
        };
        Key::new(self.key.iter().map(part).collect()).expect("samples have at least one key part")
    }

    /// The key's columns.
    pub(super) fn key_row(&self, table: &Table) -> Row {
        let cells = table.columns.iter().zip(&self.key);
        Row::new(cells.map(|(column, part)| (column.name.clone(), key_cell(part))).collect())
    }

    /// The row that a client writes.
    pub(super) fn row(&self, table: &Table) -> Row {
        let integer = |value: Option<i64>| value.map_or(Cell::Null, Cell::Integer);
        let mut cells = self.key_row(table).cells().to_vec();
        for column in &table.columns[cells.len()..] {
            let cell = match column.name.as_str() {
                "body" => Cell::Json(self.body()),
                "name" => Cell::Text(self.name.clone()),
                "amount" => Cell::Integer(self.amount),
                "updated_at" => integer(self.version_millis),
                "expires_at" => self.expires.clone().map_or(Cell::Null, Cell::Text),
                "deleted_at" => integer(self.deleted_millis),
                "views" => Cell::Integer(self.views),
                "note" => Cell::Text(self.note.clone()),
                other => unreachable!("the suite's tables have no column `{other}`"),
            };
            cells.push((column.name.clone(), cell));
        }
        Row::new(cells)
    }

    fn body(&self) -> String {
        let integer = |value: Option<i64>| value.map_or("null".to_owned(), |value| value.to_string());
        let expires = self.expires.as_ref().map_or("null".to_owned(), |text| format!("\"{text}\""));
        format!(
            r#"{{"name":"{}","amount":{},"updated_at":{},"expires_at":{expires},"deleted_at":{},"views":{}}}"#,
            self.name,
            self.amount,
            integer(self.version_millis),
            integer(self.deleted_millis),
            self.views,
        )
    }

    /// The digest of the content, by hand.
    pub(super) fn content(&self, fingerprinter: &Fingerprinter) -> ContentDigest {
        fingerprinter.content_digest(&object(vec![
            ("amount", Value::Number(self.amount.into())),
            ("name", Value::Text(self.name.clone())),
        ]))
    }

    /// The version in microseconds.
    pub(super) fn version(&self) -> Version {
        Version(self.version_millis.unwrap_or(0) * 1_000)
    }

    /// The row is still to be read as this sample: what differs, in words.
    pub(super) fn difference(
        &self,
        document: &selfsame_core::Document,
        table: &Table,
        expiry: Option<WallMicros>,
    ) -> Option<String> {
        let entry = &document.entry;
        let key = self.key(table.mapping.spec().key_as);
        if entry.key != key {
            return Some(format!("key {} instead of {key}", entry.key));
        }
        if entry.version != self.version() {
            return Some(format!("key {key}: version {} instead of {}", entry.version, self.version()));
        }
        if entry.expiry != expiry {
            return Some(format!("key {key}: expiry {:?} instead of {expiry:?}", entry.expiry));
        }
        if document.marked != self.deleted_millis.is_some() {
            return Some(format!("key {key}: marked is {}", document.marked));
        }
        if entry.content != self.content(table.mapping.fingerprinter()) {
            return Some(format!("key {key}: content is not that of `{}`", self.name));
        }
        None
    }
}

/// The cell in which a client stores a part of a key.
fn key_cell(part: &KeyPart) -> Cell {
    match part {
        KeyPart::Number(number) => {
            number.to_i64().map_or_else(|| Cell::Number(number.to_string()), Cell::Integer)
        }
        KeyPart::Text(text) => Cell::Text(text.clone()),
        KeyPart::Bytes(bytes) => Cell::Bytes(bytes.clone()),
    }
}

/// An object of those members.
pub(super) fn object(members: Vec<(&str, Value)>) -> Value {
    Value::Object(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

/// The number ± `digits` × 10^`exponent`, by its parts.
pub(super) fn number(negative: bool, digits: &str, exponent: i64) -> Value {
    Value::Number(Decimal::from_parts(negative, digits, exponent).expect("samples are normalised by hand"))
}
