use super::*;
use crate::RunFilter;
use crate::testing::*;

fn item(run: RunId, number: i64, on: &str) -> ItemRow {
    ItemRow {
        run,
        shard: ShardId(2),
        key: key(number).0,
        node: node(on),
        action: Action::Copy { from: node("node-b") },
        cause: Cause::MissedInsert,
        rule: "missed_insert".to_owned(),
        outcome: ItemOutcome::Planned,
        version_before: None,
        version_after: Some(Version(7)),
        row_before: None,
        row_after: Some(RowDigest([1; 32])),
        at: WallMicros(number),
        repair: Some(RepairId::from_bytes([8; 16])),
        age: Some(DivergenceAge {
            since: WallMicros(1),
            found: WallMicros(2),
            repaired: Some(WallMicros(3)),
        }),
        bytes: 40,
    }
}

#[test]
fn items_of_every_outcome_and_action_read_back() {
    let place = Place::new();
    let journal = place.open();
    let run = begin(&journal, 1);
    let outcomes = [
        ItemOutcome::Planned,
        ItemOutcome::Applied,
        ItemOutcome::AlreadyThere,
        ItemOutcome::Changed,
        ItemOutcome::Refused("brake".to_owned()),
        ItemOutcome::Held("tie".to_owned()),
        ItemOutcome::Moving,
        ItemOutcome::Unreadable,
        ItemOutcome::Failed("timeout".to_owned()),
        ItemOutcome::Verified,
        ItemOutcome::Incomparable,
    ];
    let actions = [Action::Copy { from: node("node-b") }, Action::Delete, Action::Nothing];
    let all: Vec<ItemRow> = (0..)
        .zip(outcomes)
        .zip(actions.into_iter().cycle())
        .zip(Cause::ALL.into_iter().cycle())
        .map(|(((number, outcome), action), cause)| ItemRow {
            outcome,
            action,
            cause,
            version_before: (number % 2 == 0).then_some(Version(-number)),
            repair: None,
            age: (number % 3 != 0).then_some(DivergenceAge::found_at(WallMicros(number), None)),
            ..item(run, number, "node-a")
        })
        .collect();
    journal.record_items(&all).unwrap();
    drop(journal);
    let page = place.open().items(run, 100, None).unwrap();
    assert_eq!((page.truncated(), page.rows), (false, all));
}

#[test]
fn a_later_record_of_an_item_replaces_it_in_place() {
    let place = Place::new();
    let journal = place.open();
    let run = begin(&journal, 1);
    journal.record_items(&[item(run, 1, "node-a"), item(run, 1, "node-c"), item(run, 2, "node-a")]).unwrap();
    let verified = ItemRow { outcome: ItemOutcome::Verified, ..item(run, 1, "node-a") };
    journal.record_items(std::slice::from_ref(&verified)).unwrap();
    let rows = journal.items(run, 100, None).unwrap().rows;
    assert_eq!((rows.len(), &rows[0]), (3, &verified));
}

#[test]
fn pages_cover_all_items_once() {
    let place = Place::new();
    let journal = place.open();
    let run = begin(&journal, 1);
    let other = begin(&journal, 2);
    let all: Vec<ItemRow> = (0..10).map(|number| item(run, number, "node-a")).collect();
    for item in &all {
        journal.record_items(&[item.clone(), ItemRow { run: other, ..item.clone() }]).unwrap();
    }
    let mut seen = Vec::new();
    let mut after = None;
    loop {
        let page = journal.items(run, 5, after).unwrap();
        assert_eq!(page.truncated(), seen.is_empty());
        seen.extend(page.rows);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(seen, all);
    assert_eq!(journal.items(run, 0, None).unwrap().rows.len(), 1);
}

fn cause_count(on: &str, cause: Cause, keys: u64, samples: &[i64]) -> CauseCount {
    let samples = samples.iter().map(|number| key(*number).0).collect();
    CauseCount { node: node(on), cause, keys, samples }
}

#[test]
fn items_are_counted_by_node_and_cause_and_lead_to_their_runs() {
    let place = Place::new();
    let journal = place.open();
    let run = begin(&journal, 1);
    begin(&journal, 2);
    let update = ItemRow { cause: Cause::MissedUpdate, ..item(run, 3, "node-a") };
    let unreadable = ItemRow { outcome: ItemOutcome::Unreadable, ..item(run, 4, "node-c") };
    let inserts = [1, 2, 5].map(|number| item(run, number, "node-a"));
    journal.record_items(&inserts).unwrap();
    journal.record_items(&[update, item(run, 1, "node-c"), unreadable]).unwrap();
    assert_eq!(
        journal.causes_of_run(run, 2).unwrap(),
        [
            cause_count("node-a", Cause::MissedInsert, 3, &[1, 2]),
            cause_count("node-a", Cause::MissedUpdate, 1, &[3]),
            cause_count("node-c", Cause::MissedInsert, 1, &[1]),
        ]
    );
    assert_eq!(journal.causes_of_run(run_id(2), 2).unwrap(), []);
    let filter = RunFilter { since: None, collection: None, node: Some(node("node-c")), limit: 9 };
    let runs: Vec<RunId> = journal.runs(&filter).unwrap().runs.into_iter().map(|row| row.run.run).collect();
    assert_eq!(runs, [run]);
}

#[test]
fn causes_over_runs_count_a_key_once_and_leave_old_runs_out() {
    let place = Place::new();
    let journal = place.open();
    for number in 1..=4 {
        let run = begin(&journal, number);
        let own = item(run, i64::try_from(number).unwrap(), "node-c");
        journal.record_items(&[item(run, 9, "node-a"), own]).unwrap();
    }
    let causes = |since, runs| journal.causes_since(&products(), WallMicros(since), runs).unwrap();
    let counted = |on_c| {
        [
            cause_count("node-a", Cause::MissedInsert, 1, &[]),
            cause_count("node-c", Cause::MissedInsert, on_c, &[]),
        ]
    };
    assert_eq!(causes(0, 10), counted(4));
    assert_eq!(causes(3, 10), counted(2), "since");
    assert_eq!(causes(0, 3), counted(3), "the newest runs");
    assert_eq!(journal.causes_since(&"users".parse().unwrap(), WallMicros(0), 10).unwrap(), []);
}

#[test]
fn the_last_item_of_a_key_is_of_its_node_and_collection() {
    let place = Place::new();
    let journal = place.open();
    let runs: Vec<RunId> = (1..4).map(|number| begin(&journal, number)).collect();
    for run in &runs[..2] {
        journal.record_items(&[item(*run, 1, "node-a"), item(*run, 1, "node-c")]).unwrap();
    }
    journal.record_items(&[item(runs[2], 1, "node-c"), item(runs[2], 2, "node-a")]).unwrap();
    let last = |collection: &CollectionName| -> Vec<Option<RunId>> {
        let places = [("node-a", 1), ("node-c", 1), ("node-a", 2), ("node-b", 1)];
        let places = places.map(|(on, number)| (key(number).0, node(on)));
        let rows = journal.last_items(collection, &places).unwrap();
        rows.into_iter().map(|row| row.map(|row| row.run)).collect()
    };
    assert_eq!(last(&products()), [Some(runs[1]), Some(runs[2]), Some(runs[2]), None]);
    assert_eq!(last(&"users".parse().unwrap()), [None; 4]);
}

#[test]
fn a_key_is_explained_newest_first_within_its_collection() {
    let place = Place::new();
    let journal = place.open();
    let runs: Vec<RunId> = (1..4).map(|number| begin(&journal, number)).collect();
    for (at, run) in (10..).zip(&runs) {
        journal.record_items(&[ItemRow { at: WallMicros(at), ..item(*run, 1, "node-a") }]).unwrap();
    }
    let explain = |collection: &CollectionName, number, rows| -> Vec<i64> {
        journal.explain(collection, &key(number).0, rows).unwrap().iter().map(|item| item.at.0).collect()
    };
    assert_eq!(explain(&products(), 1, 2), [12, 11]);
    assert_eq!(explain(&products(), 2, 9), [0; 0]);
    assert_eq!(explain(&"users".parse().unwrap(), 1, 9), [0; 0]);
}

#[test]
fn items_need_a_run_and_are_stored_all_or_none() {
    let place = Place::new();
    let journal = place.open();
    let run = begin(&journal, 1);
    let refused = journal.record_items(&[item(run, 1, "node-a"), item(run_id(9), 1, "node-a")]);
    assert!(matches!(refused, Err(JournalError::NoRun(missing)) if missing == run_id(9)));
    assert!(journal.items(run, 9, None).unwrap().rows.is_empty());
}

#[test]
fn an_item_that_does_not_parse_is_an_error_that_names_it() {
    let place = Place::new();
    let journal = place.open();
    let run = begin(&journal, 1);
    journal.record_items(&[item(run, 1, "node-a")]).unwrap();
    for (column, value) in [
        ("key", "x'ff'"),
        ("node", "''"),
        ("action", "'swap'"),
        ("cause", "'magic'"),
        ("outcome", "'done'"),
        ("row_after", "x'00'"),
        ("shard", "-1"),
        ("found", "NULL"),
    ] {
        tamper(
            &journal,
            &format!(
                "CREATE TABLE saved AS SELECT {column} AS saved FROM item; UPDATE item SET {column} = {value}"
            ),
        );
        let error = journal.items(run, 9, None).unwrap_err().to_string();
        assert!(error.contains(&format!("`item`, row 1: column `{column}`")), "{error}");
        tamper(&journal, &format!("UPDATE item SET {column} = (SELECT saved FROM saved); DROP TABLE saved"));
    }
    assert_eq!(journal.items(run, 9, None).unwrap().rows.len(), 1);
}
