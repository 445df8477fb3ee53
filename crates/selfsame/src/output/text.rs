//! Results for people: what is true, what is unknown, and what to do.

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{ContentArrangement, Table};
use selfsame_core::UnknownReason;

use super::print_line;
use super::summary::{ItemRow, Summary};

/// An empty table with the given header, as wide as the terminal.
pub(crate) fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_style(UTF8_FULL_CONDENSED)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(header);
    table
}

/// Prints the result of a run.
pub(crate) fn print_summary(summary: &Summary) -> anyhow::Result<()> {
    if let Some(items) = &summary.items
        && !items.is_empty()
    {
        print_line(&item_table(items).to_string())?;
        if summary.items_truncated == Some(true) {
            print_line("… more items were left out; hint: raise --limit")?;
        }
    }
    for line in lines(summary) {
        print_line(&line)?;
    }
    Ok(())
}

fn item_table(items: &[ItemRow]) -> Table {
    let mut table = table(&["key", "replica", "cause", "version", "action", "outcome"]);
    for item in items {
        let version = |version: Option<i64>| version.map_or("-".to_owned(), |version| version.to_string());
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
            format!("{} → {}", version(item.version_before), version(item.version_after)),
            action,
            outcome,
        ]);
    }
    table
}

fn lines(summary: &Summary) -> Vec<String> {
    let mut lines = Vec::new();
    let shards = summary.shards;
    lines.push(match (summary.verdict, &summary.as_of) {
        ("in_sync", Some(as_of)) => {
            format!("{}: in sync as of {as_of} ({} keys, {shards} shards)", summary.collection, summary.keys)
        }
        ("diverged", _) => {
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
    for (reason, count) in &summary.planned {
        lines.push(format!("  {count} of {shards} shards planned, not repaired: {reason}"));
    }
    for (reason, count) in &summary.unknown {
        let hint = UnknownReason::from_name(reason).map_or("", UnknownReason::hint);
        lines.push(format!("  {count} of {shards} shards unknown: {reason}; hint: {hint}"));
    }
    lines
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

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
}
