//! Reads the fleet file: one YAML file for the whole fleet, the same for every agent and every command. It
//! decides what the file means, and refuses what it does not know; it never guesses, and never binds, opens or
//! writes anything (the secret is read).
//!
//! The way of a file: [`raw`] makes a tree with places of it, [`shape`] holds that against the table of settings
//! ([`schema_table`]), [`fleet`], [`collection`] and [`replica`] read it over the defaults, and [`check`] looks
//! at what contradicts each other. All problems are gathered and reported at once.

mod address;
mod check;
mod collection;
mod defaults;
mod fleet;
mod json_schema;
mod problems;
mod raw;
mod reference;
mod replica;
mod schema;
mod schema_table;
mod secret;
mod section;
mod shape;
mod suggest;
mod units;

#[cfg(test)]
mod bad_tests;
#[cfg(test)]
mod good_tests;

use std::fs;
use std::path::{Path, PathBuf};

use selfsame_agent::settings::FleetSettings;
use selfsame_core::NodeName;

pub(crate) use defaults::annotated_yaml;
pub(crate) use json_schema::json_schema;
pub(crate) use problems::{Problem, Problems};
pub(crate) use reference::markdown;
pub(crate) use units::duration;

use collection::Surroundings;
use fleet::{AgentDraft, NodeDraft};
use problems::{At, Place};
use raw::Node;
use section::Section;

/// What a fleet file says.
#[derive(Debug)]
pub(crate) struct FleetConfig {
    /// Agents, collections and all that they need to know.
    pub(crate) fleet: FleetSettings,
    /// The nodes, in the order of the file. Every node of an agent or a replica is among them.
    pub(crate) nodes: Vec<NodeConfig>,
    /// What is allowed but should be looked at.
    pub(crate) warnings: Vec<Problem>,
}

/// A node and how to open it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NodeConfig {
    /// Its name.
    pub(crate) name: NodeName,
    /// Its store.
    pub(crate) store: StoreConfig,
}

/// How to open a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StoreConfig {
    /// An SQLite database.
    Sqlite {
        /// The file. A relative path of the configuration was joined to the directory of the configuration.
        path: PathBuf,
        /// Who makes the agent's tables in it.
        setup: Setup,
    },
}

/// Who makes the agent's own tables and triggers in a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Setup {
    /// The agent, at start.
    Auto,
    /// A person, from the SQL that a command prints.
    Manual,
}

/// Reads a fleet file.
///
/// # Errors
/// All problems of the file, in the order of its lines: at least one.
pub(crate) fn load(path: &Path) -> Result<FleetConfig, Problems> {
    let file = path.display().to_string();
    let bytes = fs::read(path).map_err(|error| Problems::unreadable(&file, &error))?;
    let directory = path.parent().unwrap_or(Path::new(""));
    match std::str::from_utf8(&bytes) {
        Ok(text) => parse(text, directory, &file),
        Err(error) => {
            let line = bytes[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count() as u64 + 1;
            let mut problems = Problems::none(file);
            problems.add(Problem::new(Place { line, column: 1 }, "the line is not UTF-8"));
            Err(problems)
        }
    }
}

/// A fleet of three agents, nodes and replicas, for tests of what stands on a configuration.
#[cfg(test)]
pub(crate) fn example() -> FleetConfig {
    let text = include_str!("testdata/base.yaml");
    parse(text, Path::new("conf"), "fleet.yaml").unwrap_or_else(|problems| panic!("{problems}"))
}

/// Reads the text of a fleet file. Relative paths in it start at `directory`; `file` is what problems call it.
fn parse(text: &str, directory: &Path, file: &str) -> Result<FleetConfig, Problems> {
    let mut problems = Problems::none(file);
    let Some(root) = raw::read(text, &mut problems) else { return Err(problems.sorted()) };
    shape::check(&root, &mut problems);
    // Whatever the shape, the file is read as far as it goes: what is missing should be said at once, too.
    let config = read(&root, directory, &mut problems);
    match config {
        Some(config) if problems.is_empty() => Ok(config),
        _ => {
            if problems.is_empty() {
                problems.add(Problem::new(Place::START, "the file cannot be read as a fleet"));
            }
            Err(problems.sorted())
        }
    }
}

fn read(root: &Node, directory: &Path, problems: &mut Problems) -> Option<FleetConfig> {
    if !matches!(root.value, raw::Value::Map(_)) {
        return None;
    }
    let tree = root.over(&defaults::builtin(""));
    let top = Section::new(&tree, "");
    top.require(&[], problems);
    let name = top.value("fleet", str::parse::<NodeName>);
    let insecure = top.value("insecure", units::boolean).is_some_and(|insecure| insecure.value);

    let agents: Vec<AgentDraft> = top
        .sections("agents", "agents[]")
        .into_iter()
        .map(|section| AgentDraft::read(section, directory, problems))
        .collect();
    let nodes: Vec<NodeDraft> = top
        .sections("nodes", "nodes[]")
        .into_iter()
        .map(|section| NodeDraft::read(section, directory, problems))
        .collect();
    check::check(&agents, &nodes, insecure, problems);

    let mut warnings = Vec::new();
    let secret = match top.value("secret_file", units::path) {
        None => Some(Vec::new()),
        Some(path) => secret::read(&fleet::below(directory, path), problems, &mut warnings),
    };
    let node_names: Vec<&NodeName> =
        nodes.iter().filter_map(|node| Some(&node.name.as_ref()?.value)).collect();
    let around = Surroundings {
        fleet: name.as_ref().map_or("", |name| name.value.as_str()),
        secret: secret.as_deref().unwrap_or_default(),
        nodes: &node_names,
        defaults: &collection_defaults(&tree),
    };
    let collections = collections(top, &around, problems);
    let journal = top.section("journal").and_then(|journal| fleet::journal(journal, problems));

    Some(FleetConfig {
        fleet: FleetSettings {
            name: name?.value.to_string(),
            agents: agents.into_iter().map(AgentDraft::finish).collect::<Option<_>>()?,
            collections: collections?,
            secret: secret?,
            insecure,
            journal: journal?,
        },
        nodes: nodes.into_iter().map(NodeDraft::finish).collect::<Option<_>>()?,
        warnings,
    })
}

/// `defaults` over the built-in defaults of a collection.
fn collection_defaults(tree: &Node) -> Node {
    let builtin = defaults::builtin(schema::COLLECTION);
    match tree.member(schema::DEFAULTS) {
        Some(node @ Node { value: raw::Value::Map(_), .. }) => node.over(&builtin),
        _ => builtin,
    }
}

fn collections(
    top: Section<'_>,
    around: &Surroundings<'_>,
    problems: &mut Problems,
) -> Option<Vec<selfsame_agent::settings::CollectionSettings>> {
    let items = top.sections("collections", schema::COLLECTION);
    let (names, settings): (Vec<Option<At<_>>>, Vec<Option<_>>) =
        items.iter().map(|item| collection::read(item.whole(), around, problems)).unzip();
    check::unique_names("collections", names.iter().flatten(), problems);
    settings.into_iter().collect()
}
