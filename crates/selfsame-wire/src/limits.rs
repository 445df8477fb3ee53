//! How much one message may carry. Both sides hold to these; the receiver checks.

/// Bytes of one encoded message. Twice the largest batch of repairs, so that framing never matters.
pub const MESSAGE_BYTES_MAX: usize = 32 << 20;

/// Shards in one ballot or one request for roots: as many as a collection can have.
pub const SHARDS_MAX: usize = selfsame_core::ShardCount::MAX as usize;

/// Parents in one request for children: an answer of 1 MiB of hashes.
pub const PARENTS_MAX: usize = 4096;

/// Buckets in one request for elements: at 256 elements a bucket an answer of 4 MiB.
pub const BUCKETS_MAX: usize = 1024;

/// Tombstones in one message about ledgers: a megabyte or two with keys of usual length.
pub const MEMORIES_MAX: usize = 10_000;

/// Prefixes in one request for keys: as many keys as an exchange confirms at a time.
pub const PREFIXES_MAX: usize = 10_000;

/// Keys in one fresh read: as many as an exchange confirms at a time.
pub const KEYS_MAX: usize = 10_000;

/// Documents in one fetch: those of one batch of repairs.
pub const FETCH_ROWS_MAX: usize = 500;

/// Bytes of the values of all rows in one answer to a fetch: what an answer may have, less framing and names.
pub const FETCH_BYTES_MAX: usize = 24 << 20;

/// Repairs in one batch.
pub const APPLY_ITEMS_MAX: usize = 500;

/// Bytes of the values of all rows in one batch of repairs.
pub const APPLY_BYTES_MAX: usize = 16 << 20;

/// Characters of the name of why repairs became a plan: any name of the closed list has far less.
pub const PLANNED_CHARS_MAX: usize = 64;

/// Bytes of a text that only explains: it travels in a header, which HTTP/2 peers bound at 16 KiB.
pub const WHY_BYTES_MAX: usize = 1024;

/// The text, cut to [`WHY_BYTES_MAX`] at a character's end.
pub(crate) fn cut(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(WHY_BYTES_MAX));
    text
}
