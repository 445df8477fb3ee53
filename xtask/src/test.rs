//! `cargo xtask test`: every test of the workspace, by one command.

use std::io::{BufRead as _, BufReader, IsTerminal as _, Read, Write, stderr, stdout};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::cargo::{Workspace, cargo};
use crate::tally::{Runner, Tally};

/// What `cargo xtask test` can be told.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Run only the tests whose name contains NAME. Doc tests, which have no names, are left out.
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
}

/// Runs the tests and says whether all passed. All suites run, whatever the first one finds.
pub(crate) fn run(arguments: &Arguments) -> Result<bool> {
    let root = Workspace::here()?.root;
    let only = arguments.only.as_deref();

    // End-to-end tests start the binary from the target folder, and cargo builds it for no other package. It has
    // the points at which those tests hold or kill it; the release binary has none.
    build_binary(&root)?;
    // Servers that tests start are installed here, before the first test: into `servers` of the target folder,
    // or into the folder that SELFSAME_SERVERS names.

    let mut suites = vec![match nextest_version(&root) {
        Some(version) => {
            eprintln!("runner: {version}");
            nextest(&root, only)?
        }
        None => {
            eprintln!("runner: cargo test; hint: `cargo install cargo-nextest --locked` makes it faster");
            cargo_test(&root, only)?
        }
    }];
    if only.is_none() {
        eprintln!("runner of doc tests: cargo test --doc");
        suites.push(doc_tests(&root)?);
    }
    Ok(summarised(&suites))
}

/// What one call of a test runner came to.
struct Suite {
    name: &'static str,
    tally: Tally,
    succeeded: bool,
    took: Duration,
}

fn build_binary(root: &Path) -> Result<()> {
    let status = cargo(root)
        .args(["build", "--package", "selfsame", "--features", "failpoints"])
        .status()
        .context("cargo build does not start")?;
    if !status.success() {
        bail!("the binary does not build");
    }
    Ok(())
}

/// The name and version of nextest, if it is installed.
fn nextest_version(root: &Path) -> Option<String> {
    let output = cargo(root).args(["nextest", "--version"]).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    output.status.success().then(|| text.lines().next().unwrap_or("cargo-nextest").to_owned())
}

fn nextest(root: &Path, only: Option<&str>) -> Result<Suite> {
    let mut command = cargo(root);
    // No retries, whatever the environment or a user's own configuration says.
    command
        .args(["nextest", "run", "--workspace", "--all-features", "--no-fail-fast", "--retries", "0"])
        .args(only);
    if stderr().is_terminal() {
        command.args(["--color", "always"]);
    }
    suite("nextest", Runner::Nextest, &mut command)
}

fn cargo_test(root: &Path, only: Option<&str>) -> Result<Suite> {
    let mut command = cargo(root);
    // `--tests` is every target that has tests, libraries and binaries included, but no doc tests: as nextest.
    command.args(["test", "--workspace", "--all-features", "--tests", "--no-fail-fast"]).args(only);
    suite("cargo test", Runner::Libtest, &mut command)
}

fn doc_tests(root: &Path) -> Result<Suite> {
    let mut command = cargo(root);
    command.args(["test", "--doc", "--workspace", "--all-features", "--no-fail-fast"]);
    suite("doc tests", Runner::Libtest, &mut command)
}

/// Runs a test runner, passes on what it prints as it comes, and counts.
fn suite(name: &'static str, runner: Runner, command: &mut Command) -> Result<Suite> {
    let start = Instant::now();
    let context = || format!("{name} cannot be run");
    // Only the stream with the result lines is piped: the other one keeps its terminal, if it has one.
    match runner {
        Runner::Libtest => command.stdout(Stdio::piped()),
        Runner::Nextest => command.stderr(Stdio::piped()),
    };
    let mut child = command.spawn().with_context(context)?;
    let tally = match (child.stdout.take(), child.stderr.take()) {
        (Some(output), _) => forwarded(runner, output, stdout().lock()),
        (None, Some(output)) => forwarded(runner, output, stderr().lock()),
        (None, None) => Ok(Tally::default()),
    };
    let status = child.wait().with_context(context)?;
    Ok(Suite {
        name,
        tally: tally.with_context(context)?,
        succeeded: status.success(),
        took: start.elapsed(),
    })
}

/// Passes lines on as they come, and counts what they say.
fn forwarded(runner: Runner, from: impl Read, mut to: impl Write) -> Result<Tally> {
    let mut from = BufReader::new(from);
    let mut tally = Tally::default();
    let mut line = Vec::new();
    while from.read_until(b'\n', &mut line)? > 0 {
        to.write_all(&line)?;
        to.flush()?;
        tally += Tally::of_line(runner, &String::from_utf8_lossy(&line));
        line.clear();
    }
    Ok(tally)
}

/// Prints what the suites came to, the count of all tests last, and says whether all is well.
fn summarised(suites: &[Suite]) -> bool {
    let mut total = Tally::default();
    eprintln!();
    for Suite { name, tally, succeeded, took } in suites {
        let Tally { passed, failed } = tally;
        let verdict = if *succeeded { "" } else { ", exited with an error" };
        eprintln!("{name}: {passed} passed, {failed} failed{verdict}, {:.1} s", took.as_secs_f64());
        total += *tally;
    }
    let problem = problem(suites, total);
    if let Some(problem) = problem {
        eprintln!("error: {problem}");
    }
    eprintln!("{} passed, {} failed", total.passed, total.failed);
    problem.is_none()
}

/// Why the suites do not count as passed. The runners' exit codes decide; the counts only guard against a run
/// in which no test ran.
fn problem(suites: &[Suite], total: Tally) -> Option<&'static str> {
    if total.failed > 0 {
        Some("tests failed")
    } else if suites.iter().any(|suite| !suite.succeeded) {
        Some("a runner exited with an error, though no test is known to have failed; hint: see above")
    } else if total.passed == 0 {
        Some("no test ran; hint: does a test's name contain what `--only` says?")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finished(succeeded: bool, passed: u64, failed: u64) -> Suite {
        Suite { name: "suite", tally: Tally { passed, failed }, succeeded, took: Duration::ZERO }
    }

    #[test]
    fn only_suites_that_ran_and_passed_are_well() {
        assert!(summarised(&[finished(true, 1, 0), finished(true, 0, 0)]));
        assert!(!summarised(&[finished(true, 1, 0), finished(false, 1, 1)]), "a test failed");
        assert!(!summarised(&[finished(true, 1, 0), finished(false, 0, 0)]), "a suite does not compile");
        assert!(!summarised(&[finished(true, 0, 0)]), "no test ran");
    }

    #[test]
    fn lines_pass_unchanged_and_are_counted() {
        let output = b"a\xff\ntest result: ok. 2 passed; 0 failed; 0 ignored\nno newline at the end";
        let mut passed_on = Vec::new();
        let tally = forwarded(Runner::Libtest, &output[..], &mut passed_on).unwrap();
        assert_eq!(passed_on, output);
        assert_eq!(tally, Tally { passed: 2, failed: 0 });
    }
}
