//! What came out of a check.

use std::fmt;

use super::Shape;

/// The outcome of every rule that was asked for: none is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Rules that hold.
    pub passed: Vec<Finding>,
    /// Rules that are broken, and how.
    pub failed: Vec<Finding>,
    /// Rules, or parts of rules that otherwise passed or failed, that were not tried, and why.
    pub skipped: Vec<Finding>,
}

/// A rule in one shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The rule's stable name.
    pub rule: &'static str,
    /// The shape in which it was tried.
    pub shape: Shape,
    /// How it is broken, or why it was not tried; empty if it holds.
    pub why: String,
}

impl Report {
    /// The names of the broken rules, sorted, each once.
    pub fn failed_rules(&self) -> Vec<&'static str> {
        let mut names: Vec<_> = self.failed.iter().map(|finding| finding.rule).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Panics with the whole report if a rule is broken, or if none was tried.
    ///
    /// # Panics
    /// That is what it is for: the last line of a store author's test.
    pub fn assert_passed(&self) {
        assert!(
            self.failed.is_empty() && !self.passed.is_empty(),
            "the store breaks the port's rules\n{self}"
        );
    }
}

impl fmt::Display for Report {
    /// A table: outcome, rule, shape and why; failures last, where a reader looks first.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let groups = [("passed", &self.passed), ("skipped", &self.skipped), ("FAILED", &self.failed)];
        for (outcome, findings) in groups {
            for Finding { rule, shape, why } in findings {
                let shape = format!("{shape:?}");
                writeln!(f, "{}", format!("{outcome:<8} {rule:<20} {shape:<9} {why}").trim_end())?;
            }
        }
        write!(
            f,
            "{} passed, {} skipped, {} failed",
            self.passed.len(),
            self.skipped.len(),
            self.failed.len()
        )
    }
}
