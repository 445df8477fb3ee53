//! What is asked of stores: fresh reads, documents, repairs.

use selfsame_core::{
    ContentDigest, EntryDigest, Key, Observation, Presence, RepairId, Row, RowDigest, Sighting, Version,
    WallMicros,
};

use super::types::{cause, run};
use super::{Malformed, all, array, arrays, at_most, exactly, name, required};
use crate::limits::{APPLY_BYTES_MAX, APPLY_ITEMS_MAX, FETCH_BYTES_MAX, FETCH_ROWS_MAX, KEYS_MAX};
use crate::message::{
    ApplyItem, ApplyOutcome, ApplyRequest, Authority, FetchRequest, Pin, PinRequest, ReadRequest, Seen,
};
use crate::v1;

impl From<ReadRequest> for v1::ReadRequest {
    fn from(request: ReadRequest) -> Self {
        v1::ReadRequest {
            claim: Some(request.claim.into()),
            node: request.node.to_string(),
            keys: request.keys.iter().map(Into::into).collect(),
            conclude: request.conclude,
        }
    }
}

impl TryFrom<v1::ReadRequest> for ReadRequest {
    type Error = Malformed;

    fn try_from(request: v1::ReadRequest) -> Result<ReadRequest, Malformed> {
        at_most("keys", request.keys.len(), KEYS_MAX)?;
        Ok(ReadRequest {
            claim: required("claim", request.claim)?.try_into()?,
            node: name("node", &request.node)?,
            keys: all(request.keys)?,
            conclude: request.conclude,
        })
    }
}

impl From<Sighting> for v1::Sighting {
    fn from(sighting: Sighting) -> Self {
        v1::Sighting {
            version: sighting.version.0,
            expiry: sighting.expiry.map(|expiry| expiry.0),
            content: sighting.content.0.to_vec(),
            row: sighting.row.0.to_vec(),
            by_repair: sighting.by_repair,
            bytes: sighting.bytes,
        }
    }
}

impl TryFrom<v1::Sighting> for Sighting {
    type Error = Malformed;

    fn try_from(sighting: v1::Sighting) -> Result<Sighting, Malformed> {
        Ok(Sighting {
            version: Version(sighting.version),
            expiry: sighting.expiry.map(WallMicros),
            content: array("sighting.content", &sighting.content).map(ContentDigest)?,
            row: array("sighting.row", &sighting.row).map(RowDigest)?,
            by_repair: sighting.by_repair,
            bytes: sighting.bytes,
        })
    }
}

impl From<Observation> for v1::Observation {
    fn from(observation: Observation) -> Self {
        v1::Observation {
            presence: v1::Presence::from(&observation.presence).into(),
            sighting: match observation.presence {
                Presence::Live(sighting) | Presence::Marked(sighting) => Some(sighting.into()),
                Presence::Absent | Presence::Unreadable | Presence::Unreachable => None,
            },
            memory: observation.memory.map(Into::into),
            held: observation.held,
            pinned: None,
        }
    }
}

impl TryFrom<v1::Observation> for Observation {
    type Error = Malformed;

    fn try_from(observation: v1::Observation) -> Result<Observation, Malformed> {
        let sighting = observation.sighting.map(Sighting::try_from).transpose()?;
        let presence = match (v1::Presence::try_from(observation.presence), sighting) {
            (Ok(v1::Presence::Live), Some(sighting)) => Presence::Live(sighting),
            (Ok(v1::Presence::Marked), Some(sighting)) => Presence::Marked(sighting),
            (Ok(v1::Presence::Absent), None) => Presence::Absent,
            (Ok(v1::Presence::Unreadable), None) => Presence::Unreadable,
            (Ok(v1::Presence::Unreachable), None) => Presence::Unreachable,
            _ => {
                return Err(Malformed::new(
                    "observation.presence",
                    "is not known, or does not fit the sighting",
                ));
            }
        };
        Ok(Observation {
            presence,
            memory: observation.memory.map(TryInto::try_into).transpose()?,
            held: observation.held,
        })
    }
}

impl From<Pin> for v1::Pin {
    fn from(pin: Pin) -> Self {
        v1::Pin {
            before: pin.before.map(|digest| digest.0.to_vec()),
            after: pin.after.map(|digest| digest.0.to_vec()),
        }
    }
}

impl TryFrom<v1::Pin> for Pin {
    type Error = Malformed;

    fn try_from(pin: v1::Pin) -> Result<Pin, Malformed> {
        let before = pin.before.map(|bytes| array("pin.before", &bytes)).transpose()?;
        let after = pin.after.map(|bytes| array("pin.after", &bytes)).transpose()?;
        Ok(Pin { before: before.map(RowDigest), after: after.map(EntryDigest) })
    }
}

impl From<Seen> for v1::Observation {
    fn from(seen: Seen) -> Self {
        v1::Observation { pinned: seen.pinned.map(Into::into), ..seen.observation.into() }
    }
}

impl TryFrom<v1::Observation> for Seen {
    type Error = Malformed;

    fn try_from(mut observation: v1::Observation) -> Result<Seen, Malformed> {
        let pinned = observation.pinned.take().map(Pin::try_from).transpose()?;
        Ok(Seen { observation: observation.try_into()?, pinned })
    }
}

impl From<Vec<Seen>> for v1::ReadReply {
    fn from(seen: Vec<Seen>) -> Self {
        v1::ReadReply { observations: seen.into_iter().map(Into::into).collect() }
    }
}

impl TryFrom<v1::ReadReply> for Vec<Seen> {
    type Error = Malformed;

    fn try_from(reply: v1::ReadReply) -> Result<Self, Malformed> {
        at_most("observations", reply.observations.len(), KEYS_MAX)?;
        all(reply.observations)
    }
}

impl From<FetchRequest> for v1::FetchRequest {
    fn from(request: FetchRequest) -> Self {
        v1::FetchRequest {
            claim: Some(request.claim.into()),
            node: request.node.to_string(),
            keys: request.rows.iter().map(|(key, _)| key.into()).collect(),
            rows: request.rows.iter().flat_map(|(_, digest)| digest.0).collect(),
        }
    }
}

impl TryFrom<v1::FetchRequest> for FetchRequest {
    type Error = Malformed;

    fn try_from(request: v1::FetchRequest) -> Result<FetchRequest, Malformed> {
        at_most("keys", request.keys.len(), FETCH_ROWS_MAX)?;
        let digests = arrays("rows", &request.rows)?;
        exactly("rows", digests.len(), request.keys.len())?;
        let keys: Vec<Key> = all(request.keys)?;
        Ok(FetchRequest {
            claim: required("claim", request.claim)?.try_into()?,
            node: name("node", &request.node)?,
            rows: keys.into_iter().zip(digests.iter().copied().map(RowDigest)).collect(),
        })
    }
}

fn row(field: &'static str, bytes: &[u8]) -> Result<Row, Malformed> {
    Row::from_bytes(bytes).map_err(|error| Malformed::new(field, error))
}

impl From<Vec<Option<Row>>> for v1::FetchReply {
    fn from(rows: Vec<Option<Row>>) -> Self {
        let row = |row: Option<Row>| v1::FetchedRow { row: row.map(|row| row.to_bytes()) };
        v1::FetchReply { rows: rows.into_iter().map(row).collect() }
    }
}

impl TryFrom<v1::FetchReply> for Vec<Option<Row>> {
    type Error = Malformed;

    fn try_from(reply: v1::FetchReply) -> Result<Self, Malformed> {
        at_most("rows", reply.rows.len(), FETCH_ROWS_MAX)?;
        let row = |fetched: v1::FetchedRow| fetched.row.map(|bytes| row("rows.row", &bytes)).transpose();
        let rows: Self = reply.rows.into_iter().map(row).collect::<Result<_, _>>()?;
        at_most("rows.row", rows.iter().flatten().map(Row::value_bytes).sum(), FETCH_BYTES_MAX)?;
        Ok(rows)
    }
}

impl From<ApplyItem> for v1::ApplyItem {
    fn from(item: ApplyItem) -> Self {
        v1::ApplyItem {
            repair: item.repair.as_bytes().to_vec(),
            key: Some((&item.key).into()),
            expected: item.expected.map(|digest| digest.0.to_vec()),
            row: item.row.map(|row| row.to_bytes()),
            cause: v1::Cause::from(item.cause).into(),
        }
    }
}

impl TryFrom<v1::ApplyItem> for ApplyItem {
    type Error = Malformed;

    fn try_from(item: v1::ApplyItem) -> Result<ApplyItem, Malformed> {
        let expected = item.expected.map(|bytes| array("items.expected", &bytes));
        Ok(ApplyItem {
            repair: array("items.repair", &item.repair).map(RepairId::from_bytes)?,
            key: required("items.key", item.key)?.try_into()?,
            expected: expected.transpose()?.map(RowDigest),
            row: item.row.map(|bytes| row("items.row", &bytes)).transpose()?,
            cause: cause("items.cause", item.cause)?,
        })
    }
}

impl From<ApplyRequest> for v1::ApplyRequest {
    fn from(request: ApplyRequest) -> Self {
        use v1::apply_request::Authority as Wire;
        v1::ApplyRequest {
            claim: Some(request.claim.into()),
            node: request.node.to_string(),
            authority: Some(match request.authority {
                Authority::Automatic => Wire::Automatic(v1::Nothing {}),
                Authority::Approved(run) => Wire::Approved(run.as_bytes().to_vec()),
            }),
            items: request.items.into_iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<v1::ApplyRequest> for ApplyRequest {
    type Error = Malformed;

    fn try_from(request: v1::ApplyRequest) -> Result<ApplyRequest, Malformed> {
        use v1::apply_request::Authority as Wire;
        at_most("items", request.items.len(), APPLY_ITEMS_MAX)?;
        let items: Vec<ApplyItem> = all(request.items)?;
        let row_bytes = items.iter().filter_map(|item| item.row.as_ref()).map(Row::value_bytes).sum();
        at_most("items.row", row_bytes, APPLY_BYTES_MAX)?;
        Ok(ApplyRequest {
            claim: required("claim", request.claim)?.try_into()?,
            node: name("node", &request.node)?,
            authority: match required("authority", request.authority)? {
                Wire::Automatic(v1::Nothing {}) => Authority::Automatic,
                Wire::Approved(id) => Authority::Approved(run("approved", &id)?),
            },
            items,
        })
    }
}

impl From<Vec<ApplyOutcome>> for v1::ApplyReply {
    fn from(outcomes: Vec<ApplyOutcome>) -> Self {
        let mut reply = v1::ApplyReply::default();
        for outcome in outcomes {
            let kind = match outcome {
                ApplyOutcome::Applied => v1::ApplyOutcome::Applied,
                ApplyOutcome::AlreadyThere => v1::ApplyOutcome::AlreadyThere,
                ApplyOutcome::Changed => v1::ApplyOutcome::Changed,
                ApplyOutcome::Refused(why) => {
                    reply.refusals.push(why);
                    v1::ApplyOutcome::Refused
                }
            };
            reply.push_outcomes(kind);
        }
        reply
    }
}

impl TryFrom<v1::ApplyReply> for Vec<ApplyOutcome> {
    type Error = Malformed;

    fn try_from(reply: v1::ApplyReply) -> Result<Self, Malformed> {
        at_most("outcomes", reply.outcomes.len(), APPLY_ITEMS_MAX)?;
        let mut refusals = reply.refusals.into_iter();
        let outcome = |kind| {
            Ok(match v1::ApplyOutcome::try_from(kind) {
                Ok(v1::ApplyOutcome::Applied) => ApplyOutcome::Applied,
                Ok(v1::ApplyOutcome::AlreadyThere) => ApplyOutcome::AlreadyThere,
                Ok(v1::ApplyOutcome::Changed) => ApplyOutcome::Changed,
                Ok(v1::ApplyOutcome::Refused) => {
                    ApplyOutcome::Refused(required("refusals", refusals.next())?)
                }
                Ok(v1::ApplyOutcome::Unspecified) | Err(_) => {
                    return Err(Malformed::new("outcomes", format!("{kind} is not known")));
                }
            })
        };
        let outcomes = reply.outcomes.into_iter().map(outcome).collect::<Result<_, _>>()?;
        if refusals.next().is_some() {
            return Err(Malformed::new("refusals", "has more reasons than repairs that were refused"));
        }
        Ok(outcomes)
    }
}

impl From<PinRequest> for v1::PinRequest {
    fn from(request: PinRequest) -> Self {
        let key = |(key, pin): &(Key, Pin)| v1::PinnedKey { key: Some(key.into()), pin: Some((*pin).into()) };
        v1::PinRequest {
            collection: request.collection.to_string(),
            node: request.node.to_string(),
            keys: request.pins.iter().map(key).collect(),
        }
    }
}

impl TryFrom<v1::PinRequest> for PinRequest {
    type Error = Malformed;

    fn try_from(request: v1::PinRequest) -> Result<PinRequest, Malformed> {
        at_most("keys", request.keys.len(), KEYS_MAX)?;
        let pin = |pinned: v1::PinnedKey| {
            let key = required("keys.key", pinned.key)?.try_into()?;
            Ok((key, required("keys.pin", pinned.pin)?.try_into()?))
        };
        Ok(PinRequest {
            collection: name("collection", &request.collection)?,
            node: name("node", &request.node)?,
            pins: request.keys.into_iter().map(pin).collect::<Result<_, Malformed>>()?,
        })
    }
}

impl From<()> for v1::PinReply {
    fn from((): ()) -> Self {
        v1::PinReply {}
    }
}
