//! The store: which thread does what.

use std::sync::Arc;

use async_trait::async_trait;
use selfsame_core::Key;
use selfsame_store::{
    Capabilities, Changes, Cursor, FeedPosition, Identity, Page, PageSize, Read, Refusal, RepairBatch, Scope,
    Store, StoreError, WriteOutcome,
};

use crate::options::{Access, Setup, SqliteOptions};
use crate::rows::Found;
use crate::session::{Begin, Role, Session};
use crate::worker::Worker;
use crate::{apply, feed, scan, setup};

/// One table of one SQLite file. Has a thread with a connection for reading, and one for writing; both end with
/// it.
pub struct SqliteStore {
    reader: Worker,
    /// `None` if the store is read-only.
    writer: Option<Worker>,
    setup: Setup,
    ordered_feed: bool,
}

impl std::fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqliteStore").finish_non_exhaustive()
    }
}

impl SqliteStore {
    /// Opens the file, checks the table against the mapping, and makes the setup or checks it.
    ///
    /// A missing or unreadable file is [`StoreError::Unavailable`]; a table that does not fit, or a setup that is
    /// missing with [`Setup::Manual`], is [`StoreError::Schema`].
    pub async fn open(options: SqliteOptions) -> Result<SqliteStore, StoreError> {
        let options = Arc::new(options);
        let reader = Worker::start("selfsame-sqlite-read", Session::new(options.clone(), Role::Reader)?)?;
        let writer = match options.access {
            Access::ReadOnly => None,
            Access::ReadWrite => {
                let writer =
                    Worker::start("selfsame-sqlite-write", Session::new(options.clone(), Role::Writer)?)?;
                writer.call(set_up).await?;
                Some(writer)
            }
        };
        let ordered_feed = reader
            .call(|session| session.run(Begin::Snapshot, |view| Ok(view.table.setup.lacks.is_none())))
            .await?;
        Ok(SqliteStore { reader, writer, setup: options.setup, ordered_feed })
    }

    async fn changes_once(&self, from: FeedPosition, limit: PageSize) -> Result<Option<Changes>, StoreError> {
        self.reader
            .call(move |session| session.run(Begin::Snapshot, |view| feed::changes(view, from, limit)))
            .await
    }
}

/// Makes the setup if that is asked for and needed, or checks it. Takes the write lock only if it writes.
fn set_up(session: &mut Session) -> Result<(), StoreError> {
    let complete = session.run(Begin::Snapshot, |view| {
        setup::check_key_width(view.table)?;
        match view.options.setup {
            Setup::Manual => view.table.setup.required(view.table).map(|()| true).map_err(Into::into),
            Setup::Auto if view.table.setup.lacks.is_some() => Ok(false),
            Setup::Auto => {
                let kept = setup::kept(view.connection)?;
                Ok(kept == Some(i64::from(view.options.change_retention_rows)))
            }
        }
    })?;
    if complete {
        return Ok(());
    }
    session.run(Begin::WriteLock, |view| {
        let rows = view.options.change_retention_rows;
        // Another store may have made it since.
        match view.table.setup.lacks {
            Some(_) => setup::make(view.connection, view.table, rows),
            None => setup::keep(view.connection, rows),
        }
    })
}

/// The statements that make the setup for a table, for [`Setup::Manual`]: complete, in one transaction, harmless
/// when run again (the feed then says once that there may be a gap).
///
/// Reads the file, since the statements depend on the table's columns; writes nothing, whatever
/// [`SqliteOptions::access`] says.
pub async fn setup_sql(options: &SqliteOptions) -> Result<String, StoreError> {
    let options = Arc::new(SqliteOptions { access: Access::ReadOnly, ..options.clone() });
    let reader = Worker::start("selfsame-sqlite-setup", Session::new(options, Role::Reader)?)?;
    reader
        .call(|session| {
            session.run(Begin::Snapshot, |view| {
                setup::check_key_width(view.table)?;
                Ok(setup::operators_script(view.table, view.options.change_retention_rows))
            })
        })
        .await
}

#[async_trait]
impl Store for SqliteStore {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            conditional_writes: true,
            origin_channel: true,
            shard_filter: false,
            ordered_feed: self.ordered_feed,
        }
    }

    /// The id made with the setup. A file without one is named by its place in the file system, so that another
    /// file under its path has another identity.
    async fn identity(&self) -> Result<Identity, StoreError> {
        self.reader
            .call(|session| {
                session.run(Begin::Snapshot, |view| {
                    let id = setup::store_id(view.connection, &view.table.setup)?;
                    let counter = setup::counter(view.connection, &view.table.setup)?;
                    Ok(Identity { store_id: id.unwrap_or_else(|| view.file.name()), counter })
                })
            })
            .await
    }

    /// A row of `_selfsame_meta`, in a transaction of its own.
    async fn advance_counter(&self, above: u64) -> Result<u64, StoreError> {
        let Some(writer) = &self.writer else { return Err(StoreError::Unsupported("writes")) };
        let advanced = writer.call(move |session| {
            session.run(Begin::WriteLock, |view| {
                setup::advance_counter(view.connection, &view.table.setup, above)
            })
        });
        advanced.await?.ok_or(StoreError::Unsupported("a counter without its setup"))
    }

    async fn count(&self) -> Result<u64, StoreError> {
        self.reader.call(|session| session.run(Begin::Snapshot, scan::count)).await
    }

    async fn scan(&self, _scope: Scope, from: Option<&Cursor>, page: PageSize) -> Result<Page, StoreError> {
        let from = from.cloned();
        self.reader
            .call(move |session| session.run(Begin::Snapshot, |view| scan::page(view, from.as_ref(), page)))
            .await
    }

    async fn read(&self, keys: &[Key]) -> Result<Vec<Read>, StoreError> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let keys = keys.to_vec();
        self.reader
            .call(move |session| {
                session.run(Begin::Snapshot, |view| {
                    keys.iter()
                        .map(|key| {
                            Ok(match view.find(key)? {
                                Found::Absent => Read::Absent,
                                Found::Row(row) => Read::of_row(row.document),
                                Found::Several(unreadable) => Read::Unreadable(unreadable),
                            })
                        })
                        .collect()
                })
            })
            .await
    }

    async fn apply(&self, batch: &RepairBatch) -> Result<Vec<WriteOutcome>, StoreError> {
        let Some(writer) = &self.writer else {
            return Ok(vec![WriteOutcome::Refused(Refusal::ReadOnly); batch.items.len()]);
        };
        let batch = batch.clone();
        writer.call(move |session| apply::apply(session, &batch)).await
    }

    async fn changes(&self, from: FeedPosition, limit: PageSize) -> Result<Changes, StoreError> {
        const FEED: StoreError = StoreError::Unsupported("a change feed without its setup");
        if !self.ordered_feed {
            return Err(FEED);
        }
        if let Some(changes) = self.changes_once(from, limit).await? {
            return Ok(changes);
        }
        // The application rebuilt its table, and the triggers went with the old one.
        match (&self.writer, self.setup) {
            (Some(writer), Setup::Auto) => writer.call(set_up).await?,
            _ => {
                return Err(StoreError::Schema(
                    "the change triggers are gone; hint: run the statements of `selfsame setup --print-sql`"
                        .into(),
                ));
            }
        }
        self.changes_once(from, limit).await?.ok_or(FEED)
    }
}
