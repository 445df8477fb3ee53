//! The agent's gRPC port: other agents as [`crate::peer::Peer`]s, and this one as theirs.
//!
//! Only messages cross here. What they mean is decided by the peer that stands behind the server; what came
//! over the wire is checked before anybody sees it.

mod client;
mod server;
mod service;

#[cfg(test)]
mod tests;

pub use client::{Deadlines, GrpcPeer};
pub(crate) use server::listen;
pub use server::{ServeError, Server, Services};
