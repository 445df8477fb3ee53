//! Repairs that a person does not want again: they were undone, or dropped from a plan. They wait, as a plan.

use std::collections::BTreeSet;

use selfsame_core::{EntryDigest, HoldReason, KeyDigest, ShardId};
use selfsame_wire::message::{Claim, Pin};

use super::report::{Outcome, PlanReason, ShardReport};
use super::{Exchange, Mandate, Task, sighting};

impl Exchange {
    /// Reports the repairs that are pinned as held, and gives the others. An approval overrides a pin.
    pub(super) fn set_aside_pinned<'a>(
        &self,
        claim: &Claim,
        tasks: Vec<Task<'a>>,
        report: &mut ShardReport,
    ) -> Vec<Task<'a>> {
        let waits = |task: &Task<'_>| self.is_pinned(task) && !self.is_approved(claim, task);
        let (pinned, free): (Vec<_>, Vec<_>) = tasks.into_iter().partition(waits);
        if pinned.is_empty() {
            return free;
        }
        let keys: BTreeSet<KeyDigest> = pinned.iter().map(|task| task.judged.key_digest).collect();
        report.counts.held += keys.len() as u64;
        report.planned = Some(self.planned_anyway(claim.shard).unwrap_or(PlanReason::Pinned));
        let held = |task| self.item(claim, task, Outcome::Held(HoldReason::Pinned));
        report.items.extend(pinned.iter().map(held));
        free
    }

    /// Why whatever is found here would be a plan, if it would.
    fn planned_anyway(&self, shard: ShardId) -> Option<PlanReason> {
        match &self.mandate {
            Mandate::Plan(reason) => Some(*reason),
            Mandate::Automatic => self.first_pass.contains(&shard).then_some(PlanReason::FirstPass),
            Mandate::Approved(_) | Mandate::Resync(_) => None,
        }
    }

    /// Whether this very change of this very row is pinned.
    pub(super) fn is_pinned(&self, task: &Task<'_>) -> bool {
        let target = task.target.replica.0;
        let before = sighting(&task.judged.observations[target]).map(|sighting| sighting.row);
        let change = Pin { before, after: self.entry_after(task) };
        task.judged.pins.get(target).copied().flatten() == Some(change)
    }

    fn is_approved(&self, claim: &Claim, task: &Task<'_>) -> bool {
        match &self.mandate {
            Mandate::Approved(_) => self.not_approved(claim, task).is_none(),
            // Who lets a replica take the others' word wants all of it.
            Mandate::Resync(_) => true,
            Mandate::Automatic | Mandate::Plan(_) => false,
        }
    }

    /// The entry that a repair leaves; `None` if it deletes.
    pub(super) fn entry_after(&self, task: &Task<'_>) -> Option<EntryDigest> {
        let winner = sighting(&task.judged.observations[task.winner()?.0])?;
        Some(self.fingerprinter.entry_digest(&winner.entry(&task.judged.key)))
    }
}
