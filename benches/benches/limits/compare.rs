//! Two replicas of one shard, of which one missed `d` updates: what finding the `d` keys costs, with the trees in
//! place, beside negentropy 0.5.3 with its storage in place.
//!
//! Bytes are those of the payload, as the owner of the exchange (who holds one of the replicas) sends and receives
//! them: 16 for a hash, 4 for a parent or bucket asked for, 16 for an element, 8 for a prefix whose keys are asked
//! for, and the keys. Claims, frames and the documents themselves come on top, for anybody.

use negentropy::{Id, Negentropy, NegentropyStorageVector};
use selfsame_core::merkle::{Answer, Ask, BucketId, Depth, Descent, Element, NodeHash, Tree};
use selfsame_core::{ContentDigest, Entry, EntryDigest, Fingerprinter, Key, KeyPrefix, Version, WallMicros};

use crate::report::{Cell, Report, best_each};

/// Entries of each replica.
const ENTRIES: usize = 100_000;
const DIFFERENCES: [usize; 4] = [0, 1, 100, 10_000];
/// Prefixes in one request for keys, as the agent asks for them.
const KEYS_PER_REQUEST: usize = 1_000;

/// One replica: its tree and its entries in key-digest order, as an index has them.
struct Replica {
    tree: Tree,
    entries: Vec<(KeyPrefix, EntryDigest, Key)>,
    negentropy: NegentropyStorageVector,
}

impl Replica {
    /// The keys at the `stale` places have an older version.
    fn new(fingerprinter: &Fingerprinter, stale: usize) -> Replica {
        let step = ENTRIES / stale.max(1);
        let mut negentropy = NegentropyStorageVector::with_capacity(ENTRIES);
        let mut entries: Vec<(KeyPrefix, EntryDigest, Key)> = (0..ENTRIES)
            .map(|number| {
                let is_stale = stale > 0 && number.is_multiple_of(step) && number / step < stale;
                let entry = entry(number, is_stale);
                let digest = fingerprinter.entry_digest(&entry);
                let version = u64::try_from(entry.version.0).expect("versions are times after 1970");
                negentropy
                    .insert(version, Id::from_byte_array(digest.0))
                    .expect("a storage that is not sealed takes items");
                (fingerprinter.key_digest(&entry.key).prefix(), digest, entry.key)
            })
            .collect();
        negentropy.seal().expect("a storage is sealed once");
        entries.sort_unstable_by_key(|(prefix, ..)| *prefix);
        let leaves = entries.iter().map(|(prefix, digest, _)| (*prefix, *digest));
        let tree = Tree::build(Depth::for_entries(ENTRIES as u64), leaves);
        Replica { tree, entries, negentropy }
    }

    fn root(&self, fingerprinter: &Fingerprinter) -> NodeHash {
        fingerprinter.node_hash(&self.tree.root())
    }

    fn range(&self, from: KeyPrefix, until: Option<KeyPrefix>) -> &[(KeyPrefix, EntryDigest, Key)] {
        let start = self.entries.partition_point(|(prefix, ..)| *prefix < from);
        let end = until
            .map_or(self.entries.len(), |until| self.entries.partition_point(|(prefix, ..)| *prefix < until));
        &self.entries[start..end]
    }

    fn answer(&self, fingerprinter: &Fingerprinter, ask: &Ask) -> Answer {
        match ask {
            Ask::Children { level, parents } => Answer::Hashes(
                parents
                    .iter()
                    .flat_map(|parent| self.tree.children(*level, *parent).expect("asked within the depth"))
                    .map(|node| fingerprinter.node_hash(node))
                    .collect(),
            ),
            Ask::Elements { depth, buckets } => {
                let of_bucket = |bucket: &BucketId| {
                    let next = BucketId(bucket.0 + 1);
                    let until = ((next.0 as usize) < depth.buckets()).then(|| depth.first_prefix(next));
                    self.range(depth.first_prefix(*bucket), until)
                };
                let element =
                    |(prefix, digest, _): &(KeyPrefix, EntryDigest, Key)| Element::new(*prefix, digest);
                Answer::Elements(buckets.iter().flat_map(of_bucket).map(element).collect())
            }
        }
    }

    fn keys(&self, prefix: KeyPrefix) -> impl Iterator<Item = &Key> {
        let until = prefix.0.checked_add(1).map(KeyPrefix);
        self.range(prefix, until).iter().map(|(_, _, key)| key)
    }
}

/// Versions are spread over two years; a stale one is a minute older than the update that it missed.
fn entry(number: usize, stale: bool) -> Entry {
    let spread = (number as i64).wrapping_mul(2_654_435_761).rem_euclid(63_072_000) * 1_000_000;
    let missed = if stale { 60_000_000 } else { 0 };
    Entry {
        key: Key::integer(number as i64),
        version: Version(1_700_000_000_000_000 + spread - missed),
        expiry: None::<WallMicros>,
        content: ContentDigest([u8::from(stale); 32]),
    }
}

/// What one comparison cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Cost {
    bytes: u64,
    round_trips: u64,
    found: usize,
}

/// Roots, descent, keys: as an exchange goes, between an owner and one other agent.
fn ours(fingerprinter: &Fingerprinter, local: &Replica, remote: &Replica) -> Cost {
    let mut cost = Cost { bytes: 16, round_trips: 1, found: 0 };
    if local.root(fingerprinter) == remote.root(fingerprinter) {
        return cost;
    }
    let mut descent = Descent::new(2, local.tree.depth().min(remote.tree.depth()));
    let mut prefixes = Vec::new();
    while let Some(ask) = descent.ask() {
        let asked = match &ask {
            Ask::Children { parents, .. } => parents.len(),
            Ask::Elements { buckets, .. } => buckets.len(),
        };
        let answers = [local.answer(fingerprinter, &ask), remote.answer(fingerprinter, &ask)];
        let answered = match &answers[1] {
            Answer::Hashes(hashes) => hashes.len(),
            Answer::Elements(elements) => elements.len(),
        };
        cost.bytes += 4 * asked as u64 + 16 * answered as u64;
        cost.round_trips += 1;
        prefixes.extend(descent.answer(&answers).expect("both replicas answer what was asked"));
    }
    for chunk in prefixes.chunks(KEYS_PER_REQUEST) {
        cost.round_trips += 1;
        for prefix in chunk {
            let keys = remote.keys(*prefix).map(|key| key.to_bytes().len() as u64);
            cost.bytes += 8 + keys.sum::<u64>();
            cost.found += 1;
        }
    }
    cost
}

/// The same with negentropy: items are versions and entry digests. It gives ids, not keys.
fn negentropy(local: &Replica, remote: &Replica) -> Cost {
    let expect = "a storage in memory does not fail";
    let mut client = Negentropy::borrowed(&local.negentropy, 0).expect(expect);
    let mut server = Negentropy::borrowed(&remote.negentropy, 0).expect(expect);
    let (mut have, mut need) = (Vec::new(), Vec::new());
    let mut cost = Cost::default();
    let mut message = Some(client.initiate().expect(expect));
    while let Some(query) = message {
        let answer = server.reconcile(&query).expect(expect);
        cost.bytes += (query.len() + answer.len()) as u64;
        cost.round_trips += 1;
        message = client.reconcile_with_ids(&answer, &mut have, &mut need).expect(expect);
    }
    assert_eq!(have.len(), need.len());
    cost.found = have.len();
    cost
}

pub(crate) fn measure(report: &mut Report) {
    let fingerprinter = Fingerprinter::new("fleet", "products", b"secret");
    let local = Replica::new(&fingerprinter, 0);
    let mut rows = Vec::new();
    for differences in DIFFERENCES {
        let remote = Replica::new(&fingerprinter, differences);
        let cost = ours(&fingerprinter, &local, &remote);
        let peer = negentropy(&local, &remote);
        assert_eq!((cost.found, peer.found), (differences, differences), "both find exactly the difference");
        let times = best_each(&[&|| ours(&fingerprinter, &local, &remote).found as u8, &|| {
            negentropy(&local, &remote).found as u8
        }]);
        let millis = |time: std::time::Duration| Cell::Number(time.as_secs_f64() * 1e3);
        let bound = 16 * differences as u64;
        let times_bound = |bytes: u64| match bound {
            0 => Cell::None,
            bound => Cell::Number(bytes as f64 / bound as f64),
        };
        rows.push(vec![
            Cell::Count(differences as u64),
            Cell::Bytes(bound),
            Cell::Bytes(cost.bytes),
            times_bound(cost.bytes),
            Cell::Count(cost.round_trips),
            millis(times[0]),
            Cell::Bytes(peer.bytes),
            Cell::Number(peer.bytes as f64 / cost.bytes as f64),
            Cell::Count(peer.round_trips),
            millis(times[1]),
        ]);
    }
    let title = format!("Compare: two replicas of {ENTRIES} entries, d of them stale on one");
    let columns = [
        "d",
        "16 B × d",
        "bytes, both ways",
        "× bound",
        "round trips",
        "ms, both sides",
        "negentropy bytes",
        "× ours",
        "its round trips",
        "its ms",
    ];
    report.table("compare", title, &columns, rows);
}
