//! Full scans of one replica: pages into the index, and at the end the conclusion about what was not met.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use selfsame_core::{Entry, Key, KeyDigest, Presence, RowDigest, UnknownReason, Unreadable, WallMicros};
use selfsame_index::{PageReport, ScanPosition, ScanProgress, Seen, Vanished};
use selfsame_store::{Cursor, PageSize, Scope};
use selfsame_wire::message::ScanState;
use tokio::time::Instant;

use super::holding::Gone;
use super::replica::{Conclude, LocalReplica};
use crate::blocking::blocking;
use crate::peer::PeerError;

/// A page's bounds: paging is ten times cheaper at a thousand rows than at twenty, and memory stays small.
const PAGE: PageSize = PageSize { rows: 1_000, bytes: 8 << 20 };

/// Keys in one fresh read during a scan.
const KEYS_PER_READ: usize = 1_000;

/// Requests for scans that are remembered: more than owners ask at a time in any fleet that was thought of.
const REQUESTS_KEPT: usize = 256;

/// What is known of a replica's scan.
#[derive(Clone, Debug, Default)]
pub(super) struct ScanTask {
    /// How the running or the last one stands.
    state: Option<Standing>,
    /// The latest requests: the asker's instant, which names it, and when it first came. Several owners ask in turns,
    /// each for its own instant. Whether a scan will do is told by a clock that neither differs between machines nor
    /// is ever set.
    asked: VecDeque<(WallMicros, Instant)>,
    /// When the last scan that was completed by this process began.
    began: Option<Instant>,
    completed: CompletedScans,
}

/// What scans have completed since the agent started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CompletedScans {
    /// Shards read: each scan reads all of the replica's.
    pub shards: u64,
    /// When the last one was completed.
    pub last_at: Option<WallMicros>,
}

#[derive(Clone, Debug)]
enum Standing {
    Running {
        rows: u64,
        total: u64,
    },
    /// A scan that began at this instant came to nothing.
    Failed(Instant, UnknownReason),
}

impl ScanTask {
    /// When a request first came.
    fn first_asked(&mut self, since: WallMicros) -> Instant {
        if let Some((_, at)) = self.asked.iter().find(|(asked, _)| *asked == since) {
            return *at;
        }
        if self.asked.len() == REQUESTS_KEPT {
            self.asked.pop_front();
        }
        let now = Instant::now();
        self.asked.push_back((since, now));
        now
    }
}

impl LocalReplica {
    /// Starts a scan if none was begun since this request first came, and says how it stands. `since` names the
    /// request.
    pub(super) fn scan(self: &Arc<Self>, since: WallMicros) -> ScanState {
        let mut task = self.scan.lock();
        let first_asked = task.first_asked(since);
        let enough = task.began.is_some_and(|began| began >= first_asked);
        match (&task.state, self.completed()) {
            (Some(Standing::Running { rows, total }), _) => ScanState::Running { rows: *rows, total: *total },
            (_, Some((as_of, rows))) if enough => ScanState::Done { as_of, rows },
            // Failed for whoever had asked by then; a later request is worth another attempt.
            (Some(Standing::Failed(began, reason)), _) if *began >= first_asked => ScanState::Failed(*reason),
            (_, _) => {
                task.state = Some(Standing::Running { rows: 0, total: 0 });
                let this = self.clone();
                self.parts.tasks.spawn("scan", async move {
                    let began = Instant::now();
                    let outcome = this.scan_all().await;
                    let mut task = this.scan.lock();
                    task.state = match outcome {
                        Ok(whole) => {
                            task.began = whole.then_some(began).or(task.began);
                            None
                        }
                        Err(error) => Some(Standing::Failed(began, error.reason())),
                    };
                });
                ScanState::Running { rows: 0, total: 0 }
            }
        }
    }

    /// Rows read and rows counted of the scan that is under way.
    pub fn scanning(&self) -> Option<(u64, u64)> {
        match self.scan.lock().state {
            Some(Standing::Running { rows, total }) => Some((rows, total)),
            Some(Standing::Failed(..)) | None => None,
        }
    }

    /// What scans have completed since the agent started.
    pub fn completed_scans(&self) -> CompletedScans {
        self.scan.lock().completed
    }

    fn count_completed_scan(&self) {
        let completed = &mut self.scan.lock().completed;
        completed.shards += u64::from(self.parts.mapping.spec().shards.get());
        completed.last_at = Some(self.parts.clock.now());
    }

    fn completed(&self) -> Option<(WallMicros, u64)> {
        let index = self.index().ok()?;
        let as_of = index.roots().first()?.as_of?;
        Some((as_of, index.counts().entries))
    }

    /// Scans, or ends a scan that another process began; gives whether it was begun here.
    async fn scan_all(self: &Arc<Self>) -> Result<bool, PeerError> {
        self.mend_index().await?;
        self.settle_intents().await?;
        self.mark_store().await?;
        self.end_stale_pins().await?;
        self.catch_up().await?;
        let total = self.parts.store.count().await.map_err(|error| self.silent(&error))?;
        let (mut progress, resumed) = self.begin_or_resume().await?;
        loop {
            let from = match &progress.position {
                ScanPosition::Start => None,
                ScanPosition::After(cursor) => Some(Cursor(cursor.clone())),
                ScanPosition::End => break,
            };
            self.scan.lock().state = Some(Standing::Running { rows: progress.rows, total });
            let page = self
                .parts
                .store
                .scan(Scope::All, from.as_ref(), PAGE)
                .await
                .map_err(|error| self.silent(&error))?;
            if page.rows.iter().flatten().any(|document| document.marked) {
                // A mark proves a deletion, if it is this replica's.
                self.recognise_store().await?;
            }
            let this = self.clone();
            let taken = blocking(move || this.take_in_page(&page.rows).map(|again| (again, page.rows)));
            let (again, rows) = taken.await?;
            if !again.is_empty() {
                self.look_again(again).await?;
            }
            let digests: HashMap<KeyDigest, RowDigest> =
                rows.iter().flatten().map(|document| (document.key_digest, document.row_digest)).collect();
            let rows: Vec<Seen> = rows.into_iter().map(|row| seen(row, self)).collect();
            let this = self.clone();
            let next = page.next.map(|cursor| cursor.0);
            let stored = blocking(move || {
                let index = this.index()?;
                let report = index.store_page(&rows, next)?;
                Ok((report, index.scan_state()))
            });
            let (report, stands) = stored.await.map_err(|error| self.index_failed(&error))?;
            let back = report.went_back.iter().filter_map(|key| Some((*key, *digests.get(key)?)));
            let (this, back) = (self.clone(), back.collect::<Vec<_>>());
            blocking(move || this.note_went_back(&back)).await?;
            self.read_again(&report).await?;
            progress = stands.ok_or_else(|| self.broken(&"the scan was forgotten"))?;
        }
        self.conclude(progress).await?;
        Ok(!resumed)
    }

    /// Where the scan stands, and whether it had begun before.
    async fn begin_or_resume(self: &Arc<Self>) -> Result<(ScanProgress, bool), PeerError> {
        let this = self.clone();
        let begun = blocking(move || {
            let index = this.index()?;
            if let Some(progress) = index.scan_state() {
                return Ok(Some((progress, true)));
            }
            let stamp = index.next_stamp()?;
            index.begin_scan(stamp, this.parts.clock.now())?;
            Ok(index.scan_state().map(|progress| (progress, false)))
        })
        .await;
        let begun = begun.map_err(|error| self.index_failed(&error))?;
        begun.ok_or_else(|| self.broken(&"a scan did not begin"))
    }

    /// Keys of which the index knows something from a later read, or that were met twice, are read again.
    async fn read_again(self: &Arc<Self>, report: &PageReport) -> Result<(), PeerError> {
        for change in &report.silent_changes {
            tracing::warn!(
                collection = %self.parts.collection.name, node = %self.parts.node, key = %change.after.key,
                "content changed without its version"
            );
        }
        let digests = report.stale.iter().chain(&report.met_twice);
        let index = self.index().map_err(|error| self.index_failed(&error))?;
        let keys: Vec<Key> = digests
            .filter_map(|digest| index.entry(digest).ok().flatten())
            .map(|(_, entry)| entry.key)
            .collect();
        drop(index);
        for chunk in keys.chunks(KEYS_PER_READ) {
            self.observe(chunk.to_vec(), Conclude::Nothing).await?;
        }
        Ok(())
    }

    /// Reads what the walk did not meet once more, and counts what vanished, all of it before anything is concluded:
    /// a part of what is too much is no evidence either. Gives the keys that are gone. A scan whose end failed comes by
    /// here again, and counts them once.
    async fn count_missed(
        self: &Arc<Self>,
        began: WallMicros,
        missed: &[(KeyDigest, Entry)],
    ) -> Result<Vec<Key>, PeerError> {
        let (mut keys, mut gone) = (Vec::new(), Vec::new());
        let shards = self.parts.mapping.spec().shards;
        for chunk in missed.chunks(KEYS_PER_READ) {
            let asked: Vec<Key> = chunk.iter().map(|(_, entry)| entry.key.clone()).collect();
            let observations = self.observe(asked, Conclude::Nothing).await?;
            for ((digest, entry), observed) in chunk.iter().zip(observations) {
                if observed.presence == Presence::Absent {
                    let memory = observed.memory.as_ref();
                    gone.push(Gone::of(digest.shard(shards), entry, memory, self.moment()));
                    keys.push(entry.key.clone());
                }
            }
        }
        // A store that was replaced under the scan lost them all at once.
        self.recognise_store().await?;
        let this = self.clone();
        blocking(move || this.count_vanished(&gone, Some(began))).await?;
        Ok(keys)
    }

    /// What the whole walk did not meet is read once more, and what is still not there is remembered as gone.
    async fn conclude(self: &Arc<Self>, progress: ScanProgress) -> Result<(), PeerError> {
        // What the feed proves, nobody needs to guess from what was not met.
        self.catch_up().await?;
        let mut missed = Vec::new();
        for shard in self.parts.mapping.spec().shards.ids() {
            let this = self.clone();
            let vanished = blocking(move || this.index()?.vanished(shard)).await;
            match vanished.map_err(|error| self.index_failed(&error))? {
                Vanished::Entries(entries) => missed.extend(entries),
                Vanished::Unsure { entries, unreadable_without_key } if entries > 0 => tracing::warn!(
                    collection = %self.parts.collection.name, node = %self.parts.node, %shard, entries,
                    unreadable_without_key, "rows without a readable key: nothing is concluded from keys that were not met"
                ),
                Vanished::Unsure { .. } => {}
            }
        }
        let gone = self.count_missed(progress.started, &missed).await?;
        for chunk in gone.chunks(KEYS_PER_READ) {
            self.observe(chunk.to_vec(), Conclude::Counted).await?;
        }
        let this = self.clone();
        // The reads above concluded all of them; what a client wrote meanwhile has a newer stamp.
        let began = progress.started;
        blocking(move || this.note_scan(began)).await?;
        let this = self.clone();
        let finished = blocking(move || this.index()?.finish_scan(&[])).await;
        let finished = finished.map_err(|error| self.index_failed(&error))?;
        self.caught_up();
        self.count_completed_scan();
        tracing::info!(
            collection = %self.parts.collection.name, node = %self.parts.node, rows = finished.rows,
            not_met = missed.len(), as_of = %progress.started, "scan completed"
        );
        Ok(())
    }
}

fn seen(row: Result<selfsame_core::Document, Unreadable>, replica: &LocalReplica) -> Seen {
    match row {
        Ok(document) if document.marked => Seen::Marked(document.key_digest, document.entry.key),
        Ok(document) => Seen::Live(document.key_digest, document.entry),
        Err(Unreadable { key, place, reason }) => {
            let key = key.map(|key| (replica.fingerprinter().key_digest(&key), key));
            Seen::Unreadable { key, place, reason: reason.to_string() }
        }
    }
}
