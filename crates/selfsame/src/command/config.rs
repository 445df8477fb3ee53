//! `selfsame config`: looks at configuration files without starting anything.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};

use super::usage;
use crate::config::{self, FleetConfig, Problems};
use crate::output::{print_json, print_line, talk};

/// `selfsame config …`
#[derive(Debug, Args)]
pub(crate) struct ConfigArgs {
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Report all problems of a fleet file at once
    Check {
        /// The fleet file
        file: PathBuf,
        /// The form of the report
        #[arg(long, value_enum, default_value_t = CheckOutput::Text)]
        output: CheckOutput,
    },
    /// Print every setting with its default
    Defaults {
        /// The form of the list
        #[arg(long, value_enum, default_value_t = DefaultsOutput::Yaml)]
        output: DefaultsOutput,
    },
    /// Print a JSON Schema of fleet files, for editors
    Schema,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum CheckOutput {
    /// FILE:LINE:COLUMN: MESSAGE, on stderr
    Text,
    /// A list of {line, column, message, hint}, on stdout
    Json,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum DefaultsOutput {
    /// An annotated YAML file
    Yaml,
    /// The tables of the documentation
    Markdown,
}

/// Runs the command.
///
/// # Errors
/// Only if the output cannot be written.
pub(crate) fn run(args: &ConfigArgs) -> anyhow::Result<ExitCode> {
    match &args.command {
        ConfigCommand::Check { file, output } => {
            let outcome = config::load(file);
            if let Ok(config) = &outcome {
                warn(&file.display().to_string(), config)?;
            }
            match output {
                CheckOutput::Text => report(&file.display().to_string(), &outcome),
                CheckOutput::Json => report_json(&outcome),
            }
        }
        ConfigCommand::Defaults { output } => {
            let text = match output {
                DefaultsOutput::Yaml => config::annotated_yaml(),
                DefaultsOutput::Markdown => config::markdown(),
            };
            print_line(text.trim_end())?;
            Ok(ExitCode::SUCCESS)
        }
        ConfigCommand::Schema => {
            print_json(&config::json_schema())?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Warnings are talk, whatever the form of the report.
pub(super) fn warn(file: &str, config: &FleetConfig) -> anyhow::Result<()> {
    for warning in &config.warnings {
        let mut line = String::new();
        warning.write(&mut line, file, "warning: ")?;
        talk(&line);
    }
    Ok(())
}

fn report(file: &str, outcome: &Result<FleetConfig, Problems>) -> anyhow::Result<ExitCode> {
    match outcome {
        Ok(config) => {
            let fleet = &config.fleet;
            print_line(&format!(
                "{file}: ok: {}, {}, {}",
                counted(fleet.agents.len(), "agent"),
                counted(config.nodes.len(), "node"),
                counted(fleet.collections.len(), "collection"),
            ))?;
            Ok(ExitCode::SUCCESS)
        }
        Err(problems) => {
            talk(&problems.to_string());
            Ok(usage())
        }
    }
}

fn report_json(outcome: &Result<FleetConfig, Problems>) -> anyhow::Result<ExitCode> {
    let (problems, code) = match outcome {
        Ok(_) => (&[][..], ExitCode::SUCCESS),
        Err(problems) => (problems.list(), usage()),
    };
    print_json(&problems)?;
    Ok(code)
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}
