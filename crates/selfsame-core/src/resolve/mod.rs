//! What is to be done about one key, from what a fresh read saw of it on every configured replica.
//!
//! A pure function of observations, policy and time. It does not depend on the order of the replicas; applying
//! its verdict makes the heard observations equal; resolving again then asks for nothing. With fewer replicas
//! heard it gives the same verdict or a hold, except that a missed insert, a higher version, a later expiry, an
//! expiry that has passed and a certain tombstone need no majority; what is copied meanwhile is nobody's vote.
//! Majorities are of the configured replicas, never of those heard.
//!
//! [`resolve`] tries the rules in their order. Rule 6 is how observations are read ([`heard`]); rules 0 and 7
//! stand in [`standing`], the rules about documents (2, 3, 5) in [`documents`], those about deletions (1, 4) in
//! [`deletions`], rule 8 in [`preference`].

mod decision;
mod deletions;
mod documents;
mod heard;
mod policy;
mod preference;
mod standing;

pub use decision::{Decision, HoldReason, Rule, Target, Verdict};
pub use policy::{Moment, ObservedDeletes, Policy, Ties, Winner};

use crate::Observation;
use heard::Heard;

/// Decides about one key. `observations` has one for each configured replica, in the configured order.
pub fn resolve(observations: &[Observation], policy: &Policy, moment: Moment) -> Verdict {
    let case = Case { heard: Heard::of(observations), policy, moment };
    let without_winner = case
        .same()
        .or_else(|| case.report_only())
        .or_else(|| case.future_version())
        .or_else(|| case.preferred())
        .or_else(|| case.deleted_or_recreated());
    if let Some(verdict) = without_winner {
        return verdict;
    }
    let chosen = match case.chosen() {
        Ok(chosen) => chosen,
        Err(tie) => return case.deleted_by_majority().unwrap_or(tie),
    };
    case.expired(chosen)
        .or_else(|| case.observed_deletions(chosen))
        .unwrap_or_else(|| case.copy(chosen.rule, chosen.holder))
}

/// One key to decide about.
struct Case<'a> {
    heard: Heard<'a>,
    policy: &'a Policy,
    moment: Moment,
}

#[cfg(test)]
mod tests;
