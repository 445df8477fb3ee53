//! Comparing roots, and the descent to the keys that differ, over all replicas at once.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use selfsame_core::merkle::{Answer, Ask, Depth, Descent, DescentError};
use selfsame_core::{Fingerprinter, Key, KeyDigest, KeyPrefix};
use selfsame_wire::message::{Claim, DescendRequest, ElementsRequest, KeysRequest, Replica, Root};

use super::Member;
use crate::peer::PeerError;

/// Prefixes in one request for keys, and keys in one request for a read.
const KEYS_PER_REQUEST: usize = 1_000;

/// What one replica answered wrongly, or not at all; the others may go on without it.
pub(super) struct Failed {
    /// Its place among those that were heard.
    pub(super) at: usize,
    pub(super) error: PeerError,
}

/// One replica that gave a root.
#[derive(Clone, Copy)]
pub(super) struct Heard<'a> {
    pub(super) member: &'a Member,
    pub(super) root: Root,
}

impl Heard<'_> {
    pub(super) fn replica(&self, claim: &Claim) -> Replica {
        Replica { claim: claim.clone(), node: self.member.node.clone(), incarnation: self.root.incarnation }
    }

    fn nonsense(&self, error: DescentError) -> PeerError {
        PeerError::Nonsense { agent: self.member.peer.name().clone(), why: error.to_string() }
    }

    async fn answer(&self, claim: &Claim, ask: &Ask) -> Result<Answer, PeerError> {
        match ask {
            Ask::Children { level, parents } => {
                let request =
                    DescendRequest { replica: self.replica(claim), level: *level, parents: parents.clone() };
                self.member.peer.descend(request).await.map(Answer::Hashes)
            }
            Ask::Elements { depth, buckets } => {
                let mut elements = Vec::new();
                let mut after = None;
                loop {
                    let replica = self.replica(claim);
                    let request = ElementsRequest { replica, depth: *depth, buckets: buckets.clone(), after };
                    let reply = self.member.peer.elements(request).await?;
                    let last = reply.elements.last().map(|element| element.prefix);
                    elements.extend(reply.elements);
                    if !reply.truncated {
                        return Ok(Answer::Elements(elements));
                    }
                    // A cut answer must get on, or the question would be asked for ever.
                    if last.is_none() || last <= after {
                        return Err(PeerError::Nonsense {
                            agent: self.member.peer.name().clone(),
                            why: "a cut list that does not go on".to_owned(),
                        });
                    }
                    after = last;
                }
            }
        }
    }

    async fn keys(&self, claim: &Claim, prefixes: &[KeyPrefix]) -> Result<Vec<Key>, PeerError> {
        let mut keys = Vec::new();
        for chunk in prefixes.chunks(KEYS_PER_REQUEST) {
            let request = KeysRequest { replica: self.replica(claim), prefixes: chunk.to_vec() };
            keys.extend(self.member.peer.keys(request).await?);
        }
        Ok(keys)
    }
}

/// The prefixes of the keys whose entries differ, ascending.
pub(super) async fn differing_prefixes(claim: &Claim, heard: &[Heard<'_>]) -> Result<Vec<KeyPrefix>, Failed> {
    let depth = heard.iter().map(|heard| heard.root.depth).min().unwrap_or(Depth::MAX);
    let mut descent = Descent::new(heard.len(), depth);
    let mut prefixes = Vec::new();
    while let Some(ask) = descent.ask() {
        let answers = all(join_all(heard.iter().map(|heard| heard.answer(claim, &ask))).await)?;
        prefixes.extend(descent.answer(&answers).map_err(|error| {
            let at = match error {
                DescentError::Misfit(replica) => replica,
                DescentError::NotAsked | DescentError::AnswerCount(..) => 0,
            };
            Failed { at, error: heard[at].nonsense(error) }
        })?);
    }
    Ok(prefixes)
}

/// All keys that any replica's index has under the prefixes, in key-digest order.
pub(super) async fn keys_of(
    claim: &Claim,
    heard: &[Heard<'_>],
    prefixes: &[KeyPrefix],
    fingerprinter: &Fingerprinter,
) -> Result<Vec<(KeyDigest, Key)>, Failed> {
    let lists = all(join_all(heard.iter().map(|heard| heard.keys(claim, prefixes))).await)?;
    let keys: BTreeMap<KeyDigest, Key> =
        lists.into_iter().flatten().map(|key| (fingerprinter.key_digest(&key), key)).collect();
    Ok(keys.into_iter().collect())
}

/// All answers, or the first that failed.
fn all<T>(answers: Vec<Result<T, PeerError>>) -> Result<Vec<T>, Failed> {
    let failed = |(at, answer): (usize, Result<T, PeerError>)| answer.map_err(|error| Failed { at, error });
    answers.into_iter().enumerate().map(failed).collect()
}
