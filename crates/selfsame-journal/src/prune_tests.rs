use selfsame_core::{Cause, Certainty, RepairId, Row, RowDigest, ShardId, ShardVerdict};

use super::*;
use crate::testing::*;
use crate::{
    BeforeImage, Counters, Intent, IntentOutcome, IntentWrite, ItemOutcome, LedgerStep, Pause, PauseScope,
    Plan, PlanId, ShardResult,
};

const NOW: WallMicros = WallMicros(100);

fn micros(count: u64) -> Duration {
    Duration::from_micros(count)
}

fn retention() -> Retention {
    Retention { before_images: micros(20), runs: micros(50), intents: micros(50), observed: observed(30) }
}

/// Of the one collection.
fn observed(count: u64) -> BTreeMap<CollectionName, Duration> {
    [(products(), micros(count))].into()
}

fn forever() -> Retention {
    Retention {
        before_images: Duration::MAX,
        runs: Duration::MAX,
        intents: Duration::MAX,
        observed: BTreeMap::new(),
    }
}

fn intent(number: u8, at: i64) -> Intent {
    let (key, key_digest) = key(i64::from(number));
    Intent {
        repair: RepairId::from_bytes([number; 16]),
        run: run_id(1),
        epoch: epoch(1, "a"),
        collection: products(),
        node: node("node-a"),
        key,
        key_digest,
        expected: None,
        write: IntentWrite::Delete,
        before: BeforeImage::Kept(Row::default()),
        cause: Cause::MissedDelete,
        approved: false,
        at: WallMicros(at),
    }
}

#[test]
fn images_go_first_then_intents_and_open_intents_never() {
    let place = Place::new();
    let journal = place.open();
    let intents = [intent(1, 10), intent(2, 10), intent(3, 60), intent(4, 90)];
    journal.write_intents(&intents).unwrap();
    for number in [2, 3, 4] {
        let applied = IntentOutcome::Applied { after: None };
        journal.write_outcomes(&[(RepairId::from_bytes([number; 16]), applied)]).unwrap();
    }
    assert_eq!(journal.prune(NOW, &forever(), 100).unwrap(), Pruned::default());
    let pruned = journal.prune(NOW, &retention(), 100).unwrap();
    assert_eq!(pruned, Pruned { before_images: 2, intents: 1, ..Pruned::default() });
    let before = |number| {
        journal.intent(RepairId::from_bytes([number; 16])).unwrap().map(|stored| stored.intent.before)
    };
    let kept = Some(BeforeImage::Kept(Row::default()));
    assert_eq!(
        [before(1), before(2), before(3), before(4)],
        [kept.clone(), None, Some(BeforeImage::Pruned), kept]
    );
}

#[test]
fn intents_are_kept_as_long_as_tombstones() {
    let place = Place::new();
    let journal = place.open();
    journal.write_intents(&[intent(1, 10)]).unwrap();
    let after = Some(RowDigest([1; 32]));
    journal.write_outcomes(&[(RepairId::from_bytes([1; 16]), IntentOutcome::Applied { after })]).unwrap();
    journal.prune(NOW, &Retention { observed: observed(95), ..retention() }, 100).unwrap();
    assert_eq!(journal.last_repair(&products(), &node("node-a"), &[key(1).1]).unwrap(), [after]);
    journal.prune(NOW, &retention(), 100).unwrap();
    assert_eq!(journal.last_repair(&products(), &node("node-a"), &[key(1).1]).unwrap(), [None]);
}

#[test]
fn streaks_of_keys_that_no_pass_comes_to_go_after_months() {
    let place = Place::new();
    let journal = place.open();
    journal.write_intents(&[intent(1, 10)]).unwrap();
    let applied = IntentOutcome::Applied { after: None };
    journal.write_outcomes(&[(RepairId::from_bytes([1; 16]), applied)]).unwrap();
    let streak = || journal.repaired_in_a_row(&products(), &node("node-a"), key(1).1).unwrap();
    journal.prune(WallMicros(10).plus(31 * 24 * 3_600 * 1_000_000), &retention(), 100).unwrap();
    assert_eq!(streak(), 1, "an interval may be 31 days");
    let pruned = journal.prune(WallMicros(11).plus(100 * 24 * 3_600 * 1_000_000), &retention(), 100).unwrap();
    assert_eq!((pruned.streaks, streak()), (1, 0));
}

#[test]
fn only_observed_tombstones_are_pruned() {
    let place = Place::new();
    let journal = place.open();
    let all = [
        memory(1, tombstone(1, Certainty::Observed, 69)),
        memory(2, tombstone(1, Certainty::Observed, 70)),
        memory(3, tombstone(1, Certainty::Certain, 1)),
    ];
    let steps = all.clone().map(LedgerStep::Gone);
    journal.note(&products(), &node("node-a"), &steps, None).unwrap();
    assert_eq!(journal.prune(NOW, &retention(), 100).unwrap().tombstones, 1);
    assert_eq!(journal.memories_after(&products(), &node("node-a"), None, 9).unwrap(), all[1..]);
}

#[test]
fn each_collection_remembers_for_as_long_as_it_says() {
    let place = Place::new();
    let journal = place.open();
    let collections = ["products", "long", "unknown"].map(|name| name.parse().unwrap());
    let steps = [40, 60].map(|at| LedgerStep::Gone(memory(at, tombstone(1, Certainty::Observed, at))));
    for collection in &collections {
        journal.note(collection, &node("node-a"), &steps, None).unwrap();
    }
    let [products, long, _] = collections.clone();
    let retention =
        Retention { observed: [(products, micros(30)), (long, micros(50))].into(), ..retention() };
    assert_eq!(journal.prune(NOW, &retention, 100).unwrap().tombstones, 3);
    let left = collections.map(|of| journal.memories_after(&of, &node("node-a"), None, 9).unwrap().len());
    assert_eq!(left, [0, 1, 2], "nothing is forgotten of a collection that nobody names");
}

#[test]
fn expired_plans_and_pauses_go() {
    let place = Place::new();
    let journal = place.open();
    for (shard, expires) in [(0, 100), (1, 101)] {
        let plan = Plan {
            id: PlanId { collection: products(), shard: ShardId(shard), run: run_id(1) },
            epoch: epoch(1, "a"),
            reason: "brake".to_owned(),
            created: WallMicros(1),
            expires: WallMicros(expires),
            digest: [0; 16],
        };
        journal.put_plan(&plan, &[plan_item(1)]).unwrap();
    }
    journal.pause(&Pause { scope: PauseScope::All, until: Some(WallMicros(100)) }).unwrap();
    journal.pause(&Pause { scope: PauseScope::Collection(products()), until: None }).unwrap();
    let pruned = journal.prune(NOW, &retention(), 100).unwrap();
    assert_eq!(pruned, Pruned { plan_items: 1, plans: 1, pauses: 1, ..Pruned::default() });
    assert_eq!(journal.plans().unwrap()[0].plan.id.shard, ShardId(1));
}

#[test]
fn a_call_prunes_no_more_than_its_bound_and_calls_add_up() {
    let place = Place::new();
    let journal = place.open();
    for number in [1, 2, 60] {
        let run = begin(&journal, number);
        let items: Vec<_> = (0..25).map(|number| item(run, number, ItemOutcome::Moving)).collect();
        journal.record_items(&items).unwrap();
        for shard in 0..3 {
            let result = ShardResult {
                run,
                shard: ShardId(shard),
                owner: "a".parse().unwrap(),
                epoch: epoch(1, "a"),
                verdict: ShardVerdict::Diverged,
                counters: Counters::default(),
                at: WallMicros(1),
            };
            journal.add_shard_result(&result).unwrap();
        }
    }
    let mut total = Pruned::default();
    loop {
        let pruned = journal.prune(NOW, &retention(), 7).unwrap();
        assert!(pruned.items + pruned.shard_results + pruned.runs <= 7);
        total.items += pruned.items;
        total.shard_results += pruned.shard_results;
        total.runs += pruned.runs;
        if !pruned.more {
            break;
        }
    }
    assert_eq!((total.items, total.shard_results, total.runs), (50, 6, 2));
    assert_eq!(journal.items(run_id(60), 100, None).unwrap().rows.len(), 25);
    assert_eq!(journal.shard_results(run_id(60)).unwrap().len(), 3);
    assert!(journal.run(run_id(1)).unwrap().is_none());
}
