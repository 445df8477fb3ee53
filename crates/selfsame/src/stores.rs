//! Opening the configured stores: the only place that knows which kinds there are.

use std::num::NonZeroU32;
use std::sync::Arc;

use anyhow::Context;
use async_trait::async_trait;
use parking_lot::Mutex;
use selfsame_agent::settings::{CollectionSettings, FleetSettings, ReplicaSettings, ThrottleSettings};
use selfsame_core::{Key, Mapping};
use selfsame_store::{
    Capabilities, Changes, Cursor, FeedPosition, Identity, Page, PageSize, Read, ReadOnly, RepairBatch,
    Scope, Store, StoreError, ThrottleCounters, ThrottleLimits, Throttled, WriteOutcome,
};
use selfsame_store_sqlite::{Access, SqliteOptions, SqliteStore};

use crate::config::{FleetConfig, NodeConfig, Setup, StoreConfig};

/// Whether a store may be written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// Read only: nothing is made in the store either.
    Look,
    /// Read and repair.
    Repair,
}

/// A replica's store, ready to be asked, and what its throttle counts.
pub(crate) struct Opened {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) counters: Arc<ThrottleCounters>,
}

/// The store of a replica. It is opened by the first call, and again by each call until that works: a store that
/// is down keeps no agent from starting.
pub(crate) fn open(
    config: &FleetConfig,
    collection: &CollectionSettings,
    replica: &ReplicaSettings,
    purpose: Use,
) -> anyhow::Result<Opened> {
    let lazy = Lazy { options: sqlite(config, collection, replica, purpose)?, open: Mutex::default() };
    let limits = limits(&collection.throttle);
    Ok(match purpose {
        Use::Look => throttled(ReadOnly::new(lazy), limits),
        Use::Repair => throttled(lazy, limits),
    })
}

fn throttled(store: impl Store + 'static, limits: ThrottleLimits) -> Opened {
    let store = Throttled::new(store, limits);
    let counters = store.counters();
    Opened { store: Arc::new(store), counters }
}

fn limits(settings: &ThrottleSettings) -> ThrottleLimits {
    let rows = u32::try_from(settings.rows_per_second).unwrap_or(u32::MAX);
    ThrottleLimits {
        rows_per_second: NonZeroU32::new(rows).unwrap_or(NonZeroU32::MIN),
        bytes_per_second: settings.bytes_per_second,
    }
}

/// The options of a replica in an SQLite file.
pub(crate) fn sqlite(
    config: &FleetConfig,
    collection: &CollectionSettings,
    replica: &ReplicaSettings,
    purpose: Use,
) -> anyhow::Result<SqliteOptions> {
    let node = config.nodes.iter().find(|node| node.name == replica.node);
    let node = node.with_context(|| format!("node `{}` is not configured", replica.node))?;
    sqlite_options(&config.fleet, collection, replica, node, purpose)
}

fn sqlite_options(
    fleet: &FleetSettings,
    collection: &CollectionSettings,
    replica: &ReplicaSettings,
    node: &NodeConfig,
    purpose: Use,
) -> anyhow::Result<SqliteOptions> {
    let mapping: Arc<Mapping> = Arc::new(fleet.mapping(&collection.name, replica)?);
    let StoreConfig::Sqlite { path, setup } = &node.store;
    Ok(SqliteOptions {
        setup: match setup {
            Setup::Auto => selfsame_store_sqlite::Setup::Auto,
            Setup::Manual => selfsame_store_sqlite::Setup::Manual,
        },
        access: match purpose {
            Use::Look => Access::ReadOnly,
            Use::Repair => Access::ReadWrite,
        },
        ..SqliteOptions::new(path, &replica.source, mapping)
    })
}

/// An SQLite store that is opened when it is first needed.
struct Lazy {
    options: SqliteOptions,
    open: Mutex<Option<Arc<SqliteStore>>>,
}

impl Lazy {
    async fn store(&self) -> Result<Arc<SqliteStore>, StoreError> {
        if let Some(open) = self.open.lock().clone() {
            return Ok(open);
        }
        let store = Arc::new(SqliteStore::open(self.options.clone()).await?);
        // Two calls may both have opened it; one of the two stays.
        Ok(self.open.lock().get_or_insert(store).clone())
    }
}

#[async_trait]
impl Store for Lazy {
    fn capabilities(&self) -> Capabilities {
        match self.open.lock().as_ref() {
            Some(open) => open.capabilities(),
            None => Capabilities {
                conditional_writes: true,
                origin_channel: true,
                shard_filter: false,
                ordered_feed: self.options.access == Access::ReadWrite,
            },
        }
    }

    async fn identity(&self) -> Result<Identity, StoreError> {
        self.store().await?.identity().await
    }

    async fn advance_counter(&self, above: u64) -> Result<u64, StoreError> {
        self.store().await?.advance_counter(above).await
    }

    async fn count(&self) -> Result<u64, StoreError> {
        self.store().await?.count().await
    }

    async fn scan(&self, scope: Scope, from: Option<&Cursor>, page: PageSize) -> Result<Page, StoreError> {
        self.store().await?.scan(scope, from, page).await
    }

    async fn read(&self, keys: &[Key]) -> Result<Vec<Read>, StoreError> {
        self.store().await?.read(keys).await
    }

    async fn apply(&self, batch: &RepairBatch) -> Result<Vec<WriteOutcome>, StoreError> {
        self.store().await?.apply(batch).await
    }

    async fn changes(&self, from: FeedPosition, limit: PageSize) -> Result<Changes, StoreError> {
        self.store().await?.changes(from, limit).await
    }
}
