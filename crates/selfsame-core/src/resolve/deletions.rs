//! Rules 1 and 4, as far as they are about deletions: what is proven, and what was only seen.

use std::cmp::Ordering;

use super::Case;
use super::decision::{Decision, HoldReason, Rule, Verdict};
use super::documents::Chosen;
use super::heard::Holder;
use super::policy::ObservedDeletes;
use super::standing::targets;
use crate::{Cause, ReplicaIndex, Sighting, Tombstone, TombstoneCause, TombstoneOwner};

impl<'a> Case<'a> {
    /// Rule 1: a certain tombstone at or above the highest version wins, or the key is held if nothing tells
    /// whether it was deleted last or made anew. What has expired by every clock needs no such care.
    pub(super) fn deleted_or_recreated(&self) -> Option<Verdict> {
        let certain = self.heard.certain();
        if let Some(tombstone) = certain.as_ref().filter(|tombstone| self.is_dominated_by(tombstone)) {
            return Some(self.carry_out(tombstone));
        }
        if self.heard.all_expired_at(self.moment.certainly_past()) {
            return self.heard.highest().map(|highest| self.expire(highest));
        }
        let recreated = self.recreated(certain.as_ref());
        (!recreated.is_empty()).then(|| self.hold(Rule::Recreated, HoldReason::Recreated, recreated))
    }

    /// Whether a certain tombstone wins over every live document. It needs versions that are times; one that came
    /// back does not win over its own version, and one of an expiry not over its own version with an expiry not
    /// yet past.
    pub(super) fn is_dominated_by(&self, tombstone: &Tombstone) -> bool {
        let Some(highest) = self.heard.highest().filter(|_| self.is_timed()) else { return false };
        match highest.cmp(&tombstone.version) {
            Ordering::Less => true,
            Ordering::Equal => match tombstone.cause {
                TombstoneCause::Deleted => !tombstone.came_back,
                TombstoneCause::Expired => {
                    let past = self.moment.certainly_past();
                    self.heard.holders_of(highest).iter().all(|holder| holder.document.expired_at(past))
                }
            },
            Ordering::Greater => false,
        }
    }

    /// Carries a certain tombstone out: its marked document is copied over the live ones where somebody has it,
    /// else they are deleted. Where the row is gone, nothing is written.
    pub(super) fn carry_out(&self, tombstone: &Tombstone) -> Verdict {
        let cause = match tombstone.cause {
            TombstoneCause::Deleted => Cause::MissedDelete,
            TombstoneCause::Expired => Cause::ExpiredStraggler,
        };
        let rule = Rule::CertainTombstone;
        let marks = self.heard.marked.iter().filter(|holder| holder.document.version == tombstone.version);
        match marks.min_by_key(|holder| (holder.document.row, holder.replica)) {
            Some(mark) => {
                let targets = targets(self.heard.live.iter().map(|holder| (holder.replica, cause)));
                Verdict { decision: Decision::Copy { winner: mark.replica, targets }, rule }
            }
            None => {
                let owner = TombstoneOwner::Received;
                self.delete(rule, cause, Some(Tombstone { owner, ..*tombstone }))
            }
        }
    }

    /// Who holds a document that was deleted and is there again, with nothing that tells the order: at the very
    /// version that came back, or, where versions are no times, at or below what was seen to go.
    pub(super) fn recreated(&self, certain: Option<&Tombstone>) -> Vec<ReplicaIndex> {
        let against = |tombstone: &Tombstone, document: &Sighting| {
            if self.is_timed() {
                tombstone.came_back
                    && tombstone.cause == TombstoneCause::Deleted
                    && self.heard.highest() == Some(tombstone.version)
                    && document.version == tombstone.version
            } else {
                stands_against(tombstone, document)
            }
        };
        let observed = self.heard.observed().map(|(_, memory)| memory).filter(|_| !self.is_timed());
        let tombstones: Vec<&Tombstone> = certain.into_iter().chain(observed).collect();
        let recreated =
            |holder: &&Holder<'_>| tombstones.iter().any(|tombstone| against(tombstone, holder.document));
        self.heard.live.iter().filter(recreated).map(|holder| holder.replica).collect()
    }

    /// Rule 4: a majority has seen the highest version go. It settles a tie too, whatever the contents: with a
    /// part of them unheard there would be no tie, and the verdict must be the same.
    pub(super) fn deleted_by_majority(&self) -> Option<Verdict> {
        let votes = self.heard.deletion_votes(self.heard.highest()?);
        self.heard
            .is_majority(votes.len())
            .then(|| self.delete(Rule::ObservedDeletion, Cause::MissedDelete, None))
    }

    /// Rule 4: the winner was seen to go on some replicas. A majority settles it, of those that saw it go or of
    /// those that have the key by a client's doing; else the policy, once everybody was heard.
    pub(super) fn observed_deletions(&self, Chosen { holder, .. }: Chosen<'a>) -> Option<Verdict> {
        let heard = &self.heard;
        let votes = heard.deletion_votes(holder.document.version);
        if votes.is_empty() {
            return None;
        }
        if let Some(verdict) = self.deleted_by_majority() {
            return Some(verdict);
        }
        let settled = if heard.is_majority(heard.live_votes()) {
            ObservedDeletes::Restore
        } else if heard.all() {
            self.policy.observed_deletes
        } else {
            ObservedDeletes::Hold
        };
        Some(match settled {
            ObservedDeletes::Delete => self.delete(Rule::ObservedDeletion, Cause::MissedDelete, None),
            ObservedDeletes::Restore => self.copy(Rule::ObservedDeletion, holder),
            ObservedDeletes::Hold => self.hold(Rule::ObservedDeletion, HoldReason::ObservedDelete, votes),
        })
    }
}

/// Whether a document may be what was deleted, where versions are no times: a counter starts again with a new
/// document. A document above the tombstone is newer than what was deleted, and an expiry says nothing about its
/// own version renewed.
pub(super) fn stands_against(tombstone: &Tombstone, document: &Sighting) -> bool {
    match tombstone.cause {
        TombstoneCause::Deleted => document.version <= tombstone.version,
        TombstoneCause::Expired => document.version < tombstone.version,
    }
}
