//! A peer that says what it was told to say, and one that no border check would let through.

use async_trait::async_trait;
use parking_lot::Mutex;
use selfsame_core::merkle::{Depth, Element, FANOUT, NodeHash};
use selfsame_core::{
    AgentName, Cell, ContentDigest, Counts, Epoch, Key, KeyPrefix, NodeName, Observation, Presence, Row,
    RowDigest, ShardId, ShardVerdict, Sighting, UnknownReason, Version, WallMicros,
};
use selfsame_wire::message::*;
use selfsame_wire::v1;
use tonic::{Request, Response, Status};

use crate::peer::{Peer, PeerError};

/// Answers every question well, unless it was told to fail, or to lose the last of each list.
pub(super) struct FakePeer {
    pub(super) name: AgentName,
    pub(super) failure: Option<PeerError>,
    pub(super) forgetful: bool,
    /// Bytes by which its documents and keys are longer than they need to be.
    pub(super) padding_bytes: usize,
    /// The requests that arrived, printed.
    pub(super) heard: Mutex<Vec<String>>,
}

impl FakePeer {
    pub(super) fn new() -> FakePeer {
        FakePeer {
            name: "b".parse().unwrap(),
            failure: None,
            forgetful: false,
            padding_bytes: 0,
            heard: Mutex::default(),
        }
    }

    pub(super) fn failing(failure: PeerError) -> FakePeer {
        FakePeer { failure: Some(failure), ..FakePeer::new() }
    }

    fn hear(&self, request: impl std::fmt::Debug) -> Result<(), PeerError> {
        self.heard.lock().push(format!("{request:?}"));
        self.failure.clone().map_or(Ok(()), Err)
    }

    fn list<T>(&self, mut list: Vec<T>) -> Vec<T> {
        if self.forgetful {
            list.pop();
        }
        list
    }
}

fn node() -> NodeName {
    "node-b".parse().unwrap()
}

pub(super) fn root(shard: u8) -> Root {
    Root {
        hash: NodeHash([shard; 16]),
        count: 60_000,
        depth: Depth::new(2).unwrap(),
        as_of: WallMicros(1_790_000_000_000_000),
        incarnation: 77,
        unreadable: 0,
        memory: NodeHash([3; 16]),
        held: None,
        horizon: Some(WallMicros(5)),
        gap: None,
    }
}

pub(super) fn row() -> Row {
    Row::new(vec![("id".to_owned(), Cell::Integer(7)), ("name".to_owned(), Cell::Text("seven".to_owned()))])
}

#[async_trait]
impl Peer for FakePeer {
    fn name(&self) -> &AgentName {
        &self.name
    }

    async fn hello(&self, hello: Hello) -> Result<Hello, PeerError> {
        self.hear(&hello)?;
        Ok(Hello { agent: self.name.clone(), ..hello })
    }

    async fn ballot(&self, request: BallotRequest) -> Result<Vec<Ballot>, PeerError> {
        self.hear(&request)?;
        let higher = Epoch { counter: 9, agent: "c".parse().unwrap() };
        let granted = Ballot::Granted { first_pass_over: true };
        let kinds = [granted, Ballot::Superseded(higher), Ballot::Completed];
        Ok(self.list(kinds.into_iter().cycle().take(request.epochs.len()).collect()))
    }

    async fn complete(&self, request: CompleteRequest) -> Result<(), PeerError> {
        self.hear(request)
    }

    /// The forgetful one has done a shard that nobody asked for.
    async fn start(&self, request: StartRequest) -> Result<Share, PeerError> {
        self.hear(&request)?;
        let done = ShardShare {
            shard: request.shard.filter(|_| !self.forgetful).unwrap_or(ShardId(5)),
            verdict: ShardVerdict::Unknown(UnknownReason::Moving),
            counts: Counts { keys: 60_000, mismatches: 2, ..Counts::default() },
            planned: "first_pass".to_owned(),
        };
        let scans = vec![(node(), ScanState::Done { as_of: WallMicros(8), rows: 9 })];
        Ok(Share { running: true, scans, shards: vec![done], wire_bytes: 77 })
    }

    async fn scan(&self, request: ScanRequest) -> Result<Vec<(NodeName, ScanState)>, PeerError> {
        self.hear(&request)?;
        Ok(vec![(node(), ScanState::Running { rows: 5, total: 9 })])
    }

    async fn roots(&self, request: RootsRequest) -> Result<Vec<NodeRoots>, PeerError> {
        self.hear(&request)?;
        let count = u8::try_from(request.epochs.len()).unwrap();
        let mut roots: Vec<_> = (1..count).map(|shard| Ok(root(shard))).collect();
        roots.push(Err(UnknownReason::NoScan));
        Ok(vec![NodeRoots { node: node(), roots: self.list(roots) }])
    }

    async fn descend(&self, request: DescendRequest) -> Result<Vec<NodeHash>, PeerError> {
        self.hear(&request)?;
        Ok(self.list(vec![NodeHash([3; 16]); request.parents.len() * FANOUT]))
    }

    /// The forgetful one gives elements of other buckets.
    async fn elements(&self, request: ElementsRequest) -> Result<ElementsReply, PeerError> {
        self.hear(&request)?;
        let first =
            if self.forgetful { KeyPrefix(0) } else { request.depth.first_prefix(request.buckets[0]) };
        Ok(ElementsReply { elements: vec![Element { prefix: first, entry: 1 }], truncated: true })
    }

    async fn keys(&self, request: KeysRequest) -> Result<Vec<Key>, PeerError> {
        self.hear(&request)?;
        Ok(vec![Key::integer(7), Key::text("7".repeat(1 + self.padding_bytes))])
    }

    async fn expired(&self, request: ExpiredRequest) -> Result<Vec<Key>, PeerError> {
        self.hear(&request)?;
        Ok(vec![Key::integer(7); if self.forgetful { 3 } else { 1 }])
    }

    async fn ledger(&self, request: LedgerRequest) -> Result<LedgerReply, PeerError> {
        self.hear(&request)?;
        Ok(LedgerReply::default())
    }

    async fn read(&self, request: ReadRequest) -> Result<ReadReply, PeerError> {
        self.hear(&request)?;
        let sighting = Sighting {
            version: Version(5),
            expiry: None,
            content: ContentDigest([1; 32]),
            row: RowDigest([2; 32]),
            by_repair: true,
            bytes: 6,
        };
        let pinned = Some(Pin { before: Some(RowDigest([2; 32])), after: None });
        let seen = Seen { pinned, ..Observation::of(Presence::Live(sighting)).into() };
        Ok(self.list(vec![seen; request.keys.len()]))
    }

    async fn fetch(&self, request: FetchRequest) -> Result<FetchReply, PeerError> {
        self.hear(&request)?;
        let mut cells = row().cells().to_vec();
        cells.push(("padding".to_owned(), Cell::Bytes(vec![0; self.padding_bytes])));
        let mut rows = vec![Some(Row::new(cells)); request.rows.len() - 1];
        rows.push(None);
        Ok(self.list(rows))
    }

    async fn apply(&self, request: ApplyRequest) -> Result<Vec<ApplyOutcome>, PeerError> {
        self.hear(&request)?;
        let kinds =
            [ApplyOutcome::Applied, ApplyOutcome::Refused("constraint".to_owned()), ApplyOutcome::Changed];
        Ok(self.list(kinds.into_iter().cycle().take(request.items.len()).collect()))
    }

    async fn pin(&self, request: PinRequest) -> Result<(), PeerError> {
        self.hear(request)
    }

    fn wire_bytes(&self) -> u64 {
        0
    }
}

/// Speaks the protocol, but says things that no agent says; most calls it does not know at all.
pub(super) struct Liar;

type Answer<T> = Result<Response<T>, Status>;

#[async_trait]
impl v1::peer_server::Peer for Liar {
    async fn hello(&self, _: Request<v1::HelloMessage>) -> Answer<v1::HelloMessage> {
        Ok(Response::new(v1::HelloMessage { agent: "../b".to_owned(), ..Default::default() }))
    }

    async fn ping(&self, _: Request<v1::PingRequest>) -> Answer<v1::PingReply> {
        Ok(Response::new(v1::PingReply { agent: "c".to_owned() }))
    }

    async fn ballot(&self, _: Request<v1::BallotRequest>) -> Answer<v1::BallotReply> {
        Ok(Response::new(v1::BallotReply { ballots: vec![77], superseded_by: vec![] }))
    }

    async fn complete(&self, _: Request<v1::CompleteRequest>) -> Answer<v1::CompleteReply> {
        Err(Status::internal("stack trace"))
    }

    async fn start(&self, _: Request<v1::StartRequest>) -> Answer<v1::StartReply> {
        Err(Status::with_details(tonic::Code::Aborted, "", vec![0xff].into()))
    }

    async fn scan(&self, _: Request<v1::ScanRequest>) -> Answer<v1::ScanReply> {
        Err(Status::unimplemented(""))
    }

    async fn roots(&self, _: Request<v1::RootsRequest>) -> Answer<v1::RootsReply> {
        let node = v1::NodeRoots { node: "no such/name".to_owned(), ..Default::default() };
        Ok(Response::new(v1::RootsReply { nodes: vec![node] }))
    }

    async fn descend(&self, _: Request<v1::DescendRequest>) -> Answer<v1::DescendReply> {
        Ok(Response::new(v1::DescendReply { hashes: vec![0; 15] }))
    }

    async fn elements(&self, _: Request<v1::ElementsRequest>) -> Answer<v1::ElementsReply> {
        Ok(Response::new(v1::ElementsReply { elements: vec![], truncated: true }))
    }

    async fn keys(&self, _: Request<v1::KeysRequest>) -> Answer<v1::KeysReply> {
        Ok(Response::new(v1::KeysReply { keys: vec![v1::Key::default()] }))
    }

    async fn expired(&self, _: Request<v1::ExpiredRequest>) -> Answer<v1::KeysReply> {
        let key = v1::Key::from(&Key::integer(7));
        Ok(Response::new(v1::KeysReply { keys: vec![key; 3] }))
    }

    async fn ledger(&self, _: Request<v1::LedgerRequest>) -> Answer<v1::LedgerReply> {
        Ok(Response::new(v1::LedgerReply { memories: vec![], truncated: true }))
    }

    async fn read(&self, _: Request<v1::ReadRequest>) -> Answer<v1::ReadReply> {
        Ok(Response::new(v1::ReadReply { observations: vec![v1::Observation::default()] }))
    }

    async fn fetch(&self, _: Request<v1::FetchRequest>) -> Answer<v1::FetchReply> {
        Ok(Response::new(v1::FetchReply { rows: vec![v1::FetchedRow { row: Some(vec![9]) }] }))
    }

    async fn apply(&self, _: Request<v1::ApplyRequest>) -> Answer<v1::ApplyReply> {
        Ok(Response::new(v1::ApplyReply { outcomes: vec![0], refusals: vec![] }))
    }

    async fn pin(&self, _: Request<v1::PinRequest>) -> Answer<v1::PinReply> {
        Err(Status::unimplemented(""))
    }
}
