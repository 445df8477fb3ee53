//! Runs: passes over a collection, with what their shards' results add up to.

use rusqlite::{Connection, Transaction, params};
use selfsame_core::{AgentName, CollectionName, NodeName, RunId, Slot, WallMicros};

use crate::columns::{self, Columns, Table, limit};
use crate::summary::{self, RunSummary, ShardResult};
use crate::{Journal, JournalError};

/// A run that begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Its id, derived from collection and slot.
    pub run: RunId,
    /// The collection.
    pub collection: CollectionName,
    /// The slot.
    pub slot: Slot,
    /// The agent that began it, as far as this journal knows; each shard's result names its own.
    pub owner: AgentName,
    /// When.
    pub started: WallMicros,
    /// Whether nothing is to be written.
    pub dry_run: bool,
}

/// A stored run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunRow {
    /// How it began.
    pub run: Run,
    /// When it ended; `None` while it goes on, or when its agent died.
    pub finished: Option<WallMicros>,
    /// Whether its agent died before it ended, and has not taken it up again.
    pub abandoned: bool,
    /// What its shards' results add up to.
    pub summary: RunSummary,
}

/// Which runs to list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunFilter {
    /// Those started at or after this instant.
    pub since: Option<WallMicros>,
    /// Those of this collection.
    pub collection: Option<CollectionName>,
    /// Those with at least one item on this node.
    pub node: Option<NodeName>,
    /// At most so many.
    pub limit: usize,
}

/// Runs, newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunList {
    /// The runs.
    pub runs: Vec<RunRow>,
    /// Whether there are more.
    pub truncated: bool,
}

/// What a prefix of a run's id stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunMatch {
    /// One run.
    One(Box<RunRow>),
    /// No run; also what is no prefix of any id.
    None,
    /// Several; the first ten.
    Several(Vec<RunId>),
}

/// How many ids an ambiguous prefix names.
const MATCHES_MAX: usize = 10;

/// The step to the format in which runs may be abandoned.
pub(crate) const STEP: &str = "ALTER TABLE run ADD COLUMN abandoned INTEGER NOT NULL DEFAULT 0;";

const RUN: Table = Table { name: "run", key_columns: 1 };

impl Journal {
    /// Begins a run, or another attempt at it: that keeps the first start and opens it again.
    pub fn begin_run(&self, run: &Run) -> Result<(), JournalError> {
        self.write(|transaction| {
            insert(transaction, run)?;
            let sql = "UPDATE run SET finished = NULL, abandoned = 0 WHERE run = ?1";
            columns::run(transaction, sql, [run.run.as_bytes()]).map(|_| ())
        })
    }

    /// Marks what an agent began in an earlier life and did not end: it does not go on by itself. Gives how many.
    pub fn abandon_runs(&self, owner: &AgentName) -> Result<usize, JournalError> {
        self.write(|transaction| {
            let sql = "UPDATE run SET abandoned = 1 WHERE finished IS NULL AND owner = ?1 AND abandoned = 0";
            columns::run(transaction, sql, [owner.as_str()])
        })
    }

    /// Ends a run.
    pub fn finish_run(&self, run: RunId, finished: WallMicros) -> Result<(), JournalError> {
        self.write(|transaction| finish(transaction, run, finished))
    }

    /// Keeps another owner's run and results for it: adds the results to a run that is known here already, and
    /// leaves the rest of that as it is.
    pub fn mirror_run(
        &self,
        run: &Run,
        finished: Option<WallMicros>,
        results: &[ShardResult],
    ) -> Result<(), JournalError> {
        self.write(|transaction| {
            if insert(transaction, run)?
                && let Some(finished) = finished
            {
                finish(transaction, run.run, finished)?;
            }
            for result in results.iter().filter(|result| result.run == run.run) {
                summary::store(transaction, result)?;
            }
            Ok(())
        })
    }

    /// A run.
    pub fn run(&self, run: RunId) -> Result<Option<RunRow>, JournalError> {
        self.read(|connection| find(connection, run))
    }

    /// The run whose id begins with `prefix`, as it is written with or without hyphens, in either case.
    pub fn find_run(&self, prefix: &str) -> Result<RunMatch, JournalError> {
        let Some((lowest, highest)) = range_of(prefix) else { return Ok(RunMatch::None) };
        self.read(|connection| {
            let sql = "SELECT run FROM run WHERE run BETWEEN ?1 AND ?2 ORDER BY run LIMIT ?3";
            let mut ids = columns::list(
                connection,
                RUN,
                sql,
                params![lowest, highest, limit(MATCHES_MAX)],
                |columns| columns.array("run").map(RunId::from_bytes),
            )?;
            if ids.len() > 1 {
                return Ok(RunMatch::Several(ids));
            }
            let row = ids.pop().map(|run| find(connection, run)).transpose()?.flatten();
            Ok(row.map_or(RunMatch::None, |row| RunMatch::One(Box::new(row))))
        })
    }

    /// Runs, newest first.
    pub fn runs(&self, filter: &RunFilter) -> Result<RunList, JournalError> {
        self.read(|connection| {
            let sql = "SELECT * FROM run WHERE started >= ?1 AND (?2 IS NULL OR collection = ?2)
                           AND (?3 IS NULL
                               OR EXISTS (SELECT 1 FROM item WHERE item.run = run.run AND item.node = ?3))
                       ORDER BY started DESC, run LIMIT ?4";
            let since = filter.since.map_or(i64::MIN, |since| since.0);
            let collection = filter.collection.as_ref().map(CollectionName::as_str);
            let node = filter.node.as_ref().map(NodeName::as_str);
            let one_more = limit(filter.limit.saturating_add(1));
            let mut runs =
                columns::list(connection, RUN, sql, params![since, collection, node, one_more], read)?;
            let truncated = runs.len() > filter.limit;
            runs.truncate(filter.limit);
            for row in &mut runs {
                row.summary = summary::summary(connection, row.run.run)?;
            }
            Ok(RunList { runs, truncated })
        })
    }
}

/// Whether the run was not there before.
fn insert(transaction: &Transaction<'_>, run: &Run) -> Result<bool, JournalError> {
    let sql =
        "INSERT INTO run(run, collection, slot, owner, started, dry_run) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
               ON CONFLICT(run) DO NOTHING";
    let changed = columns::run(
        transaction,
        sql,
        params![
            run.run.as_bytes(),
            run.collection.as_str(),
            run.slot.to_bytes(),
            run.owner.as_str(),
            run.started.0,
            run.dry_run,
        ],
    )?;
    Ok(changed > 0)
}

fn finish(transaction: &Transaction<'_>, run: RunId, finished: WallMicros) -> Result<(), JournalError> {
    let sql = "UPDATE run SET finished = ?2, abandoned = 0 WHERE run = ?1";
    match columns::run(transaction, sql, params![run.as_bytes(), finished.0])? {
        0 => Err(JournalError::NoRun(run)),
        _ => Ok(()),
    }
}

fn find(connection: &Connection, run: RunId) -> Result<Option<RunRow>, JournalError> {
    let found = columns::first(connection, RUN, "SELECT * FROM run WHERE run = ?1", [run.as_bytes()], read)?;
    found.map(|row| Ok(RunRow { summary: summary::summary(connection, row.run.run)?, ..row })).transpose()
}

fn read(columns: &Columns<'_>) -> Result<RunRow, JournalError> {
    Ok(RunRow {
        run: Run {
            run: RunId::from_bytes(columns.array("run")?),
            collection: columns.parsed("collection")?,
            slot: columns.decoded("slot", Slot::from_bytes)?,
            owner: columns.parsed("owner")?,
            started: WallMicros(columns.integer("started")?),
            dry_run: columns.flag("dry_run")?,
        },
        finished: columns.optional("finished", Columns::integer)?.map(WallMicros),
        abandoned: columns.flag("abandoned")?,
        summary: RunSummary::default(),
    })
}

/// The lowest and the highest id with that prefix; `None` for what no id begins with, and for no prefix at all.
fn range_of(prefix: &str) -> Option<([u8; 16], [u8; 16])> {
    let digits: Vec<u8> = prefix
        .chars()
        .filter(|character| *character != '-')
        .map(|character| character.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
        .collect::<Option<_>>()?;
    if digits.is_empty() || digits.len() > 32 {
        return None;
    }
    let filled = |filler: u8| {
        let mut bytes = [filler << 4 | filler; 16];
        for (index, digit) in digits.iter().enumerate() {
            let byte = &mut bytes[index / 2];
            *byte = if index % 2 == 0 { digit << 4 | (*byte & 0x0f) } else { (*byte & 0xf0) | digit };
        }
        bytes
    };
    Some((filled(0), filled(0x0f)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;

    fn everything() -> RunFilter {
        RunFilter { since: None, collection: None, node: None, limit: 100 }
    }

    fn started(list: &RunList) -> Vec<i64> {
        list.runs.iter().map(|row| row.run.started.0).collect()
    }

    #[test]
    fn runs_are_listed_newest_first_and_a_cut_list_says_so() {
        let place = Place::new();
        let journal = place.open();
        for number in [2, 1, 3] {
            begin(&journal, number);
        }
        let list = |filter: RunFilter| journal.runs(&filter).unwrap();
        assert_eq!(started(&list(everything())), [3, 2, 1]);
        let cut = list(RunFilter { limit: 2, ..everything() });
        assert_eq!((started(&cut), cut.truncated), (vec![3, 2], true));
        let recent = list(RunFilter { since: Some(WallMicros(2)), ..everything() });
        assert_eq!((started(&recent), recent.truncated), (vec![3, 2], false));
        assert!(
            list(RunFilter { collection: Some("users".parse().unwrap()), ..everything() }).runs.is_empty()
        );
        assert!(list(RunFilter { node: Some(node("node-a")), ..everything() }).runs.is_empty());
    }

    #[test]
    fn a_second_attempt_keeps_the_start_and_opens_the_run_again() {
        let place = Place::new();
        let journal = place.open();
        let run = begin(&journal, 5);
        journal.finish_run(run, WallMicros(6)).unwrap();
        let row = journal.run(run).unwrap().unwrap();
        assert_eq!(row.finished, Some(WallMicros(6)));
        journal.begin_run(&Run { started: WallMicros(9), ..row.run.clone() }).unwrap();
        let again = journal.run(run).unwrap().unwrap();
        assert_eq!((again.finished, again.run), (None, row.run));
        assert!(matches!(journal.finish_run(run_id(8), WallMicros(1)), Err(JournalError::NoRun(_))));
    }

    #[test]
    fn what_an_agent_began_in_an_earlier_life_is_abandoned_until_it_is_taken_up_again() {
        let place = Place::new();
        let journal = place.open();
        let (ended, begun) = (begin(&journal, 1), begin(&journal, 2));
        journal.finish_run(ended, WallMicros(3)).unwrap();
        let row = |run| journal.run(run).unwrap().unwrap();
        let own = row(begun).run.owner;
        assert_eq!(journal.abandon_runs(&"other".parse().unwrap()).unwrap(), 0, "not this agent's");
        assert_eq!(journal.abandon_runs(&own).unwrap(), 1);
        assert_eq!((row(ended).abandoned, row(begun).abandoned), (false, true));
        assert_eq!(row(begun).finished, None);
        journal.begin_run(&row(begun).run).unwrap();
        assert!(!row(begun).abandoned, "taken up again");
        assert_eq!(journal.abandon_runs(&own).unwrap(), 1);
        journal.finish_run(begun, WallMicros(9)).unwrap();
        assert_eq!((row(begun).abandoned, row(begun).finished), (false, Some(WallMicros(9))));
    }

    #[test]
    fn a_mirrored_run_is_whole_when_new_and_adds_only_results_to_a_known_one() {
        let place = Place::new();
        let journal = place.open();
        let run = begin(&journal, 1);
        let theirs = Run { owner: "b".parse().unwrap(), ..journal.run(run).unwrap().unwrap().run };
        let result = ShardResult {
            run,
            shard: selfsame_core::ShardId(2),
            owner: "b".parse().unwrap(),
            epoch: epoch(1, "b"),
            verdict: selfsame_core::ShardVerdict::Diverged,
            counters: crate::Counters::default(),
            at: WallMicros(3),
        };
        journal.mirror_run(&theirs, Some(WallMicros(3)), std::slice::from_ref(&result)).unwrap();
        let known = journal.run(run).unwrap().unwrap();
        assert_eq!((known.run.owner.as_str(), known.finished, known.summary.diverged), ("a", None, 1));
        let other = Place::new();
        let journal = other.open();
        journal.mirror_run(&theirs, Some(WallMicros(3)), &[result]).unwrap();
        let new = journal.run(run).unwrap().unwrap();
        assert_eq!((new.run, new.finished, new.summary.shards), (theirs, Some(WallMicros(3)), 1));
    }

    #[test]
    fn a_unique_prefix_finds_its_run() {
        let place = Place::new();
        let journal = place.open();
        let runs: Vec<RunId> = (0..40).map(|number| begin(&journal, number)).collect();
        let text = runs[7].to_string();
        for prefix in [text.as_str(), &text[..14], &text[..13], &text.to_uppercase().replace('-', "")] {
            let RunMatch::One(row) = journal.find_run(prefix).unwrap() else { panic!("{prefix}") };
            assert_eq!(row.run.run, runs[7]);
        }
        // 40 ids have 16 first digits between them.
        let shared = "0123456789abcdef"
            .chars()
            .map(String::from)
            .find(|digit| runs.iter().filter(|run| run.to_string().starts_with(digit.as_str())).count() > 1);
        let RunMatch::Several(ids) = journal.find_run(&shared.unwrap()).unwrap() else { panic!() };
        assert!(ids.len() > 1 && ids.len() <= MATCHES_MAX);
        for nothing in ["", "-", "xyz", &"0".repeat(33), "00000000-0000", "ä"] {
            assert_eq!(journal.find_run(nothing).unwrap(), RunMatch::None, "{nothing}");
        }
    }

    #[test]
    fn a_run_that_does_not_parse_is_an_error_that_names_it() {
        let place = Place::new();
        let journal = place.open();
        let run = begin(&journal, 1);
        tamper(&journal, "UPDATE run SET slot = x'09'");
        let error = journal.run(run).unwrap_err().to_string();
        let id: String = run.to_string().replace('-', "");
        assert!(error.contains(&format!("`run`, row {id}: column `slot`")), "{error}");
    }
}
