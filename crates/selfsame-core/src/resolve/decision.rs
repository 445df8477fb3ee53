//! What a verdict can say.

use crate::{Cause, ReplicaIndex, Tombstone};

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
    /// Copy the winner's document to the targets, with its deletion mark if it has one.
    Copy {
        /// A replica that holds the winning document.
        winner: ReplicaIndex,
        /// Who gets it, ascending; never empty.
        targets: Vec<Target>,
    },
    /// Delete the document from the targets.
    Delete {
        /// Who loses it, ascending; never empty.
        targets: Vec<Target>,
        /// What the ledger of every heard replica must have joined, synced, before any row is deleted. `None`
        /// leaves the ledgers as they are.
        remember: Option<Tombstone>,
    },
    /// Come back later: the document expires right now.
    Wait,
    /// A person must decide.
    Hold {
        /// Why.
        reason: HoldReason,
        /// The replicas that stand out, ascending: of several contents the minority, of a deletion those that
        /// are against the others. Empty where none stands out.
        outliers: Vec<Target>,
    },
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
    /// A replica remembers that the key was there, and no majority says what became of it.
    ObservedDelete,
    /// A deleted key is there again, and nothing tells which came last.
    Recreated,
    /// This very change was undone or dropped by a person. No rule says so: the replica's agent does.
    Pinned,
    /// Pass after pass repaired the key, and it differs again: something writes it back.
    Flapping,
    /// The winner's document does not read back as written: the store rolled it back, or it was written once, and
    /// nothing has changed since.
    Incomparable,
}

impl HoldReason {
    /// All reasons, for closed label sets.
    pub const ALL: [HoldReason; 10] = [
        HoldReason::ReportOnly,
        HoldReason::ClockSkew,
        HoldReason::PreferredUnheard,
        HoldReason::PreferredBehind,
        HoldReason::Tie,
        HoldReason::ObservedDelete,
        HoldReason::Recreated,
        HoldReason::Pinned,
        HoldReason::Flapping,
        HoldReason::Incomparable,
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
            HoldReason::Recreated => "recreated",
            HoldReason::Pinned => "pinned",
            HoldReason::Flapping => "flapping",
            HoldReason::Incomparable => "incomparable",
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
            HoldReason::Recreated => {
                "delete the document everywhere, or write it again everywhere with a new version"
            }
            HoldReason::Pinned => {
                "it was undone or dropped; a newer write of the key ends it, and so does approving its plan"
            }
            HoldReason::Flapping => {
                "find out what writes this key back on the replica; it is repaired again once a pass finds it equal, \
                 or when the plan is approved"
            }
            HoldReason::Incomparable => {
                "compare the columns, their types and the triggers of the replicas; then approve the plan: it is made \
                 once more"
            }
        }
    }

    /// The cause under which the difference is counted, where a repair that is held does not bring its own.
    pub fn cause(self) -> Cause {
        match self {
            HoldReason::ClockSkew => Cause::ClockSkew,
            HoldReason::Tie => Cause::SilentChange,
            HoldReason::Recreated => Cause::Recreated,
            HoldReason::ReportOnly
            | HoldReason::PreferredUnheard
            | HoldReason::PreferredBehind
            | HoldReason::ObservedDelete
            | HoldReason::Pinned
            | HoldReason::Flapping
            | HoldReason::Incomparable => Cause::Unknown,
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
    /// Rule 1: a certain tombstone.
    CertainTombstone,
    /// Rule 1: a document and a deletion whose order cannot be told.
    Recreated,
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
            Rule::CertainTombstone => "rule 1: it was certainly deleted, at this version or above",
            Rule::Recreated => {
                "rule 1: it was deleted and is there again, and versions do not tell the order"
            }
            Rule::HighestVersion => "rule 1: the highest version wins",
            Rule::Tie => "rule 2: one version with different contents",
            Rule::LaterExpiry => "rule 2: of one document the later expiry wins",
            Rule::Expired => "rule 3: the winning document has expired",
            Rule::ObservedDeletion => "rule 4: a replica once held the key and has it no more",
            Rule::MissedInsert => "rule 5: absent without memory of the key",
        }
    }
}
