//! Selfsame: keeps the replicas of document collections selfsame. The one binary.

mod client;
mod command;
mod config;
mod demo;
mod direct;
mod output;
mod stores;

use std::env::VarError;
use std::io;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use command::{INTERNAL, NOBODY_READS, USAGE, Usage};

/// What is logged, in the words of [`EnvFilter`].
const LOG_VARIABLE: &str = "SELFSAME_LOG";

/// Keeps the replicas of document collections selfsame
#[derive(Debug, Parser)]
#[command(version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Damage replicas on purpose, and show how they are found and repaired
    Demo(demo::DemoArgs),
    /// Run one agent of the fleet
    Agent(command::agent::AgentArgs),
    /// Show what is known of every agent, collection and replica
    Status(command::status::StatusArgs),
    /// Compare, and repair what differs
    Run(command::run::RunArgs),
    /// Show what differs between the replicas; repairs nothing
    Diff(command::diff::DiffArgs),
    /// List runs
    Runs(command::runs::RunsArgs),
    /// Show one run and what it found
    Show(command::runs::ShowArgs),
    /// Show one key on every replica, and what would be done about it
    Explain(command::explain::ExplainArgs),
    /// List what waits for approval
    Plan(command::plans::PlanArgs),
    /// Make the repairs of a plan
    Approve(command::plans::ApproveArgs),
    /// Drop a plan: nothing is written, and the same is not repaired again without approval
    Drop(command::plans::DecideArgs),
    /// Put back what a run repaired, where nobody has written since
    Undo(command::undo::UndoArgs),
    /// Erase what the agents' journals hold of one document
    Forget(command::forget::ForgetArgs),
    /// Tell the agents what the application deleted
    Notice(command::notice::NoticeArgs),
    /// Start no more repairs
    Pause(command::pause::PauseArgs),
    /// End a pause
    Resume(command::pause::ResumeArgs),
    /// Decide whose word counts for a node whose replicas are held
    Resync(command::resync::ResyncArgs),
    /// Print the SQL that a store needs, for `setup: manual`
    Setup(command::setup::SetupArgs),
    /// Look at configuration files
    Config(command::config::ConfigArgs),
    /// Print a shell's completions of these commands
    Completions(command::completions::CompletionsArgs),
}

fn main() -> ExitCode {
    #[cfg(feature = "failpoints")]
    let _scenario = fail::FailScenario::setup();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and the version are no errors. Where they cannot be printed, there is nobody to tell.
            let code = if error.use_stderr() { USAGE } else { 0 };
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    run(&cli.command).unwrap_or_else(|error| {
        if error.is::<output::Closed>() {
            return ExitCode::from(NOBODY_READS);
        }
        output::talk(&format!("selfsame: {error:#}"));
        ExitCode::from(match () {
            () if error.is::<Usage>() => USAGE,
            // Nobody answered, or not those who would know.
            () if error.is::<client::NobodyAnswered>() || error.is::<client::CannotKnow>() => 2,
            () => INTERNAL,
        })
    })
}

fn run(command: &Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Config(args) => command::config::run(args),
        Command::Completions(args) => command::completions::run::<Cli>(args),
        Command::Demo(args) => demo::run(args),
        Command::Agent(args) => runtime()?.block_on(command::agent::run(args)),
        Command::Status(args) => runtime()?.block_on(command::status::run(args)),
        Command::Setup(args) => runtime()?.block_on(command::setup::run(args)),
        Command::Run(args) => runtime()?.block_on(command::run::run(args)),
        Command::Diff(args) => runtime()?.block_on(command::diff::run(args)),
        Command::Runs(args) => runtime()?.block_on(command::runs::list(args)),
        Command::Show(args) => runtime()?.block_on(command::runs::show(args)),
        Command::Explain(args) => runtime()?.block_on(command::explain::run(args)),
        Command::Plan(args) => runtime()?.block_on(command::plans::list(args)),
        Command::Approve(args) => runtime()?.block_on(command::plans::approve(args)),
        Command::Drop(args) => runtime()?.block_on(command::plans::drop(args)),
        Command::Undo(args) => runtime()?.block_on(command::undo::run(args)),
        Command::Forget(args) => runtime()?.block_on(command::forget::run(args)),
        Command::Notice(args) => runtime()?.block_on(command::notice::run(args)),
        Command::Pause(args) => runtime()?.block_on(command::pause::pause(args)),
        Command::Resume(args) => runtime()?.block_on(command::pause::resume(args)),
        Command::Resync(args) => runtime()?.block_on(command::resync::run(args)),
    }
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    talk_to_stderr()?;
    tokio::runtime::Builder::new_multi_thread().enable_all().build().context("no async runtime")
}

/// Logs go to stderr, warnings and worse unless `SELFSAME_LOG` says otherwise. Into a file they have no colours.
fn talk_to_stderr() -> anyhow::Result<()> {
    let filter = match std::env::var(LOG_VARIABLE) {
        Err(VarError::NotPresent) => EnvFilter::new("warn"),
        Ok(directives) if directives.is_empty() => EnvFilter::new("warn"),
        Ok(directives) => log_filter(&directives)?,
        Err(VarError::NotUnicode(_)) => return Err(Usage(format!("{LOG_VARIABLE} is no text")).into()),
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(output::has_colours(&io::stderr()))
        .with_target(false)
        .compact()
        .init();
    Ok(())
}

/// Levels, alone or each for a target. A lone word would be taken for a target, and a misspelt level for one that
/// nobody has.
fn log_filter(directives: &str) -> Result<EnvFilter, Usage> {
    let hint = "hint: `info`, `debug`, or `warn,selfsame_agent=debug`";
    let words = directives.split(',').filter(|word| !word.contains(['=', '[', '{', '"']));
    for word in words {
        word.trim()
            .parse::<LevelFilter>()
            .map_err(|_| Usage(format!("{LOG_VARIABLE}={directives}: `{word}` is no level; {hint}")))?;
    }
    let parsed = EnvFilter::builder().parse(directives);
    parsed.map_err(|error| Usage(format!("{LOG_VARIABLE}={directives}: {error}; {hint}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_log_filter_is_refused_with_its_value_and_a_hint() {
        for wrong in ["inof", "selfsame_agent=loud", "warn,verbose", "=,="] {
            let Usage(why) = log_filter(wrong).unwrap_err();
            assert!(why.contains(&format!("SELFSAME_LOG={wrong}: ")) && why.contains("hint: "), "{why}");
        }
        for right in ["info", "DEBUG", "off", "info,fjall=warn,lsm_tree=warn", "warn,selfsame_agent=debug"] {
            assert!(log_filter(right).is_ok(), "{right}");
        }
    }
}
