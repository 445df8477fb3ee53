//! Counts tests from what test runners print.

use std::ops::AddAssign;

/// How many tests passed and failed. Skipped ones are in neither count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
}

impl Tally {
    /// The tally of one line: nothing, unless it is a result line of the runner.
    pub(crate) fn of_line(runner: Runner, line: &str) -> Tally {
        let line = without_colours(line);
        match runner {
            // `test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s`
            Runner::Libtest if line.starts_with("test result: ") => {
                counted(line.split_once(". ").map_or("", |(_, counts)| counts).split(';'))
            }
            // `Summary [   0.086s] 3/4 tests run: 1 passed (1 slow), 1 failed, 1 timed out, 0 skipped`
            Runner::Nextest if line.trim_start().starts_with("Summary [") => {
                counted(line.split_once("run: ").map_or("", |(_, counts)| counts).split(','))
            }
            _ => Tally::default(),
        }
    }
}

/// Who prints the result lines. Nextest repeats what libtest said of a test that failed, so that the lines of
/// one must not be looked for in the output of the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Runner {
    /// `cargo test`, doc tests included.
    Libtest,
    /// `cargo nextest run`.
    Nextest,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Tally) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

fn counted<'a>(parts: impl Iterator<Item = &'a str>) -> Tally {
    let mut tally = Tally::default();
    for part in parts {
        let Some((count, label)) = part.trim().split_once(' ') else { continue };
        let Ok(count) = count.parse::<u64>() else { continue };
        if label.starts_with("passed") {
            tally.passed += count;
        } else if ["failed", "timed out", "exec failed"].iter().any(|failed| label.starts_with(failed)) {
            tally.failed += count;
        }
    }
    tally
}

/// The line without the escape sequences that set colours (`ESC [ … m`).
fn without_colours(line: &str) -> String {
    let mut parts = line.split('\u{1b}');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        plain.push_str(part.split_once('m').map_or("", |(_, rest)| rest));
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    const OK: &str =
        "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 7 filtered out; finished in 0.00s";
    const FAILED: &str =
        "test result: FAILED. 2 passed; 5 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.0s";
    const SUMMARY: &str = "     Summary [   0.086s] 6/9 tests run: 2 passed (1 slow), 1 failed, \
        1 timed out, 2 exec failed, 4 skipped";

    #[test]
    fn result_lines_of_libtest_and_rustdoc_count() {
        let mut tally = Tally::of_line(Runner::Libtest, OK);
        assert_eq!(tally, Tally { passed: 3, failed: 0 });
        tally += Tally::of_line(Runner::Libtest, FAILED);
        assert_eq!(tally, Tally { passed: 5, failed: 5 });
    }

    #[test]
    fn the_summary_of_nextest_counts_whatever_made_a_test_fail() {
        assert_eq!(Tally::of_line(Runner::Nextest, SUMMARY), Tally { passed: 2, failed: 4 });
    }

    #[test]
    fn what_nextest_repeats_of_libtest_is_not_counted_twice() {
        assert_eq!(Tally::of_line(Runner::Nextest, FAILED), Tally::default());
        assert_eq!(Tally::of_line(Runner::Nextest, &format!("    {FAILED}")), Tally::default());
        assert_eq!(Tally::of_line(Runner::Libtest, SUMMARY), Tally::default());
    }

    #[test]
    fn colours_do_not_hide_a_summary() {
        let line = "\u{1b}[31;1m     Summary\u{1b}[0m [   0.086s] \u{1b}[1m2\u{1b}[0m tests run: \
            \u{1b}[1m1\u{1b}[0m \u{1b}[32;1mpassed\u{1b}[0m, \u{1b}[1m1\u{1b}[0m \u{1b}[31;1mfailed\u{1b}[0m, 0 skipped";
        assert_eq!(Tally::of_line(Runner::Nextest, line), Tally { passed: 1, failed: 1 });
    }

    #[test]
    fn other_lines_count_nothing() {
        for line in
            ["", "test a ... ok", "running 4 tests", "3 passed; 1 failed", "Summary [", "test result: "]
        {
            for runner in [Runner::Libtest, Runner::Nextest] {
                assert_eq!(Tally::of_line(runner, line), Tally::default(), "{line}");
            }
        }
    }
}
