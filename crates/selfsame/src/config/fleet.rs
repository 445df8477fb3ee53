//! Reads agents, nodes, journal and claims. What a later check needs although something else is wrong stays in
//! drafts, each field with its place.

use std::path::{Component, Path, PathBuf};

use selfsame_agent::settings::{AgentSettings, JournalSettings};
use selfsame_core::{AgentName, NodeName};

use super::address::Address;
use super::problems::{At, Problem, Problems};
use super::section::Section;
use super::{NodeConfig, Setup, StoreConfig, defaults, shape, units};

/// An agent as far as it can be read.
pub(super) struct AgentDraft {
    /// Its name.
    pub(super) name: Option<At<AgentName>>,
    /// Its gRPC address.
    pub(super) grpc: Option<At<Address>>,
    /// Its HTTP address.
    pub(super) http: Option<At<Address>>,
    /// Its directory, from the file's directory.
    pub(super) data: Option<At<PathBuf>>,
    /// Its nodes.
    pub(super) nodes: Vec<At<NodeName>>,
}

impl AgentDraft {
    /// Reads an item of `agents`. Relative paths start at `directory`.
    pub(super) fn read(section: Section<'_>, directory: &Path, problems: &mut Problems) -> AgentDraft {
        section.require(&[], problems);
        AgentDraft {
            name: section.value("name", str::parse),
            grpc: section.value("grpc", Address::parse),
            http: section.value("http", Address::parse),
            data: section.value("data", units::path).map(|path| below(directory, path)),
            nodes: section.values("nodes", str::parse),
        }
    }

    /// The agent, if nothing of it is missing.
    pub(super) fn finish(self) -> Option<AgentSettings> {
        Some(AgentSettings {
            name: self.name?.value,
            grpc: self.grpc?.value.text,
            http: self.http?.value.text,
            data: self.data?.value,
            nodes: self.nodes.into_iter().map(|node| node.value).collect(),
        })
    }
}

/// A node as far as it can be read.
pub(super) struct NodeDraft {
    /// Its name.
    pub(super) name: Option<At<NodeName>>,
    /// The database file, from the file's directory.
    pub(super) path: Option<At<PathBuf>>,
    setup: Option<Setup>,
}

impl NodeDraft {
    /// Reads an item of `nodes`. Relative paths start at `directory`.
    pub(super) fn read(section: Section<'_>, directory: &Path, problems: &mut Problems) -> NodeDraft {
        let but: &[&str] = if shape::is_later_store(section.whole()) { &["path"] } else { &[] };
        section.require(but, problems);
        let tree = section.whole().over(&defaults::builtin("nodes[]"));
        let setup = match Section::new(&tree, "nodes[]").text("setup").map(|text| text.value) {
            Some("auto") => Some(Setup::Auto),
            Some("manual") => Some(Setup::Manual),
            _ => None,
        };
        NodeDraft {
            name: section.value("name", str::parse),
            path: section.value("path", units::path).map(|path| below(directory, path)),
            setup,
        }
    }

    /// The node, if nothing of it is missing.
    pub(super) fn finish(self) -> Option<NodeConfig> {
        let store = StoreConfig::Sqlite { path: self.path?.value, setup: self.setup? };
        Some(NodeConfig { name: self.name?.value, store })
    }
}

/// Reads `journal`.
pub(super) fn journal(section: Section<'_>, problems: &mut Problems) -> Option<JournalSettings> {
    let undo_retention = section.value("undo_retention", units::duration)?;
    let retention = section.value("retention", units::duration)?;
    if undo_retention.value > retention.value {
        // One of the two may be a default, which has no place.
        let place = undo_retention.place.max(retention.place);
        problems.add(
            Problem::new(place, "`journal.undo_retention` is longer than `journal.retention`")
                .hint("a run can be undone only as long as it is kept; set both"),
        );
    }
    Some(JournalSettings {
        before_images: section.value("before_images", units::boolean)?.value,
        undo_retention: undo_retention.value,
        retention: retention.value,
    })
}

/// A path as seen from the process: relative ones start at the directory of the file.
pub(super) fn below(directory: &Path, path: At<PathBuf>) -> At<PathBuf> {
    // `./` in the middle of a path says nothing; `..` stays, since links make it mean more than it shows.
    let plain = path.value.components().filter(|part| *part != Component::CurDir).collect::<PathBuf>();
    At { place: path.place, value: directory.join(plain) }
}
