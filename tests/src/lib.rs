//! Whole fleets as processes, for the tests beside this library: real agents, real SQLite files, real signals.
//!
//! Nothing here shares code with Selfsame. The binary is found beside the tests; make it first:
//! `cargo build -p selfsame --features failpoints`.
//!
//! **How a test reads.** [`Fleet::builder`] says what differs from the usual fleet; [`FleetBuilder::start`] makes
//! folder, files and configuration and starts all agents; [`Fleet::pass`] runs `selfsame run --scan --wait`;
//! [`Fleet::contents`] reads a file by plain SQL; [`Contents`] of two files are compared as text. The agents end
//! when the fleet is dropped; if that happens in a panic, the ends of their logs are printed.
//!
//! **The usual fleet.** Agents `a`, `b`, `c`, each with one node `node-a`, … on a file `a.db`, … with one table
//! `products(id TEXT PRIMARY KEY, body TEXT, updated_at INTEGER)`, whose versions are counters; 16 shards, repairs
//! at once, `settle` 200 ms, and no brakes and no throttle worth the name.
//!
//! Every wait has a deadline: [`wait::until`]. Every function that cannot do what it says panics with a message,
//! for a test has nothing else to do about it.
//!
//! `SELFSAME_BIN` names another binary; `SELFSAME_TESTS_KEEP=1` leaves the folders of fleets where they are.

mod agent;
mod cli;
mod fleet;
mod journal;
mod oracle;
mod ports;
pub mod wait;
mod writer;

pub use agent::Signal;
pub use cli::{Answer, Running, binary};
pub use fleet::{Fleet, FleetBuilder};
pub use journal::journal_copy;
pub use oracle::{Contents, assert_same, contents, open_store, put};
pub use writer::{Writer, WriterSettings};
