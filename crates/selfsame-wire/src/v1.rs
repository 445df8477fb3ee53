//! What `proto/` generates: the form in which messages travel. Nothing here is checked; [`crate::message`] is
//! what the rest of the program works with.
#![allow(missing_docs, unreachable_pub, clippy::all, clippy::unwrap_used, clippy::large_futures)]

tonic::include_proto!("selfsame.v1");

/// The services and messages described, for reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/selfsame.v1.descriptors"));
