//! `selfsame undo`: what a run repaired is as it was, wherever nobody has written since.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use selfsame_core::NodeName;
use selfsame_wire::v1;
use serde::Serialize;

use super::confirm::{confirmed, somebody_to_ask};
use super::{Usage, load};
use crate::client::{ask, tell_silent};
use crate::config::FleetConfig;
use crate::output::{OUTPUT_VERSION, Output, print_json, print_line, short_id, table, talk};

/// `selfsame undo …`
#[derive(Debug, Args)]
pub(crate) struct UndoArgs {
    /// The run's id, or the beginning of it
    run: String,
    /// Only this key: JSON (7, "7", ["eu",7]), or else text
    #[arg(long)]
    key: Option<String>,
    /// Only on this node
    #[arg(long)]
    node: Option<NodeName>,
    /// Say what can be put back and what cannot; write nothing
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Keys that are listed at most
    #[arg(long, default_value_t = 1000)]
    limit: u32,
    /// The fleet file
    #[arg(long, env = "SELFSAME_CONFIG", default_value = "fleet.yaml")]
    config: PathBuf,
    /// The form of the result
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

/// What came of it.
#[derive(Debug, Serialize)]
struct Undone {
    version: u32,
    run: String,
    dry_run: bool,
    /// Keys by what became of them, one for each key and replica.
    states: BTreeMap<String, u64>,
    /// Rows that came back, became what they were, and went; or would.
    inserts: u64,
    updates: u64,
    deletes: u64,
    items: Vec<ItemRow>,
    items_truncated: bool,
    /// Replicas of which nothing, or not all, is known.
    failures: Vec<FailureRow>,
    /// Whether the run was still repairing: what comes after is not undone.
    unfinished: bool,
    /// Agents that did not answer.
    silent: Vec<String>,
}

#[derive(Debug, Serialize)]
struct ItemRow {
    collection: String,
    shard: u32,
    key: String,
    node: String,
    write: String,
    state: String,
    detail: String,
}

#[derive(Debug, Serialize)]
struct FailureRow {
    node: String,
    why: String,
}

/// Runs the command. Exit code 1 if something is not, or cannot be, as it was; 2 if an agent or a store did not answer.
pub(crate) async fn run(args: &UndoArgs) -> anyhow::Result<ExitCode> {
    let Some(config) = load(&args.config)? else { return Ok(super::usage()) };
    if !args.dry_run {
        somebody_to_ask(args.yes)?;
    }
    let reply = send(&config, &request(args, &args.run, true)).await?;
    if !reply.known {
        return unknown_run(&reply);
    }
    let rows = reply.inserts + reply.updates + reply.deletes;
    if args.dry_run || rows == 0 {
        return tell(args, true, &reply);
    }
    if !args.yes {
        // What can be put back is decided again, row by row, when it is done. Until then this is talk.
        item_lines(&reply).iter().for_each(|line| talk(line));
        tell_failures(&reply);
        let question = format!(
            "This puts back {rows} rows: {} come back, {} change, {} go. Type {rows} to go on:",
            reply.inserts, reply.updates, reply.deletes
        );
        if !confirmed(&question, &rows.to_string())? {
            print_line("nothing was put back")?;
            return Ok(ExitCode::from(1));
        }
    }
    let reply = send(&config, &request(args, &reply.run, false)).await?;
    tell(args, false, &reply)
}

fn request(args: &UndoArgs, run: &str, dry_run: bool) -> v1::UndoRequest {
    v1::UndoRequest {
        run: run.to_owned(),
        key: args.key.clone(),
        node: args.node.as_ref().map(ToString::to_string).unwrap_or_default(),
        dry_run,
        limit: args.limit,
    }
}

async fn send(config: &FleetConfig, request: &v1::UndoRequest) -> anyhow::Result<v1::UndoReply> {
    ask(config, |mut client| async move { client.undo(request.clone()).await }).await
}

/// Who is silent may know it.
fn unknown_run(reply: &v1::UndoReply) -> anyhow::Result<ExitCode> {
    let message =
        format!("no agent that answered knows run `{}`; hint: `selfsame runs` lists them", reply.run);
    if reply.silent.is_empty() {
        anyhow::bail!(Usage(message));
    }
    tell_silent(&reply.silent);
    talk(&message);
    Ok(ExitCode::from(2))
}

/// Prints what came of it. `looked`: nothing was written, for that was asked for, or there was nothing to write.
fn tell(args: &UndoArgs, looked: bool, reply: &v1::UndoReply) -> anyhow::Result<ExitCode> {
    match args.output {
        Output::Json => print_json(&undone(args.dry_run, reply))?,
        Output::Text => {
            item_lines(reply).iter().try_for_each(|line| print_line(line))?;
            print_line(&sentence(looked, reply))?;
        }
    }
    tell_failures(reply);
    if reply.unfinished {
        talk("the run is not over: what it repairs from now on is not undone; hint: undo it again then");
    }
    tell_silent(&reply.silent);
    if !reply.silent.is_empty() {
        talk("what these repaired is not looked at; hint: undo the run again when they answer");
    }
    Ok(ExitCode::from(exit_code(reply)))
}

fn tell_failures(reply: &v1::UndoReply) {
    for failure in &reply.failures {
        talk(&format!("{}: {}", failure.node, failure.why));
    }
}

fn undone(dry_run: bool, reply: &v1::UndoReply) -> Undone {
    let item = |item: &v1::UndoItem| ItemRow {
        collection: item.collection.clone(),
        shard: item.shard,
        key: item.key.clone(),
        node: item.node.clone(),
        write: item.write.clone(),
        state: item.state.clone(),
        detail: item.detail.clone(),
    };
    let failure =
        |failure: &v1::UndoFailure| FailureRow { node: failure.node.clone(), why: failure.why.clone() };
    Undone {
        version: OUTPUT_VERSION,
        run: reply.run.clone(),
        dry_run,
        states: reply.states.iter().map(|(state, keys)| (state.clone(), *keys)).collect(),
        inserts: reply.inserts,
        updates: reply.updates,
        deletes: reply.deletes,
        items: reply.items.iter().map(item).collect(),
        items_truncated: reply.truncated,
        failures: reply.failures.iter().map(failure).collect(),
        unfinished: reply.unfinished,
        silent: reply.silent.iter().map(|agent| agent.agent.clone()).collect(),
    }
}

fn item_lines(reply: &v1::UndoReply) -> Vec<String> {
    if reply.items.is_empty() {
        return Vec::new();
    }
    let mut rows = table(&["key", "replica", "write", "state"]);
    for item in &reply.items {
        let state = match item.detail.as_str() {
            "" => item.state.clone(),
            detail => format!("{}: {detail}", item.state),
        };
        rows.add_row([item.key.clone(), item.node.clone(), item.write.clone(), state]);
    }
    let mut lines = vec![rows.to_string()];
    if reply.truncated {
        lines.push("… more keys were left out; hint: raise --limit".to_owned());
    }
    lines
}

fn sentence(looked: bool, reply: &v1::UndoReply) -> String {
    if reply.states.is_empty() {
        return format!("run {} repaired nothing that was asked for", short_id(&reply.run));
    }
    let rows = reply.inserts + reply.updates + reply.deletes;
    let verb = if looked { "can be put back" } else { "put back, and not repaired again without approval" };
    let mut sentence = format!(
        "{rows} rows {verb}: {} come back, {} change, {} go",
        reply.inserts, reply.updates, reply.deletes
    );
    let others: Vec<String> = reply
        .states
        .iter()
        .filter(|(state, _)| !matches!(state.as_str(), "restorable" | "restored"))
        .collect::<BTreeMap<_, _>>()
        .into_iter()
        .map(|(state, keys)| format!("{keys} {state}"))
        .collect();
    if !others.is_empty() {
        sentence += &format!("; {}", others.join(", "));
    }
    sentence
}

/// 1 before 2 before 0, as everywhere.
fn exit_code(reply: &v1::UndoReply) -> u8 {
    let good = |state: &str| matches!(state, "restorable" | "restored" | "undone" | "not_applied");
    let bad = reply.states.iter().any(|(state, keys)| !good(state) && state != "unanswered" && *keys > 0);
    let refused = reply.failures.iter().any(|failure| failure.refused);
    let unheard = !reply.silent.is_empty() || reply.failures.iter().any(|failure| !failure.refused);
    let nothing = reply.states.is_empty() && !unheard;
    match () {
        () if bad || refused || nothing => 1,
        () if unheard => 2,
        () => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(states: &[(&str, u64)]) -> v1::UndoReply {
        v1::UndoReply {
            states: states.iter().map(|(state, keys)| ((*state).to_owned(), *keys)).collect(),
            ..v1::UndoReply::default()
        }
    }

    #[test]
    fn what_is_not_as_it_was_comes_before_what_nobody_knows() {
        let done = reply(&[("restored", 3), ("undone", 1), ("not_applied", 2)]);
        assert_eq!(exit_code(&done), 0);
        assert_eq!(exit_code(&reply(&[("restored", 3), ("changed", 1)])), 1);
        assert_eq!(exit_code(&reply(&[])), 1, "nothing was asked for that there is");
        let silent = vec![v1::SilentAgent::default()];
        assert_eq!(exit_code(&v1::UndoReply { silent: silent.clone(), ..done.clone() }), 2);
        assert_eq!(exit_code(&v1::UndoReply { silent, ..reply(&[("too_large", 1)]) }), 1);
        let failures = |refused| vec![v1::UndoFailure { refused, ..v1::UndoFailure::default() }];
        assert_eq!(exit_code(&v1::UndoReply { failures: failures(true), ..done.clone() }), 1);
        assert_eq!(exit_code(&v1::UndoReply { failures: failures(false), ..done }), 2);
    }

    #[test]
    fn the_sentence_counts_what_is_back_and_what_is_not() {
        let undone = v1::UndoReply { inserts: 1, updates: 2, ..reply(&[("restored", 3), ("changed", 1)]) };
        let said = sentence(false, &undone);
        assert!(said.starts_with("3 rows put back") && said.ends_with("0 go; 1 changed"), "{said}");
    }
}
