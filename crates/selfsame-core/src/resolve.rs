//! What is to be done about one key, from what a fresh read saw of it on every configured replica.
//!
//! A pure function of observations, policy and time. It does not depend on the order of the replicas; applying
//! its verdict makes the heard observations equal; resolving again then asks for nothing. With fewer replicas
//! heard it gives the same verdict or a hold, except that a missed insert, a higher version, a later expiry and
//! an expiry that has passed need no majority. Majorities are of the configured replicas, never of those heard.
//!
//! The rules are tried in the order of [`Rule`]. Until tombstones have rules of their own, every memory of a
//! deletion holds the key: it is neither copied nor deleted.

use std::cmp::Reverse;

use crate::{Cause, Observation, Presence, ReplicaIndex, Sighting, VersionKind, WallMicros};

/// How a collection decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Whose document wins.
    pub winner: Winner,
    /// What is done when one version has two contents.
    pub ties: Ties,
    /// What is done about a key that was seen and is gone.
    pub observed_deletes: ObservedDeletes,
    /// What versions mean.
    pub version_kind: VersionKind,
    /// A version further in the future than this many microseconds is a broken clock.
    pub clock_skew_max: i64,
}

/// Whose document wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Winner {
    /// The highest version.
    Newest,
    /// This replica's document, whatever its version.
    Prefer(ReplicaIndex),
    /// Nobody's: report only.
    Hold,
}

/// What is done when one version has two contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ties {
    /// The content that more than half of the configured replicas hold, else hold.
    Majority,
    /// Always hold.
    Hold,
}

/// What is done about a key that was seen and is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObservedDeletes {
    /// Hold it for a person.
    Hold,
}

/// The time at which a verdict is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The owner's wall clock.
    pub now: WallMicros,
    /// The measured difference between the clocks of the agents, in microseconds; not negative.
    pub skew: i64,
}

impl Moment {
    /// What expired at or before this instant has expired by every clock.
    fn certainly_past(self) -> WallMicros {
        self.now.plus(-self.skew)
    }
}

/// What is to be done, by which rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What is to be done.
    pub decision: Decision,
    /// The rule that decided.
    pub rule: Rule,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// All configured replicas were heard and are the same.
    Agree,
    /// Those heard are the same; about the others nothing is known.
    AgreeAsHeard,
    /// Copy the winner's document to the targets.
    Copy {
        /// A replica that holds the winning document.
        winner: ReplicaIndex,
        /// Who gets it, ascending.
        targets: Vec<Target>,
    },
    /// Delete the document from the targets.
    Delete {
        /// Who loses it, ascending.
        targets: Vec<Target>,
    },
    /// Come back later: the document expires right now.
    Wait,
    /// A person must decide.
    Hold(HoldReason),
}

/// A replica that differs, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// The replica.
    pub replica: ReplicaIndex,
    /// Why it differs.
    pub cause: Cause,
}

/// Why nothing is done about a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HoldReason {
    /// `winner: hold`.
    ReportOnly,
    /// A version lies too far in the future.
    ClockSkew,
    /// The preferred replica did not answer, or cannot be read.
    PreferredUnheard,
    /// The preferred replica has an older or expired document, or none, where others have one.
    PreferredBehind,
    /// One version has several contents, and none has a majority.
    Tie,
    /// A replica remembers that the key was there, or carries its deletion mark.
    ObservedDelete,
}

impl HoldReason {
    /// All reasons, for closed label sets.
    pub const ALL: [HoldReason; 6] = [
        HoldReason::ReportOnly,
        HoldReason::ClockSkew,
        HoldReason::PreferredUnheard,
        HoldReason::PreferredBehind,
        HoldReason::Tie,
        HoldReason::ObservedDelete,
    ];

    /// The name in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            HoldReason::ReportOnly => "report_only",
            HoldReason::ClockSkew => "clock_skew",
            HoldReason::PreferredUnheard => "preferred_unheard",
            HoldReason::PreferredBehind => "preferred_behind",
            HoldReason::Tie => "tie",
            HoldReason::ObservedDelete => "observed_delete",
        }
    }

    /// What an operator can do about it.
    pub fn hint(self) -> &'static str {
        match self {
            HoldReason::ReportOnly => "the policy `winner: hold` only reports",
            HoldReason::ClockSkew => "a writer's clock is ahead; mend the clock, then rewrite the document",
            HoldReason::PreferredUnheard => "bring the preferred node back",
            HoldReason::PreferredBehind => "write or delete the document on the preferred node",
            HoldReason::Tie => "write the right document again, with a new version",
            HoldReason::ObservedDelete => {
                "delete the document everywhere, or write it again to the replica that lost it"
            }
        }
    }

    /// The cause under which the difference is counted.
    pub fn cause(self) -> Cause {
        match self {
            HoldReason::ClockSkew => Cause::ClockSkew,
            HoldReason::Tie => Cause::SilentChange,
            HoldReason::ObservedDelete => Cause::Recreated,
            HoldReason::ReportOnly | HoldReason::PreferredUnheard | HoldReason::PreferredBehind => {
                Cause::Unknown
            }
        }
    }
}

/// The rule that made a decision, in the order in which they are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Rule 0: those heard are the same.
    Same,
    /// `winner: hold`.
    ReportOnly,
    /// Rule 7: a version in the future.
    FutureVersion,
    /// Rule 8: the preferred replica's document.
    Preferred,
    /// Rule 1: the highest version.
    HighestVersion,
    /// Rule 2: one version, several contents.
    Tie,
    /// Rule 2: one version and content, several expiries.
    LaterExpiry,
    /// Rule 3: the winner has expired, or is about to.
    Expired,
    /// Rule 4: a replica remembers the key.
    ObservedDeletion,
    /// Rule 5: absent without memory.
    MissedInsert,
}

impl Rule {
    /// One sentence for `explain`.
    pub fn describe(self) -> &'static str {
        match self {
            Rule::Same => "rule 0: the replicas that answered hold the same",
            Rule::ReportOnly => "winner: hold: differences are only reported",
            Rule::FutureVersion => "rule 7: a version lies further in the future than clock_skew_max",
            Rule::Preferred => "rule 8: the preferred replica's document wins",
            Rule::HighestVersion => "rule 1: the highest version wins",
            Rule::Tie => "rule 2: one version with different contents",
            Rule::LaterExpiry => "rule 2: of one document the later expiry wins",
            Rule::Expired => "rule 3: the winning document has expired",
            Rule::ObservedDeletion => "rule 4: a replica once held the key and has it no more",
            Rule::MissedInsert => "rule 5: absent without memory of the key",
        }
    }
}

/// A document that was heard, and where.
type Holder<'a> = (ReplicaIndex, &'a Sighting);

/// Decides about one key. `observations` has one for each configured replica, in the configured order.
pub fn resolve(observations: &[Observation], policy: &Policy, moment: Moment) -> Verdict {
    let heard = Heard::of(observations);
    if heard.same(moment) {
        let all = heard.count() == observations.len();
        return Verdict {
            decision: if all { Decision::Agree } else { Decision::AgreeAsHeard },
            rule: Rule::Same,
        };
    }
    if policy.winner == Winner::Hold {
        return hold(Rule::ReportOnly, HoldReason::ReportOnly);
    }
    if heard.future_version(policy, moment) {
        return hold(Rule::FutureVersion, HoldReason::ClockSkew);
    }
    let (rule, winner) = match heard.winner(observations.len(), policy, moment) {
        Ok(winner) => winner,
        Err(verdict) => return verdict,
    };
    if winner.1.expired_at(moment.now) {
        return heard.expire(winner, moment);
    }
    if heard.deletion_remembered {
        return hold(Rule::ObservedDeletion, HoldReason::ObservedDelete);
    }
    heard.copy(rule, winner)
}

fn hold(rule: Rule, reason: HoldReason) -> Verdict {
    Verdict { decision: Decision::Hold(reason), rule }
}

/// What counts: the replicas that answered readably and are not held.
struct Heard<'a> {
    holders: Vec<Holder<'a>>,
    absent: Vec<ReplicaIndex>,
    /// Whether one of the absent remembers that it held the key. A deletion mark is its own memory.
    deletion_remembered: bool,
}

impl<'a> Heard<'a> {
    fn of(observations: &'a [Observation]) -> Heard<'a> {
        let mut heard = Heard { holders: Vec::new(), absent: Vec::new(), deletion_remembered: false };
        for (index, observation) in
            observations.iter().enumerate().filter(|(_, observation)| !observation.held)
        {
            match &observation.presence {
                Presence::Live(sighting) => heard.holders.push((ReplicaIndex(index), sighting)),
                Presence::Marked(_) => {
                    heard.absent.push(ReplicaIndex(index));
                    heard.deletion_remembered = true;
                }
                Presence::Absent => {
                    heard.absent.push(ReplicaIndex(index));
                    heard.deletion_remembered |= observation.memory.is_some();
                }
                Presence::Unreadable | Presence::Unreachable => {}
            }
        }
        heard
    }

    fn count(&self) -> usize {
        self.holders.len() + self.absent.len()
    }

    fn same(&self, moment: Moment) -> bool {
        let Some((_, first)) = self.holders.first() else { return true };
        self.absent.is_empty()
            && self.holders.iter().all(|(_, sighting)| sighting.same_document(first))
            && !first.expired_at(moment.certainly_past())
    }

    fn future_version(&self, policy: &Policy, moment: Moment) -> bool {
        let latest = moment.now.plus(policy.clock_skew_max);
        policy.version_kind == VersionKind::Time
            && self.holders.iter().any(|(_, sighting)| WallMicros(sighting.version.0) > latest)
    }

    /// The document that wins. There is at least one holder: without any, all are the same.
    fn winner(
        &self,
        configured: usize,
        policy: &Policy,
        moment: Moment,
    ) -> Result<(Rule, Holder<'a>), Verdict> {
        match policy.winner {
            Winner::Prefer(preferred) => {
                self.preferred(preferred, moment).map(|winner| (Rule::Preferred, winner))
            }
            Winner::Newest | Winner::Hold => self.newest(configured, policy, moment),
        }
    }

    fn preferred(&self, preferred: ReplicaIndex, moment: Moment) -> Result<Holder<'a>, Verdict> {
        let Some(winner) = self.holders.iter().find(|(replica, _)| *replica == preferred).copied() else {
            let reason = match self.absent.contains(&preferred) {
                true => HoldReason::PreferredBehind,
                false => HoldReason::PreferredUnheard,
            };
            return Err(hold(Rule::Preferred, reason));
        };
        // Its expired document must not take a newer one, renewed elsewhere, along.
        let newer = self.holders.iter().any(|(_, sighting)| sighting.version > winner.1.version);
        if newer && winner.1.expired_at(moment.now) {
            return Err(hold(Rule::Preferred, HoldReason::PreferredBehind));
        }
        Ok(winner)
    }

    fn newest(
        &self,
        configured: usize,
        policy: &Policy,
        moment: Moment,
    ) -> Result<(Rule, Holder<'a>), Verdict> {
        let highest = self.holders.iter().map(|(_, sighting)| sighting.version).max();
        let candidates: Vec<Holder<'a>> =
            self.holders.iter().copied().filter(|(_, sighting)| Some(sighting.version) == highest).collect();
        let first = candidates[0].1;
        let unanimous = candidates.iter().all(|(_, sighting)| sighting.content == first.content);
        let chosen: Vec<Holder<'a>> = if unanimous {
            candidates.clone()
        } else {
            let expired = |(_, sighting): &Holder<'_>| sighting.expired_at(moment.now);
            let some_expired = candidates.iter().any(expired) && !candidates.iter().all(expired);
            let majority = candidates.iter().map(|(_, sighting)| sighting.content).find(|content| {
                // What a repair wrote is nobody's vote.
                let votes =
                    candidates.iter().filter(|(_, other)| other.content == *content && !other.by_repair);
                votes.count() * 2 > configured
            });
            match majority {
                Some(content) if policy.ties == Ties::Majority && !some_expired => {
                    candidates.iter().copied().filter(|(_, sighting)| sighting.content == content).collect()
                }
                _ => return Err(hold(Rule::Tie, HoldReason::Tie)),
            }
        };
        let latest_first = |(replica, sighting): &Holder<'_>| {
            (Reverse((sighting.expiry.is_none(), sighting.expiry)), *replica)
        };
        let winner = chosen.into_iter().min_by_key(latest_first).expect("a winning content has a holder");
        let rule = if !unanimous {
            Rule::Tie
        } else if candidates.iter().any(|(_, sighting)| !sighting.same_document(winner.1)) {
            Rule::LaterExpiry
        } else if self.holders.len() == candidates.len() {
            Rule::MissedInsert
        } else {
            Rule::HighestVersion
        };
        Ok((rule, winner))
    }

    fn expire(&self, winner: Holder<'a>, moment: Moment) -> Verdict {
        let decision = if winner.1.expired_at(moment.certainly_past()) {
            let target =
                |(replica, _): &Holder<'_>| Target { replica: *replica, cause: Cause::ExpiredStraggler };
            Decision::Delete { targets: self.holders.iter().map(target).collect() }
        } else {
            Decision::Wait
        };
        Verdict { decision, rule: Rule::Expired }
    }

    fn copy(&self, rule: Rule, (winner, document): Holder<'a>) -> Verdict {
        let behind = self.holders.iter().filter(|(_, sighting)| !sighting.same_document(document)).map(
            |(replica, sighting)| Target {
                replica: *replica,
                cause: cause_of_difference(sighting, document),
            },
        );
        let missing =
            self.absent.iter().map(|replica| Target { replica: *replica, cause: Cause::MissedInsert });
        let mut targets: Vec<Target> = behind.chain(missing).collect();
        targets.sort_unstable_by_key(|target| target.replica);
        Verdict { decision: Decision::Copy { winner, targets }, rule }
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

#[cfg(test)]
#[path = "resolve_tests.rs"]
mod tests;
