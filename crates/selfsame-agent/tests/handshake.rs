//! What agents must agree in: the digest of the settings that change fingerprints or decisions.

#![allow(clippy::unwrap_used, reason = "all of this file is tests")]

mod world;

use std::time::Duration;

use selfsame_agent::settings::{CollectionSettings, FleetSettings, JournalSettings, RepairMode};
use selfsame_core::{KeyAs, ReplicaIndex, ShardCount, Ties, Unit, Winner};
use world::collection_settings;

fn digest(collection: CollectionSettings) -> String {
    let fleet = FleetSettings {
        name: "test".into(),
        agents: Vec::new(),
        collections: vec![collection],
        secret: b"secret".to_vec(),
        insecure: false,
        journal: JournalSettings {
            before_images: true,
            undo_retention: Duration::ZERO,
            retention: Duration::ZERO,
        },
    };
    let hello = fleet.hello(&"a".parse().unwrap(), &[]);
    hello.collections[0].config.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn the_digest_of_settings_is_frozen() {
    // Agents of two versions meet during an upgrade: a digest that changes by itself would stop all exchanges.
    assert_eq!(digest(collection_settings()), "483a678a74e00b9b5422965a52de9247");
}

#[test]
fn every_setting_that_decides_is_in_the_digest_and_no_other() {
    type Change = fn(&mut CollectionSettings);
    let decide: [(&str, Change); 15] = [
        ("winner", |c| c.policy.winner = Winner::Hold),
        ("preferred", |c| c.policy.winner = Winner::Prefer(ReplicaIndex(1))),
        ("ties", |c| c.policy.ties = Ties::Hold),
        ("clock_skew_max", |c| c.policy.clock_skew_max += 1),
        ("replicas", |c| drop(c.replicas.pop())),
        ("order of replicas", |c| c.replicas.swap(0, 1)),
        ("source", |c| c.replicas[0].source = "other".into()),
        ("key", |c| c.replicas[0].mapping.key = vec!["id2".into()]),
        ("key_as", |c| c.replicas[0].mapping.key_as = KeyAs::String),
        ("document", |c| c.replicas[0].mapping.document = None),
        ("columns", |c| c.replicas[0].mapping.columns = Some(vec![])),
        ("unit", |c| c.replicas[0].mapping.version.as_mut().unwrap().unit = Unit::Millis),
        ("expiry", |c| c.replicas[0].mapping.expiry = None),
        ("ignore_fields", |c| c.replicas[0].mapping.ignore_fields.clear()),
        ("shards", |c| c.replicas[0].mapping.shards = ShardCount::new(8).unwrap()),
    ];
    let mut seen = vec![digest(collection_settings())];
    for (what, change) in decide {
        let mut collection = collection_settings();
        change(&mut collection);
        let digest = digest(collection);
        assert!(!seen.contains(&digest), "{what}");
        seen.push(digest);
    }
    let ignored: [(&str, Change); 4] = [
        ("repair", |c| c.repair = RepairMode::Off),
        ("settle", |c| c.settle *= 2),
        ("brakes", |c| c.brakes.deletes_max += 1),
        ("throttle", |c| c.throttle.rows_per_second += 1),
    ];
    for (what, change) in ignored {
        let mut collection = collection_settings();
        change(&mut collection);
        assert_eq!(digest(collection), seen[0], "{what}");
    }
}
