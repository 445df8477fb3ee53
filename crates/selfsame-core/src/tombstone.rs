//! Tombstones: what a replica's ledger remembers of a key that is gone, how much each kind of evidence proves,
//! and how memories of one key are joined and end.
//!
//! A tombstone never claims more than its evidence: nothing here turns an observed one into a certain one.

use std::cmp::Ordering;

use crate::{Moment, Version, WallMicros};

/// The memory of one deletion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tombstone {
    /// The version that was deleted: for an observed deletion, what the index held.
    pub version: Version,
    /// What ended the document.
    pub cause: TombstoneCause,
    /// When the deletion was seen.
    pub at: WallMicros,
    /// How sure the evidence is.
    pub certainty: Certainty,
    /// Who has the evidence.
    pub owner: TombstoneOwner,
    /// Whether a client has inserted the same version again since.
    pub came_back: bool,
}

/// What ended a document. A deletion outranks an expiry: it also beats its own version with an expiry renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TombstoneCause {
    /// Its expiry passed.
    Expired,
    /// A client deleted it.
    Deleted,
}

/// How sure it is that a deletion was meant, from weak to strong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Certainty {
    /// The index held the key and a confirmed read found it gone. Deleted, or lost.
    Observed,
    /// Proof: a deletion mark, an ordered feed, a notice that a read confirmed, an expiry that passed.
    Certain,
}

/// Who has the evidence of a tombstone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TombstoneOwner {
    /// Another replica: this ledger was told.
    Received,
    /// The replica whose ledger it is.
    Own,
}

/// What was last known of a document that is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastSeen {
    /// Its version.
    pub version: Version,
    /// Its expiry; `None` is never.
    pub expiry: Option<WallMicros>,
}

/// How a replica learned that a key is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// A row that carries a deletion mark and this version.
    Mark(Version),
    /// A client's delete in the store's own ordered feed, with the row that it deleted if the feed tells.
    Feed(Option<LastSeen>),
    /// A notice of a deletion of `version`, after which a fresh read found the key gone.
    ConfirmedNotice {
        /// The version that the notice names.
        version: Version,
        /// What the index held, if it held the key.
        indexed: Option<LastSeen>,
    },
    /// The index held this, and a confirm's second read or a completed scan found the key gone.
    Vanished(LastSeen),
    /// A write of our own took the row: repair, undo, resync, canary.
    OwnWrite,
}

impl Evidence {
    /// The tombstone that the evidence is good for, made at `moment` by the replica that has the evidence.
    /// `None`: it says nothing by itself, and only a confirmed absence may conclude anything.
    pub fn tombstone(self, moment: Moment) -> Option<Tombstone> {
        use Certainty::{Certain, Observed};
        use TombstoneCause::{Deleted, Expired};
        let had_expired =
            |seen: LastSeen| seen.expiry.is_some_and(|expiry| expiry <= moment.certainly_past());
        let (version, cause, certainty) = match self {
            Evidence::Mark(version) => (version, Deleted, Certain),
            // A sweep of what had expired says no more than the expiry: a renewed one may live on elsewhere.
            Evidence::Feed(Some(seen)) | Evidence::Vanished(seen) if had_expired(seen) => {
                (seen.version, Expired, Certain)
            }
            Evidence::Feed(Some(seen)) => (seen.version, Deleted, Certain),
            Evidence::ConfirmedNotice { version, indexed } => {
                if indexed.is_some_and(|seen| seen.version > version) {
                    return None;
                }
                (version, Deleted, Certain)
            }
            Evidence::Vanished(seen) => (seen.version, Deleted, Observed),
            Evidence::Feed(None) | Evidence::OwnWrite => return None,
        };
        let owner = TombstoneOwner::Own;
        Some(Tombstone { version, cause, at: moment.now, certainty, owner, came_back: false })
    }
}

impl Tombstone {
    /// Joins two memories of one key. The higher version stays; of one version the stronger evidence, and it
    /// came back if either says so; of equal evidence the later time. An observed tombstone that was received is
    /// hearsay, and gives way to every other.
    ///
    /// Evidence of one version, from weak to strong: expired, certainly expired, observed deleted, certainly
    /// deleted. An expiry yields to an observed deletion, because it says nothing about a version whose expiry
    /// was renewed, and the vote would be lost.
    ///
    /// Commutative, associative and idempotent, so the order and the number of deliveries do not matter:
    /// hearsay, version and evidence are total orders, of which the greatest stays; time, owner and `came_back`
    /// are maxima among equals.
    pub fn join(&self, other: &Tombstone) -> Tombstone {
        match self.standing().cmp(&other.standing()) {
            Ordering::Less => return other.clone(),
            Ordering::Greater => return self.clone(),
            Ordering::Equal => {}
        }
        let came_back = self.came_back || other.came_back;
        match self.strength().cmp(&other.strength()) {
            Ordering::Less => Tombstone { came_back, ..*other },
            Ordering::Greater => Tombstone { came_back, ..*self },
            Ordering::Equal => Tombstone {
                at: self.at.max(other.at),
                owner: self.owner.max(other.owner),
                came_back,
                ..*self
            },
        }
    }

    /// Whether both say the same, whenever it was seen.
    pub fn same_but_time(&self, other: &Tombstone) -> bool {
        *self == Tombstone { at: self.at, ..*other }
    }

    /// Whether joining `other` into this one would leave what the sums over ledgers tell apart as it is.
    pub fn joins_to(&self, other: &Tombstone) -> bool {
        let joined = self.join(other);
        (joined.version, joined.came_back, joined.certainty, joined.cause)
            == (self.version, self.came_back, self.certainty, self.cause)
    }

    /// What a ledger keeps of a tombstone that another agent offers: certain ones, as received. Observed ones
    /// stay with the replica that made them.
    pub fn received(&self) -> Option<Tombstone> {
        let owner = TombstoneOwner::Received;
        (self.certainty == Certainty::Certain).then_some(Tombstone { owner, ..*self })
    }

    /// What is left after a client inserted `version` on the replica, seen in its own feed or scan: a higher
    /// version ends the tombstone, the same came back, a lower one changes nothing.
    pub fn after_insert(&self, version: Version) -> Option<Tombstone> {
        match version.cmp(&self.version) {
            Ordering::Greater => None,
            Ordering::Equal => Some(Tombstone { came_back: true, ..*self }),
            Ordering::Less => Some(self.clone()),
        }
    }

    /// What is left after a repair wrote the replica's row: a live document of `written`, or none, deleted or
    /// marked. The replica's own observation ends in either case: what the row is now is our doing, and no vote.
    /// A certain tombstone ends only if a live document above it was written.
    pub fn after_repair(&self, written: Option<Version>) -> Option<Tombstone> {
        let beaten = written.is_some_and(|version| version > self.version);
        (self.certainty == Certainty::Certain && !beaten).then(|| self.clone())
    }

    /// Whether the replica that remembers this saw for itself that the key was gone, without proof that it was
    /// deleted: then its absence is a vote.
    pub fn is_own_observation(&self) -> bool {
        self.certainty == Certainty::Observed && self.owner == TombstoneOwner::Own
    }

    fn standing(&self) -> (bool, Version) {
        let hearsay = self.certainty == Certainty::Observed && self.owner == TombstoneOwner::Received;
        (!hearsay, self.version)
    }

    fn strength(&self) -> (TombstoneCause, Certainty) {
        (self.cause, self.certainty)
    }
}

#[cfg(test)]
#[path = "tombstone_tests.rs"]
mod tests;
