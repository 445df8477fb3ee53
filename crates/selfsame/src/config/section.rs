//! Reads settings out of mappings whose shape was checked: whatever does not parse here was reported there, and
//! is simply not there.

use super::problems::{At, Place, Problem, Problems};
use super::raw::{Node, Value};
use super::schema::{self, Need};

/// A mapping of the file, and its place in the table of settings.
#[derive(Clone, Copy)]
pub(super) struct Section<'n> {
    node: &'n Node,
    path: &'static str,
}

impl<'n> Section<'n> {
    /// `node`, whose settings stand at `path` in the table (`""`: the file itself).
    pub(super) fn new(node: &'n Node, path: &'static str) -> Section<'n> {
        Section { node, path }
    }

    /// The mapping itself.
    pub(super) fn whole(&self) -> &'n Node {
        self.node
    }

    /// Where it begins.
    pub(super) fn place(&self) -> Place {
        self.node.place
    }

    /// The value of a setting; none if it is absent or null.
    pub(super) fn node(&self, name: &str) -> Option<&'n Node> {
        self.node.member(name).filter(|node| !matches!(node.value, Value::Null | Value::Empty))
    }

    /// The text of a setting.
    pub(super) fn text(&self, name: &str) -> Option<At<&'n str>> {
        text_of(self.node(name)?)
    }

    /// A setting, parsed. The error was reported with the shape.
    pub(super) fn value<T, E>(&self, name: &str, parse: fn(&str) -> Result<T, E>) -> Option<At<T>> {
        let text = self.text(name)?;
        parse(text.value).ok().map(|value| At { place: text.place, value })
    }

    /// The items of a list of texts; those that do not parse are left out.
    pub(super) fn values<T, E>(&self, name: &str, parse: fn(&str) -> Result<T, E>) -> Vec<At<T>> {
        let parsed = |node| {
            let text: At<&str> = text_of(node)?;
            parse(text.value).ok().map(|value| At { place: text.place, value })
        };
        self.items(name).iter().filter_map(parsed).collect()
    }

    /// A mapping within this one.
    pub(super) fn section(&self, name: &str) -> Option<Section<'n>> {
        let setting = schema::setting(self.path, name)?;
        self.node(name)
            .filter(|node| matches!(node.value, Value::Map(_)))
            .map(|node| Section::new(node, setting.path))
    }

    /// The items of a list; none if it is no list.
    pub(super) fn items(&self, name: &str) -> &'n [Node] {
        match self.node(name) {
            Some(Node { value: Value::List(items), .. }) => items,
            _ => &[],
        }
    }

    /// The mappings of a list, whose settings stand at `path` in the table.
    pub(super) fn sections(&self, name: &str, path: &'static str) -> Vec<Section<'n>> {
        let mappings = self.items(name).iter().filter(|node| matches!(node.value, Value::Map(_)));
        mappings.map(|node| Section::new(node, path)).collect()
    }

    /// Adds a problem for each required setting that is absent, but for those of `but`.
    pub(super) fn require(&self, but: &[&str], problems: &mut Problems) {
        for setting in schema::settings_of(self.path) {
            let required = setting.need == Need::Required && !but.contains(&setting.name());
            if required && self.node.member(setting.name()).is_none() {
                let problem = Problem::new(self.place(), format!("`{}` is missing", setting.shown()));
                problems.add(problem.hint(format!("{} ({})", sentence(setting.meaning), setting.describe())));
            }
        }
    }
}

/// The text of a scalar.
pub(super) fn text_of(node: &Node) -> Option<At<&str>> {
    match &node.value {
        Value::Text(text) => Some(At { place: node.place, value: text }),
        _ => None,
    }
}

/// The first sentence of a meaning, as a hint.
fn sentence(meaning: &str) -> String {
    let first = meaning.split_once(". ").map_or(meaning, |(first, _)| first).trim_end_matches('.');
    let mut chars = first.chars();
    chars.next().map(|c| c.to_lowercase().chain(chars).collect()).unwrap_or_default()
}
