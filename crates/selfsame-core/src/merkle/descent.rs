//! The search for the keys that differ between the trees of N replicas, as a state machine without I/O: it
//! says what to ask of every replica, is told the answers, and gives the differing keys in order.
//!
//! **Why it ends.** Every step takes a group of nodes off the queue and puts only nodes of the next level
//! back; a tree has at most [`Depth::MAX`] levels.
//!
//! **Why it is right.** A subtree is left out only if all replicas gave the same keyed hash of its sum and
//! count; a bucket's entries are compared one by one.
//!
//! **Cost.** With `d` differing keys, at most `d · depth` groups of 16 hashes of 16 bytes from each replica
//! and `d` buckets of 16-byte elements; one round trip a level while the groups fit one request.

use std::collections::{BTreeMap, VecDeque};

use super::{BucketId, Depth, FANOUT, NodeHash};
use crate::{EntryDigest, KeyPrefix};

/// Parents in one request: an answer of at most 1 MiB of hashes from each replica.
const PARENTS_MAX: usize = 4096;

/// Buckets in one request: at 16 to 256 elements a bucket at most 4 MiB from each replica.
const BUCKETS_MAX: usize = 1024;

/// One entry in a list of a bucket: enough to tell that it differs, and to ask for its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Element {
    /// Half of the key's digest. Keys that share it are told apart when they are asked for.
    pub prefix: KeyPrefix,
    /// The first eight bytes of the entry's digest.
    pub entry: u64,
}

impl Element {
    /// The element of an entry.
    pub fn new(prefix: KeyPrefix, digest: &EntryDigest) -> Element {
        Element {
            prefix,
            entry: u64::from_be_bytes(digest.0[..8].try_into().expect("32 bytes are more than 8")),
        }
    }
}

/// What to ask of every replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// The hashes of all children of these nodes of a level, in order.
    Children {
        /// The parents' level; the root's is 0.
        level: u8,
        /// The parents' positions.
        parents: Vec<u32>,
    },
    /// All elements of these buckets, in any order.
    Elements {
        /// The depth at which the buckets are meant.
        depth: Depth,
        /// The buckets.
        buckets: Vec<BucketId>,
    },
}

/// What one replica answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// To [`Ask::Children`]: 16 hashes for each parent.
    Hashes(Vec<NodeHash>),
    /// To [`Ask::Elements`].
    Elements(Vec<Element>),
}

/// An answer that does not fit the question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DescentError {
    /// Nothing was asked.
    #[error("an answer to no question")]
    NotAsked,
    /// Not one answer for each replica.
    #[error("{0} answers for {1} replicas")]
    AnswerCount(usize, usize),
    /// The answer of the replica at this place has another kind or length than asked for.
    #[error("the answer of replica {0} does not fit the question")]
    Misfit(usize),
}

/// The state of one search.
#[derive(Debug)]
pub struct Descent {
    replica_count: usize,
    depth: Depth,
    /// Groups of nodes that differ, in key-digest order: the front is asked next, its children go in its place.
    queue: VecDeque<(u8, Vec<u32>)>,
}

impl Descent {
    /// A search over shards whose roots are known to differ. `depth` is the least of the replicas' depths.
    pub fn new(replica_count: usize, depth: Depth) -> Descent {
        Descent { replica_count, depth, queue: VecDeque::from([(0, vec![0])]) }
    }

    /// What to ask next; `None` when all differing keys are found.
    pub fn ask(&self) -> Option<Ask> {
        let (level, positions) = self.queue.front()?;
        Some(if *level == self.depth.levels() {
            Ask::Elements { depth: self.depth, buckets: positions.iter().copied().map(BucketId).collect() }
        } else {
            Ask::Children { level: *level, parents: positions.clone() }
        })
    }

    /// Takes the answers to the last [`Descent::ask`], one for each replica, and gives the prefixes of the
    /// keys found to differ, ascending. Over all calls they ascend too.
    pub fn answer(&mut self, answers: &[Answer]) -> Result<Vec<KeyPrefix>, DescentError> {
        let (level, positions) = self.queue.front().ok_or(DescentError::NotAsked)?;
        if answers.len() != self.replica_count {
            return Err(DescentError::AnswerCount(answers.len(), self.replica_count));
        }
        if *level == self.depth.levels() {
            let lists = lists(answers)?;
            self.queue.pop_front();
            return Ok(differing_prefixes(&lists));
        }
        let differing = differing_children(&rows(answers, positions.len() * FANOUT)?, positions);
        let level = *level + 1;
        self.queue.pop_front();
        let group = if level == self.depth.levels() { BUCKETS_MAX } else { PARENTS_MAX };
        for chunk in differing.chunks(group).rev() {
            self.queue.push_front((level, chunk.to_vec()));
        }
        Ok(Vec::new())
    }
}

fn rows(answers: &[Answer], length: usize) -> Result<Vec<&[NodeHash]>, DescentError> {
    let each = answers.iter().enumerate();
    each.map(|(replica, answer)| match answer {
        Answer::Hashes(hashes) if hashes.len() == length => Ok(hashes.as_slice()),
        _ => Err(DescentError::Misfit(replica)),
    })
    .collect()
}

fn lists(answers: &[Answer]) -> Result<Vec<&[Element]>, DescentError> {
    let each = answers.iter().enumerate();
    each.map(|(replica, answer)| match answer {
        Answer::Elements(elements) => Ok(elements.as_slice()),
        Answer::Hashes(_) => Err(DescentError::Misfit(replica)),
    })
    .collect()
}

fn differing_children(rows: &[&[NodeHash]], parents: &[u32]) -> Vec<u32> {
    let mut differing = Vec::new();
    for (group, parent) in parents.iter().enumerate() {
        for child in 0..FANOUT {
            let at = group * FANOUT + child;
            if rows.windows(2).any(|pair| pair[0][at] != pair[1][at]) {
                differing.push(parent * FANOUT as u32 + child as u32);
            }
        }
    }
    differing
}

fn differing_prefixes(lists: &[&[Element]]) -> Vec<KeyPrefix> {
    let mut entries: BTreeMap<KeyPrefix, Vec<Vec<u64>>> = BTreeMap::new();
    for (replica, list) in lists.iter().enumerate() {
        for element in *list {
            let of_prefix = entries.entry(element.prefix).or_insert_with(|| vec![Vec::new(); lists.len()]);
            of_prefix[replica].push(element.entry);
        }
    }
    let differs = |of_prefix: &mut Vec<Vec<u64>>| {
        of_prefix.iter_mut().for_each(|entries| entries.sort_unstable());
        of_prefix.windows(2).any(|pair| pair[0] != pair[1])
    };
    entries
        .into_iter()
        .filter_map(|(prefix, mut of_prefix)| differs(&mut of_prefix).then_some(prefix))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::super::{Node, Tree};
    use super::*;
    use crate::Fingerprinter;
    use proptest::prelude::*;

    type Entries = BTreeMap<u64, [u8; 32]>;

    /// Keys clustered under few buckets and spread over many, so that every level gets equal and unequal nodes.
    fn replica_sets() -> impl Strategy<Value = Vec<Entries>> {
        let prefix = prop_oneof![any::<u64>(), 0_u64..40, (0_u64..40).prop_map(|low| (7 << 60) | low)];
        let version = 0_u8..3;
        let common = prop::collection::btree_map(prefix.clone(), version.clone(), 0..60);
        let changes = prop::collection::vec((prefix, prop::option::of(version)), 0..12);
        (common, prop::collection::vec(changes, 2..5)).prop_map(|(common, changes)| {
            let changed = |changes: Vec<(u64, Option<u8>)>| {
                let mut versions = common.clone();
                for (prefix, version) in changes {
                    match version {
                        Some(version) => versions.insert(prefix, version),
                        None => versions.remove(&prefix),
                    };
                }
                // As an entry's digest does, the digest depends on key and version together.
                let digest = |prefix: u64, version| {
                    *blake3::Hasher::new()
                        .update(&prefix.to_be_bytes())
                        .update(&[version])
                        .finalize()
                        .as_bytes()
                };
                versions.into_iter().map(|(prefix, version)| (prefix, digest(prefix, version))).collect()
            };
            changes.into_iter().map(changed).collect()
        })
    }

    /// The oracle: no tree, no hash, just sets.
    fn naive_difference(replicas: &[Entries]) -> BTreeSet<u64> {
        let all: BTreeSet<u64> = replicas.iter().flat_map(|entries| entries.keys().copied()).collect();
        all.into_iter()
            .filter(|key| replicas.iter().any(|entries| entries.get(key) != replicas[0].get(key)))
            .collect()
    }

    fn answer(entries: &Entries, tree: &Tree, hash: impl Fn(&Node) -> NodeHash, ask: &Ask) -> Answer {
        match ask {
            Ask::Children { level, parents } => Answer::Hashes(
                parents.iter().flat_map(|parent| tree.children(*level, *parent).unwrap()).map(hash).collect(),
            ),
            Ask::Elements { depth, buckets } => Answer::Elements(
                entries
                    .iter()
                    .map(|(prefix, digest)| Element::new(KeyPrefix(*prefix), &EntryDigest(*digest)))
                    .filter(|element| buckets.contains(&depth.bucket(element.prefix)))
                    .collect(),
            ),
        }
    }

    proptest! {
        #[test]
        fn compare_finds_exactly_the_set_difference(replicas in replica_sets(), extra in prop::collection::vec(0_u8..3, 5), depth in 0_u8..4) {
            let fingerprinter = Fingerprinter::new("fleet", "products", b"secret");
            let depth = Depth::new(depth).unwrap();
            // Replicas may keep deeper trees than the agreed depth.
            let trees: Vec<_> = replicas.iter().zip(&extra).map(|(entries, extra)| {
                let own = Depth::new((depth.levels() + extra).min(4)).unwrap();
                Tree::build(own, entries.iter().map(|(prefix, digest)| (KeyPrefix(*prefix), EntryDigest(*digest))))
            }).collect();
            let mut descent = Descent::new(replicas.len(), depth);
            let mut found = Vec::new();
            while let Some(ask) = descent.ask() {
                let answers: Vec<_> = replicas.iter().zip(&trees)
                    .map(|(entries, tree)| answer(entries, tree, |node| fingerprinter.node_hash(node), &ask))
                    .collect();
                found.extend(descent.answer(&answers).unwrap().into_iter().map(|prefix| prefix.0));
            }
            prop_assert!(found.is_sorted());
            let expected: Vec<_> = naive_difference(&replicas).into_iter().collect();
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn two_keys_under_one_prefix_do_not_hide_each_other() {
        let element = |entry| Element { prefix: KeyPrefix(1), entry };
        let same: [&[Element]; 2] = [&[element(1), element(2)], &[element(2), element(1)]];
        assert_eq!(differing_prefixes(&same), []);
        let twice: [&[Element]; 2] = [&[element(1)], &[element(1), element(1)]];
        assert_eq!(differing_prefixes(&twice), [KeyPrefix(1)]);
    }

    #[test]
    fn answers_that_do_not_fit_are_refused() {
        let mut descent = Descent::new(2, Depth::new(1).unwrap());
        let hashes = Answer::Hashes(vec![NodeHash([0; 16]); FANOUT]);
        assert_eq!(descent.answer(std::slice::from_ref(&hashes)), Err(DescentError::AnswerCount(1, 2)));
        let misfit = [hashes.clone(), Answer::Elements(vec![])];
        assert_eq!(descent.answer(&misfit), Err(DescentError::Misfit(1)));
        let short = [Answer::Hashes(vec![NodeHash([0; 16]); FANOUT - 1]), hashes.clone()];
        assert_eq!(descent.answer(&short), Err(DescentError::Misfit(0)));
        assert_eq!(descent.answer(&[hashes.clone(), hashes]), Ok(vec![]));
        assert_eq!(descent.ask(), None);
        assert_eq!(descent.answer(&[]), Err(DescentError::NotAsked));
    }
}
