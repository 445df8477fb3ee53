//! `selfsame run`: a pass over a collection by the agents that own its shards.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use selfsame_core::CollectionName;
use selfsame_wire::v1;
use selfsame_wire::v1::run_event::Event;
use serde::Serialize;
use tonic::Streaming;
use uuid::Uuid;

use super::{load, waiting};
use crate::client::{ask, names, tell_silent};
use crate::config::FleetConfig;
use crate::output::{
    OUTPUT_VERSION, Output, Summary, Versions, print_json_of_each, print_line, print_summary, short_id, talk,
};

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

/// A run that has begun, for whoever does not wait for it.
#[derive(Debug, Serialize)]
pub(crate) struct Started {
    version: u32,
    collection: String,
    run: String,
    state: &'static str,
    shards: u32,
    /// Agents that did not hear of it.
    silent: Vec<String>,
}

/// What was told of a run: one object for each collection.
#[derive(Debug, Default)]
pub(crate) struct Followed {
    pub(crate) started: Vec<Started>,
    pub(crate) summaries: Vec<Summary>,
    /// Collections of which no result was told, though it was asked for.
    pub(crate) unfinished: Vec<String>,
}

impl Followed {
    /// Says of which collections nothing is known; gives the code of it.
    pub(crate) fn tell_unfinished(&self, hint: &str) -> u8 {
        if self.unfinished.is_empty() {
            return 0;
        }
        let of = self.unfinished.join(", ");
        talk(&format!("the agent that was asked ended before the result of {of}; hint: {hint}"));
        2
    }
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
    let mut followed = follow(&config, &request).await?;
    let Followed { started, summaries, .. } = &mut followed;
    if started.is_empty() {
        talk("the agent that was asked ended before it began the run; hint: ask again");
        return Ok(ExitCode::from(2));
    }
    if !args.wait {
        match args.output {
            Output::Text => started.iter().try_for_each(|started| print_line(&started.run))?,
            Output::Json => print_json_of_each(started)?,
        }
        return Ok(ExitCode::SUCCESS);
    }
    waiting::count(&config, summaries).await;
    print_summaries(&config, summaries, args.output)?;
    let code = summaries.iter().map(Summary::exit_code).fold(0, super::worse);
    let hint = "the other agents go on with it; look for it with `selfsame runs`";
    Ok(ExitCode::from(super::worse(code, followed.tell_unfinished(hint))))
}

/// Prints the results of a run over all its collections: nothing if there is none.
pub(crate) fn print_summaries(
    config: &FleetConfig,
    summaries: &[Summary],
    output: Output,
) -> anyhow::Result<()> {
    match output {
        Output::Text => summaries
            .iter()
            .try_for_each(|summary| print_summary(summary, Versions::of(config, &summary.collection))),
        Output::Json if summaries.is_empty() => Ok(()),
        Output::Json => print_json_of_each(summaries),
    }
}

/// Starts a run and follows it, if it asks for that, to its summaries.
pub(crate) async fn follow(config: &FleetConfig, request: &v1::RunRequest) -> anyhow::Result<Followed> {
    let mut events: Streaming<v1::RunEvent> =
        ask(config, |mut client| async move { client.run(request.clone()).await }).await?;
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    let mut followed = Followed::default();
    if request.wait {
        let only = config.fleet.collections.iter().map(|collection| collection.name.to_string());
        let wanted = |name: &String| request.collection.is_empty() || *name == request.collection;
        followed.unfinished = only.filter(wanted).collect();
    }
    let mut told = BTreeSet::new();
    // A stream that breaks off ends as one whose agent drained: without a summary.
    while let Some(event) = events.message().await.unwrap_or_default() {
        match event.event {
            Some(Event::Started(started)) => {
                tell_silent(&started.silent);
                told = started.silent.iter().map(|silent| silent.agent.clone()).collect();
                let hint = match request.wait {
                    true => String::new(),
                    false => format!("; hint: selfsame show {} has what it finds", short_id(&started.run)),
                };
                talk(&format!("run {} over {}{hint}", started.run, started.collection));
                followed.started.push(Started {
                    version: OUTPUT_VERSION,
                    collection: started.collection,
                    run: started.run,
                    state: "started",
                    shards: started.shards,
                    silent: names(&started.silent),
                });
            }
            Some(Event::Progress(progress)) => show(&bar, &progress),
            Some(Event::Summary(mut summary)) => {
                bar.finish_and_clear();
                let of_collection = Summary::told(&summary);
                // Who was missing at the start was named then.
                summary.silent.retain(|silent| !told.contains(&silent.agent));
                tell_silent(&summary.silent);
                followed.unfinished.retain(|name| *name != summary.collection);
                followed.summaries.push(of_collection);
            }
            None => {}
        }
    }
    bar.finish_and_clear();
    Ok(followed)
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
