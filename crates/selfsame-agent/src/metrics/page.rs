//! The tables of `docs/metrics.md`, from the table of metrics.

use selfsame_core::{Cause, UnknownReason};

use super::counted::{OUTCOMES, WHEN};
use super::sampled::VERDICTS;
use super::table::{self, Family, Label};

/// The line after which the generated part of the page begins.
pub(super) const BEGIN: &str = "<!-- generated from the table of metrics: edit that, not this -->";

/// The line before which it ends.
pub(super) const END: &str = "<!-- end of the generated part -->";

/// The generated part of the page: the tables of all metrics and labels, between its marks.
pub fn markdown() -> String {
    let head = "| metric | type | labels | meaning |\n| --- | --- | --- | --- |\n";
    let mut out = format!("{BEGIN}\n\n## Metrics\n\n{head}");
    table::ALL.iter().for_each(|family| out.push_str(&row(family)));
    out.push_str("\n## Labels\n\n| label | values |\n| --- | --- |\n");
    for label in Label::ALL {
        out.push_str(&format!("| `{}` | {} |\n", label.as_str(), values(label)));
    }
    out.push_str(&format!("\n## The process\n\nOn Linux only.\n\n{head}"));
    table::PROCESS.iter().for_each(|family| out.push_str(&row(family)));
    out.push('\n');
    out.push_str(END);
    out
}

fn row(family: &Family) -> String {
    let labels = code_list(family.labels.iter().map(|label| label.as_str()));
    format!("| `{}` | {} | {labels} | {} |\n", family.name, family.kind.as_str(), family.help)
}

/// Which values a label has.
fn values(label: Label) -> String {
    match label {
        Label::Collection => "the configured collections".to_owned(),
        Label::Replica => "the nodes of the collection's configured replicas".to_owned(),
        Label::Agent => "the other agents of the configuration".to_owned(),
        Label::Version => "the agent's own version".to_owned(),
        Label::Cause => code_list(Cause::ALL.into_iter().map(Cause::as_str)),
        Label::Outcome => code_list(OUTCOMES),
        Label::Verdict => code_list(VERDICTS),
        Label::When => code_list(WHEN),
        Label::Reason => code_list(UnknownReason::ALL.into_iter().map(UnknownReason::as_str)),
    }
}

fn code_list<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    words.into_iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}
