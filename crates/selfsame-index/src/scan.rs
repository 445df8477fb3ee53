//! Full scans: pages go in with their cursor, and what the walk did not meet comes out.

use selfsame_core::{Entry, Key, KeyDigest, ShardId, Stamp, WallMicros};

use crate::draft::{Draft, Found};
use crate::index::Index;
use crate::open::BATCH_PAIRS;
use crate::rows::{self, ALL_PREFIXES, Loose, Row, Sight};
use crate::{IndexError, ScanPosition, ScanProgress};

/// One stored document, as a scan saw it.
#[derive(Clone, Debug, PartialEq)]
pub enum Seen {
    /// A live document.
    Live(KeyDigest, Entry),
    /// A document without a single meaning.
    Unreadable {
        /// Its key, if at least that can be read.
        key: Option<(KeyDigest, Key)>,
        /// Where the store has it; without a key, this is what it is counted by.
        place: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A document whose deletion mark is set.
    Marked(KeyDigest, Key),
}

/// A document whose content is another than the index held, at the same version and expiry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SilentChange {
    /// The digest of its key.
    pub key_digest: KeyDigest,
    /// What the index held.
    pub before: Entry,
    /// What the scan saw.
    pub after: Entry,
}

/// What storing a page came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PageReport {
    /// Keys that the index did not hold as live before.
    pub added: u64,
    /// Keys whose entry changed.
    pub changed: u64,
    /// Keys whose entry is as before.
    pub unchanged: u64,
    /// Unreadable documents.
    pub unreadable: u64,
    /// Documents with a deletion mark.
    pub marked: u64,
    /// Content that changed without its version: counted in `changed` too.
    pub silent_changes: Vec<SilentChange>,
    /// Keys whose version is lower than the one that an earlier read saw: counted in `changed` too.
    pub went_back: Vec<KeyDigest>,
    /// Keys of which the index knows something else from a read that began after the scan did. They are left as
    /// they were: read them again.
    pub stale: Vec<KeyDigest>,
    /// Keys that this scan met before, as something else: two rows with one key, or a row that moved while a
    /// store without snapshots was walked. The later is stored: read them again.
    pub met_twice: Vec<KeyDigest>,
}

/// What a completed walk did not meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Vanished {
    /// These live entries, in key-digest order.
    Entries(Vec<(KeyDigest, Entry)>),
    /// Nothing can be said: the scan met unreadable documents without a key, and any entry may be one of them.
    Unsure {
        /// How many entries it did not meet.
        entries: u64,
        /// How many such documents it met.
        unreadable_without_key: u64,
    },
}

/// What finishing a scan came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FinishReport {
    /// Entries that were removed.
    pub removed: u64,
    /// Keys that were to be removed, and of which the index knows something from a read that began with the
    /// scan or after it. They are left as they were.
    pub refreshed: Vec<KeyDigest>,
    /// The scan, as it ended.
    pub as_of: Option<WallMicros>,
    /// How many documents the scan saw.
    pub rows: u64,
}

const NO_SCAN: IndexError = IndexError::Misuse("no scan has begun");

impl Index {
    /// Begins a scan; an unfinished one is forgotten, its entries are kept. `stamp` comes from
    /// [`Index::next_stamp`], taken before the scan reads anything, as is `started` from a clock.
    pub fn begin_scan(&self, stamp: Stamp, started: WallMicros) -> Result<(), IndexError> {
        let _writing = self.writing();
        let mut draft = self.current.draft();
        draft.head.scan = Some(ScanProgress {
            stamp,
            started,
            position: ScanPosition::Start,
            rows: 0,
            unreadable_without_key: 0,
        });
        self.current.commit(draft)
    }

    /// Stores a page of the scan together with the cursor after it (`None`: it was the last), all or nothing.
    ///
    /// Survives the end of the process at once, the end of the machine once the scan is finished; a cursor
    /// never survives without its page. Bounds: the page is held in memory about three times. Cost: one look-up
    /// and one write for each document, and two hashes for each that changed.
    pub fn store_page(&self, page: &[Seen], cursor: Option<Vec<u8>>) -> Result<PageReport, IndexError> {
        let _writing = self.writing();
        let mut draft = self.current.draft();
        let mut scan = draft.head.scan.take().ok_or(NO_SCAN)?;
        if scan.position == ScanPosition::End {
            return Err(IndexError::Misuse("the scan's last page is stored already"));
        }
        let mut report = PageReport::default();
        for seen in page {
            store_seen(&mut draft, &mut scan, seen, &mut report)?;
        }
        scan.rows = scan.rows.saturating_add(page.len() as u64);
        scan.position = cursor.map_or(ScanPosition::End, ScanPosition::After);
        draft.head.scan = Some(scan);
        self.current.commit(draft)?;
        failpoint!("index::page_stored");
        Ok(report)
    }

    /// The live entries of a shard that the scan, whose last page is stored, did not meet and no later read
    /// refreshed. An unknown shard has none. Cost: a pass over the shard's rows.
    pub fn vanished(&self, shard: ShardId) -> Result<Vanished, IndexError> {
        let scan = self.walked_scan()?;
        let mut vanished = Vec::new();
        let mut entries = 0;
        for row in self.current.rows(shard, ALL_PREFIXES) {
            let (digest, row) = row?;
            if let Row { stamp, sight: Sight::Live(entry) } = row
                && stamp < scan.stamp
            {
                entries += 1;
                if scan.unreadable_without_key == 0 {
                    vanished.push((digest, entry));
                }
            }
        }
        Ok(match scan.unreadable_without_key {
            0 => Vanished::Entries(vanished),
            unreadable_without_key => Vanished::Unsure { entries, unreadable_without_key },
        })
    }

    /// Ends the scan: removes those of its vanished keys that the caller concluded to be gone, forgets what
    /// else it did not meet (unreadable documents, keys known to be gone), syncs, and only then advances
    /// `as_of` to the scan's start. Entries that vanished and are not in `remove` stay, and vanish again.
    ///
    /// Trees that have outgrown their depth are deepened. After an error the scan is still unfinished, or
    /// finished: [`Index::scan_state`] tells. Cost: a pass over the shards that have something to forget.
    pub fn finish_scan(&self, remove: &[KeyDigest]) -> Result<FinishReport, IndexError> {
        let _writing = self.writing();
        let scan = self.walked_scan()?;
        if scan.unreadable_without_key > 0 && !remove.is_empty() {
            return Err(IndexError::Misuse("a key that may be unreadable is not to be removed"));
        }
        let mut report =
            FinishReport { as_of: Some(scan.started), rows: scan.rows, ..FinishReport::default() };
        self.remove_vanished(&scan, remove, &mut report)?;
        self.forget_unmet(&scan)?;
        self.current.store.sync()?;
        failpoint!("index::before_finish");
        let mut draft = self.current.draft();
        draft.head.scan = None;
        draft.head.as_of = Some(scan.started);
        self.current.commit(draft)?;
        self.current.store.sync()?;
        self.anchor.lock().hold(self.current.head().batch)?;
        failpoint!("index::finished");
        self.grow_trees()?;
        Ok(report)
    }

    fn walked_scan(&self) -> Result<ScanProgress, IndexError> {
        let scan = self.scan_state().ok_or(NO_SCAN)?;
        match scan.position {
            ScanPosition::End => Ok(scan),
            _ => Err(IndexError::Misuse("the scan's last page is not stored yet")),
        }
    }

    fn remove_vanished(
        &self,
        scan: &ScanProgress,
        remove: &[KeyDigest],
        report: &mut FinishReport,
    ) -> Result<(), IndexError> {
        for chunk in remove.chunks(BATCH_PAIRS) {
            let mut draft = self.current.draft();
            for key in chunk {
                match draft.find(key)? {
                    Some(found) if found.row.stamp >= scan.stamp => report.refreshed.push(*key),
                    Some(found) => {
                        report.removed += u64::from(matches!(found.row.sight, Sight::Live(_)));
                        // Gone, with the scan's stamp: a read that began before it must not bring the key back.
                        draft.put(key, Some(&found), Some(&Row { stamp: scan.stamp, sight: Sight::Gone }));
                    }
                    None => {}
                }
            }
            self.current.commit(draft)?;
        }
        Ok(())
    }

    fn forget_unmet(&self, scan: &ScanProgress) -> Result<(), IndexError> {
        let notes = |shard| {
            let state = self.current.state.read();
            state.shard(shard).is_some_and(|shard| shard.tally.unreadable > 0 || shard.tally.gone > 0)
        };
        let mut draft = self.current.draft();
        for shard in self.current.shards.ids().filter(|shard| notes(*shard)) {
            for row in self.current.rows(shard, ALL_PREFIXES) {
                let (key, row) = row?;
                if row.stamp >= scan.stamp || matches!(row.sight, Sight::Live(_)) {
                    continue;
                }
                let found = draft.find(&key)?;
                draft.put(&key, found.as_ref(), None);
                if draft.len() >= BATCH_PAIRS {
                    self.current.commit(draft)?;
                    draft = self.current.draft();
                }
            }
        }
        for pair in self.current.store.view().range(rows::all_loose_keys()) {
            let (key, value) = pair?;
            if Loose::from_bytes(&value)?.stamp < scan.stamp {
                draft.drop_loose(key.to_vec(), value.to_vec());
            }
        }
        self.current.commit(draft)
    }
}

fn store_seen(
    draft: &mut Draft<'_>,
    scan: &mut ScanProgress,
    seen: &Seen,
    report: &mut PageReport,
) -> Result<(), IndexError> {
    let (key, sight) = match seen {
        Seen::Live(key, entry) => (key, Sight::Live(entry.clone())),
        Seen::Unreadable { key: Some((digest, key)), place, reason } => {
            report.unreadable += 1;
            let (key, place, reason) = (key.clone(), place.clone(), reason.clone());
            (digest, Sight::Unreadable { key, place, reason })
        }
        Seen::Unreadable { key: None, place, reason } => {
            report.unreadable += 1;
            scan.unreadable_without_key += 1;
            let (place, reason) = (place.clone(), reason.clone());
            return draft.put_loose(&Loose { stamp: scan.stamp, place, reason });
        }
        Seen::Marked(key, _) => {
            report.marked += 1;
            (key, Sight::Gone)
        }
    };
    let old = draft.find(key)?;
    if let Some(Found { row, .. }) = &old {
        if row.stamp > scan.stamp {
            if row.sight != sight {
                report.stale.push(*key);
            } else if matches!(sight, Sight::Live(_)) {
                report.unchanged += 1;
            }
            return Ok(());
        }
        if row.stamp == scan.stamp && row.sight != sight {
            report.met_twice.push(*key);
        }
    }
    if let Sight::Live(after) = &sight {
        note_change(report, scan, *key, old.as_ref().map(|found| &found.row), after);
    }
    draft.put(key, old.as_ref(), Some(&Row { stamp: scan.stamp, sight }));
    Ok(())
}

fn note_change(
    report: &mut PageReport,
    scan: &ScanProgress,
    key_digest: KeyDigest,
    old: Option<&Row>,
    after: &Entry,
) {
    let Some(Row { stamp, sight: Sight::Live(before) }) = old else {
        report.added += 1;
        return;
    };
    if before == after {
        report.unchanged += 1;
        return;
    }
    report.changed += 1;
    if after.version < before.version && *stamp < scan.stamp {
        report.went_back.push(key_digest);
    }
    let same_version = before.version == after.version && before.expiry == after.expiry;
    if same_version && *stamp < scan.stamp {
        let (before, after) = (before.clone(), after.clone());
        report.silent_changes.push(SilentChange { key_digest, before, after });
    }
}
