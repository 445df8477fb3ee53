//! A whole agent, asked over HTTP while it finds and repairs a difference. The answers are read by a parser that
//! knows nothing of the library that wrote them, and compared with the documentation.

#![allow(clippy::unwrap_used, reason = "all of this file is tests")]

mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use selfsame_agent::assembly::Attached;
use selfsame_agent::metrics::StoreCounters;
use selfsame_agent::runtime::{Runtime, RuntimeError, RuntimeParts};
use selfsame_agent::settings::{AgentSettings, CollectionSettings, FleetSettings, JournalSettings};
use selfsame_agent::supervisor::Supervisor;
use selfsame_core::{Cause, UnknownReason};
use selfsame_store::{MemoryStore, ThrottleLimits, Throttled};
use selfsame_wire::channel::{self, ChannelOptions};
use selfsame_wire::v1::{self, run_event::Event};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use world::{NOW, TestClock, collection_settings, row};

/// Not known of an agent that never answered, as the other one here.
const NEEDS_AN_ANSWER: &str = "selfsame_clock_skew_seconds";

/// One agent with all three replicas, and another that is down.
struct Alone {
    stores: Vec<Arc<MemoryStore>>,
    clock: Arc<TestClock>,
    grpc: SocketAddr,
    http: SocketAddr,
    tasks: Supervisor,
    serving: JoinHandle<Result<(), RuntimeError>>,
    _data: TempDir,
}

impl Alone {
    async fn start() -> Alone {
        let data = tempfile::tempdir().unwrap();
        let collection = CollectionSettings { settle: Duration::from_millis(1), ..collection_settings() };
        let agent = |name: &str, grpc: &str, nodes| AgentSettings {
            name: name.parse().unwrap(),
            grpc: grpc.into(),
            http: "127.0.0.1:0".into(),
            data: data.path().join(name),
            nodes,
        };
        let nodes = collection.replicas.iter().map(|replica| replica.node.clone()).collect();
        let fleet = Arc::new(FleetSettings {
            name: "test".into(),
            // Nobody listens on the second one's port.
            agents: vec![agent("a", "127.0.0.1:0", nodes), agent("b", "127.0.0.1:1", vec![])],
            collections: vec![collection.clone()],
            secret: vec![],
            insecure: false,
            journal: JournalSettings {
                before_images: true,
                undo_retention: Duration::from_secs(600),
                retention: Duration::from_secs(600),
            },
        });
        let limits = ThrottleLimits {
            rows_per_second: NonZeroU32::new(1_000_000).unwrap(),
            bytes_per_second: 1 << 30,
        };
        let (mut stores, mut attached, mut store_counters) = (vec![], vec![], vec![]);
        for replica in &collection.replicas {
            let mapping = fleet.mapping(&collection.name, replica).unwrap();
            let store = Arc::new(MemoryStore::new(mapping, replica.node.as_str()));
            let throttled = Throttled::new(store.clone(), limits);
            let (collection, node) = (collection.name.clone(), replica.node.clone());
            store_counters.push(StoreCounters {
                collection: collection.clone(),
                node: node.clone(),
                counters: throttled.counters(),
            });
            attached.push(Attached { collection, node, store: Arc::new(throttled) });
            stores.push(store);
        }
        let clock = Arc::new(TestClock(Mutex::new(NOW)));
        let runtime = Runtime::start(RuntimeParts {
            fleet,
            name: "a".parse().unwrap(),
            stores: attached,
            store_counters,
            clock: clock.clone(),
            randomness: 7,
        })
        .await
        .unwrap();
        let (grpc, http, tasks) = (runtime.address(), runtime.http_address(), runtime.supervisor());
        let serving = tokio::spawn(runtime.serve());
        Alone { stores, clock, grpc, http, tasks, serving, _data: data }
    }

    fn let_pass(&self, seconds: i64) {
        *self.clock.0.lock() += seconds * 1_000_000;
    }

    /// A run over everything, scans first, to its end.
    async fn run(&self) -> v1::RunSummary {
        self.let_pass(10);
        let channel = channel::connect(&self.grpc.to_string(), &ChannelOptions::default()).unwrap();
        let request = v1::RunRequest { scan: true, wait: true, ..v1::RunRequest::default() };
        let mut events = channel::operator_client(channel).run(request).await.unwrap().into_inner();
        while let Some(event) = events.message().await.unwrap() {
            if let Some(Event::Summary(summary)) = event.event {
                return summary;
            }
        }
        panic!("a run without a summary");
    }

    async fn scrape(&self) -> Scrape {
        let mut stream = TcpStream::connect(self.http).await.unwrap();
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.0 200") || head.starts_with("HTTP/1.1 200"), "{head}");
        Scrape::parse(body)
    }
}

impl Alone {
    /// The first scrape that knows of so many passes: a run tells its summary before its passes are written down.
    async fn scrape_after(&self, passes: f64) -> Scrape {
        let known = async {
            loop {
                let scrape = self.scrape().await;
                if scrape.of_collection("selfsame_run_duration_seconds_count") == Some(passes) {
                    return scrape;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(30), known).await.expect("the pass is told")
    }
}

type Labels = BTreeMap<String, String>;

/// What one scrape says.
#[derive(Debug, Default)]
struct Scrape {
    /// The type of each metric.
    kinds: BTreeMap<String, String>,
    samples: Vec<(String, Labels, f64)>,
}

impl Scrape {
    fn parse(text: &str) -> Scrape {
        let mut scrape = Scrape::default();
        for line in text.lines() {
            if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').unwrap();
                assert!(scrape.kinds.insert(name.into(), kind.into()).is_none(), "{name} comes twice");
            } else if !line.starts_with('#') {
                let (series, value) = line.rsplit_once(' ').unwrap();
                let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
                let labels = labels.strip_suffix('}').unwrap();
                // No value in these tests has a comma or a quote.
                let pairs = labels.split(',').filter(|pair| !pair.is_empty());
                let labels = pairs.map(|pair| {
                    let (label, value) = pair.split_once('=').unwrap();
                    (label.to_owned(), value.trim_matches('"').to_owned())
                });
                scrape.samples.push((name.into(), labels.collect(), value.parse().unwrap()));
            }
        }
        scrape
    }

    /// The value of the one series with these labels; `None` if there is none.
    fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let wanted: Labels = labels.iter().map(|(label, value)| ((*label).into(), (*value).into())).collect();
        let mut found = self.samples.iter().filter(|(other, labels, _)| other == name && *labels == wanted);
        let value = found.next().map(|(_, _, value)| *value);
        assert!(found.next().is_none(), "{name} {labels:?} comes twice");
        value
    }

    fn of_collection(&self, name: &str) -> Option<f64> {
        self.value(name, &[("collection", "products")])
    }

    fn of_replica(&self, name: &str, node: &str) -> Option<f64> {
        self.value(name, &[("collection", "products"), ("replica", node)])
    }

    fn of_cause(&self, name: &str, node: &str, cause: Cause) -> Option<f64> {
        self.value(name, &[("collection", "products"), ("replica", node), ("cause", cause.as_str())])
    }

    fn sum(&self, name: &str) -> f64 {
        self.samples.iter().filter(|(other, _, _)| other == name).map(|(_, _, value)| value).sum()
    }

    fn shards(&self, verdict: &str) -> Option<f64> {
        self.value("selfsame_shards", &[("collection", "products"), ("verdict", verdict)])
    }

    fn unknown(&self, reason: UnknownReason) -> Option<f64> {
        self.value("selfsame_shards_unknown", &[("collection", "products"), ("reason", reason.as_str())])
    }
}

/// What the documentation says.
struct Documented {
    /// Type and labels of each metric.
    metrics: BTreeMap<String, (String, BTreeSet<String>)>,
    /// The values of each label; none where the configuration has them.
    values: BTreeMap<String, BTreeSet<String>>,
}

/// Reads the rows of the documentation's tables.
fn documented() -> Documented {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/metrics.md");
    let page = std::fs::read_to_string(page).unwrap();
    let quoted =
        |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<BTreeSet<String>>();
    let mut documented = Documented { metrics: BTreeMap::new(), values: BTreeMap::new() };
    let generated = page.split_once("<!-- generated").unwrap().1;
    for row in generated.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let name = cells[0].trim_matches('`').to_owned();
        match cells.as_slice() {
            [_, kind, of, _] => drop(documented.metrics.insert(name, ((*kind).to_owned(), quoted(of)))),
            [_, values] => drop(documented.values.insert(name, quoted(values))),
            _ => panic!("{row}"),
        }
    }
    documented
}

/// Every exposed series stands in the documentation with its type, its labels and, where these are listed, their
/// values; with `all`, every documented metric is exposed.
fn compare_with_documentation(scrape: &Scrape, all: bool) {
    let Documented { metrics, values } = documented();
    for (name, kind) in &scrape.kinds {
        let (documented, _) = metrics.get(name).unwrap_or_else(|| panic!("{name} is not documented"));
        assert_eq!(kind, documented, "{name}");
    }
    for (series, found, _) in &scrape.samples {
        let parts = ["_bucket", "_sum", "_count"].iter().find_map(|part| series.strip_suffix(part));
        let name = parts.filter(|name| scrape.kinds.contains_key(*name)).unwrap_or(series);
        assert!(scrape.kinds.contains_key(name), "{series} has no type");
        let mut names: BTreeSet<String> = found.keys().cloned().collect();
        names.remove("le");
        assert_eq!(names, metrics[name].1, "{series}");
        for (label, value) in found {
            if let Some(values) = values.get(label).filter(|values| !values.is_empty()) {
                assert!(values.contains(value), "{series}: {label}={value}");
            }
        }
    }
    if all {
        let missing: Vec<_> = metrics
            .keys()
            .filter(|name| cfg!(target_os = "linux") || name.starts_with("selfsame_"))
            .filter(|name| !scrape.kinds.contains_key(*name) && *name != NEEDS_AN_ANSWER)
            .collect();
        assert!(missing.is_empty(), "documented, but not exposed: {missing:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_tells_what_it_knows_and_nothing_else() {
    let agent = Alone::start().await;
    for store in &agent.stores {
        (1..=20).for_each(|id| store.put(row(id, NOW - 1_000_000, "{}")));
    }

    let scrape = agent.scrape().await;
    compare_with_documentation(&scrape, false);
    for node in ["node-a", "node-b", "node-c"] {
        for name in ["coverage_age_seconds", "last_scan_completed_timestamp_seconds", "indexed_documents"] {
            assert_eq!(scrape.of_replica(&format!("selfsame_{name}"), node), None, "{name} was made up");
        }
        assert_eq!(scrape.of_replica("selfsame_shards_scanned_total", node), Some(0.0));
        for cause in Cause::ALL {
            for name in ["selfsame_mismatches_found_total", "selfsame_documents_repaired_total"] {
                assert_eq!(scrape.of_cause(name, node, cause), Some(0.0));
            }
        }
    }
    assert_eq!(scrape.shards("in_sync"), None);
    assert_eq!(scrape.of_collection("selfsame_mismatched_passes_in_a_row"), None);
    assert_eq!(scrape.of_collection("selfsame_keys_held"), None);

    agent.stores[0].put(row(21, NOW - 1_000_000, "{}"));
    agent.stores[1].put(row(21, NOW - 1_000_000, "{}"));
    let summary = agent.run().await;
    agent.let_pass(5);
    let scrape = agent.scrape_after(1.0).await;
    compare_with_documentation(&scrape, true);
    assert_eq!((summary.mismatches, summary.repaired), (1, 1), "{summary:?}");
    for name in ["selfsame_mismatches_found_total", "selfsame_documents_repaired_total"] {
        assert_eq!(scrape.of_cause(name, "node-c", Cause::MissedInsert), Some(1.0), "{name}");
        assert_eq!(scrape.sum(name), 1.0, "{name}");
    }
    assert_eq!(scrape.sum("selfsame_repair_outcomes_total"), 1.0);
    assert_eq!(scrape.of_collection("selfsame_mismatched_passes_in_a_row"), Some(1.0));
    assert_eq!(scrape.of_collection("selfsame_keys_held"), Some(0.0));
    assert_eq!(scrape.of_collection("selfsame_repairs_planned"), Some(0.0));
    assert_eq!(scrape.shards("in_sync"), Some(4.0));
    assert_eq!(scrape.shards("unknown"), Some(0.0));
    assert_eq!(scrape.value("selfsame_peer_up", &[("agent", "b")]), Some(0.0));
    assert_eq!(scrape.value("selfsame_build_info", &[("version", env!("CARGO_PKG_VERSION"))]), Some(1.0));
    for node in ["node-a", "node-b", "node-c"] {
        assert_eq!(scrape.of_replica("selfsame_shards_scanned_total", node), Some(4.0));
        assert_eq!(scrape.of_replica("selfsame_coverage_age_seconds", node), Some(5.0));
        let completed = scrape.of_replica("selfsame_last_scan_completed_timestamp_seconds", node);
        assert_eq!(completed, Some((NOW / 1_000_000 + 10) as f64));
        assert_eq!(scrape.of_replica("selfsame_indexed_documents", node), Some(21.0));
        assert_eq!(scrape.of_replica("selfsame_unreadable_documents", node), Some(0.0));
        assert!(scrape.of_replica("selfsame_store_rows_read_total", node) >= Some(20.0));
        assert!(scrape.of_replica("selfsame_store_bytes_read_total", node) > Some(0.0));
        assert_eq!(scrape.of_replica("selfsame_throttle_waits_total", node), Some(0.0));
    }

    let summary = agent.run().await;
    let scrape = agent.scrape_after(2.0).await;
    assert_eq!(scrape.of_collection("selfsame_mismatched_passes_in_a_row"), Some(0.0), "{summary:?}");
    assert_eq!(scrape.sum("selfsame_mismatches_found_total"), 1.0);
    assert_eq!(scrape.of_replica("selfsame_shards_scanned_total", "node-a"), Some(8.0));
    assert_eq!(scrape.shards("in_sync"), Some(4.0));

    let coverage_max = collection_settings().coverage_max;
    agent.let_pass(i64::try_from(coverage_max.as_secs()).unwrap() + 1);
    let scrape = agent.scrape().await;
    assert_eq!((scrape.shards("in_sync"), scrape.shards("unknown")), (Some(0.0), Some(4.0)));
    assert_eq!(scrape.unknown(UnknownReason::StaleIndex), Some(4.0));
    let channel = channel::connect(&agent.grpc.to_string(), &ChannelOptions::default()).unwrap();
    let status = channel::operator_client(channel).status(v1::StatusRequest::default()).await;
    let status = &status.unwrap().into_inner().collections[0];
    let stale = v1::ReasonCount { reason: v1::UnknownReason::StaleIndex.into(), shards: 4 };
    assert_eq!((status.verdict(), &status.unknown), (v1::Verdict::Unknown, &vec![stale]), "status agrees");
    assert_eq!((status.in_sync, status.as_of), (0, None), "{status:?}");

    agent.tasks.draining().cancel();
    agent.serving.await.unwrap().unwrap();
    assert!(TcpStream::connect(agent.http).await.is_err(), "the port is closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stores_may_forget_is_told_once_every_replica_has_forgotten_it() {
    let agent = Alone::start().await;
    let horizons = async || {
        let channel = channel::connect(&agent.grpc.to_string(), &ChannelOptions::default()).unwrap();
        let request = v1::SafeToPurgeRequest { collection: "products".into() };
        let reply = channel::operator_client(channel).safe_to_purge(request).await.unwrap().into_inner();
        assert_eq!(reply.nodes, ["node-a", "node-b", "node-c"]);
        assert_eq!(reply.silent.len(), 1, "the agent that is down has no replica");
        reply.shards.into_iter().map(|shard| shard.horizon).collect::<Vec<_>>()
    };
    assert_eq!(horizons().await, [None; 4]);
    agent.run().await;
    let told = horizons().await;
    let retention = i64::try_from(collection_settings().tombstone_retention.as_micros()).unwrap();
    let latest = *agent.clock.0.lock() - retention;
    for horizon in told {
        let horizon = horizon.unwrap();
        assert!(horizon <= latest && horizon > latest - retention / 5, "{horizon}");
    }
    agent.tasks.draining().cancel();
    agent.serving.await.unwrap().unwrap();
}
