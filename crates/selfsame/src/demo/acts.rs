//! What follows the damage, when nobody writes any more. Two things that a person does, each with its own proof by
//! plain SQL: a run is undone, and approved after all; and a node gets an old copy of its file back, and takes the
//! others' word.

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::compare::{FileComparison, compare};
use super::fleet::{Fleet, PassItem, PassOutcome, ResyncOutcome, UndoOutcome};
use super::kinds::{NODE_COUNT, NodeIndex};
use super::result::PassLine;
use super::snapshot::{Difference, Snapshot};
use super::tail::{RepairCounts, Tails};
use super::talk::Talk;
use super::writer::Writer;

/// The node that gets its backup back.
pub(super) const RESTORED: NodeIndex = NodeIndex(NODE_COUNT - 1);

/// Its backup, in the demo's folder.
const BACKUP: &str = "node-c.backup";

/// Keys that are named in one complaint.
const EXAMPLES_MAX: usize = 3;

/// A run that repaired something, and what the files held before it.
pub(super) struct LastRun {
    pub(super) run: String,
    pub(super) items: Vec<PassItem>,
    pub(super) before: Vec<Snapshot>,
}

/// How a run was undone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Undone {
    /// The run.
    pub(super) run: String,
    /// Rows that it had repaired.
    pub(super) repaired: u64,
    /// Rows that came back, became what they were, and went.
    pub(super) inserts: u64,
    pub(super) updates: u64,
    pub(super) deletes: u64,
    /// Keys that the next pass held, and did not repair.
    pub(super) held: u64,
    /// Repairs that were made once more, after they had been approved.
    pub(super) approved: u64,
    pub(super) duration_ms: u64,
}

/// How a replica that was restored took the others' word.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Resynced {
    pub(super) node: String,
    /// How old the copy was.
    pub(super) age_ms: u64,
    /// Why it was held.
    pub(super) held: String,
    /// Rows that were deleted or have expired since, and rows that it lacked or had in another state.
    pub(super) deletes: u64,
    pub(super) copies: u64,
    /// Of both, those that were written.
    pub(super) written: u64,
    pub(super) duration_ms: u64,
}

/// A copy of a file.
pub(super) struct Backup {
    path: PathBuf,
    made: Instant,
}

impl Backup {
    /// Makes one, while clients write.
    pub(super) fn make(folder: &Path, writer: &Mutex<Writer>) -> Result<Backup> {
        let path = folder.join(BACKUP);
        writer.lock().back_up(RESTORED, &path)?;
        Ok(Backup { path, made: Instant::now() })
    }
}

/// The quiet after the clients have stopped.
pub(super) struct Quiet<'a> {
    pub(super) folder: &'a Path,
    pub(super) fleet: &'a mut dyn Fleet,
    pub(super) writer: &'a Mutex<Writer>,
    pub(super) tails: &'a Mutex<Tails>,
    pub(super) talk: &'a mut Talk,
    /// What is not as it should be.
    pub(super) failures: Vec<String>,
}

impl Quiet<'_> {
    /// Undoes a run, sees that nobody repairs it again, and approves it after all.
    pub(super) fn undo(&mut self, last: &LastRun) -> Result<Undone> {
        let began = Instant::now();
        let repaired: BTreeSet<(NodeIndex, String)> = last.items.iter().filter_map(written).collect();
        self.talk.begin("The last run is undone");
        let mut echoes = self.echoes()?;
        let done = self.fleet.undo(&last.run)?;
        let UndoOutcome { states, inserts, updates, deletes } = &done;
        let put_back = inserts + updates + deletes;
        if states.len() != 1
            || states.get("restored") != Some(&(repaired.len() as u64))
            || repaired.is_empty()
        {
            self.failures
                .push(format!("{} rows were repaired and undone, and came to {states:?}", repaired.len()));
        }
        self.expect_files("after the undo", &last.before)?;
        self.expect_echoes("the undo", &repaired, &mut echoes)?;
        self.talk.end(&format!(
            "{put_back} repairs put back, {inserts} rows come back, {updates} change, {deletes} go; the files are, byte for \
             byte, what they were before that run"
        ));

        let (pass, is_cut) = self.pass("A pass after that")?;
        let keys: BTreeSet<&str> = repaired.iter().map(|(_, key)| key.as_str()).collect();
        let held: BTreeSet<String> =
            pass.items.iter().filter(|item| item.is_held()).map(PassItem::id).collect();
        let same = held.len() == keys.len() && held.iter().all(|key| keys.contains(key.as_str()));
        if !same || is_cut || pass.summary.held != keys.len() as u64 || pass.summary.verdict != "diverged" {
            self.failures.push(format!(
                "{} keys were undone, and the next pass says `{}` and holds {}, not these",
                keys.len(),
                pass.summary.verdict,
                held.len()
            ));
        }
        self.expect_files("after the pass that followed the undo", &last.before)?;

        self.talk.begin("Approved after all");
        let plan = pass.summary.plan.unwrap_or_default();
        let approved = self.fleet.approve(&pass.summary.run, plan.deletes)?;
        if approved.repaired != repaired.len() as u64 || approved.planned != approved.repaired {
            self.failures.push(format!(
                "{} repairs were undone, {} planned again, {} made after they were approved",
                repaired.len(),
                approved.planned,
                approved.repaired
            ));
        }
        self.expect_ledger("after the approval")?;
        self.expect_echoes("the approval", &repaired, &mut echoes)?;
        self.talk.end(&format!(
            "{} of {} repairs made once more; the files are the ledger",
            approved.repaired, approved.planned
        ));
        Ok(Undone {
            run: last.run.clone(),
            repaired: repaired.len() as u64,
            inserts: *inserts,
            updates: *updates,
            deletes: *deletes,
            held: held.len() as u64,
            approved: approved.repaired,
            duration_ms: millis(began.elapsed()),
        })
    }

    /// Puts an old copy in the place of a node's file, sees that it is held, and lets it take the others' word.
    /// Whoever reads the file must have closed it.
    pub(super) fn restore(&mut self, backup: &Backup) -> Result<Resynced> {
        let began = Instant::now();
        let age = backup.made.elapsed();
        let node = RESTORED;
        self.talk.begin(&format!("{} gets its backup back, {} s old", node.name(), age.as_secs()));
        self.fleet.stop(node)?;
        put_in_place(&backup.path, &self.folder.join(node.file()))?;
        let old = Snapshot::of(&self.folder.join(node.file()))?;
        let others = Snapshot::of(&self.folder.join(NodeIndex(0).file()))?;
        let Difference { changed, missing, extra } = old.difference(&others);
        self.fleet.start(node)?;
        self.talk.end(&format!(
            "{} documents are older there, {} are not there yet, {} are there still",
            changed.len(),
            missing.len(),
            extra.len()
        ));

        let (pass, _) = self.pass("A pass over that")?;
        let held = self.fleet.held()?;
        let why = held.iter().find(|held| held.node == node.name()).map(|held| held.why.clone());
        let is_held = why.as_ref().is_some_and(|why| why.starts_with("restored")) && held.len() == 1;
        if !is_held || pass.summary.verdict != "unknown" || pass.summary.repaired > 0 {
            self.failures.push(format!(
                "an old copy of {} is no reason to hold it: the pass says `{}`, repairs {}, and {held:?} are held",
                node.name(),
                pass.summary.verdict,
                pass.summary.repaired
            ));
        }
        if Snapshot::of(&self.folder.join(node.file()))? != old {
            self.failures.push(format!("{} was written to while it was held", node.name()));
        }
        // Since when it is held is of no interest here.
        let why = why.unwrap_or_default();
        let why = why.rsplit_once(", ").map_or(why.as_str(), |(why, _)| why).to_owned();
        self.talk.remark(&format!("{} is held: {why}", node.name()));

        self.talk.begin("The others' word counts");
        let done = self.fleet.resync(node)?;
        let ResyncOutcome { deletes, copies, written, left, ended, .. } = done;
        if !ended || left > 0 || written != deletes + copies {
            self.failures.push(format!(
                "of {} documents {written} were written to {}, {left} were not, and it is held still: {}",
                deletes + copies,
                node.name(),
                !ended
            ));
        }
        self.expect_exported(&done, &extra)?;
        self.expect_ledger("after the resync")?;
        self.talk.end(&format!(
            "{copies} copied to {}, {deletes} deleted that are gone or have expired, and kept in a file; the files are the ledger",
            node.name()
        ));
        let duration_ms = millis(began.elapsed());
        let node = node.name().to_owned();
        Ok(Resynced { node, age_ms: millis(age), held: why, deletes, copies, written, duration_ms })
    }

    /// A pass that finds all the same, and has nothing to repair but what has expired meanwhile.
    pub(super) fn in_sync(&mut self, title: &str) -> Result<PassLine> {
        let (pass, is_cut) = self.pass(title)?;
        let writer = self.writer.lock();
        let now = writer.now();
        let has_expired = |item: &PassItem| {
            item.action == "delete" && writer.ledger.row(&item.id()).is_some_and(|row| row.expired_at(now))
        };
        let others: Vec<String> =
            pass.items.iter().filter(|item| !has_expired(item)).map(PassItem::id).collect();
        drop(writer);
        if !pass.summary.in_sync() || is_cut || !others.is_empty() {
            self.failures.push(format!(
                "after all that a pass says `{}`, not `in_sync`, and finds {} keys that differ: {}",
                pass.summary.verdict,
                others.len(),
                examples(others.iter())
            ));
        } else if !pass.items.is_empty() {
            self.talk.remark("all of these have expired: they may lie there or be gone");
        }
        Ok(PassLine::of(pass.summary))
    }

    /// A pass that is shown as one; its items, and whether they were cut.
    fn pass(&mut self, title: &str) -> Result<(PassOutcome, bool)> {
        self.talk.begin(title);
        let talk = &mut *self.talk;
        let pass = self.fleet.pass(&mut || talk.tick("nobody writes"))?;
        self.talk.end_pass(&pass.summary);
        let is_cut = pass.items_truncated;
        Ok((pass, is_cut))
    }

    /// The files hold what they held at another moment.
    fn expect_files(&mut self, when: &str, expected: &[Snapshot]) -> Result<()> {
        for (node, (found, expected)) in
            NodeIndex::all().zip(Snapshot::all(self.folder)?.iter().zip(expected))
        {
            let difference = found.difference(expected);
            if difference.total() > 0 {
                self.failures.push(format!(
                    "{when} {} rows of {} are not what they were before the run: {}",
                    difference.total(),
                    node.name(),
                    examples(difference.keys())
                ));
            }
        }
        Ok(())
    }

    /// The files are the writer's ledger.
    fn expect_ledger(&mut self, when: &str) -> Result<()> {
        let writer = self.writer.lock();
        let files = compare(self.folder, &writer.ledger, writer.now())?;
        drop(writer);
        for FileComparison { node, examples, .. } in files.iter().filter(|file| !file.is_equal()) {
            self.failures.push(format!("{when} {node} is not the writer's ledger: {}", examples.join("; ")));
        }
        Ok(())
    }

    /// Everything that only the copy had was exported, and all that was exported clients have deleted, or it has expired.
    fn expect_exported(&mut self, done: &ResyncOutcome, extra: &[String]) -> Result<()> {
        #[derive(Deserialize)]
        struct Line {
            key: String,
        }
        let text = match done.exported.as_str() {
            "" => String::new(),
            path => fs::read_to_string(path).with_context(|| format!("cannot read `{path}`"))?,
        };
        let mut exported: Vec<String> = Vec::new();
        for line in text.lines() {
            let Line { key } = serde_json::from_str(line)?;
            exported.push(serde_json::from_str(&key).unwrap_or(key));
        }
        let kept: HashSet<&String> = exported.iter().collect();
        let lost: Vec<&String> = extra.iter().filter(|key| !kept.contains(key)).collect();
        if done.deletes != exported.len() as u64 || !lost.is_empty() {
            self.failures.push(format!(
                "the old copy alone had {} documents, of which {} were not exported; {} were, and {} deleted",
                extra.len(),
                lost.len(),
                exported.len(),
                done.deletes
            ));
        }
        let writer = self.writer.lock();
        let now = writer.now();
        let lives = |key: &&String| writer.ledger.row(key).is_some_and(|row| !row.expired_at(now));
        let living: Vec<&String> = exported.iter().filter(lives).collect();
        if !living.is_empty() {
            let text = format!(
                "{} documents were deleted that live: {}",
                living.len(),
                examples(living.iter().copied())
            );
            drop(writer);
            self.failures.push(text);
        }
        Ok(())
    }

    /// Repairs that consumers without the filter have seen so far.
    fn echoes(&mut self) -> Result<RepairCounts> {
        let mut tails = self.tails.lock();
        tails.follow()?;
        Ok(tails.repairs())
    }

    /// Since `before`, consumers saw one marked write of each of these rows, and of no other.
    fn expect_echoes(
        &mut self,
        what: &str,
        expected: &BTreeSet<(NodeIndex, String)>,
        before: &mut RepairCounts,
    ) -> Result<()> {
        let now = self.echoes()?;
        let seen = |place: &(NodeIndex, String)| now[place] - before.get(place).copied().unwrap_or(0);
        let grown = now.keys().filter(|place| seen(place) != u64::from(expected.contains(*place)));
        let unseen = expected.iter().filter(|place| !now.contains_key(*place));
        let wrong: Vec<String> =
            grown.chain(unseen).map(|(node, key)| format!("{key} on {}", node.name())).collect();
        if !wrong.is_empty() {
            self.failures.push(format!(
                "{} keys have other writes of {what} in the change stream than were told: {}",
                wrong.len(),
                examples(wrong.iter())
            ));
        }
        *before = now;
        Ok(())
    }
}

fn written(item: &PassItem) -> Option<(NodeIndex, String)> {
    item.is_written().then(|| Some((NodeIndex::of(&item.node)?, item.id()))).flatten()
}

/// The journal of the file that was there must not be taken for the copy's.
fn put_in_place(copy: &Path, file: &Path) -> Result<()> {
    for suffix in ["-wal", "-shm"] {
        let mut beside = file.as_os_str().to_owned();
        beside.push(suffix);
        match fs::remove_file(Path::new(&beside)) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
    }
    fs::copy(copy, file).with_context(|| format!("cannot restore `{}`", file.display()))?;
    Ok(())
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn examples<'a>(keys: impl Iterator<Item = &'a String>) -> String {
    let keys: Vec<&String> = keys.collect();
    let shown: Vec<&str> = keys.iter().take(EXAMPLES_MAX).map(|key| key.as_str()).collect();
    let more = if keys.len() > EXAMPLES_MAX { ", …" } else { "" };
    format!("{}{more}", shown.join(", "))
}
