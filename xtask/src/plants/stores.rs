//! Faults in the store: conditions and markers of repairs.

use super::{Plant, Test, sqlite};

pub(super) const PLANTS: &[Plant] = &[
    Plant {
        name: "repair-without-condition",
        breaks: "a repair overwrites what a client wrote since the row was looked at",
        file: "crates/selfsame-store-sqlite/src/repair.rs",
        find: "(Expected::Row(digest), Some((document, _))) => document.row_digest == digest,",
        replace: "(Expected::Row(_), Some(_)) => true,",
        test: sqlite("apply::a_condition_that_does_not_hold_writes_nothing_not_even_the_marker"),
    },
    Plant {
        name: "marker-after-write",
        breaks: "consumers of the change table take every repair for a client's write",
        file: "crates/selfsame-store-sqlite/src/repair.rs",
        find: "\
    connection
        .prepare_cached(\"INSERT OR REPLACE INTO _selfsame_meta (name, value) VALUES ('writing', ?1)\")?
        .execute([&marker])?;
    let rows = connection
        .prepare_cached(sql)
        .and_then(|mut statement| statement.execute(params_from_iter(values)))
        .map_err(refusal_of)?;
",
        replace: "\
    let rows = connection
        .prepare_cached(sql)
        .and_then(|mut statement| statement.execute(params_from_iter(values)))
        .map_err(refusal_of)?;
    connection
        .prepare_cached(\"INSERT OR REPLACE INTO _selfsame_meta (name, value) VALUES ('writing', ?1)\")?
        .execute([&marker])?;
",
        test: sqlite("feed::repairs_show_their_marker_and_clients_none"),
    },
    Plant {
        name: "marker-after-commit",
        breaks: "a crash leaves a repair that is not recognised when it is delivered again",
        file: "crates/selfsame-store-sqlite/src/repair.rs",
        find: "\
    connection
        .prepare_cached(\"INSERT INTO _selfsame_origin",
        replace: "\
    connection.execute_batch(\"COMMIT; BEGIN IMMEDIATE; SAVEPOINT selfsame_repair\")?;
    connection
        .prepare_cached(\"INSERT INTO _selfsame_origin",
        test: Test {
            package: "selfsame-store-sqlite",
            target: &["--lib"],
            name: "apply::tests::a_process_killed_within_a_batch_leaves_all_as_it_was_and_redelivery_applies_it",
        },
    },
    Plant {
        name: "condition-ignores-ignored-fields",
        breaks: "a client's write to an ignored column between confirm and repair is overtaken unseen",
        file: "crates/selfsame-core/src/mapping.rs",
        find: "let row_digest = self.fingerprinter.row_digest(&row);",
        replace: "let row_digest = self.fingerprinter.row_digest(&Row::new(row.cells().iter().filter(|(name, _)| self.is_mapped_column(name)).cloned().collect()));",
        test: sqlite("conformance::the_store_keeps_the_ports_promises"),
    },
];
