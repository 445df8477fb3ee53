//! `selfsame runs` and `selfsame show`: what runs found, from the journals of their owners.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use selfsame_agent::clock::{Clock, SystemClock};
use selfsame_core::{CollectionName, NodeName, WallMicros};
use selfsame_wire::v1;

use super::{Usage, load};
use crate::client::{ask, tell_silent};
use crate::output::{ItemRow, Output, Summary, print_json, print_line, print_summary, table};

/// `selfsame runs …`
#[derive(Debug, Args)]
pub(crate) struct RunsArgs {
    /// The fleet file
    #[arg(long, env = "SELFSAME_CONFIG", default_value = "fleet.yaml")]
    config: PathBuf,
    /// One collection; all without it
    #[arg(long)]
    collection: Option<CollectionName>,
    /// Only runs that began within this time: 90s, 1h, 7d
    #[arg(long)]
    since: Option<String>,
    /// Only runs that found something on this node
    #[arg(long)]
    node: Option<NodeName>,
    /// Runs that are listed at most
    #[arg(long, default_value_t = 50)]
    limit: u32,
    /// The form of the result
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

/// `selfsame show …`
#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// The run's id, or the beginning of it
    run: String,
    /// The fleet file
    #[arg(long, env = "SELFSAME_CONFIG", default_value = "fleet.yaml")]
    config: PathBuf,
    /// Items that are listed at most
    #[arg(long, default_value_t = 100_000)]
    limit: u32,
    /// The form of the result
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

/// Runs `selfsame runs`.
pub(crate) async fn list(args: &RunsArgs) -> anyhow::Result<ExitCode> {
    let Some(config) = load(&args.config)? else { return Ok(super::usage()) };
    let since = match &args.since {
        None => None,
        Some(text) => {
            let ago = crate::config::duration(text).map_err(|error| Usage(format!("--since: {error}")))?;
            Some(SystemClock.now().plus(-i64::try_from(ago.as_micros()).unwrap_or(i64::MAX)).0)
        }
    };
    let request = v1::RunsRequest {
        collection: args.collection.as_ref().map(ToString::to_string).unwrap_or_default(),
        since,
        node: args.node.as_ref().map(ToString::to_string).unwrap_or_default(),
        limit: args.limit,
    };
    let request = &request;
    let reply: v1::RunsReply =
        ask(&config, |mut client| async move { client.runs(request.clone()).await }).await?;
    tell_silent(&reply.silent)?;
    let summaries: Vec<Summary> = reply.runs.iter().map(Summary::told).collect();
    match args.output {
        Output::Json => print_json(&summaries)?,
        Output::Text => {
            let mut rows =
                table(&["run", "began", "collection", "verdict", "differ", "repaired", "held", "ms"]);
            for (run, summary) in reply.runs.iter().zip(&summaries) {
                rows.add_row([
                    run.run.clone(),
                    WallMicros(run.started_at).to_string(),
                    run.collection.clone(),
                    summary.verdict.to_owned(),
                    run.mismatches.to_string(),
                    run.repaired.to_string(),
                    run.held.to_string(),
                    run.duration_ms.to_string(),
                ]);
            }
            print_line(&rows.to_string())?;
            if reply.truncated {
                print_line("… older runs were left out; hint: raise --limit")?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs `selfsame show`.
pub(crate) async fn show(args: &ShowArgs) -> anyhow::Result<ExitCode> {
    let Some(config) = load(&args.config)? else { return Ok(super::usage()) };
    let request = &v1::ShowRequest { run: args.run.clone(), limit: args.limit };
    let reply: v1::ShowReply =
        ask(&config, |mut client| async move { client.show(request.clone()).await }).await?;
    let summary = reply.summary.unwrap_or_default();
    tell_silent(&summary.silent)?;
    let items = reply.items.iter().map(ItemRow::told).collect();
    let summary = Summary::told(&summary).with_rows(items, reply.truncated);
    match args.output {
        Output::Json => print_json(&summary)?,
        Output::Text => print_summary(&summary)?,
    }
    Ok(ExitCode::SUCCESS)
}
