//! The demo against fleets that are honest, and against fleets that are not: it must praise the one and name what
//! is wrong with the others. No agent is started, no time passes but the writer's own.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Instant;

use anyhow::Result;
use parking_lot::Mutex;
use rusqlite::{Connection, OptionalExtension, params};

use super::documents::{self, Documents};
use super::fleet::{
    ApproveOutcome, Fleet, HeldReplica, PassItem, PassOutcome, PassSummary, ResyncOutcome, UndoOutcome,
};
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
CREATE TABLE _selfsame_changes (seq INTEGER PRIMARY KEY AUTOINCREMENT, tbl TEXT NOT NULL, op TEXT NOT NULL, k1,
  old_version, old_expiry, origin TEXT);
CREATE INDEX changes_of ON _selfsame_changes (k1) WHERE op = 'delete' AND origin IS NULL;
CREATE TRIGGER _selfsame_insert_characters AFTER INSERT ON characters BEGIN
  INSERT INTO _selfsame_changes (tbl, op, k1, origin)
    SELECT 'characters', 'insert', NEW.id, (SELECT value FROM _selfsame_meta WHERE name = 'writing'); END;
CREATE TRIGGER _selfsame_update_characters AFTER UPDATE ON characters BEGIN
  INSERT INTO _selfsame_changes (tbl, op, k1, origin)
    SELECT 'characters', 'update', NEW.id, (SELECT value FROM _selfsame_meta WHERE name = 'writing'); END;
CREATE TRIGGER _selfsame_delete_characters AFTER DELETE ON characters BEGIN
  INSERT INTO _selfsame_changes (tbl, op, k1, old_version, old_expiry, origin)
    SELECT 'characters', 'delete', OLD.id, OLD.updated_at, OLD.expires_at, (SELECT value FROM _selfsame_meta WHERE name = 'writing'); END;
";

/// What is wrong with a fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    None,
    /// Finds nothing while clients write, and everything once they have stopped.
    SleepsBesideClients,
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
    /// Takes the last injection for something else.
    WrongCause,
    /// Cuts its list of items.
    CutsItems,
    /// Says that it put a row back, and does not.
    UndoesTooLittle,
    /// Repairs again what was undone.
    ForgetsPins,
    /// Believes a file that was restored.
    BelievesCopies,
    /// Says that it copied a row to the restored file, and does not.
    ResyncsTooLittle,
}

type Stored = (String, i64, Option<i64>);

struct FakeFleet {
    files: Vec<Connection>,
    writer: Arc<Mutex<Writer>>,
    flaw: Flaw,
    passes: usize,
    items: Vec<PassItem>,
    folder: PathBuf,
    /// What the last pass replaced.
    replaced: Vec<(usize, String, Option<Stored>)>,
    /// What was undone.
    pinned: Vec<(usize, String)>,
    /// How far a file's change table was when it was left.
    left_at: i64,
    held: Option<NodeIndex>,
}

fn open_file(folder: &Path, node: NodeIndex) -> Connection {
    let file = Connection::open(folder.join(node.file())).unwrap();
    file.pragma_update(None, "synchronous", "OFF").unwrap();
    file
}

impl FakeFleet {
    fn open(folder: &Path, writer: Arc<Mutex<Writer>>, flaw: Flaw) -> FakeFleet {
        FakeFleet {
            files: NodeIndex::all().map(|node| open_file(folder, node)).collect(),
            writer,
            flaw,
            passes: 0,
            items: Vec::new(),
            folder: folder.to_owned(),
            replaced: Vec::new(),
            pinned: Vec::new(),
            left_at: 0,
            held: None,
        }
    }

    fn newest_change(&self, node: NodeIndex) -> i64 {
        let sql = "SELECT max(seq) FROM _selfsame_changes";
        self.files[node.0].query_row(sql, [], |row| row.get(0)).unwrap()
    }

    fn keys(&self, node: usize) -> BTreeSet<String> {
        let mut statement = self.files[node].prepare("SELECT id FROM characters").unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    }

    /// A pass that repairs nothing.
    fn look(&self, verdict: &str, held: &BTreeSet<&String>) -> PassOutcome {
        let item = |key: &&String| PassItem {
            key: serde_json::to_string(key).unwrap(),
            node: "node-a".into(),
            action: "none".into(),
            cause: "unknown".into(),
            outcome: "held".into(),
        };
        let count = held.len() as u64;
        let summary =
            PassSummary { verdict: verdict.into(), mismatches: count, held: count, ..PassSummary::default() };
        PassOutcome { summary, items: held.iter().map(item).collect(), items_truncated: false }
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

    /// The newest version that a client deleted, on whichever node, and whether it had an expiry.
    fn deleted(&self, key: &str) -> Option<(i64, bool)> {
        let sql = "SELECT old_version, old_expiry IS NOT NULL FROM _selfsame_changes
                   WHERE k1 = ?1 AND op = 'delete' AND origin IS NULL";
        let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
        let of_file = |file: &Connection| -> Vec<(i64, bool)> {
            let mut statement = file.prepare_cached(sql).unwrap();
            statement.query_map([key], read).unwrap().map(Result::unwrap).collect()
        };
        self.files.iter().flat_map(of_file).max()
    }

    /// What all should have: the newest, by majority among equals, of those the one that expires last; nothing, if that
    /// has expired or was deleted. (Only what had expired is deleted with an expiry: that says nothing about the same
    /// version renewed.)
    fn winner(&self, key: &str, now: i64) -> Option<Stored> {
        let rows: Vec<Stored> = (0..NODE_COUNT).filter_map(|node| self.stored(node, key)).collect();
        let newest = rows.iter().map(|row| row.1).max()?;
        let candidates = rows.iter().filter(|row| row.1 == newest);
        let votes = |row: &&Stored| rows.iter().filter(|other| other == row).count();
        let winner = candidates.max_by_key(|row| (row.2, votes(row)))?;
        let is_deleted = self.deleted(key).is_some_and(|(version, had_expired)| match had_expired {
            true => newest < version,
            false => newest <= version,
        });
        (!is_deleted && winner.2.is_none_or(|expiry| expiry > now)).then(|| winner.clone())
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
        self.replaced.push((node, key.to_owned(), self.stored(node, key)));
        match flaw {
            Flaw::MissesOne => return,
            Flaw::Holds => (outcome, action) = ("held", "none"),
            Flaw::OnlyClaims => {}
            Flaw::RepairsWrongly => self.put(node, key, wrong.as_ref(), Some("marker")),
            Flaw::Unmarked => self.put(node, key, winner, None),
            _ => self.put(node, key, winner, Some("marker")),
        }
        let kind = (self.writer.lock().injections.iter())
            .find(|injection| injection.key.as_ref() == key)
            .map(|injection| injection.kind);
        let cause = match flaw {
            Flaw::WrongCause => "silent_change",
            _ => kind.map_or("unknown", |kind| kind.causes()[0]),
        };
        let cause = cause.to_owned();
        let node = NodeIndex(node).name().to_owned();
        let key = serde_json::to_string(key).unwrap();
        self.items.push(PassItem {
            key,
            node,
            action: action.to_owned(),
            cause,
            outcome: outcome.to_owned(),
        });
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
        if self.held.is_some() {
            return Ok(self.look("unknown", &BTreeSet::new()));
        }
        if !self.pinned.is_empty() && self.flaw != Flaw::ForgetsPins {
            return Ok(self.look("diverged", &self.pinned.iter().map(|(_, key)| key).collect()));
        }
        let is_last = self.writer.lock().planned.is_empty() && self.passes > 2;
        if !is_last {
            for _ in 0..WRITES_PER_PASS / 2 {
                self.writer.lock().step()?;
            }
        }
        self.passes += 1;
        let (now, victim) = {
            let writer = self.writer.lock();
            let calm = |injection: &&super::injections::Injection| {
                !injection.overtaken && injection.kind == Kind::LostWrite
            };
            let victim = writer.injections.iter().rev().find(calm);
            (writer.now(), victim.map(|injection| (injection.nodes[0].0, injection.key.to_string())))
        };
        self.items.clear();
        self.replaced.clear();
        let is_asleep = self.flaw == Flaw::SleepsBesideClients && !is_last;
        for key in if is_asleep { BTreeSet::new() } else { self.differing() } {
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

    fn undo(&mut self, _: &str) -> Result<UndoOutcome> {
        let mut done = UndoOutcome::default();
        for (node, key, before) in std::mem::take(&mut self.replaced) {
            match (self.stored(node, &key), &before) {
                (None, _) => done.inserts += 1,
                (_, None) => done.deletes += 1,
                _ => done.updates += 1,
            }
            if self.flaw != Flaw::UndoesTooLittle || !self.pinned.is_empty() {
                self.put(node, &key, before.as_ref(), Some("marker"));
            }
            self.pinned.push((node, key));
        }
        done.states.insert("restored".into(), self.pinned.len() as u64);
        Ok(done)
    }

    fn approve(&mut self, _: &str, _: u64) -> Result<ApproveOutcome> {
        let now = self.writer.lock().now();
        let pinned = std::mem::take(&mut self.pinned);
        for (node, key) in &pinned {
            self.put(*node, key, self.winner(key, now).as_ref(), Some("marker"));
        }
        let count = pinned.len() as u64;
        Ok(ApproveOutcome { planned: count, repaired: count })
    }

    fn stop(&mut self, node: NodeIndex) -> Result<()> {
        self.left_at = self.newest_change(node);
        self.files[node.0] = Connection::open_in_memory()?;
        Ok(())
    }

    fn start(&mut self, node: NodeIndex) -> Result<()> {
        self.files[node.0] = open_file(&self.folder, node);
        let is_old = self.newest_change(node) < self.left_at;
        self.held = (is_old && self.flaw != Flaw::BelievesCopies).then_some(node);
        Ok(())
    }

    fn held(&mut self) -> Result<Vec<HeldReplica>> {
        let held =
            |node: NodeIndex| HeldReplica { node: node.name().into(), why: "restored: it is old".into() };
        Ok(self.held.into_iter().map(held).collect())
    }

    fn resync(&mut self, node: NodeIndex) -> Result<ResyncOutcome> {
        let mut done = ResyncOutcome { ended: true, ..ResyncOutcome::default() };
        let mut exported = String::new();
        for key in self.keys(0).union(&self.keys(node.0)) {
            let (right, own) = (self.stored(0, key), self.stored(node.0, key));
            if right == own {
                continue;
            }
            if right.is_none() {
                done.deletes += 1;
                exported += &serde_json::json!({ "key": serde_json::to_string(key)? }).to_string();
                exported.push('\n');
            } else {
                done.copies += 1;
                if done.copies == 1 && self.flaw == Flaw::ResyncsTooLittle {
                    continue;
                }
            }
            self.put(node.0, key, right.as_ref(), Some("marker"));
        }
        let path = self.folder.join("exported");
        std::fs::write(&path, exported)?;
        done.exported = path.display().to_string();
        done.written = done.copies + done.deletes;
        self.held = None;
        Ok(done)
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
        assert_eq!(injected, EACH_PER_ROUND.iter().sum::<usize>() as u64, "{kind:?}");
        assert_eq!(result.detected.of(kind), injected - overtaken, "{kind:?}");
        assert_eq!(result.healed.of(kind), injected - overtaken, "{kind:?}");
    }
    assert!(result.overtaken.total() > 0, "ordinary traffic must meet some damage");
    let rows: u64 = result.causes.values().flat_map(|causes| causes.values()).sum();
    assert!(rows > result.healed.total(), "some damage is on two nodes");
    assert_eq!(result.repaired, rows + result.expired);
    assert_eq!(result.echoes_seen, result.repaired);
    assert_eq!((result.false_repairs, result.under_way, result.documents), (0, 0, 1500));
    let (undone, resynced) = (result.undone.unwrap(), result.resynced.unwrap());
    assert!(undone.held > 0 && undone.approved == undone.repaired, "{undone:?}");
    assert_eq!(undone.inserts + undone.updates + undone.deletes, undone.repaired);
    assert!(resynced.deletes > 0 && resynced.copies > 0, "{resynced:?}");
    assert!(result.files.iter().all(|file| file.expired_and_gone + file.equal > 1000));
}

#[test]
fn the_same_seed_damages_the_same_documents() {
    let (first, second) = (play(Flaw::None, 500_000), play(Flaw::None, 500_000));
    assert_eq!(first.overtaken, second.overtaken);
    assert_eq!((first.writes, first.files), (second.writes, second.files));
}

#[test]
fn a_fleet_that_waits_for_the_clients_to_stop_is_named() {
    let result = assert_named(
        Flaw::SleepsBesideClients,
        &["were not repaired by the pass after them, while clients wrote"],
    );
    assert_eq!((result.failures.len(), result.converged), (1, true), "{:#?}", result.failures);
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
fn a_wrong_cause_is_named() {
    assert_named(Flaw::WrongCause, &["repairs of kind `lost write` name `silent_change` as the cause"]);
}

#[test]
fn an_undo_that_leaves_a_row_is_found_in_the_files() {
    assert_named(
        Flaw::UndoesTooLittle,
        &["after the undo 1 rows of ", "1 keys have other writes of the undo in the change stream"],
    );
}

#[test]
fn what_was_undone_and_is_repaired_again_is_named() {
    assert_named(Flaw::ForgetsPins, &["and the next pass says `in_sync` and holds 0, not these"]);
}

#[test]
fn an_old_copy_that_is_believed_is_named() {
    assert_named(Flaw::BelievesCopies, &["an old copy of node-c is no reason to hold it"]);
}

#[test]
fn a_resync_that_leaves_a_row_is_found_by_the_ledger() {
    assert_named(Flaw::ResyncsTooLittle, &["after the resync node-c is not the writer's ledger: "]);
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
