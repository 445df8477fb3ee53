//! The origin marker: what a repair's write says of itself, for consumers of change streams.

use std::fmt;
use std::str::FromStr;

use crate::{AgentName, RepairId, RunId};

/// Why a replica differed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// An insert did not arrive.
    MissedInsert,
    /// An update did not arrive.
    MissedUpdate,
    /// A delete did not arrive.
    MissedDelete,
    /// Same version, other content.
    SilentChange,
    /// An expired document was still there.
    ExpiredStraggler,
    /// A version lies too far in the future.
    ClockSkew,
    /// The replica's store went back in time; or a person undid a repair.
    Restored,
    /// The replica stood still while the others moved on.
    Lagging,
    /// A key that was deleted is there again.
    Recreated,
    /// Nothing differed: a document that had expired was deleted from all replicas alike.
    Swept,
    /// The evidence does not tell.
    Unknown,
}

impl Cause {
    /// All causes, for closed label sets.
    pub const ALL: [Cause; 11] = [
        Cause::MissedInsert,
        Cause::MissedUpdate,
        Cause::MissedDelete,
        Cause::SilentChange,
        Cause::ExpiredStraggler,
        Cause::ClockSkew,
        Cause::Restored,
        Cause::Lagging,
        Cause::Recreated,
        Cause::Swept,
        Cause::Unknown,
    ];

    /// The name in metrics, reports and markers.
    pub fn as_str(self) -> &'static str {
        match self {
            Cause::MissedInsert => "missed_insert",
            Cause::MissedUpdate => "missed_update",
            Cause::MissedDelete => "missed_delete",
            Cause::SilentChange => "silent_change",
            Cause::ExpiredStraggler => "expired_straggler",
            Cause::ClockSkew => "clock_skew",
            Cause::Restored => "restored",
            Cause::Lagging => "lagging",
            Cause::Recreated => "recreated",
            Cause::Swept => "swept",
            Cause::Unknown => "unknown",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Who wrote, in which run, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginMarker {
    /// The agent that applied the repair.
    pub agent: AgentName,
    /// The run that decided it.
    pub run: RunId,
    /// The repair.
    pub repair: RepairId,
    /// Why the replica differed.
    pub cause: Cause,
}

/// A text that is no marker.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an origin marker")]
pub struct OriginMarkerError;

const SCHEME: &str = "selfsame/1";

impl fmt::Display for OriginMarker {
    /// `selfsame/1 AGENT RUN REPAIR CAUSE`: text that fits any log, message or column.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME} {} {} {} {}", self.agent, self.run, self.repair, self.cause)
    }
}

impl FromStr for OriginMarker {
    type Err = OriginMarkerError;

    fn from_str(text: &str) -> Result<Self, OriginMarkerError> {
        let mut words = text.split(' ');
        let mut word = || words.next().ok_or(OriginMarkerError);
        if word()? != SCHEME {
            return Err(OriginMarkerError);
        }
        let agent = word()?.parse().map_err(|_| OriginMarkerError)?;
        let run = word()?.parse().map_err(|_| OriginMarkerError)?;
        let repair = word()?.parse().map_err(|_| OriginMarkerError)?;
        let name = word()?;
        let cause = Cause::ALL.into_iter().find(|cause| cause.as_str() == name).ok_or(OriginMarkerError)?;
        if words.next().is_some() {
            return Err(OriginMarkerError);
        }
        Ok(OriginMarker { agent, run, repair, cause })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markers_read_back_and_nothing_else_does() {
        for cause in Cause::ALL {
            let marker = OriginMarker {
                agent: "a".parse().unwrap(),
                run: RunId::from_bytes([1; 16]),
                repair: RepairId::from_bytes([2; 16]),
                cause,
            };
            assert_eq!(marker.to_string().parse(), Ok(marker.clone()));
            assert!(format!("{marker} more").parse::<OriginMarker>().is_err());
        }
        for text in ["", "selfsame/2 a", "selfsame/1 a b c d"] {
            assert!(text.parse::<OriginMarker>().is_err(), "{text}");
        }
    }
}
