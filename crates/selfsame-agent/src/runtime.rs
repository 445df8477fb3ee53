//! A whole agent: put together, connected, served, and drained.

mod remedy;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use selfsame_core::AgentName;
use selfsame_wire::channel::{self, AddressError, ChannelOptions};
use selfsame_wire::v1::operator_server::OperatorServer;
use tokio_util::sync::CancellationToken;

use crate::assembly::{AgentParts, Assembled, AssemblyError, Attached, assemble};
use crate::blocking::blocking;
use crate::clock::Clock;
use crate::http::{Answers, HttpServer};
use crate::membership::Membership;
use crate::metrics::{Metrics, MetricsParts, StoreCounters};
use crate::operator::{OperatorParts, OperatorService, Sibling};
use crate::owner::{Connections, Owner};
use crate::peer::Peer;
use crate::pruning;
use crate::rpc::{GrpcPeer, ServeError, Server, Services};
use crate::scheduler;
use crate::settings::{AgentSettings, FleetSettings};
use crate::supervisor::Supervisor;

/// What a running agent needs from outside.
pub struct RuntimeParts {
    /// The fleet.
    pub fleet: Arc<FleetSettings>,
    /// Which of its agents this is.
    pub name: AgentName,
    /// The stores of its replicas.
    pub stores: Vec<Attached>,
    /// What the throttles around them count, for metrics.
    pub store_counters: Vec<StoreCounters>,
    /// Wall time.
    pub clock: Arc<dyn Clock>,
    /// Something random, for the incarnations of its indexes.
    pub randomness: u64,
}

/// Why an agent does not run.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// No agent of that name.
    #[error("no agent `{0}` in this fleet; hint: `--name` takes one of: {1}")]
    NoAgent(AgentName, String),
    /// It cannot be put together.
    #[error(transparent)]
    Assembly(#[from] AssemblyError),
    /// It cannot be served.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// A peer's address is none.
    #[error("agent {0}: {1}")]
    Address(AgentName, AddressError),
}

/// An agent that listens.
pub struct Runtime {
    server: Server,
    services: Services,
    http: HttpServer,
    metrics: Arc<Metrics>,
    tasks: Supervisor,
}

impl Runtime {
    /// Puts the agent together and binds its ports. Nothing is answered before [`Runtime::serve`].
    pub async fn start(parts: RuntimeParts) -> Result<Runtime, RuntimeError> {
        let own = own_settings(&parts.fleet, &parts.name)?.clone();
        let server = Server::bind(&own.grpc, parts.fleet.insecure).await?;
        let http = HttpServer::bind(&own.http, parts.fleet.insecure).await?;
        let tasks = Supervisor::default();
        let owner = Owner::new(parts.fleet.clone(), parts.name.clone(), parts.clock.clone(), tasks.clone());
        let assembling = AgentParts {
            fleet: parts.fleet.clone(),
            name: parts.name.clone(),
            data: own.data.clone(),
            stores: parts.stores,
            clock: parts.clock.clone(),
            starter: owner.clone(),
            tasks: tasks.clone(),
            randomness: parts.randomness,
        };
        let Assembled { agent, journal, replicas } = blocking(move || assemble(assembling)).await?;
        let options = ChannelOptions { insecure: parts.fleet.insecure, ..ChannelOptions::default() };
        let peers = peers(&parts.fleet, &parts.name, agent.clone(), &options)?;
        let hello = parts.fleet.hello(&parts.name, &own.nodes);
        let membership =
            Membership::watch(parts.name.clone(), &peers, hello.clone(), parts.clock.clone(), &tasks);
        let metrics = Metrics::new(MetricsParts {
            fleet: parts.fleet.clone(),
            name: parts.name.clone(),
            replicas: replicas.clone(),
            stores: parts.store_counters,
            peers: peers.clone(),
            membership: membership.clone(),
            journal: journal.clone(),
            clock: parts.clock.clone(),
        });
        agent.connect(membership.clone());
        owner.connect(Connections {
            peers: peers.clone(),
            hello,
            journal: journal.clone(),
            membership: membership.clone(),
            metrics: metrics.clone(),
        });
        pruning::spawn(journal.clone(), &parts.fleet, parts.clock.clone(), &tasks);
        scheduler::spawn(&parts.fleet, &owner, &parts.clock, &tasks);
        let operator = OperatorService::new(OperatorParts {
            siblings: siblings(&parts.fleet, &parts.name, &options)?,
            fleet: parts.fleet,
            name: parts.name,
            journal,
            replicas,
            started: parts.clock.now(),
            peers,
            membership,
            owner,
            clock: parts.clock,
            tasks: tasks.clone(),
        });
        let services = Services::of_peer(agent).with(OperatorServer::new(operator));
        Ok(Runtime { server, services, http, metrics, tasks })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Where it answers about health and metrics.
    pub fn http_address(&self) -> SocketAddr {
        self.http.address()
    }

    /// Ends everything when cancelled: calls under way are finished, tasks end at their next await.
    pub fn supervisor(&self) -> Supervisor {
        self.tasks.clone()
    }

    /// Answers until the supervisor drains. HTTP goes on until all else has ended, so that whoever looks sees an
    /// agent that is not ready, and not one that is gone.
    pub async fn serve(self) -> Result<(), RuntimeError> {
        let (draining, ended) = (self.tasks.draining().clone(), CancellationToken::new());
        let answers = Answers { metrics: self.metrics, draining: draining.clone() };
        let serving = async {
            let served = self.server.serve(self.services, draining).await;
            self.tasks.drain().await;
            ended.cancel();
            served
        };
        let (served, ()) = tokio::join!(serving, self.http.serve(answers, ended.clone()));
        Ok(served?)
    }
}

fn own_settings<'a>(fleet: &'a FleetSettings, name: &AgentName) -> Result<&'a AgentSettings, RuntimeError> {
    fleet.agent(name).ok_or_else(|| {
        let names: Vec<&str> = fleet.agents.iter().map(|agent| agent.name.as_str()).collect();
        RuntimeError::NoAgent(name.clone(), names.join(", "))
    })
}

fn peers(
    fleet: &FleetSettings,
    own: &AgentName,
    local: Arc<dyn Peer>,
    options: &ChannelOptions,
) -> Result<BTreeMap<AgentName, Arc<dyn Peer>>, RuntimeError> {
    let peer = |agent: &AgentSettings| {
        if agent.name == *own {
            return Ok((agent.name.clone(), local.clone()));
        }
        let peer = GrpcPeer::new(agent.name.clone(), &agent.grpc, options)
            .map_err(|error| RuntimeError::Address(agent.name.clone(), error))?;
        Ok((agent.name.clone(), Arc::new(peer) as Arc<dyn Peer>))
    };
    fleet.agents.iter().map(peer).collect()
}

fn siblings(
    fleet: &FleetSettings,
    own: &AgentName,
    options: &ChannelOptions,
) -> Result<Vec<Sibling>, RuntimeError> {
    let sibling = |agent: &AgentSettings| {
        let channel = channel::connect(&agent.grpc, options)
            .map_err(|error| RuntimeError::Address(agent.name.clone(), error))?;
        Ok(Sibling {
            name: agent.name.clone(),
            address: agent.grpc.clone(),
            client: channel::operator_client(channel),
        })
    };
    fleet.agents.iter().filter(|agent| agent.name != *own).map(sibling).collect()
}
