//! What fingerprinting, comparing and keeping an index cost, beside peers and limits, in one run on one core.
//!
//! `cargo bench -p selfsame-benches` prints Markdown tables; with `-- --json`, one JSON object for tools. Times are
//! the best of 15 rounds; bytes and round trips are exact and the same on every machine.

mod compare;
mod fingerprint;
mod report;
mod upkeep;

use std::io::{Write as _, stdout};

use report::Report;

fn main() -> std::io::Result<()> {
    let json = std::env::args().any(|argument| argument == "--json");
    let mut report = Report::default();
    fingerprint::measure(&mut report);
    compare::measure(&mut report);
    upkeep::measure(&mut report);
    let text = if json { report.to_json() } else { report.to_markdown() };
    stdout().lock().write_all(text.as_bytes())
}
