//! Rule 6, and what there is to count: which replicas say anything about the key, and what.
//!
//! A replica that is held, unreachable or unreadable is none of live, marked and absent.

use crate::{
    Certainty, ContentDigest, Observation, Presence, ReplicaIndex, Sighting, Tombstone, TombstoneCause,
    TombstoneOwner, Version, WallMicros,
};

/// A document that was heard, and where.
#[derive(Clone, Copy)]
pub(super) struct Holder<'a> {
    pub(super) replica: ReplicaIndex,
    pub(super) document: &'a Sighting,
}

/// What the replicas that count say.
pub(super) struct Heard<'a> {
    configured: usize,
    /// Documents without a deletion mark.
    pub(super) live: Vec<Holder<'a>>,
    /// Documents with one.
    pub(super) marked: Vec<Holder<'a>>,
    /// No row.
    pub(super) absent: Vec<ReplicaIndex>,
    /// What ledgers remember, also of a key whose row cannot be read.
    pub(super) memories: Vec<(ReplicaIndex, &'a Tombstone)>,
}

impl<'a> Heard<'a> {
    /// Sorts the observations, one for each configured replica.
    pub(super) fn of(observations: &'a [Observation]) -> Heard<'a> {
        let mut heard = Heard {
            configured: observations.len(),
            live: Vec::new(),
            marked: Vec::new(),
            absent: Vec::new(),
            memories: Vec::new(),
        };
        for (index, observation) in observations.iter().enumerate() {
            let replica = ReplicaIndex(index);
            if observation.held || observation.presence == Presence::Unreachable {
                continue;
            }
            heard.memories.extend(observation.memory.as_ref().map(|memory| (replica, memory)));
            match &observation.presence {
                Presence::Live(document) => heard.live.push(Holder { replica, document }),
                Presence::Marked(document) => heard.marked.push(Holder { replica, document }),
                Presence::Absent => heard.absent.push(replica),
                Presence::Unreadable | Presence::Unreachable => {}
            }
        }
        heard
    }

    /// Whether every configured replica says what it holds.
    pub(super) fn all(&self) -> bool {
        self.live.len() + self.marked.len() + self.absent.len() == self.configured
    }

    /// Whether so many replicas are more than half of the configured ones.
    pub(super) fn is_majority(&self, replicas: usize) -> bool {
        replicas * 2 > self.configured
    }

    /// The live document of a replica.
    pub(super) fn live_at(&self, replica: ReplicaIndex) -> Option<Holder<'a>> {
        self.live.iter().find(|holder| holder.replica == replica).copied()
    }

    /// The highest version of a live document.
    pub(super) fn highest(&self) -> Option<Version> {
        self.live.iter().map(|holder| holder.document.version).max()
    }

    /// Who holds a live document of this version.
    pub(super) fn holders_of(&self, version: Version) -> Vec<Holder<'a>> {
        self.live.iter().filter(|holder| holder.document.version == version).copied().collect()
    }

    /// Whether every live document had expired at `instant`.
    pub(super) fn all_expired_at(&self, instant: WallMicros) -> bool {
        self.live.iter().all(|holder| holder.document.expired_at(instant))
    }

    /// The join of all certain tombstones, those of ledgers and deletion marks. It came back if any replica saw
    /// that, also one that had only seen that version go: so it will be once their ledgers are joined.
    pub(super) fn certain(&self) -> Option<Tombstone> {
        let remembered = self.memories.iter().map(|(_, memory)| (*memory).clone());
        let marks = self.marked.iter().map(|holder| Tombstone {
            version: holder.document.version,
            cause: TombstoneCause::Deleted,
            at: WallMicros(i64::MIN),
            certainty: Certainty::Certain,
            owner: TombstoneOwner::Own,
            came_back: false,
        });
        let certain = |tombstone: &Tombstone| tombstone.certainty == Certainty::Certain;
        let joined = remembered.filter(certain).chain(marks).reduce(|joined, each| joined.join(&each))?;
        let seen_back = self.memories.iter().any(|(_, memory)| {
            memory.is_own_observation() && memory.version == joined.version && memory.came_back
        });
        Some(Tombstone { came_back: joined.came_back || seen_back, ..joined })
    }

    /// What replicas saw vanish that do not hold it now: the key is absent, or is there below that version.
    pub(super) fn observed(&self) -> impl Iterator<Item = (ReplicaIndex, &'a Tombstone)> {
        self.memories.iter().copied().filter(|(replica, memory)| {
            let below = |holder: Holder<'_>| holder.document.version < memory.version;
            let gone = self.absent.contains(replica) || self.live_at(*replica).is_some_and(below);
            memory.is_own_observation() && gone
        })
    }

    /// Rule 4: who votes for the deletion of this version, ascending. An absence without memory, or with a lower
    /// one, abstains.
    pub(super) fn deletion_votes(&self, version: Version) -> Vec<ReplicaIndex> {
        let votes = self
            .observed()
            .filter(|(replica, memory)| self.absent.contains(replica) && memory.version >= version);
        votes.map(|(replica, _)| replica).collect()
    }

    /// Rule 4: how many replicas have the key live by a client's doing.
    pub(super) fn live_votes(&self) -> usize {
        self.live.iter().filter(|holder| !holder.document.by_repair).count()
    }

    /// Rule 2: how many replicas hold this content of this version by a client's doing.
    pub(super) fn content_votes(&self, version: Version, content: ContentDigest) -> usize {
        let holds = |holder: &&Holder<'_>| {
            let document = holder.document;
            (document.version, document.content) == (version, content) && !document.by_repair
        };
        self.live.iter().filter(holds).count()
    }
}
