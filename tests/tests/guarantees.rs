//! Each promise of `docs/guarantees.md` names the tests that show it: they exist, and run.

#![allow(clippy::unwrap_used, reason = "all of this file is tests")]

use std::fs;
use std::path::Path;

/// The attributes under which a function runs as a test.
const RUNS: [&str; 3] = ["#[test]", "#[tokio::test", "proptest!"];

/// Lines before a test's name in which its attribute stands.
const ATTRIBUTE_LINES_MAX: usize = 4;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// What is wrong with `FILE::TEST`, if anything.
fn fault(named: &str) -> Option<String> {
    let Some((file, test)) = named.split_once("::") else { return Some("no test is named".to_owned()) };
    let Ok(text) = fs::read_to_string(root().join(file)) else { return Some(format!("no file {file}")) };
    let lines: Vec<&str> = text.lines().collect();
    let Some(at) = lines.iter().position(|line| line.trim_start().contains(&format!("fn {test}("))) else {
        return Some("no such test".to_owned());
    };
    let before = &lines[at.saturating_sub(ATTRIBUTE_LINES_MAX)..at];
    let ignored = before.iter().any(|line| line.contains("#[ignore"));
    let runs = before.iter().any(|line| RUNS.iter().any(|runs| line.contains(runs)));
    match (ignored, runs) {
        (true, _) => Some("is ignored".to_owned()),
        (false, false) => Some("is no test".to_owned()),
        (false, true) => None,
    }
}

/// The cells of the table of promises, each a promise and what it names.
fn promises(text: &str) -> Vec<(&str, Vec<&str>)> {
    let table = text.split("## Promised").nth(1).unwrap().split("## Not promised").next().unwrap();
    let rows = table.lines().filter(|line| line.starts_with('|')).skip(2);
    let cells = rows.map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').splitn(2, '|').map(str::trim).collect();
        let named = cells[1].split('`').skip(1).step_by(2).collect();
        (cells[0], named)
    });
    cells.collect()
}

#[test]
fn every_promise_names_tests_that_exist() {
    let text = fs::read_to_string(root().join("docs/guarantees.md")).unwrap();
    let promises = promises(&text);
    assert!(promises.len() >= 15, "the table was read: {promises:?}");
    let mut faults = Vec::new();
    for (promise, named) in promises {
        if named.is_empty() {
            faults.push(format!("{promise}: no test"));
        }
        faults.extend(named.iter().filter_map(|named| Some(format!("{named}: {}", fault(named)?))));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn a_test_that_is_not_there_is_found_out() {
    assert!(fault("tests/tests/guarantees.rs::nobody_wrote_this").is_some());
    assert!(fault("tests/tests/guarantees.rs::fault").is_some(), "a function is no test");
    assert!(fault("tests/tests/nowhere.rs::every_promise_names_tests_that_exist").is_some());
    assert_eq!(fault("tests/tests/guarantees.rs::every_promise_names_tests_that_exist"), None);
}
