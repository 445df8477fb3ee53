use std::fmt::Debug;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use prost::Message;
use selfsame_core::merkle::{Depth, NodeHash};
use selfsame_core::{
    Cell, Counts, Decimal, Epoch, Key, KeyPart, NodeName, Observation, OriginMarker, Row, RunId, ShardId,
    ShardVerdict, Slot, WallMicros,
};

use super::{Malformed, arbitrary};
use crate::message::*;
use crate::v1;

/// What every message obeys: the plain form survives the wire; and whatever bytes arrive, converting them does
/// not panic, and gives either an error or a message that survives the wire itself.
fn law<P, G>(plain: impl Strategy<Value = P>)
where
    P: Clone + Debug + PartialEq + TryFrom<G, Error = Malformed>,
    G: From<P> + Message + Default,
{
    let travels = |plain: &P| {
        let bytes = G::from(plain.clone()).encode_to_vec();
        P::try_from(G::decode(bytes.as_slice()).unwrap())
    };
    let mut runner = TestRunner::new(Config { source_file: Some(file!()), ..Config::default() });
    let noise = (vec((any::<prop::sample::Index>(), any::<u8>()), 0..6), vec(any::<u8>(), 0..40));
    let outcome = runner.run(&(plain, noise), |(plain, (changes, junk))| {
        prop_assert_eq!(travels(&plain), Ok(plain.clone()));

        let mut bytes = G::from(plain).encode_to_vec();
        for (at, byte) in changes {
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
        }
        for bytes in [bytes, junk] {
            let Ok(generated) = G::decode(bytes.as_slice()) else { continue };
            if let Ok(plain) = P::try_from(generated) {
                // A float may be NaN, which equals nothing.
                prop_assert_eq!(format!("{:?}", travels(&plain)), format!("{:?}", Ok::<_, Malformed>(plain)));
            }
        }
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
}

#[test]
fn handshakes_survive_the_wire() {
    law::<Hello, v1::HelloMessage>(arbitrary::hello());
}

#[test]
fn claims_survive_the_wire() {
    law::<BallotRequest, v1::BallotRequest>(arbitrary::ballot_request());
    law::<Vec<Ballot>, v1::BallotReply>(arbitrary::ballots());
    law::<CompleteRequest, v1::CompleteRequest>(arbitrary::complete_request());
    law::<StartRequest, v1::StartRequest>(arbitrary::start_request());
    law::<Share, v1::StartReply>(arbitrary::share());
    law::<Epoch, v1::Epoch>(arbitrary::epoch());
}

#[test]
fn scans_and_roots_survive_the_wire() {
    law::<ScanRequest, v1::ScanRequest>(arbitrary::scan_request());
    law::<Vec<(NodeName, ScanState)>, v1::ScanReply>(arbitrary::scan_states());
    law::<RootsRequest, v1::RootsRequest>(arbitrary::roots_request());
    law::<Vec<NodeRoots>, v1::RootsReply>(arbitrary::roots());
}

#[test]
fn ledgers_survive_the_wire() {
    law::<LedgerRequest, v1::LedgerRequest>(arbitrary::ledger_request());
    law::<LedgerReply, v1::LedgerReply>(arbitrary::ledger_reply());
}

#[test]
fn descents_survive_the_wire() {
    law::<DescendRequest, v1::DescendRequest>(arbitrary::descend_request());
    law::<Vec<NodeHash>, v1::DescendReply>(arbitrary::hashes());
    law::<ElementsRequest, v1::ElementsRequest>(arbitrary::elements_request());
    law::<ElementsReply, v1::ElementsReply>(arbitrary::elements());
    law::<KeysRequest, v1::KeysRequest>(arbitrary::keys_request());
    law::<ExpiredRequest, v1::ExpiredRequest>(arbitrary::expired_request());
    law::<Vec<Key>, v1::KeysReply>(vec(arbitrary::key(), 0..5));
}

#[test]
fn reads_and_repairs_survive_the_wire() {
    law::<ReadRequest, v1::ReadRequest>(arbitrary::read_request());
    law::<Vec<Seen>, v1::ReadReply>(arbitrary::seen());
    law::<Observation, v1::Observation>(arbitrary::observation());
    law::<FetchRequest, v1::FetchRequest>(arbitrary::fetch_request());
    law::<Vec<Option<Row>>, v1::FetchReply>(arbitrary::rows());
    law::<ApplyRequest, v1::ApplyRequest>(arbitrary::apply_request());
    law::<Vec<ApplyOutcome>, v1::ApplyReply>(arbitrary::outcomes());
    law::<PinRequest, v1::PinRequest>(arbitrary::pin_request());
    law::<OriginMarker, v1::OriginMarker>(arbitrary::marker());
}

/// The claims of one owner on the first shards.
fn owned(shards: u32) -> impl Iterator<Item = (ShardId, Epoch)> {
    let owner = Epoch { counter: 1234, agent: "agent-1".parse().unwrap() };
    (0..shards).map(move |shard| (ShardId(shard), owner.clone()))
}

/// For each shard its place among those that were not scanned together: 7 scans, or one if not `scattered`.
fn apart(shard: u32, scattered: bool) -> u64 {
    if scattered { u64::from(shard % 7) } else { 0 }
}

/// Owners raise the horizons of all shards to the same instant.
const HORIZON: i64 = 1_789_000_000_000_000;

/// A request for roots and the answer of an agent with one replica. `scattered`: every shard was scanned at a
/// time of its own and has an index of its own; else all share one scan and one index.
fn roots_exchange_bytes(shards: u32, scattered: bool) -> (usize, usize) {
    roots_exchange_bytes_after(None, shards, scattered)
}

/// As [`roots_exchange_bytes`], with this purge horizon of all shards.
fn roots_exchange_bytes_after(horizon: Option<i64>, shards: u32, scattered: bool) -> (usize, usize) {
    let request = RootsRequest {
        collection: "products".parse().unwrap(),
        run: RunId::from_bytes([7; 16]),
        epochs: owned(shards).collect(),
    };
    let apart = |shard| apart(shard, scattered);
    let root = |shard: u32| Root {
        hash: NodeHash([shard as u8; 16]),
        count: 60_000 + u64::from(shard),
        depth: Depth::new(2).unwrap(),
        as_of: WallMicros(1_790_000_000_000_000 + apart(shard) as i64 * 600_000_000),
        incarnation: 0x0123_4567_89ab_cdef_u64.rotate_left(7 * apart(shard) as u32),
        unreadable: 0,
        memory: NodeHash([6; 16]),
        held: None,
        horizon: horizon.map(WallMicros),
        gap: None,
    };
    let roots = (0..shards).map(root).map(Ok).collect();
    let reply = vec![NodeRoots { node: "node-b".parse().unwrap(), roots }];
    (v1::RootsRequest::from(request).encoded_len(), v1::RootsReply::from(reply).encoded_len())
}

#[test]
fn equal_roots_cost_less_than_64_bytes_a_shard() {
    assert_eq!(roots_exchange_bytes(1, false), (46, 78));
    assert_eq!(roots_exchange_bytes(16, false), (91, 666));
    assert_eq!(roots_exchange_bytes(256, false), (942, 10031));
    assert_eq!(roots_exchange_bytes_after(Some(HORIZON), 256, false), (942, 10031 + 256 + 10));
    for shards in [16, 256, 4096] {
        let (request, reply) = roots_exchange_bytes_after(Some(HORIZON), shards, true);
        assert!(request + reply <= 64 * shards as usize, "{shards} shards: {request} and {reply} bytes");
    }
}

/// A request for claims and the answer of a voter that grants them all.
fn ballot_exchange_bytes(shards: u32) -> (usize, usize) {
    let request = BallotRequest {
        step: BallotStep::Claim,
        collection: "products".parse().unwrap(),
        run: RunId::from_bytes([7; 16]),
        slot: Slot::Scheduled(82_870),
        epochs: owned(shards).collect(),
    };
    let reply = vec![Ballot::Granted { first_pass_over: true }; shards as usize];
    (v1::BallotRequest::from(request).encoded_len(), v1::BallotReply::from(reply).encoded_len())
}

#[test]
fn claims_cost_five_bytes_a_shard_and_step() {
    assert_eq!(ballot_exchange_bytes(1), (59, 3));
    assert_eq!(ballot_exchange_bytes(16), (104, 18));
    assert_eq!(ballot_exchange_bytes(256), (955, 259));
    for shards in [256, 4096] {
        let (request, reply) = ballot_exchange_bytes(shards);
        assert!(request + reply <= 5 * shards as usize, "{shards} shards: {request} and {reply} bytes");
    }
}

/// What tells a voter that shards are completed, all in sync; `scattered` as for roots.
fn complete_bytes(shards: u32, scattered: bool) -> usize {
    complete_bytes_after(None, shards, scattered)
}

/// As [`complete_bytes`], with this purge horizon of all shards.
fn complete_bytes_after(horizon: Option<i64>, shards: u32, scattered: bool) -> usize {
    let in_sync = |(shard, epoch): (ShardId, Epoch)| {
        let as_of = WallMicros(1_790_000_000_000_000 + apart(shard.0, scattered).cast_signed() * 600_000_000);
        (shard, epoch, ShardVerdict::InSync { as_of })
    };
    let request = CompleteRequest {
        collection: "products".parse().unwrap(),
        run: RunId::from_bytes([7; 16]),
        slot: Slot::Scheduled(82_870),
        at: WallMicros(1_790_000_000_000_000),
        shards: owned(shards).map(in_sync).collect(),
        equal: Vec::new(),
        horizons: vec![horizon.map(WallMicros); shards as usize],
        judged: Vec::new(),
    };
    v1::CompleteRequest::from(request).encoded_len()
}

#[test]
fn completions_cost_six_bytes_a_shard_and_ten_if_each_was_scanned_by_itself() {
    assert_eq!(complete_bytes(1, false), 81);
    assert_eq!(complete_bytes(16, false), 156);
    assert_eq!(complete_bytes(256, false), 1490);
    assert_eq!(complete_bytes(256, true), 2510);
    assert_eq!(complete_bytes_after(Some(HORIZON), 256, false), 1490 + 256 + 10);
    for (shards, scattered, each) in [(256, false, 6), (4096, false, 6), (256, true, 10), (4096, true, 10)] {
        let bytes = complete_bytes(shards, scattered);
        assert!(bytes <= each * shards as usize, "{shards} shards: {bytes} bytes");
    }
}

#[test]
fn an_owner_is_named_once_and_several_owners_are_told_apart() {
    let epochs = |agents: [&str; 3]| {
        let epoch =
            |(at, agent): (u32, &str)| (ShardId(at), Epoch { counter: 9, agent: agent.parse().unwrap() });
        super::types::from_epochs((0..).zip(agents).map(epoch).collect())
    };
    let one = epochs(["a", "a", "a"]);
    assert_eq!((one.agents.len(), one.agent_indexes.len()), (1, 0));
    let two = epochs(["a", "b", "a"]);
    assert_eq!((two.agents.len(), two.agent_indexes), (2, vec![0, 1, 0]));
}

#[test]
fn whole_numbers_travel_as_such_and_mean_the_same_spelt_as_decimals() {
    let seven = Key::integer(7);
    let generated = v1::Key::from(&seven);
    assert_eq!(generated.parts[0].part, Some(v1::key_part::Part::Integer(7)));
    let decimal = v1::Decimal { negative: false, digits: "7".into(), exponent: 0 };
    let spelt = v1::Key { parts: vec![v1::KeyPart { part: Some(v1::key_part::Part::Decimal(decimal)) }] };
    assert_eq!(Key::try_from(spelt), Ok(seven));
    let huge = Key::new(vec![KeyPart::Number(Decimal::parse("1e400").unwrap())]).unwrap();
    assert_eq!(Key::try_from(v1::Key::from(&huge)), Ok(huge));
}

/// Converts, and gives the field that was found wrong.
fn fault<P: TryFrom<G, Error = Malformed>, G>(generated: G) -> String {
    P::try_from(generated).err().map_or_else(|| "nothing".to_owned(), |malformed| malformed.field)
}

fn claim() -> v1::Claim {
    v1::Claim {
        collection: "products".into(),
        shard: 3,
        epoch: Some(v1::Epoch { counter: 1, agent: "a".into() }),
        run: vec![0; 16],
    }
}

fn replica() -> v1::Replica {
    v1::Replica { claim: Some(claim()), node: "node-a".into(), incarnation: 1 }
}

#[test]
fn claims_that_name_nothing_real_are_refused() {
    let faulty = |change: fn(&mut v1::Claim)| {
        let mut generated = claim();
        change(&mut generated);
        fault::<Claim, _>(generated)
    };
    assert_eq!(faulty(|_| ()), "nothing");
    assert_eq!(faulty(|claim| claim.collection = "../etc".into()), "claim.collection");
    assert_eq!(faulty(|claim| claim.shard = 4096), "claim.shard");
    assert_eq!(faulty(|claim| claim.epoch = None), "claim.epoch");
    assert_eq!(faulty(|claim| claim.epoch.as_mut().unwrap().agent.clear()), "epoch.agent");
    assert_eq!(faulty(|claim| claim.run = vec![0; 15]), "claim.run");
}

#[test]
fn columns_of_unequal_length_are_refused() {
    let faulty = |change: fn(&mut v1::Epochs)| {
        let mut epochs = v1::Epochs {
            shards: vec![0, 1],
            counters: vec![1, 1],
            agents: vec!["a".into(), "b".into()],
            agent_indexes: vec![0, 1],
        };
        change(&mut epochs);
        let run = vec![0; 16];
        fault::<RootsRequest, _>(v1::RootsRequest { collection: "c".into(), run, epochs: Some(epochs) })
    };
    assert_eq!(faulty(|_| ()), "nothing");
    assert_eq!(faulty(|epochs| epochs.shards.push(2)), "epochs.counters");
    assert_eq!(faulty(|epochs| epochs.agent_indexes.clear()), "epochs.agent_indexes");
    assert_eq!(faulty(|epochs| epochs.agent_indexes[1] = 2), "epochs.agent_indexes");
    assert_eq!(faulty(|epochs| epochs.agents.push("c".into())), "epochs.agents");
    assert_eq!(faulty(|epochs| epochs.shards[0] = 4096), "epochs.shards");
    assert_eq!(faulty(|epochs| epochs.shards = vec![0; 4097]), "epochs.shards");
}

#[test]
fn verdicts_that_do_not_add_up_are_refused() {
    let faulty = |change: fn(&mut v1::Verdicts)| {
        let kinds = [v1::Verdict::InSync, v1::Verdict::Diverged, v1::Verdict::Unknown].map(i32::from);
        let mut verdicts = v1::Verdicts { kinds: kinds.into(), as_of_deltas: vec![5], reasons: vec![1] };
        change(&mut verdicts);
        let epochs = super::types::from_epochs(owned(3).collect());
        fault::<CompleteRequest, _>(v1::CompleteRequest {
            collection: "c".into(),
            run: vec![0; 16],
            slot: vec![0; 9],
            at: 1,
            epochs: Some(epochs),
            verdicts: Some(verdicts),
            equal: Vec::new(),
            horizon_deltas: vec![1; 3],
            judged: Vec::new(),
        })
    };
    assert_eq!(faulty(|_| ()), "nothing");
    assert_eq!(faulty(|verdicts| verdicts.kinds.push(2)), "verdicts.kinds");
    assert_eq!(faulty(|verdicts| verdicts.kinds.truncate(2)), "verdicts.kinds");
    assert_eq!(faulty(|verdicts| verdicts.kinds[1] = 0), "verdicts.kinds");
    assert_eq!(faulty(|verdicts| verdicts.kinds[1] = 4), "verdicts.kinds");
    assert_eq!(faulty(|verdicts| verdicts.kinds[1] = 1), "verdicts.as_of_deltas");
    assert_eq!(faulty(|verdicts| verdicts.kinds[1] = 3), "verdicts.reasons");
    assert_eq!(faulty(|verdicts| verdicts.as_of_deltas.push(0)), "verdicts.as_of_deltas");
    assert_eq!(faulty(|verdicts| verdicts.reasons.push(1)), "verdicts.reasons");
    assert_eq!(faulty(|verdicts| verdicts.reasons[0] = 14), "verdicts.reasons");
}

#[test]
fn shares_that_would_be_counted_twice_or_not_at_all_are_refused() {
    let faulty = |change: fn(&mut v1::StartReply)| {
        let verdict = v1::shard_verdict::Verdict::Diverged(v1::Nothing {});
        let done = |shard| v1::ShardShare {
            shard,
            verdict: Some(v1::ShardVerdict { verdict: Some(verdict) }),
            counts: Some(Counts::default().into()),
            planned: "ä".repeat(64),
        };
        let state = v1::node_scan::State::Failed(1);
        let scan = |node: &str| v1::NodeScan { node: node.into(), state: Some(state) };
        let (scans, shards) = (vec![scan("a"), scan("b")], vec![done(1), done(0)]);
        let mut reply = v1::StartReply { running: true, scans, shards, wire_bytes: 0 };
        change(&mut reply);
        fault::<Share, _>(reply)
    };
    assert_eq!(faulty(|_| ()), "nothing");
    assert_eq!(faulty(|reply| reply.shards[1].shard = 1), "shards.shard");
    assert_eq!(faulty(|reply| reply.shards[1].shard = 4096), "shards.shard");
    assert_eq!(faulty(|reply| reply.shards[1].verdict = None), "shards.verdict");
    assert_eq!(faulty(|reply| reply.shards[1].counts = None), "shards.counts");
    assert_eq!(faulty(|reply| reply.shards[1].planned.push('x')), "shards.planned");
    assert_eq!(faulty(|reply| reply.shards = vec![reply.shards[0].clone(); 4097]), "shards");
    assert_eq!(faulty(|reply| reply.scans[1].node = "a".into()), "scan.node");
    assert_eq!(faulty(|reply| reply.scans[1].state = None), "scan.state");
}

#[test]
fn roots_that_do_not_add_up_are_refused() {
    let faulty = |change: fn(&mut v1::NodeRoots)| {
        let mut node = v1::NodeRoots {
            node: "node-a".into(),
            reasons: vec![0, 2],
            hashes: vec![0; 16],
            counts: vec![1],
            depths: vec![1],
            as_of_deltas: vec![1],
            incarnation_deltas: vec![1],
            unreadable: vec![0],
            memories: vec![0; 16],
            held_since: Some(5),
            horizon_deltas: vec![1],
            gap: None,
        };
        change(&mut node);
        fault::<Vec<NodeRoots>, _>(v1::RootsReply { nodes: vec![node] })
    };
    assert_eq!(faulty(|_| ()), "nothing");
    assert_eq!(faulty(|node| node.hashes.push(0)), "nodes.hashes");
    assert_eq!(faulty(|node| node.counts.push(0)), "nodes.counts");
    assert_eq!(faulty(|node| node.memories.clear()), "nodes.memories");
    assert_eq!(faulty(|node| node.horizon_deltas.clear()), "nothing");
    assert_eq!(faulty(|node| node.horizon_deltas.push(0)), "nodes.horizon_deltas");
    assert_eq!(faulty(|node| node.depths[0] = 6), "nodes.depths");
    assert_eq!(faulty(|node| node.reasons.push(0)), "nodes.hashes");
    assert_eq!(faulty(|node| node.reasons[0] = 1), "nodes.hashes");
    assert_eq!(faulty(|node| node.reasons[1] = 14), "nodes.reasons");
    let node = v1::NodeRoots { node: "node-a".into(), ..Default::default() };
    assert_eq!(fault::<Vec<NodeRoots>, _>(v1::RootsReply { nodes: vec![node.clone(), node] }), "nodes.node");
}

#[test]
fn what_was_only_observed_does_not_travel() {
    let memory = |certainty: v1::Certainty| v1::KeyMemory {
        key: Some((&Key::integer(7)).into()),
        tombstone: Some(v1::Tombstone {
            version: 1,
            cause: v1::TombstoneCause::Deleted.into(),
            at: 1,
            certainty: certainty.into(),
            came_back: false,
            received: false,
        }),
    };
    let join = |certainty| {
        let memories = vec![memory(certainty)];
        let ask = Some(v1::ledger_request::Ask::Join(v1::LedgerJoin { memories }));
        fault::<LedgerRequest, _>(v1::LedgerRequest { claim: Some(claim()), node: "node-a".into(), ask })
    };
    assert_eq!(join(v1::Certainty::Certain), "nothing");
    assert_eq!(join(v1::Certainty::Observed), "memories.tombstone");
    let cut = v1::LedgerReply { memories: vec![], truncated: true };
    assert_eq!(fault::<LedgerReply, _>(cut), "truncated");
}

#[test]
fn questions_about_nodes_that_no_tree_has_are_refused() {
    let descend = |level, parents| {
        fault::<DescendRequest, _>(v1::DescendRequest { replica: Some(replica()), level, parents })
    };
    assert_eq!(descend(4, vec![0; 4096]), "nothing");
    assert_eq!(descend(0, vec![1]), "parents");
    assert_eq!(descend(5, vec![]), "level");
    assert_eq!(descend(256, vec![]), "level");
    assert_eq!(descend(4, vec![0; 4097]), "parents");
    let elements = |depth, buckets| {
        fault::<ElementsRequest, _>(v1::ElementsRequest {
            replica: Some(replica()),
            depth,
            buckets,
            after: None,
        })
    };
    assert_eq!(elements(5, (0..1024).collect()), "nothing");
    assert_eq!(elements(5, (0..1025).collect()), "buckets");
    assert_eq!(elements(1, vec![16]), "buckets");
    assert_eq!(elements(1, vec![2, 1]), "buckets");
    assert_eq!(elements(1, vec![1, 1]), "buckets");
    assert_eq!(elements(6, vec![]), "depth");
}

#[test]
fn lists_that_are_cut_askew_or_out_of_order_are_refused() {
    let elements =
        |elements: Vec<u8>, truncated| fault::<ElementsReply, _>(v1::ElementsReply { elements, truncated });
    assert_eq!(elements(vec![], false), "nothing");
    assert_eq!(elements(vec![], true), "truncated");
    assert_eq!(elements(vec![0; 24], false), "elements");
    assert_eq!(elements([vec![1; 16], vec![0; 16]].concat(), false), "elements");
    let keys = |prefixes| fault::<KeysRequest, _>(v1::KeysRequest { replica: Some(replica()), prefixes });
    assert_eq!(keys(vec![0; 80_000]), "nothing");
    assert_eq!(keys(vec![0; 80_008]), "prefixes");
    assert_eq!(keys(vec![0; 7]), "prefixes");
    let expired = |keys_max| {
        fault::<ExpiredRequest, _>(v1::ExpiredRequest { replica: Some(replica()), by: 0, keys_max })
    };
    assert_eq!(expired(10_000), "nothing");
    assert_eq!(expired(10_001), "keys_max");
}

#[test]
fn presence_and_sighting_go_together() {
    let sighting = v1::Sighting { content: vec![0; 32], row: vec![0; 32], ..Default::default() };
    let observe = |presence: v1::Presence, sighting: Option<v1::Sighting>| {
        let presence = presence.into();
        fault::<Observation, _>(v1::Observation { presence, sighting, ..Default::default() })
    };
    assert_eq!(observe(v1::Presence::Live, Some(sighting.clone())), "nothing");
    assert_eq!(observe(v1::Presence::Live, None), "observation.presence");
    assert_eq!(observe(v1::Presence::Absent, Some(sighting.clone())), "observation.presence");
    assert_eq!(observe(v1::Presence::Unspecified, None), "observation.presence");
    let short = v1::Sighting { row: vec![0; 31], ..sighting };
    assert_eq!(observe(v1::Presence::Live, Some(short)), "sighting.row");
}

#[test]
fn pins_are_whole_and_not_too_many() {
    let seen = |pinned| {
        let presence = v1::Presence::Absent.into();
        fault::<Seen, _>(v1::Observation { presence, pinned, ..Default::default() })
    };
    let pin = |before: Option<usize>, after: Option<usize>| v1::Pin {
        before: before.map(|bytes| vec![0; bytes]),
        after: after.map(|bytes| vec![0; bytes]),
    };
    assert_eq!(seen(None), "nothing");
    assert_eq!(seen(Some(pin(None, None))), "nothing");
    assert_eq!(seen(Some(pin(Some(31), None))), "pin.before");
    assert_eq!(seen(Some(pin(Some(32), Some(33)))), "pin.after");
    let key = v1::PinnedKey { key: Some((&Key::integer(1)).into()), pin: Some(pin(None, Some(32))) };
    let request = |keys| {
        let (collection, node) = ("products".into(), "node-a".into());
        fault::<PinRequest, _>(v1::PinRequest { collection, node, keys })
    };
    assert_eq!(request(vec![key.clone(); 10_000]), "nothing");
    assert_eq!(request(vec![key.clone(); 10_001]), "keys");
    assert_eq!(request(vec![v1::PinnedKey { pin: None, ..key.clone() }]), "keys.pin");
    assert_eq!(request(vec![v1::PinnedKey { key: None, ..key }]), "keys.key");
}

#[test]
fn batches_beyond_the_limits_are_refused() {
    let key = || v1::Key::from(&Key::integer(1));
    let read = |count| {
        let keys = vec![key(); count];
        fault::<ReadRequest, _>(v1::ReadRequest {
            claim: Some(claim()),
            node: "n".into(),
            keys,
            conclude: false,
        })
    };
    assert_eq!(read(10_000), "nothing");
    assert_eq!(read(10_001), "keys");
    let fetch = |count, digests: usize| {
        let (keys, rows) = (vec![key(); count], vec![0_u8; 32 * digests]);
        fault::<FetchRequest, _>(v1::FetchRequest { claim: Some(claim()), node: "n".into(), keys, rows })
    };
    assert_eq!(fetch(500, 500), "nothing");
    assert_eq!(fetch(501, 501), "keys");
    assert_eq!(fetch(2, 1), "rows");
    let row = |bytes| Row::new(vec![("body".into(), Cell::Bytes(vec![0; bytes]))]).to_bytes();
    let fetched = |bytes| {
        let rows = [bytes, 1, 0].map(|bytes| v1::FetchedRow { row: Some(row(bytes)) });
        fault::<Vec<Option<Row>>, _>(v1::FetchReply { rows: rows.into() })
    };
    assert_eq!(fetched((24 << 20) - 1), "nothing");
    assert_eq!(fetched(24 << 20), "rows.row");
    let item = |row| v1::ApplyItem {
        repair: vec![0; 16],
        key: Some(key()),
        expected: None,
        row,
        cause: v1::Cause::MissedInsert.into(),
    };
    let apply = |items, authority| {
        fault::<ApplyRequest, _>(v1::ApplyRequest {
            claim: Some(claim()),
            node: "n".into(),
            authority,
            items,
        })
    };
    let automatic = Some(v1::apply_request::Authority::Automatic(v1::Nothing {}));
    assert_eq!(apply(vec![item(None); 500], automatic.clone()), "nothing");
    assert_eq!(apply(vec![item(None); 501], automatic.clone()), "items");
    assert_eq!(apply(vec![], None), "authority");
    assert_eq!(apply(vec![], Some(v1::apply_request::Authority::Approved(vec![]))), "approved");
    assert_eq!(apply(vec![item(Some(row(8 << 20))); 2], automatic.clone()), "nothing");
    assert_eq!(apply(vec![item(Some(row(8 << 20))), item(Some(row((8 << 20) + 1)))], automatic), "items.row");
}

#[test]
fn answers_with_too_few_or_too_many_details_are_refused() {
    let superseded = i32::from(v1::Ballot::Superseded);
    let ballots =
        |ballots, superseded_by| fault::<Vec<Ballot>, _>(v1::BallotReply { ballots, superseded_by });
    let epoch = v1::Epoch { counter: 1, agent: "a".into() };
    assert_eq!(ballots(vec![superseded], vec![epoch.clone()]), "nothing");
    assert_eq!(ballots(vec![superseded], vec![]), "superseded_by");
    assert_eq!(ballots(vec![], vec![epoch]), "superseded_by");
    assert_eq!(ballots(vec![0], vec![]), "ballots");
    let refused = i32::from(v1::ApplyOutcome::Refused);
    let outcomes = |outcomes, refusals| fault::<Vec<ApplyOutcome>, _>(v1::ApplyReply { outcomes, refusals });
    assert_eq!(outcomes(vec![refused], vec!["constraint".into()]), "nothing");
    assert_eq!(outcomes(vec![refused], vec![]), "refusals");
    assert_eq!(outcomes(vec![], vec!["constraint".into()]), "refusals");
    assert_eq!(outcomes(vec![9], vec![]), "outcomes");
}

#[test]
fn what_is_sent_back_about_a_fault_is_short() {
    let long = "x".repeat(100_000);
    let malformed = NodeRoots::try_from(v1::NodeRoots { node: long, ..Default::default() }).unwrap_err();
    assert!(malformed.why.len() <= crate::limits::WHY_BYTES_MAX);
}
