//! Reading a whole store and checking it against itself.

use selfsame_core::{Fingerprinter, Stamp};

use crate::IndexError;
use crate::disk::Store;
use crate::generation::{self, Generation};
use crate::head::{Head, Origin};
use crate::rows::{self, Loose};
use crate::state::{Shard, ShardRecord, State};

/// Reads all rows, compares what they amount to with what every batch recorded, and gives the highest stamp.
/// `Damaged` if they differ, or are of another origin. Cost: one pass over the rows, and one hash for each.
pub(crate) fn load(
    store: Store,
    fingerprinter: &Fingerprinter,
    origin: Origin,
) -> Result<(Generation, Stamp), IndexError> {
    let bytes = store.value(&rows::head_key())?.ok_or_else(|| IndexError::damaged("it has no head"))?;
    let Some(head) = Head::from_bytes(&bytes)? else {
        return Err(IndexError::damaged("it has another format"));
    };
    if head.origin.basis != origin.basis {
        return Err(IndexError::damaged("its entries were made by another configuration"));
    }
    if head.origin.check != origin.check {
        return Err(IndexError::damaged("its entries were made with another key"));
    }
    let records = records(&store, &head)?;
    let (shards, stamp) = shards(&store, &head, &records, fingerprinter)?;
    let total = shards.iter().fold(0_u128, |total, shard| total.wrapping_add(shard.tally.weight));
    let (loose, loose_weight) = loose(&store)?;
    if loose != head.loose || total.wrapping_add(loose_weight) != head.total {
        return Err(IndexError::damaged("its rows fail the checksum over all of them"));
    }
    let generation = Generation::new(store, fingerprinter.clone(), State { head, shards });
    Ok((generation, stamp))
}

fn records(store: &Store, head: &Head) -> Result<Vec<ShardRecord>, IndexError> {
    let mut records = vec![ShardRecord::default(); head.shards.get() as usize];
    for pair in store.view().range(rows::all_shard_keys()) {
        let (key, value) = pair?;
        let shard = rows::shard_of_key(&key)?;
        let record = records.get_mut(shard.0 as usize);
        *record.ok_or_else(|| IndexError::damaged("it has the root of a shard that it has not"))? =
            ShardRecord::from_bytes(&value)?;
    }
    Ok(records)
}

fn shards(
    store: &Store,
    head: &Head,
    records: &[ShardRecord],
    fingerprinter: &Fingerprinter,
) -> Result<(Vec<Shard>, Stamp), IndexError> {
    // A root that claims more entries than there are costs memory only up to the deepest tree; it is found below.
    let mut shards: Vec<_> = records.iter().map(|record| Shard::for_entries(record.root.count)).collect();
    let mut highest = Stamp::default();
    for pair in store.view().range(rows::all_row_keys()) {
        let (key, value) = pair?;
        let (shard, digest) = rows::row_of_key(&key)?;
        if digest.shard(head.shards) != shard {
            return Err(IndexError::damaged("it has a row in the wrong shard"));
        }
        let shard = shards.get_mut(shard.0 as usize).ok_or_else(|| IndexError::damaged("no such shard"))?;
        let (_, row) = generation::count(shard, fingerprinter, &key, &value)?;
        highest = highest.max(row.stamp);
    }
    for (number, (shard, record)) in shards.iter().zip(records).enumerate() {
        if shard.record() != *record {
            return Err(IndexError::damaged(format!("the rows of shard {number} do not give its root")));
        }
    }
    Ok((shards, highest))
}

fn loose(store: &Store) -> Result<(u64, u128), IndexError> {
    let (mut count, mut weight) = (0, 0_u128);
    for pair in store.view().range(rows::all_loose_keys()) {
        let (key, value) = pair?;
        Loose::from_bytes(&value)?;
        count += 1;
        weight = weight.wrapping_add(rows::weight(&key, &value));
    }
    Ok((count, weight))
}
