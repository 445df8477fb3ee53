use std::collections::BTreeSet;
use std::path::Path;

use selfsame_core::{Cause, HoldReason, UnknownReason};

use super::counted::OUTCOMES;
use super::families::Families;
use super::table::{self, Kind, Label};
use super::{markdown, page};
use crate::exchange::report::Outcome;

/// Set to write the generated part of the page instead of checking it.
const WRITE: &str = "SELFSAME_WRITE_DOCS";

#[test]
fn the_page_has_the_generated_tables() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/metrics.md");
    let text = std::fs::read_to_string(&file).unwrap();
    let start = text.find(page::BEGIN).expect("the page has the mark where the tables begin");
    let end = text.find(page::END).expect("the page has the mark where they end") + page::END.len();
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(&file, [&text[..start], &markdown(), &text[end..]].concat()).unwrap();
        return;
    }
    let help =
        format!("docs/metrics.md is stale. Write it: {WRITE}=1 cargo test -p selfsame-agent --lib metrics");
    assert!(text[start..end] == markdown(), "{help}");
}

#[test]
fn names_say_what_they_are() {
    let mut names = BTreeSet::new();
    for family in table::ALL {
        let name = family.name;
        assert!(names.insert(name), "{name} stands in the table twice");
        assert!(name.starts_with("selfsame_"), "{name}");
        assert!(name.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{name}");
        assert_eq!(name.ends_with("_total"), family.kind == Kind::Counter, "{name}");
        assert!(family.help.ends_with('.') && !family.help.contains(['|', '\n']), "{name}: {}", family.help);
        assert!(family.labels.iter().all(|label| Label::ALL.contains(label)), "{name}");
    }
}

#[test]
fn every_metric_of_the_table_can_be_made() {
    let families = Families::new();
    for family in table::ALL {
        match family.kind {
            Kind::Counter => drop(families.counters(family)),
            Kind::Gauge => drop(families.gauges(family)),
            Kind::Histogram => drop(families.durations(family)),
        }
    }
    families.process();
}

#[test]
fn every_outcome_has_its_label() {
    let told = [
        Outcome::Planned,
        Outcome::Repaired,
        Outcome::AlreadyThere,
        Outcome::Changed,
        Outcome::Moving,
        Outcome::Held(HoldReason::Tie),
        Outcome::Unreadable,
        Outcome::Refused(String::new()),
        Outcome::Unanswered(String::new()),
        Outcome::Incomparable,
    ];
    for outcome in &told {
        // A new outcome does not compile here before it stands above.
        match outcome {
            Outcome::Planned | Outcome::Repaired | Outcome::AlreadyThere | Outcome::Changed => {}
            Outcome::Moving | Outcome::Held(_) | Outcome::Unreadable => {}
            Outcome::Refused(_) | Outcome::Unanswered(_) | Outcome::Incomparable => {}
        }
    }
    assert_eq!(told.each_ref().map(Outcome::as_str), OUTCOMES);
}

#[test]
fn causes_and_reasons_are_told_apart_by_name() {
    let causes: BTreeSet<_> = Cause::ALL.into_iter().map(Cause::as_str).collect();
    assert_eq!(causes.len(), Cause::ALL.len());
    let reasons: BTreeSet<_> = UnknownReason::ALL.into_iter().map(UnknownReason::as_str).collect();
    assert_eq!(reasons.len(), UnknownReason::ALL.len());
}
