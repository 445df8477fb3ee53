//! Checks agents and nodes against each other: what two of them cannot share, and what belongs to nobody.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Display;
use std::hash::Hash;
use std::net::Ipv4Addr;
use std::path::{Component, Path, PathBuf};

use selfsame_core::{AgentName, NodeName};

use super::address::{Address, Host};
use super::fleet::{AgentDraft, NodeDraft};
use super::problems::{At, Place, Problem, Problems};
use super::suggest;

/// Adds what is wrong among agents and nodes.
pub(super) fn check(agents: &[AgentDraft], nodes: &[NodeDraft], insecure: bool, problems: &mut Problems) {
    unique_names("agents", agents.iter().filter_map(|agent| agent.name.as_ref()), problems);
    unique_names("nodes", nodes.iter().filter_map(|node| node.name.as_ref()), problems);
    attachments(agents, nodes, problems);
    addresses(agents, insecure, problems);
    directories(agents, problems);
    database_files(agents, nodes, problems);
}

/// Adds a problem for each name that stood before.
pub(super) fn unique_names<'a, T: Eq + Hash + Display + 'a>(
    what: &str,
    names: impl Iterator<Item = &'a At<T>>,
    problems: &mut Problems,
) {
    let mut seen: HashMap<&T, Place> = HashMap::new();
    for name in names {
        if let Some(first) = seen.get(&name.value) {
            let message = format!("two {what} are named `{}`", name.value);
            problems
                .add(Problem::new(name.place, message).hint(format!("the first is in line {}", first.line)));
        } else {
            seen.insert(&name.value, name.place);
        }
    }
}

/// Adds a problem for a name of a node that does not exist. If no node has a name, that is problem enough.
pub(super) fn known_node(name: &At<NodeName>, known: &[&NodeName], problems: &mut Problems) -> bool {
    let exists = known.is_empty() || known.contains(&&name.value);
    if !exists {
        let problem = Problem::new(name.place, format!("there is no node `{}`", name.value));
        problems.add(match suggest::nearest(name.value.as_str(), known.iter().map(|node| node.as_str())) {
            Some(near) => problem.hint(format!("did you mean `{near}`?")),
            None => problem.hint("list it under `nodes`"),
        });
    }
    exists
}

/// Every node is attached to exactly one agent.
fn attachments(agents: &[AgentDraft], nodes: &[NodeDraft], problems: &mut Problems) {
    let known: Vec<&NodeName> = nodes.iter().filter_map(|node| Some(&node.name.as_ref()?.value)).collect();
    let mut attached: HashMap<&NodeName, Place> = HashMap::new();
    for node in agents.iter().flat_map(|agent| &agent.nodes) {
        known_node(node, &known, problems);
        if let Some(first) = attached.insert(&node.value, node.place) {
            let message = format!("node `{}` is attached to two agents", node.value);
            let hint =
                format!("one agent reads and repairs a node; the other attachment is in line {}", first.line);
            problems.add(Problem::new(node.place, message).hint(hint));
        }
    }
    // Of an agent without a list, which is a problem already, nobody knows what it would have listed.
    if agents.is_empty() || agents.iter().any(|agent| agent.nodes.is_empty()) {
        return;
    }
    for name in nodes.iter().filter_map(|node| node.name.as_ref()) {
        if !attached.contains_key(&name.value) {
            let message = format!("node `{}` is attached to no agent", name.value);
            problems
                .add(Problem::new(name.place, message).hint("list it under `nodes` of the agent beside it"));
        }
    }
}

/// The machine that an agent runs on, as far as its gRPC address tells. Agents of different machines may have
/// the same directories and loopback ports.
fn machine(agent: &AgentDraft) -> Option<Host> {
    let host = &agent.grpc.as_ref()?.value.host;
    Some(if host.is_loopback() { Host::Ip(Ipv4Addr::LOCALHOST.into()) } else { host.clone() })
}

/// An address on which an agent listens.
struct Listener<'a> {
    name: &'static str,
    agent: Option<&'a At<AgentName>>,
    machine: Option<Host>,
    address: &'a At<Address>,
}

impl Listener<'_> {
    /// Whether the two cannot listen at once.
    fn clashes_with(&self, other: &Listener<'_>) -> bool {
        let (host, other_host) = (&self.address.value.host, &other.address.value.host);
        let same_machine = self.machine.is_some() && self.machine == other.machine;
        let local = host.is_loopback() || host.is_unspecified();
        self.address.value.port == other.address.value.port
            && ((host == other_host && (!local || same_machine))
                || (same_machine && (host.is_unspecified() || other_host.is_unspecified())))
    }
}

fn addresses(agents: &[AgentDraft], insecure: bool, problems: &mut Problems) {
    let mut by_port: BTreeMap<u16, Vec<Listener<'_>>> = BTreeMap::new();
    for agent in agents {
        for (name, address) in [("grpc", &agent.grpc), ("http", &agent.http)] {
            let Some(address) = address else { continue };
            let listener = Listener { name, agent: agent.name.as_ref(), machine: machine(agent), address };
            exposure(&listener, insecure, problems);
            let others = by_port.entry(address.value.port).or_default();
            if let Some(other) = others.iter().find(|other| listener.clashes_with(other)) {
                let owner = other
                    .agent
                    .map_or_else(|| "another agent".to_owned(), |a| format!("agent `{}`", a.value));
                let message = format!(
                    "`{name}`: `{}` is taken by `{}` of {owner} in line {}",
                    address.value.text, other.name, other.address.place.line
                );
                problems.add(Problem::new(address.place, message).hint("give each a port of its own"));
            }
            others.push(listener);
        }
    }
}

fn exposure(listener: &Listener<'_>, insecure: bool, problems: &mut Problems) {
    let Listener { name, address, .. } = listener;
    let (place, text) = (address.place, &address.value.text);
    if *name == "grpc" && address.value.host.is_unspecified() {
        problems.add(
            Problem::new(place, format!("`grpc`: the other agents cannot dial `{text}`"))
                .hint("write the name or the address by which they reach this agent"),
        );
    } else if !insecure && !address.value.host.is_loopback() {
        problems.add(Problem::new(place, format!("`{name}`: `{text}` is beyond loopback, without TLS")).hint(
            "`tls` is not built yet in this version; on a network that you trust, write `insecure: true` at the \
             top of the file",
        ));
    }
}

/// Two agents of one machine cannot have one directory.
fn directories(agents: &[AgentDraft], problems: &mut Problems) {
    let mut seen: HashMap<(Host, PathBuf), Place> = HashMap::new();
    for agent in agents {
        let (Some(machine), Some(data)) = (machine(agent), &agent.data) else { continue };
        if let Some(first) = seen.insert((machine, identity(&data.value)), data.place) {
            let message = format!(
                "`data`: {} is another agent's directory, in line {}",
                data.value.display(),
                first.line
            );
            problems.add(Problem::new(data.place, message).hint("each agent on a machine needs its own"));
        }
    }
}

/// Two nodes on one machine cannot be one file: the replicas would always agree.
fn database_files(agents: &[AgentDraft], nodes: &[NodeDraft], problems: &mut Problems) {
    let attached: HashMap<&NodeName, &AgentDraft> =
        agents.iter().flat_map(|agent| agent.nodes.iter().map(move |node| (&node.value, agent))).collect();
    let mut seen: HashMap<(Host, PathBuf), Place> = HashMap::new();
    for node in nodes {
        let (Some(name), Some(path)) = (&node.name, &node.path) else { continue };
        let Some(machine) = attached.get(&name.value).and_then(|agent| machine(agent)) else { continue };
        if let Some(first) = seen.insert((machine, identity(&path.value)), path.place) {
            let message =
                format!("`path`: {} is another node's file, in line {}", path.value.display(), first.line);
            problems.add(Problem::new(path.place, message).hint("each node is a database of its own"));
        }
    }
}

/// A path without what spellings of one path differ in. Links are not followed: the check may run elsewhere.
fn identity(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut plain = PathBuf::new();
    for part in absolute.components() {
        match part {
            Component::ParentDir => {
                plain.pop();
            }
            Component::CurDir => {}
            part => plain.push(part),
        }
    }
    plain
}
