//! `selfsame runs` and `selfsame show`: what runs found, from the journals of their owners.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use comfy_table::Table;
use selfsame_agent::clock::{Clock, SystemClock};
use selfsame_agent::settings::RepairMode;
use selfsame_core::{CollectionName, NodeName, WallMicros};
use selfsame_wire::v1;

use super::{Usage, load, waiting};
use crate::client::{ask, names, tell_silent};
use crate::config::FleetConfig;
use crate::output::{
    ItemRow, Output, Summary, Versions, lasted, numbers, print_json, print_line, print_summary, short_id,
    table, to_the_second, with_age,
};

/// `selfsame runs …`
#[derive(Debug, Args)]
pub(crate) struct RunsArgs {
    /// Only this run: its id, or at least four characters that it begins with
    run: Option<String>,
    /// The fleet file
    #[arg(long, env = "SELFSAME_CONFIG", default_value = "fleet.yaml")]
    config: PathBuf,
    /// One collection; all without it
    #[arg(long, conflicts_with = "run")]
    collection: Option<CollectionName>,
    /// Only runs that began within this time: 90s, 1h, 7d
    #[arg(long, conflicts_with = "run")]
    since: Option<String>,
    /// Only runs that found something on this node
    #[arg(long, conflicts_with = "run")]
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
    /// The run's id, or at least four characters that it begins with
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
    let reply = match &args.run {
        Some(run) => one_run(&config, run).await?,
        None => matching_runs(args, &config).await?,
    };
    tell_silent(&reply.silent);
    let listed = |run: &v1::RunSummary| Summary {
        silent: names(&reply.silent),
        runs_truncated: Some(reply.truncated),
        ..Summary::told(run)
    };
    let mut summaries: Vec<Summary> = reply.runs.iter().map(listed).collect();
    waiting::count(&config, &mut summaries).await;
    match args.output {
        Output::Json => print_json(&summaries)?,
        Output::Text if summaries.is_empty() => {
            print_line("no such run is known; hint: `selfsame run --wait`")?
        }
        Output::Text => {
            print_line(&run_table(&reply.runs, &summaries).to_string())?;
            if reply.truncated {
                print_line("… older runs were left out; hint: raise --limit")?;
            }
            print_line("hint: selfsame show RUN lists what a run found")?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn matching_runs(args: &RunsArgs, config: &FleetConfig) -> anyhow::Result<v1::RunsReply> {
    let since = match &args.since {
        None => None,
        Some(text) => {
            let ago = crate::config::duration(text).map_err(|error| Usage(format!("--since: {error}")))?;
            Some(SystemClock.now().plus(-i64::try_from(ago.as_micros()).unwrap_or(i64::MAX)).0)
        }
    };
    let request = &v1::RunsRequest {
        collection: args.collection.as_ref().map(ToString::to_string).unwrap_or_default(),
        since,
        node: args.node.as_ref().map(ToString::to_string).unwrap_or_default(),
        limit: args.limit,
    };
    ask(config, |mut client| async move { client.runs(request.clone()).await }).await
}

/// One run as a list, without its items.
async fn one_run(config: &FleetConfig, run: &str) -> anyhow::Result<v1::RunsReply> {
    let mut summary = shown(config, run, 1).await?.summary.unwrap_or_default();
    let silent = std::mem::take(&mut summary.silent);
    Ok(v1::RunsReply { runs: vec![summary], truncated: false, silent })
}

/// A run as the agents know it, with some of its items.
pub(super) async fn shown(config: &FleetConfig, run: &str, limit: u32) -> anyhow::Result<v1::ShowReply> {
    let request = &v1::ShowRequest { run: run.to_owned(), limit };
    ask(config, |mut client| async move { client.show(request.clone()).await }).await
}

fn run_table(runs: &[v1::RunSummary], summaries: &[Summary]) -> Table {
    let mut rows = table(&[
        "run",
        "began",
        "collection",
        "verdict",
        "shards",
        "differ",
        "repaired",
        "planned",
        "held",
        "unreadable",
        "took",
    ]);
    numbers(&mut rows, [4, 5, 6, 8, 9, 10]);
    for (run, summary) in runs.iter().zip(summaries) {
        let (running, is_over) = (summary.state == "running", summary.state == "finished");
        rows.add_row([
            short_id(&run.run).to_owned(),
            to_the_second(WallMicros(run.started_at)),
            run.collection.clone(),
            if running { "running".to_owned() } else { verdict_cell(run, summary) },
            run.shards.to_string(),
            run.mismatches.to_string(),
            run.repaired.to_string(),
            planned_cell(summary),
            run.held.to_string(),
            run.unreadable.to_string(),
            if is_over { lasted(run.duration_ms) } else { "-".to_owned() },
        ]);
    }
    rows
}

/// The verdict with what one asks next: why it is unknown.
fn verdict_cell(run: &v1::RunSummary, summary: &Summary) -> String {
    let reasons: Vec<&str> = summary.unknown.keys().copied().collect();
    let verdict = match summary.verdict {
        "unknown" if !reasons.is_empty() => format!("unknown: {}", reasons.join(", ")),
        verdict => verdict.replace('_', " "),
    };
    match (summary.state, run.dry_run) {
        ("abandoned", _) => format!("{verdict} (abandoned)"),
        (_, true) => format!("{verdict} (dry run)"),
        (_, false) => verdict,
    }
}

/// How many repairs wait for approval, and why.
fn planned_cell(summary: &Summary) -> String {
    match summary.planned_repairs {
        None => "unknown".to_owned(),
        Some(0) => "-".to_owned(),
        Some(repairs) => {
            let reasons: Vec<&str> = summary.planned.keys().map(String::as_str).collect();
            format!("{repairs}: {}", reasons.join(", "))
        }
    }
}

/// Runs `selfsame show`.
pub(crate) async fn show(args: &ShowArgs) -> anyhow::Result<ExitCode> {
    let Some(config) = load(&args.config)? else { return Ok(super::usage()) };
    let reply = shown(&config, &args.run, args.limit).await?;
    let told = reply.summary.clone().unwrap_or_default();
    tell_silent(&told.silent);
    let mut summary = Summary::told(&told).with_shown(&reply);
    waiting::count(&config, std::slice::from_mut(&mut summary)).await;
    match args.output {
        Output::Json => print_json(&summary)?,
        Output::Text => {
            print_line(&heading(&told, SystemClock.now()))?;
            print_summary(&summary, Versions::of(&config, &summary.collection))?;
            if waits_no_more(&told, &summary) {
                let why = match is_repair_off(&config, &summary.collection) {
                    true => "repair is off",
                    false => "it was approved, dropped, or planned anew by a later run, or has expired",
                };
                print_line(&format!("  nothing of what it planned waits for approval: {why}"))?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn heading(run: &v1::RunSummary, now: WallMicros) -> String {
    let kind = match (run.dry_run, run.scheduled) {
        (true, _) => "a dry run",
        (false, true) => "scheduled",
        (false, false) => "on request",
    };
    let took = match run.state() {
        v1::RunState::Running => "not over yet".to_owned(),
        v1::RunState::Abandoned => {
            "abandoned: an agent stopped midway, and has not taken it up again".to_owned()
        }
        _ => format!("took {}", lasted(run.duration_ms)),
    };
    let began = with_age(WallMicros(run.started_at), now);
    format!("run {} over {}: {kind}, began {began}, {took}", run.run, run.collection)
}

/// Whether the run planned repairs that nobody can approve any more, though its items say `planned`.
fn waits_no_more(run: &v1::RunSummary, summary: &Summary) -> bool {
    let planned = |items: &Vec<ItemRow>| items.iter().any(|item| item.outcome == "planned");
    !run.dry_run && summary.planned_repairs == Some(0) && summary.items.as_ref().is_some_and(planned)
}

fn is_repair_off(config: &FleetConfig, collection: &str) -> bool {
    let mut collections = config.fleet.collections.iter();
    let known = collections.find(|known| known.name.as_str() == collection);
    known.is_some_and(|known| known.repair == RepairMode::Off)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run() -> v1::RunSummary {
        v1::RunSummary {
            run: "c4587b43-7831-831f-86fc-30807098879b".to_owned(),
            collection: "products".to_owned(),
            state: v1::RunState::Finished.into(),
            verdict: v1::Verdict::Diverged.into(),
            started_at: 1_795_176_324_007_000,
            duration_ms: 2_181,
            shards: 16,
            mismatches: 7,
            unreadable: 3,
            ..v1::RunSummary::default()
        }
    }

    #[test]
    fn a_list_says_what_waits_and_why_and_what_cannot_be_read() {
        let told = run();
        let mut summary = Summary::told(&told);
        summary.planned.insert("first_pass".to_owned(), 3);
        summary.planned_repairs = Some(4);
        let text = run_table(&[told], &[summary]).to_string();
        let cells: Vec<&str> = text
            .lines()
            .nth(3)
            .unwrap()
            .split(['│', '┆'])
            .map(str::trim)
            .filter(|cell| !cell.is_empty())
            .collect();
        assert_eq!(
            cells,
            [
                "c4587b43",
                "2026-11-20T12:05:24Z",
                "products",
                "diverged",
                "16",
                "7",
                "0",
                "4: first_pass",
                "0",
                "3",
                "2.1 s"
            ]
        );
    }

    #[test]
    fn a_run_that_is_not_over_has_no_verdict() {
        let told = v1::RunSummary { state: v1::RunState::Running.into(), ..run() };
        let text = run_table(std::slice::from_ref(&told), &[Summary::told(&told)]).to_string();
        assert!(text.contains("running") && !text.contains("diverged") && !text.contains("2.1 s"), "{text}");
        assert!(heading(&told, WallMicros(told.started_at)).ends_with("(just now), not over yet"));
    }

    #[test]
    fn an_abandoned_run_says_so_and_not_how_long_it_took() {
        let told = v1::RunSummary { state: v1::RunState::Abandoned.into(), ..run() };
        let text = run_table(std::slice::from_ref(&told), &[Summary::told(&told)]).to_string();
        assert!(text.contains("diverged (abandoned)") && !text.contains("2.1 s"), "{text}");
        assert!(heading(&told, WallMicros(told.started_at)).contains("abandoned: an agent stopped midway"));
    }

    #[test]
    fn an_unknown_verdict_has_its_reasons() {
        let unknown = v1::RunSummary {
            verdict: v1::Verdict::Unknown.into(),
            dry_run: true,
            unknown: vec![v1::ReasonCount { reason: v1::UnknownReason::Unreachable.into(), shards: 2 }],
            ..run()
        };
        let cell = verdict_cell(&unknown, &Summary::told(&unknown));
        assert_eq!(cell, "unknown: unreachable (dry run)");
    }
}
