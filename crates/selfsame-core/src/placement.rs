//! Placement: which live agent owns a shard, by rendezvous hashing.
//!
//! Every agent has a score for every shard; the highest owns it. When an agent leaves, only its own shards
//! move; when one joins, it takes shards and none moves between the others.
//! Source: Thaler, Ravishankar: A Name-Based Mapping Scheme for Rendezvous (1996), by the crate
//! `rendezvous_hash`. Its default hasher may change between Rust releases, so the one here is fixed: XXH3 over
//! framed fields, with golden vectors.

use std::hash::{Hash, Hasher};

use rendezvous_hash::{NodeHasher, RendezvousNodes};
use xxhash_rust::xxh3::xxh3_64;

use crate::{AgentName, CollectionName, ShardId, Writer};

/// The live agent that owns the shard: none only if there are no agents.
pub fn owner<'a>(
    agents: &'a [AgentName],
    collection: &CollectionName,
    shard: ShardId,
) -> Option<&'a AgentName> {
    ranking(agents, collection, shard).into_iter().next()
}

/// All agents, the shard's owner first, then who takes over when those before are gone. Cost O(n log n).
pub fn ranking<'a>(
    agents: &'a [AgentName],
    collection: &CollectionName,
    shard: ShardId,
) -> Vec<&'a AgentName> {
    let mut nodes = RendezvousNodes::new(FramedXxh3);
    for agent in agents {
        nodes.insert(agent.as_str());
    }
    let item = Item { collection, shard };
    let names: Vec<&str> = nodes.calc_candidates(&item).copied().collect();
    let find =
        |name: &str| agents.iter().find(|agent| agent.as_str() == name).expect("a candidate is an agent");
    names.into_iter().map(find).collect()
}

struct Item<'a> {
    collection: &'a CollectionName,
    shard: ShardId,
}

impl Hash for Item<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let mut bytes = Writer::new();
        bytes.frame(self.collection.as_str().as_bytes()).u64(u64::from(self.shard.0));
        state.write(&bytes.finish());
    }
}

struct FramedXxh3;

impl<'a> NodeHasher<&'a str> for FramedXxh3 {
    fn hash<T: Hash>(&self, node: &&'a str, item: &T) -> u64 {
        let mut collected = Collected(Writer::new());
        item.hash(&mut collected);
        collected.0.frame(node.as_bytes());
        xxh3_64(&collected.0.finish())
    }
}

/// Collects what `Hash` writes; `write` of whole buffers is the only call that [`Item`] makes.
struct Collected(Writer);

impl Hasher for Collected {
    fn write(&mut self, bytes: &[u8]) {
        self.0.raw(bytes);
    }

    fn finish(&self) -> u64 {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn agents(count: usize) -> Vec<AgentName> {
        (0..count).map(|index| format!("agent-{index}").parse().unwrap()).collect()
    }

    fn products() -> CollectionName {
        "products".parse().unwrap()
    }

    #[test]
    fn every_agent_gets_a_fair_share() {
        let agents = agents(4);
        let mut shares = std::collections::BTreeMap::new();
        for shard in 0..1000 {
            *shares.entry(owner(&agents, &products(), ShardId(shard)).unwrap()).or_insert(0) += 1;
        }
        assert!(shares.len() == 4 && shares.values().all(|share| (180..320).contains(share)), "{shares:?}");
    }

    #[test]
    fn no_agents_own_nothing() {
        assert_eq!(owner(&[], &products(), ShardId(0)), None);
    }

    proptest! {
        #[test]
        fn only_the_shards_of_the_agent_that_left_move(count in 1_usize..9, leaving in 0_usize..9, shard in 0_u32..4096) {
            let before = agents(count);
            let mut after = before.clone();
            let left = after.remove(leaving % count);
            let (was, is) = (owner(&before, &products(), ShardId(shard)), owner(&after, &products(), ShardId(shard)));
            if was == Some(&left) {
                let next = ranking(&before, &products(), ShardId(shard)).get(1).copied();
                prop_assert_eq!(is, next);
            } else {
                prop_assert_eq!(is, was);
            }
        }

        #[test]
        fn the_order_in_which_agents_are_listed_does_not_matter(count in 1_usize..9, shard in 0_u32..4096, seed: u64) {
            let listed = agents(count);
            let mut shuffled = listed.clone();
            shuffled.rotate_left(seed as usize % count);
            shuffled.reverse();
            prop_assert_eq!(owner(&listed, &products(), ShardId(shard)), owner(&shuffled, &products(), ShardId(shard)));
        }
    }
}
