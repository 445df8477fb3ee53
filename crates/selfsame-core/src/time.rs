//! Points in time, as numbers that are passed in; nothing here reads a clock.

use std::fmt;

/// Microseconds since 1970-01-01T00:00:00Z by a wall clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WallMicros(pub i64);

impl WallMicros {
    /// This instant moved by `micros`, saturating at the ends of the range.
    pub fn plus(self, micros: i64) -> WallMicros {
        WallMicros(self.0.saturating_add(micros))
    }
}

impl fmt::Display for WallMicros {
    /// RFC 3339 in UTC, or the bare number where the calendar does not reach.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(instant) => write!(f, "{instant}"),
            Err(_) => write!(f, "{}us", self.0),
        }
    }
}
