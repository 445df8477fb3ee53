//! Files that are right: what they mean, and what they inherit.

use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use selfsame_core::{ReplicaIndex, Ties, Unit, VersionKind, Winner};

use super::{FleetConfig, Setup, StoreConfig, annotated_yaml, load, markdown, parse, reference};

const BASE: &str = include_str!("testdata/base.yaml");
const FULL: &str = include_str!("testdata/full.yaml");

fn read(text: &str) -> FleetConfig {
    parse(text, Path::new("conf"), "fleet.yaml").unwrap_or_else(|problems| panic!("{problems}"))
}

/// The collections and the journal in full, to be compared as text.
fn settings(config: &FleetConfig) -> String {
    let fleet = &config.fleet;
    format!("{:#?}\n{:#?}", fleet.collections, fleet.journal)
}

#[test]
fn the_shortest_file_has_safe_defaults() {
    let config = read(BASE);
    insta::assert_snapshot!("defaults", settings(&config));
    assert!(config.fleet.secret.is_empty() && !config.fleet.insecure && config.warnings.is_empty());
}

#[test]
fn a_full_file_means_what_it_says() {
    let config = read(FULL);
    insta::assert_snapshot!("full", format!("{:#?}\n{}", config.nodes, settings(&config)));
    assert!(config.fleet.insecure);
}

#[test]
fn relative_paths_start_at_the_file() {
    let config = read(BASE);
    assert_eq!(config.fleet.agents[0].data, Path::new("conf/a"));
    let StoreConfig::Sqlite { path, setup } = &config.nodes[0].store;
    assert_eq!((path.as_path(), *setup), (Path::new("conf/a.db"), Setup::Auto));
    assert_eq!(read(FULL).fleet.agents[0].data, Path::new("/var/lib/selfsame"));
}

#[test]
fn defaults_are_inherited_by_member_and_overridden_by_member() {
    let config = read(FULL);
    let [products, users] = &config.fleet.collections[..] else { panic!("two collections") };
    assert_eq!((products.settle, users.settle), (Duration::from_secs(3), Duration::from_millis(500)));
    assert_eq!((products.brakes.deletes_max, products.brakes.repair_share_max), (7, 0.025));
    assert_eq!((users.brakes.deletes_max, users.brakes.repair_share_max), (7, 0.1));
    assert_eq!((products.policy.winner, products.policy.ties), (Winner::Newest, Ties::Hold));
    assert_eq!((users.policy.winner, users.policy.ties), (Winner::Prefer(ReplicaIndex(1)), Ties::Majority));
    assert_eq!(
        (products.policy.version_kind, users.policy.version_kind),
        (VersionKind::Time, VersionKind::Counter)
    );
}

#[test]
fn replicas_override_member_by_member() {
    let config = read(FULL);
    let [first, second, third] = &config.fleet.collections[0].replicas[..] else { panic!("three replicas") };
    assert_eq!((first.source.as_str(), second.source.as_str()), ("products", "items"));
    let unit = |replica: &selfsame_agent::settings::ReplicaSettings| {
        replica.mapping.version.as_ref().map(|version| (version.field.clone(), version.unit))
    };
    assert_eq!(unit(first), Some(("updated_at".into(), Unit::Millis)));
    assert_eq!(unit(second), Some(("changed".into(), Unit::Seconds)));
    assert_eq!(second.mapping.document.as_deref(), Some("body"));
    // Columns replace the document that the replica would inherit.
    assert_eq!(third.mapping.document, None);
    assert_eq!(third.mapping.columns.as_deref(), Some(&["name".to_owned(), "price".to_owned()][..]));
    assert_eq!(third.mapping.key, ["tenant_id", "product_id"]);
}

#[test]
fn null_takes_an_inherited_setting_away() {
    let text = format!("{BASE}    expiry: ~\ndefaults:\n  expiry: {{ field: gone_at, unit: s }}\n");
    assert_eq!(read(&text).fleet.collections[0].replicas[0].mapping.expiry, None);
    let text = format!("{BASE}defaults:\n  expiry: {{ field: gone_at, unit: s }}\n");
    assert!(read(&text).fleet.collections[0].replicas[0].mapping.expiry.is_some());
}

#[test]
fn the_printed_defaults_are_the_defaults() {
    let text = format!("{BASE}\n{}", annotated_yaml());
    assert_eq!(settings(&read(&text)), settings(&read(BASE)));
    insta::assert_snapshot!("annotated_yaml", annotated_yaml());
}

#[test]
fn files_are_loaded_with_their_secret() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("fleet.yaml");
    std::fs::write(&file, format!("{BASE}secret_file: key\n")).unwrap();
    let problems = load(&file).unwrap_err().to_string();
    assert!(problems.contains("fleet.yaml:16:14: `secret_file`:"), "{problems}");
    std::fs::write(directory.path().join("key"), "secret\n").unwrap();
    assert_eq!(load(&file).unwrap().fleet.secret, b"secret");
    std::fs::write(&file, b"fleet: shop\n\xff\n").unwrap();
    assert!(load(&file).unwrap_err().to_string().ends_with("fleet.yaml:2:1: the line is not UTF-8"));
    assert!(load(&directory.path().join("none")).unwrap_err().to_string().contains("none: cannot be read: "));
}

#[test]
fn the_documentation_has_the_generated_tables() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md");
    let text = std::fs::read_to_string(&page).unwrap();
    let start = text.find(reference::BEGIN).expect("the page has the mark where the tables begin");
    let end = text.find(reference::END).expect("the page has the mark where they end") + reference::END.len();
    let mut help = String::new();
    writeln!(help, "docs/configuration.md is stale.").unwrap();
    writeln!(help, "Put the output of `selfsame config defaults --output markdown` between its marks.")
        .unwrap();
    assert!(text[start..end] == markdown(), "{help}");
}

#[test]
fn the_documentation_shows_a_file_that_is_right() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md");
    let text = std::fs::read_to_string(&page).unwrap();
    let blocks: Vec<&str> =
        text.split("```yaml\n").skip(1).filter_map(|block| block.split("```").next()).collect();
    let whole: Vec<&str> = blocks.into_iter().filter(|block| block.starts_with("fleet:")).collect();
    assert!(!whole.is_empty());
    for block in whole {
        read(block);
    }
}
