//! Why a target's agent leaves a repair, as it travels: text of a closed list, so that an agent that does not know
//! one shows it.

use std::fmt;
use std::str::FromStr;

use selfsame_core::brake::RepairBrake;

/// Why a target leaves a repair. What a person approved is refused by the store alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The replica was written to enough today.
    Brake(RepairBrake),
    /// A person undid or dropped this very change.
    Pinned,
    /// Pass after pass repaired the key, and it differs again.
    Flapping,
    /// It does not read back as written, or the same repair did not before.
    Incomparable,
}

/// A text that is no refusal of this list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OtherRefusal;

impl Refusal {
    const ALL: [Refusal; 5] = [
        Refusal::Brake(RepairBrake::Share),
        Refusal::Brake(RepairBrake::Deletes),
        Refusal::Pinned,
        Refusal::Flapping,
        Refusal::Incomparable,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Refusal::Brake(RepairBrake::Share) => "brake: repair_share_max",
            Refusal::Brake(RepairBrake::Deletes) => "brake: deletes_max",
            Refusal::Pinned => "pinned",
            Refusal::Flapping => "flapping",
            Refusal::Incomparable => "incomparable",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Refusal {
    type Err = OtherRefusal;

    fn from_str(text: &str) -> Result<Refusal, OtherRefusal> {
        Refusal::ALL.into_iter().find(|refusal| refusal.as_str() == text).ok_or(OtherRefusal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_read_back_and_a_stores_words_are_none() {
        for refusal in Refusal::ALL {
            assert_eq!(refusal.to_string().parse(), Ok(refusal));
        }
        for text in ["", "brake", "constraint: flapping", "schema: incomparable"] {
            assert_eq!(text.parse::<Refusal>(), Err(OtherRefusal), "{text}");
        }
    }
}
