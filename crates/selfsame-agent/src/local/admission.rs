//! What a replica's agent lets through of a batch that nobody approved: its own brake, which several owners cannot
//! pass together and which no restart forgets; and nothing that goes in circles.

use std::collections::HashMap;
use std::sync::Arc;

use selfsame_core::brake::{ROLLING_DAY_MICROS, RepairBrake, RepairLimits, RepairLoad};
use selfsame_core::{Cause, Key, RepairId};
use selfsame_journal::{Asked, Intent, IntentWrite, Precedent, RepairCount};
use selfsame_wire::message::ApplyOutcome;

use super::repairing::{Step, Warrant};
use super::replica::LocalReplica;
use crate::blocking::blocking;
use crate::peer::PeerError;
use crate::refusal::Refusal;

/// A key that so many passes in a row repaired is left alone.
const FLAPS_AFTER: u32 = 3;

impl LocalReplica {
    /// Whether a key is left alone because pass after pass repaired it. A journal that does not answer says no.
    pub(crate) async fn is_flapping(self: &Arc<Self>, key: &Key) -> bool {
        let (this, key) = (self.clone(), self.fingerprinter().key_digest(key));
        let streak = blocking(move || {
            let (journal, collection, node) =
                (&this.parts.journal, &this.parts.collection.name, &this.parts.node);
            journal.repaired_in_a_row(collection, node, key)
        });
        streak.await.is_ok_and(|passes| passes >= FLAPS_AFTER)
    }

    /// Takes out of a batch what is not to be written, and says why. To be called with the replica's writing lock
    /// held until the rest is journalled: what is counted is what the journal has.
    pub(super) async fn refuse(
        self: &Arc<Self>,
        warrant: &Warrant,
        intents: &mut Vec<Intent>,
        steps: &mut [Step],
    ) -> Result<(), PeerError> {
        if warrant.approved || intents.is_empty() {
            return Ok(());
        }
        let rows = self.index().map_err(|error| self.index_failed(&error))?.counts().entries;
        let (this, run, asked) = (self.clone(), warrant.run, intents.iter().map(asked).collect::<Vec<_>>());
        let known = blocking(move || {
            let (journal, collection, node) =
                (&this.parts.journal, &this.parts.collection.name, &this.parts.node);
            let since = this.parts.clock.now().plus(-ROLLING_DAY_MICROS);
            let written = journal.count_since(collection, node, since)?;
            Ok((written, journal.precedents(collection, node, run, since, &asked)?))
        });
        let (written, precedents) =
            known.await.map_err(|error: selfsame_journal::JournalError| self.broken(&error))?;
        let RepairCount { keys, deletes, .. } = written;
        let limits = self.parts.collection.brakes.repair_limits();
        let day = Day { limits, load: RepairLoad { keys: rows, repaired: keys, deletes } };
        let refused = judge(day, intents, &precedents);
        if refused.is_empty() {
            return Ok(());
        }
        tracing::warn!(
            collection = %self.parts.collection.name, node = %self.parts.node, repairs = refused.len(),
            keys_today = keys, deletes_today = deletes, rows, "repairs are refused: a brake, or keys that repairs do not mend"
        );
        intents.retain(|intent| !refused.contains_key(&intent.repair));
        for step in steps {
            if let Some(refusal) = refused.get(&step.item.repair) {
                step.outcome = Some(ApplyOutcome::Refused(refusal.to_string()));
            }
        }
        Ok(())
    }
}

fn asked(intent: &Intent) -> Asked {
    Asked {
        repair: intent.repair,
        key_digest: intent.key_digest,
        expected: intent.expected,
        entry: match &intent.write {
            IntentWrite::Put { entry, .. } => Some(entry.clone()),
            IntentWrite::Delete => None,
        },
    }
}

/// What was written to one replica within the rolling day, and how much may be.
#[derive(Clone, Copy, Debug)]
struct Day {
    limits: RepairLimits,
    load: RepairLoad,
}

impl Day {
    /// Takes one repair in, or names the limit that it would pass; what is refused does not count. Only what a repair
    /// adds to can refuse it: a key that is counted is written again, and a write is no delete.
    fn take(&mut self, deletes: bool, key_counted: bool) -> Result<(), RepairBrake> {
        let RepairLoad { keys, repaired, deletes: deleted } = self.load;
        let next = RepairLoad {
            keys,
            repaired: repaired.saturating_add(u64::from(!key_counted)),
            deletes: deleted.saturating_add(u64::from(deletes)),
        };
        let added = RepairLoad {
            keys,
            repaired: if key_counted { 0 } else { next.repaired },
            deletes: if deletes { next.deletes } else { 0 },
        };
        match added.brake(self.limits) {
            Some(brake) => Err(brake),
            None => {
                self.load = next;
                Ok(())
            }
        }
    }
}

/// Which repairs are refused, in the order in which they are asked for. `precedents` has one for each intent.
fn judge(mut day: Day, intents: &[Intent], precedents: &[Precedent]) -> HashMap<RepairId, Refusal> {
    let mut verdict = |intent: &Intent, precedent: &Precedent| {
        // It counts nowhere, and cannot go in circles: only what has expired is swept.
        if intent.cause == Cause::Swept {
            return None;
        }
        if precedent.repaired_in_a_row >= FLAPS_AFTER {
            return Some(Refusal::Flapping);
        }
        if precedent.incomparable {
            return Some(Refusal::Incomparable);
        }
        // What was delivered is counted. What was copied and must not stay goes, or a deletion would be undone.
        if precedent.delivered || precedent.withdraws {
            return None;
        }
        let deletes = intent.write == IntentWrite::Delete;
        day.take(deletes, precedent.key_counted).err().map(Refusal::Brake)
    };
    let pairs = intents.iter().zip(precedents);
    pairs.filter_map(|(intent, precedent)| Some((intent.repair, verdict(intent, precedent)?))).collect()
}

#[cfg(test)]
mod tests {
    use selfsame_core::{Cause, Epoch, KeyDigest, RunId, WallMicros};
    use selfsame_journal::BeforeImage;

    use super::*;

    fn day(rows: u64, repaired: u64, deletes: u64, deletes_max: u64) -> Day {
        let limits = RepairLimits { repair_share_max: 0.1, deletes_max };
        Day { limits, load: RepairLoad { keys: rows, repaired, deletes } }
    }

    fn delete(number: u8) -> Intent {
        Intent {
            repair: RepairId::from_bytes([number; 16]),
            run: RunId::from_bytes([0; 16]),
            epoch: Epoch { counter: 1, agent: "a".parse().unwrap() },
            collection: "products".parse().unwrap(),
            node: "node-a".parse().unwrap(),
            key: Key::integer(number.into()),
            key_digest: KeyDigest([number; 16]),
            expected: None,
            write: IntentWrite::Delete,
            before: BeforeImage::NoRow,
            cause: Cause::Unknown,
            approved: false,
            at: WallMicros(0),
        }
    }

    fn judged(deletes_max: u64, precedents: &[Precedent]) -> Vec<Option<Refusal>> {
        let intents: Vec<Intent> = (0..).zip(precedents).map(|(number, _)| delete(number)).collect();
        let refused = judge(day(100, 0, 0, deletes_max), &intents, precedents);
        intents.iter().map(|intent| refused.get(&intent.repair).copied()).collect()
    }

    #[test]
    fn a_day_takes_what_is_at_the_limits_and_nothing_above() {
        let taken =
            |mut day: Day, deletes| (0..1_000).take_while(|_| day.take(deletes, false).is_ok()).count();
        assert_eq!(taken(day(100, 0, 0, 3), false), 49, "a share counts from fifty keys on");
        assert_eq!(taken(day(0, 0, 0, 3), false), 49);
        assert_eq!(taken(day(600, 0, 0, 3), false), 60);
        assert_eq!(taken(day(600, 58, 0, 3), false), 2);
        assert_eq!(taken(day(600, 61, 0, 3), false), 0);
        assert_eq!(taken(day(600, 0, 0, 3), true), 3);
        assert_eq!(taken(day(600, 0, 2, 3), true), 1);
    }

    #[test]
    fn only_what_a_repair_adds_to_refuses_it() {
        let mut day = day(600, 60, 2, 3);
        assert_eq!(day.take(false, false), Err(RepairBrake::Share));
        assert_eq!(day.take(false, true), Ok(()), "its key is counted");
        assert_eq!(day.take(true, true), Ok(()));
        assert_eq!(day.take(true, true), Err(RepairBrake::Deletes), "a delete counts each time");
        assert_eq!((day.load.repaired, day.load.deletes), (60, 3), "what is refused does not count");
        let mut day = Day { load: RepairLoad { repaired: 0, ..day.load }, ..day };
        assert_eq!(day.take(false, false), Ok(()), "a write is no delete");
    }

    #[test]
    fn what_is_above_the_limit_is_refused_and_what_is_below_is_not() {
        let braked = Some(Refusal::Brake(RepairBrake::Deletes));
        assert_eq!(judged(2, &[Precedent::default(); 4]), [None, None, braked, braked]);
    }

    #[test]
    fn deliveries_and_withdrawals_pass_and_take_nothing_from_the_rest() {
        let delivered = Precedent { delivered: true, key_counted: true, ..Precedent::default() };
        let withdraws = Precedent { withdraws: true, ..Precedent::default() };
        let fresh = Precedent::default();
        let braked = Some(Refusal::Brake(RepairBrake::Deletes));
        assert_eq!(judged(1, &[delivered, withdraws, fresh, fresh]), [None, None, None, braked]);
    }

    #[test]
    fn a_key_flaps_after_three_passes_in_a_row_whatever_the_brake_says() {
        let passes = |repaired_in_a_row| Precedent { repaired_in_a_row, ..Precedent::default() };
        let refused = judged(9, &[passes(2), passes(3), passes(4)]);
        assert_eq!(refused, [None, Some(Refusal::Flapping), Some(Refusal::Flapping)]);
        assert_eq!(judged(0, &[passes(3)]), [Some(Refusal::Flapping)]);
        let again = Precedent { delivered: true, repaired_in_a_row: 3, ..Precedent::default() };
        assert_eq!(judged(0, &[again]), [Some(Refusal::Flapping)]);
    }

    #[test]
    fn what_did_not_read_back_is_not_written_again() {
        let incomparable = Precedent { incomparable: true, ..Precedent::default() };
        assert_eq!(judged(9, &[incomparable]), [Some(Refusal::Incomparable)]);
    }
}
