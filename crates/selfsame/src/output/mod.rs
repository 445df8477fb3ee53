//! What commands print: data on stdout, for people or for tools; talk on stderr.

mod progress;
mod summary;
mod text;

pub(crate) use progress::Terminal;
pub(crate) use summary::{ItemRow, OUTPUT_VERSION, Summary, reasons, verdict_name};
pub(crate) use text::{print_summary, table};

use clap::ValueEnum;

/// The form in which a command prints its result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people.
    #[default]
    Text,
    /// One JSON object, versioned.
    Json,
}

/// Prints one JSON object on stdout.
pub(crate) fn print_json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    print_line(&serde_json::to_string_pretty(value)?)
}

/// Prints a line on stdout. A closed pipe ends the output, not the process with a panic.
pub(crate) fn print_line(line: &str) -> anyhow::Result<()> {
    use std::io::Write as _;
    writeln!(std::io::stdout().lock(), "{line}")?;
    Ok(())
}
