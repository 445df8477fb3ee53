//! The files of an index: which of them are its own, and the ordered key-value store behind it. The rest of the
//! crate knows only the few calls of [`Store`], so that the store can be changed.
//!
//! ```text
//! <index>/lock        held while the index is open
//! <index>/anchor      which generation is current, what of it is synced, the stamps given out
//! <index>/opening     as many bytes as openings have begun and not ended
//! <index>/db-<n>      the store of generation n
//! <index>/damaged-<n> a generation that was set aside
//! ```

mod anchor;
mod folder;
mod manifests;
mod private;
mod store;

pub(crate) use anchor::{Anchor, AnchorFile};
pub(crate) use folder::Folder;
pub(crate) use store::{Batch, Bytes, Pairs, Store};
