//! Opening an index: resume it, begin it, or set a damaged one aside and begin again.

use std::path::{Path, PathBuf};

use selfsame_core::{Fingerprinter, ShardCount, Stamp};

use crate::IndexError;
use crate::disk::{Anchor, AnchorFile, Folder, Store};
use crate::generation::Generation;
use crate::head::{Head, Origin};
use crate::index::Index;
use crate::load::load;
use crate::rows::{self, Loose};
use crate::state::State;

/// Pairs written by one batch of a copy: some megabytes.
pub(crate) const BATCH_PAIRS: usize = 10_000;

/// What an index needs to know of its replica.
#[derive(Clone, Debug)]
pub struct IndexSettings {
    /// Computes the digests of entries.
    pub fingerprinter: Fingerprinter,
    /// How many shards the collection has. Another number than on disk regroups the entries; no store is read.
    pub shards: ShardCount,
    /// A digest of all else that the entries depend on (mapping, algorithm). Another one than on disk begins
    /// the index anew.
    pub basis: [u8; 16],
    /// AnchorFile are given out only above this one. An index knows its own stamps, but it may be deleted: pass the
    /// highest stamp that is kept outside of it (the ledger's).
    pub stamp_floor: Stamp,
    /// A number drawn at random for this opening.
    pub randomness: u64,
}

/// What was found where an index was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Nothing.
    New,
    /// A whole index.
    Resumed,
    /// A whole index with another number of shards, whose entries were regrouped.
    Regrouped {
        /// How many shards it had.
        from: ShardCount,
    },
    /// An index that is damaged or was made for other settings. An empty one is begun.
    Rebuilt {
        /// Where the old one is kept, if there was anything to keep.
        set_aside: Option<PathBuf>,
        /// What is wrong with it.
        why: String,
    },
}

impl Index {
    /// Opens the index in a directory, or begins one there.
    ///
    /// The opened index holds exactly the state after some batch of its history: after the last one if only the
    /// process ended, possibly an earlier one if the machine did or a file is damaged, and never one before the
    /// last [`Index::finish_scan`]. Other damage never fails the call: the damaged index is set aside within the directory
    /// (the newest two are kept) and an empty one is begun. Errors are the file system's refusals, and
    /// [`IndexError::Locked`].
    ///
    /// Cost: one pass over all rows, and over the store's journals: some seconds for a million rows. Memory: 40
    /// bytes for each node of the trees, which is a few bytes for each entry, and the store's buffers, up to
    /// 80 MiB.
    pub fn open(directory: &Path, settings: IndexSettings) -> Result<(Index, Condition), IndexError> {
        let folder = Folder::lock(directory)?;
        let ends = folder.begin_opening()?;
        let opened = open_generation(&folder, &settings, ends);
        folder.end_opening();
        let Opened { generation, anchor, condition } = opened?;
        if let Condition::Rebuilt { set_aside, why } = &condition {
            let path = directory.display();
            let kept = set_aside.as_ref().map(|kept| kept.display().to_string());
            tracing::warn!(%path, why, set_aside = kept, "index is begun anew");
        }
        Ok((Index::new(generation, anchor, folder, settings.randomness), condition))
    }
}

struct Opened {
    generation: Generation,
    anchor: AnchorFile,
    condition: Condition,
}

impl IndexSettings {
    fn origin(&self) -> Origin {
        Origin { basis: self.basis, check: self.fingerprinter.check_value() }
    }
}

fn open_generation(folder: &Folder, settings: &IndexSettings, ends: bool) -> Result<Opened, IndexError> {
    let generations = folder.generations()?;
    let newest = generations.last().copied();
    let lost = Anchor { generation: newest.unwrap_or(0), reserved: 0, synced: 0 };
    let anchor = match Anchor::read(folder.path()) {
        Ok(Some(anchor)) => anchor,
        Ok(None) if newest.is_none() => return begin(folder, settings, lost, Condition::New),
        Ok(None) => return begin_anew(folder, settings, lost, "it has no anchor".to_owned()),
        Err(IndexError::Damaged(why)) => return begin_anew(folder, settings, lost, why),
        Err(error) => return Err(error),
    };
    // A crash while a generation was begun leaves it beside the current one.
    for unfinished in generations.into_iter().filter(|number| *number != anchor.generation) {
        folder.delete_generation(unfinished)?;
    }
    if !ends {
        return begin_anew(
            folder,
            settings,
            anchor,
            "opening it did not end several times in a row".to_owned(),
        );
    }
    match resume(folder, settings, anchor) {
        Err(IndexError::Damaged(why)) => begin_anew(folder, settings, anchor, why),
        resumed => resumed,
    }
}

fn resume(folder: &Folder, settings: &IndexSettings, anchor: Anchor) -> Result<Opened, IndexError> {
    let store = Store::open(&folder.generation(anchor.generation))?;
    let (generation, stamp) = load(store, &settings.fingerprinter, settings.origin())?;
    if generation.head().batch < anchor.synced {
        return Err(IndexError::damaged("it lost batches that were synced"));
    }
    if generation.shards == settings.shards {
        let anchor = AnchorFile::new(folder.path(), anchor, settings.stamp_floor.max(stamp));
        return Ok(Opened { generation, anchor, condition: Condition::Resumed });
    }
    let from = generation.shards;
    let regrouped = regroup(folder, settings, &generation, anchor)?;
    drop(generation);
    folder.delete_generation(anchor.generation)?;
    // Once: what was written has the number of shards that is asked for.
    let opened = resume(folder, settings, regrouped)?;
    Ok(Opened { condition: Condition::Regrouped { from }, ..opened })
}

/// Copies all rows into a new generation with another number of shards, and makes that the current one.
fn regroup(
    folder: &Folder,
    settings: &IndexSettings,
    from: &Generation,
    before: Anchor,
) -> Result<Anchor, IndexError> {
    let number = before.generation.wrapping_add(1);
    folder.delete_generation(number)?;
    let store = Store::create(&folder.generation(number))?;
    let head = Head::new(settings.origin(), settings.shards);
    let generation = Generation::new(store, settings.fingerprinter.clone(), State::new(head));
    let mut draft = generation.draft();
    let view = from.store.view();
    for pair in view.range(rows::all_row_keys()) {
        let (key, value) = pair?;
        let (_, digest) = rows::row_of_key(&key)?;
        draft.put(&digest, None, Some(&rows::Row::from_bytes(&value)?));
        if draft.len() >= BATCH_PAIRS {
            generation.commit(draft)?;
            draft = generation.draft();
        }
    }
    for pair in view.range(rows::all_loose_keys()) {
        draft.put_loose(&Loose::from_bytes(&pair?.1)?)?;
    }
    let Head { as_of, scan, .. } = from.head();
    draft.head.as_of = as_of;
    draft.head.scan = scan;
    generation.commit(draft)?;
    generation.store.sync()?;
    let anchor = Anchor { generation: number, synced: generation.head().batch, ..before };
    anchor.write(folder.path())?;
    Ok(anchor)
}

/// Sets the current generation aside and begins the next.
fn begin_anew(
    folder: &Folder,
    settings: &IndexSettings,
    before: Anchor,
    why: String,
) -> Result<Opened, IndexError> {
    let set_aside = folder.set_aside(before.generation)?;
    begin(folder, settings, before, Condition::Rebuilt { set_aside, why })
}

/// Begins an empty generation after `before`.
fn begin(
    folder: &Folder,
    settings: &IndexSettings,
    before: Anchor,
    condition: Condition,
) -> Result<Opened, IndexError> {
    for leftover in folder.generations()? {
        folder.delete_generation(leftover)?;
    }
    let anchor = Anchor { generation: before.generation.wrapping_add(1), synced: 0, ..before };
    let store = Store::create(&folder.generation(anchor.generation))?;
    let head = Head::new(settings.origin(), settings.shards);
    let generation = Generation::new(store, settings.fingerprinter.clone(), State::new(head));
    generation.commit(generation.draft())?;
    generation.store.sync()?;
    anchor.write(folder.path())?;
    let anchor = AnchorFile::new(folder.path(), anchor, settings.stamp_floor);
    Ok(Opened { generation, anchor, condition })
}
