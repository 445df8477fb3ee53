//! The index itself: who may write, its stamps, its incarnation, and its trees made anew.

use std::fmt;

use parking_lot::{Mutex, MutexGuard, RwLock};
use selfsame_core::merkle::Depth;
use selfsame_core::{ShardId, Stamp};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::disk::{AnchorFile, Folder};
use crate::generation::Generation;
use crate::state::ShardRecord;
use crate::{IndexError, ScanProgress};

/// Names one life of an index's trees: it changes whenever the index is opened and whenever its trees are made
/// anew. Answers of one incarnation belong together; an exchange that sees it change begins again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Incarnation(pub u64);

/// The entries and trees of one replica, open.
///
/// All calls may be made from many threads at once. They block: on files, and writers on each other.
pub struct Index {
    pub(crate) current: Generation,
    writer: Mutex<()>,
    pub(crate) anchor: Mutex<AnchorFile>,
    incarnation: RwLock<Incarnation>,
    /// Last, so that the directory stays locked until the store is closed.
    _folder: Folder,
}

/// What [`Index::rebuild_trees`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RebuildReport {
    /// The shards whose tree in memory was not that of their entries.
    pub wrong: Vec<ShardId>,
}

impl Index {
    pub(crate) fn new(current: Generation, anchor: AnchorFile, folder: Folder, randomness: u64) -> Index {
        Index {
            current,
            writer: Mutex::new(()),
            anchor: Mutex::new(anchor),
            incarnation: RwLock::new(Incarnation(randomness)),
            _folder: folder,
        }
    }

    /// Waits until no other thread writes.
    pub(crate) fn writing(&self) -> MutexGuard<'_, ()> {
        self.writer.lock()
    }

    /// The incarnation of the trees that answers come from.
    pub fn incarnation(&self) -> Incarnation {
        *self.incarnation.read()
    }

    /// A stamp above all that this index ever gave out, also before a crash of the machine. Take it before the
    /// read begins that it is for. Cost: one call in a thousand syncs a small file. Errors: the file system's;
    /// no stamp is used then.
    pub fn next_stamp(&self) -> Result<Stamp, IndexError> {
        self.anchor.lock().next_stamp()
    }

    /// The scan that has begun and not been finished, if there is one: after a crash, where to go on.
    pub fn scan_state(&self) -> Option<ScanProgress> {
        self.current.state.read().head.scan.clone()
    }

    /// Makes all trees anew from the entries, under a new incarnation: for roots that differ without an entry
    /// that does. `Damaged` if the entries are not those that were recorded. Cost: as opening.
    pub fn rebuild_trees(&self) -> Result<RebuildReport, IndexError> {
        let _writing = self.writing();
        let mut report = RebuildReport::default();
        for shard in self.current.shards.ids() {
            let Some((depth, recorded)) = self.shape(shard) else { continue };
            let read = self.current.read_shard(shard, depth)?;
            if read.record() != recorded {
                return Err(IndexError::damaged(format!("the rows of shard {shard} do not give its root")));
            }
            let mut state = self.current.state.write();
            let Some(current) = state.shards.get_mut(shard.0 as usize) else { continue };
            if current.tree != read.tree {
                report.wrong.push(shard);
                current.tree = read.tree;
            }
        }
        let mut incarnation = self.incarnation.write();
        *incarnation = Incarnation(xxh3_64_with_seed(b"rebuilt", incarnation.0));
        Ok(report)
    }

    fn shape(&self, shard: ShardId) -> Option<(Depth, ShardRecord)> {
        let state = self.current.state.read();
        state.shard(shard).map(|shard| (shard.tree.depth(), shard.record()))
    }

    /// Deepens the trees that have outgrown their depth. Answers at lesser depths stay as they are.
    pub(crate) fn grow_trees(&self) -> Result<(), IndexError> {
        for shard in self.current.shards.ids() {
            let Some((depth, recorded)) = self.shape(shard) else { continue };
            let fitting = Depth::for_entries(recorded.root.count);
            if fitting <= depth {
                continue;
            }
            let grown = self.current.read_shard(shard, fitting)?;
            if grown.record() != recorded {
                return Err(IndexError::damaged(format!("the rows of shard {shard} do not give its root")));
            }
            if let Some(current) = self.current.state.write().shards.get_mut(shard.0 as usize) {
                current.tree = grown.tree;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Index").field("incarnation", &self.incarnation()).finish_non_exhaustive()
    }
}
