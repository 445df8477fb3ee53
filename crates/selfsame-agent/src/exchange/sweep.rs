//! The sweeper: what has expired on all replicas alike is deleted, where the collection wants that. It is no difference:
//! it is looked at after the repairs, and counts neither as a mismatch nor for the brakes of repairs.

use std::collections::{BTreeMap, BTreeSet};

use selfsame_core::{
    Cause, Confirmed, Decision, Key, KeyDigest, Observation, Presence, Target, TombstoneCause, UnknownReason,
};
use selfsame_wire::limits::KEYS_MAX;
use selfsame_wire::message::{Claim, ExpiredRequest};
use tokio::time::Instant;

use super::report::{Item, Outcome, ShardReport};
use super::search::Heard;
use super::{Act, Exchange, Judged, Mandate, Task, reads, went_silent};
use crate::peer::PeerError;

impl Exchange {
    /// Deletes what has expired on every replica alike. `looked_at` was judged already. What cannot be swept now is left
    /// as it is, and is no finding.
    pub(super) async fn sweep(
        &self,
        claim: &Claim,
        first: &Heard<'_>,
        asked: &[bool],
        looked_at: &[(KeyDigest, Key)],
        report: &mut ShardReport,
    ) -> Result<(), PeerError> {
        let Some(keys_max) = self.may_sweep(claim, report) else { return Ok(()) };
        let keys = match self.expired(claim, first, keys_max, looked_at).await {
            Ok(keys) => keys,
            Err(fenced @ PeerError::Fenced(_)) => return Err(fenced),
            Err(error) => {
                tracing::warn!(collection = %claim.collection, shard = %claim.shard, node = %first.member.node, %error, "nothing is swept");
                return Ok(());
            }
        };
        if keys.is_empty() {
            return Ok(());
        }
        let confirmed_at = Instant::now();
        let judged = self.confirm(claim, asked, keys).await?;
        let tasks: Vec<Task<'_>> = judged.iter().flat_map(|judged| self.sweeps(judged)).collect();
        // What a person put back on one replica stays on all.
        let pinned = tasks.iter().filter(|task| self.is_pinned(task)).map(|task| task.judged.key_digest);
        let pinned: BTreeSet<KeyDigest> = pinned.collect();
        let tasks = tasks.into_iter().filter(|task| !pinned.contains(&task.judged.key_digest)).collect();
        let mut swept = ShardReport::blank(claim.shard);
        self.repair(claim, asked, tasks, confirmed_at, &mut swept).await;
        self.take_over(claim, asked, swept, report).await;
        Ok(())
    }

    /// How many keys the sweeper may delete of a shard now, if it may: what waits for a person comes first.
    fn may_sweep(&self, claim: &Claim, report: &ShardReport) -> Option<u32> {
        let free = matches!(self.mandate, Mandate::Automatic) && !self.first_pass.contains(&claim.shard);
        self.collection.sweep_keys_max.filter(|_| free && report.planned.is_none())
    }

    /// Keys that a replica's index holds as expired: as the others do, for what differs was looked at.
    async fn expired(
        &self,
        claim: &Claim,
        heard: &Heard<'_>,
        keys_max: u32,
        looked_at: &[(KeyDigest, Key)],
    ) -> Result<Vec<(KeyDigest, Key)>, PeerError> {
        let most = u32::try_from(KEYS_MAX.min(self.collection.confirm_keys_max)).unwrap_or(u32::MAX);
        let request = ExpiredRequest {
            replica: heard.replica(claim),
            by: self.moment().certainly_past(),
            keys_max: keys_max.min(most),
        };
        let keys = heard.member.peer.expired(request).await?;
        let looked_at: BTreeSet<KeyDigest> = looked_at.iter().map(|(digest, _)| *digest).collect();
        let of_the_shard = keys.into_iter().map(|key| (self.fingerprinter.key_digest(&key), key));
        Ok(of_the_shard.filter(|(digest, _)| !looked_at.contains(digest)).collect())
    }

    /// The deletions of a key that has expired, if every configured replica holds the same document.
    fn sweeps<'a>(&self, judged: &'a Judged) -> Vec<Task<'a>> {
        let Confirmed::Stable(verdict) = &judged.confirmed else { return Vec::new() };
        let Decision::Delete { targets, remember: Some(expired) } = &verdict.decision else {
            return Vec::new();
        };
        if expired.cause != TombstoneCause::Expired || !is_alike(&judged.observations) {
            return Vec::new();
        }
        let task = |target: &Target| Task {
            judged,
            target: Target { cause: Cause::Swept, ..*target },
            act: Act::Delete(Some(expired.clone())),
            rule: verdict.rule,
        };
        targets.iter().map(task).collect()
    }

    /// Takes over what the sweeper did. A key of which no row went is as it was, and nothing is said of it. What failed may
    /// have been made all the same, and is read once more: only that tells what differs now.
    async fn take_over(&self, claim: &Claim, asked: &[bool], swept: ShardReport, report: &mut ShardReport) {
        let differing = self.differing_after(claim, asked, &swept.items, report).await;
        report.unknown.extend(swept.unknown);
        let gone = swept.items.iter().filter(|item| item.outcome == Outcome::Repaired);
        let gone: BTreeSet<KeyDigest> = gone.map(|item| item.key_digest).collect();
        let told = |item: &Item| match item.outcome.still_differs() {
            true => differing.contains(&item.key_digest),
            false => gone.contains(&item.key_digest),
        };
        for item in swept.items.into_iter().filter(told) {
            match item.outcome {
                Outcome::Repaired => report.counts.repaired += 1,
                Outcome::Changed | Outcome::Moving => report.counts.moving += 1,
                _ => {}
            }
            // It was no divergence, and has no age as such.
            report.items.push(Item { age: None, ..item });
        }
    }

    /// The keys that differ now, of those that could not be swept everywhere.
    async fn differing_after(
        &self,
        claim: &Claim,
        asked: &[bool],
        items: &[Item],
        report: &mut ShardReport,
    ) -> BTreeSet<KeyDigest> {
        let failed = || items.iter().filter(|item| item.outcome.still_differs());
        let Some(first) = failed().next() else { return BTreeSet::new() };
        let keys: BTreeMap<KeyDigest, Key> =
            failed().map(|item| (item.key_digest, item.key.clone())).collect();
        tracing::warn!(
            collection = %claim.collection, shard = %claim.shard, node = %first.node, keys = keys.len(),
            outcome = first.outcome.as_str(), why = first.outcome.detail(), "not all that has expired could be swept"
        );
        let (digests, keys): (Vec<KeyDigest>, Vec<Key>) = keys.into_iter().unzip();
        let fresh = match reads::observe(claim, &self.members, asked, &keys, false).await {
            Ok(fresh) => fresh,
            Err(error) => {
                report.unknown.push(error.reason());
                return BTreeSet::new();
            }
        };
        if fresh.iter().any(|seen| went_silent(asked, seen)) {
            report.unknown.push(UnknownReason::Unreachable);
        }
        let differ = |(_, seen): &(KeyDigest, Vec<Observation>)| !is_alike(seen) && !is_gone(seen);
        digests.into_iter().zip(fresh).filter(differ).map(|(digest, _)| digest).collect()
    }
}

fn is_gone(observations: &[Observation]) -> bool {
    observations.iter().all(|seen| seen.presence == Presence::Absent)
}

fn is_alike(observations: &[Observation]) -> bool {
    let mut documents = observations.iter().map(|seen| match &seen.presence {
        Presence::Live(document) => Some(document),
        _ => None,
    });
    let Some(Some(first)) = documents.next() else { return false };
    documents.all(|document| document.is_some_and(|document| document.same_document(first)))
}
