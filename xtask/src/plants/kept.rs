//! Faults in what an agent keeps on disk: its index and its journal.

use super::{Plant, Test, undo};

pub(super) const PLANTS: &[Plant] = &[
    Plant {
        name: "cursor-before-its-page",
        breaks: "a crash during a scan leaves out a page, whose documents then seem to be missing",
        file: "crates/selfsame-index/src/scan.rs",
        find: "\
        let mut report = PageReport::default();
        for seen in page {
            store_seen(&mut draft, &mut scan, seen, &mut report)?;
        }
        scan.rows = scan.rows.saturating_add(page.len() as u64);
        scan.position = cursor.map_or(ScanPosition::End, ScanPosition::After);
        draft.head.scan = Some(scan);
        self.current.commit(draft)?;
        failpoint!(\"index::page_stored\");
",
        replace: "\
        scan.rows = scan.rows.saturating_add(page.len() as u64);
        scan.position = cursor.map_or(ScanPosition::End, ScanPosition::After);
        draft.head.scan = Some(scan.clone());
        self.current.commit(draft)?;
        failpoint!(\"index::page_stored\");
        let mut draft = self.current.draft();
        let mut report = PageReport::default();
        for seen in page {
            store_seen(&mut draft, &mut scan, seen, &mut report)?;
        }
        draft.head.scan = Some(scan);
        self.current.commit(draft)?;
",
        test: Test {
            package: "selfsame-index",
            target: &["--features", "failpoints", "--test", "failpoints"],
            name: "a_scan_survives_a_crash_at_every_point_and_as_of_comes_last",
        },
    },
    Plant {
        name: "memory-lost-with-the-secret",
        breaks: "after a change of the secret, deleted documents are copied back",
        file: "crates/selfsame-journal/src/rekey.rs",
        find: "if new != old {",
        replace: "if new == old {",
        test: Test {
            package: "selfsame-journal",
            target: &["--lib"],
            name: "rekey::tests::memories_are_found_under_another_secret",
        },
    },
    Plant {
        name: "undone-row-votes",
        breaks: "a row that an undo put back votes for itself, as if a client had written it",
        file: "crates/selfsame-journal/src/repairs.rs",
        find: "AND key_digest = ?3 AND outcome = 'applied' ORDER BY id DESC LIMIT 1\"",
        replace: "AND key_digest = ?3 AND outcome = 'applied' AND cause <> 'restored' ORDER BY id DESC LIMIT 1\"",
        test: undo("what_was_put_back_is_nobodys_vote_and_its_write_carries_a_marker"),
    },
    Plant {
        name: "forgotten-in-rows-alone",
        breaks: "a document that was forgotten still lies in free pages of the journal",
        file: "crates/selfsame-journal/src/forget.rs",
        find: "connection.execute_batch(\"VACUUM\")?;",
        replace: "connection.execute_batch(\"PRAGMA secure_delete = ON\")?;",
        test: Test {
            package: "selfsame-journal",
            target: &["--lib"],
            name: "forget::tests::what_is_forgotten_is_gone_from_the_files_and_what_safety_needs_stays",
        },
    },
    Plant {
        name: "older-page-over-newer-entry",
        breaks: "a page that was read before a row was looked at again puts the older state back into the index",
        file: "crates/selfsame-index/src/scan.rs",
        find: "        if row.stamp > scan.stamp {",
        replace: "        if row.stamp > scan.stamp && row.stamp < scan.stamp {",
        test: Test {
            package: "selfsame-index",
            target: &["--lib"],
            name: "tests::stories::an_older_read_never_replaces_a_newer_one_nor_brings_a_key_back",
        },
    },
    Plant {
        name: "watermark-before-entries",
        breaks: "a scan that has only begun proves that all is in sync",
        file: "crates/selfsame-index/src/scan.rs",
        find: "        draft.head.scan = Some(ScanProgress {\n            stamp,",
        replace: "        draft.head.as_of = Some(started);\n        draft.head.scan = Some(ScanProgress {\n            stamp,",
        test: Test {
            package: "selfsame-index",
            target: &["--features", "failpoints", "--test", "failpoints"],
            name: "a_scan_survives_a_crash_at_every_point_and_as_of_comes_last",
        },
    },
    Plant {
        name: "ledger-lost-with-the-index",
        breaks: "after an index is deleted, nobody knows what was deleted",
        file: "crates/selfsame-agent/src/assembly.rs",
        find: "&parts.data.join(\"journal.db\")",
        replace: "&{ let index = parts.data.join(\"index\"); let _ = std::fs::create_dir_all(&index); index.join(\"journal.db\") }",
        test: Test {
            package: "selfsame-agent",
            target: &["--test", "deletions"],
            name: "what_is_remembered_does_not_lie_with_the_index",
        },
    },
];
