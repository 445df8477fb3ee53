//! The suite itself is tested: each deliberately wrong store is refused, by exactly the rules that it breaks.

mod support;
mod wrong;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use selfsame_core::Key;
use selfsame_store::conformance::{self, rule_names};
use selfsame_store::{
    Capabilities, Changes, Cursor, FeedPosition, Identity, MemoryStore, Page, PageSize, Read, ReadOnly,
    RepairBatch, Scope, Store, StoreError, WriteOutcome,
};
use support::MemoryHarness;
use wrong::{Flaw, wrong_replica};

async fn refused_rules(flaw: Flaw) -> (Vec<&'static str>, String) {
    let harness = MemoryHarness {
        maker: Arc::new(move |table| wrong_replica(flaw, table)),
        ..MemoryHarness::default()
    };
    let report = conformance::check(&harness).await;
    (report.failed_rules(), report.to_string())
}

macro_rules! refused {
    ($($name:ident: $flaw:ident breaks [$($rule:literal),*],)*) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            let mut expected = vec![$($rule),*];
            expected.sort_unstable();
            let (refused, report) = refused_rules(Flaw::$flaw).await;
            assert_eq!(refused, expected, "{report}");
        })*

        #[test]
        fn every_rule_refuses_a_store() {
            let broken: Vec<&str> = [$(&[$($rule),*][..]),*].concat();
            let untested: Vec<_> = rule_names().filter(|rule| !broken.contains(rule)).collect();
            assert!(untested.is_empty(), "no wrong store breaks {untested:?}");
        }
    };
}

refused! {
    an_identity_made_at_each_start: NewIdentity breaks ["identity"],
    a_counter_that_only_its_instance_knows: CounterInInstance breaks ["counter"],
    a_count_of_live_rows_only: CountsLive breaks ["count"],
    a_scan_that_loses_the_row_that_does_not_fit: LosesRowAtByteLimit breaks ["scan_pages"],
    pages_above_their_size: IgnoresByteLimit breaks ["scan_pages"],
    a_cursor_that_only_its_instance_knows: CursorInInstance breaks ["cursor_resumes"],
    a_scan_that_starts_over_at_a_cursor_it_does_not_know: AcceptsAnyCursor breaks ["cursor_refused"],
    pages_by_offset: PagesByOffset breaks ["scan_under_writes"],
    a_shard_that_lacks_its_own_rows: OtherShard breaks ["shard_scope"],
    a_shard_filter_that_is_claimed_only: ClaimsShardFilter breaks ["shard_scope"],
    unreadable_rows_that_a_scan_skips: SkipsUnreadable breaks ["unreadable_named"],
    unreadable_rows_that_read_as_absent: UnreadableIsAbsent breaks ["unreadable_named"],
    a_read_from_a_cache: CachesScans breaks ["fresh_read"],
    answers_in_the_stores_order: SortsAnswers breaks ["read_order"],
    keys_through_floats: KeysThroughFloats breaks ["keys"],
    rows_that_meet_and_are_skipped: SkipsTwins breaks ["key_as_string"],
    an_expiry_that_is_not_read: NoExpiry breaks ["entry_fields"],
    numbers_through_floats: NumbersThroughFloats breaks ["documents"],
    bytes_taken_for_text: BytesAreText breaks ["columns"],
    an_update_that_inserts: UpdateInserts breaks ["conditional_write"],
    an_unconditional_write: Unconditional breaks
        ["conditional_write", "every_byte_counts", "items_stand_alone", "outcomes_in_order", "racing_client", "marker_with_write"],
    a_condition_on_the_content_only: ComparesContent breaks ["every_byte_counts"],
    an_insert_without_unmapped_fields: InsertsMappedOnly breaks ["keeps_own_fields"],
    a_write_under_the_winners_key: TakesWinnersKey breaks ["misfit_refused"],
    outcomes_sorted_by_kind: SortsOutcomes breaks ["outcomes_in_order"],
    a_batch_that_ends_at_its_first_bad_item: StopsAtBadItem breaks ["items_stand_alone"],
    repair_ids_that_are_not_kept: ForgetsIds breaks ["batch_idempotent"],
    repair_ids_that_a_restart_forgets: ForgetsIdsAtRestart breaks ["batch_idempotent"],
    an_id_that_is_kept_before_the_write: IdBeforeWrite breaks ["dropped_apply"],
    a_gap_between_compare_and_write: CompareThenWrite breaks ["racing_client"],
    a_marker_after_the_commit: MarkerAfterCommit breaks ["marker_with_write"],
    no_marker_at_all: NoMarker breaks ["marker_with_write"],
    a_feed_that_loses_changes_between_pages: FeedSkips breaks ["feed_order"],
}

/// A client that always waits for the repair first: the race is no race, and the rule must say so.
#[tokio::test]
async fn a_race_without_a_rival_tested_nothing() {
    /// In each round of `racing_client`, eight reads come before the repair (four of the last round's keys, four
    /// of this one's), and then the client starts.
    const READS_BEFORE_CLIENT: usize = 8;
    struct Counting(MemoryStore, Arc<AtomicUsize>);

    #[async_trait]
    impl Store for Counting {
        fn capabilities(&self) -> Capabilities {
            self.0.capabilities()
        }
        async fn identity(&self) -> Result<Identity, StoreError> {
            self.0.identity().await
        }
        async fn advance_counter(&self, above: u64) -> Result<u64, StoreError> {
            self.0.advance_counter(above).await
        }

        async fn count(&self) -> Result<u64, StoreError> {
            self.0.count().await
        }
        async fn scan(
            &self,
            scope: Scope,
            from: Option<&Cursor>,
            page: PageSize,
        ) -> Result<Page, StoreError> {
            self.0.scan(scope, from, page).await
        }
        async fn read(&self, keys: &[Key]) -> Result<Vec<Read>, StoreError> {
            self.1.fetch_add(1, Ordering::SeqCst);
            self.0.read(keys).await
        }
        async fn apply(&self, batch: &RepairBatch) -> Result<Vec<WriteOutcome>, StoreError> {
            let outcomes = self.0.apply(batch).await;
            self.1.store(0, Ordering::SeqCst);
            outcomes
        }
        async fn changes(&self, from: FeedPosition, limit: PageSize) -> Result<Changes, StoreError> {
            self.0.changes(from, limit).await
        }
    }

    let reads = Arc::new(AtomicUsize::new(0));
    let (counted, gated) = (Arc::clone(&reads), reads);
    let harness = MemoryHarness {
        maker: Arc::new(move |_| {
            counted.store(0, Ordering::SeqCst);
            let counted = Arc::clone(&counted);
            Arc::new(move |rows| Box::new(Counting(rows, Arc::clone(&counted))))
        }),
        gate: Arc::new(move || gated.load(Ordering::SeqCst) < READS_BEFORE_CLIENT),
        ..MemoryHarness::default()
    };
    let report = conformance::check_only(&harness, &["racing_client"]).await;
    assert_eq!(report.failed.len(), 2, "{report}");
    assert!(report.failed.iter().all(|finding| finding.why.starts_with("tested nothing")), "{report}");
}

#[tokio::test]
async fn a_read_only_store_is_refused_where_it_should_write_and_nowhere_else() {
    let harness = MemoryHarness {
        maker: Arc::new(|_| Arc::new(|rows| Box::new(ReadOnly::new(rows)))),
        ..MemoryHarness::default()
    };
    let report = conformance::check(&harness).await;
    for rule in ["fresh_read", "scan_pages", "documents", "unreadable_named", "read_order"] {
        assert!(report.passed.iter().any(|finding| finding.rule == rule), "{rule}\n{report}");
    }
    for rule in ["racing_client", "every_byte_counts", "marker_with_write"] {
        let skipped = report.skipped.iter().find(|finding| finding.rule == rule);
        assert!(
            skipped.is_some_and(|finding| finding.why.contains("the store has no `")),
            "{rule}\n{report}"
        );
    }
    assert!(report.failed_rules().contains(&"conditional_write"), "{report}");
}
