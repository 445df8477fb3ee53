//! Carrying out verdicts: fetch from the winner, apply at the target under the condition of what confirm saw,
//! read back.

use std::collections::{BTreeMap, BTreeSet};

use selfsame_core::{
    Confirmed, Decision, DivergenceAge, HoldReason, Key, Observation, Presence, RepairId, ReplicaIndex, Row,
    RowDigest, Sighting, Tombstone, UnknownReason,
};
use selfsame_wire::message::{ApplyItem, ApplyOutcome, ApplyRequest, Claim, FetchRequest};
use tokio::time::Instant;

use super::report::{Outcome, PlanReason, ShardReport};
use super::{Act, Exchange, Mandate, Member, Resync, Task, reads, sighting, went_silent};
use crate::peer::PeerError;
use crate::refusal::{OtherRefusal, Refusal};

/// Repairs in one batch, and bytes of documents.
const BATCH_KEYS_MAX: usize = 500;
const BATCH_BYTES_MAX: usize = 16 << 20;

/// Why repairs that were tried became a plan; where there are several reasons, the first is named.
const REASONS: [PlanReason; 5] = [
    PlanReason::Returned,
    PlanReason::TargetBrake,
    PlanReason::Pinned,
    PlanReason::Flapping,
    PlanReason::Incomparable,
];

/// The id of a repair: derived from what it does, so that a second delivery has the same.
pub(super) fn repair_id(claim: &Claim, node: &selfsame_core::NodeName, task: &Task<'_>) -> RepairId {
    let row =
        |replica: ReplicaIndex| sighting(&task.judged.observations[replica.0]).map(|sighting| sighting.row);
    RepairId::of(
        claim.run,
        node,
        task.judged.key_digest,
        row(task.target.replica),
        task.winner().and_then(row),
    )
}

/// What became of a task so far.
struct Done<'a> {
    task: Task<'a>,
    outcome: Outcome,
}

impl Exchange {
    /// Repairs batch by batch and verifies at the end.
    pub(super) async fn repair(
        &self,
        claim: &Claim,
        asked: &[bool],
        tasks: Vec<Task<'_>>,
        confirmed_at: Instant,
        report: &mut ShardReport,
    ) {
        let mut done: Vec<Done<'_>> = Vec::with_capacity(tasks.len());
        let tasks = self.remembered(claim, asked, tasks, &mut done).await;
        let mut by_target: BTreeMap<ReplicaIndex, Vec<Task<'_>>> = BTreeMap::new();
        for task in tasks {
            match self.not_approved(claim, &task) {
                Some(outcome) => done.push(Done { task, outcome }),
                None => by_target.entry(task.target.replica).or_default().push(task),
            }
        }
        for (target, mut tasks) in by_target {
            while !tasks.is_empty() {
                let batch: Vec<Task<'_>> = tasks.drain(..tasks.len().min(BATCH_KEYS_MAX)).collect();
                let (batch, unheard) =
                    self.still_confirmed(claim, asked, batch, confirmed_at, &mut done).await;
                report.unknown.extend(unheard);
                self.apply_batch(claim, target, batch, report, &mut done).await;
            }
        }
        if !self.verify(claim, asked, &mut done).await {
            report.unknown.push(UnknownReason::Unreachable);
        }
        self.report(claim, done, report);
    }

    fn report(&self, claim: &Claim, done: Vec<Done<'_>>, report: &mut ShardReport) {
        let now = self.clock.now();
        let (mut held, mut reasons) = (BTreeSet::new(), Vec::new());
        for Done { task, outcome } in done {
            match outcome {
                Outcome::Repaired => report.counts.repaired += 1,
                Outcome::Changed | Outcome::Moving => report.counts.moving += 1,
                Outcome::Held(_) => drop(held.insert(task.judged.key_digest)),
                _ => {}
            }
            reasons.extend(self.plan_reason(&outcome));
            let mut item = self.item(claim, &task, outcome);
            if item.outcome == Outcome::Repaired {
                item.age = item.age.map(|age| DivergenceAge { repaired: Some(now), ..age });
            }
            report.items.push(item);
        }
        report.counts.held += held.len() as u64;
        // What was set aside before anything was tried waits too.
        reasons.extend(report.planned);
        report.planned = REASONS.into_iter().find(|reason| reasons.contains(reason)).or(report.planned);
    }

    /// Why a repair that was not made waits for a person, if it does.
    fn plan_reason(&self, outcome: &Outcome) -> Option<PlanReason> {
        match outcome {
            Outcome::Planned if matches!(self.mandate, Mandate::Approved(_)) => Some(PlanReason::Returned),
            Outcome::Planned => Some(PlanReason::TargetBrake),
            Outcome::Held(HoldReason::Pinned) => Some(PlanReason::Pinned),
            Outcome::Held(HoldReason::Flapping) => Some(PlanReason::Flapping),
            Outcome::Held(HoldReason::Incomparable) => Some(PlanReason::Incomparable),
            _ => None,
        }
    }

    /// What a deletion rests on is remembered by every replica that is heard before any row goes; what is not, is
    /// left.
    async fn remembered<'a>(
        &self,
        claim: &Claim,
        asked: &[bool],
        tasks: Vec<Task<'a>>,
        done: &mut Vec<Done<'a>>,
    ) -> Vec<Task<'a>> {
        let memory = |task: &Task<'_>| match &task.act {
            Act::Delete(Some(tombstone)) if self.not_approved(claim, task).is_none() => {
                Some((task.judged.key.clone(), tombstone.clone()))
            }
            Act::Delete(_) | Act::Copy(_) => None,
        };
        let memories: Vec<(Key, Tombstone)> = tasks.iter().filter_map(memory).collect();
        if memories.is_empty() {
            return tasks;
        }
        let Err(error) = self.remember(claim, asked, &memories).await else { return tasks };
        let (rests, free): (Vec<Task<'a>>, Vec<Task<'a>>) =
            tasks.into_iter().partition(|task| memory(task).is_some());
        let why = format!("not deleted, for it is not remembered everywhere: {error}");
        done.extend(rests.into_iter().map(|task| Done { task, outcome: Outcome::Unanswered(why.clone()) }));
        free
    }

    /// Under an approval, only what was approved: a key whose fresh verdict differs returns to the plan. What a resync
    /// did not announce, clients have written since: it is left for the next pass.
    pub(super) fn not_approved(&self, claim: &Claim, task: &Task<'_>) -> Option<Outcome> {
        let (approval, otherwise) = match &self.mandate {
            Mandate::Approved(approval) => (approval, Outcome::Planned),
            Mandate::Resync(Resync { approved: Some(approval), .. }) => (approval, Outcome::Moving),
            Mandate::Automatic | Mandate::Plan(_) | Mandate::Resync(_) => return None,
        };
        let node = &self.members[task.target.replica.0].node;
        let of_the_plan = Claim { run: approval.run, ..claim.clone() };
        (!approval.repairs.contains(&repair_id(&of_the_plan, node, task))).then_some(otherwise)
    }

    /// A batch that starts later than `apply_within` after its confirm is read once more; what moved, or is judged
    /// otherwise by now, is left. Gives also why not all of it was read, if it was not.
    async fn still_confirmed<'a>(
        &self,
        claim: &Claim,
        asked: &[bool],
        batch: Vec<Task<'a>>,
        confirmed_at: Instant,
        done: &mut Vec<Done<'a>>,
    ) -> (Vec<Task<'a>>, Option<UnknownReason>) {
        if confirmed_at.elapsed() <= self.collection.apply_within {
            return (batch, None);
        }
        let keys: Vec<Key> = batch.iter().map(|task| task.judged.key.clone()).collect();
        let fresh = match reads::observe(claim, &self.members, asked, &keys, true).await {
            Ok(fresh) => fresh,
            Err(error) => {
                // Superseded: whoever did that goes on with them.
                done.extend(batch.into_iter().map(|task| Done { task, outcome: Outcome::Moving }));
                return (Vec::new(), Some(error.reason()));
            }
        };
        let silent = fresh.iter().any(|fresh| went_silent(asked, fresh));
        let mut kept = Vec::new();
        for (task, fresh) in batch.into_iter().zip(fresh) {
            if self.is_still_due(&task, &fresh) {
                kept.push(task);
            } else {
                done.push(Done { task, outcome: Outcome::Moving });
            }
        }
        (kept, silent.then_some(UnknownReason::Unreachable))
    }

    /// Whether what is read now still asks for a task: for the copy of the very row, or the deletion, and on its target.
    /// What a replica remembers, and whether it is held, may have changed where no row has.
    fn is_still_due(&self, task: &Task<'_>, fresh: &[Observation]) -> bool {
        let before = &task.judged.observations;
        let Confirmed::Stable(now) = self.judge(before, fresh, self.moment()) else { return false };
        let row = |observations: &[Observation], replica: ReplicaIndex| {
            sighting(&observations[replica.0]).map(|sighting| sighting.row)
        };
        let targets = match (&now.decision, &task.act) {
            (Decision::Copy { winner, targets }, Act::Copy(then))
                if row(fresh, *winner) == row(before, *then) =>
            {
                targets
            }
            (Decision::Delete { targets, .. }, Act::Delete(_)) => targets,
            _ => return false,
        };
        now.rule == task.rule && targets.iter().any(|target| target.replica == task.target.replica)
    }

    async fn apply_batch<'a>(
        &self,
        claim: &Claim,
        target: ReplicaIndex,
        batch: Vec<Task<'a>>,
        report: &mut ShardReport,
        done: &mut Vec<Done<'a>>,
    ) {
        let rows = self.fetch(claim, &batch).await;
        let (mut tasks, mut items, mut bytes) = (Vec::new(), Vec::new(), 0);
        for (task, row) in batch.into_iter().zip(rows) {
            let row = match row {
                Ok(row) => row,
                Err(outcome) => {
                    done.push(Done { task, outcome });
                    continue;
                }
            };
            let size = row.as_ref().map_or(0, Row::value_bytes);
            if bytes + size > BATCH_BYTES_MAX && !items.is_empty() {
                self.deliver(claim, target, std::mem::take(&mut tasks), std::mem::take(&mut items), done)
                    .await;
                bytes = 0;
            }
            bytes += size;
            report.counts.document_bytes += size as u64;
            let node = &self.members[target.0].node;
            items.push(ApplyItem {
                repair: repair_id(claim, node, &task),
                key: task.judged.key.clone(),
                expected: sighting(&task.judged.observations[target.0]).map(|sighting| sighting.row),
                row,
                cause: task.target.cause,
            });
            tasks.push(task);
        }
        self.deliver(claim, target, tasks, items, done).await;
    }

    /// The winner's row for each task, or what becomes of the task without it.
    async fn fetch(&self, claim: &Claim, batch: &[Task<'_>]) -> Vec<Result<Option<Row>, Outcome>> {
        let mut rows: Vec<Result<Option<Row>, Outcome>> = batch.iter().map(|_| Ok(None)).collect();
        let mut by_winner: BTreeMap<ReplicaIndex, Vec<usize>> = BTreeMap::new();
        for (index, task) in batch.iter().enumerate() {
            if let Some(winner) = task.winner() {
                by_winner.entry(winner).or_default().push(index);
            }
        }
        for (winner, indexes) in by_winner {
            let member = &self.members[winner.0];
            let observed = |index: &usize| {
                let judged = batch[*index].judged;
                sighting(&judged.observations[winner.0]).map(|sighting| (judged.key.clone(), sighting.row))
            };
            let wanted: Vec<(Key, RowDigest)> = indexes.iter().filter_map(observed).collect();
            let reply = fetch_rows(claim, member, &wanted).await;
            for (position, index) in indexes.into_iter().enumerate() {
                rows[index] = match &reply {
                    Ok(fetched) => match fetched.get(position) {
                        // A document must hash to what was observed, whoever handed it out.
                        Some(Some(row)) if self.is_observed(&batch[index], winner, row) => {
                            Ok(Some(row.clone()))
                        }
                        // The winner moved on since it was read: its new state is for the next pass.
                        _ => Err(Outcome::Changed),
                    },
                    Err(error) => Err(outcome_of_error(error)),
                };
            }
        }
        rows
    }

    fn is_observed(&self, task: &Task<'_>, winner: ReplicaIndex, row: &Row) -> bool {
        let observed = sighting(&task.judged.observations[winner.0]).map(|sighting| sighting.row);
        observed == Some(self.fingerprinter.row_digest(row))
    }

    async fn deliver<'a>(
        &self,
        claim: &Claim,
        target: ReplicaIndex,
        tasks: Vec<Task<'a>>,
        items: Vec<ApplyItem>,
        done: &mut Vec<Done<'a>>,
    ) {
        if items.is_empty() {
            return;
        }
        let member = &self.members[target.0];
        let request = ApplyRequest {
            claim: claim.clone(),
            node: member.node.clone(),
            authority: self.authority(),
            items,
        };
        let reply = member.peer.apply(request).await;
        for (index, task) in tasks.into_iter().enumerate() {
            let outcome = match &reply {
                Ok(outcomes) => match outcomes.get(index) {
                    Some(ApplyOutcome::Applied) => Outcome::Repaired,
                    Some(ApplyOutcome::AlreadyThere) => Outcome::AlreadyThere,
                    Some(ApplyOutcome::Changed) => Outcome::Changed,
                    Some(ApplyOutcome::Refused(why)) => refused(why),
                    None => Outcome::Unanswered("an outcome is missing".to_owned()),
                },
                Err(error) => outcome_of_error(error),
            };
            done.push(Done { task, outcome });
        }
    }

    /// Reads back what was written, or was already there. A row that stands and is not the winner's document is
    /// incomparable; a row that a client wrote since is the client's, and fine. An insert whose source was deleted
    /// meanwhile is withdrawn: what was deleted does not come back. Inserts are looked at once more, after a delete
    /// that was on its way has reached all replicas. Says whether all replicas answered.
    async fn verify(&self, claim: &Claim, asked: &[bool], done: &mut [Done<'_>]) -> bool {
        let read_back = |done: &Done<'_>| matches!(done.outcome, Outcome::Repaired | Outcome::AlreadyThere);
        let written: Vec<usize> = (0..done.len()).filter(|index| read_back(&done[*index])).collect();
        let mut heard = self.verify_once(claim, asked, done, &written).await;
        let inserted: Vec<usize> = (written.into_iter())
            .filter(|index| done[*index].outcome == Outcome::Repaired && self.inserts(&done[*index].task))
            .collect();
        if !inserted.is_empty() {
            tokio::time::sleep(self.collection.settle).await;
            heard &= self.verify_once(claim, asked, done, &inserted).await;
        }
        heard
    }

    /// Whether a task puts a document where there was no row.
    fn inserts(&self, task: &Task<'_>) -> bool {
        let before = &task.judged.observations[task.target.replica.0].presence;
        task.winner().is_some() && *before == Presence::Absent
    }

    async fn verify_once(
        &self,
        claim: &Claim,
        asked: &[bool],
        done: &mut [Done<'_>],
        written: &[usize],
    ) -> bool {
        let keys: Vec<Key> = written.iter().map(|index| done[*index].task.judged.key.clone()).collect();
        if keys.is_empty() {
            return true;
        }
        let Ok(fresh) = reads::observe(claim, &self.members, asked, &keys, false).await else { return false };
        let heard = !fresh.iter().any(|fresh| went_silent(asked, fresh));
        for (index, fresh) in written.iter().zip(fresh) {
            let task = &done[*index].task;
            let target = task.target.replica;
            let Some(winner) = task.winner() else { continue };
            let Some(wanted) = sighting(&task.judged.observations[winner.0]) else { continue };
            let before = sighting(&task.judged.observations[target.0]).map(|sighting| sighting.row);
            let ours = |found: &&Sighting| found.by_repair || Some(found.row) == before;
            let Some(found) = sighting(&fresh[target.0]).filter(ours) else { continue };
            if self.inserts(task) && fresh[winner.0].presence == Presence::Absent {
                done[*index].outcome = self.withdraw(claim, asked, task, found.row).await;
            } else if !found.same_document(wanted) {
                done[*index].outcome = Outcome::Incomparable;
            }
        }
        heard
    }

    /// Deletes what this repair inserted, if it still stands and its source is still gone: read once more, for a target
    /// applies nothing long after its confirm.
    async fn withdraw(&self, claim: &Claim, asked: &[bool], task: &Task<'_>, row: RowDigest) -> Outcome {
        let key = std::slice::from_ref(&task.judged.key);
        let fresh = match reads::observe(claim, &self.members, asked, key, true).await {
            Ok(fresh) => fresh.into_iter().next().unwrap_or_default(),
            Err(error) => return outcome_of_error(&error),
        };
        let source = task.winner().and_then(|winner| fresh.get(winner.0));
        if source.is_none_or(|source| source.presence != Presence::Absent) {
            return Outcome::Moving;
        }
        let member = &self.members[task.target.replica.0];
        let item = ApplyItem {
            repair: RepairId::of(claim.run, &member.node, task.judged.key_digest, Some(row), None),
            key: task.judged.key.clone(),
            expected: Some(row),
            row: None,
            cause: task.target.cause,
        };
        let request = ApplyRequest {
            claim: claim.clone(),
            node: member.node.clone(),
            authority: self.authority(),
            items: vec![item],
        };
        tracing::info!(node = %member.node, key = %task.judged.key, "a copy is withdrawn: its source was deleted");
        match member.peer.apply(request).await.as_deref() {
            Ok([ApplyOutcome::Refused(why)]) => Outcome::Refused(why.clone()),
            Ok(_) => Outcome::Changed,
            Err(error) => outcome_of_error(error),
        }
    }
}

/// Fetches rows, by halves where they are too large for one answer.
async fn fetch_rows(
    claim: &Claim,
    member: &Member,
    wanted: &[(Key, RowDigest)],
) -> Result<Vec<Option<Row>>, PeerError> {
    let mut rows = Vec::with_capacity(wanted.len());
    let mut size = wanted.len().max(1);
    while rows.len() < wanted.len() {
        let chunk = &wanted[rows.len()..wanted.len().min(rows.len() + size)];
        let request = FetchRequest { claim: claim.clone(), node: member.node.clone(), rows: chunk.to_vec() };
        match member.peer.fetch(request).await {
            Ok(fetched) if fetched.len() == chunk.len() => rows.extend(fetched),
            Ok(fetched) => {
                let why = format!("{} rows for {} keys", fetched.len(), chunk.len());
                return Err(PeerError::Nonsense { agent: member.peer.name().clone(), why });
            }
            Err(PeerError::Unknown(UnknownReason::TooLarge)) if size > 1 => size = size.div_ceil(2),
            Err(error) => return Err(error),
        }
    }
    Ok(rows)
}

/// What a target that would not write says: to be planned, to be held, or its store's refusal.
fn refused(why: &str) -> Outcome {
    match why.parse() {
        Ok(Refusal::Brake(_)) => Outcome::Planned,
        Ok(Refusal::Pinned) => Outcome::Held(HoldReason::Pinned),
        Ok(Refusal::Flapping) => Outcome::Held(HoldReason::Flapping),
        Ok(Refusal::Incomparable) => Outcome::Held(HoldReason::Incomparable),
        Err(OtherRefusal) => Outcome::Refused(why.to_owned()),
    }
}

fn outcome_of_error(error: &PeerError) -> Outcome {
    match error {
        PeerError::Unreachable { .. } | PeerError::Nonsense { .. } => Outcome::Unanswered(error.to_string()),
        PeerError::Fenced(_) | PeerError::Rebuilt | PeerError::Unknown(_) | PeerError::Refused(_) => {
            Outcome::Refused(error.to_string())
        }
    }
}
