//! The mapping of a collection's rows to documents: which fields are key, version, expiry, deletion mark and
//! content, and which belong to the application alone.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::{
    Cell, Document, Entry, Fingerprinter, Key, KeyPart, Row, ShardCount, Unreadable, UnreadableReason, Value,
    Version, VersionKind, WallMicros, parse_json, render_json,
};

/// Fields whose names start so belong to Selfsame and are never content.
const RESERVED_PREFIX: &str = "_selfsame";

/// The unit of a version, an expiry or a deletion mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Seconds since 1970, a number.
    Seconds,
    /// Milliseconds since 1970, a number.
    Millis,
    /// Microseconds since 1970, a number.
    Micros,
    /// RFC 3339 text, cut to microseconds.
    Rfc3339,
    /// A whole number that grows with each write; for versions only.
    Counter,
}

impl Unit {
    /// The microseconds (or the count) that somebody means who types what a document would hold.
    pub fn typed(self, text: &str) -> Option<i64> {
        let value = match self {
            Unit::Rfc3339 => Value::Text(text.to_owned()),
            Unit::Seconds | Unit::Millis | Unit::Micros | Unit::Counter => {
                parse_json(text.as_bytes()).ok()?
            }
        };
        instant(&value, self).ok().flatten()
    }

    /// What a field in this unit holds.
    pub fn describe(self) -> &'static str {
        match self {
            Unit::Seconds => "a number of seconds since 1970",
            Unit::Millis => "a number of milliseconds since 1970",
            Unit::Micros => "a number of microseconds since 1970",
            Unit::Rfc3339 => "an RFC 3339 time such as 2026-01-31T12:00:00Z",
            Unit::Counter => "a whole number",
        }
    }
}

/// A field and the unit of the time (or count) that it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeField {
    /// A column, else a member of the document field.
    pub field: String,
    /// Its unit.
    pub unit: Unit,
}

/// How keys are compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeyAs {
    /// By the stored type: 1 and "1" are two keys.
    #[default]
    Native,
    /// As text.
    String,
}

/// The fields of a collection, as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MappingSpec {
    /// The key's fields.
    pub key: Vec<String>,
    /// How keys are compared.
    pub key_as: KeyAs,
    /// The field that holds the document as JSON; without it the other columns are the document.
    pub document: Option<String>,
    /// Without a document field: the columns that are content. `None` is all that have no other role.
    pub columns: Option<Vec<String>>,
    /// The version's field.
    pub version: Option<TimeField>,
    /// The expiry's field.
    pub expiry: Option<TimeField>,
    /// The deletion mark's field.
    pub deletion: Option<TimeField>,
    /// Fields that are no content; a repair leaves the target's own.
    pub ignore_fields: Vec<String>,
    /// How many shards the keys are divided into.
    pub shards: ShardCount,
    /// Documents above this are unreadable (`document_bytes_max`).
    pub document_bytes_max: u64,
}

/// A mapping that contradicts itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MappingError {
    /// No key field.
    #[error("`key` needs at least one field")]
    NoKey,
    /// A field has two roles.
    #[error("field `{0}` has two roles")]
    TwoRoles(String),
    /// Both ways of saying what the content is.
    #[error("`document` and `columns` exclude each other")]
    DocumentAndColumns,
    /// A counter is no time.
    #[error("unit `counter` is for versions only, not for `{0}`")]
    CounterIsNoTime(String),
}

/// Reads rows as documents, and puts a winner's content into a target's row.
#[derive(Clone, Debug)]
pub struct Mapping {
    spec: MappingSpec,
    fingerprinter: Fingerprinter,
    /// Names that are no content wherever they stand.
    ignored: BTreeSet<String>,
    /// Names with a role (key, version, expiry, deletion).
    roles: BTreeSet<String>,
}

impl Mapping {
    /// Checks a specification.
    pub fn new(spec: MappingSpec, fingerprinter: Fingerprinter) -> Result<Mapping, MappingError> {
        if spec.key.is_empty() {
            return Err(MappingError::NoKey);
        }
        if spec.document.is_some() && spec.columns.is_some() {
            return Err(MappingError::DocumentAndColumns);
        }
        for time in [&spec.expiry, &spec.deletion].into_iter().flatten() {
            if time.unit == Unit::Counter {
                return Err(MappingError::CounterIsNoTime(time.field.clone()));
            }
        }
        let times =
            [&spec.version, &spec.expiry, &spec.deletion].into_iter().flatten().map(|time| &time.field);
        let mut roles = BTreeSet::new();
        for field in spec.key.iter().chain(times) {
            if !roles.insert(field.clone()) || spec.document.as_ref() == Some(field) {
                return Err(MappingError::TwoRoles(field.clone()));
            }
        }
        let ignored: BTreeSet<_> = spec.ignore_fields.iter().cloned().collect();
        if let Some(both) = ignored.intersection(&roles).next() {
            return Err(MappingError::TwoRoles(both.clone()));
        }
        Ok(Mapping { spec, fingerprinter, ignored, roles })
    }

    /// The specification.
    pub fn spec(&self) -> &MappingSpec {
        &self.spec
    }

    /// The collection's digests.
    pub fn fingerprinter(&self) -> &Fingerprinter {
        &self.fingerprinter
    }

    /// What the versions mean.
    pub fn version_kind(&self) -> VersionKind {
        match &self.spec.version {
            None => VersionKind::None,
            Some(TimeField { unit: Unit::Counter, .. }) => VersionKind::Counter,
            Some(_) => VersionKind::Time,
        }
    }

    /// Reads a row. `place` says where the store has it, for the report if it cannot be read.
    pub fn document(&self, row: Row, place: &str) -> Result<Document, Unreadable> {
        let mut key = None;
        self.read(row, &mut key).map_err(|reason| Unreadable { key, place: place.to_owned(), reason })
    }

    fn read(&self, row: Row, key_seen: &mut Option<Key>) -> Result<Document, UnreadableReason> {
        let body = self.body(&row);
        // The key first, so that a report about the rest can name it.
        let key = match &body {
            Ok(body) => self.key(&row, body.as_ref())?,
            Err(_) => self.key(&row, None)?,
        };
        *key_seen = Some(key.clone());
        if row.value_bytes() as u64 > self.spec.document_bytes_max {
            return Err(UnreadableReason::TooLarge(self.spec.document_bytes_max));
        }
        let body = body?;
        let time = |time: &Option<TimeField>, refuse: fn(String) -> UnreadableReason| match time {
            None => Ok(None),
            Some(TimeField { field, unit }) => {
                let value = self.field(&row, body.as_ref(), field)?.unwrap_or(Value::Null);
                instant(&value, *unit).map_err(|()| refuse(field.clone()))
            }
        };
        let version = time(&self.spec.version, UnreadableReason::Version)?.unwrap_or(0);
        let expiry = time(&self.spec.expiry, UnreadableReason::Expiry)?.map(WallMicros);
        let marked = time(&self.spec.deletion, UnreadableReason::Deletion)?.is_some();
        let content = self.fingerprinter.content_digest(&self.content(&row, body)?);
        let key_digest = self.fingerprinter.key_digest(&key);
        let row_digest = self.fingerprinter.row_digest(&row);
        let entry = Entry { key, version: Version(version), expiry, content };
        Ok(Document { entry, key_digest, row, row_digest, marked })
    }

    /// The value of the document field, for mappings that have one.
    fn body(&self, row: &Row) -> Result<Option<Value>, UnreadableReason> {
        let Some(field) = &self.spec.document else { return Ok(None) };
        let text = match row.cell(field) {
            Some(Cell::Text(text) | Cell::Json(text)) => text.as_bytes(),
            Some(
                Cell::Null
                | Cell::Bool(_)
                | Cell::Integer(_)
                | Cell::Real(_)
                | Cell::Number(_)
                | Cell::Bytes(_),
            ) => {
                return Err(UnreadableReason::NotAnObject(field.clone()));
            }
            None => return Err(UnreadableReason::MissingField(field.clone())),
        };
        match parse_json(text) {
            Ok(object @ Value::Object(_)) => Ok(Some(object)),
            Ok(_) => Err(UnreadableReason::NotAnObject(field.clone())),
            Err(error) => Err(UnreadableReason::Json { field: field.clone(), error }),
        }
    }

    /// A field's value: a column, else a member of the document. `None` if neither has it.
    fn field(&self, row: &Row, body: Option<&Value>, name: &str) -> Result<Option<Value>, UnreadableReason> {
        match row.cell(name) {
            Some(cell) => cell_value(name, cell).map(Some),
            None => Ok(body.and_then(|body| body.member(name)).cloned()),
        }
    }

    fn key(&self, row: &Row, body: Option<&Value>) -> Result<Key, UnreadableReason> {
        let part = |name: &String| {
            let value = self.field(row, body, name)?.unwrap_or(Value::Null);
            let part = KeyPart::from_value(&value).map_err(|_| UnreadableReason::Key(name.clone()))?;
            Ok(match self.spec.key_as {
                KeyAs::Native => part,
                KeyAs::String => part.into_text(),
            })
        };
        let parts = self.spec.key.iter().map(part).collect::<Result<Vec<_>, _>>()?;
        Ok(Key::new(parts).expect("a mapping has at least one key field"))
    }

    fn content(&self, row: &Row, body: Option<Value>) -> Result<Value, UnreadableReason> {
        let members = match body {
            Some(Value::Object(members)) => {
                // A column of the name has taken the role; the member is then content like any other.
                let has_role = |name: &str| self.roles.contains(name) && row.cell(name).is_none();
                members.into_iter().filter(|(name, _)| !has_role(name) && !self.is_ignored(name)).collect()
            }
            _ => row
                .cells()
                .iter()
                .filter(|(name, _)| self.is_content_column(name))
                .map(|(name, cell)| Ok((name.clone(), cell_value(name, cell)?)))
                .collect::<Result<Vec<_>, UnreadableReason>>()?,
        };
        if let Some(columns) = &self.spec.columns
            && let Some(missing) = columns.iter().find(|column| row.cell(column).is_none())
        {
            return Err(UnreadableReason::MissingField(missing.clone()));
        }
        Ok(Value::Object(members))
    }

    fn is_ignored(&self, name: &str) -> bool {
        self.ignored.contains(name) || name.starts_with(RESERVED_PREFIX)
    }

    fn is_content_column(&self, name: &str) -> bool {
        let chosen =
            self.spec.columns.as_ref().is_none_or(|columns| columns.iter().any(|column| column == name));
        chosen && !self.roles.contains(name) && !self.is_ignored(name)
    }

    fn is_mapped_column(&self, name: &str) -> bool {
        match &self.spec.document {
            Some(document) => document == name || self.roles.contains(name),
            None => self.roles.contains(name) || self.is_content_column(name),
        }
    }

    /// The row that a repair writes: the winner's content with the ignored and unmapped fields of the target's own
    /// row. A target that has no row takes the winner's whole.
    pub fn merged(&self, target: Option<&Row>, winner: &Row) -> Row {
        let Some(target) = target else { return winner.clone() };
        let cell = |(name, own): &(String, Cell)| {
            let merged = match winner.cell(name) {
                Some(theirs) if self.spec.document.as_ref() == Some(name) => self.merged_body(own, theirs),
                Some(theirs) if self.is_mapped_column(name) => theirs.clone(),
                _ => own.clone(),
            };
            (name.clone(), merged)
        };
        Row::new(target.cells().iter().map(cell).collect())
    }

    fn merged_body(&self, own: &Cell, theirs: &Cell) -> Cell {
        let (Ok(own_body), Ok(their_body)) = (body_members(own), body_members(theirs)) else {
            return theirs.clone();
        };
        let same = |name: &String| {
            let find = |members: &[(String, Value)]| {
                members.iter().find(|(member, _)| member == name).map(|(_, value)| value.clone())
            };
            find(&own_body) == find(&their_body)
        };
        let mut names =
            own_body.iter().chain(&their_body).map(|(name, _)| name).filter(|name| self.is_ignored(name));
        if names.all(same) {
            // Nothing of the target's to keep: the winner's own spelling, byte for byte.
            return theirs.clone();
        }
        let content = their_body.into_iter().filter(|(name, _)| !self.is_ignored(name));
        let kept = own_body.into_iter().filter(|(name, _)| self.is_ignored(name));
        let text = render_json(&Value::Object(content.chain(kept).collect()));
        match theirs {
            Cell::Json(_) => Cell::Json(text),
            _ => Cell::Text(text),
        }
    }
}

fn cell_value(name: &str, cell: &Cell) -> Result<Value, UnreadableReason> {
    cell.value().map_err(|error| UnreadableReason::Json { field: name.to_owned(), error })
}

fn body_members(cell: &Cell) -> Result<Vec<(String, Value)>, ()> {
    let (Cell::Text(text) | Cell::Json(text)) = cell else { return Err(()) };
    match parse_json(text.as_bytes()) {
        Ok(Value::Object(members)) => Ok(members),
        _ => Err(()),
    }
}

/// Microseconds (or a count) in `unit`; `None` for null.
fn instant(value: &Value, unit: Unit) -> Result<Option<i64>, ()> {
    let number = match (value, unit) {
        (Value::Null, _) => return Ok(None),
        (Value::Number(number), Unit::Seconds) => number.scaled_to_i64(6),
        (Value::Number(number), Unit::Millis) => number.scaled_to_i64(3),
        (Value::Number(number), Unit::Micros) => number.scaled_to_i64(0),
        (Value::Number(number), Unit::Counter) => number.to_i64(),
        (Value::Text(text), Unit::Rfc3339) => text
            .parse::<Timestamp>()
            .ok()
            .and_then(|instant| i64::try_from(instant.as_nanosecond().div_euclid(1000)).ok()),
        _ => None,
    };
    number.map(Some).ok_or(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> MappingSpec {
        MappingSpec {
            key: vec!["id".into()],
            key_as: KeyAs::Native,
            document: Some("body".into()),
            columns: None,
            version: Some(TimeField { field: "updated_at".into(), unit: Unit::Millis }),
            expiry: Some(TimeField { field: "expires_at".into(), unit: Unit::Rfc3339 }),
            deletion: None,
            ignore_fields: vec!["views".into()],
            shards: ShardCount::new(4).unwrap(),
            document_bytes_max: 1 << 20,
        }
    }

    fn mapping(spec: MappingSpec) -> Mapping {
        Mapping::new(spec, Fingerprinter::new("fleet", "products", b"")).unwrap()
    }

    fn row(id: i64, body: &str) -> Row {
        Row::new(vec![("id".into(), Cell::Integer(id)), ("body".into(), Cell::Text(body.into()))])
    }

    fn read(body: &str) -> Result<Document, Unreadable> {
        mapping(spec()).document(row(1, body), "rowid 1")
    }

    #[test]
    fn roles_and_ignored_members_are_no_content() {
        let bare = read(r#"{"name":"x"}"#).unwrap();
        let full = read(
            r#"{"views":9,"name":"x","updated_at":1500,"expires_at":"1970-01-01T00:00:00.0000019Z","_selfsame_x":1}"#,
        )
        .unwrap();
        assert_eq!(bare.entry.content, full.entry.content);
        assert_eq!((bare.entry.version, bare.entry.expiry), (Version(0), None));
        assert_eq!((full.entry.version, full.entry.expiry), (Version(1_500_000), Some(WallMicros(1))));
        assert_ne!(bare.row_digest, full.row_digest);
    }

    #[test]
    fn what_has_no_single_meaning_is_unreadable_and_names_its_key() {
        for (body, reason) in [
            ("[1]", UnreadableReason::NotAnObject("body".into())),
            (r#"{"updated_at":"soon"}"#, UnreadableReason::Version("updated_at".into())),
            (r#"{"expires_at":12}"#, UnreadableReason::Expiry("expires_at".into())),
            (
                r#"{"a":1,"a":2}"#,
                UnreadableReason::Json {
                    field: "body".into(),
                    error: crate::JsonError::DuplicateMember("a".into()),
                },
            ),
        ] {
            let unreadable = read(body).unwrap_err();
            assert_eq!((unreadable.key, unreadable.reason), (Some(Key::integer(1)), reason), "{body}");
        }
        let keyless = Row::new(vec![("id".into(), Cell::Null), ("body".into(), Cell::Text("{}".into()))]);
        assert_eq!(
            mapping(spec()).document(keyless, "").unwrap_err().reason,
            UnreadableReason::Key("id".into())
        );
    }

    #[test]
    fn a_typed_version_is_what_a_document_would_hold() {
        assert_eq!(Unit::Millis.typed("1700000000000"), Some(1_700_000_000_000_000));
        assert_eq!(Unit::Seconds.typed("1.5"), Some(1_500_000));
        assert_eq!(Unit::Counter.typed("7"), Some(7));
        assert_eq!(Unit::Rfc3339.typed("1970-01-01T00:00:01Z"), Some(1_000_000));
        for (unit, text) in [
            (Unit::Millis, "yesterday"),
            (Unit::Millis, "null"),
            (Unit::Counter, "1.5"),
            (Unit::Rfc3339, "7"),
        ] {
            assert_eq!(unit.typed(text), None, "{text}");
        }
    }

    #[test]
    fn a_document_above_the_limit_is_unreadable() {
        let spec = MappingSpec { document_bytes_max: 20, ..spec() };
        let long = row(1, r#"{"name":"a long enough name"}"#);
        assert_eq!(mapping(spec).document(long, "").unwrap_err().reason, UnreadableReason::TooLarge(20));
    }

    #[test]
    fn columns_are_content_by_value_not_by_storage() {
        let columns = mapping(MappingSpec { document: None, expiry: None, ..spec() });
        let read = |price: Cell| {
            let cells = vec![
                ("id".into(), Cell::Integer(1)),
                ("updated_at".into(), Cell::Null),
                ("price".into(), price),
            ];
            columns.document(Row::new(cells), "").unwrap().entry.content
        };
        assert_eq!(read(Cell::Integer(3)), read(Cell::Real(3.0)));
        assert_eq!(read(Cell::Number("3.00".into())), read(Cell::Real(3.0)));
        assert_ne!(read(Cell::Text("a".into())), read(Cell::Bytes(b"a".to_vec())));
        assert_ne!(read(Cell::Null), read(Cell::Text("null".into())));
    }

    #[test]
    fn a_merge_keeps_the_targets_ignored_and_unmapped_fields() {
        let mapping = mapping(spec());
        let with_note = |body: &str, note: &str| {
            let mut cells = row(1, body).cells().to_vec();
            cells.push(("note".into(), Cell::Text(note.into())));
            Row::new(cells)
        };
        let target = with_note(r#"{"name":"old","views":7}"#, "theirs");
        let winner = with_note(r#"{"name":"new","price":1.50,"views":1}"#, "ours");
        let merged = mapping.merged(Some(&target), &winner);
        assert_eq!(merged, with_note(r#"{"name":"new","price":1.5,"views":7}"#, "theirs"));
        let content = |row: &Row| mapping.document(row.clone(), "").unwrap().entry.content;
        assert_eq!(content(&merged), content(&winner));
        assert_eq!(mapping.merged(None, &winner), winner);
        let plain = row(1, r#"{ "name" : "x", "price":1.50 }"#);
        assert_eq!(mapping.merged(Some(&row(1, "{}")), &plain), plain, "the winner's spelling is kept");
    }

    #[test]
    fn a_field_has_one_role() {
        let new = |spec| Mapping::new(spec, Fingerprinter::new("f", "c", b"")).map(|_| ());
        assert_eq!(new(MappingSpec { key: vec![], ..spec() }), Err(MappingError::NoKey));
        assert_eq!(
            new(MappingSpec { ignore_fields: vec!["id".into()], ..spec() }),
            Err(MappingError::TwoRoles("id".into()))
        );
        assert_eq!(
            new(MappingSpec { key: vec!["body".into()], ..spec() }),
            Err(MappingError::TwoRoles("body".into()))
        );
        assert_eq!(
            new(MappingSpec { columns: Some(vec![]), ..spec() }),
            Err(MappingError::DocumentAndColumns)
        );
    }
}
