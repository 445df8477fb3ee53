//! `cargo xtask plant`: are the tests that guard the important claims able to fail?
//!
//! Each plant of [`PLANTS`] goes into a copy of the working tree, the test that it names runs alone, and must
//! turn red. The working tree itself is never written, so that an interrupted run leaves nothing behind.

use std::fs::{self, File};
use std::io::{Write as _, stdout};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::cargo::{Workspace, cargo};
use crate::plants::{PLANTS, Plant, Test};
use crate::tally::{Runner, Tally};
use crate::tree;

/// How long one test may run. A guess: the tests named by plants take seconds, and a plant may well hang one.
const TEST_MAX: Duration = Duration::from_secs(300);

/// What `cargo xtask plant` can be told.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The plants to try; without a name, all of them.
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Print the plants and what they break, and try none.
    #[arg(long)]
    list: bool,
}

/// Tries the plants and says whether all were caught.
pub(crate) fn run(arguments: &Arguments) -> Result<bool> {
    let plants = chosen(&PLANTS, &arguments.names)?;
    if arguments.list {
        let rows = plants
            .iter()
            .map(|plant| [plant.name.to_owned(), plant.breaks.to_owned(), plant.test.name.to_owned()]);
        print(["PLANT", "BREAKS", "CAUGHT BY"], rows)?;
        return Ok(true);
    }
    let workspace = Workspace::here()?;
    let bed = Bed::prepare(&workspace.root, &workspace.target.join("plant"), TEST_MAX)?;
    let found = bed.try_all(&plants)?;

    let rows = plants
        .iter()
        .zip(&found)
        .map(|(plant, found)| [plant.name.to_owned(), found.describe(), plant.test.name.to_owned()]);
    print(["PLANT", "FOUND", "TEST"], rows)?;
    let caught = found.iter().filter(|found| found.is_caught()).count();
    eprintln!("{caught} caught, {} not caught", found.len() - caught);
    if caught < found.len() {
        eprintln!("hint: what cargo and the tests printed is in {}", bed.logs().display());
    }
    Ok(caught == found.len())
}

fn chosen(plants: &[Plant], names: &[String]) -> Result<Vec<Plant>> {
    if let Some(unknown) = names.iter().find(|name| plants.iter().all(|plant| plant.name != **name)) {
        bail!("no plant is named `{unknown}`; hint: `cargo xtask plant --list` prints the names");
    }
    let chosen = |plant: &&Plant| names.is_empty() || names.iter().any(|name| name == plant.name);
    Ok(plants.iter().filter(chosen).copied().collect())
}

/// What came of one plant.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Found {
    /// The test turned red.
    Caught,
    /// The plant's file cannot be read.
    NoFile,
    /// The text to replace occurs so many times, and not once.
    Occurrences(usize),
    /// The test is not green without the plant, so that it proves nothing.
    Before(Run),
    /// The test did not turn red with the plant.
    After(Run),
}

impl Found {
    fn is_caught(&self) -> bool {
        *self == Found::Caught
    }

    fn describe(&self) -> String {
        match self {
            Found::Caught => "caught".into(),
            Found::NoFile => "FAILED: the file to plant in cannot be read".into(),
            Found::Occurrences(count) => format!("FAILED: the text to replace occurs {count} times"),
            Found::Before(run) => format!("FAILED: without the plant, {}", run.describe()),
            Found::After(run) => format!("FAILED: with the plant, {}", run.describe()),
        }
    }
}

/// What came of running one test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Run {
    Green,
    Red,
    DoesNotCompile,
    NoTestRan,
    DidNotEnd,
}

impl Run {
    /// What an exit and an output of `cargo test` mean when the test had been compiled before.
    fn of(succeeded: bool, output: &str) -> Run {
        let mut tally = Tally::default();
        output.lines().for_each(|line| tally += Tally::of_line(Runner::Libtest, line));
        // A test that takes its process down leaves no result line.
        let died = output.lines().any(|line| line == "running 1 test") && !output.contains("test result: ");
        match (succeeded, tally.passed, tally.failed) {
            (true, 1.., 0) => Run::Green,
            (false, _, 1..) => Run::Red,
            (false, 0, 0) if died => Run::Red,
            _ => Run::NoTestRan,
        }
    }

    fn describe(self) -> &'static str {
        match self {
            Run::Green => "the test stays green",
            Run::Red => "the test is red",
            Run::DoesNotCompile => "the package does not compile",
            Run::NoTestRan => "no test of that name runs",
            Run::DidNotEnd => "the test did not end; hint: give it a bound of its own",
        }
    }
}

/// Where plants grow: a copy of the working tree, a target folder for it, and what was printed.
struct Bed {
    folder: PathBuf,
    test_max: Duration,
    /// Held as long as the bed is in use: two runs in one copy would see each other's plants.
    _lock: File,
}

impl Bed {
    fn prepare(root: &Path, folder: &Path, test_max: Duration) -> Result<Bed> {
        let context = || format!("cannot prepare {}", folder.display());
        fs::create_dir_all(folder.join("logs")).with_context(context)?;
        let lock = File::create(folder.join("lock")).with_context(context)?;
        if lock.try_lock().is_err() {
            bail!("{} is in use; hint: wait for the other `cargo xtask plant`", folder.display());
        }
        let bed = Bed { folder: folder.to_owned(), test_max, _lock: lock };
        tree::copy(root, &bed.tree())?;
        Ok(bed)
    }

    fn tree(&self) -> PathBuf {
        self.folder.join("tree")
    }

    fn logs(&self) -> PathBuf {
        self.folder.join("logs")
    }

    /// Tries plants, one at a time. The tests run without a plant first, each once and all before the first
    /// plant, while nothing needs to be built twice.
    fn try_all(&self, plants: &[Plant]) -> Result<Vec<Found>> {
        let mut before: Vec<(Test, Run)> = Vec::new();
        for Plant { test, .. } in plants {
            if before.iter().all(|(seen, _)| seen != test) {
                eprint!("without a plant: {} … ", test.name);
                let run = self.run(test, &format!("without-{}", before.len()))?;
                eprintln!("{run:?}");
                before.push((*test, run));
            }
        }
        let mut found = Vec::new();
        for plant in plants {
            eprint!("{} … ", plant.name);
            let run = before.iter().find(|(test, _)| *test == plant.test).map(|(_, run)| *run);
            found.push(match run {
                Some(Run::Green) => self.try_one(plant)?,
                run => Found::Before(run.unwrap_or(Run::NoTestRan)),
            });
            eprintln!("{:?}", found[found.len() - 1]);
        }
        Ok(found)
    }

    fn try_one(&self, plant: &Plant) -> Result<Found> {
        let path = self.tree().join(plant.file);
        let Ok(source) = fs::read_to_string(&path) else { return Ok(Found::NoFile) };
        let planted = match planted(&source, plant) {
            Ok(planted) => planted,
            Err(count) => return Ok(Found::Occurrences(count)),
        };
        let context = || format!("cannot write {}", path.display());
        fs::write(&path, planted).with_context(context)?;
        let run = self.run(&plant.test, plant.name);
        // The plant goes out before anything else is looked at, an error included.
        fs::write(&path, source).with_context(context)?;
        Ok(match run? {
            Run::Red => Found::Caught,
            run => Found::After(run),
        })
    }

    /// Compiles and runs one test in the copy. What is printed goes to files, not through pipes: a process
    /// that a dying test leaves behind would keep a pipe open.
    fn run(&self, test: &Test, log: &str) -> Result<Run> {
        let compile = self.call(test, &["--no-run"], &self.logs().join(format!("{log}.compile")))?;
        if !compile.wait_with_output().context("cargo test was lost")?.status.success() {
            return Ok(Run::DoesNotCompile);
        }
        let log = self.logs().join(format!("{log}.test"));
        let mut child = self.call(test, &["--", test.name, "--exact"], &log)?;
        let Some(status) = ended(&mut child, self.test_max)? else { return Ok(Run::DidNotEnd) };
        let output = fs::read(&log).with_context(|| format!("cannot read {}", log.display()))?;
        Ok(Run::of(status.success(), &String::from_utf8_lossy(&output)))
    }

    fn call(&self, test: &Test, last: &[&str], log: &Path) -> Result<Child> {
        let context = || format!("cannot write {}", log.display());
        let file = File::create(log).with_context(context)?;
        cargo(&self.tree())
            .args(["test", "--package", test.package])
            .args(test.target)
            .arg("--target-dir")
            .arg(self.folder.join("target"))
            .args(last)
            // Property tests draw the same cases every time and write no seed, so that what one plant finds
            // depends neither on luck nor on the plants before it. Snapshots are compared, never written.
            .envs([("PROPTEST_RNG_SEED", "0"), ("PROPTEST_DISABLE_FAILURE_PERSISTENCE", "1")])
            .env("INSTA_UPDATE", "no")
            .stdout(file.try_clone().with_context(context)?)
            .stderr(file)
            .spawn()
            .context("cargo test does not start")
    }
}

/// The source with the plant in it, or how many times the text to replace occurs if that is not once.
fn planted(source: &str, plant: &Plant) -> Result<String, usize> {
    match source.matches(plant.find).count() {
        1 => Ok(source.replacen(plant.find, plant.replace, 1)),
        count => Err(count),
    }
}

/// Waits for a `cargo test` to end; `None` if it had to be ended.
fn ended(child: &mut Child, within: Duration) -> Result<Option<ExitStatus>> {
    let start = Instant::now();
    while start.elapsed() < within {
        if let Some(status) = child.try_wait().context("cargo test was lost")? {
            return Ok(Some(status));
        }
        sleep(Duration::from_millis(20));
    }
    // The test is a child of cargo and would outlive it, so it is ended first; cargo then ends by itself.
    let killed = Command::new("pkill").args(["-KILL", "-P", &child.id().to_string()]).status();
    if !killed.is_ok_and(|status| status.success()) {
        child.kill().context("cargo test cannot be ended")?;
    }
    child.wait().context("cargo test was lost")?;
    Ok(None)
}

/// Prints a table: all columns but the last as wide as their widest cell.
fn print<const COLUMNS: usize>(
    head: [&str; COLUMNS],
    rows: impl Iterator<Item = [String; COLUMNS]>,
) -> Result<()> {
    let rows: Vec<[String; COLUMNS]> = std::iter::once(head.map(str::to_owned)).chain(rows).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; COLUMNS] = std::array::from_fn(width);
    let mut out = stdout().lock();
    for row in &rows {
        let cells: Vec<String> =
            row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        writeln!(out, "{}", cells.join("  ").trim_end()).context("cannot print")?;
    }
    Ok(())
}

#[cfg(test)]
#[path = "plant_tests.rs"]
mod tests;
