//! A fleet in a folder of its own.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::thread;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use serde_json::Value;
use tempfile::TempDir;

use crate::agent::{Agent, Signal};
use crate::cli::{Answer, Running};
use crate::journal::journal_copy;
use crate::oracle::{Contents, contents, open_store, put};
use crate::{ports, wait};

/// The usual table.
const TABLE: &str =
    "CREATE TABLE products (id TEXT PRIMARY KEY NOT NULL, body TEXT NOT NULL, updated_at INTEGER NOT NULL)";

/// An agent that does not answer by then will not. A guess, generous for a machine under load.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// No command takes so long here: a run gives up on agents after some seconds.
const ANSWER_WITHIN: Duration = Duration::from_secs(120);

/// How often ports are drawn again because somebody was faster.
const PORT_ATTEMPTS: usize = 5;

/// What is to be unusual about a fleet.
#[derive(Clone, Debug)]
pub struct FleetBuilder {
    nodes: usize,
    table: String,
    settings: BTreeMap<String, String>,
    top: String,
    rows: Contents,
}

impl FleetBuilder {
    /// So many agents with one node each; else three.
    #[must_use]
    pub fn nodes(mut self, count: usize) -> Self {
        self.nodes = count;
        self
    }

    /// Another statement that makes the table `products` (and whatever else).
    #[must_use]
    pub fn table(mut self, sql: &str) -> Self {
        sql.clone_into(&mut self.table);
        self
    }

    /// A setting of the collection, as YAML: `setting("brakes", "{ deletes_max: 3 }")`. Takes the place of the
    /// usual one; an empty text leaves it out.
    #[must_use]
    pub fn setting(mut self, name: &str, yaml: &str) -> Self {
        self.settings.insert(name.to_owned(), yaml.to_owned());
        self
    }

    /// Lines of YAML at the top level of the fleet file.
    #[must_use]
    pub fn top_level(mut self, yaml: &str) -> Self {
        self.top = format!("{}{yaml}\n", self.top);
        self
    }

    /// Rows that all files have before the first agent starts.
    #[must_use]
    pub fn rows(mut self, rows: &Contents) -> Self {
        self.rows.clone_from(rows);
        self
    }

    /// Makes folder, files and configuration; starts nobody.
    #[track_caller]
    pub fn prepare(self) -> Fleet {
        let folder =
            tempfile::Builder::new().prefix("selfsame-fleet-").tempdir().expect("a temporary folder");
        let names: Vec<String> =
            (0..self.nodes).map(|index| char::from(b'a' + index as u8).to_string()).collect();
        let agents = names.iter().map(|name| Agent::new(folder.path(), name)).collect();
        let mut fleet = Fleet { agents, ports: Vec::new(), folder: Some(folder), builder: self };
        fleet.draw_ports();
        for index in 0..fleet.agents.len() {
            let mut connection = fleet.open(index);
            connection.pragma_update(None, "journal_mode", "WAL").expect("a pragma can be set");
            let transaction = connection.transaction().expect("a transaction");
            transaction
                .execute_batch(&fleet.builder.table)
                .unwrap_or_else(|error| panic!("the table: {error}"));
            for (id, (version, body)) in &fleet.builder.rows {
                put(&transaction, id, *version, body);
            }
            transaction.commit().expect("rows can be written");
        }
        fleet
    }

    /// Prepares it and starts all agents; waits until all are ready, and until what is scheduled has run.
    #[track_caller]
    pub fn start(self) -> Fleet {
        let mut fleet = self.prepare();
        for attempt in 1..=PORT_ATTEMPTS {
            (0..fleet.agents.len()).for_each(|index| fleet.spawn(index, &[]));
            let failed: Vec<usize> =
                (0..fleet.agents.len()).filter(|index| !fleet.becomes_ready(*index)).collect();
            if failed.is_empty() {
                fleet.wait_for_first_slot();
                return fleet;
            }
            let ports_taken = failed.iter().all(|index| fleet.said(*index).contains("in use"));
            assert!(ports_taken && attempt < PORT_ATTEMPTS, "agents {failed:?} do not start");
            (0..fleet.agents.len()).for_each(|index| fleet.kill(index));
            fleet.draw_ports();
        }
        unreachable!("the last attempt returns or panics")
    }
}

/// A fleet: a folder with stores, data directories, logs and `fleet.yaml`, and its agents. Agents and nodes are
/// named by their place, from 0: agent 0 is `a`, its node `node-a`, its file `a.db`.
#[derive(Debug)]
pub struct Fleet {
    agents: Vec<Agent>,
    ports: Vec<u16>,
    folder: Option<TempDir>,
    builder: FleetBuilder,
}

impl Fleet {
    /// The usual fleet, for changes.
    pub fn builder() -> FleetBuilder {
        let usual = [
            ("source", "{ table: products, document: body }"),
            ("key", "[id]"),
            ("version", "{ field: updated_at, unit: counter }"),
            ("shards", "16"),
            // The longest there is: what is scheduled runs once, at the start, and then leaves the tests alone.
            ("schedule", "{ exchange: every 31d }"),
            ("repair", "auto"),
            ("first_pass", "auto"),
            ("settle", "200ms"),
            // Small files are damaged a lot in one day.
            ("brakes", "{ repair_share_max: 100%, deletes_max: 1000000 }"),
            ("throttle", "{ rows_per_second: 10000000, bytes_per_second: 4GiB }"),
        ];
        FleetBuilder {
            nodes: 3,
            table: TABLE.to_owned(),
            settings: usual.iter().map(|(name, yaml)| ((*name).to_owned(), (*yaml).to_owned())).collect(),
            top: String::new(),
            rows: Contents::new(),
        }
    }

    fn draw_ports(&mut self) {
        self.ports = ports::free(2 * self.agents.len());
        fs::write(self.config(), self.yaml()).expect("the fleet file can be written");
    }

    /// The fleet file's text.
    pub fn yaml(&self) -> String {
        let mut yaml = format!("fleet: test\n{}agents:\n", self.builder.top);
        let mut nodes = Vec::new();
        for (index, agent) in self.agents.iter().enumerate() {
            let (name, grpc, http) = (&agent.name, self.ports[2 * index], self.ports[2 * index + 1]);
            let _ = writeln!(
                yaml,
                "  - {{ name: {name}, grpc: \"127.0.0.1:{grpc}\", http: \"127.0.0.1:{http}\", data: ./{name}, nodes: [node-{name}] }}"
            );
            nodes.push(format!("node-{name}"));
        }
        yaml += "nodes:\n";
        for agent in &self.agents {
            let name = &agent.name;
            let _ = writeln!(yaml, "  - {{ name: node-{name}, store: sqlite, path: ./{name}.db }}");
        }
        yaml += "collections:\n  - name: products\n";
        let replicas = ("replicas".to_owned(), format!("[{}]", nodes.join(", ")));
        let mut settings = BTreeMap::from([replicas]);
        settings.extend(self.builder.settings.clone());
        for (name, value) in settings.iter().filter(|(_, value)| !value.is_empty()) {
            let _ = writeln!(yaml, "    {name}: {value}");
        }
        yaml
    }

    /// Changes a setting of the collection in the fleet file. Agents read it when they start.
    #[track_caller]
    pub fn set(&mut self, name: &str, yaml: &str) {
        self.builder.settings.insert(name.to_owned(), yaml.to_owned());
        fs::write(self.config(), self.yaml()).expect("the fleet file can be written");
    }

    /// Gives the fleet another secret. Agents read it when they start.
    #[track_caller]
    pub fn set_secret(&mut self, secret: &str) {
        fs::write(self.folder().join("secret"), secret).expect("the secret can be written");
        self.builder.top = "secret_file: ./secret\n".to_owned();
        fs::write(self.config(), self.yaml()).expect("the fleet file can be written");
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        self.folder.as_ref().expect("it is there until the fleet is dropped").path()
    }

    /// The fleet file.
    pub fn config(&self) -> PathBuf {
        self.folder().join("fleet.yaml")
    }

    /// How many agents, and nodes, it has.
    pub fn count(&self) -> usize {
        self.agents.len()
    }

    /// An agent's name.
    pub fn name(&self, agent: usize) -> &str {
        &self.agents[agent].name
    }

    /// A node's name.
    pub fn node(&self, node: usize) -> String {
        format!("node-{}", self.agents[node].name)
    }

    /// A node's file.
    pub fn store(&self, node: usize) -> PathBuf {
        self.folder().join(format!("{}.db", self.agents[node].name))
    }

    /// An agent's data directory.
    pub fn data(&self, agent: usize) -> PathBuf {
        self.folder().join(&self.agents[agent].name)
    }

    /// The port of an agent's gRPC.
    pub fn port(&self, agent: usize) -> u16 {
        self.ports[2 * agent]
    }

    /// The port of an agent's HTTP.
    pub fn http_port(&self, agent: usize) -> u16 {
        self.ports[2 * agent + 1]
    }

    /// A client's connection to a node's file.
    #[track_caller]
    pub fn open(&self, node: usize) -> Connection {
        open_store(&self.store(node))
    }

    /// The usual table on a node, by plain SQL.
    #[track_caller]
    pub fn contents(&self, node: usize) -> Contents {
        contents(&self.open(node))
    }

    /// Panics unless every file has exactly these rows.
    #[track_caller]
    pub fn assert_all(&self, what: &str, expected: &Contents) {
        for node in 0..self.count() {
            crate::assert_same(&format!("{what}: {}", self.node(node)), &self.contents(node), expected);
        }
    }

    /// An agent's journal, as a copy. See [`journal_copy`].
    #[track_caller]
    pub fn journal(&self, agent: usize) -> (Connection, TempDir) {
        let copied = journal_copy(&self.data(agent));
        copied.unwrap_or_else(|error| panic!("the journal of {}: {error}", self.name(agent)))
    }

    /// Starts an agent, with more environment, and does not wait.
    #[track_caller]
    pub fn spawn(&mut self, agent: usize, environment: &[(&str, &str)]) {
        let config = self.config();
        self.agents[agent].spawn(&config, environment);
    }

    /// Starts an agent and waits until it is ready.
    #[track_caller]
    pub fn start(&mut self, agent: usize) {
        self.start_with(agent, &[]);
    }

    /// Starts an agent with more environment, `("FAILPOINTS", "journal::intent_written=pause")`, and waits until it
    /// is ready.
    #[track_caller]
    pub fn start_with(&mut self, agent: usize, environment: &[(&str, &str)]) {
        self.spawn(agent, environment);
        self.wait_ready(agent);
    }

    /// Waits until an agent that was started is ready.
    #[track_caller]
    pub fn wait_ready(&mut self, agent: usize) {
        assert!(self.becomes_ready(agent), "agent {} ended", self.name(agent));
    }

    /// Whether an agent listens, is put together, and records the changes of its node's file; `false` if it ended.
    fn becomes_ready(&mut self, agent: usize) -> bool {
        let what = format!("agent {} is ready", self.name(agent));
        wait::until(READY_WITHIN, &what, || {
            if self.agents[agent].ended().is_some() || !self.agents[agent].runs() {
                return Some(false);
            }
            let listens = self.said(agent).contains("listens on")
                && TcpStream::connect(("127.0.0.1", self.port(agent))).is_ok();
            (listens && self.is_set_up(agent)).then_some(true)
        })
    }

    /// A slot of the schedule is always under way, so that agents begin a run when they start. Waits until each has
    /// finished its part of it. With few shards, an agent may have none.
    #[track_caller]
    fn wait_for_first_slot(&self) {
        // A scheduled slot's first byte is 0; that of a run on request is 1.
        let finished = "SELECT count(*), count(finished) FROM run WHERE substr(slot, 1, 1) = x'00'";
        let shards: usize =
            self.builder.settings.get("shards").and_then(|shards| shards.parse().ok()).unwrap_or(16);
        let all_own_some = shards >= 5 * self.count();
        for agent in 0..self.count() {
            let what = format!("agent {} finishes the first scheduled run", self.name(agent));
            wait::until(READY_WITHIN, &what, || {
                // A copy of a journal in use may be torn; the next is not.
                let (journal, _folder) = journal_copy(&self.data(agent)).ok()?;
                let runs: (i64, i64) =
                    journal.query_row(finished, [], |row| Ok((row.get(0)?, row.get(1)?))).ok()?;
                ((runs.0 > 0 || !all_own_some) && runs.0 == runs.1).then_some(())
            });
        }
    }

    fn is_set_up(&self, node: usize) -> bool {
        let count = || {
            let connection = Connection::open_with_flags(self.store(node), OpenFlags::SQLITE_OPEN_READ_ONLY)?;
            connection.query_row(
                "SELECT count(*) FROM sqlite_schema WHERE type = 'trigger' AND name LIKE '\\_selfsame\\_%' ESCAPE '\\'",
                [],
                |row| row.get::<_, i64>(0),
            )
        };
        count().is_ok_and(|triggers| triggers >= 3)
    }

    /// `kill -9`; waits until it is gone. Nothing if it does not run.
    pub fn kill(&mut self, agent: usize) {
        self.agents[agent].kill();
    }

    /// Sends a signal to an agent.
    #[track_caller]
    pub fn signal(&self, agent: usize, signal: Signal) {
        self.agents[agent].signal(signal);
    }

    /// Lets an agent drain by `SIGTERM`, and says how it ended.
    #[track_caller]
    pub fn terminate(&mut self, agent: usize) -> ExitStatus {
        self.signal(agent, Signal::Terminate);
        self.wait_ended(agent)
    }

    /// Waits until an agent's process has ended, and says how.
    #[track_caller]
    pub fn wait_ended(&mut self, agent: usize) -> ExitStatus {
        self.agents[agent].wait_ended(READY_WITHIN)
    }

    /// Whether an agent's process runs, as far as it was looked at.
    pub fn runs(&self, agent: usize) -> bool {
        self.agents[agent].runs()
    }

    /// What the agent's process that runs, or ran last, has said: stdout and stderr.
    pub fn said(&self, agent: usize) -> String {
        self.agents[agent].said()
    }

    /// Runs a command of the binary, `--config` added behind its name, and waits for its answer.
    #[track_caller]
    pub fn cli(&self, arguments: &[&str]) -> Answer {
        self.cli_start(arguments).answer(ANSWER_WITHIN)
    }

    /// Starts a command of the binary, `--config` added at the end, and does not wait.
    #[track_caller]
    pub fn cli_start(&self, arguments: &[&str]) -> Running {
        Running::start(self.folder(), &[arguments, &["--config", "fleet.yaml"]].concat())
    }

    /// Runs a command of the binary just so, in the fleet's folder.
    #[track_caller]
    pub fn command(&self, arguments: &[&str]) -> Answer {
        Running::start(self.folder(), arguments).answer(ANSWER_WITHIN)
    }

    /// `selfsame run --scan --wait --output json`: its summary, whatever the verdict.
    #[track_caller]
    pub fn pass(&self) -> Value {
        let answer = self.cli(&["run", "--scan", "--wait", "--output", "json"]);
        assert!(matches!(answer.code, Some(0..=2)), "a run failed: {answer:?}");
        answer.json()
    }

    /// Passes until one says `in_sync`, so many at most; gives all of their summaries.
    #[track_caller]
    pub fn passes_until_in_sync(&self, passes_max: usize) -> Vec<Value> {
        let mut summaries = Vec::new();
        for _ in 0..passes_max {
            summaries.push(self.pass());
            if summaries.last().is_some_and(|summary| summary["verdict"] == "in_sync") {
                return summaries;
            }
        }
        panic!("not in sync after {passes_max} passes: {summaries:#?}");
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.agents.iter_mut().for_each(Agent::kill);
        if thread::panicking() {
            for agent in &self.agents {
                eprintln!("the end of the log of agent {}:\n{}", agent.name, agent.tail());
            }
        }
        if std::env::var_os("SELFSAME_TESTS_KEEP").is_some()
            && let Some(folder) = self.folder.take()
        {
            eprintln!("kept: {}", folder.keep().display());
        }
    }
}
