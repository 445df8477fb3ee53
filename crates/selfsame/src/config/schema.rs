//! Every setting that a fleet file may have: one table, from which come the known names, the checks of values,
//! the built-in defaults, `selfsame config defaults` and the tables of the documentation.

use super::schema_table::SETTINGS;

/// The place of a collection's settings in the table; those under `defaults` are the same.
pub(super) const COLLECTION: &str = "collections[]";

/// The place of `defaults`.
pub(super) const DEFAULTS: &str = "defaults";

/// The place of one replica's overrides.
pub(super) const REPLICA: &str = "collections[].replicas[]";

/// The settings of a collection that a replica may have otherwise.
pub(super) const OVERRIDES: [&str; 5] = ["source", "key", "version", "expiry", "deletion"];

/// One setting.
#[derive(Debug)]
pub(super) struct Setting {
    /// Its path: members by dots, items of a list as `[]`.
    pub(super) path: &'static str,
    /// What values it takes.
    pub(super) kind: Kind,
    /// Whether it must be there, and what it is if it is not.
    pub(super) need: Need,
    /// What it means to an operator.
    pub(super) meaning: &'static str,
}

/// What values a setting takes. Bounds are texts in the setting's own unit, so that messages and documentation
/// show them as one would write them.
#[derive(Debug)]
pub(super) enum Kind {
    /// A name of an agent, a node, a collection or the fleet.
    Name,
    /// Names.
    Names,
    /// A name of a field, a column or a table.
    Field,
    /// At least one field.
    Fields,
    /// A path; a relative one starts from the directory of the file.
    Path,
    /// `HOST:PORT`.
    Address,
    /// `true` or `false`.
    Boolean,
    /// A whole number within bounds.
    Whole {
        /// The least.
        min: u64,
        /// The most.
        max: u64,
    },
    /// Bytes within bounds.
    Size {
        /// The least.
        min: &'static str,
        /// The most.
        max: &'static str,
    },
    /// A share, from 0 to 1.
    Share,
    /// A duration within bounds.
    Duration {
        /// The shortest.
        min: &'static str,
        /// The longest.
        max: &'static str,
    },
    /// `every` and a duration within bounds.
    Every {
        /// The shortest.
        min: &'static str,
        /// The longest.
        max: &'static str,
    },
    /// One of some words.
    Choice(Choice),
    /// One of some words, or a mapping.
    ChoiceOrSection(Choice),
    /// A mapping.
    Section,
    /// A list of mappings.
    Sections,
    /// A list of names or mappings.
    Replicas,
}

/// Words.
#[derive(Debug)]
pub(super) struct Choice {
    /// Those that this version takes.
    pub(super) built: &'static [&'static str],
    /// Those that a later version takes.
    pub(super) not_built: &'static [&'static str],
}

/// Whether a setting must be there.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// It must.
    Required,
    /// It need not, and there is nothing in its place. An explicit `null` takes an inherited one away.
    Optional,
    /// It need not, and this is in its place.
    Default(&'static str),
    /// It need not; its members have defaults of their own.
    Group,
    /// It is known, but this version has not got it: refused, lest somebody relies on it.
    NotBuilt,
}

impl Setting {
    /// The last name of the path.
    pub(super) fn name(&self) -> &'static str {
        self.path.rsplit_once('.').map_or(self.path, |(_, name)| name)
    }

    /// The place in the table of the mapping that has this setting.
    pub(super) fn parent(&self) -> &'static str {
        self.path.rsplit_once('.').map_or("", |(parent, _)| parent)
    }

    /// The path as messages show it, within the nearest list item.
    pub(super) fn shown(&self) -> &'static str {
        shown(self.path)
    }

    /// What values it takes, in words, in one line.
    pub(super) fn describe(&self) -> String {
        match &self.kind {
            Kind::Name => "name".to_owned(),
            Kind::Names => "list of names".to_owned(),
            Kind::Field => "name".to_owned(),
            Kind::Fields => "list of fields".to_owned(),
            Kind::Path => "path".to_owned(),
            Kind::Address => "HOST:PORT".to_owned(),
            Kind::Boolean => "true or false".to_owned(),
            Kind::Whole { min, max: u64::MAX } => format!("whole number from {min}"),
            Kind::Whole { min, max } => format!("whole number, {min} to {max}"),
            Kind::Size { min, max } => format!("size, {min} to {max}"),
            Kind::Share => "share, 0% to 100%".to_owned(),
            Kind::Duration { min, max } => format!("duration, {min} to {max}"),
            Kind::Every { min, max } => format!("every DURATION, {min} to {max}; or off"),
            Kind::Choice(Choice { built: [only], .. }) => format!("only {only}"),
            Kind::Choice(choice) => format!("one of {}", choice.built.join(", ")),
            Kind::ChoiceOrSection(choice) => format!("one of {}, or a mapping", choice.built.join(", ")),
            Kind::Section => "mapping".to_owned(),
            Kind::Sections => "list of mappings".to_owned(),
            Kind::Replicas => "list of nodes, or of mappings".to_owned(),
        }
    }
}

/// A path of the table as messages show it, within the nearest list item.
pub(super) fn shown(path: &str) -> &str {
    path.rsplit_once("[].").map_or(path, |(_, inner)| inner)
}

/// The settings of a mapping, by the mapping's place in the table (`""`: the file itself).
pub(super) fn settings_of(parent: &str) -> impl Iterator<Item = &'static Setting> {
    let place = if parent == DEFAULTS { COLLECTION } else { parent };
    // The name is the one setting that collections cannot share.
    let shared = move |setting: &&Setting| parent != DEFAULTS || setting.path != "collections[].name";
    let overridden = move |setting: &&Setting| {
        parent == REPLICA && setting.parent() == COLLECTION && OVERRIDES.contains(&setting.name())
    };
    SETTINGS
        .iter()
        .filter(move |setting| (setting.parent() == place && shared(setting)) || overridden(setting))
}

/// A setting of a mapping, by its name.
pub(super) fn setting(parent: &str, name: &str) -> Option<&'static Setting> {
    settings_of(parent).find(|setting| setting.name() == name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::config::units;

    #[test]
    fn paths_are_unique_and_have_parents() {
        let paths: BTreeSet<_> = SETTINGS.iter().map(|setting| setting.path).collect();
        assert_eq!(paths.len(), SETTINGS.len());
        for setting in SETTINGS {
            let parent = setting.parent();
            let list = parent.strip_suffix("[]").unwrap_or(parent);
            assert!(parent.is_empty() || paths.contains(list), "{}", setting.path);
        }
    }

    #[test]
    fn bounds_parse_and_leave_room() {
        for setting in SETTINGS {
            let room = match setting.kind {
                Kind::Whole { min, max } => min < max,
                Kind::Size { min, max } => units::size(min).unwrap() < units::size(max).unwrap(),
                Kind::Duration { min, max } | Kind::Every { min, max } => {
                    units::duration(min).unwrap() < units::duration(max).unwrap()
                }
                _ => true,
            };
            assert!(room, "{}", setting.path);
        }
    }

    #[test]
    fn brakes_say_that_each_shard_is_counted_by_itself() {
        for setting in settings_of("collections[].brakes").filter(|setting| setting.need != Need::NotBuilt) {
            assert!(setting.meaning.contains("shard"), "{}: {}", setting.path, setting.meaning);
        }
    }

    #[test]
    fn every_setting_says_what_it_means() {
        for setting in SETTINGS {
            assert!(setting.meaning.ends_with('.') && !setting.meaning.contains('|'), "{}", setting.path);
        }
    }
}
