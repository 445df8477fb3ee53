//! What the index promises, one sentence at a time.

use std::collections::BTreeSet;
use std::time::Instant;

use selfsame_core::{Entry, Key, ShardCount, ShardId, Stamp, WallMicros};

use super::model::Model;
use super::{digest, entry, fresh, live, nodes, open, resumed, scan, settings, shards};
use crate::{
    Condition, Fresh, Index, IndexError, IndexSettings, PageReport, ScanPosition, Seen, SilentChange,
    Vanished,
};

fn keyless(place: &str) -> Seen {
    Seen::Unreadable { key: None, place: place.to_owned(), reason: "key is null".to_owned() }
}

fn vanished(index: &Index) -> Vec<Vanished> {
    shards().map(|shard| index.vanished(shard).unwrap()).collect()
}

#[test]
fn as_of_is_the_start_of_the_last_completed_scan() {
    let (directory, index) = fresh();
    scan(&index, &[live(1, 1, 1)], 10);
    assert_eq!(index.root(ShardId(0)).unwrap().as_of, None);
    index.finish_scan(&[]).unwrap();
    index.begin_scan(index.next_stamp().unwrap(), WallMicros(20)).unwrap();
    drop(index);
    let index = resumed(directory.path());
    assert_eq!(index.root(ShardId(0)).unwrap().as_of, Some(WallMicros(10)));
    assert_eq!(index.root(ShardId(3)), None);
    assert_eq!(index.roots().len(), 3);
}

#[test]
fn what_has_expired_is_found_by_the_instant_and_no_more_of_it_than_asked_for() {
    let (_directory, index) = fresh();
    let expiring =
        |key: i64| Seen::Live(digest(key), Entry { expiry: Some(WallMicros(key)), ..entry(key, 1, 1) });
    let page: Vec<Seen> = (1..=60).map(expiring).chain([live(100, 1, 1)]).collect();
    scan(&index, &page, 10);
    index.finish_scan(&[]).unwrap();
    let expired = |by, limit| -> Vec<Vec<Key>> {
        shards().map(|shard| index.expired(shard, WallMicros(by), limit).unwrap()).collect()
    };
    let by_thirty: BTreeSet<Key> = expired(30, 1_000).concat().into_iter().collect();
    assert_eq!(by_thirty, (1..=30).map(Key::integer).collect());
    assert!(expired(60, 5).iter().all(|keys| keys.len() == 5));
}

#[test]
fn a_scan_goes_on_where_its_last_page_ended() {
    let (directory, index) = fresh();
    let stamp = index.next_stamp().unwrap();
    index.begin_scan(stamp, WallMicros(10)).unwrap();
    index.store_page(&[live(1, 1, 1)], Some(b"after 1".to_vec())).unwrap();
    drop(index);
    let index = resumed(directory.path());
    let progress = index.scan_state().unwrap();
    assert_eq!((progress.stamp, progress.started, progress.rows), (stamp, WallMicros(10), 1));
    assert_eq!(progress.position, ScanPosition::After(b"after 1".to_vec()));
    index.store_page(&[live(2, 1, 1)], None).unwrap();
    let report = index.finish_scan(&[]).unwrap();
    assert_eq!((report.as_of, report.rows), (Some(WallMicros(10)), 2));
    assert_eq!(index.counts().entries, 2);
}

#[test]
fn the_order_of_a_scan_is_kept() {
    let (_directory, index) = fresh();
    let misuse = |error| matches!(error, IndexError::Misuse(_));
    assert!(misuse(index.store_page(&[], None).unwrap_err()));
    assert!(misuse(index.vanished(ShardId(0)).unwrap_err()));
    index.begin_scan(index.next_stamp().unwrap(), WallMicros(1)).unwrap();
    assert!(misuse(index.finish_scan(&[]).unwrap_err()));
    index.store_page(&[], None).unwrap();
    assert!(misuse(index.store_page(&[], None).unwrap_err()));
    index.finish_scan(&[]).unwrap();
    assert!(misuse(index.finish_scan(&[]).unwrap_err()));
}

#[test]
fn other_content_at_the_same_version_is_a_silent_change() {
    let (_directory, index) = fresh();
    scan(&index, &[live(1, 1, 1), live(2, 1, 1), live(3, 1, 1)], 1);
    index.finish_scan(&[]).unwrap();
    index.begin_scan(index.next_stamp().unwrap(), WallMicros(2)).unwrap();
    let report =
        index.store_page(&[live(1, 1, 9), live(2, 2, 9), live(3, 1, 1), live(4, 1, 1)], None).unwrap();
    let silent = SilentChange { key_digest: digest(1), before: entry(1, 1, 1), after: entry(1, 1, 9) };
    let expected = PageReport {
        added: 1,
        changed: 2,
        unchanged: 1,
        silent_changes: vec![silent],
        ..PageReport::default()
    };
    assert_eq!(report, expected);
}

#[test]
fn one_key_in_two_rows_of_a_scan_is_reported() {
    let (_directory, index) = fresh();
    index.begin_scan(index.next_stamp().unwrap(), WallMicros(2)).unwrap();
    let report = index.store_page(&[live(1, 1, 1), live(2, 1, 1), live(1, 1, 2)], Some(vec![])).unwrap();
    assert_eq!((report.met_twice, report.silent_changes), (vec![digest(1)], vec![]));
    let report = index.store_page(&[live(2, 1, 1)], None).unwrap();
    assert_eq!(report.met_twice, vec![]);
}

#[test]
fn an_unreadable_document_leaves_the_tree_and_counts_for_its_shard() {
    let (_directory, index) = fresh();
    scan(&index, &[live(1, 1, 1), live(2, 1, 1)], 1);
    index.finish_scan(&[]).unwrap();
    let before = nodes(&index);
    let bad = Seen::Unreadable {
        key: Some((digest(1), Key::integer(1))),
        place: "rowid 1".to_owned(),
        reason: "bad".to_owned(),
    };
    scan(&index, &[bad, live(2, 1, 1)], 2);
    assert_eq!(vanished(&index), vec![Vanished::Entries(vec![]); 3]);
    index.finish_scan(&[]).unwrap();
    let shard = digest(1).shard(settings().shards);
    assert_ne!(nodes(&index), before);
    let counted: Vec<_> = index.roots().iter().map(|root| root.unreadable).collect();
    assert_eq!(counted.iter().sum::<u64>(), 1);
    assert_eq!(index.unreadable(shard, 9).unwrap()[0].key, Some(Key::integer(1)));
    // Mended: it is as before.
    scan(&index, &[live(1, 1, 1), live(2, 1, 1)], 3);
    index.finish_scan(&[]).unwrap();
    assert_eq!(nodes(&index), before);
    assert_eq!(index.root(shard).unwrap().unreadable, 0);
}

#[test]
fn nothing_vanishes_while_a_document_without_a_key_is_there() {
    let (_directory, index) = fresh();
    scan(&index, &[live(1, 1, 1)], 1);
    index.finish_scan(&[]).unwrap();
    scan(&index, &[keyless("rowid 7"), keyless("rowid 7")], 2);
    let shard = digest(1).shard(settings().shards);
    assert_eq!(index.vanished(shard).unwrap(), Vanished::Unsure { entries: 1, unreadable_without_key: 2 });
    assert!(matches!(index.finish_scan(&[digest(1)]), Err(IndexError::Misuse(_))));
    index.finish_scan(&[]).unwrap();
    assert_eq!(index.roots().iter().map(|root| root.unreadable).collect::<Vec<_>>(), [1, 1, 1]);
    assert_eq!(index.counts().entries, 1);
    // It was mended, and the key is still not there.
    scan(&index, &[], 3);
    assert_eq!(index.vanished(shard).unwrap(), Vanished::Entries(vec![(digest(1), entry(1, 1, 1))]));
    assert_eq!(index.finish_scan(&[digest(1)]).unwrap().removed, 1);
    assert_eq!((index.counts().entries, index.root(shard).unwrap().unreadable), (0, 0));
}

#[test]
fn a_read_after_the_walk_keeps_a_key_from_vanishing() {
    let (_directory, index) = fresh();
    scan(&index, &[live(1, 1, 1), live(2, 1, 1)], 1);
    index.finish_scan(&[]).unwrap();
    scan(&index, &[], 2);
    let stamp = index.next_stamp().unwrap();
    index.apply_reads(stamp, &[(digest(1), Fresh::Live(entry(1, 2, 2)))]).unwrap();
    let report = index.finish_scan(&[digest(1), digest(2), digest(3)]).unwrap();
    assert_eq!((report.removed, report.refreshed), (1, vec![digest(1)]));
    assert_eq!(index.entry(&digest(1)).unwrap(), Some((stamp, entry(1, 2, 2))));
    assert_eq!(index.entry(&digest(2)).unwrap(), None);
}

#[test]
fn an_older_read_never_replaces_a_newer_one_nor_brings_a_key_back() {
    let (_directory, index) = fresh();
    let early = index.next_stamp().unwrap();
    let late = index.next_stamp().unwrap();
    let read = |version| [(digest(1), Fresh::Live(entry(1, version, 1)))];
    index.apply_reads(late, &read(2)).unwrap();
    assert_eq!(index.apply_reads(early, &read(1)).unwrap().stale, [digest(1)]);
    assert_eq!(index.apply_reads(early, &read(2)).unwrap().stale, []);
    assert_eq!(index.apply_reads(early, &[(digest(1), Fresh::Absent)]).unwrap().stale, [digest(1)]);
    assert_eq!(index.remove(early, &[digest(1)]).unwrap().stale, [digest(1)]);
    let removed = index.remove(late, &[digest(1)]).unwrap().removed;
    assert_eq!(removed, [(digest(1), entry(1, 2, 1))]);
    assert_eq!(index.apply_reads(early, &read(1)).unwrap().stale, [digest(1)]);
    assert_eq!(index.counts().entries, 0);
    // A scan that began before the removal does not bring it back either.
    index.begin_scan(early, WallMicros(1)).unwrap();
    assert_eq!(index.store_page(&[live(1, 1, 1)], None).unwrap().stale, [digest(1)]);
}

#[test]
fn one_read_that_finds_a_key_gone_concludes_nothing() {
    let (_directory, index) = fresh();
    scan(&index, &[live(1, 1, 1)], 1);
    index.finish_scan(&[]).unwrap();
    let stamp = index.next_stamp().unwrap();
    let report = index.apply_reads(stamp, &[(digest(1), Fresh::Absent), (digest(2), Fresh::Absent)]).unwrap();
    assert_eq!(report.still_held, [(digest(1), entry(1, 1, 1))]);
    assert_eq!(index.counts().entries, 1);
}

#[test]
fn stamps_grow_over_reopening_rebuilding_and_deletion_with_a_floor() {
    let (directory, index) = fresh();
    let mut last = Stamp(0);
    let mut take = |index: &Index, count: usize| {
        for _ in 0..count {
            let stamp = index.next_stamp().unwrap();
            assert!(stamp > last);
            last = stamp;
        }
        last
    };
    take(&index, 2500);
    drop(index);
    let index = resumed(directory.path());
    take(&index, 10);
    drop(index);
    let other = IndexSettings { basis: [8; 16], ..settings() };
    let (index, condition) = Index::open(directory.path(), other).unwrap();
    assert!(matches!(condition, Condition::Rebuilt { .. }));
    let last = take(&index, 10);
    drop(index);
    std::fs::remove_dir_all(directory.path()).unwrap();
    let floor = IndexSettings { stamp_floor: last, ..settings() };
    let (index, condition) = Index::open(directory.path(), floor).unwrap();
    assert_eq!(condition, Condition::New);
    take(&index, 1);
}

#[test]
fn an_index_of_another_basis_or_key_is_set_aside_and_at_most_two_are_kept() {
    let (directory, index) = fresh();
    scan(&index, &[live(1, 1, 1)], 1);
    index.finish_scan(&[]).unwrap();
    drop(index);
    for basis in 1..=4 {
        let other = IndexSettings { basis: [basis; 16], ..settings() };
        let (index, condition) = Index::open(directory.path(), other.clone()).unwrap();
        let Condition::Rebuilt { set_aside: Some(set_aside), .. } = condition else {
            panic!("{condition:?}")
        };
        assert!(set_aside.is_dir());
        assert_eq!(Model::of(&index), Model::default());
        drop(index);
        assert_eq!(Index::open(directory.path(), other).unwrap().1, Condition::Resumed);
    }
    let names = std::fs::read_dir(directory.path()).unwrap().map(|file| file.unwrap().file_name());
    let mut names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["anchor", "damaged-3", "damaged-4", "db-5", "lock"]);
    let fingerprinter = selfsame_core::Fingerprinter::new("fleet", "products", b"other");
    let other = IndexSettings { fingerprinter, basis: [4; 16], ..settings() };
    assert!(matches!(Index::open(directory.path(), other).unwrap().1, Condition::Rebuilt { .. }));
}

#[test]
fn another_number_of_shards_regroups_the_entries() {
    let (directory, index) = fresh();
    let documents: Vec<_> = (0..600).map(|key| live(key, 1, 1)).collect();
    scan(&index, &documents, 1);
    index.finish_scan(&[]).unwrap();
    index.begin_scan(index.next_stamp().unwrap(), WallMicros(2)).unwrap();
    index.store_page(&[keyless("rowid 7"), live(3, 2, 2)], Some(b"here".to_vec())).unwrap();
    let (before, total) = (Model::of(&index), index.counts());
    drop(index);
    let two = IndexSettings { shards: ShardCount::new(2).unwrap(), ..settings() };
    let (index, condition) = Index::open(directory.path(), two.clone()).unwrap();
    assert_eq!(condition, Condition::Regrouped { from: settings().shards });
    assert_eq!((Model::of(&index), index.counts()), (before.clone(), total));
    assert_eq!(index.roots().len(), 2);
    assert!(index.roots().iter().all(|root| root.depth.levels() == 1 && root.node.count > 200));
    drop(index);
    assert_eq!(Index::open(directory.path(), two).unwrap().1, Condition::Resumed);
    let (index, _) = open(directory.path());
    before.assert_answers(&index);
}

#[test]
fn trees_deepen_with_their_entries_and_answer_the_same() {
    let (directory, index) = fresh();
    let documents: Vec<_> = (0..2000).map(|key| live(key, 1, 1)).collect();
    scan(&index, &documents, 1);
    assert_eq!(index.root(ShardId(0)).unwrap().depth.levels(), 0);
    let (before, incarnation) = (nodes(&index), index.incarnation());
    index.finish_scan(&[]).unwrap();
    assert_eq!(index.root(ShardId(0)).unwrap().depth.levels(), 1);
    assert_eq!((nodes(&index), index.incarnation()), (before, incarnation));
    let model = Model::of(&index);
    model.assert_answers(&index);
    assert_eq!(index.children(ShardId(0), 0, &[0]).unwrap().len(), 16);
    assert_eq!(index.children(ShardId(0), 0, &[1]), None);
    assert_eq!(index.children(ShardId(0), 1, &[0]), None);
    drop(index);
    model.assert_answers(&resumed(directory.path()));
}

#[test]
fn a_second_opening_is_refused_and_the_first_goes_on() {
    let (directory, index) = fresh();
    assert!(matches!(Index::open(directory.path(), settings()), Err(IndexError::Locked(_))));
    index.next_stamp().unwrap();
    drop(index);
    resumed(directory.path());
}

#[test]
fn openings_that_never_end_are_taken_for_damage() {
    let (directory, index) = fresh();
    drop(index);
    std::fs::write(directory.path().join("opening"), "..").unwrap();
    drop(resumed(directory.path()));
    std::fs::write(directory.path().join("opening"), "...").unwrap();
    let (index, condition) = open(directory.path());
    assert!(matches!(condition, Condition::Rebuilt { .. }));
    drop(index);
    resumed(directory.path());
}

#[cfg(unix)]
#[test]
fn a_directory_that_cannot_be_made_is_an_error_not_damage() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, "").unwrap();
    assert!(matches!(Index::open(&file.join("index"), settings()), Err(IndexError::Io { .. })));
}

#[test]
fn what_a_finished_scan_synced_is_never_taken_back_unnoticed() {
    let (directory, index) = fresh();
    let crashed = tempfile::tempdir().unwrap();
    super::copy(directory.path(), crashed.path());
    scan(&index, &[live(1, 1, 1)], 1);
    index.finish_scan(&[]).unwrap();
    drop(index);
    // A whole store, but from before the scan.
    std::fs::copy(directory.path().join("anchor"), crashed.path().join("anchor")).unwrap();
    assert!(matches!(open(crashed.path()).1, Condition::Rebuilt { .. }));
}

#[test]
fn readers_and_writers_share_an_index() {
    let (_directory, index) = fresh();
    std::thread::scope(|scope| {
        for thread in 0..3_i64 {
            let index = &index;
            scope.spawn(move || {
                for version in 0..30 {
                    let stamp = index.next_stamp().unwrap();
                    let reads: Vec<_> = (0..20)
                        .map(|key| {
                            (digest(key * 3 + thread), Fresh::Live(entry(key * 3 + thread, version, 0)))
                        })
                        .collect();
                    index.apply_reads(stamp, &reads).unwrap();
                    for root in index.roots() {
                        index.entries_from(root.shard, selfsame_core::KeyPrefix(0), 100).unwrap();
                    }
                }
            });
        }
    });
    Model::of(&index).assert_answers(&index);
    assert_eq!(index.counts().entries, 60);
}

/// Prints what a scan of 100 000 documents costs; asserts nothing about time.
#[test]
fn a_large_scan() {
    let directory = tempfile::tempdir().unwrap();
    let settings = IndexSettings { shards: ShardCount::new(16).unwrap(), ..settings() };
    let (index, _) = Index::open(directory.path(), settings.clone()).unwrap();
    let pages: Vec<Vec<_>> =
        (0..100).map(|page| (0..1000).map(|row| live(page * 1000 + row, 1, 1)).collect()).collect();
    for round in 1..=2 {
        index.begin_scan(index.next_stamp().unwrap(), WallMicros(round)).unwrap();
        let begun = Instant::now();
        for (number, page) in pages.iter().enumerate() {
            let cursor = (number + 1 < pages.len()).then(|| vec![number as u8]);
            index.store_page(page, cursor).unwrap();
        }
        println!("scan {round}: 100 pages of 1000 documents stored in {:?}", begun.elapsed());
        let begun = Instant::now();
        for shard in settings.shards.ids() {
            assert_eq!(index.vanished(shard).unwrap(), Vanished::Entries(vec![]));
        }
        println!("scan {round}: vanished keys looked for in {:?}", begun.elapsed());
        let begun = Instant::now();
        index.finish_scan(&[]).unwrap();
        println!("scan {round}: finished in {:?}", begun.elapsed());
    }
    drop(index);
    let begun = Instant::now();
    let (index, condition) = Index::open(directory.path(), settings).unwrap();
    println!("opened in {:?}", begun.elapsed());
    assert_eq!((condition, index.counts().entries), (Condition::Resumed, 100_000));
}
