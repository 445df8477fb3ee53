//! A store that writes something else than it was asked to, as one does whose types or triggers are others.

use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use selfsame_core::{Key, Row};
use selfsame_store::{
    Capabilities, Changes, Cursor, FeedPosition, Identity, MemoryStore, Page, PageSize, Read, RepairBatch,
    RepairItem, Scope, Store, StoreError, Write, WriteOutcome,
};

/// Changes what repairs write; `None` leaves it.
pub type Mangle = Arc<Mutex<Option<fn(Row) -> Row>>>;

/// Passes everything on, and mangles what repairs write.
pub struct Mangling {
    pub inner: Arc<MemoryStore>,
    pub mangle: Mangle,
}

#[async_trait]
impl Store for Mangling {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn identity(&self) -> Result<Identity, StoreError> {
        self.inner.identity().await
    }

    async fn advance_counter(&self, above: u64) -> Result<u64, StoreError> {
        self.inner.advance_counter(above).await
    }

    async fn count(&self) -> Result<u64, StoreError> {
        self.inner.count().await
    }

    async fn scan(&self, scope: Scope, from: Option<&Cursor>, page: PageSize) -> Result<Page, StoreError> {
        self.inner.scan(scope, from, page).await
    }

    async fn read(&self, keys: &[Key]) -> Result<Vec<Read>, StoreError> {
        self.inner.read(keys).await
    }

    async fn apply(&self, batch: &RepairBatch) -> Result<Vec<WriteOutcome>, StoreError> {
        let Some(mangle) = *self.mangle.lock() else { return self.inner.apply(batch).await };
        let mangled = |item: &RepairItem| match &item.write {
            Write::Put(row) => RepairItem { write: Write::Put(mangle(row.clone())), ..item.clone() },
            Write::Delete => item.clone(),
        };
        let items = batch.items.iter().map(mangled).collect();
        self.inner.apply(&RepairBatch { items }).await
    }

    async fn changes(&self, from: FeedPosition, limit: PageSize) -> Result<Changes, StoreError> {
        self.inner.changes(from, limit).await
    }
}
