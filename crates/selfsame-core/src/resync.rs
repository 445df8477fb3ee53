//! What a person's `resync --as empty` makes of one key: the replica that yields takes the others' word.
//!
//! The others decide among themselves, as if the replica were not heard, and what follows for it is all that is done.
//! It proves nothing, and what it has in a higher version than the others is not taken from it.

use crate::{
    Cause, Confirmed, Decision, Moment, Observation, Policy, Presence, ReplicaIndex, Rule, Sighting, Target,
    Verdict, resolve,
};

/// Decides about one key in favour of the other replicas. `observations` has one for each configured replica, in the
/// configured order; `yielding` is the one that takes the others' word, whether it is held or not.
///
/// What it alone has is deleted there, if a majority of the others was heard and none of them has the key. What it
/// lacks, or has in an older or another content, it is given. A document of a version above every other's stands: a
/// client may have just written it. A key that the others must hold, or wait for, is left to them. The verdict names no
/// other replica as a target.
pub fn yielded(
    observations: &[Observation],
    yielding: ReplicaIndex,
    policy: &Policy,
    moment: Moment,
) -> Verdict {
    let mut others = observations.to_vec();
    if let Some(own) = others.get_mut(yielding.0) {
        own.held = true;
    }
    let verdict = resolve(&others, policy, moment);
    let Some(own) = observations.get(yielding.0) else { return verdict };
    let nothing = Verdict { decision: Decision::AgreeAsHeard, rule: Rule::Same };
    let copied = |winner: ReplicaIndex, document: &Sighting, rule| {
        let Some(cause) = cause_to_take(own, document) else { return nothing.clone() };
        let targets = vec![Target { replica: yielding, cause }];
        Verdict { decision: Decision::Copy { winner, targets }, rule }
    };
    let deleted = |remember, rule| {
        let targets = vec![Target { replica: yielding, cause: Cause::MissedDelete }];
        Verdict { decision: Decision::Delete { targets, remember }, rule }
    };
    match &verdict.decision {
        Decision::Hold { .. } | Decision::Wait => verdict,
        Decision::Agree | Decision::AgreeAsHeard => match live(&others).next() {
            Some((winner, document)) => copied(winner, document, Rule::HighestVersion),
            None if matches!(own.presence, Presence::Live(_)) && majority_of_others(&others, yielding) => {
                deleted(None, Rule::ObservedDeletion)
            }
            None => nothing,
        },
        Decision::Copy { winner, .. } => match seen(&others, *winner) {
            Some(document) => copied(*winner, document, verdict.rule),
            None => nothing,
        },
        Decision::Delete { remember, .. } => {
            // What the others decide to delete goes here too, unless it is newer than all that they know of.
            let highest = live(&others).map(|(_, document)| document.version);
            let highest = highest.chain(remember.as_ref().map(|tombstone| tombstone.version)).max();
            match &own.presence {
                Presence::Live(document) if Some(document.version) <= highest => {
                    deleted(remember.clone(), verdict.rule)
                }
                _ => nothing,
            }
        }
    }
}

/// As [`crate::confirm`], under [`yielded`]: only what stood still on every replica is decided.
pub fn confirm_yielded(
    first: &[Observation],
    second: &[Observation],
    yielding: ReplicaIndex,
    policy: &Policy,
    moment: Moment,
) -> Confirmed {
    let verdict = yielded(second, yielding, policy, moment);
    if matches!(verdict.decision, Decision::Agree | Decision::AgreeAsHeard) {
        return Confirmed::Transient;
    }
    let silent = |observation: &Observation| observation.presence == Presence::Unreachable;
    let still = |(first, second): (&Observation, &Observation)| {
        first.same_row(second) || (silent(first) && silent(second))
    };
    let stood_still = first.len() == second.len() && first.iter().zip(second).all(still);
    if stood_still { Confirmed::Stable(verdict) } else { Confirmed::Moving }
}

/// Why the replica is given this document; `None` if it has it, has a newer one, or cannot be read.
fn cause_to_take(own: &Observation, document: &Sighting) -> Option<Cause> {
    match &own.presence {
        Presence::Absent => Some(Cause::MissedInsert),
        Presence::Live(own) | Presence::Marked(own) if own.version > document.version => None,
        Presence::Live(own) if own.same_document(document) => None,
        Presence::Live(_) | Presence::Marked(_) => Some(Cause::MissedUpdate),
        Presence::Unreadable | Presence::Unreachable => None,
    }
}

fn live(observations: &[Observation]) -> impl Iterator<Item = (ReplicaIndex, &Sighting)> {
    observations.iter().enumerate().filter_map(|(index, observation)| match &observation.presence {
        Presence::Live(document) if !observation.held => Some((ReplicaIndex(index), document)),
        _ => None,
    })
}

/// What a replica holds, marked or not.
fn seen(observations: &[Observation], replica: ReplicaIndex) -> Option<&Sighting> {
    match &observations.get(replica.0)?.presence {
        Presence::Live(document) | Presence::Marked(document) => Some(document),
        Presence::Absent | Presence::Unreadable | Presence::Unreachable => None,
    }
}

/// Whether more than half of the other replicas say what they hold.
fn majority_of_others(observations: &[Observation], yielding: ReplicaIndex) -> bool {
    let says = |(index, observation): &(usize, &Observation)| {
        let told = matches!(observation.presence, Presence::Live(_) | Presence::Marked(_) | Presence::Absent);
        *index != yielding.0 && told && !observation.held
    };
    let heard = observations.iter().enumerate().filter(says).count();
    heard * 2 > observations.len().saturating_sub(1)
}

#[cfg(test)]
#[path = "resync_tests.rs"]
mod tests;
