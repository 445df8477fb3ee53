//! Rules 1, 2, 3 and 5, as far as they are about documents: which one wins, whether it has expired, and who gets
//! it.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::Case;
use super::decision::{Decision, HoldReason, Rule, Verdict};
use super::heard::Holder;
use super::policy::Ties;
use super::standing::targets;
use crate::{
    Cause, Certainty, ContentDigest, ReplicaIndex, Sighting, Tombstone, TombstoneCause, TombstoneOwner,
    Version,
};

/// A document that wins, and by which rule.
#[derive(Clone, Copy)]
pub(super) struct Chosen<'a> {
    pub(super) rule: Rule,
    pub(super) holder: Holder<'a>,
}

impl<'a> Case<'a> {
    /// Rules 1 and 2: the highest version, of its contents the one with a majority, of that the latest expiry;
    /// or why none wins. Somebody is live: rule 0 has dealt with the rest.
    pub(super) fn chosen(&self) -> Result<Chosen<'a>, Verdict> {
        let highest = self.heard.highest().unwrap_or_default();
        let candidates = self.heard.holders_of(highest);
        let contents: BTreeMap<ContentDigest, usize> = (candidates.iter())
            .map(|holder| holder.document.content)
            .map(|content| (content, self.heard.content_votes(highest, content)))
            .collect();
        // Where all have expired, rule 3 decides the same whichever of several contents wins.
        let expired = candidates.iter().filter(|holder| holder.document.expired_at(self.moment.now)).count();
        let disputed = contents.len() > 1 && expired < candidates.len();
        let majority = self.majority_content(&contents).filter(|_| expired == 0);
        if disputed && majority.is_none() {
            return Err(self.tie(&candidates, &contents));
        }
        let wins = |holder: &&Holder<'_>| !disputed || majority == Some(holder.document.content);
        // Stored bytes differ where fields are ignored; the choice must not depend on the order of replicas.
        let latest_first = |holder: &&Holder<'_>| {
            let expiry = holder.document.expiry;
            (Reverse((expiry.is_none(), expiry)), holder.document.row, holder.replica)
        };
        let holder = candidates.iter().filter(wins).min_by_key(latest_first);
        let holder = *holder.expect("the highest version has a holder, and so has a majority's content");
        let rule = if contents.len() > 1 {
            Rule::Tie
        } else if candidates.iter().any(|other| !other.document.same_document(holder.document)) {
            Rule::LaterExpiry
        } else if candidates.len() == self.heard.live.len() {
            Rule::MissedInsert
        } else {
            Rule::HighestVersion
        };
        Ok(Chosen { rule, holder })
    }

    /// Rule 2: the content that settles a tie. Where versions are no times, the memory of a replica that was not
    /// heard could hold the key, so that all must have been heard.
    fn majority_content(&self, contents: &BTreeMap<ContentDigest, usize>) -> Option<ContentDigest> {
        let may_settle = self.policy.ties == Ties::Majority && (self.is_timed() || self.heard.all());
        let majority = contents.iter().find(|(_, votes)| self.heard.is_majority(**votes));
        majority.filter(|_| may_settle).map(|(content, _)| *content)
    }

    /// Rule 2: nothing settles the tie. The minority stands out, if there is one.
    fn tie(&self, candidates: &[Holder<'_>], contents: &BTreeMap<ContentDigest, usize>) -> Verdict {
        let most = contents.values().copied().max().unwrap_or(0);
        let leading: Vec<&ContentDigest> =
            contents.iter().filter(|(_, votes)| **votes == most).map(|(content, _)| content).collect();
        let minority = candidates.iter().filter(|holder| leading != [&holder.document.content]);
        let minority: Vec<ReplicaIndex> =
            if leading.len() == 1 { minority.map(|holder| holder.replica).collect() } else { Vec::new() };
        self.hold(Rule::Tie, HoldReason::Tie, minority)
    }

    /// Rule 3: an expired winner is deleted everywhere. Until it has expired by every clock, it is neither copied
    /// nor deleted.
    pub(super) fn expired(&self, Chosen { holder, .. }: Chosen<'_>) -> Option<Verdict> {
        if holder.document.expired_at(self.moment.certainly_past()) {
            return Some(self.expire(holder.document.version));
        }
        let verdict = Verdict { decision: Decision::Wait, rule: Rule::Expired };
        holder.document.expired_at(self.moment.now).then_some(verdict)
    }

    /// Rule 3: all live documents go, and none at or below `version` comes back.
    pub(super) fn expire(&self, version: Version) -> Verdict {
        let remember = Tombstone {
            version,
            cause: TombstoneCause::Expired,
            at: self.moment.now,
            certainty: Certainty::Certain,
            owner: TombstoneOwner::Received,
            came_back: false,
        };
        self.delete(Rule::Expired, Cause::ExpiredStraggler, Some(remember))
    }

    /// Deletes every live document.
    pub(super) fn delete(&self, rule: Rule, cause: Cause, remember: Option<Tombstone>) -> Verdict {
        let targets = targets(self.heard.live.iter().map(|holder| (holder.replica, cause)));
        Verdict { decision: Decision::Delete { targets, remember }, rule }
    }

    /// Copies a live document to every heard replica that does not have it: rule 5 for those that are absent.
    pub(super) fn copy(&self, rule: Rule, winner: Holder<'_>) -> Verdict {
        let lost = self.heard.deletion_votes(winner.document.version);
        let absent = self.heard.absent.iter().map(|replica| {
            // What had the row and lost it may also have deleted it.
            let cause = if lost.contains(replica) { Cause::Unknown } else { Cause::MissedInsert };
            (*replica, cause)
        });
        let other = |holder: &&Holder<'_>| !holder.document.same_document(winner.document);
        let live = self.heard.live.iter().filter(other);
        let live = live.map(|holder| (holder.replica, cause_of_difference(holder.document, winner.document)));
        let marked = self.heard.marked.iter().map(|holder| {
            let behind = holder.document.version < winner.document.version;
            (holder.replica, if behind { Cause::MissedUpdate } else { Cause::Unknown })
        });
        let targets = targets(absent.chain(live).chain(marked));
        Verdict { decision: Decision::Copy { winner: winner.replica, targets }, rule }
    }
}

fn cause_of_difference(loser: &Sighting, winner: &Sighting) -> Cause {
    if loser.version > winner.version {
        Cause::Unknown
    } else if loser.version < winner.version || loser.content == winner.content {
        Cause::MissedUpdate
    } else {
        Cause::SilentChange
    }
}
