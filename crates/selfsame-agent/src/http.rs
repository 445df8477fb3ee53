//! The HTTP port: health, metrics, and a page that leads to them. Read only.
//!
//! `/livez` and `/readyz` speak of the process alone, never of stores, peers or claims: a sidecar must not take the
//! pod of its store out of service.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::map_response;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;
use crate::rpc::{ServeError, listen};

/// Connections at a time; others wait to be accepted. A few scrapers and probes ask, once in seconds.
const CONNECTIONS_MAX: usize = 64;

/// How long a connection may last, from its start to the last byte of its only answer. As long as Prometheus
/// waits by default.
const CONNECTION_MAX: Duration = Duration::from_secs(10);

/// How long the metrics may take to be gathered: the journal may be busy. Less than the connection lasts, so that
/// the answer still arrives.
const GATHER_MAX: Duration = Duration::from_secs(5);

/// How long connections that are open may go on after the end. Nothing of worth is lost with them.
const END_MAX: Duration = Duration::from_secs(1);

/// The type that Prometheus asks for.
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

const PAGE: &str = "<!doctype html>\n<title>Selfsame agent</title>\n<h1>Selfsame agent</h1>\n<ul>\n\
     <li><a href=\"/metrics\">metrics</a>\n<li><a href=\"/livez\">livez</a>\n<li><a href=\"/readyz\">readyz</a>\n</ul>\n";

/// What is answered about.
#[derive(Clone)]
pub struct Answers {
    /// What the agent measures.
    pub metrics: Arc<Metrics>,
    /// Is cancelled when the agent drains: it is not ready from then on.
    pub draining: CancellationToken,
}

/// A port that is bound and not yet served.
#[derive(Debug)]
pub struct HttpServer {
    listener: TcpListener,
    address: SocketAddr,
}

impl HttpServer {
    /// Binds `HOST:PORT`; port 0 takes a free one. Beyond loopback it needs `insecure`, and warns.
    pub async fn bind(address: &str, insecure: bool) -> Result<HttpServer, ServeError> {
        let (listener, address) = listen(address, insecure).await?;
        if !address.ip().is_loopback() {
            tracing::warn!(%address, "insecure: anybody on the network can read metrics here");
        }
        Ok(HttpServer { listener, address })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until `ended`, also while the agent drains. May be dropped midway.
    pub async fn serve(self, answers: Answers, ended: CancellationToken) {
        let listener = Bounded { listener: self.listener, slots: Arc::new(Semaphore::new(CONNECTIONS_MAX)) };
        let serving =
            axum::serve(listener, routes(answers)).with_graceful_shutdown(ended.clone().cancelled_owned());
        let overdue = async {
            ended.cancelled().await;
            tokio::time::sleep(END_MAX).await;
        };
        tokio::select! {
            // It retries whatever fails, and has no error of its own.
            _ = serving => {}
            () = overdue => tracing::debug!(address = %self.address, "connections are still open; closing without them"),
        }
    }
}

fn routes(answers: Answers) -> Router {
    Router::new()
        .route("/", get(async || Html(PAGE)))
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .layer(map_response(last_answer))
        .with_state(answers)
}

/// Ready from the first answer on: nothing is answered before the agent has started.
async fn readyz(State(answers): State<Answers>) -> (StatusCode, &'static str) {
    if answers.draining.is_cancelled() {
        (StatusCode::SERVICE_UNAVAILABLE, "draining\n")
    } else {
        (StatusCode::OK, "ready\n")
    }
}

async fn metrics(State(answers): State<Answers>) -> Response {
    match tokio::time::timeout(GATHER_MAX, answers.metrics.exposition()).await {
        Ok(text) => ([(header::CONTENT_TYPE, METRICS_TYPE)], text).into_response(),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "the metrics take too long to gather\n").into_response(),
    }
}

/// One answer for each connection, so that [`CONNECTION_MAX`] never cuts off a second one.
async fn last_answer(mut response: Response) -> Response {
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// A listener of few connections that do not last.
struct Bounded {
    listener: TcpListener,
    slots: Arc<Semaphore>,
}

impl Listener for Bounded {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        let slot = self.slots.clone().acquire_owned().await.expect("the semaphore is never closed");
        let (stream, address) = Listener::accept(&mut self.listener).await;
        (Connection { stream, end: Box::pin(tokio::time::sleep(CONNECTION_MAX)), _slot: slot }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that fails once its time is over.
struct Connection {
    stream: TcpStream,
    end: Pin<Box<Sleep>>,
    _slot: OwnedSemaphorePermit,
}

impl Connection {
    /// What a call comes to, unless the time is over.
    fn in_time<T>(
        &mut self,
        context: &mut Context<'_>,
        call: impl FnOnce(Pin<&mut TcpStream>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if self.end.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        call(Pin::new(&mut self.stream), context)
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.in_time(context, |stream, context| stream.poll_read(context, buffer))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.in_time(context, |stream, context| stream.poll_write(context, bytes))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.in_time(context, |stream, context| stream.poll_flush(context))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.in_time(context, |stream, context| stream.poll_shutdown(context))
    }
}

#[cfg(test)]
mod tests;
