//! Fresh reads of single keys, and what our own repairs made of them.

use selfsame_core::{Entry, Key, KeyDigest, Stamp};

use crate::IndexError;
use crate::index::Index;
use crate::rows::{Row, Sight};

/// What a fresh read saw of a key.
#[derive(Clone, Debug, PartialEq)]
pub enum Fresh {
    /// A live document.
    Live(Entry),
    /// A document whose deletion mark is set: the key leaves the tree.
    Marked,
    /// A document without a single meaning: the key leaves the tree.
    Unreadable {
        /// Its key.
        key: Key,
        /// Where the store has it.
        place: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No document. An entry stays: one read that finds a key gone concludes nothing. See [`Index::remove`].
    Absent,
}

/// What applying fresh reads came to. A key is in at most one of the lists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadsReport {
    /// Keys whose entry is another than before, came, or went.
    pub changed: u64,
    /// Keys of which the index knows something else from a read that began later. They are left as they were:
    /// read them again.
    pub stale: Vec<KeyDigest>,
    /// Keys that were read as absent, and the entries that the index still holds of them.
    pub still_held: Vec<(KeyDigest, Entry)>,
}

/// What removing keys came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RemoveReport {
    /// The entries that were removed.
    pub removed: Vec<(KeyDigest, Entry)>,
    /// Keys of which the index knows something from a read that began later. They are left as they were.
    pub stale: Vec<KeyDigest>,
}

impl Index {
    /// Takes in what reads of single keys saw that began after `stamp` was taken from [`Index::next_stamp`], as
    /// one batch. Of a key given twice, the later counts. Survives the end of the process, not of the machine.
    /// Cost: as a page of a scan.
    pub fn apply_reads(&self, stamp: Stamp, reads: &[(KeyDigest, Fresh)]) -> Result<ReadsReport, IndexError> {
        let _writing = self.writing();
        let mut draft = self.current.draft();
        let mut report = ReadsReport::default();
        for (key, fresh) in reads {
            let old = draft.find(key)?;
            let held = old.as_ref().map(|found| &found.row);
            let sight = match (fresh, held.map(|row| &row.sight)) {
                (Fresh::Live(entry), _) => Sight::Live(entry.clone()),
                (Fresh::Unreadable { key, place, reason }, _) => {
                    let (key, place, reason) = (key.clone(), place.clone(), reason.clone());
                    Sight::Unreadable { key, place, reason }
                }
                (Fresh::Marked, _) => Sight::Gone,
                (Fresh::Absent, Some(Sight::Live(entry))) => {
                    match held {
                        Some(row) if row.stamp > stamp => report.stale.push(*key),
                        _ => report.still_held.push((*key, entry.clone())),
                    }
                    continue;
                }
                (Fresh::Absent, Some(Sight::Unreadable { .. } | Sight::Gone)) => Sight::Gone,
                (Fresh::Absent, None) => continue,
            };
            if let Some(row) = held.filter(|row| row.stamp > stamp) {
                if row.sight != sight {
                    report.stale.push(*key);
                }
                continue;
            }
            let live = [held.map(|row| &row.sight), Some(&sight)].map(|sight| match sight {
                Some(Sight::Live(entry)) => Some(entry),
                _ => None,
            });
            report.changed += u64::from(live[0] != live[1]);
            draft.put(key, old.as_ref(), Some(&Row { stamp, sight }));
        }
        self.current.commit(draft)?;
        Ok(report)
    }

    /// Concludes that keys are gone, as seen by reads that began after `stamp` was taken: a confirm's second
    /// read, or our own repair. Their tombstones are to be synced before. One batch; survives the end of the
    /// process, not of the machine.
    pub fn remove(&self, stamp: Stamp, keys: &[KeyDigest]) -> Result<RemoveReport, IndexError> {
        let _writing = self.writing();
        let mut draft = self.current.draft();
        let mut report = RemoveReport::default();
        for key in keys {
            let old = draft.find(key)?;
            if let Some(found) = &old {
                if found.row.stamp > stamp {
                    if found.row.sight != Sight::Gone {
                        report.stale.push(*key);
                    }
                    continue;
                }
                if let Sight::Live(entry) = &found.row.sight {
                    report.removed.push((*key, entry.clone()));
                }
            }
            draft.put(key, old.as_ref(), Some(&Row { stamp, sight: Sight::Gone }));
        }
        self.current.commit(draft)?;
        Ok(report)
    }
}
