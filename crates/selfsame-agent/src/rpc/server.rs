//! The port itself: what listens, what is served on it, and how it ends.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use selfsame_wire::channel::{self, AddressError};
use selfsame_wire::limits::MESSAGE_BYTES_MAX;
use selfsame_wire::v1;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::codegen::{Body, Bytes, Service, StdError, http};
use tonic::server::NamedService;
use tonic::service::Routes;
use tonic::transport::server::TcpIncoming;
use tonic_health::ServingStatus;

use super::service::PeerService;
use crate::peer::Peer;
use crate::supervisor::DRAIN_MAX;

/// Calls of one connection that are answered at a time. An agent asks another for a few shards at once, and an
/// operator for less; a guess at the same order as a store's connections.
const CALLS_MAX: usize = 64;

/// Calls of one connection that are under way or wait for their turn.
const STREAMS_MAX: u32 = 256;

/// How often a connection is asked whether its client still lives, and how long the answer may take. The client
/// asks more often; this only frees what a vanished client left behind.
const KEEPALIVE: Duration = Duration::from_secs(10);

/// Why the port cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address is none, or needs protection that is not configured.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The address cannot be bound.
    #[error("cannot listen on {address}: {source}; hint: another process may hold the port")]
    Bind {
        /// `HOST:PORT`.
        address: String,
        /// In the operating system's words.
        source: std::io::Error,
    },
    /// The server stopped.
    #[error("the gRPC server stopped: {0}")]
    Stopped(#[from] tonic::transport::Error),
}

/// What is served on one port. Health and reflection come by themselves.
#[derive(Debug, Default)]
pub struct Services {
    routes: Routes,
    names: Vec<&'static str>,
}

impl Services {
    /// The services of an agent's peers.
    pub fn of_peer(peer: Arc<dyn Peer>) -> Services {
        let service = v1::peer_server::PeerServer::new(PeerService::new(peer))
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        Services::default().with(service)
    }

    /// One service more: a generated server, with interceptors around it or not. It sets its own limits for
    /// messages.
    pub fn with<S, B>(mut self, service: S) -> Services
    where
        S: Service<http::Request<tonic::body::Body>, Response = http::Response<B>, Error = Infallible>
            + NamedService
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: Send + 'static,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<StdError>,
    {
        self.names.push(S::NAME);
        self.routes = self.routes.add_service(service);
        self
    }
}

/// Binds `HOST:PORT`; port 0 takes a free one. Beyond loopback only with `insecure`: what listens there says aloud
/// what that means.
pub(crate) async fn listen(address: &str, insecure: bool) -> Result<(TcpListener, SocketAddr), ServeError> {
    channel::check(address, insecure)?;
    let failed = |source| ServeError::Bind { address: address.to_owned(), source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    // A name that passed for loopback may lead elsewhere.
    if !bound.ip().is_loopback() && !insecure {
        return Err(AddressError::PlainText(address.to_owned()).into());
    }
    Ok((listener, bound))
}

/// A port that is bound and not yet served.
#[derive(Debug)]
pub struct Server {
    incoming: TcpIncoming,
    address: SocketAddr,
}

impl Server {
    /// Binds `HOST:PORT`; port 0 takes a free one. Beyond loopback it needs `insecure`, and warns.
    pub async fn bind(address: &str, insecure: bool) -> Result<Server, ServeError> {
        let (listener, bound) = listen(address, insecure).await?;
        if !bound.ip().is_loopback() {
            tracing::warn!(address = %bound, "insecure: anybody on the network can read and write documents here");
        }
        // Without it a small answer waits for the client's delayed acknowledgement.
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        Ok(Server { incoming, address: bound })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown`; then takes no new calls, and ends when those under way have, but after 10 s at
    /// the latest. May be dropped midway: calls that are under way then end on their own.
    pub async fn serve(self, services: Services, shutdown: CancellationToken) -> Result<(), ServeError> {
        let Services { routes, names } = services;
        let (health, health_service) = tonic_health::server::health_reporter();
        for name in &names {
            health.set_service_status(name, ServingStatus::Serving).await;
        }
        let routes = routes.add_service(health_service).add_service(reflection(&names));
        let began = shutdown.clone();
        let closing = async move {
            began.cancelled().await;
            for name in names.into_iter().chain([""]) {
                health.set_service_status(name, ServingStatus::NotServing).await;
            }
        };
        let serving = tonic::transport::Server::builder()
            .concurrency_limit_per_connection(CALLS_MAX)
            .max_concurrent_streams(STREAMS_MAX)
            .http2_keepalive_interval(Some(KEEPALIVE))
            .http2_keepalive_timeout(Some(KEEPALIVE))
            .add_routes(routes)
            .serve_with_incoming_shutdown(self.incoming, closing);
        let overdue = async {
            shutdown.cancelled().await;
            tokio::time::sleep(DRAIN_MAX).await;
        };
        tokio::select! {
            result = serving => Ok(result?),
            () = overdue => {
                tracing::warn!(address = %self.address, "calls are still under way; closing without them");
                Ok(())
            }
        }
    }
}

/// Describes the services that are served, and no others.
fn reflection(
    names: &[&'static str],
) -> tonic_reflection::server::v1::ServerReflectionServer<impl tonic_reflection::server::v1::ServerReflection>
{
    let mut builder = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(v1::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET);
    for name in names.iter().copied().chain(["grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection"])
    {
        builder = builder.with_service_name(name);
    }
    builder.build_v1().expect("the descriptors were generated together with the services")
}
