//! `selfsame plan`, `approve` and `drop`: what waits for a person.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use selfsame_agent::clock::{Clock, SystemClock};
use selfsame_core::{CollectionName, RunId, WallMicros};
use selfsame_wire::v1;
use serde::Serialize;

use super::consent::{self, ConsentArgs};
use super::{load, runs};
use crate::client::{ask, names, tell_silent};
use crate::config::FleetConfig;
use crate::output::{
    Load, OUTPUT_VERSION, Output, ago, numbers, print_json, print_line, short_id, table, until,
};

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

/// `selfsame approve …`
#[derive(Debug, Args)]
pub(crate) struct ApproveArgs {
    #[command(flatten)]
    decide: DecideArgs,
    #[command(flatten)]
    consent: ConsentArgs,
}

/// `selfsame drop …`
#[derive(Debug, Args)]
pub(crate) struct DecideArgs {
    /// The run whose plan it is: its id, or at least four characters that it begins with
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
    version: u32,
    run: String,
    collection: String,
    reasons: BTreeMap<String, u32>,
    shards: Vec<u32>,
    #[serde(flatten)]
    load: Load,
    created_at: String,
    expires_at: String,
    /// Agents whose part is missing.
    silent: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Approved {
    version: u32,
    planned: u64,
    repaired: u64,
    returned: u64,
    settled: u64,
    refused: u64,
    /// Agents whose part is missing.
    silent: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Dropped {
    version: u32,
    dropped: u64,
    /// Agents that did not hear of it.
    silent: Vec<String>,
}

/// Runs `selfsame plan`.
pub(crate) async fn list(args: &PlanArgs) -> anyhow::Result<ExitCode> {
    let Some(config) = load(&args.config)? else { return Ok(super::usage()) };
    let collection = args.collection.as_ref().map(ToString::to_string).unwrap_or_default();
    let request = &v1::PlansRequest { collection };
    let reply: v1::PlansReply =
        ask(&config, |mut client| async move { client.plans(request.clone()).await }).await?;
    tell_silent(&reply.silent);
    match args.output {
        Output::Json => print_json(
            &reply.plans.into_iter().map(|plan| plan_row(plan, &reply.silent)).collect::<Vec<_>>(),
        )?,
        Output::Text if !reply.plans.is_empty() => {
            print_line(&plan_table(&reply.plans, SystemClock.now()).to_string())?;
            print_line("hint: selfsame show RUN lists the repairs; then selfsame approve RUN, or drop RUN")?;
        }
        Output::Text if reply.silent.is_empty() => print_line("nothing waits for approval")?,
        Output::Text => print_line("nothing waits for approval at the agents that answered")?,
    }
    Ok(ExitCode::SUCCESS)
}

fn plan_row(plan: v1::Plan, silent: &[v1::SilentAgent]) -> PlanRow {
    PlanRow {
        version: OUTPUT_VERSION,
        load: Load::told(&plan),
        run: plan.run,
        collection: plan.collection,
        reasons: plan.reasons.into_iter().collect(),
        shards: plan.shards,
        created_at: WallMicros(plan.created_at).to_string(),
        expires_at: WallMicros(plan.expires_at).to_string(),
        silent: names(silent),
    }
}

fn plan_table(plans: &[v1::Plan], now: WallMicros) -> comfy_table::Table {
    let mut rows = table(&["run", "collection", "why", "writes", "deletes", "shards", "made", "expires"]);
    numbers(&mut rows, [3, 4, 5]);
    for plan in plans {
        let mut reasons: Vec<&str> = plan.reasons.keys().map(String::as_str).collect();
        reasons.sort_unstable();
        let load = Load::told(plan);
        rows.add_row([
            short_id(&plan.run).to_owned(),
            plan.collection.clone(),
            reasons.join(", "),
            load.writes.to_string(),
            load.deletes.to_string(),
            plan.shards.len().to_string(),
            ago(WallMicros(plan.created_at), now),
            until(WallMicros(plan.expires_at), now),
        ]);
    }
    rows
}

/// Runs `selfsame approve`. Exit code 1 if something that was approved was not done, or there was no such plan; else 2
/// if an agent's part is missing.
pub(crate) async fn approve(args: &ApproveArgs) -> anyhow::Result<ExitCode> {
    let ApproveArgs { decide: args, consent } = args;
    let Some(config) = load(&args.config)? else { return Ok(super::usage()) };
    let run = whole_id(&config, &args.run).await?;
    let listed: v1::PlansReply =
        ask(&config, |mut client| async move { client.plans(v1::PlansRequest::default()).await }).await?;
    let deletes = match listed.plans.iter().find(|plan| plan.run == run) {
        Some(plan) => {
            let load = Load::told(plan);
            if !consent::obtain(*consent, &run, &load)? {
                print_line("nothing was approved")?;
                return Ok(ExitCode::from(1));
            }
            load.deletes
        }
        // Who did not answer may have one; the agents say so.
        None => 0,
    };
    // Whatever the plan is by now, it deletes no more than was said yes to.
    let request = &v1::ApproveRequest { run, deletes: Some(deletes), ..v1::ApproveRequest::default() };
    let reply: v1::ApproveReply =
        ask(&config, |mut client| async move { client.approve(request.clone()).await }).await?;
    tell_silent(&reply.silent);
    match args.output {
        Output::Json => print_json(&approved(&reply))?,
        Output::Text if reply.planned == 0 => print_line(NO_PLAN)?,
        Output::Text => outcome(&reply).iter().try_for_each(|line| print_line(line))?,
    }
    Ok(ExitCode::from(approve_code(&reply)))
}

fn approved(reply: &v1::ApproveReply) -> Approved {
    Approved {
        version: OUTPUT_VERSION,
        planned: reply.planned,
        repaired: reply.repaired,
        returned: reply.returned,
        settled: reply.settled,
        refused: reply.refused,
        silent: names(&reply.silent),
    }
}

/// 1 before 2 before 0, as everywhere.
fn approve_code(reply: &v1::ApproveReply) -> u8 {
    let not_done = reply.returned + reply.refused > 0;
    match reply.silent.is_empty() {
        _ if not_done => 1,
        false => 2,
        true => u8::from(reply.planned == 0),
    }
}

/// The whole id of the run that is meant, as the agents tell runs apart.
async fn whole_id(config: &FleetConfig, asked: &str) -> anyhow::Result<String> {
    match asked.parse::<RunId>() {
        Ok(run) => Ok(run.to_string()),
        Err(_) => Ok(runs::shown(config, asked, 1).await?.summary.unwrap_or_default().run),
    }
}

const NO_PLAN: &str =
    "no agent that answered has a plan of that run; hint: `selfsame plan` lists what waits for approval";

/// What became of what was approved, and what to do about what was not done.
fn outcome(reply: &v1::ApproveReply) -> Vec<String> {
    let mut lines = vec![format!("{} of {} repairs made", reply.repaired, reply.planned)];
    let told = reply.repaired + reply.settled + reply.returned + reply.refused;
    let rest = [
        (reply.settled, "needed nothing any more"),
        (reply.returned, "returned to a plan: the rows changed since; hint: selfsame plan"),
        (
            reply.refused,
            "not made; hint: the agents' logs say why; the plan or the next run has what is left",
        ),
        (
            reply.planned.saturating_sub(told),
            "of which nobody tells: their agents fell silent; hint: approve the run again when they answer",
        ),
    ];
    lines
        .extend(rest.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("  {count} {what}")));
    lines
}

/// Runs `selfsame drop`. Exit code 2 if an agent that has a replica, or a part of the plan, did not hear of it.
pub(crate) async fn drop(args: &DecideArgs) -> anyhow::Result<ExitCode> {
    let Some(config) = load(&args.config)? else { return Ok(super::usage()) };
    let request = &v1::DropRequest { run: args.run.clone(), ..v1::DropRequest::default() };
    let reply: v1::DropReply =
        ask(&config, |mut client| async move { client.drop(request.clone()).await }).await?;
    tell_silent(&reply.silent);
    match args.output {
        Output::Json => print_json(&Dropped {
            version: OUTPUT_VERSION,
            dropped: reply.dropped,
            silent: names(&reply.silent),
        })?,
        Output::Text if reply.dropped == 0 && reply.silent.is_empty() => print_line(NO_PLAN)?,
        Output::Text => print_line(&dropped(&reply))?,
    }
    let nothing = reply.dropped == 0 && reply.silent.is_empty();
    Ok(ExitCode::from(if nothing { 1 } else { 2 * u8::from(!reply.silent.is_empty()) }))
}

/// What became of what was dropped.
fn dropped(reply: &v1::DropReply) -> String {
    let mut line = format!(
        "{} repairs dropped: nothing was written, and they are not made without approval",
        reply.dropped
    );
    if !reply.silent.is_empty() {
        line += "; plans of which an agent did not hear wait as before; hint: drop the run again when they answer";
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_done_is_said_with_what_to_do_and_nothing_else() {
        let done = v1::ApproveReply { planned: 4, repaired: 4, ..v1::ApproveReply::default() };
        assert_eq!(outcome(&done), ["4 of 4 repairs made"]);
        let partly = v1::ApproveReply {
            planned: 4,
            repaired: 1,
            returned: 2,
            refused: 1,
            ..v1::ApproveReply::default()
        };
        let lines = outcome(&partly);
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert!(lines[1].contains("2 returned") && lines[1].contains("hint: "), "{lines:?}");
        assert!(lines[2].contains("1 not made") && lines[2].contains("hint: "), "{lines:?}");
        let silent = v1::ApproveReply { planned: 4, repaired: 3, ..v1::ApproveReply::default() };
        let lines = outcome(&silent);
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[1].contains("1 of which nobody tells") && lines[1].contains("hint: "), "{lines:?}");
    }

    #[test]
    fn what_was_not_made_comes_before_what_nobody_knows() {
        let done = v1::ApproveReply { planned: 4, repaired: 3, settled: 1, ..v1::ApproveReply::default() };
        assert_eq!(approve_code(&done), 0);
        let silent = vec![v1::SilentAgent { agent: "c".to_owned(), ..v1::SilentAgent::default() }];
        let unheard = v1::ApproveReply { silent: silent.clone(), ..done };
        assert_eq!(approve_code(&unheard), 2);
        assert_eq!(approved(&unheard).silent, ["c"]);
        assert_eq!(approve_code(&v1::ApproveReply { refused: 1, ..unheard }), 1);
        assert_eq!(approve_code(&v1::ApproveReply { returned: 1, ..done }), 1);
        let none = v1::ApproveReply::default();
        assert_eq!(approve_code(&none), 1, "there is no such plan");
        assert_eq!(approve_code(&v1::ApproveReply { silent, ..none }), 2, "who is silent may have one");
    }
}
