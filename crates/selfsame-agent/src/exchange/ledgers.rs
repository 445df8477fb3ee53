//! Memory of deletions between replicas: ledgers that differ are joined, and what a repair rests on is remembered
//! everywhere before it is made. No store is touched.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use selfsame_core::merkle::Node;
use selfsame_core::{Key, KeyDigest, Tombstone};
use selfsame_wire::limits::MEMORIES_MAX;
use selfsame_wire::message::{Claim, KeyMemory, LedgerAsk, LedgerRequest};

use super::purge::Purge;
use super::search::Heard;
use super::{Exchange, Member};
use crate::peer::PeerError;

/// What is remembered for certain, by the digests of the keys.
type Ledger = BTreeMap<KeyDigest, KeyMemory>;

impl Exchange {
    /// Joins the certain tombstones of the replicas, key by key, if their sums differ, or before some of them are
    /// purged: what one replica forgets, the others forget with it, so that then their times are made equal as well.
    /// What was purged already is left out, also if a replica remembers it still. Memory that lags withholds no
    /// verdict: a failure is said, and the next pass goes on from there.
    ///
    /// Whether those heard have joined all that any of them remembered when it was asked, synced.
    pub(super) async fn join_ledgers(&self, claim: &Claim, heard: &[Heard<'_>], purge: Purge) -> bool {
        let equal = heard.windows(2).all(|pair| pair[0].root.memory == pair[1].root.memory);
        let nothing = self.fingerprinter.node_hash(&Node::default());
        let empty = heard.iter().all(|heard| heard.root.memory == nothing);
        if empty || (equal && purge.next.is_none()) {
            return true;
        }
        let lists = join_all(heard.iter().map(|heard| self.ledger_of(claim, heard.member))).await;
        let mut complete = true;
        let mut known: Vec<(&Member, Ledger)> = Vec::new();
        for (heard, list) in heard.iter().zip(lists) {
            match list {
                Ok(mut ledger) => {
                    ledger.retain(|_, memory| purge.passed.is_none_or(|passed| passed < memory.tombstone.at));
                    known.push((heard.member, ledger));
                }
                Err(error) => {
                    complete = false;
                    tracing::warn!(collection = %claim.collection, shard = %claim.shard, node = %heard.member.node, %error, "a ledger was not read");
                }
            }
        }
        let mut joined = Ledger::new();
        for (digest, memory) in known.iter().flat_map(|(_, ledger)| ledger) {
            joined
                .entry(*digest)
                .and_modify(|all| all.tombstone = all.tombstone.join(&memory.tombstone))
                .or_insert_with(|| memory.clone());
        }
        let told = known.iter().map(|(member, ledger)| {
            let lacking = joined.iter().filter(|(digest, all)| {
                let known = ledger.get(*digest).map(|memory| &memory.tombstone);
                known.is_none_or(|known| !has_joined(known, &all.tombstone, purge.next.is_some()))
            });
            self.tell(claim, member, lacking.map(|(_, memory)| memory.clone()).collect())
        });
        for result in join_all(told).await {
            if let Err(error) = result {
                complete = false;
                tracing::warn!(collection = %claim.collection, shard = %claim.shard, %error, "a ledger was not joined");
            }
        }
        complete
    }

    /// Makes every replica that is heard remember these, synced. An error names one that does not.
    pub(super) async fn remember(
        &self,
        claim: &Claim,
        asked: &[bool],
        memories: &[(Key, Tombstone)],
    ) -> Result<(), PeerError> {
        let memories: Vec<KeyMemory> = memories
            .iter()
            .map(|(key, tombstone)| KeyMemory { key: key.clone(), tombstone: tombstone.clone() })
            .collect();
        let heard = self.members.iter().zip(asked).filter(|(_, asked)| **asked);
        let told = join_all(heard.map(|(member, _)| self.tell(claim, member, memories.clone()))).await;
        told.into_iter().collect()
    }

    async fn ledger_of(&self, claim: &Claim, member: &Member) -> Result<Ledger, PeerError> {
        let mut ledger = Ledger::new();
        let mut after = None;
        loop {
            let ask = LedgerAsk::List { after };
            let request = LedgerRequest { claim: claim.clone(), node: member.node.clone(), ask };
            let reply = member.peer.ledger(request).await?;
            let mut last = after;
            for memory in reply.memories {
                let digest = self.fingerprinter.key_digest(&memory.key);
                last = last.max(Some(digest));
                ledger.insert(digest, memory);
            }
            if !reply.truncated {
                return Ok(ledger);
            }
            // A cut answer must get on, or the question would be asked for ever.
            if last <= after {
                let why = "a cut ledger that does not go on".to_owned();
                return Err(PeerError::Nonsense { agent: member.peer.name().clone(), why });
            }
            after = last;
        }
    }

    async fn tell(&self, claim: &Claim, member: &Member, memories: Vec<KeyMemory>) -> Result<(), PeerError> {
        for chunk in memories.chunks(MEMORIES_MAX) {
            let ask = LedgerAsk::Join(chunk.to_vec());
            let request = LedgerRequest { claim: claim.clone(), node: member.node.clone(), ask };
            member.peer.ledger(request).await?;
        }
        Ok(())
    }
}

/// Whether a memory is what all know together. Its time counts only if times are to be equal: sums do not tell it.
fn has_joined(known: &Tombstone, all: &Tombstone, to_the_time: bool) -> bool {
    known.joins_to(all) && (!to_the_time || known.at >= all.at)
}
