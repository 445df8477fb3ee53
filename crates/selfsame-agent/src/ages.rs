//! How old divergences are that several passes met: the owner's journal says when the first of them did.

use selfsame_core::{CollectionName, Key, NodeName};
use selfsame_journal::{ItemOutcome, ItemRow, Journal, JournalError};

use crate::exchange::report::{Item, PassReport};

/// Lets the divergences of a pass that earlier passes left as they were go on from there. Blocking. Cost: one lookup in
/// the journal for each item.
///
/// What another owner met before is not known here: there a divergence whose rows do not tell their age begins with
/// the first pass of this owner.
pub(crate) fn continue_ages(
    journal: &Journal,
    collection: &CollectionName,
    report: &mut PassReport,
) -> Result<(), JournalError> {
    let mut items: Vec<&mut Item> = report.shards.iter_mut().flat_map(|shard| &mut shard.items).collect();
    items.retain(|item| item.age.is_some());
    let places: Vec<(Key, NodeName)> =
        items.iter().map(|item| (item.key.clone(), item.node.clone())).collect();
    let earlier = journal.last_items(collection, &places)?;
    for (item, earlier) in items.into_iter().zip(earlier) {
        if let Some(earlier) = earlier.filter(|earlier| is_continued(earlier, item)) {
            item.age = item.age.map(|age| earlier.age.map_or(age, |first| age.continued(&first)));
        }
    }
    Ok(())
}

/// Whether the divergence that is seen now is the one that an earlier run left: nothing was written, and the replica's
/// row is the same.
fn is_continued(earlier: &ItemRow, item: &Item) -> bool {
    let was_left = match earlier.outcome {
        ItemOutcome::Planned
        | ItemOutcome::Changed
        | ItemOutcome::Refused(_)
        | ItemOutcome::Held(_)
        | ItemOutcome::Moving
        | ItemOutcome::Failed(_) => true,
        ItemOutcome::Applied
        | ItemOutcome::AlreadyThere
        | ItemOutcome::Unreadable
        | ItemOutcome::Verified
        | ItemOutcome::Incomparable => false,
    };
    was_left && earlier.row_before == item.row_before
}

#[cfg(test)]
mod tests {
    use selfsame_core::{
        Cause, Counts, DivergenceAge, KeyDigest, RowDigest, Rule, RunId, ShardId, ShardVerdict, Slot,
        WallMicros,
    };
    use selfsame_journal::{Action as StoredAction, JournalOptions, Run};

    use super::*;
    use crate::exchange::report::{Action, Outcome, ShardReport};

    const ROW: Option<RowDigest> = Some(RowDigest([1; 32]));

    fn report(row_before: Option<RowDigest>, now: i64) -> PassReport {
        let item = Item {
            key: Key::integer(1),
            key_digest: KeyDigest([1; 16]),
            node: "node-c".parse().unwrap(),
            action: Action::Delete,
            cause: Cause::ExpiredStraggler,
            rule: Rule::Expired,
            outcome: Outcome::Planned,
            version_before: None,
            version_after: None,
            entry_after: None,
            row_before,
            repair: None,
            age: Some(DivergenceAge::found_at(WallMicros(now), None)),
            bytes: 0,
        };
        let verdict = ShardVerdict::Diverged;
        let shard = ShardReport { verdict, items: vec![item], ..ShardReport::blank(ShardId(0)) };
        assert_eq!(shard.counts, Counts::default());
        PassReport {
            run: RunId::from_bytes([9; 16]),
            started: WallMicros(now),
            shards: vec![shard],
            wire_bytes: 0,
        }
    }

    fn found(outcome: ItemOutcome, row_before: Option<RowDigest>) -> i64 {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(&folder.path().join("journal.db"), JournalOptions::default()).unwrap();
        let collection: CollectionName = "products".parse().unwrap();
        let run = RunId::from_bytes([1; 16]);
        let (slot, owner) = (Slot::Scheduled(1), "a".parse().unwrap());
        let begun =
            Run { run, collection: collection.clone(), slot, owner, started: WallMicros(10), dry_run: false };
        journal.begin_run(&begun).unwrap();
        let earlier = ItemRow {
            run,
            shard: ShardId(0),
            key: Key::integer(1),
            node: "node-c".parse().unwrap(),
            action: StoredAction::Delete,
            cause: Cause::ExpiredStraggler,
            rule: String::new(),
            outcome,
            version_before: None,
            version_after: None,
            row_before: ROW,
            row_after: None,
            at: WallMicros(10),
            repair: None,
            age: Some(DivergenceAge::found_at(WallMicros(10), None)),
            bytes: 0,
        };
        journal.record_items(&[earlier]).unwrap();
        let mut report = report(row_before, 50);
        continue_ages(&journal, &collection, &mut report).unwrap();
        report.shards[0].items[0].age.unwrap().found.0
    }

    #[test]
    fn what_was_left_as_it_was_is_as_old_as_its_first_sight() {
        assert_eq!(found(ItemOutcome::Planned, ROW), 10);
        assert_eq!(found(ItemOutcome::Held("tie".to_owned()), ROW), 10);
    }

    #[test]
    fn another_row_or_a_repair_between_makes_it_a_new_divergence() {
        assert_eq!(found(ItemOutcome::Planned, Some(RowDigest([2; 32]))), 50);
        assert_eq!(found(ItemOutcome::Planned, None), 50);
        assert_eq!(found(ItemOutcome::Verified, ROW), 50, "it was written back since");
    }
}
