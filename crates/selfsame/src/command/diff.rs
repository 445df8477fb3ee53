//! `selfsame diff`: what differs between the replicas, without repairing it.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context;
use clap::Args;
use selfsame_core::{CollectionName, ShardId};
use selfsame_wire::v1;
use uuid::Uuid;

use super::run::{follow, print_summaries};
use super::{chosen, load};
use crate::client::ask;
use crate::config::FleetConfig;
use crate::direct::Direct;
use crate::output::{Output, Summary, Terminal, Versions, print_json_of_each, print_summary};

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
    if !args.direct {
        return ask_agents(args, &config).await;
    }
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
            Output::Text => print_summary(&summary, Versions::of(&config, &summary.collection))?,
            Output::Json => summaries.push(summary),
        }
    }
    if args.output == Output::Json {
        print_json_of_each(&summaries)?;
    }
    Ok(ExitCode::from(worst))
}

/// A dry run by the agents, and its items.
async fn ask_agents(args: &DiffArgs, config: &FleetConfig) -> anyhow::Result<ExitCode> {
    let request = v1::RunRequest {
        collection: args.collection.as_ref().map(ToString::to_string).unwrap_or_default(),
        shard: args.shard,
        scan: true,
        dry_run: true,
        wait: true,
        request: Uuid::now_v7().as_bytes().to_vec(),
    };
    let mut summaries = Vec::new();
    let mut followed = follow(config, &request).await?;
    for summary in std::mem::take(&mut followed.summaries) {
        let limit = u32::try_from(args.limit).unwrap_or(u32::MAX);
        let show = &v1::ShowRequest { run: summary.run.clone(), limit };
        let reply: v1::ShowReply =
            ask(config, |mut client| async move { client.show(show.clone()).await }).await?;
        summaries.push(summary.with_shown(&reply));
    }
    let worst = summaries.iter().map(Summary::exit_code).fold(0, super::worse);
    print_summaries(config, &summaries, args.output)?;
    let unfinished = followed.tell_unfinished("ask again; the configured agents are asked in turn");
    Ok(ExitCode::from(super::worse(worst, unfinished)))
}
