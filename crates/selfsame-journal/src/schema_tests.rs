use rusqlite::params;
use selfsame_core::{Cause, RunId, ShardId, WallMicros};

use super::*;
use crate::testing::*;
use crate::{Action, Hold, HoldCause, IntentOutcome, ItemOutcome, NodeLoad, RepairCount};

#[test]
fn the_format_is_the_number_of_steps() {
    assert_eq!(FORMAT, 8);
}

/// A journal as a program of format 1 left it.
fn of_format_1(place: &Place) -> RunId {
    let connection = Connection::open(place.path()).unwrap();
    connection.execute_batch(FORMAT_1).unwrap();
    connection.pragma_update(None, "user_version", 1).unwrap();
    connection.pragma_update(None, "application_id", 0x5365_534a).unwrap();
    let run = run_id(1);
    connection
        .execute(
            "INSERT INTO run VALUES (?1, 'products', ?2, 'a', 10, 20, 0)",
            params![run.as_bytes(), selfsame_core::Slot::Scheduled(1).to_bytes()],
        )
        .unwrap();
    let (key, digest) = key(7);
    connection
        .execute(
            "INSERT INTO item VALUES (1, ?1, 3, ?2, 'node-a', 'delete', NULL, 'expired_straggler', 'a rule', 'planned',
                 NULL, 5, NULL, NULL, NULL, 15, NULL)",
            params![run.as_bytes(), key.to_bytes()],
        )
        .unwrap();
    connection
        .execute(
            "INSERT INTO intent VALUES (1, ?1, ?2, 4, 'a', 'products', 'node-a', ?3, ?4, NULL, 'delete', NULL, NULL,
                 'no_row', NULL, NULL, 'unknown', 0, 15, NULL, NULL, NULL)",
            params![[1_u8; 16], run.as_bytes(), key.to_bytes(), digest.0],
        )
        .unwrap();
    connection
        .execute(
            "INSERT INTO plan VALUES ('products', 3, ?1, 4, 'a', 'first_pass', 15, 99, x'00000000000000000000000000000000')",
            [run.as_bytes()],
        )
        .unwrap();
    connection
        .execute(
            "INSERT INTO plan_item VALUES (1, 'products', 3, ?1, 'node-a', 'delete', NULL, NULL, NULL,
                 'expired_straggler', 'a rule', 'pending')",
            [key.to_bytes()],
        )
        .unwrap();
    connection
        .execute_batch(
            "INSERT INTO pass VALUES ('products', 3, x'00', 1, 1, 1);
             INSERT INTO repair_streak VALUES ('products', 'node-a', x'00', 3, 1, 1, 1);",
        )
        .unwrap();
    for (node, row) in [("node-a", None), ("node-b", Some([5_u8; 32]))] {
        connection
            .execute(
                "INSERT INTO pin VALUES ('products', 3, ?1, ?2, ?3, NULL, 15)",
                params![key.to_bytes(), node, row],
            )
            .unwrap();
    }
    run
}

#[test]
fn a_journal_of_format_1_keeps_its_items_intents_plans_and_pins_and_begins_streaks_anew() {
    let place = Place::new();
    let run = of_format_1(&place);
    let journal = place.open();
    assert!(!journal.run(run).unwrap().unwrap().abandoned);
    let items = journal.items(run, 9, None).unwrap().rows;
    let told = |item: &crate::ItemRow| (item.shard, item.action.clone(), item.cause, item.outcome.clone());
    let expected = (ShardId(3), Action::Delete, Cause::ExpiredStraggler, ItemOutcome::Planned);
    assert_eq!(items.iter().map(told).collect::<Vec<_>>(), [expected]);
    assert_eq!((items[0].age, items[0].bytes), (None, 0), "nobody knew");
    let open = journal.open_intents(&products(), &node("node-a"), 9).unwrap().rows;
    assert_eq!(open.len(), 1);
    let counted = journal.count_since(&products(), &node("node-a"), WallMicros(15)).unwrap();
    assert_eq!(counted, RepairCount { repairs: 1, keys: 1, deletes: 1 });
    let plans = journal.plans().unwrap();
    let load = NodeLoad { node: node("node-a"), writes: 0, write_bytes: 0, deletes: 1, delete_bytes: 0 };
    assert_eq!(journal.plan_loads(&plans[0].plan.id).unwrap(), [load]);
    let hold = Hold { cause: HoldCause::Emptied, detail: String::new(), since: WallMicros(1) };
    assert_eq!(journal.held(&products(), &node("node-a")).unwrap(), None);
    assert_eq!(journal.hold(&products(), &node("node-a"), &hold).unwrap(), hold);
    let streak = || journal.repaired_in_a_row(&products(), &node("node-a"), key(7).1).unwrap();
    assert_eq!(streak(), 0);
    let applied = IntentOutcome::Applied { after: None };
    journal.write_outcomes(&[(open[0].intent.repair, applied)]).unwrap();
    assert_eq!(streak(), 1, "settled after the upgrade");
    let pins = |on| journal.pins_of_replica(&products(), &node(on)).unwrap();
    let rows = ["node-a", "node-b"]
        .map(|on| pins(on).iter().map(|pin| (pin.key.clone(), pin.before)).collect::<Vec<_>>());
    let row = selfsame_core::RowDigest([5; 32]);
    assert_eq!(rows, [vec![(key(7).0, None)], vec![(key(7).0, Some(row))]]);
    drop(journal);
    assert_eq!(place.open().items(run, 9, None).unwrap().rows, items, "opened once more");
}
