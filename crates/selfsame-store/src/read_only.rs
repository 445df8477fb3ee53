//! A store that takes no writes: this *is* the dry run. Reads pass through untouched.

use async_trait::async_trait;
use selfsame_core::Key;

use crate::{
    Capabilities, Changes, Cursor, FeedPosition, Identity, Page, PageSize, Read, Refusal, RepairBatch, Scope,
    Store, StoreError, WriteOutcome,
};

/// Passes every read on and no write: each repair is [`Refusal::ReadOnly`], and the store beneath never hears
/// of it.
#[derive(Clone, Debug)]
pub struct ReadOnly<S> {
    inner: S,
}

impl<S: Store> ReadOnly<S> {
    /// Wraps a store.
    pub fn new(inner: S) -> Self {
        Self { inner }
    }
}

#[async_trait]
impl<S: Store> Store for ReadOnly<S> {
    /// Those of the store beneath, without what is said about writes.
    fn capabilities(&self) -> Capabilities {
        Capabilities { conditional_writes: false, origin_channel: false, ..self.inner.capabilities() }
    }

    async fn identity(&self) -> Result<Identity, StoreError> {
        self.inner.identity().await
    }

    async fn advance_counter(&self, _above: u64) -> Result<u64, StoreError> {
        Err(StoreError::Unsupported("writes"))
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
        Ok(batch.items.iter().map(|_| WriteOutcome::Refused(Refusal::ReadOnly)).collect())
    }

    async fn changes(&self, from: FeedPosition, limit: PageSize) -> Result<Changes, StoreError> {
        self.inner.changes(from, limit).await
    }
}
