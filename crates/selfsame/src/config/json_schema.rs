//! A JSON Schema of fleet files, from the table of settings: editors complete names with it, show what they mean,
//! and mark what is unknown. `config check` says more: bounds of durations, and what contradicts each other.

use serde_json::{Map, Value, json};

use super::schema::{self, COLLECTION, Choice, Kind, Need, REPLICA, Setting};
use super::units;

/// As [`selfsame_core::NodeName`] and the other names are checked.
const NAME: &str = "^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$";

/// Whatever it accepts of an address, `config check` looks at the host.
const ADDRESS: &str = "^.+:[0-9]{1,5}$";

/// The schema of a whole file.
pub(crate) fn json_schema() -> Value {
    let mut file = mapping("");
    file["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    file["title"] = json!("Selfsame fleet");
    file["description"] = json!("One file for the whole fleet: fleet.yaml of Selfsame.");
    file
}

/// The mapping whose settings stand at `path` in the table (`""`: the file itself).
fn mapping(path: &str) -> Value {
    let properties: Map<String, Value> =
        schema::settings_of(path).map(|setting| (setting.name().to_owned(), property(setting))).collect();
    let required: Vec<&str> = schema::settings_of(path)
        .filter(|setting| must_stand_here(setting, path))
        .map(Setting::name)
        .collect();
    let mut mapping = json!({ "type": "object", "properties": properties, "additionalProperties": false });
    if !required.is_empty() {
        mapping["required"] = json!(required);
    }
    mapping
}

/// Whether a required setting cannot stand elsewhere: what a collection has may come from `defaults`, or be each
/// replica's own.
fn must_stand_here(setting: &Setting, path: &str) -> bool {
    let inherited = path == schema::DEFAULTS || path.starts_with(COLLECTION);
    let own_name =
        (path == COLLECTION && setting.name() == "name") || (path == REPLICA && setting.name() == "node");
    setting.need == Need::Required && (!inherited || own_name)
}

fn property(setting: &Setting) -> Value {
    if setting.need == Need::NotBuilt {
        return json!({ "not": {}, "description": format!("Not built yet: {}", setting.meaning) });
    }
    let mut property = values(setting);
    if setting.need == Need::Optional {
        // An explicit null takes an inherited one away.
        property = json!({ "anyOf": [property, { "type": "null" }] });
    }
    property["description"] = json!(format!("{} ({})", setting.meaning, setting.describe()));
    if let Need::Default(text) = setting.need {
        property["default"] = default(text, &setting.kind);
    }
    property
}

fn values(setting: &Setting) -> Value {
    match &setting.kind {
        Kind::Name => name(),
        Kind::Names => json!({ "type": "array", "items": name() }),
        Kind::Field => field(),
        Kind::Fields => json!({ "type": "array", "items": field() }),
        Kind::Path => json!({ "type": "string", "minLength": 1 }),
        Kind::Address => json!({ "type": "string", "pattern": ADDRESS }),
        Kind::Boolean => json!({ "type": "boolean" }),
        Kind::Whole { min, max: u64::MAX } => json!({ "type": "integer", "minimum": min }),
        Kind::Whole { min, max } => json!({ "type": "integer", "minimum": min, "maximum": max }),
        Kind::Size { min, max } => {
            let mut size = json!({ "type": ["string", "integer"], "pattern": size_pattern() });
            // They parse, as the table's own test shows.
            for (keyword, bound) in [("minimum", units::size(min)), ("maximum", units::size(max))] {
                if let Ok(bytes) = bound {
                    size[keyword] = json!(bytes);
                }
            }
            size
        }
        Kind::Share => {
            json!({ "type": ["string", "number"], "pattern": "^[0-9.]+%?$", "minimum": 0, "maximum": 1 })
        }
        Kind::Duration { .. } => json!({ "type": "string", "pattern": format!("^{}$", duration_pattern()) }),
        Kind::Every { .. } => {
            let every = json!({ "type": "string", "pattern": format!("^every +{}$", duration_pattern()) });
            json!({ "anyOf": [every, off()] })
        }
        Kind::Choice(choice) => words(choice),
        Kind::ChoiceOrSection(choice) => json!({ "anyOf": [words(choice), mapping(setting.path)] }),
        Kind::Section => mapping(setting.path),
        Kind::Sections => {
            json!({ "type": "array", "minItems": 1, "items": mapping(&format!("{}[]", setting.path)) })
        }
        Kind::Replicas => json!({ "type": "array", "items": { "anyOf": [name(), mapping(REPLICA)] } }),
    }
}

fn name() -> Value {
    // YAML reads `7` as a number; as a name it is text.
    json!({ "type": ["string", "integer"], "pattern": NAME })
}

fn field() -> Value {
    json!({ "type": "string", "minLength": 1, "not": { "pattern": "^_selfsame" } })
}

fn words(choice: &Choice) -> Value {
    match choice.built.contains(&"off") {
        true => json!({ "anyOf": [{ "enum": choice.built }, off()] }),
        false => json!({ "enum": choice.built }),
    }
}

/// The word `off`, and what many readers of YAML make of it.
fn off() -> Value {
    json!({ "enum": ["off", false] })
}

fn duration_pattern() -> String {
    format!("([0-9]+ *({}) *)+", units::DURATION_UNITS.join("|"))
}

fn size_pattern() -> String {
    let names: Vec<&str> = units::SIZE_UNITS.iter().map(|(name, _)| *name).collect();
    format!("^[0-9]+ *({})?$", names.join("|"))
}

/// A default as YAML reads it.
fn default(text: &str, kind: &Kind) -> Value {
    match kind {
        Kind::Whole { .. } | Kind::Boolean => serde_json::from_str(text).unwrap_or_else(|_| json!(text)),
        _ => json!(text),
    }
}

#[cfg(test)]
mod tests {
    use regex::Regex;

    use super::*;

    const BASE: &str = include_str!("testdata/base.yaml");
    const FULL: &str = include_str!("testdata/full.yaml");

    fn read(yaml: &str) -> Value {
        serde_saphyr::from_str(yaml).unwrap_or_else(|error| panic!("{error}\n{yaml}"))
    }

    /// What a validator says, for the few keywords that stand in the schema: a word for each violation, with its place.
    fn violations(schema: &Value, value: &Value, place: &str) -> Vec<String> {
        let mut found = Vec::new();
        let inner =
            |schema: &Value, value: &Value, name: &str| violations(schema, value, &format!("{place}/{name}"));
        for (keyword, says) in schema.as_object().unwrap() {
            let holds = match keyword.as_str() {
                "$schema" | "title" | "description" | "default" => true,
                "type" => {
                    let types = says.as_array().map_or(std::slice::from_ref(says), Vec::as_slice);
                    types.iter().any(|name| has_type(value, name.as_str().unwrap()))
                }
                "enum" => says.as_array().unwrap().contains(value),
                "pattern" => value
                    .as_str()
                    .is_none_or(|text| Regex::new(says.as_str().unwrap()).unwrap().is_match(text)),
                "minLength" => value.as_str().is_none_or(|text| text.len() as u64 >= says.as_u64().unwrap()),
                "minItems" => {
                    value.as_array().is_none_or(|items| items.len() as u64 >= says.as_u64().unwrap())
                }
                "minimum" => value.as_f64().is_none_or(|number| number >= says.as_f64().unwrap()),
                "maximum" => value.as_f64().is_none_or(|number| number <= says.as_f64().unwrap()),
                "not" => !violations(says, value, place).is_empty(),
                "anyOf" => {
                    says.as_array().unwrap().iter().any(|one| violations(one, value, place).is_empty())
                }
                "required" => value.as_object().is_none_or(|members| {
                    says.as_array().unwrap().iter().all(|name| members.contains_key(name.as_str().unwrap()))
                }),
                "items" => {
                    let items = value.as_array().into_iter().flatten().enumerate();
                    found.extend(items.flat_map(|(index, item)| inner(says, item, &index.to_string())));
                    true
                }
                "properties" => {
                    for (name, member) in value.as_object().into_iter().flatten() {
                        found.extend(says.get(name).into_iter().flat_map(|says| inner(says, member, name)));
                    }
                    true
                }
                "additionalProperties" => {
                    assert_eq!(says, &json!(false));
                    let known = &schema["properties"];
                    value.as_object().into_iter().flatten().all(|(name, _)| known.get(name).is_some())
                }
                other => panic!("a keyword that is not checked here: {other}"),
            };
            found.extend((!holds).then(|| format!("{keyword} at {place}")));
        }
        found
    }

    fn has_type(value: &Value, name: &str) -> bool {
        match name {
            "string" => value.is_string(),
            "integer" => value.is_i64() || value.is_u64(),
            "number" => value.is_number(),
            "boolean" => value.is_boolean(),
            "null" => value.is_null(),
            "array" => value.is_array(),
            "object" => value.is_object(),
            other => panic!("no such type: {other}"),
        }
    }

    fn refused(yaml: &str) -> Vec<String> {
        violations(&json_schema(), &read(yaml), "")
    }

    #[test]
    fn files_that_are_right_are_accepted() {
        let inherited = "defaults:\n  expiry: { field: gone_at, unit: s }\n  settle: 1h 30m\n";
        for yaml in [
            BASE.to_owned(),
            FULL.to_owned(),
            format!("{BASE}    expiry: ~\n{inherited}"),
            format!("{BASE}    brakes: {{ repair_share_max: 0.05, deletes_max: 0 }}\n    repair: off\n"),
            format!("{BASE}\n{}", super::super::annotated_yaml()),
        ] {
            assert_eq!(refused(&yaml), Vec::<String>::new(), "{yaml}");
        }
    }

    #[test]
    fn an_unknown_setting_is_refused_wherever_it_stands() {
        fn places(value: &Value, place: String, found: &mut Vec<String>) {
            match value {
                Value::Object(members) => {
                    members
                        .iter()
                        .for_each(|(name, member)| places(member, format!("{place}/{name}"), found));
                    found.push(place);
                }
                Value::Array(items) => {
                    items
                        .iter()
                        .enumerate()
                        .for_each(|(index, item)| places(item, format!("{place}/{index}"), found));
                }
                _ => {}
            }
        }
        let good = read(FULL);
        let mut mappings = Vec::new();
        places(&good, String::new(), &mut mappings);
        assert!(mappings.len() > 20, "{mappings:?}");
        for place in mappings {
            let mut wrong = good.clone();
            wrong.pointer_mut(&place).unwrap()["frobnicate"] = json!(1);
            let found = violations(&json_schema(), &wrong, "");
            assert!(!found.is_empty(), "an unknown setting in `{place}`");
        }
    }

    #[test]
    fn wrong_values_and_what_is_not_built_are_refused() {
        for line in [
            "settle: 2",
            "settle: 2x",
            "repair: sometimes",
            "repair: on",
            "first_pass: off",
            "shards: 0",
            "shards: many",
            "brakes: { repair_share_max: 5 }",
            "document_bytes_max: 8mb",
            "schedule: { exchange: daily }",
            "key_as: string",
            "maintenance: []",
            "ignore_fields: [_selfsame_origin]",
            "policy: { winner: oldest }",
            "replicas: node-a",
        ] {
            assert!(!refused(&format!("{BASE}defaults:\n  {line}\n")).is_empty(), "{line}");
        }
        assert!(!refused(&BASE.replace("fleet: shop\n", "")).is_empty(), "a file without a name");
        assert!(
            !refused(&BASE.replace("grpc: 127.0.0.1:7401,", "")).is_empty(),
            "an agent without an address"
        );
    }
}
