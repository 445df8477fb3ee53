//! How rows are laid out in the store. Keys: a byte that says what it is, then for a row its shard and key
//! digest, so that a bucket is one contiguous range. Values: a stamp, then what was seen.

use std::ops::RangeInclusive;

use selfsame_core::{DecodeError, Entry, Key, KeyDigest, KeyPrefix, Reader, ShardId, Stamp, Writer};
use xxhash_rust::xxh3::{xxh3_64, xxh3_128, xxh3_128_with_seed};

const HEAD: u8 = 0;
const SHARD: u8 = 1;
const LOOSE: u8 = 2;
const ROW: u8 = 3;

/// What was last seen of a key.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Sight {
    /// A live document.
    Live(Entry),
    /// A document without a single meaning.
    Unreadable {
        /// Its key.
        key: Key,
        /// Where the store has it.
        place: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A deletion mark, or concluded to be gone. Kept until the next completed scan, so that a read that began
    /// earlier does not bring the key back.
    Gone,
}

/// What was last seen of a key, and when the read began that saw it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Row {
    /// When.
    pub(crate) stamp: Stamp,
    /// What.
    pub(crate) sight: Sight,
}

/// An unreadable document without a key: it may be any key of any shard.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Loose {
    /// When the read began that saw it.
    pub(crate) stamp: Stamp,
    /// Where the store has it.
    pub(crate) place: String,
    /// What is wrong with it.
    pub(crate) reason: String,
}

impl Row {
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut out = Writer::new();
        out.u64(self.stamp.0);
        match &self.sight {
            Sight::Live(entry) => out.byte(1).raw(&entry.to_bytes()),
            Sight::Unreadable { key, place, reason } => {
                out.byte(2).frame(place.as_bytes()).frame(reason.as_bytes()).raw(&key.to_bytes())
            }
            Sight::Gone => out.byte(3),
        };
        out.finish()
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Row, DecodeError> {
        let mut reader = Reader::new(bytes);
        let stamp = Stamp(reader.u64()?);
        let sight = match reader.byte()? {
            1 => Sight::Live(Entry::from_bytes(reader.rest())?),
            2 => {
                let (place, reason) = (reader.text()?.to_owned(), reader.text()?.to_owned());
                Sight::Unreadable { key: Key::from_bytes(reader.rest())?, place, reason }
            }
            3 => {
                reader.finish()?;
                Sight::Gone
            }
            _ => return Err(DecodeError::Invalid),
        };
        Ok(Row { stamp, sight })
    }
}

impl Loose {
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut out = Writer::new();
        out.u64(self.stamp.0).frame(self.place.as_bytes()).frame(self.reason.as_bytes());
        out.finish()
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Loose, DecodeError> {
        let mut reader = Reader::new(bytes);
        let stamp = Stamp(reader.u64()?);
        let (place, reason) = (reader.text()?.to_owned(), reader.text()?.to_owned());
        reader.finish()?;
        Ok(Loose { stamp, place, reason })
    }
}

/// The key of the head.
pub(crate) fn head_key() -> Vec<u8> {
    vec![HEAD]
}

/// The key of a shard's record.
pub(crate) fn shard_key(shard: ShardId) -> Vec<u8> {
    let mut key = vec![SHARD];
    key.extend_from_slice(&shard.0.to_be_bytes());
    key
}

/// The shard that a record's key names.
pub(crate) fn shard_of_key(key: &[u8]) -> Result<ShardId, DecodeError> {
    match key.strip_prefix(&[SHARD]).and_then(|rest| rest.try_into().ok()) {
        Some(number) => Ok(ShardId(u32::from_be_bytes(number))),
        None => Err(DecodeError::Invalid),
    }
}

/// All shards' records.
pub(crate) fn all_shard_keys() -> RangeInclusive<Vec<u8>> {
    shard_key(ShardId(0))..=shard_key(ShardId(u32::MAX))
}

/// The key of an unreadable document without a key: one for each place.
pub(crate) fn loose_key(place: &str) -> Vec<u8> {
    let mut key = vec![LOOSE];
    key.extend_from_slice(&xxh3_128(place.as_bytes()).to_be_bytes());
    key
}

/// All unreadable documents without a key.
pub(crate) fn all_loose_keys() -> RangeInclusive<Vec<u8>> {
    vec![LOOSE]..=vec![LOOSE; 1].into_iter().chain([u8::MAX; 16]).collect()
}

/// The key of a key's row.
pub(crate) fn row_key(shard: ShardId, key: &KeyDigest) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(21);
    bytes.push(ROW);
    bytes.extend_from_slice(&shard.0.to_be_bytes());
    bytes.extend_from_slice(&key.0);
    bytes
}

/// The shard and the key digest that a row's key names.
pub(crate) fn row_of_key(key: &[u8]) -> Result<(ShardId, KeyDigest), DecodeError> {
    let mut reader = Reader::new(key);
    if reader.byte()? != ROW {
        return Err(DecodeError::Invalid);
    }
    let shard = ShardId(u32::from_be_bytes(reader.array()?));
    let digest = KeyDigest(reader.array()?);
    reader.finish()?;
    Ok((shard, digest))
}

/// All rows of all shards.
pub(crate) fn all_row_keys() -> RangeInclusive<Vec<u8>> {
    row_key(ShardId(0), &KeyDigest([0; 16]))..=row_key(ShardId(u32::MAX), &KeyDigest([u8::MAX; 16]))
}

/// The rows of a shard whose keys' prefixes are in a range.
pub(crate) fn row_keys(shard: ShardId, prefixes: RangeInclusive<KeyPrefix>) -> RangeInclusive<Vec<u8>> {
    let digest = |prefix: &KeyPrefix, fill: u8| {
        let mut digest = [fill; 16];
        digest[..8].copy_from_slice(&prefix.0.to_be_bytes());
        KeyDigest(digest)
    };
    row_key(shard, &digest(prefixes.start(), 0))..=row_key(shard, &digest(prefixes.end(), u8::MAX))
}

/// All prefixes.
pub(crate) const ALL_PREFIXES: RangeInclusive<KeyPrefix> = KeyPrefix(0)..=KeyPrefix(u64::MAX);

/// What a pair adds to the checksum over all rows: a sum, so that it can be kept up to date. It guards against
/// failing disks, not against people.
pub(crate) fn weight(key: &[u8], value: &[u8]) -> u128 {
    xxh3_128_with_seed(value, xxh3_64(key))
}

/// Bytes followed by their checksum.
pub(crate) fn sealed(mut body: Vec<u8>) -> Vec<u8> {
    let checksum = xxh3_64(&body);
    body.extend_from_slice(&checksum.to_be_bytes());
    body
}

/// What [`sealed`] was given.
pub(crate) fn unsealed(bytes: &[u8]) -> Result<&[u8], DecodeError> {
    let (body, checksum) = bytes.split_last_chunk::<8>().ok_or(DecodeError::Short)?;
    if xxh3_64(body).to_be_bytes() == *checksum { Ok(body) } else { Err(DecodeError::Invalid) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use selfsame_core::{ContentDigest, Version, WallMicros};

    fn row() -> impl Strategy<Value = Row> {
        let entry = (any::<i64>(), any::<i64>(), any::<Option<i64>>(), any::<[u8; 32]>());
        let live = entry.prop_map(|(key, version, expiry, content)| {
            Sight::Live(Entry {
                key: Key::integer(key),
                version: Version(version),
                expiry: expiry.map(WallMicros),
                content: ContentDigest(content),
            })
        });
        let unreadable = (".{0,9}", ".{0,9}", ".{0,9}").prop_map(|(key, place, reason)| Sight::Unreadable {
            key: Key::text(key),
            place,
            reason,
        });
        (any::<u64>(), prop_oneof![live, unreadable, Just(Sight::Gone)])
            .prop_map(|(stamp, sight)| Row { stamp: Stamp(stamp), sight })
    }

    proptest! {
        #[test]
        fn rows_read_back(row in row(), place in ".{0,9}") {
            prop_assert_eq!(Row::from_bytes(&row.to_bytes()), Ok(row.clone()));
            let loose = Loose { stamp: row.stamp, place: place.clone(), reason: place };
            prop_assert_eq!(Loose::from_bytes(&loose.to_bytes()), Ok(loose));
        }

        #[test]
        fn no_bytes_make_decoding_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = (Row::from_bytes(&bytes), Loose::from_bytes(&bytes), row_of_key(&bytes), unsealed(&bytes));
        }

        #[test]
        fn a_range_of_prefixes_holds_exactly_their_keys(shard: u32, digest: [u8; 16], from: u64, to: u64) {
            let (shard, digest) = (ShardId(shard), KeyDigest(digest));
            let key = row_key(shard, &digest);
            prop_assert_eq!(row_of_key(&key), Ok((shard, digest)));
            let keys = row_keys(shard, KeyPrefix(from)..=KeyPrefix(to));
            prop_assert_eq!(keys.contains(&key), (from..=to).contains(&digest.prefix().0));
        }
    }
}
