//! Rule 8: the preferred replica's document wins, or the key is held.

use super::Case;
use super::decision::{Decision, HoldReason, Rule, Verdict};
use super::deletions::stands_against;
use super::documents::Chosen;
use super::heard::Holder;
use super::policy::{ObservedDeletes, Winner};
use crate::{Cause, ReplicaIndex, Tombstone, Version};

impl Case<'_> {
    /// Rule 8, under `winner: prefer`.
    pub(super) fn preferred(&self) -> Option<Verdict> {
        let Winner::Prefer(preferred) = self.policy.winner else { return None };
        let heard = &self.heard;
        let marked = heard.marked.iter().any(|holder| holder.replica == preferred);
        let live = heard.live_at(preferred);
        if live.is_none() && !marked && !heard.absent.contains(&preferred) {
            return Some(self.hold(Rule::Preferred, HoldReason::PreferredUnheard, [preferred]));
        }
        if heard.all_expired_at(self.moment.certainly_past()) {
            return heard.highest().map(|highest| self.expire(highest));
        }
        let certain = heard.certain();
        Some(match live {
            Some(document) => self.prefer_document(document, certain.as_ref()),
            None => self.prefer_absence(preferred, marked, certain.as_ref()),
        })
    }

    /// Its document wins, whatever its version. A certain tombstone above it holds; where versions are no times,
    /// any that may be meant for it.
    fn prefer_document(&self, preferred: Holder<'_>, certain: Option<&Tombstone>) -> Verdict {
        let document = preferred.document;
        let above = |tombstone: &Tombstone| match self.is_timed() {
            true => tombstone.version > document.version,
            false => stands_against(tombstone, document),
        };
        if certain.is_some_and(above) {
            return self.hold(Rule::Preferred, HoldReason::Recreated, [preferred.replica]);
        }
        let chosen = Chosen { rule: Rule::Preferred, holder: preferred };
        match self.expired(chosen) {
            Some(wait) if wait.decision == Decision::Wait => wait,
            // It must not take along what is newer, or renewed elsewhere.
            Some(_) if self.outlives(document.version) => self.prefer_behind(preferred.replica),
            Some(expired) => expired,
            None => self.copy(Rule::Preferred, preferred),
        }
    }

    /// Whether a live document is above this version, or at it and has not expired by every clock.
    fn outlives(&self, version: Version) -> bool {
        let past = self.moment.certainly_past();
        self.heard.live.iter().any(|holder| {
            let other = holder.document;
            other.version > version || (other.version == version && !other.expired_at(past))
        })
    }

    /// It has no document. A certain tombstone decides as in rule 1; without one, `observed_deletes` does, once
    /// everybody was heard. A deletion below the others' version is held.
    fn prefer_absence(&self, preferred: ReplicaIndex, marked: bool, certain: Option<&Tombstone>) -> Verdict {
        if let Some(tombstone) = certain.filter(|tombstone| self.is_dominated_by(tombstone)) {
            return self.carry_out(tombstone);
        }
        let recreated = self.recreated(certain);
        if !recreated.is_empty() {
            return self.hold(Rule::Preferred, HoldReason::Recreated, recreated);
        }
        if marked || !self.heard.all() {
            return self.prefer_behind(preferred);
        }
        match self.policy.observed_deletes {
            ObservedDeletes::Delete if self.is_timed() => {
                self.delete(Rule::Preferred, Cause::MissedDelete, None)
            }
            ObservedDeletes::Restore => match self.chosen() {
                Ok(chosen) => {
                    self.expired(chosen).unwrap_or_else(|| self.copy(Rule::Preferred, chosen.holder))
                }
                Err(verdict) => verdict,
            },
            ObservedDeletes::Hold | ObservedDeletes::Delete => self.prefer_behind(preferred),
        }
    }

    fn prefer_behind(&self, preferred: ReplicaIndex) -> Verdict {
        self.hold(Rule::Preferred, HoldReason::PreferredBehind, [preferred])
    }
}
