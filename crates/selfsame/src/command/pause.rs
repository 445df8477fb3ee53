//! `selfsame pause` and `resume`: no repair starts at the agents that answered; those that did not are named.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use selfsame_core::{CollectionName, WallMicros};
use selfsame_wire::v1;
use serde::Serialize;

use super::{Usage, load};
use crate::client::{ask, names, tell_silent};
use crate::output::{OUTPUT_VERSION, Output, print_json, print_line, talk, to_the_second};

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
    /// The form of the result
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

/// `selfsame resume …`
#[derive(Debug, Args)]
pub(crate) struct ResumeArgs {
    /// The fleet file
    #[arg(long, env = "SELFSAME_CONFIG", default_value = "fleet.yaml")]
    config: PathBuf,
    /// End the pause of this collection; every pause without it
    #[arg(long)]
    collection: Option<CollectionName>,
    /// The form of the result
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

#[derive(Debug, Serialize)]
struct Paused {
    version: u32,
    /// Those that hold still.
    agents: Vec<String>,
    /// Nothing: until somebody resumes.
    until: Option<String>,
    /// Agents that may still write.
    silent: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Resumed {
    version: u32,
    /// Those that heard of it.
    agents: Vec<String>,
    /// The pauses that this ended.
    ended: Vec<PauseRow>,
    /// The pauses that still hold what was to go on.
    holding: Vec<PauseRow>,
    /// Agents that may still be paused.
    silent: Vec<String>,
}

#[derive(Debug, Serialize)]
struct PauseRow {
    /// Nothing: all collections.
    collection: Option<String>,
    /// Nothing: until somebody resumes.
    until: Option<String>,
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
    match args.output {
        Output::Json => print_json(&Paused {
            version: OUTPUT_VERSION,
            agents: reply.agents,
            until: reply.until.map(|at| WallMicros(at).to_string()),
            silent: names(&reply.silent),
        })?,
        Output::Text => print_line(&format!("paused {until}: {}", reply.agents.join(", ")))?,
    }
    tell_silent(&reply.silent);
    if !reply.silent.is_empty() {
        talk("these may still write; hint: pause again when they answer");
    }
    Ok(ExitCode::from(if reply.silent.is_empty() { 0 } else { 2 }))
}

/// Runs `selfsame resume`. Exit code 1 if another pause still holds the collection, else 2 if an agent did not hear of it.
pub(crate) async fn resume(args: &ResumeArgs) -> anyhow::Result<ExitCode> {
    let Some(config) = load(&args.config)? else { return Ok(super::usage()) };
    let collection = args.collection.as_ref().map(ToString::to_string).unwrap_or_default();
    let request = &v1::ResumeRequest { collection };
    let reply: v1::ResumeReply =
        ask(&config, |mut client| async move { client.resume(request.clone()).await }).await?;
    match args.output {
        Output::Json => print_json(&resumed(&reply))?,
        Output::Text => {
            said(args.collection.as_ref(), &reply).iter().try_for_each(|line| print_line(line))?
        }
    }
    tell_silent(&reply.silent);
    if !reply.silent.is_empty() {
        talk("these may still be paused; hint: resume again when they answer");
    }
    Ok(ExitCode::from(match (reply.holding.is_empty(), reply.silent.is_empty()) {
        (false, _) => 1,
        (true, false) => 2,
        (true, true) => 0,
    }))
}

fn resumed(reply: &v1::ResumeReply) -> Resumed {
    let row = |pause: &v1::PauseState| PauseRow {
        collection: Some(pause.collection.clone()).filter(|collection| !collection.is_empty()),
        until: pause.until.map(|at| WallMicros(at).to_string()),
    };
    Resumed {
        version: OUTPUT_VERSION,
        agents: reply.agents.clone(),
        ended: reply.ended.iter().map(row).collect(),
        holding: reply.holding.iter().map(row).collect(),
        silent: names(&reply.silent),
    }
}

/// What goes on, which pauses ended, and which still hold what was to go on.
fn said(asked: Option<&CollectionName>, reply: &v1::ResumeReply) -> Vec<String> {
    let name = |pause: &v1::PauseState| match pause.collection.as_str() {
        "" => "the pause of all collections".to_owned(),
        collection => format!("the pause of {collection}"),
    };
    let agents = reply.agents.join(", ");
    let mut lines = Vec::new();
    if reply.holding.is_empty() {
        lines.push(format!("resumed: {agents}"));
    }
    lines.extend(reply.ended.iter().map(|pause| format!("ended: {}", name(pause))));
    match asked {
        Some(asked) if reply.ended.is_empty() => lines.push(format!("{asked} by itself was not paused")),
        None if reply.ended.is_empty() => lines.push("nothing was paused".to_owned()),
        _ => {}
    }
    for pause in &reply.holding {
        let until = match pause.until {
            Some(at) => format!("until {}", to_the_second(WallMicros(at))),
            None => "until somebody resumes".to_owned(),
        };
        lines.push(format!(
            "still paused {until}, by {}; hint: selfsame resume ends every pause",
            name(pause)
        ));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pause(collection: &str) -> v1::PauseState {
        v1::PauseState { until: None, collection: collection.to_owned() }
    }

    #[test]
    fn what_another_pause_holds_is_not_called_resumed() {
        let products = "products".parse().unwrap();
        let agents = vec!["a".to_owned(), "b".to_owned()];
        let all = v1::ResumeReply { agents, ended: vec![pause(""), pause("products")], ..Default::default() };
        assert_eq!(
            said(None, &all),
            ["resumed: a, b", "ended: the pause of all collections", "ended: the pause of products"]
        );
        let none = v1::ResumeReply { ended: Vec::new(), ..all.clone() };
        assert_eq!(said(None, &none), ["resumed: a, b", "nothing was paused"]);
        let held = v1::ResumeReply { ended: vec![pause("products")], holding: vec![pause("")], ..all };
        let lines = said(Some(&products), &held);
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert_eq!(lines[0], "ended: the pause of products");
        assert!(
            lines[1].starts_with("still paused until somebody resumes, by the pause of all"),
            "{lines:?}"
        );
        let never = v1::ResumeReply { ended: Vec::new(), ..held };
        assert_eq!(said(Some(&products), &never)[0], "products by itself was not paused");
    }
}
