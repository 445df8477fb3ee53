//! The index of one replica: what the last reads saw of each of its keys, and the Merkle trees over that,
//! kept in one directory.
//!
//! An index is a *cache*. It may be deleted at any time, and it is never the only place of a fact: what must
//! survive (deletions, repairs, verdicts) lies elsewhere. Its one promise about loss is that it never goes
//! unnoticed: an opened index holds exactly the state after some batch of its history, or it is set aside and
//! a new, empty one is begun.
//!
//! **Rows.** Each key has at most one row: its entry, or a note that it is unreadable, or that it is gone,
//! stamped with when the read began that saw it. A row of an older stamp never replaces one of a newer
//! stamp; the key is reported as `stale`, for the caller to read again.
//!
//! **Batches.** Every change is one atomic batch: rows, the roots of the shards that they are in, and one head
//! with the scan's cursor, `as_of` and a checksum over *all* rows. On opening, all rows are read, and roots and
//! checksum are computed again.
//!
//! **Time.** `as_of` is the start of the last *completed* scan; it advances only after the entries before it
//! are synced.
//!
//! **Calls block.** They read and write files; callers put them on threads where that is allowed. Writers wait
//! for each other; readers wait for nobody longer than it takes to update the trees in memory.
//!
//! Nothing here talks to a store, decides what a missing key means, or reads a clock or a random number.

/// A named point at which tests crash or fail the index; no code without the feature `failpoints`.
macro_rules! failpoint {
    ($name:literal) => {
        #[cfg(feature = "failpoints")]
        fail::fail_point!($name, |_| {
            Err($crate::IndexError::io("stop at a failpoint", std::io::Error::other($name)))
        });
    };
}

mod answers;
mod disk;
mod draft;
mod error;
mod generation;
mod head;
mod index;
mod load;
mod open;
mod reads;
mod rows;
mod scan;
mod state;
#[cfg(test)]
mod tests;

pub use answers::{Counts, Elements, Entries, ShardRoot, UnreadableRow};
pub use error::IndexError;
pub use head::{ScanPosition, ScanProgress};
pub use index::{Incarnation, Index, RebuildReport};
pub use open::{Condition, IndexSettings};
pub use reads::{Fresh, ReadsReport, RemoveReport};
pub use scan::{FinishReport, PageReport, Seen, SilentChange, Vanished};
