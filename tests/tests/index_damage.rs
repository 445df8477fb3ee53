//! Indexes and journals that were damaged while their agent was down. An index is a cache: it is found, set aside
//! and built anew. A journal is not: an agent does not start with a damaged one, and does not touch it.

#![allow(clippy::unwrap_used, reason = "all of this file is tests")]

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use selfsame_tests::{Contents, Fleet, assert_same, put};

const KEYS: usize = 300;

/// An agent that just came back is counted as live within a second or two: until then a run may lack it.
const PASSES_MAX: usize = 4;

/// Files are made larger than what is in them.
const FLIPPED_BYTES_MAX: u64 = 1 << 20;

fn rows() -> Contents {
    (0..KEYS).map(|n| (format!("key-{n:03}"), (1, format!("{{\"n\":{n}}}")))).collect()
}

/// Files below a folder that are not empty.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.metadata().unwrap().len() > 0 {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The directory of agent c's index.
fn index(fleet: &Fleet) -> PathBuf {
    fleet.data(2).join("index").join("products").join("node-c")
}

/// Where the index keeps its rows.
fn generation(fleet: &Fleet) -> PathBuf {
    let entries = fs::read_dir(index(fleet)).unwrap().map(|entry| entry.unwrap().path());
    let mut stores =
        entries.filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("db-")));
    stores.next().expect("an index has a store")
}

fn set_aside(fleet: &Fleet) -> usize {
    let entries = fs::read_dir(index(fleet)).unwrap();
    entries
        .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with("damaged-"))
        .count()
}

/// Flips bits of one byte in 50, from the beginning on.
fn flip(path: &Path) {
    let file = fs::File::options().read(true).write(true).open(path).unwrap();
    let bytes = file.metadata().unwrap().len().min(FLIPPED_BYTES_MAX);
    for at in (0..bytes).step_by(50) {
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 0x55], at).unwrap();
    }
}

fn halve(path: &Path) {
    let file = fs::File::options().write(true).open(path).unwrap();
    file.set_len(file.metadata().unwrap().len() / 2).unwrap();
}

/// Rows that differ while the agent is down, and how many: lost updates and lost inserts on node c, and one that
/// only node c has.
fn diverge(fleet: &Fleet, expected: &mut Contents) -> u64 {
    let before = expected.clone();
    for key in before.keys().step_by(10) {
        expected.insert(key.clone(), (2, "{\"updated\":true}".to_owned()));
    }
    expected.insert("new".to_owned(), (1, "{}".to_owned()));
    for node in [0, 1] {
        let store = fleet.open(node);
        expected.iter().for_each(|(id, (version, body))| put(&store, id, *version, body));
    }
    put(&fleet.open(2), "only-c", 1, "{}");
    expected.insert("only-c".to_owned(), (1, "{}".to_owned()));
    before.keys().step_by(10).count() as u64 + 1 + 2
}

/// Passes until all agree; every difference was repaired, once, and none was held.
fn assert_repaired(what: &str, fleet: &Fleet, differ: u64, expected: &Contents) {
    let summaries = fleet.passes_until_in_sync(PASSES_MAX);
    let held: u64 = summaries.iter().filter_map(|summary| summary["held"].as_u64()).sum();
    // Counted in the stores: the scheduled run of an agent that has just come back may repair a part before.
    let repaired = |node| {
        let sql = "SELECT count(*) FROM _selfsame_origin";
        fleet.open(node).query_row(sql, [], |row| row.get::<_, u32>(0)).unwrap()
    };
    let repaired: u64 = (0..fleet.count()).map(repaired).map(u64::from).sum();
    assert_eq!((repaired, held), (differ, 0), "{what}: {summaries:?}");
    fleet.assert_all(what, expected);
}

/// Damages agent c's index while it is down; whether it is found, and what the next run says.
fn damaged(what: &str, damage: impl FnOnce(&Fleet)) {
    let mut expected = rows();
    let mut fleet = Fleet::builder().rows(&expected).start();
    fleet.passes_until_in_sync(1);
    assert!(fleet.terminate(2).success());
    damage(&fleet);
    let differ = diverge(&fleet, &mut expected);
    fleet.start(2);
    let said = fleet.said(2);
    assert!(said.contains("index is begun anew"), "{what}: nothing is said of it: {said}");
    assert_eq!(set_aside(&fleet), 1, "{what}: it is kept for whoever wants to know");
    assert_repaired(what, &fleet, differ, &expected);
    // The new index stays.
    assert!(fleet.terminate(2).success());
    fleet.start(2);
    assert!(!fleet.said(2).contains("index is begun anew"), "{what}: {}", fleet.said(2));
    fleet.passes_until_in_sync(PASSES_MAX);
}

#[test]
fn an_index_with_flipped_bytes_is_set_aside_and_rebuilt() {
    damaged("flipped bytes", |fleet| files(&generation(fleet)).iter().for_each(|file| flip(file)));
}

#[test]
fn a_truncated_index_is_set_aside_and_rebuilt() {
    damaged("truncated files", |fleet| files(&generation(fleet)).iter().for_each(|file| halve(file)));
}

#[test]
fn an_index_without_its_anchor_is_set_aside_and_rebuilt() {
    damaged("no anchor", |fleet| fs::remove_file(index(fleet).join("anchor")).unwrap());
}

#[test]
fn a_deleted_index_costs_a_scan_and_nothing_else() {
    let mut expected = rows();
    let mut fleet = Fleet::builder().rows(&expected).start();
    fleet.passes_until_in_sync(1);
    fleet.kill(2);
    fs::remove_dir_all(fleet.data(2).join("index")).unwrap();
    let differ = diverge(&fleet, &mut expected);
    fleet.start(2);
    assert_repaired("a deleted index", &fleet, differ, &expected);
}

#[test]
fn what_was_deleted_is_remembered_without_the_index() {
    let expected = rows();
    let mut fleet = Fleet::builder().rows(&expected).start();
    fleet.passes_until_in_sync(1);
    let deleted = ["key-007", "key-123", "key-250"];
    let mut on_c = expected.clone();
    for key in deleted {
        fleet.open(2).execute("DELETE FROM products WHERE id = ?1", [key]).unwrap();
        on_c.remove(key);
    }
    let held = |fleet: &Fleet, what: &str| {
        let mut summary = fleet.pass();
        for _ in 1..PASSES_MAX {
            // Not all agents were heard yet.
            if summary["verdict"] == "diverged"
                && summary["unknown"].as_object().is_some_and(|unknown| unknown.is_empty())
            {
                break;
            }
            summary = fleet.pass();
        }
        assert_eq!(
            (&summary["verdict"], summary["held"].as_u64()),
            (&"diverged".into(), Some(3)),
            "{what}: {summary}"
        );
        assert_eq!(summary["repaired"], 0, "{what}: {summary}");
        assert_same(&format!("{what}: node-a"), &fleet.contents(0), &expected);
        assert_same(&format!("{what}: node-b"), &fleet.contents(1), &expected);
        assert_same(&format!("{what}: node-c"), &fleet.contents(2), &on_c);
    };
    held(&fleet, "after the deletions");
    for agent in 0..3 {
        fleet.kill(agent);
        fs::remove_dir_all(fleet.data(agent).join("index")).unwrap();
        fleet.start(agent);
        held(&fleet, &format!("without the index of {}", fleet.name(agent)));
    }
}

/// Damages agent c's journal while it is down, and looks at the agent that starts with it.
fn damaged_journal(what: &str, damage: impl FnOnce(&Path)) {
    let mut fleet = Fleet::builder().rows(&rows()).start();
    fleet.passes_until_in_sync(1);
    assert!(fleet.terminate(2).success());
    let journal = fleet.data(2).join("journal.db");
    damage(&journal);
    let bytes = || -> Vec<(PathBuf, Vec<u8>)> {
        let files = fs::read_dir(fleet.data(2)).unwrap().map(|entry| entry.unwrap().path());
        let mut files: Vec<PathBuf> = files.filter(|path| path.is_file()).collect();
        files.sort();
        files.into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
    };
    let before = bytes();
    let answer = fleet.command(&["agent", "--name", "c", "--config", "fleet.yaml"]);
    assert_eq!(answer.code, Some(70), "{what}: {answer:?}");
    assert!(answer.stderr.contains("journal.db"), "{what}: the file is named: {answer:?}");
    assert!(answer.stderr.contains("hint:"), "{what}: what to do is said: {answer:?}");
    let after = bytes();
    let names = |files: &[(PathBuf, Vec<u8>)]| files.iter().map(|(path, _)| path.clone()).collect::<Vec<_>>();
    assert_eq!(names(&after), names(&before), "{what}: files beside the journal");
    assert!(after == before, "{what}: the journal was written to");
    // The others go on without it.
    let summary = fleet.pass();
    assert_eq!(summary["unknown"]["unreachable"], 16, "{what}: {summary}");
}

#[test]
fn an_agent_does_not_start_with_a_journal_that_is_garbage() {
    damaged_journal("garbage", |journal| fs::write(journal, vec![0xA5; 8192]).unwrap());
}

#[test]
fn an_agent_does_not_start_with_a_damaged_journal() {
    damaged_journal("flipped bytes", |journal| {
        let bytes = fs::metadata(journal).unwrap().len();
        let file = fs::File::options().write(true).open(journal).unwrap();
        for page in 1..bytes / 4096 {
            file.write_all_at(&[0xA5; 200], page * 4096).unwrap();
        }
    });
}

#[test]
fn an_agent_does_not_start_with_a_truncated_journal() {
    damaged_journal("truncated", halve);
}

#[test]
fn an_agent_does_not_start_with_an_empty_journal() {
    damaged_journal("empty", |journal| fs::write(journal, b"").unwrap());
}
