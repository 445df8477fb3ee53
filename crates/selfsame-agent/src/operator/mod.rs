//! The operator API: what people and tools ask of a fleet. Any agent answers for all: it asks the others, and
//! names those that were silent. What is said here never carries a store's own words.

mod causes;
mod drops;
mod explain;
mod forget;
mod history;
mod holding;
mod keys;
mod lookup;
mod notices;
mod plan_parts;
mod plans;
mod purging;
mod records;
mod resync;
mod run;
mod siblings;
mod status;
mod undo;
mod withheld;

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::Stream;
use selfsame_core::{AgentName, CollectionName, NodeName, WallMicros};
use selfsame_journal::{Journal, JournalError};
use selfsame_wire::v1;
use selfsame_wire::v1::operator_server::Operator;
use tonic::{Request, Response, Status};

use crate::blocking::blocking;
use crate::clock::Clock;
use crate::local::LocalReplica;
use crate::membership::Membership;
use crate::owner::Owner;
use crate::peer::Peer;
use crate::settings::{CollectionSettings, FleetSettings};
use crate::supervisor::Supervisor;

pub use explain::described;
pub use siblings::{Sibling, reason};

/// What the operator API of an agent stands on.
pub struct OperatorParts {
    /// The fleet.
    pub fleet: Arc<FleetSettings>,
    /// This agent.
    pub name: AgentName,
    /// Its journal.
    pub journal: Arc<Journal>,
    /// Its replicas.
    pub replicas: Vec<Arc<LocalReplica>>,
    /// When it started.
    pub started: WallMicros,
    /// All agents as peers, this one among them.
    pub peers: BTreeMap<AgentName, Arc<dyn Peer>>,
    /// The other agents' operator APIs.
    pub siblings: Vec<Sibling>,
    /// Who is live.
    pub membership: Arc<Membership>,
    /// Runs this agent's share of runs.
    pub owner: Arc<Owner>,
    /// Wall time.
    pub clock: Arc<dyn Clock>,
    /// Runs what outlives a call.
    pub tasks: Supervisor,
}

/// Answers operators. Cheap to clone.
#[derive(Clone)]
pub struct OperatorService {
    parts: Arc<OperatorParts>,
    resyncs: resync::UnderWay,
}

impl OperatorService {
    /// The service of an agent.
    pub fn new(parts: OperatorParts) -> OperatorService {
        OperatorService { parts: Arc::new(parts), resyncs: resync::UnderWay::default() }
    }

    /// The collections that an empty or a given name means.
    fn collections(&self, name: &str) -> Result<Vec<CollectionSettings>, Status> {
        if name.is_empty() {
            return Ok(self.parts.fleet.collections.clone());
        }
        let parsed =
            name.parse::<CollectionName>().map_err(|error| Status::invalid_argument(error.to_string()))?;
        let found = self.parts.fleet.collection(&parsed).cloned();
        found.map(|collection| vec![collection]).ok_or_else(|| {
            let names = self.parts.fleet.collections.iter().map(|collection| collection.name.as_str());
            let names: Vec<&str> = names.collect();
            Status::not_found(format!("no collection `{name}`; hint: there is {}", names.join(", ")))
        })
    }

    /// The collection of that name.
    fn collection_named(&self, name: &str) -> Result<CollectionSettings, Status> {
        if name.is_empty() {
            return Err(Status::invalid_argument("no collection is named"));
        }
        self.collections(name)?.pop().ok_or_else(|| Status::not_found("no collection"))
    }

    /// The node of that name, if one is named.
    fn node_named(&self, name: &str) -> Result<Option<NodeName>, Status> {
        if name.is_empty() {
            return Ok(None);
        }
        let nodes: Vec<&NodeName> = self.parts.fleet.agents.iter().flat_map(|agent| &agent.nodes).collect();
        match nodes.iter().find(|node| node.as_str() == name) {
            Some(node) => Ok(Some((*node).clone())),
            None => {
                let names: Vec<&str> = nodes.iter().map(|node| node.as_str()).collect();
                Err(Status::not_found(format!("no node `{name}`; hint: there is {}", names.join(", "))))
            }
        }
    }

    async fn journal<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Journal) -> Result<T, JournalError> + Send + 'static,
    ) -> Result<T, Status> {
        let journal = self.parts.journal.clone();
        blocking(move || work(&journal)).await.map_err(|error| {
            tracing::error!(%error, "the journal failed");
            Status::internal("the agent's journal failed; hint: see its log")
        })
    }
}

type EventStream = Pin<Box<dyn Stream<Item = Result<v1::RunEvent, Status>> + Send>>;

#[tonic::async_trait]
impl Operator for OperatorService {
    type RunStream = EventStream;

    async fn status(&self, request: Request<v1::StatusRequest>) -> Result<Response<v1::StatusReply>, Status> {
        let forwarded = self.is_forwarded(&request)?;
        self.tell_status(request.into_inner(), forwarded).await.map(Response::new)
    }

    async fn explain(
        &self,
        request: Request<v1::ExplainRequest>,
    ) -> Result<Response<v1::ExplainReply>, Status> {
        let forwarded = self.is_forwarded(&request)?;
        self.explain_key(request.into_inner(), forwarded).await.map(Response::new)
    }

    async fn run(&self, request: Request<v1::RunRequest>) -> Result<Response<EventStream>, Status> {
        self.start_run(request.into_inner()).map(Response::new)
    }

    async fn runs(&self, request: Request<v1::RunsRequest>) -> Result<Response<v1::RunsReply>, Status> {
        let forwarded = self.is_forwarded(&request)?;
        self.list_runs(request.into_inner(), forwarded).await.map(Response::new)
    }

    async fn show(&self, request: Request<v1::ShowRequest>) -> Result<Response<v1::ShowReply>, Status> {
        let forwarded = self.is_forwarded(&request)?;
        self.show_run(request.into_inner(), forwarded).await.map(Response::new)
    }

    async fn plans(&self, request: Request<v1::PlansRequest>) -> Result<Response<v1::PlansReply>, Status> {
        let forwarded = self.is_forwarded(&request)?;
        self.list_plans(request.into_inner(), forwarded).await.map(Response::new)
    }

    async fn approve(
        &self,
        request: Request<v1::ApproveRequest>,
    ) -> Result<Response<v1::ApproveReply>, Status> {
        let forwarded = self.is_forwarded(&request)?;
        self.approve_plan(request.into_inner(), forwarded).await.map(Response::new)
    }

    async fn drop(&self, request: Request<v1::DropRequest>) -> Result<Response<v1::DropReply>, Status> {
        let forwarded = self.is_forwarded(&request)?;
        self.drop_plan(request.into_inner(), forwarded).await.map(Response::new)
    }

    async fn undo(&self, request: Request<v1::UndoRequest>) -> Result<Response<v1::UndoReply>, Status> {
        let forwarded = self.is_forwarded(&request)?;
        self.undo_run(request.into_inner(), forwarded).await.map(Response::new)
    }

    async fn forget(&self, request: Request<v1::ForgetRequest>) -> Result<Response<v1::ForgetReply>, Status> {
        let forwarded = self.is_forwarded(&request)?;
        self.forget_key(request.into_inner(), forwarded).await.map(Response::new)
    }

    async fn notice(&self, request: Request<v1::NoticeRequest>) -> Result<Response<v1::NoticeReply>, Status> {
        let forwarded = self.is_forwarded(&request)?;
        self.note_deletions(request.into_inner(), forwarded).await.map(Response::new)
    }

    async fn pause(&self, request: Request<v1::PauseRequest>) -> Result<Response<v1::PauseReply>, Status> {
        let forwarded = self.is_forwarded(&request)?;
        self.pause_writes(request.into_inner(), forwarded).await.map(Response::new)
    }

    async fn resume(&self, request: Request<v1::ResumeRequest>) -> Result<Response<v1::ResumeReply>, Status> {
        let forwarded = self.is_forwarded(&request)?;
        self.resume_writes(request.into_inner(), forwarded).await.map(Response::new)
    }

    async fn resync(&self, request: Request<v1::ResyncRequest>) -> Result<Response<v1::ResyncReply>, Status> {
        let forwarded = self.is_forwarded(&request)?;
        self.resync_node(request.into_inner(), forwarded).await.map(Response::new)
    }

    async fn safe_to_purge(
        &self,
        request: Request<v1::SafeToPurgeRequest>,
    ) -> Result<Response<v1::SafeToPurgeReply>, Status> {
        let forwarded = self.is_forwarded(&request)?;
        self.tell_safe_to_purge(request.into_inner(), forwarded).await.map(Response::new)
    }
}
