//! Results for people: what is true, what is unknown, and what to do.

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, ContentArrangement, Table};
use selfsame_core::{HoldReason, UnknownReason, VersionKind, WallMicros};

use super::summary::{ItemRow, Summary};
use super::{Load, causes, lasted, print_line};
use crate::config::FleetConfig;

/// Characters of an id in tables: any command takes them for the whole, as long as no other id begins so.
const SHORT_ID: usize = 8;

/// What the numbers are that a collection's documents have as versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Versions {
    /// Microseconds since 1970.
    Times,
    /// Just numbers.
    Numbers,
}

impl Versions {
    /// Those of a collection.
    pub(crate) fn of(config: &FleetConfig, collection: &str) -> Versions {
        let mut collections = config.fleet.collections.iter();
        match collections.find(|known| known.name.as_str() == collection) {
            Some(known) if known.policy.version_kind == VersionKind::Time => Versions::Times,
            _ => Versions::Numbers,
        }
    }

    /// A version, or a hyphen where there is none.
    pub(crate) fn text(self, version: Option<i64>) -> String {
        match (self, version) {
            (_, None) => "-".to_owned(),
            (Versions::Times, Some(version)) => WallMicros(version).to_string(),
            (Versions::Numbers, Some(version)) => version.to_string(),
        }
    }
}

/// The beginning of a run's id.
pub(crate) fn short_id(run: &str) -> &str {
    run.get(..SHORT_ID).unwrap_or(run)
}

/// An empty table with the given header, as wide as the terminal.
pub(crate) fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_style(UTF8_FULL_CONDENSED)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(header);
    table
}

/// Aligns columns of numbers, named by their place.
pub(crate) fn numbers(table: &mut Table, columns: impl IntoIterator<Item = usize>) {
    for index in columns {
        if let Some(column) = table.column_mut(index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
}

/// Prints the result of a run.
pub(crate) fn print_summary(summary: &Summary, versions: Versions) -> anyhow::Result<()> {
    if let Some(items) = &summary.items
        && !items.is_empty()
    {
        print_line(&item_table(items, versions).to_string())?;
        if summary.items_truncated == Some(true) {
            print_line("… more items were left out; hint: raise --limit")?;
        }
    }
    for line in lines(summary) {
        print_line(&line)?;
    }
    Ok(())
}

fn item_table(items: &[ItemRow], versions: Versions) -> Table {
    let mut table = table(&["key", "replica", "cause", "version", "age", "action", "outcome"]);
    for item in items {
        let action = match &item.from {
            Some(from) => format!("{} from {from}", item.action),
            None => item.action.clone(),
        };
        let outcome = match item.detail.as_str() {
            "" => item.outcome.clone(),
            detail => format!("{}: {detail}", item.outcome),
        };
        table.add_row([
            item.key.clone(),
            item.node.clone(),
            item.cause.clone(),
            format!("{} → {}", versions.text(item.version_before), versions.text(item.version_after)),
            aged(item),
            action,
            outcome,
        ]);
    }
    table
}

/// Why items are held, and what to do.
fn held(items: &[ItemRow]) -> Vec<String> {
    let held = |reason: &HoldReason| {
        items.iter().any(|item| item.outcome == "held" && item.detail == reason.as_str())
    };
    let line = |reason: HoldReason| format!("  held: {}; hint: {}", reason.as_str(), reason.hint());
    HoldReason::ALL.into_iter().filter(held).map(line).collect()
}

/// How old it was when it was found, and when it was repaired.
fn aged(item: &ItemRow) -> String {
    let ages = [item.age_found_ms, item.age_repaired_ms].into_iter().flatten().map(lasted);
    let mut ages: Vec<String> = ages.collect();
    ages.dedup();
    if ages.is_empty() { "-".to_owned() } else { ages.join(" → ") }
}

fn lines(summary: &Summary) -> Vec<String> {
    let mut lines = Vec::new();
    let shards = summary.shards;
    lines.push(match (summary.state, summary.verdict, &summary.as_of) {
        ("running", ..) => {
            format!("{}: the run is not over; {shards} shards are done so far", summary.collection)
        }
        (_, "in_sync", Some(as_of)) => {
            format!("{}: in sync as of {as_of} ({} keys, {shards} shards)", summary.collection, summary.keys)
        }
        (_, "diverged", _) => {
            format!("{}: diverged ({} keys, {shards} shards)", summary.collection, summary.keys)
        }
        _ => format!("{}: unknown ({} keys, {shards} shards)", summary.collection, summary.keys),
    });
    let counted = [
        (summary.mismatches, "key differs", "keys differ"),
        (summary.repaired, "repair written", "repairs written"),
        (summary.held, "key waits for a person", "keys wait for a person"),
        (summary.moving, "key moved while it was looked at", "keys moved while they were looked at"),
        (summary.transient, "difference was a write on its way", "differences were writes on their way"),
        (summary.unreadable, "document cannot be read", "documents cannot be read"),
    ];
    let counted: Vec<String> = counted
        .into_iter()
        .filter(|(count, ..)| *count > 0)
        .map(|(count, one, many)| format!("{count} {}", if count == 1 { one } else { many }))
        .collect();
    if !counted.is_empty() {
        lines.push(format!("  {}", counted.join(", ")));
    }
    if summary.held > 0 {
        let hint =
            format!("selfsame explain {} KEY says why a key is held, and what to do", summary.collection);
        lines.push(format!("  hint: {hint}"));
    }
    lines.extend(summary.items.iter().flat_map(|items| held(items)));
    lines.extend(summary.causes.iter().flat_map(|found| causes::lines(found)));
    for (reason, count) in &summary.planned {
        lines.push(format!("  {count} of {shards} shards planned, not repaired: {reason}"));
    }
    if let Some(repairs) = summary.planned_repairs.filter(|repairs| *repairs > 0) {
        lines.push(waiting(repairs, &summary.run));
        lines.extend(summary.plan.iter().flat_map(Load::lines).map(|line| format!("    {line}")));
    }
    for (reason, count) in &summary.unknown {
        let hint = UnknownReason::from_name(reason).map_or("", UnknownReason::hint);
        lines.push(format!("  {count} of {shards} shards unknown: {reason}; hint: {hint}"));
    }
    lines
}

/// That repairs of a run wait, and how to say yes or no.
fn waiting(repairs: u64, run: &str) -> String {
    let run = short_id(run);
    let waits = if repairs == 1 { "repair waits" } else { "repairs wait" };
    format!(
        "  {repairs} {waits} for approval; hint: selfsame show {run}, then selfsame approve {run} or selfsame drop {run}"
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_is_held_is_told_with_a_hint_once_for_each_reason() {
        let item = |outcome: &str, detail: &str| ItemRow {
            outcome: outcome.to_owned(),
            detail: detail.to_owned(),
            ..ItemRow::default()
        };
        let lines = held(&[item("held", "flapping"), item("held", "flapping"), item("refused", "tie")]);
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(
            lines[0].starts_with("  held: flapping; hint: find out what writes this key back"),
            "{lines:?}"
        );
    }

    #[test]
    fn ages_are_told_once_if_nothing_came_between() {
        let item = |found, repaired| ItemRow {
            age_found_ms: found,
            age_repaired_ms: repaired,
            ..ItemRow::default()
        };
        assert_eq!(aged(&item(None, None)), "-");
        assert_eq!(aged(&item(Some(61_000), None)), "61 s");
        assert_eq!(aged(&item(Some(61_000), Some(61_400))), "61 s");
        assert_eq!(aged(&item(Some(61_000), Some(7_200_000))), "61 s → 2 h");
    }

    #[test]
    fn a_result_without_shards_is_unknown_and_says_what_to_do() {
        let mut summary = Summary::of(&"products".parse().unwrap(), &[], Duration::ZERO);
        summary.unknown.insert("unreachable", 2);
        summary.shards = 16;
        let lines = lines(&summary);
        assert_eq!(lines[0], "products: unknown (0 keys, 16 shards)");
        assert!(lines[1].contains("2 of 16 shards unknown: unreachable; hint: bring"), "{lines:?}");
        assert_eq!(summary.exit_code(), 2);
    }

    #[test]
    fn what_waits_for_a_person_is_said_with_what_to_do() {
        let mut summary = Summary::of(&"products".parse().unwrap(), &[], Duration::ZERO);
        summary.run = "c4587b43-7831-831f-86fc-30807098879b".to_owned();
        summary.held = 1;
        summary.planned.insert("first_pass".to_owned(), 3);
        summary.planned_repairs = Some(4);
        let text = lines(&summary).join("\n");
        assert!(text.contains("hint: selfsame explain products KEY"), "{text}");
        assert!(text.contains("4 repairs wait for approval; hint: selfsame show c4587b43"), "{text}");
        assert!(text.contains("selfsame approve c4587b43 or selfsame drop c4587b43"), "{text}");
    }

    #[test]
    fn versions_that_are_times_are_shown_as_times() {
        assert_eq!(Versions::Times.text(Some(1_795_176_324_007_000)), "2026-11-20T12:05:24.007Z");
        assert_eq!(Versions::Numbers.text(Some(7)), "7");
        assert_eq!(Versions::Times.text(None), "-");
    }

    #[test]
    fn an_id_is_cut_only_where_it_is_long() {
        assert_eq!(short_id("c4587b43-7831-831f-86fc-30807098879b"), "c4587b43");
        assert_eq!(short_id("c458"), "c458");
    }
}
