//! Under which epoch each shard was confirmed last, and when. Repairs are applied under exactly this one, and soon.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use selfsame_core::{CollectionName, Epoch, ShardId};
use selfsame_wire::message::Claim;
use tokio::time::Instant;

use crate::peer::PeerError;

/// The last confirm of each shard that this agent has a replica of.
#[derive(Debug, Default)]
pub(super) struct Confirms(Mutex<HashMap<(CollectionName, ShardId), (Epoch, Instant)>>);

impl Confirms {
    /// The shard's rows were read for the last time before a decision, under this claim. A read that was slow does not
    /// take the place of what a newer claim has confirmed meanwhile.
    pub(super) fn note(&self, claim: Claim) {
        let confirmed = (claim.epoch, Instant::now());
        let mut confirms = self.0.lock();
        let last = confirms.entry((claim.collection, claim.shard)).or_insert_with(|| confirmed.clone());
        if last.0 <= confirmed.0 {
            *last = confirmed;
        }
    }

    /// Whether what was decided under the claim may be written: nobody has confirmed since, and not much time has passed.
    pub(super) fn may_apply(&self, claim: &Claim, within: Duration) -> Result<(), PeerError> {
        match self.0.lock().get(&(claim.collection.clone(), claim.shard)) {
            // An agent that stood still for a while must not go on as if nothing had happened meanwhile.
            Some((epoch, at)) if *epoch == claim.epoch && at.elapsed() > within => {
                Err(PeerError::Refused("too long since these rows were read".to_owned()))
            }
            Some((epoch, _)) if *epoch == claim.epoch => Ok(()),
            Some((epoch, _)) => Err(PeerError::Fenced(epoch.clone())),
            None => Err(PeerError::Refused("no confirm under this epoch".to_owned())),
        }
    }
}
