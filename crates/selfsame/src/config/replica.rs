//! Reads the replicas of a collection, each with its mapping, and checks that they can be compared at all.

use std::collections::HashMap;

use selfsame_agent::settings::ReplicaSettings;
use selfsame_core::{
    Fingerprinter, KeyAs, Mapping, MappingError, MappingSpec, NodeName, ShardCount, TimeField, Unit,
    VersionKind,
};

use super::problems::{At, Place, Problem, Problems};
use super::raw::{Node, Value};
use super::section::Section;
use super::units;

/// A replica as far as it can be read.
pub(super) struct ReplicaDraft {
    place: Place,
    /// The node that holds it.
    pub(super) node: Option<At<NodeName>>,
    source: Option<String>,
    mapping: Option<MappingSpec>,
    places: MappingPlaces,
}

/// Where the parts of a mapping stand, for what only the whole mapping shows to be wrong.
#[derive(Default)]
struct MappingPlaces {
    key: Place,
    columns: Place,
    /// Fields and where they are named, in the order of the settings that name them.
    fields: Vec<At<String>>,
}

/// A setting that is there but wrong, which was reported with the shape.
struct Reported;

impl ReplicaDraft {
    /// Reads a replica out of `tree`, its settings laid over its collection's.
    pub(super) fn read(
        place: Place,
        node: Option<At<NodeName>>,
        tree: Section<'_>,
        problems: &mut Problems,
    ) -> ReplicaDraft {
        tree.require(&["name", "replicas"], problems);
        for name in ["source", "version", "expiry", "deletion"] {
            if let Some(section) = tree.section(name) {
                section.require(&[], problems);
            }
        }
        let source = tree.section("source").and_then(|source| source.value("table", units::field));
        ReplicaDraft {
            place,
            node,
            source: source.map(|table| table.value),
            mapping: mapping(tree),
            places: MappingPlaces::of(tree),
        }
    }

    /// What its versions are, if its mapping can be read.
    pub(super) fn version_kind(&self) -> Option<VersionKind> {
        Some(match &self.mapping.as_ref()?.version {
            None => VersionKind::None,
            Some(TimeField { unit: Unit::Counter, .. }) => VersionKind::Counter,
            Some(_) => VersionKind::Time,
        })
    }

    /// Adds what is wrong with the mapping as a whole.
    pub(super) fn check_mapping(
        &self,
        fleet: &str,
        collection: &str,
        secret: &[u8],
        problems: &mut Problems,
    ) {
        let Some(spec) = &self.mapping else { return };
        let Err(error) = Mapping::new(spec.clone(), Fingerprinter::new(fleet, collection, secret)) else {
            return;
        };
        let place = match &error {
            MappingError::NoKey => self.places.key,
            MappingError::DocumentAndColumns => self.places.columns,
            MappingError::TwoRoles(field) => self.places.last_named(field, 1),
            MappingError::CounterIsNoTime(field) => self.places.last_named(field, 0),
        };
        let place = if place.is_known() { place } else { self.place };
        let problem = Problem::new(place, error.to_string());
        problems.add(match error {
            MappingError::TwoRoles(_) => problem.hint(
                "a field is one of key, version, expiry, deletion, document and ignored; a key in the JSON column need not \
                 be named there",
            ),
            MappingError::CounterIsNoTime(_) => problem.hint("s, ms, us or rfc3339"),
            MappingError::DocumentAndColumns => problem.hint("the document is one column, or it is the columns"),
            MappingError::NoKey => problem,
        });
    }

    /// The replica, if nothing of it is missing.
    pub(super) fn finish(self) -> Option<ReplicaSettings> {
        Some(ReplicaSettings { node: self.node?.value, source: self.source?, mapping: self.mapping? })
    }
}

impl MappingPlaces {
    fn of(tree: Section<'_>) -> MappingPlaces {
        let place = |node: Option<&Node>| node.map(|node| node.place).unwrap_or_default();
        let source = tree.section("source");
        let mut fields = tree.values("key", units::field);
        fields.extend(source.and_then(|source| source.value("document", units::field)));
        for name in ["version", "expiry", "deletion"] {
            fields.extend(tree.section(name).and_then(|section| section.value("field", units::field)));
        }
        fields.extend(tree.values("ignore_fields", units::field));
        MappingPlaces {
            key: place(tree.node("key")),
            columns: place(source.and_then(|source| source.node("columns"))),
            fields,
        }
    }

    /// Where `field` is named for the second time (`earlier` 1) or the last (0).
    fn last_named(&self, field: &str, earlier: usize) -> Place {
        let mut named = self.fields.iter().filter(|at| at.value == field).map(|at| at.place);
        match earlier {
            0 => named.next_back(),
            _ => named.nth(earlier),
        }
        .unwrap_or_default()
    }
}

fn mapping(tree: Section<'_>) -> Option<MappingSpec> {
    let source = tree.section("source")?;
    let shards = tree.value("shards", units::whole)?.value;
    Some(MappingSpec {
        // An empty list was reported with the shape.
        key: fields(tree, "key").ok()?.filter(|key| !key.is_empty())?,
        key_as: match tree.text("key_as")?.value {
            "native" => KeyAs::Native,
            _ => return None,
        },
        document: match source.node("document") {
            None => None,
            Some(_) => Some(source.value("document", units::field)?.value),
        },
        columns: fields(source, "columns").ok()?,
        version: time_field(tree, "version").ok()?,
        expiry: time_field(tree, "expiry").ok()?,
        deletion: time_field(tree, "deletion").ok()?,
        ignore_fields: fields(tree, "ignore_fields").ok()?.unwrap_or_default(),
        shards: ShardCount::new(u32::try_from(shards).ok()?)?,
        document_bytes_max: tree.value("document_bytes_max", units::size)?.value,
    })
}

/// A list of fields; none if the setting is absent.
fn fields(section: Section<'_>, name: &str) -> Result<Option<Vec<String>>, Reported> {
    let Some(node) = section.node(name) else { return Ok(None) };
    let Value::List(items) = &node.value else { return Err(Reported) };
    let parsed = section.values(name, units::field);
    match parsed.len() == items.len() {
        true => Ok(Some(parsed.into_iter().map(|field| field.value).collect())),
        false => Err(Reported),
    }
}

/// A field and its unit; none if the setting is absent.
fn time_field(tree: Section<'_>, name: &str) -> Result<Option<TimeField>, Reported> {
    if tree.node(name).is_none() {
        return Ok(None);
    }
    let section = tree.section(name).ok_or(Reported)?;
    let field = section.value("field", units::field).ok_or(Reported)?.value;
    let unit = match section.text("unit").ok_or(Reported)?.value {
        "s" => Unit::Seconds,
        "ms" => Unit::Millis,
        "us" => Unit::Micros,
        "rfc3339" => Unit::Rfc3339,
        "counter" if name == "version" => Unit::Counter,
        _ => return Err(Reported),
    };
    Ok(Some(TimeField { field, unit }))
}

/// Adds what is wrong with the replicas of a collection together.
pub(super) fn check_set(collection: Section<'_>, drafts: &[ReplicaDraft], problems: &mut Problems) {
    if let Some(list) = collection.node("replicas")
        && let Value::List(items) = &list.value
        && items.len() < 2
    {
        let message = "`replicas` needs at least two nodes";
        problems.add(Problem::new(list.place, message).hint("one copy has nothing to be compared with"));
    }
    let mut seen: HashMap<&NodeName, Place> = HashMap::new();
    for node in drafts.iter().filter_map(|draft| draft.node.as_ref()) {
        if seen.insert(&node.value, node.place).is_some() {
            let message = format!("node `{}` is a replica of this collection twice", node.value);
            problems.add(Problem::new(node.place, message).hint("a node holds one replica of a collection"));
        }
    }
    let readable: Vec<(&ReplicaDraft, &MappingSpec)> =
        drafts.iter().filter_map(|draft| Some((draft, draft.mapping.as_ref()?))).collect();
    let Some(((first, first_spec), others)) = readable.split_first() else { return };
    for (draft, spec) in others {
        let mut differ = |what: String, hint: &str| {
            problems.add(Problem::new(draft.place, what).hint(hint));
        };
        if draft.version_kind() != first.version_kind() {
            differ(
                format!(
                    "its versions are {}, the first replica's are {}",
                    draft.versions(),
                    first.versions()
                ),
                "the versions of all replicas are of one kind, or none can be told the newer",
            );
        }
        if spec.expiry.is_some() != first_spec.expiry.is_some() {
            differ(
                "some replicas have an `expiry`, and others have none".to_owned(),
                "the expiry is compared too: all replicas have one, or none has",
            );
        }
        if spec.deletion.is_some() != first_spec.deletion.is_some() {
            differ(
                "some replicas have a `deletion`, and others have none".to_owned(),
                "a mark travels as part of the document: all replicas have one, or none has",
            );
        }
        if spec.key.len() != first_spec.key.len() {
            differ(
                format!(
                    "its key has {} fields, the first replica's has {}",
                    spec.key.len(),
                    first_spec.key.len()
                ),
                "the names may differ, the number may not",
            );
        }
    }
}

impl ReplicaDraft {
    fn versions(&self) -> &'static str {
        match self.version_kind() {
            None | Some(VersionKind::None) => "absent",
            Some(VersionKind::Time) => "times",
            Some(VersionKind::Counter) => "counters",
        }
    }
}
