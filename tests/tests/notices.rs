//! `selfsame notice` on real files: what the application says that it deleted is finished everywhere.

#![allow(clippy::unwrap_used, reason = "all of this file is tests")]

use std::time::{SystemTime, UNIX_EPOCH};

use selfsame_tests::{Contents, Fleet};

/// Milliseconds since 1970; an hour ago, so that no version lies in the future.
fn an_hour_ago() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(now.as_millis()).unwrap() - 3_600_000
}

#[test]
fn a_deletion_that_reached_one_store_is_finished_when_it_is_told() {
    let base = an_hour_ago();
    let mut expected: Contents =
        (0..60).map(|n| (format!("key-{n:03}"), (base, format!("{{\"n\":{n}}}")))).collect();
    let mut fleet = Fleet::builder()
        .setting("settle", "50ms")
        .setting("version", "{ field: updated_at, unit: ms }")
        .rows(&expected)
        .start();
    fleet.passes_until_in_sync(1);
    fleet.open(1).execute("DELETE FROM products WHERE id = 'key-007'", []).unwrap();
    expected.remove("key-007");

    let told = |version: &str| {
        fleet.cli(&["notice", "products", "key-007", "--deleted-version", version, "--output", "json"])
    };
    // One millisecond before what was there.
    let early = told(&(base - 1).to_string());
    let outcomes = |answer: &serde_json::Value| -> Vec<String> {
        let replicas = answer["replicas"].as_array().unwrap().iter();
        replicas.map(|replica| replica["outcome"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(
        (early.code, outcomes(&early.json())),
        (Some(1), ["present", "newer", "present"].map(str::to_owned).to_vec())
    );
    // The version that was there; whom the agent that is asked first does not find is named.
    fleet.kill(2);
    let told = fleet.cli(&[
        "notice",
        "products",
        "key-007",
        "--deleted-version",
        &base.to_string(),
        "--output",
        "json",
    ]);
    let answer = told.json();
    assert_eq!(told.code, Some(0), "{told:?}");
    assert_eq!(outcomes(&answer), ["present", "remembered"]);
    assert_eq!(answer["silent"].as_array().unwrap().len(), 1, "{answer}");
    // It survives whoever saw it.
    fleet.kill(1);
    std::fs::remove_dir_all(fleet.data(1).join("index")).unwrap();
    fleet.start(1);
    fleet.start(2);
    fleet.passes_until_in_sync(3);
    fleet.assert_all("deleted everywhere", &expected);
}

#[test]
fn a_notice_that_cannot_be_right_is_refused() {
    let rows: Contents = [("key-001".to_owned(), (an_hour_ago(), "{}".to_owned()))].into();
    let fleet = Fleet::builder().setting("version", "{ field: updated_at, unit: ms }").rows(&rows).start();
    let refused = |arguments: &[&str], says: &str| {
        let answer = fleet.cli(&[&["notice"], arguments].concat());
        assert_eq!(answer.code, Some(64), "{answer:?}");
        assert!(answer.stderr.contains(says), "{says}: {answer:?}");
    };
    refused(&["products", "key-001"], "--deleted-version");
    refused(&["products", "key-001", "--deleted-version", "today"], "milliseconds");
    refused(&["nothing", "key-001", "--deleted-version", "1"], "no collection `nothing`");
    // Microseconds where milliseconds are meant: everybody would hold the key for ever.
    let micros = (an_hour_ago() * 1_000).to_string();
    refused(&["products", "key-001", "--deleted-version", &micros], "future");
}
