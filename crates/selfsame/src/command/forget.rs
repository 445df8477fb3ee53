//! `selfsame forget`: the agents' journals know nothing of a document's content any more.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use selfsame_core::CollectionName;
use selfsame_wire::v1;
use serde::Serialize;

use super::confirm::{confirmed, somebody_to_ask};
use super::{chosen, load};
use crate::client::{ask, names, tell_silent};
use crate::output::{OUTPUT_VERSION, Output, print_json, print_line, talk};

/// `selfsame forget …`
#[derive(Debug, Args)]
pub(crate) struct ForgetArgs {
    /// The collection
    collection: CollectionName,
    /// The key: JSON (7, "7", ["eu",7]), or else text
    key: String,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// The fleet file
    #[arg(long, env = "SELFSAME_CONFIG", default_value = "fleet.yaml")]
    config: PathBuf,
    /// The form of the result
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

#[derive(Debug, Serialize)]
struct Forgotten {
    version: u32,
    /// The agents whose journals are clean.
    agents: Vec<String>,
    images: u64,
    items: u64,
    plan_items: u64,
    /// Agents that may still hold it.
    silent: Vec<String>,
}

/// Runs the command. Exit code 2 if an agent did not hear of it.
pub(crate) async fn run(args: &ForgetArgs) -> anyhow::Result<ExitCode> {
    let Some(config) = load(&args.config)? else { return Ok(super::usage()) };
    chosen(&config, Some(&args.collection))?;
    somebody_to_ask(args.yes)?;
    let question = format!(
        "This erases what the agents keep of `{}` in {}: it cannot be undone then. The stores are not touched. Type yes \
         to go on:",
        args.key, args.collection
    );
    if !args.yes && !confirmed(&question, "yes")? {
        print_line("nothing was forgotten")?;
        return Ok(ExitCode::from(1));
    }
    let request = &v1::ForgetRequest { collection: args.collection.to_string(), key: args.key.clone() };
    let reply: v1::ForgetReply =
        ask(&config, |mut client| async move { client.forget(request.clone()).await }).await?;
    let v1::ForgetReply { agents, images, items, plan_items, silent } = reply;
    match args.output {
        Output::Json => {
            let silent = names(&silent);
            print_json(&Forgotten { version: OUTPUT_VERSION, agents, images, items, plan_items, silent })?;
        }
        Output::Text => print_line(&format!(
            "forgotten by {}: {images} repairs without their rows, {items} items of runs, {plan_items} of plans",
            agents.join(", ")
        ))?,
    }
    tell_silent(&silent);
    if !silent.is_empty() {
        talk("these may still hold it; hint: forget it again when they answer");
    }
    Ok(ExitCode::from(if silent.is_empty() { 0 } else { 2 }))
}
