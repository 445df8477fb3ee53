//! What commands print: data on stdout, for people or for tools; talk on stderr.

pub(crate) mod causes;
mod instants;
mod load;
mod progress;
mod stream;
mod summary;
mod text;

pub(crate) use instants::{ago, lasted, to_the_second, until, with_age};
pub(crate) use load::Load;
pub(crate) use progress::Terminal;
pub(crate) use stream::{Closed, has_colours, print_line, talk};
pub(crate) use summary::{ItemRow, OUTPUT_VERSION, Summary, reasons, verdict_name};
pub(crate) use text::{Versions, numbers, print_summary, short_id, table};

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

/// Prints one JSON value on stdout.
pub(crate) fn print_json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    print_line(&serde_json::to_string_pretty(value)?)
}

/// Prints the one value, or the list of several or none.
pub(crate) fn print_json_of_each<T: serde::Serialize>(values: &[T]) -> anyhow::Result<()> {
    match values {
        [value] => print_json(value),
        values => print_json(&values),
    }
}
