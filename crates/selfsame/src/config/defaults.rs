//! The built-in defaults as a tree to lay a file over, and in words for people.

use super::problems::Place;
use super::raw::{Member, Node, Value};
use super::schema::{self, COLLECTION, Kind, Need, Setting};

/// The built-in defaults of the mapping at `path` in the table, with those of its members.
pub(super) fn builtin(path: &str) -> Node {
    let place = Place::default();
    let member = |setting: &'static Setting| {
        let node = match setting.need {
            Need::Default(text) => Node { place, value: Value::Text(text.to_owned()) },
            Need::Group => builtin(setting.path),
            Need::Required | Need::Optional | Need::NotBuilt => return None,
        };
        Some(Member { name: setting.name().to_owned(), place, node })
    };
    // `defaults` has what a collection has: it is laid over, never part of the ground.
    let own = schema::settings_of(path).filter(|setting| setting.path != schema::DEFAULTS);
    Node { place, value: Value::Map(own.filter_map(member).collect()) }
}

/// A YAML file of all settings of collections, journal and claims that have a default, with what they mean.
/// Those without a default are there as comments.
pub(crate) fn annotated_yaml() -> String {
    let mut out = String::from(
        "# Every setting of a collection with its default. A collection's own settings come before these.\n\
         defaults:\n",
    );
    annotate(COLLECTION, 1, &mut out);
    out.push_str("\n# The defaults of the fleet.\njournal:\n");
    annotate("journal", 1, &mut out);
    out.push_str("claims:\n");
    annotate("claims", 1, &mut out);
    out
}

fn annotate(path: &str, depth: usize, out: &mut String) {
    let indent = "  ".repeat(depth);
    let shared = schema::settings_of(path).filter(|setting| setting.path != "collections[].name");
    for setting in shared {
        let (name, meaning, values) = (setting.name(), setting.meaning, setting.describe());
        let line = match setting.need {
            Need::NotBuilt => continue,
            Need::Group => format!("{indent}# {meaning}\n{indent}{name}:\n"),
            Need::Default(default) => {
                format!("{indent}# {meaning} ({values})\n{indent}{name}: {default}\n")
            }
            Need::Required => format!("{indent}# {meaning} ({values}; required)\n{indent}# {name}:\n"),
            Need::Optional => format!("{indent}# {meaning} ({values}; none)\n{indent}# {name}:\n"),
        };
        out.push_str(&line);
        match (&setting.kind, &setting.need) {
            (_, Need::Group) => annotate(setting.path, depth + 1, out),
            (Kind::Section, _) => annotate_commented(setting.path, depth, out),
            _ => {}
        }
    }
}

/// The members of a mapping that is a comment itself.
fn annotate_commented(path: &str, depth: usize, out: &mut String) {
    let indent = "  ".repeat(depth);
    for setting in schema::settings_of(path).filter(|setting| setting.need != Need::NotBuilt) {
        let needed = if setting.need == Need::Required { "required" } else { "none" };
        out.push_str(&format!(
            "{indent}#   # {} ({}; {needed})\n{indent}#   {}:\n",
            setting.meaning,
            setting.describe(),
            setting.name()
        ));
    }
}
