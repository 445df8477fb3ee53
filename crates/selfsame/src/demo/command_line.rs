//! A fleet that is asked as a person would: by the command line, in processes of its own.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::agents::{ChildGuard, tail_of};
use super::cancel::Cancel;
use super::file::TABLE;
use super::fleet::{
    ApproveOutcome, HeldReplica, PassItem, PassOutcome, PassSummary, ResyncOutcome, UndoOutcome,
};
use super::kinds::NodeIndex;

const POLL: Duration = Duration::from_millis(40);

/// A pass that takes longer has hung. A guess; passes over the bundled documents take seconds.
const PASS_MAX: Duration = Duration::from_secs(1800);

/// 0 in sync, 1 something differs, 2 something is unknown: all are answers.
const ANSWERS: std::ops::RangeInclusive<i32> = 0..=2;

/// `selfsame` as a command.
pub(super) struct CommandLine {
    pub(super) program: PathBuf,
    /// Where the fleet's file is, and where outputs go.
    pub(super) folder: PathBuf,
    pub(super) cancel: Cancel,
}

#[derive(Deserialize)]
struct Shown {
    items: Vec<PassItem>,
    #[serde(default)]
    items_truncated: Option<bool>,
}

#[derive(Deserialize)]
struct Status {
    collections: Vec<StatusCollection>,
}

#[derive(Deserialize)]
struct StatusCollection {
    replicas: Vec<StatusReplica>,
}

#[derive(Deserialize)]
struct StatusReplica {
    node: String,
    held: String,
}

#[derive(Deserialize)]
struct Resynced {
    collections: Vec<ResyncOutcome>,
}

impl CommandLine {
    /// `selfsame run`, then `selfsame show` for its items.
    pub(super) fn pass(&self, tick: &mut dyn FnMut()) -> Result<PassOutcome> {
        let summary: PassSummary = self.answer(&["run", "--collection", TABLE, "--scan", "--wait"], tick)?;
        let shown: Shown = self.answer(&["show", &summary.run], tick)?;
        Ok(PassOutcome { summary, items: shown.items, items_truncated: shown.items_truncated == Some(true) })
    }

    /// `selfsame undo`.
    pub(super) fn undo(&self, run: &str) -> Result<UndoOutcome> {
        self.answer(&["undo", run, "--yes"], &mut || ())
    }

    /// `selfsame approve`.
    pub(super) fn approve(&self, run: &str, deletes: u64) -> Result<ApproveOutcome> {
        self.answer(&["approve", run, "--deletes", &deletes.to_string()], &mut || ())
    }

    /// What `selfsame status` says of held replicas.
    pub(super) fn held(&self) -> Result<Vec<HeldReplica>> {
        let status: Status = self.answer(&["status"], &mut || ())?;
        let replicas = status.collections.into_iter().flat_map(|collection| collection.replicas);
        let held = replicas.filter(|replica| !replica.held.is_empty());
        Ok(held.map(|replica| HeldReplica { node: replica.node, why: replica.held }).collect())
    }

    /// `selfsame resync NODE --as empty`.
    pub(super) fn resync(&self, node: NodeIndex) -> Result<ResyncOutcome> {
        let arguments = ["resync", node.name(), "--as", "empty", "--collection", TABLE, "--yes"];
        let resynced: Resynced = self.answer(&arguments, &mut || ())?;
        resynced.collections.into_iter().next().context("`selfsame resync` tells of no collection")
    }

    /// Runs a command to its end and reads the last JSON object that it printed.
    fn answer<T: DeserializeOwned>(&self, arguments: &[&str], tick: &mut dyn FnMut()) -> Result<T> {
        let name = arguments[0];
        let (out, err) = (self.folder.join(format!("{name}.json")), self.folder.join(format!("{name}.log")));
        let child = Command::new(&self.program)
            .args(arguments)
            .args(["--output", "json", "--config"])
            .arg(self.folder.join(super::agents::FLEET_FILE))
            .stdin(Stdio::null())
            .stdout(File::create(&out)?)
            .stderr(File::create(&err)?)
            .spawn()
            .with_context(|| format!("cannot start `selfsame {name}`"))?;
        let mut child = ChildGuard::of(child);
        let began = Instant::now();
        let status = loop {
            if let Some(status) = child.ended()? {
                break status;
            }
            self.cancel.check()?;
            if began.elapsed() > PASS_MAX {
                bail!("`selfsame {name}` has not ended after {} s", PASS_MAX.as_secs());
            }
            tick();
            thread::sleep(POLL);
        };
        // Whoever interrupts the demo at a terminal interrupts this command as well.
        self.cancel.check()?;
        if !status.code().is_some_and(|code| ANSWERS.contains(&code)) {
            bail!("`selfsame {name}` failed ({status})\n{}", tail_of(&err));
        }
        let text = fs::read_to_string(&out)?;
        let objects = serde_json::Deserializer::from_str(&text).into_iter::<serde_json::Value>();
        let last = objects.last().transpose().ok().flatten();
        let Some(last) = last else { bail!("`selfsame {name}` printed no JSON\n{}", tail_of(&err)) };
        serde_json::from_value(last)
            .with_context(|| format!("`selfsame {name}` printed something unexpected"))
    }
}
