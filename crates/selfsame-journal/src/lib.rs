//! What must survive at one agent, synced, in one SQLite file: fences and shard records, runs and their items,
//! intents and outcomes with before-images, the ledger of deletions, plans and pins, pauses, holds, streaks.
//!
//! Whatever a method acknowledged with `Ok` is on disk. The journal never re-creates a file that it cannot
//! read, never drops an intent without an outcome, and never takes back an epoch.
//!
//! The API is synchronous, behind one mutex: callers in a runtime use blocking threads. No clock is read; times
//! come from the caller.

mod columns;
mod error;
mod fences;
mod file;
mod forget;
mod gaps;
mod holds;
mod items;
mod journal;
mod ledger;
mod pauses;
mod pins;
mod plans;
mod precedents;
mod prune;
mod purge;
mod records;
mod rekey;
mod repairs;
mod runs;
mod schema;
mod streaks;
mod summary;
#[cfg(test)]
mod testing;
mod undo;

pub use error::JournalError;
pub use fences::EpochRecorded;
pub use forget::Forgotten;
pub use holds::{Hold, HoldCause, HoldEnd, StoreSeen};
pub use items::{Action, CauseCount, ItemOutcome, ItemRow};
pub use journal::{Cursor, Journal, JournalOptions, Page, Standing};
pub use ledger::{LedgerStep, Memory, MemoryChange, MemoryCount};
pub use pauses::{Pause, PauseScope};
pub use pins::Pin;
pub use plans::{
    FirstPass, NodeLoad, Plan, PlanCounts, PlanId, PlanItem, PlanItemRow, PlanItemState, PlanPut, PlanRow,
    Selection, plan_body,
};
pub use precedents::{Asked, Precedent};
pub use prune::{Pruned, Retention};
pub use records::{COMPLETIONS_MAX, Completion, RecordPut, ShardRecord};
pub use repairs::{
    BeforeImage, Intent, IntentOutcome, IntentWrite, IntentWritten, OutcomeWritten, RepairCount, StoredIntent,
};
pub use runs::{Run, RunFilter, RunList, RunMatch, RunRow};
pub use summary::{Counters, RunSummary, ShardResult};
pub use undo::{KeptImage, MadeRepair};
