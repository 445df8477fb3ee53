//! This agent as a voter: the fences that it recorded, the claims that it granted, the slots that are completed.
//!
//! Fences are durable and are what safety rests on. Grants are kept in memory: they are a courtesy between agents
//! that come and go, so that no shard is exchanged by two of them at a time.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use selfsame_core::{AgentName, CollectionName, Epoch, RunId, ShardId};
use selfsame_journal::{Completion, EpochRecorded, Journal, JournalError};
use selfsame_wire::message::{Ballot, BallotRequest, BallotStep, CompleteRequest};
use tokio::time::Instant;

use crate::blocking::blocking;
use crate::membership::Membership;
use crate::record::{completed_as, is_first_pass_over};

/// A claim keeps others away for so long after the last request of its run, and for `settle` longer if its agent is
/// live: between the two reads of a confirm nothing is asked.
const IDLE_FOR: Duration = Duration::from_secs(5);

/// Runs whose last request is remembered.
const RUNS_KEPT: usize = 1_024;

/// A shard of a collection.
type Place = (CollectionName, ShardId);

/// What a voter must know of a collection.
#[derive(Clone, Debug)]
pub struct Ward {
    /// Which replicas it has: see [`crate::record::members`].
    pub members: String,
    /// The pause between the two reads of a confirm.
    pub settle: Duration,
}

/// A claim that was granted.
struct Grant {
    epoch: Epoch,
    run: RunId,
}

#[derive(Default)]
struct Grants {
    /// By shard, until they are completed or released.
    held: HashMap<Place, Grant>,
    /// When the share of an agent in a run last asked for something.
    worked: HashMap<(RunId, AgentName), Instant>,
}

/// A voter.
pub(super) struct Voter {
    journal: Arc<Journal>,
    wards: HashMap<CollectionName, Ward>,
    /// Who is live; not known before the agent is connected.
    membership: OnceLock<Arc<Membership>>,
    /// One request at a time: a vote rests on what was granted before it.
    voting: tokio::sync::Mutex<()>,
    grants: Mutex<Grants>,
    /// The highest epoch that was recorded of each shard, so that not every request asks the journal.
    fences: Mutex<HashMap<Place, Epoch>>,
}

/// What the journal says of a shard that is claimed.
struct Known {
    completed: bool,
    first_pass_over: bool,
    highest: Option<Epoch>,
}

impl Voter {
    pub(super) fn new(journal: Arc<Journal>, wards: HashMap<CollectionName, Ward>) -> Voter {
        Voter {
            journal,
            wards,
            membership: OnceLock::new(),
            voting: tokio::sync::Mutex::default(),
            grants: Mutex::default(),
            fences: Mutex::default(),
        }
    }

    pub(super) fn connect(&self, membership: Arc<Membership>) {
        if self.membership.set(membership).is_err() {
            tracing::error!("an agent is connected once");
        }
    }

    /// Answers a claimant, one answer for each shard.
    pub(super) async fn ballot(&self, request: BallotRequest) -> Result<Vec<Ballot>, JournalError> {
        let _voting = self.voting.lock().await;
        let BallotRequest { step, collection, run, epochs, .. } = &request;
        if *step == BallotStep::Release {
            self.grants.lock().end(collection, epochs);
            return Ok(vec![Ballot::Granted { first_pass_over: false }; epochs.len()]);
        }
        let known = self.known(&request).await?;
        let mut ballots: Vec<Ballot> = {
            let answer = |((shard, epoch), known): (&(ShardId, Epoch), &Known)| match &known.highest {
                _ if known.completed => Ballot::Completed,
                _ if self.is_taken(collection, *shard, &epoch.agent) => Ballot::Taken,
                Some(highest) if highest > epoch => Ballot::Superseded(highest.clone()),
                _ => Ballot::Granted { first_pass_over: known.first_pass_over },
            };
            epochs.iter().zip(&known).map(answer).collect()
        };
        if *step == BallotStep::Ask {
            return Ok(ballots);
        }
        let is_granted = |ballot: &Ballot| matches!(ballot, Ballot::Granted { .. });
        let granted: Vec<usize> = (0..ballots.len()).filter(|index| is_granted(&ballots[*index])).collect();
        let claims: Vec<(ShardId, Epoch)> = granted.iter().map(|index| epochs[*index].clone()).collect();
        let recorded = self.raise(collection, &claims).await?;
        let mut grants = self.grants.lock();
        if let Some((_, epoch)) = claims.first() {
            grants.work(*run, &epoch.agent);
        }
        for ((index, (shard, epoch)), recorded) in granted.into_iter().zip(claims).zip(recorded) {
            match recorded {
                EpochRecorded::Granted => {
                    grants.held.insert((collection.clone(), shard), Grant { epoch, run: *run });
                }
                // A request under a higher epoch has come in since the journal was asked.
                EpochRecorded::Superseded(highest) => ballots[index] = Ballot::Superseded(highest),
            }
        }
        Ok(ballots)
    }

    async fn known(&self, request: &BallotRequest) -> Result<Vec<Known>, JournalError> {
        let (journal, collection, slot) = (self.journal.clone(), request.collection.clone(), request.slot);
        let members = self.wards.get(&collection).map(|ward| ward.members.clone()).unwrap_or_default();
        let shards: Vec<ShardId> = request.epochs.iter().map(|(shard, _)| *shard).collect();
        blocking(move || {
            let known = |shard: &ShardId| {
                let record = journal.shard_record(&collection, *shard)?;
                let record = record.as_ref();
                Ok(Known {
                    completed: record.is_some_and(|record| record.completion(slot).is_some()),
                    first_pass_over: record.is_some_and(|record| is_first_pass_over(record, &members)),
                    highest: journal.highest_epoch(&collection, *shard)?,
                })
            };
            shards.iter().map(known).collect()
        })
        .await
    }

    /// Whether another agent's claim is at work. Agents that have just come or gone do not know of each other for a
    /// moment, and would exchange a shard twice.
    fn is_taken(&self, collection: &CollectionName, shard: ShardId, claimant: &AgentName) -> bool {
        let grants = self.grants.lock();
        let Some(grant) = grants.held.get(&(collection.clone(), shard)) else { return false };
        let holder = &grant.epoch.agent;
        if holder == claimant {
            return false;
        }
        let worked = grants.worked.get(&(grant.run, holder.clone()));
        let idle = worked.map_or(Duration::MAX, Instant::elapsed);
        let live = self.membership.get().is_some_and(|membership| membership.is_live(holder));
        let settle = self.wards.get(collection).map(|ward| ward.settle).unwrap_or_default();
        idle < IDLE_FOR || (live && idle < IDLE_FOR + settle)
    }

    /// Whether these epochs are the highest, one answer for each; those that are, are recorded durably. Every request
    /// of an exchange comes by here.
    pub(super) async fn fence(
        &self,
        collection: &CollectionName,
        run: RunId,
        epochs: &[(ShardId, Epoch)],
    ) -> Result<Vec<EpochRecorded>, JournalError> {
        if let Some((_, epoch)) = epochs.first() {
            self.grants.lock().work(run, &epoch.agent);
        }
        self.raise(collection, epochs).await
    }

    async fn raise(
        &self,
        collection: &CollectionName,
        epochs: &[(ShardId, Epoch)],
    ) -> Result<Vec<EpochRecorded>, JournalError> {
        if epochs.is_empty() || self.are_recorded(collection, epochs) {
            return Ok(vec![EpochRecorded::Granted; epochs.len()]);
        }
        let (journal, name, asked) = (self.journal.clone(), collection.clone(), epochs.to_vec());
        let recorded = blocking(move || journal.record_epochs(&name, &asked)).await?;
        let mut fences = self.fences.lock();
        for ((shard, epoch), _) in
            epochs.iter().zip(&recorded).filter(|(_, recorded)| **recorded == EpochRecorded::Granted)
        {
            let highest = fences.entry((collection.clone(), *shard)).or_insert_with(|| epoch.clone());
            if *highest < *epoch {
                *highest = epoch.clone();
            }
        }
        Ok(recorded)
    }

    fn are_recorded(&self, collection: &CollectionName, epochs: &[(ShardId, Epoch)]) -> bool {
        let fences = self.fences.lock();
        epochs.iter().all(|(shard, epoch)| fences.get(&(collection.clone(), *shard)) == Some(epoch))
    }

    /// Records that slots are completed; their claims are over.
    pub(super) async fn complete(&self, request: CompleteRequest) -> Result<(), JournalError> {
        let CompleteRequest { collection, slot, at, shards, .. } = request;
        let claims: Vec<(ShardId, Epoch)> =
            shards.iter().map(|(shard, epoch, _)| (*shard, epoch.clone())).collect();
        let members = self.wards.get(&collection).map(|ward| ward.members.clone()).unwrap_or_default();
        let (journal, name) = (self.journal.clone(), collection.clone());
        blocking(move || {
            let completion = |(shard, epoch, verdict)| {
                (shard, epoch, Completion { slot, verdict: completed_as(verdict, &members), at })
            };
            let completed: Vec<_> = shards.into_iter().map(completion).collect();
            journal.complete_slots(&name, &completed)
        })
        .await?;
        self.grants.lock().end(&collection, &claims);
        Ok(())
    }
}

impl Grants {
    fn work(&mut self, run: RunId, agent: &AgentName) {
        if self.worked.len() >= RUNS_KEPT {
            let held: HashSet<(RunId, &AgentName)> =
                self.held.values().map(|grant| (grant.run, &grant.epoch.agent)).collect();
            self.worked.retain(|(run, agent), _| held.contains(&(*run, agent)));
        }
        self.worked.insert((run, agent.clone()), Instant::now());
    }

    /// Ends these claims, and none that came after them.
    fn end(&mut self, collection: &CollectionName, claims: &[(ShardId, Epoch)]) {
        for (shard, epoch) in claims {
            let place = (collection.clone(), *shard);
            if self.held.get(&place).is_some_and(|grant| grant.epoch == *epoch) {
                self.held.remove(&place);
            }
        }
    }
}
