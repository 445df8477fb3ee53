//! The store in memory passes the suite whole.

mod support;

use selfsame_store::conformance::{self, Supports};
use support::MemoryHarness;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_in_memory_keeps_every_rule() {
    let report = conformance::check(&MemoryHarness::default()).await;
    report.assert_passed();
    assert_eq!(
        report.skipped.iter().map(|finding| finding.rule).collect::<Vec<_>>(),
        Vec::<&str>::new(),
        "nothing is skipped\n{report}"
    );
}

#[tokio::test]
async fn rules_interleave_on_one_thread_too() {
    conformance::check(&MemoryHarness::default()).await.assert_passed();
}

#[tokio::test]
async fn what_a_harness_lacks_is_skipped_with_a_reason() {
    let nothing = Supports {
        shapes: vec![conformance::Shape::Document],
        key_kinds: vec![conformance::KeyKind::Text],
        key_as: vec![selfsame_core::KeyAs::String],
        composite_keys: false,
        column_kinds: vec![],
        unmapped_fields: false,
        exact_numbers: false,
        constraints: false,
    };
    let report = conformance::check(&MemoryHarness { supports: nothing, ..MemoryHarness::default() }).await;
    report.assert_passed();
    assert!(report.skipped.iter().all(|finding| !finding.why.is_empty()), "{report}");
    for rule in ["columns", "keys", "key_as_string", "every_byte_counts", "items_stand_alone", "documents"] {
        assert!(report.skipped.iter().any(|finding| finding.rule == rule), "{rule} is not skipped\n{report}");
    }
}

#[tokio::test]
#[should_panic(expected = "0 passed")]
async fn a_report_in_which_nothing_passed_does_not_pass() {
    conformance::check_only(&MemoryHarness::default(), &["no_such_rule"]).await.assert_passed();
}
