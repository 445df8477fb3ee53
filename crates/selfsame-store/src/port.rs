//! The port itself.

use async_trait::async_trait;
use selfsame_core::{Document, Key, LastSeen, OriginMarker, Row, RowDigest, ShardId, Unreadable};

/// One replica.
///
/// Implementations must be cheap to call concurrently; each call may be dropped midway without harm: a dropped
/// [`Store::apply`] has either happened or not, and a redelivery tells which.
#[async_trait]
pub trait Store: Send + Sync {
    /// What this store can do. Constant over the store's life.
    fn capabilities(&self) -> Capabilities;

    /// Which store this is. A changed identity means that another store answers under the same address.
    async fn identity(&self) -> Result<Identity, StoreError>;

    /// Moves the store's counter above both `above` and itself, durably, and gives what it is now. It lies in the store
    /// with the rows, so that a store that was taken back to an older state says an older number. No consumer of the store's changes sees it. Clients never write it.
    ///
    /// [`StoreError::Unsupported`] where nothing may be written, or a store keeps none.
    async fn advance_counter(&self, above: u64) -> Result<u64, StoreError>;

    /// How many rows the replica holds, unreadable and marked ones included.
    async fn count(&self) -> Result<u64, StoreError>;

    /// One page of the replica, from where `from` points.
    ///
    /// Following the cursors from `None` to the end visits every row that exists during the whole walk exactly
    /// once. A row that is inserted or deleted meanwhile may be visited or not. Cursors are durable: they work
    /// on another instance, and after a restart. A page has at least one item unless it is the last.
    async fn scan(&self, scope: Scope, from: Option<&Cursor>, page: PageSize) -> Result<Page, StoreError>;

    /// What the store holds of these keys right now, in the order of `keys`: fresh, never from a cache, and
    /// never older than what a write that was acknowledged before the call left behind.
    async fn read(&self, keys: &[Key]) -> Result<Vec<Read>, StoreError>;

    /// Applies repairs. One outcome for each item, in order; one item's failure does not stop the others.
    ///
    /// For each item, in one transaction: the row is read under lock; it is compared with
    /// [`RepairItem::expected`]; it is written (by [`selfsame_core::Mapping::merged`]) and the origin marker
    /// with it, or neither. A repair id that was applied before is [`WriteOutcome::AlreadyThere`].
    ///
    /// Where more than one outcome would fit, the first of these is the answer: the id was applied before
    /// ([`WriteOutcome::AlreadyThere`]); the row is unreadable ([`Refusal::Unreadable`]); the row, or its absence,
    /// is what the repair would make of it (`AlreadyThere`); it is not as expected ([`WriteOutcome::Changed`]);
    /// the merged row is unreadable, has another key than [`RepairItem::key`], or does not fit the table
    /// ([`WriteOutcome::Refused`]).
    async fn apply(&self, batch: &RepairBatch) -> Result<Vec<WriteOutcome>, StoreError>;

    /// The changes after `from`, oldest first, for stores with [`Capabilities::ordered_feed`].
    async fn changes(&self, from: FeedPosition, limit: PageSize) -> Result<Changes, StoreError> {
        let _ = (from, limit);
        Err(StoreError::Unsupported("a change feed"))
    }
}

/// What a store can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Repairs are conditional on every stored byte, in one transaction.
    pub conditional_writes: bool,
    /// Repairs carry their marker where consumers of the store's changes see it.
    pub origin_channel: bool,
    /// [`Scope::Shard`] reads less than [`Scope::All`].
    pub shard_filter: bool,
    /// [`Store::changes`] works, in commit order.
    pub ordered_feed: bool,
}

/// Which store answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Made once by or in the store itself; not the address.
    pub store_id: String,
    /// What [`Store::advance_counter`] last gave on this store, 0 before; `None` if it keeps none. Grows, unless the
    /// store was taken back to an older state.
    pub counter: Option<u64>,
}

/// Which rows to scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All rows.
    All,
    /// At least all rows of the shard. A row whose key cannot be read is in the scope of every shard.
    Shard(ShardId),
}

/// Where a scan goes on. Opaque outside the store that gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor(pub Vec<u8>);

/// How much to return at most. A single row larger than `bytes` is returned alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageSize {
    /// Rows, at least 1.
    pub rows: usize,
    /// Bytes of the rows' values.
    pub bytes: usize,
}

/// One page of a scan.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    /// The rows: marked documents among them ([`Document::marked`]), unreadable ones named.
    pub rows: Vec<Result<Document, Unreadable>>,
    /// Where the next page starts; `None` after the last.
    pub next: Option<Cursor>,
}

/// What the store holds of one key.
#[derive(Clone, Debug, PartialEq)]
pub enum Read {
    /// A document.
    Live(Document),
    /// A document whose deletion mark is set.
    Marked(Document),
    /// No row.
    Absent,
    /// A row without a single meaning.
    Unreadable(Unreadable),
}

impl Read {
    /// Sorts what a row turned out to be.
    pub fn of_row(row: Result<Document, Unreadable>) -> Read {
        match row {
            Ok(document) if document.marked => Read::Marked(document),
            Ok(document) => Read::Live(document),
            Err(unreadable) => Read::Unreadable(unreadable),
        }
    }

    /// The document, live or marked.
    pub fn document(&self) -> Option<&Document> {
        match self {
            Read::Live(document) | Read::Marked(document) => Some(document),
            Read::Absent | Read::Unreadable(_) => None,
        }
    }
}

/// Repairs that travel together. Each stands for itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RepairBatch {
    /// The repairs; keys are distinct.
    pub items: Vec<RepairItem>,
}

/// One conditional write or delete.
#[derive(Clone, Debug, PartialEq)]
pub struct RepairItem {
    /// Who writes, and why; holds the repair's id.
    pub marker: OriginMarker,
    /// The key.
    pub key: Key,
    /// What must be stored for the repair to happen.
    pub expected: Expected,
    /// What to do.
    pub write: Write,
}

/// The condition of a repair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// No row has the key.
    Absent,
    /// The row has exactly these bytes.
    Row(RowDigest),
}

/// What a repair does.
#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    /// Insert or update from the winner's row.
    Put(Row),
    /// Delete the row.
    Delete,
}

/// What became of one repair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriteOutcome {
    /// Written; `after` is what the row became, as read back in the same transaction (`None`: deleted).
    Applied {
        /// Digest of the row.
        after: Option<RowDigest>,
    },
    /// The repair had been applied before, or the row already is what the repair would make of it.
    AlreadyThere,
    /// The row is not as expected: a client came between. Nothing was written.
    Changed,
    /// The store would not take it. Nothing was written.
    Refused(Refusal),
}

/// Why a store would not take a repair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A constraint of the table; its name or the store's words for it.
    Constraint(String),
    /// The row to be replaced has no single meaning.
    Unreadable,
    /// The winner's row does not fit the table.
    Schema(String),
    /// What was written did not read back as the winner's document, and was rolled back.
    Incomparable(String),
    /// The store, or a wrapper around it, takes no writes.
    ReadOnly,
}

/// A place in a store's change feed. Grows; 0 is before the first change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct FeedPosition(pub u64);

/// Changes in commit order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changes {
    /// The changes.
    pub changes: Vec<Change>,
    /// Where to go on.
    pub next: FeedPosition,
    /// Whether changes between `from` and the first one here may be missing: the feed was cut, or does not see
    /// some kinds of change.
    pub gap: bool,
}

/// One change.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Its place.
    pub position: FeedPosition,
    /// The key.
    pub key: Key,
    /// What happened.
    pub kind: ChangeKind,
    /// Version and expiry of the row before the change, where the feed tells both.
    pub old: Option<LastSeen>,
    /// The marker, if a repair made the change.
    pub origin: Option<OriginMarker>,
}

/// What happened to a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// It was not there before.
    Insert,
    /// It was replaced.
    Update,
    /// It is gone.
    Delete,
}

/// Why a store did not answer. No variant ever means that a row is absent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The store is down, refuses the connection, or its file cannot be read.
    #[error("store is unavailable: {0}")]
    Unavailable(String),
    /// The store is up, but something else holds it for too long.
    #[error("store is busy: {0}")]
    Busy(String),
    /// Table, columns, keys or constraints are not as configured.
    #[error("schema: {0}")]
    Schema(String),
    /// The store cannot do this at all.
    #[error("this store does not offer {0}")]
    Unsupported(&'static str),
    /// A cursor that this store did not give.
    #[error("a cursor of another store or version")]
    Cursor,
}
