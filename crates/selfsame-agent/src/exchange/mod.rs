//! One exchange: the comparison and repair of one shard among its replicas.
//!
//! It reads top to bottom in [`Exchange::shard`]: compare roots, descend, confirm, resolve, brake, repair,
//! verify, and the verdict that follows. The claim comes before ([`crate::pass`]), the record after.

mod held;
mod ledgers;
mod pinning;
mod purge;
mod reads;
mod repairs;
pub mod report;
mod room;
mod search;
mod sweep;

use std::collections::BTreeSet;
use std::sync::Arc;

use selfsame_core::brake::{RepairBrake, RepairLoad};
use selfsame_core::{
    Confirmed, Decision, DivergenceAge, Fingerprinter, HoldReason, Key, KeyDigest, Moment, NodeName,
    Observation, Presence, ReplicaIndex, Rule, ShardId, ShardVerdict, Sighting, Target, Tombstone,
    TombstoneCause, UnknownReason, Verdict, WallMicros, began,
};
use selfsame_wire::message::{Authority, Claim, Pin, Root, Seen};
use tokio::time::Instant;

use crate::clock::Clock;
use crate::peer::{Peer, PeerError};
use crate::settings::CollectionSettings;
pub use room::Room;

use report::{Action, Item, Outcome, PlanReason, ShardReport};
use search::Heard;

/// One configured replica and the agent that its node is attached to.
#[derive(Clone)]
pub struct Member {
    /// The node.
    pub node: NodeName,
    /// Its agent.
    pub peer: Arc<dyn Peer>,
}

/// What an exchange may do with its verdicts.
#[derive(Clone, Debug)]
pub enum Mandate {
    /// Repair within the brakes.
    Automatic,
    /// Write nothing; the verdicts are a plan.
    Plan(PlanReason),
    /// Repair what a person approved, and nothing else.
    Approved(Approval),
    /// Let a replica take the others' word, as a person has ordered.
    Resync(Resync),
}

/// An order to let a replica take the others' word.
#[derive(Clone, Debug)]
pub struct Resync {
    /// The replica.
    pub replica: ReplicaIndex,
    /// What of it a person approved, and nothing else is written; `None`: only tell what there is to do.
    pub approved: Option<Approval>,
}

/// What a person approved: these repairs of these rows, and no others.
#[derive(Clone, Debug)]
pub struct Approval {
    /// The run whose plan it was.
    pub run: selfsame_core::RunId,
    /// The keys of the plan.
    pub keys: BTreeSet<Key>,
    /// Each repair by what it does.
    pub repairs: BTreeSet<selfsame_core::RepairId>,
}

/// Everything that the exchanges of one pass have in common.
pub struct Exchange {
    /// The collection.
    pub collection: Arc<CollectionSettings>,
    /// Its digests.
    pub fingerprinter: Fingerprinter,
    /// Its replicas, in the configured order.
    pub members: Vec<Member>,
    /// What may be done with the verdicts.
    pub mandate: Mandate,
    /// Shards whose first pass is not over: their verdicts are a plan.
    pub first_pass: BTreeSet<ShardId>,
    /// Wall time.
    pub clock: Arc<dyn Clock>,
    /// The greatest difference between the agents' clocks that was measured, in microseconds.
    pub skew: i64,
}

/// A key that was suspected, read twice and judged.
struct Judged {
    key: Key,
    key_digest: KeyDigest,
    observations: Vec<Observation>,
    /// Replicas that were silent in the first read.
    silent_first: Vec<ReplicaIndex>,
    /// For each replica a change of what it holds that a person does not want.
    pins: Vec<Option<Pin>>,
    confirmed: Confirmed,
    at: WallMicros,
}

/// One replica of one key that is to be repaired.
struct Task<'a> {
    judged: &'a Judged,
    target: Target,
    act: Act,
    rule: Rule,
}

/// What a repair does.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Act {
    /// Copies the document of this replica.
    Copy(ReplicaIndex),
    /// Deletes, once every replica that was heard remembers this.
    Delete(Option<Tombstone>),
}

impl Task<'_> {
    /// The replica whose document is copied.
    fn winner(&self) -> Option<ReplicaIndex> {
        match self.act {
            Act::Copy(winner) => Some(winner),
            Act::Delete(_) => None,
        }
    }
}

impl Exchange {
    /// Compares and repairs one claimed shard. `roots` has one for each member, or why there is none. What differs is
    /// looked at when there is room for it beside the pass's other shards.
    pub async fn shard(
        &self,
        claim: &Claim,
        roots: &[Result<Root, UnknownReason>],
        room: &Room,
    ) -> ShardReport {
        let superseded = Err(UnknownReason::NoMajority);
        if roots.contains(&superseded) {
            return ShardReport::blank(claim.shard);
        }
        let mut report = ShardReport { epoch: Some(claim.epoch.clone()), ..ShardReport::blank(claim.shard) };
        if let Err(error) = self.story(claim, roots, room, &mut report).await {
            tracing::warn!(collection = %claim.collection, shard = %claim.shard, %error, "exchange ended early");
            if matches!(error, PeerError::Fenced(_)) {
                // Nothing was learned under this claim; whoever has the shard now says what is known of it.
                return ShardReport::blank(claim.shard);
            }
            report.unknown.push(error.reason());
        }
        report.verdict = verdict(&report, roots);
        if !matches!(report.verdict, ShardVerdict::InSync { .. }) {
            // What still differs, or cannot be read, may be a row that was deleted elsewhere: that is not forgotten.
            report.horizon = self.purge(roots).passed;
        }
        report
    }

    async fn story(
        &self,
        claim: &Claim,
        roots: &[Result<Root, UnknownReason>],
        room: &Room,
        report: &mut ShardReport,
    ) -> Result<(), PeerError> {
        let heard = self.compare_roots(roots, report);
        self.compare_held(roots, report);
        let purge = self.purge(roots);
        let joined = self.join_ledgers(claim, &heard, purge).await;
        report.horizon = purge.horizon(joined);
        let mut asked = self.asked(roots);
        let first = heard.first().copied();
        self.note_unheard(&asked, report);
        // What was approved is looked at wherever it stands; all else that differs counts for the verdict.
        let mut keys = self.descend(claim, heard, report).await?;
        if let Mandate::Approved(approval) = &self.mandate {
            keys.extend(approval.keys.iter().map(|key| (self.fingerprinter.key_digest(key), key.clone())));
            keys.sort_unstable();
            keys.dedup();
        }
        if !keys.is_empty() {
            let _room = room.for_keys(keys.len()).await;
            self.mend(claim, &mut asked, &keys, report).await?;
        }
        if let Some(first) = first {
            self.sweep(claim, &first, &asked, &keys, report).await?;
        }
        Ok(())
    }

    /// Confirms keys that are suspected to differ, and repairs those that do, or says why not.
    async fn mend(
        &self,
        claim: &Claim,
        asked: &mut [bool],
        keys: &[(KeyDigest, Key)],
        report: &mut ShardReport,
    ) -> Result<(), PeerError> {
        // The reads of one confirm are bounded; verdicts are weighed together, whatever their number. What was
        // confirmed first is read again if its turn comes late.
        let (judged, confirmed_at) = loop {
            let mut judged = Vec::with_capacity(keys.len());
            let mut confirmed_at = None;
            for chunk in keys.chunks(self.collection.confirm_keys_max.max(1)) {
                judged.extend(self.confirm(claim, asked, chunk.to_vec()).await?);
                confirmed_at.get_or_insert_with(Instant::now);
            }
            // What these reads saw vanish may have been too much: then nothing that the replica said counts.
            if !self.leave_out(asked, judged.iter().map(|judged| &judged.observations[..])) {
                break (judged, confirmed_at.unwrap_or_else(Instant::now));
            }
            report.unknown.push(UnknownReason::Held);
            self.note_unheard(asked, report);
        };
        let tasks = self.resolve(asked, &judged, report);
        let tasks = self.set_aside_pinned(claim, tasks, report);
        if let Some(reason) = self.brake(claim.shard, &tasks, report) {
            report.planned = Some(reason);
            report.items.extend(tasks.iter().map(|task| self.item(claim, task, Outcome::Planned)));
            return Ok(());
        }
        self.repair(claim, asked, tasks, confirmed_at, report).await;
        Ok(())
    }

    /// Which replicas gave a root, and what the others' silence means.
    fn compare_roots<'a>(
        &'a self,
        roots: &[Result<Root, UnknownReason>],
        report: &mut ShardReport,
    ) -> Vec<Heard<'a>> {
        let mut heard = Vec::new();
        let oldest = self.collection.oldest_proof(self.clock.now());
        for (member, root) in self.members.iter().zip(roots) {
            match root {
                Ok(root) => {
                    if root.as_of < oldest {
                        report.unknown.push(UnknownReason::StaleIndex);
                    }
                    if root.unreadable > 0 {
                        report.unknown.push(UnknownReason::BadDocument);
                        report.counts.unreadable += root.unreadable;
                    }
                    if root.held.is_some() && self.yields(&member.node).is_none() {
                        continue;
                    }
                    report.counts.keys = report.counts.keys.max(root.count);
                    heard.push(Heard { member, root: *root });
                }
                Err(reason) => report.unknown.push(*reason),
            }
        }
        heard
    }

    /// The keys whose entries differ between the indexes: suspects, no more. A replica that fails on the way is left
    /// behind, and the others go on.
    async fn descend(
        &self,
        claim: &Claim,
        mut heard: Vec<Heard<'_>>,
        report: &mut ShardReport,
    ) -> Result<Vec<(KeyDigest, Key)>, PeerError> {
        while heard.windows(2).any(|pair| pair[0].root.hash != pair[1].root.hash) {
            let search::Failed { at, error } = match self.suspects(claim, &heard).await {
                Ok(suspects) => {
                    if suspects.is_empty() {
                        // The roots were taken a moment ago: entries may have changed since. The next pass looks again.
                        report.unknown.push(UnknownReason::Phantom);
                    }
                    return Ok(suspects);
                }
                Err(failed) => failed,
            };
            if matches!(error, PeerError::Fenced(_)) {
                return Err(error);
            }
            let node = &heard.remove(at).member.node;
            report.unheard.insert(node.clone());
            tracing::warn!(collection = %claim.collection, shard = %claim.shard, %node, %error, "the exchange goes on without a replica");
            report.unknown.push(error.reason());
        }
        Ok(Vec::new())
    }

    async fn suspects(
        &self,
        claim: &Claim,
        heard: &[Heard<'_>],
    ) -> Result<Vec<(KeyDigest, Key)>, search::Failed> {
        let prefixes = search::differing_prefixes(claim, heard).await?;
        search::keys_of(claim, heard, &prefixes, &self.fingerprinter).await
    }

    /// Two fresh reads from the stores, `settle` apart.
    async fn confirm(
        &self,
        claim: &Claim,
        asked: &[bool],
        keys: Vec<(KeyDigest, Key)>,
    ) -> Result<Vec<Judged>, PeerError> {
        let (digests, keys): (Vec<_>, Vec<_>) = keys.into_iter().unzip();
        let first = reads::observe(claim, &self.members, asked, &keys, false).await?;
        tokio::time::sleep(self.collection.settle).await;
        let second = reads::see(claim, &self.members, asked, &keys, true).await?;
        let moment = self.moment();
        let judge = |((key, key_digest), (first, seen)): ((Key, KeyDigest), (Vec<_>, Vec<Seen>))| {
            let (observations, pins): (Vec<_>, _) =
                seen.into_iter().map(|seen| (seen.observation, seen.pinned)).unzip();
            let confirmed = self.judge(&first, &observations, moment);
            let silent_first = silent(asked, &first).collect();
            Judged { key, key_digest, observations, silent_first, pins, confirmed, at: moment.now }
        };
        Ok(keys.into_iter().zip(digests).zip(first.into_iter().zip(second)).map(judge).collect())
    }

    /// Sorts the judged keys: counts what needs nothing, reports what is left alone, gives what to repair.
    fn resolve<'a>(&self, asked: &[bool], judged: &'a [Judged], report: &mut ShardReport) -> Vec<Task<'a>> {
        let mut tasks = Vec::new();
        for judged in judged {
            let mut unheard: Vec<ReplicaIndex> = silent(asked, &judged.observations).collect();
            if judged.confirmed == Confirmed::Moving {
                // Perhaps nothing moved, and only one read heard all.
                unheard.extend(&judged.silent_first);
            }
            if !unheard.is_empty() {
                report.unknown.push(UnknownReason::Unreachable);
                report.unheard.extend(unheard.iter().map(|replica| self.members[replica.0].node.clone()));
            }
            let unreadable = positions(&judged.observations, |presence| *presence == Presence::Unreadable);
            for replica in &unreadable {
                report.items.push(self.plain_item(judged, *replica, Rule::Same, Outcome::Unreadable));
            }
            if !unreadable.is_empty() {
                report.unknown.push(UnknownReason::BadDocument);
            }
            match &judged.confirmed {
                Confirmed::Transient if unreadable.is_empty() => report.counts.transient += 1,
                Confirmed::Transient => {}
                Confirmed::Moving => report.counts.moving += 1,
                Confirmed::Stable(verdict) | Confirmed::Lagging(verdict) => {
                    self.resolve_one(judged, verdict, &mut tasks, report);
                }
            }
        }
        tasks
    }

    fn resolve_one<'a>(
        &self,
        judged: &'a Judged,
        verdict: &Verdict,
        tasks: &mut Vec<Task<'a>>,
        report: &mut ShardReport,
    ) {
        let (act, targets) = match &verdict.decision {
            Decision::Agree | Decision::AgreeAsHeard => return,
            Decision::Wait => {
                report.counts.moving += 1;
                return;
            }
            Decision::Hold { reason, outliers } => {
                report.counts.mismatches += 1;
                report.counts.held += 1;
                report.items.extend(self.held_items(judged, verdict.rule, *reason, outliers));
                return;
            }
            Decision::Copy { winner, targets } => (Act::Copy(*winner), targets),
            Decision::Delete { targets, remember } => (Act::Delete(remember.clone()), targets),
        };
        report.counts.mismatches += 1;
        tasks.extend(targets.iter().map(|target| Task {
            judged,
            target: *target,
            act: act.clone(),
            rule: verdict.rule,
        }));
    }

    /// Why these repairs must wait for a person, if they must.
    fn brake(&self, shard: ShardId, tasks: &[Task<'_>], report: &ShardReport) -> Option<PlanReason> {
        match &self.mandate {
            Mandate::Approved(_) | Mandate::Resync(Resync { approved: Some(_), .. }) => return None,
            Mandate::Resync(Resync { approved: None, .. }) => {
                return (!tasks.is_empty()).then_some(PlanReason::DryRun);
            }
            Mandate::Plan(reason) => return (!tasks.is_empty()).then_some(*reason),
            Mandate::Automatic if tasks.is_empty() => return None,
            Mandate::Automatic if self.first_pass.contains(&shard) => return Some(PlanReason::FirstPass),
            Mandate::Automatic => {}
        }
        let keys: BTreeSet<KeyDigest> = tasks.iter().map(|task| task.judged.key_digest).collect();
        let deletes = tasks.iter().filter(|task| task.winner().is_none()).count() as u64;
        let load = RepairLoad { keys: report.counts.keys, repaired: keys.len() as u64, deletes };
        load.brake(self.collection.brakes.repair_limits()).map(|brake| match brake {
            RepairBrake::Share => PlanReason::RepairShare,
            RepairBrake::Deletes => PlanReason::Deletes,
        })
    }

    fn moment(&self) -> Moment {
        Moment { now: self.clock.now(), skew: self.skew }
    }

    fn authority(&self) -> Authority {
        match &self.mandate {
            Mandate::Approved(approval) => Authority::Approved(approval.run),
            Mandate::Resync(Resync { approved: Some(approval), .. }) => Authority::Approved(approval.run),
            Mandate::Automatic | Mandate::Plan(_) | Mandate::Resync(_) => Authority::Automatic,
        }
    }

    fn item(&self, claim: &Claim, task: &Task<'_>, outcome: Outcome) -> Item {
        let target = task.target.replica;
        let before = sighting(&task.judged.observations[target.0]);
        let winner = task.winner().and_then(|winner| sighting(&task.judged.observations[winner.0]));
        let node = self.members[target.0].node.clone();
        let repair = repairs::repair_id(claim, &node, task);
        Item {
            key: task.judged.key.clone(),
            key_digest: task.judged.key_digest,
            node,
            action: match task.act {
                Act::Copy(winner) => Action::CopyFrom(self.members[winner.0].node.clone()),
                Act::Delete(_) => Action::Delete,
            },
            cause: task.target.cause,
            rule: task.rule,
            outcome,
            version_before: before.map(|sighting| sighting.version),
            version_after: winner.map(|sighting| sighting.version),
            entry_after: self.entry_after(task),
            row_before: before.map(|sighting| sighting.row),
            repair: Some(repair),
            age: Some(self.age(task)),
            bytes: winner.or(before).map_or(0, |sighting| sighting.bytes),
        }
    }

    /// One item for each replica that stands out, or for the one that may as well be named.
    fn held_items(&self, judged: &Judged, rule: Rule, reason: HoldReason, outliers: &[Target]) -> Vec<Item> {
        if outliers.is_empty() {
            let replica = odd_one_out(&judged.observations, reason);
            return vec![self.plain_item(judged, replica, rule, Outcome::Held(reason))];
        }
        let item = |outlier: &Target| Item {
            cause: outlier.cause,
            ..self.plain_item(judged, outlier.replica, rule, Outcome::Held(reason))
        };
        outliers.iter().map(item).collect()
    }

    /// How old what a task repairs is, by what was read.
    fn age(&self, task: &Task<'_>) -> DivergenceAge {
        let seen = |replica: ReplicaIndex| sighting(&task.judged.observations[replica.0]);
        let versions = self.collection.policy.version_kind;
        let began = match &task.act {
            // An expiry is remembered only now, but it is the document's.
            Act::Delete(Some(deletion)) if deletion.cause == TombstoneCause::Deleted => Some(deletion.at),
            Act::Delete(_) => began(versions, None, seen(task.target.replica)),
            Act::Copy(winner) => began(versions, seen(*winner), seen(task.target.replica)),
        };
        DivergenceAge::found_at(task.judged.at, began)
    }

    /// An item about a key that nothing is done about.
    fn plain_item(&self, judged: &Judged, replica: ReplicaIndex, rule: Rule, outcome: Outcome) -> Item {
        let before = sighting(&judged.observations[replica.0]);
        let (cause, age) = match &outcome {
            Outcome::Held(reason) => (reason.cause(), Some(DivergenceAge::found_at(judged.at, None))),
            _ => (selfsame_core::Cause::Unknown, None),
        };
        Item {
            key: judged.key.clone(),
            key_digest: judged.key_digest,
            node: self.members[replica.0].node.clone(),
            action: Action::Nothing,
            cause,
            rule,
            outcome,
            version_before: before.map(|sighting| sighting.version),
            version_after: None,
            entry_after: None,
            row_before: before.map(|sighting| sighting.row),
            repair: None,
            age,
            bytes: 0,
        }
    }
}

/// The document that was seen, if one was.
pub(crate) fn sighting(observation: &Observation) -> Option<&Sighting> {
    match &observation.presence {
        Presence::Live(sighting) | Presence::Marked(sighting) => Some(sighting),
        Presence::Absent | Presence::Unreadable | Presence::Unreachable => None,
    }
}

fn positions(observations: &[Observation], matches: impl Fn(&Presence) -> bool) -> Vec<ReplicaIndex> {
    let matching = observations.iter().enumerate().filter(|(_, observation)| matches(&observation.presence));
    matching.map(|(index, _)| ReplicaIndex(index)).collect()
}

/// Whether a replica that gave its root did not answer for this key: that those heard agree says nothing of it.
fn went_silent(asked: &[bool], observations: &[Observation]) -> bool {
    silent(asked, observations).next().is_some()
}

/// The replicas that gave their roots and did not answer for this key.
fn silent(asked: &[bool], observations: &[Observation]) -> impl Iterator<Item = ReplicaIndex> {
    let silent = |index: &usize| asked[*index] && observations[*index].presence == Presence::Unreachable;
    (0..asked.len().min(observations.len())).filter(silent).map(ReplicaIndex)
}

/// The replica to name for a held key of which none stands out: one that holds what no other holds, else the first.
/// An older document is no party to a tie.
fn odd_one_out(observations: &[Observation], reason: HoldReason) -> ReplicaIndex {
    let absent = positions(observations, |presence| *presence == Presence::Absent);
    let newest = observations.iter().filter_map(sighting).map(|sighting| sighting.version).max();
    let live = positions(observations, |presence| match presence {
        Presence::Live(held) | Presence::Marked(held) => {
            reason != HoldReason::Tie || Some(held.version) == newest
        }
        Presence::Absent | Presence::Unreadable | Presence::Unreachable => false,
    });
    let holders = |replica: &ReplicaIndex| {
        let own = sighting(&observations[replica.0]);
        let same = |other: &&ReplicaIndex| match (own, sighting(&observations[other.0])) {
            (Some(own), Some(other)) => own.same_document(other),
            _ => false,
        };
        live.iter().filter(same).count()
    };
    let alone = live.iter().copied().min_by_key(|replica| (holders(replica), *replica));
    alone.or_else(|| absent.first().copied()).unwrap_or(ReplicaIndex(0))
}

/// What is known of the shard now. A known difference comes before anything unknown; a key that was left alone
/// before a silent replica; and `InSync` only if nothing speaks against it.
fn verdict(report: &ShardReport, roots: &[Result<Root, UnknownReason>]) -> ShardVerdict {
    if report.items.iter().any(|item| item.outcome.still_differs()) {
        return ShardVerdict::Diverged;
    }
    if report.counts.moving > 0 {
        return ShardVerdict::Unknown(UnknownReason::Moving);
    }
    if let Some(reason) = report.unknown.first() {
        return ShardVerdict::Unknown(*reason);
    }
    match roots.iter().flatten().map(|root| root.as_of).min() {
        Some(as_of) if roots.len() >= 2 => ShardVerdict::InSync { as_of },
        _ => ShardVerdict::Unknown(UnknownReason::Unreachable),
    }
}

fn micros(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
