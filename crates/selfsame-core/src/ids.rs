//! Names and numbers that could be mixed up, each a type of its own.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use uuid::Uuid;

use crate::{DecodeError, KeyDigest, Reader, RowDigest, Writer};

/// A name that is empty, too long, or has characters that no name has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("name `{0}` must be 1 to 63 letters, digits, `-`, `_` or `.`, and start with a letter or a digit")]
pub struct NameError(String);

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
                let first = text.chars().next().is_some_and(|c| c.is_ascii_alphanumeric());
                if !first || text.len() > 63 || !text.chars().all(inner) {
                    return Err(NameError(text.to_owned()));
                }
                Ok(Self(text.to_owned()))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name! {
    /// One Selfsame process.
    AgentName
}
name! {
    /// One running store.
    NodeName
}
name! {
    /// One set of documents that should be the same on all its replicas.
    CollectionName
}

/// A shard's number, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(pub u32);

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How many shards a collection has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardCount(NonZeroU32);

impl ShardCount {
    /// More shards than this are refused: each costs a tree and a share of every roots request.
    pub const MAX: u32 = 4096;

    /// `count` shards, if that is 1 to [`ShardCount::MAX`].
    pub fn new(count: u32) -> Option<Self> {
        NonZeroU32::new(count).filter(|_| count <= Self::MAX).map(Self)
    }

    /// The count.
    pub fn get(self) -> u32 {
        self.0.get()
    }

    /// All shards in order.
    pub fn ids(self) -> impl Iterator<Item = ShardId> {
        (0..self.get()).map(ShardId)
    }
}

/// The place of a replica in its collection's configured list, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplicaIndex(pub usize);

/// When a read of a replica began, by the replica's durable, growing counter: never by a clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp(pub u64);

/// The fencing token of an exchange. Ordered by counter first; the agent's name only breaks ties.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch {
    /// Grows with each claim of the shard.
    pub counter: u64,
    /// Who claimed it.
    pub agent: AgentName,
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.counter, self.agent)
    }
}

/// Why a pass is made: its place in the schedule, or a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Slot {
    /// The `n`-th interval of the schedule since 1970.
    Scheduled(u64),
    /// Somebody asked; the id is theirs.
    AdHoc(Uuid),
}

impl Slot {
    /// The encoding that is stored, sent and hashed.
    pub fn to_bytes(self) -> Vec<u8> {
        let mut out = Writer::new();
        match self {
            Slot::Scheduled(number) => out.byte(0).u64(number),
            Slot::AdHoc(id) => out.byte(1).raw(id.as_bytes()),
        };
        out.finish()
    }

    /// Reads what [`Slot::to_bytes`] wrote.
    pub fn from_bytes(bytes: &[u8]) -> Result<Slot, DecodeError> {
        let mut reader = Reader::new(bytes);
        let slot = match reader.byte()? {
            0 => Slot::Scheduled(reader.u64()?),
            1 => Slot::AdHoc(Uuid::from_bytes(reader.array()?)),
            _ => return Err(DecodeError::Invalid),
        };
        reader.finish()?;
        Ok(slot)
    }
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            fn derived(context: &str, body: &[u8]) -> Self {
                let digest = blake3::derive_key(context, body);
                Self(Uuid::new_v8(digest[..16].try_into().expect("half of 32 bytes")))
            }

            /// The id's bytes.
            pub fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }

            /// The id of those bytes.
            pub fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(Uuid::from_bytes(bytes))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, uuid::Error> {
                Uuid::parse_str(text).map(Self)
            }
        }
    };
}

uuid_id! {
    /// One pass over a collection for one slot. Derived, so that all owners of its shards agree on it.
    RunId
}
uuid_id! {
    /// One conditional write or delete on one replica. Derived from what it does, so that a repair that is
    /// delivered twice has one id.
    RepairId
}

impl RunId {
    /// The run of a collection for a slot.
    pub fn of(fleet: &str, collection: &CollectionName, slot: Slot) -> RunId {
        let mut body = Writer::new();
        body.frame(fleet.as_bytes()).frame(collection.as_str().as_bytes()).frame(&slot.to_bytes());
        RunId::derived("selfsame run", &body.finish())
    }
}

impl RepairId {
    /// The repair of `key` on `node` in `run` that turns the row `before` into the row `after` (`None`: absent).
    pub fn of(
        run: RunId,
        node: &NodeName,
        key: KeyDigest,
        before: Option<RowDigest>,
        after: Option<RowDigest>,
    ) -> RepairId {
        let mut body = Writer::new();
        body.raw(run.as_bytes()).frame(node.as_str().as_bytes()).raw(&key.0);
        for row in [before, after] {
            body.frame(row.as_ref().map_or(&[], |digest| &digest.0[..]));
        }
        RepairId::derived("selfsame repair", &body.finish())
    }

    /// The repair that takes this one back. Derived, so that undoing twice writes once.
    pub fn undoing(self) -> RepairId {
        RepairId::derived("selfsame undo", self.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_safe_for_files_labels_and_urls() {
        for good in ["a", "node-a", "0.x_Y", &"a".repeat(63)] {
            assert!(good.parse::<NodeName>().is_ok(), "{good}");
        }
        for bad in ["", "-a", ".", "../x", "a b", "ä", "a/b", &"a".repeat(64)] {
            assert!(bad.parse::<NodeName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn owners_of_one_slot_derive_one_run() {
        let products = "products".parse().unwrap();
        let run = |number| RunId::of("shop", &products, Slot::Scheduled(number));
        assert_eq!(run(7), run(7));
        assert_ne!(run(7), run(8));
        assert_ne!(run(7), RunId::of("shop", &"users".parse().unwrap(), Slot::Scheduled(7)));
    }

    #[test]
    fn what_takes_a_repair_back_has_an_id_of_its_own() {
        let repair = RepairId::from_bytes([7; 16]);
        assert_eq!(repair.undoing(), repair.undoing());
        assert_ne!(repair.undoing(), repair);
        assert_ne!(repair.undoing().undoing(), repair);
        assert_ne!(repair.undoing(), RepairId::from_bytes([8; 16]).undoing());
    }

    #[test]
    fn slots_read_back() {
        for slot in [Slot::Scheduled(0), Slot::Scheduled(u64::MAX), Slot::AdHoc(Uuid::from_u128(9))] {
            assert_eq!(Slot::from_bytes(&slot.to_bytes()), Ok(slot));
        }
        assert!(Slot::from_bytes(&[2]).is_err());
    }
}
