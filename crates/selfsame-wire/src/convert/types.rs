//! What more than one message carries: keys, claims, slots, verdicts, reasons, causes, memory.

use selfsame_core::{
    AgentName, Cause, Certainty, Decimal, Epoch, Key, KeyPart, OriginMarker, Presence, RepairId, RunId,
    ShardCount, ShardId, ShardVerdict, Slot, Tombstone, TombstoneCause, TombstoneOwner, UnknownReason,
    Version, WallMicros,
};

use super::{Malformed, all, array, at_most, exactly, name, required};
use crate::limits::SHARDS_MAX;
use crate::message::Claim;
use crate::v1;

impl From<&Key> for v1::Key {
    fn from(key: &Key) -> Self {
        use v1::key_part::Part;
        let part = |part: &KeyPart| match part {
            KeyPart::Text(text) => Part::Text(text.clone()),
            KeyPart::Bytes(bytes) => Part::Binary(bytes.clone()),
            KeyPart::Number(number) => match number.to_i64() {
                Some(integer) => Part::Integer(integer),
                None => Part::Decimal(v1::Decimal {
                    negative: number.is_negative(),
                    digits: number.digits().to_owned(),
                    exponent: number.exponent(),
                }),
            },
        };
        v1::Key { parts: key.parts().iter().map(|each| v1::KeyPart { part: Some(part(each)) }).collect() }
    }
}

impl TryFrom<v1::KeyPart> for KeyPart {
    type Error = Malformed;

    fn try_from(part: v1::KeyPart) -> Result<KeyPart, Malformed> {
        use v1::key_part::Part;
        Ok(match required("key.part", part.part)? {
            Part::Text(text) => KeyPart::Text(text),
            Part::Binary(bytes) => KeyPart::Bytes(bytes),
            Part::Integer(integer) => KeyPart::Number(integer.into()),
            Part::Decimal(decimal) => {
                let number = Decimal::from_parts(decimal.negative, &decimal.digits, decimal.exponent);
                KeyPart::Number(number.map_err(|error| Malformed::new("key.part.decimal", error))?)
            }
        })
    }
}

impl TryFrom<v1::Key> for Key {
    type Error = Malformed;

    fn try_from(key: v1::Key) -> Result<Key, Malformed> {
        Key::new(all(key.parts)?).map_err(|error| Malformed::new("key", error))
    }
}

impl From<Epoch> for v1::Epoch {
    fn from(epoch: Epoch) -> Self {
        v1::Epoch { counter: epoch.counter, agent: epoch.agent.to_string() }
    }
}

impl TryFrom<v1::Epoch> for Epoch {
    type Error = Malformed;

    fn try_from(epoch: v1::Epoch) -> Result<Epoch, Malformed> {
        Ok(Epoch { counter: epoch.counter, agent: name("epoch.agent", &epoch.agent)? })
    }
}

impl From<Claim> for v1::Claim {
    fn from(claim: Claim) -> Self {
        v1::Claim {
            collection: claim.collection.to_string(),
            shard: claim.shard.0,
            epoch: Some(claim.epoch.into()),
            run: claim.run.as_bytes().to_vec(),
        }
    }
}

impl TryFrom<v1::Claim> for Claim {
    type Error = Malformed;

    fn try_from(claim: v1::Claim) -> Result<Claim, Malformed> {
        Ok(Claim {
            collection: name("claim.collection", &claim.collection)?,
            shard: shard("claim.shard", claim.shard)?,
            epoch: required("claim.epoch", claim.epoch)?.try_into()?,
            run: run("claim.run", &claim.run)?,
        })
    }
}

/// Every agent once: the exchange of a whole collection has one owner for most of its shards.
pub(super) fn from_epochs(epochs: Vec<(ShardId, Epoch)>) -> v1::Epochs {
    let mut out = v1::Epochs::default();
    for (shard, epoch) in epochs {
        out.shards.push(shard.0);
        out.counters.push(epoch.counter);
        let known = out.agents.iter().position(|agent| agent == epoch.agent.as_str());
        let index = known.unwrap_or_else(|| {
            out.agents.push(epoch.agent.to_string());
            out.agents.len() - 1
        });
        out.agent_indexes.push(u32::try_from(index).expect("a request has at most 4096 shards"));
    }
    if out.agents.len() == 1 {
        out.agent_indexes.clear();
    }
    out
}

pub(super) fn epochs(epochs: v1::Epochs) -> Result<Vec<(ShardId, Epoch)>, Malformed> {
    let count = epochs.shards.len();
    at_most("epochs.shards", count, SHARDS_MAX)?;
    exactly("epochs.counters", epochs.counters.len(), count)?;
    at_most("epochs.agents", epochs.agents.len(), count)?;
    let agents: Vec<AgentName> =
        epochs.agents.iter().map(|agent| name("epochs.agents", agent)).collect::<Result<_, _>>()?;
    let mut indexes = epochs.agent_indexes;
    if agents.len() == 1 && indexes.is_empty() {
        indexes = vec![0; count];
    }
    exactly("epochs.agent_indexes", indexes.len(), count)?;
    let rows = epochs.shards.iter().zip(epochs.counters).zip(indexes);
    rows.map(|((id, counter), index)| {
        let agent = agents.get(index as usize).cloned();
        let agent = agent
            .ok_or_else(|| Malformed::new("epochs.agent_indexes", format!("{index} is past the end")))?;
        Ok((shard("epochs.shards", *id)?, Epoch { counter, agent }))
    })
    .collect()
}

pub(super) fn shard(field: &'static str, id: u32) -> Result<ShardId, Malformed> {
    if id >= ShardCount::MAX {
        return Err(Malformed::new(field, format!("{id} is not below {}", ShardCount::MAX)));
    }
    Ok(ShardId(id))
}

pub(super) fn run(field: &'static str, bytes: &[u8]) -> Result<RunId, Malformed> {
    array(field, bytes).map(RunId::from_bytes)
}

pub(super) fn slot(bytes: &[u8]) -> Result<Slot, Malformed> {
    Slot::from_bytes(bytes).map_err(|error| Malformed::new("slot", error))
}

impl From<ShardVerdict> for v1::ShardVerdict {
    fn from(verdict: ShardVerdict) -> Self {
        use v1::shard_verdict::Verdict;
        let verdict = match verdict {
            ShardVerdict::InSync { as_of } => Verdict::InSync(as_of.0),
            ShardVerdict::Diverged => Verdict::Diverged(v1::Nothing {}),
            ShardVerdict::Unknown(reason) => Verdict::Unknown(v1::UnknownReason::from(reason).into()),
        };
        v1::ShardVerdict { verdict: Some(verdict) }
    }
}

impl TryFrom<v1::ShardVerdict> for ShardVerdict {
    type Error = Malformed;

    fn try_from(verdict: v1::ShardVerdict) -> Result<ShardVerdict, Malformed> {
        use v1::shard_verdict::Verdict;
        Ok(match required("verdict", verdict.verdict)? {
            Verdict::InSync(as_of) => ShardVerdict::InSync { as_of: WallMicros(as_of) },
            Verdict::Diverged(v1::Nothing {}) => ShardVerdict::Diverged,
            Verdict::Unknown(reason) => ShardVerdict::Unknown(unknown_reason("verdict.unknown", reason)?),
        })
    }
}

impl From<UnknownReason> for v1::UnknownReason {
    fn from(reason: UnknownReason) -> Self {
        match reason {
            UnknownReason::Unreachable => Self::Unreachable,
            UnknownReason::NoScan => Self::NoScan,
            UnknownReason::StaleIndex => Self::StaleIndex,
            UnknownReason::Schema => Self::Schema,
            UnknownReason::Config => Self::Config,
            UnknownReason::BadDocument => Self::BadDocument,
            UnknownReason::Clock => Self::Clock,
            UnknownReason::Held => Self::Held,
            UnknownReason::Moving => Self::Moving,
            UnknownReason::Busy => Self::Busy,
            UnknownReason::NoMajority => Self::NoMajority,
            UnknownReason::TooLarge => Self::TooLarge,
            UnknownReason::Phantom => Self::Phantom,
        }
    }
}

/// Reads a reason off the wire. Also for those who read the operator's messages.
pub fn unknown_reason(field: &'static str, reason: i32) -> Result<UnknownReason, Malformed> {
    known(field, reason, UnknownReason::ALL, |each| v1::UnknownReason::from(each) as i32)
}

impl From<Cause> for v1::Cause {
    fn from(cause: Cause) -> Self {
        match cause {
            Cause::MissedInsert => Self::MissedInsert,
            Cause::MissedUpdate => Self::MissedUpdate,
            Cause::MissedDelete => Self::MissedDelete,
            Cause::SilentChange => Self::SilentChange,
            Cause::ExpiredStraggler => Self::ExpiredStraggler,
            Cause::ClockSkew => Self::ClockSkew,
            Cause::Restored => Self::Restored,
            Cause::Lagging => Self::Lagging,
            Cause::Recreated => Self::Recreated,
            Cause::Swept => Self::Swept,
            Cause::Unknown => Self::Unknown,
        }
    }
}

pub(super) fn cause(field: &'static str, cause: i32) -> Result<Cause, Malformed> {
    known(field, cause, Cause::ALL, |each| v1::Cause::from(each) as i32)
}

/// The one of `all` that has this number.
fn known<T: Copy, const N: usize>(
    field: &'static str,
    number: i32,
    all: [T; N],
    number_of: impl Fn(T) -> i32,
) -> Result<T, Malformed> {
    let found = all.into_iter().find(|each| number_of(*each) == number);
    found.ok_or_else(|| Malformed::new(field, format!("{number} is not known")))
}

impl From<&Presence> for v1::Presence {
    fn from(presence: &Presence) -> Self {
        match presence {
            Presence::Live(_) => Self::Live,
            Presence::Marked(_) => Self::Marked,
            Presence::Absent => Self::Absent,
            Presence::Unreadable => Self::Unreadable,
            Presence::Unreachable => Self::Unreachable,
        }
    }
}

impl From<Tombstone> for v1::Tombstone {
    fn from(tombstone: Tombstone) -> Self {
        v1::Tombstone {
            version: tombstone.version.0,
            cause: match tombstone.cause {
                TombstoneCause::Deleted => v1::TombstoneCause::Deleted,
                TombstoneCause::Expired => v1::TombstoneCause::Expired,
            }
            .into(),
            at: tombstone.at.0,
            certainty: match tombstone.certainty {
                Certainty::Certain => v1::Certainty::Certain,
                Certainty::Observed => v1::Certainty::Observed,
            }
            .into(),
            came_back: tombstone.came_back,
            received: tombstone.owner == TombstoneOwner::Received,
        }
    }
}

impl TryFrom<v1::Tombstone> for Tombstone {
    type Error = Malformed;

    fn try_from(tombstone: v1::Tombstone) -> Result<Tombstone, Malformed> {
        let unknown = |field| Malformed::new(field, "is not known");
        Ok(Tombstone {
            version: Version(tombstone.version),
            cause: match v1::TombstoneCause::try_from(tombstone.cause) {
                Ok(v1::TombstoneCause::Deleted) => TombstoneCause::Deleted,
                Ok(v1::TombstoneCause::Expired) => TombstoneCause::Expired,
                Ok(v1::TombstoneCause::Unspecified) | Err(_) => return Err(unknown("tombstone.cause")),
            },
            at: WallMicros(tombstone.at),
            certainty: match v1::Certainty::try_from(tombstone.certainty) {
                Ok(v1::Certainty::Certain) => Certainty::Certain,
                Ok(v1::Certainty::Observed) => Certainty::Observed,
                Ok(v1::Certainty::Unspecified) | Err(_) => return Err(unknown("tombstone.certainty")),
            },
            owner: if tombstone.received { TombstoneOwner::Received } else { TombstoneOwner::Own },
            came_back: tombstone.came_back,
        })
    }
}

impl From<OriginMarker> for v1::OriginMarker {
    fn from(marker: OriginMarker) -> Self {
        v1::OriginMarker {
            agent: marker.agent.to_string(),
            run: marker.run.as_bytes().to_vec(),
            repair: marker.repair.as_bytes().to_vec(),
            cause: v1::Cause::from(marker.cause).into(),
        }
    }
}

impl TryFrom<v1::OriginMarker> for OriginMarker {
    type Error = Malformed;

    fn try_from(marker: v1::OriginMarker) -> Result<OriginMarker, Malformed> {
        Ok(OriginMarker {
            agent: name("marker.agent", &marker.agent)?,
            run: run("marker.run", &marker.run)?,
            repair: array("marker.repair", &marker.repair).map(RepairId::from_bytes)?,
            cause: cause("marker.cause", marker.cause)?,
        })
    }
}
