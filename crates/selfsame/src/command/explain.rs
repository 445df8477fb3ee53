//! `selfsame explain`: one key on every replica, and what the rules say about it.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use futures_util::future::join_all;
use selfsame_agent::clock::{Clock, SystemClock};
use selfsame_agent::operator::described;
use selfsame_agent::settings::CollectionSettings;
use selfsame_core::WallMicros;
use selfsame_core::{
    Certainty, CollectionName, Decision, Key, Moment, Observation, Presence, Row, Sighting, Target,
    Tombstone, TombstoneCause, TombstoneOwner, Verdict, render_json, resolve,
};
use selfsame_store::{Read, StoreError};
use selfsame_wire::v1;
use serde::Serialize;

use super::{chosen, load};
use crate::client::{ask, names, tell_silent};
use crate::config::FleetConfig;
use crate::output::{
    ItemRow, OUTPUT_VERSION, Output, Versions, print_json, print_line, short_id, table, verdict_name,
};
use crate::stores::{self, Use};

/// `selfsame explain …`
#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// The collection
    collection: CollectionName,
    /// The key: JSON (7, "7", ["eu",7]), or else text
    key: String,
    /// The fleet file
    #[arg(long, env = "SELFSAME_CONFIG", default_value = "fleet.yaml")]
    config: PathBuf,
    /// Show the documents too
    #[arg(long)]
    content: bool,
    /// Open the stores in this process, read-only, instead of asking agents
    #[arg(long)]
    direct: bool,
    /// The form of the result
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

/// One key on all replicas.
#[derive(Debug, Serialize)]
struct Explanation {
    version: u32,
    collection: String,
    key: String,
    shard: u32,
    replicas: Vec<ReplicaRow>,
    decision: String,
    rule: String,
    causes: Vec<CauseRow>,
    /// What runs did with the key, the newest first; only agents know.
    history: Vec<HistoryRow>,
    /// Agents whose part of the history is missing.
    silent: Vec<String>,
}

#[derive(Debug, Serialize)]
struct HistoryRow {
    at: String,
    run: String,
    #[serde(flatten)]
    item: ItemRow,
}

impl HistoryRow {
    fn told(item: &v1::RunItem) -> HistoryRow {
        HistoryRow { at: WallMicros(item.at).to_string(), run: item.run.clone(), item: ItemRow::told(item) }
    }

    /// What became of the key, and why, in a line.
    fn text(&self) -> String {
        let HistoryRow { at, run, item } = self;
        let outcome = match item.detail.as_str() {
            "" => item.outcome.clone(),
            detail => format!("{} ({detail})", item.outcome),
        };
        format!("{at} run {}: {} on {}: {outcome}", short_id(run), item.cause, item.node)
    }
}

#[derive(Debug, Serialize)]
struct ReplicaRow {
    node: String,
    state: String,
    detail: String,
    /// Whether the replica is held: what is seen there proves nothing. Only agents know.
    held: bool,
    version: Option<i64>,
    expiry: Option<String>,
    content: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    document: Option<serde_json::Map<String, serde_json::Value>>,
}

impl ReplicaRow {
    /// What is seen there, and what it is worth.
    fn text(&self) -> String {
        let held = if self.held { "held, proves nothing: " } else { "" };
        let detail = if self.detail.is_empty() { String::new() } else { format!(": {}", self.detail) };
        format!("{held}{}{detail}", self.state)
    }
}

#[derive(Debug, Serialize)]
struct CauseRow {
    node: String,
    cause: String,
}

/// Runs the command.
pub(crate) async fn run(args: &ExplainArgs) -> anyhow::Result<ExitCode> {
    let Some(config) = load(&args.config)? else { return Ok(super::usage()) };
    let collection = chosen(&config, Some(&args.collection))?[0];
    let versions = Versions::of(&config, args.collection.as_str());
    if !args.direct {
        return ask_agents(args, &config, versions).await;
    }
    let key = Key::from_typed(&args.key);
    let reads = read_everywhere(&config, collection, &key).await?;
    let observations: Vec<Observation> = reads.iter().map(observation).collect();
    let moment = Moment { now: SystemClock.now(), skew: 0 };
    let verdict = resolve(&observations, &collection.policy, moment);
    let digest = config.fleet.fingerprinter(&collection.name).key_digest(&key);
    let nodes = collection.replicas.iter().map(|replica| replica.node.to_string());
    let explanation = Explanation {
        version: OUTPUT_VERSION,
        collection: collection.name.to_string(),
        key: key.to_string(),
        shard: digest.shard(collection.replicas[0].mapping.shards).0,
        replicas: nodes.zip(&reads).map(|(node, read)| replica_row(node, read, args.content)).collect(),
        decision: described(&verdict, collection),
        rule: verdict.rule.describe().to_owned(),
        causes: causes(&verdict, collection),
        history: Vec::new(),
        silent: Vec::new(),
    };
    match args.output {
        Output::Json => print_json(&explanation)?,
        Output::Text => print_text(&explanation, versions)?,
    }
    Ok(ExitCode::from(match verdict.decision {
        Decision::Agree => 0,
        Decision::AgreeAsHeard | Decision::Wait => 2,
        Decision::Copy { .. } | Decision::Delete { .. } | Decision::Hold { .. } => 1,
    }))
}

/// What the agents see: fresh reads, what their ledgers remember, and what runs did with the key.
async fn ask_agents(
    args: &ExplainArgs,
    config: &FleetConfig,
    versions: Versions,
) -> anyhow::Result<ExitCode> {
    if args.content {
        anyhow::bail!(super::Usage(
            "agents do not hand out documents; hint: `--content` goes with `--direct`".to_owned()
        ));
    }
    let request = &v1::ExplainRequest { collection: args.collection.to_string(), key: args.key.clone() };
    let reply: v1::ExplainReply =
        ask(config, |mut client| async move { client.explain(request.clone()).await }).await?;
    tell_silent(&reply.silent);
    let verdict = verdict_name(reply.verdict());
    let replica = |seen: &v1::NodeObservation| ReplicaRow {
        node: seen.node.clone(),
        state: seen.state.clone(),
        detail: match (seen.detail.as_str(), &seen.memory, seen.by_repair) {
            ("", Some(memory), _) => remembered(memory),
            ("", None, true) => "written by a repair".to_owned(),
            (detail, _, _) => detail.to_owned(),
        },
        held: seen.held,
        version: seen.version,
        expiry: seen.expiry.map(|at| WallMicros(at).to_string()),
        content: Some(hex::encode(&seen.content_digest)).filter(|content| !content.is_empty()),
        document: None,
    };
    let cause = |seen: &v1::NodeObservation| CauseRow { node: seen.node.clone(), cause: seen.cause.clone() };
    let explanation = Explanation {
        version: OUTPUT_VERSION,
        collection: reply.collection,
        key: reply.key,
        shard: reply.shard,
        replicas: reply.observations.iter().map(replica).collect(),
        decision: reply.decision,
        rule: reply.rule,
        causes: reply.observations.iter().filter(|seen| !seen.cause.is_empty()).map(cause).collect(),
        history: reply.history.iter().map(HistoryRow::told).collect(),
        silent: names(&reply.silent),
    };
    match args.output {
        Output::Json => print_json(&explanation)?,
        Output::Text => print_text(&explanation, versions)?,
    }
    Ok(ExitCode::from(match verdict {
        "in_sync" => 0,
        "diverged" => 1,
        _ => 2,
    }))
}

/// What a ledger says of a key, in words.
fn remembered(memory: &v1::Tombstone) -> String {
    let Ok(memory) = Tombstone::try_from(*memory) else {
        return "remembers something that this version does not know".to_owned();
    };
    let what = match (memory.cause, memory.certainty) {
        (TombstoneCause::Deleted, Certainty::Certain) => "deleted",
        (TombstoneCause::Expired, _) => "expired",
        (TombstoneCause::Deleted, Certainty::Observed) => "gone, deleted or lost",
    };
    let told = match memory.owner {
        TombstoneOwner::Own => "",
        TombstoneOwner::Received => ", as another replica told",
    };
    let again = if memory.came_back { "; written again since at the same version" } else { "" };
    format!("remembers version {} {what} since {}{told}{again}", memory.version.0, memory.at)
}

async fn read_everywhere(
    config: &FleetConfig,
    collection: &CollectionSettings,
    key: &Key,
) -> anyhow::Result<Vec<Result<Read, StoreError>>> {
    let opened =
        collection.replicas.iter().map(|replica| stores::open(config, collection, replica, Use::Look));
    let stores = opened.collect::<anyhow::Result<Vec<_>>>()?;
    let read = |opened: stores::Opened| async move {
        let reads = opened.store.read(std::slice::from_ref(key)).await?;
        reads.into_iter().next().ok_or(StoreError::Unsupported("an answer for each key"))
    };
    Ok(join_all(stores.into_iter().map(read)).await)
}

fn observation(read: &Result<Read, StoreError>) -> Observation {
    let sighting = |document: &selfsame_core::Document| Sighting {
        version: document.entry.version,
        expiry: document.entry.expiry,
        content: document.entry.content,
        row: document.row_digest,
        by_repair: false,
        bytes: document.row.value_bytes() as u64,
    };
    Observation::of(match read {
        Ok(Read::Live(document)) => Presence::Live(sighting(document)),
        Ok(Read::Marked(document)) => Presence::Marked(sighting(document)),
        Ok(Read::Absent) => Presence::Absent,
        Ok(Read::Unreadable(_)) => Presence::Unreadable,
        Err(_) => Presence::Unreachable,
    })
}

fn replica_row(node: String, read: &Result<Read, StoreError>, content: bool) -> ReplicaRow {
    let (state, detail) = match read {
        Ok(Read::Live(_)) => ("live", String::new()),
        Ok(Read::Marked(_)) => ("marked", String::new()),
        Ok(Read::Absent) => ("absent", String::new()),
        Ok(Read::Unreadable(unreadable)) => ("unreadable", unreadable.reason.to_string()),
        Err(error) => ("unreachable", error.to_string()),
    };
    let document = read.as_ref().ok().and_then(Read::document);
    ReplicaRow {
        node,
        state: state.to_owned(),
        detail,
        held: false,
        version: document.map(|document| document.entry.version.0),
        expiry: document.and_then(|document| document.entry.expiry).map(|expiry| expiry.to_string()),
        content: document.map(|document| document.entry.content.to_string()),
        document: document.filter(|_| content).map(|document| fields(&document.row)),
    }
}

/// A row's fields as JSON. What JSON cannot hold exactly is shown as text.
fn fields(row: &Row) -> serde_json::Map<String, serde_json::Value> {
    let shown = |cell: &selfsame_core::Cell| match cell.value() {
        Ok(value) => {
            let text = render_json(&value);
            serde_json::from_str(&text).unwrap_or(serde_json::Value::String(text))
        }
        Err(error) => serde_json::Value::String(error.to_string()),
    };
    row.cells().iter().map(|(name, cell)| (name.clone(), shown(cell))).collect()
}

fn causes(verdict: &Verdict, collection: &CollectionSettings) -> Vec<CauseRow> {
    let targets = match &verdict.decision {
        Decision::Copy { targets, .. } | Decision::Delete { targets, .. } => targets,
        Decision::Hold { outliers, .. } => outliers,
        Decision::Agree | Decision::AgreeAsHeard | Decision::Wait => return Vec::new(),
    };
    let row = |target: &Target| CauseRow {
        node: collection.replicas[target.replica.0].node.to_string(),
        cause: target.cause.to_string(),
    };
    targets.iter().map(row).collect()
}

fn print_text(explanation: &Explanation, versions: Versions) -> anyhow::Result<()> {
    print_line(&format!("{} {} (shard {})", explanation.collection, explanation.key, explanation.shard))?;
    let mut rows = table(&["replica", "state", "version", "expiry", "content", "cause"]);
    for replica in &explanation.replicas {
        let state = replica.text();
        let cause = explanation.causes.iter().find(|cause| cause.node == replica.node);
        rows.add_row([
            replica.node.clone(),
            state,
            versions.text(replica.version),
            replica.expiry.clone().unwrap_or("-".to_owned()),
            replica.content.as_deref().map_or("-".to_owned(), |content| content.chars().take(12).collect()),
            cause.map_or("-", |cause| &cause.cause).to_owned(),
        ]);
    }
    print_line(&rows.to_string())?;
    for replica in &explanation.replicas {
        if let Some(document) = &replica.document {
            print_line(&format!("{}: {}", replica.node, serde_json::to_string(document)?))?;
        }
    }
    print_line(&format!("decision: {}", explanation.decision))?;
    print_line(&format!("because:  {}", explanation.rule))?;
    if explanation.replicas.iter().all(|replica| replica.state == "absent") {
        let hint = "keys are JSON: 7 is a number, '\"7\"' a text; several fields are a list, '[\"eu\",7]'";
        print_line(&format!("no replica has such a document; hint: {hint}"))?;
    }
    if explanation.replicas.iter().any(|replica| replica.held) {
        print_line("a held replica counts as unheard; hint: selfsame status says why it is held")?;
    }
    if explanation.replicas.iter().any(|replica| replica.state == "unreadable") {
        let hint = "mend it; it is never written over; `--direct` says what is wrong with it";
        print_line(&format!("a replica's row has no single meaning; hint: {hint}"))?;
    }
    for past in &explanation.history {
        print_line(&format!("history:  {}", past.text()))?;
    }
    Ok(())
}
