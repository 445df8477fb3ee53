use super::*;
use crate::testing::*;

const SHARD: ShardId = ShardId(3);

fn plan(run: u64, counter: u64) -> Plan {
    Plan {
        id: PlanId { collection: products(), shard: SHARD, run: run_id(run) },
        epoch: epoch(counter, "a"),
        reason: "first_pass".to_owned(),
        created: WallMicros(5),
        expires: WallMicros(50),
        digest: [u8::try_from(run).unwrap(); 16],
    }
}

fn item(number: i64) -> PlanItem {
    PlanItem {
        key: key(number).0,
        node: node("node-a"),
        action: Action::Copy { from: node("node-b") },
        before: None,
        after: Some(EntryDigest([6; 32])),
        cause: Cause::MissedInsert,
        rule: "missed_insert".to_owned(),
        bytes: 30,
    }
}

fn deletion(number: i64) -> PlanItem {
    PlanItem { action: Action::Delete, before: Some(RowDigest([5; 32])), after: None, ..item(number) }
}

fn states(journal: &Journal, id: &PlanId) -> Vec<PlanItemState> {
    journal.plan_items(id, None, 100, None).unwrap().rows.into_iter().map(|row| row.state).collect()
}

#[test]
fn a_plan_reads_back_after_a_reopen() {
    let place = Place::new();
    let items = [item(1), deletion(2), PlanItem { action: Action::Nothing, ..item(3) }];
    assert_eq!(place.open().put_plan(&plan(1, 1), &items).unwrap(), PlanPut::Stored);
    let journal = place.open();
    let row = journal.plan(&products(), SHARD).unwrap().unwrap();
    assert_eq!(row, PlanRow { plan: plan(1, 1), counts: PlanCounts { pending: 3, ..Default::default() } });
    assert_eq!(journal.plans().unwrap(), std::slice::from_ref(&row));
    assert_eq!(journal.plans_of_run(run_id(1)).unwrap(), [row]);
    assert!(journal.plans_of_run(run_id(2)).unwrap().is_empty());
    let page = journal.plan_items(&plan(1, 1).id, None, 2, None).unwrap();
    assert!(page.truncated());
    let mut read: Vec<PlanItem> = page.rows.into_iter().map(|row| row.item).collect();
    let rest = journal.plan_items(&plan(1, 1).id, None, 2, page.next).unwrap();
    assert!(!rest.truncated());
    read.extend(rest.rows.into_iter().map(|row| row.item));
    assert_eq!(read, items);
}

#[test]
fn a_newer_plan_replaces_the_older_and_never_the_other_way_round() {
    let place = Place::new();
    let journal = place.open();
    journal.put_plan(&plan(1, 5), &[item(1)]).unwrap();
    assert_eq!(journal.put_plan(&plan(2, 4), &[item(2)]).unwrap(), PlanPut::Superseded(epoch(5, "a")));
    assert_eq!(journal.put_plan(&plan(3, 6), &[item(3), item(4)]).unwrap(), PlanPut::Stored);
    assert_eq!(journal.plan(&products(), SHARD).unwrap().unwrap().counts.pending, 2);
    // What was said about the older one comes too late.
    assert_eq!(states(&journal, &plan(1, 5).id), []);
    let late = journal.mark_plan_items(&plan(1, 5).id, Selection::Pending, PlanItemState::Approved);
    assert_eq!(late.unwrap(), 0);
    assert!(!journal.remove_plan(&plan(1, 5).id).unwrap());
    assert!(journal.remove_plan(&plan(3, 6).id).unwrap());
    assert!(journal.plans().unwrap().is_empty());
}

#[test]
fn a_plan_that_is_delivered_again_keeps_what_was_said_of_it() {
    let place = Place::new();
    let journal = place.open();
    journal.put_plan(&plan(1, 5), &[item(1), item(2)]).unwrap();
    let first = [(key(1).0, node("node-a")), (key(1).0, node("node-z"))];
    let marked = journal.mark_plan_items(&plan(1, 5).id, Selection::Items(&first), PlanItemState::Approved);
    assert_eq!(marked.unwrap(), 1);
    assert_eq!(journal.put_plan(&plan(1, 6), &[item(1), item(2)]).unwrap(), PlanPut::Known);
    assert_eq!(states(&journal, &plan(1, 5).id), [PlanItemState::Approved, PlanItemState::Pending]);
    let approved = journal.plan_items(&plan(1, 5).id, Some(PlanItemState::Approved), 9, None).unwrap().rows;
    assert_eq!(approved.len(), 1);
}

#[test]
fn what_was_approved_is_not_dropped_with_the_rest() {
    let place = Place::new();
    let journal = place.open();
    let id = plan(1, 5).id;
    journal.put_plan(&plan(1, 5), &[item(1), deletion(2), item(3)]).unwrap();
    let mark = |selection: Selection<'_>, state| journal.mark_plan_items(&id, selection, state).unwrap();
    mark(Selection::Items(&[(key(3).0, node("node-a"))]), PlanItemState::Approved);
    assert_eq!(mark(Selection::Pending, PlanItemState::Dropped), 2);
    let counts = PlanCounts { pending: 0, approved: 1, dropped: 2 };
    assert_eq!(journal.plan(&products(), SHARD).unwrap().unwrap().counts, counts);
}

#[test]
fn the_body_of_a_plan_depends_on_its_items_and_not_on_their_order() {
    let body = plan_body(&[item(1), deletion(2)]);
    assert_eq!(body, plan_body(&[deletion(2), item(1)]));
    assert_ne!(body, plan_body(&[item(1), item(2)]));
    assert_ne!(body, plan_body(&[item(1)]));
}

#[test]
fn a_first_pass_is_pending_until_it_is_over() {
    let place = Place::new();
    let state = |on: &str| place.open().first_pass(&products(), &node(on)).unwrap();
    assert_eq!(state("node-a"), FirstPass::Pending);
    place.open().set_first_pass(&products(), &node("node-a"), FirstPass::Passed).unwrap();
    assert_eq!((state("node-a"), state("node-b")), (FirstPass::Passed, FirstPass::Pending));
    place.open().set_first_pass(&products(), &node("node-a"), FirstPass::Pending).unwrap();
    assert_eq!(state("node-a"), FirstPass::Pending);
}

#[test]
fn what_a_plan_would_do_is_told_by_node_and_without_what_was_decided() {
    let place = Place::new();
    let journal = place.open();
    let large = PlanItem { bytes: 1_000, ..item(2) };
    let on_c = PlanItem { node: node("node-c"), bytes: 7, ..deletion(3) };
    let approved = item(5);
    let items = [item(1), large, deletion(4), on_c, approved.clone()];
    journal.put_plan(&plan(1, 1), &items).unwrap();
    let approved = [(approved.key, approved.node)];
    let id = plan(1, 1).id;
    journal.mark_plan_items(&id, Selection::Items(&approved), PlanItemState::Approved).unwrap();
    let load = |on: &str, writes: (u64, u64), deletes: (u64, u64)| NodeLoad {
        node: node(on),
        writes: writes.0,
        write_bytes: writes.1,
        deletes: deletes.0,
        delete_bytes: deletes.1,
    };
    let expected = [load("node-a", (2, 1_030), (1, 30)), load("node-c", (0, 0), (1, 7))];
    assert_eq!(journal.plan_loads(&id).unwrap(), expected);
    assert_eq!(journal.plan_loads(&PlanId { run: run_id(2), ..id }).unwrap(), []);
}
