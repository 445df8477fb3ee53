//! The head: what is known of the index as a whole, rewritten with every batch.

use selfsame_core::{DecodeError, Reader, ShardCount, Stamp, WallMicros, Writer};

use crate::rows::{sealed, unsealed};

/// The layout of rows and records. Another number is another format, which is rebuilt.
const FORMAT: u8 = 1;

/// Which entries an index holds: it is of no use to a replica of another origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    /// The caller's digest of what the entries depend on.
    pub(crate) basis: [u8; 16],
    /// Names the fingerprinter's key.
    pub(crate) check: [u8; 16],
}

/// How far a scan is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScanPosition {
    /// No page is stored.
    Start,
    /// All pages before this cursor are stored.
    After(Vec<u8>),
    /// All pages are stored; the scan is to be finished.
    End,
}

/// A scan that has begun and not been finished.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScanProgress {
    /// When it began, by the replica's counter. All of its entries carry this stamp.
    pub stamp: Stamp,
    /// When it began, by the wall clock.
    pub started: WallMicros,
    /// Where it goes on.
    pub position: ScanPosition,
    /// How many documents it has seen.
    pub rows: u64,
    /// How many of those were unreadable and had no readable key. If any, nothing is concluded from a key that
    /// it did not see.
    pub unreadable_without_key: u64,
}

/// What is known of the index as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) origin: Origin,
    pub(crate) shards: ShardCount,
    /// How many batches were written, this one included.
    pub(crate) batch: u64,
    /// The sum of the weights of all rows, of keys and of documents without keys.
    pub(crate) total: u128,
    /// How many unreadable documents without keys there are.
    pub(crate) loose: u64,
    /// The start of the last completed scan.
    pub(crate) as_of: Option<WallMicros>,
    pub(crate) scan: Option<ScanProgress>,
}

impl Head {
    /// The head of an empty index.
    pub(crate) fn new(origin: Origin, shards: ShardCount) -> Head {
        Head { origin, shards, batch: 0, total: 0, loose: 0, as_of: None, scan: None }
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut out = Writer::new();
        out.byte(FORMAT).raw(&self.origin.basis).raw(&self.origin.check).u64(self.shards.get().into());
        out.u64(self.batch).raw(&self.total.to_be_bytes()).u64(self.loose);
        out.optional_i64(self.as_of.map(|as_of| as_of.0));
        match &self.scan {
            None => {
                out.byte(0);
            }
            Some(scan) => {
                out.byte(1).u64(scan.stamp.0).i64(scan.started.0).u64(scan.rows);
                out.u64(scan.unreadable_without_key);
                match &scan.position {
                    ScanPosition::Start => out.byte(0),
                    ScanPosition::After(cursor) => out.byte(1).raw(cursor),
                    ScanPosition::End => out.byte(2),
                };
            }
        }
        sealed(out.finish())
    }

    /// Reads what [`Head::to_bytes`] wrote; `None` for another format.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Option<Head>, DecodeError> {
        let mut reader = Reader::new(unsealed(bytes)?);
        if reader.byte()? != FORMAT {
            return Ok(None);
        }
        let origin = Origin { basis: reader.array()?, check: reader.array()? };
        let shards = u32::try_from(reader.u64()?).ok().and_then(ShardCount::new);
        let shards = shards.ok_or(DecodeError::Invalid)?;
        let batch = reader.u64()?;
        let total = u128::from_be_bytes(reader.array()?);
        let loose = reader.u64()?;
        let as_of = reader.optional_i64()?.map(WallMicros);
        let scan = match reader.byte()? {
            0 => None,
            1 => Some(scan(&mut reader)?),
            _ => return Err(DecodeError::Invalid),
        };
        reader.finish()?;
        Ok(Some(Head { origin, shards, batch, total, loose, as_of, scan }))
    }
}

fn scan(reader: &mut Reader<'_>) -> Result<ScanProgress, DecodeError> {
    let (stamp, started) = (Stamp(reader.u64()?), WallMicros(reader.i64()?));
    let (rows, unreadable_without_key) = (reader.u64()?, reader.u64()?);
    let position = match reader.byte()? {
        0 => ScanPosition::Start,
        1 => ScanPosition::After(reader.rest().to_vec()),
        2 => ScanPosition::End,
        _ => return Err(DecodeError::Invalid),
    };
    Ok(ScanProgress { stamp, started, position, rows, unreadable_without_key })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_read_back_and_no_flipped_bit_goes_unnoticed() {
        let mut head = Head::new(Origin { basis: [1; 16], check: [2; 16] }, ShardCount::new(4096).unwrap());
        let positions = [ScanPosition::Start, ScanPosition::After(b"page".to_vec()), ScanPosition::End];
        let scans = positions.map(|position| ScanProgress {
            stamp: Stamp(7),
            started: WallMicros(-8),
            position,
            rows: 9,
            unreadable_without_key: 10,
        });
        for scan in [None].into_iter().chain(scans.map(Some)) {
            head = Head {
                batch: 3,
                total: 1 << 100,
                loose: 5,
                as_of: scan.as_ref().map(|_| WallMicros(1)),
                scan,
                ..head
            };
            let bytes = head.to_bytes();
            assert_eq!(Head::from_bytes(&bytes), Ok(Some(head.clone())));
            for bit in 0..bytes.len() * 8 {
                let mut flipped = bytes.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert!(Head::from_bytes(&flipped).is_err());
            }
        }
    }
}
