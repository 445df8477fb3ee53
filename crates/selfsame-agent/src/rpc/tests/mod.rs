//! A fake peer behind a real server, and a real client before it.

mod fake;

use std::sync::Arc;
use std::time::Duration;

use prost::Message;
use selfsame_core::merkle::{BucketId, Depth};
use selfsame_core::{
    Cause, EntryDigest, Epoch, Key, KeyPrefix, RepairId, RowDigest, RunId, ShardId, ShardVerdict, Slot,
    UnknownReason, WallMicros,
};
use selfsame_wire::channel::ChannelOptions;
use selfsame_wire::message::*;
use selfsame_wire::v1;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{Deadlines, GrpcPeer, ServeError, Server, Services};
use crate::peer::{Peer, PeerError};
use fake::{FakePeer, Liar, root, row};

/// A server on a free port, and the way to end it.
struct Running {
    address: String,
    shutdown: CancellationToken,
    task: JoinHandle<Result<(), ServeError>>,
}

impl Running {
    async fn start(services: Services) -> Running {
        let server = Server::bind("127.0.0.1:0", false).await.unwrap();
        let (address, shutdown) = (server.address().to_string(), CancellationToken::new());
        let task = tokio::spawn(server.serve(services, shutdown.clone()));
        Running { address, shutdown, task }
    }

    async fn of(fake: FakePeer) -> (Running, Arc<FakePeer>) {
        let fake = Arc::new(fake);
        (Running::start(Services::of_peer(fake.clone())).await, fake)
    }

    fn client(&self) -> GrpcPeer {
        dial(&self.address)
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap().unwrap();
    }
}

fn dial(address: &str) -> GrpcPeer {
    GrpcPeer::new("b".parse().unwrap(), address, &ChannelOptions::default()).unwrap()
}

fn epoch() -> Epoch {
    Epoch { counter: 3, agent: "a".parse().unwrap() }
}

fn claim() -> Claim {
    Claim {
        collection: "products".parse().unwrap(),
        shard: ShardId(2),
        epoch: epoch(),
        run: RunId::from_bytes([7; 16]),
    }
}

fn replica() -> Replica {
    Replica { claim: claim(), node: "node-b".parse().unwrap(), incarnation: 77 }
}

fn hello() -> Hello {
    let collection = CollectionHello {
        name: "products".parse().unwrap(),
        check_value: [1; 16],
        config: [2; 16],
        nodes: vec!["node-a".parse().unwrap()],
    };
    Hello {
        protocol: PROTOCOL,
        algorithm: selfsame_core::ALGORITHM.to_owned(),
        fleet: "shop".to_owned(),
        agent: "a".parse().unwrap(),
        now: WallMicros(1),
        collections: vec![collection],
    }
}

fn roots_request() -> RootsRequest {
    RootsRequest {
        collection: "products".parse().unwrap(),
        run: claim().run,
        epochs: (0..3).map(|shard| (ShardId(shard), epoch())).collect(),
    }
}

fn ballot_request() -> BallotRequest {
    let RootsRequest { collection, run, epochs } = roots_request();
    BallotRequest { step: BallotStep::Claim, collection, run, slot: Slot::Scheduled(8), epochs }
}

fn complete_request() -> CompleteRequest {
    let verdicts = [
        ShardVerdict::Diverged,
        ShardVerdict::InSync { as_of: WallMicros(3) },
        ShardVerdict::Unknown(UnknownReason::Held),
    ];
    let RootsRequest { collection, run, epochs } = roots_request();
    let shards = epochs.into_iter().zip(verdicts).map(|((shard, epoch), verdict)| (shard, epoch, verdict));
    CompleteRequest {
        collection,
        run,
        slot: Slot::Scheduled(8),
        at: WallMicros(4),
        shards: shards.collect(),
        equal: Vec::new(),
        horizons: vec![None, Some(WallMicros(5)), None],
        judged: Vec::new(),
    }
}

fn start_request() -> StartRequest {
    let collection = "products".parse().unwrap();
    StartRequest { collection, slot: Slot::Scheduled(8), shard: Some(ShardId(0)), scan: true, dry_run: false }
}

fn scan_request() -> ScanRequest {
    ScanRequest { collection: "products".parse().unwrap(), since: WallMicros(-4) }
}

fn descend_request() -> DescendRequest {
    DescendRequest { replica: replica(), level: 1, parents: vec![0, 15] }
}

fn elements_request() -> ElementsRequest {
    let buckets = vec![BucketId(3), BucketId(9)];
    ElementsRequest { replica: replica(), depth: Depth::new(1).unwrap(), buckets, after: Some(KeyPrefix(0)) }
}

fn expired_request() -> ExpiredRequest {
    ExpiredRequest { replica: replica(), by: WallMicros(7), keys_max: 2 }
}

fn keys_request() -> KeysRequest {
    KeysRequest { replica: replica(), prefixes: vec![KeyPrefix(5)] }
}

fn read_request() -> ReadRequest {
    let keys = vec![Key::integer(7), Key::text("7")];
    ReadRequest { claim: claim(), node: "node-b".parse().unwrap(), keys, conclude: true }
}

fn fetch_request() -> FetchRequest {
    let rows = vec![(Key::integer(7), RowDigest([1; 32])), (Key::integer(8), RowDigest([2; 32]))];
    FetchRequest { claim: claim(), node: "node-b".parse().unwrap(), rows }
}

fn apply_request() -> ApplyRequest {
    let item = |id| ApplyItem {
        repair: RepairId::from_bytes([id; 16]),
        key: Key::integer(id.into()),
        expected: None,
        row: Some(row()),
        cause: Cause::MissedInsert,
    };
    let authority = Authority::Approved(RunId::from_bytes([8; 16]));
    ApplyRequest {
        claim: claim(),
        node: "node-b".parse().unwrap(),
        authority,
        items: (1..4).map(item).collect(),
    }
}

fn pin_request() -> PinRequest {
    let pin = Pin { before: None, after: Some(EntryDigest([5; 32])) };
    let (collection, node) = ("products".parse().unwrap(), "node-b".parse().unwrap());
    PinRequest { collection, node, pins: vec![(Key::integer(7), pin)] }
}

/// Every call once, answered or not, with what failed.
async fn errors(peer: &dyn Peer) -> Vec<Result<(), PeerError>> {
    vec![
        peer.hello(hello()).await.map(drop),
        peer.ballot(ballot_request()).await.map(drop),
        peer.complete(complete_request()).await,
        peer.start(start_request()).await.map(drop),
        peer.scan(scan_request()).await.map(drop),
        peer.roots(roots_request()).await.map(drop),
        peer.descend(descend_request()).await.map(drop),
        peer.elements(elements_request()).await.map(drop),
        peer.keys(keys_request()).await.map(drop),
        peer.expired(expired_request()).await.map(drop),
        peer.read(read_request()).await.map(drop),
        peer.fetch(fetch_request()).await.map(drop),
        peer.apply(apply_request()).await.map(drop),
        peer.pin(pin_request()).await,
    ]
}

#[tokio::test]
async fn every_call_arrives_as_it_was_made_and_is_answered_as_if_it_had_been_local() {
    let (server, fake) = Running::of(FakePeer::new()).await;
    let (remote, local) = (server.client(), FakePeer::new());

    assert_eq!(remote.hello(hello()).await, local.hello(hello()).await);
    assert_eq!(remote.ballot(ballot_request()).await, local.ballot(ballot_request()).await);
    assert_eq!(remote.complete(complete_request()).await, local.complete(complete_request()).await);
    assert_eq!(remote.start(start_request()).await, local.start(start_request()).await);
    assert_eq!(remote.scan(scan_request()).await, local.scan(scan_request()).await);
    assert_eq!(remote.roots(roots_request()).await, local.roots(roots_request()).await);
    assert_eq!(remote.descend(descend_request()).await, local.descend(descend_request()).await);
    assert_eq!(remote.elements(elements_request()).await, local.elements(elements_request()).await);
    assert_eq!(remote.keys(keys_request()).await, local.keys(keys_request()).await);
    assert_eq!(remote.read(read_request()).await, local.read(read_request()).await);
    assert_eq!(remote.fetch(fetch_request()).await, local.fetch(fetch_request()).await);
    assert_eq!(remote.apply(apply_request()).await, local.apply(apply_request()).await);
    assert_eq!(remote.pin(pin_request()).await, local.pin(pin_request()).await);
    assert_eq!(remote.ping().await, Ok(()));

    assert_eq!(*fake.heard.lock(), *local.heard.lock());
    assert_eq!(fake.heard.lock().len(), 13);
    server.stop().await;
}

#[tokio::test]
async fn refusals_keep_their_kind() {
    let failures = [
        PeerError::Fenced(Epoch { counter: 8, agent: "c".parse().unwrap() }),
        PeerError::Rebuilt,
        PeerError::Unknown(UnknownReason::StaleIndex),
        PeerError::Refused("brake".to_owned()),
    ];
    for failure in failures {
        let (server, _) = Running::of(FakePeer::failing(failure.clone())).await;
        for outcome in errors(&server.client()).await {
            assert_eq!(outcome, Err(failure.clone()));
        }
        server.stop().await;
    }
}

#[tokio::test]
async fn a_peer_that_cannot_answer_for_itself_is_unreachable_and_tells_no_details() {
    let broken = PeerError::Nonsense { agent: "b".parse().unwrap(), why: "secret".to_owned() };
    let (server, _) = Running::of(FakePeer::failing(broken)).await;
    let Err(PeerError::Unreachable { why, .. }) = server.client().hello(hello()).await else {
        panic!("answered");
    };
    assert!(!why.contains("secret"), "{why}");
    server.stop().await;
}

#[tokio::test]
async fn answers_of_another_length_than_asked_for_are_nonsense() {
    let (server, _) = Running::of(FakePeer { forgetful: true, ..FakePeer::new() }).await;
    let peer = server.client();
    let outcomes = [
        ("2 ballots where 3", peer.ballot(ballot_request()).await.map(drop)),
        ("shards that were not asked for", peer.start(start_request()).await.map(drop)),
        ("2 roots where 3", peer.roots(roots_request()).await.map(drop)),
        ("31 hashes where 32", peer.descend(descend_request()).await.map(drop)),
        ("elements that were not asked for", peer.elements(elements_request()).await.map(drop)),
        ("more keys than were asked for", peer.expired(expired_request()).await.map(drop)),
        ("1 observations where 2", peer.read(read_request()).await.map(drop)),
        ("1 rows where 2", peer.fetch(fetch_request()).await.map(drop)),
        ("2 outcomes where 3", peer.apply(apply_request()).await.map(drop)),
    ];
    for (expected, outcome) in outcomes {
        match outcome {
            Err(PeerError::Nonsense { why, .. }) => assert!(why.contains(expected), "{why}"),
            other => panic!("{expected}: {other:?}"),
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn elements_before_the_cut_once_more_are_nonsense() {
    let (server, _) = Running::of(FakePeer::new()).await;
    let request = elements_request();
    let last = server.client().elements(request.clone()).await.unwrap().elements[0].prefix;
    let again = server.client().elements(ElementsRequest { after: Some(last), ..request }).await;
    assert!(matches!(again, Err(PeerError::Nonsense { .. })), "{again:?}");
    server.stop().await;
}

#[tokio::test]
async fn what_no_agent_answers_is_nonsense() {
    let services = Services::default().with(v1::peer_server::PeerServer::new(Liar));
    let server = Running::start(services).await;
    for (call, outcome) in errors(&server.client()).await.into_iter().enumerate() {
        assert!(matches!(outcome, Err(PeerError::Nonsense { .. })), "call {call}: {outcome:?}");
    }
    assert!(matches!(server.client().ping().await, Err(PeerError::Nonsense { .. })));
    server.stop().await;
}

#[tokio::test]
async fn another_agent_at_the_address_is_nonsense_and_never_asked() {
    let (server, fake) = Running::of(FakePeer { name: "c".parse().unwrap(), ..FakePeer::new() }).await;
    for outcome in errors(&server.client()).await {
        let Err(PeerError::Nonsense { agent, why }) = outcome else { panic!("{outcome:?}") };
        assert_eq!((agent.as_str(), why), ("b", format!("at {} answers the agent `c`", server.address)));
    }
    assert!(fake.heard.lock().is_empty());
    server.stop().await;
}

#[tokio::test]
async fn requests_beyond_the_limits_are_not_heard() {
    let (server, fake) = Running::of(FakePeer::new()).await;
    let request = ReadRequest { keys: vec![Key::integer(1); 10_001], ..read_request() };
    let outcome = server.client().read(request).await;
    let Err(PeerError::Nonsense { why, .. }) = outcome else { panic!("{outcome:?}") };
    assert!(why.contains("keys: has 10001, at most 10000"), "{why}");
    let huge = ReadRequest { keys: vec![Key::text("x".repeat(33 << 20))], ..read_request() };
    assert_eq!(server.client().read(huge).await, Err(PeerError::Unknown(UnknownReason::TooLarge)));
    assert!(fake.heard.lock().is_empty());
    server.stop().await;
}

#[tokio::test]
async fn an_answer_beyond_the_limit_is_too_large_and_no_fault_of_the_peer() {
    let padded = |mebibytes: usize| FakePeer { padding_bytes: mebibytes << 20, ..FakePeer::new() };
    let too_large = PeerError::Unknown(UnknownReason::TooLarge);
    let (server, _) = Running::of(padded(33)).await;
    assert_eq!(server.client().keys(keys_request()).await, Err(too_large.clone()));
    server.stop().await;
    let (server, _) = Running::of(padded(24)).await;
    assert!(server.client().keys(keys_request()).await.is_ok());
    assert_eq!(server.client().fetch(fetch_request()).await, Err(too_large));
    server.stop().await;
    let (server, _) = Running::of(padded(23)).await;
    assert!(server.client().fetch(fetch_request()).await.is_ok());
    server.stop().await;
}

#[tokio::test]
async fn a_peer_that_is_not_there_is_unreachable_by_its_address() {
    let vacant = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    for outcome in errors(&dial(&vacant)).await {
        let Err(PeerError::Unreachable { agent, why }) = outcome else { panic!("{outcome:?}") };
        assert_eq!(agent.as_str(), "b");
        assert!(why.starts_with(&vacant) && why.contains("refused"), "{why}");
    }
}

#[tokio::test]
async fn a_peer_that_accepts_and_says_nothing_is_unreachable_at_the_deadline() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let short = Duration::from_millis(20);
    let peer = dial(&address).with_deadlines(Deadlines { cheap: short, heavy: short });
    for outcome in errors(&peer).await {
        let Err(PeerError::Unreachable { why, .. }) = outcome else { panic!("{outcome:?}") };
        assert!(why.starts_with(&address), "{why}");
    }
}

#[tokio::test]
async fn a_peer_that_comes_back_at_its_address_is_reached_again() {
    let (server, _) = Running::of(FakePeer::new()).await;
    let (address, peer) = (server.address.clone(), server.client());
    assert_eq!(peer.ping().await, Ok(()));
    server.stop().await;
    assert!(matches!(peer.ping().await, Err(PeerError::Unreachable { .. })));
    let server = Server::bind(&address, false).await.unwrap();
    let shutdown = CancellationToken::new();
    let task = tokio::spawn(server.serve(Services::of_peer(Arc::new(FakePeer::new())), shutdown.clone()));
    assert_eq!(peer.ping().await, Ok(()));
    shutdown.cancel();
    task.await.unwrap().unwrap();
}

#[tokio::test]
async fn encoded_bytes_are_counted_both_ways() {
    let (server, _) = Running::of(FakePeer::new()).await;
    let peer = server.client();
    assert_eq!(peer.wire_bytes(), 0);
    let answer = peer.roots(roots_request()).await.unwrap();
    assert_eq!(answer[0].roots[0], Ok(root(1)));
    let request_bytes = v1::RootsRequest::from(roots_request()).encoded_len();
    let answer_bytes = v1::RootsReply::from(answer).encoded_len();
    assert_eq!(peer.wire_bytes(), (request_bytes + answer_bytes) as u64);
    server.stop().await;
}

#[tokio::test]
async fn the_port_tells_its_health_and_describes_what_it_serves() {
    use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
    use tonic_reflection::pb::v1::ServerReflectionRequest;
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

    let (server, _) = Running::of(FakePeer::new()).await;
    let channel = selfsame_wire::channel::connect(&server.address, &ChannelOptions::default()).unwrap();
    let question = HealthCheckRequest { service: "selfsame.v1.Peer".to_owned() };
    let health = HealthClient::new(channel.clone()).check(question).await.unwrap().into_inner();
    assert_eq!(health.status, tonic_health::pb::health_check_response::ServingStatus::Serving as i32);

    let list = MessageRequest::ListServices(String::new());
    let question = ServerReflectionRequest { host: String::new(), message_request: Some(list) };
    let mut answers = ServerReflectionClient::new(channel)
        .server_reflection_info(tokio_stream::once(question))
        .await
        .unwrap()
        .into_inner();
    let answer = answers.message().await.unwrap().unwrap().message_response.unwrap();
    let MessageResponse::ListServicesResponse(list) = answer else { panic!("{answer:?}") };
    let names: Vec<_> = list.service.into_iter().map(|service| service.name).collect();
    assert_eq!(names, ["selfsame.v1.Peer", "grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection"]);
    drop(answers);
    server.stop().await;
}

#[tokio::test]
async fn nothing_listens_beyond_loopback_in_plain_text_unless_told_to() {
    let refusal = Server::bind("0.0.0.0:0", false).await.unwrap_err();
    assert!(matches!(refusal, ServeError::Address(_)), "{refusal}");
    assert!(Server::bind("0.0.0.0:0", true).await.is_ok());
    let taken = Server::bind("127.0.0.1:0", false).await.unwrap();
    let refusal = Server::bind(&taken.address().to_string(), false).await.unwrap_err();
    assert!(matches!(refusal, ServeError::Bind { .. }), "{refusal}");
}
