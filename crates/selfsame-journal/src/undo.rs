//! What can be undone: the repairs of a run at this agent, without their images, and the images by themselves.

use rusqlite::params;
use selfsame_core::{
    CollectionName, Entry, Epoch, Key, KeyDigest, NodeName, RepairId, Row, RowDigest, RunId,
};

use crate::columns::{self, Columns, Table};
use crate::repairs::outcome;
use crate::{IntentOutcome, Journal, JournalError};

/// A repair as far as undo must know it before it decides.
#[derive(Clone, Debug, PartialEq)]
pub struct MadeRepair {
    /// The repair.
    pub repair: RepairId,
    /// The epoch under which it was applied.
    pub epoch: Epoch,
    /// The collection.
    pub collection: CollectionName,
    /// The replica.
    pub node: NodeName,
    /// The key.
    pub key: Key,
    /// Digest of the key.
    pub key_digest: KeyDigest,
    /// The row that it replaced, if it was applied; `None`: none.
    pub expected: Option<RowDigest>,
    /// What it wrote; `None`: it deleted.
    pub entry: Option<Entry>,
    /// What became of it; `None` while that is open.
    pub outcome: Option<IntentOutcome>,
    /// What is left of the row that it replaced.
    pub image: KeptImage,
}

/// What is left of a replaced row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeptImage {
    /// There was no row.
    NoRow,
    /// The whole row.
    Kept {
        /// Size of its encoding.
        bytes: u64,
    },
    /// Its encoding was larger than `before_image_bytes_max`.
    TooLarge {
        /// Its size.
        bytes: u64,
    },
    /// Before-images were switched off.
    Off,
    /// It was kept, and pruned after the undo retention, or forgotten.
    Gone,
}

const INTENT: Table = Table { name: "intent", key_columns: 1 };

impl Journal {
    /// All repairs of a run at this agent in the order in which they were announced, those that undid others among
    /// them. Some 300 bytes each: images stay on disk.
    pub fn repairs_of_run(&self, run: RunId) -> Result<Vec<MadeRepair>, JournalError> {
        self.read(|connection| {
            let sql = "SELECT id, repair, counter, agent, collection, node, key, key_digest, expected, action, entry,
                           before, before_bytes, length(before_image) AS image_bytes, outcome, outcome_detail, outcome_row
                       FROM intent WHERE run = ?1 ORDER BY id";
            columns::list(connection, INTENT, sql, params![run.as_bytes()], read)
        })
    }

    /// The rows that repairs replaced, in the order asked for; `None` where none is kept.
    pub fn before_images(&self, repairs: &[RepairId]) -> Result<Vec<Option<Row>>, JournalError> {
        self.read(|connection| {
            let sql = "SELECT id, before_image FROM intent WHERE repair = ?1";
            let image = |columns: &Columns<'_>| {
                columns.optional("before_image", |columns, column| columns.decoded(column, Row::from_bytes))
            };
            let of = |repair: &RepairId| {
                Ok(columns::first(connection, INTENT, sql, [repair.as_bytes()], image)?.flatten())
            };
            repairs.iter().map(of).collect()
        })
    }
}

fn read(columns: &Columns<'_>) -> Result<MadeRepair, JournalError> {
    let entry = columns.optional("entry", |columns, column| columns.decoded(column, Entry::from_bytes))?;
    let deletes = columns.coded("action", |code| match code {
        "put" => Some(false),
        "delete" => Some(true),
        _ => None,
    })?;
    if deletes != entry.is_none() {
        return Err(columns.contradiction("entry"));
    }
    Ok(MadeRepair {
        repair: RepairId::from_bytes(columns.array("repair")?),
        epoch: columns.epoch()?,
        collection: columns.parsed("collection")?,
        node: columns.parsed("node")?,
        key: columns.decoded("key", Key::from_bytes)?,
        key_digest: KeyDigest(columns.array("key_digest")?),
        expected: columns.optional("expected", Columns::array)?.map(RowDigest),
        entry,
        outcome: outcome(columns)?,
        image: image(columns)?,
    })
}

fn image(columns: &Columns<'_>) -> Result<KeptImage, JournalError> {
    let bytes = columns.optional("before_bytes", Columns::integer)?;
    let kept = columns.optional("image_bytes", Columns::integer)?;
    let image = columns.coded("before", |code| match code {
        "no_row" => Some(Some(KeptImage::NoRow)),
        "kept" => Some(kept.map(|bytes| KeptImage::Kept { bytes })),
        "too_large" => Some(bytes.map(|bytes| KeptImage::TooLarge { bytes })),
        "off" => Some(Some(KeptImage::Off)),
        "pruned" => Some(Some(KeptImage::Gone)),
        _ => None,
    })?;
    image.ok_or_else(|| columns.contradiction("before_image"))
}

#[cfg(test)]
mod tests {
    use selfsame_core::{Cause, Cell, ContentDigest, Version, WallMicros};

    use super::*;
    use crate::testing::*;
    use crate::{BeforeImage, Intent, IntentWrite, JournalOptions};

    fn row(text: &str) -> Row {
        Row::new(vec![("body".to_owned(), Cell::Text(text.to_owned()))])
    }

    fn intent(number: u8, run: u64, before: BeforeImage) -> Intent {
        let (key, key_digest) = key(i64::from(number));
        let entry =
            Entry { key: key.clone(), version: Version(8), expiry: None, content: ContentDigest([5; 32]) };
        Intent {
            repair: RepairId::from_bytes([number; 16]),
            run: run_id(run),
            epoch: epoch(4, "b"),
            collection: products(),
            node: node("node-a"),
            key,
            key_digest,
            expected: (before != BeforeImage::NoRow).then_some(RowDigest([3; 32])),
            write: IntentWrite::Put { entry, row: Some(row("new")) },
            before,
            cause: Cause::MissedUpdate,
            approved: false,
            at: WallMicros(1),
        }
    }

    #[test]
    fn a_runs_repairs_are_listed_in_order_with_what_is_left_of_their_images() {
        let place = Place::new();
        let old = row("old");
        let bytes = old.to_bytes().len();
        let journal =
            place.open_with(JournalOptions { before_image_bytes_max: bytes, ..JournalOptions::default() });
        let large = row("older than old");
        let large_bytes = large.to_bytes().len() as u64;
        let intents = [
            intent(3, 1, BeforeImage::Kept(old.clone())),
            intent(1, 1, BeforeImage::NoRow),
            intent(2, 1, BeforeImage::Kept(large)),
            intent(4, 2, BeforeImage::NoRow),
            Intent { write: IntentWrite::Delete, ..intent(5, 1, BeforeImage::Pruned) },
        ];
        journal.write_intents(&intents).unwrap();
        let applied = IntentOutcome::Applied { after: Some(RowDigest([6; 32])) };
        journal.write_outcomes(&[(intents[0].repair, applied.clone())]).unwrap();
        drop(journal);
        let journal = place.open();
        let made = journal.repairs_of_run(run_id(1)).unwrap();
        let short: Vec<_> = made.iter().map(|made| (made.repair, made.image, made.entry.is_some())).collect();
        assert_eq!(
            short,
            [
                (intents[0].repair, KeptImage::Kept { bytes: bytes as u64 }, true),
                (intents[1].repair, KeptImage::NoRow, true),
                (intents[2].repair, KeptImage::TooLarge { bytes: large_bytes }, true),
                (intents[4].repair, KeptImage::Gone, false),
            ]
        );
        assert_eq!((&made[0].outcome, &made[1].outcome), (&Some(applied), &None));
        assert_eq!((&made[0].key, made[0].expected), (&intents[0].key, intents[0].expected));
        let images = journal.before_images(&[made[1].repair, made[0].repair, RepairId::from_bytes([9; 16])]);
        assert_eq!(images.unwrap(), [None, Some(old), None]);
    }
}
