//! The store's own change feed as evidence: a client's delete of a known version is a certain tombstone.

use std::collections::BTreeSet;
use std::sync::Arc;

use selfsame_core::{Evidence, Key};
use selfsame_journal::{LedgerStep, Memory};
use selfsame_store::{Change, ChangeKind, Changes, FeedPosition, PageSize};

use super::replica::LocalReplica;
use crate::blocking::blocking;
use crate::peer::PeerError;

/// Changes that are read at a time.
const PAGE: PageSize = PageSize { rows: 1_000, bytes: 8 << 20 };

impl LocalReplica {
    /// Reads the feed up to now, if the collection wants it read. To be called after a read and before something is
    /// concluded from it: what the feed proves, nobody needs to guess. What the feed of a store says that was taken
    /// back, or is another's, is no proof: it waits for a person's word, and is left out then.
    pub(super) async fn catch_up(self: &Arc<Self>) -> Result<(), PeerError> {
        if !self.parts.collection.feed || !self.parts.store.capabilities().ordered_feed {
            return Ok(());
        }
        if self.is_taken_back() {
            return Ok(());
        }
        // One at a time: a page that is taken twice would bring back memories that have ended since.
        let _alone = self.reading_feed.lock().await;
        loop {
            let from = self.feed_position().await?;
            let changes = self.parts.store.changes(from, PAGE).await.map_err(|error| self.silent(&error))?;
            if changes.changes.is_empty() && changes.next == from {
                return Ok(());
            }
            self.recognise_store().await?;
            if self.is_taken_back() {
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

    /// Up to where the feed was read.
    async fn feed_position(self: &Arc<Self>) -> Result<FeedPosition, PeerError> {
        let this = self.clone();
        let position =
            blocking(move || this.parts.journal.feed_position(&this.parts.collection.name, &this.parts.node));
        Ok(FeedPosition(position.await.map_err(|error| self.broken(&error))?.unwrap_or_default()))
    }

    /// Leaves out what the feed says up to now: deletions in it are known by scans alone. To be called before the hold
    /// of a store that was taken back ends.
    pub(super) async fn skip_feed(self: &Arc<Self>) -> Result<(), PeerError> {
        if !self.parts.collection.feed || !self.parts.store.capabilities().ordered_feed {
            return Ok(());
        }
        let _alone = self.reading_feed.lock().await;
        let mut from = self.feed_position().await?;
        loop {
            let changes = self.parts.store.changes(from, PAGE).await.map_err(|error| self.silent(&error))?;
            if changes.changes.is_empty() && changes.next == from {
                break;
            }
            from = changes.next;
        }
        let this = self.clone();
        blocking(move || this.note(&[], Some(from.0))).await.map(|_| ())
    }

    /// Takes in changes; gives the keys that clients wrote and that are remembered as gone. Blocking.
    fn take_changes(&self, changes: Changes) -> Result<Vec<Key>, PeerError> {
        let (mut steps, mut written) = (Vec::new(), BTreeSet::new());
        // What a repair did says nothing about what clients want.
        for change in changes.changes.iter().filter(|change| change.origin.is_none()) {
            match change.kind {
                ChangeKind::Delete => steps.extend(self.deleted(change)),
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

    /// The memory of a client's delete, if the feed tells what was deleted: a sweep of what has expired is none.
    fn deleted(&self, change: &Change) -> Option<LedgerStep> {
        let tombstone = Evidence::Feed(change.old).tombstone(self.moment())?;
        let key_digest = self.fingerprinter().key_digest(&change.key);
        Some(LedgerStep::Gone(Memory { key_digest, key: change.key.clone(), tombstone }))
    }
}
