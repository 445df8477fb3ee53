//! The demo from beginning to end: *a clean pass, damage, a pass, more damage, more passes, a little damage, silence, a
//! last pass, a run undone, a file restored, the proof*. The writer goes on until the silence.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use parking_lot::Mutex;

use super::acts::{Backup, LastRun, Quiet, Resynced, Undone};
use super::compare::{FileComparison, compare};
use super::fleet::{Fleet, PassOutcome, PassSummary};
use super::injections::EACH_PER_ROUND;
use super::judge::{Explanations, PassItems, judge};
use super::kinds::ByKind;
use super::result::{DemoResult, Evidence, PassLine};
use super::snapshot::Snapshot;
use super::tail::{RepairCounts, Tails};
use super::talk::{RoundLine, Talk};
use super::traffic::Traffic;
use super::writer::Writer;
use crate::output::OUTPUT_VERSION;

/// Rounds of damage that are followed by a pass while clients write. After one more they stop.
const ROUNDS: usize = EACH_PER_ROUND.len() - 1;

/// Passes after the writer has stopped, until one says `in_sync`. One should do.
const LAST_PASSES_MAX: usize = 3;

/// A round of damage takes a second or so; this many waits are half a minute.
const WAITS_MAX: usize = 3000;

/// So long clients go on after the backup: a second or so, some hundred writes.
const WAITS_AFTER_BACKUP: usize = 100;

/// Everything that the story is played with.
pub(super) struct Stage<'a> {
    pub(super) folder: PathBuf,
    pub(super) seed: u64,
    pub(super) writer: Arc<Mutex<Writer>>,
    pub(super) tails: Arc<Mutex<Tails>>,
    pub(super) traffic: &'a mut dyn Traffic,
    pub(super) fleet: &'a mut dyn Fleet,
    pub(super) talk: &'a mut Talk,
    /// When the demo began.
    pub(super) began: Instant,
}

/// What came of what a person did.
#[derive(Default)]
struct Acts {
    undone: Option<Undone>,
    resynced: Option<Resynced>,
    /// What consumers complained about until the file was replaced.
    complaints: Option<Vec<String>>,
    /// The pass after all of it.
    last: Option<PassLine>,
    failures: Vec<String>,
}

/// What the passes gave so far.
#[derive(Default)]
struct Passes {
    lines: Vec<PassLine>,
    items: Vec<PassItems>,
    truncated: bool,
    /// Damage that the pass after its round left, while clients wrote.
    left: Vec<String>,
}

impl Stage<'_> {
    /// Plays it.
    pub(super) fn play(mut self) -> Result<DemoResult> {
        let mut passes = Passes::default();
        self.traffic.start();
        let writing = Instant::now();
        self.talk.clients_begin();
        self.pass("A first look, before anything is damaged", &mut passes)?;
        for round in 0..ROUNDS {
            self.damage(round, &format!("Damage, round {} of {ROUNDS}", round + 1))?;
            self.pass(&format!("Pass {} of {ROUNDS}, clients still writing", round + 1), &mut passes)?;
            self.judge_round(round, &mut passes);
        }
        let backup = Backup::make(&self.folder, &self.writer)?;
        for _ in 0..WAITS_AFTER_BACKUP {
            self.traffic.wait()?;
        }
        self.damage(ROUNDS, "A little more damage")?;
        self.traffic.stop()?;
        let written = writing.elapsed();
        self.talk.clients_end(self.writer.lock().written().load(Ordering::Relaxed), written);
        let last = self.last_look(&mut passes)?;
        self.tails.lock().follow()?;
        let echoes = self.tails.lock().repairs();
        let mut acts = Acts::default();
        // Nothing may mend what the agents left behind before it was seen.
        if let Some(last) = last
            && self.is_ledger()?
        {
            self.act(&last, &backup, &mut acts)?;
        }
        self.verdict(&passes, &acts, &echoes, written)
    }

    /// Passes until one says that all is the same. Gives the last one that repaired something, and what was before.
    fn last_look(&mut self, passes: &mut Passes) -> Result<Option<LastRun>> {
        let mut last = None;
        for _ in 0..LAST_PASSES_MAX {
            let before = Snapshot::all(&self.folder)?;
            let in_sync = self.pass("The last look", passes)?;
            let (items, line) = (passes.items.last(), passes.lines.last());
            if let (Some(PassItems { items, .. }), Some(line)) = (items, line)
                && line.repaired > 0
            {
                last = Some(LastRun { run: line.run.clone(), items: items.clone(), before });
            }
            if in_sync {
                return Ok(last);
            }
        }
        Ok(None)
    }

    /// Whether each file is the ledger.
    fn is_ledger(&self) -> Result<bool> {
        let writer = self.writer.lock();
        Ok(compare(&self.folder, &writer.ledger, writer.now())?.iter().all(FileComparison::is_equal))
    }

    /// What a person does when nobody writes.
    fn act(&mut self, last: &LastRun, backup: &Backup, acts: &mut Acts) -> Result<()> {
        let mut quiet = Quiet {
            folder: &self.folder,
            fleet: &mut *self.fleet,
            writer: &self.writer,
            tails: &self.tails,
            talk: &mut *self.talk,
            failures: Vec::new(),
        };
        quiet.talk.scene("Nobody writes. Somebody regrets the last run, and then thinks better of it.");
        acts.undone = Some(quiet.undo(last)?);
        acts.complaints = {
            let mut tails = self.tails.lock();
            let complaints = tails.complaints(&self.writer.lock().logs);
            tails.close();
            Some(complaints)
        };
        self.writer.lock().close();
        quiet.talk.scene("And a disk fails.");
        acts.resynced = Some(quiet.restore(backup)?);
        acts.last = Some(quiet.in_sync("The very last look")?);
        acts.failures = quiet.failures;
        Ok(())
    }

    /// Does a round of damage, in the midst of ordinary traffic.
    fn damage(&mut self, round: usize, title: &str) -> Result<()> {
        let first = {
            let mut writer = self.writer.lock();
            writer.plan_round(round);
            writer.injections.len()
        };
        self.talk.begin(title);
        for _ in 0..WAITS_MAX {
            self.traffic.wait()?;
            let writer = self.writer.lock();
            if writer.planned.is_empty() {
                let made = writer.injections.len() - first;
                drop(writer);
                self.talk.end(&format!("{made} documents damaged"));
                return Ok(());
            }
        }
        bail!("the damage of round {} could not be done; hint: give it a less busy machine", round + 1)
    }

    /// One pass; tells whether the fleet says that all is the same.
    fn pass(&mut self, title: &str, passes: &mut Passes) -> Result<bool> {
        self.talk.begin(title);
        let counter = self.writer.lock().written();
        let talk = &mut *self.talk;
        let mut tick = || talk.tick(&format!("{} writes so far", counter.load(Ordering::Relaxed)));
        let PassOutcome { summary, items, items_truncated } = self.fleet.pass(&mut tick)?;
        let ended = self.writer.lock().now();
        self.talk.end_pass(&summary);
        let in_sync = summary.in_sync();
        passes.truncated |= items_truncated;
        passes.items.push(PassItems { items, ended });
        passes.lines.push(PassLine::of(summary));
        Ok(in_sync)
    }

    /// What became of the damage of one round by the end of its pass. All of it was done before the pass began, and
    /// only ordinary traffic moves its keys: what that did not overtake, one pass finds standing still.
    fn judge_round(&mut self, round: usize, passes: &mut Passes) {
        let writer = self.writer.lock();
        let injections: Vec<_> =
            writer.injections.iter().filter(|injection| injection.round == round).cloned().collect();
        let judgement = judge(&passes.items, &injections, &explanations(&writer));
        drop(writer);
        passes.left.extend(judgement.unrepaired);
        self.talk.round(&RoundLine {
            injected: judgement.injected,
            overtaken: judgement.overtaken,
            detected: judgement.detected,
            healed: judgement.repaired,
        });
    }

    fn verdict(
        &mut self,
        passes: &Passes,
        acts: &Acts,
        echoes: &RepairCounts,
        written: Duration,
    ) -> Result<DemoResult> {
        self.talk.begin("The three files against the writer's own ledger, by plain SQL");
        let writer = self.writer.lock();
        let files = compare(&self.folder, &writer.ledger, writer.now())?;
        let judgement = judge(&passes.items, &writer.injections, &explanations(&writer));
        let first = judge(&passes.items[..1], &[], &explanations(&writer));
        let complaints = match &acts.complaints {
            Some(complaints) => complaints.clone(),
            None => self.tails.lock().complaints(&writer.logs),
        };
        let echoes_filtered = complaints.is_empty();
        let evidence = Evidence {
            judgement: &judgement,
            first: &first,
            injections: &writer.injections,
            files: &files,
            passes: &passes.lines,
            truncated: passes.truncated,
            left: &passes.left,
            echoes,
            acts: &acts.failures,
            last: acts.last.as_ref(),
            complaints,
            planned: writer.planned.len(),
            ended: self.fleet.ended()?,
        };
        let (converged, failures) = (evidence.converged(), evidence.failures());
        let writes = writer.written().load(Ordering::Relaxed);
        let result = DemoResult {
            version: OUTPUT_VERSION,
            passed: failures.is_empty(),
            failures,
            seed: self.seed,
            documents: writer.documents.all.len() as u64,
            repaired: judgement.written.values().sum(),
            false_repairs: judgement.false_repairs.len() as u64,
            false_holds: judgement.false_holds.len() as u64,
            expired: judgement.expired,
            under_way: judgement.under_way,
            echoes_seen: echoes.values().sum(),
            echoes_filtered,
            converged,
            last_pass: acts.last.clone(),
            undone: acts.undone.clone(),
            resynced: acts.resynced.clone(),
            files,
            wire_bytes: passes.lines.iter().map(|pass| pass.wire_bytes).sum(),
            passes: passes.lines.clone(),
            writes,
            writes_per_second: (writes as f64 / written.as_secs_f64().max(0.001)).round(),
            duration_ms: u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX),
            injected: judgement.injected,
            overtaken: judgement.overtaken,
            detected: judgement.detected,
            healed: judgement.repaired,
            causes: judgement.causes,
        };
        self.talk.end(if result.converged { "all three are the ledger" } else { "they are not" });
        Ok(result)
    }
}

fn explanations(writer: &Writer) -> Explanations<'_> {
    Explanations { expiries: &writer.expiries, slow: &writer.slow }
}

impl PassLine {
    /// Of a summary.
    pub(super) fn of(summary: PassSummary) -> PassLine {
        PassLine {
            run: summary.run,
            verdict: summary.verdict,
            mismatches: summary.mismatches,
            repaired: summary.repaired,
            transient: summary.transient,
            moving: summary.moving,
            held: summary.held,
            wire_bytes: summary.wire_bytes,
            duration_ms: summary.duration_ms,
        }
    }
}

/// A round's counts are those of a result, for a part of the injections.
impl RoundLine {
    /// Of all rounds.
    pub(super) fn of(result: &DemoResult) -> RoundLine {
        let clone = ByKind::clone;
        RoundLine {
            injected: clone(&result.injected),
            overtaken: clone(&result.overtaken),
            detected: clone(&result.detected),
            healed: clone(&result.healed),
        }
    }
}
