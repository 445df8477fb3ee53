//! What a change of one document costs in memory, and what a scan costs on disk.

use std::time::{Duration, Instant};

use selfsame_core::merkle::{Depth, Tree};
use selfsame_core::{
    ContentDigest, Entry, EntryDigest, Fingerprinter, Key, KeyDigest, KeyPrefix, ShardCount, Stamp, Version,
    WallMicros,
};
use selfsame_index::{Index, IndexSettings, Seen};

use crate::report::{Cell, Report, best, best_of};

const ENTRIES: usize = 100_000;
const PAGE_ROWS: usize = 1_000;

fn entry(number: usize, version: i64) -> Entry {
    Entry {
        key: Key::integer(number as i64),
        version: Version(version),
        expiry: None,
        content: ContentDigest([number as u8; 32]),
    }
}

pub(crate) fn measure(report: &mut Report) {
    tree(report);
    index(report);
}

fn tree(report: &mut Report) {
    let fingerprinter = Fingerprinter::new("fleet", "products", b"secret");
    let keys: Vec<KeyDigest> =
        (0..ENTRIES).map(|number| fingerprinter.key_digest(&Key::integer(number as i64))).collect();
    let digests = |version: i64| -> Vec<EntryDigest> {
        (0..ENTRIES).map(|number| fingerprinter.entry_digest(&entry(number, version))).collect()
    };
    let (old, new) = (digests(1), digests(2));
    let prefixes: Vec<KeyPrefix> = keys.iter().map(KeyDigest::prefix).collect();
    let leaves = || prefixes.iter().copied().zip(old.iter().copied());
    let depth = Depth::for_entries(ENTRIES as u64);
    let built = Tree::build(depth, leaves());
    let each = |time: Duration| time.as_secs_f64() * 1e9 / ENTRIES as f64;
    let update = best_of(|| {
        let mut tree = built.clone();
        let begun = Instant::now();
        for (prefix, (old, new)) in prefixes.iter().zip(old.iter().zip(&new)) {
            tree.remove(*prefix, old);
            tree.insert(*prefix, new);
        }
        std::hint::black_box(tree.root());
        begun.elapsed()
    });
    let entries: Vec<Entry> = (0..ENTRIES).map(|number| entry(number, 3)).collect();
    let hash = best(|| {
        let digest = |entry| fingerprinter.entry_digest(entry).0[0];
        entries.iter().map(digest).fold(0, u8::wrapping_add)
    });
    let rows = vec![
        row("build, an entry", each(best(|| Tree::build(depth, leaves())))),
        row("update, an entry: the old digest out, the new one in", each(update)),
        row("the digest of an entry, beside it", each(hash)),
    ];
    let title = format!("Tree of {ENTRIES} entries, depth {depth}, in memory");
    report.table("tree", title, &["what", "ns"], rows);
}

fn row(what: &str, number: f64) -> Vec<Cell> {
    vec![Cell::Text(what.to_owned()), Cell::Number(number)]
}

/// Scans of a whole replica into an index on disk, page by page.
fn index(report: &mut Report) {
    let fingerprinter = Fingerprinter::new("fleet", "products", b"secret");
    let pages = |version: i64| -> Vec<Vec<Seen>> {
        let seen = |number: usize| {
            let entry = entry(number, version);
            Seen::Live(fingerprinter.key_digest(&entry.key), entry)
        };
        let page = |first: usize| (first..first + PAGE_ROWS).map(seen).collect();
        (0..ENTRIES).step_by(PAGE_ROWS).map(page).collect()
    };
    let (first, changed) = (pages(1), pages(2));
    let folder = tempfile::tempdir().expect("there is a folder for temporary files");
    let settings = IndexSettings {
        fingerprinter: fingerprinter.clone(),
        shards: ShardCount::new(16).expect("16 shards are allowed"),
        basis: [7; 16],
        stamp_floor: Stamp(0),
        randomness: 1,
    };
    let (index, _) = Index::open(folder.path(), settings.clone()).expect("a new index opens");
    let rate = |time: Duration| ENTRIES as f64 / time.as_secs_f64() / 1e3;
    let mut rows = Vec::new();
    for (what, pages) in
        [("first scan: all new", &first), ("nothing changed", &first), ("all changed", &changed)]
    {
        let (stored, finished) = scan(&index, pages);
        rows.push(vec![
            Cell::Text(format!("store_page, {what}")),
            Cell::Number(rate(stored)),
            Cell::Number(finished.as_secs_f64() * 1e3),
        ]);
    }
    drop(index);
    let begun = Instant::now();
    let (index, _) = Index::open(folder.path(), settings).expect("an index opens again");
    rows.push(vec![
        Cell::Text("open again, all rows read and summed up".to_owned()),
        Cell::Number(rate(begun.elapsed())),
        Cell::None,
    ]);
    assert_eq!(index.counts().entries, ENTRIES as u64);
    let limit = best(|| {
        let entries = changed.iter().flatten();
        entries
            .map(|seen| match seen {
                Seen::Live(_, entry) => fingerprinter.entry_digest(entry).0[0],
                Seen::Unreadable { .. } | Seen::Marked(..) => 0,
            })
            .fold(0, u8::wrapping_add)
    });
    rows.push(vec![
        Cell::Text("one entry digest each: the least that a change costs".to_owned()),
        Cell::Number(rate(limit)),
        Cell::None,
    ]);
    let title =
        format!("Index on disk: {ENTRIES} entries in 16 shards, pages of {PAGE_ROWS} (one round each)");
    report.table("index", title, &["what", "1000 docs/s", "finish_scan, ms"], rows);
}

/// How long storing the pages took, and how long finishing.
fn scan(index: &Index, pages: &[Vec<Seen>]) -> (Duration, Duration) {
    let expect = "the index takes a scan";
    let stamp = index.next_stamp().expect(expect);
    index.begin_scan(stamp, WallMicros(stamp.0 as i64)).expect(expect);
    let begun = Instant::now();
    for (number, page) in pages.iter().enumerate() {
        let cursor = (number + 1 < pages.len()).then(|| number.to_be_bytes().to_vec());
        index.store_page(page, cursor).expect(expect);
    }
    let stored = begun.elapsed();
    let begun = Instant::now();
    index.finish_scan(&[]).expect(expect);
    (stored, begun.elapsed())
}
