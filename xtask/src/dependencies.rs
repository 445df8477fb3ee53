//! Which crate of the workspace may depend on which, as a test.
//!
//! Only direct dependencies are looked at, except for the pure crate, which must not reach a runtime by any
//! way. Dev-dependencies are free: a test may need what the code must not. Those of the pure crate are not,
//! for its tests do without effects too.

use std::path::Path;

use serde_json::Value;

use crate::cargo::{cargo, metadata};

/// A package of the workspace.
#[derive(Clone, Debug)]
struct Package {
    name: String,
    /// Relative to the root of the workspace.
    folder: String,
    dependencies: Vec<Dependency>,
}

#[derive(Clone, Debug)]
struct Dependency {
    name: String,
    dev: bool,
}

/// What a package may depend on.
struct Rule {
    /// Which of our packages.
    ours: fn(&str) -> bool,
    /// Whether it may see what is generated from the protocol.
    generated: bool,
    /// Whether it is pure: without a runtime, not even in its tests.
    pure: bool,
    /// The rule in words, to go with a violation.
    words: &'static str,
}

/// The rule for a package, or `None` for a package that nobody has thought about yet.
fn rule(package: &Package) -> Option<Rule> {
    let rule = |words, ours| Rule { ours, generated: false, pure: false, words };
    // Members outside `crates` are known by where they lie, and use whatever they test, measure or drive.
    match package.folder.split('/').next() {
        Some("tests" | "benches") => {
            return Some(rule("tests and benches use any crate, but no generated types", |_| true));
        }
        Some("xtask") => return Some(rule("tasks depend on nothing of ours", |_| false)),
        _ => {}
    }
    Some(match package.name.as_str() {
        "selfsame-core" => Rule {
            pure: true,
            ..rule("the core depends on nothing of ours and on no runtime, its tests included", |_| false)
        },
        "selfsame-store" | "selfsame-index" | "selfsame-journal" => {
            rule("store, index, journal and wire depend on the core alone", |other| other == "selfsame-core")
        }
        "selfsame-wire" => Rule {
            generated: true,
            ..rule("store, index, journal and wire depend on the core alone", |other| {
                other == "selfsame-core"
            })
        },
        name if is_real_store(name) => rule("a real store depends on the store port and the core", |other| {
            matches!(other, "selfsame-core" | "selfsame-store")
        }),
        "selfsame-cdc" => Rule {
            generated: true,
            ..rule("cdc depends on the core and wire", |other| {
                matches!(other, "selfsame-core" | "selfsame-wire")
            })
        },
        "selfsame-agent" => Rule {
            generated: true,
            ..rule("the agent depends on any library but real stores", |other| {
                is_library(other) && other != "selfsame-agent" && !is_real_store(other)
            })
        },
        "selfsame" => Rule { generated: true, ..rule("the binary wires the libraries together", is_library) },
        _ => return None,
    })
}

fn is_library(name: &str) -> bool {
    name.starts_with("selfsame-")
}

fn is_real_store(name: &str) -> bool {
    name.starts_with("selfsame-store-")
}

/// Whether a crate makes or serves the protocol's types.
fn is_generator(name: &str) -> bool {
    in_family(name, &["tonic", "prost"])
}

/// Whether a crate does I/O or runs those that do.
fn is_runtime(name: &str) -> bool {
    in_family(name, &["tokio", "tonic", "hyper", "axum", "rusqlite", "fjall", "reqwest"])
}

/// Whether `name` is one of the crates, or one that adds to it (`tokio-util`).
fn in_family(name: &str, families: &[&str]) -> bool {
    families.iter().any(|family| {
        name.strip_prefix(family).is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '_']))
    })
}

/// Every dependency that no rule allows, and every package without a rule, in words.
fn violations(packages: &[Package]) -> Vec<String> {
    let ours = |name: &str| packages.iter().find(|package| package.name == name);
    let mut violations = Vec::new();
    for package in packages {
        let Some(rule) = rule(package) else {
            violations.push(format!(
                "`{}` in {} has no rule; hint: add what it may depend on to `rule` in xtask/src/dependencies.rs",
                package.name, package.folder
            ));
            continue;
        };
        for dependency in package.dependencies.iter().filter(|dependency| rule.pure || !dependency.dev) {
            let name = dependency.name.as_str();
            let allowed = match ours(name) {
                // What lies outside `crates` is at the end of every chain.
                Some(other) => other.folder.starts_with("crates/") && (rule.ours)(name),
                None if rule.pure => !is_runtime(name) && !is_generator(name),
                None => rule.generated || !is_generator(name),
            };
            if !allowed {
                violations.push(format!("`{}` depends on `{name}`; hint: {}", package.name, rule.words));
            }
        }
    }
    violations
}

/// The packages of the workspace, from what cargo says of it.
fn packages(metadata: &Value) -> Option<Vec<Package>> {
    let root = Path::new(metadata["workspace_root"].as_str()?);
    let package = |package: &Value| {
        let manifest = Path::new(package["manifest_path"].as_str()?);
        let dependency = |dependency: &Value| {
            let name = dependency["name"].as_str()?.to_owned();
            Some(Dependency { name, dev: dependency["kind"] == "dev" })
        };
        Some(Package {
            name: package["name"].as_str()?.to_owned(),
            folder: manifest.parent()?.strip_prefix(root).ok()?.to_str()?.to_owned(),
            dependencies: package["dependencies"]
                .as_array()?
                .iter()
                .map(dependency)
                .collect::<Option<_>>()?,
        })
    };
    metadata["packages"].as_array()?.iter().map(package).collect()
}

fn here() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn the_workspace_keeps_the_rules() {
    let packages = packages(&metadata(here()).unwrap()).expect("metadata has the documented form");
    assert!(packages.iter().any(|package| package.name == "selfsame-core"), "{packages:?}");
    let violations = violations(&packages);
    assert!(violations.is_empty(), "\n{}", violations.join("\n"));
}

#[test]
fn the_core_reaches_no_runtime_by_any_way() {
    let output = cargo(here())
        .args(["tree", "--package", "selfsame-core", "--edges", "normal,build", "--offline"])
        .args(["--prefix", "none", "--format", "{p}"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8(output.stdout).unwrap();
    let names: Vec<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(names.contains(&"blake3"), "{names:?}");
    let runtimes: Vec<_> = names.into_iter().filter(|name| is_runtime(name) || is_generator(name)).collect();
    assert!(runtimes.is_empty(), "{runtimes:?}; hint: `cargo tree --package selfsame-core --invert NAME`");
}

/// A house that keeps all rules, and has one package of each kind.
fn house() -> Vec<Package> {
    let package = |folder: &str, name: &str, dependencies: &[&str]| Package {
        name: name.to_owned(),
        folder: folder.to_owned(),
        dependencies: dependencies
            .iter()
            .map(|name| Dependency { name: name.to_string(), dev: false })
            .collect(),
    };
    let library = |name: &str, dependencies: &[&str]| package(&format!("crates/{name}"), name, dependencies);
    let (core, store, wire) = ("selfsame-core", "selfsame-store", "selfsame-wire");
    let (index, journal, cdc, agent) =
        ("selfsame-index", "selfsame-journal", "selfsame-cdc", "selfsame-agent");
    let sqlite = "selfsame-store-sqlite";
    vec![
        library(core, &["blake3"]),
        library(store, &[core, "tokio"]),
        library(index, &[core, "fjall"]),
        library(journal, &[core, "rusqlite"]),
        library(wire, &[core, "tonic", "tonic-prost-build", "prost"]),
        library(sqlite, &[core, store, "rusqlite"]),
        library("selfsame-store-postgres", &[core, store, "tokio-postgres"]),
        library(cdc, &[core, wire, "tonic"]),
        library(agent, &[core, store, index, journal, wire, cdc, "tokio", "tonic"]),
        package("crates/selfsame", "selfsame", &[core, wire, agent, sqlite, "tonic", "tokio"]),
        package("tests", "selfsame-tests", &["selfsame", agent, sqlite, "tokio"]),
        package("benches", "selfsame-benches", &[agent, core]),
        package("xtask", "xtask", &["anyhow"]),
    ]
}

/// What is wrong once `who` depends on `whom`.
fn with(who: &str, whom: &str, dev: bool) -> Vec<String> {
    let mut house = house();
    let package = house.iter_mut().find(|package| package.name == who).expect("a package of the house");
    package.dependencies.push(Dependency { name: whom.to_owned(), dev });
    violations(&house)
}

#[track_caller]
fn refused(who: &str, whom: &str) {
    let violations = with(who, whom, false);
    assert_eq!(violations.len(), 1, "{who} on {whom}: {violations:?}");
    assert!(violations[0].starts_with(&format!("`{who}` depends on `{whom}`; hint: ")), "{violations:?}");
}

#[test]
fn a_house_that_keeps_the_rules_is_left_alone() {
    assert_eq!(violations(&house()), Vec::<String>::new());
}

#[test]
fn the_core_may_use_nothing_of_ours_and_no_runtime_not_even_in_tests() {
    for whom in [
        "selfsame-store",
        "selfsame-wire",
        "tokio",
        "tokio-util",
        "tonic",
        "prost",
        "rusqlite",
        "fjall",
        "reqwest",
    ] {
        refused("selfsame-core", whom);
        assert_eq!(with("selfsame-core", whom, true).len(), 1, "{whom} in tests");
    }
    assert_eq!(with("selfsame-core", "proptest", true), Vec::<String>::new());
}

#[test]
fn store_index_journal_and_wire_may_use_only_the_core() {
    let crates = ["selfsame-store", "selfsame-index", "selfsame-journal", "selfsame-wire"];
    for who in crates {
        for whom in crates.into_iter().filter(|whom| *whom != who) {
            refused(who, whom);
        }
        refused(who, "selfsame-store-sqlite");
        refused(who, "selfsame-cdc");
    }
}

#[test]
fn a_real_store_may_use_only_the_port_and_the_core() {
    for whom in ["selfsame-wire", "selfsame-journal", "selfsame-store-postgres"] {
        refused("selfsame-store-sqlite", whom);
    }
}

#[test]
fn cdc_may_use_only_the_core_and_wire() {
    for whom in ["selfsame-store", "selfsame-journal"] {
        refused("selfsame-cdc", whom);
    }
}

#[test]
fn the_agent_may_use_no_real_store() {
    refused("selfsame-agent", "selfsame-store-sqlite");
    refused("selfsame-agent", "selfsame");
}

#[test]
fn only_the_binary_tests_and_benches_may_use_the_agent() {
    for package in house() {
        let may = matches!(package.folder.as_str(), "crates/selfsame" | "tests" | "benches");
        if package.name != "selfsame-agent" && !may {
            refused(&package.name, "selfsame-agent");
        }
    }
}

#[test]
fn only_wire_and_those_above_it_may_use_generated_types() {
    for who in [
        "selfsame-store",
        "selfsame-store-sqlite",
        "selfsame-index",
        "selfsame-journal",
        "selfsame-tests",
        "xtask",
    ] {
        for whom in ["tonic", "tonic-health", "prost", "prost-types"] {
            refused(who, whom);
        }
    }
}

#[test]
fn nothing_may_use_tests_benches_or_tasks() {
    for whom in ["selfsame-tests", "xtask"] {
        for who in ["selfsame", "selfsame-agent", "selfsame-benches"] {
            refused(who, whom);
        }
    }
}

#[test]
fn dev_dependencies_of_others_are_free() {
    for whom in ["selfsame-store-sqlite", "selfsame-agent", "tonic"] {
        assert_eq!(with("selfsame-index", whom, true), Vec::<String>::new());
    }
}

#[test]
fn a_new_package_needs_a_rule() {
    let mut house = house();
    let (name, folder) = ("selfsame-util".to_owned(), "crates/selfsame-util".to_owned());
    house.push(Package { name, folder, dependencies: Vec::new() });
    let violations = violations(&house);
    assert_eq!(violations.len(), 1, "{violations:?}");
    assert!(
        violations[0].contains("`selfsame-util` in crates/selfsame-util has no rule; hint: add"),
        "{violations:?}"
    );
}

#[test]
fn families_are_told_from_look_alikes() {
    assert!(is_runtime("tokio") && is_runtime("tokio-stream") && is_generator("prost-types"));
    assert!(!is_runtime("tokiox") && !is_generator("prosty"));
}
