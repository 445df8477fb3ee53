//! The owner as a claimant: an epoch for each shard that a majority of the configured voters granted.
//!
//! In rounds of steps. The first step only asks, so that a claimant that comes too late, or is alone, fences nobody out;
//! the next ones claim what a majority would grant. A claim that gets no majority is released, and tried again in another
//! round: otherwise two claimants that each hold a part of the voters would keep each other away for ever.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use selfsame_core::{AgentName, CollectionName, Epoch, RunId, ShardId, Slot, UnknownReason};
use selfsame_journal::{Journal, JournalError};
use selfsame_wire::message::{Ballot, BallotRequest, BallotStep};

use crate::blocking::blocking;
use crate::peer::Peer;

/// So many rounds at most: claims of which nobody got a majority are tried again three times. A guess.
const ROUNDS: usize = 4;

/// The steps of a round: what is superseded at the first claim is claimed once more, above.
const STEPS: [BallotStep; 3] = [BallotStep::Ask, BallotStep::Claim, BallotStep::Claim];

/// The longest pause before another round. A guess: many round trips between agents.
const PAUSE_MAX_MILLIS: u64 = 300;

/// A shard that was claimed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Claimed {
    /// The epoch that carries the exchange.
    pub(crate) epoch: Epoch,
    /// Whether a voter knows of a slot of the shard that was completed in sync between all replicas.
    pub(crate) first_pass_over: bool,
}

/// Why a shard was not claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unclaimed {
    /// Its slot is completed.
    Completed,
    /// No majority of the voters granted it; why not.
    Refused(UnknownReason),
}

/// Who claims, of whom, and for what.
pub(crate) struct Claimant<'a> {
    /// The agent that claims.
    pub(crate) name: &'a AgentName,
    /// All configured voters.
    pub(crate) voters: &'a BTreeMap<AgentName, Arc<dyn Peer>>,
    /// Those that are not asked, and why.
    pub(crate) silent: &'a BTreeMap<AgentName, UnknownReason>,
    /// The collection.
    pub(crate) collection: &'a CollectionName,
    /// The run that the claims are for.
    pub(crate) run: RunId,
    /// Its slot.
    pub(crate) slot: Slot,
    /// The claimant's journal: its epochs grow there.
    pub(crate) journal: &'a Arc<Journal>,
}

/// Shards to claim, each under a new epoch above the one beside it.
type Wanted = Vec<(ShardId, Option<Epoch>)>;

impl Claimant<'_> {
    /// Claims shards, as many as can be had.
    pub(crate) async fn claim(&self, shards: &[ShardId]) -> BTreeMap<ShardId, Result<Claimed, Unclaimed>> {
        let refused = |reason| move |shard: &ShardId| (*shard, Err(Unclaimed::Refused(reason)));
        if let Some(reason) = self.no_majority_to_ask() {
            return shards.iter().map(refused(reason)).collect();
        }
        let mut answers: BTreeMap<_, _> = shards.iter().map(refused(UnknownReason::NoMajority)).collect();
        let mut wanted: Wanted = shards.iter().map(|shard| (*shard, None)).collect();
        for round in 1..=ROUNDS {
            let split = match self.round(wanted, &mut answers).await {
                Ok(split) if split.is_empty() => break,
                Ok(split) => split,
                Err(error) => {
                    tracing::error!(%error, "no epoch: the journal does not answer");
                    break;
                }
            };
            let claims = split.len();
            tracing::debug!(collection = %self.collection, run = %self.run, round, claims, "votes were split");
            if round == ROUNDS {
                break;
            }
            tokio::time::sleep(self.pause(&split)).await;
            wanted = split.into_iter().map(|(shard, epoch)| (shard, Some(epoch))).collect();
        }
        answers
    }

    /// Asks, claims, and gives back the claims of which each claimant got too few. All that were made in vain are
    /// released, however the round ends.
    async fn round(
        &self,
        wanted: Wanted,
        answers: &mut BTreeMap<ShardId, Result<Claimed, Unclaimed>>,
    ) -> Result<Vec<(ShardId, Epoch)>, JournalError> {
        let mut in_vain = Vec::new();
        let split = self.steps(wanted, answers, &mut in_vain).await;
        self.release(in_vain).await;
        split
    }

    /// The steps of a round. `in_vain` gets the claims that were not won: some voters may have granted them.
    async fn steps(
        &self,
        mut wanted: Wanted,
        answers: &mut BTreeMap<ShardId, Result<Claimed, Unclaimed>>,
        in_vain: &mut Vec<(ShardId, Epoch)>,
    ) -> Result<Vec<(ShardId, Epoch)>, JournalError> {
        let (mut split, mut granted) = (Vec::new(), Vec::new());
        for step in STEPS {
            // What would be granted is claimed under the epoch that was asked with: nobody else has it, and if a higher
            // one was recorded meanwhile, the voters say so.
            let mut asked = std::mem::take(&mut granted);
            asked.extend(self.next_epochs(std::mem::take(&mut wanted)).await?);
            if asked.is_empty() {
                break;
            }
            let ballots = self.ballots(step, &asked).await;
            for (index, (shard, epoch)) in asked.into_iter().enumerate() {
                let votes: Vec<&Ballot> = ballots.iter().filter_map(|ballots| ballots.get(index)).collect();
                let count = self.count(&votes, epoch.clone());
                if step == BallotStep::Claim && !matches!(count, Count::Won(_)) {
                    in_vain.push((shard, epoch.clone()));
                }
                match (count, step) {
                    (Count::Completed, _) => {
                        answers.insert(shard, Err(Unclaimed::Completed));
                    }
                    (Count::Won(claimed), BallotStep::Claim) => {
                        answers.insert(shard, Ok(claimed));
                    }
                    (Count::Won(_), _) => granted.push((shard, epoch)),
                    (Count::Again(above), _) => wanted.push((shard, Some(above))),
                    (Count::Lost, BallotStep::Claim) => split.push((shard, epoch)),
                    // Somebody else is at work, or too few are there: no claim of ours is in the way.
                    (Count::Lost, _) => {}
                }
            }
        }
        Ok(split)
    }

    /// How long to wait after a split: another time for each claimant, so that one of them comes first.
    fn pause(&self, split: &[(ShardId, Epoch)]) -> Duration {
        let counters = split.iter().map(|(_, epoch)| epoch.counter).max();
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one((self.name.as_str(), counters));
        Duration::from_millis(hash % PAUSE_MAX_MILLIS)
    }

    /// Ends claims that come to nothing, at all voters.
    pub(crate) async fn release(&self, claims: Vec<(ShardId, Epoch)>) {
        if !claims.is_empty() {
            self.ballots(BallotStep::Release, &claims).await;
        }
    }

    /// Why no majority can be had at all, if so: too many voters are silent, or disagree.
    fn no_majority_to_ask(&self) -> Option<UnknownReason> {
        if (self.voters.len() - self.silent.len()) * 2 > self.voters.len() {
            return None;
        }
        let disagrees =
            |reason: &&UnknownReason| matches!(reason, UnknownReason::Config | UnknownReason::Clock);
        Some(self.silent.values().find(disagrees).copied().unwrap_or(UnknownReason::NoMajority))
    }

    fn count(&self, votes: &[&Ballot], epoch: Epoch) -> Count {
        let (mut granted, mut first_pass_over, mut above) = (0, false, Vec::new());
        for vote in votes {
            match vote {
                Ballot::Completed => return Count::Completed,
                Ballot::Granted { first_pass_over: over } => {
                    granted += 1;
                    // A completion lies with a majority, of which one at least is in this one.
                    first_pass_over |= over;
                }
                Ballot::Superseded(epoch) => above.push(epoch),
                Ballot::Taken => {}
            }
        }
        let majority = |votes: usize| votes * 2 > self.voters.len();
        match above.iter().max() {
            _ if majority(granted) => Count::Won(Claimed { epoch, first_pass_over }),
            Some(highest) if majority(granted + above.len()) => Count::Again((*highest).clone()),
            _ => Count::Lost,
        }
    }

    /// New epochs, in one sync; none if no shard is wanted.
    async fn next_epochs(&self, wanted: Wanted) -> Result<Vec<(ShardId, Epoch)>, JournalError> {
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let (journal, collection) = (self.journal.clone(), self.collection.clone());
        let name = self.name.clone();
        blocking(move || journal.next_epochs(&collection, &wanted, &name)).await
    }

    /// The answers of the voters that gave one.
    async fn ballots(&self, step: BallotStep, claims: &[(ShardId, Epoch)]) -> Vec<Vec<Ballot>> {
        let asked = self.voters.iter().filter(|(name, _)| !self.silent.contains_key(*name));
        let replies = join_all(asked.map(|(name, voter)| async move {
            let request = BallotRequest {
                step,
                collection: self.collection.clone(),
                run: self.run,
                slot: self.slot,
                epochs: claims.to_vec(),
            };
            let reply = voter.ballot(request).await;
            reply.inspect_err(|error| tracing::warn!(agent = %name, %error, "no vote"))
        }))
        .await;
        replies.into_iter().flatten().collect()
    }
}

/// What the votes on one shard come to.
enum Count {
    Completed,
    /// A majority granted.
    Won(Claimed),
    /// A majority would, above this epoch.
    Again(Epoch),
    Lost,
}
