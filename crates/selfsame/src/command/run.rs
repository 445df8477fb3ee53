//! `selfsame run`: a pass over a collection by the agents that own its shards.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use selfsame_core::CollectionName;
use selfsame_wire::v1;
use selfsame_wire::v1::run_event::Event;
use tonic::Streaming;
use uuid::Uuid;

use super::load;
use crate::client::{ask, tell_silent};
use crate::config::FleetConfig;
use crate::output::{Output, Summary, print_json, print_line, print_summary};

/// `selfsame run …`
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// The fleet file
    #[arg(long, env = "SELFSAME_CONFIG", default_value = "fleet.yaml")]
    pub(crate) config: PathBuf,
    /// One collection; all without it
    #[arg(long)]
    pub(crate) collection: Option<CollectionName>,
    /// One shard; all without it
    #[arg(long)]
    pub(crate) shard: Option<u32>,
    /// Read all replicas before comparing
    #[arg(long)]
    pub(crate) scan: bool,
    /// Find everything, write nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Wait for the result
    #[arg(long)]
    pub(crate) wait: bool,
    /// The form of the result
    #[arg(long, value_enum, default_value_t)]
    pub(crate) output: Output,
}

/// Runs the command.
pub(crate) async fn run(args: &RunArgs) -> anyhow::Result<ExitCode> {
    let Some(config) = load(&args.config)? else { return Ok(super::usage()) };
    let request = v1::RunRequest {
        collection: args.collection.as_ref().map(ToString::to_string).unwrap_or_default(),
        shard: args.shard,
        scan: args.scan,
        dry_run: args.dry_run,
        wait: args.wait,
        request: Uuid::now_v7().as_bytes().to_vec(),
    };
    let summaries = follow(&config, &request, args.output).await?;
    if args.wait && summaries.is_empty() {
        let hint = "hint: the other agents go on with it; ask for it again with `selfsame runs`";
        writeln!(std::io::stderr(), "the agent that was asked ended before the run did; {hint}")?;
        return Ok(ExitCode::from(2));
    }
    let worst = summaries.iter().map(Summary::exit_code).fold(0, super::worse);
    match (args.output, summaries.as_slice()) {
        (Output::Text, summaries) => summaries.iter().try_for_each(print_summary)?,
        (Output::Json, []) => {}
        (Output::Json, [summary]) => print_json(summary)?,
        (Output::Json, summaries) => print_json(&summaries)?,
    }
    Ok(ExitCode::from(worst))
}

/// Starts a run and follows it, if it asks for that, to its summaries: one for each collection.
pub(crate) async fn follow(
    config: &FleetConfig,
    request: &v1::RunRequest,
    output: Output,
) -> anyhow::Result<Vec<Summary>> {
    let mut events: Streaming<v1::RunEvent> =
        ask(config, |mut client| async move { client.run(request.clone()).await }).await?;
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    let mut summaries = Vec::new();
    // A stream that breaks off ends as one whose agent drained: without a summary.
    while let Some(event) = events.message().await.unwrap_or_default() {
        match event.event {
            Some(Event::Started(started)) => {
                tell_silent(&started.silent)?;
                writeln!(std::io::stderr(), "run {} over {}", started.run, started.collection)?;
                if !request.wait && output == Output::Text {
                    print_line(&started.run)?;
                }
            }
            Some(Event::Progress(progress)) => show(&bar, &progress),
            Some(Event::Summary(summary)) => {
                bar.finish_and_clear();
                tell_silent(&summary.silent)?;
                summaries.push(Summary::told(&summary));
            }
            None => {}
        }
    }
    bar.finish_and_clear();
    Ok(summaries)
}

fn show(bar: &ProgressBar, progress: &v1::RunProgress) {
    let (what, done, total) = if progress.phase() == v1::RunPhase::Scan {
        ("rows scanned", progress.rows_scanned, progress.rows_total)
    } else {
        ("shards compared", u64::from(progress.shards_done), u64::from(progress.shards))
    };
    bar.set_style(
        ProgressStyle::with_template("{bar:30} {pos}/{len} {msg}").expect("the template is a constant"),
    );
    bar.set_length(total.max(done));
    bar.set_position(done);
    bar.set_message(format!("{what}, {} keys differ, {} repaired", progress.mismatches, progress.repaired));
}
