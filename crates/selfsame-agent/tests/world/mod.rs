//! Three agents in one process, each with one memory store, and a pass over them.

#![allow(dead_code, reason = "not every test binary needs all of the world")]
#![allow(unreachable_pub, reason = "a module of test binaries has no outside")]
#![allow(clippy::unwrap_used, reason = "these are tests, though not marked as such")]

pub mod faulty;
mod mangling;

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use selfsame_agent::assembly::{AgentParts, Assembled, Attached, assemble};
use selfsame_agent::clock::Clock;
use selfsame_agent::exchange::report::{Item, PassReport, PlanReason};
use selfsame_agent::exchange::{Exchange, Mandate, Member};
use selfsame_agent::local::{LocalAgent, LocalReplica, Starter};
use selfsame_agent::pass::{Pass, PassRequest};
use selfsame_agent::peer::{Peer, PeerError};
use selfsame_agent::progress::Silent;
use selfsame_agent::settings::*;
use selfsame_agent::supervisor::Supervisor;
use selfsame_core::*;
use selfsame_journal::Journal;
use selfsame_store::{Call, DelayHook, Fault, Faulty, MemoryStore, ScriptedFaults, Store};
use selfsame_wire::message::{Share, StartRequest};
use tempfile::TempDir;

use mangling::{Mangle, Mangling};

pub const NOW: i64 = 1_700_000_000_000_000;

/// A clock that tests set.
pub struct TestClock(pub Mutex<i64>);

impl Clock for TestClock {
    fn now(&self) -> WallMicros {
        WallMicros(*self.0.lock())
    }
}

struct NoStarter;

#[async_trait]
impl Starter for NoStarter {
    async fn start(&self, _request: StartRequest) -> Result<Share, PeerError> {
        Err(PeerError::Refused("not in this test".to_owned()))
    }
}

/// What a client does while a store is being asked, once.
type Interruption = Arc<Mutex<Option<Pin<Box<dyn Future<Output = ()> + Send>>>>>;

pub struct World {
    interruptions: Vec<Interruption>,
    pub stores: Vec<Arc<MemoryStore>>,
    /// What each store makes of what repairs write.
    pub mangles: Vec<Mangle>,
    /// The stores as their agents see them.
    attached: Vec<Arc<dyn Store>>,
    pub faults: Vec<Arc<ScriptedFaults>>,
    pub agents: Vec<Arc<LocalAgent>>,
    /// The one replica of each agent.
    pub replicas: Vec<Arc<LocalReplica>>,
    pub journals: Vec<Arc<Journal>>,
    pub clock: Arc<TestClock>,
    pub fleet: Arc<FleetSettings>,
    _data: TempDir,
    runs: Mutex<u128>,
}

pub fn nodes() -> [NodeName; 3] {
    ["node-a", "node-b", "node-c"].map(|name| name.parse().unwrap())
}

pub fn collection_settings() -> CollectionSettings {
    let mapping = MappingSpec {
        key: vec!["id".into()],
        key_as: KeyAs::Native,
        document: Some("body".into()),
        columns: None,
        version: Some(TimeField { field: "version".into(), unit: Unit::Micros }),
        expiry: Some(TimeField { field: "expires".into(), unit: Unit::Micros }),
        deletion: None,
        ignore_fields: vec!["views".into()],
        shards: ShardCount::new(4).unwrap(),
        document_bytes_max: 1 << 20,
    };
    let replica = |node: NodeName| ReplicaSettings { node, source: "t".into(), mapping: mapping.clone() };
    CollectionSettings {
        name: "products".parse().unwrap(),
        replicas: nodes().map(replica).to_vec(),
        policy: Policy {
            winner: Winner::Newest,
            ties: Ties::Majority,
            observed_deletes: ObservedDeletes::Hold,
            version_kind: VersionKind::Time,
            clock_skew_max: 300_000_000,
        },
        exchange_every: None,
        repair: RepairMode::Auto,
        first_pass: FirstPass::Auto,
        settle: Duration::from_secs(2),
        coverage_max: Duration::from_secs(86_400),
        tombstone_retention: Duration::from_secs(864_000),
        feed: false,
        sweep_keys_max: None,
        brakes: BrakeSettings { vanished_share_max: 0.05, repair_share_max: 0.1, deletes_max: 1000 },
        throttle: ThrottleSettings { rows_per_second: 1_000_000, bytes_per_second: 1 << 30 },
        confirm_keys_max: 10_000,
        apply_within: Duration::from_secs(10),
    }
}

pub fn row(id: i64, version: i64, body: &str) -> Row {
    expiring_row(id, version, None, body)
}

pub fn expiring_row(id: i64, version: i64, expires: Option<i64>, body: &str) -> Row {
    Row::new(vec![
        ("id".into(), Cell::Integer(id)),
        ("body".into(), Cell::Text(body.into())),
        ("version".into(), Cell::Integer(version)),
        ("expires".into(), expires.map_or(Cell::Null, Cell::Integer)),
    ])
}

/// A world whose stores all hold so many documents.
pub fn filled(count: i64) -> World {
    filled_with(count, collection_settings())
}

pub fn filled_with(count: i64, collection: CollectionSettings) -> World {
    let world = World::with(collection);
    for id in 0..count {
        world.write_all(&row(id, 100, &format!("{{\"name\":\"{id}\"}}")));
    }
    world
}

/// As [`filled_with`] sixty of them, after a pass that found them in sync.
pub async fn in_sync(collection: CollectionSettings) -> World {
    let world = filled_with(60, collection);
    let report = world.pass().await;
    assert!(matches!(report.verdict(), ShardVerdict::InSync { .. }), "{report:?}");
    world
}

impl World {
    pub fn with(collection: CollectionSettings) -> World {
        World::made(collection, true)
    }

    /// A world whose journals keep no before-images.
    pub fn without_images(collection: CollectionSettings) -> World {
        World::made(collection, false)
    }

    fn made(collection: CollectionSettings, before_images: bool) -> World {
        let data = tempfile::tempdir().unwrap();
        let agent = |(name, node): (&str, NodeName)| AgentSettings {
            name: name.parse().unwrap(),
            grpc: "127.0.0.1:0".into(),
            http: "127.0.0.1:0".into(),
            data: data.path().join(name),
            nodes: vec![node],
        };
        let fleet = Arc::new(FleetSettings {
            name: "test".into(),
            agents: ["a", "b", "c"].into_iter().zip(nodes()).map(agent).collect(),
            collections: vec![collection],
            secret: b"secret".to_vec(),
            insecure: false,
            journal: JournalSettings {
                before_images,
                undo_retention: Duration::from_secs(600),
                retention: Duration::from_secs(600),
            },
        });
        let clock = Arc::new(TestClock(Mutex::new(NOW)));
        let (mut stores, mut faults, mut mangles, mut attached) = (vec![], vec![], vec![], vec![]);
        let (mut agents, mut replicas, mut journals) = (vec![], vec![], vec![]);
        let mut interruptions = Vec::new();
        let collection = &fleet.collections[0];
        for (agent, replica) in fleet.agents.iter().zip(&collection.replicas) {
            let mapping = fleet.mapping(&collection.name, replica).unwrap();
            let store = Arc::new(MemoryStore::new(mapping, agent.name.as_str()));
            let script = Arc::new(ScriptedFaults::default());
            let interruption = Interruption::default();
            let waiting = interruption.clone();
            let hook: DelayHook = Arc::new(move |_| {
                let waiting = waiting.clone();
                Box::pin(async move {
                    let interrupt = waiting.lock().take();
                    if let Some(interrupt) = interrupt {
                        interrupt.await;
                        // Whoever it concerns may act before the store goes on.
                        tokio::task::yield_now().await;
                    }
                })
            });
            interruptions.push(interruption);
            let mangle = Mangle::default();
            let mangling = Arc::new(Mangling { inner: store.clone(), mangle: mangle.clone() });
            let faulty = Faulty::new(mangling, script.clone()).with_delay(hook);
            let faulty: Arc<dyn Store> = Arc::new(faulty);
            let assembled = assembled(&fleet, &clock, stores.len(), faulty.clone());
            stores.push(store);
            mangles.push(mangle);
            attached.push(faulty);
            faults.push(script);
            agents.push(assembled.agent);
            replicas.extend(assembled.replicas);
            journals.push(assembled.journal);
        }
        World {
            interruptions,
            stores,
            mangles,
            attached,
            faults,
            agents,
            replicas,
            journals,
            clock,
            fleet,
            _data: data,
            runs: Mutex::new(0),
        }
    }

    /// Ends an agent and starts it anew, with its journal and its index.
    pub fn restart(&mut self, agent: usize) {
        drop(self.agents.remove(agent));
        drop(self.replicas.remove(agent));
        drop(self.journals.remove(agent));
        self.start(agent);
    }

    /// Ends all agents and starts them anew.
    pub fn restart_all(&mut self) {
        self.restart_all_after(|| ());
    }

    /// As [`World::restart_all`]; something happens to what they left on disk meanwhile.
    pub fn restart_all_after(&mut self, meanwhile: impl FnOnce()) {
        self.agents.clear();
        self.replicas.clear();
        self.journals.clear();
        meanwhile();
        (0..self.attached.len()).for_each(|agent| self.start(agent));
    }

    fn start(&mut self, agent: usize) {
        let assembled = assembled(&self.fleet, &self.clock, agent, self.attached[agent].clone());
        self.agents.insert(agent, assembled.agent);
        assembled.replicas.into_iter().for_each(|replica| self.replicas.insert(agent, replica));
        self.journals.insert(agent, assembled.journal);
    }

    /// The shard of a key.
    pub fn shard_of(&self, id: i64) -> ShardId {
        let collection = &self.fleet.collections[0];
        let digest = self.fleet.fingerprinter(&collection.name).key_digest(&Key::integer(id));
        digest.shard(collection.replicas[0].mapping.shards)
    }

    /// The same row to all stores, as the application's fan-out does.
    pub fn write_all(&self, row: &Row) {
        self.stores.iter().for_each(|store| store.put(row.clone()));
    }

    /// A client does something just before the store at this place answers its next call of that kind.
    pub fn interrupt(&self, store: usize, call: Call, client: impl FnOnce() + Send + 'static) {
        self.meanwhile(store, call, async move { client() });
    }

    /// As [`World::interrupt`], for what takes a while; the store answers when it is over.
    pub fn meanwhile(&self, store: usize, call: Call, happens: impl Future<Output = ()> + Send + 'static) {
        *self.interruptions[store].lock() = Some(Box::pin(happens));
        self.faults[store].push(call, Some(Fault::Delay));
    }

    /// Something happens after the store at this place has answered its next call of that kind, and before anybody hears
    /// of the answer.
    pub fn interrupt_answer(&self, store: usize, call: Call, happens: impl FnOnce() + Send + 'static) {
        *self.interruptions[store].lock() = Some(Box::pin(async move { happens() }));
        self.faults[store].push(call, Some(Fault::DelayAnswer));
    }

    /// A pass by the first agent over all shards, scans first.
    pub async fn pass(&self) -> PassReport {
        self.pass_with(Mandate::Automatic).await
    }

    pub async fn dry_run(&self) -> PassReport {
        self.pass_with(Mandate::Plan(PlanReason::DryRun)).await
    }

    pub async fn pass_with(&self, mandate: Mandate) -> PassReport {
        let slot = self.next_slot();
        self.pass_by(0, slot, mandate, self.peers()).await
    }

    /// A slot that no pass was for. Time goes on between slots, or the last scan would do.
    pub fn next_slot(&self) -> Slot {
        *self.clock.0.lock() += 1_000_000;
        let mut runs = self.runs.lock();
        *runs += 1;
        Slot::AdHoc(uuid(*runs))
    }

    pub fn peers(&self) -> Vec<Arc<dyn Peer>> {
        self.agents.iter().map(|agent| agent.clone() as Arc<dyn Peer>).collect()
    }

    /// A pass by the agent at that place, which reaches the agents as these peers.
    pub async fn pass_by(
        &self,
        owner: usize,
        slot: Slot,
        mandate: Mandate,
        peers: Vec<Arc<dyn Peer>>,
    ) -> PassReport {
        let shards = self.fleet.collections[0].replicas[0].mapping.shards;
        self.pass_over(shards.ids().collect(), owner, slot, mandate, peers).await
    }

    /// A pass over some shards. An approval is of one.
    pub async fn pass_over(
        &self,
        shards: Vec<ShardId>,
        owner: usize,
        slot: Slot,
        mandate: Mandate,
        peers: Vec<Arc<dyn Peer>>,
    ) -> PassReport {
        let collection = &self.fleet.collections[0];
        let members = nodes().into_iter().zip(peers).map(|(node, peer)| Member { node, peer }).collect();
        let request = PassRequest {
            run: RunId::of(&self.fleet.name, &collection.name, slot),
            slot,
            shards,
            scan_since: Some(self.clock.now()),
        };
        let pass = Pass {
            exchange: Exchange {
                collection: Arc::new(collection.clone()),
                fingerprinter: self.fleet.fingerprinter(&collection.name),
                members,
                mandate,
                clock: self.clock.clone(),
                first_pass: BTreeSet::new(),
                skew: 0,
            },
            hello: self.fleet.hello(self.agents[owner].name(), &nodes()[owner..=owner]),
            journal: self.journals[owner].clone(),
            progress: &Silent,
        };
        pass.run(&request).await
    }

    /// The rows of each store as text, to compare without digests.
    pub fn contents(&self) -> Vec<Vec<String>> {
        let of_store = |store: &Arc<MemoryStore>| {
            let mut rows: Vec<String> = store.rows().iter().map(|row| format!("{row:?}")).collect();
            rows.sort();
            rows
        };
        self.stores.iter().map(of_store).collect()
    }

    pub fn all_the_same(&self) -> bool {
        self.contents().windows(2).all(|pair| pair[0] == pair[1])
    }
}

/// The agent at that place, with a store for its one replica.
fn assembled(
    fleet: &Arc<FleetSettings>,
    clock: &Arc<TestClock>,
    place: usize,
    store: Arc<dyn Store>,
) -> Assembled {
    let (agent, collection) = (&fleet.agents[place], &fleet.collections[0]);
    let (collection, node) = (collection.name.clone(), collection.replicas[place].node.clone());
    assemble(AgentParts {
        fleet: fleet.clone(),
        name: agent.name.clone(),
        data: agent.data.clone(),
        stores: vec![Attached { collection, node, store }],
        clock: clock.clone(),
        starter: Arc::new(NoStarter),
        tasks: Supervisor::default(),
        randomness: 7,
    })
    .unwrap()
}

fn uuid(number: u128) -> uuid::Uuid {
    uuid::Uuid::from_u128(number)
}

pub fn items(report: &PassReport) -> Vec<&Item> {
    report.shards.iter().flat_map(|shard| &shard.items).collect()
}
