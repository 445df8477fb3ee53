//! `selfsame plan`, `approve` and `drop`: what waits for a person.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use selfsame_core::{CollectionName, WallMicros};
use selfsame_wire::v1;
use serde::Serialize;

use super::load;
use crate::client::{ask, tell_silent};
use crate::output::{OUTPUT_VERSION, Output, print_json, print_line, table};

/// `selfsame plan …`
#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
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

/// `selfsame approve …` and `selfsame drop …`
#[derive(Debug, Args)]
pub(crate) struct DecideArgs {
    /// The run whose plan it is
    run: String,
    /// The fleet file
    #[arg(long, env = "SELFSAME_CONFIG", default_value = "fleet.yaml")]
    config: PathBuf,
    /// The form of the result
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

#[derive(Debug, Serialize)]
struct PlanRow {
    run: String,
    collection: String,
    reasons: BTreeMap<String, u32>,
    repairs: u64,
    shards: Vec<u32>,
    created_at: String,
    expires_at: String,
}

#[derive(Debug, Serialize)]
struct Approved {
    version: u32,
    planned: u64,
    repaired: u64,
    returned: u64,
    settled: u64,
    refused: u64,
}

#[derive(Debug, Serialize)]
struct Dropped {
    version: u32,
    dropped: u64,
}

/// Runs `selfsame plan`.
pub(crate) async fn list(args: &PlanArgs) -> anyhow::Result<ExitCode> {
    let Some(config) = load(&args.config)? else { return Ok(super::usage()) };
    let collection = args.collection.as_ref().map(ToString::to_string).unwrap_or_default();
    let request = &v1::PlansRequest { collection };
    let reply: v1::PlansReply =
        ask(&config, |mut client| async move { client.plans(request.clone()).await }).await?;
    tell_silent(&reply.silent)?;
    let row = |plan: v1::Plan| PlanRow {
        run: plan.run,
        collection: plan.collection,
        reasons: plan.reasons.into_iter().collect(),
        repairs: plan.keys,
        shards: plan.shards,
        created_at: WallMicros(plan.created_at).to_string(),
        expires_at: WallMicros(plan.expires_at).to_string(),
    };
    let plans: Vec<PlanRow> = reply.plans.into_iter().map(row).collect();
    match args.output {
        Output::Json => print_json(&plans)?,
        Output::Text if plans.is_empty() => print_line("nothing waits for approval")?,
        Output::Text => {
            let mut rows = table(&["run", "collection", "why", "repairs", "shards", "expires"]);
            for plan in &plans {
                let reasons: Vec<&str> = plan.reasons.keys().map(String::as_str).collect();
                rows.add_row([
                    plan.run.clone(),
                    plan.collection.clone(),
                    reasons.join(", "),
                    plan.repairs.to_string(),
                    plan.shards.len().to_string(),
                    plan.expires_at.clone(),
                ]);
            }
            print_line(&rows.to_string())?;
            print_line("hint: selfsame show RUN lists the repairs; then selfsame approve RUN, or drop RUN")?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs `selfsame approve`. Exit code 1 if something that was approved was not done.
pub(crate) async fn approve(args: &DecideArgs) -> anyhow::Result<ExitCode> {
    let Some(config) = load(&args.config)? else { return Ok(super::usage()) };
    let request = &v1::ApproveRequest { run: args.run.clone() };
    let reply: v1::ApproveReply =
        ask(&config, |mut client| async move { client.approve(request.clone()).await }).await?;
    tell_silent(&reply.silent)?;
    let v1::ApproveReply { planned, repaired, returned, settled, refused, .. } = reply;
    match args.output {
        Output::Json => {
            print_json(&Approved { version: OUTPUT_VERSION, planned, repaired, returned, settled, refused })?;
        }
        Output::Text if planned == 0 => print_line("no agent that answered has a plan of that run")?,
        Output::Text => print_line(&format!(
            "{repaired} of {planned} repairs made; {returned} returned to a plan because the rows changed, \
             {settled} needed none any more, {refused} were refused"
        ))?,
    }
    Ok(ExitCode::from(u8::from(planned == 0 || returned + refused > 0)))
}

/// Runs `selfsame drop`.
pub(crate) async fn drop(args: &DecideArgs) -> anyhow::Result<ExitCode> {
    let Some(config) = load(&args.config)? else { return Ok(super::usage()) };
    let request = &v1::DropRequest { run: args.run.clone() };
    let reply: v1::DropReply =
        ask(&config, |mut client| async move { client.drop(request.clone()).await }).await?;
    tell_silent(&reply.silent)?;
    match args.output {
        Output::Json => print_json(&Dropped { version: OUTPUT_VERSION, dropped: reply.dropped })?,
        Output::Text => print_line(&format!("{} repairs dropped; nothing was written", reply.dropped))?,
    }
    Ok(ExitCode::from(u8::from(reply.dropped == 0)))
}
