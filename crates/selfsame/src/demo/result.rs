//! The demo's result: what tools read, and what makes it a success.

use std::collections::BTreeMap;

use serde::Serialize;

use super::acts::{Resynced, Undone};
use super::compare::FileComparison;
use super::injections::Injection;
use super::judge::Judgement;
use super::kinds::{ByKind, Kind};
use super::tail::RepairCounts;

/// Fewer of a kind prove nothing.
const INJECTED_MIN: u64 = 20;

/// Keys that are named in one complaint.
const EXAMPLES_MAX: usize = 3;

/// The object that `--output json` prints. Members may be added within a version.
#[derive(Clone, Debug, Serialize)]
pub(super) struct DemoResult {
    /// The version of this object.
    pub(super) version: u32,
    /// Whether everything is as it should be: `failures` is empty.
    pub(super) passed: bool,
    /// What is not as it should be, in words.
    pub(super) failures: Vec<String>,
    /// The seed that replays the choice of keys.
    pub(super) seed: u64,
    /// Documents at the start.
    pub(super) documents: u64,
    /// By kind.
    pub(super) injected: ByKind,
    /// Of those, healed by ordinary traffic first.
    pub(super) overtaken: ByKind,
    /// Of the others, named by key and node in the journal.
    pub(super) detected: ByKind,
    /// Of those, repaired.
    pub(super) healed: ByKind,
    /// By kind, what the fleet took for the cause: of each row that it repaired.
    pub(super) causes: BTreeMap<Kind, BTreeMap<String, u64>>,
    /// Rows that the fleet wrote or deleted.
    pub(super) repaired: u64,
    /// Of those, without an injection or another reason.
    pub(super) false_repairs: u64,
    /// Keys that were held without a reason.
    pub(super) false_holds: u64,
    /// Repairs of documents that had expired by themselves.
    pub(super) expired: u64,
    /// Repairs of writes that were under way for as long as a confirm takes.
    pub(super) under_way: u64,
    /// Repairs that consumers without the filter saw.
    pub(super) echoes_seen: u64,
    /// Whether consumers with the filter saw each client write once, and nothing else.
    pub(super) echoes_filtered: bool,
    /// Whether each file is the writer's ledger, and the last passes say so too.
    pub(super) converged: bool,
    /// How a run was undone, and approved after all. `null` if there was none to undo.
    pub(super) undone: Option<Undone>,
    /// The pass after all of it. It is not one of `passes`.
    pub(super) last_pass: Option<PassLine>,
    /// How a replica was restored from an old copy, and took the others' word.
    pub(super) resynced: Option<Resynced>,
    /// Each file beside the ledger.
    pub(super) files: Vec<FileComparison>,
    /// The passes, in order.
    pub(super) passes: Vec<PassLine>,
    /// Messages between agents, both ways, all passes.
    pub(super) wire_bytes: u64,
    /// Writes that clients got acknowledged.
    pub(super) writes: u64,
    /// The rate at which they came.
    pub(super) writes_per_second: f64,
    /// All of it.
    pub(super) duration_ms: u64,
}

/// One pass.
#[derive(Clone, Debug, Serialize)]
pub(super) struct PassLine {
    pub(super) run: String,
    pub(super) verdict: String,
    pub(super) mismatches: u64,
    pub(super) repaired: u64,
    pub(super) transient: u64,
    pub(super) moving: u64,
    pub(super) held: u64,
    pub(super) wire_bytes: u64,
    pub(super) duration_ms: u64,
}

/// What the verdict rests on.
pub(super) struct Evidence<'a> {
    pub(super) judgement: &'a Judgement,
    /// Of the first pass alone, before there were injections.
    pub(super) first: &'a Judgement,
    pub(super) injections: &'a [Injection],
    pub(super) files: &'a [FileComparison],
    pub(super) passes: &'a [PassLine],
    /// Some pass's items were cut.
    pub(super) truncated: bool,
    /// Damage that the pass after its round left, while clients wrote.
    pub(super) left: &'a [String],
    /// What consumers without the filter saw.
    pub(super) echoes: &'a RepairCounts,
    /// What consumers complain about.
    pub(super) complaints: Vec<String>,
    /// Damage that was never done.
    pub(super) planned: usize,
    /// What was not as it should be when a run was undone, and a file restored.
    pub(super) acts: &'a [String],
    /// The pass after both, if they were done.
    pub(super) last: Option<&'a PassLine>,
    /// An agent that ended by itself.
    pub(super) ended: Option<String>,
}

impl Evidence<'_> {
    /// Whether the last pass over the damage says that all is the same.
    fn says_in_sync(&self) -> bool {
        self.passes.last().is_some_and(|pass| pass.verdict == "in_sync")
    }

    /// Whether each file is the ledger, and the fleet says so.
    pub(super) fn converged(&self) -> bool {
        self.says_in_sync()
            && self.last.is_some_and(|pass| pass.verdict == "in_sync")
            && self.files.iter().all(FileComparison::is_equal)
    }

    /// Everything that is not as it should be.
    pub(super) fn failures(&self) -> Vec<String> {
        let mut failures = self.complaints.clone();
        failures.extend(self.ended.clone());
        for file in self.files.iter().filter(|file| !file.is_equal()) {
            failures.push(format!(
                "{} is not the writer's ledger: {} different, {} missing, {} extra ({})",
                file.node,
                file.different,
                file.missing,
                file.extra,
                file.examples.join("; ")
            ));
        }
        if !self.says_in_sync() {
            let verdict = self.passes.last().map_or("nothing", |pass| pass.verdict.as_str());
            failures.push(format!("the last pass says `{verdict}`, not `in_sync`"));
        }
        failures.extend_from_slice(self.acts);
        if self.last.is_none() {
            failures.push(
                "nothing was undone and nothing restored, for the replicas were not what the clients wrote"
                    .to_owned(),
            );
        }
        self.injection_failures(&mut failures);
        self.journal_failures(&mut failures);
        failures
    }

    fn injection_failures(&self, failures: &mut Vec<String>) {
        let judgement = self.judgement;
        if self.planned > 0 {
            failures.push(format!("{} injections were planned and never made", self.planned));
        }
        for kind in Kind::ALL {
            let (injected, overtaken) = (judgement.injected.of(kind), judgement.overtaken.of(kind));
            if injected < INJECTED_MIN {
                failures.push(format!("only {injected} of kind `{}` were injected", kind.title()));
            }
            if overtaken * 2 > injected {
                failures.push(format!("{overtaken} of {injected} of kind `{}` were overtaken", kind.title()));
            }
        }
        for (kind, causes) in &judgement.causes {
            for (cause, rows) in causes.iter().filter(|(cause, _)| !kind.causes().contains(&cause.as_str())) {
                failures.push(format!(
                    "{rows} repairs of kind `{}` name `{cause}` as the cause, not `{}`",
                    kind.title(),
                    kind.causes().join("` or `")
                ));
            }
        }
        let mut keys: Vec<&str> = self.injections.iter().map(|injection| &*injection.key).collect();
        keys.sort_unstable();
        if keys.windows(2).any(|pair| pair[0] == pair[1]) {
            failures.push("a key was damaged twice".to_owned());
        }
        let lists = [
            (self.left, "injections were not repaired by the pass after them, while clients wrote"),
            (&judgement.undetected[..], "injections were not detected"),
            (&judgement.unrepaired[..], "injections were not repaired"),
            (&judgement.false_repairs[..], "repairs had no reason"),
            (&judgement.false_holds[..], "keys were held without a reason"),
        ];
        for (list, what) in lists.into_iter().filter(|(list, _)| !list.is_empty()) {
            failures.push(format!("{} {what}: {}", list.len(), examples(list)));
        }
    }

    fn journal_failures(&self, failures: &mut Vec<String>) {
        if self.truncated {
            failures.push("a run's list of items was cut: nothing can be said about the rest".to_owned());
        }
        // Expired documents may differ while the application sweeps them; nothing else may.
        if let Some(first) = self.passes.first()
            && first.mismatches > self.first.explained.len() as u64
        {
            failures.push(format!(
                "the first pass found {} mismatches between undamaged replicas, of which {} have a reason",
                first.mismatches,
                self.first.explained.len()
            ));
        }
        let summed: u64 = self.passes.iter().map(|pass| pass.repaired).sum();
        let listed: u64 = self.judgement.written.values().sum();
        if summed != listed {
            failures.push(format!("the summaries count {summed} repairs, the journal lists {listed}"));
        }
        let places = self.judgement.written.keys().chain(self.echoes.keys());
        let count = |counts: &RepairCounts, place| counts.get(place).copied().unwrap_or(0);
        let mut unequal: Vec<String> = places
            .filter(|place| count(&self.judgement.written, place) != count(self.echoes, place))
            .map(|(node, key)| format!("{key} on {}", node.name()))
            .collect();
        unequal.sort_unstable();
        unequal.dedup();
        if !unequal.is_empty() {
            failures.push(format!(
                "{} keys have other repairs in the change stream than in the journal: {}",
                unequal.len(),
                examples(&unequal)
            ));
        }
    }
}

fn examples(list: &[String]) -> String {
    let shown = list.iter().take(EXAMPLES_MAX).cloned().collect::<Vec<_>>().join(", ");
    if list.len() > EXAMPLES_MAX { format!("{shown}, …") } else { shown }
}
