//! The sweeper: what has expired on all replicas alike is deleted, where the collection wants that. It is no difference:
//! it is looked at after the repairs, and counts neither as a mismatch nor for the brakes of repairs.

use std::collections::BTreeSet;

use selfsame_core::{
    Cause, Confirmed, Decision, Key, KeyDigest, Observation, Presence, Target, TombstoneCause,
};
use selfsame_wire::limits::KEYS_MAX;
use selfsame_wire::message::{Claim, ExpiredRequest};
use tokio::time::Instant;

use super::report::{Item, Outcome, ShardReport};
use super::search::Heard;
use super::{Act, Exchange, Judged, Mandate, Task};
use crate::peer::PeerError;

impl Exchange {
    /// Deletes what has expired on every replica alike. `looked_at` was judged already. What cannot be swept now is left
    /// as it is, and is no finding.
    pub(super) async fn sweep(
        &self,
        claim: &Claim,
        first: &Heard<'_>,
        asked: &[bool],
        looked_at: &BTreeSet<KeyDigest>,
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
        take_over(swept, report);
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
        looked_at: &BTreeSet<KeyDigest>,
    ) -> Result<Vec<(KeyDigest, Key)>, PeerError> {
        let most = u32::try_from(KEYS_MAX.min(self.collection.confirm_keys_max)).unwrap_or(u32::MAX);
        let request = ExpiredRequest {
            replica: heard.replica(claim),
            by: self.moment().certainly_past(),
            keys_max: keys_max.min(most),
        };
        let keys = heard.member.peer.expired(request).await?;
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
}

fn is_alike(observations: &[Observation]) -> bool {
    let mut documents = observations.iter().map(|seen| match &seen.presence {
        Presence::Live(document) => Some(document),
        _ => None,
    });
    let Some(Some(first)) = documents.next() else { return false };
    documents.all(|document| document.is_some_and(|document| document.same_document(first)))
}

/// Takes over what the sweeper did. A key of which no row went is as it was, and nothing is said of it; one of which some
/// went, and some not, differs now.
fn take_over(swept: ShardReport, report: &mut ShardReport) {
    let gone = swept.items.iter().filter(|item| item.outcome == Outcome::Repaired);
    let gone: BTreeSet<KeyDigest> = gone.map(|item| item.key_digest).collect();
    for item in swept.items.into_iter().filter(|item| gone.contains(&item.key_digest)) {
        match item.outcome {
            Outcome::Repaired => report.counts.repaired += 1,
            Outcome::Changed | Outcome::Moving => report.counts.moving += 1,
            _ => {}
        }
        // It was no divergence, and has no age as such.
        report.items.push(Item { age: None, ..item });
    }
}
