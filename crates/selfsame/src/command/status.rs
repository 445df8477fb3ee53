//! `selfsame status`: what is known of every agent, collection and replica.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use selfsame_core::{CollectionName, UnknownReason, WallMicros};
use selfsame_wire::v1;
use serde::Serialize;

use super::load;
use crate::client::{ask, tell_silent};
use crate::output::{OUTPUT_VERSION, Output, print_json, print_line, reasons, table, verdict_name};

/// `selfsame status …`
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// The fleet file
    #[arg(long, env = "SELFSAME_CONFIG", default_value = "fleet.yaml")]
    config: PathBuf,
    /// One collection; all without it
    #[arg(long)]
    collection: Option<CollectionName>,
    /// The form of the result
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

#[derive(Debug, Serialize)]
struct FleetRow {
    version: u32,
    fleet: String,
    agents: Vec<AgentRow>,
    silent: Vec<String>,
    collections: Vec<CollectionRow>,
}

#[derive(Debug, Serialize)]
struct AgentRow {
    agent: String,
    address: String,
    program: String,
    nodes: Vec<String>,
    started_at: String,
}

#[derive(Debug, Serialize)]
struct CollectionRow {
    collection: String,
    verdict: &'static str,
    as_of: Option<String>,
    shards: u32,
    in_sync: u32,
    diverged: u32,
    unknown: BTreeMap<&'static str, u64>,
    planned: u64,
    held: u64,
    paused: bool,
    replicas: Vec<ReplicaRow>,
}

#[derive(Debug, Serialize)]
struct ReplicaRow {
    node: String,
    agent: String,
    rows: Option<u64>,
    entries: u64,
    unreadable: u64,
    as_of: Option<String>,
    scanning: Option<String>,
}

/// Runs the command.
pub(crate) async fn run(args: &StatusArgs) -> anyhow::Result<ExitCode> {
    let Some(config) = load(&args.config)? else { return Ok(super::usage()) };
    let collection = args.collection.as_ref().map(ToString::to_string).unwrap_or_default();
    let request = &v1::StatusRequest { collection, shards: false };
    let reply: v1::StatusReply =
        ask(&config, |mut client| async move { client.status(request.clone()).await }).await?;
    tell_silent(&reply.silent)?;
    let fleet = fleet_row(reply);
    match args.output {
        Output::Json => print_json(&fleet)?,
        Output::Text => print_text(&fleet)?,
    }
    let code = |collection: &CollectionRow| match collection.verdict {
        "in_sync" => 0,
        "diverged" => 1,
        _ => 2,
    };
    Ok(ExitCode::from(fleet.collections.iter().map(code).fold(0, super::worse)))
}

fn fleet_row(reply: v1::StatusReply) -> FleetRow {
    let agent = |agent: v1::AgentStatus| AgentRow {
        agent: agent.agent,
        address: agent.address,
        program: agent.version,
        nodes: agent.nodes,
        started_at: WallMicros(agent.started_at).to_string(),
    };
    FleetRow {
        version: OUTPUT_VERSION,
        fleet: reply.fleet,
        agents: reply.agents.into_iter().map(agent).collect(),
        silent: reply.silent.into_iter().map(|silent| silent.agent).collect(),
        collections: reply.collections.into_iter().map(collection_row).collect(),
    }
}

fn collection_row(status: v1::CollectionStatus) -> CollectionRow {
    let replica = |replica: v1::ReplicaStatus| ReplicaRow {
        node: replica.node,
        agent: replica.agent,
        rows: replica.rows,
        entries: replica.entries,
        unreadable: replica.unreadable,
        as_of: replica.as_of.map(|at| WallMicros(at).to_string()),
        scanning: replica.scan.map(|scan| format!("{}/{}", scan.rows, scan.total)),
    };
    CollectionRow {
        verdict: verdict_name(status.verdict()),
        as_of: status.as_of.map(|at| WallMicros(at).to_string()),
        shards: status.shards,
        in_sync: status.in_sync,
        diverged: status.diverged,
        unknown: reasons(&status.unknown),
        planned: status.planned,
        held: status.held,
        paused: status.pause.is_some(),
        replicas: status.replicas.into_iter().map(replica).collect(),
        collection: status.collection,
    }
}

fn print_text(fleet: &FleetRow) -> anyhow::Result<()> {
    print_line(&format!(
        "fleet {}: {} agents answered, {} silent",
        fleet.fleet,
        fleet.agents.len(),
        fleet.silent.len()
    ))?;
    for collection in &fleet.collections {
        print_line(&format!(
            "\n{}: {} ({} of {} shards in sync, {} diverged){}",
            collection.collection,
            collection.verdict.replace('_', " "),
            collection.in_sync,
            collection.shards,
            collection.diverged,
            if collection.paused { ", repairs are paused" } else { "" },
        ))?;
        for (reason, shards) in &collection.unknown {
            let hint = UnknownReason::from_name(reason).map_or("", UnknownReason::hint);
            print_line(&format!("  {shards} shards unknown: {reason}; hint: {hint}"))?;
        }
        if collection.planned > 0 {
            print_line(&format!("  {} repairs wait for approval; hint: selfsame plan", collection.planned))?;
        }
        let mut rows = table(&["replica", "agent", "rows", "indexed", "unreadable", "last full scan"]);
        for replica in &collection.replicas {
            rows.add_row([
                replica.node.clone(),
                replica.agent.clone(),
                replica.rows.map_or("no answer".to_owned(), |rows| rows.to_string()),
                replica.entries.to_string(),
                replica.unreadable.to_string(),
                replica.scanning.as_ref().map_or_else(
                    || replica.as_of.clone().unwrap_or("never".to_owned()),
                    |scanning| format!("scanning {scanning}"),
                ),
            ]);
        }
        print_line(&rows.to_string())?;
    }
    Ok(())
}
