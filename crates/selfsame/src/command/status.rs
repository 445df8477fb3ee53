//! `selfsame status`: what is known of every agent, collection and replica.

mod row;
mod text;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use selfsame_core::CollectionName;
use selfsame_wire::v1;

use super::load;
use crate::client::ask;
use crate::output::{Output, print_json, print_line};
use row::{CollectionRow, FleetRow};

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

/// Runs the command. Silent agents are part of the answer, on stdout.
pub(crate) async fn run(args: &StatusArgs) -> anyhow::Result<ExitCode> {
    let Some(config) = load(&args.config)? else { return Ok(super::usage()) };
    let collection = args.collection.as_ref().map(ToString::to_string).unwrap_or_default();
    // The shards tell how old the verdicts are.
    let request = &v1::StatusRequest { collection, shards: true };
    let reply: v1::StatusReply =
        ask(&config, |mut client| async move { client.status(request.clone()).await }).await?;
    let fleet = FleetRow::of(reply, &config);
    match args.output {
        Output::Json => print_json(&fleet)?,
        Output::Text => text::lines(&fleet).iter().try_for_each(|line| print_line(line))?,
    }
    let code = |collection: &CollectionRow| match collection.verdict {
        "in_sync" => 0,
        "diverged" => 1,
        _ => 2,
    };
    Ok(ExitCode::from(fleet.collections.iter().map(code).fold(0, super::worse)))
}
