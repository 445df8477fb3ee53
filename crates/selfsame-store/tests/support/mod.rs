//! A harness on the store in memory, with a place to put a flaw between the suite and the store.

// Several test crates include this, and each uses a part of it.
#![allow(dead_code, unreachable_pub)]

use std::sync::Arc;

use async_trait::async_trait;
use selfsame_core::{Cell, Key, KeyAs, KeyPart, Row};
use selfsame_store::conformance::{Harness, HarnessResult, RawChange, Replica, Supports, Table};
use selfsame_store::{FeedPosition, MemoryStore, PageSize, Store};

/// Opens a store under test on a replica's rows; called once for each instance.
pub type Opener = Arc<dyn Fn(MemoryStore) -> Box<dyn Store> + Send + Sync>;
/// Makes an [`Opener`]; called once for each replica, so that what it captures is the replica's.
pub type ReplicaMaker = Arc<dyn Fn(&Table) -> Opener + Send + Sync>;
pub type Gate = Arc<dyn Fn() -> bool + Send + Sync>;

pub struct MemoryHarness {
    pub supports: Supports,
    pub maker: ReplicaMaker,
    /// Whether a client may write now; it waits until it may.
    pub gate: Gate,
}

impl Default for MemoryHarness {
    fn default() -> Self {
        Self {
            supports: Supports::everything(),
            maker: Arc::new(|_| Arc::new(|rows| Box::new(rows))),
            gate: Arc::new(|| true),
        }
    }
}

struct MemoryReplica {
    rows: MemoryStore,
    opener: Opener,
    key_as: KeyAs,
    gate: Gate,
}

#[async_trait]
impl Harness for MemoryHarness {
    fn supports(&self) -> Supports {
        self.supports.clone()
    }

    async fn replica(&self, table: &Table) -> HarnessResult<Arc<dyn Replica>> {
        let mut rows = MemoryStore::new(table.mapping.clone(), "memory");
        if let Some(forbids) = table.forbids.clone() {
            rows = rows.with_constraint(move |row| match row.cell(&forbids.column) {
                Some(Cell::Text(text) | Cell::Json(text)) if text.contains(&forbids.text) => {
                    Some("check".to_owned())
                }
                _ => None,
            });
        }
        Ok(Arc::new(MemoryReplica {
            rows,
            opener: (self.maker)(table),
            key_as: table.mapping.spec().key_as,
            gate: Arc::clone(&self.gate),
        }))
    }
}

#[async_trait]
impl Replica for MemoryReplica {
    async fn open(&self) -> HarnessResult<Box<dyn Store>> {
        Ok((self.opener)(self.rows.clone()))
    }

    async fn put(&self, row: &Row) -> HarnessResult<()> {
        while !(self.gate)() {
            tokio::task::yield_now().await;
        }
        self.rows.put(row.clone());
        Ok(())
    }

    async fn delete(&self, key: &Row) -> HarnessResult<()> {
        let part = |cell: &Cell| KeyPart::from_value(&cell.value()?).map_err(Into::into);
        let parts = key.cells().iter().map(|(_, cell)| part(cell)).collect::<HarnessResult<Vec<_>>>()?;
        let parts = match self.key_as {
            KeyAs::Native => parts,
            KeyAs::String => parts.into_iter().map(KeyPart::into_text).collect(),
        };
        self.rows.delete(&Key::new(parts)?);
        Ok(())
    }

    async fn raw_changes(&self) -> HarnessResult<Option<Vec<RawChange>>> {
        let store = (self.opener)(self.rows.clone());
        if !store.capabilities().ordered_feed {
            return Ok(None);
        }
        let found = store.changes(FeedPosition(0), PageSize { rows: usize::MAX, bytes: usize::MAX }).await?;
        let raw = |change: selfsame_store::Change| RawChange {
            key: change.key,
            kind: change.kind,
            origin: change.origin,
        };
        Ok(Some(found.changes.into_iter().map(raw).collect()))
    }
}
