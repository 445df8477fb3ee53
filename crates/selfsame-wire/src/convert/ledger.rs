//! What is asked of ledgers.

use selfsame_core::{Certainty, Key, KeyDigest, Tombstone};

use super::{Malformed, array, at_most, name, required};
use crate::limits::MEMORIES_MAX;
use crate::message::{KeyMemory, LedgerAsk, LedgerReply, LedgerRequest};
use crate::v1;

impl From<KeyMemory> for v1::KeyMemory {
    fn from(memory: KeyMemory) -> Self {
        v1::KeyMemory { key: Some((&memory.key).into()), tombstone: Some(memory.tombstone.into()) }
    }
}

impl TryFrom<v1::KeyMemory> for KeyMemory {
    type Error = Malformed;

    fn try_from(memory: v1::KeyMemory) -> Result<KeyMemory, Malformed> {
        let tombstone = Tombstone::try_from(required("memories.tombstone", memory.tombstone)?)?;
        // What one replica only observed is evidence for that replica alone, and does not travel.
        if tombstone.certainty != Certainty::Certain {
            return Err(Malformed::new("memories.tombstone", "is not certain"));
        }
        Ok(KeyMemory { key: Key::try_from(required("memories.key", memory.key)?)?, tombstone })
    }
}

fn memories(memories: Vec<v1::KeyMemory>) -> Result<Vec<KeyMemory>, Malformed> {
    at_most("memories", memories.len(), MEMORIES_MAX)?;
    memories.into_iter().map(KeyMemory::try_from).collect()
}

impl From<LedgerRequest> for v1::LedgerRequest {
    fn from(request: LedgerRequest) -> Self {
        use v1::ledger_request::Ask;
        v1::LedgerRequest {
            claim: Some(request.claim.into()),
            node: request.node.to_string(),
            ask: Some(match request.ask {
                LedgerAsk::List { after } => {
                    let after = after.map(|digest| digest.0.to_vec()).unwrap_or_default();
                    Ask::List(v1::LedgerList { after })
                }
                LedgerAsk::Join(memories) => {
                    let memories = memories.into_iter().map(Into::into).collect();
                    Ask::Join(v1::LedgerJoin { memories })
                }
            }),
        }
    }
}

impl TryFrom<v1::LedgerRequest> for LedgerRequest {
    type Error = Malformed;

    fn try_from(request: v1::LedgerRequest) -> Result<LedgerRequest, Malformed> {
        use v1::ledger_request::Ask;
        let after = |after: Vec<u8>| match after.as_slice() {
            [] => Ok(None),
            digest => array("after", digest).map(|digest| Some(KeyDigest(digest))),
        };
        Ok(LedgerRequest {
            claim: required("claim", request.claim)?.try_into()?,
            node: name("node", &request.node)?,
            ask: match required("ask", request.ask)? {
                Ask::List(list) => LedgerAsk::List { after: after(list.after)? },
                Ask::Join(join) => LedgerAsk::Join(memories(join.memories)?),
            },
        })
    }
}

impl From<LedgerReply> for v1::LedgerReply {
    fn from(reply: LedgerReply) -> Self {
        v1::LedgerReply {
            memories: reply.memories.into_iter().map(Into::into).collect(),
            truncated: reply.truncated,
        }
    }
}

impl TryFrom<v1::LedgerReply> for LedgerReply {
    type Error = Malformed;

    fn try_from(reply: v1::LedgerReply) -> Result<LedgerReply, Malformed> {
        if reply.truncated && reply.memories.is_empty() {
            return Err(Malformed::new("truncated", "nothing that more could come after"));
        }
        Ok(LedgerReply { memories: memories(reply.memories)?, truncated: reply.truncated })
    }
}
