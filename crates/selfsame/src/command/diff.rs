//! `selfsame diff`: what differs between the replicas, without repairing it.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context;
use clap::Args;
use selfsame_core::{CollectionName, ShardId};

use super::{chosen, load};
use crate::direct::Direct;
use crate::output::{Output, Summary, Terminal, print_json, print_summary};

/// `selfsame diff …`
#[derive(Debug, Args)]
pub(crate) struct DiffArgs {
    /// The fleet file
    #[arg(long, env = "SELFSAME_CONFIG", default_value = "fleet.yaml")]
    config: PathBuf,
    /// One collection; all without it
    #[arg(long)]
    collection: Option<CollectionName>,
    /// One shard; all without it
    #[arg(long)]
    shard: Option<u32>,
    /// Items that are listed at most; the counts are always whole
    #[arg(long, default_value_t = 100)]
    limit: usize,
    /// Open the stores in this process, read-only, instead of asking agents
    #[arg(long)]
    direct: bool,
    /// The form of the result
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

/// Runs the command.
pub(crate) async fn run(args: &DiffArgs) -> anyhow::Result<ExitCode> {
    let Some(config) = load(&args.config)? else { return Ok(super::usage()) };
    let collections = chosen(&config, args.collection.as_ref())?;
    let direct = Direct::open(&config, &collections)?;
    let mut worst = 0;
    let mut summaries = Vec::new();
    for collection in collections {
        let started = Instant::now();
        let shard = args.shard.map(ShardId);
        let shards = collection.replicas.first().context("a collection without replicas")?.mapping.shards;
        if let Some(shard) = shard.filter(|shard| shard.0 >= shards.get()) {
            anyhow::bail!(super::Usage(format!(
                "shard {shard} of `{}` does not exist; hint: it has shards 0 to {}",
                collection.name,
                shards.get() - 1
            )));
        }
        let progress = Terminal::new(if shard.is_some() { 1 } else { shards.get() as usize });
        let report = direct.compare(collection, shard, &progress).await?;
        let summary = Summary::of(&collection.name, std::slice::from_ref(&report), started.elapsed());
        let summary = summary.with_items(std::slice::from_ref(&report), args.limit);
        worst = super::worse(worst, summary.exit_code());
        match args.output {
            Output::Text => print_summary(&summary)?,
            Output::Json => summaries.push(summary),
        }
    }
    match (args.output, summaries.as_slice()) {
        (Output::Text, _) => {}
        (Output::Json, [summary]) => print_json(summary)?,
        (Output::Json, summaries) => print_json(&summaries)?,
    }
    Ok(ExitCode::from(worst))
}
