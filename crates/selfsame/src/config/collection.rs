//! Reads collections: each laid over `defaults`, those over the built-in defaults, and each replica over its
//! collection.

use std::str::FromStr;

use selfsame_agent::settings::{
    BrakeSettings, CollectionSettings, FirstPass, RepairMode, ReplicaSettings, ThrottleSettings,
};
use selfsame_core::{
    CollectionName, NodeName, ObservedDeletes, Policy, ReplicaIndex, Ties, VersionKind, Winner,
};

use super::problems::{At, Problem, Problems};
use super::raw::{Node, Value};
use super::replica::{self, ReplicaDraft};
use super::schema::{COLLECTION, OVERRIDES, REPLICA};
use super::section::{Section, text_of};
use super::{check, units};

/// What the collections of a fleet have in common.
pub(super) struct Surroundings<'a> {
    /// The fleet's name, which keys the digests.
    pub(super) fleet: &'a str,
    /// The fleet's secret, which keys them too.
    pub(super) secret: &'a [u8],
    /// The names of all nodes.
    pub(super) nodes: &'a [&'a NodeName],
    /// `defaults` laid over the built-in defaults.
    pub(super) defaults: &'a Node,
}

/// Reads an item of `collections`. None if a problem was added, here or with the shape.
pub(super) fn read(
    item: &Node,
    around: &Surroundings<'_>,
    problems: &mut Problems,
) -> (Option<At<CollectionName>>, Option<CollectionSettings>) {
    let tree = layered(item, around.defaults);
    let section = Section::new(&tree, COLLECTION);
    // Source and key may be each replica's own.
    section.require(&["source", "key"], problems);
    let name: Option<At<CollectionName>> = section.value("name", str::parse);
    let drafts = replicas(section, &tree, problems);
    for draft in &drafts {
        if let Some(node) = &draft.node {
            check::known_node(node, around.nodes, problems);
        }
    }
    replica::check_set(section, &drafts, problems);
    let collection = name.as_ref().map_or("", |name| name.value.as_str());
    for draft in &drafts {
        draft.check_mapping(around.fleet, collection, around.secret, problems);
    }
    let policy = policy(section, collection, &drafts, problems);
    let settings = || {
        let replicas = drafts.into_iter().map(ReplicaDraft::finish).collect::<Option<Vec<_>>>()?;
        settings(section, name.as_ref()?.value.clone(), replicas, policy?)
    };
    let settings = settings();
    if let Some(settings) = &settings {
        check_sweep(section, settings, problems);
    }
    (name, settings)
}

/// A mapping over another. Within `source`, `document` and `columns` exclude each other, so that the upper one
/// of the two replaces the lower.
pub(super) fn layered(over: &Node, under: &Node) -> Node {
    let mut merged = over.over(under);
    let says = |name: &str| {
        let node = over.member("source").and_then(|source| source.member(name));
        node.is_some_and(|node| node.value != Value::Null)
    };
    let replaced = match (says("document"), says("columns")) {
        (true, false) => "columns",
        (false, true) => "document",
        _ => return merged,
    };
    if let Value::Map(members) = &mut merged.value
        && let Some(source) = members.iter_mut().find(|member| member.name == "source")
        && let Value::Map(fields) = &mut source.node.value
    {
        fields.retain(|field| field.name != replaced);
    }
    merged
}

fn replicas(section: Section<'_>, tree: &Node, problems: &mut Problems) -> Vec<ReplicaDraft> {
    let items = section.items("replicas");
    if items.is_empty() {
        // Nobody else would say that they are missing.
        section.require(&["name", "replicas"], problems);
    }
    let draft = |item: &Node| match &item.value {
        Value::Map(members) => {
            Section::new(item, REPLICA).require(&OVERRIDES, problems);
            let own = members.iter().filter(|member| OVERRIDES.contains(&&*member.name)).cloned().collect();
            let own = Node { place: item.place, value: Value::Map(own) };
            let node = Section::new(item, REPLICA).value("node", str::parse);
            let tree = layered(&own, tree);
            Some(ReplicaDraft::read(item.place, node, Section::new(&tree, COLLECTION), problems))
        }
        _ => {
            let text = text_of(item)?;
            let node = NodeName::from_str(text.value).ok().map(|value| At { place: text.place, value });
            Some(ReplicaDraft::read(item.place, node, section, problems))
        }
    };
    items.iter().filter_map(draft).collect()
}

fn policy(
    section: Section<'_>,
    collection: &str,
    drafts: &[ReplicaDraft],
    problems: &mut Problems,
) -> Option<Policy> {
    let policy = section.section("policy")?;
    let clock_skew_max = section.value("clock_skew_max", units::duration)?.value;
    Some(Policy {
        winner: winner(policy, collection, drafts, problems)?,
        ties: match policy.text("ties")?.value {
            "majority" => Ties::Majority,
            "hold" => Ties::Hold,
            _ => return None,
        },
        observed_deletes: match policy.text("observed_deletes")?.value {
            "hold" => ObservedDeletes::Hold,
            "delete" => ObservedDeletes::Delete,
            "restore" => ObservedDeletes::Restore,
            _ => return None,
        },
        version_kind: drafts.first().and_then(|draft| draft.version_kind()).unwrap_or(VersionKind::None),
        clock_skew_max: i64::try_from(clock_skew_max.as_micros()).ok()?,
    })
}

fn winner(
    policy: Section<'_>,
    collection: &str,
    drafts: &[ReplicaDraft],
    problems: &mut Problems,
) -> Option<Winner> {
    if let Some(text) = policy.text("winner") {
        return match text.value {
            "newest" => Some(Winner::Newest),
            "hold" => Some(Winner::Hold),
            _ => None,
        };
    }
    let winner = policy.section("winner")?;
    winner.require(&[], problems);
    let prefer: At<NodeName> = winner.value("prefer", str::parse)?;
    let holds = |draft: &ReplicaDraft| draft.node.as_ref().is_some_and(|node| node.value == prefer.value);
    let preferred = drafts.iter().position(holds);
    if preferred.is_none() {
        let message =
            format!("`policy.winner.prefer`: `{}` is no replica of collection `{collection}`", prefer.value);
        problems.add(Problem::new(prefer.place, message).hint("name one of its `replicas`"));
    }
    preferred.map(|index| Winner::Prefer(ReplicaIndex(index)))
}

fn settings(
    section: Section<'_>,
    name: CollectionName,
    replicas: Vec<ReplicaSettings>,
    policy: Policy,
) -> Option<CollectionSettings> {
    let duration = |name: &str| section.value(name, units::duration).map(|duration| duration.value);
    let brakes = section.section("brakes")?;
    let throttle = section.section("throttle")?;
    Some(CollectionSettings {
        name,
        replicas,
        policy,
        exchange_every: section.section("schedule")?.value("exchange", units::exchange)?.value,
        repair: match section.text("repair")?.value {
            "auto" => RepairMode::Auto,
            "approve" => RepairMode::Approve,
            "off" => RepairMode::Off,
            _ => return None,
        },
        first_pass: match section.text("first_pass")?.value {
            "plan" => FirstPass::Plan,
            "auto" => FirstPass::Auto,
            _ => return None,
        },
        settle: duration("settle")?,
        coverage_max: duration("coverage_max")?,
        tombstone_retention: duration("tombstone_retention")?,
        sweep_keys_max: sweep(section.section("sweep")?)?,
        feed: section.section("feed")?.value("enabled", units::boolean)?.value,
        brakes: BrakeSettings {
            vanished_share_max: brakes.value("vanished_share_max", units::share)?.value,
            repair_share_max: brakes.value("repair_share_max", units::share)?.value,
            deletes_max: brakes.value("deletes_max", units::whole)?.value,
        },
        throttle: ThrottleSettings {
            rows_per_second: throttle.value("rows_per_second", units::whole)?.value,
            bytes_per_second: throttle.value("bytes_per_second", units::size)?.value,
        },
        confirm_keys_max: usize::try_from(section.value("confirm_keys_max", units::whole)?.value).ok()?,
        apply_within: duration("apply_within")?,
    })
}

/// How many keys the sweeper takes, if it is wanted.
fn sweep(section: Section<'_>) -> Option<Option<u32>> {
    let keys_max = u32::try_from(section.value("keys_max", units::whole)?.value).ok()?;
    Some(section.value("enabled", units::boolean)?.value.then_some(keys_max))
}

/// Without an expiry nothing would ever be swept.
fn check_sweep(section: Section<'_>, settings: &CollectionSettings, problems: &mut Problems) {
    let expires = settings.replicas.iter().any(|replica| replica.mapping.expiry.is_some());
    if expires || settings.sweep_keys_max.is_none() {
        return;
    }
    let enabled = section.section("sweep").and_then(|sweep| sweep.value("enabled", units::boolean));
    if let Some(enabled) = enabled {
        let message = format!("collection `{}` has no `expiry` by which to sweep", settings.name);
        problems.add(
            Problem::new(enabled.place, message).hint("name the field that says when a document expires"),
        );
    }
}
