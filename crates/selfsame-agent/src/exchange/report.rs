//! What an exchange reports: verdicts, counts and one item for each key and replica that differed.

use std::collections::{BTreeMap, BTreeSet};

use selfsame_core::{
    Cause, Counts, DivergenceAge, EntryDigest, Epoch, HoldReason, Key, KeyDigest, NodeName, RepairId,
    RowDigest, Rule, RunId, ShardId, ShardVerdict, UnknownReason, Version, WallMicros,
};

/// The outcome of one shard's exchange.
#[derive(Clone, Debug)]
pub struct ShardReport {
    /// The shard.
    pub shard: ShardId,
    /// What is known of it now, after the repairs.
    pub verdict: ShardVerdict,
    /// Every reason for which something about it is unknown; the verdict names the first.
    pub unknown: Vec<UnknownReason>,
    /// What was counted.
    pub counts: Counts,
    /// One for each key and replica that differed.
    pub items: Vec<Item>,
    /// Why the repairs became a plan, if they did.
    pub planned: Option<PlanReason>,
    /// Holds of replicas, by node and since when, of which this shard gives no reason to go on: every configured
    /// replica gave the same root, from scans that began after all of them.
    pub equal_since: Vec<(NodeName, WallMicros)>,
    /// Certain tombstones at or below it were joined by all replicas, and may be forgotten; `None`: nothing was purged
    /// yet.
    pub horizon: Option<WallMicros>,
    /// Replicas whose word did not count: they gave no root, are held, or fell silent on the way.
    pub unheard: BTreeSet<NodeName>,
    /// Under which claim; `None` if it was not claimed, or another exchange has taken it over.
    pub epoch: Option<Epoch>,
}

impl ShardReport {
    /// The report of a shard about which nothing is known yet.
    pub fn blank(shard: ShardId) -> ShardReport {
        ShardReport {
            shard,
            verdict: ShardVerdict::Unknown(UnknownReason::NoMajority),
            unknown: Vec::new(),
            counts: Counts::default(),
            items: Vec::new(),
            planned: None,
            equal_since: Vec::new(),
            horizon: None,
            unheard: BTreeSet::new(),
            epoch: None,
        }
    }
}

/// One key on one replica that differed.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// The key.
    pub key: Key,
    /// Its digest.
    pub key_digest: KeyDigest,
    /// The replica that differs; for a held key the one whose state is in doubt, or the first that differs.
    pub node: NodeName,
    /// What is to be done there.
    pub action: Action,
    /// Why it differs.
    pub cause: Cause,
    /// The rule that decided.
    pub rule: Rule,
    /// What became of it.
    pub outcome: Outcome,
    /// The version there before; `None` for no row.
    pub version_before: Option<Version>,
    /// The version that it should have; `None` for no row, or if nobody knows.
    pub version_after: Option<Version>,
    /// The entry that it should have; `None` as for the version.
    pub entry_after: Option<EntryDigest>,
    /// The row there before.
    pub row_before: Option<RowDigest>,
    /// The repair, where one was tried.
    pub repair: Option<RepairId>,
    /// How old the divergence is; `None` for a row that cannot be read, of which nothing is known to differ.
    pub age: Option<DivergenceAge>,
    /// Bytes of the row to be written, or of the row to be deleted; 0 where nothing is to be done.
    pub bytes: u64,
}

/// What is to be done about an item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Copy the document of this node.
    CopyFrom(NodeName),
    /// Delete the row.
    Delete,
    /// Nothing.
    Nothing,
}

/// What became of an item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Waits for approval, or was a dry run.
    Planned,
    /// Written, and read back as written.
    Repaired,
    /// Was already as it should be when the repair arrived.
    AlreadyThere,
    /// A client came between; nothing was written.
    Changed,
    /// Moved between the reads; left alone.
    Moving,
    /// Waits for a person.
    Held(HoldReason),
    /// The replica's row has no single meaning.
    Unreadable,
    /// The store or its agent would not take the repair.
    Refused(String),
    /// The agent did not answer: whether it was written is not known.
    Unanswered(String),
    /// Written, but it does not read back as the winner's document.
    Incomparable,
}

impl Outcome {
    /// Whether the key still differs, as far as is known.
    pub fn still_differs(&self) -> bool {
        match self {
            Outcome::Planned
            | Outcome::Held(_)
            | Outcome::Refused(_)
            | Outcome::Unanswered(_)
            | Outcome::Incomparable => true,
            Outcome::Repaired
            | Outcome::AlreadyThere
            | Outcome::Changed
            | Outcome::Moving
            | Outcome::Unreadable => false,
        }
    }

    /// Whether a person may say yes to the item's repair: it waits, or is held though it is known what to do.
    pub fn may_be_approved(&self) -> bool {
        match self {
            Outcome::Planned => true,
            Outcome::Held(reason) => {
                matches!(reason, HoldReason::Pinned | HoldReason::Flapping | HoldReason::Incomparable)
            }
            _ => false,
        }
    }

    /// The name in reports.
    pub fn as_str(&self) -> &'static str {
        match self {
            Outcome::Planned => "planned",
            Outcome::Repaired => "repaired",
            Outcome::AlreadyThere => "already_there",
            Outcome::Changed => "changed",
            Outcome::Moving => "moving",
            Outcome::Held(_) => "held",
            Outcome::Unreadable => "unreadable",
            Outcome::Refused(_) => "refused",
            Outcome::Unanswered(_) => "unanswered",
            Outcome::Incomparable => "incomparable",
        }
    }

    /// What more there is to say.
    pub fn detail(&self) -> &str {
        match self {
            Outcome::Held(reason) => reason.as_str(),
            Outcome::Refused(why) | Outcome::Unanswered(why) => why,
            _ => "",
        }
    }
}

/// Why repairs became a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlanReason {
    /// `--dry-run`.
    DryRun,
    /// `repair: off`.
    RepairOff,
    /// `repair: approve`.
    ApproveMode,
    /// The first pass of the collection or of a replica.
    FirstPass,
    /// More keys than `repair_share_max` of the shard.
    RepairShare,
    /// More deletes than `deletes_max`.
    Deletes,
    /// `selfsame pause`.
    Paused,
    /// It was approved, but the rows are no longer those that were approved.
    Returned,
    /// It was undone or dropped before.
    Pinned,
    /// The target's agent wrote enough to its replica within a day.
    TargetBrake,
    /// Keys that pass after pass repaired.
    Flapping,
    /// What does not read back as written.
    Incomparable,
}

impl PlanReason {
    /// The name in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            PlanReason::DryRun => "dry_run",
            PlanReason::RepairOff => "repair_off",
            PlanReason::ApproveMode => "approve_mode",
            PlanReason::FirstPass => "first_pass",
            PlanReason::RepairShare => "repair_share_max",
            PlanReason::Deletes => "deletes_max",
            PlanReason::Paused => "paused",
            PlanReason::Returned => "returned",
            PlanReason::Pinned => "pinned",
            PlanReason::TargetBrake => "target_brake",
            PlanReason::Flapping => "flapping",
            PlanReason::Incomparable => "incomparable",
        }
    }
}

/// The outcome of a run over the shards that one agent owns.
#[derive(Clone, Debug)]
pub struct PassReport {
    /// The run.
    pub run: RunId,
    /// When it began, by the owner's wall clock.
    pub started: WallMicros,
    /// The shards.
    pub shards: Vec<ShardReport>,
    /// Encoded bytes of the messages exchanged, both ways.
    pub wire_bytes: u64,
}

impl PassReport {
    /// The counts of all shards.
    pub fn counts(&self) -> Counts {
        let mut sum = Counts::default();
        self.shards.iter().for_each(|shard| sum.add(&shard.counts));
        sum
    }

    /// How many shards are unknown, by the reason that their verdict names.
    pub fn unknown(&self) -> BTreeMap<UnknownReason, u64> {
        let mut unknown = BTreeMap::new();
        for shard in &self.shards {
            if let ShardVerdict::Unknown(reason) = shard.verdict {
                *unknown.entry(reason).or_insert(0) += 1;
            }
        }
        unknown
    }

    /// What is known of all shards together: a known difference first, then what is unknown.
    pub fn verdict(&self) -> ShardVerdict {
        verdict_of(self.shards.iter().map(|shard| shard.verdict))
    }
}

/// What is known of several shards together. Of none nothing is known.
pub fn verdict_of(shards: impl IntoIterator<Item = ShardVerdict>) -> ShardVerdict {
    shards
        .into_iter()
        .reduce(|left, right| match (left, right) {
            (ShardVerdict::Diverged, _) | (_, ShardVerdict::Diverged) => ShardVerdict::Diverged,
            (ShardVerdict::Unknown(reason), _) | (_, ShardVerdict::Unknown(reason)) => {
                ShardVerdict::Unknown(reason)
            }
            (ShardVerdict::InSync { as_of: left }, ShardVerdict::InSync { as_of: right }) => {
                ShardVerdict::InSync { as_of: left.min(right) }
            }
        })
        .unwrap_or(ShardVerdict::Unknown(UnknownReason::NoMajority))
}
