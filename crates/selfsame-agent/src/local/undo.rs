//! What undo makes of a run's repairs on one replica. Pure: from what the journal knows, and what a fresh read saw.

use std::collections::{BTreeMap, BTreeSet};

use selfsame_core::{Entry, Epoch, Key, KeyDigest, RepairId, Row, RowDigest, ShardId};
use selfsame_journal::{IntentOutcome, KeptImage, MadeRepair};
use selfsame_store::Read;

/// One key of a run on one replica, and what undo made of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UndoItem {
    /// The key.
    pub key: Key,
    /// Its shard.
    pub shard: ShardId,
    /// What putting it back writes; `None` where nothing is to be put back.
    pub write: Option<UndoWrite>,
    /// What became of it, or would.
    pub state: UndoState,
}

/// What putting a row back writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum UndoWrite {
    /// A row comes back that a repair deleted.
    Insert,
    /// A row becomes what it was.
    Update,
    /// A row goes that a repair inserted.
    Delete,
}

/// What became of a key in an undo, or would.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UndoState {
    /// It can be put back.
    Restorable,
    /// It is as it was, byte for byte.
    Restored,
    /// It was put back, and a trigger or a type of the table made something else of some of it.
    RestoredOtherwise,
    /// It was put back by an earlier undo.
    Undone,
    /// The run changed nothing here, or took its change back itself.
    NotApplied,
    /// Nobody knows whether the repair was written.
    Unknown,
    /// No image was kept: before-images were switched off.
    ImagesOff,
    /// No image was kept: the row was too large.
    TooLarge {
        /// The size of its encoding.
        bytes: u64,
    },
    /// The image is older than `undo_retention`, or was forgotten, or is not of the row that was replaced.
    ImageGone,
    /// The row is not the one that the repair left: somebody wrote since, who wins.
    Changed,
    /// The row has no single meaning now.
    Unreadable,
    /// The store would not take it.
    Refused(String),
    /// The store did not answer: a later read tells.
    Unanswered,
    /// The replica is not attached to the agent that repaired it any more.
    NoReplica,
}

impl UndoWrite {
    /// The name in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            UndoWrite::Insert => "insert",
            UndoWrite::Update => "update",
            UndoWrite::Delete => "delete",
        }
    }
}

impl UndoState {
    /// The name in reports.
    pub fn as_str(&self) -> &'static str {
        match self {
            UndoState::Restorable => "restorable",
            UndoState::Restored | UndoState::RestoredOtherwise => "restored",
            UndoState::Undone => "undone",
            UndoState::NotApplied => "not_applied",
            UndoState::Unknown => "unknown",
            UndoState::ImagesOff => "images_off",
            UndoState::TooLarge { .. } => "too_large",
            UndoState::ImageGone => "image_gone",
            UndoState::Changed => "changed",
            UndoState::Unreadable => "unreadable",
            UndoState::Refused(_) => "refused",
            UndoState::Unanswered => "unanswered",
            UndoState::NoReplica => "no_replica",
        }
    }

    /// What more there is to say.
    pub fn detail(&self) -> String {
        match self {
            UndoState::Restorable | UndoState::Restored => String::new(),
            UndoState::RestoredOtherwise => {
                "not byte for byte: a trigger or a type of the table has changed some of it".to_owned()
            }
            UndoState::Undone => "an earlier undo put it back".to_owned(),
            UndoState::NotApplied => "the run changed nothing here".to_owned(),
            UndoState::Unknown => "nobody knows whether the repair was written".to_owned(),
            UndoState::ImagesOff => "the row was not kept: `journal.before_images` was off".to_owned(),
            UndoState::TooLarge { bytes } => {
                format!("the row was not kept: {bytes} bytes were too large")
            }
            UndoState::ImageGone => {
                "the row is not kept any more: older than `journal.undo_retention`, or forgotten".to_owned()
            }
            UndoState::Changed => "somebody has written it since".to_owned(),
            UndoState::Unreadable => "the row has no single meaning now; hint: mend it".to_owned(),
            UndoState::Refused(why) => why.clone(),
            UndoState::Unanswered => "the store did not answer; hint: undo the run again".to_owned(),
            UndoState::NoReplica => {
                "the agent that repaired it does not have the replica any more".to_owned()
            }
        }
    }

    /// Whether the key is, or can be, as it was before the run.
    pub fn is_good(&self) -> bool {
        match self {
            UndoState::Restorable
            | UndoState::Restored
            | UndoState::RestoredOtherwise
            | UndoState::Undone
            | UndoState::NotApplied => true,
            UndoState::Unknown
            | UndoState::ImagesOff
            | UndoState::TooLarge { .. }
            | UndoState::ImageGone
            | UndoState::Changed
            | UndoState::Unreadable
            | UndoState::Refused(_)
            | UndoState::Unanswered
            | UndoState::NoReplica => false,
        }
    }
}

/// A key that can be put back if its row still stands: what the run's repairs of it come to together.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct TakeBack {
    pub(super) key: Key,
    pub(super) key_digest: KeyDigest,
    /// The epoch of the repair that is taken back.
    pub(super) epoch: Epoch,
    /// The id of the repair that does it.
    pub(super) repair: RepairId,
    /// What the run left there.
    pub(super) left: StoredRow,
    /// What was there before.
    pub(super) before: StoredRow,
    /// The entry that the run wrote, and that is not to come back.
    pub(super) entry: Option<Entry>,
    /// The repair that has the image, and the size of it.
    pub(super) image_of: RepairId,
    pub(super) image_bytes: u64,
}

/// A row, or none.
type StoredRow = Option<RowDigest>;

/// What the journal alone says of a key.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Prospect {
    /// It can be put back, if its row still stands.
    TakeBack(TakeBack),
    /// It cannot, or need not.
    Settled { key: Key, key_digest: KeyDigest, state: UndoState },
}

/// What the journal says of each key of a run on one replica; `made` in the order in which the repairs were announced.
pub(super) fn prospects(made: Vec<MadeRepair>) -> Vec<Prospect> {
    let undone: BTreeSet<RepairId> = made
        .iter()
        .filter(|made| made.outcome.as_ref().is_some_and(IntentOutcome::is_done))
        .map(|made| made.repair)
        .collect();
    let undos: BTreeSet<RepairId> = made.iter().map(|made| made.repair.undoing()).collect();
    let mut by_key: BTreeMap<KeyDigest, Vec<MadeRepair>> = BTreeMap::new();
    // An undo is not undone.
    for made in made.into_iter().filter(|made| !undos.contains(&made.repair)) {
        by_key.entry(made.key_digest).or_default().push(made);
    }
    by_key.into_values().filter_map(|made| prospect(&made, &undone)).collect()
}

fn prospect(made: &[MadeRepair], undone: &BTreeSet<RepairId>) -> Option<Prospect> {
    let last = made.last()?;
    let settled =
        |state| Some(Prospect::Settled { key: last.key.clone(), key_digest: last.key_digest, state });
    let applied: Vec<(&MadeRepair, StoredRow)> = made
        .iter()
        .filter_map(|made| match made.outcome {
            Some(IntentOutcome::Applied { after }) => Some((made, after)),
            _ => None,
        })
        .collect();
    let Some((taken_back, left)) = applied.last().copied() else {
        let unknown = |made: &MadeRepair| matches!(made.outcome, None | Some(IntentOutcome::Unknown));
        return settled(if made.iter().any(unknown) { UndoState::Unknown } else { UndoState::NotApplied });
    };
    if undone.contains(&taken_back.repair.undoing()) {
        return settled(UndoState::Undone);
    }
    // A run may repair a key again, what it wrote itself or what a client wrote since. Only what it did without anybody
    // coming between is taken back.
    let mut first = taken_back;
    for (earlier, after) in applied.iter().rev().skip(1) {
        if *after != first.expected || undone.contains(&earlier.repair.undoing()) {
            break;
        }
        first = earlier;
    }
    if left == first.expected {
        return settled(UndoState::NotApplied);
    }
    let image_bytes = match first.image {
        KeptImage::NoRow => 0,
        KeptImage::Kept { bytes } => bytes,
        KeptImage::TooLarge { bytes } => return settled(UndoState::TooLarge { bytes }),
        KeptImage::Off => return settled(UndoState::ImagesOff),
        KeptImage::Gone => return settled(UndoState::ImageGone),
    };
    Some(Prospect::TakeBack(TakeBack {
        key: taken_back.key.clone(),
        key_digest: taken_back.key_digest,
        epoch: taken_back.epoch.clone(),
        repair: taken_back.repair.undoing(),
        left,
        before: first.expected,
        entry: taken_back.entry.clone(),
        image_of: first.repair,
        image_bytes,
    }))
}

impl TakeBack {
    /// What putting it back writes.
    pub(super) fn write(&self) -> UndoWrite {
        match (self.left, self.before) {
            (None, _) => UndoWrite::Insert,
            (Some(_), Some(_)) => UndoWrite::Update,
            (Some(_), None) => UndoWrite::Delete,
        }
    }

    /// The row to write (`None` deletes), if what stands is what the run left, and the image is of what it replaced.
    pub(super) fn row(
        &self,
        now: &Read,
        image: Option<Row>,
        digest: impl Fn(&Row) -> RowDigest,
    ) -> Result<Option<Row>, UndoState> {
        let stands = match now {
            Read::Unreadable(_) => return Err(UndoState::Unreadable),
            Read::Absent => None,
            Read::Live(document) | Read::Marked(document) => Some(document.row_digest),
        };
        if stands != self.left {
            return Err(UndoState::Changed);
        }
        match (self.before, image) {
            (None, _) => Ok(None),
            (Some(before), Some(row)) if digest(&row) == before => Ok(Some(row)),
            (Some(_), _) => Err(UndoState::ImageGone),
        }
    }
}

#[cfg(test)]
#[path = "undo_tests.rs"]
mod tests;
