//! What the author of a store gives to the suite.

use std::error::Error;
use std::sync::Arc;

use async_trait::async_trait;
use selfsame_core::{Key, KeyAs, Mapping, OriginMarker, Row};

use crate::{ChangeKind, Store};

/// What a harness returns: any error of the author's tools, through `?`.
pub type HarnessResult<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Makes replicas of the store under test.
#[async_trait]
pub trait Harness: Send + Sync {
    /// What the store can hold. Whatever is left out is reported as skipped.
    fn supports(&self) -> Supports;

    /// Whether the store can hold this key at all. Keys that it cannot are reported as skipped.
    fn takes_key(&self, key: &Key) -> bool {
        let _ = key;
        true
    }

    /// An empty replica of that shape, which knows of no former repair. Called some fifty times in one check;
    /// replicas are used one after the other, and dropped.
    async fn replica(&self, table: &Table) -> HarnessResult<Arc<dyn Replica>>;
}

/// One replica, as its clients and its operator see it.
#[async_trait]
pub trait Replica: Send + Sync {
    /// The store under test, opened fresh on this replica, as after a restart of the agent. More than one may be
    /// open at a time.
    async fn open(&self) -> HarnessResult<Box<dyn Store>>;

    /// A client's insert, or replacement of the row with the same key, past the store under test. The write is
    /// acknowledged (committed, visible to everybody) when this returns.
    ///
    /// The row has the table's columns in their order; a cell may be [`selfsame_core::Cell::Null`] where the
    /// column is nullable.
    async fn put(&self, row: &Row) -> HarnessResult<()>;

    /// A client's delete, past the store under test. `key` is a row of the key's columns alone.
    async fn delete(&self, key: &Row) -> HarnessResult<()>;

    /// All changes since the replica was made, oldest first, as a consumer of the store's own change stream sees
    /// them: past the store under test. `None` if the store has no such stream that a test can read.
    async fn raw_changes(&self) -> HarnessResult<Option<Vec<RawChange>>> {
        Ok(None)
    }
}

/// One change as a consumer of the store's change stream sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct RawChange {
    /// The key.
    pub key: Key,
    /// What happened.
    pub kind: ChangeKind,
    /// The marker by which the consumer knows a repair's change.
    pub origin: Option<OriginMarker>,
}

/// How a collection's documents lie in rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shape {
    /// One field holds the document as JSON. A store that holds whole documents and no rows fits here: its
    /// harness puts the key's columns into the JSON object, as members.
    Document,
    /// The columns are the document.
    Columns,
}

/// The types of a key's column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// 64-bit integers.
    Integer,
    /// Text.
    Text,
    /// Bytes.
    Bytes,
    /// Integers and text in one column, as SQLite allows.
    Mixed,
}

/// The types of other columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnKind {
    /// Of a key.
    Key(KeyKind),
    /// Truth values ([`selfsame_core::Cell::Bool`]).
    Bool,
    /// 64-bit integers.
    Integer,
    /// 64-bit floats.
    Real,
    /// Exact numbers ([`selfsame_core::Cell::Number`]).
    Number,
    /// Text.
    Text,
    /// Bytes.
    Bytes,
    /// JSON: the column of a document, or one of several.
    Json,
}

/// What a store can hold.
#[derive(Clone, Debug)]
pub struct Supports {
    /// The shapes; each rule runs in each.
    pub shapes: Vec<Shape>,
    /// The types of keys. The first is the one of most rules; it must not be [`KeyKind::Bytes`].
    pub key_kinds: Vec<KeyKind>,
    /// How keys are compared. The first is the one of most rules.
    pub key_as: Vec<KeyAs>,
    /// Keys of two columns, of the types in `key_kinds`.
    pub composite_keys: bool,
    /// The types of content columns in [`Shape::Columns`]; text and integers are taken for granted.
    pub column_kinds: Vec<ColumnKind>,
    /// Columns that the mapping does not mention.
    pub unmapped_fields: bool,
    /// Numbers in JSON keep their exact value, beyond what a 64-bit float holds.
    pub exact_numbers: bool,
    /// [`Table::forbids`] can be made a constraint of the store.
    pub constraints: bool,
}

impl Supports {
    /// All that the suite knows.
    pub fn everything() -> Self {
        Self {
            shapes: vec![Shape::Document, Shape::Columns],
            key_kinds: vec![KeyKind::Integer, KeyKind::Text, KeyKind::Bytes, KeyKind::Mixed],
            key_as: vec![KeyAs::Native, KeyAs::String],
            composite_keys: true,
            column_kinds: vec![
                ColumnKind::Bool,
                ColumnKind::Integer,
                ColumnKind::Real,
                ColumnKind::Number,
                ColumnKind::Text,
                ColumnKind::Bytes,
                ColumnKind::Json,
            ],
            unmapped_fields: true,
            exact_numbers: true,
            constraints: true,
        }
    }
}

/// The replica that a rule asks for.
#[derive(Clone, Debug)]
pub struct Table {
    /// The columns in order, those of the key first. The key is the primary key.
    pub columns: Vec<Column>,
    /// What the columns mean. The store under test is to use exactly this.
    pub mapping: Mapping,
    /// A constraint that the store must have, if there is one: no row whose column [`Forbids::column`] contains
    /// [`Forbids::text`].
    pub forbids: Option<Forbids>,
}

/// A column of a [`Table`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name, fit for any store: lower-case letters and `_`.
    pub name: String,
    /// Its type.
    pub kind: ColumnKind,
    /// Whether it may be null.
    pub nullable: bool,
}

/// A constraint of a [`Table`]: in SQL, `CHECK (column NOT LIKE '%text%')`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forbids {
    /// The column, of kind [`ColumnKind::Text`] or [`ColumnKind::Json`].
    pub column: String,
    /// What it must not contain; lower-case letters.
    pub text: String,
}
