//! A pointer to a store is a store, so that wrappers fit around `Box<dyn Store>` and `Arc<dyn Store>`.

use std::sync::Arc;

use async_trait::async_trait;
use selfsame_core::Key;

use crate::{
    Capabilities, Changes, Cursor, FeedPosition, Identity, Page, PageSize, Read, RepairBatch, Scope, Store,
    StoreError, WriteOutcome,
};

macro_rules! forward {
    ($pointer:ident) => {
        #[async_trait]
        impl<S: Store + ?Sized> Store for $pointer<S> {
            fn capabilities(&self) -> Capabilities {
                (**self).capabilities()
            }

            async fn identity(&self) -> Result<Identity, StoreError> {
                (**self).identity().await
            }

            async fn advance_counter(&self, above: u64) -> Result<u64, StoreError> {
                (**self).advance_counter(above).await
            }

            async fn count(&self) -> Result<u64, StoreError> {
                (**self).count().await
            }

            async fn scan(
                &self,
                scope: Scope,
                from: Option<&Cursor>,
                page: PageSize,
            ) -> Result<Page, StoreError> {
                (**self).scan(scope, from, page).await
            }

            async fn read(&self, keys: &[Key]) -> Result<Vec<Read>, StoreError> {
                (**self).read(keys).await
            }

            async fn apply(&self, batch: &RepairBatch) -> Result<Vec<WriteOutcome>, StoreError> {
                (**self).apply(batch).await
            }

            async fn changes(&self, from: FeedPosition, limit: PageSize) -> Result<Changes, StoreError> {
                (**self).changes(from, limit).await
            }
        }
    };
}

forward!(Box);
forward!(Arc);
