//! The crate against `testdata/golden.json`, which `testdata/golden.py` computed without it. What is checked
//! here is frozen: a change needs a new algorithm id.

use selfsame_core::merkle::{Depth, Node, NodeHash};
use selfsame_core::{
    ALGORITHM, AgentName, Cell, CollectionName, ContentDigest, Decimal, Entry, EntryDigest, Fingerprinter,
    JsonError, Key, KeyDigest, KeyPart, RepairId, Row, RowDigest, RunId, ShardCount, ShardId, Slot, Value,
    Version, WallMicros, Writer, canonical_content, owner, parse_json, ranking,
};
use serde_json::Value as Json;

/// The file, one vector at a time. A panic over one of them names it.
struct Golden {
    file: Json,
}

impl Golden {
    fn read() -> Golden {
        let file = serde_json::from_str(include_str!("../../../testdata/golden.json"));
        Golden { file: file.expect("testdata/golden.json is JSON") }
    }

    fn vectors(&self, section: &str) -> &[Json] {
        let vectors = self.file[section].as_array().map_or(&[][..], Vec::as_slice);
        assert!(!vectors.is_empty(), "testdata/golden.json has no `{section}`");
        vectors
    }

    /// The fingerprinter of all sections but `fingerprinters`.
    fn fingerprinter(&self) -> Fingerprinter {
        fingerprinter(&self.file)
    }
}

fn fingerprinter(of: &Json) -> Fingerprinter {
    Fingerprinter::new(text(of, "fleet"), text(of, "collection"), &bytes(of, "secret"))
}

fn name(vector: &Json) -> &str {
    text(vector, "name")
}

fn text<'a>(vector: &'a Json, member: &str) -> &'a str {
    vector[member].as_str().unwrap_or_else(|| panic!("{vector}: `{member}` is no text"))
}

fn list<'a>(vector: &'a Json, member: &str) -> &'a [Json] {
    vector[member].as_array().unwrap_or_else(|| panic!("{vector}: `{member}` is no list"))
}

fn integer(vector: &Json, member: &str) -> i64 {
    text(vector, member).parse().unwrap_or_else(|error| panic!("{vector}: `{member}`: {error}"))
}

fn bytes(vector: &Json, member: &str) -> Vec<u8> {
    hex::decode(text(vector, member)).unwrap_or_else(|error| panic!("{vector}: `{member}`: {error}"))
}

fn array<const N: usize>(vector: &Json, member: &str) -> [u8; N] {
    bytes(vector, member).try_into().unwrap_or_else(|_| panic!("{vector}: `{member}` is not {N} bytes"))
}

fn document(vector: &Json) -> Value {
    parse_json(text(vector, "json").as_bytes()).unwrap_or_else(|error| panic!("{}: {error}", name(vector)))
}

fn key(vector: &Json, member: &str) -> Key {
    let part = |part: &Json| {
        if !part["number"].is_null() {
            KeyPart::Number(Decimal::parse(text(part, "number")).expect("a number"))
        } else if !part["bytes"].is_null() {
            KeyPart::Bytes(bytes(part, "bytes"))
        } else {
            KeyPart::Text(text(part, "text").to_owned())
        }
    };
    Key::new(list(vector, member).iter().map(part).collect()).expect("a key")
}

fn cell(cell: &Json) -> (String, Cell) {
    let content = match text(cell, "kind") {
        "null" => Cell::Null,
        "bool" => Cell::Bool(cell["value"].as_bool().expect("a truth value")),
        "integer" => Cell::Integer(integer(cell, "value")),
        "real" => Cell::Real(f64::from_be_bytes(array(cell, "value"))),
        "number" => Cell::Number(text(cell, "value").to_owned()),
        "text" => Cell::Text(text(cell, "value").to_owned()),
        "bytes" => Cell::Bytes(bytes(cell, "value")),
        "json" => Cell::Json(text(cell, "value").to_owned()),
        other => panic!("{cell}: kind `{other}`"),
    };
    (text(cell, "name").to_owned(), content)
}

fn assert_content(fingerprinter: &Fingerprinter, content: &Value, vector: &Json) {
    let mut form = Writer::new();
    canonical_content(content, &mut form);
    assert_eq!(hex::encode(form.finish()), text(vector, "canonical"), "{}", name(vector));
    let digest = fingerprinter.content_digest(content);
    assert_eq!(digest.to_string(), text(vector, "content_digest"), "{}", name(vector));
}

#[test]
fn fingerprinters_derive_the_golden_keys() {
    let golden = Golden::read();
    assert_eq!(ALGORITHM, text(&golden.file, "algorithm"));
    for vector in golden.vectors("fingerprinters") {
        let name = name(vector);
        let fingerprinter = fingerprinter(vector);
        let check_value = fingerprinter.check_value();
        assert_eq!(check_value, array(vector, "check_value"), "{name}");
        assert_eq!(fingerprinter.other_digest(b"abc"), array(vector, "other_digest_of_abc"), "{name}");
        let digest = fingerprinter.key_digest(&Key::integer(1));
        assert_eq!(digest, KeyDigest(array(vector, "digest_of_key_1")), "{name}");
        // The fingerprinter keeps its key to itself; that this is the key shows in the check value.
        let keyed = blake3::keyed_hash(&array(vector, "key"), b"v");
        assert_eq!(keyed.as_bytes()[..16], check_value, "{name}");
    }
}

#[test]
fn documents_have_the_golden_content() {
    let golden = Golden::read();
    for vector in golden.vectors("documents") {
        assert_content(&golden.fingerprinter(), &document(vector), vector);
    }
}

#[test]
fn documents_without_one_meaning_are_refused_for_the_golden_reason() {
    for vector in Golden::read().vectors("refused") {
        let reason = match parse_json(&bytes(vector, "bytes")) {
            Err(JsonError::Malformed(_)) => "malformed",
            Err(JsonError::NotUnicode(_)) => "not_unicode",
            Err(JsonError::DuplicateMember(_)) => "duplicate_member",
            Err(JsonError::NumberRange(_)) => "number_range",
            Err(JsonError::TooDeep) => "too_deep",
            Ok(value) => panic!("{}: read as {value:?}", name(vector)),
        };
        assert_eq!(reason, text(vector, "reason"), "{}", name(vector));
    }
}

#[test]
fn values_that_json_lacks_have_the_golden_content() {
    let golden = Golden::read();
    for vector in golden.vectors("values_beyond_json") {
        let value = match vector["bytes"].is_null() {
            true => Value::from_f64(f64::from_be_bytes(array(vector, "float_bits"))),
            false => Value::Bytes(bytes(vector, "bytes")),
        };
        assert_content(&golden.fingerprinter(), &value, vector);
    }
}

#[test]
fn keys_have_the_golden_digests_shards_and_buckets() {
    let golden = Golden::read();
    for vector in golden.vectors("keys") {
        let name = name(vector);
        let key = key(vector, "parts");
        assert_eq!(hex::encode(key.to_bytes()), text(vector, "bytes"), "{name}");
        let digest = golden.fingerprinter().key_digest(&key);
        assert_eq!(digest.to_string(), text(vector, "digest"), "{name}");
        for (count, shard) in vector["shards"].as_object().expect("shards by count") {
            let shards = count.parse().ok().and_then(ShardCount::new).expect("a count of shards");
            assert_eq!(Some(u64::from(digest.shard(shards).0)), shard.as_u64(), "{name}, {count} shards");
        }
        for (levels, bucket) in (0..).zip(list(vector, "buckets")) {
            let depth = Depth::new(levels).expect("a depth");
            let ours = depth.bucket(digest.prefix());
            assert_eq!(Some(u64::from(ours.0)), bucket.as_u64(), "{name}, depth {depth}");
        }
        for (part, as_text) in key.parts().iter().zip(list(vector, "as_text")) {
            let KeyPart::Text(ours) = part.clone().into_text() else { panic!("{name} is no text") };
            assert_eq!(Some(ours.as_str()), as_text.as_str(), "{name}");
        }
    }
}

#[test]
fn entries_have_the_golden_digests() {
    let golden = Golden::read();
    let fingerprinter = golden.fingerprinter();
    for vector in golden.vectors("entries") {
        let name = name(vector);
        let content = fingerprinter.content_digest(&document(vector));
        assert_eq!(content, ContentDigest(array(vector, "content_digest")), "{name}");
        let entry = Entry {
            key: key(vector, "key"),
            version: Version(integer(vector, "version")),
            expiry: (!vector["expiry"].is_null()).then(|| WallMicros(integer(vector, "expiry"))),
            content,
        };
        assert_eq!(fingerprinter.entry_digest(&entry), EntryDigest(array(vector, "digest")), "{name}");
    }
}

#[test]
fn rows_have_the_golden_digests() {
    let golden = Golden::read();
    for vector in golden.vectors("rows") {
        let row = Row::new(list(vector, "cells").iter().map(cell).collect());
        assert_eq!(hex::encode(row.to_bytes()), text(vector, "bytes"), "{}", name(vector));
        let digest = golden.fingerprinter().row_digest(&row);
        assert_eq!(digest, RowDigest(array(vector, "digest")), "{}", name(vector));
    }
}

#[test]
fn nodes_have_the_golden_sums_and_hashes() {
    let golden = Golden::read();
    for vector in golden.vectors("nodes") {
        let name = name(vector);
        let digests = list(vector, "digests").iter().map(|digest| {
            let mut bytes = [0; 32];
            hex::decode_to_slice(digest.as_str().unwrap(), &mut bytes).unwrap();
            EntryDigest(bytes)
        });
        let node = digests.fold(Node::default(), |node, digest| node.with(&digest));
        assert_eq!(hex::encode(node.sum.to_bytes()), text(vector, "sum"), "{name}");
        assert_eq!(Some(node.count), vector["count"].as_u64(), "{name}");
        assert_eq!(golden.fingerprinter().node_hash(&node), NodeHash(array(vector, "hash")), "{name}");
    }
}

#[test]
fn runs_have_the_golden_ids() {
    for vector in Golden::read().vectors("runs") {
        let slot = match vector["ad_hoc"].as_str() {
            Some(id) => Slot::AdHoc(id.parse().unwrap()),
            None => Slot::Scheduled(text(vector, "scheduled").parse().unwrap()),
        };
        assert_eq!(hex::encode(slot.to_bytes()), text(vector, "slot_bytes"), "{}", name(vector));
        let collection: CollectionName = text(vector, "collection").parse().unwrap();
        let run = RunId::of(text(vector, "fleet"), &collection, slot);
        assert_eq!(run.to_string(), text(vector, "id"), "{}", name(vector));
    }
}

#[test]
fn repairs_have_the_golden_ids() {
    for vector in Golden::read().vectors("repairs") {
        let row = |member| (!vector[member].is_null()).then(|| RowDigest(array(vector, member)));
        let repair = RepairId::of(
            text(vector, "run").parse().unwrap(),
            &text(vector, "node").parse().unwrap(),
            KeyDigest(array(vector, "key_digest")),
            row("before"),
            row("after"),
        );
        assert_eq!(repair.to_string(), text(vector, "id"), "{}", name(vector));
    }
}

#[test]
fn shards_have_the_golden_owners_and_successors() {
    for vector in Golden::read().vectors("placements") {
        let collection: CollectionName = text(vector, "collection").parse().unwrap();
        let agents: Vec<AgentName> =
            list(vector, "agents").iter().map(|agent| agent.as_str().unwrap().parse().unwrap()).collect();
        for (shard, golden) in (0..).map(ShardId).zip(list(vector, "rankings")) {
            let golden: Vec<&AgentName> = golden
                .as_str()
                .unwrap()
                .split(' ')
                .map(|place| &agents[place.parse::<usize>().unwrap()])
                .collect();
            assert_eq!(ranking(&agents, &collection, shard), golden, "{}, shard {shard}", name(vector));
            assert_eq!(owner(&agents, &collection, shard), golden.first().copied(), "{}", name(vector));
        }
    }
}
