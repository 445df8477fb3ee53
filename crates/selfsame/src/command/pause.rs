//! `selfsame pause` and `resume`: no repair starts at the agents that answered; those that did not are named.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use selfsame_core::{CollectionName, WallMicros};
use selfsame_wire::v1;

use super::{Usage, load};
use crate::client::{ask, tell_silent};
use crate::output::{print_line, talk, to_the_second};

/// `selfsame pause …`
#[derive(Debug, Args)]
pub(crate) struct PauseArgs {
    /// The fleet file
    #[arg(long, env = "SELFSAME_CONFIG", default_value = "fleet.yaml")]
    config: PathBuf,
    /// One collection; all without it
    #[arg(long)]
    collection: Option<CollectionName>,
    /// For how long: 30m, 2h; until `selfsame resume` without it
    #[arg(long = "for", value_name = "DURATION")]
    duration: Option<String>,
}

/// `selfsame resume …`
#[derive(Debug, Args)]
pub(crate) struct ResumeArgs {
    /// The fleet file
    #[arg(long, env = "SELFSAME_CONFIG", default_value = "fleet.yaml")]
    config: PathBuf,
    /// One collection; all without it
    #[arg(long)]
    collection: Option<CollectionName>,
}

/// Runs `selfsame pause`. Exit code 2 if an agent did not hear of it.
pub(crate) async fn pause(args: &PauseArgs) -> anyhow::Result<ExitCode> {
    let Some(config) = load(&args.config)? else { return Ok(super::usage()) };
    let for_ms = match &args.duration {
        None => None,
        Some(text) => {
            let duration = crate::config::duration(text).map_err(|error| Usage(format!("--for: {error}")))?;
            Some(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
        }
    };
    let collection = args.collection.as_ref().map(ToString::to_string).unwrap_or_default();
    let request = &v1::PauseRequest { collection, for_ms };
    let reply: v1::PauseReply =
        ask(&config, |mut client| async move { client.pause(request.clone()).await }).await?;
    let until = reply.until.map_or("until `selfsame resume`".to_owned(), |at| {
        format!("until {}", to_the_second(WallMicros(at)))
    });
    print_line(&format!("paused {until}: {}", reply.agents.join(", ")))?;
    tell_silent(&reply.silent);
    if !reply.silent.is_empty() {
        talk("these may still write; hint: pause again when they answer");
    }
    Ok(ExitCode::from(if reply.silent.is_empty() { 0 } else { 2 }))
}

/// Runs `selfsame resume`. Exit code 2 if an agent did not hear of it.
pub(crate) async fn resume(args: &ResumeArgs) -> anyhow::Result<ExitCode> {
    let Some(config) = load(&args.config)? else { return Ok(super::usage()) };
    let collection = args.collection.as_ref().map(ToString::to_string).unwrap_or_default();
    let request = &v1::ResumeRequest { collection };
    let reply: v1::ResumeReply =
        ask(&config, |mut client| async move { client.resume(request.clone()).await }).await?;
    print_line(&format!("resumed: {}", reply.agents.join(", ")))?;
    tell_silent(&reply.silent);
    if !reply.silent.is_empty() {
        talk("these may still be paused; hint: resume again when they answer");
    }
    Ok(ExitCode::from(if reply.silent.is_empty() { 0 } else { 2 }))
}
