//! The anchor: which generation of the index is current, how much of it is synced, and which stamps are given
//! out. It lies outside the store, so that stamps go on where they were when the store is damaged, set aside or
//! taken back, and so that a store that lost what was synced is found out.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use selfsame_core::{DecodeError, Reader, Stamp, Writer};

use super::store::io_or_damage;
use crate::IndexError;
use crate::rows::{sealed, unsealed};

const MAGIC: &[u8; 8] = b"SLFSIDX1";

/// How many stamps are reserved by one sync. A crash loses at most so many, of 2^64.
const RESERVED_STAMPS: u64 = 1000;

/// What the anchor file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Anchor {
    /// The current generation.
    pub(crate) generation: u64,
    /// The highest stamp that may have been given out.
    pub(crate) reserved: u64,
    /// The batch of the generation up to which all was synced when the last scan was finished.
    pub(crate) synced: u64,
}

impl Anchor {
    fn to_bytes(self) -> Vec<u8> {
        let mut out = Writer::new();
        out.raw(MAGIC).u64(self.generation).u64(self.reserved).u64(self.synced);
        sealed(out.finish())
    }

    fn from_bytes(bytes: &[u8]) -> Result<Anchor, DecodeError> {
        let mut reader = Reader::new(unsealed(bytes)?);
        let magic: [u8; 8] = reader.array()?;
        let anchor = Anchor { generation: reader.u64()?, reserved: reader.u64()?, synced: reader.u64()? };
        reader.finish()?;
        if magic == *MAGIC { Ok(anchor) } else { Err(DecodeError::Invalid) }
    }

    /// Reads the anchor of an index; `None` if it has none.
    pub(crate) fn read(folder: &Path) -> Result<Option<Anchor>, IndexError> {
        let file = folder.join("anchor");
        match std::fs::read(&file) {
            Ok(bytes) => match Anchor::from_bytes(&bytes) {
                Ok(anchor) => Ok(Some(anchor)),
                Err(error) => Err(IndexError::damaged(format!("its anchor: {error}"))),
            },
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io_or_damage("read the index's anchor", error)),
        }
    }

    /// Replaces the anchor; synced when it returns.
    pub(crate) fn write(self, folder: &Path) -> Result<(), IndexError> {
        let write = || {
            let fresh = folder.join("anchor.new");
            let mut file = super::private::replaced(&fresh)?;
            file.write_all(&self.to_bytes())?;
            file.sync_all()?;
            std::fs::rename(&fresh, folder.join("anchor"))?;
            super::folder::sync(folder)
        };
        write().map_err(|error| IndexError::io("write the index's anchor", error))
    }
}

/// The anchor of an open index.
#[derive(Debug)]
pub(crate) struct AnchorFile {
    folder: PathBuf,
    anchor: Anchor,
    last_stamp: u64,
}

impl AnchorFile {
    /// Stamps go on above whatever may have been given out, and above `floor`.
    pub(crate) fn new(folder: &Path, anchor: Anchor, floor: Stamp) -> AnchorFile {
        AnchorFile { folder: folder.to_owned(), anchor, last_stamp: anchor.reserved.max(floor.0) }
    }

    /// The next stamp. One in [`RESERVED_STAMPS`] calls syncs a small file.
    pub(crate) fn next_stamp(&mut self) -> Result<Stamp, IndexError> {
        let next = self.last_stamp.checked_add(1).ok_or(IndexError::Misuse("stamps are used up"))?;
        if next > self.anchor.reserved {
            self.replace(Anchor { reserved: next.saturating_add(RESERVED_STAMPS - 1), ..self.anchor })?;
        }
        self.last_stamp = next;
        Ok(Stamp(next))
    }

    /// Records that all batches up to this one are synced.
    pub(crate) fn hold(&mut self, batch: u64) -> Result<(), IndexError> {
        self.replace(Anchor { synced: batch, ..self.anchor })
    }

    fn replace(&mut self, anchor: Anchor) -> Result<(), IndexError> {
        anchor.write(&self.folder)?;
        self.anchor = anchor;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anchors_read_back_and_no_flipped_bit_goes_unnoticed() {
        let anchor = Anchor { generation: 1, reserved: 2, synced: 3 };
        let bytes = anchor.to_bytes();
        assert_eq!(Anchor::from_bytes(&bytes), Ok(anchor));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Anchor::from_bytes(&flipped).is_err());
        }
        for length in 0..bytes.len() {
            assert!(Anchor::from_bytes(&bytes[..length]).is_err());
        }
    }

    #[test]
    fn a_stamp_is_not_used_when_it_cannot_be_reserved() {
        let gone = tempfile::tempdir().unwrap().path().join("gone");
        let anchor = Anchor { generation: 1, reserved: 7, synced: 0 };
        let mut file = AnchorFile::new(&gone, anchor, Stamp(3));
        assert!(matches!(file.next_stamp(), Err(IndexError::Io { .. })));
        std::fs::create_dir(&gone).unwrap_err();
    }
}
