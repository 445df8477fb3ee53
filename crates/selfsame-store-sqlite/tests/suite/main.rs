//! The store on real files, with the application beside it.

#![allow(clippy::unwrap_used, reason = "a failure here is the test's")]

mod apply;
mod concurrent;
mod conformance;
mod feed;
mod file;
mod scan;
mod setup;
mod support;
