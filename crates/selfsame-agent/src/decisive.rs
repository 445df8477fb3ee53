//! The settings that change fingerprints or decisions, as one value: agents that agree in it agree in what they
//! compare and what they conclude. Not throttle, schedule or brakes. `docs/protocol.md` describes it for other
//! implementations.
//!
//! Every type is taken apart by all its fields: one that is added must be placed here, or left out on purpose.

use selfsame_core::{
    Decimal, KeyAs, MappingSpec, ObservedDeletes, Policy, ReplicaIndex, ShardCount, Ties, TimeField, Unit,
    Value, VersionKind, Winner, Writer, canonical_content,
};

use crate::settings::{CollectionSettings, ReplicaSettings};

/// What two agents must agree in about a collection, in canonical bytes.
pub(crate) fn of_collection(collection: &CollectionSettings) -> Vec<u8> {
    let CollectionSettings {
        // It keys the digests.
        name: _,
        replicas,
        policy: rules,
        // When it is compared, and what is written of what was decided, is each agent's own affair.
        exchange_every: _,
        repair: _,
        first_pass: _,
        settle: _,
        sweep_keys_max: _,
        coverage_max: _,
        brakes: _,
        confirm_keys_max: _,
        apply_within: _,
        // So is what it remembers of its own replicas, and for how long, and what it asks of their stores.
        tombstone_retention: _,
        feed: _,
        throttle: _,
    } = collection;
    let policy = policy(rules, replicas);
    let replicas = replicas.iter().map(replica).collect();
    canonical(&object([("policy", policy), ("replicas", Value::Array(replicas))]))
}

/// What the entries of an index depend on, apart from the number of shards, by which they are only grouped.
pub(crate) fn of_entries(spec: &MappingSpec) -> Vec<u8> {
    let one = ShardCount::new(1).expect("one shard is allowed");
    canonical(&mapping(&MappingSpec { shards: one, ..spec.clone() }))
}

fn canonical(value: &Value) -> Vec<u8> {
    let mut out = Writer::new();
    canonical_content(value, &mut out);
    out.finish()
}

fn replica(replica: &ReplicaSettings) -> Value {
    let ReplicaSettings { node, source, mapping: spec } = replica;
    object([("node", text(node.as_str())), ("source", text(source)), ("mapping", mapping(spec))])
}

fn mapping(spec: &MappingSpec) -> Value {
    let MappingSpec {
        key,
        key_as,
        document,
        columns,
        version,
        expiry,
        deletion,
        ignore_fields,
        shards,
        document_bytes_max,
    } = spec;
    object([
        ("key", texts(key)),
        (
            "key_as",
            text(match key_as {
                KeyAs::Native => "native",
                KeyAs::String => "string",
            }),
        ),
        ("document", optional(document.as_ref(), |name| text(name))),
        ("columns", optional(columns.as_ref(), |names| texts(names))),
        ("version", optional(version.as_ref(), time_field)),
        ("expiry", optional(expiry.as_ref(), time_field)),
        ("deletion", optional(deletion.as_ref(), time_field)),
        ("ignore_fields", texts(ignore_fields)),
        ("shards", number(i64::from(shards.get()))),
        ("document_bytes_max", number(document_bytes_max.cast_signed())),
    ])
}

fn time_field(TimeField { field, unit }: &TimeField) -> Value {
    let unit = match unit {
        Unit::Seconds => "s",
        Unit::Millis => "ms",
        Unit::Micros => "us",
        Unit::Rfc3339 => "rfc3339",
        Unit::Counter => "counter",
    };
    object([("field", text(field)), ("unit", text(unit))])
}

fn policy(policy: &Policy, replicas: &[ReplicaSettings]) -> Value {
    let Policy { winner, ties, observed_deletes, version_kind, clock_skew_max } = policy;
    let winner = match winner {
        Winner::Newest => text("newest"),
        Winner::Hold => text("hold"),
        Winner::Prefer(ReplicaIndex(index)) => {
            let node = replicas.get(*index).map(|replica| replica.node.as_str());
            object([("prefer", text(node.unwrap_or_default()))])
        }
    };
    object([
        ("winner", winner),
        (
            "ties",
            text(match ties {
                Ties::Majority => "majority",
                Ties::Hold => "hold",
            }),
        ),
        (
            "observed_deletes",
            text(match observed_deletes {
                ObservedDeletes::Hold => "hold",
                ObservedDeletes::Delete => "delete",
                ObservedDeletes::Restore => "restore",
            }),
        ),
        (
            "version_kind",
            text(match version_kind {
                VersionKind::Time => "time",
                VersionKind::Counter => "counter",
                VersionKind::None => "none",
            }),
        ),
        ("clock_skew_max", number(*clock_skew_max)),
    ])
}

fn object<const N: usize>(members: [(&str, Value); N]) -> Value {
    Value::Object(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

fn texts(texts: &[String]) -> Value {
    Value::Array(texts.iter().map(|name| text(name)).collect())
}

fn number(number: i64) -> Value {
    Value::Number(Decimal::from(number))
}

fn optional<T>(value: Option<&T>, known: impl Fn(&T) -> Value) -> Value {
    value.map_or(Value::Null, known)
}
