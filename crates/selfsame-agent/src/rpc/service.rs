//! Any peer as a gRPC service: decode, check, ask, encode.

use std::sync::Arc;

use prost::Message;
use selfsame_core::{Row, UnknownReason};
use selfsame_wire::channel::MEANT_AGENT;
use selfsame_wire::limits::{FETCH_BYTES_MAX, MESSAGE_BYTES_MAX};
use selfsame_wire::message::FetchReply;
use selfsame_wire::{Failure, Malformed, v1};
use tonic::{Request, Response, Status};

use crate::peer::{Peer, PeerError};

/// Serves the peer behind it.
pub(super) struct PeerService {
    peer: Arc<dyn Peer>,
}

impl PeerService {
    pub(super) fn new(peer: Arc<dyn Peer>) -> PeerService {
        PeerService { peer }
    }

    /// Refuses what is meant for another agent. Who names none (a person with a command line) means this one.
    fn is_meant<Q>(&self, request: &Request<Q>) -> Result<(), Status> {
        let name = self.peer.name();
        match request.metadata().get(MEANT_AGENT) {
            Some(meant) if meant.as_bytes() != name.as_str().as_bytes() => {
                Err(Failure::WrongAgent(name.clone()).into())
            }
            _ => Ok(()),
        }
    }

    /// The request, checked.
    fn accept<Q, P: TryFrom<Q, Error = Malformed>>(&self, request: Request<Q>) -> Result<P, Status> {
        self.is_meant(&request)?;
        Ok(P::try_from(request.into_inner()).map_err(Failure::Malformed)?)
    }
}

fn reply<R, A: Message + From<R>>(answer: Result<R, PeerError>) -> Result<Response<A>, Status> {
    let answer = A::from(answer.map_err(status)?);
    if answer.encoded_len() > MESSAGE_BYTES_MAX {
        return Err(Failure::Unknown(UnknownReason::TooLarge).into());
    }
    Ok(Response::new(answer))
}

fn status(error: PeerError) -> Status {
    match error {
        PeerError::Fenced(epoch) => Failure::Fenced(epoch).into(),
        PeerError::Rebuilt => Failure::Rebuilt.into(),
        PeerError::Unknown(reason) => Failure::Unknown(reason).into(),
        PeerError::Refused(why) => Failure::Refused(why).into(),
        PeerError::Unreachable { .. } | PeerError::Nonsense { .. } => {
            tracing::warn!(error = %error, "a peer that is served cannot answer itself");
            Status::unavailable("the agent cannot answer for itself")
        }
    }
}

#[tonic::async_trait]
impl v1::peer_server::Peer for PeerService {
    async fn hello(&self, request: Request<v1::HelloMessage>) -> Result<Response<v1::HelloMessage>, Status> {
        reply(self.peer.hello(self.accept(request)?).await)
    }

    async fn ping(&self, request: Request<v1::PingRequest>) -> Result<Response<v1::PingReply>, Status> {
        self.is_meant(&request)?;
        Ok(Response::new(v1::PingReply { agent: self.peer.name().to_string() }))
    }

    async fn ballot(&self, request: Request<v1::BallotRequest>) -> Result<Response<v1::BallotReply>, Status> {
        reply(self.peer.ballot(self.accept(request)?).await)
    }

    async fn complete(
        &self,
        request: Request<v1::CompleteRequest>,
    ) -> Result<Response<v1::CompleteReply>, Status> {
        reply(self.peer.complete(self.accept(request)?).await)
    }

    async fn start(&self, request: Request<v1::StartRequest>) -> Result<Response<v1::StartReply>, Status> {
        reply(self.peer.start(self.accept(request)?).await)
    }

    async fn scan(&self, request: Request<v1::ScanRequest>) -> Result<Response<v1::ScanReply>, Status> {
        reply(self.peer.scan(self.accept(request)?).await)
    }

    async fn roots(&self, request: Request<v1::RootsRequest>) -> Result<Response<v1::RootsReply>, Status> {
        reply(self.peer.roots(self.accept(request)?).await)
    }

    async fn descend(
        &self,
        request: Request<v1::DescendRequest>,
    ) -> Result<Response<v1::DescendReply>, Status> {
        reply(self.peer.descend(self.accept(request)?).await)
    }

    async fn elements(
        &self,
        request: Request<v1::ElementsRequest>,
    ) -> Result<Response<v1::ElementsReply>, Status> {
        reply(self.peer.elements(self.accept(request)?).await)
    }

    async fn keys(&self, request: Request<v1::KeysRequest>) -> Result<Response<v1::KeysReply>, Status> {
        reply(self.peer.keys(self.accept(request)?).await)
    }

    async fn expired(&self, request: Request<v1::ExpiredRequest>) -> Result<Response<v1::KeysReply>, Status> {
        reply(self.peer.expired(self.accept(request)?).await)
    }

    async fn ledger(&self, request: Request<v1::LedgerRequest>) -> Result<Response<v1::LedgerReply>, Status> {
        reply(self.peer.ledger(self.accept(request)?).await)
    }

    async fn read(&self, request: Request<v1::ReadRequest>) -> Result<Response<v1::ReadReply>, Status> {
        reply(self.peer.read(self.accept(request)?).await)
    }

    async fn fetch(&self, request: Request<v1::FetchRequest>) -> Result<Response<v1::FetchReply>, Status> {
        let rows = self.peer.fetch(self.accept(request)?).await;
        let value_bytes = |rows: &FetchReply| rows.iter().flatten().map(Row::value_bytes).sum::<usize>();
        if rows.as_ref().is_ok_and(|rows| value_bytes(rows) > FETCH_BYTES_MAX) {
            return Err(Failure::Unknown(UnknownReason::TooLarge).into());
        }
        reply(rows)
    }

    async fn apply(&self, request: Request<v1::ApplyRequest>) -> Result<Response<v1::ApplyReply>, Status> {
        reply(self.peer.apply(self.accept(request)?).await)
    }

    async fn pin(&self, request: Request<v1::PinRequest>) -> Result<Response<v1::PinReply>, Status> {
        reply(self.peer.pin(self.accept(request)?).await)
    }
}
