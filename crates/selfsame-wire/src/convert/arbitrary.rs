//! Any plain message that the protocol allows, for property tests.

use proptest::collection::{btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use selfsame_core::away::Gap;
use selfsame_core::merkle::{BucketId, Depth, Element, NodeHash};
use selfsame_core::{
    AgentName, Cause, Cell, Certainty, CollectionName, ContentDigest, Counts, Decimal, EntryDigest, Epoch,
    Key, KeyDigest, KeyPart, KeyPrefix, NodeName, Observation, OriginMarker, Presence, RepairId, Row,
    RowDigest, RunId, ShardCount, ShardId, ShardVerdict, Sighting, Slot, Tombstone, TombstoneCause,
    TombstoneOwner, UnknownReason, Version, WallMicros,
};

use crate::message::*;

fn text() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9][a-zA-Z0-9._-]{0,8}"
}

fn agent() -> impl Strategy<Value = AgentName> {
    // Few, so that requests have several shards of one.
    "[a-c]".prop_map(|name| name.parse().unwrap())
}

fn node() -> impl Strategy<Value = NodeName> {
    text().prop_map(|name| name.parse().unwrap())
}

fn collection() -> impl Strategy<Value = CollectionName> {
    text().prop_map(|name| name.parse().unwrap())
}

fn instant() -> impl Strategy<Value = WallMicros> {
    any::<i64>().prop_map(WallMicros)
}

fn shard() -> impl Strategy<Value = ShardId> {
    (0..ShardCount::MAX).prop_map(ShardId)
}

fn run() -> impl Strategy<Value = RunId> {
    any::<[u8; 16]>().prop_map(RunId::from_bytes)
}

fn slot() -> impl Strategy<Value = Slot> {
    let ad_hoc = any::<[u8; 16]>().prop_map(|id| Slot::from_bytes(&[&[1][..], &id].concat()).unwrap());
    prop_oneof![any::<u64>().prop_map(Slot::Scheduled), ad_hoc]
}

fn row_digest() -> impl Strategy<Value = RowDigest> {
    any::<[u8; 32]>().prop_map(RowDigest)
}

fn reason() -> impl Strategy<Value = UnknownReason> {
    prop::sample::select(UnknownReason::ALL.to_vec())
}

fn cause() -> impl Strategy<Value = Cause> {
    prop::sample::select(Cause::ALL.to_vec())
}

pub(crate) fn epoch() -> impl Strategy<Value = Epoch> {
    (any::<u64>(), agent()).prop_map(|(counter, agent)| Epoch { counter, agent })
}

fn claim() -> impl Strategy<Value = Claim> {
    (collection(), shard(), epoch(), run()).prop_map(|(collection, shard, epoch, run)| Claim {
        collection,
        shard,
        epoch,
        run,
    })
}

pub(crate) fn key() -> impl Strategy<Value = Key> {
    let part = prop_oneof![
        any::<i64>().prop_map(|number| KeyPart::Number(number.into())),
        "-?[1-9][0-9]{0,30}\\.[0-9]{0,5}[1-9]e-?[0-9]{1,3}"
            .prop_map(|number| KeyPart::Number(Decimal::parse(&number).unwrap())),
        ".{0,12}".prop_map(KeyPart::Text),
        vec(any::<u8>(), 0..12).prop_map(KeyPart::Bytes),
    ];
    vec(part, 1..4).prop_map(|parts| Key::new(parts).unwrap())
}

fn row() -> impl Strategy<Value = Row> {
    let cell = prop_oneof![
        Just(Cell::Null),
        any::<bool>().prop_map(Cell::Bool),
        any::<i64>().prop_map(Cell::Integer),
        prop::num::f64::NORMAL.prop_map(Cell::Real),
        ".{0,20}".prop_map(Cell::Text),
        vec(any::<u8>(), 0..20).prop_map(Cell::Bytes),
    ];
    vec((".{0,6}", cell), 0..4).prop_map(Row::new)
}

pub(crate) fn hello() -> impl Strategy<Value = Hello> {
    let collection = (collection(), any::<[u8; 16]>(), any::<[u8; 16]>(), vec(node(), 0..3));
    let collection = collection.prop_map(|(name, check_value, config, nodes)| CollectionHello {
        name,
        check_value,
        config,
        nodes,
    });
    let fields = (any::<u32>(), ".{0,9}", ".{0,9}", agent(), instant(), vec(collection, 0..3));
    fields.prop_map(|(protocol, algorithm, fleet, agent, now, collections)| Hello {
        protocol,
        algorithm,
        fleet,
        agent,
        now,
        collections,
    })
}

pub(crate) fn ballot_request() -> impl Strategy<Value = BallotRequest> {
    let step = prop_oneof![Just(BallotStep::Ask), Just(BallotStep::Claim), Just(BallotStep::Release)];
    (step, collection(), run(), slot(), vec((shard(), epoch()), 0..9)).prop_map(
        |(step, collection, run, slot, epochs)| BallotRequest { step, collection, run, slot, epochs },
    )
}

pub(crate) fn ballots() -> impl Strategy<Value = Vec<Ballot>> {
    let ballot = prop_oneof![
        any::<bool>().prop_map(|first_pass_over| Ballot::Granted { first_pass_over }),
        Just(Ballot::Completed),
        Just(Ballot::Taken),
        epoch().prop_map(Ballot::Superseded),
    ];
    vec(ballot, 0..9)
}

fn verdict() -> impl Strategy<Value = ShardVerdict> {
    prop_oneof![
        instant().prop_map(|as_of| ShardVerdict::InSync { as_of }),
        Just(ShardVerdict::Diverged),
        reason().prop_map(ShardVerdict::Unknown),
    ]
}

/// 0 is none.
fn horizon() -> impl Strategy<Value = Option<WallMicros>> {
    option::of(instant()).prop_map(|at| at.filter(|at| at.0 != 0))
}

pub(crate) fn complete_request() -> impl Strategy<Value = CompleteRequest> {
    let equal =
        (btree_set(node(), 0..4), vec((instant(), vec(shard(), 0..4)), 4)).prop_map(|(nodes, equal)| {
            let each = |(node, (since, shards))| HeldEqual { node, since, shards };
            nodes.into_iter().zip(equal).map(each).collect()
        });
    let judged = (btree_set(node(), 0..4), vec((instant(), any::<bool>()), 4)).prop_map(|(nodes, judged)| {
        let each = |(node, (from, away))| JudgedGap { node, from, away };
        nodes.into_iter().zip(judged).map(each).collect()
    });
    let shards = vec(((shard(), epoch(), verdict()), horizon()), 0..9);
    (collection(), run(), slot(), instant(), shards, equal, judged).prop_map(
        |(collection, run, slot, at, shards, equal, judged)| {
            let (shards, horizons) = shards.into_iter().unzip();
            CompleteRequest { collection, run, slot, at, shards, equal, horizons, judged }
        },
    )
}

pub(crate) fn start_request() -> impl Strategy<Value = StartRequest> {
    (collection(), slot(), option::of(shard()), any::<bool>(), any::<bool>()).prop_map(
        |(collection, slot, shard, scan, dry_run)| StartRequest { collection, slot, shard, scan, dry_run },
    )
}

pub(crate) fn scan_request() -> impl Strategy<Value = ScanRequest> {
    (collection(), instant()).prop_map(|(collection, since)| ScanRequest { collection, since })
}

pub(crate) fn scan_states() -> impl Strategy<Value = Vec<(NodeName, ScanState)>> {
    let state = prop_oneof![
        (any::<u64>(), any::<u64>()).prop_map(|(rows, total)| ScanState::Running { rows, total }),
        (instant(), any::<u64>()).prop_map(|(as_of, rows)| ScanState::Done { as_of, rows }),
        reason().prop_map(ScanState::Failed),
    ];
    (btree_set(node(), 0..4), vec(state, 4))
        .prop_map(|(nodes, states)| nodes.into_iter().zip(states).collect())
}

fn counts() -> impl Strategy<Value = Counts> {
    any::<[u64; 8]>().prop_map(
        |[keys, mismatches, repaired, transient, moving, held, unreadable, document_bytes]| Counts {
            keys,
            mismatches,
            repaired,
            transient,
            moving,
            held,
            unreadable,
            document_bytes,
        },
    )
}

pub(crate) fn share() -> impl Strategy<Value = Share> {
    let rest = (verdict(), counts(), ".{0,64}");
    let shards = (btree_set(shard(), 0..5), vec(rest, 5)).prop_map(|(shards, rests)| {
        let each = |(shard, (verdict, counts, planned))| ShardShare { shard, verdict, counts, planned };
        shards.into_iter().zip(rests).map(each).collect()
    });
    (any::<bool>(), scan_states(), shards, any::<u64>())
        .prop_map(|(running, scans, shards, wire_bytes)| Share { running, scans, shards, wire_bytes })
}

pub(crate) fn roots_request() -> impl Strategy<Value = RootsRequest> {
    (collection(), run(), vec((shard(), epoch()), 0..9)).prop_map(|(collection, run, epochs)| RootsRequest {
        collection,
        run,
        epochs,
    })
}

fn depth() -> impl Strategy<Value = Depth> {
    (0..=Depth::MAX.levels()).prop_map(|levels| Depth::new(levels).unwrap())
}

pub(crate) fn roots() -> impl Strategy<Value = Vec<NodeRoots>> {
    let hash = any::<[u8; 16]>;
    let fields = (hash(), any::<u64>(), depth(), instant(), any::<u64>(), any::<u64>(), hash(), horizon());
    let root =
        fields.prop_map(|(hash, count, depth, as_of, incarnation, unreadable, memory, horizon)| Root {
            hash: NodeHash(hash),
            count,
            depth,
            as_of,
            incarnation,
            unreadable,
            memory: NodeHash(memory),
            held: None,
            horizon,
            gap: None,
        });
    let answer = prop_oneof![3 => root.prop_map(Ok), 1 => reason().prop_map(Err)];
    let gap =
        option::of((instant(), instant(), any::<bool>()).prop_map(|(from, to, open)| Gap { from, to, open }));
    // A replica is held, and was not scanned, as a whole.
    let answers = (vec(answer, 0..6), option::of(instant()), gap).prop_map(|(mut roots, held, gap)| {
        for root in roots.iter_mut().flatten() {
            let root: &mut Root = root;
            (root.held, root.gap) = (held, gap);
        }
        roots
    });
    (btree_set(node(), 0..4), vec(answers, 4)).prop_map(|(nodes, roots)| {
        nodes.into_iter().zip(roots).map(|(node, roots)| NodeRoots { node, roots }).collect()
    })
}

fn replica() -> impl Strategy<Value = Replica> {
    (claim(), node(), any::<u64>()).prop_map(|(claim, node, incarnation)| Replica {
        claim,
        node,
        incarnation,
    })
}

fn tombstone() -> impl Strategy<Value = Tombstone> {
    let fields = (version(), any::<bool>(), instant(), any::<bool>(), any::<bool>(), any::<bool>());
    fields.prop_map(|(version, expired, at, certain, own, came_back)| Tombstone {
        version,
        cause: if expired { TombstoneCause::Expired } else { TombstoneCause::Deleted },
        at,
        certainty: if certain { Certainty::Certain } else { Certainty::Observed },
        owner: if own { TombstoneOwner::Own } else { TombstoneOwner::Received },
        came_back,
    })
}

fn certain() -> impl Strategy<Value = KeyMemory> {
    let certain = |tombstone| Tombstone { certainty: Certainty::Certain, ..tombstone };
    (key(), tombstone()).prop_map(move |(key, tombstone)| KeyMemory { key, tombstone: certain(tombstone) })
}

pub(crate) fn ledger_request() -> impl Strategy<Value = LedgerRequest> {
    let after = option::of(any::<[u8; 16]>().prop_map(KeyDigest));
    let ask = prop_oneof![
        after.prop_map(|after| LedgerAsk::List { after }),
        vec(certain(), 0..5).prop_map(LedgerAsk::Join)
    ];
    (claim(), node(), ask).prop_map(|(claim, node, ask)| LedgerRequest { claim, node, ask })
}

pub(crate) fn ledger_reply() -> impl Strategy<Value = LedgerReply> {
    (vec(certain(), 0..5), any::<bool>())
        .prop_map(|(memories, more)| LedgerReply { truncated: more && !memories.is_empty(), memories })
}

pub(crate) fn descend_request() -> impl Strategy<Value = DescendRequest> {
    let nodes =
        (0..Depth::MAX.levels()).prop_flat_map(|level| (Just(level), vec(0..1_u32 << (4 * level), 0..9)));
    (replica(), nodes).prop_map(|(replica, (level, parents))| DescendRequest { replica, level, parents })
}

pub(crate) fn hashes() -> impl Strategy<Value = Vec<NodeHash>> {
    vec(any::<[u8; 16]>().prop_map(NodeHash), 0..40)
}

pub(crate) fn elements_request() -> impl Strategy<Value = ElementsRequest> {
    let buckets = depth().prop_flat_map(|depth| {
        let ids = btree_set((0..u32::try_from(depth.buckets()).unwrap()).prop_map(BucketId), 0..9);
        (Just(depth), ids)
    });
    (replica(), buckets, option::of(any::<u64>().prop_map(KeyPrefix))).prop_map(
        |(replica, (depth, buckets), after)| ElementsRequest {
            replica,
            depth,
            buckets: buckets.into_iter().collect(),
            after,
        },
    )
}

pub(crate) fn elements() -> impl Strategy<Value = ElementsReply> {
    let element = (any::<u64>(), any::<u64>());
    let element = element.prop_map(|(prefix, entry)| Element { prefix: KeyPrefix(prefix), entry });
    (vec(element, 0..20), any::<bool>()).prop_map(|(mut elements, cut)| {
        elements.sort();
        let truncated = cut && !elements.is_empty();
        ElementsReply { elements, truncated }
    })
}

pub(crate) fn keys_request() -> impl Strategy<Value = KeysRequest> {
    (replica(), vec(any::<u64>().prop_map(KeyPrefix), 0..9))
        .prop_map(|(replica, prefixes)| KeysRequest { replica, prefixes })
}

pub(crate) fn expired_request() -> impl Strategy<Value = ExpiredRequest> {
    (replica(), any::<i64>().prop_map(WallMicros), 0..=10_000_u32)
        .prop_map(|(replica, by, keys_max)| ExpiredRequest { replica, by, keys_max })
}

pub(crate) fn read_request() -> impl Strategy<Value = ReadRequest> {
    (claim(), node(), vec(key(), 0..5), any::<bool>()).prop_map(|(claim, node, keys, conclude)| ReadRequest {
        claim,
        node,
        keys,
        conclude,
    })
}

fn version() -> impl Strategy<Value = Version> {
    any::<i64>().prop_map(Version)
}

fn sighting() -> impl Strategy<Value = Sighting> {
    let fields =
        (version(), option::of(instant()), any::<[u8; 32]>(), row_digest(), any::<bool>(), any::<u64>());
    fields.prop_map(|(version, expiry, content, row, by_repair, bytes)| Sighting {
        version,
        expiry,
        content: ContentDigest(content),
        row,
        by_repair,
        bytes,
    })
}

pub(crate) fn observation() -> impl Strategy<Value = Observation> {
    let presence = prop_oneof![
        3 => sighting().prop_map(Presence::Live),
        1 => sighting().prop_map(Presence::Marked),
        1 => Just(Presence::Absent),
        1 => Just(Presence::Unreadable),
        1 => Just(Presence::Unreachable),
    ];
    let observation = (presence, option::of(tombstone()), any::<bool>());
    observation.prop_map(|(presence, memory, held)| Observation { presence, memory, held })
}

fn pin() -> impl Strategy<Value = Pin> {
    let after = option::of(any::<[u8; 32]>().prop_map(EntryDigest));
    (option::of(row_digest()), after).prop_map(|(before, after)| Pin { before, after })
}

pub(crate) fn seen() -> impl Strategy<Value = Vec<Seen>> {
    let seen = (observation(), option::of(pin()));
    vec(seen.prop_map(|(observation, pinned)| Seen { observation, pinned }), 0..5)
}

pub(crate) fn pin_request() -> impl Strategy<Value = PinRequest> {
    (collection(), node(), vec((key(), pin()), 0..5)).prop_map(|(collection, node, pins)| PinRequest {
        collection,
        node,
        pins,
    })
}

pub(crate) fn fetch_request() -> impl Strategy<Value = FetchRequest> {
    (claim(), node(), vec((key(), row_digest()), 0..5)).prop_map(|(claim, node, rows)| FetchRequest {
        claim,
        node,
        rows,
    })
}

pub(crate) fn rows() -> impl Strategy<Value = Vec<Option<Row>>> {
    vec(option::of(row()), 0..5)
}

pub(crate) fn apply_request() -> impl Strategy<Value = ApplyRequest> {
    let repair = any::<[u8; 16]>().prop_map(RepairId::from_bytes);
    let fields = (repair, key(), option::of(row_digest()), option::of(row()), cause());
    let item = fields.prop_map(|(repair, key, expected, row, cause)| ApplyItem {
        repair,
        key,
        expected,
        row,
        cause,
    });
    let authority = prop_oneof![Just(Authority::Automatic), run().prop_map(Authority::Approved)];
    (claim(), node(), authority, vec(item, 0..5)).prop_map(|(claim, node, authority, items)| ApplyRequest {
        claim,
        node,
        authority,
        items,
    })
}

pub(crate) fn outcomes() -> impl Strategy<Value = Vec<ApplyOutcome>> {
    let outcome = prop_oneof![
        Just(ApplyOutcome::Applied),
        Just(ApplyOutcome::AlreadyThere),
        Just(ApplyOutcome::Changed),
        ".{0,20}".prop_map(ApplyOutcome::Refused),
    ];
    vec(outcome, 0..9)
}

pub(crate) fn marker() -> impl Strategy<Value = OriginMarker> {
    (agent(), run(), any::<[u8; 16]>(), cause()).prop_map(|(agent, run, repair, cause)| OriginMarker {
        agent,
        run,
        repair: RepairId::from_bytes(repair),
        cause,
    })
}
