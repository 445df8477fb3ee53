//! This agent's own replicas, behind the same port as everybody else's.

mod admission;
mod agent;
mod cached;
mod comparisons;
mod confirms;
mod export;
mod feed;
mod holding;
mod incomparable;
mod ledger;
mod noticing;
mod pinning;
mod repairing;
mod replica;
mod scanning;
mod undo;
mod undoing;
mod voter;

pub use agent::{LocalAgent, LocalAgentParts, Starter};
pub use cached::CachedIndex;
pub use holding::Yielding;
pub use noticing::Noticed;
pub use replica::{LocalReplica, LocalReplicaParts};
pub use scanning::CompletedScans;
pub use undo::{UndoItem, UndoState, UndoWrite};
pub use undoing::Undone;
pub use voter::Ward;
