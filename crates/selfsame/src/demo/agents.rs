//! The three agents: a configuration for them, and their processes, which end when this value does.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::cancel::Cancel;
use super::file::{TABLE, has_change_table};
use super::kinds::{NODE_COUNT, NodeIndex};

/// The fleet's configuration, in the demo's folder.
pub(super) const FLEET_FILE: &str = "fleet.yaml";

/// Between the two reads of a confirm. Hundreds of times what the writer needs to reach all nodes.
pub(super) const SETTLE: Duration = Duration::from_millis(600);

/// Agents that are not there by then will not come. A guess, generous for a machine under load.
const READY_WITHIN: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(50);

/// Lines of a log that are shown after a failure.
const LOG_LINES: usize = 8;

/// A child that is killed when it is dropped.
pub(super) struct ChildGuard(Child);

impl ChildGuard {
    /// Takes charge of a child.
    pub(super) fn of(child: Child) -> ChildGuard {
        ChildGuard(child)
    }

    /// How it ended, if it did.
    pub(super) fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.0.try_wait()?)
    }

    /// The operating system's number for it.
    pub(super) fn id(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for ChildGuard {
    fn drop(&mut self) {
        // Errors mean that it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The running agents.
pub(super) struct Agents {
    program: PathBuf,
    children: Vec<ChildGuard>,
    addresses: Vec<SocketAddr>,
    folder: PathBuf,
}

impl Agents {
    /// Writes the configuration and starts an agent beside each node.
    pub(super) fn start(program: PathBuf, folder: &Path) -> Result<Agents> {
        let addresses = free_addresses()?;
        fs::write(folder.join(FLEET_FILE), fleet_yaml(&addresses))?;
        let addresses = addresses[..NODE_COUNT].to_vec();
        let mut agents = Agents { program, children: Vec::new(), addresses, folder: folder.to_owned() };
        for node in NodeIndex::all() {
            let child = agents.spawn(node)?;
            agents.children.push(child);
        }
        Ok(agents)
    }

    fn spawn(&self, node: NodeIndex) -> Result<ChildGuard> {
        let child = Command::new(&self.program)
            .args(["agent", "--config"])
            .arg(self.folder.join(FLEET_FILE))
            .args(["--name", node.agent()])
            .stdin(Stdio::null())
            .stdout(self.open_log(node, "out")?)
            .stderr(self.open_log(node, "log")?)
            .spawn()
            .context("cannot start an agent")?;
        Ok(ChildGuard::of(child))
    }

    /// Lets the agent beside a node drain, and waits until it has ended.
    pub(super) fn stop(&mut self, node: NodeIndex, cancel: &Cancel) -> Result<()> {
        let agent = node.agent();
        let id = self.children[node.0].id().to_string();
        // Every shell has `kill`; not every system has it as a program.
        let asked = Command::new("sh").args(["-c", "kill -TERM \"$0\"", &id]).status();
        if !asked.with_context(|| format!("cannot stop agent {agent}"))?.success() {
            bail!("agent {agent} cannot be stopped");
        }
        let began = Instant::now();
        let status = loop {
            if let Some(status) = self.children[node.0].ended()? {
                break status;
            }
            cancel.check()?;
            if began.elapsed() > READY_WITHIN {
                bail!("agent {agent} has not ended after {} s", READY_WITHIN.as_secs());
            }
            thread::sleep(POLL);
        };
        if !status.success() {
            bail!("agent {agent} did not end well ({status})\n{}", tail_of(&self.log(node, "log")));
        }
        Ok(())
    }

    /// Starts the agent beside a node that was stopped, and waits until all are ready.
    pub(super) fn start_again(&mut self, node: NodeIndex, cancel: &Cancel) -> Result<()> {
        self.children[node.0] = self.spawn(node)?;
        self.ready(cancel)
    }

    /// Waits until every agent answers and records changes in its node's file.
    pub(super) fn ready(&mut self, cancel: &Cancel) -> Result<()> {
        let began = Instant::now();
        for node in NodeIndex::all() {
            while !self.is_ready(node)? {
                cancel.check()?;
                if let Some(status) = self.children[node.0].ended()? {
                    bail!(
                        "agent {} ended at start ({status})\n{}",
                        node.agent(),
                        tail_of(&self.log(node, "log"))
                    );
                }
                if began.elapsed() > READY_WITHIN {
                    let log = tail_of(&self.log(node, "log"));
                    bail!("agent {} is not ready after {} s\n{log}", node.agent(), READY_WITHIN.as_secs());
                }
                thread::sleep(POLL);
            }
        }
        Ok(())
    }

    fn is_ready(&self, node: NodeIndex) -> Result<bool> {
        let answers = TcpStream::connect_timeout(&self.addresses[node.0], POLL).is_ok();
        Ok(answers && has_change_table(&self.folder.join(node.file()))?)
    }

    /// The processes' numbers, by node.
    pub(super) fn ids(&self) -> Vec<u32> {
        self.children.iter().map(ChildGuard::id).collect()
    }

    /// The first agent that has ended, though nobody asked it to.
    pub(super) fn first_ended(&mut self) -> Result<Option<String>> {
        for node in NodeIndex::all() {
            if let Some(status) = self.children[node.0].ended()? {
                return Ok(Some(format!("agent {} ended by itself ({status})", node.agent())));
            }
        }
        Ok(None)
    }

    /// An agent that is started again goes on in its log.
    fn open_log(&self, node: NodeIndex, extension: &str) -> Result<File> {
        Ok(File::options().create(true).append(true).open(self.log(node, extension))?)
    }

    fn log(&self, node: NodeIndex, extension: &str) -> PathBuf {
        self.folder.join(format!("agent-{}.{extension}", node.agent()))
    }
}

/// The end of a log.
pub(super) fn tail_of(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.len().saturating_sub(LOG_LINES);
    lines[from..].iter().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}

/// Addresses that nobody listens on right now: for each node gRPC, then for each node HTTP.
fn free_addresses() -> Result<Vec<SocketAddr>> {
    // All are held at once, so that no two are the same.
    let listeners = (0..2 * NODE_COUNT).map(|_| TcpListener::bind("127.0.0.1:0"));
    let listeners: Vec<TcpListener> =
        listeners.collect::<Result<_, _>>().context("no free port on loopback")?;
    Ok(listeners.iter().map(TcpListener::local_addr).collect::<Result<_, _>>()?)
}

/// Paths are relative to the file.
fn fleet_yaml(addresses: &[SocketAddr]) -> String {
    let mut yaml = String::from("fleet: demo\nagents:\n");
    for node in NodeIndex::all() {
        let (grpc, http) = (addresses[node.0], addresses[NODE_COUNT + node.0]);
        let (agent, name) = (node.agent(), node.name());
        yaml += &format!(
            "  - {{ name: {agent}, grpc: \"{grpc}\", http: \"{http}\", data: ./{agent}, nodes: [{name}] }}\n"
        );
    }
    yaml += "nodes:\n";
    for node in NodeIndex::all() {
        yaml += &format!(
            "  - {{ name: {}, store: sqlite, path: ./{}, setup: auto }}\n",
            node.name(),
            node.file()
        );
    }
    let nodes: Vec<&str> = NodeIndex::all().map(NodeIndex::name).collect();
    yaml += &format!(
        "collections:
  - name: {TABLE}
    source: {{ table: {TABLE}, document: body }}
    key: [id]
    version: {{ field: updated_at, unit: us }}
    expiry: {{ field: expires_at, unit: us }}
    shards: 4
    replicas: [{}]
    schedule: {{ exchange: off }}
    repair: auto
    first_pass: auto
    settle: {}ms
    feed: {{ enabled: true }}
    # A few documents of one's own may all be damaged within the day.
    brakes: {{ repair_share_max: 100% }}
    throttle: {{ rows_per_second: 10000000, bytes_per_second: 4GiB }}
",
        nodes.join(", "),
        SETTLE.as_millis()
    );
    yaml
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_agent_has_its_own_node_and_ports() {
        let addresses = free_addresses().unwrap();
        let yaml = fleet_yaml(&addresses);
        for address in &addresses {
            assert_eq!(yaml.matches(&format!("\"{address}\"")).count(), 1, "{yaml}");
        }
        for node in NodeIndex::all() {
            assert!(yaml.contains(&format!("data: ./{}, nodes: [{}]", node.agent(), node.name())), "{yaml}");
        }
    }

    #[test]
    fn only_the_end_of_a_log_is_shown() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        fs::write(&log, (0..20).map(|line| format!("{line}\n")).collect::<String>()).unwrap();
        assert!(tail_of(&log).starts_with("  12\n") && tail_of(&log).ends_with("\n  19"));
        assert_eq!(tail_of(&folder.path().join("none")), "");
    }
}
