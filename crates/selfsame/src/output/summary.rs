//! The one object that ends a run, in the form that tools read.

use std::collections::BTreeMap;
use std::time::Duration;

use selfsame_agent::exchange::report::{Action, Item, PassReport, verdict_of};
use selfsame_core::{CollectionName, Counts, DivergenceAge, ShardId, ShardVerdict, WallMicros};
use selfsame_wire::v1;
use serde::Serialize;

use super::causes::{self, CauseRow};
use super::load::Load;
use crate::client::names;

/// The version of the objects that `--output json` prints. Members may be added within a version.
pub(crate) const OUTPUT_VERSION: u32 = 1;

/// The result of a run over one collection.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Summary {
    /// [`OUTPUT_VERSION`].
    pub(crate) version: u32,
    /// The collection.
    pub(crate) collection: String,
    /// The run's id.
    pub(crate) run: String,
    /// `running`, `finished` or `abandoned`.
    pub(crate) state: &'static str,
    /// When it began, RFC 3339; nothing if nobody told.
    pub(crate) started_at: Option<String>,
    /// Whether nothing was to be written.
    pub(crate) dry_run: bool,
    /// Whether it was due; otherwise somebody asked for it.
    pub(crate) scheduled: bool,
    /// `in_sync`, `diverged` or `unknown`, after the repairs.
    pub(crate) verdict: &'static str,
    /// For `in_sync`: since when, RFC 3339.
    pub(crate) as_of: Option<String>,
    /// Shards looked at.
    pub(crate) shards: usize,
    /// How many of them are unknown, by reason.
    pub(crate) unknown: BTreeMap<&'static str, u64>,
    /// Live keys of the fullest replica.
    pub(crate) keys: u64,
    /// Keys that were confirmed to differ.
    pub(crate) mismatches: u64,
    /// Repairs written.
    pub(crate) repaired: u64,
    /// Keys that differed between indexes only.
    pub(crate) transient: u64,
    /// Keys that wait for a person.
    pub(crate) held: u64,
    /// Keys that changed while they were looked at.
    pub(crate) moving: u64,
    /// Documents without a single meaning.
    pub(crate) unreadable: u64,
    /// Why repairs became a plan, each with its number of shards.
    pub(crate) planned: BTreeMap<String, u64>,
    /// Repairs that wait for approval now, one for each key and replica; nothing if nobody told.
    pub(crate) planned_repairs: Option<u64>,
    /// What those repairs would do; left out if none waits, or nobody told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) plan: Option<Load>,
    /// Encoded bytes of the messages between agents, both ways.
    pub(crate) wire_bytes: u64,
    /// Bytes of documents that travelled.
    pub(crate) document_bytes: u64,
    /// How long it took.
    pub(crate) duration_ms: u64,
    /// Agents whose part is missing.
    pub(crate) silent: Vec<String>,
    /// In a list: whether older runs were left out of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) runs_truncated: Option<bool>,
    /// What differed, where it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) items: Option<Vec<ItemRow>>,
    /// Whether items were left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) items_truncated: Option<bool>,
    /// Why replicas differed, of all items, where they were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) causes: Option<Vec<CauseRow>>,
}

/// One key on one replica that differed.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct ItemRow {
    /// The shard.
    pub(crate) shard: u32,
    /// The key, as JSON text.
    pub(crate) key: String,
    /// The replica that differs.
    pub(crate) node: String,
    /// `copy`, `delete` or `none`.
    pub(crate) action: String,
    /// For `copy`: whose document.
    pub(crate) from: Option<String>,
    /// Why it differs.
    pub(crate) cause: String,
    /// The rule that decided, in words.
    pub(crate) rule: String,
    /// What became of it.
    pub(crate) outcome: String,
    /// What more there is to say.
    pub(crate) detail: String,
    /// The repair's id, where one was tried: the one in its origin marker.
    pub(crate) repair: Option<String>,
    /// The version there before.
    pub(crate) version_before: Option<i64>,
    /// The version that it should have.
    pub(crate) version_after: Option<i64>,
    /// Since when it differs, as far as is known, RFC 3339.
    pub(crate) since: Option<String>,
    /// When the first pass that met it confirmed it, RFC 3339.
    pub(crate) found_at: Option<String>,
    /// When it was repaired and read back, RFC 3339.
    pub(crate) repaired_at: Option<String>,
    /// How old it was when it was found.
    pub(crate) age_found_ms: Option<u64>,
    /// How old it was when it was repaired.
    pub(crate) age_repaired_ms: Option<u64>,
    /// Bytes of the row to be written, or to be deleted.
    pub(crate) bytes: u64,
}

impl Summary {
    /// Sums up the passes of all owners: of a dry run that no agent knows of.
    pub(crate) fn of(collection: &CollectionName, passes: &[PassReport], duration: Duration) -> Summary {
        let mut counts = Counts::default();
        let mut unknown = BTreeMap::new();
        let mut planned = BTreeMap::new();
        for shard in passes.iter().flat_map(|pass| &pass.shards) {
            counts.add(&shard.counts);
            if let ShardVerdict::Unknown(reason) = shard.verdict {
                *unknown.entry(reason.as_str()).or_insert(0) += 1;
            }
            if let Some(reason) = shard.planned {
                *planned.entry(reason.as_str().to_owned()).or_insert(0) += 1;
            }
        }
        let verdict = verdict_of(passes.iter().map(PassReport::verdict));
        let as_of = match verdict {
            ShardVerdict::InSync { as_of } => Some(as_of.to_string()),
            ShardVerdict::Diverged | ShardVerdict::Unknown(_) => None,
        };
        Summary {
            version: OUTPUT_VERSION,
            collection: collection.to_string(),
            run: passes.first().map(|pass| pass.run.to_string()).unwrap_or_default(),
            state: "finished",
            started_at: passes.first().map(|pass| pass.started.to_string()),
            dry_run: true,
            scheduled: false,
            verdict: verdict.as_str(),
            as_of,
            shards: passes.iter().map(|pass| pass.shards.len()).sum(),
            unknown,
            keys: counts.keys,
            mismatches: counts.mismatches,
            repaired: counts.repaired,
            transient: counts.transient,
            held: counts.held,
            moving: counts.moving,
            unreadable: counts.unreadable,
            planned,
            planned_repairs: Some(0),
            wire_bytes: passes.iter().map(|pass| pass.wire_bytes).sum(),
            document_bytes: counts.document_bytes,
            duration_ms: u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
            silent: Vec::new(),
            runs_truncated: None,
            items: None,
            items_truncated: None,
            causes: None,
            plan: None,
        }
    }

    /// The result of a run as an agent told it.
    pub(crate) fn told(run: &v1::RunSummary) -> Summary {
        let verdict = verdict_name(run.verdict());
        Summary {
            version: OUTPUT_VERSION,
            collection: run.collection.clone(),
            run: run.run.clone(),
            state: state_name(run.state()),
            started_at: Some(WallMicros(run.started_at)).filter(|at| at.0 > 0).map(|at| at.to_string()),
            dry_run: run.dry_run,
            scheduled: run.scheduled,
            verdict,
            as_of: run.as_of.filter(|_| verdict == "in_sync").map(|at| WallMicros(at).to_string()),
            shards: run.shards as usize,
            unknown: reasons(&run.unknown),
            keys: run.keys,
            mismatches: run.mismatches,
            repaired: run.repaired,
            transient: run.transient,
            held: run.held,
            moving: run.moving,
            unreadable: run.unreadable,
            planned: run
                .planned
                .iter()
                .map(|(reason, shards)| (reason.clone(), u64::from(*shards)))
                .collect(),
            planned_repairs: Some(0),
            wire_bytes: run.wire_bytes,
            document_bytes: run.document_bytes,
            duration_ms: run.duration_ms,
            silent: names(&run.silent),
            runs_truncated: None,
            items: None,
            items_truncated: None,
            causes: None,
            plan: None,
        }
    }

    /// Adds what an agent told of the run's items.
    pub(crate) fn with_shown(mut self, shown: &v1::ShowReply) -> Summary {
        self.items = Some(shown.items.iter().map(ItemRow::told).collect());
        self.items_truncated = Some(shown.truncated);
        self.causes = Some(causes::told(&shown.causes));
        self
    }

    /// Adds the items of the passes, `limit` at most.
    pub(crate) fn with_items(mut self, passes: &[PassReport], limit: usize) -> Summary {
        let all = passes.iter().flat_map(|pass| &pass.shards);
        let all = all.flat_map(|shard| shard.items.iter().map(|item| ItemRow::of(shard.shard, item)));
        let mut items: Vec<ItemRow> = all.take(limit.saturating_add(1)).collect();
        self.items_truncated = Some(items.len() > limit);
        items.truncate(limit);
        self.items = Some(items);
        self.causes = Some(causes::counted(passes));
        self
    }

    /// Whether some of its repairs may wait for approval: nobody approves a dry run, or where repair is off.
    pub(crate) fn may_wait(&self) -> bool {
        self.planned.keys().any(|reason| !matches!(reason.as_str(), "dry_run" | "repair_off"))
    }

    /// The process's exit code: 0 in sync, 1 something is known to differ, 2 something is unknown.
    pub(crate) fn exit_code(&self) -> u8 {
        match self.verdict {
            "in_sync" => 0,
            "diverged" => 1,
            _ => 2,
        }
    }
}

impl ItemRow {
    fn of(shard: ShardId, item: &Item) -> ItemRow {
        let (action, from) = match &item.action {
            Action::CopyFrom(node) => ("copy", Some(node.to_string())),
            Action::Delete => ("delete", None),
            Action::Nothing => ("none", None),
        };
        ItemRow {
            shard: shard.0,
            key: item.key.to_string(),
            node: item.node.to_string(),
            action: action.to_owned(),
            from,
            cause: item.cause.to_string(),
            rule: item.rule.describe().to_owned(),
            outcome: item.outcome.as_str().to_owned(),
            detail: item.outcome.detail().to_owned(),
            repair: item.repair.map(|repair| repair.to_string()),
            version_before: item.version_before.map(|version| version.0),
            version_after: item.version_after.map(|version| version.0),
            bytes: item.bytes,
            ..ItemRow::aged(item.age)
        }
    }

    /// Nothing but how old it is.
    fn aged(age: Option<DivergenceAge>) -> ItemRow {
        let millis = |micros: u64| micros / 1_000;
        ItemRow {
            since: age.map(|age| age.since.to_string()),
            found_at: age.map(|age| age.found.to_string()),
            repaired_at: age.and_then(|age| age.repaired).map(|at| at.to_string()),
            age_found_ms: age.map(|age| millis(age.micros_when_found())),
            age_repaired_ms: age.and_then(|age| age.micros_when_repaired()).map(millis),
            ..ItemRow::default()
        }
    }

    /// An item as an agent told it.
    pub(crate) fn told(item: &v1::RunItem) -> ItemRow {
        let age = item.since.zip(item.found_at).map(|(since, found)| DivergenceAge {
            since: WallMicros(since),
            found: WallMicros(found),
            repaired: item.repaired_at.map(WallMicros),
        });
        ItemRow {
            shard: item.shard,
            key: item.key.clone(),
            node: item.node.clone(),
            action: item.action.clone(),
            from: Some(item.from.clone()).filter(|from| !from.is_empty()),
            cause: item.cause.clone(),
            rule: item.rule.clone(),
            outcome: item.outcome.clone(),
            detail: item.detail.clone(),
            repair: Some(item.repair.clone()).filter(|repair| !repair.is_empty()),
            version_before: item.version_before,
            version_after: item.version_after,
            bytes: item.bytes,
            ..ItemRow::aged(age)
        }
    }
}

/// The name of a verdict that an agent told.
pub(crate) fn verdict_name(verdict: v1::Verdict) -> &'static str {
    match verdict {
        v1::Verdict::InSync => "in_sync",
        v1::Verdict::Diverged => "diverged",
        v1::Verdict::Unknown | v1::Verdict::Unspecified => "unknown",
    }
}

fn state_name(state: v1::RunState) -> &'static str {
    match state {
        v1::RunState::Running => "running",
        v1::RunState::Abandoned => "abandoned",
        v1::RunState::Finished | v1::RunState::Unspecified => "finished",
    }
}

/// Shards that are unknown, by reason. A reason that this program does not know is still a reason.
pub(crate) fn reasons(counts: &[v1::ReasonCount]) -> BTreeMap<&'static str, u64> {
    let mut reasons = BTreeMap::new();
    for count in counts {
        let reason = selfsame_wire::convert::unknown_reason("reason", count.reason);
        let name = reason.map_or("other", selfsame_core::UnknownReason::as_str);
        *reasons.entry(name).or_insert(0) += u64::from(count.shards);
    }
    reasons
}
