//! Another agent, over gRPC.

use std::error::Error;
use std::fmt::Display;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use prost::Message;
use selfsame_core::merkle::{FANOUT, NodeHash};
use selfsame_core::{AgentName, Key, NodeName, UnknownReason};
use selfsame_wire::channel::{self, AddressError, ChannelOptions, MEANT_AGENT};
use selfsame_wire::limits::MESSAGE_BYTES_MAX;
use selfsame_wire::message::{
    ApplyOutcome, ApplyRequest, Ballot, BallotRequest, CompleteRequest, DescendRequest, ElementsReply,
    ElementsRequest, ExpiredRequest, FetchReply, FetchRequest, Hello, KeysRequest, LedgerReply,
    LedgerRequest, NodeRoots, PinRequest, ReadReply, ReadRequest, RootsRequest, ScanRequest, ScanState,
    Share, StartRequest,
};
use selfsame_wire::v1::{self, peer_client::PeerClient};
use selfsame_wire::{Failure, Malformed};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status};

use crate::peer::{Peer, PeerError};

/// How long a call may take, connecting included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadlines {
    /// Calls that are answered from memory, the index or the journal.
    pub cheap: Duration,
    /// Calls that go to the store, or carry much: elements, reads, documents, repairs.
    pub heavy: Duration,
}

impl Default for Deadlines {
    /// 5 s, within which a live agent answers; and 60 s, a guess at what a throttled store needs for 10 000
    /// keys.
    fn default() -> Self {
        Deadlines { cheap: Duration::from_secs(5), heavy: Duration::from_secs(60) }
    }
}

/// An agent at an address. It connects at the first call, and again whenever the connection was lost.
#[derive(Debug)]
pub struct GrpcPeer {
    name: AgentName,
    address: String,
    client: PeerClient<Channel>,
    meant: MetadataValue<Ascii>,
    deadlines: Deadlines,
    wire_bytes: AtomicU64,
}

impl GrpcPeer {
    /// The agent of that name at `HOST:PORT`. Nothing is dialled yet.
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime, in which the channel lives.
    pub fn new(name: AgentName, address: &str, options: &ChannelOptions) -> Result<GrpcPeer, AddressError> {
        let channel = channel::connect(address, options)?;
        Ok(GrpcPeer {
            meant: name.as_str().parse().expect("names are visible ASCII"),
            name,
            address: address.to_owned(),
            client: channel::peer_client(channel),
            deadlines: Deadlines::default(),
            wire_bytes: AtomicU64::new(0),
        })
    }

    /// With other deadlines than the default.
    pub fn with_deadlines(self, deadlines: Deadlines) -> GrpcPeer {
        GrpcPeer { deadlines, ..self }
    }

    /// `HOST:PORT`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Asks whether the agent is there, and is the one that is meant.
    pub async fn ping(&self) -> Result<(), PeerError> {
        let reply: v1::PingReply = self
            .exchange(self.deadlines.cheap, v1::PingRequest {}, async |mut peer, ask| peer.ping(ask).await)
            .await?;
        self.is_meant(&reply.agent)
    }

    fn is_meant(&self, name: &str) -> Result<(), PeerError> {
        if name == self.name.as_str() {
            return Ok(());
        }
        Err(self.nonsense(format!("at {} answers the agent `{}`", self.address, name.escape_debug())))
    }

    /// Sends a message and checks the answer.
    async fn call<Q, A, P>(
        &self,
        deadline: Duration,
        request: impl Into<Q>,
        send: impl AsyncFnOnce(PeerClient<Channel>, Request<Q>) -> Result<Response<A>, Status>,
    ) -> Result<P, PeerError>
    where
        Q: Message,
        A: Message,
        P: TryFrom<A, Error = Malformed>,
    {
        let answer = self.exchange(deadline, request.into(), send).await?;
        P::try_from(answer).map_err(|malformed| self.nonsense(malformed))
    }

    async fn exchange<Q: Message, A: Message>(
        &self,
        deadline: Duration,
        message: Q,
        send: impl AsyncFnOnce(PeerClient<Channel>, Request<Q>) -> Result<Response<A>, Status>,
    ) -> Result<A, PeerError> {
        let bytes = message.encoded_len();
        if bytes > MESSAGE_BYTES_MAX {
            return Err(PeerError::Unknown(UnknownReason::TooLarge));
        }
        let mut request = Request::new(message);
        // The other side gives up too.
        request.set_timeout(deadline);
        request.metadata_mut().insert(MEANT_AGENT, self.meant.clone());
        self.count(bytes);
        // The channel's own timeout begins with a connection; this one covers the dialling.
        match tokio::time::timeout(deadline, send(self.client.clone(), request)).await {
            Ok(Ok(response)) => {
                let answer = response.into_inner();
                self.count(answer.encoded_len());
                Ok(answer)
            }
            Ok(Err(status)) => {
                self.count(status.details().len());
                Err(self.failed(&status))
            }
            Err(_) => Err(self.unreachable(format!("no answer within {deadline:?}"))),
        }
    }

    fn count(&self, bytes: usize) {
        self.wire_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    fn unreachable(&self, why: impl Display) -> PeerError {
        PeerError::Unreachable { agent: self.name.clone(), why: format!("{}: {why}", self.address) }
    }

    fn nonsense(&self, why: impl Display) -> PeerError {
        PeerError::Nonsense { agent: self.name.clone(), why: why.to_string() }
    }

    /// One answer for each thing asked for.
    fn counted<T>(&self, what: &str, answers: Vec<T>, count: usize) -> Result<Vec<T>, PeerError> {
        if answers.len() != count {
            return Err(self.nonsense(format!("{} {what} where {count} were asked for", answers.len())));
        }
        Ok(answers)
    }

    fn failed(&self, status: &Status) -> PeerError {
        match Failure::of(status) {
            Some(Ok(Failure::Fenced(epoch))) => PeerError::Fenced(epoch),
            Some(Ok(Failure::Rebuilt)) => PeerError::Rebuilt,
            Some(Ok(Failure::Unknown(reason))) => PeerError::Unknown(reason),
            Some(Ok(Failure::Refused(why))) => PeerError::Refused(why),
            Some(Ok(Failure::WrongAgent(agent))) => {
                self.nonsense(format!("at {} answers the agent `{agent}`", self.address))
            }
            Some(Ok(Failure::Malformed(malformed))) => {
                self.nonsense(format!("it took our request for a {malformed}"))
            }
            Some(Err(malformed)) => self.nonsense(malformed),
            None => self.bare(status),
        }
    }

    /// A status without details of ours: from the transport, or from somebody who is no agent.
    fn bare(&self, status: &Status) -> PeerError {
        match status.code() {
            Code::Unauthenticated | Code::PermissionDenied => PeerError::Refused(status.message().to_owned()),
            // The transport's own errors have a source; an answer that cannot be decoded has none.
            Code::Internal if status.source().is_some() => self.unreachable(told(status)),
            Code::Internal
            | Code::Unimplemented
            | Code::InvalidArgument
            | Code::FailedPrecondition
            | Code::NotFound
            | Code::AlreadyExists
            | Code::OutOfRange
            | Code::DataLoss => self.nonsense(told(status)),
            Code::Ok
            | Code::Cancelled
            | Code::Unknown
            | Code::DeadlineExceeded
            | Code::ResourceExhausted
            | Code::Aborted
            | Code::Unavailable => self.unreachable(told(status)),
        }
    }
}

/// What went wrong, down to the operating system's words.
fn told(status: &Status) -> String {
    let mut text = match status.message() {
        "" => status.code().description().to_owned(),
        message => message.to_owned(),
    };
    let mut source = status.source();
    while let Some(error) = source {
        let cause = error.to_string();
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
        source = error.source();
    }
    text
}

#[async_trait]
impl Peer for GrpcPeer {
    fn name(&self) -> &AgentName {
        &self.name
    }

    async fn hello(&self, hello: Hello) -> Result<Hello, PeerError> {
        let send = async |mut peer: PeerClient<_>, ask| peer.hello(ask).await;
        let answer: Hello = self.call::<v1::HelloMessage, _, _>(self.deadlines.cheap, hello, send).await?;
        self.is_meant(answer.agent.as_str())?;
        Ok(answer)
    }

    async fn ballot(&self, request: BallotRequest) -> Result<Vec<Ballot>, PeerError> {
        let count = request.epochs.len();
        let send = async |mut peer: PeerClient<_>, ask| peer.ballot(ask).await;
        let ballots = self.call::<v1::BallotRequest, _, _>(self.deadlines.cheap, request, send).await?;
        self.counted("ballots", ballots, count)
    }

    async fn complete(&self, request: CompleteRequest) -> Result<(), PeerError> {
        let send = async |mut peer: PeerClient<_>, ask| peer.complete(ask).await;
        let request = v1::CompleteRequest::from(request);
        let v1::CompleteReply {} = self.exchange(self.deadlines.cheap, request, send).await?;
        Ok(())
    }

    async fn start(&self, request: StartRequest) -> Result<Share, PeerError> {
        let only = request.shard;
        let send = async |mut peer: PeerClient<_>, ask| peer.start(ask).await;
        let share: Share = self.call::<v1::StartRequest, _, _>(self.deadlines.cheap, request, send).await?;
        if only.is_some_and(|only| share.shards.iter().any(|done| done.shard != only)) {
            return Err(self.nonsense("shards that were not asked for"));
        }
        Ok(share)
    }

    async fn scan(&self, request: ScanRequest) -> Result<Vec<(NodeName, ScanState)>, PeerError> {
        let send = async |mut peer: PeerClient<_>, ask| peer.scan(ask).await;
        self.call::<v1::ScanRequest, _, _>(self.deadlines.cheap, request, send).await
    }

    async fn roots(&self, request: RootsRequest) -> Result<Vec<NodeRoots>, PeerError> {
        let count = request.epochs.len();
        let send = async |mut peer: PeerClient<_>, ask| peer.roots(ask).await;
        let answer: Vec<NodeRoots> =
            self.call::<v1::RootsRequest, _, _>(self.deadlines.cheap, request, send).await?;
        let each = answer.into_iter();
        each.map(|node| Ok(NodeRoots { roots: self.counted("roots", node.roots, count)?, node: node.node }))
            .collect()
    }

    async fn descend(&self, request: DescendRequest) -> Result<Vec<NodeHash>, PeerError> {
        let count = request.parents.len() * FANOUT;
        let send = async |mut peer: PeerClient<_>, ask| peer.descend(ask).await;
        let hashes = self.call::<v1::DescendRequest, _, _>(self.deadlines.cheap, request, send).await?;
        self.counted("hashes", hashes, count)
    }

    async fn elements(&self, request: ElementsRequest) -> Result<ElementsReply, PeerError> {
        let (depth, buckets, after) = (request.depth, request.buckets.clone(), request.after);
        let send = async |mut peer: PeerClient<_>, ask| peer.elements(ask).await;
        let reply: ElementsReply =
            self.call::<v1::ElementsRequest, _, _>(self.deadlines.heavy, request, send).await?;
        let mut prefixes = reply.elements.iter().map(|element| element.prefix);
        let asked_for = |prefix| Some(prefix) > after && buckets.binary_search(&depth.bucket(prefix)).is_ok();
        if !prefixes.all(asked_for) {
            return Err(self.nonsense("elements that were not asked for"));
        }
        Ok(reply)
    }

    async fn keys(&self, request: KeysRequest) -> Result<Vec<Key>, PeerError> {
        let send = async |mut peer: PeerClient<_>, ask| peer.keys(ask).await;
        self.call::<v1::KeysRequest, _, _>(self.deadlines.cheap, request, send).await
    }

    async fn expired(&self, request: ExpiredRequest) -> Result<Vec<Key>, PeerError> {
        let keys_max = request.keys_max as usize;
        let send = async |mut peer: PeerClient<_>, ask| peer.expired(ask).await;
        let keys: Vec<Key> =
            self.call::<v1::ExpiredRequest, _, _>(self.deadlines.heavy, request, send).await?;
        if keys.len() > keys_max {
            return Err(self.nonsense("more keys than were asked for"));
        }
        Ok(keys)
    }

    async fn ledger(&self, request: LedgerRequest) -> Result<LedgerReply, PeerError> {
        let send = async |mut peer: PeerClient<_>, ask| peer.ledger(ask).await;
        self.call::<v1::LedgerRequest, _, _>(self.deadlines.heavy, request, send).await
    }

    async fn read(&self, request: ReadRequest) -> Result<ReadReply, PeerError> {
        let count = request.keys.len();
        let send = async |mut peer: PeerClient<_>, ask| peer.read(ask).await;
        let observations = self.call::<v1::ReadRequest, _, _>(self.deadlines.heavy, request, send).await?;
        self.counted("observations", observations, count)
    }

    async fn fetch(&self, request: FetchRequest) -> Result<FetchReply, PeerError> {
        let count = request.rows.len();
        let send = async |mut peer: PeerClient<_>, ask| peer.fetch(ask).await;
        let rows = self.call::<v1::FetchRequest, _, _>(self.deadlines.heavy, request, send).await?;
        self.counted("rows", rows, count)
    }

    async fn apply(&self, request: ApplyRequest) -> Result<Vec<ApplyOutcome>, PeerError> {
        let count = request.items.len();
        let send = async |mut peer: PeerClient<_>, ask| peer.apply(ask).await;
        let outcomes = self.call::<v1::ApplyRequest, _, _>(self.deadlines.heavy, request, send).await?;
        self.counted("outcomes", outcomes, count)
    }

    async fn pin(&self, request: PinRequest) -> Result<(), PeerError> {
        let send = async |mut peer: PeerClient<_>, ask| peer.pin(ask).await;
        let request = v1::PinRequest::from(request);
        let v1::PinReply {} = self.exchange(self.deadlines.heavy, request, send).await?;
        Ok(())
    }

    fn wire_bytes(&self) -> u64 {
        self.wire_bytes.load(Ordering::Relaxed)
    }
}
