//! For consumers of change streams (a search index, a cache, a queue): recognise a repair's echo.
//!
//! A repair is a write like any other to whoever follows a store's changes. It carries an origin marker, so
//! that a consumer can tell it from what clients wrote. [`Echo::of`] reads the marker wherever a store puts it;
//! [`EchoPolicy`] says what is done about it; [`SqliteFeed`] reads the change table of an SQLite file, and
//! [`SqliteTail`] (feature `rusqlite`) does so by itself.
//!
//! Nothing here guesses: changes that may be missing are told as a [`Gap`], and a marker that this version does
//! not know is neither taken for a client's write nor for a repair.
//!
//! ```
//! use selfsame_cdc::{Cause, Echo};
//!
//! let field = "selfsame/1 a 6e8bc430-9c3a-8d1e-8000-000000000001 0f1e2d3c-4b5a-8978-8000-000000000002 missed_update";
//! assert_eq!(Echo::of(field).map(|marker| marker.cause), Some(Cause::MissedUpdate));
//! assert_eq!(Echo::of("nightly import"), None);
//! ```

mod echo;
mod position;
mod sqlite;
#[cfg(feature = "rusqlite")]
mod tail;

pub use echo::{Echo, EchoPolicy, Origin};
pub use position::{Position, PositionError};
pub use selfsame_core::{Cause, Cell, OriginMarker};
pub use sqlite::{
    Bounds, Change, ChangeRow, Event, FeedError, Gap, GapCause, KEY_COLUMNS_MAX, Operation, Page, SqliteFeed,
};
#[cfg(feature = "rusqlite")]
pub use tail::{SqliteTail, TailError};
