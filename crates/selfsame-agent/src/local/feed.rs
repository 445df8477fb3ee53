//! The store's own change feed as evidence: a client's delete of a known version is a certain tombstone.

use std::collections::BTreeSet;
use std::sync::Arc;

use selfsame_core::{Evidence, Key, KeyDigest, LastSeen, Version};
use selfsame_journal::{LedgerStep, Memory};
use selfsame_store::{Change, ChangeKind, Changes, FeedPosition, PageSize};

use super::ledger::last_seen;
use super::replica::LocalReplica;
use crate::blocking::blocking;
use crate::peer::PeerError;

/// Changes that are read at a time.
const PAGE: PageSize = PageSize { rows: 1_000, bytes: 8 << 20 };

impl LocalReplica {
    /// Reads the feed up to now, if the collection wants it read. To be called after a read and before something is
    /// concluded from it: what the feed proves, nobody needs to guess.
    pub(super) async fn catch_up(self: &Arc<Self>) -> Result<(), PeerError> {
        if !self.parts.collection.feed || !self.parts.store.capabilities().ordered_feed {
            return Ok(());
        }
        // One at a time: a page that is taken twice would bring back memories that have ended since.
        let _alone = self.reading_feed.lock().await;
        loop {
            let this = self.clone();
            let from = blocking(move || {
                this.parts.journal.feed_position(&this.parts.collection.name, &this.parts.node)
            });
            let from = FeedPosition(from.await.map_err(|error| self.broken(&error))?.unwrap_or_default());
            let changes = self.parts.store.changes(from, PAGE).await.map_err(|error| self.silent(&error))?;
            if changes.changes.is_empty() && changes.next == from {
                return Ok(());
            }
            if changes.gap {
                tracing::warn!(
                    collection = %self.parts.collection.name, node = %self.parts.node, from = from.0,
                    "the change feed has a gap: deletions in it are known by scans alone"
                );
            }
            let this = self.clone();
            let written = blocking(move || this.take_changes(changes)).await?;
            // A feed tells that a key was written, and not which version: it is read.
            if !written.is_empty() {
                self.look_again(written).await?;
            }
        }
    }

    /// Takes in changes; gives the keys that clients wrote and that are remembered as gone. Blocking.
    fn take_changes(&self, changes: Changes) -> Result<Vec<Key>, PeerError> {
        let (mut steps, mut written) = (Vec::new(), BTreeSet::new());
        // What a repair did says nothing about what clients want.
        for change in changes.changes.iter().filter(|change| change.origin.is_none()) {
            match change.kind {
                ChangeKind::Delete => steps.extend(self.deleted(change)?),
                ChangeKind::Insert | ChangeKind::Update => {
                    written.insert(change.key.clone());
                }
            }
        }
        self.note(&steps, Some(changes.next.0))?;
        let written: Vec<Key> = written.into_iter().collect();
        let digests: Vec<_> = written.iter().map(|key| self.fingerprinter().key_digest(key)).collect();
        let remembered = self.memories(&digests)?;
        let known = written.into_iter().zip(remembered).filter(|(_, memory)| memory.is_some());
        Ok(known.map(|(key, _)| key).collect())
    }

    fn deleted(&self, change: &Change) -> Result<Option<LedgerStep>, PeerError> {
        let key_digest = self.fingerprinter().key_digest(&change.key);
        let seen = match change.old_version {
            Some(version) => self.deleted_row(&key_digest, version)?,
            None => None,
        };
        let tombstone = Evidence::Feed(seen).tombstone(self.moment());
        Ok(tombstone
            .map(|tombstone| LedgerStep::Gone(Memory { key_digest, key: change.key.clone(), tombstone })))
    }

    /// What is known of the row that was deleted. A sweep of what has expired is no deletion, so that the expiry
    /// must be known where there is one: from the index, if that held the version.
    fn deleted_row(&self, key_digest: &KeyDigest, version: Version) -> Result<Option<LastSeen>, PeerError> {
        if self.parts.mapping.spec().expiry.is_none() {
            return Ok(Some(LastSeen { version, expiry: None }));
        }
        let entry = self.index().and_then(|index| index.entry(key_digest));
        let entry = entry.map_err(|error| self.index_failed(&error))?;
        Ok(entry.map(|(_, entry)| last_seen(&entry)).filter(|seen| seen.version == version))
    }
}
