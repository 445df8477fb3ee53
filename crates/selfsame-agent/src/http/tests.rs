use std::collections::BTreeMap;

use selfsame_journal::{Journal, JournalOptions};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::clock::SystemClock;
use crate::membership::Membership;
use crate::metrics::MetricsParts;
use crate::settings::{FleetSettings, JournalSettings};
use crate::supervisor::Supervisor;

/// A port with nothing behind it but an agent that has no collections.
struct Port {
    address: SocketAddr,
    draining: CancellationToken,
    ended: CancellationToken,
    serving: tokio::task::JoinHandle<()>,
    tasks: Supervisor,
    _data: TempDir,
}

async fn port() -> Port {
    let data = tempfile::tempdir().unwrap();
    let (clock, tasks) = (Arc::new(SystemClock), Supervisor::default());
    let name: selfsame_core::AgentName = "a".parse().unwrap();
    let fleet = Arc::new(FleetSettings {
        name: "shop".into(),
        agents: vec![],
        collections: vec![],
        secret: vec![],
        insecure: false,
        journal: JournalSettings {
            before_images: false,
            undo_retention: Duration::ZERO,
            retention: Duration::ZERO,
        },
    });
    let peers = BTreeMap::new();
    let hello = fleet.hello(&name, &[]);
    let metrics = Metrics::new(MetricsParts {
        membership: Membership::watch(name.clone(), &peers, hello, clock.clone(), &tasks),
        journal: Arc::new(Journal::open(&data.path().join("journal.db"), JournalOptions::default()).unwrap()),
        replicas: vec![],
        stores: vec![],
        fleet,
        name,
        peers,
        clock,
    });
    let server = HttpServer::bind("127.0.0.1:0", false).await.unwrap();
    let (draining, ended) = (CancellationToken::new(), CancellationToken::new());
    let address = server.address();
    let answers = Answers { metrics, draining: draining.clone() };
    let serving = tokio::spawn(server.serve(answers, ended.clone()));
    Port { address, draining, ended, serving, tasks, _data: data }
}

/// Sends bytes and gives what comes back until the connection is closed.
async fn send(address: SocketAddr, bytes: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

async fn get_path(address: SocketAddr, path: &str) -> (u16, String) {
    let answer = send(address, &format!("GET {path} HTTP/1.1\r\nHost: agent\r\n\r\n")).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

#[tokio::test]
async fn readiness_ends_before_liveness_and_both_before_the_port() {
    let port = port().await;
    assert_eq!(get_path(port.address, "/livez").await, (200, "ok\n".to_owned()));
    assert_eq!(get_path(port.address, "/readyz").await, (200, "ready\n".to_owned()));
    port.draining.cancel();
    assert_eq!(get_path(port.address, "/readyz").await, (503, "draining\n".to_owned()));
    assert_eq!(get_path(port.address, "/livez").await, (200, "ok\n".to_owned()));
    assert_eq!(get_path(port.address, "/metrics").await.0, 200);
    // A connection that says nothing does not hold up the end.
    let _silent = TcpStream::connect(port.address).await.unwrap();
    port.ended.cancel();
    port.serving.await.unwrap();
    assert!(TcpStream::connect(port.address).await.is_err());
    port.tasks.drain().await;
}

#[tokio::test]
async fn only_reading_is_answered() {
    let port = port().await;
    let (status, page) = get_path(port.address, "/").await;
    assert_eq!(status, 200);
    for path in ["/metrics", "/livez", "/readyz"] {
        assert!(page.contains(&format!("href=\"{path}\"")), "{page}");
        let request = format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
        assert!(send(port.address, &request).await.starts_with("HTTP/1.1 405 "), "{path}");
    }
    assert_eq!(get_path(port.address, "/else").await.0, 404);
    let answer = send(port.address, "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(answer.contains(&format!("content-type: {METRICS_TYPE}\r\n")), "{answer}");
    assert!(answer.contains("connection: close\r\n"), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_dawdles_is_cut_off() {
    let port = port().await;
    // All that may connect do, and none ends its request: the next is answered when their time is over.
    let mut dawdling = Vec::new();
    for _ in 0..CONNECTIONS_MAX {
        let mut stream = TcpStream::connect(port.address).await.unwrap();
        stream.write_all(b"GET /livez HTTP/1.1\r\nHost:").await.unwrap();
        dawdling.push(stream);
    }
    let began = tokio::time::Instant::now();
    assert_eq!(get_path(port.address, "/livez").await.0, 200);
    assert!(began.elapsed() <= CONNECTION_MAX + Duration::from_millis(1), "{:?}", began.elapsed());
    for mut stream in dawdling {
        let mut answer = Vec::new();
        let read = stream.read_to_end(&mut answer).await;
        assert!(read.is_err() || answer.is_empty() || answer.starts_with(b"HTTP/1.1 408"), "{answer:?}");
    }
}

#[tokio::test]
async fn it_listens_beyond_loopback_only_when_told_to() {
    let refused = HttpServer::bind("0.0.0.0:0", false).await.unwrap_err();
    assert!(refused.to_string().contains("hint: configure `tls`, or `insecure: true`"), "{refused}");
    assert!(HttpServer::bind("0.0.0.0:0", true).await.is_ok());
    let taken = HttpServer::bind("127.0.0.1:0", false).await.unwrap();
    let error = HttpServer::bind(&taken.address().to_string(), false).await.unwrap_err();
    assert!(error.to_string().starts_with("cannot listen on 127.0.0.1:"), "{error}");
}
