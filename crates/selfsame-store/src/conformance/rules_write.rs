//! Rules of repairs without a client in between.

use selfsame_core::{Cell, Row, RowDigest, Value, parse_json};

use super::Shape;
use super::bench::{Bench, Fixture, Stop, apply_to, ensure};
use super::sample::Sample;
use crate::{Expected, Refusal, RepairItem, Write, WriteOutcome};

/// What a rule says of an outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Want {
    Written,
    Deleted,
    AlreadyThere,
    Changed,
    Refused,
}

/// Fails unless an outcome is the wanted one.
fn want(outcome: &WriteOutcome, wanted: Want, what: &str) -> Result<(), Stop> {
    let got = match outcome {
        WriteOutcome::Applied { after: Some(_) } => Want::Written,
        WriteOutcome::Applied { after: None } => Want::Deleted,
        WriteOutcome::AlreadyThere => Want::AlreadyThere,
        WriteOutcome::Changed => Want::Changed,
        WriteOutcome::Refused(_) => Want::Refused,
    };
    ensure!(got == wanted, "{what} is {outcome:?} instead of {wanted:?}");
    Ok(())
}

/// Some row's digest that no row of a rule has.
const OTHER_ROW: Expected = Expected::Row(RowDigest([0xAB; 32]));

/// A repair is applied under exactly its condition, and every outcome says what happened.
pub(super) async fn conditional_write(bench: &Bench<'_>) -> Result<(), Stop> {
    let fixture = bench.fixture().await?;
    let (old, new) = (bench.sample(1), bench.sample(1).named("new").at_version(2_000));
    let winner = fixture.winner(&new).await?;
    put_where_nothing_is(&fixture, &old, &new, &winner).await?;
    put_where_a_row_is(&fixture, &old, &new, &winner).await?;
    delete(&fixture, &old, &new).await?;
    refused_where_unreadable(&fixture, &old, &winner).await
}

async fn put_where_nothing_is(
    fixture: &Fixture,
    old: &Sample,
    new: &Sample,
    winner: &Row,
) -> Result<(), Stop> {
    let put = |expected| fixture.repair(old, expected, Write::Put(winner.clone()));
    let outcome = fixture.apply_one(&put(OTHER_ROW)).await?;
    want(&outcome, Want::Changed, "an update of a row that is gone")?;
    fixture.expect(old, false, "after an update of a row that is gone").await?;
    let outcome = fixture.apply_one(&put(Expected::Absent)).await?;
    want(&outcome, Want::Written, "an insert")?;
    fixture.expect(new, true, "after an insert").await?;
    let digest = fixture.document(new).await?.row_digest;
    ensure!(
        outcome == WriteOutcome::Applied { after: Some(digest) },
        "an insert reports another row than the one that reads back"
    );
    let outcome = fixture.apply_one(&put(Expected::Absent)).await?;
    want(&outcome, Want::AlreadyThere, "an insert of what is there already")?;
    fixture.put(old).await?;
    let outcome = fixture.apply_one(&put(Expected::Absent)).await?;
    want(&outcome, Want::Changed, "an insert where a client has written something else")?;
    fixture.expect(old, true, "after an insert where a client has written something else").await
}

async fn put_where_a_row_is(fixture: &Fixture, old: &Sample, new: &Sample, winner: &Row) -> Result<(), Stop> {
    let put = |expected| fixture.repair(old, expected, Write::Put(winner.clone()));
    let before = fixture.stored(old).await?;
    let outcome = fixture.apply_one(&put(OTHER_ROW)).await?;
    want(&outcome, Want::Changed, "an update of a row that is not as expected")?;
    fixture.expect(old, true, "after an update of a row that is not as expected").await?;
    let update = put(Expected::Row(before));
    let outcome = fixture.apply_one(&update).await?;
    want(&outcome, Want::Written, "an update of the expected row")?;
    fixture.expect(new, true, "after an update of the expected row").await?;
    let digest = fixture.document(new).await?.row_digest;
    ensure!(
        outcome == WriteOutcome::Applied { after: Some(digest) },
        "an update reports another row than the one that reads back"
    );
    let outcome = fixture.apply_one(&put(Expected::Row(before))).await?;
    want(&outcome, Want::AlreadyThere, "another repair that would write what is there already")
}

async fn delete(fixture: &Fixture, old: &Sample, new: &Sample) -> Result<(), Stop> {
    let delete = |expected| fixture.repair(old, expected, Write::Delete);
    let before = fixture.stored(old).await?;
    let changed = fixture.stored(new).await?;
    for (expected, what) in [
        (Expected::Row(before), "a delete of a row that a client replaced"),
        (Expected::Absent, "a delete that expects nothing, where a row is"),
    ] {
        want(&fixture.apply_one(&delete(expected)).await?, Want::Changed, what)?;
        fixture.expect(new, true, &format!("after {what}")).await?;
    }
    let outcome = fixture.apply_one(&delete(Expected::Row(changed))).await?;
    want(&outcome, Want::Deleted, "a delete of the expected row")?;
    fixture.expect(old, false, "after a delete of the expected row").await?;
    for expected in [Expected::Row(changed), Expected::Absent] {
        let outcome = fixture.apply_one(&delete(expected)).await?;
        want(&outcome, Want::AlreadyThere, "another repair that deletes what is gone already")?;
    }
    Ok(())
}

async fn refused_where_unreadable(fixture: &Fixture, old: &Sample, winner: &Row) -> Result<(), Stop> {
    let before = fixture.stored(old).await?;
    fixture.put(&old.clone().unreadable()).await?;
    for expected in [Expected::Row(before), Expected::Absent] {
        for write in [Write::Put(winner.clone()), Write::Delete] {
            let outcome = fixture.apply_one(&fixture.repair(old, expected, write)).await?;
            ensure!(
                outcome == WriteOutcome::Refused(Refusal::Unreadable),
                "a repair of an unreadable row is {outcome:?}"
            );
        }
    }
    let read = fixture.read(old).await?;
    ensure!(
        matches!(read, crate::Read::Unreadable(_)),
        "an unreadable row reads as {read:?} after repairs that must not touch it"
    );
    Ok(())
}

/// A client's change to a field that is no content is a change.
pub(super) async fn every_byte_counts(bench: &Bench<'_>) -> Result<(), Stop> {
    let fixture = bench.fixture().await?;
    if !fixture.store.capabilities().conditional_writes {
        return Err(Stop::Skipped("the store has no `conditional_writes`".to_owned()));
    }
    let old = bench.sample(1);
    let winner = fixture.winner(&old.clone().named("new")).await?;
    let mut changes = vec![("an ignored field", old.clone().with_views(1))];
    if bench.supports.unmapped_fields {
        changes.push(("an unmapped field", old.clone().with_note("changed")));
    } else {
        bench.skip("unmapped fields: the harness does not support them".to_owned());
    }
    for (field, changed) in changes {
        for write in [Write::Put(winner.clone()), Write::Delete] {
            let before = fixture.stored(&old).await?;
            let after = fixture.stored(&changed).await?;
            ensure!(before != after, "a change to {field} does not show in the row's digest");
            let outcome = fixture.apply_one(&fixture.repair(&old, Expected::Row(before), write)).await?;
            want(&outcome, Want::Changed, &format!("a repair after a client's change to {field}"))?;
            let now = fixture.document(&old).await?.row_digest;
            ensure!(now == after, "a client's change to {field} was overwritten");
        }
    }
    Ok(())
}

/// A repair leaves the target's own ignored and unmapped fields; an insert takes the winner's.
pub(super) async fn keeps_own_fields(bench: &Bench<'_>) -> Result<(), Stop> {
    let fixture = bench.fixture().await?;
    let old = bench.sample(1).with_views(7).with_note("own");
    let new = bench.sample(1).named("new").at_version(2_000).with_views(1).with_note("theirs");
    let winner = fixture.winner(&new).await?;
    let insert = fixture.repair(&old, Expected::Absent, Write::Put(winner.clone()));
    want(&fixture.apply_one(&insert).await?, Want::Written, "an insert")?;
    own_fields(bench, &fixture, &new, 1, "theirs", "an insert").await?;
    let before = fixture.stored(&old).await?;
    let update = fixture.repair(&old, Expected::Row(before), Write::Put(winner));
    want(&fixture.apply_one(&update).await?, Want::Written, "an update")?;
    fixture.expect(&new, true, "after an update").await?;
    own_fields(bench, &fixture, &new, 7, "own", "an update").await
}

async fn own_fields(
    bench: &Bench<'_>,
    fixture: &Fixture,
    sample: &Sample,
    views: i64,
    note: &str,
    after: &str,
) -> Result<(), Stop> {
    let row = fixture.document(sample).await?.row;
    let found = match bench.shape {
        Shape::Columns => row.cell("views").and_then(|cell| cell.value().ok()),
        Shape::Document => match row.cell("body") {
            Some(Cell::Json(text) | Cell::Text(text)) => {
                parse_json(text.as_bytes()).ok().and_then(|body| body.member("views").cloned())
            }
            _ => None,
        },
    };
    ensure!(
        found == Some(Value::Number(views.into())),
        "after {after} the ignored field is {found:?} instead of {views}"
    );
    if !bench.supports.unmapped_fields {
        bench.skip(format!("unmapped fields after {after}: the harness does not support them"));
        return Ok(());
    }
    let found = row.cell("note");
    ensure!(
        found == Some(&Cell::Text(note.to_owned())),
        "after {after} the unmapped field is {found:?} instead of {note}"
    );
    Ok(())
}

/// A winner's row of another key, or one that does not fit, is refused.
pub(super) async fn misfit_refused(bench: &Bench<'_>) -> Result<(), Stop> {
    let fixture = bench.fixture().await?;
    let (one, two) = (bench.sample(1), bench.sample(2));
    let row_of_two = fixture.winner(&two).await?;
    let before = fixture.stored(&one).await?;
    fixture.delete(&one).await?;
    for (what, row) in
        [("of another key", row_of_two.clone()), ("without a known column", without_known_columns())]
    {
        let insert = fixture.repair(&one, Expected::Absent, Write::Put(row));
        want(&fixture.apply_one(&insert).await?, Want::Refused, &format!("an insert of a row {what}"))?;
        fixture.expect(&one, false, &format!("after an insert of a row {what}")).await?;
        fixture.expect(&two, false, &format!("after an insert of a row {what}")).await?;
    }
    fixture.put(&one).await?;
    let update = fixture.repair(&one, Expected::Row(before), Write::Put(row_of_two));
    want(&fixture.apply_one(&update).await?, Want::Refused, "an update by a row of another key")?;
    fixture.expect(&one, true, "after an update by a row of another key").await?;
    fixture.expect(&two, false, "after an update by a row of another key").await
}

/// Outcomes stand in the order of the items.
pub(super) async fn outcomes_in_order(bench: &Bench<'_>) -> Result<(), Stop> {
    let fixture = bench.fixture().await?;
    let samples: Vec<Sample> = [5, 3, 9, 1, 7].iter().map(|id| bench.sample(*id)).collect();
    let [insert, update, delete, changed, gone] = samples.as_slice() else {
        unreachable!("five samples were made")
    };
    let inserted = fixture.winner(insert).await?;
    let updated = fixture.winner(&update.clone().named("new")).await?;
    let update_of = fixture.stored(update).await?;
    let delete_of = fixture.stored(delete).await?;
    fixture.put(changed).await?;
    let items = [
        fixture.repair(insert, Expected::Absent, Write::Put(inserted)),
        fixture.repair(changed, OTHER_ROW, Write::Delete),
        fixture.repair(delete, Expected::Row(delete_of), Write::Delete),
        fixture.repair(gone, OTHER_ROW, Write::Delete),
        fixture.repair(update, Expected::Row(update_of), Write::Put(updated)),
    ];
    let wanted = [Want::Written, Want::Changed, Want::Deleted, Want::AlreadyThere, Want::Written];
    let outcomes = fixture.apply(&items).await?;
    for ((outcome, wanted), number) in outcomes.iter().zip(wanted).zip(1..) {
        want(outcome, wanted, &format!("item {number} of a batch"))?;
    }
    for (at, sample) in [(0, insert), (4, update)] {
        let digest = fixture.document(sample).await?.row_digest;
        ensure!(
            outcomes[at] == WriteOutcome::Applied { after: Some(digest) },
            "item {} of a batch reports another row than the one that reads back",
            at + 1
        );
    }
    Ok(())
}

/// An item that cannot be applied does not stop the others.
pub(super) async fn items_stand_alone(bench: &Bench<'_>) -> Result<(), Stop> {
    const FORBIDDEN: &str = "forbidden";
    let fixture = if bench.supports.constraints {
        bench.fixture_of(bench.forbidding(bench.table(), FORBIDDEN)).await?
    } else {
        bench.skip("a constraint of the store: the harness does not support one".to_owned());
        bench.fixture().await?
    };
    let good: Vec<Sample> = (0..3).map(|id| bench.sample(id)).collect();
    let bad: Vec<Sample> = (3..7).map(|id| bench.sample(id)).collect();
    let insert = async |sample: &Sample| {
        let row = fixture.winner(sample).await?;
        Ok::<_, Stop>(fixture.repair(sample, Expected::Absent, Write::Put(row)))
    };
    let mut items = vec![insert(&good[0]).await?];
    let mut wanted = vec![Want::Written, Want::Refused, Want::Written, Want::Changed, Want::Refused];
    // A row that does not fit, a row that a client wrote meanwhile, an unreadable row, and a constraint.
    items.push(fixture.repair(&bad[0], Expected::Absent, Write::Put(without_known_columns())));
    items.push(insert(&good[1]).await?);
    items.push(insert(&bad[1].clone().named("other")).await?);
    fixture.put(&bad[1]).await?;
    items.push(insert(&bad[2]).await?);
    fixture.put(&bad[2].clone().unreadable()).await?;
    if bench.supports.constraints {
        let row = fixture.winner(&bad[3].clone().named("allowed")).await?;
        items.push(fixture.repair(
            &bad[3],
            Expected::Absent,
            Write::Put(renamed(&row, "allowed", FORBIDDEN)),
        ));
        wanted.push(Want::Refused);
    }
    items.push(insert(&good[2]).await?);
    wanted.push(Want::Written);
    let outcomes = fixture.apply(&items).await?;
    for sample in &good {
        fixture.expect(sample, true, "a good item of a batch with bad ones").await?;
    }
    // The order is another rule's.
    for kind in [Want::Written, Want::Refused, Want::Changed] {
        let count = wanted.iter().filter(|wanted| **wanted == kind).count();
        let got = outcomes.iter().filter(|outcome| want(outcome, kind, "").is_ok()).count();
        ensure!(got == count, "{got} items of a batch are {kind:?} instead of {count}: {outcomes:?}");
    }
    for sample in [&bad[0], &bad[3]] {
        fixture.expect(sample, false, "a bad item of a batch").await?;
    }
    fixture.expect(&bad[1], true, "an item of a batch whose key a client wrote").await
}

fn without_known_columns() -> Row {
    Row::new(vec![("no_such_column".to_owned(), Cell::Integer(1))])
}

/// The row with another text in place of `from`.
fn renamed(row: &Row, from: &str, to: &str) -> Row {
    let cells = row.cells().iter().map(|(name, cell)| {
        let cell = match cell {
            Cell::Text(text) => Cell::Text(text.replace(from, to)),
            Cell::Json(text) => Cell::Json(text.replace(from, to)),
            other => other.clone(),
        };
        (name.clone(), cell)
    });
    Row::new(cells.collect())
}

/// A batch delivered five times writes once, also after reopening and after a client's write.
pub(super) async fn batch_idempotent(bench: &Bench<'_>) -> Result<(), Stop> {
    let fixture = bench.fixture().await?;
    let (insert, update, delete) = (bench.sample(1), bench.sample(2), bench.sample(3));
    let (inserted, updated) = (insert.clone().named("new"), update.clone().named("new"));
    let items: Vec<RepairItem> = vec![
        fixture.repair(&insert, Expected::Absent, Write::Put(fixture.winner(&inserted).await?)),
        {
            let winner = fixture.winner(&updated).await?;
            fixture.repair(&update, Expected::Row(fixture.stored(&update).await?), Write::Put(winner))
        },
        fixture.repair(&delete, Expected::Row(fixture.stored(&delete).await?), Write::Delete),
    ];
    let changes_before = changes(&fixture).await?;
    for delivery in 1..=5 {
        // The first three go to one instance, the others each to a new one.
        let reopened = fixture.replica.open().await?;
        let store = if delivery <= 3 { &fixture.store } else { &reopened };
        for (number, outcome) in (1..).zip(apply_to(&**store, &items).await?) {
            let what = format!("delivery {delivery} of item {number}");
            let first = if number == 3 { Want::Deleted } else { Want::Written };
            want(&outcome, if delivery == 1 { first } else { Want::AlreadyThere }, &what)?;
        }
        fixture.expect(&inserted, true, "after an insert").await?;
        fixture.expect(&updated, true, "after an update").await?;
        fixture.expect(&delete, false, "after a delete").await?;
    }
    if let (Some(before), Some(after)) = (changes_before, changes(&fixture).await?) {
        let made = after - before;
        ensure!(made == 3, "five deliveries of three repairs made {made} changes");
    }
    // A client restores what the repairs expected: each condition holds again, and yet each id is spent.
    fixture.delete(&insert).await?;
    fixture.put(&update).await?;
    fixture.put(&delete).await?;
    let reopened = fixture.replica.open().await?;
    for (number, outcome) in (1..).zip(apply_to(&*reopened, &items).await?) {
        want(&outcome, Want::AlreadyThere, &format!("item {number}, delivered after a client's write"))?;
    }
    fixture.expect(&insert, false, "a client's delete after a repair that is delivered again").await?;
    fixture.expect(&update, true, "a client's write after a repair that is delivered again").await?;
    fixture.expect(&delete, true, "a client's insert after a repair that is delivered again").await
}

/// How many changes the store's consumers have seen, where a test can read that.
async fn changes(fixture: &Fixture) -> Result<Option<usize>, Stop> {
    Ok(fixture.replica.raw_changes().await?.map(|changes| changes.len()))
}
