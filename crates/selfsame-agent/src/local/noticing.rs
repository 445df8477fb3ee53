//! Notices: the application says what it deleted. A fresh read says whether the key is gone here, and only then is the
//! deletion remembered, for certain.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use selfsame_core::{Certainty, Entry, Evidence, Key, KeyDigest, Tombstone, Version};
use selfsame_store::Read;

use super::ledger::{Seen, last_seen};
use super::replica::{FreshReads, LocalReplica};
use crate::blocking::blocking;
use crate::peer::PeerError;

/// What became of a notice on one replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Noticed {
    /// The key is gone, and its deletion is remembered for certain.
    Remembered,
    /// The key is there: the deletion has not arrived, or it was written again.
    Present,
    /// The key is gone, but a later version of it was there than the notice names.
    Newer,
    /// The row has no single meaning.
    Unreadable,
}

impl LocalReplica {
    /// Checks which of these keys are gone, each deleted by a client at this version or before, and remembers that;
    /// synced when it returns.
    pub async fn notice(self: &Arc<Self>, deletions: Vec<(Key, Version)>) -> Result<Vec<Noticed>, PeerError> {
        let (keys, versions): (Vec<Key>, Vec<Version>) = deletions.into_iter().unzip();
        let fresh = self.read_to_conclude(&keys).await?;
        // What it lacks may have been lost with all the rest.
        self.refuse_if_held()?;
        let this = self.clone();
        blocking(move || this.take_notices(&keys, &versions, fresh)).await
    }

    /// Takes in what a read saw of keys that are said to be deleted. Blocking.
    fn take_notices(
        &self,
        keys: &[Key],
        versions: &[Version],
        fresh: FreshReads,
    ) -> Result<Vec<Noticed>, PeerError> {
        let told = fresh.told(keys);
        let FreshReads { stamp, digests, remembered: before, reads } = fresh;
        let report = self.index().and_then(|index| index.apply_reads(stamp, &told));
        let report = report.map_err(|error| self.index_failed(&error))?;
        // Somebody has read it since, and it was there.
        let stale: HashSet<KeyDigest> = report.stale.into_iter().collect();
        let indexed: HashMap<KeyDigest, Entry> = report.still_held.into_iter().collect();
        let remembered = self.memories(&digests)?;
        let repaired = self.last_repairs(&digests)?;
        let seen: Vec<Seen<'_>> = (0..keys.len())
            .filter(|at| !stale.contains(&digests[*at]))
            .map(|at| Seen {
                key: &keys[at],
                key_digest: digests[at],
                read: &reads[at],
                memory: remembered[at].as_ref(),
                before: before[at].as_ref(),
                repaired: repaired[at],
                gone: Some(Evidence::ConfirmedNotice {
                    version: versions[at],
                    indexed: indexed.get(&digests[at]).map(last_seen),
                }),
            })
            .collect();
        self.take_in(&seen)?;
        let remembered = self.memories(&digests)?;
        let noticed = |at: usize| match &reads[at] {
            Read::Unreadable(_) => Noticed::Unreadable,
            Read::Live(_) => Noticed::Present,
            Read::Absent if stale.contains(&digests[at]) => Noticed::Present,
            // The mark is its own memory.
            Read::Marked(_) => Noticed::Remembered,
            Read::Absent if is_certain(remembered[at].as_ref(), versions[at]) => Noticed::Remembered,
            Read::Absent => Noticed::Newer,
        };
        let noticed: Vec<Noticed> = (0..keys.len()).map(noticed).collect();
        let gone = digests.into_iter().zip(&noticed).filter(|(_, noticed)| **noticed == Noticed::Remembered);
        let gone = gone.filter_map(|(digest, _)| Some((digest, indexed.get(&digest)?.clone()))).collect();
        self.forget_gone(stamp, &gone)?;
        Ok(noticed)
    }
}

/// Whether it is certain that this version was deleted, or a later one.
fn is_certain(memory: Option<&Tombstone>, version: Version) -> bool {
    memory.is_some_and(|memory| memory.certainty == Certainty::Certain && memory.version >= version)
}
