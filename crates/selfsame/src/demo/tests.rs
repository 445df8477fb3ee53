//! The demo against fleets that are honest, and against fleets that are not: it must praise the one and name what
//! is wrong with the others. No agent is started, no time passes but the writer's own.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Instant;

use anyhow::Result;
use parking_lot::Mutex;
use rusqlite::{Connection, OptionalExtension, params};

use super::documents::{self, Documents};
use super::fleet::{Fleet, PassItem, PassOutcome, PassSummary};
use super::injections::EACH_PER_ROUND;
use super::kinds::{Kind, NODE_COUNT, NodeIndex};
use super::result::DemoResult;
use super::story::Stage;
use super::tail::Tails;
use super::talk::Talk;
use super::traffic::Traffic;
use super::writer::{Clock, Writer, WriterOptions};

const SEED: u64 = 7;

/// Writes of clients while a pass is under way.
const WRITES_PER_PASS: usize = 800;

/// The tables and triggers that an agent makes, as a consumer sees them.
const CHANGE_TABLE: &str = "
CREATE TABLE _selfsame_meta (name TEXT PRIMARY KEY NOT NULL, value);
CREATE TABLE _selfsame_changes (seq INTEGER PRIMARY KEY AUTOINCREMENT, tbl TEXT NOT NULL, op TEXT NOT NULL, k1, origin TEXT);
CREATE TRIGGER _selfsame_insert_characters AFTER INSERT ON characters BEGIN
  INSERT INTO _selfsame_changes (tbl, op, k1, origin)
    SELECT 'characters', 'insert', NEW.id, (SELECT value FROM _selfsame_meta WHERE name = 'writing'); END;
CREATE TRIGGER _selfsame_update_characters AFTER UPDATE ON characters BEGIN
  INSERT INTO _selfsame_changes (tbl, op, k1, origin)
    SELECT 'characters', 'update', NEW.id, (SELECT value FROM _selfsame_meta WHERE name = 'writing'); END;
CREATE TRIGGER _selfsame_delete_characters AFTER DELETE ON characters BEGIN
  INSERT INTO _selfsame_changes (tbl, op, k1, origin)
    SELECT 'characters', 'delete', OLD.id, (SELECT value FROM _selfsame_meta WHERE name = 'writing'); END;
";

/// What is wrong with a fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    None,
    /// Leaves the last injection alone and says nothing of it.
    MissesOne,
    /// Writes something else than it should for the last injection.
    RepairsWrongly,
    /// Reports a repair of the last injection and does not make it.
    OnlyClaims,
    /// Repairs what nobody damaged, and says so.
    FalseRepair,
    /// Writes one repair without a marker.
    Unmarked,
    /// Repairs what nobody damaged, and says nothing.
    SilentRepair,
    /// Holds the last injection for a person.
    Holds,
    /// Finds a difference in the first pass, where there is none.
    FalseAlarm,
    /// Cuts its list of items.
    CutsItems,
}

type Stored = (String, i64, Option<i64>);

struct FakeFleet {
    files: Vec<Connection>,
    writer: Arc<Mutex<Writer>>,
    flaw: Flaw,
    passes: usize,
    items: Vec<PassItem>,
}

impl FakeFleet {
    fn open(folder: &Path, writer: Arc<Mutex<Writer>>, flaw: Flaw) -> FakeFleet {
        let open = |node: NodeIndex| {
            let file = Connection::open(folder.join(node.file())).unwrap();
            file.pragma_update(None, "synchronous", "OFF").unwrap();
            file
        };
        FakeFleet { files: NodeIndex::all().map(open).collect(), writer, flaw, passes: 0, items: Vec::new() }
    }

    fn stored(&self, node: usize, key: &str) -> Option<Stored> {
        let sql = "SELECT body, updated_at, expires_at FROM characters WHERE id = ?1";
        let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
        self.files[node].prepare_cached(sql).unwrap().query_row([key], read).optional().unwrap()
    }

    fn differing(&self) -> BTreeSet<String> {
        let mut rows: BTreeMap<String, Vec<(usize, Stored)>> = BTreeMap::new();
        for (node, file) in self.files.iter().enumerate() {
            let mut statement =
                file.prepare("SELECT id, body, updated_at, expires_at FROM characters").unwrap();
            let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, (row.get(1)?, row.get(2)?, row.get(3)?)));
            for row in statement.query_map([], read).unwrap() {
                let (key, stored) = row.unwrap();
                rows.entry(key).or_default().push((node, stored));
            }
        }
        let same =
            |rows: &[(usize, Stored)]| rows.len() == NODE_COUNT && rows.iter().all(|row| row.1 == rows[0].1);
        rows.into_iter().filter(|(_, rows)| !same(rows)).map(|(key, _)| key).collect()
    }

    /// What all should have: the newest, by majority among equals; nothing, if that has expired.
    fn winner(&self, key: &str, now: i64) -> Option<Stored> {
        let rows: Vec<Stored> = (0..NODE_COUNT).filter_map(|node| self.stored(node, key)).collect();
        let newest = rows.iter().map(|row| row.1).max()?;
        let candidates = rows.iter().filter(|row| row.1 == newest);
        let votes = |row: &&Stored| rows.iter().filter(|other| other == row).count();
        let winner = candidates.max_by_key(votes)?;
        winner.2.is_none_or(|expiry| expiry > now).then(|| winner.clone())
    }

    fn put(&self, node: usize, key: &str, row: Option<&Stored>, marker: Option<&str>) {
        let file = &self.files[node];
        file.execute_batch("BEGIN IMMEDIATE").unwrap();
        file.execute("INSERT OR REPLACE INTO _selfsame_meta VALUES ('writing', ?1)", [marker]).unwrap();
        match row {
            Some((body, version, expiry)) => file.execute(
                "INSERT INTO characters VALUES (?1, ?2, ?3, ?4) ON CONFLICT (id) DO UPDATE
                 SET body = excluded.body, updated_at = excluded.updated_at, expires_at = excluded.expires_at",
                params![key, body, version, expiry],
            ),
            None => file.execute("DELETE FROM characters WHERE id = ?1", [key]),
        }
        .unwrap();
        file.execute("DELETE FROM _selfsame_meta", []).unwrap();
        file.execute_batch("COMMIT").unwrap();
    }

    fn repair(&mut self, node: usize, key: &str, winner: Option<&Stored>, flaw: Flaw) {
        let wrong = winner.map(|(body, version, expiry)| (body.replacen('{', "{ ", 1), *version, *expiry));
        let action = if winner.is_some() { "copy" } else { "delete" };
        let (mut outcome, mut action) = ("repaired", action);
        match flaw {
            Flaw::MissesOne => return,
            Flaw::Holds => (outcome, action) = ("held", "none"),
            Flaw::OnlyClaims => {}
            Flaw::RepairsWrongly => self.put(node, key, wrong.as_ref(), Some("marker")),
            Flaw::Unmarked => self.put(node, key, winner, None),
            _ => self.put(node, key, winner, Some("marker")),
        }
        let node = NodeIndex(node).name().to_owned();
        let key = serde_json::to_string(key).unwrap();
        self.items.push(PassItem { key, node, action: action.to_owned(), outcome: outcome.to_owned() });
    }

    /// Repairs a document that is as it should be.
    fn meddle(&mut self, is_told: bool) {
        let untouched = self.writer.lock().take_calm();
        let row = self.stored(1, &untouched);
        match is_told {
            true => self.repair(1, &untouched, row.as_ref(), Flaw::None),
            false => self.put(1, &untouched, row.as_ref(), Some("marker")),
        }
    }
}

impl Fleet for FakeFleet {
    fn pass(&mut self, tick: &mut dyn FnMut()) -> Result<PassOutcome> {
        tick();
        let is_last = self.writer.lock().planned.is_empty() && self.passes > 3;
        if !is_last {
            for _ in 0..WRITES_PER_PASS / 2 {
                self.writer.lock().step()?;
            }
        }
        self.passes += 1;
        let (now, victim) = {
            let writer = self.writer.lock();
            let calm = |injection: &&super::injections::Injection| {
                !injection.overtaken && injection.kind != Kind::ExpiredStraggler
            };
            let victim = writer.injections.iter().rev().find(calm);
            (writer.now(), victim.map(|injection| (injection.node.0, injection.key.to_string())))
        };
        self.items.clear();
        for key in self.differing() {
            let winner = self.winner(&key, now);
            for node in 0..NODE_COUNT {
                if self.stored(node, &key) != winner {
                    let is_victim = victim == Some((node, key.clone()));
                    self.repair(node, &key, winner.as_ref(), if is_victim { self.flaw } else { Flaw::None });
                }
            }
        }
        match self.flaw {
            Flaw::FalseRepair if self.passes == 2 => self.meddle(true),
            Flaw::SilentRepair if self.passes == 2 => self.meddle(false),
            _ => {}
        }
        if !is_last {
            for _ in 0..WRITES_PER_PASS / 2 {
                self.writer.lock().step()?;
            }
        }
        let repaired = self.items.iter().filter(|item| item.is_written()).count() as u64;
        let keys: BTreeSet<&str> = self.items.iter().map(|item| item.key.as_str()).collect();
        let false_alarms = u64::from(self.flaw == Flaw::FalseAlarm && self.passes == 1);
        let summary = PassSummary {
            verdict: "in_sync".into(),
            mismatches: keys.len() as u64 + false_alarms,
            repaired,
            wire_bytes: 10,
            ..PassSummary::default()
        };
        Ok(PassOutcome { summary, items: self.items.clone(), items_truncated: self.flaw == Flaw::CutsItems })
    }
}

/// Traffic that goes on only when somebody waits.
struct Inline(Arc<Mutex<Writer>>);

impl Traffic for Inline {
    fn start(&mut self) {}

    fn wait(&mut self) -> Result<()> {
        self.0.lock().step()
    }

    fn stop(&mut self) -> Result<()> {
        Ok(())
    }
}

/// A clock on which every look takes a third of a millisecond.
fn clock() -> Clock {
    let now = AtomicI64::new(1_700_000_000_000_000);
    Arc::new(move || now.fetch_add(333, Ordering::Relaxed))
}

fn few_documents() -> Documents {
    let line =
        |number: i32| format!("{{\"id\":\"U+{number:04X}\",\"name\":\"SIGN {number}\",\"of\":[1,\"x\"]}}\n");
    documents::read("test", "test", (0..1500).map(line).collect::<String>().as_bytes()).unwrap()
}

fn play(flaw: Flaw, settle: i64) -> DemoResult {
    let folder = tempfile::tempdir().unwrap();
    let options = WriterOptions { documents: Arc::new(few_documents()), seed: SEED, clock: clock(), settle };
    let writer = Arc::new(Mutex::new(Writer::create(folder.path(), options).unwrap()));
    for node in NodeIndex::all() {
        Connection::open(folder.path().join(node.file())).unwrap().execute_batch(CHANGE_TABLE).unwrap();
    }
    let stage = Stage {
        folder: folder.path().to_owned(),
        seed: SEED,
        writer: writer.clone(),
        tails: Arc::new(Mutex::new(Tails::open(folder.path()).unwrap())),
        traffic: &mut Inline(writer.clone()),
        fleet: &mut FakeFleet::open(folder.path(), writer, flaw),
        talk: &mut Talk::to(Box::new(std::io::sink())),
        began: Instant::now(),
    };
    stage.play().unwrap()
}

/// Asserts that the demo fails, and that what it says has these texts in it.
fn assert_named(flaw: Flaw, expected: &[&str]) -> DemoResult {
    let result = play(flaw, 500_000);
    assert!(!result.passed, "{flaw:?}");
    for text in expected {
        assert!(
            result.failures.iter().any(|failure| failure.contains(text)),
            "{text}: {:#?}",
            result.failures
        );
    }
    result
}

#[test]
fn an_honest_fleet_passes_and_everything_is_counted() {
    let result = play(Flaw::None, 500_000);
    assert!(result.passed && result.converged && result.echoes_filtered, "{:#?}", result.failures);
    for kind in Kind::ALL {
        let (injected, overtaken) = (result.injected.of(kind), result.overtaken.of(kind));
        assert_eq!(injected, 3 * EACH_PER_ROUND as u64, "{kind:?}");
        assert_eq!(result.detected.of(kind), injected - overtaken, "{kind:?}");
        assert_eq!(result.healed.of(kind), injected - overtaken, "{kind:?}");
    }
    assert!(result.overtaken.total() > 0, "ordinary traffic must meet some damage");
    assert_eq!(result.repaired, result.healed.total() + result.expired);
    assert_eq!(result.echoes_seen, result.repaired);
    assert_eq!((result.false_repairs, result.under_way, result.documents), (0, 0, 1500));
    assert!(result.files.iter().all(|file| file.expired_and_gone + file.equal > 1000));
}

#[test]
fn the_same_seed_damages_the_same_documents() {
    let (first, second) = (play(Flaw::None, 500_000), play(Flaw::None, 500_000));
    assert_eq!(first.overtaken, second.overtaken);
    assert_eq!((first.writes, first.files), (second.writes, second.files));
}

#[test]
fn an_injection_that_is_missed_is_named() {
    let result = assert_named(
        Flaw::MissesOne,
        &[
            "1 injections were not detected: ",
            "1 injections were not repaired: ",
            "is not the writer's ledger: ",
        ],
    );
    assert!(!result.converged);
    assert_eq!(result.false_repairs, 0);
}

#[test]
fn a_wrong_repair_is_found_by_the_ledger_alone() {
    let result = assert_named(
        Flaw::RepairsWrongly,
        &["1 different, 0 missing, 0 extra", "not as it was written last"],
    );
    assert_eq!((result.converged, result.detected.total()), (false, result.healed.total()));
}

#[test]
fn a_repair_that_is_only_claimed_is_found() {
    assert_named(
        Flaw::OnlyClaims,
        &["is not the writer's ledger", "other repairs in the change stream than in the journal"],
    );
}

#[test]
fn a_repair_without_a_reason_is_named() {
    let result = assert_named(Flaw::FalseRepair, &["1 repairs had no reason: "]);
    assert_eq!((result.false_repairs, result.converged), (1, true));
}

#[test]
fn a_repair_that_the_journal_does_not_know_is_named() {
    assert_named(
        Flaw::SilentRepair,
        &["1 keys have other repairs in the change stream than in the journal: "],
    );
}

#[test]
fn a_repair_without_a_marker_breaks_the_echo_rule() {
    let result = assert_named(Flaw::Unmarked, &["the filtered consumer of ", "client writes where"]);
    assert!(!result.echoes_filtered);
}

#[test]
fn held_is_detected_and_not_enough() {
    let result = assert_named(Flaw::Holds, &["injections were not repaired: "]);
    assert_eq!(result.detected.total(), result.healed.total() + 1);
}

#[test]
fn a_first_pass_that_finds_something_is_a_false_alarm() {
    assert_named(Flaw::FalseAlarm, &["the first pass found 1 mismatches between undamaged replicas"]);
}

#[test]
fn a_list_that_was_cut_proves_nothing() {
    assert_named(Flaw::CutsItems, &["list of items was cut"]);
}

#[test]
fn what_people_read_says_whether_it_worked() {
    let style = super::talk::Style::of(&std::fs::File::open("/dev/null").unwrap());
    let good = super::talk::text(&play(Flaw::None, 500_000), style);
    assert!(good.contains("found and mended") && good.contains("expired straggler"), "{good}");
    let bad = super::talk::text(&play(Flaw::MissesOne, 500_000), style);
    assert!(bad.contains("Not as it should be:\n  - "), "{bad}");
}
