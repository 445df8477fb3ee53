//! Positions: how far a consumer has come, in a form that it can keep.

use std::fmt;
use std::str::FromStr;

/// A place in the change table of one store. To be kept by the consumer, together with what it made of the
/// changes up to there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// The store's id, so that another file at the same path is noticed.
    pub store: String,
    /// Everything up to this `seq` has been dealt with.
    pub seq: i64,
}

impl fmt::Display for Position {
    /// `SEQ@STORE`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.seq, self.store)
    }
}

/// A text that is no position.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no position; hint: keep what `Position` displays, `SEQ@STORE`")]
pub struct PositionError(String);

impl FromStr for Position {
    type Err = PositionError;

    fn from_str(text: &str) -> Result<Position, PositionError> {
        let refuse = || PositionError(text.to_owned());
        let (seq, store) = text.split_once('@').ok_or_else(refuse)?;
        let seq = seq.parse().ok().filter(|seq| *seq >= 0).ok_or_else(refuse)?;
        if store.is_empty() {
            return Err(refuse());
        }
        Ok(Position { store: store.to_owned(), seq })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_read_back_and_nothing_else_does() {
        for seq in [0, 7, i64::MAX] {
            let position = Position { store: "0123abcd".into(), seq };
            assert_eq!(position.to_string().parse(), Ok(position));
        }
        for text in ["", "7", "@x", "7@", "-1@x", "x@7", "9223372036854775808@x"] {
            assert!(text.parse::<Position>().is_err(), "{text}");
        }
    }
}
