//! The runtime of an agent: it scans its replicas, answers its peers, and runs the exchanges of the shards that
//! it owns.
//!
//! It talks to stores and peers through ports and does not know what stands behind them. Nothing here decides
//! about documents: that is `selfsame_core`'s.

mod ages;
pub mod assembly;
mod blocking;
mod claim;
pub mod clock;
mod decisive;
pub mod exchange;
pub mod fleet;
pub mod http;
pub mod local;
pub mod membership;
pub mod metrics;
pub mod operator;
pub mod owner;
pub mod pass;
pub mod peer;
mod private;
pub mod progress;
mod pruning;
pub mod record;
mod refusal;
pub mod rpc;
pub mod runtime;
pub mod scheduler;
pub mod settings;
pub mod supervisor;
